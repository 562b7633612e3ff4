//! Runs the calls of a script.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use mlua::chunk::ChunkMode;
use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Thread, Value};

use super::budget::{Budget, Cut, Limits, Place, Refused, What};
use super::fault::{Fault, is_memory};
use super::json::{self, JsonError};
use super::sandbox::{Sandbox, Shared, kill, wait};
use super::task::Task;
use super::{files, library};

/// The least memory that a machine can be given.
const LEAST_MEMORY: usize = 1024 * 1024;

/// A machine for one script. It belongs to one thread.
pub struct Machine {
    sandbox: Sandbox,
    budget: Rc<Budget>,
    shared: Rc<Shared>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It has ended and returned this.
    Done(MultiValue),
    /// It waits. The task's request says for what.
    Waits(Task),
    /// It was over its budget and has been ended.
    Cut(Cut),
    /// It failed.
    Failed(Fault),
    /// It was not begun, or the task that is given back was not resumed: the second's budget is used up.
    Refused(Refused, Option<Task>),
}

/// Why a script was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or holds no text.
    #[error("{file}: {reason}")]
    File {
        /// The file, as the caller named it.
        file: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// It is not Lua, or failed.
    #[error("{0}")]
    Failed(Fault),
    /// It was over its budget.
    #[error("{0}")]
    Cut(Cut),
}

impl Machine {
    /// A machine without a script. `log` takes what the script prints.
    ///
    /// # Errors
    ///
    /// If Lua cannot be set up, for want of memory.
    pub fn new(mut limits: Limits, log: impl Fn(&str) + 'static) -> Result<Self, Fault> {
        limits.memory_bytes = limits.memory_bytes.max(LEAST_MEMORY);
        let budget = Budget::new(limits);
        let shared = Rc::new(Shared {
            log: Box::new(log),
            folder: RefCell::default(),
            no_wait: Cell::new(None),
            tasks: Cell::new(0),
            abandoned: RefCell::default(),
            trace: RefCell::default(),
        });
        let sandbox = Sandbox::new(&budget, &shared).map_err(|error| Fault::from_error(&error))?;
        Ok(Self { sandbox, budget, shared })
    }

    /// The state of Lua, for functions and tables of the application.
    pub fn lua(&self) -> &Lua {
        &self.sandbox.lua
    }

    /// The global table of this name; it is made if it is not there.
    ///
    /// # Errors
    ///
    /// If memory runs out.
    pub fn table(&self, name: &str) -> mlua::Result<Table> {
        if let Value::Table(table) = self.lua().globals().raw_get(name)? {
            return Ok(table);
        }
        let table = self.lua().create_table()?;
        self.lua().globals().raw_set(name, &table)?;
        Ok(table)
    }

    /// A function that scripts wait in. `start` begins what is to be waited for and returns what tells the application
    /// which it is ([`Task::request`]); the values of [`Machine::resume`] are what the function returns.
    ///
    /// # Errors
    ///
    /// If memory runs out.
    pub fn waiting(
        &self,
        start: impl Fn(&Lua, MultiValue) -> mlua::Result<MultiValue> + 'static,
    ) -> mlua::Result<Function> {
        self.sandbox.waiting.call(self.lua().create_function(start)?)
    }

    /// Runs a file of the script. Its folder is where `require` looks.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not Lua, fails or is over its budget.
    pub fn load(&mut self, now: Instant, path: &Path) -> Result<(), LoadError> {
        let file = path.display().to_string();
        let unreadable = |reason| LoadError::File { file: file.clone(), reason };
        let text = files::read(path).map_err(unreadable)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize();
        let folder = folder.map_err(|error| unreadable(format!("its folder cannot be found ({error})")))?;
        self.shared.folder.replace(Some(folder));
        let name = path.file_name().map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());

