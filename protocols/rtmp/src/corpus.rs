//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use crtmp_corpus::Corpus;
use crtmp_media::{Items, Value, Vector};
use proptest::prelude::*;

use crate::amf3;
use crate::chunk::{ChunkWriter, Message};
use crate::fuzz;
#[cfg(feature = "digest")]
use crate::handshake::Scheme;
use crate::handshake::{ClientHandshake, HandshakeKind, RANDOM, ServerHandshake};
use crate::message::{BandwidthLimit, Command, Control, Data, Status, UserControl, kind};
use crate::shared_object::{SharedObjectEvent, SharedObjectMessage};

crtmp_corpus::tests!(corpus);

fn corpus() -> Corpus {
    Corpus {
        package: env!("CARGO_MANIFEST_DIR"),
        targets: vec![
            ("handshake", fuzz::handshake),
            ("chunk_reader", fuzz::chunk_reader),
            ("amf0", fuzz::amf0),
            ("amf3", fuzz::amf3),
            ("shared_object", fuzz::shared_object),
            ("aggregate", fuzz::aggregate),
            ("tag", fuzz::tag),
            ("session_order", fuzz::session_order),
            ("client_order", fuzz::client_order),
            ("wire", fuzz::wire),
        ],
        seeds: seeds(),
        inserts: &[],
    }
}

/// Conversations in the notation of `fuzz::session_order`: the low five bits of a byte say what happens.
const CONVERSATIONS: [(&str, &[u8]); 10] = [
    // connect, yes, createStream, publish, media, yes, media, closeStream, media.
    ("publish", &[0, 0, 1, 18, 1, 4, 0, 12, 11, 20, 18, 11, 20, 10, 13, 3, 0, 3, 10]),
    // The same in one go, of which more waits than there is room for.
    ("eager", &[1, 26, 0, 1, 1, 4, 0, 11, 9, 11, 9, 11, 9, 10, 8, 3, 4, 1, 27, 18, 18, 21, 18, 17, 4]),
    // connect, yes, createStream, play, pause, play another, yes, no, news, deleteStream.
    ("play", &[0, 0, 1, 18, 1, 5, 0, 6, 0, 5, 1, 18, 22, 5, 0, 18, 25, 3, 25, 0, 2]),
    // Publishes that are taken back before and after their verdict.
    ("regret", &[0, 0, 1, 18, 1, 4, 0, 3, 4, 1, 2, 18, 18, 1, 4, 0, 7, 2, 0, 18, 25, 2]),
    // An answer to nothing that waits for a verdict which is not wanted any more.
    ("held_answer", &[0, 0, 1, 18, 1, 4, 0, 9, 0, 3]),
    // Calls of an application, answered late, with a silent time between.
    ("calls", &[0, 0, 1, 18, 8, 40, 9, 1, 9, 2, 17, 2, 18, 22, 24, 1, 17, 4, 14, 50, 2, 17, 6]),
    // A call too early; tuned, connect, yes, three calls of which one is too many, answers, a guess, one too late.
    (
        "server_calls",
        &[1, 29, 1, 0, 1, 31, 9, 18, 29, 1, 29, 1, 29, 1, 29, 0, 30, 1, 1, 30, 9, 0, 17, 5, 30, 0, 0],
    ),
    // A call answered behind a publish that waits for its verdict; a play that is stopped twice.
    (
        "stops",
        &[0, 0, 1, 18, 1, 4, 0, 29, 1, 26, 10, 30, 0, 0, 27, 18, 3, 5, 0, 5, 1, 25, 4, 18, 25, 4, 25, 4],
    ),
    // connect, yes, use an object, news of it, change it, by both notations, what only servers say, let go of it.
    (
        "share",
        &[0, 0, 1, 18, 28, 32, 28, 128, 28, 130, 28, 38, 28, 54, 28, 132, 28, 44, 28, 134, 28, 36, 28, 4],
    ),
    // Everything that is wrong and does not end the connection.
    ("odd", &[0, 1, 9, 0, 0, 0, 0, 1, 0, 1, 18, 9, 3, 9, 4, 9, 5, 15, 7, 2, 1, 1, 74, 10, 4, 2, 28, 255, 1]),
];

