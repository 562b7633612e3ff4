//! The running server: ports, applications and workers, put together from a configuration.
//!
//! The order of a start is [`bind`] (while the process may still open low ports), then [`Server::start`].
//! [`Server::reload`] goes from one configuration to the next without touching what does not change.

mod bind;
mod bridge;
mod certificates;
mod commands;
mod control;
mod counters;
mod libraries;
mod metrics;
mod observe;
mod reload;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use crtmp_media::{Chain, LayerSettings, Limits};
pub use crtmp_reactor::Drain;
use crtmp_reactor::{
    Acceptor, AcceptorCounts, Aliases, BandwidthTests, IngestPoints, IsProxy, Reactor, Routing, Setup,
    Workers,
};
use serde_json::{Map, Value, json};
use slog::Logger;

pub use self::bind::{Bound, bind};
use self::bridge::{Ground, Running};
pub use self::commands::commands_document;
use self::control::Gathering;
pub use self::control::{Order, Post, Wish};
use self::libraries::Libraries;
pub use self::reload::{KeptLibrary, Plan, Reloaded, Sessions};
pub use crate::auth::ReadUsers;
use crate::{
    apps::Watchdog,
    auth::{self, Guard},
    chains::{Catalogue, PROXY_PROTOCOL, Preparations},
    commands::{Control, Tell},
    config::{Application, ApplicationAcceptor, ConfigError, Configuration, all_acceptors},
    events::{Event, Events, Kind},
    links::{self, Links},
    outbound::{Network, Outbound},
    shared_objects::SharedObjects,
    trust::Trust,
    web::Client,
};

/// Descriptors that the server keeps for itself: logs, listeners, libraries, polls.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How long workers may take to say what is going on, where somebody waits for them.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// How long a replaced application without connections may take to end; then its thread is left behind.
const RETIRE: Duration = Duration::from_secs(10);

/// How long an application may take to end that was started for nothing, because another part of a start or reload has
/// failed.
const WITHDRAW: Duration = Duration::from_secs(1);

/// How long shared objects may take to be written at the end, at least.
const SAVE: Duration = Duration::from_millis(500);

/// How often replaced applications are looked at while some still have connections.
const SWEEP: Duration = Duration::from_secs(1);

/// What the program hands in.
#[derive(Clone)]
pub struct Environment {
    /// Where the server logs.
    pub log: Logger,
    /// The layers and chains of the program; plugins bring more.
    pub catalogue: Arc<Catalogue>,
    /// Reads users files: values that a file gives `users` and `realms`, or what is wrong with it.
    pub read_users: ReadUsers,
    /// How many files the process may have open.
    pub open_files: u64,
    /// Where the program lies; libraries are looked for there too.
    pub program_folder: Option<PathBuf>,
    /// Where relative paths start: the folder in which the server was started.
    pub folder: PathBuf,
    /// Called when a worker has failed: its connections are gone, and the server should end.
    pub on_failure: Arc<dyn Fn() + Send + Sync>,
    /// Hands an order to whoever calls [`Server::on_order`].
    pub post: Post,
}

/// An acceptor that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it listens; the real port, not 0.
    pub address: SocketAddr,
    /// The name of its chain.
    pub chain: String,
    /// The application that it belongs to.
    pub application: String,
}

/// A running server.
pub struct Server {
    configuration: Configuration,
    environment: Environment,
    libraries: Libraries,
    control: Control,
    /// Where it may connect to by itself.
    outbound: Outbound,
    guard: Guard,
    events: Events,
    gathering: Gathering,
    swept: Instant,
    links: Links,
    limits: Arc<Limits>,
    reactor: Reactor,
    workers: Workers,
    watchdog: Watchdog,
    applications: HashMap<String, Running>,
    /// Applications that have been replaced or removed and still have connections.
    retired: Vec<Running>,
    /// Instances of applications that have been started.
    instances: u64,
    ports: Vec<Port>,
    /// Connections of each application, over all its instances.
    connections: HashMap<String, Arc<AtomicUsize>>,
    aliases: Arc<Aliases>,
    ingest_points: Arc<IngestPoints>,
    shared_objects: SharedObjects,
    bandwidth: Arc<BandwidthTests>,
    state: commands::State,
    /// Whom connections trust that it makes.
    trust: Trust,
    /// When it is looked at again how long certificates hold.
    terms_at: Option<Instant>,
    /// By which servers recognise each other: another one at each start.
    instance: Arc<str>,
    started: Instant,
}

