//! The order in which an application gets its jobs: first in, first out for each connection, round-robin between
//! connections. Requests are bounded, and so are events that the application can do without. Events that it is owed are
//! not: there are never more of them than it has allowed things, and streams that come and go while nobody listens
//! cancel out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crtmp_plugin::foreign::ConnInfo;

use super::request::{MessageInfo, NoticeKind, RequestKind};

/// Spare events of one connection that may wait: so much of an application's attention one peer may have.
pub(super) const SPARE_OF_ONE: usize = 64;

/// A hook to call.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) conn: Arc<ConnInfo>,
    pub(super) what: What,
}

/// Which hook.
#[derive(Debug)]
pub(super) enum What {
    /// The hook of a request; the ticket is the number that the application answers.
    Request { ticket: u64, kind: RequestKind },
    /// The hook of an event.
    Notice(NoticeKind),
    /// Nobody waits for the answer to this ticket any more.
    Cancel { ticket: u64 },
}

impl What {
    fn is_request(&self) -> bool {
        matches!(self, Self::Request { .. })
    }

    fn is_news(&self) -> bool {
        matches!(
            self,
            Self::Request { kind: RequestKind::Message(MessageInfo { wants_reply: false, .. }), .. }
        )
    }
}

#[derive(Debug)]
pub(super) struct Mailbox {
    capacity: usize,
    requests: usize,
    /// Spare events that wait.
    spare: usize,
    /// Jobs by connection; no line is empty.
    lines: HashMap<u64, Line>,
    /// The connections that have a line, each once, by the number of their turn.
    turns: BTreeMap<u64, u64>,
    /// The last number that was given: to a turn or to a job.
    number: u64,
    /// The publisher and name of each stream whose begin waits, and the numbers of these jobs: who publishes a name anew
    /// before it gives it up begins twice.
    begun: HashMap<(u64, String), VecDeque<u64>>,
}

/// What waits of one connection.
#[derive(Debug, Default)]
struct Line {
    /// In the order of their numbers.
    jobs: VecDeque<Waiting>,
    /// How many of them are spare.
    spare: usize,
    turn: u64,
    /// The number of the pong that waits.
    pong: Option<u64>,
    /// The numbers of the descriptions that wait, by message stream, of its present publication.
    described: HashMap<u32, u64>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    job: Job,
    spare: bool,
}

impl Mailbox {
    pub(super) fn new(capacity: usize) -> Self {
        let (lines, turns, begun) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { capacity, requests: 0, spare: 0, lines, turns, number: 0, begun }
    }

    /// Whether the next request must be refused.
    pub(super) fn is_full(&self) -> bool {
        self.requests >= self.capacity
    }

    /// Requests that wait.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// Whether anything of a connection waits.
    pub(super) fn has_line(&self, conn: u64) -> bool {
        self.lines.contains_key(&conn)
    }

    /// Adds a job to its connection's line. Behind `Close` there is no place but for a request: another application
    /// has handed the connection back. A description that waits is replaced by a newer one of the same stream. The end
    /// of a stream whose begin waits takes that away: the application never hears of it.
    pub(super) fn push(&mut self, job: Job) {
        let id = job.conn.id;
        if let What::Notice(NoticeKind::Stream { publisher, name, live }) = &job.what {
            let stream = (*publisher, name.clone());
            if *live {
                let number = self.put(job, false);
                return self.begun.entry(stream).or_default().push_back(number);
            }
            if let Some(number) = self.take_begun(&stream, VecDeque::pop_back) {
                return self.forget_begin(id, number);
            }
        }
        if let Some(job) = self.replace(job) {
            self.put(job, false);
        }
    }

    /// [`push`](Self::push) of an event that the application can do without. Of all connections as many may wait as
    /// requests, of one connection [`SPARE_OF_ONE`]; false: it is left out.
    pub(super) fn push_spare(&mut self, job: Job) -> bool {
        let Some(job) = self.replace(job) else { return true };
        let of_one = self.lines.get(&job.conn.id).map_or(0, |line| line.spare);
        let fits = self.spare < self.capacity && of_one < SPARE_OF_ONE;
        if fits {
            self.put(job, true);
        }
        fits
    }

