//! Names to addresses, for the library: only those where the policy lets a request go.

use std::{
    fmt,
    sync::mpsc::{self, RecvTimeoutError},
    time::Instant,
};

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::{WebError, send::printable};
use crate::outbound::{NotFound, Origin, Outbound};

/// Finds addresses within the time of the request.
pub(super) struct Guard {
    origin: Origin,
    outbound: Outbound,
}

impl Guard {
    pub(super) fn new(origin: Origin, outbound: Outbound) -> Self {
        Self { origin, outbound }
    }
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (patience, begun) = (*timeout.after, Instant::now());
        let (tell, told) = mpsc::sync_channel(1);
        self.outbound.find(self.origin, &host_and_port(uri), patience, move |found| {
            let _ = tell.send(found);
        });
        let found = match told.recv_timeout(patience) {
            Ok(Ok(found)) => found,
            Ok(Err(NotFound::Refused(refused))) => return Err(other(refused.into())),
            // Whichever of the two clocks was quicker.
            Ok(Err(NotFound::Unresolved(_))) | Err(RecvTimeoutError::Timeout)
                if begun.elapsed() >= patience =>
            {
                return Err(Error::Timeout(timeout.reason));
            }
            Ok(Err(NotFound::Unresolved(text))) => return Err(other(WebError::Resolve(printable(&text)))),
            Err(RecvTimeoutError::Timeout) => return Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => return Err(other(WebError::Ours)),
        };
        let mut addresses = self.empty();
        for address in found {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Where a URL leads, with the port that its scheme has where it names none.
pub(super) fn host_and_port(uri: &Uri) -> String {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default))
}

fn other(error: WebError) -> Error {
    Error::Other(Box::new(error))
}
