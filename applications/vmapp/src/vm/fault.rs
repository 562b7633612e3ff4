//! Errors of scripts, as people read them.

use std::fmt;

use mlua::{Error, Lua, Value};

use super::sandbox::PRELUDE_SHOWN;

/// The longest message, in bytes.
const MESSAGE: usize = 1000;

/// The most lines of a trace.
const LINES: usize = 8;

/// A script that failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// What it said, with its place.
    pub message: String,
    /// From where it was called, innermost first; a few lines at most.
    pub trace: Vec<String>,
}

impl Fault {
    pub(super) fn new(message: &str, trace: Vec<String>) -> Self {
        Self { message: presentable(message), trace }
    }

    /// An error that came through the functions of the host.
    pub(super) fn from_error(error: &Error) -> Self {
        Self::new(&message(error), Vec::new())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        self.trace.iter().try_for_each(|line| write!(out, "\n    {line}"))
    }
}

/// The text of an error, with the place of the script where there is none in it yet.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, traceback } => {
            let text = message(cause);
            match lines(traceback).next() {
                Some(line) if !has_place(&text) => {
                    let end = line.find(": in ").unwrap_or(line.len());
                    format!("{}: {text}", &line[..end])
                }
                _ => text,
            }
        }
        Error::WithContext { context, cause } => format!("{context}: {}", message(cause)),
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        other => other.to_string(),
    }
}

/// Whether memory ran out.
pub(super) fn is_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => is_memory(cause),
        _ => false,
    }
}

/// Where the script is, innermost first.
pub(super) fn trace(lua: &Lua) -> Vec<String> {
    let Ok(text) = lua.traceback(None, 1) else { return Vec::new() };
    lines(&text.to_string_lossy()).map(presentable).take(LINES).collect()
}

/// The name of a value's type, as Lua's own messages have it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) => "light userdata",
        Value::Error(_) | Value::UserData(_) => "userdata",
        other => other.type_name(),
    }
}

/// The lines of a trace that are in the script.
fn lines(trace: &str) -> impl Iterator<Item = &str> {
    trace
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| line.contains(": in ") && !line.starts_with("[C]") && !line.starts_with(PRELUDE_SHOWN))
}

/// Whether a message begins like `file:12:`.
fn has_place(message: &str) -> bool {
    let mut parts = message.splitn(3, ':');
    let (Some(_), Some(line), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return false };
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

/// A message without control characters, and not so long that it hides where it comes from.
fn presentable(message: &str) -> String {
    let cut = &message[..message.floor_char_boundary(MESSAGE)];
    let mut text = String::with_capacity(cut.len());
    for letter in cut.chars() {
        match letter {
            '\n' => text.push_str("\n    "),
            _ if letter.is_control() => text.extend(letter.escape_default()),
            _ => text.push(letter),
        }
    }
    if cut.len() < message.len() {
        text.push('…');
    }
    text
}
