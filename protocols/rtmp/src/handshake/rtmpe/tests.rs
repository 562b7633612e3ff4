use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

fn random(seed: u8) -> [u8; RANDOM] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(167).wrapping_add(seed))
}

/// The exponent of a number, with the bit that [`Exponent::new`] sets.
fn exponent(number: u16) -> [u8; EXPONENT] {
    let mut bytes = [0; EXPONENT];
    bytes[EXPONENT - 2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// C0 and C1 of any client.
fn hello(version: u8, player: [u8; 4], scheme: Scheme, key: &Key) -> Vec<u8> {
    let mut packet = new_packet(player, &random(1));
    put_key(&mut packet, scheme, key);
    Maker::Player.sign(&mut packet, scheme);
    [&[version][..], &packet[..]].concat()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The next bytes of both key streams: what comes in, what goes out.
fn streams(ciphers: &mut Ciphers) -> [[u8; 8]; 2] {
    let (mut incoming, mut outgoing) = ([0; 8], [0; 8]);
    ciphers.decrypt(&mut incoming);
    ciphers.encrypt(&mut outgoing);
    [incoming, outgoing]
}

/// What a server and a client of these exponents agree on, and what they said on the way.
fn agree(client: &[u8; EXPONENT], server: &[u8; EXPONENT]) -> (Vec<u8>, [[u8; 8]; 2]) {
    let mut client = EncryptedHandshake::client(&random(1), client);
    let mut server = EncryptedHandshake::server(true, &random(2), server);
    let (mut up, mut down, mut c2) = (Vec::new(), Vec::new(), Vec::new());
    client.start(&mut up);
    assert!(matches!(server.input(&up, &mut down), Ok((1537, None))));
    let (used, ciphers) = client.input(&down, &mut c2).unwrap();
    assert_eq!(used, down.len());
    let [client_in, client_out] = streams(&mut ciphers.unwrap());
    let (used, ciphers) = server.input(&c2, &mut Vec::new()).unwrap();
    assert_eq!(used, PACKET);
    let [server_in, server_out] = streams(&mut ciphers.unwrap());
    assert_eq!((client_in, client_out), (server_out, server_in));
    ([up, down, c2].concat(), [server_in, server_out])
}

/// Computed by another implementation, which has nothing of ours but the constants.
#[test]
fn a_whole_handshake_is_as_others_have_it() {
    let (said, [to_server, to_client]) = agree(&[1; EXPONENT], &[2; EXPONENT]);
    let (up, rest) = said.split_at(1 + PACKET);
    let (down, c2) = rest.split_at(1 + 2 * PACKET);
    assert_eq!((up[0], down[0]), (6, 8));
    assert_eq!(hash(up), "835c499d0cc956f07314b075bbc2ed9b4eb08475484b3063e0bf6329cbde9eac");
    assert_eq!(hash(down), "7685fdb2b589981ab67a6e9138b832b9b11015d32c2be92790972eb0b1daa819");
    assert_eq!(hash(c2), "7514c9f4a532a212aff310c42d16a9a548ed57b583876802e68af5d11c0c0bf6");
    assert_eq!(to_server, [0x8E, 0xA1, 0x84, 0xC1, 0x21, 0x56, 0xDB, 0x63]);
    assert_eq!(to_client, [0x50, 0x4B, 0x07, 0x21, 0x8F, 0xC2, 0x8D, 0x64]);
}

#[test]
fn older_players_are_answered_in_their_version_and_scheme() {
    const PLAYER_9: [u8; 4] = [9, 0, 124, 2];
    let key = Exponent::new(&[1; EXPONENT]).public_key();
    for (version, player, scheme, answered, expected) in [
        (
            6,
            PLAYER_9,
            Scheme::KeyFirst,
            6,
            "012f9eb2c7c83a3787f1767fb50a6a32664fe88d9efb803d07b22ef54d145d18",
        ),
        (
            6,
            PLAYER_9,
            Scheme::DigestFirst,
            6,
            "2e85153b3fb4804755fad04483eb77a385e51e3e6c84e2126339232e0b928fd3",
        ),
        (
            8,
            PLAYER_9,
            Scheme::KeyFirst,
            8,
            "6d74389da4b2dd432a27629d831b9b11dbe8613d16cd80b588e2ec24d1d1045c",
        ),
        (
            8,
            PLAYER_9,
            Scheme::DigestFirst,
            8,
            "d75061b498ca861259eb8f2cc07ce2dd831e5dbb368bd2594099e73c7fdbd49d",
        ),
        (
            6,
            PLAYER_10,
            Scheme::DigestFirst,
            8,
            "a9e92718d1efbc0598a511d99c6ed285d9005c78dfcf77ce6e570ed2359f5a03",
        ),
    ] {
        let mut server = EncryptedHandshake::server(true, &random(2), &[2; EXPONENT]);
        let mut down = Vec::new();
        server.input(&hello(version, player, scheme, &key), &mut down).unwrap();
        assert_eq!((down[0], hash(&down).as_str()), (answered, expected), "{version} {scheme:?}");
        let s1 = down[1..1 + PACKET].try_into().unwrap();
        let (_, of_server) = Maker::Server.find(s1).unwrap();
        let c2 = answer_to(Maker::Player, answered, s1, &of_server);
        assert!(server.input(&c2, &mut Vec::new()).unwrap().1.is_some());
    }
}

/// HS-08: numbers that are shorter than others keep their leading zeros; a side that drops them has other ciphers.
#[test]
fn keys_and_secrets_with_leading_zeros_are_padded() {
    let zero = |number| Exponent::new(&exponent(number)).public_key()[0] == 0;
    assert!(zero(1649) && zero(2599) && !zero(11) && !zero(135));
    for (client, server) in [(1649, 11), (11, 1649), (1649, 2599), (1, 135), (135, 1)] {
        let of_server = Exponent::new(&exponent(server)).public_key();
        let secret = Exponent::new(&exponent(client)).secret_with(&of_server).unwrap();
        assert_eq!(secret[0] == 0, [(1649, 11), (11, 1649), (1, 135), (135, 1)].contains(&(client, server)));
        let (said, _) = agree(&exponent(client), &exponent(server));
        let c1 = said[1..1 + PACKET].try_into().unwrap();
        assert_eq!(key_of(c1, SCHEME), Exponent::new(&exponent(client)).public_key());
    }
}

/// HS-08: with these keys everybody knows the secret, or they are no keys at all.
#[test]
fn weak_keys_are_refused_by_both_sides() {
    let number = |last: u8| {
        let mut key = [0; KEY];
        key[KEY - 1] = last;
        key
    };
    let prime = exchange::prime;
    let near_prime = |less: u8| {
        let mut key = prime();
        key[KEY - 1] -= less;
        key
    };
    let ones = [0xFF; KEY];
    for (key, good) in [
        (number(0), false),
        (number(1), false),
        (number(2), true),
        (near_prime(2), true),
        (near_prime(1), false),
        (prime(), false),
        (ones, false),
    ] {
        let mut server = EncryptedHandshake::server(true, &random(2), &[2; EXPONENT]);
        let mut down = Vec::new();
        let result = server.input(&hello(6, PLAYER_10, Scheme::KeyFirst, &key), &mut down);
        assert_eq!(result.err(), (!good).then_some(HandshakeError::WeakKey));
        assert_eq!(down.is_empty(), !good, "nothing is said to who is refused");

        let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
        let mut s1 = new_packet(SERVER_VERSION, &random(2));
        put_key(&mut s1, Scheme::KeyFirst, &key);
        Maker::Server.sign(&mut s1, Scheme::KeyFirst);
        let result = client.input(&[&[8][..], &s1[..]].concat(), &mut Vec::new());
        assert_eq!(result.err(), (!good).then_some(HandshakeError::WeakKey));
    }
}

#[test]
fn what_is_not_rtmpe_is_told_apart_by_the_first_byte() {
    for (byte, expected) in [
        (3, HandshakeError::NotEncrypted(3)),
        (0, HandshakeError::NotEncrypted(0)),
        (9, HandshakeError::Blowfish),
        (TLS, HandshakeError::NotRtmp(TLS)),
        (b'P', HandshakeError::NotRtmp(b'P')),
    ] {
        let server =
            EncryptedHandshake::server(true, &random(2), &[2; EXPONENT]).input(&[byte], &mut Vec::new());
        assert_eq!(server.err(), Some(expected));
        let client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]).input(&[byte], &mut Vec::new());
        assert_eq!(client.err(), Some(expected));
    }
}

#[test]
fn without_a_digest_there_is_no_key() {
    let key = Exponent::new(&[1; EXPONENT]).public_key();
    let mut hello = hello(6, PLAYER_10, Scheme::KeyFirst, &key);
    hello[1400] ^= 1;
    let mut server = EncryptedHandshake::server(false, &random(2), &[2; EXPONENT]);
    assert_eq!(server.input(&hello, &mut Vec::new()).err(), Some(HandshakeError::NoDigest));
    let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
    assert_eq!(client.input(&[6; 1 + PACKET], &mut Vec::new()).err(), Some(HandshakeError::NoDigest));
}

#[test]
fn a_wrong_answer_is_refused_only_if_wanted_and_an_echo_never() {
    for (validate, damage, good) in
        [(true, true, false), (false, true, true), (true, false, true), (false, false, true)]
    {
        let mut server = EncryptedHandshake::server(validate, &random(2), &[2; EXPONENT]);
        let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
        let (mut up, mut down, mut c2) = (Vec::new(), Vec::new(), Vec::new());
        client.start(&mut up);
        server.input(&up, &mut down).unwrap();
        client.input(&down, &mut c2).unwrap();
        c2[PACKET - 1] ^= u8::from(damage);
        let result = server.input(&c2, &mut Vec::new());
        assert_eq!(result.err(), (!good).then_some(HandshakeError::WrongAnswer));
    }
    let mut server = EncryptedHandshake::server(true, &random(2), &[2; EXPONENT]);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    EncryptedHandshake::client(&random(1), &[1; EXPONENT]).start(&mut up);
    server.input(&up, &mut down).unwrap();
    assert!(server.input(&down[1..1 + PACKET], &mut Vec::new()).unwrap().1.is_some());
}

/// Of either version; servers that are no more than an echo are taken.
#[test]
fn a_server_whose_answer_is_wrong_is_refused() {
    let server = |client: &EncryptedHandshake, version| {
        let mut s1 = new_packet(SERVER_VERSION, &random(2));
        put_key(&mut s1, Scheme::DigestFirst, &Exponent::new(&[2; EXPONENT]).public_key());
        Maker::Server.sign(&mut s1, Scheme::DigestFirst);
        let s2 = answer_to(Maker::Server, version, &client.own, &SCHEME.digest_of(&client.own));
        ([&[version][..], &s1[..]].concat(), s2)
    };
    for version in [ENCRYPTED, SIGNED] {
        for (at, good) in
            [(None, true), (Some(0), false), (Some(PACKET - DIGEST - 1), false), (Some(PACKET - 1), false)]
        {
            let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
            let (begin, mut s2) = server(&client, version);
            if let Some(at) = at {
                s2[at] ^= 1;
            }
            let result = client.input(&[&begin[..], &s2[..]].concat(), &mut Vec::new());
            assert_eq!(result.err(), (!good).then_some(HandshakeError::WrongAnswer), "{version} {at:?}");
        }
        // Signed for the other version.
        let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
        let (begin, _) = server(&client, version);
        let (_, s2) = server(&client, ENCRYPTED + SIGNED - version);
        let result = client.input(&[&begin[..], &s2[..]].concat(), &mut Vec::new());
        assert_eq!(result.err(), Some(HandshakeError::WrongAnswer));
        let mut client = EncryptedHandshake::client(&random(1), &[1; EXPONENT]);
        let (begin, _) = server(&client, version);
        let echo = *client.own;
        assert!(client.input(&[&begin[..], &echo[..]].concat(), &mut Vec::new()).unwrap().1.is_some());
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_and_what_follows_is_not_taken() {
    let (said, [expected, _]) = agree(&[1; EXPONENT], &[2; EXPONENT]);
    let (up, rest) = said.split_at(1 + PACKET);
    let (whole, c2) = rest.split_at(1 + 2 * PACKET);
    let mut server = EncryptedHandshake::server(true, &random(2), &[2; EXPONENT]);
    let mut down = Vec::new();
    for (at, byte) in up.iter().enumerate() {
        assert_eq!(server.costly_after(), Some(up.len() - at));
        assert!(matches!(server.input(&[*byte], &mut down), Ok((1, None))));
    }
    assert_eq!((server.costly_after(), &down[..]), (None, whole));
    let (used, ciphers) = server.input(&[c2, b"chunks"].concat(), &mut down).unwrap();
    assert_eq!((used, streams(&mut ciphers.unwrap())[0]), (PACKET, expected));
    assert!(matches!(server.input(b"chunks", &mut down), Ok((0, None))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the numbers are, both sides agree.
    #[test]
    fn any_two_sides_agree(client in any::<[u8; EXPONENT]>(), server in any::<[u8; EXPONENT]>()) {
        agree(&client, &server);
    }

    /// FFmpeg looks for the server's key in one place when it plays and in another when it publishes.
    #[test]
    fn the_key_of_a_server_is_in_both_places_and_the_digest_is_valid(
        random in prop::collection::vec(any::<u8>(), RANDOM),
        digest_at in prop::option::of(0..728_usize),
    ) {
        let mut random: [u8; RANDOM] = random.try_into().unwrap();
        if let Some(at) = digest_at {
            let offsets = [at.min(255), (at.max(255) - 255).min(255), at.max(510) - 510, 0].map(|sum| sum as u8);
            random[764..768].copy_from_slice(&offsets);
        }
        let key = Exponent::new(&[3; EXPONENT]).public_key();
        let mut packet = new_packet(SERVER_VERSION, &random);
        put_key(&mut packet, Scheme::KeyFirst, &key);
        put_second_key(&mut packet, &key);
        Maker::Server.sign(&mut packet, Scheme::KeyFirst);
        prop_assert_eq!(Maker::Server.find(&packet).map(|(scheme, _)| scheme), Some(Scheme::KeyFirst));
        prop_assert_eq!(key_of(&packet, Scheme::KeyFirst), key);
        prop_assert_eq!(key_of(&packet, Scheme::DigestFirst), key);
    }
}
