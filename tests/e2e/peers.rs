//! The servers that ours is tried against, tried by themselves with ffmpeg.

use std::time::Duration;

use crtmp_tests::flapper::{Flapper, Mode};
use crtmp_tests::nginx::{Application, Nginx};
use crtmp_tests::{NodeMediaServer, Recording, ffmpeg, fixture, free_address, listens, wait_for};

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
    let mut server = ffmpeg::listen(address, &out).start();
    wait_for("ffmpeg to listen", SOON, || {
        assert!(server.runs(), "{}", server.stderr());
        listens(address).then_some(())
    });
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
    wait_for("ffmpeg to listen", SOON, || listens(address).then_some(()));
    records_the_film(&format!("rtmp://{address}/live/p"));
    drop(server);
}
