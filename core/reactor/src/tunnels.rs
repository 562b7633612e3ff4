//! Sessions of tunnels and the connections of HTTP that carry them: they find each other by messages, since they may live
//! on different workers.

use std::{
    borrow::Cow,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use crtmp_media::{Command, RequestId, Slice, TunnelCall, TunnelId, TunnelRequest, TunnelVerb, network};
use slotmap::SlotMap;

use crate::{
    admission::{Refused, Ticket},
    carrier::Carrier,
    connection::{Connection, State},
    control::{Acceptor, ToWorker, canonical},
    ids::{ConnectionKey, key_of, worker_of},
    shared::Shared,
    tunnel::{Exchange, Opening, Tunnel},
    worker::Worker,
};

/// How long requests for sessions that do not exist are counted together.
const PERIOD: Duration = Duration::from_secs(60);

/// Addresses whose requests for sessions that do not exist are counted.
const GUESSERS: usize = 4096;

/// What a session and a connection that carries it say to each other.
pub struct TunnelMessage(Message);

pub(crate) enum Message {
    /// A new session is wanted.
    Open {
        exchange: Exchange,
        peer: SocketAddr,
        local: SocketAddr,
        acceptor: Arc<Acceptor>,
        /// Which of the chains of its port the connection is, where there are several.
        chain: Option<Cow<'static, str>>,
        bind_address: bool,
    },
    /// A request for a session.
    Request {
        exchange: Exchange,
        peer: SocketAddr,
        session: TunnelId,
        number: u32,
        verb: TunnelVerb,
        body: Vec<u8>,
    },
    /// The response to either, and which answer of which session it is.
    Answer { exchange: Exchange, of: Option<(TunnelId, u32)>, status: u16, body: Slice },
    /// The connection that a request came by waits for its answer no more.
    Left { session: TunnelId, exchange: Exchange },
    /// The connection that an answer was for was gone.
    Unheard { session: TunnelId, number: u32 },
}

/// A request that a connection carries and that has no response yet.
pub(crate) struct Carried {
    request: RequestId,
    session: Option<TunnelId>,
}

/// What is counted for each address, by all workers.
#[derive(Default)]
pub(crate) struct Tunnels {
    sessions: Mutex<HashMap<IpAddr, usize>>,
    guesses: Mutex<HashMap<IpAddr, (usize, Instant)>>,
}

/// The place of a session among those that its address may have; given back when it is dropped.
pub(crate) struct Place {
    tunnels: Arc<Tunnels>,
    address: IpAddr,
}

impl Tunnels {
    /// A place for another session of `address`; none where it has `most` already.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = network(address);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.get(&address).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        sessions.insert(address, count + 1);
        Some(Place { tunnels: self.clone(), address })
    }

    /// `address` has asked for a session that does not exist. Returns whether it has done so more than `most` times.
    fn guess(&self, address: IpAddr, most: usize, now: Instant) -> bool {
        let address = network(address);
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < PERIOD;
        if guesses.len() >= GUESSERS && !guesses.contains_key(&address) {
            guesses.retain(|_, (_, since)| is_fresh(*since));
            // Somebody has to be forgotten, and nobody can choose who.
            if guesses.len() >= GUESSERS
                && let Some(one) = guesses.keys().next().copied()
            {
                guesses.remove(&one);
            }
        }
        let (count, since) = guesses.entry(address).or_insert((0, now));
        if !is_fresh(*since) {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count > most
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.tunnels.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.address);
            }
        }
    }
}

impl Connection {
    /// The peer has sent a request of a session.
    pub(crate) fn on_tunnel_call(&mut self, request: RequestId, call: TunnelCall, shared: &mut Shared) {
        let exchange = Exchange { connection: self.id, request };
        let peer = self.peer;
        let message = match (call, self.acceptor.sessions.clone()) {
            (TunnelCall::Open { bind_address }, Some(acceptor)) => {
                self.carries = Some(Box::new(Carried { request, session: None }));
                let (local, chain) = (self.local(), self.became.clone());
                Message::Open { exchange, peer, local, acceptor, chain, bind_address }
            }
            (TunnelCall::Next { session, number, verb, body }, _) => {
                self.carries = Some(Box::new(Carried { request, session: Some(session) }));
                Message::Request { exchange, peer, session, number, verb, body }
            }
            // A chain of somebody's that has the layer and no sessions to open.
            (TunnelCall::Open { .. }, None) => {
                let body = Slice::default();
                return self.order(Command::AnswerTunnel { request, status: 503, body }, shared);
            }
        };
        shared.tunnelled.push_back(message);
    }

