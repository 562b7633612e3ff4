//! The face for programs: JSON, as crtmpserver wrote it.
//!
//! An answer is its JSON text, byte for byte as the application wrote it, and two line ends. With `useLengthPadding`
//! the length of all that stands before it, in four bytes, the most significant first.

use std::time::Instant;

use crtmp_media::{KeyKind, KeyRow, Layer, LayerSettings};

use crate::session::{Face, Session};

/// The keys that an acceptor may have for it.
pub const KEYS: &[KeyRow] = &[KeyRow { name: LENGTH, kind: KeyKind::Flag }];

/// Whether answers begin with their length.
pub(crate) const LENGTH: &str = "useLengthPadding";

/// What ends an answer.
const END: &[u8] = b"\r\n\r\n";

/// Shows JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonFace {
    /// Whether answers begin with their length.
    pub with_length: bool,
}

/// The layer of a connection that came at `now`.
pub fn layer(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    let face = JsonFace { with_length: settings.flag(LENGTH) };
    Box::new(Session::new(face, settings, now))
}

impl Face for JsonFace {
    const NAME: &'static str = "jsoncli";
    const AGENT: &'static str = "jsonCli";

    fn write(&self, _command: &str, answer: &str, out: &mut Vec<u8>) {
        write_padded(self.with_length, out, |out| {
            out.extend_from_slice(answer.as_bytes());
            out.extend_from_slice(END);
        });
    }
}

/// Appends what `write` writes, behind its length if that is wanted.
pub(crate) fn write_padded(with_length: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if !with_length {
        return write(out);
    }
    let mut body = Vec::new();
    write(&mut body);
    // Four gigabytes are far beyond what a connection may have in its queue.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.append(&mut body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_passes_byte_for_byte() {
        let answer = "{\"status\": \"SUCCESS\",\n \"data\": \"é\"}";
        let mut out = Vec::new();
        JsonFace { with_length: false }.write("", answer, &mut out);
        assert_eq!(out, format!("{answer}\r\n\r\n").as_bytes());
    }

    #[test]
    fn the_length_counts_the_line_ends() {
        let mut out = Vec::new();
        JsonFace { with_length: true }.write("", "{}", &mut out);
        JsonFace { with_length: true }.write("", &"x".repeat(300), &mut out);
        assert_eq!(&out[..10], b"\0\0\0\x06{}\r\n\r\n");
        assert_eq!(&out[10..15], b"\0\0\x01\x30x");
        assert_eq!(out.len(), 10 + 4 + 304);
    }
}
