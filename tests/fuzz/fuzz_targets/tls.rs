//! Bytes to both sides of TLS, before, within and after a handshake; records that are damaged on their way.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_tls::fuzz::tls(data));
