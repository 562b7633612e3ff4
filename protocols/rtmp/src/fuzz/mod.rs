//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.

mod client_order;
#[cfg(feature = "rtmpe")]
mod encrypted;
mod session_order;

pub use client_order::client_order;
#[cfg(all(feature = "rtmpe", test))]
pub(crate) use encrypted::seeds as encrypted_seeds;
pub use session_order::session_order;

use crtmp_media::{Limits, MediaKind, Value, tag as header};

use crate::aggregate;
use crate::amf0;
use crate::amf3;
use crate::chunk::{ChunkError, ChunkReader, Message, ReadLimits};
use crate::handshake::{HandshakeError, HandshakeKind, RANDOM, ServerHandshake};
use crate::message::kind;
use crate::shared_object::SharedObjectMessage;
use crate::wire::{Received, Wire, WireError};

/// The server's handshake, and both sides of that of RTMPE: the split of the input changes nothing, and nothing after C2
/// or S2 is taken.
pub fn handshake(data: &[u8]) {
    #[cfg(feature = "rtmpe")]
    encrypted::handshake(data);
    let whole = run_handshake(&[data]);
    let (first, second) = data.split_at(split_point(data));
    assert_eq!(whole, run_handshake(&[first, second]));
    assert_eq!(whole, run_handshake(&data.chunks(7).collect::<Vec<_>>()));
    if let Ok((used, _, done, out)) = whole {
        assert_eq!(used, data.len().min(1 + 2 * 1536));
        assert_eq!(done, used == 1 + 2 * 1536);
        assert_eq!(out.len(), if used > 1536 { 1 + 2 * 1536 } else { 0 });
    }
}

/// The chunk reader: the split of the input changes no message and no error, and memory follows the input.
pub fn chunk_reader(data: &[u8]) {
    let limits = ReadLimits { message_size: 1 << 20, partial_bytes: 2 << 20, chunk_streams: 64, wait: false };
    let whole = run_reader(&[data], &limits);
    let (first, second) = data.split_at(split_point(data));
    assert_eq!(whole, run_reader(&[first, second], &limits));
    assert_eq!(whole, run_reader(&data.chunks(1).collect::<Vec<_>>(), &limits));
}

/// AMF0: what can be read can be written, and then reads as the same.
pub fn amf0(data: &[u8]) {
    let limits = Limits::default();
    let Ok(values) = amf0::decode_all(data, &limits) else { return };
    assert!(values.len() <= data.len());
    let encode = |values: &[_]| {
        let mut out = Vec::new();
        for value in values {
            amf0::encode(&mut out, value);
        }
        out
    };
    // Bytes are compared, since NaN equals nothing.
    let canonical = encode(&values);
    let again = amf0::decode_all(&canonical, &limits).expect("what was written can be read");
    assert_eq!(encode(&again), canonical);
}

/// AMF3: what can be read can be written, alone or in a body of AMF0, and then reads as the same; what comes nearest in
/// AMF0 can be read as well.
pub fn amf3(data: &[u8]) {
    let limits = Limits::default();
    let Ok(values) = amf3::decode_all(data, &limits) else { return };
    let alone = |values: &[Value]| {
        let (mut encoder, mut out) = (amf3::Encoder::new(), Vec::new());
        for value in values {
            encoder.encode(&mut out, value);
        }
        out
    };
    let mixed = |values: &[Value]| {
        let mut out = Vec::new();
        amf0::encode_mixed(&mut out, values);
        out
    };
    let plain = |values: &[Value]| {
        let mut out = Vec::new();
        for value in values {
            amf0::encode(&mut out, value);
        }
        out
    };
    let canonical = alone(&values);
    let again = amf3::decode_all(&canonical, &limits).expect("what was written can be read");
    assert_eq!(alone(&again), canonical);
    let body = mixed(&values);
    let again = amf0::decode_all(&body, &limits).expect("a mixed body can be read");
    assert_eq!(mixed(&again), body);
    let body = plain(&values);
    let again = amf0::decode_all(&body, &limits).expect("the nearest can be read");
    assert_eq!(plain(&again), body);
}

