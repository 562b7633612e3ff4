//! Applications that misbehave: they cost their own requests, and nobody else anything.

use std::time::{Duration, Instant};

use crtmp_tests::wire::{self, Client};
use crtmp_tests::{Canary, Config, Server, ffmpeg};

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
    client.expect("NetStream.");
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
    stuck.expect("NetStream.");
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
    client.expect("NetStream.");
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
