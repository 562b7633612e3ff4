//! The application with a server that is not there.

use crtmp_plugin::PlayStart;
use crtmp_plugin::RequestId;
use crtmp_plugin::testing::{Call, Called, ConnInfo, FakeHost, conn};
use serde_json::{Value, json};

use super::*;
use crate::settings::{ADDRESS, ORIGINS};

const PLAIN: &str = r#"{ "origins": ["rtmp://one/live/", "rtmp://two:1936/live"] }"#;

/// The commands that were run: name and parameters.
fn commands(host: &FakeHost) -> Vec<(u64, String, Value)> {
    let of = |Call { ticket, what }| match what {
        Called::Command(name, params) => Some((ticket, name, params)),
        _ => None,
    };
    host.calls().into_iter().filter_map(of).collect()
}

/// In short: `pull NAME`, `push NAME`, `remove ID`.
fn said(host: &FakeHost) -> Vec<String> {
    let short = |(_, name, params): (u64, String, Value)| match name.as_str() {
        "pullStream" => format!("pull {}", params["localStreamName"].as_str().unwrap()),
        "pushStream" => format!("push {}", params["localStreamName"].as_str().unwrap()),
        _ => format!("remove {}", params["id"]),
    };
    commands(host).into_iter().map(short).collect()
}

/// Runs what waits to be done.
fn work(host: &mut FakeHost) {
    if host.timers().iter().any(|(timer, ..)| *timer == WORK.0) {
        host.timer(WORK.0);
    }
}

/// Answers the newest command with a number.
fn begun(host: &mut FakeHost, id: u64) {
    let ticket = commands(host).last().unwrap().0;
    answer(host, ticket, json!({ "status": "SUCCESS", "data": { "configId": id } }));
}

fn answer(host: &mut FakeHost, ticket: u64, reply: Value) {
    host.answer_call(ticket, Ok(reply));
    work(host);
}

fn play(host: &mut FakeHost, id: u64, name: &str) -> Verdict {
    let verdict = host.play(&conn(id, "edge"), name);
    work(host);
    verdict
}

fn unplay(host: &mut FakeHost, id: u64, name: &str) {
    host.unplay(&conn(id, "edge"), name);
    work(host);
}

fn live(host: &mut FakeHost, publisher: u64, name: &str, live: bool) {
    host.stream(publisher, name, live);
    work(host);
}

fn close(host: &mut FakeHost, id: u64) {
    host.close(&conn(id, "edge"));
    work(host);
}

fn server(id: u64) -> ConnInfo {
    let mut server = conn(id, "edge");
    server.extra.insert("instanceId".to_owned(), json!("there"));
    server
}

/// The only timer of a stream: its number and delay.
fn stream_timer(host: &FakeHost) -> Option<(u64, u64)> {
    let timers = host.timers();
    let mut streams = timers.iter().filter(|(timer, ..)| *timer > AGAIN.0);
    let first = streams.next().map(|(timer, delay, _)| (*timer, *delay));
    assert!(streams.next().is_none(), "{timers:?}");
    first
}

fn linger(host: &mut FakeHost) {
    let (timer, _) = stream_timer(host).expect("a stream that lingers");
    host.timer(timer);
}

#[test]
fn the_first_player_pulls_others_share_and_the_last_one_releases() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    assert_eq!(play(&mut host, 1, "a"), Verdict::Accept);
    let (_, name, params) = commands(&host).remove(0);
    assert_eq!(name, "pullStream");
    assert_eq!(
        params,
        json!({ "uri": ["rtmp://one/live", "rtmp://two:1936/live"], "targetStreamName": "a",
            "localStreamName": "a", "application": "test", "keepAlive": true, "kept": false })
    );
    begun(&mut host, 7);
    live(&mut host, 100, "a", true);
    assert_eq!(play(&mut host, 2, "a"), Verdict::Accept);
    unplay(&mut host, 1, "a");
    assert_eq!((said(&host).len(), stream_timer(&host)), (1, None));
    unplay(&mut host, 2, "a");
    assert_eq!(stream_timer(&host).unwrap().1, 10_000);
    // Somebody comes in time.
    play(&mut host, 3, "a");
    assert_eq!((said(&host).len(), stream_timer(&host)), (1, None));
    close(&mut host, 3);
    linger(&mut host);
    assert_eq!(said(&host), ["pull a", "remove 7"]);
    live(&mut host, 100, "a", false);
    play(&mut host, 4, "a");
    assert_eq!(said(&host).last().unwrap(), "pull a");
}

