//! Applications that misbehave: they cost their own requests, and nobody else anything.

use std::time::{Duration, Instant};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Canary, Config, Server, ffmpeg, wait_for};

use crate::SOON;

/// A server with the misbehaving application beside the good ones, and a healthy stream on it.
fn stage(settings: &str) -> (Server, Canary) {
    let block = format!("{{ name = \"misbehaving\", hookTimeout = 1, laterTimeout = 1, {settings} }}");
    let server = Server::start(&Config::new().block(&block));
    let canary = Canary::start(&server);
    (server, canary)
}

/// A client of the misbehaving application with a message stream.
fn client(server: &Server) -> Client {
    let mut client = Client::connected(server.address(), "misbehaving");
    client.create_stream();
    client
}

#[test]
fn a_panic_refuses_the_request_and_the_server_goes_on() {
    let (server, mut canary) = stage("");
    let mut client = client(&server);
    client.send(&wire::publish(1, "panic in publish"));
    client.expect_refusal();
    client.expect_open();
    let mut healthy = Client::publisher(server.address(), "misbehaving", "healthy");
    healthy.expect_open();
    server.wait_for_log("panic in publish, as ordered");
    canary.check(&server);
    server.stop();
}

#[test]
fn a_stuck_application_refuses_at_once_and_is_well_again_by_itself() {
    let (server, mut canary) = stage("");
    let mut stuck = client(&server);
    stuck.send(&wire::publish(1, "sleep3000"));
    stuck.expect_refusal();
    let mut other = Client::shaken(server.address());
    let asked = Instant::now();
    other.send(&wire::connect("misbehaving", "rtmp://127.0.0.1/misbehaving"));
    other.expect("_error");
    assert!(asked.elapsed() < Duration::from_millis(900), "it is refused without waiting for the hook");
    canary.check(&server);
    server.wait_for_counters("the application to be well again", SOON, |counters| {
        let applications = counters.json()["applications"].as_array().expect("a list").clone();
        applications
            .iter()
            .any(|application| application["name"] == "misbehaving" && application["health"] == "well")
            .then_some(())
    });
    client(&server).expect_open();
    canary.check(&server);
    server.stop();
}

#[test]
fn an_answer_that_never_comes_becomes_a_refusal() {
    let (server, mut canary) = stage("");
    let mut client = client(&server);
    client.send(&wire::publish(1, "later"));
    client.expect_refusal();
    client.expect_open();
    canary.check(&server);
    server.stop();
}

#[test]
fn an_application_that_panics_when_it_starts_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("server.lua");
    let config = Config::new().block("{ name = \"misbehaving\", new = \"panic at the start\" }");
    let programs = crtmp_tests::folder_of_programs();
    std::fs::write(&path, config.text(folder.path(), &programs)).expect("a temporary file");
    let outcome = Server::run(&[&path.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1));
    for part in ["configuration.applications[3]", "libmisbehaving.so", "panicked while starting"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn metadata_reaches_the_application() {
    let server = Server::start(&Config::new().block("{ name = \"misbehaving\" }"));
    let url = format!("rtmp://{}/misbehaving/described", server.address());
    let _publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_log("metadata of described: width ");
    server.stop();
}

#[test]
fn publications_of_one_connection_are_tapped_and_asked_about_one_by_one() {
    let server = Server::start(&Config::new().block("{ name = \"everyhook\" }").block(&administrator()));
    let mut cli = Session::operator(&server);
    let mut client = Client::connected(server.address(), "everyhook");
    for (stream, name) in [(1, "one"), (2, "untapped"), (3, "three")] {
        client.create_stream();
        client.send(&wire::publish(stream, name));
        client.expect("NetStream.Publish.Start");
    }
    let header = |stream: u32, last: u8| {
        let payload = vec![0x17, 0, 0, 0, 0, 1, last];
        Message { chunk_stream: 4, kind: 9, stream, time: 0, payload }
    };
    for (stream, last) in [(1, 10), (2, 20), (3, 30), (1, 11)] {
        client.send(&header(stream, last));
    }
    let found = |client: &mut Client, stream: u32, text: &str| {
        let args = [amf::null(), amf::number(stream.into())];
        client.send(&Message::command(0, "header", 7.0, &args));
        client.expect(&format!("header {stream}: {text}"));
    };
    found(&mut client, 1, "Some(11)");
    found(&mut client, 2, "Some(20)");
    found(&mut client, 0, "Some(30)");
    let frames = |cli: &mut Session| -> Vec<String> {
        let heard = cli.done("heard")["heard"].as_array().cloned().unwrap_or_default();
        let texts = heard.iter().filter_map(|text| text.as_str().map(str::to_owned));
        texts.filter(|text| text.contains("-renamed on ")).collect()
    };
    let expected = ["one-renamed on 1: 34", "three-renamed on 3: 54", "one-renamed on 1: 35"];
    wait_for("the frames", SOON, || (frames(&mut cli) == expected).then_some(()));

    client.send(&Message::command(0, "deleteStream", 8.0, &[amf::null(), amf::number(3.0)]));
    found(&mut client, 3, "None");
    found(&mut client, 0, "Some(20)");
    found(&mut client, 1, "Some(11)");
    client.send(&header(1, 12));
    found(&mut client, 1, "Some(12)");
    wait_for("a frame more", SOON, || (frames(&mut cli).len() == 4).then_some(()));
    server.stop();
}
