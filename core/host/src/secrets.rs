//! Passwords, tokens and keys are taken out of what leaves the server: events, logs, answers.

use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// The keys whose values are secrets, in lower case and without `-` and `_`.
const KEYS: [&str; 19] = [
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
];

/// How deep tables are looked into; what lies deeper is masked as a whole.
const DEPTH: usize = 64;

/// Whether the value under this key is a secret; case, `-` and `_` do not count.
pub fn is_secret(key: &str) -> bool {
    let letters = key.chars().filter(|letter| !matches!(letter, '-' | '_'));
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).take(32).collect();
    KEYS.contains(&plain.as_str())
}

/// Replaces the values of secret keys, and secrets in the queries and user parts of URLs, wherever they are.
pub fn mask(value: &mut Value) {
    mask_at(value, 0);
}

/// The text without the secrets that URLs in it carry: `?token=***`, `rtmp://user:***@host`. A stream name with a
/// query counts as one.
pub fn mask_text(text: &str) -> String {
    mask_users(&mask_queries(text))
}

fn mask_at(value: &mut Value, depth: usize) {
    if depth > DEPTH {
        *value = MASK.into();
        return;
    }
    match value {
        Value::String(text) => {
            // Most texts have no sign of either.
            if text.contains(['=', '@']) {
                *text = mask_text(text);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| mask_at(value, depth + 1)),
        Value::Object(members) => {
            for (key, value) in members {
                if is_secret(key) && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask_at(value, depth + 1);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces the values of secret keys: what stands between `=` and the end of the parameter. The key is what stands
/// before, back to whatever no key has; percent signs in it are undone.
fn mask_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let start = before
            .rfind(|letter: char| !is_key(letter))
            .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
        let key = percent_encoding::percent_decode_str(&before[start..]).decode_utf8_lossy();
        out.push_str(&rest[..=at]);
        rest = after;
        if is_secret(&key) {
            let end = after.find(|letter: char| is_end(letter)).unwrap_or(after.len());
            if end > 0 {
                out.push_str(MASK);
            }
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    out
}

fn is_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.%".contains(letter)
}

fn is_end(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || "&;#\"'<>".contains(letter)
}

/// Replaces what stands between `:` and `@` in the user part of a URL.
fn mask_users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        rest = after;
        let end = after.find(|letter: char| is_end(letter) || "/?".contains(letter)).unwrap_or(after.len());
        if let Some(host) = after[..end].rfind('@')
            && let Some(colon) = after[..host].find(':')
        {
            out.push_str(&after[..=colon]);
            out.push_str(MASK);
            rest = &after[host..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_keys_are_masked_at_every_depth() {
        let mut value = json!({
            "name": "cam",
            "Password": "a",
            "stream_key": ["b"],
            "privateStreamName": "c",
            "X-Api-Key": "this key has a prefix and is no secret of ours",
            "apiKey": 7,
            "token": null,
            "list": [{ "AUTHORIZATION": "Basic x", "pass": { "word": 1 }, "passes": 3 }],
        });
        mask(&mut value);
        assert_eq!(
            value,
            json!({
                "name": "cam",
                "Password": MASK,
                "stream_key": MASK,
                "privateStreamName": MASK,
                "X-Api-Key": "this key has a prefix and is no secret of ours",
                "apiKey": MASK,
                "token": null,
                "list": [{ "AUTHORIZATION": MASK, "pass": MASK, "passes": 3 }],
            })
        );
    }

    #[test]
    fn secrets_in_urls_are_masked() {
        for (text, masked) in [
            ("", ""),
            ("a=b@c", "a=b@c"),
            ("cam?token=abc", "cam?token=***"),
            ("cam?a=1&Token=abc&b=2", "cam?a=1&Token=***&b=2"),
            ("cam?token=", "cam?token="),
            ("cam?token=a=b", "cam?token=***"),
            ("cam?to%6ben=abc", "cam?to%6ben=***"),
            ("token=abc;x=1", "token=***;x=1"),
            ("http://h/a?x=\u{fc}&password=\u{fc}#f", "http://h/a?x=\u{fc}&password=***#f"),
            ("\u{fc}token=1", "\u{fc}token=***"),
            ("rtmp://user:pass@host/a", "rtmp://user:***@host/a"),
            ("rtmp://user:p:a@ss@host/a", "rtmp://user:***@host/a"),
            ("rtmp://user@host/a:b@c", "rtmp://user@host/a:b@c"),
            (
                "pull rtmp://u:p@h/a and rtsp://v:q@i?token=1 end",
                "pull rtmp://u:***@h/a and rtsp://v:***@i?token=*** end",
            ),
            ("=", "="),
            ("://", "://"),
            ("://:@", "://:***@"),
            ("pass==x", "pass=***"),
        ] {
            assert_eq!(mask_text(text), masked, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut value = json!({ "token": "deep" });
        for _ in 0..100 {
            value = json!([value]);
        }
        mask(&mut value);
        assert!(!value.to_string().contains("deep"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_masked_and_masking_twice_changes_nothing(text in "(token=|pass|://|[a@:=&?%/ \u{fc}]){0,20}") {
            let once = mask_text(&text);
            prop_assert_eq!(mask_text(&once), once);
        }

        #[test]
        fn what_has_no_sign_of_a_url_stays(text in "[^=@]*") {
            prop_assert_eq!(mask_text(&text), text);
        }
    }
}
