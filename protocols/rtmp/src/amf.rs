//! What AMF0 and AMF3 have in common: the bytes that are read, the limits that count for both, and the errors.

use std::fmt;

use crtmp_media::Limits;

/// The longest key or class name that is read, in bytes of UTF-8.
///
/// AMF0 has room for 65 535. Keys become text, in which each stray byte takes three; with this bound the
/// result still fits when it is written again.
pub const MAX_KEY: usize = 16 * 1024;

/// Why a body cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmfError {
    /// Bytes from the beginning of the AMF data to the value or field at fault.
    pub offset: usize,
    /// What is wrong there.
    pub kind: AmfErrorKind,
}

/// What is wrong with a body of AMF values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmfErrorKind {
    /// The body ends inside a value.
    Truncated,
    /// A marker of AMF0 that no sender uses (movie clip, reference, record set, unsupported) or that does not exist.
    Marker(u8),
    /// A marker that AMF3 does not have.
    Amf3Marker(u8),
    /// A reference of AMF3 to something that has not come before.
    Reference {
        /// What it refers to: a string, an object or traits.
        to: &'static str,
        /// Its number in their table.
        number: usize,
    },
    /// A reference of AMF3 to an object that it stands in: values without end are not read.
    Circle,
    /// An object of AMF3 whose class writes itself in a way of its own; only the class could say where it ends.
    Externalizable(Box<str>),
    /// Values are nested deeper than this limit ([`Limits::amf_depth`]).
    Depth(usize),
    /// There are more values than this limit ([`Limits::amf_nodes`]).
    Nodes(usize),
    /// A string, XML document or byte array has more bytes than this limit ([`Limits::amf_string`]).
    StringLength(usize),
    /// A key or class name has more bytes than this limit ([`MAX_KEY`]).
    KeyLength(usize),
    /// References of AMF3 repeat more bytes than this limit ([`Limits::amf_repeats`]).
    Repeats(usize),
}

impl fmt::Display for AmfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            AmfErrorKind::Truncated => f.write_str("AMF data ends inside a value")?,
            AmfErrorKind::Marker(marker) => write!(f, "unknown AMF0 marker 0x{marker:02X}")?,
            AmfErrorKind::Amf3Marker(marker) => write!(f, "unknown AMF3 marker 0x{marker:02X}")?,
            AmfErrorKind::Reference { to, number } => {
                write!(f, "an AMF3 reference to {to} {number}, which has not come before")?;
            }
            AmfErrorKind::Circle => f.write_str("an AMF3 reference to an object that it stands in")?,
            AmfErrorKind::Externalizable(class) => {
                write!(
                    f,
                    "an AMF3 object of the externalizable class {class:?}, whose end nobody here knows"
                )?;
            }
            AmfErrorKind::Depth(limit) => write!(f, "AMF values nested deeper than amfDepth = {limit}")?,
            AmfErrorKind::Nodes(limit) => write!(f, "more than amfNodes = {limit} AMF values")?,
            AmfErrorKind::StringLength(limit) => {
                write!(f, "an AMF string longer than amfString = {limit} bytes")?;
            }
            AmfErrorKind::KeyLength(limit) => write!(f, "an AMF key longer than {limit} bytes")?,
            AmfErrorKind::Repeats(limit) => {
                write!(f, "AMF3 references that repeat more than amfRepeats = {limit} bytes")?;
            }
        }
        write!(f, " at offset {}", self.offset)
    }
}

impl std::error::Error for AmfError {}

/// A body that is being read, and what its values have taken of the limits so far.
pub(crate) struct Input<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) at: usize,
    pub(crate) limits: &'a Limits,
    /// Objects and arrays that are open.
    depth: usize,
    nodes: usize,
    /// Bytes that references have repeated.
    repeats: usize,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(body: &'a [u8], limits: &'a Limits) -> Self {
        Self { body, at: 0, limits, depth: 0, nodes: 0, repeats: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.at >= self.body.len()
    }

    /// Counts a value that begins at `start`.
    pub(crate) fn node(&mut self, start: usize) -> Result<(), AmfError> {
        self.nodes += 1;
        self.room_for(start, 0)
    }

    /// Whether `count` values more may come.
    pub(crate) fn room_for(&self, start: usize, count: usize) -> Result<(), AmfError> {
        let limit = self.limits.amf_nodes;
        if self.nodes.saturating_add(count) > limit {
            return Err(AmfErrorKind::Nodes(limit).at(start));
        }
        Ok(())
    }

    /// Goes into a value that began at `start`; [`Self::leave`] follows, unless there is an error.
    pub(crate) fn enter(&mut self, start: usize) -> Result<(), AmfError> {
        self.depth += 1;
        let limit = self.limits.amf_depth;
        if self.depth > limit {
            return Err(AmfErrorKind::Depth(limit).at(start));
        }
        Ok(())
    }

    pub(crate) const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts bytes that stand here by reference.
    pub(crate) fn repeat(&mut self, start: usize, bytes: usize) -> Result<(), AmfError> {
        self.repeats = self.repeats.saturating_add(bytes);
        let limit = self.limits.amf_repeats;
        if self.repeats > limit {
            return Err(AmfErrorKind::Repeats(limit).at(start));
        }
        Ok(())
    }

    pub(crate) fn check_string(&self, offset: usize, length: usize) -> Result<(), AmfError> {
        let limit = self.limits.amf_string;
        if length > limit {
            return Err(AmfErrorKind::StringLength(limit).at(offset));
        }
        Ok(())
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], AmfError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(AmfErrorKind::Truncated.at(self.at))?;
        self.at += length;
        Ok(bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let mut field = [0; N];
        field.copy_from_slice(self.bytes(N)?);
        Ok(field)
    }
}

impl AmfErrorKind {
    pub(crate) const fn at(self, offset: usize) -> AmfError {
        AmfError { offset, kind: self }
    }
}

/// The text of a key or class name that stands at `start`.
pub(crate) fn key_text(start: usize, bytes: &[u8]) -> Result<String, AmfError> {
    let key = String::from_utf8_lossy(bytes).into_owned();
    if key.len() > MAX_KEY {
        return Err(AmfErrorKind::KeyLength(MAX_KEY).at(start));
    }
    Ok(key)
}
