//! Where streams come from and go to: `rtmp://user:password@host:port/app/instance/stream?query`.

use std::net::Ipv6Addr;

use super::adobe::Login;
use crate::secrets::MASK;

/// The schemes that are served, each with its port and the chain of its connections.
const SERVED: &[(&str, u16, &str)] = &[
    ("rtmp", 1935, "outboundRtmp"),
    ("rtmpe", 1935, "outboundRtmpe"),
    ("rtmps", 443, "outboundRtmps"),
    ("rtmpt", 80, "outboundRtmpt"),
    ("rtmpte", 80, "outboundRtmpte"),
    ("rtmpts", 443, "outboundRtmpts"),
];

/// Bytes of an address.
pub(super) const URI: usize = 4096;

/// Schemes that are known and not served yet.
const LATER: &[(&str, &str)] = &[("rtsp", "RTSP"), ("rtp", "RTP")];

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Uri {
    /// In small letters.
    pub(super) scheme: &'static str,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Who we are there, where it says both user and password.
    pub(super) login: Option<Login>,
    /// What follows, without slashes at its ends.
    path: String,
}

/// One place that a stream comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) uri: Uri,
    /// The application at the far end, with instance and query.
    pub(super) app: String,
    /// The stream at the far end, with query.
    pub(super) stream: String,
}

impl Uri {
    /// Takes an address apart.
    ///
    /// # Errors
    ///
    /// What is wrong with it; what it holds is not in the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URI {
            return Err(format!("an address of {} bytes; at most {URI} are taken", text.len()));
        }
        if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            return Err("an address with white space or control characters".to_owned());
        }
        let (scheme, rest) = text.split_once("://").ok_or("no address: `rtmp://` is missing")?;
        let scheme = scheme.to_ascii_lowercase();
        if let Some((scheme, feature)) = LATER.iter().find(|(later, _)| *later == scheme) {
            return Err(format!("an address of {scheme}://, which is not supported yet ({feature})"));
        }
        let served = SERVED.iter().find(|(served, ..)| *served == scheme);
        let &(scheme, usual, _) = served.ok_or("an address of another scheme")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Login::parse(user), place),
            None => (None, authority),
        };
        let (host, port) = place_of(place)?;
        let path = path.trim_matches('/').to_owned();
        Ok(Self { scheme, host, port: port.unwrap_or(usual), login, path })
    }

    /// Whether its connections begin with TLS.
    pub(super) fn is_within_tls(&self) -> bool {
        matches!(self.scheme, "rtmps" | "rtmpts")
    }

    /// Address and port, as a resolver takes them.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What is connected to when it is said to have this application: `tcUrl`.
    pub(super) fn tc_url(&self, app: &str) -> String {
        let Self { scheme, host, port, .. } = self;
        if SERVED.iter().any(|(served, usual, _)| served == scheme && usual == port) {
            format!("{scheme}://{host}/{app}")
        } else {
            format!("{scheme}://{host}:{port}/{app}")
        }
    }

    /// The application and the stream: the last part is the stream's, with its query.
    pub(super) fn with_stream(&self) -> Option<Target> {
        let query = self.path.find('?').unwrap_or(self.path.len());
        // A query may stand behind the application: `app?token=x/stream`.
        let slash = self.path[..query].rfind('/').or_else(|| self.path.rfind('/'))?;
        let (app, stream) = (self.path[..slash].trim_matches('/'), &self.path[slash + 1..]);
        let has_name = !stream.is_empty() && !stream.starts_with('?');
        (!app.is_empty() && has_name).then(|| self.target(app, stream))
    }

    /// The whole path is the application's, and the stream has this name.
    pub(super) fn of_app(&self, stream: &str) -> Option<Target> {
        (!self.path.is_empty()).then(|| self.target(&self.path, stream))
    }

    fn target(&self, app: &str, stream: &str) -> Target {
        Target { uri: self.clone(), app: app.to_owned(), stream: stream.to_owned() }
    }
}

impl Target {
    /// The address without user and stream.
    pub(super) fn place(&self) -> String {
        self.uri.tc_url(&self.app)
    }

    /// Where a server sends us that does not serve this itself. The stream stays the same; of the address, it is the
    /// application that counts.
    ///
    /// # Errors
    ///
    /// If that is no address.
    pub(super) fn redirected(&self, to: &str) -> Result<Self, String> {
        if !to.contains("://") {
            let app = to.trim_matches('/');
            let odd = app.is_empty() || app.len() > URI || app.chars().any(char::is_control);
            return if odd { Err("no address".to_owned()) } else { Ok(self.uri.target(app, &self.stream)) };
        }
        let uri = Uri::parse(to)?;
        let name = |stream: &str| stream.split('?').next().unwrap_or_default().to_owned();
        let with_stream = uri.with_stream().filter(|target| name(&target.stream) == name(&self.stream));
        Ok(with_stream
            .or_else(|| uri.of_app(&self.stream))
            .unwrap_or_else(|| uri.target(&self.app, &self.stream)))
    }
}

