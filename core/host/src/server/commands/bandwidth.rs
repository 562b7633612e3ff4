//! The command about tests of the way to peers.

use std::time::Instant;

use crtmp_media::{BandwidthKind, BandwidthSample};
use crtmp_reactor::BandwidthTest;
use serde_json::{Value, json};

use super::{Builtin, Outcome};
use crate::commands::{Access, Spec};

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::new(
            Spec::new(
                "listBandwidthTests",
                Access::Read,
                &[],
                "Lists the tests of the way to peers that have ended last (`enableCheckBandwidth`, `bandcheck`), the newest \
                 first, and says how many are running.",
            ),
            |server, _| {
                let now = Instant::now();
                let tests: Vec<Value> = server.bandwidth.list().iter().map(|test| show(test, now)).collect();
                Outcome::Data(json!({ "running": server.bandwidth.running(), "tests": tests }))
            },
        )
        .saying("Tests of the way to peers"),
    ]
}

fn show(test: &BandwidthTest, now: Instant) -> Value {
    let report = &test.report;
    let sample = |sample: Option<BandwidthSample>| {
        sample.map(|sample| {
            json!({ "kbps": sample.kbps(), "bytes": sample.bytes, "ms": sample.time.as_millis() as u64 })
        })
    };
    json!({
        "kind": match report.kind {
            BandwidthKind::Check => "checkBandwidth",
            BandwidthKind::BandCheck => "bandcheck",
        },
        "application": &*test.application,
        "connectionId": test.connection.0,
        "ip": test.peer.to_string(),
        "secondsAgo": now.saturating_duration_since(test.ended).as_secs(),
        "down": sample(report.down),
        "up": sample(report.up),
        "latencyMs": report.latency.map(|latency| latency.as_millis() as u64),
        "trouble": report.trouble,
    })
}
