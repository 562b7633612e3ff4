//! Opening ports.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use crtmp_media::{ChainRow, Outside};

use crate::{
    chains::{Catalogue, Preparations},
    config::{ApplicationAcceptor, ConfigError, Configuration},
    outside::with_outside,
};

/// A port that is open and not yet served.
#[derive(Debug)]
pub struct Bound {
    /// The acceptor that it was opened for.
    pub wanted: ApplicationAcceptor,
    /// Where it listens; the real port, not 0.
    pub address: SocketAddr,
    /// The socket.
    pub listener: TcpListener,
    /// What the layers of its chain have prepared; none: nobody has asked them yet.
    pub prepared: Option<Preparations>,
}

/// Opens the ports of all acceptors, and reads their certificates: like low ports, private keys are often for root only.
/// Chains of plugins are not known yet; what those need is read at the start of the server. Relative names of files start
/// at `folder`.
///
/// # Errors
///
/// Every port that cannot be opened, and every certificate that does not fit; ports that could be opened are closed again.
pub fn bind(
    configuration: &Configuration,
    catalogue: &Catalogue,
    folder: &Path,
) -> Result<Vec<Bound>, Vec<ConfigError>> {
    let mut catalogue = catalogue.clone();
    for (name, layers) in &configuration.chains {
        // What is wrong with it is said when the plugins are there.
        let _ = catalogue.add_chain(ChainRow::new(name.clone(), layers.iter().cloned()));
    }
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for (index, application) in configuration.applications.list.iter().enumerate() {
        for (number, acceptor) in application.acceptors.iter().enumerate() {
            let path = format!("configuration.applications[{}].acceptors[{}]", index + 1, number + 1);
            let wanted =
                ApplicationAcceptor { application: application.name.clone(), acceptor: acceptor.clone() };
            let known = catalogue.has(&acceptor.protocol);
            let prepare =
                |outside: &Outside<'_>| catalogue.prepare(&path, &acceptor.protocol, &acceptor.keys, outside);
            let prepared = known.then(|| with_outside(folder, prepare)).transpose();
            let prepared = prepared.unwrap_or_else(|wrong| {
                errors.extend(wrong);
                None
            });
            match bind_one(wanted, &path) {
                Ok(one) => bound.push(Bound { prepared, ..one }),
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
        Ok((address, listener)) => Ok(Bound { wanted, address, listener, prepared: None }),
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

/// The place of an acceptor in the configuration.
pub(super) fn path_of_acceptor(configuration: &Configuration, wanted: &ApplicationAcceptor) -> String {
    let list = &configuration.applications.list;
    let application = list.iter().position(|other| other.name == wanted.application);
    let acceptor =
        application.and_then(|at| list[at].acceptors.iter().position(|other| *other == wanted.acceptor));
    let number = |index: Option<usize>| index.map_or(0, |index| index + 1);
    format!("configuration.applications[{}].acceptors[{}]", number(application), number(acceptor))
}
