//! The blocks of `applications` and their acceptors.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crtmp_media::{EnhancedRtmp, Seconds};
use crtmp_relay::{Delivery, Merge, Start};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::{Authentication, Bandcheck};

/// One block of `applications`: a library, the names that lead to it, and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Application {
    /// Its name, unique among all names and aliases: letters, digits, `_`, `-` and `.`, at most 255 bytes.
    pub name: String,
    /// A text for people.
    pub description: String,
    /// How it is attached. crtmpserver knew one way, and so it is the only value: `"dynamiclinklibrary"`.
    pub protocol: Option<String>,
    /// The file of its library; else it is looked for (see [`library_candidates`](super::library_candidates)).
    pub library: Option<PathBuf>,
    /// Folders that `loadApplication` may take a library from, besides that of its library and `rootDirectory`.
    pub load_from: Vec<PathBuf>,
    /// Its folder; else `<rootDirectory>/<name>`.
    pub app_dir: Option<PathBuf>,
    /// Whether connections that name no known application come here. Exactly one application says so.
    pub default: bool,
    /// Further names for it, unique like `name`.
    pub aliases: Vec<String>,
    /// The ports on which it listens.
    pub acceptors: Vec<Acceptor>,
    /// Whether a peer that claims the digest handshake but answers with a wrong digest is dropped. A peer that
    /// speaks the simple handshake is always served.
    pub validate_handshake: bool,
    /// What happens when a stream that has a publisher is published again.
    pub duplicate_publisher: DuplicatePublisher,
    /// Seconds for which players wait for a publisher that went away; 0: they are told at once.
    pub publisher_return: Seconds,
    /// Seconds for which a play waits for its stream to be published; 0: it is refused at once.
    pub play_wait: Seconds,
    /// Seconds that a hook of the application may take before the application counts as stuck.
    pub hook_timeout: Seconds,
    /// Seconds in which an application that said "later" must decide.
    pub later_timeout: Seconds,
    /// Requests that may wait for the application; more are refused.
    pub mailbox: usize,
    /// Bytes of the system's send buffer (SO_SNDBUF) of each connection; without it, the system decides. A
    /// smaller buffer hides less of a slow player's delay.
    pub send_buffer: Option<usize>,
    /// Bytes of one chunk of the RTMP messages that the server sends.
    pub chunk_size: usize,
    /// How long a message may wait for others to leave with it in one system call: `"auto"` or milliseconds, 0
    /// for not at all.
    pub merge_write: MergeWrite,
    /// The longest that `mergeWrite = "auto"` lets a message wait, in milliseconds.
    pub merge_write_max: u64,
    /// Where in a stream a player starts.
    pub start_policy: StartPolicy,
    /// Seconds behind live at which `startPolicy = "auto"` lets a player start, at most.
    pub start_lag: Seconds,
    /// Seconds that a player may be behind live; then it skips to the next key frame.
    pub max_lag: Seconds,
    /// What players are sent of what only Enhanced RTMP can name.
    pub enhanced_rtmp: EnhancedRtmp,
    /// Seconds between two pings of a peer, whether or not it is silent; without it, only silent peers are pinged.
    pub ping_interval: Option<Seconds>,
    /// Connections that the application may have; without it, as many as the server.
    pub max_connections: Option<usize>,
    /// Bytes of one command or description (`onMetaData`) of a peer; without it, as the limits say.
    pub max_command_bytes: Option<usize>,
    /// Whether its streams are played by aliases (`addStreamAlias`) only.
    pub has_stream_aliases: bool,
    /// Whether its streams are published by the private names of ingest points (`createIngestPoint`) only.
    pub has_ingest_points: bool,
    /// Who must say who it is before it publishes or plays.
    pub authentication: Option<Authentication>,
    /// Whether peers may ask by `checkBandwidth` for a test of the way to them.
    pub enable_check_bandwidth: bool,
    /// How such tests go, and which connections are for one alone.
    pub bandcheck: Bandcheck,
    /// Streams that are pulled from other servers, each with the keys of `pullStream`.
    pub external_streams: Vec<Map<String, Value>>,
    /// Its remote shared objects.
    pub shared_objects: SharedObjects,
    /// Filters that look at every frame of its publications, first to last; plugins bring them.
    pub filters: Vec<String>,
    /// Settings of filters, by their names.
    pub filter_settings: Map<String, Value>,
    /// Every other key of the block, for the application itself. The library refuses what it does not know.
    pub settings: Map<String, Value>,
}

impl Application {
    /// The only value of `protocol`.
    pub const PROTOCOL: &str = "dynamiclinklibrary";
    /// The longest `loadFrom`, in folders.
    pub const LOAD_FROM: usize = 64;
    /// The range of `publisherReturn`, `playWait` in seconds.
    pub const WAIT: RangeInclusive<f64> = 0.0..=3600.0;
    /// The range of `hookTimeout` and `laterTimeout`, in seconds.
    pub const TIMEOUT: RangeInclusive<f64> = 0.05..=3600.0;
    /// The range of `mailbox`, in requests.
    pub const MAILBOX: RangeInclusive<u64> = 16..=1_000_000;
    /// The range of `sendBuffer`, in bytes.
    pub const SEND_BUFFER: RangeInclusive<u64> = 4096..=64 * 1024 * 1024;
    /// The range of `chunkSize`, in bytes. Players of the Flash time take no more than 65536.
    pub const CHUNK_SIZE: RangeInclusive<u64> = 128..=65_536;
    /// The range of `mergeWrite`, where it is a number, and `mergeWriteMax`, in milliseconds.
    pub const MERGE: RangeInclusive<u64> = 0..=1000;
    /// The range of `pingInterval`, in seconds.
    pub const PING_INTERVAL: RangeInclusive<f64> = 0.05..=86_400.0;
    /// The range of `maxConnections`.
    pub const MAX_CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
    /// The range of `maxCommandBytes`, in bytes.
    pub const MAX_COMMAND_BYTES: RangeInclusive<u64> = 256..=16 * 1024 * 1024;
    /// The range of `startLag`, in seconds.
    pub const START_LAG: RangeInclusive<f64> = 0.0..=60.0;
    /// The range of `maxLag`, in seconds.
    pub const MAX_LAG: RangeInclusive<f64> = 0.1..=3600.0;