#[test]
fn who_leaves_while_the_server_connects_releases_too() {
    let settings = r#"{ "origins": ["rtmp://one/live"], "linger": 0 }"#;
    let mut host = FakeHost::new::<Edge>(settings).unwrap();
    play(&mut host, 1, "a");
    close(&mut host, 1);
    linger(&mut host);
    begun(&mut host, 7);
    assert_eq!(said(&host), ["pull a", "remove 7"]);
    // The one before is not taken for this one.
    play(&mut host, 2, "a");
    let first = commands(&host)[2].0;
    close(&mut host, 2);
    linger(&mut host);
    play(&mut host, 3, "a");
    let second = commands(&host)[3].0;
    answer(&mut host, first, json!({ "status": "SUCCESS", "data": { "configId": 8 } }));
    answer(&mut host, second, json!({ "status": "SUCCESS", "data": { "configId": 9 } }));
    assert_eq!(said(&host)[2..], ["pull a", "pull a", "remove 8"]);
    close(&mut host, 3);
    linger(&mut host);
    assert_eq!(said(&host).last().unwrap(), "remove 9");
    assert_eq!(stream_timer(&host), None);
}

#[test]
fn what_is_published_here_goes_to_the_origin_and_is_played_here() {
    for (policy, pushes) in [("origin", true), ("local", false)] {
        let settings = json!({ "origins": ["rtmp://one/live"], "publish": policy }).to_string();
        let mut host = FakeHost::new::<Edge>(&settings).unwrap();
        // A player waits, and the origin has nothing.
        play(&mut host, 1, "a");
        begun(&mut host, 7);
        assert_eq!(host.publish(&conn(5, "edge"), "a"), Verdict::Accept);
        work(&mut host);
        assert_eq!(said(&host), ["pull a"]);
        live(&mut host, 5, "a", true);
        let mut expected = vec!["pull a", "remove 7"];
        expected.extend(pushes.then_some("push a"));
        assert_eq!(said(&host), expected);
        if pushes {
            let params = commands(&host)[2].2.clone();
            assert_eq!(
                (&params["uri"], &params["targetStreamName"]),
                (&json!(["rtmp://one/live"]), &json!("a"))
            );
            begun(&mut host, 8);
        }
        // It goes, and who plays it is served from the origin again.
        live(&mut host, 5, "a", false);
        host.unpublish(&conn(5, "edge"), "a");
        work(&mut host);
        expected.push("pull a");
        expected.extend(pushes.then_some("remove 8"));
        assert_eq!(said(&host), expected);
    }
}

