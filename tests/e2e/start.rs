//! Players that come in the middle of a group of pictures.

use std::ops::Range;
use std::time::Duration;

use crtmp_tests::cli::{Faces, Session};
use crtmp_tests::{Config, Kind, Packet, Program, Recording, Server, ffmpeg, wait_for};
use serde_json::Value;

use crate::SOON;

/// The length of a group of pictures in ms.
const GROUP: i64 = 8000;

/// A server with a publisher, a player that was there almost from the beginning, and one that came in the middle
/// of a group.
struct Stage {
    server: Server,
    first: Program,
    second: Program,
    /// The newest time in ms of the stream before the second player came.
    came: i64,
    _publisher: Program,
}

impl Stage {
    /// With a stream that begins at 0.
    fn new(config: &Config) -> Self {
        Self::at(config, 0, 0)
    }

    /// With a stream that begins at `from` s, to which the second player comes in a group after `after` ms.
    fn at(config: &Config, from: u32, after: i64) -> Self {
        let server = Server::start(config);
        let url = server.url("one");
        let publisher = ffmpeg::publish_long_groups(&url, from).start();
        server.wait_for_publisher("one");
        let first = Recording::start(&url);
        let came = wait_in_group(&server, after, 4000..6000);
        let second = Recording::start(&url);
        Self { server, first, second, came, _publisher: publisher }
    }

    /// What the second player has got once it has pictures of so many ms after it came, and then what the first has.
    fn recordings(&self, ms: i64) -> (Recording, Recording) {
        wait_for("enough pictures", SOON, || {
            let pictures = Recording::of_program(&self.second);
            let last = pictures.of(Kind::Video).last().map(|packet| packet.dts);
            last.is_some_and(|dts| dts > self.came + ms).then_some(())
        });
        let second = Recording::of_program(&self.second);
        let last = second.0.iter().map(|packet| packet.dts).max();
        let first = wait_for("as much at the other player", SOON, || {
            let first = Recording::of_program(&self.first);
            (first.0.iter().map(|packet| packet.dts).max() > last).then_some(first)
        });
        (second, first)
    }

    /// What the server says about the player that came last.
    fn last_player(&self) -> Value {
        let counters = self.server.counters();
        let players = counters.players("one");
        let newest = players.iter().max_by_key(|(_, player)| player["connection"].as_u64());
        newest.expect("two players").1.clone()
    }
}

/// Waits until the stream lies so many ms behind a key frame after `after` ms; returns its time in ms.
fn wait_in_group(server: &Server, after: i64, place: Range<i64>) -> i64 {
    server.wait_for_counters("the middle of a group", SOON, |counters| {
        let streams = counters.json()["streams"].as_array()?;
        let dts = streams.iter().find(|stream| stream["name"] == "one")?["dtsMs"].as_i64()?;
        (dts > after && place.contains(&(dts % GROUP))).then_some(dts)
    })
}

fn same(a: &Packet, b: &Packet) -> bool {
    (a.size, &a.hash, a.key) == (b.size, &b.hash, b.key)
}

#[test]
fn a_player_that_comes_late_has_a_picture_at_once_and_is_near_live() {
    assert_near_live(Stage::new(&Config::new()));
}

/// The times of RTMP pass 24 bits within the group. Then each chunk of a message repeats them, and in chunks as small
/// as these every message has many.
#[test]
fn a_late_player_of_a_stream_that_is_old_is_near_live() {
    // A multiple of the length of a group.
    let from = 16_768;
    let edge = 0xFF_FFFF;
    let stage = Stage::at(&Config::new().application("chunkSize", "128"), from, edge);
    assert!(stage.came / GROUP * GROUP < edge, "{} ms: the key frame comes after the edge", stage.came);
    assert_near_live(stage);
}

