//! Pulls and pushes that move: their far end asks them to connect elsewhere (Enhanced RTMP, "Reconnect Request"), and serves
//! on until they have left.
//!
//! Another link, the *successor*, goes where they are asked to go, by the ways of all links. Once it runs it takes their
//! place: a pull takes over the name here, and what it repeats is known; of a push the media have begun to go. Where it does
//! not come to run everything stays as it was.

use super::{Core, Direction, Link, Phase, State, is_live};

/// What the number of a successor has that no other has.
const SUCCESSOR: u64 = 1 << 63;

/// The number of the successor of a link.
pub(super) const fn successor(id: u64) -> u64 {
    id | SUCCESSOR
}

/// Whether this is the number of a successor.
pub(super) const fn is_successor(id: u64) -> bool {
    id & SUCCESSOR != 0
}

impl Core {
    /// The far end of a connection asks us to connect again.
    pub(super) fn on_reconnect(&mut self, connection: u64, url: Option<&str>) {
        let Some(peer) = self.by_connection.get(&connection).copied() else { return };
        let Some(found) = self.peers.get(&peer) else { return };
        let ids = found.links.clone();
        // Who comes from now on goes elsewhere, too.
        if self.shared.get(&found.key) == Some(&peer) {
            let key = found.key.clone();
            self.shared.remove(&key);
        }
        ids.into_iter().filter(|id| !is_successor(*id)).for_each(|id| self.ask_to_move(id, url));
    }

    fn ask_to_move(&mut self, id: u64, url: Option<&str>) {
        let next = successor(id);
        if self.links.contains_key(&next) {
            return;
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let runs = matches!(link.state, State::On { phase: Phase::Running(..), .. });
        if !runs || link.definition.direction == Direction::Push && !is_live(&self.live, &link.definition) {
            return;
        }
        let what = format!("{} of {:?}", link.definition.direction.name(), link.definition.local);
        match link.successor(url, self.now, self.unix) {
            Ok(link) => {
                self.links.insert(next, link);
                self.log(id, format!("{what} moves, as its far end asks"), 0, false);
                self.begin(next);
            }
            Err(why) => self.log(id, format!("{what} was asked to move, and stays: {why}"), 0, true),
        }
    }

    /// A successor runs.
    pub(super) fn on_arrived(&mut self, next: u64, direction: Direction) {
        let id = next & !SUCCESSOR;
        let lost = self.links.get(&id).is_none_or(|link| link.lost.is_some());
        // What is pulled has taken over with its first media; what is pushed goes with the next key frame.
        if direction == Direction::Pull || lost {
            self.take_place(next);
        }
    }

    /// Media have begun to go to the far end.
    pub(super) fn on_begun(&mut self, connection: u64, stream: u32) {
        let Some(peer) = self.by_connection.get(&connection) else { return };
        let Some(found) = self.peers.get(peer) else { return };
        let here = |id: &&u64| {
            let running = |link: &Link| matches!(link.state, State::On { phase: Phase::Running(slot, _), .. } if slot == stream);
            is_successor(**id) && self.links.get(id).is_some_and(running)
        };
        if let Some(next) = found.links.iter().find(here).copied() {
            self.take_place(next);
        }
    }

    fn take_place(&mut self, next: u64) {
        let Some(came) = self.links.remove(&next) else { return };
        let id = next & !SUCCESSOR;
        let Some(link) = self.links.get_mut(&id) else {
            // It has been removed, and its successor with it.
            return;
        };
        let (old, direction) = (link.state, link.definition.direction);
        let text = format!("{} of {:?} has moved", direction.name(), link.definition.local);
        if let State::On { peer, .. } = came.state
            && let Some(found) = self.peers.get_mut(&peer)
        {
            found.links.iter_mut().filter(|other| **other == next).for_each(|other| *other = id);
        }
        link.becomes(came);
        self.changed.insert(id);
        if let State::On { peer, phase } = old {
            if let Phase::Ending { at, .. } = phase {
                self.timers.remove(&(at, id));
            }
            self.leave(peer, id, phase, direction);
        }
        self.log(id, text, 0, false);
    }

    /// Takes care of a failure where something moves; returns whether it has.
    pub(super) fn fails_while_moving(&mut self, id: u64, cause: &str) -> bool {
        if is_successor(id) {
            let Some(link) = self.links.remove(&id) else { return true };
            if let State::On { phase: Phase::Ending { at, .. }, .. } = link.state {
                self.timers.remove(&(at, id));
            }
            let id = id & !SUCCESSOR;
            let what = format!("{} of {:?}", link.definition.direction.name(), link.definition.local);
            self.log(id, format!("{what} cannot move: {cause}"), 0, true);
            if let Some(lost) = self.links.get_mut(&id).and_then(|link| link.lost.take()) {
                self.fail(id, &lost);
            }
            return true;
        }
        if !self.links.contains_key(&successor(id)) {
            return false;
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.lost.get_or_insert_with(|| cause.to_owned());
        }
        // A push that was to go on at the next key frame goes on as soon as it can.
        let next = successor(id);
        let runs = self
            .links
            .get(&next)
            .is_some_and(|link| matches!(link.state, State::On { phase: Phase::Running(..), .. }));
        if runs {
            self.take_place(next);
        }
        true
    }
}
