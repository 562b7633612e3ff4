//! Digests in handshake packets.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{PACKET, Packet};

/// Where the digest of C1 and S1 lies.
///
/// The 1528 bytes after time and version are two blocks of 764 bytes, a digest block and a key block. A digest
/// block is 4 offset bytes, then 760 bytes with the digest at the sum of the offset bytes modulo 728. A key block is
/// 760 bytes with the key of RTMPE at the sum of the offset bytes modulo 632, then these 4 offset bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Key block, then digest block.
    KeyFirst,
    /// Digest block, then key block.
    DigestFirst,
}

impl Scheme {
    /// Both schemes, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::KeyFirst, Self::DigestFirst];

    /// Where in `packet` this scheme has its digest: at most 1503, so that 32 bytes always fit.
    pub(super) fn digest_at(self, packet: &Packet) -> usize {
        let offset_at = match self {
            Self::KeyFirst => 772,
            Self::DigestFirst => 8,
        };
        let sum: usize = packet[offset_at..offset_at + 4].iter().map(|&byte| usize::from(byte)).sum();
        offset_at + 4 + sum % 728
    }

    /// What `packet` has where this scheme has its digest.
    #[cfg(feature = "rtmpe")]
    pub(super) fn digest_of(self, packet: &Packet) -> Digest {
        let at = self.digest_at(packet);
        packet[at..at + DIGEST].try_into().expect("32 bytes")
    }

    /// Where in `packet` this scheme has the public key of RTMPE: at most 1403, so that 128 bytes always fit, and never
    /// in the digest.
    #[cfg(feature = "rtmpe")]
    pub(super) fn key_at(self, packet: &Packet) -> usize {
        let block_at = match self {
            Self::KeyFirst => 8,
            Self::DigestFirst => 772,
        };
        let sum: usize = packet[block_at + 760..block_at + 764].iter().map(|&byte| usize::from(byte)).sum();
        block_at + sum % 632
    }
}

pub(super) type Digest = [u8; DIGEST];

/// Bytes of a digest.
pub(super) const DIGEST: usize = 32;

/// Who makes a digest, which decides the keys.
#[derive(Clone, Copy)]
pub(super) enum Maker {
    Player,
    Server,
}

impl Maker {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Player => b"Genuine Adobe Flash Player 001",
            Self::Server => b"Genuine Adobe Flash Media Server 001",
        }
    }

    /// The maker on the other side.
    #[cfg(feature = "rtmpe")]
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Player => Self::Server,
            Self::Server => Self::Player,
        }
    }

    /// The digest that belongs at `at` in `packet`: over all bytes but its own.
    fn digest(self, packet: &Packet, at: usize) -> Digest {
        hmac(self.name(), &[&packet[..at], &packet[at + DIGEST..]])
    }

    /// Puts a digest into a C1 or S1.
    pub(super) fn sign(self, packet: &mut Packet, scheme: Scheme) -> Digest {
        let at = scheme.digest_at(packet);
        let digest = self.digest(packet, at);
        packet[at..at + DIGEST].copy_from_slice(&digest);
        digest
    }

    /// Looks for a valid digest in a C1 or S1.
    pub(super) fn find(self, packet: &Packet) -> Option<(Scheme, Digest)> {
        Scheme::ALL.into_iter().find_map(|scheme| {
            let at = scheme.digest_at(packet);
            let digest = self.digest(packet, at);
            (packet[at..at + DIGEST] == digest).then_some((scheme, digest))
        })
    }

    /// The last 32 bytes of a C2 or S2 that begins with `packet` and answers the digest `of_peer`.
    pub(super) fn answer(self, packet: &[u8; PACKET - DIGEST], of_peer: &Digest) -> Digest {
        hmac(&self.answer_key(of_peer), &[packet])
    }

    /// What answers to the digest `of_peer` are signed with.
    pub(super) fn answer_key(self, of_peer: &Digest) -> Digest {
        hmac(&[self.name(), &SUFFIX].concat(), &[of_peer])
    }

    /// A C2 or S2 that answers `peer`, whose digest is `of_peer`.
    ///
    /// All but the signature is an echo, which also pleases clients that check S2 as in the simple handshake.
    pub(super) fn answer_to(self, peer: &Packet, of_peer: &Digest) -> Packet {
        let mut packet = *peer;
        let (echo, signature) = packet.split_last_chunk_mut::<DIGEST>().expect("a packet has 1536 bytes");
        let echo: &[u8; PACKET - DIGEST] = (&*echo).try_into().expect("1536 bytes less 32");
        *signature = self.answer(echo, of_peer);
        packet
    }

    /// Whether `packet`, a C2 or S2 of this maker, answers the digest `of_peer`.
    pub(super) fn answers(self, packet: &Packet, of_peer: &Digest) -> bool {
        let (begin, signature) = packet.split_first_chunk().expect("a packet has 1536 bytes");
        *signature == self.answer(begin, of_peer)
    }
}

/// What follows the names in the keys of answers.
const SUFFIX: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57, 0x6E,
    0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
