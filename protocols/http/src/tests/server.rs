//! The layer `http`, with a nearest layer that writes down what it gets.

use std::{sync::Arc, time::Duration};

use crtmp_media::{Fault, HttpHead, LayerSettings, Limits, Piece};

use crate::{
    fuzz::peer::{Got, Peer, Recorder},
    server::InboundHttp,
};

fn peer() -> Peer {
    peer_within(Limits::default())
}

fn peer_within(limits: Limits) -> Peer {
    let settings = LayerSettings { limits: Arc::new(limits), ..LayerSettings::default() };
    Peer::new(|script, now| vec![Box::new(InboundHttp::new(&settings, now)), Box::new(Recorder::new(script))])
}

/// What has been sent to the peer since the last time.
fn heard(peer: &mut Peer) -> String {
    String::from_utf8(std::mem::take(&mut peer.heard)).unwrap()
}

/// What the nearest layer got, as short lines.
fn got(peer: &Peer) -> Vec<String> {
    let line = |got: &Got| match got {
        Got::Head(head) => format!("{:?} {:?}", head.start, head.length),
        Got::Body(body) => body.escape_ascii().to_string(),
        Got::End => "end".to_owned(),
    };
    peer.script.got.borrow_mut().drain(..).map(|got| line(&got)).collect()
}

fn head(method: &str, target: &str, length: &str) -> String {
    format!("Request {{ method: {method:?}, target: {target:?} }} {length}")
}

/// The status of the response that a peer hears to these bytes, and nothing else.
fn status(bytes: &[u8], limits: &Limits) -> String {
    let mut statuses = Vec::new();
    for piece in [bytes.len().max(1), 1, 3] {
        let mut peer = peer_within(limits.clone());
        bytes.chunks(piece).for_each(|piece| peer.say(piece));
        let heard = heard(&mut peer);
        let status = heard.split(' ').nth(1).unwrap_or("none").to_owned();
        if status != "200" && status != "none" {
            assert!(heard.contains("Connection: close\r\n") && heard.ends_with("\r\n\r\n"), "{heard}");
            assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
            assert_eq!(peer.ended.as_ref().unwrap().fault, Fault::Peer);
            assert!(!got(&peer).contains(&"end".to_owned()));
        }
        statuses.push(status);
    }
    assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
    statuses.remove(0)
}

