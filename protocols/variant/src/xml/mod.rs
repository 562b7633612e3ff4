//! The XML notation: an element for each value, named after its type.
//!
//! Nothing of XML that could grow is there: no document types, no entities but the five of XML itself.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::decode_xml;
pub use write::encode_xml;

/// The types, which are the names of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Undefined,
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Double,
    Timestamp,
    Date,
    Time,
    Str,
    ByteArray,
    Map,
    TypedMap,
}

impl Type {
    const ALL: [Self; 19] = [
        Self::Null,
        Self::Undefined,
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Double,
        Self::Timestamp,
        Self::Date,
        Self::Time,
        Self::Str,
        Self::ByteArray,
        Self::Map,
        Self::TypedMap,
    ];

    /// The type of an element; like crtmpserver, without regard to case.
    fn of(element: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(element))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Undefined => "UNDEFINED",
            Self::Bool => "BOOL",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Double => "DOUBLE",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Str => "STR",
            Self::ByteArray => "BYTEARRAY",
            Self::Map => "MAP",
            Self::TypedMap => "TYPED_MAP",
        }
    }
}
