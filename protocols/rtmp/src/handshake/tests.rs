#[cfg(feature = "digest")]
use super::digest::Maker;
use super::*;

fn random(seed: u8) -> [u8; RANDOM] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(167).wrapping_add(seed))
}

fn kinds() -> Vec<HandshakeKind> {
    let digests = Scheme::ALL.map(HandshakeKind::Digest);
    [&[HandshakeKind::Simple][..], &digests].concat()
}

/// C0 and C1 of a client, and a server that has answered them with the other.
fn begin(kind: HandshakeKind, validate: bool) -> (ClientHandshake, ServerHandshake, Vec<u8>) {
    let client = ClientHandshake::new(kind, &random(1));
    let mut server = ServerHandshake::new(validate, &random(2));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.start(&mut up);
    assert_eq!(server.input(&up, &mut down), Ok((1 + PACKET, false)));
    assert_eq!(down.len(), 1 + 2 * PACKET);
    (client, server, down)
}

#[test]
fn client_and_server_agree_on_each_kind() {
    for kind in kinds() {
        let (mut client, mut server, down) = begin(kind, true);
        let mut c2 = Vec::new();
        assert_eq!(client.input(&down, &mut c2), Ok((down.len(), true)));
        assert_eq!(server.input(&c2, &mut Vec::new()), Ok((PACKET, true)));
        assert_eq!((client.agreed(), server.agreed()), (kind, Some(kind)));
    }
}

#[cfg(feature = "digest")]
#[test]
fn s2_answers_the_digest_of_c1() {
    for scheme in Scheme::ALL {
        let (client, _, down) = begin(HandshakeKind::Digest(scheme), true);
        let (_, of_client) = Maker::Player.find(&client.own_packet()).unwrap();
        let s2: &Packet = down[1 + PACKET..].try_into().unwrap();
        assert!(Maker::Server.answers(s2, &of_client));
    }
}

/// HS-04.
#[test]
fn versions_below_32_are_answered_with_3() {
    for version in (0..32).filter(|version| ![6, 8, 9, TLS].contains(version)) {
        let mut out = Vec::new();
        let mut c0c1 = vec![0; 1 + PACKET];
        c0c1[0] = version;
        ServerHandshake::new(false, &random(0)).input(&c0c1, &mut out).unwrap();
        assert_eq!(out[0], 3);
    }
}

/// HS-05, HS-13.
#[test]
fn other_protocols_are_told_apart_by_the_first_byte() {
    let first = |byte| ServerHandshake::new(false, &random(0)).input(&[byte], &mut Vec::new());
    for byte in [6, 8, 9] {
        assert_eq!(first(byte), Err(HandshakeError::Encrypted(byte)));
    }
    for byte in [TLS, 0x20, 0x47, 0x50, 0x80, 0xFF] {
        assert_eq!(first(byte), Err(HandshakeError::NotRtmp(byte)));
    }
}

/// HS-06: any damage to a digest C1 leads to the simple handshake, whatever is validated.
#[test]
fn a_wrong_digest_falls_back_to_simple() {
    for kind in kinds() {
        let mut up = Vec::new();
        ClientHandshake::new(kind, &random(1)).start(&mut up);
        up[1 + 1400] ^= 1;
        let (mut server, mut down) = (ServerHandshake::new(true, &random(2)), Vec::new());
        server.input(&up, &mut down).unwrap();
        assert_eq!(server.agreed(), Some(HandshakeKind::Simple));
        assert_eq!(down[1..9], [0; 8]);
        assert_eq!(down[1 + PACKET + 8..], up[9..], "S2 echoes the random bytes of C1");
        assert_eq!(server.input(&[0xEE; PACKET], &mut down), Ok((PACKET, true)));
    }
}

/// HS-07.
#[cfg(feature = "digest")]
#[test]
fn digest_offsets_at_their_extremes_stay_in_range() {
    for scheme in Scheme::ALL {
        for offset in [[0; 4], [255; 4], [182, 182, 182, 181], [182; 4], [255, 255, 217, 0]] {
            let mut random = random(3);
            random[..4].copy_from_slice(&offset);
            random[764..768].copy_from_slice(&offset);
            let kind = HandshakeKind::Digest(scheme);
            let mut up = Vec::new();
            ClientHandshake::new(kind, &random).start(&mut up);
            let mut server = ServerHandshake::new(true, &random);
            server.input(&up, &mut Vec::new()).unwrap();
            assert_eq!(server.agreed(), Some(kind));
        }
    }
}

/// HS-09: what follows C2 is left to the caller, and a wrong C2 passes.
#[test]
fn pipelined_bytes_are_not_taken() {
    for kind in kinds() {
        let mut up = Vec::new();
        ClientHandshake::new(kind, &random(1)).start(&mut up);
        up.extend_from_slice(&[0; PACKET]);
        up.extend_from_slice(b"chunks");
        let mut server = ServerHandshake::new(false, &random(2));
        assert_eq!(server.input(&up, &mut Vec::new()), Ok((up.len() - 6, true)));
        assert_eq!(server.input(b"chunks", &mut Vec::new()), Ok((0, true)));
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_answer() {
    for kind in kinds() {
        let (mut client, mut server, whole) = begin(kind, true);
        let mut c2 = Vec::new();
        client.input(&whole, &mut c2).unwrap();
        server.input(&c2, &mut Vec::new()).unwrap();

        let mut server = ServerHandshake::new(true, &random(2));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        ClientHandshake::new(kind, &random(1)).start(&mut up);
        up.extend_from_slice(&c2);
        for (at, byte) in up.iter().enumerate() {
            let done = at + 1 == up.len();
            assert_eq!(server.input(&[*byte], &mut down), Ok((1, done)));
        }
        assert_eq!(down, whole);
    }
}

#[cfg(feature = "digest")]
#[test]
fn only_a_wrong_answer_to_a_digest_is_refused_and_only_if_wanted() {
    let scheme = HandshakeKind::Digest(Scheme::DigestFirst);
    let answer = |kind, validate, change: fn(&mut [u8])| {
        let (mut client, mut server, down) = begin(kind, validate);
        let mut c2 = Vec::new();
        client.input(&down, &mut c2).unwrap();
        change(&mut c2);
        server.input(&c2, &mut Vec::new())
    };
    let damage: fn(&mut [u8]) = |c2| c2[1535] ^= 1;
    assert_eq!(answer(scheme, true, damage), Err(HandshakeError::WrongAnswer));
    assert_eq!(answer(scheme, false, damage), Ok((PACKET, true)));
    assert_eq!(answer(HandshakeKind::Simple, true, damage), Ok((PACKET, true)));
}

/// Some clients sign C1 and then echo S1.
#[cfg(feature = "digest")]
#[test]
fn an_echo_of_s1_is_a_good_answer_to_a_digest() {
    let (_, mut server, down) = begin(HandshakeKind::Digest(Scheme::KeyFirst), true);
    let mut c2 = down[1..1 + PACKET].to_vec();
    c2[4..8].copy_from_slice(&[0, 0, 1, 2]);
    assert_eq!(server.input(&c2, &mut Vec::new()), Ok((PACKET, true)));
}

#[cfg(feature = "digest")]
impl ClientHandshake {
    fn own_packet(&self) -> Packet {
        let mut up = Vec::new();
        self.start(&mut up);
        up[1..].try_into().unwrap()
    }
}
