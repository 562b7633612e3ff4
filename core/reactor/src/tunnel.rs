//! A connection whose bytes travel in requests and responses of others (RTMPT).
//!
//! To the rest of the reactor a tunnel is a socket. It can be read where a request has come, it can be written to while
//! somebody waits for an answer that has room, and it is full otherwise: so a client that does not ask counts as a
//! player that does not read, and nothing is taken from its cursor meanwhile.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crtmp_media::{
    Error, Limits, Offered, Order, RequestId, Slice, SliceWriter, TunnelId, TunnelRequest, TunnelVerb,
};
use crtmp_relay::ConnectionId;

use crate::{
    connection::{Connection, State},
    shared::Shared,
    tunnels::{Message, Place},
};

/// How long a request that brings nothing waits for something to take away. Clients ask again at once, or after a pause
/// of their own: waiting here is both earlier and cheaper. Until it is over a client with one connection cannot send.
const HOLD: Duration = Duration::from_millis(250);

/// A request of HTTP that is held open until there is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The connection that it came by.
    pub(crate) connection: ConnectionId,
    pub(crate) request: RequestId,
}

/// The carrier of a session.
pub(crate) struct Tunnel {
    id: TunnelId,
    opened_from: IpAddr,
    local: SocketAddr,
    bind_address: bool,
    /// It has been said that the session is used from elsewhere, too.
    moved: bool,
    order: Order<Exchange>,
    /// The bytes of the present request, and how many of them have been read.
    input: (Vec<u8>, usize),
    /// The client has closed the session.
    closed: bool,
    /// The answer to the present request as far as there is one: interval and content.
    answer: SliceWriter,
    /// Content that one answer may have.
    room: usize,
    idle: Duration,
    /// Answers that have not left the session yet.
    ready: Vec<Message>,
    _place: Place,
}

/// What is known of a session when it is opened.
pub(crate) struct Opening {
    pub(crate) id: TunnelId,
    pub(crate) from: IpAddr,
    pub(crate) local: SocketAddr,
    pub(crate) bind_address: bool,
    pub(crate) place: Place,
}

impl Tunnel {
    pub(crate) fn new(opening: Opening, limits: &Limits, now: Instant) -> Self {
        let Opening { id, from, local, bind_address, place } = opening;
        Self {
            id,
            opened_from: from,
            local,
            bind_address,
            moved: false,
            order: Order::new(limits.rtmpt_window, limits.http_body, now),
            input: (Vec::new(), 0),
            closed: false,
            answer: SliceWriter::default(),
            room: limits.rtmpt_answer,
            idle: limits.rtmpt_idle.get(),
            ready: Vec::new(),
            _place: place,
        }
    }

