//! One pull or push: what it is doing, what became of it before, and when it is tried again.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{company::Company, definition::Definition, uri::Target};

/// How long a pull or push waits after its first failure; twice as long after each further one.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The longest such wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// By how much a wait may be longer or shorter, so that many do not come back at once: a quarter.
const JITTER: u32 = 4;

/// Who has run for so long begins with the shortest wait again.
const HEALTHY: Duration = Duration::from_secs(30);

/// How often one may be sent elsewhere within one attempt.
pub(super) const REDIRECTS: u8 = 3;

/// How soon a failure of the same link is logged again if its cause is another one.
const LOG_OTHER: Duration = Duration::from_secs(30);

/// How soon it is logged again if it is the same.
const LOG_SAME: Duration = Duration::from_secs(600);

/// How long after a break players at the far end may still be those of before.
const GOES_ON: Duration = Duration::from_secs(120);

/// Bytes of a cause that are kept.
const CAUSE: usize = 512;

/// What a link is doing, as EvoStream numbers it or near to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Media go.
    Streaming,
    /// A connection is made, or a stream asked for.
    Connecting,
    /// It has failed and will try again.
    Failed,
    /// A push waits for its stream to be published here.
    WaitingForStream,
    /// For good: it is not kept alive.
    Ended,
}

impl Code {
    /// Its number.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Streaming => 0,
            Self::Connecting => 1,
            Self::Failed => 2,
            Self::WaitingForStream => 3,
            Self::Ended => 4,
        }
    }

    /// In words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Streaming => "Streaming",
            Self::Connecting => "Connecting",
            Self::Failed => "Disconnected, will be tried again",
            Self::WaitingForStream => "Waiting for the stream",
            Self::Ended => "Ended",
        }
    }
}

/// What a link was doing, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) code: Code,
    /// Seconds since 1970.
    pub(crate) since: u64,
}

/// What others may know of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) current: Moment,
    pub(crate) previous: Option<Moment>,
    /// Why it failed last, as long as it has not run since.
    pub(crate) cause: Option<String>,
    /// How often it has been tried.
    pub(crate) attempts: u64,
    /// How often it has failed.
    pub(crate) failures: u64,
    /// When it is tried again.
    pub(crate) retry_at: Option<Instant>,
    /// Where it is connected.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) connection: Option<u64>,
    /// Its message stream.
    pub(crate) stream: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) definition: Arc<Definition>,
    pub(super) state: State,
    /// Which of its addresses the next attempt takes.
    next: usize,
    /// How many attempts have failed.
    tried: usize,
    /// Where it has been sent instead.
    pub(super) redirect: Option<Target>,
    pub(super) hops: u8,
    /// Whether it shares its connection.
    pub(super) company: Company,
    /// It is a pull that has failed while somebody else had its name here.
    pub(super) held_off: bool,
    /// When its stream was asked for last.
    pub(super) asked: Option<Instant>,
    /// Where it runs.
    at: Option<Target>,
    /// Why it ended, while one that takes its place is on its way.
    pub(super) lost: Option<String>,
    /// When it moved elsewhere last, and how often shortly before that.
    moved: Option<(Instant, u8)>,
    back_off: Option<Duration>,
    /// Until when media went, where the stream has not ended here since.
    ran: Option<Instant>,
    logged: Option<Logged>,
    view: View,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A push whose stream is not there.
    Waiting,
    /// Until it is tried again.
    Resting(Instant),
    /// On its way to a connection, or on it.
    On {
        peer: u64,
        phase: Phase,
    },
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The connection is not there yet.
    Joining,
    /// It is asked for, under this ticket.
    Ordered(u64),
    /// Media go on this message stream, since then.
    Running(u32, Instant),
    /// They have ended, after they began `since`; at `at` it is not the connection's end that has ended them.
    Ending { since: Instant, at: Instant },
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    cause: String,
    suppressed: u64,
}

