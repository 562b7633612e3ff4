//! The grammar of a command line: `command key=value key2=a,b`.
//!
//! Spaces part words, `=` a key from its value, commas the members of a list. A backslash takes their meaning from
//! what follows it: `\\`, `\ `, `\=` and `\,` stand for the second character, as in crtmpserver; `\n`, `\r` and `\t`
//! for line feed, carriage return and tab; `\u{1b}` for the character of that number, as the faces for people show
//! it. Within a value `=` needs no backslash.

use std::{collections::HashSet, fmt, str::Chars};

use serde_json::{Map, Value};

use crate::text;

/// Bytes of the name of a command.
pub const COMMAND_BYTES: usize = 64;

/// The parameters of a command, in the order in which they came. No two have the same key, whatever the case.
pub type Parameters = Vec<(String, Argument)>;

/// A command with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Its name: letters, digits, `_`, `-`, `.`.
    pub name: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text(String),
    /// What commas part: two texts at least.
    List(Vec<String>),
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the line, in bytes from its beginning.
    pub at: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl CommandLine {
    /// Reads a line; none where it is empty.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, Mistake> {
        let mut cursor = Cursor::new(check(line)?);
        cursor.skip_spaces();
        let at = cursor.at();
        let name = cursor.word();
        if name.is_empty() {
            return Ok(None);
        }
        if !is_command(name) {
            let what = format!(
                "this is no name of a command: write 1 to {COMMAND_BYTES} letters, digits, `_`, `-` and `.`"
            );
            return Err(Mistake { at, what });
        }
        Ok(Some(Self { name: name.to_owned(), parameters: cursor.parameters()? }))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Mistake {}

/// Reads what may follow the name of a command.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn parameters(text: &[u8]) -> Result<Parameters, Mistake> {
    Cursor::new(check(text)?).parameters()
}

/// The parameters as the JSON text of an object.
pub fn to_json(parameters: &[(String, Argument)]) -> String {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => Value::from(text.as_str()),
        Argument::List(texts) => texts.iter().map(String::as_str).collect(),
    };
    let object: Map<_, _> = parameters.iter().map(|(key, argument)| (key.clone(), value(argument))).collect();
    Value::Object(object).to_string()
}

/// Whether a command may have this name.
pub fn is_command(name: &str) -> bool {
    (1..=COMMAND_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The first key that stands twice, whatever the case.
pub fn twice<'a>(keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    keys.into_iter().find(|key| !seen.insert(key.to_lowercase()))
}

/// Writes `text` so that it can be a key, a value or a member of a list, and reads back as the same.
///
/// The result is one word of printable characters.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | ' ' | '=' | ',' => out.extend(['\\', letter]),
            _ => text::push_clean(&mut out, letter),
        }
    }
    out
}

/// The line as text, if nothing is in it that no line may hold.
fn check(line: &[u8]) -> Result<&str, Mistake> {
    let (text, bad) = match std::str::from_utf8(line) {
        Ok(text) => (text, None),
        Err(error) => {
            let (good, bad) = line.split_at(error.valid_up_to());
            (std::str::from_utf8(good).unwrap_or_default(), bad.first().copied())
        }
    };
    if let Some((at, letter)) = text.char_indices().find(|(_, letter)| letter.is_control()) {
        let what = match letter {
            '\0' => "a NUL".to_owned(),
            _ => format!("a control character: write {}", escape(letter.encode_utf8(&mut [0; 4]))),
        };
        return Err(Mistake { at, what });
    }
    match bad {
        None => Ok(text),
        Some(0xff) => {
            let what = "a telnet command (byte 0xff), which is not understood here: use a client that sends \
                        plain lines";
            Err(Mistake { at: text.len(), what: what.to_owned() })
        }
        Some(_) => Err(Mistake { at: text.len(), what: "this is no UTF-8".to_owned() }),
    }
}

/// A place in a line.
struct Cursor<'a> {
    line: &'a str,
    rest: Chars<'a>,
}

impl<'a> Cursor<'a> {
    fn new(line: &'a str) -> Self {
        Self { line, rest: line.chars() }
    }

    fn at(&self) -> usize {
        self.line.len() - self.rest.as_str().len()
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(' ') {
            self.rest.next();
        }
    }

    /// What stands before the next space.
    fn word(&mut self) -> &'a str {
        let rest = self.rest.as_str();
        let (word, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        self.rest = rest.chars();
        word
    }

    fn parameters(&mut self) -> Result<Parameters, Mistake> {
        let mut parameters = Parameters::new();
        let mut seen = HashSet::new();
        loop {
            self.skip_spaces();
            let at = self.at();
            if self.peek().is_none() {
                return Ok(parameters);
            }
            let key = self.text(|letter| letter == '=')?;
            if self.rest.next() != Some('=') {
                let what = "a parameter without `=`: write key=value, and `\\ ` for a space within a value";
                return Err(Mistake { at, what: what.to_owned() });
            }
            if key.is_empty() {
                return Err(Mistake { at, what: "a parameter without a key: write key=value".to_owned() });
            }
            if !seen.insert(key.to_lowercase()) {
                return Err(Mistake { at, what: "this key stands twice: write it once".to_owned() });
            }
            parameters.push((key, self.argument()?));
        }
    }

    fn argument(&mut self) -> Result<Argument, Mistake> {
        let mut texts = vec![self.text(|letter| letter == ',')?];
        while self.peek() == Some(',') {
            self.rest.next();
            texts.push(self.text(|letter| letter == ',')?);
        }
        Ok(match texts.as_mut_slice() {
            [one] => Argument::Text(std::mem::take(one)),
            _ => Argument::List(texts),
        })
    }

