//! The application `proxypublish`: streams that go on to other servers.

use std::net::SocketAddr;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::nginx::{Application, Nginx};
use crtmp_tests::wire::Client;
use crtmp_tests::{Config, NodeMediaServer, Recording, Server, ffmpeg, fixture, wait_for};
use nix::sys::signal::Signal;

use crate::edge::wait_for_entries;
use crate::{SOON, assert_film, entries, file, free_port, wait_for_more};

fn config(aborts: bool, targets: &str, keys: &str) -> Config {
    let block = format!(
        "{{ name = \"proxypublish\", startPolicy = \"key\", abortOnConnectError = {aborts}, \
         targetServers = {{ {targets} }}, {keys} }}"
    );
    Config::new().whole_groups().workers(2).block(&administrator()).block(&block)
}

fn target(address: SocketAddr, keys: &str) -> String {
    format!("{{ targetUri = \"rtmp://{address}/live\", {keys} }}, ")
}

fn url(server: &Server, stream: &str) -> String {
    format!("rtmp://{}/proxypublish/{stream}", server.address())
}

#[test]
fn a_stream_goes_to_all_targets_that_want_it_byte_for_byte() {
    let (ours, nginx, node) = (
        Server::start(&Config::new().whole_groups()),
        Nginx::start(&[Application::live("live")]),
        NodeMediaServer::start(),
    );
    let targets = [
        target(ours.address(), ""),
        target(ours.address(), "localStreamName = \"one\", targetStreamName = \"renamed\", keepAlive = true"),
        target(ours.address(), "localStreamName = \"two\", targetStreamName = \"never\""),
        target(nginx.address(), ""),
        target(node.address(), "keepAlive = true"),
    ];
    let server = Server::start(&config(true, &targets.concat(), ""));
    let mut publisher = ffmpeg::publish_film(&url(&server, "one")).start();
    for name in ["one", "renamed"] {
        ours.wait_for_publisher(name);
        assert_film(&ours.url(name), 2);
    }
    nginx.wait_for_publisher("live", "one");
    let mut session = Session::operator(&server);
    wait_for("all pushes to run", SOON, || {
        let all = wait_for_entries(&mut session, "push", 4);
        all.iter().all(|entry| entry["status"]["current"]["description"] == "Streaming").then_some(())
    });
    for url in [nginx.url("live", "one"), node.url("live", "one")] {
        let (_folder, out) = file("out.flv");
        ffmpeg::assert_clean(ffmpeg::record(&url, std::time::Duration::from_secs(2), &out).run());
        Recording::of_file(&out).assert_part_of(fixture::packets());
    }
    assert!(ours.counters().publisher_of("never").is_none());
    publisher.kill();
    wait_for_entries(&mut session, "push", 0);
    wait_for("the end at the target", SOON, || {
        ours.counters().publisher_of("renamed").is_none().then_some(())
    });
    server.stop();
    ours.stop();
}

#[test]
fn streams_that_are_pulled_go_on_too() {
    let (origin, end) =
        (Server::start(&Config::new().whole_groups()), Server::start(&Config::new().whole_groups()));
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let external =
        format!("externalStreams = {{ {{ uri = \"{}\", localStreamName = \"copy\" }} }}", origin.url("one"));
    let targets = target(end.address(), "keepAlive = true");
    let server = Server::start(&config(false, &targets, &external));
    end.wait_for_publisher("copy");
    assert_film(&end.url("copy"), 3);

    // Nobody tells a new instance about them.
    let mut player = Recording::start(&end.url("copy"));
    wait_for_more(&mut player, 10);
    let other = target(end.address(), "targetStreamName = \"other\"");
    server.rewrite(&config(false, &(targets + &other), &external));
    server.signal(Signal::SIGHUP);
    end.wait_for_publisher("other");
    wait_for_more(&mut player, fixture::GOP);
    wait_for("the old instance to end", SOON, || {
        (server.counters().number("retiredApplications") == 0).then_some(())
    });
    wait_for_entries(&mut Session::operator(&server), "push", 2);
    end.wait_for_publisher("copy");
    server.stop();
    origin.stop();
    end.stop();
}

#[test]
fn a_publisher_is_ended_where_a_target_is_not_there_and_that_is_wanted() {
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Server::start(&config(true, &target(dead, ""), ""));
    let mut publisher = Client::publisher(server.address(), "proxypublish", "one");
    publisher.expect("the stream cannot be forwarded");
    server.stop();

    // Kept alive, or not wanted: it goes on.
    for (aborts, keys) in [(true, "keepAlive = true"), (false, "")] {
        let server = Server::start(&config(aborts, &target(dead, keys), ""));
        let mut publisher = Client::publisher(server.address(), "proxypublish", "one");
        let mut session = Session::operator(&server);
        let entry = wait_for("a failure that says why", SOON, || {
            entries(&mut session, "push").into_iter().find(|entry| entry["cause"].is_string())
        });
        assert!(entry["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{entry}");
        publisher.expect_open();
        server.stop();
    }
}

#[test]
fn a_target_that_dies_is_served_again() {
    let port = free_port();
    let start = || Server::start(&Config::new().whole_groups().port(port));
    let first = start();
    let server = Server::start(&config(true, &target(first.address(), "keepAlive = true"), ""));
    let _publisher = ffmpeg::publish_film(&url(&server, "one")).start();
    first.wait_for_publisher("one");
    first.stop();
    let second = start();
    second.wait_for_publisher("one");
    assert_film(&second.url("one"), 2);
    server.stop();
    second.stop();
}

#[test]
fn a_reload_adds_targets_to_streams_that_run() {
    let (first, second) =
        (Server::start(&Config::new().whole_groups()), Server::start(&Config::new().whole_groups()));
    let one = target(first.address(), "keepAlive = true");
    let two = target(second.address(), "keepAlive = true");
    let server = Server::start(&config(true, &one, ""));
    let mut publisher = ffmpeg::publish_film(&url(&server, "one")).start();
    let mut player = Recording::start(&first.url("one"));
    wait_for_more(&mut player, 10);
    server.rewrite(&config(true, &(one.clone() + &two), ""));
    server.signal(Signal::SIGHUP);
    second.wait_for_publisher("one");
    wait_for_more(&mut player, fixture::GOP);
    Recording::of_program(&player).assert_no_gap();
    publisher.kill();
    let mut session = Session::operator(&server);
    wait_for_entries(&mut session, "push", 0);
    let _publisher = ffmpeg::publish_film(&url(&server, "two")).start();
    first.wait_for_publisher("two");
    second.wait_for_publisher("two");
    server.stop();
    first.stop();
    second.stop();
}
