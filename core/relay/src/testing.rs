//! Frames and an encoder for the tests of this crate.

use bytes::Bytes;
use crtmp_media::{Codec, Encoder, Format, Frame, MediaKind, Packet, Role};

pub(crate) fn frame(kind: MediaKind, role: Role, dts: i64, body: &[u8]) -> Frame {
    Frame {
        kind,
        role,
        codec: Codec::None,
        track: 0,
        dts,
        cts: 0,
        body: Bytes::copy_from_slice(body),
        data_at: 0,
    }
}

pub(crate) fn config(dts: i64, body: &[u8]) -> Frame {
    frame(MediaKind::Video, Role::Config, dts, body)
}

pub(crate) fn audio_config(dts: i64, body: &[u8]) -> Frame {
    frame(MediaKind::Audio, Role::Config, dts, body)
}

pub(crate) fn metadata(dts: i64) -> Frame {
    frame(MediaKind::Data, Role::Info, dts, b"meta")
}

pub(crate) fn key(dts: i64) -> Frame {
    frame(MediaKind::Video, Role::Key, dts, format!("K{dts:>7}").as_bytes())
}

pub(crate) fn delta(dts: i64) -> Frame {
    frame(MediaKind::Video, Role::Delta, dts, format!("d{dts:>7}").as_bytes())
}

pub(crate) fn audio(dts: i64) -> Frame {
    frame(MediaKind::Audio, Role::Key, dts, format!("a{dts:>7}").as_bytes())
}

pub(crate) const FORMAT: Format = Format { family: "test", variant: 1, chunk_size: 0 };

/// Packets that say what they are: body and time.
pub(crate) struct Plain;

impl Encoder for Plain {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let mut bytes = frame.body.to_vec();
        bytes.extend(format!("@{dts};").as_bytes());
        Packet { bytes: bytes.into(), header_len: 0, kind: frame.kind, role: frame.role, dts }
    }
}

pub(crate) fn plain(_: Format) -> Box<dyn Encoder> {
    Box::new(Plain)
}
