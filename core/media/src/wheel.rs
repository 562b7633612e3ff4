//! Deadlines by the ten thousand: a hierarchical timing wheel.

use std::{
    mem,
    time::{Duration, Instant},
};

/// A slot of a level is numbered by this many bits of a tick.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;

/// Entries that the list of an emptied slot keeps room for. The list goes to the slot that is filled next, so
/// that there are as many lists as slots were occupied at once, not as many as there are slots; and those that
/// stay below do not allocate again.
const KEEP: usize = 4;

const NANOS_PER_TICK: u32 = 1_000_000;
const TICKS_PER_SECOND: u128 = 1000;

type Entry<K> = (Instant, K);

#[derive(Debug)]
struct Level<K> {
    /// Bit n is set where slot n holds entries.
    occupied: u64,
    slots: [Vec<Entry<K>>; SLOTS],
}

impl<K> Level<K> {
    fn new() -> Self {
        Self { occupied: 0, slots: [const { Vec::new() }; SLOTS] }
    }
}

/// Keys with deadlines, in ticks of 1 ms: O(1) to insert and, amortised, to take out.
///
/// An entry cannot be removed: its owner decides when it comes whether it still counts. Deadlines are rounded
/// up to the tick, so that an entry comes up to 1 ms late, but never early.
///
/// Time goes from poll to poll and never back: a `now` before an earlier one, or before the start, counts as
/// that.
#[derive(Debug)]
pub struct Wheel<K> {
    start: Instant,
    /// Ticks from the start up to which everything has been taken out of the levels. Wide enough for any two
    /// instants.
    tick: u128,
    /// Level n has 64 slots of 64ⁿ ticks. An entry lies at the level of the highest digit (in base 64) in
    /// which its tick differs from the wheel's, in the slot with the number of its digit. So what lies lower is
    /// due earlier, no slot before the wheel's own digit is occupied, and the top level never wraps, as another
    /// one is put on it: five of them reach 12 days.
    levels: Vec<Level<K>>,
    /// Entries whose tick has come.
    due: Vec<Entry<K>>,
    /// Lists of slots that have been emptied.
    spare: Vec<Vec<Entry<K>>>,
    len: usize,
}

impl<K> Wheel<K> {
    /// An empty wheel whose ticks are counted from `start`, which is the earliest time it knows.
    pub fn new(start: Instant) -> Self {
        Self { start, tick: 0, levels: Vec::new(), due: Vec::new(), spare: Vec::new(), len: 0 }
    }

    /// Entries that have not come.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is left to come.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Has `key` come at `at`, or with the next [`Self::pop_due`] where that is over. The same key may be in
    /// the wheel many times.
    pub fn insert(&mut self, at: Instant, key: K) {
        self.len += 1;
        self.place((at, key));
    }

    /// When to call [`Self::pop_due`] next: the earliest deadline, rounded up to the tick, where it is in the
    /// current 64 ms, otherwise a time before it at which more will be known. It is the time of the last poll,
    /// to the tick, where entries are due already, and `None` where none will ever come.
    pub fn next(&self) -> Option<Instant> {
        let tick = if self.due.is_empty() { self.first()?.2 } else { self.tick };
        // Nothing comes at a time that no clock can show.
        let seconds = u64::try_from(tick / TICKS_PER_SECOND).ok()?;
        let nanos = (tick % TICKS_PER_SECOND) as u32 * NANOS_PER_TICK;
        self.start.checked_add(Duration::new(seconds, nanos))
    }

