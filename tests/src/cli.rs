//! The command line interfaces of a server, as operators use them: sessions of lines, and HTTP.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Server;

/// The time in which an answer must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses of the application `admin`, face by face.
#[derive(Clone, Copy, Debug)]
pub struct Faces {
    /// `inboundTxtCli`.
    pub text: SocketAddr,
    /// `inboundJsonCli`.
    pub json: SocketAddr,
    /// `inboundAsciiCli`.
    pub ascii: SocketAddr,
    /// `inboundHttpJsonCli`.
    pub http: SocketAddr,
}

impl Faces {
    /// The block of `applications` that opens all four; `settings` are further keys of the application.
    pub fn block(settings: &str) -> String {
        let acceptor = |chain| format!("{{ ip = \"127.0.0.1\", port = 0, protocol = \"{chain}\" }}");
        let acceptors = CHAINS.map(acceptor).join(", ");
        format!("{{ name = \"admin\", acceptors = {{ {acceptors} }}, {settings} }}")
    }

    /// Where a server has them.
    ///
    /// # Panics
    ///
    /// If it was not configured with [`block`](Self::block).
    pub fn of(server: &Server) -> Self {
        let [text, json, ascii, http] = CHAINS.map(|chain| server.address_of(chain));
        Self { text, json, ascii, http }
    }
}

/// The secret of [`administrator`].
const SECRET: &str = "open-sesame-please";

/// The block of an administrator with one port, for [`Session::operator`].
pub fn administrator() -> String {
    administrator_at(Ipv4Addr::LOCALHOST)
}

/// [`administrator`] with its port on another address.
pub fn administrator_at(ip: Ipv4Addr) -> String {
    let acceptor = format!("{{ ip = \"{ip}\", port = 0, protocol = \"inboundJsonCli\" }}");
    format!("{{ name = \"admin\", secret = {SECRET:?}, acceptors = {{ {acceptor} }} }}")
}

/// What `listServices` has answered without the counts of connections, which grow.
pub fn without_counts(services: &Value) -> Value {
    let mut services = services.clone();
    for service in services.as_array_mut().into_iter().flatten() {
        if let Some(service) = service.as_object_mut() {
            service.retain(|key, _| !key.ends_with("ConnectionsCount"));
        }
    }
    services
}

const CHAINS: [&str; 4] = ["inboundTxtCli", "inboundJsonCli", "inboundAsciiCli", "inboundHttpJsonCli"];

/// A session of lines.
#[derive(Debug)]
pub struct Session {
    socket: BufReader<TcpStream>,
}

impl Session {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// A session that may do everything, of a server with an [`administrator`].
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn operator(server: &Server) -> Self {
        let mut session = Self::guest(server);
        session.done(&format!("auth secret={SECRET}"));
        session
    }

    /// A session that has not shown the secret.
    ///
    /// # Panics
    ///
    /// If the server has no `inboundJsonCli`.
    pub fn guest(server: &Server) -> Self {
        Self::open(server.address_of("inboundJsonCli"))
    }

    /// A session over a connection that is there already.
    ///
    /// # Panics
    ///
    /// If the socket takes no options.
    pub fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { socket: BufReader::new(socket) }
    }

    /// Its socket.
    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Sends bytes as they are. An error is no failure: the server may have closed already.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.socket.get_mut().write_all(bytes);
    }

    /// Sends a line and takes its answer, which is JSON.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn run(&mut self, line: &str) -> Value {
        self.write(format!("{line}\n").as_bytes());
        self.answer().unwrap_or_else(|| panic!("no answer to {line:.200}"))
    }

    /// [`run`](Self::run), and demands that it is done; gives the data.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn done(&mut self, line: &str) -> Value {
        let mut answer = self.run(line);
        assert_eq!(answer["status"], "SUCCESS", "{line}: {answer}");
        answer["data"].take()
    }

    /// [`run`](Self::run), and demands that it is not done; gives the reason.
    ///
    /// # Panics
    ///
    /// If it is.
    pub fn fails(&mut self, line: &str) -> String {
        let answer = self.run(line);
        assert_eq!(answer["status"], "FAIL", "{line:.200}: {answer:.200}");
        answer["description"].as_str().expect("a text").to_owned()
    }

    /// Sends a line and takes its answer as the text that it is, without the empty line at its end.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn show(&mut self, line: &str) -> String {
        self.write(format!("{line}\n").as_bytes());
        self.block().unwrap_or_else(|| panic!("no answer to {line:.200}"))
    }

    /// The next answer of a session that speaks JSON; none: the server has closed it.
    ///
    /// # Panics
    ///
    /// If what comes is no JSON, or nothing comes at all.
    pub fn answer(&mut self) -> Option<Value> {
        let text = self.block()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:.200}")))
    }

    /// The next lines up to an empty one; none: the server has closed the session.
    ///
    /// # Panics
    ///
    /// If nothing comes.
    pub fn block(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            match self.socket.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waited in vain for an answer: {error}"),
                Ok(_) if line == b"\r\n" => return Some(text),
                Ok(_) => text.push_str(&String::from_utf8(line).expect("answers are UTF-8")),
            }
        }
    }

    /// Everything that comes up to the end of the session.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server did not close: {error}"),
        }
        rest
    }
}

/// Runs commands by HTTP, each over a connection of its own.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    secret: Option<String>,
}

impl Http {
    /// To the face at this address, with the secret, if there is one.
    pub fn new(address: SocketAddr, secret: Option<&str>) -> Self {
        Self { address, secret: secret.map(Into::into) }
    }

    /// `POST /<command>` with this body: the status and the answer.
    ///
    /// # Panics
    ///
    /// If no answer comes, or it is no JSON.
    pub fn post(&self, command: &str, body: &str) -> (u16, Value) {
        let head = format!(
            "POST /{command} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        self.ask(head, body)
    }

    /// `GET` of a target, which begins with `/`.
    ///
    /// # Panics
    ///
    /// If no answer comes, or it is no JSON.
    pub fn get(&self, target: &str) -> (u16, Value) {
        self.ask(format!("GET {target} HTTP/1.1\r\nhost: {}\r\n", self.address), "")
    }

    /// A request as it is, by its head without the empty line: the whole answer.
    ///
    /// # Panics
    ///
    /// If the server does not close in the end.
    pub fn raw(&self, head: &str, body: &str) -> String {
        let mut session = Session::open(self.address);
        session.write(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
        String::from_utf8(session.rest()).expect("answers are UTF-8")
    }

    fn ask(&self, mut head: String, body: &str) -> (u16, Value) {
        if let Some(secret) = &self.secret {
            write!(head, "authorization: Bearer {secret}\r\n").expect("a string takes all");
        }
        let answer = self.raw(&head, body);
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:.200}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body:.200}"));
        (status, body)
    }
}
