//! Players that read slowly, stop reading, or pause, beside others that must not notice.
//!
//! Names like `SLOW-01` are those of `docs/testing.md`.

use std::time::{Duration, Instant};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::numbered::Shape;
use crtmp_tests::upstream::{Act, Script, Upstream};
use crtmp_tests::wire::amf;
use crtmp_tests::{Config, Counters, Server};

use crate::crowd::{Crowd, Pace};
use crate::{SOON, cpu, entry};

const STREAM: &str = "one";

/// 25 pictures of 20000 bytes a second: 4 Mbit/s, with a key frame each second.
const FILM: Shape = Shape { picture: 20_000, gop: 25, interval: 40 };

/// Bytes that a log may keep.
const LOG: u64 = 4 << 20;

/// Bytes that a player may cost, whatever it reads. A debug build's are some KiB.
const PLAYER: u64 = 16 << 10;

/// A server that hides no delay in buffers of the system.
fn config() -> Config {
    Config::new()
        .log_level(3)
        .application("sendBuffer", "16384")
        .application("startPolicy", "\"key\"")
        .application("maxLag", "2")
        .limit("messageSize", "1048576")
        .limit("gopBytes", &LOG.to_string())
}

/// `skips` of the players of the stream, by address.
fn skips(counters: &Counters) -> Vec<(String, u64)> {
    let players = counters.players(STREAM);
    players.into_iter().map(|(peer, player)| (peer, player["skips"].as_u64().unwrap_or(0))).collect()
}

/// SLOW-01.
#[test]
fn slow_players_miss_whole_groups_and_fast_ones_nothing() {
    const FAST: usize = 20;
    const SLOW: usize = 180;
    // What the slow have not read lies in the log of the stream, once for all of them; beside it the home of the
    // stream keeps a group for other workers, and the two do not share bytes. With queues of their own, the slow would
    // hold a megabyte each.
    let bound = 2 * LOG + (FAST + SLOW) as u64 * PLAYER;
    let server = Server::start(&config());
    let before = server.counters().usage();
    let mut crowd = Crowd::new(&server, STREAM, FILM);
    crowd.join(FAST, Pace::Fast);
    crowd.join(SLOW, Pace::Slow(u32::try_from(FILM.rate() / 10).expect("a small number")));

    let mut most = before;
    let mut looked = Instant::now();
    crowd.go_on("two skips of each slow player", 2 * SOON, |crowd| {
        if looked.elapsed() > Duration::from_millis(500) {
            let usage = crowd.counters().usage();
            most.allocated = most.allocated.max(usage.allocated);
            most.resident = most.resident.max(usage.resident);
            looked = Instant::now();
        }
        let done = |holes: u32| holes >= 2;
        crowd.of(Pace::Slow(0)).all(|player| done(player.seen.holes)).then_some(())
    });
    let counters = crowd.counters();
    crowd.assert_fast_are_whole();

    let skips = skips(&counters);
    assert_eq!(skips.len(), FAST + SLOW);
    for player in crowd.of(Pace::Slow(0)) {
        assert!(player.seen.wrong.is_empty() && !player.closed, "{}: {:?}", player.address, player.seen);
        let counted = skips.iter().find(|(peer, _)| *peer == player.address).map_or(0, |(_, skips)| *skips);
        // It may have skipped what it will not notice for a while.
        assert!(counted >= u64::from(player.seen.holes), "{counted} skips, {:?}", player.seen);
    }
    for player in crowd.of(Pace::Fast) {
        assert!(skips.contains(&(player.address.clone(), 0)), "a fast player has skipped");
    }
    let published = crowd.source.next();
    let seen: u32 = crowd.of(Pace::Slow(0)).map(|player| player.seen.pictures).sum();
    let skips: u64 = skips.iter().map(|(_, skips)| skips).sum();
    println!(
        "{published} pictures; a slow player got {} and skipped {} times; heap +{} KiB, resident +{} KiB, bound {} KiB",
        seen as usize / SLOW,
        skips as usize / SLOW,
        (most.allocated - before.allocated) >> 10,
        (most.resident - before.resident) >> 10,
        bound >> 10,
    );
    assert!(most.allocated <= before.allocated + bound, "{before:?}, {most:?}");
    // The allocator rounds up, and keeps what is free.
    assert!(most.resident <= before.resident + 2 * bound, "{before:?}, {most:?}");

    crowd.keep(Pace::Fast);
    crowd.go_on_for(FILM.gop);
    crowd.assert_fast_are_whole();
    server.stop();
}

