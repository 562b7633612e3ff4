//! What the control plane and the workers say to each other.

use std::{
    any::Any,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use crtmp_media::{
    CallOutcome, Chain, Command, ConnectInfo, EnhancedRtmp, Error, Frame, MediaKind, PublishKind, RequestId,
    SharedNews, SharedRequest, StreamName, StreamSlot, Value,
};
use crtmp_relay::{ConnectionId, Delivery, DuplicatePublisher, RelayMessage};
use mio::net::{TcpListener, TcpStream};

use crate::{
    aliases::Aliases, bandwidth::OffersBandwidth, ingest::IngestPoints, outbound::SocketOptions,
    report::WorkerReport, tunnels::TunnelMessage,
};

/// Makes the chain of a new connection.
pub type MakeChain = Box<dyn Fn() -> Result<Chain, Error> + Send + Sync>;

/// A listening address and what becomes of its connections.
pub struct Acceptor {
    /// The address that it listens at; its port is the real one.
    pub address: SocketAddr,
    /// The name of the chain.
    pub chain: String,
    /// The name of the application that owns it and is asked first.
    pub application: String,
    /// Makes the chains.
    pub make_chain: MakeChain,
    /// Whether its connections count for the limit of [`Workers::limit_connections`](crate::Workers); those that do
    /// not are never refused by it. Of connections and those that they carry, only the latter count.
    pub counted: bool,
    /// What came to it.
    pub counts: Arc<AcceptorCounts>,
    /// Which addresses are proxies that say first, by the PROXY protocol, for whom they come; none: nobody.
    pub proxies: Option<Box<IsProxy>>,
    /// What becomes of the connections that its own carry, where they carry others (RTMPT); the application has to do
    /// with those only.
    pub sessions: Option<Arc<Self>>,
    /// Whether it serves several chains: which one a connection is, and so whether it carries others, its chain says by
    /// [`Event::Became`](crtmp_media::Event::Became).
    pub is_mixed: bool,
}

/// Whether an address is a proxy's.
pub type IsProxy = dyn Fn(IpAddr) -> bool + Send + Sync;

/// How many connections came to an acceptor since it was made.
#[derive(Debug, Default)]
pub struct AcceptorCounts {
    /// Those that a worker took.
    pub accepted: AtomicU64,
    /// Those that were refused because of a limit.
    pub dropped: AtomicU64,
}

/// Which decisions an application wants to make; the worker decides the others itself, without a hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Asked when a connection has been accepted, where the acceptor is the application's.
    pub accept: bool,
    /// Asked when a peer connects; otherwise everybody is accepted.
    pub connect: bool,
    /// Asked when a connection wants to publish.
    pub publish: bool,
    /// Asked when a connection wants to play.
    pub play: bool,
    /// Told when a publisher describes its stream.
    pub metadata: bool,
    /// Asked when a command comes that the protocol does not know; otherwise it is answered with an error.
    pub message: bool,
    /// Told when a publish ends.
    pub unpublish: bool,
    /// Told when a play ends.
    pub unplay: bool,
    /// Told when a connection ends.
    pub close: bool,
    /// Told when a peer answers a ping.
    pub pong: bool,
    /// Told when a stream comes or goes.
    pub stream: bool,
    /// Asked when a connection wants something of a shared object.
    pub shared_object: bool,
}

/// What an application's host asks about before the application is, whichever hooks that has: whether peers are who they
/// say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authenticates {
    /// A peer that connects and stays with the application.
    pub connect: bool,
    /// One that wants to publish.
    pub publish: bool,
    /// One that wants to play, or to use a shared object.
    pub play: bool,
}

