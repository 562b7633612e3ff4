//! What a plugin sees of a host: the table of functions, and what is behind it.

use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use crtmp_media::{Frame, MediaKind};

use crate::abi::{self, AnswerTable, FrameTable, HostTable, Str};
use crate::answer::Answer;
use crate::foreign::Failure;
use crate::frames;
use crate::host::{Gone, Level, NotTaken};

/// What a host does for an instance; see [`HostTable`]. Called from any thread of the application. A host that has
/// a function not says so by the default of it: nothing is there any more.
#[allow(unused_variables, reason = "the names are the documentation of what is passed")]
pub trait Services: Send + Sync + 'static {
    /// Writes a log line.
    fn log(&self, level: Level, text: &str);
    /// The folder at which relative paths start.
    fn folder(&self) -> &str {
        "."
    }
    /// The name of the application.
    fn name(&self) -> &str;
    /// Milliseconds of a clock that never goes back.
    fn now_ms(&self) -> u64 {
        0
    }
    /// Takes the answer to a request; the second one for the same request is `Gone`, one that does not fit `Invalid`.
    /// `None`: the plugin gave something that is no answer.
    fn respond(&self, request: u64, answer: Option<Answer>) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Closes a connection.
    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Calls a command of the far end; `args` is JSON text of a list.
    fn call(&self, conn: u64, name: &str, args: &str, ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Ends publications.
    fn unpublish(&self, conn: u64, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Ends playbacks.
    fn unplay(&self, conn: u64, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Brings frames, or stops.
    fn tap(&self, conn: u64, stream_id: u32, on: bool) -> Result<(), Gone> {
        Err(Gone)
    }
    /// The newest codec configuration.
    fn sequence_header(&self, conn: u64, stream_id: u32, kind: MediaKind) -> Option<Frame> {
        None
    }
    /// Sets a timer.
    fn timer_set(&self, timer: u64, delay_ms: u64, period_ms: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Takes back a timer.
    fn timer_cancel(&self, timer: u64) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Runs a command of the server; `params` is JSON text of an object or empty.
    fn command(&self, name: &str, params: &str, rights: Rights, ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Adds a command; the text says why not.
    fn command_add(&self, command: &str) -> Result<(), String> {
        Err("the server has ended".to_owned())
    }
    /// Takes back a command.
    fn command_remove(&self, name: &str) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Begins to publish.
    fn source_open(&self, name: &str) -> Option<u64> {
        None
    }
    /// Gives a frame: kind, time in ms, body of its FLV tag.
    fn source_frame(&self, source: u64, kind: MediaKind, dts: i64, body: &[u8]) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Ends a publication.
    fn source_close(&self, source: u64) -> Result<(), Gone> {
        Err(Gone)
    }
    /// Connects to somebody.
    fn connect(&self, address: &str, chain: &str, keys: &str, ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Pulls a stream; `what` is JSON text of an object.
    fn pull(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Pushes a stream, likewise.
    fn push(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
    /// Sends an HTTP request.
    fn http(&self, request: &str, body: &[u8], ticket: u64) -> Result<(), NotTaken> {
        Err(NotTaken::Gone)
    }
}

/// What the caller of a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Commands that only look.
    Read,
    /// And commands that change something.
    Change,
    /// And those that can harm the machine.
    All,
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
            log,
            now_ms,
            fail,
            respond,
            close_connection,
            call,
            unpublish,
            unplay,
            tap,
            sequence_header,
            frame_retain,
            frame_release,
            timer_set,
            timer_cancel,
            command,
            command_add,
            command_remove,
            source_open,
            source_frame,
            source_close,
            connect,
            http,
            folder,
            name,
            pull,
            push,
        };
        Self { table, services: Box::new(services), reason: Mutex::default() }
    }

    /// Made from the whole context, so that the way back in `serve` is allowed.
    pub(crate) fn table(&self) -> *const HostTable {
        ptr::from_ref(self).cast()
    }

    /// Reads the status of a call.
    pub(crate) fn check(&self, status: i32) -> Result<(), Failure> {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        Failure::of(status, std::mem::take(&mut *reason))
    }
}

/// Runs a host function that a plugin called: its table leads to the context, and no panic gets out.
///
/// # Safety
/// `host` is a table that `Context::table` gave.
unsafe fn serve<R>(host: *const HostTable, failed: R, body: impl FnOnce(&dyn Services) -> R) -> R {
    // SAFETY: the table is the first field of its context, which outlives all calls.
    let context = unsafe { &*host.cast::<Context>() };
    catch_unwind(AssertUnwindSafe(|| body(&*context.services))).unwrap_or(failed)
}

/// A status.
trait Status {
    fn status(self) -> i32;
}

impl Status for Result<(), Gone> {
    fn status(self) -> i32 {
        if self.is_ok() { abi::OK } else { abi::GONE }
    }
}

impl Status for Result<(), NotTaken> {
    fn status(self) -> i32 {
        match self {
            Ok(()) => abi::OK,
            Err(NotTaken::Gone) => abi::GONE,
            Err(NotTaken::Full) => abi::FULL,
            Err(NotTaken::Invalid) => abi::INVALID,
        }
    }
}

/// Host functions whose body is one call of the services and whose answer is a status.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $body:expr;)*) => {$(
        unsafe extern "C" fn $name(host: *const HostTable, $($argument: $type),*) -> i32 {
            // SAFETY: the plugin passes the table that it was given.
            unsafe { serve(host, abi::FAILED, |services| ($body)(services).status()) }
        }
    )*};
}

functions! {
    close_connection(conn: u64, code: Str, text: Str)
        |services: &dyn Services| services.close_connection(conn, &owned(code), &owned(text));
    call(conn: u64, name: Str, args: Str, ticket: u64)
        |services: &dyn Services| services.call(conn, &owned(name), &owned(args), ticket);
    unpublish(conn: u64, stream_id: u32, code: Str, text: Str)
        |services: &dyn Services| services.unpublish(conn, stream_id, &owned(code), &owned(text));
    unplay(conn: u64, stream_id: u32, code: Str, text: Str)
        |services: &dyn Services| services.unplay(conn, stream_id, &owned(code), &owned(text));
    tap(conn: u64, stream_id: u32, on: u32) |services: &dyn Services| {
        let on = match on {
            0 => false,
            1 => true,
            _ => return Err(NotTaken::Invalid),
        };
        services.tap(conn, stream_id, on).map_err(|Gone| NotTaken::Gone)
    };
    timer_set(timer: u64, delay_ms: u64, period_ms: u64)
        |services: &dyn Services| services.timer_set(timer, delay_ms, period_ms);
    timer_cancel(timer: u64) |services: &dyn Services| services.timer_cancel(timer);
    command(name: Str, params: Str, rights: u32, ticket: u64) |services: &dyn Services| {
        let rights = match rights {
            abi::RIGHTS_READ => Rights::Read,
            abi::RIGHTS_CHANGE => Rights::Change,
            abi::RIGHTS_ALL => Rights::All,
            _ => return Err(NotTaken::Invalid),
        };
        services.command(&owned(name), &owned(params), rights, ticket)
    };
    command_remove(name: Str) |services: &dyn Services| services.command_remove(&owned(name));
    source_close(source: u64) |services: &dyn Services| services.source_close(source);
    connect(address: Str, chain: Str, keys: Str, ticket: u64)
        |services: &dyn Services| services.connect(&owned(address), &owned(chain), &owned(keys), ticket);
    pull(conn: u64, what: Str, ticket: u64)
        |services: &dyn Services| services.pull(conn, &owned(what), ticket);
    push(conn: u64, what: Str, ticket: u64)
        |services: &dyn Services| services.push(conn, &owned(what), ticket);
}

unsafe extern "C" fn log(host: *const HostTable, level: u32, text: Str) {
    // SAFETY: the plugin passes the table that it was given.
    unsafe { serve(host, (), |services| services.log(Level::from_number(level), &owned(text))) }
}

unsafe extern "C" fn now_ms(host: *const HostTable) -> u64 {
    // SAFETY: the plugin passes the table that it was given.
    unsafe { serve(host, 0, |services| services.now_ms()) }
}

unsafe extern "C" fn fail(host: *const HostTable, reason: Str) {
    // SAFETY: the plugin passes the table that it was given, the first field of its context.
    let context = unsafe { &*host.cast::<Context>() };
    // Nothing in here panics.
    *context.reason.lock().unwrap_or_else(PoisonError::into_inner) = owned(reason);
}

unsafe extern "C" fn respond(host: *const HostTable, request: u64, answer: *const AnswerTable) -> i32 {
    // SAFETY: the plugin passes the table that it was given, and an answer with its size.
    unsafe {
        serve(host, abi::FAILED, |services| {
            let table = copy_table(answer);
            // Of null the kind is 0, which is none.
            let answer = Answer::read(table.kind, table.first.bytes(), table.second.bytes());
            services.respond(request, answer).status()
        })
    }
}

/// A frame has had this size since version 1.0; a place for less could not take its owner, and nobody would release it.
const SMALLEST_FRAME: usize = offset_of!(FrameTable, owner) + size_of::<*const c_void>();

unsafe extern "C" fn sequence_header(
    host: *const HostTable,
    conn: u64,
    stream_id: u32,
    kind: u32,
    frame: *mut FrameTable,
) -> i32 {
    // SAFETY: the plugin passes the table that it was given, and a place for a frame with its size.
    unsafe {
        serve(host, abi::FAILED, |services| {
            let Some(kind) = frames::kind_of(kind).filter(|kind| *kind != MediaKind::Data) else {
                return abi::INVALID;
            };
            if frame.is_null() {
                return abi::INVALID;
            }
            let room = frame.cast::<usize>().read().min(size_of::<FrameTable>());
            if room < SMALLEST_FRAME {
                return abi::INVALID;
            }
            let Some(header) = services.sequence_header(conn, stream_id, kind) else { return abi::GONE };
            let owner = Arc::new(header);
            let table = frames::table(&owner);
            // The plugin's now, until it releases it.
            let _ = Arc::into_raw(owner);
            ptr::copy_nonoverlapping((&raw const table).cast::<u8>(), frame.cast::<u8>(), room);
            frame.cast::<usize>().write(room);
            abi::OK
        })
    }
}

unsafe extern "C" fn frame_retain(_: *const HostTable, owner: *const c_void) {
    if !owner.is_null() {
        // SAFETY: `owner` is from `frames::table`, which the hook that lent it, or a retained count, keeps alive.
        unsafe { Arc::increment_strong_count(owner.cast::<Frame>()) }
    }
}

unsafe extern "C" fn frame_release(_: *const HostTable, owner: *const c_void) {
    if !owner.is_null() {
        // SAFETY: the plugin gives back a count that it has.
        unsafe { Arc::decrement_strong_count(owner.cast::<Frame>()) }
    }
}

unsafe extern "C" fn command_add(host: *const HostTable, command: Str) -> i32 {
    // SAFETY: the plugin passes the table that it was given.
    unsafe {
        let added = serve(host, Err(String::new()), |services| services.command_add(&owned(command)));
        match added {
            Ok(()) => abi::OK,
            Err(reason) => {
                fail(host, Str::new(&reason));
                abi::INVALID
            }
        }
    }
}

unsafe extern "C" fn source_open(host: *const HostTable, name: Str) -> u64 {
    // SAFETY: the plugin passes the table that it was given.
    unsafe { serve(host, 0, |services| services.source_open(&owned(name)).unwrap_or(0)) }
}

unsafe extern "C" fn source_frame(host: *const HostTable, source: u64, frame: *const FrameTable) -> i32 {
    // SAFETY: the plugin passes the table that it was given, and a frame with its size.
    unsafe {
        serve(host, abi::FAILED, |services| {
            // Of null the kind is 0, which is none.
            let frame = copy_table(frame);
            let Some(kind) = frames::kind_of(frame.kind) else { return abi::INVALID };
            services.source_frame(source, kind, frame.dts_ms, frame.body.bytes()).status()
        })
    }
}

unsafe extern "C" fn http(host: *const HostTable, request: Str, body: Str, ticket: u64) -> i32 {
    // SAFETY: the plugin passes the table that it was given, and lends its bytes for the call.
    unsafe {
        serve(host, abi::FAILED, |services| services.http(&owned(request), body.bytes(), ticket).status())
    }
}

unsafe extern "C" fn folder(host: *const HostTable) -> Str {
    // SAFETY: the plugin passes the table that it was given; the services live as long as it.
    unsafe { serve(host, Str::EMPTY, |services| Str::new(services.folder())) }
}

unsafe extern "C" fn name(host: *const HostTable) -> Str {
    // SAFETY: the plugin passes the table that it was given; the services live as long as it.
    unsafe { serve(host, Str::EMPTY, |services| Str::new(services.name())) }
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

macro_rules! tables {
    ($($table:ident),*) => {$(
        // SAFETY: null texts, null hooks, null pointers, numbers.
        unsafe impl Table for abi::$table {}
    )*};
}

tables!(
    AppTable,
    AnswerTable,
    FrameTable,
    LayerTable,
    ChainTable,
    FilterTable,
    HeadTable,
    EventTable,
    OrderTable
);

/// Takes what the table's own size covers; the rest is absent. This is the whole of "append-only". Of null all is.
///
/// # Safety
/// `table` is null, or begins with its size and is as long as that says.
pub(crate) unsafe fn copy_table<T: Table>(table: *const T) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's promise for reading, `T`'s size for writing; zeros are valid (`Table`).
    unsafe {
        if table.is_null() {
            return copy.assume_init();
        }
        let size = table.cast::<usize>().read().min(size_of::<T>());
        ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size);
        copy.assume_init()
    }
}
