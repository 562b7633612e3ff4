//! The chain `http`, `httpbody` and an echo that knows no HTTP.

use crtmp_media::{Command, Cx, Error, Layer, LayerSettings};

use crate::{bytes::HttpBody, fuzz::peer::Peer, server::InboundHttp};

/// Says what it hears; `?` pauses until a command comes.
struct Echo;

impl Layer for Echo {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        for (index, byte) in data.iter().enumerate() {
            cx.out().write_with(|out| out.push(*byte));
            if *byte == b'?' {
                cx.pause();
                return Ok(index + 1);
            }
        }
        Ok(data.len())
    }

    fn on_command(&mut self, _: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.out().write_with(|out| out.push(b'!'));
        cx.resume();
        Ok(())
    }
}

fn peer() -> Peer {
    let settings = LayerSettings::default();
    let mut peer = Peer::new(|_, now| {
        vec![Box::new(InboundHttp::new(&settings, now)), Box::<HttpBody>::default(), Box::new(Echo)]
    });
    peer.open();
    peer
}

fn heard(peer: &mut Peer) -> String {
    String::from_utf8(std::mem::take(&mut peer.heard)).unwrap()
}

fn response(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn what_is_written_during_a_request_is_its_response() {
    let requests = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n\
        PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
        GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nghi";
    for piece in 1..requests.len() {
        let mut peer = peer();
        requests.chunks(piece).for_each(|piece| peer.say(piece));
        assert_eq!(heard(&mut peer), ["abc", "", "def", ""].map(response).concat());
        assert_eq!(peer.ended, None);
    }
}

#[test]
fn an_answer_that_takes_time_pauses_the_chain() {
    let mut peer = peer();
    peer.say(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab?cPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nd",
    );
    assert_eq!(heard(&mut peer), "");
    assert!(peer.chain.is_paused());
    peer.order([]);
    assert_eq!(heard(&mut peer), ["ab?!c", "d"].map(response).concat());
}

#[test]
fn what_is_written_unasked_waits_for_the_next_request() {
    let mut peer = peer();
    peer.order([]);
    assert_eq!(heard(&mut peer), "");
    peer.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(heard(&mut peer), response("!"));
    peer.order([]);
    peer.say(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(heard(&mut peer), response("!").trim_end_matches('!'));
}

#[test]
fn other_methods_and_packed_bodies_are_refused() {
    let mut peer = peer();
    for method in ["OPTIONS", "TRACE", "DELETE", "get", "PATCH"] {
        peer.say(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na").as_bytes());
        assert_eq!(
            heard(&mut peer),
            "HTTP/1.1 405 Method Not Allowed\r\nallow: GET, HEAD, POST, PUT\r\nContent-Length: 0\r\n\r\n"
        );
    }
    peer.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(heard(&mut peer), "HTTP/1.1 415 Unsupported Media Type\r\nContent-Length: 0\r\n\r\n");
    peer.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(heard(&mut peer), response("a"));
}