/// Messages about shared objects, of type 16 or 19 by the first byte: what can be read can be written, and then reads
/// as the same.
pub fn shared_object(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let amf3 = first & 1 != 0;
    let kind = if amf3 { kind::SHARED_OBJECT_AMF3 } else { kind::SHARED_OBJECT };
    let limits = Limits::default();
    let Ok(message) = SharedObjectMessage::parse(kind, body, &limits) else { return };
    let encode = |message: &SharedObjectMessage| {
        let mut out = Vec::new();
        message.encode(&mut out, amf3);
        out
    };
    let canonical = encode(&message);
    let again = SharedObjectMessage::parse(kind, &canonical, &limits).expect("what was written can be read");
    assert_eq!(encode(&again), canonical);
}

/// The aggregate splitter: its messages are no larger than the aggregate, and the first has its time.
pub fn aggregate(data: &[u8]) {
    let message = Message {
        csid: 4,
        kind: kind::AGGREGATE,
        stream: 1,
        timestamp: 0xFFFF_FFF0,
        body: data.to_vec().into(),
    };
    let Ok(split) = aggregate::split(&message, 1024) else { return };
    let bytes: usize = split.messages.iter().map(|message| 11 + message.body.len()).sum();
    assert!(bytes + split.dropped_bytes <= data.len());
    assert!(split.messages.len() + split.ignored <= 1024);
    if split.ignored == 0
        && let Some(first) = split.messages.first()
    {
        assert_eq!(first.timestamp, message.timestamp);
    }
}

/// Headers of audio (first byte odd) and video: what is read lies within the message, and of several tracks all that there
/// is is consumed: each of them is read alike alone, with and without its id.
pub fn tag(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    let kind = if kind & 1 == 1 { MediaKind::Audio } else { MediaKind::Video };
    let limits = Limits::default();
    let read = |body: &[u8]| match kind {
        MediaKind::Audio => header::audio(body, &limits),
        _ => header::video(body, &limits),
    };
    let parts = header::split(kind, body);
    let Ok(whole) = read(body) else { return };
    assert!(whole.data_at as usize <= body.len() && whole.nanos < 1_000_000);
    assert_eq!(whole.several, header::has_several(kind, body));
    let mut lowest = u8::MAX;
    for part in &parts {
        let one = read(part).expect("a track alone");
        assert_eq!((one.role, one.nanos, one.several), (whole.role, whole.nanos, false));
        let bare = header::unwrapped(kind, body, one.track).expect("a track that is there");
        assert_eq!(bare.len() + 2, part.len(), "without the kind of multitrack and the id");
        let bare = read(&bare).expect("a track without its id");
        assert_eq!((bare.codec, bare.role, bare.cts, bare.track), (one.codec, one.role, one.cts, 0));
        lowest = lowest.min(one.track);
    }
    let Some(first) = parts.first().filter(|_| whole.several) else { return };
    assert_eq!((whole.track, whole.data_at as usize), (lowest, body.len()));
    let before = body.iter().zip(first.iter()).take_while(|(one, other)| one == other).count();
    let (count, codecs) = (parts.len(), if body[before] >> 4 == 1 { 1 } else { parts.len() });
    let content: usize = parts.iter().map(|part| part.len() - before - 6).sum();
    assert_eq!(before + 1 + 4 * codecs + 4 * count + content, body.len());
}

/// A [`Wire`], as client or server by the first byte: the split of the input changes nothing that is received, and what
/// it answers is a chunk stream no larger than four times what it was sent.
pub fn wire(data: &[u8]) {
    let Some((&side, data)) = data.split_first() else { return };
    let whole = run_wire(side, &[data]);
    let (first, second) = data.split_at(split_point(data));
    assert_eq!(whole, run_wire(side, &[first, second]));
    assert_eq!(whole, run_wire(side, &data.chunks(1).collect::<Vec<_>>()));
}

