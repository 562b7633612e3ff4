//! What an upstream does, and when.

use std::sync::Arc;

use crate::wire::{Message, amf};

/// When something is done. The most special moment of a script that fits counts, and only that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A connection has been accepted.
    Accepted,
    /// C0 and C1 have come.
    Hello,
    /// C2 has come.
    Shaken,
    /// A command of this name has come.
    Command(&'static str),
    /// A command of this name has come whose stream has this name: `publish` or `play`.
    Stream(&'static str, &'static str),
    /// So many messages with audio, video or data have come on this connection.
    Media(u32),
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    /// What a good server says at this moment.
    Answer,
    /// A message, as it is.
    Send(Message),
    /// Bytes, as they are.
    Raw(Vec<u8>),
    /// The same bytes again and again until the connection ends. What follows in the list is never done.
    Endless(Vec<u8>),
    /// Announces a size of chunks and uses it.
    ChunkSize(u32),
    /// Answers the command with `_error` of this code.
    Error(&'static str),
    /// Answers the command with `_error` of a code and a description, such as the question who somebody is.
    Refuse(&'static str, String),
    /// Answers `connect` with `_error` that sends the client to another address.
    Redirect(String),
    /// Answers with `_result`, whose only value, behind a null, is this: the number of the stream for `createStream`.
    Result(Vec<u8>),
    /// `_result` to a transaction that may be unknown.
    ResultTo(f64),
    /// A status with a level and a code, on the message stream of the command, or on the one that was made last.
    Status(&'static str, &'static str),
    /// A user control event for that message stream: 0 begins a stream, 1 ends it.
    Event(u16),
    /// Sends these messages on that message stream.
    Serve(Arc<[Message]>, Pace),
    /// Says that nothing more will be sent, and still reads.
    Finish,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Says nothing any more, whatever comes, and still reads.
    Silence,
    /// Reads nothing any more, and so does not notice either that the client goes.
    Deafness,
}

/// How fast messages are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As their times say.
    Real,
    /// As fast as they are taken.
    AtOnce,
}

/// How what has come is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// By the sum of all bytes, as it should be.
    Totals,
    /// By the bytes since the acknowledgement before.
    Increments,
    /// Not at all.
    Never,
    /// By the sum, and by half of it, in turn.
    Backwards,
    /// By more than has come.
    Beyond,
}

/// What an upstream does with a connection. The default is a good server that has no streams.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) acts: Vec<(Moment, Vec<Act>)>,
    pub(super) first_stream: u32,
    pub(super) acknowledge: Acknowledge,
    pub(super) every: Option<u32>,
    pub(super) pongs: bool,
}

impl Default for Script {
    fn default() -> Self {
        let acknowledge = Acknowledge::Totals;
        Self { acts: Vec::new(), first_stream: 1, acknowledge, every: None, pongs: true }
    }
}

impl Script {
    /// A good server.
    pub fn new() -> Self {
        Self::default()
    }

    /// A good server that has these messages as each stream that anybody plays, in real time, and leaves then as a
    /// server does whose publisher has left.
    pub fn serving(messages: impl Into<Arc<[Message]>>) -> Self {
        Self::new().on(
            Moment::Command("play"),
            [
                Act::Answer,
                Act::Serve(messages.into(), Pace::Real),
                Act::Event(1),
                Act::Status("status", "NetStream.Play.UnpublishNotify"),
            ],
        )
    }

    /// Does this at a moment, instead of what a good server does: [`Act::Answer`] is that.
    #[must_use]
    pub fn on(mut self, moment: Moment, acts: impl Into<Vec<Act>>) -> Self {
        self.acts.push((moment, acts.into()));
        self
    }

    /// [`on`](Self::on) a command.
    #[must_use]
    pub fn at(self, command: &'static str, acts: impl Into<Vec<Act>>) -> Self {
        self.on(Moment::Command(command), acts)
    }

    /// Numbers its message streams from here on; from 1 otherwise.
    #[must_use]
    pub fn streams_from(mut self, first: u32) -> Self {
        self.first_stream = first;
        self
    }

    /// How it acknowledges what has come, after each `every` bytes; as the client has said, or else after 2500000, if
    /// this is `None`.
    #[must_use]
    pub fn acknowledges(mut self, how: Acknowledge, every: Option<u32>) -> Self {
        (self.acknowledge, self.every) = (how, every);
        self
    }

    /// Does not answer pings.
    #[must_use]
    pub fn without_pongs(mut self) -> Self {
        self.pongs = false;
        self
    }

    /// What is done at a moment that is no command.
    pub(super) fn acts_at(&self, moment: Moment) -> Option<&[Act]> {
        self.acts.iter().find(|(other, _)| *other == moment).map(|(_, acts)| &acts[..])
    }

    /// What is done when a command comes, perhaps with the name of a stream.
    pub(super) fn acts_for(&self, name: &str, stream: Option<&str>) -> Option<&[Act]> {
        let special = self.acts.iter().find(|(moment, _)| {
            matches!(moment, Moment::Stream(command, of) if *command == name && Some(*of) == stream)
        });
        let general = || {
            let fits = |moment: &Moment| matches!(moment, Moment::Command(command) if *command == name);
            self.acts.iter().find(|(moment, _)| fits(moment))
        };
        special.or_else(general).map(|(_, acts)| &acts[..])
    }
}

/// A control message: its type, and what it holds.
pub fn control(kind: u8, payload: &[u8]) -> Message {
    Message { chunk_stream: 2, kind, payload: payload.to_vec(), ..Message::default() }
}

/// What a status or an `_error` says.
pub(super) fn information(level: &str, code: &str, more: &[(&str, Vec<u8>)]) -> Vec<u8> {
    described(level, code, "as the script says", more)
}

/// [`information`] with a description.
pub(super) fn described(level: &str, code: &str, description: &str, more: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut properties = vec![
        ("level", amf::string(level)),
        ("code", amf::string(code)),
        ("description", amf::string(description)),
    ];
    properties.extend_from_slice(more);
    amf::object(&properties)
}
