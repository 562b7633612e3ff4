//! Publishers and players that come and go, on several workers: what they leave behind is nothing.
//!
//! One cycle has every way to come and to go that a client has. Between rounds of cycles all have left, and the server
//! is looked at. Memory is counted by its allocator, which keeps nothing at hand for its threads here, so that freed
//! bytes are free.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crtmp_tests::numbered::{Seen, Shape, Source};
use crtmp_tests::wire::{Client, Message, amf, connect, play, publish};
use crtmp_tests::{Config, Counters, Server, Usage, poll};
use socket2::SockRef;

use crate::SOON;

/// Two cycles at a time, in two threads.
const THREADS: u32 = 2;
/// Cycles before all others, all threads together.
const WARM: u32 = 64;
/// Cycles before the first look.
const ROUND: u32 = 20;
/// Cycles before the second look.
const CYCLES: u32 = 200;
/// Players that come before all cycles, at once.
const CROWD: u32 = 100;
/// What the heap may grow by from the first look to the second.
const HEAP: u64 = 64 << 10;
/// How many times it may do so before that is a leak.
const TRIES: u32 = 3;
/// What the heap may grow by from the first third of the long form to the last: two bytes for each connection.
const LONG_HEAP: u64 = 256 << 10;
/// What resident memory may grow by from the first third of the long form to the last.
const RESIDENT: u64 = 2 << 20;

const FILM: Shape = Shape { picture: 3000, gop: 10, interval: 40 };

/// Those who wait in each thread at once, at most.
const WAITING: usize = 8;

fn config() -> Config {
    Config::new()
        .workers(3)
        .log_level(3)
        .application("duplicatePublisher", "\"replace\"")
        .application("startPolicy", "\"key\"")
        .application("publisherReturn", "2")
        .application("playWait", "2")
}

/// Closes a connection in the rudest way: with a reset.
fn reset(client: Client) {
    SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).expect("a socket option");
}

/// A player that has been told that it plays.
fn player(address: SocketAddr, stream: &str) -> Client {
    let mut client = Client::player(address, "live", stream);
    client.expect("NetStream.Play.Start");
    client
}

/// Takes messages until the picture with this number.
fn see(player: &mut Client, number: u32) {
    let deadline = Instant::now() + SOON;
    let mut others = Vec::new();
    while let Some(message) = player.message(deadline.saturating_duration_since(Instant::now())) {
        // What came before may belong to another publisher, or to the middle of a group that was seen begin.
        let mut seen = Seen::default();
        seen.take(&message);
        if seen.last == Some(number) {
            return;
        }
        let text = String::from_utf8_lossy(&message.payload[..message.payload.len().min(100)]).into_owned();
        others.push((message.kind, message.time, text));
    }
    panic!("picture {number} did not come but {others:#?}");
}

/// Ends the use of message stream 1.
fn close_stream() -> Message {
    Message::command(1, "closeStream", 0.0, &[amf::null()])
}

/// One publisher after the other, for one name.
struct Publishers<'a> {
    address: SocketAddr,
    stream: &'a str,
    /// The number of the first picture of the next one.
    next: u32,
}

impl Publishers<'_> {
    fn start(&mut self) -> Source {
        let client = Client::publisher(self.address, "live", self.stream);
        self.go_on(client)
    }

    /// A client that publishes the name already.
    fn go_on(&mut self, client: Client) -> Source {
        let source = Source::of(client, FILM, self.next);
        self.next += 10 * FILM.gop;
        source
    }
}

/// Sends pictures, and demands that the player gets them.
fn deliver(source: &mut Source, player: &mut Client) {
    for _ in 0..3 {
        source.picture();
    }
    see(player, source.next() - 1);
}

