//! The C header of the plugin kit, made from the Rust definitions in `core/plugin/src/abi`.
//!
//! Types get the prefix `crtmp_`, constants `CRTMP_`. What the definitions cannot say, macros and inline functions, is
//! written by hand in `helpers.h` beside them and becomes the header's end.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

use crate::step::{Failure, root};

/// Where the definitions are, in the order in which the header has them.
const SOURCES: [&str; 4] = ["mod.rs", "host.rs", "app.rs", "layer.rs"];

const ABOUT: &str = "/* The plugin ABI of crtmpserver 1.0 for C and C++. docs/plugins.md says how to use it.
 *
 * It is for systems with pointers of 64 bits.
 *
 * A later server may send numbers that are not listed here. A plugin passes over an unknown order or state with
 * CRTMP_OK; it takes an unknown role for CRTMP_ROLE_SIDE, an unknown kind of frame for CRTMP_FRAME_DATA, an unknown
 * reason for CRTMP_ENDED_BY_SERVER, and an unknown result for an error.
 *
 * Made from core/plugin/src/abi by `cargo xtask header`. Not to be edited here. */";

/// Writes the header, or with `--check` compares what is there.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        _ => return Err(Failure("it takes no argument but --check".into())),
    };
    let header = make()?;
    let file = root().join("core/plugin/include/crtmp_plugin.h");
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == header {
        return Ok(());
    }
    if check {
        let line =
            found.lines().zip(header.lines()).take_while(|(found, wanted)| found == wanted).count() + 1;
        return Err(Failure(format!(
            "{} is not what core/plugin/src/abi says, from line {line} on: `cargo xtask header` writes it. \
             Before that see \"The frozen ABI\" in docs/plugins.md",
            file.display()
        )));
    }
    fs::write(&file, header).map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))
}

fn make() -> Result<String, Failure> {
    let folder = root().join("core/plugin/src/abi");
    let read = |file: PathBuf| {
        fs::read_to_string(&file).map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))
    };
    let mut names = Names::default();
    for source in SOURCES {
        names.collect(&read(folder.join(source))?);
    }
    let mut builder = Builder::new().with_config(config(&names));
    for source in SOURCES {
        builder = builder.with_src(folder.join(source));
    }
    let bindings = builder.generate().map_err(|error| Failure(format!("cbindgen: {error}")))?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = String::from_utf8(header).map_err(|error| Failure(format!("cbindgen: {error}")))?;
    let tables: String = header.lines().map(|line| names.line(line) + "\n").collect();
    let helpers = read(folder.join("helpers.h"))?;
    Ok(format!(
        "{ABOUT}\n\n#ifndef CRTMP_PLUGIN_H\n#define CRTMP_PLUGIN_H\n\n{tables}\n{helpers}\n#endif /* CRTMP_PLUGIN_H */\n"
    ))
}

fn config(names: &Names) -> Config {
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        documentation_style: DocumentationStyle::Doxy,
        no_includes: true,
        usize_is_size_t: true,
        sys_includes: ["stddef.h", "stdint.h", "string.h"].map(str::to_owned).to_vec(),
        line_length: 120,
        tab_width: 4,
        ..Config::default()
    };
    config.export.include.clone_from(&names.types);
    // They can only be written down in Rust, or are of no use in C.
    config.export.exclude = vec!["EMPTY".to_owned(), "SYMBOL".to_owned()];
    config.export.rename = names.renamed.clone();
    config
}

/// The names of the definitions and what they become.
#[derive(Default)]
struct Names {
    types: Vec<String>,
    renamed: HashMap<String, String>,
}

impl Names {
    fn collect(&mut self, source: &str) {
        for line in source.lines() {
            let word = |rest: &str| {
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            };
            if let Some(name) = line.strip_prefix("pub struct ").map(word) {
                self.renamed.insert(name.clone(), format!("crtmp_{name}"));
                self.types.push(name);
            } else if let Some(name) = line.strip_prefix("pub const ").map(word) {
                self.renamed.insert(name.clone(), format!("CRTMP_{name}"));
            }
        }
    }

    /// A line as it stands in the header: links of the documentation become names of the header.
    fn line(&self, line: &str) -> String {
        // A negative number stays one number wherever its name is written.
        if line.starts_with("#define CRTMP_")
            && let Some((name, number)) = line.rsplit_once(" -")
            && number.parse::<u64>().is_ok()
        {
            return format!("{name} (-{number})");
        }
        if !matches!(line.trim_start().as_bytes(), [b'*', ..] | [b'/', b'*', ..]) {
            return line.to_owned();
        }
        let mut text = String::new();
        for (index, piece) in line.split('`').enumerate() {
            if index % 2 == 0 {
                text.push_str(&without_links(piece));
            } else {
                text.push('`');
                text.push_str(&self.name(piece));
                text.push('`');
            }
        }
        text
    }

    fn name(&self, rust: &str) -> String {
        let (first, rest) = rust.split_once("::").unwrap_or((rust, ""));
        if let Some(first) = self.renamed.get(first) {
            return if rest.is_empty() { first.clone() } else { format!("{first}.{rest}") };
        }
        // The constants of a kind: `FRAME_…`.
        let family = rust.strip_suffix('…').is_some_and(|start| {
            start.len() > 1 && self.renamed.keys().any(|name| name.starts_with(start) && name != start)
        });
        if family { format!("CRTMP_{rust}") } else { rust.to_owned() }
    }
}

/// What lies between two pieces of code, without the brackets and the target of a link.
fn without_links(piece: &str) -> String {
    let mut piece = piece.to_owned();
    if piece.starts_with("](")
        && let Some(end) = piece.find(')')
    {
        piece.replace_range(..=end, "");
    } else if piece.starts_with(']') {
        piece.remove(0);
    }
    if piece.ends_with('[') {
        piece.pop();
    }
    piece
}
