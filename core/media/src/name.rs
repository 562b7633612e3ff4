//! Names that clients choose, checked once, here, before anything uses them.

use std::{fmt, sync::Arc};

use crate::Limits;

/// A stream name within its application: checked, without query string.
///
/// The instance that follows the application in `tcUrl` is part of the name, so `rtmp://host/live/room` +
/// `one` and `rtmp://host/live` + `room/one` are the same stream: clients differ in where they cut.
/// Cloning is cheap. It is an opaque key: whoever makes a path, a URL or HTML of it encodes it there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is left of it.
    Empty,
    /// It is longer than a limit: the limit's name and value in bytes.
    TooLong(&'static str, usize),
    /// A component is `.` or `..`.
    Dots,
    /// It has an empty component (two slashes in a row).
    EmptyComponent,
    /// It has a control character.
    Control,
}

impl StreamName {
    /// Makes the name of `key` in `instance` (empty where there is none).
    ///
    /// Slashes around both are dropped; `_definst_`, the name of the default instance in older servers, counts
    /// as no instance. An empty key in an instance is the instance's name: some encoders put all of it there.
    ///
    /// # Errors
    ///
    /// The rule that the name breaks.
    pub fn new(instance: &str, key: &str, limits: &Limits) -> Result<Self, NameError> {
        let key = key.trim_matches('/');
        let instance = match instance.trim_matches('/') {
            "_definst_" => "",
            other => other,
        };
        let (instance, key) = if key.is_empty() { ("", instance) } else { (instance, key) };
        if key.is_empty() {
            return Err(NameError::Empty);
        }
        if key.len() > limits.stream_key {
            return Err(NameError::TooLong("streamKey", limits.stream_key));
        }
        let full = if instance.is_empty() { key.to_owned() } else { format!("{instance}/{key}") };
        if full.len() > limits.stream_name {
            return Err(NameError::TooLong("streamName", limits.stream_name));
        }
        if full.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        for component in full.split('/') {
            match component {
                "" => return Err(NameError::EmptyComponent),
                "." | ".." => return Err(NameError::Dots),
                long if long.len() > limits.name_component => {
                    return Err(NameError::TooLong("nameComponent", limits.name_component));
                }
                _ => {}
            }
        }
        Ok(Self(full.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the stream name is empty"),
            Self::TooLong(limit, bytes) => {
                write!(f, "the stream name is longer than {limit} = {bytes} bytes allows")
            }
            Self::Dots => f.write_str("a component of the stream name is '.' or '..'"),
            Self::EmptyComponent => f.write_str("the stream name has an empty component"),
            Self::Control => f.write_str("the stream name has a control character"),
        }
    }
}

impl std::error::Error for NameError {}

/// Splits a name or an application as a client sent it into the part before `?` and the query behind it.
pub fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(instance: &str, key: &str) -> Result<String, NameError> {
        StreamName::new(instance, key, &Limits::default()).map(|name| name.to_string())
    }

    #[test]
    fn instance_and_key_make_one_name() {
        assert_eq!(name("", "one").unwrap(), "one");
        assert_eq!(name("room", "one").unwrap(), "room/one");
        assert_eq!(name("", "room/one").unwrap(), "room/one");
        assert_eq!(name("_definst_", "one").unwrap(), "one");
        assert_eq!(name("room/", "/one/").unwrap(), "room/one");
        assert_eq!(name("room/one", "").unwrap(), "room/one");
        assert_eq!(name("_definst_", ""), Err(NameError::Empty));
    }

    #[test]
    fn names_that_could_become_paths_or_log_lines_are_refused() {
        assert_eq!(name("", ""), Err(NameError::Empty));
        assert_eq!(name("", "///"), Err(NameError::Empty));
        assert_eq!(name("", "a/../b"), Err(NameError::Dots));
        assert_eq!(name("..", "b"), Err(NameError::Dots));
        assert_eq!(name("", "a//b"), Err(NameError::EmptyComponent));
        assert_eq!(name("", "a\nb"), Err(NameError::Control));
        assert_eq!(name("", "a\0b"), Err(NameError::Control));
    }

    /// NAM-01: whatever is no path to this code might be one to somebody else's; it stays what it is, letter by letter.
    #[test]
    fn odd_names_are_refused_by_a_rule_or_stay_as_they_are() {
        for (key, error) in [
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("/../etc", NameError::Dots),
            ("a/.", NameError::Dots),
            ("a\u{7f}", NameError::Control),
            ("a\u{9b}31m", NameError::Control),
            ("\r\na", NameError::Control),
        ] {
            assert_eq!(name("", key), Err(error), "{key:?}");
        }
        let opaque = [
            "...",
            "a.",
            "a ",
            " a",
            "\\a",
            "..\\a",
            "C:\\a",
            "C:a",
            "~",
            "%2e%2e",
            "%2f",
            "a%2f..%2fb",
            "%252e%252e%252f",
            "%00",
            "CON",
            "nul.flv",
            "-rf",
            "$(id)",
            "<b>",
            "\"",
            "e\u{301}",
            "\u{e9}",
            "\u{202e}a",
            "\u{430}",
            "\u{fffd}",
            "\u{2215}",
            "\u{ff0e}\u{ff0e}",
        ];
        for key in opaque {
            assert_eq!(name("", key).as_deref(), Ok(key));
        }
        let distinct: std::collections::HashSet<_> =
            opaque.iter().map(|key| StreamName::new("", key, &Limits::default()).unwrap()).collect();
        assert_eq!(distinct.len(), opaque.len(), "no two of them are one");
    }

    #[test]
    fn each_length_limit_is_named_at_minus_one_zero_and_plus_one() {
        let limits = Limits { stream_key: 64, name_component: 32, stream_name: 100, ..Limits::default() };
        let of = |instance: &str, key: &str| StreamName::new(instance, key, &limits).map(|_| ());
        let key = |bytes: usize| {
            format!("{}/{}", "a".repeat(20), "b/".repeat((bytes - 21) / 2) + &"c".repeat((bytes - 21) % 2))
        };
        for (bytes, ok) in [(63, true), (64, true), (66, false)] {
            let key = key(bytes);
            assert_eq!(
                of("", key.trim_end_matches('/')).is_ok(),
                ok || key.trim_end_matches('/').len() <= 64,
                "{bytes}"
            );
        }
        assert_eq!(of("", &"x".repeat(31)), Ok(()));
        assert_eq!(of("", &"x".repeat(32)), Ok(()));
        assert_eq!(of("", &"x".repeat(33)), Err(NameError::TooLong("nameComponent", 32)));
        assert_eq!(of("", &"x/".repeat(33)), Err(NameError::TooLong("streamKey", 64)));
        let instance = |bytes: usize| "i".repeat(30) + "/" + &"j".repeat(bytes - 31);
        assert_eq!(of(&instance(49), &format!("{}/{}", "x".repeat(25), "y".repeat(23))), Ok(()));
        assert_eq!(of(&instance(50), &format!("{}/{}", "x".repeat(25), "y".repeat(23))), Ok(()));
        assert_eq!(
            of(&instance(51), &format!("{}/{}", "x".repeat(25), "y".repeat(23))),
            Err(NameError::TooLong("streamName", 100))
        );
    }

    #[test]
    fn the_query_is_split_at_the_first_question_mark() {
        assert_eq!(split_query("one?token=a?b"), ("one", "token=a?b"));
        assert_eq!(split_query("one"), ("one", ""));
        assert_eq!(split_query("?key"), ("", "key"));
    }
}
