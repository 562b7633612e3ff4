//! What runs the applications: their configuration, their threads, their libraries.
pub mod apps;
pub mod config;
pub mod plugins;
