//! The files of a script: text of a bounded size, inside one folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file of a script, in bytes. Lua compares each label of a function with all others before it, so that a
/// larger one could be made to take long.
pub(super) const FILE_SIZE: u64 = 256 * 1024;

/// The longest name of a module, in bytes.
const NAME_SIZE: usize = 200;

/// The file of `require(name)`: its path from the folder, and its place.
pub(super) fn module(folder: &Path, name: &str) -> Result<(String, PathBuf), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let good = |part: &str| !part.is_empty() && part.bytes().all(plain);
    if name.len() > NAME_SIZE || !name.split('.').all(good) {
        return Err("a module is named by letters, digits, `_` and `-`, with a dot for each folder".into());
    }
    let shown = format!("{}.lua", name.replace('.', "/"));
    let path =
        folder.join(&shown).canonicalize().map_err(|error| format!("{shown} cannot be read ({error})"))?;
    if !path.starts_with(folder) {
        return Err(format!("{shown} leads out of the folder of the script"));
    }
    Ok((shown, path))
}

/// The text of a script's file, or why there is none.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("cannot be read ({error})");
    // Opening a pipe would wait for somebody who writes.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is no regular file".into());
    }
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_SIZE + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_SIZE {
        return Err(format!("is longer than {FILE_SIZE} bytes; split it and use `require`"));
    }
    if text.first() == Some(&0x1b) {
        return Err("is compiled Lua; give the text that it was compiled from".into());
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    // A first line for the shell is a comment, as the Lua interpreter itself has it.
    if text.first() == Some(&b'#') {
        text.splice(..0, *b"--");
    }
    Ok(text)
}
