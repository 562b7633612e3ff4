//! What both sides of a session have: the chunk stream, message streams, requests, times.
//!
//! [`Core`] sends and remembers; [`Side`] reads, because what a command means depends on which side we are.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use crtmp_media::{Cx, Error, Event, Limits, RequestId, Skipped, StreamSlot, Value, Via};

use super::{calls, time};
use crate::{
    ack::{PeerAcks, Window},
    chunk::{ChunkReader, ChunkWriter, MAX_MESSAGE, Message, ReadLimits},
    few::Few,
    handshake::PACKET,
    message::{Command, Control, Data, Status, UserControl, kind},
    time::Unwrapper,
};

pub(super) const PROTOCOL: &str = "rtmp";

/// Chunk streams of what is not media.
pub(super) const COMMAND_CSID: u32 = 3;
const STATUS_CSID: u32 = 5;

pub(super) const CALL_FAILED: &str = "NetConnection.Call.Failed";

/// How a session treats its peer.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The limits that guard it.
    pub limits: Arc<Limits>,
    /// Whether a peer is refused that claims to know the digest handshake and answers it wrongly.
    pub validate_handshake: bool,
    /// The size of outgoing chunks in bytes, once the peer is connected.
    pub chunk_size: u32,
    /// The name of this run of the server, by which servers recognise each other; empty: it is not told.
    pub instance: Arc<str>,
}

/// What both sides of a session have.
pub(super) struct Core {
    pub(super) settings: SessionSettings,
    pub(super) phase: Phase,
    pub(super) reader: ChunkReader,
    /// Where in the chunk stream the last message ended.
    pub(super) message_end: u64,
    pub(super) writer: ChunkWriter,
    pub(super) window: Window,
    pub(super) peer_acks: PeerAcks,
    pub(super) slots: Few<Slot>,
    pub(super) requests: BTreeMap<RequestId, Pending>,
    last_request: u32,
    pub(super) calls: calls::Calls,
    /// The most bytes of a command or description, where the application has said it.
    pub(super) command_bytes: Option<usize>,
    /// The peer has been allowed to publish or play, or we have asked it to: it may send more.
    pub(super) authorised: bool,
    /// Commands so far that count against `commandsBefore`.
    pub(super) commands: usize,
    /// They are not counted any more.
    pub(super) commands_free: bool,
    unknown_messages: usize,
    pub(super) clock: time::Clock,
    /// The peer is a server of this family too: it understands what no specification says.
    pub(super) kindred: bool,
    /// The peer has declared that it follows requests to connect again.
    pub(super) can_reconnect: bool,
    /// We are the client.
    pub(super) is_client: bool,
    /// The peer reads AMF3.
    pub(super) amf3: bool,
    /// A farther layer does the handshake, and opens this one when it is done.
    pub(super) is_inner: bool,
    /// The shared objects that the peer uses, by the names that it gives them.
    pub(super) shared: BTreeSet<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    /// `connect` has not come yet, or has not been sent.
    Fresh,
    /// `connect` waits for its answer.
    Connecting,
    Connected,
    /// Nothing is read any more.
    Closed,
}

/// A request that waits for its answer, and what the peer called it.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Connect { transaction: f64, enhanced: bool },
    Publish { slot: u32 },
    Play { slot: u32, name: String, reset: bool },
    Message { slot: u32, transaction: f64 },
}

/// A message stream.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// Messages that wait for the verdict on the one before them.
    pub(super) held: VecDeque<Message>,
    pub(super) held_bytes: usize,
    pub(super) time: Unwrapper,
    /// Audio or video has come.
    pub(super) began: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum SlotState {
    #[default]
    Idle,
    /// A client has asked to play; media are awaited.
    Pulling,
    AskedPublish {
        name: String,
    },
    Publishing {
        name: String,
    },
    /// A client has asked to publish; the answer is awaited.
    Pushing,
    AskedPlay,
    Playing,
}

/// One side of a session: what it makes of messages.
pub(super) trait Side {
    fn core(&mut self) -> &mut Core;

    /// A command, which may have to wait for the verdict on its message stream.
    fn on_command_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error>;

    /// Media, which has to wait for nothing.
    fn on_media_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error>;

    /// The message stream that media belong to which came on `stream`.
    fn media_stream(&self, stream: u32) -> u32 {
        stream
    }

    fn on_control_message(&mut self, control: Control, cx: &mut Cx<'_>) {
        self.core().on_control(control, cx);
    }

