//! One sink: its queue, its thread, and what it has counted.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crtmp_media::Limits;
use serde_json::{Value, json};
use slog::Logger;

use super::{
    file::FileSink,
    kind::Kind,
    queue::{Next, Queue},
    record::Record,
    rpc::{Failure, RpcSink},
};
use crate::{
    config::{EventFormat, EventLogger, EventSink, EventSinkKind},
    secrets::mask_text,
    web::Client,
};

/// One line in the log per sink, kind of trouble, and this time.
const SILENCE: Duration = Duration::from_secs(10);

/// All that makes a sink what it is. One whose settings are the same after a reload goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    sink: EventSink,
    custom_data: Option<Value>,
    kinds: u64,
}

impl Settings {
    /// The settings of each sink, with what it takes from the logger.
    pub(super) fn all(logger: &EventLogger) -> impl Iterator<Item = Self> {
        logger.sinks.iter().map(|sink| {
            let names = sink.enabled_events.as_ref().or(logger.enabled_events.as_ref());
            let named = |kind: &&Kind| names.is_none_or(|names| names.iter().any(|name| name == kind.name()));
            // Columns are about streams.
            let columns = sink.kind == EventSinkKind::File && sink.format == Some(EventFormat::W3c);
            let fits = |kind: &&Kind| !columns || kind.is_of_stream();
            let kinds = Kind::ALL.iter().filter(named).filter(fits).fold(0, |all, kind| all | kind.bit());
            let custom_data = sink.custom_data.as_ref().or(logger.custom_data.as_ref()).cloned();
            Self { sink: sink.clone(), custom_data, kinds }
        })
    }
}

/// What delivers, before it has a thread.
pub(super) struct Ready {
    settings: Settings,
    output: Output,
}

enum Output {
    File(Box<FileSink>),
    Rpc(RpcSink),
}

impl Ready {
    /// Opens what is to be opened.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(super) fn new(settings: Settings, limits: &Limits) -> io::Result<Self> {
        let custom_data = settings.custom_data.clone();
        let output = match settings.sink.kind {
            EventSinkKind::File => {
                Output::File(Box::new(FileSink::open(&settings.sink, custom_data, SystemTime::now())?))
            }
            EventSinkKind::Rpc => {
                Output::Rpc(RpcSink::new(&settings.sink, custom_data, limits.web_timeout.get()))
            }
        };
        Ok(Self { settings, output })
    }

    /// Starts its thread.
    ///
    /// # Errors
    ///
    /// What the system says when it has no threads.
    pub(super) fn start(self, limits: &Limits, client: &Client, log: &Logger) -> io::Result<Arc<Sink>> {
        let Self { settings, mut output } = self;
        let events = settings.sink.queue.unwrap_or(limits.event_queue);
        let to = match &settings.sink {
            EventSink { url: Some(url), .. } => mask_text(url),
            sink => sink.filename.clone().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let sink = Arc::new(Sink {
            log: log.new(slog::o!("sink" => to.clone())),
            to,
            settings,
            queue: Queue::new(events, limits.event_queue_bytes),
            counts: Counts::default(),
            drops: Throttle::default(),
            failures: Throttle::default(),
        });
        let (own, client) = (sink.clone(), client.clone());
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            let _ended = Ended(&own.queue);
            own.run(&mut output, &client);
        })?;
        Ok(sink)
    }
}

/// A sink that runs.
pub(super) struct Sink {
    settings: Settings,
    to: String,
    log: Logger,
    pub(super) queue: Queue,
    counts: Counts,
    drops: Throttle,
    failures: Throttle,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
}

