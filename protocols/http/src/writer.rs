//! Heads and bodies on their way out.

use crtmp_media::{HttpHead, HttpStart, OutQueue, Piece};

/// Header fields that this crate writes itself: what the nearer layer says of them is not passed on.
const OURS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// How the body of a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// So many bytes of it are still to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    UntilClose,
    /// Not at all: the message may have none.
    Nowhere,
}

impl Carriage {
    /// How the body of a response goes out to a client that may know chunks, and may have asked with `HEAD`.
    pub const fn of_response(status: u16, length: Option<u64>, is_1_1: bool, is_head: bool) -> Self {
        match (status, length) {
            _ if is_head => Self::Nowhere,
            (100..200 | 204 | 304, _) => Self::Nowhere,
            (_, Some(length)) => Self::Length(length),
            (_, None) if is_1_1 => Self::Chunked,
            (_, None) => Self::UntilClose,
        }
    }

    /// Sends a part of the body, without copying it.
    ///
    /// # Errors
    ///
    /// More than the head has announced.
    pub fn write(&mut self, piece: Piece, far: &mut OutQueue) -> Result<(), String> {
        let size = piece.bytes().len();
        if size == 0 {
            return Ok(());
        }
        match self {
            Self::Length(left) => match left.checked_sub(size as u64) {
                Some(now) => *left = now,
                None => return Err("the body is longer than its head says".to_owned()),
            },
            Self::Chunked => far.write_with(|out| out.extend_from_slice(format!("{size:x}\r\n").as_bytes())),
            Self::UntilClose => {}
            Self::Nowhere => return Ok(()),
        }
        far.push(piece);
        if *self == Self::Chunked {
            far.write_with(|out| out.extend_from_slice(b"\r\n"));
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// Less than the head has announced.
    pub fn end(self, far: &mut OutQueue) -> Result<(), String> {
        match self {
            Self::Length(1..) => return Err("the body is shorter than its head says".to_owned()),
            Self::Chunked => far.write_with(|out| out.extend_from_slice(b"0\r\n\r\n")),
            Self::Length(0) | Self::UntilClose | Self::Nowhere => {}
        }
        Ok(())
    }
}

/// What is said of the connection in a head that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It goes on, as is usual.
    Unsaid,
    /// It goes on, to a peer that would not think so.
    KeepAlive,
    /// It ends after this message.
    Close,
}

/// Writes the head of a response.
///
/// # Errors
///
/// A head that is none, or that would not stay one: nothing has been written then.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &HttpHead,
    carriage: Carriage,
    connection: Connection,
) -> Result<(), String> {
    let HttpStart::Response { status } = head.start else {
        return Err("a request was to go out as a response".to_owned());
    };
    if !(200..600).contains(&status) {
        return Err(format!("a response was to go out with the status {status}"));
    }
    check(&head.headers)?;
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    write_fields(out, &head.headers);
    // Of a body that does not go out, only the answer to HEAD may tell the length.
    let length = if matches!(status, 204 | 304) { None } else { head.length };
    write_framing(out, carriage, length);
    match connection {
        Connection::Unsaid => {}
        Connection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the head of a request.
///
/// # Errors
///
/// As for [`write_response`].
pub fn write_request(out: &mut Vec<u8>, head: &HttpHead, carriage: Carriage) -> Result<(), String> {
    let HttpStart::Request { method, target } = &head.start else {
        return Err("a response was to go out as a request".to_owned());
    };
    if !is_token(method) || !is_target(target) {
        return Err("a request was to go out whose method or target is none".to_owned());
    }
    check(&head.headers)?;
    if head.headers.iter().filter(|(name, _)| name == "host").count() != 1 {
        return Err("a request was to go out without one header host".to_owned());
    }
    out.extend_from_slice(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
    write_fields(out, &head.headers);
    // A length of 0 goes without saying where the method has no use for a body.
    let bare = head.length == Some(0) && !matches!(method.as_str(), "POST" | "PUT" | "PATCH");
    write_framing(out, carriage, head.length.filter(|_| !bare));
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// A response without a body that ends the connection.
pub fn write_refusal(out: &mut Vec<u8>, status: u16) {
    let head = HttpHead::response(status, "", 0);
    // Nothing in this head can be refused, and without a response the connection ends as well.
    let _ = write_response(out, &head, Carriage::Length(0), Connection::Close);
}

/// Whether it is a token (RFC 9110, 5.6.2): a method, or the name of a header field.
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Whether it is a path, perhaps with a query: the origin form of a target.
pub fn is_target(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether none of the header fields can become another one, or a body, on the wire.
fn check(headers: &[(String, String)]) -> Result<(), String> {
    for (name, value) in headers {
        if !is_token(name) {
            return Err("a header was to go out whose name is not a token".to_owned());
        }
        if value.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(format!("the header {name} was to go out with a control character in its value"));
        }
    }
    Ok(())
}

fn write_fields(out: &mut Vec<u8>, headers: &[(String, String)]) {
    for (name, value) in headers {
        if !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
}

/// The case of these names says nothing to who reads HTTP; there are clients of RTMPT that look for just this one.
fn write_framing(out: &mut Vec<u8>, carriage: Carriage, length: Option<u64>) {
    if carriage == Carriage::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if let Some(length) = length {
        out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
    }
}

/// What a status code is called; it may be left out, and is for those that nobody here says.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
