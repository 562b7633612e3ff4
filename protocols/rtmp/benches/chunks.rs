//! What RTMP costs between bytes and messages: `cargo bench -p crtmp-rtmp`.
//!
//! * `decode`: a second of a stream, from bytes to messages. One picture of equal size after the other, with AAC
//!   between them, cut into chunks and handed to the reader in parts as a socket would. Measured are headers,
//!   copying into bodies, their allocation and release; not the socket, nor what a session does with a message.
//!   All messages have full headers, which have a few bytes more than the short ones of most publishers.
//! * `encode`: one frame to one packet at the server's chunk size: what a worker does once per frame and format,
//!   however many players there are. Measured are header, copying, the allocation of the packet and the release
//!   of an old one, because a log lets go of one for each that comes.
//!
//! The bytes lie in the cache where they fit into it, more often than they would in a server.
#![forbid(unsafe_code)]

use std::{collections::VecDeque, hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crtmp_media::{Codec, Encoder, Frame, Limits, MediaKind, Role, Slice};
use crtmp_rtmp::{
    chunk::{ChunkReader, ChunkWriter, Message, ReadLimits},
    encoder::RtmpEncoder,
    message::kind,
};

/// The body of an AAC message at about 64 kbit/s.
const AUDIO: usize = 190;

/// AAC messages in a second.
const AUDIO_RATE: usize = 43;

/// Streams by their bit rate: pictures in a second, and the bytes of each.
const STREAMS: [(&str, usize, usize); 3] =
    [("500 kbit/s", 25, 2_000), ("5 Mbit/s", 50, 13_000), ("50 Mbit/s", 50, 135_000)];

/// What most publishers send until told otherwise, what many set, and what this server sends.
const CHUNK_SIZES: [u32; 3] = [128, 4096, 60_000];

/// Bytes that are read at once: of a stream as it comes, and of much that has piled up.
const READS: [usize; 2] = [4 * 1024, 64 * 1024];

/// Packets that are kept while others are encoded.
const KEPT: usize = 64;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let limits = ReadLimits::after(&Limits::default());
    for (name, pictures, size) in STREAMS {
        for chunk_size in CHUNK_SIZES {
            let (opening, second) = stream(pictures, size, chunk_size);
            group.throughput(Throughput::Bytes(second.len() as u64));
            for read in READS {
                let mut reader = ChunkReader::new();
                assert_eq!(messages(&mut reader, &opening, read, &limits), 0);
                assert_eq!(messages(&mut reader, &second, read, &limits), pictures + AUDIO_RATE);
                let id = format!("{name}, chunks of {chunk_size}");
                group.bench_function(BenchmarkId::new(id, format!("reads of {read}")), |bencher| {
                    bencher.iter(|| messages(&mut reader, black_box(&second), read, &limits));
                });
            }
        }
    }
    group.finish();
}

/// What a publisher sends first, and in each second.
fn stream(pictures: usize, size: usize, chunk_size: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut opening, mut second, mut writer) = (Vec::new(), Vec::new(), ChunkWriter::new());
    writer.set_chunk_size(&mut opening, chunk_size);
    let mut write = |csid, kind, at: usize, size: usize| {
        let body = Slice::from(vec![at as u8; size]);
        let message = Message { csid, kind, stream: 1, timestamp: at as u32, body };
        writer.write(&mut second, &message).expect("a body that a message can hold");
    };
    let mut audio = 0;
    for picture in 0..pictures {
        write(6, kind::VIDEO, picture * 1000 / pictures, size);
        while audio * pictures < (picture + 1) * AUDIO_RATE {
            write(4, kind::AUDIO, audio * 1000 / AUDIO_RATE, AUDIO);
            audio += 1;
        }
    }
    (opening, second)
}

/// Hands `bytes` to the reader in parts, and counts what comes out.
fn messages(reader: &mut ChunkReader, bytes: &[u8], part: usize, limits: &ReadLimits) -> usize {
    let mut count = 0;
    for mut rest in bytes.chunks(part) {
        while let (used, Some(message)) = reader.read(rest, limits).expect("good chunks") {
            black_box(message);
            rest = &rest[used..];
            count += 1;
        }
    }
    count
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let encoder = RtmpEncoder::new(RtmpEncoder::format(1, 60_000));
    let sizes = [AUDIO].into_iter().chain(STREAMS.map(|(_, _, size)| size));
    for (size, kind) in sizes.zip([MediaKind::Audio, MediaKind::Video, MediaKind::Video, MediaKind::Video]) {
        let (codec, data_at) = if kind == MediaKind::Audio { (Codec::Aac, 2) } else { (Codec::Avc, 5) };
        let body = Slice::from(vec![7; size]);
        let frame = Frame { kind, role: Role::Key, codec, track: 0, dts: 40, cts: 0, body, data_at };
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new(format!("{kind:?}").to_lowercase(), size), |bencher| {
            let mut kept = VecDeque::from_iter((0..KEPT).map(|_| encoder.encode(&frame, 40)));
            bencher.iter(|| {
                kept.pop_front();
                kept.push_back(encoder.encode(black_box(&frame), 40));
            });
        });
    }
    group.finish();
}

fn settings() -> Criterion {
    let criterion = Criterion::default().sample_size(20).nresamples(10_000);
    criterion.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700))
}

criterion_group! { name = all; config = settings(); targets = decode, encode }
criterion_main!(all);
