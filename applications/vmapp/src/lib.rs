//! Applications that are written in Lua. So far only what runs them: [`vm`].
//!
//! Reading order: [`vm`] says what is guaranteed and how a script is used; `vm/machine.rs` runs calls, `vm/budget.rs`
//! cuts them, `vm/sandbox.rs` and `vm/prelude.lua` make the surroundings of a script, `vm/patterns` searches texts.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "calls of scripts are cut by the clock, which is looked at here"
)]

pub mod vm;
