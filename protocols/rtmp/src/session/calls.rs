//! Calls of the server: commands that the peer is asked to answer.
//!
//! Answers are read as long as the chain is not paused. Before `connect` is answered it is, so calls are refused until
//! then. Afterwards it pauses only while more than `heldBytes` wait for a verdict: should the application keep that
//! verdict back until its call is answered, `callTimeout` ends the wait, for it counts while nothing is read, too.

use std::{collections::BTreeMap, time::Instant};

use crtmp_media::{CallOutcome, Cx, Event, Value};

use super::{COMMAND_CSID, Core, Phase};
use crate::{
    chunk::{MAX_MESSAGE, Message},
    message::Command,
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
    step: Step,
    sent: Instant,
}

/// What the answer to a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The application, which knows it by this ticket.
    Ticket(u64),
    /// A client that wants to be connected, for this ticket.
    Connect(Option<u64>),
    /// A message stream for the link of this number.
    CreateStream(u64),
    /// A test of the way to the peer.
    Bandwidth,
    /// Nobody: it is said because servers wait for it.
    Courtesy,
}

impl Calls {
    pub(super) const fn new() -> Self {
        Self { open: BTreeMap::new(), next: FIRST }
    }

    /// A client's connect is its first call.
    pub(super) const fn of_client() -> Self {
        Self { open: BTreeMap::new(), next: 1 }
    }

    /// Takes the call that an answer is for.
    pub(super) fn answered(&mut self, transaction: f64) -> Option<Step> {
        self.open.remove(&whole(transaction)).map(|open| open.step)
    }

    /// Open calls of the application.
    fn of_application(&self) -> usize {
        self.open.values().filter(|call| matches!(call.step, Step::Ticket(_))).count()
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

impl Core {
    /// Calls `name` of the peer; `args` begin with the command object.
    pub(super) fn call(&mut self, ticket: Option<u64>, name: &str, args: Vec<Value>, cx: &mut Cx<'_>) {
        let limit = self.settings.limits.open_calls;
        let free = ticket.is_none() || self.calls.of_application() < limit;
        let transaction = if ticket.is_some() { self.calls.next } else { 0 };
        let sent = self.phase == Phase::Connected && free && self.send_call(transaction, name, args, cx);
        match ticket {
            Some(ticket) if sent => self.opened(Step::Ticket(ticket), cx),
            Some(ticket) => {
                let outcome = CallOutcome::Refused;
                cx.emit(Event::CallResult { ticket, outcome, args: Vec::new() });
            }
            None => {}
        }
    }

    /// Calls `name` of the peer for the session itself.
    pub(super) fn step(
        &mut self,
        step: Step,
        name: &str,
        object: Value,
        mut args: Vec<Value>,
        cx: &mut Cx<'_>,
    ) {
        args.insert(0, object);
        // What is too long for a message is not sent, and nobody answers it: that ends like any silence.
        self.send_call(self.calls.next, name, args, cx);
        self.opened(step, cx);
    }

    fn opened(&mut self, step: Step, cx: &Cx<'_>) {
        self.calls.open.insert(self.calls.next, Open { step, sent: cx.now() });
        self.calls.next += 1;
    }

    /// Gives up the calls that have waited for too long, and says what they were for.
    pub(super) fn give_up_calls(&mut self, now: Instant) -> Vec<Step> {
        let (patience, mut lost) = (self.settings.limits.call_timeout.get(), Vec::new());
        while let Some(oldest) = self.calls.open.first_entry()
            && now.saturating_duration_since(oldest.get().sent) >= patience
        {
            lost.push(oldest.remove().step);
            self.clock.commanded(now);
        }
        lost
    }

    /// Returns whether a message could hold the call.
    fn send_call(&mut self, transaction: u64, name: &str, args: Vec<Value>, cx: &mut Cx<'_>) -> bool {
        let mut args = args.into_iter();
        let object = args.next().unwrap_or(Value::Null);
        let command = Command::call(name, transaction as f64, object, args.collect());
        let (kind, body) = self.command_body(&command);
        if body.len() > MAX_MESSAGE {
            return false;
        }
        // Who is called is in use, though it neither publishes nor plays.
        self.clock.commanded(cx.now());
        let body = body.into();
        self.send(Message { csid: COMMAND_CSID, kind, stream: 0, timestamp: 0, body }, cx);
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
