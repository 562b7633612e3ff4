//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

pub mod peer;

use crtmp_media::Limits;

use peer::{Peer, client, client_config, inbound, outbound, server, server_config};

/// Bytes of ciphertext both ways. The first byte says what they meet: a server that waits for a client, a client that
/// waits for a server, or a connection of either kind that is open, in which the records are then damaged.
pub fn tls(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => raw(data, || Peer::new(inbound(limits()))),
        1 => raw(data, || {
            let mut peer = Peer::new(outbound(limits(), true));
            peer.open();
            peer
        }),
        2 => damaged(data, true),
        _ => damaged(data, false),
    }
}

/// Limits that are soon reached.
fn limits() -> Limits {
    Limits { tls_empty_bytes: 32 * 1024, ..Limits::default() }
}

/// What a peer says that knows nothing of TLS, in several splits: they change nothing.
fn raw(data: &[u8], new: impl Fn() -> Peer) {
    let run = |size: usize| {
        let mut peer = new();
        for piece in data.chunks(size) {
            peer.say(piece);
            check(&peer);
        }
        peer
    };
    let whole = run(usize::MAX);
    assert!(whole.got().is_empty(), "nobody has agreed on a key");
    for size in [1, 7] {
        let other = run(size);
        assert_eq!(whole.ended, other.ended, "in pieces of {size}");
        assert!(other.got().is_empty());
    }
}

/// Content in records, one of whose bytes is another one on its way: what arrives is a beginning of what was said.
fn damaged(data: &[u8], ours_is_server: bool) {
    let Some((place, said)) = data.split_first() else { return };
    let mut peer = Peer::new(if ours_is_server { inbound(limits()) } else { outbound(limits(), true) });
    let mut far = if ours_is_server { client(client_config()) } else { server(server_config()) };
    peer.open();
    peer.shake(&mut far, usize::from(*place) + 1);
    assert!(peer.is_open(), "{:?}", peer.ended);
    let mut ciphertext = Vec::new();
    for part in said.chunks(50) {
        peer::say(&mut far, part, &mut ciphertext);
    }
    far.send_close_notify();
    peer::write(&mut far, &mut ciphertext);
    let at = usize::from(*place) * ciphertext.len() / 256;
    let damages = place % 3 != 0;
    if damages && let Some(byte) = ciphertext.get_mut(at) {
        *byte ^= place | 1;
    }
    let pieces = said.first().map_or(1, |first| usize::from(*first) + 1);
    for piece in ciphertext.chunks(pieces) {
        peer.say(piece);
        check(&peer);
    }
    let got = peer.got();
    assert!(said.starts_with(&got));
    if !damages {
        assert_eq!((said, &peer.ended), (&*got, &None));
        assert!(peer.chain.has_ended());
        // What was said is echoed; the far end can read it all.
        assert_eq!(peer::read(&mut far, &peer.heard), said);
    }
}

/// What holds of a connection whatever comes.
fn check(peer: &Peer) {
    assert!(peer.chain.queued() <= crate::BUFFER, "{} bytes wait", peer.chain.queued());
    assert!(!peer.chain.is_paused(), "nothing waits for anything");
}
