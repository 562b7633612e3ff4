//! The C side of the contract: tables, constants and nothing else.
//!
//! Rust authors never need this module; it is public because the host reads it and because a plugin may be
//! written in C. The rules are few (`docs/plugins.md` has them with reasons):
//!
//! - One exported symbol per library: the static [`PluginTable`] named [`SYMBOL`].
//! - Every table begins with its size (the descriptor: with the magic, then its size). Tables grow at the end
//!   only; a reader takes the fields that the size covers and treats the others as absent.
//! - An absent hook is a null pointer. The host then decides by itself and never calls.
//! - Strings are UTF-8, pointer and length, **borrowed for the call**. Nobody frees the other side's memory.
//! - Connections and requests are numbers. A stale number is answered with [`GONE`].
//! - Every call returns a status; nothing unwinds over the border.

use core::ffi::c_void;
use core::ptr;

/// Name of the exported descriptor, ready for `dlsym`. It carries the major version: two majors can never be
/// mistaken for each other.
pub const SYMBOL: &[u8] = b"CRTMP_PLUGIN_V1\0";

/// First field of the descriptor: the letters `CRTMPLUG`.
pub const MAGIC: u64 = u64::from_be_bytes(*b"CRTMPLUG");

/// Changes when an existing field or hook changes its meaning. Host and plugin must agree exactly.
pub const ABI_MAJOR: u32 = 1;

/// Grows when a table grows. A plugin may be older than its host, never newer.
pub const ABI_MINOR: u32 = 0;

/// Done. A hook that answers a request has called [`HostTable::respond`] before it returns this.
pub const OK: i32 = 0;
/// A hook's way to say that the answer comes later, by [`HostTable::respond`] from any thread.
pub const LATER: i32 = 1;
/// The call failed; the reason was given to [`HostTable::fail`].
pub const FAILED: i32 = -1;
/// The call panicked (was caught in the shim); the text was given to [`HostTable::fail`].
pub const PANICKED: i32 = -2;
/// The connection or request is no more.
pub const GONE: i32 = -3;
/// An argument made no sense.
pub const INVALID: i32 = -4;

/// Text of somebody else, valid until the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    /// First byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Bytes.
    pub len: usize,
}

impl Str {
    /// No text.
    pub const EMPTY: Self = Self { ptr: ptr::null(), len: 0 };

    /// Lends a string. The borrow ends with the call that it is an argument of; the compiler cannot see that.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The bytes that were lent.
    ///
    /// # Safety
    /// `ptr` and `len` describe readable memory that stays unchanged for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller vouches for pointer, length and lifetime.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// What a library exports: who it is and what it brings.
#[repr(C)]
pub struct PluginTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// [`ABI_MAJOR`] of the header that the plugin was built with.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the same.
    pub abi_minor: u32,
    /// Name of the plugin.
    pub name: Str,
    /// Version of the plugin, free text.
    pub version: Str,
    /// `app_count` pointers to tables. Pointers, so that tables may differ in size.
    pub apps: *const *const AppTable,
    /// How many applications the library brings.
    pub app_count: usize,
}

// SAFETY: a descriptor is a constant; what it points to is constant, too.
unsafe impl Sync for PluginTable {}

/// An application: its name and its entry points. Any hook may be null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AppTable {
    /// Size of this table in bytes, as its author knew it.
    pub size: usize,
    /// The name that a configuration uses.
    pub name: Str,
    /// Looks at settings (JSON text of an object) without starting anything; used by `--check`, too. The host
    /// pointer is good for this call only.
    pub validate: Option<unsafe extern "C" fn(host: *const HostTable, settings: Str) -> i32>,
    /// Makes an instance. Required. The host pointer stays good for ever.
    pub create: Option<
        unsafe extern "C" fn(host: *const HostTable, settings: Str, instance: *mut *mut c_void) -> i32,
    >,
    /// Ends an instance. Required. No hook follows.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void) -> i32>,
    /// The far end asks to connect.
    pub on_connect: Option<Hook<ConnectRequest>>,
    /// The far end asks to publish a stream.
    pub on_publish: Option<Hook<PublishRequest>>,
    /// The far end asks to play a stream.
    pub on_play: Option<Hook<PlayRequest>>,
    /// The far end sent a command that the server does not know.
    pub on_message: Option<Hook<MessageRequest>>,
    /// A published stream described itself.
    pub on_metadata: Option<Hook<MetadataNotice>>,
    /// A publication that was allowed has ended.
    pub on_unpublish: Option<Hook<StreamNotice>>,
    /// A playback that was allowed has ended.
    pub on_unplay: Option<Hook<StreamNotice>>,
    /// The connection is gone. The last hook for it.
    pub on_close: Option<Hook<CloseNotice>>,
    /// A request that was put off needs no answer any more.
    pub on_cancel: Option<Hook<CancelNotice>>,
    /// What else there is to say about it: [`SELECTS`].
    pub flags: u64,
}

/// The application takes no connection of its own: the server hands each to the application that its address
/// names.
pub const SELECTS: u64 = 1;

