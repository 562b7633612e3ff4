//! TLS as a layer: ciphertext to the far side, content to the near one.
//!
//! A connection that has come is read up to the end of its ClientHello, which costs next to nothing; for what follows,
//! the arithmetic with the private key, the layer asks leave ([`Cx::grant`]). A connection that the server makes asks for it
//! when the far side answers: what follows is the look at its certificates. Nearer layers hear nothing, not even that
//! the carrier is connected, before the handshake is done.

use std::{
    io::{self, BufRead, IoSlice, Write},
    mem,
    sync::Arc,
    time::Instant,
};

use crtmp_media::{Cx, Error, Layer, LayerSettings, Limits, OutQueue};
use rustls::{
    ClientConnection, Connection,
    server::{Accepted, Acceptor},
};

use crate::{
    BUFFER, PROTOCOL,
    client::{ClientTrust, server_name},
    server::ServerKeys,
    words,
};

/// What every TLS connection begins with: a record of a handshake.
const HANDSHAKE: u8 = 0x16;

/// Whether TLS begins with this byte.
pub const fn begins(byte: u8) -> bool {
    byte == HANDSHAKE
}

/// Slices of content that go into records together.
const SLICES: usize = 64;

/// TLS of one connection.
pub struct Tls {
    state: State,
    limits: Arc<Limits>,
    /// The arithmetic of the handshake may be done.
    granted: bool,
    /// When the handshake must be done; none: it is, or the carrier is not connected.
    until: Option<Instant>,
    /// Bytes in a row that have brought no content.
    empty: usize,
}

enum State {
    /// A client is to say what it wants. The flag: its first byte was one of TLS.
    Greeting(Box<Acceptor>, Arc<ServerKeys>, bool),
    /// The client has said it, and there was no leave to go on. The last byte of what it said has been left with the
    /// chain, which offers it again.
    Waiting(Box<Accepted>, Arc<ServerKeys>),
    /// The handshake goes on.
    Shaking(Box<Connection>),
    /// Content passes.
    Open(Box<Connection>),
    /// The far side sends no more; ours may still say something.
    HalfOpen(Box<Connection>),
    /// Nothing passes any more.
    Over,
}

impl Tls {
    /// The server's side, of a connection that came at `now`.
    ///
    /// # Errors
    ///
    /// If nothing has been prepared for it.
    pub fn inbound(settings: &LayerSettings, now: Instant) -> Result<Self, String> {
        let keys = settings.prepared::<ServerKeys>().ok_or("no certificate has been prepared")?;
        let until = now.checked_add(settings.limits.handshake_timeout.get());
        let state = State::Greeting(Box::default(), keys, false);
        Ok(Self { state, limits: settings.limits.clone(), granted: false, until, empty: 0 })
    }

    /// The client's side, of a connection that is being made.
    ///
    /// # Errors
    ///
    /// If nothing has been prepared for it, or its host has no name that a certificate may have.
    pub fn outbound(settings: &LayerSettings) -> Result<Self, String> {
        let trust = settings.prepared::<ClientTrust>().ok_or("nothing has been prepared for TLS")?;
        let connection = ClientConnection::new(trust.config(), server_name(settings)?);
        let mut connection = connection.map_err(|error| words::of(&error))?;
        connection.set_buffer_limit(Some(BUFFER));
        let state = State::Shaking(Box::new(Connection::Client(connection)));
        Ok(Self { state, limits: settings.limits.clone(), granted: false, until: None, empty: 0 })
    }

