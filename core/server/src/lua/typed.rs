//! The plain tree of a script as the typed configuration, with every mistake in it.
//!
//! serde stops at the first mistake. So each one is noted, mended with a harmless value, and serde is asked again:
//! the author sees all of them at once. What is mended is never used.

use std::ops::RangeInclusive;

use crtmp_host::config::{
    ACCEPTOR_KEYS, APPLICATION_KEYS, Appender, Application, Bandcheck, ConfigError, Configuration, EventSink,
    Off, Processes, Refusal, Scope, did_you_mean, quoted, refused_key,
};
use crtmp_media::Limits;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use super::tree::{LIST, join};

/// How many mistakes are collected.
const MISTAKES: usize = 100;

/// How many known keys are listed beside an unknown one.
const SHOWN_KEYS: usize = 10;

/// The configuration that the tree describes, or all that is wrong with it.
pub(super) fn configuration(mut tree: Value) -> Result<Configuration, Vec<ConfigError>> {
    let mut mistakes = Vec::new();
    shape(&mut tree, &mut mistakes);
    loop {
        match serde_path_to_error::deserialize::<_, Configuration>(&tree) {
            Ok(configuration) if mistakes.is_empty() => return Ok(configuration),
            Ok(_) => return Err(mistakes),
            Err(error) => {
                let place: Vec<_> = error.path().iter().cloned().collect();
                let mended = note(&mut tree, &place, &error.inner().to_string(), &mut mistakes);
                if !mended || mistakes.len() >= MISTAKES {
                    return Err(mistakes);
                }
            }
        }
    }
}

/// Brings the tree into the form of the types: refused keys out, settings apart, tables where tables belong.
fn shape(tree: &mut Value, mistakes: &mut Vec<ConfigError>) {
    let path = "configuration";
    let Some(top) = table(tree, path, "a table with named keys", &json!({}), mistakes) else { return };
    refuse(top, Scope::Top, path, mistakes);
    if let Some(limits) = top.get_mut("limits") {
        table(limits, &join(path, "limits"), "a table of limits", &json!({}), mistakes);
    }
    if matches!(top.get("plugins"), Some(Value::Object(map)) if map.is_empty()) {
        top.insert("plugins".into(), json!([]));
    }
    entries(top, "logAppenders", path, mistakes, |appender, path, mistakes| {
        if let Some(appender) =
            table(appender, path, "a table with `type`", &json!({ "type": "console" }), mistakes)
        {
            refuse(appender, Scope::Appender, path, mistakes);
        }
    });
    shape_event_logger(top, path, mistakes);
    let outbound = ["schemes", "ports", "denyPorts", "allow", "deny"];
    for (key, expected, lists) in [
        ("processes", "a table with `allow`", &["allow", "variables"][..]),
        ("outboundPolicy", "a table with `allow`, `deny` or the like", &outbound),
    ] {
        let Some(value) = top.get_mut(key) else { continue };
        let Some(table) = table(value, &join(path, key), expected, &json!({}), mistakes) else { continue };
        for list in lists {
            if let Some(entries @ Value::Object(_)) = table.get_mut(*list) {
                empty_is_list(entries);
            }
        }
    }
    let path = join(path, "applications");
    let Some(applications) = top.get_mut("applications") else { return };
    let expected = "a list of applications and `rootDirectory`";
    let Some(applications) = table(applications, &path, expected, &json!({}), mistakes) else { return };
    let Some(Value::Array(list)) = applications.get_mut(LIST) else { return };
    for (index, application) in list.iter_mut().enumerate() {
        let path = format!("{path}[{}]", index + 1);
        if let Some(application) = table(application, &path, "a table with `name`", &json!({}), mistakes) {
            shape_application(application, &path, mistakes);
        }
    }
}

fn shape_event_logger(top: &mut Map<String, Value>, path: &str, mistakes: &mut Vec<ConfigError>) {
    let Some(logger) = top.get_mut("eventLogger") else { return };
    let path = join(path, "eventLogger");
    let Some(logger) = table(logger, &path, "a table with `sinks`", &json!({}), mistakes) else { return };
    let no_names = |map: &mut Map<String, Value>| {
        if let Some(names @ Value::Object(_)) = map.get_mut("enabledEvents") {
            empty_is_list(names);
        }
    };
    no_names(logger);
    entries(logger, "sinks", &path, mistakes, |sink, path, mistakes| {
        if let Some(sink) = table(sink, path, "a table with `type`", &json!({ "type": "file" }), mistakes) {
            no_names(sink);
        }
    });
}

