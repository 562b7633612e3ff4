//! Counters as they are shown.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crtmp_media::StreamSlot;
use crtmp_relay::{ConnectionId, Delays, MergeReport, PlayerReport, PublishReport, ReplicaReport};

/// What goes on in a worker.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// The worker, counted from 0.
    pub worker: u16,
    /// Its counters since the start.
    pub counters: WorkerCounters,
    /// Its connections.
    pub connections: Vec<ConnectionReport>,
    /// How messages wait for each other, and why.
    pub merge: MergeReport,
    /// How long messages were on the worker before their last player had been served.
    pub delays: Delays,
    /// The publishes that live on it.
    pub publishes: Vec<PublishReport>,
    /// The streams that its players play or wait for.
    pub replicas: Vec<ReplicaReport>,
    /// Its players.
    pub players: Vec<PlayerReport>,
    /// Streams that applications publish themselves: source, and the publish.
    pub sources: Vec<(ConnectionId, StreamReport)>,
}

/// What a worker has done since the start.
#[derive(Clone, Debug, Default)]
pub struct WorkerCounters {
    /// Turns of the loop.
    pub turns: u64,
    /// Connections accepted by this worker's listeners, wherever they went.
    pub accepted: u64,
    /// Connections refused because of a limit.
    pub refused: u64,
    /// Connections that this worker took over.
    pub adopted: u64,
    /// Connections that this worker made to others.
    pub connected: u64,
    /// Connections that have ended, taken over or made.
    pub closed: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// System calls that received.
    pub reads: u64,
    /// System calls that sent.
    pub writes: u64,
    /// Players cut because they were too slow for too long.
    pub players_cut: u64,
    /// Plays that ended because their publisher never came.
    pub plays_missed: u64,
    /// Publishers that were replaced.
    pub publishers_replaced: u64,
    /// Filters that were taken out because they took too long.
    pub filters_removed: u64,
    /// Panics in a chain; each cost one connection.
    pub panics: u64,
    /// Connections ended by a fault, by whose it was and which protocol saw it.
    pub faults: BTreeMap<String, u64>,
    /// Things skipped that a healthy peer does not send.
    pub skipped: BTreeMap<&'static str, u64>,
}

/// A publish or a play.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// The message stream.
    pub slot: StreamSlot,
    /// The name of the stream.
    pub name: String,
    /// The alias by which its player knows it.
    pub alias: Option<String>,
    /// Its number, unique in the life of the server.
    pub unique: u64,
    /// How long it has been there.
    pub age: Duration,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// Its id.
    pub id: ConnectionId,
    /// Its far end.
    pub peer: SocketAddr,
    /// The chain; of a port that serves several, the one that the connection is, once that is known.
    pub chain: String,
    /// The layers that it has now, far to near.
    pub layers: Vec<String>,
    /// The application that has accepted it.
    pub application: Option<String>,
    /// What the peer calls itself.
    pub agent: String,
    /// How long it has lived.
    pub age: Duration,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes of control messages that wait.
    pub queued: usize,
    /// Bytes that the system held unsent, or not acknowledged, when it was asked last; players only.
    pub unsent: u64,
    /// The newest round trip time in ms.
    pub rtt_ms: Option<u32>,
    /// Our address.
    pub local: SocketAddr,
    /// `tcUrl` of its connect request.
    pub tc_url: String,
    /// `swfUrl` of the same.
    pub swf_url: String,
    /// `pageUrl` of the same.
    pub page_url: String,
    /// Whether the server made it.
    pub outbound: bool,
    /// Whether its peer has declared that it follows requests to connect again.
    pub can_reconnect: bool,
    /// What it publishes.
    pub publishes: Vec<StreamReport>,
    /// What it plays.
    pub plays: Vec<StreamReport>,
    /// Questions that its application has not answered yet.
    pub questions: usize,
}
