//! Processes that behave, and such that do not. EXE-01 to EXE-05.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
};

use crtmp_media::Seconds;
use slog::Discard;
use tempfile::TempDir;

use super::*;

/// As `/proc` shows it.
const O_CLOEXEC: i32 = 0o2_000_000;

/// Enough time for anything that should happen soon, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Processes as the server minds them, and a folder for what they leave.
struct Stage {
    processes: Processes,
    around: Surroundings,
    ended: Receiver<(u64, u64)>,
    folder: TempDir,
    next: u64,
}

impl Stage {
    /// All of these shell scripts are allowed, by their names.
    fn new(scripts: &[(&str, &str)], max_processes: u32, grace: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut allow = Vec::new();
        for (name, text) in scripts {
            let file = folder.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            allow.push(file);
        }
        let (sender, ended) = channel();
        let sender = std::sync::Mutex::new(sender);
        let around = Surroundings {
            log: Logger::root(Discard, slog::o!()),
            ended: Arc::new(move |id, run| {
                let _ = sender.lock().unwrap().send((id, run));
            }),
        };
        let stop_grace = Seconds(Duration::from_secs_f64(grace));
        let allowed = Allowed::read(&allow).unwrap();
        let mut processes = Processes::default();
        let variables = vec!["DIR".to_owned()];
        let settings = config::Processes { allow, variables, max_processes, stop_grace };
        processes.configure(&settings, allowed, &around);
        Self { processes, around, ended, folder, next: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch(&mut self, name: &str, arguments: &[&str], keep_alive: bool) -> Result<Value, String> {
        loop {
            match self.try_launch(name, arguments, keep_alive) {
                // Another test that starts a program just now has our script open for writing, until it has started.
                Err(why) if why.contains("Text file busy") => self.next -= 1,
                other => return other,
            }
        }
    }

    fn try_launch(&mut self, name: &str, arguments: &[&str], keep_alive: bool) -> Result<Value, String> {
        self.next += 1;
        let program = Program {
            name: self.path(name),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: vec![("DIR".into(), self.folder.path().to_str().unwrap().into())],
        };
        let launch = Launch { program, keep_alive, group_name: "g".into() };
        self.processes.launch(self.next, launch, &self.around)
    }

    /// Waits for the end of a run.
    fn mind(&mut self) {
        let (id, run) = self.ended.recv_timeout(SOON).expect("a run ends");
        self.processes.ended(id, run, Instant::now(), &self.around);
    }

    /// Lets the time come for whatever is next.
    fn skip(&mut self) -> Duration {
        let due = self.processes.due().expect("something is due");
        let wait = due.saturating_duration_since(Instant::now());
        self.processes.upkeep(due, &self.around);
        wait
    }

    /// What a process writes, once it has written so many lines.
    fn lines(&self, id: u64, count: usize) -> Vec<Value> {
        wait_for(|| {
            let entry = self.processes.entries().into_iter().find(|entry| entry["id"] == id)?;
            let lines = entry["lastLines"].as_array()?.clone();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn kinds(&mut self) -> Vec<Kind> {
        self.processes.news().into_iter().map(|(kind, _)| kind).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.processes.end();
        self.processes.finish(Instant::now() + SOON, &self.around);
    }
}

fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process lives; zombies do not.
fn lives(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// EXE-01, EXE-04: each argument is one, whatever is in it.
#[test]
fn arguments_reach_the_program_as_they_are() {
    let script = "for a in \"$@\"; do printf '<%s>' \"$a\"; done > \"$DIR/out\"; pwd; exec env";
    let mut stage = Stage::new(&[("show", script)], 4, 1.0);
    let odd =
        ["; rm -rf /", "$(id)", "`id`", "-i", "--x=y", "a  b", "two\nlines", "", "'\"\\", "*", "~", "|&>"];
    stage.launch("show", &odd, false).unwrap();
    stage.mind();
    let written = fs::read_to_string(stage.path("out")).unwrap();
    assert_eq!(written, odd.iter().map(|argument| format!("<{argument}>")).collect::<String>());

    let lines = stage.lines(1, 5);
    let mut lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    lines.sort_unstable();
    let folder = format!("DIR={}", stage.folder.path().display());
    // The shell adds PWD, which looks like a secret.
    let all = ["/", &folder, "LANG=C.UTF-8", "PATH=/usr/bin:/bin", "PWD=***"];
    assert_eq!(lines, all, "nothing of our environment");
    let entry = &stage.processes.entries()[0];
    assert_eq!(
        (&entry["state"], &entry["exitCode"], &entry["pid"]),
        (&json!("ended"), &json!(0), &json!(null))
    );
    assert_eq!(entry["environment"], json!(["DIR"]), "values are not shown");
    assert_eq!(stage.kinds(), [Kind::ProcessStarted, Kind::ProcessStopped]);
}

/// A process has nothing of ours open, is alone in its group, and reads nothing.
#[test]
fn a_process_inherits_nothing() {
    let script = "readlink /proc/$$/fd/0; cut -d' ' -f1,5 /proc/$$/stat; \
                  grep -E 'Sig(Blk|Ign)' /proc/self/status; exec ls /proc/self/fd";
    let mut stage = Stage::new(&[("show", script)], 4, 1.0);
    let _open = fs::File::open("/dev/null").unwrap();
    stage.launch("show", &[], false).unwrap();
    stage.mind();
    let lines = stage.lines(1, 8);
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    assert_eq!(lines[0], "/dev/null");
    let (process, group) = lines[1].split_once(' ').unwrap();
    assert_eq!(process, group, "it leads a group of its own");
    let set = |line: &str| {
        line.split_whitespace().last().and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap()
    };
    // What whoever started this test has us ignore, as `nohup` does, everybody is to ignore. Those above are the C
    // library's own.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let before = set(status.lines().find(|line| line.starts_with("SigIgn")).unwrap());
    for line in &lines[2..4] {
        assert_eq!(set(line) & 0x7FFF_FFFF & !before, 0, "no signal is blocked or ignored: {line}");
    }
    // What whoever started this test has left open for all is not ours; the server closes that at its start.
    let for_all = |descriptor: &&str| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| {
            i32::from_str_radix(flags.trim(), 8).is_ok_and(|flags| flags & O_CLOEXEC == 0)
        })
    };
    let ours: Vec<&str> = lines[4..].iter().copied().filter(|descriptor| !for_all(descriptor)).collect();
    // 3 is the folder that is listed.
    assert!(ours.iter().all(|descriptor| *descriptor == "3"), "{lines:?}");
}

/// EXE-05: it hangs and ignores SIGTERM, as do its children.
#[test]
fn what_does_not_end_is_killed_with_its_children() {
    let script = "trap '' TERM; (while :; do sleep 1000; done) & echo $!; while :; do sleep 1000; done";
    let mut stage = Stage::new(&[("hang", script)], 4, 0.2);
    stage.launch("hang", &[], true).unwrap();
    let grandchild = stage.lines(1, 1)[0].as_str().unwrap().to_owned();
    let child = stage.processes.entries()[0]["pid"].to_string();
    assert!(lives(&child) && lives(&grandchild));
    let entry = stage.processes.stop(1).unwrap();
    assert_eq!(entry["state"], "stopping");
    stage.skip();
    stage.mind();
    wait_for(|| (!lives(&child) && !lives(&grandchild)).then_some(()));
    let news = stage.processes.news();
    assert_eq!(news[1].0, Kind::ProcessStopped);
    assert_eq!(news[1].1["signal"], 9);
    assert_eq!(stage.processes.entries(), Vec::<Value>::new(), "it is forgotten");
    assert!(stage.processes.stop(1).unwrap_err().contains("there is no process 1"));
}

/// EXE-05: it forks and goes; what it leaves is ended too, before it is run again.
#[test]
fn what_a_process_leaves_behind_is_ended() {
    let script = "trap '' TERM; (while :; do sleep 1000; done) & echo $!";
    let mut stage = Stage::new(&[("fork", script)], 4, 0.1);
    stage.launch("fork", &[], true).unwrap();
    stage.mind();
    let grandchild = stage.lines(1, 1)[0].as_str().unwrap().to_owned();
    wait_for(|| (!lives(&grandchild)).then_some(()));
    assert_eq!(stage.processes.entries()[0]["state"], "waiting");
}

/// EXE-05: it writes without end, also after what it was run in; only the last of it is kept.
#[test]
fn a_flood_of_output_is_bounded_and_holds_nobody_up() {
    let mut stage = Stage::new(&[("flood", "exec yes $(printf '%0100d' 7)")], 4, 1.0);
    stage.launch("flood", &[], true).unwrap();
    assert_eq!(stage.lines(1, 10).len(), 10);
    stage.processes.stop(1).unwrap();
    stage.mind();
    assert_eq!(stage.processes.news()[1].1["signal"], 15);
}

/// EXE-05: it ends at once, again and again.
#[test]
fn what_ends_at_once_waits_longer_each_time() {
    let mut stage = Stage::new(&[("fail", "echo run >> \"$DIR/runs\"; exit 3")], 4, 1.0);
    stage.launch("fail", &[], true).unwrap();
    for (run, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        stage.mind();
        let entry = &stage.processes.entries()[0];
        assert_eq!((&entry["state"], &entry["exitCode"]), (&json!("waiting"), &json!(3)));
        assert_eq!(entry["runs"], run);
        let wait = stage.skip();
        let expected = Duration::from_secs(seconds);
        assert!(wait <= expected && wait > expected - Duration::from_millis(900), "{wait:?}");
    }
    stage.mind();
    assert_eq!(fs::read_to_string(stage.path("runs")).unwrap().lines().count(), 5);
    stage.processes.stop(1).unwrap();
    assert_eq!(stage.processes.due(), None, "it is not run again");
    assert_eq!(stage.kinds().len(), 10);
}

#[test]
fn what_cannot_be_run_again_is_tried_again() {
    let mut stage = Stage::new(&[("gone", "exit 1")], 4, 1.0);
    stage.launch("gone", &[], true).unwrap();
    stage.mind();
    let text = fs::read(stage.path("gone")).unwrap();
    fs::remove_file(stage.path("gone")).unwrap();
    stage.skip();
    let entry = &stage.processes.entries()[0];
    assert_eq!((&entry["state"], &entry["runs"]), (&json!("waiting"), &json!(1)));
    let why = entry["description"].as_str().unwrap();
    assert!(why.contains("cannot be launched: No such file"), "{why}");
    fs::write(stage.path("gone"), text).unwrap();
    fs::set_permissions(stage.path("gone"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(stage.skip() > Duration::from_secs(1));
    stage.mind();
    let entry = &stage.processes.entries()[0];
    assert_eq!((&entry["runs"], &entry["description"]), (&json!(2), &json!(null)));
}

#[test]
fn the_wait_grows_to_a_minute_and_begins_anew_after_a_good_life() {
    let seconds = Duration::from_secs;
    let mut wait = None;
    let mut waits = Vec::new();
    for _ in 0..8 {
        wait = Some(back_off(wait, seconds(59)));
        waits.extend(wait.map(|wait| wait.as_secs()));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(back_off(wait, seconds(60)), seconds(1));
    assert_eq!(back_off(None, seconds(0)), seconds(1));
}

/// EXE-03, and programs that the system does not start.
#[test]
fn what_is_not_allowed_or_cannot_run_is_refused() {
    let mut stage = Stage::new(&[], 4, 1.0);
    let none = stage.launch("x", &[], true).unwrap_err();
    assert!(none.contains("the configuration allows no program"), "{none}");

    let mut stage = Stage::new(&[("good", "true"), ("bad", "")], 4, 1.0);
    fs::write(stage.path("bad"), "#!/nowhere\n").unwrap();
    let bad = stage.launch("bad", &[], true).unwrap_err();
    assert!(bad.starts_with("the system does not start \"/") && bad.contains("No such file"), "{bad}");
    assert!(stage.launch("other", &[], true).unwrap_err().contains("not listed"));
    assert!(stage.processes.entries().is_empty() && stage.kinds().is_empty());
}

#[test]
fn there_are_as_many_as_the_limit_says_and_those_that_ended_make_room() {
    let mut stage = Stage::new(&[("long", "exec sleep 1000"), ("short", "true")], 3, 1.0);
    stage.launch("short", &[], false).unwrap();
    stage.mind();
    stage.launch("long", &[], false).unwrap();
    stage.launch("long", &[], false).unwrap();
    assert_eq!(stage.processes.entries().len(), 3);
    stage.launch("long", &[], false).unwrap();
    assert_eq!(stage.processes.entries().len(), 3);
    let full = stage.launch("long", &[], false).unwrap_err();
    assert_eq!(full, "there are 3 processes (`processes.maxProcesses`); stop one, or allow more");
}

#[test]
fn a_lower_limit_holds_for_the_next_although_some_have_ended() {
    let mut stage = Stage::new(&[("long", "exec sleep 1000"), ("short", "true")], 4, 1.0);
    for name in ["long", "short", "short", "long"] {
        stage.launch(name, &[], false).unwrap();
    }
    stage.mind();
    stage.mind();
    let mut settings = stage.processes.settings.clone();
    settings.max_processes = 2;
    let allowed = Allowed::read(&settings.allow).unwrap();
    stage.processes.configure(&settings, allowed, &stage.around);
    let full = stage.launch("long", &[], false).unwrap_err();
    assert!(full.starts_with("there are 2 processes"), "{full}");
    assert_eq!(stage.processes.entries().len(), 2, "those that run");
}

#[test]
fn a_reload_ends_what_it_does_not_allow_any_more() {
    let mut stage = Stage::new(&[("stays", "exec sleep 1000"), ("goes", "exec sleep 1000")], 4, 1.0);
    stage.launch("stays", &[], true).unwrap();
    stage.launch("goes", &[], true).unwrap();
    let mut configure = |variables: Vec<String>| {
        let allow = vec![stage.path("stays")];
        let allowed = Allowed::read(&allow).unwrap();
        let settings = config::Processes { allow, variables, ..config::Processes::default() };
        stage.processes.configure(&settings, allowed, &stage.around);
        stage.mind();
        stage.processes.entries()
    };
    let entries = configure(vec!["DIR".to_owned()]);
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0]["id"], &entries[0]["state"]), (&json!(1), &json!("running")));
    assert_eq!(configure(Vec::new()), [json!(null); 0], "its variable is not allowed any more");
}

/// A grace may be longer than the server has.
#[test]
fn the_end_takes_no_longer_than_it_may() {
    let mut stage = Stage::new(&[("hang", "trap '' TERM; echo up; while :; do sleep 1000; done")], 4, 60.0);
    stage.launch("hang", &[], true).unwrap();
    stage.lines(1, 1);
    stage.processes.end();
    let begin = Instant::now();
    stage.processes.finish(begin + Duration::from_millis(200), &stage.around);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(stage.processes.news()[1].1["signal"], 9);
}

/// EXE-05, at the end of the server.
#[test]
fn the_end_takes_no_longer_than_the_grace() {
    let mut stage = Stage::new(
        &[
            ("hang", "trap '' TERM; echo up; while :; do sleep 1000; done"),
            ("good", "echo up; exec sleep 1000"),
        ],
        4,
        0.3,
    );
    for name in ["hang", "good", "hang"] {
        stage.launch(name, &[], true).unwrap();
    }
    (1..=3).for_each(|id| drop(stage.lines(id, 1)));
    stage.processes.end();
    let begin = Instant::now();
    stage.processes.finish(begin + SOON, &stage.around);
    assert!(begin.elapsed() < Duration::from_secs(5));
    let news = stage.processes.news();
    let signals: Vec<_> = news.iter().skip(3).map(|(_, payload)| payload["signal"].clone()).collect();
    assert_eq!(signals, [9, 15, 9]);
    assert!(stage.processes.entries().is_empty());
}
