//! Matches a pattern at one place of a text, as Lua 5.4 does.
//!
//! Where Lua looks at the zero byte that ends each of its strings, [`Matcher::text`] and [`Matcher::pattern`] give a
//! zero as well: some answers depend on it.

use super::{Pay, STEPS, Stop, wrong};

/// The most captures of a pattern.
const CAPTURES: usize = 32;

/// How deeply a match may be nested before it is refused as too complex.
const DEPTH: u32 = 200;

/// The byte that makes the next one special, or not special.
const ESCAPE: u8 = b'%';

/// What a pair of parentheses has caught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Capture {
    /// From here to here.
    Text(usize, usize),
    /// A position, from 0.
    Position(usize),
    /// From here; it has not been closed.
    Open(usize),
}

/// A pattern on a text.
pub(in super::super) struct Matcher<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; CAPTURES],
    level: usize,
    depth: u32,
    steps: u64,
    pay: Pay<'a>,
}

impl<'a> Matcher<'a> {
    pub(in super::super) fn new(text: &'a [u8], pattern: &'a [u8], pay: Pay<'a>) -> Self {
        Self { text, pattern, captures: [Capture::Open(0); CAPTURES], level: 0, depth: DEPTH, steps: 0, pay }
    }

    /// Matches at `start`: where the match ends.
    pub(in super::super) fn at(&mut self, start: usize) -> Result<Option<usize>, Stop> {
        self.level = 0;
        self.depth = DEPTH;
        self.step(1)?;
        self.rest(start, 0)
    }

    /// Pays for the steps that have not been paid for.
    pub(in super::super) fn settle(&mut self) -> Result<(), Stop> {
        let steps = std::mem::take(&mut self.steps);
        if steps == 0 { Ok(()) } else { (self.pay)(steps) }
    }

    /// How many captures the match has.
    pub(in super::super) fn captures(&self) -> usize {
        self.level
    }

    /// Capture `index` of the match from `start` to `end`, which is itself the first one where there is no other.
    pub(in super::super) fn capture(&self, index: usize, start: usize, end: usize) -> Result<Capture, Stop> {
        if index >= self.level {
            return match index {
                0 => Ok(Capture::Text(start, end)),
                _ => wrong(format!("invalid capture index %{}", index + 1)),
            };
        }
        match self.captures[index] {
            Capture::Open(_) => wrong("unfinished capture"),
            capture => Ok(capture),
        }
    }

