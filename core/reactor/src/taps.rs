//! Which of the frames that a connection publishes its application wants to see.

use std::{collections::HashSet, sync::Arc};

use crtmp_media::StreamSlot;

use crate::{
    connection::{Connection, State},
    control::Application,
};

/// Message streams of a connection about which something of their own may be said at once.
const NAMED: usize = 1024;

/// What an application has tapped of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taps {
    /// Everything but `named`; else nothing but those.
    all: bool,
    named: HashSet<StreamSlot>,
}

impl Taps {
    /// Taps a message stream, or everything, or stops that. What is said of everything counts for all of them.
    pub(crate) fn set(&mut self, slot: Option<StreamSlot>, on: bool) {
        let Some(slot) = slot else {
            *self = Self { all: on, named: HashSet::new() };
            return;
        };
        self.forget(slot);
        if on != self.all && self.named.len() < NAMED {
            self.named.insert(slot);
        }
    }

    /// A publication has ended or was refused, and with it what was said of its message stream.
    pub(crate) fn forget(&mut self, slot: StreamSlot) {
        self.named.remove(&slot);
    }

    /// Whether the frames of a message stream are wanted.
    pub(crate) fn has(&self, slot: StreamSlot) -> bool {
        self.all != self.named.contains(&slot)
    }
}

impl Connection {
    /// Brings the frames that it publishes (on `slot`, or all) to `application`, if that has it or is asked about it.
    pub(crate) fn tap(&mut self, application: &Arc<Application>, slot: Option<StreamSlot>, on: bool) {
        let theirs = self.owner.as_ref().or(self.asked.as_ref());
        if self.state == State::Open && theirs.is_some_and(|theirs| Arc::ptr_eq(theirs, application)) {
            self.taps.set(slot, on);
            self.noted |= on;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_stream_or_all() {
        let mut taps = Taps::default();
        let (one, two) = (StreamSlot(1), StreamSlot(2));
        assert!(!taps.has(one));
        taps.set(Some(one), true);
        assert!(taps.has(one) && !taps.has(two));
        taps.set(None, true);
        assert!(taps.has(one) && taps.has(two));
        taps.set(Some(two), false);
        assert!(taps.has(one) && !taps.has(two));
        taps.forget(two);
        assert!(taps.has(two), "the next publication is one of all");
        taps.set(None, false);
        assert!(!taps.has(one) && !taps.has(two));
    }

    #[test]
    fn what_is_named_is_bounded() {
        let mut taps = Taps::default();
        let last = NAMED as u32;
        (1..=last).for_each(|slot| taps.set(Some(StreamSlot(slot)), true));
        taps.set(Some(StreamSlot(last + 1)), true);
        assert!(taps.has(StreamSlot(last)) && !taps.has(StreamSlot(last + 1)));
        taps.forget(StreamSlot(1));
        taps.set(Some(StreamSlot(last + 1)), true);
        assert!(taps.has(StreamSlot(last + 1)));
    }
}
