//! What the faces with lines have in common: a session, from its first byte to its last.
//!
//! One command at a time: while the application has not answered, the chain is paused and nothing more is read. So
//! answers come in the order of the commands, and a peer that sends faster than it is answered is held back by its
//! own socket.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, CallOutcome, Command, ConnectInfo, Cx, Error, Event, Layer, LayerSettings, Limits, RequestId,
    StreamSlot, Value,
};

use crate::{
    command::{self, CommandLine},
    intruder::intruder,
    line::{LineEnd, LineReader},
    reply,
};

#[cfg(test)]
mod tests;

/// How a session shows answers.
pub trait Face {
    /// The name of its layer.
    const NAME: &'static str;
    /// What applications know its peers by.
    const AGENT: &'static str;

    /// Writes the answer of `command` whose JSON text this is; the command is empty where nothing was asked.
    fn write(&self, command: &str, answer: &str, out: &mut Vec<u8>);
}

/// A session of a command line interface: the endpoint of its chain.
pub struct Session<F> {
    face: F,
    limits: Arc<Limits>,
    lines: LineReader,
    /// Nothing but empty lines has come.
    first: bool,
    phase: Phase,
    last_request: u32,
    /// The command that runs, else empty.
    command: String,
    /// Since when the peer could have sent a command.
    since: Instant,
}

/// Where an endpoint of this crate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The application has not decided yet whether the peer may connect.
    Connecting(Option<RequestId>),
    /// A command may come.
    Ready,
    /// A command has not been answered yet.
    Running(RequestId),
    /// Nothing is read any more.
    Closed,
}

impl<F: Face> Session<F> {
    /// A session of a connection that came at `now`.
    pub fn new(face: F, settings: &LayerSettings, now: Instant) -> Self {
        Self {
            face,
            limits: settings.limits.clone(),
            lines: LineReader::new(settings.limits.cli_line),
            first: true,
            phase: Phase::Connecting(None),
            last_request: 0,
            command: String::new(),
            since: now,
        }
    }

    fn on_line(&mut self, cx: &mut Cx<'_>) {
        let line = self.lines.take();
        match CommandLine::parse(&line) {
            // It says nothing, so it counts as silence.
            Ok(None) => {}
            Ok(Some(command)) => {
                self.since = cx.now();
                self.first = false;
                let parameters = command::to_json(&command.parameters);
                self.command.clone_from(&command.name);
                let request = run(&mut self.last_request, command.name, vec![parameters.into()], cx);
                self.phase = Phase::Running(request);
            }
            Err(mistake) => {
                self.first = false;
                self.send(&reply::fail(&mistake.to_string()), cx);
            }
        }
    }

    fn on_answer(&mut self, answer: &str, cx: &mut Cx<'_>) {
        self.send(answer, cx);
        self.command.clear();
        self.phase = Phase::Ready;
        self.since = cx.now();
        cx.resume();
    }

    fn send(&self, answer: &str, cx: &mut Cx<'_>) {
        cx.out().write_with(|out| self.face.write(&self.command, answer, out));
    }

    /// Tells the peer why it is the last thing that it hears.
    fn farewell(&mut self, why: &str, cx: &mut Cx<'_>) {
        self.send(&reply::fail(why), cx);
        self.phase = Phase::Closed;
    }
}

impl<F: Face> Layer for Session<F> {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.phase = Phase::Connecting(Some(connect(&mut self.last_request, F::AGENT, cx)));
        Ok(())
    }

    fn owes(&self) -> bool {
        matches!(self.phase, Phase::Connecting(Some(_)) | Phase::Running(_))
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        while used < data.len() {
            match self.phase {
                Phase::Closed => return Ok(data.len()),
                Phase::Connecting(_) | Phase::Running(_) => return Ok(used),
                Phase::Ready => {}
            }
            let (count, end) = self.lines.read(&data[used..]);
            used += count;
            if self.first
                && let Some(other) = intruder(self.lines.so_far())
            {
                self.phase = Phase::Closed;
                let rule = format!("the first line is {other}, not a command: is it the right port?");
                return Err(Error::peer(F::NAME, rule));
            }
            match end {
                None => {}
                Some(LineEnd::Newline) => self.on_line(cx),
                Some(LineEnd::TooLong) => {
                    let rule = format!("a line is longer than cliLine = {} bytes", self.limits.cli_line);
                    self.farewell(&rule, cx);
                    return Err(Error::peer(F::NAME, rule));
                }
            }
        }
        Ok(used)
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(ticket) = command.ticket() {
            refuse_call(ticket, cx);
        }
        match (command.in_one_value(), self.phase) {
            (_, Phase::Closed) => {}
            (Command::AnswerConnect { request, answer }, Phase::Connecting(Some(asked)))
                if request == asked =>
            {
                match refusal(answer) {
                    None => self.phase = Phase::Ready,
                    Some(why) => {
                        self.farewell(&why, cx);
                        cx.close(Error::peer(F::NAME, format!("the connect was refused: {why}")));
                    }
                }
                self.since = cx.now();
                cx.resume();
            }
            (Command::AnswerMessage { request, result }, Phase::Running(asked)) if request == asked => {
                self.on_answer(&reply::answer(result), cx);
            }
            (Command::Close { text, .. }, _) => {
                self.phase = Phase::Closed;
                cx.resume();
                cx.close(Error::peer(F::NAME, text));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.poll_timeout().is_none_or(|at| at > cx.now()) {
            return Ok(());
        }
        // While nothing is read, silence says nothing about the peer.
        if cx.is_unread() {
            self.since = cx.now();
            return Ok(());
        }
        let idle: Duration = self.limits.cli_idle.get();
        let rule = format!("no command within cliIdle = {} s", idle.as_secs_f64());
        self.farewell(&rule, cx);
        Err(Error::timeout(F::NAME, rule))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ready => self.since.checked_add(self.limits.cli_idle.get()),
            // Applications have their own time to answer.
            Phase::Connecting(_) | Phase::Running(_) | Phase::Closed => None,
        }
    }
}

/// Asks whether a peer may connect, and pauses the chain until that is answered.
pub(crate) fn connect(last: &mut u32, agent: &str, cx: &mut Cx<'_>) -> RequestId {
    let request = next(last);
    let info = ConnectInfo { agent: agent.to_owned(), ..ConnectInfo::default() };
    cx.emit(Event::Connect { request, info: Box::new(info) });
    cx.pause();
    request
}

/// Hands a command to the application, and pauses the chain until it is answered.
pub(crate) fn run(last: &mut u32, command: String, args: Vec<Value>, cx: &mut Cx<'_>) -> RequestId {
    let request = next(last);
    cx.emit(Event::Message { request: Some(request), slot: StreamSlot(0), command, args });
    cx.pause();
    request
}

/// There is nothing in these protocols that a peer could be asked.
pub(crate) fn refuse_call(ticket: u64, cx: &mut Cx<'_>) {
    cx.emit(Event::CallResult { ticket, outcome: CallOutcome::Refused, args: Vec::new() });
}

/// Why a peer may not connect, if it may not.
pub(crate) fn refusal(answer: Answer) -> Option<String> {
    match answer {
        Answer::Accept => None,
        Answer::Reject { text, .. } => Some(text),
        Answer::Redirect { url } => Some(format!("not here: go to {url}")),
    }
}

fn next(last: &mut u32) -> RequestId {
    // Numbers from the upper end are the server's own.
    *last = last.wrapping_add(1) & 0x7fff_ffff;
    RequestId(*last)
}
