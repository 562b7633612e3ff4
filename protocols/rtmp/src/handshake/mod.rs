//! The handshake that opens a connection: three packets each way.
//!
//! Each side sends a version byte (C0, S0) with 1536 bytes of its own (C1, S1), then 1536 bytes that answer the
//! other's (C2, S2): Adobe's RTMP specification 1.0, section 5.2. Flash Player 9 and later hide a digest in C1;
//! that form is in no specification, and [`Scheme`] says where the digest lies. Without the feature `digest` there is
//! no scheme: a server answers such a C1 like any other, and all but a few old players are content with that.
//!
//! RTMPE is that form with a key exchange (feature `rtmpe`): [`EncryptedHandshake`].

use std::fmt;

pub use client::ClientHandshake;
pub use digest::Scheme;
#[cfg(feature = "rtmpe")]
pub use rtmpe::{Ciphers, EXPONENT, EncryptedHandshake};
pub use server::ServerHandshake;

mod client;
#[cfg(feature = "digest")]
mod digest;
#[cfg(not(feature = "digest"))]
#[path = "no_digest.rs"]
mod digest;
#[cfg(feature = "rtmpe")]
mod rtmpe;
mod server;
#[cfg(test)]
mod tests;

/// Bytes of C1, C2, S1 and S2.
pub const PACKET: usize = 1536;

/// Random bytes that one side needs: a packet less its time and version fields.
pub const RANDOM: usize = PACKET - 8;

/// What two sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeKind {
    /// Each side echoes the other's bytes.
    Simple,
    /// Each side signs the other's digest.
    Digest(Scheme),
}

/// Why a handshake cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer asks for RTMPE with this version byte: 6, 8 or 9.
    Encrypted(u8),
    /// The first byte is 32 or more, or 22: text or TLS, not RTMP.
    NotRtmp(u8),
    /// C2 does not sign the digest of S1 although C1 had a digest, and such answers are checked; or S2 of RTMPE does not
    /// sign that of C1.
    WrongAnswer,
    /// The peer does not encrypt where only RTMPE is taken; with its version byte.
    NotEncrypted(u8),
    /// The peer wants RTMPE of version 9, whose signatures are enciphered with Blowfish.
    Blowfish,
    /// C1 or S1 of RTMPE has no valid digest, so that nobody knows where its public key is.
    NoDigest,
    /// The public key of the peer is one with which everybody knows the secret, or is out of range.
    WeakKey,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted(version) => {
                write!(
                    f,
                    "RTMPE not enabled (handshake version {version}); acceptors take it with `rtmpe = true`"
                )
            }
            Self::NotRtmp(TLS) => f.write_str("not RTMP but TLS: this port is for rtmp://"),
            Self::NotRtmp(byte) => write!(f, "not RTMP: the first byte is 0x{byte:02X}"),
            Self::WrongAnswer => {
                f.write_str("the signature of C2 or S2 does not answer the digest of S1 or C1")
            }
            Self::NotEncrypted(version) => {
                write!(f, "not encrypted (handshake version {version}), where only RTMPE is taken")
            }
            Self::Blowfish => f.write_str("RTMPE of version 9 is not served, versions 6 and 8 are"),
            Self::NoDigest => f.write_str("RTMPE without a valid digest"),
            Self::WeakKey => f.write_str("the public key of RTMPE is weak or out of range"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The version byte that both sides send.
const VERSION: u8 = 3;

/// The version in S1 of the digest form; clients only ask that it is not zero.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

/// One of C1, C2, S1 and S2.
type Packet = [u8; PACKET];

/// What a TLS connection begins with: a record of type handshake.
const TLS: u8 = 0x16;

/// Whether the first byte of a client asks for RTMPE.
pub const fn is_encrypted(byte: u8) -> bool {
    matches!(byte, 6 | 8 | 9)
}

/// Whether RTMP begins with this byte, encrypted or not, as far as it is answered: not with a letter, and not as TLS does.
pub const fn is_rtmp(byte: u8) -> bool {
    byte < 32 && byte != TLS
}

/// Judges the first byte of a peer. Versions that never came to be (0 to 31) are answered like 3.
fn check_version(byte: u8) -> Result<(), HandshakeError> {
    match byte {
        _ if is_encrypted(byte) => Err(HandshakeError::Encrypted(byte)),
        _ if is_rtmp(byte) => Ok(()),
        _ => Err(HandshakeError::NotRtmp(byte)),
    }
}

/// Time 0, `version`, `random`.
fn new_packet(version: [u8; 4], random: &[u8; RANDOM]) -> Box<Packet> {
    let mut packet = Box::new([0; PACKET]);
    packet[4..8].copy_from_slice(&version);
    packet[8..].copy_from_slice(random);
    packet
}

/// Moves bytes from the front of `data` to `packet` until that is full; gives the number of bytes.
fn fill(packet: &mut Vec<u8>, data: &[u8]) -> usize {
    let step = data.len().min(PACKET - packet.len());
    if packet.is_empty() {
        packet.reserve_exact(PACKET);
    }
    packet.extend_from_slice(&data[..step]);
    step
}
