//! The layer `outboundHttp`, with a nearest layer that writes down what it gets.

use std::{sync::Arc, time::Duration};

use crtmp_media::{Fault, HttpHead, LayerSettings, Limits, Piece};

use crate::{
    client::OutboundHttp,
    fuzz::peer::{Got, Peer, Recorder},
    server::InboundHttp,
};

/// A client that has asked.
fn client(request: HttpHead, limits: Limits) -> Peer {
    let settings = LayerSettings { limits: Arc::new(limits), ..LayerSettings::default() };
    let mut peer = Peer::new(|script, now| {
        vec![Box::new(OutboundHttp::new(&settings, now)), Box::new(Recorder::new(script))]
    });
    peer.script.says.borrow_mut().extend(ask(request));
    peer.open();
    peer
}

fn ask(request: HttpHead) -> [Piece; 2] {
    [Piece::Begin(Box::new(request)), Piece::End]
}

fn get() -> HttpHead {
    HttpHead::request("GET", "/a?b").with("host", "c")
}

fn heard(peer: &mut Peer) -> String {
    String::from_utf8(std::mem::take(&mut peer.heard)).unwrap()
}

/// The statuses, bodies and ends that the nearest layer got.
fn got(peer: &Peer) -> Vec<String> {
    let line = |got: &Got| match got {
        Got::Head(head) => format!("{:?} {:?}", head.start, head.length),
        Got::Body(body) => body.escape_ascii().to_string(),
        Got::End => "end".to_owned(),
    };
    peer.script.got.borrow_mut().drain(..).map(|got| line(&got)).collect()
}

#[test]
fn requests_go_out_with_their_framing() {
    let mut peer = client(get(), Limits::default());
    assert_eq!(heard(&mut peer), "GET /a?b HTTP/1.1\r\nhost: c\r\n\r\n");
    let post = |length| HttpHead { length, ..HttpHead::request("POST", "/").with("host", "c") };
    for (length, body, expected) in [
        (Some(0), "", "Content-Length: 0\r\n\r\n"),
        (Some(2), "ab", "Content-Length: 2\r\n\r\nab"),
        (None, "ab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    ] {
        peer.say(b"HTTP/1.1 204 No Content\r\n\r\n");
        let [begin, end] = ask(post(length));
        peer.order([begin, Piece::Owned(body.as_bytes().to_vec()), end]);
        assert_eq!(heard(&mut peer), format!("POST / HTTP/1.1\r\nhost: c\r\n{expected}"));
    }
    assert_eq!(peer.ended, None);
}

#[test]
fn responses_come_as_head_body_and_end_in_any_split() {
    let ok = |length: &str| format!("Response {{ status: 200 }} {length}");
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", vec![ok("Some(3)"), "abc".into(), "end".into()]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", vec![ok("Some(0)"), "end".into()]),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            vec![ok("Some(0)"), "end".into()],
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            vec![ok("None"), "abc".into(), "end".into()],
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", vec![ok("None"), "abc".into()]),
    ] {
        for piece in 1..=response.len() {
            let mut peer = client(get(), Limits::default());
            response.as_bytes().chunks(piece).for_each(|piece| peer.say(piece));
            assert_eq!(got(&peer), expected);
            assert_eq!(peer.ended, None);
        }
    }
}

