//! Commands about shared objects.

use crtmp_media::{SharedWish, StreamName};
use crtmp_plugin::values::{from_json, to_json};
use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server};
use crate::{
    commands::{Access, Kind, Param, Spec},
    shared_objects::{Held, Listed},
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
        Builtin::new(
            Spec::new(
                "getSharedObject",
                Access::Read,
                &[
                    Param::required("application", Kind::Text, "its application"),
                    Param::required("name", Kind::Text, "its name, as `listSharedObjects` shows it"),
                ],
                "Shows a remote shared object and what it holds. A persistent one that is not in memory is read from its \
                 file.",
            ),
            |server, run| order(server, run, Vec::new()),
        )
        .saying("The shared object"),
        Builtin::new(
            Spec::new(
                "changeSharedObject",
                Access::Change,
                &[
                    Param::required("application", Kind::Text, "its application"),
                    Param::required("name", Kind::Text, "its name, as `listSharedObjects` shows it"),
                    Param::optional("clear", Kind::Flag, "false", "take all slots away first"),
                    Param::optional("remove", Kind::List, "[]", "slots to take away"),
                    Param::optional("slots", Kind::Json, "{}", "an object (or its JSON text): new values by slot"),
                    Param::optional("send", Kind::Json, "[]", "a list of values (or its JSON text) to send to all who use it, by custom \
                         the name of a function first; they are not kept"),
                ],
                "Changes a remote shared object, in the order of the parameters; all who use it are told. One that nobody uses \
                 can only be changed if it is persistent, and is made where there is none; the reply comes when the change is \
                 in its file.",
            ),
            change,
        )
        .saying("The shared object has been changed"),
    ]
}

fn change(server: &mut Server, run: &Run<'_>) -> Outcome {
    let params = run.params.map();
    let (slots, send) = (parsed(&params["slots"]), parsed(&params["send"]));
    let Some(slots) = slots.as_object() else {
        return Outcome::Fail("`slots` must be an object of values by slot".to_owned());
    };
    let Some(send) = send.as_array() else {
        return Outcome::Fail("`send` must be a list of values".to_owned());
    };
    let clear = run.params.flag("clear").then_some(SharedWish::Clear);
    let remove = run.params.list("remove");
    let remove = remove.into_iter().map(|slot| SharedWish::Remove { slot: slot.to_owned() });
    let slots = slots.iter();
    let slots = slots.map(|(slot, value)| SharedWish::Change { slot: slot.clone(), value: from_json(value) });
    let send = (!send.is_empty()).then(|| SharedWish::Send { values: send.iter().map(from_json).collect() });
    let wishes: Vec<_> = clear.into_iter().chain(remove).chain(slots).chain(send).collect();
    if wishes.is_empty() {
        return Outcome::Fail("nothing to change: give `clear`, `remove`, `slots` or `send`".to_owned());
    }
    order(server, run, wishes)
}

/// Faces whose values are texts have JSON in it.
fn parsed(value: &Value) -> Value {
    value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
}

/// Has something done with an object, or with no wishes has it shown.
fn order(server: &Server, run: &Run<'_>, wishes: Vec<SharedWish>) -> Outcome {
    let wanted = run.params.text("application").to_owned();
    let mut applications = server.configuration.applications.list.iter();
    let Some(application) = applications.find(|application| application.name == wanted) else {
        return Outcome::Fail(format!("there is no application {wanted:?}"));
    };
    let name = match StreamName::new("", run.params.text("name"), &server.limits) {
        Ok(name) => name,
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    let folder = application.shared_objects.place(&server.environment.folder);
    let objects = server.shared_objects.clone();
    Outcome::Later(Box::new(move |finish| {
        let application = wanted.clone();
        let answer = Box::new(move |result: Result<Held, String>| {
            finish(result.map(|held| show_held(&application, &held)));
        });
        objects.order(&wanted, folder, name.as_str(), wishes, answer);
    }))
}

fn show_held(application: &str, held: &Held) -> Value {
    let mut shown = show(application, &held.listed);
    let slots = held.slots.iter().map(|(slot, value)| (slot.to_string(), to_json(value)));
    shown["slots"] = Value::Object(slots.collect());
    shown
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
