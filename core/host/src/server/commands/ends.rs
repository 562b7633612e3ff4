//! The other ends of streams: which plays a publish feeds, and which publish feeds a play.

use std::collections::HashMap;

use crtmp_reactor::WorkerReport;
use crtmp_relay::StreamKey;

/// The numbers of publishes and plays by their streams. Made once for an answer, because that may show thousands of
/// both.
pub(in crate::server) struct Ends<'a> {
    /// Of several publishes of a stream, which is being taken over then, the first one.
    publishes: HashMap<&'a StreamKey, u64>,
    plays: HashMap<&'a StreamKey, Vec<u64>>,
}

impl<'a> Ends<'a> {
    pub(super) fn of(reports: &'a [WorkerReport]) -> Self {
        let mut ends = Self { publishes: HashMap::new(), plays: HashMap::new() };
        for report in reports {
            ends.add_publishes(report);
            ends.add_plays(report);
        }
        ends
    }

    /// The number of the publish that feeds the plays of a stream.
    pub(super) fn publish(&self, key: &StreamKey) -> Option<u64> {
        self.publishes.get(key).copied()
    }

    /// The numbers of the plays of a stream.
    pub(super) fn plays(&self, key: &StreamKey) -> &[u64] {
        self.plays.get(key).map_or(&[], Vec::as_slice)
    }

    fn add_publishes(&mut self, report: &'a WorkerReport) {
        let of_sources: HashMap<_, u64> =
            report.sources.iter().map(|(source, stream)| (*source, stream.unique)).collect();
        let of_connections: HashMap<_, u64> = report
            .connections
            .iter()
            .flat_map(|connection| connection.publishes.iter().map(move |stream| (connection.id, stream)))
            .map(|(connection, stream)| ((connection, stream.slot), stream.unique))
            .collect();
        for publish in &report.publishes {
            let unique = of_sources
                .get(&publish.connection)
                .or_else(|| of_connections.get(&(publish.connection, publish.slot)));
            if let Some(unique) = unique {
                self.publishes.entry(&publish.key).or_insert(*unique);
            }
        }
    }

    fn add_plays(&mut self, report: &'a WorkerReport) {
        let keys: HashMap<_, &StreamKey> =
            report.players.iter().map(|player| ((player.connection, player.slot), &player.key)).collect();
        for connection in &report.connections {
            for play in &connection.plays {
                if let Some(key) = keys.get(&(connection.id, play.slot)) {
                    self.plays.entry(*key).or_default().push(play.unique);
                }
            }
        }
    }
}
