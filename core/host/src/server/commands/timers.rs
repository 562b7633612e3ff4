//! Commands about timers, which tell the event logger that it is time for something.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server};
use crate::{
    commands::{Access, Kind, Param, Spec},
    events::{self, time},
};

/// Timers that may be set at once.
const TIMERS: usize = 256;

/// Whole seconds of the shortest and of the longest period.
const PERIOD: std::ops::RangeInclusive<u64> = 1..=86_399;

/// How long to sleep at most before a time of the clock: the clock may be set meanwhile.
const CLOCK: Duration = Duration::from_secs(60);

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "setTimer",
                Access::Change,
                &[Param::required(
                    "value",
                    Kind::Text,
                    "seconds from 1 to 86399, again and again; or once a time in UTC, YYYY-MM-DDTHH:MM:SS or HH:MM:SS",
                )],
                "Has the event logger told when it is time.",
            ),
            set_timer,
        ),
        Builtin::new(
            Spec::new("listTimers", Access::Read, &[], "Lists the timers that are set."),
            |server, _| Outcome::Data(server.state.timers.entries()),
        )
        .saying("Available timers"),
        Builtin::new(
            Spec::new(
                "removeTimer",
                Access::Change,
                &[Param::required("id", Kind::Whole, "the timer's `timerId`, from listTimers")],
                "Removes a timer.",
            ),
            remove_timer,
        ),
    ]
}

/// All timers, by their numbers.
#[derive(Default)]
pub(super) struct Timers(BTreeMap<u64, Timer>);

struct Timer {
    /// As it was given.
    value: Value,
    when: When,
    triggers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// Next then, and again after each such period.
    Every(Duration, Instant),
    /// Once, when the clock shows this.
    At(SystemTime),
}

impl Timers {
    fn entries(&self) -> Value {
        self.0.iter().map(|(id, timer)| timer.entry(*id)).collect()
    }

    fn due(&self, now: Instant, clock: SystemTime) -> Option<Instant> {
        let due = |timer: &Timer| match timer.when {
            When::Every(_, next) => next,
            When::At(time) => now + time.duration_since(clock).unwrap_or_default().min(CLOCK),
        };
        self.0.values().map(due).min()
    }

    /// Lets go off what is due, and tells of it.
    fn go_off(&mut self, now: Instant, clock: SystemTime, mut tell: impl FnMut(events::Kind, Value)) {
        self.0.retain(|id, timer| {
            let stays = match &mut timer.when {
                When::Every(_, next) if *next > now => return true,
                When::At(time) if *time > clock => return true,
                When::Every(period, next) => {
                    // What was missed while the server could not look is not made up for.
                    let late = now.saturating_duration_since(*next).as_nanos() % period.as_nanos().max(1);
                    *next = now + *period - Duration::from_nanos(u64::try_from(late).unwrap_or_default());
                    true
                }
                When::At(_) => false,
            };
            timer.triggers += 1;
            tell(events::Kind::TimerTriggered, timer.entry(*id));
            if !stays {
                tell(events::Kind::TimerClosed, timer.entry(*id));
            }
            stays
        });
    }
}

impl Timer {
    fn new(value: &str, now: Instant, clock: SystemTime) -> Result<Self, String> {
        let (value, when) = if let Ok(seconds) = value.parse::<u64>() {
            if !PERIOD.contains(&seconds) {
                let (first, last) = (PERIOD.start(), PERIOD.end());
                return Err(format!(
                    "`value` of `setTimer` must be from {first} to {last} seconds, not {seconds}"
                ));
            }
            let period = Duration::from_secs(seconds);
            (seconds.into(), When::Every(period, now + period))
        } else if let Some(second) = time::second_of_day(value) {
            (value.into(), When::At(time::next_daily(clock, second)))
        } else if let Some(time) = time::parse(value) {
            if time <= clock {
                return Err(format!("`value` of `setTimer` is {value} (UTC), which is over"));
            }
            (value.into(), When::At(time))
        } else {
            let shown: String = value.chars().take(64).collect();
            return Err(format!(
                "`value` of `setTimer` must be whole seconds, YYYY-MM-DDTHH:MM:SS or HH:MM:SS, not {shown:?}"
            ));
        };
        Ok(Self { value, when, triggers: 0 })
    }

    fn entry(&self, id: u64) -> Value {
        json!({ "id": id, "timerId": id, "value": self.value, "triggerCount": self.triggers })
    }
}

