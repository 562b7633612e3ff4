//! Remote shared objects of applications: one thread for each application puts what connections on all workers want in
//! one order, and tells them. Persistent ones are in files, which a few threads of their own read and write.
//!
//! Start reading in `core.rs`, which decides everything; here are the threads around it. `file.rs` is what is on the
//! disk.

mod core;
mod disk;
mod file;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use crtmp_media::Limits;
use crtmp_reactor::{ToSharedObjects, ToWorker, Workers};
use slog::Logger;

pub(crate) use self::core::{Counts, Listed};
use self::{
    core::{Action, Core},
    disk::Disk,
    file::Stored,
};

/// How long an application's objects may take to say what they are.
const LIST_TIME: Duration = Duration::from_secs(2);

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

    /// What has been counted for an application; none: there is none of this name.
    pub(crate) fn counts(&self, application: &str) -> Option<Arc<Counts>> {
        self.lock().get(application).map(|actor| actor.counts.clone())
    }

    /// Writes what is not written, and ends the threads; those that have not ended by `until` are left behind.
    pub(crate) fn stop(&self, until: Instant) {
        let actors = std::mem::take(&mut *self.lock());
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
            sender: sender.clone(),
        };
        thread::Builder::new().name("shared objects".to_owned()).spawn(move || runner.run(&receiver))?;
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
    /// By which files say that they are read or written.
    sender: Sender<Message>,
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
                    message: ToSharedObjects::Request { client, name, request },
                    folder,
                } => {
                    let path = folder.map(|folder| file::path_of(&folder, &self.application, name.as_str()));
                    self.core.request(client, name.as_str(), request, path);
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

    fn perform(&self, action: Action) {
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
            Action::Load { name, path } => {
                let sender = self.sender.clone();
                self.jobs.add(move || {
                    let result = file::load(&path, &name);
                    let _ = sender.send(Message::Loaded { name, result });
                });
            }
            Action::Store { name, path, bytes } => {
                let sender = self.sender.clone();
                self.jobs.add(move || {
                    let result =
                        file::store(&path, &bytes).map_err(|error| format!("the system says: {error}"));
                    let _ = sender.send(Message::Stored { name, result });
                });
            }
            Action::Complain { path, text } => {
                slog::error!(self.log, "the file of a shared object {text}; it is left as it is";
                    "application" => &self.application, "file" => %path.display());
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
