//! What time does to a session. Each limit is tried one millisecond before, at, and after its time.

use super::*;
use crtmp_media::Seconds;

/// Demands that nothing happens until `ms` from now, and then the end.
fn assert_ends(mut make: impl FnMut() -> Peer, ms: u64, rule: &str) {
    let mut peer = make();
    assert_eq!(peer.wait(ms - 1), Ok(()), "one millisecond before");
    for late in [1, 2] {
        let mut peer = make();
        let error = peer.wait(ms - 1 + late).expect_err("the time is up");
        assert_eq!(error.rule, rule);
        assert_eq!(error.fault, crtmp_media::Fault::Timeout);
    }
}

/// HS-01, HS-02, HS-03: the time counts from the beginning, whatever comes meanwhile.
#[test]
fn a_handshake_has_five_seconds_in_all() {
    let rule = "no whole handshake within handshakeTimeout = 5 s";
    assert_ends(|| Peer::new(Limits::default()), 5000, rule);
    assert_ends(
        || {
            let mut peer = Peer::new(Limits::default());
            peer.bytes(&[3; 1536]).unwrap();
            peer
        },
        5000,
        rule,
    );
    assert_ends(
        || {
            let mut peer = Peer::new(Limits::default());
            for _ in 0..4 {
                peer.bytes(&[3]).unwrap();
                peer.wait(1000).unwrap();
            }
            peer
        },
        1000,
        rule,
    );
    // S1 was sent and nothing came back.
    assert_ends(
        || {
            let mut peer = Peer::new(Limits::default());
            let (hello, _) = peer.open(HandshakeKind::Simple);
            peer.bytes(&hello).unwrap();
            peer
        },
        5000,
        rule,
    );
}

#[test]
fn connect_must_come_within_five_seconds_of_the_handshake() {
    let rule = "no connect command within connectTimeout = 5 s";
    assert_ends(|| Peer::shaken(Limits::default()), 5000, rule);
    assert_ends(
        || {
            let mut peer = Peer::shaken(Limits::default());
            peer.wait(3000).unwrap();
            peer.call(0, "createStream", 2.0, &[]);
            peer.control(Control::User(UserControl::PingRequest(1)));
            peer
        },
        2000,
        rule,
    );
}

/// The application has a time of its own to answer; the peer is not to blame.
#[test]
fn nothing_is_due_while_a_connect_waits_for_its_verdict() {
    let mut peer = Peer::shaken(Limits::default());
    peer.call(0, "connect", 1.0, &[]);
    assert_eq!(peer.due(), None);
    peer.wait(100_000).unwrap();
    peer.accept();
    assert_eq!(peer.due(), Some(5000), "the ping: time begins anew");
    peer.wait(14_999).unwrap();
    peer.call(0, "createStream", 2.0, &[]);
}

/// Each command starts `setupTimeout` again; pings and stray media do not.
#[test]
fn a_connection_that_does_nothing_ends() {
    let rule = "no publish, play or other command within setupTimeout = 15 s";
    let limits = || Limits { ping_after: Seconds::new(1000), ..Limits::default() };
    assert_ends(|| Peer::connected(limits()), 15_000, rule);
    assert_ends(
        || {
            let mut peer = Peer::connected(limits());
            for _ in 0..5 {
                peer.wait(14_999).unwrap();
                peer.call(0, "createStream", 2.0, &[]);
            }
            peer
        },
        15_000,
        rule,
    );
    assert_ends(
        || {
            let mut peer = Peer::ready(limits());
            peer.wait(14_000).unwrap();
            peer.send(&sound(1, 0));
            peer.control(Control::User(UserControl::PingRequest(1)));
            peer
        },
        1000,
        rule,
    );
    // The end of a publish begins it as well.
    assert_ends(
        || {
            let mut peer = Peer::publishing(limits());
            for time in 0..10 {
                peer.wait(5000).unwrap();
                peer.send(&sound(1, time));
            }
            peer.call(1, "closeStream", 0.0, &[]);
            peer
        },
        15_000,
        rule,
    );
}

