//! What a proxy says first: more than a header changes nothing, and less is never one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_reactor::fuzz_proxy_header(data));
