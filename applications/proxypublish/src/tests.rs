//! The application with a server that is not there.

use crtmp_plugin::testing::{Call, Called, FakeHost};
use serde_json::{Value, json};

use super::*;
use crate::settings::TARGETS;

/// Two targets: one for all streams, kept alive, and one for the stream `news`.
const TWO: &str = r#"{
    "abortOnConnectError": true,
    "targetServers": [
        { "targetUri": "rtmp://one/live", "keepAlive": true },
        { "targetUri": "rtmp://two:1936/app/x", "localStreamName": "news?token=1", "targetStreamName": "other",
          "targetStreamType": "record", "emulateUserAgent": "agent", "tcUrl": "t", "swfUrl": "s", "pageUrl": "p",
          "rtmpAbsoluteTimestamps": true }
    ]
}"#;

/// The calls of a command since the first `from`, with their parameters.
fn calls(host: &FakeHost, command: &str, from: usize) -> Vec<(u64, Value)> {
    let of = |Call { ticket, what }| match what {
        Called::Command(name, params) if name == command => Some((ticket, params)),
        _ => None,
    };
    host.calls().into_iter().skip(from).filter_map(of).collect()
}

fn done(data: Value) -> Result<Value, Value> {
    Ok(json!({ "status": "SUCCESS", "description": "", "data": data }))
}

fn failed(text: &str) -> Result<Value, Value> {
    Ok(json!({ "status": "FAIL", "description": text, "data": null }))
}

fn removed(host: &FakeHost) -> Vec<u64> {
    calls(host, "removeConfig", 0).iter().filter_map(|(_, params)| params["id"].as_u64()).collect()
}

#[test]
fn each_stream_goes_to_each_target_that_wants_it_and_ends_there_with_its_end() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(1, "film", true);
    host.stream(2, "news", true);
    let asked = calls(&host, "pushStream", 0);
    let places: Vec<_> = asked
        .iter()
        .map(|(_, params)| (&params["uri"], &params["localStreamName"], &params["targetStreamName"]))
        .collect();
    assert_eq!(
        json!(places),
        json!([
            ["rtmp://one/live", "film", "film"],
            ["rtmp://one/live", "news", "news"],
            ["rtmp://two:1936/app/x", "news", "other"],
        ])
    );
    assert_eq!(
        asked[0].1,
        json!({ "uri": "rtmp://one/live", "localStreamName": "film", "targetStreamName": "film",
            "targetStreamType": "live", "application": "test", "keepAlive": true,
            "rtmpAbsoluteTimestamps": false, "kept": false })
    );
    let other = &asked[2].1;
    assert_eq!(
        json!([
            other["targetStreamType"],
            other["emulateUserAgent"],
            other["tcUrl"],
            other["swfUrl"],
            other["pageUrl"],
            other["rtmpAbsoluteTimestamps"],
            other["keepAlive"]
        ]),
        json!(["record", "agent", "t", "s", "p", true, false])
    );
    for (id, (ticket, _)) in (10..).zip(&asked) {
        host.answer_call(*ticket, done(json!({ "configId": id })));
    }
    host.stream(1, "film", false);
    assert_eq!(removed(&host), [10]);
    host.stream(2, "news", false);
    assert_eq!(removed(&host), [10, 11, 12]);
}

#[test]
fn a_takeover_goes_on_whatever_comes_first() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(1, "film", true);
    let asked = calls(&host, "pushStream", 0);
    host.answer_call(asked[0].0, done(json!({ "configId": 7 })));
    host.stream(2, "film", true);
    host.stream(1, "film", false);
    assert_eq!((calls(&host, "pushStream", 0).len(), removed(&host).len()), (1, 0));
    host.stream(2, "film", false);
    assert_eq!(removed(&host), [7]);
}

#[test]
fn a_push_that_begins_after_the_end_of_its_stream_ends_too() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(1, "film", true);
    let first = calls(&host, "pushStream", 0)[0].0;
    host.stream(1, "film", false);
    host.stream(1, "film", true);
    let second = calls(&host, "pushStream", 0)[1].0;
    host.answer_call(first, done(json!({ "configId": 1 })));
    assert_eq!(removed(&host), [1]);
    host.answer_call(second, done(json!({ "configId": 2 })));
    host.stream(1, "film", false);
    assert_eq!(removed(&host), [1, 2]);
}

