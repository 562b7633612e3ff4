//! The home of a stream: on the publisher's worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crtmp_media::{Codec, Encoder, Frame, Limits, MediaKind, References, Role, ahead};

use crate::{
    Generation, Recent, RelayMessage, Source, StreamKey, Subscription, WorkerId,
    directory::{Grant, Pulse},
    gop::Gop,
    leader::Leader,
    recent::{Repeated, Repeats, Seen},
    timeline::Timeline,
};

/// Media time in ms after which a stream whose pictures have stopped is one without video.
const VIDEO_GONE: i64 = 5000;

/// Puts a publisher's frames on the stream's timeline and hands each on once per worker.
pub(crate) struct Home {
    pub(crate) key: StreamKey,
    pub(crate) source: Source,
    pub(crate) generation: Generation,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) gop: Gop,
    /// Whether newcomers start with the present group; else only headers are kept for them.
    pub(crate) keeps_group: bool,
    pub(crate) counters: HomeCounters,
    timeline: Timeline,
    /// Of a stream that comes from another server: what players have had of it.
    recent: Option<Recent>,
    /// The publisher may still be repeating that; until it does no more, nobody is told that it has come.
    repeats: Option<Box<Repeats>>,
    /// Who is to be told then.
    awaiting: Vec<Subscription>,
    /// How long the stream was away before this publish, in ms.
    gap_ms: i64,
    references: References,
    /// Which of several tracks of pictures decides where players start.
    leader: Leader,
    /// The time of the newest picture.
    last_picture: Option<i64>,
    /// The replica on the publisher's own worker.
    local: Option<Subscription>,
    /// Those on other workers.
    subscribers: Vec<Subscriber>,
}

/// What a publish has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeCounters {
    /// Audio frames.
    pub audio_frames: u64,
    /// Video frames.
    pub video_frames: u64,
    /// Data messages.
    pub data_frames: u64,
    /// Bytes of frame bodies.
    pub bytes: u64,
    /// Bytes of audio frames.
    pub audio_bytes: u64,
    /// Bytes of video frames.
    pub video_bytes: u64,
    /// The codec of the newest audio frame.
    pub audio_codec: Option<Codec>,
    /// The codec of the newest video frame.
    pub video_codec: Option<Codec>,
    /// The newest decode time on the stream's timeline in ms.
    pub dts: i64,
    /// Frames that were not sent to some worker because its queue was full.
    pub gap_frames: u64,
    /// Frames of another server that players had had before, and that were left out.
    pub repeated_frames: u64,
    /// Frames that crossed to another worker, counted once per worker.
    pub crossed_frames: u64,
}

struct Subscriber {
    to: Subscription,
    pending: Vec<Frame>,
    pending_bytes: usize,
    in_flight: Arc<AtomicUsize>,
    /// The queue was full: nothing goes there until there is room and a frame that players can go on with.
    gap: bool,
    /// Frames were left out before those that are pending.
    mark: bool,
    /// A header is among what was left out.
    lacks_header: bool,
}

impl Home {
    pub(crate) fn new(
        key: StreamKey,
        source: Source,
        grant: &Grant,
        keeps_group: bool,
        now: Instant,
    ) -> Self {
        let resumes = grant.resume.is_some();
        let repeats = grant.recent.as_ref().map(|recent| recent.adopt(grant.generation, resumes, now));
        let repeats = repeats.filter(|repeats| !repeats.is_empty()).map(Box::new);
        let mut timeline = Timeline::new(grant.resume);
        if repeats.is_some() {
            timeline.may_go_on();
        }
        Self {
            key,
            source,
            generation: grant.generation,
            pulse: grant.pulse.clone(),
            gop: Gop::default(),
            keeps_group,
            counters: HomeCounters::default(),
            timeline,
            recent: grant.recent.clone(),
            repeats,
            awaiting: Vec::new(),
            gap_ms: grant.resume.map_or(0, |resume| resume.gap),
            references: References::new(),
            leader: Leader::default(),
            last_picture: None,
            local: None,
            subscribers: Vec::new(),
        }
    }

    /// Adds a worker; returns what it is to be told, or nothing where it is there already.
    pub(crate) fn subscribe(&mut self, to: Subscription) -> Option<RelayMessage> {
        if self.subscribers().any(|other| other == to) {
            return None;
        }
        if self.repeats.is_some() {
            self.awaiting.push(to);
            return None;
        }
        Some(self.started(to, None))
    }

