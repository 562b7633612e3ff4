//! Commands about connections.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use crtmp_reactor::{ConnectionReport, ToWorker, WorkerReport};
use crtmp_relay::{Began, ConnectionId, PlayerReport};
use serde_json::{Value, json};

use super::{
    Builtin, Outcome, Run, Server,
    streams::{add_connection, numeric, unix_ms},
};
use crate::commands::{Access, Kind, Param, Spec};

const NON_NETWORK: Param = Param::optional(
    "excludeNonNetworkProtocols",
    Kind::Flag,
    "true",
    "leave out what is no connection; the server lists none",
);
const ID: Param = Param::required("id", Kind::Whole, "the connection's number");

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::gathering(
            Spec::new("listConnections", Access::Read, &[NON_NETWORK], "Lists all connections."),
            |server, run| {
                let shown = all(run.reports).map(|(connection, worker)| info(server, connection, worker, None));
                Outcome::Data(shown.collect())
            },
        )
        .saying("Available connections"),
        Builtin::gathering(
            Spec::new(
                "listConnectionsIds",
                Access::Read,
                &[NON_NETWORK],
                "Lists the numbers of all connections.",
            ),
            |_, run| Outcome::Data(all(run.reports).map(|(connection, _)| connection.id.0).collect()),
        )
        .saying("Available connection IDs"),
        Builtin::gathering(
            Spec::new(
                "getConnectionInfo",
                Access::Read,
                &[ID],
                "Describes a connection; of a player also why it started where it did, how far it is behind, and why.",
            ),
            get_connection_info,
        )
        .saying("Connection information"),
        Builtin::gathering(
            Spec::new("getConnectionsCount", Access::Read, &[], "Says how many connections there are."),
            |_, run| Outcome::Data(json!({ "count": all(run.reports).count() })),
        )
        .saying("Number of connections"),
        Builtin::gathering(
            Spec::new(
                "getExtendedConnectionCounters",
                Access::Read,
                &[],
                "Counts connections by what carries them: now, at most, and in all, bytes, and bytes in a second. There is \
                 no UDP yet, so that is 0; who was refused, and connections by chain, stand beside it.",
            ),
            extended_counters,
        )
        .saying("Connection counters"),
        Builtin::gathering(
            Spec::new(
                "closeConnection",
                Access::Change,
                &[
                    ID,
                    Param::optional(
                        "reason",
                        Kind::Text,
                        "\"closed by the operator\"",
                        "what its peer is told",
                    ),
                ],
                "Closes a connection.",
            ),
            close_connection,
        ),
        Builtin::gathering(
            Spec::new(
                "requestReconnect",
                Access::Change,
                &[
                    Param::optional("id", Kind::Whole, "null", "the connection's number"),
                    Param::optional("appName", Kind::Text, "null", "or the application, by name or alias: all of its connections"),
                    Param::optional(
                        "tcUrl",
                        Kind::Text,
                        "null",
                        "where to connect, absolute or relative; null: where it has connected",
                    ),
                    Param::optional("reason", Kind::Text, "\"asked by the operator\"", "what its peer is told"),
                ],
                "Asks clients to connect again, here or elsewhere (Enhanced RTMP). Only those are asked that have declared that they \
                 follow such requests; they are served as before until they leave.",
            ),
            request_reconnect,
        ),
    ]
}

fn all(reports: &[WorkerReport]) -> impl Iterator<Item = (&ConnectionReport, &WorkerReport)> {
    reports.iter().flat_map(|report| report.connections.iter().map(move |connection| (connection, report)))
}

fn find<'a>(run: &Run<'a>) -> Result<(&'a ConnectionReport, &'a WorkerReport), String> {
    let id = run.params.whole("id").unwrap_or_default();
    all(run.reports)
        .find(|(connection, _)| connection.id.0 == id)
        .ok_or_else(|| run.missing(&format!("connection {id}")))
}

