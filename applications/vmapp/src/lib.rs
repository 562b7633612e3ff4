//! Applications that are written in Lua: one file, with the vocabulary of BLS, under budgets.
//!
//! `docs/lua.md` says what scripts find. Reading order: [`app`] has the hooks and what becomes of calls that wait,
//! [`client`] what a script does with a connection, [`api`] what else it can ask for, [`desk`] what these share.
//! [`vm`] runs scripts and knows nothing of servers.

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "calls of scripts are cut by the clock, which is looked at here"
)]

pub mod api;
pub mod app;
pub mod client;
pub mod desk;
mod remote;
pub mod vm;

pub use app::VmApp;

crtmp_plugin::export_plugin!(name: "vmapp", apps: [VmApp]);
