//! What is said to far ends, and what they say.

use crtmp_media::{CallOutcome, Value};

use crate::secrets::mask_text;

/// Characters of a far end's words that are repeated.
const WORDS: usize = 256;

/// What a `connect` begins with; the session adds what servers expect beside it. `query` says who we are.
pub(super) fn connect_object(app: &str, connect: &[(&'static str, String)], query: &str) -> Value {
    let extended = |name: &str, text: &str| match (name, query) {
        (_, "") => text.to_owned(),
        ("app" | "tcUrl", query) if text.contains('?') => format!("{text}&{query}"),
        ("app" | "tcUrl", query) => format!("{text}?{query}"),
        _ => text.to_owned(),
    };
    let said = connect.iter().map(|(name, value)| (*name, value.as_str()));
    let all = std::iter::once(("app", app)).chain(said);
    Value::Object(all.map(|(name, value)| (name.to_owned(), extended(name, value).into())).collect())
}

/// What a refusal says of itself.
pub(super) fn description(args: &[Value]) -> &str {
    let description = |info: &Value| info.get("description").is_some_and(|text| text.as_str().is_some());
    let info = args.iter().rev().find(|info| description(info));
    info.and_then(|info| info.get("description")).and_then(Value::as_str).unwrap_or_default()
}

/// Where a refusal sends us: `ex.redirect` of code 302, or `redirect`.
pub(super) fn redirect(args: &[Value]) -> Option<String> {
    let of = |info: &Value| {
        let moved = info.get("ex").filter(|ex| ex.get("code").and_then(Value::as_f64) == Some(302.0));
        let url = moved.and_then(|ex| ex.get("redirect")).or_else(|| info.get("redirect"))?;
        url.as_str().map(str::to_owned)
    };
    args.iter().rev().find_map(of)
}

/// Whether a refusal is about the stream itself, whoever else is on the connection.
pub(super) fn is_about_the_name(args: &[Value]) -> bool {
    let codes = args.iter().filter_map(|info| info.get("code").and_then(Value::as_str));
    codes
        .into_iter()
        .any(|code| matches!(code, "NetStream.Play.StreamNotFound" | "NetStream.Publish.BadName"))
}

/// Why an order was in vain, in words.
pub(super) fn failure(what: &str, outcome: CallOutcome, args: &[Value]) -> String {
    match outcome {
        CallOutcome::Timeout => return format!("{what}: no answer in time"),
        CallOutcome::Refused if args.is_empty() => {
            return format!("{what}: the connection takes no such order now");
        }
        CallOutcome::Refused | CallOutcome::Result | CallOutcome::Error => {}
    }
    let words = args.iter().rev().find_map(|value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let words = format!("{} {}", text("code"), text("description"));
        let words: String = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // What is cut off may be what shows that something is a secret.
        let words: String = mask_text(&words).chars().take(WORDS).collect();
        (!words.is_empty()).then_some(words)
    });
    let words = words.unwrap_or_else(|| "it says nothing more".to_owned());
    format!("{what} was refused: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: &[(&str, Value)]) -> Value {
        Value::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn refusals_say_where_to_go_instead() {
        let ex = |code: f64| object(&[("code", code.into()), ("redirect", "rtmp://b/live".into())]);
        let info = object(&[("code", "NetConnection.Connect.Rejected".into()), ("ex", ex(302.0))]);
        assert_eq!(redirect(&[Value::Null, info]).as_deref(), Some("rtmp://b/live"));
        assert_eq!(redirect(&[object(&[("ex", ex(403.0))])]), None);
        let status = object(&[("redirect", "rtmp://c/live".into())]);
        assert_eq!(redirect(&[1_u32.into(), status]).as_deref(), Some("rtmp://c/live"));
        assert_eq!(redirect(&[Value::Null]), None);
    }

    #[test]
    fn who_we_are_is_said_behind_application_and_address() {
        let said = |query: &str| {
            let connect = [("tcUrl", "rtmp://h/a?b".to_owned()), ("swfUrl", "s".to_owned())];
            let object = connect_object("a", &connect, query);
            ["app", "tcUrl", "swfUrl"].map(|key| object.get(key).and_then(Value::as_str).unwrap().to_owned())
        };
        assert_eq!(said(""), ["a", "rtmp://h/a?b", "s"]);
        assert_eq!(said("user=x"), ["a?user=x", "rtmp://h/a?b&user=x", "s"]);
        assert_eq!(description(&[Value::Null, object(&[("description", "x".into())])]), "x");
        assert_eq!(description(&[Value::Null, object(&[("description", 1.0.into())])]), "");
    }

    #[test]
    fn what_a_far_end_says_is_repeated_with_care() {
        let info =
            |text: &str| vec![Value::Null, object(&[("code", "X".into()), ("description", text.into())])];
        assert_eq!(failure("connect", CallOutcome::Error, &info("no\nway")), "connect was refused: X no way");
        assert_eq!(failure("play", CallOutcome::Timeout, &[]), "play: no answer in time");
        assert_eq!(failure("play", CallOutcome::Error, &[]), "play was refused: it says nothing more");
        let long = failure("play", CallOutcome::Error, &info(&"é".repeat(1000)));
        assert!(long.chars().count() < WORDS + 30, "{long}");
        let secret = failure("connect", CallOutcome::Error, &info("rtmp://u:hidden@h/a?token=hidden"));
        assert!(!secret.contains("hidden"), "{secret}");
        let cut = format!("{}rtmp://u:hidden@h/a", "x".repeat(WORDS - 15));
        let cut = failure("connect", CallOutcome::Error, &info(&cut));
        assert!(!cut.contains("hid"), "{cut}");
    }
}
