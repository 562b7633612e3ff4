//! The secret: compared in constant time. Who guesses at it is locked out, and all guesses together are slow.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shortest secret that is taken, in bytes.
pub(crate) const SHORTEST: usize = 8;

/// Sources that are remembered; then the one that guessed longest ago is forgotten.
const SOURCES: usize = 1024;

/// Wrong secrets that are compared one after the other, whoever shows them; then one each [`INTERVAL`].
const AT_ONCE: u32 = 32;

/// See [`AT_ONCE`].
const INTERVAL: Duration = Duration::from_millis(500);

/// What became of a secret that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Right,
    Wrong,
    /// It was not even looked at.
    LockedOut,
    /// There is none.
    NoSecret,
}

pub(crate) struct Guard {
    /// A code of the secret under a key of this run: what is compared has always the same length.
    secret: Option<Hmac<Sha256>>,
    code: Vec<u8>,
    max_failures: usize,
    lockout: Duration,
    failures: HashMap<IpAddr, Failures>,
    /// When the wrong secrets so far would be through, were one compared each [`INTERVAL`]: those from elsewhere, and
    /// those from this machine, so that nobody elsewhere can lock out who sits at it.
    through: [Duration; 2],
}

#[derive(Clone, Copy)]
struct Failures {
    count: usize,
    last: Duration,
}

impl Guard {
    pub(crate) fn new(secret: Option<&str>, max_failures: usize, lockout: Duration) -> Result<Self, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("the system has no random bytes: {error}"))?;
        let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
        let code = secret.map(|secret| mac.clone().chain_update(secret).finalize().into_bytes().to_vec());
        let failures = HashMap::new();
        let secret = secret.map(|_| mac);
        let code = code.unwrap_or_default();
        Ok(Self { secret, code, max_failures, lockout, failures, through: [Duration::ZERO; 2] })
    }

    pub(crate) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Compares what a peer at `address` shows at the time `now`.
    pub(crate) fn show(&mut self, address: Option<IpAddr>, shown: &str, now: Duration) -> Shown {
        let Some(mac) = &self.secret else { return Shown::NoSecret };
        let source = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), source);
        let before = self.failures.get(&source).copied();
        let before = before.filter(|failures| now.saturating_sub(failures.last) < self.lockout);
        let [elsewhere, here] = &mut self.through;
        let through = if source.is_loopback() { here } else { elsewhere };
        let many = through.saturating_sub(now) > INTERVAL * (AT_ONCE - 1);
        if many || before.is_some_and(|failures| failures.count >= self.max_failures) {
            return Shown::LockedOut;
        }
        if mac.clone().chain_update(shown).verify_slice(&self.code).is_ok() {
            self.failures.remove(&source);
            return Shown::Right;
        }
        *through = now.max(*through) + INTERVAL;
        if self.failures.len() >= SOURCES && !self.failures.contains_key(&source) {
            let oldest =
                self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(source, _)| *source);
            oldest.and_then(|oldest| self.failures.remove(&oldest));
        }
        let count = before.map_or(0, |failures| failures.count) + 1;
        self.failures.insert(source, Failures { count, last: now });
        Shown::Wrong
    }
}

