//! FLV files: tags whose bodies are those of RTMP messages (Adobe FLV 10.1, annex E).

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;

use super::Failure;

/// Tag types, which are also message types.
pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const SCRIPT: u8 = 18;

/// Bytes of a tag header, and of the back pointer behind each tag.
const HEADER: usize = 11;
const POINTER: usize = 4;

/// One tag of a file.
pub(crate) struct Tag {
    pub(crate) kind: u8,
    /// In milliseconds, modulo 2³².
    pub(crate) time: u32,
    pub(crate) body: Vec<u8>,
}

/// Reads a file tag by tag.
pub(crate) struct Reader(BufReader<File>);

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        let mut reader = Self(BufReader::new(file));
        let mut header = [0; 9];
        let whole = reader.fill(&mut header)?;
        let size = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
        if !whole || !header.starts_with(b"FLV\x01") || !(9..=1024).contains(&size) {
            return Err(format!("{} is no FLV file", path.display()).into());
        }
        reader.fill(&mut vec![0; size - header.len() + POINTER])?;
        Ok(reader)
    }

    /// The next tag; nothing at the end of the file, also where that cuts a tag off.
    pub(crate) fn next(&mut self) -> Result<Option<Tag>, Failure> {
        let mut header = [0; HEADER];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let [kind, s2, s1, s0, t2, t1, t0, t3, ..] = header;
        let mut body = vec![0; u32::from_be_bytes([0, s2, s1, s0]) as usize];
        if !self.fill(&mut body)? {
            return Ok(None);
        }
        self.fill(&mut [0; POINTER])?;
        Ok(Some(Tag { kind: kind & 0x1F, time: u32::from_be_bytes([t3, t2, t1, t0]), body }))
    }

    /// Fills `bytes`; false if the file ends before.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, Failure> {
        match self.0.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a file tag by tag, so that it is whole whenever the program ends.
pub(crate) struct Writer(File);

impl Writer {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        let mut writer = Self(file);
        // Version 1, sound and pictures, a header of 9 bytes; then the first back pointer.
        writer.0.write_all(b"FLV\x01\x05\0\0\0\x09\0\0\0\0")?;
        Ok(writer)
    }

    pub(crate) fn write(&mut self, kind: u8, time: u32, body: &[u8]) -> Result<(), Failure> {
        let [_, s2, s1, s0] = u32::try_from(body.len())?.to_be_bytes();
        let [t3, t2, t1, t0] = time.to_be_bytes();
        let mut tag = vec![kind, s2, s1, s0, t2, t1, t0, t3, 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&u32::try_from(tag.len())?.to_be_bytes());
        self.0.write_all(&tag)?;
        Ok(())
    }
}
