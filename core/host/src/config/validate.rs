//! What types cannot say: ranges, names that are unique, chains that exist, one default application.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crtmp_media::{Limits, Seconds};

use super::{Acceptor, Appender, AppenderKind, Application, ConfigError, Configuration, MergeWrite, quoted};
use crate::{
    links::{Definition, Direction},
    outbound::Origin,
};

/// The longest name or alias of an application, in bytes.
const NAME: usize = 255;

/// The shortest secret that lets a command line be reached from other machines, in bytes.
const SECRET: usize = 8;

/// Checks what the types of a configuration leave open, and returns every mistake, not just the first.
pub fn validate(configuration: &Configuration) -> Vec<ConfigError> {
    let mut check = Check { errors: Vec::new() };
    check.top(configuration);
    for (index, appender) in configuration.log_appenders.iter().enumerate() {
        check.appender(&format!("configuration.logAppenders[{}]", index + 1), appender);
    }
    check.one_appender_a_file(&configuration.log_appenders);
    super::event_logger_check::check(&mut check, configuration);
    super::processes::check(&mut check, configuration);
    super::outbound_policy::check(&mut check, configuration);
    let applications = &configuration.applications.list;
    for (index, application) in applications.iter().enumerate() {
        check.application(&format!("configuration.applications[{}]", index + 1), application);
        let path = format!("configuration.applications[{}].externalStreams", index + 1);
        check.external_streams(&path, application, &configuration.limits);
    }
    let (links, most) = (
        applications.iter().map(|one| one.external_streams.len()).sum::<usize>(),
        configuration.limits.links,
    );
    if links > most {
        check.error(
            "configuration.applications",
            format!("{links} externalStreams"),
            format!("at most limits.links = {most} of them in all"),
        );
    }
    check.unique_names(applications);
    check.one_default(applications);
    check.one_acceptor_a_port(applications);
    check.errors
}

pub(super) struct Check {
    errors: Vec<ConfigError>,
}

impl Check {
    pub(super) fn error(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.errors.push(ConfigError::new(path, found, expected));
    }

    pub(super) fn error_with(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.errors.push(ConfigError::new(path, found, expected).suggest(suggestion));
    }

    pub(super) fn whole(&mut self, path: String, value: Option<u64>, range: RangeInclusive<u64>) {
        if let Some(value) = value
            && !range.contains(&value)
        {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.error(path, value.to_string(), expected);
        }
    }

    pub(super) fn seconds(&mut self, path: String, value: Seconds, range: RangeInclusive<f64>) {
        let value = value.get().as_secs_f64();
        if !range.contains(&value) {
            let expected = format!("a number of seconds from {} to {}", range.start(), range.end());
            self.error(path, value.to_string(), expected);
        }
    }

    fn top(&mut self, configuration: &Configuration) {
        let path = |key| format!("configuration.{key}");
        self.whole(path("workers"), configuration.workers.map(u64::from), Configuration::WORKERS);
        self.seconds(
            path("shutdownTimeout"),
            configuration.shutdown_timeout,
            Configuration::SHUTDOWN_TIMEOUT,
        );
        self.seconds(path("drainTimeout"), configuration.drain_timeout, Configuration::DRAIN_TIMEOUT);
        if let Some(url) = &configuration.drain_url
            && (url.is_empty() || url.len() > Configuration::DRAIN_URL || url.chars().any(char::is_control))
        {
            let expected = format!("1 to {} bytes without control characters", Configuration::DRAIN_URL);
            self.error(path("drainUrl"), format!("a text of {} bytes", url.len()), expected);
        }
        if let Err(limit) = configuration.limits.check() {
            self.error(format!("configuration.limits.{}", limit.field), limit.found, limit.expected);
        }
    }

