//! Events as text: for people, as JSON, as XML, as a call of XML-RPC, and as columns (W3C).
//!
//! What peers have named cannot leave its place: control characters, line breaks, quotes and angle brackets are
//! escaped as each format does it.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::record::Record;

/// The beginning of an XML document.
pub(super) const XML: &str = "<?xml version=\"1.0\" ?>\n";

/// The columns of W3C files: the name, and where in the payload it is found.
const COLUMNS: &[(&str, &[&str])] = &[
    ("name", &["name"]),
    ("applicationName", &["appName"]),
    ("creationTimestamp", &["creationTimestamp"]),
    ("type", &["type"]),
    ("typeNumeric", &["typeNumeric"]),
    ("uniqueId", &["uniqueId"]),
    ("upTime", &["upTime"]),
    ("queryTimestamp", &["queryTimestamp"]),
    ("bandwidth", &["bandwidth"]),
    ("connectionType", &["connectionType"]),
    ("farIp", &["farIp"]),
    ("farPort", &["farPort"]),
    ("IP", &["ip"]),
    ("nearIP", &["nearIp"]),
    ("nearPort", &["nearPort"]),
    ("port", &["port"]),
    ("swf-url", &["swfUrl"]),
    ("audio-bytes", &["audio", "bytesCount"]),
    ("audio-codec", &["audio", "codec"]),
    ("audio-codecNumeric", &["audio", "codecNumeric"]),
    ("audio-droppedBytes", &["audio", "droppedBytesCount"]),
    ("audio-droppedPackets", &["audio", "droppedPacketsCount"]),
    ("audio-packets", &["audio", "packetsCount"]),
    ("video-bytes", &["video", "bytesCount"]),
    ("video-codec", &["video", "codec"]),
    ("video-codecNumeric", &["video", "codecNumeric"]),
    ("video-droppedBytes", &["video", "droppedBytesCount"]),
    ("video-droppedPackets", &["video", "droppedPacketsCount"]),
    ("video-packets", &["video", "packetsCount"]),
];

/// For people: a line with number, kind and time, then one for each value, indented; then an empty line.
pub(super) fn text(record: &Record, timestamp: bool, custom_data: Option<&Value>) -> String {
    let mut out = format!("{:05}\t{}", record.number, record.kind.name());
    if timestamp {
        let _ = write!(out, "\t{}", record.iso());
    }
    out.push('\n');
    text_members(&mut out, &record.payload, 1);
    if let Some(custom_data) = custom_data {
        text_member(&mut out, "customData", custom_data, 1);
    }
    out.push('\n');
    out
}

/// An XML element without its declaration and without line breaks: `MAP` with typed elements, as crtmpserver writes
/// variants.
pub(super) fn xml(table: &Value) -> String {
    let mut out = String::new();
    xml_value(&mut out, "", table);
    out
}

/// A call of `event.Log` with the event as its one parameter.
pub(super) fn xml_rpc(table: &Value) -> String {
    let mut out = format!("{XML}<methodCall><methodName>event.Log</methodName><params><param>");
    rpc_value(&mut out, table);
    out.push_str("</param></params></methodCall>");
    out
}

/// The head of a W3C file.
pub(super) fn w3c_head(begin: &str, timestamp: bool) -> String {
    let mut out = format!(
        "#Version: 1.0\n#Start-Date: {begin}\n#Software: crtmpserver {}\n#Fields: ",
        env!("CARGO_PKG_VERSION")
    );
    if timestamp {
        out.push_str("timestamp\t");
    }
    out.push_str("processId\tINFO");
    for (name, _) in COLUMNS {
        let _ = write!(out, "\t{name}");
    }
    out.push('\n');
    out
}

/// A line of a W3C file.
pub(super) fn w3c(record: &Record, timestamp: bool) -> String {
    let mut out = String::new();
    if timestamp {
        let _ = write!(out, "{}\t", record.iso());
    }
    let _ = write!(out, "{}\t{}", std::process::id(), record.kind.name());
    for (_, place) in COLUMNS {
        out.push('\t');
        let (first, rest) = place.split_first().unwrap_or((&"", &[]));
        let value = rest.iter().fold(record.payload.get(*first), |value, key| value?.get(*key));
        match value {
            Some(Value::String(text)) if !text.is_empty() => column(&mut out, text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                let _ = write!(out, "{value}");
            }
            _ => out.push('-'),
        }
    }
    out.push('\n');
    out
}

/// What separates columns and lines, and `%`, as `%XX`.
fn column(out: &mut String, text: &str) {
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() || letter == '%' || letter == '"' {
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(letter);
        }
    }
}

