use std::iter::repeat_n;

use proptest::prelude::*;

use super::*;
use crate::amf0;

fn decode(body: &[u8]) -> Result<Value, AmfErrorKind> {
    let values = decode_all(body, &Limits::default()).map_err(|error| error.kind)?;
    <[Value; 1]>::try_from(values).map(|[value]| value).map_err(|_| AmfErrorKind::Truncated)
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().encode(&mut out, value);
    out
}

fn members(members: &[(&str, Value)]) -> Vec<(String, Value)> {
    members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn object(list: &[(&str, Value)]) -> Value {
    Value::Object(members(list))
}

fn typed(class: &str, list: &[(&str, Value)]) -> Value {
    Value::TypedObject { class: class.to_owned(), members: members(list) }
}

fn list(values: &[Value]) -> Value {
    Value::StrictArray(values.to_vec())
}

fn vector(fixed: bool, items: Items) -> Value {
    Value::Vector(Vector { fixed, items })
}

/// §1.3.1: the table of lengths, and the limits of each.
#[test]
fn numbers_of_29_bits_have_one_to_four_bytes() {
    for (number, bytes) in [
        (0, &[0x00][..]),
        (0x7F, &[0x7F]),
        (0x80, &[0x81, 0x00]),
        (0x3FFF, &[0xFF, 0x7F]),
        (0x4000, &[0x81, 0x80, 0x00]),
        (0x1F_FFFF, &[0xFF, 0xFF, 0x7F]),
        (0x20_0000, &[0x80, 0xC0, 0x80, 0x00]),
        (0x1FFF_FFFF, &[0xFF, 0xFF, 0xFF, 0xFF]),
    ] {
        let mut out = Vec::new();
        encode_u29(&mut out, number);
        assert_eq!(out, bytes, "{number:#X}");
        let (limits, mut tables) = (Limits::default(), Tables::default());
        let mut input = Input::new(bytes, &limits);
        assert_eq!(Reader::new(&mut input, &mut tables).u29(), Ok(number));
    }
}

/// §3.2 to §3.14: what each type looks like, read and written.
#[test]
fn each_type_is_as_the_specification_has_it() {
    let double = |number: f64| [&[5][..], &number.to_be_bytes()].concat();
    for (bytes, value) in [
        (vec![0], Value::Undefined),
        (vec![1], Value::Null),
        (vec![2], false.into()),
        (vec![3], true.into()),
        (vec![4, 0], 0.0.into()),
        (vec![4, 0xBF, 0xFF, 0xFF, 0xFF], 268_435_455.0.into()),
        (vec![4, 0xC0, 0x80, 0x80, 0x00], (-268_435_456.0).into()),
        (vec![4, 0xFF, 0xFF, 0xFF, 0xFF], (-1.0).into()),
        (double(268_435_456.0), 268_435_456.0.into()),
        (double(-268_435_457.0), (-268_435_457.0).into()),
        (double(0.5), 0.5.into()),
        (double(-0.0), (-0.0).into()),
        (vec![6, 1], "".into()),
        (vec![6, 5, b'h', b'i'], "hi".into()),
        (vec![6, 5, 0xC3, 0x28], Value::RawString(vec![0xC3, 0x28])),
        (vec![7, 9, b'<', b'a', b'/', b'>'], Value::Xml("<a/>".into())),
        ([&[8, 1][..], &1.5_f64.to_be_bytes()].concat(), Value::Date { unix_ms: 1.5, zone: 0 }),
        (vec![9, 1, 1], list(&[])),
        (vec![9, 5, 1, 4, 1, 4, 2], list(&[1.0.into(), 2.0.into()])),
        (vec![9, 1, 3, b'k', 3, 1], Value::EcmaArray(members(&[("k", true.into())]))),
        (vec![9, 3, 3, b'k', 3, 1, 2], Value::EcmaArray(members(&[("k", true.into()), ("0", false.into())]))),
        (vec![10, 0x0B, 1, 1], object(&[])),
        (vec![10, 0x0B, 1, 3, b'k', 3, 1], object(&[("k", true.into())])),
        (vec![10, 0x13, 3, b'C', 3, b'k', 3], typed("C", &[("k", true.into())])),
        (vec![10, 0x03, 3, b'C'], typed("C", &[])),
        (vec![11, 3, b'x'], Value::E4x("x".into())),
        (vec![12, 7, 0, 0xFF, 1], Value::Bytes(vec![0, 0xFF, 1])),
        (vec![13, 5, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF], vector(false, Items::Int(vec![1, -1]))),
        (vec![14, 3, 1, 0xFF, 0xFF, 0xFF, 0xFF], vector(true, Items::Uint(vec![u32::MAX]))),
        ([&[15, 3, 0][..], &0.5_f64.to_be_bytes()].concat(), vector(false, Items::Double(vec![0.5]))),
        (
            vec![16, 5, 0, 3, b'C', 1, 3],
            vector(false, Items::Object { class: "C".into(), values: vec![Value::Null, true.into()] }),
        ),
        (
            vec![17, 3, 1, 4, 1, 6, 3, b'x'],
            Value::Dictionary { weak: true, entries: vec![(1.0.into(), "x".into())] },
        ),
    ] {
        assert_eq!(decode(&bytes), Ok(value.clone()), "{bytes:X?}");
        assert_eq!(encoded(&value), bytes, "{value:?}");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(AmfErrorKind::Truncated), "{bytes:X?} up to {end}");
        }
    }
    assert_eq!(decode(&double(f64::NAN)).unwrap().as_f64().map(f64::to_bits), Some(f64::NAN.to_bits()));
}

