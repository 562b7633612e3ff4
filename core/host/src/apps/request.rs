//! What workers and applications say to each other.

use std::sync::Arc;
use std::time::Duration;

use crtmp_media::{Frame, MediaKind};
use crtmp_plugin::foreign::ConnInfo;
use crtmp_plugin::{
    self as plugin, Ended, Hooks, NotTaken, PlayStart, Pong, PublishKind, Pull, Push, Reply, Rights, Verdict,
};
use serde_json::{Map, Value, json};

/// A question to an application. Numbers are the asker's own; both come back in the answer.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks. One `Arc` per connection, made from its connect request.
    pub conn: Arc<ConnInfo>,
    /// The number of the request on its connection.
    pub id: u64,
    /// The question.
    pub kind: RequestKind,
}

/// What a connection wants.
#[derive(Clone, Debug)]
pub enum RequestKind {
    /// To stay: a connection of which nothing has been read.
    Accept,
    /// To connect, as [`Request::conn`] describes.
    Connect,
    /// To publish a stream.
    Publish(PublishInfo),
    /// To play a stream.
    Play(PlayInfo),
    /// Something that the server does not know.
    Message(MessageInfo),
    /// Something of a shared object.
    SharedObject(SharedObjectInfo),
    /// A command that the application has added: its name, and JSON text of its parameters. Of no connection.
    Command(String, String),
}

/// A publication that is asked for.
#[derive(Clone, Debug)]
pub struct PublishInfo {
    /// The connection's message stream.
    pub stream_id: u32,
    /// Stream name without its query.
    pub name: String,
    /// What stood behind the question mark.
    pub query: String,
    /// What to keep.
    pub kind: PublishKind,
}

/// A playback that is asked for.
#[derive(Clone, Debug)]
pub struct PlayInfo {
    /// The connection's message stream.
    pub stream_id: u32,
    /// Stream name without its query.
    pub name: String,
    /// What stood behind the question mark.
    pub query: String,
    /// Where to start.
    pub start: PlayStart,
    /// How long; `None`: to the end.
    pub duration: Option<Duration>,
    /// End what plays on this message stream.
    pub reset: bool,
}

/// A command of the far end.
#[derive(Clone, Debug)]
pub struct MessageInfo {
    /// The connection's message stream.
    pub stream_id: u32,
    /// The command.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Value>,
    /// Whether the far end waits for an answer. The request is answered either way.
    pub wants_reply: bool,
}

/// What is wanted of a shared object.
#[derive(Clone, Debug)]
pub struct SharedObjectInfo {
    /// Name of the object, with the instance.
    pub name: String,
    /// Whether it is meant to outlive its clients.
    pub persistent: bool,
    /// What is wanted, in the words of plugins.
    pub wishes: Value,
}

/// Something that happened. Never answered, and never lost where it ends what the application has decided; see the
/// documentation of the module for the others.
#[derive(Clone, Debug)]
pub struct Notice {
    /// To whom.
    pub conn: Arc<ConnInfo>,
    /// What.
    pub kind: NoticeKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum NoticeKind {
    /// A published stream described itself; of several that wait for the application, the last one counts.
    Metadata {
        /// The connection's message stream.
        stream_id: u32,
        /// Name of the stream.
        name: String,
        /// Its description.
        values: Map<String, Value>,
    },
    /// A publication that was allowed has ended.
    Unpublish {
        /// The connection's message stream.
        stream_id: u32,
        /// Name of the stream.
        name: String,
        /// Who ended it.
        why: Ended,
    },
    /// A playback that was allowed has ended.
    Unplay {
        /// The connection's message stream.
        stream_id: u32,
        /// Name of the stream.
        name: String,
        /// Who ended it.
        why: Ended,
    },
    /// The peer has answered a ping; of several that wait, the last one counts.
    Pong(Pong),
    /// A frame that the application has asked for; left out where too many wait.
    Frame {
        /// The connection's message stream.
        stream_id: u32,
        /// Name of the stream.
        name: String,
        /// Frames that were left out before it.
        left_out: u64,
        /// The frame.
        frame: Arc<Frame>,
    },
    /// A stream has come or gone. This and what follows is of no connection.
    Stream {
        /// Who publishes it.
        publisher: u64,
        /// Its name.
        name: String,
        /// Whether it has come.
        live: bool,
    },
    /// A source is published, or was refused or has ended with this text.
    Source {
        /// Which.
        source: u64,
        /// What.
        state: Result<(), String>,
    },
    /// A timer is due.
    Timer(u64),
    /// What has become of a call.
    Result {
        /// Its ticket.
        ticket: u64,
        /// What.
        outcome: CallOutcome,
    },
    /// The connection is gone. Must be told for each connection that the application was asked or told about, and
    /// is the last: what was asked before and not decided gets no answer any more. Where no hook was called for the
    /// connection, it need not be told further.
    Close {
        /// Why, in words.
        reason: String,
    },
}

/// What has become of a call with a ticket.
#[derive(Clone, Debug, PartialEq)]
pub struct CallOutcome {
    /// One of the `RESULT_…` constants of the plugin tables.
    pub status: u32,
    /// The connection that was made, or 0.
    pub connection: u64,
    /// JSON text.
    pub value: String,
    /// The body of an HTTP answer.
    pub body: Vec<u8>,
}

impl CallOutcome {
    /// It has been done, with this JSON text.
    pub fn done(value: String) -> Self {
        Self { status: crtmp_plugin::abi::RESULT_OK, connection: 0, value, body: Vec::new() }
    }

