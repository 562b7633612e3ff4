//! A scripted peer that drives a session through a chain, with a clock of its own.
//!
//! What the server says and what the session tells the server are compared as short lines of text, so that a test
//! reads like the conversation that it is about.

mod bandwidth;
mod calls;
mod client;
mod client_and_server;
mod connect;
mod control;
mod media;
mod order;
mod play;
mod publish;
mod shared;
mod split;
mod table;
mod time;
mod tune;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, Chain, Command as Order, Env, Error, Event, Limits, MediaKind, PublishKind, RequestId, Role,
    Slice, Value,
};

use super::{ServerSession, SessionSettings};
use crate::{
    chunk::{ChunkReader, ChunkWriter, Message, ReadLimits},
    handshake::{ClientHandshake, HandshakeKind, RANDOM},
    layer::InboundRtmp,
    message::{Command, Control, Data, UserControl, kind},
    shared_object::{SharedObjectEvent, SharedObjectMessage},
};

/// A peer, the chain that serves it, and everybody else's clock.
struct Peer {
    chain: Chain,
    start: Instant,
    now: Instant,
    writer: ChunkWriter,
    reader: ChunkReader,
    handshake: Option<ClientHandshake>,
    said: Vec<String>,
    events: Vec<String>,
    /// All events so far with all that they hold.
    log: Vec<String>,
    /// All bytes of the server so far.
    raw: Vec<u8>,
    requests: Vec<Request>,
}

/// A request that the server has not answered.
#[derive(Clone, Copy, Debug)]
enum Request {
    Connect(RequestId),
    Publish(RequestId),
    Play(RequestId),
    Message(RequestId),
}

impl Peer {
    /// A peer that has just come to a server with these limits.
    fn new(limits: Limits) -> Self {
        Self::with(SessionSettings { limits: Arc::new(limits), ..settings() }, |_| ())
    }

