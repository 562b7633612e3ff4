//! Streams and their other ends, of what workers report.

use std::time::Duration;

use crtmp_media::{Limits, StreamName, StreamSlot};
use crtmp_relay::{
    Began, Delays, Generation, HomeCounters, Level, MergeReport, PlayerReport, Skips, StreamKey,
};

use super::*;

fn key(name: &str) -> StreamKey {
    let name = StreamName::new("", name, &Limits::default()).unwrap();
    StreamKey { application: "live".into(), name }
}

fn stream(slot: u32, unique: u64) -> StreamReport {
    let (slot, age) = (StreamSlot(slot), Duration::from_secs(1));
    StreamReport { slot, name: "cam".to_owned(), alias: None, unique, age }
}

/// A connection that publishes and plays this: message streams with their numbers.
fn connection(id: u64, publishes: &[(u32, u64)], plays: &[(u32, u64)]) -> ConnectionReport {
    let streams = |list: &[(u32, u64)]| list.iter().map(|(slot, unique)| stream(*slot, *unique)).collect();
    ConnectionReport {
        id: ConnectionId(id),
        peer: "192.0.2.1:5000".parse().unwrap(),
        layers: Vec::new(),
        chain: "inboundRtmp".to_owned(),
        application: Some("live".to_owned()),
        agent: String::new(),
        age: Duration::from_secs(1),
        bytes_in: 0,
        bytes_out: 0,
        queued: 0,
        unsent: 0,
        rtt_ms: None,
        local: "192.0.2.2:1935".parse().unwrap(),
        tc_url: String::new(),
        swf_url: String::new(),
        page_url: String::new(),
        outbound: false,
        can_reconnect: false,
        publishes: streams(publishes),
        plays: streams(plays),
        questions: 0,
    }
}

fn publish(connection: u64, slot: u32, name: &str) -> PublishReport {
    PublishReport {
        key: key(name),
        generation: Generation(1),
        connection: ConnectionId(connection),
        slot: StreamSlot(slot),
        counters: HomeCounters::default(),
        subscribers: Vec::new(),
        gop_messages: 0,
        gop_bytes: 0,
        gop_dropped: 0,
        video_config: None,
        tracks: Vec::new(),
    }
}

fn player(connection: u64, slot: u32, name: &str) -> PlayerReport {
    PlayerReport {
        key: key(name),
        connection: ConnectionId(connection),
        slot: StreamSlot(slot),
        packets: 0,
        bytes: 0,
        began: Began::default(),
        start_lag: 0,
        left_out_pictures: 0,
        left_out_audio: 0,
        skips: Skips::default(),
        skipped_packets: 0,
        behind_bytes: 0,
        behind_packets: 0,
        behind: Duration::ZERO,
        too_far_behind: Duration::ZERO,
        audio_codec: None,
        video_codec: None,
        video_config: None,
        audio: Sent::default(),
        video: Sent::default(),
    }
}

fn worker(worker: u16) -> WorkerReport {
    let merge = MergeReport {
        level: Level::Off,
        round: Duration::ZERO,
        write_cost: Duration::ZERO,
        other_share: 0.0,
    };
    WorkerReport {
        worker,
        counters: Default::default(),
        connections: Vec::new(),
        merge,
        delays: Delays::default(),
        publishes: Vec::new(),
        replicas: Vec::new(),
        players: Vec::new(),
        sources: Vec::new(),
    }
}

/// Two workers: `a` changes its publisher and is played on both; `b` is an application's own; nobody publishes `c`;
/// the publisher of `d` has just gone; nobody plays `e`.
fn mixed() -> [WorkerReport; 2] {
    let mut first = worker(0);
    first.connections =
        vec![connection(1, &[(1, 10)], &[(2, 11)]), connection(2, &[], &[(1, 12), (2, 13), (3, 14)])];
    first.sources = vec![(ConnectionId(3), stream(1, 15))];
    first.publishes = vec![publish(3, 1, "b"), publish(1, 1, "a"), publish(9, 1, "d")];
    first.players = vec![player(2, 3, "d"), player(2, 1, "a"), player(1, 2, "a"), player(2, 2, "b")];
    let mut second = worker(1);
    second.connections =
        vec![connection(4, &[(1, 20), (2, 21)], &[]), connection(5, &[], &[(1, 22), (2, 23), (3, 24)])];
    second.publishes = vec![publish(4, 2, "e"), publish(4, 1, "a")];
    // What number 24 plays has just ended.
    second.players = vec![player(5, 1, "c"), player(5, 2, "a")];
    [first, second]
}

