//! Requests, split in several ways, through a chain that answers them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_http::fuzz::http_request(data));
