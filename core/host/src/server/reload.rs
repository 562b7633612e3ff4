//! From one configuration to the next.

use std::{net::SocketAddr, path::PathBuf};

use crtmp_reactor::{ConnectionReport, WorkerReport};

use super::{
    Port, Server,
    bind::{Bound, bind_one, path_of_acceptor},
    bridge::Running,
    certificates,
    commands::services::may_stay,
    libraries::Libraries,
    tell_application,
};
use crate::{
    config::{Application, ApplicationAcceptor, ConfigError, Configuration, RestartChange, diff},
    events::Kind,
};

/// Numbers of connections that a plan lists for one application or acceptor; the others are only counted.
const SESSIONS: usize = 100;

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Acceptors that would be opened: address, chain, application.
    pub open: Vec<String>,
    /// Acceptors that would be closed; their connections stay.
    pub close: Vec<String>,
    /// Applications that would be started, anew or in the place of the running instance.
    pub start: Vec<String>,
    /// Applications that would take no new connections any more.
    pub end: Vec<String>,
    /// Applications whose streams would be handed to players in another way.
    pub retune: Vec<String>,
    /// What would wait for a restart.
    pub restart: Vec<String>,
    /// Whether log appenders would change.
    pub log_appenders: bool,
    /// Whether the event logger would change.
    pub event_logger: bool,
    /// Whether it would change what processes may be launched.
    pub processes: bool,
    /// Whether it would change where the server may connect to.
    pub outbound_policy: bool,
    /// Whether it would change which streams are pulled (`externalStreams`).
    pub external_streams: bool,
    /// Whether it would change the lists of libraries or chains, so that new connections may get other layers.
    pub chains: bool,
    /// Applications that would go on with a library that `loadApplication` has loaded.
    pub keep_loaded: Vec<KeptLibrary>,
    /// Connections that would keep an application that has been replaced or removed, by application. None is closed,
    /// but for command lines whose secret changes.
    pub sessions_with_old_application: Vec<Sessions>,
    /// Connections that came by acceptors which would be closed, by acceptor. They stay.
    pub sessions_of_closed: Vec<Sessions>,
}

/// Connections that a reload would concern.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sessions {
    /// The application, or the acceptor.
    pub of: String,
    /// How many.
    pub count: usize,
    /// The numbers of the first 100 of them.
    pub ids: Vec<u64>,
}

/// A library that `loadApplication` has loaded, and that stays.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeptLibrary {
    /// The application's name.
    pub name: String,
    /// The file that is in force instead of what the configuration file names.
    pub library: PathBuf,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Acceptors that were opened.
    pub opened: usize,
    /// Acceptors that were closed; their connections stay.
    pub closed: usize,
    /// Applications that were started, anew or in the place of an older instance.
    pub started: Vec<String>,
    /// Applications that take no new connections any more.
    pub ended: Vec<String>,
    /// Applications whose streams are handed to players in another way now, without a new instance.
    pub retuned: Vec<String>,
    /// Changes that wait for a restart.
    pub restart: Vec<RestartChange>,
    /// Applications that go on with a library that `loadApplication` has loaded.
    pub kept_loaded: Vec<KeptLibrary>,
}

/// A library that `loadApplication` has loaded.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// Where the configuration file says that the library is.
    in_file: Option<PathBuf>,
    /// The one that is in force instead.
    library: PathBuf,
}

impl Loaded {
    fn kept(&self, application: &str) -> KeptLibrary {
        KeptLibrary { name: application.to_owned(), library: self.library.clone() }
    }
}

