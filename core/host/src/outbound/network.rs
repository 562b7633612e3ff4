//! Networks and ranges of ports, as a configuration writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The bits of an IPv6 address before the IPv4 address that it maps.
const MAPPED: u8 = 96;

/// All addresses with the same beginning: `10.0.0.0/8`, `fd00::/8`, or a single address.
///
/// An IPv4 address is the same one however it is written, so that `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && beginning(address, self.prefix) == self.first
    }

    const fn is_single(&self) -> bool {
        self.prefix == bits(self.first)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork::Unreadable)?;
        let prefix = match prefix {
            None => bits(address),
            Some(digits) => number(digits)
                .and_then(|prefix| u8::try_from(prefix).ok())
                .filter(|prefix| *prefix <= bits(address))
                .ok_or(NotANetwork::Unreadable)?,
        };
        let (address, prefix) = match address.to_canonical() {
            mapped if mapped != address => {
                (mapped, prefix.checked_sub(MAPPED).ok_or(NotANetwork::Unreadable)?)
            }
            address => (address, prefix),
        };
        let first = beginning(address, prefix);
        let network = Self { first, prefix };
        if first == address { Ok(network) } else { Err(NotANetwork::Inside(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.is_single() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: NotANetwork| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &error.to_string().as_str())
        })
    }
}

/// What should have been there instead of a text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// Neither an address nor a network.
    #[error("an IP address, or a network such as \"10.0.0.0/8\" or \"fd00::/8\"")]
    Unreadable,
    /// An address within a network, and the network.
    #[error("a network by its first address, here \"{0}\"")]
    Inside(Network),
}

/// A port, or all from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    from: u16,
    to: u16,
}

impl Ports {
    /// A single port.
    pub const fn one(port: u16) -> Self {
        Self { from: port, to: port }
    }

    /// All from one to another, both with them.
    pub const fn range(from: u16, to: u16) -> Self {
        Self { from, to }
    }

    /// Whether a port belongs to them.
    pub const fn contains(&self, port: u16) -> bool {
        self.from <= port && port <= self.to
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.from == self.to { serializer.serialize_u16(self.from) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ports;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port from 1 to 65535, or a range such as \"8000-8999\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
                let range = text.split_once('-').and_then(|(from, to)| {
                    let (from, to) = (port(number(from)?)?, port(number(to)?)?);
                    (from <= to).then_some(Ports { from, to })
                });
                range.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Ports, E> {
                port(value)
                    .map(Ports::one)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Ports, E> {
                let read = u64::try_from(value).ok().and_then(port).map(Ports::one);
                read.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with nothing but its first bits.
fn beginning(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

/// Digits and nothing else: the library takes a sign as well.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn port(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    #[test]
    fn networks_are_told_from_what_is_none() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::/0", "::/0"),
            ("fe80::/10", "fe80::/10"),
            ("::1/128", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown, "{text}");
            assert_eq!(from_value::<Network>(to_value(network).unwrap()).unwrap(), network);
        }
        for text in [
            "",
            "/",
            "a",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/95",
            "fe80::%1/10",
            "localhost",
            "10.0.0.0/99999999999999999999",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork::Unreadable), "{text}");
        }
        let inside = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert_eq!(inside.to_string(), "a network by its first address, here \"10.0.0.0/8\"");
        assert!("fe80::1/10".parse::<Network>().is_err());
    }

    #[test]
    fn a_network_has_its_first_and_last_address_and_not_their_neighbours() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "::ffff:10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("172.16.0.0/12", ["172.16.0.0", "172.31.255.255"], ["172.15.255.255", "172.32.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
            ("::/0", ["::", "ffff::1"], ["1.1.1.1", "::ffff:1.1.1.1"]),
            ("fe80::/10", ["fe80::", "febf::1"], ["fe7f::1", "fec0::"]),
            ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::", "::2"]),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(inside.iter().all(|address| network.contains(address.parse().unwrap())), "{network}");
            assert!(!outside.iter().any(|address| network.contains(address.parse().unwrap())), "{network}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let read = |value: Value| from_value::<Ports>(value);
        for (value, from, to) in [
            (json!(1), 1, 1),
            (json!(65535), 65535, 65535),
            (json!("1-65535"), 1, 65535),
            (json!("80-80"), 80, 80),
        ] {
            let ports = read(value.clone()).unwrap();
            assert!(ports.contains(from) && ports.contains(to));
            assert!(!from.checked_sub(1).is_some_and(|port| ports.contains(port)), "{value}");
            assert!(!to.checked_add(1).is_some_and(|port| ports.contains(port)), "{value}");
            assert_eq!(read(to_value(ports).unwrap()).unwrap(), ports);
        }
        for value in [
            json!(0),
            json!(65536),
            json!(-1),
            json!(1.5),
            json!("80"),
            json!("0-5"),
            json!("5-65536"),
            json!("9-8"),
            json!("-"),
            json!("1-"),
            json!("+1-2"),
            json!("1-2-3"),
            json!(""),
            json!(true),
            json!([1]),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
