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

/// The sources of an application.
#[derive(Default)]
pub(super) struct Sources {
    open: Mutex<HashMap<u64, Source>>,
}

#[derive(Default)]
struct Source {
    in_flight: Arc<AtomicUsize>,
    /// A picture was left out: those up to the next key frame cannot be decoded.
    needs_key: bool,
}

impl Sources {
    /// A new source; gives the count of bytes that are on the way.
    pub(super) fn open(&self, id: u64) -> Arc<AtomicUsize> {
        let source = Source::default();
        let in_flight = source.in_flight.clone();
        lock(&self.open).insert(id, source);
        in_flight
    }

    /// The source has ended.
    pub(super) fn forget(&self, id: u64) {
        lock(&self.open).remove(&id);
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
        let source = open.get_mut(&id).ok_or(NotTaken::Gone)?;
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
