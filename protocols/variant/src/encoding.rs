//! The three notations, by name.

use crtmp_media::{Limits, Value};

use crate::{VariantError, decode_binary, decode_json, decode_xml, encode_binary, encode_json, encode_xml};

/// A notation for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Typed elements.
    Xml,
    /// Typed bytes.
    Binary,
    /// JSON.
    Json,
}

impl Encoding {
    /// Reads a value.
    ///
    /// # Errors
    ///
    /// See [`VariantErrorKind`](crate::VariantErrorKind).
    pub fn decode(self, body: &[u8], limits: &Limits) -> Result<Value, VariantError> {
        match self {
            Self::Xml => decode_xml(body, limits),
            Self::Binary => decode_binary(body, limits),
            Self::Json => decode_json(body, limits),
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// If it is nested too deeply, or becomes too large.
    pub fn encode(self, value: &Value, limits: &Limits) -> Result<Vec<u8>, VariantError> {
        match self {
            Self::Xml => encode_xml(value, limits),
            Self::Binary => encode_binary(value, limits),
            Self::Json => encode_json(value, limits),
        }
    }

    /// The type of a body in this notation, as HTTP names it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Xml => "text/xml",
            Self::Binary => "application/octet-stream",
            Self::Json => "application/json",
        }
    }

    /// Whether a body of this type, given in lower case and without parameters, is in this notation.
    pub fn takes(self, content_type: &str) -> bool {
        content_type == self.content_type() || (self == Self::Xml && content_type == "application/xml")
    }
}
