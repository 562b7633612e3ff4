//! A stream of numbered pictures: its publisher, and what became of it on its way to a player.
//!
//! Each picture carries its number, and so does the sound that goes with it, so that a player can be asked what it
//! missed without looking into a codec. To the server it is H.264 and AAC.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::wire::{Client, Message};

/// The size of the chunks of the publisher.
const CHUNK: usize = 65_536;
/// The bytes of a picture before its number: the tag of FLV.
const TAG: usize = 5;
/// The bytes of a number.
const NUMBER: usize = 4;
/// The types of messages.
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;

/// What a stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of each picture.
    pub picture: usize,
    /// Pictures from one key frame to the next.
    pub gop: u32,
    /// Time from one picture to the next, in milliseconds.
    pub interval: u32,
}

impl Shape {
    /// Bytes of media in a second.
    pub fn rate(self) -> usize {
        self.picture * 1000 / self.interval as usize
    }

    /// So many pictures, as time.
    pub fn time(self, pictures: u32) -> Duration {
        Duration::from_millis(u64::from(pictures) * u64::from(self.interval))
    }
}

/// A publisher of numbered pictures.
#[derive(Debug)]
pub struct Source {
    client: Client,
    shape: Shape,
    start: Instant,
    sent: u32,
}

impl Source {
    /// Publishes `stream` of the application `live`, and sends what comes before pictures.
    pub fn start(address: SocketAddr, stream: &str, shape: Shape) -> Self {
        Self::of(Client::publisher(address, "live", stream), shape, 0)
    }

    /// A client that publishes on message stream 1 already; its next picture has the number `first`.
    pub fn of(mut client: Client, shape: Shape, first: u32) -> Self {
        let size = u32::try_from(CHUNK).expect("a small number").to_be_bytes();
        client.send(&Message { chunk_stream: 2, kind: 1, payload: size.to_vec(), ..Message::default() });
        let mut source = Self { client, shape, start: Instant::now(), sent: first };
        source.headers();
        source.start = Instant::now().checked_sub(shape.time(first)).expect("the machine runs for longer");
        source
    }

    /// Sends the configurations of its codecs.
    pub fn headers(&mut self) {
        let video = [&[0x17, 0, 0, 0, 0][..], b"\x01\x42\xc0\x1e\xff\xe1\x00\x00\x01\x00\x00"].concat();
        self.send(VIDEO, self.time(), video);
        self.send(AUDIO, self.time(), vec![0xaf, 0, 0x12, 0x10]);
    }

    /// Sends the next picture and its sound now.
    pub fn picture(&mut self) {
        let (number, time) = (self.sent, self.time());
        let first = if self.is_key(number) { 0x17 } else { 0x27 };
        let mut picture = vec![first, 1, 0, 0, 0];
        picture.extend(number.to_be_bytes());
        picture.resize(self.shape.picture - NUMBER, number as u8);
        picture.extend(number.to_be_bytes());
        self.send(VIDEO, time, picture);
        self.send(AUDIO, time, [&[0xaf, 1][..], &number.to_be_bytes()].concat());
        self.sent += 1;
    }

    /// Sends the pictures that are due by the clock.
    pub fn keep_pace(&mut self) {
        while self.start.elapsed() >= self.shape.time(self.sent) {
            self.picture();
        }
    }

    /// The number of the next picture.
    pub fn next(&self) -> u32 {
        self.sent
    }

    /// What the stream is like.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The publisher's connection.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The publisher's connection, for another use.
    pub fn into_client(self) -> Client {
        self.client
    }

    fn is_key(&self, number: u32) -> bool {
        number.is_multiple_of(self.shape.gop)
    }

    fn time(&self) -> u32 {
        self.sent * self.shape.interval
    }

    fn send(&mut self, kind: u8, time: u32, payload: Vec<u8>) {
        let chunk_stream = if kind == VIDEO { 6 } else { 4 };
        let message = Message { chunk_stream, kind, stream: 1, time, payload };
        self.client.write(&message.chunks(CHUNK));
    }
}

/// What a player has got of a numbered stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of the first picture.
    pub first: Option<u32>,
    /// The number of the newest picture.
    pub last: Option<u32>,
    /// How many pictures.
    pub pictures: u32,
    /// How many times pictures were left out.
    pub holes: u32,
    /// The number of the newest sound.
    pub sound: Option<u32>,
    /// How many sounds.
    pub sounds: u32,
    /// What must not be: a hole that does not end with a key frame, numbers that go back, bytes that changed.
    pub wrong: Vec<String>,
}

