//! Commands about what is kept over a restart, whichever command has set it up.

use serde_json::{Map, Value, json};

use super::{Builtin, Outcome, Run, Server, ingest, kept, limits};
use crate::commands::{Access, Kind, Param, Spec};

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "listConfig",
                Access::Read,
                &[],
                "Lists by groups what commands have set up: what stateFile keeps over a restart, and launched processes, \
                 which end with the server; beside that the pulls that the configuration sets up (externalStreams). Of \
                 pulls and pushes it says what they are doing. Secrets are shown as *** \
                 to callers that have not all rights.",
            ),
            |server, run| Outcome::Data(list(server, run)),
        )
        .saying("Stored configuration"),
        Builtin::new(
            Spec::new(
                "getConfigInfo",
                Access::Read,
                &[Param::required("id", Kind::Whole, "the configuration's number (`configId`)")],
                "Describes one of what `listConfig` lists.",
            ),
            info,
        )
        .saying("Configuration information"),
        Builtin::new(
            Spec::new(
                "removeConfig",
                Access::Change,
                &[
                    Param::optional("id", Kind::Whole, "null", "the configuration's number (`configId`)"),
                    Param::optional(
                        "groupName",
                        Kind::Text,
                        "null",
                        "the `groupName` of processes: all of them; or a group of `listConfig`: all of it",
                    ),
                ],
                "Undoes what commands have set up, one by its number or a whole group, and forgets it. Streams that \
                 run go on, but for those that are pulled or pushed; processes end.",
            ),
            |server, run| match remove(server, run) {
                Ok(removed) => Outcome::Done("the configuration is removed", removed),
                Err(text) => Outcome::Fail(text),
            },
        ),
    ]
}

fn list(server: &Server, run: &Run<'_>) -> Value {
    let group = |kind: &&str| {
        if matches!(*kind, kept::PULL | kept::PUSH) {
            return ((*kind).to_owned(), server.link_entries(kind, run.caller.rights).into());
        }
        let entries = server.state.kept.entries().filter(|(_, entry)| entry.kind == *kind);
        let entries = entries.map(|(id, entry)| ingest::show(id, &entry.value, run.caller.rights));
        let mut entries: Vec<Value> = entries.collect();
        if *kind == kept::PROCESS {
            entries.extend(server.process_entries(run.caller.rights));
        }
        ((*kind).to_owned(), entries.into())
    };
    Value::Object(kept::KINDS.iter().map(group).collect::<Map<_, _>>())
}

fn info(server: &mut Server, run: &Run<'_>) -> Outcome {
    let id = run.params.whole("id").unwrap_or_default();
    if let Some(entry) = server.link_entry(id, run.caller.rights) {
        return Outcome::Data(entry);
    }
    let Some(entry) = server.state.kept.get(id) else {
        if let Some(process) =
            server.process_entries(run.caller.rights).into_iter().find(|entry| entry["configId"] == id)
        {
            return Outcome::Data(process);
        }
        return Outcome::Fail(format!("there is no configuration {id}; `listConfig` lists all"));
    };
    let mut shown = ingest::show(id, &entry.value, run.caller.rights);
    if let Some(map) = shown.as_object_mut() {
        map.insert("groupName".to_owned(), entry.kind.into());
    }
    Outcome::Data(shown)
}

fn remove(server: &mut Server, run: &Run<'_>) -> Result<Value, String> {
    let mut processes = Vec::new();
    let mut passing = Vec::new();
    let gone = match (run.params.whole("id"), run.params.given_text("groupName")) {
        (Some(id), None) if server.stop_process(id).is_ok() => {
            processes.push(id);
            Vec::new()
        }
        (Some(id), None) if server.leave_link(id, run) => {
            passing.push(id);
            Vec::new()
        }
        (Some(id), None) => {
            server.may_remove_link(id)?;
            passing = server.remove_passing_links(|other, _| other == id);
            if passing.is_empty() { vec![(id, server.state.kept.remove(id)?)] } else { Vec::new() }
        }
        (None, Some(group)) => {
            let all = server.process_entries(run.caller.rights);
            let meant = all.iter().filter(|entry| group == kept::PROCESS || entry["groupName"] == group);
            processes.extend(meant.filter_map(|entry| entry["configId"].as_u64()));
            let is_kind = kept::KINDS.contains(&group);
            if processes.is_empty() && !is_kind {
                let kinds = kept::KINDS.join(", ");
                return Err(format!(
                    "no process has the group {group:?}; the groups of `listConfig` are {kinds}"
                ));
            }
            for id in &processes {
                server.stop_process(*id)?;
            }
            // Processes are in no file.
            let is_stored = is_kind && group != kept::PROCESS;
            passing = server.remove_passing_links(|_, kind| kind == group);
            if is_stored { server.state.kept.remove_kind(group)? } else { Vec::new() }
        }
        _ => return Err("one of `id` and `groupName` must be given".to_owned()),
    };
    for (id, entry) in &gone {
        match entry.kind {
            kept::LIMITS => limits::lift(server, &entry.value),
            kept::INGEST_POINTS => ingest::forget(server, &entry.value),
            kept::PULL | kept::PUSH => server.drop_link(*id),
            _ => {}
        }
    }
    slog::info!(server.environment.log, "configurations are removed by command";
        "count" => gone.len() + passing.len() + processes.len(), "caller" => %run.caller);
    let gone = gone.iter().map(|(id, _)| *id).chain(passing).chain(processes);
    Ok(gone.map(|id| json!({ "configId": id })).collect())
}
