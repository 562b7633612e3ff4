//! Does what [`Core`] decides: looks up names, has connections made, hands orders to them, and brings back what comes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, Weak,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crtmp_media::{Command, LayerSettings};
use crtmp_reactor::{
    Acceptor, Application as Seen, Authenticates, Caller, Happened, Hooks, SocketOptions, ToApplication,
    ToWorker,
};
use crtmp_relay::ConnectionId;

use super::{
    Message, Surroundings, Views,
    core::{Action, Core, Input},
    definition::keys_of,
    lock,
    uri::chain_of,
};
use crate::{
    chains::{Catalogue, layer_keys},
    outbound::{IN_LINE, LOOK_UP_TIMEOUT, Origin, Patience},
};

/// What is taken in before what follows from it is done.
const BATCH: usize = 256;

/// Bytes of a chunk where the far end is asked for nothing else.
const USUAL_CHUNK: u32 = 128;

/// An instance of an application, as links need it.
pub(crate) struct Instance {
    pub(crate) seen: Arc<Seen>,
    /// Bytes of the chunks that it sends.
    pub(crate) chunk_size: u32,
}

/// How a connection is made.
struct Way {
    chain: &'static str,
    /// The name or address that was looked for.
    host: String,
    /// The keys for TLS.
    tls: String,
}

/// The thread's own.
pub(super) struct Driver {
    around: Surroundings,
    core: Core,
    queue: Sender<Message>,
    views: Views,
    catalogue: Option<Arc<Catalogue>>,
    applications: HashMap<String, Ours>,
    /// Who has the connection of each peer.
    owners: HashMap<u64, Arc<Seen>>,
}

/// An application as connections of links have it.
struct Ours {
    seen: Arc<Seen>,
    chunk_size: u32,
    theirs: Theirs,
}

/// The application itself: the instance that runs now, also for connections that began with another one.
type Theirs = Arc<Mutex<Weak<Seen>>>;

/// The instance that runs, where there is one. Nothing is done under the lock.
fn instance(theirs: &Theirs) -> Option<Arc<Seen>> {
    lock(theirs).upgrade()
}

