//! Commands about acceptors, which EvoStream calls services.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::{
    super::{
        Port,
        bind::{Bound, bind_one},
        bridge::Running,
        certificates,
    },
    Builtin, Outcome, Run, Server, State,
};
use crate::{
    apps::{Health, Hooks},
    chains::Catalogue,
    commands::{Access, Kind, Param, Spec},
    config::{Acceptor, Application, ApplicationAcceptor, Configuration, secret_needed},
};

/// Why a port stays open.
const LAST: &str =
    "it is the last command line, and nobody could open it again; `createService` opens another one";

const ID: Param = Param::required("id", Kind::Whole, "the service's number, from listServices");

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new("listServices", Access::Read, &[], "Lists the ports that the server listens on."),
            |server, _| {
                let Server { ports, state, .. } = server;
                Outcome::Data(ports.iter().map(|port| service(port, state)).collect())
            },
        )
        .saying("Available services"),
        Builtin::new(
            Spec::new(
                "createService",
                Access::Secret,
                &[
                    Param::required("ip", Kind::Text, "the address to listen at"),
                    Param::required("port", Kind::Whole, "the port; 0: one that the system chooses"),
                    Param::required("protocol", Kind::Text, "the name of the chain"),
                    Param::optional(
                        "application",
                        Kind::Text,
                        "null",
                        "the application; without it, the default one",
                    ),
                    Param::optional("keys", Kind::Json, "{}", "keys for the layers of the chain"),
                ],
                "Listens on one more port, until the server ends, or a reload after which its application or chain is not \
                 there any more or which brings an acceptor of its address.",
            ),
            create_service,
        ),
        Builtin::new(
            Spec::new(
                "enableService",
                Access::Change,
                &[ID, Param::required("enable", Kind::Flag, "whether it accepts connections")],
                "Has a service accept connections, or not: those that are there stay, new ones wait at its port. \
                 The last command line stays enabled.",
            ),
            enable_service,
        ),
        Builtin::new(
            Spec::new(
                "shutdownService",
                Access::Change,
                &[ID],
                "Closes a port; its connections stay. The last command line stays open.",
            ),
            shutdown_service,
        ),
    ]
}

/// A service, by the keys of EvoStream.
fn service(port: &Port, state: &mut State) -> Value {
    json!({
        "id": port.id,
        "ip": port.address.ip().to_string(),
        "port": port.address.port(),
        "protocol": port.wanted.acceptor.protocol,
        "appName": port.wanted.application,
        "appId": state.application_id(&port.wanted.application),
        "enabled": port.enabled,
        "acceptedConnectionsCount": port.counts.accepted.load(Ordering::Relaxed),
        "droppedConnectionsCount": port.counts.dropped.load(Ordering::Relaxed),
        "useLengthPadding": port.wanted.acceptor.keys.get("useLengthPadding") == Some(&Value::Bool(true)),
    })
}

fn create_service(server: &mut Server, run: &Run<'_>) -> Outcome {
    match try_create(server, run) {
        Ok(created) => Outcome::Done("the service is open", created),
        Err(text) => Outcome::Fail(text),
    }
}

fn try_create(server: &mut Server, run: &Run<'_>) -> Result<Value, String> {
    let params = run.params;
    let ip = params.text("ip");
    let ip = ip.parse().map_err(|_| format!("`ip` must be an IP address, not {ip:?}"))?;
    let port = params.whole("port").unwrap_or_default();
    let port = u16::try_from(port).map_err(|_| format!("`port` must be from 0 to 65535, not {port}"))?;
    let list = &server.configuration.applications.list;
    let application = match params.given_text("application") {
        Some(name) => list
            .iter()
            .find(|application| {
                application.name == name || application.aliases.iter().any(|alias| alias == name)
            })
            .ok_or_else(|| format!("there is no application {name:?}; `listApplications` lists all"))?,
        None => {
            list.iter().find(|application| application.default).ok_or("there is no default application")?
        }
    };
    let keys: Map<String, Value> = match params.map().get("keys") {
        Some(Value::Object(keys)) => keys.clone(),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|_| "`keys` must be a JSON object".to_owned())?
        }
        _ => return Err("`keys` must be a JSON object".to_owned()),
    };
    let acceptor = Acceptor { ip, port, protocol: params.text("protocol").to_owned(), keys };
    check(application, &acceptor, &server.libraries.catalogue)?;
    let (created, most) = (server.ports.iter().filter(|port| port.created).count(), server.limits.services);
    if created >= most {
        return Err(format!(
            "commands have opened {created} ports (`limits.services` = {most}); `shutdownService` closes one"
        ));
    }
    let has_lines = server.applications.get(&application.name).is_some_and(takes_lines);
    if acceptor.protocol.ends_with("Cli") && !has_lines {
        let name = &application.name;
        return Err(format!(
            "the application {name:?} takes no commands: `application` must name one that does"
        ));
    }
    let wanted = ApplicationAcceptor { application: application.name.clone(), acceptor };
    let folder = &server.environment.folder;
    let prepared = certificates::prepare(&server.libraries, &wanted, "service", folder)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let bound = bind_one(wanted, "service").map_err(|error| error.to_string())?;
    server.open_bound(Bound { prepared: Some(prepared), ..bound }, true);
    server.look_at_terms();
    let port = server.ports.pop_if(|port| !port.enabled);
    match (port, server.ports.last()) {
        (None, Some(port)) => Ok(service(port, &mut server.state)),
        _ => Err("the service cannot be opened; the log says why".to_owned()),
    }
}

