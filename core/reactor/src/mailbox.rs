//! The way into a worker.

use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::ToWorker;

/// A queue into a worker, and the wake-up that goes with it.
///
/// What travels through it is bounded where it comes from: frames by bytes in flight per stream, questions by
/// credit per connection, connections by their limit.
#[derive(Clone)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Vec<ToWorker>>,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), waker }) }
    }

    /// Hands `message` to the worker; never blocks for longer than the worker needs to take its messages.
    pub fn post(&self, message: ToWorker) {
        self.post_all(std::iter::once(message));
    }

    /// Hands several messages over with one wake-up.
    pub fn post_all(&self, messages: impl Iterator<Item = ToWorker>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = queue.is_empty();
        queue.extend(messages);
        let wake = was_empty && !queue.is_empty();
        drop(queue);
        if wake {
            // The eventfd behind it fails only when its counter overflows, and then the worker is awake.
            let _ = self.shared.waker.wake();
        }
    }

    /// Takes everything that has come, into an empty `into`.
    pub(crate) fn take(&self, into: &mut Vec<ToWorker>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *queue, into);
    }
}
