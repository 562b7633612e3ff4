//! What our own side orders.

use crtmp_media::{Answer, CallOutcome, Command as Order, Cx, Error, Value};

use super::{ClientSession, Connect, result};
use crate::{
    message::Status,
    session::{Pending, Phase, Side, SlotState},
};

impl ClientSession {
    /// Takes an order.
    ///
    /// # Errors
    ///
    /// As for [`Self::on_data`]: an answer may set free what the server sent before it.
    pub fn on_order(&mut self, order: Order, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.core.phase == Phase::Closed {
            if let Some(ticket) = order.ticket() {
                result(Some(ticket), CallOutcome::Refused, Vec::new(), cx);
            }
            return Ok(());
        }
        match order {
            Order::Call { ticket, command, args } => self.call(ticket, &command, args, cx),
            Order::Pull(pull) if self.may_link() => self.pull(pull, cx),
            Order::Push(push) if self.may_link() => self.push(push, cx),
            Order::Pull(_) | Order::Push(_) => {
                result(order.ticket(), CallOutcome::Refused, Vec::new(), cx);
            }
            Order::Withdraw { ticket } => {
                if let Some(stream) = self.withdraw(ticket, cx) {
                    return self.release(stream, cx);
                }
            }
            Order::AnswerPublish { request, answer } => {
                if let Some(&Pending::Publish { slot }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    match refusal(answer, "NetStream.Publish.BadName") {
                        None => self.accept_pull(slot, cx),
                        Some(status) => self.refuse_link(slot, status, cx),
                    }
                    return self.release(slot, cx);
                }
            }
            Order::AnswerPlay { request, answer } => {
                if let Some(&Pending::Play { slot, .. }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    match refusal(answer, "NetStream.Play.Failed") {
                        None => self.accept_push(slot, cx),
                        Some(status) => self.refuse_link(slot, status, cx),
                    }
                    return self.release(slot, cx);
                }
            }
            Order::AnswerMessage { request, result } => {
                if let Some(&Pending::Message { slot, transaction }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    self.core.answer_message(slot, transaction, result, cx);
                }
            }
            Order::AnswerValues { request, ok, args } => {
                if let Some(&Pending::Message { slot, transaction }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    self.core.answer_values(slot, transaction, ok, args, cx);
                }
            }
            Order::Tune { ping_interval, command_bytes, .. } => {
                self.core.clock.tune(ping_interval);
                self.core.command_bytes = command_bytes;
            }
            Order::StopPublish { slot, code, text } | Order::StopPlay { slot, code, text } => {
                // Whoever orders it knows.
                self.core.set(slot.0, SlotState::Idle, cx);
                self.end_link(slot.0, Status::error(code, text).into(), cx);
                return self.release(slot.0, cx);
            }
            Order::SourceEnded { slot } => {
                let ended = Status::new("NetStream.Unpublish.Success", "The stream has ended here.");
                self.core.set(slot.0, SlotState::Idle, cx);
                self.end_link(slot.0, ended.into(), cx);
            }
            Order::SourceMissing { slot, name } => {
                let text = format!("Nobody has published the stream {name:?} here.");
                let missing = Status::error("NetStream.Play.StreamNotFound", text);
                self.core.set(slot.0, SlotState::Idle, cx);
                self.end_link(slot.0, missing.into(), cx);
            }
            Order::Close { .. } => {
                for stream in self.links_with_streams() {
                    let closed = Status::new("NetConnection.Connect.Closed", "The connection is closed.");
                    self.end_link(stream, closed.into(), cx);
                }
                (self.handshake, self.connect) = (None, None);
                self.core.phase = Phase::Closed;
            }
            // Nobody asks us to accept a connect or for shared objects, and far ends hear of streams by other words.
            Order::AnswerConnect { .. } | Order::SourceStarted { .. } | Order::Shared(_) => {}
            Order::Via { .. } | Order::Reconnect { .. } | Order::TestBandwidth(_) => {}
            // It carries nobody.
            Order::AnswerTunnel { .. } => {}
        }
        Ok(())
    }

    fn call(&mut self, ticket: Option<u64>, command: &str, args: Vec<Value>, cx: &mut Cx<'_>) {
        match self.core.phase {
            Phase::Handshake | Phase::Fresh if command == "connect" && self.connect.is_none() => {
                let connect = Connect { ticket, args };
                if self.core.phase == Phase::Fresh {
                    self.send_connect(connect, cx);
                } else {
                    self.connect = Some(connect);
                }
            }
            // What a connection can do only once.
            Phase::Connected if command != "connect" => self.core.call(ticket, command, args, cx),
            _ => result(ticket, CallOutcome::Refused, Vec::new(), cx),
        }
    }

    fn may_link(&self) -> bool {
        self.core.phase == Phase::Connected && self.has_room()
    }
}

fn refusal(answer: Answer, usual: &'static str) -> Option<Status> {
    match answer {
        Answer::Accept => None,
        Answer::Reject { code, text } => Some(Status::error(code, text)),
        Answer::Redirect { url } => Some(Status::error(usual, format!("Go to {url}."))),
    }
}
