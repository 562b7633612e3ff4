//! The synthetic stream: shaped like H.264 and AAC, and recognised as such by players.

use std::sync::Arc;

use crtmp_media::Value;
use crtmp_rtmp::chunk::{ChunkWriter, encode_message};
use crtmp_rtmp::message::{Data, kind};
use serde::{Deserialize, Serialize};

use crate::clock::{MILLISECOND, SECOND};
use crate::stamp::{FrameKind, Stamp};

/// When audio leaves the publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bundling {
    /// When it is due, so that each message is a write of its own.
    #[default]
    Separate,
    /// With the next picture, in one write.
    WithVideo,
}

/// What a stream looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Audio and video together, in bits per second of payload.
    pub bitrate: u64,
    /// Audio alone, in bits per second of payload; 0: no audio.
    pub audio_bitrate: u64,
    /// Audio messages per second.
    pub audio_rate: u64,
    /// Pictures per second.
    pub frame_rate: u64,
    /// Pictures from one key frame to the next.
    pub gop: u64,
    /// How many times larger a key frame is than another picture.
    pub key_weight: u64,
    /// Whether every other picture between key frames is marked as one that no other needs.
    pub disposable: bool,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// When audio leaves.
    pub bundling: Bundling,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            bitrate: 500_000,
            audio_bitrate: 32_000,
            audio_rate: 43,
            frame_rate: 25,
            gop: 50,
            key_weight: 6,
            disposable: false,
            chunk_size: 4096,
            bundling: Bundling::Separate,
        }
    }
}

impl Shape {
    /// Bytes of the payload of one audio message.
    pub fn audio_size(&self) -> usize {
        (self.audio_bitrate / 8 / self.audio_rate.max(1)) as usize
    }

    /// Bytes of the payload of one picture.
    pub fn picture_size(&self, key: bool) -> usize {
        let group = self.bitrate.saturating_sub(self.audio_bitrate) / 8 * self.gop / self.frame_rate;
        let inter = group / (self.gop - 1 + self.key_weight);
        (if key { inter * self.key_weight } else { inter }) as usize
    }

    /// Nanoseconds from one key frame to the next.
    pub const fn gop_time(&self) -> u64 {
        self.gop * SECOND / self.frame_rate
    }
}

/// A frame that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub kind: FrameKind,
    /// The instant at which it was due, in nanoseconds.
    pub due: u64,
}

/// A stream that makes its frames when they are due.
#[derive(Debug)]
pub struct Source {
    shape: Shape,
    epoch: u64,
    pictures: u64,
    audios: u64,
    references: u64,
    gop: u64,
    filler: Arc<[u8]>,
}

/// The chunk streams that the source uses.
const AUDIO: u32 = 4;
const DATA: u32 = 5;
const VIDEO: u32 = 6;

/// An AVC decoder configuration: 1280×720, main profile.
const AVC: &[u8] = &[
    0x17, 0x00, 0x00, 0x00, 0x00, 0x01, 0x4D, 0x40, 0x1F, 0xFF, 0xE1, 0x00, 0x19, 0x67, 0x4D, 0x40, 0x1F,
    0xD9, 0x00, 0x50, 0x05, 0xBB, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20,
    0xF1, 0x83, 0x24, 0x80, 0x01, 0x00, 0x05, 0x68, 0xEB, 0xC3, 0xCB, 0x20,
];

/// An audio configuration: AAC LC, 44100 Hz, two channels.
const AAC: &[u8] = &[0xAF, 0x00, 0x12, 0x10];

impl Source {
    /// Bytes before the stamp in the body of a picture: the FLV header, the length and the header of the NAL unit.
    pub const PICTURE_PREFIX: usize = 10;

    /// Bytes before the stamp in the body of an audio message: the FLV header.
    pub const AUDIO_PREFIX: usize = 2;

    /// A stream whose first frame is due at `epoch`, in nanoseconds of [`clock::now`](crate::clock::now).
    pub fn new(shape: Shape, epoch: u64, filler: Arc<[u8]>) -> Self {
        Self { shape, epoch, pictures: 0, audios: 0, references: 0, gop: 0, filler }
    }

