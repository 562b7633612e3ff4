//! The JSON notation. What JSON has no type for becomes a text: dates, bytes.

use std::{fmt, io};

use base64::{Engine, engine::general_purpose::STANDARD};
use crtmp_media::{Limits, Value};
use serde::{
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::{self, Serialize, SerializeMap, Serializer},
};

use crate::{VariantError, VariantErrorKind, budget::Budget, date, number};

/// Reads a value: numbers, texts, lists and objects as such. Texts that hold dates or bytes stay texts.
///
/// # Errors
///
/// See [`VariantErrorKind`].
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Value, VariantError> {
    let mut reading = Reading { budget: Budget::of_message(body, limits)?, broken: None };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let result = Seed(&mut reading).deserialize(&mut deserializer);
    let broken = reading.broken.take();
    let error = match result {
        Ok(value) => match deserializer.end() {
            Ok(()) => return Ok(value),
            Err(error) => return Err(VariantErrorKind::Trailing.at(offset(body, &error))),
        },
        Err(error) => error,
    };
    let kind = match (broken, error.is_eof()) {
        (Some(kind), _) => kind,
        (None, true) => VariantErrorKind::Truncated,
        (None, false) => VariantErrorKind::Syntax("JSON"),
    };
    Err(kind.at(offset(body, &error)))
}

/// Writes a value: dates as `2012-05-31T17:45:00.000`, bytes in base 64, numbers that JSON has not as null.
///
/// # Errors
///
/// If it is nested deeper than [`Limits::amf_depth`], or becomes larger than [`Limits::variant_size`].
pub fn encode_json(value: &Value, limits: &Limits) -> Result<Vec<u8>, VariantError> {
    let mut out = Bounded { bytes: Vec::new(), limit: limits.variant_size };
    let tree = Tree { value, depth: 0, limit: limits.amf_depth };
    match serde_json::to_writer(&mut out, &tree) {
        Ok(()) => Ok(out.bytes),
        Err(error) if error.is_io() => Err(VariantErrorKind::Size(limits.variant_size).at(out.bytes.len())),
        Err(_) => Err(VariantErrorKind::Depth(limits.amf_depth).at(out.bytes.len())),
    }
}

/// Where an error is, from its line and column.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + error.column()).min(body.len())
}

/// What is kept while a message is read; the library's own errors cannot carry ours.
struct Reading<'a> {
    budget: Budget<'a>,
    broken: Option<VariantErrorKind>,
}

impl Reading<'_> {
    fn check<E: de::Error>(
        &mut self,
        check: impl FnOnce(&mut Budget<'_>) -> Result<(), VariantError>,
    ) -> Result<(), E> {
        check(&mut self.budget).map_err(|error| {
            self.broken = Some(error.kind);
            E::custom("a limit")
        })
    }
}

struct Seed<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.check(|budget| budget.node(0))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    // Beyond 2⁵³ it becomes the nearest double: values have no other numbers.
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok((number as f64).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok((number as f64).into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.0.check(|budget| budget.text(0, text.len()))?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.0.check(|budget| budget.open(0))?;
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(Seed(self.0))? {
            values.push(value);
        }
        self.0.budget.close();
        Ok(Value::StrictArray(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.check(|budget| budget.open(0))?;
        let mut members = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.check(|budget| budget.text(0, key.len()))?;
            members.push((key, entries.next_value_seed(Seed(self.0))?));
        }
        self.0.budget.close();
        Ok(Value::Object(members))
    }
}

/// A value on its way out, in so many containers.
struct Tree<'a> {
    value: &'a Value,
    depth: usize,
    limit: usize,
}

impl<'a> Tree<'a> {
    fn inside(&self, value: &'a Value) -> Self {
        Self { value, depth: self.depth + 1, limit: self.limit }
    }

    fn members<S: Serializer>(
        &self,
        members: &'a [(String, Value)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for (key, value) in members {
            map.serialize_entry(key, &self.inside(value))?;
        }
        map.end()
    }
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let container = self.value.members().is_some() || matches!(self.value, Value::StrictArray(_));
        if container && self.depth >= self.limit {
            return Err(ser::Error::custom("too deep"));
        }
        match self.value {
            Value::Null | Value::Undefined => serializer.serialize_unit(),
            Value::Boolean(flag) => serializer.serialize_bool(*flag),
            Value::Number(number) => match number::whole(*number) {
                Some(whole) => serializer.serialize_i64(whole),
                // What is not finite, the library writes as null.
                None => serializer.serialize_f64(*number),
            },
            Value::String(text) | Value::Xml(text) => serializer.serialize_str(text),
            Value::RawString(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Value::Date { unix_ms, .. } => match date::seconds(*unix_ms) {
                Some(seconds) => serializer.serialize_str(&date::text(seconds)),
                None => serializer.serialize_unit(),
            },
            Value::StrictArray(values) => {
                serializer.collect_seq(values.iter().map(|value| self.inside(value)))
            }
            Value::Object(members) | Value::EcmaArray(members) | Value::TypedObject { members, .. } => {
                self.members(members, serializer)
            }
            Value::Bytes(_) | Value::E4x(_) | Value::Vector(_) | Value::Dictionary { .. } => {
                let nearest = self.value.nearest().unwrap_or(Value::Null);
                Tree { value: &nearest, ..*self }.serialize(serializer)
            }
        }
    }
}

