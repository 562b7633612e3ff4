//! Versions and cipher suites by the names of the configuration.

use crtmp_media::{LayerSettings, Unfit, Value};
use rustls::{CipherSuite, SupportedProtocolVersion, crypto::CryptoProvider, version};

use crate::provider;

/// All suites by OpenSSL's names. There is nothing weaker: no RC4, no 3DES, no CBC, none without forward secrecy.
pub const SUITES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// What `cipherSuite` allows: a list of names, best first, between colons. It speaks of the versions of which it names
/// suites; of another version all stay, as with OpenSSL. None: everything.
///
/// # Errors
///
/// A name that is none of [`SUITES`], one that stands there twice, or an empty list.
pub fn suites(settings: &LayerSettings) -> Result<Option<CryptoProvider>, Unfit> {
    const KEY: &str = "cipherSuite";
    let Some(list) = settings.key(KEY).and_then(Value::as_str) else { return Ok(None) };
    let expected = || {
        let names = SUITES.map(|(name, _)| name).join(", ");
        format!("names between colons, of {names}; words such as HIGH, and `!`, have no meaning here")
    };
    let mut chosen = Vec::new();
    for name in list.split(':') {
        let Some((_, suite)) = SUITES.iter().find(|(known, _)| *known == name) else {
            return Err(Unfit::new(KEY, format!("{name:?}"), expected()));
        };
        if chosen.contains(suite) {
            return Err(Unfit::new(KEY, format!("{name:?} twice"), expected()));
        }
        chosen.push(*suite);
    }
    let mut provider = provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let named = chosen.iter().filter_map(|suite| all.iter().find(|known| known.suite() == *suite));
    provider.cipher_suites = named.copied().collect();
    for version in [&version::TLS13, &version::TLS12] {
        if !provider.cipher_suites.iter().any(|suite| suite.version() == version) {
            provider.cipher_suites.extend(all.iter().filter(|suite| suite.version() == version));
        }
    }
    Ok(Some(provider))
}

/// The versions from `tlsMinVersion` on.
///
/// # Errors
///
/// If it is neither `"1.2"` nor `"1.3"`.
pub fn versions(settings: &LayerSettings) -> Result<&'static [&'static SupportedProtocolVersion], Unfit> {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match settings.key("tlsMinVersion").and_then(Value::as_str) {
        None | Some("1.2") => Ok(&FROM_12),
        Some("1.3") => Ok(&FROM_13),
        Some(other) => Err(Unfit::new(
            "tlsMinVersion",
            format!("{other:?}"),
            "\"1.2\" or \"1.3\"; older versions are broken and not served",
        )),
    }
}