#[test]
fn who_publishes_what_somebody_else_publishes_at_the_origins_is_told() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    let begin = |host: &mut FakeHost, publisher, id| {
        host.publish(&conn(publisher, "edge"), "a");
        live(host, publisher, "a", true);
        begun(host, id);
    };
    let look = |host: &mut FakeHost, code: u64, failures: u64, cause: &str| {
        host.timer(AGAIN.0);
        let (ticket, name, _) = commands(host).pop().unwrap();
        assert_eq!(name, "getConfigInfo");
        let push = json!({ "status": { "current": { "code": code } }, "failures": failures, "cause": cause });
        answer(host, ticket, json!({ "status": "SUCCESS", "data": push }));
    };
    let told = |host: &FakeHost| {
        let calls = host.calls();
        calls.iter().any(|call| matches!(&call.what, Called::Unpublish(5, 1, text) if text == TAKEN))
    };
    begin(&mut host, 5, 7);
    let taken = "publish was refused: NetStream.Publish.BadName taken";
    // Not yet by both of them; and what else may be wrong passes.
    look(&mut host, 2, 1, taken);
    look(&mut host, 2, 2, "connection refused");
    assert!(!told(&host));
    look(&mut host, 2, 3, taken);
    assert!(told(&host) && host.timers().is_empty());
    live(&mut host, 5, "a", false);
    host.unpublish(&conn(5, "edge"), "a");
    work(&mut host);
    // What has been taken once is looked at no more.
    begin(&mut host, 5, 8);
    look(&mut host, STREAMING, 3, taken);
    assert!(host.timers().is_empty());
    // A push that comes back to where it came from is nobody's fault.
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    host.publish(&server(5), "a");
    live(&mut host, 5, "a", true);
    begun(&mut host, 7);
    look(&mut host, 2, 2, taken);
    assert!(!told(&host));
}

#[test]
fn a_publisher_that_the_server_refuses_changes_nothing() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    play(&mut host, 1, "a");
    begun(&mut host, 7);
    live(&mut host, 100, "a", true);
    host.publish(&conn(5, "edge"), "a");
    host.unpublish(&conn(5, "edge"), "a");
    work(&mut host);
    close(&mut host, 5);
    assert_eq!(said(&host), ["pull a"]);
    let mut host =
        FakeHost::new::<Edge>(r#"{ "origins": ["rtmp://one/live"], "publish": "refuse" }"#).unwrap();
    assert_eq!(host.publish(&conn(5, "edge"), "a"), Verdict::refuse("nothing is published at this edge"));
}

#[test]
fn what_comes_otherwise_is_not_fetched_until_it_has_gone() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    live(&mut host, 50, "a", true);
    play(&mut host, 1, "a");
    unplay(&mut host, 1, "a");
    assert_eq!((said(&host).len(), stream_timer(&host)), (0, None));
    play(&mut host, 2, "a");
    live(&mut host, 50, "a", false);
    assert_eq!(said(&host), ["pull a"]);
    begun(&mut host, 7);
    live(&mut host, 51, "a", true);
    close(&mut host, 2);
    linger(&mut host);
    assert_eq!(said(&host), ["pull a", "remove 7"]);
    // It is still there for a moment.
    play(&mut host, 3, "a");
    assert_eq!(said(&host).len(), 2);
    live(&mut host, 51, "a", false);
    assert_eq!(said(&host).len(), 3);
}

#[test]
fn the_server_is_asked_for_a_few_at_once() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    for id in 1..=ASKED as u64 + 2 {
        play(&mut host, id, &format!("s{id}"));
        assert_eq!(said(&host).len(), (id as usize).min(ASKED));
    }
    let ticket = commands(&host)[0].0;
    answer(&mut host, ticket, json!({ "status": "SUCCESS", "data": { "configId": 1 } }));
    assert_eq!(said(&host).len(), ASKED + 1);
    // Who has left meanwhile is not asked for.
    close(&mut host, ASKED as u64 + 2);
    let ticket = commands(&host)[1].0;
    answer(&mut host, ticket, json!({ "status": "SUCCESS", "data": { "configId": 2 } }));
    assert_eq!(said(&host).len(), ASKED + 1);
}

