//! One side of a connection, as messages: what is between the chunk stream and a session.
//!
//! A [`Wire`] shakes hands, puts messages together and says what they are, and does what the protocol asks of either
//! side: it acknowledges, answers pings and obeys chunk sizes. What a command means is left to the caller, so it serves
//! as server or client alike.

use std::{collections::VecDeque, fmt};

use crtmp_media::{Limits, Value};

use crate::{
    ack::{PeerAcks, Window},
    aggregate::{self, AggregateError},
    chunk::{ChunkError, ChunkReader, ChunkWriter, Message, ReadLimits, TooLong, encode_message},
    handshake::{ClientHandshake, HandshakeError, HandshakeKind, RANDOM, ServerHandshake},
    message::{BandwidthLimit, Command, Control, ControlError, Data, UserControl, kind},
};

/// Chunk streams of outgoing messages; control messages have 2.
const COMMAND_CSID: u32 = 3;
const AUDIO_CSID: u32 = 4;
const VIDEO_CSID: u32 = 6;
const DATA_CSID: u32 = 7;

/// One side of a connection at the height of messages.
///
/// Bytes that came go into [`read`](Self::read), messages come out, to be told apart with a `match`. What `send_…`
/// writes waits until [`take_output`](Self::take_output) fetches it for the socket.
///
/// ```
/// use crtmp_media::{Limits, Value};
/// use crtmp_rtmp::{handshake::HandshakeKind, message::Command, wire::{Received, Wire}};
///
/// let mut client = Wire::client(HandshakeKind::Simple, &[1; 1528], Limits::default());
/// let mut server = Wire::server(true, &[2; 1528], Limits::default());
/// client.call(0, "connect", Value::Object(vec![("app".into(), "live".into())]), vec![])?;
///
/// let mut heard = Vec::new();
/// loop {
///     // Two sockets would stand here.
///     let (up, down) = (client.take_output(), server.take_output());
///     if up.is_empty() && down.is_empty() {
///         break;
///     }
///     let mut rest = &up[..];
///     while let (used, Some(received)) = server.read(rest)? {
///         rest = &rest[used..];
///         match received {
///             Received::Command { command, .. } if command.name == "connect" => {
///                 server.send_command(0, &Command::result(command.transaction, Value::Null, vec![]))?;
///             }
///             _ => {}
///         }
///     }
///     let mut rest = &down[..];
///     while let (used, Some(received)) = client.read(rest)? {
///         rest = &rest[used..];
///         if let Received::Command { command, .. } = received {
///             heard.push((command.name, command.transaction));
///         }
///     }
/// }
/// assert_eq!(heard, [("_result".to_owned(), 1.0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Wire {
    limits: Limits,
    handshake: Option<Handshake>,
    reader: ChunkReader,
    writer: ChunkWriter,
    window: Window,
    peer_acks: PeerAcks,
    /// Parts of an aggregate that have not been given out.
    parts: VecDeque<Message>,
    media_allowed: bool,
    transaction: u32,
    /// Handshake packets that wait to be sent.
    hello: Vec<u8>,
    /// Chunks that wait to be sent, which must not be before the handshake is done.
    out: Vec<u8>,
    /// Bytes of `out` that the peer has brought about.
    answers: usize,
}

/// What came from the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The handshake is done; comes once and first.
    Open(HandshakeKind),
    /// A command: a call, or the answer to one.
    Command {
        /// The message stream; 0 for the connection itself.
        stream: u32,
        /// Its name, transaction, object and arguments.
        command: Command,
    },
    /// Sound: the body is that of an FLV audio tag.
    Audio(Message),
    /// A picture: the body is that of an FLV video tag.
    Video(Message),
    /// Metadata, cue points and the like.
    Data {
        /// The message: its body is that of an FLV script tag, unless a zero byte of type 15 stands before.
        message: Message,
        /// What the body says.
        data: Data,
    },
    /// A control message. Acknowledgements, windows and pings have been dealt with; chunk sizes and aborts are obeyed
    /// without a word. What concerns media (bandwidth, buffers, begin and end of streams) is for the caller.
    Control(Control),
    /// Anything else: unknown types, shared objects, empty bodies, values that cannot be read.
    Other(Message),
}

/// Why a connection cannot go on. The [`Wire`] must not be used afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The chunk stream is broken, or over a limit.
    Chunk(ChunkError),
    /// A control message is too short.
    Control(ControlError),
    /// An aggregate has too many parts.
    Aggregate(AggregateError),
    /// More than [`Limits::control_queue`] bytes of answers wait for [`Wire::take_output`].
    Answers {
        /// That limit.
        limit: usize,
    },
}

impl Wire {
    /// The side that connects; its first packets wait to be sent. `random` goes into the handshake.
    pub fn client(kind: HandshakeKind, random: &[u8; RANDOM], limits: Limits) -> Self {
        let handshake = ClientHandshake::new(kind, random);
        let mut hello = Vec::new();
        handshake.start(&mut hello);
        Self { hello, ..Self::new(Handshake::Client(handshake), limits) }
    }

