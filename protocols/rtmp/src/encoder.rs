//! Frames as RTMP messages.

use crtmp_media::{Encoder, Format, Frame, Head, MediaKind, Packet, Retimed, Role, Slice, View};

use crate::{
    chunk::{ROOM, encode_message},
    message::kind,
};

/// Chunk streams of outgoing media. Every message has a full header, so nothing else may depend on them.
const AUDIO_CSID: u32 = 4;
const VIDEO_CSID: u32 = 6;
const DATA_CSID: u32 = 7;

/// The name `@setDataFrame` in AMF0: the server is to keep what follows for newcomers.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// The first header of a message on these chunk streams, in bytes, while its time is not extended.
const SHORT_HEADER: usize = 12;
/// Times from here on do not fit the 24 bits of a header, and follow it in 32.
const EXTENDED: u32 = 0xFF_FFFF;
/// Bytes of a composition time in a tag header.
const CTS_LEN: usize = 3;
/// The largest composition time, in ms: 24 bits with a sign.
const CTS_MAX: i32 = 0x7F_FFFF;

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
    /// The name of the packet format of those who publish.
    pub const PUBLISHING: &'static str = "rtmp publishing";

    /// The format of media on message stream `stream` at chunk size `chunk_size`.
    pub const fn format(stream: u32, chunk_size: u32) -> Format {
        Format { family: Self::FAMILY, variant: stream, chunk_size, view: View::ALL }
    }

    /// As [`Self::format`], for a client that publishes: metadata are an instruction to the server.
    pub const fn publishing(stream: u32, chunk_size: u32) -> Format {
        Format { family: Self::PUBLISHING, variant: stream, chunk_size, view: View::ALL }
    }

    /// The encoder of a format that [`Self::format`] or [`Self::publishing`] made.
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
        let (bytes, header_len) = match self.in_place(frame, dts) {
            Some(found) => found,
            None => self.message(frame.kind, dts, &[self.instruction(frame), &frame.body]),
        };
        Packet {
            bytes,
            header_len,
            kind: frame.kind,
            role: frame.role,
            track: frame.track,
            dts,
            cts: frame.cts,
            data_at: frame.data_at,
        }
    }

    fn encode_in_place(&self, frame: &mut Frame) {
        if let Some((header, len)) = self.header(frame, frame.dts) {
            // Where it is not possible it is not found there.
            let _ = frame.body.put_before(&header[..len]);
        }
    }

    fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed {
        let cts = if packet.cts == 0 { 0 } else { cts.clamp(-CTS_MAX - 1, CTS_MAX) };
        match self.head(packet, dts, cts) {
            Some(head) => Retimed::Head(head),
            None => Retimed::Copy(self.copy(packet, dts, cts)),
        }
    }
}

