//! Tests of the XML notation.

use crtmp_media::{Limits, Value};
use proptest::prelude::*;

use super::*;
use crate::{
    VariantError, VariantErrorKind as Kind,
    testing::{self, object, small},
};

fn decode(body: &str) -> Result<Value, Kind> {
    decode_xml(body.as_bytes(), &Limits::default()).map_err(|error| error.kind)
}

fn encode(value: &Value) -> String {
    String::from_utf8(encode_xml(value, &Limits::default()).unwrap()).unwrap()
}

fn date(seconds: f64) -> Value {
    Value::Date { unix_ms: seconds * 1000.0, zone: 0 }
}

#[test]
fn each_type_has_its_element() {
    let typed = Value::TypedObject { class: "a.B".into(), members: vec![("x".into(), 1.0.into())] };
    for (element, value) in [
        (r#"<NULL name="" />"#, Value::Null),
        (r#"<BOOL name="">true</BOOL>"#, true.into()),
        (r#"<BOOL name="">false</BOOL>"#, false.into()),
        (r#"<INT8 name="">-128</INT8>"#, (-128.0).into()),
        (r#"<UINT8 name="">255</UINT8>"#, 255.0.into()),
        (r#"<INT16 name="">-256</INT16>"#, (-256.0).into()),
        (r#"<UINT16 name="">65535</UINT16>"#, 65_535.0.into()),
        (r#"<INT32 name="">65536</INT32>"#, 65_536.0.into()),
        (r#"<UINT32 name="">4294967295</UINT32>"#, 4_294_967_295.0.into()),
        (r#"<INT64 name="">4294967296</INT64>"#, 4_294_967_296.0.into()),
        (r#"<DOUBLE name="">0.1</DOUBLE>"#, 0.1.into()),
        (r#"<DOUBLE name="">1e300</DOUBLE>"#, 1e300.into()),
        (r#"<TIMESTAMP name="">2012-05-31T17:48:12.000</TIMESTAMP>"#, date(1_338_486_492.0)),
        (r#"<STR name=""></STR>"#, "".into()),
        (r#"<STR name=""> &lt;a&gt; &amp;&#x0A;&#x0D;&#x01; </STR>"#, " <a> &\n\r\x01 ".into()),
        (r#"<BYTEARRAY name="">AP8=</BYTEARRAY>"#, Value::RawString(vec![0, 0xFF])),
        (r#"<MAP isArray="false" name=""></MAP>"#, object(&[])),
        (
            r#"<MAP isArray="false" name=""><NULL name="a &quot;&#x09;" /></MAP>"#,
            object(&[("a \"\t", Value::Null)]),
        ),
        (
            r#"<MAP isArray="true" name=""><INT8 name="0x00000000">7</INT8></MAP>"#,
            Value::StrictArray(vec![7.0.into()]),
        ),
        (
            r#"<MAP isArray="true" name=""><INT8 name="k">7</INT8></MAP>"#,
            Value::EcmaArray(vec![("k".into(), 7.0.into())]),
        ),
        (r#"<TYPED_MAP typeName="a.B" isArray="false" name=""><INT8 name="x">1</INT8></TYPED_MAP>"#, typed),
    ] {
        let document = format!("<?xml version=\"1.0\" ?>{element}");
        assert_eq!(encode(&value), document);
        assert_eq!(decode(&document), Ok(value));
        assert_eq!(decode(element), decode(&document), "the declaration may be missing");
    }
}

#[test]
fn what_we_never_write_is_read() {
    for (document, value) in [
        ("<UNDEFINED/>", Value::Undefined),
        ("<NULL></NULL>", Value::Null),
        ("<bool>TRUE</bool>", true.into()),
        ("<Uint64> 9\n</Uint64>", 9.0.into()),
        ("<INT8>+5</INT8>", 5.0.into()),
        ("<DOUBLE>-inf</DOUBLE>", f64::NEG_INFINITY.into()),
        ("<DOUBLE>1.500</DOUBLE>", 1.5.into()),
        ("<DATE>1970-01-02</DATE>", date(86_400.0)),
        ("<TIME>00:00:01.000</TIME>", date(1.0)),
        ("<TIMESTAMP>1970-01-01T00:00:00.500Z</TIMESTAMP>", date(0.5)),
        ("<STR><![CDATA[<a>]]>&#98;<!-- c -->&apos;</STR>", "<a>b'".into()),
        ("<STR>a\r\nb\rc</STR>", "a\nb\nc".into()),
        ("<BYTEARRAY>\n AP8\n</BYTEARRAY>", Value::RawString(vec![0, 0xFF])),
        ("\u{FEFF}<?xml version='1.0'?>\n<!-- a --><NULL/>\n<?b?>\n", Value::Null),
        ("<MAP>\n  <STR NAME='a'>b</STR>\n</MAP>", object(&[("a", "b".into())])),
        ("<MAP><NULL/></MAP>", object(&[("", Value::Null)])),
        (
            "<MAP isArray='TRUE'><NULL/><BOOL>true</BOOL></MAP>",
            Value::StrictArray(vec![Value::Null, true.into()]),
        ),
        ("<MAP typeName='T'/>", Value::TypedObject { class: "T".into(), members: vec![] }),
        ("<TYPED_MAP/>", Value::TypedObject { class: String::new(), members: vec![] }),
        ("<MAP name='x' a='1' b='2' name='y'/>", object(&[])),
    ] {
        assert_eq!(decode(document), Ok(value), "{document}");
    }
}

#[test]
fn what_xml_cannot_say_becomes_what_comes_nearest() {
    let declared = |element: &str| format!("<?xml version=\"1.0\" ?>{element}");
    for (value, element) in [
        (Value::Undefined, r#"<NULL name="" />"#),
        (date(f64::NAN), r#"<NULL name="" />"#),
        ("a\0".into(), r#"<BYTEARRAY name="">YQA=</BYTEARRAY>"#),
        (Value::Xml("<a/>".into()), r#"<STR name="">&lt;a/&gt;</STR>"#),
        (Value::E4x("<a/>".into()), r#"<STR name="">&lt;a/&gt;</STR>"#),
        (Value::Bytes(b"a\0".to_vec()), r#"<BYTEARRAY name="">YQA=</BYTEARRAY>"#),
        (object(&[("\0", Value::Null)]), "<MAP isArray=\"false\" name=\"\"><NULL name=\"\u{FFFD}\" /></MAP>"),
    ] {
        assert_eq!(encode(&value), declared(element));
    }
    let nan = decode(&encode(&f64::NAN.into())).unwrap();
    assert!(nan.as_f64().unwrap().is_nan());
}

#[test]
fn hostile_documents() {
    let nest = |depth: usize| ["<MAP>".repeat(depth), "</MAP>".repeat(depth)].concat();
    assert!(decode(&nest(32)).is_ok());
    let wide = |count: usize| format!("<MAP>{}</MAP>", "<NULL/>".repeat(count));
    assert!(decode(&wide(4095)).is_ok());
    let long = |length: usize| format!("<STR>{}</STR>", "a".repeat(length));
    assert!(decode(&long(65_536)).is_ok());
    let bytes = |length: usize| format!("<BYTEARRAY>{}</BYTEARRAY>", "A".repeat(length));
    assert!(decode(&bytes(87_380)).is_ok());
    let named = |length: usize| format!("<MAP><NULL name='{}'/></MAP>", "a".repeat(length));
    assert!(decode(&named(65_536)).is_ok());
    let attributes = |count: usize| format!("<NULL {}/>", "a='' ".repeat(count));
    assert!(decode(&attributes(16)).is_ok());
    let laughs = "<!DOCTYPE a [<!ENTITY b 'lol'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]><STR>&c;</STR>";
    for (document, kind) in [
        ("", Kind::Empty),
        (" \n", Kind::Empty),
        ("<?xml version='1.0'?><!-- a -->", Kind::Empty),
        ("a", Kind::Syntax("XML")),
        ("<", Kind::Syntax("XML")),
        ("<STR", Kind::Syntax("XML")),
        ("<STR>", Kind::Truncated),
        ("<MAP><STR>a</STR>", Kind::Truncated),
        ("<STR></INT8>", Kind::Syntax("XML")),
        ("</STR>", Kind::Syntax("XML")),
        ("<STR>a</STR>b", Kind::Syntax("XML")),
        ("<NULL/><NULL/>", Kind::Trailing),
        ("<STRING/>", Kind::Element),
        ("<a:STR/>", Kind::Element),
        ("<MAP>a</MAP>", Kind::Misplaced),
        ("<MAP>&amp;</MAP>", Kind::Misplaced),
        ("<STR><STR/></STR>", Kind::Misplaced),
        ("<STR a></STR>", Kind::Syntax("XML")),
        ("<STR a=b></STR>", Kind::Syntax("XML")),
        ("<STR name='&b;'/>", Kind::Entity),
        ("<STR name='&#0;'/>", Kind::Entity),
        ("<STR>&b;</STR>", Kind::Entity),
        ("<STR>&#0;</STR>", Kind::Entity),
        ("<STR>&#xD800;</STR>", Kind::Entity),
        ("<STR>&#x110000;</STR>", Kind::Entity),
        ("<STR>&#99999999999;</STR>", Kind::Entity),
        ("<STR>&</STR>", Kind::Syntax("XML")),
        (laughs, Kind::DocumentType),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><NULL/>", Kind::DocumentType),
        ("<!doctype a><NULL/>", Kind::DocumentType),
        ("<NULL/><!DOCTYPE a>", Kind::DocumentType),
        ("<INT8>128</INT8>", Kind::Content("INT8")),
        ("<INT8></INT8>", Kind::Content("INT8")),
        ("<UINT8>-1</UINT8>", Kind::Content("UINT8")),
        ("<INT64>9223372036854775808</INT64>", Kind::Content("INT64")),
        ("<INT32>1.5</INT32>", Kind::Content("INT32")),
        ("<DOUBLE>a</DOUBLE>", Kind::Content("DOUBLE")),
        ("<BOOL>1</BOOL>", Kind::Content("BOOL")),
        ("<TIMESTAMP>1970-02-30T00:00:00.000</TIMESTAMP>", Kind::Content("TIMESTAMP")),
        ("<DATE>today</DATE>", Kind::Content("DATE")),
        ("<TIME>25:00:00</TIME>", Kind::Content("TIME")),
        ("<BYTEARRAY>!</BYTEARRAY>", Kind::Content("BYTEARRAY")),
        (&nest(33), Kind::Depth(32)),
        (&"<MAP>".repeat(800_000), Kind::Depth(32)),
        (&wide(4096), Kind::Nodes(4096)),
        (&wide(500_000), Kind::Nodes(4096)),
        (&long(65_537), Kind::StringLength(65_536)),
        (&format!("<STR>{}</STR>", "&#97;".repeat(65_537)), Kind::StringLength(65_536)),
        (&bytes(87_384), Kind::StringLength(65_536)),
        (&bytes(1 << 20), Kind::StringLength(65_536)),
        (&named(65_537), Kind::StringLength(65_536)),
        (&attributes(17), Kind::Attributes(16)),
        (&attributes(700_000), Kind::Attributes(16)),
        (&long(4 << 20), Kind::Size(4 << 20)),
    ] {
        assert_eq!(decode(document), Err(kind), "{}", &document[..document.len().min(100)]);
    }
}

#[test]
fn only_utf_8_is_read() {
    let error = decode_xml(b"<STR>\xFF</STR>", &Limits::default()).unwrap_err();
    assert_eq!(error, VariantError { offset: 5, kind: Kind::Utf8 });
}

#[test]
fn a_document_cut_anywhere_is_an_error_within_it() {
    let whole = encode(&testing::sample());
    for end in 1..whole.len() {
        let error = decode_xml(&whole.as_bytes()[..end], &Limits::default()).unwrap_err();
        assert!(error.offset <= end, "{end}: {error}");
    }
}

#[test]
fn what_is_written_has_limits_too() {
    let limits = small();
    assert!(encode_xml(&testing::nested(4), &limits).is_ok());
    assert_eq!(encode_xml(&testing::nested(5), &limits).unwrap_err().kind, Kind::Depth(4));
    let frame = encode_xml(&"".into(), &limits).unwrap().len();
    let text = |length: usize| encode_xml(&"a".repeat(length).into(), &limits);
    assert_eq!(text(1024 - frame).unwrap().len(), 1024);
    assert_eq!(text(1025 - frame).unwrap_err().kind, Kind::Size(1024));
    assert_eq!(encode_xml(&"<".repeat(1000).into(), &limits).unwrap_err().kind, Kind::Size(1024));
    assert_eq!(encode_xml(&Value::RawString(vec![0; 1000]), &limits).unwrap_err().kind, Kind::Size(1024));
}

proptest! {
    #[test]
    fn values_come_back(value in testing::value()) {
        prop_assert_eq!(decode(&encode(&value)), Ok(value));
    }

    #[test]
    fn any_text_is_a_value_or_an_error(text: String) {
        crate::fuzz::variant_xml(text.as_bytes());
    }

    #[test]
    fn pieces_of_documents_are_a_value_or_an_error(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "<MAP>", "</MAP>", "<MAP isArray='true'>", "<STR name='a'>", "</STR>", "<NULL/>", "&amp;", "&#x0;",
            "<![CDATA[", "]]>", "<!--", "-->", "<?a", "?>", "a", " ", "<INT8>", "</INT8>", "1", "'", "<!DOCTYPE a>",
        ]), 0..20),
    ) {
        crate::fuzz::variant_xml(pieces.concat().as_bytes());
    }
}
