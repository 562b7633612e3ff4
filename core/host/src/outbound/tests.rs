//! SSRF-01: the policy over everything that somebody might want the server to connect to.

use std::{
    net::IpAddr,
    sync::{Mutex, mpsc},
};

use super::*;
use crate::web::testing::PATIENCE;

fn policy(change: impl FnOnce(&mut OutboundPolicy)) -> Policy {
    let mut rules = OutboundPolicy::default();
    change(&mut rules);
    Policy::new(rules)
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

fn is_admitted(policy: &Policy, origin: Origin, address: &str, port: u16) -> bool {
    policy.admit(origin, vec![at(address, port)]).is_ok()
}

#[test]
fn schemes_that_the_server_does_not_speak_are_refused_whoever_asks() {
    let all = policy(|_| ());
    let few = policy(|rules| rules.schemes = vec!["rtmp".to_owned()]);
    for origin in [Origin::Configuration, Origin::Request] {
        for scheme in ["http", "https", "rtmp", "RTMP"] {
            assert_eq!(all.check_scheme(scheme, origin), Ok(()), "{scheme}");
            assert_eq!(few.check_scheme(scheme, origin).is_ok(), scheme.eq_ignore_ascii_case("rtmp"));
        }
        for scheme in ["file", "concat", "gopher", "dict", "ftp", "rtmpx", "", "rtmp:", " rtmp"] {
            assert!(all.check_scheme(scheme, origin).is_err(), "{scheme}");
        }
    }
}

#[test]
fn requests_lead_to_the_public_internet_and_the_configuration_leads_to_neighbours_too() {
    let policy = policy(|_| ());
    for address in ["1.1.1.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"] {
        assert!(is_admitted(&policy, Origin::Request, address, 1935), "{address}");
        assert!(is_admitted(&policy, Origin::Configuration, address, 1935), "{address}");
    }
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
    ] {
        assert!(!is_admitted(&policy, Origin::Request, address, 1935), "{address}");
        assert!(is_admitted(&policy, Origin::Configuration, address, 1935), "{address}");
    }
    // Where clouds hand out credentials.
    for address in [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ] {
        assert!(!is_admitted(&policy, Origin::Request, address, 80), "{address}");
        assert!(!is_admitted(&policy, Origin::Configuration, address, 80), "{address}");
    }
}

#[test]
fn allow_lets_requests_in_and_deny_wins() {
    let policy = policy(|rules| {
        rules.allow = networks(&["10.0.0.0/8", "127.0.0.1", "::1", "0.0.0.0/1"]);
        rules.deny = networks(&["10.6.0.0/16", "1.1.1.0/24", "2606:4700::/32"]);
    });
    for (address, request, configuration) in [
        ("10.0.0.1", true, true),
        ("::ffff:10.0.0.1", true, true),
        ("10.5.255.255", true, true),
        ("10.6.0.0", false, false),
        ("10.6.255.255", false, false),
        ("10.7.0.0", true, true),
        // A gateway leads there, and it is not what was allowed.
        ("64:ff9b::10.0.0.1", false, true),
        ("64:ff9b::10.6.0.1", false, false),
        ("127.0.0.1", true, true),
        ("127.0.0.2", true, true),
        ("::1", true, true),
        ("::2", false, true),
        ("192.168.0.1", false, true),
        ("1.1.1.1", false, false),
        ("64:ff9b::1.1.1.1", false, false),
        ("1.1.2.1", true, true),
        ("2606:4700::1", false, false),
    ] {
        assert_eq!(is_admitted(&policy, Origin::Request, address, 1935), request, "{address}");
        assert_eq!(is_admitted(&policy, Origin::Configuration, address, 1935), configuration, "{address}");
    }
}

#[test]
fn ports_bind_everybody_and_denied_ones_requests() {
    let usual = policy(|_| ());
    for port in [22, 25, 53, 79, 81, 442, 444, 445, 1023, 2375, 3306, 5432, 6379, 11211, 27017] {
        assert!(!is_admitted(&usual, Origin::Request, "1.1.1.1", port), "{port}");
        assert!(is_admitted(&usual, Origin::Configuration, "1.1.1.1", port), "{port}");
    }
    for port in [80, 443, 1024, 1935, 8080, 8443, 65535] {
        assert!(is_admitted(&usual, Origin::Request, "1.1.1.1", port), "{port}");
    }
    let few = policy(|rules| {
        rules.ports = vec![Ports::one(22), Ports::range(1935, 1940)];
        rules.deny_ports = vec![Ports::one(1936)];
    });
    for (port, request, configuration) in [
        (0, false, false),
        (22, true, true),
        (80, false, false),
        (1934, false, false),
        (1935, true, true),
        (1936, false, true),
        (1940, true, true),
        (1941, false, false),
    ] {
        assert_eq!(is_admitted(&few, Origin::Request, "1.1.1.1", port), request, "{port}");
        assert_eq!(is_admitted(&few, Origin::Configuration, "1.1.1.1", port), configuration, "{port}");
    }
    assert!(!is_admitted(&usual, Origin::Configuration, "1.1.1.1", 0));
}

