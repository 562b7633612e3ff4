//! Who has one of the places for sessions. Where a secret is set, who has not shown it has a place only for a while
//! and only until somebody else comes, so that nobody shuts out whoever knows it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// The places. Sessions are numbers.
pub(crate) struct Places {
    most: usize,
    /// How long a session may do nothing without having shown the secret; none: there is no secret.
    time: Option<Duration>,
    /// Those that have shown the secret; all of them where there is none.
    known: HashSet<u64>,
    /// Those that have not.
    waiting: HashMap<u64, Waiting>,
    came: u64,
}

struct Waiting {
    source: IpAddr,
    /// Its place in the order in which they came.
    came: u64,
    since: Duration,
}

impl Places {
    /// `most` places; `time` where there is a secret to be shown.
    pub(crate) fn new(most: usize, time: Option<Duration>) -> Self {
        Self { most, time, known: HashSet::new(), waiting: HashMap::new(), came: 0 }
    }

    /// How many of the places those may have who have not shown the secret: a quarter is kept for the others.
    fn most_waiting(&self) -> usize {
        self.most - self.most / 4
    }

    /// Gives a place to a session that comes from `source`. Returns the session that has to leave for it, if one has.
    ///
    /// # Errors
    ///
    /// If all places are taken.
    pub(crate) fn enter(
        &mut self,
        session: u64,
        source: IpAddr,
        now: Duration,
    ) -> Result<Option<u64>, String> {
        if self.known.len() >= self.most {
            return Err(format!("there are {} sessions already (maxSessions)", self.known.len()));
        }
        if self.time.is_none() {
            self.known.insert(session);
            return Ok(None);
        }
        let full =
            self.waiting.len() >= self.most_waiting() || self.waiting.len() + self.known.len() >= self.most;
        let leaves = full.then(|| self.least_entitled(source)).flatten();
        if let Some(leaves) = leaves {
            self.waiting.remove(&leaves);
        }
        self.came += 1;
        self.waiting.insert(session, Waiting { source, came: self.came, since: now });
        Ok(leaves)
    }

    /// Who has shown the secret keeps its place. False: it has none any more.
    pub(crate) fn recognise(&mut self, session: u64) -> bool {
        if self.waiting.remove(&session).is_some() {
            self.known.insert(session);
        }
        self.known.contains(&session)
    }

    /// The session does something that it may.
    pub(crate) fn heard(&mut self, session: u64, now: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&session) {
            waiting.since = now;
        }
    }

    /// Whether the session has a place.
    pub(crate) fn has(&self, session: u64) -> bool {
        self.known.contains(&session) || self.waiting.contains_key(&session)
    }

    /// The session has left.
    pub(crate) fn leave(&mut self, session: u64) {
        self.known.remove(&session);
        self.waiting.remove(&session);
    }

    /// Takes their places from those who have waited for too long, and returns them.
    pub(crate) fn overdue(&mut self, now: Duration) -> Vec<u64> {
        let Some(time) = self.time else { return Vec::new() };
        let over = |(session, waiting): (&u64, &Waiting)| {
            (now.saturating_sub(waiting.since) >= time).then_some(*session)
        };
        let overdue: Vec<u64> = self.waiting.iter().filter_map(over).collect();
        self.waiting.retain(|session, _| !overdue.contains(session));
        overdue
    }

    /// Whether anybody has still to show the secret.
    pub(crate) fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Of those who have not shown the secret, the one that came first from where most are, one more from `source`
    /// counted in.
    fn least_entitled(&self, source: IpAddr) -> Option<u64> {
        let mut counts = HashMap::from([(source, 1_usize)]);
        for waiting in self.waiting.values() {
            *counts.entry(waiting.source).or_default() += 1;
        }
        let rank = |waiting: &Waiting| (counts.get(&waiting.source), std::cmp::Reverse(waiting.came));
        self.waiting.iter().max_by_key(|(_, waiting)| rank(waiting)).map(|(session, _)| *session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);
    const TIME: Duration = Duration::from_secs(10);

    fn source(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn without_a_secret_places_are_counted() {
        let mut places = Places::new(2, None);
        for session in [1, 2] {
            assert_eq!(places.enter(session, source(1), START), Ok(None));
        }
        let why = "there are 2 sessions already (maxSessions)";
        assert_eq!(places.enter(3, source(2), START), Err(why.to_owned()));
        assert!(!places.has(3) && !places.anybody_waits());
        assert_eq!(places.overdue(START + 100 * TIME), [0_u64; 0]);
        places.leave(1);
        assert_eq!(places.enter(3, source(2), START), Ok(None));
    }

    #[test]
    fn who_has_not_shown_the_secret_makes_room() {
        let mut places = Places::new(8, Some(TIME));
        // Six of the eight; the next one of the same source takes the place of the first.
        for session in 1..=6 {
            assert_eq!(places.enter(session, source(1), START), Ok(None), "{session}");
        }
        assert_eq!(places.enter(7, source(1), START), Ok(Some(1)));
        // So does one from elsewhere, and it stays however many come from there.
        assert_eq!(places.enter(8, source(2), START), Ok(Some(2)));
        for session in 9..100 {
            let leaves = places.enter(session, source(1), START).unwrap();
            assert!(leaves.is_some_and(|leaves| leaves != 8), "{leaves:?}");
        }
        assert!(places.has(8) && places.recognise(8) && places.has(8));
        assert!(!places.recognise(1), "it has left");
        assert_eq!(places.waiting.len(), 5);
    }

    #[test]
    fn all_places_may_be_those_of_who_has_shown_it() {
        for most in 1..10 {
            let mut places = Places::new(most, Some(TIME));
            for session in 0..most as u64 {
                places.enter(session, source(1), START).unwrap();
                assert!(places.recognise(session));
            }
            assert!(places.enter(100, source(1), START).is_err(), "{most}");
            places.leave(0);
            assert_eq!(places.enter(100, source(1), START), Ok(None));
            assert_eq!(places.enter(101, source(1), START), Ok(Some(100)), "{most}: the places are full");
        }
    }

    #[test]
    fn who_waits_too_long_has_to_go() {
        let mut places = Places::new(8, Some(TIME));
        for session in 1..=3 {
            places.enter(session, source(1), START).unwrap();
        }
        assert!(places.recognise(1));
        places.heard(2, START + TIME / 2);
        assert_eq!(places.overdue(START + TIME - Duration::from_millis(1)), [0_u64; 0]);
        assert_eq!(places.overdue(START + TIME), [3]);
        assert_eq!(places.overdue(START + TIME * 2), [2]);
        assert!(!places.anybody_waits() && places.has(1));
    }
}
