//! PXY: what proxies say first, by the PROXY protocol.

use std::{net::Ipv4Addr, time::Duration};

use crtmp_tests::{
    Config, poll,
    wire::{Client, connect},
};

use crate::{
    SOON,
    stage::{Stage, open_between},
};

const CHAIN: &str = "inboundXmlVariant";
const SECOND: Duration = Duration::from_secs(1);

/// The simple handshake of a client that waits for nothing, and `connect`.
fn hello() -> Vec<u8> {
    let mut hello = vec![3];
    hello.extend([0; 2 * 1536]);
    hello.extend(connect("live", "rtmp://localhost/live").chunks(128));
    hello
}

fn is_served(client: &mut Client) {
    client.take(1 + 2 * 1536);
    client.expect("NetConnection.Connect.Success");
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short one").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

#[test]
fn headers_that_are_late_wrong_or_from_nobody_who_may() {
    let rtmp = "protocol = \"inboundRtmp\", rtmpe = true, proxyProtocol = { \"127.1.0.0/16\" }";
    let other = format!("protocol = \"{CHAIN}\", proxyProtocol = {{ \"127.1.0.0/16\" }}");
    let config = Config::new()
        .limit("handshakeTimeout", "1")
        .limit("pendingPerAddress", "3")
        .acceptor(rtmp)
        .acceptor(&other);
    let stage = Stage::start(&config);
    let services = stage.server.services();
    let address = services.iter().rfind(|service| service.chain == "inboundRtmp").expect("two").address;
    assert_ne!(address, stage.address());

    stage.case("PXY-01 nothing, and a header without an end", || {
        const LATE: &str = "no whole header of the PROXY protocol within handshakeTimeout = 1 s";
        stage.ends_after(stage.open_at(address), SECOND, LATE);
        let mut client = stage.open_at(stage.server.address_of(CHAIN));
        client.write(b"PROXY TCP4 192.0.2.1");
        stage.ends_after(client, SECOND, LATE);
    });
    stage.case("PXY-02 no header, and wrong ones", || {
        for (said, why) in [
            (&b"\x03"[..], "it begins otherwise"),
            (b"POST /open/1 HTTP/1.1\r\n", "it begins otherwise"),
            (b"PROXY TCP4 192.0.2.1 nobody 1 2\r\n", "the line has an address that is none"),
            (&[b'P'; 2], "it begins otherwise"),
            (&binary(0x21, 0x12, &[0; 12]), "it is of no TCP connection"),
            (&binary(0x21, 0x11, &[0; 11]), "it has no room for its addresses"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF", "it is longer than 4096 bytes"),
        ] {
            let mut client = stage.open_at(address);
            client.write(said);
            let rule = "no header of the PROXY protocol, which proxyProtocol demands of this address: ";
            stage.ends(client, &format!("{rule}{why}"));
        }
    });
    stage.case("PXY-03 a header of somebody who speaks for nobody", || {
        let mut client = open_between(Ipv4Addr::new(127, 9, 9, 20), address);
        client.write(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
        stage.ends(client, "not RTMP: the first byte is 0x50");
    });
    stage.case("PXY-04 headers in pieces, with all that follows, and of nobody", || {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 8, 0, 9, 0, 1, 4, 0, 2, 0, 0];
        for (header, peer) in [
            (b"PROXY TCP4 192.0.2.5 192.0.2.6 7777 1935\r\n".to_vec(), Some("192.0.2.5:7777")),
            (b"PROXY TCP6 2001:db8::5 2001:db8::6 7778 1935\r\n".to_vec(), Some("[2001:db8::5]:7778")),
            (binary(0x21, 0x11, &v4), Some("192.0.2.7:9")),
            (binary(0x20, 0, &[]), None),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
        ] {
            for cut in [0, 1, header.len() - 1, header.len()] {
                let mut client = stage.open_at(address);
                client.write(&header[..cut]);
                // The piece is looked at by itself, or with the rest: both must do.
                client.write(&[&header[cut..], &hello()].concat());
                is_served(&mut client);
                let own = client.socket().local_addr().expect("a connected socket").to_string();
                let peer = peer.unwrap_or(&own);
                let known = || stage.log_of(peer).iter().any(|line| line.contains("connected")).then_some(());
                assert!(poll(SOON, known).is_some(), "{peer}");
                drop(client);
                stage.forgets();
            }
        }
    });
    stage.case("PXY-05 limits are those of the peers, not of the proxy", || {
        let open = |peer: &str| {
            let mut client = stage.open_at(address);
            client.write(format!("PROXY TCP4 {peer} 192.0.2.6 7 1935\r\n").as_bytes());
            client.write(&hello());
            client
        };
        let mut first: Vec<Client> = (0..3).map(|_| open("192.0.2.30")).collect();
        first.iter_mut().for_each(is_served);
        let mut fourth = open("192.0.2.30");
        fourth.expect_close(SECOND * 5);
        let mut other = open("192.0.2.31");
        is_served(&mut other);
        stage.server.wait_for_log("pendingPerAddress = 3 is reached");
    });
    stage.case("PXY-06 a peer that leaves before the header ends", || {
        for said in [&b""[..], b"PROXY TCP4"] {
            let mut client = stage.open_at(address);
            client.write(said);
            drop(client);
        }
        stage.forgets();
    });
    stage.end();
}
