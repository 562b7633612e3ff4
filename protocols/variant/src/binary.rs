//! The binary notation: a byte for the type, then the value, big-endian.

use crtmp_media::{Limits, Value};

use crate::{VariantError, VariantErrorKind, array, budget::Budget, date, number::Number};

/// Reads a value.
///
/// # Errors
///
/// See [`VariantErrorKind`].
pub fn decode_binary(body: &[u8], limits: &Limits) -> Result<Value, VariantError> {
    let budget = Budget::of_message(body, limits)?;
    let mut decoder = Decoder { body, at: 0, budget };
    let value = decoder.value()?;
    if decoder.at < body.len() {
        return Err(VariantErrorKind::Trailing.at(decoder.at));
    }
    Ok(value)
}

/// Writes a value.
///
/// # Errors
///
/// If it is nested deeper than [`Limits::amf_depth`], or becomes larger than [`Limits::variant_size`].
pub fn encode_binary(value: &Value, limits: &Limits) -> Result<Vec<u8>, VariantError> {
    let mut encoder = Encoder { out: Vec::new(), budget: Budget::of_answer(limits) };
    encoder.value(value)?;
    Ok(encoder.out)
}

struct Decoder<'a> {
    body: &'a [u8],
    at: usize,
    budget: Budget<'a>,
}

impl<'a> Decoder<'a> {
    fn value(&mut self) -> Result<Value, VariantError> {
        let start = self.at;
        self.budget.node(start)?;
        let [kind] = self.take()?;
        Ok(match kind {
            kind::NULL => Value::Null,
            kind::UNDEFINED => Value::Undefined,
            kind::BOOL => {
                let [flag] = self.take()?;
                Value::Boolean(flag != 0)
            }
            kind::INT8 => f64::from(i8::from_be_bytes(self.take()?)).into(),
            kind::INT16 => f64::from(i16::from_be_bytes(self.take()?)).into(),
            kind::INT32 => f64::from(i32::from_be_bytes(self.take()?)).into(),
            // Beyond 2⁵³ it becomes the nearest double: values have no other numbers.
            kind::INT64 => (i64::from_be_bytes(self.take()?) as f64).into(),
            kind::UINT8 => f64::from(u8::from_be_bytes(self.take()?)).into(),
            kind::UINT16 => f64::from(u16::from_be_bytes(self.take()?)).into(),
            kind::UINT32 => f64::from(u32::from_be_bytes(self.take()?)).into(),
            kind::UINT64 => (u64::from_be_bytes(self.take()?) as f64).into(),
            kind::DOUBLE => f64::from_be_bytes(self.take()?).into(),
            kind::TIMESTAMP | kind::DATE | kind::TIME => {
                let unix_ms = i64::from_be_bytes(self.take()?) as f64 * 1000.0;
                Value::Date { unix_ms, zone: 0 }
            }
            kind::STRING => {
                let text = self.text()?;
                match std::str::from_utf8(text) {
                    Ok(text) => Value::String(text.to_owned()),
                    Err(_) => Value::RawString(text.to_vec()),
                }
            }
            kind::BYTE_ARRAY => Value::RawString(self.text()?.to_vec()),
            kind::MAP => {
                let [is_array] = self.take()?;
                let members = self.members(start)?;
                if is_array == 0 { Value::Object(members) } else { array::from_members(members) }
            }
            kind::TYPED_MAP => {
                // It cannot be an array as well.
                let [_] = self.take()?;
                let class = self.key()?;
                Value::TypedObject { class, members: self.members(start)? }
            }
            _ => return Err(VariantErrorKind::Type(kind).at(start)),
        })
    }

    /// Reads the members of a map that began at `start`.
    fn members(&mut self, start: usize) -> Result<Vec<(String, Value)>, VariantError> {
        self.budget.open(start)?;
        let mut members = Vec::new();
        for _ in 0..self.length()? {
            members.push((self.key()?, self.value()?));
        }
        self.budget.close();
        Ok(members)
    }

    fn key(&mut self) -> Result<String, VariantError> {
        let start = self.at;
        let key = String::from_utf8_lossy(self.text()?).into_owned();
        self.budget.text(start, key.len())?;
        Ok(key)
    }

