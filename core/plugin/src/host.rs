//! What the server does for an application.

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::abi::{self, Str};
use crate::answer::Answer;
use crate::app::App;
use crate::calls::{
    CallError, CallResult, Command, CommandReply, HttpAnswer, HttpRequest, Pending, RawResult, Then,
};
use crate::conn::{ConnId, RequestId, SourceId, TimerId};
use crate::context::Rights;
use crate::frames::{self, KeptFrame, MediaKind};

/// The server, seen from an application. Clone it freely and take it to other threads: every method may be called
/// from anywhere, at any time, and none blocks. After the application has ended, calls do nothing.
///
/// What comes later comes to a function that is called once, on the application's thread, with the application.
#[derive(Clone)]
pub struct Host {
    pub(crate) table: *const abi::HostTable,
    pending: Arc<Pending>,
}

// SAFETY: the contract of `HostTable`: valid for ever (see `Host::new`), callable from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    /// # Safety
    /// `table` is a host table of our minor version or newer that stays valid for ever.
    pub(crate) unsafe fn new(table: *const abi::HostTable) -> Self {
        Self { table, pending: Arc::default() }
    }

    pub(crate) fn call_table<R>(&self, call: impl FnOnce(&abi::HostTable) -> R) -> R {
        // SAFETY: the table is valid (`new`).
        call(unsafe { &*self.table })
    }

    /// Writes a line to the server's log, under the application's name.
    pub fn log(&self, level: Level, text: impl fmt::Display) {
        let text = text.to_string();
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        unsafe { ((*self.table).log)(self.table, level as u32, Str::new(&text)) }
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

    /// The folder at which relative paths start: the one in which the server was started.
    pub fn folder(&self) -> std::path::PathBuf {
        // SAFETY: the table is valid (`new`), and the text for ever.
        let text = self.call_table(|table| unsafe { (table.folder)(self.table).bytes() });
        std::path::PathBuf::from(String::from_utf8_lossy(text).into_owned())
    }

    /// The name of the application as its block says it: several blocks may use one library.
    pub fn name(&self) -> String {
        // SAFETY: the table is valid (`new`), and the text for ever.
        let text = self.call_table(|table| unsafe { (table.name)(self.table).bytes() });
        String::from_utf8_lossy(text).into_owned()
    }

    /// Time since some moment in the past; never goes back.
    pub fn now(&self) -> Duration {
        // SAFETY: the table is valid (`new`).
        Duration::from_millis(unsafe { ((*self.table).now_ms)(self.table) })
    }

    /// Answers a request that a hook put off with `Later`, once. `Gone` if it has had an answer, its time ran out,
    /// or its connection is closed; `Invalid` if this is no answer to it, which still waits for one.
    pub fn respond(&self, request: RequestId, answer: impl Into<Answer>) -> Result<(), NotTaken> {
        let answer = answer.into();
        let status = answer.lend(|table| {
            // SAFETY: the host table is valid (`new`), the answer is lent for the call.
            unsafe { ((*self.table).respond)(self.table, request.0, table) }
        });
        // `Later` is what the request is already: not an answer, and no fault either.
        NotTaken::read(status.unwrap_or(abi::OK))
    }

    /// Asks the server to close a connection; code and text tell the far end why. A connection that has left
    /// already is not an error.
    pub fn close(&self, conn: ConnId, code: &str, text: &str) -> Result<(), Gone> {
        let (code, text) = (Str::new(code), Str::new(text));
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        let status = unsafe { ((*self.table).close_connection)(self.table, conn.0, code, text) };
        if status == abi::OK { Ok(()) } else { Err(Gone) }
    }

    /// Calls a command of the far end. For RTMP the command object is the first argument; `null` where there is none.
    /// What it answers is given to `then`. A connection of another application counts as gone.
    pub fn call<A: App>(
        &self,
        conn: ConnId,
        name: &str,
        args: &[Value],
        then: impl FnOnce(&mut A, Result<CallResult, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.call())?;
        self.sent(ticket, self.send_call(conn, name, args, ticket))
    }

    /// Calls a command of the far end that nobody wants an answer to.
    pub fn send(&self, conn: ConnId, name: &str, args: &[Value]) -> Result<(), NotTaken> {
        NotTaken::read(self.send_call(conn, name, args, 0))
    }

    pub(crate) fn send_call(&self, conn: ConnId, name: &str, args: &[Value], ticket: u64) -> i32 {
        let args = Value::from(args).to_string();
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        self.call_table(|table| unsafe {
            (table.call)(self.table, conn.0, Str::new(name), Str::new(&args), ticket)
        })
    }

    /// Ends a publication of a connection; message stream 0 means all of them.
    pub fn unpublish(&self, conn: ConnId, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        let (code, text) = (Str::new(code), Str::new(text));
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        Gone::read(
            self.call_table(|table| unsafe { (table.unpublish)(self.table, conn.0, stream_id, code, text) }),
        )
    }

    /// Ends a playback of a connection; message stream 0 means all of them.
    pub fn unplay(&self, conn: ConnId, stream_id: u32, code: &str, text: &str) -> Result<(), Gone> {
        let (code, text) = (Str::new(code), Str::new(text));
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        Gone::read(
            self.call_table(|table| unsafe { (table.unplay)(self.table, conn.0, stream_id, code, text) }),
        )
    }

    /// Brings the frames that a connection publishes to [`App::on_frame`], or stops that: on one message stream, until
    /// its publication ends, or with 0 on all of them, those to come included. Nothing comes of a connection of another
    /// application.
    pub fn tap(&self, conn: ConnId, stream_id: u32, on: bool) -> Result<(), Gone> {
        // SAFETY: the table is valid (`new`).
        Gone::read(self.call_table(|table| unsafe { (table.tap)(self.table, conn.0, stream_id, on.into()) }))
    }

    /// The newest codec configuration (audio or video) of what a connection publishes on a message stream, once there
    /// is one; with 0 that of its newest publication that has one.
    pub fn sequence_header(&self, conn: ConnId, stream_id: u32, kind: MediaKind) -> Option<KeptFrame> {
        // SAFETY: a frame of zeros is a valid value: null pointers and numbers.
        let mut frame: abi::FrameTable = unsafe { MaybeUninit::zeroed().assume_init() };
        frame.size = size_of::<abi::FrameTable>();
        let kind = frames::number_of(kind);
        // SAFETY: the table is valid (`new`); `frame` is a place for a frame of the size that it says.
        let status = self.call_table(|table| unsafe {
            (table.sequence_header)(self.table, conn.0, stream_id, kind, &raw mut frame)
        });
        (status == abi::OK).then(|| KeptFrame::adopt(frame, self.clone()))
    }

    /// Sets a timer: [`App::on_timer`] after `delay`, and then every `period` if there is one. It replaces a timer of
    /// the same number.
    pub fn set_timer(
        &self,
        timer: TimerId,
        delay: Duration,
        period: Option<Duration>,
    ) -> Result<(), NotTaken> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let period = period.map_or(0, |period| ms(period).max(1));
        // SAFETY: the table is valid (`new`).
        NotTaken::read(
            self.call_table(|table| unsafe { (table.timer_set)(self.table, timer.0, ms(delay), period) }),
        )
    }

    /// Takes back a timer.
    pub fn cancel_timer(&self, timer: TimerId) {
        // SAFETY: the table is valid (`new`). A timer that is gone is what was wanted.
        let _ = self.call_table(|table| unsafe { (table.timer_cancel)(self.table, timer.0) });
    }

    /// Runs a command of the server, with all rights.
    pub fn command<A: App>(
        &self,
        name: &str,
        params: &Map<String, Value>,
        then: impl FnOnce(&mut A, Result<CommandReply, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        self.command_as(name, params, Rights::All, then)
    }

    /// Runs a command of the server for somebody who has these rights.
    pub fn command_as<A: App>(
        &self,
        name: &str,
        params: &Map<String, Value>,
        rights: Rights,
        then: impl FnOnce(&mut A, Result<CommandReply, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.command())?;
        self.sent(ticket, self.send_command(name, params, rights, ticket))
    }

    /// As [`command_as`](Self::command_as), with the reply as the JSON text that it is.
    pub fn command_json<A: App>(
        &self,
        name: &str,
        params: &Map<String, Value>,
        rights: Rights,
        then: impl FnOnce(&mut A, Result<String, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.settle().map(|()| result.value.to_owned()))?;
        self.sent(ticket, self.send_command(name, params, rights, ticket))
    }

    fn send_command(&self, name: &str, params: &Map<String, Value>, rights: Rights, ticket: u64) -> i32 {
        let params = serde_json::to_string(params).unwrap_or_default();
        let rights = match rights {
            Rights::Read => abi::RIGHTS_READ,
            Rights::Change => abi::RIGHTS_CHANGE,
            Rights::All => abi::RIGHTS_ALL,
        };
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        self.call_table(|table| unsafe {
            (table.command)(self.table, Str::new(name), Str::new(&params), rights, ticket)
        })
    }

    /// Adds a command to the server's, in the names of text CLI, JSON, HTTP, Lua and other plugins: whoever calls it
    /// comes to [`App::on_command`]. Best in `new`, which may pass the error on.
    pub fn add_command(&self, command: &Command) -> Result<(), String> {
        let json = command.json();
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        let status = self.call_table(|table| unsafe { (table.command_add)(self.table, Str::new(&json)) });
        // The server has said why by `fail`, for whoever returns a failure; here is what there is to say.
        let refused = || format!("the server does not take the command {json}");
        if status == abi::OK { Ok(()) } else { Err(refused()) }
    }

    /// Takes back a command that was added; calls of it that are open are still answered.
    pub fn remove_command(&self, name: &str) -> Result<(), Gone> {
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        Gone::read(self.call_table(|table| unsafe { (table.command_remove)(self.table, Str::new(name)) }))
    }

    /// Begins to publish a stream of this application; [`App::on_source`] says what becomes of it, and frames that are
    /// sent before it has begun are lost. In `new`, the stream begins when the application runs. None: the
    /// application has ended, or publishes too many.
    pub fn publish(&self, name: &str) -> Option<SourceId> {
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        let source = self.call_table(|table| unsafe { (table.source_open)(self.table, Str::new(name)) });
        (source != 0).then_some(SourceId(source))
    }

    /// Gives a frame of a source: its kind, its decode time in ms, and the body of its FLV tag, which is copied. It is
    /// checked as if a peer had sent it. [`NotTaken::Full`]: it was left out, and so will be what follows, up to the
    /// next key frame, because the server is behind.
    pub fn send_frame(
        &self,
        source: SourceId,
        kind: MediaKind,
        dts_ms: i64,
        body: &[u8],
    ) -> Result<(), NotTaken> {
        // SAFETY: a frame of zeros is a valid value: null pointers and numbers.
        let zeros: abi::FrameTable = unsafe { MaybeUninit::zeroed().assume_init() };
        let kind = frames::number_of(kind);
        let frame = abi::FrameTable {
            size: size_of::<abi::FrameTable>(),
            kind,
            dts_ms,
            body: Str::of(body),
            ..zeros
        };
        // SAFETY: the table is valid (`new`), the frame is lent for the call.
        NotTaken::read(
            self.call_table(|table| unsafe { (table.source_frame)(self.table, source.0, &raw const frame) }),
        )
    }

    /// Ends a publication.
    pub fn end_source(&self, source: SourceId) {
        // SAFETY: the table is valid (`new`). A source that is gone is what was wanted.
        let _ = self.call_table(|table| unsafe { (table.source_close)(self.table, source.0) });
    }

    /// Connects to `address` and puts a chain on the connection, whose layers get `keys`. Hooks of the connection come to
    /// this application. `address` is host and port, or says with its scheme what the chain is, which is empty then:
    /// `rtmps://host:port`, of any of [`SCHEMES`](crate::SCHEMES), the port being the usual one where there is none. Keys
    /// that the layers do not know, or whose values do not fit, are an error that `then` hears.
    pub fn connect<A: App>(
        &self,
        address: &str,
        chain: &str,
        keys: &Map<String, Value>,
        then: impl FnOnce(&mut A, Result<ConnId, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.connection())?;
        let keys = serde_json::to_string(keys).unwrap_or_default();
        // SAFETY: the table is valid (`new`), the texts are lent for the call.
        let status = self.call_table(|table| unsafe {
            (table.connect)(self.table, Str::new(address), Str::new(chain), Str::new(&keys), ticket)
        });
        self.sent(ticket, status)
    }

    /// Sends an HTTP request.
    pub fn http<A: App>(
        &self,
        request: &HttpRequest,
        then: impl FnOnce(&mut A, Result<HttpAnswer, CallError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.http())?;
        let json = request.json();
        // SAFETY: the table is valid (`new`), text and body are lent for the call.
        let status = self.call_table(|table| unsafe {
            (table.http)(self.table, Str::new(&json), Str::of(&request.body), ticket)
        });
        self.sent(ticket, status)
    }

    /// Keeps what is to be done with a result.
    pub(crate) fn open<A: App, R: 'static>(
        &self,
        then: impl FnOnce(&mut A, R) + Send + 'static,
        read: fn(&RawResult<'_>) -> R,
    ) -> Result<u64, NotTaken> {
        let then: Then = Box::new(move |app: &mut dyn Any, result: &RawResult<'_>| {
            let app = app.downcast_mut().expect("`then` takes the application that the host was given to");
            then(app, read(result));
        });
        self.pending.open(then).ok_or(NotTaken::Gone)
    }

    /// What was not taken has no result.
    pub(crate) fn sent(&self, ticket: u64, status: i32) -> Result<(), NotTaken> {
        let taken = NotTaken::read(status);
        if taken.is_err() {
            drop(self.pending.take(ticket));
        }
        taken
    }

    /// What is to be done with the result of a call.
    pub(crate) fn take(&self, ticket: u64) -> Option<Then> {
        self.pending.take(ticket)
    }

    /// No result comes any more.
    pub(crate) fn end_calls(&self) {
        self.pending.close();
    }

    pub(crate) fn retain(&self, owner: *const c_void) {
        // SAFETY: the table is valid (`new`); `owner` is from a frame that is lent or kept.
        self.call_table(|table| unsafe { (table.frame_retain)(self.table, owner) });
    }

    pub(crate) fn release(&self, owner: *const c_void) {
        // SAFETY: the table is valid (`new`); whoever calls has retained it.
        self.call_table(|table| unsafe { (table.frame_release)(self.table, owner) });
    }

    /// Says why the current call fails.
    pub(crate) fn fail(&self, reason: &str) {
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        unsafe { ((*self.table).fail)(self.table, Str::new(reason)) }
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

impl Gone {
    fn read(status: i32) -> Result<(), Self> {
        if status == abi::OK { Ok(()) } else { Err(Self) }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gone")
    }
}

impl std::error::Error for Gone {}

/// Why something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Whom it was for is no more.
    Gone,
    /// There is no room; later there may be.
    Full,
    /// It makes no sense: JSON of another kind, a frame that is none.
    Invalid,
}

impl NotTaken {
    fn read(status: i32) -> Result<(), Self> {
        match status {
            abi::OK => Ok(()),
            abi::FULL => Err(Self::Full),
            abi::INVALID => Err(Self::Invalid),
            _ => Err(Self::Gone),
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Full => "no room",
            Self::Invalid => "not understood",
        })
    }
}

impl std::error::Error for NotTaken {}