impl Target {
    /// Where a server asks us to connect instead: a `tcUrl`, absolute or relative to the one that we have used.
    ///
    /// # Errors
    ///
    /// If that is no address.
    pub(super) fn moved(&self, to: &str) -> Result<Self, String> {
        match to.strip_prefix("//") {
            Some(place) => self.redirected(&format!("{}://{place}", self.uri.scheme)),
            None => self.redirected(to),
        }
    }
}

/// The address without who we are there.
pub(super) fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://{MASK}@{place}{path}"),
        None => text.to_owned(),
    }
}

/// The chain of the connections of a scheme that [`Uri::parse`] has given.
pub(super) fn chain_of(scheme: &str) -> &'static str {
    let served = SERVED.iter().find(|(served, ..)| *served == scheme);
    served.map_or("", |(_, _, chain)| chain)
}

/// Where a connection leads that is made for itself, by an address such as `rtmps://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) scheme: &'static str,
    pub(crate) host_and_port: String,
    pub(crate) chain: &'static str,
}

impl Place {
    /// Takes an address apart.
    ///
    /// # Errors
    ///
    /// What is wrong with it; what it holds is not in the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri = Uri::parse(text)?;
        let (_, place) = text.split_once("://").unwrap_or_default();
        if place.trim_end_matches('/').contains(['/', '?', '#', '@']) {
            let rest = "application and user are said by the command `connect`";
            return Err(format!("an address with more than scheme, host and port: {rest}"));
        }
        Ok(Self { scheme: uri.scheme, host_and_port: uri.host_and_port(), chain: chain_of(uri.scheme) })
    }
}