    fn text(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn pattern(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn step(&mut self, steps: u64) -> Result<(), Stop> {
        self.steps += steps;
        if self.steps < STEPS { Ok(()) } else { self.settle() }
    }

    /// Matches the pattern from `item` on.
    fn rest(&mut self, at: usize, item: usize) -> Result<Option<usize>, Stop> {
        if self.depth == 0 {
            return wrong("pattern too complex");
        }
        self.depth -= 1;
        let end = self.items(at, item)?;
        self.depth += 1;
        Ok(end)
    }

    fn items(&mut self, mut at: usize, mut item: usize) -> Result<Option<usize>, Stop> {
        while item < self.pattern.len() {
            self.step(1)?;
            match self.pattern(item) {
                b'(' if self.pattern(item + 1) == b')' => {
                    return self.open(Capture::Position(at), at, item + 2);
                }
                b'(' => return self.open(Capture::Open(at), at, item + 1),
                b')' => return self.close(at, item + 1),
                b'$' if item + 1 == self.pattern.len() => {
                    return Ok((at == self.text.len()).then_some(at));
                }
                ESCAPE if self.pattern(item + 1) == b'b' => {
                    let Some(end) = self.balance(at, item + 2)? else { return Ok(None) };
                    (at, item) = (end, item + 4);
                    continue;
                }
                ESCAPE if self.pattern(item + 1) == b'f' => {
                    item += 2;
                    if self.pattern(item) != b'[' {
                        return wrong("missing '[' after '%f' in pattern");
                    }
                    let end = self.class_end(item)?;
                    let before = at.checked_sub(1).map_or(0, |before| self.text(before));
                    if self.in_set(before, item, end - 1) || !self.in_set(self.text(at), item, end - 1) {
                        return Ok(None);
                    }
                    item = end;
                    continue;
                }
                ESCAPE if self.pattern(item + 1).is_ascii_digit() => {
                    let Some(end) = self.again(at, self.pattern(item + 1))? else { return Ok(None) };
                    (at, item) = (end, item + 2);
                    continue;
                }
                _ => {}
            }
            // A class, and how often it may come.
            let end = self.class_end(item)?;
            let matches = self.single(at, item, end);
            match (self.pattern(end), matches) {
                (b'*' | b'?' | b'-', false) => item = end + 1,
                (_, false) => return Ok(None),
                (b'?', true) => {
                    if let Some(found) = self.rest(at + 1, end + 1)? {
                        return Ok(Some(found));
                    }
                    item = end + 1;
                }
                (b'+', true) => return self.most(at + 1, item, end),
                (b'*', true) => return self.most(at, item, end),
                (b'-', true) => return self.least(at, item, end),
                (_, true) => (at, item) = (at + 1, end),
            }
        }
        Ok(Some(at))
    }

    fn open(&mut self, capture: Capture, at: usize, item: usize) -> Result<Option<usize>, Stop> {
        let Some(slot) = self.captures.get_mut(self.level) else { return wrong("too many captures") };
        *slot = capture;
        self.level += 1;
        let end = self.rest(at, item)?;
        if end.is_none() {
            self.level -= 1;
        }
        Ok(end)
    }

    fn close(&mut self, at: usize, item: usize) -> Result<Option<usize>, Stop> {
        let open =
            self.captures[..self.level].iter().rposition(|capture| matches!(capture, Capture::Open(_)));
        let Some(index) = open else { return wrong("invalid pattern capture") };
        let Capture::Open(start) = self.captures[index] else { return wrong("invalid pattern capture") };
        self.captures[index] = Capture::Text(start, at);
        let end = self.rest(at, item)?;
        if end.is_none() {
            self.captures[index] = Capture::Open(start);
        }
        Ok(end)
    }

    /// `%bxy`: from an x to the y that belongs to it.
    fn balance(&mut self, at: usize, item: usize) -> Result<Option<usize>, Stop> {
        if item + 1 >= self.pattern.len() {
            return wrong("malformed pattern (missing arguments to '%b')");
        }
        let (open, close) = (self.pattern(item), self.pattern(item + 1));
        if self.text(at) != open {
            return Ok(None);
        }
        let mut nested = 1_usize;
        for index in at + 1..self.text.len() {
            self.step(1)?;
            let byte = self.text(index);
            if byte == close {
                nested -= 1;
                if nested == 0 {
                    return Ok(Some(index + 1));
                }
            } else if byte == open {
                nested += 1;
            }
        }
        Ok(None)
    }

    /// `%1` to `%9`: what that capture has caught, once more.
    fn again(&mut self, at: usize, digit: u8) -> Result<Option<usize>, Stop> {
        let index = usize::from(digit).checked_sub(usize::from(b'1'));
        let capture = index.filter(|index| *index < self.level).map(|index| self.captures[index]);
        match capture {
            None | Some(Capture::Open(_)) => {
                let number = i32::from(digit) - i32::from(b'0');
                wrong(format!("invalid capture index %{number}"))
            }
            Some(Capture::Position(_)) => Ok(None),
            Some(Capture::Text(start, end)) => {
                self.step((end - start) as u64 / 16)?;
                let caught = &self.text[start..end];
                Ok(self.text[at..].starts_with(caught).then_some(at + caught.len()))
            }
        }
    }

    /// As often as possible, then less often until the rest matches.
    fn most(&mut self, at: usize, item: usize, end: usize) -> Result<Option<usize>, Stop> {
        let mut count = 0;
        while self.single(at + count, item, end) {
            self.step(1)?;
            count += 1;
        }
        loop {
            self.step(1)?;
            let found = self.rest(at + count, end + 1)?;
            if found.is_some() || count == 0 {
                return Ok(found);
            }
            count -= 1;
        }
    }

    /// As seldom as possible, then more often until the rest matches.
    fn least(&mut self, mut at: usize, item: usize, end: usize) -> Result<Option<usize>, Stop> {
        loop {
            self.step(1)?;
            let found = self.rest(at, end + 1)?;
            if found.is_some() || !self.single(at, item, end) {
                return Ok(found);
            }
            at += 1;
        }
    }

    /// Where the class that begins at `item` ends.
    fn class_end(&mut self, item: usize) -> Result<usize, Stop> {
        match self.pattern(item) {
            ESCAPE if item + 1 >= self.pattern.len() => wrong("malformed pattern (ends with '%')"),
            ESCAPE => Ok(item + 2),
            b'[' => {
                let mut end = item + 1;
                if self.pattern(end) == b'^' {
                    end += 1;
                }
                // The first byte belongs to the set even if it is a bracket.
                loop {
                    if end >= self.pattern.len() {
                        return wrong("malformed pattern (missing ']')");
                    }
                    let byte = self.pattern(end);
                    end += 1;
                    if byte == ESCAPE && end < self.pattern.len() {
                        end += 1;
                    }
                    if self.pattern(end) == b']' {
                        // Sets are read anew for each byte of the text.
                        self.step((end - item) as u64 / 4)?;
                        return Ok(end + 1);
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether the byte at `at` belongs to the class from `item` to `end`.
    fn single(&mut self, at: usize, item: usize, end: usize) -> bool {
        let Some(&byte) = self.text.get(at) else { return false };
        match self.pattern(item) {
            b'.' => true,
            ESCAPE => in_class(byte, self.pattern(item + 1)),
            b'[' => {
                self.steps += (end - item) as u64 / 4;
                self.in_set(byte, item, end - 1)
            }
            other => other == byte,
        }
    }

    /// Whether a byte belongs to the set from `open` to the bracket at `close`.
    fn in_set(&self, byte: u8, open: usize, close: usize) -> bool {
        let mut at = open;
        let mut found = true;
        if self.pattern(at + 1) == b'^' {
            found = false;
            at += 1;
        }
        loop {
            at += 1;
            if at >= close {
                return !found;
            }
            let first = self.pattern(at);
            if first == ESCAPE {
                at += 1;
                if in_class(byte, self.pattern(at)) {
                    return found;
                }
            } else if self.pattern(at + 1) == b'-' && at + 2 < close {
                at += 2;
                if first <= byte && byte <= self.pattern(at) {
                    return found;
                }
            } else if first == byte {
                return found;
            }
        }
    }
}

/// Whether a byte belongs to `%class`.
fn in_class(byte: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        // The vertical tab is a space in C, but not in Rust.
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return byte == class,
    };
    found == class.is_ascii_lowercase()
}
