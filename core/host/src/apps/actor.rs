//! The thread of an application, and what it shares with the rest of the server.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use crtmp_media::{Frame, MediaKind};
use crtmp_plugin::foreign::{
    AppEntry, ConnInfo, Failure, Instance, Outcome, Services, SourceState, What as Told,
};
use crtmp_plugin::{
    self as plugin, CommandCall, Gone, Level, Message, Metadata, NotTaken, Play, Publish, Pull, Push,
    RequestId, Rights, SharedObject, Stream,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use slog::{Logger, error};

use super::mailbox::{Job, What};
use super::request::{
    Effect, MessageInfo, NoticeKind, Outside, PlayInfo, PublishInfo, RequestKind, SharedObjectInfo,
};
use super::state::{Next, State};
use super::watchdog::Alarm;

/// Bytes of JSON in which an application may describe a command.
const COMMAND: usize = 64 * 1024;

thread_local! {
    /// The connection whose hook runs on this thread: what is asked meanwhile is asked for it.
    static SERVED: RefCell<Option<Arc<ConnInfo>>> = const { RefCell::new(None) };
}

/// What handle, thread, watchdog and the application's own threads share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) logger: Logger,
    folder: String,
    state: Mutex<State>,
    /// Something came into the mailbox, or the end is near.
    wake: Condvar,
    /// The thread is over.
    over: Condvar,
    outside: Outside,
    alarm: Arc<Alarm>,
    started: Instant,
}

