//! Finds the end of a head, byte by byte, so that it does not matter in which pieces it comes.

use crtmp_media::Limits;

use crate::Refusal;

/// Puts the head of a message together: everything up to the empty line.
///
/// Lines end with CR and LF. Neither may stand alone: what one reader takes for the end of a line and another does not
/// is how requests are smuggled. Empty lines before the head are skipped, and count as part of it.
#[derive(Debug, Default)]
pub struct HeadLines {
    bytes: Vec<u8>,
    /// Bytes so far, those of empty lines before the head included.
    size: usize,
    /// Whole lines so far, the first included.
    lines: usize,
    /// Whether the last byte was a CR.
    cr: bool,
    /// Whether nothing stands in the present line.
    at_line_start: bool,
}

/// A head that is complete: its lines, each with its end, and the empty line.
#[derive(Debug, PartialEq, Eq)]
pub struct WholeHead {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// How many header fields there are.
    pub fields: usize,
}

impl HeadLines {
    /// Takes bytes of the head; returns how many, and the head where it is complete.
    ///
    /// # Errors
    ///
    /// What is too large, and line ends that are none.
    pub fn read(&mut self, data: &[u8], limits: &Limits) -> Result<(usize, Option<WholeHead>), Refusal> {
        for (index, &byte) in data.iter().enumerate() {
            self.size += 1;
            if self.size > limits.http_head {
                return Err(self.too_large(limits));
            }
            match (self.cr, byte) {
                (true, b'\n') => {}
                (true, _) => return Err(Refusal::bad("a line of the head holds a CR without an LF")),
                (false, b'\n') => return Err(Refusal::bad("a line of the head ends without a CR")),
                (false, _) => {}
            }
            self.cr = byte == b'\r';
            if byte != b'\n' {
                if byte != b'\r' {
                    self.at_line_start = false;
                }
                self.bytes.push(byte);
                continue;
            }
            let empty = std::mem::replace(&mut self.at_line_start, true) || self.bytes.len() == 1;
            if self.lines == 0 && empty {
                self.bytes.clear();
                continue;
            }
            self.bytes.push(byte);
            if empty {
                let fields = self.lines - 1;
                let bytes = std::mem::take(self).bytes;
                return Ok((index + 1, Some(WholeHead { bytes, fields })));
            }
            self.lines += 1;
            if self.lines > limits.http_headers + 1 {
                let rule = format!("more than httpHeaders = {} header fields", limits.http_headers);
                return Err(Refusal::new(431, rule));
            }
        }
        Ok((data.len(), None))
    }

    fn too_large(&self, limits: &Limits) -> Refusal {
        let status = if self.lines == 0 { 414 } else { 431 };
        Refusal::new(status, format!("the head has more than httpHead = {} bytes", limits.http_head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8], limits: &Limits) -> Result<(usize, Option<WholeHead>), Refusal> {
        let whole = HeadLines::default().read(data, limits);
        let mut lines = HeadLines::default();
        let mut split = Ok((0, None));
        for (index, byte) in data.iter().enumerate() {
            match lines.read(&[*byte], limits) {
                Ok((_, None)) => split = Ok((index + 1, None)),
                Ok((_, head)) => {
                    split = Ok((index + 1, head));
                    break;
                }
                Err(refusal) => {
                    split = Err(refusal);
                    break;
                }
            }
        }
        assert_eq!(whole, split);
        whole
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let limits = Limits::default();
        let (used, head) = read(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody", &limits).unwrap();
        let head = head.unwrap();
        assert_eq!((used, head.fields), (27, 1));
        assert_eq!(head.bytes, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (used, head) = read(b"\r\n\r\nA\r\n\r\n", &limits).unwrap();
        assert_eq!((used, head.unwrap().bytes), (9, b"A\r\n\r\n".to_vec()));
        assert_eq!(read(b"A\r\nb: c\r\n", &limits).unwrap(), (9, None));
    }

    #[test]
    fn no_line_end_stands_alone() {
        for data in [&b"A\nb"[..], b"A\rb", b"A\r\r\n", b"\n", b"\rA", b"A\r\nb: c\n\r\n", b"A\r\n\n"] {
            assert_eq!(read(data, &Limits::default()).unwrap_err().status, 400, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn a_head_is_limited_in_bytes_and_fields() {
        let limits = Limits { http_head: 1024, http_headers: 8, ..Limits::default() };
        let head = |target: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(target - 18)).into_bytes();
        for size in [1023, 1024] {
            assert_eq!(read(&head(size), &limits).unwrap().0, size);
        }
        // What is too large has its status by where it is too large.
        assert_eq!(read(&head(1025), &limits).unwrap_err().status, 431);
        assert_eq!(read(&head(1100), &limits).unwrap_err().status, 414);
        assert_eq!(read(&b"\r\n".repeat(600), &limits).unwrap_err().status, 414);
        let fields = |count: usize| format!("A\r\n{}\r\n", "b: c\r\n".repeat(count)).into_bytes();
        for count in [0, 7, 8] {
            assert_eq!(read(&fields(count), &limits).unwrap().1.unwrap().fields, count);
        }
        assert_eq!(read(&fields(9), &limits).unwrap_err().status, 431);
    }
}