/// Headers of messages; the first byte says whether it is video (0) or audio (1).
const TAGS: [(&str, &[u8]); 12] = [
    ("hevc", b"\0\x91hvc1\0\0\x28data"),
    ("avc", b"\0\x27\x01\xff\xff\xfedata"),
    ("aac", b"\x01\xaf\x01data"),
    ("colours", b"\0\xd4hvc1\x02\0\x09colorInfo"),
    ("nano", b"\0\x97\x02\x0f\x42\x3f\x07\x01\0\0\x16\x01av01\x03data"),
    ("one_track", b"\0\x96\x01avc1\x03\0\0\x50data"),
    ("many_tracks", b"\0\x96\x11avc1\x02\0\0\x05\0\0\x28ab\x01\0\0\x04\0\0\0c"),
    ("many_codecs", b"\0\xa6\x21hvc1\0\0\0\x04\0\0\x28aav01\x09\0\0\x02cd"),
    // A link of a long form that means nothing, then nanoseconds, then one of several tracks.
    ("links", b"\0\x97\xff\0\0d\x17\x02\0\0\x01\x06\x01hvc1\x02\0\0\x28data"),
    ("colours_of_tracks", b"\0\xd6\x14hvc1\0\0\0\x01a\x01\0\0\x01b"),
    ("channels", b"\x01\x94Opus\x01\x02\0\0\0\x03"),
    ("sounds", b"\x01\x97\0\x01\x05\x21Opus\0\0\0\x01aac-3\x01\0\0\x02bc"),
];

/// What servers say, in the notation of `fuzz::client_order`: a byte modulo 24 says what happens.
const SERVERS: [(&str, &[u8]); 6] = [
    // connect, yes, pull, stream 5, Play.Start, metadata, key frame, accept, sound, end, late media.
    ("pull", &[0, 0, 11, 1, 9, 2, 5, 12, 5, 0, 18, 5, 0, 15, 5, 4, 17, 5, 1, 12, 5, 3, 15, 5, 8, 7, 8, 7]),
    // connect, yes, push, three answers, stream 3, Publish.Start, accept, the source ends.
    ("push", &[0, 0, 11, 2, 10, 2, 0, 9, 3, 0, 9, 4, 3, 12, 3, 1, 4, 7, 3, 8, 7, 8, 7]),
    // Two pulls and a push, of which one is too many; the same number twice; refused here; stopped.
    ("links", &[1, 0, 11, 1, 1, 2, 9, 2, 3, 9, 3, 3, 9, 3, 4, 15, 3, 5, 15, 4, 4, 6, 4, 17, 4, 7, 8, 6]),
    // Nobody answers; then too late.
    ("silence", &[0, 0, 11, 3, 1, 8, 6, 8, 6, 9, 2, 5, 9, 3, 5, 1, 9, 4, 5, 8, 6, 8, 6]),
    // More waits for our verdict than there is room for.
    ("held", &[1, 0, 11, 1, 9, 2, 5, 15, 5, 17, 5, 7, 17, 5, 7, 13, 5, 14, 3, 5, 4, 17, 5, 1, 19, 5, 7]),
    // Orders too early and too late, commands of the server, pings, and the end.
    (
        "odd",
        &[0, 1, 2, 3, 0, 0, 20, 2, 4, 11, 20, 2, 4, 20, 1, 3, 19, 1, 1, 12, 7, 7, 21, 3, 2, 9, 9, 23, 1, 3],
    ),
];

fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![
        ("handshake/simple".into(), handshake(HandshakeKind::Simple)),
        #[cfg(feature = "digest")]
        ("handshake/digest_key_first".into(), handshake(HandshakeKind::Digest(Scheme::KeyFirst))),
        #[cfg(feature = "digest")]
        ("handshake/digest_digest_first".into(), handshake(HandshakeKind::Digest(Scheme::DigestFirst))),
        ("chunk_reader/publish".into(), publish()),
        ("chunk_reader/extended_time".into(), extended_time()),
        ("aggregate/three_tags".into(), three_tags()),
        ("wire/publisher".into(), [&[2][..], &publish()].concat()),
        ("wire/server".into(), [&[1][..], &answers()].concat()),
    ];
    seeds.extend(TAGS.map(|(name, tag)| (format!("tag/{name}"), tag.to_vec())));
    for (name, command) in commands() {
        let mut body = Vec::new();
        command.encode(&mut body);
        seeds.push((format!("amf0/{name}"), body));
    }
    seeds.extend(amf3_values().map(|(name, value)| {
        let mut body = Vec::new();
        amf3::Encoder::new().encode(&mut body, &value);
        (format!("amf3/{name}"), body)
    }));
    // References to an object, to traits and to strings; what stands in itself.
    let references: &[u8] = &[9, 9, 1, 10, 0x13, 3, b'C', 3, b'k', 6, 2, 10, 1, 3, 10, 2, 6, 0];
    seeds.push(("amf3/references".into(), references.to_vec()));
    seeds.push(("amf3/circle".into(), vec![9, 3, 1, 9, 0]));
    // Traits of a dynamic object, and its key, again; a vector of a class.
    let again = vec![9, 5, 1, 10, 0x0B, 1, 3, b'k', 4, 1, 1, 10, 1, 0, 4, 2, 1];
    seeds.push(("amf3/dynamic_again".into(), again));
    seeds.push(("amf3/vector_of_class".into(), vec![16, 5, 1, 3, b'C', 1, 10, 3, 1]));
    // An object of AMF0 with a member in AMF3.
    let mut body = vec![3, 0, 1, b'k', 0x11];
    body.extend_from_slice(references);
    seeds.push(("amf0/switched".into(), body));
    seeds.extend([false, true].map(|amf3| {
        let mut body = vec![u8::from(amf3)];
        shared_object().encode(&mut body, amf3);
        (format!("shared_object/type_{}", if amf3 { 16 } else { 19 }), body)
    }));
    // An event that nobody knows, then two slots in one event; a text, and a reference to it in the next event.
    let odd = b"\0\0\x01a\0\0\0\x01\0\0\0\0\0\0\0\0\x63\0\0\0\x02xx\x04\0\0\0\x09\0\x01x\x05\0\x01y\x01\x01";
    seeds.push(("shared_object/odd_events".into(), odd.to_vec()));
    let shared = b"\x01\0\0\x01a\0\0\0\x01\0\0\0\x02\0\0\0\0\x03\0\0\0\x07\0\x01x\x11\x06\x03k\x03\0\0\0\x06\0\x01y\x11\x06\0";
    seeds.push(("shared_object/references".into(), shared.to_vec()));
    let conversations =
        CONVERSATIONS.map(|(name, script)| (format!("session_order/{name}"), script.to_vec()));
    seeds.extend(conversations);
    let words = SERVERS.map(|(name, script)| (format!("client_order/{name}"), script.to_vec()));
    seeds.extend(words);
    let mut body = Vec::new();
    metadata().encode(&mut body);
    seeds.push(("amf0/metadata".into(), body));
    seeds
}

/// C0, C1 and C2 of a client, then the first byte of its chunk stream.
fn handshake(kind: HandshakeKind) -> Vec<u8> {
    let mut client = ClientHandshake::new(kind, &std::array::from_fn(|at| (at * 7) as u8));
    let mut server = ServerHandshake::new(true, &[0x5A; RANDOM]);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.start(&mut up);
    server.input(&up, &mut down).unwrap();
    client.input(&down, &mut up).unwrap();
    up.push(3);
    up
}

/// What an encoder like FFmpeg sends from `connect` to its first frames.
fn publish() -> Vec<u8> {
    let mut writer = ChunkWriter::new();
    let mut out = Vec::new();
    let mut send = |writer: &mut ChunkWriter, csid, kind, stream, timestamp, body: Vec<u8>| {
        let body = body.into();
        writer.write(&mut out, &Message { csid, kind, stream, timestamp, body }).unwrap();
    };
    for (name, command) in commands() {
        let mut body = Vec::new();
        command.encode(&mut body);
        send(&mut writer, 3, kind::COMMAND, u32::from(name == "publish"), 0, body);
    }
    let mut body = Vec::new();
    metadata().encode(&mut body);
    send(&mut writer, 4, kind::DATA, 1, 0, body);
    for time in (0..200).step_by(40) {
        send(&mut writer, 6, kind::VIDEO, 1, time, [&[0x17, 1, 0, 0, 0][..], &[time as u8; 700]].concat());
        send(&mut writer, 4, kind::AUDIO, 1, time, vec![0xAF, 1, 0x21, 0x10, 0x04, 0x60]);
    }
    let ping = Control::User(UserControl::PingRequest(1));
    writer.set_chunk_size(&mut out, 60_000);
    writer.write_control(&mut out, ping);
    writer.write_control(&mut out, Control::Abort(6));
    writer.write_control(&mut out, Control::WindowAckSize(2_500_000));
    out
}

