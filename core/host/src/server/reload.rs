//! From one configuration to the next.

use std::{net::SocketAddr, time::Duration};

use super::{
    Port, Server, bind::bind_one, commands::services::may_stay, libraries::Libraries, tell_application,
};
use crate::{
    config::{ApplicationAcceptor, ConfigError, Configuration, RestartChange, diff},
    events::Kind,
};

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Acceptors that would be opened: address, chain, application.
    pub open: Vec<String>,
    /// Acceptors that would be closed; their connections stay.
    pub close: Vec<String>,
    /// Applications that would be started, anew or in the place of the running instance.
    pub start: Vec<String>,
    /// Applications that would take no new connections any more.
    pub end: Vec<String>,
    /// Applications whose streams would be handed to players in another way.
    pub retune: Vec<String>,
    /// What would wait for a restart.
    pub restart: Vec<String>,
    /// Whether log appenders would change.
    pub log_appenders: bool,
    /// Whether the event logger would change.
    pub event_logger: bool,
    /// Whether it would change what processes may be launched.
    pub processes: bool,
    /// Whether it would change the lists of libraries or chains, so that new connections may get other layers.
    pub chains: bool,
    /// Connections that would keep an application that has been replaced or removed. None is closed, but for
    /// command lines whose secret changes.
    pub sessions_with_old_application: usize,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Acceptors that were opened.
    pub opened: usize,
    /// Acceptors that were closed; their connections stay.
    pub closed: usize,
    /// Applications that were started, anew or in the place of an older instance.
    pub started: Vec<String>,
    /// Applications that take no new connections any more.
    pub ended: Vec<String>,
    /// Applications whose streams are handed to players in another way now, without a new instance.
    pub retuned: Vec<String>,
    /// Changes that wait for a restart.
    pub restart: Vec<RestartChange>,
}

