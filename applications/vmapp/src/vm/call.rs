//! What a call of a function of the host knows: its values as Lua takes them, its price, its errors as Lua words them.

use std::rc::Rc;

use mlua::{Error, Function, Lua, LuaString, MultiValue, Value};

use super::budget::{Budget, What};
use super::fault::{message, type_name};
use super::patterns::Stop;
use super::sandbox::PRELUDE;

/// What calling a function of the host is worth, at the least.
const CALL: u64 = 10;

/// A call of a function of the host.
pub(super) struct Call<'a> {
    pub(super) lua: &'a Lua,
    pub(super) budget: &'a Rc<Budget>,
    name: &'static str,
    pub(super) values: MultiValue,
}

impl Call<'_> {
    pub(super) fn charge(&self, work: u64) -> mlua::Result<()> {
        self.budget.charge(self.lua, work)
    }

    pub(super) fn room(&self, bytes: usize) -> mlua::Result<()> {
        self.budget.room(self.lua, bytes)
    }

    /// Calls Lua's own function with the same values.
    pub(super) fn stock(&self, function: &Function) -> mlua::Result<MultiValue> {
        let results: MultiValue = function.call(self.values.clone()).map_err(|error| match error {
            Error::RuntimeError(_) => self.adopt(&message(&error)),
            other => other,
        })?;
        let size = |value: &Value| if let Value::String(text) = value { text.as_bytes().len() } else { 0 };
        self.charge(results.iter().map(size).sum::<usize>() as u64 / 16)?;
        Ok(results)
    }

    /// An error of Lua's own function, which did not know its name and how it was called.
    pub(super) fn adopt(&self, text: &str) -> Error {
        let parts = text.strip_prefix("bad argument #").and_then(|rest| rest.split_once(" to '?' ("));
        let parts =
            parts.and_then(|(number, why)| Some((number.parse::<usize>().ok()?, why.strip_suffix(')')?)));
        match parts {
            Some((number, why)) => self.bad(number.saturating_sub(1), why),
            None => self.error(text),
        }
    }

    /// An error of this call. Whoever shows it adds the place.
    pub(super) fn error(&self, text: &str) -> Error {
        Error::runtime(text)
    }

    pub(super) fn bad(&self, index: usize, why: &str) -> Error {
        let number = index + 1;
        match (self.is_method(), number) {
            (true, 1) => self.error(&format!("calling '{}' on bad self ({why})", self.name)),
            (true, number) => self.error(&format!("bad argument #{} to '{}' ({why})", number - 1, self.name)),
            (false, number) => self.error(&format!("bad argument #{number} to '{}' ({why})", self.name)),
        }
    }

    pub(super) fn mismatch(&self, index: usize, expected: &str) -> Error {
        let found = self.values.get(index).map_or("no value", type_name);
        self.bad(index, &format!("{expected} expected, got {found}"))
    }

    /// Whether the script wrote `text:name(…)`, directly or through the prelude.
    pub(super) fn is_method(&self) -> bool {
        let method = |level| {
            self.lua.inspect_stack(level, |at| {
                let of_prelude = at.source().source.as_deref() == Some(PRELUDE);
                (at.names().name_what == Some("method"), of_prelude)
            })
        };
        match (method(0), method(1)) {
            (Some((true, _)), _) => true,
            (_, Some((method, of_prelude))) => method && of_prelude,
            _ => false,
        }
    }

    /// A text that the function must be given; numbers are texts too.
    pub(super) fn text(&self, index: usize) -> mlua::Result<LuaString> {
        match self.values.get(index) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => {
                let text = self.lua.coerce_string(value.clone())?;
                text.ok_or_else(|| self.mismatch(index, "string"))
            }
            _ => Err(self.mismatch(index, "string")),
        }
    }

    /// A whole number that the function may be given.
    pub(super) fn integer(&self, index: usize, default: i64) -> mlua::Result<i64> {
        match self.values.get(index) {
            None | Some(Value::Nil) => Ok(default),
            Some(Value::Integer(number)) => Ok(*number),
            Some(value @ (Value::Number(_) | Value::String(_))) => {
                match (self.lua.coerce_integer(value.clone())?, self.lua.coerce_number(value.clone())?) {
                    (Some(number), _) => Ok(number),
                    (None, Some(_)) => Err(self.bad(index, "number has no integer representation")),
                    (None, None) => Err(self.mismatch(index, "number")),
                }
            }
            _ => Err(self.mismatch(index, "number")),
        }
    }

    /// A number, for a price; whoever checks it comes later.
    pub(super) fn number(&self, index: usize) -> Option<i64> {
        self.integer(index, 0).ok()
    }

    /// How long a text is, for a price.
    pub(super) fn size(&self, index: usize) -> u64 {
        match self.values.get(index) {
            Some(Value::String(text)) => text.as_bytes().len() as u64,
            _ => 0,
        }
    }

    /// How much of a text of `size` bytes lies from the second value to the third; where there is none, `default`.
    pub(super) fn span(&self, size: u64, default: u64) -> u64 {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let place =
            |at: i64| if at < 0 { at.saturating_add(size).saturating_add(1) } else { at }.clamp(0, size);
        match self.number(2) {
            Some(last) if self.values.len() > 2 => {
                let first = place(self.number(1).unwrap_or(1));
                u64::try_from(place(last).saturating_sub(first).saturating_add(1)).unwrap_or(0)
            }
            _ => default,
        }
    }

    /// Where a search begins, from 0; none, if beyond the end.
    pub(super) fn start(&self, index: usize, size: usize) -> mlua::Result<Option<usize>> {
        let given = self.integer(index, 1)?;
        let start = match usize::try_from(given) {
            Ok(0) => 0,
            Ok(start) => start - 1,
            Err(_) => {
                let back = usize::try_from(given.unsigned_abs()).unwrap_or(usize::MAX);
                size.saturating_sub(back)
            }
        };
        Ok((start <= size).then_some(start))
    }

    pub(super) fn pay(&self, work: u64) -> Result<(), Stop> {
        self.charge(work).map_err(|_| Stop::Spent)
    }

    pub(super) fn stopped(&self, stop: Stop) -> Error {
        match stop {
            Stop::Wrong(text) => self.error(&text),
            Stop::Spent => self.budget.exceed(self.lua, What::Time(self.budget.limits.call_time)),
        }
    }
}

/// A function that takes its least price and then does its work.
pub(super) fn function(
    lua: &Lua,
    budget: &Rc<Budget>,
    name: &'static str,
    body: impl Fn(Call<'_>) -> mlua::Result<MultiValue> + 'static,
) -> mlua::Result<Function> {
    let budget = Rc::clone(budget);
    lua.create_function(move |lua, values: MultiValue| {
        let call = Call { lua, budget: &budget, name, values };
        call.charge(CALL)?;
        body(call)
    })
}
