//! One request and its answer: what is checked before, how much is read after.

use std::{
    fmt::Display,
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use ureq::{
    Agent, Error,
    http::{self, HeaderName, HeaderValue, Method, Uri, header, uri::Authority},
    tls::{Certificate, RootCerts, TlsConfig},
    unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, TcpConnector, Transport},
};

use super::{Outcome, Request, Response, WebError, resolve::Guard};
use crate::outbound::{Origin, Outbound, Policy};

/// The longest URL, in bytes.
const URL: usize = 8 * 1024;

/// The most header fields of a request.
const HEADERS: usize = 64;

/// Header fields that the client writes itself: another value could make one request two.
const OWN_HEADERS: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// Two clients that differ in where they go.
pub(super) struct Agents {
    configured: Agent,
    requested: Agent,
    policy: Policy,
}

impl Agents {
    /// `roots`: the certificates that are trusted; none: the system's. `head`: the longest head of an answer.
    pub(super) fn new(outbound: &Outbound, roots: Option<&[Certificate<'static>]>, head: usize) -> Self {
        let roots = match roots {
            Some(roots) => RootCerts::new_with_certs(roots),
            None => system_roots(),
        };
        let agent = |origin| agent(Guard::new(origin, outbound.clone()), roots.clone(), head);
        Self {
            configured: agent(Origin::Configuration),
            requested: agent(Origin::Request),
            policy: outbound.policy.clone(),
        }
    }

    /// Sends `request` and reads an answer with at most `limit` bytes of body, until `until`.
    pub(super) fn send(&self, request: &Request, until: Instant, limit: usize) -> Outcome {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WebError::Timeout);
        }
        let agent = match request.origin {
            Origin::Configuration => &self.configured,
            Origin::Request => &self.requested,
        };
        let parts = parts(request)?;
        self.policy.check_scheme(parts.uri.scheme_str().unwrap_or_default(), request.origin)?;
        let bare =
            request.body.is_empty() && [Method::GET, Method::HEAD, Method::DELETE].contains(&parts.method);
        let answer = if bare {
            run(agent, http::Request::from_parts(parts, ()), left)
        } else {
            run(agent, http::Request::from_parts(parts, request.body.as_slice()), left)
        };
        read(answer.map_err(why)?, limit)
    }
}

/// A URL that this client takes, and the user and password in it.
pub(super) fn parse_url(url: &str) -> Result<(Uri, Option<String>), WebError> {
    if url.len() > URL {
        return Err(WebError::Url("it has more than 8192 bytes"));
    }
    let uri: Uri = url
        .parse()
        .map_err(|_| WebError::Url("it cannot be read; bytes above 127 and spaces are written as %XX"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(WebError::Url("it must begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or(WebError::Url("it names no host"))?.clone();
    if authority.host().is_empty() {
        return Err(WebError::Url("it names no host"));
    }
    // The library takes a port that is no number for none at all.
    let (_, host) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
    let port = host.strip_prefix(authority.host()).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(WebError::Url("its port is not a number from 1 to 65535"));
    }
    let Some((user, host)) = authority.as_str().rsplit_once('@') else { return Ok((uri, None)) };
    let user = user.to_owned();
    let mut parts = uri.into_parts();
    parts.authority = Some(Authority::try_from(host).map_err(|_| WebError::Url("its host cannot be read"))?);
    let uri = Uri::from_parts(parts).map_err(|_| WebError::Url("it cannot be read"))?;
    Ok((uri, Some(user)))
}

/// Text of a system, a library or a peer, fit for a log: one line, not long.
pub(super) fn printable(text: &impl Display) -> String {
    const SHOWN: usize = 200;
    let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    text.to_string().chars().take(SHOWN).map(plain).collect()
}

fn agent(guard: Guard, roots: RootCerts, head: usize) -> Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // Said explicitly: by default the environment would be asked.
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("crtmpserver/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(head)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(SharedTls::default());
    Agent::with_parts(config, connector, guard)
}

/// The certificates that the system trusts. Where it has none, every `https` request fails and says so.
fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect::<Vec<_>>()
        .into()
}

fn parts(request: &Request) -> Result<http::request::Parts, WebError> {
    let cannot = |what: &str| WebError::Request(what.to_owned());
    let (uri, user) = parse_url(&request.url)?;
    let method = request.method.parse::<Method>().map_err(|_| cannot("its method is no word"))?;
    if method == Method::CONNECT {
        return Err(cannot("CONNECT is for proxies"));
    }
    let mut parts = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .map_err(|_| cannot("its URL"))?
        .into_parts()
        .0;
    if request.headers.len() > HEADERS {
        return Err(cannot("it has more than 64 header fields"));
    }
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| cannot("the name of a header field has characters that no name may have"))?;
        if OWN_HEADERS.contains(&name) {
            return Err(WebError::Request(format!("the header field {name} is the client's own")));
        }
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| {
            WebError::Request(format!(
                "the header field {name} has a line break or another control character"
            ))
        })?;
        parts.headers.append(name, value);
    }
    if let Some(user) = user
        && !parts.headers.contains_key(header::AUTHORIZATION)
    {
        let plain: Vec<u8> = percent_decode_str(&user).collect();
        let value = format!("Basic {}", BASE64_STANDARD.encode(plain));
        let value = HeaderValue::try_from(value).map_err(|_| cannot("its user and password"))?;
        parts.headers.insert(header::AUTHORIZATION, value);
    }
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(parts)
}

