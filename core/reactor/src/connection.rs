//! One connection: its socket, its chain, and what it publishes and plays.

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, Chain, Command, Env, Error, Event, Fault, Frame, MediaKind, RequestId, Role, ahead,
};
use crtmp_relay::{ConnectionId, Partial, Relay};
use slog::Logger;

use crate::{
    admission::Ticket,
    asked::{Questions, Wish},
    became::Purpose,
    carrier::Carrier,
    control::{Acceptor, Application, Caller, Happened, ToApplication, Why},
    costly::Leave,
    flush::LOOK_PERIOD,
    guard::{Caught, guarded},
    ids::ConnectionKey,
    observe::Sight,
    outbound::Done,
    questions::Contested,
    shared::Shared,
    sharing::Sharing,
    streams::{Played, Published},
    taps::Taps,
    tunnels::Carried,
};

/// Reads of one connection in one turn; then the others have theirs.
const READS_PER_TURN: usize = 4;

/// How long a connection that is being closed may take to send what is left, and again to be closed by its
/// peer.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) id: ConnectionId,
    pub(crate) carrier: Carrier,
    pub(crate) peer: SocketAddr,
    pub(crate) acceptor: Arc<Acceptor>,
    pub(crate) log: Logger,
    pub(crate) chain: Chain,
    /// A panic has left the chain in no usable state.
    poisoned: bool,
    /// The application that has accepted the connection.
    pub(crate) owner: Option<Arc<Application>>,
    /// The application that is being asked, or was asked last.
    pub(crate) asked: Option<Arc<Application>>,
    /// Known from the connect request on.
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) instance: String,
    /// It is being made: whom to tell, and until when.
    pub(crate) connecting: Option<(Done, Instant)>,
    /// The application of the acceptor has not said yet whether it may stay.
    pub(crate) admitted: bool,
    /// Its application wants the frames that it publishes.
    pub(crate) taps: Taps,
    /// Its application has something of it that must be forgotten when it leaves, whichever hooks there are.
    pub(crate) noted: bool,
    /// Somebody waits for its end.
    pub(crate) awaited: Option<Arc<()>>,
    /// The server made it.
    pub(crate) outbound: bool,
    /// A proxy has made it, and has not said yet for whom.
    pub(crate) is_proxied: bool,
    /// It is one of those that its application may have.
    pub(crate) counted: bool,
    /// It has the place of a test of the way to its peer.
    pub(crate) is_tested: bool,
    pub(crate) questions: Questions,
    pub(crate) sharing: Sharing,
    pub(crate) contested: Vec<Contested>,
    pub(crate) publishes: Vec<Published>,
    pub(crate) plays: Vec<Played>,
    /// Names that what comes from its far end takes over, whoever publishes them.
    pub(crate) takes_over: Vec<String>,
    /// The request of somebody else's session that it carries.
    pub(crate) carries: Option<Box<Carried>>,
    /// Where the connection stands among those that its address may have.
    pub(crate) ticket: Ticket,
    /// The packet that has gone out in part.
    pub(crate) partial: Option<Partial>,
    pub(crate) state: State,
    /// There may be something to read.
    pub(crate) readable: bool,
    /// The peer has closed its side, and all that it sent has been read.
    ended: bool,
    /// The peer has closed its side; what it sent before may still be there to read.
    pub(crate) half_closed: bool,
    /// The socket may take something.
    pub(crate) writable: bool,
    /// Its players are left out of rounds of sending, because the socket is full.
    pub(crate) resting: bool,
    /// Since when the socket has taken nothing.
    pub(crate) stalled_since: Option<Instant>,
    pub(crate) armed: Option<Instant>,
    /// It stands in the queue of those that have something to send.
    pub(crate) queued: bool,
    /// It stands in the list of those that read again in the next turn.
    pub(crate) again: bool,
    /// The time that it waits for may have changed, or it may be gone.
    pub(crate) unsettled: bool,
    /// When what the system holds unsent is looked at again.
    pub(crate) look_at: Instant,
    /// Its chain waits for leave to do costly work, which it may have at this time.
    denied_until: Option<Instant>,
    /// Its chain waits for leave to do costly work, which this turn has none of, and it stands in line.
    in_line: bool,
    /// Something has been received and nothing sent since.
    pub(crate) unanswered: bool,
    /// A play has begun and nothing has been sent since.
    pub(crate) newcomer: bool,
    /// Bytes that the system held unsent when it was looked at last.
    pub(crate) unsent: u64,
    pub(crate) opened: Instant,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) rtt_ms: Option<u32>,
    /// It has been told that the connection is there.
    pub(crate) carried: bool,
    /// Its layers have said their last words.
    parted: bool,
    /// Its chain has been told that it may speak.
    begun: bool,
    pub(crate) purpose: Purpose,
    /// Which of the chains of its port it has turned out to be.
    pub(crate) became: Option<Cow<'static, str>>,
    /// When it is looked at what its streams carry; none: nobody wants to know.
    pub(crate) look_at_streams: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Nothing is read any more; what is left goes out until this time.
    Flushing(Instant),
    /// Everything has gone out; what comes is thrown away until the peer closes or this time comes. A close
    /// with unread data would make the kernel reset the connection, and the peer would lose our last words.
    Draining(Instant),
    Gone,
}

