//! Commands about how much the server takes on: connections, and bytes in a second.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Builtin, Outcome, Run, Server, kept};
use crate::commands::{Access, Kind, Param, Spec};

/// How often the traffic is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples that the rate is made of: it is that of the last three seconds.
const SAMPLES: usize = 4;

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "setConnectionsCountLimit",
                Access::Change,
                &[Param::required("count", Kind::Whole, "connections; 0: as many as the system allows")],
                "Limits how many connections there may be. Those that are there stay, and sessions of command line \
                 interfaces on loopback are neither counted nor refused. It is kept over a restart where `stateFile` is \
                 configured.",
            ),
            set_connections,
        ),
        Builtin::new(
            Spec::new(
                "getConnectionsCountLimit",
                Access::Read,
                &[],
                "Says how many connections there are, how many there may be (0: no limit), and the most that the limit \
                 may be.",
            ),
            |server, _| Outcome::Data(connections(server)),
        )
        .saying("Connections and their limit"),
        Builtin::new(
            Spec::new(
                "setBandwidthLimit",
                Access::Change,
                &[
                    Param::required("in", Kind::Whole, "bytes in a second that may be received; 0: no limit"),
                    Param::required("out", Kind::Whole, "bytes in a second that may be sent; 0: no limit"),
                ],
                "Limits the bandwidth: while more is received than `in`, new publishes are refused, while more is sent \
                 than `out`, new plays; streams that run go on. It is kept over a restart where `stateFile` is configured.",
            ),
            set_bandwidth,
        ),
        Builtin::new(
            Spec::new(
                "getBandwidth",
                Access::Read,
                &[],
                "Says how many bytes in a second are received and sent, over the last three seconds, and the limits.",
            ),
            |server, _| Outcome::Done("bandwidth in bytes per second", bandwidth(server)),
        ),
    ]
}

/// A limit as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "limit", rename_all = "camelCase", deny_unknown_fields)]
enum Limit {
    Connections {
        count: u64,
    },
    Bandwidth {
        #[serde(rename = "in")]
        incoming: u64,
        #[serde(rename = "out")]
        outgoing: u64,
    },
}

impl Limit {
    fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    fn is_none(self) -> bool {
        matches!(self, Self::Connections { count: 0 } | Self::Bandwidth { incoming: 0, outgoing: 0 })
    }

    /// The same with nothing limited.
    fn lifted(self) -> Self {
        match self {
            Self::Connections { .. } => Self::Connections { count: 0 },
            Self::Bandwidth { .. } => Self::Bandwidth { incoming: 0, outgoing: 0 },
        }
    }
}

/// Whether a kept limit may look like this.
pub(super) fn check(value: &Value) -> Result<(), &'static str> {
    Limit::read(value)
        .map(drop)
        .ok_or(r#"{"limit": "connections", "count": …} or {"limit": "bandwidth", "in": …, "out": …}"#)
}

/// Measures the bandwidth.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes in a second, received and sent; 0: no limit.
    limits: [u64; 2],
    samples: VecDeque<(Instant, [u64; 2])>,
    /// When the next sample is due; none before the server runs.
    pub(super) next: Option<Instant>,
}

impl Meter {
    /// Takes what has been received and sent since the start.
    fn sample(&mut self, bytes: [u64; 2], now: Instant) {
        self.next = now.checked_add(PERIOD);
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, bytes));
    }

    /// Bytes in a second, received and sent, over the time of the samples.
    pub(super) fn rates(&self) -> [f64; 2] {
        let (Some((from, before)), Some((to, after))) = (self.samples.front(), self.samples.back()) else {
            return [0.0; 2];
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        if seconds <= 0.0 {
            return [0.0; 2];
        }
        let rate = |way: usize| after[way].wrapping_sub(before[way]) as f64 / seconds;
        [rate(0), rate(1)]
    }

    /// Whether more is received, and sent, than the limits allow.
    fn is_exceeded(&self) -> [bool; 2] {
        let rates = self.rates();
        [0, 1].map(|way| self.limits[way] != 0 && rates[way] > self.limits[way] as f64)
    }
}

impl Server {
    /// Sets the limits and ingest points that are kept. Before the first port is open.
    pub(in crate::server) fn resume_limits(&mut self) {
        let entries: Vec<kept::Entry> = self.state.kept.entries().map(|(_, entry)| entry.clone()).collect();
        for kept::Entry { kind, value } in entries {
            match kind {
                kept::LIMITS => Limit::read(&value).into_iter().for_each(|limit| apply(self, limit)),
                kept::INGEST_POINTS => super::ingest::resume(self, &value),
                _ => {}
            }
        }
        self.measure(Instant::now());
    }

    /// Looks at the traffic, where it is time, and has the workers refuse new streams, or not.
    pub(super) fn measure(&mut self, now: Instant) {
        if self.state.meter.next.is_none_or(|next| next <= now) {
            self.state.meter.sample(self.workers.traffic(), now);
            self.refuse_streams();
        }
    }

    fn refuse_streams(&self) {
        let [incoming, outgoing] = self.state.meter.is_exceeded();
        self.workers.refuse_streams(incoming, outgoing);
    }
}

