//! The numbers of connections: keys in a worker's map, tokens of its poll, ids that all of the server knows.

use crtmp_relay::{ConnectionId, WorkerId};
use mio::Token;
use slotmap::{Key, KeyData, new_key_type};

new_key_type! {
    pub(crate) struct ConnectionKey;
}

pub(crate) const WAKE: Token = Token(0);

/// Listeners have odd tokens, connections even ones from 2 on.
pub(crate) const LISTENER: usize = 1;

/// A slot map key is an index and a version, each 32 bits; the version is odd while the key is in use. Index
/// and version fit into a token side by side, which is kept even and apart from [`WAKE`].
pub(crate) fn token_of(key: ConnectionKey) -> u64 {
    let ffi = key.data().as_ffi();
    let (version, index) = (ffi >> 32, ffi & 0xffff_ffff);
    (version << 32) | (index << 1)
}

pub(crate) fn key_of_token(token: Token) -> Option<ConnectionKey> {
    (token != WAKE && token.0 % 2 != LISTENER).then(|| connection_key(token.0 as u64))
}

fn connection_key(token: u64) -> ConnectionKey {
    let (version, index) = (token >> 32, (token & 0xffff_ffff) >> 1);
    KeyData::from_ffi((version << 32) | index).into()
}

/// Bits of an id that name the worker; below them are 24 for the slot, above them 32 for its version.
const WORKER_SHIFT: u32 = 24;

pub(crate) fn id_of(key: ConnectionKey, worker: WorkerId) -> ConnectionId {
    let ffi = key.data().as_ffi();
    let (version, index) = (ffi >> 32, ffi & 0xff_ffff);
    ConnectionId((version << 32) | (u64::from(worker.0 & 0xff) << WORKER_SHIFT) | index)
}

/// The key of a connection; that of none, where the number cannot be an id: versions are odd, and the map would make
/// any number one of somebody else.
pub(crate) fn key_of(id: ConnectionId) -> ConnectionKey {
    let (version, index) = (id.0 >> 32, id.0 & 0xff_ffff);
    if version % 2 == 0 {
        return ConnectionKey::null();
    }
    KeyData::from_ffi((version << 32) | index).into()
}

/// The worker that a connection lives on.
pub(crate) fn worker_of(id: ConnectionId) -> WorkerId {
    WorkerId(((id.0 >> WORKER_SHIFT) & 0xff) as u16)
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn ids_and_tokens_lead_back_to_their_connection() {
        let mut map: SlotMap<ConnectionKey, ()> = SlotMap::with_key();
        for round in 0..100 {
            let key = map.insert(());
            let id = id_of(key, WorkerId(255));
            assert_eq!((key_of(id), worker_of(id)), (key, WorkerId(255)));
            let token = token_of(key);
            assert_eq!(connection_key(token), key);
            assert!(token.is_multiple_of(2) && token != WAKE.0 as u64, "{token}");
            if round % 3 == 0 {
                map.remove(key);
            }
        }
    }

    #[test]
    fn what_is_no_id_is_nobodys() {
        let mut map: SlotMap<ConnectionKey, ()> = SlotMap::with_key();
        let first = id_of(map.insert(()), WorkerId(0));
        assert_eq!(first, ConnectionId(1 << 32 | 1));
        for number in [0, 1, 1 << 32, 2 << 32 | 1, u64::from(u32::MAX), u64::MAX] {
            assert!(!map.contains_key(key_of(ConnectionId(number))), "{number}");
        }
    }
}