    /// Bytes that can fill every frame of `shape`.
    pub fn filler(shape: &Shape) -> Arc<[u8]> {
        // No byte is 0, so nothing in it looks like a start code.
        (0..shape.picture_size(true)).map(|index| (index % 251) as u8 + 1).collect()
    }

    /// What the stream looks like.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// When the next write is due, in nanoseconds.
    pub fn due(&self) -> u64 {
        let picture = self.picture_due(self.pictures);
        match self.shape.bundling {
            Bundling::Separate => picture.min(self.audio_due()),
            Bundling::WithVideo => picture,
        }
    }

    /// Appends what comes before all frames: Set Chunk Size, metadata, configurations.
    pub fn headers(&self, out: &mut Vec<u8>, stream: u32) {
        let shape = &self.shape;
        ChunkWriter::new().set_chunk_size(out, shape.chunk_size);
        let kbit = |bits: u64| Value::Number(bits as f64 / 1000.0);
        let members = [
            ("width", Value::Number(1280.0)),
            ("height", Value::Number(720.0)),
            ("framerate", Value::Number(shape.frame_rate as f64)),
            ("videocodecid", Value::Number(7.0)),
            ("videodatarate", kbit(shape.bitrate.saturating_sub(shape.audio_bitrate))),
            ("audiocodecid", Value::Number(10.0)),
            ("audiodatarate", kbit(shape.audio_bitrate)),
            ("audiosamplerate", Value::Number(44100.0)),
            ("stereo", Value::Boolean(true)),
        ];
        let members = members.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let metadata =
            Data { name: "@setDataFrame".into(), args: vec!["onMetaData".into(), Value::EcmaArray(members)] };
        let mut body = Vec::new();
        metadata.encode(&mut body);
        self.message(out, DATA, 0, kind::DATA, stream, &[&body]);
        self.message(out, VIDEO, 0, kind::VIDEO, stream, &[AVC]);
        if shape.audio_bitrate > 0 {
            self.message(out, AUDIO, 0, kind::AUDIO, stream, &[AAC]);
        }
    }

    /// Appends the next frame, due or not. With [`Bundling::WithVideo`] it is the next of a write, and the write ends
    /// with a picture.
    pub fn write(&mut self, out: &mut Vec<u8>, stream: u32) -> Written {
        let (picture, audio) = (self.picture_due(self.pictures), self.audio_due());
        if audio < picture {
            let due = match self.shape.bundling {
                Bundling::Separate => audio,
                Bundling::WithVideo => picture,
            };
            self.write_audio(out, stream, audio, due)
        } else {
            self.write_picture(out, stream, picture)
        }
    }

    fn write_audio(&mut self, out: &mut Vec<u8>, stream: u32, time: u64, due: u64) -> Written {
        let kind = FrameKind::Audio;
        let stamp = self.stamp(kind, self.audios, due);
        let fill = self.shape.audio_size().saturating_sub(Self::AUDIO_PREFIX + Stamp::SIZE);
        let parts: [&[u8]; 3] = [&[0xAF, 0x01], &stamp, &self.filler[..fill.min(self.filler.len())]];
        self.message(out, AUDIO, self.timestamp(time), kind::AUDIO, stream, &parts);
        self.audios += 1;
        Written { kind, due }
    }

    fn write_picture(&mut self, out: &mut Vec<u8>, stream: u32, due: u64) -> Written {
        let place = self.pictures % self.shape.gop;
        let kind = match place {
            0 => FrameKind::Key,
            _ if self.shape.disposable && place % 2 == 1 => FrameKind::Disposable,
            _ => FrameKind::Inter,
        };
        if kind == FrameKind::Key {
            self.gop = self.pictures / self.shape.gop;
        }
        let stamp = self.stamp(kind, self.pictures, due);
        let size = self.shape.picture_size(kind == FrameKind::Key);
        let fill = size.saturating_sub(Self::PICTURE_PREFIX + Stamp::SIZE).min(self.filler.len());
        let (tag, unit) = match kind {
            FrameKind::Key => (0x17, 0x65),
            FrameKind::Disposable => (0x37, 0x01),
            _ => (0x27, 0x41),
        };
        let [a, b, c, d] = ((1 + Stamp::SIZE + fill) as u32).to_be_bytes();
        let head = [tag, 0x01, 0, 0, 0, a, b, c, d, unit];
        let parts: [&[u8]; 3] = [&head, &stamp, &self.filler[..fill]];
        self.message(out, VIDEO, self.timestamp(due), kind::VIDEO, stream, &parts);
        self.pictures += 1;
        self.references += u64::from(kind != FrameKind::Disposable);
        Written { kind, due }
    }

