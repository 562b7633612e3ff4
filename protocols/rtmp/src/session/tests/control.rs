//! Control messages, acknowledgements, and messages that nobody expects.

use super::*;
use crate::ack::{OUR_WINDOW, Window};

fn raw(kind: u8, body: &[u8]) -> Message {
    message(2, kind, 0, 0, body.to_vec())
}

/// CTL-01: too short ends the connection, too long is cut, nothing says nothing.
#[test]
fn short_control_ends_the_connection_and_long_control_is_cut() {
    let whole: [(u8, &[u8]); 5] = [
        (kind::ABORT, &[0, 0, 0, 9]),
        (kind::ACKNOWLEDGEMENT, &[0, 0, 0, 9]),
        (kind::USER_CONTROL, &[0, 6, 0, 0, 0, 9]),
        (kind::WINDOW_ACK_SIZE, &[0, 0, 0, 9]),
        (kind::PEER_BANDWIDTH, &[0, 0, 0, 9, 1]),
    ];
    for (kind, body) in whole {
        let mut peer = Peer::ready(Limits::default());
        peer.send(&raw(kind, &[]));
        for extra in [0, 1, 100] {
            peer.send(&raw(kind, &[body, &vec![0xFF; extra]].concat()));
        }
        peer.assert_open();
        for length in 1..body.len() {
            let mut peer = Peer::ready(Limits::default());
            let rule = peer.send_last(&raw(kind, &body[..length]));
            assert!(rule.contains(&format!("of type {kind} has {length} bytes")), "{rule}");
        }
    }
}

/// CTL-01, CHK-08: the chunk size, which the reader obeys itself.
#[test]
fn impossible_chunk_sizes_end_the_connection() {
    for (body, rule) in [
        (&[0, 0, 0, 0][..], "chunk size 0 is not in"),
        (&[0x80, 0, 0, 0], "chunk size 2147483648 is not in"),
        (&[0xFF; 4], "chunk size 4294967295 is not in"),
        (&[0, 0, 1], "of type 1 has 3 bytes"),
    ] {
        let mut peer = Peer::ready(Limits::default());
        let head = [2, 0, 0, 0, 0, 0, body.len() as u8, kind::SET_CHUNK_SIZE, 0, 0, 0, 0];
        let result = peer.bytes(&[&head, body].concat());
        let found = result.unwrap_err().rule;
        assert!(found.contains(rule) && found.starts_with("chunk stream after byte "), "{found}");
    }
}

/// CTL-02.
#[test]
fn control_is_obeyed_wherever_it_comes_from() {
    let mut peer = Peer::ready(Limits::default());
    for (csid, stream, timestamp) in [(3, 0, 0), (4, 1, 7), (8, 0, u32::MAX), (500, 99, 3)] {
        let ping = control_message(Control::User(UserControl::PingRequest(csid)));
        peer.send(&Message { csid, stream, timestamp, ..ping });
        assert_eq!(peer.said(), [format!("Pong {csid}")]);
    }
}

/// CTL-03: an abort storm between the chunks of a message drops that message only.
#[test]
fn an_abort_drops_only_what_is_unfinished_on_its_chunk_stream() {
    let mut peer = Peer::publishing(Limits::default());
    let frame = peer.chunks(&key_frame(1, 0, 1000));
    let other = peer.chunks(&sound(1, 5));
    peer.bytes(&frame[..12 + 128]).unwrap();
    for csid in [0, 1, 2, 3, 4, 5, 7, 65_599, u32::MAX] {
        peer.control(Control::Abort(csid));
    }
    peer.bytes(&other).unwrap();
    peer.bytes(&frame[12 + 128..]).unwrap();
    assert_eq!(peer.events(), ["Frame 1 audio key 5", "Frame 1 video key 0"]);
    peer.bytes(&frame[..12 + 128]).unwrap();
    for _ in 0..1000 {
        peer.control(Control::Abort(6));
    }
    peer.bytes(&frame).unwrap();
    assert_eq!(peer.events(), ["Frame 1 video key 0"]);
}

/// CTL-04.
#[test]
fn odd_windows_bring_no_flood_of_acknowledgements() {
    for (window, least) in [(0, OUR_WINDOW / 2), (1, Window::MIN / 2), (u32::MAX, OUR_WINDOW / 2)] {
        let mut peer = Peer::publishing(Limits::default());
        peer.control(Control::WindowAckSize(window));
        peer.forget();
        let before = peer.raw.len();
        for time in 0..2000 {
            peer.send(&key_frame(1, time, 1000));
        }
        let said = peer.said();
        assert!(said.iter().all(|line| line.starts_with("Acknowledge ")));
        let most = 2000 * 1030 / least as usize + 1;
        assert!((1..=most).contains(&said.len()), "{} for a window of {window}", said.len());
        assert_eq!(peer.raw.len() - before, 16 * said.len());
    }
}

