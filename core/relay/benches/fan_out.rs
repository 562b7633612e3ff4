//! What it costs a worker to bring a frame to its players: `cargo bench -p crtmp-relay`.
//!
//! * `append`: 50 frames of 2 kB, one a key frame, from publisher to log: timeline, group, encoding, bounds. The
//!   players are not served in between; that it is the same for any number of them is what it shows. (In a
//!   server each append also finds its memory less warm, after thousands of players have been served.)
//! * `flush`: one frame of 2 kB, from the end of the turn to the last player: the round is begun, and each player
//!   prepared, filled and advanced, in the order in which a worker does it. Appending the frame is not in it, nor
//!   is what a connection costs beside its play. Throughput is players in a second. By where the bytes go:
//!   * `nowhere`: nothing is written. This is all that the relay itself does.
//!   * `null`: one write per player into `/dev/null`: the relay, and entering and leaving the kernel. No bytes are
//!     copied and nothing is sent.
//!   * `tcp`: one write per player into a connection of its own on the loopback interface. That includes TCP on
//!     both sides, because the kernel delivers within the write. The readers are emptied while no time is taken,
//!     and nobody is woken.
//!   * `null alone`, `tcp alone`: the same writes of the same bytes without a relay, for the difference.
//! * `join`: a player comes to a stream that others watch, and is sent all that there is up to live, into
//!   nowhere. By how its stream stands: with the times as they are, or with times pressed together (`catch-up`).
//!
//! Time is an argument of the relay, and runs here as the stream does: 40 ms per picture.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "measures time")]

