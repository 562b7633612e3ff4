//! Audio, video and data of a publisher.

use crtmp_media::{Items, Vector};

use super::*;
use crate::amf0;

fn frame_of(peer: &mut Peer, message: &Message) -> crtmp_media::Frame {
    let bytes = peer.chunks(message);
    peer.with_chain(|chain, env| chain.on_data(&bytes, env)).unwrap();
    let mut events = std::iter::from_fn(|| peer.chain.poll_event());
    // Metadata come twice: as values for the application, and as the frame that is passed on.
    match events.find(|event| !matches!(event, Event::Metadata { .. })) {
        Some(Event::Frame { frame, .. }) => frame,
        other => panic!("no frame but {other:?}"),
    }
}

fn video(body: &[u8]) -> Message {
    message(6, kind::VIDEO, 1, 0, body.to_vec())
}

fn audio(body: &[u8]) -> Message {
    message(4, kind::AUDIO, 1, 0, body.to_vec())
}

#[test]
fn a_frame_is_the_message_with_what_its_header_says() {
    let mut peer = Peer::publishing(Limits::default());
    let frame = frame_of(&mut peer, &video(&[0x27, 1, 0xFF, 0xFF, 0xFE, 9, 9]));
    assert_eq!((frame.role, frame.cts, frame.data()), (Role::Delta, -2, &[9, 9][..]));
    assert_eq!(frame.body[..], [0x27, 1, 0xFF, 0xFF, 0xFE, 9, 9]);
}

/// MED-08: composition time from −2²³ to 2²³ − 1.
#[test]
fn composition_time_reaches_from_end_to_end() {
    let mut peer = Peer::publishing(Limits::default());
    for (bytes, cts) in [([0x80, 0, 0], -(1 << 23)), ([0x7F, 0xFF, 0xFF], (1 << 23) - 1), ([0, 0, 0], 0)] {
        let body = [&[0x17, 1][..], &bytes, &[9]].concat();
        assert_eq!(frame_of(&mut peer, &video(&body)).cts, cts);
    }
}

/// MED-04, MED-05: tags that end in their headers, and configurations of nothing.
#[test]
fn short_tags_and_empty_configurations_are_skipped() {
    let mut peer = Peer::publishing(Limits::default());
    for body in [&[0x17][..], &[0x17, 1, 0, 0], &[0x17, 0, 0, 0, 0], &[0x91], b"\x90hvc"] {
        peer.send(&video(body));
        assert_eq!(peer.events(), ["Skipped BadTag"], "{body:?}");
    }
    for body in [&[0xAF][..], &[0xAF, 0], &[0x90], b"\x90Opu"] {
        peer.send(&audio(body));
        assert_eq!(peer.events(), ["Skipped BadTag"], "{body:?}");
    }
    for (body, config) in
        [(&[0xAF, 0, 0x12][..], true), (&[0xAF, 0, 0x12, 0x10, 0x56], true), (&[0x2F], false)]
    {
        peer.send(&audio(body));
        let role = if config { "config" } else { "key" };
        assert_eq!(peer.events(), [format!("Frame 1 audio {role} 0")]);
    }
}

/// MED-02: an identical header again is passed on as it is; what is new about it the relay finds out.
#[test]
fn repeated_headers_are_passed_on() {
    let mut peer = Peer::publishing(Limits::default());
    for _ in 0..2 {
        peer.send(&video(&[0x17, 0, 0, 0, 0, 1]));
    }
    assert_eq!(peer.events(), ["Frame 1 video config 0"; 2]);
}

/// MED-15: codecs that nobody knows travel as they are.
#[test]
fn unknown_codecs_pass() {
    use crtmp_media::Codec;
    let mut peer = Peer::publishing(Limits::default());
    for id in (0..16_u8).filter(|id| *id != 7) {
        let frame = frame_of(&mut peer, &video(&[0x10 | id, 1, 0, 0, 0, 9]));
        let codec = if id == 12 { Codec::Hevc } else { Codec::FlvVideo(id) };
        assert_eq!((frame.codec, frame.role), (codec, Role::Key));
    }
    for format in [12, 13] {
        let frame = frame_of(&mut peer, &audio(&[format << 4, 1, 2]));
        assert_eq!(frame.codec, Codec::FlvAudio(format));
    }
    let frame = frame_of(&mut peer, &video(b"\x91wxyz\x01\x02"));
    assert_eq!(frame.codec, Codec::Other(*b"wxyz"));
}

/// MED-16.
#[test]
fn every_frame_type_has_a_meaning() {
    let mut peer = Peer::publishing(Limits::default());
    for (frame_type, role) in
        ["side", "key", "delta", "disposable", "key", "side", "side", "side"].into_iter().enumerate()
    {
        peer.send(&video(&[(frame_type as u8) << 4 | 7, 1, 0, 0, 0, 9]));
        assert_eq!(peer.events(), [format!("Frame 1 video {role} 0")], "{frame_type}");
    }
}

