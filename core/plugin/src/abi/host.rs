//! What the server does for a plugin.

use core::ffi::c_void;

use super::{FrameTable, Str};

/// What the server does for a plugin. The pointer is the identity: every function takes it first. All of them may
/// be called from any thread and never block.
///
/// Those that return a status answer [`OK`](super::OK) where the call was taken. That is not that it was done: what is
/// for a connection goes to its worker, and means nothing where the connection has left meanwhile.
/// [`GONE`](super::GONE): the request, source, timer or command is no more, or the application has ended.
/// [`INVALID`](super::INVALID): an argument makes no sense. [`FULL`](super::FULL), of `timer_set`, `connect`, `http` and
/// `source_frame`: there is no room now. [`FAILED`](super::FAILED): the server has made a mistake.
///
/// A *ticket* is a number that the application chooses; what becomes of a call that was taken comes to `on_result` with
/// it, exactly once. A call that returned anything but [`OK`](super::OK) has no result, nor have those that are open
/// when `destroy` is called. The ticket 0 wants no result.
#[repr(C)]
pub struct HostTable {
    /// Size of this table in bytes. A plugin that was let in finds at least the fields that it was built with.
    pub size: usize,
    /// Writes a log line; levels from 0 (fatal) to 6 (finest).
    pub log: unsafe extern "C" fn(host: *const Self, level: u32, text: Str),
    /// Milliseconds of a clock that never goes back; 0 once the application has ended.
    pub now_ms: unsafe extern "C" fn(host: *const Self) -> u64,
    /// Says why the current `validate`, `create` or hook is about to return [`FAILED`](super::FAILED) or
    /// [`PANICKED`](super::PANICKED).
    pub fail: unsafe extern "C" fn(host: *const Self, reason: Str),
    /// Answers a request: in its hook, or later from any thread. The second answer gets [`GONE`](super::GONE). One that
    /// does not fit the request, or cannot be read, gets [`INVALID`](super::INVALID), and the request still waits for its
    /// answer. A hook may return what this returned.
    pub respond: unsafe extern "C" fn(host: *const Self, request: u64, answer: *const AnswerTable) -> i32,
    /// Asks the server to close a connection; code and text tell its peer why.
    pub close_connection: unsafe extern "C" fn(host: *const Self, conn: u64, code: Str, text: Str) -> i32,
    /// Calls a command of the far end. `args` is JSON text of a list; the command object comes first. The far end's
    /// answer comes with the ticket; a connection that has left, or is another application's, is the result
    /// [`RESULT_GONE`](super::RESULT_GONE).
    pub call: unsafe extern "C" fn(host: *const Self, conn: u64, name: Str, args: Str, ticket: u64) -> i32,
    /// Ends a publication of a connection. `stream_id` 0 means all of them.
    pub unpublish:
        unsafe extern "C" fn(host: *const Self, conn: u64, stream_id: u32, code: Str, text: Str) -> i32,
    /// Ends a playback of a connection. `stream_id` 0 means all of them.
    pub unplay:
        unsafe extern "C" fn(host: *const Self, conn: u64, stream_id: u32, code: Str, text: Str) -> i32,
    /// Has the frames that a connection of this application publishes brought to `on_frame` (`on` 1), or no more (0).
    /// `stream_id` 0 means all that it publishes, now and later; another one that message stream, until its
    /// publication ends or is refused.
    pub tap: unsafe extern "C" fn(host: *const Self, conn: u64, stream_id: u32, on: u32) -> i32,
    /// Gives the newest codec configuration of what a connection publishes on a message stream; `stream_id` 0 means the
    /// newest publication that has one. `kind` is [`FRAME_AUDIO`](super::FRAME_AUDIO) or
    /// [`FRAME_VIDEO`](super::FRAME_VIDEO). The caller has set `size` in `frame`, and releases the frame, which is
    /// retained for him. [`GONE`](super::GONE) where there is none (yet). For an application that has no hook of connections
    /// or streams, they are kept of those connections alone that it had tapped before they came.
    pub sequence_header: unsafe extern "C" fn(
        host: *const Self,
        conn: u64,
        stream_id: u32,
        kind: u32,
        frame: *mut FrameTable,
    ) -> i32,
    /// Keeps the memory of a frame after the hook that lent it.
    pub frame_retain: unsafe extern "C" fn(host: *const Self, owner: *const c_void),
    /// Gives back what `frame_retain` or `sequence_header` kept.
    pub frame_release: unsafe extern "C" fn(host: *const Self, owner: *const c_void),
    /// Sets a timer of the application: `on_timer` in `delay_ms`, and from then on every `period_ms` unless that is
    /// 0. A timer of the same number is replaced.
    pub timer_set: unsafe extern "C" fn(host: *const Self, timer: u64, delay_ms: u64, period_ms: u64) -> i32,
    /// Takes back a timer.
    pub timer_cancel: unsafe extern "C" fn(host: *const Self, timer: u64) -> i32,
    /// Runs a command of the server. `params` is JSON text of an object, or empty; `rights` one of the `RIGHTS_…`
    /// constants. The reply comes with the ticket.
    pub command:
        unsafe extern "C" fn(host: *const Self, name: Str, params: Str, rights: u32, ticket: u64) -> i32,
    /// Adds a command to the server's: JSON text of an object with `name`, `description`, `readOnly` and
    /// `parameters`, as `help` shows them. It ends with the instance.
    pub command_add: unsafe extern "C" fn(host: *const Self, command: Str) -> i32,
    /// Takes back a command of `command_add`. Calls of it that are open are still answered. [`GONE`](super::GONE): the
    /// instance has none of this name.
    pub command_remove: unsafe extern "C" fn(host: *const Self, name: Str) -> i32,
    /// Begins to publish a stream of this application; in `create`, as soon as that has returned. 0: it has too many,
    /// or has ended. `on_source` says what becomes of it.
    pub source_open: unsafe extern "C" fn(host: *const Self, name: Str) -> u64,
    /// Gives a frame of a source; the body is copied. [`FULL`](super::FULL): the frame was left out, and all up to
    /// the next key frame will be, because the server is behind.
    pub source_frame: unsafe extern "C" fn(host: *const Self, source: u64, frame: *const FrameTable) -> i32,
    /// Ends a publication.
    pub source_close: unsafe extern "C" fn(host: *const Self, source: u64) -> i32,
    /// Connects to `address` (host and port) and puts `chain` on the connection; `keys` is JSON text of an object with
    /// the keys of the chain's layers, or empty. Where `chain` is empty, `address` says it by a scheme, and may leave the
    /// port out: `rtmps://host`. The connection's number comes with the ticket, and its hooks to this application.
    pub connect:
        unsafe extern "C" fn(host: *const Self, address: Str, chain: Str, keys: Str, ticket: u64) -> i32,
    /// Sends an HTTP request: JSON text of an object with `url`, and as wanted `method`, `headers`, `timeoutMs`, and
    /// `publicOnly` (true: not to private addresses, for a `url` that somebody else chose). The answer comes with the
    /// ticket.
    pub http: unsafe extern "C" fn(host: *const Self, request: Str, body: Str, ticket: u64) -> i32,
    /// The folder at which relative paths start: the one in which the server was started. Good for as
    /// long as the host pointer.
    pub folder: unsafe extern "C" fn(host: *const Self) -> Str,
    /// The name of the application as its block says it: several blocks may use one library. Good for as long as the
    /// host pointer.
    pub name: unsafe extern "C" fn(host: *const Self) -> Str,
    /// Pulls a stream of the far end of a connection by RTMP that `connect` has made, and that has been accepted there (`call` of "connect"). JSON text of an object with `name` (there, with query string),
    /// and as wanted `localName` (here), `startMs` and `durationMs` as in [`PlayRequest`](super::PlayRequest). The result
    /// comes when players have it here, or will not; when a pull has ended that was accepted, `on_unpublish`.
    pub pull: unsafe extern "C" fn(host: *const Self, conn: u64, what: Str, ticket: u64) -> i32,
    /// Pushes a stream to the far end, likewise: `name` (there), and as wanted `localName` (here) and `type`: `live`,
    /// `record` or `append`. The result comes when the far end has accepted it, or has not; when a push has ended that
    /// was accepted, `on_unplay`.
    pub push: unsafe extern "C" fn(host: *const Self, conn: u64, what: Str, ticket: u64) -> i32,
}

