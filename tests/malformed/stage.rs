//! A server, its canary, and what must be as before after each case.

use std::{
    cell::Cell,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crtmp_tests::{
    Canary, Config, Counters, Server, poll,
    wire::{Client, connect, play, publish},
};
use socket2::{Domain, SockRef, Socket, Type};

use crate::SOON;

/// How long the server may take to forget a peer that has gone.
const FORGET: Duration = Duration::from_secs(5);

/// A server, its canary, and the addresses from which cases come.
pub(crate) struct Stage {
    pub(crate) server: Server,
    canary: Canary,
    before: Footprint,
    /// The last address that was used: each client has one of its own, so that each has its own line in the log.
    source: Cell<u16>,
    /// Connections that the server has ended in the running case.
    ended: Cell<u64>,
}

/// What the server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footprint {
    descriptors: usize,
    threads: usize,
    connections: u64,
    publishes: u64,
    players: u64,
}

impl Stage {
    /// Starts a server and its canary.
    pub(crate) fn start(config: &Config) -> Self {
        // What is looked for is smaller than a large page.
        let server = Server::start_under("env MIMALLOC_ALLOW_THP=0", config);
        let canary = Canary::start(&server);
        let before = Footprint::of(&server);
        Self { server, canary, before, source: Cell::new(1), ended: Cell::new(0) }
    }

    /// Runs one case, and demands that the server is the same as before: alive (V1), with nothing held for peers that
    /// have gone (V3), and each connection that it ended counted once (V4).
    pub(crate) fn case(&self, id: &str, run: impl FnOnce()) {
        let _name = NameOnFailure(id);
        let faults = self.counters().number("totals.faults");
        self.ended.set(0);
        run();
        assert!(self.server.runs(), "the server is gone");
        self.forgets();
        assert_eq!(self.counters().number("totals.faults") - faults, self.ended.get(), "faults counted");
    }

    /// Demands that everything is as it was at the beginning, and ends the server.
    pub(crate) fn end(mut self) {
        self.canary.check(&self.server);
        self.forgets();
        let counters = self.counters();
        assert_eq!(counters.number("totals.panics"), 0);
        let log = self.server.stop();
        let raw = |letter: char| letter.is_control() && letter != '\n';
        if let Some(line) = log.lines().find(|line| line.contains(raw)) {
            panic!("raw bytes in the log: {line:?}");
        }
    }

    /// Waits until the server holds nothing but the canary's.
    pub(crate) fn forgets(&self) {
        let mut found = None;
        poll(FORGET, || {
            found = Some(Footprint::of(&self.server));
            (found == Some(self.before)).then_some(())
        });
        assert_eq!(found, Some(self.before), "what the server holds {FORGET:?} after the peers have gone");
    }

