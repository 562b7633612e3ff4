//! Connections that a proxy makes for others: what it says first, by the PROXY protocol, is for whom.
//!
//! Until that has come nobody knows whose connection it is: no application is asked, nobody is told of it, and it counts
//! for no address. The header is looked at where it lies, in the socket, and taken out when it is whole, so that what
//! follows it is read like that of every other connection.

mod header;

use std::{io, net::SocketAddr, sync::atomic::Ordering, time::Instant};

use crtmp_media::Error;

use self::header::{Header, LONGEST};
use crate::{
    admission::Refused,
    carrier::Carrier,
    connection::Connection,
    control::{Acceptor, canonical},
    shared::Shared,
};

/// Where errors of proxies come from.
const PROTOCOL: &str = "proxy";

/// The body of a fuzz target: the header in any bytes.
pub(crate) fn fuzz(data: &[u8]) {
    header::fuzz(data);
}

impl Connection {
    /// Reads what the proxy says of the peer. Returns whether that is known now.
    pub(crate) fn read_header(&mut self, shared: &mut Shared) -> bool {
        let mut scratch = std::mem::take(&mut shared.scratch);
        let result = self.take_header(&mut scratch);
        shared.scratch = scratch;
        // Whatever has come but a part is the end of this.
        self.is_proxied = matches!(result, Ok(None)) && !self.half_closed;
        match result {
            Ok(Some(Ok(Header { source, .. }))) => self.begin(source, shared),
            Ok(Some(Err(why))) => {
                let rule = format!(
                    "no header of the PROXY protocol, which proxyProtocol demands of this address: {why}"
                );
                self.fail(&Error::peer(PROTOCOL, rule), shared);
            }
            Ok(None) if self.half_closed => self.end(shared, "closed by the peer"),
            // The system says when more has come.
            Ok(None) => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end(shared, "closed by the peer");
            }
            Err(error) => self.end(shared, &format!("the socket failed: {error}")),
        }
        !self.is_proxied
    }

    /// Takes the header out of the socket once it is whole.
    fn take_header(&mut self, scratch: &mut [u8]) -> io::Result<Option<Result<Header, &'static str>>> {
        let Carrier::Tcp(socket) = &mut self.carrier else { return Ok(Some(Err("it travels in a tunnel"))) };
        let room = scratch.len().min(LONGEST);
        let count = match socket.peek(&mut scratch[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match header::read(&scratch[..count]) {
            Ok(None) => Ok(None),
            Ok(Some(header)) => {
                io::Read::read_exact(socket, &mut scratch[..header.length])?;
                self.bytes_in += header.length as u64;
                Ok(Some(Ok(header)))
            }
            Err(why) => Ok(Some(Err(why))),
        }
    }

    /// It is known whose connection it is: it begins like every other.
    fn begin(&mut self, source: Option<SocketAddr>, shared: &mut Shared) {
        if let Some(peer) = source {
            let proxy = std::mem::replace(&mut self.peer, peer);
            let log = shared.logger(self.id, &self.acceptor, peer);
            self.log = log.new(slog::o!("proxy" => proxy.to_string()));
        }
        if let Err(refused) = self.ticket.belong_to(canonical(self.peer)) {
            refuse(refused, self.peer, &self.acceptor, shared);
            return self.end(shared, "refused by a limit");
        }
        self.acceptor.counts.accepted.fetch_add(1, Ordering::Relaxed);
        slog::debug!(self.log, "accepted");
        self.see_created(shared);
        self.on_accepted(shared);
        self.wants_flush(shared);
    }

    /// Until when the header must have come.
    pub(crate) fn header_until(&self, shared: &Shared) -> Option<Instant> {
        self.opened.checked_add(shared.limits.handshake_timeout.get())
    }

    /// The time of the header may be over.
    pub(crate) fn expire_header(&mut self, shared: &mut Shared) {
        if self.header_until(shared).is_some_and(|until| until <= shared.now) {
            self.is_proxied = false;
            let seconds = shared.limits.handshake_timeout.get().as_secs_f64();
            let rule = format!("no whole header of the PROXY protocol within handshakeTimeout = {seconds} s");
            self.fail(&Error::timeout(PROTOCOL, rule), shared);
        }
    }
}

/// Counts a connection that a limit refuses, and says so once in a while.
pub(crate) fn refuse(refused: Refused, peer: SocketAddr, acceptor: &Acceptor, shared: &mut Shared) {
    shared.counters.refused += 1;
    acceptor.counts.dropped.fetch_add(1, Ordering::Relaxed);
    let Refused(limit, value) = refused;
    if let Some(suppressed) = shared.gate.pass(canonical(peer), ("refused", limit), shared.now) {
        slog::warn!(shared.log, "refused a connection: {limit} = {value} is reached";
            "peer" => %peer, "suppressed" => suppressed);
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
