//! What runs the applications: their configuration, their threads, their libraries.
pub mod config;
