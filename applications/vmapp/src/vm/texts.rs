//! Functions of `string` and `table` that work on texts: patterns, and putting texts together.

use mlua::{Error, IntoLuaMulti, LuaString, MultiValue, Value};

use super::call::Call;
use super::fault::type_name;
use super::patterns::gsub::{Output, replace};
use super::patterns::matcher::Capture;
use super::patterns::{Stop, find};

/// How many elements of a list are joined before they are paid for.
const JOINED: i64 = 100;

impl Call<'_> {
    pub(super) fn find(&self, with_place: bool) -> mlua::Result<MultiValue> {
        let (text, pattern) = (self.text(0)?, self.text(1)?);
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        let nothing = || Ok(MultiValue::from_iter([Value::Nil]));
        let Some(from) = self.start(2, text.len())? else { return nothing() };
        let exact =
            self.values.get(3).is_some_and(|value| !matches!(value, Value::Nil | Value::Boolean(false)));
        let pay = |work| self.pay(work);
        if with_place && (exact || find::is_plain(&pattern)) {
            let found = find::plain(&text, &pattern, from, &pay).map_err(|stop| self.stopped(stop))?;
            return match found {
                Some(at) => (at + 1, at + pattern.len()).into_lua_multi(self.lua),
                None => nothing(),
            };
        }
        let found =
            find::first(&text, &pattern, from, !with_place, &pay).map_err(|stop| self.stopped(stop))?;
        let Some(found) = found else { return nothing() };
        let mut results = self.captured(&text, &found.captures)?;
        if with_place {
            results.push_front(self.place(found.end)?);
            results.push_front(self.place(found.start + 1)?);
        }
        Ok(results)
    }

    /// The next match for `gmatch` and `gsub`: where it begins, where it ends, what was caught.
    pub(super) fn seek(&self) -> mlua::Result<MultiValue> {
        let (text, pattern) = (self.text(0)?, self.text(1)?);
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        let index = |number: i64| usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let Some(from) = index(self.integer(2, 1)?) else { return Ok(MultiValue::new()) };
        let last = index(self.integer(3, 0)?);
        let given = |index: usize| self.values.get(index) == Some(&Value::Boolean(true));
        let search =
            find::Search { from, anchored: given(4), last, wanted: if given(5) { 1 } else { usize::MAX } };
        let pay = |work| self.pay(work);
        let found = find::next(&text, &pattern, &search, &pay).map_err(|stop| self.stopped(stop))?;
        let Some(found) = found else { return Ok(MultiValue::new()) };
        let mut results = self.captured(&text, &found.captures)?;
        results.push_front(self.place(found.end + 1)?);
        results.push_front(self.place(found.start + 1)?);
        Ok(results)
    }

    pub(super) fn place(&self, number: usize) -> mlua::Result<Value> {
        i64::try_from(number).map(Value::Integer).map_err(Error::external)
    }

    pub(super) fn captured(&self, text: &[u8], captures: &[Capture]) -> mlua::Result<MultiValue> {
        let mut results = MultiValue::with_capacity(captures.len() + 2);
        for capture in captures {
            results.push_back(match *capture {
                Capture::Text(start, end) => {
                    self.charge((end - start) as u64 / 16)?;
                    Value::String(self.lua.create_string(&text[start..end])?)
                }
                Capture::Position(at) => self.place(at + 1)?,
                Capture::Open(_) => Value::Nil,
            });
        }
        Ok(results)
    }

    /// `gsub` with a text in place of the matches.
    pub(super) fn replace(&self) -> mlua::Result<MultiValue> {
        let (text, pattern) = (self.text(0)?, self.text(1)?);
        let most = self.integer(3, i64::MAX)?;
        let template = match self.values.get(2) {
            Some(Value::String(_) | Value::Integer(_) | Value::Number(_)) => self.text(2)?,
            _ => return Err(self.mismatch(2, "string/function/table")),
        };
        let pay = |work| self.pay(work);
        let room = |bytes| self.room(bytes).map_err(|_| Stop::Spent);
        let mut out = Output::new(&room);
        let count =
            replace(&text.as_bytes(), &pattern.as_bytes(), &template.as_bytes(), most, &mut out, &pay)
                .map_err(|stop| self.stopped(stop))?;
        (self.lua.create_string(out.as_bytes())?, count).into_lua_multi(self.lua)
    }

    /// The values of `gsub` with a function or a table, made what they should be; the pattern without its anchor.
    pub(super) fn replacing(&self) -> mlua::Result<MultiValue> {
        let (text, pattern, most) = (self.text(0)?, self.text(1)?, self.integer(3, i64::MAX)?);
        let bare =
            pattern.as_bytes().strip_prefix(b"^").map(|bare| self.lua.create_string(bare)).transpose()?;
        let anchored = bare.is_some();
        (text, bare.unwrap_or(pattern), most, anchored).into_lua_multi(self.lua)
    }

    /// The values of `gmatch`, made what they should be.
    pub(super) fn matching(&self) -> mlua::Result<MultiValue> {
        let (text, pattern) = (self.text(0)?, self.text(1)?);
        let size = text.as_bytes().len();
        let start = self.start(2, size)?.unwrap_or(size + 1);
        (text, pattern, start + 1).into_lua_multi(self.lua)
    }

    /// `concat` of a table without a metatable.
    pub(super) fn join(&self) -> mlua::Result<MultiValue> {
        let Some(Value::Table(list)) = self.values.front() else { return Err(self.mismatch(0, "table")) };
        let separator = match self.values.get(1) {
            None | Some(Value::Nil) => None,
            Some(_) => Some(self.text(1)?),
        };
        let (from, to) = (self.integer(2, 1)?, self.integer(3, 0)?);
        let room = |bytes| self.room(bytes).map_err(|_| Stop::Spent);
        let mut out = Output::new(&room);
        let mut push = |text: &LuaString| out.push(&text.as_bytes()).map_err(|stop| self.stopped(stop));
        let (mut unpaid, mut size) = (0, 0);
        for index in from..=to {
            let value: Value = list.raw_get(index)?;
            let text = match value {
                Value::String(text) => Some(text),
                value @ (Value::Integer(_) | Value::Number(_)) => self.lua.coerce_string(value)?,
                _ => None,
            };
            let Some(text) = text else {
                let kind = type_name(&list.raw_get::<Value>(index)?);
                return Err(
                    self.error(&format!("invalid value ({kind}) at index {index} in table for 'concat'"))
                );
            };
            push(&text)?;
            size += text.as_bytes().len();
            if let Some(separator) = separator.as_ref().filter(|_| index < to) {
                push(separator)?;
                size += separator.as_bytes().len();
            }
            unpaid += 1;
            if unpaid == JOINED {
                self.charge(2 * JOINED as u64 + std::mem::take(&mut size) as u64 / 16)?;
                unpaid = 0;
            }
        }
        self.charge(2 * unpaid as u64 + size as u64 / 16)?;
        self.lua.create_string(out.as_bytes())?.into_lua_multi(self.lua)
    }
}
