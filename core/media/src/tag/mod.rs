//! The header of an FLV tag body, which is also the header of an RTMP audio or video message.
//!
//! Sources: Adobe FLV 10.1 §E.4.2 and §E.4.3; Enhanced RTMP v2 (2026) "Enhanced Audio" and "Enhanced
//! Video", with multitrack and ModEx, which are in `enhanced.rs`.

mod enhanced;

use std::fmt;

use crate::{Codec, Limits, MediaKind, Role, Slice};

/// What a tag header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagHeader {
    /// The codec; of several tracks that of the one with the lowest id.
    pub codec: Codec,
    /// What the message means for joining and dropping.
    pub role: Role,
    /// The track; 0 where there are no track ids, and of several tracks the lowest id.
    pub track: u8,
    /// Composition time in ms; 0 where the header has none, and of several tracks, where each has its own.
    pub cts: i32,
    /// Where the content begins. Several tracks have no content in common: then it is where the message ends.
    pub data_at: u32,
    /// Nanoseconds that are to be added to the presentation time, 0 to 999 999 (ModEx `TimestampOffsetNano`). They
    /// stay in the message as they are; decode times do not depend on them.
    pub nanos: u32,
    /// Whether it is a message of several tracks, which [`split`] takes apart.
    pub several: bool,
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
    /// More tracks than [`Limits::message_tracks`], a track that reaches beyond the message, or a frame of nothing.
    Tracks,
    /// A track id that is there twice.
    SameTrack,
    /// A packet type that the specification does not know: what it would mean for those who join cannot be told.
    PacketType,
    /// A configuration in the form of MPEG-2 TS, which nothing here could give to players in the form that they know.
    Mpeg2Ts,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the message ends inside its header",
            Self::EmptyConfig => "a codec configuration without content",
            Self::ModExChain => "more ModEx links than modExLinks allows",
            Self::Multitrack => "an unknown or nested multitrack header",
            Self::Tracks => "more tracks than messageTracks allows, or a track that does not fit the message",
            Self::SameTrack => "a track that is in the message twice",
            Self::PacketType => "an unknown packet type",
            Self::Mpeg2Ts => "a configuration in the form of MPEG-2 TS, which is not supported",
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
        return enhanced::header(MediaKind::Video, body, limits);
    }
    let codec = Codec::from_flv_video(first & 0x0f);
    let by_type = video_role(first >> 4);
    if !matches!(codec, Codec::Avc | Codec::Hevc) || by_type == Role::Side {
        return Ok(legacy(codec, by_type, 0, 1));
    }
    let [_, packet_type, c0, c1, c2, ..] = *body else { return Err(TagError::Short) };
    let role = match packet_type {
        0 if body.len() == 5 => return Err(TagError::EmptyConfig),
        0 => Role::Config,
        1 => by_type,
        _ => Role::Side,
    };
    Ok(legacy(codec, role, si24([c0, c1, c2]), 5))
}

/// Reads the header of an audio tag body.
///
/// # Errors
///
/// See [`TagError`].
pub fn audio(body: &[u8], limits: &Limits) -> Result<TagHeader, TagError> {
    let first = *body.first().ok_or(TagError::Short)?;
    match first >> 4 {
        9 => enhanced::header(MediaKind::Audio, body, limits),
        10 => {
            let packet_type = *body.get(1).ok_or(TagError::Short)?;
            let role = match packet_type {
                0 if body.len() == 2 => return Err(TagError::EmptyConfig),
                0 => Role::Config,
                _ => Role::Key,
            };
            Ok(legacy(Codec::Aac, role, 0, 2))
        }
        format => Ok(legacy(Codec::from_flv_audio(format), Role::Key, 0, 1)),
    }
}

/// Whether the body of an audio or video tag is enhanced, that is, names its codec by a FourCC.
pub fn is_enhanced(kind: MediaKind, body: &[u8]) -> bool {
    enhanced::is_enhanced(kind, body)
}

/// Whether a body is a message of several tracks.
pub fn has_several(kind: MediaKind, body: &[u8]) -> bool {
    enhanced::has_several(kind, body)
}

/// A message for each track of a message with track ids, each with its id; nothing where there are none.
pub fn split(kind: MediaKind, body: &[u8]) -> Vec<Slice> {
    enhanced::split(kind, body)
}

/// The message of one track of a message with track ids, as it would be without; nothing where there are no ids, or
/// another track's. A header fits in before it.
pub fn unwrapped(kind: MediaKind, body: &[u8], track: u8) -> Option<Slice> {
    enhanced::unwrapped(kind, body, track)
}

/// The header of a tag without track ids.
const fn legacy(codec: Codec, role: Role, cts: i32, data_at: u32) -> TagHeader {
    TagHeader { codec, role, track: 0, cts, data_at, nanos: 0, several: false }
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

#[cfg(test)]
mod tests;
