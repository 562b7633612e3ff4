//! What becomes of shared objects: a state machine without threads, disks or clocks.
//!
//! Requests come in, in one order for all workers; actions go out. Each request is answered once. Those of the server
//! itself, which its commands make, differ in that they need not use an object to change it. A change of a
//! persistent object is answered when a write that contains it has ended well; others hear of it at once. While an
//! object is being written its changes gather, and go into the next write together.

mod turn;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crtmp_media::{Limits, SharedItem, SharedNews, SharedRequest, SharedWish, Value};
use crtmp_reactor::SharedClient;
use crtmp_relay::ConnectionId;

use self::turn::{Turn, size_of_items};
use super::file::{self, Stored};

/// Files of one application that are read and written at once; others wait for their turn.
pub(super) const JOBS: usize = 4;

const NO_READ: &str = "SharedObject.NoReadAccess";
const NO_WRITE: &str = "SharedObject.NoWriteAccess";
const BAD_PERSISTENCE: &str = "SharedObject.BadPersistence";

/// What the server is told whose change does not fit.
const FULL: &str = "not all of it could be done: a limit of the object is reached (sharedObjectBytes, sharedObjectValue, \
                    sharedObjectSlots)";

/// Something to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// To tell a connection something, or only that its request has been dealt with.
    Tell { connection: ConnectionId, news: Option<SharedNews>, bytes: usize, answers: bool },
    /// To close a connection that does not take its news.
    Close { connection: ConnectionId },
    /// To answer a request of the server's own.
    Reply { number: u64, result: Result<Held, String> },
    /// To read a file.
    Load { name: Arc<str>, path: PathBuf },
    /// To write a file.
    Store { name: Arc<str>, path: PathBuf, bytes: Vec<u8> },
    /// To tell the operator of a file that could not be read or written.
    Complain { path: PathBuf, text: String },
}

/// What has been done for an application since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Objects in memory, now.
    pub(crate) objects: AtomicU64,
    /// Uses of objects by connections, now.
    pub(crate) uses: AtomicU64,
    /// Slots changed or removed.
    pub(crate) changes: AtomicU64,
    /// Values sent to all clients of an object.
    pub(crate) sent: AtomicU64,
    /// Wishes that were refused.
    pub(crate) refused: AtomicU64,
    /// Files written.
    pub(crate) writes: AtomicU64,
    /// Files that could not be written or read.
    pub(crate) failures: AtomicU64,
}

/// An object, for operators.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) name: Arc<str>,
    pub(crate) persistent: bool,
    pub(crate) version: u32,
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    pub(crate) clients: usize,
    /// It has changes that no file holds yet.
    pub(crate) unsaved: bool,
}

/// An object, and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) listed: Listed,
    pub(crate) slots: Vec<(Arc<str>, Arc<Value>)>,
}

/// Who wants something of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Client(ConnectionId),
    /// The server itself, by the number that its answer has.
    Server(u64),
}

/// Something that somebody wants of an object.
struct Wanted {
    asker: Asker,
    request: Arc<SharedRequest>,
    /// The status code with which the application refuses it.
    denied: Option<String>,
}

pub(super) struct Core {
    limits: Arc<Limits>,
    counts: Arc<Counts>,
    objects: BTreeMap<Arc<str>, Object>,
    /// Connections that use objects, or wait for some to be read.
    clients: HashMap<ConnectionId, Client>,
    /// Files that are being read and written.
    jobs: usize,
    /// Objects whose files wait for their turn.
    line: VecDeque<Arc<str>>,
    actions: Vec<Action>,
    /// Uses have begun or ended since they were counted.
    uses_changed: bool,
}

struct Client {
    in_flight: Arc<AtomicUsize>,
    /// It is being closed: nothing new is for it.
    closing: bool,
    objects: BTreeSet<Arc<str>>,
}

#[derive(Default)]
struct Object {
    /// Its file, if it is persistent.
    path: Option<PathBuf>,
    /// It is being read: what waits for that.
    loading: Option<VecDeque<Wanted>>,
    version: u32,
    slots: BTreeMap<Arc<str>, Slot>,
    bytes: usize,
    /// Who uses it, and by which name.
    clients: BTreeMap<ConnectionId, Arc<str>>,
    /// It has changes that are in no write.
    changed: bool,
    writing: bool,
    /// It stands in line.
    waits: bool,
    /// Answers that are due when the changes have been written.
    due: Vec<Answer>,
    /// Answers that are due when the write that is under way has ended.
    due_now: Vec<Answer>,
}

struct Slot {
    value: Arc<Value>,
    stored: Box<[u8]>,
}

