//! RTMP as the endpoint of a chain.

use std::time::Instant;

use crtmp_media::{Command, Cx, Error, Layer};

use crate::session::{ServerSession, SessionSettings};

/// The server's side of RTMP: the near-most layer of `inboundRtmp` and of every chain that ends in RTMP.
pub struct InboundRtmp {
    pub(crate) session: ServerSession,
}

impl InboundRtmp {
    /// The layer of a connection that came at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self { session: ServerSession::new(settings, now) }
    }
}

impl Layer for InboundRtmp {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.session.on_data(data, cx)
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.session.on_order(command, cx)
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.session.on_timeout(cx)
    }

    fn fetch(&self) {
        self.session.fetch();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }
}
