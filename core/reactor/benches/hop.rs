//! What it costs to bring a frame from one worker to another: `cargo bench -p crtmp-reactor`.
//!
//! Two relays, each with a stream that the other plays, and between them what [`crtmp_reactor::Mailbox`] is made
//! of: a queue behind a lock, and a wake-up through an event descriptor, for the first message of several.
//!
//! * `relays`: both workers on one thread, one after the other, and the queue alone: all that they do for a turn
//!   with 1 or 16 frames, from the publisher to a player on the other worker that has been filled and advanced.
//! * `with wake-up`: also the write that wakes, and the poll that finds it. Still nobody sleeps.
//! * `there and back`: each worker on a thread of its own, asleep while nothing comes: a frame goes to the other
//!   worker, is given to a player there, and another frame comes back the same way. That is twice the delay of a
//!   hop between idle workers. It is mostly the scheduler's, and depends on idle processors being there.
//!
//! Not measured: sockets, and a worker that has much else to do.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "measures time")]

use std::{
    hint::black_box,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crtmp_media::{
    Codec, Encoder, Format, Frame, Limits, MediaKind, Packet, Retimed, Role, Slice, StreamName, StreamSlot,
    View,
};
use crtmp_relay::{
    ConnectionId, Directory, DuplicatePublisher, Flush, HomeId, Play, PlayOptions, PlayerId, Relay,
    RelayMessage, Slices, StreamKey, WorkerId,
};
use mio::{Events, Poll, Token, Waker};

/// Bytes of a frame.
const BODY: usize = 2_000;

/// Frames from key frame to key frame.
const GROUP: i64 = 50;

/// Bytes that one player may be sent in one turn.
const BUDGET: usize = 256 * 1024;

/// Frames as they are.
struct Bare;

impl Encoder for Bare {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let (kind, role, data_at) = (frame.kind, frame.role, frame.data_at);
        let bytes = frame.body.to_vec().into();
        Packet { bytes, header_len: 0, kind, role, track: 0, dts, cts: frame.cts, data_at }
    }

    fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed {
        Retimed::Copy(Packet { bytes: packet.bytes.clone(), dts, cts, ..*packet })
    }
}

/// A way into a worker.
struct Mailbox {
    queue: Mutex<Vec<RelayMessage>>,
    waker: Waker,
}

impl Mailbox {
    fn post(&self, message: RelayMessage, wake: bool) {
        let mut queue = self.queue.lock().expect("nobody has panicked");
        let was_empty = queue.is_empty();
        queue.push(message);
        drop(queue);
        if wake && was_empty {
            self.waker.wake().expect("an event descriptor takes a wake-up");
        }
    }
}

/// What two workers share.
#[derive(Clone)]
struct Shared {
    directory: Arc<Directory>,
    limits: Arc<Limits>,
    mailboxes: Arc<[Mailbox; 2]>,
}

impl Shared {
    fn new() -> io::Result<(Self, [Poll; 2])> {
        let polls = [Poll::new()?, Poll::new()?];
        let mailbox = |poll: &Poll| {
            let waker = Waker::new(poll.registry(), Token(0))?;
            io::Result::Ok(Mailbox { queue: Mutex::default(), waker })
        };
        let mailboxes = Arc::new([mailbox(&polls[0])?, mailbox(&polls[1])?]);
        let (directory, limits) = (Arc::new(Directory::new(Instant::now())), Arc::new(Limits::default()));
        Ok((Self { directory, limits, mailboxes }, polls))
    }

    /// The stream that is published on worker `number`.
    fn key(&self, number: u16) -> StreamKey {
        let name = StreamName::new("", &format!("stream-{number}"), &self.limits).expect("a good name");
        StreamKey { application: "bench".into(), name }
    }
}

/// A worker that publishes a stream, and has one player of the other's.
struct Worker {
    number: u16,
    shared: Shared,
    poll: Poll,
    events: Events,
    relay: Relay,
    home: HomeId,
    player: PlayerId,
    messages: Vec<RelayMessage>,
    frames: i64,
    body: Slice,
    /// Whether it wakes the other and waits to be woken.
    wakes: bool,
}

impl Worker {
    fn new(number: u16, shared: Shared, poll: Poll, wakes: bool) -> Self {
        let now = Instant::now();
        let mut relay = Relay::new(WorkerId(number), shared.directory.clone(), shared.limits.clone(), now);
        let (key, policy) = (shared.key(number), DuplicatePublisher::Reject);
        let home = relay.publish(key, ConnectionId(1), StreamSlot(1), policy, None, now);
        let options = PlayOptions { wait: Duration::MAX, publisher_return: Duration::ZERO, start: None };
        let play = Play {
            key: shared.key(1 - number),
            connection: ConnectionId(2),
            slot: StreamSlot(1),
            format: Format { family: "bench", variant: 1, chunk_size: 0, view: View::ALL },
            encoder: |_| Box::new(Bare),
            options,
        };
        let (player, _) = relay.play(play, now);
        let mut worker = Self {
            number,
            shared,
            poll,
            events: Events::with_capacity(8),
            relay,
            home: home.expect("nobody else publishes"),
            player,
            messages: Vec::new(),
            frames: 0,
            body: Slice::from(vec![0x41; BODY]),
            wakes,
        };
        worker.end_turn();
        worker
    }

