//! Which keys hold what is in no message: passwords, tokens and the like.

use serde_json::Value;

/// The keys whose values are secrets, in lower case and without `-` and `_`.
const KEYS: [&str; 20] = [
    "secret",
    "clientsecret",
    "password",
    "passwd",
    "pass",
    "passphrase",
    "pwd",
    "token",
    "accesstoken",
    "authtoken",
    "refreshtoken",
    "streamkey",
    "privatestreamname",
    "authorization",
    "proxyauthorization",
    "apikey",
    "signature",
    "cookie",
    "setcookie",
    "aliasname",
];

/// Whether the value under this key is a secret; case, `-` and `_` do not count.
pub fn is_secret(key: &str) -> bool {
    let letters = key.chars().filter(|letter| !matches!(letter, '-' | '_'));
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).take(32).collect();
    KEYS.contains(&plain.as_str())
}

/// Whether a secret lies under this key, at any depth.
pub(crate) fn holds_secret(key: &str, value: &Value) -> bool {
    is_secret(key)
        || match value {
            Value::Object(map) => map.iter().any(|(key, value)| holds_secret(key, value)),
            Value::Array(list) => list.iter().any(|value| holds_secret("", value)),
            _ => false,
        }
}
