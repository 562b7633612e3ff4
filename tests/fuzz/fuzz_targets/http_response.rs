//! Responses, split in several ways, to a client that has asked.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_http::fuzz::http_response(data));
