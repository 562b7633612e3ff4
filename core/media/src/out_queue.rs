//! Bytes on their way out.

use std::collections::VecDeque;

use crate::{HttpHead, Packet, Slice};

/// Consecutive small writes are joined into one buffer up to this size in bytes.
const JOIN: usize = 16 * 1024;

/// A piece of what goes out.
#[derive(Debug)]
pub enum Piece {
    /// Bytes that only this queue has.
    Owned(Vec<u8>),
    /// Bytes that others share.
    Shared(Slice),
    /// The bytes up to [`Piece::End`] are the body of a message with this head. For the HTTP layer; carriers and
    /// other layers send nothing for it.
    Begin(Box<HttpHead>),
    /// The body of the message that was begun last is complete.
    End,
}

impl Piece {
    /// What goes out for it where nobody knows what a head is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Begin(_) | Self::End => &[],
        }
    }
}

/// A queue of byte slices between two layers, or between the far-most layer and its carrier.
///
/// It holds control messages, and media only where a layer outside the endpoint changes bytes; who fills
/// it bounds it.
#[derive(Debug, Default)]
pub struct OutQueue {
    slices: VecDeque<Piece>,
    /// How much of the first slice has gone out.
    gone: usize,
    bytes: usize,
}

impl OutQueue {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends what `write` writes; small writes end up in one buffer, so that they leave together.
    pub fn write_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.slices.back(), Some(Piece::Owned(last)) if last.len() < JOIN) {
            self.slices.push_back(Piece::Owned(Vec::new()));
        }
        if let Some(Piece::Owned(last)) = self.slices.back_mut() {
            let before = last.len();
            write(last);
            self.bytes += last.len() - before;
            if last.is_empty() {
                self.slices.pop_back();
            }
        }
    }

    /// Appends a packet without copying it.
    pub fn push_packet(&mut self, packet: Packet) {
        if !packet.bytes.is_empty() {
            self.bytes += packet.bytes.len();
            self.slices.push_back(Piece::Shared(packet.bytes));
        }
    }

    /// Moves all of `other` to the end of this queue; O(1) where this queue is empty.
    pub fn append(&mut self, other: &mut Self) {
        // A queue without bytes may still hold heads and ends.
        if self.slices.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        if other.gone > 0 {
            let mut rest = other.slices().next().unwrap_or_default().to_vec();
            let gone = rest.len();
            self.write_with(|out| out.append(&mut rest));
            other.advance(gone);
        }
        self.bytes += other.bytes;
        self.slices.append(&mut other.slices);
        *other = Self::default();
    }

    /// Begins a message: what is written until [`end`](Self::end) is its body.
    pub fn begin(&mut self, head: HttpHead) {
        self.slices.push_back(Piece::Begin(Box::new(head)));
    }

    /// Ends the message that was begun last.
    pub fn end(&mut self) {
        self.slices.push_back(Piece::End);
    }

    /// Appends a piece of another queue without copying it.
    pub fn push(&mut self, piece: Piece) {
        self.bytes += piece.bytes().len();
        self.slices.push_back(piece);
    }

    /// Takes the first piece, or what is left of it.
    pub fn pop(&mut self) -> Option<Piece> {
        let mut piece = self.slices.pop_front()?;
        if self.gone > 0 {
            piece = Piece::Owned(piece.bytes().get(self.gone..).unwrap_or_default().to_vec());
            self.gone = 0;
        }
        self.bytes -= piece.bytes().len();
        Some(piece)
    }

    /// The slices that wait, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let gone = self.gone;
        let slices = self.slices.iter().enumerate().map(move |(index, slice)| {
            let bytes = slice.bytes();
            if index == 0 { &bytes[gone..] } else { bytes }
        });
        slices.filter(|slice| !slice.is_empty())
    }

    /// Removes the first `count` bytes, which have gone out, or everything if there are fewer.
    pub fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(first) = self.slices.front() {
            let left = first.bytes().len() - self.gone;
            if count < left {
                self.gone += count;
                return;
            }
            count -= left;
            self.gone = 0;
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MediaKind, Role};

    fn packet(bytes: &[u8]) -> Packet {
        Packet {
            bytes: bytes.to_vec().into(),
            header_len: 0,
            kind: MediaKind::Video,
            role: Role::Key,
            track: 0,
            dts: 0,
            cts: 0,
            data_at: 0,
        }
    }

    fn text(queue: &OutQueue) -> String {
        String::from_utf8(queue.slices().collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn small_writes_share_a_slice_and_leave_in_order() {
        let mut queue = OutQueue::default();
        queue.write_with(|out| out.extend(b"abc"));
        queue.write_with(|out| out.extend(b"def"));
        queue.push_packet(packet(b"ghi"));
        queue.write_with(|out| out.extend(b"jkl"));
        assert_eq!(queue.slices().count(), 3);
        assert_eq!((text(&queue).as_str(), queue.len()), ("abcdefghijkl", 12));
        queue.advance(4);
        assert_eq!((text(&queue).as_str(), queue.len()), ("efghijkl", 8));
        queue.advance(5);
        assert_eq!(text(&queue), "jkl");
        queue.advance(3);
        assert!(queue.is_empty());
        assert_eq!(queue.slices().count(), 0);
    }

    #[test]
    fn appending_keeps_heads_and_ends_that_have_no_bytes() {
        let mut far = OutQueue::default();
        far.begin(HttpHead::response(204, "", 0));
        far.end();
        let mut near = OutQueue::default();
        near.write_with(|out| out.extend(b"ab"));
        far.append(&mut near);
        assert!(matches!(far.pop(), Some(Piece::Begin(_))));
        assert!(matches!(far.pop(), Some(Piece::End)));
        assert_eq!((text(&far).as_str(), near.pop().is_none()), ("ab", true));
    }

    #[test]
    fn appending_keeps_the_order_even_of_a_half_sent_queue() {
        let mut far = OutQueue::default();
        far.write_with(|out| out.extend(b"ab"));
        let mut near = OutQueue::default();
        near.write_with(|out| out.extend(b"XXcd"));
        near.push_packet(packet(b"ef"));
        near.advance(2);
        far.append(&mut near);
        assert!(near.is_empty());
        assert_eq!((text(&far).as_str(), far.len()), ("abcdef", 6));
    }
}