impl Server {
    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What going to another configuration would do, and whether it could be done, as far as that can be told without
    /// opening ports and starting applications.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn plan(&self, new: &Configuration) -> Result<Plan, Vec<ConfigError>> {
        let environment = &self.environment;
        let program_folder = environment.program_folder.as_deref();
        let mut new = new.clone();
        let keep_loaded = self.keep_loaded(&mut new);
        let new = &new;
        let libraries = Libraries::load(new, &environment.catalogue, program_folder, &keep_loaded)?;
        super::check_with(&libraries, new, &environment.folder, &environment.read_users, &environment.log)?;
        let mut diff = diff(&self.configuration, new);
        let in_force = Some(&self.configuration);
        certificates::check(&libraries, new, &diff.added_acceptors, in_force, &environment.folder)?;
        self.libraries.add_replaced(&libraries, new, &mut diff);
        let shown = |address: SocketAddr, wanted: &ApplicationAcceptor| {
            format!("{address} {} {}", wanted.acceptor.protocol, wanted.application)
        };
        let acceptor = |wanted: &ApplicationAcceptor| shown(wanted.acceptor.address(), wanted);
        let of_configuration = |wanted: &ApplicationAcceptor| {
            let port = self.ports.iter().find(|port| !port.created && port.wanted == *wanted);
            (acceptor(wanted), port)
        };
        let orphans = self
            .ports
            .iter()
            .filter(|port| port.created && !may_stay(port, new, &libraries.catalogue, &diff.added_acceptors))
            .map(|port| (shown(port.address, &port.wanted), Some(port)));
        let closed: Vec<_> = diff.removed_acceptors.iter().map(of_configuration).chain(orphans).collect();
        let start = diff.added_applications.iter().chain(&diff.changed_applications);
        let start: Vec<String> = start.map(|application| application.name.clone()).collect();
        let touched: Vec<&String> = start.iter().chain(&diff.removed_applications).collect();
        let reports = if touched.is_empty() && closed.is_empty() {
            Vec::new()
        } else {
            self.workers.report(super::REPORT_TIME)
        };
        let of_application = |name: &&String| {
            sessions(&reports, name, |connection| connection.application.as_deref() == Some(name.as_str()))
        };
        let sessions_with_old_application = touched.iter().map(of_application).filter(has_some).collect();
        let of_port = |(shown, port): &(String, Option<&Port>)| {
            sessions(&reports, shown, |connection| {
                !connection.outbound
                    && port.is_some_and(|port| {
                        connection.chain == port.wanted.acceptor.protocol
                            && came_by(connection.local, port.address)
                    })
            })
        };
        let sessions_of_closed = closed.iter().map(of_port).filter(has_some).collect();
        Ok(Plan {
            open: diff.added_acceptors.iter().map(acceptor).collect(),
            close: closed.into_iter().map(|(shown, _)| shown).collect(),
            start,
            end: diff.removed_applications,
            retune: diff.retuned_applications,
            restart: diff.restart.into_iter().map(|change| change.path).collect(),
            log_appenders: diff.log_appenders.is_some(),
            event_logger: diff.event_logger.is_some(),
            processes: diff.processes,
            outbound_policy: diff.outbound_policy,
            external_streams: diff.links,
            chains: diff.chains,
            keep_loaded,
            sessions_with_old_application,
            sessions_of_closed,
        })
    }

    /// Goes to another configuration. Sessions that it does not name are not touched; connections of an
    /// application that is replaced or removed keep its old instance until they end. Only sessions of command lines
    /// end, where the secret that they were let in by does not hold any more.
    ///
    /// # Errors
    ///
    /// What is wrong with it; then nothing has changed.
    pub fn reload(&mut self, mut new: Configuration) -> Result<Reloaded, Vec<ConfigError>> {
        let kept_loaded = self.keep_loaded(&mut new);
        let done = self.go_over_to(new, &kept_loaded)?;
        // Of the others the configuration file has spoken.
        self.state.loaded.retain(|name, _| kept_loaded.iter().any(|kept| kept.name == *name));
        Ok(Reloaded { kept_loaded, ..done })
    }

    /// Has an application go on with another library, over reloads too, for as long as the configuration file does
    /// not name another one itself.
    ///
    /// # Errors
    ///
    /// What is wrong with the library; then nothing has changed.
    pub(super) fn load_library(
        &mut self,
        name: &str,
        library: PathBuf,
    ) -> Result<Reloaded, Vec<ConfigError>> {
        let mut configuration = self.configuration.clone();
        let entry = configuration.applications.list.iter_mut().find(|entry| entry.name == name);
        let before = entry.and_then(|entry| entry.library.replace(library.clone()));
        // All others keep theirs, wherever a link leads by now.
        let others = configuration.applications.list.iter().filter(|entry| entry.name != name);
        let kept = |entry: &Application| {
            let library = self.libraries.of(entry)?.path().to_owned();
            Some(KeptLibrary { name: entry.name.clone(), library })
        };
        let others: Vec<KeptLibrary> = others.filter_map(kept).collect();
        let done = self.go_over_to(configuration, &others)?;
        let in_file = self.state.loaded.remove(name).map_or(before, |loaded| loaded.in_file);
        self.state.loaded.insert(name.to_owned(), Loaded { in_file, library });
        Ok(done)
    }

    /// Puts what `loadApplication` has loaded into a configuration as the file has it, where the file says of the
    /// library what it said then.
    fn keep_loaded(&self, new: &mut Configuration) -> Vec<KeptLibrary> {
        let mut kept = Vec::new();
        for entry in &mut new.applications.list {
            if let Some(loaded) = self.state.loaded.get(&entry.name)
                && entry.library == loaded.in_file
            {
                entry.library = Some(loaded.library.clone());
                kept.push(loaded.kept(&entry.name));
            }
        }
        kept
    }

    /// Goes over to a configuration as it is, whatever commands have loaded; `kept` is what of that is in it.
    fn go_over_to(&mut self, new: Configuration, kept: &[KeptLibrary]) -> Result<Reloaded, Vec<ConfigError>> {
        let environment = &self.environment;
        let program_folder = environment.program_folder.as_deref();
        let libraries = Libraries::load(&new, &environment.catalogue, program_folder, kept)?;
        let mut diff = diff(&self.configuration, &new);
        self.libraries.add_replaced(&libraries, &new, &mut diff);
        let wanted = [diff.added_applications.as_slice(), &diff.changed_applications].concat();
        // Those whose port is open and is given up; where one stays open, binding says so.
        let given_up = |port: &Port| port.created || diff.removed_acceptors.contains(&port.wanted);
        let (taken_over, fresh): (Vec<_>, Vec<_>) = diff.added_acceptors.iter().cloned().partition(|added| {
            let address = added.acceptor.address();
            self.position_of(|port| port.address == address && given_up(port)).is_some()
        });

        // Everything that can fail comes before anything changes.
        let mut bound = Vec::new();
        let allowed = super::commands::processes::allowed(&new)?;
        let in_force = Some(&self.configuration);
        let mut errors = certificates::check_pulls(&libraries, &new, in_force, &environment.folder);
        for acceptor in fresh {
            let path = path_of_acceptor(&new, &acceptor);
            let prepared = certificates::prepare(&libraries, &acceptor, &path, &environment.folder);
            let prepared = prepared.map_err(|wrong| errors.extend(wrong)).ok();
            match bind_one(acceptor, &path) {
                Ok(one) => bound.push(Bound { prepared, ..one }),
                Err(error) => errors.push(*error),
            }
        }
        let mut prepared_anew = Vec::new();
        let others =
            self.ports.iter().filter(|port| !given_up(port) && self.has_other_layers(port, &libraries));
        for wanted in taken_over.iter().chain(others.map(|port| &port.wanted)) {
            let path = path_of_acceptor(&new, wanted);
            match certificates::prepare(&libraries, wanted, &path, &environment.folder) {
                Ok(prepared) => prepared_anew.push((wanted.clone(), prepared)),
                Err(wrong) => errors.extend(wrong),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let started = self.start_applications(&libraries, &new, &wanted)?;
        if let Some(logger) = &diff.event_logger
            && let Err(errors) = self.events.configure(logger)
        {
            for (_, running) in started {
                running.handle.stop(super::WITHDRAW);
                tell_application(&self.events, Kind::ApplicationStop, &running);
            }
            return Err(errors);
        }
        for library in libraries.replaced() {
            slog::warn!(
                self.environment.log,
                "{} has changed since it was loaded, and what was loaded goes on: a new version needs a file of another \
                 name, or a restart",
                library.display()
            );
        }
        self.libraries = libraries;

        let mut reloaded = Reloaded {
            opened: bound.len() + taken_over.len(),
            closed: diff.removed_acceptors.len(),
            started: started.iter().map(|(name, _)| name.clone()).collect(),
            ended: diff.removed_applications.clone(),
            retuned: diff.retuned_applications,
            restart: diff.restart,
            kept_loaded: Vec::new(),
        };
        reloaded.started.sort();
        // What needs a restart stays as it was.
        let old = std::mem::replace(&mut self.configuration, new);
        self.configuration.limits = old.limits.clone();
        self.configuration.workers = old.workers;
        self.configuration.daemon = old.daemon;
        self.configuration.counters_file.clone_from(&old.counters_file);
        self.configuration.state_file.clone_from(&old.state_file);
        self.configure_processes(allowed);
        if diff.outbound_policy {
            self.outbound.policy.set(self.configuration.outbound_policy.clone());
            self.links.policy_changed();
        }

        let other_secret = |name: &&String| secret_of(&old, name) != secret_of(&self.configuration, name);
        let mut outdated: Vec<String> = reloaded.started.iter().filter(other_secret).cloned().collect();
        // Whichever port sessions came by, it may be closed by now.
        outdated.extend_from_slice(&diff.removed_applications);
        for name in &diff.removed_applications {
            let removed = self.applications.remove(name);
            removed.iter().for_each(Running::remove);
            self.retired.extend(removed);
        }
        self.put_in_force(started);
        // Older instances too: they were let be while the secret stayed.
        for running in &mut self.retired {
            if outdated.iter().any(|name| name == running.handle.name()) {
                running.outdate();
            }
        }

        let mut kept = Vec::new();
        for removed in &diff.removed_acceptors {
            if let Some(at) = self.position_of(|port| !port.created && port.wanted == *removed) {
                kept.push(self.close_port(at));
            }
        }
        while let Some(at) = self.position_of(|port| {
            port.created
                && !may_stay(port, &self.configuration, &self.libraries.catalogue, &diff.added_acceptors)
        }) {
            kept.push(self.close_port(at));
            reloaded.closed += 1;
        }
        self.renew_preparations();
        let preparations = |wanted: &ApplicationAcceptor| {
            let made = prepared_anew.iter().find(|(other, _)| other == wanted);
            made.map(|(_, prepared)| prepared.clone())
        };
        for port in &mut self.ports {
            port.prepared = preparations(&port.wanted).unwrap_or_else(|| port.prepared.clone());
        }
        for wanted in taken_over {
            let prepared = preparations(&wanted).unwrap_or_default();
            let address = wanted.acceptor.address();
            if let Some(at) = kept.iter().position(|port| port.address == address) {
                let port = kept.swap_remove(at);
                // A command may have closed a port of the configuration for a while; that goes on.
                let enabled = port.enabled || port.created;
                self.open(Port { wanted, enabled, created: false, prepared, ..port });
            }
        }
        for bound in bound {
            self.open_bound(bound, false);
        }
        // New connections get chains of what applications, libraries and the configuration say now.
        if diff.chains || !reloaded.started.is_empty() {
            self.reopen_ports();
        }
        self.look_at_terms();
        self.resume_links();
        self.guard.read_again();
        self.sweep();
        Ok(reloaded)
    }

    /// Whether the chain of a port, which goes by the same name, will be of other layers.
    fn has_other_layers(&self, port: &Port, new: &Libraries) -> bool {
        let chain = &port.wanted.acceptor.protocol;
        !self.libraries.catalogue.layers_of(chain).eq(new.catalogue.layers_of(chain))
    }

    /// Who waits to be accepted goes on waiting at the same socket.
    fn reopen_ports(&self) {
        for port in self.ports.iter().filter(|port| port.enabled) {
            match self.ready(port) {
                Ok((listener, acceptor)) => {
                    self.workers.unlisten(port.address);
                    self.workers.listen(listener, acceptor);
                }
                Err(error) => slog::error!(
                    self.environment.log,
                    "{} goes on with the chain of before: {error}; `enableService` with `enable=0` and then with \
                     `enable=1` tries again",
                    port.address
                ),
            }
        }
    }

    fn close_port(&mut self, at: usize) -> Port {
        let port = self.ports.remove(at);
        self.workers.unlisten(port.address);
        port
    }

    fn position_of(&self, matches: impl Fn(&Port) -> bool) -> Option<usize> {
        self.ports.iter().position(matches)
    }
}

/// What sessions of this application have to show.
fn secret_of<'a>(configuration: &'a Configuration, application: &str) -> Option<&'a serde_json::Value> {
    let list = &configuration.applications.list;
    list.iter().find(|other| other.name == application).and_then(|found| found.settings.get("secret"))
}

