//! Applications: their entry points, and what these are told.

use core::ffi::c_void;

use super::{HostTable, Str};

/// An application: its name and its entry points. Any hook may be null.
///
/// Each hook gets the instance, mostly the connection, and what happened. It returns one of the status constants.
/// `create`, all hooks and `destroy` of an instance are called on one thread; another instance has another.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AppTable {
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// The name that a configuration uses.
    pub name: Str,
    /// What else there is to say about it: [`APP_SELECTS`].
    pub flags: u64,
    /// Looks at settings (JSON text of an object) without starting anything; used by `--check`, too. The host
    /// pointer is good for this call only.
    pub validate: Option<unsafe extern "C" fn(host: *const HostTable, settings: Str) -> i32>,
    /// Makes an instance. Required. The host pointer stays good for ever. The instance may stay null: nobody but the
    /// plugin looks at it.
    pub create: Option<
        unsafe extern "C" fn(host: *const HostTable, settings: Str, instance: *mut *mut c_void) -> i32,
    >,
    /// Ends an instance. Required. No hook follows.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void) -> i32>,
    /// A connection has been accepted; nothing of it has been read, but where a port serves several chains what says which of
    /// them it is (at `inboundRtmps` that lies within TLS). Only the application of the acceptor is asked.
    pub on_accept: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const ConnectRequest,
        ) -> i32,
    >,
    /// The far end asks to connect.
    pub on_connect: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const ConnectRequest,
        ) -> i32,
    >,
    /// The far end asks to publish a stream.
    pub on_publish: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const PublishRequest,
        ) -> i32,
    >,
    /// The far end asks to play a stream.
    pub on_play: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const PlayRequest) -> i32,
    >,
    /// The far end sent a command that the server does not know.
    pub on_message: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const MessageRequest,
        ) -> i32,
    >,
    /// A published stream described itself.
    pub on_metadata: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const MetadataNotice,
        ) -> i32,
    >,
    /// A publication that was allowed has ended.
    pub on_unpublish: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const StreamNotice) -> i32,
    >,
    /// A playback that was allowed has ended.
    pub on_unplay: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const StreamNotice) -> i32,
    >,
    /// The connection is gone. The last hook for it.
    pub on_close: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const CloseNotice) -> i32,
    >,
    /// A request needs no answer any more: it was put off, or its hook was still running.
    pub on_cancel: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const CancelNotice) -> i32,
    >,
    /// The far end has answered a ping.
    pub on_pong: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const PongNotice) -> i32,
    >,
    /// A frame of a stream that [`HostTable::tap`] asked for.
    pub on_frame: Option<
        unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const FrameNotice) -> i32,
    >,
    /// A stream of the application has come, or has gone, whoever publishes it.
    pub on_stream: Option<unsafe extern "C" fn(instance: *mut c_void, what: *const StreamStateNotice) -> i32>,
    /// A publication of [`HostTable::source_open`] has begun, was refused, or has ended.
    pub on_source: Option<unsafe extern "C" fn(instance: *mut c_void, what: *const SourceNotice) -> i32>,
    /// A timer of [`HostTable::timer_set`] is due.
    pub on_timer: Option<unsafe extern "C" fn(instance: *mut c_void, what: *const TimerNotice) -> i32>,
    /// A command of [`HostTable::command_add`] has been called. Answered like any request, by
    /// [`ANSWER_RESULT`](super::ANSWER_RESULT) or [`ANSWER_ERROR`](super::ANSWER_ERROR).
    pub on_command: Option<unsafe extern "C" fn(instance: *mut c_void, what: *const CommandRequest) -> i32>,
    /// What has become of a call with a ticket: [`HostTable::call`], [`HostTable::command`],
    /// [`HostTable::connect`], [`HostTable::http`], [`HostTable::pull`] or [`HostTable::push`].
    pub on_result: Option<unsafe extern "C" fn(instance: *mut c_void, what: *const ResultNotice) -> i32>,
    /// The far end wants something of a shared object. Since version 1.1.
    pub on_shared_object: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            conn: *const ConnTable,
            what: *const SharedObjectRequest,
        ) -> i32,
    >,
}

// SAFETY: a table is a constant; what it points to is constant, too.
unsafe impl Sync for AppTable {}
// SAFETY: as above.
unsafe impl Send for AppTable {}

/// The application takes no connection of its own: the server hands each to the application that its address
/// names.
pub const APP_SELECTS: u64 = 1;