    /// Lets a worker follow; gives what it is to be told.
    fn started(&mut self, to: Subscription, repeated: Option<&Repeated>) -> RelayMessage {
        if to.worker == self.source.worker {
            self.local = Some(to);
        } else {
            self.subscribers.push(Subscriber {
                to,
                pending: Vec::new(),
                pending_bytes: 0,
                in_flight: Arc::default(),
                gap: false,
                mark: false,
                lacks_header: false,
            });
        }
        RelayMessage::Started {
            replica: to.replica,
            generation: self.generation,
            snapshot: self.gop.snapshot(),
            repeated: repeated.is_some_and(|repeated| repeated.any),
            fresh: repeated.map_or(Vec::new(), |repeated| repeated.fresh.clone()),
            continues: repeated.is_some_and(|repeated| repeated.continues),
        }
    }

    /// Whether the publisher may still be repeating what players have had.
    pub(crate) fn may_repeat(&self) -> bool {
        self.repeats.is_some()
    }

    /// The publisher repeats nothing any more: gives those who are to be told that it has come, and what.
    pub(crate) fn end_repeats(&mut self) -> Vec<(Subscription, RelayMessage)> {
        let Some(repeats) = self.repeats.take() else { return Vec::new() };
        let repeated = repeats.end();
        let awaiting = std::mem::take(&mut self.awaiting);
        let told = |to| (to, self.started(to, Some(&repeated)));
        awaiting.into_iter().map(told).collect()
    }

    pub(crate) fn unsubscribe(&mut self, to: Subscription) {
        self.local = self.local.filter(|local| *local != to);
        self.awaiting.retain(|other| *other != to);
        self.subscribers.retain(|subscriber| subscriber.to != to);
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = Subscription> {
        let following = self.subscribers.iter().map(|subscriber| subscriber.to);
        self.local.into_iter().chain(following).chain(self.awaiting.iter().copied())
    }

    /// The replica on the publisher's worker.
    pub(crate) fn local(&self) -> Option<Subscription> {
        self.local
    }

    /// Makes of a frame of the publisher what the workers get, and says whether they have had it. `encoder` makes the
    /// packets of most players on this worker.
    pub(crate) fn place(&mut self, frame: &mut Frame, encoder: Option<&dyn Encoder>, now: Instant) -> Seen {
        let (far, seen) = (frame.dts, self.see(frame, now));
        frame.dts = match seen {
            Seen::Before if !frame.role.is_header() => self.timeline.place_again(far),
            _ => self.timeline.place(frame),
        };
        if frame.kind == MediaKind::Video && !self.leader.see(frame, frame.dts) && frame.role == Role::Key {
            // Only the default track's are places to start.
            frame.role = Role::Delta;
        }
        let is_new = seen != Seen::Before && !frame.role.is_header();
        if let Some(recent) = self.recent.as_ref().filter(|_| is_new) {
            let at = std::mem::replace(&mut frame.dts, far);
            recent.note(self.generation, frame, at);
            frame.dts = at;
        }
        self.references.see(frame);
        self.pulse.reached(frame.dts);
        self.count(frame);
        if let Some(encoder) = encoder {
            encoder.encode_in_place(frame);
        }
        seen
    }

    /// Whether players have had a frame of the publisher before the last break.
    fn see(&mut self, frame: &Frame, now: Instant) -> Seen {
        let Some(repeats) = &mut self.repeats else { return Seen::New };
        if frame.role.is_header() {
            return Seen::Before;
        }
        let seen = repeats.see(frame, now);
        if !self.timeline.is_fixed() && frame.role != Role::Side {
            let offset = repeats.same_clock(frame.dts, self.gap_ms, seen == Seen::Before);
            offset.into_iter().for_each(|offset| self.timeline.go_on(offset));
        }
        if seen == Seen::New && self.timeline.is_past(frame.dts) {
            // It has repeated what it had, and begins from the start.
            self.timeline.begin_anew();
            repeats.break_off();
        }
        self.counters.repeated_frames += u64::from(seen == Seen::Before);
        seen
    }

    /// Takes a frame that has its place and that nobody gets yet who follows the stream: for newcomers.
    pub(crate) fn hold(&mut self, frame: Frame, seen: Seen, limits: &Limits) {
        if let Some(repeats) = self.repeats.as_mut().filter(|_| seen == Seen::Fresh) {
            repeats.keep(frame.clone());
        }
        self.remember(frame, limits);
    }

    /// Asks for the memory that a frame will need.
    pub(crate) fn fetch(&self, depth: usize) {
        match depth {
            0 => ahead::fetch(self),
            1 => {
                ahead::fetch(&*self.pulse);
                self.gop.fetch();
            }
            _ => {}
        }
    }

    /// Takes a frame that has its place, for newcomers and for other workers.
    pub(crate) fn keep(&mut self, frame: Frame, limits: &Limits) {
        if frame.kind == MediaKind::Video && !frame.role.is_header() {
            self.last_picture = Some(frame.dts);
        }
        // Without video any frame is a place to go on.
        let video = self.last_picture.is_some_and(|last| frame.dts.saturating_sub(last) < VIDEO_GONE);
        let starts = !frame.role.is_header() && (frame.is_video_key() || !video);
        for subscriber in &mut self.subscribers {
            if subscriber.push(&frame, starts, self.gop.headers(), limits) {
                self.counters.crossed_frames += 1;
            } else {
                self.counters.gap_frames += 1;
            }
        }
        self.remember(frame, limits);
    }

    fn remember(&mut self, frame: Frame, limits: &Limits) {
        if self.keeps_group {
            self.gop.push(frame, limits);
        } else {
            self.gop.push_header(&frame, limits);
        }
    }

    /// What goes to other workers at the end of a turn: one message each.
    pub(crate) fn flush(&mut self, post: &mut Vec<(WorkerId, RelayMessage)>) {
        for subscriber in &mut self.subscribers {
            if subscriber.pending.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut subscriber.pending_bytes);
            subscriber.in_flight.fetch_add(bytes, Ordering::Relaxed);
            let message = RelayMessage::Frames {
                replica: subscriber.to.replica,
                generation: self.generation,
                frames: std::mem::take(&mut subscriber.pending),
                bytes,
                in_flight: subscriber.in_flight.clone(),
                gap: std::mem::take(&mut subscriber.mark),
            };
            post.push((subscriber.to.worker, message));
        }
    }

