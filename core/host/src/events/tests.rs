//! Sinks at work: against servers that take events, refuse them, hang or are not there, and in files.

use std::{fs, net::TcpStream, path::Path, sync::atomic::AtomicUsize, thread};

use crtmp_media::Seconds;
use serde_json::json;

use super::*;
use crate::{
    config::{EventFormat, EventSerializer, EventSink},
    outbound::Outbound,
    web::testing::{self, Heard, Server, hang, nowhere, reset, say},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

fn events() -> Events {
    let limits = Limits { web_body: 1024, ..Limits::default() };
    Events::new(
        Logger::root(slog::Discard, slog::o!()),
        &limits,
        Client::start(&limits, Outbound::default()).unwrap(),
    )
}

fn with(sinks: Vec<EventSink>) -> Events {
    let events = events();
    events.configure(&logger(sinks)).unwrap();
    events
}

fn logger(sinks: Vec<EventSink>) -> EventLogger {
    EventLogger { sinks, ..EventLogger::default() }
}

fn post(url: String) -> EventSink {
    EventSink {
        url: Some(url),
        timeout: Some(Seconds(testing::PATIENCE)),
        retry_delay: Some(Seconds(Duration::from_millis(10))),
        retry_delay_max: Some(Seconds(Duration::from_millis(20))),
        retries: Some(1_000_000),
        ..EventSink::new(EventSinkKind::Rpc)
    }
}

fn file(folder: &Path, name: &str, format: EventFormat) -> EventSink {
    EventSink {
        filename: Some(folder.join(name)),
        format: Some(format),
        append_timestamp: Some(false),
        ..EventSink::new(EventSinkKind::File)
    }
}

fn emit(events: &Events, kind: Kind, id: u64) {
    events.emit(Event { kind, stream: None, payload: json!({ "uniqueId": id }) });
}

fn id(heard: &Heard) -> u64 {
    heard.json()["payload"]["uniqueId"].as_u64().unwrap()
}

/// Waits until a counter of the first sink is at least so much.
fn wait(events: &Events, counter: &str, least: u64) {
    let until = Instant::now() + testing::PATIENCE;
    while events.counters()[0][counter].as_u64().unwrap() < least {
        assert!(Instant::now() < until, "{counter} < {least}: {}", events.counters());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A server that answers only when it is told to.
fn gate() -> (Server, crossbeam_channel::Sender<()>) {
    let (open, wait) = crossbeam_channel::unbounded();
    let server = Server::start(move |_, stream| {
        let _ = wait.recv_timeout(testing::PATIENCE);
        say(stream, OK);
    });
    (server, open)
}

#[test]
fn nothing_is_wanted_without_sinks() {
    let events = events();
    assert!(Kind::ALL.iter().all(|kind| !events.wants(*kind)));
    emit(&events, Kind::CliRequest, 1);
    assert_eq!(events.counters(), json!([]));
    assert_eq!(events.stop(PATIENCE), 0);
}

#[test]
fn events_arrive_in_order() {
    let server = Server::start(|_, stream| say(stream, OK));
    let events = with(vec![post(server.url("/hook?a=b"))]);
    for number in 1..=100 {
        emit(&events, Kind::TimerTriggered, number);
    }
    for number in 1..=100 {
        let heard = server.hear();
        assert!(heard.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"));
        assert!(heard.head.to_ascii_lowercase().contains("\r\ncontent-type: application/json"));
        let event = heard.json();
        assert_eq!((&event["id"], id(&heard)), (&json!(number), number));
        assert_eq!(event["type"], "timerTriggered");
        assert_eq!(event["processId"], std::process::id());
        assert!(event["timestamp"].is_u64());
    }
    assert_eq!(events.stop(PATIENCE), 0);
    let counters = &events.counters()[0];
    assert_eq!(counters["type"], "RPC");
    assert_eq!(counters["to"], server.url("/hook?a=b"));
    assert_eq!((&counters["sent"], &counters["queued"]), (&json!(100), &json!(0)));
}

#[test]
fn xml_and_xml_rpc_are_posted_as_such() {
    let server = Server::start(|_, stream| say(stream, OK));
    for (serializer, text) in [
        (EventSerializer::Xml, "<MAP isArray=\"false\" name=\"\">"),
        (EventSerializer::Xmlrpc, "<methodCall>"),
    ] {
        let events = with(vec![EventSink { serializer_type: Some(serializer), ..post(server.url("/")) }]);
        let payload = json!({ "name": "a\r\n\"<b>&\u{fc}" });
        events.emit(Event { kind: Kind::InStreamCreated, stream: None, payload });
        let heard = server.hear();
        assert!(heard.head.to_ascii_lowercase().contains("\r\ncontent-type: text/xml"));
        let body = heard.body.strip_prefix("<?xml version=\"1.0\" ?>\n").unwrap();
        assert!(body.starts_with(text) && body.contains("a&#13;&#10;&quot;&lt;b&gt;&amp;\u{fc}<"), "{body}");
    }
}

#[test]
fn names_and_data_are_inherited_and_secrets_are_not_told() {
    let server = Server::start(|_, stream| say(stream, OK));
    let events = events();
    let own = EventSink {
        enabled_events: Some(vec!["timerCreated".into()]),
        custom_data: Some(json!(7)),
        ..post(server.url("/own"))
    };
    events
        .configure(&EventLogger {
            custom_data: Some(json!({ "a": "b" })),
            enabled_events: Some(vec!["cliRequest".into()]),
            sinks: vec![post(server.url("/heir")), own],
        })
        .unwrap();
    let wanted: Vec<_> = Kind::ALL.iter().filter(|kind| events.wants(**kind)).collect();
    assert_eq!(wanted, [&Kind::CliRequest, &Kind::TimerCreated]);
    events.emit(Event {
        kind: Kind::CliRequest,
        stream: Some("cam?token=abc".into()),
        payload: json!({ "parameters": { "uri": "rtmp://u:p@h/a", "password": "x" } }),
    });
    let heard = server.hear();
    assert!(heard.head.starts_with("POST /heir "));
    assert_eq!(
        heard.json()["payload"],
        json!({
            "name": "cam?token=***",
            "parameters": { "uri": "rtmp://u:***@h/a", "password": "***" },
            "customData": { "a": "b" },
        })
    );
    emit(&events, Kind::TimerCreated, 1);
    let heard = server.hear();
    assert!(heard.head.starts_with("POST /own "));
    assert_eq!(heard.json()["payload"]["customData"], 7);
}

#[test]
fn what_fails_for_now_is_tried_again_in_its_place() {
    // Each way to fail, then an answer.
    type Way = fn(&mut TcpStream);
    let ways: [(&str, Way); 6] = [
        ("busy", |stream| say(stream, BUSY)),
        ("too many requests", |stream| say(stream, "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n")),
        ("reset", |stream| reset(stream)),
        ("closed", |_| {}),
        ("no HTTP", |stream| say(stream, "\x00\x01\x02\r\n\r\n")),
        ("too short", |stream| say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx")),
    ];
    for (name, way) in ways {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_, stream| match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => way(stream),
            _ => say(stream, OK),
        });
        let events = with(vec![post(server.url("/"))]);
        emit(&events, Kind::TimerTriggered, 1);
        emit(&events, Kind::TimerTriggered, 2);
        let ids: Vec<_> = (0..4).map(|_| id(&server.hear())).collect();
        assert_eq!(ids, [1, 1, 1, 2], "{name}");
        assert_eq!(events.stop(PATIENCE), 0);
        let counters = &events.counters()[0];
        assert_eq!((&counters["retries"], &counters["sent"]), (&json!(2), &json!(2)), "{name}");
    }
}

#[test]
fn a_server_that_hangs_costs_its_time_and_no_more() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_, stream| match count.fetch_add(1, Ordering::Relaxed) {
        0 => hang(stream),
        _ => say(stream, OK),
    });
    let timeout = Some(Seconds(Duration::from_millis(100)));
    let events = with(vec![EventSink { timeout, ..post(server.url("/")) }]);
    emit(&events, Kind::TimerTriggered, 1);
    let ids: Vec<_> = (0..2).map(|_| id(&server.hear())).collect();
    assert_eq!(ids, [1, 1]);
    wait(&events, "sent", 1);
}

#[test]
fn what_was_refused_is_not_tried_again_and_takes_its_end_with_it() {
    type Way = fn(&mut TcpStream);
    let ways: [(&str, Way); 5] = [
        ("not found", |stream| say(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")),
        ("redirect", |stream| {
            say(stream, "HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n");
        }),
        ("10 GiB", |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n");
            while std::io::Write::write_all(stream, &[0; 65536]).is_ok() {}
        }),
        ("endless", |stream| {
            say(stream, "HTTP/1.1 200 OK\r\n\r\n");
            while std::io::Write::write_all(stream, &[0; 65536]).is_ok() {}
        }),
        ("endless chunks", |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while std::io::Write::write_all(stream, &b"1\r\nx\r\n".repeat(1000)).is_ok() {}
        }),
    ];
    for (name, way) in ways {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_, stream| match count.fetch_add(1, Ordering::Relaxed) {
            0 => way(stream),
            _ => say(stream, OK),
        });
        let events = with(vec![post(server.url("/"))]);
        emit(&events, Kind::InStreamCreated, 1);
        wait(&events, "failed", 1);
        emit(&events, Kind::InStreamClosed, 1);
        emit(&events, Kind::InStreamCreated, 2);
        emit(&events, Kind::InStreamClosed, 2);
        let ids: Vec<_> = (0..3).map(|_| id(&server.hear())).collect();
        assert_eq!(ids, [1, 2, 2], "{name}");
        assert_eq!(events.stop(PATIENCE), 0);
        let counters = &events.counters()[0];
        assert_eq!((&counters["retries"], &counters["dropped"]), (&json!(0), &json!(1)), "{name}");
    }
}