#[test]
fn the_first_query_travels_where_that_is_wanted() {
    let ask = |host: &mut FakeHost, id, query| {
        let request: RequestId = host.next_request();
        let play = Play {
            request,
            stream_id: 1,
            name: "a",
            query,
            start: PlayStart::Any,
            duration: None,
            reset: true,
        };
        assert_eq!(host.play_as(&conn(id, "edge"), &play), Verdict::Accept);
        work(host);
    };
    for forward in [false, true] {
        let settings = json!({ "origins": ["rtmp://one/live"], "forwardQuery": forward }).to_string();
        let mut host = FakeHost::new::<Edge>(&settings).unwrap();
        ask(&mut host, 1, "token=1&b=/x");
        ask(&mut host, 2, "token=2");
        let asked = commands(&host);
        assert_eq!(asked.len(), 1);
        let expected = if forward { "a?token=1&b=/x" } else { "a" };
        assert_eq!(asked[0].2["targetStreamName"], expected);
        let request = host.next_request();
        let kind = crtmp_plugin::PublishKind::Live;
        let publish = Publish { request, stream_id: 1, name: "b", query: "key=1", kind };
        assert_eq!(host.publish_as(&conn(5, "edge"), &publish), Verdict::Accept);
        live(&mut host, 5, "b", true);
        let pushed = commands(&host).pop().unwrap().2;
        assert_eq!(pushed["targetStreamName"], if forward { "b?key=1" } else { "b" });
    }
}

#[test]
fn origins_take_turns_where_that_is_wanted() {
    let settings = r#"{ "origins": ["rtmp://a/x", "rtmp://b/x"], "roundRobin": true }"#;
    let mut host = FakeHost::new::<Edge>(settings).unwrap();
    for (id, name) in [(1, "one"), (2, "two"), (3, "three")] {
        play(&mut host, id, name);
    }
    let first: Vec<_> = commands(&host).iter().map(|(.., params)| params["uri"][0].clone()).collect();
    assert_eq!(json!(first), json!(["rtmp://a/x", "rtmp://b/x", "rtmp://a/x"]));
}

#[test]
fn what_the_server_does_not_take_is_asked_for_again_as_long_as_somebody_waits() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    play(&mut host, 1, "a");
    for round in 1..3 {
        let ticket = commands(&host).last().unwrap().0;
        answer(&mut host, ticket, json!({ "status": "FAIL", "description": "too many" }));
        assert_eq!(said(&host).len(), round);
        host.timer(AGAIN.0);
        assert_eq!(said(&host).len(), round + 1);
        // The same is said once.
        assert_eq!(host.logs().len(), 1);
    }
    let ticket = commands(&host).last().unwrap().0;
    answer(&mut host, ticket, json!({ "status": "FAIL", "description": "something else" }));
    assert_eq!(host.logs().len(), 2);
    host.timer(AGAIN.0);
    begun(&mut host, 7);
    close(&mut host, 1);
    linger(&mut host);
    assert_eq!(said(&host).last().unwrap(), "remove 7");
}

