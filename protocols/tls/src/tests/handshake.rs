//! The layer as a state machine: whatever the pieces, the ends and the floods.

use std::{sync::Arc, time::Duration};

use crtmp_media::{Fault, LayerSettings, Limits, Seconds};
use rustls::{ClientConfig, Connection, SupportedProtocolVersion, version};

use crate::{
    BUFFER,
    fuzz::peer::{self, Peer, client, client_config, inbound, outbound, read_all, server, server_config},
};

/// A client that trusts everybody, of these versions.
fn client_of(versions: &[&'static SupportedProtocolVersion]) -> Connection {
    let config = ClientConfig::builder_with_provider(crate::shared_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(crate::client::anybody())
        .with_no_client_auth();
    client(Arc::new(config))
}

fn opened(far: &mut Connection) -> Peer {
    let mut peer = Peer::new(inbound(Limits::default()));
    peer.open();
    peer.shake(far, usize::MAX);
    assert!(peer.is_open(), "{:?}", peer.ended);
    peer
}

/// Has the far end say something, and returns what it hears then.
fn talk(peer: &mut Peer, far: &mut Connection, content: &[u8]) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    peer::say(far, content, &mut ciphertext);
    peer.say(&ciphertext);
    peer::read(far, &std::mem::take(&mut peer.heard))
}

#[test]
fn both_versions_pass_content_in_all_pieces() {
    for version in [&version::TLS12, &version::TLS13] {
        for size in [1, 2, 3, 100, 1000, usize::MAX] {
            let mut far = client_of(&[version]);
            let mut peer = Peer::new(inbound(Limits::default()));
            peer.open();
            assert!(peer.heard.is_empty() && !peer.is_open(), "a server does not speak first");
            peer.shake(&mut far, size);
            assert!(peer.is_open(), "{size}: {:?}", peer.ended);
            assert_eq!(peer.chain.poll_timeout(), None);
            assert_eq!(far.protocol_version(), Some(version.version));
            for content in [&b"a"[..], &[7; 70_000], b"b"] {
                assert_eq!(talk(&mut peer, &mut far, content), content);
            }
        }
    }
}

#[test]
fn a_connection_of_ours_speaks_first_and_passes_content() {
    for size in [1, 7, usize::MAX] {
        let mut far = server(server_config());
        let mut peer = Peer::new(outbound(Limits::default(), true));
        assert_eq!(peer.chain.poll_timeout(), None, "the carrier has its own time to connect");
        peer.open();
        assert_eq!(peer.heard.first(), Some(&0x16));
        assert!(peer.chain.poll_timeout().is_some() && !peer.is_open());
        peer.shake(&mut far, size);
        assert!(peer.is_open(), "{:?}", peer.ended);
        assert_eq!(talk(&mut peer, &mut far, &[3; 100_000]), [3; 100_000]);
    }
}

/// TLS-01.
#[test]
fn what_is_not_tls_is_told_apart_by_its_first_byte() {
    for (first, said) in [
        (&b"\x03"[..], "RTMP without TLS: this port is for rtmps://"),
        (b"\x06", "RTMPE"),
        (b"POST / HTTP/1.1", "HTTP without TLS: this port is for https://"),
        (b"\x80\x2e\x01\0\x02", "the first byte is 0x80"),
        (b"\0", "the first byte is 0x00"),
    ] {
        let mut peer = Peer::new(inbound(Limits::default()));
        peer.open();
        peer.say(first);
        let error = peer.ended.unwrap();
        assert!(error.fault == Fault::Peer && error.rule.contains(said), "{error}");
        assert!(peer.heard.is_empty());
    }
}

/// TLS-03.
#[test]
fn a_handshake_has_its_time() {
    let limits = || Limits { handshake_timeout: Seconds::new(5), ..Limits::default() };
    let mut hello = Vec::new();
    let mut far = client(client_config());
    peer::write(&mut far, &mut hello);
    for said in [0, 1, hello.len()] {
        let mut peer = Peer::new(inbound(limits()));
        peer.open();
        peer.say(&hello[..said]);
        let at = peer.chain.poll_timeout().unwrap();
        peer.wait(at.duration_since(peer.now) - Duration::from_millis(1));
        assert_eq!(peer.ended, None);
        peer.wait(Duration::from_millis(1));
        let error = peer.ended.unwrap();
        assert!(error.fault == Fault::Timeout && error.rule.contains("handshakeTimeout = 5 "), "{error}");
        assert_eq!(peer.chain.poll_timeout(), None, "once");
    }
    let mut peer = Peer::new(outbound(limits(), true));
    peer.open();
    peer.wait(Duration::from_secs(5));
    assert_eq!(peer.ended.unwrap().fault, Fault::Timeout);
}

/// TLS-03.
#[test]
fn what_brings_no_content_is_bounded() {
    let most = 40_000;
    for (count, stays) in [(most - 1, true), (most, true), (most + 1, false)] {
        // A ClientHello that never ends, in records.
        let mut peer = Peer::new(inbound(Limits { tls_empty_bytes: most, ..Limits::default() }));
        peer.open();
        let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
        hello.resize(5 + 0x4000, 0);
        hello.extend([0x16, 3, 1, 0x40, 0]);
        hello.resize(2 * (5 + 0x4000), 0);
        hello.extend([0x16, 3, 1, 0x40, 0]);
        hello.resize(count, 0);
        hello.chunks(1000).for_each(|piece| peer.say(piece));
        assert_eq!(peer.ended.is_none(), stays, "{count}: {:?}", peer.ended);
        if let Some(error) = peer.ended {
            assert!(error.rule.contains("tlsEmptyBytes = 40000"), "{error}");
        }
    }
    let mut peer = Peer::new(inbound(Limits { tls_empty_bytes: 1 << 20, ..Limits::default() }));
    peer.open();
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[1; 0x4000]].concat();
    (0..5).for_each(|_| peer.say(&record));
    assert!(peer.ended.unwrap().rule.len() < 300, "the library has a bound of its own");
}

