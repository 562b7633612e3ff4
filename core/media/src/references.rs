//! Which pictures no other picture needs.
//!
//! FLV has a frame type for them, but hardly any encoder uses it; the coded pictures themselves say it.
//!
//! Sources: ITU-T H.264 §7.4.1 (`nal_ref_idc`), ISO/IEC 14496-15 §5.3.3.1 (AVC decoder configuration);
//! ITU-T H.265 §7.4.2.2 (table 7-1), ISO/IEC 14496-15 §8.3.3.1 (HEVC decoder configuration).

use crate::{Codec, Frame, MediaKind, Role};

/// Looks into the pictures of one stream and finds those that may be left out.
///
/// In doubt a picture is needed: where the configuration is missing or says that there are temporal layers, in
/// tracks other than the first, and wherever something does not look as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// What the newest configuration says.
    coding: Option<Coding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coding {
    codec: Codec,
    /// Bytes of the length before each NAL unit.
    length_size: usize,
}

impl References {
    /// A stream of which nothing is known.
    pub const fn new() -> Self {
        Self { coding: None }
    }

    /// Takes note of a frame; one that no other needs gets [`Role::Disposable`].
    pub fn see(&mut self, frame: &mut Frame) {
        if frame.kind != MediaKind::Video || frame.track != 0 {
            return;
        }
        match frame.role {
            Role::Config => self.coding = Coding::of(frame.codec, frame.data()),
            Role::Delta if self.coding.is_some_and(|coding| coding.is_disposable(frame)) => {
                frame.role = Role::Disposable;
            }
            _ => {}
        }
    }
}

impl Coding {
    fn of(codec: Codec, record: &[u8]) -> Option<Self> {
        let length = match codec {
            Codec::Avc => *record.get(4)?,
            Codec::Hevc => {
                let flags = *record.get(21)?;
                // A picture that its own temporal layer does not need may be needed by the next.
                if (flags >> 3) & 0x07 != 1 {
                    return None;
                }
                flags
            }
            _ => return None,
        };
        Some(Self { codec, length_size: usize::from(length & 0x03) + 1 })
    }

    fn is_disposable(self, frame: &Frame) -> bool {
        if frame.codec != self.codec {
            return false;
        }
        let (mut rest, mut pictures) = (frame.data(), 0);
        while !rest.is_empty() {
            let Some((length, behind)) = rest.split_at_checked(self.length_size) else { return false };
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let Some((unit, next)) = behind.split_at_checked(length) else { return false };
            let Some(first) = unit.first() else { return false };
            match self.what_is(*first) {
                Unit::Free => pictures += 1,
                Unit::Beside => {}
                Unit::Needed => return false,
            }
            rest = next;
        }
        pictures > 0
    }

    /// What the first byte of a NAL unit says.
    fn what_is(self, first: u8) -> Unit {
        if self.codec == Codec::Avc {
            return match (first & 0x1f, (first >> 5) & 0x03) {
                (1, 0) => Unit::Free,
                (6 | 9 | 12, _) => Unit::Beside,
                _ => Unit::Needed,
            };
        }
        match (first >> 1) & 0x3f {
            // TRAIL_N, RADL_N, RASL_N.
            0 | 6 | 8 => Unit::Free,
            // Delimiter, filler, and what is said about this picture.
            35 | 38 | 39 | 40 => Unit::Beside,
            _ => Unit::Needed,
        }
    }
}

enum Unit {
    /// Part of a picture that no other needs.
    Free,
    /// Goes with its picture.
    Beside,
    /// Everything else: reference pictures, parameter sets, what is not known.
    Needed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Slice;

    fn frame(codec: Codec, role: Role, data: &[u8]) -> Frame {
        let body = Slice::from([&[0; 5], data].concat());
        Frame { kind: MediaKind::Video, role, codec, track: 0, dts: 0, cts: 0, body, data_at: 5 }
    }