    /// The peer waits for no answer any more, or says nothing more: the session does not wait either.
    pub(crate) fn leave_exchange(&mut self, shared: &mut Shared) {
        if let Some(Carried { request, session: Some(session) }) = self.carries.as_deref() {
            let exchange = Exchange { connection: self.id, request: *request };
            shared.tunnelled.push_back(Message::Left { session: *session, exchange });
        }
    }
}

impl Worker {
    /// Delivers what sessions and the connections that carry them have said to each other.
    pub(crate) fn tunnel_pass(&mut self) {
        for _ in 0..self.shared.tunnelled.len() {
            let Some(message) = self.shared.tunnelled.pop_front() else { break };
            let worker = self.worker_for(&message);
            if worker == usize::from(self.id.0) {
                self.on_tunnel(TunnelMessage(message));
            } else if let Some(mailbox) = self.peers.mailboxes.get(worker) {
                mailbox.post(ToWorker::Tunnel(Box::new(TunnelMessage(message))));
            }
        }
    }

    fn worker_for(&self, message: &Message) -> usize {
        // A worker that does not exist is as good as one that has no such session.
        let of = |session: &TunnelId| usize::from(session.worker) % self.peers.mailboxes.len();
        match message {
            Message::Open { .. } => {
                let worker = self.peers.least_loaded();
                self.peers.take_load(worker);
                worker
            }
            Message::Request { session, .. }
            | Message::Left { session, .. }
            | Message::Unheard { session, .. } => of(session),
            Message::Answer { exchange, .. } => usize::from(worker_of(exchange.connection).0),
        }
    }

    pub(crate) fn on_tunnel(&mut self, TunnelMessage(message): TunnelMessage) {
        match message {
            Message::Open { exchange, peer, local, acceptor, chain, bind_address } => {
                let opened = self.open_session(peer, local, acceptor, chain, bind_address);
                let (status, body) = match opened {
                    Ok(id) => (200, format!("{}\n", id.digits()).into_bytes().into()),
                    Err(_) => (503, Slice::default()),
                };
                self.shared.tunnelled.push_back(Message::Answer { exchange, of: None, status, body });
            }
            Message::Request { exchange, peer, session, number, verb, body } => {
                let (shared, from) = (&mut self.shared, canonical(peer));
                let connection = session_of(&mut self.connections, &self.sessions, session);
                let request = TunnelRequest { verb, body, exchange };
                let taken =
                    connection.is_some_and(|one| one.on_tunnel_request(number, request, from, shared));
                if !taken {
                    self.refuse_guess(exchange, from);
                }
            }
            Message::Answer { exchange, of, status, body } => {
                let connection = self.connections.get_mut(key_of(exchange.connection));
                let waits = |one: &&mut Connection| {
                    one.state == State::Open
                        && one.carries.as_ref().is_some_and(|it| it.request == exchange.request)
                };
                if let Some(connection) = connection.filter(waits) {
                    connection.carries = None;
                    if of.is_some() {
                        self.shared.authorise(&mut connection.ticket);
                    }
                    let order = Command::AnswerTunnel { request: exchange.request, status, body };
                    connection.command(order, &mut self.shared);
                } else if let Some((session, number)) = of {
                    self.shared.tunnelled.push_back(Message::Unheard { session, number });
                }
            }
            Message::Left { session, exchange } => {
                if let Some(connection) = session_of(&mut self.connections, &self.sessions, session) {
                    connection.on_tunnel_left(exchange, &mut self.shared);
                }
            }
            Message::Unheard { session, number } => {
                if let Some(connection) = session_of(&mut self.connections, &self.sessions, session) {
                    connection.on_tunnel_unheard(number);
                }
            }
        }
    }
}

/// The connection of a session, where it is here. The map compares by a hash that nobody outside can know, so that the
/// time that it takes says nothing about ids that there are.
fn session_of<'a>(
    connections: &'a mut SlotMap<ConnectionKey, Connection>,
    sessions: &HashMap<[u8; 16], ConnectionKey>,
    session: TunnelId,
) -> Option<&'a mut Connection> {
    connections.get_mut(*sessions.get(&session.secret)?)
}

