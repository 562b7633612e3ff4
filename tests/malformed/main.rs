//! Peers that break the rules, against the real server, beside a healthy stream that must not notice.
//!
//! The cases and their names are those of `docs/testing.md`. What needs no wire is tested where it is decided, in
//! `protocols/rtmp`; here are the cases that are about sockets, time, memory, the log and other connections. Each
//! group has one server and one canary.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests wait for real programs by the real clock")]

mod amf;
mod chunks;
mod commands;
mod control;
mod handshake;
mod media;
mod mixed;
mod proxied;
mod stage;

use std::time::Duration;

use crtmp_tests::wire::{Message, amf::null};

/// Enough time for anything that should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A call on the connection, with nothing but a name and a transaction.
fn call(name: &str, transaction: f64) -> Message {
    Message::command(0, name, transaction, &[null()])
}

/// A control message.
fn control(kind: u8, payload: &[u8]) -> Message {
    Message { chunk_stream: 2, kind, payload: payload.to_vec(), ..Message::default() }
}

/// A video message of a publisher on message stream 1.
fn video(time: u32, payload: &[u8]) -> Message {
    Message { chunk_stream: 6, kind: 9, stream: 1, time, payload: payload.to_vec() }
}

/// A key frame of `size` bytes and five more.
fn key_frame(time: u32, size: usize) -> Message {
    video(time, &[&[0x17, 1, 0, 0, 0][..], &vec![9; size]].concat())
}

/// An audio message of a publisher on message stream 1.
fn audio(time: u32, payload: &[u8]) -> Message {
    Message { chunk_stream: 4, kind: 8, stream: 1, time, payload: payload.to_vec() }
}