    /// It failed.
    pub fn failed(text: &str) -> Self {
        let value = Value::from(text).to_string();
        Self { status: crtmp_plugin::abi::RESULT_ERROR, connection: 0, value, body: Vec::new() }
    }

    /// No answer came in time.
    pub fn timeout() -> Self {
        Self { status: crtmp_plugin::abi::RESULT_TIMEOUT, ..Self::gone() }
    }

    /// Whom it was for is no more.
    pub fn gone() -> Self {
        Self {
            status: crtmp_plugin::abi::RESULT_GONE,
            connection: 0,
            value: "null".to_owned(),
            body: Vec::new(),
        }
    }
}

impl NoticeKind {
    /// The hook that it is for.
    pub fn hook(&self) -> Hooks {
        match self {
            Self::Metadata { .. } => Hooks::METADATA,
            Self::Unpublish { .. } => Hooks::UNPUBLISH,
            Self::Unplay { .. } => Hooks::UNPLAY,
            Self::Pong(_) => Hooks::PONG,
            Self::Frame { .. } => Hooks::FRAME,
            Self::Stream { .. } => Hooks::STREAM,
            Self::Source { .. } => Hooks::SOURCE,
            Self::Timer(_) => Hooks::TIMER,
            Self::Result { .. } => Hooks::RESULT,
            Self::Close { .. } => Hooks::CLOSE,
        }
    }
}

/// Begins to publish a stream of this name; gives the number of the source.
pub type OpenSource = dyn Fn(&str) -> Option<u64> + Send + Sync;

/// Finds a codec configuration: connection, message stream, kind.
type FindHeader = dyn Fn(u64, u32, MediaKind) -> Option<Frame> + Send + Sync;

/// What an application reaches outside of itself. Called from its threads: must not block.
pub struct Outside {
    /// Does what it wants done.
    pub effect: Box<dyn Fn(Effect) -> Result<(), NotTaken> + Send + Sync>,
    /// The newest codec configuration of what a connection publishes: on this message stream, 0: on any.
    pub header: Box<FindHeader>,
    /// Begins to publish a stream; gives the number of the source.
    pub source: Box<OpenSource>,
    /// Adds a command; the text says why not.
    pub add_command: Box<dyn Fn(Value) -> Result<(), String> + Send + Sync>,
    /// Takes back a command; false: it has none of this name.
    pub remove_command: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// The application has ended or is disabled: what it has opened ends, too. Called once.
    pub ended: Box<dyn Fn() + Send + Sync>,
}

impl Outside {
    /// A server that only hears what is wanted: nothing is there.
    pub fn hearing(effect: impl Fn(Effect) + Send + Sync + 'static) -> Self {
        Self {
            effect: Box::new(move |wanted| {
                effect(wanted);
                Ok(())
            }),
            header: Box::new(|_, _, _| None),
            source: Box::new(|_| None),
            add_command: Box::new(|_| Err("there is no server".to_owned())),
            remove_command: Box::new(|_| false),
            ended: Box::new(|| {}),
        }
    }
}

/// One thing that an application wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A request is decided.
    Answer(Answer),
    /// A command that the application has added is answered: the number of the request, and its result or error.
    Command(u64, Result<Value, String>),
    /// A connection shall be closed; it may be gone already.
    Close {
        /// Which.
        conn: u64,
        /// Status code for the far end.
        code: String,
        /// Reason for the far end.
        text: String,
    },
    /// A command of a peer shall be called.
    Call {
        /// Whose.
        conn: u64,
        /// The command.
        name: String,
        /// Its arguments.
        args: Vec<Value>,
        /// Whom to bring the result to; 0: nobody.
        ticket: u64,
    },
    /// A stream shall be pulled from the far end of a connection.
    Pull {
        /// Which connection.
        conn: u64,
        /// Which stream.
        pull: Pull,
        /// Whom to bring the result to; 0: nobody.
        ticket: u64,
    },
    /// A stream shall be pushed to the far end of a connection.
    Push {
        /// Which connection.
        conn: u64,
        /// Which stream.
        push: Push,
        /// Whom to bring the result to; 0: nobody.
        ticket: u64,
    },
    /// Publications or playbacks of a connection shall end.
    End {
        /// Which.
        conn: u64,
        /// Its message stream; 0: all.
        stream_id: u32,
        /// Publications or playbacks.
        publishes: bool,
        /// Status code for the far end.
        code: String,
        /// Reason for the far end.
        text: String,
    },
    /// The frames that a connection publishes are wanted, or not any more.
    Tap {
        /// Which.
        conn: u64,
        /// On which of its message streams; 0: all.
        stream_id: u32,
        /// Whether.
        on: bool,
    },
    /// A command of the server shall run.
    Run {
        /// The command.
        name: String,
        /// Its parameters.
        params: Map<String, Value>,
        /// What the caller may do.
        rights: Rights,
        /// Whom to bring the reply to; 0: nobody.
        ticket: u64,
        /// The connection whose hook asks for it, and its peer.
        session: Option<(u64, String)>,
    },
    /// A frame of a source: kind, time in ms, body of its FLV tag.
    SourceFrame(u64, MediaKind, i64, Vec<u8>),
    /// A source ends.
    SourceClose(u64),
    /// A connection shall be made.
    Connect {
        /// Host and port.
        address: String,
        /// The chain.
        chain: String,
        /// The keys of its layers.
        keys: Map<String, Value>,
        /// Whom to bring the result to; 0: nobody.
        ticket: u64,
    },
    /// An HTTP request shall be sent.
    Http {
        /// Its head.
        request: Map<String, Value>,
        /// Its body.
        body: Vec<u8>,
        /// Whom to bring the answer to; 0: nobody.
        ticket: u64,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// [`ConnInfo::id`] of the request.
    pub conn: u64,
    /// [`Request::id`].
    pub id: u64,
    /// The decision. Fits the request: see [`Decision`].
    pub decision: Decision,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Connect, publish, play: yes.
    Accept,
    /// Publish, play: yes, under this name, which is not empty.
    AcceptAs(String),
    /// Connect: the application of this name or alias shall decide. The name is not empty.
    HandTo(String),
    /// Connect, publish, play: no.
    Reject {
        /// Status code for the far end, never empty.
        code: String,
        /// Reason for the far end.
        text: String,
    },
    /// Connect, publish, play: ask this address instead. It is not empty.
    Redirect(String),
    /// Message: its result.
    Result(Value),
    /// Message: its error.
    Error(Value),
    /// Message: its result (true) or error, in several values.
    Values(bool, Vec<Value>),
    /// Message: the application does not know it either.
    Unknown,
}

/// The questions without their details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `RequestKind`")]
pub enum Asked {
    Accept,
    Command,
    Connect,
    Publish,
    Play,
    Message,
    SharedObject,
}

impl RequestKind {
    /// Which question it is.
    pub fn asked(&self) -> Asked {
        match self {
            Self::Accept => Asked::Accept,
            Self::Command(..) => Asked::Command,
            Self::Connect => Asked::Connect,
            Self::Publish(_) => Asked::Publish,
            Self::Play(_) => Asked::Play,
            Self::Message(_) => Asked::Message,
            Self::SharedObject(_) => Asked::SharedObject,
        }
    }
}

impl RequestKind {
    /// Whether anybody waits for the answer.
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self, Self::Message(MessageInfo { wants_reply: false, .. }))
    }
}

