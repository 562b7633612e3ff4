//! The cursor: where a player is in its log.

use std::{
    io::IoSlice,
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use crtmp_media::{MediaKind, Packet, Role};

use crate::{
    Delivery, Flush, Start,
    catch_up::{Approach, CatchUp, Headed},
    lag::{Lag, Verdict},
    log::{Behind, Headers, Log, Position},
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
    pub(crate) fn takes(self, packet: &Packet) -> bool {
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
    packet: Packet,
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

/// The next packet of a player.
enum Taken {
    /// Shared with others.
    Whole(Packet),
    /// Shared but for its beginning.
    Headed(Packet, Headed),
}

impl Taken {
    fn len(&self) -> usize {
        match self {
            Self::Whole(packet) => packet.bytes.len(),
            Self::Headed(packet, Headed { head, .. }) => head.bytes().len() + head.rest(packet).len(),
        }
    }

    fn kind(&self) -> MediaKind {
        let (Self::Whole(packet) | Self::Headed(packet, _)) = self;
        packet.kind
    }

    /// All of it in one packet.
    fn whole(self) -> Packet {
        match self {
            Self::Whole(packet) => packet,
            Self::Headed(packet, headed) => headed.join(&packet),
        }
    }

    /// What is left after `gone` bytes. Hardly ever a head goes out in part: then its packet is copied, so that
    /// one that has gone out in part is always of one piece.
    fn partial(self, gone: usize) -> Partial {
        match self {
            Self::Headed(packet, headed) => match headed.head.place(gone) {
                Some(gone) => Partial { packet, gone },
                None => Partial { packet: headed.join(&packet), gone },
            },
            Self::Whole(packet) => Partial { packet, gone },
        }
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
    epoch: Option<u32>,
    /// While packets up to some position are sent with other times; never without one that is ready.
    catch_up: Option<Box<CatchUp>>,
    /// Pictures that it may not be sent yet.
    veil: Option<Veil>,
    /// The bytes, counted from the first sent, that the last start sends at once. It sends them for their pictures,
    /// not for their time: on their way to the player they are no lag.
    opening: (u64, u64),
    lag: Lag,
    /// Up to where packets that it missed have been counted.
    missed_to: Position,
    pub(crate) counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for a place to start that is not before the position.
    Waiting(Position),
    /// Goes on at the position.
    At(Position),
}

/// Pictures that a player may not be sent, where it did not start with those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Veil {
    /// Those before this time in ms.
    before: i64,
    /// Those before the next key frame.
    needs_key: bool,
}

/// How a player started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Began {
    /// Not yet: there was no place to start.
    #[default]
    Waiting,
    /// At the newest key frame.
    Key,
    /// At the newest key frame, with the times since then pressed together.
    CatchUp,
    /// At the first key frame after it had come.
    Next,
    /// With what came next, because the stream had no pictures.
    Live,
}

impl Began {
    /// Its name in the counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Key => "key",
            Self::CatchUp => "catchUp",
            Self::Next => "next",
            Self::Live => "live",
        }
    }
}

/// What a cursor has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// How the player started first.
    pub(crate) began: Began,
    /// How far behind live that was, in ms of media time.
    pub(crate) start_lag: u64,
    /// Pictures left out to catch up.
    pub(crate) left_out_pictures: u64,
    /// Audio packets left out to catch up.
    pub(crate) left_out_audio: u64,
    pub(crate) skips: Skips,
    pub(crate) skipped_packets: u64,
    pub(crate) audio: Sent,
    pub(crate) video: Sent,
}

/// What a player has been sent of one kind, and what it missed by skips, as far as the log still had that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets missed.
    pub skipped_packets: u64,
    /// Their bytes.
    pub skipped_bytes: u64,
}

/// How often a player gave up its place, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// It was further behind live than `playerQueueBytes` or `maxLag` allow.
    pub lag: u64,
    /// What it was to be sent next was no longer kept.
    pub fell_off: u64,
    /// It had paused, or had switched its video off.
    pub pause: u64,
}

impl Skips {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.lag + self.fell_off + self.pause
    }
}

impl Counters {
    fn count(&mut self, kind: MediaKind, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        if let Some(sent) = self.of(kind) {
            sent.packets += 1;
            sent.bytes += bytes as u64;
        }
    }

    /// Counts the packets from `from` to before `to`: they are not sent.
    fn skip(&mut self, log: &Log, from: Position, to: Position) {
        let count = to.saturating_sub(from);
        self.skipped_packets += count;
        // What the log has dropped it knows nothing of.
        let known = usize::try_from(to.saturating_sub(from.max(log.base()))).unwrap_or(usize::MAX);
        for packet in log.packets(from).take(known.min(usize::try_from(count).unwrap_or(usize::MAX))) {
            if let Some(sent) = self.of(packet.kind) {
                sent.skipped_packets += 1;
                sent.skipped_bytes += packet.bytes.len() as u64;
            }
        }
    }

