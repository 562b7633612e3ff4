//! The cursor: where a player is in its log.

use std::{
    io::IoSlice,
    rc::Rc,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use crtmp_media::{MediaKind, Packet};

use crate::{
    Delivery, Flush,
    lag::{Lag, Verdict},
    log::{Headers, Log, Position},
};

/// Slices that go out in one system call at most.
pub const MAX_SLICES: usize = 64;

/// Slices for one vectored write.
pub type Slices<'a> = ArrayVec<IoSlice<'a>, MAX_SLICES>;

/// What a player wants to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) audio: bool,
    pub(crate) video: bool,
    pub(crate) paused: bool,
}

impl Wants {
    fn takes(self, packet: &Packet) -> bool {
        match packet.kind {
            MediaKind::Audio => self.audio || packet.role.is_header(),
            MediaKind::Video => self.video || packet.role.is_header(),
            MediaKind::Data => true,
        }
    }
}

/// A packet that has gone out in part. Its connection keeps it and finishes it before anything else, whatever
/// becomes of the play.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    packet: Rc<Packet>,
    gone: usize,
}

impl Partial {
    /// What is left to send.
    pub fn rest(&self) -> &[u8] {
        &self.packet.bytes[self.gone..]
    }

    /// Notes that up to `written` bytes have gone out; returns what is left of them, and of the packet.
    pub fn advance(self, written: usize) -> (usize, Option<Self>) {
        let left = self.rest().len();
        if written < left {
            return (0, Some(Self { gone: self.gone + written, ..self }));
        }
        (written - left, None)
    }
}

/// A position in a log.
///
/// The log may drop packets at any time: a cursor that has fallen off skips to a key frame, at a packet
/// boundary and with the headers that it missed.
#[derive(Debug)]
pub(crate) struct Cursor {
    place: Place,
    headers: Option<(Headers, usize)>,
    /// The number of the headers that have been sent or stand in `headers`.
    epoch: Option<u64>,
    lag: Lag,
    pub(crate) counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for a place to start that is not before the position.
    Waiting(Position),
    /// Goes on at the position.
    At(Position),
}

/// What a cursor has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) skips: u64,
    pub(crate) skipped_packets: u64,
}

impl Counters {
    fn count(&mut self, packet: &Packet) {
        self.packets += 1;
        self.bytes += packet.bytes.len() as u64;
    }
}

impl Cursor {
    /// A cursor that starts where the log lets players join, not before `from`.
    pub(crate) fn new(from: Position) -> Self {
        Self {
            place: Place::Waiting(from),
            headers: None,
            epoch: None,
            lag: Lag::default(),
            counters: Counters::default(),
        }
    }

    /// Prepares for [`Self::fill`]: starts, skips where it must. Lag matters only where the socket could not
    /// take everything last time. Returns false where the player is to be cut.
    pub(crate) fn prepare(&mut self, log: &mut Log, flush: Flush<'_>, delivery: &Delivery) -> bool {
        let Flush { now, limits, stalled, unsent } = flush;
        if let Place::At(next) = self.place {
            if next < log.base() {
                self.leave(log, next);
            } else if stalled {
                match self.lag.judge(log.behind(next, now), unsent, now, limits, delivery.max_lag) {
                    Verdict::Keep => {}
                    Verdict::Skip if log.newest_key().is_some_and(|key| key > next) => self.leave(log, next),
                    Verdict::Skip => {}
                    Verdict::Cut => return false,
                }
            }
        }
        if let Place::Waiting(from) = self.place
            && let Some(start) = log.join(now).filter(|&start| start >= from)
        {
            self.place = Place::At(start);
            if self.epoch != Some(log.epoch_before(start)) || self.epoch != Some(log.epoch()) {
                self.headers = Some((log.headers_at(start), 0));
                self.epoch = Some(log.epoch());
            }
        }
        true
    }

    /// Goes on at the newest place to join: after a pause.
    pub(crate) fn rejoin(&mut self, log: &Log) {
        if let Place::At(next) = self.place {
            self.leave(log, next);
        }
    }

    /// The position of the oldest packet that this cursor may still need.
    pub(crate) fn needs(&self) -> Option<Position> {
        match self.place {
            Place::At(next) => Some(next),
            Place::Waiting(_) => None,
        }
    }