    /// Reads messages until the data is used up or the chain is paused.
    fn read(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        while !cx.is_paused() {
            let core = self.core();
            if core.phase == Phase::Closed || cx.is_closing() {
                return Ok(data.len());
            }
            let limits = core.read_limits();
            let at = core.message_end;
            let (count, message) = core
                .reader
                .read(&data[used..], &limits)
                .map_err(|error| Error::peer(PROTOCOL, format!("chunk stream after byte {at}: {error}")))?;
            used += count;
            if let Some(sequence) = core.window.receive(count) {
                core.send_control(Control::Acknowledgement(sequence), cx);
            }
            match message {
                Some(message) => {
                    core.message_end = core.reader.bytes();
                    self.on_message(message, cx)?;
                }
                None => {
                    // What comes needs the room that a verdict may give.
                    if used < data.len() {
                        cx.pause();
                    }
                    break;
                }
            }
        }
        Ok(used)
    }

    fn on_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        // Legal, and says nothing.
        if message.body.is_empty() {
            return Ok(());
        }
        match message.kind {
            kind::SET_CHUNK_SIZE..=kind::PEER_BANDWIDTH => {
                let control = Control::parse(message.kind, &message.body)
                    .map_err(|error| Error::peer(PROTOCOL, error))?;
                if let Some(control) = control {
                    self.on_control_message(control, cx);
                }
                Ok(())
            }
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE => {
                let message = Message { stream: self.media_stream(message.stream), ..message };
                if self.core().hold(&message, cx) { Ok(()) } else { self.on_media_message(message, cx) }
            }
            kind::COMMAND | kind::COMMAND_AMF3 => self.on_command_message(message, cx),
            kind::SHARED_OBJECT | kind::SHARED_OBJECT_AMF3 if !self.core().is_client => {
                self.core().on_shared_object(&message, cx)
            }
            _ => self.core().on_unknown(cx),
        }
    }

    /// Deals with what was kept back while a verdict was pending.
    fn release(&mut self, stream: u32, cx: &mut Cx<'_>) -> Result<(), Error> {
        while let Some(message) = self.core().next_held(stream) {
            self.on_message(message, cx)?;
        }
        let core = self.core();
        let limits = &core.settings.limits;
        if core.phase == Phase::Connected && !core.slots.values().any(|slot| slot.is_full(limits)) {
            self.go_on(cx)?;
        }
        Ok(())
    }

    /// Lets the chain go on, with what the reader may still have taken.
    fn go_on(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if cx.is_paused() {
            // It could not have been heard.
            self.core().clock.heard(cx.now());
            cx.resume();
            self.read(&[], cx)?;
        }
        Ok(())
    }
}

impl Core {
    pub(super) fn new(settings: SessionSettings, now: Instant) -> Self {
        Self {
            settings,
            phase: Phase::Handshake,
            reader: ChunkReader::new(),
            message_end: 0,
            writer: ChunkWriter::new(),
            window: Window::new(),
            peer_acks: PeerAcks::default(),
            slots: Few::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            calls: calls::Calls::new(),
            command_bytes: None,
            authorised: false,
            commands: 0,
            commands_free: false,
            unknown_messages: 0,
            clock: time::Clock::new(now),
            kindred: false,
            can_reconnect: false,
            is_client: false,
            amf3: false,
            is_inner: false,
            shared: BTreeSet::new(),
        }
    }

    /// The farther layer that does the handshake has done it.
    pub(super) fn handed_over(&mut self, now: Instant) {
        // It may have been closed meanwhile.
        if self.phase == Phase::Handshake {
            // By common practice the handshake counts among the bytes that are acknowledged.
            self.window.receive(1 + 2 * PACKET);
            self.phase = Phase::Fresh;
            self.clock.shaken(now);
        }
    }

    pub(super) fn client(settings: SessionSettings, now: Instant) -> Self {
        Self { is_client: true, calls: calls::Calls::of_client(), ..Self::new(settings, now) }
    }

    pub(super) fn fetch(&self) {
        self.reader.fetch();
        self.slots.fetch();
    }

    fn read_limits(&self) -> ReadLimits {
        let limits = &self.settings.limits;
        if self.authorised {
            return ReadLimits::after(limits);
        }
        ReadLimits { wait: self.slots.values().any(Slot::is_asked), ..ReadLimits::before(limits) }
    }

    fn on_unknown(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.unknown_messages += 1;
        let limit = self.settings.limits.unknown_messages;
        if self.unknown_messages > limit {
            let rule = format!("more than unknownMessages = {limit} messages of unknown type");
            return Err(Error::peer(PROTOCOL, rule));
        }
        cx.emit(Event::Skipped(Skipped::UnknownMessage));
        Ok(())
    }

