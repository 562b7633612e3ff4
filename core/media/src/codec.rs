//! The codecs that FLV and RTMP can name.

use std::fmt;

/// A codec, named by its legacy FLV number or by its Enhanced RTMP FourCC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264, FLV codec id 7 or FourCC `avc1`.
    Avc,
    /// H.265, FourCC `hvc1`, or codec id 12 by convention of some senders.
    Hevc,
    /// H.266, FourCC `vvc1`.
    Vvc,
    /// AV1, FourCC `av01`.
    Av1,
    /// VP8, FourCC `vp08`.
    Vp8,
    /// VP9, FourCC `vp09`.
    Vp9,
    /// AAC, FLV sound format 10 or FourCC `mp4a`.
    Aac,
    /// MP3, FLV sound format 2 or 14, or FourCC `.mp3`.
    Mp3,
    /// Opus, FourCC `Opus`.
    Opus,
    /// FLAC, FourCC `fLaC`.
    Flac,
    /// AC-3, FourCC `ac-3`.
    Ac3,
    /// Enhanced AC-3, FourCC `ec-3`.
    Eac3,
    /// Another video codec by its FLV codec id (FLV 10.1, table E.4.3.1).
    FlvVideo(u8),
    /// Another sound format by its FLV number (FLV 10.1, table E.4.2.1).
    FlvAudio(u8),
    /// Another codec by its FourCC; passed on, never looked into.
    Other([u8; 4]),
    /// Not audio or video.
    None,
}

impl Codec {
    /// The video codec of an FLV codec id.
    pub const fn from_flv_video(id: u8) -> Self {
        match id {
            7 => Self::Avc,
            12 => Self::Hevc,
            other => Self::FlvVideo(other),
        }
    }

    /// The audio codec of an FLV sound format.
    pub const fn from_flv_audio(format: u8) -> Self {
        match format {
            2 | 14 => Self::Mp3,
            10 => Self::Aac,
            other => Self::FlvAudio(other),
        }
    }

    /// The codec of an Enhanced RTMP FourCC.
    pub const fn from_fourcc(fourcc: [u8; 4]) -> Self {
        match &fourcc {
            b"avc1" => Self::Avc,
            b"hvc1" => Self::Hevc,
            b"vvc1" => Self::Vvc,
            b"av01" => Self::Av1,
            b"vp08" => Self::Vp8,
            b"vp09" => Self::Vp9,
            b"mp4a" => Self::Aac,
            b".mp3" => Self::Mp3,
            b"Opus" => Self::Opus,
            b"fLaC" => Self::Flac,
            b"ac-3" => Self::Ac3,
            b"ec-3" => Self::Eac3,
            _ => Self::Other(fourcc),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Avc => "H.264",
            Self::Hevc => "H.265",
            Self::Vvc => "H.266",
            Self::Av1 => "AV1",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Aac => "AAC",
            Self::Mp3 => "MP3",
            Self::Opus => "Opus",
            Self::Flac => "FLAC",
            Self::Ac3 => "AC-3",
            Self::Eac3 => "E-AC-3",
            Self::FlvVideo(id) => return write!(f, "FLV video codec {id}"),
            Self::FlvAudio(format) => return write!(f, "FLV sound format {format}"),
            Self::Other(fourcc) => return write!(f, "{}", fourcc.escape_ascii()),
            Self::None => "none",
        };
        f.write_str(name)
    }
}
