//! Tests of the way to the peer.

use super::*;
use crtmp_media::{BandwidthKind, BandwidthPlan};

fn plan(kind: BandwidthKind) -> BandwidthPlan {
    BandwidthPlan {
        kind,
        time: Duration::from_secs(3),
        bytes: 1_000_000,
        rate: 4_000_000,
        patience: Duration::from_secs(5),
    }
}

fn test(peer: &mut Peer, plan: BandwidthPlan) {
    peer.order(Order::TestBandwidth(Box::new(plan)));
}

/// The names of what has been said, and the transactions.
fn names(peer: &mut Peer) -> Vec<String> {
    let short = |line: String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    peer.said().into_iter().map(short).collect()
}

fn answer(peer: &mut Peer, transaction: f64) {
    let result = Command::result(transaction, Value::Null, vec![0.0.into()]);
    peer.send(&command(0, &result));
}

fn offered(check_bandwidth: bool) -> Peer {
    let mut peer = Peer::shaken(Limits::default());
    peer.call(0, "connect", 1.0, &[]);
    let (ping_interval, command_bytes, server_ip) = (None, None, None);
    peer.order(Order::Tune { ping_interval, command_bytes, check_bandwidth, server_ip });
    peer.accept();
    peer.forget();
    peer
}

#[test]
fn peers_may_ask_where_it_is_offered() {
    let mut peer = offered(false);
    peer.call(0, "checkBandwidth", 5.0, &[]);
    assert_eq!((peer.said(), peer.events()), (vec!["_result 5".to_owned()], vec![]));
    let mut peer = offered(true);
    peer.call(0, "_checkbw", 4.0, &[]);
    assert_eq!((peer.said(), peer.events()), (vec!["_result 4".to_owned()], vec![]));
    peer.call(0, "checkBandwidth", 5.0, &[]);
    assert_eq!((peer.said(), peer.events()), (vec![], vec!["CheckBandwidth".to_owned()]));
    peer.accept();
    assert_eq!(peer.said(), ["_result 5 done"]);
    peer.call(0, "checkBandwidth", 0.0, &[]);
    assert_eq!(peer.events(), ["CheckBandwidth"], "it waits for no answer");
}

/// Where clients of SRS look for it.
#[test]
fn who_is_there_for_a_test_is_told_the_address_of_the_server() {
    for server_ip in [None, Some([192, 0, 2, 7].into())] {
        let mut peer = Peer::shaken(Limits::default());
        peer.call(0, "connect", 1.0, &[]);
        let (ping_interval, command_bytes, check_bandwidth) = (None, None, false);
        peer.order(Order::Tune { ping_interval, command_bytes, check_bandwidth, server_ip });
        peer.accept();
        // An ECMA array of one member.
        let told = b"\0\x04data\x08\0\0\0\x01\0\x0dsrs_server_ip\x02\0\x09192.0.2.7\0\0\x09";
        let is_told = peer.raw.windows(told.len()).any(|bytes| bytes == told);
        let is_named = peer.raw.windows(4).any(|bytes| bytes == b"srs_");
        assert_eq!((is_told, is_named), (server_ip.is_some(), server_ip.is_some()));
    }
}

#[test]
fn calls_grow_until_they_say_something_and_the_peer_is_told() {
    let mut peer = Peer::connected(Limits::default());
    test(&mut peer, BandwidthPlan { bytes: 450_000, rate: u64::MAX, ..plan(BandwidthKind::Check) });
    assert_eq!(peer.said(), ["onBWCheck 2  0"]);
    peer.wait(20).unwrap();
    answer(&mut peer, 2.0);
    let mut next = 3.0;
    // So many at once, and each round takes 20 ms for the way and 100 ms for each call.
    for calls in [1, 2, 4, 4] {
        let said = peer.said();
        assert_eq!(said.len(), calls, "{calls}");
        assert!(said.iter().all(|line| line.starts_with("onBWCheck ") && line.len() > 32_767));
        peer.wait(20).unwrap();
        for _ in 0..calls {
            peer.wait(100).unwrap();
            answer(&mut peer, next);
            next += 1.0;
        }
    }
    // 262136 bytes in 0.8 s: what the larger rounds have brought. One more round would be too much.
    let said = peer.said();
    assert!(said[0].starts_with("onBWDone 2621 262.136 0.8") && said[0].ends_with(" 20"), "{said:?}");
    assert_eq!(said.len(), 1);
    assert_eq!(peer.events(), ["BandwidthTested 262136 in 800 ms, nothing"]);
    peer.assert_open();
}

