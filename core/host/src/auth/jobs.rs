//! Where tries wait, and who does what takes long: never a worker, and never the thread of an application.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};
use crtmp_media::Limits;
use slog::{Logger, error};

/// Something to do. One that is dropped instead answers that nothing came of it.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped and nobody has a way to them any more.
pub(super) struct Jobs {
    pool: Sender<Job>,
    line: Arc<Line>,
    most: usize,
}

#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: BinaryHeap<Reverse<Put>>,
    count: u64,
    ended: bool,
}

/// A job that is put off.
struct Put {
    at: Instant,
    number: u64,
    job: Job,
}

impl PartialEq for Put {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Put {}

impl PartialOrd for Put {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Put {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Jobs {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub(super) fn start(limits: &Limits, log: &Logger) -> std::io::Result<Self> {
        let (pool, queue) = bounded::<Job>(limits.auth_queue);
        for number in 0..limits.auth_threads {
            let (queue, log) = (queue.clone(), log.clone());
            let work = move || queue.into_iter().for_each(|job| run(job, &log));
            thread::Builder::new().name(format!("passwords-{number}")).spawn(work)?;
        }
        let line = Arc::new(Line::default());
        let (waiting, log) = (line.clone(), log.clone());
        thread::Builder::new().name("put-off".to_owned()).spawn(move || waiting.serve(&log))?;
        Ok(Self { pool, line, most: limits.auth_waiting })
    }

    /// Has something done that takes long. False: as much waits already as may.
    pub(super) fn long(&self, job: Job) -> bool {
        self.pool.try_send(job).is_ok()
    }

    /// Has something done then. False: as much waits already as may.
    pub(super) fn at(&self, at: Instant, job: Job) -> bool {
        let mut waiting = self.line.lock();
        if waiting.jobs.len() >= self.most {
            return false;
        }
        waiting.count += 1;
        let number = waiting.count;
        waiting.jobs.push(Reverse(Put { at, number, job }));
        drop(waiting);
        self.line.changed.notify_one();
        true
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.line.lock().ended = true;
        self.line.changed.notify_one();
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, log: &Logger) {
        let mut waiting = self.lock();
        while !waiting.ended {
            let now = Instant::now();
            let next = waiting.jobs.peek().map(|Reverse(put)| put.at);
            waiting = match next {
                Some(at) if at <= now => {
                    let put = waiting.jobs.pop();
                    drop(waiting);
                    if let Some(Reverse(put)) = put {
                        run(put.job, log);
                    }
                    self.lock()
                }
                Some(at) => {
                    let time = at.saturating_duration_since(now);
                    self.changed.wait_timeout(waiting, time).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A job that panics costs its own peer, and no thread.
fn run(job: Job, log: &Logger) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        error!(log, "a check of a password has panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[test]
    fn as_many_checks_wait_as_may_and_a_panic_ends_none_of_the_threads() {
        let limits = Limits { auth_threads: 1, auth_queue: 2, ..Limits::default() };
        let jobs = Jobs::start(&limits, &log()).expect("threads");
        let (go, wait) = bounded::<()>(0);
        let (begun, begin) = mpsc::channel();
        let busy = Box::new(move || {
            begun.send(()).expect("the test");
            wait.recv().expect("the test");
            panic!("of the test");
        });
        assert!(jobs.long(busy));
        begin.recv().expect("it has begun");
        let (done, end) = mpsc::channel();
        for good in [true, true, false] {
            let done = done.clone();
            assert_eq!(jobs.long(Box::new(move || done.send(()).expect("the test"))), good);
        }
        go.send(()).expect("it waits");
        end.recv().expect("one");
        end.recv().expect("two");
    }

    #[test]
    fn what_is_put_off_is_done_in_the_order_of_its_times() {
        let limits = Limits { auth_waiting: 3, ..Limits::default() };
        let jobs = Jobs::start(&limits, &log()).expect("threads");
        let (done, end) = mpsc::channel();
        let start = Instant::now() + Duration::from_millis(50);
        for (number, good) in [(2, true), (1, true), (3, true), (4, false)] {
            let done = done.clone();
            let job = Box::new(move || done.send(number).expect("the test"));
            assert_eq!(jobs.at(start + Duration::from_millis(number), job), good);
        }
        assert_eq!(end.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(Instant::now() > start);
    }

    #[test]
    fn what_is_left_is_dropped_with_the_threads() {
        let jobs = Jobs::start(&Limits::default(), &log()).expect("threads");
        let (done, end) = mpsc::channel::<()>();
        let job = Box::new(move || drop(done));
        assert!(jobs.at(Instant::now() + Duration::from_secs(3600), job));
        drop(jobs);
        assert!(end.recv().is_err());
    }
}
