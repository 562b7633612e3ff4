//! The application with a server that is not there.

use crtmp_plugin::testing::{Call, Called, FakeHost};

use super::*;

fn settings(connections: usize, changes: &[(&str, Value)]) -> String {
    let mut settings = json!({ "targetServer": "media:1936", "targetApp": "live", "streams": ["a", "b", "c"],
        "numberOfConnections": connections, "randomAccessStreams": false, "active": true });
    for (key, value) in changes {
        settings[*key] = value.clone();
    }
    settings.to_string()
}

fn calls(host: &FakeHost, command: &str) -> Vec<(u64, Value)> {
    let of = |Call { ticket, what }| match what {
        Called::Command(name, params) if name == command => Some((ticket, params)),
        _ => None,
    };
    host.calls().into_iter().filter_map(of).collect()
}

fn done(data: Value) -> Result<Value, Value> {
    Ok(json!({ "status": "SUCCESS", "description": "", "data": data }))
}

fn has_timer(host: &FakeHost, timer: TimerId) -> bool {
    host.timers().iter().any(|(other, ..)| *other == timer.0)
}

#[test]
fn connections_begin_some_at_a_time_each_with_the_next_stream() {
    let mut host = FakeHost::new::<StressTest>(&settings(RAMP + 1, &[])).unwrap();
    host.timer(BEGIN.0);
    let asked = calls(&host, "pullStream");
    assert_eq!(asked.len(), RAMP);
    assert_eq!(
        asked[4].1,
        json!({ "uri": "rtmp://media:1936/live/b", "localStreamName": "load/5", "application": "test",
            "keepAlive": true, "kept": false, "pageUrl": "stresstest/load/5" })
    );
    for (ticket, _) in &asked {
        host.answer_call(*ticket, done(json!({ "configId": 1 })));
    }
    assert!(has_timer(&host, BEGIN));
    host.timer(BEGIN.0);
    let asked = calls(&host, "pullStream");
    assert_eq!(asked.len(), RAMP + 1);
    // The server has no room for it; it is asked again.
    host.answer_call(asked[RAMP].0, Ok(json!({ "status": "FAIL", "description": "full" })));
    host.timer(BEGIN.0);
    let asked = calls(&host, "pullStream");
    assert_eq!(asked[RAMP + 1].1, asked[RAMP].1);
    host.answer_call(asked[RAMP + 1].0, done(json!({ "configId": 1 })));
    host.timer(BEGIN.0);
    assert!(!has_timer(&host, BEGIN));
    assert_eq!(calls(&host, "pullStream").len(), RAMP + 2);
}

#[test]
fn streams_are_any_of_the_list_where_that_is_wanted() {
    let random = [("randomAccessStreams", json!(true))];
    let mut host = FakeHost::new::<StressTest>(&settings(RAMP, &random)).unwrap();
    host.timer(BEGIN.0);
    let asked = calls(&host, "pullStream");
    let mut played: Vec<&str> = asked.iter().filter_map(|(_, params)| params["uri"].as_str()).collect();
    let in_turn = (0..RAMP).map(|at| format!("rtmp://media:1936/live/{}", ["a", "b", "c"][at % 3]));
    // Once in 10^23 they are.
    assert!(!in_turn.eq(played.iter().copied()));
    played.sort_unstable();
    played.dedup();
    assert!(played.len() <= 3);
}

#[test]
fn nothing_is_done_unless_it_is_active() {
    let mut host = FakeHost::new::<StressTest>(&settings(3, &[("active", json!(false))])).unwrap();
    assert!(host.timers().is_empty());
    assert_eq!(host.command(STATUS, &json!({})), Reply::Later);
    assert!(calls(&host, "pullStream").is_empty());
}

