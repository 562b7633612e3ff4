//! An RTMP server that does what a [script](Script) says, right or wrong, and keeps what its clients said.
//!
//! Like [`wire`](crate::wire) it shares no code with the server. It is a target for what we push ([`Visit::media`] is
//! what came) and a source for what we pull ([`Script::serving`]). [`hostile`] is a table of scripts that no client
//! may be harmed by.

pub mod hostile;

mod script;
mod talk;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::link::Link;
use crate::wire::Message;
use crate::{Command, wait_for};

pub use script::{Acknowledge, Act, Moment, Pace, Script, control};

use talk::Talk;

/// The time in which anything must have happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many messages are shown of a visit, and bytes of each.
const SHOWN: usize = 40;

/// A running upstream. It and its connections end when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Starts one on a free port that does the same with each connection.
    pub fn start(script: Script) -> Self {
        Self::start_in_turn(vec![script])
    }

    /// Starts one that follows the first script with the first connection, and so on; the last one with all others.
    ///
    /// # Panics
    ///
    /// If there is no script, or no port.
    pub fn start_in_turn(scripts: Vec<Script>) -> Self {
        assert!(!scripts.is_empty(), "an upstream needs a script");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State {
            scripts: scripts.into_iter().map(Arc::new).collect(),
            visits: Vec::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream.
    pub fn url(&self, application: &str, stream: &str) -> String {
        format!("rtmp://{}/{application}/{stream}", self.address)
    }

    /// Follows another script with all connections that come from now on.
    pub fn follow(&self, script: Script) {
        self.shared.lock().scripts = vec![Arc::new(script)];
    }

    /// All connections that have come, in order.
    pub fn visits(&self) -> Vec<Visit> {
        self.shared.lock().visits.clone()
    }

    /// Waits for the connection with this number; the first one has 0.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub fn visit(&self, number: usize) -> Visit {
        self.visit_within(number, PATIENCE)
    }

    /// [`visit`](Self::visit) with another patience.
    ///
    /// # Panics
    ///
    /// If it does not come in that time.
    pub fn visit_within(&self, number: usize, limit: Duration) -> Visit {
        wait_for(&format!("connection {number}"), limit, || self.shared.lock().visits.get(number).cloned())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        // The listener waits for one more connection.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for visit in self.visits() {
            if thread::panicking() {
                eprintln!("--- a visit to {}: {visit:?}", self.address);
            }
            visit.close();
        }
    }
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client has said that it will send nothing more.
    Client,
    /// The client has reset it.
    Reset,
    /// The script or the test has ended it.
    Here,
}

/// A connection of a client: what it has said, and a way to speak to it. It outlives the connection.
#[derive(Clone)]
pub struct Visit {
    inner: Arc<Inner>,
}

impl Visit {
    /// When it was accepted.
    pub fn began(&self) -> Instant {
        self.inner.began
    }

    /// Where it came from.
    pub fn client(&self) -> Option<SocketAddr> {
        self.inner.client
    }

    /// All messages that have come so far.
    pub fn messages(&self) -> Vec<Message> {
        self.inner.lock().messages.clone()
    }

    /// The commands among them, in order.
    ///
    /// # Panics
    ///
    /// If one holds anything but AMF0.
    pub fn commands(&self) -> Vec<Command> {
        self.inner.lock().messages.iter().filter_map(Command::of).collect()
    }

    /// The audio, video and data among them, in order.
    pub fn media(&self) -> Vec<Message> {
        self.inner.lock().messages.iter().filter(|message| is_media(message)).cloned().collect()
    }

    /// The size of chunks that the client has announced last.
    pub fn chunk_size(&self) -> Option<u32> {
        self.numbers(1).pop()
    }

    /// The acknowledgements that the client has sent.
    pub fn acknowledgements(&self) -> Vec<u32> {
        self.numbers(3)
    }

    /// The window of acknowledgements that the client has announced last.
    pub fn window(&self) -> Option<u32> {
        self.numbers(5).pop()
    }