impl Link {
    pub(super) fn new(definition: Arc<Definition>, unix: u64) -> Self {
        let current = Moment { code: Code::Connecting, since: unix };
        let view = View {
            current,
            previous: None,
            cause: None,
            attempts: 0,
            failures: 0,
            retry_at: None,
            address: None,
            connection: None,
            stream: None,
        };
        Self {
            definition,
            state: State::Waiting,
            next: 0,
            tried: 0,
            redirect: None,
            hops: 0,
            company: Company::default(),
            held_off: false,
            asked: None,
            at: None,
            lost: None,
            moved: None,
            back_off: None,
            ran: None,
            logged: None,
            view,
        }
    }

    /// Where this attempt leads.
    pub(super) fn target(&self) -> Option<&Target> {
        let targets = &self.definition.targets;
        self.redirect.as_ref().or_else(|| targets.get(self.next.checked_rem(targets.len())?))
    }

    /// How long it has waited for this attempt; the longer, the more often it has failed. One that ran until a moment ago has
    /// not.
    pub(super) fn waited(&self) -> Duration {
        let first = self.back_off.filter(|wait| *wait > BACK_OFF || self.ran.is_none());
        first.unwrap_or_default()
    }

    /// Its failures so far do not count.
    pub(super) fn forgive(&mut self) {
        self.back_off = None;
    }

    /// It is on this connection, or on its way there.
    pub(super) fn join(&mut self, peer: u64, unix: u64) {
        self.state = State::On { peer, phase: Phase::Joining };
        self.view.attempts += 1;
        self.show(Code::Connecting, unix);
    }

    /// Its connection is there.
    pub(super) fn connected(&mut self, connection: u64, address: Option<SocketAddr>) {
        self.view.connection = Some(connection);
        self.view.address = address;
    }

    /// Media go.
    pub(super) fn run(&mut self, peer: u64, stream: u32, now: Instant, unix: u64) {
        self.state = State::On { peer, phase: Phase::Running(stream, now) };
        self.at = self.target().cloned();
        self.redirect = None;
        self.hops = 0;
        self.view.cause = None;
        self.show(Code::Streaming, unix);
        self.view.stream = Some(stream);
    }

