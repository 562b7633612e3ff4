//! AMF3: the notation that Flash Player 9 brought.
//!
//! Rules: Adobe's Action Message Format 3 specification, section 3. In RTMP its values stand in bodies of AMF0, each
//! behind the marker 0x11, which [`amf0`](crate::amf0) reads and writes. `Reader` reads, [`Encoder`] writes.
//!
//! # What becomes of what
//!
//! | AMF3 | [`Value`] |
//! |---|---|
//! | integer, double | `Number`; written as an integer where it is one of 29 bits |
//! | XMLDocument, XML | `Xml`, `E4x` |
//! | date | `Date` with zone 0: there is none |
//! | array | `StrictArray`; with named members `EcmaArray`, the others behind them by their index |
//! | object | `Object`, of a class `TypedObject`: declared members first, then the others |
//! | object of an externalizable class | `TypedObject` with one member, for classes that write just one value ([`EXTERNALIZABLE`]); any other is an error, for nobody else knows where it ends |
//! | ByteArray, vectors, Dictionary | `Bytes`, `Vector`, `Dictionary` |
//!
//! # References
//!
//! A reference is read as what it refers to: it counts its values and their depth once more, and the bytes of its texts
//! towards [`Limits::amf_repeats`](crtmp_media::Limits::amf_repeats), so that a short message cannot become a large
//! value. A reference to an object that it stands in would have no end, and is an error. Each element of a vector counts
//! as a value; a dictionary counts as a list of pairs.

use std::{collections::HashMap, rc::Rc};

use crtmp_media::{Items, Limits, Value, Vector};

pub use crate::amf::{AmfError, AmfErrorKind};
use crate::amf::{Input, key_text};

/// The externalizable classes that write one value and nothing else, and the member that it is: those of Flex.
pub const EXTERNALIZABLE: [(&str, &str); 4] = [
    ("flex.messaging.io.ArrayCollection", "source"),
    ("flex.messaging.io.ArrayList", "source"),
    ("flex.messaging.io.ObjectProxy", "object"),
    ("flex.messaging.io.SerializationProxy", "object"),
];

/// The largest number of 29 bits without a sign.
const MAX_U29: usize = (1 << 29) - 1;
/// The longest text or list: one bit of its number says that it is no reference.
const MAX_LENGTH: usize = MAX_U29 >> 1;
/// The most declared members of an object: four bits are taken.
const MAX_DECLARED: usize = MAX_U29 >> 4;
/// Bytes that the references of a written body repeat; the least that [`Limits::amf_repeats`] may be.
const MOST_REPEATS: usize = 64 * 1024;

/// Reads all values of a body that is in AMF3 alone.
///
/// # Errors
///
/// See [`AmfErrorKind`].
pub fn decode_all(body: &[u8], limits: &Limits) -> Result<Vec<Value>, AmfError> {
    let (mut input, mut tables) = (Input::new(body, limits), Tables::default());
    let mut values = Vec::new();
    while !input.is_empty() {
        input.node(input.at)?;
        values.push(Reader::new(&mut input, &mut tables).value()?);
    }
    Ok(values)
}

/// Whether something in a value is of a kind that AMF0 has no notation for.
pub fn is_needed(value: &Value) -> bool {
    match value {
        Value::Bytes(_) | Value::E4x(_) | Value::Vector(_) | Value::Dictionary { .. } => true,
        Value::TypedObject { class, members } => {
            external_member(class, members).is_some() || members.iter().any(|(_, value)| is_needed(value))
        }
        Value::Object(members) | Value::EcmaArray(members) => {
            members.iter().any(|(_, value)| is_needed(value))
        }
        Value::StrictArray(values) => values.iter().any(is_needed),
        Value::Number(_)
        | Value::Boolean(_)
        | Value::String(_)
        | Value::RawString(_)
        | Value::Date { .. }
        | Value::Xml(_)
        | Value::Null
        | Value::Undefined => false,
    }
}

/// What the values of a body have brought so far and later ones may refer to.
#[derive(Default)]
pub(crate) struct Tables<'a> {
    /// All texts but the empty one.
    strings: Vec<&'a [u8]>,
    objects: Vec<Place>,
    traits: Vec<Rc<Traits<'a>>>,
}

