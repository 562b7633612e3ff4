//! Tests of the way to the peer: `checkBandwidth` of Flash Media Server, and the test of SRS 1.
//!
//! Nothing is sent faster than the plan says, and never more than a window of it is on its way: the peer's answers to
//! calls, and to pings between the data of SRS, say what has arrived. So a test neither fills the queue of control
//! messages nor the buffers of the system, and what it measures is what has arrived. One test runs at a time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crtmp_media::{BandwidthKind, BandwidthPlan, BandwidthReport, BandwidthSample, Cx, Event, Value};

use super::{Phase, ServerSession, calls};
use crate::message::{Command, Control, UserControl};

/// Bytes of one call of `checkBandwidth`; so many crtmpserver sent.
const CALL: usize = 32_767;
/// The most such calls at once. Together they are half of the smallest queue that is configured usually.
const CALLS: usize = 4;
/// A round of calls that takes less says little.
const ROUND: Duration = Duration::from_millis(500);

/// Bytes of the text of one message of SRS's test.
const PIECE: usize = 4096;
/// Bytes of that test that may be on their way.
const WINDOW: u64 = 128 * 1024;
/// Time between two looks at how much may be sent.
const TICK: Duration = Duration::from_millis(20);
/// The interval that SRS names, in ms; clients show it at most.
const INTERVAL: f64 = 50.0;
/// Stamps of pings that are no ages: a connection of 24 days would have such.
const STAMPS: u32 = 0x8000_0000;
/// Time for what only some clients answer.
const OPTIONAL: Duration = Duration::from_secs(1);

const NOTHING: BandwidthSample = BandwidthSample { bytes: 0, time: Duration::ZERO };

const START_PLAY: &str = "onSrsBandCheckStartPlayBytes";
const STARTING_PLAY: &str = "onSrsBandCheckStartingPlayBytes";
const PLAYING: &str = "onSrsBandCheckPlaying";
const STOP_PLAY: &str = "onSrsBandCheckStopPlayBytes";
const STOPPED_PLAY: &str = "onSrsBandCheckStoppedPlayBytes";
const START_PUBLISH: &str = "onSrsBandCheckStartPublishBytes";
const STARTING_PUBLISH: &str = "onSrsBandCheckStartingPublishBytes";
const STOP_PUBLISH: &str = "onSrsBandCheckStopPublishBytes";
const STOPPED_PUBLISH: &str = "onSrsBandCheckStoppedPublishBytes";
const FINISHED: &str = "onSrsBandCheckFinished";
const FINAL: &str = "finalClientPacket";

/// A test that runs.
#[derive(Debug)]
pub(super) struct Test {
    plan: BandwidthPlan,
    report: BandwidthReport,
    step: Step,
    begun: Instant,
    /// When the step has lasted too long, or has more to do.
    due: Instant,
    /// Flash: what rounds of the present size have brought, and all of them together in bytes.
    rounds: BandwidthSample,
    total: u64,
    /// What is sent again and again: nothing that could be pressed together.
    text: String,
}

#[derive(Debug)]
enum Step {
    /// Flash: a call without a text has been sent.
    Latency,
    /// Flash: calls with texts are open, and so many will be in the next round.
    Round { open: usize, calls: usize, since: Instant },
    /// Flash: the next round begins when the rate allows it.
    Pause { calls: usize },
    /// SRS: the peer is to say that it is ready for data.
    StartPlay,
    /// SRS: data go down.
    Playing { since: Instant, sent: u64, pings: Pings },
    /// SRS: the peer is to say that all has come.
    StopPlay { since: Instant, sent: u64 },
    /// SRS: the peer is to say that it begins to send.
    StartPublish,
    /// SRS: data come up.
    Publishing { since: Instant, before: u64 },
    /// SRS: the peer may say that it has stopped.
    StopPublish,
    /// SRS: the peer may say that it has seen the report.
    Finished,
}

/// What has arrived, as far as it is known.
#[derive(Debug, Default)]
struct Pings {
    arrived: u64,
    last: u32,
    /// Pings on their way, and what had been sent before each.
    open: VecDeque<(u32, u64)>,
}

