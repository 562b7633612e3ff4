//! What players of a relayed stream have had already.
//!
//! A server that a stream is fetched from, or that brings it, begins with its newest key frame each time that it
//! connects. After a short break that is one which players here have had. So the newest two groups of pictures of such
//! a stream are remembered, by what their frames are and by the time that the far end gave them; what comes again
//! directly after a break is recognised. Later repeats are the encoder's own affair.

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crtmp_media::{Frame, MediaKind, Role};

use crate::Generation;

/// Frames that are remembered, whatever the groups are like.
const FRAMES: usize = 4096;

/// Groups of pictures that are remembered: what is sent again begins with the newest, or the one before where another
/// key frame came during the break.
const GROUPS: usize = 2;

/// Bytes at each end of a frame that are looked at.
const SAMPLE: usize = 64;

/// How long after its beginning a publish may repeat frames: they come as fast as the network takes them.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is new and no picture may wait for the first new picture: so many frames, of so many bytes.
const FRESH: usize = 256;
const FRESH_BYTES: usize = 1 << 20;

/// The longest step in ms, beyond the break itself, that the far end's time may have made to count as the same clock.
const STEP: i64 = 10_000;

/// The memory of a stream. Its homes, which may be on different workers, have it one after the other; only the newest
/// writes.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    owner: Option<Generation>,
    hasher: RandomState,
    prints: VecDeque<Print>,
    newest: Option<Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Print {
    hash: u64,
    video: bool,
    key: bool,
}

/// A frame's time as the far end says it, and what was added to that here, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    dts: i64,
    offset: i64,
}

/// What a publish that follows a break may be repeating.
#[derive(Debug)]
pub(crate) struct Repeats {
    known: HashSet<u64>,
    /// The newest picture that was known.
    last_picture: Option<u64>,
    hasher: RandomState,
    clock: Option<Clock>,
    until: Instant,
    /// Something has come again.
    repeated: bool,
    /// The newest known picture has come again: what follows continues it.
    complete: bool,
    /// What was new and came before the first new picture.
    fresh: Vec<Frame>,
    fresh_bytes: usize,
}

/// What a publish has repeated.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// Whether there was anything.
    pub(crate) any: bool,
    /// Whether what comes now continues what players have had, picture by picture.
    pub(crate) continues: bool,
    /// What was new and came before the first new picture.
    pub(crate) fresh: Vec<Frame>,
}

/// What a frame is, directly after a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Players have had it.
    Before,
    /// It is new, and something that is not may still follow.
    Fresh,
    /// Nothing is repeated any more.
    New,
}

impl Recent {
    /// The memory is that of the home `generation` from now on; gives what it may be repeating: nothing, unless it
    /// `resumes` the stream. What is known stays known until something newer comes, for the next break may come first.
    pub(crate) fn adopt(&self, generation: Generation, resumes: bool, now: Instant) -> Repeats {
        let mut inner = self.lock();
        inner.owner = Some(generation);
        if !resumes {
            inner.prints.clear();
            inner.newest = None;
        }
        let last_picture = inner.prints.iter().rev().find(|print| print.video).map(|print| print.hash);
        let known = inner.prints.iter().map(|print| print.hash).collect();
        let (hasher, clock) = (inner.hasher.clone(), inner.newest);
        let until = now.checked_add(PATIENCE).unwrap_or(now);
        Repeats {
            known,
            last_picture,
            hasher,
            clock,
            until,
            repeated: false,
            complete: false,
            fresh: Vec::new(),
            fresh_bytes: 0,
        }
    }

