//! Message streams and what is published on them.

use super::*;

#[test]
fn message_streams_are_numbered_from_1_and_numbers_come_back() {
    let mut peer = Peer::connected(Limits::default());
    for transaction in 2..5 {
        peer.call(0, "createStream", f64::from(transaction), &[]);
    }
    assert_eq!(peer.said(), ["_result 2 1", "_result 3 2", "_result 4 3"]);
    peer.call(0, "deleteStream", 0.0, &[2.0.into()]);
    peer.call(0, "createStream", 5.0, &[]);
    assert_eq!(peer.said(), ["_result 5 2"]);
}

/// CMD-06: `messageStreams` at −1, 0 and +1, then many more.
#[test]
fn message_streams_are_limited() {
    let mut peer =
        Peer::connected(Limits { message_streams: 3, commands_before: 100_000, ..Limits::default() });
    for id in 1..=3 {
        peer.call(0, "createStream", 2.0, &[]);
        assert_eq!(peer.said(), [format!("_result 2 {id}")]);
    }
    for _ in 0..10_000 {
        peer.call(0, "createStream", 2.0, &[]);
    }
    let said = peer.said();
    assert_eq!(said.len(), 10_000);
    assert!(said.iter().all(|line| line == "_error 2 NetConnection.Call.Failed"));
    peer.call(0, "deleteStream", 0.0, &[3.0.into()]);
    peer.call(0, "createStream", 3.0, &[]);
    assert_eq!(peer.said(), ["_result 3 3"]);
}

#[test]
fn an_accepted_publish_begins_and_its_media_are_told() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film?token=1");
    assert_eq!(peer.events(), ["Publish 1 film?token=1"]);
    assert_eq!(peer.said(), [""; 0]);
    peer.accept();
    assert_eq!(peer.said(), ["StreamBegin 1", "onStatus@1 NetStream.Publish.Start"]);
    peer.send(&key_frame(1, 40, 10));
    peer.send(&sound(1, 50));
    assert_eq!(peer.events(), ["Frame 1 video key 40", "Frame 1 audio key 50"]);
}

/// What ffmpeg, OBS and FMLE say around a publish.
#[test]
fn the_phrases_of_flash_media_encoders_are_answered() {
    let mut peer = Peer::connected(Limits::default());
    peer.call(0, "releaseStream", 2.0, &["film".into()]);
    peer.call(0, "FCPublish", 3.0, &["film".into()]);
    peer.call(0, "createStream", 4.0, &[]);
    assert_eq!(peer.said(), ["_result 2", "_result 3", "onFCPublish NetStream.Publish.Start", "_result 4 1"]);
    peer.publish("film");
    peer.accept();
    peer.forget();
    peer.call(0, "FCUnpublish", 6.0, &["film".into()]);
    assert_eq!(
        peer.said(),
        ["_result 6", "onFCUnpublish NetStream.Unpublish.Success", "onStatus@1 NetStream.Unpublish.Success"]
    );
    peer.call(0, "deleteStream", 7.0, &[1.0.into()]);
    assert_eq!(peer.events(), ["Unpublish 1"], "it ends once");
}

#[test]
fn what_to_do_with_a_published_stream_is_passed_on() {
    for (kind, told) in [
        (Value::from("live"), "Publish 1 film"),
        ("record".into(), "Publish 1 film Record"),
        ("RECORD".into(), "Publish 1 film Record"),
        ("append".into(), "Publish 1 film Append"),
        ("other".into(), "Publish 1 film"),
        (Value::Null, "Publish 1 film"),
        (7.0.into(), "Publish 1 film"),
    ] {
        let mut peer = Peer::ready(Limits::default());
        peer.call(1, "publish", 0.0, &["film".into(), kind]);
        assert_eq!(peer.events(), [told]);
    }
}

/// CMD-04.
#[test]
fn a_publish_without_message_stream_or_name_is_a_bad_name() {
    let mut peer = Peer::connected(Limits::default());
    peer.call(0, "publish", 2.0, &["film".into()]);
    assert_eq!(peer.said(), ["onStatus NetStream.Publish.BadName"]);
    peer.call(1, "publish", 2.0, &["film".into()]);
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"], "before createStream");
    peer.call(0, "createStream", 3.0, &[]);
    peer.forget();
    for stream in [0, 2, 0x0100_0000, u32::MAX] {
        peer.call(stream, "publish", 2.0, &["film".into()]);
        assert!(peer.said()[0].ends_with("NetStream.Publish.BadName"), "{stream}");
    }
    let raw = Value::RawString(vec![0xFF]);
    for args in [&[][..], &[Value::Null], &[7.0.into()], &[object(&[])], &[raw], &[false.into()]] {
        peer.call(1, "publish", 2.0, args);
        assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"], "{args:?}");
    }
    assert_eq!(peer.events(), [""; 0]);
    peer.publish("film");
    assert_eq!(peer.events(), ["Publish 1 film"]);
}

