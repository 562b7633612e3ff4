//! Errors of a script that runs, told seldom: a peer may bring them about as often as it likes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The same error is told once in this time.
const PERIOD: Duration = Duration::from_secs(1);

/// Different errors that are told in one [`PERIOD`].
const KINDS: usize = 20;

/// Bytes of the first line by which errors are told apart: scripts make them as long as they like.
const KEY: usize = 200;

/// What has been told, and how often it was left out since.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: HashMap<String, Told>,
    /// Of errors that are not among those.
    left_out: u64,
}

#[derive(Debug)]
struct Told {
    last: Instant,
    left_out: u64,
}

impl Complaints {
    /// What to tell of an error that comes `now`, if it is time. Errors are the same if their first
    /// lines begin alike.
    pub(super) fn note(&mut self, text: &str, now: Instant) -> Option<String> {
        let line = text.lines().next().unwrap_or_default();
        let first = &line[..line.floor_char_boundary(KEY)];
        let left_out = match self.told.get_mut(first) {
            Some(told) if now.saturating_duration_since(told.last) < PERIOD => {
                told.left_out += 1;
                return None;
            }
            Some(told) => {
                told.last = now;
                std::mem::take(&mut told.left_out)
            }
            None => {
                if self.told.len() >= KINDS {
                    self.forget(now);
                }
                if self.told.len() >= KINDS {
                    self.left_out += 1;
                    return None;
                }
                self.told.insert(first.to_owned(), Told { last: now, left_out: 0 });
                std::mem::take(&mut self.left_out)
            }
        };
        Some(match left_out {
            0 => text.to_owned(),
            count => format!("{first} ({count} more that were not logged){}", &text[first.len()..]),
        })
    }

    /// Makes room for others.
    fn forget(&mut self, now: Instant) {
        let left_out = &mut self.left_out;
        self.told.retain(|_, told| {
            let stays = now.saturating_duration_since(told.last) < PERIOD;
            if !stays {
                *left_out += told.left_out;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_period_and_counted() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        assert_eq!(
            complaints.note("a:1: no\n    a:1: in f", start).as_deref(),
            Some("a:1: no\n    a:1: in f")
        );
        for _ in 0..100 {
            assert_eq!(complaints.note("a:1: no\n    a:9: in g", start), None);
        }
        assert_eq!(complaints.note("a:2: no", start).as_deref(), Some("a:2: no"));
        let late = start + PERIOD - Duration::from_millis(1);
        assert_eq!(complaints.note("a:1: no", late), None);
        let next = complaints.note("a:1: no\n    a:1: in f", start + PERIOD);
        assert_eq!(next.as_deref(), Some("a:1: no (101 more that were not logged)\n    a:1: in f"));
    }

    #[test]
    fn different_ones_are_bounded_in_a_period() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let mut told = |from: usize, now: Instant| {
            (from..from + 1000).filter_map(|number| complaints.note(&format!("a:1: {number}"), now)).collect()
        };
        let first: Vec<String> = told(0, start);
        assert_eq!(first.len(), KINDS);
        let next: Vec<String> = told(1000, start + PERIOD);
        assert_eq!(next.len(), KINDS);
        assert_eq!(next[0], format!("a:1: 1000 ({} more that were not logged)", 1000 - KINDS));
        assert_eq!(next[1], "a:1: 1001");
        assert!(complaints.told.len() <= KINDS);
    }
}
