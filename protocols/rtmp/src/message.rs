//! What the body of a message means: protocol control, commands, data.
//!
//! Each type parses from a body and encodes to one; the chunk stream around it is not known here.

use std::{borrow::Cow, fmt};

use crtmp_media::{Limits, Value};

use crate::{
    amf0::{self, AmfError},
    amf3,
};

/// Message types (Adobe's RTMP specification 1.0, sections 5.4 and 7.1).
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control Message.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// A shared object event in AMF3.
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// A command in AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA: u8 = 18;
    /// A shared object event in AMF0.
    pub const SHARED_OBJECT: u8 = 19;
    /// A command in AMF0.
    pub const COMMAND: u8 = 20;
    /// Several messages in one.
    pub const AGGREGATE: u8 = 22;
}

/// What a body of type 15 to 17 begins with: its values are in AMF0, and may change to AMF3.
const FORMAT: u8 = 0;

/// A protocol control or user control message (§5.4, §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The sender's chunk size from now on, in bytes.
    SetChunkSize(u32),
    /// The sender drops what is unfinished on this chunk stream.
    Abort(u32),
    /// Bytes received so far, modulo 2³².
    Acknowledgement(u32),
    /// The sender wants an acknowledgement at least each so many bytes.
    WindowAckSize(u32),
    /// The receiver should have at most `window` unacknowledged bytes under way.
    PeerBandwidth {
        /// The window in bytes.
        window: u32,
        /// How strictly it is meant.
        limit: BandwidthLimit,
    },
    /// An event of a message stream or of the connection.
    User(UserControl),
}

/// How strictly a peer bandwidth is meant (§5.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandwidthLimit {
    /// Exactly this window.
    Hard = 0,
    /// This window or a smaller one in force.
    Soft = 1,
    /// As `Hard`, if the last was `Hard`; else of no effect.
    Dynamic = 2,
}

/// A user control event (§7.1.7) and the two of Flash Media Server that peers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserControl {
    /// This message stream can be used.
    StreamBegin(u32),
    /// Playback of this message stream is over.
    StreamEof(u32),
    /// There is no more data on this message stream for now.
    StreamDry(u32),
    /// How much the player of a message stream buffers.
    SetBufferLength {
        /// The message stream.
        stream: u32,
        /// The buffer in milliseconds.
        ms: u32,
    },
    /// This message stream plays a recording.
    StreamIsRecorded(u32),
    /// Asks for [`UserControl::PingResponse`] with the same time stamp.
    PingRequest(u32),
    /// Answers [`UserControl::PingRequest`].
    PingResponse(u32),
    /// The buffer of this message stream ran empty.
    BufferEmpty(u32),
    /// The buffer of this message stream is full again.
    BufferReady(u32),
}

/// A control message that is too short for what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlError {
    /// The message type.
    pub kind: u8,
    /// Bytes of the body.
    pub length: usize,
    /// Bytes that the body should have at least.
    pub needed: usize,
}

impl Control {
    /// Reads the body of a message of type 1 to 6.
    ///
    /// `None`: there is nothing to act on. The body is empty, the event or limit type is unknown, or `kind` is
    /// no control message. Bytes after the last field are ignored.
    ///
    /// # Errors
    ///
    /// The body is too short.
    pub fn parse(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        if body.is_empty() {
            return Ok(None);
        }
        let fields = Fields { kind, body };
        Ok(Some(match kind {
            kind::SET_CHUNK_SIZE => Self::SetChunkSize(fields.u32(0)?),
            kind::ABORT => Self::Abort(fields.u32(0)?),
            kind::ACKNOWLEDGEMENT => Self::Acknowledgement(fields.u32(0)?),
            kind::WINDOW_ACK_SIZE => Self::WindowAckSize(fields.u32(0)?),
            kind::PEER_BANDWIDTH => {
                let [limit] = fields.get(4)?;
                let limit = match limit {
                    0 => BandwidthLimit::Hard,
                    1 => BandwidthLimit::Soft,
                    2 => BandwidthLimit::Dynamic,
                    _ => return Ok(None),
                };
                Self::PeerBandwidth { window: fields.u32(0)?, limit }
            }
            kind::USER_CONTROL => Self::User(match u16::from_be_bytes(fields.get(0)?) {
                0 => UserControl::StreamBegin(fields.u32(2)?),
                1 => UserControl::StreamEof(fields.u32(2)?),
                2 => UserControl::StreamDry(fields.u32(2)?),
                3 => UserControl::SetBufferLength { ms: fields.u32(6)?, stream: fields.u32(2)? },
                4 => UserControl::StreamIsRecorded(fields.u32(2)?),
                6 => UserControl::PingRequest(fields.u32(2)?),
                7 => UserControl::PingResponse(fields.u32(2)?),
                31 => UserControl::BufferEmpty(fields.u32(2)?),
                32 => UserControl::BufferReady(fields.u32(2)?),
                _ => return Ok(None),
            }),
            _ => return Ok(None),
        }))
    }

