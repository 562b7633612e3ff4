//! Catching up: how a player that starts at an old key frame gets near live at once.
//!
//! The player is sent the newest group of pictures from its key frame to where the log ends at that moment, as
//! fast as its connection takes it, with times that leave less room than there was: pictures that no other
//! needs are left out, the others follow each other more closely, and audio begins where the player's time
//! begins. From there on the player shares all packets with the others; no time goes back on the way.
//!
//! The bodies of the pictures are those of the log. What belongs to the player are the first bytes of the next
//! few packets, so that its memory depends neither on the bit rate nor on the length of the group.

use std::{io::IoSlice, rc::Rc, time::Instant};

use arrayvec::ArrayVec;
use crtmp_media::{Head, MediaKind, Packet, Retimed, Role};

use crate::{
    cursor::{Counters, MAX_SLICES, Slices, Wants},
    log::{Group, Log, Position, is_beside},
};

/// Packets that are made ready at a time: each takes two slices.
const READY: usize = MAX_SLICES / 2;

/// A player on its way from the newest key frame to live.
#[derive(Debug)]
pub(crate) struct CatchUp {
    times: Times,
    /// Where the log ended when it began: from here on packets are as they are.
    until: Position,
    /// The next packet to be made ready.
    next: Position,
    /// Packets that are ready, those that the player wants only, and how many of them have gone.
    ready: ArrayVec<Ready, READY>,
    gone: usize,
    /// The time of the newest picture that has been made ready, in ms.
    last: i64,
    /// Its time before, and its track.
    before: (i64, u8),
    /// Packets of video that are still to be made ready.
    pictures: i64,
}

/// A packet as a player gets it.
#[derive(Debug)]
struct Ready {
    at: Position,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// As it is.
    Shared,
    /// With a beginning of its own and these times in ms.
    Headed(Headed),
    /// All its own.
    Copy(Rc<Packet>),
}

/// The beginning of a packet with other times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headed {
    pub(crate) head: Head,
    dts: i64,
    cts: i32,
}

impl Headed {
    /// All of the packet with its new times.
    pub(crate) fn join(&self, packet: &Packet) -> Packet {
        self.head.join(packet, self.dts, self.cts)
    }
}

/// How times are pressed together: those from `from` to `to` lie within `lag` before `to` afterwards. All in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    from: i64,
    to: i64,
    lag: i64,
}

impl Times {
    /// The new time for `time`: never an earlier one, and none that is in another order.
    fn map(self, time: i64) -> i64 {
        let span = self.to.saturating_sub(self.from);
        if time >= self.to || span <= 0 {
            return time;
        }
        self.to - self.to.saturating_sub(time).saturating_mul(self.lag) / span
    }

    fn start(self) -> i64 {
        self.map(self.from)
    }
}

/// How a player is to start at a group of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Approach {
    group: Group,
    /// The newest time of the stream in ms.
    live: i64,
}

impl Approach {
    /// Looks at the group where a player starts.
    pub(crate) fn new(log: &Log, group: Group, now: Instant) -> Self {
        // Audio may be ahead of video because of how the source interleaves; only where no picture has come for
        // long (slides, a camera that is off), audio says what is live.
        let live = if log.has_video(now) { group.video } else { group.newest };
        Self { group, live }
    }

    /// How far behind live a player is that starts with times as they are, in ms.
    pub(crate) fn age(self) -> i64 {
        self.live.saturating_sub(self.group.start).max(0)
    }

    /// A catch-up to within `lag` ms, where the group is older.
    pub(crate) fn catch_up(self, lag: i64, log: &Log) -> Option<Box<CatchUp>> {
        // Of several tracks in one message each has a composition time of its own, at no fixed place.
        if self.age() <= lag || self.group.several {
            return None;
        }
        let times = Times { from: self.group.start, to: self.live, lag };
        Some(Box::new(CatchUp {
            times,
            until: log.end(),
            next: self.group.key,
            ready: ArrayVec::new(),
            gone: 0,
            last: times.start().saturating_sub(1),
            before: (i64::MIN, 0),
            pictures: i64::try_from(self.group.pictures).unwrap_or(i64::MAX),
        }))
    }

    /// The time in ms before which no later picture may lie, where one might.
    pub(crate) fn floor(self) -> Option<i64> {
        (self.live > self.group.video).then_some(self.live)
    }
}

impl CatchUp {
    /// The player's time at its first picture, in ms.
    pub(crate) fn start(&self) -> i64 {
        self.times.start()
    }

    /// How far behind live that is, in ms.
    pub(crate) fn lag(&self) -> i64 {
        self.times.to.saturating_sub(self.start())
    }

    /// The position of the packet that goes next.
    pub(crate) fn position(&self) -> Position {
        self.ready.get(self.gone).map_or(self.next, |ready| ready.at)
    }

