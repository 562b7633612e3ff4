//! The server's own commands: one table, and the functions behind it by subject.
//!
//! Names, parameters and the shape of what they return follow EvoStream where it has them. `docs/commands.md` is made
//! from the table, and a test compares.

mod aliases;
mod applications;
mod bandwidth;
mod config;
pub(super) mod connections;
mod document;
mod ends;
mod general;
mod ingest;
mod kept;
mod limits;
mod links;
mod metrics;
pub(super) mod processes;
pub(super) mod services;
mod shared_objects;
pub(super) mod streams;
mod timers;
mod video;

use std::{collections::HashMap, path::Path, sync::LazyLock, time::Instant};

pub use self::document::commands_document;
use super::{
    Server,
    control::{Outcome, Run},
    reload::Loaded,
};
use crate::{commands::Spec, config::ConfigError, processes::Processes};

/// A command of the server.
pub(super) struct Builtin {
    pub(super) spec: Spec,
    /// Whether it wants to know what goes on in the workers.
    pub(super) gathers: bool,
    /// What stands before its data, where it has nothing else to say.
    pub(super) says: &'static str,
    pub(super) run: fn(&mut Server, &Run<'_>) -> Outcome,
}

impl Builtin {
    fn new(spec: Spec, run: fn(&mut Server, &Run<'_>) -> Outcome) -> Self {
        Self { spec, gathers: false, says: "", run }
    }

    fn gathering(spec: Spec, run: fn(&mut Server, &Run<'_>) -> Outcome) -> Self {
        Self { spec, gathers: true, says: "", run }
    }

    fn saying(self, says: &'static str) -> Self {
        Self { says, ..self }
    }
}

/// The commands of a subject.
type Subject = fn() -> Vec<Builtin>;

/// The subjects, as the document names them.
const SUBJECTS: &[(&str, Subject)] = &[
    ("The server", general::commands),
    ("Metrics", metrics::commands),
    ("Streams", streams::commands),
    ("Connections", connections::commands),
    ("Services", services::commands),
    ("Applications", applications::commands),
    ("Limits", limits::commands),
    ("Bandwidth tests", bandwidth::commands),
    ("Aliases", aliases::commands),
    ("Ingest points", ingest::commands),
    ("Pulls and pushes", links::commands),
    ("Shared objects", shared_objects::commands),
    ("Stored configuration", config::commands),
    ("Timers", timers::commands),
    ("Processes", processes::commands),
];

/// All of them, by subject. Their places in it are their numbers.
pub(super) static COMMANDS: LazyLock<Vec<Builtin>> =
    LazyLock::new(|| SUBJECTS.iter().flat_map(|(_, commands)| commands()).collect());

/// What is known of them elsewhere: by their numbers.
pub(super) fn specs() -> Vec<Spec> {
    COMMANDS.iter().map(|command| command.spec.clone()).collect()
}

/// What commands have set up.
#[derive(Default)]
pub(super) struct State {
    last_id: u64,
    /// What the second step of `shutdownServer` must say.
    shutdown_key: Option<String>,
    /// What a restart shall not forget.
    pub(super) kept: kept::State,
    meter: limits::Meter,
    /// Applications in the order in which commands met them: the place is what `appId` says.
    application_ids: Vec<String>,
    /// What `loadApplication` has loaded, by application.
    pub(super) loaded: HashMap<String, Loaded>,
    /// What `setConnectionsCountLimit` has set.
    connections_limit: u64,
    timers: timers::Timers,
    processes: Processes,
    links: links::Known,
    broken_links: links::Broken,
}

impl State {
    /// Begins with what is kept in `stateFile`, where there is one.
    pub(super) fn load(file: Option<&Path>) -> Result<Self, Vec<ConfigError>> {
        let kept = kept::State::load(file).map_err(|error| vec![*error])?;
        Ok(Self { kept, ..Self::default() })
    }

    /// A number for something new: a service, a timer.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The number of an application, the same as long as the server runs.
    pub(super) fn application_id(&mut self, name: &str) -> u64 {
        let known = self.application_ids.iter().position(|other| other == name);
        let at = known.unwrap_or_else(|| {
            self.application_ids.push(name.to_owned());
            self.application_ids.len() - 1
        });
        at as u64 + 1
    }
}

impl Server {
    /// When [`upkeep`](Self::upkeep) is to be called.
    pub(super) fn upkeep_at(&self) -> Option<Instant> {
        [self.state.meter.next, self.timers_due(), self.state.processes.due()].into_iter().flatten().min()
    }

    /// Looks after what commands have set up.
    pub(super) fn upkeep(&mut self, now: Instant) {
        self.measure(now);
        self.aliases.sweep(now);
        self.look_after_timers(now);
        self.look_after_processes(now);
    }

    /// Ends what commands have set up and what may not outlive the server; what is returned waits for that, up
    /// to a time.
    pub(super) fn end_state(&mut self) -> impl FnOnce(Instant) + use<> {
        self.close_timers();
        self.end_processes()
    }
}