#[test]
fn the_status_counts_what_the_server_says() {
    let mut host = FakeHost::new::<StressTest>(&settings(3, &[])).unwrap();
    host.timer(BEGIN.0);
    for (ticket, _) in calls(&host, "pullStream") {
        host.answer_call(ticket, done(json!({ "configId": 1 })));
    }
    for (publisher, name, live) in [
        (11, "load/1", true),
        (12, "load/2", true),
        (12, "load/2", false),
        (13, "load/4", true),
        (14, "load/0", true),
        (15, "other", true),
    ] {
        host.stream(publisher, name, live);
    }
    assert_eq!(host.command(STATUS, &json!({})), Reply::Later);
    let request = host.last_request();
    let pull = |number: u64, code: u64, cause: Value| {
        json!({ "applicationName": "test", "localStreamName": format!("load/{number}"), "cause": cause,
            "status": { "current": { "code": code } }, "attempts": number, "failures": number - 1 })
    };
    let mut foreign = pull(9, FOREIGN, json!("not ours"));
    foreign["applicationName"] = json!("live");
    let config = json!({ "pull": [
        pull(1, 0, Value::Null), pull(2, 2, json!("no route")), pull(3, 1, json!("no route")), foreign ] });
    host.answer_call(calls(&host, "listConfig")[0].0, done(config));
    let stream = |app: &str| {
        json!({ "appName": app, "name": "load/1", "bandwidth": 8000,
            "audio": { "bytesCount": 10 }, "video": { "bytesCount": 100 } })
    };
    let streams = json!([stream("test"), stream("live")]);
    host.answer_call(calls(&host, "listInboundStreams")[0].0, done(streams));
    let expected = json!({ "active": true, "connections": 3, "waiting": 0, "connecting": 1, "playing": 1, "failing": 1,
        "attempts": 6, "failures": 3, "interruptions": 1, "refused": 0, "bytes": 110, "bitsPerSecond": 8000,
        "causes": { "no route": 2 } });
    assert_eq!(host.answer_to(request), Some(Reply::Result(expected).into()));
}

/// Any code.
const FOREIGN: u64 = 2;

#[test]
fn how_it_goes_is_logged_where_it_has_changed() {
    let mut host = FakeHost::new::<StressTest>(&settings(1, &[])).unwrap();
    for round in 1..=2 {
        host.timer(LOG.0);
        host.answer_call(calls(&host, "listConfig")[round - 1].0, done(json!({ "pull": [] })));
        host.answer_call(calls(&host, "listInboundStreams")[round - 1].0, done(json!([])));
    }
    let said: Vec<String> = host.logs().into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["0 of 1 connections play, 0 connect, 0 fail; 0 failures, 0 interruptions, 0 kbit/s"]);
}

#[test]
fn all_settings_are_needed_and_checked() {
    for key in
        ["targetServer", "targetApp", "streams", "numberOfConnections", "randomAccessStreams", "active"]
    {
        let mut without: Value = serde_json::from_str(&settings(1, &[])).unwrap();
        without.as_object_mut().unwrap().remove(key);
        let error = FakeHost::new::<StressTest>(&without.to_string()).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
    for (key, value) in [
        ("targetServer", json!("")),
        ("targetServer", json!("rtmp://h")),
        ("targetApp", json!("/")),
        ("targetApp", json!("a?b")),
        ("streams", json!([])),
        ("streams", json!([""])),
        ("streams", json!(vec!["x"; STREAMS + 1])),
        ("numberOfConnections", json!(0)),
        ("numberOfConnections", json!(1001)),
        ("numberOfConnections", json!(-1)),
    ] {
        let error = FakeHost::new::<StressTest>(&settings(1, &[(key, value)])).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
    for (key, value) in [
        ("streams", json!(vec!["x"; STREAMS])),
        ("streams", json!(vec!["x"; STREAMS - 1])),
        ("numberOfConnections", json!(1)),
        ("numberOfConnections", json!(999)),
        ("numberOfConnections", json!(1000)),
    ] {
        assert!(FakeHost::new::<StressTest>(&settings(1, &[(key, value)])).is_ok(), "{key}");
    }
}
