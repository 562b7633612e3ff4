//! From bytes to messages.

use crtmp_media::{Slice, SliceWriter};

use super::{ChunkError, DEFAULT_CHUNK_SIZE, Message, ROOM, ReadLimits};
use crate::{
    few::Few,
    message::{Control, kind},
};

/// The receiving half of a chunk stream.
///
/// Bytes go in as they arrive, in any split; messages come out whole. The reader keeps only what is unfinished:
/// at most one chunk header, and of each unfinished message the bytes that came. Memory follows what a peer
/// sent, never what it announced.
///
/// *Set Chunk Size* and *Abort* are obeyed here and not returned; [`ChunkReader::messages`] counts them.
///
/// # Where peers differ
///
/// - **Extended time on format 3.** The specification repeats the four bytes, old librtmp does not. The first
///   format-3 chunk of a chunk stream that could have them decides for that chunk stream: it is compared with
///   the time that a repeating peer would send. A peer that does not repeat and whose payload begins with
///   exactly these bytes (1 in 2³²) is misread.
///   While it decides, the reader may look up to three bytes beyond a short last chunk, so that message waits for
///   the next bytes.
/// - **Extended time on formats 1 and 2** is a delta; it is read as absolute if time would jump by more than 2³¹,
///   or if that makes it a short step forward (a delta would be a step of more than four hours).
/// - **Format 3 that begins a message after format 0**: see [`ChunkReader::set_flash_like`].
/// - **A chunk stream that begins with format 1** (librtmp's pings) is taken to belong to message stream 0.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: usize,
    streams: Few<ChunkStream>,
    header: HeaderBytes,
    payload: Option<Payload>,
    /// Bytes that were read ahead as a possible extended time and were none: at most 3, and seldom any.
    replay: Vec<u8>,
    partial_bytes: usize,
    bytes: u64,
    messages: u64,
    flash_like: bool,
    /// There is no room for what comes next, and there may be later ([`ReadLimits::wait`]).
    waiting: bool,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkReader {
    /// A reader for a connection whose handshake just ended.
    pub const fn new() -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE as usize,
            streams: Few::new(),
            header: HeaderBytes::new(),
            payload: None,
            replay: Vec::new(),
            partial_bytes: 0,
            bytes: 0,
            messages: 0,
            flash_like: false,
            waiting: false,
        }
    }

    /// Reads until one message is whole or `data` is used up; gives the number of bytes taken, and the message.
    ///
    /// Without a message, all of `data` was taken, unless the reader waits for more room as [`ReadLimits::wait`]
    /// says. With one, call again with the rest, even if the rest is empty. How `data` is split never changes the
    /// messages.
    ///
    /// # Errors
    ///
    /// See [`ChunkError`]. The reader must not be used afterwards.
    pub fn read(&mut self, data: &[u8], limits: &ReadLimits) -> Result<(usize, Option<Message>), ChunkError> {
        let mut used = 0;
        self.waiting = false;
        loop {
            let ahead = std::mem::take(&mut self.replay);
            let message = if ahead.is_empty() {
                let (step, message) = self.step(&data[used..], limits)?;
                used += step;
                self.bytes += step as u64;
                message
            } else {
                let (step, message) = self.step(&ahead, limits)?;
                self.replay.extend_from_slice(&ahead[step..]);
                message
            };
            if let Some(message) = message
                && let Some(message) = self.obey(message)?
            {
                return Ok((used, Some(message)));
            }
            if self.waiting || used == data.len() && self.replay.is_empty() {
                return Ok((used, None));
            }
        }
    }

    /// Says whether the peer is a Flash Player or FMLE, which the `connect` command tells by `flashVer`.
    ///
    /// The specification (§5.3.1.2.4) lets a message that begins with format 3 after format 0 add the time of
    /// that format 0 once more. Nobody but Flash does; others mean "the same time". Even from Flash the sum is
    /// taken only while it keeps time within one second.
    pub const fn set_flash_like(&mut self, flash_like: bool) {
        self.flash_like = flash_like;
    }

    /// The peer's chunk size in bytes.
    pub const fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// All bytes taken so far; the handshake is not among them.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All messages completed so far, with those that the reader obeyed itself.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of unfinished messages held at the moment.
    pub const fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    pub(crate) fn fetch(&self) {
        self.streams.fetch();
    }

    /// Reads the rest of one chunk, as far as `input` has it.
    fn step(&mut self, input: &[u8], limits: &ReadLimits) -> Result<(usize, Option<Message>), ChunkError> {
        let mut used = 0;
        if self.payload.is_none() {
            used = self.read_header(input, limits)?;
            if self.waiting || !self.replay.is_empty() {
                return Ok((used, None));
            }
        }
        let Some(payload) = self.payload.take() else { return Ok((used, None)) };
        let (step, message) = self.read_payload(payload, &input[used..], limits)?;
        Ok((used + step, message))
    }

    /// Completes a chunk header and sets `payload`, or keeps what there is of the header.
    fn read_header(&mut self, input: &[u8], limits: &ReadLimits) -> Result<usize, ChunkError> {
        let mut used = self.header.fill(input);
        let Some(header) = self.header.parse() else { return Ok(used) };
        if header.format == 3 {
            let Some(stream) = self.streams.get_mut(header.csid) else {
                return Err(ChunkError::NoHeader { csid: header.csid, format: 3 });
            };
            let repeated = stream.read_repeated_time(&mut self.header, header.size, &input[used..]);
            used += repeated.used;
            self.replay.extend_from_slice(repeated.ahead.as_slice());
            if !repeated.done {
                return Ok(used);
            }
        }
        if limits.wait && header.announces() > limits.message_size {
            self.waiting = true;
            return Ok(used);
        }
        self.header = HeaderBytes::new();
        self.begin_chunk(&header, limits)?;
        Ok(used)
    }

    fn begin_chunk(&mut self, header: &Header, limits: &ReadLimits) -> Result<(), ChunkError> {
        let &Header { csid, format, .. } = header;
        if !self.streams.contains_key(csid) {
            if format > 1 {
                return Err(ChunkError::NoHeader { csid, format });
            }
            if self.streams.len() >= limits.chunk_streams {
                return Err(ChunkError::ChunkStreams { csid, limit: limits.chunk_streams });
            }
            self.streams.insert(csid, ChunkStream::default());
        }
        let stream = self.streams.get_mut(csid).expect("it was just made");
        let received = match (&stream.body, format) {
            (Some(body), 3) => body.len(),
            (Some(_), _) => return Err(ChunkError::HeaderInsideMessage { csid, format }),
            (None, _) => {
                stream.begin_message(header, self.flash_like);
                if stream.length > limits.message_size {
                    let (length, limit) = (stream.length, limits.message_size);
                    return Err(ChunkError::MessageSize { csid, length, limit });
                }
                stream.body = Some(Unfinished::default());
                0
            }
        };
        self.payload = Some(Payload { csid, left: self.chunk_size.min(stream.length - received) });
        Ok(())
    }

    fn read_payload(
        &mut self,
        Payload { csid, left }: Payload,
        input: &[u8],
        limits: &ReadLimits,
    ) -> Result<(usize, Option<Message>), ChunkError> {
        let stream = self.streams.get_mut(csid).expect("a chunk belongs to a chunk stream with a header");
        let body = stream.body.as_mut().expect("a chunk belongs to an unfinished message");
        let mut step = left.min(input.len());
        let room = limits.partial_bytes.saturating_sub(self.partial_bytes);
        if step > room {
            if !limits.wait {
                return Err(ChunkError::PartialBytes { csid, limit: limits.partial_bytes });
            }
            self.waiting = true;
            step = room;
        }
        if step == stream.length {
            let message = stream.finish(csid, Slice::behind_room(ROOM, &input[..step]));
            self.messages += 1;
            return Ok((step, Some(message)));
        }
        // The bytes at hand pay for one exact allocation; with others unfinished they could be made to pay for
        // many, so then the buffer grows with what came.
        let whole_at_hand = self.partial_bytes == 0 && input.len() >= stream.length;
        body.append(&input[..step], stream.length, whole_at_hand);
        self.partial_bytes += step;
        if step < left {
            self.payload = Some(Payload { csid, left: left - step });
            return Ok((step, None));
        }
        if body.len() < stream.length {
            return Ok((step, None));
        }
        self.partial_bytes -= body.len();
        self.messages += 1;
        let body = std::mem::take(&mut body.buffer).finish(ROOM);
        Ok((step, Some(stream.finish(csid, body))))
    }

    /// Acts on what concerns the chunk stream itself and gives everything else back.
    fn obey(&mut self, message: Message) -> Result<Option<Message>, ChunkError> {
        if !matches!(message.kind, kind::SET_CHUNK_SIZE | kind::ABORT) {
            return Ok(Some(message));
        }
        match Control::parse(message.kind, &message.body)? {
            Some(Control::SetChunkSize(size)) => {
                self.chunk_size = match size {
                    1..=0x7FFF_FFFF => size as usize,
                    _ => return Err(ChunkError::ChunkSize(size)),
                };
            }
            Some(Control::Abort(csid)) => {
                if let Some(body) = self.streams.get_mut(csid).and_then(|stream| stream.body.take()) {
                    self.partial_bytes -= body.len();
                }
            }
            _ => {}
        }
        Ok(None)
    }
}

