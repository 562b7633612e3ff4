//! Many players of one stream in one thread, each as slow as it should be.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crtmp_tests::numbered::{Seen, Shape, Source};
use crtmp_tests::wire::{Chunks, Client, Message, amf, connect, play};
use crtmp_tests::{Counters, Server};
use socket2::{Domain, Socket, Type};

/// How long a pass over all may rest.
const REST: Duration = Duration::from_millis(2);
/// What a player that is not slow reads at once.
const BUFFER: usize = 64 * 1024;

/// How a player reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All that comes.
    Fast,
    /// So many bytes a second.
    Slow(u32),
    /// Nothing at all.
    Never,
}

/// A player that never blocks.
pub(crate) struct Player {
    socket: TcpStream,
    chunks: Chunks,
    pace: Pace,
    since: Instant,
    /// Bytes read since then.
    read: u64,
    /// When a slow one may read again.
    due: Instant,
    /// What it has got.
    pub(crate) seen: Seen,
    /// Its address, as the server sees it.
    pub(crate) address: String,
    /// Whether the server has closed it.
    pub(crate) closed: bool,
}

impl Player {
    fn join(address: SocketAddr, application: &str, stream: &str, pace: Pace) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if pace != Pace::Fast {
            socket.set_recv_buffer_size(8192).expect("a socket option");
        }
        socket.connect(&address.into()).expect("the server listens");
        let mut client = Client::over(TcpStream::from(socket));
        client.handshake();
        client.send(&connect(application, &format!("rtmp://{address}/{application}")));
        client.expect("_result");
        client.create_stream();
        client.send(&play(1, stream));
        client.expect("NetStream.Play.Start");
        let (socket, chunks) = client.into_parts();
        socket.set_nonblocking(true).expect("a socket option");
        let now = Instant::now();
        let address = socket.local_addr().expect("a connected socket").to_string();
        Self {
            socket,
            chunks,
            pace,
            since: now,
            read: 0,
            due: now,
            seen: Seen::default(),
            address,
            closed: false,
        }
    }

    /// Reads what has come, as far as its pace allows.
    fn read(&mut self, now: Instant) {
        let mut buffer = [0; BUFFER];
        while !self.closed {
            let room = match self.pace {
                Pace::Fast => BUFFER,
                Pace::Slow(_) if now < self.due => return,
                Pace::Slow(rate) => self.allowance(rate, now),
                Pace::Never => return,
            };
            match self.socket.read(&mut buffer[..room.min(BUFFER)]) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.read += count as u64;
                    self.chunks.feed(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.due = now + Duration::from_millis(20);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.closed = true,
            }
            while let Some(message) = self.chunks.message() {
                self.seen.take(&message);
            }
        }
    }

    /// What a slow player may read now, at least a byte; and when it may again.
    fn allowance(&mut self, rate: u32, now: Instant) -> usize {
        let allowed =
            u64::from(rate) * u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(0) / 1000;
        // Twenty times a second is often enough, but for those who read a few bytes only.
        self.due = now + Duration::from_millis(50).max(Duration::from_secs(1) / rate);
        usize::try_from(allowed.saturating_sub(self.read)).unwrap_or(0).max(1)
    }
}

/// A publisher of numbered pictures and its players.
pub(crate) struct Crowd<'a> {
    server: &'a Server,
    application: &'a str,
    stream: &'a str,
    pub(crate) source: Source,
    pub(crate) players: Vec<Player>,
    passed: Instant,
}

impl<'a> Crowd<'a> {
    /// The publisher alone.
    pub(crate) fn new(server: &'a Server, stream: &'a str, shape: Shape) -> Self {
        Self::of_application(server, "live", stream, shape)
    }

    /// The publisher alone, of another application.
    pub(crate) fn of_application(
        server: &'a Server,
        application: &'a str,
        stream: &'a str,
        shape: Shape,
    ) -> Self {
        let source = Source::of(Client::publisher(server.address(), application, stream), shape, 0);
        let (players, passed) = (Vec::new(), Instant::now());
        let mut crowd = Self { server, application, stream, source, players, passed };
        crowd.pass();
        crowd
    }

    /// Lets so many players of this pace join, one after the other; the others go on.
    pub(crate) fn join(&mut self, count: usize, pace: Pace) {
        for _ in 0..count {
            let (address, stream) = (self.server.address(), self.stream);
            self.players.push(Player::join(address, self.application, stream, pace));
            if self.passed.elapsed() >= REST * 5 {
                self.pass();
            }
        }
    }

    /// Goes on until `probe` finds something.
    ///
    /// # Panics
    ///
    /// After `limit`, naming `what` did not happen.
    pub(crate) fn go_on<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            self.pass();
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
            thread::sleep(REST);
        }
    }

    /// Goes on until `over`.
    pub(crate) fn go_on_until(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            self.pass();
            thread::sleep(REST);
        }
    }

    /// Goes on until so many pictures more have been published.
    pub(crate) fn go_on_for(&mut self, pictures: u32) {
        let until = self.source.next() + pictures;
        let limit = self.source.shape().time(pictures) + crate::SOON;
        self.go_on("more pictures", limit, |crowd| (crowd.source.next() >= until).then_some(()));
    }

    /// Goes on until the players of this pace have all that was published before the call.
    pub(crate) fn catch_up(&mut self) {
        let newest = self.source.next() - 1;
        self.go_on("the newest picture at each fast player", crate::SOON, |crowd| {
            crowd.of(Pace::Fast).all(|player| player.seen.sound >= Some(newest)).then_some(())
        });
    }

    /// The players of a pace; `Slow` stands for any slow pace.
    pub(crate) fn of(&self, pace: Pace) -> impl Iterator<Item = &Player> {
        let same = move |other: Pace| std::mem::discriminant(&other) == std::mem::discriminant(&pace);
        self.players.iter().filter(move |player| same(player.pace))
    }

    /// Lets the players go that are not `pace`.
    pub(crate) fn keep(&mut self, pace: Pace) {
        self.players.retain(|player| player.pace == pace);
    }

    /// Demands that the fast players have lost nothing: no picture, no sound.
    pub(crate) fn assert_fast_are_whole(&mut self) {
        self.catch_up();
        for player in self.of(Pace::Fast) {
            assert!(player.seen.is_whole() && !player.closed, "{}: {:?}", player.address, player.seen);
        }
    }

    /// The counters of the server; the crowd stands still for the time.
    pub(crate) fn counters(&self) -> Counters {
        self.server.counters()
    }

    /// Publishes what is due and reads what has come.
    fn pass(&mut self) {
        self.source.keep_pace();
        let now = Instant::now();
        self.players.iter_mut().for_each(|player| player.read(now));
        self.passed = now;
    }
}

impl Player {
    /// Sends a command about its stream.
    pub(crate) fn say(&self, name: &str, values: &[Vec<u8>]) {
        let mut all = vec![amf::null()];
        all.extend_from_slice(values);
        let bytes = Message::command(1, name, 0.0, &all).chunks(128);
        let mut socket = &self.socket;
        io::Write::write_all(&mut socket, &bytes).expect("room for a command");
    }
}