fn tag(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
    let [t3, t2, t1, t0] = time.to_be_bytes();
    let [_, l2, l1, l0] = (body.len() as u32).to_be_bytes();
    let head = [kind, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0];
    [&head[..], body, &(11 + body.len() as u32).to_be_bytes()].concat()
}

fn aggregate(timestamp: u32, tags: &[Vec<u8>]) -> Message {
    message(6, kind::AGGREGATE, 1, timestamp, tags.concat())
}

const SOUND: &[u8] = &[0xAF, 1, 9];

/// MED-18.
#[test]
fn an_aggregate_is_its_messages() {
    let mut peer = Peer::publishing(Limits::default());
    let tags = [tag(8, 1000, SOUND), tag(9, 1010, &[0x27, 1, 0, 0, 0, 9]), tag(8, 400, SOUND)];
    peer.send(&aggregate(5000, &tags));
    assert_eq!(
        peer.events(),
        ["Frame 1 audio key 5000", "Frame 1 video delta 5010", "Frame 1 audio key 4400"]
    );
}

/// MED-18: what is broken is counted once for each aggregate, what is whole is used.
#[test]
fn what_is_broken_in_an_aggregate_is_skipped() {
    let mut past_the_end = tag(8, 0, SOUND);
    past_the_end[3] = 200;
    let mut wrong_pointer = tag(8, 0, SOUND);
    *wrong_pointer.last_mut().unwrap() = 99;
    let nested = tag(22, 0, &tag(8, 0, SOUND));
    for broken in [past_the_end, nested, tag(20, 0, b"command"), vec![8]] {
        let mut peer = Peer::publishing(Limits::default());
        peer.send(&aggregate(0, &[tag(8, 0, SOUND), broken.clone(), broken]));
        assert_eq!(peer.events(), ["Skipped BadAggregate", "Frame 1 audio key 0"]);
    }
    let mut peer = Peer::publishing(Limits::default());
    peer.send(&aggregate(0, &[wrong_pointer]));
    assert_eq!(peer.events(), ["Skipped BadAggregate", "Frame 1 audio key 0"]);
    peer.send(&aggregate(0, &[tag(8, 0, &[]), tag(9, 0, &[0x17]), tag(8, 7, SOUND)]));
    assert_eq!(peer.events(), ["Skipped BadTag", "Frame 1 audio key 7"]);
}

/// MED-18: `aggregateMessages` at −1, 0 and +1.
#[test]
fn the_messages_of_an_aggregate_are_limited() {
    for (count, fits) in [(1023, true), (1024, true), (1025, false), (10_000, false)] {
        let mut peer = Peer::publishing(Limits::default());
        let bytes = peer.chunks(&aggregate(0, &vec![tag(8, 0, SOUND); count]));
        let result = peer.bytes(&bytes);
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            assert_eq!(error.rule, "more than 1024 messages in an aggregate");
        } else {
            assert_eq!(peer.events().len(), count);
        }
    }
}

/// The instruction to the server that stands before metadata is not for players.
#[test]
fn metadata_are_passed_on_without_their_instruction() {
    let members = object(&[("width", 1920.0.into())]);
    let plain = data(1, "onMetaData", std::slice::from_ref(&members));
    let mut peer = Peer::publishing(Limits::default());
    for kind in [kind::DATA, kind::DATA_AMF3] {
        for leading in [&[][..], &[0]] {
            if kind == kind::DATA && !leading.is_empty() {
                continue;
            }
            for name in ["onMetaData", "@setDataFrame"] {
                let whole = match name {
                    "onMetaData" => plain.clone(),
                    _ => data(1, name, &["onMetaData".into(), members.clone()]),
                };
                let body = [leading, &whole.body].concat();
                let frame = frame_of(&mut peer, &Message { kind, body: body.into(), ..whole });
                assert_eq!((frame.role, &frame.body), (Role::Info, &plain.body), "{kind} {leading:?} {name}");
            }
        }
    }
    peer.send(&data(1, "@clearDataFrame", &["onMetaData".into()]));
    assert_eq!(peer.events(), [""; 0]);
    peer.send(&data(1, "onTextData", &["hello".into()]));
    peer.send(&data(1, "@setDataFrame", &["onCuePoint".into(), Value::Null]));
    assert_eq!(peer.events(), ["Frame 1 data side 0"; 2]);
}

