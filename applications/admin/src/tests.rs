//! Sessions of all kinds, without a server.

use crtmp_plugin::Answer;
use crtmp_plugin::testing::{Called, ConnInfo, FakeHost, conn};

use super::*;

const SECRET: &str = r#"{"secret":"open sesame"}"#;

fn session(id: u64, peer: &str, chain: &str) -> ConnInfo {
    ConnInfo {
        peer: format!("{peer}:4000"),
        local: format!("{peer}:1112"),
        chain: chain.to_owned(),
        ..conn(id, "")
    }
}

fn text(id: u64) -> ConnInfo {
    session(id, "127.0.0.1", "inboundTxtCli")
}

fn run(host: &mut FakeHost, conn: &ConnInfo, command: &str, params: Value, http: Option<Value>) -> Reply {
    let mut args = vec![Value::from(params.to_string())];
    args.extend(http.map(|http| Value::from(http.to_string())));
    host.message(conn, command, &args)
}

fn code(reply: &Reply) -> &str {
    match reply {
        Reply::Error(value) => value["code"].as_str().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_go_to_the_server_and_replies_come_back_untouched() {
    let mut host = FakeHost::new::<Admin>("{}").unwrap();
    let conn = text(1);
    assert_eq!(host.connect(&conn), Verdict::Accept);
    assert_eq!(run(&mut host, &conn, "listStreams", json!({ "a": "1" }), None), Reply::Later);
    let request = host.last_request();
    let call = host.calls().pop().unwrap();
    assert_eq!(call.what, Called::Command("listStreams".to_owned(), json!({ "a": "1" })));
    let reply = json!({ "status": "SUCCESS", "description": "", "data": [18_446_744_073_709_551_615_u64] });
    host.answer_call(call.ticket, Ok(reply.clone()));
    assert_eq!(host.answer_to(request), Some(Answer::Reply(Reply::Result(reply.to_string().into()))));
}

#[test]
fn quit_ends_the_session_after_its_answer() {
    let mut host = FakeHost::new::<Admin>("{}").unwrap();
    let conn = text(1);
    host.connect(&conn);
    run(&mut host, &conn, "QUIT", json!({}), None);
    let call = host.calls().pop().unwrap();
    host.answer_call(call.ticket, Ok(json!({ "status": "SUCCESS" })));
    assert_eq!(host.closed().len(), 1);
}

#[test]
fn a_quit_that_is_refused_ends_nothing() {
    let mut host = FakeHost::new::<Admin>("{}").unwrap();
    let conn = text(1);
    host.connect(&conn);
    run(&mut host, &conn, "quit", json!({ "now": "1" }), None);
    let call = host.calls().pop().unwrap();
    host.answer_call(
        call.ticket,
        Ok(json!({ "status": "FAIL", "description": "`quit` takes no parameters" })),
    );
    assert!(host.closed().is_empty());
}

#[test]
fn once_a_secret_is_set_it_has_to_be_shown() {
    let mut host = FakeHost::new::<Admin>(SECRET).unwrap();
    let far = session(2, "192.0.2.9", "inboundTxtCli");
    assert_eq!(host.connect(&far), Verdict::Accept);
    assert_eq!(code(&run(&mut host, &far, "version", json!({}), None)), "Auth.Required");
    assert_eq!(run(&mut host, &far, "auth", json!({ "secret": "wrong" }), None), Reply::Later);
    let request = host.last_request();
    assert_eq!(host.answer_to(request), None, "a guess waits");
    host.timer(1);
    assert!(matches!(host.answer_to(request), Some(Answer::Reply(reply)) if code(&reply) == "Auth.Required"));
    assert!(matches!(
        run(&mut host, &far, "auth", json!({ "secret": "open sesame" }), None),
        Reply::Result(_)
    ));
    assert_eq!(run(&mut host, &far, "version", json!({}), None), Reply::Later);
    // Another session has to show it for itself.
    let second = session(3, "192.0.2.9", "inboundTxtCli");
    host.connect(&second);
    assert_eq!(code(&run(&mut host, &second, "version", json!({}), None)), "Auth.Required");
}

#[test]
fn a_command_that_needs_more_says_so_in_a_way_that_faces_understand() {
    let mut host = FakeHost::new::<Admin>(SECRET).unwrap();
    let conn = text(1);
    host.connect(&conn);
    run(&mut host, &conn, "closeConnection", json!({ "id": 1 }), None);
    let request = host.last_request();
    let call = host.calls().pop().unwrap();
    let refusal = json!({ "status": "FAIL", "description": "may not", "data": { "needsSecret": true } });
    host.answer_call(call.ticket, Ok(refusal));
    let Some(Answer::Reply(reply)) = host.answer_to(request) else { panic!("an answer") };
    assert_eq!(code(&reply), "Auth.Required");
    let Reply::Error(error) = reply else { panic!("an error") };
    assert!(error.to_string().contains("may not: show the secret by `auth secret=…`"), "{error}");
}

#[test]
fn auth_with_mistakes_comes_to_the_table_of_commands() {
    let mut host = FakeHost::new::<Admin>(SECRET).unwrap();
    let conn = text(1);
    host.connect(&conn);
    for params in
        [json!({}), json!({ "secret": ["a", "b"] }), json!({ "secret": "open sesame", "more": "1" })]
    {
        run(&mut host, &conn, "auth", params.clone(), None);
        assert_eq!(host.calls().pop().unwrap().what, Called::Command("auth".to_owned(), params));
    }
    assert!(matches!(
        run(&mut host, &conn, "Auth", json!({ "SECRET": "open sesame" }), None),
        Reply::Result(_)
    ));
}

#[test]
fn http_shows_the_secret_with_each_request_and_only_in_its_header() {
    let mut host = FakeHost::new::<Admin>(SECRET).unwrap();
    let far = session(2, "192.0.2.9", "inboundHttpJsonCli");
    host.connect(&far);
    let with = |header: &str| Some(json!({ "method": "POST", "authorization": header, "readOnly": false }));
    let without = || Some(json!({ "method": "POST", "readOnly": false }));
    assert_eq!(run(&mut host, &far, "version", json!({}), with("Bearer open sesame")), Reply::Later);
    for wrong in ["Basic open sesame", "open sesame", "Bearer"] {
        assert_eq!(
            code(&run(&mut host, &far, "version", json!({}), with(wrong))),
            "Auth.Required",
            "{wrong}"
        );
    }
    assert_eq!(code(&run(&mut host, &far, "version", json!({}), without())), "Auth.Required");
    let in_parameters = json!({ "secret": "open sesame" });
    assert_eq!(code(&run(&mut host, &far, "version", in_parameters, without())), "Auth.Required");
    for _ in 0..5 {
        run(&mut host, &far, "version", json!({}), with("Bearer guess"));
    }
    assert_eq!(
        code(&run(&mut host, &far, "version", json!({}), with("Bearer open sesame"))),
        "Auth.Throttled"
    );
}

/// Rights of this machine are not those of whoever its proxy asks for.
#[test]
fn what_a_proxy_passes_on_only_looks_without_the_secret() {
    let about = |proxied: bool| json!({ "method": "POST", "readOnly": false, "proxied": proxied });
    let shown = || json!({ "method": "POST", "proxied": true, "authorization": "Bearer open sesame" });
    for (settings, about, why) in [
        ("", about(false), Some("no: no secret is set: see `secret` of the application")),
        ("", about(true), Some("no: what a proxy passes on only looks, unless it shows the secret; set one")),
        (SECRET, about(true), Some("no: show the secret: `Authorization: Bearer <secret>`")),
        (SECRET, shown(), None),
    ] {
        let mut host = FakeHost::new::<Admin>(settings).unwrap();
        let conn = session(1, "127.0.0.1", "inboundHttpJsonCli");
        host.connect(&conn);
        assert_eq!(run(&mut host, &conn, "reload", json!({}), Some(about)), Reply::Later);
        let (request, call) = (host.last_request(), host.calls().pop().unwrap());
        let refusal = json!({ "status": "FAIL", "description": "no", "data": { "needsSecret": true } });
        host.answer_call(call.ticket, Ok(refusal));
        let Some(Answer::Reply(reply)) = host.answer_to(request) else { panic!("no answer") };
        match why {
            Some(why) => assert_eq!(reply, auth_required(why)),
            None => assert!(matches!(reply, Reply::Result(_)), "{reply:?}"),
        }
    }
}

/// The secret is right, the method is not.
#[test]
fn a_get_that_would_change_something_is_told_to_be_a_post() {
    let shown = || json!({ "method": "GET", "readOnly": true, "authorization": "Bearer open sesame" });
    let not_shown = || json!({ "method": "GET", "readOnly": true });
    for (settings, about, expected) in [
        (SECRET, shown(), "Post.Needed"),
        (SECRET, not_shown(), "Auth.Required"),
        ("", not_shown(), "Post.Needed"),
    ] {
        let mut host = FakeHost::new::<Admin>(settings).unwrap();
        let conn = session(1, "127.0.0.1", "inboundHttpJsonCli");
        host.connect(&conn);
        assert_eq!(run(&mut host, &conn, "reload", json!({}), Some(about)), Reply::Later);
        let (request, call) = (host.last_request(), host.calls().pop().unwrap());
        let refusal = json!({ "status": "FAIL", "description": "no", "data": { "needsSecret": true } });
        host.answer_call(call.ticket, Ok(refusal));
        let Some(Answer::Reply(reply)) = host.answer_to(request) else { panic!("no answer") };
        assert_eq!(code(&reply), expected);
    }
}

#[test]
fn wrong_secrets_are_logged_now_and_then() {
    let mut host = FakeHost::new::<Admin>(r#"{"secret":"open sesame","maxFailures":9}"#).unwrap();
    let conn = text(1);
    host.connect(&conn);
    for seconds in [0, 1, 8, 1] {
        host.advance(Duration::from_secs(seconds));
        run(&mut host, &conn, "auth", json!({ "secret": "guess" }), None);
    }
    let logs: Vec<String> = host.logs().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        logs,
        [
            "a wrong secret from 127.0.0.1:4000",
            "a wrong secret from 127.0.0.1:4000, after 2 that were not logged"
        ]
    );
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let mut host = FakeHost::new::<Admin>(r#"{"maxSessions":1}"#).unwrap();
    let refused = |verdict| matches!(verdict, Verdict::Reject { .. });
    assert!(refused(host.connect(&session(1, "192.0.2.9", "inboundTxtCli"))), "no secret is set");
    assert!(refused(host.connect(&session(2, "127.0.0.1", "inboundRtmp"))));
    assert_eq!(host.connect(&text(3)), Verdict::Accept);
    assert!(refused(host.connect(&text(4))), "one at a time");
    host.close(&text(3));
    assert_eq!(host.connect(&text(5)), Verdict::Accept);
}

/// Nobody who does not know the secret shuts out whoever does.
#[test]
fn sessions_without_the_secret_make_room() {
    let settings = r#"{"secret":"open sesame","maxSessions":4,"authSeconds":5}"#;
    let mut host = FakeHost::new::<Admin>(settings).unwrap();
    let others: Vec<ConnInfo> = (1..=3).map(text).collect();
    for conn in &others {
        assert_eq!(host.connect(conn), Verdict::Accept);
    }
    let operator = session(9, "192.0.2.9", "inboundTxtCli");
    assert_eq!(host.connect(&operator), Verdict::Accept);
    assert_eq!(host.closed(), [(1, String::new(), "others have come".to_owned())]);
    assert_eq!(code(&run(&mut host, &others[0], "version", json!({}), None)), "Auth.Required");
    let show = || json!({ "secret": "open sesame" });
    assert_eq!(code(&run(&mut host, &others[0], "auth", show(), None)), "Auth.Required", "it is over");
    assert!(matches!(run(&mut host, &operator, "auth", show(), None), Reply::Result(_)));

    // Who does what it may stays; who waits goes, whatever it guesses.
    host.advance(Duration::from_secs(4));
    for (conn, command, answer) in [
        (&others[1], "version", json!({ "status": "SUCCESS", "description": "", "data": null })),
        (
            &others[2],
            "reload",
            json!({ "status": "FAIL", "description": "no", "data": { "needsSecret": true } }),
        ),
    ] {
        assert_eq!(run(&mut host, conn, command, json!({}), None), Reply::Later);
        let call = host.calls().pop().unwrap();
        host.answer_call(call.ticket, Ok(answer));
    }
    run(&mut host, &others[2], "auth", json!({ "secret": "guess" }), None);
    host.advance(Duration::from_secs(1));
    host.timer(0);
    let why = "the secret was not shown within authSeconds";
    assert_eq!(host.closed()[1..], [(3, String::new(), why.to_owned())]);
    host.advance(Duration::from_secs(4));
    host.timer(0);
    assert_eq!(host.closed()[2..], [(2, String::new(), why.to_owned())]);
    assert!(host.timers().iter().all(|(number, ..)| *number != 0), "nobody has to be looked at");
    assert_eq!(run(&mut host, &operator, "version", json!({}), None), Reply::Later);
}

#[test]
fn mistakes_in_the_settings_are_named() {
    for (settings, expected) in [
        (r#"{"secret":"short"}"#, "`secret` needs at least 8 bytes"),
        (r#"{"maxSessions":0}"#, "`maxSessions` must be at least 1"),
        (r#"{"maxFailures":0}"#, "`maxFailures` must be at least 1"),
        (r#"{"authSeconds":0}"#, "`authSeconds` must be from 1 to 3600"),
        (r#"{"authSeconds":3601}"#, "`authSeconds` must be from 1 to 3600"),
        (r#"{"secrets":"x"}"#, "unknown setting `secrets`"),
    ] {
        let error = FakeHost::new::<Admin>(settings).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_document_lists_the_settings() {
    const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md"));
    let error = |settings: &str| FakeHost::new::<Admin>(settings).err().map(|error| error.to_string());
    let table = DOCUMENT.split("Settings of `admin`").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let listed: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    let known = error(r#"{"x":1}"#).unwrap();
    assert_eq!(known.split(": ").nth(1).unwrap(), listed.join(", "));

    let Settings { secret, max_sessions, max_failures, lockout_seconds, auth_seconds } = Settings::default();
    assert_eq!((secret, rows[0][3]), (None, "none"));
    assert_eq!(rows[0][4], format!("{} bytes or more", guard::SHORTEST));
    let defaults = [max_sessions as u64, max_failures as u64, lockout_seconds, auth_seconds];
    for (row, default) in rows[1..].iter().zip(defaults) {
        let (key, range) = (row[1], row[4]);
        assert_eq!(row[3], default.to_string(), "{key}");
        let fits = |value: u64| error(&format!("{{\"{key}\":{value}}}")).is_none();
        let numbers: Vec<u64> = range.split(' ').filter_map(|word| word.parse().ok()).collect();
        let (least, most) = (numbers[0], numbers.get(1));
        assert!(fits(least) && least.checked_sub(1).is_none_or(|less| !fits(less)), "{key}: {range}");
        match most {
            Some(&most) => assert!(fits(most) && !fits(most + 1), "{key}: {range}"),
            None => assert!(fits(u64::from(u32::MAX)), "{key}: {range}"),
        }
    }
}