#[test]
fn calls_keep_to_the_rate() {
    let mut peer = Peer::connected(Limits::default());
    // A call takes 262 ms.
    test(&mut peer, BandwidthPlan { rate: 1_000_000, ..plan(BandwidthKind::Check) });
    peer.forget();
    answer(&mut peer, 2.0);
    assert_eq!(names(&mut peer), ["onBWCheck 3"]);
    answer(&mut peer, 3.0);
    peer.wait(250).unwrap();
    assert_eq!(names(&mut peer), [""; 0]);
    peer.wait(20).unwrap();
    assert_eq!(names(&mut peer), ["onBWCheck 4", "onBWCheck 5"]);
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let mut peer = Peer::connected(Limits::default());
    test(&mut peer, plan(BandwidthKind::Check));
    peer.wait(4999).unwrap();
    peer.forget();
    peer.wait(1).unwrap();
    assert_eq!(peer.said()[0], "onBWDone");
    assert_eq!(peer.events(), ["BandwidthTested nothing, nothing: the peer does not answer"]);
    answer(&mut peer, 2.0);
    peer.assert_open();
    for (step, words) in [
        (0, ["", ""]),
        (1, ["onSrsBandCheckStartingPlayBytes", ""]),
        (2, ["onSrsBandCheckStartingPlayBytes", "onSrsBandCheckStoppedPlayBytes"]),
    ] {
        let mut peer = Peer::connected(Limits::default());
        test(&mut peer, plan(BandwidthKind::BandCheck));
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            peer.call(0, word, 0.0, &[]);
            peer.wait(3100).unwrap();
        }
        peer.wait(5000).unwrap();
        let last = peer.events().pop().expect("an end");
        assert!(
            last.starts_with("BandwidthTested") && last.ends_with("the peer does not answer"),
            "{step}: {last}"
        );
    }
}

/// The steps of SRS 1, with what its clients look at.
#[test]
fn both_ways_are_measured_step_by_step() {
    let mut peer = Peer::connected(Limits::default());
    test(&mut peer, BandwidthPlan { rate: 800_000, ..plan(BandwidthKind::BandCheck) });
    assert_eq!(names(&mut peer), ["onSrsBandCheckStartPlayBytes Object([(\"duration_ms\","]);
    peer.call(0, "onSrsBandCheckStartingPlayBytes", 0.0, &[]);
    let mut bytes = 0;
    for _ in 0..40 {
        for line in peer.said() {
            if line.starts_with("onSrsBandCheckPlaying") {
                bytes += 4096;
            } else if let Some(stamp) = line.strip_prefix("Ping ").and_then(|stamp| stamp.parse().ok()) {
                peer.control(Control::User(UserControl::PingResponse(stamp)));
            } else {
                assert!(line.starts_with("onSrsBandCheckStopPlayBytes"), "{line}");
                assert!(line.contains("duration_delta") && line.contains("bytes_delta"), "{line}");
            }
        }
        peer.wait(80).unwrap();
    }
    // 3 s at 800 kbit/s.
    assert!((280_000..=304_000).contains(&bytes), "{bytes}");
    peer.call(0, "onSrsBandCheckStoppedPlayBytes", 0.0, &[]);
    assert_eq!(names(&mut peer).len(), 1);
    peer.call(0, "onSrsBandCheckStartingPublishBytes", 0.0, &[]);
    let data = Value::StrictArray(vec!["SrS band check data from client's publishing......".into(); 100]);
    for _ in 0..100 {
        // More of them than commandsBefore allows.
        peer.call(0, "onSrsBandCheckPublishing", 0.0, std::slice::from_ref(&data));
        peer.wait(20).unwrap();
    }
    assert_eq!(names(&mut peer), [""; 0]);
    peer.wait(1000).unwrap();
    assert_eq!(names(&mut peer), ["onSrsBandCheckStopPublishBytes Object([(\"duration_ms\","]);
    peer.call(0, "onSrsBandCheckStoppedPublishBytes", 0.0, &[]);
    let finished = peer.said();
    assert_eq!(finished.len(), 1);
    assert!(
        finished[0].starts_with("onSrsBandCheckFinished ") && finished[0].contains("play_kbps"),
        "{finished:?}"
    );
    peer.call(0, "finalClientPacket", 0.0, &[]);
    let events = peer.events();
    assert!(
        events.len() == 1 && events[0].starts_with("BandwidthTested ") && !events[0].contains("nothing"),
        "{events:?}"
    );
    peer.call(0, "finalClientPacket", 0.0, &[]);
    assert_eq!(peer.events(), ["Message 0 finalClientPacket"], "nobody waits for it any more");
}

