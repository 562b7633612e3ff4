use proptest::prelude::*;

use crtmp_media::SliceWriter;

use super::*;
use crate::message::{Control, kind};

const LIMITS: ReadLimits =
    ReadLimits { message_size: 8 << 20, partial_bytes: 16 << 20, chunk_streams: 64, wait: false };

/// All messages of `data`, fed in pieces of `piece` bytes.
fn read_in_pieces(data: &[u8], piece: usize, limits: &ReadLimits) -> Result<Vec<Message>, ChunkError> {
    let mut reader = ChunkReader::new();
    let mut messages = Vec::new();
    for piece in data.chunks(piece) {
        drain(&mut reader, piece, limits, &mut messages)?;
    }
    Ok(messages)
}

fn drain(
    reader: &mut ChunkReader,
    mut data: &[u8],
    limits: &ReadLimits,
    messages: &mut Vec<Message>,
) -> Result<(), ChunkError> {
    loop {
        let (used, message) = reader.read(data, limits)?;
        data = &data[used..];
        match message {
            Some(message) => messages.push(message),
            None => return Ok(()),
        }
    }
}

/// All messages of `data`, which come out the same whole and byte by byte.
fn read(data: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let whole = read_in_pieces(data, usize::MAX, &LIMITS);
    assert_eq!(whole, read_in_pieces(data, 1, &LIMITS));
    whole
}

fn message(csid: u32, kind: u8, timestamp: u32, body: impl Into<Vec<u8>>) -> Message {
    Message { csid, kind, stream: 1, timestamp, body: Slice::from(body.into()) }
}

/// One chunk with a basic header of one byte; `time` may be 0xFFFFFF with an extended one behind.
fn chunk(format: u8, csid: u8, time: u32, extended: Option<u32>, length: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![format << 6 | csid];
    if format < 3 {
        out.extend_from_slice(&time.to_be_bytes()[1..]);
    }
    if format < 2 {
        out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        out.push(kind::VIDEO);
    }
    if format < 1 {
        out.extend_from_slice(&1_u32.to_le_bytes());
    }
    out.extend(extended.into_iter().flat_map(u32::to_be_bytes));
    out.extend_from_slice(payload);
    out
}

fn times(data: &[u8]) -> Vec<u32> {
    read(data).unwrap().iter().map(|message| message.timestamp).collect()
}

/// CHK-01, CHK-02.
#[test]
fn every_encoding_of_a_chunk_stream_id_is_read() {
    let ladder: [(&[u8], u32); 9] = [
        (&[2], 2),
        (&[3], 3),
        (&[63], 63),
        (&[0, 0], 64),
        (&[0, 255], 319),
        (&[1, 0, 0], 64),
        (&[1, 255, 0], 319),
        (&[1, 0, 1], 320),
        (&[1, 255, 255], 65_599),
    ];
    for (basic, csid) in ladder {
        let data = [basic, &[0, 0, 5, 0, 0, 1, 9, 1, 0, 0, 0, 0xAA]].concat();
        assert_eq!(read(&data), Ok(vec![message(csid, 9, 5, [0xAA])]));
    }
    let mut data = [&[0, 0, 0, 0, 5, 0, 0, 129, 9, 1, 0, 0, 0][..], &[7; 128]].concat();
    data.extend_from_slice(&[0b1100_0001, 0, 0, 7]);
    assert_eq!(read(&data), Ok(vec![message(64, 9, 5, [7; 129])]));
}

/// CHK-03.
#[test]
fn a_fresh_chunk_stream_may_begin_with_format_1_only() {
    let mut ping = chunk(1, 2, 3, None, 6, &[0, 6, 0, 0, 0, 1]);
    ping[7] = kind::USER_CONTROL;
    let messages = read(&ping).unwrap();
    assert_eq!((messages[0].stream, messages[0].timestamp), (0, 3));
    for format in [2, 3] {
        let data = chunk(format, 5, 0, None, 0, &[]);
        assert_eq!(read(&data), Err(ChunkError::NoHeader { csid: 5, format }));
    }
}

