//! RTMPT byte by byte: requests of HTTP, right and wrong, and a client of RTMP that travels in them.
//!
//! It shares no code with the server on purpose.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::wire::{self, Chunks, Message};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The size of handshake blocks.
const BLOCK: usize = 1536;

/// A response of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its head, as it came.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// A connection that requests are sent by.
#[derive(Debug)]
pub struct Post {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Post {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If nobody listens, here and in [`from`](Self::from).
    pub fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens"))
    }

    /// Connects from another address of this machine.
    ///
    /// # Panics
    ///
    /// If the address is none of this machine.
    pub fn from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket option");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Self { socket, bytes: Vec::new() }
    }

    /// Sends bytes as they are. An error is no failure: the server may have closed already.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Sends a request of RTMPT.
    pub fn ask(&mut self, path: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-fcs\r\nContent-Length: {length}\r\n\r\n"
        );
        self.write(&[head.as_bytes(), body].concat());
    }

    /// The next response; none where the server has closed before it was whole.
    ///
    /// # Panics
    ///
    /// If it is none, or does not come.
    pub fn response(&mut self) -> Option<Response> {
        loop {
            if let Some(response) = self.whole() {
                return Some(response);
            }
            let mut buffer = [0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no response: {error}; {} bytes came", self.bytes.len()),
            }
        }
    }

    /// Sends a request and takes its response.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn asked(&mut self, path: &str, body: &[u8]) -> Response {
        self.ask(path, body);
        self.response().expect("a response")
    }

    /// Whether the server closes the connection, having said nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.response().is_none() && self.bytes.is_empty()
    }

    fn whole(&mut self) -> Option<Response> {
        let end = self.bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.bytes[..end].to_vec()).expect("a head in ASCII");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        let body = self.bytes.get(end..end + length)?.to_vec();
        self.bytes.drain(..end + length);
        Some(Response { status, head, body })
    }
}

/// A client of RTMP whose bytes travel in requests.
#[derive(Debug)]
pub struct Tunnel {
    /// Where requests go.
    pub address: SocketAddr,
    /// The connection that they go by.
    pub post: Post,
    /// The session.
    pub id: String,
    /// The number of the next request.
    pub number: u32,
    incoming: Chunks,
}

impl Tunnel {
    /// Opens a session.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn open(address: SocketAddr) -> Self {
        Self::opened_by(Post::to(address), address)
    }

    /// Opens a session by this connection.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn opened_by(mut post: Post, address: SocketAddr) -> Self {
        let opened = post.asked("/open/1", b"\0");
        assert_eq!(opened.status, 200, "{opened:?}");
        let id = String::from_utf8(opened.body).expect("an id in ASCII");
        let id = id.strip_suffix('\n').expect("a line feed behind the id").to_owned();
        Self { address, post, id, number: 0, incoming: Chunks::default() }
    }

    /// A session that has shaken hands and is connected to the application.
    pub fn connected(address: SocketAddr, application: &str) -> Self {
        let mut tunnel = Self::open(address);
        tunnel.connect(application);
        tunnel
    }

    /// Shakes hands and connects to the application.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn connect(&mut self, application: &str) {
        let mut c0c1 = vec![3];
        c0c1.resize(1 + BLOCK, 0);
        self.exchange("send", &c0c1);
        let answer = self.wait_for("the handshake", |tunnel| tunnel.incoming.take(1 + 2 * BLOCK));
        self.exchange("send", &answer[1..=BLOCK]);
        self.send(&wire::connect(application, &format!("rtmpt://{}/{application}", self.address)));
        self.expect("_result");
    }

    /// Asks to play `stream`.
    pub fn play(&mut self, stream: &str) {
        self.send(&Message::command(0, "createStream", 4.0, &[wire::amf::null()]));
        self.expect("_result");
        self.send(&wire::play(1, stream));
    }

    /// The path of a request of the session.
    pub fn path(&self, verb: &str, number: u32) -> String {
        format!("/{verb}/{}/{number}", self.id)
    }

    /// Sends a request with the next number, and takes what its response brings.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn exchange(&mut self, verb: &str, body: &[u8]) -> Response {
        let path = self.path(verb, self.number);
        self.number += 1;
        let response = self.post.asked(&path, body);
        self.take(&response);
        response
    }

    /// Takes what a response brings.
    ///
    /// # Panics
    ///
    /// If it is a refusal.
    pub fn take(&mut self, response: &Response) {
        assert_eq!(response.status, 200, "{response:?}");
        assert!((1..=33).contains(&response.body[0]), "the interval of {response:?}");
        self.incoming.feed(&response.body[1..]);
    }

    /// Sends a message in chunks of 128 bytes.
    pub fn send(&mut self, message: &Message) {
        self.exchange("send", &message.chunks(128));
    }

    /// Asks until a message is a command that holds `text`.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn expect(&mut self, text: &str) -> Message {
        self.wait_for(text, |tunnel| tunnel.message(|message| message.says(text)))
    }

    /// Asks until there are `count` messages of this type.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub fn expect_many(&mut self, kind: u8, count: usize) {
        for _ in 0..count {
            self.wait_for("media", |tunnel| tunnel.message(|message| message.kind == kind));
        }
    }

    /// The first message of those that have come that is the right one; those before it are forgotten.
    pub fn message(&mut self, is_it: impl Fn(&Message) -> bool) -> Option<Message> {
        std::iter::from_fn(|| self.incoming.message()).find(is_it)
    }

    fn wait_for<T>(&mut self, what: &str, mut probe: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come");
            self.exchange("idle", b"\0");
        }
    }
}
