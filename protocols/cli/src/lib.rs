//! The command line interfaces of the server, as endpoints of chains.
//!
//! Four faces of one thing: a command with parameters comes in, an application answers it with the JSON text of
//! `{"status", "description", "data"}`, and the face shows that. Who may run which command is the application's
//! business; this crate keeps out who speaks another protocol, and web pages of strangers.
//!
//! # Layout
//!
//! - [`mod@line`] cuts bytes into lines, [`command`] reads a line; [`intruder`] tells HTTP and TLS from a command.
//! - [`json`] reads JSON within bounds, [`reply`] what an application answered, [`text`] makes foreign text harmless.
//! - [`session`] is what the three faces with lines have in common: [`txtcli`] with its [`table`]s, [`jsoncli`],
//!   [`asciicli`].
//! - [`httpjsoncli`] is the face behind HTTP; [`origin`] tells who may use it.
//!
//! Start reading at [`session::Session`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod asciicli;
pub mod command;
#[doc(hidden)]
pub mod fuzz;
pub mod httpjsoncli;
pub mod intruder;
pub mod json;
pub mod jsoncli;
pub mod line;
pub mod origin;
pub mod reply;
pub mod session;
pub mod table;
pub mod text;
pub mod txtcli;

#[cfg(test)]
mod corpus;

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
