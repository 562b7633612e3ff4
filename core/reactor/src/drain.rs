//! The time before the end, in which peers leave that were asked to connect elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often is looked whether they have left.
const PERIOD: Duration = Duration::from_millis(50);

/// Peers that were asked to connect elsewhere, and the time that they have for it.
#[derive(Debug)]
pub struct Drain {
    until: Instant,
    /// Held by each of their connections, too.
    left: Arc<()>,
}

impl Drain {
    pub(crate) fn new(left: Arc<()>, until: Instant) -> Self {
        Self { until, left }
    }

    /// Whether all of them have left, or their time is up.
    pub fn is_over(&self, now: Instant) -> bool {
        Arc::strong_count(&self.left) == 1 || now >= self.until
    }

    /// When that is to be asked next.
    pub fn look_at(&self, now: Instant) -> Instant {
        self.until.min(now + PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_all_have_left_or_the_time_is_up() {
        let (now, left) = (Instant::now(), Arc::new(()));
        let drain = Drain::new(left.clone(), now + PERIOD * 3);
        assert!(!drain.is_over(now) && !drain.is_over(now + PERIOD * 2) && drain.is_over(now + PERIOD * 3));
        assert_eq!(drain.look_at(now), now + PERIOD);
        assert_eq!(drain.look_at(now + PERIOD * 5 / 2), now + PERIOD * 3);
        drop(left);
        assert!(drain.is_over(now));
    }
}