    /// The message type.
    pub const fn kind(self) -> u8 {
        match self {
            Self::SetChunkSize(_) => kind::SET_CHUNK_SIZE,
            Self::Abort(_) => kind::ABORT,
            Self::Acknowledgement(_) => kind::ACKNOWLEDGEMENT,
            Self::WindowAckSize(_) => kind::WINDOW_ACK_SIZE,
            Self::PeerBandwidth { .. } => kind::PEER_BANDWIDTH,
            Self::User(_) => kind::USER_CONTROL,
        }
    }

    /// Appends the body: at most 10 bytes.
    pub fn encode(self, body: &mut Vec<u8>) {
        match self {
            Self::SetChunkSize(value)
            | Self::Abort(value)
            | Self::Acknowledgement(value)
            | Self::WindowAckSize(value) => body.extend_from_slice(&value.to_be_bytes()),
            Self::PeerBandwidth { window, limit } => {
                body.extend_from_slice(&window.to_be_bytes());
                body.push(limit as u8);
            }
            Self::User(event) => {
                let (number, value): (u16, u32) = match event {
                    UserControl::StreamBegin(stream) => (0, stream),
                    UserControl::StreamEof(stream) => (1, stream),
                    UserControl::StreamDry(stream) => (2, stream),
                    UserControl::SetBufferLength { stream, .. } => (3, stream),
                    UserControl::StreamIsRecorded(stream) => (4, stream),
                    UserControl::PingRequest(stamp) => (6, stamp),
                    UserControl::PingResponse(stamp) => (7, stamp),
                    UserControl::BufferEmpty(stream) => (31, stream),
                    UserControl::BufferReady(stream) => (32, stream),
                };
                body.extend_from_slice(&number.to_be_bytes());
                body.extend_from_slice(&value.to_be_bytes());
                if let UserControl::SetBufferLength { ms, .. } = event {
                    body.extend_from_slice(&ms.to_be_bytes());
                }
            }
        }
    }
}

/// A command: a call, or the answer to one (§7.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The procedure; `_result` and `_error` for answers.
    pub name: String,
    /// Ties an answer to its call; 0 asks for no answer. It came from the peer: NaN and infinities included.
    pub transaction: f64,
    /// The command object, [`Value::Null`] where there is none.
    pub object: Value,
    /// What follows the command object.
    pub args: Vec<Value>,
}

impl Command {
    /// Reads the body of a message of type 20 or 17.
    ///
    /// A body of type 17 may begin with a zero byte before its values or not; real senders do both. They are in AMF0, some
    /// or all of them in AMF3 behind the marker 0x11.
    /// A missing transaction is 0, a missing object is null.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]. An empty body is [`CommandError::Empty`]; the chunk stream allows it and it should
    /// be ignored.
    pub fn parse(kind: u8, body: &[u8], limits: &Limits) -> Result<Self, CommandError> {
        let (name, mut values, _) = named_values(kind == kind::COMMAND_AMF3, body, limits)?;
        let transaction = match values.next() {
            None => 0.0,
            Some(value) => value.as_f64().ok_or(CommandError::Transaction)?,
        };
        let object = values.next().unwrap_or(Value::Null);
        Ok(Self { name, transaction, object, args: values.collect() })
    }

    /// A call of `name`.
    pub fn call(name: &str, transaction: f64, object: Value, args: Vec<Value>) -> Self {
        Self { name: name.to_owned(), transaction, object, args }
    }

    /// The good answer to the call `transaction`.
    pub fn result(transaction: f64, object: Value, args: Vec<Value>) -> Self {
        Self::call("_result", transaction, object, args)
    }

    /// The bad answer to the call `transaction`.
    pub fn error(transaction: f64, status: Status) -> Self {
        Self::call("_error", transaction, Value::Null, vec![status.into()])
    }

    /// The event `onStatus` of a message stream.
    pub fn on_status(status: Status) -> Self {
        Self::call("onStatus", 0.0, Value::Null, vec![status.into()])
    }

    /// Appends the body of a message of type 20: [`amf0::encode`] says what becomes of values that only AMF3 has.
    pub fn encode(&self, body: &mut Vec<u8>) {
        amf0::encode_str(body, &self.name);
        amf0::encode(body, &Value::Number(self.transaction));
        amf0::encode(body, &self.object);
        for value in &self.args {
            amf0::encode(body, value);
        }
    }

    /// Whether some of its values are of kinds that only AMF3 has.
    pub fn needs_amf3(&self) -> bool {
        amf3::is_needed(&self.object) || self.args.iter().any(amf3::is_needed)
    }

