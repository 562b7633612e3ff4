//! The programs that may be launched, as the files that they are.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::config::{ConfigError, quoted};

/// The programs that may be launched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    /// The path as the configuration spells it: programs that are many in one file go by it.
    name: PathBuf,
    /// The file, without symbolic links.
    file: PathBuf,
}

impl Allowed {
    /// Looks whether the programs are there.
    ///
    /// # Errors
    ///
    /// Every one that is not there, or is no file that can be run.
    pub(crate) fn read(programs: &[PathBuf]) -> Result<Self, Vec<ConfigError>> {
        let mut entries = Vec::new();
        let mut errors = Vec::new();
        for (index, name) in programs.iter().enumerate() {
            match resolve(name) {
                Ok(file) => entries.push(Entry { name: name.clone(), file }),
                Err(why) => {
                    let path = format!("configuration.processes.allow[{}]", index + 1);
                    let found = format!("{}: {why}", quoted(&name.to_string_lossy()));
                    errors.push(ConfigError::new(path, found, "a program that can be run"));
                }
            }
        }
        if errors.is_empty() { Ok(Self(entries)) } else { Err(errors) }
    }

    /// The file of a program, if it may be launched and still is the file that it was when the configuration was
    /// read.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) fn file(&self, program: &Path) -> Result<&Path, String> {
        let shown = quoted(&program.to_string_lossy());
        if self.0.is_empty() {
            return Err(format!(
                "{shown} may not be launched: the configuration allows no program; list it in `processes.allow`"
            ));
        }
        let Some(Entry { name, file }) =
            self.0.iter().find(|entry| entry.name.as_os_str() == program.as_os_str())
        else {
            return Err(format!(
                "{shown} may not be launched: it is not listed, letter by letter, in `processes.allow`"
            ));
        };
        match resolve(name) {
            Ok(now) if now == *file => Ok(file),
            Ok(_) => Err(format!(
                "{shown} leads to another file than when the configuration was read; reload it if that is right"
            )),
            Err(why) => Err(format!("{shown} cannot be launched: {why}")),
        }
    }
}

/// The file behind a path, if it is one that can be run.
fn resolve(path: &Path) -> Result<PathBuf, String> {
    let file = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let status = fs::metadata(&file).map_err(|error| error.to_string())?;
    if !status.is_file() {
        return Err("it is no file".to_owned());
    }
    if status.permissions().mode() & 0o111 == 0 {
        return Err("nobody may execute it (chmod +x)".to_owned());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_listed_letter_by_letter_may_run() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("echo");
        symlink("/bin/echo", &link).unwrap();
        let allowed = Allowed::read(std::slice::from_ref(&link)).unwrap();
        assert_eq!(allowed.file(&link).unwrap(), fs::canonicalize("/bin/echo").unwrap());
        let spelt = |text: &str| folder.path().join(text);
        for other in [spelt("../echo"), spelt("./echo"), spelt("echo/"), "/bin/echo".into(), "echo".into()] {
            let why = allowed.file(&other).unwrap_err();
            assert!(why.contains("not listed, letter by letter, in `processes.allow`"), "{why}");
        }

        fs::remove_file(&link).unwrap();
        assert!(allowed.file(&link).unwrap_err().contains("cannot be launched: No such file"));
        symlink("/bin/sh", &link).unwrap();
        assert!(allowed.file(&link).unwrap_err().contains("leads to another file"));
        assert!(Allowed::default().file(&link).unwrap_err().contains("the configuration allows no program"));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        let programs = ["/bin/sh".into(), plain, folder.path().into(), folder.path().join("none")];
        let errors = Allowed::read(&programs).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 3);
        for (error, (index, why)) in errors.iter().zip([(2, "chmod +x"), (3, "no file"), (4, "No such file")])
        {
            assert!(error.starts_with(&format!("configuration.processes.allow[{index}]: ")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
