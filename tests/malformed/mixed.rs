//! HS: the first bytes at a port that serves several chains.

use std::{net::Ipv4Addr, time::Duration};

use crtmp_tests::{Certificates, Config};

use crate::{
    handshake::{LATE, encrypted_hello, hello, is_served},
    stage::{Stage, open_between},
};

const CHAIN: &str = "inboundRtmpAny";
const SECOND: Duration = Duration::from_secs(1);

/// What OpenSSL says first; the first byte is for a fuzzer.
const HELLO: &[u8] = include_bytes!("../../protocols/tls/testdata/corpus/tls/hello13");

fn config() -> Config {
    Config::new().limit("handshakeTimeout", "1").limit("connectTimeout", "1").limit("httpIdle", "1")
}

#[test]
fn first_bytes_where_every_kind_is_taken() {
    let certificates = Certificates::new();
    let keys = format!("protocol = \"{CHAIN}\", {}", certificates.keys("server"));
    let stage = Stage::start(&config().acceptor(&keys));
    let address = stage.server.address_of(CHAIN);

    stage.case("HS-05 bytes of nothing that is taken", || {
        for byte in [0x20, b'a', 0x7F, 0x80, 0xFF] {
            let mut client = stage.open_at(address);
            client.write(&[byte]);
            let rule = format!("none of rtmp, http, tls: the first byte is 0x{byte:02X}");
            stage.ends_after(client, Duration::ZERO, &rule);
        }
    });
    stage.case("HS-05 each kind, a byte at a time and all at once", || {
        let mut two = [0; 128];
        two[127] = 2;
        let post = "POST /fcs/ident2 HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-fcs\r\nContent-Length: 1\r\n\r\n0";
        for (said, answer) in [
            (hello(3), &[3][..]),
            (hello(31), &[3]),
            (encrypted_hello(&two), &[8]),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), b"HTTP/1.1 404 "),
            (post.into(), b"HTTP/1.1 200 "),
            (HELLO[1..].to_vec(), &[0x16]),
        ] {
            for size in [1, said.len()] {
                let mut client = stage.open_at(address);
                said.chunks(size).for_each(|part| client.write(part));
                assert_eq!(client.take(answer.len()), answer, "{:?}", &said[..4]);
            }
        }
        let mut client = stage.open_at(address);
        client.write(&hello(3));
        is_served(client);
    });
    stage.case("HS-01, HS-03 silence, before and behind the first byte", || {
        stage.ends_after(stage.open_at(address), SECOND, "not a byte within handshakeTimeout = 1 seconds");
        for (first, rule) in [
            (3, LATE),
            (6, LATE),
            (b'G', "a request took longer than httpIdle = 1 seconds"),
            (0x16, "no handshake within handshakeTimeout = 1 seconds"),
        ] {
            let mut client = stage.open_at(address);
            client.write(&[first]);
            stage.ends(client, rule);
        }
    });
    stage.case("HS-08 a weak key", || {
        let mut client = stage.open_at(address);
        client.write(&encrypted_hello(&[0; 128]));
        stage.ends(client, "handshake: the public key of RTMPE is weak or out of range");
    });
    stage.end();
}

#[test]
fn first_bytes_where_something_is_missing() {
    let config = config().limit("pendingPerAddress", "4");
    let stage = Stage::start(&config.acceptor(&format!("protocol = \"{CHAIN}\", rtmpe = false")));
    let address = stage.server.address_of(CHAIN);

    stage.case("HS-05 TLS without a certificate, and HS-13 RTMPE that is off", || {
        let mut client = stage.open_at(address);
        client.write(&HELLO[1..]);
        stage.ends(client, "tls came, which needs the key `sslCert` of the acceptor");
        let mut client = stage.open_at(address);
        client.write(&hello(6));
        stage.ends(client, "RTMPE not enabled (handshake version 6)");
    });
    stage.case("HS-11 more than one address may have, whatever they will be", || {
        let source = Ipv4Addr::new(127, 9, 9, 13);
        let mut clients: Vec<_> = (0..4).map(|_| open_between(source, address)).collect();
        clients[0].write(b"G");
        clients[1].write(&[3]);
        let mut refused = open_between(source, address);
        assert!(refused.expect_close(crate::SOON).is_empty());
        assert!(stage.log_of(&source.to_string()).iter().any(|line| line.contains("pendingPerAddress = 4")));
        drop(clients);
    });
    stage.end();
}