#[test]
fn tries_come_to_an_end() {
    let events = with(vec![EventSink { retries: Some(2), ..post(format!("http://{}/", nowhere())) }]);
    emit(&events, Kind::TimerTriggered, 1);
    emit(&events, Kind::TimerTriggered, 2);
    wait(&events, "failed", 2);
    assert_eq!(events.counters()[0]["retries"], 4);
}

#[test]
fn a_server_that_comes_back_gets_what_waits() {
    let address = nowhere();
    let events = with(vec![post(format!("http://{address}/"))]);
    for number in 1..=3 {
        emit(&events, Kind::TimerTriggered, number);
    }
    wait(&events, "retries", 2);
    let server = Server::at(address, |_, stream| say(stream, OK));
    let ids: Vec<_> = (0..3).map(|_| id(&server.hear())).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn the_oldest_goes_when_too_many_wait() {
    let (server, open) = gate();
    let events = with(vec![EventSink { queue: Some(3), ..post(server.url("/")) }]);
    emit(&events, Kind::TimerTriggered, 1);
    server.hear();
    for number in 2..=10 {
        emit(&events, Kind::TimerTriggered, number);
    }
    let counters = &events.counters()[0];
    assert_eq!((&counters["queued"], &counters["dropped"]), (&json!(4), &json!(6)));
    for _ in 0..4 {
        open.send(()).unwrap();
    }
    let ids: Vec<_> = (0..3).map(|_| id(&server.hear())).collect();
    assert_eq!(ids, [8, 9, 10]);
}

/// HOOK-03: the server is down while 10 000 things begin and end.
#[test]
fn pairs_stay_pairs_while_a_server_is_down() {
    let (server, open) = gate();
    let events = with(vec![EventSink { queue: Some(100), ..post(server.url("/")) }]);
    // Known to the server, and over while it is away.
    for number in 1..=5 {
        emit(&events, Kind::InStreamCreated, number);
        server.hear();
        open.send(()).unwrap();
        wait(&events, "sent", number);
    }
    emit(&events, Kind::TimerTriggered, 0);
    server.hear();
    for number in 1..=5 {
        emit(&events, Kind::InStreamClosed, number);
    }
    for number in 10..5000 {
        emit(&events, Kind::InStreamCreated, number);
        // The ends come later than the begins, by more than fits the queue.
        if number >= 500 {
            emit(&events, Kind::InStreamClosed, number - 400);
        }
    }
    for _ in 0..200 {
        open.send(()).unwrap();
    }
    assert_eq!(events.stop(PATIENCE), 0);
    let sent = events.counters()[0]["sent"].as_u64().unwrap();
    let mut known: Vec<u64> = (1..=5).collect();
    let mut told = 6;
    while told < sent {
        let heard = server.hear();
        told += 1;
        match heard.json()["type"].as_str().unwrap() {
            "inStreamCreated" => known.push(id(&heard)),
            _ => {
                let place = known.iter().position(|known| *known == id(&heard));
                known.remove(place.expect("what ends has begun"));
            }
        }
    }
    assert!(!known.iter().any(|known| *known <= 5), "the server was not told of ends: {known:?}");
    assert!(sent > 50 && events.counters()[0]["dropped"].as_u64().unwrap() > 9000);
}

#[test]
fn a_reload_keeps_what_has_not_changed() {
    let (server, open) = gate();
    let folder = tempfile::tempdir().unwrap();
    let events = with(vec![post(server.url("/same")), post(server.url("/old"))]);
    for number in 1..=3 {
        emit(&events, Kind::TimerTriggered, number);
    }
    server.hear();
    server.hear();
    // The second changes its place and its settings, the first only its place.
    let new = vec![
        file(folder.path(), "events", EventFormat::Json),
        EventSink { retries: Some(7), ..post(server.url("/old")) },
        post(server.url("/same")),
    ];
    events.configure(&logger(new.clone())).unwrap();
    assert_eq!(events.counters()[2]["queued"], 3);
    assert_eq!(events.counters()[1]["queued"], 0);
    emit(&events, Kind::TimerTriggered, 4);
    for _ in 0..8 {
        open.send(()).unwrap();
    }
    let mut heard: Vec<_> = (0..6)
        .map(|_| {
            let heard = server.hear();
            (heard.head.split(' ').nth(1).unwrap().to_owned(), id(&heard))
        })
        .collect();
    // Each sink keeps its order; the old and the new second one are two.
    heard.sort();
    let expected = [("/old", 2), ("/old", 3), ("/old", 4), ("/same", 2), ("/same", 3), ("/same", 4)];
    assert_eq!(heard, expected.map(|(path, id)| (path.to_owned(), id)));

    // What cannot be opened changes nothing.
    let mut bad = new;
    bad[1].retries = Some(8);
    bad.push(file(&folder.path().join("none"), "events", EventFormat::Text));
    let before = events.counters();
    let errors = events.configure(&logger(bad)).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path, "configuration.eventLogger.sinks[4].filename");
    assert_eq!(events.counters().as_array().unwrap().len(), before.as_array().unwrap().len());
    assert!(events.wants(Kind::CliRequest));

    events.configure(&logger(Vec::new())).unwrap();
    assert!(!events.wants(Kind::CliRequest));
    assert_eq!(events.stop(PATIENCE), 0);
}

