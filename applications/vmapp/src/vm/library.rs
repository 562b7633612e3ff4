//! The functions that scripts call in place of Lua's own where those do long work without an instruction.
//!
//! Most of them take the price and then call Lua's own function. Those with patterns are in `texts.rs`; tables, protected
//! calls, coroutines and whatever calls the script are `prelude.lua`, which uses what is in the table `host`.

use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::budget::{Budget, STEP, What, place};
use super::call::{Call, function};
use super::fault::{is_memory, message, trace};
use super::files;
use super::sandbox::{PRELUDE_SHOWN, Shared};

/// What a line in the log is worth.
const LINE: u64 = 200;

/// The longest text that is logged at once, in bytes.
const LOGGED: usize = 4096;

/// The most values that `table.unpack` gives.
const UNPACK: i64 = 100_000;

/// What Lua says when memory runs out.
const NO_MEMORY: &str = "not enough memory";

/// What a call of one of Lua's own functions is worth.
type Price = fn(&Call<'_>) -> u64;

/// Lua's own functions that are only priced: library, name, price. What they return is priced besides.
const PRICED: &[(&str, &str, Price)] = &[
    ("string", "byte", |call| call.span(call.size(0), 1)),
    ("string", "char", |call| call.values.len() as u64),
    ("string", "format", |call| (0..call.values.len()).map(|index| call.size(index)).sum::<u64>() / 4),
    ("string", "lower", |call| call.size(0) / 4),
    ("string", "pack", |call| call.size(0)),
    ("string", "packsize", |call| call.size(0)),
    ("string", "reverse", |call| call.size(0) / 4),
    ("string", "unpack", |call| call.size(0)),
    ("string", "upper", |call| call.size(0) / 4),
    ("utf8", "char", |call| call.values.len() as u64),
    ("utf8", "codepoint", |call| call.span(call.size(0), 1)),
    ("utf8", "len", |call| call.span(call.size(0), call.size(0))),
    ("utf8", "offset", |call| call.size(0).min(4 * call.number(1).map_or(0, i64::unsigned_abs)) + 4),
    // Each letter of the format may ask the system.
    ("os", "date", |call| 50 * call.size(0)),
];

/// Puts the functions into the libraries of Lua, and gives those that are for the prelude alone.
pub(super) fn install(lua: &Lua, budget: &Rc<Budget>, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let globals = lua.globals();
    let string: Table = globals.raw_get("string")?;
    for (library, name, price) in PRICED {
        let library: Table = globals.raw_get(*library)?;
        let stock: Function = library.raw_get(*name)?;
        add(lua, budget, &library, name, move |call| {
            call.charge(price(&call))?;
            call.stock(&stock)
        })?;
    }
    let rep: Function = string.raw_get("rep")?;
    add(lua, budget, &string, "rep", move |call| {
        let count = u64::try_from(call.number(1).unwrap_or(0)).unwrap_or(0);
        let size = count.saturating_mul(call.size(0).saturating_add(call.size(2)));
        call.room(usize::try_from(size).unwrap_or(usize::MAX))?;
        // Lua goes round for each copy, also of an empty text.
        call.charge((size / 16).max(count / 8))?;
        call.stock(&rep)
    })?;
    add(lua, budget, &string, "find", |call| call.find(true))?;
    add(lua, budget, &string, "match", |call| call.find(false))?;
    add(lua, budget, &globals, "setmetatable", |call| call.set_metatable())?;

    let host = lua.create_table()?;
    // The names in messages are those of the functions that the prelude offers.
    let for_prelude =
        |name: &'static str, shown: &'static str, body: fn(Call<'_>) -> mlua::Result<MultiValue>| {
            host.raw_set(name, function(lua, budget, shown, body)?)
        };
    for_prelude("replace", "gsub", |call| call.replace())?;
    for_prelude("replacing", "gsub", |call| call.replacing())?;
    for_prelude("matching", "gmatch", |call| call.matching())?;
    for_prelude("seek", "gsub", |call| call.seek())?;
    for_prelude("join", "concat", |call| call.join())?;
    for_prelude("spread", "unpack", |call| call.spread())?;
    for_prelude("meta", "tostring", |call| call.meta())?;
    for_prelude("bare", "sort", |call| call.bare())?;
    for_prelude("coroutine", "create", |call| {
        // Its hook begins to count anew.
        call.charge(2 * u64::from(STEP))?;
        Ok(MultiValue::new())
    })?;
    let time: Function = globals.raw_get::<Table>("os")?.raw_get("time")?;
    add(lua, budget, &host, "time", move |call| {
        call.charge(50)?;
        call.stock(&time)
    })?;
    files_and_log(lua, budget, shared, &host)?;
    Ok(host)
}

fn files_and_log(lua: &Lua, budget: &Rc<Budget>, shared: &Rc<Shared>, host: &Table) -> mlua::Result<()> {
    let at = Rc::clone(shared);
    add(lua, budget, host, "module", move |call| {
        let name = call.text(0)?.to_string_lossy();
        let folder = at.folder.borrow().clone();
        let Some(folder) = folder else { return Err(call.error("nothing can be required yet")) };
        let found = files::module(&folder, &name);
        let (shown, text) = found
            .and_then(|(shown, path)| match files::read(&path) {
                Ok(text) => Ok((shown, text)),
                Err(reason) => Err(format!("{shown} {reason}")),
            })
            .map_err(|reason| call.error(&format!("module '{name}': {reason}")))?;
        call.charge(text.len() as u64)?;
        let chunk = call.lua.load(text).set_name(format!("@{shown}")).set_mode(ChunkMode::Text);
        chunk.into_function()?.into_lua_multi(call.lua)
    })?;

    let at = Rc::clone(shared);
    add(lua, budget, host, "log", move |call| {
        call.charge(LINE + call.size(0) / 4)?;
        let text = call.text(0)?;
        let bytes = text.as_bytes();
        let cut = &bytes[..bytes.len().min(LOGGED)];
        let more = if cut.len() < bytes.len() { "…" } else { "" };
        (at.log)(&format!("{}{more}", String::from_utf8_lossy(cut)));
        Ok(MultiValue::new())
    })?;

    ends(lua, budget, shared, host)?;

    let at = Rc::clone(shared);
    add(lua, budget, host, "may_wait", move |call| {
        if let Some(when) = at.no_wait.get() {
            return Err(call.error(&format!("nothing can be waited for {when}")));
        }
        if call.values.front() != Some(&Value::Boolean(true)) {
            return Err(
                call.error("nothing can be waited for in here; wait outside of functions of the server")
            );
        }
        let limit = call.budget.limits.tasks;
        if at.tasks.get() >= limit {
            return Err(call.error(&format!("{limit} calls of this application wait already")));
        }
        Ok(MultiValue::new())
    })
}

/// What the prelude asks about errors and the end of a budget. These cost nothing and never fail for want of a budget.
fn ends(lua: &Lua, budget: &Rc<Budget>, shared: &Rc<Shared>, host: &Table) -> mlua::Result<()> {
    let own = Rc::clone(budget);
    host.raw_set("spent", lua.create_function(move |_, ()| Ok(own.is_spent()))?)?;

    // What a script gets that has caught an error, and whether it must not go on.
    let own = Rc::clone(budget);
    host.raw_set(
        "caught",
        lua.create_function(move |lua, problem: Value| {
            let no_memory = match &problem {
                Value::String(text) => text == NO_MEMORY,
                Value::Error(error) => is_memory(error),
                _ => false,
            };
            if no_memory {
                let _ = own.exceed(lua, What::Memory(own.limits.memory_bytes));
            }
            if own.is_spent() {
                return Ok((Value::Nil, true));
            }
            let text = match &problem {
                Value::Error(error) => Some(message(error)),
                // A place in the prelude says nothing to anybody.
                Value::String(text) if text.as_bytes().starts_with(PRELUDE_SHOWN.as_bytes()) => {
                    let text = text.to_string_lossy();
                    place(lua).and_then(|place| Some(format!("{place}: {}", bare(&text)?)))
                }
                _ => None,
            };
            match text {
                Some(text) => Ok((Value::String(lua.create_string(text)?), false)),
                None => Ok((problem, false)),
            }
        })?,
    )?;

    let (at, own) = (Rc::clone(shared), Rc::clone(budget));
    host.raw_set(
        "trace",
        lua.create_function(move |lua, problem: Value| {
            // It runs where the error is raised, in a hook perhaps: nothing of the script may be called.
            if !own.is_spent() {
                at.trace.replace(trace(lua));
            }
            Ok(problem)
        })?,
    )
}

fn add(
    lua: &Lua,
    budget: &Rc<Budget>,
    table: &Table,
    name: &'static str,
    body: impl Fn(Call<'_>) -> mlua::Result<MultiValue> + 'static,
) -> mlua::Result<()> {
    table.raw_set(name, function(lua, budget, name, body)?)
}

impl Call<'_> {
    /// The range of `unpack`, paid for.
    fn spread(&self) -> mlua::Result<MultiValue> {
        let (from, to) = (self.integer(1, 1)?, self.integer(2, 0)?);
        let count = if from > to { 0 } else { to.saturating_sub(from).saturating_add(1) };
        if count > UNPACK {
            return Err(self.error("too many results to unpack"));
        }
        self.charge(count.unsigned_abs())?;
        (from, to).into_lua_multi(self.lua)
    }

    /// A field of a table's metatable, protected or not.
    fn meta(&self) -> mlua::Result<MultiValue> {
        let (Some(Value::Table(table)), Some(name)) = (self.values.front(), self.values.get(1)) else {
            return Ok(MultiValue::from_iter([Value::Nil]));
        };
        match table.metatable() {
            Some(metatable) => metatable.raw_get::<Value>(name)?.into_lua_multi(self.lua),
            None => Ok(MultiValue::from_iter([Value::Nil])),
        }
    }

    /// A message without its place, if that is in the prelude.
    fn bare(&self) -> mlua::Result<MultiValue> {
        let text = self.text(0)?.to_string_lossy();
        bare(&text).into_lua_multi(self.lua)
    }

    /// `setmetatable` without what would run where no hook is heard: finalizers, and values that are called by calling
    /// another, which may be themselves.
    fn set_metatable(&self) -> mlua::Result<MultiValue> {
        let Some(Value::Table(table)) = self.values.front() else { return Err(self.mismatch(0, "table")) };
        let metatable = match self.values.get(1) {
            Some(Value::Nil) => None,
            Some(Value::Table(metatable)) => Some(metatable.clone()),
            _ => return Err(self.mismatch(1, "nil or table")),
        };
        if let Some(old) = table.metatable()
            && !old.raw_get::<Value>("__metatable")?.is_nil()
        {
            return Err(self.error("cannot change a protected metatable"));
        }
        if let Some(metatable) = &metatable {
            if !metatable.raw_get::<Value>("__gc")?.is_nil() {
                return Err(self.error("there is no `__gc` in scripts of the server; use `local x <close>`"));
            }
            if !matches!(metatable.raw_get("__call")?, Value::Nil | Value::Function(_)) {
                return Err(self.error("`__call` must be a function"));
            }
        }
        table.set_metatable(metatable)?;
        table.into_lua_multi(self.lua)
    }
}

/// A message without its place, if that is in the prelude.
pub(super) fn bare(text: &str) -> Option<&str> {
    text.strip_prefix(PRELUDE_SHOWN)?.split_once(": ").map(|(_, rest)| rest)
}
