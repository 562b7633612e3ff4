//! Whether a connection may go somewhere.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    Network, Origin,
    address::{is_public, wrapped},
};
use crate::config::{OutboundPolicy, quoted};

/// The most addresses of a name that are tried.
pub const TRIED: usize = 8;

/// The policy in force; clones are handles to the same one, and a reload sets it for all of them.
#[derive(Clone, Debug)]
pub struct Policy(Arc<RwLock<Arc<OutboundPolicy>>>);

impl Policy {
    /// This one.
    pub fn new(rules: OutboundPolicy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// From now on this one. What is connected stays so.
    pub fn set(&self, rules: OutboundPolicy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Whether a URL of this scheme may be followed at all, in whatever case it is written.
    ///
    /// # Errors
    ///
    /// If not.
    pub fn check_scheme(&self, scheme: &str, origin: Origin) -> Result<(), Refused> {
        self.rules().check_scheme(scheme, origin)
    }

    /// The addresses of one name that may be connected to, in the order in which they came: the first [`TRIED`] of them,
    /// if every single one is allowed. One that is not refuses the name: who mixes them tries a trick.
    ///
    /// # Errors
    ///
    /// Which of them may not, and what would allow it.
    pub fn admit(&self, origin: Origin, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let rules = self.rules();
        if addresses.is_empty() {
            return Err(Refused::Nowhere);
        }
        for address in &addresses {
            rules.check_address(origin, *address)?;
        }
        Ok(addresses.into_iter().take(TRIED).collect())
    }

    fn rules(&self) -> Arc<OutboundPolicy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OutboundPolicy {
    /// See [`Policy::check_scheme`].
    ///
    /// # Errors
    ///
    /// If it may not be followed.
    pub fn check_scheme(&self, scheme: &str, _: Origin) -> Result<(), Refused> {
        if self.schemes.iter().any(|allowed| allowed.eq_ignore_ascii_case(scheme)) {
            return Ok(());
        }
        Err(Refused::Scheme { scheme: scheme.to_owned(), allowed: self.schemes.clone() })
    }

    /// Whether a URL may be followed, as far as that can be told without looking a name up: its scheme, its port, and
    /// the address where it names one.
    ///
    /// # Errors
    ///
    /// What is in the way.
    pub fn check(&self, scheme: &str, host_and_port: &str, origin: Origin) -> Result<(), Refused> {
        self.check_scheme(scheme, origin)?;
        if let Ok(address) = host_and_port.parse() {
            return self.check_address(origin, address);
        }
        let port = host_and_port.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.map_or(Ok(()), |port| self.check_port(origin, port))
    }

    /// Whether one address and port may be connected to.
    ///
    /// # Errors
    ///
    /// What is in the way.
    pub fn check_address(&self, origin: Origin, to: SocketAddr) -> Result<(), Refused> {
        self.check_port(origin, to.port())?;
        let address = to.ip().to_canonical();
        let inner = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => wrapped(address).map(IpAddr::from),
        };
        let leads_to = |network: &&Network| {
            network.contains(address) || inner.is_some_and(|inner| network.contains(inner))
        };
        if let Some(network) = self.deny.iter().find(leads_to) {
            return Err(Refused::Denied { address, network: *network });
        }
        let allowed = || self.allow.iter().any(|network| network.contains(address));
        match origin {
            Origin::Request if !is_public(address) && !allowed() => Err(Refused::Private { address }),
            Origin::Request | Origin::Configuration => Ok(()),
        }
    }

    /// Whether a port may be connected to, whatever the address.
    ///
    /// # Errors
    ///
    /// What is in the way.
    pub fn check_port(&self, origin: Origin, port: u16) -> Result<(), Refused> {
        if port == 0 || !(self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(port))) {
            return Err(Refused::Port { port });
        }
        if origin == Origin::Request && self.deny_ports.iter().any(|ports| ports.contains(port)) {
            return Err(Refused::DeniedPort { port });
        }
        Ok(())
    }
}

/// Why a connection may not go somewhere, and what would allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The scheme is none of those that are allowed.
    #[error(
        "the scheme {} is not one of outboundPolicy.schemes ({})",
        quoted(scheme),
        allowed.join(", ")
    )]
    Scheme {
        /// What was asked for.
        scheme: String,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// The port is none of those that are allowed.
    #[error("port {port} is not one of outboundPolicy.ports; add it there if the server shall connect to it")]
    Port {
        /// The port.
        port: u16,
    },
    /// The port is one that requests may not lead to.
    #[error(
        "port {port} is one of outboundPolicy.denyPorts, which no request may lead to; set denyPorts without it to allow \
         that"
    )]
    DeniedPort {
        /// The port.
        port: u16,
    },
    /// The address is one that nothing may lead to.
    #[error(
        "the address {address} is one of {network} in outboundPolicy.deny; set deny without that to allow it"
    )]
    Denied {
        /// The address.
        address: IpAddr,
        /// What it belongs to.
        network: Network,
    },
    /// The address is not of the public Internet.
    #[error(
        "the address {address} is not of the public Internet, and a request may lead there only if outboundPolicy.allow \
         lists it"
    )]
    Private {
        /// The address.
        address: IpAddr,
    },
    /// There is no address at all.
    #[error("the name has no address")]
    Nowhere,
}
