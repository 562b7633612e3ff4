//! What all connections of a worker have in common.

use std::{
    collections::{VecDeque, hash_map::RandomState},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crtmp_media::{Event, Limits, RequestId, Skipped};
use crtmp_relay::{ConnectionId, Relay};
use slog::Logger;

use crate::{
    admission::Ticket,
    carrier::Carrier,
    control::{Acceptor, Routing},
    costly::Costly,
    gate::Gate,
    ids::ConnectionKey,
    observe::Observer,
    report::WorkerCounters,
    traffic::Traffic,
    tunnels::Message,
};

/// Size of the buffer that each worker reads into, in bytes.
pub(crate) const SCRATCH: usize = 128 * 1024;

/// Everything of a worker but its connections.
pub(crate) struct Shared {
    pub(crate) now: Instant,
    /// The worker has stood still, so that in this turn nobody's silence says anything.
    pub(crate) stood_still: bool,
    pub(crate) relay: Relay,
    pub(crate) routing: Arc<Routing>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: WorkerCounters,
    /// Bytes that connections have written, those that travel in tunnels as well.
    pub(crate) written: u64,
    pub(crate) gate: Gate,
    /// Who may do what costs much.
    pub(crate) costly: Costly,
    /// Whether new streams are refused.
    pub(crate) traffic: Arc<Traffic>,
    /// What makes marks of streams: the same for all workers.
    pub(crate) marks: RandomState,
    pub(crate) log: Logger,
    pub(crate) observer: Arc<Observer>,
    /// The one receive buffer; taken out while it is in use.
    pub(crate) scratch: Vec<u8>,
    pub(crate) scratch_size: usize,
    /// The queue of events of whichever chain is at work; empty, and kept for its memory.
    pub(crate) events: VecDeque<Event>,
    /// Connections that have more to read, but have had their share of this turn, each once.
    pub(crate) again: Vec<ConnectionKey>,
    /// Connections that have something to send of their own, each once.
    pub(crate) to_flush: VecDeque<ConnectionKey>,
    /// What sessions of tunnels and the connections that carry them have said to each other in this turn.
    pub(crate) tunnelled: VecDeque<Message>,
    unanswered: u32,
    next_stream: Arc<AtomicU64>,
}

impl Shared {
    /// Where a connection logs.
    pub(crate) fn logger(&self, id: ConnectionId, acceptor: &Acceptor, peer: SocketAddr) -> Logger {
        let (chain, peer) = (acceptor.chain.clone(), peer.to_string());
        self.log.new(slog::o!("connection" => id.0, "chain" => chain, "peer" => peer))
    }

    #[expect(clippy::too_many_arguments, reason = "called once, with what only the reactor has")]
    pub(crate) fn new(
        relay: Relay,
        routing: Arc<Routing>,
        limits: Arc<Limits>,
        log: Logger,
        observer: Arc<Observer>,
        next_stream: Arc<AtomicU64>,
        traffic: Arc<Traffic>,
        marks: RandomState,
        now: Instant,
    ) -> Self {
        Self {
            now,
            stood_still: false,
            relay,
            routing,
            costly: Costly::new(&limits),
            limits,
            counters: WorkerCounters::default(),
            written: 0,
            gate: Gate::default(),
            traffic,
            marks,
            log,
            observer,
            scratch: vec![0; SCRATCH],
            scratch_size: SCRATCH,
            events: VecDeque::new(),
            again: Vec::new(),
            to_flush: VecDeque::new(),
            tunnelled: VecDeque::new(),
            unanswered: 0,
            next_stream,
        }
    }

    /// The number of a new publish or play, unique among all.
    pub(crate) fn new_stream(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts something that was skipped.
    pub(crate) fn skipped(&mut self, what: Skipped) {
        let name = match what {
            Skipped::UnknownMessage => "unknownMessage",
            Skipped::StrayMedia => "strayMedia",
            Skipped::BadTag => "badTag",
            Skipped::BadAggregate => "badAggregate",
            Skipped::BadCommand => "badCommand",
            Skipped::BadMetadata => "badMetadata",
        };
        *self.counters.skipped.entry(name).or_default() += 1;
    }

    /// A number for a question that the peer wants no answer to, from the end of the range that endpoints use.
    pub(crate) fn unanswered(&mut self) -> RequestId {
        self.unanswered = self.unanswered.wrapping_add(1);
        RequestId(u32::MAX - (self.unanswered & 0xffff))
    }

    /// The connection has been allowed to publish or play.
    pub(crate) fn authorise(&self, ticket: &mut Ticket) {
        ticket.authorise();
    }

    /// Bounds what the system holds for a slow player.
    pub(crate) fn set_send_buffer(&self, carrier: &Carrier, bytes: usize) {
        if let Err(error) = carrier.set_send_buffer(bytes) {
            slog::warn!(self.log, "the send buffer could not be set"; "bytes" => bytes, "error" => %error);
        }
    }
}
