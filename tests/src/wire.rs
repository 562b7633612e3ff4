//! RTMP byte by byte: a client that says right and wrong things.
//!
//! It shares no code with the server on purpose. It writes every message with a full header and does what it
//! is told; [`Chunks`] understands whatever valid chunks a server sends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub use crate::chunks::Chunks;

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The id of its chunk stream.
    pub chunk_stream: u32,
    /// Its type: 20 is a command, 8 audio, 9 video, 1 to 6 control.
    pub kind: u8,
    /// The id of its message stream.
    pub stream: u32,
    /// Its time in milliseconds.
    pub time: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Message {
    /// A command: its name, its transaction, and further values, all encoded with [`amf`].
    pub fn command(stream: u32, name: &str, transaction: f64, values: &[Vec<u8>]) -> Self {
        let mut payload = amf::string(name);
        payload.extend(amf::number(transaction));
        payload.extend(values.concat());
        Self { chunk_stream: 3, kind: 20, stream, time: 0, payload }
    }

    /// Whether it is a command or notification that holds this text.
    pub fn says(&self, text: &str) -> bool {
        matches!(self.kind, 15..=20) && self.payload.windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// The number that follows a text in AMF0, such as the transaction behind the name of a command.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn number_behind(&self, text: &str) -> f64 {
        let at = self.payload.windows(text.len()).position(|part| part == text.as_bytes()).expect("the text");
        let bytes = self.payload[at + text.len() + 1..].first_chunk().expect("a number of eight bytes");
        f64::from_be_bytes(*bytes)
    }

    /// The bytes of its chunks, of at most `size` bytes each.
    ///
    /// # Panics
    ///
    /// If the chunk stream id is not between 2 and 63.
    pub fn chunks(&self, size: usize) -> Vec<u8> {
        let basic = u8::try_from(self.chunk_stream).expect("a small id");
        assert!((2..64).contains(&basic), "chunk stream {basic} needs a longer header");
        let mut out = vec![basic];
        let extended = self.time >= 0xff_ffff;
        out.extend(&self.time.min(0xff_ffff).to_be_bytes()[1..]);
        out.extend(&u32::try_from(self.payload.len()).expect("a message").to_be_bytes()[1..]);
        out.push(self.kind);
        out.extend(self.stream.to_le_bytes());
        for (index, part) in self.payload.chunks(size).enumerate() {
            if index > 0 {
                out.push(0xc0 | basic);
            }
            if extended {
                out.extend(self.time.to_be_bytes());
            }
            out.extend(part);
        }
        if self.payload.is_empty() && extended {
            out.extend(self.time.to_be_bytes());
        }
        out
    }
}

/// A connection to the server.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    incoming: Chunks,
}

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The size of handshake blocks.
const BLOCK: usize = 1536;

