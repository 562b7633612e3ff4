//! The end of a session, and what comes after it.

use super::*;

fn close() -> Order {
    Order::Close { code: "NetConnection.Connect.Closed".into(), text: "bye".into() }
}

#[test]
fn a_connected_peer_is_told_of_the_end() {
    for make in [Peer::connected, Peer::publishing, Peer::playing] {
        let mut peer = make(Limits::default());
        peer.order(close());
        assert_eq!(peer.said(), ["onStatus NetConnection.Connect.Closed"]);
        peer.order(close());
        assert_eq!(peer.said(), [""; 0], "once");
        assert_eq!(peer.due(), None);
    }
    for make in [Peer::new, Peer::shaken] {
        let mut peer = make(Limits::default());
        peer.order(close());
        assert_eq!(peer.said(), [""; 0], "nothing can be said before connect");
        assert_eq!(peer.due(), None);
    }
}

/// Verdicts, commands and media that arrive after the end have no effect.
#[test]
fn after_the_end_nothing_happens() {
    let mut peer = Peer::publishing(Limits::default());
    peer.call(0, "createStream", 5.0, &[]);
    peer.call(2, "publish", 6.0, &["other".into()]);
    peer.send(&sound(2, 0));
    peer.call(0, "chat", 7.0, &[]);
    peer.order(close());
    peer.forget();
    peer.accept();
    peer.accept();
    let slot = crtmp_media::StreamSlot(1);
    peer.order(Order::StopPublish { slot, code: "NetStream.Publish.BadName".into(), text: String::new() });
    peer.send(&sound(1, 0));
    peer.call(0, "deleteStream", 0.0, &[1.0.into()]);
    peer.call(0, "connect", 8.0, &[]);
    peer.bytes(&[0xFF; 5000]).unwrap();
    assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
    peer.wait(1_000_000).unwrap();
}

/// CHK-21: a peer that goes in the middle of anything leaves nothing behind.
#[test]
fn what_is_unfinished_at_the_end_is_nothing() {
    let mut peer = Peer::publishing(Limits::default());
    let mut bytes = peer.chunks(&key_frame(1, 0x0100_0000, 300));
    bytes.extend(peer.chunks(&sound(1, 0x0100_0000)));
    for cut in 0..bytes.len() {
        let mut peer = Peer::publishing(Limits::default());
        peer.bytes(&bytes[..cut]).unwrap();
        assert!(peer.events().len() < 2);
        assert_eq!(peer.said(), [""; 0]);
        peer.order(close());
        assert_eq!(peer.events(), [""; 0]);
    }
}

/// A stream's media come before the error that ends it.
#[test]
fn what_came_before_an_error_counts() {
    let mut peer = Peer::publishing(Limits::default());
    let mut bytes = peer.chunks(&sound(1, 0));
    bytes.extend([0xC9; 4]);
    let rule = peer.bytes(&bytes).unwrap_err().rule;
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
    assert!(rule.starts_with("chunk stream after byte "), "{rule}");
    assert!(
        rule.ends_with("chunk stream 9 begins with a chunk of format 3, which has no full header"),
        "{rule}"
    );
}

/// What an application answers may be too large for a message; then its caller is told that.
#[test]
fn an_answer_that_no_message_can_hold_is_an_error() {
    let mut peer = Peer::connected(Limits::default());
    peer.call(0, "chat", 7.0, &[]);
    let Some(Request::Message(request)) = peer.requests.pop() else { panic!("a call") };
    let long = Value::from("x".repeat(17 << 20));
    peer.order(Order::AnswerMessage { request, result: Ok(long) });
    assert_eq!(peer.said(), ["_error 7 NetConnection.Call.Failed"]);
}

/// ERT-10: only who has declared it is asked to connect again, and goes on being served.
#[test]
fn who_follows_requests_to_connect_again_is_asked() {
    for (caps, asked) in
        [(None, false), (Some(0.0), false), (Some(14.0), false), (Some(1.0), true), (Some(15.0), true)]
    {
        let mut peer = Peer::shaken(Limits::default());
        let mut members = vec![("app", "live".into())];
        members.extend(caps.map(|caps: f64| ("capsEx", caps.into())));
        peer.send(&command(0, &Command::call("connect", 1.0, object(&members), vec![])));
        let again =
            |url: Option<&str>| Order::Reconnect { url: url.map(Into::into), text: "maintenance".into() };
        peer.order(again(None));
        assert_eq!(peer.said(), [""; 0], "not before it is connected");
        peer.accept();
        peer.forget();
        for url in [None, Some("rtmp://other/live")] {
            let start = peer.raw.len();
            peer.order(again(url));
            let expected: &[&str] =
                if asked { &["onStatus NetConnection.Connect.ReconnectRequest"] } else { &[] };
            assert_eq!(peer.said(), expected);
            let sent = String::from_utf8_lossy(&peer.raw[start..]).into_owned();
            assert_eq!(sent.contains("rtmp://other/live"), asked && url.is_some());
            assert_eq!(sent.contains("maintenance"), asked);
        }
        peer.call(0, "createStream", 2.0, &[]);
        assert_eq!(peer.said(), ["_result 2 1"]);
    }
}