    /// What stands before the next space or what `ends` it, without backslashes.
    fn text(&mut self, ends: impl Fn(char) -> bool) -> Result<String, Mistake> {
        let mut text = String::new();
        while let Some(letter) = self.peek() {
            match letter {
                ' ' => break,
                '\\' => text.push(self.escaped()?),
                _ if ends(letter) => break,
                _ => {
                    self.rest.next();
                    text.push(letter);
                }
            }
        }
        Ok(text)
    }

    /// What a backslash and its followers stand for.
    fn escaped(&mut self) -> Result<char, Mistake> {
        let at = self.at();
        self.rest.next();
        let letter = match self.rest.next() {
            Some(letter @ ('\\' | ' ' | '=' | ',')) => Some(letter),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('u') => self.numbered(),
            _ => None,
        };
        letter.ok_or_else(|| {
            let what = "an unknown escape: a backslash stands before a backslash, a space, `=`, `,`, `n`, `r`, \
                        `t`, or a number like `u{1b}`";
            Mistake { at, what: what.to_owned() }
        })
    }

    /// The character of a number like `{1b}`.
    fn numbered(&mut self) -> Option<char> {
        let (digits, rest) = self.rest.as_str().strip_prefix('{')?.split_once('}')?;
        let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let letter = plain.then(|| u32::from_str_radix(digits, 16).ok())?.and_then(char::from_u32)?;
        self.rest = rest.chars();
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(line: &[u8]) -> String {
        match CommandLine::parse(line) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(command)) => format!("{} {}", command.name, to_json(&command.parameters)),
            Err(mistake) => mistake.to_string(),
        }
    }

    #[test]
    fn commands_are_read() {
        for (line, expected) in [
            ("", "nothing"),
            ("   ", "nothing"),
            ("version", "version {}"),
            ("  version  ", "version {}"),
            ("a.b_c-9 k=v", r#"a.b_c-9 {"k":"v"}"#),
            ("a k=", r#"a {"k":""}"#),
            ("a k=1  l=2 ", r#"a {"k":"1","l":"2"}"#),
            ("a k=x,y,z", r#"a {"k":["x","y","z"]}"#),
            ("a k=,", r#"a {"k":["",""]}"#),
            (r"a k=x\,y,\\", r#"a {"k":["x,y","\\"]}"#),
            (r"a k\=\ l=m\ n\=o", r#"a {"k= l":"m n=o"}"#),
            ("a uri=rtmp://h/a?b=c&d=e", r#"a {"uri":"rtmp://h/a?b=c&d=e"}"#),
            (r"a k=\n\r\t\u{1b}\u{1F600}", "a {\"k\":\"\\n\\r\\t\\u001b\u{1f600}\"}"),
            ("a k=\"é", "a {\"k\":\"\\\"é\"}"),
            ("a k=HTTP/1.1", r#"a {"k":"HTTP/1.1"}"#),
        ] {
            assert_eq!(json(line.as_bytes()), expected, "{line}");
        }
    }

    /// ADM-03.
    #[test]
    fn mistakes_say_what_and_where() {
        for (line, expected) in [
            (&b"ver\0sion"[..], "byte 3: a NUL"),
            (b"a k=\xc3(", "byte 4: this is no UTF-8"),
            (b"\xff\xfb\x1fversion", "byte 0: a telnet command"),
            (b"a\x1b[A", "byte 1: a control character: write \\u{1b}"),
            (b"a\tk=v", "byte 1: a control character: write \\t"),
            (b"a k=v\r", "byte 5: a control character: write \\r"),
            (b"a k", "byte 2: a parameter without `=`"),
            (b"a k l=m", "byte 2: a parameter without `=`"),
            (b"a =v", "byte 2: a parameter without a key"),
            (b"a k=1 K=2", "byte 6: this key stands twice"),
            (b"a k=C:\\x", "byte 6: an unknown escape"),
            (b"a k=\\", "byte 4: an unknown escape"),
            (b"a k=\\u{}", "byte 4: an unknown escape"),
            (b"a k=\\u{d800}", "byte 4: an unknown escape"),
            (b"a k=\\u{+1}", "byte 4: an unknown escape"),
            (b"a k=\\u{41", "byte 4: an unknown escape"),
            (b"  a/b", "byte 2: this is no name of a command"),
            (b"k=v", "byte 0: this is no name of a command"),
        ] {
            let said = json(line);
            assert!(said.starts_with(expected), "{:?}: {said}", line.escape_ascii());
        }
    }

    #[test]
    fn names_of_commands_are_bounded() {
        assert!(is_command(&"x".repeat(COMMAND_BYTES - 1)));
        assert!(is_command(&"x".repeat(COMMAND_BYTES)));
        assert!(!is_command(&"x".repeat(COMMAND_BYTES + 1)));
        assert!(!is_command(""));
        assert!(!is_command("é"));
    }

    proptest! {
        /// ADM-07.
        #[test]
        fn what_is_escaped_reads_back(key in any::<String>(), texts in prop::collection::vec(any::<String>(), 1..4)) {
            prop_assume!(!key.is_empty());
            let words: Vec<_> = texts.iter().map(|text| escape(text)).collect();
            let line = format!("add {}={} x=1", escape(&key), words.join(","));
            prop_assert!(!line.chars().any(char::is_control));
            prop_assume!(!key.eq_ignore_ascii_case("x"));
            let command = CommandLine::parse(line.as_bytes()).unwrap().unwrap();
            let expected = match texts.as_slice() {
                [one] => Argument::Text(one.clone()),
                _ => Argument::List(texts),
            };
            prop_assert_eq!(&command.parameters[0], &(key, expected));
        }

        #[test]
        fn nothing_panics(line in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = CommandLine::parse(&line);
        }
    }
}
