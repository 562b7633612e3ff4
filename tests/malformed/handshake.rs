//! HS: the handshake.

use std::{net::Ipv4Addr, thread, time::Duration};

use crtmp_tests::{
    Config,
    wire::{Client, connect},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    call,
    stage::{Stage, reset},
};

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LATE: &str = "no whole handshake within handshakeTimeout = 1 s";

/// C0 and C1 of the simple handshake.
pub(crate) fn hello(version: u8) -> Vec<u8> {
    let mut hello = vec![version];
    hello.extend([0; 8]);
    hello.extend((0..1528).map(|at| at as u8));
    hello
}

/// Completes the handshake of a client that has sent C0 and C1, and demands that it is served.
pub(crate) fn is_served(mut client: Client) {
    let answer = client.take(1 + 2 * 1536);
    assert_eq!(answer[0], 3, "the version in S0");
    client.write(&answer[1..=1536]);
    client.send(&connect("live", "rtmp://localhost/live"));
    client.expect("_result");
    client.expect_open();
}

#[test]
fn handshakes_that_are_late_wrong_or_something_else() {
    let stage = Stage::start(&Config::new().limit("handshakeTimeout", "1").limit("connectTimeout", "1"));

    stage.case("HS-01 nothing is sent", || {
        // Once to let the allocator get what it needs for such connections.
        let mut before = u64::MAX / 2;
        for _ in 0..2 {
            let clients: Vec<_> = (0..50).map(|_| stage.open()).collect();
            for client in clients {
                stage.ends(client, LATE);
            }
            assert!(stage.resident() <= before + 50 * 8 + 512, "8 KiB for each");
            before = stage.resident();
        }
        stage.ends_after(stage.open(), SECOND, LATE);
    });
    stage.case("HS-02 a byte now and then", || {
        let mut client = stage.open();
        for byte in hello(3).iter().take(8) {
            client.write(&[*byte]);
            thread::sleep(Duration::from_millis(100));
        }
        stage.ends_after(client, Duration::from_millis(100), LATE);
    });
    stage.case("HS-03 one byte is missing", || {
        let mut client = stage.open();
        client.write(&hello(3)[..1536]);
        stage.ends_after(client, SECOND - Duration::from_millis(50), LATE);
    });
    stage.case("HS-04 versions that never were", || {
        for version in [0, 4, 31] {
            let mut client = stage.open();
            client.write(&hello(version));
            is_served(client);
        }
    });
    stage.case("HS-05 other protocols", || {
        for byte in [0x47, 0x50, 0x16, 0x80, 0xFF] {
            let mut client = stage.open();
            client.write(&[byte]);
            let rule = match byte {
                0x16 => "handshake: not RTMP but TLS: this port is for rtmp://".to_owned(),
                _ => format!("handshake: not RTMP: the first byte is 0x{byte:02X}"),
            };
            stage.ends_after(client, Duration::ZERO, &rule);
        }
    });
    stage.case("HS-06 a digest that is none", || {
        let mut client = stage.open();
        let mut hello = hello(3);
        hello[5..9].copy_from_slice(&[11, 2, 202, 235]);
        client.write(&hello);
        is_served(client);
    });
    stage.case("HS-09 a wrong C2, and everything at once", || {
        let mut client = stage.open();
        let mut everything = hello(3);
        everything.extend([0xEE; 1536]);
        everything.extend(connect("live", "rtmp://localhost/live").chunks(128));
        everything.extend(call("createStream", 2.0).chunks(128));
        client.write(&everything);
        client.take(1 + 2 * 1536);
        client.expect("NetConnection.Connect.Success");
        client.expect_open();
    });
    stage.case("HS-12 a reset in the middle of S2", || {
        let source = Ipv4Addr::new(127, 9, 9, 12);
        for _ in 0..200 {
            let mut client = stage.open_from(source);
            client.write(&hello(3));
            reset(client);
        }
        stage.forgets();
        let lines = stage.log_of(&source.to_string());
        let loud: Vec<_> = lines.iter().filter(|line| !line.contains(" DEBUG ")).collect();
        assert!(loud.is_empty(), "{loud:#?}");
    });
    stage.case("HS-13 RTMPE, which is not spoken", || {
        for version in [6, 8, 9] {
            let mut client = stage.open();
            client.write(&hello(version));
            stage.ends(client, &format!("RTMPE not enabled (handshake version {version})"));
        }
    });
    stage.end();
}

