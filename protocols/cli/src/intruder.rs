//! Tells other protocols from a command line, by their first bytes.
//!
//! A web page can make a browser send a request to any port, with commands in its body. So whoever begins with HTTP
//! or TLS gets nothing run.

/// Methods whose request is known by the beginning of its target.
const METHODS: &[&[u8]] =
    &[b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PRI"];

/// The protocol that `start`, the beginning of a first line, belongs to, if it is known to be another than ours.
///
/// Once it is known, more bytes do not change it.
pub fn intruder(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(&[0x16, 0x03]) {
        return Some("TLS");
    }
    looks_like_http(start).then_some("HTTP")
}

fn looks_like_http(start: &[u8]) -> bool {
    let mut words = start.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    if method.is_empty() || target.is_empty() || !method.iter().copied().all(is_token) {
        return false;
    }
    let known = METHODS.iter().any(|known| known.eq_ignore_ascii_case(method));
    let web = matches!(target.first(), Some(b'/' | b'*'))
        || target.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http"));
    known && web || words.next().is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Whether a method may hold it (RFC 9110, §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_tls_are_known_and_stay_known() {
        for (line, at) in [
            (&b"GET / HTTP/1.1"[..], 5),
            (b"POST /x", 6),
            (b"options *", 9),
            (b"GET http://a/ HTTP/1.1", 8),
            (b"BREW coffee HTTP/1.1", 17),
            (b"CONNECT a:1 HTTP/1.1", 17),
            (b"PRI * HTTP/2.0", 5),
            (&[0x16, 0x03, 0x01, 0x02, 0x00], 2),
        ] {
            for end in 0..=line.len() {
                assert_eq!(intruder(&line[..end]).is_some(), end >= at, "{:?} {end}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn commands_are_none_of_them() {
        for line in [
            "version",
            "get streams",
            "pullStream uri=http://a/b HTTP=1",
            "GET uri=http://a",
            "kick id=7 reason=a b HTTP/1.1",
            " GET / HTTP/1.1",
            "",
        ] {
            assert_eq!(intruder(line.as_bytes()), None, "{line}");
        }
    }
}
