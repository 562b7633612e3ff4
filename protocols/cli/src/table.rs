//! Lists of objects as tables that fit a terminal.
//!
//! What tells one thing from another comes first and descriptions come last, in lines of their own width. Of lists
//! whose entries have more to say than a line can hold, `SUMMARIES` names the columns that people look for; of
//! others, columns without anything in them are left out, and then the last ones until the rest fits. A last line
//! says what is missing.

use crate::{
    json::Json,
    text,
    txtcli::{Block, GAP, quoted, scalar},
};

/// Columns of a terminal that a cell of a table takes at most; what is longer is cut.
pub const CELL_WIDTH: usize = 40;
/// Columns of a terminal that a table takes at most.
pub const TABLE_WIDTH: usize = 120;
/// Columns of a table that are looked at; an object with more keys of its own shows the first ones.
const TABLE_COLUMNS: usize = 128;
/// Columns of a terminal that a description has at least.
const DESCRIPTION_WIDTH: usize = 30;
/// The column that comes last and has as many lines as it needs.
const DESCRIPTION: &str = "description";
/// What tells one thing from another.
const LEADING: &[&str] = &["configId", "id", "uniqueId", "command", "name", "type", "appName"];

/// What to show of a list, and where the rest is to be had.
struct Summary {
    commands: &'static [&'static str],
    columns: &'static [&'static str],
    rest: &'static str,
}

/// Lists whose entries have more keys than a line can hold.
const SUMMARIES: &[Summary] = &[
    Summary {
        commands: &["help"],
        columns: &["command", "description"],
        rest: "`help command=…` shows the parameters of a command; `auth secret=…` shows the secret",
    },
    Summary {
        commands: &["listStreams", "listInboundStreams"],
        columns: &[
            "uniqueId",
            "type",
            "name",
            "appName",
            "connectionId",
            "ip",
            "upTime",
            "bandwidth",
            "audio.codec",
            "video.codec",
            "lagMs",
        ],
        rest: "`getStreamInfo id=…` shows the rest of one",
    },
    Summary {
        commands: &["listConnections"],
        columns: &[
            "id",
            "protocol",
            "application",
            "ip",
            "port",
            "upTime",
            "rttMs",
            "queuedBytes",
            "userAgent",
        ],
        rest: "`getConnectionInfo id=…` shows the rest of one",
    },
];

/// Shows the answer of `command`, a list of objects, or a list within an answer where `indent` is not 0. False, and
/// nothing shown: it is something else, or within an answer and too wide.
pub(crate) fn show(command: &str, values: &[Json], indent: usize, block: &mut Block<'_>) -> bool {
    let Some(all) = columns(values) else { return false };
    let is_meant =
        |summary: &&Summary| summary.commands.iter().any(|name| name.eq_ignore_ascii_case(command));
    let summary = SUMMARIES.iter().find(is_meant);
    let mut table = Table::new(values, all);
    let mut missing = match summary {
        Some(summary) => {
            table.keep_only(summary.columns);
            Vec::new()
        }
        None => table.drop_empty(),
    };
    let wide = table.drop_wide(indent);
    // Of what stands within another answer no command shows the rest.
    if indent > 0 && !wide.is_empty() {
        return false;
    }
    missing.extend(wide);
    table.write(indent, block);
    match summary {
        Some(summary) => block.line(indent, &format!("({})", summary.rest)),
        None if missing.is_empty() => {}
        None => block.line(indent, &format!("(not shown: {})", missing.join(", "))),
    }
    true
}

/// The columns of a table of these objects; none where it would be no table.
fn columns(values: &[Json]) -> Option<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for value in values {
        let Json::Object(members) = value else { return None };
        for (name, _) in cells(members) {
            if columns.len() < TABLE_COLUMNS && known.insert(name.clone()) {
                columns.push(name);
            }
        }
    }
    let rank = |name: &String| {
        let leading = LEADING.iter().position(|leading| leading == name).unwrap_or(LEADING.len());
        (name == DESCRIPTION, leading)
    };
    // The order in which they came stays among those of one rank.
    columns.sort_by_key(rank);
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
        Json::List(values) if values.is_empty() => Some(NOTHING.to_owned()),
        Json::List(values) if values.iter().all(Json::is_scalar) => {
            // What does not fit is not shown: it need not be put together.
            let shown: Vec<_> = values.iter().take(CELL_WIDTH).map(scalar).collect();
            Some(shown.join(","))
        }
        Json::List(values) => Some(format!("({} entries)", values.len())),
        _ => Some(scalar(value)),
    }
}

