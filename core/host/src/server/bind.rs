//! Opening ports.

use std::net::{SocketAddr, TcpListener};

use crate::config::{ApplicationAcceptor, ConfigError, Configuration};

/// A port that is open and not yet served.
#[derive(Debug)]
pub struct Bound {
    /// The acceptor that it was opened for.
    pub wanted: ApplicationAcceptor,
    /// Where it listens; the real port, not 0.
    pub address: SocketAddr,
    /// The socket.
    pub listener: TcpListener,
}

/// Opens the ports of all acceptors.
///
/// # Errors
///
/// Every port that cannot be opened; those that could are closed again.
pub fn bind(configuration: &Configuration) -> Result<Vec<Bound>, Vec<ConfigError>> {
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for (index, application) in configuration.applications.list.iter().enumerate() {
        for (number, acceptor) in application.acceptors.iter().enumerate() {
            let path = format!("configuration.applications[{}].acceptors[{}]", index + 1, number + 1);
            let wanted =
                ApplicationAcceptor { application: application.name.clone(), acceptor: acceptor.clone() };
            match bind_one(wanted, &path) {
                Ok(one) => bound.push(one),
                Err(error) => errors.push(*error),
            }
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// Opens one port; `path` is the place of the acceptor in the configuration.
pub(super) fn bind_one(wanted: ApplicationAcceptor, path: &str) -> Result<Bound, Box<ConfigError>> {
    let address = wanted.acceptor.address();
    let opened = crtmp_reactor::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    match opened {
        Ok((address, listener)) => Ok(Bound { wanted, address, listener }),
        Err(error) => {
            let (key, suggestion) = match error.kind() {
                std::io::ErrorKind::AddrInUse => (
                    "port",
                    "another program, or a second copy of this one, listens there: end it or choose another port",
                ),
                std::io::ErrorKind::PermissionDenied => {
                    ("port", "ports below 1024 need root (see --uid) or CAP_NET_BIND_SERVICE")
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    ("ip", "no interface of this machine has this address")
                }
                _ => ("ip", "see `ip address` for the addresses of this machine"),
            };
            let expected = "an address that can be listened at";
            let found = format!("{address}: {error}");
            Err(Box::new(ConfigError::new(format!("{path}.{key}"), found, expected).suggest(suggestion)))
        }
    }
}