    /// Puts a job into the place of one that it makes pointless; gives back what needs a place of its own.
    fn replace(&mut self, job: Job) -> Option<Job> {
        let Some(line) = self.lines.get_mut(&job.conn.id) else { return Some(job) };
        if line.is_closed() && !job.what.is_request() {
            return None;
        }
        line.replace(job)
    }

    /// Puts a job at the end of its line; gives its number.
    fn put(&mut self, job: Job, spare: bool) -> u64 {
        let id = job.conn.id;
        self.requests += usize::from(job.what.is_request());
        self.spare += usize::from(spare);
        let number = self.next_number();
        let line = self.lines.entry(id).or_default();
        if line.jobs.is_empty() {
            line.turn = number;
            self.turns.insert(number, id);
        }
        line.spare += usize::from(spare);
        line.note(number, &job);
        line.jobs.push_back(Waiting { number, job, spare });
        number
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The next job.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let (_, id) = self.turns.pop_first()?;
        let number = self.next_number();
        let line = self.lines.get_mut(&id).expect("who has a turn has a line");
        let Waiting { number: taken, job, spare } = line.jobs.pop_front().expect("no line is empty");
        line.forget(taken, &job);
        line.spare -= usize::from(spare);
        self.spare -= usize::from(spare);
        if line.jobs.is_empty() {
            self.lines.remove(&id);
        } else {
            line.turn = number;
            self.turns.insert(number, id);
        }
        self.requests -= usize::from(job.what.is_request());
        if let What::Notice(NoticeKind::Stream { publisher, name, live: true }) = &job.what {
            self.take_begun(&(*publisher, name.clone()), VecDeque::pop_front);
        }
        Some(job)
    }

    /// Takes the first or last begin of a stream that waits; gives its number.
    fn take_begun(
        &mut self,
        stream: &(u64, String),
        which: impl FnOnce(&mut VecDeque<u64>) -> Option<u64>,
    ) -> Option<u64> {
        let numbers = self.begun.get_mut(stream)?;
        let number = which(numbers);
        if numbers.is_empty() {
            self.begun.remove(stream);
        }
        number
    }

    /// Takes the begin of a stream out of a line.
    fn forget_begin(&mut self, id: u64, number: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if let Ok(at) = line.jobs.binary_search_by_key(&number, |waiting| waiting.number) {
            line.jobs.remove(at);
        }
        self.end_line_if_empty(id);
    }

    fn end_line_if_empty(&mut self, id: u64) {
        let Some(line) = self.lines.get(&id).filter(|line| line.jobs.is_empty()) else { return };
        self.turns.remove(&line.turn);
        self.lines.remove(&id);
    }

    /// Forgets the requests of one connection, but for messages that want no answer: what they say has happened.
    pub(super) fn drop_requests_of(&mut self, conn: u64) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let before = line.jobs.len();
        line.jobs.retain(|Waiting { job, .. }| !job.what.is_request() || job.what.is_news());
        self.requests -= before - line.jobs.len();
        self.end_line_if_empty(conn);
    }

    /// Forgets all requests.
    pub(super) fn drop_requests(&mut self) {
        self.lines.retain(|_, line| {
            line.jobs.retain(|waiting| !waiting.job.what.is_request());
            !line.jobs.is_empty()
        });
        self.turns.retain(|_, conn| self.lines.contains_key(conn));
        self.requests = 0;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }
}

impl Line {
    /// Whether the connection has left, and has not come back.
    fn is_closed(&self) -> bool {
        self.jobs.back().is_some_and(|last| matches!(last.job.what, What::Notice(NoticeKind::Close { .. })))
    }

    /// Puts a newer pong or description into the place of an older one; gives back any other job.
    fn replace(&mut self, job: Job) -> Option<Job> {
        let older = match &job.what {
            What::Notice(NoticeKind::Pong(_)) => self.pong,
            What::Notice(NoticeKind::Metadata { stream_id, .. }) => self.described.get(stream_id).copied(),
            _ => None,
        };
        let at =
            older.and_then(|number| self.jobs.binary_search_by_key(&number, |waiting| waiting.number).ok());
        match at.and_then(|at| self.jobs.get_mut(at)) {
            Some(waiting) => waiting.job = job,
            None => return Some(job),
        }
        None
    }

