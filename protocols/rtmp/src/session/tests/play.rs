//! What is played on message streams, and what the application is asked.

use super::*;
use crtmp_media::StreamSlot;

const SLOT: StreamSlot = StreamSlot(1);

#[test]
fn an_accepted_play_begins_in_the_order_that_clients_know() {
    let mut peer = Peer::ready(Limits::default());
    peer.play("film");
    assert_eq!(peer.events(), ["Play 1 film"]);
    peer.accept();
    assert_eq!(
        peer.said(),
        [
            "StreamBegin 1",
            "onStatus@1 NetStream.Play.Reset",
            "onStatus@1 NetStream.Play.Start",
            "data@1 |RtmpSampleAccess true true",
        ]
    );
}

#[test]
fn a_play_says_where_to_start_and_in_which_format() {
    for (args, start, duration, reset) in [
        (&[][..], -2000, -1, true),
        (&[(-1000.0).into()], -1000, -1, true),
        (&[5000.0.into(), 100.0.into(), false.into()], 5000, 100, false),
        (&[Value::Null, Value::Null, 0.0.into()], -2000, -1, false),
        (&[f64::NAN.into(), 1e300.into(), 2.0.into()], 0, i64::MAX, true),
        (&["0".into(), false.into(), "x".into()], -2000, -1, true),
    ] {
        let mut peer = Peer::ready(Limits::default());
        let args = [&["film".into()][..], args].concat();
        let bytes = peer.chunks(&call(1, "play", 0.0, &args));
        peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
        let Some(Event::Play(play)) = peer.chain.poll_event() else { panic!("a play") };
        assert_eq!((play.start_ms, play.duration_ms), (start, duration), "{args:?}");
        assert_eq!((play.format.variant, play.format.chunk_size), (1, 60_000));
        peer.order(Order::AnswerPlay { request: play.request, answer: Answer::Accept });
        assert_eq!(peer.said().contains(&"onStatus@1 NetStream.Play.Reset".into()), reset);
    }
}

#[test]
fn a_play_without_message_stream_or_name_fails() {
    let mut peer = Peer::ready(Limits::default());
    for stream in [0, 2, u32::MAX] {
        peer.call(stream, "play", 0.0, &["film".into()]);
        assert!(peer.said()[0].ends_with("NetStream.Play.Failed"));
    }
    for args in [&[][..], &[Value::Null], &[7.0.into()], &[false.into()]] {
        peer.call(1, "play", 0.0, args);
        assert_eq!(peer.said(), ["onStatus@1 NetStream.Play.Failed"]);
    }
    assert_eq!(peer.events(), [""; 0]);
}

/// CMD-08: the application or the relay decides what an unknown name means; the session says it.
#[test]
fn a_play_of_a_name_that_nobody_publishes_is_told_so() {
    let mut peer = Peer::ready(Limits::default());
    peer.play("film");
    peer.reject("NetStream.Play.StreamNotFound");
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Play.StreamNotFound"]);

    let mut peer = Peer::playing(Limits::default());
    peer.order(Order::SourceMissing { slot: SLOT, name: "film".into() });
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Play.StreamNotFound"]);
    peer.call(1, "closeStream", 0.0, &[]);
    assert_eq!(peer.events(), [""; 0], "the server knows that it is over");
}

/// A second play on the same message stream switches to another stream: the first one ends.
#[test]
fn a_second_play_switches() {
    let mut peer = Peer::playing(Limits::default());
    peer.play("other");
    assert_eq!(peer.events(), ["Unplay 1", "Play 1 other"]);
    peer.order(Order::SourceEnded { slot: SLOT });
    assert_eq!(peer.said(), [""; 0], "news of the first one come too late");
    peer.accept();
    assert!(peer.said().contains(&"onStatus@1 NetStream.Play.Start".to_owned()));
    peer.play("third");
    peer.reject("NetStream.Play.StreamNotFound");
    assert_eq!(peer.events(), ["Unplay 1", "Play 1 third"]);
    peer.call(1, "closeStream", 0.0, &[]);
    assert_eq!(peer.events(), [""; 0]);
}

/// Switches that come faster than verdicts are done one after the other.
#[test]
fn pipelined_switches_keep_their_order() {
    let mut peer = Peer::ready(Limits::default());
    for name in ["one", "two", "three"] {
        peer.play(name);
    }
    assert_eq!(peer.events(), ["Play 1 one"]);
    peer.accept();
    assert_eq!(peer.events(), ["Unplay 1", "Play 1 two"]);
    peer.reject("NetStream.Play.Failed");
    assert_eq!(peer.events(), ["Play 1 three"]);
    peer.accept();
    peer.call(1, "closeStream", 0.0, &[]);
    assert_eq!(peer.events(), ["Unplay 1"]);
}

