//! Metrics for Prometheus, made of the workers' reports. `docs/metrics.md` lists them.
//!
//! The number of time series is bounded whatever peers do: streams are named up to a number, the rest is summed up.

mod page;
mod streams;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crtmp_reactor::{WorkerCounters, WorkerReport};
use serde_json::Value;

use self::page::{Kind, Labels, Measure, Metric, Page};
use super::Server;
use crate::shared_objects::Counts;

/// Streams that are named unless the caller says otherwise.
pub(super) const STREAMS: &str = "50";

/// Streams that may be named.
pub(super) const STREAMS_MAX: u64 = 1000;

/// The states that an application may be in.
const HEALTH: [&str; 5] = ["well", "stuck", "disabled", "stopping", "ended"];

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $unit:ident $help:literal;)*) => {
        $(const $id: Metric =
            Metric { kind: Kind::$kind, name: $name, unit: Measure::$unit, help: $help };)*

        /// All of them.
        #[cfg(test)]
        const ALL: &[Metric] = &[$($id,)*];
    };
}

metrics! {
    BUILD = Info "build" Count "The server and its version";
    UPTIME = Gauge "uptime" Seconds "Time since the start";
    WORKERS = Gauge "workers" Count "Workers";
    SILENT_WORKERS = Gauge "workers_silent" Count "Workers that did not answer and are missing from everything else";
    CONNECTIONS = Gauge "connections" Count "Connections now, by chain";
    PUBLISHERS = Gauge "publishers" Count "Streams that are published";
    PLAYERS = Gauge "players" Count "Plays, with those that wait for a publisher";
    ACCEPTED = Counter "connections_accepted" Count "Connections accepted";
    REFUSED = Counter "connections_refused" Count "Connections refused because of a limit";
    CONNECTED = Counter "connections_made" Count "Connections made to others";
    CLOSED = Counter "connections_closed" Count "Connections that have ended";
    RECEIVED = Counter "received" Bytes "Received";
    SENT = Counter "sent" Bytes "Sent";
    FAULTS = Counter "faults" Count "Connections ended by a fault, by whose it was and the protocol that saw it";
    SKIPPED = Counter "skipped" Count "Things skipped that a healthy peer does not send";
    PANICS = Counter "panics" Count "Panics in chains; each cost one connection";
    PLAYERS_CUT = Counter "players_cut" Count "Players closed because they were too slow for too long";
    PLAYS_MISSED = Counter "plays_missed" Count "Plays that ended because their publisher did not come";
    REPLACED = Counter "publishers_replaced" Count "Publishers whose name another one took over";
    FILTERS_REMOVED = Counter "filters_removed" Count "Filters taken out because they took too long";
    COMMANDS = Counter "commands" Count "Commands called";
    LEFT_BEHIND = Gauge "threads_left_behind" Count "Threads of applications that did not end";
    RETIRED = Gauge "applications_retired" Count "Replaced applications that still have connections";
    CERTIFICATE = Gauge "certificate_expiry" Seconds "Time for which a certificate holds yet; negative: since it has expired";
    APP_CONNECTIONS = Gauge "application_connections" Count "Connections of an application";
    APP_PUBLISHERS = Gauge "application_publishers" Count "Streams of an application that are published";
    APP_PLAYERS = Gauge "application_players" Count "Plays of an application";
    APP_HEALTH = Gauge "application_health" Count "1 for the state that an application is in, 0 for the others";
    APP_WAITING = Gauge "application_waiting" Count "Requests in the mailbox of an application";
    APP_PANICS = Counter "application_panics" Count "Panics in the hooks of an application";
    APP_AUTHENTICATIONS = Counter "application_authentications" Count "What became of authentications, by outcome";
    APP_SHARED_OBJECTS = Gauge "application_shared_objects" Count "Shared objects of an application in memory";
    APP_SHARED_USES = Gauge "application_shared_object_uses" Count "Uses of shared objects of an application by connections";
    APP_SHARED_CHANGES = Counter "application_shared_object_changes" Count "Changes of slots of shared objects";
    APP_SHARED_WRITES = Counter "application_shared_object_writes" Count "Files of shared objects written";
    APP_SHARED_FAILURES = Counter "application_shared_object_failures" Count "Files of shared objects that could not be written or read";
    SINK_QUEUED = Gauge "event_sink_queued" Count "Events that wait for a sink";
    SINK_QUEUED_BYTES = Gauge "event_sink_queued" Bytes "Memory of the events that wait for a sink";
    SINK_SENT = Counter "event_sink_sent" Count "Events delivered";
    SINK_FAILED = Counter "event_sink_failed" Count "Events refused, or tried too often";
    SINK_DROPPED = Counter "event_sink_dropped" Count "Events dropped because too many waited";
    SINK_RETRIES = Counter "event_sink_retries" Count "Further tries to deliver an event";
    STREAM_PLAYERS = Gauge "stream_players" Count "Players of a stream";
    STREAM_BANDWIDTH = Gauge "stream_bits_per_second" Count "Bits in a second that a stream has brought over its life";
    STREAM_LAG = Gauge "stream_lag" Seconds "How far the slowest player of a stream is behind live";
    STREAM_RECEIVED = Counter "stream_received" Bytes "Media that a named stream has brought";
    STREAM_AUDIO = Counter "stream_audio_frames" Count "Audio frames that a named stream has brought";
    STREAM_TRACK = Gauge "stream_track" Count "Always 1: a track of a named stream, by its codec";
    STREAM_VIDEO = Counter "stream_video_frames" Count "Video frames that a named stream has brought";
}

