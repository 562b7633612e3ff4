//! Messages about shared objects, read and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmp::fuzz::shared_object(data));
