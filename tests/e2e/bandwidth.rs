//! Tests of the way to peers: as Flash players ask for them, and as SRS begins them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::wire::{Client, Message, amf, connect};
use crtmp_tests::{Config, Server, ffmpeg, wait_for};
use serde_json::Value;

use crate::SOON;

fn start(more: &str) -> Server {
    let config = Config::new().block(&administrator()).limit("bandwidthTime", "0.5").whole_groups();
    let bandcheck = format!("{{ key = \"letmein\", limitKbps = 8000, {more} }}");
    let config = config.application("enableCheckBandwidth", "true").application("bandcheck", &bandcheck);
    Server::start(&config)
}

/// The tests that have ended, once there are so many.
fn tests(server: &Server, count: usize) -> Vec<Value> {
    let mut session = Session::operator(server);
    wait_for("the tests", SOON, || {
        let shown = session.done("listBandwidthTests");
        let tests = shown["tests"].as_array().expect("a list").clone();
        (tests.len() == count && shown["running"] == 0).then_some(tests)
    })
}

fn call(client: &mut Client, name: &str, transaction: f64, values: &[Vec<u8>]) {
    let mut all = vec![amf::null()];
    all.extend_from_slice(values);
    client.send(&Message::command(0, name, transaction, &all));
}

/// Answers a ping, as every client does.
fn answer_ping(client: &mut Client, message: &Message) {
    if message.kind == 4 && message.payload.starts_with(&[0, 6]) {
        let mut payload = message.payload.clone();
        payload[1] = 7;
        client.send(&Message { chunk_stream: 2, kind: 4, payload, ..Message::default() });
    }
}

/// Takes messages, answering pings and calls, until one says this; how many bytes came.
fn until(client: &mut Client, text: &str) -> (Message, usize) {
    let deadline = Instant::now() + SOON;
    let mut bytes = 0;
    while let Some(message) = client.message(deadline.saturating_duration_since(Instant::now())) {
        bytes += message.payload.len();
        answer_ping(client, &message);
        if message.says("onBWCheck") {
            let transaction = message.number_behind("onBWCheck");
            client.send(&Message::command(0, "_result", transaction, &[amf::null(), amf::number(0.0)]));
        }
        if message.says(text) {
            return (message, bytes);
        }
    }
    panic!("the server did not say {text}");
}

fn tester(address: SocketAddr) -> Client {
    let mut client = Client::shaken(address);
    client.send(&connect("live?key=letmein&vhost=bandcheck.srs.com", &format!("rtmp://{address}/live")));
    // Clients of SRS show it, and stop at an answer without.
    let success = client.expect("NetConnection.Connect.Success");
    assert!(success.says("srs_server_ip") && success.says("127.0.0.1"), "{success:?}");
    client
}

#[test]
fn a_player_that_asks_is_told_its_bandwidth() {
    let server = start("interval = 5");
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let address = server.address();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connected(address, "live");
            call(&mut client, "checkBandwidth", 7.0, &[]);
            let (done, bytes) = until(&mut client, "onBWDone");
            let (done, bytes) = match done.payload.len() {
                // The one that follows each connect has nothing to say.
                length if length < 40 => {
                    let (done, more) = until(&mut client, "onBWDone");
                    (done, bytes + more)
                }
                _ => (done, bytes),
            };
            // Behind name, transaction and null: the kilobits.
            let at = done.payload.len() - 4 * 9;
            let kbps = f64::from_be_bytes(done.payload[at + 1..at + 9].try_into().expect("eight bytes"));
            assert!(kbps > 100.0 && bytes > 32_767, "{kbps} kbit/s by {bytes} bytes");
            client.expect_open();
            call(&mut client, "checkBandwidth", 8.0, &[]);
            let refused = client.expect("_error");
            assert!(refused.says("in the last 5 s"), "{refused:?}");
        });
        // Nobody else notices.
        crate::assert_film(&server.url("one"), 2);
    });
    let tests = tests(&server, 1);
    assert_eq!(
        (tests[0]["kind"].as_str(), tests[0]["ip"].as_str()),
        (Some("checkBandwidth"), Some("127.0.0.1"))
    );
    assert!(tests[0]["down"]["kbps"].as_u64() > Some(100) && tests[0]["up"].is_null(), "{}", tests[0]);
    let log = server.stop();
    assert!(log.contains("bandwidth tested"), "{log}");
}

