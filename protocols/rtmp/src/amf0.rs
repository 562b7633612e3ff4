//! AMF0: the notation of commands and metadata.
//!
//! Rules: Adobe's Action Message Format 0 specification, section 2. Values are [`Value`]s; depth, number of
//! values and length of strings are bounded by [`Limits`], and memory by what is really there.
//!
//! A value may be written in AMF3 behind the marker 0x11 ([`amf3`]). It counts towards the same limits, and
//! its references are good for the whole body, as in Red5 and BlazeDS.

use crtmp_media::{Limits, Value};

pub use crate::amf::{AmfError, AmfErrorKind, MAX_KEY};
use crate::{
    amf::{Input, key_text},
    amf3,
};

/// Reads all values of a message body.
///
/// An object or ECMA array may lack its end marker where the body ends (Envivio's encoders), and the count of
/// an ECMA array is ignored: both are wrong in the wild.
///
/// # Errors
///
/// See [`AmfErrorKind`].
pub fn decode_all(body: &[u8], limits: &Limits) -> Result<Vec<Value>, AmfError> {
    let mut decoder = Decoder::new(body, limits);
    let mut values = Vec::new();
    while !decoder.is_empty() {
        values.push(decoder.value()?);
    }
    Ok(values)
}

/// Appends `value` to `out`.
///
/// What AMF0 can say is written without loss; kinds of values that only AMF3 has become [what comes
/// nearest](Value::nearest), and [`encode_mixed`] keeps them. Keys and class names of more than 65 535 bytes, which only
/// a caller can make, are cut.
pub fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(flag) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*flag)]),
        Value::String(text) => encode_str(out, text),
        Value::RawString(text) => encode_text(out, text),
        Value::Object(members) => {
            out.push(marker::OBJECT);
            encode_members(out, members);
        }
        Value::EcmaArray(members) => {
            out.push(marker::ECMA_ARRAY);
            encode_count(out, members.len());
            encode_members(out, members);
        }
        Value::StrictArray(values) => {
            out.push(marker::STRICT_ARRAY);
            encode_count(out, values.len());
            for value in values {
                encode(out, value);
            }
        }
        Value::Date { unix_ms, zone } => {
            out.push(marker::DATE);
            out.extend_from_slice(&unix_ms.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Xml(text) => {
            out.push(marker::XML);
            encode_count(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::TypedObject { class, members } => {
            out.push(marker::TYPED_OBJECT);
            encode_key(out, class);
            encode_members(out, members);
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Bytes(bytes) => encode_text(out, bytes),
        Value::E4x(_) | Value::Vector(_) | Value::Dictionary { .. } => {
            if let Some(nearest) = value.nearest() {
                encode(out, &nearest);
            }
        }
    }
}

/// Appends the values of one body for a peer that reads AMF3 too: those that need it, as [`amf3::is_needed`] says, stand
/// in AMF3 behind the marker 0x11.
pub fn encode_mixed<'v>(out: &mut Vec<u8>, values: impl IntoIterator<Item = &'v Value>) {
    let mut encoder = amf3::Encoder::new();
    for value in values {
        encode_switched(out, &mut encoder, value);
    }
}

/// Appends one value of such a body.
pub(crate) fn encode_switched<'v>(out: &mut Vec<u8>, encoder: &mut amf3::Encoder<'v>, value: &'v Value) {
    if amf3::is_needed(value) {
        out.push(marker::AMF3);
        encoder.encode(out, value);
    } else {
        encode(out, value);
    }
}

/// Appends `text` as a string, or as a long string if it has more than 65 535 bytes.
pub fn encode_str(out: &mut Vec<u8>, text: &str) {
    encode_text(out, text.as_bytes());
}

/// Reads the values of a body one after the other.
pub(crate) struct Decoder<'a> {
    pub(crate) input: Input<'a>,
    tables: amf3::Tables<'a>,
    /// A value of AMF3 has come.
    pub(crate) mixed: bool,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(body: &'a [u8], limits: &'a Limits) -> Self {
        Self { input: Input::new(body, limits), tables: amf3::Tables::default(), mixed: false }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    pub(crate) fn value(&mut self) -> Result<Value, AmfError> {
        let start = self.input.at;
        self.input.node(start)?;
        let [marker] = self.input.take()?;
        Ok(match marker {
            marker::NUMBER => Value::Number(f64::from_be_bytes(self.input.take()?)),
            marker::BOOLEAN => {
                let [flag] = self.input.take()?;
                Value::Boolean(flag != 0)
            }
            marker::STRING => {
                let length = usize::from(u16::from_be_bytes(self.input.take()?));
                self.string(length)?
            }
            marker::LONG_STRING => {
                let length = self.count()?;
                self.string(length)?
            }
            marker::XML => {
                let length = self.count()?;
                let text = String::from_utf8_lossy(self.text(length)?).into_owned();
                self.input.check_string(start, text.len())?;
                Value::Xml(text)
            }
            marker::OBJECT => Value::Object(self.nested(start, Self::members)?),
            marker::ECMA_ARRAY => {
                self.count()?;
                Value::EcmaArray(self.nested(start, Self::members)?)
            }
            marker::TYPED_OBJECT => {
                let class = self.key()?;
                Value::TypedObject { class, members: self.nested(start, Self::members)? }
            }
            marker::STRICT_ARRAY => {
                let count = self.count()?;
                Value::StrictArray(self.nested(start, |decoder| {
                    let mut values = Vec::new();
                    for _ in 0..count {
                        values.push(decoder.value()?);
                    }
                    Ok(values)
                })?)
            }
            marker::DATE => Value::Date {
                unix_ms: f64::from_be_bytes(self.input.take()?),
                zone: i16::from_be_bytes(self.input.take()?),
            },
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::AMF3 => {
                self.mixed = true;
                amf3::Reader::new(&mut self.input, &mut self.tables).value()?
            }
            _ => return Err(AmfErrorKind::Marker(marker).at(start)),
        })
    }

    /// Reads what is inside a value that began at `start`.
    fn nested<T>(
        &mut self,
        start: usize,
        read: impl FnOnce(&mut Self) -> Result<T, AmfError>,
    ) -> Result<T, AmfError> {
        self.input.enter(start)?;
        let inside = read(self)?;
        self.input.leave();
        Ok(inside)
    }

    fn members(&mut self) -> Result<Vec<(String, Value)>, AmfError> {
        let mut members = Vec::new();
        while !self.is_empty() {
            if self.input.body[self.input.at..].starts_with(&OBJECT_END) {
                self.input.at += OBJECT_END.len();
                break;
            }
            members.push((self.key()?, self.value()?));
        }
        Ok(members)
    }

    /// A string without a marker: a key, a class name.
    pub(crate) fn key(&mut self) -> Result<String, AmfError> {
        let start = self.input.at;
        let length = usize::from(u16::from_be_bytes(self.input.take()?));
        key_text(start, self.input.bytes(length)?)
    }

    fn string(&mut self, length: usize) -> Result<Value, AmfError> {
        let text = self.text(length)?;
        Ok(match std::str::from_utf8(text) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::RawString(text.to_vec()),
        })
    }

    fn text(&mut self, length: usize) -> Result<&'a [u8], AmfError> {
        self.input.check_string(self.input.at, length)?;
        self.input.bytes(length)
    }

    fn count(&mut self) -> Result<usize, AmfError> {
        Ok(u32::from_be_bytes(self.input.take()?) as usize)
    }
}