    pub(super) fn on_control(&mut self, control: Control, cx: &mut Cx<'_>) {
        match control {
            Control::Acknowledgement(sequence) => self.peer_acks.receive(sequence),
            Control::WindowAckSize(window) => self.window.set(window),
            Control::User(UserControl::PingRequest(stamp)) => {
                self.send_control(Control::User(UserControl::PingResponse(stamp)), cx);
            }
            Control::User(UserControl::PingResponse(stamp)) => {
                if let Some(rtt_ms) = self.clock.pong(stamp, cx.now()) {
                    cx.emit(Event::Pong { rtt_ms });
                }
            }
            // The reader obeys chunk sizes and aborts. The bandwidth that a peer names is never enforced: how
            // far a player may be behind is ours to say. Live streams have no use for a buffer length.
            _ => {}
        }
    }

    /// Keeps a message back whose message stream waits for a verdict; returns whether it did.
    pub(super) fn hold(&mut self, message: &Message, cx: &mut Cx<'_>) -> bool {
        let limits = &self.settings.limits;
        let Some(slot) = self.slots.get_mut(message.stream) else { return false };
        if !slot.is_asked() {
            return false;
        }
        slot.held_bytes += message.body.len();
        slot.held.push_back(message.clone());
        if slot.is_full(limits) {
            cx.pause();
        }
        true
    }

    /// The next message that waits for no verdict any more.
    fn next_held(&mut self, stream: u32) -> Option<Message> {
        let slot = self.slots.get_mut(stream).filter(|slot| !slot.is_asked())?;
        let message = slot.held.pop_front()?;
        slot.held_bytes -= message.body.len();
        Some(message)
    }

    pub(super) fn request(&mut self, pending: Pending) -> RequestId {
        // Numbers from the upper end are the server's own.
        self.last_request = (self.last_request + 1) & 0x7fff_ffff;
        let request = RequestId(self.last_request);
        self.requests.insert(request, pending);
        request
    }

    /// Forgets what was asked for a message stream: an answer would come too late.
    pub(super) fn withdraw(&mut self, stream: u32) {
        self.requests.retain(|_, pending| match pending {
            Pending::Publish { slot } | Pending::Play { slot, .. } => *slot != stream,
            _ => true,
        });
    }

    pub(super) fn send_control(&mut self, control: Control, cx: &mut Cx<'_>) {
        let writer = &mut self.writer;
        cx.out().write_with(|out| writer.write_control(out, control));
    }

    pub(super) fn send_chunk_size(&mut self, cx: &mut Cx<'_>) {
        let (writer, chunk_size) = (&mut self.writer, self.settings.chunk_size);
        cx.out().write_with(|out| writer.set_chunk_size(out, chunk_size));
    }

    pub(super) fn send_command(&mut self, stream: u32, command: &Command, cx: &mut Cx<'_>) {
        let (mut kind, mut body) = self.command_body(command);
        if body.len() > MAX_MESSAGE {
            // Only an application's answer can be that long, and its caller waits.
            let status = Status::error(CALL_FAILED, "The answer is too large for a message.");
            (kind, body) = self.command_body(&Command::error(command.transaction, status));
        }
        let csid = if stream == 0 { COMMAND_CSID } else { STATUS_CSID };
        self.send(Message { csid, kind, stream, timestamp: 0, body: body.into() }, cx);
    }

