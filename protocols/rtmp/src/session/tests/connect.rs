//! The handshake and `connect`.

use crtmp_media::{Codec, Codecs};

use super::*;
use crate::handshake::{PACKET, Scheme};

/// HS-04.
#[test]
fn old_versions_are_answered_with_3_and_go_on() {
    for version in [0, 4, 31] {
        let mut peer = Peer::new(Limits::default());
        let (mut hello, answer) = peer.open(HandshakeKind::Simple);
        hello[0] = version;
        peer.bytes(&hello).unwrap();
        assert_eq!(peer.raw[0], 3);
        peer.bytes(&answer(&peer.raw)).unwrap();
        peer.call(0, "connect", 1.0, &[]);
        assert_eq!(peer.events(), ["Connect live"]);
    }
}

/// HS-05, HS-13: the first byte is enough to say no.
#[test]
fn what_is_not_rtmp_is_told_apart_by_its_first_byte() {
    for (byte, rule) in [
        (0x47, "handshake: not RTMP: the first byte is 0x47"),
        (0x50, "handshake: not RTMP: the first byte is 0x50"),
        (0x16, "handshake: not RTMP but TLS: this port is for rtmp://"),
        (0x80, "handshake: not RTMP: the first byte is 0x80"),
        (0xFF, "handshake: not RTMP: the first byte is 0xFF"),
        (6, "handshake: RTMPE not enabled (handshake version 6); acceptors take it with `rtmpe = true`"),
    ] {
        let mut peer = Peer::new(Limits::default());
        assert_eq!(peer.bytes(&[byte]).unwrap_err().rule, rule);
        assert!(peer.raw.is_empty());
    }
}

/// HS-06, HS-09: each kind of handshake, right and wrong, with everything that follows glued to it.
#[test]
fn nothing_is_lost_that_is_glued_to_the_handshake() {
    let digests = Scheme::ALL.map(HandshakeKind::Digest);
    for kind in [&[HandshakeKind::Simple][..], &digests].concat() {
        for damage_c1 in [false, true] {
            let mut peer = Peer::new(Limits::default());
            let (mut hello, answer) = peer.open(kind);
            if damage_c1 {
                hello[1500] ^= 1;
            }
            peer.bytes(&hello).unwrap();
            let mut rest = answer(&peer.raw);
            rest.extend(peer.chunks(&call(0, "connect", 1.0, &[])));
            rest.extend(peer.chunks(&call(0, "createStream", 2.0, &[])));
            peer.bytes(&rest).unwrap();
            assert_eq!(peer.events(), ["Connect live"], "{kind:?} {damage_c1}");
            peer.accept();
            assert_eq!(peer.said().last().unwrap(), "_result 2 1");
        }
    }
}

/// HS-09: a client that does not wait for S1 cannot answer it, and is served.
#[test]
fn a_client_that_sends_everything_at_once_is_served() {
    let mut peer = Peer::new(Limits::default());
    let (mut hello, _) = peer.open(HandshakeKind::Simple);
    hello.extend([0xEE; PACKET]);
    for message in [
        call(0, "connect", 1.0, &[]),
        call(0, "createStream", 2.0, &[]),
        call(1, "publish", 3.0, &["film".into()]),
        key_frame(1, 0, 1000),
        sound(1, 20),
    ] {
        hello.extend(peer.chunks(&message));
    }
    peer.bytes(&hello).unwrap();
    assert_eq!(peer.events(), ["Connect live"], "nothing is read before the verdict");
    peer.accept();
    assert_eq!(peer.events(), ["Publish 1 film"]);
    peer.accept();
    assert_eq!(peer.events(), ["Frame 1 video key 0", "Frame 1 audio key 20"]);
}

/// A peer that claims the digest and answers it wrongly is refused, if that is wanted.
#[cfg(feature = "digest")]
#[test]
fn a_wrong_answer_to_the_digest_is_refused_if_it_is_validated() {
    for validate in [true, false] {
        let settings = SessionSettings { validate_handshake: validate, ..settings() };
        let mut peer = Peer::with(settings, |_| ());
        let (hello, answer) = peer.open(HandshakeKind::Digest(Scheme::KeyFirst));
        peer.bytes(&hello).unwrap();
        let mut c2 = answer(&peer.raw);
        c2[1000] ^= 1;
        assert_eq!(peer.bytes(&c2).is_err(), validate);
    }
}

