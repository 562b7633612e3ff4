//! A tiny HTTP server that answers as a test likes, also wrongly.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// The start line and the header fields.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Heard {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The server; each connection is served by a thread.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Receiver<Heard>,
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Answers each request with `answer`, which may write what it likes; then the connection is closed.
    pub(crate) fn start(answer: impl Fn(&Heard, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// Like [`start`](Self::start), at an address that is known.
    pub(crate) fn at(
        address: SocketAddr,
        answer: impl Fn(&Heard, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        // A port of before is taken again although connections of before are not quite gone.
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(128).unwrap();
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let thread = thread::spawn({
            let over = over.clone();
            move || {
                for stream in listener.incoming() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (tell, answer, mut stream) = (tell.clone(), answer.clone(), stream.unwrap());
                    thread::spawn(move || {
                        if let Some(request) = hear(&mut stream) {
                            let _ = tell.send(request.clone());
                            answer(&request, &mut stream);
                        }
                    });
                }
            }
        });
        Self { address, heard, over, thread: Some(thread) }
    }

    /// Says 200 to everything.
    pub(crate) fn content() -> Self {
        Self::start(|_, stream| say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    }

    /// The URL of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    pub(crate) fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("a request")
    }

    /// Whether a request has come that nobody has asked for.
    pub(crate) fn heard_more(&self) -> bool {
        self.heard.try_recv().is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes all of it, as far as the other side listens.
pub(crate) fn say(stream: &mut impl Write, text: impl AsRef<[u8]>) {
    let _ = stream.write_all(text.as_ref());
}

/// Waits until the other side gives up.
pub(crate) fn hang(stream: &mut TcpStream) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

/// Cuts the connection as a crash would.
pub(crate) fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An address where nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Reads one request.
pub(crate) fn hear(stream: &mut impl Read) -> Option<Heard> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if bytes.len() >= end + 4 + length {
            return Some(Heard { head, body: String::from_utf8(bytes[end + 4..].to_vec()).unwrap() });
        }
    }
}
