//! The client's side of the handshake.

use super::digest::Maker;
use super::{
    HandshakeError, HandshakeKind, PACKET, Packet, RANDOM, VERSION, check_version, fill, new_packet,
};

/// Opens a handshake with a server. What the server answers is not checked, so any server will do.
#[derive(Debug)]
pub struct ClientHandshake {
    state: State,
    kind: HandshakeKind,
    own: Box<Packet>,
    /// The packet of the server that is coming in.
    peer: Vec<u8>,
}

impl ClientHandshake {
    /// A handshake of the wanted kind; `random` goes into C1.
    pub fn new(kind: HandshakeKind, random: &[u8; RANDOM]) -> Self {
        let mut own = match kind {
            HandshakeKind::Simple => new_packet([0; 4], random),
            HandshakeKind::Digest(_) => new_packet(CLIENT_VERSION, random),
        };
        if let HandshakeKind::Digest(scheme) = kind {
            Maker::Player.sign(&mut own, scheme);
        }
        Self { state: State::Version, kind, own, peer: Vec::new() }
    }

    /// Appends C0 and C1 to `out`: to be called once, at the beginning.
    pub fn start(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.own[..]);
    }

    /// Takes bytes from the server and appends C2 to `out` once S1 is whole.
    ///
    /// Gives the number of bytes taken, and whether the handshake is done. Bytes after S2 are never taken: they
    /// belong to the chunk stream.
    ///
    /// # Errors
    ///
    /// See [`HandshakeError`]; [`HandshakeError::WrongAnswer`] does not occur.
    pub fn input(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), HandshakeError> {
        let mut used = 0;
        if let State::Version = self.state {
            let Some(&version) = data.first() else { return Ok((0, false)) };
            check_version(version)?;
            used = 1;
            self.state = State::S1;
        }
        if let State::S1 = self.state {
            used += fill(&mut self.peer, &data[used..]);
            let Ok(s1) = <&Packet>::try_from(self.peer.as_slice()) else { return Ok((used, false)) };
            match (self.kind, Maker::Server.find(s1)) {
                (HandshakeKind::Digest(_), Some((_, of_server))) => {
                    out.extend_from_slice(&Maker::Player.answer_to(s1, &of_server));
                }
                _ => {
                    self.kind = HandshakeKind::Simple;
                    out.extend_from_slice(s1);
                }
            }
            self.peer.clear();
            self.state = State::S2;
        }
        if let State::S2 = self.state {
            used += fill(&mut self.peer, &data[used..]);
            if self.peer.len() < PACKET {
                return Ok((used, false));
            }
            self.peer = Vec::new();
            self.state = State::Done;
        }
        Ok((used, true))
    }

    /// What was agreed on, once the handshake is done; before S1 came, what is wanted.
    pub const fn agreed(&self) -> HandshakeKind {
        self.kind
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Version,
    S1,
    S2,
    Done,
}

/// The version in C1 of the digest form, which must not be zero: Flash Player 11.
const CLIENT_VERSION: [u8; 4] = [11, 2, 202, 235];