#[test]
fn who_cannot_be_pushed_is_ended_where_that_is_wanted() {
    for aborts in [true, false] {
        let settings = TWO.replacen("true", &aborts.to_string(), 1);
        let mut host = FakeHost::new::<ProxyPublish>(&settings).unwrap();
        host.stream(5, "news", true);
        for (id, (ticket, _)) in (1..).zip(calls(&host, "pushStream", 0)) {
            host.answer_call(ticket, done(json!({ "configId": id })));
        }
        // Nothing is asked about the target that is kept alive.
        assert_eq!(host.timers().len(), usize::from(aborts));
        if !aborts {
            continue;
        }
        let status = |code| done(json!({ "status": { "current": { "code": code } }, "cause": "no route" }));
        for (round, code) in [(1, 1), (2, 0), (3, ENDED)] {
            host.timer(LOOK.0);
            let asked = calls(&host, "getConfigInfo", 0);
            assert_eq!((asked.len(), &asked[round - 1].1["id"]), (round, &json!(2)));
            assert_eq!(host.closed().len(), 0);
            host.answer_call(asked[round - 1].0, status(code));
        }
        let (conn, code, text) = host.closed().pop().unwrap();
        assert_eq!((conn, code.as_str()), (5, ABORTED));
        // Where the stream goes is not the publisher's business.
        assert_eq!(text, ABORTED_TEXT);
        let logged = host.logs().pop().unwrap().1;
        assert!(logged.contains("\"news\" cannot be pushed to two:1936: no route"), "{logged}");
        assert_eq!(removed(&host), [1, 2]);
        host.stream(5, "news", false);
        assert!(host.timers().is_empty());
    }
}

#[test]
fn what_the_server_does_not_take_is_asked_for_again_and_ends_nobody() {
    for aborts in [true, false] {
        let settings = TWO.replacen("true", &aborts.to_string(), 1);
        let mut host = FakeHost::new::<ProxyPublish>(&settings).unwrap();
        host.stream(5, "film", true);
        for times in 1..=2 * PATIENCE as usize {
            // Said once, and not at once.
            assert_eq!(host.logs().len(), usize::from(times > PATIENCE as usize));
            let asked = calls(&host, "pushStream", 0);
            assert_eq!(asked.len(), times);
            host.answer_call(asked[times - 1].0, failed("too many"));
            host.timer(LOOK.0);
        }
        let asked = calls(&host, "pushStream", 0);
        host.answer_call(asked.last().unwrap().0, done(json!({ "configId": 4 })));
        assert!(host.timers().is_empty() && host.closed().is_empty());
        host.stream(5, "film", false);
        assert_eq!(removed(&host), [4]);
    }
}

#[test]
fn who_publishes_again_at_once_is_not_ended_for_the_push_before() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(1, "film", true);
    host.stream(1, "film", false);
    host.stream(2, "film", true);
    for at in 1..=2 * PATIENCE as usize {
        let ticket = calls(&host, "pushStream", 0)[at].0;
        host.answer_call(ticket, failed("there is such a push already"));
        host.timer(LOOK.0);
    }
    assert!(host.closed().is_empty());
}

#[test]
fn what_the_server_does_not_take_is_asked_for_in_turn() {
    let count = 2 * LOOKS + 1;
    let settings =
        r#"{ "abortOnConnectError": false, "targetServers": [{ "targetUri": "rtmp://one/live" }] }"#;
    let mut host = FakeHost::new::<ProxyPublish>(settings).unwrap();
    for id in 0..count {
        host.stream(id as u64, &format!("s{id:03}"), true);
    }
    for (ticket, _) in calls(&host, "pushStream", 0) {
        host.answer_call(ticket, failed("too many"));
    }
    for _ in 0..3 {
        let before = calls(&host, "pushStream", 0).len();
        host.timer(LOOK.0);
        for (ticket, _) in calls(&host, "pushStream", 0).split_off(before) {
            host.answer_call(ticket, failed("too many"));
        }
    }
    let names = |params: &Value| params["localStreamName"].as_str().unwrap().to_owned();
    let again = calls(&host, "pushStream", 0).split_off(count);
    assert_eq!(again.len(), 3 * LOOKS);
    let again: BTreeSet<String> = again.iter().map(|(_, params)| names(params)).collect();
    assert_eq!(again.len(), count);
}

#[test]
fn a_push_that_the_server_does_not_remove_is_removed_later() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(1, "film", true);
    host.answer_call(calls(&host, "pushStream", 0)[0].0, done(json!({ "configId": 7 })));
    host.stream(1, "film", false);
    for times in 1..4 {
        assert_eq!(removed(&host), vec![7; times]);
        let ticket = calls(&host, "removeConfig", 0)[times - 1].0;
        host.answer_call(ticket, failed("1024 commands wait for their replies; try again later"));
        host.timer(LOOK.0);
    }
    // Gone is gone, whoever has done it.
    let ticket = calls(&host, "removeConfig", 0)[3].0;
    host.answer_call(ticket, failed("there is no configuration 7; `listConfig` lists all"));
    assert!(host.timers().is_empty());
    assert_eq!(removed(&host).len(), 4);
}

#[test]
fn a_push_that_an_operator_has_removed_stays_removed() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    host.stream(5, "news", true);
    for (id, (ticket, _)) in (1..).zip(calls(&host, "pushStream", 0)) {
        host.answer_call(ticket, done(json!({ "configId": id })));
    }
    host.timer(LOOK.0);
    host.answer_call(calls(&host, "getConfigInfo", 0)[0].0, failed("1024 commands wait for their replies"));
    host.timer(LOOK.0);
    host.answer_call(calls(&host, "getConfigInfo", 0)[1].0, failed("there is no configuration 2"));
    assert!(host.closed().is_empty() && host.timers().is_empty());
}