/// A connection as a stack of protocols, in EvoStream's shape, with ours beside it.
pub(super) fn info(
    server: &mut Server,
    connection: &ConnectionReport,
    worker: &WorkerReport,
    plays: Option<Value>,
) -> Value {
    let age = u64::try_from(connection.age.as_millis()).unwrap_or(u64::MAX);
    let now = unix_ms();
    let streams = |list: &[crtmp_reactor::StreamReport]| {
        let one = |stream: &crtmp_reactor::StreamReport| json!({ "uniqueId": stream.unique, "name": stream.name, "streamId": stream.slot.0 });
        list.iter().map(one).collect::<Value>()
    };
    let application_id = connection.application.as_deref().map(|name| server.state.application_id(name));
    let layer = |name: &str| {
        json!({
            "id": connection.id.0,
            "type": name,
            "typeNumeric": numeric(name),
            "applicationId": application_id,
            "applicationName": connection.application,
            "creationTimestamp": now.saturating_sub(age),
            "queryTimestamp": now,
        })
    };
    let stack: Vec<Value> = connection.layers.iter().map(|name| layer(name)).collect();
    let mut json = json!({
        "id": connection.id.0,
        "canReconnect": connection.can_reconnect,
        "carrier": carrier(connection),
        "stack": stack,
        "protocol": connection.chain,
        "application": connection.application,
        "outbound": connection.outbound,
        "worker": worker.worker,
        "upTime": age,
        "rttMs": connection.rtt_ms,
        "queuedBytes": connection.queued,
        "unsentBytes": connection.unsent,
        "openQuestions": connection.questions,
        "publishes": streams(&connection.publishes),
        "plays": plays.unwrap_or_else(|| streams(&connection.plays)),
    });
    if let Some(map) = json.as_object_mut() {
        add_connection(map, connection);
        map.remove("connectionId");
    }
    json
}

/// The socket of a connection.
pub(in crate::server) fn carrier(connection: &ConnectionReport) -> Value {
    json!({
        "type": "IOHT_TCP_CARRIER",
        "farIP": connection.peer.ip().to_string(),
        "farPort": connection.peer.port(),
        "nearIP": connection.local.ip().to_string(),
        "nearPort": connection.local.port(),
        "rx": connection.bytes_in,
        "tx": connection.bytes_out,
    })
}

fn get_connection_info(server: &mut Server, run: &Run<'_>) -> Outcome {
    let (connection, worker) = match find(run) {
        Ok(found) => found,
        Err(text) => return Outcome::Fail(text),
    };
    let play = |stream: &crtmp_reactor::StreamReport| {
        let mut json = json!({ "uniqueId": stream.unique, "name": stream.name, "streamId": stream.slot.0 });
        let player = worker
            .players
            .iter()
            .find(|player| player.connection == connection.id && player.slot == stream.slot);
        if let (Some(map), Some(player)) = (json.as_object_mut(), player) {
            map.extend(explain(connection, player));
        }
        json
    };
    let plays = connection.plays.iter().map(play).collect();
    Outcome::Data(info(server, connection, worker, Some(plays)))
}

