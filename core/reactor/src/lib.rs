//! The reactor: worker threads, sockets, timers, and the traffic between workers and the control plane.
//!
//! One worker per core, nothing shared but the directory of streams. A connection lives and dies on one
//! worker. A turn of a worker is: take in what has come, look at the clock, send what the turn has brought.
//! Nothing on a worker blocks: decisions are asked for by messages and come back as messages.
//!
//! Start reading at `Worker::run`. `connection.rs` is a connection's life, `questions.rs` what it asks its
//! application, `asked.rs` what waits for an answer, `flush.rs` how bytes leave, `carrier.rs` what they travel by.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the clock of the data plane is read here, once per turn")]

mod admission;
mod aliases;
mod asked;
mod bandwidth;
mod became;
mod carrier;
mod connection;
mod control;
mod costly;
mod drain;
mod filtering;
mod flush;
mod gate;
mod guard;
mod ids;
mod ingest;
mod mailbox;
mod naming;
mod observe;
mod outbound;
mod proxied;
mod questions;
mod relayed;
mod report;
mod shared;
mod sharing;
mod sources;
#[cfg(test)]
mod stage;
mod streams;
mod system;
mod taps;
mod traffic;
mod tunnel;
mod tunnels;
mod worker;

use std::{
    hash::RandomState,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crtmp_media::Limits;
use crtmp_relay::{ConnectionId, Directory, Relay, WorkerId};
use mio::{Poll, Waker, net::TcpListener};
use slog::Logger;
use socket2::{Domain, Protocol, Socket, Type};

pub use aliases::{Alias, Aliases};
pub use bandwidth::{BandwidthTest, BandwidthTests, OffersBandwidth};
pub use control::{
    Acceptor, AcceptorCounts, Application, Authenticates, Caller, Filter, Filtered, Happened, Hooks, IsProxy,
    MakeChain, MakeFilters, Pass, Question, Routing, SharedClient, TakeReport, ToApplication,
    ToSharedObjects, ToWorker, Verdict, Why,
};
pub use drain::Drain;
pub use ingest::IngestPoints;
pub use mailbox::Mailbox;
pub use observe::{FEED_SILENCE, Observer, See, Seen, SeenStream, Sight, Wants};
pub use outbound::SocketOptions;
pub use report::{ConnectionReport, StreamReport, WorkerCounters, WorkerReport};
pub use tunnels::TunnelMessage;

/// The body of a fuzz target: the header of the PROXY protocol in any bytes.
#[doc(hidden)]
pub fn fuzz_proxy_header(data: &[u8]) {
    proxied::fuzz(data);
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What the workers need to begin.
pub struct Setup {
    /// How many workers.
    pub workers: u16,
    /// The limits that guard connections.
    pub limits: Arc<Limits>,
    /// Connections that the system's descriptors allow.
    pub descriptors: usize,
    /// The applications.
    pub routing: Arc<Routing>,
    /// Where workers log.
    pub log: Logger,
    /// Called when a worker has failed: its connections are gone, and the server should end.
    pub on_failure: Arc<dyn Fn() + Send + Sync>,
    /// Who is told of connections and streams.
    pub observer: Arc<Observer>,
}

/// The running workers.
pub struct Reactor {
    mailboxes: Vec<Mailbox>,
    peers: Arc<worker::Peers>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// A way to the workers that may be kept and copied.
#[derive(Clone)]
pub struct Workers {
    mailboxes: Arc<[Mailbox]>,
    peers: Arc<worker::Peers>,
    next_source: Arc<AtomicU32>,
}

impl Reactor {
    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// If the system gives no poll, no event descriptor or no thread.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let now = Instant::now();
        let directory = Arc::new(Directory::new(now));
        // No other run of a server has the same.
        let marks = RandomState::new();
        let polls = (0..setup.workers.max(1)).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes = polls
            .iter()
            .map(|poll| Ok(Mailbox::new(Waker::new(poll.registry(), ids::WAKE)?)))
            .collect::<io::Result<Vec<_>>>()?;
        let peers = Arc::new(worker::Peers {
            loads: mailboxes.iter().map(|_| AtomicUsize::new(0)).collect(),
            next_stream: Arc::new(AtomicU64::new(1)),
            mailboxes: mailboxes.clone(),
            admission: Arc::new(admission::Admission::new(&setup.limits, setup.descriptors)),
            traffic: Arc::new(traffic::Traffic::new(mailboxes.len())),
            tunnels: Arc::default(),
        });
        let mut threads = Vec::new();
        for (number, poll) in (0..).zip(polls) {
            let id = WorkerId(number);
            let (peers, directory, limits) = (peers.clone(), directory.clone(), setup.limits.clone());
            let (routing, log) = (setup.routing.clone(), setup.log.new(slog::o!("worker" => number)));
            let (on_failure, observer) = (setup.on_failure.clone(), setup.observer.clone());
            let marks = marks.clone();
            let run = move || {
                let failed = log.clone();
                let work = || {
                    let relay = Relay::new(id, directory, limits.clone(), Instant::now());
                    let shared = shared::Shared::new(
                        relay,
                        routing,
                        limits,
                        log,
                        observer,
                        peers.next_stream.clone(),
                        peers.traffic.clone(),
                        marks,
                        Instant::now(),
                    );
                    worker::Worker::new(id, poll, peers, shared).run()
                };
                // What a worker shares with others are mailboxes and counters, whole after any panic.
                let result = guard::unwound(work).unwrap_or_else(|text| Err(io::Error::other(text)));
                if let Err(error) = &result {
                    slog::crit!(failed, "the worker has failed: {error}");
                    on_failure();
                }
                result
            };
            threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?);
        }
        Ok(Self { mailboxes, peers, threads })
    }

    /// A way to the workers.
    pub fn workers(&self) -> Workers {
        let (mailboxes, peers) = (self.mailboxes.clone().into(), self.peers.clone());
        Workers { mailboxes, peers, next_source: Arc::new(AtomicU32::new(1)) }
    }

    /// Listens no more, and asks every peer that follows such requests to connect to `url` (none: where it has connected),
    /// for which it has so long.
    pub fn drain(&self, url: Option<&str>, within: Duration) -> Drain {
        let left = Arc::new(());
        for mailbox in &self.mailboxes {
            mailbox.post(ToWorker::Drain { url: url.map(str::to_owned), left: left.clone() });
        }
        Drain::new(left, Instant::now() + within)
    }

    /// Ends all connections, telling them, and waits for the workers to return. Returns how many did not in
    /// time, or failed; their threads are left behind.
    pub fn stop(self, within: Duration) -> usize {
        let until = Instant::now() + within;
        for mailbox in &self.mailboxes {
            mailbox.post(ToWorker::Stop { within });
        }
        let mut missing = 0;
        for thread in self.threads {
            // Workers keep the deadline themselves; a little more lets them.
            while !thread.is_finished() && Instant::now() < until + Duration::from_millis(500) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let well = thread.is_finished() && matches!(thread.join(), Ok(Ok(())));
            missing += usize::from(!well);
        }
        missing
    }
}

impl Workers {
    /// Hands an answer to the worker of `connection`.
    pub fn answer(&self, connection: ConnectionId, request: crtmp_media::RequestId, verdict: Verdict) {
        self.post_to(connection, ToWorker::Answer { connection, request, verdict });
    }

    /// Closes a connection; its peer is told `code` and `text`.
    pub fn close(&self, connection: ConnectionId, code: String, text: String) {
        self.post_to(connection, ToWorker::Close { connection, code, text });
    }

    /// Begins to accept connections. The first worker listens and gives each connection to the worker that has
    /// the fewest.
    pub fn listen(&self, listener: std::net::TcpListener, acceptor: Arc<Acceptor>) {
        if let Some(first) = self.mailboxes.first() {
            first.post(ToWorker::Listen { listener: TcpListener::from_std(listener), acceptor });
        }
    }

    /// Accepts no more connections at `address`; those that came from there stay.
    pub fn unlisten(&self, address: SocketAddr) {
        if let Some(first) = self.mailboxes.first() {
            first.post(ToWorker::Unlisten { address });
        }
    }

    /// Tells all workers that the applications have changed.
    pub fn set_routing(&self, routing: &Arc<Routing>) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(ToWorker::Routing(routing.clone()));
        }
    }

    /// Asks every worker what goes on; `take` is called on each of them, some time.
    pub fn ask_report(&self, take: &TakeReport) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(ToWorker::Report(take.clone()));
        }
    }

    /// What goes on in the workers; of those that answer within `time`, for which it waits.
    pub fn report(&self, time: Duration) -> Vec<WorkerReport> {
        let (reply, reports) = mpsc::channel();
        // Whoever asked may have given up waiting.
        let take: TakeReport = Arc::new(move |report| drop(reply.send(report)));
        self.ask_report(&take);
        drop(take);
        let until = Instant::now() + time;
        let mut all = Vec::new();
        while let Ok(report) = reports.recv_timeout(until.saturating_duration_since(Instant::now())) {
            all.push(report);
        }
        all.sort_by_key(|report| report.worker);
        all
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Refuses connections beyond `count` of those that count; 0: as many may come as the system allows. Those that are
    /// there stay.
    pub fn limit_connections(&self, count: usize) {
        self.peers.admission.set_counted_limit(count);
    }

    /// How many connections count for [`limit_connections`](Self::limit_connections).
    pub fn counted_connections(&self) -> usize {
        self.peers.admission.counted()
    }

    /// How many connections the configuration and the system's descriptors allow.
    pub fn most_connections(&self) -> usize {
        self.peers.admission.most()
    }

    /// The most connections that there have been at once.
    pub fn highest_connections(&self) -> usize {
        self.peers.admission.highest()
    }

    /// Bytes that all workers have received and sent.
    pub fn traffic(&self) -> [u64; 2] {
        self.peers.traffic.sum()
    }

    /// Has workers refuse every new publish (`incoming`) and every new play (`outgoing`), or no longer. Streams that
    /// run go on.
    pub fn refuse_streams(&self, incoming: bool, outgoing: bool) {
        self.peers.traffic.refuse(incoming, outgoing);
    }

    /// The id of a new source, on the worker that has the fewest connections.
    pub fn new_source(&self) -> ConnectionId {
        sources::id(self.peers.least_loaded(), self.next_source.fetch_add(1, Ordering::Relaxed))
    }

    /// Connects to `address` from the worker that has the fewest connections; `done` is called once, on that worker.
    pub fn connect(
        &self,
        address: SocketAddr,
        acceptor: Arc<Acceptor>,
        application: Arc<Application>,
        done: Box<dyn FnOnce(Result<ConnectionId, String>) + Send>,
    ) {
        self.connect_with(SocketOptions::default(), address, acceptor, application, done);
    }

    /// [`connect`](Self::connect), with these options on the socket.
    pub fn connect_with(
        &self,
        options: SocketOptions,
        address: SocketAddr,
        acceptor: Arc<Acceptor>,
        application: Arc<Application>,
        done: Box<dyn FnOnce(Result<ConnectionId, String>) + Send>,
    ) {
        let worker = self.peers.least_loaded();
        self.peers.loads[worker].fetch_add(1, Ordering::Relaxed);
        self.mailboxes[worker].post(ToWorker::Connect { address, acceptor, application, options, done });
    }

    /// Hands a message to the worker of `connection`, or of a source.
    pub fn post_to(&self, connection: ConnectionId, message: ToWorker) {
        match self.mailboxes.get(usize::from(ids::worker_of(connection).0)) {
            Some(mailbox) => mailbox.post(message),
            // A number that no connection ever had.
            None => {
                if let ToWorker::Order { gone, .. } = message {
                    gone();
                }
            }
        }
    }
}

/// Binds a listening socket; a port of 0 lets the system choose one.
///
/// An address belongs to one server: a second one that binds it fails. An IPv6 address takes no IPv4
/// connections, so that both can be bound side by side.
///
/// # Errors
///
/// If the address cannot be bound: it is in use, not ours, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier server that are still dying do not keep the port.
    socket.set_reuse_address(true)?;
    // Connections inherit it: nothing that they send waits for an acknowledgement.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_inherit_that_nothing_waits() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = loop {
            match listener.accept() {
                Ok((socket, _)) => break socket,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(socket.nodelay().unwrap());
    }
}
