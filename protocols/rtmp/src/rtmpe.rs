//! RTMPE as layers of a chain: the encrypted handshake with the far side, then all bytes of the near side enciphered.
//!
//! Nearer to them stands RTMP behind the handshake: [`InboundRtmp::inner`](crate::layer::InboundRtmp::inner),
//! [`OutboundRtmp::inner`](crate::layer::OutboundRtmp::inner). What RTMPE is worth says
//! [`EncryptedHandshake`]'s module: it hides, it does not protect.

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{Cx, Error, Layer, Limits, OutQueue, Piece};

use crate::handshake::{Ciphers, EXPONENT, EncryptedHandshake, RANDOM};

const PROTOCOL: &str = "rtmpe";

/// Bytes that are deciphered before they are handed on.
const INCOMING: usize = 4096;

/// Bytes of a shared packet that are copied and enciphered in one piece.
const OUTGOING: usize = 16 * 1024;

/// The server's side.
pub struct InboundRtmpe {
    validate: bool,
    timeout: Timeout,
    state: State,
}

impl InboundRtmpe {
    /// The layer of a connection that came at `now`. `validate`: a client is refused that signs wrongly.
    pub fn new(limits: Arc<Limits>, validate: bool, now: Instant) -> Self {
        let timeout = Timeout { since: now, time: limits.handshake_timeout.get() };
        Self { validate, timeout, state: State::Fresh }
    }
}

impl Layer for InboundRtmpe {
    /// Nothing is said before the handshake is done.
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if let State::Fresh = self.state {
            let (random, exponent) = random(cx);
            let handshake = EncryptedHandshake::server(self.validate, &random, &exponent);
            self.state = State::Shaking(Box::new(handshake));
        }
        self.state.on_data(data, cx)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        self.state.on_send(near, far);
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.timeout.check(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if let State::Open(_) = self.state { None } else { self.timeout.at() }
    }
}

/// The client's side.
pub struct OutboundRtmpe {
    timeout: Timeout,
    state: State,
}

impl OutboundRtmpe {
    /// The layer of a connection that is being made at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let timeout = Timeout { since: now, time: limits.handshake_timeout.get() };
        Self { timeout, state: State::Fresh }
    }
}

impl Layer for OutboundRtmpe {
    /// Begins the handshake, once there is leave to make a key; the nearer layer may speak when it is done.
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if !cx.grant() {
            return Ok(());
        }
        let (random, exponent) = random(cx);
        let handshake = EncryptedHandshake::client(&random, &exponent);
        cx.out().write_with(|out| handshake.start(out));
        self.state = State::Shaking(Box::new(handshake));
        self.timeout.since = cx.now();
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.state.on_data(data, cx)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        self.state.on_send(near, far);
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.timeout.check(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if let State::Shaking(_) = self.state { self.timeout.at() } else { None }
    }
}

/// How far a side is.
enum State {
    /// The client has not come yet, or the connection to the server is not there.
    Fresh,
    Shaking(Box<EncryptedHandshake>),
    Open(Box<Ciphers>),
}

impl State {
    /// Takes what has come. The costly step of the handshake waits for leave.
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        if let Self::Shaking(handshake) = self {
            if handshake.costly_after().is_some_and(|count| count <= data.len()) && !cx.grant() {
                return Ok(0);
            }
            let mut answer = Vec::new();
            let result = handshake.input(data, &mut answer);
            cx.out().write_with(|out| out.append(&mut answer));
            let (count, done) =
                result.map_err(|error| Error::peer(PROTOCOL, format!("handshake: {error}")))?;
            used = count;
            if let Some(ciphers) = done {
                *self = Self::Open(Box::new(ciphers));
                cx.open()?;
            }
        }
        if let Self::Open(ciphers) = self {
            used += decipher(ciphers, &data[used..], cx)?;
        }
        Ok(used)
    }

    /// Enciphers what the near side says; what it says too early is lost.
    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) {
        match self {
            Self::Open(ciphers) => encipher(ciphers, near, far),
            Self::Fresh | Self::Shaking(_) => near.advance(near.len()),
        }
    }
}

/// How long a handshake may take.
struct Timeout {
    since: Instant,
    time: Duration,
}

impl Timeout {
    fn at(&self) -> Option<Instant> {
        self.since.checked_add(self.time)
    }

    /// Called when the time of an unfinished handshake is over.
    fn check(&self, cx: &Cx<'_>) -> Result<(), Error> {
        if self.at().is_none_or(|at| cx.now() < at) {
            return Ok(());
        }
        let seconds = self.time.as_secs_f64();
        Err(Error::timeout(PROTOCOL, format!("no whole handshake within handshakeTimeout = {seconds} s")))
    }
}

fn random(cx: &mut Cx<'_>) -> ([u8; RANDOM], [u8; EXPONENT]) {
    let (mut packet, mut exponent) = ([0; RANDOM], [0; EXPONENT]);
    cx.random(&mut packet);
    cx.random(&mut exponent);
    (packet, exponent)
}

/// Hands the near side what has come, as long as it takes it.
fn decipher(ciphers: &mut Ciphers, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
    let (mut buffer, mut used) = ([0; INCOMING], 0);
    for piece in data.chunks(INCOMING) {
        if cx.is_paused() {
            break;
        }
        let plain = &mut buffer[..piece.len()];
        plain.copy_from_slice(piece);
        ciphers.decrypt(plain);
        cx.deliver(plain)?;
        used += piece.len();
    }
    Ok(used)
}

/// Moves what the near side says to the far side: each player has a key stream of its own, so that a packet is copied
/// once for each.
fn encipher(ciphers: &mut Ciphers, near: &mut OutQueue, far: &mut OutQueue) {
    while let Some(piece) = near.pop() {
        match piece {
            Piece::Owned(mut bytes) => {
                ciphers.encrypt(&mut bytes);
                far.push(Piece::Owned(bytes));
            }
            shared => {
                for part in shared.bytes().chunks(OUTGOING) {
                    far.write_with(|out| {
                        let at = out.len();
                        out.extend_from_slice(part);
                        ciphers.encrypt(&mut out[at..]);
                    });
                }
            }
        }
    }
}
