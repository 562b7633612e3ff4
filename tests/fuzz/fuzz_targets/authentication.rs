//! What peers and users files say of who somebody is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_host::fuzz::authentication(data));
