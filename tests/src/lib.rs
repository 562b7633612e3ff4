//! What tests of the whole server share: the real program on ports of its own, real clients, and a raw one.
//!
//! * [`Config`] writes a configuration, [`Server`] runs `crtmpserver` with it and ends it with the test.
//! * [`Launch`] starts any other program, bounded in time; [`ffmpeg`] and [`players`] know the common ones.
//! * [`fixture`] is a prepared film, [`Recording`] the packets of a file or stream, to compare with it.
//! * [`Canary`] is a healthy stream beside a hostile test: it must not notice anything.
//! * [`numbered`] is a stream of numbered pictures that needs no codec: its publisher, and what a player missed.
//! * [`ffmpeg9`] is ffmpeg 9, which knows Enhanced RTMP, with films of its codecs.
//! * [`Certificates`] are made by a test, and go with it.
//! * [`nginx`] and [`NodeMediaServer`] are other servers, [`ffmpeg`] can be one too: peers of our client side.
//! * [`flapper`] is a proxy that refuses, hangs up, falls silent and comes back.
//! * [`upstream`] is an RTMP server that does what a script says, right or wrong.
//! * [`cli`] runs commands as operators do.
//! * [`proxies`] stand between clients and server; [`tunnel`] speaks RTMPT request by request, right or wrong.
//! * [`wire`] speaks RTMP byte by byte, right or wrong; [`Namespace`] is a network that can be cut silently.
//!
//! Nothing here sleeps and hopes: a test [waits](wait_for) for an event, up to a deadline.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests wait for real programs by the real clock")]

pub mod cli;
pub mod ffmpeg;
pub mod ffmpeg9;
pub mod fixture;
pub mod flapper;
pub mod flv;
pub mod nginx;
pub mod numbered;
pub mod players;
pub mod proxies;
pub mod shared_object;
pub mod tunnel;
pub mod upstream;
pub mod wire;

mod canary;
mod certificates;
mod chunks;
mod config;
mod counters;
mod link;
mod namespace;
mod node_media_server;
mod port;
mod program;
mod recording;
mod server;
mod value;
mod wait;

pub use canary::Canary;
pub use certificates::Certificates;
pub use config::Config;
pub use counters::{Connection, Counters, Usage};
pub use namespace::Namespace;
pub use node_media_server::NodeMediaServer;
pub use port::{free_address, listens, wait_for_listener};
pub use program::{Launch, Outcome, Program};
pub use recording::{Kind, Packet, Recording};
pub use server::{Server, Service, folder_of_programs, root, services};
pub use value::{Command, Value};
pub use wait::{poll, wait_for};
