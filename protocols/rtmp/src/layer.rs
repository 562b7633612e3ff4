//! RTMP as the endpoint of a chain.

use std::time::Instant;

use crtmp_media::{Command, Cx, Error, Layer};

use crate::session::{ClientSession, ServerSession, SessionSettings};
#[cfg(feature = "rtmpe")]
use crate::{handshake::is_encrypted, rtmpe::InboundRtmpe};

/// The server's side of RTMP: the near-most layer of `inboundRtmp` and of every chain that ends in RTMP.
pub struct InboundRtmp {
    pub(crate) session: ServerSession,
    /// Until the first byte comes: since when the connection is there, where that byte may ask for RTMPE.
    #[cfg(feature = "rtmpe")]
    undecided: Option<Instant>,
}

impl InboundRtmp {
    /// The layer of a connection that came at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self::of(ServerSession::new(settings, now))
    }

    /// The layer of a connection that came at `now`, behind one that does the handshake.
    pub fn inner(settings: SessionSettings, now: Instant) -> Self {
        Self::of(ServerSession::inner(settings, now))
    }

    /// The layer of a connection that came at `now` and may be encrypted: the first byte says whether RTMPE takes the
    /// place of this layer.
    #[cfg(feature = "rtmpe")]
    pub fn plain_or_encrypted(settings: SessionSettings, now: Instant) -> Self {
        Self { undecided: Some(now), ..Self::new(settings, now) }
    }

    const fn of(session: ServerSession) -> Self {
        Self {
            session,
            #[cfg(feature = "rtmpe")]
            undecided: None,
        }
    }
}

impl Layer for InboundRtmp {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.session.on_open(cx);
        cx.open()
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        #[cfg(feature = "rtmpe")]
        if let Some(since) = self.undecided.take()
            && data.first().is_some_and(|first| is_encrypted(*first))
        {
            let settings = self.session.settings().clone();
            let (limits, validate) = (settings.limits.clone(), settings.validate_handshake);
            let outer = InboundRtmpe::new(limits, validate, since);
            let inner = Self::inner(settings, since);
            cx.replace(vec![("rtmpe".into(), Box::new(outer)), ("innerrtmp".into(), Box::new(inner))])?;
            return Ok(0);
        }
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

    /// The layer of a connection that is being made at `now`, behind one that does the handshake.
    pub fn inner(settings: SessionSettings, now: Instant) -> Self {
        Self { session: ClientSession::inner(settings, now) }
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
