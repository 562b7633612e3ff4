//! The one place where commands are known: those of the server and those that applications add.
//!
//! Whoever wants something done, a session of a command line, a script, a plugin, has a [`Control`] and makes a
//! [`Call`]; the reply comes once, later, as the JSON object that all faces show:
//! `{"status":"SUCCESS"|"FAIL","description":…,"data":…}`. Names and parameters are checked here
//! ([`Spec::check`]); the work is done by the server on its own thread, one command after the other, or by the
//! application that added the command.

mod http;
mod spec;
mod told;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crtmp_plugin::{NotTaken, Rights};
use serde_json::{Map, Value, json};

pub use self::spec::{Access, Kind, Param, Params, Spec};
use crate::{apps::CallOutcome, config::did_you_mean, events, web::Client};

/// Commands that may wait for their reply, over all callers.
pub const OPEN_COMMANDS: usize = 1024;

/// Commands that one application may add.
const ADDED: usize = 256;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The application that calls.
    pub name: String,
    /// The number of its instance.
    pub instance: u64,
    /// The connection that it calls for, where it is known, and its peer.
    pub session: Option<(u64, String)>,
    /// What it may do.
    pub rights: Rights,
}

/// As the log shows it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.session {
            Some((connection, peer)) => write!(f, "{}, connection {connection} of {peer}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A command to run.
pub struct Call {
    /// Its name, in any case.
    pub name: String,
    /// Its parameters, not yet checked; names in any case.
    pub params: Map<String, Value>,
    /// Who calls.
    pub caller: Caller,
    /// Called once, with the reply; from any thread.
    pub reply: Reply,
}

/// Takes the reply of a command.
pub type Reply = Box<dyn FnOnce(Value) + Send>;

/// A command of the server that has been checked, on its way to the server's thread.
pub struct Job {
    /// Its place among [`Control::new`]'s.
    pub index: usize,
    /// Its parameters, with all defaults.
    pub params: Params,
    /// Who calls.
    pub caller: Caller,
    /// Takes the reply.
    pub reply: Reply,
}

/// Asks an application to run a command of its own: the number to answer, the name, JSON text of the parameters.
pub type Ask = Arc<dyn Fn(u64, String, String) + Send + Sync>;

/// Tells of a command that came or was answered; what is told is only made where somebody wants to know.
pub type Tell = Box<dyn Fn(events::Kind, &mut dyn FnMut() -> Value) + Send + Sync>;

/// The way to all commands; clones are the same.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    /// The server's own, by name in lower case.
    own: HashMap<String, usize>,
    specs: Vec<Spec>,
    /// By name in lower case; of several instances of an application that have a command, the newest comes last,
    /// whichever has added it last.
    added: Mutex<BTreeMap<String, Vec<Added>>>,
    /// Calls that an application has not answered.
    asked: Mutex<HashMap<u64, Asked>>,
    next: AtomicU64,
    /// Commands that were called, whatever became of them.
    called: AtomicU64,
    open: AtomicUsize,
    /// Hands a command to the server's thread.
    post: Box<dyn Fn(Job) + Send + Sync>,
    tell: Tell,
    web: Client,
}

/// A command of an application.
struct Added {
    application: String,
    instance: u64,
    spec: Spec,
    ask: Ask,
}

struct Asked {
    instance: u64,
    reply: Reply,
}

impl Control {
    /// Knows the server's commands and how to have them run.
    pub fn new(specs: Vec<Spec>, web: Client, tell: Tell, post: Box<dyn Fn(Job) + Send + Sync>) -> Self {
        let own = specs.iter().enumerate().map(|(index, spec)| (spec.name.to_lowercase(), index)).collect();
        Self(Arc::new(Inner {
            own,
            specs,
            added: Mutex::default(),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            called: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            post,
            tell,
            web,
        }))
    }