/// Where an object stands. It is read again for each reference: that takes no memory, and limits count it.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Its end has not come.
    open: bool,
}

struct Traits<'a> {
    class: &'a [u8],
    kind: Kind,
    names: Vec<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// All members are declared.
    Sealed,
    /// There may be others.
    Dynamic,
    Externalizable,
}

/// Reads values behind their marker 0x11.
pub(crate) struct Reader<'r, 'a> {
    input: &'r mut Input<'a>,
    tables: &'r mut Tables<'a>,
    /// What is read has been read before: nothing goes into the tables, and its bytes are repeated.
    again: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub(crate) const fn new(input: &'r mut Input<'a>, tables: &'r mut Tables<'a>) -> Self {
        Self { input, tables, again: false }
    }

    /// Reads a value that has been counted.
    pub(crate) fn value(&mut self) -> Result<Value, AmfError> {
        let start = self.input.at;
        let [marker] = self.input.take()?;
        match marker {
            marker::UNDEFINED => Ok(Value::Undefined),
            marker::NULL => Ok(Value::Null),
            marker::FALSE => Ok(false.into()),
            marker::TRUE => Ok(true.into()),
            marker::INTEGER => {
                let number = self.u29()? as u32;
                // The uppermost of 29 bits is the sign.
                Ok(f64::from(((number << 3) as i32) >> 3).into())
            }
            marker::DOUBLE => Ok(f64::from_be_bytes(self.input.take()?).into()),
            marker::STRING => Ok(match self.text()? {
                text if let Ok(text) = std::str::from_utf8(text) => text.into(),
                text => Value::RawString(text.to_vec()),
            }),
            marker::XML_DOCUMENT | marker::DATE | marker::ARRAY | marker::OBJECT | marker::XML => {
                self.object(start, marker)
            }
            marker::BYTE_ARRAY..=marker::DICTIONARY => self.object(start, marker),
            _ => Err(AmfErrorKind::Amf3Marker(marker).at(start)),
        }
    }

    /// Reads what may be referred to, or is a reference.
    fn object(&mut self, start: usize, marker: u8) -> Result<Value, AmfError> {
        let head = self.u29()?;
        let rest = head >> 1;
        if head & 1 == 0 {
            return self.refer(start, rest);
        }
        if marker == marker::OBJECT {
            let traits = self.traits(start, rest)?;
            return self.placed(start, |reader| reader.members(start, &traits));
        }
        self.placed(start, |reader| match marker {
            marker::XML_DOCUMENT => reader.xml(start, rest).map(Value::Xml),
            marker::XML => reader.xml(start, rest).map(Value::E4x),
            marker::DATE => Ok(Value::Date { unix_ms: f64::from_be_bytes(reader.input.take()?), zone: 0 }),
            marker::ARRAY => reader.array(start, rest),
            marker::BYTE_ARRAY => reader.content(start, rest).map(|bytes| Value::Bytes(bytes.to_vec())),
            marker::DICTIONARY => reader.dictionary(start, rest),
            _ => reader.vector(start, marker, rest),
        })
    }

    /// Reads an object that has a place in the table of objects from its beginning on.
    fn placed(
        &mut self,
        start: usize,
        read: impl FnOnce(&mut Self) -> Result<Value, AmfError>,
    ) -> Result<Value, AmfError> {
        if self.again {
            return read(self);
        }
        let number = self.tables.objects.len();
        self.tables.objects.push(Place { at: start, open: true });
        let value = read(self)?;
        if let Some(place) = self.tables.objects.get_mut(number) {
            place.open = false;
        }
        Ok(value)
    }

    fn refer(&mut self, start: usize, number: usize) -> Result<Value, AmfError> {
        let unknown = AmfErrorKind::Reference { to: "object", number };
        let place = *self.tables.objects.get(number).ok_or_else(|| unknown.at(start))?;
        if place.open {
            return Err(AmfErrorKind::Circle.at(start));
        }
        self.input.node(start)?;
        let back =
            (std::mem::replace(&mut self.input.at, place.at), std::mem::replace(&mut self.again, true));
        let value = self.value().map_err(|error| AmfError { offset: start, ..error })?;
        (self.input.at, self.again) = back;
        Ok(value)
    }

