//! What a pull or a push is to do, read from a table of the configuration, the parameters of a command, or the file in
//! which the server keeps what commands have set up.

use std::fmt;

use crtmp_media::{Limits, PublishKind, StreamName};
use crtmp_reactor::SocketOptions;
use serde_json::{Map, Value, json};

use super::uri::{Target, URI, Uri, chain_of, without_user};
use crate::{
    config::quoted,
    outbound::Origin,
    secrets::{MASK, mask_text},
};

/// Addresses that one pull or push may have.
pub(crate) const URIS: usize = 16;

/// Seconds of a recording that `rangeStart` and `rangeEnd` may name: about three years.
const RANGE: f64 = 1e8;

/// Keys for TLS that hold texts.
const TLS_TEXTS: [&str; 7] =
    ["tlsCa", "tlsPin", "tlsName", "tlsCert", "tlsKey", "tlsMinVersion", "cipherSuite"];

/// Those of them that name files.
pub(crate) const TLS_FILES: [&str; 3] = ["tlsCa", "tlsCert", "tlsKey"];

/// What goes in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// A stream of another server becomes one of ours.
    Pull,
    /// A stream of ours is published at another server.
    Push,
}

/// The keys that pulls and pushes have, beside those for TLS.
const KEYS: [&str; 12] = [
    "uri",
    "localStreamName",
    "targetStreamName",
    "keepAlive",
    "tcUrl",
    "swfUrl",
    "pageUrl",
    "emulateUserAgent",
    "ttl",
    "tos",
    "httpProxy",
    "tlsVerify",
];

/// The keys of a pull alone.
const PULL_KEYS: [&str; 10] = [
    "rangeStart",
    "rangeEnd",
    "forceTcp",
    "rtcpDetectionInterval",
    "ssmIp",
    "isAudio",
    "audioCodecBytes",
    "spsBytes",
    "ppsBytes",
    "sendRenewStream",
];

/// The keys of a push alone.
const PUSH_KEYS: [&str; 4] =
    ["targetStreamType", "rtmpAbsoluteTimestamps", "sendChunkSizeRequest", "useSourcePts"];

/// A pull or a push.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) direction: Direction,
    /// The application that the stream here belongs to.
    pub(crate) application: String,
    /// Who has chosen the address.
    pub(crate) origin: Origin,
    /// The stream here.
    pub(crate) local: String,
    /// Whether it begins again after an end.
    pub(crate) keep_alive: bool,
    /// Where it leads, in the order in which to try.
    pub(super) targets: Vec<Target>,
    /// What the far end is told of us.
    pub(super) said: Said,
    pub(super) options: SocketOptions,
    pub(super) start_ms: i64,
    pub(super) duration_ms: i64,
    pub(super) publish: PublishKind,
    /// Whether the far end is asked to take chunks of the application's size.
    pub(super) own_chunks: bool,
    /// The keys for TLS, where there are any: as JSON.
    pub(super) tls: String,
    /// What it was made of, complete.
    settings: Map<String, Value>,
}

/// What is said when connecting; none: what follows from the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) tc_url: Option<String>,
    pub(super) swf_url: Option<String>,
    pub(super) page_url: Option<String>,
    pub(super) agent: Option<String>,
}

/// What is wrong with a table of settings. No address is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The key; `uri[2]` for the second of several.
    pub(crate) key: String,
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: found {}, expected {}", self.key, self.found, self.expected)
    }
}

