//! The client's side of a connection: it connects, pulls streams of the server and pushes streams to it.
//!
//! A stream that is pulled appears to our side as one that the far end publishes ([`Event::Publish`]), a stream that is
//! pushed as one that the far end plays ([`Event::Play`]): whoever drives a server's session drives this one alike. What
//! it is to do comes as orders: [`Command::Call`](crtmp_media::Command::Call) of `connect` first, then
//! [`Pull`](crtmp_media::Command::Pull) and [`Push`](crtmp_media::Command::Push), as many as the server has message
//! streams. Each gets one [`Event::CallResult`].
//!
//! The server is trusted as little as any peer: the same limits guard against it.

mod commands;
mod links;
mod orders;

use std::time::Instant;

use crtmp_media::{CAPS_EX, CallOutcome, Cx, Error, Event, Value};

use self::links::Links;
use super::{Core, PROTOCOL, Phase, SessionSettings, Side, calls::Step};
use crate::{
    ack::{OUR_WINDOW, PeerAcks},
    chunk::{ChunkWriter, Message},
    handshake::{ClientHandshake, HandshakeKind, RANDOM, Scheme},
    message::{Control, UserControl},
};

/// What a client calls itself where its user has said nothing: servers look for names that they know.
const AGENT: &str = "FMLE/3.0 (compatible; crtmpserver)";

/// The client's side of one RTMP connection.
pub struct ClientSession {
    core: Core,
    /// Until the handshake is done; made when the connection is there.
    handshake: Option<ClientHandshake>,
    /// The order to connect, until it has been sent.
    connect: Option<Connect>,
    links: Links,
    /// How often the server has asked to connect again.
    asked_again: u32,
}

struct Connect {
    ticket: Option<u64>,
    args: Vec<Value>,
}

