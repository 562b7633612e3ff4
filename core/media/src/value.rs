//! Dynamic values: what commands, metadata and connect parameters are made of.

/// A value as AMF0 and AMF3 know it, and as applications see it.
///
/// The model follows AMF0 (Action Message Format 0, §2) and has the kinds of values that AMF3 (§3) adds to it. Decoders
/// bound depth and count, so a `Value` that came from a peer is small; dropping it recurses at most
/// [`Limits::amf_depth`](crate::Limits) deep. [`Value::nearest`] serves whoever has no words for the kinds of AMF3.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double: the only number AMF0 has.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Valid UTF-8 text, of any length.
    String(String),
    /// Text that is not valid UTF-8, kept byte for byte.
    RawString(Vec<u8>),
    /// An anonymous object: keys in the order in which they came, the last of equal keys counts.
    Object(Vec<(String, Self)>),
    /// An associative array. On the wire it differs from an object by its marker and a count.
    EcmaArray(Vec<(String, Self)>),
    /// An array without keys.
    StrictArray(Vec<Self>),
    /// A moment: milliseconds since 1970-01-01 UTC, and a time zone in minutes that senders leave 0.
    Date {
        /// Milliseconds since 1970-01-01 00:00 UTC.
        unix_ms: f64,
        /// Minutes from UTC; reserved by the specification, kept as it came.
        zone: i16,
    },
    /// An XML document as opaque text; nobody here parses it.
    Xml(String),
    /// An object of a named class. It stays data: no class is ever instantiated.
    TypedObject {
        /// The class name or alias that the sender gave.
        class: String,
        /// The members, in order.
        members: Vec<(String, Self)>,
    },
    /// Explicitly nothing.
    Null,
    /// Not defined.
    Undefined,
    /// Bytes that are no text (AMF3's `ByteArray`).
    Bytes(Vec<u8>),
    /// A piece of XML as AMF3's second type for it has it (E4X), as opaque text too.
    E4x(String),
    /// A list of values of one kind (AMF3).
    Vector(Vector),
    /// A map from values to values (AMF3), in the order in which they came.
    Dictionary {
        /// Whether an entry goes with the last other use of its key.
        weak: bool,
        /// Keys and what they stand for.
        entries: Vec<(Self, Self)>,
    },
}

/// A list of values of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Whether its length never changes.
    pub fixed: bool,
    /// What it holds.
    pub items: Items,
}

/// What a [`Vector`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// Signed integers.
    Int(Vec<i32>),
    /// Unsigned integers.
    Uint(Vec<u32>),
    /// Doubles.
    Double(Vec<f64>),
    /// Values of a class.
    Object {
        /// The class name or alias that the sender gave; empty: any.
        class: String,
        /// The values, in order.
        values: Vec<Value>,
    },
}

impl Value {
    /// What comes nearest among the kinds that AMF0 has, for a value of a kind that only AMF3 has: bytes become a string
    /// of them, E4X becomes an XML document, a vector a list, a dictionary a list of pairs. `None`: it is of a kind
    /// that AMF0 has; what is within it is for its reader to look at.
    pub fn nearest(&self) -> Option<Self> {
        Some(match self {
            Self::Bytes(bytes) => Self::RawString(bytes.clone()),
            Self::E4x(text) => Self::Xml(text.clone()),
            Self::Vector(Vector { items, .. }) => Self::StrictArray(match items {
                Items::Int(numbers) => numbers.iter().map(|number| f64::from(*number).into()).collect(),
                Items::Uint(numbers) => numbers.iter().map(|number| f64::from(*number).into()).collect(),
                Items::Double(numbers) => numbers.iter().map(|number| (*number).into()).collect(),
                Items::Object { values, .. } => values.clone(),
            }),
            Self::Dictionary { entries, .. } => Self::StrictArray(
                entries
                    .iter()
                    .map(|(key, value)| Self::StrictArray(vec![key.clone(), value.clone()]))
                    .collect(),
            ),
            _ => return None,
        })
    }

    /// The member `key` of an object, ECMA array or typed object; of equal keys the last one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.members()?.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The members of an object, ECMA array or typed object.
    pub fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) | Self::EcmaArray(members) | Self::TypedObject { members, .. } => {
                Some(members)
            }
            _ => None,
        }
    }

    /// The text of a valid string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, where it is one; it may be NaN or infinite.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as an unsigned 32-bit integer, where it is exactly one.
    pub fn as_u32(&self) -> Option<u32> {
        let number = self.as_f64()?;
        let whole = number.trunc();
        (whole == number && (0.0..=f64::from(u32::MAX)).contains(&whole)).then_some(whole as u32)
    }

    /// The boolean, where it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_counts() {
        let value = Value::Object(vec![("a".into(), 1.0.into()), ("a".into(), 2.0.into())]);
        assert_eq!(value.get("a"), Some(&Value::Number(2.0)));
    }

    #[test]
    fn what_only_amf3_has_comes_near_to_something_of_amf0() {
        let vector = |items| Value::Vector(Vector { fixed: true, items });
        let list = |values: &[f64]| Value::StrictArray(values.iter().map(|value| (*value).into()).collect());
        let entries = vec![(Value::Null, "a".into()), (1.0.into(), Value::Bytes(vec![1]))];
        let pairs =
            entries.iter().map(|(key, value)| Value::StrictArray(vec![key.clone(), value.clone()])).collect();
        for (value, nearest) in [
            (Value::Bytes(vec![0xFF]), Value::RawString(vec![0xFF])),
            (Value::E4x("<a/>".into()), Value::Xml("<a/>".into())),
            (vector(Items::Int(vec![-1])), list(&[-1.0])),
            (vector(Items::Uint(vec![u32::MAX])), list(&[4_294_967_295.0])),
            (vector(Items::Double(vec![0.5, 1.0])), list(&[0.5, 1.0])),
            (
                vector(Items::Object { class: "C".into(), values: vec![Value::Null] }),
                Value::StrictArray(vec![Value::Null]),
            ),
            (Value::Dictionary { weak: true, entries }, Value::StrictArray(pairs)),
        ] {
            assert_eq!(value.nearest(), Some(nearest));
        }
        for value in [Value::Null, "text".into(), Value::Xml(String::new()), Value::StrictArray(vec![])] {
            assert_eq!(value.nearest(), None);
        }
    }

    #[test]
    fn only_whole_numbers_in_range_are_u32() {
        assert_eq!(Value::Number(4_294_967_295.0).as_u32(), Some(u32::MAX));
        for odd in [f64::NAN, f64::INFINITY, -1.0, 0.5, 4_294_967_296.0, 1e308] {
            assert_eq!(Value::Number(odd).as_u32(), None, "{odd}");
        }
    }
}