/// What stands in an empty cell.
const NOTHING: &str = "-";

struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(values: &[Json], names: Vec<String>) -> Self {
        let places: std::collections::HashMap<&str, usize> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            let Json::Object(members) = value else { continue };
            let mut row = vec![NOTHING.to_owned(); names.len()];
            for (name, text) in cells(members) {
                if let Some(cell) = places.get(name.as_str()).and_then(|at| row.get_mut(*at)) {
                    *cell = match name.as_str() {
                        DESCRIPTION if text == "\"\"" => NOTHING.to_owned(),
                        DESCRIPTION => text,
                        _ => text::cut(&text, CELL_WIDTH),
                    };
                }
            }
            rows.push(row);
        }
        Self { names, rows }
    }

    /// Leaves these columns, in this order.
    fn keep_only(&mut self, wanted: &[&str]) {
        let kept: Vec<usize> =
            wanted.iter().filter_map(|name| self.names.iter().position(|other| other == name)).collect();
        // None of them: the answer is another one than is known here.
        if !kept.is_empty() {
            self.pick(&kept);
        }
    }

    /// Leaves out columns that have nothing in them; gives their names.
    fn drop_empty(&mut self) -> Vec<String> {
        let is_empty =
            |at: &usize| self.rows.iter().all(|row| row.get(*at).is_none_or(|cell| cell == NOTHING));
        let kept: Vec<usize> = (0..self.names.len()).filter(|at| !is_empty(at)).collect();
        if kept.is_empty() {
            return Vec::new();
        }
        self.pick(&kept)
    }

    /// Leaves out the last columns until the others fit; gives their names.
    fn drop_wide(&mut self, indent: usize) -> Vec<String> {
        let described = self.names.last().is_some_and(|name| name == DESCRIPTION);
        let widths = self.widths();
        let fixed = widths.len() - usize::from(described);
        let last = widths.last().copied().unwrap_or_default();
        let reserved = if described { last.min(DESCRIPTION_WIDTH) } else { 0 };
        let mut taken = indent + reserved;
        let mut kept: Vec<usize> = Vec::new();
        for (at, width) in widths.iter().enumerate().take(fixed) {
            taken += width + GAP;
            // One there must be, however wide.
            if taken > TABLE_WIDTH + GAP && !kept.is_empty() {
                break;
            }
            kept.push(at);
        }
        kept.extend((fixed..widths.len()).filter(|_| described));
        self.pick(&kept)
    }

    fn pick(&mut self, kept: &[usize]) -> Vec<String> {
        let dropped = (0..self.names.len()).filter(|at| !kept.contains(at));
        let dropped = dropped.filter_map(|at| self.names.get(at)).map(|name| quoted(name)).collect();
        let picked = |row: &[String]| kept.iter().filter_map(|at| row.get(*at).cloned()).collect::<Vec<_>>();
        self.names = picked(&self.names);
        for row in &mut self.rows {
            *row = picked(row);
        }
        dropped
    }

    fn widths(&self) -> Vec<usize> {
        let head = |name: &String| text::width(&text::cut(&quoted(name), CELL_WIDTH));
        let mut widths: Vec<usize> = self.names.iter().map(head).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = text::width(cell).max(*width);
            }
        }
        widths
    }

    fn write(&self, indent: usize, block: &mut Block<'_>) {
        let widths = self.widths();
        let head: Vec<String> = self.names.iter().map(|name| text::cut(&quoted(name), CELL_WIDTH)).collect();
        let described = self.names.last().is_some_and(|name| name == DESCRIPTION);
        let fixed = widths.len() - usize::from(described);
        let begin = indent + widths.iter().take(fixed).map(|width| width + GAP).sum::<usize>();
        let room = TABLE_WIDTH.saturating_sub(begin).max(DESCRIPTION_WIDTH);
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths).take(fixed) {
                line.push_str(cell);
                let gap = width.saturating_sub(text::width(cell)) + GAP;
                line.extend(std::iter::repeat_n(' ', gap));
            }
            let description = row.get(fixed).map(|cell| text::wrap(cell, room)).unwrap_or_default();
            let mut lines = description.iter();
            line.extend(lines.next().map(String::as_str));
            block.line(indent, line.trim_end());
            lines.for_each(|line| block.line(begin, line));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{session::Face, txtcli::TxtFace};

    fn shown(command: &str, data: &Value) -> String {
        let mut out = Vec::new();
        let answer = json!({ "status": "SUCCESS", "description": "", "data": data }).to_string();
        TxtFace.write(command, &answer, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "\n").trim_end().to_owned()
    }

    fn width(shown: &str) -> usize {
        shown.lines().map(text::width).max().unwrap_or_default()
    }

    #[test]
    fn what_tells_things_apart_comes_first_and_descriptions_last() {
        let table =
            shown("listX", &json!([{ "description": "d", "aa": 1, "name": "n", "id": 7, "none": null }]));
        assert_eq!(table, "id  name  aa  description\n7   n     1   d\n(not shown: none)");
        let empty = shown("listX", &json!([{ "a": null, "b": [] }]));
        assert_eq!(empty, "a  b\n-  -");
    }

    #[test]
    fn long_cells_are_cut() {
        for length in [CELL_WIDTH - 1, CELL_WIDTH, CELL_WIDTH + 1] {
            let table = shown("", &json!([{ "a": "x".repeat(length) }]));
            let cell = table.lines().nth(1).unwrap();
            assert_eq!(text::width(cell), length.min(CELL_WIDTH));
            assert_eq!(cell.ends_with('…'), length > CELL_WIDTH);
        }
    }

    #[test]
    fn tables_fit_a_terminal() {
        // Three columns and the gaps between them.
        for last in [TABLE_WIDTH - 85, TABLE_WIDTH - 84, TABLE_WIDTH - 83] {
            let wide = "x".repeat(CELL_WIDTH);
            let table = shown("", &json!([{ "a": wide, "b": wide, "c": "y".repeat(last) }]));
            assert_eq!(table.contains("(not shown: c)"), last > TABLE_WIDTH - 84, "{table}");
            assert!(width(&table) <= TABLE_WIDTH);
        }
        let many = |count: usize| {
            let keys = (0..count).map(|key| (format!("k{key:05}"), json!(1)));
            json!([Value::Object(keys.collect())])
        };
        for count in [TABLE_COLUMNS - 1, TABLE_COLUMNS, TABLE_COLUMNS + 1, 10_000] {
            let table = shown("", &many(count));
            assert!(table.starts_with("k00000  k00001  "), "{table}");
            assert!(table.lines().take(2).all(|line| text::width(line) <= TABLE_WIDTH), "{table}");
        }
    }

    #[test]
    fn what_stands_within_an_answer_is_shown_whole() {
        let keys = |count: usize| (0..count).map(|key| (format!("key{key}"), json!(1)));
        let answer = |count: usize| json!({ "plays": [Value::Object(keys(count).collect())] });
        assert!(shown("", &answer(5)).contains("key0  key1  key2"));
        let blocks = shown("", &answer(60));
        assert!(
            keys(60).all(|(key, _)| blocks.lines().any(|line| line.trim() == format!("{key}:  1"))
                || blocks.lines().any(|line| line.trim() == format!("{key}: 1"))),
            "{blocks}"
        );
    }

    #[test]
    fn descriptions_are_whole() {
        let words: Vec<String> = (0..60).map(|word| format!("word{word}")).collect();
        let table =
            shown("help", &json!([{ "command": "a", "description": words.join(" "), "owner": "server" }]));
        assert!(width(&table) <= TABLE_WIDTH, "{table}");
        assert!(words.iter().all(|word| table.contains(word.as_str())), "{table}");
        assert!(!table.contains("owner") && table.contains("`help command=…`"), "{table}");
        assert!(table.lines().nth(2).unwrap().starts_with("         word"), "{table}");
    }

    #[test]
    fn summaries_show_what_matters() {
        let media = json!({ "codec": "AAC", "bytesCount": 1, "packetsCount": 1 });
        let mut stream = json!({ "uniqueId": 7, "type": "INR", "name": "film", "appName": "live", "connectionId": 3,
            "ip": "192.0.2.1", "upTime": 60_000, "bandwidth": 3_000_000, "audio": media, "video": media, "lagMs": 0 });
        for key in 0..40 {
            stream[format!("more{key}")] = json!("x".repeat(30));
        }
        let table = shown("LISTstreams", &json!([stream, stream]));
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(width(&table) <= TABLE_WIDTH, "{table}");
        let head = "uniqueId  type  name  appName  connectionId  ip         upTime  bandwidth  audio.codec  video.codec  lagMs";
        assert_eq!(table.lines().next(), Some(head));
        assert!(table.ends_with("(`getStreamInfo id=…` shows the rest of one)"), "{table}");
        // An application's command of that name shows what it has.
        assert!(shown("help", &json!([{ "other": 1 }])).starts_with("other\n1\n"));
    }
}