/// CMD-05.
#[test]
fn a_message_stream_has_one_use_at_a_time() {
    let mut peer = Peer::publishing(Limits::default());
    peer.publish("other");
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"]);
    peer.play("film");
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Play.Failed"]);
    assert_eq!(peer.events(), [""; 0]);
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);

    let mut peer = Peer::playing(Limits::default());
    peer.publish("film");
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"]);
    assert_eq!(peer.events(), [""; 0]);
}

#[test]
fn a_refused_publish_leaves_the_message_stream_free() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film");
    peer.reject("NetStream.Publish.BadName");
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"]);
    peer.publish("other");
    peer.answer(Answer::Redirect { url: "rtmp://other/live".into() }).unwrap();
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"]);
    peer.publish("third");
    peer.accept();
    assert_eq!(peer.said()[1], "onStatus@1 NetStream.Publish.Start");
}

/// CMD-07.
#[test]
fn ends_of_what_is_not_there_are_ignored() {
    let mut peer = Peer::publishing(Limits::default());
    for wrong in [2.0, -1.0, 0.5, f64::NAN, f64::INFINITY, 1e300, 4_294_967_297.0] {
        peer.call(0, "deleteStream", 0.0, &[wrong.into()]);
        assert_eq!(peer.events(), ["Skipped BadCommand"], "{wrong}");
    }
    for args in [&[][..], &[Value::Null], &["1".into()]] {
        peer.call(0, "deleteStream", 0.0, args);
        assert_eq!(peer.events(), ["Skipped BadCommand"]);
    }
    peer.call(2, "closeStream", 0.0, &[]);
    assert_eq!(peer.events(), ["Skipped BadCommand"]);
    assert_eq!(peer.said(), [""; 0]);

    for _ in 0..2 {
        peer.call(1, "closeStream", 0.0, &[]);
    }
    assert_eq!(peer.events(), ["Unpublish 1"]);
    for _ in 0..2 {
        peer.call(0, "deleteStream", 0.0, &[1.0.into()]);
    }
    assert_eq!(peer.events(), ["Skipped BadCommand"]);
}

/// Flash ends a publish by publishing nothing.
#[test]
fn publishing_false_or_null_ends_a_publish() {
    for nothing in [Value::Null, false.into()] {
        let mut peer = Peer::publishing(Limits::default());
        peer.call(1, "publish", 0.0, &[nothing]);
        assert_eq!(peer.events(), ["Unpublish 1"]);
        assert_eq!(peer.said(), ["onStatus@1 NetStream.Unpublish.Success"]);
    }
}

/// CMD-14: what comes before the verdict is kept and delivered in order after a yes, and dropped after a no.
#[test]
fn media_before_the_verdict_wait_for_it() {
    let ask = || {
        let mut peer = Peer::ready(Limits::default());
        peer.publish("film");
        peer.send(&data(1, "onMetaData", &[object(&[])]));
        peer.send(&key_frame(1, 0, 10_000));
        peer.send(&sound(1, 5));
        peer.control(Control::User(UserControl::PingRequest(7)));
        peer.call(0, "_checkbw", 9.0, &[]);
        assert_eq!(peer.events(), ["Publish 1 film"]);
        assert_eq!(peer.said(), ["Pong 7", "_result 9"], "everything else is served meanwhile");
        peer
    };
    let mut peer = ask();
    peer.accept();
    assert_eq!(
        peer.events(),
        ["Metadata 1 of 0 values", "Frame 1 data info 0", "Frame 1 video key 0", "Frame 1 audio key 5"]
    );
    let mut peer = ask();
    peer.reject("NetStream.Publish.BadName");
    assert_eq!(peer.events(), ["Skipped StrayMedia"; 3]);
    peer.assert_open();
}

/// CMD-14: commands on the message stream wait as well, and keep their place among the media.
#[test]
fn commands_on_a_message_stream_that_waits_keep_their_order() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("film");
    peer.send(&sound(1, 0));
    peer.call(1, "marker", 7.0, &[]);
    peer.send(&sound(1, 20));
    peer.publish("other");
    peer.forget();
    peer.accept();
    assert_eq!(
        peer.events(),
        ["Frame 1 audio key 0", "Message 1 marker wants an answer", "Frame 1 audio key 20"]
    );
    assert_eq!(peer.said()[2..], ["onStatus@1 NetStream.Publish.BadName"]);
}

