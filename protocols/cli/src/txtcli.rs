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
    text,
};

/// The keys that an acceptor may have for it: none.
pub const KEYS: &[KeyRow] = &[];

/// Columns of a terminal that a cell of a table takes at most; what is longer is cut.
pub const CELL_WIDTH: usize = 40;
/// Columns of a table; objects with more keys are shown one below the other.
pub const TABLE_COLUMNS: usize = 16;
/// Keys up to this width have their values aligned.
const KEY_WIDTH: usize = 32;
/// Spaces between the columns of a table, and before each level of nested data.
const GAP: usize = 2;

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

    fn write(&self, answer: &str, out: &mut Vec<u8>) {
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
            data => show(data, 0, &mut block),
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
fn quoted(text: &str) -> String {
    let text = text::clean(text);
    if text.trim().is_empty() { format!("\"{text}\"") } else { text }
}

fn show(value: &Json, indent: usize, block: &mut Block<'_>) {
    match value {
        Json::List(values) if values.is_empty() => block.line(indent, "(none)"),
        Json::Object(members) if members.is_empty() => block.line(indent, "(none)"),
        Json::Object(members) => show_members(members, indent, block),
        Json::List(values) => match columns(values) {
            Some(columns) => show_table(values, &columns, indent, block),
            None => show_items(values, indent, block),
        },
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
            show(value, indent + GAP, block);
        }
    }
}

fn show_items(values: &[Json], indent: usize, block: &mut Block<'_>) {
    for value in values {
        if value.is_scalar() {
            block.line(indent, &scalar(value));
        } else {
            block.line(indent, "-");
            show(value, indent + GAP, block);
        }
    }
}

/// The columns of a table of these objects, in the order in which they appear; none where it would be no table.
fn columns(values: &[Json]) -> Option<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    for value in values {
        let Json::Object(members) = value else { return None };
        for (name, _) in cells(members) {
            if !columns.contains(&name) {
                columns.push(name);
                if columns.len() > TABLE_COLUMNS {
                    return None;
                }
            }
        }
    }
    (!columns.is_empty()).then_some(columns)
}

/// The cells of a row: scalars, lists of scalars, and those of the objects within the object, after a dot.
fn cells(members: &[(String, Json)]) -> impl Iterator<Item = (String, String)> {
    members.iter().flat_map(|(key, value)| match value {
        Json::Object(inner) => inner
            .iter()
            .filter_map(|(name, value)| Some((format!("{key}.{name}"), cell(value)?)))
            .collect::<Vec<_>>(),
        _ => cell(value).map(|cell| (key.clone(), cell)).into_iter().collect(),
    })
}

fn cell(value: &Json) -> Option<String> {
    match value {
        Json::Object(_) => None,
        Json::List(values) if values.is_empty() => Some("-".to_owned()),
        Json::List(values) if values.iter().all(Json::is_scalar) => {
            // What does not fit is not shown: it need not be put together.
            let shown: Vec<_> = values.iter().take(CELL_WIDTH).map(scalar).collect();
            Some(shown.join(","))
        }
        Json::List(values) => Some(format!("({} entries)", values.len())),
        _ => Some(scalar(value)),
    }
}

fn show_table(values: &[Json], columns: &[String], indent: usize, block: &mut Block<'_>) {
    let cut = |text: &str| text::cut(text, CELL_WIDTH);
    let mut rows = vec![columns.iter().map(|name| cut(&quoted(name))).collect::<Vec<_>>()];
    for value in values {
        let Json::Object(members) = value else { continue };
        let mut row = vec!["-".to_owned(); columns.len()];
        for (name, text) in cells(members) {
            let at = columns.iter().position(|column| *column == name);
            if let Some(cell) = at.and_then(|at| row.get_mut(at)) {
                *cell = cut(&text);
            }
        }
        rows.push(row);
    }
    let mut widths = vec![0; columns.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = text::width(cell).max(*width);
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let gap = width.saturating_sub(text::width(cell)) + GAP;
            line.extend(std::iter::repeat_n(' ', gap));
        }
        block.line(indent, line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(answer: &str) -> String {
        let mut out = Vec::new();
        TxtFace.write(answer, &mut out);
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
        TxtFace.write(answer, &mut out);
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
            name  id  rate.in  rate.out  tags  note     kids\n\
            日本  1   5        0         a,b   -        -\n\
            film  22  -        -         -     x\\u{1b}  (1 entries)";
        assert_eq!(shown(answer), expected);
    }

    #[test]
    fn long_cells_are_cut() {
        for length in [CELL_WIDTH - 1, CELL_WIDTH, CELL_WIDTH + 1] {
            let table = data(json!([{ "a": "x".repeat(length) }]));
            let cell = table.lines().nth(1).unwrap();
            assert_eq!(text::width(cell), length.min(CELL_WIDTH));
            assert_eq!(cell.ends_with('…'), length > CELL_WIDTH);
        }
    }

    #[test]
    fn too_many_columns_are_no_table() {
        let object =
            |keys: usize| Value::Object((0..keys).map(|key| (format!("k{key:02}"), 1.into())).collect());
        assert!(data(json!([object(TABLE_COLUMNS)])).starts_with("k00  k01"));
        assert!(data(json!([object(TABLE_COLUMNS + 1)])).starts_with("-\n  k00: 1\n"));
    }
}