    /// One that takes its place at `to`, relative to where it runs; none: there again.
    ///
    /// # Errors
    ///
    /// Why it does not move.
    pub(super) fn successor(
        &mut self,
        to: Option<&str>,
        now: Instant,
        unix: u64,
    ) -> Result<Self, &'static str> {
        let here = self.at.clone().ok_or("it runs nowhere")?;
        let often = self.moved.filter(|(at, _)| now.saturating_duration_since(*at) < HEALTHY);
        let often = often.map_or(0, |(_, often)| often);
        if often >= REDIRECTS {
            return Err("it has moved 3 times, each soon after the other");
        }
        self.moved = Some((now, often + 1));
        let mut next = Self::new(self.definition.clone(), unix);
        next.next = self.next;
        let there = match to {
            Some(to) => here.moved(to).map_err(|_| "that is no address that we could go to")?,
            None => here,
        };
        // Where it is configured to go it goes as it is configured.
        next.redirect = (next.target() != Some(&there)).then_some(there);
        Ok(next)
    }

    /// Another one has taken its place.
    pub(super) fn becomes(&mut self, next: Self) {
        (self.state, self.at, self.lost) = (next.state, next.at, None);
        self.view.connection = next.view.connection;
        self.view.address = next.view.address;
        self.view.stream = next.view.stream;
        self.view.cause = None;
    }

    /// Whether the far end has had the stream a moment ago, and may still have its players.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        self.ran.is_some_and(|ran| now.saturating_duration_since(ran) < GOES_ON)
    }

    /// Whether media go on it, or went until a moment ago.
    pub(super) fn has_run(&self) -> bool {
        matches!(self.state, State::On { phase: Phase::Running(..) | Phase::Ending { .. }, .. })
    }

    /// It waits for its stream.
    pub(super) fn wait(&mut self, now: Instant, unix: u64) {
        self.note_health(now);
        self.state = State::Waiting;
        self.redirect = None;
        self.hops = 0;
        self.ran = None;
        self.show(Code::WaitingForStream, unix);
    }

    /// It has failed. Returns when to try again; none: never.
    pub(super) fn fail(&mut self, cause: &str, now: Instant, unix: u64, random: u32) -> Option<Instant> {
        self.note_health(now);
        let has_run = self.has_run();
        if has_run {
            self.ran = Some(now);
        }
        self.redirect = None;
        self.hops = 0;
        self.next = self.next.wrapping_add(1);
        self.view.failures += 1;
        self.view.cause = Some(cut(cause));
        self.tried = self.tried.saturating_add(1);
        // Who is not kept alive has a turn at each of its addresses all the same, until one of them serves it.
        if !self.definition.keep_alive && (has_run || self.tried >= self.definition.targets.len()) {
            self.state = State::Ended;
            self.show(Code::Ended, unix);
            return None;
        }
        let wait = self.back_off.map_or(BACK_OFF, |last| (last * 2).min(BACK_OFF_MAX));
        self.back_off = Some(wait);
        let at = now + jittered(wait, random);
        self.state = State::Resting(at);
        self.show(Code::Failed, unix);
        self.view.retry_at = Some(at);
        Some(at)
    }

    /// Whether its failure is worth a line now: how many were not since the last one.
    pub(super) fn log(&mut self, cause: &str, now: Instant) -> Option<u64> {
        let cause = cut(cause);
        let Some(logged) = &mut self.logged else {
            self.logged = Some(Logged { at: now, cause, suppressed: 0 });
            return Some(0);
        };
        let patience = if logged.cause == cause { LOG_SAME } else { LOG_OTHER };
        if now.saturating_duration_since(logged.at) < patience {
            logged.suppressed += 1;
            return None;
        }
        let suppressed = std::mem::take(&mut logged.suppressed);
        self.logged = Some(Logged { at: now, cause, suppressed: 0 });
        Some(suppressed)
    }

    pub(super) fn view(&self) -> View {
        self.view.clone()
    }

    fn note_health(&mut self, now: Instant) {
        if self.is_healthy(now) {
            self.back_off = None;
        }
    }

    /// Whether it has run for so long that what went wrong before does not count.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        match self.state {
            State::On { phase: Phase::Running(_, since) | Phase::Ending { since, .. }, .. } => {
                now.saturating_duration_since(since) >= HEALTHY
            }
            _ => false,
        }
    }

    fn show(&mut self, code: Code, unix: u64) {
        self.view.retry_at = None;
        self.view.stream = None;
        if code != Code::Streaming {
            self.view.connection = None;
            self.view.address = None;
        }
        if self.view.current.code != code {
            let before = std::mem::replace(&mut self.view.current, Moment { code, since: unix });
            self.view.previous = Some(before);
        }
    }
}

/// A wait that is up to a quarter shorter or longer.
fn jittered(wait: Duration, random: u32) -> Duration {
    let span = wait / JITTER;
    let share = f64::from(random) / f64::from(u32::MAX);
    wait - span + (span * 2).mul_f64(share)
}

