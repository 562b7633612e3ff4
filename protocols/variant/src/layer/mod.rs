//! The endpoints of chains: one question to the application per message, one message back.
//!
//! [`RawVariant`] stands over bytes, [`HttpVariant`] over HTTP. Both ask the application when the connection opens,
//! as there is nothing in the protocols that asks to connect, and wait for each answer before they read on.

mod http;
mod raw;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use crtmp_media::{
    Answer, CallOutcome, Command, ConnectInfo, Cx, Error, Event, Limits, RequestId, StreamSlot, Value,
};

use crate::{Encoding, VariantError};

pub use http::HttpVariant;
pub use raw::RawVariant;

/// What errors of these layers call their protocol.
const PROTOCOL: &str = "variant";

/// The command under which applications are asked about messages.
pub const COMMAND: &str = "variant";

/// The code of an answer that cannot be sent.
const CALL_FAILED: &str = "NetConnection.Call.Failed";

/// What both layers do alike: questions, answers, time.
struct Endpoint {
    encoding: Encoding,
    agent: &'static str,
    limits: Arc<Limits>,
    phase: Phase,
    next: u32,
    /// When the message began that is coming.
    begun: Option<Instant>,
    /// When the last one was answered, or the connection was accepted.
    settled: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not open yet.
    Fresh,
    /// The application is asked whether the peer may connect.
    Connecting(RequestId),
    /// The peer may speak.
    Ready,
    /// The application is asked about a message.
    Asked(RequestId),
    /// Nothing is read any more.
    Closed,
}

impl Endpoint {
    fn new(encoding: Encoding, agent: &'static str, limits: Arc<Limits>, now: Instant) -> Self {
        Self { encoding, agent, limits, phase: Phase::Fresh, next: 0, begun: None, settled: now }
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the peer is to be told something, or what it has sent already may still bring it an answer.
    fn owes(&self) -> bool {
        matches!(self.phase, Phase::Connecting(_) | Phase::Asked(_))
    }

    /// Asks whether the peer may connect.
    fn connect(&mut self, cx: &mut Cx<'_>) {
        let request = self.request();
        self.phase = Phase::Connecting(request);
        let info = ConnectInfo { agent: self.agent.to_owned(), ..ConnectInfo::default() };
        cx.emit(Event::Connect { request, info: Box::new(info) });
        cx.pause();
    }

    /// A message begins to come.
    fn begin(&mut self, cx: &Cx<'_>) {
        self.begun.get_or_insert(cx.now());
    }

    /// A message is whole, and not for the application.
    fn settle(&mut self, cx: &Cx<'_>) {
        self.begun = None;
        self.settled = cx.now();
    }

    /// Asks the application about a message.
    fn message(&mut self, body: &[u8], cx: &mut Cx<'_>) -> Result<(), VariantError> {
        self.settle(cx);
        let value = self.encoding.decode(body, &self.limits)?;
        let request = self.request();
        self.phase = Phase::Asked(request);
        let (slot, command) = (StreamSlot(0), COMMAND.to_owned());
        cx.emit(Event::Message { request: Some(request), slot, command, args: vec![value] });
        cx.pause();
        Ok(())
    }

    /// Takes an order; gives the message that is to be sent.
    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        match command.in_one_value() {
            Command::AnswerConnect { request, answer } if self.phase == Phase::Connecting(request) => {
                match answer {
                    Answer::Accept => self.go_on(cx),
                    Answer::Reject { code, text } => {
                        self.refuse(format!("the connect was refused: {code} {text}"), cx);
                    }
                    // The protocols have no word for it.
                    Answer::Redirect { url } => {
                        self.refuse(format!("the connect was refused: the peer should go to {url}"), cx);
                    }
                }
                None
            }
            Command::AnswerMessage { request, result } if self.phase == Phase::Asked(request) => {
                self.go_on(cx);
                Some(self.answer(result))
            }
            Command::Close { code, text } if !self.is_closed() => {
                let asked = matches!(self.phase, Phase::Asked(_));
                let reason = format!("closed by the server: {code} {text}");
                self.refuse(reason, cx);
                // Who waits for an answer gets one.
                asked.then(|| self.answer(Err((code, text))))
            }
            // There is no way to ask the peer something.
            other => {
                if let Some(ticket) = other.ticket() {
                    cx.emit(Event::CallResult { ticket, outcome: CallOutcome::Refused, args: Vec::new() });
                }
                None
            }
        }
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Ready;
        self.settled = cx.now();
        cx.resume();
    }

    fn refuse(&mut self, reason: String, cx: &mut Cx<'_>) {
        self.phase = Phase::Closed;
        cx.resume();
        cx.close(Error::peer(PROTOCOL, reason));
    }

    fn answer(&self, result: Result<Value, (String, String)>) -> Vec<u8> {
        let value = result.unwrap_or_else(|(code, text)| failure(code, text));
        self.encoding.encode(&value, &self.limits).unwrap_or_else(|error| {
            let text = format!("the answer of the application cannot be sent: {error}");
            let value = failure(CALL_FAILED.to_owned(), text);
            // The smallest limits have room for it.
            self.encoding.encode(&value, &self.limits).unwrap_or_default()
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.phase != Phase::Ready {
            // The application has its own time to answer.
            return None;
        }
        match self.begun {
            Some(begun) => begun.checked_add(self.limits.http_idle.get()),
            None => self.settled.checked_add(self.limits.peer_idle.get()),
        }
    }

    fn on_timeout(&mut self, cx: &Cx<'_>) -> Result<(), Error> {
        let now = cx.now();
        if self.poll_timeout().is_none_or(|at| at > now) {
            return Ok(());
        }
        // While nothing is read, silence says nothing about the peer.
        if cx.is_unread() {
            self.settled = now;
            self.begun = self.begun.map(|_| now);
            return Ok(());
        }
        let (what, limit, time) = match self.begun {
            Some(_) => ("no whole message", "httpIdle", self.limits.http_idle),
            None => ("the peer is silent: no message", "peerIdle", self.limits.peer_idle),
        };
        let seconds = time.get().as_secs_f64();
        Err(Error::timeout(PROTOCOL, format!("{what} within {limit} = {seconds} s")))
    }

    fn request(&mut self) -> RequestId {
        let request = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        request
    }
}

fn failure(code: String, text: String) -> Value {
    Value::Object(vec![("code".to_owned(), code.into()), ("description".to_owned(), text.into())])
}
