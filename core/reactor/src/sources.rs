//! Streams that applications publish themselves.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crtmp_media::{Frame, Role, StreamName, StreamSlot};
use crtmp_relay::{ConnectionId, HomeId, Refusal, StreamKey};

use crate::{
    control::{Application, ToApplication},
    filtering::Filters,
    observe::{Seen, SeenStream, Sight, Watch},
    report::StreamReport,
    shared::Shared,
};

/// The message stream of a source: it has one.
const SLOT: StreamSlot = StreamSlot(1);

/// Ids of sources look like those of connections whose slot is the last one of its worker, which no connection has.
const SLOT_OF_SOURCES: u64 = 0xff_ffff;

/// The id of a source of a worker.
pub(crate) fn id(worker: usize, number: u32) -> ConnectionId {
    ConnectionId((u64::from(number) << 32) | ((worker as u64 & 0xff) << 24) | SLOT_OF_SOURCES)
}

/// The sources of a worker.
#[derive(Default)]
pub(crate) struct Sources {
    live: HashMap<ConnectionId, Source>,
    /// When it is looked at what they carry; none: nobody wants to know.
    look_at: Option<Instant>,
}

struct Source {
    application: Arc<Application>,
    name: String,
    home: HomeId,
    filters: Filters,
    in_flight: Arc<AtomicUsize>,
    unique: u64,
    since: Instant,
    watch: Watch,
}

impl Sources {
    /// Begins a publication.
    pub(crate) fn open(
        &mut self,
        id: ConnectionId,
        application: Arc<Application>,
        name: &str,
        in_flight: Arc<AtomicUsize>,
        shared: &mut Shared,
    ) {
        let opened = self.try_open(id, &application, name, in_flight, shared);
        if let Ok(name) = &opened {
            slog::info!(shared.log, "published by its application"; "application" => &*application.name, "stream" => name);
            tell_stream(&application, id, name, true);
        }
        (application.post)(ToApplication::Source { source: id, state: opened.map(drop) });
    }

    fn try_open(
        &mut self,
        id: ConnectionId,
        application: &Arc<Application>,
        name: &str,
        in_flight: Arc<AtomicUsize>,
        shared: &mut Shared,
    ) -> Result<String, String> {
        let name = StreamName::new("", name, &shared.limits).map_err(|error| error.to_string())?;
        let key = StreamKey { application: application.name.clone(), name: name.clone() };
        let busy = |_: Refusal| format!("the stream {:?} is being published already", name.as_str());
        let policy = application.duplicate_publisher;
        let home = shared.relay.publish(key, id, SLOT, policy, None, shared.now).map_err(busy)?;
        let made = application.make_filters.as_ref().map_or(Ok(Vec::new()), |make| make());
        let filters = Filters::new(made.inspect_err(|_| shared.relay.unpublish(home, shared.now))?);
        let (application, text) = (application.clone(), name.to_string());
        let (unique, since) = (shared.new_stream(), shared.now);
        let (name, watch) = (text.clone(), Watch::new(since));
        let source = Source { application, name, home, filters, in_flight, unique, since, watch };
        source.see(Sight::InStreamCreated, shared);
        self.live.insert(id, source);
        self.watch(shared);
        Ok(text)
    }

    /// Takes a frame, which counted for `size` on its way. Those of a source that has ended were on the way.
    pub(crate) fn frame(&mut self, id: ConnectionId, frame: Frame, size: usize, shared: &mut Shared) {
        let Some(source) = self.live.get_mut(&id) else { return };
        source.in_flight.fetch_sub(size, Ordering::Relaxed);
        shared.relay.heard(source.home, shared.now);
        let overruns = &mut shared.counters.filters_removed;
        match source.filters.pass(frame, &shared.log, || *overruns += 1) {
            Ok(Some(frame)) => {
                if frame.role == Role::Config && source.watch.note(&frame, shared.now) {
                    self.look_at = self.look_at.map(|at| at.min(shared.first_look()));
                }
                shared.relay.frame(source.home, frame, shared.now);
            }
            Ok(None) => {}
            Err(error) => self.close(id, &error.to_string(), shared),
        }
    }

    /// Ends a publication.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: &str, shared: &mut Shared) {
        let Some(source) = self.live.remove(&id) else { return };
        source.see(Sight::InStreamClosed, shared);
        let Source { application, name, home, .. } = source;
        shared.relay.unpublish(home, shared.now);
        slog::info!(shared.log, "no longer published by its application: {reason}";
            "application" => &*application.name, "stream" => &name);
        tell_stream(&application, id, &name, false);
        (application.post)(ToApplication::Source { source: id, state: Err(reason.to_owned()) });
    }

    /// Ends all of them.
    pub(crate) fn close_all(&mut self, reason: &str, shared: &mut Shared) {
        let ids: Vec<ConnectionId> = self.live.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close(id, reason, shared));
    }

    /// What there is to say about each.
    pub(crate) fn reports(&self, now: Instant) -> Vec<(ConnectionId, StreamReport)> {
        self.live.iter().map(|(id, source)| (*id, source.report(now))).collect()
    }

    /// Has what they carry looked at, if anybody wants to know.
    pub(crate) fn watch(&mut self, shared: &Shared) {
        if !self.live.is_empty() && shared.watches() {
            let at = shared.first_look();
            self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
        }
    }

    /// When [`Self::on_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at what they carry.
    pub(crate) fn on_timeout(&mut self, shared: &Shared) {
        self.look_at = (!self.live.is_empty() && shared.watches()).then(|| shared.next_look());
        if self.look_at.is_none() {
            return;
        }
        for source in self.live.values_mut() {
            let Some(counters) = shared.relay.counters_of(source.home) else { continue };
            let sights: Vec<Sight> = source.watch.look(&counters, shared.now).collect();
            sights.into_iter().for_each(|sight| source.see(sight, shared));
        }
    }

    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.live.contains_key(&id)
    }
}

impl Source {
    fn report(&self, now: Instant) -> StreamReport {
        let (name, unique) = (self.name.clone(), self.unique);
        StreamReport { slot: SLOT, name, alias: None, unique, age: now.saturating_duration_since(self.since) }
    }

    fn see(&self, sight: Sight, shared: &Shared) {
        shared.see(sight, || {
            Seen::Stream(Box::new(SeenStream {
                connection: None,
                application: self.application.name.clone(),
                stream: self.report(shared.now),
                publish: shared.relay.publish_report(self.home),
                play: None,
            }))
        });
    }
}

/// Tells an application that a stream has come or gone, if it wants to know.
pub(crate) fn tell_stream(application: &Application, publisher: ConnectionId, name: &str, live: bool) {
    if application.hooks.stream {
        (application.post)(ToApplication::Stream { publisher, name: name.to_owned(), live });
    }
}
