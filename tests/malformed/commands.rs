//! CMD: commands and the state of a session.

use std::time::{Duration, Instant};

use crtmp_tests::{
    Config,
    shared_object::{SUCCESS, Said, SharedObject, key},
    wait_for,
    wire::{Client, Message, amf, connect, play, publish},
};

use crate::{
    SOON, audio, call, key_frame,
    stage::{Stage, reset},
    video,
};

/// The command `connect` with these properties.
fn connect_with(properties: &[(&str, Vec<u8>)]) -> Message {
    Message::command(0, "connect", 1.0, &[amf::object(properties)])
}

/// A command on message stream 1 that wants no answer.
fn on_stream(name: &str, values: &[Vec<u8>]) -> Message {
    Message::command(1, name, 0.0, &[&[amf::null()][..], values].concat())
}

#[test]
fn commands_at_the_wrong_time_or_with_wrong_words() {
    let config = Config::new().application("playWait", "1").application("publisherReturn", "0");
    let stage = Stage::start(&config);

    stage.case("CMD-01 before connect", || {
        let mut client = stage.shaken();
        for name in ["createStream", "releaseStream", "FCPublish", "nobody"] {
            client.send(&call(name, 7.0));
            client.expect("_error");
        }
        client.send(&publish(1, "x"));
        client.expect("NetStream.Publish.BadName");
        client.send(&play(1, "x"));
        client.expect("NetStream.Play.Failed");
        client.send(&connect("live", "rtmp://localhost/live"));
        client.expect("_result");
    });
    stage.case("CMD-02 connect twice", || {
        let mut client = stage.connected();
        client.send(&connect("live", "rtmp://localhost/live"));
        client.expect("NetConnection.Connect.Rejected");
        client.expect_open();
    });
    stage.case("CMD-03 a connect that names no application", || {
        let long = amf::string(&"x".repeat(60_000));
        for properties in [
            &[][..],
            &[("app", amf::string(""))],
            &[("app", amf::number(7.0))],
            &[("app", long)],
            &[("app", amf::string("../.."))],
        ] {
            let mut client = stage.shaken();
            client.send(&connect_with(properties));
            client.expect("NetConnection.Connect.InvalidApp");
            client.expect_close(SOON);
        }
        let mut client = stage.shaken();
        client.send(&connect_with(&[("app", amf::string("nobody"))]));
        client.expect("NetConnection.Connect.InvalidApp");
        client.expect_close(SOON);
    });
    stage.case("CMD-04 a publish without stream or name", || {
        let mut client = stage.connected();
        client.send(&publish(1, "x"));
        client.expect("NetStream.Publish.BadName");
        client.create_stream();
        for values in
            [&[][..], &[amf::null()], &[amf::number(7.0)], &[amf::string("")], &[amf::string("a/../b")]]
        {
            client.send(&on_stream("publish", values));
            client.expect("NetStream.Publish.BadName");
        }
        client.expect_open();
    });
    stage.case("CMD-05 two uses of one message stream", || {
        let mut client = stage.publisher("one");
        client.send(&publish(1, "two"));
        client.expect("NetStream.Publish.BadName");
        client.send(&play(1, "one"));
        client.expect("NetStream.Play.Failed");
        assert!(stage.counters().publisher_of("one").is_some(), "the first use goes on");
    });
    stage.case("CMD-06 createStream without end", || {
        let mut client = stage.connected();
        for transaction in 0..40 {
            client.send(&call("createStream", f64::from(transaction)));
        }
        stage.ends(client, "more than commandsBefore = 32 commands before a publish or play was allowed");
        let mut client = stage.publisher("busy");
        let creates = call("createStream", 8.0).chunks(128).repeat(10_000);
        client.write(&creates);
        let (mut given, mut refused) = (0, 0);
        while given + refused < 10_000 {
            let message = client.message(SOON).expect("an answer to each");
            given += usize::from(message.says("_result"));
            refused += usize::from(message.says("_error"));
        }
        assert_eq!((given, refused), (15, 9985));
    });
    stage.case("CMD-07 ends of what is not there", || {
        let mut client = stage.publisher("kept");
        for id in [2.0, -1.0, f64::NAN, f64::INFINITY, 4_294_967_297.0] {
            client.send(&Message::command(0, "deleteStream", 0.0, &[amf::null(), amf::number(id)]));
        }
        client.send(&Message { stream: 9, ..on_stream("closeStream", &[]) });
        client.expect_open();
        assert!(stage.counters().publisher_of("kept").is_some());
        for _ in 0..2 {
            client.send(&on_stream("closeStream", &[]));
            client.send(&Message::command(0, "deleteStream", 0.0, &[amf::null(), amf::number(1.0)]));
        }
        client.expect_open();
        assert!(stage.counters().publisher_of("kept").is_none());
    });
    stage.case("CMD-08 a play of what nobody publishes", || {
        let missed = || stage.counters().json()["workers"][0]["playsMissed"].as_u64().expect("a number");
        let before = missed();
        let mut client = stage.player("nobody");
        let start = Instant::now();
        client.expect("NetStream.Play.StreamNotFound");
        assert!(start.elapsed() > Duration::from_millis(900), "it waits a second");
        client.expect_open();
        assert_eq!(missed() - before, 1);
    });
    stage.case("CMD-09 what a live stream cannot do", || {
        let mut publisher = stage.publisher("live");
        let mut player = stage.player("live");
        for (message, answer) in [
            (on_stream("pause", &[amf::boolean(true)]), "NetStream.Pause.Notify"),
            (on_stream("pause", &[amf::boolean(true)]), "NetStream.Pause.Notify"),
            (on_stream("seek", &[amf::number(-1.0)]), "NetStream.Seek.Failed"),
            (on_stream("seek", &[amf::number(1e18)]), "NetStream.Seek.Failed"),
            (on_stream("play2", &[amf::object(&[])]), "NetStream.Play.Failed"),
        ] {
            player.send(&message);
            player.expect(answer);
        }
        // Nothing piles up for a player that pauses.
        publisher.send(&crate::control(1, &[0, 1, 0, 0]));
        let before = stage.resident();
        for time in 0..2000 {
            publisher.write(&key_frame(time, 60_000).chunks(65_536));
        }
        publisher.write(&call("createStream", 9.0).chunks(65_536));
        publisher.expect("_result");
        assert!(stage.resident() <= before + 64 * 1024, "as much as is kept for those who join, and no more");
        player.send(&on_stream("pause", &[amf::boolean(false)]));
        player.expect("NetStream.Unpause.Notify");
        publisher.write(&key_frame(5000, 10).chunks(65_536));
        wait_for("the newest picture", SOON, || (player.expect_kind(9).time == 5000).then_some(()));
        player.send(&on_stream("receiveVideo", &[amf::boolean(false)]));
        player.expect_open();
        publisher.write(&key_frame(5040, 10).chunks(65_536));
        publisher.write(&audio(5040, &[0xAF, 1, 2]).chunks(65_536));
        let next = player.message(SOON).expect("the sound");
        assert_eq!((next.kind, next.time), (8, 5040));
    });
    stage.case("CMD-10 publish and leave at once, again and again", || {
        for _ in 0..200 {
            drop(stage.publisher("brief"));
        }
        stage.forgets();
        let log = stage.server.log();
        let mut published = 0;
        for line in log.lines().filter(|line| line.contains("stream=brief ")) {
            published += if line.contains(" published") { 1 } else { -1 };
            assert!((0..=1).contains(&published), "in turns: {line}");
        }
        assert_eq!(published, 0);
    });
    stage.case("CMD-11, CMD-12 words that nobody knows", || {
        let mut client = stage.connected();
        client.send(&call("nobody", 7.0));
        client.expect("_error");
        client.send(&call("nobody", 0.0));
        for name in ["_result", "_error", "onStatus"] {
            client.send(&call(name, 77.0));
        }
        client.expect_open();
    });
    stage.case("CMD-13 shared objects without end, odd versions, huge values", || {
        let mut client = stage.connected();
        let object = |number: usize| SharedObject::transient(&format!("object {number}"));
        object(0).open(&mut client);
        for number in 1..1000 {
            client.send(&object(number).ask());
        }
        for number in 1..1000 {
            let said = Said::expect(&mut client);
            let refused = (number >= 32).then_some("SharedObject.NoReadAccess");
            assert_eq!((said.name.as_str(), said.code()), (format!("object {number}").as_str(), refused));
        }
        // Whatever version it claims to know, the last change counts.
        for (number, version) in [[0; 4], [0xFF; 4], [0, 0, 0, 1]].into_iter().enumerate() {
            let mut change = object(0).change("slot", &amf::number(number as f64));
            let at = key("object 0").len();
            change.payload[at..at + 4].copy_from_slice(&version);
            client.send(&change);
            let said = Said::expect(&mut client);
            assert_eq!((said.kinds(), said.version), (vec![SUCCESS], number as u32 + 1));
        }
        // Too large, and the same by names; a slot that goes while others look.
        client.send(&object(0).change("large", &amf::object(&[("a", amf::string(&"x".repeat(64_000))); 1])));
        assert_eq!(Said::expect(&mut client).kinds(), [SUCCESS]);
        for (slot, length, code) in
            [("more", 64_500, None), ("too much", 10_000, Some("SharedObject.NoWriteAccess"))]
        {
            client.send(&object(0).change(slot, &amf::string(&"x".repeat(length))));
            assert_eq!(Said::expect(&mut client).code(), code, "{slot}");
        }
        let mut other = stage.connected();
        object(0).open(&mut other);
        for _ in 0..100 {
            client.send(&object(0).change("brief", &amf::null()));
            other.send(&object(0).remove("brief"));
        }
        client.expect_open();
        other.expect_open();
        // What cannot be read ends the connection; before connect nothing is there.
        for (body, rule) in [
            (vec![0, 255, 255], "shared object: AMF data ends inside a value at offset 2"),
            (
                [&object(0).ask().payload[..], &[3, 0xFF, 0xFF, 0xFF, 0xFF]].concat(),
                "shared object: AMF data ends",
            ),
        ] {
            let mut client = stage.connected();
            client.send(&Message { payload: body, ..object(0).ask() });
            stage.ends(client, rule);
        }
        let mut early = stage.shaken();
        stage.skips(3, || (0..3).for_each(|_| early.send(&object(0).ask())));
        drop((client, other));
        wait_for("the objects are gone", SOON, || {
            let counters = stage.counters();
            let applications = counters.json()["applications"].as_array().expect("a list").clone();
            let left = |one: &serde_json::Value| one["sharedObjects"]["objects"].as_u64().expect("a number");
            (applications.iter().map(left).sum::<u64>() == 0).then_some(())
        });
    });
    stage.case("CMD-15 media after the end", || {
        let mut client = stage.publisher("over");
        client.send(&on_stream("closeStream", &[]));
        stage.skips(10, || (0..10).for_each(|time| client.send(&audio(time, &[0xAF, 1, 2]))));
        client.expect_open();
    });
    stage.case("CMD-16 words about the stream of somebody else", || {
        let mut client = stage.connected();
        for name in ["releaseStream", "FCUnpublish", "FCUnsubscribe"] {
            client.send(&Message::command(0, name, 7.0, &[amf::null(), amf::string("canary")]));
            client.expect("_result");
        }
        assert!(stage.counters().publisher_of("canary").is_some());
    });
    stage.case("CMD-18 secrets", || {
        let mut client = stage.shaken();
        client.send(&connect("live?key=5ecret-app", "rtmp://localhost/live?key=5ecret-url"));
        client.expect("_result");
        client.create_stream();
        client.send(&publish(1, "hidden?token=5ecret-name"));
        client.expect("NetStream.Publish.Start");
        let mut player = stage.player("hidden?token=5ecret-play");
        player.expect_open();
        let mut refused = stage.ready();
        refused.send(&publish(1, "a/../b?token=5ecret-refused"));
        refused.expect("NetStream.Publish.BadName");
        let counters = stage.counters().json().to_string();
        assert!(!counters.contains("5ecret"), "{counters}");
        drop((client, player, refused));
        stage.forgets();
        let log = stage.server.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("5ecret")).collect();
        assert!(told.is_empty(), "{told:#?}");
    });
    stage.end();
}

