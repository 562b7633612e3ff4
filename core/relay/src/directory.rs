//! Where each stream lives: the one thing that all workers share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crtmp_media::Via;

use crate::{Generation, Recent, Source, StreamKey, Subscription, WorkerId};

/// What happens when a name that is being published is published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicatePublisher {
    /// The second is refused.
    Reject,
    /// The second takes over.
    Replace,
    /// The second takes over if the first has been silent for [`IDLE`].
    ReplaceIfIdle,
}

/// The silence after which a publisher may be replaced by another that wants its name.
pub const IDLE: Duration = Duration::from_secs(2);

/// The life signs of a publisher, readable by every worker.
#[derive(Debug)]
pub struct Pulse {
    epoch: Instant,
    heard_ms: AtomicU64,
    dts: AtomicI64,
}

impl Pulse {
    /// Notes that the publisher sent something at `now`.
    pub fn heard(&self, now: Instant) {
        self.heard_ms.store(self.since_epoch(now), Ordering::Relaxed);
    }

    /// How long the publisher has been silent at `now`.
    pub fn silence(&self, now: Instant) -> Duration {
        Duration::from_millis(self.since_epoch(now).saturating_sub(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// Notes that the stream has reached `dts` ms.
    pub fn reached(&self, dts: i64) {
        self.dts.fetch_max(dts, Ordering::Relaxed);
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Name → home worker. Touched on publish, play and stop only.
#[derive(Debug)]
pub struct Directory {
    epoch: Instant,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    streams: HashMap<StreamKey, Entry>,
    last_generation: u64,
}

#[derive(Debug, Default)]
struct Entry {
    live: Option<Live>,
    subscribers: Vec<Subscription>,
    /// Where the timeline stood when the last publisher left, while players wait for its return.
    rest: Option<Rest>,
    /// What players have had of a stream that comes from another server.
    recent: Option<Recent>,
}

#[derive(Debug)]
struct Live {
    source: Source,
    generation: Generation,
    pulse: Arc<Pulse>,
    /// Where the timeline stood when this publisher came.
    since: Option<Rest>,
    /// Where the stream was before it came here.
    via: Via,
}

/// The end of a timeline that a new publisher continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    dts: i64,
    at: Instant,
}

/// A publish that was granted.
#[derive(Debug)]
pub struct Grant {
    /// The number of this publish.
    pub generation: Generation,
    /// To be kept up to date by the publisher's worker.
    pub pulse: Arc<Pulse>,
    /// Workers that already have players.
    pub subscribers: Vec<Subscription>,
    /// The publisher that must go, and the number of its publish.
    pub evicted: Option<(Source, Generation)>,
    /// Where the timeline goes on, where players have seen an earlier publisher.
    pub resume: Option<Resume>,
    /// What players have had of a stream that comes from another server.
    pub recent: Option<Recent>,
}

/// Where a timeline stood when its publisher left, and how long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The newest decode time in ms.
    pub dts: i64,
    /// How long nothing has come since, in ms; at least 1.
    pub gap: i64,
}

impl Resume {
    /// The decode time in ms at which it goes on.
    pub const fn at(self) -> i64 {
        self.dts.saturating_add(self.gap)
    }
}

/// Why a publish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is being published, and that is that.
    Busy,
    /// The name is being published, but its publisher has been silent for this long: ask again.
    Silent(Duration),
}

/// Where a stream is published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residence {
    /// The publisher's worker.
    pub worker: WorkerId,
    /// The number of the publish.
    pub generation: Generation,
}

impl Directory {
    /// An empty directory; `now` is the zero of its clock.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, entries: Mutex::default() }
    }

