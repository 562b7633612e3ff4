//! Tunnels: connections that travel in requests and responses of others (RTMPT).

use std::fmt;

mod order;

pub use order::{Offered, Order, TunnelRequest, Turn};

/// Names a session of a tunnel: 128 random bits, and the worker that the session lives on.
///
/// Whoever knows it may speak for the session, so it is never shown as a whole: `Debug` shows four of its digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TunnelId {
    /// What nobody can guess.
    pub secret: [u8; 16],
    /// The worker; says nothing of the other bits.
    pub worker: u8,
}

impl TunnelId {
    /// Digits of an id as it travels.
    pub const DIGITS: usize = 34;

    /// The id as it travels: hexadecimal digits.
    pub fn digits(&self) -> String {
        let bytes = self.secret.iter().chain([&self.worker]);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads [`digits`](Self::digits); nothing where it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = |index: usize| u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok();
        let mut secret = [0; 16];
        for (index, place) in secret.iter_mut().enumerate() {
            *place = byte(index)?;
        }
        Some(Self { secret, worker: byte(16)? })
    }
}

impl fmt::Debug for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}…", self.secret[0], self.secret[1])
    }
}

/// What a request of a tunnel wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelVerb {
    /// It brings bytes and takes some.
    Send,
    /// It takes bytes, and may wait for them for a moment.
    Idle,
    /// The session ends.
    Close,
}

/// A request of a tunnel, as it has come to a connection that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelCall {
    /// A new session is wanted.
    Open {
        /// Whether the session may only be used from the address that it was opened from.
        bind_address: bool,
    },
    /// Something for a session.
    Next {
        /// Which.
        session: TunnelId,
        /// The number of the request: one more with each.
        number: u32,
        /// What it wants.
        verb: TunnelVerb,
        /// The bytes that it brings.
        body: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_read_as_it_was_written_and_not_shown(secret: [u8; 16], worker: u8) {
            let id = TunnelId { secret, worker };
            let digits = id.digits();
            prop_assert_eq!(TunnelId::parse(&digits), Some(id));
            prop_assert_eq!(TunnelId::parse(&digits.to_uppercase()), Some(id));
            let shown = format!("{id:?}");
            prop_assert_eq!(shown.strip_suffix('…'), digits.get(..4));
        }

        #[test]
        fn what_is_no_id_is_none(text in "\\PC{0,40}") {
            let good = text.len() == TunnelId::DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(TunnelId::parse(&text).is_some(), good);
        }
    }

    #[test]
    fn signs_and_spaces_are_no_digits() {
        let digits = TunnelId { secret: [7; 16], worker: 3 }.digits();
        for wrong in [format!("+{}", &digits[1..]), format!(" {}", &digits[1..]), digits[1..].to_owned()] {
            assert_eq!(TunnelId::parse(&wrong), None, "{wrong}");
        }
    }
}