    /// A peer of a session that `change` has changed before it began.
    fn with(settings: SessionSettings, change: impl FnOnce(&mut ServerSession)) -> Self {
        let start = Instant::now();
        let mut layer = InboundRtmp::new(settings, start);
        change(&mut layer.session);
        let chain = Chain::new(vec![Box::new(layer)]).unwrap();
        Self {
            chain,
            start,
            now: start,
            writer: ChunkWriter::new(),
            reader: ChunkReader::new(),
            handshake: None,
            said: Vec::new(),
            events: Vec::new(),
            log: Vec::new(),
            raw: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// A peer after the handshake.
    fn shaken(limits: Limits) -> Self {
        let mut peer = Self::new(limits);
        let (hello, answer) = peer.open(HandshakeKind::Simple);
        peer.bytes(&hello).unwrap();
        peer.bytes(&answer(&peer.raw)).unwrap();
        peer.forget();
        peer
    }

    /// A peer whose `connect` was accepted.
    fn connected(limits: Limits) -> Self {
        let mut peer = Self::shaken(limits);
        peer.call(0, "connect", 1.0, &[]);
        peer.accept();
        peer.forget();
        peer
    }

    /// A connected peer with message stream 1.
    fn ready(limits: Limits) -> Self {
        let mut peer = Self::connected(limits);
        peer.call(0, "createStream", 2.0, &[]);
        assert_eq!(peer.said(), ["_result 2 1"]);
        peer
    }

    /// A peer that publishes `film` on message stream 1.
    fn publishing(limits: Limits) -> Self {
        let mut peer = Self::ready(limits);
        peer.publish("film");
        peer.accept();
        peer.forget();
        peer
    }

    /// A peer that plays `film` on message stream 1.
    fn playing(limits: Limits) -> Self {
        let mut peer = Self::ready(limits);
        peer.play("film");
        peer.accept();
        peer.forget();
        peer
    }

    /// C0 and C1, and a function that makes C2 of what came back.
    fn open(&mut self, kind: HandshakeKind) -> (Vec<u8>, impl Fn(&[u8]) -> Vec<u8> + use<>) {
        let make = move || ClientHandshake::new(kind, &[7; RANDOM]);
        let mut hello = Vec::new();
        make().start(&mut hello);
        self.handshake = Some(make());
        let answer = move |down: &[u8]| {
            let mut c2 = Vec::new();
            make().input(down, &mut c2).unwrap();
            c2
        };
        (hello, answer)
    }

    /// Sends bytes as they are.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = self.with_chain(|chain, env| chain.on_data(bytes, env));
        self.collect();
        result
    }

    /// The bytes of a message in chunks.
    fn chunks(&mut self, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        if message.kind == kind::SET_CHUNK_SIZE {
            let size = message.body.first_chunk().map(|size| u32::from_be_bytes(*size));
            self.writer.set_chunk_size(&mut out, size.unwrap());
        } else {
            self.writer.write(&mut out, message).unwrap();
        }
        out
    }

    /// Sends a message.
    fn send(&mut self, message: &Message) {
        let bytes = self.chunks(message);
        self.bytes(&bytes).expect("the session goes on");
    }

    /// Sends a message that the session must not survive; gives the rule that it broke.
    fn send_last(&mut self, message: &Message) -> String {
        let bytes = self.chunks(message);
        self.bytes(&bytes).expect_err("the session ends").rule
    }

    /// Calls a command; `connect` brings its object along.
    fn call(&mut self, stream: u32, name: &str, transaction: f64, args: &[Value]) {
        self.send(&call(stream, name, transaction, args));
    }

    fn publish(&mut self, name: &str) {
        self.call(1, "publish", 3.0, &[name.into(), "live".into()]);
    }

    fn play(&mut self, name: &str) {
        self.call(1, "play", 4.0, &[name.into()]);
    }

    fn control(&mut self, control: Control) {
        self.send(&control_message(control));
    }

    /// Orders something from the session.
    fn order(&mut self, order: Order) {
        self.try_order(order).expect("the session goes on");
    }

    fn try_order(&mut self, order: Order) -> Result<(), Error> {
        let result = self.with_chain(|chain, env| chain.on_command(order, env));
        self.collect();
        result
    }

    /// Says yes to the oldest request.
    fn accept(&mut self) {
        self.answer(Answer::Accept).expect("the session goes on");
    }

    /// Says no to the oldest request.
    fn reject(&mut self, code: &str) {
        let answer = Answer::Reject { code: code.to_owned(), text: "no".to_owned() };
        self.answer(answer).expect("the session goes on");
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Error> {
        assert!(!self.requests.is_empty(), "a request waits");
        let order = self.requests.remove(0).answered(answer);
        self.try_order(order)
    }

    /// Lets time pass, doing on the way what is due.
    fn wait(&mut self, ms: u64) -> Result<(), Error> {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.chain.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.with_chain(|chain, env| chain.on_timeout(env))?;
            self.collect();
        }
        self.now = end;
        Ok(())
    }

    /// When something is due next, in ms from now.
    fn due(&self) -> Option<u64> {
        let at = self.chain.poll_timeout()?;
        Some(at.saturating_duration_since(self.now).as_millis() as u64)
    }

    /// What the server has said since the last time.
    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// What the session has told the server since the last time.
    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    fn forget(&mut self) {
        self.said.clear();
        self.events.clear();
    }

    /// Why the connection is to be closed, where it is.
    fn closing(&self) -> Option<String> {
        self.chain.closing().map(|error| error.rule.clone())
    }

    /// Demands that the session still serves.
    fn assert_open(&mut self) {
        self.forget();
        self.control(Control::User(UserControl::PingRequest(99)));
        assert_eq!(self.said(), ["Pong 99"]);
        assert_eq!(self.closing(), None);
    }

    fn with_chain<T>(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
        run(&mut self.chain, &mut Env { now: self.now, random: &mut |bytes| bytes.fill(5) })
    }

    /// Takes out what the session has to say, and turns it into lines.
    fn collect(&mut self) {
        for event in self.chain.take_events() {
            self.requests.extend(Request::of(&event));
            self.events.push(event_line(&event));
            self.log.push(format!("{event:?}"));
        }
        let queue = self.chain.send().unwrap();
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        self.raw.extend_from_slice(&bytes);
        let mut rest = &bytes[..];
        if let Some(handshake) = &mut self.handshake {
            let (used, done) = handshake.input(rest, &mut Vec::new()).unwrap();
            rest = &rest[used..];
            if done {
                self.handshake = None;
            }
        }
        loop {
            let (used, message) = self.reader.read(rest, &ReadLimits::after(&Limits::default())).unwrap();
            rest = &rest[used..];
            let Some(message) = message else { break };
            self.said.push(message_line(&message));
        }
    }
}

impl Request {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Connect { request, .. } => Some(Self::Connect(*request)),
            Event::Publish { request, .. } => Some(Self::Publish(*request)),
            Event::Play(play) => Some(Self::Play(play.request)),
            Event::Message { request, .. } | Event::CheckBandwidth { request } => request.map(Self::Message),
            _ => None,
        }
    }

    fn answered(self, answer: Answer) -> Order {
        match self {
            Self::Connect(request) => Order::AnswerConnect { request, answer },
            Self::Publish(request) => Order::AnswerPublish { request, answer },
            Self::Play(request) => Order::AnswerPlay { request, answer },
            Self::Message(request) => {
                let result = match answer {
                    Answer::Reject { code, text } => Err((code, text)),
                    _ => Ok("done".into()),
                };
                Order::AnswerMessage { request, result }
            }
        }
    }
}

