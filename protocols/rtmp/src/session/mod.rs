//! The server's side of an RTMP connection, from its first byte to its last.
//!
//! [`ServerSession`] is a state machine: bytes, orders and time go in; bytes and events come out through
//! [`Cx`]. Each part of it has a file: commands of the peer in `commands.rs`, orders of the server in
//! `orders.rs`, its calls in `calls.rs`, media in `media.rs`, what time does in `time.rs`.

mod calls;
mod commands;
mod media;
mod orders;
#[cfg(test)]
mod tests;
mod time;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crtmp_media::{Cx, Error, Event, Limits, RequestId, Skipped, StreamSlot};

use crate::{
    ack::{PeerAcks, Window},
    chunk::{ChunkReader, ChunkWriter, MAX_MESSAGE, Message, ReadLimits},
    few::Few,
    handshake::{RANDOM, ServerHandshake},
    message::{Command, Control, Status, UserControl, kind},
    time::Unwrapper,
};

const PROTOCOL: &str = "rtmp";

/// Chunk streams of what is not media.
const COMMAND_CSID: u32 = 3;
const STATUS_CSID: u32 = 5;

/// How a session treats its peer.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The limits that guard it.
    pub limits: Arc<Limits>,
    /// Whether a peer is refused that claims to know the digest handshake and answers it wrongly.
    pub validate_handshake: bool,
    /// The size of outgoing chunks in bytes, once the peer is connected.
    pub chunk_size: u32,
}

/// The server's side of one RTMP connection.
pub struct ServerSession {
    settings: SessionSettings,
    /// Until the handshake is done; made when the first byte comes.
    handshake: Option<ServerHandshake>,
    phase: Phase,
    reader: ChunkReader,
    /// Where in the chunk stream the last message ended.
    message_end: u64,
    writer: ChunkWriter,
    window: Window,
    peer_acks: PeerAcks,
    slots: Few<Slot>,
    requests: BTreeMap<RequestId, Pending>,
    last_request: u32,
    calls: calls::Calls,
    /// The most bytes of a command or description, where the application has said it.
    command_bytes: Option<usize>,
    /// The peer has been allowed to publish or play: it may send more.
    authorised: bool,
    /// Commands so far that count against `commandsBefore`.
    commands: usize,
    unknown_messages: usize,
    clock: time::Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    /// `connect` has not come yet.
    Fresh,
    /// `connect` waits for its answer.
    Connecting,
    Connected,
    /// Nothing is read any more.
    Closed,
}

/// A request that waits for its answer, and what the peer called it.
#[derive(Clone, Debug)]
enum Pending {
    Connect { transaction: f64, enhanced: bool },
    Publish { slot: u32 },
    Play { slot: u32, name: String, reset: bool },
    Message { slot: u32, transaction: f64 },
}

/// A message stream.
#[derive(Debug, Default)]
struct Slot {
    state: SlotState,
    /// Messages that wait for the verdict on the one before them.
    held: VecDeque<Message>,
    held_bytes: usize,
    time: Unwrapper,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum SlotState {
    #[default]
    Idle,
    AskedPublish {
        name: String,
    },
    Publishing {
        name: String,
    },
    AskedPlay,
    Playing,
}

impl ServerSession {
    /// A session with a peer that has just come, at `now`.
    pub fn new(settings: SessionSettings, now: Instant) -> Self {
        Self {
            settings,
            handshake: None,
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
            unknown_messages: 0,
            clock: time::Clock::new(now),
        }
    }

    /// Takes bytes of the peer; returns how many: all, unless the chain was paused meanwhile.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke; the connection is to be closed.
    pub fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.clock.heard(cx.now());
        let mut used = 0;
        if self.phase == Phase::Handshake {
            used = self.shake_hands(data, cx)?;
            if self.phase == Phase::Handshake {
                return Ok(used);
            }
        }
        used += self.read(&data[used..], cx)?;
        Ok(used)
    }

    /// What the peer has acknowledged of the bytes that were sent to it; counted, never enforced.
    pub const fn peer_acks(&self) -> PeerAcks {
        self.peer_acks
    }

    pub(crate) fn fetch(&self) {
        self.reader.fetch();
        self.slots.fetch();
    }

    fn shake_hands(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut random = [0; RANDOM];
        let handshake = match &mut self.handshake {
            Some(handshake) => handshake,
            None => {
                cx.random(&mut random);
                self.handshake.insert(ServerHandshake::new(self.settings.validate_handshake, &random))
            }
        };
        let mut answer = Vec::new();
        let result = handshake.input(data, &mut answer);
        cx.out().write_with(|out| out.append(&mut answer));
        let (used, done) = result.map_err(|error| Error::peer(PROTOCOL, format!("handshake: {error}")))?;
        // By common practice the handshake counts among the bytes that are acknowledged.
        self.window.receive(used);
        if done {
            self.handshake = None;
            self.phase = Phase::Fresh;
            self.clock.shaken(cx.now());
        }
        Ok(used)
    }

