//! Programs from npm that the tests speak with, in the versions of a committed lock file.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::packages;
use crate::step::{Failure, on_path, root, step, target};

/// What npm wants to see in the folder in which it installs.
const FILES: [&str; 3] = ["package.json", LOCK, ".npmrc"];
const LOCK: &str = "package-lock.json";
/// A copy of the lock file by which everything was installed: it comes last.
const DONE: &str = "installed.json";
/// Where npm is from, if nothing else has brought it.
const NPM: (&str, &str) = ("npm", "/usr/bin/npm");

/// Installs into `target/npm` what `builders/npm` says; does nothing where that has been done.
pub(crate) fn install() -> Result<(), Failure> {
    let source = root().join("builders/npm");
    let folder = target().join("npm");
    if same(&source.join(LOCK), &folder.join(DONE)) {
        return Ok(());
    }
    if !on_path("npm") {
        packages::install(&[NPM])?;
    }
    let failure = |error| Failure(format!("cannot write into {}: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(failure)?;
    for name in FILES {
        fs::copy(source.join(name), folder.join(name)).map_err(failure)?;
    }
    // Nothing of these packages needs to run to be installed.
    let mut command = Command::new("npm");
    command.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder);
    step("npm", &mut command)?;
    fs::copy(source.join(LOCK), folder.join(DONE)).map_err(failure)?;
    Ok(())
}

/// Whether both files are there and hold the same.
fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}