    fn text(&mut self) -> Result<&'a [u8], VariantError> {
        let start = self.at;
        let length = self.length()?;
        self.budget.text(start, length)?;
        self.bytes(length)
    }

    fn length(&mut self) -> Result<usize, VariantError> {
        Ok(u32::from_be_bytes(self.take()?) as usize)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], VariantError> {
        let mut field = [0; N];
        field.copy_from_slice(self.bytes(N)?);
        Ok(field)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], VariantError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(VariantErrorKind::Truncated.at(self.at))?;
        self.at += length;
        Ok(bytes)
    }
}

struct Encoder<'a> {
    out: Vec<u8>,
    budget: Budget<'a>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value) -> Result<(), VariantError> {
        match value {
            Value::Null | Value::Undefined => self.put(kind::NULL, &[]),
            Value::Boolean(flag) => self.put(kind::BOOL, &[u8::from(*flag)]),
            Value::Number(number) => self.number((*number).into()),
            Value::Date { unix_ms, .. } => match date::seconds(*unix_ms) {
                Some(seconds) => self.put(kind::TIMESTAMP, &seconds.to_be_bytes()),
                None => self.put(kind::NULL, &[]),
            },
            Value::String(text) | Value::Xml(text) => {
                self.put(kind::STRING, &[])?;
                self.text(text.as_bytes())
            }
            Value::RawString(bytes) => {
                self.put(kind::BYTE_ARRAY, &[])?;
                self.text(bytes)
            }
            Value::Object(members) => {
                self.put(kind::MAP, &[0])?;
                self.members(members.len(), members.iter().map(|(key, value)| (key.as_str(), value)))
            }
            Value::EcmaArray(members) => {
                self.put(kind::MAP, &[1])?;
                self.members(members.len(), members.iter().map(|(key, value)| (key.as_str(), value)))
            }
            Value::StrictArray(values) => {
                self.put(kind::MAP, &[1])?;
                let members = values.iter().enumerate();
                self.members(values.len(), members.map(|(at, value)| (array::index_key(at), value)))
            }
            Value::TypedObject { class, members } => {
                self.put(kind::TYPED_MAP, &[0])?;
                self.text(class.as_bytes())?;
                self.members(members.len(), members.iter().map(|(key, value)| (key.as_str(), value)))
            }
            Value::Bytes(_) | Value::E4x(_) | Value::Vector(_) | Value::Dictionary { .. } => {
                let nearest = value.nearest().unwrap_or(Value::Null);
                self.value(&nearest)
            }
        }
    }

    fn number(&mut self, number: Number) -> Result<(), VariantError> {
        match number {
            Number::Int8(number) => self.put(kind::INT8, &number.to_be_bytes()),
            Number::Uint8(number) => self.put(kind::UINT8, &number.to_be_bytes()),
            Number::Int16(number) => self.put(kind::INT16, &number.to_be_bytes()),
            Number::Uint16(number) => self.put(kind::UINT16, &number.to_be_bytes()),
            Number::Int32(number) => self.put(kind::INT32, &number.to_be_bytes()),
            Number::Uint32(number) => self.put(kind::UINT32, &number.to_be_bytes()),
            Number::Int64(number) => self.put(kind::INT64, &number.to_be_bytes()),
            Number::Double(number) => self.put(kind::DOUBLE, &number.to_be_bytes()),
        }
    }

    fn members<'v, K: AsRef<str>>(
        &mut self,
        count: usize,
        members: impl Iterator<Item = (K, &'v Value)>,
    ) -> Result<(), VariantError> {
        self.budget.open(self.out.len())?;
        self.length(count)?;
        for (key, value) in members {
            self.text(key.as_ref().as_bytes())?;
            self.value(value)?;
        }
        self.budget.close();
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), VariantError> {
        self.budget.size(self.out.len().saturating_add(4).saturating_add(text.len()))?;
        self.length(text.len())?;
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn length(&mut self, length: usize) -> Result<(), VariantError> {
        // What has no room in 32 bits has none in a message either.
        self.budget.size(length)?;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.budget.size(self.out.len())
    }

    fn put(&mut self, kind: u8, content: &[u8]) -> Result<(), VariantError> {
        self.out.push(kind);
        self.out.extend_from_slice(content);
        self.budget.size(self.out.len())
    }
}

