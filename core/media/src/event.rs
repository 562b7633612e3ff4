//! What an endpoint tells the server, and what the server orders from an endpoint.

use std::{fmt, net::IpAddr, time::Duration};

use crate::{
    BandwidthPlan, BandwidthReport, Became, Declared, Format, Frame, MakeEncoder, SharedNews, SharedRequest,
    Slice, TunnelCall, Value, Via,
};

/// Names a request of a peer until it is answered; unique within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

/// A message stream of a connection (RTMP `createStream`); one publish or one play at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamSlot(pub u32);

/// What a peer said of itself when it asked to connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectInfo {
    /// The application as it was sent: with instance and query string.
    pub app: String,
    /// `tcUrl` as it was sent; empty where it is missing.
    pub tc_url: String,
    /// `flashVer`: what the peer calls itself.
    pub agent: String,
    /// `swfUrl`.
    pub swf_url: String,
    /// `pageUrl`.
    pub page_url: String,
    /// What it has declared of Enhanced RTMP.
    pub declared: Declared,
    /// All members of the command object, these included.
    pub members: Vec<(String, Value)>,
    /// What followed the command object.
    pub args: Vec<Value>,
}

/// How a publisher wants its stream treated (RTMP publish type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishKind {
    /// Relayed, not kept.
    Live,
    /// Relayed and recorded from the start.
    Record,
    /// Relayed and recorded behind what is there.
    Append,
}

/// What an endpoint tells the server. Events are queued and drained after `on_data`, never called back.
#[derive(Debug)]
pub enum Event {
    /// The peer asks for an application. The chain is paused until this is answered.
    Connect {
        /// To be answered by [`Command::AnswerConnect`].
        request: RequestId,
        /// What the peer said.
        info: Box<ConnectInfo>,
    },
    /// The peer asks to publish.
    Publish {
        /// To be answered by [`Command::AnswerPublish`].
        request: RequestId,
        /// On which message stream.
        slot: StreamSlot,
        /// The name as it was sent, with query string.
        name: String,
        /// What to do with it.
        kind: PublishKind,
        /// Where the stream has been before, as far as it is known.
        via: Via,
    },
    /// The peer asks to play.
    Play(PlayRequest),
    /// A command that the protocol does not know; the application may answer.
    Message {
        /// To be answered by [`Command::AnswerMessage`]; none where the peer wants no answer.
        request: Option<RequestId>,
        /// On which message stream; 0 for the connection itself.
        slot: StreamSlot,
        /// The name of the command.
        command: String,
        /// Its arguments, the command object first.
        args: Vec<Value>,
    },
    /// The peer has answered [`Command::Call`], or never will; comes exactly once for each call that wants a result,
    /// unless the connection ends first.
    CallResult {
        /// The ticket of the call.
        ticket: u64,
        /// What became of it.
        outcome: CallOutcome,
        /// What the peer sent; for RTMP the command object first, also where it is null.
        args: Vec<Value>,
    },
    /// Media of an accepted publish; its `dts` is that of the publisher's clock, unwrapped.
    Frame {
        /// The publishing message stream.
        slot: StreamSlot,
        /// The frame, not yet on the stream's own timeline.
        frame: Frame,
    },
    /// A publisher has described its stream; the frame with the same words follows.
    Metadata {
        /// The publishing message stream.
        slot: StreamSlot,
        /// The members of `onMetaData`.
        values: Vec<(String, Value)>,
    },
    /// The peer ended its publish.
    Unpublish {
        /// On which message stream.
        slot: StreamSlot,
    },
    /// The peer ended its play.
    Unplay {
        /// On which message stream.
        slot: StreamSlot,
    },
    /// The player pauses or goes on.
    Pause {
        /// On which message stream.
        slot: StreamSlot,
        /// Whether it pauses.
        paused: bool,
    },
    /// The player switches audio or video on or off.
    Receive {
        /// On which message stream.
        slot: StreamSlot,
        /// Audio wanted, where it was said.
        audio: Option<bool>,
        /// Video wanted, where it was said.
        video: Option<bool>,
    },
    /// The far end of a connection that we have made asks us to connect again; it serves on until we leave.
    Reconnect {
        /// Where, absolute or relative to where we have connected; none: where we have connected.
        url: Option<String>,
    },
    /// The peer answered a ping.
    Pong {
        /// Round trip time in ms.
        rtt_ms: u32,
    },
    /// What the connection is, where several chains share a port. The chain is paused until the server has seen that
    /// ([`Chain::resume`](crate::Chain::resume)).
    Became(Box<Became>),
    /// The connection carries others, and a request of one of them has come.
    Tunnel {
        /// To be answered by [`Command::AnswerTunnel`], once.
        request: RequestId,
        /// What it wants.
        call: Box<TunnelCall>,
    },
    /// The peer wants something of a shared object; answered by [`Command::Shared`], where there is something to say.
    Shared(Box<SharedRequest>),
    /// The peer asks for a test of the way to it, where the application offers that ([`Command::Tune`]).
    CheckBandwidth {
        /// To be answered by [`Command::AnswerMessage`]; none where the peer wants no answer.
        request: Option<RequestId>,
    },
    /// A test of the way to the peer has ended.
    BandwidthTested(Box<BandwidthReport>),
    /// Something was skipped that a healthy peer does not send; counted, not logged each time.
    Skipped(Skipped),
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// `_result`.
    Result,
    /// `_error`.
    Error,
    /// No answer came in time.
    Timeout,
    /// The endpoint could not send it: its protocol has no calls, or too many are open.
    Refused,
}