    fn of(&mut self, kind: MediaKind) -> Option<&mut Sent> {
        match kind {
            MediaKind::Audio => Some(&mut self.audio),
            MediaKind::Video => Some(&mut self.video),
            MediaKind::Data => None,
        }
    }

    /// Counts a packet that a catch-up leaves out.
    pub(crate) fn leave_out(&mut self, kind: MediaKind, wanted: bool) {
        match kind {
            MediaKind::Video => self.left_out_pictures += u64::from(wanted),
            MediaKind::Audio => self.left_out_audio += u64::from(wanted),
            MediaKind::Data => {}
        }
    }
}

impl Cursor {
    /// A cursor that starts where the log lets players join, not before `from`.
    pub(crate) fn new(from: Position) -> Self {
        Self {
            place: Place::Waiting(from),
            headers: None,
            epoch: None,
            catch_up: None,
            veil: None,
            opening: (0, 0),
            lag: Lag::default(),
            missed_to: Position::MAX,
            counters: Counters::default(),
        }
    }

    /// Prepares for [`Self::fill`]: starts, skips where it must. Returns false where the player is to be cut.
    pub(crate) fn prepare(
        &mut self,
        log: &mut Log,
        wants: Wants,
        flush: Flush<'_>,
        delivery: &Delivery,
    ) -> bool {
        let Flush { now, limits, judge, unsent } = flush;
        if wants.paused {
            return true;
        }
        if let Place::At(next) = self.place {
            if next < log.base() {
                self.leave(log, next);
                self.counters.skips.fell_off += 1;
            } else if judge {
                let unsent = (unsent, log.time_of(self.live_part(unsent)));
                match self.lag.judge(log.behind(next, now), unsent, now, limits, delivery.max_lag) {
                    Verdict::Keep => {}
                    Verdict::Skip if log.newest_key().is_some_and(|key| key > next) => {
                        self.leave(log, next);
                        self.counters.skips.lag += 1;
                    }
                    // What has left the log cannot be taken back: the player gets nothing until it has it.
                    Verdict::Skip if Lag::is_over(Behind::default(), unsent, limits, delivery.max_lag) => {
                        self.leave(log, log.end());
                        self.counters.skips.lag += 1;
                    }
                    Verdict::Skip => {}
                    Verdict::Cut => return false,
                }
            }
        }
        if let Some(catch_up) = &mut self.catch_up {
            // What the player wants may have changed.
            catch_up.drop_unwanted(log, wants);
            self.go_on(log, wants);
        }
        if let Place::Waiting(from) = self.place {
            if judge && unsent > 0 {
                // With half of what is allowed, so that it does not skip again at once.
                let unsent = (unsent.saturating_mul(2), log.time_of(unsent).saturating_mul(2));
                match self.lag.judge(Behind::default(), unsent, now, limits, delivery.max_lag) {
                    Verdict::Keep => {}
                    Verdict::Skip => return true,
                    Verdict::Cut => return false,
                }
            }
            self.start(log, from, wants, now, delivery.start);
        }
        true
    }

    /// Starts where the log lets players join, if that is not before `from`.
    ///
    /// Where this follows a skip, no time can lie before one that the player has been sent: positions only
    /// grow, a catch-up moves no time backwards, and none of an earlier catch-up lies behind a newer key frame.
    fn start(&mut self, log: &mut Log, from: Position, wants: Wants, now: Instant, policy: Start) {
        let first = self.counters.began == Began::Waiting;
        let next = first && policy == Start::Next;
        let from = if next { from.max(log.snapshot_end()) } else { from };
        let Some(start) = log.join(now).filter(|&start| start >= from) else { return };
        if next && log.newest_key().is_none() && log.expects_video(now) {
            return;
        }
        let group = log.group().filter(|group| group.key == start);
        let approach = group.map(|group| Approach::new(log, group, now));
        self.catch_up = match (policy, approach) {
            (Start::Near(lag), Some(approach)) => {
                approach.catch_up(i64::try_from(lag.as_millis()).unwrap_or(i64::MAX), log)
            }
            _ => None,
        };
        self.veil = match (&self.catch_up, approach) {
            (Some(_), Some(approach)) => approach.floor().map(|before| Veil { before, needs_key: false }),
            (_, Some(_)) => None,
            (_, None) => Some(Veil { before: i64::MIN, needs_key: true }),
        };
        if first {
            let (began, lag) = match (&self.catch_up, approach) {
                (Some(catch_up), _) => (Began::CatchUp, catch_up.lag()),
                (_, Some(approach)) => (if next { Began::Next } else { Began::Key }, approach.age()),
                (_, None) => (Began::Live, 0),
            };
            self.counters.began = began;
            self.counters.start_lag = u64::try_from(lag).unwrap_or(0);
        }
        self.counters.skip(log, self.missed_to, start);
        self.missed_to = Position::MAX;
        self.place = Place::At(start);
        self.opening = (self.counters.bytes, self.counters.bytes + log.behind(start, now).bytes);
        if self.epoch != Some(log.epoch_before(start)) || self.epoch != Some(log.epoch()) {
            let time = self.catch_up.as_ref().map(|catch_up| catch_up.start());
            self.headers = Some((log.headers_at(start, time), 0));
            self.epoch = Some(log.epoch());
        }
        self.go_on(log, wants);
    }

