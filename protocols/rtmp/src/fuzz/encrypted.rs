//! RTMPE, of which both sides are fed the same bytes.

use super::split_point;
use crate::handshake::{
    Ciphers, EXPONENT, EncryptedClient, EncryptedServer, HandshakeError, PACKET, RANDOM, is_encrypted,
};

const WHOLE: usize = 1 + 2 * PACKET;

/// What is checked of each side, as `fuzz::handshake` says.
pub(super) fn handshake(data: &[u8]) {
    // Without that there is no way to the exchange, whose arithmetic takes its time.
    if !data.first().is_some_and(|first| is_encrypted(*first)) {
        return;
    }
    for side in [run_server, run_client] {
        let whole = side(&[data]);
        let (first, second) = data.split_at(split_point(data));
        assert_eq!(whole, side(&[first, second]));
        assert_eq!(whole, side(&data.chunks(7).collect::<Vec<_>>()));
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

fn server() -> EncryptedServer {
    EncryptedServer::new(true, &[0x5A; RANDOM], &[2; EXPONENT])
}

fn client() -> EncryptedClient {
    EncryptedClient::new(&[0xA5; RANDOM], &[1; EXPONENT])
}

fn run_server(pieces: &[&[u8]]) -> Handshaken {
    let mut server = server();
    run(pieces, |piece, out| {
        let costly = server.costly_after();
        let result = server.input(piece, out)?;
        let left = costly.and_then(|costly| costly.checked_sub(piece.len())).filter(|left| *left > 0);
        assert_eq!(server.costly_after(), left, "what is costly is announced");
        Ok(result)
    })
}

fn run_client(pieces: &[&[u8]]) -> Handshaken {
    let mut client = client();
    run(pieces, |piece, out| client.input(piece, out))
}

fn run(
    pieces: &[&[u8]],
    mut step: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(usize, Option<Ciphers>), HandshakeError>,
) -> Handshaken {
    let (mut used, mut stream, mut out) = (0, None, Vec::new());
    for piece in pieces {
        let (count, ciphers) = step(piece, &mut out)?;
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