/// An open port.
struct Port {
    /// Its number, for commands.
    id: u64,
    enabled: bool,
    /// A command opened it; the configuration knows nothing of it.
    created: bool,
    wanted: ApplicationAcceptor,
    address: SocketAddr,
    /// Kept so that another application or chain can take over the port without closing it.
    listener: TcpListener,
    /// What the layers of its chain have prepared.
    prepared: Preparations,
    counts: Arc<AcceptorCounts>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Workers that did not end in time.
    pub workers: usize,
    /// Applications whose threads never returned.
    pub applications: usize,
}

impl Server {
    /// Loads and starts the applications, starts the workers, and opens the ports to the world.
    ///
    /// # Errors
    ///
    /// Every library that cannot be loaded and every application that does not start.
    pub fn start(
        configuration: Configuration,
        bound: Vec<Bound>,
        environment: Environment,
    ) -> Result<Self, Vec<ConfigError>> {
        let libraries = Libraries::load(
            &configuration,
            &environment.catalogue,
            environment.program_folder.as_deref(),
            &[],
        )?;
        let mut bound = bound;
        for bound in bound.iter_mut().filter(|bound| bound.prepared.is_none()) {
            let path = bind::path_of_acceptor(&configuration, &bound.wanted);
            bound.prepared =
                certificates::prepare(&libraries, &bound.wanted, &path, &environment.folder).map(Some)?;
        }
        let unfit = certificates::check_pulls(&libraries, &configuration, None, &environment.folder);
        if !unfit.is_empty() {
            return Err(unfit);
        }
        let state = commands::State::load(configuration.state_file.as_deref())?;
        let allowed = commands::processes::allowed(&configuration)?;
        let limits = Arc::new(configuration.limits.clone());
        let system = |error: std::io::Error| {
            let path = "configuration.workers";
            vec![ConfigError::new(path, format!("the system says: {error}"), "workers that can be started")]
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = configuration.workers.unwrap_or(u16::try_from(cores).unwrap_or(u16::MAX).min(256));
        let descriptors = environment.open_files.saturating_sub(RESERVED_DESCRIPTORS).max(1);
        let outbound = Outbound::new(configuration.outbound_policy.clone());
        let guard = Guard::new(&limits, environment.read_users.clone(), &environment.log).map_err(system)?;
        let web = Client::start(&limits, outbound.clone()).map_err(system)?;
        let events = Events::new(environment.log.clone(), &limits, web.clone());
        events.configure(&configuration.event_logger)?;
        let instance: Arc<str> = instance_id().map_err(system)?.into();
        let (links, inbox) = Links::new();
        let reactor = Reactor::start(Setup {
            workers,
            limits: limits.clone(),
            descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX),
            routing: Arc::default(),
            log: environment.log.clone(),
            on_failure: environment.on_failure.clone(),
            observer: observe::observer(&events, &links),
        })
        .map_err(system)?;
        let trust = Trust::new(environment.log.clone(), environment.folder.clone());
        let around = links::Surroundings {
            log: environment.log.clone(),
            limits: limits.clone(),
            workers: reactor.workers(),
            outbound: outbound.clone(),
            trust: trust.clone(),
            instance: instance.clone(),
        };
        links.start(inbox, around).map_err(system)?;
        let watchdog = Watchdog::start().map_err(system)?;
        let log = environment.log.clone();
        let shared_objects = SharedObjects::new(limits.clone(), reactor.workers(), log).map_err(system)?;
        let post = environment.post.clone();
        let told = events.clone();
        let tell: Tell = Box::new(move |kind, payload| {
            if told.wants(kind) {
                told.emit(Event { kind, stream: None, payload: payload() });
            }
        });
        let post = Box::new(move |job| post(Order::Command(job)));
        let control = Control::new(commands::specs(), web, tell, post);
        let mut server = Self {
            workers: reactor.workers(),
            configuration,
            environment,
            libraries,
            control,
            outbound,
            guard,
            events,
            gathering: Gathering::default(),
            swept: Instant::now(),
            links,
            connections: HashMap::new(),
            aliases: Arc::new(Aliases::new(limits.stream_aliases)),
            ingest_points: Arc::new(IngestPoints::new(limits.ingest_points)),
            shared_objects,
            bandwidth: Arc::new(BandwidthTests::new(&limits)),
            state,
            terms_at: None,
            trust,
            instance,
            limits,
            reactor,
            watchdog,
            applications: HashMap::new(),
            retired: Vec::new(),
            instances: 0,
            ports: Vec::new(),
            started: Instant::now(),
        };
        let list = server.configuration.applications.list.clone();
        let libraries = server.libraries.clone();
        let started = match server.start_applications(&libraries, &server.configuration.clone(), &list) {
            Ok(started) => started,
            Err(errors) => {
                server.stop();
                return Err(errors);
            }
        };
        server.resume_limits();
        server.put_in_force(started);
        for bound in bound {
            server.open_bound(bound, false);
        }
        server.look_at_terms();
        server.configure_processes(allowed);
        server.resume_links();
        server.tell(Kind::ServerStarted, banner());
        Ok(server)
    }

