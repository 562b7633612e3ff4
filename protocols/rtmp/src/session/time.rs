//! What time does to a session.

use std::time::{Duration, Instant};

use crtmp_media::{Cx, Error, Limits};

use super::{Core, PROTOCOL, Phase, Slot, SlotState, calls::Step};
use crate::message::{Control, UserControl};

/// No application makes a peer answer more often; `pingAfter` cannot be shorter either.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// The moments that a session's timers count from.
#[derive(Debug)]
pub(super) struct Clock {
    opened: Instant,
    shaken: Instant,
    heard: Instant,
    commanded: Instant,
    ping: Option<Ping>,
    /// When the last ping was sent, or could first have been.
    pinged: Instant,
    /// How often the peer is pinged even if it is not silent.
    ping_interval: Option<Duration>,
    /// Stamps are ms since the connection came, as the peer might expect.
    last_stamp: u32,
}

#[derive(Debug)]
struct Ping {
    stamp: u32,
    sent: Instant,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            shaken: now,
            heard: now,
            commanded: now,
            ping: None,
            pinged: now,
            ping_interval: None,
            last_stamp: 0,
        }
    }

    /// The connection is there only now.
    pub(super) fn open(&mut self, now: Instant) {
        self.opened = now;
        self.heard = now;
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn shaken(&mut self, now: Instant) {
        self.shaken = now;
    }

    pub(super) fn commanded(&mut self, now: Instant) {
        self.commanded = now;
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.commanded = now;
        self.pinged = now;
    }

    pub(super) fn tune(&mut self, ping_interval: Option<Duration>) {
        self.ping_interval = ping_interval.map(|interval| interval.max(SHORTEST_INTERVAL));
    }

    /// The round trip time in ms, if `stamp` answers our ping.
    pub(super) fn pong(&mut self, stamp: u32, now: Instant) -> Option<u32> {
        let ping = self.ping.take_if(|ping| ping.stamp == stamp)?;
        u32::try_from(now.saturating_duration_since(ping.sent).as_millis()).ok()
    }

    /// When the peer is to be pinged because it is silent, and because it is time again.
    fn next_pings(&self, ping_after: Duration, patience: Duration) -> [Option<(Instant, Due)>; 2] {
        let since = self.ping.as_ref().map_or(self.heard, |ping| ping.sent.max(self.heard));
        let Some(interval) = self.ping_interval else { return [at(since, ping_after, Due::Ping), None] };
        // Regular pings are enough, unless the silence would end the connection before the next.
        let quiet = interval.min(patience / 2).max(ping_after);
        [at(since, quiet, Due::Ping), at(self.pinged, interval, Due::Ping)]
    }

    fn next_ping(&mut self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.opened).as_millis();
        self.last_stamp = (age as u32).max(self.last_stamp.wrapping_add(1));
        self.ping = Some(Ping { stamp: self.last_stamp, sent: now });
        self.pinged = now;
        self.last_stamp
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Handshake,
    Connect,
    Setup,
    Call,
    Ping,
    Silence { publishing: bool },
}

impl Core {
    /// When [`Self::on_timeout`] wants to be called; none: never.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_due().map(|(at, _)| at)
    }

    /// Does what is due; gives the calls that were not answered.
    ///
    /// # Errors
    ///
    /// The time that the peer let pass; the connection is to be closed.
    pub(super) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Step>, Error> {
        let now = cx.now();
        let Some((_, due)) = self.next_due().filter(|(at, _)| *at <= now) else { return Ok(Vec::new()) };
        // While nothing is read, silence says nothing about the peer.
        if cx.is_unread() && matches!(due, Due::Ping | Due::Silence { .. } | Due::Setup) {
            self.clock.heard(now);
            self.clock.commanded(now);
            self.clock.pinged = now;
            return Ok(Vec::new());
        }
        let limits = &self.settings.limits;
        let rule = match due {
            Due::Ping => {
                let stamp = self.clock.next_ping(now);
                self.send_control(Control::User(UserControl::PingRequest(stamp)), cx);
                return Ok(Vec::new());
            }
            Due::Call => return Ok(self.give_up_calls(now)),
            Due::Handshake => late("no whole handshake", "handshakeTimeout", limits.handshake_timeout.get()),
            Due::Connect => late("no connect command", "connectTimeout", limits.connect_timeout.get()),
            Due::Setup => {
                late("no publish, play or other command", "setupTimeout", limits.setup_timeout.get())
            }
            Due::Silence { publishing: true } => {
                late("the publisher is silent", "publisherIdle", limits.publisher_idle.get())
            }
            Due::Silence { publishing: false } => {
                late("the peer is silent", "peerIdle", limits.peer_idle.get())
            }
        };
        Err(Error::timeout(PROTOCOL, rule))
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let limits: &Limits = &self.settings.limits;
        let clock = &self.clock;
        match self.phase {
            // It is the farther layer's, and so is its time.
            Phase::Handshake if self.is_inner => None,
            Phase::Handshake => at(clock.opened, limits.handshake_timeout.get(), Due::Handshake),
            _ if self.is_client => self.next_due_of_client(),
            Phase::Fresh => at(clock.shaken, limits.connect_timeout.get(), Due::Connect),
            // The application has its own time to answer.
            Phase::Connecting | Phase::Closed => None,
            Phase::Connected => {
                let idle = self.slots.values().all(|slot| slot.state == SlotState::Idle)
                    && self.requests.is_empty()
                    && self.shared.is_empty()
                    && self.calls.is_empty();
                let setup = idle.then(|| at(clock.commanded, limits.setup_timeout.get(), Due::Setup));
                let publishing = self.slots.values().any(Slot::is_publishing);
                let patience = if publishing { limits.publisher_idle } else { limits.peer_idle };
                let silence = at(clock.heard, patience.get(), Due::Silence { publishing });
                let call = self.calls.oldest().map(|sent| at(sent, limits.call_timeout.get(), Due::Call));
                let [quiet, regular] = clock.next_pings(limits.ping_after.get(), patience.get());
                let all = [setup.flatten(), silence, call.flatten(), quiet, regular];
                all.into_iter().flatten().min_by_key(|(at, _)| *at)
            }
        }
    }
}

impl Core {
    /// Many servers answer no ping, and say nothing while we send: they are heard of by TCP alone. From those that we
    /// take media from, media are expected.
    fn next_due_of_client(&self) -> Option<(Instant, Due)> {
        let limits = &self.settings.limits;
        let patience = limits.publisher_idle.get();
        let call = self.calls.oldest().map(|sent| at(sent, limits.call_timeout.get(), Due::Call));
        let takes = self.slots.values().any(Slot::is_publishing);
        let silence = takes.then(|| at(self.clock.heard, patience, Due::Silence { publishing: true }));
        let [quiet, regular] = self.clock.next_pings(limits.ping_after.get(), patience);
        let quiet = quiet.filter(|_| takes);
        let regular = regular.filter(|_| self.phase == Phase::Connected);
        let all = [call.flatten(), silence.flatten(), quiet, regular];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

fn at(since: Instant, wait: Duration, due: Due) -> Option<(Instant, Due)> {
    since.checked_add(wait).map(|at| (at, due))
}

fn late(what: &str, limit: &str, time: Duration) -> String {
    format!("{what} within {limit} = {} s", time.as_secs_f64())
}
