//! The header of the PROXY protocol, versions 1 and 2, as HAProxy's specification of 2020 has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header that is read. Version 1 has 107 at most; version 2 says how many follow, and what its senders
/// add of their own stays far below.
pub(super) const LONGEST: usize = 4096;

/// What is known of a header once all of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its bytes; what follows them is the peer's.
    pub(super) length: usize,
    /// For whom the connection was made; none: for nobody (LOCAL), or it is not said (UNKNOWN).
    pub(super) source: Option<SocketAddr>,
}

/// Reads the header that a connection begins with; none: more of it has to come.
///
/// # Errors
///
/// Why it is none.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    if begins(bytes, &SIGNATURE) {
        return if bytes.len() < SIGNATURE.len() { Ok(None) } else { read_binary(bytes) };
    }
    if begins(bytes, TEXT) {
        return if bytes.len() < TEXT.len() { Ok(None) } else { read_text(bytes) };
    }
    Err("it begins otherwise")
}

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const TEXT: &[u8] = b"PROXY ";

/// Bytes of version 1, with the end of the line.
const LONGEST_TEXT: usize = 107;

/// Bytes of version 2 before its addresses.
const FIXED: usize = 16;

/// Whether `bytes` begin as `with`, as far as they go.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, expected)| byte == expected)
}

fn read_text(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let window = &bytes[..bytes.len().min(LONGEST_TEXT)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < LONGEST_TEXT { Ok(None) } else { Err("the line has no end") };
    };
    let line = std::str::from_utf8(&window[TEXT.len()..end]).map_err(|_| "the line is no text")?;
    let length = end + 2;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        // Whatever follows means nothing.
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let is_v4 = family == "TCP4";
            let address = |text: &str| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == is_v4);
            let (Some(ip), Some(_)) = (address(source), address(target)) else {
                return Err("the line has an address that is none");
            };
            let (Some(port), Some(_)) = (port(source_port), port(target_port)) else {
                return Err("the line has a port that is none");
            };
            Some(SocketAddr::new(ip, port))
        }
        _ => return Err("the line has other words"),
    };
    Ok(Some(Header { length, source }))
}

/// Digits alone, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
}

fn read_binary(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err("it has another version than 2");
    }
    if length > LONGEST {
        return Err("it is longer than 4096 bytes");
    }
    let is_local = match command & 15 {
        0 => true,
        1 => false,
        _ => return Err("it has a command that there is not"),
    };
    let needed = match family {
        TCP4 => 12,
        TCP6 => 36,
        // Not said, or a socket that has no address here.
        UNSPECIFIED | UNIX => 0,
        _ if is_local => 0,
        _ => return Err("it is of no TCP connection"),
    };
    if !is_local && length < FIXED + needed {
        return Err("it has no room for its addresses");
    }
    let Some(addresses) = bytes.get(FIXED..length) else { return Ok(None) };
    // Type-length-values may follow the addresses: nobody here wants to know.
    let source = match (family, addresses) {
        _ if is_local => None,
        (TCP4, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d).into();
            Some(SocketAddr::new(ip, u16::from_be_bytes([*high, *low])))
        }
        (TCP6, [source @ .., _, _, _, _]) => source.first_chunk::<16>().map(|ip| {
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            SocketAddr::new(Ipv6Addr::from(*ip).into(), port)
        }),
        _ => None,
    };
    Ok(Some(Header { length, source }))
}

/// Families with their kind of transport.
const UNSPECIFIED: u8 = 0;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

/// Any bytes: a header needs exactly its bytes, more change nothing, and fewer are never one.
pub(super) fn fuzz(data: &[u8]) {
    match read(data) {
        Ok(Some(header)) => {
            assert!((1..=LONGEST).contains(&header.length) && header.length <= data.len());
            assert_eq!(read(&data[..header.length]), Ok(Some(header)));
            for cut in 0..header.length {
                assert_eq!(read(&data[..cut]), Ok(None), "{cut}");
            }
        }
        Ok(None) => assert!(data.len() < LONGEST),
        Err(why) => assert_eq!(read(&[data, &[0; 64]].concat()), Err(why), "more does not mend it"),
    }
}

#[cfg(test)]
mod tests {
    use crtmp_corpus::Corpus;
    use proptest::prelude::*;

    use super::*;

    crtmp_corpus::tests!(corpus);