    /// The open acceptors, in the order of the configuration.
    pub fn services(&self) -> Vec<Service> {
        let service = |port: &Port| Service {
            address: port.address,
            chain: port.wanted.acceptor.protocol.clone(),
            application: port.wanted.application.clone(),
        };
        self.ports.iter().map(service).collect()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.count()
    }

    /// What goes on, as one JSON object; `docs/counters.md` describes it.
    pub fn counters(&self) -> Value {
        counters::counters(self, &self.workers.report(REPORT_TIME))
    }

    /// Ends replaced applications whose last connection has gone: they get time to hear of that. Returns whether any
    /// are left.
    pub fn sweep(&mut self) -> bool {
        let (now, events, before) = (Instant::now(), &self.events, self.retired.len());
        self.retired.retain_mut(|running| {
            running.end_outdated_sessions(now, SWEEP);
            if running.ending.is_none() && running.is_in_use() {
                return true;
            }
            let since = *running.ending.get_or_insert_with(|| {
                running.handle.begin_stop();
                now
            });
            let over = running.handle.is_over() || since + RETIRE <= now;
            if over {
                running.handle.stop(Duration::ZERO);
                tell_application(events, Kind::ApplicationStop, running);
            }
            !over
        });
        if self.retired.len() < before {
            // What they have pulled and pushed ends with them.
            self.resume_links();
        }
        !self.retired.is_empty()
    }

    /// The way to its commands, for whoever is not an application.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The event logger.
    pub fn events(&self) -> &Events {
        &self.events
    }

    fn tell(&self, kind: Kind, payload: Value) {
        if self.events.wants(kind) {
            self.events.emit(Event { kind, stream: None, payload });
        }
    }

    /// Listens no more, and asks those to connect elsewhere who follow such requests; all are served on. None: nobody is
    /// asked (`drainTimeout`).
    pub fn drain(&self) -> Option<Drain> {
        let time = self.configuration.drain_timeout.get();
        (!time.is_zero()).then(|| self.reactor.drain(self.configuration.drain_url.as_deref(), time))
    }

    /// Ends everything: ports, connections (which are told), workers, applications.
    pub fn stop(mut self) -> Stopped {
        let events = self.events.clone();
        let time = self.configuration.shutdown_timeout.get();
        let until = Instant::now() + time;
        self.tell(Kind::ServerStopping, banner());
        let wait_for_state = self.end_state();
        // Before the connections end: nothing is tried again.
        self.links.stop();
        let workers = self.reactor.stop(time);
        wait_for_state(until);
        self.shared_objects.stop(until.max(Instant::now() + SAVE));
        // Connections are gone; what applications still have to do about them gets a little time of its own.
        let rest = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let until = Instant::now() + rest;
        let mut applications = 0;
        for running in self.applications.values().chain(&self.retired) {
            let patience = until.saturating_duration_since(Instant::now());
            applications += usize::from(running.handle.stop(patience) == crate::apps::Stopped::LeftBehind);
            tell_application(&events, Kind::ApplicationStop, running);
        }
        events.stop(crate::events::PATIENCE);
        Stopped { workers, applications }
    }

