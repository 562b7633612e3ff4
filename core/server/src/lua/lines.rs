//! On which line of the script a key is written. Lua tables do not know, so the text is read a second time.
//!
//! This is no parser of Lua: it splits the text into words and follows `configuration = { key = { … } }` and
//! `configuration.key = …`. What a script computes has no line here, and that is fine.

use std::collections::HashMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use super::tree::join;

/// How deeply tables are followed.
const DEPTH: usize = 64;

/// The lines of the keys, by path.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<String, u32>);

impl Lines {
    /// Reads the script.
    pub(super) fn of(source: &str) -> Self {
        let mut reader = Reader { words: words(source).into_iter().peekable(), lines: Self::default() };
        reader.script();
        reader.lines
    }

    /// The line of the key, or of the nearest table around it that is written in the script.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Text(String),
    Symbol(char),
    Other,
}

struct Reader {
    words: Peekable<IntoIter<(Word, u32)>>,
    lines: Lines,
}

impl Reader {
    fn is(&mut self, symbol: char) -> bool {
        matches!(self.words.peek(), Some((Word::Symbol(found), _)) if *found == symbol)
    }

    fn take(&mut self, symbol: char) -> bool {
        self.is(symbol) && self.words.next().is_some()
    }

    /// Looks for `configuration`, `.key`s after it, and `=`.
    fn script(&mut self) {
        while let Some((word, line)) = self.words.next() {
            if word != Word::Name("configuration".into()) {
                continue;
            }
            let mut path = String::from("configuration");
            while self.take('.') {
                let Some((Word::Name(key), _)) = self.words.next() else { break };
                path = join(&path, &key);
            }
            if self.take('=') && !self.is('=') {
                self.lines.0.insert(path.clone(), line);
                if self.take('{') {
                    self.table(&path, 0);
                }
            }
        }
    }

    /// The entries of a table whose brace has been taken.
    fn table(&mut self, path: &str, depth: usize) {
        let mut index = 0;
        while let Some((word, line)) = self.words.next() {
            let key = match word {
                Word::Symbol('}') => return,
                Word::Symbol(',' | ';') => continue,
                Word::Name(name) if self.take('=') => Some(join(path, &name)),
                Word::Symbol('[') => {
                    let text = match self.words.next() {
                        Some((Word::Text(text), _)) if self.is(']') => Some(join(path, &text)),
                        _ => None,
                    };
                    self.skip(&[']']);
                    self.take(']');
                    self.take('=');
                    text
                }
                first => {
                    index += 1;
                    let key = format!("{path}[{index}]");
                    self.lines.0.insert(key.clone(), line);
                    match first {
                        Word::Symbol('{') if depth < DEPTH => self.table(&key, depth + 1),
                        first => self.skip_from(Some(first), &[',', ';', '}']),
                    }
                    self.skip(&[',', ';', '}']);
                    continue;
                }
            };
            if let Some(key) = &key {
                self.lines.0.insert(key.clone(), line);
                if depth < DEPTH && self.take('{') {
                    self.table(key, depth + 1);
                }
            }
            self.skip(&[',', ';', '}']);
        }
    }

    /// Passes over an expression up to one of `ends` outside all brackets and blocks, which stays.
    fn skip(&mut self, ends: &[char]) {
        self.skip_from(None, ends);
    }

    fn skip_from(&mut self, first: Option<Word>, ends: &[char]) {
        let mut nested = first.map_or(0, |word| depth_change(&word));
        while let Some((word, _)) = self.words.peek() {
            if nested == 0 && matches!(word, Word::Symbol(symbol) if ends.contains(symbol)) {
                return;
            }
            nested += depth_change(word);
            self.words.next();
        }
    }
}

