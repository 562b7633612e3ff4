//! The server's thread: commands come in as orders, and what they need of the workers is gathered without waiting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_reactor::{TakeReport, WorkerReport};
use serde_json::Value;

use super::{Server, commands::COMMANDS};
use crate::commands::{Caller, Job, Params, Reply, fail, success};

/// How long workers may take to say what is going on; those that take longer are missing from an answer, which
/// says so.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// Something for the server's thread.
pub enum Order {
    /// A command.
    Command(Job),
    /// A worker's report.
    Report(Box<WorkerReport>),
    /// An application has ended or is disabled.
    ApplicationEnded,
    /// A run of a launched process has ended.
    ProcessEnded {
        /// The number of the process.
        id: u64,
        /// The number of the run.
        run: u64,
    },
}

/// Hands an order to the server's thread.
pub type Post = Arc<dyn Fn(Order) + Send + Sync>;

/// What only the program around the server can do.
pub enum Wish {
    /// Read the configuration again; `plan` says what that would do instead of doing it.
    Reload {
        /// Say it only.
        plan: bool,
        /// Takes the reply.
        reply: Reply,
    },
    /// Log what is at least as important; -1: nothing.
    LogLevel {
        /// The level, from -1 to 6.
        level: i64,
        /// Takes the reply.
        reply: Reply,
    },
    /// End the server.
    End {
        /// Takes the reply.
        reply: Reply,
    },
}

/// What a command leaves.
pub(super) enum Outcome {
    /// It is done: a description and data.
    Done(&'static str, Value),
    /// It is done, and the text is what the table says.
    Data(Value),
    /// It cannot be done.
    Fail(String),
    /// The program has to do it.
    Wish(fn(Reply, &Params) -> Wish),
    /// Somebody else does it, and takes the way by which the outcome is told. Meanwhile others are served.
    Later(Box<dyn FnOnce(Finish)>),
}

/// Tells the outcome of a command, once, on whatever thread.
pub(super) type Finish = Box<dyn FnOnce(Result<Value, String>) + Send>;

impl<E: Into<String>> From<Result<Value, E>> for Outcome {
    fn from(result: Result<Value, E>) -> Self {
        result.map_or_else(|error| Self::Fail(error.into()), Self::Data)
    }
}

/// What a command works on beside the server.
pub(super) struct Run<'a> {
    pub(super) params: &'a Params,
    pub(super) caller: &'a Caller,
    /// Of the workers that answered in time; empty for commands that do not gather.
    pub(super) reports: &'a [WorkerReport],
    /// How many workers were asked; 0 for commands that do not gather.
    pub(super) asked: usize,
}

impl Run<'_> {
    /// What an answer begins with that lacks what some workers know.
    pub(super) fn partial(&self) -> Option<String> {
        let silent = self.asked.saturating_sub(self.reports.len());
        (silent > 0).then(|| format!("partial: {silent} of {} workers did not answer in time", self.asked))
    }

    /// That a thing is not there, as far as that is known.
    pub(super) fn missing(&self, thing: &str) -> String {
        match self.partial() {
            None => format!("there is no {thing}"),
            Some(partial) => format!("{partial}; the others have no {thing}; try again"),
        }
    }
}

/// Commands that wait for the workers' reports.
#[derive(Default)]
pub(super) struct Gathering {
    /// Those that the reports which are on their way are for.
    serving: Vec<Job>,
    /// Those that came since: they want to know what is true after they came.
    next: Vec<Job>,
    reports: Vec<WorkerReport>,
    until: Option<Instant>,
}

impl Server {
    /// Takes an order; what only the program can do comes back.
    pub fn on_order(&mut self, order: Order) -> Vec<Wish> {
        let mut wishes = Vec::new();
        match order {
            Order::Command(job) if COMMANDS[job.index].gathers => {
                self.gathering.next.push(job);
                self.gather();
            }
            Order::Command(job) => self.run(job, &[], &mut wishes),
            // What it has asked for ends with it.
            Order::ApplicationEnded => self.resume_links(),
            Order::ProcessEnded { id, run } => self.process_ended(id, run),
            Order::Report(report) => {
                // One that comes after its time was given up must not stand for that of another worker.
                self.gathering.reports.retain(|other| other.worker != report.worker);
                self.gathering.reports.push(*report);
                if self.gathering.reports.len() == self.workers.count() {
                    self.serve(&mut wishes);
                }
            }
        }
        wishes
    }

