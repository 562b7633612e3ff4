//! Ports: free ones, and whether anybody listens, without knocking.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::wait_for;

/// The time in which a program must listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// An address of this machine that nobody listened on a moment ago.
///
/// # Panics
///
/// If the system has none.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Whether somebody listens on this address. The kernel says so: some peers serve one connection alone, and to try
/// would be to take it.
pub fn listens(address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else { return false };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // The fields are the local address, the other one, and the state: 0A is listening.
        fields.next() == Some(local.as_str()) && fields.nth(1) == Some("0A")
    })
}

/// Waits until somebody listens on this address.
///
/// # Panics
///
/// If nobody does.
pub fn wait_for_listener(address: SocketAddr) {
    wait_for(&format!("somebody to listen on {address}"), PATIENCE, || listens(address).then_some(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_known() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        assert!(listens(address));
        drop(listener);
        assert!(!listens(address));
    }
}
