//! Commands about shared objects.

use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server};
use crate::{
    commands::{Access, Kind, Param, Spec},
    shared_objects::Listed,
};

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "listSharedObjects",
                Access::Read,
                &[Param::optional("application", Kind::Text, "\"\"", "only those of this application")],
                "Lists the remote shared objects that are in memory: those that clients use, and persistent ones whose \
                 newest changes are in no file yet. What else is in the files of an application is not listed.",
            ),
            list,
        )
        .saying("Shared objects in memory"),
    ]
}

fn list(server: &mut Server, run: &Run<'_>) -> Outcome {
    let wanted = run.params.text("application");
    let applications = server.configuration.applications.list.iter().map(|application| &application.name);
    let names: Vec<_> = applications.filter(|name| wanted.is_empty() || *name == wanted).collect();
    if names.is_empty() {
        return Outcome::Fail(format!("there is no application {wanted:?}"));
    }
    let mut all = Vec::new();
    for name in names {
        match server.shared_objects.list(name) {
            Some(list) => all.extend(list.iter().map(|listed| show(name, listed))),
            None => return Outcome::Fail(format!("the shared objects of {name:?} do not answer; try again")),
        }
    }
    Outcome::Data(all.into())
}

fn show(application: &str, listed: &Listed) -> Value {
    json!({
        "application": application,
        "name": &*listed.name,
        "persistent": listed.persistent,
        "version": listed.version,
        "slots": listed.slots,
        "bytes": listed.bytes,
        "clients": listed.clients,
        "unsaved": listed.unsaved,
    })
}
