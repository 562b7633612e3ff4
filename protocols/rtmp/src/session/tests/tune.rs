//! What an application sets for its connections.

use super::*;
use crtmp_media::Seconds;

fn tune(ping_ms: Option<u64>, command_bytes: Option<usize>) -> Order {
    let ping_interval = ping_ms.map(Duration::from_millis);
    Order::Tune { ping_interval, command_bytes, check_bandwidth: false, server_ip: None }
}

/// A peer whose application has tuned its connection before it let it in.
fn tuned(limits: Limits, order: Order) -> Peer {
    let mut peer = Peer::shaken(limits);
    peer.call(0, "connect", 1.0, &[]);
    peer.order(order);
    assert_eq!(peer.said(), [""; 0]);
    peer.accept();
    peer.call(0, "createStream", 2.0, &[]);
    peer.forget();
    peer
}

/// A command on message stream 0 that is `size` bytes long.
fn command_of(size: usize) -> Message {
    let empty = call(0, "chat", 0.0, &["".into()]).body.len();
    let message = call(0, "chat", 0.0, &["x".repeat(size - empty).into()]);
    assert_eq!(message.body.len(), size);
    message
}

/// `maxCommandBytes` at −1, 0 and +1.
#[test]
fn commands_are_limited_in_size() {
    for (size, fits) in [(1999, true), (2000, true), (2001, false)] {
        let plain = command_of(size);
        let other = Message { kind: kind::COMMAND_AMF3, ..plain.clone() };
        for message in [plain, other] {
            let mut peer = tuned(Limits::default(), tune(None, Some(2000)));
            let bytes = peer.chunks(&message);
            match peer.bytes(&bytes) {
                Ok(()) => assert!(fits && peer.events() == ["Message 0 chat"], "{size}"),
                Err(error) => {
                    assert!(!fits, "{size}");
                    assert_eq!(error.rule, "a command of 2001 bytes, the limit is maxCommandBytes = 2000");
                }
            }
        }
    }
}

/// Commands that wait for a verdict and answers are commands.
#[test]
fn every_command_is_limited_in_size() {
    let mut peer = tuned(Limits::default(), tune(None, Some(2000)));
    peer.publish("film");
    peer.send_last(&Message { stream: 1, ..command_of(2001) });

    let mut peer = tuned(Limits::default(), tune(None, Some(2000)));
    peer.order(Order::Call { ticket: Some(1), command: "ask".to_owned(), args: vec![] });
    let result = Command::result(2.0, Value::Null, vec!["x".repeat(2000).into()]);
    peer.send_last(&command(0, &result));
}

#[test]
fn without_a_word_of_the_application_commands_are_as_large_as_messages() {
    let mut peer = tuned(Limits::default(), tune(None, None));
    peer.send(&command_of(60_000));
    assert_eq!(peer.events(), ["Message 0 chat"]);
}

/// `maxCommandBytes` and `metadataSize`: the smaller one counts; nothing else is limited by them.
#[test]
fn descriptions_are_limited_by_it_too() {
    for (command_bytes, metadata_size) in [(2000, 3000), (3000, 2000)] {
        for (size, fits) in [(1999, true), (2000, true), (2001, false)] {
            let limits = Limits { metadata_size, ..Limits::default() };
            let mut peer = tuned(limits, tune(None, Some(command_bytes)));
            peer.publish("film");
            peer.accept();
            peer.forget();
            let empty = data(1, "onMetaData", &[object(&[("x", "".into())])]).body.len();
            let value = object(&[("x", "y".repeat(size - empty).into())]);
            let told: &[_] = if fits {
                &["Metadata 1 of 1 values", "Frame 1 data info 0"]
            } else {
                &["Skipped BadMetadata"]
            };
            peer.send(&data(1, "onMetaData", std::slice::from_ref(&value)));
            assert_eq!(peer.events(), told, "{size}");
            peer.send(&data(1, "@setDataFrame", &["onMetaData".into(), value]));
            assert_eq!(peer.events(), told, "{size}, with an instruction");
            peer.send(&data(1, "onTextData", &["z".repeat(10_000).into()]));
            assert_eq!(peer.events(), ["Frame 1 data side 0"]);
        }
    }
}

/// Each ping is answered after 20 ms, and the application learns how long that took.
#[test]
fn a_peer_that_talks_all_the_time_is_pinged_at_intervals() {
    let mut peer = tuned(Limits::default(), tune(Some(10_000), None));
    peer.publish("film");
    peer.accept();
    peer.forget();
    let (mut pings, mut pongs) = (Vec::new(), Vec::new());
    for time in 1..=1750 {
        let asked = pings.len();
        peer.wait(20).unwrap();
        peer.send(&sound(1, time));
        pings.extend(
            peer.said().iter().map(|line| line.strip_prefix("Ping ").unwrap().parse::<u32>().unwrap()),
        );
        if let Some(&stamp) = pings.get(asked) {
            peer.wait(20).unwrap();
            peer.control(Control::User(UserControl::PingResponse(stamp)));
        }
        pongs.extend(peer.events().into_iter().filter(|line| line.starts_with("Pong")));
    }
    assert_eq!(pings, [10_000, 20_000, 30_000]);
    assert_eq!(pongs, ["Pong 20"; 3]);
}

#[test]
fn a_silent_peer_is_pinged_at_intervals_too() {
    let mut peer = tuned(Limits::default(), tune(Some(10_000), None));
    peer.play("film");
    peer.accept();
    peer.forget();
    peer.wait(59_999).unwrap();
    let expected: Vec<_> = (1..=5).map(|number| format!("Ping {number}0000")).collect();
    assert_eq!(peer.said(), expected, "not after pingAfter = 5 s of silence as well");
    assert!(peer.wait(1).is_err(), "peerIdle holds as before");
}

/// A silent peer can show that it lives before its time is up, however long the interval is.
#[test]
fn a_long_interval_does_not_cut_off_silent_peers() {
    let mut peer = tuned(Limits::default(), tune(Some(3_600_000), None));
    peer.play("film");
    peer.accept();
    peer.forget();
    peer.wait(29_999).unwrap();
    assert_eq!(peer.said(), [""; 0]);
    peer.wait(1).unwrap();
    assert_eq!(peer.said(), ["Ping 30000"], "half of peerIdle");

    let mut peer = tuned(Limits::default(), tune(Some(10_000), None));
    peer.publish("film");
    peer.accept();
    peer.forget();
    peer.wait(5000).unwrap();
    assert_eq!(peer.said(), ["Ping 5000"], "half of publisherIdle");

    let limits = Limits { ping_after: Seconds::new(1000), ..Limits::default() };
    let mut peer = tuned(limits, tune(Some(3_600_000), None));
    peer.play("film");
    peer.accept();
    peer.forget();
    peer.wait(59_999).unwrap();
    assert_eq!(peer.said(), [""; 0], "pingAfter says that silence is no reason");
}

#[test]
fn an_interval_of_nothing_is_no_flood() {
    let mut peer = tuned(Limits::default(), tune(Some(0), None));
    peer.wait(1000).unwrap();
    assert_eq!(peer.said().len(), 20);
}

/// While nothing is read, the answer could not be heard.
#[test]
fn a_peer_that_is_not_read_is_not_pinged() {
    let mut peer = tuned(Limits::default(), tune(Some(1000), None));
    peer.chain.set_unread(true);
    peer.wait(10_500).unwrap();
    assert_eq!(peer.said(), [""; 0]);
    peer.chain.set_unread(false);
    peer.wait(500).unwrap();
    assert_eq!(peer.said(), ["Ping 11000"]);
}