/// Whether a command may have `application` listen so.
fn check(application: &Application, acceptor: &Acceptor, catalogue: &Catalogue) -> Result<(), String> {
    if let Some(needed) = secret_needed(application, acceptor) {
        return Err(needed);
    }
    let mut errors = Vec::new();
    catalogue.check_acceptor("service", acceptor, &mut errors);
    errors.first().map_or(Ok(()), |error| Err(error.to_string()))
}

/// Whether a port that a command opened may stay under another configuration. That needs its address for what is
/// `added` to it; acceptors that it had before may have been closed by command, and are not opened again.
pub(in crate::server) fn may_stay(
    port: &Port,
    configuration: &Configuration,
    catalogue: &Catalogue,
    added: &[ApplicationAcceptor],
) -> bool {
    let Port { wanted, address, .. } = port;
    let claimed = added.iter().any(|other| other.acceptor.address() == *address);
    let mut list = configuration.applications.list.iter();
    let application = list.find(|application| application.name == wanted.application);
    !claimed && application.is_some_and(|found| check(found, &wanted.acceptor, catalogue).is_ok())
}

fn position(server: &Server, run: &Run<'_>) -> Result<usize, String> {
    let id = run.params.whole("id").unwrap_or_default();
    server
        .ports
        .iter()
        .position(|port| port.id == id)
        .ok_or_else(|| format!("there is no service {id}; `listServices` lists all"))
}

/// Whether sessions of command lines can come by this port now.
pub(super) fn takes_commands(server: &Server, port: &Port) -> bool {
    let application = server.applications.get(&port.wanted.application);
    port.enabled && port.wanted.acceptor.protocol.ends_with("Cli") && application.is_some_and(takes_lines)
}

/// Others refuse each line, whatever the chain of their port.
fn takes_lines(running: &Running) -> bool {
    running.handle.health() == Health::Well && running.handle.has(Hooks::MESSAGE)
}

/// Whether nobody could give a command any more without this port.
fn is_last_command_line(server: &Server, at: usize) -> bool {
    let mut takers = server.ports.iter().enumerate().filter(|(_, port)| takes_commands(server, port));
    takers.next().is_some_and(|(first, _)| first == at) && takers.next().is_none()
}

fn enable_service(server: &mut Server, run: &Run<'_>) -> Outcome {
    let at = match position(server, run) {
        Ok(at) => at,
        Err(text) => return Outcome::Fail(text),
    };
    let enable = run.params.flag("enable");
    if !enable && is_last_command_line(server, at) {
        return Outcome::Fail(format!("the service is not disabled: {LAST}"));
    }
    let mut port = server.ports.remove(at);
    if port.enabled && !enable {
        server.workers.unlisten(port.address);
    }
    let opens = enable && !port.enabled;
    port.enabled = enable;
    if opens {
        server.open(port);
    } else {
        server.ports.push(port);
    }
    // It keeps its place in the list.
    server.ports[at..].rotate_right(1);
    let Server { ports, state, .. } = server;
    if ports[at].enabled != enable {
        return Outcome::Fail("the service cannot be opened and stays disabled; the log says why".to_owned());
    }
    Outcome::Data(service(&ports[at], state))
}

fn shutdown_service(server: &mut Server, run: &Run<'_>) -> Outcome {
    let at = match position(server, run) {
        Ok(at) => at,
        Err(text) => return Outcome::Fail(text),
    };
    if is_last_command_line(server, at) {
        return Outcome::Fail(format!("the service is not closed: {LAST}"));
    }
    let port = server.ports.remove(at);
    server.workers.unlisten(port.address);
    Outcome::Done("the service is closed", service(&port, &mut server.state))
}
