//! From one configuration to the next.

use super::{Port, Server, bind::bind_one, bridge::Running};
use crate::config::{ApplicationAcceptor, ConfigError, Configuration, RestartChange, diff};

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

    /// Goes to another configuration. Sessions that it does not name are not touched; connections of an
    /// application that is replaced or removed keep its old instance until they end.
    ///
    /// # Errors
    ///
    /// What is wrong with it; then nothing has changed.
    pub fn reload(&mut self, new: Configuration) -> Result<Reloaded, Vec<ConfigError>> {
        let diff = diff(&self.configuration, &new);
        let wanted = [diff.added_applications.as_slice(), &diff.changed_applications].concat();
        let (taken_over, fresh): (Vec<_>, Vec<_>) = diff.added_acceptors.into_iter().partition(|added| {
            self.position_of(|port| {
                port.wanted.acceptor.address() == added.acceptor.address() && added.acceptor.port != 0
            })
            .is_some()
        });

        // Everything that can fail comes before anything changes.
        let mut bound = Vec::new();
        let mut errors = self.environment.catalogue.check(&new);
        if !errors.is_empty() {
            return Err(errors);
        }
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
        let started = self.start_applications(&new, &wanted)?;

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
        self.configuration.limits = old.limits;
        self.configuration.workers = old.workers;
        self.configuration.daemon = old.daemon;
        self.configuration.counters_file = old.counters_file;

        for (name, running) in started {
            let before: Option<Running> = self.applications.insert(name, running);
            self.retired.extend(before);
        }
        for name in &diff.removed_applications {
            self.retired.extend(self.applications.remove(name));
        }
        self.route();

        let mut kept = Vec::new();
        for removed in &diff.removed_acceptors {
            if let Some(at) = self.position_of(|port| port.wanted == *removed) {
                let port = self.ports.remove(at);
                self.workers.unlisten(port.address);
                kept.push(port);
            }
        }
        for wanted in taken_over {
            let address = wanted.acceptor.address();
            if let Some(at) = kept.iter().position(|port| port.address == address) {
                let port = kept.swap_remove(at);
                self.open(Port { wanted, ..port });
            }
        }
        for bound in bound {
            self.open(Port { wanted: bound.wanted, address: bound.address, listener: bound.listener });
        }
        // Acceptors of changed applications make chains from the new settings.
        for name in &reloaded.started {
            self.reopen_ports_of(name);
        }
        self.sweep();
        Ok(reloaded)
    }

    fn reopen_ports_of(&mut self, application: &str) {
        let (theirs, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ports)
            .into_iter()
            .partition(|port| port.wanted.application == application);
        self.ports = others;
        for port in theirs {
            self.workers.unlisten(port.address);
            self.open(port);
        }
    }

    fn position_of(&self, matches: impl Fn(&Port) -> bool) -> Option<usize> {
        self.ports.iter().position(matches)
    }
}

fn path_of(configuration: &Configuration, wanted: &ApplicationAcceptor) -> String {
    let list = &configuration.applications.list;
    let application = list.iter().position(|other| other.name == wanted.application);
    let acceptor =
        application.and_then(|at| list[at].acceptors.iter().position(|other| *other == wanted.acceptor));
    let number = |index: Option<usize>| index.map_or(0, |index| index + 1);
    format!("configuration.applications[{}].acceptors[{}]", number(application), number(acceptor))
}
