//! Requests that wait for a thread: each server that is asked has a line of its own, and the lines take turns. A server
//! that does not answer holds most threads at most, so that there is one left for others.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// What waits, of type `T`.
pub(super) struct Queue<T> {
    lines: Mutex<Lines<T>>,
    ready: Condvar,
    /// Those that may wait, and those of one server of them.
    most: usize,
    most_of_one: usize,
    /// Those of one server that may be taken and not done.
    share: usize,
}

struct Lines<T> {
    by_server: HashMap<Arc<str>, Line<T>>,
    /// Servers of which the next may be taken: each once.
    turns: VecDeque<Arc<str>>,
    waiting: usize,
    closed: bool,
}

struct Line<T> {
    jobs: VecDeque<T>,
    running: usize,
    /// It stands in `turns`.
    ready: bool,
}

/// The place of what was taken; dropped when it is done.
pub(super) struct Place<'a, T> {
    queue: &'a Queue<T>,
    server: Arc<str>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.queue.done(&self.server);
    }
}

impl<T> Queue<T> {
    /// For so many threads, with room for `most`.
    pub(super) fn new(threads: usize, most: usize) -> Self {
        let lines = Lines { by_server: HashMap::new(), turns: VecDeque::new(), waiting: 0, closed: false };
        let three_quarters = |of: usize| (of - of.div_ceil(4)).max(1);
        let (share, most_of_one) = (three_quarters(threads), three_quarters(most));
        Self { lines: Mutex::new(lines), ready: Condvar::new(), most, most_of_one, share }
    }

    /// Puts something at the end of the line of its server; false where there is no room, or it is closed.
    pub(super) fn put(&self, server: &str, job: T) -> bool {
        let mut lines = self.lock();
        if lines.closed || lines.waiting >= self.most {
            return false;
        }
        let server: Arc<str> = match lines.by_server.get_key_value(server) {
            Some((known, _)) => known.clone(),
            None => server.into(),
        };
        if lines.by_server.get(&server).is_some_and(|line| line.jobs.len() >= self.most_of_one) {
            return false;
        }
        lines.waiting += 1;
        lines.by_server.entry(server.clone()).or_insert_with(Line::new).jobs.push_back(job);
        self.settle(&mut lines, &server);
        true
    }

    /// Waits for what is next; none: it is closed, and nothing waits any more.
    pub(super) fn take(&self) -> Option<(T, Place<'_, T>)> {
        let mut lines = self.lock();
        loop {
            if let Some(server) = lines.turns.pop_front() {
                let found = lines.by_server.get_mut(&server).and_then(|line| {
                    line.ready = false;
                    let job = line.jobs.pop_front()?;
                    line.running += 1;
                    Some(job)
                });
                if let Some(job) = found {
                    lines.waiting -= 1;
                    self.settle(&mut lines, &server);
                    return Some((job, Place { queue: self, server }));
                }
            } else if lines.closed && lines.waiting == 0 {
                return None;
            } else {
                lines = self.ready.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes nothing more; what waits is taken whoever it is for.
    pub(super) fn close(&self) {
        let mut lines = self.lock();
        lines.closed = true;
        let servers: Vec<Arc<str>> = lines.by_server.keys().cloned().collect();
        servers.iter().for_each(|server| self.settle(&mut lines, server));
        self.ready.notify_all();
    }

    fn done(&self, server: &Arc<str>) {
        let mut lines = self.lock();
        if let Some(line) = lines.by_server.get_mut(server) {
            line.running = line.running.saturating_sub(1);
        }
        self.settle(&mut lines, server);
        if lines.closed {
            self.ready.notify_all();
        }
    }

    /// Gives a line its turn where it has one, and forgets it where it is empty.
    fn settle(&self, lines: &mut Lines<T>, server: &Arc<str>) {
        let Lines { by_server, turns, closed, .. } = lines;
        let Some(line) = by_server.get_mut(server) else { return };
        if line.jobs.is_empty() {
            if line.running == 0 {
                by_server.remove(server);
            }
        } else if !line.ready && (line.running < self.share || *closed) {
            line.ready = true;
            turns.push_back(server.clone());
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { jobs: VecDeque::new(), running: 0, ready: false }
    }
}

/// The server that a URL names: its scheme, name and port, without user and password.
pub(super) fn server_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_leaves_a_thread_for_others() {
        for (threads, share) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (16, 12)] {
            let queue = Queue::new(threads, 100);
            (0..20).for_each(|job| assert!(queue.put("slow", job)));
            let slow: Vec<_> = (0..share).map(|_| queue.take().unwrap()).collect();
            assert!(queue.put("quick", 100));
            let (job, quick) = queue.take().unwrap();
            assert_eq!(job, 100, "{threads}");
            assert!(share < threads || threads == 1);
            drop(quick);
            assert!(queue.lock().turns.is_empty(), "the rest waits");
            drop(slow);
            assert_eq!(queue.take().unwrap().0, share, "in order");
        }
    }

    #[test]
    fn lines_take_turns() {
        let queue = Queue::new(16, 100);
        for (server, job) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
            assert!(queue.put(server, job));
        }
        let order: Vec<i32> = (0..6).map(|_| queue.take().unwrap().0).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
        assert!(queue.lock().by_server.is_empty(), "nothing is kept of who has been answered");
    }

    #[test]
    fn so_many_wait_and_no_more_and_the_end_hands_out_the_rest() {
        for (most, of_one) in [(1, 1), (2, 1), (3, 2), (8, 6)] {
            let queue = Queue::new(1, most);
            (0..of_one).for_each(|job| assert!(queue.put("a", job)));
            assert!(!queue.put("a", most), "there is room for others");
            (of_one..most).for_each(|job| assert!(queue.put(&job.to_string(), job)));
            assert!(!queue.put("b", most));
            let first = queue.take().unwrap();
            assert!(queue.put("b", most));
            queue.close();
            assert!(!queue.put("c", 0));
            let mut rest: Vec<usize> = std::iter::from_fn(|| queue.take().map(|(job, _)| job)).collect();
            rest.sort_unstable();
            assert_eq!(rest, (1..=most).collect::<Vec<_>>());
            drop(first);
            assert!(queue.take().is_none());
        }
    }

    #[test]
    fn a_server_is_its_scheme_name_and_port() {
        for (url, server) in [
            ("http://a.example/x?y=http://b.example", "http://a.example"),
            ("HTTPS://User:p@ss@A.example:8443?x", "https://a.example:8443"),
            ("http://[::1]:80#x", "http://[::1]:80"),
            ("nonsense", "://nonsense"),
            ("", "://"),
        ] {
            assert_eq!(server_of(url), server, "{url}");
        }
    }
}
