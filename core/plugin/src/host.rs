//! What the server does for an application.

use std::fmt;
use std::time::Duration;

use crate::abi;
use crate::answer::Answer;
use crate::conn::{ConnId, RequestId};

/// The server, seen from an application. Clone it freely and take it to other threads: every method may be called
/// from anywhere, at any time, and none blocks. After the application has ended, calls do nothing.
#[derive(Clone)]
pub struct Host {
    table: *const abi::HostTable,
}

// SAFETY: the contract of `HostTable`: valid for ever (see `Host::new`), callable from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// # Safety
    /// `table` is a host table of our minor version or newer that stays valid for ever.
    pub(crate) unsafe fn new(table: *const abi::HostTable) -> Self {
        Self { table }
    }

    /// Writes a line to the server's log, under the application's name.
    pub fn log(&self, level: Level, text: impl fmt::Display) {
        let text = text.to_string();
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        unsafe { ((*self.table).log)(self.table, level as u32, abi::Str::new(&text)) }
    }

    /// Something is broken on our side.
    pub fn error(&self, text: impl fmt::Display) {
        self.log(Level::Error, text);
    }

    /// Something wants attention.
    pub fn warn(&self, text: impl fmt::Display) {
        self.log(Level::Warning, text);
    }

    /// Something worth knowing happened.
    pub fn info(&self, text: impl fmt::Display) {
        self.log(Level::Info, text);
    }

    /// A detail for whoever looks for a fault.
    pub fn debug(&self, text: impl fmt::Display) {
        self.log(Level::Debug, text);
    }

    /// Time since some moment in the past; never goes back.
    pub fn now(&self) -> Duration {
        // SAFETY: the table is valid (`new`).
        Duration::from_millis(unsafe { ((*self.table).now_ms)(self.table) })
    }

    /// Answers a request that a hook put off with `Later`, once. `Gone` if it has had an answer, its time ran out,
    /// or its connection is closed.
    pub fn respond(&self, request: RequestId, answer: impl Into<Answer>) -> Result<(), Gone> {
        let answer = answer.into();
        let status = answer.lend(|table| {
            // SAFETY: the host table is valid (`new`), the answer is lent for the call.
            unsafe { ((*self.table).respond)(self.table, request.0, table) }
        });
        match status {
            // `Later` is what the request is already: not an answer, and no fault either.
            None | Some(abi::OK) => Ok(()),
            Some(_) => Err(Gone),
        }
    }

    /// Asks the server to close a connection; code and text tell the far end why. A connection that has left
    /// already is not an error.
    pub fn close(&self, conn: ConnId, code: &str, text: &str) -> Result<(), Gone> {
        let (code, text) = (abi::Str::new(code), abi::Str::new(text));
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        let status = unsafe { ((*self.table).close_connection)(self.table, conn.0, code, text) };
        if status == abi::OK { Ok(()) } else { Err(Gone) }
    }

    /// Says why the current call fails.
    pub(crate) fn fail(&self, reason: &str) {
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        unsafe { ((*self.table).fail)(self.table, abi::Str::new(reason)) }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// Importance of a log line, as in the server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names say it; `docs/` lists what each is used for")]
pub enum Level {
    Fatal = 0,
    Error = 1,
    Warning = 2,
    Info = 3,
    Debug = 4,
    Fine = 5,
    Finest = 6,
}

impl Level {
    /// The level of a number; what is above the finest is finest.
    pub fn from_number(number: u32) -> Self {
        [Self::Fatal, Self::Error, Self::Warning, Self::Info, Self::Debug, Self::Fine]
            .get(number as usize)
            .copied()
            .unwrap_or(Self::Finest)
    }
}

/// The connection, request or application is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gone")
    }
}

impl std::error::Error for Gone {}