    pub(crate) fn id(&self) -> TunnelId {
        self.id
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// What is in an answer that has not gone yet. Of those that have gone the next request says that they have arrived.
    pub(crate) fn unsent(&self) -> u64 {
        self.answer.len() as u64
    }

    pub(crate) fn read(&mut self, into: &mut [u8], now: Instant) -> io::Result<usize> {
        loop {
            let rest = &self.input.0[self.input.1..];
            if !rest.is_empty() {
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                self.input.1 += count;
                return Ok(count);
            }
            if self.closed {
                return Ok(0);
            }
            if !self.take_next(now) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Goes on to the next request, if it is here. The one before is answered first, with what there is.
    fn take_next(&mut self, now: Instant) -> bool {
        if !self.order.has_next() {
            return false;
        }
        self.finish_answer();
        let Some(turn) = self.order.take(now) else { return false };
        if let Some(unheard) = turn.unheard {
            self.append(&unheard);
        }
        self.input = match turn.verb {
            TunnelVerb::Send => (turn.body, 0),
            TunnelVerb::Idle | TunnelVerb::Close => (Vec::new(), 0),
        };
        self.closed |= turn.verb == TunnelVerb::Close;
        true
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut left = self.room.saturating_sub(self.answer.len().saturating_sub(1));
        if !self.order.is_awaited() || left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = left;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let needed = 1 + self.answer.len() + total.min(left);
        if needed > self.answer.capacity() {
            self.answer.grow_to(needed.max(2 * self.answer.capacity()).min(self.room + 1));
        }
        for slice in slices {
            let count = slice.len().min(left);
            self.append(&slice[..count]);
            left -= count;
        }
        Ok(before - left)
    }

    fn append(&mut self, content: &[u8]) {
        if self.answer.is_empty() {
            self.answer.append(&[self.order.interval(true)]);
        }
        self.answer.append(content);
    }

    /// Answers the present request with what there is.
    fn finish_answer(&mut self) {
        if self.order.present().is_none() {
            return;
        }
        if self.answer.is_empty() {
            self.answer.append(&[self.order.interval(false)]);
        }
        let body = std::mem::take(&mut self.answer).finish(0);
        if let Some((exchange, number)) = self.order.answer(body.clone()) {
            let of = Some((self.id, number));
            self.ready.push(Message::Answer { exchange, of, status: 200, body });
        }
    }

    fn refuse(&mut self, exchange: Exchange, status: u16) {
        self.ready.push(Message::Answer { exchange, of: None, status, body: Slice::default() });
    }

    /// Whether the present request is to be answered now. `asks` says that somebody is being asked on whose answer the
    /// content may depend.
    fn is_due(&self, asks: bool, now: Instant) -> bool {
        let Some((verb, since)) = self.order.present().filter(|_| self.order.is_awaited()) else {
            return false;
        };
        let waits = match verb {
            TunnelVerb::Send => asks || self.input.1 < self.input.0.len(),
            TunnelVerb::Idle => true,
            TunnelVerb::Close => false,
        };
        !waits || self.answer.len() > 1 || self.order.has_next() || since + HOLD <= now
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let held = self.order.present().filter(|_| self.order.is_awaited()).map(|(_, since)| since + HOLD);
        [held, self.order.gap_ends(), self.order.idle_ends(self.idle)].into_iter().flatten().min()
    }
}

impl Connection {
    /// A request of the session has come from `peer`. Returns false where that may not use it.
    pub(crate) fn on_tunnel_request(
        &mut self,
        number: u32,
        request: TunnelRequest<Exchange>,
        peer: IpAddr,
        shared: &mut Shared,
    ) -> bool {
        let Some(tunnel) = self.carrier.tunnel() else { return false };
        if peer != tunnel.opened_from {
            if tunnel.bind_address {
                return false;
            }
            if !std::mem::replace(&mut tunnel.moved, true) {
                slog::info!(self.log, "the session is used from another address, too"; "from" => %peer);
            }
        }
        match tunnel.order.offer(number, request, shared.now) {
            Offered::Placed(None) => {}
            Offered::Placed(Some(same)) => tunnel.refuse(same, 400),
            Offered::Again(exchange, body) => {
                let of = Some((tunnel.id, number));
                tunnel.ready.push(Message::Answer { exchange, of, status: 200, body });
            }
            Offered::Stale(exchange) => tunnel.refuse(exchange, 400),
            Offered::Broken(exchange) => {
                tunnel.refuse(exchange, 400);
                self.break_tunnel("a request that is too far ahead: something is missing before it", shared);
            }
        }
        if self.state == State::Open {
            self.on_readable(shared);
        }
        self.wants_flush(shared);
        true
    }

    fn break_tunnel(&mut self, rule: &str, shared: &mut Shared) {
        self.fail(&Error::peer("rtmpt", rule), shared);
        self.state = State::Gone;
    }

    /// Whoever held a request open has left, or sends nothing more: it is not waited for.
    pub(crate) fn on_tunnel_left(&mut self, exchange: Exchange, shared: &mut Shared) {
        let Some(tunnel) = self.carrier.tunnel() else { return };
        if tunnel.order.leave(|other| *other == exchange).is_some() {
            // One that has only closed its side still gets something. Nothing of it has been kept as the answer.
            let body = [tunnel.order.interval(false)].into();
            tunnel.ready.push(Message::Answer { exchange, of: None, status: 200, body });
            self.wants_flush(shared);
        }
    }

    pub(crate) fn on_tunnel_unheard(&mut self, number: u32) {
        if let Some(tunnel) = self.carrier.tunnel() {
            tunnel.order.unheard(number);
        }
    }

    /// Puts what there is to send into the answer that somebody waits for, and answers where that is due.
    pub(crate) fn flush_tunnel(&mut self, shared: &mut Shared) {
        let Some(tunnel) = self.carrier.tunnel() else { return };
        if self.state != State::Open {
            // What still comes is not read; those who ask still get what is left.
            while tunnel.take_next(shared.now) {}
            tunnel.input = (Vec::new(), 0);
        }
        if !self.writable && tunnel.order.is_awaited() {
            self.writable = true;
            self.stalled_since = None;
        }
        self.send(shared);
        let asks = self.questions.len() > 0 || (self.is_sound() && self.chain.is_paused());
        let over = self.state != State::Open;
        let Some(tunnel) = self.carrier.tunnel() else { return };
        if tunnel.is_due(asks && !over, shared.now) || (over && tunnel.order.is_awaited()) {
            tunnel.finish_answer();
            if self.state == State::Open {
                self.stalled_since = Some(shared.now);
                self.rest(shared);
            }
        }
        self.post_answers(shared);
    }

    fn post_answers(&mut self, shared: &mut Shared) {
        if let Some(tunnel) = self.carrier.tunnel() {
            shared.tunnelled.extend(tunnel.ready.drain(..));
        }
    }

    /// Time has passed for the tunnel, if the connection has one.
    pub(crate) fn on_tunnel_timeout(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let Some(tunnel) = self.carrier.tunnel() else { return };
        if shared.stood_still {
            tunnel.order.forgive(now);
        }
        let idle = tunnel.idle;
        if tunnel.order.gap_ends().is_some_and(|at| at <= now) {
            self.break_tunnel("a request is missing, and those behind it have waited long enough", shared);
        } else if tunnel.order.idle_ends(idle).is_some_and(|at| at <= now) {
            let idle = idle.as_secs_f64();
            let rule = format_args!("no request within rtmptIdle = {idle} seconds");
            self.fail(&Error::timeout("rtmpt", rule), shared);
            self.state = State::Gone;
        }
    }

    /// The connection is gone: whoever waits for its answers gets what there is. Returns the session that is no more.
    pub(crate) fn end_tunnel(&mut self, shared: &mut Shared) -> Option<TunnelId> {
        let tunnel = self.carrier.tunnel()?;
        tunnel.finish_answer();
        for exchange in tunnel.order.all() {
            tunnel.refuse(exchange, 400);
        }
        let id = tunnel.id();
        self.post_answers(shared);
        Some(id)
    }
}
