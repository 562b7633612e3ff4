//! Streams: how frames get from one publisher to many players.
//!
//! Sans-IO: no socket, clock or thread; time is an argument. One [`Relay`] per worker, one [`Directory`] for
//! all of them.
//!
//! * A publish has a *home* on its publisher's worker. It puts frames on the stream's timeline, keeps the
//!   current group of pictures, and hands each frame once to every worker that has players.
//! * A worker with players has a *replica*. It encodes each frame once per wire format into a *log*.
//! * A player is a *cursor* into a log: joining, lag, skipping and cutting are positions in it. Nothing is
//!   queued per player.
//!
//! Start reading at [`Relay`]; the rules for slow players are in `lag.rs` and `cursor.rs`, those for what is
//! kept in `log.rs` and `gop.rs`, those for names in `directory.rs`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

mod catch_up;
mod cursor;
mod delivery;
mod directory;
mod gop;
mod home;
mod ids;
mod lag;
mod leader;
mod lens;
mod log;
mod members;
mod merge;
mod message;
mod recent;
mod relay;
mod replica;
mod report;
mod rounds;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeline;

pub use cursor::{Began, MAX_SLICES, Partial, Sent, Skips, Slices};
pub use delivery::{Delivery, Merge, Start};
pub use directory::{Directory, DuplicatePublisher, Grant, IDLE, Pulse, Refusal, Residence, Resume};
pub use home::HomeCounters;
pub use ids::{ConnectionId, Generation, Source, StreamKey, Subscription, WorkerId};
pub use merge::{Level, MergeReport, Spent};
pub use message::RelayMessage;
pub use recent::Recent;
pub use relay::{Flush, HomeId, Notice, Play, PlayOptions, PlayerId, Relay};
pub use report::{LogReport, PlayerReport, PublishReport, ReplicaReport, TrackReport};
pub use rounds::Delays;