#[test]
fn a_connection_that_waits_for_a_verdict_is_not_idle() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film");
    peer.wait(59_999).unwrap();
    peer.control(Control::User(UserControl::PingRequest(1)));
    peer.wait(59_999).unwrap();
    peer.accept();
    peer.send(&sound(1, 0));

    let mut peer = Peer::connected(Limits::default());
    peer.call(0, "chat", 2.0, &[]);
    peer.wait(30_000).unwrap();
    peer.accept();
    peer.forget();
    assert!(peer.wait(14_999).is_ok());
}

#[test]
fn a_silent_peer_is_pinged_and_its_answer_timed() {
    let mut peer = Peer::playing(Limits::default());
    let age = peer.now - peer.start;
    assert!(age.is_zero());
    peer.wait(4999).unwrap();
    assert_eq!(peer.said(), [""; 0]);
    peer.wait(1).unwrap();
    assert_eq!(peer.said(), ["Ping 5000"]);
    peer.now += Duration::from_millis(123);
    peer.control(Control::User(UserControl::PingResponse(5000)));
    assert_eq!(peer.events(), ["Pong 123"]);
    peer.wait(5000).unwrap();
    assert_eq!(peer.said(), ["Ping 10123"]);
    peer.wait(10_000).unwrap();
    assert_eq!(peer.said(), ["Ping 15123", "Ping 20123"], "again while there is no answer");
}

/// Two pings never have the same stamp, so that an answer is never taken for another one's.
#[test]
fn each_ping_has_a_stamp_of_its_own() {
    let limits = Limits { ping_after: Seconds(Duration::from_micros(500)), ..Limits::default() };
    let mut peer = Peer::playing(limits);
    peer.wait(2).unwrap();
    let said = peer.said();
    assert_eq!(said.len(), 4);
    assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "{said:?}");
}

#[test]
fn a_silent_publisher_is_taken_for_dead() {
    let rule = "the publisher is silent within publisherIdle = 10 s";
    assert_ends(|| Peer::publishing(Limits::default()), 10_000, rule);
    let mut peer = Peer::publishing(Limits::default());
    for time in 0..20 {
        peer.wait(9999).unwrap();
        peer.send(&sound(1, time));
    }
    assert_ends(
        || {
            let mut peer = Peer::publishing(Limits::default());
            peer.wait(9999).unwrap();
            // Half a message is a sign of life.
            peer.bytes(&[6, 0, 0]).unwrap();
            peer
        },
        10_000,
        rule,
    );
}

#[test]
fn a_silent_player_has_a_minute() {
    let rule = "the peer is silent within peerIdle = 60 s";
    assert_ends(|| Peer::playing(Limits::default()), 60_000, rule);
    let mut peer = Peer::playing(Limits::default());
    for _ in 0..10 {
        peer.wait(59_999).unwrap();
        peer.bytes(&[2]).unwrap();
        peer.wait(1).unwrap();
        peer.bytes(&[&[0; 3][..], &[0, 0, 0, 3], &[0; 4]].concat()).unwrap();
    }
}

/// Nothing is read while too much waits for a verdict: then silence is ours.
#[test]
fn a_publisher_that_is_not_read_is_not_taken_for_dead() {
    let mut peer = Peer::publishing(Limits { commands_before: 8, ..Limits::default() });
    peer.call(0, "createStream", 5.0, &[]);
    peer.call(2, "publish", 6.0, &["other".into()]);
    for time in 0..9 {
        peer.send(&sound(2, time));
    }
    assert!(peer.chain.is_paused());
    peer.wait(100_000).unwrap();
    assert!(!peer.said().iter().any(|line| line.starts_with("Ping")));
    peer.accept();
    peer.send(&sound(1, 0));
    peer.assert_open();
}

/// The server has more open questions than it wants: the carrier waits, not the chain.
#[test]
fn a_publisher_that_the_server_does_not_want_to_read_is_not_taken_for_dead() {
    let mut peer = Peer::publishing(Limits::default());
    peer.chain.set_unread(true);
    peer.wait(100_000).unwrap();
    assert_eq!(peer.said(), [""; 0]);
    peer.chain.set_unread(false);
    peer.send(&sound(1, 0));
    peer.assert_open();
    assert!(peer.wait(10_000).is_err());
}