    /// How many of the last `unsent` bytes do not belong to what a start sends at once.
    fn live_part(&self, unsent: u64) -> u64 {
        let (from, to) = self.opening;
        let sent = self.counters.bytes;
        let opening = sent.min(to).saturating_sub(from.max(sent.saturating_sub(unsent)));
        unsent.saturating_sub(opening)
    }

    /// Lets a catch-up make its next packets ready; where there are none, the player goes on with what is live.
    fn go_on(&mut self, log: &Log, wants: Wants) {
        let Some(catch_up) = &mut self.catch_up else { return };
        if catch_up.make_ready(log, wants, &mut self.counters) {
            self.place = Place::At(catch_up.position());
        } else {
            self.place = Place::At(catch_up.until());
            self.catch_up = None;
            self.opening.1 = self.counters.bytes;
        }
    }

    /// Gives up its place, to go on at the newest one to join: at the beginning of a pause, whose end then finds
    /// what is newest.
    pub(crate) fn rejoin(&mut self, log: &Log) {
        if let Place::At(next) = self.place {
            self.leave(log, next);
            self.counters.skips.pause += 1;
        }
    }

    /// The position of the oldest packet that this cursor may still need.
    pub(crate) fn needs(&self) -> Option<Position> {
        match self.place {
            Place::At(next) => Some(next),
            Place::Waiting(_) => None,
        }
    }

