//! Commands about ingest points: the secret names that publishers must use where an application has
//! `hasIngestPoints`.

use crtmp_media::StreamName;
use crtmp_plugin::Rights;
use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server, kept};
use crate::{
    commands::{Access, Kind, Param, Spec},
    secrets,
};

const PRIVATE: &str = "privateStreamName";
const PUBLIC: &str = "publicStreamName";

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "createIngestPoint",
                Access::Change,
                &[
                    Param::required(
                        PRIVATE,
                        Kind::Text,
                        "the name that the publisher must use; whoever knows it may publish",
                    ),
                    Param::required(PUBLIC, Kind::Text, "the name that the stream has for everybody else"),
                ],
                "Lets whoever knows a private name publish a stream, which appears under its public name. Applications \
                 with hasIngestPoints take no other publishers. It is kept over a restart where `stateFile` is configured.",
            ),
            |server, run| match create(server, run) {
                Ok(point) => {
                    let unkept = "the ingest point is there; it is not kept over a restart: no stateFile is configured";
                    Outcome::Done(server.state.kept.says("the ingest point is there", unkept), point)
                }
                Err(text) => Outcome::Fail(text),
            },
        ),
        Builtin::new(
            Spec::new(
                "removeIngestPoint",
                Access::Change,
                &[Param::required(PRIVATE, Kind::Text, "the private name")],
                "Removes an ingest point; a publisher that has come by it stays.",
            ),
            |server, run| match remove(server, run) {
                Ok(point) => Outcome::Done("the ingest point is removed", point),
                Err(text) => Outcome::Fail(text),
            },
        ),
        Builtin::new(
            Spec::new(
                "listIngestPoints",
                Access::Read,
                &[],
                "Lists the ingest points. Private names are shown as *** to callers that have not all rights.",
            ),
            |server, run| {
                let entries =
                    server.state.kept.entries().filter(|(_, entry)| entry.kind == kept::INGEST_POINTS);
                let list = entries.map(|(id, entry)| show(id, &entry.value, run.caller.rights));
                Outcome::Data(list.collect())
            },
        )
        .saying("Available ingest points"),
    ]
}

/// Whether a kept ingest point may look like this.
pub(super) fn check(value: &Value) -> Result<(), &'static str> {
    let members = value.as_object().map_or(0, serde_json::Map::len);
    if names(value).is_some() && members == 2 {
        return Ok(());
    }
    Err(r#"{"privateStreamName": "…", "publicStreamName": "…"}"#)
}

/// Sets up a kept ingest point.
pub(super) fn resume(server: &Server, value: &Value) {
    let Some((private, public)) = names(value) else { return };
    if let Err(text) = server.ingest_points.add(private, public) {
        slog::error!(server.environment.log, "an ingest point of the stateFile is left out: {text}";
            "publicStreamName" => public);
    }
}

/// The entry of an ingest point is gone.
pub(super) fn forget(server: &Server, value: &Value) {
    if let Some((private, _)) = names(value) {
        server.ingest_points.remove(private);
    }
}

/// An entry as a caller may see it.
pub(super) fn show(id: u64, value: &Value, rights: Rights) -> Value {
    let mut shown = value.clone();
    if rights < Rights::All {
        secrets::mask(&mut shown);
    }
    if let Some(map) = shown.as_object_mut() {
        map.insert("configId".to_owned(), id.into());
    }
    shown
}

fn create(server: &mut Server, run: &Run<'_>) -> Result<Value, String> {
    let name = |key: &str| {
        let text = run.params.text(key);
        if text.contains('?') {
            return Err(format!("`{key}` must have no `?`"));
        }
        let name = StreamName::new("", text, &server.limits).map_err(|error| format!("`{key}`: {error}"))?;
        Ok(name.to_string())
    };
    let (private, public) = (name(PRIVATE)?, name(PUBLIC)?);
    if private == public {
        return Err(format!("`{PRIVATE}` and `{PUBLIC}` must differ: the private name is a secret"));
    }
    server.ingest_points.add(&private, &public)?;
    let value = json!({ PRIVATE: private, PUBLIC: public });
    let id = server.state.kept.add(kept::INGEST_POINTS, value.clone()).inspect_err(|_| {
        server.ingest_points.remove(&private);
    })?;
    slog::info!(server.environment.log, "an ingest point is created by command";
        "publicStreamName" => public, "caller" => %run.caller);
    // Whoever creates it knows its names.
    Ok(show(id, &value, Rights::All))
}

fn remove(server: &mut Server, run: &Run<'_>) -> Result<Value, String> {
    let private = run.params.text(PRIVATE).trim_matches('/');
    let found = |(_, entry): &(u64, &kept::Entry)| {
        entry.kind == kept::INGEST_POINTS && names(&entry.value).is_some_and(|(other, _)| other == private)
    };
    let id = server.state.kept.entries().find(found).map(|(id, _)| id);
    let id = id.ok_or("there is no ingest point of this private name; `listIngestPoints` lists all")?;
    let entry = server.state.kept.remove(id)?;
    forget(server, &entry.value);
    let public = entry.value[PUBLIC].as_str().unwrap_or_default();
    slog::info!(server.environment.log, "an ingest point is removed by command";
        "publicStreamName" => public, "caller" => %run.caller);
    Ok(show(id, &entry.value, Rights::All))
}

fn names(value: &Value) -> Option<(&str, &str)> {
    Some((value.get(PRIVATE)?.as_str()?, value.get(PUBLIC)?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_names_are_shown_only_to_callers_with_all_rights() {
        let value = json!({ PRIVATE: "hidden", PUBLIC: "cam" });
        assert_eq!(show(7, &value, Rights::All), json!({ PRIVATE: "hidden", PUBLIC: "cam", "configId": 7 }));
        for rights in [Rights::Read, Rights::Change] {
            assert_eq!(show(7, &value, rights), json!({ PRIVATE: "***", PUBLIC: "cam", "configId": 7 }));
        }
    }

    #[test]
    fn kept_ingest_points_are_read_strictly() {
        assert!(check(&json!({ PRIVATE: "a", PUBLIC: "b" })).is_ok());
        for value in [
            json!(null),
            json!({ PRIVATE: "a" }),
            json!({ PRIVATE: "a", PUBLIC: 1 }),
            json!({ PRIVATE: "a", PUBLIC: "b", "more": 1 }),
        ] {
            assert!(check(&value).is_err(), "{value}");
        }
    }
}
