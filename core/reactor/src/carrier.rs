//! What a connection's bytes travel by: a socket of its own, or the requests of a tunnel.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use socket2::SockRef;

use crate::{system, tunnel::Tunnel};

/// The carrier of a connection. Both kinds are read until there is nothing more, and written to until they are full.
pub(crate) enum Carrier {
    Tcp(TcpStream),
    Tunnel(Box<Tunnel>),
}

impl Carrier {
    pub(crate) fn read(&mut self, into: &mut [u8], now: Instant) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Tunnel(tunnel) => tunnel.read(into, now),
        }
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(socket), [one]) => socket.write(one),
            // sendmsg: writev takes a lock on the file besides.
            (Self::Tcp(socket), many) => SockRef::from(&*socket).send_vectored(many),
            (Self::Tunnel(tunnel), slices) => tunnel.write(slices),
        }
    }

    pub(crate) fn tunnel(&mut self) -> Option<&mut Tunnel> {
        match self {
            Self::Tcp(_) => None,
            Self::Tunnel(tunnel) => Some(tunnel),
        }
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel(_))
    }

    /// Bytes that have been written and have not reached the far end, as far as anybody knows.
    pub(crate) fn unsent(&self) -> io::Result<u64> {
        match self {
            Self::Tcp(socket) => system::unsent(socket),
            Self::Tunnel(tunnel) => Ok(tunnel.unsent()),
        }
    }

    /// How long ago the far end acknowledged anything. A tunnel's clients are asked for nothing: they come themselves.
    pub(crate) fn unheard(&self) -> io::Result<Duration> {
        match self {
            Self::Tcp(socket) => system::unheard(socket),
            Self::Tunnel(_) => Ok(Duration::ZERO),
        }
    }

    /// The address that the far end came to; none where the system does not say.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Tunnel(tunnel) => Some(tunnel.local()),
        }
    }

    /// When time passes for it.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Tcp(_) => None,
            Self::Tunnel(tunnel) => tunnel.poll_timeout(),
        }
    }

    /// Nothing more will be written. Returns whether the far end may still have something to say that must be read.
    pub(crate) fn finish(&mut self) -> bool {
        match self {
            Self::Tcp(socket) => {
                let _ = socket.shutdown(Shutdown::Write);
                true
            }
            Self::Tunnel(_) => false,
        }
    }

    /// Bounds what the carrier holds of what has been written. An answer of a tunnel has a bound of its own.
    pub(crate) fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).set_send_buffer_size(bytes),
            Self::Tunnel(_) => Ok(()),
        }
    }

    /// Has the system acknowledge at once what has come.
    #[cfg(target_os = "linux")]
    pub(crate) fn acknowledge(&self) {
        if let Self::Tcp(socket) = self {
            // It only saves time: where it fails, the connection is slower to set up.
            let _ = SockRef::from(socket).set_tcp_quickack(true);
        }
    }
}
