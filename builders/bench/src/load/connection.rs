//! One connection to the server, from the client's side.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Instant;

use crtmp_media::{Limits, Value};
use crtmp_rtmp::chunk::{ChunkReader, ChunkWriter, DEFAULT_CHUNK_SIZE, Message, ReadLimits, encode_message};
use crtmp_rtmp::handshake::{ClientHandshake, HandshakeKind, RANDOM};
use crtmp_rtmp::message::{Command, Control, UserControl, kind};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::plan::Scheme;
use super::veil::Veil;
use crate::clock::{self, SECOND};
use crate::judge::Judge;
use crate::source::Source;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The publisher of this number.
    Publisher(usize),
    /// A player of this class, with this number in it.
    Player { class: usize, number: usize },
    /// One of the storm.
    Storm,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// TCP connects.
    Opening,
    /// The handshake goes on.
    Shaking,
    /// `connect` was sent.
    Connecting,
    /// `createStream` was sent.
    Creating,
    /// `publish` or `play` was sent.
    Asking,
    /// It publishes or plays.
    Live,
}

/// What a client says about itself and its stream.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) application: &'a str,
    pub(super) target: SocketAddr,
    pub(super) name: &'a str,
    pub(super) publish: bool,
    /// It is live once `connect` is answered.
    pub(super) connect_only: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) role: Role,
    pub(super) stage: Stage,
    /// When TCP was told to connect.
    pub(super) begun: u64,
    /// When `connect` was sent.
    pub(super) asked: u64,
    /// When it became live.
    pub(super) started: u64,
    /// The message stream.
    pub(super) stream: u32,
    /// Present while the chunk stream is read; without it bytes are thrown away.
    pub(super) reader: Option<Box<ChunkReader>>,
    pub(super) judge: Option<Box<Judge>>,
    pub(super) source: Option<Box<Source>>,
    /// It no longer reads when something comes, but by the clock or not at all.
    pub(super) slow: bool,
    /// What the client has said about the time at which [`Self::tick`] is called.
    pub(super) armed: Option<Instant>,
    scheme: Scheme,
    /// What stands around RTMP; none: nothing.
    veil: Option<Box<Veil>>,
    handshake: Option<Box<ClientHandshake>>,
    out: Vec<u8>,
    /// Bytes that have left RTMP; there are none without a veil.
    sealed: Vec<u8>,
    sent: usize,
    bytes: u64,
    acknowledged: u64,
    window: u64,
    spoke: u64,
}

/// A silent player says something after this time, in nanoseconds, as one that answers pings would.
const SILENCE: u64 = 20 * SECOND;

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

