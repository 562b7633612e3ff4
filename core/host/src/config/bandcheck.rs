//! Tests of the way to peers.

use std::ops::RangeInclusive;

use crtmp_media::Seconds;
use serde::{Deserialize, Serialize};

use super::validate::Check;

/// The table `bandcheck` of an application: how tests of the way to its peers go, and who has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Bandcheck {
    /// Connections that have this as `key` in the query of the application or of `tcUrl` are for a test alone, as SRS
    /// has it; without it, there are none.
    pub key: Option<String>,
    /// Seconds between two tests of one address.
    pub interval: Seconds,
    /// Thousands of bits that the server sends in a second of a test, at most.
    pub limit_kbps: u64,
}

impl Bandcheck {
    /// The range of the length of `key`, in bytes.
    pub const KEY: RangeInclusive<u64> = 1..=256;
    /// The range of `interval`, in seconds.
    pub const INTERVAL: RangeInclusive<f64> = 0.0..=86_400.0;
    /// The range of `limitKbps`.
    pub const LIMIT_KBPS: RangeInclusive<u64> = 8..=10_000_000;
}

impl Default for Bandcheck {
    fn default() -> Self {
        Self { key: None, interval: Seconds::new(30), limit_kbps: 4000 }
    }
}

/// What the types leave open.
pub(super) fn check(check: &mut Check, path: &str, bandcheck: &Bandcheck) {
    let key = |key: &str| format!("{path}.{key}");
    if let Some(text) = &bandcheck.key {
        let is_good = |byte: u8| byte.is_ascii_graphic() && !b"&=?#%".contains(&byte);
        if !Bandcheck::KEY.contains(&(text.len() as u64)) || !text.bytes().all(is_good) {
            let expected = "1 to 256 letters, digits and signs that need no percent signs in a query";
            check.error(key("key"), "another text", expected);
        }
    }
    check.seconds(key("interval"), bandcheck.interval, Bandcheck::INTERVAL);
    check.whole(key("limitKbps"), Some(bandcheck.limit_kbps), Bandcheck::LIMIT_KBPS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Application, Configuration, validate};

    fn mistakes(bandcheck: Bandcheck) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.applications.list =
            vec![Application { name: "a".into(), default: true, bandcheck, ..Application::default() }];
        validate(&configuration).iter().map(|error| error.path.clone()).collect()
    }

    #[test]
    fn each_key_has_its_range() {
        let path = |key: &str| vec![format!("configuration.applications[1].bandcheck.{key}")];
        for (length, good) in [(0, false), (1, true), (256, true), (257, false)] {
            let found = mistakes(Bandcheck { key: Some("k".repeat(length)), ..Bandcheck::default() });
            assert_eq!(found, if good { Vec::new() } else { path("key") }, "{length}");
        }
        assert_eq!(mistakes(Bandcheck { key: Some("a&b".into()), ..Bandcheck::default() }), path("key"));
        for (limit_kbps, good) in [(7, false), (8, true), (10_000_000, true), (10_000_001, false)] {
            let found = mistakes(Bandcheck { limit_kbps, ..Bandcheck::default() });
            assert_eq!(found, if good { Vec::new() } else { path("limitKbps") }, "{limit_kbps}");
        }
        for (seconds, good) in [(0, true), (86_400, true), (86_401, false)] {
            let found = mistakes(Bandcheck { interval: Seconds::new(seconds), ..Bandcheck::default() });
            assert_eq!(found, if good { Vec::new() } else { path("interval") }, "{seconds}");
        }
    }
}
