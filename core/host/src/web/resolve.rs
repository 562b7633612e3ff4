//! Names to addresses, and whether the policy lets a request go there.
//!
//! The addresses that are judged here are those that are connected to: nothing asks for the name again, so that an
//! answer that changes in between changes nothing.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
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

use super::{Policy, WebError, send::printable};
use crate::outbound::is_public;

/// Look-ups that may wait for the system at once. One that takes too long cannot be called off: its thread stays
/// until the system gives up.
pub(super) const LOOKUPS: usize = 32;

/// The most addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// Resolves names by the system, within the time of the request.
pub(super) struct Guard {
    policy: Policy,
    lookups: Arc<AtomicUsize>,
}

impl Guard {
    pub(super) fn new(policy: Policy, lookups: Arc<AtomicUsize>) -> Self {
        Self { policy, lookups }
    }
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let name = format!("{host}:{}", uri.port_u16().unwrap_or(default));
        let found = match name.parse() {
            Ok(address) => vec![address],
            Err(_) => self.look_up(name, timeout)?,
        };
        let mut addresses = self.empty();
        for address in admit(self.policy, found).map_err(other)? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

impl Guard {
    fn look_up(&self, name: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
        let place = Place::take(&self.lookups).ok_or_else(|| other(WebError::ResolverBusy))?;
        let (answer, wait) = mpsc::sync_channel(1);
        let look_up = move || {
            let found: io::Result<Vec<_>> = name.to_socket_addrs().map(Iterator::collect);
            drop(place);
            let _ = answer.send(found);
        };
        thread::Builder::new().name("look-up".to_owned()).spawn(look_up)?;
        match wait.recv_timeout(*timeout.after) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(other(WebError::Resolve(printable(&error)))),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => Err(other(WebError::Ours)),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The addresses to try, if all that were found are allowed: one bad one among them is a trick.
fn admit(policy: Policy, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, WebError> {
    if found.is_empty() {
        return Err(WebError::Resolve("it has no address".to_owned()));
    }
    if !policy.allow_private && !found.iter().all(|address| is_public(address.ip())) {
        return Err(WebError::Private);
    }
    Ok(found.into_iter().take(ADDRESSES).collect())
}

fn other(error: WebError) -> Error {
    Error::Other(Box::new(error))
}

/// One of the look-ups that may wait at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |taken| (taken < LOOKUPS).then_some(taken + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(count.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn one_private_address_spoils_all() {
        let strict = Policy::default();
        let open = Policy { allow_private: true };
        let public = addresses(&["1.1.1.1:80", "[2606:4700::1]:80"]);
        assert_eq!(admit(strict, public.clone()), Ok(public));
        let mixed = addresses(&["1.1.1.1:80", "[::ffff:10.0.0.1]:80"]);
        assert_eq!(admit(strict, mixed.clone()), Err(WebError::Private));
        assert_eq!(admit(open, mixed.clone()), Ok(mixed));
        assert!(matches!(admit(open, Vec::new()), Err(WebError::Resolve(_))));
        // All are judged, also those that would not be tried.
        let mut many = vec!["1.1.1.1:80"; ADDRESSES + 1];
        assert_eq!(admit(strict, addresses(&many)).unwrap().len(), ADDRESSES);
        many.push("127.0.0.1:80");
        assert_eq!(admit(strict, addresses(&many)), Err(WebError::Private));
    }

    #[test]
    fn look_ups_that_hang_are_bounded() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut places: Vec<_> = (0..LOOKUPS).map(|_| Place::take(&count).unwrap()).collect();
        assert!(Place::take(&count).is_none());
        places.pop();
        assert!(Place::take(&count).is_some());
    }
}
