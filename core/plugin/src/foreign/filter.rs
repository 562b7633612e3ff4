//! Filters that a library brings, on the host's side.

use std::ffi::c_void;
use std::{fmt, ptr};

use crtmp_media::Frame;

use super::Failure;
use crate::abi::{self, FilterTable, OutTable, Str};
use crate::context::owned;
use crate::frames;

/// A filter that a library brings: makes one for each publication.
#[derive(Clone)]
pub struct FilterEntry {
    name: String,
    table: FilterTable,
}

impl FilterEntry {
    pub(super) fn new(table: FilterTable) -> Self {
        Self { name: owned(table.name), table }
    }

    pub(super) fn is_complete(&self) -> bool {
        let table = &self.table;
        !self.name.is_empty() && table.create.is_some() && table.destroy.is_some() && table.on_frame.is_some()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the filter of a publication; `settings` is JSON text of an object.
    ///
    /// # Errors
    ///
    /// What the filter says, or that it panicked.
    pub fn create(&self, settings: &str) -> Result<ForeignFilter, Failure> {
        let out = Out::new();
        let mut raw = ptr::null_mut();
        let create = self.table.create.expect("checked when the descriptor was read");
        // SAFETY: the table and the text are good for the call, `raw` is a place for the instance.
        let status = unsafe { create(Str::new(settings), out.table(), &raw mut raw) };
        Failure::of(status, out.reason.take())?;
        if raw.is_null() {
            return Err(Failure::Error("it made no instance".to_owned()));
        }
        Ok(ForeignFilter { table: self.table, raw })
    }
}

impl fmt::Debug for FilterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterEntry({})", self.name)
    }
}

/// The filter of a publication.
pub struct ForeignFilter {
    table: FilterTable,
    raw: *mut c_void,
}

/// What became of a frame.
#[derive(Debug)]
pub enum Passed {
    /// It goes on.
    Kept,
    /// It is left out.
    Dropped,
    /// It goes on with this body.
    Replaced(Vec<u8>),
}

impl ForeignFilter {
    /// Has the filter look at a frame.
    ///
    /// # Errors
    ///
    /// What the filter says, or that it panicked.
    pub fn frame(&mut self, frame: &Frame) -> Result<Passed, Failure> {
        let frame = frames::lend(frame);
        let out = Out::new();
        let hook = self.table.on_frame.expect("checked when the descriptor was read");
        // SAFETY: `raw` is alive and `&mut self` lends it to this call alone; both tables live in this frame.
        match unsafe { hook(self.raw, &raw const frame, out.table()) } {
            abi::FILTER_KEEP => Ok(Passed::Kept),
            abi::FILTER_DROP => Ok(Passed::Dropped),
            abi::FILTER_REPLACE => Ok(Passed::Replaced(out.body.take())),
            status => Failure::of(status, out.reason.take()).map(|()| Passed::Kept),
        }
    }
}

impl Drop for ForeignFilter {
    fn drop(&mut self) {
        let destroy = self.table.destroy.expect("checked when the descriptor was read");
        // SAFETY: the instance is alive, and nothing comes after `drop`. A panic in it was caught on the other side.
        let _ = unsafe { destroy(self.raw) };
    }
}

/// The table that a call is given, and what it leaves there.
#[repr(C)]
pub(super) struct Out {
    table: OutTable,
    pub(super) reason: std::cell::RefCell<String>,
    body: std::cell::RefCell<Vec<u8>>,
}

impl Out {
    pub(super) fn new() -> Self {
        let table = OutTable { size: size_of::<OutTable>(), fail, replace };
        Self { table, reason: Default::default(), body: Default::default() }
    }

    /// Made from the whole, so that the way back from the first field is allowed.
    pub(super) fn table(&self) -> *const OutTable {
        ptr::from_ref(self).cast()
    }
}

unsafe extern "C" fn fail(out: *const OutTable, reason: Str) {
    // SAFETY: the plugin passes the table that it was given, the first field of an `Out` that is alive.
    let out = unsafe { &*out.cast::<Out>() };
    out.reason.replace(owned(reason));
}

unsafe extern "C" fn replace(out: *const OutTable, body: Str) {
    // SAFETY: see above; the plugin lends its bytes for the call.
    let (out, body) = unsafe { (&*out.cast::<Out>(), body.bytes()) };
    out.body.replace(body.to_vec());
}
