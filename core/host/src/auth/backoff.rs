//! Who has failed too often waits before it is looked at again.
//!
//! Each try charges its address until it has turned out well, so that many at once count like many in a row. An address
//! within its free failures is not held up. Beyond, its tries are looked at one by one with a delay between them, and
//! only so many may wait: a right password is slowed down by wrong ones of the same address, and by those of no other.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crtmp_media::{Limits, network};

/// Tries of one address that may be put off at once; more are refused without being looked at.
pub(super) const WAITING: u32 = 8;

/// Failures beyond the free ones that are counted; what is forgotten one by one must not take for ever.
const BEYOND: u32 = 10;

/// Time between two lines in the log about one address.
const LINES: Duration = Duration::from_secs(10);

/// What becomes of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is looked at now.
    Now,
    /// It is looked at then.
    At(Instant),
    /// It is refused.
    Full,
}

/// What addresses have failed.
#[derive(Debug)]
pub(super) struct Backoff {
    free: u32,
    delay: Duration,
    forget: Duration,
    most: usize,
    addresses: HashMap<IpAddr, Entry>,
    /// Of each: when it is forgotten. The first ones have failed least.
    by_time: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug)]
struct Entry {
    /// When all of its failures are forgotten: each has put that off by the same time.
    until: Instant,
    /// When its next try may be looked at.
    next: Instant,
    waiting: u32,
    logged: Option<Instant>,
    suppressed: u64,
}

impl Backoff {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            free: u32::try_from(limits.auth_failures).unwrap_or(u32::MAX),
            delay: limits.auth_delay.get(),
            forget: limits.auth_forget.get(),
            most: limits.auth_addresses,
            addresses: HashMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Whether a try of this address may be looked at. It counts as failed until [`succeeded`](Self::succeeded).
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> Admission {
        let key = network(address);
        let (free, forget) = (self.forget * self.free, self.forget);
        let delay = self.delay;
        let Some(entry) = self.addresses.get_mut(&key) else {
            self.add(key, now);
            return Admission::Now;
        };
        // One more of the same time would be one too many.
        if entry.until.saturating_duration_since(now) + forget <= free {
            self.charge(key, now);
            return Admission::Now;
        }
        if entry.waiting >= WAITING {
            return Admission::Full;
        }
        entry.waiting += 1;
        entry.next = entry.next.max(now) + delay;
        let at = entry.next;
        self.charge(key, now);
        Admission::At(at)
    }

    /// A try that was put off is looked at now, or given up.
    pub(super) fn resumed(&mut self, address: IpAddr) {
        if let Some(entry) = self.addresses.get_mut(&network(address)) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }

    /// A try was good, or nothing came of it: it is not counted.
    pub(super) fn succeeded(&mut self, address: IpAddr, now: Instant) {
        let key = network(address);
        let Some(entry) = self.addresses.get_mut(&key) else { return };
        self.by_time.remove(&(entry.until, key));
        entry.until = entry.until.checked_sub(self.forget).unwrap_or(now);
        if entry.until <= now && entry.waiting == 0 {
            self.addresses.remove(&key);
        } else {
            self.by_time.insert((entry.until, key));
        }
    }