/// Those of all connections that are meant.
fn sessions(reports: &[WorkerReport], of: &str, is_meant: impl Fn(&ConnectionReport) -> bool) -> Sessions {
    let all = reports.iter().flat_map(|report| &report.connections).filter(|connection| is_meant(connection));
    listed(of, all.map(|connection| connection.id.0).collect())
}

/// The first of these numbers, and how many there are.
fn listed(of: &str, mut ids: Vec<u64>) -> Sessions {
    ids.sort_unstable();
    let count = ids.len();
    ids.truncate(SESSIONS);
    Sessions { of: of.to_owned(), count, ids }
}

fn has_some(sessions: &Sessions) -> bool {
    sessions.count > 0
}

/// Whether a connection with this near end came by an acceptor that listens at `address`.
fn came_by(local: SocketAddr, address: SocketAddr) -> bool {
    let every = address.ip().is_unspecified();
    local.port() == address.port() && (every || local.ip().to_canonical() == address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_belong_to_the_acceptor_of_their_near_end() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (local, acceptor, expected) in [
            ("127.0.0.1:1935", "127.0.0.1:1935", true),
            ("127.0.0.1:1935", "0.0.0.0:1935", true),
            ("[::ffff:127.0.0.1]:1935", "[::]:1935", true),
            ("[::ffff:127.0.0.1]:1935", "127.0.0.1:1935", true),
            ("127.0.0.1:1935", "127.0.0.2:1935", false),
            ("127.0.0.1:1935", "0.0.0.0:1936", false),
        ] {
            assert_eq!(came_by(address(local), address(acceptor)), expected, "{local} {acceptor}");
        }
    }

    #[test]
    fn a_plan_lists_so_many_numbers_and_counts_all() {
        for count in [SESSIONS - 1, SESSIONS, SESSIONS + 1] {
            let ids = (0..u64::try_from(count).unwrap()).rev().collect();
            let Sessions { count: told, ids, .. } = listed("live", ids);
            assert_eq!((told, ids.len()), (count, count.min(SESSIONS)));
            assert!(ids.is_sorted() && ids[0] == 0);
        }
    }
}
