//! What takes the place of digests where the feature `digest` is off: nobody finds one, and none can be wanted.

use super::Packet;

/// Where the digest of C1 and S1 lies: without the feature `digest` there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {}

impl Scheme {
    /// No scheme at all.
    pub const ALL: [Self; 0] = [];
}

/// Never made.
pub(super) type Digest = [u8; 0];

#[derive(Clone, Copy)]
pub(super) enum Maker {
    Player,
    Server,
}

impl Maker {
    pub(super) const fn sign(self, _: &mut Packet, scheme: Scheme) -> Digest {
        match scheme {}
    }

    pub(super) const fn find(self, _: &Packet) -> Option<(Scheme, Digest)> {
        None
    }

    pub(super) const fn answer_to(self, peer: &Packet, _: &Digest) -> Packet {
        *peer
    }

    pub(super) const fn answers(self, _: &Packet, _: &Digest) -> bool {
        true
    }
}