impl Connection {
    #[expect(clippy::too_many_arguments, reason = "called once, with what only the worker has")]
    pub(crate) fn new(
        key: ConnectionKey,
        id: ConnectionId,
        carrier: Carrier,
        peer: SocketAddr,
        acceptor: Arc<Acceptor>,
        mut chain: Chain,
        ticket: Ticket,
        shared: &Shared,
    ) -> Self {
        chain.set_grants(0);
        let (log, purpose) = (shared.logger(id, &acceptor, peer), Purpose::at_first(&acceptor));
        Self {
            key,
            id,
            carrier,
            peer,
            acceptor,
            log,
            chain,
            poisoned: false,
            owner: None,
            asked: None,
            caller: None,
            instance: String::new(),
            connecting: None,
            admitted: true,
            taps: Taps::default(),
            noted: false,
            counted: false,
            awaited: None,
            is_tested: false,
            outbound: false,
            is_proxied: false,
            questions: Questions::default(),
            sharing: Sharing::default(),
            contested: Vec::new(),
            publishes: Vec::new(),
            plays: Vec::new(),
            takes_over: Vec::new(),
            carries: None,
            ticket,
            partial: None,
            state: State::Open,
            readable: true,
            ended: false,
            half_closed: false,
            writable: true,
            resting: false,
            stalled_since: None,
            armed: None,
            queued: false,
            again: false,
            unsettled: true,
            look_at: shared.now + LOOK_PERIOD,
            denied_until: None,
            in_line: false,
            unanswered: false,
            newcomer: false,
            unsent: 0,
            opened: shared.now,
            bytes_in: 0,
            bytes_out: 0,
            rtt_ms: None,
            carried: false,
            parted: false,
            begun: false,
            purpose,
            became: None,
            look_at_streams: None,
        }
    }

    /// Has the connection send what it has at the end of the turn.
    pub(crate) fn wants_flush(&mut self, shared: &mut Shared) {
        self.unsettled = true;
        if !self.queued {
            self.queued = true;
            shared.to_flush.push_back(self.key);
        }
    }

    /// Has the connection read in the next turn: once, however often that is asked for.
    pub(crate) fn read_again(&mut self, shared: &mut Shared) {
        if !self.again {
            self.again = true;
            shared.again.push(self.key);
        }
    }

    /// Asks for the memory that reading will need.
    pub(crate) fn fetch_to_read(&self, depth: usize, relay: &Relay) {
        let Some(depth) = depth.checked_sub(1) else { return ahead::fetch(self) };
        self.chain.fetch(depth);
        match depth.checked_sub(1) {
            None => ahead::fetch(self.publishes.as_slice()),
            Some(depth) => {
                self.publishes.iter().for_each(|published| relay.fetch_home(published.home, depth))
            }
        }
    }