/// What somebody waits for who is left alone for a while.
struct Left(Client, &'static str);

impl Left {
    /// Waits for the end of the wait.
    fn end(mut self) {
        self.0.expect(self.1);
    }
}

/// Whether nobody comes back in a cycle, so that its last player is told.
fn is_last(number: u32) -> bool {
    number % 32 < THREADS
}

/// Everything that clients do, once. Adds to `left` those who are to be told something later.
fn cycle(address: SocketAddr, number: u32, stream: &str, left: &mut VecDeque<Left>) {
    let mut publishers = Publishers { address, stream, next: 0 };

    // Players before the publisher and after it, on several workers.
    let mut early = player(address, stream);
    let mut source = publishers.start();
    deliver(&mut source, &mut early);
    let mut players: Vec<Client> = (0..3).map(|_| player(address, stream)).collect();
    for player in &mut players {
        deliver(&mut source, player);
    }
    // One says that it leaves, one leaves, one tears the cable.
    for (way, mut player) in players.into_iter().enumerate() {
        match way {
            0 => {
                player.send(&close_stream());
                player.expect_open();
            }
            1 => drop(player),
            _ => reset(player),
        }
    }

    // The publisher pauses for a moment, on the same connection.
    let mut client = source.into_client();
    client.send(&close_stream());
    client.send(&publish(1, stream));
    client.expect("NetStream.Publish.Start");
    let mut source = publishers.go_on(client);
    deliver(&mut source, &mut early);

    // It dies in the middle of a picture and comes back.
    let mut client = source.into_client();
    let picture = Message { chunk_stream: 6, kind: 9, stream: 1, time: 0, payload: vec![0x17; 3000] };
    client.write(&picture.chunks(65_536)[..1000]);
    reset(client);
    let mut source = publishers.start();
    deliver(&mut source, &mut early);

    // Somebody takes the name over.
    let mut successor = publishers.start();
    source.client().expect_close(SOON);
    deliver(&mut successor, &mut early);

    // Names that never come: each is another one.
    let nobody = format!("never-{stream}-{number}");
    let waiting = player(address, &nobody);
    drop(player(address, &nobody));
    if number % 8 < THREADS {
        left.push_back(Left(waiting, "NetStream.Play.StreamNotFound"));
    } else {
        reset(waiting);
    }

    // Somebody who says all at once and is gone, at any byte of it.
    let mut hasty = vec![3; 1 + 2 * 1536];
    hasty.extend(connect("live", "rtmp://localhost/live").chunks(128));
    hasty.extend(Message::command(0, "createStream", 2.0, &[amf::null()]).chunks(128));
    let role: fn(u32, &str) -> Message = if number.is_multiple_of(2) { publish } else { play };
    hasty.extend(role(1, &format!("hasty-{stream}")).chunks(128));
    hasty.extend(picture.chunks(128));
    let mut client = Client::open(address);
    client.write(&hasty[..(number as usize * 977) % hasty.len()]);
    if number.is_multiple_of(3) {
        reset(client);
    } else {
        drop(client);
    }

    // The end: the publisher goes first, and the player with it or not, or the player does.
    if is_last(number) {
        drop(successor);
        left.push_back(Left(early, "NetStream.Play.UnpublishNotify"));
    } else if number % 4 < THREADS {
        reset(successor.into_client());
    } else {
        drop(early);
        successor.client().send(&close_stream());
        successor.client().expect_open();
    }
}

/// Some cycles, in all threads, until everybody has left.
fn round(address: SocketAddr, first: u32, cycles: u32) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut left = VecDeque::new();
                for number in (first..first + cycles).filter(|number| number % THREADS == thread) {
                    // Few names, so that each is used again and again; but for those that nobody comes back to.
                    let name = if is_last(number) { number } else { number % 6 };
                    cycle(address, number, &format!("t{thread}-{name}"), &mut left);
                    while left.len() > WAITING {
                        left.pop_front().into_iter().for_each(Left::end);
                    }
                }
                left.into_iter().for_each(Left::end);
            });
        }
    });
}

/// What the server holds when nobody is there, memory left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Empty {
    files: u64,
    threads: u64,
    connections: u64,
    publishes: u64,
    players: u64,
    streams: usize,
    replicas: usize,
    waiting: u64,
}

impl Empty {
    fn of(counters: &Counters) -> Self {
        let Usage { files, threads, .. } = counters.usage();
        let length = |key: &str| counters.json()[key].as_array().map_or(0, Vec::len);
        let applications = counters.json()["applications"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            files,
            threads,
            connections: counters.number("totals.connections"),
            publishes: counters.number("totals.publishes"),
            players: counters.number("totals.players"),
            streams: length("streams"),
            replicas: length("replicas"),
            waiting: applications.iter().filter_map(|application| application["waiting"].as_u64()).sum(),
        }
    }
}