/// A chunk whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Payload {
    csid: u32,
    left: usize,
}

/// The body of a message of which more is to come.
#[derive(Debug, Default)]
struct Unfinished {
    /// [`ROOM`] bytes and what came; nothing at all as long as nothing came.
    buffer: SliceWriter,
}

impl Unfinished {
    fn len(&self) -> usize {
        self.buffer.len().saturating_sub(ROOM)
    }

    /// Appends `bytes` to a body that will have `length`; `all` as in [`grow`].
    fn append(&mut self, bytes: &[u8], length: usize, all: bool) {
        let room: &[u8] = if self.buffer.is_empty() { &[0; ROOM] } else { &[] };
        grow(&mut self.buffer, room.len() + bytes.len(), ROOM + length, all);
        self.buffer.append(room);
        self.buffer.append(bytes);
    }
}

/// What a chunk stream remembers from one chunk to the next.
#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// What a message that begins with format 3 adds to the time.
    delta: u32,
    length: usize,
    kind: u8,
    stream: u32,
    /// The extended time of the last chunk of format 0 to 2, if it had one.
    extended: Option<u32>,
    /// Whether the peer repeats the extended time on format 3, once known.
    repeats: Option<bool>,
    /// The peer was seen to put absolute times where deltas belong.
    absolute_deltas: bool,
    /// The unfinished message.
    body: Option<Unfinished>,
}

