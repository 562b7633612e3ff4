//! Looks for the first place where a pattern matches.

use memchr::memmem;

use super::matcher::{Capture, Matcher};
use super::{Pay, Stop};

/// What makes a pattern more than a text.
const SPECIAL: &[u8] = b"^$*+?.([%-";

/// A match and what its parentheses have caught.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Found {
    /// Where it begins, from 0.
    pub(in super::super) start: usize,
    /// Where it ends.
    pub(in super::super) end: usize,
    /// What was caught.
    pub(in super::super) captures: Vec<Capture>,
}

/// Looks for a text.
pub(in super::super) fn plain(
    text: &[u8],
    wanted: &[u8],
    from: usize,
    pay: Pay<'_>,
) -> Result<Option<usize>, Stop> {
    let rest = text.get(from..).unwrap_or_default();
    pay((rest.len() + wanted.len()) as u64 / 16)?;
    Ok(memmem::find(rest, wanted).map(|at| from + at))
}

/// Whether a pattern is nothing but a text.
pub(in super::super) fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| SPECIAL.contains(byte))
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Search {
    /// Where to begin, from 0.
    pub(in super::super) from: usize,
    /// Whether only that place counts.
    pub(in super::super) anchored: bool,
    /// Where the last match ended: a match that ends there does not count.
    pub(in super::super) last: Option<usize>,
    /// How many captures are wanted at most. One that nobody wants may be wrong.
    pub(in super::super) wanted: usize,
}

/// `string.find` and `string.match`: looks from `from` on; a pattern that begins with `^` matches only there. With
/// `whole`, a match without parentheses catches itself.
pub(in super::super) fn first(
    text: &[u8],
    pattern: &[u8],
    from: usize,
    whole: bool,
    pay: Pay<'_>,
) -> Result<Option<Found>, Stop> {
    let (pattern, anchored) = anchor(pattern);
    search(text, pattern, &Search { from, anchored, last: None, wanted: usize::MAX }, whole, pay)
}

/// `string.gmatch` and `string.gsub`: the next match.
pub(in super::super) fn next(
    text: &[u8],
    pattern: &[u8],
    how: &Search,
    pay: Pay<'_>,
) -> Result<Option<Found>, Stop> {
    search(text, pattern, how, true, pay)
}

/// A pattern without its `^`, and whether it had one.
pub(super) fn anchor(pattern: &[u8]) -> (&[u8], bool) {
    pattern.strip_prefix(b"^").map_or((pattern, false), |rest| (rest, true))
}

fn search(
    text: &[u8],
    pattern: &[u8],
    how: &Search,
    whole: bool,
    pay: Pay<'_>,
) -> Result<Option<Found>, Stop> {
    let mut matcher = Matcher::new(text, pattern, pay);
    let mut found = None;
    for start in how.from..=text.len() {
        if let Some(end) = matcher.at(start)?.filter(|end| Some(*end) != how.last) {
            let count = if whole { matcher.captures().max(1) } else { matcher.captures() };
            let captures = (0..count.min(how.wanted)).map(|index| matcher.capture(index, start, end));
            found = Some(Found { start, end, captures: captures.collect::<Result<_, _>>()? });
            break;
        }
        if how.anchored {
            break;
        }
    }
    matcher.settle()?;
    Ok(found)
}