fn text_members(out: &mut String, members: &Map<String, Value>, indent: usize) {
    for (key, value) in members {
        text_member(out, key, value, indent);
    }
}

fn text_member(out: &mut String, key: &str, value: &Value, indent: usize) {
    out.extend(std::iter::repeat_n('\t', indent));
    plain(out, key);
    out.push(':');
    match value {
        Value::Object(members) => {
            out.push('\n');
            text_members(out, members, indent + 1);
        }
        Value::Array(values) => {
            out.push('\n');
            for (index, value) in values.iter().enumerate() {
                text_member(out, &index.to_string(), value, indent + 1);
            }
        }
        Value::String(text) => {
            out.push(' ');
            plain(out, text);
            out.push('\n');
        }
        other => {
            let _ = writeln!(out, " {other}");
        }
    }
}

/// Text of which no character begins a line or moves a terminal.
fn plain(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            _ if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                out.extend(letter.escape_default());
            }
            _ => out.push(letter),
        }
    }
}

fn xml_value(out: &mut String, name: &str, value: &Value) {
    let (tag, text) = match value {
        Value::Null => ("NULL", String::new()),
        Value::Bool(flag) => ("BOOL", flag.to_string()),
        Value::Number(number) if number.is_u64() => ("UINT64", number.to_string()),
        Value::Number(number) if number.is_i64() => ("INT64", number.to_string()),
        Value::Number(number) => ("DOUBLE", number.to_string()),
        Value::String(text) => ("STR", text.clone()),
        Value::Array(values) => {
            xml_open(out, "MAP isArray=\"true\"", name);
            for (index, value) in values.iter().enumerate() {
                // crtmpserver numbers the entries of its arrays like this.
                xml_value(out, &format!("0x{index:08x}"), value);
            }
            out.push_str("</MAP>");
            return;
        }
        Value::Object(members) => {
            xml_open(out, "MAP isArray=\"false\"", name);
            for (key, value) in members {
                xml_value(out, key, value);
            }
            out.push_str("</MAP>");
            return;
        }
    };
    xml_open(out, tag, name);
    escape(out, &text);
    let _ = write!(out, "</{tag}>");
}

fn xml_open(out: &mut String, tag: &str, name: &str) {
    let _ = write!(out, "<{tag} name=\"");
    escape(out, name);
    out.push_str("\">");
}