use std::{
    fs::File,
    hint::black_box,
    io::{self, IoSlice, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crtmp_media::{
    Codec, Encoder, Format, Frame, Head, Limits, MediaKind, Packet, Retimed, Role, Slice, StreamName,
    StreamSlot, View,
};
use crtmp_relay::{
    ConnectionId, Delivery, Directory, DuplicatePublisher, Flush, HomeId, Merge, Play, PlayOptions, PlayerId,
    Relay, Slices, Start, StreamKey, WorkerId,
};

/// Bytes of a picture: a stream of about 500 kbit/s at 25 pictures in a second.
const PICTURE: usize = 2_000;

/// Bytes of an audio message of about 64 kbit/s.
const AUDIO: usize = 190;

/// Time between pictures in ms.
const STEP: i64 = 40;

/// Bytes that one player may be sent in one turn.
const BUDGET: usize = 256 * 1024;

const FORMAT: Format = Format { family: "bench", variant: 1, chunk_size: 60_000, view: View::ALL };

/// One full header of twelve bytes before each body: the work of RTMP where a body is one chunk.
struct Whole;

impl Whole {
    const HEADER: usize = 12;

    fn header(dts: i64) -> [u8; Self::HEADER] {
        let mut header = [6; Self::HEADER];
        header[..8].copy_from_slice(&dts.to_be_bytes());
        header
    }
}

impl Encoder for Whole {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let mut bytes = Vec::with_capacity(Self::HEADER + frame.body.len());
        bytes.extend_from_slice(&Self::header(dts));
        bytes.extend_from_slice(&frame.body);
        Packet {
            bytes: bytes.into(),
            header_len: Self::HEADER as u32,
            kind: frame.kind,
            role: frame.role,
            track: frame.track,
            dts,
            cts: frame.cts,
            data_at: frame.data_at,
        }
    }

    fn retime(&self, _: &Packet, dts: i64, _: i32) -> Retimed {
        Retimed::Head(Head::new(&[&Self::header(dts)], Self::HEADER).expect("twelve bytes fit"))
    }
}

/// A stream on one worker, and its players.
struct Stage {
    relay: Relay,
    limits: Arc<Limits>,
    key: StreamKey,
    home: HomeId,
    players: Vec<PlayerId>,
    began: Instant,
    /// The time of the next picture in ms.
    dts: i64,
    /// Pictures from key frame to key frame.
    group: i64,
    picture: Slice,
    audio: Slice,
}

impl Stage {
    fn new(players: usize, start: Start, group: i64) -> Self {
        let began = Instant::now();
        let limits = Arc::new(Limits::default());
        let mut relay = Relay::new(WorkerId(0), Arc::new(Directory::new(began)), limits.clone(), began);
        let name = StreamName::new("", "bench", &limits).expect("a good name");
        let key = StreamKey { application: "bench".into(), name };
        let delivery = Delivery { merge: Merge::Fixed(Duration::ZERO), start, ..Delivery::default() };
        relay.set_delivery(&key.application, delivery);
        let (connection, policy) = (ConnectionId(u64::MAX), DuplicatePublisher::Reject);
        let home = relay.publish(key.clone(), connection, StreamSlot(1), policy, None, began);
        let mut stage = Self {
            relay,
            limits,
            key,
            home: home.expect("nobody else publishes"),
            players: Vec::new(),
            began,
            dts: 0,
            group,
            picture: Slice::from(vec![0x41; PICTURE]),
            audio: Slice::from(vec![0x21; AUDIO]),
        };
        for _ in 0..players {
            let player = stage.join();
            stage.players.push(player);
        }
        stage
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.dts.unsigned_abs())
    }

    /// A player comes, the connection's number being its place among `players`.
    fn join(&mut self) -> PlayerId {
        let options = PlayOptions { wait: Duration::MAX, publisher_return: Duration::ZERO, start: None };
        let play = Play {
            key: self.key.clone(),
            connection: ConnectionId(self.players.len() as u64),
            slot: StreamSlot(1),
            format: FORMAT,
            encoder: |_| Box::new(Whole),
            options,
        };
        self.relay.play(play, self.now()).0
    }

    /// The publisher sends its next picture.
    fn picture(&mut self) {
        self.dts += STEP;
        let role = if self.dts / STEP % self.group == 1 { Role::Key } else { Role::Delta };
        let (kind, body) = (MediaKind::Video, self.picture.clone());
        let frame =
            Frame { kind, role, codec: Codec::Avc, track: 0, dts: self.dts, cts: 0, body, data_at: 5 };
        self.relay.frame(self.home, frame, self.now());
    }

    /// The publisher sends audio.
    fn audio(&mut self) {
        let (kind, role, body) = (MediaKind::Audio, Role::Key, self.audio.clone());
        let frame =
            Frame { kind, role, codec: Codec::Aac, track: 0, dts: self.dts, cts: 0, body, data_at: 2 };
        self.relay.frame(self.home, frame, self.now());
    }

    /// Ends the turn and sends each player what there is. Returns how many were served.
    fn flush(&mut self, sink: &mut impl Sink) -> usize {
        let now = self.now();
        drop(self.relay.end_turn(now));
        let mut served = 0;
        while let Some(owner) = self.relay.next_owner(|| now) {
            let at = owner.0 as usize;
            self.serve(self.players[at], at, sink);
            served += 1;
        }
        served
    }

    /// Sends a player what there is. Returns how many bytes that were.
    fn serve(&mut self, player: PlayerId, at: usize, sink: &mut impl Sink) -> usize {
        let flush = Flush { now: self.now(), limits: &self.limits, judge: false, unsent: 0 };
        assert!(self.relay.prepare(player, flush), "it is not slow");
        let mut sum = 0;
        loop {
            let mut slices = Slices::new();
            self.relay.fill(player, &mut slices, BUDGET);
            if slices.is_empty() {
                return sum;
            }
            let written = sink.write(at, &slices);
            drop(slices);
            self.relay.advance(player, written);
            sum += written;
        }
    }

    /// Ends the turn without serving anybody.
    fn skip_round(&mut self) {
        let now = self.now();
        drop(self.relay.end_turn(now));
        while self.relay.next_owner(|| now).is_some() {}
    }
}