#[test]
fn a_play_can_be_taken_back_before_its_verdict() {
    let mut peer = Peer::ready(Limits::default());
    peer.play("film");
    peer.call(1, "pause", 0.0, &[true.into()]);
    peer.call(1, "closeStream", 0.0, &[]);
    assert_eq!(peer.events(), ["Play 1 film", "Skipped BadCommand", "Unplay 1"]);
    peer.accept();
    assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
}

#[test]
fn playing_false_or_null_ends_a_play() {
    for nothing in [Value::Null, false.into()] {
        let mut peer = Peer::playing(Limits::default());
        peer.call(1, "play", 0.0, &[nothing]);
        assert_eq!(peer.events(), ["Unplay 1"]);
    }
}

/// CMD-09.
#[test]
fn what_a_live_stream_cannot_do_is_said() {
    let mut peer = Peer::playing(Limits::default());
    let pause = |flag: bool| call(1, "pause", 0.0, &[flag.into(), 0.0.into()]);
    for (message, said, event) in [
        (pause(true), "NetStream.Pause.Notify", Some("Pause 1 true")),
        (pause(true), "NetStream.Pause.Notify", Some("Pause 1 true")),
        (pause(false), "NetStream.Unpause.Notify", Some("Pause 1 false")),
        (call(1, "seek", 0.0, &[(-1.0).into()]), "NetStream.Seek.Failed", None),
        (call(1, "seek", 0.0, &[1e18.into()]), "NetStream.Seek.Failed", None),
        (call(1, "play2", 0.0, &[object(&[])]), "NetStream.Play.Failed", None),
    ] {
        peer.send(&message);
        assert_eq!(peer.said(), [format!("onStatus@1 {said}")]);
        assert_eq!(peer.events(), Vec::from_iter(event));
    }
    peer.call(1, "receiveVideo", 0.0, &[false.into()]);
    peer.call(1, "receiveAudio", 0.0, &[true.into()]);
    assert_eq!(peer.events(), ["Receive 1 None Some(false)", "Receive 1 Some(true) None"]);
    for wrong in [&[][..], &[Value::Null], &[1.0.into()]] {
        for name in ["pause", "receiveVideo", "receiveAudio"] {
            peer.call(1, name, 0.0, wrong);
            assert_eq!(peer.events(), ["Skipped BadCommand"]);
        }
    }
    assert_eq!(peer.said(), [""; 0]);
}

#[test]
fn news_of_the_source_reach_who_plays_it() {
    let mut peer = Peer::playing(Limits::default());
    peer.order(Order::SourceStarted { slot: SLOT });
    assert_eq!(peer.said(), ["StreamBegin 1", "onStatus@1 NetStream.Play.PublishNotify"]);
    peer.order(Order::SourceEnded { slot: SLOT });
    assert_eq!(
        peer.said(),
        ["onStatus@1 NetStream.Play.UnpublishNotify", "onStatus@1 NetStream.Play.Stop", "StreamEof 1"]
    );
    for slot in [SLOT, StreamSlot(2), StreamSlot(0)] {
        peer.order(Order::SourceStarted { slot });
        peer.order(Order::SourceEnded { slot });
        peer.order(Order::SourceMissing { slot, name: "film".into() });
    }
    assert_eq!(peer.said(), [""; 0]);
    peer.play("film");
    assert_eq!(peer.events(), ["Play 1 film"], "the message stream is free again");
}

fn stop(slot: StreamSlot, code: &str) -> Order {
    Order::StopPlay { slot, code: code.to_owned(), text: "an operator wants it".to_owned() }
}

#[test]
fn a_play_that_the_server_stops_ends_for_every_kind_of_player() {
    let mut peer = Peer::playing(Limits::default());
    peer.order(stop(SLOT, "NetStream.Play.Failed"));
    let end = ["onStatus@1 NetStream.Play.Failed", "onStatus@1 NetStream.Play.Stop", "StreamEof 1"];
    assert_eq!(peer.said(), end);
    assert_eq!(peer.events(), [""; 0], "the server knows that it is over");
    peer.order(stop(SLOT, "NetStream.Play.Failed"));
    assert_eq!(peer.said(), [""; 0], "once");
    peer.play("film");
    assert_eq!(peer.events(), ["Play 1 film"], "the message stream is free again");
    peer.accept();
    peer.forget();
    peer.order(stop(SLOT, "NetStream.Play.Stop"));
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Play.Stop", "StreamEof 1"]);
}