impl Test {
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// The time in which the plan's rate allows so many bytes.
    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64((bytes as f64 * 8.0 / self.plan.rate.max(1) as f64).min(3600.0))
    }

    /// The bytes that the plan's rate allows in this time.
    fn bytes_in(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.plan.rate as f64 / 8.0) as u64
    }
}

impl ServerSession {
    /// Begins a test.
    pub(super) fn test_bandwidth(&mut self, plan: BandwidthPlan, cx: &mut Cx<'_>) {
        if self.test.is_some() || self.core.phase == Phase::Closed {
            return;
        }
        let mut bytes = vec![0; CALL];
        cx.random(&mut bytes);
        let text = bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect();
        let now = cx.now();
        let step = match plan.kind {
            BandwidthKind::Check => Step::Latency,
            BandwidthKind::BandCheck => Step::StartPlay,
        };
        let report = BandwidthReport::new(plan.kind);
        let test = Test {
            report,
            step,
            begun: now,
            due: now + plan.patience,
            rounds: NOTHING,
            total: 0,
            text,
            plan,
        };
        match test.plan.kind {
            BandwidthKind::Check => self.call_check("", cx),
            BandwidthKind::BandCheck => self.say(&test.plan, START_PLAY, Vec::new(), cx),
        }
        self.test = Some(Box::new(test));
    }

    /// The peer has answered a call of the test.
    pub(super) fn on_bandwidth_answer(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let Some(mut test) = self.test.take() else { return };
        match test.step {
            Step::Latency => {
                test.report.latency = Some(now.saturating_duration_since(test.begun));
                test.begun = now;
                self.round(&mut test, 1, cx);
            }
            Step::Round { open, calls, since } if open > 1 => {
                test.step = Step::Round { open: open - 1, calls, since };
            }
            Step::Round { calls, since, .. } => {
                let (bytes, latency) = ((calls * CALL) as u64, test.report.latency.unwrap_or_default());
                // The time of an empty call is no time of the bytes.
                let time = now.saturating_duration_since(since).saturating_sub(latency);
                let time = time.max(Duration::from_millis(1));
                test.total += bytes;
                test.rounds =
                    BandwidthSample { bytes: test.rounds.bytes + bytes, time: test.rounds.time + time };
                test.report.down = Some(test.rounds);
                let next = if time < ROUND { (calls * 2).min(CALLS) } else { calls };
                if next > calls {
                    // Beside larger rounds smaller ones say little.
                    test.rounds = NOTHING;
                }
                let spent = now.saturating_duration_since(test.begun);
                if spent >= test.plan.time || test.total + (next * CALL) as u64 > test.plan.bytes {
                    return self.end_check(*test, cx);
                }
                let begin = since + test.time_of(bytes);
                if begin > now {
                    (test.step, test.due) = (Step::Pause { calls: next }, begin);
                } else {
                    self.round(&mut test, next, cx);
                }
            }
            _ => {}
        }
        self.test = Some(test);
    }

    /// Whether a command is the test's: what it says has been done then.
    pub(super) fn is_of_test(&mut self, command: &Command, cx: &mut Cx<'_>) -> bool {
        let is_test = self.test.as_ref().is_some_and(|test| test.plan.kind == BandwidthKind::BandCheck);
        if !is_test || !(command.name.starts_with("onSrsBandCheck") || command.name == FINAL) {
            return false;
        }
        let now = cx.now();
        self.core.clock.commanded(now);
        let received = self.core.reader.bytes();
        let Some(mut test) = self.test.take() else { return false };
        match (&test.step, command.name.as_str()) {
            (Step::StartPlay, STARTING_PLAY) => {
                test.step = Step::Playing { since: now, sent: 0, pings: Pings::default() };
                self.send_pieces(&mut test, cx);
            }
            (&Step::StopPlay { since, sent }, STOPPED_PLAY) => {
                let time = now.saturating_duration_since(since);
                test.report.down = Some(BandwidthSample { bytes: sent, time });
                (test.step, test.due) = (Step::StartPublish, now + test.plan.patience);
                self.say(&test.plan, START_PUBLISH, Vec::new(), cx);
            }
            (Step::StartPublish, STARTING_PUBLISH) => {
                test.step = Step::Publishing { since: now, before: received };
                test.due = now + test.plan.time;
            }
            (Step::Publishing { before, .. }, name)
                if name == STOPPED_PUBLISH || received - before >= test.plan.bytes =>
            {
                self.stop_publish(&mut test, cx);
            }
            (Step::StopPublish, STOPPED_PUBLISH) => self.finish(&mut test, cx),
            (Step::Finished, FINAL) => return self.conclude(*test, cx),
            // Data, and what comes late.
            _ => {}
        }
        self.test = Some(test);
        true
    }