/// Where the bytes of players go.
trait Sink {
    /// Takes all of `slices` for the player at `at`. Returns how many bytes that were.
    fn write(&mut self, at: usize, slices: &[IoSlice<'_>]) -> usize;

    /// Makes room for the next frame.
    fn settle(&mut self) {}
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: usize, slices: &[IoSlice<'_>]) -> usize {
        slices.iter().map(|slice| slice.len()).sum()
    }
}

struct Null(File);

impl Null {
    fn new() -> Self {
        Self(File::options().write(true).open("/dev/null").expect("/dev/null can be written to"))
    }
}

impl Sink for Null {
    fn write(&mut self, _: usize, slices: &[IoSlice<'_>]) -> usize {
        write(&mut self.0, slices)
    }
}

/// Connections to ourselves: where we write, and where it arrives.
struct Tcp(Vec<(TcpStream, TcpStream)>);

impl Tcp {
    fn new(count: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let pair = |_| {
            let reader = TcpStream::connect(address)?;
            let (writer, _) = listener.accept()?;
            writer.set_nodelay(true)?;
            reader.set_nonblocking(true)?;
            Ok((writer, reader))
        };
        Ok(Self((0..count).map(pair).collect::<io::Result<_>>()?))
    }
}

impl Sink for Tcp {
    fn write(&mut self, at: usize, slices: &[IoSlice<'_>]) -> usize {
        write(&mut self.0[at].0, slices)
    }

    fn settle(&mut self) {
        let mut scratch = [0; 16 * 1024];
        for (_, reader) in &mut self.0 {
            while matches!(reader.read(&mut scratch), Ok(1..)) {}
        }
    }
}

/// One write, as workers do it.
fn write(to: &mut impl Write, slices: &[IoSlice<'_>]) -> usize {
    let written = match slices {
        [one] => to.write(one),
        many => to.write_vectored(many),
    };
    written.expect("there is room")
}

/// Measures `timed` alone; `before` it is called each time.
fn alternate<S>(bencher: &mut Bencher<'_>, on: &mut S, before: impl Fn(&mut S), timed: impl Fn(&mut S)) {
    bencher.iter_custom(|iterations| {
        let mut sum = Duration::ZERO;
        for _ in 0..iterations {
            before(on);
            let start = Instant::now();
            timed(on);
            sum += start.elapsed();
        }
        sum
    });
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(50));
    for count in [1, 100, 10_000] {
        group.bench_function(BenchmarkId::new("50 frames, players", count), |bencher| {
            let mut stage = Stage::new(count, Start::Key, 50);
            alternate(bencher, &mut stage, Stage::skip_round, |stage| (0..50).for_each(|_| stage.picture()));
        });
    }
    group.finish();
}

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    for count in [1, 100, 1000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("nowhere", count), |bencher| {
            flush_into(bencher, count, Nowhere)
        });
        group.bench_function(BenchmarkId::new("null", count), |bencher| {
            flush_into(bencher, count, Null::new());
        });
        group.bench_function(BenchmarkId::new("null alone", count), |bencher| {
            write_into(bencher, count, Null::new());
        });
    }
    let count = 100;
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new("tcp", count), |bencher| {
        flush_into(bencher, count, Tcp::new(count).expect("connections to ourselves"));
    });
    group.bench_function(BenchmarkId::new("tcp alone", count), |bencher| {
        write_into(bencher, count, Tcp::new(count).expect("connections to ourselves"));
    });
    group.finish();
}

/// One frame to so many players.
fn flush_into(bencher: &mut Bencher<'_>, count: usize, sink: impl Sink) {
    let mut stage = Stage::new(count, Start::Key, 50);
    stage.picture();
    assert_eq!(stage.flush(&mut Nowhere), count);
    let before = |(stage, sink): &mut (Stage, _)| {
        Sink::settle(sink);
        stage.picture();
    };
    alternate(bencher, &mut (stage, sink), before, |(stage, sink)| {
        black_box(stage.flush(sink));
    });
}

/// The same writes without a relay.
fn write_into(bencher: &mut Bencher<'_>, count: usize, sink: impl Sink) {
    let packet = vec![0x41; Whole::HEADER + PICTURE];
    alternate(
        bencher,
        &mut (sink, packet),
        |(sink, _)| sink.settle(),
        |(sink, packet)| {
            for at in 0..count {
                black_box(sink.write(at, &[IoSlice::new(packet)]));
            }
        },
    );
}

fn join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join");
    let near = Start::Near(Duration::from_millis(700));
    for (name, start, age) in [("key", Start::Key, 1), ("key", Start::Key, 7), ("catch-up", near, 7)] {
        group.bench_function(
            BenchmarkId::new(format!("{name}, seconds after a key frame"), age),
            |bencher| {
                let mut stage = Stage::new(1, start, 8 * 25);
                for _ in 0..age * 25 {
                    stage.picture();
                    stage.audio();
                    stage.audio();
                    stage.flush(&mut Nowhere);
                }
                let leave = |(stage, last): &mut (Stage, Option<PlayerId>)| {
                    let now = stage.now();
                    last.take().into_iter().for_each(|last| stage.relay.unplay(last, now));
                };
                alternate(bencher, &mut (stage, None), leave, |(stage, last)| {
                    let player = stage.join();
                    assert!(stage.serve(player, 1, &mut Nowhere) > PICTURE);
                    *last = Some(player);
                });
            },
        );
    }
    group.finish();
}

fn settings() -> Criterion {
    let criterion = Criterion::default().sample_size(20).nresamples(10_000);
    criterion.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = all; config = settings(); targets = append, flush, join }
criterion_main!(all);