#[test]
fn stop_delivers_what_waits() {
    let server = Server::start(|_, stream| say(stream, OK));
    let folder = tempfile::tempdir().unwrap();
    let events = with(vec![post(server.url("/")), file(folder.path(), "events", EventFormat::Json)]);
    for number in 1..=50 {
        emit(&events, Kind::TimerTriggered, number);
    }
    assert_eq!(events.stop(PATIENCE), 0);
    assert_eq!(fs::read_to_string(folder.path().join("events")).unwrap().lines().count(), 50);
    let ids: Vec<_> = (0..50).map(|_| id(&server.hear())).collect();
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
    assert!(!events.wants(Kind::TimerTriggered));
    emit(&events, Kind::TimerTriggered, 51);
    assert_eq!(events.stop(PATIENCE), 0);
}

#[test]
fn stop_tries_once_more_and_does_not_wait_for_what_is_down() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_, stream| match count.fetch_add(1, Ordering::Relaxed) {
        0 => say(stream, BUSY),
        _ => say(stream, OK),
    });
    // A wait that no test could sit out.
    let patient = |url| EventSink {
        retry_delay: Some(Seconds::new(3600)),
        retry_delay_max: Some(Seconds::new(3600)),
        ..post(url)
    };
    let events = with(vec![patient(server.url("/"))]);
    emit(&events, Kind::TimerTriggered, 1);
    emit(&events, Kind::TimerTriggered, 2);
    server.hear();
    assert_eq!(events.stop(PATIENCE), 0);
    assert_eq!((id(&server.hear()), id(&server.hear())), (1, 2));

    let events = with(vec![patient(format!("http://{}/", nowhere()))]);
    for number in 1..=5 {
        emit(&events, Kind::TimerTriggered, number);
    }
    assert_eq!(events.stop(PATIENCE), 5);

    let silent = Server::start(|_, stream| hang(stream));
    let events = with(vec![post(silent.url("/"))]);
    for number in 1..=5 {
        emit(&events, Kind::TimerTriggered, number);
    }
    silent.hear();
    assert_eq!(events.stop(Duration::from_millis(50)), 5);
}

