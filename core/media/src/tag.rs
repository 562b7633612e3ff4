//! The header of an FLV tag body, which is also the header of an RTMP audio or video message.
//!
//! Sources: Adobe FLV 10.1 §E.4.2 and §E.4.3; Enhanced RTMP v2 (2026) "Enhanced Audio" and "Enhanced
//! Video", with multitrack and ModEx.

use std::fmt;

use crate::{Codec, Limits, Role};

/// What a tag header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagHeader {
    /// The codec; of a message with many codecs the first.
    pub codec: Codec,
    /// What the message means for joining and dropping.
    pub role: Role,
    /// The track; 0 unless multitrack. Of many tracks in one message the first.
    pub track: u8,
    /// Composition time in ms; 0 where the header has none.
    pub cts: i32,
    /// Where the content begins; of a multitrack message the first track's.
    pub data_at: u32,
}

/// Why a tag header cannot be used. The message is skipped, the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// The body ends inside its header.
    Short,
    /// A legacy codec configuration without content.
    EmptyConfig,
    /// More ModEx links than [`Limits::mod_ex_links`].
    ModExChain,
    /// A multitrack header within a multitrack header, or an unknown kind of multitrack.
    Multitrack,
    /// More tracks than [`Limits::message_tracks`], or a track that reaches beyond the message.
    Tracks,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the message ends inside its header",
            Self::EmptyConfig => "a codec configuration without content",
            Self::ModExChain => "more ModEx links than modExLinks allows",
            Self::Multitrack => "an unknown or nested multitrack header",
            Self::Tracks => "more tracks than messageTracks allows, or a track beyond the message",
        })
    }
}

impl std::error::Error for TagError {}

/// Reads the header of a video tag body.
///
/// # Errors
///
/// See [`TagError`].
pub fn video(body: &[u8], limits: &Limits) -> Result<TagHeader, TagError> {
    let first = *body.first().ok_or(TagError::Short)?;
    if first & 0x80 != 0 {
        return enhanced(body, limits, &VideoRules { frame_type: (first >> 4) & 0x07 });
    }
    let codec = Codec::from_flv_video(first & 0x0f);
    let by_type = video_role(first >> 4);
    if !matches!(codec, Codec::Avc | Codec::Hevc) || by_type == Role::Side {
        return Ok(TagHeader { codec, role: by_type, track: 0, cts: 0, data_at: 1 });
    }
    let [_, packet_type, c0, c1, c2, ..] = *body else { return Err(TagError::Short) };
    let role = match packet_type {
        0 if body.len() == 5 => return Err(TagError::EmptyConfig),
        0 => Role::Config,
        1 => by_type,
        _ => Role::Side,
    };
    Ok(TagHeader { codec, role, track: 0, cts: si24([c0, c1, c2]), data_at: 5 })
}

/// Reads the header of an audio tag body.
///
/// # Errors
///
/// See [`TagError`].
pub fn audio(body: &[u8], limits: &Limits) -> Result<TagHeader, TagError> {
    let first = *body.first().ok_or(TagError::Short)?;
    match first >> 4 {
        9 => enhanced(body, limits, &AudioRules),
        10 => {
            let packet_type = *body.get(1).ok_or(TagError::Short)?;
            let role = match packet_type {
                0 if body.len() == 2 => return Err(TagError::EmptyConfig),
                0 => Role::Config,
                _ => Role::Key,
            };
            Ok(TagHeader { codec: Codec::Aac, role, track: 0, cts: 0, data_at: 2 })
        }
        format => Ok(TagHeader {
            codec: Codec::from_flv_audio(format),
            role: Role::Key,
            track: 0,
            cts: 0,
            data_at: 1,
        }),
    }
}

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const CODED_FRAMES_X: u8 = 3;

/// Where enhanced audio and enhanced video differ.
trait Rules {
    const MULTITRACK: u8;
    fn role(&self, packet_type: u8) -> Role;
    /// Whether a coded frame of this kind begins with a composition time.
    fn has_cts(&self, packet_type: u8, codec: Codec) -> bool;
    /// Whether the message consists of one command byte (Enhanced RTMP, video command frames).
    fn is_command(&self, packet_type: u8) -> bool;
}

struct VideoRules {
    frame_type: u8,
}

impl Rules for VideoRules {
    const MULTITRACK: u8 = 6;

    fn role(&self, packet_type: u8) -> Role {
        match packet_type {
            SEQUENCE_START | 5 => Role::Config,
            CODED_FRAMES | CODED_FRAMES_X => video_role(self.frame_type),
            4 => Role::Info,
            _ => Role::Side,
        }
    }

    fn has_cts(&self, packet_type: u8, codec: Codec) -> bool {
        packet_type == CODED_FRAMES && matches!(codec, Codec::Avc | Codec::Hevc | Codec::Vvc)
    }

    fn is_command(&self, packet_type: u8) -> bool {
        self.frame_type == 5 && packet_type != 4
    }
}

struct AudioRules;