/// An application as the workers see it.
pub struct Application {
    /// Its name; streams belong to it.
    pub name: Arc<str>,
    /// What it decides itself.
    pub hooks: Hooks,
    /// What is asked about although it has no hook for it.
    pub authenticates: Authenticates,
    /// Whether connections that name no known application are its own.
    pub is_default: bool,
    /// Whether it takes no connection of its own.
    pub selects: bool,
    /// What happens to a second publisher of a name.
    pub duplicate_publisher: DuplicatePublisher,
    /// How long players wait for a publisher that has gone.
    pub publisher_return: Duration,
    /// How long players wait for a publisher that has never come; zero: they are refused.
    pub play_wait: Duration,
    /// What players are sent of what only Enhanced RTMP can name.
    pub enhanced_rtmp: EnhancedRtmp,
    /// The socket send buffer in bytes; none: the system's choice.
    pub send_buffer: Option<usize>,
    /// How often peers are pinged; none: when they are silent.
    pub ping_interval: Option<Duration>,
    /// Bytes of one command or description of a peer; none: as the limits say.
    pub command_bytes: Option<usize>,
    /// Connections that it has; shared by all its instances.
    pub connections: Arc<AtomicUsize>,
    /// How many it may have; none: no limit.
    pub max_connections: Option<usize>,
    /// Whether it was disabled, by command or because it panicked too often: it is asked about connects, publishes and
    /// plays whatever its hooks, and refuses them.
    pub disabled: AtomicBool,
    /// Makes the filters of a new publication; none: there are none.
    pub make_filters: Option<Box<MakeFilters>>,
    /// The names that players must use; none: those of the streams.
    pub aliases: Option<Arc<Aliases>>,
    /// The names that publishers must use; none: those of the streams.
    pub ingest_points: Option<Arc<IngestPoints>>,
    /// Hands something to whoever has its shared objects; never blocks. None: it has no shared objects.
    pub shared_objects: Option<Box<dyn Fn(ToSharedObjects) + Send + Sync>>,
    /// The tests of the way to peers that it offers.
    pub bandwidth: Option<OffersBandwidth>,
    /// Hands a question or notice to the application's thread; never blocks.
    pub post: Box<dyn Fn(ToApplication) + Send + Sync>,
}

/// Makes the filters of a publication, on its worker.
pub type MakeFilters = dyn Fn() -> Result<Vec<Filter>, String> + Send + Sync;

/// Looks at frames of one publication before anybody else does.
pub struct Filter {
    /// Its name, for the log.
    pub name: String,
    /// Looks at a frame. An error ends the connection.
    pub pass: Box<Pass>,
}

/// Looks at a frame.
pub type Pass = dyn FnMut(&Frame) -> Result<Filtered, String>;

/// What becomes of a frame.
#[derive(Debug)]
pub enum Filtered {
    /// It goes on.
    Kept,
    /// It is left out.
    Dropped,
    /// This one goes on instead.
    Replaced(Frame),
}

/// Takes the report of a worker, on that worker: must not block.
pub type TakeReport = Arc<dyn Fn(WorkerReport) + Send + Sync>;

/// All applications by name and alias.
#[derive(Default)]
pub struct Routing {
    by_name: HashMap<String, Arc<Application>>,
    deliveries: Vec<(Arc<str>, Delivery)>,
}

impl Routing {
    /// Adds an application under its name and `aliases`.
    pub fn add(&mut self, application: Arc<Application>, aliases: &[String]) {
        self.by_name.insert(application.name.to_string(), application.clone());
        for alias in aliases {
            self.by_name.insert(alias.clone(), application.clone());
        }
    }

    /// Says how the streams of an application are handed to its players.
    pub fn deliver(&mut self, application: Arc<str>, delivery: Delivery) {
        self.deliveries.push((application, delivery));
    }

    /// How the streams of each application are handed to its players.
    pub(crate) fn deliveries(&self) -> &[(Arc<str>, Delivery)] {
        &self.deliveries
    }

    /// The application of a name or alias.
    pub fn find(&self, name: &str) -> Option<&Arc<Application>> {
        self.by_name.get(name)
    }
}

/// A connection as applications know it: what its peer said when it asked to connect.
#[derive(Debug)]
pub struct Caller {
    /// The connection.
    pub connection: ConnectionId,
    /// Its far end.
    pub peer: SocketAddr,
    /// The address that it came to.
    pub local: SocketAddr,
    /// The name of its chain.
    pub chain: String,
    /// What the peer said; nothing before it asked to connect.
    pub info: ConnectInfo,
}

/// Something for an application.
#[derive(Debug)]
pub enum ToApplication {
    /// A question that must be answered by [`ToWorker::Answer`], whatever happens.
    Question {
        /// Who asks.
        caller: Arc<Caller>,
        /// Names the question within the connection.
        request: RequestId,
        /// What it is.
        question: Question,
    },
    /// Something that has happened.
    Notice {
        /// To whom.
        caller: Arc<Caller>,
        /// What.
        event: Happened,
    },
    /// A frame of a connection that the application has tapped.
    Frame {
        /// Who publishes it.
        caller: Arc<Caller>,
        /// On which message stream.
        slot: StreamSlot,
        /// The name of the stream.
        name: String,
        /// The frame.
        frame: Arc<Frame>,
    },
    /// A publication has a new codec configuration.
    Header {
        /// Who publishes it.
        connection: ConnectionId,
        /// On which message stream.
        slot: StreamSlot,
        /// Audio or video.
        kind: MediaKind,
        /// The configuration.
        frame: Frame,
    },
    /// A publication has ended: nobody asks for its codec configurations any more.
    HeadersEnd {
        /// Who published it.
        connection: ConnectionId,
        /// On which message stream.
        slot: StreamSlot,
    },
    /// A stream has come or gone.
    Stream {
        /// Who publishes it: a connection or a source.
        publisher: ConnectionId,
        /// Its name.
        name: String,
        /// Whether it has come.
        live: bool,
    },
    /// What has become of a source.
    Source {
        /// Which.
        source: ConnectionId,
        /// Published, or ended with this text.
        state: Result<(), String>,
    },
    /// What has become of a call to a peer.
    CallResult {
        /// Whom it went to.
        connection: ConnectionId,
        /// Its ticket.
        ticket: u64,
        /// What.
        outcome: CallOutcome,
        /// What the peer sent.
        args: Vec<Value>,
    },
}

