//! The counters as JSON.

use std::{collections::HashMap, time::Duration};

use crtmp_reactor::{ConnectionReport, StreamReport, WorkerCounters, WorkerReport};
use crtmp_relay::{Delays, Level, MergeReport, PlayerReport, PublishReport, ReplicaReport, StreamKey};
use serde_json::{Value, json};

use super::Server;

/// Everything that can be counted, as one object. `docs/counters.md` describes it.
pub(super) fn counters(server: &Server, reports: &[WorkerReport]) -> Value {
    let applications = server.configuration.applications.list.iter().filter_map(|application| {
        let running = server.applications.get(&application.name)?;
        Some(json!({
            "name": application.name,
            "aliases": application.aliases,
            "health": format!("{:?}", running.handle.health()).to_lowercase(),
            "waiting": running.handle.waiting(),
            "panics": running.handle.panics(),
            "authentication": running.authority.as_ref().map(|authority| authority.counters()),
            "sharedObjects": server.shared_objects.counts(&application.name).map(|counts| {
                let values = counts.values().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
                Value::Object(values.collect())
            }),
        }))
    });
    let services = server.services();
    let services = services.iter().map(|service| {
        json!({
            "carrier": "tcp",
            "ip": service.address.ip().to_string(),
            "port": service.address.port(),
            "protocol": service.chain,
            "application": service.application,
        })
    });
    let connections = reports.iter().flat_map(|report| {
        report.connections.iter().map(|connection| connection_json(connection, report.worker))
    });
    let players = players(reports);
    let streams = reports.iter().flat_map(|report| {
        report.publishes.iter().map(|publish| stream_json(publish, report.worker, &players))
    });
    let waiting = reports
        .iter()
        .flat_map(|report| report.replicas.iter().map(move |replica| replica_json(replica, report)));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptimeMs": millis(server.started.elapsed()),
        "threadsLeftBehind": server.watchdog.left_behind(),
        "applications": applications.collect::<Vec<_>>(),
        "retiredApplications": server.retired.len(),
        "services": services.collect::<Vec<_>>(),
        "certificates": server.certificates(),
        "workers": reports.iter().map(worker_json).collect::<Vec<_>>(),
        // A worker that does not answer in time is missing from the lists above.
        "silentWorkers": server.workers.count() - reports.len(),
        "connections": connections.collect::<Vec<_>>(),
        "streams": streams.collect::<Vec<_>>(),
        "commands": server.control.called(),
        "eventSinks": server.events.counters(),
        "replicas": waiting.collect::<Vec<_>>(),
        "totals": totals(reports),
    })
}

fn worker_json(report: &WorkerReport) -> Value {
    let WorkerCounters { turns, accepted, refused, adopted, connected, closed, .. } = report.counters;
    let counters = &report.counters;
    json!({
        "id": report.worker,
        "connections": report.connections.len(),
        "publishes": report.publishes.len(),
        "players": report.players.len(),
        "turns": turns,
        "accepted": accepted,
        "refused": refused,
        "adopted": adopted,
        "connected": connected,
        "closed": closed,
        "bytesIn": counters.bytes_in,
        "bytesOut": counters.bytes_out,
        "reads": counters.reads,
        "writes": counters.writes,
        "merge": merge_json(&report.merge),
        "deliveryMs": delays_json(&report.delays),
        "playersCut": counters.players_cut,
        "playsMissed": counters.plays_missed,
        "publishersReplaced": counters.publishers_replaced,
        "filtersRemoved": counters.filters_removed,
        "panics": counters.panics,
        "faults": counters.faults,
        "skipped": counters.skipped,
    })
}

fn merge_json(merge: &MergeReport) -> Value {
    let (level, wait) = match merge.level {
        Level::Off => ("off", Duration::ZERO),
        Level::Ride(wait) => ("ride", wait),
        Level::Hold(wait) | Level::Fixed(wait) => ("hold", wait),
    };
    json!({
        "level": level,
        "waitMs": millis(wait),
        "roundMs": merge.round.as_secs_f64() * 1e3,
        "writeUs": merge.write_cost.as_secs_f64() * 1e6,
        "otherShare": merge.other_share,
    })
}

/// Each range by its upper bound in ms; the last has none.
fn delays_json(delays: &Delays) -> Value {
    let bounds = Delays::BOUNDS_MS.iter().map(u64::to_string).chain(["more".to_owned()]);
    let ranges = bounds.zip(delays.counts()).map(|(bound, count)| (bound, json!(count)));
    Value::Object(ranges.collect())
}

