//! What players of a relayed stream have had already.
//!
//! A server that a stream is fetched from, or that brings it, begins with the newest key frame each time that it
//! connects. After a short break that is one which players here have seen. So the newest frames of such a stream are
//! remembered, by what they are and by the time that the far end gave them, and come through only once.

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crtmp_media::{Frame, MediaKind};

/// Frames that are remembered: longer than any usual group of pictures, with its audio.
const FRAMES: usize = 4096;

/// Bytes at each end of a frame that are looked at.
const SAMPLE: usize = 64;

/// The longest step in ms, beyond the break itself, that the far end's time may have made to count as the same clock.
const STEP: i64 = 10_000;

/// The memory of a stream; shared by its homes, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    order: VecDeque<u64>,
    known: HashSet<u64>,
    newest: Option<Newest>,
}

/// The newest frame in the far end's time, and what was added to that here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    dts: i64,
    offset: i64,
}

impl Recent {
    /// Takes note of a frame with the far end's time; returns whether it is new.
    pub(crate) fn is_new(&self, frame: &Frame) -> bool {
        let mut inner = self.lock();
        let print = inner.print(frame);
        if !inner.known.insert(print) {
            return false;
        }
        if inner.order.len() >= FRAMES
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
        inner.order.push_back(print);
        true
    }

    /// Notes where a frame of the far end's time `dts` was put on the stream's timeline.
    pub(crate) fn placed(&self, dts: i64, at: i64) {
        let mut inner = self.lock();
        if inner.newest.is_none_or(|newest| newest.dts < dts) {
            inner.newest = Some(Newest { dts, offset: at.saturating_sub(dts) });
        }
    }

    /// What has to be added to the far end's time, where its clock has gone on while the stream was away for `gap` ms
    /// and its first new frame is of `dts`.
    pub(crate) fn same_clock(&self, dts: i64, gap: i64) -> Option<i64> {
        let newest = self.lock().newest?;
        let step = dts.saturating_sub(newest.dts);
        (step > 0 && step <= gap.saturating_add(STEP)).then_some(newest.offset)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Homes follow each other: hardly ever does one wait here for another.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn print(&self, frame: &Frame) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(match frame.kind {
            MediaKind::Audio => 1,
            MediaKind::Video => 2,
            MediaKind::Data => 3,
        });
        // On the wire times go round.
        hasher.write_u32(frame.dts as u32);
        hasher.write_usize(frame.body.len());
        let body: &[u8] = &frame.body;
        hasher.write(&body[..body.len().min(SAMPLE)]);
        hasher.write(&body[body.len() - body.len().min(SAMPLE)..]);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audio, delta, key};

    #[test]
    fn a_frame_is_new_once() {
        let recent = Recent::default();
        assert!(recent.is_new(&key(10)) && recent.is_new(&delta(50)) && recent.is_new(&audio(50)));
        assert!(!recent.is_new(&key(10)) && !recent.is_new(&audio(50)));
        let silence = |dts| Frame { dts, ..audio(0) };
        assert!(
            recent.is_new(&silence(60)) && recent.is_new(&silence(83)),
            "what sounds alike is not the same"
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        for (count, is_new) in [(FRAMES - 1, false), (FRAMES, true), (FRAMES + 1, true)] {
            let recent = Recent::default();
            assert!(recent.is_new(&key(-1)));
            (0..count as i64).for_each(|dts| assert!(recent.is_new(&delta(dts))));
            assert_eq!(recent.is_new(&key(-1)), is_new, "{count}");
            assert!(recent.lock().known.len() <= FRAMES && recent.lock().order.len() <= FRAMES);
        }
    }

    #[test]
    fn a_clock_that_has_gone_on_is_the_same() {
        let recent = Recent::default();
        assert_eq!(recent.same_clock(0, 0), None, "nothing was placed");
        recent.placed(1000, 5000);
        recent.placed(900, 4900);
        for (dts, same) in
            [(999, false), (1000, false), (1001, true), (1300 + STEP, true), (1301 + STEP, false)]
        {
            assert_eq!(recent.same_clock(dts, 300), same.then_some(4000), "{dts}");
        }
    }
}
