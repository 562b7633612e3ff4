//! When each connection wants to be looked at.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use crate::worker::ConnectionKey;

/// One deadline per connection, checked lazily: a deadline that moves back costs nothing until it is due.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ConnectionKey)>>,
}

impl Timers {
    /// Looks at `key` at `at`, or earlier where it was asked for. `armed` is the connection's own note of its
    /// earliest entry.
    pub(crate) fn arm(&mut self, key: ConnectionKey, at: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(at) = at else { return };
        if armed.is_none_or(|armed| at < armed) {
            *armed = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next connection that is due, and the time that it was due at.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionKey)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
