//! From the script to the configuration: the only place that knows Lua.
//!
//! [`load`] runs the script once in a [sandbox] on a thread of its own, turns the table that it leaves into a
//! plain [tree], types it, checks it, and names the [lines] of what is wrong. [`show()`] is the way back.

mod lines;
mod sandbox;
mod show;
mod tree;
mod typed;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crtmp_host::config::{ConfigError, Configuration, validate};
use serde_json::Value;

pub(crate) use show::show;

/// The longest file of a script, in bytes.
const SCRIPT_SIZE: u64 = 1024 * 1024;

/// The stack of the thread on which a script runs: enough for the 200 nested calls that Lua allows.
const STACK_SIZE: usize = 16 * 1024 * 1024;

/// What a script may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Lua instructions.
    pub(crate) instructions: u64,
    /// Bytes of memory.
    pub(crate) memory: usize,
    /// Time. It also ends what no instruction count can see, such as a search pattern that backtracks for ever.
    pub(crate) time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { instructions: 50_000_000, memory: 64 * 1024 * 1024, time: Duration::from_secs(10) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read, or holds no text.
    #[error("{file}: {reason}")]
    File {
        /// The file, as the user named it.
        file: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The script fails, does not end or does not leave a configuration. The text begins with its place.
    #[error("{0}")]
    Script(String),
    /// The configuration has mistakes: all of them, in the order of the file.
    #[error("{}", lines_of(.0))]
    Mistakes(Vec<ConfigError>),
}

fn lines_of(mistakes: &[ConfigError]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs the script in `path` and checks the configuration that it defines.
pub(crate) fn load(path: &Path) -> Result<Configuration, LoadError> {
    load_within(path, Budget::default())
}

/// [`load`] with a budget of the caller's.
pub(crate) fn load_within(path: &Path, budget: Budget) -> Result<Configuration, LoadError> {
    let file = path.display().to_string();
    let source = read_script(path).map_err(|reason| LoadError::File { file: file.clone(), reason })?;
    let tree = run(path, &source, budget, sandbox::run)?;
    let mistakes = match tree.and_then(typed::configuration) {
        Ok(configuration) => {
            let mistakes = validate(&configuration);
            if mistakes.is_empty() {
                return Ok(configuration);
            }
            mistakes
        }
        Err(mistakes) => mistakes,
    };
    Err(LoadError::Mistakes(place(mistakes, &file, &source)))
}

/// Runs a users file: the values that it gives `users` and `realms`. The text says what is wrong with it, and holds none
/// of its strings.
pub(crate) fn load_users(path: &Path) -> Result<Value, String> {
    let file = path.display().to_string();
    let source = read_script(path).map_err(|reason| format!("{file}: {reason}"))?;
    // Lua shows the text at which it stumbles, and that may be a password.
    let without_text = |error: LoadError| {
        let text = error.to_string();
        let lines = text.lines().map(|line| line.split(" near ").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    };
    let outcome = run(path, &source, Budget::default(), sandbox::run_users).map_err(without_text)?;
    outcome.map_err(|mut mistakes| {
        mistakes.iter_mut().for_each(|mistake| mistake.file = Some(file.clone()));
        lines_of(&mistakes)
    })
}

/// Gives mistakes that were found after the script had been read their file and, where one is known, their line.
pub(crate) fn locate(file: &Path, mut mistakes: Vec<ConfigError>) -> Vec<ConfigError> {
    // It may have changed or gone since; then the place in the table has to do.
    let lines = fs::read_to_string(file).map(|source| lines::Lines::of(&source)).ok();
    for mistake in &mut mistakes {
        mistake.file.get_or_insert_with(|| file.display().to_string());
        mistake.line = mistake.line.or_else(|| lines.as_ref()?.find(&mistake.path));
    }
    mistakes
}

/// Gives each mistake its file and, where one is known, its line; sorts by line.
fn place(mut mistakes: Vec<ConfigError>, file: &str, source: &str) -> Vec<ConfigError> {
    let lines = lines::Lines::of(source);
    for mistake in &mut mistakes {
        mistake.file = Some(file.to_owned());
        mistake.line = lines.find(&mistake.path);
    }
    mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(u32::MAX));
    mistakes
}

/// Runs a script, and takes what it leaves.
type Take = fn(&Path, &str, Budget) -> Result<Outcome, String>;

/// The table that the script leaves, or the mistakes that keep it from being plain data.
type Outcome = Result<Value, Vec<ConfigError>>;

/// Runs the script on a thread that is abandoned when time is up: there is no other way to stop a search
/// pattern that does not end.
fn run(path: &Path, source: &str, budget: Budget, take: Take) -> Result<Outcome, LoadError> {
    let file = path.display().to_string();
    let (sender, receiver) = mpsc::channel();
    let (path, source): (PathBuf, String) = (path.to_owned(), source.to_owned());
    let thread = thread::Builder::new()
        .name("configuration".into())
        .stack_size(STACK_SIZE)
        .spawn(move || {
            // The receiver may have lost patience; then nobody wants the result.
            let _ = sender.send(take(&path, &source, budget));
        })
        .map_err(|error| LoadError::File {
            file: file.clone(),
            reason: format!("no thread for it: {error}"),
        })?;
    match receiver.recv_timeout(budget.time) {
        Ok(outcome) => {
            // The process may fork next, and must be alone then. Nothing of the sandbox can hold this up.
            let _ = thread.join();
            outcome.map_err(LoadError::Script)
        }
        Err(RecvTimeoutError::Timeout) => Err(LoadError::Script(format!(
            "{file}: the script ran for more than {} seconds; look for a loop or a search pattern that does not end",
            budget.time.as_secs_f64()
        ))),
        Err(RecvTimeoutError::Disconnected) => {
            Err(LoadError::Script(format!("{file}: the script broke its interpreter; please report this")))
        }
    }
}

/// The text of a script, or what keeps it from being one.
fn read_script(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path)
        .map_err(|error| format!("cannot be read ({error}); give the path of a Lua configuration"))?;
    if metadata.is_dir() {
        return Err("is a folder; give the path of the Lua configuration in it".into());
    }
    if !metadata.is_file() {
        return Err("is no regular file; give the path of a Lua configuration".into());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(SCRIPT_SIZE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read ({error})"))?;
    if bytes.len() as u64 > SCRIPT_SIZE {
        return Err(format!("is longer than {SCRIPT_SIZE} bytes; that is no configuration"));
    }
    if bytes.first() == Some(&0x1b) {
        return Err("is compiled Lua; give the text that it was compiled from".into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file in that encoding")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A first line for the shell is a comment, as the Lua interpreter itself has it.
    Ok(if text.starts_with('#') { format!("--{text}") } else { text.to_owned() })
}
