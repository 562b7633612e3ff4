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

pub(super) const WAYS: [Way; 2] = [Way::Publish, Way::Play];

pub(super) const CLIENTS: [Client; 5] =
    [Client::Ffmpeg, Client::Ffmpeg9, Client::Rtmpdump, Client::Rtmp2, Client::Librtmp];

/// Why a client cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct No {
    /// For the reader of the document.
    pub(super) why: &'static str,
    /// What the client says when it is told to do it; none: there are no words to tell it.
    pub(super) says: Option<&'static str>,
}

/// The authority of all cells, and its certificate for the server.
pub(super) static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::new);

/// Whether the client can do it; otherwise why not.
pub(super) fn verdict(client: Client, scheme: Scheme, way: Way) -> Result<(), No> {
    let no = |why, says| Err(No { why, says: Some(says) });
    match (client, scheme, way) {
        (Client::Rtmpdump, _, Way::Publish) => {
            Err(No { why: "rtmpdump only plays: it has no option that publishes.", says: None })
        }
        (Client::Ffmpeg, Scheme::Rtmpe | Scheme::Rtmpte, _) => {
            no("Debian builds ffmpeg without RTMPE: `Protocol not found`.", "Protocol not found")
        }
        (Client::Ffmpeg9, Scheme::Rtmpts, _) => no(
            "ffmpeg 9 opens the tunnel by `https`, asks for `http` in all that follows, and refuses itself that:\n   \
             `Cannot reuse HTTP connection for different protocol https vs http`. No option leads around it. (Nor do options\n   \
             reach the TLS within: only `SSL_CERT_FILE` names another authority.)",
            "Cannot reuse HTTP connection for different protocol https vs http",
        ),
        (Client::Rtmp2, Scheme::Rtmpe | Scheme::Rtmpt | Scheme::Rtmpte | Scheme::Rtmpts, _) => {
            no("These elements know `rtmp` and `rtmps` only: `Host is not set`.", "Host is not set")
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
