//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

pub mod peer;

use std::sync::Arc;

use crtmp_media::{HttpHead, HttpStart, LayerSettings, Limits, Piece};

use peer::{Got, Peer, Recorder};

use crate::{client::OutboundHttp, server::InboundHttp};

/// Requests: the split of the input changes nothing of what the nearer layer gets and of what the client hears.
pub fn http_request(data: &[u8]) {
    let settings = settings();
    let new = || {
        Peer::new(|script, now| {
            vec![Box::new(InboundHttp::new(&settings, now)), Box::new(Recorder::new(script))]
        })
    };
    let whole = in_any_split(data, new);
    let got = whole.script.got.borrow();
    assert!(got.len() <= 3 * data.len());
    let mut within = false;
    for got in got.iter() {
        match got {
            Got::Head(head) => {
                assert!(!within, "the one before has ended");
                within = true;
                check_head(head);
                let HttpStart::Request { target, .. } = &head.start else { panic!("a request") };
                assert!(target.starts_with('/'));
            }
            Got::Body(body) => assert!(within && body.len() <= settings.limits.http_body),
            Got::End => assert!(std::mem::take(&mut within)),
        }
    }
    let ends = got.iter().filter(|got| **got == Got::End).count();
    let later = got.iter().any(|got| {
        matches!(got, Got::Head(HttpHead { start: HttpStart::Request { target, .. }, .. })
            if target.starts_with("/later"))
    });
    if !later {
        assert!(whole.ended.is_some() || !whole.chain.is_paused(), "whatever waits goes on");
        let answers = whole.heard.windows(15).filter(|part| *part == b"HTTP/1.1 200 OK").count();
        assert!(answers >= ends, "each request is answered");
    }
}

/// Responses to a request that the first byte chooses: the split of the input changes nothing.
pub fn http_response(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let settings = settings();
    let new = || {
        let mut peer = Peer::new(|script, now| {
            vec![Box::new(OutboundHttp::new(&settings, now)), Box::new(Recorder::new(script))]
        });
        let method = if first & 1 == 0 { "GET" } else { "HEAD" };
        let request = HttpHead::request(method, "/").with("host", "a");
        peer.script.says.borrow_mut().extend([Piece::Begin(Box::new(request)), Piece::End]);
        peer.open();
        assert!(peer.heard.starts_with(method.as_bytes()));
        peer
    };
    let whole = in_any_split(data, new);
    let got = whole.script.got.borrow();
    assert!(got.iter().filter(|got| matches!(got, Got::Head(_))).count() <= 1);
    for got in got.iter() {
        match got {
            Got::Head(head) => check_head(head),
            Got::Body(body) => assert!(first & 1 == 0 && body.len() <= settings.limits.http_body),
            Got::End => {}
        }
    }
}

/// Limits that are soon reached.
fn settings() -> LayerSettings {
    let limits = Limits { http_head: 512, http_headers: 8, http_body: 256, ..Limits::default() };
    LayerSettings { limits: Arc::new(limits), ..LayerSettings::default() }
}

fn check_head(head: &HttpHead) {
    assert!(head.headers.len() <= 9);
    for (name, value) in &head.headers {
        assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(!value.contains(|letter: char| letter.is_control() && letter != '\t'));
    }
}

/// Has a peer say the bytes at once, in two parts, and in small ones, and returns the first one.
fn in_any_split(data: &[u8], new: impl Fn() -> Peer) -> Peer {
    let run = |pieces: &[&[u8]]| {
        let mut peer = new();
        pieces.iter().for_each(|piece| peer.say(piece));
        peer
    };
    let whole = run(&[data]);
    let (first, second) = data.split_at(split_point(data));
    for other in [
        run(&[first, second]),
        run(&data.chunks(7).collect::<Vec<_>>()),
        run(&data.chunks(1).collect::<Vec<_>>()),
    ] {
        assert_eq!(whole.script.got, other.script.got);
        assert_eq!(whole.heard.escape_ascii().to_string(), other.heard.escape_ascii().to_string());
        assert_eq!(whole.ended, other.ended);
    }
    whole
}

/// A place to cut that the input itself decides, so that a fuzzer reaches all of them.
fn split_point(data: &[u8]) -> usize {
    let sum = data.iter().fold(0_usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    sum % (data.len() + 1)
}