impl Definition {
    /// Reads settings; what is null counts as not given.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub(crate) fn read(
        direction: Direction,
        application: &str,
        origin: Origin,
        given: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<Self, Wrong> {
        let known = direction.keys();
        if let Some(key) = given.keys().find(|key| !known.contains(&key.as_str())) {
            let near = crate::config::did_you_mean(key, known.iter().copied());
            let expected = near.map_or_else(|| known.join(", "), |near| format!("a key such as `{near}`"));
            return Err(wrong(key, "an unknown key", &expected));
        }
        let read = Read { given };
        match direction {
            Direction::Pull => read.neutral_for_pull()?,
            Direction::Push => read.neutral_for_push()?,
        }
        let local = read.text("localStreamName")?;
        let target_name = match (direction, &local) {
            (Direction::Pull, _) => read.text("targetStreamName")?,
            (Direction::Push, Some(local)) => {
                Some(read.text("targetStreamName")?.unwrap_or_else(|| local.clone()))
            }
            (Direction::Push, None) => {
                return Err(wrong("localStreamName", "nothing", "the stream that is pushed"));
            }
        };
        let targets = read.targets(target_name.as_deref())?;
        let tls = read.tls(&targets)?;
        let first = targets.first().map(|target| target.stream.clone()).unwrap_or_default();
        let computed = first.split('?').next().unwrap_or_default().to_owned();
        let local = local.unwrap_or(computed);
        if local.contains('?') {
            return Err(wrong("localStreamName", "a name with `?`", "the name of a stream, without query"));
        }
        let local = StreamName::new("", &local, limits)
            .map_err(|error| wrong("localStreamName", &error.to_string(), "the name of a stream"))?
            .to_string();
        let publish = match read.text("targetStreamType")?.as_deref() {
            None | Some("live") => PublishKind::Live,
            Some("record") => PublishKind::Record,
            Some("append") => PublishKind::Append,
            Some(other) => {
                let expected = "one of \"live\", \"record\" and \"append\"";
                return Err(wrong("targetStreamType", &quoted(other), expected));
            }
        };
        // Packets carry absolute times whatever it says.
        read.flag("rtmpAbsoluteTimestamps", false)?;
        let (start_ms, duration_ms) = read.range()?;
        let definition = Self {
            direction,
            application: application.to_owned(),
            origin,
            local,
            keep_alive: read.flag("keepAlive", true)?,
            targets,
            said: Said {
                tc_url: read.text("tcUrl")?,
                swf_url: read.text("swfUrl")?,
                page_url: read.text("pageUrl")?,
                agent: read.text("emulateUserAgent")?,
            },
            options: SocketOptions { ttl: read.byte("ttl", 1)?, tos: read.byte("tos", 0)? },
            start_ms,
            duration_ms,
            publish,
            own_chunks: read.flag("sendChunkSizeRequest", true)?,
            tls,
            settings: Map::new(),
        };
        let settings = definition.complete(given);
        Ok(Self { settings, ..definition })
    }

    /// All settings with their defaults, as they were given: addresses may hold passwords.
    pub(crate) fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// All settings for others to see. What an address or a text holds that is secret is not in it, for nobody. The name
    /// at the far end of a push is often what lets whoever knows it publish there: only those see it that may see `all`.
    pub(crate) fn shown(&self, all: bool) -> Map<String, Value> {
        let mut shown = Value::Object(self.settings.clone());
        match &mut shown["uri"] {
            Value::String(text) => *text = without_user(text),
            Value::Array(texts) => texts.iter_mut().for_each(|text| {
                *text = without_user(text.as_str().unwrap_or_default()).into();
            }),
            _ => {}
        }
        crate::secrets::mask(&mut shown);
        if self.direction == Direction::Push && !all {
            if shown["targetStreamName"].is_string() {
                shown["targetStreamName"] = MASK.into();
            }
            let place = |target: &Target| Value::from(mask_text(&target.place()));
            shown["uri"] = match self.targets.as_slice() {
                [one] => place(one),
                many => many.iter().map(place).collect(),
            };
        }
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }

    /// Its first address without stream, for the log.
    pub(crate) fn place(&self) -> String {
        self.targets.first().map(|target| mask_text(&target.place())).unwrap_or_default()
    }

