//! Bytes cut into lines.

/// What ended a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// A line feed, with or without a carriage return before it.
    Newline,
    /// It became longer than the limit; there is no sense in reading on.
    TooLong,
}

/// Puts lines together from whatever pieces the network makes of them; keeps one unfinished line.
#[derive(Debug)]
pub struct LineReader {
    bytes: Vec<u8>,
    limit: usize,
}

impl LineReader {
    /// A reader of lines of at most `limit` bytes, not counting what ends them.
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// Takes bytes up to the end of the line; returns how many, and what ended it. Afterwards [`take`](Self::take)
    /// the line.
    pub fn read(&mut self, data: &[u8]) -> (usize, Option<LineEnd>) {
        // One byte more may be the carriage return before the line feed, and one the line feed.
        let room = self.limit.saturating_add(2).saturating_sub(self.bytes.len());
        let piece = data.get(..room).unwrap_or(data);
        match piece.iter().position(|&byte| byte == b'\n') {
            Some(at) => {
                self.bytes.extend_from_slice(&piece[..at]);
                if self.bytes.last() == Some(&b'\r') {
                    self.bytes.pop();
                }
                let fits = self.bytes.len() <= self.limit;
                (at + 1, Some(if fits { LineEnd::Newline } else { LineEnd::TooLong }))
            }
            None => {
                self.bytes.extend_from_slice(piece);
                let returned = self.bytes.last() == Some(&b'\r');
                let fits = self.bytes.len() <= self.limit + usize::from(returned);
                (piece.len(), (!fits).then_some(LineEnd::TooLong))
            }
        }
    }

    /// What has come of the line, up to the limit.
    pub fn so_far(&self) -> &[u8] {
        self.bytes.get(..self.limit).unwrap_or(&self.bytes)
    }

    /// Takes the line and begins the next.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<String> {
        let mut reader = LineReader::new(limit);
        let mut lines = Vec::new();
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let (used, end) = reader.read(piece);
                piece = &piece[used..];
                match end {
                    Some(LineEnd::Newline) => {
                        lines.push(String::from_utf8_lossy(&reader.take()).into_owned())
                    }
                    Some(LineEnd::TooLong) => {
                        lines.push(format!("too long after {}", String::from_utf8_lossy(reader.so_far())));
                        return lines;
                    }
                    None => {}
                }
            }
        }
        lines
    }

    #[test]
    fn lines_end_and_are_bounded_however_they_are_cut() {
        for (bytes, expected) in [
            (&b"a\nbc\r\n\n\r\nd"[..], &["a", "bc", "", ""][..]),
            (b"12345678\n", &["12345678"]),
            (b"12345678\r\n", &["12345678"]),
            (b"a\rb\n", &["a\rb"]),
            (b"1234567\r\r\n", &["1234567\r"]),
            (b"123456789\n", &["too long after 12345678"]),
            (b"123456789", &["too long after 12345678"]),
            (b"12345678\r9\n", &["too long after 12345678"]),
            (b"12345678\r\r\n", &["too long after 12345678"]),
        ] {
            assert_eq!(lines(&[bytes], 8), expected);
            assert_eq!(lines(&bytes.chunks(1).collect::<Vec<_>>(), 8), expected);
            for at in 0..bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(lines(&[first, second], 8), expected, "{at}");
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_limit() {
        let mut reader = LineReader::new(8);
        assert_eq!(reader.read(&[b'x'; 1000]), (10, Some(LineEnd::TooLong)));
        assert_eq!(reader.so_far().len(), 8);
    }
}
