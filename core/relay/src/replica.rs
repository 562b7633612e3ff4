//! The replica of a stream: on each worker that has players of it.

use std::time::{Duration, Instant};

use crtmp_media::{Encoder, Format, Frame, Limits, MediaKind, Role, View, ahead};

use crate::{
    ConnectionId, Delivery, Generation, Start, StreamKey,
    gop::Gop,
    log::{Log, Position},
    members::Members,
    merge::Level,
};

/// How many packets a log may grow by before it is trimmed, where no key frame says when.
const TRIM_EVERY: u64 = 256;

/// Between video frames that are further apart than this nothing waits for the next one.
const VIDEO_GAP_MAX: Duration = Duration::from_millis(500);

/// Encodes a stream's frames once per format and keeps the logs that players are cursors of.
pub(crate) struct Replica {
    pub(crate) key: StreamKey,
    pub(crate) generation: Option<Generation>,
    pub(crate) state: State,
    pub(crate) delivery: Delivery,
    pub(crate) logs: Vec<FormatLog>,
    /// Headers, and the present group unless the home keeps it on this very worker.
    pub(crate) gop: Gop,
    at_home: bool,
    /// Logs whose players can be sent nothing of what comes.
    pub(crate) dark: Vec<Format>,
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
    pub(crate) players: Members,
    /// What has come since the last round of sending.
    pub(crate) pending: Option<Pending>,
    /// A round of sending to its players is under way.
    pub(crate) in_round: bool,
    /// Where the log ended when the last round of sending began.
    pub(crate) served_to: Position,
    /// When the relay looks at it again.
    pub(crate) armed: Option<Instant>,
    /// The list of the last round, kept for its memory.
    pub(crate) spare: Vec<ConnectionId>,
    /// The last window of the merge rule in which it was counted.
    pub(crate) window: u64,
    last_video: Option<Instant>,
    video_gap: Duration,
    trimmed_at: u64,
}

/// Messages that wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// When the oldest of them came.
    pub(crate) since: Instant,
    /// Whether a video frame is among them.
    video: bool,
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
            at_home: false,
            dark: Vec::new(),
            dts: i64::MIN,
            floor: i64::MIN,
        }
    }

    /// The log of `format`.
    pub(crate) fn log_mut(&mut self, format: Format) -> Option<&mut FormatLog> {
        self.logs.iter_mut().find(|log| log.format == format)
    }

    /// The number of players.
    pub(crate) fn players(&self) -> usize {
        self.logs.iter().map(|log| log.players.all().len()).sum()
    }

    /// A publish begins; `at_home` says that its home is on this worker.
    pub(crate) fn start(&mut self, generation: Generation, at_home: bool) {
        self.at_home = at_home;
        self.generation = Some(generation);
        self.state = State::Live;
        self.floor = self.dts;
        self.gop.clear();
        self.gap();
    }

    /// A publish begins that continues the last one, picture by picture. Returns whether the codecs are what they were.
    pub(crate) fn go_on(&mut self, generation: Generation, at_home: bool, snapshot: &[Frame]) -> bool {
        let known = |frame: &Frame| {
            self.gop.headers().iter().any(|known| {
                (known.kind, known.track, known.role) == (frame.kind, frame.track, frame.role)
                    && known.body == frame.body
            })
        };
        if !snapshot.iter().filter(|frame| frame.role == Role::Config).all(known) {
            return false;
        }
        self.at_home = at_home;
        self.generation = Some(generation);
        self.state = State::Live;
        true
    }

    /// Takes headers and the present group for newcomers; those who are there have had them.
    pub(crate) fn remember(&mut self, snapshot: &[Frame], limits: &Limits) {
        self.gop.clear();
        for frame in snapshot {
            if self.at_home || self.delivery.start == Start::Next {
                self.gop.push_header(frame, limits);
            } else {
                self.gop.push(frame.clone(), limits);
            }
        }
    }

    /// Frames were lost.
    pub(crate) fn gap(&mut self) {
        // Newcomers must not get a group with a hole.
        self.gop.clear_frames();
        for format in &mut self.logs {
            format.log.gap();
        }
    }

    /// Takes a frame of the home.
    pub(crate) fn frame(&mut self, frame: &Frame, now: Instant, limits: &Limits) {
        let dts = frame.dts.max(self.floor);
        self.dts = self.dts.max(dts);
        if self.at_home || self.delivery.start == Start::Next {
            self.gop.push_header(frame, limits);
        } else {
            self.gop.push(frame.clone(), limits);
        }
        for format in &mut self.logs {
            if format.log.push(frame, dts, self.gop.headers(), now, limits) {
                format.note(frame, now);
            } else if format.log.is_dark(now) {
                self.dark.push(format.format);
            }
        }
    }

    /// Asks for the memory that a frame, or sending it, will need.
    pub(crate) fn fetch(&self, depth: usize) {
        match depth {
            0 => ahead::fetch(self),
            1 => ahead::fetch(self.logs.as_slice()),
            2 => self.logs.iter().for_each(FormatLog::fetch),
            _ => {}
        }
    }

    /// Whether there is room for one more log for players that are not sent everything.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.logs.iter().filter(|log| log.format.view != View::ALL).count() < limits.stream_views
    }

    /// Whether there is a log of `format`.
    pub(crate) fn has_log(&self, format: Format) -> bool {
        self.logs.iter().any(|log| log.format == format)
    }

    /// The log of `format`; where it is new, made from the present `group`, headers first.
    pub(crate) fn log_of(
        &mut self,
        format: Format,
        encoder: impl FnOnce() -> Box<dyn Encoder>,
        group: &[Frame],
        now: Instant,
        limits: &Limits,
    ) -> usize {
        if let Some(index) = self.logs.iter().position(|log| log.format == format) {
            return index;
        }
        let mut log = Log::new(encoder(), format.view);
        for frame in group {
            log.push(frame, frame.dts.max(self.floor), self.gop.headers(), now, limits);
        }
        self.logs.push(FormatLog::new(format, log));
        self.logs.len() - 1
    }
}

