//! An application from the outside.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use crtmp_plugin::foreign::{AppEntry, ConnInfo, Failure, Services};
use crtmp_plugin::{Hooks, Level};
use slog::{Logger, info, warn};

use super::actor::{self, Shared};
use super::request::{Answer, Notice, NoticeKind, Outside, Request, RequestKind};
use super::state::{Health, State};
use super::watchdog::{Alarm, Watchdog};
use super::{AppConfig, Limits};

/// A running application. Its methods may be called from any thread; only [`stop`](Self::stop) waits.
pub struct AppHandle {
    shared: Arc<Shared>,
    hooks: Hooks,
    limits: Limits,
    alarm: Arc<Alarm>,
    thread: Arc<Thread>,
}

#[derive(Default)]
struct Thread {
    over: Mutex<bool>,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl AppHandle {
    /// Makes an instance on a thread of its own and waits until its `new` has returned.
    ///
    /// To start a disabled application again, start it anew and drop the old handle: what the old instance says from
    /// then on is "gone".
    pub fn start(
        config: &AppConfig,
        entry: &AppEntry,
        watchdog: &Watchdog,
        logger: &Logger,
        outside: Outside,
    ) -> Result<Self, StartError> {
        let fail = |reason| StartError::new(config, reason);
        let logger = logger.new(slog::o!("application" => config.name.clone()));
        let (hooks, limits, alarm) = (entry.hooks(), config.limits, watchdog.alarm());
        let state = State::new(&config.name, hooks, limits, logger.clone());
        let shared = Shared::new(&config.name, &config.folder, state, logger, outside, alarm.clone());
        let this = Self { shared: shared.clone(), hooks, limits, alarm, thread: Arc::default() };

        let (started, start) = bounded(1);
        let (entry, settings, thread) = (entry.clone(), config.settings.clone(), this.thread.clone());
        let body = move || {
            let over = Over { shared, thread };
            over.shared.run(&entry, &settings, &started);
        };
        let join = thread::Builder::new()
            .name(format!("app {}", config.name))
            .spawn(body)
            .map_err(|error| fail(Reason::Thread(error.to_string())))?;
        *this.thread.join.lock().unwrap_or_else(PoisonError::into_inner) = Some(join);

        match start.recv_timeout(limits.start_timeout) {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return Err(fail(Reason::Failure(failure))),
            Err(RecvTimeoutError::Timeout) => {
                this.leave_behind();
                return Err(fail(Reason::Timeout(limits.start_timeout)));
            }
            // The thread sends before it ends, unless our own code panics.
            Err(RecvTimeoutError::Disconnected) => return Err(fail(Reason::Thread("it ended".to_owned()))),
        }
        this.alarm.add(&this.shared);
        info!(this.shared.logger, "application `{}` started", config.name; "library" => %config.library.display());
        Ok(this)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether it has this hook. For who wants to save the trouble of making a [`Request`] or [`Notice`]; those that
    /// are for absent hooks are settled at once all the same. Not to be asked about `Hooks::CLOSE`: a `Close` notice
    /// also ends what was put off.
    pub fn has(&self, hook: Hooks) -> bool {
        self.hooks.contains(hook)
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.state().health()
    }

    /// Requests that wait in its mailbox.
    pub fn waiting(&self) -> usize {
        self.shared.state().requests()
    }

    /// Hooks that panicked since the start.
    pub fn panics(&self) -> u64 {
        self.shared.state().panics()
    }

    /// Asks the application. `Some`: the answer is known already, because it has no such hook, or because it cannot
    /// take the request (the decision says why). `None`: the answer comes through the [`Outside`].
    ///
    /// Keep to a few requests in flight per connection; the mailbox is fair between connections, but not large.
    #[must_use = "an answer that is given here does not come through `Outside`"]
    pub fn request(&self, request: Request) -> Option<Answer> {
        self.shared.change(|state| state.request(request))
    }

    /// Tells the application. Comes after what the same connection has asked and told before.
    pub fn notify(&self, notice: Notice) {
        self.shared.change(|state| state.notify(notice));
    }

    /// Tells the application something that is about no connection.
    pub fn tell(&self, kind: NoticeKind) {
        self.shared.change(|state| {
            let conn = match &kind {
                // Before all that the connection itself has to say, which waits in the same line.
                NoticeKind::Result { outcome, .. } if outcome.connection != 0 => {
                    Arc::new(ConnInfo { id: outcome.connection, ..ConnInfo::default() })
                }
                _ => state.nobody.clone(),
            };
            state.notify(Notice { conn, kind });
        });
    }

    /// Tells the application something in line with what else a connection has to say: what this one's `Close` was told
    /// before goes nowhere.
    pub fn tell_of(&self, conn: u64, kind: NoticeKind) {
        let conn = Arc::new(ConnInfo { id: conn, ..ConnInfo::default() });
        self.shared.change(|state| state.notify(Notice { conn, kind }));
    }

    /// Asks the application to run a command that it has added; `id` comes back in the answer.
    #[must_use = "an answer that is given here does not come through `Outside`"]
    pub fn run_command(&self, id: u64, name: String, params: String) -> Option<Answer> {
        self.shared.change(|state| {
            let conn = state.nobody.clone();
            state.request(Request { conn, id, kind: RequestKind::Command(name, params) })
        })
    }

    /// Refuses new requests and lets the application finish its mailbox and end, without waiting for that:
    /// [`is_over`](Self::is_over) tells.
    pub fn begin_stop(&self) {
        self.shared.change(State::stop);
    }

    /// Whether its thread has ended.
    pub fn is_over(&self) -> bool {
        *self.thread.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses new requests, lets the application finish its mailbox, ends it on its thread, and waits for that at
    /// most `patience`. A thread that is not done by then is left behind: all that it was asked is refused, and all
    /// that it says from then on is "gone".
    pub fn stop(&self, patience: Duration) -> Stopped {
        self.shared.change(State::stop);
        if self.shared.wait_over(&self.thread.over, patience) {
            let join = self.thread.join.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(join) = join {
                let _ = join.join();
            }
            return Stopped::Ended;
        }
        warn!(self.shared.logger, "application `{}` does not end; its thread is left behind", self.name());
        self.leave_behind();
        Stopped::LeftBehind
    }

    /// Refuses all from now on, by order of an operator. The instance ends when its hook returns.
    pub fn disable(&self) {
        self.shared.disable();
    }

    fn leave_behind(&self) {
        // Only once, however often it is stopped.
        if self.thread.join.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.alarm.leave_behind();
        }
        self.shared.end();
    }
}

impl Drop for AppHandle {
    /// As [`stop`](AppHandle::stop), without waiting.
    fn drop(&mut self) {
        self.shared.change(State::stop);
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        f.debug_struct("AppHandle")
            .field("name", &self.name())
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Says that the thread is over, however it ends.
struct Over {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.shared.thread_over(&self.thread.over);
    }
}

/// How an application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// As it should.
    Ended,
    /// It did not; its thread was left behind.
    LeftBehind,
}

/// Lets the application look at its settings without starting it.
pub fn check_settings(config: &AppConfig, entry: &AppEntry, logger: &Logger) -> Result<(), StartError> {
    let logger = logger.new(slog::o!("application" => config.name.clone()));
    entry
        .validate(
            LogOnly { logger, folder: config.folder.clone(), name: config.name.clone() },
            &config.settings,
        )
        .map_err(|failure| StartError::new(config, Reason::Failure(failure)))
}

/// The server, as an application sees it that is not running.
struct LogOnly {
    logger: Logger,
    folder: String,
    name: String,
}

impl Services for LogOnly {
    fn log(&self, level: Level, text: &str) {
        actor::log(&self.logger, level, text);
    }

    fn folder(&self) -> &str {
        &self.folder
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Why an application does not start: names it, its library, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("application `{name}`, library {}: {reason}", library.display())]
pub struct StartError {
    /// The application.
    pub name: String,
    /// Where it came from.
    pub library: PathBuf,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("{}", failure_text(.0))]
    Failure(Failure),
    #[error("its `new` has not returned within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("its thread: {0}")]
    Thread(String),
    #[error("{0}")]
    Library(String),
}

impl StartError {
    /// The library does not bring the application.
    pub(crate) fn of_library(config: &AppConfig, error: &crate::plugins::LoadError) -> Self {
        Self::new(config, Reason::Library(error.to_string()))
    }

    /// What its block in the configuration asks for does not go with the library.
    pub(crate) fn of_settings(config: &AppConfig, text: &str) -> Self {
        Self::new(config, Reason::Library(text.to_owned()))
    }

    /// The system does not start one of its threads.
    pub(crate) fn of_thread(config: &AppConfig, error: &std::io::Error) -> Self {
        Self::new(config, Reason::Thread(error.to_string()))
    }

    fn new(config: &AppConfig, reason: Reason) -> Self {
        Self { name: config.name.clone(), library: config.library.clone(), reason }
    }
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Error(reason) => reason.clone(),
        Failure::Panic(text) => format!("it panicked while starting: {text}"),
    }
}
