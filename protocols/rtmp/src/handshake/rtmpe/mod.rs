//! The handshake of RTMPE: that with digests, with a public key in C1 and S1, after which all bytes are encrypted.
//!
//! It hides streams from whoever only looks, and no more: nobody proves who he is, the keys of the digests are known to
//! everybody, and RC4 and 1024 bits are of their time. RTMP over TLS is what protects.

mod exchange;
#[cfg(test)]
mod tests;
mod xtea;

use rc4::{KeyInit, Rc4, StreamCipher};

pub use self::exchange::EXPONENT;
use self::exchange::{Exponent, KEY, Key};
use super::digest::{DIGEST, Digest, Maker, Scheme, hmac};
use super::{HandshakeError, PACKET, Packet, RANDOM, SERVER_VERSION, TLS, fill, new_packet};

/// The ciphers of one side of a connection: one for each direction.
pub struct Ciphers {
    incoming: Rc4,
    outgoing: Rc4,
}

impl Ciphers {
    fn new(secret: &Key, own: &Key, peer: &Key) -> Self {
        let cipher = |key: &Key| {
            let digest = hmac(secret, &[key]);
            let mut cipher = Rc4::new_from_slice(&digest[..16]).expect("RC4 takes keys of 16 bytes");
            // As if C2 and S2 had been encrypted.
            cipher.apply_keystream(&mut [0; PACKET]);
            cipher
        };
        Self { incoming: cipher(own), outgoing: cipher(peer) }
    }

    /// Decrypts the next bytes of the peer.
    pub fn decrypt(&mut self, bytes: &mut [u8]) {
        self.incoming.apply_keystream(bytes);
    }

    /// Encrypts the next bytes to the peer.
    pub fn encrypt(&mut self, bytes: &mut [u8]) {
        self.outgoing.apply_keystream(bytes);
    }
}

/// One side of a handshake of RTMPE.
///
/// The peer's signature is checked although everybody can make it: where it is wrong, the two sides do not understand each
/// other, and nothing that followed could be read. Two packets of 1536 bytes are held at most.
pub struct EncryptedHandshake {
    maker: Maker,
    state: State,
    exponent: Exponent,
    /// C1 or S1; the latter has neither key nor digest until C1 is known.
    own: Box<Packet>,
    /// The packet of the peer that is coming in.
    peer: Vec<u8>,
    validate: bool,
    ciphers: Option<Ciphers>,
}

impl EncryptedHandshake {
    /// The server's side, with a client that has sent nothing yet.
    ///
    /// `validate`: refuse a client whose C2 neither answers the digest of S1 nor echoes S1. `random` goes into S1,
    /// `exponent` is the secret of the key exchange.
    pub fn server(validate: bool, random: &[u8; RANDOM], exponent: &[u8; EXPONENT]) -> Self {
        let exponent = Exponent::new(exponent);
        Self::new(Maker::Server, new_packet(SERVER_VERSION, random), exponent, validate)
    }

    /// The client's side, which refuses a server whose S2 neither answers the digest of C1 nor echoes C1. `random` goes into
    /// C1, `exponent` is the secret of the key exchange.
    pub fn client(random: &[u8; RANDOM], exponent: &[u8; EXPONENT]) -> Self {
        let exponent = Exponent::new(exponent);
        let mut own = new_packet(PLAYER_10, random);
        put_key(&mut own, SCHEME, &exponent.public_key());
        Maker::Player.sign(&mut own, SCHEME);
        Self::new(Maker::Player, own, exponent, true)
    }

    fn new(maker: Maker, own: Box<Packet>, exponent: Exponent, validate: bool) -> Self {
        Self { maker, state: State::Version, exponent, own, peer: Vec::new(), validate, ciphers: None }
    }

    /// Appends C0 and C1 to `out`: to be called once, at the beginning, by the client.
    pub fn start(&self, out: &mut Vec<u8>) {
        out.push(ENCRYPTED);
        out.extend_from_slice(&self.own[..]);
    }

    /// How many more bytes bring the costly step, of one or two powers of 1024 bits; none: it is over.
    pub fn costly_after(&self) -> Option<usize> {
        match self.state {
            State::Version => Some(1 + PACKET),
            State::First(_) => Some(PACKET - self.peer.len()),
            State::Second(..) | State::Done => None,
        }
    }

    /// Takes bytes from the peer. Appends S0, S1 and S2 to `out` once C1 is whole, or C2 once S1 is.
    ///
    /// Gives the number of bytes taken, and the ciphers once the handshake is done. Bytes after C2 or S2 are never taken:
    /// they belong to the encrypted chunk stream.
    ///
    /// # Errors
    ///
    /// See [`HandshakeError`].
    pub fn input(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Ciphers>), HandshakeError> {
        let mut used = 0;
        if let State::Version = self.state {
            let Some(&version) = data.first() else { return Ok((0, None)) };
            used = 1;
            self.state = State::First(check_version(version)?);
        }
        if let State::First(version) = self.state {
            used += fill(&mut self.peer, &data[used..]);
            let Ok(&first) = <&Packet>::try_from(self.peer.as_slice()) else { return Ok((used, None)) };
            let (version, own_digest) = match self.maker {
                Maker::Server => self.answer_client(version, &first, out)?,
                Maker::Player => self.answer_server(version, &first, out)?,
            };
            self.peer.clear();
            self.state = State::Second(version, own_digest);
        }
        if let State::Second(version, own_digest) = self.state {
            used += fill(&mut self.peer, &data[used..]);
            let Ok(second) = <&Packet>::try_from(self.peer.as_slice()) else { return Ok((used, None)) };
            let is_echo = second[8..] == self.own[8..];
            if self.validate && !is_echo && !answers(self.maker.other(), version, second, &own_digest) {
                return Err(HandshakeError::WrongAnswer);
            }
            self.peer = Vec::new();
            self.state = State::Done;
        }
        Ok((used, self.ciphers.take()))
    }

