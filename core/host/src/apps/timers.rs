//! The timers of an application. No thread and no clock in here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Timers that an application may have at once.
pub(super) const TIMERS: usize = 10_000;

/// Numbers, and when they are due. A timer that is due waits here until its hook is called, once, however often its
/// time comes meanwhile.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_number: BTreeMap<u64, Timer>,
    by_time: BTreeSet<(Instant, u64)>,
    /// Those whose hook is to be called, in the order in which their time came.
    due: BTreeMap<u64, u64>,
    next_turn: u64,
}

#[derive(Debug)]
struct Timer {
    /// When its time comes; none: it has come, and does not come again.
    at: Option<Instant>,
    period: Option<Duration>,
    /// Its place among those that are due.
    turn: Option<u64>,
}

impl Timers {
    /// Sets or replaces a timer; whether there was a place for it.
    pub(super) fn set(
        &mut self,
        timer: u64,
        delay: Duration,
        period: Option<Duration>,
        now: Instant,
    ) -> bool {
        self.cancel(timer);
        if self.by_number.len() >= TIMERS {
            return false;
        }
        // What is farther than the clock reaches never comes.
        let Some(at) = now.checked_add(delay) else { return true };
        self.by_number.insert(timer, Timer { at: Some(at), period, turn: None });
        self.by_time.insert((at, timer));
        true
    }

    /// Takes back a timer, also one that is due; whether there was one.
    pub(super) fn cancel(&mut self, timer: u64) -> bool {
        let Some(Timer { at, turn, .. }) = self.by_number.remove(&timer) else { return false };
        if let Some(at) = at {
            self.by_time.remove(&(at, timer));
        }
        if let Some(turn) = turn {
            self.due.remove(&turn);
        }
        true
    }

    /// Takes the timer whose hook is to be called next. One that was missed several times comes once.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        let (_, timer) = self.due.pop_first()?;
        if let Some(entry) = self.by_number.get_mut(&timer) {
            entry.turn = None;
            if entry.at.is_none() {
                self.by_number.remove(&timer);
            }
        }
        Some(timer)
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Finds those whose time has come.
    fn advance(&mut self, now: Instant) {
        while let Some((at, timer)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            self.by_time.pop_first();
            let Some(entry) = self.by_number.get_mut(&timer) else { continue };
            if entry.turn.is_none() {
                entry.turn = Some(self.next_turn);
                self.due.insert(self.next_turn, timer);
                self.next_turn += 1;
            }
            let next = entry.period.and_then(|period| {
                let next = at.checked_add(period).filter(|next| *next > now);
                next.or_else(|| now.checked_add(period))
            });
            entry.at = next;
            if let Some(next) = next {
                self.by_time.insert((next, timer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn due(timers: &mut Timers, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| timers.take_due(now)).collect()
    }

    #[test]
    fn timers_come_in_order_once_or_again() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert!(timers.set(1, 3 * SECOND, None, start));
        assert!(timers.set(2, SECOND, Some(2 * SECOND), start));
        assert_eq!(timers.next(), Some(start + SECOND));
        assert!(due(&mut timers, start).is_empty());
        assert_eq!(due(&mut timers, start + 3 * SECOND), [2, 1], "the second has a period and comes again");
        assert!(due(&mut timers, start + 4 * SECOND).is_empty());
        assert_eq!(due(&mut timers, start + 5 * SECOND), [2]);
        assert!(timers.cancel(2) && !timers.cancel(2));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_is_replaced_and_their_number_is_bounded() {
        let now = Instant::now();
        let mut timers = Timers::default();
        assert!((0..TIMERS as u64).all(|timer| timers.set(timer, SECOND, None, now)));
        assert!(timers.set(5, 2 * SECOND, None, now));
        assert!(!timers.set(TIMERS as u64, SECOND, None, now));
        assert!(timers.take_due(now + SECOND).is_some());
        assert!(timers.set(TIMERS as u64, SECOND, None, now), "one has gone");
        assert!(!timers.set(TIMERS as u64 + 1, SECOND, None, now), "those that are due count");
        assert_eq!(due(&mut timers, now + SECOND).len(), TIMERS - 1);
        assert!(timers.set(7, Duration::MAX, None, now), "never is a time, too");
    }

    #[test]
    fn what_was_missed_comes_once() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(1, SECOND, Some(SECOND), start);
        assert_eq!(due(&mut timers, start + 10 * SECOND), [1]);
        assert_eq!(timers.next(), Some(start + 11 * SECOND));
    }

    #[test]
    fn however_slow_its_hook_a_timer_waits_once() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for timer in 0..100 {
            timers.set(timer, SECOND, Some(SECOND), start);
        }
        for second in 1..1000 {
            assert_eq!(timers.take_due(start + second * SECOND), Some(u64::from((second - 1) % 100)));
            assert!(timers.due.len() <= 100);
        }
    }

    #[test]
    fn a_timer_that_is_due_can_still_be_taken_back_or_set_anew() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for timer in 1..=3 {
            timers.set(timer, SECOND, None, start);
        }
        assert_eq!(timers.take_due(start + SECOND), Some(1));
        assert!(timers.cancel(2));
        timers.set(3, 5 * SECOND, None, start + SECOND);
        assert_eq!(timers.take_due(start + SECOND), None);
        assert_eq!(due(&mut timers, start + 6 * SECOND), [3]);
    }
}
