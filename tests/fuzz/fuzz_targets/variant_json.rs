//! Variants in JSON, read and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_variant::fuzz::variant_json(data));
