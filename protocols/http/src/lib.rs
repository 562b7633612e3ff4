//! HTTP/1.1, from bytes to messages and back (RFC 9110, RFC 9112).
//!
//! This crate is a set of state machines that do no I/O: bytes go in, heads, bodies and ends come out, and the same
//! the other way. It never opens a socket, reads a clock, starts a thread or logs. Nothing that a peer sends makes it
//! panic, and memory follows what was sent, within [`crtmp_media::Limits`].
//!
//! # Layout
//!
//! In the order in which a received byte meets them:
//!
//! - [`lines`]: where a head ends, whatever the pieces in which it comes.
//! - [`request`] and [`response`]: what a head says, and what is refused.
//! - [`body`]: where a body ends: by its length, by [`chunked`], or with the connection.
//! - [`writer`]: heads and bodies on their way out.
//! - [`server`], [`bytes`] and [`client`]: these as layers of a chain: `http`, `httpbody` and `outboundHttp`.
//!
//! Start reading at [`server::InboundHttp`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod body;
pub mod bytes;
pub mod chunked;
pub mod client;
#[doc(hidden)]
pub mod fuzz;
pub mod lines;
mod refusal;
pub mod request;
pub mod response;
pub mod server;
pub mod writer;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

pub use refusal::Refusal;

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