fn run(
    agent: &Agent,
    request: http::Request<impl ureq::AsSendBody>,
    left: Duration,
) -> Result<http::Response<ureq::Body>, Error> {
    agent.run(agent.configure_request(request).timeout_global(Some(left)).build())
}

fn read(answer: http::Response<ureq::Body>, limit: usize) -> Outcome {
    let (parts, body) = answer.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut bytes = Vec::new();
    // One byte more than is allowed tells whether there is more; memory follows what comes.
    let mut reader = body.into_reader().take(limit as u64 + 1);
    reader.read_to_end(&mut bytes).map_err(|error| why(error.into()))?;
    if bytes.len() > limit {
        return Err(WebError::TooLarge(limit));
    }
    Ok(Response { status: parts.status.as_u16(), headers, body: bytes })
}

/// What a failure of the library is in our words.
fn why(error: Error) -> WebError {
    match error {
        Error::Other(inner) => match inner.downcast::<WebError>() {
            Ok(ours) => *ours,
            Err(inner) => WebError::Connection(printable(&inner)),
        },
        Error::Timeout(_) => WebError::Timeout,
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => WebError::Tls(printable(tls)),
            None => WebError::Connection(printable(&error)),
        },
        Error::HostNotFound => WebError::Resolve("it has no address".to_owned()),
        Error::BadUri(_) => WebError::Url("it cannot be read"),
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => {
            WebError::Tls(printable(&error))
        }
        Error::Http(_) => WebError::Request(printable(&error)),
        Error::ConnectionFailed => WebError::Connection("nothing answers".to_owned()),
        _ => WebError::Answer(printable(&error)),
    }
}

/// TLS whose settings are made once. The library would make them anew for each request that has settings of its
/// own, and each of ours has its time.
#[derive(Debug, Default)]
struct SharedTls(RustlsConnector);

impl<In: Transport> Connector<In> for SharedTls {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        self.0.connect(&details, chained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_what_is_none() {
        for url in
            ["http://a", "https://a:8443/b?c=d", "http://[::1]:80/", "http://127.1/", "http://2130706433/"]
        {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "a",
            "/a",
            "//a/b",
            "ftp://a/",
            "file:///etc/passwd",
            "gopher://a/",
            "http://",
            "http:///a",
            "http://:80/",
            "http://a:0/",
            "http://a:65536/",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://a/\n",
            "http://ü/",
            &format!("http://a/{}", "x".repeat(URL)),
        ] {
            assert!(matches!(parse_url(url), Err(WebError::Url(_))), "{url:?}");
        }
    }

    #[test]
    fn user_and_password_become_a_header_field() {
        let parts = parts(&Request::get("http://us%40er:p%20w@host:81/a")).unwrap();
        assert_eq!(parts.uri, "http://host:81/a");
        assert_eq!(parts.headers["authorization"], "Basic dXNAZXI6cCB3");
    }

    #[test]
    fn a_request_cannot_become_two() {
        for (name, value) in [
            ("X-Name", "a\r\nX-Other: b"),
            ("X-Name", "a\nb"),
            ("X-Name", "a\0b"),
            ("X\r\nY", "a"),
            ("X Y", "a"),
            ("X:", "a"),
            ("", "a"),
            ("ü", "a"),
            ("Host", "b"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "keep-alive"),
        ] {
            let mut request = Request::post("http://a/", "x");
            request.headers.push((name.into(), value.into()));
            assert!(matches!(parts(&request), Err(WebError::Request(_))), "{name:?}: {value:?}");
        }
        for method in ["", "GET /x HTTP/1.1\r\n", "CONNECT", "G T"] {
            let request = Request { method: method.into(), ..Request::get("http://a/") };
            assert!(parts(&request).is_err(), "{method:?}");
        }
        let mut request = Request::get("http://a/");
        request.headers.push(("X-Name".into(), "ü \"quoted\"".into()));
        assert!(parts(&request).is_ok());
    }
}
