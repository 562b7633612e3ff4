//! What an application answers.

use serde_json::{Value, json};

use crate::abi;

/// The answer to connect, publish and play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Accept,
    /// Publish, play: yes, but under this stream name.
    AcceptAs(String),
    /// Connect: let the application of this name or alias decide.
    HandTo(String),
    /// No.
    Reject {
        /// Status code for the far end; empty for the usual one (`NetConnection.Connect.Rejected` …).
        code: String,
        /// Reason for the far end.
        text: String,
    },
    /// Ask this address instead.
    Redirect(String),
    /// The answer comes by [`Host::respond`](crate::Host::respond).
    Later,
}

impl Verdict {
    /// A refusal with the usual status code of the request.
    pub fn refuse(text: impl Into<String>) -> Self {
        Self::reject("", text)
    }

    /// A refusal with a status code of your own.
    pub fn reject(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Reject { code: code.into(), text: text.into() }
    }

    /// Yes, under another stream name.
    pub fn accept_as(name: impl Into<String>) -> Self {
        Self::AcceptAs(name.into())
    }

    /// Let another application decide.
    pub fn hand_to(application: impl Into<String>) -> Self {
        Self::HandTo(application.into())
    }

    /// Ask another address.
    pub fn redirect(url: impl Into<String>) -> Self {
        Self::Redirect(url.into())
    }
}

/// The answer to a command of the far end.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `_result` with this value.
    Result(Value),
    /// `_error` with this value.
    Error(Value),
    /// `_result` with several values; for RTMP the command object is the first one.
    ResultValues(Vec<Value>),
    /// `_error` with several values, likewise.
    ErrorValues(Vec<Value>),
    /// This application does not know the command; the server answers as for any unknown one.
    Ignore,
    /// The answer comes by [`Host::respond`](crate::Host::respond).
    Later,
}

impl Reply {
    /// An error in the form that RTMP clients know: level, code, description.
    pub fn error(code: &str, text: &str) -> Self {
        Self::Error(json!({ "level": "error", "code": code, "description": text }))
    }
}

/// Either of the two, as it crosses the border.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To connect, publish, play.
    Verdict(Verdict),
    /// To a command.
    Reply(Reply),
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl Answer {
    /// Lends this answer as a table to `take`; `None` for the two `Later`s, which are not answers.
    pub(crate) fn lend<R>(&self, take: impl FnOnce(&abi::AnswerTable) -> R) -> Option<R> {
        let json;
        let (kind, first, second) = match self {
            Self::Verdict(Verdict::Later) | Self::Reply(Reply::Later) => return None,
            Self::Verdict(Verdict::Accept) => (abi::ANSWER_ACCEPT, "", ""),
            Self::Verdict(Verdict::AcceptAs(name)) => (abi::ANSWER_ACCEPT_AS, name.as_str(), ""),
            Self::Verdict(Verdict::HandTo(name)) => (abi::ANSWER_HAND_TO, name.as_str(), ""),
            Self::Verdict(Verdict::Reject { code, text }) => {
                (abi::ANSWER_REJECT, code.as_str(), text.as_str())
            }
            Self::Verdict(Verdict::Redirect(url)) => (abi::ANSWER_REDIRECT, url.as_str(), ""),
            Self::Reply(Reply::Result(value)) => {
                json = value.to_string();
                (abi::ANSWER_RESULT, json.as_str(), "")
            }
            Self::Reply(Reply::Error(value)) => {
                json = value.to_string();
                (abi::ANSWER_ERROR, json.as_str(), "")
            }
            Self::Reply(Reply::ResultValues(values)) => {
                json = Value::from(values.as_slice()).to_string();
                (abi::ANSWER_RESULT_VALUES, json.as_str(), "")
            }
            Self::Reply(Reply::ErrorValues(values)) => {
                json = Value::from(values.as_slice()).to_string();
                (abi::ANSWER_ERROR_VALUES, json.as_str(), "")
            }
            Self::Reply(Reply::Ignore) => (abi::ANSWER_IGNORE, "", ""),
        };
        Some(take(&abi::AnswerTable {
            size: size_of::<abi::AnswerTable>(),
            kind,
            reserved: 0,
            first: abi::Str::new(first),
            second: abi::Str::new(second),
        }))
    }

    /// Reads what a plugin gave; `None` if it makes no sense.
    pub(crate) fn read(kind: u32, first: &[u8], second: &[u8]) -> Option<Self> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(match kind {
            abi::ANSWER_ACCEPT => Verdict::Accept.into(),
            abi::ANSWER_ACCEPT_AS => Verdict::AcceptAs(text(first)).into(),
            abi::ANSWER_HAND_TO => Verdict::HandTo(text(first)).into(),
            abi::ANSWER_REJECT => Verdict::Reject { code: text(first), text: text(second) }.into(),
            abi::ANSWER_REDIRECT => Verdict::Redirect(text(first)).into(),
            abi::ANSWER_RESULT => Reply::Result(serde_json::from_slice(first).ok()?).into(),
            abi::ANSWER_ERROR => Reply::Error(serde_json::from_slice(first).ok()?).into(),
            abi::ANSWER_RESULT_VALUES => Reply::ResultValues(serde_json::from_slice(first).ok()?).into(),
            abi::ANSWER_ERROR_VALUES => Reply::ErrorValues(serde_json::from_slice(first).ok()?).into(),
            abi::ANSWER_IGNORE => Reply::Ignore.into(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_the_border() {
        let answers: [Answer; 10] = [
            Verdict::Accept.into(),
            Verdict::accept_as("room").into(),
            Verdict::hand_to("live").into(),
            Verdict::reject("NetStream.Play.Failed", "grün").into(),
            Verdict::redirect("rtmp://other/live").into(),
            Reply::Result(json!([1, "two", null])).into(),
            Reply::error("Call.Failed", "no").into(),
            Reply::ResultValues(vec![json!(null), json!(1)]).into(),
            Reply::ErrorValues(vec![json!("x")]).into(),
            Reply::Ignore.into(),
        ];
        for answer in answers {
            let back = answer.lend(|table| {
                // SAFETY: the table lends from `answer`, which lives on.
                let (first, second) = unsafe { (table.first.bytes(), table.second.bytes()) };
                Answer::read(table.kind, first, second)
            });
            assert_eq!(back, Some(Some(answer)));
        }
    }

    #[test]
    fn later_is_not_an_answer() {
        assert!(Answer::from(Verdict::Later).lend(|_| ()).is_none());
        assert!(Answer::from(Reply::Later).lend(|_| ()).is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Answer::read(99, b"", b""), None);
        assert_eq!(Answer::read(abi::ANSWER_RESULT, b"{not json", b""), None);
    }
}
