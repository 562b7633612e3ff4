//! How long messages wait for each other, so that several leave in one system call.
//!
//! Sending costs a worker about the same for each system call, whatever it carries, so the only way to send
//! for less is to send less often. The rule predicts what one round of sending to all players costs (their
//! number times the measured cost of one write) and asks how often the worker can afford that round: it may
//! spend [`SHARE`] of its time, less what receiving takes. A rule on how busy the worker is would swing,
//! because each step halves what it looks at; a prediction does not depend on the step that it has chosen.

use std::time::{Duration, Instant};

use crate::Merge;

/// The part of a worker's time that receiving and sending may take before messages wait for each other.
const SHARE: f64 = 0.45;

/// What sending may take at least, however busy receiving keeps the worker.
const LEAST_SHARE: f64 = 0.1;

/// How often the rule looks at what has been measured.
const WINDOW: Duration = Duration::from_millis(250);

/// Writes that a window needs for their cost to be believed.
const ENOUGH_WRITES: u64 = 32;

/// What is assumed of a write before any was measured, in seconds.
const FIRST_COST: f64 = 5.5e-6;

/// What each byte adds to a write, in seconds: copying and the kernel's bookkeeping of pages.
const BYTE_COST: f64 = 0.24e-9;

/// How much a new window counts against what was known before.
const NEWS: f64 = 0.3;

/// How much of the players of an earlier window still count when fewer were served.
const FADE: f64 = 0.7;

/// From this round on, audio rides with the next video frame: pictures do not wait, and sound waits for less than
/// players buffer anyway, so it pays early.
const RIDE: Duration = Duration::from_micros(1500);

/// From this round on, video frames wait for each other.
const HOLD: Duration = Duration::from_millis(41);

/// A level is left for a lower one only when the round has become so much shorter.
const HYSTERESIS: f64 = 0.8;

/// How long riding audio waits for a video frame at most.
const RIDE_MAX: Duration = Duration::from_millis(45);

/// How messages of one log wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every message leaves at the end of the turn in which it came.
    Off,
    /// What is not video waits for the next video frame, at most so long.
    Ride(Duration),
    /// Messages wait so long, or leave with a video frame if the next one would come too late.
    Hold(Duration),
    /// Messages wait so long, because the configuration says so.
    Fixed(Duration),
}

/// What a turn of a worker has taken of its processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Time for sending to players.
    pub sending: Duration,
    /// Time for everything else.
    pub other: Duration,
    /// System calls that sent to players.
    pub writes: u64,
    /// Bytes that they sent.
    pub bytes: u64,
}

/// The rule of one worker.
#[derive(Debug)]
pub(crate) struct MergeControl {
    opened: Instant,
    window: Spent,
    /// Tells windows apart, so that each log is counted once in each.
    number: u64,
    served: u64,
    players: f64,
    write_cost: f64,
    other_share: f64,
    level: Level,
}

/// What the rule knows and has decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MergeReport {
    /// The level for applications that leave it to the worker.
    pub level: Level,
    /// How much time the worker can afford to pass from one round of sending to the next, from the predicted
    /// cost of a round.
    pub round: Duration,
    /// The measured time of one write, without what its bytes take.
    pub write_cost: Duration,
    /// The part of the worker's time that receiving takes, 0 to 1.
    pub other_share: f64,
}

