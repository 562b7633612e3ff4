//! Commands about programs that run beside the server.

use std::{sync::Arc, time::Instant};

use crtmp_plugin::Rights;
use serde_json::Value;

use super::{super::control::Order, Builtin, Outcome, Run, Server, kept::KINDS};
use crate::{
    commands::{Access, Kind, Param, Params, Spec},
    config::{ConfigError, Configuration},
    events::Event,
    processes::{Allowed, Launch, Program, Surroundings},
};

/// Bytes of all arguments and of all of the environment that a process may be given, ends included; the system takes
/// no more of a single one either.
const WORDS: usize = 128 * 1024;

/// Bytes of the name of a group.
const GROUP: usize = 255;

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    let id = Param::required("id", Kind::Whole, "the process's `configId`, from listProcesses");
    vec![
        Builtin::new(
            Spec::new(
                "launchProcess",
                Access::Secret,
                &[
                    Param::required(
                        "fullBinaryPath",
                        Kind::Text,
                        "the program, letter by letter as in `processes.allow` of the configuration",
                    ),
                    Param::optional("keepAlive", Kind::Flag, "true", "whether it is run again when it ends"),
                    Param::optional("arguments", Kind::Text, "\"\"", "its arguments, with spaces between"),
                    Param::optional(
                        "argumentList",
                        Kind::List,
                        "[]",
                        "its arguments, each whole, whatever is in it; not beside `arguments`",
                    ),
                    Param::optional(
                        "groupName",
                        Kind::Text,
                        "\"\"",
                        "a name for people; without it, a new one",
                    ),
                ],
                "Runs a program that the configuration allows, without a shell, until the server ends.",
            )
            .with_variables("a variable of the program's environment, listed in `processes.variables` of the configuration"),
            launch,
        ),
        Builtin::new(
            Spec::new("listProcesses", Access::Read, &[], "Lists launched processes; with their arguments and last output for callers that have all rights."),
            |server, run| Outcome::Data(server.process_entries(run.caller.rights).into()),
        )
        .saying("Launched processes"),
        Builtin::new(
            Spec::new(
                "stopProcess",
                Access::Change,
                &[id],
                "Ends a process with all that it has started, and forgets it.",
            ),
            |server, run| match server.stop_process(run.params.whole("id").unwrap_or_default()) {
                Ok(entry) => Outcome::Done("the process ends", shown(entry, run.caller.rights)),
                Err(text) => Outcome::Fail(text),
            },
        ),
    ]
}

fn launch(server: &mut Server, run: &Run<'_>) -> Outcome {
    let launch = match read(run.params, &server.configuration.processes.variables) {
        Ok(launch) => launch,
        Err(text) => return Outcome::Fail(text),
    };
    // `listConfig` shows processes beside what is kept.
    let id = server.state.kept.next_id();
    let name = launch.group_name.is_empty().then(|| format!("process_group_{id}"));
    let launch = Launch { group_name: name.unwrap_or(launch.group_name), ..launch };
    let around = server.surroundings();
    let launched = server.state.processes.launch(id, launch, &around);
    server.tell_of_processes();
    match launched {
        Ok(entry) => {
            slog::info!(around.log, "process {id} is launched by command"; "caller" => %run.caller);
            Outcome::Done("the process is started", entry)
        }
        Err(text) => Outcome::Fail(text),
    }
}

/// What is known of a process, for a caller with these rights. Secrets that nothing marks as such are in arguments and
/// output.
fn shown(mut entry: Value, rights: Rights) -> Value {
    if rights < Rights::All {
        for key in ["arguments", "argumentList", "lastLines"] {
            entry[key] = Value::Null;
        }
    }
    entry
}

/// Reads what is to be launched. Nothing in it is ever looked at by a shell.
fn read(params: &Params, allowed: &[String]) -> Result<Launch, String> {
    let (text, list) = (params.text("arguments"), params.list("argumentList"));
    if !text.is_empty() && !list.is_empty() {
        return Err("give either `arguments` or `argumentList`, not both".to_owned());
    }
    let words = text.split(' ').filter(|word| !word.is_empty());
    let arguments: Vec<String> = words.chain(list).map(str::to_owned).collect();
    let mut environment = Vec::new();
    for (name, value) in params.variables() {
        if !allowed.iter().any(|other| other == name) {
            return Err(format!("`${name}` may not be set: it is not listed in `processes.variables`"));
        }
        environment.push((name.to_owned(), value.to_owned()));
    }
    let path = params.text("fullBinaryPath");
    let group_name = params.text("groupName");
    let program = Program { name: path.into(), arguments, environment };
    let bytes = size(path, &program)?;
    if bytes > WORDS {
        return Err(format!("path, arguments and variables have {bytes} bytes; at most {WORDS} are taken"));
    }
    if KINDS.contains(&group_name) {
        return Err(format!(
            "`groupName` {group_name:?} is a group of `listConfig` already; take another name"
        ));
    }
    if group_name.len() > GROUP {
        return Err(format!("`groupName` has {} bytes; at most {GROUP} are taken", group_name.len()));
    }
    Ok(Launch { program, keep_alive: params.flag("keepAlive"), group_name: group_name.to_owned() })
}

/// The bytes of all that a program is given, each text with its end.
fn size(path: &str, program: &Program) -> Result<usize, String> {
    let pairs = program.environment.iter().flat_map(|(name, value)| [name, value]);
    let mut bytes = 0;
    for text in pairs.chain(&program.arguments).map(String::as_str).chain([path]) {
        if text.contains('\0') {
            return Err("neither the path nor arguments and variables may hold a NUL character".to_owned());
        }
        bytes += text.len() + 1;
    }
    Ok(bytes)
}