    /// Whether its peer has declared that it follows requests to connect again.
    pub(crate) fn can_reconnect(&self) -> bool {
        let declares = |caller: &Arc<Caller>| caller.info.declared.can_reconnect();
        self.owner.is_some() && !self.outbound && self.caller.as_ref().is_some_and(declares)
    }

    /// The address that the peer came to.
    pub(crate) fn local(&self) -> SocketAddr {
        let listening = self.acceptor.address;
        if listening.ip().is_unspecified() { self.carrier.local().unwrap_or(listening) } else { listening }
    }

    /// The connection is there, or known: the chain may speak, or go on.
    pub(crate) fn on_open(&mut self, shared: &mut Shared) {
        let resumes = std::mem::replace(&mut self.begun, true);
        self.with_chain(shared, |chain, env| if resumes { chain.resume(env) } else { chain.on_open(env) });
        self.drain_events(shared);
        self.wants_flush(shared);
    }

    /// The socket may have something to read.
    pub(crate) fn on_readable(&mut self, shared: &mut Shared) {
        self.readable = true;
        if self.is_proxied && !self.read_header(shared) {
            return;
        }
        for _ in 0..READS_PER_TURN {
            if !self.may_read() {
                return;
            }
            let mut scratch = std::mem::take(&mut shared.scratch);
            let read = self.carrier.read(&mut scratch, shared.now);
            shared.counters.reads += 1;
            match read {
                Ok(0) => self.on_far_end(shared),
                Ok(count) => {
                    self.unanswered = true;
                    self.on_bytes(&scratch[..count], shared);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end(shared, &format!("the socket failed: {error}")),
            }
            shared.scratch = scratch;
            if !self.readable {
                return;
            }
        }
        self.read_again(shared);
    }

    /// The peer has sent all that it will. Some wait for answers all the same.
    fn on_far_end(&mut self, shared: &mut Shared) {
        self.readable = false;
        if self.state != State::Open || self.poisoned {
            return self.end(shared, "closed by the peer");
        }
        self.ended = true;
        self.leave_exchange(shared);
        if !self.chain.owes() {
            if self.chain.queued() > 0 {
                self.close("closed by the peer", shared);
            } else {
                self.end(shared, "closed by the peer");
            }
        }
    }

    /// The peer has closed its side, or the socket has failed. Where nothing is read, nobody else would see it.
    pub(crate) fn on_hang_up(&mut self, failed: bool, shared: &mut Shared) {
        if self.connecting.is_some() {
            return self.settle_outbound(shared);
        }
        // What it has sent before it is admitted is read afterwards, and the end of it found there.
        let waits = !self.admitted || self.chain.owes();
        if !failed && self.state == State::Open && !self.poisoned && waits {
            return;
        }
        // Our last words are on their way to a peer that has said its own.
        if !failed && matches!(self.state, State::Flushing(_)) {
            return;
        }
        if self.state != State::Gone && !self.may_read() {
            self.end(shared, "closed by the peer");
        }
    }

    /// Hands an order to the chain, and deals with what it says.
    pub(crate) fn command(&mut self, command: Command, shared: &mut Shared) {
        self.order(command, shared);
        self.drain_events(shared);
    }

    /// Hands an order to the chain; what it says stays in its queue.
    pub(crate) fn order(&mut self, command: Command, shared: &mut Shared) {
        self.with_chain(shared, |chain, env| chain.on_command(command, env));
        self.wants_flush(shared);
    }

    /// The time that the connection waited for may have come.
    pub(crate) fn on_timeout(&mut self, shared: &mut Shared) {
        if self.connecting.as_ref().is_some_and(|(_, until)| *until <= shared.now) {
            return self.expire_outbound(shared);
        }
        match self.state {
            State::Flushing(until) | State::Draining(until) if until <= shared.now => {
                self.state = State::Gone
            }
            State::Open if self.is_proxied => self.expire_header(shared),
            State::Open => {
                if shared.stood_still && self.stalled_since.is_some() {
                    self.stalled_since = Some(shared.now);
                }
                if self.is_stalled_for(shared.limits.player_cut.get(), shared.now) {
                    shared.counters.players_cut += u64::from(!self.plays.is_empty());
                    let rule = "the peer has taken no byte for longer than playerCut";
                    self.fail(&Error::timeout("tcp", rule), shared);
                    self.state = State::Gone;
                    return;
                }
                if self.outbound && self.resting && self.look_at <= shared.now {
                    self.look_at = shared.now + LOOK_PERIOD;
                    if self.is_unheard() {
                        return self.lose(shared);
                    }
                }
                if self.look_at_streams.is_some_and(|at| at <= shared.now) {
                    self.look_at_streams(shared);
                }
                self.on_tunnel_timeout(shared);
                let unread = !self.has_credit() || shared.stood_still;
                self.with_chain(shared, |chain, env| {
                    chain.set_unread(unread);
                    chain.on_timeout(env)
                });
                // It may set free what came while a name was contested.
                self.retry_contested(shared);
                self.drain_events(shared);
                self.wants_flush(shared);
            }
            _ => {}
        }
    }

    /// When [`Self::on_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self, shared: &Shared) -> Option<Instant> {
        match self.state {
            State::Flushing(until) | State::Draining(until) => Some(until),
            State::Gone => None,
            State::Open if self.is_proxied => self.header_until(shared),
            State::Open if self.connecting.is_some() => self.connecting.as_ref().map(|(_, until)| *until),
            State::Open => {
                let stall =
                    self.stalled_since.and_then(|since| since.checked_add(shared.limits.player_cut.get()));
                let contested = self.contested.iter().map(|contested| contested.retry_at).min();
                let chain = if self.poisoned { None } else { self.chain.poll_timeout() };
                let far_end = (self.outbound && self.resting).then_some(self.look_at);
                let carrier = self.carrier.poll_timeout();
                let own = [stall, contested, self.denied_until, self.look_at_streams, far_end, carrier];
                own.into_iter().chain([chain]).flatten().min()
            }
        }
    }