impl Connection {
    /// Begins to connect.
    pub(super) fn open(
        target: SocketAddr,
        from: Option<Ipv4Addr>,
        receive_buffer: Option<usize>,
        role: Role,
        scheme: Scheme,
        veil: Option<Veil>,
    ) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(size) = receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(from) = from {
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
        }
        let begun = clock::now();
        match socket.connect(&SockAddr::from(target)) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self {
            socket: TcpStream::from_std(socket.into()),
            role,
            stage: Stage::Opening,
            begun,
            asked: 0,
            started: 0,
            stream: 0,
            reader: Some(Box::default()),
            judge: None,
            source: None,
            slow: false,
            armed: None,
            scheme,
            veil: veil.map(Box::new),
            handshake: None,
            out: Vec::new(),
            sealed: Vec::new(),
            sent: 0,
            bytes: 0,
            acknowledged: 0,
            window: 2_500_000,
            spoke: begun,
        })
    }

    /// Whether TCP is connected by now.
    pub(super) fn is_open(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Goes on once TCP is connected: C0 and C1, or without a handshake what tells a raw publisher from a raw player.
    pub(super) fn opened(&mut self, raw: bool, now: u64) -> io::Result<()> {
        if raw {
            let (role, number) = match self.role {
                Role::Publisher(number) => (b'S', number),
                Role::Player { number, .. } => (b'R', number),
                Role::Storm => (b'R', 0),
            };
            self.out.extend_from_slice(&crate::floor::hello(role, number as u32));
            self.stage = Stage::Live;
            self.started = now;
            // Nobody reads acknowledgements there.
            (self.window, self.spoke) = (u64::MAX, u64::MAX);
        } else {
            self.stage = Stage::Shaking;
            match &mut self.veil {
                Some(veil) => veil.opened().map_err(io::Error::other)?,
                None => self.shake(),
            }
        }
        self.flush()
    }

    /// Says C0 and C1.
    fn shake(&mut self) {
        // Servers do not look at the random bytes, so all clients have the same.
        let random = [0x5A; RANDOM];
        let handshake = Box::new(ClientHandshake::new(HandshakeKind::Simple, &random));
        handshake.start(&mut self.out);
        self.handshake = Some(handshake);
    }

    /// Whether it looks at what it receives.
    pub(super) const fn reads(&self) -> bool {
        self.reader.is_some() || self.scheme.answers()
    }

    /// When [`Self::tick`] wants to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.veil.as_ref()?.due()
    }

    /// Does what stands around RTMP wants to do by itself.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        if let Some(veil) = &mut self.veil {
            veil.tick()?;
        }
        self.flush().map_err(|error| error.to_string())
    }

    /// Takes bytes that came at the instant `now`; `media` gets audio and video messages.
    pub(super) fn input(
        &mut self,
        data: &[u8],
        wish: &Wish<'_>,
        now: u64,
        media: &mut dyn FnMut(&mut Self, &Message),
    ) -> Result<(), String> {
        let Some(veil) = &mut self.veil else { return self.input_plain(data, wish, now, media) };
        let (mut plain, was_open) = (Vec::new(), veil.is_open());
        veil.input(data, &mut plain)?;
        if veil.is_open() && !was_open {
            if self.scheme.shakes() {
                self.connect(wish, now);
            } else {
                self.shake();
            }
        }
        self.input_plain(&plain, wish, now, media)
    }

    /// Takes bytes of RTMP.
    fn input_plain(
        &mut self,
        mut data: &[u8],
        wish: &Wish<'_>,
        now: u64,
        media: &mut dyn FnMut(&mut Self, &Message),
    ) -> Result<(), String> {
        if let Some(handshake) = &mut self.handshake {
            let (used, done) = handshake.input(data, &mut self.out).map_err(|error| error.to_string())?;
            data = &data[used..];
            if !done {
                return self.flush().map_err(|error| error.to_string());
            }
            self.handshake = None;
            self.connect(wish, now);
        }
        let limits = ReadLimits::after(&LIMITS);
        while let Some(mut reader) = self.reader.take() {
            let result = reader.read(data, &limits);
            self.reader = Some(reader);
            let (used, message) = result.map_err(|error| error.to_string())?;
            data = &data[used..];
            let Some(message) = message else { break };
            match message.kind {
                kind::AUDIO | kind::VIDEO => media(self, &message),
                kind::COMMAND | kind::COMMAND_AMF3 => self.command(&message, wish, now)?,
                kind::WINDOW_ACK_SIZE | kind::USER_CONTROL => self.control(&message),
                _ => {}
            }
        }
        self.flush().map_err(|error| error.to_string())
    }

    /// Says `connect`.
    fn connect(&mut self, wish: &Wish<'_>, now: u64) {
        self.stage = Stage::Connecting;
        self.asked = now;
        let url = format!("rtmp://{}/{}", wish.target, wish.application);
        let object = [
            ("app", wish.application),
            ("type", "nonprivate"),
            ("flashVer", "LNX 9,0,124,2"),
            ("tcUrl", &url),
        ];
        let object = object.map(|(name, value)| (name.to_owned(), Value::from(value))).to_vec();
        self.call(0, &Command::call("connect", 1.0, Value::Object(object), Vec::new()));
    }

    /// Counts received bytes, and acknowledges them as the server asked.
    pub(super) fn received(&mut self, bytes: usize, now: u64) {
        self.bytes += bytes as u64;
        if self.stage >= Stage::Connecting
            && (self.bytes - self.acknowledged >= self.window || now.saturating_sub(self.spoke) > SILENCE)
        {
            self.acknowledged = self.bytes;
            self.spoke = now;
            ChunkWriter::new().write_control(&mut self.out, Control::Acknowledgement(self.bytes as u32));
        }
    }

    /// Where bytes that shall be sent are appended.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait to be sent.
    pub(super) const fn waiting(&self) -> usize {
        self.out.len() + self.sealed.len() - self.sent
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let out = match &mut self.veil {
            Some(veil) => {
                let mut nothing = Vec::new();
                let plain = if veil.is_open() { &mut self.out } else { &mut nothing };
                veil.output(plain, &mut self.sealed).map_err(io::Error::other)?;
                &mut self.sealed
            }
            None => &mut self.out,
        };
        while self.sent < out.len() {
            match self.socket.write(&out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        if self.source.is_some() {
            out.clear();
        } else {
            *out = Vec::new();
        }
        Ok(())
    }

    fn command(&mut self, message: &Message, wish: &Wish<'_>, now: u64) -> Result<(), String> {
        let command =
            Command::parse(message.kind, &message.body, &LIMITS).map_err(|error| error.to_string())?;
        match (command.name.as_str(), self.stage) {
            ("_result", Stage::Connecting) if command.transaction == 1.0 && wish.connect_only => {
                self.stage = Stage::Live;
                self.started = now;
            }
            ("_result", Stage::Connecting) if command.transaction == 1.0 => {
                self.stage = Stage::Creating;
                self.call(0, &Command::call("createStream", 2.0, Value::Null, Vec::new()));
            }
            ("_result", Stage::Creating) if command.transaction == 2.0 => {
                self.stage = Stage::Asking;
                self.stream = command.args.first().and_then(Value::as_f64).unwrap_or(1.0) as u32;
                let (name, last) = if wish.publish {
                    ("publish", Value::from("live"))
                } else {
                    ("play", Value::Number(-2000.0))
                };
                let args = vec![Value::from(wish.name), last];
                self.call(self.stream, &Command::call(name, 3.0, Value::Null, args));
            }
            ("_error", _) => return Err(format!("_error: {:?}", command.args)),
            ("onStatus", stage) => {
                let Some(Value::Object(members)) = command.args.first() else { return Ok(()) };
                let member = |wanted: &str| {
                    members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
                };
                if member("level") == Some(Value::from("error")) {
                    return Err(format!("onStatus: {:?}", member("code")));
                }
                let start = if wish.publish { "NetStream.Publish.Start" } else { "NetStream.Play.Start" };
                if stage == Stage::Asking && member("code") == Some(Value::from(start)) {
                    self.stage = Stage::Live;
                    self.started = now;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn control(&mut self, message: &Message) {
        match Control::parse(message.kind, &message.body) {
            Ok(Some(Control::WindowAckSize(window))) => self.window = u64::from(window.max(1)),
            Ok(Some(Control::User(UserControl::PingRequest(time)))) => {
                let answer = Control::User(UserControl::PingResponse(time));
                ChunkWriter::new().write_control(&mut self.out, answer);
            }
            _ => {}
        }
    }

    fn call(&mut self, stream: u32, command: &Command) {
        let mut body = Vec::with_capacity(256);
        command.encode(&mut body);
        encode_message(&mut self.out, 3, 0, kind::COMMAND, stream, &[&body], DEFAULT_CHUNK_SIZE)
            .expect("commands are short");
    }
}