// SAFETY: as for `PluginTable`.
unsafe impl Sync for AppTable {}
// SAFETY: as for `PluginTable`.
unsafe impl Send for AppTable {}

/// Every hook has this shape: the instance, the connection, what happened.
pub type Hook<T> = unsafe extern "C" fn(instance: *mut c_void, conn: *const ConnTable, what: *const T) -> i32;

/// What the server does for a plugin. The pointer is the identity: every function takes it first. All of them may
/// be called from any thread and never block.
#[repr(C)]
pub struct HostTable {
    /// Size of this table in bytes. A plugin that was let in finds at least the fields that it was built with.
    pub size: usize,
    /// Writes a log line; levels from 0 (fatal) to 6 (finest).
    pub log: unsafe extern "C" fn(host: *const Self, level: u32, text: Str),
    /// Milliseconds of a clock that never goes back.
    pub now_ms: unsafe extern "C" fn(host: *const Self) -> u64,
    /// Says why the current `validate`, `create` or hook is about to return [`FAILED`] or [`PANICKED`].
    pub fail: unsafe extern "C" fn(host: *const Self, reason: Str),
    /// Answers a request: in its hook, or later from any thread. The second answer gets [`GONE`].
    pub respond: unsafe extern "C" fn(host: *const Self, request: u64, answer: *const AnswerTable) -> i32,
    /// Asks the server to close a connection; code and text tell its peer why.
    pub close_connection: unsafe extern "C" fn(host: *const Self, conn: u64, code: Str, text: Str) -> i32,
}

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
/// No: code `first` (empty: the usual one), text `second`.
pub const ANSWER_REJECT: u32 = 4;
/// Go to the address `first`.
pub const ANSWER_REDIRECT: u32 = 5;
/// A command's result: JSON text `first`.
pub const ANSWER_RESULT: u32 = 6;
/// A command's error: JSON text `first`.
pub const ANSWER_ERROR: u32 = 7;
/// This application does not know the command.
pub const ANSWER_IGNORE: u32 = 8;

/// A connection, as its connect request described it. What a protocol does not have is empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnTable {
    /// Size of this table in bytes.
    pub size: usize,
    /// The connection's number.
    pub id: u64,
    /// The application of the acceptor that took the connection.
    pub application: Str,
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
    /// `flashVer`.
    pub flash_ver: Str,
    /// All other members of the connect request: JSON text of an object.
    pub extra: Str,
}

/// Argument of `on_connect`. The connection itself says the rest.
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
    /// Not 0: end what plays on this message stream; 0: queue behind it.
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
    /// 0: the far end waits for no answer.
    pub wants_reply: u32,
    /// The command's name.
    pub name: Str,
    /// Its arguments: JSON text of a list.
    pub args: Str,
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
    /// Always 0.
    pub reserved: u32,
    /// Name of the stream.
    pub name: Str,
}

/// Argument of `on_close`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CloseNotice {
    /// Size of this table in bytes.
    pub size: usize,
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

/// Where the fields lie is the contract: what is listed here never moves. New fields get a line at the end of their
/// list, and [`ABI_MINOR`] grows.
#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use core::mem::offset_of;

    use super::*;

    macro_rules! layout {
        ($table:ty: $($field:ident $offset:literal),+; $size:literal) => {
            $(assert_eq!(offset_of!($table, $field), $offset, stringify!($table, $field));)+
            assert_eq!(size_of::<$table>(), $size, stringify!($table));
        };
    }

    #[test]
    fn no_field_moves() {
        layout!(Str: ptr 0, len 8; 16);
        layout!(PluginTable: magic 0, size 8, abi_major 16, abi_minor 20, name 24, version 40, apps 56,
            app_count 64; 72);
        layout!(AppTable: size 0, name 8, validate 24, create 32, destroy 40, on_connect 48, on_publish 56,
            on_play 64, on_message 72, on_metadata 80, on_unpublish 88, on_unplay 96, on_close 104,
            on_cancel 112, flags 120; 128);
        layout!(HostTable: size 0, log 8, now_ms 16, fail 24, respond 32, close_connection 40; 48);
        layout!(AnswerTable: size 0, kind 8, reserved 12, first 16, second 32; 48);
        layout!(ConnTable: size 0, id 8, application 16, peer 32, local 48, app 64, instance 80, query 96,
            tc_url 112, swf_url 128, page_url 144, flash_ver 160, extra 176; 192);
        layout!(ConnectRequest: size 0, request 8; 16);
        layout!(PublishRequest: size 0, request 8, stream_id 16, kind 20, name 24, query 40; 56);
        layout!(PlayRequest: size 0, request 8, stream_id 16, reset 20, name 24, query 40, start_ms 56,
            duration_ms 64; 72);
        layout!(MessageRequest: size 0, request 8, stream_id 16, wants_reply 20, name 24, args 40; 56);
        layout!(MetadataNotice: size 0, stream_id 8, reserved 12, name 16, values 32; 48);
        layout!(StreamNotice: size 0, stream_id 8, reserved 12, name 16; 32);
        layout!(CloseNotice: size 0; 8);
        layout!(CancelNotice: size 0, request 8; 16);
    }
}
