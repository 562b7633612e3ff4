//! MED: the media of a publisher.

use crtmp_tests::{
    Config,
    wire::{Client, Message, play},
};

use crate::{SOON, audio, call, control, key_frame, stage::Stage, video};

/// An AVC configuration that nobody looks into; `name` tells it from others.
fn configuration(time: u32, name: u8) -> Message {
    video(time, &[0x17, 0, 0, 0, 0, 1, 100, 0, 40, name])
}

/// A picture that needs those before it.
fn delta(time: u32) -> Message {
    video(time, &[0x27, 1, 0, 0, 0, 7, 7, 7])
}

/// Waits until the server has dealt with everything that this client has sent.
fn settle(client: &mut Client) {
    client.write(&call("_checkbw", 9.0).chunks(1 << 24));
    client.expect("_result");
}

/// The next video messages of a player: time, and first bytes.
fn pictures(player: &mut Client, count: usize) -> Vec<(u32, Vec<u8>)> {
    (0..count)
        .map(|_| {
            let message = player.expect_kind(9);
            (message.time, message.payload[..2].to_vec())
        })
        .collect()
}

#[test]
fn media_that_break_the_rules() {
    let config = Config::new()
        .application("publisherReturn", "0")
        .limit("gopMessages", "100")
        .limit("gopBytes", "8388608");
    let stage = Stage::start(&config);

    stage.case("MED-01 another configuration in the middle of a group", || {
        let mut publisher = stage.publisher("changes");
        let mut player = stage.player("changes");
        let (config, key, inter) = (vec![0x17, 0], vec![0x17, 1], vec![0x27, 1]);
        publisher.send(&configuration(0, 1));
        publisher.send(&key_frame(0, 10));
        assert_eq!(pictures(&mut player, 2), [(0, config.clone()), (0, key.clone())]);
        for message in [delta(40), configuration(80, 2), key_frame(80, 10)] {
            publisher.send(&message);
        }
        assert_eq!(pictures(&mut player, 3), [(40, inter), (80, config.clone()), (80, key.clone())]);
        let mut joiner = stage.ready();
        joiner.send(&play(1, "changes"));
        let first = joiner.expect_kind(9);
        assert_eq!((&first.payload[..2], first.payload[9]), (&config[..], 2), "the new one only");
        assert_eq!(joiner.expect_kind(9).payload[..2], key[..]);
    });
    stage.case("MED-03 another configuration, and no key frame after it", || {
        let mut publisher = stage.publisher("torn");
        for message in [configuration(0, 1), key_frame(0, 10), configuration(40, 2), delta(40), delta(80)] {
            publisher.send(&message);
        }
        settle(&mut publisher);
        let mut joiner = stage.player("torn");
        publisher.send(&delta(120));
        publisher.send(&audio(120, &[0xAF, 1, 2]));
        let first = joiner.expect_kind(9);
        assert_eq!((&first.payload[..2], first.payload[9]), (&[0x17, 0][..], 2));
        // No picture that the new configuration does not fit, and none that needs one that is missing.
        let next = joiner.message(SOON).expect("the sound");
        assert_eq!(next.kind, 8, "{next:?}");
    });
    stage.case("MED-04, MED-05, MED-10, MED-15, MED-16 tags that are odd", || {
        let mut publisher = stage.publisher("odd");
        let mut player = stage.player("odd");
        let bad: [&[u8]; 4] = [&[0x17], &[0x17, 1, 0, 0], &[0x17, 0, 0, 0, 0], &[0x91, b'h']];
        stage.skips(6, || {
            bad.iter().for_each(|body| publisher.send(&video(0, body)));
            publisher.send(&audio(0, &[0xAF]));
            publisher.send(&audio(0, &[0xAF, 0]));
        });
        let odd: [&[u8]; 6] = [
            &[0x12, 1, 2, 3],
            &[0x1F, 1, 2, 3],
            &[0x57, 0],
            &[0x67, 1, 0, 0, 0, 1],
            &[0x17, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            &[0x1C, 1, 0, 0, 0, 1],
        ];
        for (body, time) in odd.iter().zip(0..) {
            publisher.send(&video(time, body));
            publisher.send(&audio(time, &[0xC0, 1]));
        }
        settle(&mut publisher);
        player.expect_open();
    });
    stage.case("MED-07, MED-10 to MED-14 content that nobody looks into", || {
        let mut publisher = stage.publisher("opaque");
        let mut player = stage.player("opaque");
        let avc = |packet: u8, content: &[u8]| [&[0x17, packet, 0, 0, 0][..], content].concat();
        let contents: [&[u8]; 8] = [
            // Configurations without parameter sets, with too many, with one that reaches beyond the end.
            &[1, 100, 0, 40, 0xFF, 0xE0, 0],
            &[1, 100, 0, 40, 0xFC, 0xFF],
            &[1, 100, 0, 40, 0xFF, 0xE1, 0xFF, 0xFF, 0x67],
            &[0; 3],
            // NAL units of no length, beyond the end, in Annex B, and very many.
            &[0, 0, 0, 0],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x65],
            &[0, 0, 0, 1, 0x09, 0xF0, 0, 0, 1, 0x65, 1],
            &[0, 0, 0, 1, 0x65].repeat(10_000),
        ];
        for (content, at) in contents.iter().zip(0_u8..) {
            let packet = u8::from(at >= 4);
            let wanted = [avc(packet, content), avc(1, &[at])];
            wanted.iter().for_each(|payload| publisher.send(&video(u32::from(at), payload)));
            for payload in wanted {
                assert_eq!(player.expect_kind(9).payload, payload, "as it came");
            }
        }
    });
    stage.case("MED-17 no key frame, ever", || {
        let mut publisher = stage.publisher("endless");
        publisher.send(&configuration(0, 1));
        for time in 0..5000 {
            publisher.send(&delta(time * 40));
        }
        settle(&mut publisher);
        let counters = stage.counters();
        let stream =
            counters.json()["streams"].as_array().expect("a list").iter().find(|s| s["name"] == "endless");
        let kept = stream.expect("the stream")["gopMessages"].as_u64().expect("a number");
        assert!(kept <= 100, "{kept} messages are kept");
        let mut publisher = stage.publisher("one-key");
        publisher.send(&configuration(0, 1));
        publisher.send(&key_frame(0, 1000));
        for time in 1..5000 {
            publisher.send(&delta(time * 40));
        }
        settle(&mut publisher);
        let counters = stage.counters();
        let stream =
            counters.json()["streams"].as_array().expect("a list").iter().find(|s| s["name"] == "one-key");
        let kept = stream.expect("the stream")["gopMessages"].as_u64().expect("a number");
        assert!(kept <= 100, "{kept} messages are kept");
        let mut player = stage.player("one-key");
        player.expect_open();
    });
    stage.case("MED-18 aggregates", || {
        let mut publisher = stage.publisher("aggregate");
        let tag = |size: u8| {
            let mut tag = vec![8, 0, 0, size, 0, 0, 0, 0, 0, 0, 0];
            tag.extend([0xAF, 1, 9]);
            tag.extend([0, 0, 0, 14]);
            tag
        };
        let aggregate =
            |body: Vec<u8>| Message { chunk_stream: 6, kind: 22, stream: 1, time: 0, payload: body };
        stage.skips(1, || {
            publisher.send(&aggregate([tag(3), tag(200)].concat()));
        });
        publisher.send(&aggregate(tag(3).repeat(1024)));
        settle(&mut publisher);
        publisher.send(&aggregate(tag(3).repeat(1025)));
        stage.ends(publisher, "more than 1024 messages in an aggregate");
    });
    stage.end();
}

#[test]
fn pictures_that_are_as_large_as_they_may_be() {
    let stage = Stage::start(&Config::new().application("publisherReturn", "0"));

    stage.case("MED-19 very large pictures back to back", || {
        // Group, unfinished message and the player's packet; and what the allocator keeps of blocks of this size.
        let most = stage.resident() + 192 * 1024;
        for _ in 0..5 {
            let mut publisher = stage.publisher("huge");
            let mut player = stage.player("huge");
            publisher.send(&control(1, &[0x7F, 0xFF, 0xFF, 0xFF]));
            for time in 0..20 {
                publisher.write(&key_frame(time * 40, (8 << 20) - 5).chunks(1 << 24));
            }
            settle(&mut publisher);
            assert!(stage.resident() <= most, "{} KiB", stage.resident());
            // A player that took nothing meanwhile may skip, and goes on with a whole picture.
            assert_eq!(player.expect_kind(9).payload.len(), 8 << 20);
            drop((publisher, player));
            stage.forgets();
        }
    });
    stage.end();
}