/// CTL-05, CTL-06, CTL-09: what means nothing to a live server.
#[test]
fn unknown_and_meaningless_control_is_ignored() {
    let mut peer = Peer::playing(Limits::default());
    for limit in 0..=255 {
        peer.send(&raw(kind::PEER_BANDWIDTH, &[0, 0, 0, 1, limit]));
    }
    for event in [5].into_iter().chain(8..=30).chain([33, 0x1234, 0xFFFF_u16]) {
        peer.send(&raw(kind::USER_CONTROL, &event.to_be_bytes()));
        peer.send(&raw(kind::USER_CONTROL, &[&event.to_be_bytes()[..], &[1; 100]].concat()));
    }
    for stream in [0, 1, 77] {
        for ms in [0, 3000, u32::MAX] {
            peer.control(Control::User(UserControl::SetBufferLength { stream, ms }));
        }
        for event in [UserControl::StreamBegin, UserControl::StreamEof, UserControl::BufferReady] {
            peer.control(Control::User(event(stream)));
        }
    }
    assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
    peer.assert_open();
}

/// CTL-07: each ping costs one small answer; how many may wait is the connection's business.
#[test]
fn a_flood_of_pings_costs_no_more_than_its_answers() {
    let mut peer = Peer::ready(Limits::default());
    let mut bytes = Vec::new();
    for stamp in 0..10_000 {
        bytes.extend(peer.chunks(&control_message(Control::User(UserControl::PingRequest(stamp)))));
    }
    let before = peer.raw.len();
    peer.bytes(&bytes).unwrap();
    assert_eq!(peer.raw.len() - before, bytes.len());
}

/// CTL-08.
#[test]
fn pongs_that_answer_no_ping_are_ignored() {
    let mut peer = Peer::ready(Limits::default());
    peer.control(Control::User(UserControl::PingResponse(5000)));
    assert_eq!(peer.events(), [""; 0]);
    peer.wait(5000).unwrap();
    assert_eq!(peer.said(), ["Ping 5000"]);
    for stamp in [0, 4999, 5001, u32::MAX] {
        peer.control(Control::User(UserControl::PingResponse(stamp)));
    }
    assert_eq!(peer.events(), [""; 0]);
    peer.now += Duration::from_millis(30);
    peer.control(Control::User(UserControl::PingResponse(5000)));
    peer.control(Control::User(UserControl::PingResponse(5000)));
    assert_eq!(peer.events(), ["Pong 30"], "once");
}

/// ACK-01: a publisher that stops at its window until it hears of an acknowledgement never stands still.
#[test]
fn a_publisher_that_waits_for_acknowledgements_never_stalls() {
    for window in [Some(500_000), Some(2_500_000), None] {
        let mut peer = Peer::publishing(Limits::default());
        if let Some(window) = window {
            peer.control(Control::WindowAckSize(window));
        }
        peer.forget();
        let (mut sent, mut acknowledged) = (0_u64, 0_u64);
        for time in 0..10_000 {
            let frame = key_frame(1, time, 1400);
            sent += peer.chunks(&frame).len() as u64;
            peer.send(&frame);
            for line in peer.said() {
                acknowledged = line.strip_prefix("Acknowledge ").unwrap().parse().unwrap();
            }
            peer.events();
            assert!(sent - acknowledged.min(sent) < u64::from(window.unwrap_or(OUR_WINDOW)));
        }
        assert!(acknowledged > sent * 9 / 10 - 1_250_000);
    }
}

/// ACK-02: the sequence number goes round at 2³², and so do the acknowledgements.
#[test]
fn acknowledgements_go_on_when_their_number_goes_round() {
    let start = u32::MAX - (1 << 20);
    let mut peer = Peer::with(settings(), |session| session.core.window = Window::starting_at(start));
    let (hello, answer) = peer.open(HandshakeKind::Simple);
    peer.bytes(&hello).unwrap();
    peer.bytes(&answer(&peer.raw)).unwrap();
    peer.call(0, "connect", 1.0, &[]);
    peer.accept();
    peer.call(0, "createStream", 2.0, &[]);
    peer.publish("film");
    peer.accept();
    peer.forget();
    let mut acknowledged = Vec::new();
    for time in 0..800 {
        peer.send(&key_frame(1, time, 10_000));
        acknowledged.extend(peer.said().iter().map(|line| line[12..].parse::<u32>().unwrap()));
    }
    assert_eq!(acknowledged.len(), 6);
    assert!(acknowledged.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) < 1_300_000));
    assert!(acknowledged[0] < start, "it went round");
}