impl ClientSession {
    /// A session of a connection that is being made, at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self {
            core: Core::client(settings, now),
            handshake: None,
            connect: None,
            links: Links::default(),
            asked_again: 0,
        }
    }

    /// A session of a connection that is being made, at `now`, and whose handshake a farther layer does: nothing is said
    /// before that opens it by [`Self::on_open`].
    pub fn inner(settings: SessionSettings, now: Instant) -> Self {
        let mut session = Self::new(settings, now);
        session.core.is_inner = true;
        session
    }

    /// The connection is there: begins the handshake. Once, before anything else.
    pub fn on_open(&mut self, cx: &mut Cx<'_>) {
        if self.core.is_inner {
            self.core.clock.open(cx.now());
            self.core.handed_over(cx.now());
            return self.say_connect(cx);
        }
        let mut random = [0; RANDOM];
        cx.random(&mut random);
        // Flash Player's kind, where it is built in: some servers send H.264 to no other.
        let kind = Scheme::ALL.last().map_or(HandshakeKind::Simple, |scheme| HandshakeKind::Digest(*scheme));
        let handshake = ClientHandshake::new(kind, &random);
        cx.out().write_with(|out| handshake.start(out));
        self.handshake = Some(handshake);
        self.core.clock.open(cx.now());
    }

    /// Takes bytes of the server; returns how many: all, unless the chain was paused meanwhile.
    ///
    /// # Errors
    ///
    /// The rule that the server broke; the connection is to be closed.
    pub fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.core.clock.heard(cx.now());
        let mut used = 0;
        if let Some(handshake) = &mut self.handshake {
            let mut answer = Vec::new();
            let result = handshake.input(data, &mut answer);
            cx.out().write_with(|out| out.append(&mut answer));
            let (count, done) =
                result.map_err(|error| Error::peer(PROTOCOL, format!("handshake: {error}")))?;
            self.core.window.receive(count);
            if !done {
                return Ok(count);
            }
            used = count;
            self.handshake = None;
            self.core.phase = Phase::Fresh;
            self.core.clock.shaken(cx.now());
            self.say_connect(cx);
        }
        used += self.read(&data[used..], cx)?;
        Ok(used)
    }

    /// What the server has acknowledged of the bytes that were sent to it; counted, never enforced.
    pub const fn peer_acks(&self) -> PeerAcks {
        self.core.peer_acks
    }

    /// When [`Self::on_timeout`] wants to be called; none: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.oldest_wait();
        let links = links.and_then(|since| since.checked_add(self.core.settings.limits.call_timeout.get()));
        self.core.poll_timeout().into_iter().chain(links).min()
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// The time that the server let pass; the connection is to be closed.
    pub fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.give_up_links(cx);
        for step in self.core.on_timeout(cx)? {
            self.on_step_lost(step, cx);
        }
        Ok(())
    }

    pub(crate) fn fetch(&self) {
        self.core.fetch();
    }

    /// Says what was to be said after the handshake.
    fn say_connect(&mut self, cx: &mut Cx<'_>) {
        if let Some(connect) = self.connect.take() {
            self.send_connect(connect, cx);
        }
    }

    fn send_connect(&mut self, connect: Connect, cx: &mut Cx<'_>) {
        let Connect { ticket, args } = connect;
        let mut args = args.into_iter();
        let object = self.connect_object(args.next().unwrap_or(Value::Null));
        self.core.phase = Phase::Connecting;
        let step = Step::Connect(ticket);
        self.core.step(step, "connect", object, args.collect(), cx);
    }

    /// What the user says, and what servers expect beside it.
    fn connect_object(&self, said: Value) -> Value {
        let mut members = match said {
            Value::Object(members) | Value::EcmaArray(members) => members,
            _ => Vec::new(),
        };
        let forward = || Value::Object(vec![("*".to_owned(), 4.0.into())]);
        let usual = [
            ("app", "".into()),
            ("type", "nonprivate".into()),
            ("flashVer", AGENT.into()),
            ("fpad", false.into()),
            ("capabilities", 15.0.into()),
            ("audioCodecs", 4071.0.into()),
            ("videoCodecs", 252.0.into()),
            ("videoFunction", 1.0.into()),
            ("objectEncoding", 0.0.into()),
            // Whatever the codec, it is forwarded (Enhanced RTMP, "connect" parameters): 4.
            ("fourCcList", Value::StrictArray(vec!["*".into()])),
            ("videoFourCcInfoMap", forward()),
            ("audioFourCcInfoMap", forward()),
            ("capsEx", f64::from(CAPS_EX).into()),
        ];
        for (name, value) in usual {
            if !members.iter().any(|(known, _)| known == name) {
                members.push((name.to_owned(), value));
            }
        }
        let instance = &*self.core.settings.instance;
        members.retain(|(name, _)| name != super::INSTANCE);
        if !instance.is_empty() {
            members.push((super::INSTANCE.to_owned(), instance.into()));
        }
        Value::Object(members)
    }

    /// The server has accepted us.
    fn on_connected(&mut self, ticket: Option<u64>, args: Vec<Value>, cx: &mut Cx<'_>) {
        self.core.phase = Phase::Connected;
        // We have chosen it: it may call us as often as it likes. How large its messages may be is another matter.
        self.core.commands_free = true;
        self.core.clock.connected(cx.now());
        let instance = args.first().and_then(|properties| properties.get(super::INSTANCE));
        let ours = &*self.core.settings.instance;
        self.core.kindred =
            !ours.is_empty() && instance.and_then(Value::as_str).is_some_and(|theirs| !theirs.is_empty());
        self.core.send_control(Control::WindowAckSize(OUR_WINDOW), cx);
        if self.core.settings.chunk_size != ChunkWriter::new().chunk_size() {
            self.core.send_chunk_size(cx);
        }
        result(ticket, CallOutcome::Result, args, cx);
    }
}

impl Side for ClientSession {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn on_command_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.on_server_command(message, cx)
    }

    fn on_media_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.on_pulled(message, cx)
    }

    fn media_stream(&self, stream: u32) -> u32 {
        // Some servers send all media on message stream 0. That of the only pull is meant.
        if stream == 0 { self.links.only_pull().unwrap_or(stream) } else { stream }
    }

    fn on_control_message(&mut self, control: Control, cx: &mut Cx<'_>) {
        match control {
            Control::User(UserControl::StreamBegin(stream)) => self.links.answered(stream),
            Control::User(UserControl::StreamEof(stream)) => self.on_stream_end(stream, cx),
            _ => {}
        }
        self.core.on_control(control, cx);
    }
}

/// Says what has become of something with a ticket.
fn result(ticket: Option<u64>, outcome: CallOutcome, args: Vec<Value>, cx: &mut Cx<'_>) {
    if let Some(ticket) = ticket {
        cx.emit(Event::CallResult { ticket, outcome, args });
    }
}
