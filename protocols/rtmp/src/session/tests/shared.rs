//! Shared objects.

use crtmp_media::{SharedItem, SharedNews};

use super::*;

fn shared(events: Vec<SharedObjectEvent>) -> Message {
    said(
        kind::SHARED_OBJECT,
        &SharedObjectMessage { name: "room".into(), version: 0, persistent: false, events },
    )
}

fn said(kind: u8, message_: &SharedObjectMessage) -> Message {
    let mut body = Vec::new();
    message_.encode(&mut body, kind == kind::SHARED_OBJECT_AMF3);
    message(3, kind, 0, 0, body)
}

fn change(value: Value) -> SharedObjectEvent {
    SharedObjectEvent::RequestChange { slot: "slot".into(), value }
}

fn news(items: Vec<SharedItem>) -> Order {
    Order::Shared(SharedNews { name: "room".into(), version: 3, persistent: true, items: items.into() })
}

#[test]
fn what_a_peer_wants_is_told_and_what_is_new_is_said() {
    let mut peer = Peer::connected(Limits::default());
    let slot = || "slot".to_owned();
    peer.send(&shared(vec![SharedObjectEvent::Use]));
    assert_eq!(peer.events(), ["Shared room [Use]"]);
    peer.send(&shared(vec![change(true.into()), SharedObjectEvent::RequestRemove { slot: slot() }]));
    let told = r#"Shared room [Change { slot: "slot", value: Boolean(true) }, Remove { slot: "slot" }]"#;
    assert_eq!(peer.events(), [told]);
    peer.send(&shared(vec![SharedObjectEvent::SendMessage { values: vec!["f".into()] }]));
    assert_eq!(peer.events(), [r#"Shared room [Send { values: [String("f")] }]"#]);
    assert_eq!(peer.said(), [""; 0], "the server decides");
    let value = Arc::new(Value::Null);
    peer.order(news(vec![SharedItem::Used, SharedItem::Changed { slot: "slot".into(), value }]));
    assert_eq!(peer.said(), [r#"19: room 3 persistent [UseSuccess, Change { slot: "slot", value: Null }]"#]);
    // What only a server says means nothing.
    peer.send(&shared(vec![SharedObjectEvent::Clear]));
    assert_eq!(peer.events(), ["Skipped BadCommand"]);
    peer.assert_open();
}

/// The notation of all that is said is the one that the peer has asked for; it may use either.
#[test]
fn both_notations_are_read_and_the_wanted_one_is_written() {
    for (encoding, kind) in [(0.0, kind::SHARED_OBJECT), (3.0, kind::SHARED_OBJECT_AMF3)] {
        let mut peer = Peer::shaken(Limits::default());
        let members = [("app", "live".into()), ("objectEncoding", encoding.into())];
        peer.send(&command(0, &Command::call("connect", 1.0, object(&members), vec![])));
        peer.accept();
        peer.forget();
        let value = || Value::Bytes(vec![65]);
        for (sent, heard) in
            [(kind::SHARED_OBJECT, "String(\"A\")"), (kind::SHARED_OBJECT_AMF3, "Bytes([65])")]
        {
            let events = vec![change(value())];
            peer.send(&said(sent, &SharedObjectMessage { events, ..message_of_room() }));
            let told = format!("Shared room persistent [Change {{ slot: \"slot\", value: {heard} }}]");
            assert_eq!(peer.events(), [told]);
        }
        peer.order(news(vec![SharedItem::Changed { slot: "slot".into(), value: Arc::new(value()) }]));
        let line = peer.said().concat();
        assert!(line.starts_with(&format!("{kind}: room 3")), "{line}");
        assert_eq!(line.contains("Bytes([65])"), encoding == 3.0, "{line}");
    }
}

fn message_of_room() -> SharedObjectMessage {
    SharedObjectMessage { name: "room".into(), version: 0, persistent: true, events: vec![] }
}

/// CMD-13: who uses no object has as many messages as commands; what breaks a rule ends the connection.
#[test]
fn messages_about_shared_objects_are_limited() {
    let limits = || Limits { commands_before: 8, ..Limits::default() };
    let mut peer = Peer::connected(limits());
    for _ in 1..8 {
        peer.send(&shared(vec![SharedObjectEvent::Use]));
    }
    let rule = peer.send_last(&shared(vec![SharedObjectEvent::Use]));
    assert!(rule.contains("commandsBefore = 8"), "{rule}");
    let mut peer = Peer::connected(limits());
    peer.send(&shared(vec![SharedObjectEvent::Use]));
    peer.order(news(vec![SharedItem::Used]));
    for _ in 0..100 {
        peer.send(&shared(vec![change(Value::Null)]));
    }
    peer.send(&shared(vec![SharedObjectEvent::Release]));
    for _ in 1..8 {
        peer.send(&shared(vec![change(Value::Null)]));
    }
    peer.send_last(&shared(vec![change(Value::Null)]));
    // Its size, at −1, 0 and +1.
    let of_size = |size: usize| {
        let empty = shared(vec![change("".into())]).body.len();
        shared(vec![change("x".repeat(size - empty).into())])
    };
    for (size, fits) in [(1999, true), (2000, true), (2001, false)] {
        let mut peer = Peer::connected(Limits { shared_object_bytes: 2000, ..Limits::default() });
        assert_eq!(of_size(size).body.len(), size);
        if fits {
            peer.send(&of_size(size));
        } else {
            let rule = peer.send_last(&of_size(size));
            assert!(rule.contains("sharedObjectBytes = 2000"), "{rule}");
        }
    }
    let mut peer = Peer::connected(Limits::default());
    let rule = peer.send_last(&message(3, kind::SHARED_OBJECT, 0, 0, vec![0, 255, 255]));
    assert_eq!(rule, "shared object: AMF data ends inside a value at offset 2");
    let mut peer = Peer::shaken(Limits::default());
    peer.send(&shared(vec![SharedObjectEvent::Use]));
    assert_eq!(peer.events(), ["Skipped BadCommand"], "connect first");
}

/// Who uses a shared object need not publish or play.
#[test]
fn a_peer_that_uses_a_shared_object_may_be_silent_otherwise() {
    let limits = Limits { setup_timeout: crtmp_media::Seconds::new(2), ..Limits::default() };
    let mut peer = Peer::connected(limits.clone());
    assert!(peer.wait(2500).unwrap_err().rule.contains("setupTimeout"));
    let mut peer = Peer::connected(limits);
    peer.send(&shared(vec![SharedObjectEvent::Use]));
    peer.order(news(vec![SharedItem::Used]));
    peer.wait(10_000).unwrap();
    peer.assert_open();
    peer.send(&shared(vec![SharedObjectEvent::Release]));
    assert!(peer.wait(2500).unwrap_err().rule.contains("setupTimeout"));
}

/// What has no room in one message is said in several.
#[test]
fn news_that_are_too_long_are_divided() {
    let mut peer = Peer::connected(Limits::default());
    let value = || Arc::new(Value::String("x".repeat(9 << 20)));
    let item = |slot: &str| SharedItem::Changed { slot: slot.into(), value: value() };
    let start = peer.raw.len();
    let order = news(vec![SharedItem::Used, item("a"), item("b")]);
    peer.with_chain(|chain, env| chain.on_command(order, env)).unwrap();
    let queue = peer.chain.send().unwrap();
    assert!(queue.len() > 18 << 20, "{start}");
}