/// CHK-04, CHK-05, CHK-06.
#[test]
fn a_header_inside_a_message_is_an_error() {
    for format in 0..3 {
        let data = [chunk(0, 5, 0, None, 200, &[0; 128]), chunk(format, 5, 0, None, 200, &[0; 72])].concat();
        assert_eq!(read(&data), Err(ChunkError::HeaderInsideMessage { csid: 5, format }));
    }
}

fn with_chunk_size(size: u32, then: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &size.to_be_bytes(), then].concat()
}

/// CHK-07.
#[test]
fn the_largest_chunk_size_allocates_nothing() {
    let data = with_chunk_size(0x7FFF_FFFF, &chunk(0, 5, 0, None, 1, &[9]));
    assert_eq!(read(&data), Ok(vec![message(5, 9, 0, [9])]));
}

/// CHK-08.
#[test]
fn chunk_sizes_out_of_range_are_refused() {
    for size in [0, 0x8000_0000, u32::MAX] {
        assert_eq!(read(&with_chunk_size(size, &[])), Err(ChunkError::ChunkSize(size)));
    }
}

/// CHK-09.
#[test]
fn a_chunk_size_changes_inside_a_message() {
    let body: Vec<u8> = (0..1000).map(|at| at as u8).collect();
    let mut data = chunk(0, 5, 0, None, body.len(), &body[..128]);
    let mut writer = ChunkWriter::new();
    let mut at = 128;
    for size in [300, 128, 1, 16 << 20] {
        writer.set_chunk_size(&mut data, size);
        data.push(0xC5);
        let end = (at + size as usize).min(body.len());
        data.extend_from_slice(&body[at..end]);
        at = end;
    }
    assert_eq!(read(&data), Ok(vec![message(5, 9, 0, body)]));
}

/// CHK-10, correctness only.
#[test]
fn a_large_message_in_chunks_of_one_byte() {
    let body = vec![0x5A; 1 << 20];
    let mut data = with_chunk_size(1, &[]);
    encode_message(&mut data, 5, 0, kind::VIDEO, 1, &[&body], 1).unwrap();
    assert_eq!(read_in_pieces(&data, 4096, &LIMITS), Ok(vec![message(5, 9, 0, body)]));
}

/// CHK-11.
#[test]
fn chunk_streams_are_limited_and_announcements_cost_nothing() {
    let limits =
        ReadLimits { message_size: MAX_MESSAGE, partial_bytes: 64 << 10, chunk_streams: 64, wait: false };
    let mut reader = ChunkReader::new();
    let mut data = Vec::new();
    for csid in 3..68 {
        push_start(&mut data, csid, MAX_MESSAGE, &[0; 128]);
    }
    let error = drain(&mut reader, &data, &limits, &mut Vec::new());
    assert_eq!(error, Err(ChunkError::ChunkStreams { csid: 67, limit: 64 }));
    assert_eq!(reader.partial_bytes(), 64 * 128);
}