/// Something for whoever has the shared objects of an application.
#[derive(Debug)]
pub enum ToSharedObjects {
    /// A peer wants something. It is answered once by [`ToWorker::SharedNews`] that says so, whatever becomes of it.
    Request {
        /// Who.
        client: SharedClient,
        /// The name of the object within the application: checked, with the instance.
        name: StreamName,
        /// What it wants.
        request: Arc<SharedRequest>,
        /// The status code with which it is refused; none: it is allowed.
        denied: Option<String>,
    },
    /// A connection that has wanted something has ended; it uses no object any more.
    Gone {
        /// Which.
        connection: ConnectionId,
    },
}

/// A connection as whoever has shared objects knows it.
#[derive(Clone, Debug)]
pub struct SharedClient {
    /// The connection.
    pub connection: ConnectionId,
    /// Bytes of news on their way to it; whoever sends them adds, the worker takes away.
    pub in_flight: Arc<AtomicUsize>,
}

/// A decision that an application makes.
#[derive(Debug)]
pub enum Question {
    /// May this connection stay? Nothing of it has been read.
    Accept,
    /// May this peer connect?
    Connect,
    /// May it publish?
    Publish {
        /// On which message stream.
        slot: StreamSlot,
        /// The name, checked, with the instance and without query.
        name: String,
        /// What followed `?` in the name.
        query: String,
        /// What to do with the stream.
        kind: PublishKind,
    },
    /// May it play?
    Play {
        /// On which message stream.
        slot: StreamSlot,
        /// The name, checked, with the instance and without query.
        name: String,
        /// What followed `?` in the name.
        query: String,
        /// Where to start in ms, as RTMP says it.
        start_ms: i64,
        /// How long in ms; negative: to the end.
        duration_ms: i64,
    },
    /// What is the answer to this command?
    Message {
        /// On which message stream; 0 for the connection itself.
        slot: StreamSlot,
        /// The command.
        command: String,
        /// Its arguments, the command object first.
        args: Vec<Value>,
        /// Whether the peer wants an answer.
        wants_answer: bool,
    },
    /// May it do this with a shared object?
    SharedObject {
        /// The name, checked, with the instance.
        name: String,
        /// What it wants.
        request: Arc<SharedRequest>,
        /// Whether the peer has shown already who it is, by what it publishes or plays.
        shown: bool,
    },
}

/// Something that an application is told.
#[derive(Debug)]
pub enum Happened {
    /// A publisher has described its stream.
    Metadata {
        /// On which message stream.
        slot: StreamSlot,
        /// The name of the stream.
        name: String,
        /// What it said.
        values: Vec<(String, Value)>,
    },
    /// A publish that was allowed has ended.
    Unpublish {
        /// On which message stream.
        slot: StreamSlot,
        /// The name.
        name: String,
        /// Who ended it.
        why: Why,
    },
    /// A play that was allowed has ended.
    Unplay {
        /// On which message stream.
        slot: StreamSlot,
        /// The name.
        name: String,
        /// Who ended it.
        why: Why,
    },
    /// The far end of a connection that we have made asks us to connect again.
    Reconnect {
        /// Where; none: where we have connected.
        url: Option<String>,
    },
    /// Media have begun to go to the far end of a connection that we have made.
    Began {
        /// On which message stream.
        slot: StreamSlot,
    },
    /// The peer has answered a ping.
    Pong {
        /// Round trip time in ms.
        rtt_ms: u32,
        /// Bytes received so far.
        received: u64,
    },
    /// The connection has ended, or another application has it now; nothing more comes of it.
    Closed {
        /// Why, in words.
        reason: String,
    },
}

/// Who ended a publish or a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The peer wanted it, or left.
    Peer,
    /// The server: an operator, an application, a takeover.
    Server,
    /// The stream that was played.
    Source,
}

/// An application's answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Yes.
    Accept,
    /// Yes, under this name.
    AcceptAs(String),
    /// Ask the application of this name or alias instead; connects only.
    HandTo(String),
    /// No.
    Reject {
        /// The status code that the peer is told; empty: the usual one.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// Not here: go to this URL.
    Redirect(String),
    /// The result of a command.
    Result(Value),
    /// The result (true) or error of a command, in several values.
    Values(bool, Vec<Value>),
}