fn apply(server: &mut Server, limit: Limit) {
    match limit {
        // A number that the machine has no room for is a limit that is never reached.
        Limit::Connections { count } => {
            server.workers.limit_connections(usize::try_from(count).unwrap_or(usize::MAX));
            server.state.connections_limit = count;
        }
        Limit::Bandwidth { incoming, outgoing } => {
            server.state.meter.limits = [incoming, outgoing];
            server.refuse_streams();
        }
    }
}

/// The entry of a limit is gone.
pub(super) fn lift(server: &mut Server, value: &Value) {
    if let Some(limit) = Limit::read(value) {
        apply(server, limit.lifted());
    }
}

/// Keeps a limit, in the place of what was kept before, and sets it.
fn set(server: &mut Server, limit: Limit) -> Result<(), String> {
    let same = |value: &Value| Limit::read(value).is_some_and(|other| other.lifted() == limit.lifted());
    let kept = &mut server.state.kept;
    let before = kept.entries().find(|(_, entry)| entry.kind == kept::LIMITS && same(&entry.value));
    let before = before.map(|(id, _)| id);
    let value = serde_json::to_value(limit).map_err(|error| error.to_string())?;
    match before {
        Some(id) if limit.is_none() => drop(kept.remove(id)?),
        Some(id) => kept.replace(id, value)?,
        None if limit.is_none() => {}
        None => drop(kept.add(kept::LIMITS, value)?),
    }
    apply(server, limit);
    Ok(())
}

fn set_connections(server: &mut Server, run: &Run<'_>) -> Outcome {
    let (count, most) = (run.params.whole("count").unwrap_or_default(), server.workers.most_connections());
    if count > most as u64 {
        let text = format!(
            "`count` must be at most {most}: more connections are not allowed by limits.connections and the number of \
             files that the system lets the server open"
        );
        return Outcome::Fail(text);
    }
    if let Err(text) = set(server, Limit::Connections { count }) {
        return Outcome::Fail(text);
    }
    slog::info!(server.environment.log, "the limit of connections is set by command";
        "count" => count, "caller" => %run.caller);
    let unkept = "the limit of connections is set; it is not kept over a restart: no stateFile is configured";
    Outcome::Done(server.state.kept.says("the limit of connections is set", unkept), connections(server))
}

fn connections(server: &Server) -> Value {
    json!({
        "current": server.workers.counted_connections(),
        "limit": server.state.connections_limit,
        "most": server.workers.most_connections(),
    })
}

fn set_bandwidth(server: &mut Server, run: &Run<'_>) -> Outcome {
    let incoming = run.params.whole("in").unwrap_or_default();
    let outgoing = run.params.whole("out").unwrap_or_default();
    if let Err(text) = set(server, Limit::Bandwidth { incoming, outgoing }) {
        return Outcome::Fail(text);
    }
    slog::info!(server.environment.log, "the limit of bandwidth is set by command";
        "in" => incoming, "out" => outgoing, "caller" => %run.caller);
    let unkept =
        "bandwidth in bytes per second; the limits are not kept over a restart: no stateFile is configured";
    Outcome::Done(server.state.kept.says("bandwidth in bytes per second", unkept), bandwidth(server))
}

/// By direction, and again as EvoStream groups it.
fn bandwidth(server: &Server) -> Value {
    let ([incoming, outgoing], [most_in, most_out]) = (server.state.meter.rates(), server.state.meter.limits);
    json!({
        "in": { "current": incoming, "limit": most_in },
        "out": { "current": outgoing, "limit": most_out },
        "current": { "in": incoming, "out": outgoing },
        "max": { "in": most_in, "out": most_out },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_three_seconds_and_a_limit_is_exceeded_above_it() {
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.rates(), [0.0, 0.0]);
        meter.sample([0, 0], start);
        assert_eq!(meter.rates(), [0.0, 0.0]);
        for second in 1..=10 {
            meter.sample([second * 1000, second * 10], start + Duration::from_secs(second));
        }
        assert_eq!(meter.rates(), [1000.0, 10.0]);
        for (limits, exceeded) in [
            ([0, 0], [false, false]),
            ([1001, 9], [false, true]),
            ([1000, 10], [false, false]),
            ([999, 11], [true, false]),
        ] {
            meter.limits = limits;
            assert_eq!(meter.is_exceeded(), exceeded, "{limits:?}");
        }
        for second in 11..=13 {
            meter.sample([10_000, 100], start + Duration::from_secs(second));
        }
        assert_eq!(meter.rates(), [0.0, 0.0]);
        assert_eq!(meter.next, Some(start + Duration::from_secs(14)));
    }

    #[test]
    fn kept_limits_are_read_strictly() {
        for (value, good) in [
            (json!({ "limit": "connections", "count": 3 }), true),
            (json!({ "limit": "bandwidth", "in": 1, "out": 2 }), true),
            (json!({ "limit": "connections", "count": -3 }), false),
            (json!({ "limit": "connections" }), false),
            (json!({ "limit": "bandwidth", "in": 1, "out": 2, "more": 3 }), false),
            (json!({ "limit": "other" }), false),
            (json!([]), false),
        ] {
            assert_eq!(check(&value).is_ok(), good, "{value}");
            if let Some(limit) = Limit::read(&value) {
                assert_eq!(serde_json::to_value(limit).unwrap(), value);
            }
        }
    }
}
