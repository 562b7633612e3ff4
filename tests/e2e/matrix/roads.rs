//! The ways to the server that lead by a program of others.

use std::net::SocketAddr;

use crtmp_tests::proxies::{Haproxy, Squid, Stunnel};
use crtmp_tests::{Config, Server};

use super::table::{CERTIFICATES, Scheme};

/// What stands between a client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    Squid,
    /// haproxy, which makes a connection to the server for each request.
    Closing,
    /// haproxy, whose clients share its connections to the server.
    Sharing,
    /// haproxy of the first kind, and what passes is encrypted.
    Encrypted,
    /// stunnel with TLS, before a port without.
    Stunnel,
    /// The same, which says by the PROXY protocol who comes.
    Saying,
    /// stunnel at the clients, without TLS, before a port with TLS.
    Towards,
    /// stunnel with TLS, before a port for RTMP in requests of HTTP.
    Https,
}

pub(super) const ROADS: [Road; 8] = [
    Road::Squid,
    Road::Closing,
    Road::Sharing,
    Road::Encrypted,
    Road::Stunnel,
    Road::Saying,
    Road::Towards,
    Road::Https,
];

/// A program that runs.
#[derive(Debug)]
pub(super) enum Proxy {
    Squid(Squid),
    Haproxy(Haproxy),
    Stunnel(Stunnel),
}

impl Road {
    /// What clients speak there.
    pub(super) const fn scheme(self) -> Scheme {
        match self {
            Self::Squid | Self::Closing | Self::Sharing => Scheme::Rtmpt,
            Self::Encrypted => Scheme::Rtmpte,
            Self::Stunnel | Self::Saying => Scheme::Rtmps,
            Self::Towards => Scheme::Rtmp,
            Self::Https => Scheme::Rtmpts,
        }
    }

    /// What the server speaks there.
    const fn behind(self) -> Scheme {
        match self {
            Self::Squid | Self::Closing | Self::Sharing | Self::Https => Scheme::Rtmpt,
            Self::Encrypted => Scheme::Rtmpte,
            Self::Stunnel | Self::Saying => Scheme::Rtmp,
            Self::Towards => Scheme::Rtmps,
        }
    }

    /// What the document calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Squid => "squid",
            Self::Closing | Self::Encrypted => "haproxy, a connection for each request",
            Self::Sharing => "haproxy, shared connections",
            Self::Stunnel => "stunnel before `inboundRtmp`",
            Self::Saying => "the same, with the PROXY protocol",
            Self::Towards => "stunnel at the client, `inboundRtmps`",
            Self::Https => "stunnel before `inboundRtmpt`",
        }
    }

    /// The server's part of the configuration.
    pub(super) fn config(self) -> Config {
        let acceptor = self.behind().acceptor();
        let more = if self == Self::Saying { ", proxyProtocol = { \"127.0.0.1\" }" } else { "" };
        Config::new().workers(4).whole_groups().acceptor(&format!("{acceptor}{more}"))
    }

    /// Starts the program before the server.
    pub(super) fn start(self, server: &Server) -> Proxy {
        let chain = self.behind().chain();
        // The first port is the one for the test's own streams.
        let port =
            server.services().iter().rfind(|service| service.chain == chain).expect("its own port").address;
        match self {
            Self::Squid => Proxy::Squid(Squid::start(port)),
            Self::Closing | Self::Encrypted => {
                Proxy::Haproxy(Haproxy::start(port, "option http-server-close"))
            }
            Self::Sharing => {
                Proxy::Haproxy(Haproxy::start(port, "option http-keep-alive\nhttp-reuse always"))
            }
            Self::Stunnel | Self::Https => Proxy::Stunnel(Stunnel::before(port, &CERTIFICATES, "")),
            Self::Saying => Proxy::Stunnel(Stunnel::before(port, &CERTIFICATES, "protocol = proxy")),
            Self::Towards => Proxy::Stunnel(Stunnel::towards(port)),
        }
    }

    /// Demands that the clients came as this road has them come, by what the log says.
    pub(super) fn assert_taken(self, log: &str) {
        let accepted = format!("chain={}", self.behind().chain());
        let accepted = log.lines().filter(|line| line.contains(" accepted ") && line.contains(&accepted));
        match self {
            Self::Closing | Self::Encrypted => {
                let lines: Vec<&str> = accepted.collect();
                for worker in 0..4 {
                    let worker = format!("worker={worker} ");
                    assert!(lines.iter().any(|line| line.contains(&worker)), "no request came to {worker}");
                }
            }
            Self::Squid | Self::Sharing => assert!(accepted.count() > 1, "all came by one connection"),
            Self::Saying => assert!(log.contains(" proxy=127.0.0.1:"), "nobody said who came"),
            Self::Stunnel | Self::Towards | Self::Https => {}
        }
    }
}

impl Proxy {
    /// Where clients come.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Squid(squid) => squid.accel(),
            Self::Haproxy(haproxy) => haproxy.address(),
            Self::Stunnel(stunnel) => stunnel.address(),
        }
    }
}