fn shape_application(application: &mut Map<String, Value>, path: &str, mistakes: &mut Vec<ConfigError>) {
    refuse(application, Scope::Application, path, mistakes);
    for list in ["aliases", "filters", "loadFrom"] {
        if matches!(application.get(list), Some(Value::Object(map)) if map.is_empty()) {
            application.insert(list.into(), json!([]));
        }
    }
    if let Some(authentication) = application.get_mut("authentication") {
        let path = join(path, "authentication");
        let harmless = json!({ "rtmp": { "type": "query", "usersFile": "" } });
        let table = table(authentication, &path, "a table with `rtmp`", &harmless, mistakes);
        if let Some(authentication) = table {
            shape_authentication(authentication, &path, mistakes);
        }
    }
    if let Some(bandcheck) = application.get_mut("bandcheck") {
        let expected = "a table with `key`, `limitKbps` or the like";
        table(bandcheck, &join(path, "bandcheck"), expected, &json!({}), mistakes);
    }
    entries(application, "acceptors", path, mistakes, |acceptor, path, mistakes| {
        let harmless = json!({ "ip": "::", "port": 0, "protocol": "" });
        if let Some(acceptor) =
            table(acceptor, path, "a table with `ip`, `port` and `protocol`", &harmless, mistakes)
        {
            refuse(acceptor, Scope::Acceptor, path, mistakes);
            set_apart(acceptor, ACCEPTOR_KEYS, "keys");
            misspelt_back(acceptor);
        }
    });
    entries(application, "externalStreams", path, mistakes, |stream, path, mistakes| {
        if !stream.is_object() {
            // It may hold a password, so it is not shown.
            let mistake = ConfigError::new(path, "something that is no table", "a table with `uri`");
            mistakes.push(mistake.suggest("put one more pair of braces around it"));
            *stream = json!({ "uri": "rtmp://localhost/live/stream" });
        }
    });
    set_apart(application, APPLICATION_KEYS, "settings");
}

fn shape_authentication(table: &mut Map<String, Value>, path: &str, mistakes: &mut Vec<ConfigError>) {
    refuse(table, Scope::Authentication, path, mistakes);
    if let Some(Value::Object(rtmp)) = table.get_mut("rtmp")
        && let Some(agents @ Value::Object(_)) = rtmp.get_mut("encoderAgents")
    {
        empty_is_list(agents);
    }
}

/// Puts keys of an acceptor back that stand for a key which is missing, so that the mistake is named as what it is.
fn misspelt_back(acceptor: &mut Map<String, Value>) {
    let missing: Vec<&str> =
        ACCEPTOR_KEYS.iter().copied().filter(|key| !acceptor.contains_key(*key)).collect();
    let Some(Value::Object(keys)) = acceptor.get_mut("keys") else { return };
    let meant = |key: &str| did_you_mean(key, missing.iter().copied()).is_some();
    let back: Vec<String> = keys.keys().filter(|key| meant(key)).cloned().collect();
    let back: Vec<_> = back.into_iter().filter_map(|key| keys.remove_entry(&key)).collect();
    acceptor.extend(back);
}

/// Puts all keys that are not `known` into a table of their own, under `into`.
fn set_apart(map: &mut Map<String, Value>, known: &[&str], into: &str) {
    let keys: Vec<_> = map.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    let mut apart = Map::new();
    for key in keys {
        if let Some(mut value) = map.remove(&key) {
            empty_is_list(&mut value);
            apart.insert(key, value);
        }
    }
    map.insert(into.into(), Value::Object(apart));
}

/// Takes out the keys that are refused by name.
fn refuse(map: &mut Map<String, Value>, scope: Scope, path: &str, mistakes: &mut Vec<ConfigError>) {
    map.retain(|key, value| {
        let Some(refused) = refused_key(scope, key) else { return true };
        let accepted = match refused.off {
            Off::Nothing => false,
            Off::False => *value == Value::Bool(false),
            Off::Empty => matches!(value, Value::Object(map) if map.is_empty()),
        };
        if !accepted {
            let mistake = match refused.refusal {
                Refusal::Later(feature) => ConfigError::new(
                    join(path, key),
                    format!("a key of {feature}, which is not supported yet"),
                    match refused.off {
                        Off::Nothing => "no such key",
                        Off::False => "no such key, or false",
                        Off::Empty => "no such key, or an empty table",
                    },
                ),
                Refusal::Never(instead) => {
                    ConfigError::new(join(path, key), "a key that is not supported", "no such key")
                        .suggest(instead)
                }
            };
            mistakes.push(mistake);
        }
        false
    });
}

