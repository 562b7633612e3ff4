//! A log file: lines are kept whole, old files are numbered, and the file can be opened anew under its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lines are collected up to this size before they are written.
const BUFFER: usize = 64 * 1024;

/// When a file is put aside, and how many of those are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// The size, in bytes, that the file does not exceed (unless one line does).
    pub(super) length: u64,
    /// How many old files are kept; at least 1.
    pub(super) history: u32,
}

/// A log file that is open.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// Bytes in the file.
    length: u64,
    /// Whole lines that are not yet in the file.
    buffer: Vec<u8>,
    /// How many those are.
    lines: u64,
}

impl LogFile {
    /// Opens the file, to go on at its end.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = append_to(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, rotation, length, buffer: Vec::new(), lines: 0 })
    }

    /// Adds a line with its end. Fails with the number of lines that were lost.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        let mut result = Ok(());
        if let Some(rotation) = self.rotation
            && self.length + (self.buffer.len() + line.len()) as u64 > rotation.length
            && self.length + self.buffer.len() as u64 > 0
        {
            result = self.flush().and_then(|()| self.rotate(rotation).map_err(Failure::harmless));
        }
        self.buffer.extend_from_slice(line);
        self.lines += 1;
        if self.buffer.len() >= BUFFER { result.and(self.flush()) } else { result }
    }

    /// Writes what is collected.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all(&self.buffer);
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        let lines = std::mem::take(&mut self.lines);
        result.map_err(|error| Failure { error, lost: lines })
    }

    /// Opens the file under its name again; if that fails, goes on with the one that is open.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        let file = append_to(&self.path).map_err(Failure::harmless)?;
        self.length = file.metadata().map_or(0, |metadata| metadata.len());
        self.file = file;
        flushed
    }

    /// Moves the file to `.1`, `.1` to `.2` and so on, and begins anew. If that fails, the file grows on, and the
    /// next try comes when it has grown as much again.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        self.length = 0;
        for number in (1..rotation.history).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.file = append_to(&self.path)?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Why a log file could not do what it should.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the system said.
    pub(super) error: io::Error,
    /// How many lines are lost by it.
    pub(super) lost: u64,
}

impl Failure {
    fn harmless(error: io::Error) -> Self {
        Self { error, lost: 0 }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn old_files_are_numbered_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "old\n").unwrap();
        let mut file = LogFile::open(&path, Some(Rotation { length: 8, history: 2 })).unwrap();
        for line in ["one\n", "two\n", "three\n", "a line that is too long\n", "four\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
        assert_eq!(text(&path), "four\n");
        assert_eq!(text(&folder.path().join("a.log.1")), "a line that is too long\n");
        assert_eq!(text(&folder.path().join("a.log.2")), "three\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_renamed_file_is_left_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a.log"), folder.path().join("a.log.old"));
        let mut file = LogFile::open(&path, None).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write(b"two\n").unwrap();
        file.reopen().unwrap();
        file.write(b"three\n").unwrap();
        file.flush().unwrap();
        assert_eq!(text(&moved), "one\ntwo\n");
        assert_eq!(text(&path), "three\n");
    }

    #[test]
    fn a_file_whose_folder_is_gone_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let mut file = LogFile::open(&inner.join("a.log"), Some(Rotation { length: 8, history: 1 })).unwrap();
        fs::rename(&inner, folder.path().join("moved")).unwrap();
        file.write(b"one two\n").unwrap();
        assert_eq!(file.write(b"three\n").unwrap_err().lost, 0);
        assert_eq!(file.reopen().unwrap_err().lost, 0);
        file.flush().unwrap();
        assert_eq!(text(&folder.path().join("moved/a.log")), "one two\nthree\n");
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_how_many() {
        let Ok(mut file) = LogFile::open(Path::new("/dev/full"), None) else { return };
        file.write(b"one\n").unwrap();
        file.write(b"two\n").unwrap();
        assert_eq!(file.flush().unwrap_err().lost, 2);
        file.flush().unwrap();
    }
}