    /// The side that was connected to; `validate` and `random` as for [`ServerHandshake::new`].
    pub fn server(validate: bool, random: &[u8; RANDOM], limits: Limits) -> Self {
        Self::new(Handshake::Server(ServerHandshake::new(validate, random)), limits)
    }

    fn new(handshake: Handshake, limits: Limits) -> Self {
        Self {
            limits,
            handshake: Some(handshake),
            reader: ChunkReader::new(),
            writer: ChunkWriter::new(),
            window: Window::new(),
            peer_acks: PeerAcks::default(),
            parts: VecDeque::new(),
            media_allowed: false,
            transaction: 0,
            hello: Vec::new(),
            out: Vec::new(),
            answers: 0,
        }
    }

    /// Lets the peer send messages as large as media may be, from now on: [`ReadLimits::after`] instead of
    /// [`ReadLimits::before`]. To be called when a publish or play is agreed on.
    pub const fn allow_media(&mut self) {
        self.media_allowed = true;
    }

    /// See [`ChunkReader::set_flash_like`]: for servers, once `connect` has said who the client is.
    pub const fn set_flash_like(&mut self, flash_like: bool) {
        self.reader.set_flash_like(flash_like);
    }

    /// Whether the handshake is done.
    pub const fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    /// What the peer has acknowledged.
    pub const fn peer_acks(&self) -> PeerAcks {
        self.peer_acks
    }

