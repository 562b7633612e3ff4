//! Publishers that die, return, or contend for a name; players that wait.

use std::time::{Duration, Instant};

use crtmp_tests::{
    Config, Connection, Kind, Launch, Namespace, Recording, Server, ffmpeg, fixture, poll, wait_for,
};

use crate::{SOON, file, wait_for_more};

fn publisher_of(server: &Server, stream: &str) -> Option<Connection> {
    server.counters().publisher_of(stream)
}

#[test]
fn a_killed_publisher_returns_and_its_player_goes_on() {
    let server = Server::start(&Config::new());
    let url = server.url("one");
    let mut first = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut player = Recording::start(&url);
    let (_folder, out) = file("out.flv");
    let recorder = ffmpeg::record(&url, Duration::from_secs(8), &out).start();
    wait_for_more(&mut player, 2 * fixture::GOP);
    let old = publisher_of(&server, "one").expect("it publishes");

    first.kill();
    let mut second = ffmpeg::publish_film(&url).start();
    wait_for("the second publisher", SOON, || {
        assert!(second.runs(), "the second publisher was refused: {}", second.stderr());
        publisher_of(&server, "one").filter(|publisher| publisher.id != old.id)
    });

    wait_for_more(&mut player, 2 * fixture::GOP);
    Recording::of_program(&player).assert_forward();
    ffmpeg::assert_clean(recorder.wait(SOON));
    Recording::of_file(&out).assert_forward();
    server.stop();
}

#[test]
fn a_publisher_that_was_cut_off_silently_is_replaced_and_freed() {
    let Some(namespace) = Namespace::new() else { return };
    let server = Server::start(&Config::new().ip("0.0.0.0"));
    let port = server.address().port();
    let url = format!("rtmp://127.0.0.1:{port}/live/one");
    let inside = format!("rtmp://{}:{port}/live/one", namespace.host());
    let _first = ffmpeg::publish_film(&inside).inside(&namespace).start();
    server.wait_for_publisher("one");
    let old = publisher_of(&server, "one").expect("it publishes");
    let mut player = Recording::start(&url);
    wait_for_more(&mut player, 2 * fixture::GOP);

    namespace.cut();
    let cut = Instant::now();
    let mut second = ffmpeg::publish_film(&url).start();
    let accepted = poll(Duration::from_secs(6), || {
        if !second.runs() {
            // Refused, since the old one is not silent for long enough yet: an encoder tries again.
            second = ffmpeg::publish_film(&url).start();
        }
        publisher_of(&server, "one").filter(|publisher| publisher.id != old.id).map(|_| cut.elapsed())
    });
    let accepted = accepted.expect("the second publisher is never accepted");
    assert!(accepted <= Duration::from_secs(3), "accepted after {accepted:?}");

    wait_for_more(&mut player, 2 * fixture::GOP);
    Recording::of_program(&player).assert_forward();
    let left = Duration::from_secs(10).saturating_sub(cut.elapsed());
    server.wait_for_counters("the end of the dead publisher", left, |counters| {
        let gone = counters.connections().iter().all(|connection| connection.id != old.id);
        gone.then_some(())
    });
    server.stop();
}

#[test]
fn a_silent_publisher_without_a_successor_is_freed() {
    let Some(namespace) = Namespace::new() else { return };
    let server = Server::start(&Config::new().ip("0.0.0.0"));
    let inside = format!("rtmp://{}:{}/live/one", namespace.host(), server.address().port());
    let _publisher = ffmpeg::publish_film(&inside).inside(&namespace).start();
    server.wait_for_publisher("one");
    namespace.cut();
    // Ten seconds of silence, two in which its socket could still say something, and some for the counters.
    server.wait_for_counters("the end of the dead publisher", Duration::from_secs(15), |counters| {
        counters.connections().is_empty().then_some(())
    });
    server.stop();
}

#[test]
fn a_player_that_waits_gets_the_picture() {
    let server = Server::start(&Config::new().whole_groups());
    let url = server.url("one");
    let mut player = Recording::start(&url);
    server.wait_for_counters("a player that waits", SOON, |counters| {
        (!counters.players_of("one").is_empty()).then_some(())
    });
    let _publisher = ffmpeg::publish_film(&url).start();
    wait_for_more(&mut player, fixture::GOP);
    let recording = Recording::of_program(&player);
    recording.assert_part_of(fixture::packets());
    // It was there first, so it misses nothing of the beginning.
    assert_eq!(recording.of(Kind::Video)[0].hash, fixture::packets().of(Kind::Video)[0].hash);
    server.stop();
}

#[test]
fn players_leave_when_their_publisher_does_not_return() {
    let server = Server::start(&Config::new().application("publisherReturn", "1"));
    let url = server.url("one");
    let publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut recording = Recording::start(&url);
    let player = ffmpeg::play(&url).start();
    wait_for_more(&mut recording, fixture::GOP);
    publisher.interrupt();
    player.wait(SOON).success();
    recording.wait(SOON).success();
    server.stop();
}

#[test]
fn a_second_publisher_of_a_live_stream_is_refused() {
    for policy in ["reject", "replaceIfIdle"] {
        let server = Server::start(&Config::new().application("duplicatePublisher", &format!("{policy:?}")));
        let url = server.url("one");
        let mut first = ffmpeg::publish_film(&url).start();
        server.wait_for_publisher("one");
        let second = ffmpeg::publish_film(&url).start().wait(SOON);
        assert_ne!(second.code, Some(0), "{policy}: the second publisher was accepted");
        assert!(first.runs(), "{policy}: the first publisher was ended");
        assert_eq!(ffmpeg::codecs(&url), ["aac", "h264"]);
        server.stop();
    }
}

#[test]
fn a_second_publisher_may_take_the_place_of_the_first() {
    let server = Server::start(&Config::new().application("duplicatePublisher", "\"replace\""));
    let url = server.url("one");
    let first = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut player = Recording::start(&url);
    wait_for_more(&mut player, fixture::GOP);
    let mut second = ffmpeg::publish_film(&url).start();
    assert_ne!(first.wait(SOON).code, Some(0), "the first publisher does not notice");
    wait_for_more(&mut player, 2 * fixture::GOP);
    Recording::of_program(&player).assert_forward();
    assert!(second.runs());
    server.stop();
}

#[test]
fn a_player_that_stops_reading_is_no_burden() {
    let server = Server::start(&Config::new().whole_groups());
    let url = server.url("one");
    let _publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut healthy = Recording::start(&url);
    let slow = ffmpeg::play(&url).start();
    wait_for_more(&mut healthy, fixture::GOP);
    // Stops ffmpeg itself, not only the program that watches over it.
    let stop = Launch::new("pkill").args("-STOP -P").arg(slow.id().to_string()).run();
    assert_eq!(stop.code, Some(0), "{}", stop.stderr);
    wait_for_more(&mut healthy, 3 * fixture::GOP);
    let recording = Recording::of_program(&healthy);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    drop(slow);
    server.stop();
}