    /// Deals with what the chain says, as far as there is credit for questions.
    pub(crate) fn drain_events(&mut self, shared: &mut Shared) {
        while self.state == State::Open && self.has_credit() {
            let Some(event) = self.chain.poll_event() else { break };
            self.on_event(event, shared);
        }
        if self.state == State::Open && !self.poisoned && self.chain.closing().is_some() {
            let reason = self.chain.closing().map(ToString::to_string).unwrap_or_default();
            self.close(&reason, shared);
        }
        if !self.ended && self.chain.has_ended() {
            self.ended = true;
            self.leave_exchange(shared);
        }
        if self.ended && self.state == State::Open && !self.chain.owes() {
            self.close("closed by the peer", shared);
        }
        if self.readable && self.may_read() {
            self.read_again(shared);
        }
    }

    /// Closes the connection after what is left has gone out.
    pub(crate) fn close(&mut self, reason: &str, shared: &mut Shared) {
        if self.state != State::Open {
            return;
        }
        if let Some((done, _)) = self.connecting.take() {
            return self.give_up(done, reason, shared);
        }
        self.leave(reason, shared);
        self.state = State::Flushing(shared.now + LINGER);
        let chain = &mut self.chain;
        if !self.poisoned
            && guarded(|| -> Result<(), Error> {
                chain.on_closing();
                Ok(())
            })
            .is_err()
        {
            self.poisoned = true;
        }
        self.wants_flush(shared);
    }

    /// Everything else has been said, and answered: has layers say their last words. Returns whether there are any that
    /// must go out.
    pub(crate) fn part(&mut self) -> bool {
        if std::mem::replace(&mut self.parted, true) || self.poisoned || self.chain.is_direct() {
            return false;
        }
        // Without them the connection ends all the same.
        let chain = &mut self.chain;
        self.poisoned = guarded(|| chain.close()).is_err();
        !self.poisoned && self.chain.queued() > 0
    }