struct Answer {
    asker: Asker,
    news: SharedNews,
}

impl Core {
    pub(super) fn new(limits: Arc<Limits>, counts: Arc<Counts>) -> Self {
        Self {
            limits,
            counts,
            objects: BTreeMap::new(),
            clients: HashMap::new(),
            jobs: 0,
            line: VecDeque::new(),
            actions: Vec::new(),
            uses_changed: false,
        }
    }

    /// What there is to do since the last time, in order.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        self.counts.objects.store(self.objects.len() as u64, Ordering::Relaxed);
        if mem::take(&mut self.uses_changed) {
            let uses: usize = self.clients.values().map(|client| client.objects.len()).sum();
            self.counts.uses.store(uses as u64, Ordering::Relaxed);
        }
        mem::take(&mut self.actions)
    }

    /// Whether everything that can be written has been.
    pub(super) const fn is_idle(&self) -> bool {
        self.jobs == 0
    }

    /// A connection wants something of the object `name`. `path` is its file; none: persistent objects are not allowed.
    /// With `denied` the application refuses it by that status code.
    pub(super) fn request(
        &mut self,
        client: SharedClient,
        name: &str,
        request: Arc<SharedRequest>,
        denied: Option<String>,
        path: Option<PathBuf>,
    ) {
        let connection = client.connection;
        let entry = || Client { in_flight: client.in_flight, closing: false, objects: BTreeSet::new() };
        let client = self.clients.entry(connection).or_insert_with(entry);
        let uses = request.uses() && denied.is_none();
        self.uses_changed |= uses || request.wishes.contains(&SharedWish::Release);
        let most = self.limits.shared_objects_per_connection;
        if uses && client.objects.len() >= most && !client.objects.contains(name) {
            return self.refuse(connection, &request, NO_READ);
        }
        let known = self.objects.get_key_value(name).map(|(name, _)| name.clone());
        let name = match (known, &denied) {
            (Some(name), _) => name,
            (None, Some(code)) => return self.refuse(connection, &request, code.clone()),
            (None, None) => match self.create(name, &request, path) {
                Ok(name) => name,
                Err(code) => return self.refuse(connection, &request, code),
            },
        };
        if uses
            && self.objects.get(&name).is_some_and(|object| object.loading.is_some())
            && let Some(client) = self.clients.get_mut(&connection)
        {
            client.objects.insert(name.clone());
        }
        self.serve_or_wait(&name, Wanted { asker: Asker::Client(connection), request, denied });
    }

    /// The server itself wants something of an object, or only to see it; [`Action::Reply`] has this number. One that is
    /// in memory is taken as it is; another one is read from its file, where there is a `path`.
    pub(super) fn order(
        &mut self,
        number: u64,
        name: &str,
        request: Arc<SharedRequest>,
        path: Option<PathBuf>,
    ) {
        let known = self.objects.get_key_value(name).map(|(name, _)| name.clone());
        let name = match (known, path) {
            (Some(name), _) => name,
            (None, None) => {
                let text = "nobody uses such a shared object, and the application has no persistent ones";
                return self.reply(number, Err(text.to_owned()));
            }
            (None, Some(_)) if self.objects.len() >= self.limits.shared_object_count => {
                let most = self.limits.shared_object_count;
                let text = format!("the application has sharedObjectCount = {most} objects in memory");
                return self.reply(number, Err(text));
            }
            (None, Some(path)) => {
                let name = name.into();
                self.read(&name, path);
                name
            }
        };
        self.serve_or_wait(&name, Wanted { asker: Asker::Server(number), request, denied: None });
    }

    fn serve_or_wait(&mut self, name: &Arc<str>, wanted: Wanted) {
        match self.objects.get_mut(name).and_then(|object| object.loading.as_mut()) {
            Some(waiting) => waiting.push_back(wanted),
            None => {
                self.serve(name, &wanted);
                self.tidy(name);
            }
        }
    }

    /// A connection has ended.
    pub(super) fn gone(&mut self, connection: ConnectionId) {
        let Some(client) = self.clients.remove(&connection) else { return };
        self.uses_changed = true;
        for name in client.objects {
            let Some(object) = self.objects.get_mut(&name) else { continue };
            object.clients.remove(&connection);
            if let Some(waiting) = &mut object.loading {
                waiting.retain(|wanted| wanted.asker != Asker::Client(connection));
            }
            self.tidy(&name);
        }
    }

    /// The file of an object has been read.
    pub(super) fn loaded(&mut self, name: &Arc<str>, result: Result<Option<Stored>, String>) {
        self.end_job();
        self.begin_jobs();
        let Some(object) = self.objects.get_mut(name) else { return };
        let waiting = object.loading.take().unwrap_or_default();
        match result {
            Ok(stored) => {
                let stored = stored.unwrap_or(Stored { version: 0, slots: Vec::new() });
                object.version = stored.version;
                for (slot, value) in stored.slots {
                    object.set(slot.as_str().into(), Slot::new(value));
                }
                for wanted in waiting {
                    self.serve(name, &wanted);
                }
                self.tidy(name);
            }
            Err(text) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                let path = object.path.clone().unwrap_or_default();
                self.objects.remove(name);
                self.uses_changed = true;
                let text = format!("cannot be read: {text}");
                self.actions.push(Action::Complain { path, text: text.clone() });
                for Wanted { asker, request, .. } in waiting {
                    match asker {
                        Asker::Client(connection) => {
                            if let Some(client) = self.clients.get_mut(&connection) {
                                client.objects.remove(name);
                            }
                            self.refuse(connection, &request, NO_READ);
                        }
                        Asker::Server(number) => {
                            self.reply(number, Err(format!("the file of the shared object {text}")));
                        }
                    }
                }
            }
        }
    }

    /// The file of an object has been written, or could not be.
    pub(super) fn stored(&mut self, name: &Arc<str>, result: Result<(), String>) {
        self.end_job();
        let Some(object) = self.objects.get_mut(name) else { return };
        object.writing = false;
        let mut due = mem::take(&mut object.due_now);
        due.iter_mut().for_each(|answer| object.correct(Arc::make_mut(&mut answer.news.items)));
        match result {
            Ok(()) => {
                self.counts.writes.fetch_add(1, Ordering::Relaxed);
                for Answer { asker, news } in due {
                    match asker {
                        Asker::Client(connection) => self.tell(connection, Some(news), true),
                        Asker::Server(number) => self.reply_held(number, name),
                    }
                }
            }
            Err(text) => {
                // It is tried again with the next change, so that a full disk is not written to in a circle. Where nobody
                // uses it, it goes: what is in no file nobody was promised.
                object.changed = !object.clients.is_empty() || !object.due.is_empty();
                let path = object.path.clone().unwrap_or_default();
                let text = format!("cannot be written: {text}");
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.actions.push(Action::Complain { path, text: text.clone() });
                for Answer { asker, news } in due {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    let connection = match asker {
                        Asker::Client(connection) => connection,
                        Asker::Server(number) => {
                            let text = format!("clients have been told of it, but the file {text}");
                            self.reply(number, Err(text));
                            continue;
                        }
                    };
                    // Others have been told of it, and so it stays, promised or not.
                    let mut items = vec![SharedItem::Refused { code: NO_WRITE.into() }];
                    let accepted = |item: &SharedItem| matches!(item, SharedItem::Accepted { .. });
                    items.extend(news.items.iter().filter(|item| !accepted(item)).cloned());
                    self.tell(connection, Some(SharedNews { items: items.into(), ..news }), true);
                }
            }
        }
        if self.objects.get(name).is_some_and(|object| !object.due.is_empty()) {
            self.line_up(name);
        }
        self.tidy(name);
        self.begin_jobs();
    }

    /// Writes what is in no file yet; at the end of the server.
    pub(super) fn save_all(&mut self) {
        let unsaved = self.objects.iter().filter(|(_, object)| object.changed && !object.writing);
        for name in unsaved.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.line_up(&name);
        }
        self.begin_jobs();
    }

    /// All objects in memory.
    pub(super) fn list(&self) -> Vec<Listed> {
        self.objects.iter().map(|(name, object)| object.listed(name)).collect()
    }

    /// Makes room for an object that is not in memory.
    fn create(
        &mut self,
        name: &str,
        request: &SharedRequest,
        path: Option<PathBuf>,
    ) -> Result<Arc<str>, &'static str> {
        if !request.uses() {
            return Err(NO_WRITE);
        }
        if self.objects.len() >= self.limits.shared_object_count {
            return Err(NO_READ);
        }
        let name: Arc<str> = name.into();
        if request.persistent {
            self.read(&name, path.ok_or(NO_WRITE)?);
        } else {
            self.objects.insert(name.clone(), Object::default());
        }
        Ok(name)
    }

    /// Makes a persistent object, and has its file read.
    fn read(&mut self, name: &Arc<str>, path: PathBuf) {
        let object = Object { path: Some(path), loading: Some(VecDeque::new()), ..Object::default() };
        self.objects.insert(name.clone(), object);
        self.line_up(name);
        self.begin_jobs();
    }

    /// Does what somebody wants of an object that is there. Nobody may need the object afterwards.
    fn serve(&mut self, name: &Arc<str>, wanted: &Wanted) {
        let Wanted { asker, request, denied } = wanted;
        let Some(object) = self.objects.get_mut(name) else { return };
        let mut turn = Turn::new(&self.limits, &self.counts);
        let client = match asker {
            Asker::Client(connection) => match self.clients.get_mut(connection) {
                Some(client) => Some((*connection, client)),
                None => return,
            },
            Asker::Server(_) => None,
        };
        if let Some((connection, client)) = client {
            for wish in &request.wishes {
                match wish {
                    SharedWish::Release => {
                        object.clients.remove(&connection);
                        client.objects.remove(name);
                    }
                    _ if let Some(code) = denied => turn.deny(object, wish, code),
                    SharedWish::Use => match object.admit(connection, request, &self.limits) {
                        Ok(()) => {
                            client.objects.insert(name.clone());
                            turn.own.extend(object.contents());
                        }
                        Err(code) => {
                            if !object.clients.contains_key(&connection) {
                                client.objects.remove(name);
                            }
                            turn.refuse(code);
                        }
                    },
                    _ if !object.clients.contains_key(&connection) => turn.refuse(NO_WRITE),
                    wish => turn.alter(object, wish),
                }
            }
        } else {
            request.wishes.iter().for_each(|wish| turn.alter(object, wish));
        }
        let Turn { own, kept, others, changed, .. } = turn;
        object.version = object.version.wrapping_add(u32::from(changed));
        let (version, persistent) = (object.version, object.path.is_some());
        let news = |name: &Arc<str>, items| SharedNews { name: name.clone(), version, persistent, items };
        let others: Arc<[SharedItem]> = others.into();
        let mut tell = Vec::new();
        if !others.is_empty() {
            let all = object.clients.iter().filter(|(other, _)| Asker::Client(**other) != *asker);
            tell.extend(all.map(|(other, called)| (*other, news(called, others.clone()))));
        }
        let called: Arc<str> = request.name.as_str().into();
        // What is not in a file yet is not promised.
        let waits = changed && persistent;
        let (now, then) = if persistent { (own, kept) } else { ([own, kept].concat(), Vec::new()) };
        let refused = now.iter().any(|item| matches!(item, SharedItem::Refused { .. }));
        if waits {
            object.changed = true;
            if matches!(asker, Asker::Client(_)) || !refused {
                object.due.push(Answer { asker: *asker, news: news(&called, then.into()) });
            }
        }
        let bytes = size_of_items(&others);
        for (other, news) in tell {
            self.tell_sized(other, Some(news), bytes, false);
        }
        match asker {
            Asker::Client(connection) if !now.is_empty() || !waits => {
                let news = (!now.is_empty()).then(|| news(&called, now.into()));
                self.tell(*connection, news, !waits);
            }
            Asker::Server(number) if refused => self.reply(*number, Err(FULL.to_owned())),
            Asker::Server(number) if !waits => self.reply_held(*number, name),
            _ => {}
        }
        if waits {
            self.line_up(name);
            self.begin_jobs();
        }
    }

    /// Answers the server with what an object holds.
    fn reply_held(&mut self, number: u64, name: &Arc<str>) {
        let held = self.objects.get(name).map(|object| object.held(name));
        let there = held.filter(|held| held.listed.version > 0 || held.listed.clients > 0);
        self.reply(number, there.ok_or_else(|| "there is no such shared object".to_owned()));
    }

    fn reply(&mut self, number: u64, result: Result<Held, String>) {
        self.actions.push(Action::Reply { number, result });
    }

    /// Answers a request of which nothing can be done.
    fn refuse(
        &mut self,
        connection: ConnectionId,
        request: &SharedRequest,
        code: impl Into<Cow<'static, str>>,
    ) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let news = SharedNews {
            name: request.name.as_str().into(),
            version: 0,
            persistent: request.persistent,
            items: [SharedItem::Refused { code: code.into() }].into(),
        };
        // Who only lets go of what is not there need not hear of it.
        let only_release = request.wishes.iter().all(|wish| *wish == SharedWish::Release);
        self.tell(connection, (!only_release).then_some(news), true);
    }

    fn tell(&mut self, connection: ConnectionId, news: Option<SharedNews>, answers: bool) {
        let bytes = news.as_ref().map_or(0, |news| size_of_items(&news.items));
        self.tell_sized(connection, news, bytes, answers);
    }

    fn tell_sized(
        &mut self,
        connection: ConnectionId,
        news: Option<SharedNews>,
        bytes: usize,
        answers: bool,
    ) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        // All that an object holds comes in one piece, beside what may wait anyway.
        let most = self.limits.control_queue.saturating_add(self.limits.shared_object_bytes);
        if client.in_flight.load(Ordering::Relaxed) > most && news.is_some() {
            if !mem::replace(&mut client.closing, true) {
                self.actions.push(Action::Close { connection });
            }
            return;
        }
        if client.closing {
            return;
        }
        client.in_flight.fetch_add(bytes, Ordering::Relaxed);
        self.actions.push(Action::Tell { connection, news, bytes, answers });
    }

    /// Forgets an object that nobody needs in memory. What could not be written is tried once more before.
    fn tidy(&mut self, name: &Arc<str>) {
        let Some(object) = self.objects.get(name) else { return };
        let busy = object.loading.is_some() || object.writing || object.waits;
        if busy || !object.clients.is_empty() {
            return;
        }
        if object.changed {
            self.line_up(name);
            self.begin_jobs();
        } else {
            self.objects.remove(name);
        }
    }

    /// Has the file of an object read or written when there is room.
    fn line_up(&mut self, name: &Arc<str>) {
        let Some(object) = self.objects.get_mut(name) else { return };
        if !object.writing && !mem::replace(&mut object.waits, true) {
            self.line.push_back(name.clone());
        }
    }

    const fn end_job(&mut self) {
        self.jobs = self.jobs.saturating_sub(1);
    }

    fn begin_jobs(&mut self) {
        while self.jobs < JOBS {
            let Some(name) = self.line.pop_front() else { return };
            let Some(object) = self.objects.get_mut(&name) else { continue };
            object.waits = false;
            let Some(path) = object.path.clone() else { continue };
            self.jobs += 1;
            self.actions.push(if object.loading.is_some() {
                Action::Load { name, path }
            } else {
                object.writing = true;
                object.changed = false;
                object.due_now = mem::take(&mut object.due);
                let slots = object.slots.iter().map(|(slot, Slot { stored, .. })| (&**slot, &**stored));
                let bytes = file::encode(&name, object.version, slots);
                Action::Store { name, path, bytes }
            });
        }
    }
}