    /// Asks for the name `key` on behalf of `source`, for a stream that has been at `via`; none: it comes from its
    /// encoder.
    ///
    /// # Errors
    ///
    /// By `policy`, where the name is being published.
    pub fn publish(
        &self,
        key: &StreamKey,
        source: Source,
        policy: DuplicatePublisher,
        via: Option<Via>,
        now: Instant,
    ) -> Result<Grant, Refusal> {
        let mut entries = self.lock();
        if let Some(live) = entries.streams.get(key).and_then(|entry| entry.live.as_ref()) {
            let silence = live.pulse.silence(now);
            match policy {
                DuplicatePublisher::Reject => return Err(Refusal::Busy),
                DuplicatePublisher::ReplaceIfIdle if silence < IDLE => return Err(Refusal::Silent(silence)),
                DuplicatePublisher::Replace | DuplicatePublisher::ReplaceIfIdle => {}
            }
        }
        entries.last_generation += 1;
        let generation = Generation(entries.last_generation);
        let entry = entries.streams.entry(key.clone()).or_default();
        let evicted = entry.live.take().map(|live| {
            entry.rest = live.rest(self.epoch).or(live.since);
            (live.source, live.generation)
        });
        // Nobody has seen the earlier publisher where there are no players: its timeline need not go on.
        let rest = if entry.subscribers.is_empty() { None } else { entry.rest.take() };
        let pulse =
            Arc::new(Pulse { epoch: self.epoch, heard_ms: AtomicU64::new(0), dts: AtomicI64::new(i64::MIN) });
        pulse.heard(now);
        entry.live = Some(Live {
            source,
            generation,
            pulse: pulse.clone(),
            since: rest,
            via: via.clone().unwrap_or_default(),
        });
        entry.recent = via.map(|_| entry.recent.take().unwrap_or_default());
        Ok(Grant {
            generation,
            pulse,
            subscribers: entry.subscribers.clone(),
            evicted,
            resume: rest.map(|rest| {
                let gap = now.saturating_duration_since(rest.at).as_millis();
                Resume { dts: rest.dts, gap: i64::try_from(gap).unwrap_or(i64::MAX).max(1) }
            }),
            recent: entry.recent.clone(),
        })
    }

    /// Ends the publish `generation`, if it is still the current one, and returns who is to be told.
    pub fn unpublish(&self, key: &StreamKey, generation: Generation) -> Vec<Subscription> {
        let mut entries = self.lock();
        let Some(entry) = entries.streams.get_mut(key) else { return Vec::new() };
        if entry.live.as_ref().is_none_or(|live| live.generation != generation) {
            return Vec::new();
        }
        entry.rest = entry.live.take().and_then(|live| live.rest(self.epoch).or(live.since));
        let subscribers = entry.subscribers.clone();
        if subscribers.is_empty() {
            entries.streams.remove(key);
        }
        subscribers
    }

    /// Notes that a worker has players of `key`, and says where the stream is published.
    pub fn subscribe(&self, key: &StreamKey, subscription: Subscription) -> Option<Residence> {
        let mut entries = self.lock();
        let entry = entries.streams.entry(key.clone()).or_default();
        entry.subscribers.push(subscription);
        entry.residence()
    }

    /// Notes that a worker has no players of `key` any more, and says where the stream is published.
    pub fn unsubscribe(&self, key: &StreamKey, subscription: Subscription) -> Option<Residence> {
        let mut entries = self.lock();
        let entry = entries.streams.get_mut(key)?;
        entry.subscribers.retain(|other| *other != subscription);
        let residence = entry.residence();
        if residence.is_none() && entry.subscribers.is_empty() {
            entries.streams.remove(key);
        }
        residence
    }

    /// Whether `key` is being published.
    pub fn is_live(&self, key: &StreamKey) -> bool {
        self.lock().streams.get(key).is_some_and(|entry| entry.live.is_some())
    }

    /// Where the stream was before it came here; none: it is not being published.
    pub fn via(&self, key: &StreamKey) -> Option<Via> {
        Some(self.lock().streams.get(key)?.live.as_ref()?.via.clone())
    }

