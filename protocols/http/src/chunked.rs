//! Bodies in chunks (RFC 9112, 7.1).

use crtmp_media::Limits;

use crate::{Refusal, body::Found, request::body_too_large};

/// Digits of the size of a chunk.
const DIGITS: u32 = 16;

/// Takes chunks apart. Extensions and trailer fields are skipped; together they have no more than `httpHead` bytes.
#[derive(Debug, Default)]
pub struct ChunkedReader {
    state: State,
    /// Bytes of extensions and trailer fields so far.
    skipped: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Within the size of a chunk: what it is so far, and its digits.
    Size(u64, u32),
    /// Within the extension of a chunk of this size.
    Extension(u64),
    /// Before the LF after the size.
    SizeEnd(u64),
    /// So many bytes of the chunk are left, at least one.
    Data(u64),
    /// Before the CR after a chunk.
    DataCr,
    /// Before the LF after a chunk.
    DataLf,
    /// Within a line after the last chunk; whether it is empty so far.
    Trailer(bool),
    /// Before the LF of such a line; whether the line is empty.
    TrailerEnd(bool),
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size(0, 0)
    }
}

impl ChunkedReader {
    /// Whether the last chunk and what follows it have come.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Looks for the next bytes of the body, of which `allowed` may still come.
    ///
    /// # Errors
    ///
    /// What is not in chunks, and what is too large.
    pub fn read<'a>(
        &mut self,
        data: &'a [u8],
        allowed: &mut u64,
        limits: &Limits,
    ) -> Result<Found<'a>, Refusal> {
        for (index, &byte) in data.iter().enumerate() {
            if let State::Data(left) = self.state {
                let rest = &data[index..];
                let count = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - count as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                return Ok(Found { used: index + count, body: &rest[..count] });
            }
            if self.is_done() {
                return Ok(Found { used: index, body: &[] });
            }
            self.step(byte, allowed, limits)?;
        }
        Ok(Found { used: data.len(), body: &[] })
    }

    /// Takes a byte that is not of the body.
    fn step(&mut self, byte: u8, allowed: &mut u64, limits: &Limits) -> Result<(), Refusal> {
        let bad = |rule| Err(Refusal::bad(rule));
        self.state = match self.state {
            State::Size(size, digits) => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == DIGITS => {
                    return bad("the size of a chunk has more than 16 digits");
                }
                // 16 digits of 4 bits fit.
                (Some(digit), _) => State::Size(size << 4 | u64::from(digit), digits + 1),
                (None, b'\r') if digits > 0 => State::SizeEnd(size),
                (None, b';') if digits > 0 => State::Extension(size),
                _ => return bad("the size of a chunk is not a hexadecimal number"),
            },
            State::Extension(size) => {
                self.skip(byte, limits)?;
                if byte == b'\r' { State::SizeEnd(size) } else { State::Extension(size) }
            }
            State::SizeEnd(_) | State::DataLf | State::TrailerEnd(_) if byte != b'\n' => {
                return bad("a line between chunks holds a CR without an LF");
            }
            State::SizeEnd(0) => State::Trailer(true),
            State::SizeEnd(size) => {
                *allowed = allowed.checked_sub(size).ok_or_else(|| body_too_large(limits))?;
                State::Data(size)
            }
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataCr => return bad("a chunk is longer than it says"),
            State::DataLf => State::Size(0, 0),
            State::Trailer(empty) => {
                self.skip(byte, limits)?;
                if byte == b'\r' { State::TrailerEnd(empty) } else { State::Trailer(false) }
            }
            State::TrailerEnd(true) => State::Done,
            State::TrailerEnd(false) => State::Trailer(true),
            State::Data(_) | State::Done => return Err(Refusal::bad("a byte of the body was not taken")),
        };
        Ok(())
    }

    fn skip(&mut self, byte: u8, limits: &Limits) -> Result<(), Refusal> {
        if byte.is_ascii_control() && !matches!(byte, b'\r' | b'\t') {
            return Err(Refusal::bad("a line between chunks holds a control character"));
        }
        self.skipped += 1;
        if self.skipped > limits.http_head {
            let rule = format!("more than httpHead = {} bytes between chunks", limits.http_head);
            return Err(Refusal::bad(rule));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, how many bytes were used, and whether it is complete.
    type Outcome = Result<(Vec<u8>, usize, bool), Refusal>;

    fn read_in(data: &[u8], piece: usize, limits: &Limits) -> Outcome {
        let mut reader = ChunkedReader::default();
        let mut allowed = limits.http_body as u64;
        let (mut body, mut used) = (Vec::new(), 0);
        for mut piece in data.chunks(piece) {
            while !piece.is_empty() && !reader.is_done() {
                let found = reader.read(piece, &mut allowed, limits)?;
                body.extend_from_slice(found.body);
                used += found.used;
                piece = &piece[found.used..];
            }
        }
        Ok((body, used, reader.is_done()))
    }

    fn read(data: &[u8], limits: &Limits) -> Outcome {
        let whole = read_in(data, data.len().max(1), limits);
        for piece in [1, 2, 3, 7] {
            assert_eq!(whole, read_in(data, piece, limits), "{}", data.escape_ascii());
        }
        whole
    }

    #[test]
    fn chunks_become_a_body() {
        for (data, body) in [
            (&b"3\r\nabc\r\n0\r\n\r\n"[..], &b"abc"[..]),
            (b"0\r\n\r\n", b""),
            (b"000a;x=\"y\"\r\n0123456789\r\n1;\r\nA\r\n00\r\nx: y\r\nz: \r\n\r\n", b"0123456789A"),
        ] {
            let more = [data, b"GET"].concat();
            assert_eq!(read(&more, &Limits::default()).unwrap(), (body.to_vec(), data.len(), true));
            let cut = &data[..data.len() - 1];
            assert!(!read(cut, &Limits::default()).unwrap().2);
        }
    }

    #[test]
    fn what_is_not_in_chunks_is_refused() {
        for (data, status) in [
            (&b"ffffffffffffffff\r\n"[..], 413),
            (b"0ffffffffffffffff\r\n", 400),
            (b"-1\r\n", 400),
            (b"+1\r\n", 400),
            (b"0x10\r\n", 400),
            (b" 1\r\n", 400),
            (b"1 \r\n", 400),
            (b"\r\n", 400),
            (b";a\r\n", 400),
            (b"1\nA\r\n", 400),
            (b"1\rA", 400),
            (b"1\r\nAB", 400),
            (b"1\r\nA\n", 400),
            (b"1\r\nA\rB", 400),
            (b"1;a\nA", 400),
            (b"1;a\x00", 400),
            (b"0\r\n\n", 400),
            (b"0\r\na\n", 400),
            (b"0\r\n\rA", 400),
        ] {
            let refusal = read(data, &Limits::default()).unwrap_err();
            assert_eq!(refusal.status, status, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn bodies_and_what_is_between_chunks_are_limited() {
        let limits = Limits { http_body: 1024, http_head: 1024, ..Limits::default() };
        let chunks = |sizes: &[usize]| {
            let chunk = |&size: &usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
            (sizes.iter().map(chunk).collect::<String>() + "0\r\n\r\n").into_bytes()
        };
        assert_eq!(read(&chunks(&[1024]), &limits).unwrap().0.len(), 1024);
        assert_eq!(read(&chunks(&[1000, 24]), &limits).unwrap().0.len(), 1024);
        assert_eq!(read(&chunks(&[1000, 25]), &limits).unwrap_err().status, 413);
        assert_eq!(read(&chunks(&[1025]), &limits).unwrap_err().status, 413);
        // The CR of the line counts, and that of the line which ends the trailer.
        let extension = |size: usize| format!("0;{}\r\n\r\n", "a".repeat(size - 2)).into_bytes();
        assert!(read(&extension(1024), &limits).unwrap().2);
        assert_eq!(read(&extension(1025), &limits).unwrap_err().status, 400);
        let trailer = |size: usize| format!("0\r\n{}\r\n\r\n", "a".repeat(size - 2)).into_bytes();
        assert!(read(&trailer(1024), &limits).unwrap().2);
        assert_eq!(read(&trailer(1025), &limits).unwrap_err().status, 400);
    }
}