/// What a server says to a player, with an aggregate at the end.
fn answers() -> Vec<u8> {
    let (mut writer, mut out) = (ChunkWriter::new(), Vec::new());
    writer.write_control(&mut out, Control::WindowAckSize(2_500_000));
    let bandwidth = Control::PeerBandwidth { window: 2_500_000, limit: BandwidthLimit::Dynamic };
    writer.write_control(&mut out, bandwidth);
    writer.set_chunk_size(&mut out, 4096);
    writer.write_control(&mut out, Control::User(UserControl::PingRequest(9)));
    writer.write_control(&mut out, Control::User(UserControl::StreamBegin(1)));
    let mut send = |csid, kind, stream, body: Vec<u8>| {
        let body = body.into();
        writer.write(&mut out, &Message { csid, kind, stream, timestamp: 40, body }).unwrap();
    };
    let status = Command::on_status(Status::new("NetStream.Play.Start", "Playing."));
    for command in [Command::result(1.0, Value::Null, vec![f64::NAN.into()]), status] {
        let mut body = Vec::new();
        command.encode(&mut body);
        send(3, kind::COMMAND, 1, body);
    }
    send(6, kind::AGGREGATE, 1, three_tags());
    send(6, kind::SHARED_OBJECT, 0, vec![0; 9]);
    out
}

fn extended_time() -> Vec<u8> {
    let mut writer = ChunkWriter::new();
    let mut out = Vec::new();
    for timestamp in [0xFF_FFFE, 0xFF_FFFF, 0x100_0000, u32::MAX] {
        for csid in [4, 64, 320] {
            let body = vec![timestamp as u8; 300].into();
            writer.write(&mut out, &Message { csid, kind: kind::VIDEO, stream: 1, timestamp, body }).unwrap();
        }
    }
    out
}

fn three_tags() -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, time) in [(8, 0), (9, 10), (18, 20)] {
        out.extend_from_slice(&[kind, 0, 0, 2, 0, 0, time, 0, 0, 0, 0, 0xAA, 0xBB, 0, 0, 0, 13]);
    }
    out
}

fn commands() -> Vec<(&'static str, Command)> {
    let object = [
        ("app", Value::from("live")),
        ("type", "nonprivate".into()),
        ("flashVer", "FMLE/3.0 (compatible; Lavf61.7.100)".into()),
        ("tcUrl", "rtmp://localhost:1935/live".into()),
        ("fourCcList", Value::StrictArray(vec!["av01".into(), "hvc1".into()])),
    ];
    let object = Value::Object(object.map(|(key, value)| (key.to_owned(), value)).to_vec());
    let key = || Value::from("stream");
    vec![
        ("connect", Command::call("connect", 1.0, object, vec![])),
        ("releaseStream", Command::call("releaseStream", 2.0, Value::Null, vec![key()])),
        ("FCPublish", Command::call("FCPublish", 3.0, Value::Null, vec![key()])),
        ("createStream", Command::call("createStream", 4.0, Value::Null, vec![])),
        ("publish", Command::call("publish", 5.0, Value::Null, vec![key(), "live".into()])),
    ]
}