#[test]
fn some_responses_have_no_body() {
    let head = HttpHead::request("HEAD", "/").with("host", "c");
    for (request, response) in [
        (head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        (get(), "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n"),
        (get(), "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n"),
    ] {
        let mut peer = client(request, Limits::default());
        peer.say(response.as_bytes());
        assert_eq!(got(&peer).len(), 2);
        assert_eq!(peer.ended, None);
    }
}

#[test]
fn a_request_waits_for_the_response_before_it() {
    let mut peer = client(get(), Limits::default());
    peer.order(ask(HttpHead::request("HEAD", "/2").with("host", "c")));
    assert_eq!(heard(&mut peer), "GET /a?b HTTP/1.1\r\nhost: c\r\n\r\n");
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(heard(&mut peer), "HEAD /2 HTTP/1.1\r\nhost: c\r\n\r\n");
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n");
    assert_eq!(got(&peer).len(), 5);
    assert!(peer.ended.is_some(), "the server ends the connection");
}

#[test]
fn responses_that_break_a_rule_end_the_connection() {
    let long = |count: usize| "a".repeat(count);
    for response in [
        "HTTP/2 200 OK\r\n\r\n".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 x\r\n\r\n".to_owned(),
        "HTTP/1.1 600 x\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 x\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\nContent-Length: 1\n\na".to_owned(),
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore".to_owned(),
        format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", long(1024)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(9)),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n{}", long(1025)),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", long(1025)),
    ] {
        let limits = Limits { http_head: 1024, http_headers: 8, http_body: 1024, ..Limits::default() };
        let mut peer = client(get(), limits);
        peer.say(response.as_bytes());
        assert_eq!(peer.ended.as_ref().map(|error| error.fault), Some(Fault::Peer), "{response}");
    }
    let mut unasked = client(get(), Limits::default());
    unasked.say(b"HTTP/1.1 204 x\r\n\r\n");
    unasked.say(b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(unasked.ended.map(|error| error.fault), Some(Fault::Peer));
}

#[test]
fn a_body_is_limited_at_its_limit() {
    let limits = Limits { http_body: 1024, ..Limits::default() };
    for size in [1023, 1024] {
        let mut peer = client(get(), limits.clone());
        let body = "a".repeat(size);
        peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{body}").as_bytes());
        assert_eq!((got(&peer).len(), &peer.ended), (3, &None));
    }
}

#[test]
fn a_response_has_its_time() {
    let mut slow = client(get(), Limits::default());
    for byte in b"HTTP/1.1 200 OK\r\nX: abcdefghi".chunks(1) {
        slow.wait(Duration::from_secs(1));
        slow.say(byte);
    }
    assert_eq!(slow.ended, None);
    slow.wait(Duration::from_secs(1));
    assert_eq!(slow.ended.map(|error| error.fault), Some(Fault::Timeout));
    // A body that ends with the connection may go on as long as something comes.
    let mut live = client(get(), Limits::default());
    live.say(b"HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..5 {
        live.wait(Duration::from_secs(29));
        live.say(b"a");
    }
    assert_eq!(live.ended, None);
    live.wait(Duration::from_secs(30));
    assert!(live.ended.is_some());
    // Who asks nothing has all the time there is.
    let mut idle = client(get(), Limits::default());
    idle.say(b"HTTP/1.1 204 x\r\n\r\n");
    idle.wait(Duration::from_secs(100));
    assert_eq!(idle.ended, None);
}

#[test]
fn a_nearer_layer_that_errs_is_told_apart_from_the_peer() {
    for request in [
        HttpHead::request("GET", "/"),
        get().with("host", "d"),
        get().with("x", "a\r\nb: c"),
        HttpHead::request("G T", "/").with("host", "c"),
        HttpHead::request("GET", "/ HTTP/1.1\r\n\r\n").with("host", "c"),
        HttpHead::request("GET", "http://c/").with("host", "c"),
        HttpHead::response(200, "", 0),
        HttpHead { length: Some(1), ..get() },
    ] {
        let mut peer = client(request, Limits::default());
        peer.wait(Duration::from_millis(10));
        assert_eq!(peer.ended.as_ref().map(|error| error.fault), Some(Fault::Ours));
        assert!(peer.heard.is_empty() || heard(&mut peer).ends_with("Content-Length: 1\r\n\r\n"));
    }
}

/// Client and server, one against the other.
#[test]
fn what_a_client_says_a_server_understands_and_back() {
    let settings = LayerSettings::default();
    for length in [Some(5), None] {
        for target in ["/a", "/chunks"] {
            let mut client = client(get(), Limits::default());
            let mut server = Peer::new(|script, now| {
                vec![Box::new(InboundHttp::new(&settings, now)), Box::new(Recorder::new(script))]
            });
            let post = HttpHead { length, ..HttpHead::request("POST", target).with("host", "c") };
            let [begin, end] = ask(post);
            client.order([begin, Piece::Owned(b"hello".to_vec()), end]);
            for _ in 0..2 {
                server.say(&std::mem::take(&mut client.heard));
                client.say(&std::mem::take(&mut server.heard));
            }
            assert!(got(&server).contains(&"hello".to_owned()));
            let got = got(&client);
            assert_eq!(got[4..], [target.to_owned(), "end".to_owned()], "{got:?}");
            assert_eq!((&client.ended, &server.ended), (&None, &None));
        }
    }
}
