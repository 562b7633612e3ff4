//! Plain data between Lua and JSON.
//!
//! | JSON | Lua |
//! |---|---|
//! | `null` | `json.null`, which is no nil: a table can hold it |
//! | whole numbers of 64 bits | integers |
//! | other numbers | floats |
//! | a list | a table that is marked as a list, so that an empty one stays one |
//! | an object | a table |
//!
//! The other way, a table is a list if it is marked (`json.array`) or has the keys 1 to n and no others.

use std::rc::Rc;

use mlua::{Error, IntoLuaMulti, Lua, LuaSerdeExt, MultiValue, Table, Value};
use serde_json::{Map, Number, Value as Json};

use super::budget::Budget;
use super::call::function;

/// How deeply lists and objects may be nested.
const DEPTH: u32 = 32;

/// The most values.
const VALUES: usize = 100_000;

/// The most bytes of texts and keys.
const BYTES: usize = 4 * 1024 * 1024;

/// Data that cannot be converted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct JsonError {
    /// Where in the data.
    pub path: String,
    /// What is wrong there, and what is expected.
    pub reason: String,
}

impl JsonError {
    pub(super) fn from_lua(error: &Error) -> Self {
        Self { path: "value".into(), reason: error.to_string() }
    }

    /// The same within a table.
    fn within(mut self, step: &str) -> Self {
        // The deepest steps are known first; "value" stands for the data as a whole.
        self.path.insert_str("value".len(), step);
        self
    }
}

/// What may still be converted.
struct Room {
    values: usize,
    bytes: usize,
}

impl Room {
    fn new() -> Self {
        Self { values: VALUES, bytes: BYTES }
    }

    fn take(&mut self, bytes: usize, depth: u32) -> Result<(), JsonError> {
        let error = |reason: String| Err(JsonError { path: "value".into(), reason });
        if depth > DEPTH {
            return error(format!("is nested more than {DEPTH} deep, or contains itself"));
        }
        let (Some(values), Some(left)) = (self.values.checked_sub(1), self.bytes.checked_sub(bytes)) else {
            return error(format!("is more than {VALUES} values or {BYTES} bytes"));
        };
        (self.values, self.bytes) = (values, left);
        Ok(())
    }
}

/// JSON as a value of Lua.
///
/// # Errors
///
/// If it is too deep or too much, or memory runs out.
pub fn to_lua(lua: &Lua, json: &Json) -> Result<Value, JsonError> {
    give(lua, json, &mut Room::new(), 0)
}

/// A value of Lua as JSON.
///
/// # Errors
///
/// If it is no plain data, or too deep or too much.
pub fn from_lua(value: &Value) -> Result<Json, JsonError> {
    take(value, &mut Room::new(), 0)
}

/// The table `json` of scripts.
pub(super) fn library(lua: &Lua, budget: &Rc<Budget>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set(
        "encode",
        function(lua, budget, "encode", |call| {
            let mut room = Room::new();
            let json = take(call.values.front().unwrap_or(&Value::Nil), &mut room, 0);
            call.charge((4 * (VALUES - room.values) + (BYTES - room.bytes) / 4) as u64)?;
            let json = json.map_err(|error| call.error(&error.to_string()))?;
            call.lua.create_string(json.to_string())?.into_lua_multi(call.lua)
        })?,
    )?;
    table.raw_set(
        "decode",
        function(lua, budget, "decode", |call| {
            let text = match call.values.front() {
                Some(Value::String(text)) if text.as_bytes().len() <= BYTES => text.clone(),
                Some(Value::String(_)) => return Err(call.error(&format!("JSON of more than {BYTES} bytes"))),
                _ => return Err(call.error("bad argument #1 to 'decode' (string expected)")),
            };
            call.charge(call.size(0))?;
            // What a peer sent may be wrong: that is an answer, no error.
            let nothing = |reason: String| (Value::Nil, reason).into_lua_multi(call.lua);
            match serde_json::from_slice::<Json>(&text.as_bytes()) {
                Ok(json) => match give(call.lua, &json, &mut Room::new(), 0) {
                    Ok(value) => Ok(MultiValue::from_iter([value])),
                    Err(error) => nothing(error.to_string()),
                },
                Err(error) => nothing(error.to_string()),
            }
        })?,
    )?;
    table.raw_set(
        "array",
        function(lua, budget, "array", |call| {
            let list = match call.values.front() {
                Some(Value::Table(table)) if table.metatable().is_none() => table.clone(),
                None | Some(Value::Nil) => call.lua.create_table()?,
                _ => return Err(call.error("bad argument #1 to 'array' (table without metatable expected)")),
            };
            list.set_metatable(Some(call.lua.array_metatable()))?;
            list.into_lua_multi(call.lua)
        })?,
    )?;
    Ok(table)
}

