//! The catalogue of cases in `docs/testing.md` is whole, and the tests that it names are there.

use std::path::Path;

use crate::read;

/// Groups of cases, and how many each has.
const GROUPS: [(&str, usize); 18] = [
    ("EXE", 5),
    ("HS", 13),
    ("CHK", 25),
    ("CTL", 9),
    ("ACK", 4),
    ("AMF", 15),
    ("CMD", 18),
    ("BWT", 6),
    ("MED", 19),
    ("RPT", 9),
    ("SLOW", 5),
    ("ADM", 9),
    ("WEB", 4),
    ("LOG", 3),
    ("HOOK", 5),
    ("SSRF", 3),
    ("CFG", 5),
    ("TLS", 8),
];

/// Cases of groups that are not all here.
const SINGLE: [&str; 23] = [
    "LOAD-03", "LOAD-04", "FLT-05", "FLT-08", "FLT-09", "FLT-10", "FLT-12", "FLT-17", "FLT-21", "FLT-26",
    "ERT-01", "ERT-02", "ERT-03", "ERT-04", "ERT-05", "ERT-06", "ERT-07", "ERT-08", "ERT-10", "ERT-09",
    "NAM-01", "NAM-02", "NAM-08",
];

/// What the beginnings of names stand for.
const FOLDERS: [(&str, &str); 14] = [
    ("rtmp/", "protocols/rtmp/src/"),
    ("tls/", "protocols/tls/src/"),
    ("relay/", "core/relay/src/"),
    ("media/", "core/media/src/"),
    ("rtmpt/", "protocols/rtmpt/src/"),
    ("cli/", "protocols/cli/src/"),
    ("registry/", "protocols/registry/src/"),
    ("admin/", "applications/admin/src/"),
    ("host/", "core/host/src/"),
    ("reactor/", "core/reactor/src/"),
    ("server/", "core/server/src/"),
    ("vmapp/", "applications/vmapp/src/"),
    ("malformed/", "tests/malformed/"),
    ("e2e/", "tests/e2e/"),
];

#[test]
fn every_case_has_a_test_or_a_reason_and_every_name_is_true() {
    let document = read(Path::new("docs/testing.md"));
    let grouped = GROUPS
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}-{number:02}")));
    for id in grouped.chain(SINGLE.map(Into::into)) {
        let mut rows = document.lines().filter(|line| line.starts_with(&format!("| {id} |")));
        let row = rows.next().unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(rows.next(), None, "{id} stands there twice");
        let tests = row.rsplit('|').nth(1).unwrap_or_default();
        assert!(tests.contains('`') || tests.contains("**needs "), "{id} has neither test nor reason");
        for name in tests.split('`').skip(1).step_by(2) {
            assert!(is_there(name, &id), "{id} names {name}");
        }
    }
}

/// Whether a test has this name: `file::function`, or a file of `tests/malformed`, which names its cases in texts.
fn is_there(name: &str, id: &str) -> bool {
    let (file, function) = name.split_once("::").unwrap_or((name, ""));
    let Some((folder, rest)) =
        FOLDERS.iter().find_map(|(short, folder)| Some((folder, file.strip_prefix(short)?)))
    else {
        return false;
    };
    let text = read(Path::new(&format!("{folder}{rest}.rs")));
    match function {
        "" => text.lines().any(|line| line.contains("stage.case(\"") && mentions(line, id)),
        function => text.contains(&format!("fn {function}(")),
    }
}

/// Whether a text names a case, alone or within a range like `MED-10 to MED-14`.
fn mentions(text: &str, id: &str) -> bool {
    let number = |id: &str| id.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
    let in_range = text.split(" to ").zip(text.split(" to ").skip(1)).any(|(from, to)| {
        let from = from.rsplit(' ').next().and_then(number);
        let to = to.split([' ', '"']).next().and_then(number);
        let group = id.split('-').next().unwrap_or_default();
        text.contains(group) && from <= number(id) && number(id) <= to && from.is_some()
    });
    text.contains(id) || in_range
}

#[test]
fn cases_are_found_alone_and_in_ranges() {
    assert!(mentions("stage.case(\"MED-04, MED-05 odd\"", "MED-05"));
    assert!(mentions("stage.case(\"MED-07, MED-10 to MED-14 content\"", "MED-12"));
    assert!(!mentions("stage.case(\"MED-07, MED-10 to MED-14 content\"", "MED-15"));
    assert!(!mentions("stage.case(\"CMD-10 to CMD-14 content\"", "MED-12"));
}
