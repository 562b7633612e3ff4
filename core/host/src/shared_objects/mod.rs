//! Remote shared objects of applications: one thread for each application puts what connections on all workers want in
//! one order, and tells them. Persistent ones are in files, which a few threads of their own read and write.
//!
//! Start reading in `core.rs`, which decides everything; here are the threads around it. `file.rs` is what is on the
//! disk.

mod core;
mod disk;
mod file;

use std::{
    collections::{BTreeMap, HashMap},
    io, mem,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crtmp_media::{Limits, SharedRequest, SharedWish};
use crtmp_reactor::{ToSharedObjects, ToWorker, Workers};
use slog::Logger;

pub(crate) use self::core::{Counts, Held, Listed};
use self::{
    core::{Action, Core},
    disk::Disk,
    file::Stored,
};

/// How long an application's objects may take to say what they are.
const LIST_TIME: Duration = Duration::from_secs(2);

/// Files that cannot be read or written may be many: so many lines about them come in so long a time.
const COMPLAINTS: u32 = 20;
const COMPLAINTS_TIME: Duration = Duration::from_secs(10);

/// Takes what has become of an order: the object as it is then, or why not.
pub(crate) type Answer = Box<dyn FnOnce(Result<Held, String>) + Send>;

/// The shared objects of all applications.
#[derive(Clone)]
pub(crate) struct SharedObjects(Arc<Inner>);

struct Inner {
    limits: Arc<Limits>,
    workers: Workers,
    log: Logger,
    disk: Disk,
    /// By application, whichever of its instances: objects outlive a reload.
    actors: Mutex<BTreeMap<String, Actor>>,
}

#[derive(Clone)]
struct Actor {
    sender: Sender<Message>,
    counts: Arc<Counts>,
}

/// What the thread of an application is told.
enum Message {
    /// From a worker. Of these each connection has a few under way at most.
    FromWorker {
        message: ToSharedObjects,
        /// Where persistent objects are; none: they are not allowed.
        folder: Option<Arc<PathBuf>>,
    },
    /// From the server itself.
    Order { name: Arc<str>, wishes: Vec<SharedWish>, folder: Option<PathBuf>, answer: Answer },
    /// A file has been read.
    Loaded { name: Arc<str>, result: Result<Option<Stored>, String> },
    /// A file has been written.
    Stored { name: Arc<str>, result: Result<(), String> },
    /// Somebody wants to know what there is.
    List(Sender<Vec<Listed>>),
    /// Write what is not written, and end; the sender is dropped then.
    Stop(Sender<()>),
}

impl SharedObjects {
    /// # Errors
    ///
    /// The system cannot start the threads for files.
    pub(crate) fn new(limits: Arc<Limits>, workers: Workers, log: Logger) -> io::Result<Self> {
        let (disk, actors) = (Disk::start()?, Mutex::default());
        Ok(Self(Arc::new(Inner { limits, workers, log, disk, actors })))
    }

    /// The way from connections of an application to its objects. `folder` is where its persistent ones are; none: it
    /// has no permission for any.
    ///
    /// # Errors
    ///
    /// The system cannot start the application's thread for them.
    pub(crate) fn of_application(
        &self,
        application: &str,
        folder: Option<PathBuf>,
    ) -> io::Result<Box<dyn Fn(ToSharedObjects) + Send + Sync>> {
        let mut actors = self.0.actors.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match actors.get(application) {
            Some(actor) => actor.sender.clone(),
            None => {
                let actor = self.start(application)?;
                let sender = actor.sender.clone();
                actors.insert(application.to_owned(), actor);
                sender
            }
        };
        let folder = folder.map(Arc::new);
        Ok(Box::new(move |message| {
            // The thread ends after the workers.
            let _ = sender.send(Message::FromWorker { message, folder: folder.clone() });
        }))
    }

    /// The objects of an application that are in memory; none: there is no such application, or it does not say.
    pub(crate) fn list(&self, application: &str) -> Option<Vec<Listed>> {
        let sender = self.lock().get(application)?.sender.clone();
        let (reply, answer) = bounded(1);
        sender.send(Message::List(reply)).ok()?;
        answer.recv_timeout(LIST_TIME).ok()
    }

    /// Does something with an object of an application, or with no wishes only looks at it; `answer` is called on its
    /// thread, for a persistent object when a change of it is in its file.
    pub(crate) fn order(
        &self,
        application: &str,
        folder: Option<PathBuf>,
        name: &str,
        wishes: Vec<SharedWish>,
        answer: Answer,
    ) {
        let Some(actor) = self.lock().get(application).cloned() else {
            return answer(Err("the application does not run".to_owned()));
        };
        // The thread ends after the commands.
        let _ = actor.sender.send(Message::Order { name: name.into(), wishes, folder, answer });
    }

    /// What has been counted for an application; none: there is none of this name.
    pub(crate) fn counts(&self, application: &str) -> Option<Arc<Counts>> {
        self.lock().get(application).map(|actor| actor.counts.clone())
    }

    /// Writes what is not written, and ends the threads; those that have not ended by `until` are left behind.
    pub(crate) fn stop(&self, until: Instant) {
        let actors = mem::take(&mut *self.lock());
        let wait = |(name, actor): (String, Actor)| {
            let (sender, ended) = bounded::<()>(0);
            let _ = actor.sender.send(Message::Stop(sender));
            (name, ended)
        };
        for (name, ended) in actors.into_iter().map(wait).collect::<Vec<_>>() {
            if ended.recv_deadline(until) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                slog::error!(self.0.log, "shared objects are not written: the disk takes too long"; "application" => name);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Actor>> {
        self.0.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, application: &str) -> io::Result<Actor> {
        let counts = Arc::<Counts>::default();
        let (sender, receiver) = unbounded();
        let runner = Runner {
            application: application.to_owned(),
            core: Core::new(self.0.limits.clone(), counts.clone()),
            workers: self.0.workers.clone(),
            log: self.0.log.clone(),
            jobs: self.0.disk.jobs(),
            files: self.0.limits.shared_object_files,
            sender: sender.clone(),
            answers: HashMap::new(),
            orders: 0,
            complaints: Complaints::default(),
        };
        let name = format!("objects {application}");
        thread::Builder::new().name(name).spawn(move || runner.run(&receiver))?;
        Ok(Actor { sender, counts })
    }
}

/// The thread of an application.
struct Runner {
    application: String,
    core: Core,
    workers: Workers,
    log: Logger,
    jobs: disk::Jobs,
    /// How many files the application may have.
    files: usize,
    /// By which files say that they are read or written.
    sender: Sender<Message>,
    /// What the server's own orders wait for, by their numbers.
    answers: HashMap<u64, Answer>,
    orders: u64,
    complaints: Complaints,
}

/// How many lines there have been of late.
#[derive(Default)]
struct Complaints {
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Complaints {
    /// Whether there may be a line now: then how many before it there were not.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= COMPLAINTS_TIME) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= COMPLAINTS {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(mem::take(&mut self.suppressed))
    }
}

impl Runner {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut ending = None;
        while ending.is_none() || !self.core.is_idle() {
            let Ok(message) = receiver.recv() else { return };
            match message {
                Message::FromWorker { message: ToSharedObjects::Gone { connection }, .. } => {
                    self.core.gone(connection);
                }
                Message::FromWorker {
                    message: ToSharedObjects::Request { client, name, request, denied },
                    folder,
                } => {
                    let path = folder.map(|folder| file::path_of(&folder, &self.application, name.as_str()));
                    self.core.request(client, name.as_str(), request, denied, path);
                }
                Message::Order { name, wishes, folder, answer } => {
                    self.orders += 1;
                    self.answers.insert(self.orders, answer);
                    let path = folder.map(|folder| file::path_of(&folder, &self.application, &name));
                    let request = SharedRequest { name: name.to_string(), persistent: false, wishes };
                    self.core.order(self.orders, &name, Arc::new(request), path);
                }
                Message::Loaded { name, result } => self.core.loaded(&name, result),
                Message::Stored { name, result } => self.core.stored(&name, result),
                Message::List(reply) => {
                    let _ = reply.send(self.core.list());
                }
                Message::Stop(sender) => {
                    ending = Some(sender);
                    self.core.save_all();
                }
            }
            for action in self.core.take_actions() {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Tell { connection, news, bytes, answers } => {
                self.workers.post_to(connection, ToWorker::SharedNews { connection, news, bytes, answers });
            }
            Action::Close { connection } => {
                let code = "NetConnection.Connect.Closed".to_owned();
                let text =
                    "more than controlQueue bytes of news of shared objects wait for the peer".to_owned();
                self.workers.post_to(connection, ToWorker::Close { connection, code, text });
            }
            Action::Reply { number, result } => {
                if let Some(answer) = self.answers.remove(&number) {
                    answer(result);
                }
            }
            Action::Load { name, path } => {
                let sender = self.sender.clone();
                self.jobs.add(move || {
                    let result = file::load(&path, &name);
                    let _ = sender.send(Message::Loaded { name, result });
                });
            }
            Action::Store { name, path, bytes } => {
                let (sender, most) = (self.sender.clone(), self.files);
                self.jobs.add(move || {
                    let result = file::store(&path, &bytes, most);
                    let _ = sender.send(Message::Stored { name, result });
                });
            }
            Action::Complain { path, text } => {
                if let Some(suppressed) = self.complaints.pass(Instant::now()) {
                    slog::error!(self.log, "the file of a shared object {text}; it is left as it is";
                        "application" => &self.application, "file" => %path.display(), "suppressed" => suppressed);
                }
            }
        }
    }
}

impl Counts {
    /// Their names and values.
    pub(crate) fn values(&self) -> [(&'static str, u64); 7] {
        [
            ("objects", &self.objects),
            ("uses", &self.uses),
            ("changes", &self.changes),
            ("sent", &self.sent),
            ("refused", &self.refused),
            ("writes", &self.writes),
            ("failures", &self.failures),
        ]
        .map(|(name, value)| (name, value.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_some_are_suppressed_and_counted() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        for _ in 0..COMPLAINTS {
            assert_eq!(complaints.pass(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(complaints.pass(start + COMPLAINTS_TIME / 2), None);
        }
        assert_eq!(complaints.pass(start + COMPLAINTS_TIME), Some(5));
        assert_eq!(complaints.pass(start + COMPLAINTS_TIME), Some(0));
    }
}
