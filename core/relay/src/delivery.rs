//! How the streams of an application are handed to its players.

use std::time::Duration;

/// What an application's configuration says about it; it may change while streams run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How long messages wait for each other.
    pub merge: Merge,
    /// Where players start.
    pub start: Start,
    /// How far a player may be behind live before it skips to a key frame.
    pub max_lag: Duration,
}

/// How long a message may wait for others, to leave with them in one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// As the worker's load asks for.
    Auto {
        /// The longest wait.
        max: Duration,
    },
    /// So long, always; zero: not at all.
    Fixed(Duration),
}

/// Where a player starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the newest key frame, but at most so far behind live: where the key frame is older, what follows it
    /// is sent with its times pressed together.
    Near(Duration),
    /// At the newest key frame, with the times as they are.
    Key,
    /// At the next key frame.
    Next,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            merge: Merge::Auto { max: Duration::from_millis(100) },
            start: Start::Near(Duration::from_millis(700)),
            max_lag: Duration::from_secs(10),
        }
    }
}
