//! The process: background, pid file, user and group, open files, and what it takes of the machine.
//!
//! The order of a start is: read the configuration, [`daemonise`], log, [`PidFile::create`], bind the ports,
//! [`Identity::assume`], then run what others wrote, and last [`Verdict::ready`].

mod memory;
mod usage;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, PipeWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{
    ForkResult, Gid, Group, Uid, User, dup2_stderr, dup2_stdin, dup2_stdout, fork, geteuid, getgid, getuid,
    initgroups, setgid, setgroups, setsid, setuid,
};

pub(crate) use self::memory::{Memory, use_large_pages};
pub(crate) use self::usage::Usage;

/// With fewer open files than this, a warning is due.
const FEW_FILES: u64 = 4096;

/// What the daemon writes to its parent when all is well.
const READY: &str = "ready";

/// Keeps what whoever started this process has left open to this process: programs that it launches do not get it.
pub(crate) fn keep_descriptors() {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| *number > 2) {
        // SAFETY: the call takes numbers only; one that is closed meanwhile is an error, which does no harm.
        unsafe { nix::libc::fcntl(number, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
    }
}

/// Which of the two processes this is.
pub(crate) enum Fork {
    /// The one that was started. It has waited for the verdict, and has to exit with this code.
    Parent(u8),
    /// The daemon. It owes its parent a verdict.
    Daemon(Verdict),
}

/// Goes to the background. The parent waits until the daemon says that it is ready, or why it cannot be.
///
/// This must happen while the process has one thread, and before anything is open that two processes cannot
/// share.
pub(crate) fn daemonise() -> Result<Fork, String> {
    let text =
        |what: &str, error: &dyn std::fmt::Display| format!("cannot go to the background: {what}: {error}");
    let (reader, writer) = io::pipe().map_err(|error| text("pipe", &error))?;
    // SAFETY: the process has one thread (see above), so that no lock can be left behind in the child.
    match unsafe { fork() }.map_err(|error| text("fork", &error))? {
        ForkResult::Parent { .. } => {
            drop(writer);
            Ok(Fork::Parent(wait_for_verdict(reader)))
        }
        ForkResult::Child => {
            drop(reader);
            setsid().map_err(|error| text("setsid", &error))?;
            Ok(Fork::Daemon(Verdict(writer)))
        }
    }
}

fn wait_for_verdict(mut reader: impl Read) -> u8 {
    let mut verdict = String::new();
    match reader.read_to_string(&mut verdict) {
        Ok(_) if verdict == READY => return 0,
        Ok(0) => {
            eprintln!("error: the daemon ended before it was ready; start it without --daemon to see why")
        }
        Ok(_) => eprintln!("{}", verdict.trim_end()),
        Err(error) => eprintln!("error: the daemon cannot be heard: {error}"),
    }
    1
}

/// What the daemon owes its parent. Dropped without a word, it counts as a failure.
pub(crate) struct Verdict(PipeWriter);

impl Verdict {
    /// The daemon runs: the parent exits with 0. The standard streams are closed and the folder is left, so that
    /// neither terminal nor file system is held up.
    pub(crate) fn ready(mut self) -> Result<(), String> {
        let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null");
        let nowhere = nowhere.map_err(|error| format!("/dev/null cannot be opened: {error}"))?;
        dup2_stdin(&nowhere)
            .and_then(|()| dup2_stdout(&nowhere))
            .and_then(|()| dup2_stderr(&nowhere))
            .map_err(|error| format!("the standard streams cannot be closed: {error}"))?;
        std::env::set_current_dir("/").map_err(|error| format!("/ cannot be entered: {error}"))?;
        self.0.write_all(READY.as_bytes()).map_err(|error| format!("the parent does not listen: {error}"))
    }

    /// The daemon cannot run: the parent prints the reason and exits with 1.
    pub(crate) fn failed(mut self, reason: &str) {
        // If the parent is gone, nobody can be told.
        let _ = self.0.write_all(reason.as_bytes());
    }
}

/// The file with the process id: locked while the server runs, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes the id of this process into the file. Fails if another server holds it.
    pub(crate) fn create(path: &Path) -> Result<Self, String> {
        const TRIES: u32 = 10;
        let text = |error: io::Error| {
            format!("error: the pid file {} cannot be written ({error}); give another --pid", path.display())
        };
        for _ in 0..TRIES {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(path)
                .map_err(text)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    // The number only helps the reader; without it the message is still right.
                    let _ = file.take(20).read_to_string(&mut pid);
                    let path = path.display();
                    return Err(format!(
                        "error: the pid file {path} is held by process {}; end that server, or give another --pid",
                        pid.trim()
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(text(error)),
            }
            // A server that ends removes the file: the lock may be on one that has no name any more.
            if !is_at(&file, path) {
                continue;
            }
            file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(text)?;
            return Ok(Self { path: path.to_owned(), file });
        }
        Err(text(io::Error::other("it changes all the time")))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) && fs::remove_file(&self.path).is_err() {
            // The folder may belong to root, and we to somebody else by now. An empty file names no process.
            let _ = self.file.set_len(0);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |one: &fs::Metadata, other: &fs::Metadata| one.ino() == other.ino() && one.dev() == other.dev();
    matches!((&file.metadata(), &fs::symlink_metadata(path)), (Ok(one), Ok(other)) if same(one, other))
}

/// Who the server shall be once its ports are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    uid: Option<Uid>,
    gid: Gid,
    /// The name of the user, if there is one: then its groups are known.
    user: Option<CString>,
}

impl Identity {
    /// Looks up user and group, each by name or number. `None` if neither is given.
    pub(crate) fn find(uid: Option<&str>, gid: Option<&str>) -> Result<Option<Self>, String> {
        let user = uid.map(find_user).transpose()?;
        let group = gid.map(find_group).transpose()?;
        Ok(match (user, group) {
            (None, None) => None,
            (None, Some(gid)) => Some(Self { uid: None, gid, user: None }),
            (Some((uid, None)), None) => {
                return Err(format!(
                    "error: --uid={uid}: no such user is known, so its group must be given: add --gid"
                ));
            }
            (Some((uid, user)), gid) => {
                let own = user.as_ref().map_or_else(getgid, |user| user.gid);
                let name = user.and_then(|user| CString::new(user.name).ok());
                Some(Self { uid: Some(uid), gid: gid.unwrap_or(own), user: name })
            }
        })
    }

    /// Becomes this user and group for good, in all threads.
    pub(crate) fn assume(&self) -> Result<(), String> {
        if !geteuid().is_root() {
            let same = self.uid.is_none_or(|uid| uid == getuid()) && self.gid == getgid();
            return if same {
                Ok(())
            } else {
                Err("error: only root can become another user or group; start as root, or leave out --uid and --gid"
                    .into())
            };
        }
        let text = |what: &str| {
            let what = what.to_owned();
            move |error: nix::Error| format!("error: user and group cannot be changed: {what}: {error}")
        };
        match &self.user {
            Some(user) => initgroups(user, self.gid).map_err(text("initgroups"))?,
            None => setgroups(&[self.gid]).map_err(text("setgroups"))?,
        }
        setgid(self.gid).map_err(text("setgid"))?;
        let Some(uid) = self.uid else { return Ok(()) };
        setuid(uid).map_err(text("setuid"))?;
        if !uid.is_root() && (setuid(Uid::from_raw(0)).is_ok() || getuid() != uid || geteuid() != uid) {
            return Err(
                "error: the rights of root could be had again; the server does not run like that".into()
            );
        }
        Ok(())
    }
}

fn find_user(text: &str) -> Result<(Uid, Option<User>), String> {
    let failed = |error: nix::Error| format!("error: --uid={text}: users cannot be looked up: {error}");
    if let Some(user) = User::from_name(text).map_err(failed)? {
        return Ok((user.uid, Some(user)));
    }
    let Ok(number) = text.parse::<u32>() else {
        return Err(format!("error: --uid={text}: there is no such user; give a name or a number"));
    };
    let uid = Uid::from_raw(number);
    Ok((uid, User::from_uid(uid).map_err(failed)?))
}

fn find_group(text: &str) -> Result<Gid, String> {
    let group = Group::from_name(text)
        .map_err(|error| format!("error: --gid={text}: groups cannot be looked up: {error}"))?;
    match (group, text.parse::<u32>()) {
        (Some(group), _) => Ok(group.gid),
        (None, Ok(number)) => Ok(Gid::from_raw(number)),
        (None, Err(_)) => {
            Err(format!("error: --gid={text}: there is no such group; give a name or a number"))
        }
    }
}

/// How many files the process may have open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// The limit in force.
    pub(crate) limit: u64,
    /// What the log should say about it.
    pub(crate) warning: Option<String>,
}

