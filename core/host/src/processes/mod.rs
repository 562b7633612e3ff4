//! Programs that run beside the server: launched by command, kept alive, and ended with it.
//!
//! A program is never looked for, never given to a shell, and never any other than those of the table `processes` of
//! the configuration. Where to start: [`Processes`], all of them, which only the server's thread touches. `allowed`
//! says what may be launched, `run` is one run of a program with a thread that waits for its end, `output` what it
//! writes.

mod allowed;
mod output;
mod run;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slog::Logger;

pub(crate) use self::{
    allowed::Allowed,
    run::{Exit, Program},
};
use self::{output::Output, run::Run};
use crate::{
    config,
    events::Kind,
    secrets::{mask_arguments, mask_text},
};

/// How long a program that is kept alive waits for its next run, at first; twice as long each time.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The longest such wait. Who has lived as long begins anew.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// How long the end of the server waits for what it has killed.
const KILLED: Duration = Duration::from_secs(1);

/// The number by which EvoStream knows configurations of this kind.
const OPERATION: u64 = 6;

/// What is told of a process whose run has ended: its number and that of the run.
pub(crate) type Ended = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What processes need of the server.
pub(crate) struct Surroundings {
    pub(crate) log: Logger,
    /// Called from any thread when a run has ended.
    pub(crate) ended: Ended,
}

/// What is to be launched.
#[derive(Debug, Default)]
pub(crate) struct Launch {
    pub(crate) program: Program,
    /// Whether it is run again when it ends.
    pub(crate) keep_alive: bool,
    pub(crate) group_name: String,
}

/// All processes.
#[derive(Default)]
pub(crate) struct Processes {
    settings: config::Processes,
    allowed: Allowed,
    /// In the order of their numbers.
    list: Vec<Process>,
    /// Events that nobody has been told of yet.
    news: Vec<(Kind, Value)>,
}

struct Process {
    id: u64,
    launch: Launch,
    output: Output,
    stage: Stage,
    /// How often it has been started; the number of the run.
    runs: u64,
    /// When its last run began.
    since: Instant,
    back_off: Option<Duration>,
    last: Option<Exit>,
    /// Why it could not be started, where that is so.
    trouble: Option<String>,
}

enum Stage {
    Running(Run),
    /// Until the next run.
    Waiting(Instant),
    /// Told to end; killed at that time.
    Stopping(Run, Option<Instant>),
    /// For good.
    Ended,
}

impl Processes {
    /// Goes by these settings. Processes that they do not allow are ended.
    pub(crate) fn configure(
        &mut self,
        settings: &config::Processes,
        allowed: Allowed,
        around: &Surroundings,
    ) {
        self.settings = settings.clone();
        self.allowed = allowed;
        let mut gone = Vec::new();
        for process in &self.list {
            let program = &process.launch.program;
            let listed = |name: &String| self.settings.variables.contains(name);
            let variable = program.environment.iter().find(|(name, _)| !listed(name));
            let variables = variable.map_or(Ok(()), |(name, _)| {
                Err(format!("its variable {name} is not listed in `processes.variables` any more"))
            });
            if let Err(why) = self.allowed.file(&program.name).map(drop).and(variables) {
                slog::warn!(around.log, "process {} is ended by a reload: {why}", process.id);
                gone.push(process.id);
            }
        }
        for id in gone {
            let _ = self.stop(id);
        }
    }

    /// Launches a program.
    ///
    /// # Errors
    ///
    /// Why it is not launched.
    pub(crate) fn launch(&mut self, id: u64, launch: Launch, around: &Surroundings) -> Result<Value, String> {
        let most = usize::try_from(self.settings.max_processes).unwrap_or(usize::MAX);
        self.allowed.file(&launch.program.name)?;
        // Who has ended makes room; a reload may have left less of it than there are.
        while self.list.len() >= most {
            let over = self.list.iter().position(Process::is_over).ok_or_else(|| {
                format!("there are {most} processes (`processes.maxProcesses`); stop one, or allow more")
            })?;
            self.list.remove(over);
        }
        let output = Output::start(around.log.new(slog::o!("process" => id)))
            .map_err(|error| format!("no pipe or thread for its output: {error}"))?;
        let mut process = Process {
            id,
            launch,
            output,
            stage: Stage::Ended,
            runs: 0,
            since: Instant::now(),
            back_off: None,
            last: None,
            trouble: None,
        };
        process.run(&self.allowed, self.settings.stop_grace.get(), around)?;
        self.news.push((Kind::ProcessStarted, process.event()));
        let entry = process.entry();
        self.list.push(process);
        Ok(entry)
    }

