//! What a connection publishes and plays, and how that ends.

use std::time::Instant;

use crtmp_media::{Command, StreamSlot};
use crtmp_relay::{HomeId, PlayerId};

use crate::{
    asked::Wish,
    connection::Connection,
    control::{Happened, ToApplication, Why},
    filtering::Filters,
    observe::{Sight, Watch},
    shared::Shared,
    sources::tell_stream,
};

/// A stream that the connection publishes.
pub(crate) struct Published {
    pub(crate) slot: StreamSlot,
    pub(crate) name: String,
    pub(crate) home: HomeId,
    pub(crate) filters: Filters,
    pub(crate) unique: u64,
    pub(crate) since: Instant,
    pub(crate) watch: Box<Watch>,
}

/// A stream that the connection plays.
pub(crate) struct Played {
    pub(crate) slot: StreamSlot,
    pub(crate) name: String,
    /// The alias by which its peer knows it.
    pub(crate) alias: Option<String>,
    /// The peer is a server of this family.
    pub(crate) is_passed_on: bool,
    pub(crate) player: PlayerId,
    /// Whoever made the connection has not been told yet that media have begun to go.
    pub(crate) untold: bool,
    pub(crate) unique: u64,
    pub(crate) since: Instant,
    /// The number of the codec configurations that have been told.
    pub(crate) configs: u32,
}

impl Connection {
    /// Ends a publish, or the wish for one, wherever the order came from.
    pub(crate) fn unpublish(&mut self, slot: StreamSlot, why: Why, shared: &mut Shared) {
        self.taps.forget(slot);
        let name = match self.publishes.iter().position(|published| published.slot == slot) {
            Some(at) => {
                let published = self.publishes.swap_remove(at);
                self.see_published(Sight::InStreamClosed, &published, shared);
                let Published { name, home, .. } = published;
                shared.relay.unpublish(home, shared.now);
                slog::info!(self.log, "unpublished"; "stream" => &name);
                if let Some(owner) = &self.owner {
                    if self.is_noted_by(owner) {
                        (owner.post)(ToApplication::HeadersEnd { connection: self.id, slot });
                    }
                    tell_stream(owner, self.id, &name, false);
                }
                name
            }
            None => return self.give_up_wish(slot, Wish::Publish, why),
        };
        self.notify(Happened::Unpublish { slot, name, why });
    }

    /// Ends a play, or the wish for one, wherever the order came from.
    pub(crate) fn unplay(&mut self, slot: StreamSlot, why: Why, shared: &mut Shared) {
        let name = match self.plays.iter().position(|played| played.slot == slot) {
            Some(at) => {
                let played = self.plays.swap_remove(at);
                self.see_played(Sight::OutStreamClosed, &played, shared);
                let Played { name, player, .. } = played;
                shared.relay.unplay(player, shared.now);
                slog::info!(self.log, "stopped playing"; "stream" => &name);
                name
            }
            None => return self.give_up_wish(slot, Wish::Play, why),
        };
        self.notify(Happened::Unplay { slot, name, why });
    }

    /// Ends publishes or plays by order of the server; `slot` none means all.
    pub(crate) fn stop_streams(
        &mut self,
        slot: Option<StreamSlot>,
        publishes: bool,
        code: &str,
        text: &str,
        shared: &mut Shared,
    ) {
        let wanted = |other: StreamSlot| slot.is_none_or(|slot| slot == other);
        let slots: Vec<StreamSlot> = if publishes {
            self.publishes.iter().map(|published| published.slot).filter(|slot| wanted(*slot)).collect()
        } else {
            self.plays.iter().map(|played| played.slot).filter(|slot| wanted(*slot)).collect()
        };
        for slot in slots {
            let (code, text) = (code.to_owned(), text.to_owned());
            if publishes {
                self.unpublish(slot, Why::Server, shared);
                self.command(Command::StopPublish { slot, code, text }, shared);
            } else {
                self.unplay(slot, Why::Server, shared);
                self.command(Command::StopPlay { slot, code, text }, shared);
            }
        }
    }
}
