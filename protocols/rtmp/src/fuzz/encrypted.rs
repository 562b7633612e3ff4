//! RTMPE, of which both sides are fed the same bytes.

use super::split_point;
use crate::handshake::{EXPONENT, EncryptedHandshake, HandshakeError, PACKET, RANDOM, is_encrypted};

const WHOLE: usize = 1 + 2 * PACKET;

/// What is checked of each side, as `fuzz::handshake` says.
pub(super) fn handshake(data: &[u8]) {
    // Without that there is no way to the exchange, whose arithmetic takes its time.
    if !data.first().is_some_and(|first| is_encrypted(*first)) {
        return;
    }
    for side in [server, client] {
        let whole = run(side(), &[data]);
        let (first, second) = data.split_at(split_point(data));
        assert_eq!(whole, run(side(), &[first, second]));
        assert_eq!(whole, run(side(), &data.chunks(7).collect::<Vec<_>>()));
        if let Ok((used, stream, _)) = whole {
            assert_eq!(used, data.len().min(WHOLE));
            assert_eq!(stream.is_some(), used == WHOLE);
        }
    }
}

/// What a client and a server say, each with a byte that follows.
#[cfg(test)]
pub(crate) fn seeds() -> (Vec<u8>, Vec<u8>) {
    let (mut server, mut client) = (server(), client());
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.start(&mut up);
    server.input(&up, &mut down).unwrap();
    client.input(&down, &mut up).unwrap();
    up.push(3);
    down.push(3);
    (up, down)
}

/// Bytes taken, the next bytes of both key streams once there are any, and what was said.
type Handshaken = Result<(usize, Option<[[u8; 8]; 2]>, Vec<u8>), HandshakeError>;

fn server() -> EncryptedHandshake {
    EncryptedHandshake::server(true, &[0x5A; RANDOM], &[2; EXPONENT])
}

fn client() -> EncryptedHandshake {
    EncryptedHandshake::client(&[0xA5; RANDOM], &[1; EXPONENT])
}

fn run(mut side: EncryptedHandshake, pieces: &[&[u8]]) -> Handshaken {
    let (mut used, mut stream, mut out) = (0, None, Vec::new());
    for piece in pieces {
        let costly = side.costly_after();
        let (count, ciphers) = side.input(piece, &mut out)?;
        let left = costly.and_then(|costly| costly.checked_sub(piece.len())).filter(|left| *left > 0);
        assert_eq!(side.costly_after(), left, "what is costly is announced");
        used += count;
        if let Some(mut ciphers) = ciphers {
            let (mut incoming, mut outgoing) = ([0; 8], [0; 8]);
            ciphers.decrypt(&mut incoming);
            ciphers.encrypt(&mut outgoing);
            stream = Some([incoming, outgoing]);
        }
        assert!(count == piece.len() || stream.is_some(), "only the end of the handshake leaves bytes");
    }
    Ok((used, stream, out))
}
