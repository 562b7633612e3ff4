//! Layers, chains and filters that a plugin brings. They run on workers: nothing in them may block.

use core::ffi::c_void;

use super::{FrameTable, Str};

/// A layer: one protocol that can stand in a chain.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LayerTable {
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// Its name; chains list it.
    pub name: Str,
    /// What it expects of its farther neighbour: [`PORT_BYTES`] or [`PORT_HTTP`].
    pub far: u32,
    /// What it hands to its nearer neighbour: one of the `PORT_…` constants; [`PORT_SERVER`] for an endpoint.
    pub near: u32,
    /// The keys of an acceptor that it takes: JSON text of an object, from names to `"flag"`, `"text"`, `"texts"` or
    /// `"whole"`. May be empty.
    pub keys: Str,
    /// Makes the layer of a connection; `keys` is JSON text of an object. Required. No null instance.
    pub create:
        Option<unsafe extern "C" fn(keys: Str, out: *const OutTable, instance: *mut *mut c_void) -> i32>,
    /// Ends it. Required.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void) -> i32>,
    /// The carrier is connected. Without it, the nearer neighbour is told at once.
    pub on_open: Option<unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable) -> i32>,
    /// Bytes from the far side. Required. `taken` is how many were taken: all of them, unless this call paused the
    /// chain.
    pub on_data: Option<
        unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable, data: Str, taken: *mut usize) -> i32,
    >,
    /// The head of an HTTP message.
    pub on_head: Option<
        unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable, head: *const HeadTable) -> i32,
    >,
    /// The body of an HTTP message is complete.
    pub on_end: Option<unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable) -> i32>,
    /// The answer to something that the layer emitted, or another order of the server. Endpoints only.
    pub on_order: Option<
        unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable, order: *const OrderTable) -> i32,
    >,
    /// Bytes of the near side on their way out; what shall leave instead goes to [`CxTable::send`]. Without it they
    /// pass unchanged. Of the context it may use `now_ms`, `send`, `begin`, `end`, `random`, `wake_in` and `fail`;
    /// whoever opens, delivers, emits, pauses or closes here ends the connection by that.
    pub on_send: Option<unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable, data: Str) -> i32>,
    /// The time has come that [`CxTable::wake_in`] named.
    pub on_timeout: Option<unsafe extern "C" fn(instance: *mut c_void, cx: *const CxTable) -> i32>,
}

// SAFETY: a table is a constant; what it points to is constant, too.
unsafe impl Sync for LayerTable {}
// SAFETY: as above.
unsafe impl Send for LayerTable {}

/// A stream of bytes.
pub const PORT_BYTES: u32 = 0;
/// HTTP messages: heads, bodies, ends.
pub const PORT_HTTP: u32 = 1;
/// The server: the layer is an endpoint.
pub const PORT_SERVER: u32 = 2;

/// What a layer may do while it is called. Good for that call only, on its thread.
///
/// Layers and filters are called on workers: one instance by one thread at a time, different instances at the same
/// time.
///
/// What returns a status other than [`OK`](super::OK) has ended the connection; the layer passes that status on.
#[repr(C)]
pub struct CxTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// Milliseconds of a clock that never goes back.
    pub now_ms: u64,
    /// Not 0: the chain is paused.
    pub is_paused: unsafe extern "C" fn(cx: *const Self) -> u32,
    /// Sends bytes to the far side.
    pub send: unsafe extern "C" fn(cx: *const Self, data: Str),
    /// Begins an HTTP message to the far side; bytes that are sent are its body.
    pub begin: unsafe extern "C" fn(cx: *const Self, head: *const HeadTable) -> i32,
    /// Ends the HTTP message.
    pub end: unsafe extern "C" fn(cx: *const Self),
    /// Hands bytes to the nearer neighbour.
    pub deliver: unsafe extern "C" fn(cx: *const Self, data: Str) -> i32,
    /// Hands the head of an HTTP message to the nearer neighbour.
    pub deliver_head: unsafe extern "C" fn(cx: *const Self, head: *const HeadTable) -> i32,
    /// Tells the nearer neighbour that the body is complete.
    pub deliver_end: unsafe extern "C" fn(cx: *const Self) -> i32,
    /// Tells the nearer neighbour that it may speak.
    pub open: unsafe extern "C" fn(cx: *const Self) -> i32,
    /// Tells the server. What is no event of this version ends the connection. In version 1.0 a layer can publish, not
    /// play.
    pub emit: unsafe extern "C" fn(cx: *const Self, event: *const EventTable) -> i32,
    /// Pauses the chain: no layer is handed data until it goes on.
    pub pause: unsafe extern "C" fn(cx: *const Self),
    /// Lets the chain go on.
    pub resume: unsafe extern "C" fn(cx: *const Self),
    /// Has `on_timeout` called in so many ms; a later call counts instead. Negative: never.
    pub wake_in: unsafe extern "C" fn(cx: *const Self, delay_ms: i64),
    /// Ends the connection once everything has gone out, for this reason.
    pub close: unsafe extern "C" fn(cx: *const Self, reason: Str),
    /// Says why the current call is about to return [`FAILED`](super::FAILED) or [`PANICKED`](super::PANICKED).
    pub fail: unsafe extern "C" fn(cx: *const Self, reason: Str),
    /// Fills `len` bytes at `into` with random ones, fit for keys. More than `PTRDIFF_MAX` are none.
    pub random: unsafe extern "C" fn(cx: *const Self, into: *mut u8, len: usize),
}

