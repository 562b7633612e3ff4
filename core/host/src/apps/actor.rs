//! The thread of an application, and what it shares with the rest of the server.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use crtmp_plugin::foreign::{AppEntry, Failure, Instance, Outcome, Services};
use crtmp_plugin::{self as plugin, Gone, Level, Message, Metadata, Play, Publish, RequestId, Stream};
use serde_json::Value;
use slog::{Logger, error};

use super::mailbox::{Job, What};
use super::request::{Effect, MessageInfo, NoticeKind, PlayInfo, PublishInfo, RequestKind, Sink};
use super::state::{Next, State};
use super::watchdog::Alarm;

/// What handle, thread, watchdog and the application's own threads share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) logger: Logger,
    state: Mutex<State>,
    /// Something came into the mailbox, or the end is near.
    wake: Condvar,
    /// The thread is over.
    over: Condvar,
    sink: Sink,
    alarm: Arc<Alarm>,
    started: Instant,
}

impl Shared {
    pub(super) fn new(name: &str, state: State, logger: Logger, sink: Sink, alarm: Arc<Alarm>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            logger,
            state: Mutex::new(state),
            wake: Condvar::new(),
            over: Condvar::new(),
            sink,
            alarm,
            started: Instant::now(),
        })
    }

    /// Changes the state, then wakes the thread.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, asleep) = {
            let mut state = self.state();
            let result = change(&mut state);
            (result, std::mem::take(&mut state.asleep))
        };
        // A thread that works looks again by itself: one wake-up for however many come meanwhile.
        if asleep {
            self.wake.notify_one();
        }
        result
    }

    /// Looks at or changes the state, and then says what that asks for: never under the lock.
    fn with<R>(&self, work: impl FnOnce(&mut State, &mut Vec<Effect>) -> R) -> R {
        let mut effects = Vec::new();
        let result = work(&mut self.state(), &mut effects);
        effects.into_iter().for_each(&self.sink);
        result
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the watchdog.
    pub(super) fn check(&self, now: Instant) -> Option<Instant> {
        let next = self.with(|state, effects| state.check(now, effects));
        // What is called off must be told.
        self.wake.notify_one();
        next
    }

    /// From now on, all that the application says is late.
    pub(super) fn end(&self) {
        self.with(|state, effects| state.end(effects));
        self.wake.notify_one();
    }

    /// The body of the thread.
    pub(super) fn run(
        self: &Arc<Self>,
        entry: &AppEntry,
        settings: &str,
        started: &Sender<Result<(), Failure>>,
    ) {
        let mut instance = match entry.create(Door(Arc::downgrade(self)), settings) {
            Ok(instance) => instance,
            Err(failure) => {
                let _ = started.send(Err(failure));
                return;
            }
        };
        // If nobody waits any more, the state says so as well: the loop ends at once.
        let _ = started.send(Ok(()));
        while let Some(job) = self.next() {
            let result = call(&mut instance, &job);
            let put_off = matches!(result, Ok(Outcome::Later));
            self.with(|state, effects| state.finished(result, Instant::now(), effects));
            if put_off && let Some(next) = self.check(Instant::now()) {
                self.alarm.set(next);
            }
        }
        if let Err(failure) = instance.destroy() {
            error!(self.logger, "application `{}`, at its end: {failure}", self.name);
        }
    }

    /// Waits for the next hook to call; `None`: the end.
    fn next(&self) -> Option<Job> {
        loop {
            let mut effects = Vec::new();
            let next = {
                let mut state = self.state();
                loop {
                    match state.next(Instant::now(), &mut effects) {
                        Next::Wait if effects.is_empty() => {
                            state.asleep = true;
                            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                        }
                        next => break next,
                    }
                }
            };
            effects.into_iter().for_each(&self.sink);
            match next {
                Next::Call(job, deadline) => {
                    self.alarm.set(deadline);
                    return Some(job);
                }
                Next::Wait => {}
                Next::End => return None,
            }
        }
    }

    /// The thread says that it is over.
    pub(super) fn thread_over(&self, over: &Mutex<bool>) {
        self.end();
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }

    /// Waits until the thread is over, at most for `patience`.
    pub(super) fn wait_over(&self, over: &Mutex<bool>, patience: Duration) -> bool {
        let over = over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.over.wait_timeout_while(over, patience, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.name)
    }
}