    fn traits(&mut self, start: usize, head: usize) -> Result<Rc<Traits<'a>>, AmfError> {
        let rest = head >> 1;
        if head & 1 == 0 {
            let unknown = AmfErrorKind::Reference { to: "traits", number: rest };
            let traits = self.tables.traits.get(rest).ok_or_else(|| unknown.at(start))?.clone();
            let names: usize = traits.names.iter().map(|name| name.len()).sum();
            self.input.repeat(start, names.saturating_add(traits.class.len()))?;
            return Ok(traits);
        }
        let (kind, count) = match rest & 0b11 {
            0b00 => (Kind::Sealed, rest >> 2),
            0b10 => (Kind::Dynamic, rest >> 2),
            _ => (Kind::Externalizable, 0),
        };
        // A value follows for each.
        self.input.room_for(start, count)?;
        let class = self.text()?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.text()?);
        }
        let traits = Rc::new(Traits { class, kind, names });
        if !self.again {
            self.tables.traits.push(traits.clone());
        }
        Ok(traits)
    }

    fn members(&mut self, start: usize, traits: &Traits<'a>) -> Result<Value, AmfError> {
        self.input.enter(start)?;
        let class = key_text(start, traits.class)?;
        let mut members = Vec::new();
        for name in &traits.names {
            members.push((key_text(start, name)?, self.counted()?));
        }
        match traits.kind {
            Kind::Sealed => {}
            Kind::Dynamic => self.named(&mut members)?,
            Kind::Externalizable => {
                let Some((_, member)) = EXTERNALIZABLE.iter().find(|(known, _)| *known == class) else {
                    let class: String = class.chars().take(64).collect();
                    return Err(AmfErrorKind::Externalizable(class.into()).at(start));
                };
                members.push(((*member).to_owned(), self.counted()?));
            }
        }
        self.input.leave();
        Ok(if class.is_empty() { Value::Object(members) } else { Value::TypedObject { class, members } })
    }

    /// Reads members up to the empty key.
    fn named(&mut self, members: &mut Vec<(String, Value)>) -> Result<(), AmfError> {
        loop {
            let start = self.input.at;
            let key = key_text(start, self.text()?)?;
            if key.is_empty() {
                return Ok(());
            }
            members.push((key, self.counted()?));
        }
    }

    fn array(&mut self, start: usize, count: usize) -> Result<Value, AmfError> {
        self.input.enter(start)?;
        let (mut members, mut values) = (Vec::new(), Vec::new());
        self.named(&mut members)?;
        for _ in 0..count {
            values.push(self.counted()?);
        }
        self.input.leave();
        if members.is_empty() {
            return Ok(Value::StrictArray(values));
        }
        members.extend(values.into_iter().enumerate().map(|(index, value)| (index.to_string(), value)));
        Ok(Value::EcmaArray(members))
    }

    fn vector(&mut self, start: usize, marker: u8, count: usize) -> Result<Value, AmfError> {
        self.input.enter(start)?;
        let [fixed] = self.input.take()?;
        let items = match marker {
            marker::VECTOR_INT => {
                Items::Int(self.items(count, |input| input.take().map(i32::from_be_bytes))?)
            }
            marker::VECTOR_UINT => {
                Items::Uint(self.items(count, |input| input.take().map(u32::from_be_bytes))?)
            }
            marker::VECTOR_DOUBLE => {
                Items::Double(self.items(count, |input| input.take().map(f64::from_be_bytes))?)
            }
            _ => {
                let class = key_text(start, self.text()?)?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.counted()?);
                }
                Items::Object { class, values }
            }
        };
        self.input.leave();
        Ok(Value::Vector(Vector { fixed: fixed & 1 != 0, items }))
    }

    fn items<T>(
        &mut self,
        count: usize,
        read: impl Fn(&mut Input<'a>) -> Result<T, AmfError>,
    ) -> Result<Vec<T>, AmfError> {
        let mut items = Vec::new();
        for _ in 0..count {
            self.input.node(self.input.at)?;
            items.push(read(self.input)?);
        }
        Ok(items)
    }

    fn dictionary(&mut self, start: usize, count: usize) -> Result<Value, AmfError> {
        // The dictionary, and a pair in it.
        self.input.enter(start)?;
        self.input.enter(start)?;
        let [weak] = self.input.take()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            self.input.node(self.input.at)?;
            entries.push((self.counted()?, self.counted()?));
        }
        self.input.leave();
        self.input.leave();
        Ok(Value::Dictionary { weak: weak & 1 != 0, entries })
    }

    fn counted(&mut self) -> Result<Value, AmfError> {
        self.input.node(self.input.at)?;
        self.value()
    }

    fn xml(&mut self, start: usize, length: usize) -> Result<String, AmfError> {
        let text = String::from_utf8_lossy(self.content(start, length)?).into_owned();
        self.input.check_string(start, text.len())?;
        Ok(text)
    }

    /// The bytes of something that has a place of its own.
    fn content(&mut self, start: usize, length: usize) -> Result<&'a [u8], AmfError> {
        self.input.check_string(start, length)?;
        if self.again {
            self.input.repeat(start, length)?;
        }
        self.input.bytes(length)
    }

    /// A string, a key or a name.
    fn text(&mut self) -> Result<&'a [u8], AmfError> {
        let start = self.input.at;
        let head = self.u29()?;
        let rest = head >> 1;
        if head & 1 == 0 {
            let unknown = AmfErrorKind::Reference { to: "string", number: rest };
            let text = *self.tables.strings.get(rest).ok_or_else(|| unknown.at(start))?;
            self.input.repeat(start, text.len())?;
            return Ok(text);
        }
        let text = self.content(start, rest)?;
        if !text.is_empty() && !self.again {
            self.tables.strings.push(text);
        }
        Ok(text)
    }

    /// An unsigned number of 29 bits in one to four bytes.
    fn u29(&mut self) -> Result<usize, AmfError> {
        let mut number = 0;
        for _ in 0..3 {
            let [byte] = self.input.take()?;
            number = number << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        let [byte] = self.input.take()?;
        Ok(number << 8 | usize::from(byte))
    }
}

