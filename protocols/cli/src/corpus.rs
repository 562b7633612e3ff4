//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use crtmp_corpus::Corpus;
use proptest::prelude::*;

use crate::fuzz;

const SEEDS: [(&str, &[u8]); 8] = [
    ("version", b"version\r\n"),
    ("parameters", b"pullStream uri=rtmp://h:1935/a?b=c localStreamName=a\\ b\\=c\\,d\\\\ names=x,y,z\n"),
    ("escapes", b"add name=\\n\\r\\t\\u{1b}\\u{1f600} note=\xe2\x80\xae\xe6\x97\xa5\n"),
    ("mistakes", b"a k\na k=1 K=2\na k=\\x\n\xff\xfb\x1f\na\0\n\xc3(\n=\n"),
    ("several", b"\n \r\nfirst\nsecond a=\nthird b=,\nfour"),
    ("http", b"POST / HTTP/1.1\r\nHost: a\r\n\r\nshutdownServer\n"),
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("long", &[b'x'; 300]),
];

crtmp_corpus::tests!(corpus);

fn corpus() -> Corpus {
    Corpus {
        package: env!("CARGO_MANIFEST_DIR"),
        targets: vec![("cli_line", fuzz::cli_line)],
        seeds: SEEDS.map(|(name, seed)| (format!("cli_line/{name}"), seed.to_vec())).into(),
        inserts: &[],
    }
}

proptest! {
    #[test]
    fn any_bytes_keep_the_invariants(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::cli_line(&data);
    }

    #[test]
    fn near_commands_keep_the_invariants(data in "([a-b=,\\\\ \r\nnu{}1]|GET /|HTTP/){0,80}") {
        fuzz::cli_line(data.as_bytes());
    }
}
