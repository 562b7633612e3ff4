//! What the types of `eventLogger` leave open.

use std::collections::HashMap;
use std::path::Path;

use super::validate::Check;
use super::{Appender, Configuration, EventSink, EventSinkKind, OutboundPolicy, did_you_mean, quoted};
use crate::events::{Kind, LATER};
use crate::outbound::Origin;
use crate::secrets::mask_text;
use crate::web::destination;

const PATH: &str = "configuration.eventLogger";

pub(super) fn check(check: &mut Check, configuration: &Configuration) {
    let logger = &configuration.event_logger;
    names(check, &format!("{PATH}.enabledEvents"), logger.enabled_events.as_deref());
    let mut seen: HashMap<&Path, String> = HashMap::new();
    for (index, appender) in configuration.log_appenders.iter().enumerate() {
        if let Some(file) = &appender.file_name {
            seen.insert(file, format!("configuration.logAppenders[{}].fileName", index + 1));
        }
    }
    for (index, one) in logger.sinks.iter().enumerate() {
        let path = format!("{PATH}.sinks[{}]", index + 1);
        sink(check, &path, one, &configuration.outbound_policy);
        if let Some(file) = &one.filename {
            let path = format!("{path}.filename");
            if let Some(first) = seen.insert(file, path.clone()) {
                let found = quoted(&file.to_string_lossy());
                check.error(path, format!("{found} again, after {first}"), "a file of its own");
            }
        }
    }
}

fn sink(check: &mut Check, path: &str, sink: &EventSink, policy: &OutboundPolicy) {
    let key = |key: &str| format!("{path}.{key}");
    names(check, &key("enabledEvents"), sink.enabled_events.as_deref());
    check.whole(key("queue"), sink.queue.map(|queue| queue as u64), EventSink::QUEUE);
    for strange in sink.strange_keys() {
        let (kind, other) = match sink.kind {
            EventSinkKind::File => ("file", "RPC"),
            EventSinkKind::Rpc => ("RPC", "file"),
        };
        let expected = format!("no such key for a sink of type \"{kind}\"");
        check.error_with(key(strange), "a value", expected, format!("it belongs to type=\"{other}\""));
    }
    match sink.kind {
        EventSinkKind::File => file(check, path, sink),
        EventSinkKind::Rpc => rpc(check, path, sink, policy),
    }
}

fn file(check: &mut Check, path: &str, sink: &EventSink) {
    let key = |key: &str| format!("{path}.{key}");
    if sink.filename.as_ref().is_none_or(|name| name.file_name().is_none()) {
        check.error(key("filename"), "nothing", "the name of the file");
    }
    check.whole(key("fileChunkLength"), sink.file_chunk_length, EventSink::FILE_CHUNK_LENGTH);
    check.whole(key("fileLength"), sink.file_length, Appender::FILE_LENGTH);
    if let Some(time) = &sink.file_chunk_time {
        if sink.chunk_second().is_none() {
            check.error(key("fileChunkTime"), quoted(time), "a time of the day such as \"18:00:00\", in UTC");
        }
        if sink.file_chunk_length.is_some() {
            let suggestion = "take one of them out";
            check.error_with(key("fileChunkTime"), "a value", "none beside fileChunkLength", suggestion);
        }
    }
}

fn rpc(check: &mut Check, path: &str, sink: &EventSink, policy: &OutboundPolicy) {
    let key = |key: &str| format!("{path}.{key}");
    match &sink.url {
        None => check.error(key("url"), "nothing", "the URL that events are posted to"),
        Some(url) => {
            let mut wrong = |expected: &str, why: String| {
                check.error_with(key("url"), quoted(&mask_text(url)), expected, why);
            };
            match destination(url) {
                Err(error) => wrong("an http or https URL", error.to_string()),
                // What a name leads to shows when it is asked for.
                Ok((scheme, place)) => {
                    if let Err(refused) = policy.check(&scheme, &place, Origin::Configuration) {
                        wrong("a URL that outboundPolicy lets the server go to", refused.to_string());
                    }
                }
            }
        }
    }
    for (name, value, range) in [
        ("timeout", sink.timeout, EventSink::TIMEOUT),
        ("retryDelay", sink.retry_delay, EventSink::RETRY_DELAY),
        ("retryDelayMax", sink.retry_delay_max, EventSink::RETRY_DELAY),
    ] {
        if let Some(value) = value {
            check.seconds(key(name), value, range);
        }
    }
    check.whole(key("retries"), sink.retries.map(u64::from), EventSink::RETRIES);
}