/// The head of an HTTP message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeadTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// A response's status; 0: it is a request.
    pub status: u32,
    /// Not 0: the length of the body is not known beforehand.
    pub no_length: u32,
    /// Bytes of the body.
    pub length: u64,
    /// A request's method.
    pub method: Str,
    /// A request's path and query.
    pub target: Str,
    /// `header_count` pairs of name and value, names in lower case.
    pub headers: *const Str,
    /// How many headers there are: half the number of texts.
    pub header_count: usize,
}

/// What an endpoint tells the server. `kind` says which fields count.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EventTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// One of the `EVENT_…` constants.
    pub kind: u32,
    /// Names the request until it is answered; chosen by the layer, unique within the connection.
    pub request: u32,
    /// The message stream: one publication at a time, from 1.
    pub stream_id: u32,
    /// Not 0: an answer is wanted.
    pub wants_reply: u32,
    /// The `app`, the stream's name, or the command's.
    pub name: Str,
    /// JSON text: other members of the connect request, the arguments, or the description.
    pub value: Str,
    /// A frame.
    pub frame: *const FrameTable,
}

/// The far end asks to connect: `request`, `name` is its `app`, `value` an object (`tcUrl`, `agent`, …). The layer
/// should pause the chain until the answer comes.
pub const EVENT_CONNECT: u32 = 1;
/// A command: `request`, `stream_id`, `wants_reply`, `name`, `value` a list.
pub const EVENT_MESSAGE: u32 = 2;
/// The far end asks to publish: `request`, `stream_id`, `name`.
pub const EVENT_PUBLISH: u32 = 3;
/// A frame of an accepted publication: `stream_id`, `frame`.
pub const EVENT_FRAME: u32 = 4;
/// The publication has ended: `stream_id`.
pub const EVENT_UNPUBLISH: u32 = 5;

/// An order of the server. `kind` says which fields count.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OrderTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// One of the `ORDER_…` constants.
    pub kind: u32,
    /// The request that is answered.
    pub request: u32,
    /// The message stream.
    pub stream_id: u32,
    /// Of an answer: one of the `ACCEPTED_…` constants. What else it may say one day is a no.
    pub accepted: u32,
    /// Of a refusal and of an order a status code; for [`ACCEPTED_ELSEWHERE`] the address to go to instead.
    pub code: Str,
    /// Why, in words; of an accepted message JSON text of its result.
    pub text: Str,
}

/// No.
pub const ACCEPTED_NO: u32 = 0;
/// Yes.
pub const ACCEPTED_YES: u32 = 1;
/// No: the far end shall go to the address `code`.
pub const ACCEPTED_ELSEWHERE: u32 = 2;

/// The answer to [`EVENT_CONNECT`].
pub const ORDER_ANSWER_CONNECT: u32 = 1;
/// The answer to [`EVENT_PUBLISH`].
pub const ORDER_ANSWER_PUBLISH: u32 = 2;
/// The answer to [`EVENT_MESSAGE`].
pub const ORDER_ANSWER_MESSAGE: u32 = 3;
/// The server ends the publication of `stream_id`.
pub const ORDER_STOP_PUBLISH: u32 = 4;
/// The server closes the connection.
pub const ORDER_CLOSE: u32 = 5;

/// A chain: layers by name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ChainTable {
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// Its name: the `protocol` of an acceptor.
    pub name: Str,
    /// The names of its layers behind the carrier, far to near, separated by spaces.
    pub layers: Str,
}

// SAFETY: a table is a constant; what it points to is constant, too.
unsafe impl Sync for ChainTable {}

/// A filter: looks at every frame of a publication before anybody else does.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FilterTable {
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// Its name: the `filters` of an application list it.
    pub name: Str,
    /// Makes the filter of a publication; `settings` is JSON text of an object. Required. No null instance. Filters run
    /// on workers, those of several publications at the same time.
    pub create:
        Option<unsafe extern "C" fn(settings: Str, out: *const OutTable, instance: *mut *mut c_void) -> i32>,
    /// Ends it. Required.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void) -> i32>,
    /// Looks at a frame. Required. Returns one of the `FILTER_…` constants, or [`FAILED`](super::FAILED) or
    /// [`PANICKED`](super::PANICKED), which end the connection. For [`FILTER_REPLACE`] the new body has been given to
    /// `replace`, which copies it.
    pub on_frame: Option<
        unsafe extern "C" fn(instance: *mut c_void, frame: *const FrameTable, out: *const OutTable) -> i32,
    >,
}

// SAFETY: a table is a constant; what it points to is constant, too.
unsafe impl Sync for FilterTable {}
// SAFETY: as above.
unsafe impl Send for FilterTable {}

/// Where a layer or filter that is being made, and a filter that is called, says more. Good for the call only.
#[repr(C)]
pub struct OutTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// Says why the call is about to fail.
    pub fail: unsafe extern "C" fn(out: *const Self, reason: Str),
    /// The body of the FLV tag that takes the place of the frame's. Only in `on_frame`.
    pub replace: unsafe extern "C" fn(out: *const Self, body: Str),
}

/// The frame goes on.
pub const FILTER_KEEP: i32 = 0;
/// The frame is left out.
pub const FILTER_DROP: i32 = 1;
/// The frame goes on with another body.
pub const FILTER_REPLACE: i32 = 2;