impl RtmpEncoder {
    /// What stands before the body.
    fn instruction(&self, frame: &Frame) -> &'static [u8] {
        let describes = frame.kind == MediaKind::Data && frame.role == Role::Info;
        if describes && self.format.family == Self::PUBLISHING { SET_DATA_FRAME } else { &[] }
    }

    /// The message in the frame's own memory and the length of its header, if its header stands there.
    fn in_place(&self, frame: &Frame, dts: i64) -> Option<(Slice, u32)> {
        let (header, len) = self.header(frame, dts)?;
        Some((frame.body.behind(&header[..len])?, len as u32))
    }

    /// The header of a message of one chunk, and its length; nothing where there are more, because their headers
    /// stand between the bytes of the body.
    fn header(&self, frame: &Frame, dts: i64) -> Option<([u8; ROOM], usize)> {
        if frame.body.len() > self.format.chunk_size as usize || !self.instruction(frame).is_empty() {
            return None;
        }
        let (csid, kind) = channel(frame.kind);
        let time = dts as u32;
        let mut header = [0; ROOM];
        header[0] = csid as u8;
        header[1..4].copy_from_slice(&time.min(EXTENDED).to_be_bytes()[1..]);
        header[4..7].copy_from_slice(&(frame.body.len() as u32).to_be_bytes()[1..]);
        header[7] = kind;
        header[8..SHORT_HEADER].copy_from_slice(&self.format.variant.to_le_bytes());
        if time < EXTENDED {
            return Some((header, SHORT_HEADER));
        }
        header[SHORT_HEADER..].copy_from_slice(&time.to_be_bytes());
        Some((header, ROOM))
    }

    /// One message of a body in parts, and the length of its first header.
    fn message(&self, kind: MediaKind, dts: i64, body: &[&[u8]]) -> (Slice, u32) {
        let (csid, kind) = channel(kind);
        let Format { variant, chunk_size, .. } = self.format;
        let mut bytes = Vec::new();
        // Times go round at 2³² ms on the wire. A body that no message can hold becomes an empty packet.
        let header = encode_message(&mut bytes, csid, dts as u32, kind, variant, body, chunk_size);
        (bytes.into(), header.unwrap_or_default() as u32)
    }

    /// Chunk header and tag header with other times, where they stand in the first chunk and nowhere else.
    fn head(&self, packet: &Packet, dts: i64, cts: i32) -> Option<Head> {
        if packet.bytes.is_empty() {
            return Head::new(&[], 0);
        }
        let (time, header) = (dts as u32, packet.header_len as usize);
        let (old, payload) = packet.bytes.split_at_checked(header)?;
        let extended = time >= EXTENDED;
        let chunk_size = (self.format.chunk_size as usize).max(1);
        // Where a time is extended each further chunk repeats it, and readers believe the last one they see.
        if payload.len() > chunk_size && (extended || header != SHORT_HEADER) {
            return None;
        }
        let time = time.to_be_bytes();
        let short_time = if extended { [0xff; 3] } else { [time[1], time[2], time[3]] };
        let basic = old.get(..1)?;
        let length_and_stream = old.get(4..SHORT_HEADER)?;
        let time: &[u8] = if extended { &time } else { &[] };
        if cts == packet.cts {
            return Head::new(&[basic, &short_time, length_and_stream, time], header);
        }
        let data_at = packet.data_at as usize;
        let tag = payload.get(..data_at.checked_sub(CTS_LEN)?)?;
        if data_at > chunk_size.min(payload.len()) {
            return None;
        }
        let [_, cts @ ..] = cts.to_be_bytes();
        Head::new(&[basic, &short_time, length_and_stream, time, tag, &cts], header + data_at)
    }

    /// All of a packet with other times.
    fn copy(&self, packet: &Packet, dts: i64, cts: i32) -> Packet {
        let header = packet.header_len as usize;
        let chunk_size = (self.format.chunk_size as usize).max(1);
        let continuation = header - SHORT_HEADER.min(header) + 1;
        let mut body = Vec::with_capacity(packet.bytes.len());
        let mut rest = packet.bytes.get(header..).unwrap_or_default();
        while !rest.is_empty() {
            let (chunk, next) = rest.split_at(chunk_size.min(rest.len()));
            body.extend_from_slice(chunk);
            rest = next.get(continuation..).unwrap_or_default();
        }
        let data_at = packet.data_at as usize;
        if cts != packet.cts
            && let Some(field) = data_at.checked_sub(CTS_LEN).and_then(|at| body.get_mut(at..data_at))
        {
            field.copy_from_slice(&cts.to_be_bytes()[1..]);
        }
        let (bytes, header_len) = self.message(packet.kind, dts, &[&body]);
        Packet { bytes, header_len, dts, cts, ..*packet }
    }
}