/// The first chunk of a message that announces `length` bytes.
fn push_start(data: &mut Vec<u8>, csid: u32, length: usize, payload: &[u8]) {
    let start = data.len();
    let header = encode_message(data, csid, 0, kind::VIDEO, 1, &[payload], u32::MAX).unwrap();
    let at = start + header - 8;
    data[at..at + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
}

/// CHK-12.
#[test]
fn unfinished_messages_are_limited_together() {
    let limits = ReadLimits { partial_bytes: 1000, ..LIMITS };
    let mut data = Vec::new();
    for csid in 3..11 {
        push_start(&mut data, csid, 200, &[0; 128]);
    }
    let error = Err(ChunkError::PartialBytes { csid: 10, limit: 1000 });
    assert_eq!(read_in_pieces(&data, usize::MAX, &limits), error);
    assert_eq!(read_in_pieces(&data, 1, &limits), error);
}

/// CHK-13.
#[test]
fn the_size_of_a_message_is_limited() {
    let limits = ReadLimits { message_size: 1000, ..LIMITS };
    for length in [999, 1000, 1001] {
        let mut data = Vec::new();
        encode_message(&mut data, 5, 0, 9, 1, &[&vec![0; length]], 128).unwrap();
        let result = read_in_pieces(&data, usize::MAX, &limits);
        match length {
            1001 => assert_eq!(result, Err(ChunkError::MessageSize { csid: 5, length, limit: 1000 })),
            _ => assert_eq!(result.unwrap()[0].body.len(), length),
        }
    }
}

/// CHK-14, CHK-15.
#[test]
fn empty_messages_of_every_type_come_out() {
    let mut data = Vec::new();
    for kind in 0..=255 {
        encode_message(&mut data, 5, 0, kind, 1, &[], 128).unwrap();
    }
    let kinds: Vec<_> = read(&data).unwrap().iter().map(|message| message.kind).collect();
    let obeyed = [kind::SET_CHUNK_SIZE, kind::ABORT];
    assert_eq!(kinds, (0..=255).filter(|kind| !obeyed.contains(kind)).collect::<Vec<_>>());
}

/// CHK-16, TIME-01.
#[test]
fn an_extended_time_may_be_repeated_or_not() {
    for extended in [0xFF_FFFF, 0x100_0000, u32::MAX] {
        for (format, repeated) in [(0, true), (0, false), (1, true), (1, false)] {
            // A short rest that begins like the time makes the reader look beyond the chunk.
            for rest in [&[9_u8; 100][..], &[1, 0], &extended.to_be_bytes()[..1], &[]] {
                let body = [&[7; 128], rest].concat();
                let mut data = chunk(0, 5, 0, None, 0, &[]);
                data.extend(chunk(format, 5, 0xFF_FFFF, Some(extended), body.len(), &body[..128]));
                if !rest.is_empty() {
                    data.extend(chunk(3, 5, 0, repeated.then_some(extended), 0, rest));
                }
                data.extend(chunk(0, 6, 3, None, 1, &[8]));
                data.extend(chunk(0, 6, 4, None, 1, &[8]));
                let expected = [
                    message(5, 9, 0, []),
                    message(5, 9, extended, body),
                    message(6, 9, 3, [8]),
                    message(6, 9, 4, [8]),
                ];
                // u32::MAX as a delta is taken as absolute, which is the same here.
                assert_eq!(read(&data).as_deref(), Ok(&expected[..]), "{extended:X} {format} {repeated}");
            }
        }
    }
}

/// CHK-16: peers that differ from one chunk stream to another.
#[test]
fn repetition_is_decided_for_each_chunk_stream() {
    let time = 0x123_4567;
    let mut data = Vec::new();
    for _ in 0..2 {
        for (csid, repeated) in [(5, Some(time)), (6, None)] {
            data.extend(chunk(0, csid, 0xFF_FFFF, Some(time), 130, &[csid; 128]));
            data.extend(chunk(3, csid, 0, repeated, 0, &[csid; 2]));
        }
    }
    let messages = read(&data).unwrap();
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(|m| m.body[..] == [m.csid as u8; 130]));
}

/// CHK-17.
#[test]
fn an_extended_time_may_be_small() {
    assert_eq!(times(&chunk(0, 5, 0xFF_FFFF, Some(5), 1, &[0])), [5]);
}

/// CHK-18: the documented case of 1 in 2³². Once decided, such a payload is safe.
#[test]
fn a_payload_like_the_time_is_safe_once_decided() {
    let time = 0x123_4567_u32;
    let start = chunk(0, 5, 0xFF_FFFF, Some(time), 132, &[7; 128]);
    let first = [start.clone(), chunk(3, 5, 0, None, 0, &[1, 2, 3, 4])].concat();
    let second = [start, chunk(3, 5, 0, None, 0, &time.to_be_bytes())].concat();
    let messages = read(&[first, second].concat()).unwrap();
    assert_eq!(messages[1].body[128..], time.to_be_bytes());
}

