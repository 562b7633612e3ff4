//! What a plugin sees of a host: the table of functions, and what is behind it.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use crate::abi::{self, AnswerTable, AppTable, HostTable, Str};
use crate::answer::Answer;
use crate::foreign::Failure;
use crate::host::{Gone, Level};

/// What a host does for an instance. Called from any thread of the application.
pub trait Services: Send + Sync + 'static {
    /// Writes a log line.
    fn log(&self, level: Level, text: &str);
    /// Milliseconds of a clock that never goes back.
    fn now_ms(&self) -> u64;
    /// Takes the answer to a request; the second one for the same request is `Gone`. `None`: the plugin gave
    /// something that is no answer.
    fn respond(&self, request: u64, answer: Option<Answer>) -> Result<(), Gone>;
    /// Closes a connection.
    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone>;
}

/// A host table with what is behind it. The plugin sees the first field.
#[repr(C)]
pub(crate) struct Context {
    table: HostTable,
    services: Box<dyn Services>,
    /// What [`HostTable::fail`] was told during the current call.
    reason: Mutex<String>,
}

impl Context {
    pub(crate) fn new(services: impl Services) -> Self {
        let table = HostTable {
            size: size_of::<HostTable>(),
            log: host_log,
            now_ms: host_now_ms,
            fail: host_fail,
            respond: host_respond,
            close_connection: host_close_connection,
        };
        Self { table, services: Box::new(services), reason: Mutex::default() }
    }

    /// Made from the whole context, so that the way back in `context` is allowed.
    pub(crate) fn table(&self) -> *const HostTable {
        ptr::from_ref(self).cast()
    }

    /// Reads the status of a call.
    pub(crate) fn check(&self, status: i32) -> Result<(), Failure> {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = std::mem::take(&mut *reason);
        match status {
            abi::OK => Ok(()),
            abi::PANICKED => Err(Failure::Panic(reason)),
            abi::FAILED if !reason.is_empty() => Err(Failure::Error(reason)),
            status => Err(Failure::Error(format!("status {status} without a reason"))),
        }
    }
}

/// Runs a host function that a plugin called: its table leads to the context, and no panic gets out.
///
/// # Safety
/// `host` is a table that `Context::table` gave.
unsafe fn serve<R>(host: *const HostTable, failed: R, body: impl FnOnce(&Context) -> R) -> R {
    // SAFETY: the table is the first field of its context, which outlives all calls.
    let context = unsafe { &*host.cast::<Context>() };
    catch_unwind(AssertUnwindSafe(|| body(context))).unwrap_or(failed)
}

unsafe extern "C" fn host_log(host: *const HostTable, level: u32, text: Str) {
    // SAFETY: the plugin passes the table that it was given.
    unsafe { serve(host, (), |context| context.services.log(Level::from_number(level), &owned(text))) }
}

unsafe extern "C" fn host_now_ms(host: *const HostTable) -> u64 {
    // SAFETY: the plugin passes the table that it was given.
    unsafe { serve(host, 0, |context| context.services.now_ms()) }
}

unsafe extern "C" fn host_fail(host: *const HostTable, reason: Str) {
    // SAFETY: the plugin passes the table that it was given.
    unsafe {
        serve(host, (), |context| {
            *context.reason.lock().unwrap_or_else(PoisonError::into_inner) = owned(reason);
        });
    }
}

unsafe extern "C" fn host_respond(host: *const HostTable, request: u64, answer: *const AnswerTable) -> i32 {
    // SAFETY: the plugin passes the table that it was given, and an answer with its size.
    unsafe {
        serve(host, abi::FAILED, |context| {
            let table = copy_table(answer);
            let answer = Answer::read(table.kind, table.first.bytes(), table.second.bytes());
            let understood = answer.is_some();
            match context.services.respond(request, answer) {
                Ok(()) if understood => abi::OK,
                Ok(()) => abi::INVALID,
                Err(Gone) => abi::GONE,
            }
        })
    }
}

unsafe extern "C" fn host_close_connection(host: *const HostTable, conn: u64, code: Str, text: Str) -> i32 {
    // SAFETY: the plugin passes the table that it was given.
    unsafe {
        serve(host, abi::FAILED, |context| {
            match context.services.close_connection(conn, &owned(code), &owned(text)) {
                Ok(()) => abi::OK,
                Err(Gone) => abi::GONE,
            }
        })
    }
}

/// A copy of what a plugin lent. A plugin in C may hand over any bytes.
pub(crate) fn owned(text: Str) -> String {
    // SAFETY: the plugin lends its text for the call (in a descriptor: for ever).
    String::from_utf8_lossy(unsafe { text.bytes() }).into_owned()
}

/// A table that the plugin gives.
///
/// # Safety
/// The type is `repr(C)`, begins with its size (`usize`), and all zeros are a valid value that means "absent".
pub(crate) unsafe trait Table: Copy {}
// SAFETY: a null name, null hooks.
unsafe impl Table for AppTable {}
// SAFETY: kind 0 is no answer, null texts.
unsafe impl Table for AnswerTable {}

/// Takes what the table's own size covers; the rest is absent. This is the whole of "append-only".
///
/// # Safety
/// `table` begins with its size and is as long as that says.
pub(crate) unsafe fn copy_table<T: Table>(table: *const T) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's promise for reading, `T`'s size for writing; zeros are valid (`Table`).
    unsafe {
        let size = table.cast::<usize>().read().min(size_of::<T>());
        ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size);
        copy.assume_init()
    }
}