fn rpc_value(out: &mut String, value: &Value) {
    out.push_str("<value>");
    match value {
        // Standard XML-RPC has no nothing.
        Value::Null => out.push_str("<string></string>"),
        Value::Bool(flag) => {
            let _ = write!(out, "<boolean>{}</boolean>", u8::from(*flag));
        }
        Value::Number(number) => {
            // Whole numbers have 32 bits there; larger ones are exact as a double up to 2^53.
            let _ = match number.as_i64().filter(|number| i32::try_from(*number).is_ok()) {
                Some(number) => write!(out, "<int>{number}</int>"),
                None => write!(out, "<double>{number}</double>"),
            };
        }
        Value::String(text) => {
            out.push_str("<string>");
            escape(out, text);
            out.push_str("</string>");
        }
        Value::Array(values) => {
            out.push_str("<array><data>");
            values.iter().for_each(|value| rpc_value(out, value));
            out.push_str("</data></array>");
        }
        Value::Object(members) => {
            out.push_str("<struct>");
            for (key, value) in members {
                out.push_str("<member><name>");
                escape(out, key);
                out.push_str("</name>");
                rpc_value(out, value);
                out.push_str("</member>");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>");
}

/// Text within XML, also within quotes. Characters that XML cannot say at all are replaced.
fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        super::{Event, Kind},
        *,
    };

    const NASTY: &str = "a\r\nb\t\"c\" <d> & 'e' %20 \u{0}\u{1b}\u{85}\u{2028} \u{fc}\u{4e16}";

    fn record(payload: Value) -> Record {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_798_761_599_123);
        Record::new(Event { kind: Kind::InStreamCreated, stream: None, payload }, 12, time)
    }

    #[test]
    fn text_is_for_people() {
        let record =
            record(json!({ "name": "cam", "audio": { "codec": "AAAC", "list": [1, null] }, "upTime": 1.5 }));
        assert_eq!(
            text(&record, true, Some(&json!("mine"))),
            "00012\tinStreamCreated\t2026-12-31T23:59:59.123Z\n\taudio:\n\t\tcodec: AAAC\n\t\tlist:\n\t\t\t0: 1\n\
             \t\t\t1: null\n\tname: cam\n\tupTime: 1.5\n\tcustomData: mine\n\n"
        );
        assert!(text(&record, false, None).starts_with("00012\tinStreamCreated\n\taudio"));
    }

    #[test]
    fn xml_has_the_elements_of_variants() {
        let table = json!({ "a": [true, null], "b": { "c": -1, "d": 1.5, "e": 7, "f": NASTY }, "type": "x" });
        assert_eq!(
            xml(&table),
            "<MAP isArray=\"false\" name=\"\"><MAP isArray=\"true\" name=\"a\"><BOOL name=\"0x00000000\">true</BOOL>\
             <NULL name=\"0x00000001\"></NULL></MAP><MAP isArray=\"false\" name=\"b\"><INT64 name=\"c\">-1</INT64>\
             <DOUBLE name=\"d\">1.5</DOUBLE><UINT64 name=\"e\">7</UINT64><STR name=\"f\">a&#13;&#10;b&#9;\
             &quot;c&quot; &lt;d&gt; &amp; &apos;e&apos; %20 \u{fffd}\u{fffd}&#133;&#8232; \u{fc}\u{4e16}</STR></MAP>\
             <STR name=\"type\">x</STR></MAP>"
        );
        assert!(xml(&json!({ "<\"\n": 1 })).contains("name=\"&lt;&quot;&#10;\""));
    }

    #[test]
    fn xml_rpc_calls_event_log() {
        let table = json!({ "a": [true, null, 1.5], "b": { "<": 2_147_483_648_u64 }, "c": -5, "d": NASTY });
        let call = xml_rpc(&table);
        let inner = call
            .strip_prefix(
                "<?xml version=\"1.0\" ?>\n<methodCall><methodName>event.Log</methodName><params><param>",
            )
            .and_then(|rest| rest.strip_suffix("</param></params></methodCall>"))
            .unwrap();
        assert!(inner.starts_with(
            "<value><struct><member><name>a</name><value><array><data><value><boolean>1</boolean></value>\
             <value><string></string></value><value><double>1.5</double></value></data></array></value></member>\
             <member><name>b</name><value><struct><member><name>&lt;</name><value><double>2147483648</double></value>\
             </member></struct></value></member><member><name>c</name><value><int>-5</int></value></member>"
        ));
        assert!(inner.contains("&quot;c&quot; &lt;d&gt;"));
    }

    #[test]
    fn columns_stay_columns() {
        let record = record(
            json!({ "name": NASTY, "uniqueId": 3, "audio": { "codec": "A B", "bytesCount": 5 }, "ip": "" }),
        );
        let head = w3c_head("2026-12-31T23:59:59.123Z", true);
        let fields: Vec<_> =
            head.lines().last().unwrap().strip_prefix("#Fields: ").unwrap().split('\t').collect();
        let line = w3c(&record, true);
        assert_eq!(line.matches('\n').count(), 1);
        let values: Vec<_> = line.trim_end_matches('\n').split('\t').collect();
        assert_eq!(values.len(), fields.len());
        let value = |name| values[fields.iter().position(|field| *field == name).unwrap()];
        assert_eq!(value("timestamp"), "2026-12-31T23:59:59.123Z");
        assert_eq!(value("INFO"), "inStreamCreated");
        assert_eq!(value("processId"), std::process::id().to_string());
        assert_eq!(
            value("name"),
            "a%0D%0Ab%09%22c%22%20<d>%20&%20'e'%20%2520%20%00%1B%C2%85%E2%80%A8%20\u{fc}\u{4e16}"
        );
        assert_eq!((value("uniqueId"), value("audio-bytes"), value("audio-codec")), ("3", "5", "A%20B"));
        assert_eq!((value("IP"), value("video-codec")), ("-", "-"));
        assert!(w3c_head("x", false).contains("#Fields: processId\tINFO\tname"));
        assert!(w3c(&record, false).starts_with(&std::process::id().to_string()));
    }

    proptest! {
        #[test]
        fn no_name_begins_a_line_or_an_element(name in any::<String>()) {
            let record = record(json!({ "name": &name, &name: [&name] }));
            let table = record.table(None, None);
            // One line for the head, one for `name`, two for the list, and an empty one; the keys may be the same.
            let lines = text(&record, false, None);
            prop_assert!((4..=5).contains(&lines.lines().count()), "{:?}", lines);
            prop_assert_eq!(w3c(&record, true).lines().count(), 1);
            let json = table.to_string();
            prop_assert!(!json.contains(['\n', '\r']));
            for xml in [xml(&table), xml_rpc(&table)] {
                let (_, body) = xml.split_once("?>\n").unwrap_or(("", &xml));
                prop_assert!(!body.contains(|letter: char| letter.is_control()), "{:?}", body);
                prop_assert_eq!(body.matches('<').count(), body.matches('>').count());
            }
        }
    }
}
