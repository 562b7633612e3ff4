//! Runs every fuzz target over its committed corpus, and makes the seeds of that corpus.

use crtmp_corpus::Corpus;
use proptest::prelude::*;

use crate::fuzz;

const SEEDS: [(&str, &[u8]); 19] = [
    ("http_request/get", b"GET /a?b=c HTTP/1.1\r\nhost: example.org:80\r\nuser-agent: x\r\n\r\n"),
    ("http_request/post", b"POST /chunks HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\n\r\nhelloGET"),
    (
        "http_request/chunks",
        b"PUT /pause HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nz: y\r\n\r\n",
    ),
    (
        "http_request/pipelined",
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n\r\nPOST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\n",
    ),
    ("http_request/expect", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"),
    ("http_request/old", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /chunks HTTP/1.0\r\n\r\n"),
    ("http_request/absolute", b"GET HTTP://b:1?c HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("http_request/both", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("http_request/later", b"GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("http_request/http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (
        "http_request/tunnel",
        b"POST /send/0123456789abcdef0123456789abcdef01/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-fcs\r\nContent-Length: 2\r\n\r\n\x03\0POST /idle/0123456789abcdef0123456789abcdef01/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\0",
    ),
    ("http_request/two_lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("http_request/line_feed_alone", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("http_request/chunk_too_large", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
    ("http_response/length", b"\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    (
        "http_response/chunks",
        b"\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ),
    ("http_response/close", b"\0HTTP/1.0 404 No\r\n\r\nuntil the end"),
    ("http_response/head", b"\x01HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
    ("http_response/more", b"\0HTTP/1.1 304 \r\n\r\nmore"),
];

crtmp_corpus::tests!(corpus);

fn corpus() -> Corpus {
    Corpus {
        package: env!("CARGO_MANIFEST_DIR"),
        targets: vec![("http_request", fuzz::http_request), ("http_response", fuzz::http_response)],
        seeds: SEEDS.map(|(name, seed)| (name.to_owned(), seed.to_vec())).into(),
        inserts: &[b"\r", b"\n", b"\r\n", b" ", b":", b"0", b"\0"],
    }
}

/// Words that requests and responses are made of, and some that they are not.
const WORDS: [&str; 34] = [
    "GET ",
    "POST ",
    "HEAD ",
    "/ ",
    "/pause ",
    "/chunks ",
    "* ",
    "HTTP/1.1\r\n",
    "HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: +3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
    "1;a=b\r\nx\r\n",
    "abc",
    "a: b\r\n",
    " fold\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 \r\n",
    "HTTP/1.1 204 \r\n",
    "\0",
    "é: é\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_keep_the_invariants(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..40),
        good in 0..4_usize,
    ) {
        let start = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(good) + "POST /pause HTTP/1.1\r\nHost: a\r\n";
        fuzz::http_request((start + &words.concat()).as_bytes());
        fuzz::http_request(words.concat().as_bytes());
        fuzz::http_response(("\0HTTP/1.1 200 OK\r\n".to_owned() + &words.concat()).as_bytes());
    }
}
