//! Steps of a session of RTMPT: requests in any order, answers, and who leaves.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmpt::fuzz::rtmpt(data));