        // Loading counts, but is never refused.
        let _ = self.budget.refused(now);
        let start = Place { file: name.clone(), line: 1 };
        self.shared.no_wait.set(Some("while the script is loaded; wait in a function"));
        let result = self.run(&name, "while it is loaded".into(), start, |machine| {
            machine.budget.charge(machine.lua(), text.len() as u64)?;
            let chunk = machine.lua().load(text).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
            let thread = machine.lua().create_thread(machine.sandbox.entry.clone())?;
            let results = thread.resume(chunk.into_function()?)?;
            Ok((thread, results))
        });
        self.shared.no_wait.set(None);
        match result {
            Outcome::Done(_) => Ok(()),
            Outcome::Cut(cut) => Err(LoadError::Cut(cut)),
            Outcome::Failed(fault) => Err(LoadError::Failed(fault)),
            Outcome::Waits(_) | Outcome::Refused(..) => Err(LoadError::Failed(Fault::new(
                &format!("{file}: it waits while it is loaded"),
                Vec::new(),
            ))),
        }
    }

    /// Whether the script has a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.function(name).is_some()
    }

    /// Calls a global function of the script. `now` says which second's budget is used.
    pub fn call(&mut self, now: Instant, name: &str, arguments: impl IntoLuaMulti) -> Outcome {
        self.close_abandoned();
        if let Some(refused) = self.budget.refused(now) {
            return Outcome::Refused(refused, None);
        }
        let Some(function) = self.function(name) else {
            return Outcome::Failed(Fault::new(&format!("{name} is no function of the script"), Vec::new()));
        };
        self.call_known(name, function, arguments)
    }

    /// Calls a function that the script has given; `occasion` names it in errors.
    pub fn call_function(
        &mut self,
        now: Instant,
        occasion: &str,
        function: Function,
        arguments: impl IntoLuaMulti,
    ) -> Outcome {
        self.close_abandoned();
        if let Some(refused) = self.budget.refused(now) {
            return Outcome::Refused(refused, None);
        }
        self.call_known(occasion, function, arguments)
    }

    fn call_known(&self, name: &str, function: Function, arguments: impl IntoLuaMulti) -> Outcome {
        let info = function.info();
        let start =
            Place { file: info.short_src.unwrap_or_default(), line: info.line_defined.unwrap_or_default() };
        self.run(name, format!("in {name}"), start, |machine| {
            let mut values = arguments.into_lua_multi(machine.lua())?;
            values.push_front(Value::Function(function));
            let thread = machine.lua().create_thread(machine.sandbox.entry.clone())?;
            let results = thread.resume(values)?;
            Ok((thread, results))
        })
    }

    /// Goes on with a call that waits, in a budget of its own. The values are what it has waited for.
    pub fn resume(&mut self, now: Instant, task: Task, values: impl IntoLuaMulti) -> Outcome {
        self.close_abandoned();
        if let Some(refused) = self.budget.refused(now) {
            return Outcome::Refused(refused, Some(task));
        }
        let is_own = task.is_of(&self.shared);
        let (thread, name) = task.take();
        let Some(thread) = thread.filter(|thread| is_own && thread.is_resumable()) else {
            return Outcome::Failed(Fault::new(
                &format!("a task of {name} belongs to another script"),
                Vec::new(),
            ));
        };
        let start = Place { file: name.clone(), line: 0 };
        self.run(&name, format!("in {name}, which had waited"), start, |machine| {
            let values = values.into_lua_multi(machine.lua())?;
            let results = thread.resume(values)?;
            Ok((thread, results))
        })
    }

    /// Ends a call that waits: what it has to close (`local x <close>`) is closed, in a budget of its own. Gives what
    /// was wrong with that, if anything.
    pub fn close(&mut self, task: Task) -> Option<Outcome> {
        let is_own = task.is_of(&self.shared);
        let (thread, name) = task.take();
        self.close_thread(thread.filter(|thread| is_own && thread.is_resumable())?, &name)
    }

    /// How many calls wait.
    pub fn tasks(&self) -> usize {
        self.shared.tasks.get()
    }

    /// What the global table `shared` holds.
    ///
    /// # Errors
    ///
    /// If it is not there, or holds more than plain data.
    pub fn export_shared(&self) -> Result<serde_json::Value, JsonError> {
        let value: Value =
            self.lua().globals().raw_get("shared").map_err(|error| JsonError::from_lua(&error))?;
        json::from_lua(&value)
    }

    /// Puts what another machine has exported into the global table `shared`.
    ///
    /// # Errors
    ///
    /// If it is more than a machine takes.
    pub fn import_shared(&mut self, value: &serde_json::Value) -> Result<(), JsonError> {
        let value = json::to_lua(self.lua(), value)?;
        self.lua().globals().raw_set("shared", value).map_err(|error| JsonError::from_lua(&error))
    }

    /// Instructions of the last call, for counters.
    pub fn used_instructions(&self) -> u64 {
        self.budget.used()
    }

    /// Bytes of memory, garbage included.
    pub fn used_memory(&self) -> usize {
        self.lua().used_memory()
    }

    fn function(&self, name: &str) -> Option<Function> {
        match self.lua().globals().raw_get(name) {
            Ok(Value::Function(function)) => Some(function),
            _ => None,
        }
    }

    /// Runs something in a budget of its own.
    fn run(
        &self,
        name: &str,
        occasion: String,
        start: Place,
        body: impl FnOnce(&Self) -> mlua::Result<(Thread, MultiValue)>,
    ) -> Outcome {
        self.shared.trace.take();
        let begun = self.budget.begin(self.lua(), occasion, start);
        let result = begun.and_then(|()| body(self));
        if let Some(cut) = self.end(result.as_ref().err()) {
            return Outcome::Cut(cut);
        }
        let trace = self.shared.trace.take();
        let (thread, mut values) = match result {
            Ok(result) => result,
            Err(error) => return Outcome::Failed(Fault::from_error(&error)),
        };
        if thread.is_resumable() {
            let waits = values.pop_front() == Some(Value::LightUserData(wait()));
            let task = Task::new(thread, name.to_owned(), values, &self.shared);
            return if waits {
                Outcome::Waits(task)
            } else {
                Outcome::Failed(Fault::new(&format!("{name} yields outside of a coroutine"), trace))
            };
        }
        match values.pop_front() {
            Some(Value::Boolean(true)) => Outcome::Done(values),
            _ if values.front() == Some(&Value::LightUserData(kill())) => Outcome::Done(MultiValue::new()),
            _ => Outcome::Failed(fault(values.front(), trace)),
        }
    }

    /// Ends a budget: why it was cut, if it was.
    fn end(&self, error: Option<&mlua::Error>) -> Option<Cut> {
        if error.is_some_and(is_memory) {
            let _ = self.budget.exceed(self.lua(), What::Memory(self.budget.limits.memory_bytes));
        }
        let cut = self.budget.end()?;
        if matches!(cut.what, What::Memory(_)) {
            // What the call held is garbage now. If even this fails, the next call is cut as well.
            let _ = self.lua().gc_collect();
        }
        Some(cut)
    }

    fn close_thread(&self, thread: Thread, name: &str) -> Option<Outcome> {
        let start = Place { file: name.to_owned(), line: 0 };
        self.shared.no_wait.set(Some("while a call is given up"));
        let outcome = self.run(name, format!("when a call of {name} was given up"), start, |_| {
            let results = thread.resume(kill())?;
            Ok((thread, results))
        });
        self.shared.no_wait.set(None);
        match outcome {
            Outcome::Done(_) | Outcome::Refused(..) => None,
            // It has caught its end and gone on. Nobody resumes it.
            Outcome::Waits(task) => {
                task.take();
                None
            }
            outcome => Some(outcome),
        }
    }

    /// Closes the tasks that were dropped.
    fn close_abandoned(&self) {
        let threads = self.shared.abandoned.take();
        for thread in threads {
            if !thread.is_resumable() {
                continue;
            }
            match self.close_thread(thread, "a dropped task") {
                Some(Outcome::Cut(cut)) => (self.shared.log)(&cut.to_string()),
                Some(Outcome::Failed(fault)) => (self.shared.log)(&fault.to_string()),
                _ => {}
            }
        }
    }
}

/// A fault of the script. A message whose place is in the surroundings gets the place that led there.
fn fault(problem: Option<&Value>, trace: Vec<String>) -> Fault {
    let text = match problem {
        Some(Value::String(text)) => text.to_string_lossy(),
        _ => "it failed without a message".to_owned(),
    };
    match (library::bare(&text), trace.first().and_then(|line| line.split_once(": in "))) {
        (Some(bare), Some((place, _))) => Fault::new(&format!("{place}: {bare}"), trace),
        _ => Fault::new(&text, trace),
    }
}