    fn appender(&mut self, path: &str, appender: &Appender) {
        let key = |key| format!("{path}.{key}");
        self.whole(key("level"), Some(appender.level.into()), Appender::LEVEL);
        self.whole(key("specificLevel"), Some(appender.specific_level.into()), Appender::LEVEL);
        self.whole(key("fileLength"), appender.file_length, Appender::FILE_LENGTH);
        self.whole(
            key("fileHistorySize"),
            appender.file_history_size.map(u64::from),
            Appender::FILE_HISTORY_SIZE,
        );
        let newline = appender.new_line_characters.as_ref();
        if let Some(text) = newline
            && !Appender::NEW_LINE_CHARACTERS.contains(&(text.len() as u64))
        {
            self.error(key("newLineCharacters"), quoted(text), "a text of 1 to 8 bytes");
        }
        match appender.kind {
            AppenderKind::File if appender.file_name.is_none() => {
                self.error(key("fileName"), "nothing", "the name of the log file");
            }
            AppenderKind::Console | AppenderKind::ColoredConsole if appender.file_name.is_some() => {
                let suggestion = "write type=\"file\", or take fileName out";
                self.error_with(
                    key("fileName"),
                    "a file name",
                    "none for an appender on the console",
                    suggestion,
                );
            }
            _ => {}
        }
        if appender.file_name.is_none() {
            for (name, given) in [
                ("fileLength", appender.file_length.is_some()),
                ("fileHistorySize", appender.file_history_size.is_some()),
                ("newLineCharacters", newline.is_some()),
            ] {
                if given {
                    self.error(key(name), "a value", "none without fileName: it is about files");
                }
            }
        }
        if appender.file_length.is_none()
            && appender.file_history_size.is_some()
            && appender.file_name.is_some()
        {
            let suggestion = "add fileLength, in bytes";
            self.error_with(key("fileHistorySize"), "a value", "none without fileLength", suggestion);
        }
    }

    fn one_appender_a_file(&mut self, appenders: &[Appender]) {
        let mut seen = HashMap::new();
        for (index, appender) in appenders.iter().enumerate() {
            let Some(file) = &appender.file_name else { continue };
            let path = format!("configuration.logAppenders[{}].fileName", index + 1);
            if let Some(first) = seen.insert(file, path.clone()) {
                let found = quoted(&file.to_string_lossy());
                self.error(path, format!("{found} again, after {first}"), "a file of its own");
            }
        }
    }

