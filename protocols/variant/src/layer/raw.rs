//! Messages over a stream of bytes.

use std::time::Instant;

use crtmp_media::{Command, Cx, Error, Layer, LayerSettings};

use super::{Endpoint, PROTOCOL};
use crate::{
    Encoding,
    frame::{FrameReader, write_frame},
};

/// The endpoint of `inboundXmlVariant`, `inboundBinVariant` and `inboundJsonVariant`.
pub struct RawVariant {
    endpoint: Endpoint,
    frames: FrameReader,
}

impl RawVariant {
    /// The layer of a connection that came at `now`.
    pub fn new(encoding: Encoding, settings: &LayerSettings, now: Instant) -> Self {
        let agent = match encoding {
            Encoding::Xml => "xmlVariant",
            Encoding::Binary => "binVariant",
            Encoding::Json => "jsonVariant",
        };
        let endpoint = Endpoint::new(encoding, agent, settings.limits.clone(), now);
        Self { endpoint, frames: FrameReader::default() }
    }
}

impl Layer for RawVariant {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.endpoint.connect(cx);
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if self.endpoint.is_closed() || data.is_empty() {
            return Ok(data.len());
        }
        self.endpoint.begin(cx);
        // A whole message pauses the chain, so there is one at most.
        let broken = |error| Error::peer(PROTOCOL, error);
        let (used, message) = self.frames.read(data, &self.endpoint.limits).map_err(broken)?;
        if let Some(body) = message {
            self.endpoint.message(&body, cx).map_err(broken)?;
        }
        Ok(used)
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(body) = self.endpoint.on_command(command, cx) {
            cx.out().write_with(|out| write_frame(out, &body));
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