    /// Remembers what a newer one would replace.
    fn note(&mut self, number: u64, job: &Job) {
        match &job.what {
            What::Notice(NoticeKind::Pong(_)) => self.pong = Some(number),
            What::Notice(NoticeKind::Metadata { stream_id, .. }) => {
                self.described.insert(*stream_id, number);
            }
            // The message stream may be used by another publication next; this one's description stays.
            What::Notice(NoticeKind::Unpublish { stream_id, .. }) => {
                self.described.remove(stream_id);
            }
            _ => {}
        }
    }

    /// What has been taken out is not replaced any more.
    fn forget(&mut self, number: u64, job: &Job) {
        match &job.what {
            What::Notice(NoticeKind::Pong(_)) => self.pong = None,
            What::Notice(NoticeKind::Metadata { stream_id, .. })
                if self.described.get(stream_id) == Some(&number) =>
            {
                self.described.remove(stream_id);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(id: u64) -> Arc<ConnInfo> {
        Arc::new(ConnInfo { id, ..ConnInfo::default() })
    }

    fn request(conn_id: u64, ticket: u64) -> Job {
        Job { conn: conn(conn_id), what: What::Request { ticket, kind: RequestKind::Connect } }
    }

    fn notice(conn_id: u64, kind: NoticeKind) -> Job {
        Job { conn: conn(conn_id), what: What::Notice(kind) }
    }

    fn close() -> NoticeKind {
        NoticeKind::Close { reason: String::new() }
    }

    fn unpublish() -> NoticeKind {
        NoticeKind::Unpublish { stream_id: 1, name: String::new(), why: crtmp_plugin::Ended::ByPeer }
    }

    fn metadata(conn_id: u64, stream_id: u32, name: &str) -> Job {
        notice(conn_id, NoticeKind::Metadata { stream_id, name: name.to_owned(), values: Default::default() })
    }

    fn drain(mailbox: &mut Mailbox) -> Vec<String> {
        std::iter::from_fn(|| mailbox.pop())
            .map(|job| match job.what {
                What::Request { ticket, .. } => format!("{}:{ticket}", job.conn.id),
                What::Cancel { ticket } => format!("{}:cancel {ticket}", job.conn.id),
                What::Notice(NoticeKind::Metadata { name, .. }) => format!("{}:{name}", job.conn.id),
                What::Notice(NoticeKind::Unpublish { .. }) => format!("{}:unpublish", job.conn.id),
                What::Notice(NoticeKind::Unplay { .. }) => format!("{}:unplay", job.conn.id),
                What::Notice(NoticeKind::Close { .. }) => format!("{}:close", job.conn.id),
                What::Notice(NoticeKind::Pong(pong)) => format!("{}:pong {}", job.conn.id, pong.received),
                What::Notice(other) => format!("{}:{other:?}", job.conn.id),
            })
            .collect()
    }

    #[test]
    fn connections_take_turns_and_keep_their_order() {
        let mut mailbox = Mailbox::new(10);
        for ticket in 0..4 {
            mailbox.push(request(1, ticket));
        }
        mailbox.push(request(2, 10));
        mailbox.push(request(3, 20));
        mailbox.push(request(2, 11));
        assert_eq!(drain(&mut mailbox), ["1:0", "2:10", "3:20", "1:1", "2:11", "1:2", "1:3"]);
    }

    #[test]
    fn requests_are_counted_and_events_are_not() {
        let mut mailbox = Mailbox::new(2);
        mailbox.push(request(1, 0));
        mailbox.push(notice(1, unpublish()));
        assert!(!mailbox.is_full());
        mailbox.push(request(2, 1));
        assert!(mailbox.is_full());
        mailbox.pop();
        assert_eq!((mailbox.is_full(), mailbox.requests()), (false, 1));
    }

    #[test]
    fn spare_events_are_bounded_for_each_connection_and_for_all_together() {
        let mut mailbox = Mailbox::new(2 * SPARE_OF_ONE + 1);
        let pushes = |mailbox: &mut Mailbox, conn: u64, count: usize| {
            (0..count).filter(|_| mailbox.push_spare(notice(conn, unpublish()))).count()
        };
        assert_eq!(pushes(&mut mailbox, 1, SPARE_OF_ONE - 1), SPARE_OF_ONE - 1);
        assert_eq!(pushes(&mut mailbox, 1, 1), 1, "just the limit of one");
        assert_eq!(pushes(&mut mailbox, 1, 100_000), 0, "one more");
        mailbox.push(notice(1, close()));
        assert_eq!(
            pushes(&mut mailbox, 2, SPARE_OF_ONE),
            SPARE_OF_ONE,
            "another connection has its own room"
        );
        assert_eq!(pushes(&mut mailbox, 3, 2), 1, "and all together no more than requests");
        assert!(!mailbox.is_full(), "which have theirs");
        assert!(
            !mailbox.push_spare(notice(4, close())) && !mailbox.has_line(4),
            "nothing is left of what does not fit"
        );
        assert_eq!(drain(&mut mailbox).len(), 2 * SPARE_OF_ONE + 2);
        assert_eq!(pushes(&mut mailbox, 1, 100), SPARE_OF_ONE, "what has been taken makes room");
    }

    #[test]
    fn what_takes_the_place_of_another_needs_no_room() {
        let mut mailbox = Mailbox::new(1);
        for name in ["one", "two", "three"] {
            assert!(mailbox.push_spare(metadata(1, 1, name)), "{name}");
        }
        assert!(!mailbox.push_spare(metadata(1, 2, "other stream")));
        assert_eq!(drain(&mut mailbox), ["1:three"]);
        assert!(mailbox.push_spare(metadata(1, 2, "other stream")));
    }

    #[test]
    fn close_is_the_last_of_its_connection_unless_that_comes_back() {
        let mut mailbox = Mailbox::new(10);
        mailbox.push(notice(1, close()));
        mailbox.push(notice(1, unpublish()));
        mailbox.push(Job { conn: conn(1), what: What::Cancel { ticket: 5 } });
        mailbox.push(request(2, 1));
        mailbox.push(request(3, 2));
        mailbox.push(notice(3, close()));
        mailbox.push(request(3, 3));
        assert_eq!(mailbox.requests(), 3);
        assert_eq!(drain(&mut mailbox), ["1:close", "2:1", "3:2", "3:close", "3:3"]);
    }

    #[test]
    fn the_latest_description_takes_the_place_of_the_first() {
        let mut mailbox = Mailbox::new(10);
        mailbox.push(metadata(1, 1, "old"));
        mailbox.push(request(1, 0));
        mailbox.push(metadata(1, 2, "other stream"));
        mailbox.push(metadata(1, 1, "new"));
        mailbox.push(notice(1, unpublish()));
        mailbox.push(metadata(1, 1, "next"));
        assert_eq!(drain(&mut mailbox), ["1:new", "1:0", "1:other stream", "1:unpublish", "1:next"]);
    }

    #[test]
    fn what_has_been_taken_out_is_not_replaced() {
        let mut mailbox = Mailbox::new(10);
        let pong =
            |received| NoticeKind::Pong(crtmp_plugin::Pong { rtt: std::time::Duration::ZERO, received });
        mailbox.push(metadata(1, 1, "first"));
        mailbox.push(notice(1, pong(1)));
        mailbox.push(request(1, 0));
        assert!(mailbox.pop().is_some() && mailbox.pop().is_some());
        mailbox.push(metadata(1, 1, "second"));
        mailbox.push(notice(1, pong(2)));
        mailbox.push(metadata(1, 1, "third"));
        assert_eq!(drain(&mut mailbox), ["1:0", "1:third", "1:pong 2"]);
        // A description of a publication before stays while that of the next one is taken out.
        mailbox.push(metadata(1, 1, "a"));
        mailbox.push(notice(1, unpublish()));
        mailbox.push(metadata(1, 1, "b"));
        mailbox.pop();
        mailbox.push(metadata(1, 1, "c"));
        assert_eq!(drain(&mut mailbox), ["1:unpublish", "1:c"]);
    }

    #[test]
    fn the_latest_pong_takes_the_place_of_the_first() {
        let pong =
            |received| NoticeKind::Pong(crtmp_plugin::Pong { rtt: std::time::Duration::ZERO, received });
        let mut mailbox = Mailbox::new(10);
        mailbox.push(notice(1, pong(1)));
        mailbox.push(request(1, 7));
        mailbox.push(notice(1, pong(2)));
        mailbox.push(notice(2, pong(3)));
        assert_eq!(drain(&mut mailbox), ["1:pong 2", "2:pong 3", "1:7"]);
    }

    #[test]
    fn streams_that_come_and_go_while_nobody_listens_leave_nothing() {
        let stream = |publisher, name: &str, live| {
            notice(0, NoticeKind::Stream { publisher, name: name.to_owned(), live })
        };
        let mut mailbox = Mailbox::new(10);
        // It has been heard of: its end has to be, too.
        mailbox.push(stream(1, "heard", true));
        mailbox.pop();
        for round in 0..1000 {
            mailbox.push(stream(1, "heard", round % 2 == 1));
            for live in [true, false] {
                mailbox.push(stream(2, &format!("news {round}"), live));
                mailbox.push(stream(3, "same", live));
            }
            // A second message stream takes the name over from the first.
            for live in [true, true, false, false] {
                mailbox.push(stream(4, "taken over", live));
            }
        }
        mailbox.push(stream(2, "stays", true));
        mailbox.push(stream(3, "stays", false));
        let left: Vec<String> = std::iter::from_fn(|| mailbox.pop())
            .map(|job| match job.what {
                What::Notice(NoticeKind::Stream { publisher, name, live }) => {
                    format!("{publisher} {name} {live}")
                }
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(left, ["1 heard false", "1 heard true", "2 stays true", "3 stays false"]);
        // Nothing is left of lines either, whose last job was taken out.
        mailbox.push(stream(4, "alone", true));
        mailbox.push(stream(4, "alone", false));
        assert!(mailbox.pop().is_none() && mailbox.begun.is_empty());
    }

    /// How many wait is no matter for who leaves: each step below would otherwise walk over all of them.
    #[test]
    fn of_very_many_lines_and_streams_those_that_end_go() {
        const COUNT: u64 = 50_000;
        let mut mailbox = Mailbox::new(COUNT as usize);
        let stream =
            |publisher, live| notice(0, NoticeKind::Stream { publisher, name: "x".to_owned(), live });
        for id in 1..=COUNT {
            mailbox.push(request(id, id));
            mailbox.push(stream(id, true));
        }
        for id in (1..=COUNT).filter(|id| id % 10_000 != 0) {
            mailbox.drop_requests_of(id);
            mailbox.push(stream(id, false));
        }
        assert_eq!((mailbox.requests(), mailbox.turns.len(), mailbox.begun.len()), (5, 6, 5));
        let left: Vec<u64> = std::iter::from_fn(|| mailbox.pop())
            .map(|job| match job.what {
                What::Request { ticket, .. } => ticket,
                What::Notice(NoticeKind::Stream { publisher, live: true, .. }) => publisher,
                other => panic!("{other:?}"),
            })
            .collect();
        // The line of the streams is one of six that take turns, and the first: it is there since the first stream.
        assert_eq!(left, [1, 1, 2, 3, 4, 5, 2, 3, 4, 5].map(|at| at * 10_000));
        assert!(mailbox.lines.is_empty() && mailbox.turns.is_empty() && mailbox.begun.is_empty());
    }

    #[test]
    fn what_was_said_without_a_question_is_heard_after_the_end() {
        let message = |ticket, wants_reply| {
            let kind = RequestKind::Message(MessageInfo {
                stream_id: 0,
                name: "done".to_owned(),
                args: Vec::new(),
                wants_reply,
            });
            Job { conn: conn(1), what: What::Request { ticket, kind } }
        };
        let mut mailbox = Mailbox::new(10);
        mailbox.push(message(0, true));
        mailbox.push(message(1, false));
        mailbox.drop_requests_of(1);
        assert_eq!(mailbox.requests(), 1);
        mailbox.push(notice(1, close()));
        assert_eq!(drain(&mut mailbox), ["1:1", "1:close"]);
        assert_eq!(mailbox.requests(), 0);
    }

    #[test]
    fn requests_can_be_forgotten() {
        let mut mailbox = Mailbox::new(10);
        mailbox.push(request(1, 0));
        mailbox.push(request(2, 1));
        mailbox.push(notice(2, close()));
        mailbox.push(request(3, 2));
        mailbox.drop_requests_of(1);
        assert_eq!(mailbox.requests(), 2);
        mailbox.drop_requests();
        assert_eq!(mailbox.requests(), 0);
        mailbox.push(request(1, 3));
        assert_eq!(drain(&mut mailbox), ["2:close", "1:3"]);
    }
}
