//! Programs beside the test: bounded in time, their output kept, ended with the test.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{Namespace, poll, root};

/// A program about to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    limit: Option<Duration>,
    namespace: Option<String>,
    folder: Option<PathBuf>,
    ordinary_user: bool,
}

impl Launch {
    /// The program of this name or path. It is ended after two minutes unless [`within`](Self::within) or
    /// [`unlimited`](Self::unlimited) say otherwise.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            limit: Some(Duration::from_secs(120)),
            namespace: None,
            folder: None,
            ordinary_user: false,
        }
    }

    /// One argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Arguments, separated by white space.
    #[must_use]
    pub fn args(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The time after which it is ended from outside, even if the test is gone.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// No such time: the program is the direct child of the test, and dies with the test's thread.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Starts it inside a network namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Starts it in this folder.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Starts it as an ordinary user if the test runs as root (VLC refuses root).
    #[must_use]
    pub fn as_ordinary_user(mut self) -> Self {
        self.ordinary_user = true;
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(self) -> Program {
        let name = PathBuf::from(&self.program)
            .file_name()
            .map_or_else(|| "?".into(), |name| name.to_string_lossy().into_owned());
        let output = tempfile::Builder::new().prefix("crtmp-").tempdir().expect("a temporary folder");
        let file = |name| File::create(output.path().join(name)).expect("a file in a temporary folder");
        let words = self.words();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(self.folder.as_deref().unwrap_or_else(|| root()))
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}; run `cargo xtask test`"));
        Program { name, child, status: None, output, quiet: false }
    }

    /// Runs the program to its end.
    pub fn run(self) -> Outcome {
        let limit = self.limit.unwrap_or(Duration::from_secs(120)) + Duration::from_secs(5);
        self.start().wait(limit)
    }

    /// The whole command, with what bounds and moves the program before it.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        match self.limit {
            Some(limit) => {
                // In the foreground it passes a signal on to the program alone, and once.
                let limit = format!("{:.3}", limit.as_secs_f64());
                words.extend(
                    ["timeout", "--foreground", "--preserve-status", "--kill-after=2"].map(Into::into),
                );
                words.push(limit.into());
            }
            None => words.extend(["setpriv", "--pdeathsig=KILL"].map(Into::into)),
        }
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(Into::into));
        }
        if self.ordinary_user && nix::unistd::geteuid().is_root() {
            words.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(Into::into));
        }
        words.push(self.program.clone());
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// A program that was started. It is killed, with all its children, when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    output: TempDir,
    quiet: bool,
}

impl Program {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status.is_none()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        if self.runs() {
            kill(self.pid(), signal).expect("a running child takes signals");
        }
    }

    /// Kills it and its children at once, as a crash would.
    pub fn kill(&mut self) {
        if self.runs() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            self.status = self.child.wait().ok();
        }
    }

    /// Ends it as a person at the keyboard would, and waits for its end.
    pub fn interrupt(mut self) -> Outcome {
        self.signal(Signal::SIGINT);
        self.wait(Duration::from_secs(10))
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it still runs after `limit`.
    pub fn wait(mut self, limit: Duration) -> Outcome {
        assert!(
            poll(limit, || (!self.runs()).then_some(())).is_some(),
            "{} still runs after {limit:?}",
            self.name
        );
        self.quiet = true;
        let status = self.status.expect("it has ended");
        Outcome {
            name: self.name.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Its exit code, if it has ended by itself.
    pub fn status(&mut self) -> Option<i32> {
        self.runs();
        self.status?.code()
    }

    /// Forgets its output when the test fails; another part of the test shows it.
    pub(crate) fn quiet(&mut self) {
        self.quiet = true;
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"))
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() && !self.quiet {
            eprintln!("--- {} ({:?}), standard error:\n{}", self.name, self.status, tail(&self.stderr(), 30));
        }
    }
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the program.
    pub name: String,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Demands exit code 0.
    ///
    /// # Panics
    ///
    /// If the program ended otherwise.
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{} failed:\n{}", self.name, tail(&self.stderr, 30));
        self
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
