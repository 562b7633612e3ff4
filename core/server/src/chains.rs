//! The tables of protocols, as the host wants them.

use std::{sync::Arc, time::Instant};

use crtmp_host::{config::ChainNames, server::BuildChain};
use crtmp_media::LayerSettings;
use crtmp_registry::{CHAINS, LATER};

/// Calls `with` with the names that an acceptor may have.
pub(crate) fn with_names<T>(with: impl FnOnce(ChainNames<'_>) -> T) -> T {
    let served: Vec<_> = CHAINS.iter().map(|chain| chain.name).collect();
    with(ChainNames { served: &served, later: LATER })
}

/// Makes chains from the tables.
pub(crate) fn builder() -> BuildChain {
    Arc::new(|name: &str, settings: &LayerSettings| crtmp_registry::build(name, settings, Instant::now()))
}