#[test]
fn requests_that_break_a_rule_get_their_status_and_the_end() {
    let long = |count: usize| "a".repeat(count);
    let http_1_1 = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}");
    for (expected, request) in [
        // What is well.
        ("200", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("200", "\r\n\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned()),
        ("200", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("200", "GET /a%00%zz?b=&b=%2e%2e HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n".to_owned()),
        ("200", "GET http://a.b:1/c HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("200", format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", long(1024))),
        ("200", "frob / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("200", http_1_1("X: a\tb é\r\n\r\n")),
        ("200", http_1_1("Content-Length: 0003\r\n\r\nabc")),
        ("200", http_1_1("Transfer-Encoding:\t Chunked \r\n\r\n1\r\na\r\n0\r\n\r\n")),
        // Lines.
        ("414", format!("GET /{}", long(17_000))),
        ("431", http_1_1(&format!("X: {}", long(17_000)))),
        ("431", http_1_1(&"X: y\r\n".repeat(101))),
        ("400", http_1_1("no colon\r\n\r\n")),
        ("400", http_1_1("X: y\n\r\n")),
        ("400", "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        ("400", http_1_1("X: a\rb\r\n\r\n")),
        ("400", "GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_owned()),
        ("400", http_1_1("X: a\r\n b\r\n\r\n")),
        ("400", http_1_1("X: a\r\n\tb\r\n\r\n")),
        ("400", http_1_1("X : a\r\n\r\n")),
        ("400", http_1_1(": a\r\n\r\n")),
        ("400", http_1_1("X: a\0b\r\n\r\n")),
        ("400", http_1_1("X: \x1b[2J\r\n\r\n")),
        ("400", http_1_1("X: \u{85}\r\n\r\n")),
        ("400", "GET\r\n\r\n".to_owned()),
        ("400", "GET /\r\n\r\n".to_owned()),
        ("400", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", " GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "\x16\x03\x01\x02\0\x01\0\r\n\r\n".to_owned()),
        // Versions.
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("505", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned()),
        ("505", "GET / HTTP/0.9\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.10\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / http/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / RTSP/1.0\r\nHost: a\r\n\r\n".to_owned()),
        // Targets and hosts.
        ("400", "GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET http://u:p@a/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("501", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET http://a/b HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a, b:1:2\r\n\r\n".to_owned()),
        // Lengths.
        ("400", http_1_1("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")),
        ("400", http_1_1("Content-Length: 3\r\ncontent-length: 4\r\n\r\nabcd")),
        ("400", http_1_1("Content-Length: 3, 3\r\n\r\nabc")),
        ("400", http_1_1("Content-Length: -1\r\n\r\n")),
        ("400", http_1_1("Content-Length: +5\r\n\r\n")),
        ("400", http_1_1("Content-Length: 0x10\r\n\r\n")),
        ("400", http_1_1("Content-Length:\r\n\r\n")),
        ("400", http_1_1("Content-Length: 1 2\r\n\r\n")),
        ("400", http_1_1("Content-Length: 18446744073709551616\r\n\r\n")),
        ("413", http_1_1("Content-Length: 18446744073709551615\r\n\r\n")),
        ("413", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n".to_owned()),
        ("400", http_1_1("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")),
        // Codings.
        ("501", http_1_1("Transfer-Encoding: gzip\r\n\r\n")),
        ("501", http_1_1("Transfer-Encoding: identity\r\n\r\n")),
        ("501", http_1_1("Transfer-Encoding: gzip, chunked\r\n\r\n")),
        ("501", http_1_1("Transfer-Encoding: xchunked\r\n\r\n")),
        ("501", http_1_1("Transfer-Encoding: \"chunked\"\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: chunked, chunked\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: chunked, gzip\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: chunked,\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding:\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding: \x0bchunked\r\n\r\n")),
        ("400", http_1_1("Transfer-Encoding : chunked\r\n\r\n")),
        ("400", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("400", http_1_1("Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n")),
        ("413", http_1_1("Transfer-Encoding: chunked\r\n\r\n100001\r\n")),
        // Expectations.
        ("417", http_1_1("Expect: 200-ok\r\n\r\n")),
    ] {
        let shown: String = request.chars().take(200).collect();
        assert_eq!(status(request.as_bytes(), &Limits::default()), expected, "{shown:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", &Limits::default()), "400");
}

#[test]
fn a_body_is_limited_at_its_limit() {
    let limits = Limits { http_body: 1024, ..Limits::default() };
    for (size, expected) in [(1023, "200"), (1024, "200"), (1025, "413")] {
        let body = "a".repeat(size);
        let length = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}");
        assert_eq!(status(length.as_bytes(), &limits), expected);
        let chunks = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(status(chunks.as_bytes(), &limits), expected);
    }
}

#[test]
fn a_request_comes_as_head_body_and_end_in_any_split() {
    let request = b"POST /a?b HTTP/1.1\r\nHost: c\r\nX-Y: Z \r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x\r\nde\r\n0\r\nt: u\r\n\r\n";
    for at in 0..request.len() {
        let mut peer = peer();
        peer.say(&request[..at]);
        peer.say(&request[at..]);
        let Got::Head(first) = peer.script.got.borrow()[0].clone() else { panic!("a head") };
        assert_eq!((first.header("host"), first.header("x-y")), (Some("c"), Some("Z")));
        assert_eq!(got(&peer), [head("POST", "/a?b", "None").as_str(), "abcde", "end"]);
        assert_eq!(
            heard(&mut peer),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 4\r\n\r\n/a?b"
        );
        assert_eq!(peer.ended, None);
    }
}

#[test]
fn a_target_that_names_its_host_replaces_the_field() {
    for (target, path) in [("http://b:1/c?d", "/c?d"), ("HTTPS://b:1", "/"), ("http://b:1?d", "/?d")] {
        let mut peer = peer();
        peer.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let Got::Head(first) = peer.script.got.borrow()[0].clone() else { panic!("a head") };
        assert_eq!(first.header("host"), Some("b:1"));
        assert_eq!(got(&peer)[0], head("GET", path, "Some(0)"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut peer = peer();
    let requests: String =
        (0..10_000).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    requests.as_bytes().chunks(16 * 1024).for_each(|piece| peer.say(piece));
    let heard = heard(&mut peer);
    let bodies = heard.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP").next().unwrap());
    assert!(bodies.eq((0..10_000).map(|number| format!("/{number}"))));
    assert_eq!(peer.ended, None);
}

#[test]
fn a_request_waits_for_the_response_before_it() {
    let mut peer = peer();
    peer.say(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n");
    assert_eq!(got(&peer), [head("GET", "/later", "Some(0)").as_str(), "end"]);
    assert!(peer.chain.is_paused(), "nothing more is read");
    peer.wait(Duration::from_secs(100));
    assert_eq!((heard(&mut peer).as_str(), &peer.ended), ("", &None), "time does not count meanwhile");
    peer.order([Piece::Begin(Box::new(HttpHead::response(204, "", 0)))]);
    assert_eq!(heard(&mut peer), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(got(&peer).len(), 0);
    peer.order([Piece::End]);
    assert_eq!(got(&peer), [head("GET", "/2", "Some(0)").as_str(), "end"]);
    let heard = heard(&mut peer);
    assert!(heard.contains("\r\n\r\n/2HTTP/1.1 400 Bad Request\r\n"), "{heard}");
    assert!(peer.ended.is_some());
}

#[test]
fn a_paused_chain_gets_the_end_when_it_goes_on() {
    let mut peer = peer();
    peer.say(
        b"POST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let second = head("GET", "/", "Some(0)");
    assert_eq!(got(&peer), [head("POST", "/pause", "Some(2)").as_str(), "ab", "end", second.as_str(), "end"]);
}

#[test]
fn a_connection_is_kept_as_both_sides_say() {
    for (request, line, ends) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", "Connection: close\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "Connection: keep-alive\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "Connection: close\r\n", true),
    ] {
        let mut peer = peer();
        peer.say(request.as_bytes());
        // Nothing after the last request is looked at.
        peer.say(b"\n");
        let heard = heard(&mut peer);
        let rest = if ends {
            ""
        } else {
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        };
        assert_eq!(
            heard,
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 1\r\n{line}\r\n/{rest}")
        );
        assert!(peer.ended.is_some());
    }
    let mut peer = peer();
    peer.say(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = HttpHead::response(200, "", 0).with("connection", "close");
    peer.order([Piece::Begin(Box::new(response)), Piece::End]);
    assert_eq!(heard(&mut peer), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(peer.ended.is_some(), "the nearer layer may end it too");
}

#[test]
fn a_body_of_unknown_length_goes_out_as_the_client_knows_it() {
    let body = "/chunks";
    for (request, expected) in [
        (
            "GET /chunks HTTP/1.1\r\nHost: a\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n7\r\n/chunks\r\n0\r\n\r\n",
        ),
        ("GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: close\r\n\r\n/chunks"),
        ("HEAD /chunks HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n"),
        ("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "Content-Length: 2\r\n\r\n"),
    ] {
        let mut peer = peer();
        peer.say(request.as_bytes());
        assert_eq!(heard(&mut peer), format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{expected}"));
        assert_eq!(peer.ended.is_some(), request.contains("1.0"), "{body}");
    }
}

#[test]
fn who_waits_for_a_word_gets_it() {
    let mut peer = peer();
    peer.say(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(heard(&mut peer), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.say(b"ab");
    assert!(heard(&mut peer).starts_with("HTTP/1.1 200 OK\r\n"));
    peer.say(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert!(heard(&mut peer).starts_with("HTTP/1.1 200 OK\r\n"), "there is no body to wait for");
    peer.say(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(heard(&mut peer), "", "HTTP/1.0 does not know it");
}

#[test]
fn silence_ends_a_connection_and_slowness_a_request() {
    let idle = Duration::from_secs(30);
    let step = Duration::from_millis(10);
    let mut quiet = peer();
    quiet.wait(idle - step);
    assert_eq!(quiet.ended, None);
    quiet.wait(step);
    assert_eq!(quiet.ended.as_ref().unwrap().fault, Fault::Timeout);
    assert_eq!(heard(&mut quiet), "", "nothing was asked");
    // The time of a request counts from its first byte, whatever trickles in.
    for request in
        ["GET / HTTP/1.1\r\nHost: aaaaaaaaaa", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"]
    {
        let mut slow = peer();
        slow.wait(Duration::from_secs(20));
        slow.say(request.as_bytes());
        for _ in 0..29 {
            slow.wait(Duration::from_secs(1));
            slow.say(b"a");
        }
        assert_eq!(slow.ended, None);
        slow.wait(Duration::from_secs(1));
        assert_eq!(slow.ended.as_ref().unwrap().fault, Fault::Timeout);
        assert_eq!(
            heard(&mut slow),
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    // After a response the silence counts from there.
    let mut kept = peer();
    for _ in 0..5 {
        kept.wait(Duration::from_secs(29));
        kept.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(kept.ended, None);
    kept.wait(idle);
    assert!(kept.ended.is_some());
    // Where nothing is read, silence means nothing.
    let mut unread = peer();
    unread.chain.set_unread(true);
    unread.wait(Duration::from_secs(100));
    assert_eq!(unread.ended, None);
}

#[test]
fn an_answer_may_come_before_the_end_of_its_request() {
    let mut peer = peer();
    peer.say(b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    peer.order([Piece::Begin(Box::new(HttpHead::response(404, "", 0))), Piece::End]);
    assert!(heard(&mut peer).starts_with("HTTP/1.1 404 "));
    peer.say(b"bcGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(heard(&mut peer).starts_with("HTTP/1.1 200 "));
    assert_eq!(peer.ended, None);
}

#[test]
fn a_nearer_layer_that_errs_is_told_apart_from_the_peer() {
    let begin = |head: HttpHead| Piece::Begin(Box::new(head));
    let bytes = |bytes: &[u8]| Piece::Owned(bytes.to_vec());
    let ok = || HttpHead::response(200, "", 2);
    for (says, expected) in [
        (vec![begin(ok().with("x", "a\r\nset-cookie: b"))], "500"),
        (vec![begin(ok().with("x", "a\nb"))], "500"),
        (vec![begin(ok().with("x y", "a"))], "500"),
        (vec![begin(ok().with("", "a"))], "500"),
        (vec![begin(HttpHead::response(101, "", 0))], "500"),
        (vec![begin(HttpHead::response(600, "", 0))], "500"),
        (vec![begin(HttpHead::request("GET", "/"))], "500"),
        (vec![bytes(b"a")], "500"),
        (vec![Piece::End], "500"),
        (vec![begin(ok()), bytes(b"abc")], "200"),
        (vec![begin(ok()), bytes(b"a"), Piece::End], "200"),
        (vec![begin(ok()), begin(ok())], "200"),
        (vec![begin(ok()), bytes(b"ab"), Piece::End, bytes(b"c")], "200"),
    ] {
        let mut peer = peer();
        peer.say(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.order(says);
        let heard = heard(&mut peer);
        assert_eq!(heard.split(' ').nth(1), Some(expected), "{heard}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1);
        assert!(!heard.contains("cookie"));
        assert_eq!(peer.ended.as_ref().unwrap().fault, Fault::Ours);
    }
    let mut unasked = peer();
    unasked.order([begin(ok())]);
    assert_eq!(unasked.ended.as_ref().unwrap().fault, Fault::Ours);
}

#[test]
fn what_the_nearer_layer_says_of_framing_is_not_passed_on() {
    let mut peer = peer();
    peer.say(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = HttpHead::response(200, "", 1)
        .with("content-length", "7")
        .with("transfer-encoding", "chunked")
        .with("connection", "upgrade")
        .with("x-a", "b");
    peer.order([Piece::Begin(Box::new(response)), Piece::Owned(b"a".to_vec()), Piece::End]);
    assert_eq!(heard(&mut peer), "HTTP/1.1 200 OK\r\nx-a: b\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(peer.ended, None);
}
