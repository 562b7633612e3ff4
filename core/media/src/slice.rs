//! Bytes that many share.

use std::{
    fmt,
    ops::{Bound, Deref, RangeBounds},
    sync::Arc,
};

/// Bytes that are written once and then shared: clones and parts of a slice are the same memory.
///
/// A slice may have *room* before it, memory of its own that it does not show yet. As long as nobody shares it,
/// a header can be put there, so that header and content go out as one piece without being copied.
#[derive(Clone, Default)]
pub struct Slice {
    buffer: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Slice {
    /// All of `buffer` but its first `room` bytes, which stay free for a header; nothing where it has fewer.
    pub fn behind_room(buffer: Vec<u8>, room: usize) -> Self {
        let (start, end) = (room.min(buffer.len()), buffer.len());
        Self { buffer: Arc::new(buffer), start, end }
    }

    /// A copy of `bytes`.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }

    /// A part of it, which shares its memory.
    ///
    /// # Panics
    ///
    /// Where `range` is not within it.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&at) => at + 1,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        assert!(from <= to && to <= self.len(), "{from}..{to} of a slice of {} bytes", self.len());
        Self { buffer: self.buffer.clone(), start: self.start + from, end: self.start + to }
    }

    /// Writes `header` into the room before the slice and gives both as one, which shares its memory. Nothing
    /// where there is not enough room, or where anybody else has part of the memory.
    #[must_use]
    pub fn with_header(&mut self, header: &[u8]) -> Option<Self> {
        let start = self.start.checked_sub(header.len())?;
        let buffer = Arc::get_mut(&mut self.buffer)?;
        buffer.get_mut(start..self.start)?.copy_from_slice(header);
        Some(Self { buffer: self.buffer.clone(), start, end: self.end })
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Slice {
    fn from(buffer: Vec<u8>) -> Self {
        Self::behind_room(buffer, 0)
    }
}

impl<const N: usize> From<[u8; N]> for Slice {
    fn from(bytes: [u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Slice {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Slice {}

impl fmt::Debug for Slice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_and_parts_are_the_same_memory() {
        let all = Slice::from(b"0123456789".to_vec());
        let part = all.slice(2..7).slice(1..=2);
        assert_eq!(part, b"34");
        assert_eq!(part.as_ptr(), all[3..].as_ptr());
        assert_eq!((all.slice(..).len(), all.slice(10..).len()), (10, 0));
        assert_eq!(format!("{part:?}"), "b\"34\"");
    }

    #[test]
    #[should_panic(expected = "3..11 of a slice of 10 bytes")]
    fn no_part_is_larger_than_the_whole() {
        let _ = Slice::from([0; 10]).slice(3..11);
    }

    #[test]
    fn a_header_is_put_before_what_nobody_shares() {
        let mut body = Slice::behind_room(b"....body".to_vec(), 4);
        let at = body.as_ptr();
        let whole = body.with_header(b"abc").unwrap();
        assert_eq!((&whole[..], &body[..]), (&b"abcbody"[..], &b"body"[..]));
        assert_eq!((whole[3..].as_ptr(), body.as_ptr()), (at, at));
        assert_eq!(body.with_header(b"x"), None, "the whole shares it");
        drop(whole);
        assert_eq!(body.with_header(b"abcde"), None, "too long");
        assert_eq!(body.with_header(b"1234").unwrap(), b"1234body");
        let mut shared = Slice::behind_room(b".body".to_vec(), 1);
        let _other = shared.slice(1..2);
        assert_eq!(shared.with_header(b"x"), None);
        assert_eq!(Slice::from(b"body".to_vec()).with_header(b"x"), None);
        assert_eq!(Slice::behind_room(Vec::new(), 5), b"");
    }
}
