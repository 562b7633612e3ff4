//! The surroundings in which a script runs: few functions, two budgets, no way out of its folder.

use std::cell::Cell;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crtmp_host::config::did_you_mean;
use mlua::chunk::ChunkMode;
use mlua::debug::HookTriggers;
use mlua::{Error, Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::{Budget, Outcome, read_script, tree};

/// The globals that a script keeps; everything else that Lua brings is taken away.
const GLOBALS: &[&str] = &[
    "_VERSION", "assert", "error", "ipairs", "math", "next", "os", "pairs", "rawequal", "rawget", "rawlen",
    "rawset", "select", "string", "table", "tonumber", "tostring", "type", "utf8",
];

/// What is left of the library `os`.
const OS: &[&str] = &["clock", "date", "getenv", "time"];

/// How deeply `require` and `dofile` may be nested.
const NESTED_FILES: u32 = 16;

/// How many instructions pass between two looks at the budget.
const STEP: u32 = 1000;

/// The longest name of a chunk that Lua shows whole.
const CHUNK_NAME: usize = 59;

/// Runs the script and returns what it left in `configuration`, or why there is nothing, beginning with the
/// place.
pub(super) fn run(path: &Path, source: &str, budget: Budget) -> Result<Outcome, String> {
    execute(path, source, budget, |lua, shown| match lua.globals().raw_get::<Value>("configuration")? {
        Value::Table(table) => Ok(Ok(tree::tree(&table))),
        Value::Nil => Ok(Err(missing(lua, shown))),
        other => Ok(Err(format!("{shown}: `configuration` is a {}, expected a table", other.type_name()))),
    })
}

/// Runs a users file and returns what it left in `users` and `realms`.
pub(super) fn run_users(path: &Path, source: &str, budget: Budget) -> Result<Outcome, String> {
    execute(path, source, budget, |lua, shown| {
        let both = lua.create_table()?;
        for name in ["users", "realms"] {
            both.raw_set(name, lua.globals().raw_get::<Value>(name)?)?;
        }
        if both.raw_get::<Value>("users")?.is_nil() {
            let text = format!("{shown}: the script does not set the global `users`: {{ name = password }}");
            return Ok(Err(text));
        }
        Ok(Ok(tree::plain(&both)))
    })
}

/// Runs a script and takes what is wanted of it.
fn execute(
    path: &Path,
    source: &str,
    budget: Budget,
    take: impl FnOnce(&Lua, &str) -> mlua::Result<Result<Outcome, String>>,
) -> Result<Outcome, String> {
    let shown = path.display().to_string();
    let name = path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
    let failed = |error: &Error| {
        let message = presentable(&message(error));
        match message.strip_prefix(&short(&name)) {
            Some(rest) if rest.starts_with(':') => format!("{shown}{rest}"),
            _ => format!("{shown}: {message}"),
        }
    };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder =
        folder.canonicalize().map_err(|error| format!("{shown}: its folder cannot be found: {error}"))?;

    let lua = prepare(folder, budget).map_err(|error| failed(&error))?;
    let chunk = lua.load(source).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
    chunk.exec().map_err(|error| failed(&error))?;
    take(&lua, &shown).map_err(|error| failed(&error))?
}

fn missing(lua: &Lua, shown: &str) -> String {
    let own = |(key, _): (String, Value)| (!GLOBALS.contains(&key.as_str())).then_some(key);
    let globals: Vec<_> = lua.globals().pairs().filter_map(|pair| pair.ok().and_then(own)).collect();
    let near = did_you_mean("configuration", globals.iter().map(String::as_str));
    let hint = near.map(|near| format!("; it sets `{near}`: rename that")).unwrap_or_default();
    format!("{shown}: the script does not set the global `configuration`{hint}")
}

/// A Lua state with nothing in it that reaches outside, and with its budgets set.
fn prepare(folder: PathBuf, budget: Budget) -> mlua::Result<Lua> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::UTF8 | StdLib::OS;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    let globals = lua.globals();
    keep(&globals, GLOBALS)?;
    keep(&globals.raw_get("os")?, OS)?;
    // It makes compiled Lua. The methods of strings are this same table.
    globals.raw_get::<Table>("string")?.raw_set("dump", Value::Nil)?;
    globals.raw_set("_G", &globals)?;
    globals.raw_set("print", lua.create_function(print)?)?;

    let spent = Rc::new(Cell::new(false));
    protected_calls(&lua, &spent)?;
    files(&lua, folder)?;

    lua.set_memory_limit(budget.memory)?;
    let used = Cell::new(0_u64);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(STEP), move |_, at| {
        used.set(used.get() + u64::from(STEP));
        if used.get() <= budget.instructions {
            return Ok(VmState::Continue);
        }
        spent.set(true);
        let place = match (at.source().short_src, at.current_line()) {
            (Some(name), Some(line)) => format!("{name}:{line}: "),
            _ => String::new(),
        };
        let limit = budget.instructions;
        Err(Error::runtime(format!(
            "{place}the script used up its {limit} instructions; look for a loop that does not end"
        )))
    })?;
    Ok(lua)
}

