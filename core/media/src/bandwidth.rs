//! Tests of the way to a peer: what is asked of an endpoint, and what comes of it.

use std::time::Duration;

/// How the way to a peer is measured ([`Command::TestBandwidth`](crate::Command::TestBandwidth)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthPlan {
    /// How the peer knows it.
    pub kind: BandwidthKind,
    /// The longest time for one direction.
    pub time: Duration,
    /// The most bytes for one direction.
    pub bytes: u64,
    /// Bits in a second that the server sends, at most.
    pub rate: u64,
    /// Time in which the peer must answer each step.
    pub patience: Duration,
}

/// How a peer knows a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandwidthKind {
    /// `checkBandwidth`, as Flash Media Server has it: the way down.
    Check,
    /// `onSrsBandCheck…`, as SRS has it: both ways, on a connection that is for this alone.
    BandCheck,
}

/// What has come of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthReport {
    /// Which it was.
    pub kind: BandwidthKind,
    /// From the server to the peer.
    pub down: Option<BandwidthSample>,
    /// From the peer to the server.
    pub up: Option<BandwidthSample>,
    /// The time of a call to the peer and back.
    pub latency: Option<Duration>,
    /// Why it has ended early.
    pub trouble: Option<&'static str>,
}

/// What went one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandwidthSample {
    /// Bytes that have arrived.
    pub bytes: u64,
    /// In what time.
    pub time: Duration,
}

impl BandwidthSample {
    /// Thousands of bits in a second.
    pub fn kbps(&self) -> u64 {
        let micros = u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX).max(1);
        u64::try_from(u128::from(self.bytes) * 8000 / u128::from(micros)).unwrap_or(u64::MAX)
    }
}

impl BandwidthReport {
    /// A test that has just begun.
    pub const fn new(kind: BandwidthKind) -> Self {
        Self { kind, down: None, up: None, latency: None, trouble: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobits_are_thousands_of_bits_and_no_time_is_a_little() {
        let kbps = |bytes, ms| BandwidthSample { bytes, time: Duration::from_millis(ms) }.kbps();
        assert_eq!(kbps(125_000, 1000), 1000);
        assert_eq!(kbps(1, 1000), 0);
        assert_eq!(kbps(1, 0), 8000);
        assert_eq!(kbps(u64::MAX, 0), u64::MAX);
    }
}
