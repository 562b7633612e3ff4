//! The load generator: thousands of publishers and players in one thread.
//!
//! It must cost less than the server, so most players only count bytes once they have seen their first picture: the
//! kernel throws away what they receive without copying it. Every so-many-th player reads the whole chunk stream and
//! judges each frame.
//!
//! A run has these phases: publishers connect, at [`Plan::ramp`]; when all publish, players connect, at their own pace;
//! [`Plan::settle`] after the last one was started the measuring window opens; [`Plan::window`] later it closes; frames
//! that were due in the window are waited for during [`Plan::drain`].

mod connection;
mod engine;
mod plan;
mod report;
mod veil;

use std::io;

pub use plan::{Assignment, Join, Plan, Players, Publishers, Reading, Scheme, Storm, Until};
pub use report::{ClassReport, Event, Progress, PublisherReport, Report, StormReport};

/// Carries out a plan; `observe` is told what happens, on the thread of the generator, so it must be quick.
///
/// # Errors
///
/// If the system refuses what the generator itself needs, or not all publishers publish within [`Plan::patience`].
/// What the server does to players is no error but in the report.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event)) -> io::Result<Report> {
    engine::Engine::new(plan, observe)?.run()
}

/// Raises the limit of open files as far as the system allows, and gives it.
///
/// # Errors
///
/// What the system says.
pub fn raise_file_limit() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
