//! Messages as requests of HTTP: a POST holds one, and its response holds the answer.

use std::time::Instant;

use crtmp_media::{Command, Cx, Error, Event, HttpHead, HttpStart, Layer, LayerSettings, Skipped};

use super::{Endpoint, PROTOCOL};
use crate::Encoding;

/// The endpoint of `inboundHttpXmlVariant`, `inboundHttpBinVariant` and `inboundHttpJsonVariant`.
pub struct HttpVariant {
    endpoint: Endpoint,
    body: Vec<u8>,
    refusal: Option<Refusal>,
    /// Whether the request asks for the head of the response alone.
    bare: bool,
}

/// Why a request gets no answer of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    Type,
    Size,
}

impl HttpVariant {
    /// The layer of a connection that came at `now`.
    pub fn new(encoding: Encoding, settings: &LayerSettings, now: Instant) -> Self {
        let agent = match encoding {
            Encoding::Xml => "httpXmlVariant",
            Encoding::Binary => "httpBinVariant",
            Encoding::Json => "httpJsonVariant",
        };
        let endpoint = Endpoint::new(encoding, agent, settings.limits.clone(), now);
        Self { endpoint, body: Vec::new(), refusal: None, bare: false }
    }

    fn judge(&self, method: &str, head: &HttpHead) -> Option<Refusal> {
        let limit = self.endpoint.limits.variant_size as u64;
        if method != "POST" {
            Some(Refusal::Method)
        } else if !self.takes(head) {
            Some(Refusal::Type)
        } else if head.length.is_some_and(|length| length > limit) {
            Some(Refusal::Size)
        } else {
            None
        }
    }

    /// Whether the body is of our type.
    ///
    /// The pages of others may make a browser post forms, plain text, or bytes without a type to us without asking;
    /// for any other type it asks first, and gets no permission. Servers leave the type out too, crtmpserver among
    /// them; a browser also says where the page came from.
    fn takes(&self, head: &HttpHead) -> bool {
        match head.header("content-type") {
            Some(value) => {
                let kind = value.split(';').next().unwrap_or_default().trim();
                self.endpoint.encoding.takes(&kind.to_ascii_lowercase())
            }
            None => head.header("origin").is_none() && head.header("sec-fetch-site").is_none(),
        }
    }

    fn refuse(&self, refusal: Refusal, cx: &mut Cx<'_>) {
        let kind = self.endpoint.encoding.content_type();
        let (status, text) = match refusal {
            Refusal::Method => (405, "Send the message with POST.\n".to_owned()),
            Refusal::Type => (415, format!("Send the message as {kind}.\n")),
            Refusal::Size => {
                let limit = self.endpoint.limits.variant_size;
                (413, format!("A message has up to variantSize = {limit} bytes.\n"))
            }
        };
        cx.emit(Event::Skipped(Skipped::BadCommand));
        self.say(status, &text, cx);
    }

    fn say(&self, status: u16, text: &str, cx: &mut Cx<'_>) {
        let head = HttpHead::response(status, "text/plain; charset=utf-8", text.len() as u64);
        let head = if status == 405 { head.with("allow", "POST") } else { head };
        cx.out().begin(head);
        if !self.bare {
            cx.out().write_with(|out| out.extend_from_slice(text.as_bytes()));
        }
        cx.out().end();
    }
}

impl Layer for HttpVariant {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.endpoint.connect(cx);
        Ok(())
    }

    fn on_head(&mut self, head: &HttpHead, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.endpoint.is_closed() {
            return Ok(());
        }
        let HttpStart::Request { method, .. } = &head.start else {
            return Err(Error::ours(PROTOCOL, "the layer before this one delivered a response"));
        };
        self.endpoint.begin(cx);
        self.body = Vec::new();
        self.refusal = self.judge(method, head);
        self.bare = method == "HEAD";
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let _ = cx;
        if !self.endpoint.is_closed() && self.refusal.is_none() {
            if self.body.len().saturating_add(data.len()) > self.endpoint.limits.variant_size {
                self.refusal = Some(Refusal::Size);
                self.body = Vec::new();
            } else {
                self.body.extend_from_slice(data);
            }
        }
        Ok(data.len())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.endpoint.is_closed() {
            return Ok(());
        }
        let body = std::mem::take(&mut self.body);
        match self.refusal.take() {
            Some(refusal) => {
                self.endpoint.settle(cx);
                self.refuse(refusal, cx);
            }
            None => {
                // The next request is not hurt by a broken one: the connection stays.
                if let Err(error) = self.endpoint.message(&body, cx) {
                    cx.emit(Event::Skipped(Skipped::BadCommand));
                    self.say(400, &format!("The message cannot be read: {error}.\n"), cx);
                }
            }
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(body) = self.endpoint.on_command(command, cx) {
            let kind = self.endpoint.encoding.content_type();
            cx.out().begin(HttpHead::response(200, kind, body.len() as u64));
            cx.out().write_with(|out| out.extend_from_slice(&body));
            cx.out().end();
        }
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.endpoint.on_timeout(cx)
    }

    fn owes(&self) -> bool {
        self.endpoint.owes()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }
}
