//! Events in files and at other servers, from a real server with real streams. HOOK-01 to HOOK-03, as far as they are
//! about what is told; and the page of metrics.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crtmp_tests::cli::{Faces, Session};
use crtmp_tests::numbered::{Shape, Source};
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Canary, Config, Counters, Launch, Server, ffmpeg, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, file, free_port};

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Takes it.
    Takes,
    /// Takes it, one each 20 milliseconds.
    Slow,
    /// Never answers.
    Hangs,
}

/// A server that takes events. It ends with the test's process.
struct Receiver {
    port: u16,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start(port: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = events.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                if manner == Manner::Hangs {
                    kept.push(socket);
                    continue;
                }
                let taken = taken.clone();
                thread::spawn(move || serve(socket, manner, &taken));
            }
        });
        Self { port, events }
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an event that satisfies `probe`.
    fn wait_for(&self, what: &str, probe: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, SOON, || self.events().into_iter().find(&probe))
    }

    /// Waits for an event of this type about this stream.
    fn of_stream(&self, kind: &str, stream: &str) -> Value {
        self.wait_for(&format!("{kind} of {stream}"), |event| {
            event["type"] == kind && event["payload"]["name"] == stream
        })
    }
}

/// Takes the requests of one connection.
fn serve(socket: TcpStream, manner: Manner, events: &Mutex<Vec<Value>>) {
    let mut lines = BufReader::new(&socket);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                }
            }
        }
        let mut body = vec![0; length];
        if lines.read_exact(&mut body).is_err() {
            return;
        }
        let event = serde_json::from_slice(&body).expect("an event is JSON");
        events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        if manner == Manner::Slow {
            thread::sleep(Duration::from_millis(20));
        }
        let mut socket = &socket;
        if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn logger(sinks: &str) -> Config {
    Config::new().workers(2).top("eventLogger", &format!("{{ sinks = {{ {sinks} }} }}"))
}

fn rpc(port: u16, more: &str) -> String {
    format!("{{ type = \"RPC\", url = \"http://127.0.0.1:{port}/hook\", {more} }},")
}

/// The types of the events about one thing, in the order in which they came.
fn types<'a>(events: &'a [Value], key: &str, id: &Value) -> Vec<&'a str> {
    let about = |event: &&Value| event["payload"][key] == *id;
    events.iter().filter(about).filter_map(|event| event["type"].as_str()).collect()
}

/// Every thing that ended had begun, and nothing began or ended twice. Returns how many began.
fn assert_paired(events: &[Value]) -> usize {
    let mut open: BTreeMap<u64, bool> = BTreeMap::new();
    for event in events {
        let id = event["payload"]["uniqueId"].as_u64().expect("a stream's number");
        match event["type"].as_str() {
            Some("inStreamCreated") => assert_eq!(open.insert(id, true), None, "{id} began twice"),
            Some("inStreamClosed") => assert_eq!(open.insert(id, false), Some(true), "{id} was not there"),
            other => panic!("{other:?} was not asked for"),
        }
    }
    open.len()
}

