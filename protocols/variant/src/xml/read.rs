//! Elements as values.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use crtmp_media::{Limits, Value};
use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesRef, BytesStart, Event},
};

use super::Type;
use crate::{VariantError, VariantErrorKind, array, budget::Budget, date};

/// Attributes of one element; three have a meaning.
const ATTRIBUTES: usize = 16;

/// Padding is not needed to know where the text ends.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a value.
///
/// # Errors
///
/// See [`VariantErrorKind`].
pub fn decode_xml(body: &[u8], limits: &Limits) -> Result<Value, VariantError> {
    let budget = Budget::of_message(body, limits)?;
    let text = std::str::from_utf8(body).map_err(|error| VariantErrorKind::Utf8.at(error.valid_up_to()))?;
    let mut decoder = Decoder { budget, open: Vec::new(), root: None };
    let mut reader = Reader::from_str(text);
    loop {
        let start = offset(reader.buffer_position());
        let event = reader
            .read_event()
            .map_err(|_| VariantErrorKind::Syntax("XML").at(offset(reader.error_position())))?;
        match event {
            Event::Start(element) => decoder.start(&element, start)?,
            Event::Empty(element) => {
                decoder.start(&element, start)?;
                decoder.end()?;
            }
            Event::End(_) => decoder.end()?,
            Event::Text(text) => decoder.text(&text.xml10_content(), start)?,
            Event::CData(text) => decoder.text(&text.xml10_content(), start)?,
            Event::GeneralRef(reference) => decoder.reference(&reference, start)?,
            Event::DocType(_) => return Err(VariantErrorKind::DocumentType.at(start)),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return decoder.finish(body.len()),
        }
    }
}

/// Where the reader is: within a message, which memory holds.
fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

struct Decoder<'a> {
    budget: Budget<'a>,
    /// The elements that have not ended, outermost first.
    open: Vec<Element>,
    root: Option<Value>,
}

struct Element {
    kind: Type,
    /// Where it began.
    start: usize,
    name: String,
    class: Option<String>,
    is_array: bool,
    text: String,
    members: Vec<(String, Value)>,
}

impl Element {
    fn is_map(&self) -> bool {
        matches!(self.kind, Type::Map | Type::TypedMap)
    }
}

