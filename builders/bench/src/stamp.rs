//! What a frame of the synthetic stream says about itself.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Audio.
    Audio,
    /// A picture that needs no other.
    Key,
    /// A picture that needs the pictures before it.
    Inter,
    /// A picture that no other needs.
    Disposable,
}

impl FrameKind {
    /// Whether it is a picture.
    pub const fn is_picture(self) -> bool {
        !matches!(self, Self::Audio)
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::Audio => 0,
            Self::Key => 1,
            Self::Inter => 2,
            Self::Disposable => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Audio),
            1 => Some(Self::Key),
            2 => Some(Self::Inter),
            3 => Some(Self::Disposable),
            _ => None,
        }
    }
}

/// What each frame carries in its payload, so that a player can tell what it missed and how late the frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What the frame is.
    pub kind: FrameKind,
    /// Its number, counted from 0 for audio and for pictures each.
    pub sequence: u64,
    /// The number of its group of pictures, counted from 0.
    pub gop: u64,
    /// How many pictures before it others may need: all but the disposable ones.
    pub references: u64,
    /// The instant at which it was due, in nanoseconds of [`clock::now`](crate::clock::now).
    pub due: u64,
}

/// Tells frames of this generator from others.
const MAGIC: [u8; 4] = *b"crtb";

impl Stamp {
    /// Bytes of a stamp.
    pub const SIZE: usize = 37;

    /// The bytes of the stamp.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind.to_byte();
        for (index, number) in [self.sequence, self.gop, self.references, self.due].into_iter().enumerate() {
            bytes[5 + 8 * index..13 + 8 * index].copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads the stamp at the front of `bytes`, if one is there.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::SIZE)?;
        if bytes[..4] != MAGIC {
            return None;
        }
        let number = |index: usize| {
            u64::from_be_bytes(bytes[5 + 8 * index..13 + 8 * index].try_into().expect("eight bytes"))
        };
        Some(Self {
            kind: FrameKind::from_byte(bytes[4])?,
            sequence: number(0),
            gop: number(1),
            references: number(2),
            due: number(3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for kind in [FrameKind::Audio, FrameKind::Key, FrameKind::Inter, FrameKind::Disposable] {
            let stamp = Stamp { kind, sequence: 1, gop: u64::MAX, references: 1 << 40, due: 77 };
            let mut bytes = stamp.encode().to_vec();
            assert_eq!(Stamp::decode(&bytes[..36]), None);
            bytes.push(9);
            assert_eq!(Stamp::decode(&bytes), Some(stamp));
        }
        assert_eq!(Stamp::decode(&[0; Stamp::SIZE]), None);
    }
}
