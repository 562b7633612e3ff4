//! Runs the fuzz target over its committed corpus, and that corpus in many damaged forms.

use crtmp_corpus::Corpus;
use proptest::prelude::*;

use crate::fuzz;

/// What OpenSSL's two sides say to each other, ends, and content; the first byte says who hears it.
macro_rules! seeds {
    ($($name:literal)*) => {
        [$((concat!("tls/", $name), include_bytes!(concat!("../testdata/corpus/tls/", $name)).as_slice())),*]
    };
}

const SEEDS: [(&str, &[u8]); 9] =
    seeds!("hello13" "hello12" "flight13" "flight12" "notify" "rtmp" "alert" "to_server" "to_client");

crtmp_corpus::tests!(corpus);

fn corpus() -> Corpus {
    Corpus {
        package: env!("CARGO_MANIFEST_DIR"),
        targets: vec![("tls", fuzz::tls)],
        seeds: SEEDS.map(|(name, seed)| (name.to_owned(), seed.to_vec())).into(),
        inserts: &[b"\0", b"\x14\x03\x03\0\x01\x01", b"\x15\x03\x03\0\x02\x01\0"],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_keep_the_invariants(kind in 0..4_u8, data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::tls(&[&[kind], data.as_slice()].concat());
        // As a record of a handshake.
        fuzz::tls(&[&[kind, 0x16, 3, 1, 1, 0], data.as_slice()].concat());
    }

    #[test]
    fn content_arrives_whatever_its_size_and_the_splits(
        said in prop::collection::vec(any::<u8>(), 0..3000),
        pieces in 0..255_u8,
        to_server in any::<bool>(),
    ) {
        // The place is a multiple of three: nothing is damaged.
        fuzz::tls(&[&[2 + u8::from(!to_server), pieces / 3 * 3], said.as_slice()].concat());
    }
}
