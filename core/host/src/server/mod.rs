//! The running server: ports, applications and workers, put together from a configuration.
//!
//! The order of a start is [`bind`] (while the process may still open low ports), then [`Server::start`].
//! [`Server::reload`] goes from one configuration to the next without touching what does not change.

mod bind;
mod bridge;
mod counters;
mod reload;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{LayerSettings, Limits};
use crtmp_reactor::{Acceptor, Reactor, Routing, Setup, Workers};
use serde_json::Value;
use slog::Logger;

pub use self::bind::{Bound, bind};
use self::bridge::Running;
pub use self::reload::Reloaded;
use crate::{
    apps::Watchdog,
    chains::{Catalogue, layer_keys},
    config::{Application, ApplicationAcceptor, ConfigError, Configuration, find_library},
    plugins::Library,
};

/// Descriptors that the server keeps for itself: logs, listeners, libraries, polls.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How long workers may take to say what is going on.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// What the program hands in.
#[derive(Clone)]
pub struct Environment {
    /// Where the server logs.
    pub log: Logger,
    /// The layers and chains of the program; plugins bring more.
    pub catalogue: Arc<Catalogue>,
    /// How many files the process may have open.
    pub open_files: u64,
    /// Where the program lies; libraries are looked for there too.
    pub program_folder: Option<PathBuf>,
    /// Called when a worker has failed: its connections are gone, and the server should end.
    pub on_failure: Arc<dyn Fn() + Send + Sync>,
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
    limits: Arc<Limits>,
    reactor: Reactor,
    workers: Workers,
    watchdog: Watchdog,
    applications: HashMap<String, Running>,
    /// Applications that have been replaced or removed and still have connections.
    retired: Vec<Running>,
    ports: Vec<Port>,
    started: Instant,
}

/// An open port.
struct Port {
    wanted: ApplicationAcceptor,
    address: SocketAddr,
    /// Kept so that another application or chain can take over the port without closing it.
    listener: TcpListener,
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
        let errors = environment.catalogue.check(&configuration);
        if !errors.is_empty() {
            return Err(errors);
        }
        let limits = Arc::new(configuration.limits.clone());
        let system = |error: std::io::Error| {
            let path = "configuration.workers";
            vec![ConfigError::new(path, format!("the system says: {error}"), "workers that can be started")]
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = configuration.workers.unwrap_or(u16::try_from(cores).unwrap_or(u16::MAX).min(256));
        let descriptors = environment.open_files.saturating_sub(RESERVED_DESCRIPTORS).max(1);
        let reactor = Reactor::start(Setup {
            workers,
            limits: limits.clone(),
            descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX),
            routing: Arc::default(),
            log: environment.log.clone(),
            on_failure: environment.on_failure.clone(),
        })
        .map_err(system)?;
        let watchdog = Watchdog::start().map_err(system)?;
        let mut server = Self {
            workers: reactor.workers(),
            configuration,
            environment,
            limits,
            reactor,
            watchdog,
            applications: HashMap::new(),
            retired: Vec::new(),
            ports: Vec::new(),
            started: Instant::now(),
        };
        let list = server.configuration.applications.list.clone();
        match server.start_applications(&server.configuration, &list) {
            Ok(running) => server.applications.extend(running),
            Err(errors) => {
                server.stop();
                return Err(errors);
            }
        }
        server.route();
        for Bound { wanted, address, listener } in bound {
            server.open(Port { wanted, address, listener });
        }
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

    /// Ends replaced applications whose last connection has gone. Returns whether any are left.
    pub fn sweep(&mut self) -> bool {
        self.retired.retain(|running| {
            let in_use = running.is_in_use();
            if !in_use {
                running.handle.stop(Duration::ZERO);
            }
            in_use
        });
        !self.retired.is_empty()
    }

    /// Ends everything: ports, connections (which are told), workers, applications.
    pub fn stop(self) -> Stopped {
        let time = self.configuration.shutdown_timeout.get();
        let until = Instant::now() + time;
        let workers = self.reactor.stop(time);
        // Connections are gone; what applications still have to do about them gets a little time of its own.
        let rest = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let until = Instant::now() + rest;
        let mut applications = 0;
        for running in self.applications.values().chain(&self.retired) {
            let patience = until.saturating_duration_since(Instant::now());
            applications += usize::from(running.handle.stop(patience) == crate::apps::Stopped::LeftBehind);
        }
        Stopped { workers, applications }
    }

    /// Starts applications; all of them, or none.
    fn start_applications(
        &self,
        configuration: &Configuration,
        wanted: &[Application],
    ) -> Result<Vec<(String, Running)>, Vec<ConfigError>> {
        let mut running = Vec::new();
        let mut errors = Vec::new();
        for application in wanted {
            match self.start_application(configuration, application) {
                Ok(started) => running.push((application.name.clone(), started)),
                Err(error) => errors.push(*error),
            }
        }
        if errors.is_empty() {
            return Ok(running);
        }
        for (_, started) in running {
            started.handle.stop(Duration::from_secs(1));
        }
        Err(errors)
    }

    fn start_application(
        &self,
        configuration: &Configuration,
        application: &Application,
    ) -> Result<Running, Box<ConfigError>> {
        let environment = &self.environment;
        let (library, path) =
            load_library(configuration, application, environment.program_folder.as_deref())?;
        bridge::start(application, &library, &self.watchdog, &environment.log, &self.workers).map_err(
            |error| Box::new(ConfigError::new(path, error.to_string(), "an application that starts")),
        )
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
    }

    fn open(&mut self, port: Port) {
        let Some(application) =
            self.configuration.applications.list.iter().find(|other| other.name == port.wanted.application)
        else {
            return;
        };
        let listener = match port.listener.try_clone() {
            Ok(listener) => listener,
            Err(error) => {
                slog::error!(self.environment.log, "cannot listen at {}: {error}", port.address);
                return;
            }
        };
        let chain = port.wanted.acceptor.protocol.clone();
        let settings = LayerSettings {
            limits: self.limits.clone(),
            validate_handshake: application.validate_handshake,
            chunk_size: u32::try_from(application.chunk_size).unwrap_or(u32::MAX),
            keys: layer_keys(&port.wanted.acceptor.keys),
        };
        let (catalogue, name) = (self.environment.catalogue.clone(), chain.clone());
        let acceptor = Acceptor {
            address: port.address,
            chain,
            application: application.name.clone(),
            make_chain: Box::new(move || catalogue.build(&name, &settings, Instant::now())),
        };
        self.workers.listen(listener, Arc::new(acceptor));
        self.ports.push(port);
    }
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
    log: &Logger,
) -> Result<(), Vec<ConfigError>> {
    let mut errors = catalogue.check(configuration);
    for application in &configuration.applications.list {
        let checked = load_library(configuration, application, program_folder).and_then(|(library, path)| {
            bridge::check(application, &library, log).map_err(|error| {
                Box::new(ConfigError::new(path, error.to_string(), "settings that it accepts"))
            })
        });
        errors.extend(checked.err().map(|error| *error));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The library of an application, and the place of the application in the configuration.
fn load_library(
    configuration: &Configuration,
    application: &Application,
    program_folder: Option<&Path>,
) -> Result<(Library, String), Box<ConfigError>> {
    let list = &configuration.applications.list;
    let index = list.iter().position(|other| other.name == application.name).unwrap_or_default();
    let path = format!("configuration.applications[{}]", index + 1);
    let file = find_library(&configuration.applications, index, program_folder)?;
    let library = Library::load(&file)
        .map_err(|error| Box::new(ConfigError::new(&path, error.to_string(), "a plugin of this server")))?;
    Ok((library, path))
}
