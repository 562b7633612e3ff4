//! The path of a request of RTMPT.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmpt::fuzz::rtmpt_path(data));