    /// Adds what comes next, up to about `budget` bytes.
    pub(crate) fn fill<'a>(&'a self, log: &'a Log, wants: Wants, slices: &mut Slices<'a>, mut budget: usize) {
        if wants.paused {
            return;
        }
        for packet in self.ahead(log, wants) {
            if slices.is_full() || budget == 0 {
                return;
            }
            slices.push(IoSlice::new(&packet.bytes));
            budget = budget.saturating_sub(packet.bytes.len());
        }
    }

    /// Notes that up to `written` bytes of what [`Self::fill`] gave have gone out. Returns what is left of them,
    /// and the packet that has gone out in part.
    pub(crate) fn advance(
        &mut self,
        log: &Log,
        wants: Wants,
        mut written: usize,
    ) -> (usize, Option<Partial>) {
        while written > 0 {
            let Some(packet) = self.step(log, wants) else { break };
            if written < packet.bytes.len() {
                return (0, Some(Partial { packet, gone: written }));
            }
            written -= packet.bytes.len();
        }
        (written, None)
    }

    /// Takes the next packet, for chains in which a layer changes bytes.
    pub(crate) fn step(&mut self, log: &Log, wants: Wants) -> Option<Rc<Packet>> {
        if wants.paused {
            return None;
        }
        if let Some((headers, sent)) = &mut self.headers {
            if let Some(packet) = headers.get(*sent).cloned() {
                *sent += 1;
                self.counters.count(&packet);
                return Some(packet);
            }
            self.headers = None;
        }
        let Place::At(mut next) = self.place else { return None };
        let mut found = None;
        while let Some(packet) = log.packet(next) {
            next += 1;
            if wants.takes(packet) {
                found = Some(packet.clone());
                break;
            }
        }
        self.place = Place::At(next);
        self.epoch = Some(log.epoch_before(next));
        if let Some(packet) = &found {
            self.counters.count(packet);
        }
        found
    }

    /// For how long the player has been further behind than the limits allow.
    pub(crate) fn too_far_behind(&self, now: Instant) -> Duration {
        self.lag.over_for(now)
    }

    /// Whether nothing is left to send.
    pub(crate) fn is_drained(&self, log: &Log, wants: Wants) -> bool {
        wants.paused || self.ahead(log, wants).next().is_none()
    }

    fn ahead<'a>(&'a self, log: &'a Log, wants: Wants) -> impl Iterator<Item = &'a Rc<Packet>> {
        let headers = self.headers.iter().flat_map(|(headers, sent)| &headers[*sent..]);
        let next = match self.place {
            Place::At(next) => next,
            Place::Waiting(_) => log.end(),
        };
        headers.chain(log.packets(next).filter(move |packet| wants.takes(packet)))
    }

    /// Gives up the place at `next` and waits for one to start again, ahead of it.
    fn leave(&mut self, log: &Log, next: Position) {
        let target = log.newest_key().filter(|&key| key >= next).unwrap_or(log.end());
        self.counters.skips += 1;
        self.counters.skipped_packets += target.saturating_sub(next);
        // Headers that have not gone out are owed still, wherever the player goes on.
        if self.headers.take().is_some_and(|(headers, sent)| sent < headers.len()) {
            self.epoch = None;
        }
        self.place = Place::Waiting(next.max(log.base()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crtmp_media::{Frame, Limits};
    use proptest::prelude::*;

    use super::*;
    use crate::Start;
    use crate::testing::{Plain, audio, config, delta, key};

    const ALL: Wants = Wants { audio: true, video: true, paused: false };

    struct Rig {
        log: Log,
        headers: Vec<Arc<Frame>>,
        limits: Limits,
        delivery: Delivery,
        now: Instant,
        start: Instant,
        partial: Option<Partial>,
    }

    impl Rig {
        fn new(limits: Limits) -> Self {
            let now = Instant::now();
            Self {
                log: Log::new(Box::new(Plain)),
                headers: Vec::new(),
                limits,
                delivery: Delivery { start: Start::Key, ..Delivery::default() },
                now,
                start: now,
                partial: None,
            }
        }

        fn push(&mut self, frame: Frame) {
            let frame = Arc::new(frame);
            if frame.role.is_header() {
                self.headers = vec![frame.clone()];
            }
            self.now = self.now.max(self.start + Duration::from_millis(u64::try_from(frame.dts).unwrap()));
            self.log.push(&frame, frame.dts, &self.headers, self.now, &self.limits);
        }

        /// Sends up to `room` bytes, as a socket would take them.
        fn send(&mut self, cursor: &mut Cursor, wants: Wants, stalled: bool, room: usize) -> String {
            let flush = Flush { now: self.now, limits: &self.limits, stalled, unsent: 0 };
            if !cursor.prepare(&mut self.log, flush, &self.delivery) {
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

    fn squeeze(text: &str) -> String {
        text.replace(' ', "")
    }

    #[test]
    fn a_newcomer_gets_headers_and_the_group_and_then_follows() {
        let mut rig = Rig::new(Limits::default());
        for frame in [config(0, b"C"), key(0), delta(40), key(80), delta(120)] {
            rig.push(frame);
        }
        let mut cursor = Cursor::new(0);
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "C@80;K80@80;d120@120;");
        assert_eq!(rig.send(&mut cursor, ALL, false, 999), "");
        rig.push(audio(130));
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "a130@130;");
        assert!(cursor.is_drained(&rig.log, ALL));
    }

    #[test]
    fn a_player_that_came_first_starts_with_the_source() {
        let mut rig = Rig::new(Limits::default());
        let mut cursor = Cursor::new(0);
        assert_eq!(rig.send(&mut cursor, ALL, false, 999), "");
        rig.push(config(0, b"C"));
        rig.push(audio(0));
        rig.push(key(0));
        let sent = squeeze(&rig.send(&mut cursor, ALL, false, 999));
        assert_eq!(sent, "C@0;K0@0;");
    }

    #[test]
    fn a_player_that_falls_off_the_log_skips_to_a_key_frame_between_packets() {
        let mut rig = Rig::new(Limits { gop_messages: 16, ..Limits::default() });
        rig.push(config(0, b"C"));
        rig.push(key(0));
        let mut cursor = Cursor::new(0);
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 8)), "C@0;K");
        for ms in 1..30 {
            rig.push(delta(ms));
        }
        assert_eq!(
            squeeze(&rig.send(&mut cursor, ALL, true, 999)),
            "0@0;",
            "the packet in flight is finished"
        );
        assert_eq!(rig.send(&mut cursor, ALL, true, 999), "", "there is no key frame to start at");
        rig.push(key(40));
        rig.push(delta(41));
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "K40@40;d41@41;", "headers are known");
        assert_eq!(cursor.counters.skips, 1);
        assert!(cursor.counters.skipped_packets >= 29);
    }

    #[test]
    fn a_slow_player_skips_only_forward_and_is_told_of_headers_that_it_missed() {
        let mut rig = Rig::new(Limits { player_queue_bytes: 100, ..Limits::default() });
        rig.push(config(0, b"C"));
        rig.push(key(0));
        let mut cursor = Cursor::new(0);
        rig.send(&mut cursor, ALL, false, 4);
        for ms in 1..40 {
            rig.push(delta(ms));
        }
        let sent = squeeze(&rig.send(&mut cursor, ALL, true, 30));
        assert!(sent.starts_with("K0@0;d1@1;"), "no key frame ahead: it goes on: {sent}");
        rig.push(config(40, b"D"));
        rig.push(key(41));
        let mut rest = squeeze(&rig.send(&mut cursor, ALL, true, 999));
        rest = rest.split_once(';').map(|(_, rest)| rest.to_owned()).unwrap_or(rest);
        assert_eq!(rest, "D@41;K41@41;");
    }

    #[test]
    fn headers_that_a_skip_overtakes_are_sent_after_it() {
        let mut rig = Rig::new(Limits { gop_messages: 16, ..Limits::default() });
        rig.push(config(0, b"C"));
        rig.push(key(0));
        let mut cursor = Cursor::new(0);
        assert_eq!(rig.send(&mut cursor, ALL, false, 0), "", "the player has its place, and nothing else");
        for ms in 1..40 {
            rig.push(key(ms));
        }
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, true, 999)), "C@39;K39@39;");
    }

    #[test]
    fn a_paused_player_holds_nothing_and_goes_on_live() {
        let mut rig = Rig::new(Limits::default());
        rig.push(config(0, b"C"));
        rig.push(key(0));
        let mut cursor = Cursor::new(0);
        rig.send(&mut cursor, ALL, false, 999);
        let paused = Wants { paused: true, ..ALL };
        for ms in 1..20 {
            rig.push(delta(ms));
        }
        assert_eq!(rig.send(&mut cursor, paused, false, 999), "");
        rig.push(key(20));
        rig.push(delta(21));
        cursor.rejoin(&rig.log);
        assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "K20@20;d21@21;");
    }

    #[test]
    fn audio_and_video_can_be_switched_off() {
        let mut rig = Rig::new(Limits::default());
        for frame in [config(0, b"C"), key(0), audio(10), delta(40)] {
            rig.push(frame);
        }
        let mut cursor = Cursor::new(0);
        let no_video = Wants { video: false, ..ALL };
        assert_eq!(squeeze(&rig.send(&mut cursor, no_video, false, 999)), "C@0;a10@10;");
        let mut cursor = Cursor::new(0);
        let no_audio = Wants { audio: false, ..ALL };
        assert_eq!(squeeze(&rig.send(&mut cursor, no_audio, false, 999)), "C@0;K0@0;d40@40;");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Key,
        Delta,
        Audio,
        Config(u8),
        Gap,
        Send(usize),
        Trim,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => Just(Step::Key),
            4 => Just(Step::Delta),
            4 => Just(Step::Audio),
            1 => (0u8..3).prop_map(Step::Config),
            1 => Just(Step::Gap),
            6 => (0usize..80).prop_map(Step::Send),
            1 => Just(Step::Trim),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Whatever happens, a player gets whole packets, pictures only after a key frame and a header that
        /// belong to them, each packet once and in order.
        #[test]
        fn no_player_ever_gets_a_torn_picture(steps in steps()) {
            let limits = Limits { gop_messages: 16, player_queue_bytes: 120, ..Limits::default() };
            let mut rig = Rig::new(limits);
            let mut cursor = Cursor::new(0);
            let mut sent = String::new();
            let (mut ms, mut config_now, mut stalled) = (0, 0, false);
            rig.push(config(0, b"C0"));
            // What a decoder may be shown: each delta belongs to the key frame and configuration before it.
            let mut belongs = std::collections::HashMap::new();
            let mut last_key = None;
            for step in steps {
                ms += 1;
                match step {
                    Step::Key => { last_key = Some(ms); belongs.insert(ms, (ms, config_now)); rig.push(key(ms)); }
                    Step::Delta => {
                        if let Some(key) = last_key { belongs.insert(ms, (key, config_now)); }
                        rig.push(delta(ms));
                    }
                    Step::Audio => rig.push(audio(ms)),
                    Step::Config(number) => {
                        if number != config_now { last_key = None; }
                        config_now = number;
                        rig.push(config(ms, format!("C{number}").as_bytes()));
                    }
                    Step::Gap => { last_key = None; rig.log.gap(); }
                    Step::Send(room) => {
                        let some = rig.send(&mut cursor, ALL, stalled, room);
                        prop_assert_ne!(&some, "CUT");
                        stalled = some.len() == room;
                        sent.push_str(&some);
                    }
                    Step::Trim => rig.log.trim(cursor.needs()),
                }
            }
            for _ in 0..4 {
                let some = rig.send(&mut cursor, ALL, false, usize::MAX);
                sent.push_str(&some);
            }
            prop_assert!(sent.is_empty() || sent.ends_with(';'), "{}", sent);
            let (mut last, mut header, mut shown_key) = (-1, None, None);
            for packet in sent.split_terminator(';') {
                let (body, time) = packet.split_once('@').unwrap();
                let time: i64 = time.parse().unwrap();
                if let Some(number) = body.strip_prefix('C') {
                    let number: u8 = number.parse().unwrap();
                    if header != Some(number) { shown_key = None; }
                    header = Some(number);
                    continue;
                }
                prop_assert!(time > last, "{} after {}", packet, last);
                last = time;
                if body.starts_with('K') { shown_key = Some(time); }
                if body.starts_with('K') || body.starts_with('d') {
                    let (key, config) = belongs[&time];
                    prop_assert_eq!((shown_key, header), (Some(key), Some(config)), "{}", packet);
                }
            }
        }
    }
}
