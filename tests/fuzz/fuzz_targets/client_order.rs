//! Orders of an application and words of a server, in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmp::fuzz::client_order(data));