fn keep(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let keys: Vec<String> =
        table.pairs::<String, Value>().map(|pair| Ok(pair?.0)).collect::<mlua::Result<_>>()?;
    for key in keys.iter().filter(|key| !names.contains(&key.as_str())) {
        table.raw_set(key.as_str(), Value::Nil)?;
    }
    Ok(())
}

fn print(lua: &Lua, values: MultiValue) -> mlua::Result<()> {
    let tostring: Function = lua.globals().raw_get("tostring")?;
    let mut texts = Vec::new();
    for value in values {
        texts.push(tostring.call::<mlua::LuaString>(value)?.to_string_lossy());
    }
    eprintln!("{}", texts.join("\t"));
    Ok(())
}

/// `pcall` and `xpcall` that pass on the end of a budget: a script must not be able to survive it.
fn protected_calls(lua: &Lua, spent: &Rc<Cell<bool>>) -> mlua::Result<()> {
    let final_error = {
        let spent = Rc::clone(spent);
        move |error: &Error| spent.get() || is_memory(error)
    };
    let for_pcall = final_error.clone();
    let pcall = lua.create_function(move |lua, (function, arguments): (Value, MultiValue)| {
        match call(function, arguments) {
            Ok(results) => answer(lua, true, results),
            Err(error) if for_pcall(&error) => Err(error),
            Err(error) => answer(lua, false, MultiValue::from_iter([lua.pack(message(&error))?])),
        }
    })?;
    let xpcall =
        lua.create_function(move |lua, (function, handler, arguments): (Value, Function, MultiValue)| {
            match call(function, arguments) {
                Ok(results) => answer(lua, true, results),
                Err(error) if final_error(&error) => Err(error),
                Err(error) => answer(lua, false, handler.call(message(&error))?),
            }
        })?;
    lua.globals().raw_set("pcall", pcall)?;
    lua.globals().raw_set("xpcall", xpcall)
}

fn call(function: Value, arguments: MultiValue) -> mlua::Result<MultiValue> {
    match function {
        Value::Function(function) => function.call(arguments),
        other => Err(Error::runtime(format!("attempt to call a {} value", other.type_name()))),
    }
}

fn answer(lua: &Lua, good: bool, mut results: MultiValue) -> mlua::Result<MultiValue> {
    results.push_front(lua.pack(good)?);
    Ok(results)
}

/// `require` and `dofile`, for text inside `folder`.
fn files(lua: &Lua, folder: PathBuf) -> mlua::Result<()> {
    let depth = Rc::new(Cell::new(0_u32));
    let folder = Rc::new(folder);
    let loaded = lua.create_table()?;

    let (at, level) = (Rc::clone(&folder), Rc::clone(&depth));
    let dofile =
        lua.create_function(move |lua, name: String| run_file(lua, &at, &level, Path::new(&name)))?;
    let require = lua.create_function(move |lua, name: String| {
        let known: Value = loaded.raw_get(name.as_str())?;
        if !known.is_nil() {
            return Ok(known);
        }
        let file = format!("{}.lua", name.replace('.', "/"));
        let result = match run_file(lua, &folder, &depth, Path::new(&file))?.into_iter().next() {
            None | Some(Value::Nil) => Value::Boolean(true),
            Some(value) => value,
        };
        loaded.raw_set(name, &result)?;
        Ok(result)
    })?;
    lua.globals().raw_set("dofile", dofile)?;
    lua.globals().raw_set("require", require)
}

fn run_file(lua: &Lua, folder: &Path, depth: &Cell<u32>, name: &Path) -> mlua::Result<MultiValue> {
    let shown = name.display();
    let inside = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
    if !name.components().all(inside) {
        return Err(Error::runtime(format!(
            "{shown}: only files in the folder of the main script can be loaded; give a path that starts there"
        )));
    }
    let path = folder.join(name).canonicalize();
    let path = path.map_err(|error| Error::runtime(format!("{shown}: cannot be loaded: {error}")))?;
    if !path.starts_with(folder) {
        return Err(Error::runtime(format!("{shown}: leads out of the folder of the main script")));
    }
    let source = read_script(&path).map_err(|reason| Error::runtime(format!("{shown}: {reason}")))?;
    if depth.get() >= NESTED_FILES {
        return Err(Error::runtime(format!("{shown}: more than {NESTED_FILES} files load one another")));
    }
    depth.set(depth.get() + 1);
    let result = lua.load(source).set_name(format!("@{shown}")).set_mode(ChunkMode::Text).call(());
    depth.set(depth.get() - 1);
    result
}

/// The text of a Lua error, without the trace that mlua appends.
fn message(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } => message(cause),
        Error::WithContext { context, cause } => format!("{context}: {}", message(cause)),
        _ if is_memory(error) => {
            "the script used up its memory; look for a table or text that grows for ever".into()
        }
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        other => other.to_string(),
    }
}

/// A message without control characters, and not so long that it hides where it comes from.
fn presentable(message: &str) -> String {
    const LONGEST: usize = 1000;
    let cut = &message[..message.floor_char_boundary(LONGEST)];
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

fn is_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => is_memory(cause),
        _ => false,
    }
}

/// The name of a chunk as Lua writes it in front of its messages.
fn short(name: &str) -> String {
    if name.len() <= CHUNK_NAME {
        return name.to_owned();
    }
    let mut start = name.len() - (CHUNK_NAME - 3);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    format!("...{}", &name[start..])
}
