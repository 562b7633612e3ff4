//! A worker: one thread, one poll, its own connections and its own relay.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use crtmp_media::{Command, Wheel};
use crtmp_relay::{Notice, Relay, Spent, WorkerId};
use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};
use slotmap::SlotMap;

use crate::{
    admission::{Admission, Ticket},
    carrier::Carrier,
    connection::{Connection, State},
    control::{Acceptor, Application, Happened, ToWorker, Why, canonical},
    ids::{ConnectionKey, LISTENER, WAKE, id_of, key_of, key_of_token, token_of},
    mailbox::Mailbox,
    outbound,
    proxied::refuse,
    report::WorkerReport,
    shared::Shared,
    sources::Sources,
    system,
    traffic::Traffic,
    tunnels::Tunnels,
};

/// Connections that one listener may accept in one turn.
const ACCEPTS_PER_TURN: usize = 256;

/// A timer that is so late was not waited for: the worker has not run meanwhile.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How long a listener rests when the system has no descriptors or memory for another connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Connections that may send in one turn for reasons of their own, and again so many because of a stream.
const FLUSHES_PER_TURN: usize = 256;

/// Bytes that all connections together may send in one turn for reasons of their own, and again so many because
/// of a stream.
const BYTES_PER_TURN: u64 = 16 * 1024 * 1024;

/// What a player is told that has declared none of the codecs of its stream.
const UNPLAYABLE: &str = "The stream has no codec that the player has declared when it connected.";

/// Messages that the mailbox keeps room for when it is empty.
const MESSAGES_KEPT: usize = 256;

/// Connections whose memory is asked for together: enough that none waits for its own, and few enough that it is
/// still near when their turn comes.
const GROUP: usize = 16;

/// Steps from a connection to the farthest memory that is asked for: the end of its stream's log.
const FETCH_DEPTH: usize = 6;

/// Events that one poll may bring; more come with the next turn.
const EVENTS: usize = 1024;

/// What the workers know of each other.
pub(crate) struct Peers {
    pub(crate) mailboxes: Vec<Mailbox>,
    /// Connections of each worker; whoever accepts gives the next one to the worker with the fewest.
    pub(crate) loads: Vec<AtomicUsize>,
    /// The number of the next publish or play, of all workers.
    pub(crate) next_stream: Arc<AtomicU64>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) tunnels: Arc<Tunnels>,
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    poll: Poll,
    mailbox: Mailbox,
    pub(crate) peers: Arc<Peers>,
    pub(crate) connections: SlotMap<ConnectionKey, Connection>,
    /// The connections that are sessions of tunnels, by what nobody can guess.
    pub(crate) sessions: HashMap<[u8; 16], ConnectionKey>,
    listeners: Vec<Option<Listener>>,
    timers: Wheel<ConnectionKey>,
    pub(crate) shared: Shared,
    sources: Sources,
    messages: Vec<ToWorker>,
    newcomers: Vec<(TcpStream, SocketAddr, Arc<Acceptor>)>,
    pub(crate) stop_at: Option<Instant>,
    /// The thread's processor time at the end of the last turn.
    measured_to: Duration,
}

