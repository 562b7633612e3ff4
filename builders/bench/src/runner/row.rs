//! The result of one measurement.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scenario::Scenario;
use crate::load::{Assignment, ClassReport, Reading, Report};
use crate::measure::Sample;

/// One measurement: one load against one server, once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The [scenario](Scenario::name).
    pub scenario: String,
    /// The [server](super::server::Server::label).
    pub server: String,
    /// Which repetition, counted from 0.
    pub repetition: usize,
    /// Connections that the load consists of, without those of a storm.
    pub connections: usize,
    /// CPU time of the server in the window, in per cent of a core.
    pub cpu: f64,
    /// Time in which threads of the server could have run and something else did, in per cent of the window.
    #[serde(default)]
    pub waited: f64,
    /// Gbit/s that players should have got.
    pub wanted: f64,
    /// Gbit/s that players got in the window.
    pub rate: f64,
    /// Resident memory of the server before the load, in KiB.
    pub resident_before: u64,
    /// The same at the end of the window.
    pub resident: u64,
    /// What its threads did in the window.
    pub threads: Vec<ThreadUse>,
    /// What the load generator saw.
    pub report: Report,
    /// Packets that the kernel threw away on their way over the loopback interface, of all programs.
    #[serde(default)]
    pub dropped: u64,
    /// Counters of crtmpserver at both ends of the window, as far as the scenario asks for them.
    pub counters: Value,
}

/// What a thread did in the window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadUse {
    /// Its name.
    pub name: String,
    /// Its CPU time in per cent of a core.
    pub cpu: f64,
    /// How often in a second it went to sleep, and so was woken.
    pub wakes: f64,
}

impl Row {
    /// Puts together what was found.
    pub(super) fn new(
        scenario: &Scenario,
        server: &str,
        repetition: usize,
        before: &Sample,
        open: &Sample,
        close: &Sample,
        report: Report,
    ) -> Self {
        let plan = &scenario.plan;
        let played = plan
            .players
            .iter()
            .filter(|players| players.reading == Reading::Full && players.stream != Assignment::Nobody);
        let playing: usize = played.map(|players| players.count).sum();
        let window = report.window.max(1e-9);
        let threads = close.threads.iter().filter_map(|thread| {
            let earlier = open.threads.iter().find(|other| other.id == thread.id)?;
            Some(ThreadUse {
                name: thread.name.clone(),
                cpu: (thread.cpu - earlier.cpu) as f64 / 1e7 / window,
                wakes: (thread.sleeps - earlier.sleeps) as f64 / window,
            })
        });
        Self {
            scenario: scenario.name.clone(),
            server: server.to_owned(),
            repetition,
            connections: scenario.connections(),
            cpu: close.cpu.saturating_sub(open.cpu) as f64 / 1e7 / window,
            waited: close.waited.saturating_sub(open.waited) as f64 / 1e7 / window,
            wanted: playing as f64 * plan.publishers.shape.bitrate as f64 / 1e9,
            rate: report.gigabits / window,
            resident_before: before.resident,
            resident: close.resident,
            threads: threads.collect(),
            dropped: 0,
            report,
            counters: Value::Null,
        }
    }

    /// CPU seconds of the server for each gigabit that players got.
    pub fn cost(&self) -> f64 {
        self.cpu / 100.0 / self.rate
    }

    /// KiB of resident memory for each connection.
    pub fn memory(&self) -> f64 {
        (self.resident as f64 - self.resident_before as f64) / self.connections.max(1) as f64
    }

    /// The players: the first class.
    pub fn players(&self) -> ClassReport {
        self.report.classes.first().cloned().unwrap_or_default()
    }

    /// The result in a few words.
    pub fn brief(&self) -> String {
        let players = self.players();
        let mut text = format!(
            "CPU {:5.1} % (waited {:.0})  {:6.3} of {:6.3} Gbit/s  {:6.3} core-s/Gbit  {:5.1} KiB/conn  \
             latency {:.1}/{:.1}/{:.0} ms, pictures {:.1}  start {:.1} ms  lost {} torn {} gone {}+{}  generator {:.0} %",
            self.cpu,
            self.waited,
            self.rate,
            self.wanted,
            self.cost(),
            self.memory(),
            players.latency.p50,
            players.latency.p99,
            players.latency.max,
            players.picture_latency.p99,
            players.connect_to_start.p50,
            players.frames.lost_pictures,
            players.frames.torn,
            players.failed,
            players.disconnected,
            self.report.generator_cpu,
        );
        if let Some(storm) = &self.report.storm {
            text += &format!("  storm {:.0}/s", storm.per_second);
        }
        text
    }

    /// Bytes of media that the logs of crtmpserver held for each stream when the window closed, if it was asked.
    pub fn log_bytes_per_stream(&self) -> Option<f64> {
        let close = &self.counters["close"];
        let streams = close["streams"].as_f64().filter(|streams| *streams > 0.0)?;
        Some(close["logBytes"].as_f64()? / streams)
    }
}

/// What is kept of an object of counters: nothing that there is once for each connection or stream.
pub(super) fn trimmed(counters: &Value) -> Value {
    if counters.is_null() {
        return Value::Null;
    }
    let list = |key: &str| counters[key].as_array().cloned().unwrap_or_default();
    let sum =
        |values: &[Value], key: &str| values.iter().filter_map(|value| value[key].as_u64()).sum::<u64>();
    let replicas = list("replicas");
    let logs: Vec<Value> =
        replicas.iter().filter_map(|replica| replica["logs"].as_array()).flatten().cloned().collect();
    let streams = list("streams");
    let players: Vec<Value> =
        streams.iter().filter_map(|stream| stream["players"].as_array()).flatten().cloned().collect();
    json!({
        "workers": counters["workers"],
        "process": counters["process"],
        "streams": streams.len(),
        "gopBytes": sum(&streams, "gopBytes"),
        "logBytes": sum(&logs, "bytes"),
        "logPackets": sum(&logs, "packets"),
        "players": players.len(),
        "skips": sum(&players, "skips"),
        "skippedPackets": sum(&players, "skippedPackets"),
        "behindBytes": sum(&players, "behindBytes"),
    })
}