/// CMD-14: `heldBytes` at −1, 0 and +1: then the connection is not read.
#[test]
fn bytes_that_wait_for_a_verdict_are_limited_by_back_pressure() {
    for (more, paused) in [(-1, false), (0, false), (1, true)] {
        let limits = Limits { held_bytes: 2000, ..Limits::default() };
        let mut peer = Peer::ready(limits);
        peer.publish("film");
        peer.send(&key_frame(1, 0, 995));
        peer.send(&key_frame(1, 0, (995 + more) as usize));
        assert_eq!(peer.chain.is_paused(), paused, "{more}");
        // What the carrier had read already is kept as well.
        peer.send(&sound(1, 40));
        peer.forget();
        peer.accept();
        assert_eq!(peer.events().len(), 3);
        assert!(!peer.chain.is_paused());
        peer.assert_open();
    }
}

/// CMD-14: `commandsBefore` at −1, 0 and +1 bounds the number of messages that wait.
#[test]
fn messages_that_wait_for_a_verdict_are_limited_by_back_pressure() {
    for (count, paused) in [(7, false), (8, false), (9, true)] {
        let mut peer = Peer::ready(Limits { commands_before: 8, ..Limits::default() });
        peer.publish("film");
        for time in 0..count {
            peer.send(&sound(1, time));
        }
        assert_eq!(peer.chain.is_paused(), paused, "{count}");
        peer.reject("NetStream.Publish.BadName");
        assert!(!peer.chain.is_paused());
        assert_eq!(peer.events().len(), 1 + count as usize);
    }
}

/// CMD-14: a frame that is larger than anybody may send who has been allowed nothing waits where it is.
#[test]
fn a_large_frame_before_the_verdict_is_no_offence() {
    let ask = |cut: usize| {
        let mut peer = Peer::ready(Limits::default());
        peer.publish("film");
        let bytes = peer.chunks(&key_frame(1, 0, 100_000));
        for piece in bytes.chunks(cut) {
            peer.bytes(piece).unwrap();
        }
        assert_eq!(peer.events(), ["Publish 1 film"]);
        peer
    };
    for cut in [1, 12, 13, 5000, 1 << 20] {
        let mut peer = ask(cut);
        assert!(peer.chain.is_paused(), "in pieces of {cut}");
        peer.accept();
        assert_eq!(peer.events(), ["Frame 1 video key 0"]);
        peer.assert_open();

        let mut peer = ask(cut);
        let answer = Answer::Reject { code: "NetStream.Publish.BadName".into(), text: "no".into() };
        let rule = peer.answer(answer).unwrap_err().rule;
        assert!(rule.contains("a message of 100005 bytes, the limit is 65536"), "{rule}");
    }
}

/// The same for several that together are too large.
#[test]
fn large_frames_side_by_side_before_the_verdict_are_no_offence() {
    let mut peer = Peer::ready(Limits::default());
    peer.control(Control::SetChunkSize(1000));
    peer.publish("film");
    let frames = [6, 7].map(|csid| {
        let message = Message { csid, ..key_frame(1, 0, 60_000) };
        peer.chunks(&message)
    });
    // A header of 12 or 1 bytes and 1000 of the frame.
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < frames[0].len() {
        let end = (if at == 0 { 1012 } else { at + 1001 }).min(frames[0].len());
        frames.iter().for_each(|frame| bytes.extend_from_slice(&frame[at..end]));
        at = end;
    }
    peer.bytes(&bytes).unwrap();
    assert!(peer.chain.is_paused());
    peer.accept();
    assert_eq!(peer.events(), ["Publish 1 film", "Frame 1 video key 0", "Frame 1 video key 0"]);
}

/// Two message streams wait, one of them too full: reading goes on when that one has its verdict.
#[test]
fn a_verdict_on_another_message_stream_does_not_end_the_pause() {
    let mut peer = Peer::ready(Limits { commands_before: 8, ..Limits::default() });
    peer.call(0, "createStream", 3.0, &[]);
    peer.publish("one");
    peer.call(2, "publish", 5.0, &["two".into()]);
    for time in 0..9 {
        peer.send(&sound(2, time));
    }
    peer.send(&sound(1, 0));
    assert!(peer.chain.is_paused());
    peer.accept();
    assert!(peer.chain.is_paused(), "the second one is still too full");
    peer.forget();
    peer.accept();
    assert!(!peer.chain.is_paused());
    let events = peer.events();
    assert_eq!(events.len(), 10);
    assert_eq!(events[9], "Frame 1 audio key 0", "it came after what waited");
}

