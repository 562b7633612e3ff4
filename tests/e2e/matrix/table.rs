//! The cells.

use std::sync::LazyLock;

use crtmp_tests::Certificates;

use super::client::Client;

/// What a URL begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Rtmp,
    Rtmpe,
    Rtmpt,
    Rtmpte,
    Rtmps,
    Rtmpts,
}

pub(super) const SCHEMES: [Scheme; 6] =
    [Scheme::Rtmp, Scheme::Rtmpe, Scheme::Rtmpt, Scheme::Rtmpte, Scheme::Rtmps, Scheme::Rtmpts];

/// The direction of the stream, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Publish,
    Play,
}

pub(super) const CLIENTS: [Client; 5] =
    [Client::Ffmpeg, Client::Ffmpeg9, Client::Rtmpdump, Client::Rtmp2, Client::Librtmp];

/// What stands before the table in the document.
pub(super) const BEFORE: &str = "\
# Clients and schemes

Which client publishes and plays by which scheme. Each *yes* is tried by a test that compares what arrived with what was
sent, packet by packet (`tests/e2e/matrix`); this page is made from the table of that test.
";

/// Whether the client can do it; otherwise why not.
pub(super) fn verdict(client: Client, scheme: Scheme, way: Way) -> Result<(), &'static str> {
    match (client, scheme, way) {
        (Client::Rtmpdump, _, Way::Publish) => Err("rtmpdump only plays."),
        (Client::Ffmpeg, Scheme::Rtmpe | Scheme::Rtmpte, _) => Err("Debian's ffmpeg is built without RTMPE."),
        (Client::Rtmpdump | Client::Librtmp, Scheme::Rtmpts, _) => {
            Err("librtmp 2.4 crashes where TLS meets HTTP.")
        }
        (Client::Ffmpeg9, Scheme::Rtmpts, _) => {
            Err("ffmpeg 9 wants a certificate of an authority that the system trusts.")
        }
        (Client::Rtmp2, Scheme::Rtmpe | Scheme::Rtmpt | Scheme::Rtmpte | Scheme::Rtmpts, _) => {
            Err("These elements know `rtmp` and `rtmps` only.")
        }
        _ => Ok(()),
    }
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmpe => "rtmpe",
            Self::Rtmpt => "rtmpt",
            Self::Rtmpte => "rtmpte",
            Self::Rtmps => "rtmps",
            Self::Rtmpts => "rtmpts",
        }
    }

    /// The chain of its port.
    pub(super) const fn chain(self) -> &'static str {
        match self {
            Self::Rtmp => "inboundRtmp",
            Self::Rtmpe => "inboundRtmpe",
            Self::Rtmpt => "inboundRtmpt",
            Self::Rtmpte => "inboundRtmpte",
            Self::Rtmps => "inboundRtmps",
            Self::Rtmpts => "inboundRtmpts",
        }
    }

    /// What the configuration says of its port, but for the address.
    pub(super) fn acceptor(self) -> String {
        static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::new);
        let protocol = format!("protocol = {:?}", self.chain());
        match self {
            Self::Rtmp | Self::Rtmpe | Self::Rtmpt | Self::Rtmpte => protocol,
            Self::Rtmps | Self::Rtmpts => format!("{protocol}, {}", CERTIFICATES.keys("server")),
        }
    }
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publishes",
            Self::Play => "plays",
        }
    }
}
