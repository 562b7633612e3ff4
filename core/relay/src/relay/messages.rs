//! What workers say to each other, understood.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crtmp_media::Frame;

use super::{Notice, Relay, Wait, replica_id};
use crate::{RelayMessage, replica::State};

impl Relay {
    /// Takes a message of another worker.
    pub fn on_message(&mut self, message: RelayMessage, now: Instant) {
        match message {
            RelayMessage::Subscribe { key, generation, subscription } => {
                if let Some(home) = self.current_home(&key, generation) {
                    self.subscribe_at(home, subscription, now);
                }
            }
            RelayMessage::Unsubscribe { key, generation, subscription } => {
                if let Some(home) = self.current_home(&key, generation) {
                    self.homes[home].unsubscribe(subscription);
                }
            }
            RelayMessage::Started { replica, generation, snapshot, repeated, fresh, continues } => {
                let id = replica_id(replica);
                let Some(replica) = self.replicas.get_mut(id) else { return };
                if replica.generation.is_some_and(|current| current >= generation) {
                    return;
                }
                let home = self.home_of.get(&replica.key).and_then(|home| self.homes.get(*home));
                let at_home = home.is_some_and(|home| home.generation == generation);
                let followed = repeated && replica.generation.is_some();
                if !(continues && followed && replica.go_on(generation, at_home, &snapshot)) {
                    replica.start(generation, at_home);
                    let had = |frame: &Frame| followed && !frame.role.is_header();
                    for frame in snapshot.iter().filter(|frame| !had(frame)) {
                        replica.frame(frame, now, &self.limits);
                    }
                }
                if followed {
                    replica.remember(&snapshot, &self.limits);
                }
                let frames = if followed || !repeated { fresh } else { Vec::new() };
                for frame in &frames {
                    replica.frame(frame, now, &self.limits);
                }
                for entry in &mut replica.logs {
                    entry.log.end_snapshot();
                }
                self.tell_started(id);
                self.mark(id);
            }
            RelayMessage::Frames { replica, generation, frames, bytes, in_flight, gap } => {
                in_flight.fetch_sub(bytes, Ordering::Relaxed);
                let id = replica_id(replica);
                let Some(replica) = self.replicas.get_mut(id) else { return };
                if replica.generation != Some(generation) {
                    return;
                }
                if gap {
                    replica.gap();
                }
                for frame in &frames {
                    replica.frame(frame, now, &self.limits);
                }
                let is_dark = !replica.dark.is_empty();
                self.mark(id);
                if is_dark {
                    self.end_dark(id, now);
                }
            }
            RelayMessage::Stopped { replica, generation } => {
                let id = replica_id(replica);
                let Some(replica) = self.replicas.get_mut(id) else { return };
                if replica.generation != Some(generation) || replica.state != State::Live {
                    return;
                }
                // Players of one application share its settings; the first speaks for all.
                let wait = replica
                    .logs
                    .iter()
                    .flat_map(|log| log.players.all())
                    .find_map(|player| self.players.get(*player))
                    .map_or(Duration::ZERO, |player| player.options.publisher_return);
                match now.checked_add(wait) {
                    Some(at) => {
                        replica.state = State::Ending(at);
                        self.waiting.insert((at, Wait::Ending(id)));
                    }
                    None => replica.state = State::Waiting,
                }
            }
            RelayMessage::Evict { key, generation, source } => {
                let Some(home) = self.current_home(&key, generation) else { return };
                self.remove_home(home);
                self.notices.push(Notice::Evicted { connection: source.connection, slot: source.slot, key });
            }
        }
    }
}
