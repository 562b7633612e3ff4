//! Frames as RTMP messages.

use crtmp_media::{Encoder, Format, Frame, MediaKind, Packet};

use crate::{chunk::encode_message, message::kind};

/// Chunk streams of outgoing media. Every message has a full header, so nothing else may depend on them.
const AUDIO_CSID: u32 = 4;
const VIDEO_CSID: u32 = 6;
const DATA_CSID: u32 = 7;

/// Writes each frame as one message with a full header and absolute time, cut at the format's chunk size.
///
/// The bytes depend on the frame and the format only, never on what a player has received before: players
/// share them, and any of them may be skipped.
#[derive(Clone, Copy, Debug)]
pub struct RtmpEncoder {
    format: Format,
}

impl RtmpEncoder {
    /// The name of the packet format.
    pub const FAMILY: &'static str = "rtmp";

    /// The format of media on message stream `stream` at chunk size `chunk_size`.
    pub const fn format(stream: u32, chunk_size: u32) -> Format {
        Format { family: Self::FAMILY, variant: stream, chunk_size }
    }

    /// The encoder of a format that [`Self::format`] made.
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    /// [`Self::new`] as [`crtmp_media::MakeEncoder`] wants it.
    pub fn make(format: Format) -> Box<dyn Encoder> {
        Box::new(Self::new(format))
    }
}

impl Encoder for RtmpEncoder {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let (csid, kind) = match frame.kind {
            MediaKind::Audio => (AUDIO_CSID, kind::AUDIO),
            MediaKind::Video => (VIDEO_CSID, kind::VIDEO),
            MediaKind::Data => (DATA_CSID, kind::DATA),
        };
        let Format { variant, chunk_size, .. } = self.format;
        let mut bytes = Vec::new();
        // Times go round at 2³² ms on the wire. A body that no message can hold becomes an empty packet.
        let header = encode_message(&mut bytes, csid, dts as u32, kind, variant, &[&frame.body], chunk_size);
        Packet {
            bytes: bytes.into_boxed_slice(),
            header_len: header.unwrap_or_default() as u32,
            kind: frame.kind,
            role: frame.role,
            dts,
        }
    }
}
