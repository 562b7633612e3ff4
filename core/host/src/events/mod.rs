//! The event logger: what happens in the server, told to files and to other servers.
//!
//! Workers and applications [`emit`](Events::emit) and never wait. Each sink has a queue with limits and a thread
//! of its own; a slow one loses its own events, counts them and says so. `docs/events.md` lists events, formats and
//! rules of delivery. Where to start: [`Events`], then `queue` (what is dropped when there is too much), `sink` (how
//! often is tried), `file` and `rpc`.

mod encode;
mod file;
mod kind;
mod queue;
mod record;
mod rpc;
mod sink;
#[cfg(test)]
mod tests;
pub(crate) mod time;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crtmp_media::Limits;
use serde_json::Value;
use slog::Logger;

pub use self::kind::{Kind, LATER};
use self::{
    record::Record,
    sink::{Ready, Settings, Sink},
};
use crate::{
    config::{ConfigError, EventLogger, EventSinkKind},
    web::Client,
};

/// The longest that [`Events::stop`] may take, and that a sink which a reload has taken out may need for the rest.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// The name of the stream that it is about; goes into the payload as `name` where that has none.
    pub stream: Option<String>,
    /// What is told of it: a table. Its `uniqueId` or `id`, else `stream`, says which events are about the same
    /// thing. Secrets are taken out.
    pub payload: Value,
}

/// The event logger; clones are handles to the same one.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    /// The kinds that any sink takes.
    wanted: AtomicU64,
    /// The number of the next event.
    number: AtomicU64,
    sinks: RwLock<Vec<Arc<Sink>>>,
    /// Sinks that a reload has taken out and that have not ended yet. Its lock is held by whoever changes the sinks.
    retired: Mutex<Vec<Arc<Sink>>>,
    limits: Limits,
    client: Client,
    log: Logger,
}

impl Events {
    /// A logger without sinks, which wants nothing.
    pub fn new(log: Logger, limits: &Limits, client: Client) -> Self {
        Self {
            inner: Arc::new(Inner {
                wanted: AtomicU64::new(0),
                number: AtomicU64::new(1),
                sinks: RwLock::default(),
                retired: Mutex::default(),
                limits: limits.clone(),
                client,
                log,
            }),
        }
    }

    /// Whether any sink takes such events. Ask before a payload is made: it costs one load.
    pub fn wants(&self, kind: Kind) -> bool {
        self.inner.wanted.load(Ordering::Relaxed) & kind.bit() != 0
    }

    /// Hands an event to all sinks that take it. Never waits for any of them.
    pub fn emit(&self, event: Event) {
        let kind = event.kind;
        if !self.wants(kind) {
            return;
        }
        let number = self.inner.number.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::new(event, number, SystemTime::now()));
        for sink in &*self.inner.sinks.read().unwrap_or_else(PoisonError::into_inner) {
            if sink.kinds() & kind.bit() != 0 {
                sink.push(&record);
            }
        }
    }

    /// Goes to these sinks. One whose settings have not changed goes on with its queue; one that is gone or changed
    /// gets nothing new, and [`PATIENCE`] for what waits.
    ///
    /// # Errors
    ///
    /// Every file that cannot be opened; then nothing has changed.
    pub fn configure(&self, logger: &EventLogger) -> Result<(), Vec<ConfigError>> {
        let inner = &*self.inner;
        let mut retired = inner.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = inner.sinks.read().unwrap_or_else(PoisonError::into_inner).clone();

        // All that can fail comes before anything changes.
        let mut errors = Vec::new();
        let mut wanted = Vec::new();
        for (index, settings) in Settings::all(logger).enumerate() {
            let sink = &logger.sinks[index];
            let path = format!("configuration.eventLogger.sinks[{}]", index + 1);
            if let Some(place) = old.iter().position(|sink| sink.is(&settings)) {
                wanted.push(Wanted::Running(old.remove(place)));
                continue;
            }
            let path = match sink.kind {
                EventSinkKind::File => format!("{path}.filename"),
                EventSinkKind::Rpc => path,
            };
            match Ready::new(settings, &inner.limits) {
                Ok(ready) => wanted.push(Wanted::New(Box::new(ready), path)),
                Err(error) => errors.push(cannot(&path, &error, "a file that can be written")),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut sinks = Vec::new();
        let mut started = Vec::new();
        for one in wanted {
            match one {
                Wanted::Running(sink) => sinks.push(sink),
                Wanted::New(ready, path) => match ready.start(&inner.limits, &inner.client, &inner.log) {
                    Ok(sink) => {
                        started.push(sink.clone());
                        sinks.push(sink);
                    }
                    Err(error) => errors.push(cannot(&path, &error, "a thread for the sink")),
                },
            }
        }
        if !errors.is_empty() {
            started.iter().for_each(|sink| sink.queue.end(Instant::now()));
            return Err(errors);
        }

        let kinds = sinks.iter().fold(0, |all, sink| all | sink.kinds());
        *inner.sinks.write().unwrap_or_else(PoisonError::into_inner) = sinks;
        inner.wanted.store(kinds, Ordering::Relaxed);
        retired.retain(|sink| !sink.queue.wait_ended(Instant::now()));
        let until = Instant::now() + PATIENCE;
        old.iter().for_each(|sink| sink.queue.end(until));
        retired.append(&mut old);
        Ok(())
    }

    /// Lets each sink open its file again under the same name, for whoever moves files away.
    pub fn reopen(&self) {
        for sink in &*self.inner.sinks.read().unwrap_or_else(PoisonError::into_inner) {
            sink.queue.reopen();
        }
    }

    /// Takes no more events and delivers what waits, for at most `patience`, which [`PATIENCE`] bounds. What is being
    /// tried again is tried once more. Returns how many events were not delivered by it.
    pub fn stop(&self, patience: Duration) -> u64 {
        let inner = &*self.inner;
        let until = Instant::now() + patience.min(PATIENCE);
        inner.wanted.store(0, Ordering::Relaxed);
        let mut sinks = std::mem::take(&mut *inner.retired.lock().unwrap_or_else(PoisonError::into_inner));
        sinks.extend(inner.sinks.read().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let before: u64 = sinks.iter().map(|sink| sink.lost_and_waiting().0).sum();
        sinks.iter().for_each(|sink| sink.queue.end(until));
        for sink in &sinks {
            if !sink.queue.wait_ended(until) {
                sink.queue.abandon();
            }
        }
        let after: u64 = sinks
            .iter()
            .map(|sink| {
                let (lost, waiting) = sink.lost_and_waiting();
                lost + waiting
            })
            .sum();
        after.saturating_sub(before)
    }

    /// What each sink has done, as a list; `docs/events.md` describes it.
    pub fn counters(&self) -> Value {
        let sinks = self.inner.sinks.read().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().map(|sink| sink.counters()).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let sinks = self.sinks.get_mut().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().for_each(|sink| sink.queue.end(Instant::now()));
    }
}

/// A sink of a new configuration.
enum Wanted {
    Running(Arc<Sink>),
    New(Box<Ready>, String),
}

fn cannot(path: &str, error: &std::io::Error, expected: &str) -> ConfigError {
    ConfigError::new(path, format!("the system says: {error}"), expected)
}