/// A player's request.
#[derive(Debug)]
pub struct PlayRequest {
    /// To be answered by [`Command::AnswerPlay`].
    pub request: RequestId,
    /// On which message stream.
    pub slot: StreamSlot,
    /// The name as it was sent, with query string.
    pub name: String,
    /// Where to start in ms; −2000: live, else recorded; −1000: live only; from 0 on: recorded.
    pub start_ms: i64,
    /// How long to play in ms; negative: to the end.
    pub duration_ms: i64,
    /// The format in which the endpoint wants its packets.
    pub format: Format,
    /// Makes the encoder for that format.
    pub encoder: MakeEncoder,
    /// Where in the stream it starts.
    pub join: Join,
}

/// Where in a stream a play starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// As `startPolicy` says: somebody watches it.
    #[default]
    Policy,
    /// At the newest key frame, with every frame from there and the times that it has: it is passed on.
    Newest,
    /// At the next key frame: it is passed on, and what came before has been.
    Next,
}

/// A stream of the far end that becomes one of ours ([`Command::Pull`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Names the pull in [`Event::CallResult`], which comes once: when the stream has been accepted here, which is when
    /// its first media come, or when that has become impossible. Its arguments are the message stream and the status.
    /// The end of an accepted one is an [`Event::Unpublish`].
    pub ticket: u64,
    /// The name at the far end, with query string.
    pub name: String,
    /// The name that it is published under here.
    pub local: String,
    /// Where to start in ms, as in [`PlayRequest::start_ms`].
    pub start_ms: i64,
    /// How long to play in ms; negative: to the end.
    pub duration_ms: i64,
    /// Whether it takes over from whoever publishes the stream here: from the same stream by another way.
    pub takes_over: bool,
}

/// A stream of ours that is published at the far end ([`Command::Push`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Names the push in [`Event::CallResult`], which comes once: when the far end has accepted it and the stream is
    /// on its way, or when that has become impossible. Its arguments are the message stream and the status. The end of
    /// an accepted one is an [`Event::Unplay`].
    pub ticket: u64,
    /// The name here.
    pub local: String,
    /// The name at the far end, with query string.
    pub name: String,
    /// How the far end is to treat it.
    pub kind: PublishKind,
    /// Where the stream has been, this server included.
    pub via: Via,
    /// Whether the far end has had this stream a moment ago: it is sent nothing again.
    pub again: bool,
}

/// What was skipped; each kind has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// A message of a type that the protocol does not know.
    UnknownMessage,
    /// Media on a message stream that does not publish.
    StrayMedia,
    /// Media whose tag header is broken.
    BadTag,
    /// A sub-message of an aggregate that is broken.
    BadAggregate,
    /// A command that makes no sense now, or whose arguments are of the wrong type.
    BadCommand,
    /// Metadata that could not be used.
    BadMetadata,
}

/// The server's answer to a connect, publish or play.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Yes.
    Accept,
    /// No.
    Reject {
        /// The status code that the peer is told, for example `NetStream.Publish.BadName`.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// Not here: the peer is told to go to another URL.
    Redirect {
        /// That URL.
        url: String,
    },
}

