//! The program `crtmpserver`: reads the command line and the configuration, starts the server, minds signals.
#![allow(clippy::disallowed_methods, reason = "the program reads the clock for its log and its deadlines")]

mod chains;
mod cli;
mod logging;
mod lua;
mod process;
mod run;
mod services;

use std::process::ExitCode;

#[global_allocator]
static MEMORY: process::Memory = process::Memory;

fn main() -> ExitCode {
    process::use_large_pages();
    process::keep_descriptors();
    match cli::Cli::read(std::env::args_os()) {
        Ok(cli) if cli.test_app => run::test_app(&cli.file),
        Ok(cli) => run::run(&cli),
        Err(exit) if exit.code == 0 => {
            print!("{}", exit.text);
            ExitCode::SUCCESS
        }
        Err(exit) => {
            eprint!("{}", exit.text);
            ExitCode::from(exit.code)
        }
    }
}
