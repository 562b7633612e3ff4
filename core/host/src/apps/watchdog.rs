//! One thread that looks at the clock for all applications: it sleeps until the first hook or put-off request would
//! be late, and for ever while there is none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::actor::Shared;

/// The watchdog of all applications. Dropping it ends its thread; the applications should have ended before.
#[derive(Debug)]
pub struct Watchdog {
    alarm: Arc<Alarm>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts its thread.
    pub fn start() -> std::io::Result<Self> {
        let alarm = Arc::new(Alarm::default());
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn({
            let alarm = alarm.clone();
            move || alarm.run()
        })?;
        Ok(Self { alarm, thread: Some(thread) })
    }

    /// Threads of applications that did not end and were left behind.
    pub fn left_behind(&self) -> usize {
        self.alarm.left_behind.load(Ordering::Relaxed)
    }

    pub(super) fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alarm.plan().over = true;
        self.alarm.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What applications see of the watchdog.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    plan: Mutex<Plan>,
    changed: Condvar,
    left_behind: AtomicUsize,
}

#[derive(Debug, Default)]
struct Plan {
    apps: Vec<Weak<Shared>>,
    wake_at: Option<Instant>,
    over: bool,
}

impl Alarm {
    pub(super) fn add(&self, app: &Arc<Shared>) {
        self.plan().apps.push(Arc::downgrade(app));
    }

    /// Look at the clock at this time, or before.
    pub(super) fn set(&self, at: Instant) {
        let mut plan = self.plan();
        if plan.wake_at.is_none_or(|planned| at < planned) {
            plan.wake_at = Some(at);
            drop(plan);
            self.changed.notify_one();
        }
    }

    pub(super) fn leave_behind(&self) {
        self.left_behind.fetch_add(1, Ordering::Relaxed);
    }

    fn run(&self) {
        while let Some(apps) = self.sleep() {
            let now = Instant::now();
            if let Some(next) = apps.iter().filter_map(|app| app.check(now)).min() {
                self.set(next);
            }
        }
    }

    /// Sleeps until it is time to look; `None` when it is all over.
    fn sleep(&self) -> Option<Vec<Arc<Shared>>> {
        let mut plan = self.plan();
        loop {
            if plan.over {
                return None;
            }
            let Some(wake_at) = plan.wake_at else {
                plan = self.changed.wait(plan).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = wake_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            plan = self.changed.wait_timeout(plan, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        plan.wake_at = None;
        plan.apps.retain(|app| app.strong_count() > 0);
        Some(plan.apps.iter().filter_map(Weak::upgrade).collect())
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