    fn application(&mut self, path: &str, application: &Application) {
        let key = |key| format!("{path}.{key}");
        if application.name.is_empty() {
            self.error(key("name"), "nothing", "the name of the application");
        } else if !is_file_name(&application.name) {
            let expected = "letters, digits, `_`, `-` and `.`, at most 255, a letter or digit first";
            self.error(key("name"), quoted(&application.name), expected);
        }
        for (index, alias) in application.aliases.iter().enumerate() {
            let bad = |letter: char| letter.is_control() || letter == '/' || letter == '?';
            if alias.is_empty() || alias.len() > NAME || alias.contains(bad) {
                let expected = "1 to 255 bytes without `/`, `?` and control characters";
                self.error(format!("{path}.aliases[{}]", index + 1), quoted(alias), expected);
            }
        }
        if let Some(protocol) = &application.protocol
            && protocol != Application::PROTOCOL
        {
            let suggestion = "leave the key out; the chain of a port stands in `acceptors`";
            self.error_with(key("protocol"), quoted(protocol), quoted(Application::PROTOCOL), suggestion);
        }
        self.load_from(&key("loadFrom"), application);
        if let Some(authentication) = &application.authentication {
            super::authentication::check(self, &key("authentication"), authentication);
        }
        self.shared_objects(&key("sharedObjects"), application);
        self.seconds(key("publisherReturn"), application.publisher_return, Application::WAIT);
        self.seconds(key("playWait"), application.play_wait, Application::WAIT);
        self.seconds(key("hookTimeout"), application.hook_timeout, Application::TIMEOUT);
        self.seconds(key("laterTimeout"), application.later_timeout, Application::TIMEOUT);
        self.whole(key("mailbox"), Some(application.mailbox as u64), Application::MAILBOX);
        self.whole(
            key("sendBuffer"),
            application.send_buffer.map(|size| size as u64),
            Application::SEND_BUFFER,
        );
        self.whole(key("chunkSize"), Some(application.chunk_size as u64), Application::CHUNK_SIZE);
        if let MergeWrite::Fixed(ms) = application.merge_write {
            self.whole(key("mergeWrite"), Some(ms), Application::MERGE);
        }
        self.whole(key("mergeWriteMax"), Some(application.merge_write_max), Application::MERGE);
        self.seconds(key("startLag"), application.start_lag, Application::START_LAG);
        self.seconds(key("maxLag"), application.max_lag, Application::MAX_LAG);
        if let Some(interval) = application.ping_interval {
            self.seconds(key("pingInterval"), interval, Application::PING_INTERVAL);
        }
        let (most, bytes) = (application.max_connections, application.max_command_bytes);
        self.whole(key("maxConnections"), most.map(|most| most as u64), Application::MAX_CONNECTIONS);
        self.whole(key("maxCommandBytes"), bytes.map(|bytes| bytes as u64), Application::MAX_COMMAND_BYTES);
        super::bandcheck::check(self, &key("bandcheck"), &application.bandcheck);
        for setting in application.settings.keys() {
            self.setting(path, setting);
        }
        for (index, acceptor) in application.acceptors.iter().enumerate() {
            if secret_needed(application, acceptor).is_some() {
                self.error_with(
                    format!("{path}.acceptors[{}].ip", index + 1),
                    format!(
                        "{} for {}, without a secret of {SECRET} bytes or more",
                        quoted(&acceptor.ip.to_string()),
                        acceptor.protocol
                    ),
                    "an address of this machine alone, such as 127.0.0.1",
                    "set `secret` of the application, which sessions from elsewhere must show",
                );
            }
        }
    }

    fn shared_objects(&mut self, path: &str, application: &Application) {
        let path = format!("{path}.folder");
        match (application.shared_objects.persistent, &application.shared_objects.folder) {
            (true, None) => self.error(path, "nothing", "the folder for persistent shared objects"),
            (true, Some(folder)) if folder.as_os_str().is_empty() => {
                self.error(path, "an empty text", "the folder for persistent shared objects");
            }
            (false, Some(_)) => {
                let suggestion = "add persistent=true, or take folder out";
                self.error_with(path, "a value", "none without persistent=true", suggestion);
            }
            _ => {}
        }
    }

    fn external_streams(&mut self, path: &str, application: &Application, limits: &Limits) {
        let mut seen = HashMap::new();
        for (index, given) in application.external_streams.iter().enumerate() {
            let path = format!("{path}[{}]", index + 1);
            let origin = Origin::Configuration;
            match Definition::read(Direction::Pull, &application.name, origin, given, limits) {
                Ok(definition) => {
                    if let Some(first) = seen.insert(definition.local.clone(), path.clone()) {
                        let found = format!("{} again, after {first}", quoted(&definition.local));
                        self.error(format!("{path}.localStreamName"), found, "a name of its own");
                    }
                }
                Err(wrong) => self.error(format!("{path}.{}", wrong.key), wrong.found, wrong.expected),
            }
        }
    }

    fn load_from(&mut self, path: &str, application: &Application) {
        if application.load_from.len() > Application::LOAD_FROM {
            let expected = format!("at most {} folders", Application::LOAD_FROM);
            self.error(path, application.load_from.len().to_string(), expected);
        }
        for (index, folder) in application.load_from.iter().enumerate() {
            if !folder.is_absolute() || folder.parent().is_none() {
                let found = quoted(&folder.to_string_lossy());
                self.error(format!("{path}[{}]", index + 1), found, "the absolute path of a folder, not `/`");
            }
        }
    }