/// ACK-03, ACK-04: what peers acknowledge is counted and changes nothing.
#[test]
fn acknowledgements_of_peers_are_counted() {
    let mut peer = Peer::playing(Limits::default());
    for sequence in [10, 5, u32::MAX, 0, 0xF000_0000] {
        peer.control(Control::Acknowledgement(sequence));
    }
    peer.assert_open();
    assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
}

/// CHK-14: a message of every type without content.
#[test]
fn empty_messages_of_any_type_are_ignored() {
    for make in [Peer::ready, Peer::publishing, Peer::playing] {
        let mut peer = make(Limits::default());
        for kind in 0..=255 {
            for stream in [0, 1] {
                let head = [3, 0, 0, 0, 0, 0, 0, kind, stream, 0, 0, 0];
                peer.bytes(&head).unwrap();
            }
        }
        assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
        peer.assert_open();
    }
}

/// CHK-15: `unknownMessages` at −1, 0 and +1.
#[test]
fn messages_of_unknown_types_are_counted_and_limited() {
    let types = || [0, 7].into_iter().chain(10..=14).chain([21]).chain(23..=255_u8);
    let mut peer = Peer::ready(Limits::default());
    for kind in types() {
        peer.send(&message(3, kind, 0, 0, vec![1, 2, 3]));
    }
    let told = peer.events();
    assert_eq!(told.len(), types().count());
    assert!(told.iter().all(|line| line == "Skipped UnknownMessage"));

    for kind in [7, 21, 255] {
        let mut peer = Peer::ready(Limits::default());
        for _ in 0..1000 {
            peer.send(&message(3, kind, 0, 0, vec![1]));
        }
        let rule = peer.send_last(&message(3, kind, 0, 0, vec![1]));
        assert_eq!(rule, "more than unknownMessages = 1000 messages of unknown type");
    }
    let mut peer = Peer::ready(Limits { unknown_messages: 0, ..Limits::default() });
    peer.send_last(&message(3, 7, 0, 0, vec![1]));
}

/// CHK-13: `messageSizeBefore` and `messageSize` at −1, 0 and +1.
#[test]
fn messages_are_limited_in_size_by_what_the_peer_may_do() {
    let limits = || Limits { message_size_before: 2000, message_size: 5000, ..Limits::default() };
    for (make, limit) in [(Peer::ready as fn(Limits) -> Peer, 2000), (Peer::publishing, 5000)] {
        for (size, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
            let mut peer = make(limits());
            let bytes = peer.chunks(&key_frame(1, 0, size - 5));
            let result = peer.bytes(&bytes);
            assert_eq!(result.is_ok(), fits, "{size} of {limit}");
            if let Err(error) = result {
                assert!(error.rule.contains(&format!("of {size} bytes, the limit is {limit}")), "{error}");
            }
        }
    }
}

/// CHK-11, CHK-12: `partialBytesBefore` and `partialBytes` at 0 and +1.
#[test]
fn unfinished_messages_are_limited_by_what_the_peer_may_do() {
    let limits =
        || Limits { partial_bytes_before: 2000, partial_bytes: 5000, chunk_streams: 8, ..Limits::default() };
    for (make, limit) in [(Peer::ready as fn(Limits) -> Peer, 2000), (Peer::publishing, 5000)] {
        let mut peer = make(limits());
        let begin = |csid: u8, length: usize| {
            let head = [csid, 0, 0, 0, 0, 0x10, 0, 9, 1, 0, 0, 0];
            [&head[..], &vec![0; length]].concat()
        };
        let mut sum = 0;
        for csid in 10..15 {
            let result = peer.bytes(&begin(csid, 128));
            sum += 128;
            assert!(result.is_ok(), "{sum}");
        }
        // Continue them in turn until the sum is too large.
        let mut csid = 10;
        let error = loop {
            match peer.bytes(&[&[0xC0 | csid][..], &[0; 128]].concat()) {
                Ok(()) => sum += 128,
                Err(error) => break error,
            }
            csid = if csid == 14 { 10 } else { csid + 1 };
        };
        assert!(sum <= limit && sum + 128 > limit);
        assert!(error.rule.contains(&format!("over their limit of {limit} bytes")), "{error}");
    }
}

/// CHK-19: only message streams that publish have media.
#[test]
fn media_on_other_message_streams_are_stray() {
    let mut peer = Peer::publishing(Limits::default());
    peer.call(0, "createStream", 5.0, &[]);
    peer.forget();
    for stream in [0, 2, 255, 0x0100_0000, u32::MAX] {
        peer.send(&sound(stream, 0));
        peer.send(&key_frame(stream, 0, 10));
        peer.send(&data(stream, "onMetaData", &[object(&[])]));
        assert_eq!(peer.events(), ["Skipped StrayMedia"; 3], "{stream}");
    }
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
    let mut peer = Peer::playing(Limits::default());
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), ["Skipped StrayMedia"]);
}