/// Waits until the server is as empty as it was; gives what it takes then, with its heap at `heap` at most if that
/// comes to pass soon.
fn rest(server: &Server, before: Empty, heap: u64) -> Usage {
    let mut found = None;
    poll(SOON, || {
        let counters = server.counters();
        let (empty, usage) = (Empty::of(&counters), counters.usage());
        found = Some((empty, usage));
        (empty == before && usage.allocated <= heap).then_some(())
    });
    let (empty, usage) = found.expect("it was looked at");
    assert_eq!(empty, before, "what the server holds when all have left");
    usage
}

/// Demands that each publish and each play of the log has ended, and empties the log, which is written by and by.
fn assert_pairs(server: &Server) {
    let mut found = [0; 4];
    let balanced = poll(SOON, || {
        let log = server.log();
        let count = |event: &str| log.lines().filter(|line| line.contains(event)).count();
        let ends = count(" stopped playing stream=");
        // The words of the end hold those of the beginning.
        let plays = count(" playing stream=") - ends;
        found = [count(" published stream="), count(" unpublished stream="), plays, ends];
        (found[0] > 0 && found[0] == found[1] && plays == ends).then_some(())
    });
    assert!(balanced.is_some(), "publishes, their ends, plays, their ends: {found:?}");
    let file = fs::File::options().write(true).open(server.folder().join("server.log"));
    file.and_then(|file| file.set_len(0)).expect("the log can be emptied");
}

/// LOAD-03, LOAD-04 in small. `CRTMP_CHURN_SECONDS=600` is the long form, which looks at resident memory too.
#[test]
fn churn_leaves_nothing_behind() {
    let seconds: Option<u64> = std::env::var("CRTMP_CHURN_SECONDS").ok().and_then(|text| text.parse().ok());
    let server = Server::start(&config());
    let address = server.address();
    let before = Empty::of(&server.counters());

    // Tables and lists that have grown stay as large as they had to be once, and that is no leak: the first cycles
    // are not counted, and there are more clients before them than will ever be again.
    let crowd: Vec<Client> = (0..CROWD).map(|number| player(address, &format!("crowd-{number}"))).collect();
    drop(crowd);
    round(address, 0, WARM);
    rest(&server, before, u64::MAX);
    round(address, WARM, ROUND);
    let mut first = rest(&server, before, u64::MAX);
    let mut cycles = WARM + ROUND;
    // A table that grows because the machine was busy for a moment does so once; a leak goes on.
    let flat = (0..TRIES).find_map(|_| {
        round(address, cycles, CYCLES - ROUND);
        cycles += CYCLES - ROUND;
        let last = rest(&server, before, first.allocated + HEAP);
        let (from, to) = (first.allocated >> 10, last.allocated >> 10);
        println!("heap after {ROUND} cycles {from} KiB, after {CYCLES} {to} KiB");
        let flat = last.allocated <= first.allocated + HEAP;
        first = last;
        flat.then_some(())
    });
    assert!(flat.is_some(), "the heap grows with every cycle");
    assert_pairs(&server);
    if let Some(seconds) = seconds {
        go_on(&server, before, cycles, Duration::from_secs(seconds));
    }
    let counters = server.counters();
    assert_eq!((counters.number("totals.panics"), counters.number("threadsLeftBehind")), (0, 0));
    server.stop();
}

/// Goes on for `time` after so many `cycles`: memory stays where it is.
fn go_on(server: &Server, before: Empty, mut cycles: u32, time: Duration) {
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < time {
        round(server.address(), cycles, CYCLES);
        cycles += CYCLES;
        samples.push(rest(server, before, u64::MAX));
        assert_pairs(server);
    }
    let third = samples.len() / 3;
    let (early, late) = (&samples[..third], &samples[samples.len() - third..]);
    let most = |part: &[Usage], of: fn(&Usage) -> u64| part.iter().map(of).max().unwrap_or(0);
    let resident = [early, late].map(|part| most(part, |usage| usage.resident));
    let heap = [early, late].map(|part| most(part, |usage| usage.allocated));
    let kib = |[early, late]: [u64; 2]| format!("{} KiB, then {} KiB", early >> 10, late >> 10);
    println!("{cycles} cycles: heap {}; resident {}", kib(heap), kib(resident));
    assert!(resident[1] <= resident[0] + RESIDENT, "resident memory: {samples:#?}");
    assert!(heap[1] <= heap[0] + LONG_HEAP, "heap: {samples:#?}");
}