impl Driver {
    pub(super) fn new(around: Surroundings, queue: Sender<Message>, views: Views) -> Self {
        let mut seed = [0; 4];
        // Without it waits are less different, no more.
        let _ = getrandom::fill(&mut seed);
        let core = Core::new(&around.limits, Instant::now(), u32::from_ne_bytes(seed));
        Self {
            around,
            core,
            queue,
            views,
            catalogue: None,
            applications: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let log = self.around.log.clone();
        if catch_unwind(AssertUnwindSafe(|| self.work(inbox))).is_err() {
            slog::crit!(
                log,
                "pulls and pushes have failed, which is a fault of this server: no new ones begin"
            );
        }
    }

    fn work(&mut self, inbox: &Receiver<Message>) {
        loop {
            let first = match self.core.due() {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.core.on_time(Instant::now(), unix);
            let first = match first {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for message in first.into_iter().chain(inbox.try_iter().take(BATCH)) {
                match message {
                    Message::Input(input) => self.core.on_input(input),
                    Message::Application(instance) => self.on_application(&instance),
                    Message::Catalogue(catalogue) => self.catalogue = Some(catalogue),
                    Message::Stop => return,
                }
            }
            self.core.actions().into_iter().for_each(|action| self.act(action));
            let mut views = lock(&self.views);
            for (id, view) in self.core.changed() {
                match view {
                    Some(view) => views.insert(id, view),
                    None => views.remove(&id),
                };
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Find { peer, origin, scheme, host_and_port } => {
                self.find(peer, origin, scheme, &host_and_port);
            }
            Action::Connect { peer, scheme, host, tls, address, application, options, own_chunks } => {
                let way = Way { chain: chain_of(scheme), host, tls };
                if let Err(cause) = self.connect(peer, way, address, &application, options, own_chunks) {
                    post(&self.queue, Input::Made(peer, Err(cause)));
                }
            }
            Action::Order { peer, connection, order } => self.order(peer, connection, order),
            Action::End { connection, stream, publishes } => {
                let (connection, slot) = (ConnectionId(connection), Some(crtmp_media::StreamSlot(stream)));
                let code = if publishes { "NetStream.Play.Stop" } else { "NetStream.Unpublish.Success" };
                let (code, text) = (code.to_owned(), "removed by command or configuration".to_owned());
                let end = ToWorker::End { connection, slot, publishes, code, text };
                self.around.workers.post_to(connection, end);
            }
            Action::Close(connection) => {
                let code = "NetConnection.Connect.Closed".to_owned();
                let text = "no stream is pulled or pushed here any more".to_owned();
                self.around.workers.close(ConnectionId(connection), code, text);
            }
            Action::Forget(peer) => {
                self.owners.remove(&peer);
            }
            Action::Log { link, text, suppressed, bad: false } => {
                slog::info!(self.around.log, "{text}"; "configId" => link, "suppressed" => suppressed);
            }
            Action::Log { link, text, suppressed, bad: true } => {
                slog::warn!(self.around.log, "{text}"; "configId" => link, "suppressed" => suppressed);
            }
        }
    }

    fn find(&self, peer: u64, origin: Origin, scheme: &str, host_and_port: &str) {
        let outbound = &self.around.outbound;
        if let Err(refused) = outbound.policy.check_scheme(scheme, origin) {
            return post(&self.queue, Input::Found(peer, Err(refused.to_string())));
        }
        let (queue, name) = (self.queue.clone(), host_and_port.to_owned());
        let patience = Patience { look_up: LOOK_UP_TIMEOUT, in_line: IN_LINE };
        outbound.find(origin, host_and_port, patience, move |found| {
            let found = found.map_err(|error| format!("{name}: {error}"));
            post(&queue, Input::Found(peer, found));
        });
    }

    fn connect(
        &mut self,
        peer: u64,
        way: Way,
        address: SocketAddr,
        application: &str,
        options: SocketOptions,
        own_chunks: bool,
    ) -> Result<(), String> {
        let gone = || format!("the application {application:?} does not run");
        let Ours { seen, chunk_size, .. } = self.applications.get(application).ok_or_else(gone)?;
        let catalogue = self.catalogue.clone().ok_or_else(gone)?;
        let Way { chain, host, tls } = way;
        let keys = keys_of(&tls);
        let prepared = self.around.trust.get(&catalogue, chain, &keys)?;
        let settings = LayerSettings {
            keys: layer_keys(&keys),
            prepared,
            host: host.into(),
            limits: self.around.limits.clone(),
            chunk_size: if own_chunks { *chunk_size } else { USUAL_CHUNK },
            instance: self.around.instance.clone(),
            ..LayerSettings::default()
        };
        let acceptor = Acceptor {
            address,
            counted: true,
            counts: Arc::default(),
            chain: chain.to_owned(),
            application: application.to_owned(),
            make_chain: Box::new(move || catalogue.build(chain, &settings, Instant::now())),
            proxies: None,
            sessions: None,
            is_mixed: false,
        };
        self.owners.insert(peer, seen.clone());
        let queue = self.queue.clone();
        let done = Box::new(move |made: Result<ConnectionId, String>| {
            post(&queue, Input::Made(peer, made.map(|connection| connection.0)));
        });
        self.around.workers.connect_with(options, address, Arc::new(acceptor), seen.clone(), done);
        Ok(())
    }

    fn order(&self, peer: u64, connection: u64, order: Command) {
        let Some(application) = self.owners.get(&peer).cloned() else { return };
        let (queue, ticket) = (self.queue.clone(), order.ticket().unwrap_or_default());
        let gone = Box::new(move || post(&queue, Input::Missed(ticket)));
        let connection = ConnectionId(connection);
        self.around.workers.post_to(connection, ToWorker::Order { connection, application, order, gone });
    }

    fn on_application(&mut self, instance: &Instance) {
        let (name, chunk_size) = (instance.seen.name.to_string(), instance.chunk_size);
        let now = Arc::downgrade(&instance.seen);
        let theirs = match self.applications.get(&name) {
            Some(ours) => ours.theirs.clone(),
            None => Theirs::default(),
        };
        *lock(&theirs) = now;
        let seen = Arc::new(self.ours(&instance.seen, &theirs));
        self.applications.insert(name, Ours { seen, chunk_size, theirs });
    }

    /// What looks to workers like the application, decides nothing, and brings to the links what they need. What the
    /// application wants to know of its streams goes on to it, as long as it is there.
    fn ours(&self, theirs: &Seen, current: &Theirs) -> Seen {
        let hooks = Hooks {
            metadata: theirs.hooks.metadata,
            stream: theirs.hooks.stream,
            unpublish: true,
            unplay: true,
            close: true,
            ..Hooks::default()
        };
        let (queue, post_to, filters) = (self.queue.clone(), current.clone(), current.clone());
        let make_filters = move || match instance(&filters).as_deref() {
            Some(theirs) => theirs.make_filters.as_ref().map_or(Ok(Vec::new()), |make| make()),
            None => Err("the application has ended".to_owned()),
        };
        Seen {
            name: theirs.name.clone(),
            hooks,
            // What it has, the server has asked for.
            authenticates: Authenticates::default(),
            is_default: false,
            selects: false,
            duplicate_publisher: theirs.duplicate_publisher,
            publisher_return: theirs.publisher_return,
            play_wait: Duration::ZERO,
            enhanced_rtmp: theirs.enhanced_rtmp,
            send_buffer: theirs.send_buffer,
            ping_interval: theirs.ping_interval,
            command_bytes: theirs.command_bytes,
            connections: theirs.connections.clone(),
            max_connections: None,
            disabled: AtomicBool::new(false),
            make_filters: Some(Box::new(make_filters)),
            aliases: None,
            ingest_points: None,
            shared_objects: None,
            bandwidth: None,
            post: Box::new(move |message| take(message, &queue, &post_to)),
        }
    }
}

/// Takes what a worker says of a connection of ours.
fn take(message: ToApplication, queue: &Sender<Message>, theirs: &Theirs) {
    match message {
        ToApplication::CallResult { ticket, outcome, args, .. } => {
            post(queue, Input::Result { ticket, outcome, args });
        }
        ToApplication::Notice { caller, event } => notice(caller, event, queue, theirs),
        ToApplication::Stream { .. } | ToApplication::Header { .. } | ToApplication::HeadersEnd { .. } => {
            if let Some(theirs) = instance(theirs) {
                (theirs.post)(message);
            }
        }
        // Nothing is asked of who made the connection, nothing is tapped, and sources have no connection.
        ToApplication::Question { .. } | ToApplication::Frame { .. } | ToApplication::Source { .. } => {}
    }
}

fn notice(caller: Arc<Caller>, event: Happened, queue: &Sender<Message>, theirs: &Theirs) {
    let connection = caller.connection.0;
    match &event {
        Happened::Unpublish { slot, .. } => {
            return post(queue, Input::Unpublished { connection, stream: slot.0 });
        }
        Happened::Unplay { slot, .. } => {
            return post(queue, Input::Unplayed { connection, stream: slot.0 });
        }
        Happened::Reconnect { url } => {
            return post(queue, Input::Reconnect { connection, url: url.clone() });
        }
        Happened::Began { slot } => {
            return post(queue, Input::Began { connection, stream: slot.0 });
        }
        Happened::Closed { reason } => {
            post(queue, Input::Closed { connection, reason: reason.clone() });
        }
        Happened::Metadata { .. } => {}
        Happened::Pong { .. } => return,
    }
    // It remembers the connection from the first description to the end.
    if let Some(theirs) = instance(theirs) {
        (theirs.post)(ToApplication::Notice { caller, event });
    }
}

fn post(queue: &Sender<Message>, input: Input) {
    // The thread is gone only where the server ends.
    let _ = queue.send(Message::Input(input));
}
