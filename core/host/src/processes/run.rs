//! One run of a program: in a process group of its own, with nothing of ours but a pipe to write to.

use std::{
    fs,
    io::{self, PipeWriter},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid, waitpid},
    },
    unistd::Pid,
};

/// The environment of every process, beside what it is given.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")];

/// How often is looked whether anything of a process group is left.
const LOOK: Duration = Duration::from_millis(50);

/// What is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// The path by which it was asked for; it is told that name.
    pub(crate) name: PathBuf,
    /// Its arguments, each as it is.
    pub(crate) arguments: Vec<String>,
    /// Its environment, beside what all have.
    pub(crate) environment: Vec<(String, String)>,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

/// A run; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Run(Arc<Group>);

#[derive(Debug)]
struct Group {
    leader: Pid,
    /// Held over whatever goes by the number: it is ours until the leader has been waited for, and not after that.
    exit: Mutex<Option<Exit>>,
    ended: Condvar,
}

impl Run {
    /// Starts a program from this file. When it and all of its group have ended, `done` is called on another thread.
    pub(super) fn start(
        program: &Program,
        file: PathBuf,
        output: PipeWriter,
        grace: Duration,
        done: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let errors = output.try_clone()?;
        let child = Command::new(file)
            .arg0(&program.name)
            .args(&program.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()?;
        let leader = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let run = Self(Arc::new(Group { leader, exit: Mutex::new(None), ended: Condvar::new() }));
        let group = run.0.clone();
        let thread = thread::Builder::new().name("process".to_owned()).spawn(move || {
            group.mind(child, grace);
            done();
        });
        if let Err(error) = thread {
            let _ = killpg(leader, Signal::SIGKILL);
            let _ = waitpid(leader, None);
            return Err(error);
        }
        Ok(run)
    }

    /// Its process id.
    pub(super) fn id(&self) -> i32 {
        self.0.leader.as_raw()
    }

    /// Asks it and its children to end.
    pub(super) fn end(&self) {
        self.0.signal(Signal::SIGTERM);
    }

    /// Kills it and its children.
    pub(super) fn kill(&self) {
        self.0.signal(Signal::SIGKILL);
    }

    /// How it has ended; waits for that until then.
    pub(super) fn wait(&self, until: Instant) -> Option<Exit> {
        let mut exit = self.0.exit();
        while exit.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            exit = self.0.ended.wait_timeout(exit, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *exit
    }
}

impl Group {
    fn exit(&self) -> MutexGuard<'_, Option<Exit>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        let exit = self.exit();
        if exit.is_none() {
            // It fails if all of the group belongs to somebody else by now; nothing can be done about that.
            let _ = killpg(self.leader, signal);
        }
    }

    /// Waits for the end of the leader, and ends what it leaves behind.
    fn mind(&self, mut child: Child, grace: Duration) {
        // The leader stays a zombie, so that its number stays that of the group.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let mut status = waitid(Id::Pid(self.leader), flags);
        while status == Err(Errno::EINTR) {
            status = waitid(Id::Pid(self.leader), flags);
        }
        if status.is_err() {
            // A system that cannot wait like that. The lock below must not be held while it lives.
            let _ = child.wait();
        }
        if others(self.leader) {
            self.signal(Signal::SIGTERM);
            let until = Instant::now() + grace;
            while others(self.leader) && Instant::now() < until {
                thread::sleep(LOOK);
            }
            self.signal(Signal::SIGKILL);
        }
        let mut exit = self.exit();
        *exit = Some(match child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Err(_) => Exit::Unknown,
        });
        self.ended.notify_all();
    }
}

/// Whether any process but its leader lives in a group. Where the system does not say, one does.
fn others(leader: Pid) -> bool {
    let Ok(folder) = fs::read_dir("/proc") else { return true };
    folder.flatten().any(|entry| {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        id.is_some_and(|id| {
            id != leader.as_raw()
                && fs::read(entry.path().join("stat")).is_ok_and(|stat| lives_in(&stat, leader.as_raw()))
        })
    })
}

/// Whether `/proc/…/stat` is that of a living process of this group: `id (name) state parent group …`.
fn lives_in(stat: &[u8], group: i32) -> bool {
    // A name may hold anything, but nothing after it holds a parenthesis.
    let text = String::from_utf8_lossy(stat);
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or_default();
    let of = fields.nth(1).and_then(|field| field.parse::<i32>().ok());
    of == Some(group) && !matches!(state, "Z" | "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_of_a_group_are_told_from_the_dead_and_from_others() {
        for (stat, lives) in [
            ("7 (sh) S 1 42 42 0", true),
            ("7 (a) Z 1 9 (b)) R 1 42 42 0", true),
            ("7 (sh) Z 1 42 42 0", false),
            ("7 (sh) S 42 43 42 0", false),
            ("7 (sh) S", false),
            ("", false),
        ] {
            assert_eq!(lives_in(stat.as_bytes(), 42), lives, "{stat}");
        }
    }
}
