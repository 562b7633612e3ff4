//! Commands about applications.

use std::{path::PathBuf, sync::atomic::Ordering};

use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server};
use crate::{
    apps::Health,
    commands::{Access, Kind, Param, Spec},
};

const NAME: Param = Param::required("name", Kind::Text, "the application's name, or an alias");

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new("listApplications", Access::Read, &[], "Lists the applications."),
            |server, _| {
                Outcome::Data(
                    server
                        .configuration
                        .applications
                        .list
                        .iter()
                        .map(|entry| info(server, &entry.name))
                        .collect(),
                )
            },
        ),
        Builtin::new(
            Spec::new(
                "disableApplication",
                Access::Change,
                &[NAME],
                "Has an application refuse all that it is asked; its running streams go on.",
            ),
            disable,
        ),
        Builtin::new(
            Spec::new(
                "enableApplication",
                Access::Change,
                &[NAME],
                "Makes a new instance of an application that was disabled, by command or because it panicked too often.",
            ),
            enable,
        ),
        Builtin::new(
            Spec::new(
                "loadApplication",
                Access::Secret,
                &[
                    NAME,
                    Param::required(
                        "library",
                        Kind::Text,
                        "the file of the new version, which must be another file",
                    ),
                ],
                "Loads another version of an application beside the one that runs; new connections go to it.",
            ),
            load,
        ),
    ]
}

fn info(server: &Server, name: &str) -> Value {
    let entry = server.configuration.applications.list.iter().find(|entry| entry.name == name);
    let running = server.applications.get(name);
    let old = server.retired.iter().filter(|running| running.handle.name() == name).count();
    json!({
        "name": name,
        "description": entry.map(|entry| entry.description.as_str()).unwrap_or_default(),
        "aliases": entry.map(|entry| entry.aliases.clone()).unwrap_or_default(),
        "default": entry.is_some_and(|entry| entry.default),
        "library": entry.and_then(|entry| server.libraries.of(entry)).map(|library| library.path().display().to_string()),
        "version": entry.and_then(|entry| server.libraries.of(entry)).map(|library| library.version().to_owned()),
        "health": running.map(|running| format!("{:?}", running.handle.health()).to_lowercase()),
        "waiting": running.map(|running| running.handle.waiting()),
        "panics": running.map(|running| running.handle.panics()),
        "connections": server.connections.get(name).map(|count| count.load(Ordering::Relaxed)),
        "oldInstances": old,
    })
}

/// The name of the application that is meant.
fn find(server: &Server, run: &Run<'_>) -> Result<String, String> {
    let name = run.params.text("name");
    let list = &server.configuration.applications.list;
    list.iter()
        .find(|entry| entry.name == name || entry.aliases.iter().any(|alias| alias == name))
        .map(|entry| entry.name.clone())
        .ok_or_else(|| format!("there is no application {name:?}; `listApplications` lists all"))
}

fn disable(server: &mut Server, run: &Run<'_>) -> Outcome {
    let name = match find(server, run) {
        Ok(name) => name,
        Err(text) => return Outcome::Fail(text),
    };
    let Some(running) = server.applications.get(&name) else {
        return Outcome::Fail(format!("the application {name:?} does not run"));
    };
    running.handle.disable();
    slog::warn!(server.environment.log, "application `{name}` is disabled by command"; "caller" => &run.caller.name);
    Outcome::Done("the application is disabled", info(server, &name))
}

fn enable(server: &mut Server, run: &Run<'_>) -> Outcome {
    let name = match find(server, run) {
        Ok(name) => name,
        Err(text) => return Outcome::Fail(text),
    };
    if server.applications.get(&name).is_some_and(|running| running.handle.health() == Health::Well) {
        return Outcome::Fail(format!("the application {name:?} is well; nothing is done"));
    }
    let configuration = server.configuration.clone();
    let Some(entry) = configuration.applications.list.iter().find(|entry| entry.name == name) else {
        return Outcome::Fail(format!("there is no application {name:?}"));
    };
    let libraries = server.libraries.clone();
    match server.start_applications(&libraries, &configuration, std::slice::from_ref(entry)) {
        Ok(started) => {
            server.put_in_force(started);
            Outcome::Done("the application has a new instance", info(server, &name))
        }
        Err(errors) => Outcome::Fail(texts(&errors)),
    }
}

fn load(server: &mut Server, run: &Run<'_>) -> Outcome {
    let name = match find(server, run) {
        Ok(name) => name,
        Err(text) => return Outcome::Fail(text),
    };
    let file = PathBuf::from(run.params.text("library"));
    if !file.is_absolute() {
        return Outcome::Fail("`library` must be an absolute path".to_owned());
    }
    let mut configuration = server.configuration.clone();
    let Some(entry) = configuration.applications.list.iter_mut().find(|entry| entry.name == name) else {
        return Outcome::Fail(format!("there is no application {name:?}"));
    };
    let same = server.libraries.of(entry).map(|library| library.path().to_owned());
    if file.canonicalize().ok().is_some_and(|file| same == Some(file)) {
        let text = "that file is loaded already, and the system gives it again whatever is in it now; \
                    put the new version into a file of another name";
        return Outcome::Fail(text.to_owned());
    }
    entry.library = Some(file);
    match server.reload(configuration) {
        Ok(_) => Outcome::Done("the new version is loaded; new connections go to it", info(server, &name)),
        Err(errors) => Outcome::Fail(texts(&errors)),
    }
}

fn texts(errors: &[crate::config::ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
