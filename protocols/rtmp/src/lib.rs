//! RTMP, from bytes to messages and back.
//!
//! This crate is a set of state machines that do no I/O: bytes go in, messages and bytes come out. It never opens
//! a socket, reads a clock, makes a random number, starts a thread or logs; what it needs of these is passed in.
//! Nothing that a peer sends makes it panic, and memory follows what was sent, within [`crtmp_media::Limits`].
//!
//! # Layout
//!
//! In the order in which a received byte meets them:
//!
//! - [`handshake`]: the packets that open a connection, for both sides.
//! - [`chunk`]: messages cut into chunks, and put together again.
//! - [`ack`] and [`time`]: when to acknowledge; times that go on beyond 32 bits.
//! - [`message`]: what bodies say: control, commands, data. [`amf0`]: the notation in which they say it.
//! - [`aggregate`]: several messages in one.
//! - [`session`]: the server's side of a connection, from handshake to end. [`layer`] puts it into a chain.
//! - [`encoder`]: frames on their way out, encoded once for all players of a stream.
//!
//! Start reading at [`chunk::ChunkReader`] and [`session::ServerSession`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod ack;
pub mod aggregate;
pub mod amf0;
pub mod chunk;
pub mod encoder;
mod few;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
pub mod layer;
pub mod message;
pub mod session;
pub mod time;
pub mod wire;

#[cfg(test)]
mod corpus;

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
