//! What a call may use up, how that is counted, and how the call ends when it is too much.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::debug::HookTriggers;
use mlua::{Error, Lua, VmState};
use nix::time::ClockId;

use super::sandbox::PRELUDE;

/// How many instructions pass between two looks at the budget. A cut may come so many instructions too late, each of
/// which may take as long as copying a text that fills the memory.
pub(super) const STEP: u32 = 100;

/// How many functions may be within one another in a coroutine. Lua's own limit is higher, and it is an error that a
/// script can catch and run into again.
const DEPTH: usize = 20_000;

/// How often the hook may be heard after the end of a budget before it raises an error.
const PATIENCE: u32 = 50;

/// How far up the stack a line of the script is looked for.
const LEVELS: usize = 24;

/// The processor time that this thread has taken.
pub(super) fn processor_time() -> Duration {
    // Every system that the server runs on has this clock; without it there would be no limit of time but that of
    // instructions.
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Into::into).unwrap_or_default()
}

/// What a script may use up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Instructions of one call.
    pub call_instructions: u64,
    /// Instructions of all calls within one second, after which further calls are refused.
    pub second_instructions: u64,
    /// Bytes of memory, at least 1 MiB.
    pub memory_bytes: usize,
    /// Processor time of one call: what else the machine does takes nothing from it.
    pub call_time: Duration,
    /// Calls that wait for something.
    pub tasks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_instructions: 10_000_000,
            second_instructions: 50_000_000,
            memory_bytes: 64 * 1024 * 1024,
            call_time: Duration::from_millis(500),
            tasks: 1000,
        }
    }
}

/// A call that was over its budget and has been ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Which budget, and how large it is.
    pub what: What,
    /// Where the script was.
    pub place: Place,
    /// What it was doing, such as `in on_publish`.
    pub occasion: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: over its budget of {} {}", self.place, self.what, self.occasion)
    }
}

/// A budget of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// So many instructions.
    Instructions(u64),
    /// So many bytes of memory.
    Memory(usize),
    /// So much time.
    Time(Duration),
    /// So many functions within one another.
    Depth(usize),
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MILLION: u64 = 1_000_000;
        const MIB: usize = 1024 * 1024;
        match *self {
            Self::Instructions(count) if count >= MILLION && count.is_multiple_of(MILLION) => {
                write!(out, "{} million instructions", count / MILLION)
            }
            Self::Instructions(count) => write!(out, "{count} instructions"),
            Self::Memory(bytes) if bytes.is_multiple_of(MIB) => write!(out, "{} MiB of memory", bytes / MIB),
            Self::Memory(bytes) => write!(out, "{bytes} bytes of memory"),
            Self::Time(time) => write!(out, "{} seconds", time.as_secs_f64()),
            Self::Depth(count) => write!(out, "{count} functions within one another"),
        }
    }
}

/// A place in a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The file, from the folder of the script.
    pub file: String,
    /// The line, from 1. Of memory that ran out at once it is the line where the function begins.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// A call that was not begun, since the second's budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("over the budget of {limit} instructions a second; calls are refused until the next second")]
pub struct Refused {
    /// The budget.
    pub limit: u64,
}

/// What a function of the host fails with over budget. What was exceeded stands in the budget.
#[derive(Debug, thiserror::Error)]
#[error("over budget")]
pub(super) struct Spent;

