//! A session of a command line interface, its bytes split in several ways.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| crtmp_cli::fuzz::cli_line(data));