    /// A try has failed. Whether the log shall have a line about it: then how many before it had none.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) -> Option<u64> {
        let entry = self.addresses.get_mut(&network(address))?;
        if entry.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LINES) {
            entry.suppressed += 1;
            return None;
        }
        entry.logged = Some(now);
        Some(std::mem::take(&mut entry.suppressed))
    }

    fn add(&mut self, key: IpAddr, now: Instant) {
        while self.addresses.len() >= self.most
            && let Some((_, least)) = self.by_time.pop_first()
        {
            self.addresses.remove(&least);
        }
        let until = now + self.forget;
        self.addresses.insert(key, Entry { until, next: now, waiting: 0, logged: None, suppressed: 0 });
        self.by_time.insert((until, key));
    }

    fn charge(&mut self, key: IpAddr, now: Instant) {
        let most = now + self.forget * self.free.saturating_add(BEYOND);
        let Some(entry) = self.addresses.get_mut(&key) else { return };
        self.by_time.remove(&(entry.until, key));
        entry.until = (entry.until.max(now) + self.forget).min(most);
        self.by_time.insert((entry.until, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crtmp_media::Seconds;

    fn limits() -> Limits {
        Limits { auth_failures: 3, auth_addresses: 16, auth_delay: Seconds::new(2), ..Limits::default() }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_free_failures_are_not_held_up_and_the_next_ones_wait_in_line() {
        let start = Instant::now();
        let mut backoff = Backoff::new(&limits());
        for _ in 0..3 {
            assert_eq!(backoff.admit(address(1), start), Admission::Now);
        }
        for number in 1..=WAITING {
            let at = start + seconds(2) * number;
            assert_eq!(backoff.admit(address(1), start), Admission::At(at), "{number}");
        }
        assert_eq!(backoff.admit(address(1), start), Admission::Full);
        assert_eq!(backoff.admit(address(2), start), Admission::Now, "another address does not notice");
        backoff.resumed(address(1));
        let at = start + seconds(2) * (WAITING + 1);
        assert_eq!(backoff.admit(address(1), start), Admission::At(at));
        assert_eq!(backoff.admit(address(1), start), Admission::Full);
    }

    #[test]
    fn what_is_good_counts_for_nothing_and_what_failed_is_forgotten() {
        let start = Instant::now();
        let mut backoff = Backoff::new(&limits());
        for _ in 0..1000 {
            assert_eq!(backoff.admit(address(1), start), Admission::Now);
            backoff.succeeded(address(1), start);
        }
        assert!(backoff.addresses.is_empty() && backoff.by_time.is_empty());
        for _ in 0..3 {
            assert_eq!(backoff.admit(address(1), start), Admission::Now);
        }
        assert!(matches!(backoff.admit(address(1), start + seconds(9)), Admission::At(_)));
        backoff.resumed(address(1));
        // Four have failed by now: one is forgotten each ten seconds.
        assert!(matches!(backoff.admit(address(1), start + seconds(19)), Admission::At(_)));
        assert_eq!(backoff.admit(address(1), start + seconds(60)), Admission::Now);
        for _ in 0..1000 {
            backoff.admit(address(9), start);
            backoff.resumed(address(9));
        }
        assert_eq!(backoff.admit(address(9), start + seconds(150)), Admission::Now, "not for ever");
    }

    #[test]
    fn many_that_fail_once_do_not_make_forgotten_who_fails_again_and_again() {
        let start = Instant::now();
        let mut backoff = Backoff::new(&limits());
        for _ in 0..3 {
            backoff.admit(address(255), start);
        }
        for number in 0..200 {
            assert_eq!(backoff.admit(address(number), start), Admission::Now);
            assert!(backoff.addresses.len() <= 16 && backoff.by_time.len() == backoff.addresses.len());
        }
        assert!(matches!(backoff.admit(address(255), start), Admission::At(_)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut backoff = Backoff::new(&limits());
        let of = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        for last in 0..3 {
            assert_eq!(backoff.admit(of(last), Instant::now()), Admission::Now);
        }
        assert!(matches!(backoff.admit(of(3), Instant::now()), Admission::At(_)));
    }

    #[test]
    fn the_log_has_one_line_in_ten_seconds() {
        let start = Instant::now();
        let mut backoff = Backoff::new(&limits());
        backoff.admit(address(1), start);
        assert_eq!(backoff.failed(address(1), start), Some(0));
        assert_eq!(backoff.failed(address(1), start + seconds(9)), None);
        backoff.admit(address(1), start + seconds(9));
        assert_eq!(backoff.failed(address(1), start + seconds(10)), Some(1));
    }
}
