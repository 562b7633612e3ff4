//! Applications at work: each on a thread of its own, behind a bounded mailbox.
//!
//! A worker asks with [`AppHandle::request`] and tells with [`AppHandle::notify`]; neither waits. What a hook decides
//! comes back through the [`Outside`] that the application was started with, from whatever thread decided. Every
//! request gets exactly one answer, unless its connection was reported closed before.
//!
//! # What can go wrong with an application, and what happens then
//!
//! | it | then |
//! |---|---|
//! | has more requests waiting than its mailbox holds | the next ones are refused at once |
//! | has as many events waiting that it can do without | the next ones are left out, and counted in the log |
//! | panics in a hook | that request is refused; the instance lives on |
//! | panics [`Limits::panics`] times within [`Limits::panic_window`] | it is *disabled*: all is refused, the instance ends |
//! | does not return from a hook within [`Limits::hook_timeout`] | it is *stuck*: all is refused, until the hook returns |
//! | said "later" and does not answer within [`Limits::later_timeout`] | that request is refused, `on_cancel` follows |
//! | does not end by the deadline of [`AppHandle::stop`] | its thread is left behind, and counted |
//!
//! Media that flows is touched by none of this.
//!
//! # Reading order
//!
//! `request` has the words, `mailbox` the order of jobs (no thread in it), `state` what an application owes to whom
//! (no thread either), `open` the requests that it has not answered, `actor` the thread, `handle` the outside, `watchdog` the clock.

mod actor;
mod handle;
mod mailbox;
mod open;
mod request;
mod state;
mod taps;
#[cfg(test)]
mod tests;
mod timers;
mod watchdog;

use std::path::PathBuf;
use std::time::Duration;

pub use crtmp_plugin::foreign::ConnInfo;
pub use crtmp_plugin::{AppPath, Hooks, PlayStart, PublishKind};

pub use self::handle::{AppHandle, StartError, Stopped, check_settings};
pub use self::request::{
    Answer, Asked, CallOutcome, Decision, Effect, MessageInfo, Notice, NoticeKind, OpenSource, Outside,
    PlayInfo, PublishInfo, Request, RequestKind, SharedObjectInfo,
};
pub use self::state::Health;
pub use self::watchdog::Watchdog;

/// Which application to start, and how.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Its name in the configuration, in messages and in the log.
    pub name: String,
    /// Where it came from; for messages.
    pub library: PathBuf,
    /// Its own settings: JSON text of an object, or empty.
    pub settings: String,
    /// The folder at which its relative paths start.
    pub folder: String,
    /// How much patience it gets.
    pub limits: Limits,
}

/// Limits of one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that may wait for the application, and events that it can do without; events that it is owed are not
    /// counted.
    pub mailbox: usize,
    /// How long one hook may take.
    pub hook_timeout: Duration,
    /// How long an answer may be put off.
    pub later_timeout: Duration,
    /// How long the start of an instance may take.
    pub start_timeout: Duration,
    /// This many panics ...
    pub panics: usize,
    /// ... within this time disable the application.
    pub panic_window: Duration,
    /// Bytes of frames that may wait for the application; then frames are left out, by groups of pictures.
    pub tap_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            hook_timeout: Duration::from_secs(5),
            later_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(30),
            panics: 10,
            panic_window: Duration::from_secs(60),
            tap_bytes: 8 * 1024 * 1024,
        }
    }
}
