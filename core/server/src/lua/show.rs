//! A configuration as a Lua script: what `--check` prints.

use crtmp_host::{config::Configuration, secrets};
use serde_json::{Map, Value};

use super::tree::LIST;

/// The script that defines this configuration, with every default written out, and secrets masked.
pub(crate) fn show(configuration: &Configuration) -> String {
    let mut top = object(serde_json::to_value(configuration).unwrap_or_default());
    // Limits have such names, and are none.
    top.iter_mut().filter(|(key, _)| *key != "limits").for_each(|(_, value)| secrets::mask(value));
    let mut applications = object(top.remove("applications").unwrap_or_default());
    let list = match applications.remove(LIST) {
        Some(Value::Array(list)) => list.into_iter().map(application).collect(),
        _ => Vec::new(),
    };
    let mut out = String::from("configuration = {\n");
    for (key, value) in top.iter().filter(|(_, value)| !value.is_null()) {
        out.push_str(&format!("  {key} = "));
        write_value(&mut out, value, 1);
        out.push_str(",\n");
    }
    out.push_str("  applications = ");
    write_table(&mut out, &applications, &list, 1);
    out.push_str(",\n}\n");
    out
}

/// The settings of an application, and the keys of chains, stand among the other keys in Lua.
fn application(value: Value) -> Value {
    let mut map = among(value, "settings");
    if let Some(Value::Array(acceptors)) = map.get_mut("acceptors") {
        for acceptor in acceptors {
            *acceptor = Value::Object(among(acceptor.take(), "keys"));
        }
    }
    Value::Object(map)
}

/// The table with the entries of its table `apart` among its own.
fn among(value: Value, apart: &str) -> Map<String, Value> {
    let mut map = object(value);
    let others = object(map.remove(apart).unwrap_or_default());
    map.extend(others);
    map
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        Value::String(text) => write_text(out, text),
        Value::Array(list) => write_table(out, &Map::new(), list, indent),
        Value::Object(map) => write_table(out, map, &[], indent),
    }
}

fn write_table(out: &mut String, map: &Map<String, Value>, list: &[Value], indent: usize) {
    let entries: Vec<_> = map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (Some(key), value))
        .chain(list.iter().map(|value| (None, value)))
        .collect();
    if entries.is_empty() {
        out.push_str("{}");
        return;
    }
    out.push_str("{\n");
    for (key, value) in entries {
        out.push_str(&"  ".repeat(indent + 1));
        if let Some(key) = key {
            write_key(out, key);
            out.push_str(" = ");
        }
        write_value(out, value, indent + 1);
        out.push_str(",\n");
    }
    out.push_str(&"  ".repeat(indent));
    out.push('}');
}

fn write_key(out: &mut String, key: &str) {
    let bytes = key.as_bytes();
    let name = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
    if name && !WORDS.contains(&key) {
        out.push_str(key);
    } else {
        out.push('[');
        write_text(out, key);
        out.push(']');
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ if letter.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// The words of Lua that are no names.
const WORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];
