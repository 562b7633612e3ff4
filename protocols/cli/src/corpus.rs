//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use std::fs;
use std::path::PathBuf;

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

#[test]
fn every_corpus_file_keeps_the_invariants() {
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        fuzz::cli_line(&fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "no corpus");
}

#[test]
fn damaged_seeds_keep_the_invariants() {
    for (_, seed) in SEEDS {
        for at in 0..seed.len() {
            fuzz::cli_line(&seed[..at]);
            for bit in [0x01, 0x40, 0x80] {
                let mut damaged = seed.to_vec();
                damaged[at] ^= bit;
                fuzz::cli_line(&damaged);
            }
        }
    }
}

/// Writes the seeds: `cargo test -p crtmp-cli -- --ignored write_the_seeds`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() {
    fs::create_dir_all(folder()).unwrap();
    for (name, seed) in SEEDS {
        fs::write(folder().join(name), seed).unwrap();
    }
}

#[test]
fn the_seeds_are_committed() {
    for (name, seed) in SEEDS {
        assert!(fs::read(folder().join(name)).is_ok_and(|bytes| bytes == seed), "{name} is out of date");
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

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata/corpus/cli_line"].iter().collect()
}