/// Visits the entries of the list under `key`; an empty table is an empty list.
fn entries(
    map: &mut Map<String, Value>,
    key: &str,
    path: &str,
    mistakes: &mut Vec<ConfigError>,
    mut visit: impl FnMut(&mut Value, &str, &mut Vec<ConfigError>),
) {
    let Some(value) = map.get_mut(key) else { return };
    let path = join(path, key);
    match value {
        Value::Array(list) => {
            for (index, entry) in list.iter_mut().enumerate() {
                visit(entry, &format!("{path}[{}]", index + 1), mistakes);
            }
        }
        Value::Object(map) if map.is_empty() => *value = json!([]),
        Value::Object(_) => {
            let mistake = ConfigError::new(path, "a table with named keys", "a list of tables");
            mistakes.push(mistake.suggest("put one more pair of braces around it"));
            *value = json!([]);
        }
        _ => {
            mistakes.push(ConfigError::new(path, show(value), "a list of tables"));
            *value = json!([]);
        }
    }
}

/// The value as a table with named keys; else notes the mistake and puts something harmless there.
fn table<'a>(
    value: &'a mut Value,
    path: &str,
    expected: &str,
    harmless: &Value,
    mistakes: &mut Vec<ConfigError>,
) -> Option<&'a mut Map<String, Value>> {
    if !value.is_object() {
        mistakes.push(ConfigError::new(path, show(value), expected));
        *value = harmless.clone();
        return None;
    }
    value.as_object_mut()
}

/// In settings an empty table is an empty list: a type with defaults can be read from either, a list cannot be
/// read from an empty map.
fn empty_is_list(value: &mut Value) {
    match value {
        Value::Object(map) if map.is_empty() => *value = json!([]),
        Value::Object(map) => map.values_mut().for_each(empty_is_list),
        Value::Array(list) => list.iter_mut().for_each(empty_is_list),
        _ => {}
    }
}

/// Notes what serde refused at `place` and mends it; whether that could be done.
fn note(tree: &mut Value, place: &[Segment], message: &str, mistakes: &mut Vec<ConfigError>) -> bool {
    let path = path_text(place);
    let key = place.iter().rev().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    if let Some(missing) = between(message, "missing field `") {
        mistakes.push(ConfigError::new(
            join(&path, missing),
            "nothing",
            expected_at(place, missing, message),
        ));
        let harmless = match missing {
            "ip" => json!("::"),
            "port" => json!(0),
            "type" => json!(harmless_type(place)),
            "rtmp" => json!({ "type": "query", "usersFile": "" }),
            _ => json!(""),
        };
        let Some(Value::Object(map)) = find(tree, place) else { return false };
        return map.insert(missing.to_owned(), harmless).is_none();
    }
    if message.starts_with("unknown field") {
        let key = key.unwrap_or_default();
        // Where other keys have been set apart is none of the script's.
        let known: Vec<_> = backticked(message).skip(1).filter(|key| *key != "keys").collect();
        let expected = if known.len() <= SHOWN_KEYS {
            format!("one of `{}`", known.join("`, `"))
        } else {
            "one of the keys in docs/configuration.md".into()
        };
        let mistake = ConfigError::new(path, "an unknown key", expected);
        let Some(near) = did_you_mean(key, known) else {
            mistakes.push(mistake);
            return remove(tree, place);
        };
        mistakes.push(mistake.suggest(format!("did you mean `{near}`?")));
        return rename(tree, place, near);
    }
    let Some(value) = find(tree, place) else {
        mistakes.push(ConfigError::new(path, message, "a valid value"));
        return false;
    };
    let expected = expected_at(place, key.unwrap_or_default(), message);
    let mistake = ConfigError::new(path, show(value), expected);
    mistakes.push(match remedy(value, key.unwrap_or_default(), message) {
        Some(remedy) => mistake.suggest(remedy),
        None => mistake,
    });
    match place.last() {
        // Only the entries of a list of texts, ports or addresses get here; every other list has been looked at.
        Some(Segment::Seq { .. }) => {
            *value = match key {
                Some("ports" | "denyPorts") => json!(1),
                Some("allow" | "deny") => json!("0.0.0.0"),
                _ => json!(""),
            };
            true
        }
        _ => match key {
            Some("ip") => replace(value, "::"),
            Some("usersFile") => replace(value, ""),
            Some("type") => replace(value, harmless_type(place)),
            Some("rtmp") => {
                *value = json!({ "type": "query", "usersFile": "" });
                true
            }
            Some("port") => {
                *value = json!(0);
                true
            }
            Some("protocol") => replace(value, Application::PROTOCOL),
            _ => remove(tree, place),
        },
    }
}

