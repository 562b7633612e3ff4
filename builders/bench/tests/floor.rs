//! The load generator against the floor: what one writes, the other understands.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crtmp_bench::floor::{self, Mode};
use crtmp_bench::load::{self, Assignment, Event, Join, Plan, Players, Reading, Report};
use crtmp_bench::source::{Bundling, Shape};

/// A stream whose key frames come often, so that players need not wait for one.
const SHAPE: Shape = Shape {
    bitrate: 800_000,
    audio_bitrate: 32_000,
    audio_rate: 43,
    frame_rate: 25,
    gop: 5,
    key_weight: 6,
    disposable: true,
    chunk_size: 4096,
    bundling: Bundling::Separate,
};

/// A floor that runs until the test has ended.
fn floor(mode: Mode) -> SocketAddr {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        floor::serve(bind, mode, &SHAPE, &mut |address| send.send(address).expect("the test waits"))
    });
    receive.recv().expect("the floor listens")
}

fn run(plan: &Plan) -> (Report, usize) {
    let mut windows = 0;
    let report = load::run(plan, &mut |event| {
        windows += usize::from(matches!(event, Event::WindowOpen | Event::WindowClose));
    });
    (report.expect("the generator runs"), windows)
}

fn plan(target: SocketAddr) -> Plan {
    let mut plan = Plan::new(target);
    plan.raw = true;
    plan.settle = Duration::from_millis(300);
    plan.window = Duration::from_millis(600);
    plan.drain = Duration::from_millis(200);
    plan
}

#[test]
fn players_of_the_floor_get_every_frame() {
    let mut plan = plan(floor(Mode::Merge(Duration::from_millis(50))));
    plan.publishers.count = 0;
    let join = Join::Random(Duration::from_millis(300));
    let plan = plan.with(Players { sample: 2, join, ..Players::new("fast", 8) }).with(Players {
        reading: Reading::Rate(2_000),
        join,
        receive_buffer: Some(4096),
        ..Players::new("slow", 2)
    });
    let (report, windows) = run(&plan);
    assert_eq!(windows, 2);
    let fast = report.class("fast");
    assert_eq!((fast.started, fast.pictured, fast.sampled, fast.disconnected), (8, 8, 4, 0), "{fast:?}");
    assert_eq!((fast.frames.lost_pictures, fast.frames.lost_audios, fast.frames.torn), (0, 0, 0), "{fast:?}");
    assert!(fast.latency.count > 100 && fast.latency.p50 < 1000.0, "{fast:?}");
    let slow = report.class("slow");
    assert!(slow.bytes > 0 && slow.bytes < 10_000, "{slow:?}");
    assert!(report.gigabits > 0.0);
}

#[test]
fn the_relay_floor_joins_senders_and_receivers_of_one_number() {
    let mut plan = plan(floor(Mode::Relay));
    plan.publishers.count = 3;
    plan.publishers.shape = Shape { bundling: Bundling::WithVideo, ..SHAPE };
    let pairs = Players { stream: Assignment::Spread(0), ..Players::new("players", 3) };
    let (report, _) = run(&plan.with(pairs));
    let players = report.class("players");
    assert_eq!((players.pictured, players.disconnected), (3, 0), "{players:?}");
    assert_eq!((players.frames.lost_pictures, players.frames.torn), (0, 0), "{players:?}");
    assert_eq!(report.publishers.disconnected, 0);
    let sent = report.publishers.bytes as f64;
    let got = players.window_bytes as f64;
    assert!((got / sent - 1.0).abs() < 0.2, "{got} of {sent}");
}