#[test]
fn what_follows_a_connect_comes_in_the_order_that_clients_know() {
    let mut peer = Peer::shaken(Limits::default());
    peer.call(0, "connect", 1.0, &[]);
    assert_eq!(peer.said(), [""; 0], "nobody has decided yet");
    peer.accept();
    assert_eq!(
        peer.said(),
        [
            "WindowAckSize 2500000",
            "PeerBandwidth 2500000",
            "StreamBegin 0",
            "_result 1 NetConnection.Connect.Success",
            "onBWDone",
        ]
    );
    assert_eq!(peer.reader.chunk_size(), 60_000);
}

#[test]
fn codecs_beyond_flv_are_promised_to_those_who_ask() {
    let welcome = |extra: &[(&str, Value)]| {
        let mut peer = Peer::shaken(Limits::default());
        let members = [&[("app", "live".into())][..], extra].concat();
        peer.send(&command(0, &Command::call("connect", 1.0, object(&members), vec![])));
        let start = peer.raw.len();
        peer.accept();
        String::from_utf8_lossy(&peer.raw[start..]).into_owned()
    };
    assert!(!welcome(&[]).contains("fourCcList"));
    let list = Value::StrictArray(vec!["hvc1".into()]);
    for key in ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"] {
        let answer = welcome(&[(key, list.clone())]);
        for promised in ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"] {
            assert!(answer.contains(promised), "{key}: {promised}");
        }
    }
}

/// What a peer has declared is read; what is odd about it is not.
#[test]
fn the_server_is_told_what_the_peer_has_declared() {
    for (list, caps, codecs, reconnects) in [
        (Value::StrictArray(vec!["av01".into()]), 1.0.into(), Some(Codecs::default().with(Codec::Av1)), true),
        (Value::StrictArray(vec!["*".into(); 1000]), 6.0.into(), Some(Codecs::ALL), false),
        ("av01".into(), "1".into(), None, false),
    ] {
        let mut peer = Peer::shaken(Limits::default());
        let members = [("app", "live".into()), ("fourCcList", list), ("capsEx", caps)];
        let bytes = peer.chunks(&command(0, &Command::call("connect", 1.0, object(&members), vec![])));
        peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
        let Some(Event::Connect { info, .. }) = peer.chain.poll_event() else { panic!("no connect") };
        assert_eq!((info.declared.video, info.declared.audio), (codecs, codecs));
        assert_eq!(info.declared.can_reconnect(), reconnects);
    }
}

/// The application sees all that the peer said of itself.
#[test]
fn the_server_is_told_what_the_peer_said() {
    let mut peer = Peer::shaken(Limits::default());
    let members = [
        ("app", "live/room?user=1".into()),
        ("tcUrl", "rtmp://localhost/live/room?user=1".into()),
        ("flashVer", "WIN 11,2,202,235".into()),
        ("swfUrl", "http://localhost/a.swf".into()),
        ("pageUrl", "http://localhost/".into()),
        ("own", 7.0.into()),
    ];
    let connect = Command::call("connect", 1.0, object(&members), vec!["user".into(), "secret".into()]);
    let bytes = peer.chunks(&command(0, &connect));
    peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
    let Some(Event::Connect { info, .. }) = peer.chain.poll_event() else { panic!("a connect") };
    assert_eq!(info.app, "live/room?user=1");
    assert_eq!(info.tc_url, "rtmp://localhost/live/room?user=1");
    assert_eq!(info.agent, "WIN 11,2,202,235");
    assert_eq!(info.swf_url, "http://localhost/a.swf");
    assert_eq!(info.page_url, "http://localhost/");
    assert_eq!(info.members.len(), members.len());
    assert_eq!(info.args, ["user".into(), "secret".into()]);
}

/// CMD-02.
#[test]
fn a_second_connect_is_refused_and_changes_nothing() {
    let mut peer = Peer::publishing(Limits::default());
    peer.call(0, "connect", 9.0, &[]);
    assert_eq!(peer.said(), ["_error 9 NetConnection.Connect.Rejected"]);
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
    peer.assert_open();
}

