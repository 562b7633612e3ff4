//! How often connections may do what costs the processor much, such as the arithmetic of a key exchange: so often in a
//! turn of the worker that media does not wait for it, and so often in a second for one address that others have some.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    time::{Duration, Instant},
};

use crtmp_media::{Limits, network};

use crate::ids::ConnectionKey;

/// Addresses that have an account of their own.
const ADDRESSES: usize = 4096;

/// Accounts that all other addresses share: which of them is nobody's choice, so that a crowd of addresses does not use up
/// what somebody else may do.
const SHARED: u64 = 4096;

/// Those in line that a turn looks at, at most.
const LOOKS_PER_TURN: usize = 256;

/// What the connections of a worker may do in this turn, and each address in this second.
pub(crate) struct Costly {
    /// What is left of this turn.
    left: usize,
    /// Those in line that this turn may yet look at.
    looks: usize,
    /// Those that found nothing left of a turn, each once, longest first.
    line: VecDeque<ConnectionKey>,
    /// When there was room made last.
    swept: Option<Instant>,
    /// Since when each address has done how much.
    accounts: HashMap<IpAddr, Account, RandomState>,
    /// The same of those that found no room.
    shared: HashMap<u64, Account>,
}

#[derive(Clone, Copy)]
struct Account {
    since: Instant,
    used: usize,
    /// How often it was asked for more.
    refused: usize,
}

/// The time for which an account counts.
const PERIOD: Duration = Duration::from_secs(1);

/// The farthest period that somebody is told to come back in: by then most have given up.
const PERIODS: u32 = 60;

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
        Self {
            left: limits.handshakes_per_turn,
            looks: LOOKS_PER_TURN,
            line: VecDeque::new(),
            swept: None,
            accounts: HashMap::default(),
            shared: HashMap::new(),
        }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, limits: &Limits) {
        (self.left, self.looks) = (limits.handshakes_per_turn, LOOKS_PER_TURN);
    }

    /// Has a connection that found nothing left of this turn wait in line. It stands there once.
    pub(crate) fn wait(&mut self, key: ConnectionKey) {
        self.line.push_back(key);
    }

    /// Who has waited longest, as long as there is something left of this turn.
    pub(crate) fn next_in_line(&mut self) -> Option<ConnectionKey> {
        if self.left == 0 {
            return None;
        }
        self.looks = self.looks.checked_sub(1)?;
        self.line.pop_front()
    }

    /// Whether somebody waits for a turn.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.line.is_empty()
    }

    /// A connection of `peer` wants to do it once; where it may, it counts as done.
    pub(crate) fn ask(&mut self, peer: IpAddr, limits: &Limits, now: Instant) -> Leave {
        let most = limits.handshakes_per_address;
        let left = self.left;
        let account = self.account(peer, now);
        if most > 0 && account.used >= most {
            // Not all at once: whoever comes later is told a later time, so that each second brings those it has leave for.
            let periods = u32::try_from(account.refused / most).unwrap_or(PERIODS).min(PERIODS);
            account.refused += 1;
            return Leave::At(account.since + PERIOD * (1 + periods));
        }
        let Some(left) = left.checked_sub(1) else { return Leave::NextTurn };
        account.used += 1;
        self.left = left;
        Leave::Now
    }

    /// The account of an address as it is now.
    fn account(&mut self, peer: IpAddr, now: Instant) -> &mut Account {
        let swept = self.swept.is_some_and(|at| now.saturating_duration_since(at) < PERIOD);
        if self.accounts.len() >= ADDRESSES && !swept {
            self.swept = Some(now);
            self.accounts.retain(|_, account| account.counts(now));
            self.shared.retain(|_, account| account.counts(now));
        }
        let key = network(peer);
        let has_room = self.accounts.len() < ADDRESSES || self.accounts.contains_key(&key);
        let account = if has_room {
            self.accounts.entry(key).or_insert(Account::new(now))
        } else {
            let place = self.accounts.hasher().hash_one(key) % SHARED;
            self.shared.entry(place).or_insert(Account::new(now))
        };
        if !account.counts(now) {
            *account = Account::new(now);
        }
        account
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { since: now, used: 0, refused: 0 }
    }

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
    fn who_finds_nothing_left_waits_in_line() {
        let (limits, now) = (limits(2, 0), Instant::now());
        let mut costly = Costly::new(&limits);
        let mut keys = slotmap::SlotMap::<ConnectionKey, ()>::with_key();
        let waiting: Vec<_> = (0..5).map(|_| keys.insert(())).collect();
        waiting.iter().for_each(|key| costly.wait(*key));
        let mut served = Vec::new();
        for turn in 0..3 {
            assert!(costly.is_awaited(), "turn {turn}");
            costly.begin(&limits);
            while let Some(key) = costly.next_in_line() {
                assert_eq!(costly.ask(v4(1), &limits, now), Leave::Now);
                served.push(key);
            }
            assert_eq!(served.len(), (2 * turn + 2).min(5), "so many in a turn");
        }
        assert!(served == waiting && !costly.is_awaited());
        // Those that have no leave cost little, but not nothing.
        (0..=LOOKS_PER_TURN).for_each(|_| costly.wait(waiting[0]));
        costly.begin(&limits);
        assert_eq!(std::iter::from_fn(|| costly.next_in_line()).count(), LOOKS_PER_TURN);
        assert!(costly.is_awaited());
    }

    #[test]
    fn those_who_wait_for_a_second_do_not_all_come_in_the_same() {
        let (limits, now) = (limits(100, 2), Instant::now());
        let mut costly = Costly::new(&limits);
        let told: Vec<_> = (0..7).map(|_| costly.ask(v4(1), &limits, now)).collect();
        let at = |seconds| Leave::At(now + PERIOD * seconds);
        assert_eq!(told, [Leave::Now, Leave::Now, at(1), at(1), at(2), at(2), at(3)]);
        let last = (0..1000).map(|_| costly.ask(v4(1), &limits, now)).last();
        assert_eq!(last, Some(at(1 + PERIODS)), "not for ever");
    }

    #[test]
    fn addresses_without_end_take_nothing_from_others_and_forget_nobody() {
        let (limits, now) = (limits(usize::MAX, 20), Instant::now());
        let mut costly = Costly::new(&limits);
        for number in 0..20_000 {
            assert_eq!(costly.ask(v4(number), &limits, now), Leave::Now, "{number}");
        }
        assert_eq!(costly.accounts.len(), ADDRESSES);
        assert!(costly.shared.len() <= SHARED as usize);
        // Whoever does too much is told so, known or not; and few others with him.
        for one in [0, 30_000] {
            let granted = (0..100).filter(|_| costly.ask(v4(one), &limits, now) == Leave::Now);
            assert!((1..=20).contains(&granted.count()), "{one}");
        }
        let others = (40_000..41_000).filter(|other| costly.ask(v4(*other), &limits, now) == Leave::Now);
        assert!(others.count() > 900);
        assert_eq!(costly.ask(v4(200_000), &limits, now + PERIOD), Leave::Now);
        assert_eq!((costly.accounts.len(), costly.shared.len()), (1, 0));
    }
}
