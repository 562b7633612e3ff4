//! The application `stresstest`: a server that loads another one.

use std::net::SocketAddr;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::{Config, Server, ffmpeg, wait_for};
use serde_json::Value;

use crate::{SOON, free_port};

fn config(target: SocketAddr, connections: usize, keys: &str) -> Config {
    let block = format!(
        "{{ name = \"stresstest\", targetServer = \"{target}\", targetApp = \"live\", streams = {{ \"one\", \"two\" }}, \
         numberOfConnections = {connections}, randomAccessStreams = false, {keys} }}"
    );
    Config::new().workers(2).log_level(4).block(&administrator()).block(&block)
}

fn wait_for_status(session: &mut Session, what: &str, probe: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = crtmp_tests::poll(SOON, || {
        last = session.done("stressTestStatus");
        probe(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{what}: {last}"))
}

#[test]
fn each_connection_plays_and_what_becomes_of_them_is_counted() {
    const CONNECTIONS: usize = 120;
    let port = free_port();
    let start = || {
        let target = Server::start(&Config::new().port(port).log_level(4));
        let publisher = ["one", "two"].map(|name| ffmpeg::publish_film(&target.url(name)).start());
        ["one", "two"].iter().for_each(|name| target.wait_for_publisher(name));
        (target, publisher)
    };
    let (target, publishers) = start();
    let server = Server::start(&config(target.address(), CONNECTIONS, "active = true"));
    let mut session = Session::operator(&server);
    // What the server says of each is a moment older than what plays.
    let all = |status: &Value| {
        status["playing"] == CONNECTIONS && status["attempts"].as_u64() >= Some(CONNECTIONS as u64)
    };
    let status = wait_for_status(&mut session, "not all play", all);
    assert_eq!(
        (&status["attempts"], &status["failures"], &status["waiting"]),
        (&120.into(), &0.into(), &0.into())
    );
    let counters = target.counters();
    assert_eq!(counters.players_of("one").len() + counters.players_of("two").len(), CONNECTIONS);
    assert_eq!(counters.players_of("two").len(), CONNECTIONS / 2);
    wait_for_status(&mut session, "no bytes", |status| status["bytes"].as_u64() > Some(1_000_000));

    drop(publishers);
    target.stop();
    let gone = |status: &Value| status["failing"] == CONNECTIONS && status["interruptions"] == CONNECTIONS;
    let status = wait_for_status(&mut session, "they go on without a server", gone);
    assert_eq!(status["playing"], 0);
    assert!(status["causes"].as_object().is_some_and(|causes| !causes.is_empty()), "{status}");
    let (target, _publishers) = start();
    wait_for_status(&mut session, "they do not come back", all);
    server.stop();
    target.stop();
}

#[test]
fn nothing_is_loaded_unless_it_is_active() {
    let target = Server::start(&Config::new());
    let server = Server::start(&config(target.address(), 10, "active = false"));
    let status = Session::operator(&server).done("stressTestStatus");
    assert_eq!((&status["active"], &status["playing"]), (&false.into(), &0.into()));
    server.stop();
    wait_for("nobody to have come", SOON, || {
        (target.counters().number("totals.accepted") == 0).then_some(())
    });
    target.stop();
}