    /// Takes an entry that is due at `now`, and the time that it was inserted with; earlier ticks come first,
    /// the entries of one tick, and those that were late when they were inserted, in any order.
    ///
    /// Call it until it gives `None`. What is inserted in between comes too if it is due: who inserts for each
    /// entry one that is due at once never gets to the end.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        while self.due.is_empty() {
            self.due.shrink_to(KEEP);
            let now = now.saturating_duration_since(self.start).as_millis();
            let Some((level, slot, tick)) = self.first().filter(|(.., tick)| *tick <= now) else {
                self.tick = self.tick.max(now);
                return None;
            };
            self.tick = tick;
            self.levels[level].occupied &= !(1 << slot);
            let mut entries = mem::take(&mut self.levels[level].slots[slot]);
            if level == 0 {
                mem::swap(&mut self.due, &mut entries);
            } else {
                entries.drain(..).for_each(|entry| self.place(entry));
            }
            entries.shrink_to(KEEP);
            self.spare.push(entries);
        }
        self.len -= 1;
        self.due.pop()
    }

    /// The earliest occupied slot: its level, its number and the tick that it starts at.
    fn first(&self) -> Option<(usize, usize, u128)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros();
        let shift = level as u32 * SLOT_BITS;
        let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot as usize, above | u128::from(slot) << shift))
    }

    fn place(&mut self, entry: Entry<K>) {
        let since = entry.0.saturating_duration_since(self.start);
        let in_tick = since.subsec_nanos() % NANOS_PER_TICK;
        let tick = since.as_millis() + u128::from(in_tick > 0);
        if tick <= self.tick {
            self.due.push(entry);
            return;
        }
        let level = (tick ^ self.tick).ilog2() / SLOT_BITS;
        let slot = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        let level = level as usize;
        if level >= self.levels.len() {
            self.levels.resize_with(level + 1, Level::new);
        }
        let level = &mut self.levels[level];
        if level.occupied & 1 << slot == 0 {
            level.slots[slot] = self.spare.pop().unwrap_or_default();
        }
        level.occupied |= 1 << slot;
        level.slots[slot].push(entry);
    }
}

#[cfg(test)]
impl<K> Wheel<K> {
    /// All lists of entries, used and spare.
    fn lists(&self) -> impl Iterator<Item = &Vec<Entry<K>>> {
        self.levels.iter().flat_map(|level| &level.slots).chain(&self.spare).chain([&self.due])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);
    const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

    /// The wheel, and a map that shall tell the same.
    struct Rig {
        wheel: Wheel<u32>,
        model: BTreeMap<(Instant, u32), ()>,
        start: Instant,
        now: Instant,
        next_key: u32,
    }

    impl Rig {
        fn new() -> Self {
            let start = Instant::now();
            Self { wheel: Wheel::new(start), model: BTreeMap::new(), start, now: start, next_key: 0 }
        }

        fn insert(&mut self, at: Instant) {
            self.wheel.insert(at, self.next_key);
            self.model.insert((at, self.next_key), ());
            self.next_key += 1;
            self.check_next();
        }

        /// `at` rounded up to the tick.
        fn round_up(&self, at: Instant) -> Instant {
            let ticks = at.saturating_duration_since(self.start).as_nanos().div_ceil(TICK.as_nanos());
            self.start
                + TICK * u32::try_from(ticks % 1_000_000).unwrap()
                + TICK * 1_000_000 * u32::try_from(ticks / 1_000_000).unwrap()
        }

        fn check_next(&self) {
            let first = self.model.keys().next().map(|(at, _)| self.round_up(*at).max(self.now));
            let next = self.wheel.next();
            assert_eq!(next.is_some(), first.is_some());
            assert!(next <= first, "{next:?} is after {first:?}");
            assert_eq!((self.wheel.len(), self.wheel.is_empty()), (self.model.len(), self.model.is_empty()));
        }

        /// Polls at `now`; returns how many entries came.
        fn poll(&mut self, now: Instant) -> usize {
            let mut order = mem::replace(&mut self.now, now);
            let last = order;
            let before = self.model.len();
            while let Some((at, key)) = self.wheel.pop_due(now) {
                assert!(at <= now, "early by {:?}", at - now);
                assert!(self.model.remove(&(at, key)).is_some(), "{key} came twice or never went in");
                let tick = self.round_up(at).max(last);
                assert!(tick >= order, "a later tick came first");
                order = tick;
            }
            let left = self.model.keys().next();
            assert!(left.is_none_or(|(at, _)| *at + TICK > now), "late by more than a tick");
            self.check_next();
            before - self.model.len()
        }
    }