#[test]
fn what_happens_to_a_stream_is_told_in_order() {
    let receiver = Receiver::start(0, Manner::Takes);
    let (_folder, path) = file("events.json");
    let in_file = format!("{{ type = \"file\", filename = {path:?}, appendTimestamp = false }},");
    let server = Server::start(&logger(&(rpc(receiver.port, "") + &in_file)));
    let mut publisher = ffmpeg::publish_film(&server.url("told")).start();
    let created = receiver.of_stream("inStreamCreated", "told");
    let codecs = receiver.of_stream("inStreamCodecsUpdated", "told");
    let mut player = ffmpeg::play(&server.url("told")).start();
    receiver.of_stream("outStreamCreated", "told");
    let played = receiver.of_stream("outStreamCodecsUpdated", "told");
    player.kill();
    receiver.of_stream("outStreamClosed", "told");
    publisher.kill();
    let closed = receiver.of_stream("inStreamClosed", "told");
    receiver.wait_for("the end of the publisher's connection", |event| {
        event["type"] == "carrierClosed" && event["payload"]["id"] == created["payload"]["connectionId"]
    });
    server.stop();
    receiver.wait_for("the end of an application", |event| event["type"] == "applicationStop");

    let events = receiver.events();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["id"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let of = |event: &Value| types(&events, "uniqueId", &event["payload"]["uniqueId"]);
    assert_eq!(of(&created), ["inStreamCreated", "inStreamCodecsUpdated", "inStreamClosed"]);
    assert_eq!(of(&played), ["outStreamCreated", "outStreamCodecsUpdated", "outStreamClosed"]);
    let connection = &created["payload"]["connectionId"];
    assert_eq!(
        types(&events, "id", connection),
        ["carrierCreated", "protocolRegisteredToApp", "protocolUnregisteredFromApp", "carrierClosed"]
    );
    for (event, kind) in [(&created, "INR"), (&closed, "INR"), (&played, "ONR")] {
        let payload = &event["payload"];
        assert_eq!((&payload["type"], &payload["appName"]), (&kind.into(), &"flvplayback".into()));
        assert_eq!(payload["nearPort"], server_port(&events), "{payload}");
        assert!(payload["creationTimestamp"].as_u64() > Some(1_600_000_000_000), "{payload}");
    }
    for event in [&codecs, &played, &closed] {
        let payload = &event["payload"];
        assert_eq!(
            (&payload["audio"]["codec"], &payload["video"]["codec"]),
            (&"AAC".into(), &"H.264".into())
        );
    }
    assert!(closed["payload"]["video"]["packetsCount"].as_u64() > Some(5), "{closed}");
    let instances: Vec<&Value> = events.iter().filter(|event| event["type"] == "applicationStop").collect();
    assert_eq!(instances.len(), 2, "{instances:?}");

    let text = std::fs::read_to_string(&path).expect("the file of events");
    let written: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let kinds =
        |events: &[Value]| -> Vec<Value> { events.iter().map(|event| event["type"].clone()).collect() };
    assert_eq!(kinds(&written), kinds(&events));
}

/// The port that connections came to.
fn server_port(events: &[Value]) -> Value {
    let carrier = events.iter().find(|event| event["type"] == "carrierCreated").expect("a connection");
    carrier["payload"]["nearPort"].clone()
}

/// HOOK-03: nothing is lost while the receiver is away for a while.
#[test]
fn events_wait_for_a_receiver_that_comes_back() {
    let port = free_port();
    let sink = rpc(
        port,
        "retryDelay = 0.1, retryDelayMax = 0.2, retries = 1000, \
         enabledEvents = { \"inStreamCreated\", \"inStreamClosed\" }",
    );
    let server = Server::start(&logger(&sink));
    for number in 0..20 {
        let client = Client::publisher(server.address(), "live", &format!("stream{number}"));
        drop(client);
    }
    server.wait_for_counters("events that wait for the receiver", SOON, |counters| {
        let sink = &counters.json()["eventSinks"][0];
        (sink["queued"] == 40 && sink["retries"].as_u64() > Some(1)).then_some(())
    });
    let receiver = Receiver::start(port, Manner::Takes);
    wait_for("all events", SOON, || (receiver.events().len() >= 40).then_some(()));
    assert_eq!(assert_paired(&receiver.events()), 20);
    let sink = server.wait_for_counters("an empty queue", SOON, |counters| {
        let sink = counters.json()["eventSinks"][0].clone();
        (sink["queued"] == 0).then_some(sink)
    });
    assert_eq!((&sink["sent"], &sink["dropped"], &sink["failed"]), (&40.into(), &0.into(), &0.into()));
    server.stop();
}

/// HOOK-03: what is too much is dropped with a count, and never an end without its begin.
#[test]
fn what_is_too_much_is_dropped_by_pairs() {
    let port = free_port();
    let sink = rpc(
        port,
        "queue = 7, retryDelay = 0.1, retryDelayMax = 0.2, retries = 1000, \
         enabledEvents = { \"inStreamCreated\", \"inStreamClosed\" }",
    );
    let server = Server::start(&logger(&sink));
    let mut stays = Client::publisher(server.address(), "live", "stays");
    for number in 0..40 {
        drop(Client::publisher(server.address(), "live", &format!("stream{number}")));
    }
    server.wait_for_counters("the end of all publishes but one", SOON, |counters| {
        (counters.number("totals.publishes") == 1).then_some(())
    });
    let dropped = server.wait_for_counters("dropped events", SOON, |counters| {
        counters.json()["eventSinks"][0]["dropped"].as_u64().filter(|dropped| *dropped > 0)
    });
    let receiver = Receiver::start(port, Manner::Takes);
    server.wait_for_counters("an empty queue", SOON, |counters| {
        (counters.json()["eventSinks"][0]["queued"] == 0).then_some(())
    });
    drop(Client::publisher(server.address(), "live", "last"));
    receiver.of_stream("inStreamClosed", "last");
    stays.expect_open();
    drop(stays);
    server.stop();
    let events = receiver.events();
    assert_paired(&events);
    let told = |stream: &str| events.iter().any(|event| event["payload"]["name"] == stream);
    assert!(dropped >= 60, "{dropped} were dropped");
    // The newest are kept.
    assert!(told("stream39") && told("last") && !told("stream20"), "{events:?}");
}

/// HOOK-03: of 10 000 events while one receiver is down and another slow few wait, the rest is counted, and no worker
/// waits for them.
#[test]
fn ten_thousand_events_hold_up_nobody() {
    const CLIENTS: usize = 4;
    const PUBLISHES: usize = 1250;
    const EVENTS: u64 = 2 * (CLIENTS * PUBLISHES) as u64;
    const QUEUE: u64 = 100;
    let slow = Receiver::start(0, Manner::Slow);
    let more = format!(
        "queue = {QUEUE}, retryDelay = 0.1, retryDelayMax = 0.2, retries = 1000, \
         enabledEvents = {{ \"inStreamCreated\", \"inStreamClosed\" }}"
    );
    let sinks = rpc(free_port(), &more) + &rpc(slow.port, &more);
    // The canary began before the sinks, so that it is not one of those that are counted.
    let server = Server::start(&logger("").log_level(3));
    let mut canary = Canary::start(&server);
    server.rewrite(&logger(&sinks).log_level(3));
    server.signal(Signal::SIGHUP);
    let sink = |counters: &Counters, index: usize| counters.json()["eventSinks"][index].clone();
    let number = |sink: &Value, key: &str| sink[key].as_u64().unwrap_or_else(|| panic!("{key} of {sink}"));
    let told = |sink: &Value| {
        ["sent", "queued", "failed", "dropped"].map(|key| number(sink, key)).iter().sum::<u64>()
    };
    let both = |counters: &Counters, count: u64| {
        let sinks = [0, 1].map(|index| sink(counters, index));
        sinks.iter().all(|sink| sink.is_object() && told(sink) == count).then_some(sinks)
    };
    server.wait_for_counters("both sinks", SOON, |counters| both(counters, 0));

    let address = server.address();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || publish_again_and_again(address, number, PUBLISHES)))
            .collect();
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            let counters = server.counters();
            for index in [0, 1] {
                let sink = sink(&counters, index);
                // One is on its way.
                assert!(number(&sink, "queued") <= QUEUE + 1, "{sink}");
            }
        }
    });
    let all = |counters: &Counters| both(counters, EVENTS);
    let [down, slow_sink] = server.wait_for_counters("all to be counted", SOON, all);
    assert!(number(&down, "sent") == 0 && number(&down, "dropped") >= EVENTS - QUEUE - 1, "{down}");
    // If anybody had waited for it, it would have taken most of them.
    assert!(number(&slow_sink, "sent") > 0 && number(&slow_sink, "dropped") > EVENTS / 2, "{slow_sink}");
    canary.check(&server);
    drop(canary);
    server.stop();
    let events = slow.events();
    let of_canary = |event: &&Value| event["payload"]["name"] != Canary::STREAM;
    assert_paired(&events.iter().filter(of_canary).cloned().collect::<Vec<_>>());
}

