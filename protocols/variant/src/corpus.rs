//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use std::fs;
use std::path::PathBuf;

use crtmp_media::{Limits, Value};
use proptest::prelude::*;

use crate::{Encoding, fuzz, testing};

type Target = (&'static str, Encoding, fn(&[u8]));

const TARGETS: [Target; 3] = [
    ("variant_xml", Encoding::Xml, fuzz::variant_xml),
    ("variant_binary", Encoding::Binary, fuzz::variant_binary),
    ("variant_json", Encoding::Json, fuzz::variant_json),
];

/// Documents that this server reads and never writes.
const ODD_XML: &str = "<?xml version='1.0'?><!-- a --><map><Date name='&lt;&#65;'>2000-02-29</Date>\
    <TIME name='t'>01:02:03.000</TIME><STR><![CDATA[<]]>&amp;&#x42;</STR><UNDEFINED/>\
    <MAP isArray='TRUE'><UINT64> 9 </UINT64></MAP><TYPED_MAP typeName='T'/></map>";

#[test]
fn every_corpus_file_keeps_the_invariants() {
    for (name, _, target) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(folder(name)).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no corpus for {name}");
    }
}

#[test]
fn damaged_seeds_keep_the_invariants() {
    for (name, seed) in seeds() {
        let (_, _, target) = TARGETS.iter().find(|(target, ..)| name.starts_with(target)).unwrap();
        let step = (seed.len() / 300).max(1);
        for at in (0..seed.len()).step_by(step) {
            target(&seed[..at]);
            for bit in [0x01, 0x02, 0x10, 0x40, 0x80] {
                let mut damaged = seed.clone();
                damaged[at] ^= bit;
                target(&damaged);
            }
        }
    }
}

/// Writes the seeds: `cargo test -p crtmp-variant -- --ignored write_the_seeds`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() {
    for (name, seed) in seeds() {
        let path = folder("").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, seed).unwrap();
    }
}

#[test]
fn the_seeds_are_committed() {
    for (name, seed) in seeds() {
        assert!(fs::read(folder("").join(&name)).is_ok_and(|bytes| bytes == seed), "{name} is out of date");
    }
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata/corpus", target].iter().collect()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let limits = Limits::default();
    let mut seeds = Vec::new();
    for (target, encoding, _) in TARGETS {
        let values = [
            ("sample", testing::sample()),
            ("nested", testing::nested(32)),
            ("list", Value::StrictArray((0..20).map(|number| f64::from(number * 1000).into()).collect())),
        ];
        for (name, value) in values {
            seeds.push((format!("{target}/{name}"), encoding.encode(&value, &limits).unwrap()));
        }
    }
    seeds.push(("variant_xml/odd".into(), ODD_XML.into()));
    let odd = [
        19, 1, 0, 0, 0, 3, 0, 0, 0, 1, b'd', 15, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0,
        9,
    ];
    let odd = [&odd[..], &[0, 0, 0, 1, 0xFF, 18, 1, 0, 0, 0, 1, b'T', 0, 0, 0, 0]].concat();
    seeds.push(("variant_binary/odd".into(), odd));
    seeds.push((
        "variant_json/odd".into(),
        br#" {"a":[1e-7,18446744073709551615,"\ud83d\ude00\u0000"],"a":{}} "#.into(),
    ));
    seeds
}

proptest! {
    /// Bytes that are mostly types and small lengths get farther than any bytes.
    #[test]
    fn bytes_like_types_keep_the_invariants(bytes in prop::collection::vec(0..24_u8, 0..60)) {
        fuzz::variant_binary(&bytes);
    }
}
