//! Passwords, tokens and keys are taken out of what leaves the server: events, logs, answers.

use std::ops::Range;

use serde_json::Value;

pub use crtmp_plugin::is_secret;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// What values may stand in.
const QUOTES: [char; 2] = ['"', '\''];

/// How deep tables are looked into; what lies deeper is masked as a whole.
const DEPTH: usize = 64;

/// Replaces the values of secret keys, and secrets in the queries and user parts of URLs, wherever they are.
pub fn mask(value: &mut Value) {
    mask_at(value, 0);
}

/// The text without its secrets: those of URLs and stream names with queries (`?token=***`, `rtmp://user:***@host`), of
/// headers and tables (`Authorization: ***`, `"token": "***"`), of command lines (`--password ***`).
pub fn mask_text(text: &str) -> String {
    mask_users(&mask_values(text))
}

/// The arguments of a program without their secrets; some stand in the argument after that which names them.
pub fn mask_arguments(arguments: &[String]) -> Vec<String> {
    let before = std::iter::once("").chain(arguments.iter().map(String::as_str));
    let mask = |(before, argument): (&str, &String)| match is_flag(before) {
        true => MASK.to_owned(),
        false => mask_text(argument),
    };
    before.zip(arguments).map(mask).collect()
}

fn mask_at(value: &mut Value, depth: usize) {
    if depth > DEPTH {
        *value = MASK.into();
        return;
    }
    match value {
        Value::String(text) => {
            // Most texts have no sign of one.
            if text.contains(['=', '@', ':', ' ']) {
                *text = mask_text(text);
            }
        }
        Value::Array(values) => {
            let mut flag = false;
            for value in values {
                let next = value.as_str().is_some_and(is_flag);
                if flag && value.is_string() {
                    *value = MASK.into();
                } else {
                    mask_at(value, depth + 1);
                }
                flag = next;
            }
        }
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

/// Replaces the values of secret keys: after `=` to the end of the parameter, after `:` to the end of the line, after a
/// flag the next word; of one in quotes what is between these.
fn mask_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // What lies before it is written.
    let mut done = 0;
    for (at, sign) in text.match_indices(|letter: char| matches!(letter, '=' | ':') || letter.is_whitespace())
    {
        if at < done {
            continue;
        }
        let Some(value) = value_after(&text[done..at], sign, &text[at + sign.len()..]) else { continue };
        let start = at + sign.len() + value.start;
        out.push_str(&text[done..start]);
        out.push_str(MASK);
        done = at + sign.len() + value.end;
    }
    out.push_str(&text[done..]);
    out
}

/// Where in `after` the value is, if what stands before the sign is the name of a secret. The name reaches back to
/// whatever no name has; percent signs in it are undone.
fn value_after(before: &str, sign: &str, after: &str) -> Option<Range<usize>> {
    if sign == ":" && after.starts_with("//") {
        return None;
    }
    let is_word = !matches!(sign, "=" | ":");
    let trimmed = if is_word { before } else { before.trim_end_matches([' ', '\t']) };
    let spaced = trimmed.len() < before.len();
    let name = trimmed.strip_suffix(QUOTES).filter(|_| !is_word);
    let quoted = name.is_some();
    let name = name.unwrap_or(trimmed);
    let start = name
        .rfind(|letter: char| !is_key(letter))
        .map_or(0, |place| place + name[place..].chars().next().map_or(1, char::len_utf8));
    let (earlier, name) = name.split_at(start);
    if is_word && !(is_flag(name) && earlier.chars().next_back().is_none_or(is_edge)) {
        return None;
    }
    if !is_secret(&percent_encoding::percent_decode_str(name).decode_utf8_lossy()) {
        return None;
    }
    let skipped = if is_word || spaced || sign == ":" {
        after.len() - after.trim_start_matches([' ', '\t']).len()
    } else {
        0
    };
    let value = &after[skipped..];
    let end_of = |is_end: &dyn Fn(char) -> bool, value: &str| value.find(is_end).unwrap_or(value.len());
    let in_quotes =
        |quote: char, value: &str| end_of(&|letter| letter == quote || letter.is_control(), value);
    let (begin, end) = match value.chars().next().filter(|letter| QUOTES.contains(letter)) {
        Some(quote) => (1, 1 + in_quotes(quote, &value[1..])),
        None if sign == ":" => match earlier.chars().next_back().filter(|letter| QUOTES.contains(letter)) {
            // The whole header is in quotes.
            Some(quote) if !quoted => (0, in_quotes(quote, value)),
            _ => (0, end_of(&char::is_control, value)),
        },
        None if is_word => (0, end_of(&|letter| letter.is_whitespace() || letter.is_control(), value)),
        None => (0, end_of(&is_end, value)),
    };
    (begin < end).then_some(skipped + begin..skipped + end)
}

/// Whether an argument of a program says that a secret is the next one.
fn is_flag(argument: &str) -> bool {
    argument.starts_with('-') && is_secret(argument)
}

/// What may stand before a flag.
fn is_edge(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || QUOTES.contains(&letter)
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
            ("--password geheim -i x", "--password *** -i x"),
            ("tool -pass  geheim", "tool -pass  ***"),
            ("--api-key 'two words' -i x", "--api-key '***' -i x"),
            ("--password\tgeheim\n-i", "--password\t***\n-i"),
            ("--password=geheim -i x", "--password=*** -i x"),
            ("a--password is a word, password too", "a--password is a word, password too"),
            ("Authorization: Bearer abc def", "Authorization: ***"),
            ("curl -H 'Authorization: Bearer abc' http://h/", "curl -H 'Authorization: ***' http://h/"),
            ("Authorization: Digest user=\"a\", response=\"b\"\r\nHost: h", "Authorization: ***\r\nHost: h"),
            ("X-A: 1\nCookie: a=b; c=d\nX-B: 2", "X-A: 1\nCookie: ***\nX-B: 2"),
            ("{\"token\": \"a b\", \"name\":\"c\"}", "{\"token\": \"***\", \"name\":\"c\"}"),
            ("{\"token\":12,\"name\":\"c\"}", "{\"token\":***"),
            ("password = geheim", "password = ***"),
            ("password=\"two words\" x", "password=\"***\" x"),
            ("pass:", "pass:"),
            ("rtmp://pass/a", "rtmp://pass/a"),
            ("token://u:p@h", "token://u:***@h"),
        ] {
            assert_eq!(mask_text(text), masked, "{text}");
        }
    }

    #[test]
    fn secrets_in_arguments_are_masked() {
        let arguments = ["-i", "--password", "a", "b", "--pass=c", "Authorization: Bearer d", "-pwd"];
        let masked = ["-i", "--password", MASK, "b", "--pass=***", "Authorization: ***", "-pwd"];
        assert_eq!(mask_arguments(&arguments.map(str::to_owned)), masked);
        let mut list = json!({ "argumentList": arguments });
        mask(&mut list);
        assert_eq!(list, json!({ "argumentList": masked }));
    }

    /// Signs take no longer than letters.
    #[test]
    fn any_text_takes_time_by_its_length() {
        for piece in [" ", "=", ":", "\"", "a ", "-a ", "-pass ", "a=", "pass:\n", "pass=", " =", "://", "-"]
        {
            let text = piece.repeat((1 << 18) / piece.len());
            assert!(!mask_text(&text).is_empty());
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
        fn any_text_can_be_masked_and_masking_twice_changes_nothing(text in "(token=|pass|-pwd|://|[a@:=&?%/ \'\"\n\u{fc}-]){0,20}") {
            let once = mask_text(&text);
            prop_assert_eq!(mask_text(&once), once);
        }

        #[test]
        fn what_has_no_sign_of_a_secret_stays(text in "[^=@:-]*") {
            prop_assert_eq!(mask_text(&text), text);
        }
    }
}
