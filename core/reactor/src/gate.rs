//! Keeps hostile peers from filling the log.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// One line per class of event and peer in this time.
const PERIOD: Duration = Duration::from_secs(10);

/// Peers that are told apart; more share one line.
const PEERS: usize = 1024;

type Class = (&'static str, &'static str);

/// Lets one line per class and peer pass in each period, and counts the others.
#[derive(Default)]
pub(crate) struct Gate {
    seen: HashMap<(Option<IpAddr>, Class), Seen>,
}

struct Seen {
    since: Instant,
    suppressed: u64,
}

impl Gate {
    /// Whether a line may be written now: then the number of those that were not since the last one.
    pub(crate) fn pass(&mut self, peer: IpAddr, class: Class, now: Instant) -> Option<u64> {
        let key = (Some(peer.to_canonical()), class);
        if self.seen.len() >= PEERS && !self.seen.contains_key(&key) {
            self.seen.retain(|_, seen| now.saturating_duration_since(seen.since) < PERIOD);
            if self.seen.len() >= PEERS {
                return self.check((None, class), now);
            }
        }
        self.check(key, now)
    }

    fn check(&mut self, key: (Option<IpAddr>, Class), now: Instant) -> Option<u64> {
        match self.seen.get_mut(&key) {
            Some(seen) if now.saturating_duration_since(seen.since) < PERIOD => {
                seen.suppressed += 1;
                None
            }
            Some(seen) => {
                seen.since = now;
                Some(std::mem::take(&mut seen.suppressed))
            }
            None => {
                self.seen.insert(key, Seen { since: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn one_line_per_class_peer_and_period_and_a_bounded_number_of_peers() {
        let start = Instant::now();
        let mut gate = Gate::default();
        let peer = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        let class = ("peer", "rtmp");
        assert_eq!(gate.pass(peer(1), class, start), Some(0));
        assert_eq!(gate.pass(peer(1), class, start), None);
        assert_eq!(gate.pass(peer(1), class, start), None);
        assert_eq!(gate.pass(peer(2), class, start), Some(0));
        assert_eq!(gate.pass(peer(1), ("peer", "tcp"), start), Some(0));
        assert_eq!(gate.pass(peer(1), class, start + PERIOD), Some(2));
        let flood = (10..100_000).filter(|number| gate.pass(peer(*number), class, start + PERIOD).is_some());
        assert!(flood.count() <= PEERS + 1);
        assert!(gate.seen.len() <= PEERS + 1);
    }
}
