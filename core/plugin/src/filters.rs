//! Filters that a plugin brings: the plugin's side.

use std::ffi::c_void;
use std::marker::PhantomData;

use serde_json::{Map, Value};

use crate::abi::{self, FilterTable, FrameTable, OutTable, Str};
use crate::context::owned;
use crate::frames::Frame;
use crate::shim::guarded;

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It goes on.
    Keep,
    /// It is left out.
    Drop,
    /// It goes on with this body of an FLV tag.
    Replace(Vec<u8>),
}

/// A filter: looks at every frame of a publication before anybody else does. One is made for each publication. It
/// runs on a worker, between the socket and the players: it must not block, and a panic or an error ends the
/// publication.
pub trait Filter: Sized + 'static {
    /// Its name: the `filters` of an application list it.
    const NAME: &'static str;

    /// Makes the filter of a publication; `settings` is the table `filterSettings.<name>` of the application's block.
    fn new(settings: &Map<String, Value>) -> Result<Self, String>;

    /// Looks at a frame.
    fn on_frame(&mut self, frame: Frame<'_>) -> Result<Pass, String>;
}

/// Makes the table of a filter. For `export_plugin!`.
#[doc(hidden)]
pub struct FilterShim<T>(PhantomData<T>);

impl<T: Filter> FilterShim<T> {
    /// The table.
    pub const TABLE: FilterTable = FilterTable {
        size: size_of::<FilterTable>(),
        name: Str::new(T::NAME),
        create: Some(create::<T>),
        destroy: Some(destroy::<T>),
        on_frame: Some(on_frame::<T>),
    };
}

unsafe extern "C" fn create<T: Filter>(
    settings: Str,
    out: *const OutTable,
    instance: *mut *mut c_void,
) -> i32 {
    // SAFETY: the table is good for the call, the text is lent for it.
    let fail = |reason: &str| unsafe { ((*out).fail)(out, Str::new(reason)) };
    guarded(fail, || {
        let settings = serde_json::from_str(&owned(settings)).unwrap_or_default();
        match T::new(&settings) {
            Ok(filter) => {
                // SAFETY: the host passes a place for the instance. Boxed twice: a filter may be of no size.
                unsafe { *instance = Box::into_raw(Box::new(Box::new(filter))).cast() };
                abi::OK
            }
            Err(reason) => {
                fail(&reason);
                abi::FAILED
            }
        }
    })
}

unsafe extern "C" fn destroy<T: Filter>(instance: *mut c_void) -> i32 {
    guarded(
        |_| {},
        || {
            // SAFETY: the pointer is from `create` and the host gives it back once.
            drop(unsafe { Box::from_raw(instance.cast::<Box<T>>()) });
            abi::OK
        },
    )
}

unsafe extern "C" fn on_frame<T: Filter>(
    instance: *mut c_void,
    frame: *const FrameTable,
    out: *const OutTable,
) -> i32 {
    // SAFETY: the pointer is from `create` and lent to this call alone; frame and table are good for the call.
    let (filter, frame, table) = unsafe { (&mut **instance.cast::<Box<T>>(), &*frame, &*out) };
    // SAFETY: the text is lent for the call.
    let fail = |reason: &str| unsafe { (table.fail)(out, Str::new(reason)) };
    guarded(fail, || match filter.on_frame(Frame::new(frame)) {
        Ok(Pass::Keep) => abi::FILTER_KEEP,
        Ok(Pass::Drop) => abi::FILTER_DROP,
        Ok(Pass::Replace(body)) => {
            // SAFETY: the body is lent for the call.
            unsafe { (table.replace)(out, Str::of(&body)) };
            abi::FILTER_REPLACE
        }
        Err(reason) => {
            fail(&reason);
            abi::FAILED
        }
    })
}