    /// Ends the connection because of `error`.
    pub(crate) fn fail(&mut self, error: &Error, shared: &mut Shared) {
        let whose = match error.fault {
            Fault::Peer => "peer",
            Fault::Timeout => "timeout",
            Fault::Ours => "ours",
        };
        *shared.counters.faults.entry(format!("{whose}.{}", error.protocol)).or_default() += 1;
        if let Some(suppressed) = shared.gate.pass(self.peer.ip(), (whose, error.protocol), shared.now) {
            let rule = &error.rule;
            let protocol = error.protocol;
            match error.fault {
                Fault::Ours => {
                    slog::error!(self.log, "closed by a fault of ours: {rule}"; "protocol" => protocol, "suppressed" => suppressed);
                }
                Fault::Peer | Fault::Timeout => {
                    slog::info!(self.log, "closed: {rule}"; "protocol" => protocol, "suppressed" => suppressed);
                }
            }
        }
        self.close(&error.to_string(), shared);
    }

    /// Whether it is there, and `application` has it.
    pub(crate) fn is_open_to(&self, application: &Arc<Application>) -> bool {
        let owner = self.owner.as_ref();
        self.state == State::Open && owner.is_some_and(|owner| Arc::ptr_eq(owner, application))
    }

    fn on_bytes(&mut self, bytes: &[u8], shared: &mut Shared) {
        // Less than there was room for: the socket is empty. An end that comes later raises its own event.
        // Only a socket says so, though.
        let full = bytes.len() == shared.scratch_size;
        self.readable = full || self.half_closed || self.carrier.is_tunnel();
        if matches!(self.state, State::Draining(_)) {
            return;
        }
        self.bytes_in += bytes.len() as u64;
        // What has come in a tunnel was counted where that came in.
        if !self.carrier.is_tunnel() {
            shared.counters.bytes_in += bytes.len() as u64;
        }
        for published in &self.publishes {
            shared.relay.heard(published.home, shared.now);
        }
        self.chain.swap_idle_events(&mut shared.events);
        self.with_chain(shared, |chain, env| chain.on_data(bytes, env));
        self.drain_events(shared);
        if self.state != State::Open {
            // What comes while the last words go out is nobody's business any more.
            self.chain.take_events();
        }
        self.chain.swap_idle_events(&mut shared.events);
        // Frames alone ask for no answer, and bring no deadline nearer; layers outside the endpoint may have their own.
        let frames = !self.publishes.is_empty() && self.chain.is_direct();
        let quiet = self.state == State::Open && frames && self.is_sound();
        if !quiet || self.chain.queued() > 0 {
            self.wants_flush(shared);
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, shared: &mut Shared) {
        match event {
            Event::Frame { slot, frame } => {
                let Some(at) = self.publishes.iter().position(|published| published.slot == slot) else {
                    return;
                };
                let published = &mut self.publishes[at];
                // What most publications are: nobody but players looks at them.
                if published.filters.is_empty() && !self.taps.has(slot) && frame.role != Role::Config {
                    return shared.relay.frame(published.home, frame, shared.now);
                }
                self.on_watched_frame(at, frame, shared);
            }
            Event::Metadata { slot, values } => {
                if let Some(published) = self.publishes.iter().find(|published| published.slot == slot) {
                    self.notify(Happened::Metadata { slot, name: published.name.clone(), values });
                }
            }
            Event::Connect { request, info } => self.on_connect(request, *info, shared),
            Event::Publish { request, slot, name, kind, via } => {
                self.on_publish(request, slot, name, kind, via, shared)
            }
            Event::Play(play) => self.on_play(play, shared),
            Event::Message { request, slot, command, args } => {
                self.on_message(request, slot, command, args, shared);
            }
            Event::Unpublish { slot } => self.unpublish(slot, Why::Peer, shared),
            Event::Unplay { slot } => self.unplay(slot, Why::Peer, shared),
            Event::Pause { slot, paused } => {
                if let Some(played) = self.plays.iter().find(|played| played.slot == slot) {
                    shared.relay.set_paused(played.player, paused);
                }
            }
            Event::Receive { slot, audio, video } => {
                if let Some(played) = self.plays.iter().find(|played| played.slot == slot) {
                    shared.relay.set_receive(played.player, audio, video);
                }
            }
            Event::Reconnect { url } => self.notify(Happened::Reconnect { url }),
            Event::Pong { rtt_ms } => {
                self.rtt_ms = Some(rtt_ms);
                let received = self.bytes_in;
                self.notify(Happened::Pong { rtt_ms, received });
            }
            Event::CallResult { ticket, outcome, args } => {
                if let Some(owner) = &self.owner {
                    let connection = self.id;
                    (owner.post)(ToApplication::CallResult { connection, ticket, outcome, args });
                }
            }
            Event::Became(became) => self.on_became(*became, shared),
            Event::Tunnel { request, call } => self.on_tunnel_call(request, *call, shared),
            Event::Shared(request) => self.on_shared(*request, shared),
            Event::CheckBandwidth { request } => self.on_check_bandwidth(request, shared),
            Event::BandwidthTested(report) => self.on_bandwidth_tested(*report, shared),
            Event::Skipped(what) => shared.skipped(what),
        }
    }

    /// A frame that somebody but players looks at: a filter, the application, whoever asks for codec configurations.
    fn on_watched_frame(&mut self, at: usize, frame: Frame, shared: &mut Shared) {
        let published = &mut self.publishes[at];
        let removed = &mut shared.counters.filters_removed;
        let frame = match published.filters.pass(frame, &self.log, || *removed += 1) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => return self.fail(&error, shared),
        };
        if let (Some(owner), Some(caller)) = (&self.owner, &self.caller) {
            let (connection, slot, kind) = (self.id, published.slot, frame.kind);
            if frame.role == Role::Config && kind != MediaKind::Data && self.is_noted_by(owner) {
                let default = frame.split().into_iter().min_by_key(|part| part.track);
                let frame = default.unwrap_or_else(|| frame.clone());
                (owner.post)(ToApplication::Header { connection, slot, kind, frame });
            }
            let published = &self.publishes[at];
            if self.taps.has(slot) {
                (owner.post)(ToApplication::Frame {
                    caller: caller.clone(),
                    slot,
                    name: published.name.clone(),
                    frame: Arc::new(frame.clone()),
                });
            }
        }
        let published = &mut self.publishes[at];
        let changed = frame.role == Role::Config && published.watch.note(&frame, shared.now);
        shared.relay.frame(published.home, frame, shared.now);
        if changed {
            self.watch(shared);
        }
    }

