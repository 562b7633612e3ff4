//! Calls of the server, and what peers make of them.

use super::*;
use crtmp_media::Seconds;

/// Calls `ask` with a text.
fn ask(ticket: impl Into<Option<u64>>) -> Order {
    Order::Call { ticket: ticket.into(), command: "ask".to_owned(), args: vec![Value::Null, "why".into()] }
}

/// The answer of a peer to a call of the server.
fn answer(name: &str, transaction: f64, object: Value, args: &[Value]) -> Message {
    command(0, &Command::call(name, transaction, object, args.to_vec()))
}

/// CMD-12.
#[test]
fn calls_have_transactions_of_their_own_and_their_answers_find_them() {
    let mut peer = Peer::connected(Limits::default());
    for ticket in [70, 71, 72] {
        peer.order(ask(ticket));
    }
    peer.order(ask(None));
    assert_eq!(peer.said(), ["ask 2 why", "ask 3 why", "ask 4 why", "ask why"]);
    peer.send(&answer("_error", 3.0, Value::Null, &[object(&[("code", "no".into())])]));
    peer.send(&answer("_result", 2.0, "first".into(), &[Value::Null, 5.0.into()]));
    assert_eq!(peer.events(), ["CallResult 71 Error no", "CallResult 70 Result first 5"]);
    peer.order(ask(73));
    assert_eq!(peer.said(), ["ask 5 why"], "none is used again");
    for transaction in [2.0, 3.0, 0.0, 1.0, 6.0, -4.0, 4.5, 4e300, f64::NAN, f64::INFINITY] {
        peer.send(&answer("_result", transaction, Value::Null, &[]));
        assert_eq!(peer.events(), ["Skipped BadCommand"], "{transaction}");
    }
    peer.send(&answer("onStatus", 4.0, Value::Null, &[]));
    peer.send(&answer("_result", 4.0, Value::Null, &[]));
    assert_eq!(peer.events(), ["Skipped BadCommand", "CallResult 72 Result"]);
}

/// The application gets the command object, where there is one, and everything after it.
#[test]
fn the_result_of_a_call_is_all_that_the_peer_has_sent() {
    let list = || Value::StrictArray(vec![1.0.into(), Value::Null]);
    for (object, args, expected) in [
        (Value::Null, vec![], vec![Value::Null]),
        (Value::Null, vec![Value::Null, 7.0.into()], vec![Value::Null, Value::Null, 7.0.into()]),
        (object(&[]), vec![], vec![object(&[])]),
        (list(), vec!["x".into(), list()], vec![list(), "x".into(), list()]),
        (Value::Undefined, vec![], vec![Value::Undefined]),
    ] {
        let mut peer = Peer::connected(Limits::default());
        peer.order(ask(7));
        let bytes = peer.chunks(&answer("_result", 2.0, object, &args));
        peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
        let Some(Event::CallResult { ticket: 7, args, .. }) = peer.chain.poll_event() else {
            panic!("a result")
        };
        assert_eq!(args, expected);
    }
}

#[test]
fn a_call_has_its_arguments_in_their_places() {
    let mut peer = Peer::connected(Limits::default());
    for args in [vec![], vec![object(&[("a", 1.0.into())])], vec!["x".into(), Value::Null, 7.0.into()]] {
        let before = peer.raw.len();
        let call = Order::Call { ticket: None, command: "tell".to_owned(), args: args.clone() };
        peer.order(call);
        let mut body = Vec::new();
        let (object, rest) = args.split_first().map_or((Value::Null, &[][..]), |(a, b)| (a.clone(), b));
        Command::call("tell", 0.0, object, rest.to_vec()).encode(&mut body);
        let sent = &peer.raw[before..];
        assert!(sent.ends_with(&body), "{args:?}");
        // Chunk stream 3, full header, message stream 0.
        assert_eq!((sent[0], &sent[8..12]), (3, &[0; 4][..]));
    }
}

/// An application learns of a call that cannot be made before anything else happens.
#[test]
fn a_call_before_the_answer_to_connect_is_refused() {
    let waiting = |limits| {
        let mut peer = Peer::shaken(limits);
        peer.call(0, "connect", 1.0, &[]);
        peer
    };
    for make in [Peer::new as fn(Limits) -> Peer, Peer::shaken, waiting] {
        let mut peer = make(Limits::default());
        peer.forget();
        peer.order(ask(1));
        peer.order(ask(None));
        assert_eq!(peer.events(), ["CallResult 1 Refused"]);
        assert_eq!(peer.said(), [""; 0]);
        assert!(!peer.requests.is_empty() || peer.due() == Some(5000), "no time is changed by it");
    }
}

/// `openCalls` at −1, 0 and +1.
#[test]
fn open_calls_are_limited() {
    let mut peer = Peer::connected(Limits { open_calls: 3, ..Limits::default() });
    for ticket in 1..=3 {
        peer.order(ask(ticket));
        assert_eq!((peer.said().len(), peer.events().len()), (1, 0), "{ticket} of 3");
    }
    peer.order(ask(4));
    assert_eq!(peer.said(), [""; 0]);
    assert_eq!(peer.events(), ["CallResult 4 Refused"]);
    peer.order(ask(None));
    assert_eq!(peer.said(), ["ask why"], "what wants no answer is not open");
    peer.send(&answer("_result", 3.0, Value::Null, &[]));
    peer.order(ask(5));
    assert_eq!(peer.events(), ["CallResult 2 Result"]);
    assert_eq!(peer.said(), ["ask 5 why"]);
}