    /// Whether it would do what another one does already.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        // Who says who it is at the same place is no other.
        let places = |one: &Self| {
            let place =
                |target: &Target| (target.uri.host_and_port(), target.app.clone(), target.stream.clone());
            one.targets.iter().map(place).collect::<Vec<_>>()
        };
        self.direction == other.direction
            && self.local == other.local
            && self.application == other.application
            && places(self) == places(other)
    }

    /// Addresses that need no look-up, with those that say so: they can be judged at once.
    pub(crate) fn literal_addresses(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        self.targets.iter().filter_map(|target| target.uri.host_and_port().parse().ok())
    }

    /// What layers of its connections prepare: the chains of its addresses, and the keys.
    pub(crate) fn to_prepare(&self) -> (impl Iterator<Item = &'static str>, Map<String, Value>) {
        (self.schemes().map(chain_of), keys_of(&self.tls))
    }

    /// The schemes of its addresses.
    pub(crate) fn schemes(&self) -> impl Iterator<Item = &'static str> {
        self.targets.iter().map(|target| target.uri.scheme)
    }

    fn complete(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let uri = given.get("uri").cloned().unwrap_or_default();
        let Said { tc_url, swf_url, page_url, agent } = &self.said;
        let mut all = json!({
            "uri": uri,
            "localStreamName": self.local,
            "keepAlive": self.keep_alive,
            "tcUrl": tc_url,
            "swfUrl": swf_url,
            "pageUrl": page_url,
            "emulateUserAgent": agent,
            "ttl": self.options.ttl,
            "tos": self.options.tos,
        });
        let seconds = |ms: i64| if ms < 0 { (ms / 1000) as f64 } else { ms as f64 / 1000.0 };
        match self.direction {
            Direction::Pull => {
                all["targetStreamName"] = given.get("targetStreamName").cloned().unwrap_or_default();
                all["rangeStart"] = seconds(self.start_ms).into();
                all["rangeEnd"] =
                    if self.duration_ms < 0 { (-1.0).into() } else { seconds(self.duration_ms).into() };
            }
            Direction::Push => {
                let name = given.get("targetStreamName").cloned().unwrap_or_default();
                all["targetStreamName"] = name;
                all["targetStreamType"] = match self.publish {
                    PublishKind::Live => "live",
                    PublishKind::Record => "record",
                    PublishKind::Append => "append",
                }
                .into();
                all["sendChunkSizeRequest"] = self.own_chunks.into();
                let absolute = given.get("rtmpAbsoluteTimestamps").and_then(flag);
                all["rtmpAbsoluteTimestamps"] = absolute.unwrap_or_default().into();
            }
        }
        match all {
            Value::Object(mut all) => {
                all.extend(keys_of(&self.tls));
                all
            }
            _ => Map::new(),
        }
    }
}

/// The keys for TLS.
pub(super) fn keys_of(tls: &str) -> Map<String, Value> {
    serde_json::from_str(tls).unwrap_or_default()
}

impl Direction {
    /// Its keys.
    pub(crate) fn keys(self) -> Vec<&'static str> {
        let own: &[_] = match self {
            Self::Pull => &PULL_KEYS,
            Self::Push => &PUSH_KEYS,
        };
        [&KEYS[..], &TLS_TEXTS, own].concat()
    }

    /// Its name, in commands and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

/// Settings as they were given.
struct Read<'a> {
    given: &'a Map<String, Value>,
}

