//! Rules of the house that no compiler knows: who may use whom, how long a file may be, where `unsafe` lives,
//! and that documents and configurations are true.
#![forbid(unsafe_code)]

mod catalogue;
mod configurations;
mod dependencies;
mod documents;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use crtmp_tests::root;

/// All files of the workspace with this extension, by their paths from its root.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                // Build results and hidden folders are nobody's source.
                if !name.starts_with("target") && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file of the workspace.
fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