type Handshaken = Result<(usize, Option<HandshakeKind>, bool, Vec<u8>), HandshakeError>;

fn run_handshake(pieces: &[&[u8]]) -> Handshaken {
    let mut handshake = ServerHandshake::new(true, &[0x5A; RANDOM]);
    let (mut used, mut done, mut out) = (0, false, Vec::new());
    for piece in pieces {
        let (step, now_done) = handshake.input(piece, &mut out)?;
        assert!(now_done || step == piece.len(), "only the end of the handshake leaves bytes");
        used += step;
        done = now_done;
    }
    Ok((used, handshake.agreed(), done, out))
}

fn run_reader(pieces: &[&[u8]], limits: &ReadLimits) -> (Vec<Message>, Option<ChunkError>) {
    let mut reader = ChunkReader::new();
    let mut messages = Vec::new();
    let mut sent = 0;
    for mut piece in pieces.iter().copied() {
        loop {
            sent += piece.len();
            match reader.read(piece, limits) {
                Err(error) => return (messages, Some(error)),
                Ok((used, message)) => {
                    sent -= piece.len() - used;
                    piece = &piece[used..];
                    assert_eq!(reader.bytes(), sent as u64);
                    assert!(reader.partial_bytes() <= limits.partial_bytes.min(sent));
                    match message {
                        Some(message) => messages.push(message),
                        None => break,
                    }
                }
            }
        }
        assert!(piece.is_empty(), "without a message, all is taken");
    }
    (messages, None)
}

/// What a [`Wire`] receives, the answers without the acknowledgements, whose place is that of a read, and the error.
/// Values may hold a NaN, so they are compared as text.
type Heard = (Vec<(String, Option<Message>)>, Vec<Message>, Option<WireError>);

fn run_wire(side: u8, pieces: &[&[u8]]) -> Heard {
    let limits = Limits { message_size_before: 1 << 16, aggregate_messages: 8, ..Limits::default() };
    let mut wire = match side & 1 {
        0 => Wire::server(true, &[0x5A; RANDOM], limits),
        _ => Wire::client(HandshakeKind::Simple, &[0x5A; RANDOM], limits),
    };
    let hello = [3; 1 + 2 * 1536];
    let opened = wire.read(&hello).expect("the simple handshake asks for nothing more");
    assert_eq!(opened, (hello.len(), Some(Received::Open(HandshakeKind::Simple))));
    wire.take_output();
    if side & 2 != 0 {
        wire.allow_media();
    }
    let (mut received, mut out, mut error, mut sent) = (Vec::new(), Vec::new(), None, 0);
    'all: for mut piece in pieces.iter().copied() {
        sent += piece.len();
        loop {
            match wire.read(piece) {
                Ok((used, Some(one))) => {
                    piece = &piece[used..];
                    received.push(match one {
                        Received::Audio(message) | Received::Video(message) | Received::Other(message) => {
                            (String::new(), Some(message))
                        }
                        Received::Data { message, data } => (format!("{data:?}"), Some(message)),
                        other => (format!("{other:?}"), None),
                    });
                }
                Ok((used, None)) => {
                    assert_eq!(used, piece.len(), "without a message, all is taken");
                    break;
                }
                Err(found) => {
                    error = Some(found);
                    break 'all;
                }
            }
        }
        out.append(&mut wire.take_output());
    }
    out.append(&mut wire.take_output());
    assert!(out.len() <= 4 * sent, "{} bytes of answers to {sent}", out.len());
    let limits = ReadLimits::before(&Limits::default());
    let (mut answers, broken) = run_reader(&[&out], &limits);
    assert_eq!(broken, None);
    answers.retain(|answer| answer.kind != kind::ACKNOWLEDGEMENT);
    (received, answers, error)
}

/// A place to cut that the input itself decides, so that a fuzzer reaches all of them.
fn split_point(data: &[u8]) -> usize {
    let sum = data.iter().fold(0_usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    sum % (data.len() + 1)
}