fn place_of(place: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']').ok_or("an IPv6 address whose `]` is missing")?;
        let address: Ipv6Addr = inner.parse().map_err(|_| "brackets without an IPv6 address in them")?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or("something behind `]` that is no port")?),
        };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
            return Err("an address without a host, or with one that cannot be".to_owned());
        }
        (host.to_ascii_lowercase(), port)
    };
    let Some(port) = port else { return Ok((host, None)) };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0);
    Ok((host, Some(port.ok_or("an address with a port that is not from 1 to 65535")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, place, app, stream) in [
            ("rtmp://host/app/stream", "host:1935", "app", "stream"),
            ("RTMP://Host:1936/app/instance/stream", "host:1936", "app/instance", "stream"),
            ("rtmp://h/app/stream?a=b/c", "h:1935", "app", "stream?a=b/c"),
            ("rtmp://h/app?token=x/stream", "h:1935", "app?token=x", "stream"),
            ("rtmp://u:p@w@[2001:db8::1]:99/app/stream", "[2001:db8::1]:99", "app", "stream"),
            ("rtmp://192.0.2.1/app//stream", "192.0.2.1:1935", "app", "stream"),
            ("rtmps://host/app/stream", "host:443", "app", "stream"),
            ("rtmpt://host/app/stream", "host:80", "app", "stream"),
            ("RTMPTE://host:8080/app/stream", "host:8080", "app", "stream"),
            ("Rtmpe://host/app/stream", "host:1935", "app", "stream"),
            ("rtmpts://host/app/stream", "host:443", "app", "stream"),
        ] {
            let uri = Uri::parse(text).unwrap();
            let target = uri.with_stream().unwrap();
            assert_eq!(uri.host_and_port(), place, "{text}");
            assert_eq!((&*target.app, &*target.stream), (app, stream), "{text}");
        }
        let uri = Uri::parse("rtmp://u:secret@h/live").unwrap();
        assert!(uri.login == Login::parse("u:secret") && uri.with_stream().is_none());
        assert_eq!(uri.of_app("cam"), Some(uri.target("live", "cam")));
        assert_eq!(uri.tc_url("live"), "rtmp://h/live");
        assert_eq!(Uri::parse("rtmp://h:1/live/").unwrap().tc_url("live"), "rtmp://h:1/live");
        assert_eq!(Uri::parse("RTMPE://h/live").unwrap().tc_url("live"), "rtmpe://h/live");
        for (scheme, _, chain) in SERVED {
            assert_eq!(chain_of(Uri::parse(&format!("{scheme}://h")).unwrap().scheme), *chain);
        }
        for without in ["rtmp://h", "rtmp://h/", "rtmp://h/live", "rtmp://h/live/", "rtmp://h/live/?a=b"] {
            assert_eq!(Uri::parse(without).unwrap().with_stream(), None, "{without}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for text in [
            "",
            "secret",
            "http://secret/a/b",
            "rtmp:///a/secret",
            "rtmp://:80/a/secret",
            "rtmp://h:0/secret/b",
            "rtmp://h:65536/secret/b",
            "rtmp://h:+1/secret/b",
            "rtmp://h:/secret/b",
            "rtmp://[::1/secret/b",
            "rtmp://[secret]/a/b",
            "rtmp://[::1]1/secret/b",
            "rtmp://h h/secret/b",
            "rtmp://h/secret\n/b",
            "rtmp://secret%20/a/b",
            "rtmptse://secret/a/b",
            "rtsp://secret/a/b",
        ] {
            let error = Uri::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        assert!(Uri::parse("rtsp://h/a/b").unwrap_err().contains("not supported yet"));
        for (length, good) in [(URI - 1, true), (URI, true), (URI + 1, false)] {
            let text = format!("rtmp://h/a/{}", "b".repeat(length - 11));
            assert_eq!(Uri::parse(&text).is_ok(), good, "{length}");
        }
    }

    #[test]
    fn addresses_to_move_to_may_be_relative() {
        let target = Uri::parse("rtmp://u:p@h:1936/app/stream?q").unwrap().with_stream().unwrap();
        for (to, place, app) in [
            ("rtmp://other/live", "other:1935", "live"),
            ("//192.0.2.0:7/live", "192.0.2.0:7", "live"),
            ("//other", "other:1935", "app"),
            ("/live/room", "h:1936", "live/room"),
        ] {
            let found = target.moved(to).unwrap();
            assert_eq!((found.uri.host_and_port().as_str(), &*found.app), (place, app), "{to}");
            assert_eq!(found.stream, "stream?q", "{to}");
        }
        for bad in ["", "/", "//", "http://other/live", "a\u{7}"] {
            assert!(target.moved(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_connection_for_itself_has_scheme_host_and_port() {
        for (text, scheme, host_and_port, chain) in [
            ("rtmp://Host", "rtmp", "host:1935", "outboundRtmp"),
            ("rtmps://host/", "rtmps", "host:443", "outboundRtmps"),
            ("RTMPT://[::1]:8080", "rtmpt", "[::1]:8080", "outboundRtmpt"),
        ] {
            let host_and_port = host_and_port.to_owned();
            assert_eq!(Place::parse(text), Ok(Place { scheme, host_and_port, chain }), "{text}");
        }
        for text in [
            "host:1935",
            "rtmp://host/app",
            "rtmp://hidden@host",
            "rtmp://host?hidden",
            "rtmp://host#x",
            "rtsp://host",
        ] {
            let error = Place::parse(text).unwrap_err();
            assert!(!error.contains("hidden"), "{text}: {error}");
        }
    }

    /// Plugins know the schemes, and scripts the chains by them.
    #[test]
    fn schemes_and_chains_are_called_as_plugins_know_them() {
        let schemes: Vec<&str> = SERVED.iter().map(|(scheme, ..)| *scheme).collect();
        assert_eq!(schemes, crtmp_plugin::SCHEMES);
        for (scheme, _, chain) in SERVED {
            let (first, rest) = scheme.split_at(1);
            assert_eq!(*chain, format!("outbound{}{rest}", first.to_ascii_uppercase()));
        }
    }

    #[test]
    fn who_is_sent_elsewhere_looks_there_for_the_same_stream() {
        let target = Uri::parse("rtmp://u:p@h/app/stream?q").unwrap().with_stream().unwrap();
        for (to, place, app) in [
            ("rtmp://other/live", "other:1935", "live"),
            ("rtmp://other:1/live/instance", "other:1", "live/instance"),
            ("rtmp://other/live/stream", "other:1935", "live"),
            ("rtmp://other", "other:1935", "app"),
            ("/edge/", "h:1935", "edge"),
        ] {
            let found = target.redirected(to).unwrap();
            assert_eq!((found.uri.host_and_port().as_str(), &*found.app), (place, app), "{to}");
            assert!(found.stream.starts_with("stream"), "{to}");
            // Who we are is nobody's business but that of the server that is meant.
            assert_eq!(found.uri.login.is_some(), to.starts_with('/'), "{to}");
        }
        for bad in ["", "/", "http://other/live", "rtmp://", "a\u{7}"] {
            assert!(target.redirected(bad).is_err(), "{bad}");
        }
    }
}
