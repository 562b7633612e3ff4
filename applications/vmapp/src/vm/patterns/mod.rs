//! Lua's patterns, with a price.
//!
//! Lua's own functions search without end in C, where no hook is heard. These do the same, step for step and error for
//! error, and count the steps. Nothing in here knows Lua's values: [`matcher`] matches at one place, [`find`] looks for
//! a place, [`gsub`] replaces by a text.

pub(super) mod find;
pub(super) mod gsub;
pub(super) mod matcher;

/// How many steps pass before they are paid for.
const STEPS: u64 = 1000;

/// Why a search ended early.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stop {
    /// The pattern is wrong. The text is the one that Lua has for it.
    Wrong(String),
    /// The budget is used up.
    Spent,
}

/// Takes the price of work that is worth so many instructions.
pub(super) type Pay<'a> = &'a dyn Fn(u64) -> Result<(), Stop>;

fn wrong<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(text.into()))
}
