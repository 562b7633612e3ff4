//! Values of peers as JSON for applications, and back.

use base64::{Engine, engine::general_purpose::STANDARD};
use crtmp_media::Value;
use serde_json::{Map, Number};

/// As JSON. What JSON cannot say becomes what comes nearest: NaN, infinities and undefined become null, a date
/// its milliseconds since 1970, bytes that are no text get replacement characters. A byte array becomes text in
/// Base64, a vector a list, a dictionary a list of pairs.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) => json_number(*number),
        Value::Boolean(flag) => (*flag).into(),
        Value::String(text) | Value::Xml(text) | Value::E4x(text) => text.as_str().into(),
        Value::RawString(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Object(members) | Value::EcmaArray(members) | Value::TypedObject { members, .. } => {
            serde_json::Value::Object(to_map(members))
        }
        Value::StrictArray(values) => values.iter().map(to_json).collect(),
        Value::Date { unix_ms, .. } => json_number(*unix_ms),
        Value::Null | Value::Undefined => serde_json::Value::Null,
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Vector(_) | Value::Dictionary { .. } => {
            value.nearest().as_ref().map_or(serde_json::Value::Null, to_json)
        }
    }
}

/// Members as a JSON object; the last of equal keys counts.
pub fn to_map(members: &[(String, Value)]) -> Map<String, serde_json::Value> {
    members.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
}

/// From JSON.
pub fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => (*flag).into(),
        serde_json::Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).into(),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(values) => Value::StrictArray(values.iter().map(from_json).collect()),
        serde_json::Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

/// Whole numbers as such: `1`, not `1.0`.
fn json_number(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.trunc() == number && number.abs() <= EXACT {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Items, Vector};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_json_can_say_survives_the_way_there_and_back() {
        let value = Value::Object(vec![
            ("number".into(), 1.5.into()),
            ("whole".into(), 3.0.into()),
            ("text".into(), "ü".into()),
            ("list".into(), Value::StrictArray(vec![true.into(), Value::Null])),
        ]);
        let json = to_json(&value);
        assert_eq!(json, json!({ "number": 1.5, "whole": 3, "text": "ü", "list": [true, null] }));
        let Value::Object(members) = from_json(&json) else { panic!() };
        assert_eq!(members.len(), 4);
        assert_eq!(from_json(&json).get("whole"), Some(&Value::Number(3.0)));
    }

    #[test]
    fn what_json_cannot_say_becomes_what_comes_nearest() {
        assert_eq!(to_json(&f64::NAN.into()), json!(null));
        assert_eq!(to_json(&Value::Undefined), json!(null));
        assert_eq!(to_json(&Value::RawString(vec![0x61, 0xff])), json!("a\u{fffd}"));
        assert_eq!(to_json(&Value::Date { unix_ms: 5.0, zone: 0 }), json!(5));
        assert_eq!(to_json(&Value::Bytes(vec![0, 0xff])), json!("AP8="));
        assert_eq!(to_json(&Value::E4x("<a/>".into())), json!("<a/>"));
        let items = Items::Double(vec![1.0, 0.5]);
        assert_eq!(to_json(&Value::Vector(Vector { fixed: false, items })), json!([1, 0.5]));
        let entries = vec![("a".into(), 1.0.into()), (Value::Null, true.into())];
        assert_eq!(to_json(&Value::Dictionary { weak: false, entries }), json!([["a", 1], [null, true]]));
        let twice = Value::EcmaArray(vec![("a".into(), 1.0.into()), ("a".into(), 2.0.into())]);
        assert_eq!(to_json(&twice), json!({ "a": 2 }));
    }
}