impl ChunkStream {
    /// The farthest that an absolute time in place of a delta may lie ahead of the last time.
    const NEAR: u32 = 10_000;

    /// Takes over the header of a new message (§5.3.1.2).
    fn begin_message(&mut self, header: &Header, flash_like: bool) {
        if header.format < 3 {
            self.extended = header.extended;
        }
        let time = header.extended.unwrap_or(header.time);
        match header.format {
            0 => {
                self.timestamp = time;
                self.delta = if flash_like && time <= 1000 { time } else { 0 };
                self.stream = header.stream;
            }
            1 | 2 => {
                self.delta = self.read_delta(time, header.extended.is_some());
                self.timestamp = self.timestamp.wrapping_add(self.delta);
            }
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
        if header.format < 2 {
            self.length = header.length;
            self.kind = header.kind;
        }
    }

    /// Ends the present message, whose whole body is `body`.
    fn finish(&mut self, csid: u32, body: Slice) -> Message {
        self.body = None;
        Message { csid, kind: self.kind, stream: self.stream, timestamp: self.timestamp, body }
    }

    /// The step in time that a delta field means.
    ///
    /// An extended delta is a step of at least 4 h 39 min. A value that, read as absolute, lies just ahead of
    /// the last time is far more likely from a sender that puts absolute times there, and so is one that would
    /// step back.
    fn read_delta(&mut self, value: u32, extended: bool) -> u32 {
        if !extended {
            return value;
        }
        let ahead = value.wrapping_sub(self.timestamp);
        if value > 1 << 31 || (1..=Self::NEAR).contains(&ahead) {
            self.absolute_deltas = true;
        }
        if self.absolute_deltas { ahead } else { value }
    }

    /// Reads the extended time of a chunk of format 3, if there is one.
    fn read_repeated_time(&mut self, bytes: &mut HeaderBytes, size: usize, input: &[u8]) -> Repeated {
        let mut repeated = Repeated { used: 0, done: true, ahead: HeaderBytes::new() };
        let Some(extended) = self.extended else { return repeated };
        if self.repeats == Some(false) {
            return repeated;
        }
        let absolute = match self.body {
            Some(_) => self.timestamp,
            None => self.timestamp.wrapping_add(self.delta),
        };
        let expected = [extended.to_be_bytes(), absolute.to_be_bytes()];
        while bytes.len < size + 4 {
            let Some(&byte) = input.get(repeated.used) else {
                repeated.done = false;
                return repeated;
            };
            bytes.push(byte);
            let so_far = &bytes.as_slice()[size..];
            if self.repeats.is_none() && !expected.iter().any(|time| time.starts_with(so_far)) {
                self.repeats = Some(false);
                for &byte in &so_far[..so_far.len() - 1] {
                    repeated.ahead.push(byte);
                }
                return repeated;
            }
            repeated.used += 1;
        }
        self.repeats = Some(true);
        repeated
    }
}

/// How reading the extended time of a format-3 chunk went.
struct Repeated {
    /// Bytes taken from the input.
    used: usize,
    /// False if more bytes must come.
    done: bool,
    /// Bytes that were taken and turned out to be no time.
    ahead: HeaderBytes,
}

impl Header {
    /// The length that it gives to a message; 0 where it gives none.
    const fn announces(&self) -> usize {
        if self.format < 2 { self.length } else { 0 }
    }
}

/// The bytes of a chunk header, as far as they came: up to 3 + 11 + 4.
#[derive(Debug)]
struct HeaderBytes {
    bytes: [u8; 18],
    len: usize,
}

/// A chunk header without the extended time of format 3.
struct Header {
    csid: u32,
    format: u8,
    /// The time or delta field.
    time: u32,
    length: usize,
    kind: u8,
    stream: u32,
    extended: Option<u32>,
    /// Bytes of it.
    size: usize,
}

impl HeaderBytes {
    const fn new() -> Self {
        Self { bytes: [0; 18], len: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Takes what is missing from `input` and gives the number of bytes taken.
    fn fill(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let step = self.size().saturating_sub(self.len).min(input.len() - used);
            if step == 0 {
                return used;
            }
            self.bytes[self.len..self.len + step].copy_from_slice(&input[used..used + step]);
            self.len += step;
            used += step;
        }
    }

    /// Bytes that the header has, as far as can be told from the bytes so far; format 3's time not counted.
    fn size(&self) -> usize {
        let Some(&first) = self.as_slice().first() else { return 1 };
        let basic = basic_size(first);
        let size = basic + MESSAGE_HEADER_SIZES[usize::from(first >> 6)];
        let time = &self.bytes[basic..basic + 3];
        if first >> 6 < 3 && self.len >= size && time == [0xFF; 3] { size + 4 } else { size }
    }

    /// The header, once all of it is there.
    fn parse(&self) -> Option<Header> {
        let size = self.size();
        if self.len < size {
            return None;
        }
        let format = self.bytes[0] >> 6;
        let csid = match (self.bytes[0] & 63, self.bytes[1], self.bytes[2]) {
            (0, low, _) => u32::from(low) + 64,
            (1, low, high) => u32::from(high) * 256 + u32::from(low) + 64,
            (csid, ..) => u32::from(csid),
        };
        let fields: &[u8; 15] = self.bytes[basic_size(self.bytes[0])..].first_chunk()?;
        let extended_at = MESSAGE_HEADER_SIZES[usize::from(format)];
        let time = u32::from_be_bytes([0, fields[0], fields[1], fields[2]]);
        let extended = *fields[extended_at..].first_chunk()?;
        Some(Header {
            csid,
            format,
            time,
            length: u32::from_be_bytes([0, fields[3], fields[4], fields[5]]) as usize,
            kind: fields[6],
            stream: u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]),
            extended: (format < 3 && time == 0xFF_FFFF).then_some(u32::from_be_bytes(extended)),
            size,
        })
    }
}

/// Bytes of the message header of each format, without extended time (§5.3.1.2).
const MESSAGE_HEADER_SIZES: [usize; 4] = [11, 7, 3, 0];

/// Bytes of the basic header that begins with `first` (§5.3.1.1).
const fn basic_size(first: u8) -> usize {
    match first & 63 {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

/// Makes room for `more` bytes in a body that will have `length`: all at once, or twice what there is.
pub(super) fn grow(body: &mut SliceWriter, more: usize, length: usize, all: bool) {
    let needed = body.len() + more;
    if needed > body.capacity() {
        let target = if all { length } else { needed.max(body.capacity() * 2).min(length) };
        body.grow_to(target);
    }
}