struct Listener {
    socket: TcpListener,
    acceptor: Arc<Acceptor>,
    /// It has more to accept.
    ready: bool,
    rest_until: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, poll: Poll, peers: Arc<Peers>, shared: Shared) -> Self {
        Self {
            id,
            poll,
            mailbox: peers.mailboxes[usize::from(id.0)].clone(),
            peers,
            connections: SlotMap::with_key(),
            sessions: HashMap::new(),
            listeners: Vec::new(),
            timers: Wheel::new(shared.now),
            shared,
            sources: Sources::default(),
            messages: Vec::new(),
            newcomers: Vec::new(),
            stop_at: None,
            measured_to: Duration::ZERO,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout(Instant::now());
            match self.poll.poll(&mut events, timeout) {
                // As after SIGCONT. What has come is read before anybody is told that it comes too late.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            self.shared.now = Instant::now();
            let late = self.timers.next().map(|at| self.shared.now.saturating_duration_since(at));
            self.shared.stood_still = late.is_some_and(|late| late >= STOOD_STILL);
            self.shared.counters.turns += 1;
            self.shared.costly.begin(&self.shared.limits);
            self.read_pass(&events);
            self.time_pass();
            self.tunnel_pass();
            self.flush_pass();
            self.tunnel_pass();
            let counters = &self.shared.counters;
            self.peers.traffic.tell(usize::from(self.id.0), counters.bytes_in, counters.bytes_out);
            if self.is_done() {
                return Ok(());
            }
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let busy = !self.shared.again.is_empty()
            || !self.shared.to_flush.is_empty()
            || !self.shared.tunnelled.is_empty()
            || self.shared.costly.is_awaited()
            || self.shared.relay.is_busy()
            || self
                .listeners
                .iter()
                .flatten()
                .any(|listener| listener.ready && listener.rest_until.is_none());
        if busy {
            return Some(Duration::ZERO);
        }
        let rests = self.listeners.iter().flatten().filter_map(|listener| listener.rest_until);
        let sources = self.sources.poll_timeout();
        let times = [self.timers.next(), self.shared.relay.poll_timeout(), self.stop_at, sources];
        let next = times.into_iter().flatten().chain(rests).min();
        next.map(|at| at.saturating_duration_since(now))
    }

    /// Takes in what has come: from sockets, from those who had to wait for their turn, from the mailbox.
    fn read_pass(&mut self, events: &Events) {
        // Those who have waited are first, so that a crowd of newcomers does not have them wait for ever.
        while let Some(key) = self.shared.costly.next_in_line() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.offer_again(&mut self.shared);
            }
        }
        let again = std::mem::take(&mut self.shared.again);
        let mut next = events.iter();
        for (index, event) in events.iter().enumerate() {
            if index % GROUP == 0 {
                let group = next.by_ref().take(GROUP).filter(|event| event.is_readable());
                self.fetch(group.filter_map(|event| key_of_token(event.token())), Connection::fetch_to_read);
            }
            match event.token() {
                WAKE => {}
                Token(token) if token % 2 == LISTENER => {
                    if let Some(Some(listener)) = self.listeners.get_mut(token / 2) {
                        listener.ready = true;
                    }
                }
                token => {
                    if let Some(key) = key_of_token(token) {
                        self.on_socket(key, event);
                    }
                }
            }
        }
        for key in again {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.again = false;
                connection.on_readable(&mut self.shared);
            }
        }
        self.accept_pass();
        self.adopt_newcomers();
        let mut messages = std::mem::take(&mut self.messages);
        self.mailbox.take(&mut messages);
        for message in messages.drain(..) {
            self.on_message(message);
        }
        // A burst is no reason to keep its memory.
        messages.shrink_to(MESSAGES_KEPT);
        self.messages = messages;
    }

    /// Asks for the memory that a group of connections will need.
    fn fetch(&self, keys: impl Iterator<Item = ConnectionKey>, what: impl Fn(&Connection, usize, &Relay)) {
        let group: ArrayVec<ConnectionKey, GROUP> = keys.take(GROUP).collect();
        for depth in 0..FETCH_DEPTH {
            for connection in group.iter().filter_map(|key| self.connections.get(*key)) {
                what(connection, depth, &self.shared.relay);
            }
        }
    }

    fn on_socket(&mut self, key: ConnectionKey, event: &Event) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.half_closed |= event.is_read_closed();
        if connection.connecting.is_some() {
            connection.settle_outbound(&mut self.shared);
        }
        // Who reads again in this turn anyway has no second share.
        if (event.is_readable() || event.is_read_closed()) && !connection.again {
            connection.on_readable(&mut self.shared);
        }
        if event.is_read_closed() || event.is_error() {
            connection.on_hang_up(event.is_error() || event.is_write_closed(), &mut self.shared);
        }
        // With every readable edge comes a writable one; it says something only to those who wait for it.
        if event.is_writable() && !connection.writable {
            connection.writable = true;
            connection.wants_flush(&mut self.shared);
        }
        if connection.state == State::Gone {
            connection.wants_flush(&mut self.shared);
        }
    }

    fn time_pass(&mut self) {
        let now = self.shared.now;
        while let Some((at, key)) = self.timers.pop_due(now) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.armed == Some(at) {
                connection.armed = None;
            }
            match connection.poll_timeout(&self.shared) {
                Some(due) if due <= now => {
                    connection.on_timeout(&mut self.shared);
                    connection.wants_flush(&mut self.shared);
                }
                _ => self.settle(key),
            }
        }
        if self.shared.relay.poll_timeout().is_some_and(|at| at <= now) {
            self.shared.relay.on_timeout(now);
        }
        if self.sources.poll_timeout().is_some_and(|at| at <= now) {
            self.sources.on_timeout(&self.shared);
        }
        self.tell_connections();
    }

    /// Sends what the turn has brought, and lets go of connections that are gone. What is too much for one turn
    /// waits for the next, so that reading never waits for long.
    fn flush_pass(&mut self) {
        for (worker, message) in self.shared.relay.end_turn(self.shared.now) {
            if let Some(mailbox) = self.peers.mailboxes.get(usize::from(worker.0)) {
                mailbox.post(ToWorker::Relay(message));
            }
        }
        let most = self.shared.written + BYTES_PER_TURN;
        for _ in 0..self.shared.to_flush.len().min(FLUSHES_PER_TURN) {
            let Some(key) = self.shared.to_flush.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(key) {
                connection.queued = false;
                connection.flush(&mut self.shared);
                self.settle(key);
            }
            if self.shared.written > most {
                break;
            }
        }
        if !self.shared.relay.is_sending() {
            return;
        }
        // A budget of their own: newcomers with much to catch up with do not hold up those who are live.
        let most = self.shared.written + BYTES_PER_TURN;
        let read = system::thread_time();
        let (writes, bytes) = (self.shared.counters.writes, self.shared.written);
        for index in 0..FLUSHES_PER_TURN {
            if index % GROUP == 0 {
                self.fetch(self.shared.relay.next_owners().map(key_of), Connection::fetch_to_send);
            }
            if self.shared.written > most {
                break;
            }
            let Some(owner) = self.shared.relay.next_owner(Instant::now) else { break };
            let key = key_of(owner);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.flush(&mut self.shared);
                if connection.unsettled {
                    self.settle(key);
                }
            }
        }
        let counters = &self.shared.counters;
        let spent = Spent {
            sending: system::thread_time().saturating_sub(read),
            other: read.saturating_sub(self.measured_to),
            writes: counters.writes - writes,
            bytes: self.shared.written - bytes,
        };
        self.measured_to = read + spent.sending;
        self.shared.relay.spent(spent, self.shared.now);
    }

    /// Arms the connection's timer, or lets go of it.
    fn settle(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state == State::Gone {
            // The poll forgets a socket that is closed.
            if let Some(mut gone) = self.connections.remove(key) {
                gone.see_closed(&self.shared);
                self.leave_tunnels(&mut gone);
                self.give_back();
            }
            return;
        }
        connection.unsettled = false;
        // An entry for an earlier time is left alone: when it comes, the connection is looked at again.
        if let Some(at) = connection.poll_timeout(&self.shared)
            && connection.armed.is_none_or(|armed| at < armed)
        {
            connection.armed = Some(at);
            self.timers.insert(at, key);
        }
    }

    fn on_message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Adopt { socket, peer, acceptor } => self.adopt(socket, peer, acceptor),
            ToWorker::Relay(message) => {
                self.shared.relay.on_message(message, self.shared.now);
                self.tell_connections();
            }
            ToWorker::Tunnel(message) => self.on_tunnel(*message),
            ToWorker::Answer { connection, request, verdict } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.on_answer(request, verdict, &mut self.shared);
                }
            }
            ToWorker::SharedNews { connection, news, bytes, answers } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.on_shared_news(news, bytes, answers, &mut self.shared);
                }
            }
            ToWorker::Close { connection, code, text } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.order(Command::Close { code, text: text.clone() }, &mut self.shared);
                    connection.close(&text, &mut self.shared);
                }
            }
            ToWorker::Reconnect { connection, url, text } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.command(Command::Reconnect { url, text }, &mut self.shared);
                }
            }
            ToWorker::Drain { url, left } => {
                self.listeners.clear();
                for connection in
                    self.connections.values_mut().filter(|connection| connection.can_reconnect())
                {
                    connection.awaited = Some(left.clone());
                    let (url, text) = (url.clone(), "the server is going to shut down".to_owned());
                    connection.command(Command::Reconnect { url, text }, &mut self.shared);
                }
            }
            ToWorker::Order { connection, application, order, gone } => {
                match self.connections.get_mut(key_of(connection)) {
                    Some(connection) if connection.is_open_to(&application) => {
                        connection.noted = true;
                        connection.on_order(order, &mut self.shared);
                    }
                    _ => gone(),
                }
            }
            ToWorker::End { connection, slot, publishes, code, text } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.stop_streams(slot, publishes, &code, &text, &mut self.shared);
                } else if publishes {
                    self.sources.close(connection, &text, &mut self.shared);
                }
            }
            ToWorker::Tap { connection, application, slot, on } => {
                if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                    connection.tap(&application, slot, on);
                }
            }
            ToWorker::SourceOpen { source, application, name, in_flight } => {
                if self.stop_at.is_some() {
                    let state = Err("the server is shutting down".to_owned());
                    return (application.post)(crate::ToApplication::Source { source, state });
                }
                self.sources.open(source, application, &name, in_flight, &mut self.shared);
            }
            ToWorker::SourceFrame { source, frame, size } => {
                self.sources.frame(source, frame, size, &mut self.shared);
            }
            ToWorker::SourceClose { source, done } => {
                self.sources.close(source, "its application has ended it", &mut self.shared);
                drop(done);
            }
            ToWorker::Connect { address, acceptor, application, options, done } => {
                if self.stop_at.is_some() {
                    self.peers.loads[usize::from(self.id.0)].fetch_sub(1, Ordering::Relaxed);
                    return done(Err("the server is shutting down".to_owned()));
                }
                self.connect(address, acceptor, application, options, done);
            }
            ToWorker::Listen { listener, acceptor } => self.listen(listener, acceptor),
            ToWorker::Unlisten { address } => self.unlisten(address),
            ToWorker::Routing(routing) => {
                for (application, delivery) in routing.deliveries() {
                    self.shared.relay.set_delivery(application, *delivery);
                }
                self.shared.routing = routing;
                // A reload may have brought somebody who wants to know.
                self.connections.values_mut().for_each(|connection| connection.watch(&mut self.shared));
                self.sources.watch(&self.shared);
            }
            ToWorker::Report(take) => take(self.report()),
            ToWorker::Stop { within } => self.stop(within),
        }
    }

    fn adopt(&mut self, socket: TcpStream, peer: SocketAddr, acceptor: Arc<Acceptor>) {
        if self.stop_at.is_some() {
            return self.give_back();
        }
        let (address, admission) = (canonical(peer), &self.peers.admission);
        // Of a proxy, the address is known that it says.
        let is_proxied = acceptor.proxies.as_ref().is_some_and(|is_proxy| is_proxy(address));
        let address = Some(address).filter(|_| !is_proxied);
        let counted = acceptor.counted && acceptor.sessions.is_none();
        let ticket = match admission.admit(address, counted) {
            Ok(ticket) => ticket,
            Err(refused) => {
                refuse(refused, peer, &acceptor, &mut self.shared);
                return self.give_back();
            }
        };
        let counts = acceptor.counts.clone();
        let Ok(key) = self.place(Carrier::Tcp(socket), peer, acceptor, ticket) else { return };
        if is_proxied {
            self.shared.counters.adopted += 1;
            let connection = &mut self.connections[key];
            connection.is_proxied = true;
            connection.on_readable(&mut self.shared);
            return connection.wants_flush(&mut self.shared);
        }
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        self.welcome(key, "accepted");
    }

    /// A connection has come.
    pub(crate) fn welcome(&mut self, key: ConnectionKey, how: &str) {
        self.shared.counters.adopted += 1;
        let (shared, connection) = (&mut self.shared, &mut self.connections[key]);
        slog::debug!(connection.log, "{how}");
        connection.see_created(shared);
        connection.on_accepted(shared);
        connection.on_readable(shared);
        connection.wants_flush(shared);
    }

    fn connect(
        &mut self,
        address: SocketAddr,
        acceptor: Arc<Acceptor>,
        application: Arc<Application>,
        options: outbound::SocketOptions,
        done: outbound::Done,
    ) {
        let socket = match outbound::connect(address, options, &self.shared.limits) {
            Ok(socket) => socket,
            Err(error) => {
                self.give_back();
                return done(Err(format!("cannot connect to {address}: {error}")));
            }
        };
        // Whom the server itself calls is not counted among its address's connections.
        let ticket = match self.peers.admission.admit_ours() {
            Ok(ticket) => ticket,
            Err(refused) => {
                self.give_back();
                return done(Err(format!("{} = {} is reached", refused.0, refused.1)));
            }
        };
        match self.place(Carrier::Tcp(socket), address, acceptor, ticket) {
            Ok(key) => {
                let (shared, connection) = (&mut self.shared, &mut self.connections[key]);
                connection.begin_outbound(application, done, shared);
                connection.writable = false;
                connection.wants_flush(shared);
            }
            Err(text) => done(Err(text)),
        }
    }

    /// Makes a connection, or says why not and gives the place back.
    pub(crate) fn place(
        &mut self,
        mut carrier: Carrier,
        peer: SocketAddr,
        acceptor: Arc<Acceptor>,
        ticket: Ticket,
    ) -> Result<ConnectionKey, String> {
        let chain = match (acceptor.make_chain)() {
            Ok(chain) => chain,
            Err(error) => {
                self.give_back();
                slog::error!(self.shared.log, "no chain for a connection: {error}"; "peer" => %peer);
                return Err(error.to_string());
            }
        };
        let (id, registry, shared) = (self.id, self.poll.registry(), &mut self.shared);
        let mut failed = None;
        let key = self.connections.insert_with_key(|key| {
            let token = Token(usize::try_from(token_of(key)).unwrap_or(usize::MAX));
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Carrier::Tcp(socket) = &mut carrier {
                failed = registry.register(socket, token, interest).err();
            }
            let connection_id = id_of(key, id);
            Connection::new(key, connection_id, carrier, peer, acceptor, chain, ticket, shared)
        });
        // More connections than the number in an id can tell apart: one too many.
        if key_of(id_of(key, id)) != key {
            failed = Some(io::Error::other("the worker has too many connections"));
        }
        if let Some(error) = failed {
            self.connections.remove(key);
            self.give_back();
            slog::error!(self.shared.log, "a connection could not be taken over: {error}"; "peer" => %peer);
            return Err(error.to_string());
        }
        Ok(key)
    }

    /// The connection that this worker was given has not become one of its own.
    pub(crate) fn give_back(&self) {
        self.peers.loads[usize::from(self.id.0)].fetch_sub(1, Ordering::Relaxed);
    }

    fn listen(&mut self, mut socket: TcpListener, acceptor: Arc<Acceptor>) {
        let index = self.listeners.iter().position(Option::is_none).unwrap_or(self.listeners.len());
        let token = Token(index * 2 + LISTENER);
        if let Err(error) = self.poll.registry().register(&mut socket, token, Interest::READABLE) {
            slog::error!(self.shared.log, "cannot listen at {}: {error}", acceptor.address);
            return;
        }
        let listener = Listener { socket, acceptor, ready: true, rest_until: None };
        if index == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[index] = Some(listener);
    }

    fn unlisten(&mut self, address: SocketAddr) {
        for place in &mut self.listeners {
            if place.as_ref().is_some_and(|listener| listener.acceptor.address == address)
                && let Some(mut listener) = place.take()
            {
                let _ = self.poll.registry().deregister(&mut listener.socket);
            }
        }
    }

    fn accept_pass(&mut self) {
        let now = self.shared.now;
        for listener in self.listeners.iter_mut().flatten() {
            if listener.rest_until.is_some_and(|until| until <= now) {
                listener.rest_until = None;
            }
            if !listener.ready || listener.rest_until.is_some() {
                continue;
            }
            for _ in 0..ACCEPTS_PER_TURN {
                match listener.socket.accept() {
                    Ok((socket, peer)) => {
                        self.shared.counters.accepted += 1;
                        let worker = self.peers.least_loaded();
                        self.peers.take_load(worker);
                        let acceptor = listener.acceptor.clone();
                        if worker == usize::from(self.id.0) {
                            self.newcomers.push((socket, peer, acceptor));
                        } else {
                            self.peers.mailboxes[worker].post(ToWorker::Adopt { socket, peer, acceptor });
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                        break;
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        // No descriptors, no memory: trying again at once would only burn time.
                        listener.rest_until = Some(now + ACCEPT_REST);
                        let address = listener.acceptor.address.ip();
                        if let Some(suppressed) = self.shared.gate.pass(address, ("accept", "tcp"), now) {
                            slog::error!(self.shared.log, "cannot accept connections: {error}";
                                "address" => %listener.acceptor.address, "suppressed" => suppressed);
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Takes over connections that this worker has accepted for itself.
    fn adopt_newcomers(&mut self) {
        let mut newcomers = std::mem::take(&mut self.newcomers);
        for (socket, peer, acceptor) in newcomers.drain(..) {
            self.adopt(socket, peer, acceptor);
        }
        self.newcomers = newcomers;
    }

    /// Tells connections what the relay has noticed.
    fn tell_connections(&mut self) {
        for notice in self.shared.relay.take_notices() {
            let shared = &mut self.shared;
            match notice {
                Notice::Started { connection, slot } => {
                    if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                        connection.command(Command::SourceStarted { slot }, shared);
                        connection.tell_via(slot, shared);
                    }
                }
                Notice::Ended { connection, slot } => {
                    if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                        connection.unplay(slot, Why::Source, shared);
                        connection.command(Command::SourceEnded { slot }, shared);
                    }
                }
                Notice::Missing { connection, slot, key } => {
                    shared.counters.plays_missed += 1;
                    if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                        let name = connection.played_name(slot).unwrap_or_else(|| key.name.to_string());
                        connection.unplay(slot, Why::Source, shared);
                        connection.command(Command::SourceMissing { slot, name }, shared);
                    }
                }
                Notice::Unplayable { connection, slot } => {
                    if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                        connection.unplay(slot, Why::Server, shared);
                        let code = "NetStream.Play.Failed".to_owned();
                        let text = UNPLAYABLE.to_owned();
                        connection.command(Command::StopPlay { slot, code, text }, shared);
                    }
                }
                Notice::Evicted { connection, slot, key } => {
                    shared.counters.publishers_replaced += 1;
                    if self.sources.has(connection) {
                        self.sources.close(connection, "another publisher has taken over", shared);
                    } else if let Some(connection) = self.connections.get_mut(key_of(connection)) {
                        let text =
                            format!("another publisher has taken over the stream {:?}", key.name.as_str());
                        connection.unpublish(slot, Why::Server, shared);
                        let code = "NetStream.Publish.BadName".to_owned();
                        connection.command(Command::StopPublish { slot, code, text: text.clone() }, shared);
                        // It may be dead, and then nobody else would notice for long.
                        // One that the server made may have more to do, and its makers know.
                        let idle = connection.publishes.is_empty() && connection.plays.is_empty();
                        if idle && !connection.outbound {
                            connection.close(&text, shared);
                        }
                    }
                }
            }
        }
    }

    fn stop(&mut self, within: Duration) {
        self.stop_at = Some(self.shared.now + within);
        self.listeners.clear();
        self.sources.close_all("the server is shutting down", &mut self.shared);
        // Streams first, so that players hear of their end before their connections end.
        self.shared.relay.end_all(self.shared.now);
        self.tell_connections();
        for connection in self.connections.values_mut().filter(|connection| connection.state == State::Open) {
            let code = "NetConnection.Connect.AppShutdown".to_owned();
            let text = "the server is shutting down".to_owned();
            connection.order(Command::Close { code, text }, &mut self.shared);
            // One that carries a request for others says their last words first.
            if connection.carries.is_none() {
                connection.close("the server is shutting down", &mut self.shared);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.stop_at.is_some_and(|at| self.connections.is_empty() || at <= self.shared.now)
    }

    fn report(&self) -> WorkerReport {
        let now = self.shared.now;
        WorkerReport {
            worker: self.id.0,
            counters: self.shared.counters.clone(),
            connections: self.connections.values().map(|connection| connection.report(now)).collect(),
            merge: self.shared.relay.merge(),
            delays: self.shared.relay.delays(),
            publishes: self.shared.relay.publishes(),
            replicas: self.shared.relay.replicas(),
            players: self.shared.relay.players(now),
            sources: self.sources.reports(now),
        }
    }
}

impl Drop for Worker {
    /// Applications learn of the end of every connection, however the worker ends.
    fn drop(&mut self) {
        for connection in self.connections.values().filter(|connection| connection.state == State::Open) {
            connection.notify(Happened::Closed { reason: "the worker has ended".to_owned() });
        }
        self.connections.values_mut().for_each(|connection| connection.see_closed(&self.shared));
    }
}

impl Peers {
    /// The worker gets one connection more.
    pub(crate) fn take_load(&self, worker: usize) {
        self.loads[worker].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn least_loaded(&self) -> usize {
        let load = |worker: &usize| self.loads[*worker].load(Ordering::Relaxed);
        (0..self.loads.len()).min_by_key(load).unwrap_or_default()
    }
}

/// A connection that was gone before it was accepted, and the like: the next one may be well.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}