fn set_timer(server: &mut Server, run: &Run<'_>) -> Outcome {
    if server.state.timers.0.len() >= TIMERS {
        return Outcome::Fail(format!("there are {TIMERS} timers; remove one first"));
    }
    match Timer::new(run.params.text("value"), Instant::now(), SystemTime::now()) {
        Ok(timer) => {
            let id = server.state.next_id();
            let entry = timer.entry(id);
            server.state.timers.0.insert(id, timer);
            server.tell(events::Kind::TimerCreated, entry.clone());
            Outcome::Done("the timer is set", entry)
        }
        Err(text) => Outcome::Fail(text),
    }
}

fn remove_timer(server: &mut Server, run: &Run<'_>) -> Outcome {
    let id = run.params.whole("id").unwrap_or_default();
    match server.state.timers.0.remove(&id) {
        Some(timer) => {
            let entry = timer.entry(id);
            server.tell(events::Kind::TimerClosed, entry.clone());
            Outcome::Done("the timer is removed", entry)
        }
        None => Outcome::Fail(format!("there is no timer {id}; `listTimers` lists all")),
    }
}

impl Server {
    pub(super) fn timers_due(&self) -> Option<Instant> {
        self.state.timers.due(Instant::now(), SystemTime::now())
    }

    pub(super) fn look_after_timers(&mut self, now: Instant) {
        let mut timers = std::mem::take(&mut self.state.timers);
        timers.go_off(now, SystemTime::now(), |kind, payload| self.tell(kind, payload));
        self.state.timers = timers;
    }

    pub(super) fn close_timers(&mut self) {
        for (id, timer) in std::mem::take(&mut self.state.timers).0 {
            self.tell(events::Kind::TimerClosed, timer.entry(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15T08:00:00.
    fn clock() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn at(seconds: u64) -> When {
        When::At(clock() + Duration::from_secs(seconds))
    }

    fn went_off(timers: &mut Timers, now: Instant, clock: SystemTime) -> Vec<(events::Kind, u64)> {
        let mut told = Vec::new();
        timers
            .go_off(now, clock, |kind, payload| told.push((kind, payload["triggerCount"].as_u64().unwrap())));
        told
    }

    #[test]
    fn values_are_periods_or_times() {
        let now = Instant::now();
        let when = |value: &str| Timer::new(value, now, clock()).map(|timer| timer.when);
        let every = |seconds| {
            let period = Duration::from_secs(seconds);
            Ok(When::Every(period, now + period))
        };
        for (value, good) in [("0", false), ("1", true), ("2", true)] {
            assert_eq!(when(value).is_ok(), good, "{value}");
        }
        for (value, good) in [("86398", true), ("86399", true), ("86400", false)] {
            assert_eq!(when(value).is_ok(), good, "{value}");
        }
        assert_eq!(when("10"), every(10));
        assert_eq!(when("2027-01-15T08:00:01"), Ok(at(1)));
        assert_eq!(when("08:00:01"), Ok(at(1)));
        assert_eq!(when("08:00:00"), Ok(at(86_400)));
        assert!(
            when("2027-01-15T08:00:00").unwrap_err().ends_with("is 2027-01-15T08:00:00 (UTC), which is over")
        );
        for value in ["", "-1", "1.5", "soon", "2027-02-30T00:00:00", "25:00:00", "99999999999999999999"] {
            assert!(when(value).unwrap_err().contains("must be whole seconds, YYYY"), "{value}");
        }
    }

    #[test]
    fn a_period_goes_off_again_and_again_and_makes_up_for_nothing() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.0.insert(1, Timer::new("10", start, clock()).unwrap());
        assert_eq!(timers.due(start, clock()), Some(start + 10 * second));
        assert_eq!(went_off(&mut timers, start + 9 * second, clock()), []);
        let triggered = |count| vec![(events::Kind::TimerTriggered, count)];
        assert_eq!(went_off(&mut timers, start + 10 * second, clock()), triggered(1));
        assert_eq!(went_off(&mut timers, start + 10 * second, clock()), []);
        assert_eq!(went_off(&mut timers, start + 45 * second, clock()), triggered(2));
        assert_eq!(timers.due(start, clock()), Some(start + 50 * second));
    }

    #[test]
    fn a_time_goes_off_once_even_if_the_clock_is_set() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.0.insert(1, Timer::new("09:00:00", now, clock()).unwrap());
        assert_eq!(timers.due(now, clock()), Some(now + CLOCK));
        let hour = Duration::from_secs(3600);
        assert_eq!(timers.due(now, clock() + hour), Some(now));
        let both = [(events::Kind::TimerTriggered, 1), (events::Kind::TimerClosed, 1)];
        assert_eq!(went_off(&mut timers, now, clock() + hour), both);
        assert_eq!(timers.due(now, clock()), None);
    }
}
