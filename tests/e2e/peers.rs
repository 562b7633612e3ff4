//! The servers that ours is tried against, tried by themselves with ffmpeg.

use std::time::Duration;

use crtmp_tests::flapper::{Flapper, Mode};
use crtmp_tests::nginx::{Application, Nginx};
use crtmp_tests::upstream::{Acknowledge, Act, Moment, Script, Upstream, Visit};
use crtmp_tests::{
    Config, Launch, NodeMediaServer, Recording, Server, ffmpeg, fixture, flv, free_address, listens,
    wait_for, wait_for_listener,
};

use crate::{SOON, file};

/// What is recorded of a stream.
const LENGTH: Duration = Duration::from_secs(3);

/// Records a stream and demands that it is part of the film.
fn records_the_film(url: &str) {
    let (_folder, out) = file("out.flv");
    ffmpeg::assert_clean(ffmpeg::record(url, LENGTH, &out).run());
    Recording::of_file(&out).assert_part_of(fixture::packets());
}

#[test]
fn nginx_carries_what_ffmpeg_publishes() {
    let mut nginx = Nginx::start(&[Application::live("live")]);
    let _publisher = ffmpeg::publish_film(&nginx.url("live", "one")).start();
    nginx.wait_for_publisher("live", "one");
    records_the_film(&nginx.url("live", "one"));
    // It can be killed and comes back to the same address.
    nginx.kill();
    assert!(!listens(nginx.address()));
    nginx.start_again();
    assert!(!nginx.has_publisher("live", "one"));
}

#[test]
fn a_flapper_stands_between_ffmpeg_and_nginx() {
    let nginx = Nginx::start(&[Application::live("live")]);
    let flapper = Flapper::start(nginx.address());
    let url = format!("rtmp://{}/live/one", flapper.address());
    let mut publisher = ffmpeg::publish_film(&url).start();
    nginx.wait_for_publisher("live", "one");
    records_the_film(&url);
    flapper.cut();
    wait_for("the end of the publisher", SOON, || (!publisher.runs()).then_some(()));
    wait_for("nginx to notice", SOON, || (!nginx.has_publisher("live", "one")).then_some(()));
    flapper.set(Mode::Refuse);
    assert!(ffmpeg::publish_film(&url).run().stderr.contains("Connection refused"));
    assert_eq!(flapper.attempts().len(), 2);
}

#[test]
fn nginx_pushes_and_pulls() {
    let target = Nginx::start(&[Application::live("pushed")]);
    let source = Application::live("live").push(&format!("rtmp://{}/pushed", target.address()));
    let source = Nginx::start(&[source]);
    let _publisher = ffmpeg::publish_film(&source.url("live", "one")).start();
    target.wait_for_publisher("pushed", "one");
    let edge = Application::live("edge").pull(&source.url("live", "one"), "two");
    let edge = Nginx::start(&[edge, Application::live("other")]);
    edge.wait_for_publisher("edge", "two");
    records_the_film(&edge.url("edge", "two"));
}

/// A relay of ours between two of nginx, in both of the ways in which nginx can be a client.
#[test]
fn nginx_pushes_to_us_and_pulls_from_us() {
    let server = Server::start(&Config::new().whole_groups());
    let edge = Application::live("edge").pull_on_demand(&format!("rtmp://{}/live", server.address()));
    let origin = Application::live("origin").push(&format!("rtmp://{}/live", server.address()));
    let nginx = Nginx::start(&[origin, edge]);
    let _publisher = ffmpeg::publish_film(&nginx.url("origin", "one")).start();
    server.wait_for_publisher("one");
    records_the_film(&nginx.url("edge", "one"));
    server.stop();
}

#[test]
fn node_media_server_carries_what_ffmpeg_publishes() {
    let mut server = NodeMediaServer::start();
    let url = server.url("live", "one");
    let _publisher = ffmpeg::publish_film(&url).start();
    wait_for("a publisher in the log", SOON, || server.log().contains("start push").then_some(()));
    records_the_film(&url);
    server.kill();
    server.start_again();
}