impl FormatLog {
    fn fetch(&self) {
        self.log.fetch();
        ahead::fetch(&self.players.all()[..self.players.all().len().min(1)]);
    }

    fn new(format: Format, log: Log) -> Self {
        Self {
            format,
            log,
            players: Members::default(),
            pending: None,
            in_round: false,
            served_to: 0,
            armed: None,
            spare: Vec::new(),
            window: 0,
            last_video: None,
            video_gap: Duration::ZERO,
            trimmed_at: 0,
        }
    }

    /// Notes that `frame` is to be sent.
    fn note(&mut self, frame: &Frame, now: Instant) {
        let picture = frame.kind == MediaKind::Video && !frame.role.is_header();
        let pending = self.pending.get_or_insert(Pending { since: now, video: false });
        pending.video |= picture;
        if picture {
            let gap = self.last_video.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
            self.video_gap = if gap > VIDEO_GAP_MAX { Duration::ZERO } else { gap };
            self.last_video = Some(now);
        }
    }

    /// When what is pending is to be sent.
    pub(crate) fn due(&self, level: Level, now: Instant) -> Option<Instant> {
        let Pending { since, video } = self.pending?;
        let latest = |wait| since.checked_add(wait).unwrap_or(now);
        Some(match level {
            Level::Off => since,
            Level::Ride(_) if video => since,
            Level::Ride(wait) | Level::Fixed(wait) => latest(wait),
            Level::Hold(wait) => {
                let latest = latest(wait);
                // It would have to leave just before the next video frame: better with this one.
                let next = self.last_video.and_then(|last| last.checked_add(self.video_gap));
                if video && next.is_some_and(|next| next > latest) { since } else { latest }
            }
        })
    }

    /// Whether it is time to look for packets that nobody needs: once per group, or after many packets.
    pub(crate) fn wants_trim(&mut self, keeps_group: bool) -> bool {
        let every = if keeps_group {
            TRIM_EVERY
        } else {
            // Looking at all players must not cost more than they do.
            (self.players.all().len() as u64).clamp(1, TRIM_EVERY)
        };
        let key_in_place = self.log.newest_key().is_some_and(|key| key >= self.trimmed_at);
        if key_in_place || self.log.end() - self.trimmed_at >= every {
            self.trimmed_at = self.log.end();
            return true;
        }
        false
    }
}
