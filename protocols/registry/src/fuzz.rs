//! The body of a fuzz target: it takes any bytes and panics if an invariant does not hold.
//!
//! The tests run it over `testdata/corpus/<target>/`; a fuzzer calls it with what it makes up.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use crtmp_media::{Became, Chain, Env, Event, LayerSettings, Limits, Prepared, Way, Ways};
use crtmp_tls::fuzz::peer::server_keys;

use crate::{chains, layers};

/// What a port that takes every kind of RTMP is made of, and what its connections are made with.
static PORT: LazyLock<(Arc<Ways>, LayerSettings)> = LazyLock::new(|| {
    let (rows, layers) =
        (chains().collect::<Vec<_>>(), layers().into_iter().map(Arc::new).collect::<Vec<_>>());
    let row = |name: &str| rows.iter().find(|row| row.name == name).expect("a chain");
    let way = |name: &str| {
        let layer = |name: &str| layers.iter().find(|layer| layer.name == name).expect("a layer").clone();
        let row = row(name);
        Way { chain: row.name.clone(), layers: row.layers.iter().map(|name| layer(name)).collect() }
    };
    let ways = Ways::new(row("inboundRtmpAny").also.iter().map(|name| way(name)).collect(), Vec::new());
    let (settings, keys) = server_keys(Limits::default());
    let prepared: Arc<[Arc<dyn Prepared>]> = Arc::new([keys as Arc<dyn Prepared>]);
    let keys = Arc::new([("rtmpe".to_owned(), true.into())]);
    (ways.expect("they can be told apart"), LayerSettings { prepared, keys, ..settings })
});

/// What has become of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    became: Option<Became>,
    layers: Vec<String>,
    error: Option<String>,
    /// Nothing of TLS, which says something else each time.
    answer: Vec<u8>,
}

/// What a peer says first at such a port. How the bytes are split changes nothing of what the connection becomes and
/// answers, and it becomes what its first byte says. The first byte of the input says into how large pieces it is split.
pub fn first_byte(data: &[u8]) {
    let Some((size, said)) = data.split_first() else { return };
    let whole = hear(said, usize::MAX);
    for size in [1, 1 + usize::from(*size)] {
        assert_eq!(hear(said, size), whole, "in pieces of {size}");
    }
    let Some(first) = said.first() else { return assert_eq!(whole.layers, ["firstbyte"]) };
    let chain = whole.became.as_ref().map(|became| &*became.chain);
    match first {
        0x16 => assert!(chain.is_none() && whole.layers[0] == "tls", "nobody has agreed on a key"),
        0..32 => assert_eq!(chain, Some("inboundRtmp")),
        b'A'..=b'Z' => assert_eq!(chain, Some("inboundRtmpt")),
        _ => assert!(chain.is_none() && whole.error.is_some() && whole.answer.is_empty()),
    }
    let encrypts = matches!(first, 6 | 8 | 9);
    assert_eq!(whole.layers.iter().any(|layer| layer == "rtmpe"), encrypts);
}

fn hear(said: &[u8], size: usize) -> Heard {
    let (ways, settings) = &*PORT;
    let env = &mut Env { now: Instant::now(), random: &mut |bytes| bytes.fill(7) };
    let mut chain = Chain::named(ways.make(settings, env.now).expect("layers")).expect("a chain");
    let mut became = None;
    let mut run = || {
        chain.on_open(env)?;
        for piece in said.chunks(size) {
            chain.on_data(piece, env)?;
            while let Some(event) = chain.poll_event() {
                if let Event::Became(what) = event {
                    assert!(chain.is_paused() && became.is_none(), "it waits, once");
                    became = Some(*what);
                    chain.resume(env)?;
                }
            }
        }
        Ok::<_, crtmp_media::Error>(())
    };
    let error = run().err().map(|error| error.to_string());
    let layers: Vec<String> = chain.names().map(str::to_owned).collect();
    let mut answer = Vec::new();
    if layers[0] != "tls"
        && let Ok(out) = chain.send()
    {
        out.slices().for_each(|slice| answer.extend_from_slice(slice));
    }
    Heard { became, layers, error, answer }
}

#[cfg(test)]
mod tests {
    use crtmp_corpus::Corpus;
    use proptest::prelude::*;

    use super::*;

    crtmp_corpus::tests!(corpus);

    /// The beginning of a handshake of RTMP with this version, less than the server needs for an answer.
    fn hello(version: u8) -> Vec<u8> {
        [&[3, version][..], &[0; 60]].concat()
    }

    fn corpus() -> Corpus {
        let tls = include_bytes!("../../tls/testdata/corpus/tls/hello13");
        let post = b"\x05POST /open/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-fcs\r\nContent-Length: 1\r\n\r\n0";
        let seeds = [
            ("first_byte/rtmp", hello(3)),
            ("first_byte/rtmpe", hello(6)),
            ("first_byte/tls", tls.to_vec()),
            ("first_byte/get", b"\x02GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("first_byte/open", post.to_vec()),
            ("first_byte/nothing", vec![1, 0x80, 0, 0]),
        ];
        Corpus {
            package: env!("CARGO_MANIFEST_DIR"),
            targets: vec![("first_byte", first_byte)],
            seeds: seeds.map(|(name, seed)| (name.to_owned(), seed)).into(),
            inserts: &[b"\0", b"\x03", b"\x16", b"P"],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_keep_the_invariants(data in prop::collection::vec(any::<u8>(), 0..4000)) {
            first_byte(&data);
        }
    }

    #[test]
    fn every_first_byte_leads_somewhere_or_nowhere() {
        for first in 0..=255 {
            first_byte(&[0, first]);
            first_byte(&[0, first, 0]);
        }
    }
}