impl MergeControl {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            window: Spent::default(),
            number: 1,
            served: 0,
            players: 0.0,
            write_cost: FIRST_COST,
            other_share: 0.0,
            level: Level::Off,
        }
    }

    /// The number of the present window.
    pub(crate) fn window(&self) -> u64 {
        self.number
    }

    /// Notes that a log with so many players sends in this window.
    pub(crate) fn serves(&mut self, players: usize) {
        self.served += players as u64;
    }

    /// Notes what a turn has taken.
    pub(crate) fn spent(&mut self, spent: Spent, now: Instant) {
        let window = &mut self.window;
        window.sending += spent.sending;
        window.other += spent.other;
        window.writes += spent.writes;
        window.bytes += spent.bytes;
        let wall = now.saturating_duration_since(self.opened);
        if wall >= WINDOW {
            self.close(wall);
            self.opened = now;
        }
    }

    /// How messages of a log with this setting wait.
    pub(crate) fn level(&self, merge: Merge) -> Level {
        match (merge, self.level) {
            (Merge::Fixed(Duration::ZERO), _) => Level::Off,
            (Merge::Fixed(time), _) => Level::Fixed(time),
            (Merge::Auto { max: Duration::ZERO }, _) => Level::Off,
            (Merge::Auto { max }, Level::Ride(time)) => Level::Ride(time.min(max)),
            (Merge::Auto { max }, Level::Hold(time)) => Level::Hold(time.min(max)),
            (Merge::Auto { .. }, level) => level,
        }
    }

    pub(crate) fn report(&self) -> MergeReport {
        MergeReport {
            level: self.level,
            round: self.round(),
            write_cost: seconds(self.write_cost),
            other_share: self.other_share,
        }
    }

    fn close(&mut self, wall: Duration) {
        let Spent { sending, other, writes, bytes } = std::mem::take(&mut self.window);
        let share = other.as_secs_f64() / wall.as_secs_f64();
        self.other_share += (share - self.other_share) * NEWS;
        if writes >= ENOUGH_WRITES {
            let cost = (sending.as_secs_f64() - bytes as f64 * BYTE_COST).max(0.0) / writes as f64;
            self.write_cost += (cost - self.write_cost) * NEWS;
        }
        self.players = (std::mem::take(&mut self.served) as f64).max(self.players * FADE);
        self.number += 1;
        self.decide();
    }

    fn round(&self) -> Duration {
        seconds(self.write_cost * self.players / (SHARE - self.other_share).max(LEAST_SHARE))
    }

    fn decide(&mut self) {
        let round = self.round();
        let (ride, hold) = match self.level {
            Level::Off => (RIDE, HOLD),
            Level::Ride(_) => (RIDE.mul_f64(HYSTERESIS), HOLD),
            _ => (RIDE.mul_f64(HYSTERESIS), HOLD.mul_f64(HYSTERESIS)),
        };
        self.level = match self.level {
            _ if round < ride => Level::Off,
            _ if round < hold => Level::Ride(RIDE_MAX),
            Level::Hold(now) if round >= now.mul_f64(HYSTERESIS) && round.mul_f64(HYSTERESIS) <= now => {
                Level::Hold(now)
            }
            _ => Level::Hold(round),
        };
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: Merge = Merge::Auto { max: Duration::from_millis(100) };

    struct Load {
        control: MergeControl,
        now: Instant,
    }

    impl Load {
        fn new() -> Self {
            let now = Instant::now();
            Self { control: MergeControl::new(now), now }
        }

        /// Windows in which each of `players` is sent `writes` messages at 5 µs, and receiving takes `other`
        /// of the time.
        fn run(&mut self, windows: usize, players: u64, cost_us: u64, other: f64) -> Level {
            for _ in 0..windows {
                self.now += WINDOW;
                self.control.serves(usize::try_from(players).unwrap());
                let writes = players * 5;
                let sending = Duration::from_micros(cost_us * writes);
                let spent = Spent { sending, other: WINDOW.mul_f64(other), writes, bytes: 0 };
                self.control.spent(spent, self.now);
            }
            self.control.level(AUTO)
        }
    }

    #[test]
    fn few_players_wait_for_nothing_and_many_for_a_frame_and_more_for_each_other() {
        assert_eq!(Load::new().run(20, 100, 5, 0.0), Level::Off);
        assert_eq!(Load::new().run(20, 400, 5, 0.0), Level::Ride(RIDE_MAX));
        assert!(
            matches!(Load::new().run(20, 6000, 5, 0.0), Level::Hold(time) if (66..74).contains(&time.as_millis()))
        );
        assert_eq!(Load::new().run(20, 20_000, 5, 0.0), Level::Hold(Duration::from_millis(100)));
    }

    /// Pairs: half of the work is receiving, and only sending can be made less.
    #[test]
    fn a_worker_that_is_busy_receiving_merges_earlier() {
        assert_eq!(Load::new().run(30, 100, 5, 0.0), Level::Off);
        assert_eq!(Load::new().run(30, 100, 5, 0.25), Level::Ride(RIDE_MAX));
        assert!(matches!(Load::new().run(30, 2000, 5, 0.35), Level::Hold(_)));
    }

    #[test]
    fn a_level_is_left_downward_only_when_the_load_has_clearly_fallen() {
        let mut load = Load::new();
        assert_eq!(load.run(20, 140, 5, 0.0), Level::Ride(RIDE_MAX));
        assert_eq!(load.run(20, 120, 5, 0.0), Level::Ride(RIDE_MAX), "1.3 ms is below 1.5, but not clearly");
        assert_eq!(load.run(20, 100, 5, 0.0), Level::Off);
        assert_eq!(load.run(20, 120, 5, 0.0), Level::Off);
        let Level::Hold(before) = load.run(20, 5000, 5, 0.0) else { panic!("no merging") };
        assert_eq!(load.run(20, 5300, 5, 0.0), Level::Hold(before));
        assert!(matches!(load.run(20, 7000, 5, 0.0), Level::Hold(after) if after > before));
    }

    #[test]
    fn players_that_go_are_forgotten_within_seconds() {
        let mut load = Load::new();
        assert_eq!(load.run(20, 20_000, 5, 0.0), Level::Hold(Duration::from_millis(100)));
        assert_eq!(load.run(20, 10, 5, 0.0), Level::Off);
    }

    #[test]
    fn applications_choose_and_cap() {
        let mut load = Load::new();
        load.run(20, 20_000, 5, 0.0);
        let ms = Duration::from_millis;
        assert_eq!(load.control.level(Merge::Fixed(ms(0))), Level::Off);
        assert_eq!(load.control.level(Merge::Fixed(ms(300))), Level::Fixed(ms(300)));
        assert_eq!(load.control.level(Merge::Auto { max: ms(0) }), Level::Off);
        assert_eq!(load.control.level(Merge::Auto { max: ms(30) }), Level::Hold(ms(30)));
    }

    #[test]
    fn bytes_are_not_taken_for_the_cost_of_writes() {
        let mut control = MergeControl::new(Instant::now());
        let writes = 1000;
        let bytes = 50_000_000;
        let sending = Duration::from_secs_f64(0.005 + bytes as f64 * BYTE_COST);
        for _ in 0..40 {
            control.spent(Spent { sending, writes, bytes, ..Spent::default() }, control.opened + WINDOW);
        }
        let cost = control.report().write_cost.as_secs_f64();
        assert!((cost - 5e-6).abs() < 1e-7, "{cost}");
    }
}