impl Sink {
    pub(super) fn is(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// The kinds that it takes, as a set.
    pub(super) fn kinds(&self) -> u64 {
        self.settings.kinds
    }

    /// Adds an event to the queue.
    pub(super) fn push(&self, record: &Arc<Record>) {
        let dropped = self.queue.push(record.clone());
        if dropped > 0
            && let Some(count) = self.drops.note(dropped)
        {
            slog::warn!(
                self.log,
                "events were dropped, {count} since the last such line: the sink is slower than they come; \
                 limits.eventQueue, limits.eventQueueBytes and the sink's queue say how many may wait"
            );
        }
    }

    /// Events that were dropped or could not be delivered so far, and those that wait.
    pub(super) fn lost_and_waiting(&self) -> (u64, u64) {
        let waiting = self.queue.waiting();
        (waiting.dropped + self.counts.failed.load(Ordering::Relaxed), waiting.events as u64)
    }

    pub(super) fn counters(&self) -> Value {
        let waiting = self.queue.waiting();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "type": self.settings.sink.kind,
            "to": self.to,
            "queued": waiting.events,
            "queuedBytes": waiting.bytes,
            "sent": count(&self.counts.sent),
            "failed": count(&self.counts.failed),
            "dropped": waiting.dropped,
            "retries": count(&self.counts.retries),
        })
    }

    fn run(&self, output: &mut Output, client: &Client) {
        let sink = &self.settings.sink;
        let first = sink.retry_delay.unwrap_or(EventSink::DEFAULT_RETRY_DELAY).get();
        let longest = sink.retry_delay_max.unwrap_or(EventSink::DEFAULT_RETRY_DELAY_MAX).get().max(first);
        let retries = sink.retries.unwrap_or(EventSink::DEFAULT_RETRIES);
        // Grows from event to event while none gets through.
        let mut delay = first;
        loop {
            let record = match self.queue.next() {
                Next::Event(record) => record,
                Next::Reopen => {
                    if let Output::File(file) = output
                        && let Err(error) = file.reopen()
                    {
                        slog::error!(self.log, "the file of events cannot be opened again: {error}");
                    }
                    continue;
                }
                Next::End => return,
            };
            let mut tries = 0;
            loop {
                let until = self.queue.until();
                let left =
                    until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
                let Err(failure) = deliver(output, client, &record, left) else {
                    self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    if let Output::File(file) = output
                        && let Some(error) = file.trouble()
                    {
                        self.complain(&format!(
                            "no new file of events can be begun, the old one goes on: {error}"
                        ));
                    }
                    delay = first;
                    break;
                };
                self.complain(&format!("an event was not delivered: {}", failure.text));
                if !failure.again || tries >= retries || until.is_some() {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    self.queue.give_up(&record);
                    // At the end nobody waits for a server that does not answer.
                    if failure.again && until.is_some() {
                        self.queue.abandon();
                    }
                    break;
                }
                tries += 1;
                self.queue.rest(delay);
                self.counts.retries.fetch_add(1, Ordering::Relaxed);
                delay = (delay * 2).min(longest);
            }
        }
    }

    fn complain(&self, text: &str) {
        if let Some(count) = self.failures.note(1) {
            slog::error!(self.log, "{text} ({count} failures since the last such line)");
        }
    }
}

fn deliver(output: &mut Output, client: &Client, record: &Record, left: Duration) -> Result<(), Failure> {
    match output {
        Output::File(file) => file
            .write(record, SystemTime::now())
            .map_err(|error| Failure { text: format!("the system says: {error}"), again: false }),
        Output::Rpc(rpc) => rpc.post(client, record, left),
    }
}

/// Says that the thread has ended, also when it panicked.
struct Ended<'a>(&'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// Counts what is told only now and then.
#[derive(Debug, Default)]
struct Throttle(Mutex<(Option<Instant>, u64)>);

impl Throttle {
    /// Counts `more`; how many to tell of, if it is time again.
    fn note(&self, more: u64) -> Option<u64> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, count) = &mut *guard;
        *count += more;
        let now = Instant::now();
        if told.is_some_and(|told| now.duration_since(told) < SILENCE) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(count))
    }
}
