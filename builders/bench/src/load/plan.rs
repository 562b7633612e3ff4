//! What a run shall do.

use std::net::SocketAddr;
use std::time::Duration;

use crate::source::Shape;

/// A run of the load generator.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// The application that publishers and players connect to.
    pub application: String,
    /// What stands around RTMP.
    pub scheme: Scheme,
    /// No handshake and no commands, only chunks: for the [floor](crate::floor).
    pub raw: bool,
    /// The publishers.
    pub publishers: Publishers,
    /// The players, by class.
    pub players: Vec<Players>,
    /// Connections that come and go, beside the others.
    pub storm: Option<Storm>,
    /// Publishers that connect in a second.
    pub ramp: f64,
    /// Time from the start of the last player to the opening of the window.
    pub settle: Duration,
    /// The measuring window.
    pub window: Duration,
    /// How long frames of the window are waited for after it.
    pub drain: Duration,
    /// How long publishers may take to publish, all together.
    pub patience: Duration,
    /// Seeds what is random: when players join.
    pub seed: u64,
}

impl Plan {
    /// One publisher of the default [`Shape`] and no players.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            application: "live".into(),
            scheme: Scheme::Rtmp,
            raw: false,
            publishers: Publishers::default(),
            players: Vec::new(),
            storm: None,
            ramp: 400.0,
            settle: Duration::from_secs(2),
            window: Duration::from_secs(8),
            drain: Duration::from_millis(500),
            patience: Duration::from_secs(30),
            seed: 1,
        }
    }

    /// Whether there is a storm that goes to the answer to `connect` only.
    pub fn connects_only(&self) -> bool {
        self.storm.is_some_and(|storm| storm.until == Until::Connected)
    }

    /// The plan with one more class of players.
    #[must_use]
    pub fn with(mut self, players: Players) -> Self {
        self.players.push(players);
        self
    }
}

/// What stands around RTMP on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheme {
    /// Nothing.
    #[default]
    Rtmp,
    /// TLS.
    Rtmps,
    /// RTMPE.
    Rtmpe,
    /// HTTP.
    Rtmpt,
    /// HTTP within TLS.
    Rtmpts,
    /// RTMPE within HTTP.
    Rtmpte,
}

impl Scheme {
    /// What URLs begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
            Self::Rtmpe => "rtmpe",
            Self::Rtmpt => "rtmpt",
            Self::Rtmpts => "rtmpts",
            Self::Rtmpte => "rtmpte",
        }
    }

    /// The chain of the server's port.
    pub const fn inbound(self) -> &'static str {
        match self {
            Self::Rtmp => "inboundRtmp",
            Self::Rtmps => "inboundRtmps",
            Self::Rtmpe => "inboundRtmpe",
            Self::Rtmpt => "inboundRtmpt",
            Self::Rtmpts => "inboundRtmpts",
            Self::Rtmpte => "inboundRtmpte",
        }
    }

    /// Whether the port needs a certificate.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Rtmps | Self::Rtmpts)
    }

    /// The chain of a client, where something stands around RTMP.
    pub(super) const fn outbound(self) -> Option<&'static str> {
        match self {
            Self::Rtmp => None,
            Self::Rtmps => Some("outboundRtmps"),
            Self::Rtmpe => Some("outboundRtmpe"),
            Self::Rtmpt => Some("outboundRtmpt"),
            Self::Rtmpts => Some("outboundRtmpts"),
            Self::Rtmpte => Some("outboundRtmpte"),
        }
    }

    /// Whether it has the handshake of RTMP with it.
    pub(super) const fn shakes(self) -> bool {
        matches!(self, Self::Rtmpe | Self::Rtmpte)
    }

    /// Whether what comes must be looked at to get more.
    pub(super) const fn answers(self) -> bool {
        matches!(self, Self::Rtmpt | Self::Rtmpts | Self::Rtmpte)
    }
}

/// The publishers of a plan.
#[derive(Clone, Debug)]
pub struct Publishers {
    /// How many; each publishes a stream of its own.
    pub count: usize,
    /// What the streams look like.
    pub shape: Shape,
    /// Begins the name of each stream; its number follows, counted from 0.
    pub name: String,
    /// What the first publisher sends instead, if it shall differ from the others.
    pub first: Option<Shape>,
}

impl Default for Publishers {
    fn default() -> Self {
        Self { count: 1, shape: Shape::default(), name: "bench".into(), first: None }
    }
}

/// A class of players that do the same.
#[derive(Clone, Debug)]
pub struct Players {
    /// Its name in the report.
    pub class: String,
    /// How many there are.
    pub count: usize,
    /// Which stream each plays.
    pub stream: Assignment,
    /// How fast they read.
    pub reading: Reading,
    /// Every so-many-th player reads the whole chunk stream; 0: none does. Those that read slowly always do.
    pub sample: usize,
    /// SO_RCVBUF in bytes, where the system's choice will not do.
    pub receive_buffer: Option<usize>,
    /// When they join.
    pub join: Join,
}

impl Players {
    /// Players of the first stream that read what comes; all of them look at every frame.
    pub fn new(class: &str, count: usize) -> Self {
        Self {
            class: class.into(),
            count,
            stream: Assignment::Shared(0),
            reading: Reading::Full,
            sample: 1,
            receive_buffer: None,
            join: Join::Ramp(400.0),
        }
    }
}

/// Which stream a player plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// All play this one.
    Shared(usize),
    /// They take turns over all streams from this one on: as many players as streams make pairs.
    Spread(usize),
    /// A stream that nobody publishes.
    Nobody,
}

/// How fast a player reads once it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What comes, when it comes.
    Full,
    /// So many bytes per second.
    Rate(u64),
    /// Nothing.
    Never,
}

/// When the players of a class join, counted from the moment when all publish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join {
    /// So many in a second, one after the other.
    Ramp(f64),
    /// At random instants within this time.
    Random(Duration),
}

/// Connections that connect, go on until something, and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// How many are under way at any time.
    pub in_flight: usize,
    /// How far each goes.
    pub until: Until,
}

/// How far a connection of a storm goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the answer to `connect`.
    Connected,
    /// To NetStream.Play.Start.
    Playing,
}
