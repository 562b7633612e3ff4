//! The server's side of the handshake.

use super::digest::{Digest, Maker};
use super::{
    HandshakeError, HandshakeKind, PACKET, Packet, RANDOM, SERVER_VERSION, VERSION, check_version, fill,
    new_packet,
};

/// Answers a client's handshake.
///
/// A C1 with a valid digest is answered in its scheme, any other with the simple handshake. Two packets of 1536
/// bytes are held at most.
#[derive(Debug)]
pub struct ServerHandshake {
    state: State,
    /// S1, without its digest until C1 is known.
    own: Box<Packet>,
    /// The packet of the client that is coming in.
    peer: Vec<u8>,
    validate: bool,
    agreed: Option<HandshakeKind>,
}

impl ServerHandshake {
    /// A handshake with a client that has sent nothing yet.
    ///
    /// `validate`: refuse a client that showed a digest in C1 and whose C2 neither answers ours nor echoes S1.
    /// `random` goes into S1.
    pub fn new(validate: bool, random: &[u8; RANDOM]) -> Self {
        Self {
            state: State::Version,
            own: new_packet(SERVER_VERSION, random),
            peer: Vec::new(),
            validate,
            agreed: None,
        }
    }

    /// Takes bytes from the client and appends S0, S1 and S2 to `out` once C1 is whole.
    ///
    /// Gives the number of bytes taken, and whether the handshake is done. Bytes after C2 are never taken: they
    /// belong to the chunk stream.
    ///
    /// # Errors
    ///
    /// See [`HandshakeError`].
    pub fn input(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), HandshakeError> {
        let mut used = 0;
        if let State::Version = self.state {
            let Some(&version) = data.first() else { return Ok((0, false)) };
            check_version(version)?;
            used = 1;
            self.state = State::C1;
        }
        if let State::C1 = self.state {
            used += fill(&mut self.peer, &data[used..]);
            let Ok(c1) = self.peer.as_slice().try_into() else { return Ok((used, false)) };
            let digest = Self::answer(&mut self.own, c1, out);
            self.agreed = Some(digest.map_or(HandshakeKind::Simple, |(kind, _)| kind));
            self.peer.clear();
            self.state = State::C2(digest.map(|(_, digest)| digest));
        }
        if let State::C2(own_digest) = self.state {
            used += fill(&mut self.peer, &data[used..]);
            let Ok(c2) = self.peer.as_slice().try_into() else { return Ok((used, false)) };
            if let Some(digest) = own_digest
                && self.validate
                && !self.is_echo(c2)
                && !Maker::Player.answers(c2, &digest)
            {
                return Err(HandshakeError::WrongAnswer);
            }
            self.peer = Vec::new();
            self.state = State::Done;
        }
        Ok((used, true))
    }

    /// What was agreed on, known once C1 was whole.
    pub const fn agreed(&self) -> Option<HandshakeKind> {
        self.agreed
    }

    /// Writes S0, S1 and S2; gives the kind and digest of S1 if it has one.
    fn answer(own: &mut Packet, c1: &Packet, out: &mut Vec<u8>) -> Option<(HandshakeKind, Digest)> {
        out.reserve_exact(1 + 2 * PACKET);
        out.push(VERSION);
        if let Some((scheme, of_client)) = Maker::Player.find(c1) {
            let digest = Maker::Server.sign(own, scheme);
            out.extend_from_slice(own);
            out.extend_from_slice(&Maker::Server.answer_to(c1, &of_client));
            return Some((HandshakeKind::Digest(scheme), digest));
        }
        own[4..8].fill(0);
        out.extend_from_slice(own);
        // S2: the time of C1, the time at which it was read (0), the random bytes of C1, which librtmp checks.
        out.extend_from_slice(&c1[..4]);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&c1[8..]);
        None
    }

    /// Whether C2 is what the simple handshake would have: S1 with a time in its second field.
    fn is_echo(&self, c2: &Packet) -> bool {
        c2[8..] == self.own[8..]
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Version,
    C1,
    /// With the digest of S1, if it has one.
    C2(Option<Digest>),
    Done,
}
