//! Both sides of an RTMP connection, from its first byte to its last.
//!
//! [`ServerSession`] and [`ClientSession`] are state machines: bytes, orders and time go in; bytes and events come out
//! through [`Cx`]. What they have in common is in `core.rs`, their calls in `calls.rs`, media in `media.rs`, shared objects in `shared.rs`,
//! what time does in `time.rs`. Of the server's side, commands of the peer are in `commands.rs` and orders of the server in
//! `orders.rs`; the client's side is in `client`.

mod bandwidth;
mod calls;
mod client;
mod commands;
mod core;
mod media;
mod orders;
mod shared;
#[cfg(test)]
mod tests;
mod time;

use std::{net::IpAddr, time::Instant};

use crtmp_media::{CallOutcome, Cx, Error, Event};

use self::{
    calls::Step,
    core::{
        CALL_FAILED, COMMAND_CSID, Core, PROTOCOL, Pending, Phase, Side, Slot, SlotState, slot_event,
        wants_answer,
    },
};
pub use self::{client::ClientSession, core::SessionSettings};
use crate::{
    ack::PeerAcks,
    chunk::Message,
    handshake::{RANDOM, ServerHandshake},
    message::{Control, UserControl},
};

/// The notations of values as `objectEncoding` of `connect` and its answer says them.
const AMF0: f64 = 0.0;
const AMF3: f64 = 3.0;
/// The name of the member of `connect` and its answer by which servers of this family recognise each other.
const INSTANCE: &str = "instanceId";
/// The member of what follows the type in their `publish` that says where a stream has been.
const VIA: &str = "via";
/// The command by which they tell players the same.
const ON_VIA: &str = "onVia";

/// The status by which a server asks to connect again (Enhanced RTMP v2, "Reconnect Request").
const RECONNECT: &str = "NetConnection.Connect.ReconnectRequest";

/// The server's side of one RTMP connection.
pub struct ServerSession {
    core: Core,
    /// Until the handshake is done; made when the first byte comes.
    handshake: Option<ServerHandshake>,
    /// The peer may ask for tests of the way to it.
    check_bandwidth: bool,
    /// The server's address, where the peer is told.
    server_ip: Option<IpAddr>,
    /// One that runs.
    test: Option<Box<bandwidth::Test>>,
}

impl ServerSession {
    /// A session with a peer that has just come, at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self {
            core: Core::new(settings, now),
            handshake: None,
            check_bandwidth: false,
            server_ip: None,
            test: None,
        }
    }

    /// A session with a peer that has come at `now` and whose handshake a farther layer does: nothing is read before
    /// that opens it by [`Self::on_open`].
    pub fn inner(settings: SessionSettings, now: Instant) -> Self {
        let mut session = Self::new(settings, now);
        session.core.is_inner = true;
        session
    }

    /// The farther layer is ready.
    pub fn on_open(&mut self, cx: &Cx<'_>) {
        if self.core.is_inner {
            self.core.handed_over(cx.now());
        }
    }

    /// Takes bytes of the peer; returns how many: all, unless the chain was paused meanwhile.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke; the connection is to be closed.
    pub fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.core.clock.heard(cx.now());
        let mut used = 0;
        if self.core.phase == Phase::Handshake {
            used = self.shake_hands(data, cx)?;
            if self.core.phase == Phase::Handshake {
                return Ok(used);
            }
        }
        used += self.read(&data[used..], cx)?;
        Ok(used)
    }

    /// What the peer has acknowledged of the bytes that were sent to it; counted, never enforced.
    pub const fn peer_acks(&self) -> PeerAcks {
        self.core.peer_acks
    }

    /// When [`Self::on_timeout`] wants to be called; none: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let test = self.test.as_ref().map(|test| test.due());
        [self.core.poll_timeout(), test].into_iter().flatten().min()
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// The time that the peer let pass; the connection is to be closed.
    pub fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.on_test_timeout(cx);
        for step in self.core.on_timeout(cx)? {
            if let Step::Ticket(ticket) = step {
                cx.emit(Event::CallResult { ticket, outcome: CallOutcome::Timeout, args: Vec::new() });
            }
        }
        Ok(())
    }

    #[cfg(feature = "rtmpe")]
    pub(crate) const fn settings(&self) -> &SessionSettings {
        &self.core.settings
    }

    pub(crate) fn fetch(&self) {
        self.core.fetch();
    }

    fn shake_hands(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut random = [0; RANDOM];
        let handshake = match &mut self.handshake {
            Some(handshake) => handshake,
            None => {
                cx.random(&mut random);
                self.handshake.insert(ServerHandshake::new(self.core.settings.validate_handshake, &random))
            }
        };
        let mut answer = Vec::new();
        let result = handshake.input(data, &mut answer);
        cx.out().write_with(|out| out.append(&mut answer));
        let (used, done) = result.map_err(|error| Error::peer(PROTOCOL, format!("handshake: {error}")))?;
        // By common practice the handshake counts among the bytes that are acknowledged.
        self.core.window.receive(used);
        if done {
            self.handshake = None;
            self.core.phase = Phase::Fresh;
            self.core.clock.shaken(cx.now());
        }
        Ok(used)
    }
}

impl Side for ServerSession {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn on_command_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.on_peer_command(message, cx)
    }

    fn on_media_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.core.on_media(message, cx)
    }

    fn on_control_message(&mut self, control: Control, cx: &mut Cx<'_>) {
        if let Control::User(UserControl::PingResponse(stamp)) = control {
            self.on_test_pong(stamp, cx);
        }
        self.core.on_control(control, cx);
    }
}