/// TLS-03.
#[test]
fn empty_records_are_bounded_and_content_starts_the_count_again() {
    let mut far = client(client_config());
    let limits = Limits { tls_empty_bytes: 32 * 1024, ..Limits::default() };
    let mut peer = Peer::new(inbound(limits));
    peer.open();
    peer.shake(&mut far, usize::MAX);
    // The library sends no empty records: padded alerts and key updates are as empty.
    let mut updates = 0;
    while peer.ended.is_none() {
        far.refresh_traffic_keys().unwrap();
        let mut ciphertext = Vec::new();
        peer::write(&mut far, &mut ciphertext);
        peer.say(&ciphertext);
        let _ = read_all(&mut far, &std::mem::take(&mut peer.heard));
        updates += 1;
        assert!(updates < 1000, "TLS-03: a thousand key updates");
    }
    assert!(updates > 20, "some are well: {updates}");
    let mut far = client(client_config());
    let mut peer = opened(&mut far);
    for _ in 0..200 {
        far.refresh_traffic_keys().unwrap();
        assert_eq!(talk(&mut peer, &mut far, b"x"), b"x");
    }
}

/// TLS-03.
#[test]
fn renegotiation_is_refused() {
    let mut far = client_of(&[&version::TLS12]);
    let mut peer = opened(&mut far);
    // Ciphertext that was never sent so: a second ClientHello in the clear.
    let mut hello = Vec::new();
    peer::write(&mut client_of(&[&version::TLS12]), &mut hello);
    peer.say(&hello);
    assert_eq!(peer.ended.unwrap().fault, Fault::Peer);
}

/// TLS-04.
#[test]
fn a_close_at_any_state_ends_the_connection_once_and_nothing_spins() {
    let close = [0x15, 3, 3, 0, 2, 1, 0];
    // Before anything: not what a connection begins with.
    let mut peer = Peer::new(inbound(Limits::default()));
    peer.say(&close);
    assert!(peer.ended.is_some());
    // After the ClientHello, and after a part of it.
    let mut hello = Vec::new();
    peer::write(&mut client(client_config()), &mut hello);
    for (split, times) in [(hello.len(), 1), (hello.len(), 3), (hello.len() / 2, 1)] {
        let mut peer = Peer::new(inbound(Limits::default()));
        peer.open();
        peer.say(&hello[..split]);
        (0..times).for_each(|_| peer.say(&close));
        // Within the hello it is a part of that.
        let whole = split == hello.len();
        assert_eq!(peer.ended.is_some() || peer.chain.has_ended(), whole, "{split}");
        peer.say(&[0; 1000]);
        assert!(!peer.chain.is_paused() && peer.got().is_empty());
    }
    // The far end of ours.
    let mut peer = Peer::new(outbound(Limits::default(), true));
    peer.open();
    // Nobody has agreed on keys: anybody may have said it. It counts for little, and only so often.
    peer.say(&close);
    assert!(peer.ended.is_none() && !peer.chain.has_ended() && peer.chain.poll_timeout().is_some());
    (0..4).for_each(|_| peer.say(&close));
    assert!(peer.ended.is_some());
}

