//! The contract of a protocol within a chain.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{Command, Error, Event, Limits, OutQueue, chain::Link};

/// One protocol in a chain: a state machine without sockets, clocks, threads or logs.
///
/// Three inputs: bytes from the far side, commands from the server, time. Three outputs, all through
/// [`Cx`]: bytes to the far side, bytes to the near side, events.
pub trait Layer {
    /// Takes bytes from the far side and returns how many: all of them, unless the chain was paused during
    /// this call. A layer keeps only what is unfinished.
    ///
    /// # Errors
    ///
    /// An error ends the connection; what was sent before it still goes out.
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error>;

    /// Takes an order from the server. Endpoints only; media is pulled, never commanded.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = (command, cx);
        Ok(())
    }

    /// Takes bytes of the near side on their way out.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        far.append(near);
        Ok(())
    }

    /// Called at or after the time that [`Layer::poll_timeout`] named.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = cx;
        Ok(())
    }

    /// Asks for the memory behind the layer's own that the next data will need, as [`ahead`](crate::ahead) says.
    fn fetch(&self) {}

    /// When [`Layer::on_timeout`] wants to be called; none: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// What a layer is made from: the settings of its acceptor's application.
#[derive(Clone, Debug)]
pub struct LayerSettings {
    /// The limits of the server.
    pub limits: Arc<Limits>,
    /// Whether a peer is refused that answers the digest handshake wrongly.
    pub validate_handshake: bool,
    /// The size of outgoing RTMP chunks in bytes.
    pub chunk_size: u32,
}

/// What a layer may do while it is called.
pub struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) random: &'a mut dyn FnMut(&mut [u8]),
    pub(crate) out: &'a mut OutQueue,
    pub(crate) nearer: &'a mut [Link],
    pub(crate) state: &'a mut ChainState,
}

/// What all layers of a chain share.
#[derive(Debug, Default)]
pub(crate) struct ChainState {
    pub(crate) events: VecDeque<Event>,
    pub(crate) paused: bool,
    pub(crate) unread: bool,
    pub(crate) closing: Option<Error>,
}

impl Cx<'_> {
    /// The time of this call.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Fills `bytes` with random ones, fit for keys.
    pub fn random(&mut self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// The queue of bytes that this layer sends to the far side.
    pub fn out(&mut self) -> &mut OutQueue {
        self.out
    }

    /// Tells the server.
    pub fn emit(&mut self, event: Event) {
        self.state.events.push_back(event);
    }

    /// Hands bytes to the next nearer layer. What it does not take because the chain is paused is kept and
    /// handed to it when the chain goes on.
    ///
    /// # Errors
    ///
    /// The nearer layer's, to be passed on.
    pub fn deliver(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some((next, nearer)) = self.nearer.split_first_mut() else {
            return Err(Error::ours("chain", "a layer without a nearer neighbour delivered bytes"));
        };
        next.feed(data, self.now, self.random, nearer, self.state)
    }

    /// Pauses the chain: no layer is handed data until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.state.paused = true;
    }

    /// Lets the chain go on; what was kept is handed on after this call.
    pub fn resume(&mut self) {
        self.state.paused = false;
    }

    /// Whether the chain is paused.
    pub fn is_paused(&self) -> bool {
        self.state.paused
    }

    /// Whether the carrier does not read at the moment, for this chain's sake or the server's: what the peer says
    /// cannot be heard, and its silence means nothing.
    pub fn is_unread(&self) -> bool {
        self.state.paused || self.state.unread
    }

    /// Ends the connection once everything sent so far has gone out; the first reason counts.
    pub fn close(&mut self, reason: Error) {
        self.state.closing.get_or_insert(reason);
    }

    /// Whether the connection is to be closed.
    pub fn is_closing(&self) -> bool {
        self.state.closing.is_some()
    }
}
