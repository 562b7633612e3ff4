//! RTMP as the endpoint of a chain.

use std::time::Instant;

use crtmp_media::{Command, Cx, Error, Layer};

use crate::session::{ClientSession, ServerSession, SessionSettings};

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

/// The client's side of RTMP: the near-most layer of `outboundRtmp` and of every outbound chain that ends in RTMP.
pub struct OutboundRtmp {
    pub(crate) session: ClientSession,
}

impl OutboundRtmp {
    /// The layer of a connection that is being made at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self { session: ClientSession::new(settings, now) }
    }
}

impl Layer for OutboundRtmp {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.session.on_open(cx);
        cx.open()
    }

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