    /// Runs `run` on the chain; an error or a panic ends the connection.
    pub(crate) fn with_chain(
        &mut self,
        shared: &mut Shared,
        run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>,
    ) {
        self.run_chain(shared, run);
        if self.chain.is_denied() {
            self.grant(shared);
        }
    }

    /// A layer waits for leave to do costly work: it gets what there is.
    pub(crate) fn grant(&mut self, shared: &mut Shared) {
        if self.in_line || self.denied_until.is_some_and(|at| at > shared.now) {
            return;
        }
        self.denied_until = None;
        while self.state == State::Open && !self.poisoned && self.chain.is_denied() {
            match shared.costly.ask(self.peer.ip(), &shared.limits, shared.now) {
                Leave::Now => self.run_chain(shared, |chain, env| {
                    chain.set_grants(1);
                    chain.on_turn(env)
                }),
                Leave::NextTurn => {
                    self.in_line = true;
                    return shared.costly.wait(self.key);
                }
                Leave::At(time) => {
                    self.denied_until = Some(time);
                    self.unsettled = true;
                    return;
                }
            }
        }
    }

    fn run_chain(
        &mut self,
        shared: &mut Shared,
        run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>,
    ) {
        if self.poisoned {
            return;
        }
        let now = shared.now;
        let chain = &mut self.chain;
        let result = guarded(|| run(chain, &mut Env { now, random: &mut fill_random }));
        match result {
            Ok(()) => {}
            Err(Caught::Error(error)) => {
                // Events that came before the error happened: a frame, an end. They count.
                while let Some(event) = self.chain.poll_event() {
                    if matches!(event, Event::Frame { .. } | Event::Unpublish { .. } | Event::Skipped(_)) {
                        self.on_event(event, shared);
                    }
                }
                self.fail(&error, shared);
            }
            Err(Caught::Panic(error)) => {
                shared.counters.panics += 1;
                self.poisoned = true;
                self.fail(&error, shared);
            }
        }
    }

