//! Where the server may connect to by itself.

use serde::{Deserialize, Serialize};

use super::validate::Check;
use super::{Configuration, did_you_mean, quoted};
use crate::outbound::{Network, Ports};

const PATH: &str = "configuration.outboundPolicy";

/// The table `outboundPolicy`: what every connection that the server makes by itself must comply with.
///
/// `schemes`, `ports` and `deny` hold for all of them. `denyPorts` and `allow` are about those that somebody else than
/// the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct OutboundPolicy {
    /// The schemes of URLs that are followed.
    pub schemes: Vec<String>,
    /// The ports that are connected to; none: all.
    pub ports: Vec<Ports>,
    /// Ports that requests may not lead to.
    pub deny_ports: Vec<Ports>,
    /// Addresses that requests may lead to although they are not of the public Internet.
    pub allow: Vec<Network>,
    /// Addresses that nothing may lead to, whatever `allow` says.
    pub deny: Vec<Network>,
}

impl OutboundPolicy {
    /// The schemes that there are.
    pub const SCHEMES: [&str; 8] = ["http", "https", "rtmp", "rtmpe", "rtmps", "rtmpt", "rtmpte", "rtmpts"];
    /// The longest of its lists, in entries.
    pub const ENTRIES: usize = 256;

    /// Ports that requests may not lead to, where the configuration says nothing: of services that are not for media
    /// and act on what they are sent. Those of the system (22 for instance) but for HTTP, and of data stores, remote
    /// desktops and the control of machines.
    pub const DENY_PORTS: [Ports; 21] = [
        Ports::range(1, 79),
        Ports::range(81, 442),
        Ports::range(444, 1023),
        Ports::one(1433),
        Ports::one(1521),
        Ports::one(2049),
        Ports::range(2375, 2380),
        Ports::one(3306),
        Ports::one(3389),
        Ports::one(5432),
        Ports::range(5900, 5909),
        Ports::one(5984),
        Ports::one(5985),
        Ports::range(6000, 6063),
        Ports::one(6379),
        Ports::one(6443),
        Ports::range(6660, 6669),
        Ports::one(9200),
        Ports::one(10250),
        Ports::one(11211),
        Ports::range(27017, 27019),
    ];

    /// Addresses that nothing may lead to, where the configuration says nothing: link-local ones, and others at which
    /// clouds hand out the credentials of the machine.
    pub const DENY: [&str; 7] = [
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ];
}

impl Default for OutboundPolicy {
    fn default() -> Self {
        Self {
            schemes: Self::SCHEMES.map(str::to_owned).to_vec(),
            ports: Vec::new(),
            deny_ports: Self::DENY_PORTS.to_vec(),
            allow: Vec::new(),
            deny: Self::DENY.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }
}

/// What the types leave open.
pub(super) fn check(check: &mut Check, configuration: &Configuration) {
    let policy = &configuration.outbound_policy;
    for (key, length) in [
        ("schemes", policy.schemes.len()),
        ("ports", policy.ports.len()),
        ("denyPorts", policy.deny_ports.len()),
        ("allow", policy.allow.len()),
        ("deny", policy.deny.len()),
    ] {
        if length > OutboundPolicy::ENTRIES {
            let expected = format!("at most {} entries", OutboundPolicy::ENTRIES);
            check.error(format!("{PATH}.{key}"), length.to_string(), expected);
        }
    }
    for (index, scheme) in policy.schemes.iter().enumerate() {
        let place = format!("{PATH}.schemes[{}]", index + 1);
        let expected = "one of the schemes \"http\", \"https\", \"rtmp\", \"rtmpe\", \"rtmps\", \"rtmpt\", \"rtmpte\" and \"rtmpts\"";
        if OutboundPolicy::SCHEMES.contains(&scheme.as_str()) {
            if policy.schemes[..index].contains(scheme) {
                check.error(place, format!("{} again", quoted(scheme)), "each scheme once");
            }
        } else if let Some(near) = did_you_mean(scheme, OutboundPolicy::SCHEMES) {
            check.error_with(place, quoted(scheme), expected, format!("did you mean {}?", quoted(near)));
        } else {
            check.error(place, quoted(scheme), expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Application, validate};

    fn mistakes(outbound_policy: OutboundPolicy) -> Vec<String> {
        let mut configuration = Configuration { outbound_policy, ..Configuration::default() };
        configuration.applications.list =
            vec![Application { name: "a".into(), default: true, ..Application::default() }];
        validate(&configuration).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_are_whole_and_without_mistakes() {
        let policy = OutboundPolicy::default();
        let deny: Vec<String> = policy.deny.iter().map(ToString::to_string).collect();
        assert_eq!(deny, OutboundPolicy::DENY);
        assert_eq!(mistakes(policy), Vec::<String>::new());
    }

    #[test]
    fn schemes_are_those_that_there_are() {
        let schemes = ["http", "htttp", "gopher", "", "HTTP", "rtmp", "http"].map(str::to_owned).to_vec();
        let expected = "expected one of the schemes \"http\", \"https\", \"rtmp\", \"rtmpe\", \"rtmps\", \"rtmpt\", \"rtmpte\" and \"rtmpts\"";
        assert_eq!(
            mistakes(OutboundPolicy { schemes, ..OutboundPolicy::default() }),
            [
                format!("{PATH}.schemes[2]: found \"htttp\", {expected}; did you mean \"http\"?"),
                format!("{PATH}.schemes[3]: found \"gopher\", {expected}"),
                format!("{PATH}.schemes[4]: found \"\", {expected}"),
                format!("{PATH}.schemes[5]: found \"HTTP\", {expected}; did you mean \"http\"?"),
                format!("{PATH}.schemes[7]: found \"http\" again, expected each scheme once"),
            ]
        );
    }

    #[test]
    fn lists_have_a_limit() {
        for (count, good) in [(255, true), (256, true), (257, false)] {
            let deny = vec!["10.0.0.0/8".parse().unwrap(); count];
            let found = mistakes(OutboundPolicy { deny, ..OutboundPolicy::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
            let ports = vec![Ports::one(80); count];
            let found = mistakes(OutboundPolicy { ports, ..OutboundPolicy::default() });
            assert_eq!(found.is_empty(), good, "{found:?}");
        }
    }
}