/// Writes the values of one body, with references to texts and traits that it has written.
///
/// Three things AMF3 cannot say: the time zone of a date; an ECMA array without members, which becomes an array; one
/// with an empty key, which becomes an object. What is longer than 2²⁸ − 1, which no message has room for, is cut.
#[derive(Default)]
pub struct Encoder<'v> {
    strings: HashMap<&'v [u8], usize>,
    /// Entries of the reader's table; more than there are here where something had to be repeated.
    strings_written: usize,
    traits: HashMap<Shape<'v>, usize>,
    traits_written: usize,
    repeats: usize,
}

/// Class, kind and declared names of an object.
type Shape<'v> = (&'v str, Kind, Vec<&'v str>);

impl<'v> Encoder<'v> {
    /// An encoder for a new body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `value`, without the marker 0x11.
    pub fn encode(&mut self, out: &mut Vec<u8>, value: &'v Value) {
        match value {
            Value::Undefined => out.push(marker::UNDEFINED),
            Value::Null => out.push(marker::NULL),
            Value::Boolean(flag) => out.push(if *flag { marker::TRUE } else { marker::FALSE }),
            Value::Number(number) => encode_number(out, *number),
            Value::String(text) => self.string(out, text.as_bytes()),
            Value::RawString(text) => self.string(out, text),
            Value::Xml(text) => encode_content(out, marker::XML_DOCUMENT, text.as_bytes()),
            Value::E4x(text) => encode_content(out, marker::XML, text.as_bytes()),
            Value::Bytes(bytes) => encode_content(out, marker::BYTE_ARRAY, bytes),
            Value::Date { unix_ms, .. } => {
                out.extend_from_slice(&[marker::DATE, 1]);
                out.extend_from_slice(&unix_ms.to_be_bytes());
            }
            Value::StrictArray(values) => self.array(out, &[], values.iter()),
            Value::EcmaArray(members) if members.iter().any(|(key, _)| key.is_empty()) => {
                self.object(out, "", members);
            }
            Value::EcmaArray(members) => {
                let (named, listed) = members.split_at(members.len() - listed(members));
                self.array(out, named, listed.iter().map(|(_, value)| value));
            }
            Value::Object(members) => self.object(out, "", members),
            Value::TypedObject { class, members } => self.object(out, class, members),
            Value::Vector(vector) => self.vector(out, vector),
            Value::Dictionary { weak, entries } => {
                let entries = &entries[..entries.len().min(MAX_LENGTH)];
                out.push(marker::DICTIONARY);
                encode_u29(out, entries.len() << 1 | 1);
                out.push(u8::from(*weak));
                for (key, value) in entries {
                    self.encode(out, key);
                    self.encode(out, value);
                }
            }
        }
    }

