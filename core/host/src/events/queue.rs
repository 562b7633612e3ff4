//! The events that wait for one sink.
//!
//! When there are too many, the oldest goes. But a receiver should neither hear of the end of something of whose
//! begin it never heard, nor wait for ever for the end of something that it knows. So:
//!
//! 1. An event that opens (`…Created`, `…Started`) and was dropped, or could not be delivered, takes the one that
//!    closes the same thing with it, whether that is waiting already or comes later.
//! 2. An event that closes is dropped only when nothing else is left: what it closes has been told.
//!
//! "The same thing" is the kind of thing and its id; see [`Record::key`]. Both rules need no search: what closes
//! stands in a queue of its own, and numbers tell the order.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{kind::Kind, record::Record};

/// Things whose begin was dropped and whose end has not come that are remembered. Beyond, an end may be told
/// without its begin.
const LOST: usize = 100_000;

/// What the thread of a sink has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Deliver it.
    Event(Arc<Record>),
    /// Open the file anew.
    Reopen,
    /// End.
    End,
}

/// What waits for one sink.
#[derive(Debug)]
pub(super) struct Queue {
    events: usize,
    bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Events, the one that is being delivered with them.
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// Events dropped so far.
    pub(super) dropped: u64,
}

impl Queue {
    /// At most so many events and bytes of them.
    pub(super) fn new(events: usize, bytes: usize) -> Self {
        Self { events, bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds an event. Returns how many were dropped for it, perhaps itself.
    pub(super) fn push(&self, record: Arc<Record>) -> u64 {
        let mut state = self.state();
        let before = state.dropped;
        state.push(record, self.events, self.bytes);
        let dropped = state.dropped - before;
        drop(state);
        self.changed.notify_all();
        dropped
    }

    /// Waits for what is to be done next.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if std::mem::take(&mut state.reopen) {
                return Next::Reopen;
            }
            let record = state.pop();
            state.delivering = record.is_some();
            if let Some(record) = record {
                return Next::Event(record);
            }
            if state.until.is_some() {
                return Next::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for `time`, or until the end has been ordered.
    pub(super) fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        while state.until.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An event could not be delivered: what closes the same thing is not delivered either.
    pub(super) fn give_up(&self, record: &Record) {
        self.state().forget(record);
    }

    /// Drops all that waits.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.dropped += (state.others.len() + state.closing.len()) as u64;
        state.others.clear();
        state.closing.clear();
        state.bytes = 0;
    }

    /// Orders the file to be opened anew.
    pub(super) fn reopen(&self) {
        self.state().reopen = true;
        self.changed.notify_all();
    }

    /// Orders the end: nothing more is taken, and what waits must be delivered until then.
    pub(super) fn end(&self, until: Instant) {
        self.state().until.get_or_insert(until);
        self.changed.notify_all();
    }

    /// Until when all must be delivered, if the end has been ordered.
    pub(super) fn until(&self) -> Option<Instant> {
        self.state().until
    }

    /// The thread has ended.
    pub(super) fn ended(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Waits for the thread to end, until then. Returns whether it has.
    pub(super) fn wait_ended(&self, until: Instant) -> bool {
        let mut state = self.state();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn waiting(&self) -> Waiting {
        let state = self.state();
        Waiting {
            events: state.others.len() + state.closing.len() + usize::from(state.delivering),
            bytes: state.bytes,
            dropped: state.dropped,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event and its place in the order.
type Queued = (u64, Arc<Record>);

#[derive(Debug, Default)]
struct State {
    /// Events that close something.
    closing: VecDeque<Queued>,
    /// All others.
    others: VecDeque<Queued>,
    bytes: usize,
    /// The place of the next.
    number: u64,
    /// What was opened by an event that is lost, by the kind that opened it and its id.
    lost: HashSet<(Kind, String)>,
    dropped: u64,
    delivering: bool,
    reopen: bool,
    until: Option<Instant>,
    ended: bool,
}

impl State {
    fn push(&mut self, record: Arc<Record>, events: usize, bytes: usize) {
        let opened_by = record.kind.opened_by();
        if self.until.is_some() || self.is_lost(&record) {
            self.dropped += 1;
            return;
        }
        if record.bytes > bytes {
            self.drop_one(&record);
            return;
        }
        if record.kind.opens()
            && let Some(key) = &record.key
        {
            self.lost.remove(&(record.kind, key.clone()));
        }
        self.bytes += record.bytes;
        let queue = if opened_by.is_some() { &mut self.closing } else { &mut self.others };
        queue.push_back((self.number, record));
        self.number += 1;
        while self.others.len() + self.closing.len() > events || self.bytes > bytes {
            // What nobody may be told of any more takes the place of nothing else.
            let useless = self.closing.front().is_some_and(|(_, record)| self.closes_lost(record));
            let oldest = if useless { None } else { self.others.pop_front() };
            let Some((_, oldest)) = oldest.or_else(|| self.closing.pop_front()) else { return };
            self.bytes -= oldest.bytes;
            self.drop_one(&oldest);
        }
    }

    fn pop(&mut self) -> Option<Arc<Record>> {
        loop {
            let closing = self.closing.front().map(|(number, _)| *number);
            let other = self.others.front().map(|(number, _)| *number);
            let queue = match (closing, other) {
                (Some(closing), Some(other)) if closing < other => &mut self.closing,
                (Some(_), None) => &mut self.closing,
                _ => &mut self.others,
            };
            let (_, record) = queue.pop_front()?;
            self.bytes -= record.bytes;
            if !self.is_lost(&record) {
                return Some(record);
            }
            self.dropped += 1;
        }
    }

    fn drop_one(&mut self, record: &Record) {
        self.dropped += 1;
        self.is_lost(record);
        self.forget(record);
    }

    /// Remembers that what this event opened is not known to the receiver.
    fn forget(&mut self, record: &Record) {
        if record.kind.opens()
            && self.lost.len() < LOST
            && let Some(key) = &record.key
        {
            self.lost.insert((record.kind, key.clone()));
        }
    }

    /// Whether this event closes something of which the receiver does not know.
    fn closes_lost(&self, record: &Record) -> bool {
        match (record.kind.opened_by(), &record.key) {
            (Some(kind), Some(key)) if !self.lost.is_empty() => self.lost.contains(&(kind, key.clone())),
            _ => false,
        }
    }

    /// [`closes_lost`](Self::closes_lost); that is over then.
    fn is_lost(&mut self, record: &Record) -> bool {
        match (record.kind.opened_by(), &record.key) {
            (Some(kind), Some(key)) if !self.lost.is_empty() => self.lost.remove(&(kind, key.clone())),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::Event, *};

    fn record(kind: Kind, id: u64) -> Arc<Record> {
        let event = Event { kind, stream: None, payload: json!({ "uniqueId": id }) };
        Arc::new(Record::new(event, id, std::time::SystemTime::UNIX_EPOCH))
    }

    fn drain(queue: &Queue) -> Vec<(Kind, String)> {
        queue.end(Instant::now());
        std::iter::from_fn(|| match queue.next() {
            Next::Event(record) => Some((record.kind, record.key.clone().unwrap())),
            _ => None,
        })
        .collect()
    }

    fn push(queue: &Queue, kind: Kind, id: u64) -> u64 {
        queue.push(record(kind, id))
    }

    const OPEN: Kind = Kind::InStreamCreated;
    const CLOSE: Kind = Kind::InStreamClosed;
    const OTHER: Kind = Kind::TimerTriggered;

    #[test]
    fn order_is_kept_and_the_oldest_goes() {
        let queue = Queue::new(3, 1 << 20);
        for (id, dropped) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
            assert_eq!(push(&queue, OTHER, id), dropped);
        }
        assert_eq!(queue.waiting().dropped, 2);
        let ids: Vec<_> = drain(&queue).into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, ["3", "4", "5"]);
        assert_eq!(queue.waiting(), Waiting { dropped: 2, ..Waiting::default() });
        // Whoever comes after the end is dropped.
        assert_eq!(push(&queue, OTHER, 6), 1);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let size = record(OTHER, 1).bytes;
        for (limit, kept) in [(3 * size - 1, 2), (3 * size, 3), (3 * size + 1, 3)] {
            let queue = Queue::new(100, limit);
            for id in 1..=5 {
                push(&queue, OTHER, id);
                assert!(queue.waiting().bytes <= limit);
            }
            assert_eq!(drain(&queue).len(), kept, "{limit}");
        }
        // One that fits nowhere does not push the others out.
        let queue = Queue::new(100, 2 * size);
        push(&queue, OTHER, 1);
        let event =
            Event { kind: OPEN, stream: None, payload: json!({ "uniqueId": 7, "x": "x".repeat(2 * size) }) };
        assert_eq!(queue.push(Arc::new(Record::new(event, 1, std::time::SystemTime::UNIX_EPOCH))), 1);
        assert_eq!(push(&queue, CLOSE, 7), 1);
        assert_eq!(drain(&queue).len(), 1);
    }

    #[test]
    fn an_end_goes_with_its_begin() {
        let queue = Queue::new(3, 1 << 20);
        push(&queue, OPEN, 1);
        push(&queue, CLOSE, 1);
        push(&queue, OPEN, 2);
        push(&queue, OTHER, 3); // drops the begin of 1
        push(&queue, OTHER, 4); // drops the begin of 2
        assert_eq!(push(&queue, CLOSE, 2), 1);
        let kept = drain(&queue);
        assert_eq!(kept, [(OTHER, "3".to_owned()), (OTHER, "4".to_owned())]);
        assert_eq!(queue.waiting().dropped, 4);
    }

    #[test]
    fn an_end_whose_begin_was_told_is_kept() {
        let queue = Queue::new(2, 1 << 20);
        push(&queue, OPEN, 1);
        assert!(matches!(queue.next(), Next::Event(_)));
        push(&queue, CLOSE, 1);
        for id in 10..20 {
            push(&queue, OTHER, id);
        }
        assert_eq!(drain(&queue), [(CLOSE, "1".to_owned()), (OTHER, "19".to_owned())]);

        // What could not be delivered was not told.
        let queue = Queue::new(2, 1 << 20);
        queue.give_up(&record(OPEN, 1));
        assert_eq!(push(&queue, CLOSE, 1), 1);
        // An id that is used again begins anew.
        queue.give_up(&record(OPEN, 2));
        push(&queue, OPEN, 2);
        push(&queue, CLOSE, 2);
        assert_eq!(drain(&queue).len(), 2);
    }

    #[test]
    fn ends_of_what_was_lost_keep_no_place_from_what_is_new() {
        let queue = Queue::new(3, 1 << 20);
        for id in 1..=9 {
            push(&queue, OPEN, id);
            push(&queue, CLOSE, id);
        }
        assert_eq!(drain(&queue), [(OPEN, "9".to_owned()), (CLOSE, "9".to_owned())]);
        assert_eq!(queue.waiting().dropped, 16);
    }

    #[test]
    fn ends_go_when_nothing_else_is_left() {
        let queue = Queue::new(2, 1 << 20);
        for id in 1..=3 {
            push(&queue, CLOSE, id);
        }
        assert_eq!(push(&queue, OPEN, 4), 1);
        let ids: Vec<_> = drain(&queue).into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, ["2", "3"]);
    }

    proptest! {
        /// Whatever comes and goes: no end without its begin, but for the ends of what a queue full of ends lost.
        #[test]
        fn no_end_is_told_without_its_begin(steps in prop::collection::vec((0..4_u8, 1..30_u64), 0..400), size in 1..20_usize) {
            let queue = Queue::new(size, 1 << 20);
            let mut told = HashSet::new();
            let mut open: HashMap<u64, u64> = HashMap::new();
            let mut last = 100;
            let mut hear = |record: &Record| {
                let id = record.key.clone().unwrap();
                match record.kind {
                    OPEN => prop_assert!(told.insert(id), "begun twice"),
                    CLOSE => prop_assert!(told.remove(&id), "ended without begin"),
                    _ => {}
                }
                Ok(())
            };
            for (step, id) in steps {
                match step {
                    0 => {
                        // No id is used again.
                        if let Some(opened) = open.remove(&id) {
                            push(&queue, CLOSE, opened);
                        } else {
                            last += 1;
                            open.insert(id, last);
                            push(&queue, OPEN, last);
                        }
                    }
                    1 => drop(push(&queue, OTHER, id)),
                    _ => {
                        if queue.waiting().events > 0 {
                            let mut state = queue.state();
                            if let Some(record) = state.pop() {
                                hear(&record)?;
                            }
                        }
                    }
                }
                prop_assert!(queue.waiting().events <= size);
            }
        }
    }
}
