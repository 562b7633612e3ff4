//! Why a message cannot be read or written.

use std::fmt;

/// Why a message cannot be read or written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantError {
    /// Bytes from the beginning of the message to the place at fault.
    pub offset: usize,
    /// What is wrong there.
    pub kind: VariantErrorKind,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariantErrorKind {
    /// There is not one byte.
    Empty,
    /// The message ends inside a value.
    Truncated,
    /// Something follows the value.
    Trailing,
    /// A text is not UTF-8.
    Utf8,
    /// The bytes are not of the format; the name of the format.
    Syntax(&'static str),
    /// A byte that names no type.
    Type(u8),
    /// An element that names no type.
    Element,
    /// An element or a text where none may stand.
    Misplaced,
    /// The content does not fit its type; the name of the type.
    Content(&'static str),
    /// A document type declaration.
    DocumentType,
    /// A reference to an entity that XML itself does not define, or to no character.
    Entity,
    /// An element has more attributes than this limit.
    Attributes(usize),
    /// Values are nested deeper than this limit ([`Limits::amf_depth`](crtmp_media::Limits)).
    Depth(usize),
    /// There are more values than this limit ([`Limits::amf_nodes`](crtmp_media::Limits)).
    Nodes(usize),
    /// A string, key or class name has more bytes than this limit ([`Limits::amf_string`](crtmp_media::Limits)).
    StringLength(usize),
    /// The message has more bytes than this limit ([`Limits::variant_size`](crtmp_media::Limits)).
    Size(usize),
}

impl VariantErrorKind {
    /// The error of this kind at `offset`.
    pub(crate) fn at(self, offset: usize) -> VariantError {
        VariantError { offset, kind: self }
    }
}

impl fmt::Display for VariantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use VariantErrorKind as Kind;
        match self.kind {
            Kind::Empty => return f.write_str("a message without a value"),
            Kind::Size(limit) => return write!(f, "a message of more than variantSize = {limit} bytes"),
            Kind::Truncated => f.write_str("the message ends inside a value")?,
            Kind::Trailing => f.write_str("something follows the value of the message")?,
            Kind::Utf8 => f.write_str("text that is not UTF-8")?,
            Kind::Syntax(format) => write!(f, "not {format}")?,
            Kind::Type(byte) => write!(f, "unknown variant type {byte}")?,
            Kind::Element => f.write_str("an element whose name is no variant type")?,
            Kind::Misplaced => f.write_str("an element or text that may not stand there")?,
            Kind::Content(name) => write!(f, "the content of a {name} is none")?,
            Kind::DocumentType => f.write_str("a document type declaration: send the value alone")?,
            Kind::Entity => f.write_str("a reference to an unknown entity or to no character")?,
            Kind::Attributes(limit) => write!(f, "an element with more than {limit} attributes")?,
            Kind::Depth(limit) => write!(f, "values nested deeper than amfDepth = {limit}")?,
            Kind::Nodes(limit) => write!(f, "more than amfNodes = {limit} values")?,
            Kind::StringLength(limit) => write!(f, "a string longer than amfString = {limit} bytes")?,
        }
        write!(f, " at offset {}", self.offset)
    }
}

impl std::error::Error for VariantError {}