/// A value for `type`, of a log appender, a sink of events or an authentication.
fn harmless_type(place: &[Segment]) -> &'static str {
    match () {
        () if is_of_events(place) => "file",
        () if is_of_authentication(place) => "query",
        () => "console",
    }
}

fn is_of_authentication(place: &[Segment]) -> bool {
    place.iter().any(|segment| matches!(segment, Segment::Map { key } if key == "authentication"))
}

fn is_of_events(place: &[Segment]) -> bool {
    matches!(place.first(), Some(Segment::Map { key }) if key == "eventLogger")
}

fn is_of_outbound(place: &[Segment]) -> bool {
    matches!(place.first(), Some(Segment::Map { key }) if key == "outboundPolicy")
}

fn replace(value: &mut Value, harmless: &str) -> bool {
    *value = json!(harmless);
    true
}

/// `configuration.applications[2].acceptors[1].port`, from the place in the types.
fn path_text(place: &[Segment]) -> String {
    let mut path = String::from("configuration");
    for segment in place {
        match segment {
            // In Lua the entries stand directly in `applications`.
            Segment::Map { key } if key == LIST && path == "configuration.applications" => {}
            Segment::Map { key } => path = join(&path, key),
            Segment::Seq { index } => path.push_str(&format!("[{}]", index + 1)),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    path
}

fn find<'a>(tree: &'a mut Value, place: &[Segment]) -> Option<&'a mut Value> {
    place.iter().try_fold(tree, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

/// Looks at the value of a mistyped key as if it stood under the right one, unless something stands there. Tables
/// under a mistyped key have not been brought into shape and are not looked at.
fn rename(tree: &mut Value, place: &[Segment], near: &str) -> bool {
    let Some((Segment::Map { key }, table)) = place.split_last() else { return false };
    let Some(map) = find(tree, table).and_then(Value::as_object_mut) else { return false };
    let Some(value) = map.remove(key) else { return false };
    if !value.is_object() && !value.is_array() {
        map.entry(near).or_insert(value);
    }
    true
}

fn remove(tree: &mut Value, place: &[Segment]) -> bool {
    let Some((Segment::Map { key }, table)) = place.split_last() else { return false };
    find(tree, table).and_then(Value::as_object_mut).is_some_and(|map| map.remove(key).is_some())
}

/// What belongs under `key` at `place`.
fn expected_at(place: &[Segment], key: &str, message: &str) -> String {
    let whole =
        |range: RangeInclusive<u64>| format!("a whole number from {} to {}", range.start(), range.end());
    let seconds =
        |range: RangeInclusive<f64>| format!("a number of seconds from {} to {}", range.start(), range.end());
    let is_entry = matches!(place.last(), Some(Segment::Seq { .. }));
    match key {
        "ports" | "denyPorts" if !is_entry => "a list of ports".into(),
        "schemes" | "allow" | "deny" if is_of_outbound(place) && !is_entry => "a list of strings".into(),
        "allow" | "deny" if is_of_outbound(place) => match message.rsplit_once("expected ") {
            Some((_, expected)) if expected != "a string" => expected.to_owned(),
            _ => "an IP address, or a network such as \"10.0.0.0/8\" or \"fd00::/8\"".into(),
        },
        "type" if is_of_authentication(place) => one_of(&["adobe", "query"]),
        "rtmp" => "a table with `type` and `usersFile`".into(),
        _ if !is_of_events(place) => expectation(key, message),
        "type" => one_of(&["file", "RPC"]),
        "format" => one_of(&["text", "json", "xml", "w3c"]),
        "serializerType" => one_of(&["JSON", "XML", "XMLRPC"]),
        "timestamp" | "appendTimestamp" | "appendInstance" => "true or false".into(),
        "enabledEvents" => "a list of strings".into(),
        "queue" => whole(EventSink::QUEUE),
        "fileChunkLength" => whole(EventSink::FILE_CHUNK_LENGTH),
        "retries" => whole(EventSink::RETRIES),
        "timeout" => seconds(EventSink::TIMEOUT),
        "retryDelay" | "retryDelayMax" => seconds(EventSink::RETRY_DELAY),
        _ => expectation(key, message),
    }
}

/// What belongs under `key`, in the words of the documentation.
fn expectation(key: &str, message: &str) -> String {
    let whole =
        |range: RangeInclusive<u64>| format!("a whole number from {} to {}", range.start(), range.end());
    let seconds =
        |range: RangeInclusive<f64>| format!("a number of seconds from {} to {}", range.start(), range.end());
    match key {
        "daemon"
        | "default"
        | "validateHandshake"
        | "singleLine"
        | "authenticatePublish"
        | "authenticatePlay"
        | "enableCheckBandwidth" => "true or false".into(),
        "encoderAgents" | "aliases" | "filters" | "plugins" | "allow" | "variables" | "loadFrom" => {
            "a list of strings".into()
        }
        "maxProcesses" => whole(Processes::MAX_PROCESSES),
        "stopGrace" => seconds(Processes::STOP_GRACE),
        "maxConnections" => whole(Application::MAX_CONNECTIONS),
        "maxCommandBytes" => whole(Application::MAX_COMMAND_BYTES),
        "pingInterval" => seconds(Application::PING_INTERVAL),
        "interval" => seconds(Bandcheck::INTERVAL),
        "limitKbps" => whole(Bandcheck::LIMIT_KBPS),
        "ip" => "an IP address such as \"0.0.0.0\" or \"::\"".into(),
        "port" => whole(0..=65535),
        "workers" => whole(Configuration::WORKERS),
        "level" | "specificLevel" => whole(Appender::LEVEL),
        "fileLength" => whole(Appender::FILE_LENGTH),
        "fileHistorySize" => whole(Appender::FILE_HISTORY_SIZE),
        "mailbox" => whole(Application::MAILBOX),
        "sendBuffer" => whole(Application::SEND_BUFFER),
        "chunkSize" => whole(Application::CHUNK_SIZE),
        "shutdownTimeout" => seconds(Configuration::SHUTDOWN_TIMEOUT),
        "publisherReturn" | "playWait" => seconds(Application::WAIT),
        "hookTimeout" | "laterTimeout" => seconds(Application::TIMEOUT),
        "type" => one_of(&["console", "coloredConsole", "file", "json"]),
        "duplicatePublisher" => one_of(&["reject", "replace", "replaceIfIdle"]),
        "protocol" => "the name of a chain, such as \"inboundRtmp\"".into(),
        _ => limit_range(key).unwrap_or_else(|| match message.rsplit_once("expected ") {
            Some((_, "a string" | "path string")) | None => "a string".into(),
            Some((_, expected)) => expected.to_owned(),
        }),
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("one of {}", words.join(", "))
}

/// The range of a limit, which the limits themselves tell of a value that is out of it.
fn limit_range(key: &str) -> Option<String> {
    let absurd = [json!(u64::from(u32::MAX) * 8), json!(31_536_000)];
    let read = |value: &Value| serde_json::from_value::<Limits>(json!({ key: value })).ok();
    absurd.iter().find_map(read)?.check().err().map(|error| error.expected)
}

/// What to do about a value, where the expectation alone does not say it.
fn remedy(value: &Value, key: &str, message: &str) -> Option<String> {
    match value {
        Value::String(text) if message.starts_with("unknown variant") => {
            did_you_mean(text, backticked(message).skip(1))
                .map(|near| format!("did you mean {}?", quoted(near)))
        }
        Value::String(text) if key == "ip" && !text.is_empty() => {
            Some("host names are not looked up, write the address".into())
        }
        Value::String(text) if text.trim().parse::<f64>().is_ok() => Some("write it without quotes".into()),
        Value::String(text) if text == "true" || text == "false" => Some("write it without quotes".into()),
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_some_and(|number| number.fract() == 0.0) =>
        {
            Some("write it without a fraction; in Lua `//` divides without one".into())
        }
        _ => None,
    }
}

fn between<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

/// The words that serde puts between backticks.
fn backticked(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// A value as it stands in the script, and its kind.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("{value} (a boolean)"),
        Value::Number(value) => format!("{value} (a number)"),
        Value::String(text) => format!("{} (a string)", quoted(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(map) if map.is_empty() => "an empty table".into(),
        Value::Object(_) => "a table with named keys".into(),
    }
}
