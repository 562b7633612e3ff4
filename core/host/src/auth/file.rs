//! A users file: read at the start, and again when it has changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

/// Reads a users file: the values that it gives `users` and `realms`. The text says what is wrong with it, and holds no
/// password.
pub type ReadUsers = Arc<dyn Fn(&Path) -> Result<Value, String> + Send + Sync>;

/// Whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    written: (i64, i64),
    changed: (i64, i64),
}

/// A users file.
#[derive(Clone)]
pub(super) struct UsersFile {
    path: PathBuf,
    read: ReadUsers,
}

impl UsersFile {
    pub(super) fn new(path: &Path, read: ReadUsers) -> Self {
        Self { path: path.to_owned(), read }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        let meta = fs::metadata(&self.path)?;
        Ok(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// What it holds. The stamp is that of before: what is written meanwhile is noticed the next time.
    pub(super) fn read(&self) -> (Option<Stamp>, Result<Value, String>) {
        let stamp = self.stamp().ok();
        (stamp, (self.read)(&self.path))
    }
}
