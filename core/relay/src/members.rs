//! The players of a log, and which of them can be sent anything.

use crate::relay::PlayerId;

/// Players, those whose sockets take packets before those whose sockets are full. The latter cost nothing when
/// there is something to send: they come back by themselves.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Vec<PlayerId>,
    /// How many of them are ready.
    ready: usize,
}

impl Members {
    /// All of them.
    pub(crate) fn all(&self) -> &[PlayerId] {
        &self.list
    }

    /// Those that can be sent something.
    pub(crate) fn ready(&self) -> &[PlayerId] {
        &self.list[..self.ready]
    }

    /// Adds a player, which is ready. Here and below, `place` is told where players are afterwards.
    pub(crate) fn add(&mut self, id: PlayerId, mut place: impl FnMut(PlayerId, usize)) {
        self.list.push(id);
        place(id, self.list.len() - 1);
        self.swap(self.ready, self.list.len() - 1, &mut place);
        self.ready += 1;
    }

    /// Removes the player at `index`.
    pub(crate) fn remove(&mut self, index: usize, mut place: impl FnMut(PlayerId, usize)) {
        let mut index = index;
        if index < self.ready {
            self.ready -= 1;
            self.swap(index, self.ready, &mut place);
            index = self.ready;
        }
        self.swap(index, self.list.len() - 1, &mut place);
        self.list.pop();
    }

    /// Says whether the player at `index` is ready.
    pub(crate) fn set_ready(&mut self, index: usize, ready: bool, mut place: impl FnMut(PlayerId, usize)) {
        match (index < self.ready, ready) {
            (true, false) => {
                self.ready -= 1;
                self.swap(index, self.ready, &mut place);
            }
            (false, true) => {
                self.swap(index, self.ready, &mut place);
                self.ready += 1;
            }
            _ => {}
        }
    }

    /// Takes all of them out.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, PlayerId> {
        self.ready = 0;
        self.list.drain(..)
    }

    fn swap(&mut self, one: usize, other: usize, place: &mut impl FnMut(PlayerId, usize)) {
        if one != other {
            self.list.swap(one, other);
            place(self.list[one], one);
            place(self.list[other], other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use slotmap::SlotMap;

    use super::*;

    proptest! {
        #[test]
        fn everybody_is_where_they_were_told_to_be(
            steps in prop::collection::vec((0..4_u8, 0..100_usize), 1..200),
        ) {
            let mut ids: SlotMap<PlayerId, ()> = SlotMap::with_key();
            let (mut members, mut places) = (Members::default(), HashMap::new());
            let mut ready: HashMap<PlayerId, bool> = HashMap::new();
            for (step, at) in steps {
                let place = |id, index| { places.insert(id, index); };
                let chosen = members.all().get(at % members.all().len().max(1)).copied();
                match (step, chosen) {
                    (0, _) | (_, None) => {
                        let id = ids.insert(());
                        members.add(id, place);
                        ready.insert(id, true);
                    }
                    (1, Some(id)) => {
                        members.remove(at % members.all().len(), place);
                        places.remove(&id);
                        ready.remove(&id);
                    }
                    (step, Some(id)) => {
                        members.set_ready(at % members.all().len(), step == 2, place);
                        ready.insert(id, step == 2);
                    }
                }
                prop_assert_eq!(members.all().len(), places.len());
                for (index, id) in members.all().iter().enumerate() {
                    prop_assert_eq!(places[id], index);
                    prop_assert_eq!(ready[id], index < members.ready().len());
                }
            }
        }
    }
}