/// Something for a worker.
pub enum ToWorker {
    /// A new connection.
    Adopt {
        /// Its socket, not yet registered.
        socket: TcpStream,
        /// Its far end.
        peer: SocketAddr,
        /// Where it came to.
        acceptor: Arc<Acceptor>,
    },
    /// From another worker's relay.
    Relay(RelayMessage),
    /// From a session of a tunnel to a connection that carries it, or the other way.
    Tunnel(Box<TunnelMessage>),
    /// An application's answer.
    Answer {
        /// Who asked.
        connection: ConnectionId,
        /// What was asked.
        request: RequestId,
        /// The answer.
        verdict: Verdict,
    },
    /// News of a shared object.
    SharedNews {
        /// For whom.
        connection: ConnectionId,
        /// What; none: only that its request has been dealt with.
        news: Option<SharedNews>,
        /// What they count for while they are on their way.
        bytes: usize,
        /// Whether they answer a request of the connection.
        answers: bool,
    },
    /// Close a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// The status code that the peer is told.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// Ask the peer of a connection to connect again, where it has declared that it follows such requests.
    Reconnect {
        /// Which.
        connection: ConnectionId,
        /// Where; none: where it has connected.
        url: Option<String>,
        /// Why, in words.
        text: String,
    },
    /// Listen no more, and ask every peer to connect elsewhere that has declared that it follows such requests. They are
    /// served as before until they leave.
    Drain {
        /// Where; none: where they have connected.
        url: Option<String>,
        /// Held by each of their connections, for whoever waits for their end.
        left: Arc<()>,
    },
    /// An order with a ticket for an endpoint: to call a command of its peer, to pull, to push.
    Order {
        /// For whom.
        connection: ConnectionId,
        /// Who orders it: only the application that has the connection may.
        application: Arc<Application>,
        /// The order.
        order: Command,
        /// Called where the connection is no more, or another application has it.
        gone: Box<dyn FnOnce() + Send>,
    },
    /// End publishes or plays of a connection.
    End {
        /// Of which connection.
        connection: ConnectionId,
        /// Of which message stream; none: all.
        slot: Option<StreamSlot>,
        /// Publishes or plays.
        publishes: bool,
        /// The status code that the peer is told.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// Bring the frames that a connection publishes to its application, or stop that.
    Tap {
        /// Of which connection.
        connection: ConnectionId,
        /// Who wants them: only the application that has the connection, or is asked about it, may.
        application: Arc<Application>,
        /// Of which of its message streams; none: all.
        slot: Option<StreamSlot>,
        /// Whether.
        on: bool,
    },
    /// Publish a stream of an application's own.
    SourceOpen {
        /// Its id, of this worker.
        source: ConnectionId,
        /// The application.
        application: Arc<Application>,
        /// The name of the stream, not yet checked.
        name: String,
        /// Bytes of frames on the way; whoever sends frames adds, the worker takes away.
        in_flight: Arc<AtomicUsize>,
    },
    /// A frame of a source.
    SourceFrame {
        /// Which source.
        source: ConnectionId,
        /// The frame, with the time of its sender.
        frame: Frame,
        /// What it counts for while it is on its way.
        size: usize,
    },
    /// The source ends.
    SourceClose {
        /// Which.
        source: ConnectionId,
        /// Dropped when it has ended, for whoever waits for that.
        done: Option<Arc<dyn Any + Send + Sync>>,
    },
    /// Connect to somebody.
    Connect {
        /// Where.
        address: SocketAddr,
        /// The chain; its address is where it leads to.
        acceptor: Arc<Acceptor>,
        /// The application that has the connection.
        application: Arc<Application>,
        /// What is set on its socket.
        options: SocketOptions,
        /// Called with the connection, or with the reason why there is none.
        done: Box<dyn FnOnce(Result<ConnectionId, String>) + Send>,
    },
    /// Listen here.
    Listen {
        /// The bound socket.
        listener: TcpListener,
        /// What becomes of its connections.
        acceptor: Arc<Acceptor>,
    },
    /// Listen here no more; connections that came from there stay.
    Unlisten {
        /// The address.
        address: SocketAddr,
    },
    /// The applications have changed; connections keep the ones that they have.
    Routing(Arc<Routing>),
    /// Say what is going on.
    Report(TakeReport),
    /// End all connections, telling them, and return when they are gone or the time is up.
    Stop {
        /// How long it may take.
        within: Duration,
    },
}

/// The addresses of peers in counters and limits: IPv4 in IPv6 counts as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