    /// Says S0, S1 and S2. Gives the version that holds, and the digest of S1.
    fn answer_client(
        &mut self,
        asked: u8,
        c1: &Packet,
        out: &mut Vec<u8>,
    ) -> Result<(u8, Digest), HandshakeError> {
        let version = if c1[4] == PLAYER_10[0] { SIGNED } else { asked };
        let (scheme, of_client) = Maker::Player.find(c1).ok_or(HandshakeError::NoDigest)?;
        let of_peer = key_of(c1, scheme);
        let secret = self.exponent.secret_with(&of_peer)?;
        let key = self.exponent.public_key();
        put_key(&mut self.own, scheme, &key);
        if scheme == Scheme::KeyFirst {
            put_second_key(&mut self.own, &key);
        }
        let own_digest = Maker::Server.sign(&mut self.own, scheme);
        out.reserve_exact(1 + 2 * PACKET);
        out.push(version);
        out.extend_from_slice(&self.own[..]);
        out.extend_from_slice(&answer_to(Maker::Server, version, c1, &of_client));
        self.ciphers = Some(Ciphers::new(&secret, &key, &of_peer));
        Ok((version, own_digest))
    }

    /// Says C2. Gives the version that holds, and the digest of C1.
    fn answer_server(
        &mut self,
        version: u8,
        s1: &Packet,
        out: &mut Vec<u8>,
    ) -> Result<(u8, Digest), HandshakeError> {
        let (scheme, of_server) = Maker::Server.find(s1).ok_or(HandshakeError::NoDigest)?;
        let of_peer = key_of(s1, scheme);
        let secret = self.exponent.secret_with(&of_peer)?;
        out.extend_from_slice(&answer_to(Maker::Player, version, s1, &of_server));
        self.ciphers = Some(Ciphers::new(&secret, &key_of(&self.own, SCHEME), &of_peer));
        Ok((version, SCHEME.digest_of(&self.own)))
    }
}

#[derive(Clone, Copy)]
enum State {
    Version,
    /// C1 or S1 is coming in; with the version that the peer has named.
    First(u8),
    /// C2 or S2 is coming in; with the version that holds, and the digest of S1.
    Second(u8, Digest),
    Done,
}

/// The version bytes that are spoken: signatures as they are, and enciphered.
const ENCRYPTED: u8 = 6;
const SIGNED: u8 = 8;

/// The version in C1 of Flash Player 10 and later. Servers answer who begins with that 128 with version 8, whatever his
/// C0 says: librtmp and FFmpeg say 6 there, and expect 8.
const PLAYER_10: [u8; 4] = [128, 0, 3, 2];

/// The scheme of Flash Player 10.
const SCHEME: Scheme = Scheme::KeyFirst;

/// Judges the first byte of a peer where only RTMPE is taken.
fn check_version(byte: u8) -> Result<u8, HandshakeError> {
    match byte {
        ENCRYPTED | SIGNED => Ok(byte),
        9 => Err(HandshakeError::Blowfish),
        TLS | 32.. => Err(HandshakeError::NotRtmp(byte)),
        _ => Err(HandshakeError::NotEncrypted(byte)),
    }
}

fn key_of(packet: &Packet, scheme: Scheme) -> Key {
    let at = scheme.key_at(packet);
    packet[at..at + KEY].try_into().expect("128 bytes")
}

fn put_key(packet: &mut Packet, scheme: Scheme, key: &Key) {
    let at = scheme.key_at(packet);
    packet[at..at + KEY].copy_from_slice(key);
}

/// Puts the key of an S1 of [`Scheme::KeyFirst`] also where the other scheme has it.
///
/// FFmpeg looks there when it publishes, and for no digest at all; when it plays it looks for the digest and finds the
/// key that belongs to that. In the digest block there is room for both, if their offsets, which are ours to choose, keep
/// them apart.
fn put_second_key(packet: &mut Packet, key: &Key) {
    const OFFSETS: usize = 1532;
    if Scheme::KeyFirst.digest_at(packet) + DIGEST > OFFSETS {
        packet[772..776].fill(0);
    }
    // Behind the digest where that lies in front, else before it: at 631 or 4 of the block.
    let is_front = Scheme::KeyFirst.digest_at(packet) < 776 + KEY;
    packet[OFFSETS..].copy_from_slice(if is_front { &[255, 255, 121, 0] } else { &[4, 0, 0, 0] });
    put_key(packet, Scheme::DigestFirst, key);
}

/// A C2 or S2 of `maker` that answers `peer`, whose digest is `of_peer`.
fn answer_to(maker: Maker, version: u8, peer: &Packet, of_peer: &Digest) -> Packet {
    let mut packet = maker.answer_to(peer, of_peer);
    if version == SIGNED
        && let Some(signature) = packet.last_chunk_mut::<DIGEST>()
    {
        xtea::encipher(signature, &maker.answer_key(of_peer));
    }
    packet
}

/// Whether `packet`, a C2 or S2 of `maker`, answers the digest `of_peer`.
fn answers(maker: Maker, version: u8, packet: &Packet, of_peer: &Digest) -> bool {
    answer_to(maker, version, packet, of_peer) == *packet
}