    /// Appends the body of a message of type 17, for a peer that reads AMF3.
    pub fn encode_amf3(&self, body: &mut Vec<u8>) {
        body.push(FORMAT);
        amf0::encode_str(body, &self.name);
        amf0::encode(body, &Value::Number(self.transaction));
        amf0::encode_mixed(body, std::iter::once(&self.object).chain(&self.args));
    }
}

/// The information object of `onStatus`, `_result` and `_error`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// `status`, `warning` or `error`.
    pub level: &'static str,
    /// A dotted code such as `NetStream.Publish.Start`: clients act on it.
    pub code: Cow<'static, str>,
    /// Text for people.
    pub description: String,
    /// Further members, after those above.
    pub extra: Vec<(String, Value)>,
}

impl Status {
    /// A status of the level `status`.
    pub fn new(code: impl Into<Cow<'static, str>>, description: impl Into<String>) -> Self {
        Self { level: "status", code: code.into(), description: description.into(), extra: Vec::new() }
    }

    /// A status of the level `error`.
    pub fn error(code: impl Into<Cow<'static, str>>, description: impl Into<String>) -> Self {
        Self { level: "error", ..Self::new(code, description) }
    }

    /// The status with one more member.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.push((key.to_owned(), value.into()));
        self
    }
}

impl From<Status> for Value {
    fn from(status: Status) -> Self {
        let mut members = vec![
            ("level".to_owned(), status.level.into()),
            ("code".to_owned(), status.code.into_owned().into()),
            ("description".to_owned(), status.description.into()),
        ];
        members.extend(status.extra);
        Self::Object(members)
    }
}

/// A data message: metadata, cue points and the like (§7.1.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The handler: `onMetaData`, `@setDataFrame`, …
    pub name: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

impl Data {
    /// Reads the body of a message of type 18 or 15; type 15 may begin with a zero byte or not.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]; [`CommandError::Transaction`] does not occur.
    pub fn parse(kind: u8, body: &[u8], limits: &Limits) -> Result<Self, CommandError> {
        Self::parse_mixed(kind, body, limits).map(|(data, _)| data)
    }

    /// As [`Self::parse`], and whether some of it is in AMF3.
    pub(crate) fn parse_mixed(kind: u8, body: &[u8], limits: &Limits) -> Result<(Self, bool), CommandError> {
        let (name, values, mixed) = named_values(kind == kind::DATA_AMF3, body, limits)?;
        Ok((Self { name, args: values.collect() }, mixed))
    }

    /// Appends the body of a message of type 18.
    pub fn encode(&self, body: &mut Vec<u8>) {
        amf0::encode_str(body, &self.name);
        for value in &self.args {
            amf0::encode(body, value);
        }
    }
}

/// Why a body is no command or data message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// There is nothing in it.
    Empty,
    /// The first value is no valid string.
    Name,
    /// The second value of a command is no number.
    Transaction,
    /// The values cannot be read.
    Amf(AmfError),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, length, needed } = self;
        write!(f, "a control message of type {kind} has {length} bytes and needs {needed}")
    }
}

impl std::error::Error for ControlError {}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the message is empty"),
            Self::Name => f.write_str("the message does not begin with a name"),
            Self::Transaction => f.write_str("the transaction of the command is not a number"),
            Self::Amf(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<AmfError> for CommandError {
    fn from(error: AmfError) -> Self {
        Self::Amf(error)
    }
}

fn named_values(
    amf3: bool,
    body: &[u8],
    limits: &Limits,
) -> Result<(String, std::vec::IntoIter<Value>, bool), CommandError> {
    let body = match body {
        [FORMAT, rest @ ..] if amf3 => rest,
        _ => body,
    };
    let mut decoder = amf0::Decoder::new(body, limits);
    let mut values = Vec::new();
    while !decoder.is_empty() {
        values.push(decoder.value()?);
    }
    let mut values = values.into_iter();
    match values.next() {
        None => Err(CommandError::Empty),
        Some(Value::String(name)) => Ok((name, values, decoder.mixed)),
        Some(_) => Err(CommandError::Name),
    }
}

struct Fields<'a> {
    kind: u8,
    body: &'a [u8],
}