/// Flash Player says neither that it has stopped nor that it has seen the report.
#[test]
fn what_only_some_clients_say_is_not_needed() {
    let mut peer = Peer::connected(Limits::default());
    test(&mut peer, BandwidthPlan { bytes: 20_000, ..plan(BandwidthKind::BandCheck) });
    peer.call(0, "onSrsBandCheckStartingPlayBytes", 0.0, &[]);
    peer.wait(100).unwrap();
    peer.call(0, "onSrsBandCheckStoppedPlayBytes", 0.0, &[]);
    peer.call(0, "onSrsBandCheckStartingPublishBytes", 0.0, &[]);
    peer.forget();
    // So many bytes are enough.
    for _ in 0..5 {
        peer.call(0, "onSrsBandCheckPublishing", 0.0, &["x".repeat(5000).into()]);
    }
    assert_eq!(names(&mut peer).len(), 1);
    peer.call(0, "onSrsBandCheckPublishing", 0.0, &["x".repeat(5000).into()]);
    peer.wait(1000).unwrap();
    assert!(peer.said().iter().any(|line| line.starts_with("onSrsBandCheckFinished")));
    peer.wait(1000).unwrap();
    assert!(peer.events()[0].starts_with("BandwidthTested "));
}

/// Who takes nothing is sent no more than a window.
#[test]
fn what_is_on_its_way_is_bounded() {
    let mut peer = Peer::connected(Limits::default());
    let fast = BandwidthPlan { rate: u64::MAX, bytes: u64::MAX, ..plan(BandwidthKind::BandCheck) };
    test(&mut peer, fast);
    peer.call(0, "onSrsBandCheckStartingPlayBytes", 0.0, &[]);
    peer.wait(2900).unwrap();
    let said = peer.said();
    let pieces = said.iter().filter(|line| line.starts_with("onSrsBandCheckPlaying")).count();
    assert!((30..=32).contains(&pieces), "{pieces} pieces of 4 KiB, and a window of 128");
    // One pong for the last makes room for another window.
    let stamp = said
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("Ping ")?.parse::<u32>().ok().filter(|stamp| *stamp >> 31 == 1));
    peer.control(Control::User(UserControl::PingResponse(stamp.expect("a ping"))));
    let pieces = peer.said().iter().filter(|line| line.starts_with("onSrsBandCheckPlaying")).count();
    assert!((30..=32).contains(&pieces), "{pieces}");
}

#[test]
fn one_test_runs_at_a_time() {
    let mut peer = Peer::connected(Limits::default());
    test(&mut peer, plan(BandwidthKind::Check));
    test(&mut peer, plan(BandwidthKind::Check));
    assert_eq!(names(&mut peer), ["onBWCheck 2"]);
}