/// Addresses that one peer can have as many of as it likes are one source: those of this machine, and an IPv6 network.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(last: u32) -> Option<IpAddr> {
        Some(IpAddr::from(last.to_be_bytes()))
    }

    #[test]
    fn an_address_that_guesses_is_locked_out_and_let_in_again() {
        let mut guard = Guard::new(Some("open sesame"), 3, MINUTE).unwrap();
        let start = Duration::from_secs(1000);
        for _ in 0..3 {
            assert_eq!(guard.show(address(1), "guess", start), Shown::Wrong);
        }
        assert_eq!(guard.show(address(1), "open sesame", start), Shown::LockedOut);
        assert_eq!(guard.show(address(2), "open sesame", start), Shown::Right);
        assert_eq!(guard.show(address(1), "open sesame", start + MINUTE), Shown::Right);
        assert_eq!(
            guard.show(address(1), "open sesam", start + MINUTE),
            Shown::Wrong,
            "the count starts anew"
        );
        assert_eq!(guard.show(address(1), "", start + MINUTE), Shown::Wrong);
    }

    #[test]
    fn without_a_secret_nothing_is_right() {
        let mut guard = Guard::new(None, 3, MINUTE).unwrap();
        assert_eq!(guard.show(address(1), "", MINUTE), Shown::NoSecret);
    }

    #[test]
    fn the_memory_of_sources_is_bounded() {
        let mut guard = Guard::new(Some("open sesame"), 3, MINUTE).unwrap();
        for last in 0..10_000 {
            guard.show(address(last), "guess", Duration::from_secs(last.into()));
        }
        assert_eq!(guard.failures.len(), SOURCES);
    }

    #[test]
    fn addresses_that_one_peer_has_many_of_are_one_source() {
        for (one, other, same) in [
            ("127.0.0.1", "127.200.3.4", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "::ffff:127.0.0.2", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let [first, second] = [one, other].map(|text| source(text.parse().unwrap()));
            assert_eq!(first == second, same, "{one} {other}");
        }
        let mut guard = Guard::new(Some("open sesame"), 3, MINUTE).unwrap();
        let mut show = |text: &str, shown| guard.show(Some(text.parse().unwrap()), shown, MINUTE);
        for ip in ["127.0.0.1", "127.1.2.3", "::1"] {
            assert_eq!(show(ip, "guess"), Shown::Wrong);
        }
        assert_eq!(show("127.3.2.1", "open sesame"), Shown::LockedOut);
        assert_eq!(show("192.0.2.1", "open sesame"), Shown::Right);
    }

    #[test]
    fn all_guesses_together_are_slow() {
        let mut guard = Guard::new(Some("open sesame"), 1, MINUTE).unwrap();
        let start = Duration::from_secs(1000);
        for last in 0..AT_ONCE {
            assert_eq!(guard.show(address(last), "guess", start), Shown::Wrong, "{last}");
        }
        let mut next = AT_ONCE;
        let mut wrong = |time: Duration| {
            (0..100)
                .filter(|_| {
                    next += 1;
                    guard.show(address(next), "guess", time) == Shown::Wrong
                })
                .count()
        };
        assert_eq!(wrong(start), 0);
        assert_eq!(wrong(start + INTERVAL - Duration::from_millis(1)), 0);
        assert_eq!(wrong(start + INTERVAL), 1);
        assert_eq!(wrong(start + 3 * INTERVAL), 2);
        assert_eq!(guard.show(address(1_000_000), "open sesame", start + 3 * INTERVAL), Shown::LockedOut);
        let now = start + 4 * INTERVAL;
        assert_eq!(guard.show(address(1_000_000), "open sesame", now), Shown::Right);
        // Who sits at the machine is not locked out by others, but by guesses from there.
        assert_eq!(guard.show(address(1_000_000), "guess", now), Shown::Wrong);
        assert_eq!(guard.show(address(1_000_001), "open sesame", now), Shown::LockedOut);
        let here = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(guard.show(here, "open sesame", now), Shown::Right);
        assert_eq!(guard.show(here, "guess", now), Shown::Wrong);
        assert_eq!(guard.show(here, "open sesame", now), Shown::LockedOut);
    }

    #[test]
    fn guesses_at_the_machine_are_slow_and_lock_out_nobody_elsewhere() {
        let mut guard = Guard::new(Some("open sesame"), 1000, MINUTE).unwrap();
        let (start, here) = (Duration::from_secs(1000), Some(Ipv4Addr::LOCALHOST.into()));
        let wrong = (0..200).filter(|_| guard.show(here, "guess", start) == Shown::Wrong).count();
        assert_eq!(wrong, AT_ONCE as usize);
        assert_eq!(guard.show(here, "open sesame", start), Shown::LockedOut);
        assert_eq!(guard.show(address(7), "open sesame", start), Shown::Right);
        assert_eq!(guard.show(here, "open sesame", start + INTERVAL), Shown::Right);
    }
}
