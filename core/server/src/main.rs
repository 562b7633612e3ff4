//! The program `crtmpserver`.
#![allow(dead_code)]
mod logging;
mod lua;
fn main() {}