    fn corpus() -> Corpus {
        let seeds = [
            ("text_4", b"PROXY TCP4 192.0.2.1 127.0.0.1 50000 1935\r\n\x03".to_vec()),
            ("text_6", b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n\x03".to_vec()),
            ("text_unknown", b"PROXY UNKNOWN whatever this is\r\n\x03".to_vec()),
            ("binary_4", binary(0x21, TCP4, &[192, 0, 2, 1, 127, 0, 0, 1, 0xC3, 0x50, 7, 0x8F])),
            (
                "binary_6",
                binary(0x21, TCP6, &[&[0x20; 16][..], &[1; 16], &[0, 1, 0, 2, 4, 0, 1, 9]].concat()),
            ),
            ("binary_local", binary(0x20, UNSPECIFIED, &[])),
            (
                "binary_and_more",
                binary(0x21, TCP4, &[192, 0, 2, 1, 127, 0, 0, 1, 0xC3, 0x50, 7, 0x8F, 4, 0, 1, 0]),
            ),
            ("binary_unix", binary(0x21, UNIX, &[b'/'; 216])),
            ("binary_datagrams", binary(0x21, 0x12, &[0; 12])),
            ("binary_too_long", [&SIGNATURE[..], &[0x21, TCP6, 0xFF, 0xFF]].concat()),
            ("text_leading_zero", b"PROXY TCP4 192.0.2.1 127.0.0.1 01 1935\r\n".to_vec()),
            ("text_without_end", [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat()),
        ];
        Corpus {
            package: env!("CARGO_MANIFEST_DIR"),
            targets: vec![("proxy_header", crate::fuzz_proxy_header)],
            seeds: seeds.map(|(name, seed)| (format!("proxy_header/{name}"), seed)).to_vec(),
            inserts: &[b"\r\n", b" "],
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn source(bytes: &[u8]) -> Result<Option<String>, &'static str> {
        let header = read(bytes)?.expect("all has come");
        assert_eq!(header.length, bytes.len());
        Ok(header.source.map(|source| source.to_string()))
    }

    #[test]
    fn version_1_says_the_peer() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 50000 1935\r\n", Ok(Some("192.0.2.1:50000"))),
            ("PROXY TCP6 2001:db8::7 ::1 1 0\r\n", Ok(Some("[2001:db8::7]:1"))),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Ok(None)),
            ("PROXY TCP4 192.0.2.1 ::1 1 2\r\n", Err("the line has an address that is none")),
            ("PROXY TCP6 192.0.2.1 ::1 1 2\r\n", Err("the line has an address that is none")),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n", Err("the line has a port that is none")),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n", Err("the line has a port that is none")),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n", Err("the line has a port that is none")),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", Err("the line has other words")),
            ("PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n", Err("the line has other words")),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", Err("the line has other words")),
            ("PROXY \r\n", Err("the line has other words")),
        ] {
            assert_eq!(source(line.as_bytes()), expected.map(|text| text.map(str::to_owned)), "{line}");
        }
    }

    #[test]
    fn version_1_has_107_bytes_at_most() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(source(line(106).as_bytes()), Ok(None));
        assert_eq!(source(line(107).as_bytes()), Ok(None));
        assert_eq!(read(line(108).as_bytes()), Err("the line has no end"));
        assert_eq!(read(&line(108).as_bytes()[..106]), Ok(None));
    }

    #[test]
    fn version_2_says_the_peer_and_what_it_adds_is_passed_over() {
        let v4 = [192, 0, 2, 1, 127, 0, 0, 1, 0xC3, 0x50, 7, 0x8F];
        let v6 = [&[0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[9; 16], &[0, 5, 0, 6]]
            .concat();
        let more = |addresses: &[u8]| [addresses, &[4, 0, 3, 1, 2, 3]].concat();
        for (command, family, rest, expected) in [
            (0x21, TCP4, v4.to_vec(), Ok(Some("192.0.2.1:50000"))),
            (0x21, TCP4, more(&v4), Ok(Some("192.0.2.1:50000"))),
            (0x21, TCP6, v6.clone(), Ok(Some("[2001:db8::7]:5"))),
            (0x21, TCP6, more(&v6), Ok(Some("[2001:db8::7]:5"))),
            (0x20, UNSPECIFIED, vec![], Ok(None)),
            (0x20, TCP4, vec![], Ok(None)),
            (0x20, 0x99, v4.to_vec(), Ok(None)),
            (0x21, UNSPECIFIED, vec![1, 2, 3], Ok(None)),
            (0x21, UNIX, vec![7; 216], Ok(None)),
            (0x21, TCP4, v4[..11].to_vec(), Err("it has no room for its addresses")),
            (0x21, TCP6, v6[..35].to_vec(), Err("it has no room for its addresses")),
            (0x21, 0x12, v4.to_vec(), Err("it is of no TCP connection")),
            (0x11, TCP4, v4.to_vec(), Err("it has another version than 2")),
            (0x22, TCP4, v4.to_vec(), Err("it has a command that there is not")),
        ] {
            let bytes = binary(command, family, &rest);
            assert_eq!(source(&bytes), expected.map(|text| text.map(str::to_owned)), "{command} {family}");
        }
    }

    #[test]
    fn version_2_has_4096_bytes_at_most() {
        for (length, good) in [(LONGEST - 1, true), (LONGEST, true), (LONGEST + 1, false)] {
            assert_eq!(read(&binary(0x20, UNSPECIFIED, &vec![0; length - FIXED])).is_ok(), good, "{length}");
        }
    }

    #[test]
    fn what_is_no_header_is_told_by_its_first_wrong_byte() {
        for bytes in [&b"\x03"[..], b"PRO.", b"GET / HTTP/1.1\r\n", b"\r\n\r\n\0\r\nQUIT\r", b"PROXY\t"] {
            assert_eq!(read(bytes), Err("it begins otherwise"));
        }
        assert_eq!(read(b""), Ok(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_keep_the_invariants(
            begin in prop::sample::select(vec![&b""[..], TEXT, b"PROXY TCP4 ", &SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            fuzz(&[begin, &rest].concat());
        }

        #[test]
        fn any_peer_is_read_by_both_versions(source_ip in any::<IpAddr>(), port in any::<u16>(), target in any::<u16>()) {
            let peer = SocketAddr::new(source_ip, port);
            let (family, local, code, addresses) = match source_ip {
                IpAddr::V4(ip) => ("TCP4", "127.0.0.1", TCP4, [&ip.octets()[..], &[127, 0, 0, 1]].concat()),
                IpAddr::V6(ip) => ("TCP6", "::1", TCP6, [&ip.octets()[..], &[0; 16]].concat()),
            };
            let line = format!("PROXY {family} {source_ip} {local} {port} {target}\r\n");
            prop_assert_eq!(source(line.as_bytes()), Ok(Some(peer.to_string())));
            let rest = [&addresses[..], &port.to_be_bytes(), &target.to_be_bytes()].concat();
            prop_assert_eq!(source(&binary(0x21, code, &rest)), Ok(Some(peer.to_string())));
        }
    }
}
