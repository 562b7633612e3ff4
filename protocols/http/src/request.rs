//! What the head of a request says, and which requests are refused.

use crtmp_media::{HttpHead, HttpStart, Limits};
use httparse::{EMPTY_HEADER, Error, Request};

use crate::{
    Refusal,
    body::Framing,
    lines::WholeHead,
    writer::{is_target, is_token},
};

/// The head of a request, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What the nearer layer gets.
    pub head: HttpHead,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client speaks HTTP/1.1; otherwise 1.0.
    pub is_1_1: bool,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
    /// Whether the client waits for a word before it sends the body.
    pub expects: bool,
}

impl RequestHead {
    /// Reads a head.
    ///
    /// # Errors
    ///
    /// What is no request, what two readers could understand differently, and bodies beyond their limit.
    pub fn parse(lines: &WholeHead, limits: &Limits) -> Result<Self, Refusal> {
        let mut fields = vec![EMPTY_HEADER; lines.fields];
        let mut request = Request::new(&mut fields);
        request.parse(&lines.bytes).map_err(|error| not_a_request(error, &lines.bytes))?;
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(Refusal::bad("the request line is not complete"));
        };
        let mut headers = fields_of(request.headers)?;
        let is_1_1 = version == 1;
        check_host(&headers, is_1_1)?;
        let (target, authority) = origin_form(method, target)?;
        if let Some(authority) = authority {
            // The target says more than the field, which is then not looked at (RFC 9112, 3.2.2).
            headers.retain(|(name, _)| name != "host");
            headers.push(("host".to_owned(), authority));
        }
        let framing = framing(&headers, is_1_1)?;
        if let Framing::Length(length) = framing
            && length > limits.http_body as u64
        {
            return Err(body_too_large(limits));
        }
        let keep_alive = keeps_alive(&headers, is_1_1);
        let expects = is_1_1 && expects(&headers)? && framing != Framing::Length(0);
        let start = HttpStart::Request { method: method.to_owned(), target };
        let head = HttpHead { start, headers, length: framing.length() };
        Ok(Self { head, framing, is_1_1, keep_alive, expects })
    }
}

/// A body that is larger than allowed.
pub(crate) fn body_too_large(limits: &Limits) -> Refusal {
    Refusal::new(413, format!("the body has more than httpBody = {} bytes", limits.http_body))
}

/// The header fields with names in lower case.
pub(crate) fn fields_of(fields: &[httparse::Header<'_>]) -> Result<Vec<(String, String)>, Refusal> {
    let field = |field: &httparse::Header<'_>| {
        let value = std::str::from_utf8(field.value)
            .map_err(|_| Refusal::bad("the value of a header field is not UTF-8"))?;
        if value.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(Refusal::bad("the value of a header field holds a control character"));
        }
        Ok((field.name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    };
    fields.iter().map(field).collect()
}

/// The values of all fields of this name.
pub(crate) fn all<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// The members of a list, over all fields of this name.
fn members<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    all(headers, name).flat_map(|value| value.split(',')).map(|member| member.trim_matches([' ', '\t']))
}

/// Whether the connection goes on after this message, by what its head says.
pub(crate) fn keeps_alive(headers: &[(String, String)], is_1_1: bool) -> bool {
    let says = |word: &str| members(headers, "connection").any(|member| member.eq_ignore_ascii_case(word));
    !says("close") && (is_1_1 || says("keep-alive"))
}

/// The length that `Content-Length` names, where it is there.
pub(crate) fn content_length(headers: &[(String, String)]) -> Result<Option<u64>, Refusal> {
    let mut values = all(headers, "content-length");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::bad("Content-Length stands there twice"));
    }
    // A sign would be taken by `parse`.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(length) if digits => Ok(Some(length)),
        _ => Err(Refusal::bad("Content-Length is not a whole number below 2^64")),
    }
}

/// Whether the body comes in chunks. Other codings are refused.
pub(crate) fn is_chunked(headers: &[(String, String)]) -> Result<bool, Refusal> {
    let codings: Vec<_> = members(headers, "transfer-encoding").collect();
    let chunked = codings.iter().filter(|coding| coding.eq_ignore_ascii_case("chunked")).count();
    let last = codings.last().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    match codings.len() {
        0 => Ok(false),
        1 if last => Ok(true),
        _ if codings.iter().any(|coding| coding.is_empty()) => {
            Err(Refusal::bad("Transfer-Encoding has an empty member"))
        }
        _ if chunked > 1 || (chunked == 1 && !last) => {
            Err(Refusal::bad("Transfer-Encoding has something after chunked"))
        }
        _ => Err(Refusal::new(501, "a transfer coding other than chunked is not spoken")),
    }
}

fn framing(headers: &[(String, String)], is_1_1: bool) -> Result<Framing, Refusal> {
    let length = content_length(headers)?;
    let coded = all(headers, "transfer-encoding").next().is_some();
    if coded && length.is_some() {
        return Err(Refusal::bad("both Content-Length and Transfer-Encoding are there"));
    }
    if coded && !is_1_1 {
        return Err(Refusal::bad("Transfer-Encoding is there, which HTTP/1.0 does not know"));
    }
    Ok(if is_chunked(headers)? { Framing::Chunked } else { Framing::Length(length.unwrap_or(0)) })
}

fn expects(headers: &[(String, String)]) -> Result<bool, Refusal> {
    let mut expects = false;
    for member in members(headers, "expect") {
        if !member.eq_ignore_ascii_case("100-continue") {
            return Err(Refusal::new(417, "an expectation other than 100-continue cannot be met"));
        }
        expects = true;
    }
    Ok(expects)
}

fn check_host(headers: &[(String, String)], is_1_1: bool) -> Result<(), Refusal> {
    let mut hosts = all(headers, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if is_1_1 => Err(Refusal::bad("Host is missing")),
        (Some(_), Some(_)) => Err(Refusal::bad("Host stands there twice")),
        (Some(host), None) if !is_authority(host) => Err(Refusal::bad("Host is not a host and a port")),
        _ => Ok(()),
    }
}

/// Whether it is made of what hosts and ports are made of.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    let host_fits = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.bytes().all(|byte| name(byte) || byte == b':')),
        None => host.bytes().all(name),
    };
    host_fits && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The target in origin form, and the authority that it named, where it was in absolute form.
fn origin_form(method: &str, target: &str) -> Result<(String, Option<String>), Refusal> {
    if !is_token(method) {
        return Err(Refusal::bad("the method is not a token"));
    }
    if method == "CONNECT" {
        return Err(Refusal::new(501, "CONNECT is not spoken"));
    }
    if is_target(target) {
        return Ok((target.to_owned(), None));
    }
    let bad = || Refusal::bad("the target is neither a path nor an address of HTTP");
    let (scheme, rest) = target.split_once("://").ok_or_else(bad)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(bad());
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if authority.is_empty() || !is_authority(authority) || !is_target(&path) {
        return Err(bad());
    }
    Ok((path, Some(authority.to_owned())))
}

fn not_a_request(error: Error, head: &[u8]) -> Refusal {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let is_other = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    match error {
        Error::Version if is_other => Refusal::new(505, "a version other than HTTP/1.0 and 1.1"),
        error => Refusal::bad(format_args!("this is not a request of HTTP: {error}")),
    }
}