    /// Starts applications; all of them, or none.
    fn start_applications(
        &mut self,
        libraries: &Libraries,
        configuration: &Configuration,
        wanted: &[Application],
    ) -> Result<Vec<(String, Running)>, Vec<ConfigError>> {
        let mut running = Vec::new();
        let mut errors = Vec::new();
        for application in wanted {
            match self.start_application(libraries, configuration, application) {
                Ok(started) => running.push((application.name.clone(), started)),
                Err(error) => errors.push(*error),
            }
        }
        if errors.is_empty() {
            for (_, running) in &running {
                tell_application(&self.events, Kind::ApplicationStart, running);
            }
            return Ok(running);
        }
        for (_, started) in running {
            started.handle.stop(WITHDRAW);
        }
        Err(errors)
    }

    fn start_application(
        &mut self,
        libraries: &Libraries,
        configuration: &Configuration,
        application: &Application,
    ) -> Result<Running, Box<ConfigError>> {
        let list = &configuration.applications.list;
        let index = list.iter().position(|other| other.name == application.name).unwrap_or_default();
        let path = format!("configuration.applications[{}]", index + 1);
        let error = |text: String| Box::new(ConfigError::new(&path, text, "an application that starts"));
        let library = libraries.of(application).ok_or_else(|| error("no library".to_owned()))?;
        // What `--check` refuses is refused here too: at the start, at a reload, and by commands.
        bridge::check(application, library, &self.environment.folder, &self.environment.log)
            .map_err(|failure| error(failure.to_string()))?;
        let authority = self.guard.authority(&path, application)?;
        self.instances += 1;
        let ground = Ground {
            post: self.environment.post.clone(),
            workers: self.workers.clone(),
            control: self.control.clone(),
            outbound: self.outbound.clone(),
            trust: self.trust.clone(),
            catalogue: libraries.catalogue.clone(),
            limits: self.limits.clone(),
            log: self.environment.log.clone(),
            folder: self.environment.folder.clone(),
            instance: self.instances,
            connections: self.connections.entry(application.name.clone()).or_default().clone(),
            aliases: self.aliases.clone(),
            ingest_points: self.ingest_points.clone(),
            shared_objects: self.shared_objects.clone(),
            bandwidth: self.bandwidth.clone(),
            server_instance: self.instance.clone(),
            authority,
        };
        let filters = libraries.filters(application);
        bridge::start(application, library, filters, &self.watchdog, &ground)
            .map_err(|failure| error(failure.to_string()))
    }

    /// Puts instances that have been started into the place of those that run, and tells the workers.
    fn put_in_force(&mut self, started: Vec<(String, Running)>) {
        let place = |(name, running): (String, Running)| {
            let before = self.applications.insert(name.clone(), running);
            (name, before)
        };
        let placed: Vec<_> = started.into_iter().map(place).collect();
        self.route();
        for (name, before) in placed {
            if let Some(running) = self.applications.get(&name) {
                running.put_in_force(before.as_ref());
            }
            self.retired.extend(before);
        }
    }

    /// Tells the workers which applications there are.
    fn route(&self) {
        let mut routing = Routing::default();
        for running in self.applications.values() {
            routing.add(running.seen.clone(), &running.aliases);
        }
        for application in &self.configuration.applications.list {
            routing.deliver(application.name.as_str().into(), application.delivery());
        }
        self.workers.set_routing(&Arc::new(routing));
        self.links.catalogue(self.libraries.catalogue.clone());
        for application in &self.configuration.applications.list {
            let Some(running) = self.applications.get(&application.name) else { continue };
            let chunk_size = u32::try_from(application.chunk_size).unwrap_or(u32::MAX);
            self.links.application(links::Instance { seen: running.seen.clone(), chunk_size });
        }
    }

    fn open_bound(&mut self, bound: Bound, created: bool) {
        let Bound { wanted, address, listener, prepared } = bound;
        let (id, prepared) = (self.state.next_id(), prepared.unwrap_or_else(|| Arc::from([])));
        let counts = Arc::default();
        self.open(Port { id, enabled: true, created, wanted, address, listener, prepared, counts });
    }

    /// Adds a port and has the workers accept there. Where that fails it is there all the same, and not enabled.
    fn open(&mut self, mut port: Port) {
        if port.enabled {
            match self.ready(&port) {
                Ok((listener, acceptor)) => self.workers.listen(listener, acceptor),
                Err(error) => {
                    slog::error!(self.environment.log, "cannot listen at {}: {error}", port.address);
                    port.enabled = false;
                }
            }
        }
        self.ports.push(port);
    }

