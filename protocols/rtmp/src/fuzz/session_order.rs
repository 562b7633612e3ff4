//! A server session against a peer and a server that say anything in any order.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, BandwidthKind, BandwidthPlan, CallOutcome, Chain, Command as Order, Env, Error, Event, Limits,
    RequestId, Seconds, SharedItem, SharedNews, StreamSlot, Value,
};

use crate::{
    chunk::{ChunkReader, ChunkWriter, Message, ReadLimits},
    layer::InboundRtmp,
    message::{Command, Control, Data, UserControl, kind},
    session::SessionSettings,
    shared_object::{SharedObjectEvent, SharedObjectMessage},
};

/// A server session: `data` says what a peer sends, how time passes, and what the server answers.
///
/// - Publishes and plays begin and end in pairs, and media come only in between.
/// - Each call is answered at most once, and once at the end of a connection that survives.
/// - Requests have names of their own.
/// - Each call of the server has one result: what the peer answers, or that it is refused or too late.
/// - A connection that is not read waits for an answer of the server.
/// - What is sent is bounded by what was received, and time does not stand still.
/// - How the network cuts the bytes changes nothing.
pub fn session_order(data: &[u8]) {
    let whole = Run::new(data, usize::MAX).play();
    let pieces = Run::new(data, 1 + data.len() % 40).play();
    assert_eq!(whole.2, pieces.2, "cutting the bytes changes the end");
    assert_eq!(whole.0, pieces.0, "cutting the bytes changes the events");
    assert!(whole.1 == pieces.1, "cutting the bytes changes the answers");
}

/// What came out of a run: events, messages but for acknowledgements, and how it ended.
type Outcome = (Vec<String>, Vec<Message>, Option<Error>);

