//! RTMPT: connections that travel in requests and responses of HTTP, where nothing else gets through.
//!
//! Layers of chains that do no I/O, next to HTTP. How the requests of a session are put in order is
//! [`crtmp_media::Order`], since the reactor keeps the sessions: they live on one worker, and their requests come to any.
//!
//! - [`server`]: the layer `rtmpt`, of connections that carry sessions of others.
//! - [`client`]: the layer `outboundrtmpt`, of a connection that is such a session at the far end.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod client;
#[doc(hidden)]
pub mod fuzz;
pub mod server;