/// §2.2: the tables of strings, objects and traits.
#[test]
fn references_are_read_as_what_they_refer_to() {
    // Three times the same text, once as a key.
    let bytes = [9, 5, 3, b'a', 6, 0, 1, 6, 0, 6, 3, b'b'];
    let value = Value::EcmaArray(members(&[("a", "a".into()), ("0", "a".into()), ("1", "b".into())]));
    assert_eq!(decode(&bytes), Ok(value.clone()));
    assert_eq!(encoded(&value), bytes);
    // Two objects with the same traits, and the first of them again.
    let bytes = [9, 7, 1, 10, 0x13, 3, b'C', 3, b'k', 2, 10, 1, 3, 10, 2];
    let (first, second) = (typed("C", &[("k", false.into())]), typed("C", &[("k", true.into())]));
    assert_eq!(decode(&bytes), Ok(list(&[first.clone(), second.clone(), first.clone()])));
    assert_eq!(encoded(&list(&[first, second])), [9, 5, 1, 10, 0x13, 3, b'C', 3, b'k', 2, 10, 1, 3]);
    // Each kind that has a place among the objects, referred to by its number; the list itself is 0.
    let parts: [&[u8]; 6] = [
        &[7, 3, b'x'],
        &[8, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[12, 3, 7],
        &[13, 1, 0],
        &[17, 1, 0],
        &[11, 3, b'y'],
    ];
    let markers = parts.map(|part| part[0]);
    let mut bytes = [&[9, 12 << 1 | 1, 1][..], &parts.concat()].concat();
    for (at, marker) in markers.into_iter().enumerate() {
        bytes.extend_from_slice(&[marker, (at as u8 + 1) << 1]);
    }
    let Ok(Value::StrictArray(values)) = decode(&bytes) else { panic!() };
    assert_eq!(values[..6], values[6..]);
    // What is read again brings nothing new into the tables: the next text has number 1, not 2.
    let bytes = [9, 9, 1, 12, 3, 7, 9, 3, 1, 6, 3, b'a', 9, 4, 9, 3, 1, 6, 3, b'b', 6, 2];
    let Err(AmfErrorKind::Truncated) = decode(&bytes) else { panic!("it has one value too many") };
    let (a, b) = (list(&["a".into()]), list(&["b".into()]));
    let values = decode_all(&bytes, &Limits::default()).unwrap();
    assert_eq!(values, [list(&[Value::Bytes(vec![7]), a.clone(), a, b]), "b".into()]);
}

/// The tables are those of the body, whatever stands between its values.
#[test]
fn references_reach_over_the_values_of_a_body() {
    let body = [17, 6, 3, b'a', 5, 17, 9, 3, 1, 6, 0, 17, 9, 0];
    let expected = ["a".into(), Value::Null, list(&["a".into()]), list(&["a".into()])];
    assert_eq!(amf0::decode_all(&body, &Limits::default()).unwrap(), expected);
    let mut out = Vec::new();
    amf0::encode_mixed(&mut out, &[Value::E4x("a".into()), typed("C", &[("b", Value::Bytes(vec![]))])]);
    assert_eq!(out, [17, 11, 3, b'a', 17, 10, 0x13, 3, b'C', 3, b'b', 12, 1]);
    let twice = [
        Value::Bytes(vec![1]),
        "s".into(),
        vector(false, Items::Object { class: "s".into(), values: vec!["s".into()] }),
    ];
    let mut out = Vec::new();
    amf0::encode_mixed(&mut out, &twice);
    assert_eq!(out, [17, 12, 3, 1, 2, 0, 1, b's', 17, 16, 3, 0, 3, b's', 6, 0]);
    assert_eq!(amf0::decode_all(&out, &Limits::default()).unwrap(), twice);
}

/// AMF-02: each container by itself, and all of them behind switches from AMF0.
#[test]
fn depth_is_limited_for_each_container_and_over_switches() {
    let openings: [&[u8]; 7] = [
        &[9, 3, 1],
        &[9, 1, 3, b'k'],
        &[10, 0x0B, 1, 3, b'k'],
        &[10, 0x13, 3, b'C', 3, b'k'],
        &[16, 3, 0, 1],
        b"\x0A\x07\x43flex.messaging.io.ArrayCollection",
        b"\x0A\x07\x3Bflex.messaging.io.ObjectProxy",
    ];
    for opening in openings {
        let nest = |depth: usize| [&opening.repeat(depth)[..], &[1]].concat();
        for depth in [31, 32] {
            assert_ne!(decode(&nest(depth)), Err(AmfErrorKind::Depth(32)), "{opening:X?}");
        }
        assert_eq!(decode(&nest(33)), Err(AmfErrorKind::Depth(32)), "{opening:X?}");
        assert_eq!(decode(&nest(100_000)), Err(AmfErrorKind::Depth(32)), "{opening:X?}");
        // Sixteen objects of AMF0 around them.
        let switched = |depth: usize| {
            let body = [&[3, 0, 1, b'a'].repeat(16)[..], &[17], &nest(depth)].concat();
            amf0::decode_all(&body, &Limits::default()).map_err(|error| error.kind)
        };
        assert_ne!(switched(16), Err(AmfErrorKind::Depth(32)), "{opening:X?}");
        assert_eq!(switched(17), Err(AmfErrorKind::Depth(32)), "{opening:X?}");
    }
    // A dictionary is as deep as the list of pairs that it may become.
    let dictionaries = |depth: usize| [&[17, 3, 0, 1].repeat(depth)[..], &[1]].concat();
    assert!(decode(&dictionaries(16)).is_ok());
    assert_eq!(decode(&dictionaries(17)), Err(AmfErrorKind::Depth(32)));
    assert_eq!(decode(&[&[9, 3, 1].repeat(31)[..], &[13, 1, 0]].concat()).map(drop), Ok(()));
    assert_eq!(decode(&[&[9, 3, 1].repeat(32)[..], &[13, 1, 0]].concat()), Err(AmfErrorKind::Depth(32)));
    // A reference to something deep is as deep as that.
    let deep = |around: usize| {
        let inner = [&[9, 3, 1].repeat(20)[..], &[1]].concat();
        [&[9, 5, 1][..], &inner, &[9, 3, 1].repeat(around), &[9, 2]].concat()
    };
    assert!(decode(&deep(11)).is_ok());
    assert_eq!(decode(&deep(12)), Err(AmfErrorKind::Depth(32)));
}

/// AMF-03, AMF-04: what is announced takes nothing, and what is there is counted.
#[test]
fn counts_and_elements_are_bounded() {
    // The largest count in front of nothing.
    const MOST: [u8; 4] = [0xFF, 0xFF, 0xFF, 0xFF];
    for (marker, behind) in
        [(9, &[1][..]), (13, &[0]), (14, &[0]), (15, &[0]), (16, &[0, 1]), (17, &[0]), (6, &[]), (12, &[])]
    {
        let expected = if matches!(marker, 6 | 12) {
            AmfErrorKind::StringLength(65_536)
        } else {
            AmfErrorKind::Truncated
        };
        assert_eq!(decode(&[&[marker][..], &MOST, behind].concat()), Err(expected), "{marker}");
    }
    // As many declared members as a number can say.
    assert_eq!(decode(&[10, 0xFF, 0xFF, 0xFF, 0xFB]), Err(AmfErrorKind::Nodes(4096)));
    let lists = |marker: u8, behind: &[u8], element: &[u8], count: usize| {
        let mut body = vec![marker];
        encode_u29(&mut body, count << 1 | 1);
        body.extend_from_slice(behind);
        body.extend(repeat_n(element, count).flatten());
        decode(&body)
    };
    for (marker, behind, element) in [
        (9, &[1][..], &[1][..]),
        (13, &[0], &[0; 4]),
        (14, &[0], &[0; 4]),
        (15, &[0], &[0; 8]),
        (16, &[0, 1], &[1]),
    ] {
        assert!(lists(marker, behind, element, 4095).is_ok(), "{marker}");
        assert_eq!(lists(marker, behind, element, 4096), Err(AmfErrorKind::Nodes(4096)), "{marker}");
    }
    // A pair counts as three: as a list of pairs would.
    assert!(lists(17, &[0], &[1, 1], 1365).is_ok());
    assert_eq!(lists(17, &[0], &[1, 1], 1366), Err(AmfErrorKind::Nodes(4096)));
    let nulls = decode_all(&[1; 4097], &Limits::default()).unwrap_err();
    assert_eq!(nulls, AmfErrorKind::Nodes(4096).at(4096));
}

/// What a short message refers to again and again does not become a large value.
#[test]
fn references_repeat_no_more_than_they_may() {
    let string = |length: usize, references: usize| {
        let mut body = vec![9];
        encode_u29(&mut body, (references + 1) << 1 | 1);
        body.extend_from_slice(&[1, 6]);
        encode_u29(&mut body, length << 1 | 1);
        body.extend(repeat_n(b'x', length));
        body.extend(repeat_n([6, 0], references).flatten());
        decode(&body)
    };
    assert!(string(65_536, 16).is_ok());
    assert_eq!(string(65_536, 17), Err(AmfErrorKind::Repeats(1 << 20)));
    assert_eq!(string(65_535, 17), Err(AmfErrorKind::Repeats(1 << 20)));
    // The same by way of traits: names that stand in each object.
    let traits = |name: usize, references: usize| {
        let mut body = vec![9];
        encode_u29(&mut body, (references + 1) << 1 | 1);
        body.extend_from_slice(&[1, 10, 0x13, 1]);
        encode_u29(&mut body, name << 1 | 1);
        body.extend(repeat_n(b'x', name));
        body.push(1);
        body.extend(repeat_n([10, 1, 1], references).flatten());
        decode(&body)
    };
    assert!(traits(16_384, 64).is_ok());
    assert_eq!(traits(16_384, 65), Err(AmfErrorKind::Repeats(1 << 20)));
    // And by way of objects, which hold bytes.
    let objects = |references: usize| {
        let mut body = vec![9];
        encode_u29(&mut body, (references + 1) << 1 | 1);
        body.push(1);
        body.extend_from_slice(&encoded(&Value::Bytes(vec![0; 65_536])));
        body.extend(repeat_n([12, 2], references).flatten());
        decode(&body)
    };
    assert!(objects(16).is_ok());
    assert_eq!(objects(17), Err(AmfErrorKind::Repeats(1 << 20)));
    // Lists of two references to the list before: 2^40 values in 200 bytes.
    let mut body = vec![9, 40 << 1 | 1, 1, 9, 1, 1];
    for before in 1..40 {
        body.extend_from_slice(&[9, 5, 1, 9, before << 1, 9, before << 1]);
    }
    let doubled = decode(&body);
    assert!(matches!(doubled, Err(AmfErrorKind::Nodes(4096) | AmfErrorKind::Depth(32))), "{doubled:?}");
}

/// AMF-09 and AMF-12, for AMF3.
#[test]
fn references_to_nothing_and_to_what_they_stand_in_are_errors() {
    let unknown = |to, number| Err(AmfErrorKind::Reference { to, number });
    assert_eq!(decode(&[6, 0]), unknown("string", 0));
    assert_eq!(decode(&[6, 4]), unknown("string", 2));
    assert_eq!(decode(&[9, 1, 2]), unknown("string", 1));
    assert_eq!(decode(&[10, 1]), unknown("traits", 0));
    assert_eq!(decode(&[10, 0xFF, 0xFF, 0xFF, 0xFD]), unknown("traits", MAX_U29 >> 2));
    for marker in 7..=17 {
        assert_eq!(decode(&[marker, 0]), unknown("object", 0), "{marker}");
    }
    for circle in [
        &[9, 3, 1, 9, 0][..],
        &[9, 1, 3, b'k', 9, 0],
        &[10, 0x0B, 1, 3, b'k', 10, 0, 1],
        &[10, 0x13, 1, 3, b'k', 10, 0],
        &[16, 3, 0, 1, 16, 0],
        &[17, 3, 0, 17, 0, 1],
        &[9, 3, 1, 9, 3, 1, 9, 0],
    ] {
        let error = decode_all(circle, &Limits::default()).unwrap_err();
        assert_eq!(error.kind, AmfErrorKind::Circle, "{circle:X?}");
    }
    let error = decode_all(&[9, 3, 1, 9, 0], &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "an AMF3 reference to an object that it stands in at offset 3");
}

/// AMF-10, AMF-12.
#[test]
fn other_markers_are_named() {
    for marker in 18..=255 {
        let error = amf0::decode_all(&[17, 1, 17, marker, 1], &Limits::default()).unwrap_err();
        assert_eq!(error, AmfErrorKind::Amf3Marker(marker).at(3));
        assert_eq!(error.to_string(), format!("unknown AMF3 marker 0x{marker:02X} at offset 3"));
    }
}

/// AMF-12: a number has no fifth byte; what follows is the next value.
#[test]
fn a_number_ends_with_its_fourth_byte() {
    let values = decode_all(&[4, 0xFF, 0xFF, 0xFF, 0xFF, 1], &Limits::default()).unwrap();
    assert_eq!(values, [(-1.0).into(), Value::Null]);
    let error = decode_all(&[4, 0xFF, 0xFF, 0xFF, 0xFF, 0x80], &Limits::default()).unwrap_err();
    assert_eq!(error.kind, AmfErrorKind::Amf3Marker(0x80));
}

/// AMF-12: classes that write themselves.
#[test]
fn externalizable_objects_are_read_where_their_end_is_known() {
    for (class, member) in EXTERNALIZABLE {
        let mut bytes = vec![10, 7];
        encode_u29(&mut bytes, class.len() << 1 | 1);
        bytes.extend_from_slice(class.as_bytes());
        bytes.extend_from_slice(&[9, 3, 1, 3]);
        let value = typed(class, &[(member, list(&[true.into()]))]);
        assert_eq!(decode(&bytes), Ok(value.clone()));
        assert_eq!(encoded(&value), bytes);
        assert!(is_needed(&value));
    }
    // Declared as anything else it is an object like others.
    assert!(!is_needed(&typed("flex.messaging.io.ArrayCollection", &[])));
    let error = decode_all(b"\x0A\x07\x09a.\x1bC\x01", &Limits::default()).unwrap_err();
    assert_eq!(error.kind, AmfErrorKind::Externalizable("a.\u{1b}C".into()));
    assert!(error.to_string().contains(r#"class "a.\u{1b}C","#), "{error}");
    let long = [&[10, 7, 0x87, 0x69][..], &[b'x'; 500]].concat();
    let error = decode_all(&long, &Limits::default()).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

/// AMF-05, AMF-07.
#[test]
fn texts_keys_and_bytes_have_their_limits() {
    for value in [
        Value::String("x".repeat(65_536)),
        Value::Bytes(vec![0; 65_536]),
        Value::Xml("x".repeat(65_536)),
        Value::E4x("x".repeat(65_536)),
    ] {
        assert_eq!(decode(&encoded(&value)), Ok(value));
    }
    for value in [
        Value::String("x".repeat(65_537)),
        Value::Bytes(vec![0; 65_537]),
        Value::Xml("x".repeat(65_537)),
        Value::E4x("x".repeat(65_537)),
    ] {
        assert_eq!(decode(&encoded(&value)), Err(AmfErrorKind::StringLength(65_536)));
    }
    // A stray byte takes three as text.
    let xml = [&[7, 0x83, 0x80, 0x01][..], &[0xFF; 24_576]].concat();
    assert_eq!(decode(&xml), Err(AmfErrorKind::StringLength(65_536)));
    let key = "k".repeat(crate::amf::MAX_KEY);
    let long = format!("{key}k");
    for make in [
        (|key| object(&[(key, Value::Null)])) as fn(&str) -> Value,
        |key| Value::EcmaArray(members(&[(key, Value::Null)])),
        |key| typed(key, &[]),
        |key| typed("C", &[(key, Value::Null)]),
        |key| vector(false, Items::Object { class: key.into(), values: vec![] }),
    ] {
        assert_eq!(decode(&encoded(&make(&key))), Ok(make(&key)));
        assert_eq!(decode(&encoded(&make(&long))), Err(AmfErrorKind::KeyLength(crate::amf::MAX_KEY)));
    }
    let double = object(&[("a", 1.0.into()), ("", 2.0.into()), ("b", 4.0.into()), ("a", 3.0.into())]);
    assert_eq!(decode(&encoded(&double)), Ok(double));
}

/// What is written can be read again, however much of it is the same.
#[test]
fn what_is_written_repeats_no_more_than_can_be_read() {
    let limits = Limits { amf_repeats: 64 * 1024, ..Limits::default() };
    let texts = Value::StrictArray(vec![Value::String("x".repeat(10_000)); 20]);
    let objects = Value::StrictArray(vec![typed("C", &[(&"k".repeat(10_000), Value::Null)]); 20]);
    for value in [texts, objects] {
        let out = encoded(&value);
        assert_eq!(decode_all(&out, &limits), Ok(vec![value]));
        assert!((100_000..150_000).contains(&out.len()), "{}", out.len());
    }
}

#[test]
fn what_amf3_cannot_say_becomes_what_comes_nearest() {
    let pass = |value: Value| decode(&encoded(&value)).unwrap();
    assert_eq!(pass(Value::Date { unix_ms: 1.0, zone: 60 }), Value::Date { unix_ms: 1.0, zone: 0 });
    assert_eq!(pass(Value::EcmaArray(vec![])), list(&[]));
    let odd = members(&[("a", Value::Null), ("", Value::Null)]);
    assert_eq!(pass(Value::EcmaArray(odd.clone())), Value::Object(odd));
    assert_eq!(pass(typed("", &[("a", Value::Null)])), object(&[("a", Value::Null)]));
}

fn any_value() -> impl Strategy<Value = Value> {
    let key = "[a-c0-2]{1,2}";
    let leaf = prop_oneof![
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        prop_oneof![Just(-0.0), Just(1e300), Just(f64::INFINITY), Just(0.5)].prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        "[ab]".prop_map(Value::String),
        Just(Value::RawString(vec![0xFF, 0xFE])),
        any::<i32>().prop_map(|ms| Value::Date { unix_ms: f64::from(ms), zone: 0 }),
        ".{0,20}".prop_map(Value::Xml),
        ".{0,20}".prop_map(Value::E4x),
        Just(Value::Null),
        Just(Value::Undefined),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        (any::<bool>(), prop::collection::vec(any::<i32>(), 0..4))
            .prop_map(|(fixed, items)| vector(fixed, Items::Int(items))),
        (any::<bool>(), prop::collection::vec(any::<u32>(), 0..4))
            .prop_map(|(fixed, items)| vector(fixed, Items::Uint(items))),
        (any::<bool>(), prop::collection::vec(any::<i16>().prop_map(f64::from), 0..4))
            .prop_map(|(fixed, items)| vector(fixed, Items::Double(items))),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        let members = prop::collection::vec((key, inner.clone()), 0..6);
        let values = prop::collection::vec(inner.clone(), 0..6);
        let class = prop_oneof![Just("flex.messaging.io.ArrayList".to_owned()), "[A-B]"];
        prop_oneof![
            members.clone().prop_map(Value::Object),
            prop::collection::vec(("[a-b0-1]{0,1}", inner.clone()), 0..6).prop_map(Value::Object),
            prop::collection::vec((key, inner.clone()), 1..6).prop_map(Value::EcmaArray),
            (class, prop_oneof![members, inner.clone().prop_map(|value| vec![("source".to_owned(), value)])])
                .prop_map(|(class, members)| Value::TypedObject { class, members }),
            values.clone().prop_map(Value::StrictArray),
            (any::<bool>(), "[A-B]{0,1}", values)
                .prop_map(|(fixed, class, values)| { vector(fixed, Items::Object { class, values }) }),
            (any::<bool>(), prop::collection::vec((inner.clone(), inner), 0..3))
                .prop_map(|(weak, entries)| Value::Dictionary { weak, entries }),
        ]
    })
}

proptest! {
    /// AMF-14.
    #[test]
    fn values_round_trip(value in any_value()) {
        prop_assert_eq!(decode(&encoded(&value)), Ok(value));
    }

    /// AMF-14, several values of a body together, some of them in AMF0.
    #[test]
    fn bodies_round_trip(values in prop::collection::vec(any_value(), 0..4)) {
        let mut out = Vec::new();
        amf0::encode_mixed(&mut out, &values);
        prop_assert_eq!(amf0::decode_all(&out, &Limits::default()), Ok(values));
    }

    /// AMF-14.
    #[test]
    fn encoding_is_canonical(body in prop::collection::vec(0u8..20, 0..200)) {
        crate::fuzz::amf3(&body);
    }
}

/// What another implementation has written (Py3AMF 0.9.1), with references of all three kinds.
#[test]
fn what_others_write_is_read() {
    let read = |hex: &str| {
        let digits: Vec<_> = hex.bytes().filter_map(|digit| (digit as char).to_digit(16)).collect();
        decode(&digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect::<Vec<_>>())
    };
    let class =
        |name: &str, size: f64| typed("com.example.C", &[("name", name.into()), ("size", size.into())]);
    let (first, shared) = (class("first", 1.0), object(&[("k", "first".into())]));
    let long = Value::String("x".repeat(100));
    let values = list(&[
        first.clone(),
        class("second", -5.0),
        first,
        shared.clone(),
        shared,
        "second".into(),
        "second".into(),
        1.5.into(),
        268_435_455.0.into(),
        (-268_435_456.0).into(),
        268_435_456.0.into(),
        Value::Null,
        true.into(),
        false.into(),
        Value::Date { unix_ms: 1_577_934_245_000.0, zone: 0 },
        Value::Bytes(vec![0, 0xFF]),
        Value::EcmaArray(members(&[("a", 1.0.into())])),
        long.clone(),
        long,
    ]);
    let hex = "0927010a0b1b636f6d2e6578616d706c652e43096e616d65060b66697273740973697a650401010a0102060d73
        65636f6e640604fffffffb010a020a0b01036b0604010a0606080608053ff800000000000004bfffffff04c08080000541b0
        00000000000001030208014276f6435cc880000c0500ff09010361040101068149"
        .to_owned();
    assert_eq!(read(&(hex + &"78".repeat(100) + "060e")), Ok(values));
    let collection =
        "0a0743666c65782e6d6573736167696e672e696f2e4172726179436f6c6c656374696f6e090501060361060362";
    let source = list(&["a".into(), "b".into()]);
    assert_eq!(read(collection), Ok(typed("flex.messaging.io.ArrayCollection", &[("source", source)])));
    let proxy = "0a073b666c65782e6d6573736167696e672e696f2e4f626a65637450726f78790a0b01036b040101";
    let inner = object(&[("k", 1.0.into())]);
    assert_eq!(read(proxy), Ok(typed("flex.messaging.io.ObjectProxy", &[("object", inner)])));
}
