//! Names of workers, streams, publishers and players.

use std::{fmt, sync::Arc};

use crtmp_media::{StreamName, StreamSlot};

/// A worker thread, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A connection on its worker: slot and generation in one number, so that a stale one finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One publish of a stream; a later publish of the same name has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// A stream: names are per application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// The application's name.
    pub application: Arc<str>,
    /// The stream's name.
    pub name: StreamName,
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.application, self.name)
    }
}

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// On which worker.
    pub worker: WorkerId,
    /// On which of its connections.
    pub connection: ConnectionId,
    /// On which of the connection's message streams.
    pub slot: StreamSlot,
}

/// A worker that has players of a stream, and the key of the replica that feeds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// The worker.
    pub worker: WorkerId,
    /// The worker's own key of its replica; a stale one finds nothing.
    pub replica: u64,
}
