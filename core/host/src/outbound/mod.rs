//! Where the server may connect to by itself, and how it finds the addresses of a name without waiting for them.
//!
//! Whatever connects outward asks here: requests over HTTP, connections of applications, what pulls and pushes.
//! [`Outbound::find`] is all that most need. A name is looked up once; the addresses that are judged are those that it
//! gives, and the only ones to connect to: nothing asks for the name again, so that an answer that changes in between
//! changes nothing. Where to start: [`Outbound`], then [`Policy`], [`Resolver`] and [`is_public`].

mod address;
mod network;
mod policy;
mod resolve;

use std::net::SocketAddr;

pub use address::is_public;
pub use network::{Network, Ports};
pub use policy::{Policy, Refused, TRIED};
pub use resolve::{IN_LINE, LOOK_UP_TIMEOUT, LOOK_UPS, LOOK_UPS_OF_ZONE, Patience, Resolver, WAITING};

use crate::config::OutboundPolicy;

/// Who has chosen where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The operator, in the configuration; or an application of the operator's that goes where it goes anyway.
    Configuration,
    /// Anybody else: who has sent a command, a peer whose address a script goes to, a server that answers with a
    /// redirect. Where they may not go, they cannot send the server either.
    Request,
}

/// The policy, and what resolves names; clones are handles to the same ones.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where connections may go.
    pub policy: Policy,
    /// What finds addresses.
    pub resolver: Resolver,
}

impl Outbound {
    /// With this policy, and look-ups of its own.
    pub fn new(policy: OutboundPolicy) -> Self {
        Self { policy: Policy::new(policy), resolver: Resolver::new() }
    }

    /// Finds the addresses of `host:port` that may be connected to, in the order in which to try them, and hands them to
    /// `then`: see [`Resolver::resolve`] and [`Policy::admit`]. The policy is the one in force when the addresses are
    /// known. The scheme is the caller's to check.
    pub fn find(
        &self,
        origin: Origin,
        host_and_port: &str,
        patience: impl Into<Patience>,
        then: impl FnOnce(Result<Vec<SocketAddr>, NotFound>) + Send + 'static,
    ) {
        let policy = self.policy.clone();
        self.resolver.resolve(host_and_port, patience, move |found| {
            then(match found {
                Ok(addresses) => policy.admit(origin, addresses).map_err(NotFound::Refused),
                Err(text) => Err(NotFound::Unresolved(text)),
            });
        });
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new(OutboundPolicy::default())
    }
}

/// Why there is no address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The name has no address, or none in time.
    #[error("{0}")]
    Unresolved(String),
    /// The policy does not let it go there.
    #[error(transparent)]
    Refused(#[from] Refused),
}

#[cfg(test)]
mod tests;
