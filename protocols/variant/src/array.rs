//! Arrays: maps whose keys are numbers, written as crtmpserver writes them.

use crtmp_media::Value;

/// How crtmpserver began the keys of arrays before it wrote them in base 16.
const OLD_PREFIX: &str = "__index__value__";

/// The key of an element.
pub(crate) fn index_key(index: usize) -> String {
    format!("0x{index:08x}")
}

/// What the members of a map that says of itself that it is an array are.
///
/// Keys that count from 0 without a gap, in whatever order, or elements without keys make a list; anything else is
/// an array with keys.
pub(crate) fn from_members(members: Vec<(String, Value)>) -> Value {
    if members.iter().all(|(key, _)| key.is_empty()) {
        return Value::StrictArray(members.into_iter().map(|(_, value)| value).collect());
    }
    // Where old servers sorted their keys as texts, 10 came before 2.
    let mut places = vec![usize::MAX; members.len()];
    for (at, (key, _)) in members.iter().enumerate() {
        match index(key).and_then(|index| places.get_mut(index)) {
            Some(place) if *place == usize::MAX => *place = at,
            _ => return Value::EcmaArray(members),
        }
    }
    let mut values: Vec<Option<Value>> = members.into_iter().map(|(_, value)| Some(value)).collect();
    Value::StrictArray(places.into_iter().filter_map(|at| values.get_mut(at)?.take()).collect())
}

fn index(key: &str) -> Option<usize> {
    let (digits, radix) = match key.strip_prefix("0x") {
        Some(digits) if digits.len() == 8 => (digits, 16),
        Some(_) => return None,
        None => (key.strip_prefix(OLD_PREFIX)?, 10),
    };
    // The number parser would also take a sign.
    let plain = digits.chars().all(|digit| digit.is_digit(radix));
    plain.then(|| usize::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(keys: &[&str]) -> Vec<(String, Value)> {
        keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), (at as f64).into())).collect()
    }

    fn list(numbers: &[f64]) -> Value {
        Value::StrictArray(numbers.iter().map(|number| (*number).into()).collect())
    }

    #[test]
    fn keys_that_count_make_a_list() {
        for (keys, expected) in [
            (&[][..], list(&[])),
            (&["0x00000000", "0x00000001"], list(&[0.0, 1.0])),
            (&["0x00000001", "0x00000000"], list(&[1.0, 0.0])),
            (&["__index__value__0", "__index__value__2", "__index__value__1"], list(&[0.0, 2.0, 1.0])),
            (&["", ""], list(&[0.0, 1.0])),
        ] {
            assert_eq!(from_members(members(keys)), expected, "{keys:?}");
        }
        let many: Vec<_> = (0..300).map(index_key).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(matches!(from_members(members(&many)), Value::StrictArray(values) if values.len() == 300));
    }

    #[test]
    fn other_keys_stay() {
        for keys in [
            &["a"][..],
            &["0x00000001"],
            &["0x00000000", "0x00000000"],
            &["0x0"],
            &["0xffffffff"],
            &["0x+0000000"],
            &["__index__value__-0"],
            &["__index__value__99999999999999999999999"],
            &["", "0x00000001"],
        ] {
            assert_eq!(from_members(members(keys)), Value::EcmaArray(members(keys)), "{keys:?}");
        }
    }
}
