//! The threads that wait for disks, so that nobody else does.

use std::{io, thread};

use crossbeam_channel::{Sender, unbounded};

/// Two, so that one slow file does not hold up all.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when nobody can give them anything to do.
pub(super) struct Disk(Jobs);

/// The way to them. What waits for them is bounded where it comes from: each application has
/// [`JOBS`](super::core::JOBS) files under way at most.
#[derive(Clone)]
pub(super) struct Jobs(Sender<Job>);

impl Disk {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = unbounded::<Job>();
        for _ in 0..THREADS {
            let receiver = receiver.clone();
            let run = move || receiver.iter().for_each(|job| job());
            thread::Builder::new().name("object files".to_owned()).spawn(run)?;
        }
        Ok(Self(Jobs(sender)))
    }

    pub(super) fn jobs(&self) -> Jobs {
        self.0.clone()
    }
}

impl Jobs {
    pub(super) fn add(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(job));
    }
}