/// CMD-03. A missing `tcUrl` is no reason to refuse: `app` says all that is needed.
#[test]
fn an_application_that_cannot_be_named_is_refused_with_a_reason() {
    let long = "x".repeat(65_000);
    let app = |value: Value| object(&[("app", value)]);
    for (wrong, what) in [
        (Value::Null, "is empty"),
        (object(&[]), "is empty"),
        (app("".into()), "is empty"),
        (app(7.0.into()), "is empty"),
        (app("?key".into()), "is empty"),
        (app(long.into()), "is longer than"),
        (app("../..".into()), "'.' or '..'"),
        (app("a/../b".into()), "'.' or '..'"),
        (app("a//b".into()), "empty component"),
        (app("a\nb".into()), "control character"),
        (app(format!("a?{}", "q".repeat(1025)).into()), "streamName = 1024"),
    ] {
        let mut peer = Peer::shaken(Limits::default());
        peer.send(&command(0, &Command::call("connect", 1.0, wrong, vec![])));
        assert_eq!(peer.said(), ["_error 1 NetConnection.Connect.InvalidApp"], "{what}");
        assert_eq!(peer.events(), [""; 0]);
        let rule = peer.closing().expect("the connection is closed");
        assert!(rule.contains(what), "{rule}");
        peer.call(0, "createStream", 2.0, &[]);
        assert_eq!((peer.said().len(), peer.events().len()), (0, 0), "nothing is read any more");
    }
    let mut peer = Peer::shaken(Limits::default());
    peer.send(&command(0, &Command::call("connect", 1.0, app("live".into()), vec![])));
    assert_eq!(peer.events(), ["Connect live"]);
}

#[test]
fn a_refused_connect_is_answered_and_ends_the_connection() {
    let mut peer = Peer::shaken(Limits::default());
    let mut bytes = peer.chunks(&call(0, "connect", 1.0, &[]));
    bytes.extend(peer.chunks(&call(0, "createStream", 2.0, &[])));
    peer.bytes(&bytes).unwrap();
    peer.reject("NetConnection.Connect.Rejected");
    assert_eq!(peer.said(), ["_error 1 NetConnection.Connect.Rejected"]);
    assert_eq!(peer.closing().unwrap(), "the connect was refused: NetConnection.Connect.Rejected no");
    assert_eq!(peer.events(), ["Connect live"]);
    assert_eq!(peer.due(), None);
}

#[test]
fn a_redirected_connect_says_where_to_go() {
    let mut peer = Peer::shaken(Limits::default());
    peer.call(0, "connect", 1.0, &[]);
    let start = peer.raw.len();
    peer.answer(Answer::Redirect { url: "rtmp://other/live".into() }).unwrap();
    assert_eq!(peer.said(), ["_error 1 NetConnection.Connect.Rejected"]);
    let text = String::from_utf8_lossy(&peer.raw[start..]).into_owned();
    assert!(text.contains("redirect") && text.contains("rtmp://other/live"), "{text}");
    assert!(peer.closing().is_some());
}

/// The server goes away while the application still thinks about a connect: even so it is answered.
#[test]
fn a_connect_that_is_open_when_the_server_closes_is_answered() {
    let mut peer = Peer::shaken(Limits::default());
    peer.call(0, "connect", 1.0, &[]);
    peer.order(Order::Close { code: "NetConnection.Connect.Closed".into(), text: "bye".into() });
    assert_eq!(peer.said(), ["_error 1 NetConnection.Connect.Closed"]);
    peer.accept();
    assert_eq!(peer.said(), [""; 0], "one answer is enough");
}

/// `commandsBefore` at −1, 0 and +1: `connect` counts, and so does what is refused.
#[test]
fn commands_are_limited_until_something_is_allowed() {
    let limits = || Limits { commands_before: 4, ..Limits::default() };
    let mut peer = Peer::connected(limits());
    for transaction in 2..=4 {
        peer.call(0, "createStream", f64::from(transaction), &[]);
    }
    assert_eq!(peer.said().len(), 3);
    let rule = peer.send_last(&call(0, "createStream", 5.0, &[]));
    assert_eq!(rule, "more than commandsBefore = 4 commands before a publish or play was allowed");

    let mut peer = Peer::shaken(limits());
    for transaction in 1..=4 {
        peer.call(0, "createStream", f64::from(transaction), &[]);
    }
    peer.send_last(&call(0, "connect", 5.0, &[]));

    let mut peer = Peer::publishing(limits());
    for transaction in 0..1000 {
        peer.call(0, "_checkbw", f64::from(transaction), &[]);
    }
    peer.assert_open();
}

/// A client that only calls its application is no attack, as long as the application answers.
#[test]
fn calls_that_the_application_answers_are_not_counted() {
    let limits = || Limits { commands_before: 4, ..Limits::default() };
    let mut peer = Peer::connected(limits());
    for _ in 0..100 {
        peer.call(0, "chat", 2.0, &["hello".into()]);
        peer.accept();
    }
    let mut peer = Peer::connected(limits());
    for _ in 0..3 {
        peer.call(0, "chat", 2.0, &["hello".into()]);
        peer.reject("NetConnection.Call.Failed");
    }
    peer.send_last(&call(0, "chat", 2.0, &[]));
}