    fn nanos() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            0..3_000_000_u64,
            0..300_000_000_u64,
            (0..100_000_u64).prop_map(|millis| millis * 1_000_000),
            0..DAY,
            0..100 * DAY,
        ]
    }

    proptest! {
        #[test]
        fn every_entry_comes_once_never_early_and_less_than_a_tick_late(
            steps in prop::collection::vec((prop::collection::vec((any::<bool>(), nanos()), 0..8), nanos()), 1..40),
            age in 0..100 * DAY,
        ) {
            let mut rig = Rig::new();
            rig.poll(rig.start + Duration::from_nanos(age));
            for (inserts, step) in steps {
                for (ahead, nanos) in inserts {
                    let nanos = Duration::from_nanos(nanos);
                    let back = rig.now.checked_sub(nanos).unwrap_or(rig.start);
                    rig.insert(if ahead { rig.now + nanos } else { back.max(rig.start) });
                }
                rig.poll(rig.now + Duration::from_nanos(step));
            }
            // Each poll brings an entry or takes one to a lower level.
            let mut barren = 7 * rig.model.len();
            while let Some(next) = rig.wheel.next() {
                if rig.poll(next.max(rig.now)) == 0 {
                    prop_assert!(barren > 0, "no progress");
                    barren -= 1;
                }
            }
            prop_assert!(rig.model.is_empty());
        }
    }

    #[test]
    fn the_next_deadline_is_exact_to_the_tick() {
        let mut rig = Rig::new();
        let at = rig.start + Duration::from_micros(10_400);
        rig.insert(at);
        assert_eq!(rig.wheel.next(), Some(rig.start + TICK * 11));
        assert_eq!(rig.poll(at), 0);
        assert_eq!(rig.poll(rig.start + TICK * 11), 1);
    }

    #[test]
    fn the_ends_of_time_are_times_like_any_other() {
        let start = Instant::now();
        let seconds = (0..64).rev().map(|bit| Duration::from_secs(1 << bit));
        let steps = seconds.chain((0..30).rev().map(|bit| Duration::from_nanos(1 << bit)));
        let last = steps.clone().fold(start, |at, step| at.checked_add(step).unwrap_or(at));
        let first = steps.fold(start, |at, step| at.checked_sub(step).unwrap_or(at));
        assert_eq!(last.checked_add(Duration::from_nanos(1)), None);
        for start in [first, start, last] {
            let mut wheel = Wheel::new(start);
            [last, first, last - 2 * TICK].into_iter().for_each(|at| wheel.insert(at, ()));
            let mut polls = 0..100;
            while let Some(next) = wheel.next() {
                assert!(polls.next().is_some(), "no progress");
                while let Some((at, ())) = wheel.pop_due(next) {
                    assert!(at <= next);
                }
            }
            assert!(wheel.len() <= 1, "only what rounds up to after the end of time may stay");
        }
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut rig = Rig::new();
        let at = rig.start + Duration::from_secs(300);
        (0..3 * KEEP as u32).for_each(|key| rig.wheel.insert(at, key));
        while rig.wheel.pop_due(at).is_some() {}
        assert!(rig.wheel.lists().all(|list| list.capacity() <= KEEP));
    }

    #[test]
    fn time_that_goes_by_takes_no_memory() {
        let mut rig = Rig::new();
        for second in 0..100_000 {
            let now = rig.start + Duration::from_secs(second);
            while rig.wheel.pop_due(now).is_some() {}
            rig.wheel.insert(now + Duration::from_secs(5), 0);
        }
        let held = rig.wheel.lists().filter(|list| list.capacity() > 0).count();
        assert!(held <= 8, "{held} lists for 5 entries");
    }
}