/// SLOW-02.
#[test]
fn players_that_stop_reading_are_cut() {
    const DEAD: usize = 20;
    let server = Server::start(&config().limit("playerCut", "1.5"));
    let mut crowd = Crowd::new(&server, STREAM, FILM);
    crowd.join(2, Pace::Fast);
    crowd.go_on_for(FILM.gop);
    let before = crowd.counters();
    crowd.join(DEAD, Pace::Never);
    let cut = |counters: &Counters| {
        let workers = counters.json()["workers"].as_array().map_or(&[][..], Vec::as_slice);
        workers.iter().filter_map(|worker| worker["playersCut"].as_u64()).sum::<u64>()
    };
    let after = crowd.go_on("an end of all who do not read", SOON, |crowd| {
        let counters = crowd.counters();
        (counters.usage().files == before.usage().files).then_some(counters)
    });
    assert_eq!((cut(&before), cut(&after)), (0, DEAD as u64));
    assert_eq!(after.number("totals.players"), before.number("totals.players"));
    server.wait_for_log("playerCut");
    // Their memory is back: the log ends where the fast ones are, within a group.
    crowd.go_on_for(FILM.gop + 1);
    let (before, after) = (before.usage(), crowd.counters().usage());
    let group = (FILM.rate() * 2) as u64;
    assert!(after.allocated <= before.allocated + group + (256 << 10), "{before:?}, {after:?}");
    crowd.assert_fast_are_whole();
    server.stop();
}

/// SLOW-04: a far end that takes a stream and then reads nothing costs no more than a player that does.
#[test]
fn a_push_target_that_stops_reading_is_given_up() {
    let deaf = Upstream::start(Script::new().at("publish", [Act::Answer, Act::Deafness]));
    let config = config()
        .limit("playerCut", "1.5")
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator());
    let server = Server::start(&config);
    let mut session = Session::operator(&server);
    let mut crowd = Crowd::new(&server, STREAM, FILM);
    crowd.join(2, Pace::Fast);
    crowd.go_on_for(FILM.gop);
    let before = crowd.counters().usage();
    session.done(&format!("pushStream uri={} localStreamName={STREAM}", deaf.url("live", "far")));
    let given_up = crowd.go_on("the end of the push's patience", 2 * SOON, |_| {
        let push = entry(&mut session, "push", STREAM);
        (push["failures"].as_u64() > Some(0)).then_some(push)
    });
    assert!(given_up["cause"].as_str().is_some_and(|cause| cause.contains("playerCut")), "{given_up}");
    session.done(&format!("removeConfig id={}", given_up["configId"]));
    crowd.go_on_for(FILM.gop + 1);
    let after = crowd.counters().usage();
    let group = (FILM.rate() * 2) as u64;
    assert!(after.allocated <= before.allocated + group + (256 << 10), "{before:?}, {after:?}");
    crowd.assert_fast_are_whole();
    server.stop();
}