/// The names of events, each of which must be one.
fn names(check: &mut Check, path: &str, names: Option<&[String]>) {
    for (index, name) in names.unwrap_or_default().iter().enumerate() {
        if Kind::from_name(name).is_some() {
            continue;
        }
        let path = format!("{path}[{}]", index + 1);
        let expected = "the name of an event in docs/events.md";
        if let Some((_, feature)) = LATER.iter().find(|(names, _)| names.contains(&name.as_str())) {
            let found = format!("{}, an event of {feature}, which is not supported yet", quoted(name));
            check.error_with(path, found, expected, "take it out");
        } else if let Some(near) = did_you_mean(name, Kind::ALL.iter().map(|kind| kind.name())) {
            check.error_with(path, quoted(name), expected, format!("did you mean {}?", quoted(near)));
        } else {
            check.error(path, quoted(name), expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Seconds;

    use super::*;
    use crate::config::{AppenderKind, Application, EventLogger, validate};
    use crate::outbound::Ports;

    fn mistakes(sinks: Vec<EventSink>, names: &[&str]) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.applications.list =
            vec![Application { name: "a".into(), default: true, ..Application::default() }];
        configuration.log_appenders =
            vec![Appender { file_name: Some("server.log".into()), ..Appender::new(AppenderKind::File) }];
        let enabled = names.iter().map(|name| (*name).to_owned()).collect();
        configuration.event_logger = EventLogger { sinks, enabled_events: Some(enabled), custom_data: None };
        validate(&configuration).iter().map(ToString::to_string).collect()
    }

    fn to_file(name: &str) -> EventSink {
        EventSink { filename: Some(name.into()), ..EventSink::new(EventSinkKind::File) }
    }

    fn to_url(url: &str) -> EventSink {
        EventSink { url: Some(url.into()), ..EventSink::new(EventSinkKind::Rpc) }
    }

    #[test]
    fn a_good_logger_has_no_mistakes() {
        let sinks =
            vec![to_file("events"), to_file("other"), to_url("http://localhost/a"), to_url("https://a/")];
        assert_eq!(mistakes(sinks, &["inStreamCreated", "cliRequest"]), Vec::<String>::new());
    }

    #[test]
    fn the_outbound_policy_binds_sinks() {
        let found = |url: &str, change: &dyn Fn(&mut OutboundPolicy)| {
            let mut configuration = Configuration::default();
            configuration.applications.list =
                vec![Application { name: "a".into(), default: true, ..Application::default() }];
            configuration.event_logger.sinks = vec![to_url(url)];
            change(&mut configuration.outbound_policy);
            validate(&configuration).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none = |_: &mut OutboundPolicy| ();
        for url in ["http://127.0.0.1:22/", "https://10.0.0.1/", "http://name.example:6379/"] {
            assert_eq!(found(url, &none), Vec::<String>::new(), "{url}");
        }
        let text = found("http://user:word@169.254.169.254/", &none).join("\n");
        let expected =
            "expected a URL that outboundPolicy lets the server go to; the address 169.254.169.254 is one of";
        assert!(text.contains(expected) && !text.contains("word"), "{text}");
        let text = found("http://a.example/", &|policy| policy.schemes = vec!["https".to_owned()]).join("\n");
        assert!(text.contains("outboundPolicy.schemes (https)"), "{text}");
        for url in ["http://a.example/", "http://192.0.2.1/", "https://a.example:444/"] {
            let text = found(url, &|policy| policy.ports = vec![Ports::one(443)]).join("\n");
            assert!(text.contains("outboundPolicy.ports"), "{url}: {text}");
        }
        assert!(found("https://a.example/", &|policy| policy.ports = vec![Ports::one(443)]).is_empty());
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let sinks = vec![
            EventSink::new(EventSinkKind::File),
            EventSink::new(EventSinkKind::Rpc),
            EventSink { url: Some("http://a/".into()), retries: Some(1), ..to_file("a") },
            EventSink { file_length: Some(5000), ..to_url("ftp://user:word@a/") },
            EventSink {
                file_chunk_time: Some("25:00:00".into()),
                file_chunk_length: Some(0),
                file_length: Some(1),
                queue: Some(0),
                ..to_file("a")
            },
            EventSink {
                timeout: Some(Seconds::new(0)),
                retries: Some(2_000_000),
                retry_delay: Some(Seconds::new(0)),
                retry_delay_max: Some(Seconds::new(3601)),
                ..to_url("http://a/")
            },
            to_file("server.log"),
        ];
        let found = mistakes(sinks, &["inStreamCreted", "hlsChunkClosed", "nothingLikeIt"]);
        let paths: Vec<_> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
        let expected = [
            "enabledEvents[1]",
            "enabledEvents[2]",
            "enabledEvents[3]",
            "sinks[1].filename",
            "sinks[2].url",
            "sinks[3].url",
            "sinks[3].retries",
            "sinks[4].fileLength",
            "sinks[4].url",
            "sinks[5].queue",
            "sinks[5].fileChunkLength",
            "sinks[5].fileLength",
            "sinks[5].fileChunkTime",
            "sinks[5].fileChunkTime",
            "sinks[5].filename",
            "sinks[6].timeout",
            "sinks[6].retryDelay",
            "sinks[6].retryDelayMax",
            "sinks[6].retries",
            "sinks[7].filename",
        ];
        assert_eq!(paths, expected.map(|end| format!("{PATH}.{end}")));
        assert!(found[0].ends_with("did you mean \"inStreamCreated\"?"), "{}", found[0]);
        assert!(found[1].contains("HLS"), "{}", found[1]);
        assert!(!found[8].contains("word"), "{}", found[8]);
        let found = mistakes(Vec::new(), &["streamCreated"]);
        assert!(found[0].contains("message streams that neither publish nor play"), "{}", found[0]);
    }
}