/// The end of a message stream does not wait for the verdict on its beginning; the verdict comes too late.
#[test]
fn a_publish_can_be_taken_back_before_its_verdict() {
    for end in [
        call(1, "closeStream", 0.0, &[]),
        call(0, "deleteStream", 0.0, &[1.0.into()]),
        call(0, "FCUnpublish", 0.0, &["film".into()]),
    ] {
        let mut peer = Peer::ready(Limits::default());
        peer.publish("film");
        peer.send(&sound(1, 0));
        peer.call(1, "marker", 7.0, &[]);
        peer.call(1, "_result", 8.0, &[]);
        peer.send(&end);
        let told = ["Publish 1 film", "Skipped StrayMedia", "Skipped BadCommand", "Unpublish 1"];
        assert_eq!(peer.events(), told);
        let said = peer.said();
        assert!(said.contains(&"_error 7 NetConnection.Call.Failed".to_owned()), "no call is forgotten");
        assert!(!said.iter().any(|line| line.starts_with("_error 8")), "an answer is no call");
        peer.accept();
        assert_eq!((peer.said().len(), peer.events().len()), (0, 0));
        peer.send(&sound(1, 20));
        assert_eq!(peer.events(), ["Skipped StrayMedia"]);
    }
}

/// A late verdict on a publish that was taken back is no verdict on the next one.
#[test]
fn a_late_verdict_does_not_reach_the_next_publish() {
    let mut peer = Peer::ready(Limits::default());
    peer.publish("one");
    peer.call(1, "closeStream", 0.0, &[]);
    peer.publish("two");
    assert_eq!(peer.events(), ["Publish 1 one", "Unpublish 1", "Publish 1 two"]);
    peer.accept();
    assert_eq!(peer.said(), [""; 0]);
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), [""; 0], "it still waits");
    peer.accept();
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
}

/// CMD-15.
#[test]
fn media_after_the_end_of_a_publish_are_ignored() {
    for end in [call(1, "closeStream", 0.0, &[]), call(0, "deleteStream", 0.0, &[1.0.into()])] {
        let mut peer = Peer::publishing(Limits::default());
        peer.send(&end);
        peer.send(&sound(1, 0));
        assert_eq!(peer.events(), ["Unpublish 1", "Skipped StrayMedia"]);
        peer.assert_open();
    }
}

/// CMD-16: names in these commands are those of the peer's own streams.
#[test]
fn commands_about_the_streams_of_others_have_no_effect() {
    let mut peer = Peer::publishing(Limits::default());
    for name in ["releaseStream", "FCUnpublish", "FCUnsubscribe"] {
        for args in [&["another".into()][..], &[], &[Value::Null]] {
            peer.call(0, name, 7.0, args);
            assert_eq!(peer.events(), [""; 0], "{name}");
            assert_eq!(peer.said()[0], "_result 7");
        }
    }
}

/// The server ends a publish, for example because another publisher took over.
#[test]
fn a_publish_that_the_server_stops_is_over_without_an_event() {
    let mut peer = Peer::publishing(Limits::default());
    let slot = crtmp_media::StreamSlot(1);
    let stop = || Order::StopPublish { slot, code: "NetStream.Publish.BadName".into(), text: "taken".into() };
    peer.order(stop());
    assert_eq!(peer.said(), ["onStatus@1 NetStream.Publish.BadName"]);
    peer.order(stop());
    peer.send(&sound(1, 0));
    peer.call(1, "closeStream", 0.0, &[]);
    assert_eq!(peer.said(), [""; 0]);
    assert_eq!(peer.events(), ["Skipped StrayMedia"]);
    peer.publish("again");
    peer.accept();
    assert_eq!(peer.said()[1], "onStatus@1 NetStream.Publish.Start");
}

/// Each publish has a clock of its own.
#[test]
fn a_new_publish_begins_with_the_time_that_it_says() {
    let mut peer = Peer::publishing(Limits::default());
    peer.send(&sound(1, 3_000_000_000));
    peer.call(1, "closeStream", 0.0, &[]);
    peer.publish("film");
    peer.accept();
    peer.forget();
    peer.send(&sound(1, 0));
    assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
}
