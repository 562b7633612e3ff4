//! Requests without an answer: by ticket, by connection, and by the time at which their answer is late. Looked into under
//! the lock that workers take, so no step takes longer for those that others wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crtmp_plugin::foreign::ConnInfo;

use super::request::Asked;

/// A request without an answer: in the mailbox, in its hook, or put off.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) conn: Arc<ConnInfo>,
    pub(super) id: u64,
    pub(super) asked: Asked,
    /// The far end waits for an answer.
    pub(super) awaited: bool,
    /// Set once it is put off: until when.
    put_off: Option<Instant>,
}

impl Open {
    pub(super) fn new(conn: Arc<ConnInfo>, id: u64, asked: Asked, awaited: bool) -> Self {
        Self { conn, id, asked, awaited, put_off: None }
    }

    /// Whether its hook has returned without an answer.
    pub(super) fn is_put_off(&self) -> bool {
        self.put_off.is_some()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    by_ticket: BTreeMap<u64, Open>,
    /// Connection and ticket of each.
    by_connection: BTreeSet<(u64, u64)>,
    /// Of each that is put off: until when, and its ticket.
    by_time: BTreeSet<(Instant, u64)>,
}

impl OpenRequests {
    pub(super) fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    pub(super) fn add(&mut self, ticket: u64, open: Open) {
        self.by_connection.insert((open.conn.id, ticket));
        self.by_ticket.insert(ticket, open);
    }

    pub(super) fn get(&self, ticket: u64) -> Option<&Open> {
        self.by_ticket.get(&ticket)
    }

    pub(super) fn put_off(&mut self, ticket: u64, until: Instant) {
        let Some(open) = self.by_ticket.get_mut(&ticket) else { return };
        if let Some(before) = open.put_off.replace(until) {
            self.by_time.remove(&(before, ticket));
        }
        self.by_time.insert((until, ticket));
    }

    pub(super) fn take(&mut self, ticket: u64) -> Option<Open> {
        let open = self.by_ticket.remove(&ticket)?;
        self.by_connection.remove(&(open.conn.id, ticket));
        if let Some(until) = open.put_off {
            self.by_time.remove(&(until, ticket));
        }
        Some(open)
    }

    /// Takes one of a connection.
    pub(super) fn take_of(&mut self, conn: u64) -> Option<(u64, Open)> {
        let &(_, ticket) = self.by_connection.range((conn, 0)..=(conn, u64::MAX)).next()?;
        self.take(ticket).map(|open| (ticket, open))
    }

    /// Takes one whose answer is late.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<(u64, Open)> {
        let &(until, ticket) = self.by_time.first()?;
        if until > now {
            return None;
        }
        self.take(ticket).map(|open| (ticket, open))
    }

    /// Takes all, in the order in which they came.
    pub(super) fn take_all(&mut self) -> BTreeMap<u64, Open> {
        std::mem::take(self).by_ticket
    }

    /// When the next answer is late.
    pub(super) fn next_late(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn open(conn: u64) -> Open {
        let conn = Arc::new(ConnInfo { id: conn, ..ConnInfo::default() });
        Open::new(conn, 1, Asked::Publish, true)
    }

    fn tickets(mut next: impl FnMut() -> Option<(u64, Open)>) -> Vec<u64> {
        std::iter::from_fn(|| next().map(|(ticket, _)| ticket)).collect()
    }

    #[test]
    fn those_of_one_connection_are_taken_and_no_others() {
        let mut requests = OpenRequests::default();
        let start = Instant::now();
        for (ticket, conn) in [(1, 7), (2, 6), (3, 7), (4, 8), (5, 0), (6, u64::MAX)] {
            requests.add(ticket, open(conn));
            requests.put_off(ticket, start + Duration::from_secs(ticket));
        }
        assert_eq!(tickets(|| requests.take_of(7)), [1, 3]);
        assert!(requests.take_of(9).is_none());
        assert_eq!(tickets(|| requests.take_of(u64::MAX)), [6]);
        assert!(requests.get(1).is_none() && requests.get(2).is_some());
        assert_eq!(requests.next_late(), Some(start + Duration::from_secs(2)));
        assert_eq!(tickets(|| requests.take_late(start + Duration::from_secs(9))), [2, 4, 5]);
        assert!(requests.is_empty() && requests.next_late().is_none() && requests.by_connection.is_empty());
    }

    #[test]
    fn late_are_those_whose_time_has_come_the_first_first() {
        let mut requests = OpenRequests::default();
        let at = |second| Duration::from_secs(second);
        let start = Instant::now();
        for ticket in 1..=4 {
            requests.add(ticket, open(ticket));
        }
        requests.put_off(1, start + at(9));
        requests.put_off(2, start + at(5));
        requests.put_off(3, start + at(5));
        requests.put_off(1, start + at(4));
        requests.put_off(99, start);
        assert_eq!(requests.next_late(), Some(start + at(4)));
        assert_eq!(tickets(|| requests.take_late(start + at(5) - Duration::from_nanos(1))), [1]);
        assert_eq!(tickets(|| requests.take_late(start + at(5))), [2, 3]);
        assert_eq!(requests.next_late(), None, "the fourth is not put off");
        assert!(requests.take(4).is_some_and(|open| !open.is_put_off()));
        assert!(requests.take(4).is_none() && requests.is_empty());
    }
}
