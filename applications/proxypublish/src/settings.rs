//! What the configuration says: where streams go.

use std::fmt;

use crtmp_plugin::SCHEMES;
use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// Targets that one application may have.
pub(crate) const TARGETS: usize = 64;

/// The settings of the application.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Whether a publisher is ended whose stream a target does not get.
    pub abort_on_connect_error: bool,
    /// Where streams go.
    #[serde(default)]
    target_servers: Targets,
}

/// A server that streams are pushed to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Its address: `rtmp://host:port/application`.
    target_uri: String,
    /// The only stream that goes there; none: all.
    #[serde(default)]
    local_stream_name: Option<String>,
    /// Its name there; none: the name that it has here.
    #[serde(default)]
    target_stream_name: Option<String>,
    #[serde(default = "live")]
    target_stream_type: String,
    /// Whether it is begun again after an end.
    #[serde(default)]
    pub(crate) keep_alive: bool,
    #[serde(default)]
    emulate_user_agent: Option<String>,
    #[serde(default)]
    tc_url: Option<String>,
    #[serde(default)]
    swf_url: Option<String>,
    #[serde(default)]
    page_url: Option<String>,
    #[serde(default)]
    rtmp_absolute_timestamps: bool,
    /// Keys for TLS, as `pushStream` has them: of addresses that begin with `rtmps://` or `rtmpts://`.
    #[serde(default)]
    tls_verify: Option<bool>,
    #[serde(default)]
    tls_ca: Option<String>,
    #[serde(default)]
    tls_pin: Option<String>,
    #[serde(default)]
    tls_name: Option<String>,
    #[serde(default)]
    tls_cert: Option<String>,
    #[serde(default)]
    tls_key: Option<String>,
    #[serde(default)]
    tls_min_version: Option<String>,
    #[serde(default)]
    cipher_suite: Option<String>,
}

/// A list, or a table with names of its own, as crtmpserver has both.
#[derive(Debug, Default)]
struct Targets(Vec<Target>);

impl Settings {
    /// Where streams go.
    pub fn targets(&self) -> &[Target] {
        &self.target_servers.0
    }

    /// Looks for mistakes.
    pub(crate) fn check(&self) -> Result<(), String> {
        let targets = self.targets();
        if targets.len() > TARGETS {
            return Err(format!(
                "`targetServers` has {} targets; at most {TARGETS} are taken",
                targets.len()
            ));
        }
        targets.iter().enumerate().try_for_each(|(at, target)| {
            target.check().map_err(|error| format!("`targetServers[{}]`: {error}", at + 1))
        })
    }
}

impl Target {
    /// Whether a stream of this name goes there.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.local_stream_name.as_deref().is_none_or(|wanted| before_query(wanted) == name)
    }

    /// The parameters of the push of a stream.
    pub(crate) fn push(&self, name: &str, application: &str) -> Map<String, Value> {
        let params = json!({
            "uri": self.target_uri,
            "localStreamName": name,
            "targetStreamName": self.target_stream_name.as_deref().unwrap_or(name),
            "targetStreamType": self.target_stream_type,
            "application": application,
            "keepAlive": self.keep_alive,
            "emulateUserAgent": self.emulate_user_agent,
            "tcUrl": self.tc_url,
            "swfUrl": self.swf_url,
            "pageUrl": self.page_url,
            "rtmpAbsoluteTimestamps": self.rtmp_absolute_timestamps,
            "kept": false,
        });
        match params {
            Value::Object(params) => {
                params.into_iter().filter(|(_, value)| !value.is_null()).chain(self.tls()).collect()
            }
            _ => Map::new(),
        }
    }

    /// The keys for TLS that are given.
    fn tls(&self) -> Map<String, Value> {
        let keys = json!({
            "tlsVerify": self.tls_verify,
            "tlsCa": self.tls_ca,
            "tlsPin": self.tls_pin,
            "tlsName": self.tls_name,
            "tlsCert": self.tls_cert,
            "tlsKey": self.tls_key,
            "tlsMinVersion": self.tls_min_version,
            "cipherSuite": self.cipher_suite,
        });
        match keys {
            Value::Object(keys) => keys.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }

    /// Host and port, for the log: the rest may hold a key.
    pub(crate) fn place(&self) -> String {
        host_of(&self.target_uri).map_or_else(String::new, |(host, _)| host.to_owned())
    }

    fn check(&self) -> Result<(), String> {
        let expected = "expected an address such as \"rtmp://host:1935/application\"";
        match host_of(&self.target_uri) {
            None => {
                let schemes = SCHEMES.join("://, ");
                return Err(format!("`targetUri` begins with something else than {schemes}://; {expected}"));
            }
            Some((host, application)) if host.is_empty() || application.is_empty() => {
                return Err(format!("`targetUri` names no host or no application; {expected}"));
            }
            Some(_) => {}
        }
        if let Some(key) = self.tls().keys().next()
            && !has_tls(&self.target_uri)
        {
            return Err(format!(
                "`{key}` is for TLS, and `targetUri` begins with neither rtmps:// nor rtmpts://"
            ));
        }
        if self.local_stream_name.as_deref().is_some_and(|name| before_query(name).is_empty()) {
            return Err(
                "`localStreamName` is empty; leave it out where all streams shall go there".to_owned()
            );
        }
        if self.target_stream_name.as_deref().is_some_and(str::is_empty) {
            return Err("`targetStreamName` is empty; leave it out where names stay as they are".to_owned());
        }
        if !["live", "record", "append"].contains(&self.target_stream_type.as_str()) {
            return Err(format!(
                "`targetStreamType` is {:?}, expected one of \"live\", \"record\" and \"append\"",
                self.target_stream_type
            ));
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;

        impl<'de> Visitor<'de> for Both {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of targets")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
                let mut all = Vec::new();
                while let Some(target) = list.next_element()? {
                    all.push(target);
                }
                Ok(Targets(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Targets, A::Error> {
                let mut all = Vec::new();
                while let Some((_, target)) = map.next_entry::<String, Target>()? {
                    all.push(target);
                }
                Ok(Targets(all))
            }
        }

        deserializer.deserialize_any(Both)
    }
}

/// Host with port, without user, and what follows them, of an address of RTMP.
fn host_of(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((host, path.trim_matches('/')))
}

/// Whether an address is one with TLS: of such schemes the last letter says so.
fn has_tls(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, _)| scheme.to_ascii_lowercase().ends_with('s'))
}

/// Publishers may say more behind a question mark; it is not part of a stream's name.
fn before_query(name: &str) -> &str {
    name.split_once('?').map_or(name, |(name, _)| name)
}

fn live() -> String {
    "live".to_owned()
}
