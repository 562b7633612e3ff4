//! A password as it is stored, and what it can be compared with.

use std::fmt;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::Pbkdf2;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::adobe::first_hash;

/// The most memory of one Argon2 hash, in KiB.
const ARGON2_MEMORY: u32 = 256 * 1024;

/// The most passes over that memory.
const ARGON2_PASSES: u32 = 16;

/// The most lanes in it. They are not computed side by side.
const ARGON2_LANES: u32 = 16;

/// The most iterations of PBKDF2.
const ITERATIONS: u32 = 10_000_000;

/// A stored password. Nothing prints it.
#[derive(Clone)]
pub(super) enum Stored {
    /// As it is. It serves every scheme.
    Plain(String),
    /// The first hash of Adobe's scheme, with the salt that it was made with. It serves every scheme. For Adobe's it is
    /// as good as the password, for others a weak hash.
    Adobe { salt: String, hash: [u8; 16] },
    /// A slow hash in the form of PHC. Whoever has it cannot answer Adobe's question.
    Slow(Slow),
}

/// A slow hash.
#[derive(Clone)]
pub(super) enum Slow {
    Argon2(Box<PasswordHash>),
    Pbkdf2(Box<PasswordHash>),
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Adobe { .. } => "Adobe",
            Self::Slow(_) => "Slow",
        })
    }
}

impl Stored {
    /// A password as it stands in a users file: one that begins like a hash is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_hash = ["$argon2", "$pbkdf2"].iter().any(|begin| text.starts_with(begin));
        if is_hash { Slow::parse(text).map(Self::Slow) } else { Ok(Self::Plain(text.to_owned())) }
    }

    /// What Adobe's clients have to know: the salt, where it is the password's own, and the first hash.
    pub(super) fn for_adobe(&self, user: &str, salt: &str) -> Option<(String, [u8; 16])> {
        match self {
            Self::Plain(password) => {
                let hash = first_hash(user.as_bytes(), salt.as_bytes(), password.as_bytes());
                Some((salt.to_owned(), hash))
            }
            Self::Adobe { salt, hash } => Some((salt.clone(), *hash)),
            Self::Slow(_) => None,
        }
    }

    /// Whether this is the password. Takes as long for a wrong one; only [`Stored::Slow`] takes long.
    pub(super) fn is(&self, user: &str, password: &[u8], key: &[u8; 32]) -> bool {
        match self {
            // Of both the same number of bytes is compared, however long they are.
            Self::Plain(stored) => bool::from(digest(key, stored.as_bytes()).ct_eq(&digest(key, password))),
            Self::Adobe { salt, hash } => {
                bool::from(first_hash(user.as_bytes(), salt.as_bytes(), password).ct_eq(hash))
            }
            Self::Slow(slow) => slow.is(password),
        }
    }
}

impl Slow {
    fn parse(text: &str) -> Result<Self, String> {
        let hash = PasswordHash::new(text).map_err(|_| "a hash that cannot be read".to_owned())?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("a hash without its salt or its end".to_owned());
        }
        let number = |name: &str| hash.params.get_decimal(name).unwrap_or_default();
        match hash.algorithm.as_str() {
            "argon2id" | "argon2i" | "argon2d" => {
                argon2::Params::try_from(&hash)
                    .map_err(|_| "an Argon2 hash with parameters that there are not".to_owned())?;
                for (name, found, most) in [
                    ("m", number("m"), ARGON2_MEMORY),
                    ("t", number("t"), ARGON2_PASSES),
                    ("p", number("p"), ARGON2_LANES),
                ] {
                    if found > most {
                        return Err(format!("an Argon2 hash with {name}={found}, at most {most} may be"));
                    }
                }
                Ok(Self::Argon2(Box::new(hash)))
            }
            "pbkdf2-sha256" => {
                pbkdf2::Params::try_from(&hash)
                    .map_err(|_| "a PBKDF2 hash with parameters that there are not".to_owned())?;
                match number("i") {
                    rounds if rounds > ITERATIONS => {
                        Err(format!("a PBKDF2 hash with i={rounds}, at most {ITERATIONS} may be"))
                    }
                    _ => Ok(Self::Pbkdf2(Box::new(hash))),
                }
            }
            other => Err(format!("a hash of {other}, which is not known")),
        }
    }

    /// Whether this is the password; takes long.
    pub(super) fn is(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Pbkdf2(hash) => Pbkdf2::default().verify_password(password, &**hash).is_ok(),
        }
    }
}