impl Object {
    /// Whether a connection may use it; if so, it does from now on.
    fn admit(
        &mut self,
        connection: ConnectionId,
        request: &SharedRequest,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        if request.persistent != self.path.is_some() {
            return Err(BAD_PERSISTENCE);
        }
        if self.clients.len() >= limits.shared_object_clients && !self.clients.contains_key(&connection) {
            return Err(NO_READ);
        }
        self.clients.insert(connection, request.name.as_str().into());
        Ok(())
    }

    fn listed(&self, name: &Arc<str>) -> Listed {
        Listed {
            name: name.clone(),
            persistent: self.path.is_some(),
            version: self.version,
            slots: self.slots.len(),
            bytes: self.bytes,
            clients: self.clients.len(),
            unsaved: self.changed || self.writing,
        }
    }

    fn held(&self, name: &Arc<str>) -> Held {
        let slots = self.slots.iter().map(|(slot, held)| (slot.clone(), held.value.clone()));
        Held { listed: self.listed(name), slots: slots.collect() }
    }

    /// All that whoever begins to use it is told.
    fn contents(&self) -> impl Iterator<Item = SharedItem> {
        let slots = self.slots.iter();
        let slots = slots.map(|(slot, Slot { value, .. })| SharedItem::Changed {
            slot: slot.clone(),
            value: value.clone(),
        });
        [SharedItem::Used, SharedItem::Cleared].into_iter().chain(slots)
    }

    /// What is told late must still be true: a slot that was taken away may be there again.
    fn correct(&self, items: &mut [SharedItem]) {
        for item in items {
            if let SharedItem::Removed { slot } = item
                && let Some((slot, held)) = self.slots.get_key_value(slot)
            {
                *item = SharedItem::Changed { slot: slot.clone(), value: held.value.clone() };
            }
        }
    }

    fn set(&mut self, name: Arc<str>, slot: Slot) {
        self.bytes += name.len() + slot.stored.len();
        if let Some(before) = self.slots.insert(name.clone(), slot) {
            self.bytes -= name.len() + before.stored.len();
        }
    }
}

impl Slot {
    fn new(value: Value) -> Self {
        let mut stored = Vec::new();
        file::put_value(&mut stored, &value);
        Self { value: Arc::new(value), stored: stored.into() }
    }
}

#[cfg(test)]
mod tests;