    /// A run has ended.
    pub(crate) fn ended(&mut self, id: u64, run: u64, now: Instant, around: &Surroundings) {
        let Some(at) = self.list.iter().position(|process| process.id == id && process.runs == run) else {
            return;
        };
        let process = &mut self.list[at];
        let (Stage::Running(over) | Stage::Stopping(over, _)) = &process.stage else { return };
        let Some(exit) = over.wait(now) else { return };
        process.last = Some(exit);
        self.news.push((Kind::ProcessStopped, process.event()));
        slog::info!(around.log, "process {id} has ended: {}", exit.text();
            "program" => process.launch.program.name.display().to_string(), "run" => run);
        if matches!(process.stage, Stage::Stopping(..)) {
            self.list.remove(at);
        } else if process.launch.keep_alive {
            process.wait_for_next(now);
        } else {
            process.stage = Stage::Ended;
        }
    }

    /// When [`upkeep`](Self::upkeep) is to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = |process: &Process| match process.stage {
            Stage::Waiting(at) => Some(at),
            Stage::Stopping(_, at) => at,
            Stage::Running(_) | Stage::Ended => None,
        };
        self.list.iter().filter_map(due).min()
    }

    /// Starts what has waited long enough, kills what has not ended in time.
    pub(crate) fn upkeep(&mut self, now: Instant, around: &Surroundings) {
        for process in &mut self.list {
            match &mut process.stage {
                Stage::Stopping(run, kill @ Some(_)) if kill.is_some_and(|at| at <= now) => {
                    slog::warn!(around.log, "process {} did not end in time and is killed", process.id);
                    run.kill();
                    *kill = None;
                }
                Stage::Waiting(at) if *at <= now => {
                    match process.run(&self.allowed, self.settings.stop_grace.get(), around) {
                        Ok(()) => self.news.push((Kind::ProcessStarted, process.event())),
                        Err(why) => {
                            slog::warn!(around.log, "process {} cannot be started again: {why}", process.id);
                            process.trouble = Some(why);
                            process.since = now;
                            process.wait_for_next(now);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Ends a process for good and forgets it; returns what is known of it.
    ///
    /// # Errors
    ///
    /// If there is none of this number.
    pub(crate) fn stop(&mut self, id: u64) -> Result<Value, String> {
        let at = self
            .list
            .iter()
            .position(|process| process.id == id)
            .ok_or_else(|| format!("there is no process {id}; `listProcesses` lists all"))?;
        let process = &mut self.list[at];
        match &process.stage {
            Stage::Running(run) => {
                run.end();
                let kill_at = Instant::now() + self.settings.stop_grace.get();
                process.stage = Stage::Stopping(run.clone(), Some(kill_at));
                Ok(process.entry())
            }
            Stage::Stopping(..) => Ok(process.entry()),
            Stage::Waiting(_) | Stage::Ended => {
                let mut process = self.list.remove(at);
                process.stage = Stage::Ended;
                Ok(process.entry())
            }
        }
    }

    /// Asks all of them to end. What does is told by [`finish`](Self::finish).
    pub(crate) fn end(&mut self) {
        let all: Vec<u64> = self.list.iter().map(|process| process.id).collect();
        for id in all {
            let _ = self.stop(id);
        }
    }

    /// Waits for the end of those that [`end`](Self::end) has asked, and kills those that take too long, at `until` at
    /// the latest.
    pub(crate) fn finish(&mut self, until: Instant, around: &Surroundings) {
        for process in &self.list {
            if let Stage::Stopping(run, Some(kill_at)) = &process.stage
                && run.wait(until.min(*kill_at)).is_none()
            {
                slog::warn!(around.log, "process {} did not end in time and is killed", process.id);
                run.kill();
            }
        }
        let until = Instant::now() + KILLED;
        for mut process in std::mem::take(&mut self.list) {
            let Stage::Stopping(run, _) = &process.stage else { continue };
            process.last = run.wait(until);
            self.news.push((Kind::ProcessStopped, process.event()));
        }
    }

    /// What is known of each.
    pub(crate) fn entries(&self) -> Vec<Value> {
        self.list.iter().map(Process::entry).collect()
    }

    /// Events that have not been told yet.
    pub(crate) fn news(&mut self) -> Vec<(Kind, Value)> {
        std::mem::take(&mut self.news)
    }
}

impl Process {
    /// Whether nothing of it will run any more.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    fn run(&mut self, allowed: &Allowed, grace: Duration, around: &Surroundings) -> Result<(), String> {
        let program = &self.launch.program;
        let file = allowed.file(&program.name)?.to_owned();
        let (id, number, ended) = (self.id, self.runs + 1, around.ended.clone());
        let run = self
            .output
            .writer()
            .and_then(|writer| Run::start(program, file, writer, grace, move || ended(id, number)))
            .map_err(|error| format!("the system does not start {}: {error}", shown(&program.name)))?;
        slog::info!(around.log, "process {id} is started";
            "program" => program.name.display().to_string(), "pid" => run.id(), "run" => number);
        self.runs = number;
        self.since = Instant::now();
        self.trouble = None;
        self.stage = Stage::Running(run);
        Ok(())
    }

    fn wait_for_next(&mut self, now: Instant) {
        let wait = back_off(self.back_off, now.saturating_duration_since(self.since));
        self.back_off = Some(wait);
        self.stage = Stage::Waiting(now + wait);
    }

    fn pid(&self) -> Option<i32> {
        match &self.stage {
            Stage::Running(run) | Stage::Stopping(run, _) => Some(run.id()),
            Stage::Waiting(_) | Stage::Ended => None,
        }
    }

    /// What commands show of it. What its environment holds may be secret and is not shown.
    fn entry(&self) -> Value {
        let mut entry = self.event();
        let state = match self.stage {
            Stage::Running(_) => "running",
            Stage::Waiting(_) => "waiting",
            Stage::Stopping(..) => "stopping",
            Stage::Ended => "ended",
        };
        let names: Vec<&str> = self.launch.program.environment.iter().map(|(name, _)| &**name).collect();
        entry["argumentList"] = mask_arguments(&self.launch.program.arguments).into();
        entry["environment"] = names.into();
        entry["state"] = state.into();
        entry["runs"] = self.runs.into();
        entry["description"] = self.trouble.clone().into();
        let up_time = self.pid().map(|_| u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        entry["upTime"] = up_time.into();
        let lines: Vec<String> = self.output.last_lines().iter().map(|line| mask_text(line)).collect();
        entry["lastLines"] = lines.into();
        entry
    }

    /// What events tell of it.
    fn event(&self) -> Value {
        let Launch { program, keep_alive, group_name } = &self.launch;
        let (code, signal) = match self.last {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            Some(Exit::Unknown) | None => (None, None),
        };
        json!({
            "id": self.id,
            "configId": self.id,
            "pid": self.pid(),
            "fullBinaryPath": program.name.to_string_lossy(),
            "arguments": mask_arguments(&program.arguments).join(" "),
            "keepAlive": keep_alive,
            "groupName": group_name,
            "operationType": OPERATION,
            "exitCode": code,
            "signal": signal,
        })
    }
}

impl Exit {
    fn text(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::Unknown => "nobody knows how".to_owned(),
        }
    }
}

/// How long to wait before the next run, after such a wait before the last one, which has lived so long.
fn back_off(last: Option<Duration>, lived: Duration) -> Duration {
    match last {
        Some(last) if lived < BACK_OFF_MAX => (last * 2).min(BACK_OFF_MAX),
        _ => BACK_OFF,
    }
}

fn shown(path: &Path) -> String {
    config::quoted(&path.to_string_lossy())
}
