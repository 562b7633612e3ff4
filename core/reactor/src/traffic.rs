//! How much all workers receive and send, and whether new streams are refused because it is too much.
//!
//! Each worker says at the end of a turn what it has counted; nothing is done for a frame. Whoever measures adds it up
//! now and then, and sets two flags that are read when somebody wants to publish or play.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes by worker, and the two flags.
pub(crate) struct Traffic {
    workers: Box<[Bytes]>,
    refuse_incoming: AtomicBool,
    refuse_outgoing: AtomicBool,
}

/// What a worker has counted; a cache line of its own, so that workers do not slow each other.
#[repr(align(64))]
#[derive(Default)]
struct Bytes {
    incoming: AtomicU64,
    outgoing: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Bytes::default()).collect(),
            refuse_incoming: AtomicBool::new(false),
            refuse_outgoing: AtomicBool::new(false),
        }
    }

    /// Says what a worker has received and sent since the start.
    pub(crate) fn tell(&self, worker: usize, incoming: u64, outgoing: u64) {
        if let Some(bytes) = self.workers.get(worker) {
            bytes.incoming.store(incoming, Ordering::Relaxed);
            bytes.outgoing.store(outgoing, Ordering::Relaxed);
        }
    }

    /// What all have received and sent.
    pub(crate) fn sum(&self) -> [u64; 2] {
        self.workers.iter().fold([0, 0], |[incoming, outgoing], bytes| {
            let (received, sent) =
                (bytes.incoming.load(Ordering::Relaxed), bytes.outgoing.load(Ordering::Relaxed));
            [incoming.wrapping_add(received), outgoing.wrapping_add(sent)]
        })
    }

    pub(crate) fn refuse(&self, incoming: bool, outgoing: bool) {
        self.refuse_incoming.store(incoming, Ordering::Relaxed);
        self.refuse_outgoing.store(outgoing, Ordering::Relaxed);
    }

    pub(crate) fn refuses_incoming(&self) -> bool {
        self.refuse_incoming.load(Ordering::Relaxed)
    }

    pub(crate) fn refuses_outgoing(&self) -> bool {
        self.refuse_outgoing.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_workers_are_added_and_the_flags_are_independent() {
        let traffic = Traffic::new(2);
        traffic.tell(0, 10, 20);
        traffic.tell(1, 1, 2);
        traffic.tell(0, 100, 200);
        traffic.tell(2, 7, 7);
        assert_eq!(traffic.sum(), [101, 202]);
        for (incoming, outgoing) in [(true, false), (false, true), (false, false)] {
            traffic.refuse(incoming, outgoing);
            assert_eq!((traffic.refuses_incoming(), traffic.refuses_outgoing()), (incoming, outgoing));
        }
    }
}
