//! Publishers and players on several workers.

use std::time::Duration;

use crtmp_tests::{Config, Kind, Program, Recording, Server, ffmpeg, fixture, poll};

use crate::{SOON, file};

#[test]
fn a_stream_hops_from_worker_to_worker() {
    let server = Server::start(&Config::new().whole_groups().workers(2));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let players: Vec<Program> = (0..4).map(|_| Recording::start(&server.url("one"))).collect();
    let home = server.counters().publisher_of("one").expect("it publishes").worker;
    server.wait_for_counters("a player on each worker", SOON, |counters| {
        let players = counters.players_of("one");
        let here = players.iter().any(|player| player.worker == home);
        let there = players.iter().any(|player| player.worker != home);
        (here && there && players.len() == 4).then_some(())
    });
    let enough = |player| Recording::of_program(player).of(Kind::Video).len() >= 3 * fixture::GOP;
    assert!(poll(SOON, || players.iter().all(enough).then_some(())).is_some(), "a player gets no pictures");
    for player in &players {
        let recording = Recording::of_program(player);
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    }
    server.stop();
}

#[test]
fn connections_spread_over_the_workers() {
    let server = Server::start(&Config::new().workers(2));
    let address = server.address();
    let clients: Vec<_> = (0..10).map(|_| crtmp_tests::wire::Client::connected(address, "live")).collect();
    let shares = server.counters().connections_per_worker();
    assert_eq!(shares.iter().sum::<u64>(), 10, "{shares:?}");
    assert!(shares.iter().all(|share| (4..=6).contains(share)), "{shares:?}");
    drop(clients);
    server.wait_for_counters("an empty server", SOON, |counters| {
        counters.connections().is_empty().then_some(())
    });
    server.stop();
}

/// `CRTMP_FAN_OUT_SECONDS` sets the length: 30 before a release, fewer in between.
#[test]
fn twenty_publishers_with_five_players_each_lose_nothing() {
    let seconds: u64 =
        std::env::var("CRTMP_FAN_OUT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let length = Duration::from_secs(seconds);
    let server = Server::start(&Config::new().whole_groups().workers(2).log_level(4));
    let names: Vec<String> = (0..20).map(|index| format!("s{index}")).collect();
    let publishers: Vec<Program> =
        names.iter().map(|name| ffmpeg::publish_film(&server.url(name)).start()).collect();
    for name in &names {
        server.wait_for_publisher(name);
    }
    let (folder, _) = file("unused");
    let mut players = Vec::new();
    for name in &names {
        for index in 0..5 {
            let out = folder.path().join(format!("{name}-{index}.flv"));
            let launch = ffmpeg::record(&server.url(name), length, &out).within(Duration::from_secs(100));
            players.push((launch.start(), out));
        }
    }
    let source = fixture::packets();
    for (player, out) in players {
        ffmpeg::assert_clean(player.wait(length + Duration::from_secs(90)));
        let recording = Recording::of_file(&out);
        recording.assert_part_of(source);
        let pictures = recording.of(Kind::Video).len() as u64;
        assert!(pictures >= (seconds - 1) * 25, "{pictures} pictures in {}", out.display());
    }
    for mut publisher in publishers {
        assert!(publisher.runs(), "a publisher was ended");
    }
    server.stop();
}