/// A play that nobody has decided yet can be stopped, too; then it is free for what waited behind it.
#[test]
fn a_play_that_waits_for_its_verdict_can_be_stopped() {
    let mut peer = Peer::ready(Limits::default());
    for name in ["one", "two"] {
        peer.play(name);
    }
    assert_eq!(peer.events(), ["Play 1 one"]);
    peer.order(stop(SLOT, "NetStream.Play.StreamNotFound"));
    let end = ["onStatus@1 NetStream.Play.StreamNotFound", "onStatus@1 NetStream.Play.Stop", "StreamEof 1"];
    assert_eq!(peer.said(), end);
    assert_eq!(peer.events(), ["Play 1 two"]);
    peer.accept();
    assert_eq!(peer.said(), [""; 0], "the verdict comes too late");
    peer.accept();
    assert!(
        peer.said().contains(&"onStatus@1 NetStream.Play.Start".to_owned()),
        "and the second has its own"
    );
}

/// What waits behind a play may be so much that nothing is read.
#[test]
fn a_stopped_play_lets_a_full_connection_go_on() {
    let mut peer = Peer::ready(Limits { commands_before: 8, ..Limits::default() });
    peer.play("film");
    for time in 0..9 {
        peer.send(&sound(1, time));
    }
    assert!(peer.chain.is_paused());
    peer.order(stop(SLOT, "NetStream.Play.Failed"));
    assert!(!peer.chain.is_paused());
    peer.assert_open();
}

#[test]
fn only_plays_are_stopped_by_it() {
    for make in [Peer::connected, Peer::ready, Peer::publishing] {
        let mut peer = make(Limits::default());
        for slot in [SLOT, StreamSlot(2), StreamSlot(0)] {
            peer.order(stop(slot, "NetStream.Play.Failed"));
        }
        assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
    }
}

/// CMD-11.
#[test]
fn a_message_has_the_command_object_and_all_that_follows() {
    let mut peer = Peer::ready(Limits::default());
    let all = [Value::Null, 7.0.into(), Value::StrictArray(vec!["x".into()]), Value::Undefined];
    for object in [Value::Null, object(&[("a", 1.0.into())]), "no object".into()] {
        let said = Command::call("chat", 0.0, object.clone(), all.to_vec());
        let bytes = peer.chunks(&command(0, &said));
        peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
        let Some(Event::Message { args, .. }) = peer.chain.poll_event() else { panic!("a message") };
        assert_eq!(args, [&[object][..], &all].concat());
    }
}

/// CMD-11.
#[test]
fn commands_that_the_protocol_does_not_know_are_the_applications() {
    let mut peer = Peer::ready(Limits::default());
    peer.call(0, "shout", 7.0, &["hello".into()]);
    peer.call(1, "whisper", 0.0, &[]);
    peer.call(0, "mutter", f64::NAN, &[]);
    assert_eq!(peer.events(), ["Message 0 shout wants an answer", "Message 1 whisper", "Message 0 mutter"]);
    peer.reject("NetConnection.Call.Failed");
    assert_eq!(peer.said(), ["_error 7 NetConnection.Call.Failed"]);

    peer.call(1, "ask", 8.0, &[]);
    peer.accept();
    assert_eq!(peer.said(), ["_result@1 8 done"]);
    peer.call(1, "ask", 9.0, &[]);
    peer.call(0, "deleteStream", 0.0, &[1.0.into()]);
    peer.accept();
    assert_eq!(peer.said(), ["_result 9 done"], "its message stream is gone, its caller is not");
}

/// CMD-12.
#[test]
fn answers_to_what_was_never_asked_are_ignored() {
    let mut peer = Peer::ready(Limits::default());
    for name in ["_result", "_error", "onStatus"] {
        for transaction in [0.0, 1.0, 77.0, -1.0, f64::NAN] {
            peer.call(0, name, transaction, &[object(&[])]);
            peer.call(1, name, transaction, &[7.0.into()]);
            assert_eq!(peer.events(), ["Skipped BadCommand"; 2]);
        }
    }
    assert_eq!(peer.said(), [""; 0]);
}

/// Answers that the server gives twice, too late, or to the wrong question are no news to the peer.
#[test]
fn answers_to_no_request_are_ignored() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film");
    let Some(&Request::Publish(request)) = peer.requests.first() else { panic!("a publish") };
    peer.order(Order::AnswerPlay { request, answer: Answer::Accept });
    peer.order(Order::AnswerConnect { request, answer: Answer::Accept });
    peer.order(Order::AnswerMessage { request, result: Ok(Value::Null) });
    peer.order(Order::AnswerPublish { request: RequestId(999), answer: Answer::Accept });
    assert_eq!(peer.said(), [""; 0]);
    peer.accept();
    assert_eq!(peer.said(), ["StreamBegin 1", "onStatus@1 NetStream.Publish.Start"]);
    peer.order(Order::AnswerPublish { request, answer: Answer::Accept });
    assert_eq!(peer.said(), [""; 0]);
}
