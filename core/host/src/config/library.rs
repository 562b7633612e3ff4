//! Where the library of an application is looked for.

use std::path::{Path, PathBuf};

use super::{Application, Applications, ConfigError, quoted};

/// The files that may be the library of `application`, in the order in which they are tried: the key
/// `library` alone if it is given, else `<appDir>/lib<name>.so` (`<rootDirectory>/<name>/lib<name>.so` without
/// `appDir`), and last `lib<name>.so` beside the program, in `program_folder`.
pub fn library_candidates(
    applications: &Applications,
    application: &Application,
    program_folder: Option<&Path>,
) -> Vec<PathBuf> {
    if let Some(library) = &application.library {
        // A name without an extension is that of a library which comes with the server: `library = "vmapp"`.
        let named = library.file_name().filter(|_| library.extension().is_none()).map(|name| {
            let name = name.to_string_lossy();
            format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
        });
        let beside = named.zip(program_folder).map(|(file, folder)| folder.join(file));
        return std::iter::once(library.clone()).chain(beside).collect();
    }
    let file =
        format!("{}{}{}", std::env::consts::DLL_PREFIX, application.name, std::env::consts::DLL_SUFFIX);
    let folder =
        application.app_dir.clone().unwrap_or_else(|| applications.root_directory.join(&application.name));
    let mut candidates = vec![folder.join(&file)];
    candidates.extend(program_folder.map(|folder| folder.join(&file)));
    candidates
}

/// The library of the application with this index (from 0): the first candidate that is a file.
///
/// # Errors
///
/// None is; the error lists the files that were tried.
pub fn find_library(
    applications: &Applications,
    index: usize,
    program_folder: Option<&Path>,
) -> Result<PathBuf, Box<ConfigError>> {
    let application = &applications.list[index];
    let candidates = library_candidates(applications, application, program_folder);
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Ok(found.clone());
    }
    let tried: Vec<_> = candidates.iter().map(|path| quoted(&path.to_string_lossy())).collect();
    let path = format!("configuration.applications[{}]", index + 1);
    Err(Box::new(if application.library.is_some() {
        ConfigError::new(format!("{path}.library"), tried.join(", "), "a file that exists")
            .suggest("a relative path starts at the folder in which the server was started")
    } else {
        ConfigError::new(
            path,
            format!("no library for the application {}", quoted(&application.name)),
            format!("one of {}", tried.join(", ")),
        )
        .suggest("build it, or name its file with `library`")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applications(library: Option<&str>, app_dir: Option<&str>) -> Applications {
        let application = Application {
            name: "live".into(),
            library: library.map(Into::into),
            app_dir: app_dir.map(Into::into),
            ..Application::default()
        };
        Applications { root_directory: "apps".into(), list: vec![application] }
    }

    #[test]
    fn the_key_library_excludes_every_other_place() {
        let applications = applications(Some("x/my.so"), Some("dir"));
        let found = library_candidates(&applications, &applications.list[0], Some(Path::new("/bin")));
        assert_eq!(found, [PathBuf::from("x/my.so")]);
    }

    #[test]
    fn the_folder_of_the_application_comes_before_that_of_the_program() {
        let file = format!("{}live{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        for (app_dir, first) in [(None, "apps/live"), (Some("dir"), "dir")] {
            let applications = applications(None, app_dir);
            let found = library_candidates(&applications, &applications.list[0], Some(Path::new("/bin")));
            assert_eq!(found, [Path::new(first).join(&file), Path::new("/bin").join(&file)]);
        }
    }

    #[test]
    fn a_missing_library_lists_what_was_tried() {
        let error = find_library(&applications(None, None), 0, Some(Path::new("/nowhere"))).unwrap_err();
        assert_eq!(error.path, "configuration.applications[1]");
        assert!(error.expected.contains("apps/live/") && error.expected.contains("/nowhere/"), "{error}");
        let error = find_library(&applications(Some("gone.so"), None), 0, None).unwrap_err();
        assert_eq!(error.path, "configuration.applications[1].library");

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("there.so");
        std::fs::write(&file, "").unwrap();
        let found = find_library(&applications(file.to_str(), None), 0, None).unwrap();
        assert_eq!(found, file);
    }
}