impl Decoder<'_> {
    fn start(&mut self, tag: &BytesStart<'_>, start: usize) -> Result<(), VariantError> {
        if self.root.is_some() {
            return Err(VariantErrorKind::Trailing.at(start));
        }
        if self.open.last().is_some_and(|around| !around.is_map()) {
            return Err(VariantErrorKind::Misplaced.at(start));
        }
        self.budget.node(start)?;
        let kind = Type::of(tag.name().as_ref()).ok_or(VariantErrorKind::Element.at(start))?;
        let element = self.element(kind, tag, start)?;
        if element.is_map() {
            self.budget.open(start)?;
        }
        self.open.push(element);
        Ok(())
    }

    fn element(&self, kind: Type, tag: &BytesStart<'_>, start: usize) -> Result<Element, VariantError> {
        let (name, text, members) = (String::new(), String::new(), Vec::new());
        let mut element = Element { kind, start, name, class: None, is_array: false, text, members };
        // Looking for the same attribute twice would take the square of their number.
        for (count, attribute) in tag.attributes().with_checks(false).enumerate() {
            if count == ATTRIBUTES {
                return Err(VariantErrorKind::Attributes(ATTRIBUTES).at(start));
            }
            let attribute = attribute.map_err(|_| VariantErrorKind::Syntax("XML").at(start))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| VariantErrorKind::Entity.at(start))?;
            self.budget.text(start, value.len())?;
            let is = |name: &str| attribute.key.as_ref().eq_ignore_ascii_case(name);
            if is("name") {
                element.name = value.into_owned();
            } else if is("typeName") {
                element.class = Some(value.into_owned());
            } else if is("isArray") {
                element.is_array = value.eq_ignore_ascii_case("true");
            }
        }
        Ok(element)
    }

    fn text(&mut self, text: &str, start: usize) -> Result<(), VariantError> {
        let outside = self.open.is_empty();
        match self.open.last_mut().filter(|element| !element.is_map()) {
            Some(element) => {
                let length = element.text.len() + text.len();
                match element.kind {
                    Type::ByteArray => self.budget.coded_text(start, length)?,
                    _ => self.budget.text(start, length)?,
                }
                element.text.push_str(text);
                Ok(())
            }
            None if text.chars().all(is_space) => Ok(()),
            None if outside => Err(VariantErrorKind::Syntax("XML").at(start)),
            None => Err(VariantErrorKind::Misplaced.at(start)),
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>, start: usize) -> Result<(), VariantError> {
        let unknown = VariantErrorKind::Entity.at(start);
        match reference.resolve_char_ref() {
            Ok(Some(letter)) => self.text(letter.encode_utf8(&mut [0; 4]), start),
            Ok(None) => self.text(resolve_xml_entity(reference).ok_or(unknown)?, start),
            Err(_) => Err(unknown),
        }
    }

    /// The innermost element ends.
    fn end(&mut self) -> Result<(), VariantError> {
        // The reader has checked that there is one.
        let Some(element) = self.open.pop() else { return Ok(()) };
        if element.is_map() {
            self.budget.close();
        }
        let (name, value) = self.value(element)?;
        match self.open.last_mut() {
            Some(around) => around.members.push((name, value)),
            None => self.root = Some(value),
        }
        Ok(())
    }

    fn value(&self, element: Element) -> Result<(String, Value), VariantError> {
        let Element { kind, start, name, class, is_array, text, members } = element;
        let wrong = || VariantErrorKind::Content(kind.name()).at(start);
        let plain = text.trim_matches(is_space);
        let date =
            |unix_ms: Option<f64>| unix_ms.map(|unix_ms| Value::Date { unix_ms, zone: 0 }).ok_or_else(wrong);
        let value = match kind {
            Type::Null => Value::Null,
            Type::Undefined => Value::Undefined,
            Type::Bool if plain.eq_ignore_ascii_case("true") => true.into(),
            Type::Bool if plain.eq_ignore_ascii_case("false") => false.into(),
            Type::Bool => return Err(wrong()),
            Type::Int8 => f64::from(plain.parse::<i8>().map_err(|_| wrong())?).into(),
            Type::Int16 => f64::from(plain.parse::<i16>().map_err(|_| wrong())?).into(),
            Type::Int32 => f64::from(plain.parse::<i32>().map_err(|_| wrong())?).into(),
            // Beyond 2⁵³ it becomes the nearest double: values have no other numbers.
            Type::Int64 => (plain.parse::<i64>().map_err(|_| wrong())? as f64).into(),
            Type::Uint8 => f64::from(plain.parse::<u8>().map_err(|_| wrong())?).into(),
            Type::Uint16 => f64::from(plain.parse::<u16>().map_err(|_| wrong())?).into(),
            Type::Uint32 => f64::from(plain.parse::<u32>().map_err(|_| wrong())?).into(),
            Type::Uint64 => (plain.parse::<u64>().map_err(|_| wrong())? as f64).into(),
            Type::Double => plain.parse::<f64>().map_err(|_| wrong())?.into(),
            Type::Timestamp => date(date::parse_timestamp(plain))?,
            Type::Date => date(date::parse_date(plain))?,
            Type::Time => date(date::parse_time(plain))?,
            Type::Str => Value::String(text),
            Type::ByteArray => {
                let compact: String = text.chars().filter(|letter| !is_space(*letter)).collect();
                let bytes = BASE64.decode(compact).map_err(|_| wrong())?;
                self.budget.text(start, bytes.len())?;
                Value::RawString(bytes)
            }
            Type::Map | Type::TypedMap => match class {
                Some(class) => Value::TypedObject { class, members },
                None if kind == Type::TypedMap => Value::TypedObject { class: String::new(), members },
                None if is_array => array::from_members(members),
                None => Value::Object(members),
            },
        };
        Ok((name, value))
    }

    fn finish(self, end: usize) -> Result<Value, VariantError> {
        match self.root {
            Some(value) => Ok(value),
            None if self.open.is_empty() => Err(VariantErrorKind::Empty.at(end)),
            None => Err(VariantErrorKind::Truncated.at(end)),
        }
    }
}

/// White space of XML.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}
