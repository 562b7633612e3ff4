//! Headers of audio and video messages, with multitrack and ModEx.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_rtmp::fuzz::tag(data));
