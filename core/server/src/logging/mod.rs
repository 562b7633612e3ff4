//! The log: lines go into a bounded queue and a thread of their own writes them to the appenders.
//!
//! [`start`] gives a [`slog::Logger`] and a [`Guard`]. Whoever logs never waits: when the queue is full, the line
//! is dropped and counted, and a warning tells the reader of the log how many are missing.
//!
//! crtmpserver has seven levels, slog six. FATAL is slog's critical, ERROR to DEBUG have their names, FINE is
//! trace, and FINEST is trace with the tag `"finest"`: `slog::trace!(log, # "finest", "…")`.

mod file;
mod line;
mod writer;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crtmp_host::config::{Appender, AppenderKind, ConfigError};
use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};
use slog_async::AsyncRecord;

use writer::{Sink, Writer};

/// Lines that may wait for the thread that writes them.
const QUEUE: usize = 8192;

/// How long the end of the server waits for the last lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// The tag of slog that makes a trace record FINEST.
const FINEST: &str = "finest";

/// Opens the appenders and starts the thread that writes. The log ends with the guard.
///
/// `implicit_console` adds a coloured console, unless an appender writes there already. In daemon mode nothing
/// writes to the console.
pub(crate) fn start(
    appenders: &[Appender],
    daemon: bool,
    implicit_console: bool,
) -> Result<(Logger, Guard), Box<ConfigError>> {
    let sinks = open(appenders, daemon, implicit_console)?;
    let shared = Arc::new(Shared::default());
    shared.levels.store(levels(&sinks), Ordering::Relaxed);
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    let (ended, end) = mpsc::channel();
    let writer = Writer::new(sinks, Arc::clone(&shared));
    thread::Builder::new()
        .name("log".into())
        .spawn(move || {
            writer.run(&receiver);
            // The guard may have lost patience.
            let _ = ended.send(());
        })
        .map_err(|error| {
            ConfigError::new("configuration.logAppenders", format!("no thread for the log ({error})"), "one")
        })?;
    let queue = Queue { sender: AssertUnwindSafe(sender.clone()), shared: Arc::clone(&shared) };
    let guard = Guard { sender, shared, end, daemon, implicit_console };
    Ok((Logger::root(queue, slog::o!()), guard))
}

/// Keeps the log going; when it is dropped, what waits is written, for at most three seconds.
pub(crate) struct Guard {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
    end: Receiver<()>,
    daemon: bool,
    implicit_console: bool,
}

impl Guard {
    /// Asks for the files to be closed and opened again under their names, once the lines before are written: an
    /// outside program may have renamed them. A file that cannot be opened goes on as it is, with a warning.
    pub(crate) fn reopen(&self) {
        self.order(|orders| orders.reopen = true);
    }

    /// Replaces all appenders, once the lines before are written. Nothing changes if one cannot be opened.
    pub(crate) fn replace(&self, appenders: &[Appender]) -> Result<(), Box<ConfigError>> {
        let sinks = open(appenders, self.daemon, self.implicit_console)?;
        self.order(|orders| orders.replace = Some(sinks));
        Ok(())
    }

    /// Sets what all appenders take: what is at least as important as `level`, from -1 (nothing) to 6. A replacement
    /// of the appenders ends that.
    pub(crate) fn set_level(&self, level: i64) {
        self.order(|orders| orders.level = Some(level));
    }

    /// How many lines have been lost since the start: dropped for want of room, or not written.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.ordered.store(true, Ordering::Release);
        // If there is no room, the writer is at work and sees the order with its next line.
        let _ = self.sender.try_send(Message::Wake);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(5);
        let mut left = FLUSH_TIME;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Message::End) {
            if left.is_zero() {
                return;
            }
            thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
        // Too late or gone: either way nothing is left to wait for.
        let _ = self.end.recv_timeout(left);
    }
}

/// What goes through the queue.
enum Message {
    /// A line, and when it was logged.
    Line(SystemTime, AsyncRecord),
    /// There are orders.
    Wake,
    /// No line will follow.
    End,
}

/// What the two sides of the queue share.
#[derive(Default)]
struct Shared {
    /// One bit for each level that some appender takes.
    levels: AtomicU8,
    /// Lines lost since the start.
    lost: AtomicU64,
    /// Lines dropped since the last report.
    unreported: AtomicU64,
    /// Whether `orders` holds any.
    ordered: AtomicBool,
    orders: Mutex<Orders>,
}

/// What the writer has to do between two lines.
#[derive(Default)]
struct Orders {
    reopen: bool,
    replace: Option<Vec<Sink>>,
    level: Option<i64>,
}

/// The near side of the queue.
struct Queue {
    sender: AssertUnwindSafe<SyncSender<Message>>,
    shared: Arc<Shared>,
}

impl Drain for Queue {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let levels = self.shared.levels.load(Ordering::Relaxed);
        if levels & (1 << number(record.level(), record.tag())) == 0 {
            return Ok(());
        }
        let line = Message::Line(SystemTime::now(), AsyncRecord::from(record, values));
        if let Err(TrySendError::Full(_)) = self.sender.try_send(line) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.unreported.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        let mut wanted = 1 << number(level, "");
        if level == Level::Trace {
            wanted |= 1 << number(level, FINEST);
        }
        self.shared.levels.load(Ordering::Relaxed) & wanted != 0
    }
}

/// crtmpserver's number of a level.
fn number(level: Level, tag: &str) -> u8 {
    match level {
        Level::Critical => 0,
        Level::Error => 1,
        Level::Warning => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace if tag == FINEST => 6,
        Level::Trace => 5,
    }
}

fn levels(sinks: &[Sink]) -> u8 {
    (0..=6)
        .filter(|level| sinks.iter().any(|sink| sink.takes(*level)))
        .fold(0, |mask, level| mask | 1 << level)
}

fn open(appenders: &[Appender], daemon: bool, implicit_console: bool) -> Result<Vec<Sink>, Box<ConfigError>> {
    let mut sinks = Vec::new();
    for (index, appender) in appenders.iter().enumerate() {
        if daemon && appender.on_console() {
            continue;
        }
        let sink = Sink::open(appender).map_err(|error| {
            let file = appender.file_name.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            ConfigError::new(
                format!("configuration.logAppenders[{}].fileName", index + 1),
                format!("a file that cannot be written ({file}: {error})"),
                "a file in a folder that exists, writable for the user of the server",
            )
        })?;
        sinks.push(sink);
    }
    if implicit_console && !daemon && !appenders.iter().any(Appender::on_console) {
        let console = Appender::new(AppenderKind::ColoredConsole);
        sinks.extend(Sink::open(&console).ok());
    }
    Ok(sinks)
}