impl Rules for AudioRules {
    const MULTITRACK: u8 = 5;

    fn role(&self, packet_type: u8) -> Role {
        match packet_type {
            SEQUENCE_START => Role::Config,
            CODED_FRAMES => Role::Key,
            4 => Role::Info,
            _ => Role::Side,
        }
    }

    fn has_cts(&self, _: u8, _: Codec) -> bool {
        false
    }

    fn is_command(&self, _: u8) -> bool {
        false
    }
}

const MOD_EX: u8 = 7;

fn enhanced<R: Rules>(body: &[u8], limits: &Limits, rules: &R) -> Result<TagHeader, TagError> {
    let mut rest = Reader { body, at: 1 };
    let mut packet_type = body[0] & 0x0f;
    let mut links = 0;
    while packet_type == MOD_EX {
        links += 1;
        if links > limits.mod_ex_links {
            return Err(TagError::ModExChain);
        }
        let mut size = usize::from(rest.u8()?) + 1;
        if size == 256 {
            size = usize::from(rest.u16()?) + 1;
        }
        rest.skip(size)?;
        packet_type = rest.u8()? & 0x0f;
    }
    if rules.is_command(packet_type) {
        return Ok(TagHeader {
            codec: Codec::None,
            role: Role::Side,
            track: 0,
            cts: 0,
            data_at: rest.at as u32,
        });
    }
    if packet_type == R::MULTITRACK {
        return multitrack(rest, limits, rules);
    }
    let codec = Codec::from_fourcc(rest.fourcc()?);
    coded(rest, rules, packet_type, codec, 0)
}

fn coded<R: Rules>(
    mut rest: Reader<'_>,
    rules: &R,
    packet_type: u8,
    codec: Codec,
    track: u8,
) -> Result<TagHeader, TagError> {
    let cts = if rules.has_cts(packet_type, codec) { si24(rest.array()?) } else { 0 };
    Ok(TagHeader { codec, role: rules.role(packet_type), track, cts, data_at: rest.at as u32 })
}

fn multitrack<R: Rules>(mut rest: Reader<'_>, limits: &Limits, rules: &R) -> Result<TagHeader, TagError> {
    const ONE_TRACK: u8 = 0;
    const MANY_TRACKS: u8 = 1;
    const MANY_TRACKS_MANY_CODECS: u8 = 2;

    let first = rest.u8()?;
    let (kind, packet_type) = (first >> 4, first & 0x0f);
    if packet_type == R::MULTITRACK || packet_type == MOD_EX {
        return Err(TagError::Multitrack);
    }
    match kind {
        ONE_TRACK => {
            let codec = Codec::from_fourcc(rest.fourcc()?);
            let track = rest.u8()?;
            coded(rest, rules, packet_type, codec, track)
        }
        MANY_TRACKS | MANY_TRACKS_MANY_CODECS => {
            let shared = if kind == MANY_TRACKS { Some(rest.fourcc()?) } else { None };
            let mut header = None;
            let mut tracks = 0;
            while rest.at < rest.body.len() {
                tracks += 1;
                if tracks > limits.message_tracks {
                    return Err(TagError::Tracks);
                }
                let fourcc = match shared {
                    Some(fourcc) => fourcc,
                    None => rest.fourcc()?,
                };
                let track = rest.u8()?;
                let [s0, s1, s2] = rest.array()?;
                let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
                if size > rest.body.len() - rest.at {
                    return Err(TagError::Tracks);
                }
                if header.is_none() {
                    header = Some(coded(rest, rules, packet_type, Codec::from_fourcc(fourcc), track)?);
                }
                rest.skip(size)?;
            }
            header.ok_or(TagError::Short)
        }
        _ => Err(TagError::Multitrack),
    }
}

fn video_role(frame_type: u8) -> Role {
    match frame_type {
        1 | 4 => Role::Key,
        2 => Role::Delta,
        3 => Role::Disposable,
        _ => Role::Side,
    }
}

