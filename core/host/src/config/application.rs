//! The blocks of `applications` and their acceptors.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crtmp_media::Seconds;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

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
    /// Every other key of the block, for the application itself. The library refuses what it does not know.
    pub settings: Map<String, Value>,
}

impl Application {
    /// The only value of `protocol`.
    pub const PROTOCOL: &str = "dynamiclinklibrary";
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
}

impl Default for Application {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            protocol: None,
            library: None,
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
            settings: Map::new(),
        }
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