/// A connection, as its connect request described it. What a protocol does not have is empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection's number.
    pub id: u64,
    /// A place for a pointer of the application's own, null at first, good until `on_close` has returned. Only to be
    /// touched within hooks of this connection.
    pub user: *mut *mut c_void,
    /// The application of the acceptor that took the connection.
    pub application: Str,
    /// Name of the chain.
    pub chain: Str,
    /// Address of the far end.
    pub peer: Str,
    /// Our address.
    pub local: Str,
    /// The raw `app` of the connect request.
    pub app: Str,
    /// What `app` says behind the application's name.
    pub instance: Str,
    /// What `app` says behind a question mark.
    pub query: Str,
    /// `tcUrl`.
    pub tc_url: Str,
    /// `swfUrl`.
    pub swf_url: Str,
    /// `pageUrl`.
    pub page_url: Str,
    /// `flashVer`, or what else the far end calls itself.
    pub agent: Str,
    /// All other members of the connect request: JSON text of an object.
    pub extra: Str,
}

/// Argument of `on_accept` and `on_connect`. The connection itself says the rest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnectRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer.
    pub request: u64,
}

/// Argument of `on_publish`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PublishRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer.
    pub request: u64,
    /// The connection's message stream.
    pub stream_id: u32,
    /// One of the `PUBLISH_…` constants.
    pub kind: u32,
    /// Stream name without its query.
    pub name: Str,
    /// What stood behind the question mark.
    pub query: Str,
}

/// Publish live, keep nothing.
pub const PUBLISH_LIVE: u32 = 0;
/// Publish and record into a new file.
pub const PUBLISH_RECORD: u32 = 1;
/// Publish and append to the recording.
pub const PUBLISH_APPEND: u32 = 2;

/// Argument of `on_play`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlayRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer.
    pub request: u64,
    /// The connection's message stream.
    pub stream_id: u32,
    /// Not 0: end what plays on this message stream; 0: queue behind it. In version 1.0 always 1.
    pub reset: u32,
    /// Stream name without its query.
    pub name: Str,
    /// What stood behind the question mark.
    pub query: Str,
    /// Milliseconds into a recording, or [`PLAY_LIVE`], or [`PLAY_ANY`].
    pub start_ms: i64,
    /// Milliseconds to play, or -1 for all.
    pub duration_ms: i64,
}

/// Only a live stream will do.
pub const PLAY_LIVE: i64 = -1;
/// A live stream if there is one, else a recording.
pub const PLAY_ANY: i64 = -2;

/// Argument of `on_message`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer.
    pub request: u64,
    /// The connection's message stream.
    pub stream_id: u32,
    /// 0: the far end waits for no answer, and the hook may give none.
    pub wants_reply: u32,
    /// The command's name.
    pub name: Str,
    /// Its arguments: JSON text of a list.
    pub args: Str,
}

/// Argument of `on_shared_object`. Since version 1.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SharedObjectRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer: yes or no to all of it. What the far end releases it does not use any more either way.
    pub request: u64,
    /// Not 0: an object that outlives its clients is meant.
    pub persistent: u32,
    /// Always 0.
    pub reserved: u32,
    /// Name of the object, with the instance.
    pub name: Str,
    /// What the far end wants, in order: JSON text of a list of objects whose `wish` is `use`, `release`, `change` (with
    /// `slot` and `value`), `remove` (with `slot`) or `send` (with `values`).
    pub wishes: Str,
}

/// Argument of `on_metadata`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MetadataNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection's message stream.
    pub stream_id: u32,
    /// Always 0.
    pub reserved: u32,
    /// Name of the published stream.
    pub name: Str,
    /// JSON text of an object.
    pub values: Str,
}

/// Argument of `on_unpublish` and `on_unplay`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection's message stream.
    pub stream_id: u32,
    /// One of the `ENDED_…` constants.
    pub why: u32,
    /// Name of the stream.
    pub name: Str,
}

/// The far end wanted it, or left.
pub const ENDED_BY_PEER: u32 = 0;
/// The server wanted it: a command, a takeover, an application.
pub const ENDED_BY_SERVER: u32 = 1;
/// A play ended because its stream did.
pub const ENDED_BY_SOURCE: u32 = 2;

/// Argument of `on_close`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CloseNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// Why, in words.
    pub reason: Str,
}

/// Argument of `on_cancel`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CancelNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number whose answer nobody waits for.
    pub request: u64,
}

/// Argument of `on_pong`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PongNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// Round trip time in ms.
    pub rtt_ms: u64,
    /// Bytes received on the connection so far.
    pub received: u64,
}

/// Argument of `on_frame`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection's message stream.
    pub stream_id: u32,
    /// Always 0.
    pub reserved: u32,
    /// Frames that were left out before this one, because the application was slow.
    pub left_out: u64,
    /// Name of the stream.
    pub name: Str,
    /// The frame.
    pub frame: *const FrameTable,
}

