//! What a process writes: its end is kept, its lines go to the log. However much it writes, nobody waits for it.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use slog::Logger;

use crate::secrets::mask_text;

/// Bytes of output that are kept of each process.
const RING: usize = 64 * 1024;

/// Lines that are shown of it.
const LINES: usize = 10;

/// Bytes of a line that are shown or logged.
const LINE: usize = 1024;

/// Lines that are logged of one process within [`WINDOW`].
const LOGGED: usize = 100;

const WINDOW: Duration = Duration::from_secs(1);

/// The output of a process, over all its runs.
#[derive(Debug)]
pub(super) struct Output {
    shared: Arc<Shared>,
    /// Each run gets a copy of it. It is one pipe for all of them, so that what a run leaves behind and still writes
    /// costs no thread.
    writer: PipeWriter,
}

#[derive(Debug, Default)]
struct Shared {
    ring: Mutex<VecDeque<u8>>,
    ended: AtomicBool,
}

impl Output {
    /// Begins to read.
    pub(super) fn start(log: Logger) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        thread::Builder::new().name("process-output".to_owned()).spawn(move || theirs.read(reader, &log))?;
        Ok(Self { shared, writer })
    }

    /// Where a run writes to.
    pub(super) fn writer(&self) -> io::Result<PipeWriter> {
        self.writer.try_clone()
    }

    /// The last lines.
    pub(super) fn last_lines(&self) -> Vec<String> {
        last_lines(self.shared.ring().make_contiguous())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the reader, who ends even if something that a run has left behind could still write.
        let _ = self.writer.write(b"\n");
    }
}

impl Shared {
    fn read(&self, mut reader: PipeReader, log: &Logger) {
        let mut lines = Lines::new(Instant::now());
        let mut buffer = [0; 8192];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            keep(&mut self.ring(), bytes);
            lines.take(bytes, Instant::now(), |line| slog::debug!(log, "{}", mask_text(line)));
        }
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds bytes to a ring of [`RING`] bytes.
fn keep(ring: &mut VecDeque<u8>, bytes: &[u8]) {
    let bytes = bytes.get(bytes.len().saturating_sub(RING)..).unwrap_or_default();
    let over = (ring.len() + bytes.len()).saturating_sub(RING);
    ring.drain(..over);
    ring.extend(bytes);
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = bytes.rsplit(|byte| *byte == b'\n').take(LINES).map(shown).collect();
    lines.reverse();
    lines
}

/// The text of a line, of which no more than [`LINE`] bytes count.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line.get(..LINE).unwrap_or(line)).into_owned()
}

/// Puts lines together for the log, no longer than [`LINE`] and no more than [`LOGGED`] in a [`WINDOW`].
struct Lines {
    begun: Vec<u8>,
    window: Instant,
    logged: usize,
    dropped: usize,
}

impl Lines {
    fn new(now: Instant) -> Self {
        Self { begun: Vec::new(), window: now, logged: 0, dropped: 0 }
    }

    fn take(&mut self, bytes: &[u8], now: Instant, mut log: impl FnMut(&str)) {
        if now.saturating_duration_since(self.window) >= WINDOW {
            if self.dropped > 0 {
                log(&format!("({} lines of its output were not logged)", self.dropped));
            }
            (self.window, self.logged, self.dropped) = (now, 0, 0);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(text.get(..room).unwrap_or(text));
            if !whole {
                continue;
            }
            if self.logged < LOGGED {
                self.logged += 1;
                log(&shown(&self.begun));
            } else {
                self.dropped += 1;
            }
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_64_kib() {
        for (first, second, kept) in
            [(RING - 2, 1, RING - 1), (RING - 1, 1, RING), (RING - 1, 2, RING), (5, RING + 7, RING)]
        {
            let mut ring = VecDeque::new();
            keep(&mut ring, &vec![b'a'; first]);
            keep(&mut ring, &vec![b'b'; second]);
            assert_eq!(ring.len(), kept);
            assert_eq!(ring.iter().filter(|byte| **byte == b'b').count(), second.min(RING));
        }
    }

    #[test]
    fn the_reader_ends_even_if_somebody_could_still_write() {
        let output = Output::start(Logger::root(slog::Discard, slog::o!())).unwrap();
        let mut left = output.writer().unwrap();
        drop(output);
        let until = Instant::now() + Duration::from_secs(20);
        while left.write(b"x").is_ok() {
            assert!(Instant::now() < until, "somebody still reads");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_last_lines_are_shown_and_long_ones_cut() {
        let text: String = (0..15).map(|number| format!("line {number}\r\n")).collect();
        let lines = last_lines(text.as_bytes());
        assert_eq!((lines.len(), lines[0].as_str(), lines[9].as_str()), (10, "line 5", "line 14"));
        assert_eq!(last_lines(b""), Vec::<String>::new());
        assert_eq!(last_lines(b"\xff begun"), ["\u{fffd} begun"]);
        for (length, shown) in [(LINE - 1, LINE - 1), (LINE, LINE), (LINE + 1, LINE)] {
            assert_eq!(last_lines(&vec![b'x'; length])[0].len(), shown);
        }
    }

    #[test]
    fn a_flood_of_lines_is_counted_instead_of_logged() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        let mut logged = Vec::new();
        let mut take = |text: &[u8], at| lines.take(text, at, |line| logged.push(line.to_owned()));
        take(b"one\ntw", now);
        take(b"o\n", now);
        take(&b"x\n".repeat(LOGGED), now);
        take(&[b'y'; 10 * LINE], now + WINDOW);
        take(b"\n", now + WINDOW);
        assert_eq!(logged.len(), LOGGED + 2);
        assert_eq!(&logged[..3], ["one", "two", "x"]);
        assert_eq!(logged[LOGGED], "(2 lines of its output were not logged)");
        assert_eq!(logged[LOGGED + 1].len(), LINE);
    }
}
