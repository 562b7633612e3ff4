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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use crtmp_media::{Codec, Limits, Role};
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::{ChunkReader, ChunkWriter, MAX_MESSAGE, Message, ReadLimits};

    fn frame(kind: MediaKind, body: Vec<u8>) -> Frame {
        let body = Bytes::from(body);
        Frame { kind, role: Role::Key, codec: Codec::Avc, track: 0, dts: 0, cts: 0, body, data_at: 0 }
    }

    /// What a player reads that was told the chunk size of the format.
    fn read(packets: &[&Packet], chunk_size: u32) -> Vec<Message> {
        let mut bytes = Vec::new();
        ChunkWriter::new().set_chunk_size(&mut bytes, chunk_size);
        packets.iter().for_each(|packet| bytes.extend_from_slice(&packet.bytes));
        let limits = ReadLimits { message_size: MAX_MESSAGE, ..ReadLimits::after(&Limits::default()) };
        let (mut reader, mut rest, mut messages) = (ChunkReader::new(), &bytes[..], Vec::new());
        while let (used, Some(message)) = reader.read(rest, &limits).unwrap() {
            rest = &rest[used..];
            messages.push(message);
        }
        assert_eq!(reader.partial_bytes(), 0);
        messages
    }

    #[test]
    fn each_kind_of_frame_is_a_message_of_its_type_on_a_chunk_stream_of_its_own() {
        let encoder = RtmpEncoder::make(RtmpEncoder::format(7, 60_000));
        let kinds = [MediaKind::Audio, MediaKind::Video, MediaKind::Data];
        let packets = kinds.map(|kind| encoder.encode(&frame(kind, vec![1, 2, 3]), 40));
        let messages = read(&packets.each_ref(), 60_000);
        let heads: Vec<_> = messages.iter().map(|message| (message.kind, message.csid)).collect();
        assert_eq!(heads, [(8, 4), (9, 6), (18, 7)]);
        for (message, packet) in messages.iter().zip(&packets) {
            assert_eq!((message.stream, message.timestamp), (7, 40));
            assert_eq!(message.body[..], [1, 2, 3]);
            assert_eq!((packet.role, packet.dts, packet.header_len), (Role::Key, 40, 12));
            assert_eq!(packet.bytes[12..], [1, 2, 3]);
        }
    }

    /// TIME-01, TIME-03: at the 24-bit edge the header grows by the extended time, at the 32-bit edge time goes
    /// round.
    #[test]
    fn time_is_extended_beyond_24_bits_and_goes_round_at_32() {
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 128));
        for (dts, wire, header) in [
            (0, 0, 12),
            (0xFF_FFFE, 0xFF_FFFE, 12),
            (0xFF_FFFF, 0xFF_FFFF, 16),
            (0x0100_0000, 0x0100_0000, 16),
            (0xFFFF_FFFF, 0xFFFF_FFFF, 16),
            (0x1_0000_0000, 0, 12),
            (0x1_0000_0001, 1, 12),
            (-1, 0xFFFF_FFFF, 16),
        ] {
            for size in [0, 1, 128, 129, 1000] {
                let frame = frame(MediaKind::Video, vec![7; size]);
                let packet = encoder.encode(&frame, dts);
                assert_eq!((packet.header_len, packet.dts), (header, dts));
                let messages = read(&[&packet], 128);
                assert_eq!((messages[0].timestamp, &messages[0].body), (wire, &frame.body), "{dts} {size}");
            }
        }
    }

    /// At each chunk size: bodies around one, two and three chunks.
    #[test]
    fn bodies_are_cut_at_the_chunk_size() {
        for chunk_size in [128, 60_000, 65_536] {
            let encoder = RtmpEncoder::new(RtmpEncoder::format(1, chunk_size));
            for chunks in 1..=3 {
                for size in [-1, 0, 1].map(|more| chunks * i64::from(chunk_size) + more) {
                    let frame = frame(MediaKind::Video, (0..size).map(|at| at as u8).collect());
                    let packet = encoder.encode(&frame, 0);
                    let continuations = (size as usize).div_ceil(chunk_size as usize) - 1;
                    assert_eq!(packet.bytes.len(), 12 + size as usize + continuations);
                    assert_eq!(read(&[&packet], chunk_size)[0].body, frame.body);
                }
            }
        }
    }

    /// Any packet may be left out: none leans on another.
    #[test]
    fn packets_do_not_lean_on_each_other() {
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 128));
        let times = [0, 40, 0xFF_FFFF, 0x0100_0028, 80];
        let packets: Vec<_> = times
            .iter()
            .map(|&dts| encoder.encode(&frame(MediaKind::Video, vec![dts as u8; 300]), dts))
            .collect();
        for left_out in 0..packets.len() {
            let rest: Vec<_> =
                (0..packets.len()).filter(|at| *at != left_out).map(|at| &packets[at]).collect();
            let read: Vec<_> = read(&rest, 128).iter().map(|message| i64::from(message.timestamp)).collect();
            let sent: Vec<_> = rest.iter().map(|packet| packet.dts).collect();
            assert_eq!(read, sent);
        }
    }

    #[test]
    fn a_body_that_no_message_can_hold_is_an_empty_packet() {
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 65_536));
        let most = encoder.encode(&frame(MediaKind::Video, vec![0; MAX_MESSAGE]), 0);
        assert_eq!(read(&[&most], 65_536)[0].body.len(), MAX_MESSAGE);
        let more = encoder.encode(&frame(MediaKind::Video, vec![0; MAX_MESSAGE + 1]), 0);
        assert_eq!((more.bytes.len(), more.header_len), (0, 0));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_what_is_read(
            sizes in prop::collection::vec(0..3000_usize, 1..8),
            start in prop::sample::select(vec![0, 0xFF_FFF0_i64, 0xFFFF_FFF0, -8]),
            stream in 0..0x0100_0000_u32,
            chunk_size in 1..5000_u32,
        ) {
            let encoder = RtmpEncoder::new(RtmpEncoder::format(stream, chunk_size));
            let frames: Vec<_> =
                sizes.iter().map(|size| frame(MediaKind::Audio, vec![*size as u8; *size])).collect();
            let packets: Vec<_> =
                frames.iter().zip(0..).map(|(frame, at)| encoder.encode(frame, start + at * 7)).collect();
            let messages = read(&packets.iter().collect::<Vec<_>>(), chunk_size);
            prop_assert_eq!(messages.len(), frames.len());
            for ((message, frame), packet) in messages.iter().zip(&frames).zip(&packets) {
                prop_assert_eq!(&message.body, &frame.body);
                prop_assert_eq!((message.stream, message.timestamp), (stream, packet.dts as u32));
            }
        }
    }
}