    /// A key for the application that is nearly a key of the server is taken for a slip of the pen.
    fn setting(&mut self, path: &str, setting: &str) {
        let near = APPLICATION_KEYS.iter().find(|key| super::distance(setting, key) <= 1);
        if let Some(near) = near {
            self.error_with(
                format!("{path}.{setting}"),
                "an unknown key",
                "a key of the server, or one of the application that no key of the server resembles",
                format!("did you mean `{near}`?"),
            );
        }
    }

    fn unique_names(&mut self, applications: &[Application]) {
        let mut seen: HashMap<&str, String> = HashMap::new();
        for (index, application) in applications.iter().enumerate() {
            let path = format!("configuration.applications[{}]", index + 1);
            let aliases = application.aliases.iter().enumerate();
            let names = std::iter::once((format!("{path}.name"), application.name.as_str()))
                .chain(aliases.map(|(at, alias)| (format!("{path}.aliases[{}]", at + 1), alias.as_str())));
            for (path, name) in names.filter(|(_, name)| !name.is_empty()) {
                if let Some(first) = seen.get(name) {
                    self.error(
                        path,
                        format!("{} again, after {first}", quoted(name)),
                        "a name that no other application or alias has",
                    );
                } else {
                    seen.insert(name, path);
                }
            }
        }
    }

    fn one_default(&mut self, applications: &[Application]) {
        let path = "configuration.applications";
        let mut defaults = applications.iter().enumerate().filter(|(_, application)| application.default);
        let Some((first, _)) = defaults.next() else {
            let found = if applications.is_empty() { "no application" } else { "no default application" };
            let suggestion =
                "add default=true to the one that shall serve connections which name no known application";
            self.error_with(path, found, "exactly one application with default=true", suggestion);
            return;
        };
        for (index, _) in defaults {
            self.error_with(
                format!("{path}[{}].default", index + 1),
                format!("a second default application, after {path}[{}]", first + 1),
                "exactly one application with default=true",
                "take it out of the other one",
            );
        }
    }

    fn one_acceptor_a_port(&mut self, applications: &[Application]) {
        let mut seen: Vec<(&Acceptor, String)> = Vec::new();
        for (index, application) in applications.iter().enumerate() {
            for (at, acceptor) in application.acceptors.iter().enumerate() {
                let path = format!("configuration.applications[{}].acceptors[{}]", index + 1, at + 1);
                if acceptor.port != 0 {
                    if let Some((_, first)) = seen.iter().find(|(other, _)| collide(other, acceptor)) {
                        let found = format!("{} again, after {first}", acceptor.address());
                        self.error(format!("{path}.port"), found, "an address and port of its own");
                    }
                    seen.push((acceptor, path));
                }
            }
        }
    }
}

/// Why an acceptor may not take commands from other machines, if that is what it would do: whoever can reach a command
/// line must at least have to show a secret.
pub fn secret_needed(application: &Application, acceptor: &Acceptor) -> Option<String> {
    let secret = application.settings.get("secret").and_then(serde_json::Value::as_str);
    let has_secret = secret.is_some_and(|secret| secret.len() >= SECRET);
    let commands = acceptor.protocol.ends_with("Cli");
    (commands && !acceptor.ip.to_canonical().is_loopback() && !has_secret).then(|| {
        format!(
            "{} at {} could be reached from other machines: set `secret` of the application `{}` first, \
             of {SECRET} bytes or more",
            acceptor.protocol, acceptor.ip, application.name
        )
    })
}

/// Whether the system would refuse the second of these.
fn collide(one: &Acceptor, other: &Acceptor) -> bool {
    let everywhere = |ip: IpAddr| ip.is_unspecified();
    one.port == other.port
        && (one.ip == other.ip
            || (one.ip.is_ipv4() == other.ip.is_ipv4() && (everywhere(one.ip) || everywhere(other.ip))))
}

fn is_file_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The keys of an acceptor that the server takes itself; the others are for the layers of its chain.
pub const ACCEPTOR_KEYS: &[&str] = &["ip", "port", "protocol"];