/// What takes the place of something in a table from which nobody shall read it, or that is compared in the same time
/// whatever it is.
pub(super) fn digest(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    // A key of any length will do, and this one has one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The first hash of Adobe's scheme in Base64 or hexadecimal.
pub(super) fn md5_text(text: &str) -> Option<[u8; 16]> {
    hex(text).or_else(|| BASE64_STANDARD.decode(text).ok()?.try_into().ok())
}

/// Bytes in hexadecimal.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];

    fn is(stored: &str, password: &str) -> bool {
        Stored::parse(stored).expect("a password").is("u", password.as_bytes(), &KEY)
    }

    /// The first one stands in the tests of the reference implementation of Argon2, the second is made by Python's hashlib.
    #[test]
    fn hashes_of_other_implementations_are_right() {
        let argon2 = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(is(argon2, "password") && !is(argon2, "passwore"));
        let pbkdf2 = "$pbkdf2-sha256$i=4096,l=32$c2FsdHNhbHQ$8d+7M4rKHfMdIk7YlysslDdcIO7fPwccsNovYrg9ZaI";
        assert!(is(pbkdf2, "secret") && !is(pbkdf2, "Secret"));
        assert!(is("secret", "secret") && !is("secret", "secre") && !is("secret", "secret1"));
    }

    #[test]
    fn the_first_hash_of_adobe_is_a_password_too() {
        let hash = first_hash(b"u", b"salt", b"secret");
        let stored = Stored::Adobe { salt: "salt".to_owned(), hash };
        assert!(stored.is("u", b"secret", &KEY) && !stored.is("v", b"secret", &KEY));
        assert_eq!(stored.for_adobe("u", "other"), Some(("salt".to_owned(), hash)));
        let plain = Stored::parse("secret").expect("a password");
        assert_eq!(plain.for_adobe("u", "salt"), Some(("salt".to_owned(), hash)));
        assert_eq!(md5_text(&BASE64_STANDARD.encode(hash)), Some(hash));
        let text: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(md5_text(&text), Some(hash));
        for text in ["", "x", "\u{fc}\u{fc}", &text[1..], &format!("{text}0")] {
            assert_eq!(md5_text(text), None, "{text}");
        }
    }

    #[test]
    fn what_would_take_for_ever_or_cannot_be_read_is_refused() {
        for (text, why) in [
            ("$argon2id$v=19$m=65536", "without its salt"),
            ("$argon2id$v=19$m=x$c29tZXNhbHQ$AAAA", "cannot be read"),
            (
                "$argon2id$v=19$m=262145,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "m=262145",
            ),
            ("$argon2id$v=19$m=256,t=17,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "t=17"),
            ("$argon2id$v=19$m=256,t=2,p=17$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "p=17"),
            (
                "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "not known",
            ),
            (
                "$pbkdf2-sha256$i=10000001,l=32$c2FsdHNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "i=10000001",
            ),
        ] {
            let error = Stored::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(matches!(Stored::parse("$other$x"), Ok(Stored::Plain(_))));
        for (text, good) in [("m=262144,t=16,p=16", true), ("m=262144,t=16,p=17", false)] {
            let text =
                format!("$argon2id$v=19${text}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
            assert_eq!(Stored::parse(&text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn nothing_shows_them() {
        assert_eq!(format!("{:?}", Stored::parse("hidden")), "Ok(Plain)");
    }
}