/// What is known beside the workers' reports.
#[derive(Default)]
struct Facts {
    uptime: Duration,
    workers: usize,
    commands: u64,
    left_behind: usize,
    retired: usize,
    applications: Vec<ApplicationFacts>,
    /// Files of certificates, and the seconds for which they hold yet.
    certificates: Vec<(String, f64)>,
    /// As the event logger counts.
    sinks: Value,
}

struct ApplicationFacts {
    name: String,
    health: String,
    waiting: usize,
    panics: u64,
    /// As the application's authority counts; null where there is none.
    authentication: Value,
    shared_objects: Arc<Counts>,
}

/// The outcomes of authentications, as counters name them.
const OUTCOMES: [&str; 5] = ["asked", "accepted", "failed", "delayed", "refused"];

/// A count of a worker.
type CountOf = fn(&WorkerCounters) -> u64;

/// A count of shared objects.
type CountOfShared = fn(&Counts) -> &AtomicU64;

/// The page of a server; `streams` of them are named.
pub(super) fn metrics(server: &Server, reports: &[WorkerReport], streams: usize) -> String {
    let applications = server.configuration.applications.list.iter().filter_map(|application| {
        let running = server.applications.get(&application.name)?;
        let handle = &running.handle;
        Some(ApplicationFacts {
            authentication: running.authority.as_ref().map(|authority| authority.counters()).into(),
            name: application.name.clone(),
            health: format!("{:?}", handle.health()).to_lowercase(),
            waiting: handle.waiting(),
            panics: handle.panics(),
            shared_objects: server.shared_objects.counts(&application.name).unwrap_or_default(),
        })
    });
    let facts = Facts {
        uptime: server.started.elapsed(),
        workers: server.workers.count(),
        commands: server.control.called(),
        left_behind: server.watchdog.left_behind(),
        retired: server.retired.len(),
        applications: applications.collect(),
        certificates: server.expiries(),
        sinks: server.events.counters(),
    };
    render(&facts, reports, streams)
}

fn render(facts: &Facts, reports: &[WorkerReport], streams: usize) -> String {
    let mut page = Page::new();
    of_server(&mut page, facts, reports);
    of_workers(&mut page, reports);
    of_applications(&mut page, facts, reports);
    of_sinks(&mut page, &facts.sinks);
    streams::add(&mut page, reports, streams);
    page.text()
}

fn of_server(page: &mut Page, facts: &Facts, reports: &[WorkerReport]) {
    page.info(&BUILD, vec![("version", env!("CARGO_PKG_VERSION").to_owned())]);
    page.one(&UPTIME, facts.uptime.as_secs_f64());
    page.one(&WORKERS, facts.workers as f64);
    page.one(&SILENT_WORKERS, facts.workers.saturating_sub(reports.len()) as f64);
    page.one(&COMMANDS, facts.commands as f64);
    page.one(&LEFT_BEHIND, facts.left_behind as f64);
    page.one(&RETIRED, facts.retired as f64);
    let label = |file: &str| vec![("file", file.to_owned())];
    page.many(&CERTIFICATE, facts.certificates.iter().map(|(file, left)| (label(file), *left)));
}