/// The keys of a block of `applications` that the server takes itself.
pub const APPLICATION_KEYS: &[&str] = &[
    "name",
    "description",
    "protocol",
    "library",
    "loadFrom",
    "appDir",
    "default",
    "aliases",
    "acceptors",
    "validateHandshake",
    "duplicatePublisher",
    "publisherReturn",
    "mergeWrite",
    "mergeWriteMax",
    "startPolicy",
    "startLag",
    "maxLag",
    "pingInterval",
    "maxConnections",
    "maxCommandBytes",
    "enhancedRtmp",
    "hasStreamAliases",
    "hasIngestPoints",
    "authentication",
    "enableCheckBandwidth",
    "bandcheck",
    "externalStreams",
    "sharedObjects",
    "filters",
    "filterSettings",
    "playWait",
    "hookTimeout",
    "laterTimeout",
    "mailbox",
    "sendBuffer",
    "chunkSize",
];

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::config::SharedObjects;

    fn application(name: &str) -> Application {
        Application { name: name.into(), ..Application::default() }
    }

    fn acceptor(ip: &str, port: u16) -> Acceptor {
        Acceptor { ip: ip.parse().unwrap(), port, protocol: "inboundRtmp".into(), keys: Map::new() }
    }

    fn mistakes(applications: Vec<Application>) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.applications.list = applications;
        validate(&configuration).iter().map(ToString::to_string).collect()
    }

    fn paths(applications: Vec<Application>) -> Vec<String> {
        mistakes(applications).iter().map(|text| text.split(": ").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_list_of_keys_is_that_of_the_type() {
        let serde_json::Value::Object(map) = serde_json::to_value(Application::default()).unwrap() else {
            panic!("not a table");
        };
        let mut keys: Vec<_> = map.keys().filter(|key| *key != "settings").map(String::as_str).collect();
        let mut listed = APPLICATION_KEYS.to_vec();
        keys.sort_unstable();
        listed.sort_unstable();
        assert_eq!(keys, listed);
    }

    #[test]
    fn a_good_configuration_has_no_mistakes() {
        let one = Application {
            default: true,
            aliases: vec!["live".into()],
            acceptors: vec![acceptor("0.0.0.0", 1935), acceptor("::", 1935), acceptor("0.0.0.0", 0)],
            ..application("one")
        };
        let two = Application { acceptors: vec![acceptor("0.0.0.0", 0)], ..application("two") };
        assert_eq!(mistakes(vec![one, two]), Vec::<String>::new());
    }

    #[test]
    fn persistent_shared_objects_need_a_folder_and_nobody_else_does() {
        let with = |persistent, folder: Option<&str>| {
            let shared_objects = SharedObjects { persistent, folder: folder.map(Into::into) };
            mistakes(vec![Application { default: true, shared_objects, ..application("one") }])
        };
        assert_eq!([with(false, None), with(true, Some("objects"))], [Vec::<String>::new(), vec![]]);
        for (persistent, folder, found) in [
            (true, None, "found nothing"),
            (true, Some(""), "found an empty text"),
            (false, Some("objects"), "add persistent=true"),
        ] {
            let mistake = with(persistent, folder).concat();
            assert!(mistake.starts_with("configuration.applications[1].sharedObjects.folder"), "{mistake}");
            assert!(mistake.contains(found), "{mistake}");
        }
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let one = Application {
            default: true,
            mailbox: 1,
            protocol: Some("inboundRtmp".into()),
            publisher_return: Seconds::new(4000),
            aliases: vec!["a/b".into(), "two".into(), "one".into()],
            ..application("one")
        };
        let two = Application { default: true, ..application("two") };
        let prefix = "configuration.applications";
        assert_eq!(
            paths(vec![one, two, application("../etc"), application("")]),
            [
                format!("{prefix}[1].aliases[1]"),
                format!("{prefix}[1].protocol"),
                format!("{prefix}[1].publisherReturn"),
                format!("{prefix}[1].mailbox"),
                format!("{prefix}[3].name"),
                format!("{prefix}[4].name"),
                format!("{prefix}[1].aliases[3]"),
                format!("{prefix}[2].name"),
                format!("{prefix}[2].default"),
            ]
        );
    }

    #[test]
    fn two_acceptors_cannot_share_a_port() {
        let shared = |first: &str, second: &str| {
            let acceptors = vec![acceptor(first, 1935), acceptor(second, 1935)];
            !mistakes(vec![Application { default: true, acceptors, ..application("a") }]).is_empty()
        };
        assert!(shared("127.0.0.1", "127.0.0.1"));
        assert!(shared("0.0.0.0", "127.0.0.1"));
        assert!(!shared("127.0.0.1", "127.0.0.2"));
        assert!(!shared("::1", "0.0.0.0"));
    }

    /// ADM-01.
    #[test]
    fn command_lines_beyond_this_machine_need_a_secret() {
        let found = |ip: &str, protocol: &str, secret: serde_json::Value| {
            let acceptor = Acceptor { protocol: protocol.into(), ..acceptor(ip, 1112) };
            let mut one =
                Application { default: true, acceptors: vec![acceptor], ..application("operators") };
            one.settings.insert("secret".into(), secret);
            mistakes(vec![one])
        };
        let none = serde_json::Value::Null;
        for protocol in ["inboundTxtCli", "inboundJsonCli", "inboundAsciiCli", "inboundHttpJsonCli"] {
            for ip in ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
                for secret in [none.clone(), "".into(), "1234567".into(), true.into()] {
                    let text = found(ip, protocol, secret).join("\n");
                    assert!(
                        text.contains("acceptors[1].ip") && text.contains("set `secret`"),
                        "{ip}: {text}"
                    );
                }
                for secret in ["12345678", "123456789"] {
                    assert_eq!(found(ip, protocol, secret.into()), Vec::<String>::new());
                }
                assert_eq!(found(ip, protocol, "open sesame".into()), Vec::<String>::new());
            }
            for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(found(ip, protocol, none.clone()), Vec::<String>::new());
            }
        }
        assert_eq!(found("0.0.0.0", "inboundRtmp", none), Vec::<String>::new());
    }

    #[test]
    fn folders_to_load_from_are_absolute() {
        let found = |load_from: Vec<std::path::PathBuf>| {
            paths(vec![Application { default: true, load_from, ..application("one") }])
        };
        let place = "configuration.applications[1].loadFrom";
        let expected = [2, 3, 4].map(|index| format!("{place}[{index}]"));
        assert_eq!(found(vec!["/srv/new".into(), "new".into(), "/".into(), "".into()]), expected);
        for (count, good) in [(63, true), (64, true), (65, false)] {
            let folders = (0..count).map(|number| format!("/srv/{number}").into()).collect();
            assert_eq!(found(folders).is_empty(), good, "{count}");
        }
    }

    #[test]
    fn streams_to_pull_are_checked_with_their_place() {
        let found = |streams: serde_json::Value| {
            let external_streams = serde_json::from_value(streams).unwrap();
            mistakes(vec![Application { default: true, external_streams, ..application("one") }])
        };
        let place = "configuration.applications[1].externalStreams";
        let good = json!([{ "uri": "rtmp://h/a/b" }, { "uri": ["rtmp://h/a/b"], "localStreamName": "c" }]);
        assert_eq!(found(good), Vec::<String>::new());
        for (streams, expected) in [
            (json!([{}]), "[1].uri: found nothing"),
            (json!([{ "uri": "rtmp://h/a/b" }, { "uri": "rtsp://me:hidden@h/a/c" }]), "[2].uri: found"),
            (json!([{ "uri": ["rtmp://h/a/b", "rtmp://h/a"] }]), "[1].uri[2]: found"),
            (json!([{ "uri": "rtmp://h/a/b", "keepalive": true }]), "[1].keepalive: found an unknown key"),
            (
                json!([{ "uri": "rtmp://h/a/b" }, { "uri": "rtmp://i/a/b" }]),
                "[2].localStreamName: found \"b\" again",
            ),
        ] {
            let text = found(streams.clone()).join("\n");
            assert!(text.contains(&format!("{place}{expected}")), "{streams}: {text}");
            assert!(!text.contains("hidden"), "{text}");
        }
        for (count, good) in [(1, true), (2, true), (3, false)] {
            let stream =
                |number: u32| Map::from_iter([("uri".to_owned(), json!(format!("rtmp://h/a/{number}")))]);
            let external_streams = (0..count).map(stream).collect();
            let mut configuration = Configuration::default();
            configuration.limits.links = 2;
            configuration.applications.list =
                vec![Application { default: true, external_streams, ..application("one") }];
            assert_eq!(validate(&configuration).is_empty(), good, "{count}");
        }
    }

    #[test]
    fn a_mistyped_key_is_not_taken_for_a_setting() {
        let mut one = Application { default: true, ..application("one") };
        one.settings.insert("targetServers".into(), serde_json::json!([]));
        assert_eq!(mistakes(vec![one.clone()]), Vec::<String>::new());
        one.settings.insert("acceptros".into(), serde_json::json!([]));
        assert!(mistakes(vec![one])[0].ends_with("did you mean `acceptors`?"));
    }

    #[test]
    fn appenders_are_checked_by_kind() {
        let mut configuration = Configuration::default();
        configuration.applications.list = vec![Application { default: true, ..application("one") }];
        let file = Appender { file_name: Some("a.log".into()), ..Appender::new(AppenderKind::File) };
        configuration.log_appenders = vec![
            Appender { level: 7, ..Appender::new(AppenderKind::Console) },
            Appender::new(AppenderKind::File),
            file.clone(),
            Appender { file_length: Some(3), new_line_characters: Some(String::new()), ..file.clone() },
            Appender { kind: AppenderKind::Console, file_length: Some(4096), ..file.clone() },
            Appender { file_name: None, file_length: Some(4096), ..Appender::new(AppenderKind::Json) },
            Appender { file_name: Some("b.log".into()), file_history_size: Some(3), ..file },
        ];
        let found: Vec<_> = validate(&configuration).into_iter().map(|error| error.path).collect();
        let expected = [
            "[1].level",
            "[2].fileName",
            "[4].fileLength",
            "[4].newLineCharacters",
            "[5].fileName",
            "[6].fileLength",
            "[7].fileHistorySize",
            "[4].fileName",
            "[5].fileName",
        ];
        assert_eq!(found, expected.map(|end| format!("configuration.logAppenders{end}")));
    }

    #[test]
    fn the_ranges_of_the_top_are_checked() {
        let mut configuration = Configuration { workers: Some(0), ..Configuration::default() };
        configuration.shutdown_timeout = Seconds::new(3601);
        configuration.limits.gop_messages = 1;
        let found: Vec<_> = validate(&configuration).into_iter().map(|error| error.path).collect();
        let expected = ["workers", "shutdownTimeout", "limits.gopMessages", "applications"];
        assert_eq!(found, expected.map(|end| format!("configuration.{end}")));
    }

    #[test]
    fn where_clients_are_sent_at_the_end_is_a_short_text() {
        for (url, good) in [
            ("/".to_owned(), true),
            (String::new(), false),
            ("a\nb".to_owned(), false),
            ("a".repeat(Configuration::DRAIN_URL - 1), true),
            ("a".repeat(Configuration::DRAIN_URL), true),
            ("a".repeat(Configuration::DRAIN_URL + 1), false),
        ] {
            let configuration = Configuration { drain_url: Some(url.clone()), ..Configuration::default() };
            let wrong = validate(&configuration).iter().any(|error| error.path == "configuration.drainUrl");
            assert_eq!(!wrong, good, "{url}");
        }
    }
}
