//! The configuration as plain values: what it may hold, what is wrong with it, what changed between two.
//!
//! The program reads it from a Lua script; nothing here knows about Lua, files or the log. Every default stands
//! beside its field, every range beside its type, and `docs/configuration.md` lists them all (a test compares).
//! Start with [`Configuration`], then [`validate`] and [`diff`].

mod appender;
mod application;
mod authentication;
mod bandcheck;
mod diff;
mod error;
mod event_logger;
mod event_logger_check;
mod keys;
mod library;
mod outbound_policy;
mod processes;
mod validate;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crtmp_media::{Limits, Seconds};
use serde::{Deserialize, Serialize};

pub use appender::{Appender, AppenderKind};
pub use application::{Acceptor, Application, DuplicatePublisher, MergeWrite, SharedObjects, StartPolicy};
pub use authentication::{Authentication, AuthenticationScheme, RtmpAuthentication};
pub use bandcheck::Bandcheck;
pub use diff::{ApplicationAcceptor, Diff, RestartChange, all_acceptors, diff};
pub use error::{ConfigError, did_you_mean, distance, quoted};
pub use event_logger::{EventFormat, EventLogger, EventSerializer, EventSink, EventSinkKind};
pub use keys::{Off, REFUSED_KEYS, Refusal, RefusedKey, Scope, refused_key};
pub use library::{find_library, library_candidates};
pub use outbound_policy::OutboundPolicy;
pub use processes::Processes;
pub use validate::{ACCEPTOR_KEYS, APPLICATION_KEYS, secret_needed, validate};

/// The table `configuration`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Configuration {
    /// Whether the server goes to the background.
    pub daemon: bool,
    /// Accepted, without effect, as in crtmpserver: scripts set it for their own use.
    pub path_separator: Option<String>,
    /// Where log lines go.
    pub log_appenders: Vec<Appender>,
    /// Where events go.
    pub event_logger: EventLogger,
    /// The applications and their folder.
    pub applications: Applications,
    /// Libraries that bring layers, chains or filters and no application that is configured.
    pub plugins: Vec<PathBuf>,
    /// Further chains: each a name, and the names of its layers behind the carrier, far to near.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Worker threads; without it, one for each core.
    pub workers: Option<u16>,
    /// What guards the server against too much of anything.
    pub limits: Limits,
    /// Seconds that the end of the server may take before what still runs is abandoned.
    pub shutdown_timeout: Seconds,
    /// Seconds for which the server, told to stop, serves those on who follow its request to connect elsewhere; 0: it does not
    /// ask them.
    pub drain_timeout: Seconds,
    /// Where they are asked to connect, as a `tcUrl`, absolute or relative; without it, where they have connected.
    pub drain_url: Option<String>,
    /// A file into which the counters are written as JSON. A relative path starts at the folder in which the
    /// server was started.
    pub counters_file: Option<PathBuf>,
    /// A file in which the server keeps what commands have set up and a restart shall not forget. A relative path
    /// starts at the folder in which the server was started.
    pub state_file: Option<PathBuf>,
    /// The programs that commands may launch.
    pub processes: Processes,
    /// Where the server may connect to by itself.
    pub outbound_policy: OutboundPolicy,
}

impl Configuration {
    /// The range of `workers`, in threads.
    pub const WORKERS: RangeInclusive<u64> = 1..=256;
    /// The range of `shutdownTimeout`, in seconds.
    pub const SHUTDOWN_TIMEOUT: RangeInclusive<f64> = 0.0..=3600.0;

    /// The range of `drainTimeout`, in seconds.
    pub const DRAIN_TIMEOUT: RangeInclusive<f64> = 0.0..=86_400.0;
    /// The longest `drainUrl`, in bytes.
    pub const DRAIN_URL: usize = 1024;

    /// Makes every relative path start at `folder`: the one in which the server was started. A daemon leaves it,
    /// and a reload must still mean the same files.
    pub fn resolve(&mut self, folder: &Path) {
        let absolute = |path: &mut PathBuf| *path = folder.join(&*path);
        self.log_appenders.iter_mut().filter_map(|appender| appender.file_name.as_mut()).for_each(absolute);
        let sinks = self.event_logger.sinks.iter_mut();
        sinks.filter_map(|sink| sink.filename.as_mut()).for_each(absolute);
        self.counters_file.as_mut().into_iter().for_each(absolute);
        self.state_file.as_mut().into_iter().for_each(absolute);
        self.plugins.iter_mut().for_each(absolute);
        absolute(&mut self.applications.root_directory);
        for application in &mut self.applications.list {
            application.library.as_mut().into_iter().for_each(absolute);
            application.app_dir.as_mut().into_iter().for_each(absolute);
            if let Some(authentication) = &mut application.authentication {
                let folder = self.applications.root_directory.join(&application.name);
                authentication.rtmp.resolve(application.app_dir.as_ref().unwrap_or(&folder));
            }
        }
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            daemon: false,
            path_separator: None,
            log_appenders: Vec::new(),
            event_logger: EventLogger::default(),
            applications: Applications::default(),
            plugins: Vec::new(),
            chains: BTreeMap::new(),
            workers: None,
            limits: Limits::default(),
            shutdown_timeout: Seconds::new(10),
            drain_timeout: Seconds::new(0),
            drain_url: None,
            counters_file: None,
            state_file: None,
            processes: Processes::default(),
            outbound_policy: OutboundPolicy::default(),
        }
    }
}