    /// How many names are known: published, played, or waited for.
    pub fn len(&self) -> usize {
        self.lock().streams.len()
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No code that can panic runs under the lock; a poisoned one still holds a whole table.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn residence(&self) -> Option<Residence> {
        self.live.as_ref().map(|live| Residence { worker: live.source.worker, generation: live.generation })
    }
}

impl Live {
    /// Where the timeline stands, if the publisher has sent any media.
    fn rest(&self, epoch: Instant) -> Option<Rest> {
        let dts = self.pulse.dts.load(Ordering::Relaxed);
        let at = epoch + Duration::from_millis(self.pulse.heard_ms.load(Ordering::Relaxed));
        (dts != i64::MIN).then_some(Rest { dts, at })
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Limits, StreamName, StreamSlot};

    use super::*;
    use crate::ConnectionId;

    fn key(name: &str) -> StreamKey {
        let name = StreamName::new("", name, &Limits::default()).unwrap();
        StreamKey { application: "live".into(), name }
    }

    fn source(worker: u16) -> Source {
        Source { worker: WorkerId(worker), connection: ConnectionId(u64::from(worker)), slot: StreamSlot(1) }
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_second_publisher_meets_the_policy() {
        let start = Instant::now();
        let directory = Directory::new(start);
        let first = directory.publish(&key("a"), source(0), DuplicatePublisher::Reject, None, start).unwrap();
        let again = |policy, ms| directory.publish(&key("a"), source(1), policy, None, at(start, ms));
        assert_eq!(again(DuplicatePublisher::Reject, 9000).unwrap_err(), Refusal::Busy);
        first.pulse.heard(at(start, 1000));
        let silent = again(DuplicatePublisher::ReplaceIfIdle, 2999).unwrap_err();
        assert_eq!(silent, Refusal::Silent(Duration::from_millis(1999)));
        let second = again(DuplicatePublisher::ReplaceIfIdle, 3000).unwrap();
        assert_eq!(second.evicted, Some((source(0), first.generation)));
        assert!(
            directory.unpublish(&key("a"), first.generation).is_empty(),
            "the first is no longer current"
        );
        assert!(directory.is_live(&key("a")));
        let third = again(DuplicatePublisher::Replace, 3000).unwrap();
        assert!(third.generation > second.generation);
    }

    #[test]
    fn the_timeline_goes_on_only_for_players_that_have_seen_it() {
        let start = Instant::now();
        let directory = Directory::new(start);
        let publish = |ms| {
            directory.publish(&key("a"), source(0), DuplicatePublisher::Reject, None, at(start, ms)).unwrap()
        };
        let first = publish(0);
        first.pulse.reached(5000);
        assert!(directory.unpublish(&key("a"), first.generation).is_empty());
        assert!(directory.is_empty(), "nobody plays it and nobody publishes it");
        let second = publish(100);
        assert_eq!(second.resume, None);
        let player = Subscription { worker: WorkerId(1), replica: 7 };
        assert!(directory.subscribe(&key("a"), player).is_some());
        second.pulse.reached(8000);
        second.pulse.heard(at(start, 200));
        assert_eq!(directory.unpublish(&key("a"), second.generation), [player]);
        let silent = publish(1200);
        assert_eq!((silent.resume.map(Resume::at), silent.subscribers), (Some(9000), vec![player]));
        directory.unpublish(&key("a"), silent.generation);
        assert_eq!(
            publish(2200).resume.map(Resume::at),
            Some(10_000),
            "a publisher that sent nothing leaves the rest as it was"
        );
    }

    #[test]
    fn names_that_nobody_uses_are_forgotten() {
        let directory = Directory::new(Instant::now());
        let player = Subscription { worker: WorkerId(1), replica: 7 };
        assert_eq!(directory.subscribe(&key("a"), player), None);
        assert_eq!(directory.len(), 1);
        assert_eq!(directory.unsubscribe(&key("a"), player), None);
        assert!(directory.is_empty());
    }
}