    fn string(&mut self, out: &mut Vec<u8>, text: &'v [u8]) {
        out.push(marker::STRING);
        self.text(out, text);
    }

    fn text(&mut self, out: &mut Vec<u8>, text: &'v [u8]) {
        let text = &text[..text.len().min(MAX_LENGTH)];
        if text.is_empty() {
            return out.push(1);
        }
        if let Some(number) = self.strings.get(text)
            && self.repeats + text.len() <= MOST_REPEATS
        {
            self.repeats += text.len();
            return encode_u29(out, number << 1);
        }
        self.strings.insert(text, self.strings_written);
        self.strings_written += 1;
        encode_u29(out, text.len() << 1 | 1);
        out.extend_from_slice(text);
    }

    fn array<'m>(
        &mut self,
        out: &mut Vec<u8>,
        named: &'v [(String, Value)],
        listed: impl ExactSizeIterator<Item = &'v Value> + 'm,
    ) {
        let count = listed.len().min(MAX_LENGTH);
        out.push(marker::ARRAY);
        encode_u29(out, count << 1 | 1);
        self.named(out, named);
        for value in listed.take(count) {
            self.encode(out, value);
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, class: &'v str, members: &'v [(String, Value)]) {
        out.push(marker::OBJECT);
        if let Some(value) = external_member(class, members) {
            self.shape(out, (class, Kind::Externalizable, Vec::new()));
            return self.encode(out, value);
        }
        // An empty key would end members that are not declared.
        let declared = match members.iter().rposition(|(key, _)| key.is_empty()) {
            _ if !class.is_empty() => members.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let (declared, others) = members.split_at(declared.min(MAX_DECLARED));
        let kind = if class.is_empty() || !others.is_empty() { Kind::Dynamic } else { Kind::Sealed };
        self.shape(out, (class, kind, declared.iter().map(|(key, _)| key.as_str()).collect()));
        for (_, value) in declared {
            self.encode(out, value);
        }
        if kind == Kind::Dynamic {
            self.named(out, others);
        }
    }

    fn shape(&mut self, out: &mut Vec<u8>, shape: Shape<'v>) {
        let (class, kind, names) = &shape;
        let bytes = class.len() + names.iter().map(|name| name.len()).sum::<usize>();
        if let Some(number) = self.traits.get(&shape)
            && self.repeats + bytes <= MOST_REPEATS
        {
            self.repeats += bytes;
            return encode_u29(out, number << 2 | 0b01);
        }
        let bits = match kind {
            Kind::Sealed => 0b0011,
            Kind::Dynamic => 0b1011,
            Kind::Externalizable => 0b0111,
        };
        encode_u29(out, names.len() << 4 | bits);
        self.text(out, class.as_bytes());
        for name in names {
            self.text(out, name.as_bytes());
        }
        self.traits.insert(shape, self.traits_written);
        self.traits_written += 1;
    }

    fn named(&mut self, out: &mut Vec<u8>, members: &'v [(String, Value)]) {
        for (key, value) in members {
            self.text(out, key.as_bytes());
            self.encode(out, value);
        }
        out.push(1);
    }

    fn vector(&mut self, out: &mut Vec<u8>, Vector { fixed, items }: &'v Vector) {
        let (marker, count) = match items {
            Items::Int(items) => (marker::VECTOR_INT, items.len()),
            Items::Uint(items) => (marker::VECTOR_UINT, items.len()),
            Items::Double(items) => (marker::VECTOR_DOUBLE, items.len()),
            Items::Object { values, .. } => (marker::VECTOR_OBJECT, values.len()),
        };
        let count = count.min(MAX_LENGTH);
        out.push(marker);
        encode_u29(out, count << 1 | 1);
        out.push(u8::from(*fixed));
        match items {
            Items::Int(items) => out.extend(items.iter().take(count).flat_map(|item| item.to_be_bytes())),
            Items::Uint(items) => out.extend(items.iter().take(count).flat_map(|item| item.to_be_bytes())),
            Items::Double(items) => out.extend(items.iter().take(count).flat_map(|item| item.to_be_bytes())),
            Items::Object { class, values } => {
                self.text(out, class.as_bytes());
                for value in values.iter().take(count) {
                    self.encode(out, value);
                }
            }
        }
    }
}

/// The only member of an object of one of the classes that write just that.
fn external_member<'v>(class: &str, members: &'v [(String, Value)]) -> Option<&'v Value> {
    let [(key, value)] = members else { return None };
    EXTERNALIZABLE.contains(&(class, key.as_str())).then_some(value)
}