    fn stamp(&self, kind: FrameKind, sequence: u64, due: u64) -> [u8; Stamp::SIZE] {
        Stamp { kind, sequence, gop: self.gop, references: self.references, due }.encode()
    }

    fn message(&self, out: &mut Vec<u8>, csid: u32, time: u32, kind: u8, stream: u32, parts: &[&[u8]]) {
        encode_message(out, csid, time, kind, stream, parts, self.shape.chunk_size)
            .expect("frames are shorter than 16 MiB");
    }

    fn timestamp(&self, due: u64) -> u32 {
        ((due - self.epoch) / MILLISECOND) as u32
    }

    const fn picture_due(&self, number: u64) -> u64 {
        self.epoch + number * SECOND / self.shape.frame_rate
    }

    const fn audio_due(&self) -> u64 {
        if self.shape.audio_bitrate == 0 {
            return u64::MAX;
        }
        self.epoch + self.audios * SECOND / self.shape.audio_rate
    }
}

/// The stamp in the body of an audio or video message of a [`Source`]; `None` for configurations and other streams.
pub fn stamp_of(kind: u8, body: &[u8]) -> Option<Stamp> {
    match kind {
        kind::AUDIO if body.get(1) == Some(&1) => Stamp::decode(body.get(Source::AUDIO_PREFIX..)?),
        kind::VIDEO if body.get(1) == Some(&1) => Stamp::decode(body.get(Source::PICTURE_PREFIX..)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Limits;
    use crtmp_rtmp::chunk::{ChunkReader, ReadLimits};

    use super::*;

    fn frames(shape: Shape, seconds: u64) -> (usize, Vec<(u32, Stamp)>) {
        let mut source = Source::new(shape, 0, Source::filler(&shape));
        let mut bytes = Vec::new();
        source.headers(&mut bytes, 1);
        let head = bytes.len();
        while source.due() < seconds * SECOND {
            source.write(&mut bytes, 1);
        }
        let (mut reader, mut rest, mut found) = (ChunkReader::new(), &bytes[..], Vec::new());
        while let (used, Some(message)) =
            reader.read(rest, &ReadLimits::after(&Limits::default())).expect("valid chunks")
        {
            rest = &rest[used..];
            if let Some(stamp) = stamp_of(message.kind, &message.body) {
                found.push((message.timestamp, stamp));
            }
        }
        (bytes.len() - head, found)
    }

    #[test]
    fn a_stream_has_the_rate_that_was_asked_for() {
        for bitrate in [500_000, 5_000_000] {
            let (bytes, found) = frames(Shape { bitrate, ..Shape::default() }, 10);
            assert_eq!(found.len(), 10 * 68);
            let got = bytes as f64 * 8.0 / 10.0;
            assert!((got / bitrate as f64 - 1.0).abs() < 0.05, "{got}");
        }
    }

    #[test]
    fn key_frames_come_where_a_group_begins() {
        let (_, found) = frames(Shape { disposable: true, ..Shape::default() }, 5);
        let pictures: Vec<_> = found.iter().filter(|(_, stamp)| stamp.kind.is_picture()).collect();
        for (number, (time, stamp)) in pictures.iter().enumerate() {
            assert_eq!(stamp.sequence, number as u64);
            assert_eq!(u64::from(*time), number as u64 * 40);
            assert_eq!(stamp.kind == FrameKind::Key, number % 50 == 0);
            assert_eq!(stamp.gop, number as u64 / 50);
        }
        assert_eq!(pictures[50].1.references, 25);
    }

    #[test]
    fn bundled_audio_is_due_with_its_picture() {
        let shape = Shape { bundling: Bundling::WithVideo, ..Shape::default() };
        let (_, found) = frames(shape, 2);
        for pair in found.windows(2) {
            assert!(pair[0].1.due <= pair[1].1.due);
            assert_eq!(pair[0].1.due % (40 * MILLISECOND), 0);
        }
    }
}