#[test]
fn streams_that_were_there_before_are_pushed_until_they_are_not_there_any_more() {
    let mut host = FakeHost::new::<ProxyPublish>(TWO).unwrap();
    let names = |names: &[&str]| {
        let mut all: Vec<_> = names.iter().map(|name| json!({ "name": name, "appName": "test" })).collect();
        all.push(json!({ "name": "foreign", "appName": "live" }));
        done(json!(all))
    };
    host.answer_call(calls(&host, "listInboundStreamNames", 0)[0].0, names(&["film", "told"]));
    let asked = calls(&host, "pushStream", 0);
    assert_eq!(asked.len(), 2);
    // The push of the instance before is still there: asked for again, and nobody is ended.
    host.answer_call(asked[0].0, failed("there is such a push already"));
    host.answer_call(asked[1].0, done(json!({ "configId": 2 })));
    // Somebody tells about this one after all.
    host.stream(9, "told", true);
    host.timer(LOOK.0);
    let again = calls(&host, "pushStream", 0);
    assert_eq!(again.len(), 3);
    host.answer_call(again[2].0, done(json!({ "configId": 3 })));
    host.answer_call(calls(&host, "listInboundStreamNames", 0)[1].0, names(&["film"]));
    assert!(removed(&host).is_empty() && host.closed().is_empty());
    host.timer(LOOK.0);
    host.answer_call(calls(&host, "listInboundStreamNames", 0)[2].0, names(&[]));
    assert_eq!(removed(&host), [3]);
    host.stream(9, "told", false);
    assert_eq!(removed(&host), [3, 2]);
    assert!(host.timers().is_empty());
}

#[test]
fn mistakes_in_settings_are_named() {
    let with = |target: Value| json!({ "abortOnConnectError": false, "targetServers": [target] });
    for (settings, expected) in [
        (json!({}), "abortOnConnectError"),
        (json!({ "abortOnConnectError": true, "x": 1 }), "unknown setting `x`"),
        (with(json!({})), "targetUri"),
        (with(json!({ "targetUri": "http://h/a" })), "begins with something else"),
        (with(json!({ "targetUri": "rtmp://h" })), "names no host or no application"),
        (with(json!({ "targetUri": "rtmp:///a" })), "names no host or no application"),
        (with(json!({ "targetUri": "rtmp://h/a", "keepalive": true })), "keepalive"),
        (with(json!({ "targetUri": "rtmp://h/a", "localStreamName": "" })), "`localStreamName` is empty"),
        (with(json!({ "targetUri": "rtmp://h/a", "targetStreamName": "" })), "`targetStreamName` is empty"),
        (with(json!({ "targetUri": "rtmp://h/a", "targetStreamType": "x" })), "`targetStreamType` is \"x\""),
    ] {
        let error = FakeHost::new::<ProxyPublish>(&settings.to_string()).err().unwrap().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
        assert!(!error.contains("//h/a"), "{error}");
    }
}

#[test]
fn targets_are_a_list_or_a_table_and_bounded() {
    let target = json!({ "targetUri": "rtmp://h/a" });
    let named = json!({ "abortOnConnectError": false, "targetServers": { "one": target, "two": target } });
    let mut host = FakeHost::new::<ProxyPublish>(&named.to_string()).unwrap();
    host.stream(1, "film", true);
    assert_eq!(calls(&host, "pushStream", 0).len(), 2);
    for (count, good) in [(0, true), (TARGETS - 1, true), (TARGETS, true), (TARGETS + 1, false)] {
        let settings = json!({ "abortOnConnectError": false, "targetServers": vec![target.clone(); count] });
        assert_eq!(FakeHost::new::<ProxyPublish>(&settings.to_string()).is_ok(), good, "{count}");
    }
}

#[test]
fn targets_are_of_every_scheme_and_keys_for_tls_go_with_them() {
    let with = |target: Value| json!({ "abortOnConnectError": true, "targetServers": [target] }).to_string();
    for scheme in crtmp_plugin::SCHEMES {
        let settings = with(json!({ "targetUri": format!("{scheme}://h/a") }));
        assert!(FakeHost::new::<ProxyPublish>(&settings).is_ok(), "{scheme}");
    }
    let settings = with(json!({ "targetUri": "RTMPS://h/a", "tlsCa": "ca.pem", "tlsVerify": true }));
    let mut host = FakeHost::new::<ProxyPublish>(&settings).unwrap();
    host.stream(1, "film", true);
    let params = calls(&host, "pushStream", 0).remove(0).1;
    assert_eq!((&params["tlsCa"], &params["tlsVerify"]), (&json!("ca.pem"), &json!(true)));
    assert!(params.get("tlsPin").is_none());
    let plain = with(json!({ "targetUri": "rtmp://h/a", "tlsPin": "x" }));
    let failure = FakeHost::new::<ProxyPublish>(&plain).err().unwrap().to_string();
    assert!(failure.contains("`targetServers[1]`: `tlsPin` is for TLS"), "{failure}");
}
