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

/// Calls `run`; a panic becomes text.
pub(crate) fn unwound<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| format!("panicked: {}", message(&*payload)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_of_ours_with_its_message() {
        let result: Result<(), Caught> = guarded(|| panic!("number {}", 7));
        assert!(matches!(result, Err(Caught::Panic(error)) if error.rule == "panicked: number 7"));
        let result: Result<(), Caught> = guarded(|| Err(Error::peer("test", "rule")));
        assert!(matches!(result, Err(Caught::Error(error)) if error.rule == "rule"));
        assert_eq!(unwound(|| 5), Ok(5));
        assert_eq!(
            unwound(|| std::panic::panic_any(5)),
            Err::<(), _>("panicked: without a message".to_owned())
        );
    }
}