#[test]
fn files_of_all_formats_are_written_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let formats = [EventFormat::Json, EventFormat::Text, EventFormat::Xml, EventFormat::W3c];
    let name = |format: EventFormat| format!("{format:?}");
    let sinks = formats.map(|format| file(folder.path(), &name(format), format));
    let full =
        EventSink { filename: Some("/dev/full".into()), ..file(Path::new("/"), "x", EventFormat::Json) };
    let events = with([&sinks[..], &[full]].concat());
    for number in 1..=3 {
        let payload = json!({ "uniqueId": number, "name": "a\r\n\u{fc}" });
        events.emit(Event { kind: Kind::InStreamCreated, stream: None, payload });
        emit(&events, Kind::CliRequest, number);
    }
    events.stop(PATIENCE);
    let lines = |format| fs::read_to_string(folder.path().join(name(format))).unwrap().lines().count();
    assert_eq!(formats.map(lines), [6, 3 * 4 + 3 * 3, 1 + 6, 4 + 3]);
    let counters = events.counters();
    assert_eq!((&counters[0]["type"], &counters[0]["sent"]), (&json!("file"), &json!(6)));
    assert_eq!(counters[3]["sent"], 3);
    // The disk that is full has lost its events, and only those.
    assert_eq!((&counters[4]["sent"], &counters[4]["failed"]), (&json!(0), &json!(6)));

    let columns = with(vec![file(folder.path(), "columns", EventFormat::W3c)]);
    assert!(columns.wants(Kind::InStreamCreated) && !columns.wants(Kind::CliRequest));
}

#[test]
fn files_are_opened_again_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("events"), folder.path().join("moved"));
    let events = with(vec![file(folder.path(), "events", EventFormat::Json)]);
    emit(&events, Kind::TimerTriggered, 1);
    wait(&events, "sent", 1);
    fs::rename(&path, &moved).unwrap();
    events.reopen();
    emit(&events, Kind::TimerTriggered, 2);
    assert_eq!(events.stop(PATIENCE), 0);
    for path in [path, moved] {
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 1);
    }
}