#[test]
fn what_the_server_does_not_remove_is_removed_later() {
    let mut host = FakeHost::new::<Edge>(r#"{ "origins": ["rtmp://one/live"], "linger": 0 }"#).unwrap();
    play(&mut host, 1, "a");
    begun(&mut host, 7);
    close(&mut host, 1);
    linger(&mut host);
    for times in 1..4 {
        assert_eq!(said(&host)[1..], vec!["remove 7"; times]);
        let ticket = commands(&host).last().unwrap().0;
        let busy = "1024 commands wait for their replies; try again later";
        answer(&mut host, ticket, json!({ "status": "FAIL", "description": busy }));
        host.timer(AGAIN.0);
    }
    // Gone is gone, whoever has done it.
    let ticket = commands(&host).last().unwrap().0;
    let gone = "there is no configuration 7; `listConfig` lists all";
    answer(&mut host, ticket, json!({ "status": "FAIL", "description": gone }));
    assert!(host.timers().is_empty());
    assert_eq!(said(&host).len(), 5);
}

#[test]
fn names_that_the_server_would_not_take_are_refused_at_once() {
    let long = |bytes: usize| "q".repeat(bytes - "a?".len());
    for forward in [false, true] {
        let settings = json!({ "origins": ["rtmp://one/live"], "forwardQuery": forward }).to_string();
        let mut host = FakeHost::new::<Edge>(&settings).unwrap();
        let cases = [
            (long(FAR_NAME - 1), true),
            (long(FAR_NAME), true),
            (long(FAR_NAME + 1), !forward),
            ("a\nb".to_owned(), !forward),
            ("a b/c".to_owned(), true),
        ];
        for (query, good) in cases {
            let request = host.next_request();
            let kind = crtmp_plugin::PublishKind::Live;
            let publish = Publish { request, stream_id: 1, name: "a", query: &query, kind };
            assert_eq!(host.publish_as(&conn(5, "edge"), &publish) == Verdict::Accept, good);
            let (request, start) = (host.next_request(), PlayStart::Any);
            let (name, query) = ("a", query.as_str());
            let play = Play { request, stream_id: 1, name, query, start, duration: None, reset: true };
            assert_eq!(host.play_as(&conn(6, "edge"), &play) == Verdict::Accept, good);
        }
    }
    // Names with spaces and slashes are the same both ways.
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    play(&mut host, 1, "a b/c");
    host.publish(&conn(5, "edge"), "d e/f");
    live(&mut host, 5, "d e/f", true);
    for (_, _, params) in commands(&host) {
        assert_eq!(params["targetStreamName"], params["localStreamName"]);
        assert_eq!(params["uri"][0], "rtmp://one/live");
    }
    assert_eq!(said(&host), ["pull a b/c", "push d e/f"]);
}

#[test]
fn a_server_that_waits_alone_is_sent_away_and_refused_for_a_while() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    assert_eq!(host.play(&server(1), "a"), Verdict::Accept);
    work(&mut host);
    assert_eq!(said(&host), ["pull a"]);
    begun(&mut host, 7);
    linger(&mut host);
    let ended = host.calls().into_iter().any(|call| matches!(call.what, Called::Unplay(1, 1, _)));
    assert!(ended && said(&host).contains(&"remove 7".to_owned()));
    host.unplay(&server(1), "a");
    work(&mut host);
    assert_eq!(stream_timer(&host).unwrap().1, 15_000);
    assert!(matches!(host.play(&server(1), "a"), Verdict::Reject { .. }));
    // Somebody who is no server is served as ever.
    play(&mut host, 2, "a");
    assert_eq!((said(&host).last().unwrap().as_str(), stream_timer(&host)), ("pull a", None));
    begun(&mut host, 8);
    // And where there is something to see, servers count.
    assert_eq!(host.play(&server(3), "a"), Verdict::Accept);
    live(&mut host, 100, "a", true);
    close(&mut host, 2);
    assert_eq!(stream_timer(&host), None);
    live(&mut host, 100, "a", false);
    assert_eq!(stream_timer(&host).unwrap().1, 10_000);
}

#[test]
fn a_server_that_plays_what_an_earlier_instance_had_fetched_is_not_sent_away() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    assert_eq!(host.play(&server(1), "a"), Verdict::Accept);
    work(&mut host);
    let ticket = commands(&host).last().unwrap().0;
    let status = json!({ "current": { "code": STREAMING } });
    let data = json!({ "configId": 7, "connectionId": 100, "status": status });
    answer(&mut host, ticket, json!({ "status": "SUCCESS", "data": data }));
    assert_eq!(stream_timer(&host), None, "it is there to be seen");
    live(&mut host, 100, "a", false);
    assert_eq!(stream_timer(&host).unwrap().1, 10_000);
}

#[test]
fn silence_after_a_server_ends_and_leaves_nothing() {
    let mut host = FakeHost::new::<Edge>(PLAIN).unwrap();
    host.play(&server(1), "a");
    work(&mut host);
    begun(&mut host, 7);
    linger(&mut host);
    host.unplay(&server(1), "a");
    work(&mut host);
    linger(&mut host);
    assert_eq!(stream_timer(&host), None);
    assert_eq!(host.play(&server(1), "a"), Verdict::Accept);
}