/// C0 and C1 of RTMPE, signed as Flash Player 10 does it, with this public key.
pub(crate) fn encrypted_hello(key: &[u8; 128]) -> Vec<u8> {
    let mut hello = hello(6);
    let packet = &mut hello[1..];
    packet[4..8].copy_from_slice(&[128, 0, 3, 2]);
    let offset =
        |packet: &[u8], at: usize| packet[at..at + 4].iter().map(|byte| usize::from(*byte)).sum::<usize>();
    let key_at = 8 + offset(packet, 768) % 632;
    packet[key_at..key_at + 128].copy_from_slice(key);
    let digest_at = 776 + offset(packet, 772) % 728;
    let mut mac = Hmac::<Sha256>::new_from_slice(b"Genuine Adobe Flash Player 001").expect("any key");
    mac.update(&packet[..digest_at]);
    mac.update(&packet[digest_at + 32..]);
    let digest = mac.finalize().into_bytes();
    packet[digest_at..digest_at + 32].copy_from_slice(&digest);
    hello
}

#[test]
fn encrypted_handshakes_that_are_late_wrong_or_something_else() {
    let config = Config::new()
        .limit("handshakeTimeout", "1")
        .limit("connectTimeout", "1")
        .acceptor("protocol = \"inboundRtmpe\"");
    let stage = Stage::start(&config);
    let address = stage.server.address_of("inboundRtmpe");

    stage.case("HS-08 keys with which everybody knows the secret", || {
        let (mut one, mut two, ones) = ([0; 128], [0; 128], [0xFF; 128]);
        (one[127], two[127]) = (1, 2);
        for key in [[0; 128], one, ones] {
            let mut client = stage.open_at(address);
            client.write(&encrypted_hello(&key));
            stage.ends(client, "handshake: the public key of RTMPE is weak or out of range");
        }
        let mut client = stage.open_at(address);
        client.write(&encrypted_hello(&two));
        assert_eq!(client.take(1 + 2 * 1536)[0], 8);
    });
    stage.case("HS-01, HS-03 nothing, and not everything", || {
        stage.ends(stage.open_at(address), LATE);
        let mut client = stage.open_at(address);
        client.write(&encrypted_hello(&[7; 128])[..1536]);
        stage.ends(client, LATE);
    });
    stage.case("HS-06 a digest that is none", || {
        let mut client = stage.open_at(address);
        client.write(&hello(6));
        stage.ends(client, "handshake: RTMPE without a valid digest");
    });
    stage.case("HS-13 RTMP where only RTMPE is taken", || {
        let mut client = stage.open_at(address);
        client.write(&hello(3));
        stage.ends(client, "not encrypted (handshake version 3), where only RTMPE is taken");
        let mut client = stage.open_at(address);
        client.write(&[9]);
        stage.ends(client, "RTMPE of version 9 is not served, versions 6 and 8 are");
    });
    stage.case("CHK-22 noise after a good handshake", || {
        let mut two = [0; 128];
        two[127] = 2;
        let mut client = stage.open_at(address);
        client.write(&encrypted_hello(&two));
        let answer = client.take(1 + 2 * 1536);
        // An echo, then bytes that no key stream makes sense of.
        client.write(&answer[1..=1536]);
        client.write(&[0x5A; 4096]);
        stage.ends(client, "chunk stream");
    });
    stage.end();
}

#[test]
fn handshakes_in_large_numbers_and_of_large_size() {
    let config = Config::new()
        .limit("handshakeTimeout", "1")
        .limit("connectTimeout", "1")
        .limit("pendingPerAddress", "64");
    let stage = Stage::start(&config);

    stage.case("HS-10 100 MiB before anything is read", || {
        stage.three_times(|| {
            let mut client = stage.open();
            let before = stage.resident();
            client.write(&hello(3));
            let zeros = vec![0; 1 << 20];
            for _ in 0..100 {
                client.write(&zeros);
            }
            assert!(stage.resident() <= before + 8192, "8 MiB");
            // Empty messages are no offence, but no `connect` either.
            stage.ends(client, "no connect command within connectTimeout = 1 s");
        });
    });
    stage.case("HS-11 thousands from one address", || {
        let source = Ipv4Addr::new(127, 9, 9, 11);
        let refused = stage.counters().number("totals.refused");
        let before = stage.resident();
        let clients: Vec<_> = (0..2000)
            .map(|_| {
                let mut client = stage.open_from(source);
                client.write(&hello(3)[..1000]);
                client
            })
            .collect();
        let counters = stage.counters();
        assert!(counters.number("totals.connections") <= 64 + 2);
        assert!(counters.number("totals.refused") - refused >= 1500);
        assert!(stage.resident() <= before + 64 * 64 + 1024, "64 KiB for each");
        let told = stage.log_of(&source.to_string());
        drop(clients);
        assert!(told.iter().filter(|line| !line.contains(" DEBUG ")).count() <= 2, "{told:#?}");
        stage.forgets();
    });
    stage.end();
}