    /// Reads messages until the data is used up or the chain is paused.
    fn read(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        while !cx.is_paused() {
            if self.phase == Phase::Closed || cx.is_closing() {
                return Ok(data.len());
            }
            let limits = self.read_limits();
            let at = self.message_end;
            let (count, message) = self
                .reader
                .read(&data[used..], &limits)
                .map_err(|error| Error::peer(PROTOCOL, format!("chunk stream after byte {at}: {error}")))?;
            used += count;
            if let Some(sequence) = self.window.receive(count) {
                self.send_control(Control::Acknowledgement(sequence), cx);
            }
            match message {
                Some(message) => {
                    self.message_end = self.reader.bytes();
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

    fn read_limits(&self) -> ReadLimits {
        let limits = &self.settings.limits;
        if self.authorised {
            return ReadLimits::after(limits);
        }
        ReadLimits { wait: self.slots.values().any(Slot::is_asked), ..ReadLimits::before(limits) }
    }

    fn on_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        // Legal, and says nothing.
        if message.body.is_empty() {
            return Ok(());
        }
        match message.kind {
            kind::SET_CHUNK_SIZE..=kind::PEER_BANDWIDTH => self.on_control(&message, cx),
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE => {
                if self.hold(&message, cx) { Ok(()) } else { self.on_media(message, cx) }
            }
            kind::COMMAND | kind::COMMAND_AMF3 => self.on_command_message(message, cx),
            _ => {
                self.unknown_messages += 1;
                let limit = self.settings.limits.unknown_messages;
                if self.unknown_messages > limit {
                    let rule = format!("more than unknownMessages = {limit} messages of unknown type");
                    return Err(Error::peer(PROTOCOL, rule));
                }
                cx.emit(Event::Skipped(Skipped::UnknownMessage));
                Ok(())
            }
        }
    }

    fn on_control(&mut self, message: &Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        let control =
            Control::parse(message.kind, &message.body).map_err(|error| Error::peer(PROTOCOL, error))?;
        match control {
            Some(Control::Acknowledgement(sequence)) => self.peer_acks.receive(sequence),
            Some(Control::WindowAckSize(window)) => self.window.set(window),
            Some(Control::User(UserControl::PingRequest(stamp))) => {
                self.send_control(Control::User(UserControl::PingResponse(stamp)), cx);
            }
            Some(Control::User(UserControl::PingResponse(stamp))) => {
                if let Some(rtt_ms) = self.clock.pong(stamp, cx.now()) {
                    cx.emit(Event::Pong { rtt_ms });
                }
            }
            // The reader obeys chunk sizes and aborts. The bandwidth that a peer names is never enforced: how
            // far a player may be behind is ours to say. Live streams have no use for a buffer length.
            _ => {}
        }
        Ok(())
    }

    /// Keeps a message back whose message stream waits for a verdict; returns whether it did.
    fn hold(&mut self, message: &Message, cx: &mut Cx<'_>) -> bool {
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

    /// Deals with what was kept back while a verdict was pending.
    fn release(&mut self, stream: u32, cx: &mut Cx<'_>) -> Result<(), Error> {
        while let Some(slot) = self.slots.get_mut(stream)
            && !slot.is_asked()
            && let Some(message) = slot.held.pop_front()
        {
            slot.held_bytes -= message.body.len();
            self.on_message(message, cx)?;
        }
        let limits = &self.settings.limits;
        if self.phase == Phase::Connected && !self.slots.values().any(|slot| slot.is_full(limits)) {
            self.go_on(cx)?;
        }
        Ok(())
    }

    /// Lets the chain go on, with what the reader may still have taken.
    fn go_on(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if cx.is_paused() {
            // It could not have been heard.
            self.clock.heard(cx.now());
            cx.resume();
            self.read(&[], cx)?;
        }
        Ok(())
    }

    fn request(&mut self, pending: Pending) -> RequestId {
        // Numbers from the upper end are the server's own.
        self.last_request = (self.last_request + 1) & 0x7fff_ffff;
        let request = RequestId(self.last_request);
        self.requests.insert(request, pending);
        request
    }

    fn send_control(&mut self, control: Control, cx: &mut Cx<'_>) {
        let writer = &mut self.writer;
        cx.out().write_with(|out| writer.write_control(out, control));
    }

    fn send_command(&mut self, stream: u32, command: &Command, cx: &mut Cx<'_>) {
        let mut body = Vec::new();
        command.encode(&mut body);
        if body.len() > MAX_MESSAGE {
            // Only an application's answer can be that long, and its caller waits.
            body.clear();
            let status = Status::error(commands::CALL_FAILED, "The answer is too large for a message.");
            Command::error(command.transaction, status).encode(&mut body);
        }
        let csid = if stream == 0 { COMMAND_CSID } else { STATUS_CSID };
        self.send(Message { csid, kind: kind::COMMAND, stream, timestamp: 0, body: body.into() }, cx);
    }

    fn send(&mut self, message: Message, cx: &mut Cx<'_>) {
        let writer = &mut self.writer;
        cx.out().write_with(|out| {
            // Everything that could be too long has been cut short.
            let _ = writer.write(out, &message);
        });
    }

    fn skipped(&self, what: Skipped, cx: &mut Cx<'_>) {
        cx.emit(Event::Skipped(what));
    }
}

impl Slot {
    fn is_asked(&self) -> bool {
        matches!(self.state, SlotState::AskedPublish { .. } | SlotState::AskedPlay)
    }

    fn is_publishing(&self) -> bool {
        matches!(self.state, SlotState::Publishing { .. })
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.held_bytes > limits.held_bytes || self.held.len() > limits.commands_before
    }
}

fn slot_event(stream: u32) -> StreamSlot {
    StreamSlot(stream)
}