/// Begins and ends a publish again and again, each as soon as the server has taken the one before.
fn publish_again_and_again(address: SocketAddr, number: usize, count: usize) {
    let mut client = Client::connected(address, "live");
    client.create_stream();
    for round in 0..count {
        client.send(&wire::publish(1, &format!("stream{number}-{}", round % 10)));
        client.expect("NetStream.Publish.Start");
        client.send(&Message::command(1, "closeStream", 0.0, &[amf::null()]));
    }
    client.expect_open();
}

/// HOOK-01: a receiver that never answers costs its own events, and no stream anything.
#[test]
fn a_receiver_that_never_answers_disturbs_no_stream() {
    let receiver = Receiver::start(0, Manner::Hangs);
    let server = Server::start(&logger(&rpc(receiver.port, "queue = 10, timeout = 60")));
    let mut canary = Canary::start(&server);
    for number in 0..50 {
        drop(Client::publisher(server.address(), "live", &format!("stream{number}")));
    }
    canary.check(&server);
    server.wait_for_counters("dropped events", SOON, |counters| {
        let sink = &counters.json()["eventSinks"][0];
        (sink["dropped"].as_u64() > Some(0) && sink["sent"] == 0).then_some(())
    });
    canary.check(&server);
    // The end waits three seconds for it, and no longer.
    server.stop();
}

/// HOOK-02: whoever is refused hears so instead of a start, and nobody is told of a stream.
#[test]
fn a_refused_publish_is_no_stream() {
    let receiver = Receiver::start(0, Manner::Takes);
    let server = Server::start(&logger(&rpc(receiver.port, "")).block("{ name = \"misbehaving\" }"));
    let mut client = Client::connected(server.address(), "misbehaving");
    client.create_stream();
    client.send(&wire::publish(1, "panic in publish"));
    let answer = client.expect("NetStream.");
    assert!(!answer.says("NetStream.Publish.Start"), "{answer:?}");
    drop(client);
    receiver.wait_for("the end of the connection", |event| event["type"] == "carrierClosed");
    let events = receiver.events();
    assert!(events.iter().all(|event| event["payload"]["uniqueId"].is_null()), "{events:?}");
    server.stop();
}

