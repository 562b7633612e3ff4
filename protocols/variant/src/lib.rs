//! The variant protocols of crtmpserver: values as XML, binary or JSON, over TCP or HTTP.
//!
//! This crate does no I/O: bytes go in, values come out, and back. Nothing that a peer sends makes it panic, and
//! memory follows what was sent, within [`crtmp_media::Limits`].
//!
//! # Layout
//!
//! - [`encode_xml`], [`encode_binary`], [`encode_json`] and their opposites: between bytes and
//!   [`Value`](crtmp_media::Value)s. [`Encoding`] names the three.
//! - [`frame`]: messages on a stream of bytes.
//! - [`layer`]: the endpoints of chains, over bytes and over HTTP.
//!
//! Start reading at [`decode_binary`], which is the smallest. What the formats look like is in the README.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

mod array;
mod binary;
mod budget;
mod date;
mod encoding;
mod error;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
mod json;
pub mod layer;
mod number;
mod xml;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod testing;

pub use binary::{decode_binary, encode_binary};
pub use encoding::Encoding;
pub use error::{VariantError, VariantErrorKind};
pub use json::{decode_json, encode_json};
pub use xml::{decode_xml, encode_xml};

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