#[test]
fn a_client_of_srs_has_both_ways_measured_and_is_let_go() {
    let server = start("interval = 0");
    let mut client = tester(server.address());
    until(&mut client, "onSrsBandCheckStartPlayBytes");
    call(&mut client, "onSrsBandCheckStartingPlayBytes", 0.0, &[]);
    let (_, down) = until(&mut client, "onSrsBandCheckStopPlayBytes");
    // Half a second of 8 Mbit/s, or less where the machine is busy.
    assert!((20_000..700_000).contains(&down), "{down}");
    // Another test of this address has to wait.
    let mut other = tester(server.address());
    until(&mut other, "a test of this address is running");
    call(&mut client, "onSrsBandCheckStoppedPlayBytes", 0.0, &[]);
    until(&mut client, "onSrsBandCheckStartPublishBytes");
    call(&mut client, "onSrsBandCheckStartingPublishBytes", 0.0, &[]);
    let data = amf::string(&"SrS band check data from client's publishing......".repeat(80));
    let mut sent = 0;
    let stop = loop {
        call(&mut client, "onSrsBandCheckPublishing", 0.0, std::slice::from_ref(&data));
        sent += data.len();
        if let Some(message) = client.message(Duration::from_millis(1)) {
            answer_ping(&mut client, &message);
            if message.says("onSrsBandCheckStopPublishBytes") {
                break message;
            }
        }
    };
    assert!(stop.says("bytes_delta") && sent > 32 * data.len(), "more than commandsBefore allows: {sent}");
    call(&mut client, "onSrsBandCheckStoppedPublishBytes", 0.0, &[]);
    let (report, _) = until(&mut client, "onSrsBandCheckFinished");
    assert!(report.number_behind("play_kbps") > 100.0 && report.number_behind("publish_kbps") > 100.0);
    call(&mut client, "finalClientPacket", 0.0, &[]);
    client.expect_close(SOON);
    let tests = tests(&server, 1);
    assert_eq!(tests[0]["kind"], "bandcheck");
    let of = |way: &str| tests[0][way]["bytes"].as_f64().expect("bytes");
    assert_eq!(
        (of("down"), of("up")),
        (report.number_behind("play_bytes"), report.number_behind("publish_bytes"))
    );
    server.stop();
}

#[test]
fn who_leaves_gives_its_place_back_and_who_says_nothing_is_let_go() {
    let server = start("interval = 0");
    for _ in 0..3 {
        let mut client = tester(server.address());
        until(&mut client, "onSrsBandCheckStartPlayBytes");
        drop(client);
        assert!(tests(&server, 0).is_empty());
    }
    let server = Server::start(
        &Config::new()
            .block(&administrator())
            .limit("bandwidthPatience", "0.2")
            .application("bandcheck", "{ key = \"letmein\" }"),
    );
    let mut client = tester(server.address());
    client.expect_close(SOON);
    assert_eq!(tests(&server, 1)[0]["trouble"], "the peer does not answer");
    server.stop();
}

#[test]
fn nobody_is_tested_who_did_not_ask_and_nothing_where_it_is_not_offered() {
    let server = start("interval = 0");
    for application in ["live", "live?key=other", "live?letmein"] {
        let mut client = Client::shaken(server.address());
        client.send(&connect(application, &format!("rtmp://{}/live", server.address())));
        assert!(!client.expect("NetConnection.Connect.Success").says("srs_server_ip"));
        client.expect_open();
    }
    let plain = Server::start(&Config::new().block(&administrator()));
    let mut client = Client::connected(plain.address(), "live?key=letmein");
    call(&mut client, "checkBandwidth", 7.0, &[]);
    client.expect("_result");
    client.expect_open();
    assert!(tests(&server, 0).is_empty() && tests(&plain, 0).is_empty());
    plain.stop();
    server.stop();
}
