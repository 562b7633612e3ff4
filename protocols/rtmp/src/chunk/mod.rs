//! The chunk stream: messages cut into chunks that interleave on one connection.
//!
//! [`ChunkReader`] puts messages together, [`ChunkWriter`] and [`encode_message`] cut them. Rules: Adobe's RTMP
//! specification 1.0, section 5.3; where real peers differ from it, the item that copes says how.

use std::fmt;

use crtmp_media::{Limits, Slice};

pub use reader::ChunkReader;
pub use writer::{ChunkWriter, MAX_MESSAGE, TooLong, encode_message};

use crate::message::ControlError;

mod reader;
#[cfg(test)]
mod tests;
mod writer;

/// The chunk size of both directions until a side sets another (§5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;

/// Free bytes before the body of a message that was read: room for a header of the same message on its way out,
/// as long as its time is extended and its chunk stream id below 64.
pub const ROOM: usize = 16;

/// One message of the chunk stream (§5.3, §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The chunk stream that carried it: 2 to 65 599.
    pub csid: u32,
    /// The message type: see [`kind`](crate::message::kind).
    pub kind: u8,
    /// The message stream: 0 for the connection itself, else what `createStream` gave.
    pub stream: u32,
    /// Absolute time in milliseconds modulo 2³²; [`Unwrapper`](crate::time::Unwrapper) undoes the modulo.
    pub timestamp: u32,
    /// What the message says; it may be empty.
    pub body: Slice,
}

/// What a [`ChunkReader`] grants its peer at the moment.
///
/// It is passed with each call because it grows when the peer is allowed to publish or play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of one message.
    pub message_size: usize,
    /// Bytes of all unfinished messages together.
    pub partial_bytes: usize,
    /// Chunk streams in use, whatever their ids.
    pub chunk_streams: usize,
    /// Whether more room may be granted soon: bytes that do not fit yet are then left where they are instead of
    /// being an error.
    pub wait: bool,
}

impl ReadLimits {
    /// The limits of a peer that has not been allowed to publish or play.
    pub const fn before(limits: &Limits) -> Self {
        Self {
            message_size: limits.message_size_before,
            partial_bytes: limits.partial_bytes_before,
            chunk_streams: limits.chunk_streams,
            wait: false,
        }
    }

    /// The limits of a peer that has been allowed to publish or play.
    pub const fn after(limits: &Limits) -> Self {
        Self {
            message_size: limits.message_size,
            partial_bytes: limits.partial_bytes,
            chunk_streams: limits.chunk_streams,
            wait: false,
        }
    }
}

/// Why a chunk stream cannot go on. The connection is lost: nothing after the error can be framed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// A chunk size of 0 or with the top bit set (§5.4.1).
    ChunkSize(u32),
    /// The first chunk of a chunk stream leans on an earlier header: its format is 2 or 3 (§5.3.1.2).
    NoHeader {
        /// The chunk stream.
        csid: u32,
        /// The format of the chunk.
        format: u8,
    },
    /// A chunk with a header of its own (format 0 to 2) inside an unfinished message.
    HeaderInsideMessage {
        /// The chunk stream.
        csid: u32,
        /// The format of the chunk.
        format: u8,
    },
    /// A message announces more bytes than one message may have.
    MessageSize {
        /// The chunk stream.
        csid: u32,
        /// The announced length in bytes.
        length: usize,
        /// [`ReadLimits::message_size`].
        limit: usize,
    },
    /// The unfinished messages of all chunk streams together are too large.
    PartialBytes {
        /// The chunk stream whose bytes were too many.
        csid: u32,
        /// [`ReadLimits::partial_bytes`].
        limit: usize,
    },
    /// One chunk stream more than a peer may use.
    ChunkStreams {
        /// The chunk stream that was one too many.
        csid: u32,
        /// [`ReadLimits::chunk_streams`].
        limit: usize,
    },
    /// A Set Chunk Size or Abort message is too short.
    Control(ControlError),
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChunkSize(size) => write!(f, "chunk size {size} is not in 1..=2147483647"),
            Self::NoHeader { csid, format } => {
                write!(
                    f,
                    "chunk stream {csid} begins with a chunk of format {format}, which has no full header"
                )
            }
            Self::HeaderInsideMessage { csid, format } => {
                write!(f, "chunk stream {csid} has a chunk of format {format} inside an unfinished message")
            }
            Self::MessageSize { csid, length, limit } => {
                write!(f, "chunk stream {csid} announces a message of {length} bytes, the limit is {limit}")
            }
            Self::PartialBytes { csid, limit } => {
                write!(
                    f,
                    "chunk stream {csid} takes the unfinished messages over their limit of {limit} bytes"
                )
            }
            Self::ChunkStreams { csid, limit } => {
                write!(f, "chunk stream {csid} is one too many, the limit is {limit}")
            }
            Self::Control(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChunkError {}

impl From<ControlError> for ChunkError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}