/// AMF-13: players get AMF0, whatever the publisher speaks.
#[test]
fn metadata_in_amf3_reach_players_in_amf0() {
    let numbers = Value::Vector(Vector { fixed: false, items: Items::Int(vec![1, 2]) });
    let near = Value::StrictArray(vec![1.0.into(), 2.0.into()]);
    let described = |numbers| object(&[("width", 1920.0.into()), ("numbers", numbers)]);
    let plain = data(1, "onMetaData", &[described(near)]);
    let mut peer = Peer::publishing(Limits::default());
    for leading in [&[][..], &[0]] {
        for names in [&["onMetaData"][..], &["@setDataFrame", "onMetaData"]] {
            for switched in [false, true] {
                let mut body = leading.to_vec();
                for name in names {
                    if switched {
                        body.extend_from_slice(&[0x11, 6, (name.len() << 1 | 1) as u8]);
                        body.extend_from_slice(name.as_bytes());
                    } else {
                        amf0::encode_str(&mut body, name);
                    }
                }
                amf0::encode_mixed(&mut body, &[described(numbers.clone())]);
                let frame = frame_of(&mut peer, &message(4, kind::DATA_AMF3, 1, 0, body));
                assert_eq!((frame.role, &frame.body), (Role::Info, &plain.body), "{leading:?} {names:?}");
            }
        }
    }
    let mut body = vec![0];
    amf0::encode_mixed(&mut body, &["onTextData".into(), Value::Bytes(b"hello".to_vec())]);
    let frame = frame_of(&mut peer, &message(4, kind::DATA_AMF3, 1, 0, body));
    assert_eq!((frame.role, frame.body), (Role::Side, data(1, "onTextData", &["hello".into()]).body));
}

/// ERT-06: AMF bombs as metadata are skipped, and the stream goes on.
#[test]
fn bombs_in_metadata_are_skipped() {
    let name = |out: &mut Vec<u8>| amf0::encode_str(out, "onMetaData");
    let repeated = |part: &[u8], times: usize| part.repeat(times);
    for bomb in [
        repeated(&[3, 0, 1, b'a'], 100_000),
        repeated(&[0x11, 9, 3, 1], 1),
        [&[0x11][..], &repeated(&[9, 3, 1], 100_000)].concat(),
        [&[0x11][..], &repeated(&[17, 3, 0, 1], 100_000)].concat(),
        [&repeated(&[10, 0, 0, 0, 1], 20)[..], &[0x11], &repeated(&[9, 3, 1], 20)].concat(),
        [&[10, 0xFF, 0xFF, 0xFF, 0xFF][..], &repeated(&[5], 10_000)].concat(),
        [&[0x11, 9, 0xFF, 0xFF, 0xFF, 0xFF, 1][..], &repeated(&[1], 10_000)].concat(),
        repeated(&[5], 1 << 20),
        repeated(&[0x11, 1], 1 << 19),
        [&[0x11, 9, 0x87, 0x69, 1, 12, 0x87, 0xFF, 0x7F][..], &[0; 65_535], &repeated(&[12, 2], 499)]
            .concat(),
        vec![0x11, 9, 3, 1, 9, 0],
        vec![0x11, 10, 7, 3, b'C', 1],
    ] {
        let mut peer = Peer::publishing(Limits::default());
        for instruction in [false, true] {
            let mut body = Vec::new();
            if instruction {
                amf0::encode_str(&mut body, "@setDataFrame");
            }
            name(&mut body);
            body.extend_from_slice(&bomb);
            for kind in [kind::DATA, kind::DATA_AMF3] {
                peer.send(&message(4, kind, 1, 0, body.clone()));
                assert_eq!(peer.events(), ["Skipped BadMetadata"], "{:X?}", &bomb[..bomb.len().min(20)]);
            }
        }
        peer.send(&sound(1, 0));
        assert_eq!(peer.events(), ["Frame 1 audio key 0"]);
    }
}

/// AMF-15.
#[test]
fn metadata_that_cannot_be_used_are_skipped() {
    let mut peer = Peer::publishing(Limits::default());
    let nested = || vec!["onMetaData".into(), "onMetaData".into(), object(&[])];
    let long = object(&[("text", "x".repeat(65_537).into())]);
    for args in [
        vec![],
        vec![7.0.into()],
        vec!["onMetaData".into()],
        vec!["onMetaData".into(), Value::Null],
        vec!["onMetaData".into(), "text".into()],
        vec!["onMetaData".into(), Value::StrictArray(vec![])],
        nested(),
        vec!["onMetaData".into(), long],
    ] {
        peer.send(&data(1, "@setDataFrame", &args));
        assert_eq!(peer.events(), ["Skipped BadMetadata"], "{args:?}");
    }
    for body in [&[5][..], &[0x11, 6], &[2, 0, 50, b'x'], &[3]] {
        peer.send(&message(4, kind::DATA, 1, 0, body.to_vec()));
        assert_eq!(peer.events(), ["Skipped BadMetadata"], "{body:?}");
    }
    peer.assert_open();
}

