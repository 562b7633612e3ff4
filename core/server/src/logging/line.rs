//! How a record becomes a line. What peers send is hostile: nothing of it may move a cursor or begin a line.

use std::fmt::{Arguments, Write};
use std::time::{Duration, SystemTime};

use slog::{KV, Key, OwnedKVList, Record};

use super::number;

/// The longest message or value, in bytes; more is cut.
const LONGEST: usize = 8192;

/// The names of the levels.
const NAMES: [&str; 7] = ["FATAL", "ERROR", "WARNING", "INFO", "DEBUG", "FINE", "FINEST"];

/// The terminal's colours of the levels.
const COLOURS: [&str; 7] = ["1;37;41", "1;31", "1;33", "32", "36", "90", "90"];

/// From this level on a line names the place in the program.
const PLACED: u8 = 4;

/// The record as text: time, level, message, `key=value` pairs. No line end.
pub(super) fn text(
    out: &mut String,
    time: SystemTime,
    record: &Record<'_>,
    values: &OwnedKVList,
    single: bool,
    coloured: bool,
) {
    let level = number(record.level(), record.tag());
    let name = NAMES[usize::from(level)];
    push_time(out, time);
    if coloured {
        let _ = write!(out, " \x1b[{}m{name:<7}\x1b[0m ", COLOURS[usize::from(level)]);
    } else {
        let _ = write!(out, " {name:<7} ");
    }
    if level >= PLACED {
        let _ = write!(out, "{}:{} ", record.module(), record.line());
    }
    let message = record.msg().to_string();
    let message = cut(&message);
    for (index, part) in message.split('\n').enumerate() {
        if index > 0 {
            out.push_str(if single { "\\n" } else { "\n    " });
        }
        push_harmless(out, part);
    }
    for (key, value) in pairs(record, values) {
        let _ = write!(out, " {key}=");
        push_value(out, value.text());
    }
}

/// The record as one JSON object. No line end.
pub(super) fn json(out: &mut String, time: SystemTime, record: &Record<'_>, values: &OwnedKVList) {
    let level = usize::from(number(record.level(), record.tag()));
    out.push_str("{\"ts\":\"");
    push_time(out, time);
    let _ = write!(out, "\",\"level\":\"{}\",\"msg\":", NAMES[level]);
    push_json(out, cut(&record.msg().to_string()));
    out.push_str(",\"module\":");
    push_json(out, record.module());
    let mut seen = vec!["ts", "level", "msg", "module"];
    for (key, value) in pairs(record, values) {
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        out.push(',');
        push_json(out, key);
        out.push(':');
        match &value {
            Value::Bare(text) => out.push_str(text),
            Value::Text(text) => push_json(out, cut(text)),
        }
    }
    out.push('}');
}

/// The time in UTC, `2026-01-31T23:59:59.123Z`.
fn push_time(out: &mut String, time: SystemTime) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    // Years are counted from March, so that the leap day is the last of its year; an era has 400 years.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
}

/// A value of a `key=value` pair.
enum Value {
    /// A number or boolean.
    Bare(String),
    /// Anything else.
    Text(String),
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Text(text) => text,
        }
    }
}

/// The pairs of the record, then those of its logger.
fn pairs(record: &Record<'_>, values: &OwnedKVList) -> Vec<(Key, Value)> {
    let mut own = Pairs(Vec::new());
    let mut inherited = Pairs(Vec::new());
    // Nothing in here fails; a value that does is left out.
    let _ = record.kv().serialize(record, &mut own);
    let _ = values.serialize(record, &mut inherited);
    // slog gives the last pair first.
    own.0.reverse();
    inherited.0.reverse();
    own.0.append(&mut inherited.0);
    own.0
}

struct Pairs(Vec<(Key, Value)>);

macro_rules! bare {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(&mut self, key: Key, value: $type) -> slog::Result {
            self.0.push((key, Value::Bare(value.to_string())));
            Ok(())
        })*
    };
}

impl slog::Serializer for Pairs {
    bare! {
        emit_bool: bool, emit_u8: u8, emit_i8: i8, emit_u16: u16, emit_i16: i16, emit_u32: u32, emit_i32: i32,
        emit_u64: u64, emit_i64: i64, emit_usize: usize, emit_isize: isize
    }

    fn emit_f64(&mut self, key: Key, value: f64) -> slog::Result {
        let text = value.to_string();
        self.0.push((key, if value.is_finite() { Value::Bare(text) } else { Value::Text(text) }));
        Ok(())
    }

    fn emit_f32(&mut self, key: Key, value: f32) -> slog::Result {
        self.emit_f64(key, value.into())
    }

    fn emit_arguments(&mut self, key: Key, value: &Arguments<'_>) -> slog::Result {
        self.0.push((key, Value::Text(value.to_string())));
        Ok(())
    }

    fn emit_serde(&mut self, key: Key, value: &dyn slog::SerdeValue) -> slog::Result {
        let text = serde_json::to_string(value.as_serde()).map_err(|_| slog::Error::Other)?;
        self.0.push((key, if text.len() <= LONGEST { Value::Bare(text) } else { Value::Text(text) }));
        Ok(())
    }
}

/// A value as it is if it is one word, else in quotes.
fn push_value(out: &mut String, value: &str) {
    let value = cut(value);
    let plain = |letter: char| !letter.is_whitespace() && !dangerous(letter) && !"\"'=\\".contains(letter);
    if !value.is_empty() && value.chars().all(plain) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for letter in value.chars() {
        if letter == '"' || letter == '\\' {
            out.push('\\');
        }
        push_letter(out, letter);
    }
    out.push('"');
}

fn push_harmless(out: &mut String, text: &str) {
    text.chars().for_each(|letter| push_letter(out, letter));
}

fn push_letter(out: &mut String, letter: char) {
    if dangerous(letter) {
        out.extend(letter.escape_default());
    } else {
        out.push(letter);
    }
}

/// Whether a letter can move the cursor, begin a line or turn the text around.
fn dangerous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // All of these lie in the first plane, where one escape is one letter.
            _ if dangerous(letter) => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_at_the_edges_of_months_and_years() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_200, "2024-03-01T00:00:00.007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let mut out = String::new();
            push_time(&mut out, SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
            assert_eq!(out, text);
        }
    }

    #[test]
    fn values_are_quoted_where_they_could_mislead() {
        let shown = |value: &str| {
            let mut out = String::new();
            push_value(&mut out, value);
            out
        };
        assert_eq!(shown("live/room-1"), "live/room-1");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(shown("a b"), "\"a b\"");
        assert_eq!(shown("x level=FATAL"), "\"x level=FATAL\"");
        assert_eq!(shown("a\"\\\n\x1b[2J\u{202e}"), r#""a\"\\\n\u{1b}[2J\u{202e}""#);
        assert_eq!(shown(&"é".repeat(10_000)).len(), LONGEST);
    }

    #[test]
    fn json_text_can_be_parsed_and_holds_no_control_characters() {
        let hostile = "a\"\\\n\r\x1b\u{7f}\u{9b}\u{2028}é😀";
        let mut out = String::new();
        push_json(&mut out, hostile);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), hostile);
        assert!(!out.chars().any(dangerous));
    }
}
