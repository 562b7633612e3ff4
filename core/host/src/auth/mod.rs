//! Who may publish and play: peers say who they are, before the application itself is asked.
//!
//! A worker asks as it asks an application; what is answered at once is answered on the worker, what has to wait or takes
//! long on a thread of its own ([`jobs`]). Start with [`Authority`], which is one application's; what all of them share is
//! the [`Guard`].
//!
//! * [`adobe`] and [`query`] are the two ways to say who one is.
//! * [`users`] are the users, [`password`] what they have to show, [`file`](mod@file) where they are read.
//! * [`backoff`] slows down who guesses, [`cache`] saves slow checks.

mod adobe;
mod authority;
mod backoff;
mod cache;
mod file;
pub(crate) mod fuzz;
mod jobs;
mod password;
mod query;
#[cfg(test)]
mod tests;
mod users;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use crtmp_media::Limits;
use slog::{Logger, error, info};

pub(crate) use self::authority::{Authority, Refusal};
pub use self::file::ReadUsers;
use self::{
    adobe::Questions,
    backoff::Backoff,
    file::UsersFile,
    jobs::Jobs,
    users::{Mistake, Table},
};
use crate::config::{Application, ConfigError};

/// What all applications share that authenticate.
pub(crate) struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Arc<Limits>,
    log: Logger,
    read: ReadUsers,
    /// No other run of a server has the same.
    key: [u8; 32],
    started: Instant,
    questions: Mutex<Questions>,
    backoff: Mutex<Backoff>,
    /// Started with the first application that authenticates.
    jobs: OnceLock<Jobs>,
    watch: Arc<Watch>,
}

/// Who looks after users files.
#[derive(Default)]
struct Watch {
    state: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Default)]
struct Watched {
    authorities: Vec<Weak<Authority>>,
    runs: bool,
    /// A look at all files is wanted now.
    look: bool,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    /// Nobody is asked yet, and no thread runs.
    ///
    /// # Errors
    ///
    /// If the system gives no random bytes.
    pub(crate) fn new(limits: &Arc<Limits>, read: ReadUsers, log: &Logger) -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let shared = Shared {
            limits: limits.clone(),
            log: log.clone(),
            read,
            key,
            started: Instant::now(),
            questions: Mutex::new(Questions::new(key, limits)),
            backoff: Mutex::new(Backoff::new(limits)),
            jobs: OnceLock::new(),
            watch: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Who asks the peers of this application; none where its block has no `authentication`.
    ///
    /// # Errors
    ///
    /// What is wrong with the users file, or that the system gives no thread.
    pub(crate) fn authority(
        &self,
        path: &str,
        application: &Application,
    ) -> Result<Option<Arc<Authority>>, Box<ConfigError>> {
        let Some(authentication) = &application.authentication else { return Ok(None) };
        let settings = &authentication.rtmp;
        let file = UsersFile::new(&settings.users_file, self.shared.read.clone());
        let (stamp, read) = file.read();
        let table = read
            .map_err(|text| vec![text])
            .and_then(|value| {
                Table::read(&value, settings, self.shared.key, &self.shared.limits)
                    .map_err(|mistakes| in_file(&file, &mistakes))
            })
            .map_err(|texts| Box::new(of_file(path, &texts)))?;
        self.shared.start().map_err(|error| {
            let path = format!("{path}.authentication");
            let found = format!("the system says: {error}");
            Box::new(ConfigError::new(path, found, "threads that can be started"))
        })?;
        let authority =
            Arc::new(Authority::new(&application.name, settings, file, stamp, table, self.shared.clone()));
        let mut watched = lock(&self.shared.watch.state);
        watched.authorities.retain(|other| other.strong_count() > 0);
        watched.authorities.push(Arc::downgrade(&authority));
        Ok(Some(authority))
    }

    /// Has all users files read again soon, whether or not they look as if they had changed.
    pub(crate) fn read_again(&self) {
        lock(&self.shared.watch.state).look = true;
        self.shared.watch.changed.notify_all();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.shared.watch.state).ended = true;
        self.shared.watch.changed.notify_all();
    }
}

/// What is wrong with the users file of an application, without starting anything.
pub(crate) fn check(path: &str, application: &Application, read: &ReadUsers) -> Option<ConfigError> {
    let settings = &application.authentication.as_ref()?.rtmp;
    let file = UsersFile::new(&settings.users_file, read.clone());
    let texts = match file.read().1 {
        Err(text) => vec![text],
        Ok(value) => match Table::read(&value, settings, [0; 32], &Limits::default()) {
            Ok(_) => return None,
            Err(mistakes) => in_file(&file, &mistakes),
        },
    };
    Some(of_file(path, &texts))
}

fn in_file(file: &UsersFile, mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| format!("{}: {mistake}", file.path().display())).collect()
}

fn of_file(path: &str, texts: &[String]) -> ConfigError {
    let path = format!("{path}.authentication.rtmp.usersFile");
    let found = format!("a file with mistakes ({})", texts.join("; "));
    ConfigError::new(path, found, "a users file that serves this application")
}

impl Shared {
    fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let mut watched = lock(&self.watch.state);
        if !watched.runs {
            let jobs = Jobs::start(&self.limits, &self.log)?;
            let (watch, period) = (self.watch.clone(), self.limits.users_file_period.get());
            thread::Builder::new().name("users-files".to_owned()).spawn(move || watch.serve(period))?;
            let _ = self.jobs.set(jobs);
            watched.runs = true;
        }
        Ok(())
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Watch {
    fn serve(&self, period: Duration) {
        let mut state = lock(&self.state);
        loop {
            state = self
                .changed
                .wait_timeout_while(state, period, |state| !state.look && !state.ended)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.ended {
                return;
            }
            let always = std::mem::take(&mut state.look);
            let authorities: Vec<_> = state.authorities.iter().filter_map(Weak::upgrade).collect();
            drop(state);
            authorities.iter().for_each(|authority| authority.look_at_file(always));
            drop(authorities);
            state = lock(&self.state);
        }
    }
}
