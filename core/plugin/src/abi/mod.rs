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
//! - Connections and requests are numbers. What comes too late is answered with [`GONE`], or does nothing.
//! - A later server may send numbers that are not listed. They are passed over, or taken for the mildest of their kind.
//! - Pointers and sizes have 64 bits.
//! - Every call returns a status; nothing unwinds over the border.

mod app;
mod host;
mod layer;
#[cfg(test)]
mod tests;

use core::ffi::c_char;
use core::ptr;

pub use app::*;
pub use host::*;
pub use layer::*;

/// Name of the exported descriptor, ready for `dlsym`. It carries the major version: two majors can never be
/// mistaken for each other.
pub const SYMBOL: &[u8] = b"CRTMP_PLUGIN_V1\0";

/// First field of the descriptor: the letters `CRTMPLUG`.
pub const MAGIC: u64 = 0x4352_544D_504C_5547;

/// Changes when an existing field or hook changes its meaning. Host and plugin must agree exactly.
pub const ABI_MAJOR: u32 = 1;

/// Grows when a table grows. A plugin may be older than its host, never newer.
pub const ABI_MINOR: u32 = 1;

/// Done; of a call of the host: it was taken. A hook that answers a request has called [`HostTable::respond`] before it
/// returns this.
pub const OK: i32 = 0;
/// A hook's way to say that the answer comes later, by [`HostTable::respond`] from any thread.
pub const LATER: i32 = 1;
/// The call failed; the reason was given to [`HostTable::fail`].
pub const FAILED: i32 = -1;
/// The call panicked (was caught in the shim); the text was given to [`HostTable::fail`].
pub const PANICKED: i32 = -2;
/// The request, the source or whatever else it was about is no more. A hook may return it, as all that
/// [`HostTable::respond`] returned: that somebody was faster, or nobody waits any more, is no fault.
pub const GONE: i32 = -3;
/// An argument made no sense.
pub const INVALID: i32 = -4;
/// There is no room; try again later.
pub const FULL: i32 = -5;

/// Text or bytes of somebody else, valid until the call returns. Text unless its place says something else.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    /// First byte; may be null when `len` is 0. Nothing ends the text but its length.
    pub ptr: *const c_char,
    /// Bytes. More than `PTRDIFF_MAX` are none.
    pub len: usize,
}

impl Str {
    /// No text.
    pub const EMPTY: Self = Self { ptr: ptr::null(), len: 0 };

    /// Lends a string. The borrow ends with the call that it is an argument of; the compiler cannot see that.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr().cast(), len: text.len() }
    }

    /// Lends bytes, likewise.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// The bytes that were lent.
    ///
    /// # Safety
    /// `ptr` and `len` describe readable memory that stays unchanged for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 || isize::try_from(self.len).is_err() {
            return &[];
        }
        // SAFETY: the caller vouches for pointer, length and lifetime.
        unsafe { core::slice::from_raw_parts(self.ptr.cast(), self.len) }
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
    /// `layer_count` pointers to tables.
    pub layers: *const *const LayerTable,
    /// How many layers the library brings.
    pub layer_count: usize,
    /// `chain_count` pointers to tables.
    pub chains: *const *const ChainTable,
    /// How many chains the library brings.
    pub chain_count: usize,
    /// `filter_count` pointers to tables.
    pub filters: *const *const FilterTable,
    /// How many filters the library brings.
    pub filter_count: usize,
}

// SAFETY: a descriptor is a constant; what it points to is constant, too.
unsafe impl Sync for PluginTable {}