#[test]
fn fetched_streams_are_bounded() {
    for most in [1, 2] {
        let settings = json!({ "origins": ["rtmp://one/live"], "maxPulls": most }).to_string();
        let mut host = FakeHost::new::<Edge>(&settings).unwrap();
        for id in 1..=most {
            assert_eq!(play(&mut host, id, &format!("s{id}")), Verdict::Accept);
        }
        let text = format!("the edge fetches maxPulls = {most} streams already");
        assert_eq!(play(&mut host, 9, "other"), Verdict::refuse(text));
        assert_eq!(play(&mut host, 9, "s1"), Verdict::Accept);
    }
}

#[test]
fn mistakes_in_settings_are_named() {
    let origin = "rtmp://h/a";
    let address = |bytes: usize| format!("rtmp://h/{}", "a".repeat(bytes - "rtmp://h/".len()));
    for (settings, expected) in [
        (json!({}), "origins"),
        (json!({ "origins": [] }), "`origins` has 0"),
        (json!({ "origins": vec![origin; ORIGINS + 1] }), "`origins` has 17"),
        (json!({ "origins": [origin, "rtmp://h"] }), "`origins[2]`"),
        (json!({ "origins": ["http://h/a"] }), "`origins[1]`"),
        (json!({ "origins": [origin], "tlsCa": "ca.pem" }), "`tlsCa` is for TLS"),
        (json!({ "origins": ["rtmpx://h/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h/a?b"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp:///a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h/a b"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h h/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h%20/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h:/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h:0/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h:+1/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://h:65536/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://[::1/a"] }), "`origins[1]`"),
        (json!({ "origins": ["rtmp://[::1]1/a"] }), "`origins[1]`"),
        (json!({ "origins": [address(ADDRESS + 1)] }), "`origins[1]`"),
        (json!({ "origins": [origin], "linger": -1 }), "`linger` is -1"),
        (json!({ "origins": [origin], "linger": 3601 }), "`linger` is 3601"),
        (json!({ "origins": [origin], "maxPulls": 0 }), "`maxPulls` is 0"),
        (json!({ "origins": [origin], "maxPulls": 10001 }), "`maxPulls` is 10001"),
        (json!({ "origins": [origin], "publish": "x" }), "publish"),
        (json!({ "origins": [origin], "x": 1 }), "unknown setting `x`"),
    ] {
        let error = FakeHost::new::<Edge>(&settings.to_string()).err().unwrap().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
    for settings in [
        json!({ "origins": vec![origin; ORIGINS] }),
        json!({ "origins": [address(ADDRESS - 1), address(ADDRESS)] }),
        json!({ "origins": ["rtmp://h:1/a", "rtmp://h:65535/a/b/", "rtmp://[::1]/a", "rtmp://u:p@[::1]:99/a"] }),
        json!({ "origins": vec![origin; ORIGINS - 1], "linger": 3600, "maxPulls": 10_000 }),
        json!({ "origins": [origin], "linger": 0, "maxPulls": 1 }),
    ] {
        assert!(FakeHost::new::<Edge>(&settings.to_string()).is_ok(), "{settings}");
    }
}

#[test]
fn origins_are_of_every_scheme_and_keys_for_tls_go_with_them() {
    for scheme in crtmp_plugin::SCHEMES {
        let settings = json!({ "origins": [format!("{scheme}://h/a")] }).to_string();
        assert!(FakeHost::new::<Edge>(&settings).is_ok(), "{scheme}");
    }
    let settings =
        json!({ "origins": ["rtmps://one/live", "rtmp://two/live"], "tlsCa": "ca.pem", "tlsVerify": true });
    let mut host = FakeHost::new::<Edge>(&settings.to_string()).unwrap();
    play(&mut host, 1, "a");
    let (_, name, params) = commands(&host).remove(0);
    assert_eq!(
        (&*name, &params["tlsCa"], &params["tlsVerify"]),
        ("pullStream", &json!("ca.pem"), &json!(true))
    );
    assert!(params.get("tlsPin").is_none());
}