    /// Takes note of a new frame of the home `generation` with the far end's time, and where that was put on the
    /// stream's timeline.
    pub(crate) fn note(&self, generation: Generation, frame: &Frame, at: i64) {
        let mut inner = self.lock();
        if inner.owner != Some(generation) {
            return;
        }
        let (video, key) = (frame.kind == MediaKind::Video, frame.is_video_key());
        let hash = print(&inner.hasher, frame);
        inner.prints.push_back(Print { hash, video, key });
        if key {
            let older = inner.prints.iter().enumerate().rev().filter(|(_, print)| print.key).nth(GROUPS - 1);
            let first = older.map_or(0, |(at, _)| at);
            inner.prints.drain(..first);
        }
        if inner.prints.len() > FRAMES {
            inner.prints.pop_front();
        }
        if frame.role != Role::Side {
            inner.newest = Some(Clock { dts: frame.dts, offset: at.saturating_sub(frame.dts) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Homes follow each other: hardly ever does one wait here for another.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repeats {
    /// Whether there is anything that could be repeated.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Says what a frame with the far end's time is; one that has come again is not asked about twice.
    pub(crate) fn see(&mut self, frame: &Frame, now: Instant) -> Seen {
        let hash = print(&self.hasher, frame);
        if self.known.remove(&hash) {
            self.repeated = true;
            self.complete |= self.last_picture == Some(hash);
            return Seen::Before;
        }
        let picture = frame.kind == MediaKind::Video;
        let is_full =
            self.fresh.len() >= FRESH || self.fresh_bytes.saturating_add(frame.body.len()) > FRESH_BYTES;
        if picture || self.last_picture.is_none() || now >= self.until || is_full {
            return Seen::New;
        }
        Seen::Fresh
    }

    /// What comes now does not continue what has come again.
    pub(crate) fn break_off(&mut self) {
        self.complete = false;
    }

    /// Keeps what is new until the first new picture comes.
    pub(crate) fn keep(&mut self, frame: Frame) {
        self.fresh_bytes += frame.body.len();
        self.fresh.push(frame);
    }

    /// How it was.
    pub(crate) fn end(self) -> Repeated {
        let continues = self.repeated && (self.complete || self.last_picture.is_none());
        Repeated { any: self.repeated, continues, fresh: self.fresh }
    }

    /// What has to be added to the far end's time, where its clock has gone on while the stream was away for `gap` ms;
    /// `again`: the frame with the time `dts` has come before.
    pub(crate) fn same_clock(&self, dts: i64, gap: i64, again: bool) -> Option<i64> {
        let clock = self.clock?;
        // On the wire times go round.
        let step = i64::from((dts as u32).wrapping_sub(clock.dts as u32).cast_signed());
        let goes_on = step > 0 && step <= gap.saturating_add(STEP);
        if !again && !goes_on {
            return None;
        }
        Some(clock.dts.saturating_add(step).saturating_sub(dts).saturating_add(clock.offset))
    }
}

fn print(hasher: &RandomState, frame: &Frame) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u8(match frame.kind {
        MediaKind::Audio => 1,
        MediaKind::Video => 2,
        MediaKind::Data => 3,
    });
    hasher.write_u32(frame.dts as u32);
    hasher.write_usize(frame.body.len());
    let body: &[u8] = &frame.body;
    hasher.write(&body[..body.len().min(SAMPLE)]);
    hasher.write(&body[body.len() - body.len().min(SAMPLE)..]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audio, delta, key};

    const FIRST: Generation = Generation(1);
    const SECOND: Generation = Generation(2);

    fn noted(frames: &[Frame]) -> Recent {
        let recent = Recent::default();
        recent.adopt(FIRST, false, Instant::now());
        frames.iter().for_each(|frame| recent.note(FIRST, frame, frame.dts + 4000));
        recent
    }

    fn seen(repeats: &mut Repeats, frames: &[Frame]) -> Vec<Seen> {
        let now = Instant::now();
        frames.iter().map(|frame| repeats.see(frame, now)).collect()
    }

    #[test]
    fn what_comes_again_is_known_until_something_new_comes() {
        use Seen::{Before, Fresh, New};
        let recent = noted(&[key(0), delta(40), key(1000), audio(1010), delta(1040)]);
        let mut repeats = recent.adopt(SECOND, true, Instant::now());
        let again = [key(1000), audio(1010), delta(1040), audio(1050), delta(1080)];
        assert_eq!(seen(&mut repeats, &again), [Before, Before, Before, Fresh, New]);
        assert!(repeats.end().continues, "nothing is missing");
        // The newest picture that players had does not come again.
        let recent = noted(&[key(0), delta(40), delta(80)]);
        let mut repeats = recent.adopt(SECOND, true, Instant::now());
        assert_eq!(seen(&mut repeats, &[key(0), delta(40), delta(120)]), [Before, Before, New]);
        assert!(!repeats.end().continues);
        // Nor is anything repeated twice.
        let mut repeats = noted(&[key(0)]).adopt(SECOND, true, Instant::now());
        assert_eq!(seen(&mut repeats, &[key(0), key(0)]), [Before, New]);
        // Without pictures sound is enough.
        let mut repeats = noted(&[audio(0), audio(20)]).adopt(SECOND, true, Instant::now());
        assert_eq!(seen(&mut repeats, &[audio(20), audio(40)]), [Before, New]);
        assert!(repeats.end().continues);
    }

    #[test]
    fn sound_waits_only_so_long_and_so_much_for_a_picture() {
        let now = Instant::now();
        let mut repeats = noted(&[key(0)]).adopt(SECOND, true, now);
        for number in 0..FRESH {
            assert_eq!(repeats.see(&audio(number as i64), now), Seen::Fresh);
            repeats.keep(audio(number as i64));
        }
        assert_eq!(repeats.see(&audio(100_000), now), Seen::New);
        for (bytes, expected) in [(FRESH_BYTES, Seen::Fresh), (FRESH_BYTES + 1, Seen::New)] {
            let mut repeats = noted(&[key(0)]).adopt(SECOND, true, now);
            let large = Frame { body: vec![0; bytes - 10].into(), ..audio(1) };
            assert_eq!(repeats.see(&large, now), Seen::Fresh);
            repeats.keep(large);
            assert_eq!(repeats.see(&Frame { body: vec![0; 10].into(), ..audio(2) }, now), expected);
        }
        let just = Duration::from_millis(1);
        for (at, expected) in [(PATIENCE - just, Seen::Fresh), (PATIENCE, Seen::New)] {
            let mut repeats = noted(&[key(0)]).adopt(SECOND, true, now);
            assert_eq!(repeats.see(&audio(1), now + at), expected);
        }
    }

    #[test]
    fn two_groups_are_remembered_and_never_too_many_frames() {
        let recent = noted(&[key(0), delta(40), key(1000), delta(1040), key(2000)]);
        let mut repeats = recent.adopt(SECOND, true, Instant::now());
        assert_eq!(seen(&mut repeats, &[key(0)]), [Seen::New]);
        assert_eq!(seen(&mut repeats, &[key(1000), key(2000)]), [Seen::Before, Seen::Before]);
        for (count, expected) in [(FRAMES - 1, Seen::Before), (FRAMES, Seen::New), (FRAMES + 1, Seen::New)] {
            let frames: Vec<Frame> = (1..=count as i64).map(delta).collect();
            let recent = noted(&[vec![key(0)], frames].concat());
            assert!(recent.lock().prints.len() <= FRAMES);
            recent.note(FIRST, &key(1_000_000), 0);
            assert!(recent.lock().prints.len() <= FRAMES, "a key frame is one too");
            let recent = noted(&[vec![key(0)], (1..=count as i64).map(delta).collect()].concat());
            assert_eq!(
                recent.adopt(SECOND, true, Instant::now()).see(&key(0), Instant::now()),
                expected,
                "{count}"
            );
        }
    }

    #[test]
    fn who_has_been_replaced_writes_no_more() {
        let recent = noted(&[key(0)]);
        recent.adopt(SECOND, true, Instant::now());
        recent.note(FIRST, &key(1000), 0);
        let mut repeats = recent.adopt(Generation(3), true, Instant::now());
        assert_eq!(seen(&mut repeats, &[key(0), key(1000)]), [Seen::Before, Seen::New]);
        assert!(recent.adopt(Generation(4), false, Instant::now()).is_empty(), "another stream of that name");
        assert!(recent.adopt(Generation(5), true, Instant::now()).is_empty());
    }

    #[test]
    fn what_a_second_break_comes_too_early_for_is_known_still() {
        let recent = noted(&[key(1000), delta(1040), delta(1080)]);
        let mut repeats = recent.adopt(SECOND, true, Instant::now());
        assert_eq!(seen(&mut repeats, &[key(1000), delta(1040)]), [Seen::Before; 2]);
        let mut repeats = recent.adopt(Generation(3), true, Instant::now());
        let all = [key(1000), delta(1040), delta(1080), delta(1120)];
        assert_eq!(seen(&mut repeats, &all), [Seen::Before, Seen::Before, Seen::Before, Seen::New]);
        assert!(repeats.end().continues);
    }

    #[test]
    fn a_clock_that_has_gone_on_is_the_same() {
        let of = |dts: i64| noted(&[Frame { dts, ..key(0) }]).adopt(SECOND, true, Instant::now());
        let repeats = of(1000);
        for (dts, same) in
            [(999, false), (1000, false), (1001, true), (1300 + STEP, true), (1301 + STEP, false)]
        {
            assert_eq!(repeats.same_clock(dts, 300, false), same.then_some(4000), "{dts}");
        }
        assert_eq!(repeats.same_clock(900, 300, true), Some(4000), "what has come before has the old time");
        // Beyond 2³² ms a new connection begins with what is left.
        let round = 1_i64 << 32;
        assert_eq!(of(round + 1000).same_clock(1500, 600, false), Some(round + 4000));
        assert_eq!(of(round - 100).same_clock(round - 50, 600, false), Some(4000));
        assert_eq!(of(round - 100).same_clock(50, 600, false), Some(round + 4000));
        assert_eq!(Recent::default().adopt(FIRST, true, Instant::now()).same_clock(0, 0, true), None);
    }
}
