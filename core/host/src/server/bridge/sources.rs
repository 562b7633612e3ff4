//! The streams that an application publishes itself: what is on the way to their workers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crtmp_media::{Frame, Limits, MediaKind, Role};
use crtmp_plugin::NotTaken;
use crtmp_reactor::{ToWorker, Workers};
use crtmp_relay::ConnectionId;

use super::lock;

/// Sources that an instance of an application may have at once.
pub(super) const SOURCES: usize = 4096;

/// The sources of an application.
#[derive(Default)]
pub(super) struct Sources {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_id: HashMap<u64, Source>,
    /// The application is over: no more.
    ended: bool,
}

#[derive(Default)]
struct Source {
    in_flight: Arc<AtomicUsize>,
    /// A picture was left out: those up to the next key frame cannot be decoded.
    needs_key: bool,
}

impl Sources {
    /// A new source; gives the count of bytes that are on the way. None: the application is over, or has too many.
    pub(super) fn open(&self, id: u64) -> Option<Arc<AtomicUsize>> {
        let mut open = lock(&self.open);
        if open.ended || open.by_id.len() >= SOURCES {
            return None;
        }
        let source = Source::default();
        let in_flight = source.in_flight.clone();
        open.by_id.insert(id, source);
        Some(in_flight)
    }

    /// The source has ended; whether it was one of these.
    pub(super) fn forget(&self, id: u64) -> bool {
        lock(&self.open).by_id.remove(&id).is_some()
    }

    /// The application is over; gives those that were open.
    pub(super) fn end(&self) -> Vec<u64> {
        let mut open = lock(&self.open);
        open.ended = true;
        std::mem::take(&mut open.by_id).into_keys().collect()
    }

    /// Sends a frame on its way, unless more than `workerQueueBytes` are.
    pub(super) fn frame(
        &self,
        id: u64,
        frame: Frame,
        workers: &Workers,
        limits: &Limits,
    ) -> Result<(), NotTaken> {
        let mut open = lock(&self.open);
        let source = open.by_id.get_mut(&id).ok_or(NotTaken::Gone)?;
        let size = frame.body.len();
        let video = frame.kind == MediaKind::Video;
        let undecodable = source.needs_key && video && matches!(frame.role, Role::Delta | Role::Disposable);
        let full = source.in_flight.load(Ordering::Relaxed) + size > limits.worker_queue_bytes;
        if undecodable || full {
            source.needs_key |= video && frame.role != Role::Disposable;
            return Err(NotTaken::Full);
        }
        source.needs_key &= !frame.is_video_key();
        source.in_flight.fetch_add(size, Ordering::Relaxed);
        let source = ConnectionId(id);
        workers.post_to(source, ToWorker::SourceFrame { source, frame });
        Ok(())
    }
}
