//! Rounds: whose turn it is to be sent what a log has.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crtmp_media::Format;

use crate::{ConnectionId, relay::ReplicaId};

/// Connections of one round that are served before another round has its turn: a stream with many players
/// does not make the others wait.
const SLICE: usize = 32;

/// One round of sending to all players of a log.
pub(crate) struct Round {
    pub(crate) replica: ReplicaId,
    pub(crate) format: Format,
    pub(crate) owners: Vec<ConnectionId>,
    /// When the oldest message came that this round sends.
    pub(crate) since: Instant,
    next: usize,
}

impl Round {
    pub(crate) fn new(replica: ReplicaId, format: Format, owners: Vec<ConnectionId>, since: Instant) -> Self {
        Self { replica, format, owners, since, next: 0 }
    }
}

/// The rounds that are under way, served in slices by turns.
#[derive(Default)]
pub(crate) struct Rounds {
    queue: VecDeque<Round>,
}

/// What is to be done next.
pub(crate) enum Next {
    /// This connection's turn has come.
    Serve(ConnectionId),
    /// Everybody in this round has been served.
    Over(Round),
    /// There is no round.
    Nothing,
}

impl Rounds {
    pub(crate) fn begin(&mut self, round: Round) {
        self.queue.push_back(round);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whose turns come next, as long as no other round begins.
    pub(crate) fn next_owners(&self) -> impl Iterator<Item = ConnectionId> {
        self.queue.iter().flat_map(|round| round.owners.iter().skip(round.next).take(SLICE)).copied()
    }

    pub(crate) fn next(&mut self) -> Next {
        let Some(round) = self.queue.front_mut() else { return Next::Nothing };
        let Some(owner) = round.owners.get(round.next).copied() else {
            return self.queue.pop_front().map_or(Next::Nothing, Next::Over);
        };
        round.next += 1;
        if round.next.is_multiple_of(SLICE) {
            self.queue.rotate_left(1);
        }
        Next::Serve(owner)
    }
}

/// How long messages were on this worker before the last player had been served, as a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    counts: [u64; Self::BOUNDS_MS.len() + 1],
}

impl Delays {
    /// The upper bounds of all ranges but the last, in ms.
    pub const BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

    /// Rounds of sending in each range; the last has no upper bound.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub(crate) fn add(&mut self, delay: Duration) {
        let range = Self::BOUNDS_MS.partition_point(|&bound| Duration::from_millis(bound) < delay);
        if let Some(count) = self.counts.get_mut(range) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FORMAT;

    fn round(owners: std::ops::Range<u64>) -> Round {
        Round::new(ReplicaId::default(), FORMAT, owners.map(ConnectionId).collect(), Instant::now())
    }

    fn serve(rounds: &mut Rounds) -> Vec<Option<u64>> {
        std::iter::from_fn(|| match rounds.next() {
            Next::Serve(owner) => Some(Some(owner.0)),
            Next::Over(_) => Some(None),
            Next::Nothing => None,
        })
        .collect()
    }

    #[test]
    fn a_small_stream_does_not_wait_for_a_large_one() {
        let mut rounds = Rounds::default();
        rounds.begin(round(0..1000));
        rounds.begin(round(5000..5001));
        let order = serve(&mut rounds);
        let place = |owner| order.iter().position(|other| *other == Some(owner)).unwrap();
        assert_eq!((place(0), place(31), place(5000)), (0, 31, 32));
        assert_eq!(order.iter().flatten().count(), 1001);
        assert_eq!(order.iter().filter(|step| step.is_none()).count(), 2);
        assert!(rounds.is_empty());
    }

    #[test]
    fn delays_are_counted_in_their_range() {
        let mut delays = Delays::default();
        for us in [0, 1000, 1001, 50_000, 2_000_000] {
            delays.add(Duration::from_micros(us));
        }
        assert_eq!(delays.counts(), [2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    }
}
