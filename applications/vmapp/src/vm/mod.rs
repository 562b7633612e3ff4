//! A machine for one script in Lua 5.4 that cannot hang, fill the memory or reach outside of its folder.
//!
//! [`Machine::new`] makes the surroundings, the application adds its own functions ([`Machine::table`],
//! [`Machine::waiting`]), [`Machine::load`] runs the file, [`Machine::call`] its functions. Each of these is cut when
//! it is over one of its [`Limits`]; [`Cut`] says what was exceeded, where and in which function. The machine goes on
//! with the next call.
//!
//! # What a call may use up
//!
//! - Instructions are counted by a hook, in all coroutines. What a function of the library does between two
//!   instructions is counted as so many instructions as its work is worth, the steps of patterns included.
//! - Once over budget, the hook suspends the coroutine that runs, and whatever had resumed it is suspended in turn; the
//!   machine drops them all. Nothing of the script runs after that: neither `pcall` nor `__close` sees it.
//! - Metatables with `__gc` are refused, since hooks do not see finalizers.
//! - Memory is what Lua holds. A call that would go beyond is cut as well.
//! - The clock is looked at together with the instructions, for what no count can see.
//! - A second has a budget, too. Once it is used up, further calls are refused until the next one; the call that used
//!   it up ends in its own budget.
//!
//! What a call is over its time at most is a hundred instructions, each of which may copy a text as large as the memory.
//! Two things of Lua 5.4 are not bounded, and need a script that goes looking for them: a table that is put into
//! `__call` of its own metatable after `setmetatable` has seen that, and is called; and tables with weak keys, a hundred
//! thousand of them in one chain, which the collector follows link by link. An application is as trusted as the
//! server's configuration; these budgets are for its mistakes.
//!
//! Functions of the application must not call functions of the script, nor read tables of the script but with
//! `raw_get`: what they call cannot be suspended. It is ended by an error then, which a `__close` can hold up.
//!
//! # Waiting
//!
//! Each call is a coroutine. A function from [`Machine::waiting`] starts something and suspends the call, which gives
//! an [`Outcome::Waits`] with a [`Task`]; [`Machine::resume`] goes on with it, in a budget of its own. That works
//! through `pcall`, coroutines, callbacks and metamethods of the script.
//!
//! # Other code, same state
//!
//! A changed file is loaded into a new machine, which knows nothing of the old one. What a script wants to keep, it
//! holds in the global table `shared`, as plain data: strings, numbers, booleans, lists, and tables with names. The
//! application takes it out with [`Machine::export_shared`] and gives it to the new machine with
//! [`Machine::import_shared`] before the file is loaded. Functions, connections and tasks do not survive.

mod budget;
mod call;
mod fault;
mod files;
mod json;
mod library;
mod machine;
mod patterns;
mod sandbox;
mod task;
#[cfg(test)]
mod tests;
mod texts;

pub use budget::{Cut, Limits, Place, Refused, What};
pub use fault::Fault;
pub use json::{JsonError, from_lua, to_lua};
pub use machine::{LoadError, Machine, Outcome};
pub(crate) use sandbox::PRELUDE;
pub use task::Task;
