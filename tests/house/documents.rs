//! Links in documents lead somewhere.

use std::path::Path;

use crate::{files, read};
use crtmp_tests::root;

#[test]
fn links_in_documents_resolve() {
    let mut broken = Vec::new();
    for document in files("md") {
        let text = read(&document);
        for target in links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = document.parent().unwrap_or(Path::new(""));
            let path = if file.is_empty() { document.clone() } else { folder.join(file) };
            let found = root().join(&path).exists()
                && (anchor.is_empty()
                    || path.extension().is_none_or(|extension| extension != "md")
                    || anchors(&read(&path)).iter().any(|known| known == anchor));
            if !found {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_documents_that_a_newcomer_expects_are_there() {
    for document in
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/configuration.md"]
    {
        assert!(root().join(document).is_file(), "{document}");
    }
    let readme = read(Path::new("README.md"));
    let run = readme.find("cargo xtask run").expect("the README says how to run");
    let test = readme.find("cargo xtask test").expect("the README says how to test");
    assert!(run < test, "running comes first");
}

/// The targets of links inside the workspace: `](target)`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        // What stands between backticks is no link.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        if code {
            continue;
        }
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") && !target.is_empty() {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The anchors that headings make.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            return None;
        }
        let letter = |letter: char| match letter {
            ' ' | '-' => Some('-'),
            '_' => Some('_'),
            _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
        };
        Some(title.trim().chars().filter_map(letter).collect())
    };
    text.lines().filter_map(heading).collect()
}
