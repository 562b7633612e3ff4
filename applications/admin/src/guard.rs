//! The secret: compared in constant time, and addresses that guess at it are locked out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shortest secret that is taken, in bytes.
pub(crate) const SHORTEST: usize = 8;

/// Addresses that are remembered; then the one that guessed longest ago is forgotten.
const ADDRESSES: usize = 1024;

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
        Ok(Self { secret, code: code.unwrap_or_default(), max_failures, lockout, failures })
    }

    pub(crate) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Compares what `address` shows at the time `now`.
    pub(crate) fn show(&mut self, address: Option<IpAddr>, shown: &str, now: Duration) -> Shown {
        let Some(mac) = &self.secret else { return Shown::NoSecret };
        let Some(address) = address else { return Shown::Wrong };
        let before = self.failures.get(&address).copied();
        let before = before.filter(|failures| now.saturating_sub(failures.last) < self.lockout);
        if before.is_some_and(|failures| failures.count >= self.max_failures) {
            return Shown::LockedOut;
        }
        if mac.clone().chain_update(shown).verify_slice(&self.code).is_ok() {
            self.failures.remove(&address);
            return Shown::Right;
        }
        if self.failures.len() >= ADDRESSES && !self.failures.contains_key(&address) {
            let oldest =
                self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address);
            oldest.and_then(|oldest| self.failures.remove(&oldest));
        }
        let count = before.map_or(0, |failures| failures.count) + 1;
        self.failures.insert(address, Failures { count, last: now });
        Shown::Wrong
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
    fn the_memory_of_addresses_is_bounded() {
        let mut guard = Guard::new(Some("open sesame"), 3, MINUTE).unwrap();
        for last in 0..10_000 {
            guard.show(address(last), "guess", Duration::from_millis(last.into()));
        }
        assert_eq!(guard.failures.len(), ADDRESSES);
    }
}
