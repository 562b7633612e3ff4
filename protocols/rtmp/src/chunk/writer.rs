//! From messages to bytes.

use std::fmt;

use super::{DEFAULT_CHUNK_SIZE, Message};
use crate::message::{Control, kind};

/// The largest body that fits the 24-bit length field of a message, in bytes.
pub const MAX_MESSAGE: usize = 0xFF_FFFF;

/// Writes the messages of one connection at the chunk size that its peer was told.
///
/// Every message gets a full header (format 0), so the writer remembers nothing but that size.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_size: u32,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkWriter {
    /// A writer for a connection whose handshake just ended: chunks of 128 bytes.
    pub const fn new() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE }
    }

    /// The chunk size in use, in bytes.
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Tells the peer a new chunk size and uses it from then on. `size` is brought into 1 to 0x7FFFFFFF.
    pub fn set_chunk_size(&mut self, out: &mut Vec<u8>, size: u32) {
        let size = size.clamp(1, 0x7FFF_FFFF);
        self.write_control(out, Control::SetChunkSize(size));
        self.chunk_size = size;
    }

    /// Appends a control message to `out`, on chunk stream 2 and message stream 0 as §6.2 asks.
    pub fn write_control(&mut self, out: &mut Vec<u8>, control: Control) {
        let mut body = Vec::with_capacity(10);
        control.encode(&mut body);
        encode_message(out, 2, 0, control.kind(), 0, &[&body], self.chunk_size)
            .expect("a control message has at most 10 bytes");
    }

    /// Appends `message` to `out`.
    ///
    /// # Errors
    ///
    /// A body of more than [`MAX_MESSAGE`] bytes; `out` is unchanged.
    pub fn write(&mut self, out: &mut Vec<u8>, message: &Message) -> Result<(), TooLong> {
        debug_assert_ne!(message.kind, kind::SET_CHUNK_SIZE, "set_chunk_size changes the size of both ends");
        let &Message { csid, kind, stream, timestamp, ref body } = message;
        encode_message(out, csid, timestamp, kind, stream, &[body], self.chunk_size)?;
        Ok(())
    }
}

/// A message body that the length field cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes of the body.
    pub length: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes is longer than {MAX_MESSAGE}", self.length)
    }
}

impl std::error::Error for TooLong {}

/// Appends one message to `out`, cut into chunks, and gives the bytes of its first header.
///
/// The body is `parts` one after the other. The first chunk has a full header (format 0) with the absolute time
/// `timestamp` in milliseconds, the others format 3. An extended time is repeated in each chunk, as §5.3.1.3
/// asks. `chunk_size` is taken as 1 if it is 0; `csid` must lie in 2 to 65 599.
///
/// # Errors
///
/// A body of more than [`MAX_MESSAGE`] bytes; `out` is unchanged.
pub fn encode_message(
    out: &mut Vec<u8>,
    csid: u32,
    timestamp: u32,
    kind: u8,
    stream: u32,
    parts: &[&[u8]],
    chunk_size: u32,
) -> Result<usize, TooLong> {
    debug_assert!((2..=65_599).contains(&csid), "chunk stream id {csid}");
    let length = parts.iter().map(|part| part.len()).sum();
    if length > MAX_MESSAGE {
        return Err(TooLong { length });
    }
    let chunk_size = (chunk_size as usize).max(1);
    let extended = (timestamp >= 0xFF_FFFF).then_some(timestamp);
    let continuation = basic_size(csid) + if extended.is_some() { 4 } else { 0 };
    let chunks = length.div_ceil(chunk_size).max(1);
    out.reserve(length + 11 + continuation * chunks);

    let start = out.len();
    push_basic_header(out, 0, csid);
    out.extend_from_slice(&timestamp.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream.to_le_bytes());
    push_extended(out, extended);
    let header = out.len() - start;

    let mut room = chunk_size;
    for mut part in parts.iter().copied() {
        while !part.is_empty() {
            if room == 0 {
                push_basic_header(out, 3, csid);
                push_extended(out, extended);
                room = chunk_size;
            }
            let (now, later) = part.split_at(room.min(part.len()));
            out.extend_from_slice(now);
            room -= now.len();
            part = later;
        }
    }
    Ok(header)
}

/// Appends the shortest basic header (§5.3.1.1).
fn push_basic_header(out: &mut Vec<u8>, format: u8, csid: u32) {
    let format = format << 6;
    match csid {
        0..64 => out.push(format | csid as u8),
        64..320 => out.extend_from_slice(&[format, (csid - 64) as u8]),
        _ => {
            let [low, high, ..] = (csid - 64).to_le_bytes();
            out.extend_from_slice(&[format | 1, low, high]);
        }
    }
}

fn push_extended(out: &mut Vec<u8>, extended: Option<u32>) {
    if let Some(time) = extended {
        out.extend_from_slice(&time.to_be_bytes());
    }
}

const fn basic_size(csid: u32) -> usize {
    match csid {
        0..64 => 1,
        64..320 => 2,
        _ => 3,
    }
}