/// An order from the server to an endpoint.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::Connect`].
    AnswerConnect {
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// Answers [`Event::Publish`].
    AnswerPublish {
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// Answers [`Event::Play`].
    AnswerPlay {
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// Answers [`Event::Message`].
    AnswerMessage {
        /// Which request.
        request: RequestId,
        /// What the application returns, or code and text of its refusal.
        result: Result<Value, (String, String)>,
    },
    /// Answers [`Event::Message`] with several values, for protocols whose answers have them; the others take
    /// [`Command::in_one_value`].
    AnswerValues {
        /// Which request.
        request: RequestId,
        /// Whether it is a result, not an error.
        ok: bool,
        /// The values; for RTMP the command object first.
        args: Vec<Value>,
    },
    /// Answers [`Event::Tunnel`].
    AnswerTunnel {
        /// Which request.
        request: RequestId,
        /// The status of the response, as HTTP has them.
        status: u16,
        /// The body of the response.
        body: Slice,
    },
    /// Calls a command of the peer. An endpoint that is a client takes the first `connect` for its own, and adds what
    /// is missing in the command object.
    Call {
        /// Names the call in [`Event::CallResult`]; none where nobody wants a result.
        ticket: Option<u64>,
        /// The name of the command.
        command: String,
        /// Its arguments, the command object first.
        args: Vec<Value>,
    },
    /// Fetches a stream of the far end; for endpoints that are clients.
    Pull(Box<Pull>),
    /// Brings a stream to the far end; for endpoints that are clients.
    Push(Box<Push>),
    /// Gives up a pull or push that has not been settled; its result comes at once. Nothing where it has been.
    Withdraw {
        /// Its ticket.
        ticket: u64,
    },
    /// Where the stream that is played has been, this server included. It is told to peers that care.
    Via {
        /// The playing message stream.
        slot: StreamSlot,
        /// Where.
        via: Via,
    },
    /// Asks the peer to connect again, here or elsewhere; nothing where it has not declared that it follows such requests.
    /// It is served as before until it leaves.
    Reconnect {
        /// Where, absolute or relative to where it has connected; none: where it has connected.
        url: Option<String>,
        /// Why, in words.
        text: String,
    },
    /// News of a shared object, for endpoints whose protocol has any.
    Shared(SharedNews),
    /// Settings of the application that has taken the connection; comes before its connect is answered.
    Tune {
        /// How often the peer is pinged whether or not it is silent; none: as the limits say.
        ping_interval: Option<Duration>,
        /// Bytes of one command or description (`onMetaData`) from now on; none: as the limits say.
        command_bytes: Option<usize>,
        /// Whether the peer may ask for tests of the way to it.
        check_bandwidth: bool,
        /// The server's address, for a peer that is there for a test and shows whom it was made with; none: it is not told.
        server_ip: Option<IpAddr>,
    },
    /// Measures the way to the peer; [`Event::BandwidthTested`] comes once, unless the connection ends first. Nothing
    /// where the protocol has no such test, or one is running.
    TestBandwidth(Box<BandwidthPlan>),
    /// The stream that a player waits for, or waits for again, has a publisher now.
    SourceStarted {
        /// The playing message stream.
        slot: StreamSlot,
    },
    /// The stream that is played has ended; the play ends with it.
    SourceEnded {
        /// The playing message stream.
        slot: StreamSlot,
    },
    /// The stream that a player waited for never came; the play ends.
    SourceMissing {
        /// The playing message stream.
        slot: StreamSlot,
        /// The name, for the message.
        name: String,
    },
    /// The server ends a play, for example because an operator wants it.
    StopPlay {
        /// The playing message stream.
        slot: StreamSlot,
        /// The status code that the peer is told.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// The server ends a publish, for example because another publisher took over.
    StopPublish {
        /// The publishing message stream.
        slot: StreamSlot,
        /// The status code that the peer is told.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// The server closes the connection; the peer is told where the protocol can say it.
    Close {
        /// The status code, for example `NetConnection.Connect.Closed`.
        code: String,
        /// Why, in words.
        text: String,
    },
}

impl Command {
    /// The ticket of an order that owes an [`Event::CallResult`]. An endpoint that cannot do such a thing says
    /// [`CallOutcome::Refused`].
    pub fn ticket(&self) -> Option<u64> {
        match self {
            Self::Call { ticket, .. } => *ticket,
            Self::Pull(pull) => Some(pull.ticket),
            Self::Push(push) => Some(push.ticket),
            _ => None,
        }
    }

    /// The same order for an endpoint whose answers are one value: several become a list.
    #[must_use]
    pub fn in_one_value(self) -> Self {
        match self {
            Self::AnswerValues { request, ok: true, args } => {
                Self::AnswerMessage { request, result: Ok(Value::StrictArray(args)) }
            }
            Self::AnswerValues { request, ok: false, args } => {
                let text =
                    args.iter().find_map(|value| value.as_str().or(value.get("description")?.as_str()));
                let text = text.unwrap_or("the application has answered with an error").to_owned();
                Self::AnswerMessage { request, result: Err((String::new(), text)) }
            }
            other => other,
        }
    }
}

/// Why a layer ends its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Whose fault it is.
    pub fault: Fault,
    /// The protocol that found it.
    pub protocol: &'static str,
    /// The place and the rule that was broken, in words; holds no payload.
    pub rule: String,
}

/// Whose fault an error is; decides how loudly it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer broke a rule or a limit.
    Peer,
    /// The peer was silent for too long.
    Timeout,
    /// We did.
    Ours,
}

impl Error {
    /// The peer broke `rule` of `protocol`.
    pub fn peer(protocol: &'static str, rule: impl fmt::Display) -> Self {
        Self { fault: Fault::Peer, protocol, rule: rule.to_string() }
    }

    /// The peer let the time for `rule` pass.
    pub fn timeout(protocol: &'static str, rule: impl fmt::Display) -> Self {
        Self { fault: Fault::Timeout, protocol, rule: rule.to_string() }
    }

    /// We broke `rule`.
    pub fn ours(protocol: &'static str, rule: impl fmt::Display) -> Self {
        Self { fault: Fault::Ours, protocol, rule: rule.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.protocol, self.rule)
    }
}

impl std::error::Error for Error {}