/// TLS-04.
#[test]
fn who_has_said_all_still_hears_the_rest() {
    for version in [&version::TLS12, &version::TLS13] {
        let mut far = client_of(&[version]);
        let mut peer = opened(&mut far);
        let mut ciphertext = Vec::new();
        peer::say(&mut far, b"last", &mut ciphertext);
        far.send_close_notify();
        peer::write(&mut far, &mut ciphertext);
        ciphertext.extend(b"junk behind the end");
        peer.say(&ciphertext);
        assert!(peer.chain.has_ended() && peer.ended.is_none(), "{:?}", peer.ended);
        assert!(!peer.chain.is_paused());
        assert_eq!(peer.got(), b"last");
        // What is taken after the end is thrown away.
        peer.say(&ciphertext);
        assert_eq!(peer.got(), b"last");
        peer.close();
        assert_eq!(peer::read(&mut far, &peer.heard), b"last");
        let state = far.process_new_packets().unwrap();
        assert!(state.peer_has_closed(), "our end is said as well");
    }
}

#[test]
fn the_end_is_said_once_and_behind_everything() {
    let mut far = client(client_config());
    let mut peer = opened(&mut far);
    let mut ciphertext = Vec::new();
    peer::say(&mut far, &[9; 50_000], &mut ciphertext);
    // Nothing of the echo has gone out when the connection is closed.
    let now = peer.now;
    peer.chain.on_data(&ciphertext, &mut crtmp_media::Env { now, random: &mut |_| {} }).unwrap();
    peer.close();
    let said = std::mem::take(&mut peer.heard);
    assert_eq!(peer::read(&mut far, &said), [9; 50_000]);
    assert!(far.process_new_packets().unwrap().peer_has_closed());
    peer.close();
    assert!(peer.heard.is_empty(), "once");
}

#[test]
fn what_waits_within_is_bounded_and_small_writes_share_records() {
    let mut far = client(client_config());
    let mut peer = opened(&mut far);
    let now = peer.now;
    let mut ciphertext = Vec::new();
    for _ in 0..400 {
        peer::say(&mut far, &[1; 100], &mut ciphertext);
    }
    peer.chain.on_data(&ciphertext, &mut crtmp_media::Env { now, random: &mut |_| {} }).unwrap();
    let queue = peer.chain.send().unwrap();
    let sent = queue.slices().collect::<Vec<_>>().concat();
    assert!(sent.len() < 40_000 + 400, "{} bytes for 40000", sent.len());
    assert!(sent.len() <= BUFFER);
    queue.advance(sent.len());
    assert_eq!(peer::read(&mut far, &sent), [1; 40_000]);
}

/// TLS-08.
#[test]
fn the_private_key_is_used_only_with_leave() {
    let mut far = client(client_config());
    let mut hello = Vec::new();
    peer::write(&mut far, &mut hello);
    for size in [1, 100, usize::MAX] {
        let mut peer = Peer::new(inbound(Limits::default()));
        peer.chain.set_grants(0);
        peer.open();
        hello.chunks(size).for_each(|piece| peer.say(piece));
        assert!(peer.chain.is_denied() && peer.chain.is_paused() && peer.heard.is_empty());
        peer.turn();
        assert!(peer.heard.is_empty(), "asking again costs nothing");
        peer.chain.set_grants(1);
        peer.turn();
        assert!(!peer.heard.is_empty() && !peer.chain.is_paused() && peer.chain.grants() == 0);
    }
    // It goes on from there.
    let mut far = client(client_config());
    let mut hello = Vec::new();
    peer::write(&mut far, &mut hello);
    let mut peer = Peer::new(inbound(Limits::default()));
    peer.chain.set_grants(0);
    peer.open();
    peer.say(&hello);
    peer.chain.set_grants(1);
    peer.turn();
    let answer = std::mem::take(&mut peer.heard);
    assert!(peer::read(&mut far, &answer).is_empty());
    peer.shake(&mut far, usize::MAX);
    assert!(peer.is_open());
}

#[test]
fn a_certificate_is_looked_at_only_with_leave() {
    for size in [1, 100, usize::MAX] {
        let mut far = server(server_config());
        let mut peer = Peer::new(outbound(Limits::default(), true));
        peer.chain.set_grants(0);
        peer.open();
        assert!(!peer.heard.is_empty(), "what it begins with costs little");
        let hello = std::mem::take(&mut peer.heard);
        assert!(peer::read(&mut far, &hello).is_empty());
        let mut flight = Vec::new();
        peer::write(&mut far, &mut flight);
        flight.chunks(size).for_each(|piece| peer.say(piece));
        assert!(peer.chain.is_denied() && peer.chain.is_paused() && peer.heard.is_empty());
        peer.chain.set_grants(1);
        peer.turn();
        assert!(!peer.heard.is_empty() && !peer.chain.is_paused() && peer.chain.grants() == 0);
    }
}

#[test]
fn a_layer_needs_what_is_prepared_for_it() {
    let now = std::time::Instant::now();
    assert!(crate::layer::Tls::inbound(&LayerSettings::default(), now).is_err());
    assert!(crate::layer::Tls::outbound(&LayerSettings::default()).is_err());
}
