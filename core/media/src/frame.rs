//! Frames: the one form in which media travels inside the server.

use crate::{Codec, Limits, Slice, tag};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Metadata, cue points, captions, text.
    Data,
}

/// What a frame means for whoever joins, skips or drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Codec configuration (sequence header): without it nothing that follows can be decoded.
    Config,
    /// Information that a joiner needs beside the configuration: `onMetaData`, colour information,
    /// channel layout.
    Info,
    /// Decodes without any earlier frame: a video key frame, or any audio frame.
    Key,
    /// Needs earlier frames.
    Delta,
    /// Needs earlier frames, and no other frame needs it.
    Disposable,
    /// Everything else that is passed on in order: end of sequence, commands, cue points.
    Side,
}

impl Role {
    /// Whether a player that joins must be sent the newest of these before any media.
    pub const fn is_header(self) -> bool {
        matches!(self, Self::Config | Self::Info)
    }
}

/// One coded access unit, one audio frame, or one piece of data.
///
/// `body` is the body of an FLV tag or RTMP message, header included, so that RTMP, FLV and WebSocket
/// pass it on without a change; `data()` is the canonical content behind that header: length-prefixed NAL
/// units (AVCC, HVCC), raw audio, or the configuration record. Sources of other families (TS, RTP) write
/// the tag header when they make the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Audio, video or data.
    pub kind: MediaKind,
    /// What it means for joining and dropping.
    pub role: Role,
    /// The codec, as far as the tag header names it.
    pub codec: Codec,
    /// The track within its kind; 0 where the message has no track ids, and of several tracks the lowest.
    pub track: u8,
    /// Decode time in ms on the stream's own unwrapped timeline.
    pub dts: i64,
    /// Composition time: presentation minus decode time, in ms; 0 where the message has several tracks, each of which has
    /// its own. What Enhanced RTMP adds to it in nanoseconds stays in `body`.
    pub cts: i32,
    /// The tag body.
    pub body: Slice,
    /// Where in `body` the canonical content begins, in bytes; its end where the message has several tracks.
    pub data_at: u32,
}

impl Frame {
    /// Bytes that a waiting frame is counted with beside its body, so that many small ones do not take much for little.
    pub const OVERHEAD: usize = 256;

    /// The canonical content: what follows the tag header.
    pub fn data(&self) -> &[u8] {
        self.body.get(self.data_at as usize..).unwrap_or_default()
    }

    /// Whether it is a message of several tracks.
    pub fn has_several(&self) -> bool {
        tag::has_several(self.kind, &self.body)
    }

    /// The frames of its tracks, each in a message of its own, where it has several; else nothing.
    pub fn split(&self) -> Vec<Self> {
        if !self.has_several() {
            return Vec::new();
        }
        // Its header has been read before.
        let limits = Limits { mod_ex_links: usize::MAX, ..Limits::default() };
        let part = |body: Slice| {
            let header = match self.kind {
                MediaKind::Audio => tag::audio(&body, &limits),
                _ => tag::video(&body, &limits),
            };
            let tag::TagHeader { codec, track, cts, data_at, .. } = header.ok()?;
            Some(Self { codec, track, cts, data_at, body, ..*self })
        };
        tag::split(self.kind, &self.body).into_iter().filter_map(part).collect()
    }

    /// Whether a player can start at this frame, as far as its picture is concerned. Of several tracks of pictures the
    /// relay leaves this to the default track.
    pub fn is_video_key(&self) -> bool {
        self.kind == MediaKind::Video && self.role == Role::Key
    }
}