/// One value of each kind that AMF3 has and AMF0 has not, and containers.
fn amf3_values() -> [(&'static str, Value); 6] {
    let vector = |items| Value::Vector(Vector { fixed: true, items });
    let members = |value| vec![("source".to_owned(), value), ("0".to_owned(), "text".into())];
    let values = vec!["a".into(), Value::Null, Value::Bytes(vec![0, 0xFF]), Value::E4x("<a/>".into())];
    let numbers = [
        vector(Items::Int(vec![-1])),
        vector(Items::Uint(vec![1])),
        vector(Items::Double(vec![0.5])),
        268_435_456.0.into(),
        (-1.0).into(),
        Value::Date { unix_ms: 1.0, zone: 0 },
    ];
    let class = || "flex.messaging.io.ArrayCollection".to_owned();
    [
        ("numbers", Value::StrictArray(numbers.to_vec())),
        ("vector", vector(Items::Object { class: "C".into(), values: values.clone() })),
        ("array", Value::EcmaArray(members(true.into()))),
        ("object", Value::Object(members(Value::Xml("<b/>".into())))),
        (
            "dictionary",
            Value::Dictionary { weak: false, entries: vec![(Value::Undefined, values[0].clone())] },
        ),
        (
            "collection",
            Value::TypedObject {
                class: class(),
                members: vec![("source".into(), Value::StrictArray(values))],
            },
        ),
    ]
}

/// One event of each kind.
fn shared_object() -> SharedObjectMessage {
    let slot = || "slot".to_owned();
    let value = || Value::StrictArray(vec![1.0.into(), Value::Bytes(vec![7])]);
    SharedObjectMessage {
        name: "room".into(),
        version: 1,
        persistent: true,
        events: vec![
            SharedObjectEvent::Use,
            SharedObjectEvent::RequestChange { slot: slot(), value: value() },
            SharedObjectEvent::RequestRemove { slot: slot() },
            SharedObjectEvent::SendMessage { values: vec!["f".into(), value()] },
            SharedObjectEvent::Release,
            SharedObjectEvent::UseSuccess,
            SharedObjectEvent::Clear,
            SharedObjectEvent::Change { slot: slot(), value: value() },
            SharedObjectEvent::Success { slot: slot() },
            SharedObjectEvent::Remove { slot: slot() },
            SharedObjectEvent::Status { code: "SharedObject.BadPersistence".into(), level: "error".into() },
        ],
    }
}

fn metadata() -> Data {
    let members = [("width", 1920.0), ("height", 1080.0), ("framerate", 25.0)];
    let members = members.map(|(key, value)| (key.to_owned(), Value::from(value))).to_vec();
    Data { name: "@setDataFrame".into(), args: vec!["onMetaData".into(), Value::EcmaArray(members)] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any conversation at all, from the beginning or after a good start.
    #[test]
    fn any_conversation_keeps_the_invariants(
        small in 0..2_u8,
        start in prop::sample::select(vec![&[][..], &[0, 1, 18, 1, 1], &[0, 1, 18, 1, 4, 0, 18], &[0, 1, 18, 1, 5, 0]]),
        steps in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        fuzz::session_order(&[&[small][..], start, &steps].concat());
    }

    /// Conversations with few kinds of steps get farther than those with all of them.
    #[test]
    fn conversations_about_verdicts_keep_the_invariants(
        small in 0..2_u8,
        steps in prop::collection::vec(
            prop::sample::select(
                vec![1, 2, 3, 4, 5, 8, 10, 66, 67, 68, 69, 74, 18, 21, 22, 24, 25, 26, 27, 29, 30],
            ),
            0..200,
        ),
    ) {
        fuzz::session_order(&[&[small, 0, 1, 18, 1, 1][..], &steps].concat());
    }
    /// The client's side with whatever a server says, connected and with a pull and a push under way.
    #[test]
    fn whatever_a_server_says_keeps_the_invariants(
        small in 0..2_u8,
        start in prop::sample::select(
            vec![&[][..], &[0, 11], &[0, 11, 1, 9, 2, 5, 2, 9, 5, 3], &[0, 11, 1, 9, 2, 5, 15, 5, 4]],
        ),
        steps in prop::collection::vec(0..48_u8, 0..300),
    ) {
        fuzz::client_order(&[&[small][..], start, &steps].concat());
    }
}

/// RTMPE: its arithmetic takes too long for the damage that other seeds are done, so these have their own.
#[cfg(feature = "rtmpe")]
mod rtmpe {
    use super::*;

    fn seeds() -> [(String, Vec<u8>); 2] {
        let (client, server) = fuzz::encrypted_seeds();
        let file = |name| format!("{}/testdata/corpus/handshake/{name}", env!("CARGO_MANIFEST_DIR"));
        [(file("rtmpe_client"), client), (file("rtmpe_server"), server)]
    }

    #[test]
    fn the_seeds_are_committed() {
        for (file, seed) in seeds() {
            assert!(std::fs::read(&file).unwrap() == seed, "{file} is out of date: run `write_the_seeds`");
        }
    }

    #[test]
    #[ignore = "writes into the source tree"]
    fn write_the_seeds() {
        seeds().iter().for_each(|(file, seed)| std::fs::write(file, seed).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_seeds_keep_the_invariants(
            of_server in any::<bool>(),
            cut in 0..4000_usize,
            at in 0..3073_usize,
            bits in prop::sample::select(vec![0, 0, 1, 2, 0x80]),
        ) {
            let seeds = fuzz::encrypted_seeds();
            let mut seed = if of_server { seeds.1 } else { seeds.0 };
            seed[at] ^= bits;
            seed.truncate(cut);
            fuzz::handshake(&seed);
        }
    }
}