mod kind {
    pub(super) const NULL: u8 = 1;
    pub(super) const UNDEFINED: u8 = 2;
    pub(super) const BOOL: u8 = 3;
    pub(super) const INT8: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const INT32: u8 = 6;
    pub(super) const INT64: u8 = 7;
    pub(super) const UINT8: u8 = 8;
    pub(super) const UINT16: u8 = 9;
    pub(super) const UINT32: u8 = 10;
    pub(super) const UINT64: u8 = 11;
    pub(super) const DOUBLE: u8 = 12;
    pub(super) const TIMESTAMP: u8 = 14;
    pub(super) const DATE: u8 = 15;
    pub(super) const TIME: u8 = 16;
    pub(super) const STRING: u8 = 17;
    pub(super) const TYPED_MAP: u8 = 18;
    pub(super) const MAP: u8 = 19;
    pub(super) const BYTE_ARRAY: u8 = 20;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, object, small};

    fn decode(body: &[u8]) -> Result<Value, VariantErrorKind> {
        decode_binary(body, &Limits::default()).map_err(|error| error.kind)
    }

    fn encode(value: &Value) -> Vec<u8> {
        encode_binary(value, &Limits::default()).unwrap()
    }

    /// Type, then value, as crtmpserver writes them.
    #[test]
    fn each_type_has_its_bytes() {
        let date = |seconds: f64| Value::Date { unix_ms: seconds * 1000.0, zone: 0 };
        for (bytes, value) in [
            (&[1][..], Value::Null),
            (&[3, 1], true.into()),
            (&[4, 0x80], (-128.0).into()),
            (&[5, 0xFF, 0x00], (-256.0).into()),
            (&[6, 0x00, 0x01, 0x00, 0x00], 65_536.0.into()),
            (&[7, 0, 0, 0, 1, 0, 0, 0, 0], 4_294_967_296.0.into()),
            (&[8, 0xFF], 255.0.into()),
            (&[9, 0xFF, 0xFF], 65_535.0.into()),
            (&[10, 0xFF, 0xFF, 0xFF, 0xFF], 4_294_967_295.0.into()),
            (&[12, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0], 1.5.into()),
            (&[14, 0, 0, 0, 0, 0x4F, 0xC7, 0xAE, 0xDC], date(1_338_486_492.0)),
            (&[14, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], date(-1.0)),
            (&[17, 0, 0, 0, 2, b'h', b'i'], "hi".into()),
            (&[20, 0, 0, 0, 2, 0xFF, 0], Value::RawString(vec![0xFF, 0])),
            (&[19, 0, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 1], object(&[("a", Value::Null)])),
            (&[19, 1, 0, 0, 0, 0], Value::StrictArray(vec![])),
            (
                &[&[19, 1, 0, 0, 0, 1, 0, 0, 0, 10][..], b"0x00000000", &[3, 0]].concat(),
                Value::StrictArray(vec![false.into()]),
            ),
            (
                &[18, 0, 0, 0, 0, 1, b'T', 0, 0, 0, 0],
                Value::TypedObject { class: "T".into(), members: vec![] },
            ),
        ] {
            assert_eq!(decode(bytes), Ok(value.clone()));
            assert_eq!(encode(&value), bytes);
        }
    }

    #[test]
    fn what_we_never_write_is_read() {
        let date = |seconds: f64| Value::Date { unix_ms: seconds * 1000.0, zone: 0 };
        for (bytes, value) in [
            (&[2][..], Value::Undefined),
            (&[3, 7], true.into()),
            (&[11, 0, 0, 0, 0, 0, 0, 0, 9], 9.0.into()),
            (&[11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 18_446_744_073_709_551_615.0.into()),
            (&[15, 0, 0, 0, 0, 0, 1, 0x51, 0x80], date(86_400.0)),
            (&[16, 0, 0, 0, 0, 0, 0, 0, 1], date(1.0)),
            (&[17, 0, 0, 0, 1, 0xFF], Value::RawString(vec![0xFF])),
            (&[18, 1, 0, 0, 0, 0, 0, 0, 0, 0], Value::TypedObject { class: String::new(), members: vec![] }),
        ] {
            assert_eq!(decode(bytes), Ok(value));
        }
        assert_eq!(encode(&Value::Undefined), [1]);
        assert_eq!(encode(&Value::Date { unix_ms: f64::NAN, zone: 0 }), [1]);
        assert_eq!(encode(&Value::Xml("a".into())), [17, 0, 0, 0, 1, b'a']);
        assert_eq!(encode(&Value::E4x("a".into())), [17, 0, 0, 0, 1, b'a']);
        assert_eq!(encode(&Value::Bytes(vec![0xFF])), [20, 0, 0, 0, 1, 0xFF]);
    }

    #[test]
    fn hostile_messages() {
        use VariantErrorKind as Kind;
        let deep = [19, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let nest = |depth: usize| [&deep.repeat(depth)[..], &[1]].concat();
        assert!(decode(&nest(32)).is_ok());
        let wide = |count: u32| {
            let members = [0, 0, 0, 0, 1].repeat(count as usize);
            [&[19, 0][..], &count.to_be_bytes(), &members].concat()
        };
        assert!(decode(&wide(4095)).is_ok());
        let long = |length: u32| [&[17][..], &length.to_be_bytes(), &vec![b'a'; length as usize]].concat();
        assert!(decode(&long(65_536)).is_ok());
        for (bytes, kind) in [
            (vec![], Kind::Empty),
            (vec![0], Kind::Type(0)),
            (vec![13], Kind::Type(13)),
            (vec![21], Kind::Type(21)),
            (vec![1, 1], Kind::Trailing),
            (vec![17, 0, 0, 0, 2, b'a'], Kind::Truncated),
            (vec![17, 0xFF, 0xFF, 0xFF, 0xFF], Kind::StringLength(65_536)),
            (vec![20, 0, 1, 0, 1], Kind::StringLength(65_536)),
            (vec![19, 0, 0xFF, 0xFF, 0xFF, 0xFF], Kind::Truncated),
            (vec![18, 0, 0xFF, 0xFF, 0xFF, 0xFF], Kind::StringLength(65_536)),
            (nest(33), Kind::Depth(32)),
            (nest(400_000), Kind::Depth(32)),
            (wide(4096), Kind::Nodes(4096)),
            (wide(800_000), Kind::Nodes(4096)),
            (long(65_537), Kind::StringLength(65_536)),
            (vec![1; (4 << 20) + 1], Kind::Size(4 << 20)),
        ] {
            assert_eq!(decode(&bytes), Err(kind));
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_truncated() {
        let whole = encode(&testing::sample());
        for end in 1..whole.len() {
            let error = decode_binary(&whole[..end], &Limits::default()).unwrap_err();
            assert!(error.kind == VariantErrorKind::Truncated && error.offset <= end, "{end}: {error}");
        }
    }

    #[test]
    fn what_is_written_has_limits_too() {
        let limits = small();
        let too_deep = testing::nested(limits.amf_depth + 1);
        assert!(encode_binary(&testing::nested(limits.amf_depth), &limits).is_ok());
        assert_eq!(encode_binary(&too_deep, &limits).unwrap_err().kind, VariantErrorKind::Depth(4));
        let text = |length: usize| Value::String("a".repeat(length));
        assert_eq!(encode_binary(&text(1024 - 5), &limits).unwrap().len(), 1024);
        assert_eq!(encode_binary(&text(1024 - 4), &limits).unwrap_err().kind, VariantErrorKind::Size(1024));
        let many = Value::StrictArray(vec![Value::Null; 1000]);
        assert_eq!(encode_binary(&many, &limits).unwrap_err().kind, VariantErrorKind::Size(1024));
    }

    proptest! {
        #[test]
        fn values_come_back(value in testing::value()) {
            prop_assert_eq!(decode(&encode(&value)), Ok(value));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
            crate::fuzz::variant_binary(&bytes);
        }
    }
}