impl Asked {
    /// The hook that decides it.
    pub fn hook(self) -> Hooks {
        match self {
            Self::Accept => Hooks::ACCEPT,
            Self::Command => Hooks::COMMAND,
            Self::Connect => Hooks::CONNECT,
            Self::Publish => Hooks::PUBLISH,
            Self::Play => Hooks::PLAY,
            Self::Message => Hooks::MESSAGE,
            Self::SharedObject => Hooks::SHARED_OBJECT,
        }
    }

    /// What holds where an application has no such hook.
    pub fn undecided(self) -> Decision {
        match self {
            Self::Accept | Self::Connect | Self::Publish | Self::Play | Self::SharedObject => {
                Decision::Accept
            }
            Self::Message | Self::Command => Decision::Unknown,
        }
    }

    /// A refusal by the server, because the application cannot decide.
    pub fn refusal(self, text: impl Into<String>) -> Decision {
        let code = match self {
            Self::Accept | Self::Connect => "NetConnection.Connect.Rejected",
            Self::Publish | Self::Play => "NetStream.Failed",
            // The worker knows which code it is.
            Self::SharedObject => "",
            Self::Message | Self::Command => return call_failed(&text.into()),
        };
        Decision::Reject { code: code.to_owned(), text: text.into() }
    }