    fn count(&mut self, frame: &Frame) {
        let counters = &mut self.counters;
        match frame.kind {
            MediaKind::Audio => {
                counters.audio_frames += 1;
                counters.audio_bytes += frame.body.len() as u64;
                counters.audio_codec = Some(frame.codec);
            }
            MediaKind::Video => {
                counters.video_frames += 1;
                counters.video_bytes += frame.body.len() as u64;
                counters.video_codec = Some(frame.codec);
            }
            MediaKind::Data => counters.data_frames += 1,
        }
        counters.bytes += frame.body.len() as u64;
        counters.dts = counters.dts.max(frame.dts);
    }
}

impl Subscriber {
    /// Returns whether the frame will go out. `starts`: players can go on with it; `headers`: those before it.
    fn push(&mut self, frame: &Frame, starts: bool, headers: &[Frame], limits: &Limits) -> bool {
        let waiting = self.in_flight.load(Ordering::Relaxed) + self.pending_bytes;
        let full = waiting > limits.worker_queue_bytes;
        self.gap |= full;
        if self.gap {
            if full || !starts {
                self.lacks_header |= frame.role.is_header();
                return false;
            }
            self.gap = false;
            // Where frames are still pending, the gap is told before them: players go on at the key frame either way.
            self.mark = true;
            if std::mem::take(&mut self.lacks_header) {
                // They come now: times never go back.
                headers.iter().for_each(|header| self.take(Frame { dts: frame.dts, ..header.clone() }));
            }
        }
        self.take(frame.clone());
        true
    }

