//! Reads the tags of an FLV file, one by one.
//!
//! Source: Adobe Flash Video File Format 10.1, annex E.

use std::io::{self, ErrorKind, Read};

use crtmp_plugin::MediaKind;

/// A tag: audio, video or data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) kind: MediaKind,
    /// Decode time in ms.
    pub(crate) dts: i64,
    pub(crate) body: Vec<u8>,
}

/// A file that is read.
pub(crate) struct Tags<R> {
    file: R,
}

impl<R: Read> Tags<R> {
    /// Reads the header.
    pub(crate) fn open(mut file: R) -> io::Result<Self> {
        let mut head = [0; 9];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => wrong("it is too short for an FLV file"),
            _ => error,
        })?;
        let [b'F', b'L', b'V', 1, _, length @ ..] = head else { return Err(wrong("it is no FLV file")) };
        let more = u64::from(u32::from_be_bytes(length)).saturating_sub(9);
        // Behind the header, and the size of a tag before the first one, which is 0.
        io::copy(&mut file.by_ref().take(more + 4), &mut io::sink())?;
        Ok(Self { file })
    }

    /// The next tag; none at the end. A tag that is cut off is the end, too: encoders that are killed leave one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Tag>> {
        loop {
            let mut head = [0; 11];
            if !fill(&mut self.file, &mut head)? {
                return Ok(None);
            }
            let [kind, s0, s1, s2, t0, t1, t2, t3, ..] = head;
            let size = u32::from_be_bytes([0, s0, s1, s2]);
            // The fourth byte of the time is its highest.
            let dts = i64::from(u32::from_be_bytes([t3, t0, t1, t2]));
            // Memory follows what is there, not what the head announces.
            let mut body = Vec::new();
            self.file.by_ref().take(size.into()).read_to_end(&mut body)?;
            let mut behind = [0; 4];
            if body.len() < size as usize || !fill(&mut self.file, &mut behind)? {
                return Ok(None);
            }
            let kind = match kind {
                8 => MediaKind::Audio,
                9 => MediaKind::Video,
                18 => MediaKind::Data,
                // Encrypted tags, and what is not known.
                _ => continue,
            };
            return Ok(Some(Tag { kind, dts, body }));
        }
    }
}

/// Fills a buffer; false where the file ends before.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

    fn read(bytes: &[u8]) -> Vec<Tag> {
        let mut tags = Tags::open(bytes).unwrap();
        std::iter::from_fn(|| tags.next().unwrap()).collect()
    }

    #[test]
    fn tags_come_one_by_one() {
        let video = b"\x09\0\0\x02\0\0\x07\x01\0\0\0ab\0\0\0\x0d";
        let odd = b"\x0f\0\0\x01\0\0\0\0\0\0\0z\0\0\0\x0c";
        let file = [HEAD, odd, video].concat();
        let tag = Tag { kind: MediaKind::Video, dts: 0x0100_0007, body: b"ab".to_vec() };
        assert_eq!(read(&file), [tag]);
        for end in HEAD.len()..file.len() {
            assert_eq!(read(&file[..end]), [], "{end}");
        }
    }

    #[test]
    fn what_is_no_flv_is_refused() {
        for bytes in [&b""[..], b"FLV", b"FLV\x02\x05\0\0\0\x09\0\0\0\0", b"not an FLV file"] {
            assert!(Tags::open(bytes).is_err());
        }
        assert_eq!(read(b"FLV\x01\x05\xff\xff\xff\xff"), []);
    }
}
