//! Either side of a connection, as messages.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmp::fuzz::wire(data));