impl Fields<'_> {
    fn get<const N: usize>(&self, at: usize) -> Result<[u8; N], ControlError> {
        let field = self.body.get(at..).and_then(|rest| rest.first_chunk());
        field.copied().ok_or(ControlError { kind: self.kind, length: self.body.len(), needed: at + N })
    }

    fn u32(&self, at: usize) -> Result<u32, ControlError> {
        self.get(at).map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example_controls() -> Vec<Control> {
        let mut all = vec![
            Control::SetChunkSize(1),
            Control::Abort(2),
            Control::Acknowledgement(3),
            Control::WindowAckSize(4),
            Control::User(UserControl::SetBufferLength { stream: 1, ms: 3000 }),
        ];
        for limit in [BandwidthLimit::Hard, BandwidthLimit::Soft, BandwidthLimit::Dynamic] {
            all.push(Control::PeerBandwidth { window: 5, limit });
        }
        let events = [
            UserControl::StreamBegin,
            UserControl::StreamEof,
            UserControl::StreamDry,
            UserControl::StreamIsRecorded,
            UserControl::PingRequest,
            UserControl::PingResponse,
            UserControl::BufferEmpty,
            UserControl::BufferReady,
        ];
        all.extend(events.map(|event| Control::User(event(7))));
        all
    }

    /// CTL-01.
    #[test]
    fn short_control_is_an_error_and_long_control_is_cut() {
        for control in example_controls() {
            let mut body = Vec::new();
            control.encode(&mut body);
            assert_eq!(Control::parse(control.kind(), &body), Ok(Some(control)));
            for missing in 1..body.len() {
                let short = &body[..body.len() - missing];
                assert!(Control::parse(control.kind(), short).is_err(), "{control:?} less {missing}");
            }
            for extra in [1, 100] {
                let long = [&body[..], &vec![0xFF; extra]].concat();
                assert_eq!(Control::parse(control.kind(), &long), Ok(Some(control)));
            }
            assert_eq!(Control::parse(control.kind(), &[]), Ok(None));
        }
    }

    /// CTL-05.
    #[test]
    fn unknown_bandwidth_limits_are_ignored() {
        for limit in 3..=255 {
            assert_eq!(Control::parse(kind::PEER_BANDWIDTH, &[0, 0, 0, 1, limit]), Ok(None));
        }
    }

    /// CTL-06.
    #[test]
    fn unknown_events_are_ignored_even_when_short() {
        for event in [5].into_iter().chain(8..31).chain(33..=65_535_u16) {
            assert_eq!(Control::parse(kind::USER_CONTROL, &event.to_be_bytes()), Ok(None));
        }
        assert!(Control::parse(kind::USER_CONTROL, &[0, 6, 1]).is_err());
    }

    /// AMF-13.
    #[test]
    fn a_command_of_type_17_may_lack_its_leading_zero() {
        let limits = Limits::default();
        let command = Command::call("connect", 1.0, Value::Null, vec!["x".into()]);
        let mut body = Vec::new();
        command.encode(&mut body);
        assert_eq!(Command::parse(kind::COMMAND, &body, &limits), Ok(command.clone()));
        assert_eq!(Command::parse(kind::COMMAND_AMF3, &body, &limits), Ok(command.clone()));
        body.insert(0, 0);
        assert_eq!(Command::parse(kind::COMMAND_AMF3, &body, &limits), Ok(command));
        assert!(Command::parse(kind::COMMAND, &body, &limits).is_err());
    }

    /// AMF-06.
    #[test]
    fn odd_transactions_pass_and_odd_shapes_do_not() {
        let limits = Limits::default();
        for transaction in [f64::NAN, f64::INFINITY, -1.0, 1e308] {
            let mut body = Vec::new();
            Command::call("x", transaction, Value::Null, vec![]).encode(&mut body);
            let parsed = Command::parse(kind::COMMAND, &body, &limits).unwrap();
            assert_eq!(parsed.transaction.to_bits(), transaction.to_bits());
        }
        let mut body = Vec::new();
        amf0::encode_str(&mut body, "closeStream");
        let bare = Command::parse(kind::COMMAND, &body, &limits).unwrap();
        assert_eq!(bare, Command::call("closeStream", 0.0, Value::Null, vec![]));
        amf0::encode_str(&mut body, "7");
        assert_eq!(Command::parse(kind::COMMAND, &body, &limits), Err(CommandError::Transaction));
        assert_eq!(Command::parse(kind::COMMAND, &[], &limits), Err(CommandError::Empty));
        assert_eq!(Data::parse(kind::DATA, &[5], &limits), Err(CommandError::Name));
    }

    #[test]
    fn a_status_is_an_object_with_level_code_and_description_first() {
        let status = Status::error("NetConnection.Connect.Rejected", "no").with("clientid", 1.0);
        let Command { args, .. } = Command::on_status(status);
        let keys: Vec<_> = args[0].members().unwrap().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["level", "code", "description", "clientid"]);
        assert_eq!(args[0].get("level").unwrap().as_str(), Some("error"));
    }

    #[test]
    fn data_round_trips() {
        let data = Data { name: "@setDataFrame".into(), args: vec!["onMetaData".into(), Value::Null] };
        let mut body = Vec::new();
        data.encode(&mut body);
        assert_eq!(Data::parse(kind::DATA, &body, &Limits::default()), Ok(data));
    }
}
