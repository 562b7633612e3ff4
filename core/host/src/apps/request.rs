//! What workers and applications say to each other.

use std::sync::Arc;
use std::time::Duration;

use crtmp_plugin::foreign::ConnInfo;
use crtmp_plugin::{self as plugin, Hooks, PlayStart, PublishKind, Reply, Verdict};
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
    /// To connect, as [`Request::conn`] describes.
    Connect,
    /// To publish a stream.
    Publish(PublishInfo),
    /// To play a stream.
    Play(PlayInfo),
    /// Something that the server does not know.
    Message(MessageInfo),
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

/// Something that happened. Never refused, never lost, never answered.
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
    },
    /// A playback that was allowed has ended.
    Unplay {
        /// The connection's message stream.
        stream_id: u32,
        /// Name of the stream.
        name: String,
    },
    /// The connection is gone. Must be told for each connection that the application was asked or told about, and
    /// is the last: what was asked before and not decided gets no answer any more.
    Close,
}

impl NoticeKind {
    /// The hook that it is for.
    pub fn hook(&self) -> Hooks {
        match self {
            Self::Metadata { .. } => Hooks::METADATA,
            Self::Unpublish { .. } => Hooks::UNPUBLISH,
            Self::Unplay { .. } => Hooks::UNPLAY,
            Self::Close => Hooks::CLOSE,
        }
    }
}

/// What an application wants done. Called from its threads: must not block.
pub type Sink = Box<dyn Fn(Effect) + Send + Sync>;

/// One thing that an application wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A request is decided.
    Answer(Answer),
    /// A connection shall be closed; it may be gone already.
    Close {
        /// Which.
        conn: u64,
        /// Status code for the far end.
        code: String,
        /// Reason for the far end.
        text: String,
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
    /// Message: the application does not know it either.
    Unknown,
}

/// The four questions without their details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `RequestKind`")]
pub enum Asked {
    Connect,
    Publish,
    Play,
    Message,
}

impl RequestKind {
    /// Which question it is.
    pub fn asked(&self) -> Asked {
        match self {
            Self::Connect => Asked::Connect,
            Self::Publish(_) => Asked::Publish,
            Self::Play(_) => Asked::Play,
            Self::Message(_) => Asked::Message,
        }
    }
}

impl Asked {
    /// The hook that decides it.
    pub fn hook(self) -> Hooks {
        match self {
            Self::Connect => Hooks::CONNECT,
            Self::Publish => Hooks::PUBLISH,
            Self::Play => Hooks::PLAY,
            Self::Message => Hooks::MESSAGE,
        }
    }

    /// What holds where an application has no such hook.
    pub fn undecided(self) -> Decision {
        match self {
            Self::Connect | Self::Publish | Self::Play => Decision::Accept,
            Self::Message => Decision::Unknown,
        }
    }

    /// A refusal by the server, because the application cannot decide.
    pub fn refusal(self, text: impl Into<String>) -> Decision {
        let code = match self {
            Self::Connect => "NetConnection.Connect.Rejected",
            Self::Publish | Self::Play => "NetStream.Failed",
            Self::Message => return call_failed(&text.into()),
        };
        Decision::Reject { code: code.to_owned(), text: text.into() }
    }

    /// Checks an application's answer; the error says what is wrong with it.
    pub(super) fn decide(self, answer: Option<plugin::Answer>) -> Result<Decision, String> {
        let verdict = match (self, answer) {
            (_, None) => return Err("an answer that cannot be read".to_owned()),
            (Self::Message, Some(plugin::Answer::Reply(reply))) => {
                return Ok(match reply {
                    Reply::Result(value) => Decision::Result(value),
                    Reply::Error(value) => Decision::Error(value),
                    Reply::Ignore => Decision::Unknown,
                    Reply::Later => return Err("`later` as an answer".to_owned()),
                });
            }
            // A client that called something gets a refusal, whichever way the application says no.
            (Self::Message, Some(plugin::Answer::Verdict(Verdict::Reject { text, .. }))) => {
                return Ok(call_failed(&text));
            }
            (Self::Message, Some(plugin::Answer::Verdict(verdict))) => {
                return Err(format!("{verdict:?} to a command"));
            }
            (_, Some(plugin::Answer::Reply(reply))) => return Err(format!("{reply:?} to {self:?}")),
            (_, Some(plugin::Answer::Verdict(verdict))) => verdict,
        };
        match verdict {
            Verdict::Accept => Ok(Decision::Accept),
            Verdict::AcceptAs(name) if self != Self::Connect && !name.is_empty() => {
                Ok(Decision::AcceptAs(name))
            }
            Verdict::HandTo(name) if self == Self::Connect && !name.is_empty() => Ok(Decision::HandTo(name)),
            Verdict::Redirect(url) if !url.is_empty() => Ok(Decision::Redirect(url)),
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
            Self::Connect => "NetConnection.Connect.Rejected",
            Self::Publish => "NetStream.Publish.BadName",
            Self::Play => "NetStream.Play.Failed",
            Self::Message => "NetConnection.Call.Failed",
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
