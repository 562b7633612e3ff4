use crtmp_media::{Codec, Limits, MediaKind, StreamName, StreamSlot};
use crtmp_reactor::{ConnectionReport, StreamReport};
use crtmp_relay::{
    Began, ConnectionId, Delays, Generation, HomeCounters, Level, MergeReport, PlayerReport, PublishReport,
    Sent, Skips, StreamKey, TrackReport,
};
use serde_json::json;

use super::*;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md"));

fn key(name: &str) -> StreamKey {
    let name = StreamName::new("", name, &Limits::default()).unwrap();
    StreamKey { application: "live".into(), name }
}

fn publish(number: u64, name: &str, bytes: u64) -> PublishReport {
    PublishReport {
        key: key(name),
        generation: Generation(1),
        connection: ConnectionId(1),
        slot: StreamSlot(u32::try_from(number).unwrap()),
        counters: HomeCounters { bytes, audio_frames: 3, video_frames: 4, ..HomeCounters::default() },
        subscribers: Vec::new(),
        gop_messages: 0,
        gop_bytes: 0,
        gop_dropped: 0,
        video_config: None,
        tracks: vec![TrackReport { kind: MediaKind::Video, track: 0, codec: Codec::Hevc }],
    }
}

fn player(name: &str, behind: Duration) -> PlayerReport {
    PlayerReport {
        key: key(name),
        connection: ConnectionId(2),
        slot: StreamSlot(1),
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
        behind,
        too_far_behind: Duration::ZERO,
        audio_codec: None,
        video_codec: None,
        video_config: None,
        audio: Sent::default(),
        video: Sent::default(),
    }
}

/// A worker on which these names are published, each with more bytes than the one before.
fn report(names: &[String]) -> WorkerReport {
    let stream = |(number, name): (usize, &String)| StreamReport {
        slot: StreamSlot(u32::try_from(number).unwrap()),
        name: name.clone(),
        alias: None,
        unique: number as u64,
        age: Duration::from_secs(1),
    };
    let connection = ConnectionReport {
        id: ConnectionId(1),
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
        publishes: names.iter().enumerate().map(stream).collect(),
        plays: Vec::new(),
        questions: 0,
    };
    let mut counters = WorkerCounters { bytes_in: 1000, accepted: 2, ..WorkerCounters::default() };
    counters.faults.insert("peer.rtmp".to_owned(), 5);
    counters.skipped.insert("badTag", 6);
    let publishes = names.iter().zip(0..).map(|(name, number)| publish(number, name, 1000 + number));
    WorkerReport {
        worker: 0,
        counters,
        connections: vec![connection],
        merge: MergeReport {
            level: Level::Off,
            round: Duration::ZERO,
            write_cost: Duration::ZERO,
            other_share: 0.0,
        },
        delays: Delays::default(),
        publishes: publishes.collect(),
        replicas: Vec::new(),
        players: Vec::new(),
        sources: Vec::new(),
    }
}

fn facts() -> Facts {
    let application = ApplicationFacts {
        name: "live".to_owned(),
        health: "stuck".to_owned(),
        waiting: 2,
        panics: 1,
        authentication: json!({ "asked": 3, "accepted": 2, "failed": 1, "delayed": 0, "refused": 0 }),
        shared_objects: Arc::default(),
    };
    Facts {
        uptime: Duration::from_millis(1500),
        workers: 2,
        commands: 9,
        left_behind: 0,
        retired: 0,
        applications: vec![application],
        certificates: vec![("a.pem".to_owned(), 7.0)],
        sinks: json!([{ "type": "file", "to": "a\"b.json", "queued": 1, "queuedBytes": 2, "sent": 3,
            "failed": 4, "dropped": 5, "retries": 6 }]),
    }
}

