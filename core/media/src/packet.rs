//! Packets: frames encoded for one wire format.

use crate::{Codecs, Frame, MediaKind, Role, Slice};

/// Which encoding a packet has. Players with equal formats share packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// The wire format, by the name of its protocol.
    pub family: &'static str,
    /// What else the bytes depend on: for RTMP the message stream id.
    pub variant: u32,
    /// The size at which the format splits its payload, in bytes; for RTMP the outgoing chunk size.
    pub chunk_size: u32,
    /// What of a stream its players are sent.
    pub view: View,
}

/// What a player is sent of what only Enhanced RTMP can name; everything else it is sent in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The video codecs.
    pub video: Codecs,
    /// The audio codecs.
    pub audio: Codecs,
    /// Whether it is sent several tracks; otherwise the default one of each kind, without its id.
    pub tracks: bool,
}

impl View {
    /// Everything.
    pub const ALL: Self = Self { video: Codecs::ALL, audio: Codecs::ALL, tracks: true };
}

/// A frame encoded for one wire format: one contiguous buffer, the same for all its
/// players and all clones.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// What goes out.
    pub bytes: Slice,
    /// How many of the bytes stand before the payload.
    pub header_len: u32,
    /// Audio, video or data.
    pub kind: MediaKind,
    /// What it means for joining and dropping.
    pub role: Role,
    /// The track within its kind.
    pub track: u8,
    /// Decode time in ms on the stream's timeline.
    pub dts: i64,
    /// Composition time: presentation minus decode time, in ms.
    pub cts: i32,
    /// Where in the payload the content begins, in bytes: behind the tag header, whose last three bytes are
    /// the composition time wherever `cts` is not 0.
    pub data_at: u32,
}

/// A packet with other times: what one player is sent instead of the beginning of a packet that it shares with
/// others, or instead of all of it.
#[derive(Debug, PartialEq)]
pub enum Retimed {
    /// A beginning of its own; the rest is the packet's.
    Head(Head),
    /// A packet of its own, where the time stands in more places than one.
    Copy(Packet),
}

/// The beginning of a packet with other times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::MAX],
    len: u8,
    /// How many bytes of the packet it stands for.
    replaces: u8,
}

impl Head {
    /// How many bytes it holds at most: a chunk header with extended time and a tag header without extensions.
    pub const MAX: usize = 30;

    /// `bytes` instead of the first `replaces` bytes of a packet; nothing where either is more than a head holds.
    pub fn new(parts: &[&[u8]], replaces: usize) -> Option<Self> {
        let mut head = Self { bytes: [0; Self::MAX], len: 0, replaces: u8::try_from(replaces).ok()? };
        let mut at = 0;
        for part in parts {
            head.bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        head.len = u8::try_from(at).ok()?;
        Some(head)
    }

    /// What goes out first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// What of `packet` goes out behind it.
    pub fn rest<'a>(&self, packet: &'a Packet) -> &'a [u8] {
        packet.bytes.get(usize::from(self.replaces)..).unwrap_or_default()
    }

    /// Where in `packet` one is that has been sent `gone` bytes of head and rest; nothing while in the head.
    pub fn place(&self, gone: usize) -> Option<usize> {
        Some(gone.checked_sub(usize::from(self.len))? + usize::from(self.replaces))
    }

    /// Head and rest in one packet, with its new times in ms.
    pub fn join(&self, packet: &Packet, dts: i64, cts: i32) -> Packet {
        let mut bytes = Vec::with_capacity(usize::from(self.len) + self.rest(packet).len());
        bytes.extend_from_slice(self.bytes());
        bytes.extend_from_slice(self.rest(packet));
        let grown = bytes.len().wrapping_sub(packet.bytes.len()) as u32;
        let header_len = packet.header_len.wrapping_add(grown);
        Packet { bytes: bytes.into(), header_len, dts, cts, ..*packet }
    }
}

/// Turns frames into packets of one format.
///
/// An encoder keeps no state that depends on which frames it has seen, so that any packet may be skipped.
pub trait Encoder {
    /// Encodes `frame` as if its decode time were `dts` ms.
    fn encode(&self, frame: &Frame, dts: i64) -> Packet;

    /// Writes what goes out before the body of `frame` into the room before that body, where that is all that is
    /// needed and nobody else has the frame: [`Self::encode`] at the decode time of the frame then finds it there,
    /// and shares it instead of copying. Nothing happens where it is not possible.
    fn encode_in_place(&self, frame: &mut Frame) {
        let _ = frame;
    }

    /// Gives `packet`, which this encoder made, the decode time `dts` and the composition time `cts`, in ms. The
    /// composition time stays 0 where it was 0, because such a packet may have no field for it.
    fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed;
}

/// Makes the encoder of a format; a player names it when it asks to play.
pub type MakeEncoder = fn(Format) -> Box<dyn Encoder>;
