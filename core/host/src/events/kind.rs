//! The events that there are, by the names that EvoStream gave them.

/// Events of EvoStream that belong to features which are not there yet.
pub const LATER: &[(&[&str], &str)] = &[
    (
        &[
            "hlsChunkCreated",
            "hlsChunkClosed",
            "hlsChunkError",
            "hlsChildPlaylistUpdated",
            "hlsMasterPlaylistUpdated",
        ],
        "HLS",
    ),
    (
        &[
            "hdsChunkCreated",
            "hdsChunkClosed",
            "hdsChunkError",
            "hdsChildPlaylistUpdated",
            "hdsMasterPlaylistUpdated",
        ],
        "HDS",
    ),
    (&["mssChunkCreated", "mssChunkClosed", "mssChunkError", "mssPlaylistUpdated"], "Smooth Streaming"),
    (&["dashChunkCreated", "dashChunkClosed", "dashChunkError", "dashPlaylistUpdated"], "DASH"),
    (&["recordChunkCreated", "recordChunkClosed", "recordChunkError"], "recording"),
    (&["playlistItemStart", "firstPlaylistItemStart", "lastPlaylistItemStart"], "playlists"),
    (
        &["streamingSessionStarted", "streamingSessionEnded", "mediaFileDownloaded", "fileDownloaded"],
        "the web server",
    ),
    (
        &["streamCreated", "streamClosed", "streamCodecsUpdated"],
        "message streams that neither publish nor play",
    ),
];

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
        /// What happened. `docs/events.md` lists them, with what each tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name, as it stands in the configuration and in the event.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Somebody publishes.
    InStreamCreated = "inStreamCreated";
    /// Somebody plays.
    OutStreamCreated = "outStreamCreated";
    /// A publish has ended.
    InStreamClosed = "inStreamClosed";
    /// A play has ended.
    OutStreamClosed = "outStreamClosed";
    /// The codecs of what is published are known, or others.
    InStreamCodecsUpdated = "inStreamCodecsUpdated";
    /// The codecs of what is played are known, or others.
    OutStreamCodecsUpdated = "outStreamCodecsUpdated";
    /// A publisher that had audio sends none any more.
    AudioFeedStopped = "audioFeedStopped";
    /// A publisher that had video sends none any more.
    VideoFeedStopped = "videoFeedStopped";
    /// A command came in.
    CliRequest = "cliRequest";
    /// A command was answered.
    CliResponse = "cliResponse";
    /// A process was launched.
    ProcessStarted = "processStarted";
    /// A process has ended.
    ProcessStopped = "processStopped";
    /// A timer was set.
    TimerCreated = "timerCreated";
    /// A timer went off.
    TimerTriggered = "timerTriggered";
    /// A timer is gone.
    TimerClosed = "timerClosed";
    /// A connection belongs to an application now.
    ProtocolRegisteredToApp = "protocolRegisteredToApp";
    /// A connection does not belong to its application any more.
    ProtocolUnregisteredFromApp = "protocolUnregisteredFromApp";
    /// A socket was opened.
    CarrierCreated = "carrierCreated";
    /// A socket was closed.
    CarrierClosed = "carrierClosed";
    /// An application has started.
    ApplicationStart = "applicationStart";
    /// An application has ended.
    ApplicationStop = "applicationStop";
    /// The server is ready.
    ServerStarted = "serverStarted";
    /// The server ends.
    ServerStopping = "serverStopping";
}

impl Kind {
    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether the payload describes a stream.
    pub const fn is_of_stream(self) -> bool {
        matches!(
            self,
            Self::InStreamCreated
                | Self::OutStreamCreated
                | Self::InStreamClosed
                | Self::OutStreamClosed
                | Self::InStreamCodecsUpdated
                | Self::OutStreamCodecsUpdated
                | Self::AudioFeedStopped
                | Self::VideoFeedStopped
        )
    }

    /// Where it stands in a set of kinds.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u32
    }

    /// Whether it says that something begins whose end is told too.
    pub(super) fn opens(self) -> bool {
        Self::ALL.iter().any(|kind| kind.opened_by() == Some(self))
    }

    /// The kind that told the begin of what this one says has ended.
    pub(super) const fn opened_by(self) -> Option<Self> {
        Some(match self {
            Self::InStreamClosed => Self::InStreamCreated,
            Self::OutStreamClosed => Self::OutStreamCreated,
            Self::ProcessStopped => Self::ProcessStarted,
            Self::TimerClosed => Self::TimerCreated,
            Self::ProtocolUnregisteredFromApp => Self::ProtocolRegisteredToApp,
            Self::CarrierClosed => Self::CarrierCreated,
            Self::ApplicationStop => Self::ApplicationStart,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_exactly_these_names() {
        const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md"));
        let (_, events) = DOCS.split_once("\n## Events\n").expect("a section of events");
        let events = events.split("\n## ").next().unwrap_or_default();
        let rows = events.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut documented: Vec<_> = rows.collect();
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        documented.sort_unstable();
        names.sort_unstable();
        assert_eq!(documented, names);
        for (later, _) in LATER {
            for name in *later {
                assert_eq!(Kind::from_name(name), None, "{name} is there now: take it out of LATER");
                assert!(DOCS.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    #[test]
    fn names_bits_and_pairs_are_sound() {
        let mut all = 0;
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(all & kind.bit(), 0);
            all |= kind.bit();
            assert!(!(kind.opens() && kind.opened_by().is_some()));
        }
        assert_eq!(Kind::ALL.iter().filter(|kind| kind.opens()).count(), 7);
        assert!(Kind::InStreamCreated.opens());
        assert_eq!(Kind::from_name("instreamcreated"), None);
    }
}
