//! Commands of a peer and decisions of an application, in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmp::fuzz::session_order(data));