/// What a viewer sees and why.
fn explain(connection: &ConnectionReport, player: &PlayerReport) -> serde_json::Map<String, Value> {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let start = match player.began {
        Began::Key => "at the newest key frame, which was not older than startLag",
        Began::CatchUp => {
            "at the newest key frame, with what followed it pressed together, because that was older than startLag"
        }
        Began::Next => "at the next key frame, by startPolicy",
        Began::Live => "with what came next, because the stream had no pictures",
        Began::Waiting => "it has had nothing to start at yet: no key frame has come",
    };
    let skips = &player.skips;
    let mut causes = Vec::new();
    if skips.lag > 0 {
        causes.push(format!(
            "{} times too far behind (maxLag, playerQueueBytes): its link drains too slowly",
            skips.lag
        ));
    }
    if skips.fell_off > 0 {
        causes.push(format!(
            "{} times what it needed was no longer kept (gopMessages, gopBytes, gopTime)",
            skips.fell_off
        ));
    }
    if skips.pause > 0 {
        causes.push(format!("{} times it was paused", skips.pause));
    }
    let seconds = connection.age.as_secs_f64().max(0.001);
    let json = json!({
        "start": player.began.name(),
        "startExplained": start,
        "startLagMs": player.start_lag,
        "lagMs": ms(player.behind),
        "lagBytes": player.behind_bytes,
        "lagPackets": player.behind_packets,
        "tooFarBehindMs": ms(player.too_far_behind),
        "packets": player.packets,
        "bytes": player.bytes,
        "droppedPackets": player.skipped_packets,
        "picturesLeftOut": player.left_out_pictures,
        "audioLeftOut": player.left_out_audio,
        "skips": { "lag": skips.lag, "fellOff": skips.fell_off, "pause": skips.pause },
        "skipsExplained": causes,
        "drainedBitsPerSecond": (connection.bytes_out as f64 * 8.0 / seconds).round() as u64,
        "rttMs": connection.rtt_ms,
    });
    match json {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

fn extended_counters(server: &mut Server, run: &Run<'_>) -> Outcome {
    let sum = |of: fn(&WorkerReport) -> u64| run.reports.iter().map(of).sum::<u64>();
    let mut chains: BTreeMap<&str, u64> = BTreeMap::new();
    for (connection, _) in all(run.reports) {
        *chains.entry(&connection.chain).or_default() += 1;
    }
    let current = all(run.reports).count();
    let [incoming, outgoing] = server.state.meter.rates().map(|rate| rate.round() as u64);
    let tcp = json!({
        "current": current,
        "max": server.workers.highest_connections().max(current),
        "total": sum(|report| report.counters.adopted + report.counters.connected),
        "inBytes": sum(|report| report.counters.bytes_in),
        "outBytes": sum(|report| report.counters.bytes_out),
        "inSpeed": incoming,
        "outSpeed": outgoing,
    });
    let none = json!({ "current": 0, "max": 0, "total": 0, "inBytes": 0, "outBytes": 0, "inSpeed": 0, "outSpeed": 0 });
    let accepted = |port: &super::super::Port| port.counts.accepted.load(Ordering::Relaxed);
    Outcome::Data(json!({
        "managedTcpAcceptors": {
            "current": server.ports.iter().filter(|port| port.enabled).count(),
            "accepted": server.ports.iter().map(accepted).sum::<u64>(),
        },
        "managedTcpConnectors": {
            "current": all(run.reports).filter(|(connection, _)| connection.outbound).count(),
            "total": sum(|report| report.counters.connected),
        },
        "grandTotal": tcp,
        "managedTcp": tcp,
        "managedUdp": none,
        "managedNonTcpUdp": none,
        "rawUdp": none,
        "refused": sum(|report| report.counters.refused),
        "closed": sum(|report| report.counters.closed),
        "byChain": chains,
    }))
}

fn close_connection(server: &mut Server, run: &Run<'_>) -> Outcome {
    let (connection, _) = match find(run) {
        Ok(found) => found,
        Err(text) => return Outcome::Fail(text),
    };
    let id: ConnectionId = connection.id;
    server.workers.close(id, "NetConnection.Connect.Closed".to_owned(), run.params.text("reason").to_owned());
    Outcome::Done("the connection is being closed", json!({ "id": id.0 }))
}

/// Bytes of an address that clients are asked to connect to.
const TC_URL: usize = 1024;

fn request_reconnect(server: &mut Server, run: &Run<'_>) -> Outcome {
    let url = run.params.given_text("tcUrl");
    if url.is_some_and(|url| url.is_empty() || url.len() > TC_URL || url.chars().any(char::is_control)) {
        return Outcome::Fail(format!("`tcUrl` is 1 to {TC_URL} bytes without control characters"));
    }
    let application = match super::streams::application(server, run.params) {
        Ok(application) => application.map(str::to_owned),
        Err(text) => return Outcome::Fail(text),
    };
    let one = run.params.whole("id");
    let wanted: Vec<&ConnectionReport> = match (one, &application) {
        (Some(_), None) => match find(run) {
            Ok((connection, _)) if connection.can_reconnect => vec![connection],
            Ok((connection, _)) => {
                let id = connection.id.0;
                let text =
                    format!("connection {id} has not declared that it follows such requests (capsEx, 1)");
                return Outcome::Fail(text);
            }
            Err(text) => return Outcome::Fail(text),
        },
        (None, Some(name)) => {
            let all = all(run.reports).map(|(connection, _)| connection);
            all.filter(|connection| connection.application.as_deref() == Some(name)).collect()
        }
        _ => return Outcome::Fail("say either `id` or `appName`".to_owned()),
    };
    let (able, unable): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|connection| connection.can_reconnect);
    for connection in &able {
        let (url, text) = (url.map(str::to_owned), run.params.text("reason").to_owned());
        let message = ToWorker::Reconnect { connection: connection.id, url, text };
        server.workers.post_to(connection.id, message);
    }
    let ids: Vec<u64> = able.iter().map(|connection| connection.id.0).collect();
    Outcome::Done("they are being asked", json!({ "asked": ids, "notAsked": unable.len() }))
}
