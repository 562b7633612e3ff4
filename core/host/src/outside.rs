//! What layers may look at while they prepare: files, and the authorities that the system trusts.

use std::{fs::File, io::Read, path::Path};

use crtmp_media::Outside;

/// Bytes of a file that a layer reads: certificates, keys.
const FILE: u64 = 1024 * 1024;

/// Runs `run` with the world as it is; relative names start at `folder`.
pub(crate) fn with_outside<T>(folder: &Path, run: impl FnOnce(&Outside<'_>) -> T) -> T {
    let read = |name: &str| read(&folder.join(name)).map_err(|error| error.to_string());
    run(&Outside { read: &read, roots: &roots })
}

/// What is no ordinary file might keep the server waiting.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no ordinary file"));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells whether there is more.
    File::open(path)?.take(FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE {
        return Err(std::io::Error::other("it has more than 1 MiB"));
    }
    Ok(bytes)
}

fn roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|certificate| certificate.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_bound_and_are_ordinary() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| with_outside(folder.path(), |outside| (outside.read)(name));
        for (size, good) in [(FILE - 1, true), (FILE, true), (FILE + 1, false)] {
            std::fs::write(folder.path().join("a.pem"), vec![b'a'; size as usize]).unwrap();
            assert_eq!(read("a.pem").is_ok(), good, "{size}");
        }
        assert!(read(".").unwrap_err().contains("no ordinary file"));
        assert!(read("missing").is_err());
        assert!(read(folder.path().join("missing").to_str().unwrap()).is_err());
    }
}
