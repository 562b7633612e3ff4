//! Values as elements.

use base64::{Engine, engine::general_purpose::STANDARD};
use crtmp_media::{Limits, Value};

use super::Type;
use crate::{
    VariantError, array,
    budget::Budget,
    date,
    number::{Number, double_text},
};

/// Writes a value.
///
/// # Errors
///
/// If it is nested deeper than [`Limits::amf_depth`], or becomes larger than [`Limits::variant_size`].
pub fn encode_xml(value: &Value, limits: &Limits) -> Result<Vec<u8>, VariantError> {
    let mut encoder = Encoder { out: String::new(), budget: Budget::of_answer(limits) };
    encoder.out.push_str("<?xml version=\"1.0\" ?>");
    encoder.value("", value)?;
    Ok(encoder.out.into_bytes())
}

struct Encoder<'a> {
    out: String,
    budget: Budget<'a>,
}

impl Encoder<'_> {
    fn value(&mut self, name: &str, value: &Value) -> Result<(), VariantError> {
        match value {
            Value::Null | Value::Undefined => self.empty(name),
            Value::Boolean(flag) => self.leaf(Type::Bool, name, if *flag { "true" } else { "false" }),
            Value::Number(number) => self.number(name, (*number).into()),
            Value::Date { unix_ms, .. } => match date::seconds(*unix_ms) {
                Some(seconds) => self.leaf(Type::Timestamp, name, &date::text(seconds)),
                None => self.empty(name),
            },
            // XML has no way to say NUL.
            Value::String(text) | Value::Xml(text) if text.contains('\0') => {
                self.bytes(name, text.as_bytes())
            }
            Value::String(text) | Value::Xml(text) => self.leaf(Type::Str, name, text),
            Value::RawString(bytes) => self.bytes(name, bytes),
            Value::Object(members) => {
                let members = members.iter().map(|(key, value)| (key.as_str(), value));
                self.map(Type::Map, &[("isArray", "false")], name, members)
            }
            Value::EcmaArray(members) => {
                let members = members.iter().map(|(key, value)| (key.as_str(), value));
                self.map(Type::Map, &[("isArray", "true")], name, members)
            }
            Value::StrictArray(values) => {
                let members = values.iter().enumerate();
                let members = members.map(|(at, value)| (array::index_key(at), value));
                self.map(Type::Map, &[("isArray", "true")], name, members)
            }
            Value::TypedObject { class, members } => {
                let members = members.iter().map(|(key, value)| (key.as_str(), value));
                self.map(Type::TypedMap, &[("typeName", class), ("isArray", "false")], name, members)
            }
            Value::Bytes(_) | Value::E4x(_) | Value::Vector(_) | Value::Dictionary { .. } => {
                let nearest = value.nearest().unwrap_or(Value::Null);
                self.value(name, &nearest)
            }
        }
    }

    fn number(&mut self, name: &str, number: Number) -> Result<(), VariantError> {
        match number {
            Number::Int8(number) => self.leaf(Type::Int8, name, &number.to_string()),
            Number::Uint8(number) => self.leaf(Type::Uint8, name, &number.to_string()),
            Number::Int16(number) => self.leaf(Type::Int16, name, &number.to_string()),
            Number::Uint16(number) => self.leaf(Type::Uint16, name, &number.to_string()),
            Number::Int32(number) => self.leaf(Type::Int32, name, &number.to_string()),
            Number::Uint32(number) => self.leaf(Type::Uint32, name, &number.to_string()),
            Number::Int64(number) => self.leaf(Type::Int64, name, &number.to_string()),
            Number::Double(number) => self.leaf(Type::Double, name, &double_text(number)),
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), VariantError> {
        self.budget.size(self.out.len().saturating_add(bytes.len()))?;
        self.leaf(Type::ByteArray, name, &STANDARD.encode(bytes))
    }

    fn map<'v, K: AsRef<str>>(
        &mut self,
        kind: Type,
        attributes: &[(&str, &str)],
        name: &str,
        members: impl Iterator<Item = (K, &'v Value)>,
    ) -> Result<(), VariantError> {
        self.budget.open(self.out.len())?;
        self.start(kind, attributes, name)?;
        self.out.push('>');
        for (key, value) in members {
            self.value(key.as_ref(), value)?;
        }
        self.budget.close();
        self.end(kind)
    }

    fn leaf(&mut self, kind: Type, name: &str, content: &str) -> Result<(), VariantError> {
        self.start(kind, &[], name)?;
        self.out.push('>');
        self.text(content)?;
        self.end(kind)
    }

    fn empty(&mut self, name: &str) -> Result<(), VariantError> {
        self.start(Type::Null, &[], name)?;
        self.out.push_str(" />");
        self.budget.size(self.out.len())
    }

    /// Writes a start tag up to its last attribute, which is the name.
    fn start(&mut self, kind: Type, attributes: &[(&str, &str)], name: &str) -> Result<(), VariantError> {
        self.out.push('<');
        self.out.push_str(kind.name());
        for (attribute, value) in attributes.iter().copied().chain([("name", name)]) {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            self.text(value)?;
            self.out.push('"');
        }
        self.budget.size(self.out.len())
    }

    fn end(&mut self, kind: Type) -> Result<(), VariantError> {
        self.out.push_str("</");
        self.out.push_str(kind.name());
        self.out.push('>');
        self.budget.size(self.out.len())
    }

    fn text(&mut self, text: &str) -> Result<(), VariantError> {
        self.budget.size(self.out.len().saturating_add(text.len()))?;
        for letter in text.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&apos;"),
                // Only in keys and class names: texts with it are written as bytes.
                '\0' => self.out.push(char::REPLACEMENT_CHARACTER),
                // Readers would make spaces or nothing of line ends and tabs, and refuse the others.
                '\x01'..='\x1F' => self.out.push_str(&format!("&#x{:02X};", u32::from(letter))),
                _ => self.out.push(letter),
            }
        }
        self.budget.size(self.out.len())
    }
}
