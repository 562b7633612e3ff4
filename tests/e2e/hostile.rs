//! Peers that break the rules, beside a stream that must not notice.
//!
//! Each group has one canary, checked after each of its cases.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crtmp_tests::wire::{Client, Message, amf, play, publish};
use crtmp_tests::{Canary, Config, Server, wait_for};
use nix::sys::signal::Signal;

use crate::{SOON, cpu};

/// A server with short patience, and its canary.
fn stage() -> (Server, Canary) {
    let config = Config::new().limit("handshakeTimeout", "1").limit("connectTimeout", "1");
    let server = Server::start(&config);
    let canary = Canary::start(&server);
    (server, canary)
}

#[test]
fn handshakes() {
    let (server, mut canary) = stage();
    let address = server.address();

    // Nothing, one byte, half a handshake: each is closed when its time is up.
    for sent in [&[][..], &[3], &[3; 1000], &[3; 1537]] {
        let mut client = Client::open(address);
        client.write(sent);
        client.expect_close(SOON);
    }
    // A version that does not exist, and another protocol.
    for sent in [&[0x20; 1600][..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut client = Client::open(address);
        client.write(sent);
        client.expect_close(SOON);
    }
    // One who comes and goes.
    for _ in 0..50 {
        drop(Client::open(address));
    }
    // One byte at a time is slow, not wrong.
    let mut client = Client::open(address);
    client.write(&[3]);
    for _ in 0..1536 {
        client.write(&[0]);
    }
    let answer = client.take(1 + 2 * 1536);
    client.write(&answer[1..1537]);
    client.send(&crtmp_tests::wire::connect("live", "rtmp://localhost/live"));
    client.expect("_result");
    // A handshake and then silence.
    Client::shaken(address).expect_close(SOON);

    canary.check(&server);
    server.stop();
}

#[test]
fn chunks() {
    let (server, mut canary) = stage();
    let address = server.address();

    // Continuations of nothing.
    for first in [0xc3, 0x43, 0x83] {
        let mut client = Client::connected(address, "live");
        client.write(&[first; 64]);
        client.expect_close(SOON);
    }
    // A chunk size of nothing, and one with the reserved bit.
    for size in [[0; 4], [0x80, 0, 0, 0]] {
        let mut client = Client::connected(address, "live");
        client.send(&Message { chunk_stream: 2, kind: 1, payload: size.to_vec(), ..Message::default() });
        client.expect_close(SOON);
    }
    // A message of sixteen megabytes, announced by somebody who may not publish yet.
    let mut client = Client::connected(address, "live");
    client.write(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]);
    client.expect_close(SOON);
    // Very small chunks are slow, not wrong.
    let mut client = Client::connected(address, "live");
    client.send(&Message { chunk_stream: 2, kind: 1, payload: vec![0, 0, 0, 1], ..Message::default() });
    client.write(&Message::command(0, "createStream", 2.0, &[amf::null()]).chunks(1));
    client.expect("_result");

    canary.check(&server);
    server.stop();
}

#[test]
fn commands() {
    let (server, mut canary) = stage();
    let address = server.address();

    // Before connect.
    let mut client = Client::shaken(address);
    client.send(&Message::command(0, "createStream", 2.0, &[amf::null()]));
    client.send(&publish(1, "x"));
    client.expect_close(SOON);
    // A command that nobody knows is answered, and the connection serves on.
    let mut client = Client::connected(address, "live");
    client.send(&Message::command(0, "makeCoffee", 7.0, &[amf::null(), amf::string("black")]));
    client.expect("_error");
    client.expect_open();
    // A stream that belongs to somebody else, and streams that do not exist.
    client.create_stream();
    client.send(&publish(1, Canary::STREAM));
    client.expect("NetStream.Publish.BadName");
    client.send(&play(7, "x"));
    client.expect_open();
    // AMF that nests too deeply.
    let mut client = Client::connected(address, "live");
    let mut payload = Message::command(0, "deep", 8.0, &[]).payload;
    payload.extend([3, 0, 1, b'a'].repeat(1000));
    client.send(&Message { chunk_stream: 3, kind: 20, payload, ..Message::default() });
    client.expect_close(SOON);

    canary.check(&server);
    server.stop();
}

