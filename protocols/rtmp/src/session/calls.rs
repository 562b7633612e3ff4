//! Calls of the server: commands that the peer is asked to answer.
//!
//! Answers are read as long as the chain is not paused. Before `connect` is answered it is, so calls are refused until
//! then. Afterwards it pauses only while more than `heldBytes` wait for a verdict: should the application keep that
//! verdict back until its call is answered, `callTimeout` ends the wait, for it counts while nothing is read, too.

use std::{collections::BTreeMap, time::Instant};

use crtmp_media::{CallOutcome, Cx, Event, Value};

use super::{COMMAND_CSID, Phase, ServerSession};
use crate::{
    chunk::{MAX_MESSAGE, Message},
    message::{Command, kind},
};

/// The first transaction of ours: 0 asks for no answer, and 1 is what peers take for their connect.
const FIRST: u64 = 2;

/// Calls that wait for the peer's answer.
///
/// They are in order of their transactions, and thereby of their age, since no transaction comes twice: a million calls
/// a second need 285 years to reach 2⁵³, where a number of AMF0 would stop being exact.
#[derive(Debug)]
pub(super) struct Calls {
    open: BTreeMap<u64, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    ticket: u64,
    sent: Instant,
}

impl Calls {
    pub(super) const fn new() -> Self {
        Self { open: BTreeMap::new(), next: FIRST }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the oldest call was sent.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, call)| call.sent)
    }

    /// Whether this is the answer to an open call.
    pub(super) fn wait_for(&self, command: &Command) -> bool {
        outcome(&command.name).is_some() && self.open.contains_key(&whole(command.transaction))
    }
}

impl ServerSession {
    /// Calls `name` of the peer; `args` begin with the command object.
    pub(super) fn call(&mut self, ticket: Option<u64>, name: &str, args: Vec<Value>, cx: &mut Cx<'_>) {
        let limit = self.settings.limits.open_calls;
        let free = ticket.is_none() || self.calls.open.len() < limit;
        let transaction = if ticket.is_some() { self.calls.next } else { 0 };
        let sent = self.phase == Phase::Connected && free && self.send_call(transaction, name, args, cx);
        match ticket {
            Some(ticket) if sent => {
                self.calls.next += 1;
                self.calls.open.insert(transaction, Open { ticket, sent: cx.now() });
            }
            Some(ticket) => {
                let outcome = CallOutcome::Refused;
                cx.emit(Event::CallResult { ticket, outcome, args: Vec::new() });
            }
            None => {}
        }
    }

    /// Takes the peer's answer to an open call.
    pub(super) fn on_answer(&mut self, command: Command, cx: &mut Cx<'_>) {
        let Command { name, transaction, object, mut args } = command;
        let Some(outcome) = outcome(&name) else { return };
        let Some(Open { ticket, .. }) = self.calls.open.remove(&whole(transaction)) else { return };
        self.clock.commanded(cx.now());
        args.insert(0, object);
        cx.emit(Event::CallResult { ticket, outcome, args });
    }

    /// Gives up the calls that have waited for too long.
    pub(super) fn give_up_calls(&mut self, now: Instant, cx: &mut Cx<'_>) {
        let patience = self.settings.limits.call_timeout.get();
        while let Some(oldest) = self.calls.open.first_entry()
            && now.saturating_duration_since(oldest.get().sent) >= patience
        {
            let Open { ticket, .. } = oldest.remove();
            self.clock.commanded(now);
            cx.emit(Event::CallResult { ticket, outcome: CallOutcome::Timeout, args: Vec::new() });
        }
    }

    /// Returns whether a message could hold the call.
    fn send_call(&mut self, transaction: u64, name: &str, args: Vec<Value>, cx: &mut Cx<'_>) -> bool {
        let mut args = args.into_iter();
        let object = args.next().unwrap_or(Value::Null);
        let mut body = Vec::new();
        Command::call(name, transaction as f64, object, args.collect()).encode(&mut body);
        if body.len() > MAX_MESSAGE {
            return false;
        }
        // Who is called is in use, though it neither publishes nor plays.
        self.clock.commanded(cx.now());
        let body = body.into();
        self.send(Message { csid: COMMAND_CSID, kind: kind::COMMAND, stream: 0, timestamp: 0, body }, cx);
        true
    }
}

fn outcome(name: &str) -> Option<CallOutcome> {
    match name {
        "_result" => Some(CallOutcome::Result),
        "_error" => Some(CallOutcome::Error),
        _ => None,
    }
}

/// The transaction that a peer names; 0, which is none of ours, where it is no whole number that we could have sent.
fn whole(transaction: f64) -> u64 {
    // Saturates at both ends; NaN becomes 0.
    let number = transaction as u64;
    if number as f64 == transaction { number } else { 0 }
}
