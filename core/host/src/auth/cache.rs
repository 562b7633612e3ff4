//! Slow passwords that were right a moment ago: players that come back do not cost a slow check each.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crtmp_media::Limits;

/// Stands for a user and a password; made with a key that only this process has.
type Key = [u8; 32];

/// Those that were right.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    time: Duration,
    until: HashMap<Key, Instant>,
    /// In the order in which they expire.
    order: VecDeque<(Instant, Key)>,
}

impl Cache {
    pub(super) fn new(limits: &Limits) -> Self {
        let (most, time) = (limits.auth_cache, limits.auth_cache_time.get());
        Self { most, time, until: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn has(&self, key: &Key, now: Instant) -> bool {
        self.until.get(key).is_some_and(|until| now < *until)
    }

    pub(super) fn add(&mut self, key: Key, now: Instant) {
        while let Some(&(until, oldest)) = self.order.front()
            && (until <= now || self.order.len() >= self.most)
        {
            self.order.pop_front();
            // It may have been added again since.
            if self.until.get(&oldest) == Some(&until) {
                self.until.remove(&oldest);
            }
        }
        if self.most > 0 && !self.time.is_zero() {
            let until = now + self.time;
            self.until.insert(key, until);
            self.order.push_back((until, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crtmp_media::Seconds;

    fn key(number: u8) -> Key {
        [number; 32]
    }

    #[test]
    fn it_remembers_so_many_for_so_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limits = Limits { auth_cache: 2, auth_cache_time: Seconds::new(10), ..Limits::default() };
        let mut cache = Cache::new(&limits);
        cache.add(key(1), at(0));
        assert!(cache.has(&key(1), at(9)) && !cache.has(&key(1), at(10)) && !cache.has(&key(2), at(0)));
        cache.add(key(2), at(1));
        assert!(cache.has(&key(1), at(1)) && cache.has(&key(2), at(1)));
        cache.add(key(3), at(2));
        assert!(!cache.has(&key(1), at(2)) && cache.has(&key(2), at(2)) && cache.has(&key(3), at(2)));
        cache.add(key(3), at(5));
        cache.add(key(3), at(6));
        assert!(cache.has(&key(3), at(15)));
        for number in 0..=255 {
            cache.add(key(number), at(20));
            assert!(cache.until.len() <= 2 && cache.order.len() <= 2);
        }
    }

    #[test]
    fn it_may_be_off() {
        for limits in [
            Limits { auth_cache: 0, ..Limits::default() },
            Limits { auth_cache_time: Seconds::new(0), ..Limits::default() },
        ] {
            let (mut cache, now) = (Cache::new(&limits), Instant::now());
            cache.add(key(1), now);
            assert!(!cache.has(&key(1), now) && cache.order.is_empty());
        }
    }
}
