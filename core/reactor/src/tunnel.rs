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
        if let Some((exchanges, number)) = self.order.answer(body.clone()) {
            let of = Some((self.id, number));
            let answer = |exchange| Message::Answer { exchange, of, status: 200, body: body.clone() };
            self.ready.extend(exchanges.into_iter().map(answer));
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
            Offered::Placed => {}
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

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use super::*;
    use crate::tunnels::Tunnels;

    fn tunnel(limits: &Limits, now: Instant) -> Tunnel {
        let (from, local) = (Ipv4Addr::LOCALHOST.into(), (Ipv4Addr::LOCALHOST, 80).into());
        let place = Arc::<Tunnels>::default().place(from, 1).unwrap();
        let id = TunnelId { secret: [1; 16], worker: 0 };
        Tunnel::new(Opening { id, from, local, bind_address: false, place }, limits, now)
    }

    fn offer(tunnel: &mut Tunnel, number: u32, verb: TunnelVerb, body: &[u8], now: Instant) {
        let exchange = Exchange { connection: ConnectionId(1), request: RequestId(number) };
        let request = TunnelRequest { verb, body: body.to_vec(), exchange };
        assert_eq!(tunnel.order.offer(number, request, now), Offered::Placed);
    }

    fn read(tunnel: &mut Tunnel, size: usize, now: Instant) -> Option<Vec<u8>> {
        let mut buffer = vec![0; size];
        let count = tunnel.read(&mut buffer, now).ok()?;
        buffer.truncate(count);
        Some(buffer)
    }

    /// The answers that have gone: to which request, and what.
    fn answers(tunnel: &mut Tunnel) -> Vec<(u32, Vec<u8>)> {
        let answers = tunnel.ready.drain(..).filter_map(|message| match message {
            Message::Answer { exchange, body, .. } => Some((exchange.request.0, body.to_vec())),
            _ => None,
        });
        answers.collect()
    }

    #[test]
    fn a_tunnel_is_read_request_by_request_and_is_empty_between() {
        let now = Instant::now();
        let mut tunnel = tunnel(&Limits::default(), now);
        assert_eq!(read(&mut tunnel, 9, now), None);
        offer(&mut tunnel, 0, TunnelVerb::Send, b"abcde", now);
        offer(&mut tunnel, 1, TunnelVerb::Idle, b"\0", now);
        offer(&mut tunnel, 2, TunnelVerb::Send, b"fg", now);
        assert_eq!(read(&mut tunnel, 3, now).unwrap(), b"abc");
        assert_eq!(read(&mut tunnel, 3, now).unwrap(), b"de");
        assert_eq!(answers(&mut tunnel), [], "the first is present");
        assert_eq!(read(&mut tunnel, 3, now).unwrap(), b"fg");
        assert_eq!(answers(&mut tunnel), [(0, vec![1]), (1, vec![3])]);
        assert_eq!(read(&mut tunnel, 3, now), None);
        offer(&mut tunnel, 3, TunnelVerb::Close, b"\0", now);
        assert_eq!(read(&mut tunnel, 3, now).unwrap(), b"", "closed");
        assert!(tunnel.is_due(true, now));
    }

    #[test]
    fn a_tunnel_is_full_unless_somebody_waits_and_at_its_limit() {
        let now = Instant::now();
        let limit = 4096;
        for (size, taken) in [(limit - 1, limit - 1), (limit, limit), (limit + 1, limit)] {
            let mut tunnel = tunnel(&Limits { rtmpt_answer: limit, ..Limits::default() }, now);
            assert!(tunnel.write(&[IoSlice::new(b"x")]).is_err(), "nobody waits");
            offer(&mut tunnel, 0, TunnelVerb::Idle, b"\0", now);
            assert!(tunnel.write(&[IoSlice::new(b"x")]).is_err(), "it is not the present one yet");
            read(&mut tunnel, 1, now);
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let (first, second) = bytes.split_at(100);
            assert_eq!(tunnel.write(&[IoSlice::new(first), IoSlice::new(second)]).unwrap(), taken);
            assert_eq!(tunnel.write(&[IoSlice::new(b"x")]).is_ok(), taken < limit);
            tunnel.finish_answer();
            let (_, answer) = answers(&mut tunnel).remove(0);
            assert_eq!((answer[0], &answer[1..=taken]), (1, &bytes[..taken]));
            assert!(answer.len() <= limit + 1);
        }
    }

    #[test]
    fn who_brings_something_is_answered_at_once_and_who_asks_when_there_is_something() {
        let now = Instant::now();
        let late = now + HOLD;
        let mut tunnel = tunnel(&Limits::default(), now);
        offer(&mut tunnel, 0, TunnelVerb::Send, b"ab", now);
        assert_eq!(read(&mut tunnel, 1, now).unwrap(), b"a");
        assert!(!tunnel.is_due(false, now), "not all has been read");
        read(&mut tunnel, 1, now);
        assert!(tunnel.is_due(false, now));
        assert!(
            !tunnel.is_due(true, now) && tunnel.is_due(true, late),
            "the answer may depend on somebody's"
        );
        tunnel.finish_answer();
        offer(&mut tunnel, 1, TunnelVerb::Idle, b"\0", now);
        read(&mut tunnel, 1, now);
        assert!(!tunnel.is_due(false, now) && tunnel.is_due(false, late));
        assert_eq!(tunnel.poll_timeout(), Some(late));
        tunnel.write(&[IoSlice::new(b"x")]).unwrap();
        assert!(tunnel.is_due(false, now));
        tunnel.finish_answer();
        offer(&mut tunnel, 2, TunnelVerb::Idle, b"\0", now);
        read(&mut tunnel, 1, now);
        offer(&mut tunnel, 3, TunnelVerb::Send, b"x", now);
        assert!(tunnel.is_due(false, now), "the next has come");
    }
}
