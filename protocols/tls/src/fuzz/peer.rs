//! A chain with TLS and an echo, and the far end that speaks with it.

use std::{
    cell::RefCell,
    io::{Read, Write},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crtmp_media::{Chain, Cx, Env, Error, Layer, LayerSettings, Limits, Outside, Prepared, Value};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::{client::ClientTrust, layer::Tls, server::ServerKeys};

/// A certificate for `localhost`, `*.example.org` and 127.0.0.1, until 2126.
pub const CERTIFICATE: &[u8] = include_bytes!("../../testdata/fuzz-cert.pem");

/// Its key.
pub const KEY: &[u8] = include_bytes!("../../testdata/fuzz-key.pem");

/// Content that has arrived.
type Got = Rc<RefCell<Vec<u8>>>;

/// Settings with these keys.
#[must_use]
pub fn settings(limits: Limits, keys: &[(&str, Value)]) -> LayerSettings {
    let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    LayerSettings { limits: Arc::new(limits), keys, host: "localhost".into(), ..LayerSettings::default() }
}

/// Two files, and a system that trusts nobody.
fn file(file: &str) -> Result<Vec<u8>, String> {
    match file {
        "cert.pem" => Ok(CERTIFICATE.to_vec()),
        "key.pem" => Ok(KEY.to_vec()),
        _ => Err("there is no such file".to_owned()),
    }
}

fn outside() -> Outside<'static> {
    Outside { read: &file, roots: &Vec::new }
}

/// The keys of an acceptor with [`CERTIFICATE`], and its settings.
#[must_use]
pub fn server_keys(limits: Limits) -> (LayerSettings, Arc<ServerKeys>) {
    let settings = settings(limits, &[("sslCert", "cert.pem".into()), ("sslKey", "key.pem".into())]);
    // Once for all runs: reading keys takes longer than a handshake.
    static KEYS: OnceLock<Arc<ServerKeys>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Arc::new(ServerKeys::new(&settings, &outside()).expect("they fit")));
    let keys = keys.clone();
    (settings, keys)
}

fn client_trust(limits: Limits, verify: bool) -> (LayerSettings, Arc<ClientTrust>) {
    let keys = if verify { vec![("tlsCa", "cert.pem".into())] } else { vec![("tlsVerify", false.into())] };
    let settings = settings(limits, &keys);
    static TRUST: [OnceLock<Arc<ClientTrust>>; 2] = [OnceLock::new(), OnceLock::new()];
    let trust = TRUST[usize::from(verify)]
        .get_or_init(|| Arc::new(ClientTrust::new(&settings, &outside()).expect("they fit")));
    let trust = trust.clone();
    (settings, trust)
}

/// The layer of a connection that came.
#[must_use]
pub fn inbound(limits: Limits) -> Tls {
    let (settings, keys) = server_keys(limits);
    inbound_of(&settings, keys)
}

/// The layer of a connection that came, with these keys.
#[must_use]
pub fn inbound_of(settings: &LayerSettings, keys: Arc<ServerKeys>) -> Tls {
    let prepared = Arc::new([keys as Arc<dyn Prepared>]);
    Tls::inbound(&LayerSettings { prepared, ..settings.clone() }, Instant::now()).expect("it is prepared")
}

/// The layer of a connection that is made; `verify` says whether the far end must have [`CERTIFICATE`].
#[must_use]
pub fn outbound(limits: Limits, verify: bool) -> Tls {
    let (settings, trust) = client_trust(limits, verify);
    outbound_of(&settings, trust)
}

/// The layer of a connection that is made and trusts so.
#[must_use]
pub fn outbound_of(settings: &LayerSettings, trust: Arc<ClientTrust>) -> Tls {
    let prepared = Arc::new([trust as Arc<dyn Prepared>]);
    Tls::outbound(&LayerSettings { prepared, ..settings.clone() }).expect("it is prepared")
}

/// What a far end begins with that connects, and trusts everybody.
#[must_use]
pub fn client_config() -> Arc<ClientConfig> {
    client_trust(Limits::default(), false).1.config()
}

/// What a far end begins with that is connected to.
#[must_use]
pub fn server_config() -> Arc<ServerConfig> {
    server_keys(Limits::default()).1.config()
}

/// A far end that connects.
#[must_use]
pub fn client(config: Arc<ClientConfig>) -> Connection {
    let name = "localhost".try_into().expect("a name");
    Connection::Client(ClientConnection::new(config, name).expect("a client"))
}