    /// The publisher sends so many frames.
    fn publish(&mut self, count: usize) {
        let now = Instant::now();
        for _ in 0..count {
            let role = if self.frames % GROUP == 0 { Role::Key } else { Role::Delta };
            let (kind, body, dts) = (MediaKind::Video, self.body.clone(), self.frames * 40);
            let frame = Frame { kind, role, codec: Codec::Avc, track: 0, dts, cts: 0, body, data_at: 5 };
            self.relay.frame(self.home, frame, now);
            self.frames += 1;
        }
        self.end_turn();
    }

    /// Takes in what has come, once something has (`wait`), and sends it to the player. Returns how many bytes
    /// that were.
    fn turn(&mut self, wait: Option<Duration>) -> usize {
        if self.wakes {
            match self.poll.poll(&mut self.events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("poll: {error}"),
                _ => {}
            }
        }
        let now = Instant::now();
        let mut messages = std::mem::take(&mut self.messages);
        let mailbox = &self.shared.mailboxes[usize::from(self.number)];
        std::mem::swap(&mut *mailbox.queue.lock().expect("nobody has panicked"), &mut messages);
        for message in messages.drain(..) {
            self.relay.on_message(message, now);
        }
        self.messages = messages;
        self.end_turn();
        let mut sum = 0;
        while self.relay.next_owner(Instant::now).is_some() {
            sum += self.serve(now);
        }
        sum
    }

    fn end_turn(&mut self) {
        for (worker, message) in self.relay.end_turn(Instant::now()) {
            self.shared.mailboxes[usize::from(worker.0)].post(message, self.wakes);
        }
    }

    /// Sends the player what there is, into nowhere.
    fn serve(&mut self, now: Instant) -> usize {
        let flush = Flush { now, limits: &self.shared.limits, judge: false, unsent: 0 };
        assert!(self.relay.prepare(self.player, flush), "it is not slow");
        let mut sum = 0;
        loop {
            let mut slices = Slices::new();
            self.relay.fill(self.player, &mut slices, BUDGET);
            if slices.is_empty() {
                return sum;
            }
            let bytes = slices.iter().map(|slice| slice.len()).sum();
            drop(slices);
            self.relay.advance(self.player, bytes);
            sum += bytes;
        }
    }
}

/// Two workers that know each other's streams.
fn pair(wakes: bool) -> (Worker, Worker) {
    let (shared, [one, other]) = Shared::new().expect("polls and event descriptors");
    let mut one = Worker::new(0, shared.clone(), one, wakes);
    let mut other = Worker::new(1, shared, other, wakes);
    for _ in 0..2 {
        one.turn(Some(Duration::ZERO));
        other.turn(Some(Duration::ZERO));
    }
    (one, other)
}

fn on_one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    for (name, wakes) in [("relays", false), ("with wake-up", true)] {
        for count in [1, 16] {
            let (mut one, mut other) = pair(wakes);
            let hop = |one: &mut Worker, other: &mut Worker| {
                one.publish(count);
                other.turn(Some(Duration::ZERO))
            };
            assert_eq!(hop(&mut one, &mut other), count * BODY);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(format!("{name}, frames"), count), |bencher| {
                bencher.iter(|| black_box(hop(&mut one, &mut other)));
            });
        }
    }
    group.finish();
}

fn there_and_back(criterion: &mut Criterion) {
    let (shared, [here, there]) = Shared::new().expect("polls and event descriptors");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let far = || {
            let mut worker = Worker::new(1, shared.clone(), there, true);
            while !over.load(Ordering::Relaxed) {
                if worker.turn(None) > 0 {
                    worker.publish(1);
                }
            }
        };
        scope.spawn(far);
        let mut worker = Worker::new(0, shared.clone(), here, true);
        let mut round = || {
            worker.publish(1);
            while worker.turn(None) == 0 {}
        };
        round();
        let mut group = criterion.benchmark_group("hop");
        group.bench_function("there and back", |bencher| bencher.iter(&mut round));
        group.finish();
        over.store(true, Ordering::Relaxed);
        shared.mailboxes[1].waker.wake().expect("an event descriptor takes a wake-up");
    });
}

fn settings() -> Criterion {
    let criterion = Criterion::default().sample_size(20).nresamples(10_000);
    criterion.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700))
}

criterion_group! { name = all; config = settings(); targets = on_one_thread, there_and_back }
criterion_main!(all);
