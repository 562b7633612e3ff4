//! Commands about the server as a whole.

use serde_json::json;

use super::{Builtin, Outcome, Run, Server};
use crate::{
    commands::{Access, Kind, Param, Spec},
    server::Wish,
};

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "help",
                Access::Read,
                &[Param::optional("command", Kind::Text, "null", "the command to describe; without it, all")],
                "Lists all commands with their parameters, or describes one.",
            ),
            |server, run| match run.params.given_text("command") {
                Some(name) => match server.control.help_of(name) {
                    Ok(help) => Outcome::Done("Command information", help),
                    Err(text) => Outcome::Fail(text),
                },
                None => Outcome::Data(server.control.help()),
            },
        )
        .saying("Available commands"),
        Builtin::new(
            Spec::new("version", Access::Read, &[], "Says which version of the server this is."),
            version,
        )
        .saying("Version"),
        Builtin::new(
            Spec::new("quit", Access::Read, &[], "Ends the session that it is called in."),
            |_, _| Outcome::Done("Bye!", json!(null)),
        ),
        Builtin::new(
            Spec::new(
                "setLogLevel",
                Access::Change,
                &[Param::required("level", Kind::Signed, "0 (fatal) to 6 (finest); -1: nothing is logged")],
                "Sets for all log appenders what is at least logged, until the next reload.",
            ),
            |_, run| match run.params.signed("level") {
                Some(-1..=6) => Outcome::Wish(|reply, params| Wish::LogLevel {
                    level: params.signed("level").unwrap_or_default(),
                    reply,
                }),
                _ => Outcome::Fail("`level` of `setLogLevel` must be from -1 to 6".to_owned()),
            },
        ),
        Builtin::new(
            Spec::new(
                "reload",
                Access::Change,
                &[Param::optional(
                    "plan",
                    Kind::Flag,
                    "false",
                    "only say what it would do, and which sessions would keep an old application or lose their acceptor",
                )],
                "Reads the configuration again and goes over to it, without touching sessions.",
            ),
            |_, _| Outcome::Wish(|reply, params| Wish::Reload { plan: params.flag("plan"), reply }),
        ),
        Builtin::new(
            Spec::new(
                "shutdownServer",
                Access::Secret,
                &[Param::optional("key", Kind::Text, "\"\"", "what the first call has returned")],
                "Ends the server, in two steps: the first call returns a key, the second one takes it.",
            ),
            shutdown_server,
        ),
        Builtin::gathering(
            Spec::new(
                "getCounters",
                Access::Read,
                &[],
                "Returns everything that is counted, as docs/counters.md explains.",
            ),
            |server, run| Outcome::Data(super::super::counters::counters(server, run.reports)),
        )
        .saying("Counters"),
    ]
}

fn version(server: &mut Server, _: &Run<'_>) -> Outcome {
    let release = env!("CARGO_PKG_VERSION");
    Outcome::Data(json!({
        "releaseNumber": release,
        "banner": format!("crtmpserver {release}"),
        "pid": std::process::id(),
        "workers": server.workers.count(),
        "upTime": u64::try_from(server.started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

fn shutdown_server(server: &mut Server, run: &Run<'_>) -> Outcome {
    let given = run.params.text("key");
    if given.is_empty() {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            return Outcome::Fail("the system has no random bytes for a key".to_owned());
        }
        let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        server.state.shutdown_key = Some(key.clone());
        return Outcome::Done("call shutdownServer again with this key", json!({ "key": key }));
    }
    match server.state.shutdown_key.take() {
        Some(key) if key == given => Outcome::Wish(|reply, _| Wish::End { reply }),
        _ => Outcome::Fail(
            "the key is not that of the last call; call shutdownServer without a key first".to_owned(),
        ),
    }
}