impl Server {
    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What going to another configuration would do, and whether it could be done, as far as that can be told without
    /// opening ports and starting applications.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn plan(&self, new: &Configuration) -> Result<Plan, Vec<ConfigError>> {
        let environment = &self.environment;
        let program_folder = environment.program_folder.as_deref();
        super::check(new, &environment.catalogue, program_folder, &environment.folder, &environment.log)?;
        let libraries = Libraries::load(new, &environment.catalogue, program_folder)?;
        let diff = diff(&self.configuration, new);
        let shown = |address: SocketAddr, wanted: &ApplicationAcceptor| {
            format!("{address} {} {}", wanted.acceptor.protocol, wanted.application)
        };
        let acceptor = |wanted: &ApplicationAcceptor| shown(wanted.acceptor.address(), wanted);
        let created = self.ports.iter().filter(|port| port.created);
        let orphans = created.filter(|port| !may_stay(port, new, &libraries.catalogue));
        let start = diff.added_applications.iter().chain(&diff.changed_applications);
        let start: Vec<String> = start.map(|application| application.name.clone()).collect();
        let touched = start.iter().chain(&diff.removed_applications);
        let sessions = touched
            .filter_map(|name| self.connections.get(name))
            .map(|count| count.load(std::sync::atomic::Ordering::Relaxed))
            .sum();
        Ok(Plan {
            open: diff.added_acceptors.iter().map(acceptor).collect(),
            close: diff
                .removed_acceptors
                .iter()
                .map(acceptor)
                .chain(orphans.map(|port| shown(port.address, &port.wanted)))
                .collect(),
            start,
            end: diff.removed_applications,
            retune: diff.retuned_applications,
            restart: diff.restart.into_iter().map(|change| change.path).collect(),
            log_appenders: diff.log_appenders.is_some(),
            event_logger: diff.event_logger.is_some(),
            processes: diff.processes,
            chains: diff.chains,
            sessions_with_old_application: sessions,
        })
    }

    /// Goes to another configuration. Sessions that it does not name are not touched; connections of an
    /// application that is replaced or removed keep its old instance until they end. Only sessions of command lines
    /// end, where the secret that they were let in by does not hold any more.
    ///
    /// # Errors
    ///
    /// What is wrong with it; then nothing has changed.
    pub fn reload(&mut self, new: Configuration) -> Result<Reloaded, Vec<ConfigError>> {
        let diff = diff(&self.configuration, &new);
        let wanted = [diff.added_applications.as_slice(), &diff.changed_applications].concat();
        let (taken_over, fresh): (Vec<_>, Vec<_>) = diff
            .added_acceptors
            .into_iter()
            .partition(|added| self.position_of(|port| port.address == added.acceptor.address()).is_some());

        // Everything that can fail comes before anything changes.
        let mut bound = Vec::new();
        let environment = &self.environment;
        let libraries = Libraries::load(&new, &environment.catalogue, environment.program_folder.as_deref())?;
        let allowed = super::commands::processes::allowed(&new)?;
        let mut errors = Vec::new();
        for acceptor in fresh {
            let path = path_of(&new, &acceptor);
            match bind_one(acceptor, &path) {
                Ok(one) => bound.push(one),
                Err(error) => errors.push(*error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let started = self.start_applications(&libraries, &new, &wanted)?;
        if let Some(logger) = &diff.event_logger
            && let Err(errors) = self.events.configure(logger)
        {
            for (_, running) in started {
                running.handle.stop(Duration::ZERO);
                tell_application(&self.events, Kind::ApplicationStop, &running);
            }
            return Err(errors);
        }
        self.libraries = libraries;

        let mut reloaded = Reloaded {
            opened: bound.len() + taken_over.len(),
            closed: diff.removed_acceptors.len(),
            started: started.iter().map(|(name, _)| name.clone()).collect(),
            ended: diff.removed_applications.clone(),
            retuned: diff.retuned_applications,
            restart: diff.restart,
        };
        reloaded.started.sort();
        // What needs a restart stays as it was.
        let old = std::mem::replace(&mut self.configuration, new);
        self.configuration.limits = old.limits.clone();
        self.configuration.workers = old.workers;
        self.configuration.daemon = old.daemon;
        self.configuration.counters_file.clone_from(&old.counters_file);
        self.configuration.state_file.clone_from(&old.state_file);
        self.configure_processes(allowed);

        let other_secret = |name: &&String| secret_of(&old, name) != secret_of(&self.configuration, name);
        let mut outdated: Vec<String> = reloaded.started.iter().filter(other_secret).cloned().collect();
        for name in &diff.removed_applications {
            let commands = |port: &Port| port.wanted.acceptor.protocol.ends_with("Cli");
            if self.ports.iter().any(|port| port.wanted.application == *name && commands(port)) {
                outdated.push(name.clone());
            }
            self.retired.extend(self.applications.remove(name));
        }
        self.put_in_force(started);
        // Older instances too: they were let be while the secret stayed.
        for running in &mut self.retired {
            if outdated.iter().any(|name| name == running.handle.name()) {
                running.outdate();
            }
        }

        let mut kept = Vec::new();
        for removed in &diff.removed_acceptors {
            if let Some(at) = self.position_of(|port| !port.created && port.wanted == *removed) {
                kept.push(self.close_port(at));
            }
        }
        while let Some(at) = self.position_of(|port| {
            port.created && !may_stay(port, &self.configuration, &self.libraries.catalogue)
        }) {
            kept.push(self.close_port(at));
            reloaded.closed += 1;
        }
        for wanted in taken_over {
            let address = wanted.acceptor.address();
            if let Some(at) = kept.iter().position(|port| port.address == address) {
                let port = kept.swap_remove(at);
                self.open(Port { wanted, created: false, ..port });
            }
        }
        for bound in bound {
            self.open_bound(bound, false);
        }
        // New connections get chains of what applications, libraries and the configuration say now.
        if diff.chains || !reloaded.started.is_empty() {
            self.reopen_ports();
        }
        self.sweep();
        Ok(reloaded)
    }

    /// Who waits to be accepted goes on waiting at the same socket.
    fn reopen_ports(&mut self) {
        for port in std::mem::take(&mut self.ports) {
            self.workers.unlisten(port.address);
            self.open(port);
        }
    }

    fn close_port(&mut self, at: usize) -> Port {
        let port = self.ports.remove(at);
        self.workers.unlisten(port.address);
        port
    }

    fn position_of(&self, matches: impl Fn(&Port) -> bool) -> Option<usize> {
        self.ports.iter().position(matches)
    }
}

/// What sessions of this application have to show.
fn secret_of<'a>(configuration: &'a Configuration, application: &str) -> Option<&'a serde_json::Value> {
    let list = &configuration.applications.list;
    list.iter().find(|other| other.name == application).and_then(|found| found.settings.get("secret"))
}

fn path_of(configuration: &Configuration, wanted: &ApplicationAcceptor) -> String {
    let list = &configuration.applications.list;
    let application = list.iter().position(|other| other.name == wanted.application);
    let acceptor =
        application.and_then(|at| list[at].acceptors.iter().position(|other| *other == wanted.acceptor));
    let number = |index: Option<usize>| index.map_or(0, |index| index + 1);
    format!("configuration.applications[{}].acceptors[{}]", number(application), number(acceptor))
}
