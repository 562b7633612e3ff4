//! Frames on their way over the border.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use crtmp_media::{self as media, Codec};
pub use crtmp_media::{MediaKind, Role};

use crate::abi::{self, FrameTable, Str};
use crate::host::Host;

/// A coded picture, an audio frame or a piece of data, borrowed for the hook.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    table: &'a FrameTable,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(table: &'a FrameTable) -> Self {
        Self { table }
    }

    /// Audio, video or data.
    pub fn kind(&self) -> MediaKind {
        kind_of(self.table.kind).unwrap_or(MediaKind::Data)
    }

    /// What it means for joining and dropping.
    pub fn role(&self) -> Role {
        match self.table.role {
            abi::ROLE_CONFIG => Role::Config,
            abi::ROLE_INFO => Role::Info,
            abi::ROLE_KEY => Role::Key,
            abi::ROLE_DELTA => Role::Delta,
            abi::ROLE_DISPOSABLE => Role::Disposable,
            _ => Role::Side,
        }
    }

    /// Whether it is a codec configuration (sequence header).
    pub fn is_sequence_header(&self) -> bool {
        self.table.role == abi::ROLE_CONFIG
    }

    /// Whether it is a picture that needs no other.
    pub fn is_key(&self) -> bool {
        self.kind() == MediaKind::Video && self.role() == Role::Key
    }

    /// The codec as a FourCC; see [`FrameTable::codec`].
    pub fn codec(&self) -> [u8; 4] {
        self.table.codec.to_be_bytes()
    }

    /// The track within its kind; 0 unless the stream is multitrack.
    pub fn track(&self) -> u32 {
        self.table.track
    }

    /// Decode time in ms.
    pub fn dts(&self) -> i64 {
        self.table.dts_ms
    }

    /// Presentation minus decode time in ms.
    pub fn cts(&self) -> i32 {
        self.table.cts_ms
    }

    /// The body of its FLV tag.
    pub fn body(&self) -> &'a [u8] {
        // SAFETY: the host lends the body for as long as the table.
        unsafe { self.table.body.bytes() }
    }

    /// The content: length-prefixed NAL units, raw audio, or the codec configuration.
    pub fn data(&self) -> &'a [u8] {
        self.body().get(self.table.data_at as usize..).unwrap_or_default()
    }

    /// Keeps the frame for longer than the hook. No byte is copied, but in filters: there frames have no owner yet.
    pub fn keep(&self, host: &Host) -> KeptFrame {
        if !self.table.owner.is_null() {
            host.retain(self.table.owner);
            return KeptFrame::adopt(*self.table, host.clone());
        }
        let copy: Box<[u8]> = self.body().into();
        let table = FrameTable { body: Str::of(&copy), ..*self.table };
        KeptFrame { table, host: host.clone(), _copy: Some(copy) }
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.table.body.len;
        write!(f, "Frame({:?}, {:?}, {} ms, {length} bytes)", self.kind(), self.role(), self.dts())
    }
}

/// A frame that is kept until it is dropped.
pub struct KeptFrame {
    table: FrameTable,
    host: Host,
    /// The body, where nobody else owns it.
    _copy: Option<Box<[u8]>>,
}

// SAFETY: the memory is shared and unchanging, and the host's functions may be called from any thread.
unsafe impl Send for KeptFrame {}
// SAFETY: as above.
unsafe impl Sync for KeptFrame {}

impl KeptFrame {
    /// A frame that has been retained already.
    pub(crate) fn adopt(table: FrameTable, host: Host) -> Self {
        Self { table, host, _copy: None }
    }

    /// The frame.
    pub fn get(&self) -> Frame<'_> {
        Frame::new(&self.table)
    }
}

impl Drop for KeptFrame {
    fn drop(&mut self) {
        if !self.table.owner.is_null() {
            self.host.release(self.table.owner);
        }
    }
}

impl fmt::Debug for KeptFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Lends a frame; the table is good as long as `frame`.
pub(crate) fn table(frame: &Arc<media::Frame>) -> FrameTable {
    FrameTable { owner: Arc::as_ptr(frame).cast(), ..lend(frame) }
}

/// Lends a frame that cannot be kept.
pub(crate) fn lend(frame: &media::Frame) -> FrameTable {
    FrameTable {
        size: size_of::<FrameTable>(),
        kind: number_of(frame.kind),
        role: match frame.role {
            Role::Config => abi::ROLE_CONFIG,
            Role::Info => abi::ROLE_INFO,
            Role::Key => abi::ROLE_KEY,
            Role::Delta => abi::ROLE_DELTA,
            Role::Disposable => abi::ROLE_DISPOSABLE,
            Role::Side => abi::ROLE_SIDE,
        },
        codec: u32::from_be_bytes(fourcc(frame.codec)),
        track: frame.track.into(),
        dts_ms: frame.dts,
        cts_ms: frame.cts,
        data_at: frame.data_at,
        body: Str::of(&frame.body),
        owner: ptr::null(),
    }
}

pub(crate) fn kind_of(number: u32) -> Option<MediaKind> {
    match number {
        abi::FRAME_AUDIO => Some(MediaKind::Audio),
        abi::FRAME_VIDEO => Some(MediaKind::Video),
        abi::FRAME_DATA => Some(MediaKind::Data),
        _ => None,
    }
}

pub(crate) fn number_of(kind: MediaKind) -> u32 {
    match kind {
        MediaKind::Audio => abi::FRAME_AUDIO,
        MediaKind::Video => abi::FRAME_VIDEO,
        MediaKind::Data => abi::FRAME_DATA,
    }
}

fn fourcc(codec: Codec) -> [u8; 4] {
    match codec {
        Codec::Avc => *b"avc1",
        Codec::Hevc => *b"hvc1",
        Codec::Vvc => *b"vvc1",
        Codec::Av1 => *b"av01",
        Codec::Vp8 => *b"vp08",
        Codec::Vp9 => *b"vp09",
        Codec::Aac => *b"mp4a",
        Codec::Mp3 => *b".mp3",
        Codec::Opus => *b"Opus",
        Codec::Flac => *b"fLaC",
        Codec::Ac3 => *b"ac-3",
        Codec::Eac3 => *b"ec-3",
        Codec::FlvVideo(number) | Codec::FlvAudio(number) => [b'F', b'L', b'V', number],
        Codec::Other(fourcc) => fourcc,
        Codec::None => [0; 4],
    }
}