fn assert_near_live(stage: Stage) {
    let (second, first) = stage.recordings(2000);
    second.assert_forward();
    let pictures = second.of(Kind::Video);
    assert!(pictures[0].key, "{:?}", pictures[0]);
    let behind = stage.came - pictures[0].dts;
    assert!(behind <= 1000, "{behind} ms behind live");
    for packet in &second.0 {
        assert!(packet.pts >= packet.dts, "{packet:?}");
    }
    // Each picture is one of the source's, later than it was at most, and in the old order of presentation; once
    // they have caught up, none is missing and none has moved.
    let all = first.of(Kind::Video);
    let (mut at, mut live, mut old) = (0, 0, Vec::new());
    for packet in &pictures {
        let found =
            all[at..].iter().position(|source| same(source, packet)).expect("a picture of the source");
        let source = all[at + found];
        assert!(packet.dts >= source.dts, "{packet:?} was {source:?}");
        if live > 0 {
            assert_eq!((found, packet.dts, packet.pts), (0, source.dts, source.pts), "live again");
        }
        live += usize::from((packet.dts, packet.pts) == (source.dts, source.pts));
        old.push((source.pts, packet.pts));
        at += found + 1;
    }
    assert!(live >= 40, "{live} pictures were not moved");
    old.sort_unstable();
    assert!(old.is_sorted_by_key(|(_, new)| new), "pictures in another order: {old:?}");
    // Sound is as it was, from the player's time on.
    let sound = second.of(Kind::Audio);
    assert!(sound[0].dts >= pictures[0].dts && sound[0].dts <= pictures[0].dts + 100, "{:?}", sound[0]);
    let source = first.of(Kind::Audio);
    let from = source.iter().position(|source| same(source, sound[0]) && source.dts == sound[0].dts);
    let from = from.expect("sound of the source");
    assert!(sound.iter().zip(&source[from..]).all(|(ours, theirs)| ours == theirs));

    let player = stage.last_player();
    assert_eq!((&player["start"], &player["skips"]), (&"catchUp".into(), &0.into()), "{player}");
    assert!(player["startLagMs"].as_u64().is_some_and(|lag| lag <= 700), "{player}");
    assert!(player["picturesLeftOut"].as_u64() >= Some(20), "{player}");
    assert!(player["audioLeftOut"].as_u64() >= Some(100), "{player}");
    stage.server.stop();
}

#[test]
fn what_a_late_player_gets_can_be_decoded() {
    let server = Server::start(&Config::new());
    let url = server.url("one");
    let _publisher = ffmpeg::publish_long_groups(&url, 0).start();
    server.wait_for_publisher("one");
    wait_in_group(&server, 0, 3000..5000);
    ffmpeg::assert_clean(ffmpeg::decode(&url, Duration::from_secs(3)).run());
    server.stop();
}

#[test]
fn a_player_that_wants_whole_groups_gets_them_as_they_are() {
    let stage = Stage::new(&Config::new().whole_groups());
    let (second, first) = stage.recordings(500);
    second.assert_forward();
    second.assert_no_gap();
    second.assert_part_of(&first);
    let start = second.of(Kind::Video)[0].dts;
    assert!(stage.came - start >= 4000, "{start} ms is no time of the group's beginning");
    let player = stage.last_player();
    assert_eq!(player["start"], "key", "{player}");
    assert!(player["startLagMs"].as_u64() >= Some(3900), "{player}");
    stage.server.stop();
}

#[test]
fn a_player_that_wants_the_next_group_waits_for_it() {
    let stage = Stage::new(&Config::new().application("startPolicy", "\"next\""));
    let (second, first) = stage.recordings(5000);
    second.assert_forward();
    second.assert_no_gap();
    second.assert_part_of(&first);
    assert!(second.of(Kind::Video)[0].dts > stage.came);
    assert!(second.of(Kind::Audio)[0].dts > stage.came);
    let player = stage.last_player();
    assert_eq!(player["start"], "next", "{player}");
    stage.server.stop();
}

#[test]
fn operators_read_why_a_player_started_where_it_did() {
    let stage = Stage::new(&Config::new().workers(1).block(&Faces::block("")));
    let faces = Faces::of(&stage.server);
    let mut json = Session::open(faces.json);
    let connection = wait_for("the second player", SOON, || {
        let counters = stage.server.counters();
        let players = counters.players("one");
        let newest = players.iter().filter_map(|(_, player)| player["connection"].as_u64()).max();
        newest.filter(|_| players.len() == 2)
    });
    let line = format!("getConnectionInfo id={connection}");
    let play = wait_for("its start", SOON, || {
        let play = json.done(&line)["plays"][0].take();
        (play["start"] != "waiting").then_some(play)
    });
    let why = "because that was older than startLag";
    assert_eq!(play["start"], "catchUp", "{play}");
    assert!(play["startExplained"].as_str().is_some_and(|text| text.ends_with(why)), "{play}");
    let shown = Session::open(faces.text).show(&line);
    for part in
        [why, "startLagMs:", "rttMs:", "lagMs:", "lagBytes:", "droppedPackets:", "skipsExplained:", "skips:"]
    {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
}
