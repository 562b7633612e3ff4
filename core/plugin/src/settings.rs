//! From a configuration block to an application's settings.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::secrets::holds_secret;

/// Reads settings and refuses keys that the type does not have, whether or not it says `deny_unknown_fields`.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let json = if json.is_empty() { "{}" } else { json };
    let map: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| format!("the settings are not an object: {error}"))?;
    T::deserialize(Strict(map)).map_err(|error| error.to_string())
}

/// An object whose keys must be fields of the struct that is made from it.
struct Strict(Map<String, Value>);

impl<'de> de::Deserializer<'de> for Strict {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(Entries { rest: self.0.into_iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if let Some(key) = self.0.keys().find(|key| !fields.contains(&key.as_str())) {
            let expected = match fields {
                [] => "there are no settings".to_owned(),
                fields => format!("expected one of: {}", fields.join(", ")),
            };
            return Err(de::Error::custom(format!("unknown setting `{key}`; {expected}")));
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Its entries, with the key put before an error about a value.
struct Entries {
    rest: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = serde_json::Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let field: StrDeserializer<'_, Self::Error> = key.as_str().into_deserializer();
        let field = seed.deserialize(field)?;
        self.value = Some((key, value));
        Ok(Some(field))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let (key, value) = self.value.take().expect("serde asks for a key before its value");
        let secret = holds_secret(&key, &value);
        seed.deserialize(value).map_err(|error| {
            let error = error.to_string();
            // It would show the value.
            let expected =
                error.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
            let text = if secret { format!("expected {expected}; it is not shown here") } else { error };
            de::Error::custom(format!("setting `{key}`: {text}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::NoSettings;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Sample {
        max_players: u32,
        title: Option<String>,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { max_players: 7, title: None }
        }
    }

    #[test]
    fn fields_are_read_and_defaults_hold() {
        let sample: Sample = parse(r#"{"title":"x"}"#).unwrap();
        assert_eq!((sample.max_players, sample.title.as_deref()), (7, Some("x")));
        assert_eq!(parse::<Sample>("").unwrap().max_players, 7);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse::<Sample>(r#"{"maxPlayer":3}"#).unwrap_err();
        assert_eq!(error, "unknown setting `maxPlayer`; expected one of: maxPlayers, title");
        let error = parse::<NoSettings>(r#"{"a":1}"#).unwrap_err();
        assert_eq!(error, "unknown setting `a`; there are no settings");
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let error = parse::<Sample>(r#"{"maxPlayers":"many"}"#).unwrap_err();
        assert!(error.starts_with("setting `maxPlayers`: invalid type: string \"many\""), "{error}");
    }

    #[test]
    fn a_secret_of_a_wrong_type_is_not_shown() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Login {
            secret: String,
            users: Vec<Sample>,
        }
        for (settings, expected) in [
            (r#"{"secret":81549300}"#, "setting `secret`: expected a string; it is not shown here"),
            (r#"{"secret":["81549300"]}"#, "setting `secret`: expected a string; it is not shown here"),
            (
                r#"{"users":[{"maxPlayers":"81549300","pass_word":1}]}"#,
                "setting `users`: expected u32; it is not shown here",
            ),
        ] {
            assert_eq!(parse::<Login>(settings).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_flattened_map_takes_all_keys() {
        #[derive(Deserialize)]
        struct Open {
            #[serde(flatten)]
            all: BTreeMap<String, Value>,
        }
        assert_eq!(parse::<Open>(r#"{"a":1,"b":2}"#).unwrap().all.len(), 2);
    }

    #[test]
    fn anything_but_an_object_is_refused() {
        assert!(parse::<NoSettings>("[1]").unwrap_err().starts_with("the settings are not an object"));
    }
}
