//! CHK: the chunk stream.

use std::time::{Duration, Instant};

use crtmp_tests::{
    Config,
    wire::{Message, publish},
};

use crate::{
    audio, call, control, key_frame,
    stage::{Stage, noise, reset},
};

/// The first chunk of a message that announces `length` bytes, up to and with `payload`.
fn start(csid: u32, kind: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = match csid {
        2..64 => vec![csid as u8],
        64..320 => vec![0, (csid - 64) as u8],
        _ => vec![1, (csid - 64) as u8, ((csid - 64) >> 8) as u8],
    };
    out.extend([0, 0, 0]);
    out.extend(&length.to_be_bytes()[1..]);
    out.extend([kind, 1, 0, 0, 0]);
    out.extend(payload);
    out
}

#[test]
fn chunk_streams_that_break_the_rules() {
    let config = Config::new().limit("connectTimeout", "1").limit("publisherIdle", "60");
    let stage = Stage::start(&config);

    stage.case("CHK-03 a chunk stream that begins in the middle", || {
        // Format 1 is what librtmp's pings have; formats 2 and 3 have no length to go by.
        let mut client = stage.connected();
        client.write(&[0x42, 0, 0, 0, 0, 0, 6, 4, 0, 6, 0, 0, 0, 7]);
        assert_eq!(client.expect_kind(4).payload, [0, 7, 0, 0, 0, 7]);
        for (format, first) in [(2, 0x89), (3, 0xC9)] {
            let mut client = stage.connected();
            client.write(&[first; 64]);
            stage.ends(client, &format!("chunk stream 9 begins with a chunk of format {format}"));
        }
    });
    stage.case("CHK-08 impossible chunk sizes", || {
        for (size, rule) in [
            (0_u32, "chunk size 0 "),
            (1 << 31, "chunk size 2147483648 "),
            (u32::MAX, "chunk size 4294967295 "),
        ] {
            let mut client = stage.connected();
            client.send(&control(1, &size.to_be_bytes()));
            stage.ends(client, rule);
        }
    });
    stage.case("CHK-10 very small chunks", || {
        let mut client = stage.publisher("small");
        client.send(&control(1, &[0, 0, 0, 1]));
        let start = Instant::now();
        client.write(&key_frame(0, 1 << 20).chunks(1));
        client.write(&call("createStream", 9.0).chunks(1));
        client.expect("_result");
        assert!(start.elapsed() < Duration::from_secs(5));
    });
    stage.case("CHK-11 much is announced and little is sent", || {
        stage.three_times(|| {
            let before = stage.resident();
            let mut client = stage.connected();
            for csid in 3..70 {
                client.write(&start(csid, 9, 60_000, &[0; 1]));
                client.write(&[0; 127]);
            }
            stage.ends(client, "is one too many, the limit is 64");
            let mut client = stage.connected();
            client.write(&start(6, 9, 0xFF_FFFF, &[0; 128]));
            stage.ends(client, "a message of 16777215 bytes, the limit is 65536");
            assert!(stage.resident() <= before + 1024);
        });
    });
    stage.case("CHK-13 the size of a message, before and after", || {
        let mut client = stage.connected();
        client.write(&start(6, 9, 65_536, &[0; 128]));
        for _ in 1..512 {
            client.write(&[0xC6]);
            client.write(&[0; 128]);
        }
        client.expect_open();
        client.write(&start(6, 9, 65_537, &[0; 128]));
        stage.ends(client, "a message of 65537 bytes, the limit is 65536");
        let mut client = stage.publisher("large");
        client.send(&control(1, &[0x7F, 0xFF, 0xFF, 0xFF]));
        for size in [-1, 0] {
            client.write(&key_frame(0, ((8 << 20) - 5 + size) as usize).chunks(1 << 24));
        }
        client.write(&call("createStream", 9.0).chunks(1 << 24));
        client.expect("_result");
        client.write(&start(6, 9, (8 << 20) + 1, &[0; 1000]));
        stage.ends(client, "a message of 8388609 bytes, the limit is 8388608");
    });
    stage.case("CHK-14 messages without content", || {
        let mut client = stage.publisher("empty");
        for kind in 0..=255 {
            client.write(&start(8, kind, 0, &[]));
        }
        client.expect_open();
    });
    stage.case("CHK-15 messages of unknown types", || {
        let mut client = stage.connected();
        let strange = Message { chunk_stream: 8, kind: 77, payload: vec![1], ..Message::default() };
        stage.skips(1000, || (0..1000).for_each(|_| client.send(&strange)));
        client.expect_open();
        client.send(&strange);
        stage.ends(client, "more than unknownMessages = 1000 messages of unknown type");
    });
    stage.case("CHK-19 media on message streams that are not there", || {
        let mut client = stage.publisher("known");
        stage.skips(4, || {
            for stream in [0, 255, 0x0100_0000, u32::MAX] {
                client.send(&Message { stream, ..audio(0, &[0xAF, 1, 2]) });
            }
        });
        client.expect_open();
    });
    stage.end();
}

#[test]
fn peers_that_go_in_the_middle_and_peers_that_talk_nonsense() {
    let config = Config::new().limit("connectTimeout", "1").application("publisherReturn", "0");
    let stage = Stage::start(&config);

    stage.case("CHK-21 an end in the middle of anything", || {
        let message =
            [start(6, 9, 300, &[7; 128]), vec![0xC6], vec![7; 128], vec![0xC6], vec![7; 44]].concat();
        let late = [&[6, 0xFF, 0xFF, 0xFF, 0, 0, 100, 9, 1, 0, 0, 0][..], &[1, 0, 0, 0], &[7; 50]].concat();
        let cuts = [0, 1, 5, 11, 12, 13, 139, 140, 141, 200, 268];
        let pieces =
            cuts.map(|cut| &message[..cut]).into_iter().chain([&late[..12], &late[..14], &late[..40]]);
        for (number, piece) in pieces.enumerate() {
            let mut client = stage.publisher(&format!("cut{number}"));
            client.write(piece);
            if number % 2 == 0 {
                reset(client);
            } else {
                drop(client);
            }
        }
        stage.forgets();
        let log = stage.server.log();
        for number in 0..14 {
            let ends = log.lines().filter(|line| {
                line.contains("unpublished") && line.contains(&format!("stream=cut{number} "))
            });
            assert_eq!(ends.count(), 1, "cut{number} is unpublished once");
        }
    });
    stage.case("CHK-22 noise after a good handshake", || {
        let mut clients: Vec<_> = (0..100).map(|_| stage.shaken()).collect();
        for (client, seed) in clients.iter_mut().zip(1..) {
            client.write(&noise(seed, 64 * 1024));
        }
        // A message that never ends is over when the time for `connect` is.
        for client in clients {
            stage.ends(client, "");
        }
    });
    stage.case("CHK-25 a flood of the smallest messages", || {
        let mut client = stage.ready();
        client.send(&publish(1, "flood"));
        client.expect("NetStream.Publish.Start");
        let small = audio(0, &[0x2F]).chunks(128).repeat(5000);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            client.write(&small);
        }
        client.expect_open();
    });
    stage.end();
}
