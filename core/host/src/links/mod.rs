//! Streams that come from other servers and go to them: pulls and pushes.
//!
//! A *link* is one configured pull or push of one stream of one application. All of them are looked after by one thread,
//! which waits for nothing but its queue and its clock: whoever has news (workers, the resolver, commands) puts it there.
//! Where to start: [`Links`], the way to that thread; `core` decides, without I/O; `driver` does what it decides;
//! `definition` is what settings say, `uri` an address, `link` one link and its back-off, `company` whether it shares its
//! connection, `core/peers` those connections, `core/moving` what becomes of a link whose far end asks it to connect
//! elsewhere, `said` the words between us and far ends, `adobe` those about who we are.

mod adobe;
mod company;
mod core;
mod definition;
mod driver;
mod line;
mod link;
mod said;
mod uri;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::Instant,
};

use crtmp_media::Limits;
use crtmp_reactor::Workers;
use serde_json::{Map, Value, json};
use slog::Logger;

use self::{core::Input, driver::Driver, link::View};
pub(crate) use self::{
    definition::{Definition, Direction, TLS_FILES},
    driver::Instance,
    uri::Place,
};
use crate::{chains::Catalogue, outbound::Outbound, trust::Trust};

/// The way to the thread that looks after pulls and pushes; clones are the same.
#[derive(Clone)]
pub(crate) struct Links {
    queue: Sender<Message>,
    views: Views,
}

/// What the thread is told, before it runs.
pub(crate) struct Inbox(Receiver<Message>);

/// What links need of the server.
pub(crate) struct Surroundings {
    pub(crate) log: Logger,
    pub(crate) limits: Arc<Limits>,
    pub(crate) workers: Workers,
    pub(crate) outbound: Outbound,
    /// Whom connections trust.
    pub(crate) trust: Trust,
    /// By which servers recognise each other.
    pub(crate) instance: Arc<str>,
}

/// What each link looks like.
type Views = Arc<Mutex<BTreeMap<u64, View>>>;

enum Message {
    Input(Input),
    /// An application is there, anew or in the place of an older instance.
    Application(Instance),
    /// What chains are made of.
    Catalogue(Arc<Catalogue>),
    Stop,
}

impl Links {
    /// A way to a thread that does not run yet.
    pub(crate) fn new() -> (Self, Inbox) {
        let (queue, inbox) = mpsc::channel();
        (Self { queue, views: Views::default() }, Inbox(inbox))
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub(crate) fn start(&self, inbox: Inbox, around: Surroundings) -> io::Result<JoinHandle<()>> {
        let driver = Driver::new(around, self.queue.clone(), self.views.clone());
        std::thread::Builder::new().name("links".to_owned()).spawn(move || driver.run(&inbox.0))
    }

    /// What new connections are made of.
    pub(crate) fn catalogue(&self, catalogue: Arc<Catalogue>) {
        self.post(Message::Catalogue(catalogue));
    }

    /// Links of an application belong to this instance from now on; connections that are there stay.
    pub(crate) fn application(&self, instance: Instance) {
        self.post(Message::Application(instance));
    }

    /// Begins a link.
    pub(crate) fn add(&self, id: u64, definition: Arc<Definition>) {
        self.post(Message::Input(Input::Add(id, definition)));
    }

    /// Ends a link and its stream.
    pub(crate) fn remove(&self, id: u64) {
        self.post(Message::Input(Input::Remove(id)));
    }

    /// A publish has begun, or ended.
    pub(crate) fn stream(&self, application: Arc<str>, name: String, publish: u64, live: bool) {
        self.post(Message::Input(Input::Stream { application, name, publish, live }));
    }

    /// `outboundPolicy` is another one: no link joins a connection that was made before.
    pub(crate) fn policy_changed(&self) {
        self.post(Message::Input(Input::Policy));
    }

    /// Ends the thread. Connections are the workers' to end.
    pub(crate) fn stop(&self) {
        self.post(Message::Stop);
    }

    /// A link as commands show it to whoever may see `all`, or not.
    pub(crate) fn entry(&self, id: u64, definition: &Definition, all: bool, now: Instant) -> Value {
        let mut entry = definition.shown(all);
        let view = lock(&self.views).get(&id).cloned();
        entry.insert("configId".to_owned(), id.into());
        entry.insert("applicationName".to_owned(), definition.application.clone().into());
        describe(view.as_ref(), now, &mut entry);
        Value::Object(entry)
    }

    /// Whether a link has ended for good.
    pub(crate) fn has_ended(&self, id: u64) -> bool {
        lock(&self.views).get(&id).is_some_and(|view| view.current.code == link::Code::Ended)
    }

    /// Which link runs on which message stream of which connection.
    pub(crate) fn on(&self) -> HashMap<(u64, u32), u64> {
        let views = lock(&self.views);
        views.iter().filter_map(|(id, view)| Some(((view.connection?, view.stream?), *id))).collect()
    }

    fn post(&self, message: Message) {
        // The thread is gone only where the server ends.
        let _ = self.queue.send(message);
    }
}

fn describe(view: Option<&View>, now: Instant, entry: &mut Map<String, Value>) {
    let moment = |moment: &link::Moment| json!({ "code": moment.code.number(), "description": moment.code.text(), "timestamp": moment.since });
    let Some(view) = view else { return };
    entry.insert(
        "status".to_owned(),
        json!({ "current": moment(&view.current), "previous": view.previous.as_ref().map(moment) }),
    );
    let retry_in = view.retry_at.map(|at| at.saturating_duration_since(now).as_millis() as f64 / 1000.0);
    let members = json!({
        "cause": view.cause,
        "attempts": view.attempts,
        "failures": view.failures,
        "retryIn": retry_in,
        "address": view.address.map(|address| address.to_string()),
        "connectionId": view.connection,
        "streamId": view.stream,
    });
    if let Value::Object(members) = members {
        entry.extend(members);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