/// The budget of a machine, shared by its hook and its functions.
pub(super) struct Budget {
    pub(super) limits: Limits,
    used: Cell<u64>,
    /// What the processor time of the thread was when the call began.
    began: Cell<Duration>,
    /// Before this moment the call cannot have used up its time.
    look: Cell<Option<Instant>>,
    occasion: RefCell<String>,
    /// Where a script was that has begun to need memory; where it is when it runs out, nobody can tell any more.
    near: RefCell<Option<Place>>,
    cut: RefCell<Option<Cut>>,
    /// How often the hook was heard after the end of the budget, and the coroutine in which it was the last time.
    heard: Cell<(u32, *const c_void)>,
    /// Whether every instruction fails, and the hook has to be set back.
    tight: Cell<bool>,
    origin: Cell<Option<Instant>>,
    second: Cell<u64>,
    used_in_second: Cell<u64>,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            used: Cell::new(0),
            began: Cell::new(Duration::ZERO),
            look: Cell::new(None),
            occasion: RefCell::default(),
            near: RefCell::default(),
            cut: RefCell::default(),
            heard: Cell::new((0, std::ptr::null())),
            tight: Cell::new(false),
            origin: Cell::new(None),
            second: Cell::new(0),
            used_in_second: Cell::new(0),
        })
    }

    /// Sets the hook, for the current thread of Lua and all that come from it.
    pub(super) fn watch(self: &Rc<Self>, lua: &Lua, every: u32) -> mlua::Result<()> {
        let budget = Rc::clone(self);
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(every), move |lua, _| {
            if budget.charge(lua, u64::from(STEP)).is_err() {
                return budget.halt(lua);
            }
            if lua.used_memory() > budget.limits.memory_bytes / 4 {
                budget.come_near(lua);
            }
            if lua.inspect_stack(DEPTH, |_| ()).is_some() {
                let _ = budget.exceed(lua, What::Depth(DEPTH));
                return budget.halt(lua);
            }
            Ok(VmState::Continue)
        })
    }

    /// Ends the current coroutine, from within the hook.
    ///
    /// It is suspended, and nobody resumes it: an error would run what is to be closed (`local x <close>`) within the
    /// hook, where no hook is heard. Only where a coroutine cannot be suspended, since a function of the application
    /// has called the script, there is nothing else but an error.
    fn halt(self: &Rc<Self>, lua: &Lua) -> mlua::Result<VmState> {
        let thread = lua.current_thread().to_pointer();
        let (count, last) = self.heard.get();
        self.heard.set((count + 1, thread));
        if last != thread && count < PATIENCE {
            return Ok(VmState::Yield);
        }
        if !self.tight.replace(true) {
            self.watch(lua, 1)?;
        }
        Err(Error::external(Spent))
    }

    /// Whether the second is used up in which a call would begin.
    pub(super) fn refused(&self, now: Instant) -> Option<Refused> {
        let origin = self.origin.get().unwrap_or(now);
        self.origin.set(Some(origin));
        let second = now.saturating_duration_since(origin).as_secs();
        if self.second.replace(second) != second {
            self.used_in_second.set(0);
        }
        let limit = self.limits.second_instructions;
        (self.used_in_second.get() >= limit).then_some(Refused { limit })
    }

    /// Begins a call. `start` is where its function begins.
    pub(super) fn begin(self: &Rc<Self>, lua: &Lua, occasion: String, start: Place) -> mlua::Result<()> {
        // A new coroutine may run for nearly a step before the hook sees it.
        self.used.set(u64::from(STEP));
        self.began.set(processor_time());
        self.look.set(Instant::now().checked_add(self.limits.call_time));
        self.occasion.replace(occasion);
        self.near.replace(Some(start));
        self.cut.replace(None);
        self.heard.set((0, std::ptr::null()));
        if self.tight.take() {
            self.watch(lua, STEP)?;
        }
        Ok(())
    }

    /// Ends a call: why it was cut, if it was.
    pub(super) fn end(&self) -> Option<Cut> {
        self.used_in_second.set(self.used_in_second.get().saturating_add(self.used.get()));
        self.cut.take()
    }

    /// Instructions of the call so far.
    pub(super) fn used(&self) -> u64 {
        self.used.get()
    }

    /// Whether the call has used up its time. Asking for processor time costs a system call, so the clock is asked
    /// first: a thread cannot have worked for longer than has passed.
    fn is_late(&self) -> bool {
        let now = Instant::now();
        if self.look.get().is_none_or(|look| now < look) {
            return false;
        }
        let left = self.limits.call_time.saturating_sub(processor_time().saturating_sub(self.began.get()));
        self.look.set(now.checked_add(left));
        left.is_zero()
    }

    /// Counts work that is worth so many instructions.
    pub(super) fn charge(self: &Rc<Self>, lua: &Lua, work: u64) -> mlua::Result<()> {
        let used = self.used.get().saturating_add(work);
        self.used.set(used);
        if used > self.limits.call_instructions || self.is_spent() {
            return Err(self.exceed(lua, What::Instructions(self.limits.call_instructions)));
        }
        if self.is_late() {
            return Err(self.exceed(lua, What::Time(self.limits.call_time)));
        }
        Ok(())
    }

    /// Makes sure that so many bytes more are there before they are taken.
    pub(super) fn room(self: &Rc<Self>, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        let limit = self.limits.memory_bytes;
        let fits = || lua.used_memory().saturating_add(bytes) <= limit;
        if fits() {
            return Ok(());
        }
        if bytes <= limit {
            // What is held may be garbage for the most part. Looking takes as long as there is much of it.
            self.charge(lua, lua.used_memory() as u64 / 64)?;
            lua.gc_collect()?;
            if fits() {
                return Ok(());
            }
        }
        self.come_near(lua);
        Err(self.exceed(lua, What::Memory(limit)))
    }

    /// Notes where the script is, if there is a line of it to be seen.
    fn come_near(&self, lua: &Lua) {
        if let Some(place) = place(lua) {
            self.near.replace(Some(place));
        }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.cut.borrow().is_some()
    }

    /// Ends the call. The error is for functions of the host; the script hears the hook.
    pub(super) fn exceed(self: &Rc<Self>, lua: &Lua, what: What) -> Error {
        if !self.is_spent() {
            let near = || self.near.borrow().clone();
            let place = match what {
                What::Memory(_) => near(),
                _ => place(lua).or_else(near),
            };
            let place = place.unwrap_or(Place { file: "?".into(), line: 0 });
            let occasion = self.occasion.borrow().clone();
            self.cut.replace(Some(Cut { what, place, occasion }));
        }
        Error::external(Spent)
    }
}

/// The innermost line of the script that is being run.
pub(super) fn place(lua: &Lua) -> Option<Place> {
    for level in 0..LEVELS {
        let found = lua.inspect_stack(level, |at| {
            let source = at.source();
            if source.source.as_deref() == Some(PRELUDE) {
                return None;
            }
            Some(Place { file: source.short_src?.into_owned(), line: at.current_line()? })
        })?;
        if found.is_some() {
            return found;
        }
    }
    None
}
