//! The keys of crtmpserver that this server does not serve: each is refused by name, none is silently ignored.

/// Where in a configuration a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Directly in `configuration`.
    Top,
    /// In a block of `applications`.
    Application,
    /// In a table `authentication`.
    Authentication,
    /// In a block of `acceptors`.
    Acceptor,
    /// In a block of `logAppenders`.
    Appender,
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to the named feature, which is not there yet.
    Later(&'static str),
    /// It will not come; the text says what to use instead.
    Never(&'static str),
}

/// A value that is accepted although the key is refused, because it asks for what happens anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// No value at all.
    Nothing,
    /// `false`.
    False,
    /// A table without entries.
    Empty,
}

/// A key of crtmpserver that is not served.
#[derive(Clone, Copy, Debug)]
pub struct RefusedKey {
    /// Where it would stand.
    pub scope: Scope,
    /// Its name.
    pub key: &'static str,
    /// Why it is refused.
    pub refusal: Refusal,
    /// The value that is accepted all the same.
    pub off: Off,
}

const VOD: Refusal = Refusal::Later("playing files (video on demand)");
const RTSP: Refusal = Refusal::Later("RTSP");

const fn refused(scope: Scope, key: &'static str, refusal: Refusal, off: Off) -> RefusedKey {
    RefusedKey { scope, key, refusal, off }
}

/// Every key of crtmpserver that is refused, with the reason.
pub const REFUSED_KEYS: &[RefusedKey] = &[
    refused(
        Scope::Top,
        "instancesCount",
        Refusal::Never("one process uses all cores by itself; `workers` sets the number of worker threads"),
        Off::Nothing,
    ),
    refused(
        Scope::Application,
        "initApplicationFunction",
        Refusal::Never(
            "a library exports one descriptor (`export_plugin!`) instead of functions of chosen names",
        ),
        Off::Nothing,
    ),
    refused(
        Scope::Application,
        "initFactoryFunction",
        Refusal::Never(
            "a library exports one descriptor (`export_plugin!`) instead of functions of chosen names",
        ),
        Off::Nothing,
    ),
    refused(
        Scope::Application,
        "maxRtmpOutBuffer",
        Refusal::Never("`limits.playerQueueBytes` and `maxLag` bound how far a player may be behind"),
        Off::Nothing,
    ),
    refused(Scope::Application, "maxRtspOutBuffer", RTSP, Off::Nothing),
    refused(Scope::Application, "rtcpDetectionInterval", RTSP, Off::Nothing),
    refused(Scope::Application, "mediaStorage", VOD, Off::Empty),
    refused(
        Scope::Application,
        "mediaFolder",
        Refusal::Never("it was obsolete in crtmpserver already; `mediaStorage` will come with playing files"),
        Off::Nothing,
    ),
    refused(Scope::Application, "metaFolder", VOD, Off::Nothing),
    refused(Scope::Application, "statsFolder", VOD, Off::Nothing),
    refused(Scope::Application, "enableStats", VOD, Off::False),
    refused(Scope::Application, "generateMetaFiles", VOD, Off::False),
    refused(Scope::Application, "renameBadFiles", VOD, Off::False),
    refused(Scope::Application, "keyframeSeek", VOD, Off::Nothing),
    refused(Scope::Application, "seekGranularity", VOD, Off::Nothing),
    refused(Scope::Application, "clientSideBuffer", VOD, Off::Nothing),
    refused(Scope::Application, "externSeekGenerator", VOD, Off::False),
    refused(Scope::Application, "externalSeekGenerator", VOD, Off::False),
    refused(Scope::Application, "storage", VOD, Off::Empty),
    refused(
        Scope::Application,
        "allowDuplicateInboundNetworkStreams",
        Refusal::Never("`duplicatePublisher` says what happens to a second publisher of a stream"),
        Off::Nothing,
    ),
    refused(
        Scope::Application,
        "dnsResolver",
        Refusal::Never("names are resolved by the system's resolver"),
        Off::Nothing,
    ),
    refused(Scope::Authentication, "rtsp", RTSP, Off::Nothing),
    refused(
        Scope::Acceptor,
        "localStreamName",
        Refusal::Later("MPEG-TS and live FLV input (`inboundTcpTs`, `inboundUdpTs`, `inboundLiveFlv`)"),
        Off::Nothing,
    ),
    refused(
        Scope::Acceptor,
        "waitForMetadata",
        Refusal::Later("live FLV input (`inboundLiveFlv`)"),
        Off::Nothing,
    ),
    refused(
        Scope::Acceptor,
        "fireOnlyOnce",
        Refusal::Later("MPEG-TS input (`inboundTcpTs`, `inboundUdpTs`)"),
        Off::Nothing,
    ),
    refused(Scope::Acceptor, "auth", Refusal::Later("chains over HTTP (`inboundHttp…`)"), Off::Nothing),
    refused(
        Scope::Acceptor,
        "crossDomainFile",
        Refusal::Never("no browser plugin reads cross-domain policy files any more"),
        Off::Nothing,
    ),
];

/// The entry for `key` in `scope`, if that key is refused by name.
pub fn refused_key(scope: Scope, key: &str) -> Option<&'static RefusedKey> {
    REFUSED_KEYS.iter().find(|entry| entry.scope == scope && entry.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_listed_once_in_its_scope() {
        for (index, entry) in REFUSED_KEYS.iter().enumerate() {
            let first =
                REFUSED_KEYS.iter().position(|other| other.scope == entry.scope && other.key == entry.key);
            assert_eq!(first, Some(index), "{}", entry.key);
        }
    }
}