impl Server {
    /// What a caller may know of each process, as `listConfig` shows it.
    pub(super) fn process_entries(&self, rights: Rights) -> Vec<Value> {
        self.state.processes.entries().into_iter().map(|entry| shown(entry, rights)).collect()
    }

    /// Ends a process for good; returns what was known of it.
    pub(super) fn stop_process(&mut self, id: u64) -> Result<Value, String> {
        self.state.processes.stop(id)
    }

    /// A run of a process has ended.
    pub(in crate::server) fn process_ended(&mut self, id: u64, run: u64) {
        let around = self.surroundings();
        self.state.processes.ended(id, run, Instant::now(), &around);
        self.tell_of_processes();
    }

    /// Goes by what the configuration in force says of processes.
    pub(in crate::server) fn configure_processes(&mut self, allowed: Allowed) {
        let around = self.surroundings();
        self.state.processes.configure(&self.configuration.processes, allowed, &around);
    }

    pub(super) fn look_after_processes(&mut self, now: Instant) {
        let around = self.surroundings();
        self.state.processes.upkeep(now, &around);
        self.tell_of_processes();
    }

    /// Tells all processes to end; what is returned waits for that, up to a time.
    pub(super) fn end_processes(&mut self) -> impl FnOnce(Instant) + use<> {
        let mut processes = std::mem::take(&mut self.state.processes);
        processes.end();
        let (around, events) = (self.surroundings(), self.events.clone());
        move |until| {
            processes.finish(until, &around);
            for (kind, payload) in processes.news() {
                events.emit(Event { kind, stream: None, payload });
            }
        }
    }

    fn surroundings(&self) -> Surroundings {
        let post = self.environment.post.clone();
        let ended = Arc::new(move |id, run| post(Order::ProcessEnded { id, run }));
        Surroundings { log: self.environment.log.clone(), ended }
    }

    fn tell_of_processes(&mut self) {
        for (kind, payload) in self.state.processes.news() {
            self.tell(kind, payload);
        }
    }
}

/// Looks whether the programs that a configuration allows are there.
pub(in crate::server) fn allowed(configuration: &Configuration) -> Result<Allowed, Vec<ConfigError>> {
    Allowed::read(&configuration.processes.allow)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_call(call: Value) -> Result<Launch, String> {
        let Value::Object(mut given) = call else { panic!("not an object") };
        given.entry("fullBinaryPath").or_insert("/bin/true".into());
        let spec = commands().remove(0).spec;
        read(&spec.check(&given)?, &["SAMPLE".to_owned(), "_a1".to_owned()])
    }

    /// EXE-01: nothing that a shell would look at is looked at.
    #[test]
    fn arguments_are_split_at_spaces_or_not_at_all() {
        let launch = read_call(json!({ "arguments": "10fps  'Stream1 $(id);`id` -i" })).unwrap();
        assert_eq!(launch.program.arguments, ["10fps", "'Stream1", "$(id);`id`", "-i"]);
        assert!(launch.keep_alive);
        let odd = ["; rm -rf /", "$(id)", "`id`", "-i", "two words", "two\nlines", "", "--x=%s\\"];
        let launch = read_call(json!({ "argumentList": odd, "keepAlive": "0" })).unwrap();
        assert_eq!(launch.program.arguments, odd);
        assert!(!launch.keep_alive);
        let both = read_call(json!({ "argumentList": ["a"], "arguments": "b" })).unwrap_err();
        assert_eq!(both, "give either `arguments` or `argumentList`, not both");
        assert!(read_call(json!({ "argumentList": ["a\0b"] })).unwrap_err().contains("NUL"));
    }

    #[test]
    fn only_listed_variables_may_be_set() {
        let launch = read_call(json!({ "$SAMPLE": "My Val=;$(x)", "$_a1": "" })).unwrap();
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(launch.program.environment, [of("SAMPLE", "My Val=;$(x)"), of("_a1", "")]);
        for name in ["LD_PRELOAD", "OPENSSL_CONF", "GST_PLUGIN_PATH", "HOME", "sample", "SAMPLE1", "PATH"] {
            let text = read_call(json!({ format!("${name}"): "/tmp" })).unwrap_err();
            let expected = format!("`${name}` may not be set: it is not listed in `processes.variables`");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn arguments_and_output_are_shown_only_to_callers_with_all_rights() {
        let entry =
            || json!({ "id": 1, "arguments": "-x a", "argumentList": ["-x", "a"], "lastLines": ["b"] });
        assert_eq!(shown(entry(), Rights::All), entry());
        for rights in [Rights::Read, Rights::Change] {
            let expected = json!({ "id": 1, "arguments": null, "argumentList": null, "lastLines": null });
            assert_eq!(shown(entry(), rights), expected);
        }
    }

    #[test]
    fn what_a_process_is_given_has_a_size() {
        // The path takes 10 bytes, each argument one more than it has.
        let rest = WORDS - 10 - 2;
        for (length, good) in [(rest - 1, true), (rest, true), (rest + 1, false)] {
            let list = ["x".repeat(length / 2), "y".repeat(length - length / 2)];
            assert_eq!(read_call(json!({ "argumentList": list })).is_ok(), good, "{length}");
        }
        for (length, good) in [(GROUP - 1, true), (GROUP, true), (GROUP + 1, false)] {
            assert_eq!(read_call(json!({ "groupName": "g".repeat(length) })).is_ok(), good);
        }
    }
}