    /// The type and body of a command: AMF0 as long as that can say it, since all peers read it.
    pub(super) fn command_body(&self, command: &Command) -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        if self.amf3 && command.needs_amf3() {
            command.encode_amf3(&mut body);
            return (kind::COMMAND_AMF3, body);
        }
        command.encode(&mut body);
        (kind::COMMAND, body)
    }

    pub(super) fn send(&mut self, message: Message, cx: &mut Cx<'_>) {
        let writer = &mut self.writer;
        cx.out().write_with(|out| {
            // Everything that could be too long has been cut short.
            let _ = writer.write(out, &message);
        });
    }

    pub(super) fn send_data(&mut self, stream: u32, data: &Data, cx: &mut Cx<'_>) {
        let mut body = Vec::new();
        data.encode(&mut body);
        self.send(
            Message { csid: STATUS_CSID, kind: kind::DATA, stream, timestamp: 0, body: body.into() },
            cx,
        );
    }

    pub(super) fn status(&mut self, stream: u32, status: Status, cx: &mut Cx<'_>) {
        self.send_command(stream, &Command::on_status(status), cx);
    }

    pub(super) fn answer_message(
        &mut self,
        slot: u32,
        transaction: f64,
        result: Result<Value, (String, String)>,
        cx: &mut Cx<'_>,
    ) {
        self.clock.commanded(cx.now());
        // The message stream that the call came on may be gone meanwhile.
        let stream = if self.slots.contains_key(slot) { slot } else { 0 };
        let command = match result {
            Ok(value) => {
                self.forgive_command();
                Command::result(transaction, Value::Null, vec![value])
            }
            Err((code, text)) => Command::error(transaction, Status::error(code, text)),
        };
        self.send_command(stream, &command, cx);
    }

    pub(super) fn answer_values(
        &mut self,
        slot: u32,
        transaction: f64,
        ok: bool,
        mut args: Vec<Value>,
        cx: &mut Cx<'_>,
    ) {
        self.clock.commanded(cx.now());
        let stream = if self.slots.contains_key(slot) { slot } else { 0 };
        if ok {
            self.forgive_command();
        }
        let object = if args.is_empty() { Value::Null } else { args.remove(0) };
        let name = if ok { "_result" } else { "_error" };
        self.send_command(stream, &Command::call(name, transaction, object, args), cx);
    }

    /// A command that neither side knows: the application may.
    pub(super) fn message(&mut self, command: Command, stream: u32, cx: &mut Cx<'_>) {
        let Command { name, transaction, object, mut args } = command;
        args.insert(0, object);
        let request =
            wants_answer(transaction).then(|| self.request(Pending::Message { slot: stream, transaction }));
        cx.emit(Event::Message { request, slot: slot_event(stream), command: name, args });
    }

    /// Who has been allowed nothing yet may say only so much. What is answered well is given back.
    pub(super) fn count_command(&mut self) -> Result<(), Error> {
        let limit = self.settings.limits.commands_before;
        if self.authorised || self.commands_free {
            return Ok(());
        }
        self.commands += 1;
        if self.commands <= limit {
            return Ok(());
        }
        let rule =
            format!("more than commandsBefore = {limit} commands before a publish or play was allowed");
        Err(Error::peer(PROTOCOL, rule))
    }

    pub(super) fn forgive_command(&mut self) {
        self.commands = self.commands.saturating_sub(1);
    }

    /// Reads a command.
    ///
    /// # Errors
    ///
    /// Where it is longer than the application allows, or no AMF; none: it is AMF, but no command.
    pub(super) fn parse_command(&self, message: &Message) -> Result<Option<Command>, Error> {
        let bytes = message.body.len();
        if let Some(limit) = self.command_bytes.filter(|limit| bytes > *limit) {
            let rule = format!("a command of {bytes} bytes, the limit is maxCommandBytes = {limit}");
            return Err(Error::peer(PROTOCOL, rule));
        }
        match Command::parse(message.kind, &message.body, &self.settings.limits) {
            Ok(command) => Ok(Some(command)),
            Err(crate::message::CommandError::Amf(error)) => {
                Err(Error::peer(PROTOCOL, format!("command: {error}")))
            }
            Err(_) => Ok(None),
        }
    }

    pub(super) fn is(&self, slot: StreamSlot, state: &SlotState) -> bool {
        self.slots.get(slot.0).is_some_and(|slot| slot.state == *state)
    }

    /// Changes the state of a message stream; what counts as idle begins now.
    pub(super) fn set(&mut self, slot: u32, state: SlotState, cx: &mut Cx<'_>) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.state = state;
            self.clock.commanded(cx.now());
        }
    }

    /// A publish on a message stream has been accepted: its times begin.
    pub(super) fn begin_publishing(&mut self, slot: u32, name: String, cx: &mut Cx<'_>) {
        self.authorised = true;
        self.set(slot, SlotState::Publishing { name }, cx);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.time = Unwrapper::new();
            slot.began = false;
        }
    }

    /// Where a stream has been, as a server of this family says it.
    pub(super) fn via(&self, said: Option<&Value>) -> Via {
        let said = said.filter(|_| self.kindred);
        said.map(|value| Via::read(value, &self.settings.limits)).unwrap_or_default()
    }

    pub(super) fn skipped(&self, what: Skipped, cx: &mut Cx<'_>) {
        cx.emit(Event::Skipped(what));
    }
}

impl Slot {
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.state, SlotState::AskedPublish { .. } | SlotState::AskedPlay)
    }

    pub(super) fn is_publishing(&self) -> bool {
        matches!(self.state, SlotState::Publishing { .. })
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.held_bytes > limits.held_bytes || self.held.len() > limits.commands_before
    }
}

pub(super) fn slot_event(stream: u32) -> StreamSlot {
    StreamSlot(stream)
}

/// NaN is not 0, but nobody can wait for an answer to it.
pub(super) fn wants_answer(transaction: f64) -> bool {
    transaction.is_finite() && transaction != 0.0
}
