//! The key exchange of RTMPE: Diffie-Hellman over 1024 bits, as RFC 2409 has it in section 6.2, with the generator 2.

use crypto_bigint::{U256, U1024, const_monty_params, modular::ConstMontyForm, modular::ConstMontyParams};

use crate::handshake::HandshakeError;

/// A public key or a shared secret: a number below the prime, with its leading zeros.
pub(super) type Key = [u8; KEY];

/// Bytes of a public key and of a shared secret.
pub(super) const KEY: usize = 128;

/// Bytes of the secret number of one side. The group is worth less than the 256 bits of it, and each bit costs time.
pub const EXPONENT: usize = 32;

/// The secret number of one side.
pub(super) struct Exponent(U256);

impl Exponent {
    /// Of random bytes. Its highest bit is always set: where the system has no random bytes to give, the public key is
    /// none that peers refuse.
    pub(super) fn new(random: &[u8; EXPONENT]) -> Self {
        let mut bytes = *random;
        bytes[0] |= 0x80;
        Self(U256::from_be_slice(&bytes))
    }

    /// What the other side is told.
    pub(super) fn public_key(&self) -> Key {
        self.power_of(&U1024::from_u8(2))
    }

    /// What both sides know, once the other has told `key`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::WeakKey`] where the secret would be one of a few that everybody can guess (`key` is 0, 1 or the
    /// prime less 1), or `key` is no number below the prime.
    pub(super) fn secret_with(&self, key: &Key) -> Result<Key, HandshakeError> {
        let key = U1024::from_be_slice(key);
        let least = U1024::from_u8(2);
        let most = Prime::PARAMS.modulus().get().wrapping_sub(&least);
        if key < least || key > most {
            return Err(HandshakeError::WeakKey);
        }
        Ok(self.power_of(&key))
    }

    fn power_of(&self, base: &U1024) -> Key {
        let power = ConstMontyForm::<Prime, { U1024::LIMBS }>::new(base).pow(&self.0).retrieve();
        power.to_be_bytes().into()
    }
}

#[cfg(test)]
pub(super) fn prime() -> Key {
    Prime::PARAMS.modulus().get().to_be_bytes().into()
}

const_monty_params!(
    Prime,
    U1024,
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
     020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
     4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    "The prime of the second Oakley group: 2^1024 - 2^960 - 1 + 2^64 * (floor(2^894 * pi) + 129093)."
);