fn of_workers(page: &mut Page, reports: &[WorkerReport]) {
    let connections = reports.iter().flat_map(|report| &report.connections);
    page.many(&CONNECTIONS, connections.map(|connection| (vec![("chain", connection.chain.clone())], 1.0)));
    let sum = |of: fn(&WorkerReport) -> usize| reports.iter().map(of).sum::<usize>() as f64;
    page.one(&PUBLISHERS, sum(|report| report.publishes.len()));
    page.one(&PLAYERS, sum(|report| report.players.len()));
    let counters: [(&Metric, CountOf); 11] = [
        (&ACCEPTED, |counters| counters.accepted),
        (&REFUSED, |counters| counters.refused),
        (&CONNECTED, |counters| counters.connected),
        (&CLOSED, |counters| counters.closed),
        (&RECEIVED, |counters| counters.bytes_in),
        (&SENT, |counters| counters.bytes_out),
        (&PANICS, |counters| counters.panics),
        (&PLAYERS_CUT, |counters| counters.players_cut),
        (&PLAYS_MISSED, |counters| counters.plays_missed),
        (&REPLACED, |counters| counters.publishers_replaced),
        (&FILTERS_REMOVED, |counters| counters.filters_removed),
    ];
    for (metric, of) in counters {
        page.one(metric, reports.iter().map(|report| of(&report.counters)).sum::<u64>() as f64);
    }
    let faults = reports.iter().flat_map(|report| &report.counters.faults);
    page.many(
        &FAULTS,
        faults.map(|(name, count)| {
            let (whose, protocol) = name.split_once('.').unwrap_or((name, ""));
            (vec![("whose", whose.to_owned()), ("protocol", protocol.to_owned())], *count as f64)
        }),
    );
    let skipped = reports.iter().flat_map(|report| &report.counters.skipped);
    page.many(&SKIPPED, skipped.map(|(what, count)| (vec![("what", (*what).to_owned())], *count as f64)));
}

fn of_applications(page: &mut Page, facts: &Facts, reports: &[WorkerReport]) {
    /// Connections, publishers and players.
    type Counts = BTreeMap<String, [usize; 3]>;
    let mut counts: Counts =
        facts.applications.iter().map(|application| (application.name.clone(), [0; 3])).collect();
    let mut count = |name: &str, which: usize| match counts.get_mut(name) {
        Some(counts) => counts[which] += 1,
        // An application that a reload has taken out, with connections that are left.
        None => counts.entry(name.to_owned()).or_default()[which] += 1,
    };
    for report in reports {
        let owners = report.connections.iter().filter_map(|connection| connection.application.as_deref());
        owners.for_each(|name| count(name, 0));
        report.publishes.iter().for_each(|publish| count(&publish.key.application, 1));
        report.players.iter().for_each(|player| count(&player.key.application, 2));
    }
    let label = |name: &str| vec![("application", name.to_owned())];
    for (which, metric) in [&APP_CONNECTIONS, &APP_PUBLISHERS, &APP_PLAYERS].into_iter().enumerate() {
        page.many(metric, counts.iter().map(|(name, counts)| (label(name), counts[which] as f64)));
    }
    let applications = &facts.applications;
    page.many(
        &APP_HEALTH,
        applications.iter().flat_map(|application| {
            HEALTH.into_iter().map(|state| {
                let labels = vec![("application", application.name.clone()), ("health", state.to_owned())];
                (labels, f64::from(u8::from(application.health == state)))
            })
        }),
    );
    let waiting =
        applications.iter().map(|application| (label(&application.name), application.waiting as f64));
    page.many(&APP_WAITING, waiting);
    let panics = applications.iter().map(|application| (label(&application.name), application.panics as f64));
    page.many(&APP_PANICS, panics);
    let outcomes = applications.iter().flat_map(|application| {
        OUTCOMES.into_iter().filter_map(|outcome| {
            let count = application.authentication[outcome].as_f64()?;
            Some((vec![("application", application.name.clone()), ("outcome", outcome.to_owned())], count))
        })
    });
    page.many(&APP_AUTHENTICATIONS, outcomes);
    let shared: [(&Metric, CountOfShared); 5] = [
        (&APP_SHARED_OBJECTS, |counts| &counts.objects),
        (&APP_SHARED_USES, |counts| &counts.uses),
        (&APP_SHARED_CHANGES, |counts| &counts.changes),
        (&APP_SHARED_WRITES, |counts| &counts.writes),
        (&APP_SHARED_FAILURES, |counts| &counts.failures),
    ];
    for (metric, of) in shared {
        let count = |application: &ApplicationFacts| of(&application.shared_objects).load(Ordering::Relaxed);
        page.many(metric, applications.iter().map(|one| (label(&one.name), count(one) as f64)));
    }
}

fn of_sinks(page: &mut Page, sinks: &Value) {
    let sinks: &[Value] = sinks.as_array().map(Vec::as_slice).unwrap_or_default();
    let labels = |index: usize, sink: &Value| -> Labels {
        let text = |key: &str| sink[key].as_str().unwrap_or_default().to_owned();
        vec![("sink", (index + 1).to_string()), ("type", text("type")), ("to", text("to"))]
    };
    let metrics = [
        (&SINK_QUEUED, "queued"),
        (&SINK_QUEUED_BYTES, "queuedBytes"),
        (&SINK_SENT, "sent"),
        (&SINK_FAILED, "failed"),
        (&SINK_DROPPED, "dropped"),
        (&SINK_RETRIES, "retries"),
    ];
    for (metric, key) in metrics {
        let sample = |(index, sink)| (labels(index, sink), sink[key].as_f64().unwrap_or_default());
        page.many(metric, sinks.iter().enumerate().map(sample));
    }
}

#[cfg(test)]
mod tests;