/// A signed 24-bit integer, big-endian (FLV `SI24`).
fn si24([a, b, c]: [u8; 3]) -> i32 {
    i32::from_be_bytes([a, b, c, 0]) >> 8
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TagError> {
        let bytes =
            self.body.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(TagError::Short)?;
        self.at += N;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, TagError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, TagError> {
        self.array().map(u16::from_be_bytes)
    }

    fn fourcc(&mut self) -> Result<[u8; 4], TagError> {
        self.array()
    }

    fn skip(&mut self, count: usize) -> Result<(), TagError> {
        if count > self.body.len() - self.at {
            return Err(TagError::Short);
        }
        self.at += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(body: &[u8]) -> Result<TagHeader, TagError> {
        video(body, &Limits::default())
    }

    fn a(body: &[u8]) -> Result<TagHeader, TagError> {
        audio(body, &Limits::default())
    }

    #[test]
    fn legacy_avc_is_told_apart_by_packet_and_frame_type() {
        assert_eq!(v(&[0x17, 0, 0, 0, 0, 1]).unwrap().role, Role::Config);
        assert_eq!(v(&[0x17, 1, 0, 0, 0, 9]).unwrap().role, Role::Key);
        assert_eq!(v(&[0x27, 1, 0, 0, 0, 9]).unwrap().role, Role::Delta);
        assert_eq!(v(&[0x37, 1, 0, 0, 0, 9]).unwrap().role, Role::Disposable);
        assert_eq!(v(&[0x17, 2, 0, 0, 0]).unwrap().role, Role::Side);
        assert_eq!(v(&[0x57, 0]).unwrap().role, Role::Side);
        assert_eq!(v(&[0x1c, 1, 0, 0, 0, 9]).unwrap().codec, Codec::Hevc);
    }

    /// MED-08.
    #[test]
    fn composition_time_is_signed() {
        assert_eq!(v(&[0x27, 1, 0xff, 0xff, 0xfe, 9]).unwrap().cts, -2);
        assert_eq!(v(&[0x27, 1, 0x80, 0, 0, 9]).unwrap().cts, -(1 << 23));
        assert_eq!(v(&[0x27, 1, 0x7f, 0xff, 0xff, 9]).unwrap().cts, (1 << 23) - 1);
    }

    /// MED-04, MED-05.
    #[test]
    fn short_bodies_and_empty_configurations_are_refused() {
        assert_eq!(v(&[]), Err(TagError::Short));
        assert_eq!(v(&[0x17]), Err(TagError::Short));
        assert_eq!(v(&[0x17, 1, 0, 0]), Err(TagError::Short));
        assert_eq!(v(&[0x17, 0, 0, 0, 0]), Err(TagError::EmptyConfig));
        assert_eq!(a(&[]), Err(TagError::Short));
        assert_eq!(a(&[0xaf]), Err(TagError::Short));
        assert_eq!(a(&[0xaf, 0]), Err(TagError::EmptyConfig));
    }

    /// The first bytes that ffmpeg writes: sequence start, coded frames with and without composition time,
    /// colour information, Opus head, channel layout.
    #[test]
    fn enhanced_headers_of_a_real_encoder_are_read() {
        let config = v(b"\x90hvc1\x01").unwrap();
        assert_eq!((config.role, config.codec, config.data_at), (Role::Config, Codec::Hevc, 5));
        let key = v(b"\x91hvc1\x00\x00\x28data").unwrap();
        assert_eq!((key.role, key.cts, key.data_at), (Role::Key, 40, 8));
        assert_eq!(v(b"\xa3hvc1data").unwrap().role, Role::Delta);
        assert_eq!(v(b"\xd4hvc1\x02").unwrap().role, Role::Info);
        let av1 = v(b"\xa1av01data").unwrap();
        assert_eq!((av1.codec, av1.data_at), (Codec::Av1, 5));
        assert_eq!(a(b"\x90OpusOpusHead").unwrap().role, Role::Config);
        assert_eq!(a(b"\x91Opusx").unwrap().role, Role::Key);
        assert_eq!(a(b"\x94Opus\x01\x01").unwrap().role, Role::Info);
    }

    #[test]
    fn video_command_frames_have_no_fourcc() {
        assert_eq!(v(&[0xd1, 0]).unwrap().role, Role::Side);
    }

    /// ERT-03.
    #[test]
    fn mod_ex_chains_are_bounded() {
        let chain = |links: usize| {
            let mut body = vec![0x97];
            for link in 0..links {
                body.extend([0, 0xaa, if link + 1 == links { 0x01 } else { 0x07 }]);
            }
            body.extend(b"av01data");
            body
        };
        assert_eq!(v(&chain(7)).unwrap().role, Role::Key);
        assert_eq!(v(&chain(8)).unwrap().role, Role::Key);
        assert_eq!(v(&chain(9)), Err(TagError::ModExChain));
        assert_eq!(v(&[0x97, 0xff, 0xff, 0xff, 1]), Err(TagError::Short));
    }

    /// ERT-04.
    #[test]
    fn multitrack_sizes_and_counts_are_checked() {
        let one = v(b"\x96\x01av01\x03data").unwrap();
        assert_eq!((one.track, one.role, one.data_at), (3, Role::Key, 7));
        let many = |count: u8| {
            let mut body = b"\x96\x11av01".to_vec();
            for track in 0..count {
                body.extend([track, 0, 0, 1, 9]);
            }
            body
        };
        assert_eq!(v(&many(64)).unwrap().track, 0);
        assert_eq!(v(&many(65)), Err(TagError::Tracks));
        assert_eq!(v(b"\x96\x11av01\x00\x00\x00\x09x"), Err(TagError::Tracks));
        assert_eq!(v(b"\x96\x16av01\x00"), Err(TagError::Multitrack));
        assert_eq!(v(b"\x96\x31av01\x00"), Err(TagError::Multitrack));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_the_content_lies_inside(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            for header in [v(&body), a(&body)].into_iter().flatten() {
                prop_assert!(header.data_at as usize <= body.len());
            }
        }
    }
}
