//! Panics stay where they happen.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crtmp_media::Error;

/// Calls `run`; a panic becomes an error of ours.
///
/// What `run` touches may be left half changed: its owner must not be used again. Only chains run in here;
/// the relay is changed outside.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Caught> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(Caught::Error),
        Err(payload) => Err(Caught::Panic(Error::ours("chain", format!("panicked: {}", message(&*payload))))),
    }
}

/// What came out of a guarded call.
pub(crate) enum Caught {
    /// An error that the chain returned.
    Error(Error),
    /// A panic; the chain is unusable.
    Panic(Error),
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
