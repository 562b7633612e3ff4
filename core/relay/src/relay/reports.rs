//! What a relay says of its streams and players.

use std::time::Instant;

use super::{HomeId, Player, PlayerId, Relay};
use crate::{
    HomeCounters,
    report::{PlayerReport, PublishReport, ReplicaReport},
};

impl Relay {
    /// The publishers of this worker.
    pub fn publishes(&self) -> Vec<PublishReport> {
        self.homes.values().map(PublishReport::of).collect()
    }

    /// One of them; none where it is gone already.
    pub fn publish_report(&self, id: HomeId) -> Option<PublishReport> {
        self.homes.get(id).map(PublishReport::of)
    }

    /// The streams that this worker's players play or wait for.
    pub fn replicas(&self) -> Vec<ReplicaReport> {
        self.replicas.values().map(ReplicaReport::of).collect()
    }

    /// The players of this worker.
    pub fn players(&self, now: Instant) -> Vec<PlayerReport> {
        self.players.values().map(|player| self.report_of(player, now)).collect()
    }

    /// One of them; none where it is gone already.
    pub fn player_report(&self, id: PlayerId, now: Instant) -> Option<PlayerReport> {
        self.players.get(id).map(|player| self.report_of(player, now))
    }

    /// A number that changes when a player is sent other codec configurations; 0: there are none yet.
    pub fn configs_of(&self, id: PlayerId) -> u32 {
        self.players.get(id).map_or(0, |player| self.replicas[player.replica].logs[player.log].log.configs())
    }

    /// What a publish has brought; none where it is gone already.
    pub fn counters_of(&self, id: HomeId) -> Option<HomeCounters> {
        self.homes.get(id).map(|home| home.counters)
    }

    fn report_of(&self, player: &Player, now: Instant) -> PlayerReport {
        let replica = &self.replicas[player.replica];
        let log = &replica.logs[player.log].log;
        PlayerReport::of(&replica.key, (player.connection, player.slot), &player.cursor, log, now)
    }
}
