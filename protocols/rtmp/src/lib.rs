//! RTMP, from bytes to messages and back, for servers and clients.
//!
//! This crate is a set of state machines that do no I/O: bytes go in, messages and bytes come out. It never opens
//! a socket, reads a clock, makes a random number, starts a thread or logs; what it needs of these is passed in.
//! Nothing that a peer sends makes it panic, and memory follows what was sent, within [`crtmp_media::Limits`].
//!
//! # Three layers
//!
//! Each is of use without the one above it:
//!
//! | Layer | What it makes of bytes | What it does by itself | Begin with |
//! |---|---|---|---|
//! | chunk | messages of a type, with a body | cuts messages, puts them together, obeys chunk sizes | [`chunk::ChunkReader`], [`chunk::ChunkWriter`] |
//! | message | commands, audio, video, data, control | shakes hands, acknowledges, answers pings | [`wire::Wire`] |
//! | session | questions and frames: may this peer connect, publish, play? | knows every command in every state, keeps order, watches the time | [`session::ServerSession`] and [`layer::InboundRtmp`], [`session::ClientSession`] and [`layer::OutboundRtmp`] |
//!
//! Look at captures with the first, talk to anything with the second, build a server, or what pulls and pushes streams, on the third.
//!
//! # A run loop
//!
//! At the height of messages, over anything that reads and writes. What a command means is for you to say:
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use crtmp_media::{Limits, Value};
//! use crtmp_rtmp::message::{Command, Status, UserControl};
//! use crtmp_rtmp::wire::{Received, Wire};
//!
//! /// Serves a publisher until it goes; gives the bytes of media that have come.
//! fn serve(mut socket: impl Read + Write, random: [u8; 1528]) -> Result<usize, Box<dyn std::error::Error>> {
//!     let mut wire = Wire::server(true, &random, Limits::default());
//!     let (mut buffer, mut media) = ([0; 4096], 0);
//!     loop {
//!         let count = socket.read(&mut buffer)?;
//!         if count == 0 {
//!             return Ok(media);
//!         }
//!         let mut rest = &buffer[..count];
//!         while let (used, Some(received)) = wire.read(rest)? {
//!             rest = &rest[used..];
//!             match received {
//!                 Received::Command { stream, command } => match command.name.as_str() {
//!                     "connect" => {
//!                         wire.send_window_ack_size(2_500_000);
//!                         wire.send_set_chunk_size(4096);
//!                         let status = Status::new("NetConnection.Connect.Success", "Welcome.");
//!                         let answer = Command::result(command.transaction, Value::Null, vec![status.into()]);
//!                         wire.send_command(0, &answer)?;
//!                     }
//!                     "createStream" => {
//!                         let answer = Command::result(command.transaction, Value::Null, vec![1.0.into()]);
//!                         wire.send_command(0, &answer)?;
//!                     }
//!                     "publish" => {
//!                         wire.allow_media();
//!                         wire.send_user_control(UserControl::StreamBegin(stream));
//!                         let status = Status::new("NetStream.Publish.Start", "Go on.");
//!                         wire.send_command(stream, &Command::on_status(status))?;
//!                     }
//!                     _ => {}
//!                 },
//!                 Received::Audio(message) | Received::Video(message) => media += message.body.len(),
//!                 _ => {}
//!             }
//!         }
//!         socket.write_all(&wire.take_output())?;
//!     }
//! }
//! # // A client that waits for nobody, and what it is sent.
//! # struct Socket(std::io::Cursor<Vec<u8>>, Vec<u8>);
//! # impl Read for Socket {
//! #     fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> { self.0.read(buffer) }
//! # }
//! # impl Write for Socket {
//! #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.1.write(bytes) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! # let mut bytes = vec![3; 1 + 2 * 1536];
//! # let mut wire = Wire::client(crtmp_rtmp::handshake::HandshakeKind::Simple, &[1; 1528], Limits::default());
//! # wire.read(&[3; 1 + 2 * 1536])?;
//! # wire.take_output();
//! # wire.call(0, "connect", Value::Null, vec![])?;
//! # wire.call(0, "createStream", Value::Null, vec![])?;
//! # wire.call(1, "publish", Value::Null, vec!["film".into()])?;
//! # wire.send_video(1, 0, &[0x17; 1000])?;
//! # bytes.append(&mut wire.take_output());
//! # let mut socket = Socket(std::io::Cursor::new(bytes), Vec::new());
//! # assert_eq!(serve(&mut socket, [2; 1528])?, 1000);
//! # for said in ["NetConnection.Connect.Success", "NetStream.Publish.Start"] {
//! #     assert!(socket.1.windows(said.len()).any(|part| part == said.as_bytes()), "{said}");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The loop around a session looks the same, and is in the README. The examples are whole programs on threads of the
//! standard library: `server`, `publish`, `play`, `call`, `dump`.
//!
//! # Chapters
//!
//! - [`guide::media`]: how audio and video travel, who decides on their format, who drives the sending.
//! - [`guide::peers`]: what peers do that no specification says, and how to study them.
//!
//! # Modules
//!
//! In the order in which a received byte meets them:
//!
//! - [`handshake`]: the packets that open a connection, for both sides.
//! - [`chunk`]: messages cut into chunks, and put together again.
//! - [`ack`] and [`time`]: when to acknowledge; times that go on beyond 32 bits.
//! - [`message`]: what bodies say: control, commands, data. [`amf0`] and [`amf3`]: the
//!   notations in which they say it.
//! - [`shared_object`]: what messages about shared objects say.
//! - [`aggregate`]: several messages in one.
//! - [`wire`]: all of these together, as one side of a connection.
//! - [`session`]: both sides of a connection, from handshake to end. [`layer`] puts them into a chain.
//! - `rtmpe`: the layers that encrypt what lies between the handshake and the end.
//! - [`encoder`]: frames on their way out, encoded once for all players of a stream.
//!
//! # Features
//!
//! - `digest` (on unless switched off): the handshake of Flash Player 9 and later, by way of `hmac` and `sha2`. Without it
//!   there is only the simple handshake, which nearly all peers of our days are content with.
//! - `rtmpe` (on unless switched off, and with it `digest`): RTMPE, by way of `crypto-bigint` and `rc4`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod ack;
pub mod aggregate;
mod amf;
pub mod amf0;
pub mod amf3;
pub mod chunk;
pub mod encoder;
mod few;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
pub mod layer;
pub mod message;
#[cfg(feature = "rtmpe")]
pub mod rtmpe;
pub mod session;
pub mod shared_object;
pub mod time;
pub mod wire;

/// Chapters that belong to no item.
pub mod guide {
    #[doc = include_str!("../docs/media.md")]
    pub mod media {}

    #[doc = include_str!("../docs/peers.md")]
    pub mod peers {}
}

#[cfg(test)]
mod corpus;

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