    /// Its turn in the line has come: offers the chain again what it could not take without leave to do costly work.
    pub(crate) fn offer_again(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut self.in_line) && self.state == State::Open {
            self.grant(shared);
            self.drain_events(shared);
            self.wants_flush(shared);
        }
    }

    /// Whether the chain can still be used.
    pub(crate) fn is_sound(&self) -> bool {
        !self.poisoned
    }

    /// Answers a request of the peer.
    pub(crate) fn reject(
        &mut self,
        answer: impl FnOnce(Answer) -> Command,
        code: &str,
        text: &str,
        shared: &mut Shared,
    ) {
        let reject = Answer::Reject { code: code.to_owned(), text: text.to_owned() };
        self.order(answer(reject), shared);
    }

    /// Answers a connect.
    pub(crate) fn answer_connect(&mut self, request: RequestId, answer: Answer, shared: &mut Shared) {
        self.order(Command::AnswerConnect { request, answer }, shared);
    }

    /// Ends the connection at once: there is nobody to talk to.
    pub(crate) fn end(&mut self, shared: &mut Shared, reason: &str) {
        self.readable = false;
        if let Some((done, _)) = self.connecting.take() {
            return self.give_up(done, reason, shared);
        }
        if self.state == State::Open {
            slog::debug!(self.log, "{reason}");
            self.leave(reason, shared);
        }
        self.state = State::Gone;
        self.wants_flush(shared);
    }

    /// Ends everything that the connection does for others.
    fn leave(&mut self, reason: &str, shared: &mut Shared) {
        while let Some(slot) = self.publishes.first().map(|published| published.slot) {
            self.unpublish(slot, Why::Peer, shared);
        }
        while let Some(slot) = self.plays.first().map(|played| played.slot) {
            self.unplay(slot, Why::Peer, shared);
        }
        for contested in std::mem::take(&mut self.contested) {
            self.never_began(contested.slot, Wish::Publish, contested.name, Why::Peer);
        }
        self.questions.clear();
        self.release_shared();
        self.end_test(None);
        self.notify(Happened::Closed { reason: reason.to_owned() });
        if self.owner.is_some() {
            self.see_connection(Sight::Unregistered, shared);
        }
        if let Some(owner) = self.owner.as_ref().filter(|_| std::mem::take(&mut self.counted)) {
            owner.connections.fetch_sub(1, Ordering::Relaxed);
        }
        shared.counters.closed += 1;
    }

    fn may_read(&self) -> bool {
        match self.state {
            State::Open => {
                !self.poisoned
                    && self.admitted
                    && !self.ended
                    && self.connecting.is_none()
                    && !self.chain.is_paused()
                    && self.has_credit()
            }
            State::Draining(_) => true,
            // What is left goes out when the far end has answered what went before.
            State::Flushing(_) => self.outbound && self.holds_back(),
            State::Gone => false,
        }
    }

    fn is_stalled_for(&self, time: Duration, now: Instant) -> bool {
        self.stalled_since.is_some_and(|since| now.saturating_duration_since(since) >= time)
    }
}

/// Random bytes from the system.
///
/// Where the system has none, which happens only before it has fully booted, the bytes stay zero: they go
/// into handshakes, and a handshake without entropy still works.
fn fill_random(bytes: &mut [u8]) {
    let _ = getrandom::fill(bytes);
}
