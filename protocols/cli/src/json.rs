//! JSON that is read within bounds, and keeps the order of its members.

use std::{cell::Cell, collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object: its members in the order in which they came; no two have the same key.
    Object(Vec<(String, Self)>),
}

/// How much a JSON text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lists and objects within each other.
    pub depth: usize,
    /// Values, keys not counted.
    pub values: usize,
}

impl Json {
    /// Reads a JSON text.
    ///
    /// # Errors
    ///
    /// Where it is no JSON, where a key stands twice in an object, where it is deeper or holds more than `bounds`
    /// allow.
    pub fn parse(text: &[u8], bounds: Bounds) -> Result<Self, String> {
        let left = Cell::new(bounds.values);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let seed = Seed { left: &left, bounds, depth: 0 };
        let value = seed.deserialize(&mut deserializer).and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
        value.map_err(|error| error.to_string())
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is neither list nor object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Object(_))
    }
}

/// Reads one value, within what is left of the bounds.
#[derive(Clone, Copy)]
struct Seed<'a> {
    left: &'a Cell<usize>,
    bounds: Bounds,
    depth: usize,
}

impl Seed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= self.bounds.depth {
            return Err(E::custom(format!("more than {} lists and objects within each other", self.depth)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(de::Error::custom(format!("more than {} values", self.bounds.values)));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(seed)? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a key stands twice in an object"));
            }
            members.push((key, access.next_value_seed(seed)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { depth: 3, values: 6 };

    fn parse(text: &str) -> Result<Json, String> {
        Json::parse(text.as_bytes(), BOUNDS)
    }

    #[test]
    fn members_keep_their_order() {
        let Ok(Json::Object(members)) = parse(r#"{"z":1,"a":"é\n","m":null}"#) else { panic!() };
        assert_eq!(members.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["z", "a", "m"]);
        assert_eq!(members[1].1.as_text(), Some("é\n"));
    }

    #[test]
    fn numbers_stay_what_they_are() {
        for number in ["0", "-9223372036854775808", "18446744073709551615", "1.5", "1e300"] {
            assert!(matches!(parse(number), Ok(Json::Number(_))), "{number}");
        }
        assert_eq!(parse("18446744073709551615"), Ok(Json::Number(u64::MAX.into())));
    }

    #[test]
    fn depth_and_count_are_bounded() {
        assert!(parse("[[1]]").is_ok());
        assert!(parse("[[[]]]").is_ok());
        assert!(parse("[[[[]]]]").unwrap_err().contains("more than 3 lists"));
        assert!(parse("[1,2,3,4]").is_ok());
        assert!(parse("[1,2,3,4,5]").is_ok());
        assert!(parse("[1,2,3,4,5,6]").unwrap_err().contains("more than 6 values"));
        let deep = "[".repeat(1_000_000);
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{} x",
            "{\"a\":1,\"a\":2}",
            "[{\"a\":1,\"a\":2}]",
            "nul",
            "1e999",
            "\"\\ud800\"",
            "'a'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(Json::parse(b"\"\xff\"", BOUNDS).is_err());
    }
}
