//! The layer `httpbody`: HTTP for nearer layers that know only bytes.

use crtmp_media::{Cx, Error, HttpHead, HttpStart, Layer, OutQueue, Piece};

/// The type of a response whose content nobody here knows.
const CONTENT_TYPE: &str = "application/octet-stream";

/// The methods that are understood, as a response tells them.
const METHODS: &str = "GET, HEAD, POST, PUT";

/// Hands the bodies of `POST` and `PUT` inward. What the nearer layers write up to the end of a request becomes the
/// body of its response, perhaps an empty one; `GET` brings nothing and fetches that alone.
///
/// A nearer layer that cannot answer at once pauses the chain meanwhile: then the request does not end before. What it
/// writes later, or unasked, waits for the next request.
#[derive(Debug, Default)]
pub struct HttpBody {
    /// Whether the body of the present request goes inward.
    carries: bool,
    /// The status of the present request.
    status: u16,
    /// The request has ended and its response is to be written.
    ended: bool,
}

impl HttpBody {
    fn head(&self, length: usize) -> HttpHead {
        match self.status {
            200 => HttpHead::response(200, CONTENT_TYPE, length as u64),
            405 => HttpHead::response(405, "", 0).with("allow", METHODS),
            status => HttpHead::response(status, "", 0),
        }
    }
}

impl Layer for HttpBody {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if self.carries {
            cx.deliver(data)?;
        }
        Ok(data.len())
    }

    fn on_head(&mut self, head: &HttpHead, _: &mut Cx<'_>) -> Result<(), Error> {
        let HttpStart::Request { method, .. } = &head.start else {
            return Err(Error::ours("httpbody", "a response came where requests come"));
        };
        // Nothing here unpacks: packed bytes would not be those that the nearer layer is meant to get.
        let packed = head.header("content-encoding").is_some_and(|coding| coding != "identity");
        (self.status, self.carries) = match method.as_str() {
            "GET" | "HEAD" => (200, false),
            "POST" | "PUT" if packed => (415, false),
            "POST" | "PUT" => (200, true),
            _ => (405, false),
        };
        Ok(())
    }

    fn on_end(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        self.ended = true;
        Ok(())
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        if !std::mem::take(&mut self.ended) {
            return Ok(());
        }
        if self.status != 200 {
            far.begin(self.head(0));
            far.end();
            return Ok(());
        }
        far.begin(self.head(near.len()));
        while let Some(piece) = near.pop() {
            // A nearer layer without HTTP has no heads to send.
            if !matches!(piece, Piece::Begin(_) | Piece::End) {
                far.push(piece);
            }
        }
        far.end();
        Ok(())
    }
}
