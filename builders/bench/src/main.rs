//! `crtmp-bench`: load generator, floor, and the runner that sets servers side by side.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crtmp-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