/// The names of the samples on a page, each once, and every line checked for its form.
fn names(page: &str) -> Vec<String> {
    assert!(page.ends_with("# EOF\n"));
    let mut names: Vec<String> = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name: String =
            line.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[test]
fn the_document_lists_exactly_these_metrics() {
    let page = render(&facts(), &[report(&["cam".to_owned()])], 50);
    let mut known: Vec<String> = ALL.iter().map(Metric::full_name).collect();
    known.sort();
    assert_eq!(names(&page), known, "{page}");
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `crtmp_")?.split('`').next());
    let mut documented: Vec<String> = rows.map(|name| format!("crtmp_{name}")).collect();
    documented.sort();
    assert_eq!(documented, known);
    for number in [STREAMS, &STREAMS_MAX.to_string()] {
        assert!(DOCUMENT.contains(number), "{number}");
    }
}

#[test]
fn a_page_says_what_the_workers_say() {
    let mut worker = report(&["cam".to_owned()]);
    worker.players = vec![player("cam", Duration::from_millis(500)), player("cam", Duration::ZERO)];
    worker.players.push(player("waited-for", Duration::ZERO));
    let page = render(&facts(), &[worker], 50);
    for line in [
        "crtmp_uptime_seconds 1.5",
        "crtmp_workers 2.0",
        "crtmp_workers_silent 1.0",
        "crtmp_connections{chain=\"inboundRtmp\"} 1.0",
        "crtmp_received_bytes_total 1000",
        "crtmp_faults_total{whose=\"peer\",protocol=\"rtmp\"} 5",
        "crtmp_skipped_total{what=\"badTag\"} 6",
        "crtmp_players 3.0",
        "crtmp_application_players{application=\"live\"} 3.0",
        "crtmp_application_health{application=\"live\",health=\"stuck\"} 1.0",
        "crtmp_application_health{application=\"live\",health=\"well\"} 0.0",
        "crtmp_event_sink_queued_bytes{sink=\"1\",type=\"file\",to=\"a\\\"b.json\"} 2.0",
        "crtmp_stream_players{application=\"live\",stream=\"cam\"} 2.0",
        "crtmp_stream_players{application=\"\",stream=\"other\"} 0.0",
        "crtmp_stream_bits_per_second{application=\"live\",stream=\"cam\"} 8000.0",
        "crtmp_stream_lag_seconds{application=\"live\",stream=\"cam\"} 0.5",
        "crtmp_stream_track{application=\"live\",stream=\"cam\",type=\"video\",track=\"0\",codec=\"H.265\"} 1.0",
        "crtmp_stream_video_frames_total{application=\"live\",stream=\"cam\"} 4",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
}

/// WEB-04.
#[test]
fn a_hundred_thousand_names_make_no_more_series() {
    let names: Vec<String> = (0..100_000).map(|number| format!("s{number}")).collect();
    let mut worker = report(&names);
    worker.players.push(player("s7", Duration::ZERO));
    let page = render(&facts(), &[worker], 50);
    let of = |metric: &str| page.lines().filter(|line| line.starts_with(metric)).count();
    assert_eq!(of("crtmp_stream_players{"), 51);
    assert_eq!(of("crtmp_stream_received_bytes_total{"), 50);
    assert!(page.len() < 64 * 1024, "{}", page.len());
    // Those with players first, then those that bring most.
    for (name, there) in [("s7", true), ("s99999", true), ("s99951", true), ("s99950", false)] {
        let line = format!("crtmp_stream_players{{application=\"live\",stream=\"{name}\"}}");
        assert_eq!(page.contains(&line), there, "{name}");
    }
}

#[test]
fn of_very_many_tracks_the_first_are_shown_and_made_up_codecs_have_one_name() {
    let mut worker = report(&["cam".to_owned()]);
    let made_up =
        |track: u8| TrackReport { kind: MediaKind::Video, track, codec: Codec::Other([track, 1, 2, 3]) };
    worker.publishes[0].tracks = (0..=255).map(made_up).collect();
    let page = render(&facts(), &[worker], 50);
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("crtmp_stream_track{")).collect();
    assert_eq!(lines.len(), 16);
    assert!(lines.iter().all(|line| line.contains("codec=\"other\"")), "{lines:?}");
}

#[test]
fn as_many_streams_are_named_as_were_asked_for() {
    let names: Vec<String> = (0..3).map(|number| format!("s{number}")).collect();
    for (asked, named) in [(0, 0), (2, 2), (3, 3), (4, 3)] {
        let page = render(&facts(), &[report(&names)], asked);
        let series = page.lines().filter(|line| line.starts_with("crtmp_stream_players{")).count();
        assert_eq!(series, named + 1, "{asked}");
    }
}

#[test]
fn names_can_neither_break_the_page_nor_carry_secrets() {
    let page = render(&facts(), &[report(&["a\"b\\c?token=abc".to_owned()])], 50);
    assert!(page.contains("stream=\"a\\\"b\\\\c?token=***\""), "{page}");
    names(&page);
}
