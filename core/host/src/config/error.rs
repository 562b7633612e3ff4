//! What is wrong with a configuration, said so that its author can mend it.

use std::fmt;

/// One mistake in a configuration: where it stands, what was found, what belongs there, how to mend it.
///
/// Its text is `file:line: configuration.applications[2].acceptors[1].port: found "abc" (a string), expected a
/// whole number from 0 to 65535; write the port without quotes`. Indices start at 1, as in Lua.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that was read, as the user named it; filled in by whoever read it.
    pub file: Option<String>,
    /// The line on which the key is written, where that is known.
    pub line: Option<u32>,
    /// The place in the table, `configuration.…`.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: String,
    /// What to do about it, where that is more than the expectation says.
    pub suggestion: Option<String>,
}

impl ConfigError {
    /// A mistake at `path`; file and line come later, from the reader of the file.
    pub fn new(path: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            file: None,
            line: None,
            path: path.into(),
            found: found.into(),
            expected: expected.into(),
            suggestion: None,
        }
    }

    /// The same mistake with a remedy.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        write!(f, "{}: found {}, expected {}", self.path, self.found, self.expected)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Text from a configuration as an error shows it: quoted, without control characters, at most 80 characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut out = String::from("\"");
    for (count, letter) in text.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            _ if letter.is_control() => out.extend(letter.escape_default()),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// The candidate that `word` was probably meant to be: equal but for case, or at most a third of it mistyped.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters were left out, added, changed or swapped with their neighbour; case does not count.
pub fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (table[(i - 1) * width + j - 1] + same)
                    .min(table[(i - 1) * width + j] + 1)
                    .min(table[i * width + j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    table[table.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_place_finding_expectation_and_remedy() {
        let mut error = ConfigError::new("configuration.daemon", "3 (a number)", "true or false");
        assert_eq!(error.to_string(), "configuration.daemon: found 3 (a number), expected true or false");
        error.file = Some("a.lua".into());
        error.line = Some(7);
        assert_eq!(
            error.suggest("write true").to_string(),
            "a.lua:7: configuration.daemon: found 3 (a number), expected true or false; write true"
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_not() {
        let keys = ["ip", "port", "protocol", "validateHandshake"];
        assert_eq!(did_you_mean("prt", keys), Some("port"));
        assert_eq!(did_you_mean("protocl", keys), Some("protocol"));
        assert_eq!(did_you_mean("validatehandshake", keys), Some("validateHandshake"));
        assert_eq!(did_you_mean("targetServers", keys), None);
        assert_eq!(distance("acceptros", "acceptors"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\"\n"), r#""a\u{1b}[31m\"\n""#);
        assert!(quoted(&"x".repeat(500)).chars().count() < 90);
    }
}