    /// What the workers need to accept at a port, by the configuration in force.
    fn ready(&self, port: &Port) -> Result<(TcpListener, Arc<Acceptor>), String> {
        let wanted = &port.wanted;
        let mut list = self.configuration.applications.list.iter();
        let application = list
            .find(|other| other.name == wanted.application)
            .ok_or_else(|| format!("there is no application {:?}", wanted.application))?;
        let listener = port.listener.try_clone().map_err(|error| error.to_string())?;
        let chain = wanted.acceptor.protocol.clone();
        let settings = LayerSettings {
            limits: self.limits.clone(),
            validate_handshake: application.validate_handshake,
            chunk_size: u32::try_from(application.chunk_size).unwrap_or(u32::MAX),
            instance: self.instance.clone(),
            keys: self.libraries.catalogue.keys_of(&chain, &wanted.acceptor.keys),
            prepared: port.prepared.clone(),
            host: Arc::from(""),
        };
        let catalogue = self.libraries.catalogue.clone();
        // However full the server is, its operator still gets in.
        let commands = chain.ends_with("Cli") && port.address.ip().to_canonical().is_loopback();
        let sessions = catalogue.sessions_of(&chain);
        let acceptor = |name: &str, counted, counts, sessions| {
            let (ways, settings) = (catalogue.ways(name, &wanted.acceptor.keys)?, settings.clone());
            let is_mixed = ways.are_several();
            let make_chain = move || Chain::named(ways.make(&settings, Instant::now())?);
            Ok::<_, String>(Arc::new(Acceptor {
                address: port.address,
                counted,
                counts,
                chain: chain.clone(),
                application: application.name.clone(),
                make_chain: Box::new(make_chain),
                proxies: proxies(&wanted.acceptor.keys),
                sessions,
                is_mixed,
            }))
        };
        let sessions = sessions.map(|name| acceptor(&name, !commands, Arc::default(), None)).transpose()?;
        let acceptor = acceptor(&chain, !commands, port.counts.clone(), sessions)?;
        Ok((listener, acceptor))
    }
}

/// Which addresses speak for others, as the keys of an acceptor say it; what is no network has been refused.
fn proxies(keys: &Map<String, Value>) -> Option<Box<IsProxy>> {
    let list = keys.get(PROXY_PROTOCOL)?.as_array()?;
    let networks: Vec<Network> =
        list.iter().filter_map(|text| text.as_str().and_then(|text| text.parse().ok())).collect();
    Some(Box::new(move |address| networks.iter().any(|network| network.contains(address))))
}

/// Loads every application's library and lets it look at its settings, without starting anything.
///
/// # Errors
///
/// Every library that cannot be loaded and every application that does not like its settings.
pub fn check(
    configuration: &Configuration,
    catalogue: &Catalogue,
    program_folder: Option<&Path>,
    folder: &Path,
    read_users: &ReadUsers,
    log: &Logger,
) -> Result<(), Vec<ConfigError>> {
    let libraries = Libraries::load(configuration, catalogue, program_folder, &[])?;
    certificates::check(&libraries, configuration, &all_acceptors(configuration), None, folder)?;
    check_with(&libraries, configuration, folder, read_users, log)
}

/// [`check`], with libraries that are loaded.
fn check_with(
    libraries: &Libraries,
    configuration: &Configuration,
    folder: &Path,
    read_users: &ReadUsers,
    log: &Logger,
) -> Result<(), Vec<ConfigError>> {
    let mut errors = commands::processes::allowed(configuration).err().unwrap_or_default();
    for (index, application) in configuration.applications.list.iter().enumerate() {
        let path = format!("configuration.applications[{}]", index + 1);
        errors.extend(auth::check(&path, application, read_users));
        let Some(library) = libraries.of(application) else { continue };
        if let Err(error) = bridge::check(application, library, folder, log) {
            errors.push(ConfigError::new(path, error.to_string(), "settings that it accepts"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Tells that an instance of an application has started or ended.
fn tell_application(events: &Events, kind: Kind, running: &Running) {
    if events.wants(kind) {
        let payload = json!({ "id": running.id, "name": &*running.seen.name });
        events.emit(Event { kind, stream: None, payload });
    }
}

fn banner() -> Value {
    let release = env!("CARGO_PKG_VERSION");
    json!({ "releaseNumber": release, "banner": format!("crtmpserver {release}") })
}

/// A name that no other run of any server has.
fn instance_id() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
