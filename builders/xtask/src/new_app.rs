//! A new application from a template of `builders/templates`: a project of its own, outside of this tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Failure, root};

/// Letters of a name; it becomes part of file names and of a command's name.
const NAME_LENGTH: usize = 32;

const USAGE: &str = "cargo xtask new-app NAME [DIR] [--c | --lua] [--sdk PATH]";

/// What an application in C takes of the plugin kit.
const HEADER: &str = "include/crtmp_plugin.h";

/// What one in Rust is built with, from the folder of the plugin kit: its crates, and the manifest above them that
/// says their versions and dependencies.
const KIT: [&str; 3] = ["Cargo.toml", "../media/Cargo.toml", "../../Cargo.toml"];

/// A file of a template, and what it is called in the project.
type File = (&'static str, &'static str);

struct Template {
    folder: &'static str,
    files: &'static [File],
    /// How the library is made and tested.
    build: &'static str,
    test: &'static str,
    /// The keys of the configuration block behind its name.
    keys: &'static str,
}

const RUST: Template = Template {
    folder: "rust",
    files: &[
        ("Cargo.toml.in", "Cargo.toml"),
        ("src/lib.rs.in", "src/lib.rs"),
        ("README.md.in", "README.md"),
        ("gitignore.in", ".gitignore"),
    ],
    build: "cargo build --release",
    test: "cargo test",
    keys: "library = \"{{folder}}/target/release/lib{{name}}.so\",",
};

const C: Template = Template {
    folder: "c",
    files: &[
        ("plugin.c.in", "plugin.c"),
        ("fake_host.h.in", "fake_host.h"),
        ("test.c.in", "test.c"),
        ("Makefile.in", "Makefile"),
        ("README.md.in", "README.md"),
    ],
    build: "make",
    test: "make test",
    keys: "library = \"{{folder}}/lib{{name}}.so\",",
};

const LUA: Template = Template {
    folder: "lua",
    files: &[("name.lua.in", "{{name}}.lua"), ("README.md.in", "README.md")],
    build: "",
    test: "crtmpserver --test-app {{name}}.lua",
    keys: "library = \"vmapp\",\n  script = \"{{folder}}/{{name}}.lua\",",
};

/// Makes the project and prints what to do with it.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let order = Order::read(arguments)?;
    let template = &order.template;
    if order.folder.exists() {
        return Err(Failure(format!("{} is there already; name another folder", order.folder.display())));
    }
    for (from, to) in template.files {
        let text = read(&root().join("builders/templates").join(template.folder).join(from))?;
        write(&order.folder.join(order.fill(to)), &order.fill(&text))?;
    }
    if template.folder == "c" {
        write(&order.folder.join("crtmp_plugin.h"), &read(&order.sdk.join(HEADER))?)?;
    }
    println!("{} is made. In it:\n", order.folder.display());
    for command in [template.test, template.build].iter().filter(|command| !command.is_empty()) {
        println!("  {}", order.fill(command));
    }
    println!("\nInto `applications` of the server's configuration:\n");
    println!("{{\n  name = \"{}\",\n  {}\n}},", order.name, order.fill(template.keys));
    Ok(())
}

struct Order {
    name: String,
    folder: PathBuf,
    template: Template,
    sdk: PathBuf,
}

impl Order {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let wrong = |what: String| Failure(format!("{what}\nUsage: {USAGE}"));
        let (mut words, mut template, mut sdk) = (Vec::new(), RUST, root().join("core/plugin"));
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--c" => template = C,
                "--lua" => template = LUA,
                "--sdk" => {
                    sdk = rest.next().ok_or_else(|| wrong("--sdk needs a folder".to_owned()))?.into();
                }
                option if option.starts_with('-') => {
                    return Err(wrong(format!("no option is called {option}")));
                }
                word => words.push(word),
            }
        }
        // Beside this tree, where nothing is said: in it, it would be no project of its own.
        let beside = root().parent().unwrap_or(root());
        let (name, folder) = match words[..] {
            [name] => (name, beside.join(name)),
            [name, folder] => (name, folder.into()),
            _ => return Err(wrong("a new application needs a name".to_owned())),
        };
        if !is_name(name) {
            return Err(wrong(format!(
                "`{name}` is no name: lower-case letters, digits and `_`, a letter first, at most {NAME_LENGTH}"
            )));
        }
        let full = |path: &Path| {
            std::path::absolute(path).map_err(|error| Failure(format!("{}: {error}", path.display())))
        };
        let sdk = kit(&full(&sdk)?, template.folder == "rust")?;
        Ok(Self { name: name.to_owned(), folder: full(&folder)?, template, sdk })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", &self.name)
            .replace("{{folder}}", &self.folder.to_string_lossy())
            .replace("{{sdk}}", &self.sdk.to_string_lossy())
    }
}

/// The folder of the plugin kit, where `path` is that folder or the tree that has it as `core/plugin`; with all that
/// is needed there, for an application in Rust or another one.
fn kit(path: &Path, rust: bool) -> Result<PathBuf, Failure> {
    let below = path.join("core/plugin");
    let kit = if below.is_dir() { below } else { path.to_owned() };
    if !kit.join(HEADER).is_file() {
        return Err(Failure(format!("--sdk: {} is not the plugin kit: it has no {HEADER}", kit.display())));
    }
    let missing = KIT.iter().find(|file| rust && !kit.join(file).is_file());
    if let Some(file) = missing {
        return Err(Failure(format!(
            "--sdk: {} is missing beside the plugin kit: an application in Rust needs a checkout, or of one the files \
             Cargo.toml, core/plugin and core/media, at these places",
            kit.join(file).display()
        )));
    }
    Ok(kit)
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_LENGTH
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, text))
        .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kit_is_found_by_its_folder_and_by_its_tree() {
        let plugin = root().join("core/plugin");
        for path in [root(), &plugin] {
            assert_eq!(kit(path, true).ok(), Some(plugin.clone()));
            assert_eq!(kit(path, false).ok(), Some(plugin.clone()));
        }
        let refused = |path: &Path, rust| kit(path, rust).err().map(|error| error.0).unwrap_or_default();
        assert!(refused(&root().join("core"), false).contains("it has no include/crtmp_plugin.h"));
        let alone = std::env::temp_dir().join(format!("crtmp-kit-alone-{}", std::process::id()));
        write(&alone.join("plugin").join(HEADER), "").expect("a temporary folder");
        write(&alone.join("plugin/Cargo.toml"), "").expect("a temporary folder");
        let (error, header) = (refused(&alone.join("plugin"), true), kit(&alone.join("plugin"), false));
        fs::remove_dir_all(&alone).expect("a temporary folder");
        assert!(error.contains("../media/Cargo.toml is missing"), "{error}");
        assert_eq!(header.ok(), Some(alone.join("plugin")));
    }

    #[test]
    fn names_fit_into_file_names_and_commands() {
        let longest = "a".repeat(NAME_LENGTH);
        for name in ["a", "limit", "my_app2", &longest] {
            assert!(is_name(name), "{name}");
        }
        let longer = "a".repeat(NAME_LENGTH + 1);
        for name in ["", "2a", "A", "a-b", "a/b", "..", "ä", &longer] {
            assert!(!is_name(name), "{name}");
        }
    }
}
