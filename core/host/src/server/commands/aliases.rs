//! Commands about stream aliases: the names that players must use where an application has `hasStreamAliases`.

use std::time::Instant;

use crtmp_media::StreamName;
use crtmp_plugin::Rights;
use crtmp_reactor::Alias;
use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server, streams::unix_ms};
use crate::{
    commands::{Access, Kind, Param, Spec},
    secrets,
};

const ALIAS: Param = Param::required("aliasName", Kind::Text, "the alias");

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "addStreamAlias",
                Access::Change,
                &[
                    Param::required(
                        "localStreamName",
                        Kind::Text,
                        "the name of the stream, which need not be there yet",
                    ),
                    Param::required("aliasName", Kind::Text, "the name that players use instead"),
                    Param::optional(
                        "expirePeriod",
                        Kind::Signed,
                        "-600",
                        "seconds: negative for one play within that time, positive for any number of plays within it, \
                         0 for ever",
                    ),
                    Param::optional(
                        "appName",
                        Kind::Text,
                        "null",
                        "the application; may be left out where only one has hasStreamAliases",
                    ),
                ],
                "Lets players play a stream by another name, once or for some time; an alias of that name is replaced. \
                 Applications with hasStreamAliases are played by aliases only. It is forgotten when the server ends.",
            ),
            |server, run| match add(server, run) {
                Ok(alias) => Outcome::Done("the alias is set", alias),
                Err(text) => Outcome::Fail(text),
            },
        ),
        Builtin::new(
            Spec::new(
                "removeStreamAlias",
                Access::Change,
                &[
                    ALIAS,
                    Param::optional(
                        "appName",
                        Kind::Text,
                        "null",
                        "the application; without it, all of them",
                    ),
                ],
                "Removes an alias; who plays by it goes on.",
            ),
            remove,
        ),
        Builtin::new(
            Spec::new(
                "listStreamAliases",
                Access::Read,
                &[],
                "Lists the aliases that can still be used. They are shown as *** to callers that have not all rights.",
            ),
            |server, run| {
                let shown = |alias| {
                    let mut shown = show(alias);
                    if run.caller.rights < Rights::All {
                        secrets::mask(&mut shown);
                    }
                    shown
                };
                let aliases = server.aliases.list(Instant::now());
                Outcome::Data(aliases.iter().map(|alias| shown(alias)).collect())
            },
        )
        .saying("Available stream aliases"),
        Builtin::new(
            Spec::new(
                "flushStreamAliases",
                Access::Change,
                &[],
                "Removes all aliases; who plays by one goes on.",
            ),
            |server, _| {
                Outcome::Done("all aliases are removed", json!({ "removed": server.aliases.flush() }))
            },
        ),
    ]
}

fn add(server: &Server, run: &Run<'_>) -> Result<Value, String> {
    let name = |key: &str| {
        let text = run.params.text(key);
        // Players send what follows it separately.
        if text.contains('?') {
            return Err(format!("`{key}` must have no `?`"));
        }
        let name = StreamName::new("", text, &server.limits).map_err(|error| format!("`{key}`: {error}"))?;
        Ok(name.to_string())
    };
    let alias = Alias {
        application: application(server, run.params.given_text("appName"))?,
        name: name("aliasName")?,
        stream: name("localStreamName")?,
        period: run.params.signed("expirePeriod").unwrap_or_default(),
        created: unix_ms() / 1000,
    };
    let shown = show(&alias);
    server.aliases.add(alias, Instant::now())?;
    Ok(shown)
}

/// The application that is meant: the one of this name or alias, else the only one that is played by aliases.
fn application(server: &Server, wanted: Option<&str>) -> Result<String, String> {
    let list = &server.configuration.applications.list;
    if let Some(wanted) = wanted {
        let named = list
            .iter()
            .find(|entry| entry.name == wanted || entry.aliases.iter().any(|alias| alias == wanted))
            .ok_or_else(|| format!("there is no application {wanted:?}; `listApplications` lists all"))?;
        if !named.has_stream_aliases {
            return Err(format!(
                "the application {:?} is not played by aliases: it needs hasStreamAliases",
                named.name
            ));
        }
        return Ok(named.name.clone());
    }
    let mut with_aliases = list.iter().filter(|entry| entry.has_stream_aliases);
    match (with_aliases.next(), with_aliases.next()) {
        (Some(only), None) => Ok(only.name.clone()),
        (None, _) => Err("no application is played by aliases: none has hasStreamAliases".to_owned()),
        (Some(one), Some(other)) => Err(format!(
            "several applications are played by aliases ({:?}, {:?}): `appName` must name one",
            one.name, other.name
        )),
    }
}

fn remove(server: &mut Server, run: &Run<'_>) -> Outcome {
    // As it was stored: without slashes around it.
    let name = run.params.text("aliasName").trim_matches('/');
    let removed = match run.params.given_text("appName") {
        Some(wanted) => {
            application(server, Some(wanted)).map(|application| server.aliases.remove(&application, name))
        }
        None => {
            let list = server.configuration.applications.list.iter();
            Ok(list.filter(|entry| server.aliases.remove(&entry.name, name)).count() > 0)
        }
    };
    match removed {
        Ok(true) => Outcome::Done("the alias is removed", json!({ "aliasName": name })),
        Ok(false) => Outcome::Fail(format!("there is no alias {name:?}; `listStreamAliases` lists all")),
        Err(text) => Outcome::Fail(text),
    }
}

/// In EvoStream's shape.
fn show(alias: &Alias) -> Value {
    json!({
        "aliasName": alias.name,
        "localStreamName": alias.stream,
        "appName": alias.application,
        "expirePeriod": alias.period,
        "creationTime": alias.created,
        "oneShot": alias.period < 0,
        "permanent": alias.period == 0,
    })
}