/// Takes no more than `limit` bytes.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Items, Vector};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        VariantErrorKind as Kind,
        testing::{self, object, small},
    };

    fn decode(body: &str) -> Result<Value, Kind> {
        decode_json(body.as_bytes(), &Limits::default()).map_err(|error| error.kind)
    }

    fn encode(value: &Value) -> String {
        String::from_utf8(encode_json(value, &Limits::default()).unwrap()).unwrap()
    }

    #[test]
    fn what_json_can_say_passes_both_ways() {
        for (text, value) in [
            ("null", Value::Null),
            ("true", true.into()),
            ("-5", (-5.0).into()),
            ("9007199254740992", 9_007_199_254_740_992.0.into()),
            ("0.1", 0.1.into()),
            ("1e+300", 1e300.into()),
            ("-0.0", (-0.0).into()),
            (r#""a\n\"/ü""#, "a\n\"/ü".into()),
            ("[]", Value::StrictArray(vec![])),
            ("[1,[null]]", Value::StrictArray(vec![1.0.into(), Value::StrictArray(vec![Value::Null])])),
            (r#"{"a":{},"a":1}"#, object(&[("a", object(&[])), ("a", 1.0.into())])),
        ] {
            assert_eq!(decode(text), Ok(value.clone()), "{text}");
            assert_eq!(encode(&value), text);
        }
        assert_eq!(decode(" [ 1 , 2.50 ] \n"), Ok(Value::StrictArray(vec![1.0.into(), 2.5.into()])));
        assert_eq!(decode("18446744073709551615"), Ok(18_446_744_073_709_551_615.0.into()));
        assert_eq!(decode(r#""\ud83d\ude00\u0000""#), Ok("😀\0".into()));
    }

    #[test]
    fn what_json_cannot_say_becomes_what_comes_nearest() {
        let members = vec![("k".to_owned(), Value::Null)];
        for (value, text) in [
            (Value::Undefined, "null"),
            (f64::NAN.into(), "null"),
            (f64::INFINITY.into(), "null"),
            (Value::Date { unix_ms: 1_338_486_492_999.0, zone: 60 }, "\"2012-05-31T17:48:12.000\""),
            (Value::Date { unix_ms: f64::NAN, zone: 0 }, "null"),
            (Value::RawString(vec![0, 0xFF]), "\"AP8=\""),
            (Value::Xml("<a/>".into()), "\"<a/>\""),
            (Value::EcmaArray(members.clone()), r#"{"k":null}"#),
            (Value::TypedObject { class: "C".into(), members }, r#"{"k":null}"#),
            (Value::Bytes(vec![0, 0xFF]), "\"AP8=\""),
            (Value::E4x("<a/>".into()), "\"<a/>\""),
            (Value::Vector(Vector { fixed: true, items: Items::Int(vec![-1, 2]) }), "[-1,2]"),
            (Value::Dictionary { weak: false, entries: vec![("a".into(), Value::Null)] }, r#"[["a",null]]"#),
        ] {
            assert_eq!(encode(&value), text);
        }
    }

    #[test]
    fn hostile_texts() {
        let nest = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(decode(&nest(32)).is_ok());
        let wide = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(decode(&wide(4095)).is_ok());
        let long = |length: usize| format!("\"{}\"", "a".repeat(length));
        assert!(decode(&long(65_536)).is_ok());
        for (text, kind) in [
            ("", Kind::Empty),
            (" ", Kind::Truncated),
            ("[", Kind::Truncated),
            ("{\"a\"", Kind::Truncated),
            ("\"a", Kind::Truncated),
            ("nul", Kind::Truncated),
            ("nule", Kind::Syntax("JSON")),
            ("[1,]", Kind::Syntax("JSON")),
            ("{1:2}", Kind::Syntax("JSON")),
            ("01", Kind::Syntax("JSON")),
            ("1 2", Kind::Trailing),
            ("1e999", Kind::Syntax("JSON")),
            ("NaN", Kind::Syntax("JSON")),
            ("\"\n\"", Kind::Syntax("JSON")),
            ("\"\\ud800\"", Kind::Syntax("JSON")),
            (&nest(33), Kind::Depth(32)),
            (&"[".repeat(4 << 20), Kind::Depth(32)),
            (&"{\"a\":".repeat(800_000), Kind::Depth(32)),
            (&wide(4096), Kind::Nodes(4096)),
            (&wide(2_000_000), Kind::Nodes(4096)),
            (&long(65_537), Kind::StringLength(65_536)),
            (&format!("{{{}:1}}", long(65_537)), Kind::StringLength(65_536)),
            (&long(4 << 20), Kind::Size(4 << 20)),
        ] {
            assert_eq!(decode(text), Err(kind), "{}", &text[..text.len().min(100)]);
        }
        assert!(decode_json(b"\"\xFF\"", &Limits::default()).is_err());
        assert_eq!(decode_json(b"[1,\n 2,\n x]", &Limits::default()).unwrap_err().offset, 10);
    }

    #[test]
    fn the_deepest_that_the_limits_allow_is_read() {
        let limits = Limits { amf_depth: 64, ..Limits::default() };
        let nest = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(decode_json(nest(64).as_bytes(), &limits).is_ok());
        assert_eq!(decode_json(nest(65).as_bytes(), &limits).unwrap_err().kind, Kind::Depth(64));
    }

    #[test]
    fn what_is_written_has_limits_too() {
        let limits = small();
        assert!(encode_json(&testing::nested(4), &limits).is_ok());
        assert_eq!(encode_json(&testing::nested(5), &limits).unwrap_err().kind, Kind::Depth(4));
        let text = |length: usize| encode_json(&"a".repeat(length).into(), &limits);
        assert_eq!(text(1022).unwrap().len(), 1024);
        assert_eq!(text(1023).unwrap_err().kind, Kind::Size(1024));
    }

    proptest! {
        /// The first writing changes what JSON has no type for; nothing changes after that.
        #[test]
        fn texts_come_back(value in testing::value()) {
            let text = encode(&value);
            prop_assert_eq!(encode(&decode(&text).unwrap()), text);
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text: String) {
            crate::fuzz::variant_json(text.as_bytes());
        }
    }
}
