//! The timers of an application. No thread and no clock in here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Timers that an application may have at once.
pub(super) const TIMERS: usize = 10_000;

/// Numbers, and when they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_number: BTreeMap<u64, (Instant, Option<Duration>)>,
    by_time: BTreeSet<(Instant, u64)>,
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
        self.by_number.insert(timer, (at, period));
        self.by_time.insert((at, timer));
        true
    }

    /// Takes back a timer; whether there was one.
    pub(super) fn cancel(&mut self, timer: u64) -> bool {
        let Some((at, _)) = self.by_number.remove(&timer) else { return false };
        self.by_time.remove(&(at, timer))
    }

    /// The timers whose time has come. One that was missed several times comes once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some((at, timer)) = self.by_time.first().copied().filter(|(at, _)| *at <= now) {
            due.push(timer);
            let period = self.by_number.get(&timer).and_then(|(_, period)| *period);
            self.cancel(timer);
            if let Some(period) = period {
                let next = at.checked_add(period).filter(|next| *next > now);
                let next = next.or_else(|| now.checked_add(period));
                if let Some(next) = next {
                    self.by_number.insert(timer, (next, Some(period)));
                    self.by_time.insert((next, timer));
                }
            }
        }
        due
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timers_come_in_order_once_or_again() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert!(timers.set(1, 3 * SECOND, None, start));
        assert!(timers.set(2, SECOND, Some(2 * SECOND), start));
        assert_eq!(timers.next(), Some(start + SECOND));
        assert!(timers.due(start).is_empty());
        assert_eq!(timers.due(start + 3 * SECOND), [2, 1], "the second has a period and comes again later");
        assert!(timers.due(start + 4 * SECOND).is_empty());
        assert_eq!(timers.due(start + 5 * SECOND), [2]);
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
        assert_eq!(timers.due(now + SECOND).len(), TIMERS - 1);
        assert!(timers.set(7, Duration::MAX, None, now), "never is a time, too");
    }

    #[test]
    fn what_was_missed_comes_once() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(1, SECOND, Some(SECOND), start);
        assert_eq!(timers.due(start + 10 * SECOND), [1]);
        assert_eq!(timers.next(), Some(start + 11 * SECOND));
    }
}
