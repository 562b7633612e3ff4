//! Packets: frames encoded for one wire format.

use crate::{Frame, MediaKind, Role};

/// Which encoding a packet has. Players with equal formats share packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// The wire format, by the name of its protocol.
    pub family: &'static str,
    /// What else the bytes depend on: for RTMP the message stream id.
    pub variant: u32,
    /// The size at which the format splits its payload, in bytes; for RTMP the outgoing chunk size.
    pub chunk_size: u32,
}

/// A frame encoded for one wire format: one contiguous buffer, the same for all its players.
#[derive(Debug, PartialEq)]
pub struct Packet {
    /// What goes out.
    pub bytes: Box<[u8]>,
    /// How many of the bytes stand before the payload.
    pub header_len: u32,
    /// Audio, video or data.
    pub kind: MediaKind,
    /// What it means for joining and dropping.
    pub role: Role,
    /// Decode time in ms on the stream's timeline.
    pub dts: i64,
}

/// Turns frames into packets of one format.
///
/// An encoder keeps no state that depends on which frames it has seen, so that any packet may be skipped.
pub trait Encoder {
    /// Encodes `frame` as if its decode time were `dts` ms.
    fn encode(&self, frame: &Frame, dts: i64) -> Packet;
}

/// Makes the encoder of a format; a player names it when it asks to play.
pub type MakeEncoder = fn(Format) -> Box<dyn Encoder>;