    fn take(&mut self, frame: Frame) {
        self.pending_bytes += frame.body.len() + Frame::OVERHEAD;
        self.pending.push(frame);
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{StreamName, StreamSlot};

    use super::*;
    use crate::{
        ConnectionId, Directory, DuplicatePublisher,
        testing::{audio, config, delta, key},
    };

    fn home() -> Home {
        let now = Instant::now();
        let name = StreamName::new("", "a", &Limits::default()).unwrap();
        let key = StreamKey { application: "live".into(), name };
        let source = Source { worker: WorkerId(0), connection: ConnectionId(1), slot: StreamSlot(1) };
        let grant = Directory::new(now).publish(&key, source, DuplicatePublisher::Reject, None, now).unwrap();
        Home::new(key, source, &grant, true, now)
    }

    fn take(home: &mut Home, mut frame: Frame, limits: &Limits) {
        assert_eq!(home.place(&mut frame, None, Instant::now()), Seen::New);
        home.keep(frame, limits);
    }

    fn flush(home: &mut Home) -> Vec<(Vec<i64>, bool, usize, Arc<AtomicUsize>)> {
        let mut post = Vec::new();
        home.flush(&mut post);
        post.into_iter()
            .map(|(_, message)| match message {
                RelayMessage::Frames { frames, gap, bytes, in_flight, .. } => {
                    (frames.iter().map(|frame| frame.dts).collect(), gap, bytes, in_flight)
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn frames_of_one_turn_cross_in_one_message() {
        let mut home = home();
        let limits = Limits::default();
        assert!(home.subscribe(Subscription { worker: WorkerId(1), replica: 7 }).is_some());
        assert!(home.subscribe(Subscription { worker: WorkerId(1), replica: 7 }).is_none());
        for frame in [key(0), delta(40)] {
            take(&mut home, frame, &limits);
        }
        let sent = flush(&mut home);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].0.as_slice(), sent[0].1), ([0, 40].as_slice(), false));
        assert!(flush(&mut home).is_empty());
    }

    #[test]
    fn a_full_queue_leaves_out_whole_groups_and_headers_come_later() {
        let mut home = home();
        let limits = Limits { worker_queue_bytes: 8 + Frame::OVERHEAD, ..Limits::default() };
        home.subscribe(Subscription { worker: WorkerId(1), replica: 7 });
        for frame in [key(0), delta(40), delta(80), config(100, b"C"), delta(120), key(160)] {
            take(&mut home, frame, &limits);
        }
        let sent = flush(&mut home);
        assert_eq!((sent[0].0.as_slice(), sent[0].1), ([0, 40].as_slice(), false));
        sent[0].3.fetch_sub(sent[0].2, Ordering::Relaxed);
        for frame in [delta(200), key(240), delta(280)] {
            take(&mut home, frame, &limits);
        }
        let sent = flush(&mut home);
        assert_eq!((sent[0].0.as_slice(), sent[0].1), ([240, 240].as_slice(), true));
        assert_eq!(home.counters.gap_frames, 6);
        // The header has come, the gap has been told.
        sent[0].3.fetch_sub(sent[0].2, Ordering::Relaxed);
        take(&mut home, delta(320), &limits);
        take(&mut home, key(400), &limits);
        let sent = flush(&mut home);
        assert_eq!((sent[0].0.as_slice(), sent[0].1), ([400].as_slice(), true));
        sent[0].3.fetch_sub(sent[0].2, Ordering::Relaxed);
        take(&mut home, delta(440), &limits);
        assert!(!flush(&mut home)[0].1);
    }

    #[test]
    fn headers_without_end_are_bounded() {
        let mut home = home();
        let limits = Limits { worker_queue_bytes: 8 + Frame::OVERHEAD, ..Limits::default() };
        home.subscribe(Subscription { worker: WorkerId(1), replica: 7 });
        for time in 0..1000 {
            take(&mut home, config(time, b"C"), &limits);
        }
        let sent = flush(&mut home);
        assert!(sent[0].0.len() < 20, "{}", sent[0].0.len());
    }

    #[test]
    fn a_stream_without_video_goes_on_with_any_frame() {
        goes_on_with_audio(home(), 0);
    }

    #[test]
    fn a_stream_whose_video_has_gone_does_too() {
        let mut home = home();
        take(&mut home, key(0), &Limits::default());
        goes_on_with_audio(home, VIDEO_GONE);
    }

    fn goes_on_with_audio(mut home: Home, from: i64) {
        let limits = Limits { worker_queue_bytes: 8 + Frame::OVERHEAD, ..Limits::default() };
        home.subscribe(Subscription { worker: WorkerId(1), replica: 7 });
        for time in 0..100 {
            take(&mut home, audio(from + time), &limits);
        }
        let sent = flush(&mut home);
        assert!(sent[0].0.len() < 20, "{}", sent[0].0.len());
        sent[0].3.fetch_sub(sent[0].2, Ordering::Relaxed);
        take(&mut home, audio(from + 200), &limits);
        let sent = flush(&mut home);
        assert_eq!((sent[0].0.as_slice(), sent[0].1), ([from + 200].as_slice(), true));
    }
}