#[test]
fn one_address_that_is_refused_refuses_the_name() {
    let policy = policy(|_| ());
    let public = vec![at("1.1.1.1", 80), at("2606:4700::1", 80)];
    assert_eq!(policy.admit(Origin::Request, public.clone()), Ok(public));
    let mixed = vec![at("1.1.1.1", 80), at("::ffff:10.0.0.1", 80)];
    let private = Refused::Private { address: "10.0.0.1".parse().unwrap() };
    assert_eq!(policy.admit(Origin::Request, mixed.clone()), Err(private));
    assert_eq!(policy.admit(Origin::Configuration, mixed.clone()), Ok(mixed));
    assert_eq!(policy.admit(Origin::Configuration, Vec::new()), Err(Refused::Nowhere));
    // All are judged, also those that would not be tried.
    for count in [TRIED - 1, TRIED, TRIED + 1] {
        let mut many = vec![at("1.1.1.1", 80); count];
        assert_eq!(policy.admit(Origin::Request, many.clone()).unwrap().len(), count.min(TRIED));
        many.push(at("127.0.0.1", 80));
        assert!(policy.admit(Origin::Request, many).is_err());
    }
}

#[test]
fn a_refusal_says_what_and_why_and_what_to_do() {
    let policy = policy(|rules| rules.ports = vec![Ports::range(22, 1935)]);
    let text =
        |address: &str, port| policy.admit(Origin::Request, vec![at(address, port)]).unwrap_err().to_string();
    let told = [
        policy.check_scheme("gopher\n", Origin::Request).unwrap_err().to_string(),
        text("1.1.1.1", 8080),
        text("1.1.1.1", 22),
        text("169.254.169.254", 80),
        text("127.0.0.1", 80),
    ];
    assert_eq!(
        told,
        [
            &*format!(
                "the scheme \"gopher\\n\" is not one of outboundPolicy.schemes ({})",
                OutboundPolicy::SCHEMES.join(", ")
            ),
            "port 8080 is not one of outboundPolicy.ports; add it there if the server shall connect to it",
            "port 22 is one of outboundPolicy.denyPorts, which no request may lead to; set denyPorts without it to \
             allow that",
            "the address 169.254.169.254 is one of 169.254.0.0/16 in outboundPolicy.deny; set deny without that to \
             allow it",
            "the address 127.0.0.1 is not of the public Internet, and a request may lead there only if \
             outboundPolicy.allow lists it",
        ]
    );
}

/// A name server that says something else each time it is asked.
#[test]
fn the_addresses_that_are_judged_are_the_ones_to_connect_to() {
    let answers = Mutex::new(vec!["127.0.0.1", "127.0.0.1", "1.1.1.1"]);
    let resolver = Resolver::with(move |_| Ok(vec![at(answers.lock().unwrap().pop().unwrap(), 0)]));
    let outbound = Outbound { resolver, ..Outbound::default() };
    let find = || {
        let (tell, told) = mpsc::channel();
        outbound.find(Origin::Request, "a.example:1935", PATIENCE, move |found| tell.send(found).unwrap());
        told.recv_timeout(PATIENCE).unwrap()
    };
    assert_eq!(find(), Ok(vec![at("1.1.1.1", 1935)]));
    assert!(matches!(find(), Err(NotFound::Refused(Refused::Private { .. }))));
}

/// Whatever spells an address: the one that would be connected to is judged.
#[test]
fn no_spelling_and_no_name_leads_around_the_policy() {
    let outbound = Outbound::new(OutboundPolicy::default());
    let find = |origin, name: &str| {
        let (tell, told) = mpsc::channel();
        outbound.find(origin, name, PATIENCE, move |found| tell.send(found).unwrap());
        told.recv_timeout(PATIENCE).unwrap()
    };
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0",
        "0.0.0.0",
    ] {
        let found = find(Origin::Request, &format!("{host}:1935"));
        assert!(matches!(found, Err(NotFound::Refused(Refused::Private { .. }))), "{host}: {found:?}");
        assert!(find(Origin::Configuration, &format!("{host}:1935")).is_ok(), "{host}");
    }
    for host in ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"] {
        for origin in [Origin::Request, Origin::Configuration] {
            let found = find(origin, &format!("{host}:80"));
            assert!(matches!(found, Err(NotFound::Refused(Refused::Denied { .. }))), "{host}: {found:?}");
        }
    }
    assert!(matches!(find(Origin::Request, "host.invalid:80"), Err(NotFound::Unresolved(_))));
    // A reload counts at once, for everybody who has the policy.
    let allow = networks(&["127.0.0.0/8", "::1"]);
    outbound.clone().policy.set(OutboundPolicy { allow, ..OutboundPolicy::default() });
    assert!(find(Origin::Request, "localhost:1935").is_ok());
    assert!(find(Origin::Request, "0.0.0.0:1935").is_err());
}