struct Run<'a> {
    script: &'a [u8],
    /// The peer's bytes go to the session in pieces of so many.
    piece: usize,
    chain: Chain,
    now: Instant,
    writer: ChunkWriter,
    reader: ChunkReader,
    /// While the peer collects messages, to send them together.
    corked: Option<Vec<u8>>,
    transactions: u32,
    /// Calls that must be answered in the end.
    unanswered: BTreeSet<u32>,
    answered: BTreeSet<u32>,
    requests: BTreeMap<RequestId, Asked>,
    last_request: Option<RequestId>,
    /// Calls of the server without a result, and when they were made.
    calls: BTreeMap<u64, Instant>,
    last_call: u64,
    /// Calls that the peer has heard of and not answered, by their transaction.
    heard_calls: BTreeMap<u64, u64>,
    last_heard: u64,
    limits: Arc<Limits>,
    slots: BTreeMap<StreamSlot, Use>,
    /// The chunk stream may have lost its place, so that whole messages go missing.
    garbled: bool,
    /// The server has closed the connection.
    closed: bool,
    received: usize,
    steps: usize,
    sent: usize,
    events: Vec<String>,
    messages: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Connect,
    Publish(StreamSlot),
    Play(StreamSlot),
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    AskedPublish(RequestId),
    Publishing,
    AskedPlay(RequestId),
    Playing,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8], piece: usize) -> Self {
        let now = Instant::now();
        let (small, script) = data.split_first().map_or((0, data), |(first, rest)| (first & 1, rest));
        let mut limits = Limits::default();
        if small == 1 {
            limits.commands_before = 8;
            limits.held_bytes = 1024;
            limits.message_streams = 2;
            limits.unknown_messages = 2;
            limits.message_size_before = 1024;
            limits.partial_bytes_before = 1024;
            limits.open_calls = 2;
            limits.call_timeout = Seconds::new(3);
        }
        let limits = Arc::new(limits);
        let settings = SessionSettings {
            limits: Arc::clone(&limits),
            validate_handshake: true,
            chunk_size: 4096,
            instance: Arc::from(""),
        };
        let chain = Chain::new(vec![Box::new(InboundRtmp::new(settings, now))]).expect("a layer");
        Self {
            script,
            piece,
            chain,
            now,
            writer: ChunkWriter::new(),
            reader: ChunkReader::new(),
            corked: None,
            transactions: 0,
            unanswered: BTreeSet::new(),
            answered: BTreeSet::new(),
            requests: BTreeMap::new(),
            last_request: None,
            calls: BTreeMap::new(),
            last_call: 0,
            heard_calls: BTreeMap::new(),
            last_heard: 1,
            limits,
            slots: BTreeMap::new(),
            garbled: false,
            closed: false,
            received: 0,
            steps: 0,
            sent: 0,
            events: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn play(mut self) -> Outcome {
        let end = self.all_steps().err();
        (self.events, self.messages, end)
    }

    fn all_steps(&mut self) -> Result<(), Error> {
        self.shake_hands()?;
        while !self.script.is_empty() && self.chain.closing().is_none() {
            self.steps += 1;
            self.step()?;
            self.check_balance();
        }
        self.finish()
    }

    /// Answers what is open, and looks whether everybody got an answer.
    fn finish(&mut self) -> Result<(), Error> {
        self.uncork()?;
        while let Some(&request) = self.requests.keys().next()
            && self.chain.closing().is_none()
        {
            self.answer(request, Answer::Accept)?;
        }
        while let Some(&transaction) = self.heard_calls.keys().next()
            && self.chain.closing().is_none()
        {
            self.answer_call(transaction, "_result")?;
        }
        if self.chain.closing().is_none() && !self.garbled && !self.closed {
            assert!(!self.chain.is_paused(), "nothing is open, and still nothing is read");
            assert!(self.unanswered.is_empty(), "calls without an answer: {:?}", self.unanswered);
            assert!(self.calls.is_empty(), "calls without a result: {:?}", self.calls);
        }
        Ok(())
    }

    fn shake_hands(&mut self) -> Result<(), Error> {
        let mut hello = vec![0; 1 + 2 * 1536];
        hello[0] = 3;
        self.feed(&hello)
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.script.split_first() else { return 0 };
        self.script = rest;
        *first
    }

    fn step(&mut self) -> Result<(), Error> {
        let byte = self.byte();
        // Message streams 0 to 3, and one that nobody has.
        let stream = [1, 0, 2, 3, 0x0100_0000, 1, 1, 2][usize::from(byte >> 5)];
        let name = |byte: u8| Value::from(["film", "other", "", "a/../b"][usize::from(byte) % 4]);
        match byte & 31 {
            0 => {
                let object = match self.byte() % 8 {
                    0 => Value::Null,
                    _ => Value::Object(vec![("app".to_owned(), "live".into())]),
                };
                self.call(0, "connect", object, vec![], true)
            }
            1 => self.call(0, "createStream", Value::Null, vec![], true),
            2 => self.call(0, "deleteStream", Value::Null, vec![stream.into()], false),
            3 => self.call(stream, "closeStream", Value::Null, vec![], false),
            4 => {
                let name = name(self.byte());
                self.call(stream, "publish", Value::Null, vec![name], false)
            }
            5 => {
                let name = name(self.byte());
                self.call(stream, "play", Value::Null, vec![name], false)
            }
            6 => {
                let name = ["pause", "seek", "play2", "receiveAudio", "receiveVideo", "publish", "play"];
                let name = name[usize::from(self.byte()) % 7];
                self.call(stream, name, Value::Null, vec![false.into()], false)
            }
            7 => {
                let names = ["releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe", "_checkbw"];
                let (which, name) = (self.byte(), name(self.byte()));
                self.call(0, names[usize::from(which) % 5], Value::Null, vec![name], true)
            }
            8 => self.call(stream, "chat", Value::Null, vec!["hello".into()], true),
            9 => self.odd_command(stream),
            10 => self.say(4, kind::AUDIO, stream, vec![0xAF, 1, 2]),
            11 => {
                let size = usize::from(self.byte()) * 64;
                self.say(6, kind::VIDEO, stream, [&[0x17, 1, 0, 0, 0][..], &vec![7; size]].concat())
            }
            12 => {
                let mut body = Vec::new();
                let args = vec!["onMetaData".into(), Value::EcmaArray(vec![])];
                Data { name: "@setDataFrame".to_owned(), args }.encode(&mut body);
                self.say(4, kind::DATA, stream, body)
            }
            13 => {
                let tag = [8, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0xAF, 1, 2, 0, 0, 0, 14];
                let mut body = tag.repeat(usize::from(self.byte() % 8));
                body.truncate(body.len() - body.len().min(usize::from(self.byte() % 3)));
                self.say(6, kind::AGGREGATE, stream, body)
            }
            14 => self.control(),
            15 => {
                let kind = self.byte();
                // An abort would take messages away, and a chunk size change how they are read.
                let kind = if matches!(kind, 1 | 2) { 0 } else { kind };
                let body: Vec<u8> = (0..self.byte() % 8).map(|_| self.byte()).collect();
                // It may happen to be a command.
                self.garbled |= matches!(kind, kind::COMMAND | kind::COMMAND_AMF3);
                self.say(3, kind, stream, body)
            }
            16 => {
                self.garbled = true;
                let bytes: Vec<u8> = (0..self.byte() % 32).map(|_| self.byte()).collect();
                self.send(&bytes)
            }
            17 => self.wait(),
            18..=24 => self.answer_something(byte & 31),
            25 => {
                self.uncork()?;
                self.news(StreamSlot(stream))
            }
            26 => {
                if self.corked.is_none() {
                    self.corked = Some(Vec::new());
                }
                Ok(())
            }
            27 => self.uncork(),
            28 => match self.byte() {
                0xFF => {
                    self.uncork()?;
                    self.closed = true;
                    let (code, text) = ("NetConnection.Connect.Closed".to_owned(), String::new());
                    self.order(Order::Close { code, text })
                }
                byte => self.share(byte),
            },
            29 => self.call_peer(),
            30 => {
                let (which, name) = (self.byte(), ["_result", "_error"][usize::from(self.byte()) % 2]);
                let open = self.heard_calls.keys().nth(usize::from(which) % 4).copied();
                // A transaction that there was or will be, where nothing is open.
                self.answer_call(open.unwrap_or(u64::from(which)), name)
            }
            31 => self.tune(),
            _ => Ok(()),
        }
    }

    /// The peer wants something of a shared object, or the server has news of one.
    fn share(&mut self, byte: u8) -> Result<(), Error> {
        let (name, slot) = (["room", "hall"][usize::from(byte & 1)], || "slot".to_owned());
        if byte & 0x80 != 0 {
            self.uncork()?;
            let value = Arc::new(Value::Bytes(vec![byte]));
            let item = match byte >> 1 & 3 {
                0 => SharedItem::Used,
                1 => SharedItem::Changed { slot: "slot".into(), value },
                2 => SharedItem::Sent { values: [Value::Null].into() },
                _ => SharedItem::Refused { code: "SharedObject.NoReadAccess".into() },
            };
            let (items, persistent) = ([item].into(), byte & 8 != 0);
            return self.order(Order::Shared(SharedNews {
                name: name.into(),
                version: 1,
                persistent,
                items,
            }));
        }
        let event = match byte >> 1 & 7 {
            0 | 1 => SharedObjectEvent::Use,
            2 => SharedObjectEvent::Release,
            3 => SharedObjectEvent::RequestChange { slot: slot(), value: Value::E4x("x".to_owned()) },
            4 => SharedObjectEvent::RequestRemove { slot: slot() },
            5 => SharedObjectEvent::SendMessage { values: vec!["f".into(); 3] },
            6 => SharedObjectEvent::Clear,
            _ => SharedObjectEvent::UseSuccess,
        };
        let (amf3, events) = (byte & 16 != 0, vec![event; usize::from(byte >> 5 & 3)]);
        let mut body = Vec::new();
        let message = SharedObjectMessage { name: name.to_owned(), version: 0, persistent: false, events };
        message.encode(&mut body, amf3);
        self.say(3, if amf3 { kind::SHARED_OBJECT_AMF3 } else { kind::SHARED_OBJECT }, 0, body)
    }

    /// The server calls a command of the peer, and gives the call's own number along.
    fn call_peer(&mut self) -> Result<(), Error> {
        self.uncork()?;
        let ticket = (self.byte() != 0).then(|| {
            self.last_call += 1;
            self.last_call
        });
        if let Some(ticket) = ticket
            && !self.closed
        {
            self.calls.insert(ticket, self.now);
        }
        let args = vec![Value::Null, (ticket.unwrap_or(0) as f64).into()];
        self.order(Order::Call { ticket, command: "ask".to_owned(), args })
    }

    /// The peer answers a call, with the number that came with it.
    fn answer_call(&mut self, transaction: u64, name: &str) -> Result<(), Error> {
        let args = self.heard_calls.remove(&transaction).map(|ticket| (ticket as f64).into());
        let mut body = Vec::new();
        Command::call(name, transaction as f64, Value::Null, Vec::from_iter(args)).encode(&mut body);
        self.say(3, kind::COMMAND, 0, body)
    }

    fn tune(&mut self) -> Result<(), Error> {
        self.uncork()?;
        let byte = usize::from(self.byte());
        let ping_interval = [None, Some(2), Some(7), Some(600)][byte % 4].map(Duration::from_secs);
        let command_bytes = [None, None, Some(200), Some(20)][byte / 4 % 4];
        let check_bandwidth = byte & 0x40 != 0;
        let server_ip = check_bandwidth.then_some(Ipv4Addr::LOCALHOST.into());
        self.order(Order::Tune { ping_interval, command_bytes, check_bandwidth, server_ip })?;
        if byte & 0x80 == 0 {
            return Ok(());
        }
        let plan = BandwidthPlan {
            kind: if byte & 0x40 == 0 { BandwidthKind::Check } else { BandwidthKind::BandCheck },
            time: Duration::from_secs(3),
            bytes: 200_000,
            rate: 4_000_000,
            patience: Duration::from_secs(5),
        };
        self.order(Order::TestBandwidth(Box::new(plan)))
    }

    /// A command that a peer should not send, or not so.
    fn odd_command(&mut self, stream: u32) -> Result<(), Error> {
        let mut body = Vec::new();
        match self.byte() % 6 {
            0 => Command::result(77_777.0, Value::Null, vec![]).encode(&mut body),
            1 => Command::call("chat", f64::NAN, Value::Null, vec![]).encode(&mut body),
            2 => Command::call("chat", 0.0, Value::Null, vec![]).encode(&mut body),
            3 => Command::call("deleteStream", 0.0, Value::Null, vec![f64::NAN.into()]).encode(&mut body),
            4 => body.extend([5, 5, 5]),
            _ => Command::call("publish", f64::INFINITY, Value::Null, vec![]).encode(&mut body),
        }
        self.say(3, kind::COMMAND, stream, body)
    }

    fn control(&mut self) -> Result<(), Error> {
        let value = u32::from(self.byte());
        let control = match self.byte() % 8 {
            0 => Control::Acknowledgement(value),
            1 => Control::WindowAckSize(value * 20),
            2 => Control::User(UserControl::PingResponse(value * 100)),
            3 => Control::User(UserControl::SetBufferLength { stream: value, ms: value }),
            4 => Control::SetChunkSize(value + 1),
            5 => Control::Abort(value),
            _ => Control::User(UserControl::PingRequest(value)),
        };
        let mut bytes = Vec::new();
        match control {
            Control::SetChunkSize(size) => self.writer.set_chunk_size(&mut bytes, size),
            other => self.writer.write_control(&mut bytes, other),
        }
        self.send(&bytes)
    }

    /// Lets time pass; what is due must lead on.
    fn wait(&mut self) -> Result<(), Error> {
        self.uncork()?;
        let ms = [1, 40, 1000, 4999, 5000, 10_000, 15_000, 60_000][usize::from(self.byte()) % 8];
        let end = self.now + Duration::from_millis(ms);
        let mut turns = 0;
        while let Some(at) = self.chain.poll_timeout().filter(|at| *at <= end) {
            turns += 1;
            assert!(turns < 100, "time stands still");
            self.now = self.now.max(at);
            let result = self.with_chain(|chain, env| chain.on_timeout(env));
            self.collect();
            result?;
        }
        self.now = end;
        Ok(())
    }

    fn answer_something(&mut self, what: u8) -> Result<(), Error> {
        self.uncork()?;
        let oldest = self.requests.keys().next().copied();
        let newest = self.requests.keys().next_back().copied();
        let no = || Answer::Reject { code: "NetStream.Failed".to_owned(), text: String::new() };
        match what {
            18..=20 => oldest.map_or(Ok(()), |request| self.answer(request, Answer::Accept)),
            21 => newest.map_or(Ok(()), |request| self.answer(request, Answer::Accept)),
            22 => newest.map_or(Ok(()), |request| self.answer(request, no())),
            23 => {
                let url = "rtmp://localhost/other".to_owned();
                oldest.map_or(Ok(()), |request| self.answer(request, Answer::Redirect { url }))
            }
            // To a request that there is not, or that is of another kind: nothing may happen.
            _ => {
                let request = match self.byte() {
                    0 => RequestId(u32::MAX),
                    _ => self.last_request.unwrap_or(RequestId(0)),
                };
                let asked = self.requests.get(&request).copied();
                let answer = Answer::Accept;
                if !matches!(asked, Some(Asked::Publish(_))) {
                    self.order(Order::AnswerPublish { request, answer: answer.clone() })?;
                }
                if !matches!(asked, Some(Asked::Play(_))) {
                    self.order(Order::AnswerPlay { request, answer: answer.clone() })?;
                }
                if asked != Some(Asked::Connect) {
                    self.order(Order::AnswerConnect { request, answer })?;
                }
                if asked != Some(Asked::Message) {
                    self.order(Order::AnswerMessage { request, result: Ok(Value::Null) })?;
                }
                Ok(())
            }
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) -> Result<(), Error> {
        let Some(asked) = self.requests.remove(&request) else { return Ok(()) };
        let yes = answer == Answer::Accept;
        let mut decide = |slot: StreamSlot, wish: Use, granted: Use| {
            if self.slots.get(&slot) == Some(&wish) {
                if yes {
                    self.slots.insert(slot, granted);
                } else {
                    self.slots.remove(&slot);
                }
            }
        };
        let order = match asked {
            Asked::Connect => Order::AnswerConnect { request, answer },
            Asked::Publish(slot) => {
                decide(slot, Use::AskedPublish(request), Use::Publishing);
                Order::AnswerPublish { request, answer }
            }
            Asked::Play(slot) => {
                decide(slot, Use::AskedPlay(request), Use::Playing);
                Order::AnswerPlay { request, answer }
            }
            Asked::Message => {
                let result = if yes { Ok(Value::Null) } else { Err((String::new(), String::new())) };
                Order::AnswerMessage { request, result }
            }
        };
        self.order(order)
    }

    /// News of the relay about a message stream, whether they fit or not.
    fn news(&mut self, slot: StreamSlot) -> Result<(), Error> {
        let news = self.byte() % 5;
        match (news, self.slots.get(&slot).copied()) {
            (4, Some(wish @ Use::AskedPlay(_))) => {
                self.slots.remove(&slot);
                self.withdraw(Some(wish));
            }
            (0 | 1 | 4, Some(Use::Playing)) | (2, Some(Use::Publishing)) => {
                self.slots.remove(&slot);
            }
            _ => {}
        }
        self.order(match news {
            0 => Order::SourceEnded { slot },
            1 => Order::SourceMissing { slot, name: "film".to_owned() },
            2 => {
                Order::StopPublish { slot, code: "NetStream.Publish.BadName".to_owned(), text: String::new() }
            }
            3 => Order::SourceStarted { slot },
            _ => {
                let code = ["NetStream.Play.Stop", "NetStream.Play.Failed"][self.steps % 2].to_owned();
                Order::StopPlay { slot, code, text: String::new() }
            }
        })
    }

    fn call(
        &mut self,
        stream: u32,
        name: &str,
        object: Value,
        args: Vec<Value>,
        wants_answer: bool,
    ) -> Result<(), Error> {
        let transaction = if wants_answer {
            self.transactions += 1;
            self.unanswered.insert(self.transactions);
            self.transactions
        } else {
            0
        };
        let mut body = Vec::new();
        Command::call(name, f64::from(transaction), object, args).encode(&mut body);
        self.say(3, kind::COMMAND, stream, body)
    }

    fn say(&mut self, csid: u32, kind: u8, stream: u32, body: Vec<u8>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let message = Message { csid, kind, stream, timestamp: self.steps as u32 * 40, body: body.into() };
        self.writer.write(&mut bytes, &message).expect("a short message");
        self.send(&bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(corked) = &mut self.corked {
            corked.extend_from_slice(bytes);
            return Ok(());
        }
        self.feed(bytes)
    }

    fn uncork(&mut self) -> Result<(), Error> {
        let bytes = self.corked.take().unwrap_or_default();
        self.feed(&bytes)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.received += bytes.len();
        for piece in bytes.chunks(self.piece) {
            let result = self.with_chain(|chain, env| chain.on_data(piece, env));
            self.collect();
            result?;
        }
        Ok(())
    }

    fn order(&mut self, order: Order) -> Result<(), Error> {
        let result = self.with_chain(|chain, env| chain.on_command(order, env));
        self.collect();
        result
    }

    fn with_chain<T>(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
        run(&mut self.chain, &mut Env { now: self.now, random: &mut |bytes| bytes.fill(5) })
    }

    /// Takes out what the session says, and judges it.
    fn collect(&mut self) {
        for event in self.chain.take_events() {
            assert!(!self.closed, "after the end: {event:?}");
            self.judge(&event);
            self.events.push(format!("{event:?}"));
        }
        let queue = self.chain.send().expect("one layer");
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        let handshake = if self.sent == 0 { bytes.len().min(1 + 2 * 1536) } else { 0 };
        self.sent += bytes.len();
        assert!(
            self.sent <= 16 * self.received + 1000 * (self.steps + 1),
            "{} bytes sent for {} received",
            self.sent,
            self.received
        );
        let mut rest = &bytes[handshake..];
        let limits = ReadLimits::after(&Limits::default());
        loop {
            let (used, message) = self.reader.read(rest, &limits).expect("our own chunks are right");
            rest = &rest[used..];
            let Some(message) = message else { break };
            self.check_answer(&message);
            // When they are due depends on how the bytes were cut.
            if message.kind != kind::ACKNOWLEDGEMENT {
                self.messages.push(message);
            }
        }
    }

    fn check_answer(&mut self, message: &Message) {
        if message.kind != kind::COMMAND {
            return;
        }
        let command = Command::parse(message.kind, &message.body, &Limits::default());
        let command = command.expect("our own commands are right");
        if command.name == "ask" && command.transaction != 0.0 {
            let transaction = command.transaction as u64;
            assert!(transaction > self.last_heard, "the transaction {transaction} is not new");
            self.last_heard = transaction;
            let ticket = command.args.first().and_then(Value::as_f64).expect("the call's own number");
            self.heard_calls.insert(transaction, ticket as u64);
        }
        if command.name == "_result" || command.name == "_error" {
            let transaction = command.transaction as u32;
            assert_eq!(f64::from(transaction), command.transaction, "an answer to nothing");
            // Calls that are not bound to be answered have the transaction 0.
            if transaction != 0 && !self.garbled {
                assert!(self.answered.insert(transaction), "{transaction} was answered twice");
                assert!(self.unanswered.remove(&transaction), "{transaction} was never asked");
            }
        }
    }

    fn judge(&mut self, event: &Event) {
        match event {
            Event::Connect { request, .. } => self.ask(*request, Asked::Connect),
            Event::Publish { request, slot, .. } => {
                self.ask(*request, Asked::Publish(*slot));
                let before = self.slots.insert(*slot, Use::AskedPublish(*request));
                assert_eq!(before, None, "{slot:?} is in use");
            }
            Event::Play(play) => {
                self.ask(play.request, Asked::Play(play.slot));
                let before = self.slots.insert(play.slot, Use::AskedPlay(play.request));
                assert_eq!(before, None, "{:?} is in use", play.slot);
            }
            Event::Message { request, .. } | Event::CheckBandwidth { request } => {
                if let Some(request) = request {
                    self.ask(*request, Asked::Message);
                }
            }
            Event::Metadata { slot, .. } | Event::Frame { slot, .. } => {
                assert_eq!(self.slots.get(slot), Some(&Use::Publishing));
            }
            Event::Unpublish { slot } => {
                let before = self.slots.remove(slot);
                assert!(
                    matches!(before, Some(Use::Publishing | Use::AskedPublish(_))),
                    "{slot:?}: {before:?}"
                );
                self.withdraw(before);
            }
            Event::Unplay { slot } => {
                let before = self.slots.remove(slot);
                assert!(matches!(before, Some(Use::Playing | Use::AskedPlay(_))), "{slot:?}: {before:?}");
                self.withdraw(before);
            }
            Event::Pause { slot, .. } | Event::Receive { slot, .. } => {
                assert_eq!(self.slots.get(slot), Some(&Use::Playing));
            }
            Event::CallResult { ticket, outcome, args } => self.judge_call(*ticket, *outcome, args),
            Event::Shared(request) => {
                assert!(!request.wishes.is_empty(), "who says something wants something")
            }
            Event::Pong { .. } | Event::Reconnect { .. } | Event::Skipped(_) | Event::BandwidthTested(_) => {}
            Event::Became(_) => panic!("{event:?}: it is RTMP"),
            Event::Tunnel { .. } => panic!("{event:?}: it carries nobody"),
        }
    }

    fn judge_call(&mut self, ticket: u64, outcome: CallOutcome, args: &[Value]) {
        let called = self.calls.remove(&ticket).expect("one result for each call");
        let age = self.now - called;
        match outcome {
            CallOutcome::Refused => assert!(age.is_zero()),
            CallOutcome::Timeout => assert!(age >= self.limits.call_timeout.get()),
            // It may have guessed the transaction.
            CallOutcome::Result | CallOutcome::Error => {
                assert!(args.len() == 1 || self.garbled || args.get(1..) == Some(&[(ticket as f64).into()]));
            }
        }
    }

    fn ask(&mut self, request: RequestId, asked: Asked) {
        assert!(self.last_request.is_none_or(|last| last < request), "{request:?} is not new");
        self.last_request = Some(request);
        self.requests.insert(request, asked);
    }

    /// The server gives an answer all the same half of the time: too late.
    fn withdraw(&mut self, before: Option<Use>) {
        if let Some(Use::AskedPublish(request) | Use::AskedPlay(request)) = before
            && request.0 % 2 == 0
        {
            self.requests.remove(&request);
        }
    }

    fn check_balance(&self) {
        let waits = self.chain.is_paused() && self.chain.closing().is_none() && !self.closed;
        assert!(!waits || !self.requests.is_empty(), "nothing is read, and nobody is asked");
        let lives = self.chain.closing().is_none() && !self.closed;
        let late = |called: &Instant| self.now - *called >= self.limits.call_timeout.get();
        assert!(!lives || !self.calls.values().any(late), "calls that nobody has given up");
        assert!(self.closed || self.calls.len() <= self.limits.open_calls);
    }
}
