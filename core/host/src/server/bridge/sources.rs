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
use crtmp_reactor::ToWorker;
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
    /// Its worker has been told of it. Before that, nothing else may go there: it would come first.
    opened: bool,
    /// A picture was left out: those up to the next key frame cannot be decoded.
    needs_key: bool,
}

impl Sources {
    /// A new source, of which no worker knows yet. False: the application is over, or has too many.
    pub(super) fn add(&self, id: u64) -> bool {
        let mut open = lock(&self.open);
        let fits = !open.ended && open.by_id.len() < SOURCES;
        if fits {
            open.by_id.insert(id, Source::default());
        }
        fits
    }

    /// Has `post` tell the worker of a new source, with the count of bytes that are on the way. False: the source has
    /// ended before.
    pub(super) fn open(&self, id: u64, post: impl FnOnce(Arc<AtomicUsize>)) -> bool {
        let mut open = lock(&self.open);
        let Some(source) = open.by_id.get_mut(&id) else { return false };
        source.opened = true;
        post(source.in_flight.clone());
        true
    }

    /// The source has ended; says whether its worker knows of it. None: it was none of these.
    pub(super) fn forget(&self, id: u64) -> Option<bool> {
        lock(&self.open).by_id.remove(&id).map(|source| source.opened)
    }

    /// The application is over; gives those that workers know of.
    pub(super) fn end(&self) -> Vec<u64> {
        let mut open = lock(&self.open);
        open.ended = true;
        let all = std::mem::take(&mut open.by_id).into_iter();
        all.filter(|(_, source)| source.opened).map(|(id, _)| id).collect()
    }

    /// Sends a frame on its way by `post`, unless more than `workerQueueBytes` are, or the worker does not know of the
    /// source yet.
    pub(super) fn frame(
        &self,
        id: u64,
        frame: Frame,
        limits: &Limits,
        post: impl FnOnce(ConnectionId, ToWorker),
    ) -> Result<(), NotTaken> {
        let mut open = lock(&self.open);
        let source = open.by_id.get_mut(&id).ok_or(NotTaken::Gone)?;
        let size = frame.body.len() + Frame::OVERHEAD;
        let video = frame.kind == MediaKind::Video;
        let undecodable = source.needs_key && video && matches!(frame.role, Role::Delta | Role::Disposable);
        // One always fits, however large.
        let waiting = source.in_flight.load(Ordering::Relaxed);
        let full = waiting > 0 && waiting + size > limits.worker_queue_bytes;
        if undecodable || full || !source.opened {
            source.needs_key |= video && frame.role != Role::Disposable;
            return Err(NotTaken::Full);
        }
        source.needs_key &= !frame.is_video_key();
        source.in_flight.fetch_add(size, Ordering::Relaxed);
        let source = ConnectionId(id);
        post(source, ToWorker::SourceFrame { source, frame, size });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Codec, Slice};

    use super::*;

    fn picture(role: Role, size: usize) -> Frame {
        let body = Slice::from(vec![0; size]);
        Frame { kind: MediaKind::Video, role, codec: Codec::Avc, track: 0, dts: 0, cts: 0, body, data_at: 5 }
    }

    /// Sends a frame; says whether it went on its way.
    fn send(sources: &Sources, id: u64, frame: Frame) -> Result<(), NotTaken> {
        let mut posted = false;
        let sent = sources.frame(id, frame, &Limits::default(), |_, _| posted = true);
        assert_eq!(posted, sent.is_ok(), "what is not taken does not go anywhere");
        sent
    }

    #[test]
    fn nothing_goes_before_the_worker_knows_of_the_source() {
        let sources = Sources::default();
        assert!(sources.add(1));
        for _ in 0..3 {
            assert_eq!(send(&sources, 1, picture(Role::Key, 1000)), Err(NotTaken::Full));
        }
        let mut count = None;
        assert!(sources.open(1, |in_flight| count = Some(in_flight)));
        let count = count.expect("the worker is told");
        assert_eq!(count.load(Ordering::Relaxed), 0, "what was not sent is not on the way");
        assert_eq!(
            send(&sources, 1, picture(Role::Delta, 1000)),
            Err(NotTaken::Full),
            "its key was left out"
        );
        assert_eq!(send(&sources, 1, picture(Role::Key, 1000)), Ok(()));
        assert_eq!(send(&sources, 1, picture(Role::Delta, 1000)), Ok(()));
        assert!(count.load(Ordering::Relaxed) >= 2000);
        assert_eq!(sources.forget(1), Some(true), "the worker has to end it");
        assert_eq!(send(&sources, 1, picture(Role::Key, 1000)), Err(NotTaken::Gone));
    }

    #[test]
    fn frames_count_with_what_they_take_beside_their_bodies() {
        let limits = Limits { worker_queue_bytes: 100 * (10 + Frame::OVERHEAD), ..Limits::default() };
        let sources = Sources::default();
        assert!(sources.add(1));
        let mut count = None;
        assert!(sources.open(1, |in_flight| count = Some(in_flight)));
        let count = count.expect("the worker is told");
        let mut sizes = Vec::new();
        let mut send = |role, size| {
            sources.frame(1, picture(role, size), &limits, |_, message| match message {
                ToWorker::SourceFrame { size, .. } => sizes.push(size),
                _ => panic!("a frame is a frame"),
            })
        };
        let taken = (0..1000).filter(|_| send(Role::Key, 10).is_ok()).count();
        assert_eq!(taken, 100, "just the limit, and no more");
        // The worker has taken one.
        count.fetch_sub(10 + Frame::OVERHEAD, Ordering::Relaxed);
        assert_eq!(send(Role::Key, 11), Err(NotTaken::Full), "one byte too many");
        assert_eq!(send(Role::Key, 9), Ok(()), "one less");
        count.store(0, Ordering::Relaxed);
        assert_eq!(send(Role::Key, limits.worker_queue_bytes), Ok(()), "one fits, however large");
        assert_eq!(send(Role::Key, 0), Err(NotTaken::Full));
        assert_eq!(sizes[0], 10 + Frame::OVERHEAD, "the worker takes away what was added");
    }

    #[test]
    fn a_source_that_ends_before_its_worker_knows_of_it_never_begins() {
        let sources = Sources::default();
        assert!(sources.add(1) && sources.add(2) && sources.add(3));
        assert_eq!(sources.forget(1), Some(false), "nobody has to be told");
        assert!(!sources.open(1, |_| panic!("it has ended")));
        assert_eq!(sources.forget(1), None);
        assert!(sources.open(2, drop));
        assert_eq!(sources.end(), [2], "the third was never begun");
        assert!(!sources.open(3, |_| panic!("all have ended")));
        assert!(!sources.add(4));
    }

    #[test]
    fn sources_are_counted() {
        let sources = Sources::default();
        for id in 1..=SOURCES as u64 {
            assert!(sources.add(id), "{id}");
        }
        assert!(!sources.add(0));
        assert_eq!(sources.forget(1), Some(false));
        assert!(sources.add(0));
    }
}
