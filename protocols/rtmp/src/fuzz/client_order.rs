//! A client session against a server that says anything in any order.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, Chain, Command as Order, Env, Error, Event, Limits, PublishKind, Pull, Push, RequestId, Seconds,
    StreamSlot, Value, Via,
};

use crate::{
    chunk::{ChunkWriter, Message},
    handshake::{RANDOM, ServerHandshake},
    layer::OutboundRtmp,
    message::{Command, Control, Data, Status, UserControl, kind},
    session::SessionSettings,
};

/// A client session: `data` says what is ordered, what a server says, and how time passes.
///
/// - Each order with a ticket has at most one result, and one at the end of its time on a connection that survives.
/// - Publishes and plays begin and end in pairs, and media come only in between.
/// - Requests have names of their own.
/// - What is sent is bounded by what was received, and time does not stand still.
/// - How the network cuts the bytes changes nothing.
pub fn client_order(data: &[u8]) {
    let whole = Run::new(data, usize::MAX).play();
    let pieces = Run::new(data, 1 + data.len() % 40).play();
    assert_eq!(whole, pieces, "cutting the bytes changes what happens");
}

struct Run<'a> {
    script: &'a [u8],
    /// The server's bytes go to the session in pieces of so many.
    piece: usize,
    chain: Chain,
    now: Instant,
    writer: ChunkWriter,
    limits: Arc<Limits>,
    last_ticket: u64,
    /// Orders without a result, and when they were given.
    open: BTreeMap<u64, Instant>,
    requests: BTreeMap<RequestId, (StreamSlot, bool)>,
    last_request: Option<RequestId>,
    /// What happens on message streams: whether we publish (true) or play, and whether that was allowed.
    slots: BTreeMap<StreamSlot, (bool, bool)>,
    /// Pulls and pushes without a result, which may wait for as long as the server says something.
    links: BTreeSet<u64>,
    /// The connection is over.
    over: bool,
    received: usize,
    sent: usize,
    steps: usize,
    events: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8], piece: usize) -> Self {
        let now = Instant::now();
        let (small, script) = data.split_first().map_or((0, data), |(first, rest)| (first & 1, rest));
        let mut limits = Limits { call_timeout: Seconds::new(3), ..Limits::default() };
        if small == 1 {
            limits.commands_before = 8;
            limits.held_bytes = 1024;
            limits.message_streams = 2;
            limits.unknown_messages = 2;
            limits.message_size_before = 1024;
            limits.partial_bytes_before = 1024;
            limits.open_calls = 2;
        }
        let limits = Arc::new(limits);
        let settings = SessionSettings {
            limits: Arc::clone(&limits),
            validate_handshake: true,
            chunk_size: 4096,
            instance: Arc::from("us"),
        };
        let chain = Chain::new(vec![Box::new(OutboundRtmp::new(settings, now))]).expect("a layer");
        Self {
            script,
            piece,
            chain,
            now,
            writer: ChunkWriter::new(),
            limits,
            last_ticket: 0,
            open: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_request: None,
            slots: BTreeMap::new(),
            links: BTreeSet::new(),
            over: false,
            received: 0,
            sent: 0,
            steps: 0,
            events: Vec::new(),
        }
    }

    fn play(mut self) -> (Vec<String>, Option<Error>) {
        let end = self.all_steps().err();
        (self.events, end)
    }

    fn all_steps(&mut self) -> Result<(), Error> {
        self.call(Chain::on_open)?;
        let mut handshake = ServerHandshake::new(true, &[7; RANDOM]);
        let mut answer = Vec::new();
        let hello = self.take_sent();
        let _ = handshake.input(&hello, &mut answer);
        self.hear(&answer)?;
        while let Some(step) = self.next() {
            self.steps += 1;
            self.step(step)?;
            self.check_end();
        }
        // Whatever the server owes is over in time, unless it has said that it goes on.
        for _ in 0..3 {
            self.pass(self.limits.call_timeout.get())?;
        }
        if !self.over && !self.chain.is_paused() {
            let owed: Vec<_> = self.open.keys().filter(|ticket| !self.links.contains(ticket)).collect();
            assert!(owed.is_empty(), "no result of {owed:?}");
        }
        Ok(())
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.script.split_first()?;
        self.script = rest;
        Some(first)
    }

    fn number(&mut self) -> u32 {
        u32::from(self.next().unwrap_or_default()) % 8
    }

    fn step(&mut self, step: u8) -> Result<(), Error> {
        let null = || Value::Null;
        match step % 24 {
            0 => {
                let ticket = Some(self.ticket());
                let args = vec![Value::Object(vec![("app".to_owned(), "live".into())])];
                self.order(Order::Call { ticket, command: "connect".to_owned(), args })
            }
            1 => {
                let ticket = self.ticket();
                self.links.insert(ticket);
                let (name, local) = ("far".to_owned(), "near".to_owned());
                self.order(Order::Pull(Box::new(Pull {
                    takes_over: false,
                    ticket,
                    name,
                    local,
                    start_ms: -1000,
                    duration_ms: -1,
                })))
            }
            2 => {
                let ticket = self.ticket();
                self.links.insert(ticket);
                let (name, local, kind) = ("far".to_owned(), "near".to_owned(), PublishKind::Live);
                let push = Push { ticket, local, name, kind, via: Via::default(), again: false };
                self.order(Order::Push(Box::new(push)))
            }
            3 => {
                let ticket = Some(self.ticket());
                self.order(Order::Call { ticket, command: "hello".to_owned(), args: vec![] })
            }
            4 | 5 => {
                let accept = step % 24 == 4;
                let Some((request, (slot, publishes))) = self.requests.pop_last() else { return Ok(()) };
                if let Some(held) = self.slots.get_mut(&slot) {
                    held.1 |= accept;
                }
                let answer = if accept {
                    Answer::Accept
                } else {
                    Answer::Reject { code: "no".to_owned(), text: String::new() }
                };
                self.order(if publishes {
                    Order::AnswerPublish { request, answer }
                } else {
                    Order::AnswerPlay { request, answer }
                })
            }
            6 => {
                let slot = StreamSlot(self.number());
                let (code, text) = (String::new(), String::new());
                // As whoever drives a session does: it forgets first.
                let publishes = self.forget(slot);
                self.order(match publishes {
                    Some(true) => Order::StopPublish { slot, code, text },
                    _ => Order::StopPlay { slot, code, text },
                })
            }
            7 => {
                let slot = StreamSlot(self.number());
                if self.slots.get(&slot) == Some(&(false, true)) {
                    self.forget(slot);
                    return self.order(Order::SourceEnded { slot });
                }
                Ok(())
            }
            8 => {
                let time = Duration::from_millis(u64::from(self.number()) * 500);
                self.pass(time)
            }
            9 | 10 => {
                // Transactions are small: it often hits.
                let (name, transaction) = (if step % 24 == 9 { "_result" } else { "_error" }, self.number());
                let value = match self.number() {
                    0 => null(),
                    1 => "5".into(),
                    2 => f64::NAN.into(),
                    number => f64::from(number).into(),
                };
                self.say(0, &Command::call(name, transaction.into(), null(), vec![value]))
            }
            11 => {
                let properties = Value::Object(vec![("instanceId".to_owned(), "them".into())]);
                let success = Status::new("NetConnection.Connect.Success", "");
                self.say(0, &Command::result(1.0, properties, vec![success.into()]))
            }
            12 => {
                const CODES: [&str; 8] = [
                    "NetStream.Play.Start",
                    "NetStream.Publish.Start",
                    "NetStream.Play.Reset",
                    "NetStream.Play.UnpublishNotify",
                    "NetStream.Play.Stop",
                    "NetStream.Publish.BadName",
                    "NetStream.Something",
                    "NetConnection.Something",
                ];
                let (stream, code) = (self.number(), CODES[self.number() as usize % CODES.len()]);
                self.say(stream, &Command::on_status(Status::new(code, "text")))
            }
            13 => {
                let stream = self.number();
                self.say(stream, &Command::on_status(Status::error("NetStream.Failed", "text")))
            }
            14 => {
                let marks = Value::StrictArray(vec!["us/live/x".into(); self.number() as usize * 4]);
                let stream = self.number();
                self.say(stream, &Command::call("onVia", 0.0, null(), vec![marks]))
            }
            15 | 16 => {
                let stream = self.number();
                let body = vec![if step % 24 == 15 { 0x17 } else { 0x27 }, 1, 0, 0, 0, 9];
                self.message(kind::VIDEO, stream, body)
            }
            17 => {
                let (stream, size) = (self.number(), self.number() as usize * 400);
                self.message(kind::AUDIO, stream, [vec![0xAF, 1], vec![5; size]].concat())
            }
            18 => {
                const NAMES: [&str; 4] = ["onMetaData", "|RtmpSampleAccess", "onStatus", "onCuePoint"];
                let (stream, name) = (self.number(), NAMES[self.number() as usize % NAMES.len()].to_owned());
                let mut body = Vec::new();
                Data { name, args: vec![Value::EcmaArray(vec![])] }.encode(&mut body);
                self.message(kind::DATA, stream, body)
            }
            19 => {
                let stream = self.number();
                let event = match self.number() {
                    0 => UserControl::StreamBegin(stream),
                    1 => UserControl::PingRequest(stream),
                    2 => UserControl::PingResponse(stream),
                    _ => UserControl::StreamEof(stream),
                };
                let control = Control::User(event);
                let mut body = Vec::new();
                control.encode(&mut body);
                self.message(control.kind(), 0, body)
            }
            20 => {
                const NAMES: [&str; 4] = ["onBWDone", "_onbwcheck", "hello", "onFCPublish"];
                let name = NAMES[self.number() as usize % NAMES.len()];
                let transaction = self.number().into();
                self.say(0, &Command::call(name, transaction, null(), vec![]))
            }
            21 => {
                let (kind, size) = (self.number() as u8 * 5, self.number() as usize);
                let body: Vec<u8> = (0..size).map(|_| self.next().unwrap_or_default()).collect();
                self.message(kind, 1, body)
            }
            22 => {
                let size = self.number() as usize;
                let bytes: Vec<u8> = (0..size).map(|_| self.next().unwrap_or_default()).collect();
                self.hear(&bytes)
            }
            _ => {
                let (code, text) = (String::new(), String::new());
                // Whoever closes a connection forgets all that happens on it.
                self.slots.clear();
                self.requests.clear();
                self.over = true;
                self.order(Order::Close { code, text })
            }
        }
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.open.insert(self.last_ticket, self.now);
        self.last_ticket
    }

    fn forget(&mut self, slot: StreamSlot) -> Option<bool> {
        self.requests.retain(|_, (other, _)| *other != slot);
        self.slots.remove(&slot).map(|(publishes, _)| publishes)
    }

    fn order(&mut self, order: Order) -> Result<(), Error> {
        self.call(|chain, env| chain.on_command(order, env))
    }

    fn pass(&mut self, time: Duration) -> Result<(), Error> {
        self.now += time;
        for _ in 0..self.steps + 64 {
            if self.chain.poll_timeout().is_none_or(|at| at > self.now) {
                return Ok(());
            }
            self.call(Chain::on_timeout)?;
        }
        panic!("time stands still");
    }

    fn say(&mut self, stream: u32, command: &Command) -> Result<(), Error> {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.message(kind::COMMAND, stream, body)
    }

    fn message(&mut self, kind: u8, stream: u32, body: Vec<u8>) -> Result<(), Error> {
        let message = Message { csid: 3, kind, stream, timestamp: self.steps as u32, body: body.into() };
        let mut bytes = Vec::new();
        self.writer.write(&mut bytes, &message).expect("a short message");
        self.hear(&bytes)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.received += bytes.len();
        for piece in bytes.chunks(self.piece.min(bytes.len().max(1))) {
            self.call(|chain, env| chain.on_data(piece, env))?;
        }
        Ok(())
    }

    fn call(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut env = Env { now: self.now, random: &mut |bytes| bytes.fill(4) };
        let result = run(&mut self.chain, &mut env);
        while let Some(event) = self.chain.poll_event() {
            self.on_event(&event);
        }
        self.over |= result.is_err() || self.chain.closing().is_some();
        self.take_sent();
        // Handshake, connect, what each order says, and an answer to each thing that was said.
        let most = 8192 + 1024 * self.steps + 8 * self.received;
        assert!(self.sent <= most, "{} bytes were sent for {} received", self.sent, self.received);
        result
    }

    fn take_sent(&mut self) -> Vec<u8> {
        let Ok(queue) = self.chain.send() else { return Vec::new() };
        let bytes: Vec<u8> = queue.slices().flatten().copied().collect();
        queue.advance(bytes.len());
        self.sent += bytes.len();
        bytes
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::CallResult { ticket, .. } => {
                assert!(self.open.remove(ticket).is_some(), "a second result of {ticket}");
                self.links.remove(ticket);
            }
            Event::Publish { request, slot, .. } => self.asked(*request, *slot, true),
            Event::Play(play) => self.asked(play.request, play.slot, false),
            Event::Frame { slot, .. } | Event::Metadata { slot, .. } => {
                assert_eq!(self.slots.get(slot), Some(&(true, true)), "media of what was not accepted");
            }
            Event::Unpublish { slot } => {
                assert!(self.forget(*slot) == Some(true), "the end of no publish");
            }
            Event::Unplay { slot } => {
                assert!(self.forget(*slot) == Some(false), "the end of no play");
            }
            _ => {}
        }
        // The format of a play is a function, which is not the same each time.
        let line = match event {
            Event::Play(play) => format!("Play {:?} {}", play.slot, play.name),
            other => format!("{other:?}"),
        };
        self.events.push(line);
    }

    fn asked(&mut self, request: RequestId, slot: StreamSlot, publishes: bool) {
        assert!(self.last_request < Some(request), "{request:?} was used before");
        self.last_request = Some(request);
        assert!(self.slots.insert(slot, (publishes, false)).is_none(), "{slot:?} is in use");
        self.requests.insert(request, (slot, publishes));
    }

    fn check_end(&self) {
        assert!(self.slots.len() <= self.limits.message_streams, "{:?}", self.slots);
    }
}