fn settings() -> SessionSettings {
    SessionSettings {
        limits: Arc::default(),
        validate_handshake: true,
        chunk_size: 60_000,
        instance: Arc::from(""),
    }
}

/// A command in a message; `connect` brings the object that servers need.
fn call(stream: u32, name: &str, transaction: f64, args: &[Value]) -> Message {
    let object = match (name, args) {
        ("connect", []) => object(&[
            ("app", "live".into()),
            ("flashVer", "LNX 9,0,124,2".into()),
            ("tcUrl", "rtmp://localhost/live".into()),
        ]),
        _ => Value::Null,
    };
    command(stream, &Command::call(name, transaction, object, args.to_vec()))
}

fn command(stream: u32, command: &Command) -> Message {
    let mut body = Vec::new();
    command.encode(&mut body);
    Message { csid: 3, kind: kind::COMMAND, stream, timestamp: 0, body: body.into() }
}

fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

fn control_message(control: Control) -> Message {
    let mut body = Vec::new();
    control.encode(&mut body);
    message(2, control.kind(), 0, 0, body)
}

fn message(csid: u32, kind: u8, stream: u32, timestamp: u32, body: impl Into<Slice>) -> Message {
    Message { csid, kind, stream, timestamp, body: body.into() }
}

/// A key frame of `size` bytes and more.
fn key_frame(stream: u32, timestamp: u32, size: usize) -> Message {
    message(6, kind::VIDEO, stream, timestamp, [&[0x17, 1, 0, 0, 0][..], &vec![9; size]].concat())
}

fn sound(stream: u32, timestamp: u32) -> Message {
    message(4, kind::AUDIO, stream, timestamp, vec![0xAF, 1, 0x21, 0x10])
}

fn data(stream: u32, name: &str, args: &[Value]) -> Message {
    let mut body = Vec::new();
    Data { name: name.to_owned(), args: args.to_vec() }.encode(&mut body);
    message(4, kind::DATA, stream, 0, body)
}