impl Client {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens"))
    }

    /// A client on a socket that is connected, and says nothing yet.
    ///
    /// # Panics
    ///
    /// If the socket is not usable.
    pub fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket option");
        Self { socket, incoming: Chunks::default() }
    }

    /// The socket, for what the other functions do not do.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, and what has come through it that nobody has taken yet: for readers of another kind.
    pub fn into_parts(self) -> (TcpStream, Chunks) {
        (self.socket, self.incoming)
    }

    /// Connects and shakes hands, the simple way.
    pub fn shaken(address: SocketAddr) -> Self {
        let mut client = Self::open(address);
        client.handshake();
        client
    }

    /// Connects, shakes hands, and connects to `application` with the command `connect`.
    pub fn connected(address: SocketAddr, application: &str) -> Self {
        let mut client = Self::shaken(address);
        client.send(&connect(application, &format!("rtmp://{address}/{application}")));
        client.expect("_result");
        client
    }

    /// [`connected`](Self::connected), and publishes `stream` on message stream 1.
    pub fn publisher(address: SocketAddr, application: &str, stream: &str) -> Self {
        let mut client = Self::connected(address, application);
        client.create_stream();
        client.send(&publish(1, stream));
        client.expect("NetStream.Publish.Start");
        client
    }

    /// [`connected`](Self::connected), and asks to play `stream` on message stream 1.
    pub fn player(address: SocketAddr, application: &str, stream: &str) -> Self {
        let mut client = Self::connected(address, application);
        client.create_stream();
        client.send(&play(1, stream));
        client
    }

    /// Sends C0 to C2 and takes S0 to S2.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn handshake(&mut self) {
        let mut c0c1 = vec![3];
        c0c1.extend([0; 8]);
        c0c1.extend((0..BLOCK - 8).map(|index| (index % 251) as u8));
        self.write(&c0c1);
        let answer = self.take(1 + 2 * BLOCK);
        assert_eq!(answer[0], 3, "the version in S0");
        self.write(&answer[1..=BLOCK]);
    }

    /// Sends `createStream` and takes its answer.
    pub fn create_stream(&mut self) {
        self.send(&Message::command(0, "createStream", 4.0, &[amf::null()]));
        self.expect("_result");
    }

    /// Sends a message in chunks of 128 bytes.
    pub fn send(&mut self, message: &Message) {
        self.write(&message.chunks(128));
    }

    /// Sends bytes as they are. An error is no failure: the server may have closed already, and
    /// [`expect_close`](Self::expect_close) tells.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.set_write_timeout(Some(PATIENCE));
        let _ = self.socket.write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The next message, or `None` if there is none within `limit` or the server has closed.
    ///
    /// # Panics
    ///
    /// If the server sends chunks that are not valid.
    pub fn message(&mut self, limit: Duration) -> Option<Message> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.incoming.message() {
                return Some(message);
            }
            if !self.receive(deadline) {
                return None;
            }
        }
    }

    /// Takes messages until one is a command that holds `text`.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn expect(&mut self, text: &str) -> Message {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while let Some(message) = self.message(deadline.saturating_duration_since(Instant::now())) {
            if message.says(text) {
                return message;
            }
            others.push((message.kind, String::from_utf8_lossy(&message.payload).into_owned()));
        }
        panic!("the server did not say `{text}` but {others:?}");
    }

    /// Takes messages until one tells the status of a stream: it must be that the wish was refused.
    ///
    /// # Panics
    ///
    /// If none comes, or it was granted.
    pub fn expect_refusal(&mut self) -> Message {
        let answer = self.expect("NetStream.");
        assert!(
            !answer.says("NetStream.Publish.Start") && !answer.says("NetStream.Play.Start"),
            "it was granted"
        );
        assert!(!answer.says("NetStream.Play.Reset"), "it was granted");
        answer
    }

    /// Takes messages until one has this type.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn expect_kind(&mut self, kind: u8) -> Message {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.message(deadline.saturating_duration_since(Instant::now()));
            let message = message.unwrap_or_else(|| panic!("no message of type {kind}"));
            if message.kind == kind {
                return message;
            }
        }
    }

    /// Demands that the server closes this connection within `limit`; gives what it sent before.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn expect_close(&mut self, limit: Duration) -> Vec<u8> {
        let deadline = Instant::now() + limit;
        while self.receive(deadline) {}
        assert!(Instant::now() < deadline, "the server kept the connection for {limit:?}");
        self.incoming.rest()
    }

    /// Demands that the connection still serves: a ping of ours or a call must be answered.
    pub fn expect_open(&mut self) {
        self.send(&Message::command(0, "createStream", 99.0, &[amf::null()]));
        self.expect("_result");
    }

    /// Exactly so many bytes.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(bytes) = self.incoming.take(count) {
                return bytes;
            }
            assert!(self.receive(deadline), "{} bytes of {count} came", self.incoming.rest().len());
        }
    }

    /// Reads something; `false` when the deadline has passed or the server has closed.
    fn receive(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.socket.set_read_timeout(Some(left)).expect("a socket option");
        let mut buffer = [0; 64 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(count) => {
                self.incoming.feed(&buffer[..count]);
                count > 0
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }
}

/// The command `connect`.
pub fn connect(application: &str, url: &str) -> Message {
    let properties = [
        ("app", amf::string(application)),
        ("type", amf::string("nonprivate")),
        ("flashVer", amf::string("LNX 9,0,124,2")),
        ("tcUrl", amf::string(url)),
    ];
    Message::command(0, "connect", 1.0, &[amf::object(&properties)])
}

/// The command `publish` of a live stream.
pub fn publish(stream: u32, name: &str) -> Message {
    Message::command(stream, "publish", 5.0, &[amf::null(), amf::string(name), amf::string("live")])
}

/// The command `play`.
pub fn play(stream: u32, name: &str) -> Message {
    Message::command(stream, "play", 6.0, &[amf::null(), amf::string(name), amf::number(-2000.0)])
}

/// Values in AMF0.
pub mod amf {
    /// A number.
    pub fn number(value: f64) -> Vec<u8> {
        let mut out = vec![0];
        out.extend(value.to_be_bytes());
        out
    }

    /// A truth value.
    pub fn boolean(value: bool) -> Vec<u8> {
        vec![1, u8::from(value)]
    }

    /// A text of at most 65535 bytes.
    pub fn string(text: &str) -> Vec<u8> {
        let mut out = vec![2];
        out.extend(key(text));
        out
    }

    /// Nothing.
    pub fn null() -> Vec<u8> {
        vec![5]
    }

    /// An object.
    pub fn object(properties: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut out = vec![3];
        for (name, value) in properties {
            out.extend(key(name));
            out.extend(value);
        }
        out.extend([0, 0, 9]);
        out
    }

    fn key(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).expect("a text of at most 65535 bytes");
        let mut out = length.to_be_bytes().to_vec();
        out.extend(text.as_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_one_full_header_and_continuations() {
        let message = Message { chunk_stream: 3, kind: 20, stream: 1, time: 7, payload: vec![9; 130] };
        let bytes = message.chunks(128);
        assert_eq!(bytes[..12], [3, 0, 0, 7, 0, 0, 130, 20, 1, 0, 0, 0]);
        assert_eq!(bytes[12 + 128], 0xc3);
        assert_eq!(bytes.len(), 12 + 130 + 1);
    }

    #[test]
    fn commands_hold_name_transaction_and_values() {
        let message = Message::command(0, "play", 2.0, &[amf::null(), amf::boolean(true)]);
        assert_eq!(
            message.payload,
            [&[2, 0, 4][..], b"play", &[0, 64, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1]].concat()
        );
        assert!(message.says("play") && !message.says("publish"));
    }
}