    /// Checks an application's answer; the error says what is wrong with it.
    pub(super) fn decide(self, answer: Option<plugin::Answer>) -> Result<Decision, String> {
        let verdict = match (self, answer) {
            (_, None) => return Err("an answer that cannot be read".to_owned()),
            (Self::Message | Self::Command, Some(plugin::Answer::Reply(reply))) => {
                return Ok(match reply {
                    Reply::Result(value) => Decision::Result(value),
                    Reply::Error(value) => Decision::Error(value),
                    Reply::ResultValues(values) => Decision::Values(true, values),
                    Reply::ErrorValues(values) => Decision::Values(false, values),
                    Reply::Ignore => Decision::Unknown,
                    Reply::Later => return Err("`later` as an answer".to_owned()),
                });
            }
            // A client that called something gets a refusal, whichever way the application says no.
            (Self::Message | Self::Command, Some(plugin::Answer::Verdict(Verdict::Reject { text, .. }))) => {
                return Ok(call_failed(&text));
            }
            (Self::Message | Self::Command, Some(plugin::Answer::Verdict(verdict))) => {
                return Err(format!("{verdict:?} to a command"));
            }
            (_, Some(plugin::Answer::Reply(reply))) => return Err(format!("{reply:?} to {self:?}")),
            (_, Some(plugin::Answer::Verdict(verdict))) => verdict,
        };
        match verdict {
            Verdict::Accept => Ok(Decision::Accept),
            Verdict::AcceptAs(name) if matches!(self, Self::Publish | Self::Play) && !name.is_empty() => {
                Ok(Decision::AcceptAs(name))
            }
            Verdict::HandTo(name) if self == Self::Connect && !name.is_empty() => Ok(Decision::HandTo(name)),
            Verdict::Redirect(url)
                if !matches!(self, Self::Accept | Self::SharedObject) && !url.is_empty() =>
            {
                Ok(Decision::Redirect(url))
            }
            Verdict::Reject { code, text } if code.is_empty() => {
                Ok(Decision::Reject { code: self.usual_code().to_owned(), text })
            }
            Verdict::Reject { code, text } => Ok(Decision::Reject { code, text }),
            other => Err(format!("{other:?} to {self:?}")),
        }
    }

    /// What clients understand when an application says no.
    fn usual_code(self) -> &'static str {
        match self {
            Self::Accept | Self::Connect => "NetConnection.Connect.Rejected",
            Self::Publish => "NetStream.Publish.BadName",
            Self::Play => "NetStream.Play.Failed",
            Self::Message | Self::Command => "NetConnection.Call.Failed",
            // The worker knows which code it is.
            Self::SharedObject => "",
        }
    }
}

fn call_failed(text: &str) -> Decision {
    let code = Asked::Message.usual_code();
    Decision::Error(json!({ "level": "error", "code": code, "description": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_fit_its_question() {
        let hand = || Some(Verdict::hand_to("live").into());
        let other = || Some(Verdict::accept_as("x").into());
        assert_eq!(Asked::Connect.decide(hand()), Ok(Decision::HandTo("live".to_owned())));
        assert!(Asked::Publish.decide(hand()).is_err());
        assert!(Asked::Connect.decide(other()).is_err());
        assert_eq!(Asked::Play.decide(other()), Ok(Decision::AcceptAs("x".to_owned())));
        assert!(Asked::Play.decide(Some(Verdict::accept_as("").into())).is_err());
        assert!(Asked::Play.decide(Some(Reply::Ignore.into())).is_err());
        assert!(Asked::Message.decide(Some(Verdict::Accept.into())).is_err());
        assert!(Asked::Message.decide(None).is_err());
        assert_eq!(Asked::Message.decide(Some(Reply::Ignore.into())), Ok(Decision::Unknown));
    }

    #[test]
    fn a_refusal_without_a_code_gets_the_usual_one() {
        let cases = [
            (Asked::Connect, "NetConnection.Connect.Rejected"),
            (Asked::Publish, "NetStream.Publish.BadName"),
            (Asked::Play, "NetStream.Play.Failed"),
        ];
        for (asked, usual) in cases {
            let decision = asked.decide(Some(Verdict::refuse("no").into()));
            assert_eq!(decision, Ok(Decision::Reject { code: usual.to_owned(), text: "no".to_owned() }));
        }
    }
}