    /// The bytes that have come, with those of the handshake.
    pub fn received(&self) -> u64 {
        self.inner.lock().received
    }

    /// How it has ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.inner.lock().end
    }

    /// Waits until this visit satisfies `probe`, which is asked whenever something has come.
    ///
    /// # Panics
    ///
    /// If it does not in time.
    pub fn wait_for<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.inner.lock().changes;
            if let Some(found) = probe(self) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}: {self:?}");
            let same = |record: &mut Record| record.changes == seen;
            drop(self.inner.changed.wait_timeout_while(self.inner.lock(), left, same));
        }
    }

    /// Waits for the first command of this name.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub fn command(&self, name: &str) -> Command {
        self.wait_for(name, |visit| visit.commands().into_iter().find(|command| command.name == name))
    }

    /// Waits for so many messages with audio, video or data, and gives all that have come.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub fn wait_for_media(&self, count: usize) -> Vec<Message> {
        self.wait_for(&format!("{count} messages with media"), |visit| {
            let media = visit.media();
            (media.len() >= count).then_some(media)
        })
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn wait_for_end(&self) -> End {
        self.wait_for("its end", Self::end)
    }

    /// Sends a message now, in chunks as they were announced.
    pub fn send(&self, message: &Message) {
        self.inner.talk.say(message);
    }

    /// Sends bytes now, as they are.
    pub fn write(&self, bytes: &[u8]) {
        self.inner.talk.write(bytes);
    }

    /// Closes the connection now.
    pub fn close(&self) {
        self.inner.talk.link().close();
    }

    /// Resets the connection now.
    pub fn reset(&self) {
        self.inner.talk.link().reset();
    }

    /// Says nothing any more from now on, and still reads.
    pub fn silence(&self) {
        self.inner.talk.silence();
    }

    fn numbers(&self, kind: u8) -> Vec<u32> {
        let number = |message: &Message| {
            (message.kind == kind)
                .then(|| message.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)))?
        };
        self.inner.lock().messages.iter().filter_map(number).collect()
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let media = self.media().len();
        let record = self.inner.lock();
        let said = record.messages.iter().filter(|message| !is_media(message)).take(SHOWN).map(|message| {
            let part = message.payload.get(..SHOWN).unwrap_or(&message.payload);
            format!("{} {}", message.kind, part.escape_ascii())
        });
        let said: Vec<String> = said.collect();
        let mut out = f.debug_struct("Visit");
        out.field("received", &record.received).field("media", &media).field("end", &record.end);
        out.field("said", &said).finish()
    }
}

/// Whether it is audio, video or data, alone or in an aggregate.
fn is_media(message: &Message) -> bool {
    matches!(message.kind, 8 | 9 | 15 | 18 | 22)
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    scripts: Vec<Arc<Script>>,
    visits: Vec<Visit>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    client: Option<SocketAddr>,
    talk: Talk,
    record: Mutex<Record>,
    changed: Condvar,
}

/// What has come.
#[derive(Debug, Default)]
struct Record {
    messages: Vec<Message>,
    received: u64,
    end: Option<End>,
    /// How often something has come.
    changes: u64,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.lock();
        change(&mut record);
        record.changes += 1;
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for socket in listener.incoming() {
        let mut state = shared.lock();
        if state.stopped {
            return;
        }
        let Ok(socket) = socket else { continue };
        let script = state.scripts.get(state.visits.len()).or(state.scripts.last());
        let script = Arc::clone(script.expect("at least one script"));
        let client = socket.peer_addr().ok();
        let inner = Inner {
            began: Instant::now(),
            client,
            talk: Talk::new(Link::new(socket), script),
            record: Mutex::default(),
            changed: Condvar::new(),
        };
        let visit = Visit { inner: Arc::new(inner) };
        state.visits.push(visit.clone());
        thread::spawn(move || talk::serve(&visit));
    }
}

#[cfg(test)]
mod tests;
