//! The face for people: lines and tables.
//!
//! An answer is a block of lines that ends with an empty line; none within it is empty. A failure is the line
//! `error:` and its description. What came from peers is escaped as [`text::clean`] says, so no name can
//! move the cursor, forge a line or end a block.

use std::time::Instant;

use crtmp_media::{KeyRow, Layer, LayerSettings};

use crate::{
    json::Json,
    reply::Reply,
    session::{Face, Session},
    table, text,
};

/// The keys that an acceptor may have for it: none.
pub const KEYS: &[KeyRow] = &[];

/// Keys up to this width have their values aligned.
const KEY_WIDTH: usize = 32;
/// Spaces between the columns of a table, and before each level of nested data.
pub(crate) const GAP: usize = 2;

/// Shows lines and tables.
#[derive(Clone, Copy, Debug)]
pub struct TxtFace;

/// The layer of a connection that came at `now`.
pub fn layer(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(Session::new(TxtFace, settings, now))
}

impl Face for TxtFace {
    const NAME: &'static str = "txtcli";
    const AGENT: &'static str = "txtCli";

    fn write(&self, command: &str, answer: &str, out: &mut Vec<u8>) {
        let reply = Reply::parse(answer);
        let description = text::clean(&reply.description);
        let mut block = Block::new(out);
        if !reply.success {
            block.line(0, format!("error: {description}").trim_end());
        } else if !description.trim().is_empty() {
            block.line(0, &description);
        } else if reply.data == Json::Null {
            block.line(0, "ok");
        }
        match &reply.data {
            Json::Null => {}
            Json::Text(text) => block.paragraph(0, text),
            data => show(command, data, 0, &mut block),
        }
        block.line(0, "");
    }
}

/// A block of lines.
pub(crate) struct Block<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Block<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a line; `text` is clean.
    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        self.out.resize(self.out.len() + indent, b' ');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Appends foreign text that may have several lines: these are indented, so that none looks like ours.
    pub(crate) fn paragraph(&mut self, indent: usize, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if !text.contains('\n') {
            return self.line(indent, &quoted(text));
        }
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.line(indent + GAP, &text::clean(line));
        }
    }
}

/// A scalar as text.
pub(crate) fn scalar(value: &Json) -> String {
    match value {
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        Json::Text(text) => quoted(text),
        Json::Null | Json::List(_) | Json::Object(_) => "-".to_owned(),
    }
}

/// Clean text that is never invisible.
pub(crate) fn quoted(text: &str) -> String {
    let text = text::clean(text);
    if text.trim().is_empty() { format!("\"{text}\"") } else { text }
}

fn show(command: &str, value: &Json, indent: usize, block: &mut Block<'_>) {
    match value {
        Json::List(values) if values.is_empty() => block.line(indent, "(none)"),
        Json::Object(members) if members.is_empty() => block.line(indent, "(none)"),
        Json::Object(members) => show_members(members, indent, block),
        Json::List(values) if table::show(command, values, indent, block) => {}
        Json::List(values) => show_items(values, indent, block),
        _ => block.line(indent, &scalar(value)),
    }
}

fn show_members(members: &[(String, Json)], indent: usize, block: &mut Block<'_>) {
    let keys: Vec<String> = members.iter().map(|(key, _)| quoted(key) + ":").collect();
    let scalars = members.iter().zip(&keys).filter(|((_, value), _)| value.is_scalar());
    let widest = scalars.map(|(_, key)| text::width(key)).max().unwrap_or(0).min(KEY_WIDTH);
    for ((_, value), key) in members.iter().zip(&keys) {
        if value.is_scalar() {
            let gap = widest.saturating_sub(text::width(key)) + 1;
            block.line(indent, &format!("{key}{:gap$}{}", "", scalar(value)));
        } else {
            block.line(indent, key);
            show("", value, indent + GAP, block);
        }
    }
}

fn show_items(values: &[Json], indent: usize, block: &mut Block<'_>) {
    for value in values {
        if value.is_scalar() {
            block.line(indent, &scalar(value));
        } else {
            block.line(indent, "-");
            show("", value, indent + GAP, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(answer: &str) -> String {
        let mut out = Vec::new();
        TxtFace.write("", answer, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\r\n\r\n"));
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "one empty line: {text:?}");
        text.replace("\r\n", "\n").trim_end().to_owned()
    }

    fn data(data: Value) -> String {
        shown(&json!({ "status": "SUCCESS", "description": "d", "data": data }).to_string())
            .strip_prefix("d\n")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn answers_are_blocks() {
        for (answer, expected) in [
            (r#"{"status":"SUCCESS","description":"Bye!"}"#, "Bye!"),
            (r#"{"status":"SUCCESS"}"#, "ok"),
            (r#"{"status":"SUCCESS","description":"  ","data":7}"#, "7"),
            (r#"{"status":"SUCCESS","data":""}"#, "\"\""),
            (r#"{"status":"SUCCESS","data":"\n\n"}"#, "  \n  "),
            (r#"{"status":"FAIL","description":"no such stream"}"#, "error: no such stream"),
            (
                r#"{"status":"FAIL","description":"a\r\n\r\nerror: b\u001b[2J"}"#,
                "error: a\\r\\n\\r\\nerror: b\\u{1b}[2J",
            ),
            (r#"{"status":"FAIL","description":"no","data":{"key":"x"}}"#, "error: no\nkey: x"),
            ("nonsense", "error: the application's answer cannot be read: expected ident at line 1 column 2"),
        ] {
            let shown = shown_raw(answer);
            assert_eq!(shown.trim_end_matches('\n'), expected.trim_end_matches('\n'), "{answer}");
        }
    }

    fn shown_raw(answer: &str) -> String {
        let mut out = Vec::new();
        TxtFace.write("", answer, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn data_takes_the_form_that_fits() {
        for (value, expected) in [
            (json!(true), "true"),
            (json!("one\ntwo\n\nthree\n"), "  one\n  two\n  \n  three"),
            (json!([]), "(none)"),
            (json!({}), "(none)"),
            (json!([1, "b", null]), "1\nb\n-"),
            (json!([[1], { "a": {} }, {}]), "-\n  1\n-\n  a:\n    (none)\n-\n  (none)"),
            (
                json!({ "a": 1, "longer": "x", "none": [], "of": { "b": "" } }),
                "a:      1\nlonger: x\nnone:\n  (none)\nof:\n  b: \"\"",
            ),
            (json!([{ "x": {} }]), "-\n  x:\n    (none)"),
        ] {
            assert_eq!(data(value), expected);
        }
    }

    #[test]
    fn lists_of_objects_are_tables() {
        let answer = r#"{"status":"SUCCESS","description":"d","data":[
            {"name":"日本","id":1,"rate":{"in":5,"out":0,"deep":{"x":1}},"tags":["a","b"]},
            {"id":22,"name":"film","note":"x\u001b","kids":[[1]]}]}"#;
        let expected = "d\n\
            id  name  rate.in  rate.out  tags  note     kids\n\
            1   日本  5        0         a,b   -        -\n\
            22  film  -        -         -     x\\u{1b}  (1 entries)";
        assert_eq!(shown(answer), expected);
    }
}
