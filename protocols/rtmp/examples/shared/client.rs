//! A client's connection: a socket, and a [`Wire`] that makes messages of its bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crtmp_media::{Limits, Value};
use crtmp_rtmp::handshake::{HandshakeKind, RANDOM};
use crtmp_rtmp::message::Command;
use crtmp_rtmp::wire::{Received, Wire};

use super::{Failure, random};

/// The time in which a server must answer what it is asked, and take what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// `rtmp://host[:port]/app[/stream]`: the first part of the path is the application, the rest the stream.
pub(crate) struct Url {
    /// Host and port.
    pub(crate) address: String,
    /// The application.
    pub(crate) app: String,
    /// The stream, with its query string; empty where there is none.
    pub(crate) stream: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || format!("{text:?} is not of the form rtmp://host[:port]/app[/stream]");
        let (host, path) =
            text.strip_prefix("rtmp://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let (app, stream) = path.split_once('/').unwrap_or((path, ""));
        if host.is_empty() || app.is_empty() {
            return Err(wrong().into());
        }
        let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if named { host.to_owned() } else { format!("{host}:1935") };
        Ok(Self { address, app: app.to_owned(), stream: stream.to_owned() })
    }

    /// What has a stream at its end, for those who publish or play.
    pub(crate) fn parse_with_stream(text: &str) -> Result<Self, Failure> {
        let url = Self::parse(text)?;
        if url.stream.is_empty() {
            return Err(format!("{text:?} names no stream: rtmp://host[:port]/app/stream").into());
        }
        Ok(url)
    }
}

/// A connection to a server.
pub(crate) struct Client {
    socket: TcpStream,
    /// What is sent through it goes out with the next [`Client::next`] or [`Client::flush`].
    pub(crate) wire: Wire,
    /// What was read from the socket and not yet by `wire`.
    unread: Vec<u8>,
}

impl Client {
    /// Connects the socket and calls `connect`; gives the server's answer too.
    pub(crate) fn connect(url: &Url) -> Result<(Self, Command), Failure> {
        let addresses = url.address.to_socket_addrs();
        let addresses = addresses.map_err(|error| format!("cannot find {}: {error}", url.address))?;
        let mut failure = format!("{} has no address", url.address);
        let mut socket = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(found) => {
                    socket = Some(found);
                    break;
                }
                Err(error) => failure = format!("cannot connect to {address}: {error}"),
            }
        }
        let socket = socket.ok_or(failure)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut seed = [0; RANDOM];
        random(&mut seed);
        // The simple handshake will do with any server of our days.
        let wire = Wire::client(HandshakeKind::Simple, &seed, Limits::default());
        let mut client = Self { socket, wire, unread: Vec::new() };
        let object = [
            ("app", url.app.as_str().into()),
            ("type", "nonprivate".into()),
            ("flashVer", "FMLE/3.0 (compatible; crtmp-rtmp)".into()),
            ("tcUrl", format!("rtmp://{}/{}", url.address, url.app).into()),
        ];
        let object = object.map(|(key, value): (_, Value)| (key.to_owned(), value)).to_vec();
        let transaction = client.wire.call(0, "connect", Value::Object(object), vec![])?;
        let answer = client.answer("connect", transaction)?;
        Ok((client, answer))
    }

    /// Calls a command of the connection and waits for its answer.
    pub(crate) fn call(&mut self, name: &str, args: Vec<Value>) -> Result<Command, Failure> {
        let transaction = self.wire.call(0, name, Value::Null, args)?;
        self.answer(name, transaction)
    }

    /// Has the server make a message stream; gives its number.
    pub(crate) fn create_stream(&mut self) -> Result<u32, Failure> {
        let answer = self.call("createStream", vec![])?;
        let number = answer.args.first().and_then(Value::as_u32);
        number.ok_or_else(|| "the answer to createStream has no number".into())
    }

    /// Waits for an `onStatus` with this code; one of the level `error` is a failure.
    pub(crate) fn status(&mut self, code: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(received) = self.next(deadline)? {
            if let Some(found) = status(&received)
                && found? == code
            {
                return Ok(());
            }
        }
        Err(format!("no {code} came within {PATIENCE:?}").into())
    }

    /// The next message; nothing if none comes before `deadline`.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Received>, Failure> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let (used, received) = self.wire.read(&self.unread)?;
            self.unread.drain(..used);
            self.flush()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if received.is_some() || left.is_zero() {
                return Ok(received);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err("the server has closed the connection".into()),
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(format!("cannot read from the server: {error}").into()),
            }
        }
    }

    /// Sends all that waits.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let output = self.wire.take_output();
        let sent = self.socket.write_all(&output);
        sent.map_err(|error| format!("cannot write to the server: {error}").into())
    }

    /// Waits for the answer to a call.
    fn answer(&mut self, name: &str, transaction: f64) -> Result<Command, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(received) = self.next(deadline)? {
            let Received::Command { command, .. } = received else { continue };
            if command.transaction != transaction {
                continue;
            }
            match command.name.as_str() {
                "_result" => return Ok(command),
                "_error" => return Err(format!("the server refuses {name}: {}", reason(&command)).into()),
                _ => {}
            }
        }
        Err(format!("the server has not answered {name} within {PATIENCE:?}").into())
    }
}

/// The code of an `onStatus`, or why it is a failure.
pub(crate) fn status(received: &Received) -> Option<Result<String, Failure>> {
    let Received::Command { command, .. } = received else { return None };
    if command.name != "onStatus" {
        return None;
    }
    let text = |key| command.args.first()?.get(key)?.as_str();
    Some(match text("level") {
        Some("error") => Err(format!("the server says {}", reason(command)).into()),
        _ => Ok(text("code").unwrap_or_default().to_owned()),
    })
}

/// Code and description of a status, with escapes where a terminal might obey them.
fn reason(command: &Command) -> String {
    let text = |key| command.args.first()?.get(key)?.as_str();
    let (code, description) = (text("code").unwrap_or("(no code)"), text("description").unwrap_or_default());
    format!("{} {}", code.escape_debug(), description.escape_debug())
}