    /// Runs a command.
    pub fn run(&self, call: Call) {
        let Call { name, params, caller, reply } = call;
        self.0.called.fetch_add(1, Ordering::Relaxed);
        let before = self.0.open.fetch_add(1, Ordering::Relaxed);
        let found = self.find(&name);
        let spec = match &found {
            Found::Own(index) => Ok(&self.0.specs[*index]),
            Found::Added { spec, .. } => Ok(spec),
            Found::Nowhere(text) => Err(text),
        };
        let checked = match spec {
            Ok(spec) => checked(spec, &caller, &params),
            Err(text) => Err(Refusal::Mistake(text.clone())),
        };
        let command = spec.map_or_else(|_| name.chars().take(64).collect(), |spec| spec.name.to_string());
        (self.0.tell)(events::Kind::CliRequest, &mut || told::request(&command, &checked, &params, &caller));
        let reply = self.told(&command, &caller, reply);
        if before >= OPEN_COMMANDS {
            return reply(fail(format!("{OPEN_COMMANDS} commands wait for their replies; try again later")));
        }
        let params = match checked {
            Ok(params) => params,
            Err(refusal) => return reply(refusal.reply()),
        };
        match found {
            Found::Own(index) => (self.0.post)(Job { index, params, caller, reply }),
            Found::Added { ask, instance, .. } => {
                let id = self.0.next.fetch_add(1, Ordering::Relaxed);
                lock(&self.0.asked).insert(id, Asked { instance, reply });
                ask(id, command, params.json());
            }
            // Refused above.
            Found::Nowhere(text) => reply(fail(text)),
        }
    }

    /// A reply that is counted, and told to whoever wants to know what became of commands.
    fn told(&self, command: &str, caller: &Caller, reply: Reply) -> Reply {
        let (this, command, caller) = (self.clone(), command.to_owned(), caller.clone());
        Box::new(move |value| {
            this.0.open.fetch_sub(1, Ordering::Relaxed);
            (this.0.tell)(events::Kind::CliResponse, &mut || told::response(&command, &value, &caller));
            reply(value);
        })
    }

    fn find(&self, name: &str) -> Found {
        let key = name.to_lowercase();
        if let Some(&index) = self.0.own.get(&key) {
            return Found::Own(index);
        }
        let added = lock(&self.0.added);
        let newest = added.get(&key).and_then(|all| all.last()).map(|newest| Found::Added {
            ask: newest.ask.clone(),
            instance: newest.instance,
            spec: newest.spec.clone(),
        });
        drop(added);
        newest.unwrap_or_else(|| Found::Nowhere(self.unknown(name)))
    }

    /// How many commands were called since the start, whatever became of them.
    pub fn called(&self) -> u64 {
        self.0.called.load(Ordering::Relaxed)
    }

    /// Takes the answer of an application to a command of its own.
    pub fn answered(&self, id: u64, result: Result<Value, String>) {
        let Some(Asked { reply, .. }) = lock(&self.0.asked).remove(&id) else { return };
        reply(match result {
            Ok(data) => success("", data),
            Err(text) => fail(text),
        });
    }