/// CHK-19, the byte order.
#[test]
fn the_message_stream_id_is_little_endian() {
    for stream in [0, 1, 255, 0x0100_0000, u32::MAX] {
        let mut data = Vec::new();
        encode_message(&mut data, 5, 0, 9, stream, &[b"x"], 128).unwrap();
        assert_eq!(data[8..12], stream.to_le_bytes());
        assert_eq!(read(&data).unwrap()[0].stream, stream);
    }
}

/// CTL-03.
#[test]
fn abort_drops_one_unfinished_message() {
    let abort = |csid: u32| {
        let mut out = Vec::new();
        ChunkWriter::new().write_control(&mut out, Control::Abort(csid));
        out
    };
    let mut data = chunk(0, 5, 10, None, 200, &[1; 128]);
    data.extend(chunk(0, 6, 10, None, 200, &[2; 128]));
    for csid in [0, 2, 5, 77, u32::MAX, 5] {
        data.extend(abort(csid));
    }
    data.extend(chunk(3, 6, 0, None, 0, &[2; 72]));
    data.extend(chunk(0, 5, 20, None, 1, &[3]));
    assert_eq!(read(&data), Ok(vec![message(6, 9, 10, [2; 200]), message(5, 9, 20, [3])]));
}

/// CTL-01, the two types that the reader obeys.
#[test]
fn short_control_of_the_chunk_stream_is_an_error() {
    for kind in [kind::SET_CHUNK_SIZE, kind::ABORT] {
        let mut data = Vec::new();
        encode_message(&mut data, 2, 0, kind, 0, &[&[0, 0, 1]], 128).unwrap();
        assert!(matches!(read(&data), Err(ChunkError::Control(_))));
    }
}

/// TIME-05.
#[test]
fn extended_deltas_may_be_deltas_or_absolute() {
    let start = |time| chunk(0, 5, 0xFF_FFFF, Some(time), 0, &[]);
    let then = |value| chunk(2, 5, 0xFF_FFFF, Some(value), 0, &[]);
    assert_eq!(times(&[start(0x100_0000), then(0x100_0000)].concat()), [0x100_0000, 0x200_0000]);
    assert_eq!(
        times(&[start(20_000_000), then(20_000_040), then(20_000_040)].concat())[1..],
        [20_000_040; 2]
    );
    assert_eq!(times(&[start(0xF000_0000), then(0xF000_0000)].concat())[1], 0xF000_0000);
}