    /// Adds what comes next, up to about `budget` bytes. Returns whether that is all that there is: where it is not,
    /// nothing may be sent behind it in the same call, or [`Self::advance`] would take it for its own.
    pub(crate) fn fill<'a>(
        &'a self,
        log: &'a Log,
        wants: Wants,
        slices: &mut Slices<'a>,
        mut budget: usize,
    ) -> bool {
        if wants.paused {
            return true;
        }
        let push = |packet: &'a Packet, budget: &mut usize, slices: &mut Slices<'a>| {
            if slices.is_full() || *budget == 0 {
                return false;
            }
            slices.push(IoSlice::new(&packet.bytes));
            *budget = budget.saturating_sub(packet.bytes.len());
            true
        };
        if !self.owed_headers().all(|packet| push(packet, &mut budget, slices)) {
            return false;
        }
        let mut next = self.next(log);
        if let Some(catch_up) = &self.catch_up {
            if !catch_up.fill(log, slices, &mut budget) {
                return false;
            }
            next = catch_up.until();
        }
        if self.veil.is_none()
            && wants.audio
            && wants.video
            && !slices.is_full()
            && let Some((bytes, end)) = log.gathered(next)
            && bytes.len() <= budget
        {
            slices.push(IoSlice::new(bytes));
            budget -= bytes.len();
            next = end;
        }
        for packet in self.ahead(log, next, wants) {
            if !push(packet, &mut budget, slices) {
                return false;
            }
        }
        true
    }

    /// Notes that up to `written` bytes of what [`Self::fill`] gave have gone out. Returns what is left of them,
    /// and the packet that has gone out in part.
    pub(crate) fn advance(
        &mut self,
        log: &Log,
        wants: Wants,
        mut written: usize,
    ) -> (usize, Option<Partial>) {
        let is_live =
            self.headers.is_none() && self.catch_up.is_none() && self.veil.is_none() && !wants.paused;
        if let Place::At(next) = self.place
            && is_live
            && written > 0
        {
            return self.advance_live(log, next, wants, written);
        }
        while written > 0 {
            let Some(taken) = self.take(log, wants) else { break };
            let len = taken.len();
            if written < len {
                return (0, Some(taken.partial(written)));
            }
            written -= len;
        }
        (written, None)
    }

    /// As [`Self::advance`], of a player that shares all packets from `next` on with others.
    fn advance_live(
        &mut self,
        log: &Log,
        from: Position,
        wants: Wants,
        mut written: usize,
    ) -> (usize, Option<Partial>) {
        let (mut next, mut partial) = (from, None);
        while written > 0
            && let Some(packet) = log.packet(next)
        {
            next += 1;
            if !wants.takes(packet) {
                continue;
            }
            let len = packet.bytes.len();
            self.counters.count(packet.kind, len);
            if written < len {
                partial = Some(Partial { packet: packet.clone(), gone: written });
            }
            written = written.saturating_sub(len);
        }
        if next > from {
            // Asked now: what the log knows of packets that it drops it forgets.
            self.place = Place::At(next);
            self.epoch = Some(log.epoch_before(next));
        }
        (written, partial)
    }

    /// Takes the next packet, for chains in which a layer changes bytes.
    pub(crate) fn step(&mut self, log: &Log, wants: Wants) -> Option<Packet> {
        self.take(log, wants).map(Taken::whole)
    }

    fn take(&mut self, log: &Log, wants: Wants) -> Option<Taken> {
        if wants.paused {
            return None;
        }
        let taken = self.take_uncounted(log, wants)?;
        self.counters.count(taken.kind(), taken.len());
        Some(taken)
    }

    fn take_uncounted(&mut self, log: &Log, wants: Wants) -> Option<Taken> {
        if let Some((headers, sent)) = &mut self.headers {
            if let Some(packet) = headers.get(*sent).cloned() {
                *sent += 1;
                return Some(Taken::Whole(packet));
            }
            self.headers = None;
        }
        while let Some(catch_up) = &mut self.catch_up {
            let taken = catch_up.take(log);
            self.go_on(log, wants);
            if let Some((at, packet, headed)) = taken {
                self.epoch = Some(log.epoch_before(at + 1));
                return Some(match headed {
                    Some(headed) => Taken::Headed(packet, headed),
                    None => Taken::Whole(packet),
                });
            }
        }
        let Place::At(mut next) = self.place else { return None };
        let mut found = None;
        while let Some(packet) = log.packet(next) {
            next += 1;
            if passes(packet, wants, &mut self.veil) {
                found = Some(packet.clone());
                break;
            }
        }
        self.place = Place::At(next);
        self.epoch = Some(log.epoch_before(next));
        found.map(Taken::Whole)
    }

    /// For how long the player has been further behind than the limits allow.
    pub(crate) fn too_far_behind(&self, now: Instant) -> Duration {
        self.lag.over_for(now)
    }

    /// Whether nothing is left to send.
    #[cfg(test)]
    pub(crate) fn is_drained(&self, log: &Log, wants: Wants) -> bool {
        wants.paused
            || self.owed_headers().next().is_none()
                && self.catch_up.is_none()
                && self.ahead(log, self.next(log), wants).next().is_none()
    }

    /// Headers that have not gone out.
    fn owed_headers(&self) -> impl Iterator<Item = &Packet> {
        self.headers.iter().flat_map(|(headers, sent)| &headers[*sent..])
    }

    fn next(&self, log: &Log) -> Position {
        match self.place {
            Place::At(next) => next,
            Place::Waiting(_) => log.end(),
        }
    }

    /// What the player gets of the packets from `next` on.
    fn ahead<'a>(
        &self,
        log: &'a Log,
        next: Position,
        wants: Wants,
    ) -> impl Iterator<Item = &'a Packet> + use<'a> {
        let mut veil = self.veil;
        log.packets(next).filter(move |packet| passes(packet, wants, &mut veil))
    }

    /// Gives up the place at `next` and waits for one to start again, ahead of it.
    fn leave(&mut self, log: &Log, next: Position) {
        let target = log.newest_key().filter(|&key| key >= next).unwrap_or(log.end());
        self.counters.skip(log, next, target);
        self.missed_to = target;
        // Headers that have not gone out are owed still, wherever the player goes on.
        if self.headers.take().is_some_and(|(headers, sent)| sent < headers.len()) {
            self.epoch = None;
        }
        self.catch_up = None;
        self.place = Place::Waiting(next.max(log.base()));
    }
}

/// Whether a player is sent `packet`.
fn passes(packet: &Packet, wants: Wants, veil: &mut Option<Veil>) -> bool {
    if let Some(hidden) = veil
        && packet.kind == MediaKind::Video
        && !packet.role.is_header()
    {
        if packet.dts < hidden.before || hidden.needs_key && packet.role != Role::Key {
            hidden.needs_key |= packet.role != Role::Disposable;
            return false;
        }
        *veil = None;
    }
    wants.takes(packet)
}

#[cfg(test)]
mod tests;