/// A far end that is connected to.
#[must_use]
pub fn server(config: Arc<ServerConfig>) -> Connection {
    Connection::Server(ServerConnection::new(config).expect("a server"))
}

/// Appends what a far end sends.
pub fn write(far: &mut Connection, to: &mut Vec<u8>) {
    while far.wants_write() {
        let _ = far.write_tls(to).expect("room");
    }
}

/// Has a far end say something.
pub fn say(far: &mut Connection, content: &[u8], to: &mut Vec<u8>) {
    let mut rest = content;
    while !rest.is_empty() {
        let count = far.writer().write(rest).expect("it is open");
        rest = &rest[count..];
        write(far, to);
    }
}

/// The content that a far end hears.
pub fn read_all(far: &mut Connection, mut ciphertext: &[u8]) -> (Vec<u8>, Result<(), rustls::Error>) {
    let mut content = Vec::new();
    while !ciphertext.is_empty() {
        if far.read_tls(&mut ciphertext).expect("it fits") == 0 {
            break;
        }
        if let Err(error) = far.process_new_packets() {
            return (content, Err(error));
        }
        // At the end of what is there it says that it would block.
        let _ = far.reader().read_to_end(&mut content);
    }
    (content, Ok(()))
}

/// The content that a far end hears, which is as it should be.
#[must_use]
pub fn read(far: &mut Connection, ciphertext: &[u8]) -> Vec<u8> {
    let (content, result) = read_all(far, ciphertext);
    assert_eq!(result, Ok(()));
    content
}

/// An echo that writes down what it is told.
struct Echo {
    got: Got,
    open: Rc<RefCell<bool>>,
}

impl Layer for Echo {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        assert!(!self.open.replace(true), "once");
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        assert!(*self.open.borrow(), "after the carrier is connected");
        self.got.borrow_mut().extend_from_slice(data);
        cx.out().write_with(|out| out.extend_from_slice(data));
        Ok(data.len())
    }
}

/// A chain of TLS and an echo.
pub struct Peer {
    /// The chain.
    pub chain: Chain,
    /// All that has been sent to the far end since that was looked at.
    pub heard: Vec<u8>,
    /// Why the connection has ended.
    pub ended: Option<Error>,
    /// Its clock.
    pub now: Instant,
    got: Got,
    open: Rc<RefCell<bool>>,
}

impl Peer {
    /// A connection.
    #[must_use]
    pub fn new(layer: Tls) -> Self {
        let (got, open) = (Got::default(), Rc::default());
        let echo = Echo { got: Rc::clone(&got), open: Rc::clone(&open) };
        let chain = Chain::new(vec![Box::new(layer), Box::new(echo)]).expect("two layers");
        Self { chain, heard: Vec::new(), ended: None, now: Instant::now(), got, open }
    }

    /// The carrier is connected.
    pub fn open(&mut self) {
        self.run(Chain::on_open);
    }

    /// The far end says something, unless the connection has ended.
    pub fn say(&mut self, bytes: &[u8]) {
        self.run(|chain, env| chain.on_data(bytes, env));
    }

    /// The worker's next turn.
    pub fn turn(&mut self) {
        self.run(Chain::on_turn);
    }

    /// Time passes.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.run(Chain::on_timeout);
    }

    /// Whether the nearest layer may speak.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// The content that has arrived.
    #[must_use]
    pub fn got(&self) -> Vec<u8> {
        self.got.borrow().clone()
    }

    /// Takes the far end through the handshake, with pieces of so many bytes.
    pub fn shake(&mut self, far: &mut Connection, size: usize) {
        loop {
            let mut theirs = Vec::new();
            write(far, &mut theirs);
            theirs.chunks(size).for_each(|piece| self.say(piece));
            let ours = std::mem::take(&mut self.heard);
            let over = theirs.is_empty() && ours.is_empty();
            if over || read_all(far, &ours).1.is_err() {
                return;
            }
        }
    }

    /// Closes the connection as the carrier does.
    pub fn close(&mut self) {
        self.chain.close().expect("it closes");
        self.flush();
    }

    fn run(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>) {
        if self.ended.is_some() {
            return;
        }
        let result = run(&mut self.chain, &mut Env { now: self.now, random: &mut |_| {} });
        self.ended = result.err();
        self.flush();
    }

    fn flush(&mut self) {
        let queue = self.chain.send().expect("it can be sent");
        queue.slices().for_each(|slice| self.heard.extend_from_slice(slice));
        queue.advance(queue.len());
    }
}
