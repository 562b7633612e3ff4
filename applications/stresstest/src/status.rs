//! What has become of the connections.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// Causes of failures that are told apart.
const CAUSES: usize = 16;

/// The numbers of a pull's status.
const CONNECTING: u64 = 1;
const FAILED: u64 = 2;

/// What has become of the connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    active: bool,
    /// How many there shall be.
    pub(crate) connections: usize,
    /// Those that the server has not been asked for yet, or has not taken.
    pub(crate) waiting: usize,
    /// Those that connect or ask for their stream.
    pub(crate) connecting: usize,
    /// Those that have failed and will be tried again.
    pub(crate) failing: usize,
    /// Those whose stream is there.
    pub(crate) playing: usize,
    /// How often they have been tried, and have failed.
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// How often a stream has ended that had begun.
    pub(crate) interruptions: u64,
    /// How often this server itself did not take one.
    pub(crate) refused: u64,
    /// What the streams that are there have brought.
    pub(crate) bytes: u64,
    pub(crate) bits_per_second: u64,
    /// Why those have failed that fail now, and how many for each reason.
    causes: BTreeMap<String, usize>,
}

impl Status {
    pub(crate) fn new(active: bool) -> Self {
        Self { active, ..Self::default() }
    }

    /// Counts an entry of `listConfig`.
    pub(crate) fn add_pull(&mut self, pull: &Value) {
        match pull["status"]["current"]["code"].as_u64() {
            Some(CONNECTING) => self.connecting += 1,
            Some(FAILED) => self.failing += 1,
            _ => {}
        }
        self.attempts += pull["attempts"].as_u64().unwrap_or_default();
        self.failures += pull["failures"].as_u64().unwrap_or_default();
        let Some(cause) = pull["cause"].as_str() else { return };
        if let Some(count) = self.causes.get_mut(cause) {
            *count += 1;
        } else if self.causes.len() < CAUSES {
            self.causes.insert(cause.to_owned(), 1);
        }
    }

    /// Counts an entry of `listInboundStreams`.
    pub(crate) fn add_stream(&mut self, stream: &Value) {
        let bytes = |kind: &str| stream[kind]["bytesCount"].as_u64().unwrap_or_default();
        self.bytes += bytes("audio") + bytes("video");
        self.bits_per_second += stream["bandwidth"].as_u64().unwrap_or_default();
    }

    /// As the command shows it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "active": self.active,
            "connections": self.connections,
            "waiting": self.waiting,
            "connecting": self.connecting,
            "playing": self.playing,
            "failing": self.failing,
            "attempts": self.attempts,
            "failures": self.failures,
            "interruptions": self.interruptions,
            "refused": self.refused,
            "bytes": self.bytes,
            "bitsPerSecond": self.bits_per_second,
            "causes": self.causes,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, playing, connecting, failing, failures, interruptions, .. } = self;
        write!(
            f,
            "{playing} of {connections} connections play, {connecting} connect, {failing} fail; {failures} failures, \
             {interruptions} interruptions, {} kbit/s",
            self.bits_per_second / 1000
        )
    }
}
