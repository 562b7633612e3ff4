//! What a peer says first at a port that takes every kind of RTMP.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_registry::fuzz::first_byte(data));
