//! Connections that the server makes itself.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crtmp_media::{Command, Error, Limits};
use crtmp_relay::ConnectionId;
use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use crate::{
    carrier::Carrier,
    connection::{Connection, State},
    control::{Acceptor, Application, Caller},
    observe::Sight,
    shared::Shared,
};

/// How long a connection may take to be made.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Told what has become of a connection.
pub(crate) type Done = Box<dyn FnOnce(Result<ConnectionId, String>) + Send>;

/// How long a connection that the server made may be silent before the system asks whether its far end is still there,
/// how long until it asks again, and how often it asks for nothing.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 2);

/// How long a far end that we send to may acknowledge nothing, not even that it has no room.
pub(crate) const UNHEARD: Duration = Duration::from_secs(10);

/// What is set on the socket of a connection that the server makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SocketOptions {
    /// Routers that a packet may pass (IP TTL, or hop limit); none: as the system says.
    pub ttl: Option<u8>,
    /// The type of service (IP TOS, or traffic class); none: as the system says.
    pub tos: Option<u8>,
}

/// Begins to connect.
pub(crate) fn connect(address: SocketAddr, options: SocketOptions, limits: &Limits) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let system = SockRef::from(&socket);
    // Nobody tells us of a far end that has lost its power, and a stream that is awaited sends nothing itself.
    let (idle, interval, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(times);
    system.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    system.set_tcp_user_timeout(Some(limits.player_cut.get()))?;
    let SocketOptions { ttl, tos } = options;
    match address {
        SocketAddr::V4(_) => {
            ttl.map_or(Ok(()), |ttl| system.set_ttl_v4(ttl.into()))?;
            tos.map_or(Ok(()), |tos| system.set_tos_v4(tos.into()))?;
        }
        SocketAddr::V6(_) => {
            ttl.map_or(Ok(()), |ttl| system.set_unicast_hops_v6(ttl.into()))?;
            #[cfg(target_os = "linux")]
            tos.map_or(Ok(()), |tos| system.set_tclass_v6(tos.into()))?;
        }
    }
    Ok(socket)
}

/// The acceptor of a connection that nobody accepted: it says which chain it has and whose it is.
pub(crate) fn caller(id: ConnectionId, acceptor: &Acceptor) -> Arc<Caller> {
    let (peer, local) = (acceptor.address, acceptor.address);
    Arc::new(Caller { connection: id, peer, local, chain: acceptor.chain.clone(), info: Default::default() })
}

impl Connection {
    /// Makes it a connection of `application` that is not there yet.
    pub(crate) fn begin_outbound(&mut self, application: Arc<Application>, done: Done, shared: &Shared) {
        self.caller = Some(caller(self.id, &self.acceptor));
        self.connecting = Some((done, shared.now + CONNECT_TIME));
        self.owner = Some(application);
        self.outbound = true;
    }

    /// Whether the connection is there now; looks when the socket says that it is writable or has failed.
    pub(crate) fn settle_outbound(&mut self, shared: &mut Shared) {
        let Carrier::Tcp(socket) = &self.carrier else { return };
        let failed = match socket.take_error() {
            Ok(None) => match socket.peer_addr() {
                Ok(_) => None,
                // A spurious event: it is still on its way.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => Some(error),
            },
            Ok(Some(error)) | Err(error) => Some(error),
        };
        let Some((done, _)) = self.connecting.take() else { return };
        match failed {
            None => {
                // A far end that takes connections and ends them at once is tried again and again.
                if let Some(suppressed) = shared.gate.pass(self.peer.ip(), ("connected", "tcp"), shared.now) {
                    slog::info!(self.log, "connected to {}", self.peer; "suppressed" => suppressed);
                }
                shared.counters.connected += 1;
                self.see_created(shared);
                self.see_connection(Sight::Registered, shared);
                self.tune(shared);
                done(Ok(self.id));
                self.on_open(shared);
                self.on_readable(shared);
            }
            Some(error) => self.give_up(done, &format!("cannot connect to {}: {error}", self.peer), shared),
        }
    }

    /// What its application says of connections holds for this one, too.
    fn tune(&mut self, shared: &mut Shared) {
        let Some(owner) = self.owner.clone() else { return };
        if let Some(bytes) = owner.send_buffer {
            shared.set_send_buffer(&self.carrier, bytes);
        }
        let (ping_interval, command_bytes) = (owner.ping_interval, owner.command_bytes);
        if ping_interval.is_some() || command_bytes.is_some() {
            self.order(
                Command::Tune { ping_interval, command_bytes, check_bandwidth: false, server_ip: None },
                shared,
            );
        }
    }

    /// Whether the far end of a connection that the server made is not there any more, as far as can be told by what it
    /// acknowledges. One that is there and has no room says so.
    pub(crate) fn is_unheard(&self) -> bool {
        self.outbound
            && self.carrier.unsent().is_ok_and(|bytes| bytes > 0)
            && self.carrier.unheard().is_ok_and(|time| time >= UNHEARD)
    }

    /// The far end is lost.
    pub(crate) fn lose(&mut self, shared: &mut Shared) {
        let rule = format!("the far end has acknowledged nothing for {} s", UNHEARD.as_secs());
        self.fail(&Error::timeout("tcp", rule), shared);
        self.state = State::Gone;
        self.unsettled = true;
    }

    /// The time to connect is over.
    pub(crate) fn expire_outbound(&mut self, shared: &mut Shared) {
        if let Some((done, _)) = self.connecting.take() {
            let seconds = CONNECT_TIME.as_secs();
            let text = format!("cannot connect to {}: no answer within {seconds} s", self.peer);
            self.give_up(done, &text, shared);
        }
    }

    /// It will not be there: whoever waits for it is told.
    pub(crate) fn give_up(&mut self, done: Done, text: &str, shared: &mut Shared) {
        // Whoever waits for it says so where it is worth more: some try for ever.
        if let Some(suppressed) = shared.gate.pass(self.peer.ip(), ("unconnected", "tcp"), shared.now) {
            slog::debug!(self.log, "{text}"; "suppressed" => suppressed);
        }
        // Its application has heard nothing of it but this.
        self.owner = None;
        self.caller = None;
        self.state = State::Gone;
        done(Err(text.to_owned()));
        self.wants_flush(shared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_set_on_the_socket() {
        let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let options = SocketOptions { ttl: Some(9), tos: Some(0x10) };
        let socket = connect(listener.local_addr().unwrap(), options, &Limits::default()).unwrap();
        let system = SockRef::from(&socket);
        assert_eq!((system.ttl_v4().unwrap(), system.tos_v4().unwrap()), (9, 0x10));
        assert!(system.keepalive().unwrap() && socket.nodelay().unwrap());
        let plain =
            connect(listener.local_addr().unwrap(), SocketOptions::default(), &Limits::default()).unwrap();
        assert_ne!(SockRef::from(&plain).ttl_v4().unwrap(), 9);
    }
}
