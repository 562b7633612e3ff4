//! Where a stream has been: how servers that pull and push to each other notice a circle.

use std::sync::Arc;

use crate::{Limits, Value};

/// The streams by which a stream has come, the first publisher's first: each a mark that says something to the server
/// alone that made it.
///
/// Servers of this family tell each other when they play and publish. A stream that would come from itself is refused,
/// and so is one that has been at `hops` places. Most streams have been nowhere, which costs no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via(Option<Arc<[String]>>);

impl Via {
    /// The longest mark, in bytes; a peer's longer ones are cut, and known to nobody.
    pub const MARK: usize = 64;

    /// What a peer says: a list of texts. Of more than `hops` one more is kept, which is enough to refuse it; what
    /// is no text is left out.
    pub fn read(value: &Value, limits: &Limits) -> Self {
        let Value::StrictArray(list) = value else { return Self::default() };
        let marks = list.iter().filter_map(Value::as_str).map(|mark| cut(mark.to_owned()));
        let marks: Vec<String> = marks.take(limits.hops.saturating_add(1)).collect();
        Self::from_marks(marks)
    }

    /// As [`Self::read`] reads it.
    pub fn to_value(&self) -> Value {
        Value::StrictArray(self.marks().iter().map(|mark| mark.as_str().into()).collect())
    }

    /// The marks, the oldest first.
    pub fn marks(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it has been nowhere, or nobody has said.
    pub fn is_empty(&self) -> bool {
        self.marks().is_empty()
    }

    /// Whether it has been there.
    pub fn has(&self, mark: &str) -> bool {
        self.marks().iter().any(|other| other == mark)
    }

    /// This, and `mark` behind it.
    #[must_use]
    pub fn and(&self, mark: String) -> Self {
        Self::from_marks(self.marks().iter().cloned().chain([mark]).collect())
    }

    fn from_marks(marks: Vec<String>) -> Self {
        Self(if marks.is_empty() { None } else { Some(marks.into()) })
    }
}

fn cut(mut mark: String) -> String {
    if mark.len() > Via::MARK {
        let at = (0..=Via::MARK).rev().find(|at| mark.is_char_boundary(*at)).unwrap_or_default();
        mark.truncate(at);
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(marks: &[String]) -> Value {
        Value::StrictArray(marks.iter().map(|mark| mark.as_str().into()).collect())
    }

    #[test]
    fn what_is_told_is_understood() {
        let via = Via::default().and("a/live/x".to_owned()).and("b/live/x".to_owned());
        let read = Via::read(&via.to_value(), &Limits::default());
        assert_eq!(read, via);
        assert!(read.has("a/live/x") && read.has("b/live/x") && !read.has("c/live/x"));
        assert!(Via::default().is_empty());
    }

    #[test]
    fn nonsense_is_nowhere_and_long_lists_are_cut_behind_the_limit() {
        let limits = Limits::default();
        for nonsense in [Value::Null, "x".into(), Value::StrictArray(vec![Value::Null, 1.0.into()])] {
            assert!(Via::read(&nonsense, &limits).is_empty());
        }
        for (count, kept) in [
            (limits.hops - 1, limits.hops - 1),
            (limits.hops, limits.hops),
            (limits.hops + 1, limits.hops + 1),
            (limits.hops + 1000, limits.hops + 1),
        ] {
            let marks = vec!["a".to_owned(); count];
            assert_eq!(Via::read(&list(&marks), &limits).marks().len(), kept);
        }
    }

    #[test]
    fn long_marks_are_cut() {
        for (bytes, kept) in
            [(Via::MARK - 1, Via::MARK - 1), (Via::MARK, Via::MARK), (Via::MARK + 1, Via::MARK)]
        {
            let via = Via::read(&list(&["x".repeat(bytes)]), &Limits::default());
            assert_eq!(via.marks()[0].len(), kept);
        }
    }
}