/// How many members at the end of an ECMA array are the elements 0, 1, 2 … of an array with named members before them.
fn listed(members: &[(String, Value)]) -> usize {
    let is_list = |count: &usize| {
        let list = &members[members.len() - count..];
        list.iter().enumerate().all(|(index, (key, _))| *key == index.to_string())
    };
    // A list begins with the key 0; the last such key is the only one that can begin one that reaches the end.
    let first = members.iter().rposition(|(key, _)| key == "0").filter(|first| *first > 0);
    first.map(|first| members.len() - first).filter(is_list).unwrap_or(0)
}

fn encode_number(out: &mut Vec<u8>, number: f64) {
    let whole = number as i32;
    // Compared bit by bit, since −0 is no integer.
    if (-(1 << 28)..1 << 28).contains(&whole) && f64::from(whole).to_bits() == number.to_bits() {
        out.push(marker::INTEGER);
        return encode_u29(out, whole as usize & MAX_U29);
    }
    out.push(marker::DOUBLE);
    out.extend_from_slice(&number.to_be_bytes());
}

fn encode_content(out: &mut Vec<u8>, marker: u8, content: &[u8]) {
    let content = &content[..content.len().min(MAX_LENGTH)];
    out.push(marker);
    encode_u29(out, content.len() << 1 | 1);
    out.extend_from_slice(content);
}

fn encode_u29(out: &mut Vec<u8>, number: usize) {
    let low = |shift: usize| (number >> shift) as u8 & 0x7F;
    match number {
        0..0x80 => out.push(low(0)),
        0x80..0x4000 => out.extend_from_slice(&[low(7) | 0x80, low(0)]),
        0x4000..0x20_0000 => out.extend_from_slice(&[low(14) | 0x80, low(7) | 0x80, low(0)]),
        _ => out.extend_from_slice(&[low(22) | 0x80, low(15) | 0x80, low(8) | 0x80, number as u8]),
    }
}

mod marker {
    pub(super) const UNDEFINED: u8 = 0;
    pub(super) const NULL: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
    pub(super) const INTEGER: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const STRING: u8 = 6;
    pub(super) const XML_DOCUMENT: u8 = 7;
    pub(super) const DATE: u8 = 8;
    pub(super) const ARRAY: u8 = 9;
    pub(super) const OBJECT: u8 = 10;
    pub(super) const XML: u8 = 11;
    pub(super) const BYTE_ARRAY: u8 = 12;
    pub(super) const VECTOR_INT: u8 = 13;
    pub(super) const VECTOR_UINT: u8 = 14;
    pub(super) const VECTOR_DOUBLE: u8 = 15;
    pub(super) const VECTOR_OBJECT: u8 = 16;
    pub(super) const DICTIONARY: u8 = 17;
}

#[cfg(test)]
mod tests;
