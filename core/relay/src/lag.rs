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
    /// Judges a player that is `behind` in its log, plus what has left the log but not reached the player: so
    /// many bytes, worth so much time.
    pub(crate) fn judge(
        &mut self,
        behind: Behind,
        unsent: (u64, Duration),
        now: Instant,
        limits: &Limits,
        max_lag: Duration,
    ) -> Verdict {
        if !Self::is_over(behind, unsent, limits, max_lag) {
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

    /// Whether that is too far behind.
    pub(crate) fn is_over(
        behind: Behind,
        (unsent, unsent_time): (u64, Duration),
        limits: &Limits,
        max_lag: Duration,
    ) -> bool {
        behind.bytes.saturating_add(unsent) > limits.player_queue_bytes as u64
            || behind.age.saturating_add(unsent_time) > max_lag
    }

    /// For how long the player has been too far behind.
    pub(crate) fn over_for(&self, now: Instant) -> Duration {
        self.over_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// How many bytes a stream has in a second, by when they arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    since: Option<Instant>,
    bytes: u64,
    per_second: Option<u64>,
}

impl Rate {
    /// Long enough for key frames, which come in lumps, to be evened out.
    const WINDOW: Duration = Duration::from_secs(2);

    /// Counts what arrived at `now`. What arrives with the first says nothing: a whole group of pictures may
    /// come at once.
    pub(crate) fn count(&mut self, bytes: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed.is_zero() {
            return;
        }
        self.bytes += bytes as u64;
        if elapsed >= Self::WINDOW {
            let new = u64::try_from(u128::from(self.bytes) * 1000 / elapsed.as_millis()).unwrap_or(u64::MAX);
            self.per_second = Some(self.per_second.map_or(new, |old| old.midpoint(new)));
            (self.since, self.bytes) = (Some(now), 0);
        }
    }

    /// Says that what comes next may come in a lump.
    pub(crate) fn interrupt(&mut self) {
        (self.since, self.bytes) = (None, 0);
    }

    /// How long the stream takes for so many bytes; nothing before it is known.
    pub(crate) fn time_of(&self, bytes: u64) -> Duration {
        match self.per_second {
            None | Some(0) => Duration::ZERO,
            Some(rate) => Duration::from_millis(bytes.saturating_mul(1000) / rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_no_lump_spoils_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        // A group of pictures that was there before, then 1000 bytes each 100 ms.
        (0..100).for_each(|_| rate.count(5000, at(0)));
        (1..20).for_each(|step| rate.count(1000, at(step * 100)));
        assert_eq!(rate.time_of(10_000), Duration::ZERO, "not known yet");
        rate.count(1000, at(2000));
        assert_eq!(rate.time_of(10_000), Duration::from_secs(1));
        assert_eq!(rate.time_of(0), Duration::ZERO);
        // Another source, whose group comes at once.
        rate.interrupt();
        (0..100).for_each(|_| rate.count(5000, at(3000)));
        (1..=20).for_each(|step| rate.count(1000, at(3000 + step * 100)));
        assert_eq!(rate.time_of(10_000), Duration::from_secs(1));
        // Three times as much: it is halfway there after one window.
        (1..=20).for_each(|step| rate.count(3000, at(5000 + step * 100)));
        assert_eq!(rate.time_of(20_000), Duration::from_secs(1));
        assert!(rate.time_of(u64::MAX) > Duration::from_secs(1_000_000));
    }

    #[test]
    fn the_table() {
        let limits = Limits::default();
        let bytes = limits.player_queue_bytes as u64;
        let time = Duration::from_secs(10);
        let (none, ms) = (Duration::ZERO, Duration::from_millis(1));
        let cases = [
            (0, 0, none, none, Verdict::Keep),
            (bytes - 1, 0, time, none, Verdict::Keep),
            (bytes, 0, time - ms, none, Verdict::Keep),
            (bytes + 1, 0, none, none, Verdict::Skip),
            (bytes - 10, 10, none, none, Verdict::Keep),
            (bytes - 10, 11, none, none, Verdict::Skip),
            (u64::MAX, u64::MAX, none, none, Verdict::Skip),
            (0, 0, time + ms, none, Verdict::Skip),
            (0, 0, none, time, Verdict::Keep),
            (0, 0, none, time + ms, Verdict::Skip),
            (0, 0, time - ms, ms, Verdict::Keep),
            (0, 0, time, ms, Verdict::Skip),
            (0, 0, Duration::MAX, Duration::MAX, Verdict::Skip),
        ];
        for (bytes, unsent, age, unsent_time, verdict) in cases {
            let behind = Behind { packets: 1, bytes, age };
            assert_eq!(
                Lag::default().judge(behind, (unsent, unsent_time), Instant::now(), &limits, time),
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
        let none = (0, Duration::ZERO);
        let mut lag = Lag::default();
        assert_eq!(lag.judge(far, none, start, &limits, max), Verdict::Skip);
        assert_eq!(lag.judge(far, none, start + cut, &limits, max), Verdict::Skip);
        assert_eq!(lag.over_for(start + cut), cut);
        assert_eq!(lag.judge(far, none, start + cut + Duration::from_millis(1), &limits, max), Verdict::Cut);
        assert_eq!(lag.judge(Behind::default(), none, start + cut, &limits, max), Verdict::Keep);
        assert_eq!(lag.judge(far, none, start + cut * 2, &limits, max), Verdict::Skip);
    }
}