    /// Reads until there is something to say or `data` is used up; gives the number of bytes taken, and what it is.
    ///
    /// Without a message, all of `data` was taken. With one, call again with the rest, even if the rest is empty. How
    /// `data` is split never changes what is received.
    ///
    /// # Errors
    ///
    /// See [`WireError`].
    pub fn read(&mut self, data: &[u8]) -> Result<(usize, Option<Received>), WireError> {
        let mut used = 0;
        if let Some(handshake) = &mut self.handshake {
            let (step, done) = handshake.input(data, &mut self.hello)?;
            used = step;
            // By common practice the handshake counts among the bytes that are acknowledged.
            self.window.receive(step);
            if !done {
                return Ok((used, None));
            }
            let kind = handshake.agreed();
            self.handshake = None;
            return Ok((used, Some(Received::Open(kind))));
        }
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok((used, Some(self.name(part)?)));
            }
            let limits = match self.media_allowed {
                true => ReadLimits::after(&self.limits),
                false => ReadLimits::before(&self.limits),
            };
            let (step, message) = self.reader.read(&data[used..], &limits)?;
            used += step;
            if let Some(sequence) = self.window.receive(step) {
                self.answer(Control::Acknowledgement(sequence))?;
            }
            match message {
                None => return Ok((used, None)),
                Some(message) if message.kind == kind::AGGREGATE => {
                    self.parts = aggregate::split(&message, self.limits.aggregate_messages)?.messages.into();
                }
                Some(message) => return Ok((used, Some(self.name(message)?))),
            }
        }
    }

    /// All that waits to be sent, in order.
    pub fn take_output(&mut self) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.hello);
        if self.is_open() {
            output.append(&mut self.out);
            self.answers = 0;
        }
        output
    }

    /// Tells the peer a chunk size and uses it from then on. `size` is brought into 1 to 0x7FFFFFFF.
    pub fn send_set_chunk_size(&mut self, size: u32) {
        self.writer.set_chunk_size(&mut self.out, size);
    }

    /// Asks for an acknowledgement at least each `window` bytes.
    pub fn send_window_ack_size(&mut self, window: u32) {
        self.writer.write_control(&mut self.out, Control::WindowAckSize(window));
    }

    /// Asks the peer to have at most `window` unacknowledged bytes under way.
    pub fn send_peer_bandwidth(&mut self, window: u32, limit: BandwidthLimit) {
        self.writer.write_control(&mut self.out, Control::PeerBandwidth { window, limit });
    }

    /// Sends an event of a message stream or of the connection.
    pub fn send_user_control(&mut self, event: UserControl) {
        self.writer.write_control(&mut self.out, Control::User(event));
    }

    /// Sends a command with the transaction that stands in it: answers and events.
    ///
    /// # Errors
    ///
    /// It is longer than a message can be; nothing is sent.
    pub fn send_command(&mut self, stream: u32, command: &Command) -> Result<(), TooLong> {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.send(COMMAND_CSID, kind::COMMAND, stream, 0, &body)
    }

    /// Calls `name` and gives the transaction by which `_result` or `_error` will answer: 1, 2, 3 and so on.
    ///
    /// # Errors
    ///
    /// As for [`Wire::send_command`].
    pub fn call(&mut self, stream: u32, name: &str, object: Value, args: Vec<Value>) -> Result<f64, TooLong> {
        let transaction = f64::from(self.transaction.saturating_add(1));
        self.send_command(stream, &Command::call(name, transaction, object, args))?;
        self.transaction = self.transaction.saturating_add(1);
        Ok(transaction)
    }

    /// Sends the body of an FLV audio tag; `time` is in milliseconds modulo 2³².
    ///
    /// # Errors
    ///
    /// As for [`Wire::send_command`].
    pub fn send_audio(&mut self, stream: u32, time: u32, body: &[u8]) -> Result<(), TooLong> {
        self.send(AUDIO_CSID, kind::AUDIO, stream, time, body)
    }

    /// Sends the body of an FLV video tag.
    ///
    /// # Errors
    ///
    /// As for [`Wire::send_command`].
    pub fn send_video(&mut self, stream: u32, time: u32, body: &[u8]) -> Result<(), TooLong> {
        self.send(VIDEO_CSID, kind::VIDEO, stream, time, body)
    }

    /// Sends the body of an FLV script tag, as [`Data::encode`] writes it.
    ///
    /// # Errors
    ///
    /// As for [`Wire::send_command`].
    pub fn send_data(&mut self, stream: u32, time: u32, body: &[u8]) -> Result<(), TooLong> {
        self.send(DATA_CSID, kind::DATA, stream, time, body)
    }

    fn send(&mut self, csid: u32, kind: u8, stream: u32, time: u32, body: &[u8]) -> Result<(), TooLong> {
        encode_message(&mut self.out, csid, time, kind, stream, &[body], self.writer.chunk_size())?;
        Ok(())
    }

    /// Does what a message asks of either side, and says what it is.
    fn name(&mut self, message: Message) -> Result<Received, WireError> {
        let Message { kind, stream, ref body, .. } = message;
        Ok(match kind {
            kind::SET_CHUNK_SIZE..=kind::PEER_BANDWIDTH => match Control::parse(kind, body)? {
                Some(control) => {
                    self.obey(control)?;
                    Received::Control(control)
                }
                None => Received::Other(message),
            },
            kind::AUDIO => Received::Audio(message),
            kind::VIDEO => Received::Video(message),
            kind::DATA | kind::DATA_AMF3 => match Data::parse(kind, body, &self.limits) {
                Ok(data) => Received::Data { message, data },
                Err(_) => Received::Other(message),
            },
            kind::COMMAND | kind::COMMAND_AMF3 => match Command::parse(kind, body, &self.limits) {
                Ok(command) => Received::Command { stream, command },
                Err(_) => Received::Other(message),
            },
            _ => Received::Other(message),
        })
    }

    fn obey(&mut self, control: Control) -> Result<(), WireError> {
        match control {
            Control::Acknowledgement(sequence) => self.peer_acks.receive(sequence),
            Control::WindowAckSize(window) => self.window.set(window),
            Control::User(UserControl::PingRequest(stamp)) => {
                self.answer(Control::User(UserControl::PingResponse(stamp)))?;
            }
            // A bandwidth is for whoever makes the media. The reader has seen to the rest.
            _ => {}
        }
        Ok(())
    }

    /// Writes what the peer has brought about: a peer must not fill our memory with it.
    fn answer(&mut self, control: Control) -> Result<(), WireError> {
        let before = self.out.len();
        self.writer.write_control(&mut self.out, control);
        self.answers += self.out.len() - before;
        let limit = self.limits.control_queue;
        if self.answers > limit { Err(WireError::Answers { limit }) } else { Ok(()) }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "handshake: {error}"),
            Self::Chunk(error) => write!(f, "chunk stream: {error}"),
            Self::Control(error) => error.fmt(f),
            Self::Aggregate(error) => error.fmt(f),
            Self::Answers { limit } => {
                write!(f, "more than controlQueue = {limit} bytes of answers wait to be sent")
            }
        }
    }
}

impl std::error::Error for WireError {}

impl From<HandshakeError> for WireError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<ChunkError> for WireError {
    fn from(error: ChunkError) -> Self {
        Self::Chunk(error)
    }
}

impl From<ControlError> for WireError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<AggregateError> for WireError {
    fn from(error: AggregateError) -> Self {
        Self::Aggregate(error)
    }
}

#[derive(Debug)]
enum Handshake {
    Client(ClientHandshake),
    Server(ServerHandshake),
}

impl Handshake {
    fn input(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), HandshakeError> {
        match self {
            Self::Client(handshake) => handshake.input(data, out),
            Self::Server(handshake) => handshake.input(data, out),
        }
    }

    fn agreed(&self) -> HandshakeKind {
        match self {
            Self::Client(handshake) => handshake.agreed(),
            Self::Server(handshake) => handshake.agreed().unwrap_or(HandshakeKind::Simple),
        }
    }
}

#[cfg(test)]
mod tests;
