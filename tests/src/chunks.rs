//! What a server sends, chunk by chunk, put together again.

use std::collections::HashMap;

use crate::wire::Message;

/// Bytes that have been used are forgotten when there are so many.
const FORGET: usize = 256 * 1024;

/// Reads messages out of chunks. It obeys Set Chunk Size, and understands every valid header.
#[derive(Debug)]
pub struct Chunks {
    bytes: Vec<u8>,
    /// How many of the bytes have been used.
    used: usize,
    size: usize,
    streams: HashMap<u32, Incoming>,
}

/// A chunk stream as the server has used it so far.
#[derive(Debug, Default)]
struct Incoming {
    /// What is there of the message that has begun; its header stays for those that follow.
    message: Message,
    length: usize,
    extended: bool,
    delta: u32,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { bytes: Vec::new(), used: 0, size: 128, streams: HashMap::new() }
    }
}

impl Chunks {
    /// Takes in what has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Panics
    ///
    /// If Set Chunk Size does not hold four bytes.
    pub fn message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.chunk()? {
                if message.kind == 1 {
                    let size =
                        <[u8; 4]>::try_from(&message.payload[..]).expect("four bytes in Set Chunk Size");
                    self.size = u32::from_be_bytes(size) as usize;
                }
                return Some(message);
            }
        }
    }

    /// Exactly so many bytes as they came, if they are there.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let bytes = self.bytes[self.used..].get(..count)?.to_vec();
        self.forget(count);
        Some(bytes)
    }

    /// How many bytes have not become messages yet.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// All bytes that have not become messages.
    pub fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.used);
        self.forget(0);
        rest
    }

    /// Takes one whole chunk: `None` if it is not all there, `Some(None)` if it does not end a message.
    fn chunk(&mut self) -> Option<Option<Message>> {
        let start = &self.bytes[self.used..];
        let mut rest = start;
        let first = number(&mut rest, 1)?;
        let id = match first & 0x3f {
            0 => 64 + number(&mut rest, 1)?,
            1 => {
                let low = number(&mut rest, 1)?;
                64 + low + 256 * number(&mut rest, 1)?
            }
            id => id,
        };
        let state = self.streams.entry(id).or_default();
        let format = first >> 6;
        let Message { mut kind, mut stream, mut time, .. } = state.message;
        let Incoming { mut length, mut delta, mut extended, .. } = *state;
        if format < 3 {
            delta = number(&mut rest, 3)?;
            extended = delta == 0xff_ffff;
        }
        if format < 2 {
            length = number(&mut rest, 3)? as usize;
            kind = number(&mut rest, 1)? as u8;
        }
        if format == 0 {
            stream = number(&mut rest, 4)?.swap_bytes();
        }
        if extended {
            delta = number(&mut rest, 4)?;
        }
        if state.message.payload.is_empty() {
            time = if format == 0 { delta } else { time.wrapping_add(delta) };
        }
        let part = rest.get(..self.size.min(length - state.message.payload.len()))?;
        state.message.payload.extend_from_slice(part);
        let used = start.len() - rest.len() + part.len();
        (state.length, state.delta, state.extended) = (length, delta, extended);
        state.message = Message {
            chunk_stream: id,
            kind,
            stream,
            time,
            payload: std::mem::take(&mut state.message.payload),
        };
        let whole = (state.message.payload.len() == length).then(|| {
            let payload = std::mem::take(&mut state.message.payload);
            Message { payload, ..state.message }
        });
        self.forget(used);
        Some(whole)
    }

    /// Notes that `count` bytes more have been used.
    fn forget(&mut self, count: usize) {
        self.used += count;
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        } else if self.used > FORGET {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
    }
}

/// A big-endian number of `width` bytes, taken from `bytes` if they are there.
fn number(bytes: &mut &[u8], width: usize) -> Option<u32> {
    let (head, tail) = bytes.split_at_checked(width)?;
    *bytes = tail;
    Some(head.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(chunk_stream: u32, time: u32, length: usize) -> Message {
        let payload = (0..length).map(|index| (index % 251) as u8).collect();
        Message { chunk_stream, kind: 9, stream: 1, time, payload }
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let sent = [message(3, 0, 300), message(6, 0x0100_0000, 128), message(6, 40, 0), message(4, 50, 129)];
        let bytes: Vec<u8> = sent.iter().flat_map(|message| message.chunks(128)).collect();
        for step in [1, 7, 1000] {
            let mut chunks = Chunks::default();
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                chunks.feed(part);
                found.extend(std::iter::from_fn(|| chunks.message()));
            }
            assert_eq!(found, sent, "{step} bytes at a time");
            assert!(chunks.rest().is_empty());
        }
    }

    #[test]
    fn short_headers_go_on_from_the_one_before() {
        let mut chunks = Chunks::default();
        chunks.feed(&[6, 0, 0, 10, 0, 0, 1, 9, 1, 0, 0, 0, 0xaa]);
        chunks.feed(&[0x46, 0, 0, 40, 0, 0, 2, 8, 0xbb, 0xcc]);
        chunks.feed(&[0x86, 0, 0, 20, 0xdd, 0xee]);
        chunks.feed(&[0xc6, 0xff, 0xff]);
        let found: Vec<_> = std::iter::from_fn(|| chunks.message())
            .map(|message| (message.kind, message.stream, message.time, message.payload.len()))
            .collect();
        assert_eq!(found, [(9, 1, 10, 1), (8, 1, 50, 2), (8, 1, 70, 2), (8, 1, 90, 2)]);
    }

    #[test]
    fn a_chunk_size_is_obeyed() {
        let mut chunks = Chunks::default();
        let size = Message { chunk_stream: 2, kind: 1, payload: vec![0, 0, 1, 0], ..Message::default() };
        chunks.feed(&size.chunks(128));
        chunks.feed(&message(6, 0, 256).chunks(256));
        assert_eq!(std::iter::from_fn(|| chunks.message()).count(), 2);
    }
}
