//! What the configuration says: where streams come from.

use std::net::Ipv6Addr;
use std::time::Duration;

use crtmp_plugin::SCHEMES;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Origins that one edge may have.
pub(crate) const ORIGINS: usize = 16;

/// Bytes of an address.
pub(crate) const ADDRESS: usize = 4096;

/// The longest `linger`, in seconds.
const LINGER: f64 = 3600.0;

/// The most that `maxPulls` may be.
const PULLS: usize = 10_000;

/// The settings of the application.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Addresses of applications: `rtmp://host:port/application`. Each attempt takes the next one.
    pub(crate) origins: Vec<String>,
    /// Whether each new pull begins with another origin.
    #[serde(default)]
    pub(crate) round_robin: bool,
    /// How many seconds a stream is fetched that nobody plays any more.
    #[serde(default = "linger")]
    linger: f64,
    /// Whether what stands behind the question mark travels to the origin.
    #[serde(default)]
    pub(crate) forward_query: bool,
    #[serde(default)]
    pub(crate) publish: PublishPolicy,
    /// Streams that may be fetched at once.
    #[serde(default = "max_pulls")]
    pub(crate) max_pulls: usize,
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

/// What becomes of a stream that is published here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PublishPolicy {
    /// It is played here, and pushed to the origin.
    #[default]
    Origin,
    /// It is played here.
    Local,
    /// It is refused.
    Refuse,
}

impl Settings {
    /// How long a stream is fetched that nobody plays any more.
    pub(crate) fn linger(&self) -> Duration {
        Duration::try_from_secs_f64(self.linger).unwrap_or_default()
    }

    /// The keys for TLS that are given.
    pub(crate) fn tls(&self) -> Map<String, Value> {
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

    /// Looks for mistakes.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.origins.is_empty() || self.origins.len() > ORIGINS {
            return Err(format!("`origins` has {} addresses, expected 1 to {ORIGINS}", self.origins.len()));
        }
        for (at, origin) in self.origins.iter().enumerate() {
            if !is_origin(origin) {
                let expected = "an address such as \"rtmp://host:1935/application\", without query";
                return Err(format!("`origins[{}]` is something else than {expected}", at + 1));
            }
        }
        let has_tls =
            |origin: &String| origin.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with('s'));
        if let Some(key) = self.tls().keys().next()
            && !self.origins.iter().any(has_tls)
        {
            return Err(format!(
                "`{key}` is for TLS, and none of `origins` begins with rtmps:// or rtmpts://"
            ));
        }
        if !(0.0..=LINGER).contains(&self.linger) {
            return Err(format!("`linger` is {}, expected 0 to {LINGER} seconds", self.linger));
        }
        if !(1..=PULLS).contains(&self.max_pulls) {
            return Err(format!("`maxPulls` is {}, expected 1 to {PULLS}", self.max_pulls));
        }
        Ok(())
    }
}

/// Whether the server takes an address; what it does not take, no pull would ever get.
fn is_origin(text: &str) -> bool {
    let odd = |letter: char| letter.is_control() || letter.is_whitespace() || matches!(letter, '?' | '#');
    if text.len() > ADDRESS || text.contains(odd) {
        return false;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    if !SCHEMES.contains(&scheme) {
        return false;
    }
    let (authority, application) = rest.split_once('/').unwrap_or((rest, ""));
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (is_host, port) = match place.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        Some(None) => (false, ""),
        None => {
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            (!host.is_empty() && host.len() <= 253 && host.bytes().all(fits), port)
        }
    };
    is_host && is_port(port) && !application.trim_matches('/').is_empty()
}

/// Nothing, or a colon with a number from 1 to 65535.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty() };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && digits.parse::<u16>().is_ok_and(|port| port != 0)
}

fn linger() -> f64 {
    10.0
}

fn max_pulls() -> usize {
    1000
}