    fn config(codec: Codec, layers: u8, length_size: u8) -> Frame {
        let mut record = [0; 23];
        let at = if codec == Codec::Avc { 4 } else { 21 };
        record[at] = layers << 3 | (length_size - 1);
        frame(codec, Role::Config, &record)
    }

    fn units(length_size: usize, units: &[&[u8]]) -> Vec<u8> {
        let mut data = Vec::new();
        for unit in units {
            data.extend_from_slice(&(unit.len() as u64).to_be_bytes()[8 - length_size..]);
            data.extend_from_slice(unit);
        }
        data
    }

    fn role(config: &mut Frame, mut frame: Frame) -> Role {
        let mut references = References::new();
        references.see(config);
        references.see(&mut frame);
        frame.role
    }

    #[test]
    fn avc_pictures_say_whether_they_are_referred_to() {
        for length_size in 1..=4 {
            let of = |parts: &[&[u8]]| {
                let data = units(length_size.into(), parts);
                let mut config = config(Codec::Avc, 0, length_size);
                role(&mut config, frame(Codec::Avc, Role::Delta, &data))
            };
            assert_eq!(of(&[&[0x01, 7, 7]]), Role::Disposable);
            assert_eq!(of(&[&[0x09, 0xf0], &[0x06, 5], &[0x01, 7], &[0x01, 8]]), Role::Disposable);
            assert_eq!(of(&[&[0x41, 7, 7]]), Role::Delta);
            assert_eq!(of(&[&[0x01, 7], &[0x41, 7]]), Role::Delta);
            assert_eq!(of(&[&[0x67, 7], &[0x01, 7]]), Role::Delta, "a parameter set");
            assert_eq!(of(&[&[0x02, 7]]), Role::Delta, "a data partition");
            assert_eq!(of(&[&[0x06, 5]]), Role::Delta, "no picture at all");
            assert_eq!(of(&[&[]]), Role::Delta);
            assert_eq!(of(&[]), Role::Delta);
        }
    }

    #[test]
    fn hevc_pictures_are_believed_where_there_is_one_layer() {
        let of = |layers, first: u8| {
            let data = units(4, &[&[first << 1, 1, 7]]);
            role(&mut config(Codec::Hevc, layers, 4), frame(Codec::Hevc, Role::Delta, &data))
        };
        for (first, expected) in
            [(0, Role::Disposable), (1, Role::Delta), (8, Role::Disposable), (9, Role::Delta)]
        {
            assert_eq!(of(1, first), expected);
            assert_eq!(of(0, first), Role::Delta);
            assert_eq!(of(2, first), Role::Delta);
        }
    }

    #[test]
    fn in_doubt_a_picture_is_needed() {
        let data = units(4, &[&[0x01, 7]]);
        let delta = || frame(Codec::Avc, Role::Delta, &data);
        let mut references = References::new();
        let mut unknown = delta();
        references.see(&mut unknown);
        assert_eq!(unknown.role, Role::Delta, "no configuration");
        assert_eq!(role(&mut config(Codec::Hevc, 1, 4), delta()), Role::Delta, "that of another codec");
        assert_eq!(role(&mut config(Codec::Avc, 0, 4), Frame { track: 1, ..delta() }), Role::Delta);
        assert_eq!(role(&mut config(Codec::Avc, 0, 2), delta()), Role::Delta, "lengths that do not fit");
        let cut = Frame { body: delta().body.slice(..10), ..delta() };
        assert_eq!(role(&mut config(Codec::Avc, 0, 4), cut), Role::Delta);
        let key = Frame { role: Role::Key, ..delta() };
        assert_eq!(role(&mut config(Codec::Avc, 0, 4), key), Role::Key);
    }

    proptest! {
        #[test]
        fn no_input_panics(
            record in proptest::collection::vec(any::<u8>(), 0..30),
            data in proptest::collection::vec(0..8_u8, 0..40),
            hevc: bool,
        ) {
            let codec = if hevc { Codec::Hevc } else { Codec::Avc };
            role(&mut frame(codec, Role::Config, &record), frame(codec, Role::Delta, &data));
        }
    }
}
