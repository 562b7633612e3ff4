//! Streams that come from and go to other servers: where they have been, and what is ordered for them.

use std::hash::BuildHasher;

use crtmp_media::{Command, StreamName, StreamSlot, Via};
use crtmp_relay::StreamKey;

use crate::{connection::Connection, control::Happened, shared::Shared, streams::Played};

impl Shared {
    /// Why a stream that has been at `via` may not become `key`: it would come from itself, or has come too far.
    pub(crate) fn circle(&self, key: &StreamKey, via: &Via) -> Option<String> {
        let (name, hops) = (key.name.as_str(), self.limits.hops);
        if via.has(&self.mark(key)) {
            Some(format!("the stream {name:?} would come from itself: it has been here already"))
        } else if via.marks().len() > hops {
            Some(format!("the stream {name:?} has come by more than hops = {hops} servers"))
        } else {
            None
        }
    }

    /// Where a stream has been by the time that it leaves here.
    fn via_of(&self, key: &StreamKey) -> Option<Via> {
        Some(self.relay.via(key)?.and(self.mark(key)))
    }

    /// What this server alone knows the stream by: whoever is told it learns no name.
    pub(crate) fn mark(&self, key: &StreamKey) -> String {
        let half = |half: u8| self.marks.hash_one((half, &key.application, key.name.as_str()));
        format!("{:016x}{:016x}", half(0), half(1))
    }
}

impl Connection {
    /// Hands an order with a ticket to the chain.
    pub(crate) fn on_order(&mut self, mut order: Command, shared: &mut Shared) {
        if let Command::Pull(pull) = &order
            && pull.takes_over
        {
            self.takes_over.push(pull.local.clone());
        }
        if let (Command::Push(push), Some(owner)) = (&mut order, &self.owner)
            && let Ok(name) = StreamName::new("", &push.local, &shared.limits)
        {
            let key = StreamKey { application: owner.name.clone(), name };
            // It may not have come yet: it will have been here in any case.
            push.via = shared.via_of(&key).unwrap_or_else(|| Via::default().and(shared.mark(&key)));
        }
        self.command(order, shared);
    }

    /// Tells the endpoint where the stream that it plays has been.
    pub(crate) fn tell_via(&mut self, slot: StreamSlot, shared: &mut Shared) {
        let played = self.plays.iter().find(|played| played.slot == slot && played.is_passed_on);
        let (Some(owner), Some(played)) = (&self.owner, played) else { return };
        let Ok(name) = StreamName::new("", &played.name, &shared.limits) else { return };
        let key = StreamKey { application: owner.name.clone(), name };
        if let Some(via) = shared.via_of(&key) {
            self.command(Command::Via { slot, via }, shared);
        }
    }

    /// Tells whoever made the connection that media have begun to go to its far end.
    pub(crate) fn tell_begun(&mut self, shared: &Shared) {
        let begun = |played: &&mut Played| played.untold && shared.relay.has_begun(played.player);
        let slots: Vec<StreamSlot> = self
            .plays
            .iter_mut()
            .filter(begun)
            .map(|played| {
                played.untold = false;
                played.slot
            })
            .collect();
        slots.into_iter().for_each(|slot| self.notify(Happened::Began { slot }));
    }
}