/// AMF-15: `metadataSize` at −1, 0 and +1, counted without the instruction to the server.
#[test]
fn metadata_are_limited_in_size() {
    for (size, fits) in [(1999, true), (2000, true), (2001, false)] {
        for instruction in [false, true] {
            let mut peer = Peer::publishing(Limits { metadata_size: 2000, ..Limits::default() });
            // Marker and length of the name, the object, its one key and its string.
            let around = 3 + "onMetaData".len() + 1 + 2 + 1 + 3 + 3;
            let value = object(&[("x", "y".repeat(size - around).into())]);
            let plain = data(1, "onMetaData", std::slice::from_ref(&value));
            assert_eq!(plain.body.len(), size);
            peer.send(&if instruction {
                data(1, "@setDataFrame", &["onMetaData".into(), value])
            } else {
                plain
            });
            let told: &[_] = if fits {
                &["Metadata 1 of 1 values", "Frame 1 data info 0"]
            } else {
                &["Skipped BadMetadata"]
            };
            assert_eq!(peer.events(), told, "{size}");
        }
    }
    let mut peer = Peer::publishing(Limits { metadata_size: 2000, ..Limits::default() });
    peer.send(&data(1, "onTextData", &["z".repeat(10_000).into()]));
    assert_eq!(peer.events(), ["Frame 1 data side 0"], "what is not kept for joiners may be larger");
}

/// TIME-02, TIME-03: the time of a message stream goes on beyond 32 bits, back and forth.
#[test]
fn time_goes_on_beyond_32_bits() {
    let mut peer = Peer::publishing(Limits::default());
    for (wire, told) in [(u32::MAX - 9, 4_294_967_286_i64), (10, 4_294_967_306), (u32::MAX, 4_294_967_295)] {
        peer.send(&sound(1, wire));
        assert_eq!(peer.events(), [format!("Frame 1 audio key {told}")]);
    }
}

/// MED-09: times are the publisher's, whether they stand still or go back; what to make of them the relay and its
/// outputs decide.
#[test]
fn times_that_stand_still_or_go_back_are_passed_on() {
    let mut peer = Peer::publishing(Limits::default());
    for time in [4_000_000, 4_000_000, 3_999_999, 3_998_999, 398_999, 399_000, 0] {
        peer.send(&key_frame(1, time, 10));
        assert_eq!(peer.events(), [format!("Frame 1 video key {time}")]);
    }
}

/// ERT-01, ERT-04, ERT-05: what is broken or not served is skipped and counted, and the stream goes on.
#[test]
fn enhanced_messages_that_cannot_be_used_are_skipped() {
    let mut peer = Peer::publishing(Limits::default());
    for body in [
        &b"\x96\x16av01\0data"[..],
        b"\x96\x11av01\0\0\0\x05data",
        b"\x96\x11av01\0\0\0\x01x\0\0\0\x01y",
        b"\x95av01\x80\x04\x81",
        b"\x9fav01data",
        b"\x97\xff\xff\xffav01",
    ] {
        peer.send(&video(body));
        assert_eq!(peer.events(), ["Skipped BadTag"], "{body:?}");
    }
    peer.send(&video(b"\x90av01\x81"));
    assert_eq!(peer.events(), ["Frame 1 video config 0"], "the ordinary form after that of MPEG-2 TS");
}

/// ERT-06: nobody reads colours: whatever is in them is passed on as it is.
#[test]
fn colours_are_passed_on_whatever_they_hold() {
    let mut peer = Peer::publishing(Limits::default());
    let deep = [&b"\xd4hvc1\x02\0\x09colorInfo"[..], &b"\x03\0\x01a".repeat(50_000)].concat();
    for body in [&deep[..], b"\xd4hvc1\x02\0\x09colorInfo\x0a\xff\xff\xff\xff", b"\xd4hvc1"] {
        let frame = frame_of(&mut peer, &video(body));
        assert_eq!((frame.role, &frame.body[..]), (Role::Info, body));
    }
}

/// Several tracks are one frame, which comes apart.
#[test]
fn a_message_of_several_tracks_is_one_frame() {
    use crtmp_media::Codec;
    let mut peer = Peer::publishing(Limits::default());
    let body = b"\x96\x21hvc1\x03\0\0\x04\0\0\x28aav01\x01\0\0\x02cd";
    let frame = frame_of(&mut peer, &video(body));
    assert_eq!((frame.track, frame.codec, frame.cts, frame.data()), (1, Codec::Av1, 0, &[][..]));
    assert!(frame.has_several());
    let parts: Vec<_> =
        frame.split().iter().map(|part| (part.track, part.cts, part.data().to_vec())).collect();
    assert_eq!(parts, [(3, 40, b"a".to_vec()), (1, 0, b"cd".to_vec())]);
}
