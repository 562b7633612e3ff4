//! The vocabulary of the server.
#![forbid(unsafe_code)]
mod limits;
mod value;
pub use limits::{LimitError, Limits, Seconds};
pub use value::Value;