fn encode_text(out: &mut Vec<u8>, text: &[u8]) {
    match u16::try_from(text.len()) {
        Ok(length) => {
            out.push(marker::STRING);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(marker::LONG_STRING);
            encode_count(out, text.len());
        }
    }
    out.extend_from_slice(text);
}

fn encode_members(out: &mut Vec<u8>, members: &[(String, Value)]) {
    for (key, value) in members {
        encode_key(out, key);
        encode(out, value);
    }
    out.extend_from_slice(&OBJECT_END);
}

pub(crate) fn encode_key(out: &mut Vec<u8>, key: &str) {
    let key = &key[..key.floor_char_boundary(usize::from(u16::MAX))];
    out.extend_from_slice(&(key.len() as u16).to_be_bytes());
    out.extend_from_slice(key.as_bytes());
}

fn encode_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("no message has room for 2³² bytes or values");
    out.extend_from_slice(&count.to_be_bytes());
}

/// An empty key and the end marker.
const OBJECT_END: [u8; 3] = [0, 0, 9];

mod marker {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const STRING: u8 = 2;
    pub(super) const OBJECT: u8 = 3;
    pub(super) const NULL: u8 = 5;
    pub(super) const UNDEFINED: u8 = 6;
    pub(super) const ECMA_ARRAY: u8 = 8;
    pub(super) const STRICT_ARRAY: u8 = 10;
    pub(super) const DATE: u8 = 11;
    pub(super) const LONG_STRING: u8 = 12;
    pub(super) const XML: u8 = 15;
    pub(super) const TYPED_OBJECT: u8 = 16;
    pub(super) const AMF3: u8 = 17;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, value);
        out
    }

    fn decode(body: &[u8]) -> Result<Vec<Value>, AmfErrorKind> {
        decode_all(body, &Limits::default()).map_err(|error| error.kind)
    }

    fn object(members: &[(&str, Value)]) -> Value {
        Value::Object(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    fn connect() -> Vec<u8> {
        let object = object(&[
            ("app", "live".into()),
            ("audioCodecs", 3191.0.into()),
            ("fpad", false.into()),
            ("fourCcList", Value::StrictArray(vec!["av01".into(), "hvc1".into()])),
            ("map", Value::EcmaArray(vec![("k".into(), Value::Undefined)])),
            ("when", Value::Date { unix_ms: 1.5, zone: -60 }),
        ]);
        [encoded(&"connect".into()), encoded(&1.0.into()), encoded(&object)].concat()
    }

    /// AMF-01: the values before the cut come out, or an error with an offset inside the data.
    #[test]
    fn a_command_truncated_anywhere_never_panics() {
        let whole = connect();
        let values = decode(&whole).unwrap();
        for end in 0..whole.len() {
            match decode_all(&whole[..end], &Limits::default()) {
                Ok(part) => assert!(part.len() <= values.len()),
                Err(error) => assert!(error.offset <= end && error.kind == AmfErrorKind::Truncated),
            }
        }
    }

    /// AMF-02.
    #[test]
    fn depth_is_limited_for_each_container() {
        let openings: [&[u8]; 4] = [
            &[3, 0, 1, b'a'],
            &[8, 0, 0, 0, 0, 0, 1, b'a'],
            &[10, 0, 0, 0, 1],
            &[16, 0, 1, b'c', 0, 1, b'a'],
        ];
        for opening in openings {
            let nest = |depth: usize| [&opening.repeat(depth)[..], &[5]].concat();
            assert!(decode(&nest(31)).is_ok());
            assert!(decode(&nest(32)).is_ok());
            assert_eq!(decode(&nest(33)), Err(AmfErrorKind::Depth(32)));
            assert_eq!(decode(&nest(1_000_000)), Err(AmfErrorKind::Depth(32)));
        }
        assert_eq!(decode(&openings.concat().repeat(9)), Err(AmfErrorKind::Depth(32)));
    }

    /// AMF-03.
    #[test]
    fn announced_counts_allocate_nothing() {
        for present in [0, 1, 10_000] {
            let array = [&[10, 0xFF, 0xFF, 0xFF, 0xFF][..], &vec![5; present]].concat();
            let expected = if present < 4096 { AmfErrorKind::Truncated } else { AmfErrorKind::Nodes(4096) };
            assert_eq!(decode(&array), Err(expected));
            let array = [&[8, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0, 1, b'a', 5].repeat(present)].concat();
            assert_eq!(decode(&array).is_ok(), present < 4096);
        }
    }

    /// AMF-04.
    #[test]
    fn the_number_of_values_is_limited() {
        assert_eq!(decode(&vec![5; 4096]).unwrap().len(), 4096);
        assert_eq!(decode(&vec![5; 1 << 20]), Err(AmfErrorKind::Nodes(4096)));
    }

    /// AMF-05.
    #[test]
    fn strings_past_the_end_fail_and_odd_bytes_survive() {
        assert_eq!(decode(&[2, 0, 3, b'a', b'b']), Err(AmfErrorKind::Truncated));
        assert_eq!(decode(&[12, 0xFF, 0xFF, 0xFF, 0xFF, b'a']), Err(AmfErrorKind::StringLength(65_536)));
        assert_eq!(decode(&[2, 0, 2, 0xC3, 0x28]), Ok(vec![Value::RawString(vec![0xC3, 0x28])]));
        assert_eq!(decode(&[2, 0, 3, 0, b'\n', 0x1B]), Ok(vec!["\0\n\x1B".into()]));
        let longest = Value::String("x".repeat(65_536));
        assert_eq!(decode(&encoded(&longest)), Ok(vec![longest]));
        assert!(decode(&encoded(&Value::String("x".repeat(65_537)))).is_err());
    }

    /// AMF-06.
    #[test]
    fn every_double_passes_unchanged() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e308, -0.0] {
            let values = decode(&encoded(&number.into())).unwrap();
            assert_eq!(values[0].as_f64().unwrap().to_bits(), number.to_bits());
        }
    }

    /// AMF-07.
    #[test]
    fn keys_may_be_double_or_empty_but_not_endless() {
        let double = object(&[("a", 1.0.into()), ("", 2.0.into()), ("a", 3.0.into())]);
        let values = decode(&encoded(&double)).unwrap();
        assert_eq!(values[0].get("a"), Some(&Value::Number(3.0)));
        assert_eq!(values[0].get(""), Some(&Value::Number(2.0)));
        let many = Value::Object(vec![("k".into(), Value::Null); 10_000]);
        assert_eq!(decode(&encoded(&many)), Err(AmfErrorKind::Nodes(4096)));
        let long = Value::Object(vec![("k".repeat(65_535), Value::Null)]);
        assert_eq!(decode(&encoded(&long)), Err(AmfErrorKind::KeyLength(MAX_KEY)));
    }

    /// AMF-08.
    #[test]
    fn missing_ends_and_wrong_counts_are_tolerated() {
        let value = object(&[("a", 1.0.into())]);
        let body = encoded(&value);
        assert_eq!(decode(&body[..body.len() - 3]), Ok(vec![value]));
        let array = Value::EcmaArray(vec![("a".into(), Value::Null), ("b".into(), Value::Null)]);
        for count in [0, 1, 3, u32::MAX] {
            let mut body = [encoded(&array), vec![5]].concat();
            body[1..5].copy_from_slice(&count.to_be_bytes());
            assert_eq!(decode(&body), Ok(vec![array.clone(), Value::Null]));
        }
    }

    /// AMF-09, AMF-10.
    #[test]
    fn other_markers_are_named() {
        for marker in [4, 7, 9, 13, 14].into_iter().chain(18..=255) {
            let error = decode_all(&[5, marker, 0, 0], &Limits::default()).unwrap_err();
            assert_eq!(error, AmfError { offset: 1, kind: AmfErrorKind::Marker(marker) });
            assert!(error.to_string().contains(&format!("0x{marker:02X} at offset 1")));
        }
        assert_eq!(decode(&[17, 1]), Ok(vec![Value::Null]));
    }

    /// AMF-11.
    #[test]
    fn dates_and_xml_are_opaque() {
        let date = Value::Date { unix_ms: 1e300, zone: i16::MIN };
        let xml = Value::Xml("<!DOCTYPE a [<!ENTITY b \"&b;\">]>".repeat(1000));
        let body = [encoded(&date), encoded(&xml)].concat();
        assert_eq!(decode(&body), Ok(vec![date, xml]));
    }

    /// AMF-12, the AMF0 part.
    #[test]
    fn a_typed_object_stays_data() {
        let value = Value::TypedObject {
            class: "flex.messaging.messages.CommandMessage".into(),
            members: vec![("operation".into(), 5.0.into())],
        };
        assert_eq!(decode(&encoded(&value)), Ok(vec![value]));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|number| Value::Number(number.into())),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::RawString(vec![0xFF, 0xFE])),
            (any::<i32>(), any::<i16>()).prop_map(|(ms, zone)| Value::Date { unix_ms: f64::from(ms), zone }),
            ".{0,20}".prop_map(Value::Xml),
            Just(Value::Null),
            Just(Value::Undefined),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let members = prop::collection::vec((".{0,8}", inner.clone()), 0..6);
            prop_oneof![
                members.clone().prop_map(Value::Object),
                members.clone().prop_map(Value::EcmaArray),
                (".{0,8}", members).prop_map(|(class, members)| Value::TypedObject { class, members }),
                prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        /// AMF-14.
        #[test]
        fn values_round_trip(value in any_value()) {
            prop_assert_eq!(decode(&encoded(&value)), Ok(vec![value]));
        }

        /// AMF-14.
        #[test]
        fn encoding_is_canonical(body in prop::collection::vec(0u8..18, 0..200)) {
            crate::fuzz::amf0(&body);
        }
    }
}