    /// When [`on_time`](Self::on_time) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sweep = (!self.retired.is_empty()).then(|| self.swept + super::SWEEP);
        let upkeep = self.upkeep_at();
        [self.gathering.until, sweep, upkeep, self.terms_at()].into_iter().flatten().min()
    }

    /// The time may have come for something.
    pub fn on_time(&mut self) -> Vec<Wish> {
        let now = Instant::now();
        let mut wishes = Vec::new();
        if self.gathering.until.is_some_and(|until| until <= now) {
            self.serve(&mut wishes);
        }
        if self.swept + super::SWEEP <= now {
            self.swept = now;
            self.sweep();
        }
        if self.terms_at().is_some_and(|at| at <= now) {
            self.look_at_terms();
        }
        self.upkeep(now);
        wishes
    }

    fn gather(&mut self) {
        if self.gathering.until.is_some() || self.gathering.next.is_empty() {
            return;
        }
        self.gathering.serving = std::mem::take(&mut self.gathering.next);
        self.gathering.until = Some(Instant::now() + REPORT_TIME);
        self.gathering.reports.clear();
        let post = self.environment.post.clone();
        let take: TakeReport = Arc::new(move |report| post(Order::Report(Box::new(report))));
        self.workers.ask_report(&take);
    }

    /// Answers those that waited, with what has come.
    fn serve(&mut self, wishes: &mut Vec<Wish>) {
        self.gathering.until = None;
        let mut reports = std::mem::take(&mut self.gathering.reports);
        reports.sort_by_key(|report| report.worker);
        for job in std::mem::take(&mut self.gathering.serving) {
            self.run(job, &reports, wishes);
        }
        self.gather();
    }

    fn run(&mut self, job: Job, reports: &[WorkerReport], wishes: &mut Vec<Wish>) {
        let Job { index, params, caller, reply } = job;
        let command = &COMMANDS[index];
        let asked = if command.gathers { self.workers.count() } else { 0 };
        let run = Run { params: &params, caller: &caller, reports, asked };
        let outcome = (command.run)(self, &run);
        let described = |text: &str| match run.partial() {
            None => text.to_owned(),
            Some(partial) => format!("{partial}; {text}"),
        };
        let value = match outcome {
            Outcome::Wish(wish) => return wishes.push(wish(reply, &params)),
            Outcome::Later(begin) => {
                let says = command.says;
                return begin(Box::new(move |result| {
                    reply(result.map_or_else(fail, |data| success(says, data)));
                }));
            }
            Outcome::Done(text, data) => success(&described(text), data),
            Outcome::Data(data) => success(&described(command.says), data),
            Outcome::Fail(text) => fail(text),
        };
        reply(value);
    }
}

#[cfg(test)]
mod tests {
    use crtmp_plugin::Rights;
    use serde_json::Map;

    use super::*;
    use crate::commands::{Access, Spec};

    #[test]
    fn what_silent_workers_may_have_is_not_said_to_be_missing() {
        let params = Spec::new("find", Access::Read, &[], "Finds.").check(&Map::new()).unwrap();
        let caller = Caller { name: "test".to_owned(), instance: 0, session: None, rights: Rights::All };
        let missing = |asked| {
            let run = Run { params: &params, caller: &caller, reports: &[], asked };
            (run.partial(), run.missing("stream 7"))
        };
        assert_eq!(missing(0), (None, "there is no stream 7".to_owned()));
        let partial = "partial: 2 of 2 workers did not answer in time";
        let text = format!("{partial}; the others have no stream 7; try again");
        assert_eq!(missing(2), (Some(partial.to_owned()), text));
    }
}