    /// Reads what a client wants. Returns how many bytes it took.
    fn greet(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let State::Greeting(acceptor, _, begun) = &mut self.state else { return Ok(0) };
        if let (false, Some(first)) = (*begun, data.first())
            && *first != HANDSHAKE
        {
            self.state = State::Over;
            return Err(Error::peer(PROTOCOL, without_tls(*first)));
        }
        *begun = true;
        let mut rest = data;
        let accepted = loop {
            let before = rest.len();
            let read = acceptor.read_tls(&mut rest);
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) if read.is_ok() && rest.len() < before => {
                    if rest.is_empty() {
                        self.is_empty(data.len())?;
                        return Ok(data.len());
                    }
                }
                Ok(None) => {
                    self.state = State::Over;
                    return Err(Error::peer(PROTOCOL, "a ClientHello of more than 64 KiB"));
                }
                Err((error, mut alert)) => {
                    cx.out().write_with(|out| drop(alert.write_all(out)));
                    return Err(self.fail(&error));
                }
            }
        };
        let taken = data.len() - rest.len();
        let State::Greeting(_, keys, _) = mem::replace(&mut self.state, State::Over) else {
            return Ok(taken);
        };
        self.state = State::Waiting(Box::new(accepted), keys);
        if !self.is_granted(cx) {
            return Ok(taken - 1);
        }
        self.begin(cx)?;
        Ok(taken + self.receive(rest, cx)?)
    }

    /// Answers a client.
    fn begin(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let State::Waiting(accepted, keys) = mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        match accepted.into_connection(keys.config()) {
            Ok(mut connection) => {
                connection.set_buffer_limit(Some(BUFFER));
                self.state = State::Shaking(Box::new(Connection::Server(connection)));
                Ok(())
            }
            Err((error, mut alert)) => {
                cx.out().write_with(|out| drop(alert.write_all(out)));
                Err(self.fail(&error))
            }
        }
    }

    /// Takes ciphertext, hands on what is in it, and sends what TLS itself has to say.
    fn receive(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut rest = data;
        while let State::Shaking(connection) | State::Open(connection) = &mut self.state {
            let processed = connection.process_new_packets();
            flush(connection, cx.out());
            let processed = match processed {
                Ok(processed) => processed,
                Err(error) => return Err(self.fail(&error)),
            };
            if matches!(self.state, State::Shaking(_)) {
                self.shaken(cx)?;
            }
            self.deliver(processed.plaintext_bytes_to_read(), cx)?;
            if processed.peer_has_closed() {
                self.state = match mem::replace(&mut self.state, State::Over) {
                    State::Shaking(connection) | State::Open(connection) => State::HalfOpen(connection),
                    other => other,
                };
                cx.end();
            }
            let (State::Shaking(connection) | State::Open(connection)) = &mut self.state else { break };
            if rest.is_empty() {
                break;
            }
            let before = rest.len();
            let read = connection.read_tls(&mut rest);
            if read.is_err() || rest.len() == before {
                return Err(self.fail(&rustls::Error::General("a message that is too long".to_owned())));
            }
            self.is_empty(before - rest.len())?;
        }
        // What follows the end is nothing.
        Ok(data.len())
    }

    /// Lets nearer layers speak when the handshake is done.
    fn shaken(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        match mem::replace(&mut self.state, State::Over) {
            State::Shaking(connection) if !connection.is_handshaking() => {
                self.state = State::Open(connection);
                self.until = None;
                cx.open()
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Hands on content.
    fn deliver(&mut self, mut left: usize, cx: &mut Cx<'_>) -> Result<(), Error> {
        let State::Open(connection) = &mut self.state else { return Ok(()) };
        let mut reader = connection.reader();
        while left > 0 {
            let Ok(content) = reader.fill_buf() else { break };
            let count = content.len();
            if count == 0 {
                break;
            }
            self.empty = 0;
            cx.deliver(content)?;
            reader.consume(count);
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// So many bytes have come, and no content yet.
    fn is_empty(&mut self, count: usize) -> Result<(), Error> {
        self.empty = self.empty.saturating_add(count);
        if self.empty <= self.limits.tls_empty_bytes {
            return Ok(());
        }
        self.state = State::Over;
        let most = self.limits.tls_empty_bytes;
        Err(Error::peer(PROTOCOL, format!("more than tlsEmptyBytes = {most} bytes in a row without content")))
    }

    /// Whether the arithmetic of the handshake may be done: asked for once, and then until there is leave.
    fn is_granted(&mut self, cx: &mut Cx<'_>) -> bool {
        self.granted = self.granted || cx.grant();
        self.granted
    }

    fn fail(&mut self, error: &rustls::Error) -> Error {
        self.state = State::Over;
        Error::peer(PROTOCOL, words::of(error))
    }
}

impl Layer for Tls {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        // A client speaks first; a server waits, and nearer layers with it.
        if let State::Shaking(connection) = &mut self.state {
            flush(connection, cx.out());
            self.until = cx.now().checked_add(self.limits.handshake_timeout.get());
        }
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if matches!(self.state, State::Waiting(..) | State::Shaking(_)) && !self.is_granted(cx) {
            return Ok(0);
        }
        match self.state {
            State::Greeting(..) => self.greet(data, cx),
            State::Waiting(..) => {
                self.begin(cx)?;
                let (_, rest) = data.split_at(data.len().min(1));
                Ok(data.len() - rest.len() + self.receive(rest, cx)?)
            }
            State::Shaking(_) | State::Open(_) => self.receive(data, cx),
            State::HalfOpen(_) | State::Over => Ok(data.len()),
        }
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        let (State::Open(connection) | State::HalfOpen(connection)) = &mut self.state else {
            if matches!(self.state, State::Over) {
                near.advance(near.len());
            }
            return Ok(());
        };
        while !near.is_empty() {
            let (mut slices, mut filled) = ([IoSlice::new(&[]); SLICES], 0);
            for (place, slice) in slices.iter_mut().zip(near.slices()) {
                *place = IoSlice::new(slice);
                filled += 1;
            }
            let count = connection.writer().write_vectored(&slices[..filled]).unwrap_or_default();
            flush(connection, far);
            if count == 0 {
                // It has failed, and nobody could read what is left.
                near.advance(near.len());
            }
            near.advance(count);
        }
        Ok(())
    }

    fn on_close(&mut self, far: &mut OutQueue) {
        if let State::Shaking(connection) | State::Open(connection) | State::HalfOpen(connection) =
            &mut self.state
        {
            connection.send_close_notify();
            flush(connection, far);
        }
    }

    fn on_timeout(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        let seconds = self.limits.handshake_timeout.get().as_secs_f64();
        let rule = format!("no handshake within handshakeTimeout = {seconds} seconds");
        self.until = None;
        Err(Error::timeout(PROTOCOL, rule))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }
}

/// What came to a port for TLS without it.
fn without_tls(first: u8) -> String {
    let what = match first {
        3 => "RTMP without TLS: this port is for rtmps://".to_owned(),
        6 | 8 | 9 => "RTMPE: this port is for rtmps://".to_owned(),
        b'A'..=b'Z' => "HTTP without TLS: this port is for https://".to_owned(),
        other => format!("the first byte is 0x{other:02X}"),
    };
    format!("not TLS, but {what}")
}

/// Moves records to where they are sent.
fn flush(connection: &mut Connection, out: &mut OutQueue) {
    while connection.wants_write() {
        // A queue takes everything.
        let _ = connection.write_tls(&mut Sink(out));
    }
}

/// A queue that is written to.
struct Sink<'a>(&'a mut OutQueue);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_with(|out| out.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        self.0.write_with(|out| {
            out.reserve(total);
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
        });
        Ok(total)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
