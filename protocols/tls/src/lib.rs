//! TLS 1.2 and 1.3 as a layer of a chain, around rustls.
//!
//! Ciphertext comes from the far side and content goes to the near one, and the other way round. Like all protocols
//! here it does no I/O: it opens no socket, starts no thread and logs nothing; files come in as bytes when a chain is
//! prepared ([`crtmp_media::Prepared`]). Only the time that certificates are judged by and the random bytes of keys are
//! the library's own: neither may come from a caller that makes them up. Nothing that a peer sends makes it panic, and
//! what is kept is bounded by a record, a handshake message (64 KiB) and [`BUFFER`].
//!
//! # Layout
//!
//! - [`layer`]: the layer, for connections that come and for those that the server makes.
//! - [`server`]: the certificates of an acceptor, chosen by the name that the client asks for.
//! - [`client`]: whom a connection trusts that the server makes.
//! - [`pem`] and [`ciphers`]: what keys of the configuration hold.
//! - [`words`]: what went wrong, for people.
//!
//! Start reading at [`layer::Tls`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub mod ciphers;
pub mod client;
#[doc(hidden)]
pub mod fuzz;
pub mod layer;
pub mod pem;
pub mod server;
pub mod words;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;

/// The name of this protocol in errors.
const PROTOCOL: &str = "tls";

/// Bytes of content, and of records, that one call to the library may leave in it.
pub const BUFFER: usize = 64 * 1024;

/// The one implementation of the arithmetic, named wherever it is used: the library's default may be another one.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn shared_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}

/// The examples of the README are tests as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