/// An event in one line.
fn event_line(event: &Event) -> String {
    match event {
        Event::Connect { info, .. } => format!("Connect {}", info.app),
        Event::Publish { slot, name, kind, .. } => match kind {
            PublishKind::Live => format!("Publish {} {name}", slot.0),
            kind => format!("Publish {} {name} {kind:?}", slot.0),
        },
        Event::Play(play) => format!("Play {} {}", play.slot.0, play.name),
        Event::Message { request, slot, command, .. } => {
            let wish = if request.is_some() { " wants an answer" } else { "" };
            format!("Message {} {command}{wish}", slot.0)
        }
        Event::Metadata { slot, values } => format!("Metadata {} of {} values", slot.0, values.len()),
        Event::Frame { slot, frame } => {
            let kind = match frame.kind {
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
                MediaKind::Data => "data",
            };
            let role = match frame.role {
                Role::Config => "config",
                Role::Info => "info",
                Role::Key => "key",
                Role::Delta => "delta",
                Role::Disposable => "disposable",
                Role::Side => "side",
            };
            format!("Frame {} {kind} {role} {}", slot.0, frame.dts)
        }
        Event::Unpublish { slot } => format!("Unpublish {}", slot.0),
        Event::Unplay { slot } => format!("Unplay {}", slot.0),
        Event::Pause { slot, paused } => format!("Pause {} {paused}", slot.0),
        Event::Receive { slot, audio, video } => format!("Receive {} {audio:?} {video:?}", slot.0),
        Event::CallResult { ticket, outcome, args } => {
            format!("CallResult {ticket} {outcome:?}{}", args.iter().map(value_text).collect::<String>())
        }
        Event::Pong { rtt_ms } => format!("Pong {rtt_ms}"),
        Event::Became(became) => format!("Became {}", became.chain),
        Event::Tunnel { .. } => "Tunnel".to_owned(),
        Event::Reconnect { url } => format!("Reconnect {}", url.as_deref().unwrap_or("here")),
        Event::Shared(request) => {
            let persistent = if request.persistent { " persistent" } else { "" };
            format!("Shared {}{persistent} {:?}", request.name, request.wishes)
        }
        Event::CheckBandwidth { .. } => "CheckBandwidth".to_owned(),
        Event::BandwidthTested(report) => {
            let sample = |sample: Option<crtmp_media::BandwidthSample>| match sample {
                Some(sample) => format!("{} in {} ms", sample.bytes, sample.time.as_millis()),
                None => "nothing".to_owned(),
            };
            let (down, up) = (sample(report.down), sample(report.up));
            format!(
                "BandwidthTested {down}, {up}{}",
                report.trouble.map(|text| format!(": {text}")).unwrap_or_default()
            )
        }
        Event::Skipped(what) => format!("Skipped {what:?}"),
    }
}

/// A message of the server in one line.
fn message_line(message: &Message) -> String {
    let at = if message.stream == 0 { String::new() } else { format!("@{}", message.stream) };
    match message.kind {
        kind::COMMAND | kind::COMMAND_AMF3 => {
            let command = Command::parse(message.kind, &message.body, &Limits::default()).unwrap();
            let kind = if message.kind == kind::COMMAND { "" } else { "17: " };
            let mut line = format!("{kind}{}{at}", command.name);
            if command.transaction != 0.0 {
                line += &format!(" {}", command.transaction);
            }
            for value in &command.args {
                line += &value_text(value);
            }
            line
        }
        kind::DATA => {
            let data = Data::parse(message.kind, &message.body, &Limits::default()).unwrap();
            format!("data{at} {}{}", data.name, data.args.iter().map(value_text).collect::<String>())
        }
        kind::SHARED_OBJECT | kind::SHARED_OBJECT_AMF3 => {
            let limits = Limits::default();
            let said = SharedObjectMessage::parse(message.kind, &message.body, &limits).unwrap();
            let persistent = if said.persistent { " persistent" } else { "" };
            format!("{}: {} {}{persistent} {:?}", message.kind, said.name, said.version, said.events)
        }
        _ => match Control::parse(message.kind, &message.body).unwrap().unwrap() {
            Control::Acknowledgement(sequence) => format!("Acknowledge {sequence}"),
            Control::User(UserControl::PingResponse(stamp)) => format!("Pong {stamp}"),
            Control::User(UserControl::PingRequest(stamp)) => format!("Ping {stamp}"),
            Control::User(UserControl::StreamBegin(stream)) => format!("StreamBegin {stream}"),
            Control::User(UserControl::StreamEof(stream)) => format!("StreamEof {stream}"),
            Control::WindowAckSize(window) => format!("WindowAckSize {window}"),
            Control::PeerBandwidth { window, .. } => format!("PeerBandwidth {window}"),
            other => format!("{other:?}"),
        },
    }
}

/// A value as far as tests want to see it: of an object with a code that code, of null nothing.
fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(number) => format!(" {number}"),
        Value::Boolean(flag) => format!(" {flag}"),
        Value::String(text) => format!(" {text}"),
        other => match other.get("code").and_then(Value::as_str) {
            Some(code) => format!(" {code}"),
            None => format!(" {other:?}"),
        },
    }
}
