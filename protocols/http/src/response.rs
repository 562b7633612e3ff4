//! What the head of a response says.

use crtmp_media::{HttpHead, HttpStart};
use httparse::{EMPTY_HEADER, Response};

use crate::{
    Refusal,
    body::Framing,
    lines::WholeHead,
    request::{all, content_length, fields_of, is_chunked, keeps_alive},
};

/// The head of a response, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// What the nearer layer gets.
    pub head: HttpHead,
    /// The status code.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// Reads the head of the response to a request, which may have had the method `HEAD`.
    ///
    /// # Errors
    ///
    /// What is no response, and what two readers could understand differently.
    pub fn parse(lines: &WholeHead, is_head: bool) -> Result<Self, Refusal> {
        let mut fields = vec![EMPTY_HEADER; lines.fields];
        let mut response = Response::new(&mut fields);
        response
            .parse(&lines.bytes)
            .map_err(|error| Refusal::bad(format_args!("this is not a response of HTTP: {error}")))?;
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(Refusal::bad("the status line is not complete"));
        };
        if !(100..600).contains(&status) {
            return Err(Refusal::bad("the status is not a number from 100 to 599"));
        }
        let headers = fields_of(response.headers)?;
        let is_1_1 = version == 1;
        let length = content_length(&headers)?;
        let chunked = is_chunked(&headers)?;
        let coded = all(&headers, "transfer-encoding").next().is_some();
        if coded && (length.is_some() || !is_1_1) {
            return Err(Refusal::bad("Transfer-Encoding and Content-Length, or HTTP/1.0, go together"));
        }
        let framing = match (status, length) {
            _ if is_head => Framing::Length(0),
            (100..200 | 204 | 304, _) => Framing::Length(0),
            _ if chunked => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        };
        let keep_alive = keeps_alive(&headers, is_1_1) && framing != Framing::UntilClose;
        let head = HttpHead { start: HttpStart::Response { status }, headers, length: framing.length() };
        Ok(Self { head, status, framing, keep_alive })
    }
}
