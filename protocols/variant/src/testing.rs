//! What the tests of the notations share.

use crtmp_media::{Limits, Value};
use proptest::prelude::*;

/// Small limits: depth 4, 16 values, strings of 256 bytes, messages of 1024.
pub(crate) fn small() -> Limits {
    Limits { amf_depth: 4, amf_nodes: 16, amf_string: 256, variant_size: 1024, ..Limits::default() }
}

/// An object with these members.
pub(crate) fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

/// Null in as many objects.
pub(crate) fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |value, _| object(&[("a", value)]))
}

/// Some of everything.
pub(crate) fn sample() -> Value {
    object(&[
        ("null", Value::Null),
        ("bool", true.into()),
        ("numbers", Value::StrictArray([-1.0, 200.0, 1e6, 1e12, 0.1].map(Value::from).to_vec())),
        ("when", Value::Date { unix_ms: 1_338_486_492_000.0, zone: 0 }),
        ("text <&>\"'", "a <b> & \"c\" 'd'\r\n\tüß€😀".into()),
        ("bytes", Value::RawString(vec![0, 0xFF, 0xFE])),
        ("named", Value::EcmaArray(vec![("k".into(), "v".into())])),
        ("typed", Value::TypedObject { class: "a.B".into(), members: vec![("x".into(), 1.0.into())] }),
    ])
}

/// Values that come back from XML and binary as they are.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|number| f64::from(number).into()),
        any::<f64>().prop_filter("NaN equals nothing", |number| !number.is_nan()).prop_map(Value::from),
        (-62_135_596_800_i64..=253_402_300_799)
            .prop_map(|seconds| Value::Date { unix_ms: seconds as f64 * 1000.0, zone: 0 }),
        text().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::RawString),
    ];
    leaf.prop_recursive(4, 40, 6, |inside| {
        let members = prop::collection::vec((text(), inside.clone()), 0..6);
        prop_oneof![
            members.clone().prop_map(Value::Object),
            (text(), members.clone()).prop_map(|(class, members)| Value::TypedObject { class, members }),
            prop::collection::vec(inside, 0..6).prop_map(Value::StrictArray),
            members.prop_map(|mut members| {
                // Without a name it would be a list.
                members.push(("name".into(), Value::Null));
                Value::EcmaArray(members)
            }),
        ]
    })
}

/// Text without NUL, which XML has no room for.
fn text() -> impl Strategy<Value = String> + Clone {
    prop::collection::vec(any::<char>().prop_filter("no NUL", |letter| *letter != '\0'), 0..12)
        .prop_map(|letters| letters.into_iter().collect())
}