/// The table `applications`: in Lua one list with the key `rootDirectory` beside its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Applications {
    /// The folder of the applications' folders. A relative path starts at the folder in which the server was
    /// started.
    pub root_directory: PathBuf,
    /// The applications.
    pub list: Vec<Application>,
}

impl Default for Applications {
    fn default() -> Self {
        Self { root_directory: PathBuf::from("."), list: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::LimitError;
    use serde_json::{Value, json};

    use super::*;

    const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md"));

    fn authentication() -> RtmpAuthentication {
        serde_json::from_value(json!({ "type": "adobe", "usersFile": "users.lua" })).unwrap()
    }

    fn keys(value: impl Serialize) -> Vec<(String, Value)> {
        let Value::Object(map) = serde_json::to_value(value).unwrap() else { panic!("not a table") };
        map.into_iter().collect()
    }

    fn row(key: &str) -> &'static str {
        let start = format!("| `{key}` |");
        DOCS.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row for `{key}`"))
    }

    #[test]
    fn each_key_stands_in_the_documentation() {
        let acceptor =
            Acceptor { ip: [0, 0, 0, 0].into(), port: 0, protocol: String::new(), keys: Default::default() };
        let all = keys(Configuration::default())
            .into_iter()
            .chain(keys(Application::default()).into_iter().filter(|(key, _)| key != "settings"))
            .chain(keys(acceptor).into_iter().filter(|(key, _)| key != "keys"))
            .chain(keys(Appender::new(AppenderKind::Console)))
            .chain(keys(EventLogger::default()))
            .chain(keys(Processes::default()))
            .chain(keys(OutboundPolicy::default()))
            .chain(keys(Authentication { rtmp: authentication() }))
            .chain(keys(authentication()))
            .chain(keys(Bandcheck::default()))
            .chain(keys(EventSink::new(EventSinkKind::File)))
            .map(|(key, _)| key)
            .chain(["rootDirectory".into()])
            .chain(REFUSED_KEYS.iter().map(|entry| entry.key.into()));
        for key in all {
            row(&key);
        }
    }

    #[test]
    fn each_limit_stands_in_the_documentation_with_its_default_and_range() {
        for (key, default) in keys(Limits::default()) {
            let row = row(&key);
            // A whole number of seconds is written without its fraction.
            let default = default.to_string().trim_end_matches(".0").to_owned();
            assert!(row.contains(&format!("| {default} |")), "default {default} of {row}");

            let absurd: Limits = serde_json::from_value(serde_json::json!({ &key: 20_000_000_000_u64 }))
                .or_else(|_| serde_json::from_value(serde_json::json!({ &key: 31_536_000 })))
                .unwrap();
            let range = absurd.check().unwrap_err().expected;
            let (_, range) = range.split_once("from ").unwrap();
            assert!(row.contains(&format!("| {range} |")), "range {range} of {row}");
        }
    }

    /// CFG-04.
    #[test]
    fn each_limit_is_taken_at_its_ends_and_refused_beyond() {
        let check = |key: &str, value: &Value| {
            let limits: Limits = serde_json::from_value(json!({ key: value })).map_err(|_| String::new())?;
            // How limits depend on each other has a test of its own.
            let own = |error: &LimitError| error.field == key && !error.expected.starts_with("at least");
            limits.check().or_else(|error| if own(&error) { Err(error.expected) } else { Ok(()) })
        };
        for (key, default) in keys(Limits::default()) {
            assert_eq!(check(&key, &default), Ok(()), "{key}");
            let absurd = [json!(20_000_000_000_u64), json!(31_536_000)];
            let range =
                absurd.iter().find_map(|value| check(&key, value).err().filter(|text| !text.is_empty()));
            let range = range.expect("a range");
            let (from, to) =
                range.split_once("from ").and_then(|(_, range)| range.split_once(" to ")).unwrap();
            let (from, to): (f64, f64) = (from.parse().unwrap(), to.parse().unwrap());
            let seconds = range.contains("seconds");
            let value = |number: f64| if seconds { json!(number) } else { json!(number as i64) };
            let step = if seconds { 0.001 } else { 1.0 };
            for (number, good) in [(from - step, false), (from, true), (to, true), (to + step, false)] {
                assert_eq!(check(&key, &value(number)).is_ok(), good, "{key} = {number}");
            }
        }
    }

    #[test]
    fn the_rest_of_the_ranges_stand_in_the_documentation() {
        let whole = |range: RangeInclusive<u64>| format!("{} to {}", range.start(), range.end());
        let seconds = |range: RangeInclusive<f64>| format!("{} to {}", range.start(), range.end());
        for (key, range) in [
            ("workers", whole(Configuration::WORKERS)),
            ("shutdownTimeout", seconds(Configuration::SHUTDOWN_TIMEOUT)),
            ("drainTimeout", seconds(Configuration::DRAIN_TIMEOUT)),
            ("publisherReturn", seconds(Application::WAIT)),
            ("playWait", seconds(Application::WAIT)),
            ("hookTimeout", seconds(Application::TIMEOUT)),
            ("laterTimeout", seconds(Application::TIMEOUT)),
            ("mailbox", whole(Application::MAILBOX)),
            ("sendBuffer", whole(Application::SEND_BUFFER)),
            ("chunkSize", whole(Application::CHUNK_SIZE)),
            ("level", whole(Appender::LEVEL)),
            ("specificLevel", whole(Appender::LEVEL)),
            ("fileLength", whole(Appender::FILE_LENGTH)),
            ("fileHistorySize", whole(Appender::FILE_HISTORY_SIZE)),
            ("newLineCharacters", whole(Appender::NEW_LINE_CHARACTERS)),
            ("queue", whole(EventSink::QUEUE)),
            ("fileChunkLength", whole(EventSink::FILE_CHUNK_LENGTH)),
            ("timeout", seconds(EventSink::TIMEOUT)),
            ("retries", whole(EventSink::RETRIES)),
            ("retryDelay", seconds(EventSink::RETRY_DELAY)),
            ("retryDelayMax", seconds(EventSink::RETRY_DELAY)),
            ("maxProcesses", whole(Processes::MAX_PROCESSES)),
            ("interval", seconds(Bandcheck::INTERVAL)),
            ("limitKbps", whole(Bandcheck::LIMIT_KBPS)),
            ("stopGrace", seconds(Processes::STOP_GRACE)),
        ] {
            assert!(row(key).contains(&range), "{key}: {range}");
        }
    }

    #[test]
    fn what_nothing_and_no_request_may_lead_to_stands_in_the_documentation() {
        let (_, section) = DOCS.split_once("### `outboundPolicy`").unwrap();
        let (section, _) = section.split_once("\n### ").unwrap();
        let section = section.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, lists) = section.split_once("**`denyPorts`** holds").unwrap();
        for ports in OutboundPolicy::DENY_PORTS {
            let ports = ports.to_string().replace('-', " to ");
            // The first three are said in other words.
            let system = ["1 to 79", "81 to 442", "444 to 1023"].contains(&&*ports);
            assert!(system || lists.contains(&ports), "{ports}");
        }
        assert!(lists.contains("1 to 1023 without 80 and 443"));
        for network in OutboundPolicy::DENY {
            assert!(lists.contains(network), "{network}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_start() {
        let mut configuration =
            Configuration { counters_file: Some("c.json".into()), ..Configuration::default() };
        configuration.state_file = Some("state.json".into());
        configuration.log_appenders =
            vec![Appender { file_name: Some("/var/log/a".into()), ..Appender::new(AppenderKind::File) }];
        let sink = EventSink::new(EventSinkKind::File);
        configuration.event_logger.sinks = vec![EventSink { filename: Some("events.json".into()), ..sink }];
        let library = Some("x.so".into());
        configuration.applications.list = vec![Application { library, ..Application::default() }];
        let other = Application { name: "other".into(), ..Application::default() };
        let authentication = Some(Authentication { rtmp: authentication() });
        let app_dir = Some("there".into());
        for one in [other, Application { app_dir, ..Application::default() }] {
            configuration
                .applications
                .list
                .push(Application { authentication: authentication.clone(), ..one });
        }
        configuration.resolve(Path::new("/srv"));
        let users = |at: usize| {
            let authentication = configuration.applications.list[at].authentication.as_ref();
            authentication.map(|one| one.rtmp.users_file.clone())
        };
        assert_eq!(users(1), Some("/srv/./other/users.lua".into()));
        assert_eq!(users(2), Some("/srv/there/users.lua".into()));
        assert_eq!(configuration.counters_file, Some("/srv/c.json".into()));
        assert_eq!(configuration.state_file, Some("/srv/state.json".into()));
        assert_eq!(configuration.log_appenders[0].file_name, Some("/var/log/a".into()));
        assert_eq!(configuration.event_logger.sinks[0].filename, Some("/srv/events.json".into()));
        assert_eq!(configuration.applications.root_directory, PathBuf::from("/srv/."));
        assert_eq!(configuration.applications.list[0].library, Some("/srv/x.so".into()));
    }

    #[test]
    fn a_configuration_survives_serialisation() {
        let configuration = Configuration {
            log_appenders: vec![Appender::new(AppenderKind::Json)],
            applications: Applications {
                root_directory: "apps".into(),
                list: vec![Application { name: "a".into(), ..Application::default() }],
            },
            ..Configuration::default()
        };
        let text = serde_json::to_string(&configuration).unwrap();
        assert_eq!(serde_json::from_str::<Configuration>(&text).unwrap(), configuration);
    }
}