fn cut(text: &str) -> String {
    let end = (0..=CAUSE.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use crtmp_media::Limits;
    use serde_json::{Value, json};

    use super::*;
    use crate::{links::definition::Direction, outbound::Origin};

    fn link(settings: Value) -> Link {
        let Value::Object(settings) = settings else { panic!("not a table") };
        let origin = Origin::Configuration;
        let definition =
            Definition::read(Direction::Pull, "live", origin, &settings, &Limits::default()).unwrap();
        Link::new(Arc::new(definition), 0)
    }

    #[test]
    fn waits_double_up_to_half_a_minute_and_begin_anew_after_health() {
        let mut link = link(json!({ "uri": "rtmp://h/a/b" }));
        let now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..7 {
            let at = link.fail("x", now, 0, u32::MAX / 2).unwrap();
            waits.push((at - now).as_secs_f64().round() as u64);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        for (lived, expected) in [(29, 30), (30, 1), (31, 1)] {
            link.back_off = Some(BACK_OFF_MAX);
            link.run(1, 1, now, 0);
            let end = now + Duration::from_secs(lived);
            let wait = link.fail("x", end, 0, u32::MAX / 2).unwrap() - end;
            assert_eq!(wait.as_secs_f64().round() as u64, expected, "{lived}");
        }
        assert_eq!(jittered(Duration::from_secs(8), 0), Duration::from_secs(6));
        assert_eq!(jittered(Duration::from_secs(8), u32::MAX), Duration::from_secs(10));
    }

    #[test]
    fn addresses_take_turns_after_failures() {
        let mut link = link(json!({ "uri": ["rtmp://a/b/c", "rtmp://d/e/f"], "localStreamName": "x" }));
        let now = Instant::now();
        let host = |link: &Link| link.target().unwrap().uri.host.clone();
        let mut hosts = Vec::new();
        for _ in 0..3 {
            hosts.push(host(&link));
            link.fail("x", now, 0, 0);
        }
        assert_eq!(hosts, ["a", "d", "a"]);
    }

    #[test]
    fn who_is_not_kept_alive_ends_with_its_first_failure_and_says_why() {
        let mut link = link(json!({ "uri": "rtmp://h/a/b", "keepAlive": false }));
        assert_eq!(link.fail("no route", Instant::now(), 7, 0), None);
        let view = link.view();
        assert_eq!((view.current.code, view.cause.as_deref()), (Code::Ended, Some("no route")));
        assert_eq!((view.current.since, view.failures), (7, 1));
    }

    #[test]
    fn who_is_not_kept_alive_has_a_turn_at_each_address_until_one_has_served_it() {
        let uris = json!(["rtmp://a/b/c", "rtmp://d/e/f", "rtmp://g/h/i"]);
        let several = || link(json!({ "uri": uris, "localStreamName": "x", "keepAlive": false }));
        let now = Instant::now();
        let mut link = several();
        assert_eq!([(); 3].map(|()| link.fail("x", now, 0, 0).is_some()), [true, true, false]);
        let mut link = several();
        assert!(link.fail("x", now, 0, 0).is_some());
        link.run(1, 1, now, 0);
        assert_eq!(link.fail("x", now, 0, 0), None);
    }

    #[test]
    fn who_waits_for_its_stream_begins_where_it_is_configured() {
        let mut link = link(json!({ "uri": "rtmp://h/a/b" }));
        link.redirect = link.target().unwrap().redirected("rtmp://other/live").ok();
        link.hops = REDIRECTS;
        link.wait(Instant::now(), 0);
        assert_eq!((link.target().unwrap().uri.host.as_str(), link.hops), ("h", 0));
    }

    #[test]
    fn the_same_failure_is_logged_rarely_and_counted() {
        let mut link = link(json!({ "uri": "rtmp://h/a/b" }));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(link.log("a", start), Some(0));
        assert_eq!(link.log("a", after(1)), None);
        assert_eq!(link.log("b", after(29)), None);
        assert_eq!(link.log("b", after(30)), Some(2));
        assert_eq!(link.log("b", after(629)), None);
        assert_eq!(link.log("b", after(630)), Some(1));
    }

    #[test]
    fn causes_are_cut() {
        for (length, expected) in [(CAUSE - 1, CAUSE - 1), (CAUSE, CAUSE), (CAUSE + 1, CAUSE)] {
            assert_eq!(cut(&"x".repeat(length)).len(), expected);
        }
        assert_eq!(cut(&"é".repeat(CAUSE)).len(), CAUSE);
        assert_eq!(cut(&format!("x{}", "é".repeat(CAUSE))).len(), CAUSE - 1);
    }
}
