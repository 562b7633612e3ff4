//! Frames and an encoder for the tests of this crate.

use std::{
    io::IoSlice,
    time::{Duration, Instant},
};

use crtmp_media::Slice;
use crtmp_media::{Codec, Encoder, Format, Frame, Limits, MediaKind, Packet, Retimed, Role, View};

use crate::{
    Delivery, Flush, Start,
    cursor::{Cursor, Partial, Slices, Wants},
    log::Log,
};

pub(crate) fn frame(kind: MediaKind, role: Role, dts: i64, body: &[u8]) -> Frame {
    Frame {
        kind,
        role,
        codec: Codec::None,
        track: 0,
        dts,
        cts: 0,
        body: Slice::copy_from_slice(body),
        data_at: 0,
    }
}

pub(crate) fn config(dts: i64, body: &[u8]) -> Frame {
    frame(MediaKind::Video, Role::Config, dts, body)
}

pub(crate) fn audio_config(dts: i64, body: &[u8]) -> Frame {
    frame(MediaKind::Audio, Role::Config, dts, body)
}

pub(crate) fn metadata(dts: i64) -> Frame {
    frame(MediaKind::Data, Role::Info, dts, b"meta")
}

pub(crate) fn key(dts: i64) -> Frame {
    frame(MediaKind::Video, Role::Key, dts, format!("K{dts:>7}").as_bytes())
}

pub(crate) fn delta(dts: i64) -> Frame {
    frame(MediaKind::Video, Role::Delta, dts, format!("d{dts:>7}").as_bytes())
}

pub(crate) fn audio(dts: i64) -> Frame {
    frame(MediaKind::Audio, Role::Key, dts, format!("a{dts:>7}").as_bytes())
}

pub(crate) const FORMAT: Format = Format { family: "test", variant: 1, chunk_size: 0, view: View::ALL };

/// Packets that say what they are: body and time.
pub(crate) struct Plain;

impl Encoder for Plain {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let mut bytes = frame.body.to_vec();
        bytes.extend(format!("@{dts};").as_bytes());
        Packet {
            bytes: bytes.into(),
            header_len: 0,
            kind: frame.kind,
            role: frame.role,
            track: frame.track,
            dts,
            cts: frame.cts,
            data_at: 0,
        }
    }

    fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed {
        let body = packet.bytes.iter().position(|byte| *byte == b'@').unwrap();
        let bytes = [&packet.bytes[..body], format!("@{dts};").as_bytes()].concat();
        Retimed::Copy(Packet { bytes: bytes.into(), dts, cts, ..*packet })
    }
}

pub(crate) fn plain(_: Format) -> Box<dyn Encoder> {
    Box::new(Plain)
}

pub(crate) const ALL: Wants = Wants { audio: true, video: true, paused: false };

/// A log and what stands between it and one player.
pub(crate) struct Rig {
    pub(crate) log: Log,
    pub(crate) headers: Vec<Frame>,
    pub(crate) limits: Limits,
    pub(crate) delivery: Delivery,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) partial: Option<Partial>,
    /// Bytes that the system holds of what has been sent.
    pub(crate) unsent: u64,
    sends: u64,
}

impl Rig {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with(Box::new(Plain), Start::Key, limits)
    }

    pub(crate) fn with(encoder: Box<dyn Encoder>, start: Start, limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            log: Log::new(encoder, View::ALL),
            headers: Vec::new(),
            limits,
            delivery: Delivery { start, ..Delivery::default() },
            now,
            start: now,
            partial: None,
            unsent: 0,
            sends: 0,
        }
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        if frame.role.is_header() {
            self.headers = vec![frame.clone()];
        }
        self.now = self.now.max(self.start + Duration::from_millis(u64::try_from(frame.dts).unwrap()));
        self.log.push(&frame, frame.dts, &self.headers, self.now, &self.limits);
    }

    /// Sends up to `room` bytes, as a socket would take them.
    pub(crate) fn send(&mut self, cursor: &mut Cursor, wants: Wants, stalled: bool, room: usize) -> String {
        // As at the begin of a round, now and then: what is sent must not depend on it.
        self.sends += 1;
        if self.sends.is_multiple_of(2) {
            let end = self.log.end();
            self.log.gather(end.saturating_sub(self.sends % 7).max(self.log.base()));
        }
        let flush = Flush { now: self.now, limits: &self.limits, judge: stalled, unsent: self.unsent };
        if !cursor.prepare(&mut self.log, wants, flush, &self.delivery) {
            return "CUT".into();
        }
        let mut slices = Slices::new();
        slices.extend(self.partial.as_ref().map(|partial| IoSlice::new(partial.rest())));
        cursor.fill(&self.log, wants, &mut slices, usize::MAX);
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        drop(slices);
        bytes.truncate(room);
        let mut left = bytes.len();
        if let Some(partial) = self.partial.take() {
            (left, self.partial) = partial.advance(left);
        }
        if self.partial.is_none() {
            (left, self.partial) = cursor.advance(&self.log, wants, left);
        }
        assert_eq!(left, 0);
        String::from_utf8(bytes).unwrap()
    }
}