    /// Makes the next packets ready where none is. Returns false where there are no more.
    pub(crate) fn make_ready(&mut self, log: &Log, wants: Wants, counters: &mut Counters) -> bool {
        if self.gone < self.ready.len() {
            return true;
        }
        self.ready.clear();
        self.gone = 0;
        while self.next < self.until && !self.ready.is_full() {
            let at = self.next;
            self.next += 1;
            let Some(packet) = log.packet(at) else { continue };
            let wanted = wants.takes(packet);
            let Some((dts, cts)) = self.times_of(packet) else {
                counters.leave_out(packet.kind, wanted);
                continue;
            };
            if !wanted {
                continue;
            }
            let form = if (dts, cts) == (packet.dts, packet.cts) {
                Form::Shared
            } else {
                match log.retime(packet, dts, cts) {
                    Retimed::Head(head) => Form::Headed(Headed { head, dts, cts }),
                    Retimed::Copy(copy) => Form::Copy(Rc::new(copy)),
                }
            };
            let copied = matches!(form, Form::Copy(_));
            self.ready.push(Ready { at, form });
            // One message at most is the player's own.
            if copied {
                break;
            }
        }
        !self.ready.is_empty()
    }

    /// Forgets packets that are ready and that the player does not want any more.
    pub(crate) fn drop_unwanted(&mut self, log: &Log, wants: Wants) {
        self.ready.drain(..self.gone);
        self.gone = 0;
        self.ready.retain(|ready| log.packet(ready.at).is_some_and(|packet| wants.takes(packet)));
    }

    /// Adds packets that are ready, up to about `budget` bytes; takes what it adds off the budget. Returns
    /// whether these are all up to [`Self::until`].
    pub(crate) fn fill<'a>(&'a self, log: &'a Log, slices: &mut Slices<'a>, budget: &mut usize) -> bool {
        for ready in &self.ready[self.gone..] {
            if slices.remaining_capacity() < 2 || *budget == 0 {
                return false;
            }
            let Some(shared) = log.packet(ready.at) else { return false };
            let (head, rest): (&[u8], &[u8]) = match &ready.form {
                Form::Shared => (&[], &shared.bytes),
                Form::Headed(headed) => (headed.head.bytes(), headed.head.rest(shared)),
                Form::Copy(copy) => (&[], &copy.bytes),
            };
            if !head.is_empty() {
                slices.push(IoSlice::new(head));
            }
            slices.push(IoSlice::new(rest));
            *budget = budget.saturating_sub(head.len() + rest.len());
        }
        self.next >= self.until
    }

    /// The position from which on packets are as they are.
    pub(crate) fn until(&self) -> Position {
        self.until
    }

    /// Takes the next packet that is ready: its position, the packet, and what it begins with instead.
    pub(crate) fn take(&mut self, log: &Log) -> Option<(Position, Packet, Option<Headed>)> {
        let ready = self.ready.get(self.gone)?;
        self.gone += 1;
        let shared = || log.packet(ready.at).cloned();
        Some(match &ready.form {
            Form::Shared => (ready.at, shared()?, None),
            Form::Headed(headed) => (ready.at, shared()?, Some(*headed)),
            Form::Copy(copy) => (ready.at, (**copy).clone(), None),
        })
    }

    /// The times that the player gets for `packet`, or nothing where it is left out.
    fn times_of(&mut self, packet: &Packet) -> Option<(i64, i32)> {
        let start = self.times.start();
        match packet.kind {
            MediaKind::Audio if packet.dts >= start => Some((packet.dts, packet.cts)),
            MediaKind::Audio if packet.role.is_header() => Some((start, packet.cts)),
            MediaKind::Audio => None,
            // Times that are pressed together might lie behind what follows the catch-up.
            MediaKind::Data => Some((packet.dts.max(start), packet.cts)),
            MediaKind::Video if packet.role == Role::Disposable => None,
            MediaKind::Video if is_beside(self.before, (packet.dts, packet.track)) => {
                self.before = (packet.dts, packet.track);
                Some((self.last, self.composition_time(packet)))
            }
            MediaKind::Video => {
                self.before = (packet.dts, packet.track);
                self.pictures -= 1;
                // Two pictures may fall on one ms: the later one gives way where there is room before the end.
                let latest = self.times.to.saturating_sub(self.pictures.max(0)).max(start);
                let dts = self.times.map(packet.dts).max(self.last.saturating_add(1)).min(latest);
                self.last = dts.max(self.last).max(start);
                Some((self.last, self.composition_time(packet)))
            }
        }
    }

    /// The composition time in ms of a picture that is decoded at `last`: it is shown where its old time of
    /// presentation has moved to, which keeps the order of pictures, also across the end of the catch-up.
    fn composition_time(&self, packet: &Packet) -> i32 {
        if packet.cts == 0 {
            return 0;
        }
        let shown = self.times.map(packet.dts.saturating_add(packet.cts.into()));
        let least = if packet.cts > 0 { 0 } else { i64::from(i32::MIN) };
        let cts = shown.saturating_sub(self.last).max(least);
        i32::try_from(cts).unwrap_or(packet.cts)
    }
}

#[cfg(test)]
mod tests;