/// One coded picture, audio frame or piece of data.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// One of the `FRAME_…` constants.
    pub kind: u32,
    /// One of the `ROLE_…` constants. Not read where a plugin gives a frame: the body says it.
    pub role: u32,
    /// The codec as a FourCC, most significant byte first (`avc1`, `mp4a`, …); for codecs that have none `FLV` and
    /// the number that FLV gives it; 0: none. Not read where a plugin gives a frame.
    pub codec: u32,
    /// The track within its kind; 0 unless the stream is multitrack. Not read where a plugin gives a frame.
    pub track: u32,
    /// Decode time in ms.
    pub dts_ms: i64,
    /// Presentation minus decode time in ms. Not read where a plugin gives a frame.
    pub cts_ms: i32,
    /// Where in `body` the content begins: length-prefixed NAL units, raw audio, or the codec configuration. Not read
    /// where a plugin gives a frame.
    pub data_at: u32,
    /// The body of an FLV tag: a header of some bytes, then the content.
    pub body: Str,
    /// Names the memory for [`HostTable::frame_retain`]. Null where a plugin gives a frame, and in filters: such a frame
    /// cannot be retained, but copied.
    pub owner: *const c_void,
}

/// Sound.
pub const FRAME_AUDIO: u32 = 8;
/// Pictures.
pub const FRAME_VIDEO: u32 = 9;
/// Descriptions and other data.
pub const FRAME_DATA: u32 = 18;

/// Codec configuration (sequence header).
pub const ROLE_CONFIG: u32 = 0;
/// Information that a joiner needs beside the configuration.
pub const ROLE_INFO: u32 = 1;
/// Decodes without any earlier frame: a key frame, or any audio frame.
pub const ROLE_KEY: u32 = 2;
/// Needs earlier frames.
pub const ROLE_DELTA: u32 = 3;
/// Needs earlier frames, and no other frame needs it.
pub const ROLE_DISPOSABLE: u32 = 4;
/// Everything else that is passed on in order.
pub const ROLE_SIDE: u32 = 5;

/// Argument of `on_stream`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamStateNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection that publishes it, or the source.
    pub conn: u64,
    /// Not 0: the stream has come; 0: it has gone.
    pub live: u32,
    /// Always 0.
    pub reserved: u32,
    /// Name of the stream.
    pub name: Str,
}

/// Argument of `on_source`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SourceNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The source.
    pub source: u64,
    /// One of the `SOURCE_…` constants.
    pub state: u32,
    /// Always 0.
    pub reserved: u32,
    /// Why, in words; empty for [`SOURCE_LIVE`].
    pub text: Str,
}

/// The stream is published.
pub const SOURCE_LIVE: u32 = 0;
/// The stream was not published, or ends: nothing more comes of this source.
pub const SOURCE_ENDED: u32 = 1;

/// Argument of `on_timer`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TimerNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number that the application gave the timer.
    pub timer: u64,
}

/// Argument of `on_command`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CommandRequest {
    /// Size of this table in bytes.
    pub size: usize,
    /// The number to answer.
    pub request: u64,
    /// The command's name, as it was added.
    pub name: Str,
    /// Its parameters, checked and with all defaults: JSON text of an object.
    pub params: Str,
}

/// Argument of `on_result`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ResultNotice {
    /// Size of this table in bytes.
    pub size: usize,
    /// The ticket that the application gave.
    pub ticket: u64,
    /// One of the `RESULT_…` constants.
    pub status: u32,
    /// Always 0.
    pub reserved: u32,
    /// For [`HostTable::connect`] the connection's number; else 0.
    pub conn: u64,
    /// JSON text: of [`HostTable::call`] a list of arguments, of [`HostTable::command`] the whole reply, of
    /// [`HostTable::http`] an object with `status` and `headers`, of [`HostTable::pull`] and [`HostTable::push`] an object
    /// with `streamId` (the connection's message stream) and `status` (what the far end said, mostly an object with
    /// `code` and `description`; or null). Of [`RESULT_ERROR`] a string with the reason, but a
    /// list where a far end answered `_error`, and such an object where it refused a pull or push; of [`RESULT_TIMEOUT`] and [`RESULT_GONE`] `null`.
    pub value: Str,
    /// The body of the answer to [`HostTable::http`].
    pub body: Str,
}

/// It has been done, or the far end answered `_result`.
pub const RESULT_OK: u32 = 0;
/// It failed, or the far end answered `_error`.
pub const RESULT_ERROR: u32 = 1;
/// No answer came in time.
pub const RESULT_TIMEOUT: u32 = 2;
/// The connection or the server has ended.
pub const RESULT_GONE: u32 = 3;
