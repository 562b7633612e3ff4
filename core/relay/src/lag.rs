//! What to do with a player that is behind.

use std::time::{Duration, Instant};

use crtmp_media::Limits;

use crate::log::Behind;

/// What a player's lag asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Keep,
    /// Skip to the newest key frame, if it lies ahead.
    Skip,
    /// Give up: the player has been too far behind for too long.
    Cut,
}

/// How long a player has been too far behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    over_since: Option<Instant>,
}

impl Lag {
    /// Judges a player that is `behind` plus `unsent` bytes which its socket has not taken.
    pub(crate) fn judge(
        &mut self,
        behind: Behind,
        unsent: u64,
        now: Instant,
        limits: &Limits,
        max_lag: Duration,
    ) -> Verdict {
        let over =
            behind.bytes.saturating_add(unsent) > limits.player_queue_bytes as u64 || behind.age > max_lag;
        if !over {
            self.over_since = None;
            return Verdict::Keep;
        }
        let since = *self.over_since.get_or_insert(now);
        if now.saturating_duration_since(since) > limits.player_cut.get() {
            Verdict::Cut
        } else {
            Verdict::Skip
        }
    }

    /// For how long the player has been too far behind.
    pub(crate) fn over_for(&self, now: Instant) -> Duration {
        self.over_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let limits = Limits::default();
        let bytes = limits.player_queue_bytes as u64;
        let time = Duration::from_secs(10);
        let ms = Duration::from_millis(1);
        let cases = [
            (0, 0, Duration::ZERO, Verdict::Keep),
            (bytes - 1, 0, time, Verdict::Keep),
            (bytes, 0, time - ms, Verdict::Keep),
            (bytes + 1, 0, Duration::ZERO, Verdict::Skip),
            (bytes - 10, 10, Duration::ZERO, Verdict::Keep),
            (bytes - 10, 11, Duration::ZERO, Verdict::Skip),
            (u64::MAX, u64::MAX, Duration::ZERO, Verdict::Skip),
            (0, 0, time + ms, Verdict::Skip),
        ];
        for (bytes, unsent, age, verdict) in cases {
            let behind = Behind { packets: 1, bytes, age };
            assert_eq!(
                Lag::default().judge(behind, unsent, Instant::now(), &limits, time),
                verdict,
                "{behind:?}"
            );
        }
    }

    #[test]
    fn a_player_is_cut_only_after_an_unbroken_time_too_far_behind() {
        let limits = Limits::default();
        let start = Instant::now();
        let (cut, max) = (limits.player_cut.get(), Duration::from_secs(10));
        let far = Behind { packets: 1, bytes: u64::MAX, age: Duration::ZERO };
        let mut lag = Lag::default();
        assert_eq!(lag.judge(far, 0, start, &limits, max), Verdict::Skip);
        assert_eq!(lag.judge(far, 0, start + cut, &limits, max), Verdict::Skip);
        assert_eq!(lag.over_for(start + cut), cut);
        assert_eq!(lag.judge(far, 0, start + cut + Duration::from_millis(1), &limits, max), Verdict::Cut);
        assert_eq!(lag.judge(Behind::default(), 0, start + cut, &limits, max), Verdict::Keep);
        assert_eq!(lag.judge(far, 0, start + cut * 2, &limits, max), Verdict::Skip);
    }
}