/// Takes pictures until one has this time or a later one.
fn pictures_until(player: &mut Client, time: u32) -> u32 {
    loop {
        let picture = player.expect_kind(9);
        if picture.time >= time {
            return picture.time;
        }
    }
}

#[test]
fn what_comes_before_a_verdict() {
    let misbehaving = r#"{ name = "misbehaving", protocol = "dynamiclinklibrary" }"#;
    let stage = Stage::start(&Config::new().block(misbehaving).limit("publisherIdle", "3"));
    // One key frame, and nine pictures that need it.
    let picture = |time: u32| video(time * 40, &[&[0x27, 1, 0, 0, 0][..], &[7; 3000]].concat());
    let pictures = (1..10).flat_map(|time| picture(time).chunks(128));
    let frames: Vec<u8> = key_frame(0, 3000).chunks(128).into_iter().chain(pictures).collect();

    stage.case("CMD-14 media before a yes", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        let mut player = stage.connected_to("misbehaving");
        player.create_stream();
        player.send(&play(1, "sleep300"));
        player.expect("NetStream.Play.Start");
        publisher.send(&publish(1, "sleep300"));
        publisher.write(&frames);
        for time in 0..10 {
            assert_eq!(player.expect_kind(9).time, time * 40);
        }
    });
    stage.case("CMD-14 a frame that is too large before a yes", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        publisher.send(&publish(1, "sleep301"));
        publisher.send(&key_frame(0, 1 << 20));
        publisher.expect("NetStream.Publish.Start");
        publisher.expect_open();
    });
    stage.case("CMD-14 media before a no", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        stage.skips(10, || {
            publisher.send(&publish(1, "answer"));
            publisher.write(&frames);
            publisher.expect("NetStream.Publish.BadName");
        });
        publisher.expect_open();
    });
    stage.case("CMD-14 more than there is room for, and no verdict", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        publisher.send(&publish(1, "later"));
        let before = stage.resident();
        // Most of it stays in the system's buffers: the server does not read on.
        publisher.socket().set_write_timeout(Some(Duration::from_millis(300))).expect("a socket option");
        let _ = std::io::Write::write_all(&mut publisher.socket(), &frames.repeat(2000));
        assert!(stage.resident() <= before + 2048);
        // An end behind all of that would not be read either, before the verdict.
        reset(publisher);
    });
    stage.case("CMD-14 media while the name belongs to somebody who is silent", || {
        let _first = stage.publisher("contested");
        let mut player = stage.player("contested");
        let mut second = stage.ready();
        second.send(&publish(1, "contested"));
        // More than is kept, so that the server stops to read.
        for time in 0..60 {
            second.send(&key_frame(time * 40, 3000));
        }
        second.expect("NetStream.Publish.Start");
        let start = Instant::now();
        assert_eq!(pictures_until(&mut player, 59 * 40), 59 * 40);
        assert!(start.elapsed() < Duration::from_secs(1), "at once, not when something else happens");
        second.expect_open();
    });
    stage.case("CMD-14 a publish that is taken back", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        for name in ["sleep302", "later", "sleep303"] {
            publisher.send(&publish(1, name));
            publisher.send(&audio(0, &[0xAF, 1, 2]));
            publisher.send(&on_stream("closeStream", &[]));
        }
        publisher.send(&publish(1, "last"));
        publisher.expect("NetStream.Publish.Start");
        let counters = stage.counters();
        assert!(counters.publisher_of("last").is_some());
        assert!(counters.publisher_of("sleep303").is_none());
    });
    stage.case("CMD-14 a play whose next command is broken", || {
        for _ in 0..20 {
            let mut client = stage.connected_to("misbehaving");
            client.create_stream();
            let broken = Message { stream: 1, ..Message::command(1, "x", 1.0, &[vec![0xFF]]) };
            client.write(&[play(1, "nobody").chunks(128), broken.chunks(128)].concat());
            stage.ends(client, "unknown AMF0 marker 0xFF");
        }
    });
    stage.case("CMD-14 a publisher that is not read is not silent", || {
        let mut publisher = stage.connected_to("misbehaving");
        publisher.create_stream();
        publisher.send(&publish(1, "talkative"));
        publisher.expect("NetStream.Publish.Start");
        // As many questions as may be open at once, the first of which takes longer than a publisher may be silent.
        for (name, transaction) in
            [("sleep4000", 11.0)].into_iter().chain((12..20).map(|n| ("quick", f64::from(n))))
        {
            publisher.send(&call(name, transaction));
        }
        for time in 0..120 {
            publisher.send(&audio(time * 40, &[0xAF, 1, 2]));
            std::thread::sleep(Duration::from_millis(40));
        }
        publisher.expect_open();
    });
    stage.end();
}
