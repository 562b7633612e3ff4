//! Who must say who it is before it publishes or plays.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::quoted;
use super::validate::Check;

/// The table `authentication` of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authentication {
    /// That of RTMP, whatever carries it.
    pub rtmp: RtmpAuthentication,
}

/// The table `authentication.rtmp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RtmpAuthentication {
    /// How peers say who they are.
    #[serde(rename = "type")]
    pub scheme: AuthenticationScheme,
    /// The Lua file of the users. A relative path starts at the application's folder.
    pub users_file: PathBuf,
    /// The agents (`flashVer`) that may publish, in any case; one that ends with `*` stands for all that begin so. Without
    /// it, every agent may.
    #[serde(default)]
    pub encoder_agents: Option<Vec<String>>,
    /// Whether who publishes must have said who it is.
    #[serde(default = "yes")]
    pub authenticate_publish: bool,
    /// Whether who plays must have said who it is.
    #[serde(default)]
    pub authenticate_play: bool,
    /// The realm of the users that may publish; without it, all of the file.
    #[serde(default)]
    pub publish_realm: Option<String>,
    /// The realm of the users that may play; without it, all of the file.
    #[serde(default)]
    pub play_realm: Option<String>,
}

/// How peers say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationScheme {
    /// By answering a question, as Adobe's encoders do: the password is never sent.
    Adobe,
    /// By `user` and `pass`, or `token`, in the query of the application, of `tcUrl` or of the name of a stream.
    Query,
}

impl RtmpAuthentication {
    /// The most `encoderAgents`.
    pub const AGENTS: usize = 256;

    /// Has the path of the users start at the application's folder.
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.users_file = folder.join(&self.users_file);
    }
}

const fn yes() -> bool {
    true
}

/// What the types leave open.
pub(super) fn check(check: &mut Check, path: &str, authentication: &Authentication) {
    let rtmp = &authentication.rtmp;
    let key = |key: &str| format!("{path}.rtmp.{key}");
    if rtmp.users_file.file_name().is_none() {
        check.error(key("usersFile"), "nothing", "the Lua file of the users");
    }
    if !rtmp.authenticate_publish && !rtmp.authenticate_play {
        check.error_with(
            key("authenticatePublish"),
            "false, and authenticatePlay is not true",
            "something that users are asked for",
            "set one of them to true, or take `authentication` out",
        );
    }
    let agents = rtmp.encoder_agents.as_deref().unwrap_or_default();
    if agents.len() > RtmpAuthentication::AGENTS {
        let expected = format!("at most {} agents", RtmpAuthentication::AGENTS);
        check.error(key("encoderAgents"), agents.len().to_string(), expected);
    }
    for (index, agent) in agents.iter().enumerate() {
        if agent.is_empty() || agent.strip_suffix('*').unwrap_or(agent).contains('*') {
            let expected = "what an encoder calls itself, with a `*` at its end or none";
            check.error(key(&format!("encoderAgents[{}]", index + 1)), quoted(agent), expected);
        }
    }
    for (name, realm, is_asked) in [
        ("publishRealm", &rtmp.publish_realm, rtmp.authenticate_publish),
        ("playRealm", &rtmp.play_realm, rtmp.authenticate_play),
    ] {
        if let Some(realm) = realm
            && !is_asked
        {
            let switch = name.replace("Realm", "");
            let switch = format!("authenticate{}{}", switch[..1].to_uppercase(), &switch[1..]);
            check.error_with(
                key(name),
                quoted(realm),
                "none where nobody is asked",
                format!("set {switch}=true"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::{Application, Configuration, validate};

    fn mistakes(rtmp: Value) -> Vec<String> {
        let authentication = serde_json::from_value(json!({ "rtmp": rtmp })).expect("a table");
        let application =
            Application { name: "a".into(), default: true, authentication, ..Application::default() };
        let mut configuration = Configuration::default();
        configuration.applications.list = vec![application];
        validate(&configuration).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_crtmpserver_had_is_enough() {
        let rtmp = json!({ "type": "adobe", "encoderAgents": ["FMLE/3.0"], "usersFile": "./users.lua" });
        assert_eq!(mistakes(rtmp), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_has_its_place() {
        let many = vec!["a"; 257];
        for (rtmp, expected) in [
            (json!({ "type": "query", "usersFile": "" }), "rtmp.usersFile: found nothing"),
            (
                json!({ "type": "query", "usersFile": "u", "authenticatePublish": false }),
                "rtmp.authenticatePublish: found false",
            ),
            (
                json!({ "type": "query", "usersFile": "u", "encoderAgents": many }),
                "rtmp.encoderAgents: found 257",
            ),
            (
                json!({ "type": "query", "usersFile": "u", "encoderAgents": ["a", "*b"] }),
                "encoderAgents[2]: found",
            ),
            (json!({ "type": "query", "usersFile": "u", "playRealm": "x" }), "set authenticatePlay=true"),
            (
                json!({ "type": "query", "usersFile": "u", "authenticatePublish": false, "authenticatePlay": true,
                        "publishRealm": "x" }),
                "set authenticatePublish=true",
            ),
        ] {
            let found = mistakes(rtmp);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn lists_of_agents_have_a_limit() {
        for (count, good) in [(255, true), (256, true), (257, false)] {
            let rtmp = json!({ "type": "adobe", "usersFile": "u", "encoderAgents": vec!["a*"; count] });
            assert_eq!(mistakes(rtmp).is_empty(), good, "{count}");
        }
    }
}