impl Worker {
    /// Makes a session for whoever came from `peer`, or says why not.
    fn open_session(
        &mut self,
        peer: SocketAddr,
        local: SocketAddr,
        acceptor: Arc<Acceptor>,
        chain: Option<Cow<'static, str>>,
        bind_address: bool,
    ) -> Result<TunnelId, String> {
        let from = canonical(peer);
        let (id, place, ticket) = match self.admit_session(from, &acceptor) {
            Ok(admitted) => admitted,
            Err(rule) => {
                self.give_back();
                self.shared.counters.refused += 1;
                acceptor.counts.dropped.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = self.shared.gate.pass(from, ("refused", "rtmpt"), self.shared.now) {
                    slog::warn!(self.shared.log, "refused a session: {rule}";
                        "peer" => %peer, "suppressed" => suppressed);
                }
                return Err(rule);
            }
        };
        acceptor.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let opening = Opening { id, from, local, bind_address, place };
        let tunnel = Tunnel::new(opening, &self.shared.limits, self.shared.now);
        let carrier = Carrier::Tunnel(Box::new(tunnel));
        let key = self.place(carrier, peer, acceptor, ticket)?;
        self.sessions.insert(id.secret, key);
        if let (Some(chain), Some(session)) = (chain, self.connections.get_mut(key)) {
            session.is_of(chain);
        }
        self.welcome(key, "opened");
        Ok(id)
    }

    fn admit_session(&self, from: IpAddr, acceptor: &Acceptor) -> Result<(TunnelId, Place, Ticket), String> {
        let full = |refused: Refused| format!("{} = {} is reached", refused.0, refused.1);
        if self.stop_at.is_some() {
            return Err("the server is shutting down".to_owned());
        }
        let most = self.shared.limits.rtmpt_sessions;
        let place = self.peers.tunnels.place(from, most);
        let place = place.ok_or_else(|| full(Refused("rtmptSessions", most)))?;
        let ticket = self.peers.admission.admit_carried(acceptor.counted).map_err(full)?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| format!("no random bytes: {error}"))?;
        Ok((TunnelId { secret, worker: (self.id.0 & 0xff) as u8 }, place, ticket))
    }

    /// Somebody has asked for a session that there is not, or that is not theirs.
    fn refuse_guess(&mut self, exchange: Exchange, from: IpAddr) {
        let most = self.shared.limits.rtmpt_guesses;
        let over = self.peers.tunnels.guess(from, most, self.shared.now);
        if over && let Some(suppressed) = self.shared.gate.pass(from, ("guess", "rtmpt"), self.shared.now) {
            slog::info!(self.shared.log, "more than rtmptGuesses = {most} sessions were asked for that there are not";
                "from" => %from, "suppressed" => suppressed);
        }
        let (status, body) = (if over { 429 } else { 404 }, Slice::default());
        self.shared.tunnelled.push_back(Message::Answer { exchange, of: None, status, body });
    }

    /// A connection is gone: its session is no more, and the session that it carried a request for does not wait.
    pub(crate) fn leave_tunnels(&mut self, gone: &mut Connection) {
        gone.leave_exchange(&mut self.shared);
        if let Some(id) = gone.end_tunnel(&mut self.shared) {
            self.sessions.remove(&id.secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn places_are_counted_for_each_address_and_come_back() {
        let tunnels = Arc::new(Tunnels::default());
        let first = tunnels.place(address(1), 2);
        let _second = tunnels.place(address(1), 2);
        assert!(first.is_some() && tunnels.place(address(1), 2).is_none());
        let _other = tunnels.place(address(2), 2);
        drop(first);
        assert!(tunnels.place(address(1), 2).is_some());
        drop((_second, _other));
        assert!(tunnels.sessions.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (tunnels, now) = (Arc::new(Tunnels::default()), Instant::now());
        let [one, same, other] =
            ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let _first = tunnels.place(one, 1).unwrap();
        assert!(tunnels.place(same, 1).is_none());
        assert!(tunnels.place(other, 1).is_some());
        assert!(!tunnels.guess(one, 1, now) && tunnels.guess(same, 1, now) && !tunnels.guess(other, 1, now));
    }

    #[test]
    fn guesses_are_counted_for_a_minute_and_for_a_bounded_number_of_addresses() {
        let (tunnels, now) = (Tunnels::default(), Instant::now());
        let over: Vec<_> = (0..4).map(|_| tunnels.guess(address(1), 3, now)).collect();
        assert_eq!(over, [false, false, false, true]);
        assert!(tunnels.guess(address(1), 3, now + PERIOD - Duration::from_millis(1)));
        assert!(!tunnels.guess(address(1), 3, now + PERIOD));
        for number in 2..2 * GUESSERS as u32 {
            assert!(!tunnels.guess(address(number), 3, now));
        }
        assert_eq!(tunnels.guesses.lock().unwrap().len(), GUESSERS);
        assert!(!tunnels.guess(address(0), 3, now + 2 * PERIOD));
        assert_eq!(tunnels.guesses.lock().unwrap().len(), 1, "those of long ago are forgotten");
    }
}
