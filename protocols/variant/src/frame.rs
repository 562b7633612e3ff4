//! Messages on a stream of bytes: four bytes for the length, big-endian, then the body.

use crtmp_media::Limits;

use crate::{VariantError, VariantErrorKind};

/// Bytes of the length before each message.
const LENGTH: usize = 4;

/// Puts messages together.
#[derive(Debug, Default)]
pub struct FrameReader {
    length: [u8; LENGTH],
    have: usize,
    body: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes up to the end of the message at most: how many, and the body of the message where it is whole.
    ///
    /// Memory follows what has come, not what was announced.
    ///
    /// # Errors
    ///
    /// If the message is announced to be larger than [`Limits::variant_size`].
    pub fn read(&mut self, data: &[u8], limits: &Limits) -> Result<(usize, Option<Vec<u8>>), VariantError> {
        let mut used = 0;
        for (byte, place) in data.iter().zip(self.length.iter_mut().skip(self.have)) {
            *place = *byte;
            used += 1;
        }
        self.have += used;
        if self.have < LENGTH {
            return Ok((used, None));
        }
        let length = u32::from_be_bytes(self.length) as usize;
        if length > limits.variant_size {
            return Err(VariantErrorKind::Size(limits.variant_size).at(0));
        }
        let rest = data.get(used..).unwrap_or_default();
        let missing = length.saturating_sub(self.body.len());
        let piece = rest.get(..missing).unwrap_or(rest);
        self.body.extend_from_slice(piece);
        used += piece.len();
        if self.body.len() < length {
            return Ok((used, None));
        }
        self.have = 0;
        Ok((used, Some(std::mem::take(&mut self.body))))
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.have > 0
    }
}

/// Appends a message. A body has room in [`Limits::variant_size`], so its length has in 32 bits.
pub fn write_frame(out: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pieces: &[&[u8]], limits: &Limits) -> Result<Vec<Vec<u8>>, VariantError> {
        let (mut reader, mut messages) = (FrameReader::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let (used, message) = reader.read(piece, limits)?;
                assert!(used > 0);
                piece = &piece[used..];
                assert_eq!(message.is_none(), reader.is_inside());
                messages.extend(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn the_split_changes_nothing() {
        let bodies = [b"abc".to_vec(), vec![], vec![7; 300], b"d".to_vec()];
        let mut stream = Vec::new();
        bodies.iter().for_each(|body| write_frame(&mut stream, body));
        let limits = Limits::default();
        assert_eq!(read_all(&[&stream], &limits).unwrap(), bodies);
        assert_eq!(read_all(&stream.chunks(1).collect::<Vec<_>>(), &limits).unwrap(), bodies);
        for at in 0..=stream.len() {
            let (first, second) = stream.split_at(at);
            assert_eq!(read_all(&[first, second], &limits).unwrap(), bodies, "{at}");
        }
    }

    #[test]
    fn lengths_are_limited_and_allocate_nothing() {
        let limits = crate::testing::small();
        let announced = |length: u32| FrameReader::default().read(&length.to_be_bytes(), &limits);
        assert_eq!(announced(1023), Ok((4, None)));
        assert_eq!(announced(1024), Ok((4, None)));
        for length in [1025, u32::MAX] {
            assert_eq!(announced(length).unwrap_err().kind, VariantErrorKind::Size(1024));
        }
        let mut reader = FrameReader::default();
        let large = Limits { variant_size: 64 << 20, ..limits };
        assert_eq!(reader.read(&[0x04, 0, 0, 0, 9], &large), Ok((5, None)));
        assert!(reader.body.capacity() < 64);
    }
}
