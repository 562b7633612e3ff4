//! The replica of a stream: on each worker that has players of it.

use std::{sync::Arc, time::Instant};

use crtmp_media::{Encoder, Format, Frame, Limits};

use crate::{Delivery, Generation, StreamKey, gop::Gop, log::Log, relay::PlayerId};

/// How many packets a log may grow by before it is trimmed, where no key frame says when.
const TRIM_EVERY: u64 = 256;

/// Encodes a stream's frames once per format and keeps the logs that players are cursors of.
pub(crate) struct Replica {
    pub(crate) key: StreamKey,
    pub(crate) generation: Option<Generation>,
    pub(crate) state: State,
    pub(crate) delivery: Delivery,
    pub(crate) logs: Vec<FormatLog>,
    pub(crate) gop: Gop,
    /// The newest time that players have been given, in ms: later publishers do not go behind it.
    dts: i64,
    floor: i64,
}

/// Whether a replica has a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No publisher has come yet.
    Waiting,
    /// Frames come.
    Live,
    /// The publisher has gone; players are told at this time.
    Ending(Instant),
}

/// A log, its format and its players.
pub(crate) struct FormatLog {
    pub(crate) format: Format,
    pub(crate) log: Log,
    pub(crate) players: Vec<PlayerId>,
    pub(crate) dirty: bool,
    trimmed_at: u64,
}

impl Replica {
    pub(crate) fn new(key: StreamKey, delivery: Delivery) -> Self {
        Self {
            key,
            generation: None,
            state: State::Waiting,
            delivery,
            logs: Vec::new(),
            gop: Gop::default(),
            dts: i64::MIN,
            floor: i64::MIN,
        }
    }

    /// The number of players.
    pub(crate) fn players(&self) -> usize {
        self.logs.iter().map(|log| log.players.len()).sum()
    }

    /// A publish begins.
    pub(crate) fn start(&mut self, generation: Generation) {
        self.generation = Some(generation);
        self.state = State::Live;
        self.floor = self.dts;
        self.gop.clear();
        self.gap();
    }

    /// Frames were lost.
    pub(crate) fn gap(&mut self) {
        for format in &mut self.logs {
            format.log.gap();
        }
    }

    /// Takes a frame of the home.
    pub(crate) fn frame(&mut self, frame: &Arc<Frame>, now: Instant, limits: &Limits) {
        let dts = frame.dts.max(self.floor);
        self.dts = self.dts.max(dts);
        self.gop.push(frame, limits);
        for format in &mut self.logs {
            format.dirty |= format.log.push(frame, dts, self.gop.headers(), now, limits);
        }
    }

    /// The log of `format`, made from what is kept where it is new.
    pub(crate) fn log_of(
        &mut self,
        format: Format,
        encoder: impl FnOnce() -> Box<dyn Encoder>,
        now: Instant,
        limits: &Limits,
    ) -> usize {
        if let Some(index) = self.logs.iter().position(|log| log.format == format) {
            return index;
        }
        let mut log = Log::new(encoder());
        for frame in self.gop.snapshot() {
            log.push(&frame, frame.dts.max(self.floor), self.gop.headers(), now, limits);
        }
        self.logs.push(FormatLog { format, log, players: Vec::new(), dirty: false, trimmed_at: 0 });
        self.logs.len() - 1
    }
}

impl FormatLog {
    /// Whether it is time to look for packets that nobody needs: once per group, or after many packets.
    pub(crate) fn wants_trim(&mut self) -> bool {
        let key_in_place = self.log.newest_key().is_some_and(|key| key > self.trimmed_at);
        if key_in_place || self.log.end() - self.trimmed_at >= TRIM_EVERY {
            self.trimmed_at = self.log.end();
            return true;
        }
        false
    }
}