/// TIME-07.
#[test]
fn format_3_after_format_0_keeps_the_time_except_from_flash() {
    let data = [chunk(0, 5, 40, None, 0, &[]), vec![0xC5], vec![0xC5]].concat();
    assert_eq!(times(&data), [40, 40, 40]);
    let far = [chunk(0, 5, 5000, None, 0, &[]), vec![0xC5]].concat();
    for (data, expected) in [(data, vec![40, 80, 120]), (far, vec![5000, 5000])] {
        let mut reader = ChunkReader::new();
        reader.set_flash_like(true);
        let mut messages = Vec::new();
        drain(&mut reader, &data, &LIMITS, &mut messages).unwrap();
        assert_eq!(messages.iter().map(|m| m.timestamp).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn format_3_after_a_delta_repeats_the_delta() {
    let data =
        [chunk(0, 5, 40, None, 0, &[]), chunk(1, 5, 20, None, 0, &[]), vec![0xC5], vec![0xC5]].concat();
    assert_eq!(times(&data), [40, 60, 80, 100]);
    let wrap = [chunk(0, 5, 0xFF_FFFF, Some(u32::MAX), 0, &[]), chunk(2, 5, 20, None, 0, &[])].concat();
    assert_eq!(times(&wrap), [u32::MAX, 19]);
}

#[test]
fn a_message_at_hand_is_allocated_once() {
    let mut data = Vec::new();
    encode_message(&mut data, 5, 0, 9, 1, &[&[0; 5000]], 128).unwrap();
    let mut reader = ChunkReader::new();
    reader.read(&data[..4000], &LIMITS).unwrap();
    assert!(reader.partial_bytes() < 4000);
    let mut body = SliceWriter::default();
    reader::grow(&mut body, 128, 5000, true);
    assert_eq!(body.capacity(), 5000);
    let mut body = SliceWriter::default();
    body.append(&[0; 100]);
    reader::grow(&mut body, 1, 5000, false);
    assert!(body.capacity() <= 400);
}

#[test]
fn a_body_longer_than_the_length_field_is_refused() {
    let mut out = Vec::new();
    let half = vec![0; 8 << 20];
    let error = encode_message(&mut out, 5, 0, 9, 1, &[&half, &half], 65_536);
    assert_eq!((error, out.len()), (Err(TooLong { length: 16 << 20 }), 0));
}

/// A sender that uses all formats and lets chunks of different messages interleave.
struct Interleaver {
    /// Of each chunk stream: its last time, length and kind.
    last: std::collections::BTreeMap<u32, (u32, usize, u8)>,
    repeats: bool,
    /// It does not repeat the extended time, and has sent a body that looks as if it did.
    misleads: bool,
}

impl Interleaver {
    /// The chunks of `message`, with the shortest header that can express it, or a full one.
    fn chunks(&mut self, message: &Message, size: usize, short: bool) -> Vec<Vec<u8>> {
        let &Message { csid, kind, timestamp, .. } = message;
        let length = message.body.len();
        let last = self.last.insert(csid, (timestamp, length, kind));
        let (format, field) = match last {
            Some((time, ..)) if !short || timestamp.wrapping_sub(time) >= 0xFF_FFFF => (0, timestamp),
            Some((time, l, k)) if (l, k) == (length, kind) => (2, timestamp.wrapping_sub(time)),
            Some((time, ..)) => (1, timestamp.wrapping_sub(time)),
            None => (0, timestamp),
        };
        let mut full = Vec::new();
        encode_message(&mut full, csid, 0, kind, message.stream, &[], 128).unwrap();
        let (basic, fields) = full.split_at(full.len() - 11);
        let extended = (field >= 0xFF_FFFF).then_some(field);
        let mut chunks = Vec::new();
        let mut rest = &message.body[..];
        while chunks.is_empty() || !rest.is_empty() {
            let format = if chunks.is_empty() { format } else { 3 };
            let mut out = basic.to_vec();
            out[0] |= format << 6;
            let mut fields = fields.to_vec();
            fields[..3].copy_from_slice(&field.min(0xFF_FFFF).to_be_bytes()[1..]);
            fields[3..6].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            out.extend_from_slice(&fields[..[11, 7, 3, 0][usize::from(format)]]);
            if format < 3 || self.repeats {
                out.extend(extended.into_iter().flat_map(u32::to_be_bytes));
            }
            let (now, later) = rest.split_at(size.min(rest.len()));
            let looks_like = |time: u32| time.to_be_bytes().starts_with(&now[..now.len().min(4)]);
            if format == 3 && !self.repeats {
                self.misleads |= extended.is_some_and(|field| looks_like(field) || looks_like(timestamp));
            }
            out.extend_from_slice(now);
            rest = later;
            chunks.push(out);
        }
        chunks
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let csid = prop_oneof![3..8_u32, Just(64), Just(319), Just(320), Just(65_599)];
    let time = prop_oneof![0..5000_u32, 0xFF_FF00..0x100_0100_u32, any::<u32>()];
    let body = prop::collection::vec(0..3_u8, 0..600);
    (csid, prop_oneof![Just(8_u8), Just(9)], time, body).prop_map(|(c, k, t, b)| message(c, k, t, b))
}

proptest! {
    /// CHK-24.
    #[test]
    fn what_is_written_is_read(
        messages in prop::collection::vec((any_message(), 1..700_u32), 0..12),
        piece in 1..2000_usize,
    ) {
        let mut writer = ChunkWriter::new();
        let mut data = Vec::new();
        for (message, size) in &messages {
            writer.set_chunk_size(&mut data, *size);
            writer.write(&mut data, message).unwrap();
        }
        let expected = messages.into_iter().map(|(message, _)| message).collect::<Vec<_>>();
        prop_assert_eq!(read_in_pieces(&data, piece, &LIMITS), Ok(expected));
    }

    /// CHK-20, with all formats, interleaved chunk by chunk, repeating the extended time or not.
    #[test]
    fn interleaved_messages_come_out_whole(
        messages in prop::collection::vec((any_message(), any::<bool>()), 0..24),
        size in 1..300_u32,
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..50),
        piece in 1..64_usize,
        repeats in any::<bool>(),
    ) {
        let mut sender = Interleaver { last: Default::default(), repeats, misleads: false };
        let mut queues = std::collections::BTreeMap::<u32, Vec<Vec<u8>>>::new();
        for (message, short) in &messages {
            let chunks = sender.chunks(message, size as usize, *short);
            queues.entry(message.csid).or_default().extend(chunks);
        }
        // Nobody could tell that from a repetition: `ChunkReader` says so.
        prop_assume!(!sender.misleads);
        let mut data = Vec::new();
        ChunkWriter::new().set_chunk_size(&mut data, size);
        for pick in order.iter().cycle() {
            if queues.is_empty() {
                break;
            }
            let csid = *pick.get(&queues.keys().copied().collect::<Vec<_>>());
            let queue = queues.get_mut(&csid).unwrap();
            data.extend(queue.remove(0));
            if queue.is_empty() {
                queues.remove(&csid);
            }
        }
        let read = read_in_pieces(&data, piece, &LIMITS).unwrap();
        prop_assert_eq!(read.len(), messages.len());
        for csid in read.iter().map(|message| message.csid) {
            let got: Vec<_> = read.iter().filter(|message| message.csid == csid).collect();
            let sent: Vec<_> = messages.iter().map(|(m, _)| m).filter(|m| m.csid == csid).collect();
            prop_assert_eq!(got, sent);
        }
    }

    /// CHK-22, CHK-23.
    #[test]
    fn any_bytes_read_the_same_in_any_split(data in prop::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzz::chunk_reader(&data);
    }
}

/// CMD-14: what does not fit is left where it is and read when there is more room, in any split.
#[test]
fn a_reader_that_may_wait_goes_on_when_there_is_room() {
    let narrow = ReadLimits { message_size: 1000, partial_bytes: 1000, wait: true, ..LIMITS };
    let mut data = Vec::new();
    encode_message(&mut data, 5, 0, 9, 1, &[&[1; 900]], 128).unwrap();
    push_start(&mut data, 6, 500, &[2; 128]);
    push_start(&mut data, 7, 500, &[3; 128]);
    encode_message(&mut data, 5, 0x0100_0000, 9, 1, &[&[4; 1001]], 128).unwrap();
    let whole = read_in_pieces(&data, usize::MAX, &LIMITS).unwrap();
    for piece in [1, 13, 200, data.len()] {
        let mut reader = ChunkReader::new();
        let (mut used, mut messages) = (0, Vec::new());
        loop {
            let end = (used + piece).min(data.len());
            let (count, message) = reader.read(&data[used..end], &narrow).unwrap();
            used += count;
            let stuck = message.is_none() && used < end;
            messages.extend(message);
            if stuck {
                break;
            }
        }
        assert_eq!(messages.len(), 1, "the first one fits");
        drain(&mut reader, &data[used..], &LIMITS, &mut messages).unwrap();
        assert_eq!(messages, whole);
    }
}
