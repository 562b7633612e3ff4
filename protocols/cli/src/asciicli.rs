//! The face for people in the form of EvoStream: data as an outline.
//!
//! What is known of the form: the line `Command entered successfully!`, the description, an empty line, and the data
//! by four spaces, with two more for each level, and `--` before the members of lists. How EvoStream writes failures
//! and lists of objects is nowhere to be read; here a failure begins with `Command failed!`, and an object in a list
//! stands below a `--` of its own.

use std::time::Instant;

use crtmp_media::{KeyKind, KeyRow, Layer, LayerSettings};

use crate::{
    json::Json,
    jsoncli::{LENGTH, write_padded},
    reply::Reply,
    session::{Face, Session},
    text,
    txtcli::{Block, scalar},
};

/// The keys that an acceptor may have for it.
pub const KEYS: &[KeyRow] = &[KeyRow { name: LENGTH, kind: KeyKind::Flag }];

/// Spaces before data, and before each level below it.
const MARGIN: usize = 4;
const STEP: usize = 2;

/// Shows outlines.
#[derive(Clone, Copy, Debug)]
pub struct AsciiFace {
    /// Whether answers begin with their length.
    pub with_length: bool,
}

/// The layer of a connection that came at `now`.
pub fn layer(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    let face = AsciiFace { with_length: settings.flag(LENGTH) };
    Box::new(Session::new(face, settings, now))
}

impl Face for AsciiFace {
    const NAME: &'static str = "asciicli";
    const AGENT: &'static str = "asciiCli";

    fn write(&self, _command: &str, answer: &str, out: &mut Vec<u8>) {
        let reply = Reply::parse(answer);
        write_padded(self.with_length, out, |out| {
            let mut block = Block::new(out);
            block.line(0, if reply.success { "Command entered successfully!" } else { "Command failed!" });
            if !reply.description.is_empty() {
                block.line(0, &text::clean(&reply.description));
            }
            if reply.data != Json::Null {
                block.line(0, "");
                outline(&reply.data, MARGIN, &mut block);
            }
            block.line(0, "");
        });
    }
}

fn outline(value: &Json, indent: usize, block: &mut Block<'_>) {
    match value {
        Json::Object(members) => {
            for (key, value) in members {
                let key = text::clean(key);
                if value.is_scalar() {
                    block.line(indent, format!("{key}: {}", plain(value)).trim_end());
                } else {
                    block.line(indent, &format!("{key}:"));
                    outline(value, indent + STEP, block);
                }
            }
        }
        Json::List(values) => {
            for value in values {
                if value.is_scalar() {
                    block.line(indent, format!("-- {}", plain(value)).trim_end());
                } else {
                    block.line(indent, "--");
                    outline(value, indent + STEP, block);
                }
            }
        }
        Json::Text(text) => block.paragraph(indent, text),
        _ => block.line(indent, &plain(value)),
    }
}

/// A scalar as EvoStream shows it: nothing for an empty one.
fn plain(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Text(text) if text.is_empty() => String::new(),
        _ => scalar(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: &str) -> String {
        let mut out = Vec::new();
        AsciiFace { with_length: false }.write("", answer, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn data_is_an_outline() {
        let answer = r#"{"data":{"configId":2,"names":["a","b"],"targetUri":{"port":1935,"user":""},"all":[{"id":1},{"id":2}]},
            "description":"Done","status":"SUCCESS"}"#;
        let expected = "Command entered successfully!\nDone\n\n    configId: 2\n    names:\n      -- a\n      -- b\n    \
            targetUri:\n      port: 1935\n      user:\n    all:\n      --\n        id: 1\n      --\n        id: 2\n\n";
        assert_eq!(shown(answer), expected);
    }

    #[test]
    fn little_data_is_little_text() {
        for (answer, expected) in [
            (r#"{"status":"SUCCESS","description":"Bye"}"#, "Command entered successfully!\nBye\n\n"),
            (r#"{"status":"SUCCESS","data":7}"#, "Command entered successfully!\n\n    7\n\n"),
            (r#"{"status":"FAIL","description":"no\u001b[2J"}"#, "Command failed!\nno\\u{1b}[2J\n\n"),
            (
                r#"{"status":"SUCCESS","data":{"a\nb":"c\nd"}}"#,
                "Command entered successfully!\n\n    a\\nb: c\\nd\n\n",
            ),
        ] {
            assert_eq!(shown(answer), expected);
        }
    }
}