    /// A pong that belongs to the test.
    pub(super) fn on_test_pong(&mut self, stamp: u32, cx: &mut Cx<'_>) {
        let Some(mut test) = self.test.take() else { return };
        if let Step::Playing { pings, .. } = &mut test.step
            && let Some(at) = pings.open.iter().position(|(other, _)| *other == stamp)
        {
            if let Some((_, sent)) = pings.open.drain(..=at).next_back() {
                pings.arrived = sent;
            }
            self.send_pieces(&mut test, cx);
        }
        self.test = Some(test);
    }

    /// Does what is due.
    pub(super) fn on_test_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let Some(mut test) = self.test.take_if(|test| test.due <= now) else { return };
        match test.step {
            Step::Playing { .. } => self.send_pieces(&mut test, cx),
            Step::Publishing { .. } => self.stop_publish(&mut test, cx),
            Step::StopPublish => self.finish(&mut test, cx),
            Step::Finished => {
                self.conclude(*test, cx);
                return;
            }
            Step::Pause { calls } => self.round(&mut test, calls, cx),
            Step::Latency | Step::Round { .. } => {
                test.report.trouble = Some("the peer does not answer");
                return self.end_check(*test, cx);
            }
            Step::StartPlay | Step::StopPlay { .. } | Step::StartPublish => {
                test.report.trouble = Some("the peer does not answer");
                self.conclude(*test, cx);
                return;
            }
        }
        self.test = Some(test);
    }

    fn call_check(&mut self, text: &str, cx: &mut Cx<'_>) {
        let args = vec![text.into(), (text.len() as f64).into()];
        self.core.step(calls::Step::Bandwidth, "onBWCheck", Value::Null, args, cx);
    }

    fn round(&mut self, test: &mut Test, calls: usize, cx: &mut Cx<'_>) {
        for _ in 0..calls {
            self.call_check(&test.text, cx);
        }
        test.step = Step::Round { open: calls, calls, since: cx.now() };
        test.due = cx.now() + test.plan.patience;
    }

    /// Tells the peer what `checkBandwidth` has found: kilobits a second, kilobytes, seconds, milliseconds of a call.
    fn end_check(&mut self, test: Test, cx: &mut Cx<'_>) {
        let args = match test.report.down {
            Some(down) => {
                let latency = test.report.latency.unwrap_or_default().as_millis() as f64;
                let (kbps, kilobytes) = (down.kbps() as f64, down.bytes as f64 / 1000.0);
                vec![kbps.into(), kilobytes.into(), down.time.as_secs_f64().into(), latency.into()]
            }
            None => Vec::new(),
        };
        self.core.send_command(0, &Command::call("onBWDone", 0.0, Value::Null, args), cx);
        self.core.clock.commanded(cx.now());
        cx.emit(Event::BandwidthTested(Box::new(test.report)));
    }

    /// Sends what rate and window allow, or ends this direction.
    fn send_pieces(&mut self, test: &mut Test, cx: &mut Cx<'_>) {
        let now = cx.now();
        let text = Value::from(&test.text[..PIECE]);
        let Step::Playing { since, mut sent, .. } = test.step else { return };
        let time = now.saturating_duration_since(since);
        if time >= test.plan.time || (sent > 0 && sent + PIECE as u64 > test.plan.bytes) {
            self.say(&test.plan, STOP_PLAY, delta(sent, time), cx);
            (test.step, test.due) = (Step::StopPlay { since, sent }, now + test.plan.patience);
            return;
        }
        let most = test.bytes_in(time + TICK).min(test.plan.bytes);
        let Step::Playing { sent: place, pings, .. } = &mut test.step else { return };
        let mut any = false;
        while sent + PIECE as u64 <= most.max(PIECE as u64) && sent - pings.arrived < WINDOW {
            let piece = Value::Object(vec![("data".to_owned(), text.clone())]);
            let command = Command::call(PLAYING, 0.0, Value::Null, vec![piece]);
            let (_, body) = self.core.command_body(&command);
            sent += body.len() as u64;
            self.core.send_command(0, &command, cx);
            any = true;
        }
        *place = sent;
        if any {
            pings.last = pings.last.wrapping_add(1);
            let stamp = STAMPS | pings.last;
            pings.open.push_back((stamp, sent));
            self.core.send_control(Control::User(UserControl::PingRequest(stamp)), cx);
        }
        test.due = now + TICK;
    }

    fn stop_publish(&mut self, test: &mut Test, cx: &mut Cx<'_>) {
        let Step::Publishing { since, before } = test.step else { return };
        let (bytes, time) = (self.core.reader.bytes() - before, cx.now().saturating_duration_since(since));
        test.report.up = Some(BandwidthSample { bytes, time });
        self.say(&test.plan, STOP_PUBLISH, delta(bytes, time), cx);
        // Flash Player has so much in its queue that it never gets to say so.
        (test.step, test.due) = (Step::StopPublish, cx.now() + OPTIONAL);
    }

    fn finish(&mut self, test: &mut Test, cx: &mut Cx<'_>) {
        let now = cx.now();
        let (down, up) = (test.report.down.unwrap_or(NOTHING), test.report.up.unwrap_or(NOTHING));
        let ms = |time: Duration| time.as_millis() as f64;
        let values = [
            ("code", 0.0),
            ("start_time", 0.0),
            ("end_time", ms(now.saturating_duration_since(test.begun))),
            ("play_kbps", down.kbps() as f64),
            ("publish_kbps", up.kbps() as f64),
            ("play_bytes", down.bytes as f64),
            ("play_time", ms(down.time)),
            ("publish_bytes", up.bytes as f64),
            ("publish_time", ms(up.time)),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.into()));
        let report = Command::call(FINISHED, 0.0, Value::Null, vec![Value::Object(values.into())]);
        self.core.send_command(0, &report, cx);
        (test.step, test.due) = (Step::Finished, now + OPTIONAL);
    }

    /// The test is over, and with it what the connection was for. True, for whoever has dealt with a command so.
    fn conclude(&mut self, test: Test, cx: &mut Cx<'_>) -> bool {
        cx.emit(Event::BandwidthTested(Box::new(test.report)));
        true
    }

    /// A step of SRS's test, with the plan that all of them name.
    fn say(&mut self, plan: &BandwidthPlan, name: &str, more: Vec<(String, Value)>, cx: &mut Cx<'_>) {
        let mut values = vec![
            ("duration_ms".to_owned(), Value::from(plan.time.as_millis() as f64)),
            ("interval_ms".to_owned(), INTERVAL.into()),
        ];
        values.extend(more);
        let command = Command::call(name, 0.0, Value::Null, vec![Value::Object(values)]);
        self.core.send_command(0, &command, cx);
        self.core.clock.commanded(cx.now());
    }
}

/// What a direction has brought so far, as SRS says it.
fn delta(bytes: u64, time: Duration) -> Vec<(String, Value)> {
    vec![
        ("duration_delta".to_owned(), Value::from(time.as_millis() as f64)),
        ("bytes_delta".to_owned(), Value::from(bytes as f64)),
    ]
}