    pub(crate) fn counters(&self) -> Counters {
        self.server.counters()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A client that has come from an address of its own, and says nothing yet.
    pub(crate) fn open(&self) -> Client {
        self.open_at(self.address())
    }

    /// [`Self::open`] to another acceptor.
    pub(crate) fn open_at(&self, to: SocketAddr) -> Client {
        let number = self.source.get() + 1;
        self.source.set(number);
        let [high, low] = number.to_be_bytes();
        open_between(Ipv4Addr::new(127, 1, high, low), to)
    }

    /// A client that comes from `source`.
    pub(crate) fn open_from(&self, source: Ipv4Addr) -> Client {
        open_between(source, self.address())
    }

    /// [`Self::open`], after the handshake.
    pub(crate) fn shaken(&self) -> Client {
        let mut client = self.open();
        client.handshake();
        client
    }

    /// [`Self::shaken`], connected to the application `live`.
    pub(crate) fn connected(&self) -> Client {
        self.connected_to("live")
    }

    /// [`Self::shaken`], connected to an application.
    pub(crate) fn connected_to(&self, application: &str) -> Client {
        let mut client = self.shaken();
        client.send(&connect(application, &format!("rtmp://{}/{application}", self.address())));
        client.expect("_result");
        client
    }

    /// [`Self::connected`], with message stream 1.
    pub(crate) fn ready(&self) -> Client {
        let mut client = self.connected();
        client.create_stream();
        client
    }

    /// [`Self::ready`], publishing `stream`.
    pub(crate) fn publisher(&self, stream: &str) -> Client {
        let mut client = self.ready();
        client.send(&publish(1, stream));
        client.expect("NetStream.Publish.Start");
        client
    }

    /// [`Self::ready`], playing `stream`.
    pub(crate) fn player(&self, stream: &str) -> Client {
        let mut client = self.ready();
        client.send(&play(1, stream));
        client.expect("NetStream.Play.Start");
        client
    }

    /// Demands that the server ends this connection and says why: in one line of its log, which names the peer and
    /// the rule (V4). Gives what the server said before.
    pub(crate) fn ends(&self, mut client: Client, rule: &str) -> Vec<u8> {
        let said = client.expect_close(SOON);
        self.tells(&client, rule);
        said
    }

    /// [`Self::ends`], not before so much time from now, and not long after.
    pub(crate) fn ends_after(&self, client: Client, time: Duration, rule: &str) {
        let start = Instant::now();
        self.ends(client, rule);
        let took = start.elapsed();
        assert!(took >= time && took < time + Duration::from_millis(900), "it took {took:?}, not {time:?}");
    }

    /// Demands that the log has one line about the end of this connection.
    pub(crate) fn tells(&self, client: &Client, rule: &str) {
        self.ended.set(self.ended.get() + 1);
        let peer = client.socket().local_addr().expect("a connected socket").to_string();
        let told = |lines: &[String]| lines.iter().any(|line| line.contains(rule));
        let mut lines = Vec::new();
        poll(SOON, || {
            lines = self.log_of(&peer);
            lines.retain(|line| line.contains("closed: "));
            told(&lines).then_some(())
        });
        assert!(told(&lines), "no line says {rule:?} of {peer}: {lines:#?} {:#?}", self.log_of(&peer));
        assert_eq!(lines.len(), 1, "one line is enough: {lines:#?}");
    }

    /// The lines of the log that are about a peer: an address, or an address and port.
    pub(crate) fn log_of(&self, peer: &str) -> Vec<String> {
        let log = self.server.log();
        log.lines().filter(|line| line.contains(&format!("peer={peer}"))).map(ToOwned::to_owned).collect()
    }

    /// Runs `run` and demands that the server counts as skipped what it should: so many more than before.
    pub(crate) fn skips(&self, count: u64, run: impl FnOnce()) {
        let skipped = || self.counters().number("totals.skipped");
        let before = skipped();
        run();
        let mut found = 0;
        poll(SOON, || {
            found = skipped() - before;
            (found >= count).then_some(())
        });
        assert_eq!(found, count, "skipped");
    }

    /// Resident memory of the server in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Runs `run` three times; once would not tell a leak from a first use. The further times may cost next to
    /// nothing (V3).
    pub(crate) fn three_times(&self, mut run: impl FnMut()) {
        run();
        self.forgets();
        let once = self.resident();
        for _ in 0..2 {
            run();
            self.forgets();
        }
        let thrice = self.resident();
        assert!(thrice <= once + 2048, "{once} KiB after once, {thrice} KiB after three times");
    }
}

/// A client at `to` that comes from `source`.
pub(crate) fn open_between(source: Ipv4Addr, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::new(IpAddr::V4(source), 0);
    socket.bind(&from.into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect_timeout(&to.into(), SOON).expect("the server listens");
    Client::over(TcpStream::from(socket))
}

impl Footprint {
    fn of(server: &Server) -> Self {
        let entries = |folder: &str| {
            fs::read_dir(format!("/proc/{}/{folder}", server.id())).expect("a process of ours").count()
        };
        let counters = server.counters();
        Self {
            descriptors: entries("fd"),
            threads: entries("task"),
            connections: counters.number("totals.connections"),
            publishes: counters.number("totals.publishes"),
            players: counters.number("totals.players"),
        }
    }
}

/// Says which case it was that failed.
struct NameOnFailure<'a>(&'a str);

impl Drop for NameOnFailure<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- in the case {}", self.0);
        }
    }
}

/// Closes a connection in the rudest way: with a reset.
pub(crate) fn reset(client: Client) {
    SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(client);
}

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
