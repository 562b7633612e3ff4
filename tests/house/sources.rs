//! Rules for source files.

use crate::{files, read};

/// The longest source file, in lines.
const LINES: usize = 800;

/// Where `unsafe` may be written. Everywhere else a safe way exists, or belongs into one of these.
const UNSAFE: &[&str] = &[
    "core/plugin/",
    "core/host/src/plugins",
    "core/media/src/ahead",
    "core/reactor/src/system",
    "core/server/src/process",
    "tests/plugins/",
    "tests/house/",
];

#[test]
fn source_files_are_short() {
    let long: Vec<String> = files("rs")
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "more than {LINES} lines: {long:#?}");
}

#[test]
fn each_crate_opens_with_what_it_is() {
    for path in files("rs") {
        let opens_crate = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if opens_crate {
            let text = read(&path);
            let first = text.lines().next().unwrap_or_default();
            assert!(first.starts_with("//! ") && !first.contains("being written"), "{}", path.display());
        }
    }
}

#[test]
fn unsafe_is_written_where_it_belongs() {
    let mut wrong = Vec::new();
    for path in files("rs") {
        if UNSAFE.iter().any(|folder| path.to_string_lossy().starts_with(folder)) {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            if is_unsafe(line) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_is_told_from_words_about_it() {
    for line in
        ["    unsafe { x() }", "pub unsafe fn f() {}", "unsafe impl Send for A {}", "let x = unsafe {y};"]
    {
        assert!(is_unsafe(line), "{line}");
    }
    for line in [
        "#![forbid(unsafe_code)]",
        "// unsafe { }",
        "/// An unsafe block",
        "\"the unsafe way\"",
        "x_unsafe {",
    ] {
        assert!(!is_unsafe(line), "{line}");
    }
}

/// Whether the line begins something unsafe.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn ", "impl ", "extern ", "trait "].iter().any(|next| {
        code.match_indices("unsafe").any(|(index, word)| {
            let before = code[..index].chars().next_back();
            let free = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
            let after = &code[index + word.len()..];
            free && (after.starts_with(' ') || after.starts_with('{')) && after.trim_start().starts_with(next)
        })
    })
}