/// Commas inside brackets, functions and blocks do not end an entry.
fn depth_change(word: &Word) -> i32 {
    match word {
        Word::Symbol('(' | '{' | '[') => 1,
        Word::Symbol(')' | '}' | ']') => -1,
        // `for` and `while` open their block with `do`, `if` closes with one `end` however many branches it has.
        Word::Name(name) => match name.as_str() {
            "function" | "do" | "if" | "repeat" => 1,
            "end" | "until" => -1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The words of the script with their lines, without comments and spaces.
fn words(source: &str) -> Vec<(Word, u32)> {
    let mut words = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            _ if rest.starts_with("--") => match long_bracket(&rest[2..]) {
                Some((_, length)) => (None, 2 + length),
                None => (None, rest.find('\n').unwrap_or(rest.len())),
            },
            '"' | '\'' => short_text(rest, first),
            '[' => match long_bracket(rest) {
                Some((text, length)) => (Some(Word::Text(text.to_owned())), length),
                None => (Some(Word::Symbol('[')), 1),
            },
            _ if first.is_ascii_alphanumeric() || first == '_' => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let length = end.unwrap_or(rest.len());
                let word =
                    if first.is_ascii_digit() { Word::Other } else { Word::Name(rest[..length].to_owned()) };
                (Some(word), length)
            }
            _ if first.is_whitespace() => (None, first.len_utf8()),
            _ => (Some(Word::Symbol(first)), first.len_utf8()),
        };
        words.extend(word.map(|word| (word, line)));
        let (passed, left) = rest.split_at(length);
        line += u32::try_from(passed.matches('\n').count()).unwrap_or(0);
        rest = left;
    }
    words
}

/// A quoted text at the start of `rest`: its contents (escapes left as they are) and its length.
fn short_text(rest: &str, quote: char) -> (Option<Word>, usize) {
    let mut escaped = false;
    for (index, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return (Some(Word::Text(rest[1..index].to_owned())), index + 1),
            _ => {}
        }
    }
    (Some(Word::Other), rest.len())
}

/// A text or comment in long brackets (`[[…]]`, `[==[…]==]`) at the start of `rest`: its contents and its length.
fn long_bracket(rest: &str) -> Option<(&str, usize)> {
    let inner = rest.strip_prefix('[')?;
    let level = inner.len() - inner.trim_start_matches('=').len();
    let body = inner[level..].strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    let end = body.find(&close).unwrap_or(body.len());
    let length = (2 + level + end + close.len()).min(rest.len());
    Some((&body[..end], length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_entries_have_the_line_they_are_written_on() {
        let lines = Lines::of(
            "local port = 1935 -- configuration = {\n\
             --[[ configuration = {\n daemon = true } ]]\n\
             configuration = {\n\
               daemon = false,\n\
               f = function(a, b) if a then return { b, 1 } end end,\n\
               [\"workers\"] = 2; [[x]],\n\
               applications = {\n\
                 rootDirectory = 'a, } \\' {',\n\
                 { name = \"one\" },\n\
                 make(1, 2),\n\
                 {\n\
                   acceptors = { { ip = ip,\n port = port + 1 }, }\n\
                 },\n\
               },\n\
             }\n\
             configuration.daemon = true\n",
        );
        for (path, line) in [
            ("configuration", 4),
            ("configuration.daemon", 18),
            ("configuration.f", 6),
            ("configuration.workers", 7),
            ("configuration.applications", 8),
            ("configuration.applications.rootDirectory", 9),
            ("configuration.applications[1].name", 10),
            ("configuration.applications[2]", 11),
            ("configuration.applications[2].name", 11),
            ("configuration.applications[3].acceptors[1].port", 14),
            ("configuration.applications[3].acceptors[1].protocol", 13),
        ] {
            assert_eq!(lines.find(path), Some(line), "{path}");
        }
    }

    #[test]
    fn text_that_is_no_lua_does_no_harm() {
        for source in
            ["configuration = {", "configuration = { [", "'", "[==[", "--[[", "configuration.", "}}}end", "é"]
        {
            Lines::of(source);
        }
        Lines::of(&format!("configuration = {}", "{".repeat(100_000)));
    }
}
