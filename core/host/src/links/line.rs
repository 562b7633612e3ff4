//! The line of those who want to connect: so many are let in at once.
//!
//! Who has failed least is next, so that what has just ended does not wait behind all that is dead anyway. Of those who
//! have failed equally often the oldest and the newest take turns, so that who comes while a thousand wait (a command, a
//! player at an edge) does not wait for all of them. And who fails again and again never gets all places.

use std::{collections::BTreeSet, time::Duration};

/// Who has waited for longer than this has failed again and again, and leaves a quarter of the places to others.
const PATIENT: Duration = Duration::from_secs(1);

/// A line, and how many of those who left it are being served.
#[derive(Debug)]
pub(super) struct Line {
    waiting: BTreeSet<(Duration, u64)>,
    /// Of those who have failed equally often, the newest is next, not the oldest.
    newest_next: bool,
    places: usize,
    taken: usize,
    /// By those who have failed again and again.
    taken_by_patient: usize,
}

impl Line {
    /// Nobody waits, and so many may be served at once.
    pub(super) fn new(places: usize) -> Self {
        Self { waiting: BTreeSet::new(), newest_next: true, places, taken: 0, taken_by_patient: 0 }
    }

    /// Somebody new, by a number that grows, whose `rank` is how long it has waited for this attempt.
    pub(super) fn join(&mut self, rank: Duration, who: u64) {
        self.waiting.insert((rank, who));
    }

    /// It does not want to any more.
    pub(super) fn leave(&mut self, rank: Duration, who: u64) {
        self.waiting.remove(&(rank, who));
    }

    /// Whose turn it is; it takes a place, until it is [`over`](Self::over).
    pub(super) fn next(&mut self) -> Option<u64> {
        let (rank, _) = *self.waiting.first()?;
        let for_patient = self.places - self.places / 4;
        if self.taken >= self.places || is_patient(rank) && self.taken_by_patient >= for_patient {
            return None;
        }
        self.newest_next = !self.newest_next;
        let newest =
            self.waiting.range(..=(rank, u64::MAX)).next_back().filter(|_| self.newest_next).copied();
        let next = newest.or_else(|| self.waiting.first().copied())?;
        self.waiting.remove(&next);
        self.taken += 1;
        self.taken_by_patient += usize::from(is_patient(rank));
        Some(next.1)
    }

    /// One of this rank gives its place back.
    pub(super) fn over(&mut self, rank: Duration) {
        self.taken = self.taken.saturating_sub(1);
        self.taken_by_patient = self.taken_by_patient.saturating_sub(usize::from(is_patient(rank)));
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many are being served.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether nobody waits or is served.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken == 0 && self.taken_by_patient == 0
    }
}

/// Whether one that has waited for so long has failed more than once.
fn is_patient(rank: Duration) -> bool {
    rank > PATIENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Duration = Duration::ZERO;
    const OFTEN: Duration = Duration::from_secs(30);

    fn all(line: &mut Line) -> Vec<u64> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn who_has_failed_least_is_next_and_of_those_the_oldest_and_the_newest_in_turn() {
        let mut line = Line::new(10);
        for (rank, who) in [(OFTEN, 1), (NEW, 2), (NEW, 3), (NEW, 4), (NEW, 5), (PATIENT, 6)] {
            line.join(rank, who);
        }
        line.leave(NEW, 4);
        assert_eq!(all(&mut line), [2, 5, 3, 6, 1]);
    }

    #[test]
    fn as_many_as_places_and_who_fails_again_and_again_leaves_some() {
        for places in [1, 2, 4, 64] {
            let mut line = Line::new(places);
            (0..100).for_each(|who| line.join(OFTEN, who));
            assert_eq!(all(&mut line).len(), places - places / 4, "{places}");
            (100..200).for_each(|who| line.join(NEW, who));
            assert_eq!(all(&mut line).len(), places / 4, "{places}");
            line.over(NEW);
            assert_eq!(all(&mut line).len(), 1);
            line.over(OFTEN);
            assert!(line.next().is_some_and(|who| who >= 100), "the living first");
        }
    }

    #[test]
    fn places_come_back() {
        let mut line = Line::new(2);
        for who in 0..10 {
            line.join(OFTEN, who);
            assert!(line.next().is_some());
            line.over(OFTEN);
        }
        assert!(line.is_empty());
    }
}