fn give(lua: &Lua, json: &Json, room: &mut Room, depth: u32) -> Result<Value, JsonError> {
    let failed = |error: Error| JsonError::from_lua(&error);
    room.take(json.as_str().map_or(0, str::len), depth)?;
    Ok(match json {
        Json::Null => Value::NULL,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, float) => Value::Number(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(lua.create_string(text).map_err(failed)?),
        Json::Array(list) => {
            let table = lua.create_table().map_err(failed)?;
            for (index, value) in list.iter().enumerate() {
                let value = give(lua, value, room, depth + 1);
                let value = value.map_err(|error| error.within(&format!("[{}]", index + 1)))?;
                table.raw_set(index + 1, value).map_err(failed)?;
            }
            table.set_metatable(Some(lua.array_metatable())).map_err(failed)?;
            Value::Table(table)
        }
        Json::Object(object) => {
            let table = lua.create_table().map_err(failed)?;
            for (key, value) in object {
                room.take(key.len(), depth)?;
                let value = give(lua, value, room, depth + 1);
                let value = value.map_err(|error| error.within(&step(key)))?;
                table.raw_set(key.as_str(), value).map_err(failed)?;
            }
            Value::Table(table)
        }
    })
}

fn take(value: &Value, room: &mut Room, depth: u32) -> Result<Json, JsonError> {
    let error = |reason: &str| Err(JsonError { path: "value".into(), reason: reason.to_owned() });
    let size = if let Value::String(text) = value { text.as_bytes().len() } else { 0 };
    room.take(size, depth)?;
    match value {
        Value::Nil => Ok(Json::Null),
        value if value.is_null() => Ok(Json::Null),
        Value::Boolean(value) => Ok(Json::Bool(*value)),
        Value::Integer(number) => Ok(Json::from(*number)),
        Value::Number(number) => match Number::from_f64(*number) {
            Some(number) => Ok(Json::Number(number)),
            None => error("is a number that JSON does not have"),
        },
        Value::String(text) => match text.to_str() {
            Ok(text) => Ok(Json::String(text.to_owned())),
            Err(_) => error("is a text that is not UTF-8"),
        },
        Value::Table(table) => take_table(table, room, depth),
        other => error(&format!("is a {}, expected plain data", other.type_name())),
    }
}

fn take_table(table: &Table, room: &mut Room, depth: u32) -> Result<Json, JsonError> {
    let failed = |error: Error| JsonError::from_lua(&error);
    let size = table.raw_len();
    // Marked lists come from here, and a length can be claimed by an element far away: it is paid for first.
    if is_marked(table) {
        return take_list(table, size, room, depth);
    }
    let mut object = Map::new();
    let mut numbered = 0;
    let holes = || JsonError {
        path: "value".into(),
        reason: "has keys that are neither 1 to n nor names only; a list may have no holes".into(),
    };
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(failed)?;
        match key {
            Value::String(key) if numbered == 0 => {
                let Ok(key) = key.to_str().map(|key| key.to_owned()) else {
                    let reason = "has a key that is not UTF-8".to_owned();
                    return Err(JsonError { path: "value".into(), reason });
                };
                room.take(key.len(), depth)?;
                let value = take(&value, room, depth + 1).map_err(|error| error.within(&step(&key)))?;
                object.insert(key, value);
            }
            Value::Integer(index)
                if object.is_empty() && usize::try_from(index).is_ok_and(|i| i >= 1 && i <= size) =>
            {
                numbered += 1;
            }
            key => {
                if matches!(key, Value::Integer(_) | Value::Number(_) | Value::String(_)) {
                    return Err(holes());
                }
                let reason = "has a key that is neither a text nor a number".into();
                return Err(JsonError { path: "value".into(), reason });
            }
        }
    }
    match numbered {
        0 => Ok(Json::Object(object)),
        _ if numbered == size => take_list(table, size, room, depth),
        _ => Err(holes()),
    }
}

fn take_list(table: &Table, size: usize, room: &mut Room, depth: u32) -> Result<Json, JsonError> {
    let mut list = Vec::new();
    for index in 1..=size {
        let within = |error: JsonError| error.within(&format!("[{index}]"));
        let value: Value = table.raw_get(index).map_err(|error| JsonError::from_lua(&error))?;
        list.push(take(&value, room, depth + 1).map_err(within)?);
    }
    Ok(Json::Array(list))
}

/// Whether a table is marked as a list.
fn is_marked(table: &Table) -> bool {
    let Some(metatable) = table.metatable() else { return false };
    // Only the mark is a metatable with nothing in it but this.
    table.weak_lua().try_upgrade().is_some_and(|lua| lua.array_metatable() == metatable)
}

/// A step of a path.
fn step(key: &str) -> String {
    const SHOWN: usize = 40;
    let end = key.floor_char_boundary(SHOWN);
    let more = if end < key.len() { "…" } else { "" };
    format!(".{}{more}", key[..end].escape_debug())
}