#[test]
fn a_feed_that_stops_is_told() {
    let receiver = Receiver::start(0, Manner::Takes);
    let server = Server::start(&logger(&rpc(receiver.port, "")));
    let shape = Shape { picture: 100, gop: 5, interval: 40 };
    let mut publisher = Source::start(server.address(), "silent", shape);
    for _ in 0..5 {
        publisher.picture();
    }
    let created = receiver.of_stream("inStreamCreated", "silent");
    for kind in ["audioFeedStopped", "videoFeedStopped"] {
        let stopped = receiver.wait_for(kind, |event| event["type"] == kind);
        assert_eq!(stopped["payload"]["id"], created["payload"]["uniqueId"]);
        assert_eq!(stopped["payload"]["localStreamName"], "silent");
    }
    server.stop();
}

#[test]
fn a_sink_that_a_reload_brings_hears_of_streams_that_run() {
    let receiver = Receiver::start(0, Manner::Takes);
    let server = Server::start(&Config::new().workers(2));
    let mut publisher = ffmpeg::publish_film(&server.url("early")).start();
    server.wait_for_publisher("early");
    server.rewrite(&logger(&rpc(receiver.port, "")));
    server.signal(Signal::SIGHUP);
    receiver.of_stream("inStreamCodecsUpdated", "early");
    assert!(publisher.runs(), "a reload touches no stream");
    publisher.kill();
    receiver.of_stream("inStreamClosed", "early");
    server.stop();
}

#[test]
fn metrics_are_served_to_prometheus() {
    let block = "{ name = \"admin\", \
        acceptors = { { ip = \"127.0.0.1\", port = 0, protocol = \"inboundHttpJsonCli\" } } }";
    let server = Server::start(&Config::new().block(block));
    let _publisher = ffmpeg::publish_film(&server.url("measured")).start();
    server.wait_for_publisher("measured");
    let services = server.services();
    let page = services.iter().find(|service| service.chain == "inboundHttpJsonCli").expect("an acceptor");
    let url = format!("http://{}/metrics", page.address);
    let text = wait_for("media on the page", SOON, || {
        let text = Launch::new("curl").args("-s -i").arg(&url).run().success().stdout;
        let frames = "crtmp_stream_video_frames_total{application=\"flvplayback\",stream=\"measured\"} ";
        text.contains(frames).then_some(text)
    });
    assert!(text.to_lowercase().contains("content-type: application/openmetrics-text"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in ["crtmp_publishers 1.0", "crtmp_connections{chain=\"inboundRtmp\"} 1.0"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    server.stop();
}

#[test]
fn commands_are_told_with_their_answers() {
    let receiver = Receiver::start(0, Manner::Takes);
    let block = Faces::block("secret = \"open sesame\"");
    let sink = rpc(receiver.port, "enabledEvents = { \"cliRequest\", \"cliResponse\" }");
    let server = Server::start(&logger(&sink).block(&block).block("{ name = \"asker\" }"));
    let mut session = Session::open(Faces::of(&server).json);
    let version = session.done("version");
    session.fails("shutdownStream id=7");
    session.fails("nonsense some=thing");
    session.done("auth secret=open\\ sesame");
    session.done("setLogLevel level=5");
    session.done("reload");
    session.done("addAskerEntry name=first count=3 tags=a,b");
    let key = session.done("shutdownServer")["key"].as_str().expect("a key").to_owned();
    let response = |command: &str| {
        receiver.wait_for(&format!("the answer of {command}"), |event| {
            event["type"] == "cliResponse" && event["payload"]["command"] == command
        })
    };
    response("shutdownServer");
    for (command, status) in [
        ("version", "SUCCESS"),
        ("shutdownStream", "FAIL"),
        ("nonsense", "FAIL"),
        ("setLogLevel", "SUCCESS"),
        ("reload", "SUCCESS"),
        ("addAskerEntry", "SUCCESS"),
        ("shutdownServer", "SUCCESS"),
    ] {
        let (told, payload) = (receiver.events(), &response(command)["payload"]);
        assert_eq!(payload["status"], status, "{payload}");
        assert!(payload["description"].is_string() && payload.get("data").is_some(), "{payload}");
        let of = |kind: &str| {
            let is = |event: &&Value| event["type"] == kind && event["payload"]["command"] == command;
            told.iter().filter(is).count()
        };
        assert_eq!((of("cliRequest"), of("cliResponse")), (1, 1), "{command}: {told:?}");
    }
    assert_eq!(response("version")["payload"]["data"]["releaseNumber"], version["releaseNumber"]);
    let all = format!("{:?}", receiver.events());
    assert!(!all.contains(&key) && !all.contains("sesame"), "{all}");
    server.stop();
}
