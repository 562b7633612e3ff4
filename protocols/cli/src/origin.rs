//! Tells requests of programs, and of the server's own pages, from those of strangers' web pages.
//!
//! A browser sends what a page asks it to, to any address that it can reach, so that being reachable from this
//! machine alone is no protection. What the page cannot change gives it away: `Origin` and `Sec-Fetch-Site`. A page
//! whose name leads to this machine (DNS rebinding) is of the same origin as the request; there `Host` gives it
//! away, for it is the page's own name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crtmp_media::HttpHead;

/// Names that a server is known by, besides its addresses and `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    known: Vec<Authority>,
}

impl Hosts {
    /// These names; one with a port is known at that port alone.
    ///
    /// # Errors
    ///
    /// The first that is no name of a host.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let parse = |name: &str| {
            let expected = "expected a name like media.example or media.example:8443";
            Authority::parse(name).ok_or_else(|| format!("found {name:?}, {expected}"))
        };
        Ok(Self { known: names.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Checks that no page of a stranger has sent this request.
    ///
    /// # Errors
    ///
    /// Why the request is refused, in words.
    pub fn check(&self, head: &HttpHead) -> Result<(), String> {
        let mut given = all(head, "host");
        let (Some(host), None) = (given.next(), given.next()) else {
            return Err("the request needs one Host".to_owned());
        };
        let Some(host) = Authority::parse(host).filter(|host| self.knows(host)) else {
            return Err(
                "Host is neither an address nor localhost nor among the `hosts` of the acceptor".to_owned()
            );
        };
        if all(head, "origin").any(|origin| !is_same(origin, &host)) {
            return Err("the request comes from a web page of another origin".to_owned());
        }
        if all(head, "sec-fetch-site").any(|site| !["same-origin", "none"].contains(&site)) {
            return Err("the request comes from a web page of another site".to_owned());
        }
        Ok(())
    }

    fn knows(&self, host: &Authority) -> bool {
        match &host.host {
            Host::Address(_) => true,
            Host::Name(name) if name == "localhost" => true,
            Host::Name(_) => {
                let at = |known: &Authority| known.port.is_none() || known.port == host.port;
                self.known.iter().any(|known| known.host == host.host && at(known))
            }
        }
    }
}

/// All values of the header `name`.
pub(crate) fn all<'a>(head: &'a HttpHead, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.trim())
}

/// A host and, where it is said, its port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.into()), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if name.is_empty() || !name.bytes().all(plain) {
                    return None;
                }
                let address = name.parse::<Ipv4Addr>().map(|address| Host::Address(address.into()));
                (address.unwrap_or_else(|_| Host::Name(name.to_ascii_lowercase())), port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// The same without a port that goes without saying.
    fn without(self, port: u16) -> Self {
        Self { port: self.port.filter(|said| *said != port), ..self }
    }
}

/// Whether the page of this origin came from this host and port, whatever the scheme.
fn is_same(origin: &str, host: &Authority) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    Authority::parse(authority).is_some_and(|page| page.without(default) == host.clone().without(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&str, &str)]) -> Option<String> {
        let head = HttpHead::request("POST", "/version");
        let head = headers.iter().fold(head, |head, (name, value)| head.with(name, *value));
        Hosts::new(["media.example", "Other.example:8443"]).unwrap().check(&head).err()
    }

    /// WEB-02.
    #[test]
    fn hosts_are_addresses_or_known() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7777",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:7777",
            "localhost",
            "LocalHost:1",
            "media.example",
            "MEDIA.example:7777",
            "other.example:8443",
        ] {
            assert_eq!(refused(&[("host", host)]), None, "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "attacker.example:7777",
            "localhost.attacker.example",
            "other.example",
            "other.example:7777",
            "localhost.",
            "127.0.0.1.attacker.example",
            "127.1",
            "2130706433",
            "[::1",
            "::1",
            "[::1]x",
            "localhost:",
            "localhost:99999",
            "localhost:+1",
            "a@localhost",
            "localhost/x",
            "localhost, media.example",
            "lоcalhost",
        ] {
            assert!(refused(&[("host", host)]).is_some_and(|why| why.contains("Host")), "{host}");
        }
        assert!(refused(&[]).is_some());
        assert!(refused(&[("host", "localhost"), ("host", "localhost")]).is_some());
    }

    #[test]
    fn what_is_no_name_of_a_host_is_not_taken() {
        for name in ["", "https://media.example", "media.example/", "*", "media.example:x"] {
            assert!(Hosts::new([name]).unwrap_err().contains("expected a name"), "{name}");
        }
    }

    /// WEB-02.
    #[test]
    fn pages_of_others_are_refused() {
        let with = |host, name, value| refused(&[("host", host), (name, value)]);
        for (host, origin) in [
            ("localhost:7777", "http://localhost:7777"),
            ("localhost:7777", "https://LOCALHOST:7777"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("localhost", "https://localhost:443"),
            ("[::1]:7777", "http://[0:0::1]:7777"),
        ] {
            assert_eq!(with(host, "origin", origin), None, "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost:7777", "http://localhost"),
            ("localhost:7777", "http://localhost:8888"),
            ("localhost:7777", "http://127.0.0.1:7777"),
            ("localhost:7777", "http://attacker.example"),
            ("localhost:7777", "null"),
            ("localhost:7777", ""),
            ("localhost:7777", "localhost:7777"),
            ("localhost:7777", "http://localhost:7777/"),
            ("localhost", "http://localhost:443"),
        ] {
            assert!(with(host, "origin", origin).is_some(), "{host} {origin}");
        }
        let both = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://a.example")];
        assert!(refused(&both).is_some());
        for (site, good) in
            [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false), ("", false)]
        {
            assert_eq!(with("localhost", "sec-fetch-site", site).is_none(), good, "{site}");
        }
    }
}