/// AMF-13: a command of type 17, with its leading zero or without, in AMF0 or in AMF3.
#[test]
fn commands_of_the_amf3_type_are_understood() {
    let mut peer = Peer::ready(Limits::default());
    for (transaction, leading) in [(5.0, &[0][..]), (6.0, &[])] {
        let plain = call(0, "createStream", transaction, &[]);
        let body = [leading, &plain.body].concat();
        peer.send(&Message { kind: kind::COMMAND_AMF3, body: body.into(), ..plain });
    }
    assert_eq!(peer.said(), ["_result 5 2", "_result 6 3"]);
    // The name, the transaction, the object and an argument in AMF3, the last by reference.
    let amf3 = [&[0, 0x11, 6, 9][..], b"echo", &[0x11, 4, 7, 0x11, 1, 0x11, 9, 3, 1, 6, 0]].concat();
    for body in [&amf3[..], &amf3[1..]] {
        peer.send(&message(3, kind::COMMAND_AMF3, 0, 0, body.to_vec()));
        assert_eq!(peer.events(), ["Message 0 echo wants an answer"]);
        let said = r#"command: "echo", args: [Null, StrictArray([String("echo")])]"#;
        assert!(peer.log.last().unwrap().contains(said), "{:?}", peer.log.last());
    }
    let rule = peer.send_last(&message(3, kind::COMMAND_AMF3, 0, 0, vec![0, 0x11, 0x12]));
    assert_eq!(rule, "command: unknown AMF3 marker 0x12 at offset 1");
}

/// What needs AMF3 is said in it, to those who have asked for it when they connected.
#[test]
fn amf3_is_spoken_where_it_was_asked_for_and_is_needed() {
    for (wish, echo) in
        [(Some(3.0), 3.0), (Some(0.0), 0.0), (Some(2.0), 0.0), (Some(f64::NAN), 0.0), (None, 0.0_f64)]
    {
        let mut peer = Peer::shaken(Limits::default());
        let wished = wish.map(|wish: f64| ("objectEncoding", wish.into()));
        let members: Vec<_> = [("app", "live".into())].into_iter().chain(wished).collect();
        peer.send(&command(0, &Command::call("connect", 1.0, object(&members), vec![])));
        let start = peer.raw.len();
        peer.accept();
        let encoding = [&b"\x00\x0eobjectEncoding\x00"[..], &echo.to_be_bytes()].concat();
        assert!(peer.raw[start..].windows(encoding.len()).any(|part| part == encoding), "{wish:?}");
        for value in [Value::Bytes(vec![1, 2]), Value::Object(vec![("k".into(), Value::E4x("<a/>".into()))])]
        {
            peer.call(0, "echo", 5.0, &[]);
            let request = peer.requests.remove(0);
            let Request::Message(request) = request else { panic!("{request:?}") };
            peer.forget();
            peer.order(Order::AnswerMessage { request, result: Ok(value.clone()) });
            let said = peer.said().concat();
            assert_eq!(said.starts_with("17: "), echo == 3.0, "{said}");
            assert_eq!(said.contains(&format!("{value:?}")), echo == 3.0, "{said}");
        }
        peer.call(0, "echo", 6.0, &[]);
        peer.accept();
        assert_eq!(peer.said(), ["_result 6 done"], "what AMF0 can say is said in it");
        // What the server calls is no different.
        let args = vec![Value::Null, Value::Bytes(vec![1])];
        peer.order(Order::Call { ticket: None, command: "take".into(), args });
        assert_eq!(peer.said().concat().starts_with("17: take"), echo == 3.0);
    }
}

/// AMF-01, AMF-06: commands that cannot be read end the connection, those that make no sense are ignored.
#[test]
fn broken_commands_are_told_from_odd_ones() {
    let mut peer = Peer::ready(Limits::default());
    for odd in [&[5][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 1, b'x', 2, 0, 1, b'7']] {
        peer.send(&message(3, kind::COMMAND, 0, 0, odd.to_vec()));
        assert_eq!(peer.events(), ["Skipped BadCommand"]);
    }
    peer.assert_open();
    let whole = call(1, "publish", 3.0, &["film".into()]);
    for length in 1..whole.body.len() {
        let mut peer = Peer::ready(Limits::default());
        let bytes = peer.chunks(&Message { body: whole.body.slice(..length), ..whole.clone() });
        if let Err(error) = peer.bytes(&bytes) {
            assert!(error.rule.contains("AMF data ends inside a value at offset"), "{error}");
        } else {
            assert_eq!(peer.events().len() + peer.said().len(), 1, "cut after {length} bytes");
        }
    }
}
