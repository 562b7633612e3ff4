//! Programs from PyPI that the tests speak with, in the versions of a committed list.

use std::fs;
use std::process::{Command, Stdio};

use crate::packages;
use crate::step::{Failure, root, step, target};

/// A copy of the list by which everything was installed: it comes last.
const DONE: &str = "installed.txt";
/// Where pip is from, if nothing else has brought it.
const PIP: (&str, &str) = ("python3-pip", "/usr/lib/python3/dist-packages/pip/__init__.py");

/// Installs into `target/pip` what `builders/pip` lists; does nothing where that has been done.
pub(crate) fn install() -> Result<(), Failure> {
    let (list, folder) = (root().join("builders/pip/requirements.txt"), target().join("pip"));
    let failure = |error| Failure(format!("cannot write into {}: {error}", folder.display()));
    let wanted =
        fs::read(&list).map_err(|error| Failure(format!("cannot read {}: {error}", list.display())))?;
    if fs::read(folder.join(DONE)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if !pip("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        packages::install(&[PIP])?;
    }
    // What an older list has brought would stay beside the new.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failure)?;
    }
    // Nothing of these packages needs to run to be installed, and none needs another.
    let mut command = pip("install --quiet --no-deps --only-binary :all: --target");
    command.arg(&folder).arg("--requirement").arg(&list);
    step("pip", &mut command)?;
    fs::write(folder.join(DONE), wanted).map_err(failure)
}

fn pip(arguments: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]).args(arguments.split_whitespace());
    command
}
