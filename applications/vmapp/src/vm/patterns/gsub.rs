//! Replaces what a pattern matches by a text.

use super::find::anchor;
use super::matcher::{Capture, Matcher};
use super::{Pay, Stop, wrong};

/// A text that grows, after asking for what it grows by.
pub(in super::super) struct Output<'a> {
    bytes: Vec<u8>,
    /// Makes sure that so many bytes more may be taken.
    room: &'a dyn Fn(usize) -> Result<(), Stop>,
}

impl<'a> Output<'a> {
    pub(in super::super) fn new(room: &'a dyn Fn(usize) -> Result<(), Stop>) -> Self {
        Self { bytes: Vec::new(), room }
    }

    pub(in super::super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let wanted = self.bytes.len() + bytes.len();
        if wanted > self.bytes.capacity() {
            let more = wanted.max(2 * self.bytes.capacity()) - self.bytes.len();
            // Once here, and once more as a string of Lua.
            (self.room)(2 * (self.bytes.len() + more))?;
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// `string.gsub` with a text: how many matches were replaced.
pub(in super::super) fn replace(
    text: &[u8],
    pattern: &[u8],
    template: &[u8],
    most: i64,
    out: &mut Output<'_>,
    pay: Pay<'_>,
) -> Result<i64, Stop> {
    let (pattern, anchored) = anchor(pattern);
    let mut matcher = Matcher::new(text, pattern, pay);
    let (mut at, mut last, mut count) = (0, None, 0);
    while count < most {
        match matcher.at(at)?.filter(|end| Some(*end) != last) {
            Some(end) => {
                count += 1;
                let before = out.as_bytes().len();
                fill(&matcher, text, template, at, end, out)?;
                pay((template.len() + out.as_bytes().len() - before) as u64 / 16)?;
                at = end;
                last = Some(end);
            }
            None if at < text.len() => {
                out.push(&text[at..=at])?;
                at += 1;
            }
            None => break,
        }
        if anchored {
            break;
        }
    }
    out.push(&text[at..])?;
    pay(text.len() as u64 / 16)?;
    matcher.settle()?;
    Ok(count)
}

/// Writes the template, with what was caught in place of `%0` to `%9`.
fn fill(
    matcher: &Matcher<'_>,
    text: &[u8],
    template: &[u8],
    start: usize,
    end: usize,
    out: &mut Output<'_>,
) -> Result<(), Stop> {
    let mut rest = template;
    while let Some(escape) = memchr::memchr(b'%', rest) {
        out.push(&rest[..escape])?;
        match rest.get(escape + 1) {
            Some(b'%') => out.push(b"%")?,
            Some(b'0') => out.push(&text[start..end])?,
            Some(digit @ b'1'..=b'9') => match matcher.capture(usize::from(digit - b'1'), start, end)? {
                Capture::Text(from, to) => out.push(&text[from..to])?,
                Capture::Position(at) => out.push((at + 1).to_string().as_bytes())?,
                Capture::Open(_) => return wrong("unfinished capture"),
            },
            _ => return wrong("invalid use of '%' in replacement string"),
        }
        rest = &rest[escape + 2..];
    }
    out.push(rest)
}
