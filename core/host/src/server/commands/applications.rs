//! Commands about applications.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use serde_json::{Value, json};

use super::{super::Port, Builtin, Outcome, Run, Server, services::takes_commands};
use crate::{
    apps::Health,
    commands::{Access, Kind, Param, Spec},
    plugins::Library,
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
        )
        .saying("Available applications"),
        Builtin::new(
            Spec::new(
                "disableApplication",
                Access::Change,
                &[NAME],
                "Has an application refuse all that it is asked; its running streams go on. Neither that of the asking \
                 session nor the last one that takes command lines.",
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
                        "the file of the new version: another one, in the folder of the present library, in \
                         `rootDirectory` or in one of `loadFrom`",
                    ),
                ],
                "Loads another version of an application beside the one that runs; new connections go to it. It stays over \
                 reloads, with or without its file, until `library` of the application in the configuration file changes, \
                 and their plan and log say so; a restart starts what the file names.",
            ),
            load,
        ),
    ]
}

fn info(server: &Server, name: &str) -> Value {
    let entry = server.configuration.applications.list.iter().find(|entry| entry.name == name);
    let running = server.applications.get(name);
    // Before its health, so that a panic that is counted here has had its consequence there.
    let panics = running.map(|running| running.handle.panics());
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
        "panics": panics,
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
    if run.caller.name == name {
        return Outcome::Fail(format!("{name:?} is not disabled: this session belongs to it"));
    }
    let (own, others): (Vec<&Port>, Vec<&Port>) = server
        .ports
        .iter()
        .filter(|port| takes_commands(server, port))
        .partition(|port| port.wanted.application == name);
    if !own.is_empty() && others.is_empty() {
        return Outcome::Fail(format!("{name:?} is not disabled: no other application takes command lines"));
    }
    running.handle.disable();
    slog::warn!(server.environment.log, "application `{name}` is disabled by command"; "caller" => %run.caller);
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
    let Some(entry) = server.configuration.applications.list.iter().find(|entry| entry.name == name) else {
        return Outcome::Fail(format!("there is no application {name:?}"));
    };
    let same = server.libraries.of(entry).map(|library| library.path().to_owned());
    let root = &server.configuration.applications.root_directory;
    let folders = same.iter().filter_map(|library| library.parent());
    let folders = folders.chain([root.as_path()]).chain(entry.load_from.iter().map(PathBuf::as_path));
    let file = match library_within(&file, folders) {
        Ok(file) => file,
        Err(text) => return Outcome::Fail(text),
    };
    if same.as_ref() == Some(&file) || Library::loaded(&file).is_some_and(|before| before.is_replaced()) {
        let text = "that file is loaded already, and what was loaded counts whatever is in it now; put the new version \
                    into a file of another name";
        return Outcome::Fail(text.to_owned());
    }
    match server.load_library(&name, file) {
        Ok(_) => Outcome::Done("the new version is loaded; new connections go to it", info(server, &name)),
        Err(errors) => Outcome::Fail(texts(&errors)),
    }
}

/// The file behind a path, if it lies in one of these folders: what is loaded runs with all rights of the server.
fn library_within<'a>(file: &Path, folders: impl Iterator<Item = &'a Path>) -> Result<PathBuf, String> {
    let real = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    let holds = |folder: &Path| {
        // Everything lies in `/`, where a server may have been started.
        folder.canonicalize().is_ok_and(|folder| folder.parent().is_some() && real.starts_with(folder))
    };
    if !real.is_file() {
        return Err(format!("{} is no file", file.display()));
    }
    if !folders.into_iter().any(holds) {
        return Err(format!(
            "{} lies neither beside the present library nor in `rootDirectory` nor in a folder of the \
             application's `loadFrom`",
            file.display()
        ));
    }
    Ok(real)
}

fn texts(errors: &[crate::config::ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn libraries_come_from_certain_folders_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["a", "a/deep", "b"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["a/lib.so", "a/deep/lib.so", "b/lib.so"] {
            fs::write(path(name), "").unwrap();
        }
        symlink(path("b/lib.so"), path("a/out.so")).unwrap();
        symlink(path("a/lib.so"), path("b/in.so")).unwrap();
        symlink(path("a"), path("link")).unwrap();
        let within = |file: &str, allowed: &str| {
            let allowed = [path(allowed), "/".into(), "/nowhere".into()];
            library_within(&path(file), allowed.iter().map(PathBuf::as_path))
        };
        for (file, real) in [
            ("a/lib.so", "a/lib.so"),
            ("a/deep/lib.so", "a/deep/lib.so"),
            ("b/in.so", "a/lib.so"),
            ("b/../a/lib.so", "a/lib.so"),
        ] {
            assert_eq!(within(file, "a"), Ok(path(real)), "{file}");
            assert_eq!(within(file, "link"), Ok(path(real)), "{file}");
        }
        for (file, why) in [
            ("b/lib.so", "lies neither"),
            ("a/out.so", "lies neither"),
            ("a/../b/lib.so", "lies neither"),
            ("a/deep", "is no file"),
            ("a/none.so", "No such file"),
        ] {
            let text = within(file, "a").unwrap_err();
            assert!(text.contains(why), "{file}: {text}");
        }
    }
}