#[test]
fn media_without_permission() {
    let (server, mut canary) = stage();
    let mut client = Client::connected(server.address(), "live");
    client.create_stream();
    for time in 0..10 {
        let payload = vec![0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65];
        client.send(&Message { chunk_stream: 6, kind: 9, stream: 1, time: time * 40, payload });
    }
    client.expect_close(SOON);
    // A publisher whose stream is full of nonsense harms itself only.
    let mut client = Client::publisher(server.address(), "live", "nonsense");
    for time in 0..100 {
        let payload = vec![0xff; time as usize];
        client.send(&Message { chunk_stream: 6, kind: 9, stream: 1, time, payload: payload.clone() });
        client.send(&Message { chunk_stream: 4, kind: 8, stream: 1, time, payload: payload.clone() });
        client.send(&Message { chunk_stream: 4, kind: 18, stream: 1, time, payload });
    }
    canary.check(&server);
    server.stop();
}

#[test]
fn many_connections_at_once() {
    let (server, mut canary) = stage();
    let clients: Vec<Client> = (0..200).map(|_| Client::open(server.address())).collect();
    canary.check(&server);
    drop(clients);
    server.wait_for_counters("an empty server", Duration::from_secs(30), |counters| {
        // The publisher and the player of the canary.
        (counters.connections().len() == 2).then_some(())
    });
    canary.check(&server);
    server.stop();
}

/// LOG-02: whoever breaks the rules again and again does not fill the log.
#[test]
fn a_flood_of_bad_connections_costs_few_lines() {
    let server = Server::start(&Config::new().workers(2).log_level(3));
    let mut canary = Canary::start(&server);
    let before = server.log().lines().count();
    for _ in 0..2000 {
        let mut socket = TcpStream::connect(server.address()).expect("the server listens");
        let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    server.wait_for_counters("the end of all of them", Duration::from_secs(30), |counters| {
        (counters.connections().len() == 2).then_some(())
    });
    canary.check(&server);
    let log = server.stop();
    let lines = log.lines().count() - before;
    assert!(lines < 60, "{lines} lines");
    assert!(log.contains("suppressed"), "nobody counted what was left out");
}

/// The limit of connections leaves enough descriptors for all else that the server does.
#[test]
fn more_connections_than_descriptors_are_refused() {
    // All but 64 of them are for connections.
    let config = Config::new().limit("handshakeTimeout", "60");
    let server = Server::start_under("prlimit --nofile=110:110", &config);
    let mut canary = Canary::start(&server);
    let mut clients: Vec<Client> = (0..150).map(|_| Client::open(server.address())).collect();
    server.wait_for_log("refused a connection: connections = 46 is reached");
    server.wait_for_counters("as many connections as are allowed", SOON, |counters| {
        (counters.connections().len() == 46 && counters.usage().files < 110).then_some(())
    });
    let before = server.log().len();
    server.signal(Signal::SIGHUP);
    wait_for("a reload", SOON, || server.log().get(before..)?.contains("reload: done").then_some(()));
    canary.check(&server);
    // Those that were refused know it.
    clients.pop().expect("many clients").expect_close(SOON);
    clients.truncate(30);
    server.wait_for_counters("room for others", SOON, |counters| {
        (counters.connections().len() <= 32).then_some(())
    });
    Client::connected(server.address(), "live");
    canary.check(&server);
    server.stop();
}

/// FLT-05: the configuration allows more connections than the system gives descriptors.
#[test]
fn a_server_without_descriptors_goes_on_and_accepts_again() {
    let config = Config::new().limit("handshakeTimeout", "60").limit("connections", "1000");
    let server = Server::start_under("prlimit --nofile=60:60", &config);
    let mut canary = Canary::start(&server);
    let clients: Vec<Client> = (0..100).map(|_| Client::open(server.address())).collect();
    server.wait_for_log("cannot accept connections: ");
    let mut late = Client::open(server.address());

    let (before, start) = (cpu(&server), Instant::now());
    canary.check(&server);
    let used = (cpu(&server) - before).as_secs_f64() / start.elapsed().as_secs_f64();
    println!("CPU seconds per second without descriptors: {used:.3}");
    assert!(used < 0.5, "the server burns time: {used}");
    let complaints = server.log().matches("cannot accept connections: ").count();
    assert!(complaints <= 1 + start.elapsed().as_secs() as usize / 10, "{complaints} lines about one thing");

    // The one that waited all the time is served now, and so is the next.
    drop(clients);
    late.handshake();
    Client::connected(server.address(), "live");
    canary.check(&server);
    server.wait_for_counters("nobody but the canary and the late one", SOON, |counters| {
        (counters.connections().len() == 3).then_some(())
    });
    server.stop();
}
