//! Bytes that many share.

use std::{
    fmt,
    iter::repeat_n,
    ops::{Bound, Deref, RangeBounds},
    sync::Arc,
};

use arrayvec::ArrayVec;

/// What is copied as a whole, in bytes, at most.
const AT_ONCE: usize = 8 * 1024;

/// Bytes that are written once and then shared: clones and parts of a slice are the same memory.
///
/// A slice may have *room* before it, memory of its own that it does not show yet. As long as nobody shares it,
/// a header can be put there, so that header and content go out as one piece without being copied.
///
/// Bytes and the count of those who share them are one piece of memory. [`SliceWriter`] makes a slice of what comes
/// bit by bit.
#[derive(Clone, Default)]
pub struct Slice {
    buffer: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl Slice {
    /// What lies farther on than 32 bits tell is left out: no limit allows a message of that size.
    fn within(buffer: Arc<[u8]>, start: usize, end: usize) -> Self {
        let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { buffer, start: place(start), end: place(end) }
    }

    /// A copy of `bytes`.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        Self::within(bytes.into(), 0, bytes.len())
    }

    /// A copy of `bytes` behind `room` bytes that stay free for a header.
    pub fn behind_room(room: usize, bytes: &[u8]) -> Self {
        let end = room + bytes.len();
        if end > AT_ONCE {
            let mut writer = SliceWriter::default();
            writer.grow_to(end);
            writer.len = room.min(end);
            writer.append(bytes);
            return writer.finish(room);
        }
        // Through memory that is near: what has just been got is far away, and is to be written to only once.
        let mut near = ArrayVec::<u8, AT_ONCE>::new();
        near.extend(repeat_n(0, room));
        let _ = near.try_extend_from_slice(bytes);
        Self::within(near.as_slice().into(), room, end)
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
        let start = self.start as usize;
        Self::within(self.buffer.clone(), start + from, start + to)
    }

    /// Writes `header` into the room before the slice, which does not show it. Returns false, having written nothing,
    /// where there is not enough room, or where anybody else has part of the memory.
    #[must_use]
    pub fn put_before(&mut self, header: &[u8]) -> bool {
        let end = self.start as usize;
        let room = end.checked_sub(header.len()).map(|start| start..end);
        let buffer = Arc::get_mut(&mut self.buffer);
        let Some(room) = buffer.zip(room).and_then(|(buffer, room)| buffer.get_mut(room)) else {
            return false;
        };
        room.copy_from_slice(header);
        true
    }

    /// `header` and the slice as one, which shares its memory; nothing where the room does not hold just that.
    #[must_use]
    pub fn behind(&self, header: &[u8]) -> Option<Self> {
        let start = (self.start as usize).checked_sub(header.len())?;
        let room = self.buffer.get(start..self.start as usize)?;
        (room == header).then(|| Self { buffer: self.buffer.clone(), start: start as u32, end: self.end })
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        Self::copy_from_slice(&bytes)
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

/// A slice that is being written.
#[derive(Debug, Default)]
pub struct SliceWriter {
    buffer: Arc<[u8]>,
    len: usize,
}

impl SliceWriter {
    /// How many bytes have been written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes there is memory for.
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Moves to memory for `capacity` bytes, where there is less.
    pub fn grow_to(&mut self, capacity: usize) {
        if capacity <= self.capacity() {
            return;
        }
        let mut larger: Arc<[u8]> = repeat_n(0, capacity).collect();
        if let Some(written) = Arc::get_mut(&mut larger).and_then(|larger| larger.get_mut(..self.len)) {
            written.copy_from_slice(&self.buffer[..self.len]);
        }
        self.buffer = larger;
    }

    /// Appends `bytes`, in more memory where there is not enough.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.grow_to(end);
        // Nobody else has this memory until it is a slice.
        if let Some(rest) = Arc::get_mut(&mut self.buffer).and_then(|buffer| buffer.get_mut(self.len..end)) {
            rest.copy_from_slice(bytes);
            self.len = end;
        }
    }

    /// What has been written but the first `room` bytes, which stay free for a header; nothing where there are fewer.
    pub fn finish(self, room: usize) -> Slice {
        Slice::within(self.buffer, room.min(self.len), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_room_before_it_whatever_its_size() {
        for size in [0, 1, AT_ONCE - 4, AT_ONCE - 3, 2 * AT_ONCE] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let mut slice = Slice::behind_room(4, &bytes);
            assert!(slice.put_before(b"head"));
            assert!(!slice.put_before(b"heads"));
            assert_eq!(slice, bytes);
            assert_eq!(slice.behind(b"head").unwrap(), [b"head", &bytes[..]].concat());
        }
    }

    #[test]
    fn what_comes_bit_by_bit_becomes_one_slice() {
        let mut writer = SliceWriter::default();
        writer.grow_to(3);
        for part in [&b"01"[..], b"", b"2", b"3456789"] {
            writer.append(part);
        }
        writer.grow_to(20);
        assert_eq!((writer.len(), writer.capacity()), (10, 20));
        assert_eq!(writer.finish(2), b"23456789");
        assert!(SliceWriter::default().is_empty());
    }

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
        let mut body = Slice::behind_room(4, b"body");
        let at = body.as_ptr();
        assert!(body.put_before(b"abc"));
        assert_eq!(body.behind(b"abd"), None);
        let whole = body.behind(b"abc").unwrap();
        assert_eq!((&whole[..], &body[..]), (&b"abcbody"[..], &b"body"[..]));
        assert_eq!((whole[3..].as_ptr(), body.as_ptr()), (at, at));
        assert!(!body.put_before(b"x"), "the whole shares it");
        drop(whole);
        assert!(!body.put_before(b"abcde"), "too long");
        assert!(body.put_before(b"1234"));
        assert_eq!(body.behind(b"1234").unwrap(), b"1234body");
        assert_eq!(body.behind(b"01234"), None);
        let mut shared = Slice::behind_room(1, b"body");
        let _other = shared.slice(1..2);
        assert!(!shared.put_before(b"x"));
        assert!(!Slice::from(b"body".to_vec()).put_before(b"x"));
    }
}
