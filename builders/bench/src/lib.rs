//! Measuring an RTMP server: a load generator, a floor beneath every server, and a runner that sets servers side by side.
//!
//! # Layout
//!
//! - [`clock`]: the one clock of all processes. [`quantiles`]: distributions of times.
//! - [`stamp`] and [`source`]: the synthetic stream. [`judge`]: what a player makes of it.
//! - [`load`]: the load generator; tests use it as a library.
//! - [`floor`]: a program that only writes prepared bytes.
//! - [`measure`]: what processes take. [`runner`]: servers side by side.
//!
//! Start reading at [`load::Plan`].
#![forbid(unsafe_code)]

pub mod clock;
pub mod floor;
pub mod judge;
pub mod load;
pub mod measure;
pub mod quantiles;
pub mod runner;
pub mod source;
pub mod stamp;