impl Seen {
    /// Takes in a message; those that are not pictures or sounds count nothing.
    pub fn take(&mut self, message: &Message) {
        match (message.kind, &message.payload[..]) {
            (VIDEO, [first @ (0x17 | 0x27), 1, _, _, _, rest @ ..]) => self.picture(*first == 0x17, rest),
            (AUDIO, [0xaf, 1, number @ ..]) => match <[u8; NUMBER]>::try_from(number) {
                Ok(number) => self.sound(u32::from_be_bytes(number)),
                Err(_) => self.wrong.push(format!("a sound of {} bytes", number.len())),
            },
            (VIDEO, [0x17, 0, ..]) | (AUDIO, [0xaf, 0, ..]) => {}
            (VIDEO | AUDIO, other) => self.wrong.push(format!("{:?}", &other[..other.len().min(8)])),
            _ => {}
        }
    }

    /// Whether every picture and every sound from the first to the newest has come, each once and in order.
    pub fn is_whole(&self) -> bool {
        let span = |last: Option<u32>| last.zip(self.first).map_or(0, |(last, first)| last - first + 1);
        self.wrong.is_empty()
            && self.holes == 0
            && self.pictures == span(self.last)
            && self.sounds == span(self.sound)
    }

    fn picture(&mut self, key: bool, rest: &[u8]) {
        let Some((number, filling)) = rest.split_first_chunk::<NUMBER>() else {
            return self.wrong.push(format!("a picture of {} bytes", rest.len() + TAG));
        };
        let (filling, end) = filling.split_last_chunk::<NUMBER>().unwrap_or((filling, &[0; NUMBER]));
        let value = u32::from_be_bytes(*number);
        if end != number || filling.iter().any(|byte| *byte != value as u8) {
            self.wrong.push(format!("the bytes of picture {value} have changed"));
        }
        match self.last {
            Some(last) if value <= last => self.wrong.push(format!("picture {value} after {last}")),
            Some(last) if value > last + 1 => {
                self.holes += 1;
                if !key {
                    self.wrong.push(format!("picture {value}, which needs others, after {last}"));
                }
            }
            None if !key => self.wrong.push(format!("picture {value}, which needs others, is the first")),
            _ => {}
        }
        self.first.get_or_insert(value);
        self.last = Some(value);
        self.pictures += 1;
    }

    fn sound(&mut self, number: u32) {
        if self.sound.is_some_and(|last| number <= last) {
            self.wrong.push(format!("sound {number} after {:?}", self.sound));
        }
        self.sound = Some(number);
        self.sounds += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(number: u32, key: bool) -> Message {
        let mut payload = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        payload.extend(number.to_be_bytes());
        payload.extend([number as u8; 10]);
        payload.extend(number.to_be_bytes());
        Message { kind: VIDEO, payload, ..Message::default() }
    }

    fn seen(messages: &[Message]) -> Seen {
        let mut seen = Seen::default();
        messages.iter().for_each(|message| seen.take(message));
        seen
    }

    #[test]
    fn what_is_whole_is_told_from_what_is_not() {
        let sound = |number: u32| Message {
            kind: AUDIO,
            payload: [&[0xaf, 1][..], &number.to_be_bytes()].concat(),
            ..Message::default()
        };
        let all = [picture(4, true), sound(4), picture(5, false), sound(5)];
        assert!(seen(&all).is_whole());
        assert!(!seen(&[picture(4, true), picture(5, false), sound(5)]).is_whole(), "a sound is missing");
        let skip = seen(&[picture(4, true), picture(8, true), picture(9, false)]);
        assert_eq!((skip.holes, skip.wrong.len(), skip.is_whole()), (1, 0, false));
    }

    #[test]
    fn what_must_not_be_is_seen() {
        let mut changed = picture(0, true);
        changed.payload[12] ^= 1;
        for messages in [
            &[picture(4, false)][..],
            &[picture(4, true), picture(6, false)],
            &[picture(4, true), picture(4, true)],
            &[changed],
            &[Message { kind: VIDEO, payload: vec![0x17, 1, 0], ..Message::default() }],
        ] {
            assert_eq!(seen(messages).wrong.len(), 1, "{messages:?}");
        }
    }
}
