//! How often connections may do what costs the processor much, such as the arithmetic of a key exchange: so often in a
//! turn of the worker that media does not wait for it, and so often in a second for one address that others have some.

use std::{
    collections::HashMap,
    hash::RandomState,
    net::IpAddr,
    time::{Duration, Instant},
};

use crtmp_media::{Limits, network};

/// Addresses that are told apart; more share one account.
const ADDRESSES: usize = 4096;

/// What the connections of a worker may do in this turn, and each address in this second.
pub(crate) struct Costly {
    /// What is left of this turn.
    left: usize,
    /// When there was room made last.
    swept: Option<Instant>,
    /// Since when each address has done how much; none: those that found no room.
    accounts: HashMap<Option<IpAddr>, Account, RandomState>,
}

#[derive(Clone, Copy)]
struct Account {
    since: Instant,
    used: usize,
}

/// The time for which an account counts.
const PERIOD: Duration = Duration::from_secs(1);

/// Whether a connection may do it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Yes, once.
    Now,
    /// Not in this turn.
    NextTurn,
    /// Not before this time.
    At(Instant),
}

impl Costly {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { left: limits.handshakes_per_turn, swept: None, accounts: HashMap::default() }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, limits: &Limits) {
        self.left = limits.handshakes_per_turn;
    }

    /// A connection of `peer` wants to do it once; where it may, it counts as done.
    pub(crate) fn ask(&mut self, peer: IpAddr, limits: &Limits, now: Instant) -> Leave {
        let swept = self.swept.is_some_and(|at| now.saturating_duration_since(at) < PERIOD);
        if self.accounts.len() >= ADDRESSES && !swept {
            self.swept = Some(now);
            self.accounts.retain(|_, account| account.counts(now));
        }
        let key = self.key(peer);
        let account = self.accounts.entry(key).or_insert(Account { since: now, used: 0 });
        if !account.counts(now) {
            *account = Account { since: now, used: 0 };
        }
        if limits.handshakes_per_address > 0 && account.used >= limits.handshakes_per_address {
            return Leave::At(account.since + PERIOD);
        }
        let Some(left) = self.left.checked_sub(1) else { return Leave::NextTurn };
        self.left = left;
        account.used += 1;
        Leave::Now
    }

    /// Whose account it is: an IPv4 address, or the network (/64) of an IPv6 address, since one machine has all of it.
    fn key(&self, peer: IpAddr) -> Option<IpAddr> {
        let key = network(peer);
        let has_room = self.accounts.len() < ADDRESSES || self.accounts.contains_key(&Some(key));
        has_room.then_some(key)
    }
}

impl Account {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < PERIOD
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn limits(per_turn: usize, per_address: usize) -> Limits {
        Limits { handshakes_per_turn: per_turn, handshakes_per_address: per_address, ..Limits::default() }
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn a_turn_has_so_many_for_all() {
        let (limits, now) = (limits(2, 0), Instant::now());
        let mut costly = Costly::new(&limits);
        assert_eq!(costly.ask(v4(1), &limits, now), Leave::Now);
        assert_eq!(costly.ask(v4(2), &limits, now), Leave::Now);
        assert_eq!(costly.ask(v4(3), &limits, now), Leave::NextTurn);
        costly.begin(&limits);
        assert_eq!(costly.ask(v4(1), &limits, now), Leave::Now);
    }

    #[test]
    fn an_address_has_so_many_in_a_second() {
        let (limits, start) = (limits(100, 2), Instant::now());
        let mut costly = Costly::new(&limits);
        assert_eq!(costly.ask(v4(1), &limits, start), Leave::Now);
        assert_eq!(costly.ask(v4(1), &limits, start + PERIOD / 2), Leave::Now);
        assert_eq!(costly.ask(v4(1), &limits, start + PERIOD / 2), Leave::At(start + PERIOD));
        assert_eq!(costly.ask(v4(2), &limits, start), Leave::Now, "others have theirs");
        assert_eq!(costly.ask(v4(1), &limits, start + PERIOD), Leave::Now);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (limits, now) = (limits(100, 1), Instant::now());
        let mut costly = Costly::new(&limits);
        let mut ask = |address: &str| costly.ask(address.parse().unwrap(), &limits, now);
        assert_eq!(ask("2001:db8::1"), Leave::Now);
        assert_eq!(ask("2001:db8::ffff"), Leave::At(now + PERIOD));
        assert_eq!(ask("2001:db8:0:1::1"), Leave::Now);
    }

    #[test]
    fn addresses_without_end_share_one_account_and_forget_nobody() {
        let (limits, now) = (limits(usize::MAX, 2), Instant::now());
        let mut costly = Costly::new(&limits);
        let granted = (0..100_000).filter(|number| costly.ask(v4(*number), &limits, now) == Leave::Now);
        assert_eq!(granted.count(), ADDRESSES + 2);
        assert_eq!(costly.accounts.len(), ADDRESSES + 1);
        assert_eq!(costly.ask(v4(0), &limits, now), Leave::Now);
        assert_eq!(costly.ask(v4(0), &limits, now), Leave::At(now + PERIOD), "it is still known");
        assert_eq!(costly.ask(v4(200_000), &limits, now + PERIOD), Leave::Now);
        assert_eq!(costly.accounts.len(), 1);
    }
}