    /// Adds a command of an instance of an application. While an older instance has it as well, or adds it later, the
    /// newer one (with the greater number) is asked; should that end first, the older one is asked again.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn add(&self, application: &str, instance: u64, command: &Value, ask: Ask) -> Result<(), String> {
        let spec = Spec::read(command)?;
        let key = spec.name.to_lowercase();
        let taken = |by: &str| Err(format!("the command `{}` cannot be added: {by} has it", spec.name));
        if self.0.own.contains_key(&key) {
            return taken("the server");
        }
        let mut added = lock(&self.0.added);
        let of_others = |other: &&Added| other.application != application;
        if let Some(other) = added.get(&key).into_iter().flatten().find(of_others) {
            return taken(&format!("the application `{}`", other.application));
        }
        let ours = added
            .iter()
            .filter(|(name, all)| **name != key && all.iter().any(|other| other.instance == instance));
        if ours.count() >= ADDED {
            return Err(format!("an application may add {ADDED} commands"));
        }
        let all = added.entry(key).or_default();
        all.retain(|other| other.instance != instance);
        let place = all.partition_point(|other| other.instance < instance);
        all.insert(place, Added { application: application.to_owned(), instance, spec, ask });
        Ok(())
    }

    /// Takes back a command of an instance; false: it has none of this name. Open calls of it stay open.
    pub fn remove(&self, instance: u64, name: &str) -> bool {
        let mut added = lock(&self.0.added);
        let key = name.to_lowercase();
        let Some(all) = added.get_mut(&key) else { return false };
        let before = all.len();
        all.retain(|other| other.instance != instance);
        let removed = all.len() < before;
        if all.is_empty() {
            added.remove(&key);
        }
        removed
    }

    /// The instance has ended: its commands are gone, its open calls fail.
    pub fn forget(&self, instance: u64) {
        lock(&self.0.added).retain(|_, all| {
            all.retain(|added| added.instance != instance);
            !all.is_empty()
        });
        let mut gone = Vec::new();
        lock(&self.0.asked).retain(|_, asked| {
            asked.instance != instance || {
                gone.push(std::mem::replace(&mut asked.reply, Box::new(drop)));
                false
            }
        });
        for reply in gone {
            reply(fail("the application has ended"));
        }
    }

    /// All commands, in the order of their names, each as `help` shows it.
    pub fn help(&self) -> Value {
        let added = lock(&self.0.added);
        let mut all: Vec<(&str, Value)> =
            self.0.specs.iter().map(|spec| (&*spec.name, spec.help("server"))).collect();
        let newest = added.values().filter_map(|all| all.last());
        all.extend(newest.map(|added| (&*added.spec.name, added.spec.help(&added.application))));
        all.sort_by_key(|(name, _)| name.to_lowercase());
        all.into_iter().map(|(_, help)| help).collect()
    }

    /// The command of this name, in any case, as `help` shows it.
    ///
    /// # Errors
    ///
    /// If there is none; which one may be meant.
    pub fn help_of(&self, name: &str) -> Result<Value, String> {
        let key = name.to_lowercase();
        if let Some(&index) = self.0.own.get(&key) {
            return Ok(self.0.specs[index].help("server"));
        }
        let newest = |all: &Vec<Added>| all.last().map(|added| added.spec.help(&added.application));
        let found = lock(&self.0.added).get(&key).and_then(newest);
        found.ok_or_else(|| self.unknown(name))
    }

    /// Sends an HTTP request of an application.
    ///
    /// # Errors
    ///
    /// If the request makes no sense, or too many wait.
    pub fn http(
        &self,
        request: &Map<String, Value>,
        body: Vec<u8>,
        done: Box<dyn FnOnce(CallOutcome) + Send>,
    ) -> Result<(), NotTaken> {
        http::send(&self.0.web, request, body, done)
    }

    fn unknown(&self, name: &str) -> String {
        let shown: String = name.chars().take(64).collect();
        let added = lock(&self.0.added);
        let names = self.0.specs.iter().map(|spec| &*spec.name);
        let newest = added.values().filter_map(|all| all.last());
        let names: Vec<&str> = names.chain(newest.map(|added| &*added.spec.name)).collect();
        match did_you_mean(name, names) {
            Some(near) => format!("there is no command {shown:?}; did you mean `{near}`?"),
            None => format!("there is no command {shown:?}; `help` lists all"),
        }
    }
}

/// Where a command is.
enum Found {
    /// Among the server's own.
    Own(usize),
    /// An application has added it.
    Added { ask: Ask, instance: u64, spec: Spec },
    /// There is none of that name.
    Nowhere(String),
}

/// Why a command is not even begun.
enum Refusal {
    /// The caller may not; showing the secret would help.
    Rights(String),
    /// Something is wrong with its name or its parameters.
    Mistake(String),
}

impl Refusal {
    fn reply(self) -> Value {
        match self {
            Self::Rights(text) => {
                json!({ "status": "FAIL", "description": text, "data": { "needsSecret": true } })
            }
            Self::Mistake(text) => fail(text),
        }
    }
}

fn checked(spec: &Spec, caller: &Caller, params: &Map<String, Value>) -> Result<Params, Refusal> {
    let needed = match spec.access {
        Access::Read => Rights::Read,
        Access::Change => Rights::Change,
        Access::Secret => Rights::All,
    };
    if caller.rights < needed {
        let what = if needed == Rights::All { "always needs the secret" } else { "changes something" };
        return Err(Refusal::Rights(format!("`{}` {what}, and the caller may not", spec.name)));
    }
    spec.check(params).map_err(Refusal::Mistake)
}

/// The reply of a command that was done.
pub fn success(description: &str, data: Value) -> Value {
    json!({ "status": "SUCCESS", "description": description, "data": data })
}

/// The reply of a command that was not.
pub fn fail(description: impl Into<String>) -> Value {
    json!({ "status": "FAIL", "description": description.into(), "data": null })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