#[test]
fn streams_know_their_other_ends() {
    let reports = mixed();
    let ends = Ends::of(&reports);
    let shown: Vec<Value> = streams(&reports).map(|stream| stream.shown_with(&ends, Rights::Read)).collect();
    let fed = |ids: Value| ("outStreamsUniqueIds", ids);
    let by = |id: Value| ("inStreamUniqueId", id);
    let expected = [
        (10, Some(fed(json!([11, 12, 23])))),
        (11, Some(by(json!(10)))),
        (12, Some(by(json!(10)))),
        (13, Some(by(json!(15)))),
        (14, Some(by(json!(null)))),
        (15, Some(fed(json!([13])))),
        (20, Some(fed(json!([11, 12, 23])))),
        (21, Some(fed(json!([])))),
        (22, Some(by(json!(null)))),
        (23, Some(by(json!(10)))),
        (24, None),
    ];
    assert_eq!(shown.len(), expected.len());
    for (shown, (unique, end)) in shown.iter().zip(expected) {
        assert_eq!(shown["uniqueId"], unique);
        for key in ["outStreamsUniqueIds", "inStreamUniqueId"] {
            let value = end.as_ref().filter(|(name, _)| *name == key).map(|(_, value)| value);
            assert_eq!(shown.get(key), value, "{key} of {unique}");
        }
    }
    let types: Vec<&str> = shown.iter().filter_map(|stream| stream["type"].as_str()).collect();
    assert_eq!(types, ["INR", "ONR", "ONR", "ONR", "ONR", "IAPP", "INR", "INR", "ONR", "ONR", "ONR"]);
    assert_eq!(shown[5]["appName"], "live");

    // Events look at one connection.
    let stream = streams(&reports).next().unwrap().json(None);
    assert_eq!((stream.get("outStreamsUniqueIds"), &stream["uniqueId"]), (None, &json!(10)));
}

/// A search through all for each of them would take minutes.
#[test]
fn tens_of_thousands_of_streams_are_listed() {
    const STREAMS: u32 = 20_000;
    const OF_ONE: u64 = 3;
    let mut reports = [worker(0), worker(1)];
    for number in 0..STREAMS {
        let (name, id) = (number.to_string(), u64::from(number));
        let [home, other] = &mut reports;
        home.connections.push(connection(id, &[(1, id)], &[]));
        home.publishes.push(publish(id, 1, &name));
        // Of every ten players the first `OF_ONE` watch the same stream, the others one each.
        let (player_id, unique) = (id + u64::from(STREAMS), id + u64::from(STREAMS));
        let watched = if id % 10 < OF_ONE { "0" } else { &name };
        other.connections.push(connection(player_id, &[], &[(1, unique)]));
        other.players.push(player(player_id, 1, watched));
    }
    // The worker's lists need not be in the same order.
    reports[1].players.reverse();
    reports[0].publishes.reverse();
    let ends = Ends::of(&reports);
    let (mut fed, mut feeding) = (0, 0);
    for stream in streams(&reports) {
        let shown = stream.shown_with(&ends, Rights::Read);
        let id = stream.report.unique;
        if stream.inbound {
            feeding += shown["outStreamsUniqueIds"].as_array().unwrap().len();
        } else {
            let number = id - u64::from(STREAMS);
            let publish = if number % 10 < OF_ONE { 0 } else { number };
            assert_eq!(shown["inStreamUniqueId"], publish, "{id}");
            fed += 1;
        }
    }
    assert_eq!((fed, feeding), (STREAMS as usize, STREAMS as usize));
    assert_eq!(ends.plays(&key("0")).len(), 6000);
}