#[test]
fn a_call_that_no_message_can_hold_is_refused() {
    let mut peer = Peer::connected(Limits::default());
    for ticket in [Some(1), None] {
        let args = vec![Value::Null, "x".repeat(17 << 20).into()];
        peer.order(Order::Call { ticket, command: "tell".to_owned(), args });
    }
    assert_eq!(peer.events(), ["CallResult 1 Refused"]);
    assert_eq!(peer.said(), [""; 0]);
    peer.order(ask(2));
    assert_eq!(peer.said(), ["ask 2 why"]);
}

/// `callTimeout` at −1, 0 and +1 ms; each call has its own.
#[test]
fn a_call_without_an_answer_ends_in_time() {
    let limits = || Limits { call_timeout: Seconds::new(4), ..Limits::default() };
    for (ms, told) in [
        (3999, &[][..]),
        (4000, &["CallResult 1 Timeout"]),
        (4001, &["CallResult 1 Timeout", "CallResult 2 Timeout"]),
        (9000, &["CallResult 1 Timeout", "CallResult 2 Timeout"]),
    ] {
        let mut peer = Peer::playing(limits());
        peer.order(ask(1));
        peer.wait(1).unwrap();
        peer.order(ask(2));
        peer.wait(ms - 1).unwrap();
        assert_eq!(peer.events(), told, "after {ms} ms");
    }
    let mut peer = Peer::playing(limits());
    peer.order(ask(1));
    peer.wait(4000).unwrap();
    peer.forget();
    peer.send(&answer("_result", 2.0, Value::Null, &[]));
    assert_eq!(peer.events(), ["Skipped BadCommand"], "too late");
}

/// Who waits for an answer is not idle, and neither is who is called.
#[test]
fn calls_keep_a_connection_that_does_nothing_else() {
    let mut peer = Peer::connected(Limits { ping_after: Seconds::new(1000), ..Limits::default() });
    peer.order(ask(1));
    peer.wait(29_999).unwrap();
    peer.send(&answer("_result", 2.0, Value::Null, &[]));
    peer.wait(14_999).unwrap();
    peer.order(ask(None));
    peer.wait(14_999).unwrap();
    assert_eq!(peer.events(), ["CallResult 1 Result"]);
    let error = peer.wait(1).unwrap_err();
    assert_eq!(error.rule, "no publish, play or other command within setupTimeout = 15 s");
}

/// An application may decide by what the peer answers: answers do not wait for verdicts.
#[test]
fn answers_do_not_wait_behind_the_verdict() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film");
    peer.order(ask(1));
    peer.forget();
    for stream in [1, 0] {
        let result = Command::result(2.0, Value::Null, vec!["because".into()]);
        peer.send(&command(stream, &result));
    }
    assert_eq!(peer.events(), ["CallResult 1 Result because", "Skipped BadCommand"]);
    peer.accept();
    assert_eq!(peer.events(), [""; 0]);
}

/// A verdict that the application keeps back until it has an answer that nobody reads: `callTimeout` ends it.
#[test]
fn a_call_ends_in_time_while_nothing_is_read() {
    let mut peer = Peer::ready(Limits { commands_before: 8, ..Limits::default() });
    peer.publish("film");
    peer.order(ask(1));
    for time in 0..9 {
        peer.send(&sound(1, time));
    }
    assert!(peer.chain.is_paused());
    peer.forget();
    peer.wait(29_999).unwrap();
    assert_eq!(peer.events(), [""; 0]);
    peer.wait(1).unwrap();
    assert_eq!(peer.events(), ["CallResult 1 Timeout"]);
    peer.accept();
    peer.assert_open();
}

/// Who only answers what the server asks may do so without end.
#[test]
fn answers_do_not_count_as_commands() {
    let mut peer = Peer::connected(Limits { commands_before: 8, ..Limits::default() });
    for ticket in 0..100 {
        peer.order(ask(ticket));
        peer.send(&answer("_result", 2.0 + ticket as f64, Value::Null, &[]));
    }
    assert_eq!(peer.events().len(), 100);
    let mut sent = 0;
    let rule = loop {
        let bytes = peer.chunks(&answer("_result", 2.0, Value::Null, &[]));
        match peer.bytes(&bytes) {
            Ok(()) => sent += 1,
            Err(error) => break error.rule,
        }
    };
    assert_eq!(sent, 7, "with connect");
    assert_eq!(rule, "more than commandsBefore = 8 commands before a publish or play was allowed");
}

#[test]
fn the_end_of_the_connection_ends_calls_without_a_word() {
    let mut peer = Peer::connected(Limits::default());
    peer.order(ask(1));
    peer.order(Order::Close { code: "NetConnection.Connect.Closed".into(), text: String::new() });
    peer.forget();
    peer.order(ask(2));
    peer.send(&answer("_result", 2.0, Value::Null, &[]));
    peer.wait(100_000).unwrap();
    assert_eq!((peer.said().len(), peer.events().len(), peer.due()), (0, 0, None));
}