/// Raises the limit of open files as far as the system allows.
pub(crate) fn raise_open_files() -> OpenFiles {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            let warning = Some(format!("the limit of open files cannot be read: {error}"));
            return OpenFiles { limit: 0, warning };
        }
    };
    let (limit, mut warning) = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => (hard, None),
        Err(error) => {
            (soft, Some(format!("the limit of open files cannot be raised from {soft} to {hard}: {error}")))
        }
    };
    if warning.is_none() && limit < FEW_FILES {
        warning = Some(format!(
            "only {limit} files can be open at once, and each connection is one; raise it: ulimit -Hn, or LimitNOFILE= \
             in the systemd unit"
        ));
    }
    OpenFiles { limit, warning }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_pid_file_is_held_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        fs::write(&path, "999999999 left over\n").unwrap();
        let held = PidFile::create(&path).unwrap();
        let id = std::process::id();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{id}\n"));
        let error = PidFile::create(&path).unwrap_err();
        assert!(error.contains(&format!("held by process {id};")), "{error}");
        drop(held);
        assert!(!path.exists());
        assert!(
            PidFile::create(&folder.path().join("none/x.pid")).unwrap_err().contains("give another --pid")
        );
    }

    #[test]
    fn a_pid_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let held = PidFile::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_link_is_no_pid_file() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(PidFile::create(&link).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        let root = Identity::find(Some("root"), None).unwrap().unwrap();
        assert_eq!(root, Identity::find(Some("0"), Some("0")).unwrap().unwrap());
        assert_eq!(Identity::find(None, None), Ok(None));
        for (uid, gid, text) in [
            (Some("nobody-of-that-name"), None, "--uid=nobody-of-that-name: there is no such user"),
            (None, Some("no-such-group"), "--gid=no-such-group: there is no such group"),
            (Some("3987654321"), None, "add --gid"),
        ] {
            let error = Identity::find(uid, gid).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_limit_of_open_files_is_the_hard_one() {
        let files = raise_open_files();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, files.limit);
    }

    /// Runs [`child`] in a process of its own.
    fn run_child(part: &str) -> Output {
        run_child_with(part, Path::new(""))
    }

    fn run_child_with(part: &str, file: &Path) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env("CRTMP_TEST_PART", part)
            .env("CRTMP_TEST_FILE", file)
            .output()
            .unwrap()
    }

    /// The other side of the tests below, in a process that may fork and change its user.
    #[test]
    #[ignore = "run by other tests, in a process of its own"]
    fn child() {
        let part = std::env::var("CRTMP_TEST_PART").unwrap_or_default();
        if part == "identity" {
            let identity = Identity::find(Some("65534"), Some("65534")).unwrap().unwrap();
            identity.assume().unwrap();
            assert_eq!((getuid().as_raw(), getgid().as_raw()), (65534, 65534));
            let error = Identity::find(Some("0"), Some("0")).unwrap().unwrap().assume().unwrap_err();
            assert!(error.contains("only root can"), "{error}");
            std::process::exit(0);
        }
        if part == "pid" {
            let path = std::env::var_os("CRTMP_TEST_FILE").unwrap();
            let held = PidFile::create(Path::new(&path)).unwrap();
            Identity::find(Some("65534"), Some("65534")).unwrap().unwrap().assume().unwrap();
            drop(held);
            std::process::exit(0);
        }
        match daemonise().unwrap() {
            Fork::Parent(code) => std::process::exit(code.into()),
            Fork::Daemon(verdict) => match part.as_str() {
                "ready" => {
                    verdict.ready().unwrap();
                    assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
                    std::thread::sleep(Duration::from_secs(5));
                }
                "failed" => verdict.failed("error: port 1935 is in use\n"),
                _ => {}
            },
        }
        std::process::exit(0);
    }

    #[test]
    fn the_parent_leaves_when_the_daemon_is_ready_and_holds_nothing_of_its_terminal() {
        let start = Instant::now();
        let output = run_child("ready");
        assert_eq!(output.status.code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(4), "the daemon keeps the standard streams open");
    }

    #[test]
    fn a_daemon_that_cannot_start_is_heard() {
        for (part, text) in
            [("failed", "error: port 1935 is in use\n"), ("gone", "ended before it was ready")]
        {
            let output = run_child(part);
            assert_eq!(output.status.code(), Some(1), "{part}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn root_can_be_left_for_good() {
        if geteuid().is_root() {
            let output = run_child("identity");
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn a_pid_file_that_cannot_be_removed_is_emptied() {
        if geteuid().is_root() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("server.pid");
            let output = run_child_with("pid", &path);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(fs::read_to_string(&path).unwrap(), "");
        }
    }
}