fn connection_json(connection: &ConnectionReport, worker: u16) -> Value {
    let names = |list: &[StreamReport]| {
        let name = |stream: &StreamReport| json!({ "slot": stream.slot.0, "name": stream.name });
        list.iter().map(name).collect::<Vec<_>>()
    };
    json!({
        "id": connection.id.0,
        "worker": worker,
        "peer": connection.peer.to_string(),
        "protocol": connection.chain,
        "application": connection.application,
        "agent": connection.agent,
        "ageMs": millis(connection.age),
        "bytesIn": connection.bytes_in,
        "bytesOut": connection.bytes_out,
        "queuedBytes": connection.queued,
        "unsentBytes": connection.unsent,
        "rttMs": connection.rtt_ms,
        "publishes": names(&connection.publishes),
        "plays": names(&connection.plays),
        "questions": connection.questions,
    })
}

/// The players of each stream, and their workers.
type Players<'a> = HashMap<&'a StreamKey, Vec<(&'a PlayerReport, u16)>>;

fn players(reports: &[WorkerReport]) -> Players<'_> {
    let mut players = Players::new();
    for report in reports {
        for player in &report.players {
            players.entry(&player.key).or_default().push((player, report.worker));
        }
    }
    players
}

fn stream_json(publish: &PublishReport, worker: u16, players: &Players<'_>) -> Value {
    let players = players.get(&publish.key).into_iter().flatten();
    let players = players.map(|(player, worker)| player_json(player, *worker));
    let counters = publish.counters;
    json!({
        "application": &*publish.key.application,
        "name": publish.key.name.as_str(),
        "home": worker,
        "generation": publish.generation.0,
        "connection": publish.connection.0,
        "slot": publish.slot.0,
        "audioFrames": counters.audio_frames,
        "videoFrames": counters.video_frames,
        "dataFrames": counters.data_frames,
        "bytesIn": counters.bytes,
        "dtsMs": counters.dts,
        "gapFrames": counters.gap_frames,
        "repeatedFrames": counters.repeated_frames,
        "crossedFrames": counters.crossed_frames,
        "gopMessages": publish.gop_messages,
        "gopBytes": publish.gop_bytes,
        "gopsDropped": publish.gop_dropped,
        "workers": publish.subscribers,
        "players": players.collect::<Vec<_>>(),
    })
}

fn player_json(player: &PlayerReport, worker: u16) -> Value {
    json!({
        "worker": worker,
        "connection": player.connection.0,
        "slot": player.slot.0,
        "packets": player.packets,
        "bytes": player.bytes,
        "start": player.began.name(),
        "startLagMs": player.start_lag,
        "picturesLeftOut": player.left_out_pictures,
        "audioLeftOut": player.left_out_audio,
        "skips": player.skips.total(),
        "skipsByCause": {
            "lag": player.skips.lag,
            "fellOff": player.skips.fell_off,
            "pause": player.skips.pause,
        },
        "skippedPackets": player.skipped_packets,
        "behindBytes": player.behind_bytes,
        "behindPackets": player.behind_packets,
        "behindMs": millis(player.behind),
        "tooFarBehindMs": millis(player.too_far_behind),
    })
}

fn replica_json(replica: &ReplicaReport, report: &WorkerReport) -> Value {
    let logs = replica.logs.iter().map(|log| {
        json!({
            "family": log.format.family,
            "variant": log.format.variant,
            "players": log.players,
            "packets": log.packets,
            "bytes": log.bytes,
        })
    });
    json!({
        "application": &*replica.key.application,
        "name": replica.key.name.as_str(),
        "worker": report.worker,
        "state": replica.state,
        "players": replica.players,
        "logs": logs.collect::<Vec<_>>(),
    })
}

fn totals(reports: &[WorkerReport]) -> Value {
    let sum = |of: fn(&WorkerReport) -> u64| reports.iter().map(of).sum::<u64>();
    json!({
        "connections": sum(|report| report.connections.len() as u64),
        "publishes": sum(|report| report.publishes.len() as u64),
        "players": sum(|report| report.players.len() as u64),
        "accepted": sum(|report| report.counters.accepted),
        "refused": sum(|report| report.counters.refused),
        "connected": sum(|report| report.counters.connected),
        "closed": sum(|report| report.counters.closed),
        "bytesIn": sum(|report| report.counters.bytes_in),
        "bytesOut": sum(|report| report.counters.bytes_out),
        "panics": sum(|report| report.counters.panics),
        "faults": sum(|report| report.counters.faults.values().sum()),
        "skipped": sum(|report| report.counters.skipped.values().sum()),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
