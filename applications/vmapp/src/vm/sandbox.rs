//! The surroundings in which a script runs: what it finds, and what it does not.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, LightUserData, Lua, LuaOptions, LuaString, StdLib, Table, Thread, Value};

use super::budget::{Budget, STEP};
use super::{json, library};

/// The name of the part of the surroundings that is written in Lua, and how Lua shows it.
pub(crate) const PRELUDE: &str = "=[vmapp]";
pub(super) const PRELUDE_SHOWN: &str = "[vmapp]:";

/// The globals of Lua that a script keeps, as they are or with another function in their place.
const GLOBALS: &[&str] = &[
    "_VERSION",
    "assert",
    "coroutine",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "os",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "utf8",
    "xpcall",
];

/// What is left of the library `os`.
const OS: &[&str] = &["clock", "date", "time"];

/// Values whose addresses only the machine and its surroundings know: what is yielded first by who waits, and what
/// ends a coroutine that is resumed with it. Their contents keep them apart.
static WAIT: u8 = 1;
static KILL: u8 = 2;

/// What the machine shares with the functions of its script.
pub(super) struct Shared {
    /// Takes what the script prints, and what else there is to say.
    pub(super) log: Box<dyn Fn(&str)>,
    /// The folder of the script.
    pub(super) folder: RefCell<Option<PathBuf>>,
    /// When nothing may be waited for.
    pub(super) no_wait: Cell<Option<&'static str>>,
    /// How many tasks there are.
    pub(super) tasks: Cell<usize>,
    /// Tasks that were dropped and have not been closed.
    pub(super) abandoned: RefCell<Vec<Thread>>,
    /// Where the error came from that the last call ended with.
    pub(super) trace: RefCell<Vec<String>>,
}

/// A state of Lua with its surroundings, and the functions that the machine calls.
pub(super) struct Sandbox {
    pub(super) lua: Lua,
    pub(super) entry: Function,
    pub(super) waiting: Function,
}

impl Sandbox {
    pub(super) fn new(budget: &Rc<Budget>, shared: &Rc<Shared>) -> mlua::Result<Self> {
        let libraries =
            StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::UTF8 | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let globals = lua.globals();
        let host = library::install(&lua, budget, shared)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE).set_mode(ChunkMode::Text);
        let prelude: Table = prelude.call((host, wait(), kill()))?;

        keep(&globals, GLOBALS)?;
        keep(&globals.raw_get("os")?, OS)?;
        // It makes compiled Lua.
        globals.raw_get::<Table>("string")?.raw_set("dump", Value::Nil)?;
        // What strings can do is everybody's.
        if let Some(strings) = lua.type_metatable::<LuaString>() {
            strings.raw_set("__metatable", false)?;
        }
        globals.raw_set("_G", &globals)?;
        globals.raw_set("shared", lua.create_table()?)?;
        globals.raw_set("json", json::library(&lua, budget)?)?;

        let sandbox = Self { entry: prelude.raw_get("entry")?, waiting: prelude.raw_get("waiting")?, lua };
        sandbox.lua.set_memory_limit(budget.limits.memory_bytes)?;
        budget.watch(&sandbox.lua, STEP)?;
        Ok(sandbox)
    }
}

/// What is yielded first by who waits.
pub(super) fn wait() -> LightUserData {
    LightUserData(std::ptr::from_ref(&WAIT).cast_mut().cast())
}

/// What ends a coroutine that is resumed with it.
pub(super) fn kill() -> LightUserData {
    LightUserData(std::ptr::from_ref(&KILL).cast_mut().cast())
}

fn keep(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let keys: Vec<String> =
        table.pairs::<String, Value>().map(|pair| Ok(pair?.0)).collect::<mlua::Result<_>>()?;
    for key in keys.iter().filter(|key| !names.contains(&key.as_str())) {
        table.raw_set(key.as_str(), Value::Nil)?;
    }
    Ok(())
}
