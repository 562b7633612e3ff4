//! Which programs commands may launch.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crtmp_media::Seconds;
use serde::{Deserialize, Serialize};

use super::validate::Check;
use super::{Configuration, quoted};

const PATH: &str = "configuration.processes";

/// The table `processes`: what `launchProcess` may launch. Without it, nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Processes {
    /// The programs that may be launched, each by its absolute path; no others.
    pub allow: Vec<PathBuf>,
    /// The variables that may be set in their environment; no others.
    pub variables: Vec<String>,
    /// How many there may be at once.
    pub max_processes: u32,
    /// How long a process that was told to end may take before it is killed.
    pub stop_grace: Seconds,
}

impl Processes {
    /// The longest `allow`, in programs.
    pub const ALLOW: usize = 256;
    /// The longest `variables`, in names.
    pub const VARIABLES: usize = 256;
    /// The longest name of a variable, in bytes.
    pub const VARIABLE: usize = 128;
    /// The range of `maxProcesses`.
    pub const MAX_PROCESSES: RangeInclusive<u64> = 1..=256;
    /// The range of `stopGrace`, in seconds.
    pub const STOP_GRACE: RangeInclusive<f64> = 0.0..=60.0;
}

impl Default for Processes {
    fn default() -> Self {
        Self { allow: Vec::new(), variables: Vec::new(), max_processes: 16, stop_grace: Seconds::new(5) }
    }
}

/// What the types leave open. Whether the programs are there is looked at when the configuration is taken.
pub(super) fn check(check: &mut Check, configuration: &Configuration) {
    let processes = &configuration.processes;
    let key = |key: &str| format!("{PATH}.{key}");
    check.whole(key("maxProcesses"), Some(processes.max_processes.into()), Processes::MAX_PROCESSES);
    check.seconds(key("stopGrace"), processes.stop_grace, Processes::STOP_GRACE);
    if processes.allow.len() > Processes::ALLOW {
        let expected = format!("at most {} programs", Processes::ALLOW);
        check.error(key("allow"), processes.allow.len().to_string(), expected);
    }
    let mut seen = HashSet::new();
    for (index, path) in processes.allow.iter().enumerate() {
        let place = format!("{PATH}.allow[{}]", index + 1);
        let found = quoted(&path.to_string_lossy());
        if !path.is_absolute() {
            let expected = "the absolute path of a program, such as \"/usr/bin/ffmpeg\"";
            check.error(place, found, expected);
        } else if !seen.insert(path) {
            check.error(place, format!("{found} again"), "each program once");
        }
    }
    check_variables(check, &processes.variables);
}

fn check_variables(check: &mut Check, variables: &[String]) {
    let key = format!("{PATH}.variables");
    if variables.len() > Processes::VARIABLES {
        let expected = format!("at most {} names", Processes::VARIABLES);
        check.error(key.as_str(), variables.len().to_string(), expected);
    }
    let mut seen = HashSet::new();
    for (index, name) in variables.iter().enumerate() {
        let place = format!("{key}[{}]", index + 1);
        if !is_variable(name) {
            let expected = format!(
                "the name of a variable: letters, digits and `_`, no digit first, at most {} bytes",
                Processes::VARIABLE
            );
            check.error(place, quoted(name), expected);
        } else if !seen.insert(name) {
            check.error(place, format!("{} again", quoted(name)), "each variable once");
        }
    }
}

fn is_variable(name: &str) -> bool {
    name.len() <= Processes::VARIABLE
        && name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Application, validate};

    fn mistakes(processes: Processes) -> Vec<String> {
        let mut configuration = Configuration { processes, ..Configuration::default() };
        configuration.applications.list =
            vec![Application { name: "a".into(), default: true, ..Application::default() }];
        validate(&configuration).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_hold_at_their_ends_and_not_beyond() {
        for (max_processes, good) in [(0, false), (1, true), (256, true), (257, false)] {
            let found = mistakes(Processes { max_processes, ..Processes::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
        }
        for (seconds, good) in [(0, true), (60, true), (61, false)] {
            let found = mistakes(Processes { stop_grace: Seconds::new(seconds), ..Processes::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
        }
        for (count, good) in [(255, true), (256, true), (257, false)] {
            let allow = (0..count).map(|number| format!("/bin/{number}").into()).collect();
            let found = mistakes(Processes { allow, ..Processes::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
        }
    }

    #[test]
    fn programs_have_absolute_paths_once() {
        let allow = vec!["/bin/a".into(), "bin/b".into(), "-c".into(), "".into(), "/bin/a".into()];
        let absolute = "expected the absolute path of a program, such as \"/usr/bin/ffmpeg\"";
        assert_eq!(
            mistakes(Processes { allow, ..Processes::default() }),
            [
                format!("configuration.processes.allow[2]: found \"bin/b\", {absolute}"),
                format!("configuration.processes.allow[3]: found \"-c\", {absolute}"),
                format!("configuration.processes.allow[4]: found \"\", {absolute}"),
                "configuration.processes.allow[5]: found \"/bin/a\" again, expected each program once"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn variables_have_names_once() {
        let long = "x".repeat(Processes::VARIABLE);
        let variables =
            ["_a1", "1a", "", "A=B", "é", "_a1", &long, &format!("{long}x")].map(str::to_owned).to_vec();
        let found = mistakes(Processes { variables, ..Processes::default() });
        let places: Vec<&str> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
        assert_eq!(places, [2, 3, 4, 5, 6, 8].map(|at| format!("configuration.processes.variables[{at}]")));
        for (count, good) in [(255, true), (256, true), (257, false)] {
            let variables = (0..count).map(|number| format!("V{number}")).collect();
            let found = mistakes(Processes { variables, ..Processes::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
        }
    }
}
