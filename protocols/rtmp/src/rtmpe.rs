//! RTMPE as layers of a chain: the encrypted handshake with the far side, then all bytes of the near side enciphered.
//!
//! Nearer to them stands RTMP behind the handshake: [`InboundRtmp::inner`](crate::layer::InboundRtmp::inner),
//! [`OutboundRtmp::inner`](crate::layer::OutboundRtmp::inner). What RTMPE is worth says
//! [`EncryptedServer`]'s module: it hides, it does not protect.

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{Cx, Error, Layer, Limits, OutQueue, Piece};

use crate::handshake::{Ciphers, EXPONENT, EncryptedClient, EncryptedServer, HandshakeError, RANDOM};

const PROTOCOL: &str = "rtmpe";

/// Bytes that are deciphered before they are handed on.
const INCOMING: usize = 4096;

/// Bytes of a shared packet that are copied and enciphered in one piece.
const OUTGOING: usize = 16 * 1024;

/// The server's side.
pub struct InboundRtmpe {
    validate: bool,
    timeout: Timeout,
    state: Inbound,
}

enum Inbound {
    /// Nothing has come yet.
    Fresh,
    Shaking(Box<EncryptedServer>),
    Open(Box<Ciphers>),
}

impl InboundRtmpe {
    /// The layer of a connection that came at `now`. `validate`: a client is refused that signs wrongly.
    pub fn new(limits: Arc<Limits>, validate: bool, now: Instant) -> Self {
        let timeout = Timeout { since: now, time: limits.handshake_timeout.get() };
        Self { validate, timeout, state: Inbound::Fresh }
    }
}

impl Layer for InboundRtmpe {
    /// Nothing is said before the handshake is done.
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if let Inbound::Fresh = self.state {
            let (random, exponent) = random(cx);
            self.state = Inbound::Shaking(Box::new(EncryptedServer::new(self.validate, &random, &exponent)));
        }
        let mut used = 0;
        if let Inbound::Shaking(handshake) = &mut self.state {
            if handshake.costly_after().is_some_and(|count| count <= data.len()) && !cx.grant() {
                return Ok(0);
            }
            let (count, done) = shake(cx, |out| handshake.input(data, out))?;
            used = count;
            if let Some(ciphers) = done {
                self.state = Inbound::Open(Box::new(ciphers));
                cx.open()?;
            }
        }
        if let Inbound::Open(ciphers) = &mut self.state {
            used += decipher(ciphers, &data[used..], cx)?;
        }
        Ok(used)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        let Inbound::Open(ciphers) = &mut self.state else {
            near.advance(near.len());
            return Ok(());
        };
        encipher(ciphers, near, far);
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.timeout.check(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if let Inbound::Open(_) = self.state { None } else { self.timeout.at() }
    }
}

/// The client's side.
pub struct OutboundRtmpe {
    timeout: Timeout,
    state: Outbound,
}

enum Outbound {
    /// The connection is not there yet.
    Fresh,
    Shaking(Box<EncryptedClient>),
    Open(Box<Ciphers>),
}

impl OutboundRtmpe {
    /// The layer of a connection that is being made at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let timeout = Timeout { since: now, time: limits.handshake_timeout.get() };
        Self { timeout, state: Outbound::Fresh }
    }
}

impl Layer for OutboundRtmpe {
    /// Begins the handshake; the nearer layer may speak when it is done.
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let (random, exponent) = random(cx);
        let handshake = EncryptedClient::new(&random, &exponent);
        cx.out().write_with(|out| handshake.start(out));
        self.state = Outbound::Shaking(Box::new(handshake));
        self.timeout.since = cx.now();
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        if let Outbound::Shaking(handshake) = &mut self.state {
            let (count, done) = shake(cx, |out| handshake.input(data, out))?;
            used = count;
            if let Some(ciphers) = done {
                self.state = Outbound::Open(Box::new(ciphers));
                cx.open()?;
            }
        }
        if let Outbound::Open(ciphers) = &mut self.state {
            used += decipher(ciphers, &data[used..], cx)?;
        }
        Ok(used)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        let Outbound::Open(ciphers) = &mut self.state else {
            near.advance(near.len());
            return Ok(());
        };
        encipher(ciphers, near, far);
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.timeout.check(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if let Outbound::Shaking(_) = self.state { self.timeout.at() } else { None }
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

/// A step of a handshake.
fn shake(
    cx: &mut Cx<'_>,
    step: impl FnOnce(&mut Vec<u8>) -> Result<(usize, Option<Ciphers>), HandshakeError>,
) -> Result<(usize, Option<Ciphers>), Error> {
    let mut answer = Vec::new();
    let result = step(&mut answer);
    cx.out().write_with(|out| out.append(&mut answer));
    result.map_err(|error| Error::peer(PROTOCOL, format!("handshake: {error}")))
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