/// SLOW-05.
#[test]
fn a_paused_player_costs_nothing_and_goes_on_near_live() {
    // A log keeps a second at most, whoever pauses. Pausing is not being slow, so that nobody is cut for it.
    let shape = Shape { gop: 10, ..FILM };
    let config = config().limit("gopTime", "1").limit("playerCut", "1");
    let server = Server::start(&config);
    let mut crowd = Crowd::new(&server, STREAM, shape);
    crowd.join(2, Pace::Fast);
    crowd.go_on_for(25);
    // The player that will pause, apart from those that may not miss anything.
    let paused = Pace::Slow(u32::MAX);
    crowd.join(1, paused);
    crowd.go_on("a picture", SOON, |crowd| {
        crowd.of(paused).all(|player| player.seen.pictures > 0).then_some(())
    });

    let pause = |crowd: &Crowd<'_>, on: bool| {
        crowd.of(paused).for_each(|player| player.say("pause", &[amf::boolean(on), amf::number(0.0)]));
    };
    pause(&crowd, true);
    crowd.go_on_for(30);
    let got = |crowd: &Crowd<'_>| crowd.of(paused).map(|player| player.seen.pictures).sum::<u32>();
    let (first, pictures) = (crowd.counters().usage(), got(&crowd));
    let mut most = first.allocated;
    for _ in 0..5 {
        crowd.go_on_for(15);
        most = most.max(crowd.counters().usage().allocated);
    }
    assert_eq!(got(&crowd), pictures, "pictures in spite of the pause");
    // Where in a group the two looks were is chance.
    let group = shape.rate() as u64 / 2;
    println!("heap: {} KiB after a second of pause, {} KiB at most later", first.allocated >> 10, most >> 10);
    assert!(most <= first.allocated + 2 * group, "{first:?}, later {most}");

    let live = crowd.source.next();
    pause(&crowd, false);
    let back = crowd.go_on("pictures after the pause", SOON, |crowd| {
        let player = crowd.of(paused).next()?;
        (player.seen.pictures > pictures + shape.gop).then(|| player.seen.clone())
    });
    assert_eq!((back.holes, &back.wrong[..]), (1, &[][..]), "{back:?}");
    let first_after = back.last.unwrap_or(0) - (back.pictures - pictures) + 1;
    assert!(first_after + shape.gop >= live, "on at picture {first_after} when {live} was next");
    crowd.assert_fast_are_whole();
    server.stop();
}

/// SLOW-03.
#[test]
fn a_thousand_readers_of_a_byte_a_second_are_no_burden() {
    const FAST: usize = 20;
    const CRAWLING: usize = 1000;
    const PICTURES: u32 = 50;
    let server = Server::start(&config());
    let mut crowd = Crowd::new(&server, STREAM, FILM);
    crowd.join(FAST, Pace::Fast);
    let measure = |crowd: &mut Crowd<'_>| {
        let (before, start) = (cpu(&server), Instant::now());
        crowd.go_on_for(PICTURES);
        (cpu(&server) - before).as_secs_f64() / start.elapsed().as_secs_f64()
    };
    let alone = measure(&mut crowd);
    let before = crowd.counters().usage();
    crowd.join(CRAWLING, Pace::Slow(1));
    // Until the buffers of the system are full.
    crowd.go_on_for(FILM.gop);
    let beside = measure(&mut crowd);
    let after = crowd.counters();
    println!(
        "CPU seconds per second: {alone:.3} with {FAST} players, {beside:.3} with {CRAWLING} beside them"
    );
    println!("heap: +{} KiB", after.usage().allocated.saturating_sub(before.allocated) >> 10);
    // Far from what a thousand players cost that are served: fifty times that of twenty.
    assert!(beside < 5.0 * alone + 0.25, "{alone} alone, {beside} beside the slow");
    let bound = 2 * LOG + CRAWLING as u64 * PLAYER;
    assert!(after.usage().allocated <= before.allocated + bound, "{before:?}, {:?}", after.usage());
    assert_eq!(after.players_of(STREAM).len(), FAST + CRAWLING);
    crowd.assert_fast_are_whole();
    for player in crowd.of(Pace::Slow(0)) {
        assert!(player.seen.wrong.is_empty() && !player.closed, "{}: {:?}", player.address, player.seen);
    }
    server.stop();
}
