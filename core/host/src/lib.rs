//! The control plane: configuration, applications on their threads, plugin libraries, and the running server.
//!
//! Workers move bytes and never wait; everything that may wait lives here. Where to start:
//!
//! * [`config`] is the configuration as plain data, its checks and its difference to another one.
//! * [`plugins`] loads libraries, [`apps`] runs what they bring, each application on a thread of its own.
//! * [`web`] asks other servers over HTTP, [`events`] tells them and files what happens; [`secrets`] keeps
//!   passwords out of both.
//! * [`outbound`] is where the server may connect to by itself, and what finds the addresses of names.
//! * `links` pulls streams from other servers and pushes streams to them.
//! * `shared_objects` are what clients of an application share, and its files.
//! * `processes` are the programs that commands launch.
//! * [`server`] puts ports, applications and workers together, and takes them apart again.
#![allow(
    clippy::disallowed_methods,
    reason = "the control plane has a clock of its own: hooks and stops have deadlines"
)]

pub mod apps;
mod auth;
pub mod chains;
pub mod commands;
pub mod config;
pub mod events;
pub mod fuzz;
mod links;
pub mod outbound;
mod outside;
pub mod plugins;
mod processes;
pub mod secrets;
pub mod server;
mod shared_objects;
mod trust;
pub mod web;