    /// How its streams are handed to players: what may change while they run.
    pub fn delivery(&self) -> Delivery {
        Delivery {
            merge: match self.merge_write {
                MergeWrite::Auto => Merge::Auto { max: Duration::from_millis(self.merge_write_max) },
                MergeWrite::Fixed(ms) => Merge::Fixed(Duration::from_millis(ms)),
            },
            start: match self.start_policy {
                StartPolicy::Auto => Start::Near(self.start_lag.get()),
                StartPolicy::Key => Start::Key,
                StartPolicy::Next => Start::Next,
            },
            max_lag: self.max_lag.get(),
        }
    }

    /// This block with everything that [`Self::delivery`] looks at taken from `other`.
    #[must_use]
    pub fn with_delivery_of(self, other: &Self) -> Self {
        Self {
            merge_write: other.merge_write,
            merge_write_max: other.merge_write_max,
            start_policy: other.start_policy,
            start_lag: other.start_lag,
            max_lag: other.max_lag,
            ..self
        }
    }
}

impl Default for Application {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            protocol: None,
            library: None,
            load_from: Vec::new(),
            app_dir: None,
            default: false,
            aliases: Vec::new(),
            acceptors: Vec::new(),
            validate_handshake: true,
            duplicate_publisher: DuplicatePublisher::ReplaceIfIdle,
            publisher_return: Seconds::new(10),
            play_wait: Seconds::new(60),
            hook_timeout: Seconds::new(5),
            later_timeout: Seconds::new(30),
            mailbox: 1024,
            send_buffer: None,
            chunk_size: 60_000,
            merge_write: MergeWrite::Auto,
            merge_write_max: 100,
            start_policy: StartPolicy::Auto,
            start_lag: Seconds(Duration::from_millis(700)),
            max_lag: Seconds::new(10),
            enhanced_rtmp: EnhancedRtmp::AsDeclared,
            ping_interval: None,
            max_connections: None,
            max_command_bytes: None,
            has_stream_aliases: false,
            has_ingest_points: false,
            authentication: None,
            enable_check_bandwidth: false,
            bandcheck: Bandcheck::default(),
            external_streams: Vec::new(),
            shared_objects: SharedObjects::default(),
            filters: Vec::new(),
            filter_settings: Map::new(),
            settings: Map::new(),
        }
    }
}

/// The remote shared objects of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct SharedObjects {
    /// Whether clients may make objects that outlive them and the server.
    pub persistent: bool,
    /// Where those are: in a folder with the application's name within this one.
    pub folder: Option<PathBuf>,
}

impl SharedObjects {
    /// Where persistent objects are, in this folder if it is relative; none: there may be none.
    pub(crate) fn place(&self, from: &Path) -> Option<PathBuf> {
        self.folder.as_ref().filter(|_| self.persistent).map(|folder| from.join(folder))
    }
}

/// What happens when a stream that has a publisher is published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DuplicatePublisher {
    /// The new publisher is refused.
    Reject,
    /// The new publisher takes over, the old one is closed.
    Replace,
    /// The new publisher takes over if the old one has sent nothing for two seconds, else it is refused.
    ReplaceIfIdle,
}

/// How long a message may wait for others to leave with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeWrite {
    /// As long as saves the server more time than it has; not at all while it has plenty.
    Auto,
    /// So many milliseconds, always.
    Fixed(u64),
}

impl Serialize for MergeWrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(ms) => serializer.serialize_u64(*ms),
        }
    }
}

impl<'de> Deserialize<'de> for MergeWrite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = MergeWrite;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"auto\" or a whole number of milliseconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MergeWrite, E> {
                match text {
                    "auto" => Ok(MergeWrite::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<MergeWrite, E> {
                Ok(MergeWrite::Fixed(ms))
            }

            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<MergeWrite, E> {
                u64::try_from(ms)
                    .map(MergeWrite::Fixed)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(ms), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Where in a stream a player starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartPolicy {
    /// At the newest key frame. Where that is older than `startLag`, what follows it is sent with its times
    /// pressed together, so that the player is near live from the start.
    Auto,
    /// At the newest key frame, with the times as they are.
    Key,
    /// At the next key frame.
    Next,
}

/// A port on which an application listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Acceptor {
    /// The address, IPv4 or IPv6; `0.0.0.0` and `::` mean every address of the machine.
    #[serde(deserialize_with = "address")]
    pub ip: IpAddr,
    /// The port; 0: one that the system chooses, shown in the table of services.
    pub port: u16,
    /// The name of the chain that serves its connections, such as `inboundRtmp`.
    pub protocol: String,
    /// Every other key, for the layers of the chain.
    #[serde(default)]
    pub keys: Map<String, Value>,
}

impl Acceptor {
    /// Address and port to bind.
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::invalid_value(de::Unexpected::Str(&text), &"an IP address such as \"0.0.0.0\" or \"::\"")
    })
}