/// The chunk stream and the message type of each kind of frame.
const fn channel(kind: MediaKind) -> (u32, u8) {
    match kind {
        MediaKind::Audio => (AUDIO_CSID, kind::AUDIO),
        MediaKind::Video => (VIDEO_CSID, kind::VIDEO),
        MediaKind::Data => (DATA_CSID, kind::DATA),
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Codec, Limits, Role, Slice, SliceWriter};
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::{ChunkReader, ChunkWriter, MAX_MESSAGE, Message, ReadLimits};

    fn frame(kind: MediaKind, body: Vec<u8>) -> Frame {
        let body = Slice::from(body);
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

    /// Header and body as one piece without a copy, and the same bytes as with one.
    #[test]
    fn a_frame_is_encoded_in_its_own_memory_where_that_is_possible() {
        let encoder = RtmpEncoder::new(RtmpEncoder::format(7, 1000));
        for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Data] {
            for dts in [0, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, 0x1_0000_0001, -1] {
                for size in [0, 1, 999, 1000, 1001] {
                    let mut body = SliceWriter::default();
                    body.append(&(0..ROOM + size).map(|at| at as u8).collect::<Vec<_>>());
                    let body = body.finish(ROOM);
                    let mut frame = Frame { dts, body, ..frame(kind, Vec::new()) };
                    let copied = encoder.encode(&frame, dts);
                    assert_ne!(
                        copied.bytes.last().map(|last| &raw const *last),
                        frame.body.last().map(|last| &raw const *last)
                    );
                    encoder.encode_in_place(&mut frame);
                    let shared = encoder.encode(&frame, dts);
                    assert_eq!(shared, copied, "{kind:?} {dts} {size}");
                    if size <= 1000 {
                        assert_eq!(shared.bytes[shared.header_len as usize..].as_ptr(), frame.body.as_ptr());
                    }
                    let later = encoder.encode(&frame, dts + 1);
                    assert_eq!(
                        later.bytes[later.header_len as usize..][..size.min(1000)],
                        frame.body[..size.min(1000)]
                    );
                    assert_eq!(later.dts, dts + 1);
                    let other = RtmpEncoder::new(RtmpEncoder::format(8, 1000)).encode(&frame, dts);
                    assert_eq!(other.bytes[8], 8, "the message stream of another format");
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

    /// What a player gets of a packet with other times.
    fn retimed(encoder: &RtmpEncoder, packet: &Packet, dts: i64, cts: i32) -> (Packet, &'static str) {
        match encoder.retime(packet, dts, cts) {
            Retimed::Head(head) => (head.join(packet, dts, cts), "head"),
            Retimed::Copy(copy) => (copy, "copy"),
        }
    }

    fn video(tag: &[u8], size: usize, cts: i32, data_at: usize) -> Frame {
        let mut body = tag.to_vec();
        body.extend((0..size).map(|at| at as u8));
        Frame { cts, data_at: data_at as u32, ..frame(MediaKind::Video, body) }
    }

    /// Byte by byte: only time and composition time differ, and all but the first bytes are shared.
    #[test]
    fn a_head_replaces_chunk_header_and_tag_header_only() {
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 128));
        let frame = video(&[0x27, 1, 0, 0, 80], 300, 80, 5);
        let packet = encoder.encode(&frame, 40);
        let Retimed::Head(head) = encoder.retime(&packet, 0x01_0203, -2) else { panic!("a copy") };
        let expected = [6, 1, 2, 3, 0, 1, 0x31, 9, 1, 0, 0, 0, 0x27, 1, 0xff, 0xff, 0xfe];
        assert_eq!(head.bytes(), expected);
        assert_eq!(head.rest(&packet), &packet.bytes[17..]);
        assert_eq!((head.place(16), head.place(17), head.place(20)), (None, Some(17), Some(20)));
        let Retimed::Head(head) = encoder.retime(&packet, 0x01_0203, 80) else { panic!("a copy") };
        assert_eq!(head.bytes(), &expected[..12], "nothing to change behind the chunk header");
        assert_eq!(head.rest(&packet), &packet.bytes[12..]);
        let single = encoder.encode(&video(&[0x27, 1, 0, 0, 80], 10, 80, 5), 0x0100_0000);
        let Retimed::Head(head) = encoder.retime(&single, 0x0100_0001, 1) else { panic!("a copy") };
        assert_eq!(head.bytes(), b"\x06\xff\xff\xff\0\0\x0f\x09\x01\0\0\0\x01\0\0\x01\x27\x01\0\0\x01");
    }

    /// Each tag header, one chunk and many, below and beyond the 24-bit and 32-bit edges: a player reads the new
    /// times and the old body, and all bytes are those of a packet encoded so at once.
    #[test]
    fn a_packet_with_other_times_is_what_its_frame_would_have_become() {
        let tags: [(&[u8], i32, usize); 7] = [
            (&[0x27, 1, 0, 0, 80], 80, 5),
            (&[0x27, 1, 0xff, 0xff, 0xfe], -2, 5),
            (&[0x17, 1, 0, 0, 0], 0, 5),
            (b"\x91hvc1\x00\x00\x50", 80, 8),
            (b"\xa3hvc1", 0, 5),
            (b"\xa1av01", 0, 5),
            (b"\x96\x01avc1\x03\x00\x00\x50", 80, 10),
        ];
        let times = [0, 40, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, 0xFFFF_FFFF, 0x1_0000_0000, 0x1_0000_0028, -1];
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 128));
        let extended = |dts: i64| dts as u32 >= EXTENDED;
        for (tag, old_cts, data_at) in tags {
            for size in [0, 1, 100, 1000] {
                for (old, new) in times.iter().flat_map(|old| times.map(|new| (*old, new))) {
                    for new_cts in [0, 7, -7, 1 << 23, -(1 << 23)] {
                        let packet = encoder.encode(&video(tag, size, old_cts, data_at), old);
                        let (got, how) = retimed(&encoder, &packet, new, new_cts);
                        let cts = if old_cts == 0 { 0 } else { new_cts.min(CTS_MAX) };
                        let mut tag = tag.to_vec();
                        if old_cts != 0 {
                            tag[data_at - 3..].copy_from_slice(&cts.to_be_bytes()[1..]);
                        }
                        let wanted = encoder.encode(&video(&tag, size, cts, data_at), new);
                        assert_eq!((&got.bytes, got.header_len), (&wanted.bytes, wanted.header_len));
                        assert_eq!(read(&[&got], 128)[0].timestamp, new as u32);
                        let shared = size < 200 || !extended(old) && !extended(new);
                        assert_eq!(how, if shared { "head" } else { "copy" }, "{size} {old} {new}");
                    }
                }
            }
        }
    }

    #[test]
    fn where_a_head_would_not_do_the_packet_is_copied() {
        // A chunk that ends within the tag header; a tag header with extensions; a broken one.
        for (chunk_size, tag, data_at) in [
            (4, b"\x27\x01\0\0\x50".to_vec(), 5),
            (128, [&[0x97; 40][..], b"avc1\0\0\x50"].concat(), 47),
            (128, vec![0x27, 1], 2),
            (128, vec![0x27, 1], 9),
        ] {
            let encoder = RtmpEncoder::new(RtmpEncoder::format(1, chunk_size));
            let frame = video(&tag, 6, 80, data_at);
            let packet = encoder.encode(&frame, 40);
            let (got, how) = retimed(&encoder, &packet, 50, 1);
            assert_eq!((how, got.dts, got.bytes.len()), ("copy", 50, packet.bytes.len()), "{tag:?}");
            let read = &read(&[&got], chunk_size)[0];
            assert_eq!((read.timestamp, read.body.len()), (50, frame.body.len()));
            if (3..=read.body.len()).contains(&data_at) {
                assert_eq!(read.body[data_at - 3..data_at], [0, 0, 1]);
            }
        }
        let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 65_536));
        let empty = encoder.encode(&frame(MediaKind::Video, vec![0; MAX_MESSAGE + 1]), 0);
        assert_eq!(retimed(&encoder, &empty, 50, 1).0.bytes.len(), 0);
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
