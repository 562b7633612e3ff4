//! The table of the script as plain data: no functions, no cycles, no holes, all of it bounded.

use std::ffi::c_void;

use crtmp_host::config::ConfigError;
use mlua::{Table, Value as Lua};
use serde_json::{Map, Number, Value};

/// How deeply tables may be nested.
const DEPTH: usize = 32;

/// How many values there may be. One table may stand in many places, so that a small script can name very many.
const VALUES: usize = 100_000;

/// How many mistakes are collected.
const MISTAKES: usize = 100;

/// The key under which the entries of `applications` stand beside `rootDirectory`.
pub(super) const LIST: &str = "list";

/// The table where a list and named keys stand side by side.
const APPLICATIONS: &str = "configuration.applications";

/// The table as a JSON value, in which `applications` has its entries under [`LIST`]. An empty table is an
/// object.
pub(super) fn tree(table: &Table) -> Result<Value, Vec<ConfigError>> {
    below("configuration", table)
}

/// A table as a JSON value. An empty table is an object.
pub(super) fn plain(table: &Table) -> Result<Value, Vec<ConfigError>> {
    below("", table)
}

fn below(path: &str, table: &Table) -> Result<Value, Vec<ConfigError>> {
    let mut walk = Walk { mistakes: Vec::new(), open: Vec::new(), values: 0 };
    let value = walk.table(path, table);
    if walk.mistakes.is_empty() { Ok(value) } else { Err(walk.mistakes) }
}

/// `path` with `.key`, or `["key"]` where the key is no name.
pub(super) fn join(path: &str, key: &str) -> String {
    let mut bytes = key.bytes();
    let name = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name && path.is_empty() {
        return key.to_owned();
    }
    if name { format!("{path}.{key}") } else { format!("{path}[{}]", crtmp_host::config::quoted(key)) }
}

struct Walk {
    mistakes: Vec<ConfigError>,
    /// The tables around the current one.
    open: Vec<*const c_void>,
    values: usize,
}

impl Walk {
    fn mistake(&mut self, path: &str, found: impl Into<String>, expected: impl Into<String>) -> Value {
        if self.mistakes.len() < MISTAKES {
            self.mistakes.push(ConfigError::new(path, found, expected));
        }
        Value::Null
    }

    fn value(&mut self, path: &str, value: &Lua) -> Value {
        self.values += 1;
        match value {
            Lua::Boolean(value) => Value::Bool(*value),
            Lua::Integer(value) => Value::from(*value),
            Lua::Number(value) => match Number::from_f64(*value) {
                Some(number) => Value::Number(number),
                None => self.mistake(path, format!("{value}"), "a number that is finite"),
            },
            Lua::String(value) => match value.to_str() {
                Ok(text) => Value::String(text.to_owned()),
                Err(_) => self.mistake(path, "a string that is not UTF-8", "text"),
            },
            Lua::Table(table) => self.table(path, table),
            other => self.mistake(
                path,
                format!("a {}", other.type_name()),
                "a string, a number, a boolean or a table",
            ),
        }
    }

    fn table(&mut self, path: &str, table: &Table) -> Value {
        let pointer = table.to_pointer();
        if self.open.contains(&pointer) {
            return self.mistake(path, "a table that contains itself", "tables without cycles");
        }
        if self.open.len() >= DEPTH {
            return self.mistake(
                path,
                "one more table",
                format!("at most {DEPTH} tables within one another"),
            );
        }
        self.open.push(pointer);
        let value = self.entries(path, table);
        self.open.pop();
        value
    }

    fn entries(&mut self, path: &str, table: &Table) -> Value {
        let mut list: Vec<(i64, Lua)> = Vec::new();
        let mut named: Vec<(String, Lua)> = Vec::new();
        for pair in table.pairs::<Lua, Lua>() {
            let Ok((key, value)) = pair else {
                return self.mistake(path, "a table that cannot be read", "a plain table");
            };
            match key {
                Lua::Integer(index) => list.push((index, value)),
                Lua::String(key) => match key.to_str() {
                    Ok(key) => named.push((key.to_owned(), value)),
                    Err(_) => return self.mistake(path, "a key that is not UTF-8", "text"),
                },
                other => {
                    return self.mistake(path, format!("a {} as a key", other.type_name()), "names as keys");
                }
            }
            if self.values + list.len() + named.len() > VALUES {
                return self.mistake(path, "too many values", format!("at most {VALUES} in all"));
            }
        }
        list.sort_by_key(|(index, _)| *index);
        named.sort_by(|one, other| one.0.cmp(&other.0));

        if path == APPLICATIONS {
            let mut object = self.object(path, &named);
            if object.remove(LIST).is_some() {
                self.mistake(
                    &join(path, LIST),
                    "an unknown key",
                    "the blocks of the applications, and `rootDirectory`",
                );
            }
            object.insert(LIST.into(), self.list(path, &list));
            return Value::Object(object);
        }
        match (list.is_empty(), named.is_empty()) {
            (true, _) => Value::Object(self.object(path, &named)),
            (false, true) => self.list(path, &list),
            (false, false) => {
                let found = format!("a list that also has the key `{}`", named[0].0.escape_debug());
                self.mistake(path, found, "either a list or named keys")
            }
        }
    }

    fn object(&mut self, path: &str, named: &[(String, Lua)]) -> Map<String, Value> {
        named.iter().map(|(key, value)| (key.clone(), self.value(&join(path, key), value))).collect()
    }

    fn list(&mut self, path: &str, list: &[(i64, Lua)]) -> Value {
        let mut values = Vec::with_capacity(list.len());
        for (expected, (index, value)) in (1..).zip(list) {
            if *index != expected {
                let found = format!("a list in which entry {expected} is missing");
                self.mistakes.push(
                    ConfigError::new(format!("{path}[{expected}]"), found, "a list without holes")
                        .suggest("a variable in it may be nil: look for a misspelt name"),
                );
                break;
            }
            values.push(self.value(&format!("{path}[{index}]"), value));
        }
        Value::Array(values)
    }
}