impl Read<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.given.get(key).filter(|value| !value.is_null())
    }

    /// The keys for TLS, which need an address with it.
    fn tls(&self, targets: &[Target]) -> Result<String, Wrong> {
        let mut keys = Map::new();
        for key in TLS_TEXTS {
            keys.extend(self.text(key)?.map(|text| (key.to_owned(), text.into())));
        }
        if self.value("tlsVerify").is_some() {
            keys.insert("tlsVerify".to_owned(), self.flag("tlsVerify", true)?.into());
        }
        match keys.keys().next() {
            None => Ok(String::new()),
            Some(_) if targets.iter().any(|target| target.uri.is_within_tls()) => {
                Ok(Value::Object(keys).to_string())
            }
            Some(key) => Err(wrong(key, "a key for TLS", "none, or an address of rtmps:// or rtmpts://")),
        }
    }

    /// A text; an empty one counts as not given.
    fn text(&self, key: &str) -> Result<Option<String>, Wrong> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let expected = format!("a text of at most {URI} bytes without control characters");
        let text = value.as_str().ok_or_else(|| wrong(key, kind_of(value), &expected))?;
        if text.len() > URI || text.chars().any(char::is_control) {
            return Err(wrong(key, "another one", &expected));
        }
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Wrong> {
        let Some(value) = self.value(key) else { return Ok(default) };
        flag(value).ok_or_else(|| wrong(key, kind_of(value), "true or false"))
    }

    fn byte(&self, key: &str, from: u8) -> Result<Option<u8>, Wrong> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.fract() == 0.0);
        let byte =
            number.filter(|number| (f64::from(from)..=255.0).contains(number)).map(|number| number as u8);
        let expected = format!("a whole number from {from} to 255");
        let found = if value.is_number() { value.to_string() } else { kind_of(value).to_owned() };
        byte.map(Some).ok_or_else(|| wrong(key, &found, &expected))
    }

    /// Where to start, and how long: milliseconds, as RTMP says it.
    fn range(&self) -> Result<(i64, i64), Wrong> {
        let number = |key: &str, default: f64| match self.value(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| wrong(key, kind_of(value), "a number of seconds")),
        };
        let (start, end) = (number("rangeStart", -2.0)?, number("rangeEnd", -1.0)?);
        let is_start = start == -2.0 || start == -1.0 || (0.0..=RANGE).contains(&start);
        if !is_start {
            let expected = "-2 (live, else recorded), -1 (live only), or seconds from 0 on";
            return Err(wrong("rangeStart", &start.to_string(), expected));
        }
        if !(end == -1.0 || (0.0..=RANGE).contains(&end)) {
            let expected = "-1 (to the end), or a number of seconds from 0 on";
            return Err(wrong("rangeEnd", &end.to_string(), expected));
        }
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        Ok((ms(start), if end < 0.0 { -1 } else { ms(end) }))
    }

    /// One address, or several to fall back on.
    fn targets(&self, target_name: Option<&str>) -> Result<Vec<Target>, Wrong> {
        let expected = match target_name {
            Some(_) => "an address such as \"rtmp://host/application\", or a list of such",
            None => "an address such as \"rtmp://host/application/stream\", or a list of such",
        };
        let one = |key: &str, value: &Value| {
            let text = value.as_str().ok_or_else(|| wrong(key, kind_of(value), expected))?;
            let uri = Uri::parse(text).map_err(|found| wrong(key, &found, expected))?;
            let target = match target_name {
                // As in EvoStream: the whole path is the application's.
                Some(name) => uri.of_app(name).ok_or("an address without an application"),
                None => uri.with_stream().ok_or("an address without an application or without a stream"),
            };
            target.map_err(|found| wrong(key, found, expected))
        };
        match self.value("uri") {
            Some(Value::Array(list)) if list.is_empty() || list.len() > URIS => {
                Err(wrong("uri", &format!("{} addresses", list.len()), &format!("1 to {URIS} of them")))
            }
            Some(Value::Array(list)) => {
                let list = list.iter().enumerate();
                list.map(|(at, value)| one(&format!("uri[{}]", at + 1), value)).collect()
            }
            Some(value) => Ok(vec![one("uri", value)?]),
            None => Err(wrong("uri", "nothing", expected)),
        }
    }

    fn neutral_for_pull(&self) -> Result<(), Wrong> {
        const RTSP: &str = "it is for RTSP, which is not supported yet";
        self.neutral("forceTcp", &[json!(false), json!(0)], RTSP)?;
        self.neutral("httpProxy", &[json!("")], RTSP)?;
        self.neutral("rtcpDetectionInterval", &[json!(10), json!(10.0)], RTSP)?;
        self.neutral("ssmIp", &[json!("")], RTSP)?;
        self.neutral("isAudio", &[json!(true), json!(1)], RTSP)?;
        for key in ["audioCodecBytes", "spsBytes", "ppsBytes"] {
            self.neutral(key, &[json!("")], RTSP)?;
        }
        self.neutral("sendRenewStream", &[json!(false), json!(0)], RTSP)
    }

    fn neutral_for_push(&self) -> Result<(), Wrong> {
        self.neutral(
            "useSourcePts",
            &[json!(false), json!(0)],
            "no other times are made than the stream has",
        )?;
        self.neutral("httpProxy", &[json!("")], "it is for RTSP, which is not supported yet")
    }

    /// Only a value that asks for nothing.
    fn neutral(&self, key: &str, values: &[Value], why: &str) -> Result<(), Wrong> {
        match self.value(key) {
            Some(value) if !values.contains(value) => {
                let neutral = values.first().map(Value::to_string).unwrap_or_default();
                Err(wrong(key, "another value", &format!("{neutral}, or nothing: {why}")))
            }
            _ => Ok(()),
        }
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value.as_u64() {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => value.as_bool(),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn wrong(key: &str, found: &str, expected: &str) -> Wrong {
    Wrong { key: key.to_owned(), found: found.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(direction: Direction, settings: Value) -> Result<Definition, Wrong> {
        let Value::Object(settings) = settings else { panic!("not a table") };
        Definition::read(direction, "live", Origin::Request, &settings, &Limits::default())
    }

    fn pull(settings: Value) -> Result<Definition, Wrong> {
        read(Direction::Pull, settings)
    }

    fn push(settings: Value) -> Result<Definition, Wrong> {
        read(Direction::Push, settings)
    }

    #[test]
    fn a_pull_needs_no_more_than_an_address() {
        let definition = pull(json!({ "uri": "rtmp://h/app/cam?t=1" })).unwrap();
        assert_eq!((&*definition.local, definition.keep_alive), ("cam", true));
        assert_eq!((definition.start_ms, definition.duration_ms), (-2000, -1));
        let target = &definition.targets[0];
        assert_eq!((&*target.app, &*target.stream), ("app", "cam?t=1"));
        // What is kept reads the same again.
        let again = pull(Value::Object(definition.settings().clone())).unwrap();
        assert_eq!(again, definition);
        // Otherwise a name with slashes would be taken for a part of the application.
        let named = json!({ "uri": "rtmp://h/app/x", "targetStreamName": "a b/c?t=1" });
        let definition = pull(named).unwrap();
        assert_eq!((&*definition.targets[0].app, &*definition.targets[0].stream), ("app/x", "a b/c?t=1"));
        assert_eq!(definition.local, "a b/c");
        assert_eq!(pull(Value::Object(definition.settings().clone())).unwrap(), definition);
        let several =
            pull(json!({ "uri": ["rtmp://a/b/c", "rtmp://d/e/f"], "localStreamName": "x" })).unwrap();
        assert_eq!((several.targets.len(), &*several.local), (2, "x"));
    }

    #[test]
    fn a_push_names_its_streams() {
        let definition = push(json!({ "uri": "rtmp://h/app/instance", "localStreamName": "here" })).unwrap();
        let target = &definition.targets[0];
        assert_eq!((&*target.app, &*definition.local, &*target.stream), ("app/instance", "here", "here"));
        let key = json!({ "uri": "rtmp://h/live2", "localStreamName": "here", "targetStreamName": "k?x" });
        let definition = push(key).unwrap();
        assert_eq!((&*definition.targets[0].app, &*definition.targets[0].stream), ("live2", "k?x"));
        let again = push(Value::Object(definition.settings().clone())).unwrap();
        assert_eq!(again, definition);
        let kind = json!({ "uri": "rtmp://h/a", "localStreamName": "b", "targetStreamType": "append",
                "rtmpAbsoluteTimestamps": 1 });
        let definition = push(kind).unwrap();
        assert_eq!(definition.publish, PublishKind::Append);
        assert_eq!(definition.settings()["rtmpAbsoluteTimestamps"], true);
    }

    #[test]
    fn mistakes_name_the_key_and_no_secret() {
        let uri = "rtmp://h/a/b";
        let cases = [
            (json!({}), "uri"),
            (json!({ "uri": 1 }), "uri"),
            (json!({ "uri": [] }), "uri"),
            (json!({ "uri": vec![uri; URIS + 1] }), "uri"),
            (json!({ "uri": [uri, "rtmp://u:hidden@h/a"] }), "uri[2]"),
            (json!({ "uri": uri, "localStreamName": "a?b" }), "localStreamName"),
            (json!({ "uri": uri, "localStreamName": "../a" }), "localStreamName"),
            (json!({ "uri": uri, "keepAlive": "yes" }), "keepAlive"),
            (json!({ "uri": uri, "rangeStart": -3 }), "rangeStart"),
            (json!({ "uri": uri, "rangeEnd": -2 }), "rangeEnd"),
            (json!({ "uri": uri, "ttl": 0 }), "ttl"),
            (json!({ "uri": uri, "ttl": 256 }), "ttl"),
            (json!({ "uri": uri, "tos": 1.5 }), "tos"),
            (json!({ "uri": uri, "forceTcp": true }), "forceTcp"),
            (json!({ "uri": uri, "ssmIp": "1.2.3.4" }), "ssmIp"),
            (json!({ "uri": uri, "isAudio": 0 }), "isAudio"),
            (json!({ "uri": uri, "swfUrl": "hidden\n" }), "swfUrl"),
            (json!({ "uri": uri, "targetStreamName": 1 }), "targetStreamName"),
            (json!({ "uri": "rtmp://h", "targetStreamName": "x" }), "uri"),
            (json!({ "uri": uri, "hidden": 1 }), "hidden"),
        ];
        for (settings, key) in cases {
            let wrong = pull(settings.clone()).unwrap_err();
            assert_eq!(wrong.key, key, "{settings}");
            assert!(!wrong.found.contains("hidden") && !wrong.expected.contains("hidden"), "{wrong}");
        }
        for (settings, key) in [
            (json!({ "uri": uri }), "localStreamName"),
            (json!({ "uri": uri, "targetStreamName": "x" }), "localStreamName"),
            (json!({ "uri": uri, "localStreamName": "b", "targetStreamType": "x" }), "targetStreamType"),
            (json!({ "uri": uri, "localStreamName": "b", "useSourcePts": 1 }), "useSourcePts"),
            (json!({ "uri": "rtmp://h", "localStreamName": "x" }), "uri"),
        ] {
            assert_eq!(push(settings.clone()).unwrap_err().key, key, "{settings}");
        }
        assert!(pull(json!({ "uri": vec![uri; URIS] })).is_ok());
        let neutral =
            json!({ "uri": uri, "forceTcp": 0, "rtcpDetectionInterval": 10, "isAudio": 1, "ttl": 255 });
        assert!(pull(neutral).is_ok());
    }

    #[test]
    fn keys_for_tls_need_an_address_with_it() {
        let uri = "rtmps://h/a/b";
        let definition = pull(
            json!({ "uri": [uri, "rtmp://i/a/b"], "localStreamName": "x", "tlsVerify": 0, "tlsCa": "" }),
        );
        let definition = definition.unwrap();
        assert_eq!(definition.tls, r#"{"tlsVerify":false}"#);
        assert_eq!(definition.settings()["tlsVerify"], false);
        let (chains, keys) = definition.to_prepare();
        assert_eq!(chains.collect::<Vec<_>>(), ["outboundRtmps", "outboundRtmp"]);
        assert_eq!(keys, *json!({ "tlsVerify": false }).as_object().unwrap());
        assert_eq!(pull(json!({ "uri": uri })).unwrap().tls, "");
        // What is kept is read again as the same.
        let again = pull(Value::Object(definition.settings().clone())).unwrap();
        assert_eq!(again.tls, definition.tls);
        for key in
            ["tlsVerify", "tlsCa", "tlsPin", "tlsName", "tlsCert", "tlsKey", "tlsMinVersion", "cipherSuite"]
        {
            let value = if key == "tlsVerify" { json!(true) } else { json!("x") };
            let with = |uri: &str| json!({ "uri": uri, key: value });
            assert!(pull(with(uri)).is_ok() && pull(with("rtmpts://h/a/b")).is_ok(), "{key}");
            assert_eq!(pull(with("rtmp://h/a/b")).unwrap_err().key, key);
            let mut settings = with("rtmps://h/a");
            settings["localStreamName"] = "b".into();
            assert!(push(settings).is_ok(), "{key}");
        }
        assert_eq!(pull(json!({ "uri": uri, "tlsVerify": "perhaps" })).unwrap_err().key, "tlsVerify");
    }

    #[test]
    fn passwords_are_shown_to_nobody() {
        let several = ["rtmp://hidden@h/a/b", "rtmp://hidden:hidden@h/a/b", "rtmp://h/a/b"];
        let several = pull(json!({ "uri": several, "localStreamName": "x" })).unwrap();
        let shown = ["rtmp://***@h/a/b", "rtmp://***@h/a/b", "rtmp://h/a/b"];
        assert_eq!(several.shown(true)["uri"], json!(shown));
        let definition = pull(json!({ "uri": "rtmp://hidden:hidden@h/a/b?token=hidden" })).unwrap();
        assert!(!Value::Object(definition.shown(true)).to_string().contains("hidden"));
        assert!(!definition.place().contains("hidden"));
        let (uri, app) = (&definition.targets[0].uri, &definition.targets[0].app);
        let named = pull(json!({ "uri": "rtmp://h/a", "targetStreamName": "b?token=hidden" })).unwrap();
        assert!(!Value::Object(named.shown(true)).to_string().contains("hidden"));
        assert_eq!(uri.tc_url(app), "rtmp://h/a");
        let keys = [
            json!({ "uri": "rtmp://h/live2", "localStreamName": "a", "targetStreamName": "hidden" }),
            json!({ "uri": ["rtmp://h/a", "rtmp://u:x@i/a"], "localStreamName": "a", "targetStreamName": "hidden?x" }),
        ];
        for key in keys {
            let definition = push(key.clone()).unwrap();
            assert!(!Value::Object(definition.shown(false)).to_string().contains("hidden"), "{key}");
            assert!(Value::Object(definition.shown(true)).to_string().contains("hidden"), "{key}");
            assert!(!definition.place().contains("hidden"), "{key}");
        }
        let debug = format!("{:?}", definition.targets);
        assert!(!debug.contains("hidden:") && !debug.contains(":hidden"), "{debug}");
    }
}
