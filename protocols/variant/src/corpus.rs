//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use crtmp_corpus::Corpus;
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

crtmp_corpus::tests!(corpus);

fn corpus() -> Corpus {
    Corpus {
        package: env!("CARGO_MANIFEST_DIR"),
        targets: TARGETS.map(|(name, _, target)| (name, target)).into(),
        seeds: seeds(),
        inserts: &[],
    }
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
