//! `docs/commands.md`, made from the table of commands.

use std::fmt::Write as _;

use super::{Builtin, SUBJECTS};
use crate::commands::{Access, Param};

/// What the document says before the commands.
const INTRODUCTION: &str = include_str!("introduction.txt");

/// The text of `docs/commands.md`.
pub fn commands_document() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (subject, commands) in SUBJECTS {
        let _ = write!(text, "\n## {subject}\n");
        for command in commands() {
            describe(&command, &mut text);
        }
    }
    text
}

fn describe(command: &Builtin, text: &mut String) {
    let spec = &command.spec;
    let access = match spec.access {
        Access::Read => "It only looks.",
        Access::Change => "It changes something.",
        Access::Secret => "It always needs the secret.",
    };
    let _ = write!(text, "\n### `{}`\n\n{} {access}\n", spec.name, spec.description);
    if spec.params.is_empty() && spec.variables.is_none() {
        return;
    }
    text.push_str("\n| Parameter | Type | Default | Meaning |\n|---|---|---|---|\n");
    for param in &spec.params {
        let Param { name, kind, description, .. } = param;
        let _ = writeln!(text, "| `{name}` | {} | {} | {} |", kind.name(), default(param), cell(description));
    }
    if let Some(description) = &spec.variables {
        let _ = writeln!(text, "| `$NAME` | text | none | {} |", cell(description));
    }
}

fn default(param: &Param) -> String {
    match &*param.default {
        _ if param.mandatory => "needed".to_owned(),
        "null" => "none".to_owned(),
        default => format!("`{}`", cell(default)),
    }
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs, path::Path};

    use super::*;
    use crate::server::commands::COMMANDS;

    #[test]
    fn commands_md_is_made_from_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
        let made = commands_document();
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &made).unwrap();
        }
        let there = fs::read_to_string(&file).unwrap_or_default();
        let differs = there.lines().zip(made.lines()).position(|(one, other)| one != other);
        assert!(
            there == made,
            "docs/commands.md differs from the table of commands (line {:?}): \
             `UPDATE_DOCS=1 cargo test -p crtmp-host commands_md` writes it anew",
            differs.map(|line| line + 1)
        );
    }

    #[test]
    fn what_the_table_says_is_well_formed() {
        let mut names = HashSet::new();
        for command in COMMANDS.iter() {
            let spec = &command.spec;
            assert!(names.insert(spec.name.to_lowercase()), "`{}` stands there twice", spec.name);
            assert!(spec.description.ends_with('.'), "`{}`: a sentence ends with a full stop", spec.name);
            let mut params = HashSet::new();
            for param in &spec.params {
                let place = format!("`{}` of `{}`", param.name, spec.name);
                assert!(params.insert(param.name.to_lowercase()), "{place} stands there twice");
                assert!(!param.description.is_empty(), "{place} has no meaning");
                assert!(!param.description.contains('\n'), "{place}: its meaning is one line");
                let default = serde_json::from_str::<serde_json::Value>(&param.default);
                assert!(default.is_ok(), "the default of {place} is no JSON");
            }
        }
    }
}