#[test]
fn ffmpeg_records_what_is_published_to_it() {
    let (_folder, out) = file("out.flv");
    let address = free_address();
    let server = ffmpeg::listen(address, &out).start();
    wait_for_listener(address);
    let publisher = ffmpeg::publish_film(&format!("rtmp://{address}/live/p")).start();
    wait_for("a file of ffmpeg's", SOON, || {
        out.metadata().is_ok_and(|file| file.len() > 100_000).then_some(())
    });
    publisher.interrupt();
    server.wait(SOON);
    Recording::of_file(&out).assert_part_of(fixture::packets());
}

#[test]
fn ffmpeg_serves_one_player() {
    let address = free_address();
    let server = ffmpeg::serve(address).start();
    wait_for_listener(address);
    records_the_film(&format!("rtmp://{address}/live/p"));
    drop(server);
}

/// Demands that what has come to an upstream is part of the film.
fn has_got_the_film(visit: &Visit) {
    let (_folder, out) = file("out.flv");
    flv::write(&out, &visit.media());
    Recording::of_file(&out).assert_part_of(fixture::packets());
}

/// Publishes the film at the speed of the machine.
fn publish_quickly(url: &str) -> Launch {
    Launch::new("ffmpeg")
        .args("-nostdin -nostats -v error -i")
        .arg(fixture::film())
        .args("-t 20 -c copy -f flv")
        .arg(url)
}

#[test]
fn an_upstream_takes_what_ffmpeg_publishes() {
    for script in [
        Script::new(),
        Script::new().streams_from(5),
        Script::new().acknowledges(Acknowledge::Increments, Some(10_000)),
        Script::new().acknowledges(Acknowledge::Backwards, Some(10_000)),
        Script::new().acknowledges(Acknowledge::Never, None),
    ] {
        let upstream = Upstream::start(script);
        publish_quickly(&upstream.url("live", "one")).run().success();
        let visit = upstream.visit(0);
        visit.wait_for_end();
        assert_eq!(visit.command("publish").text(1), Some("one"));
        has_got_the_film(&visit);
    }
}

#[test]
fn an_upstream_has_what_ffmpeg_plays() {
    let film = flv::read(fixture::film());
    for script in [
        Script::serving(film.clone()),
        Script::serving(film.clone()).streams_from(5),
        Script::serving(film.clone()).at("createStream", [Act::ChunkSize(1), Act::Answer]),
        Script::serving(film).at("createStream", [Act::ChunkSize(0x7fff_ffff), Act::Answer]),
    ] {
        let upstream = Upstream::start(script);
        records_the_film(&upstream.url("live", "one"));
        assert_eq!(upstream.visit(0).command("play").text(1), Some("one"));
    }
}

#[test]
fn nginx_pushes_to_an_upstream_and_pulls_from_one() {
    let target = Upstream::start(Script::new());
    let source = Upstream::start(Script::serving(flv::read(fixture::film())));
    let push = format!("rtmp://{}/live", target.address());
    // nginx does not push what it pulls.
    let edge = Application::live("edge").pull(&source.url("live", "one"), "two");
    let nginx = Nginx::start(&[Application::live("live").push(&push), edge]);
    let _publisher = ffmpeg::publish_film(&nginx.url("live", "two")).start();
    let visit = target.visit(0);
    // Two seconds of pictures and sound.
    visit.wait_for_media(2 * 60);
    assert_eq!(visit.command("publish").text(1), Some("two"));
    has_got_the_film(&visit);
    assert_eq!(source.visit(0).command("play").text(1), Some("one"));
    records_the_film(&nginx.url("edge", "two"));
}

#[test]
fn an_upstream_refuses_and_ends() {
    let upstream = Upstream::start_in_turn(vec![
        Script::new().at("publish", [Act::Status("error", "NetStream.Publish.BadName")]),
        Script::new().on(Moment::Media(20), [Act::Reset]),
        Script::new().on(Moment::Media(20), [Act::Close]),
    ]);
    for number in 0..3 {
        let outcome = publish_quickly(&upstream.url("live", "one")).run();
        assert_ne!(outcome.code, Some(0), "attempt {number}: {}", outcome.stderr);
    }
    assert_eq!(upstream.visits().len(), 3);
}