/// What an application sees of the server. Does not keep the application alive.
struct Door(Weak<Shared>);

impl Services for Door {
    fn log(&self, level: Level, text: &str) {
        if let Some(shared) = self.0.upgrade() {
            log(&shared.logger, level, text);
        }
    }

    fn now_ms(&self) -> u64 {
        self.0.upgrade().map_or(0, |shared| shared.started.elapsed().as_millis() as u64)
    }

    fn respond(&self, request: u64, answer: Option<plugin::Answer>) -> Result<(), Gone> {
        let shared = self.0.upgrade().ok_or(Gone)?;
        let effect = shared.state().respond(request, answer)?;
        (shared.sink)(effect);
        Ok(())
    }

    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone> {
        let shared = self.0.upgrade().ok_or(Gone)?;
        if shared.state().is_over() {
            return Err(Gone);
        }
        (shared.sink)(Effect::Close { conn, code: code.to_owned(), text: text.to_owned() });
        Ok(())
    }
}

/// Writes an application's line. slog has no level for the two finest of ours: a tag tells them apart.
pub(super) fn log(logger: &Logger, level: Level, text: &str) {
    match level {
        Level::Fatal => slog::crit!(logger, "{text}"),
        Level::Error => slog::error!(logger, "{text}"),
        Level::Warning => slog::warn!(logger, "{text}"),
        Level::Info => slog::info!(logger, "{text}"),
        Level::Debug => slog::debug!(logger, "{text}"),
        Level::Fine => slog::log!(logger, slog::Level::Trace, "fine", "{text}"),
        Level::Finest => slog::log!(logger, slog::Level::Trace, "finest", "{text}"),
    }
}

/// Calls the hook of a job.
fn call(instance: &mut Instance, job: &Job) -> Result<Outcome, Failure> {
    let conn = &*job.conn;
    match &job.what {
        What::Request { ticket, kind } => {
            let request = RequestId(*ticket);
            match kind {
                RequestKind::Connect => instance.connect(conn, request),
                RequestKind::Publish(PublishInfo { stream_id, name, query, kind }) => {
                    let publish = Publish { request, stream_id: *stream_id, name, query, kind: *kind };
                    instance.publish(conn, &publish)
                }
                RequestKind::Play(PlayInfo { stream_id, name, query, start, duration, reset }) => {
                    let (stream_id, start, duration, reset) = (*stream_id, *start, *duration, *reset);
                    instance.play(conn, &Play { request, stream_id, name, query, start, duration, reset })
                }
                RequestKind::Message(MessageInfo { stream_id, name, args, wants_reply }) => {
                    let args_json = &Value::from(args.as_slice()).to_string();
                    let (stream_id, wants_reply) = (*stream_id, *wants_reply);
                    instance.message(conn, &Message { request, stream_id, name, args_json, wants_reply })
                }
            }
        }
        What::Notice(NoticeKind::Metadata { stream_id, name, values }) => {
            let values_json = &serde_json::json!(values).to_string();
            instance.metadata(conn, &Metadata { stream_id: *stream_id, name, values_json })
        }
        What::Notice(NoticeKind::Unpublish { stream_id, name }) => {
            instance.unpublish(conn, &Stream { stream_id: *stream_id, name })
        }
        What::Notice(NoticeKind::Unplay { stream_id, name }) => {
            instance.unplay(conn, &Stream { stream_id: *stream_id, name })
        }
        What::Notice(NoticeKind::Close) => instance.close(conn),
        What::Cancel { ticket } => instance.cancel(conn, RequestId(*ticket)),
    }
}