/// May run commands that only look.
pub const RIGHTS_READ: u32 = 0;
/// May run commands that change something.
pub const RIGHTS_CHANGE: u32 = 1;
/// May run every command.
pub const RIGHTS_ALL: u32 = 2;

/// An answer. `kind` says what `first` and `second` are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AnswerTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// One of the `ANSWER_…` constants.
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
    /// A name, a code, an address, or JSON text.
    pub first: Str,
    /// A text for the far end.
    pub second: Str,
}

/// Yes.
pub const ANSWER_ACCEPT: u32 = 1;
/// Yes, under the name `first` (publish, play).
pub const ANSWER_ACCEPT_AS: u32 = 2;
/// The application `first` shall decide (connect).
pub const ANSWER_HAND_TO: u32 = 3;
/// No: code `first` (empty: the usual one), text `second`. To a message or command it is an error with that text, and
/// the code is not passed on.
pub const ANSWER_REJECT: u32 = 4;
/// Go to the address `first`.
pub const ANSWER_REDIRECT: u32 = 5;
/// A command's result: JSON text `first`.
pub const ANSWER_RESULT: u32 = 6;
/// A command's error: JSON text `first`.
pub const ANSWER_ERROR: u32 = 7;
/// This application does not know the command.
pub const ANSWER_IGNORE: u32 = 8;
/// A command's result in several values: JSON text `first` of a list, for RTMP the command object first.
pub const ANSWER_RESULT_VALUES: u32 = 9;
/// A command's error in several values, likewise.
pub const ANSWER_ERROR_VALUES: u32 = 10;