impl Shared {
    pub(super) fn new(
        name: &str,
        folder: &str,
        state: State,
        logger: Logger,
        outside: Outside,
        alarm: Arc<Alarm>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            logger,
            state: Mutex::new(state),
            wake: Condvar::new(),
            over: Condvar::new(),
            outside,
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
        let (result, ended) = {
            let mut state = self.state();
            (work(&mut state, &mut effects), state.has_just_ended())
        };
        effects.into_iter().for_each(|effect| self.say(effect));
        if ended {
            (self.outside.ended)();
        }
        result
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what the application, or the server for it, has decided.
    fn say(&self, effect: Effect) {
        // Answers are always taken.
        let _ = (self.outside.effect)(effect);
    }

    /// For the watchdog.
    pub(super) fn check(&self, now: Instant) -> Option<Instant> {
        let next = self.with(|state, effects| state.check(now, effects));
        // What is called off must be told.
        self.wake.notify_one();
        next
    }

    /// Refuses all from now on.
    pub(super) fn disable(&self) {
        self.with(|state, effects| state.disable(effects));
        self.wake.notify_one();
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
        let mut instance = match entry.create(
            Door { shared: Arc::downgrade(self), folder: self.folder.clone(), name: self.name.clone() },
            settings,
        ) {
            Ok(instance) => instance,
            Err(failure) => {
                let _ = started.send(Err(failure));
                return;
            }
        };
        // If nobody waits any more, the state says so as well: the loop ends at once.
        let _ = started.send(Ok(()));
        while let Some(job) = self.next() {
            // A result is the application's own affair, though it stands in a connection's line.
            let own = matches!(job.what, What::Notice(NoticeKind::Result { .. }));
            SERVED.set(Some(job.conn.clone()).filter(|conn| conn.id != 0 && !own));
            let result = call(&mut instance, &job);
            SERVED.set(None);
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
                        Next::Wait(until) if effects.is_empty() => {
                            state.asleep = true;
                            state = match until {
                                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                                Some(until) => {
                                    let time = until.saturating_duration_since(Instant::now());
                                    let waited = self.wake.wait_timeout(state, time);
                                    waited.unwrap_or_else(PoisonError::into_inner).0
                                }
                            };
                        }
                        next => break next,
                    }
                }
            };
            effects.into_iter().for_each(|effect| self.say(effect));
            match next {
                Next::Call(job, deadline) => {
                    self.alarm.set(deadline);
                    return Some(job);
                }
                Next::Wait(_) => {}
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
struct Door {
    shared: Weak<Shared>,
    /// Both kept for whoever asks when the application has ended.
    folder: String,
    name: String,
}

impl Services for Door {
    fn folder(&self) -> &str {
        &self.folder
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self, level: Level, text: &str) {
        if let Some(shared) = self.shared.upgrade() {
            log(&shared.logger, level, text);
        }
    }

    fn now_ms(&self) -> u64 {
        self.shared.upgrade().map_or(0, |shared| shared.started.elapsed().as_millis() as u64)
    }

    fn respond(&self, request: u64, answer: Option<plugin::Answer>) -> Result<(), NotTaken> {
        let shared = self.shared.upgrade().ok_or(NotTaken::Gone)?;
        let effect = shared.state().respond(request, answer)?;
        shared.say(effect);
        Ok(())
    }

    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone> {
        let effect = Effect::Close { conn, code: code.to_owned(), text: text.to_owned() };
        self.ask(effect).map_err(|_| Gone)
    }

    fn call(&self, conn: u64, name: &str, args: &str, ticket: u64) -> Result<(), NotTaken> {
        self.ask(Effect::Call { conn, name: name.to_owned(), args: read(args)?, ticket })
    }

    fn unpublish(&self, conn: u64, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        self.end(conn, stream_id, true, code, text)
    }

    fn unplay(&self, conn: u64, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        self.end(conn, stream_id, false, code, text)
    }

    fn tap(&self, conn: u64, stream_id: u32, on: bool) -> Result<(), Gone> {
        self.ask(Effect::Tap { conn, stream_id, on }).map_err(|_| Gone)
    }

    fn sequence_header(&self, conn: u64, stream_id: u32, kind: MediaKind) -> Option<Frame> {
        (self.alive().ok()?.outside.header)(conn, stream_id, kind)
    }

    fn timer_set(&self, timer: u64, delay_ms: u64, period_ms: u64) -> Result<(), NotTaken> {
        let (delay, period) = (Duration::from_millis(delay_ms), Duration::from_millis(period_ms));
        let period = Some(period).filter(|period| !period.is_zero());
        let shared = self.alive().map_err(|Gone| NotTaken::Gone)?;
        let set = shared.change(|state| state.timers.set(timer, delay, period, Instant::now()));
        if set { Ok(()) } else { Err(NotTaken::Full) }
    }

    fn timer_cancel(&self, timer: u64) -> Result<(), Gone> {
        let cancelled = self.alive()?.change(|state| state.timers.cancel(timer));
        if cancelled { Ok(()) } else { Err(Gone) }
    }

    fn command(&self, name: &str, params: &str, rights: Rights, ticket: u64) -> Result<(), NotTaken> {
        let params = if params.is_empty() { Default::default() } else { read(params)? };
        let session = SERVED.with_borrow(|conn| conn.as_ref().map(|conn| (conn.id, conn.peer.clone())));
        self.ask(Effect::Run { name: name.to_owned(), params, rights, ticket, session })
    }

    fn command_add(&self, command: &str) -> Result<(), String> {
        if command.len() > COMMAND {
            return Err(format!("a command is described in at most {COMMAND} bytes"));
        }
        let shared = self.alive().map_err(|Gone| "the application has ended".to_owned())?;
        let command = serde_json::from_str(command).map_err(|error| format!("not JSON: {error}"))?;
        (shared.outside.add_command)(command)
            .inspect_err(|reason| error!(shared.logger, "application `{}`: {reason}", shared.name))
    }

    fn command_remove(&self, name: &str) -> Result<(), Gone> {
        if (self.alive()?.outside.remove_command)(name) { Ok(()) } else { Err(Gone) }
    }

    fn source_open(&self, name: &str) -> Option<u64> {
        (self.alive().ok()?.outside.source)(name)
    }

    fn source_frame(&self, source: u64, kind: MediaKind, dts: i64, body: &[u8]) -> Result<(), NotTaken> {
        self.ask(Effect::SourceFrame(source, kind, dts, body.to_vec()))
    }

    fn source_close(&self, source: u64) -> Result<(), Gone> {
        self.ask(Effect::SourceClose(source)).map_err(|_| Gone)
    }

    fn connect(&self, address: &str, chain: &str, keys: &str, ticket: u64) -> Result<(), NotTaken> {
        let keys = if keys.is_empty() { Default::default() } else { read(keys)? };
        self.ask(Effect::Connect { address: address.to_owned(), chain: chain.to_owned(), keys, ticket })
    }

    fn pull(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        let pull = Pull::read(what).ok_or(NotTaken::Invalid)?;
        self.ask(Effect::Pull { conn, pull, ticket })
    }

    fn push(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        let push = Push::read(what).ok_or(NotTaken::Invalid)?;
        self.ask(Effect::Push { conn, push, ticket })
    }

    fn http(&self, request: &str, body: &[u8], ticket: u64) -> Result<(), NotTaken> {
        self.ask(Effect::Http { request: read(request)?, body: body.to_vec(), ticket })
    }
}

impl Door {
    /// What the application shares with the server, if it has not ended.
    fn alive(&self) -> Result<Arc<Shared>, Gone> {
        let shared = self.shared.upgrade().ok_or(Gone)?;
        let over = shared.state().is_over();
        if over { Err(Gone) } else { Ok(shared) }
    }

    fn ask(&self, effect: Effect) -> Result<(), NotTaken> {
        let shared = self.alive().map_err(|Gone| NotTaken::Gone)?;
        (shared.outside.effect)(effect)
    }

    fn end(&self, conn: u64, stream_id: u32, publishes: bool, code: &str, text: &str) -> Result<(), Gone> {
        let (code, text) = (code.to_owned(), text.to_owned());
        self.ask(Effect::End { conn, stream_id, publishes, code, text }).map_err(|_| Gone)
    }
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, NotTaken> {
    serde_json::from_str(json).map_err(|_| NotTaken::Invalid)
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
                RequestKind::Accept => instance.accept(conn, request),
                RequestKind::Command(name, params_json) => {
                    instance.tell(&Told::Command(CommandCall { request, name, params_json }))
                }
                RequestKind::Connect => instance.connect(conn, request),
                RequestKind::Publish(PublishInfo { stream_id, name, query, kind }) => {
                    let publish = Publish { request, stream_id: *stream_id, name, query, kind: *kind };
                    instance.publish(conn, &publish)
                }
                RequestKind::Play(PlayInfo { stream_id, name, query, start, duration, reset }) => {
                    let (stream_id, start, duration, reset) = (*stream_id, *start, *duration, *reset);
                    instance.play(conn, &Play { request, stream_id, name, query, start, duration, reset })
                }
                RequestKind::SharedObject(SharedObjectInfo { name, persistent, wishes }) => {
                    let (persistent, wishes_json) = (*persistent, &wishes.to_string());
                    instance.shared_object(conn, &SharedObject { request, name, persistent, wishes_json })
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
        What::Notice(NoticeKind::Unpublish { stream_id, name, why }) => {
            instance.unpublish(conn, &Stream { stream_id: *stream_id, name, why: *why })
        }
        What::Notice(NoticeKind::Unplay { stream_id, name, why }) => {
            instance.unplay(conn, &Stream { stream_id: *stream_id, name, why: *why })
        }
        What::Notice(NoticeKind::Pong(pong)) => instance.pong(conn, *pong),
        What::Notice(NoticeKind::Frame { stream_id, name, left_out, frame }) => {
            instance.frame(conn, *stream_id, name, *left_out, frame)
        }
        What::Notice(NoticeKind::Stream { publisher, name, live }) => {
            instance.tell(&Told::Stream { publisher: *publisher, name, live: *live })
        }
        What::Notice(NoticeKind::Source { source, state }) => {
            let state = match state {
                Ok(()) => SourceState::Live,
                Err(text) => SourceState::Ended(text),
            };
            instance.tell(&Told::Source { source: *source, state })
        }
        What::Notice(NoticeKind::Timer(timer)) => instance.tell(&Told::Timer(*timer)),
        What::Notice(NoticeKind::Result { ticket, outcome }) => instance.tell(&Told::Result {
            ticket: *ticket,
            status: outcome.status,
            conn: outcome.connection,
            value: &outcome.value,
            body: &outcome.body,
        }),
        What::Notice(NoticeKind::Close { reason }) => instance.close(conn, reason),
        What::Cancel { ticket } => instance.cancel(conn, RequestId(*ticket)),
    }
}
