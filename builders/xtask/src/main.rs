//! `cargo xtask <task>`: the chores of this workspace, each one command.
//!
//! Every task is a list of [steps](step), each printed with its command and its time; the first step that
//! fails ends the task. Start reading at [`TASKS`].
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "steps are timed by the wall clock")]

mod header;
mod new_app;
mod npm;
mod packages;
mod pip;
mod step;
mod tasks;

use std::process::ExitCode;

/// A task: its name, its arguments, what it does, and the function that does it.
struct Task {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Result<(), step::Failure>,
}

const TASKS: &[Task] = &[
    Task {
        name: "run",
        arguments: "[argument…]",
        summary: "build everything (release) and start the server with configs/crtmpserver.lua",
        run: tasks::run,
    },
    Task {
        name: "test",
        arguments: "[argument of cargo test…]",
        summary: "install what the tests need, then format check, clippy, docs and all tests",
        run: tasks::test,
    },
    Task {
        name: "check",
        arguments: "",
        summary: "the quick part of `test`: format check, clippy, unit tests",
        run: tasks::check,
    },
    Task {
        name: "bench",
        arguments: "[--quick] [--only a,b]",
        summary: "measure the server beside nginx-rtmp and a floor; the whole run is written into docs/performance.md",
        run: tasks::bench,
    },
    Task {
        name: "fuzz",
        arguments: "[target] [seconds]",
        summary: "fuzz one target, or all of them in turn, for so many seconds each (60)",
        run: tasks::fuzz,
    },
    Task {
        name: "new-app",
        arguments: "NAME [DIR] [--c|--lua] [--sdk PATH]",
        summary: "make an application outside of this tree, in Rust, C or Lua, with this plugin kit or another",
        run: new_app::run,
    },
    Task {
        name: "header",
        arguments: "[--check]",
        summary: "write core/plugin/include/crtmp_plugin.h, or check that it is what core/plugin/src/abi says",
        run: header::run,
    },
    Task {
        name: "deny",
        arguments: "",
        summary: "check licences, duplicates and sources of all dependencies (deny.toml)",
        run: tasks::deny,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("xtask: no task is called `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("Usage: cargo xtask <task>\n\n");
    for task in TASKS {
        let call = format!("{} {}", task.name, task.arguments);
        text.push_str(&format!("  {call:<32}{}\n", task.summary));
    }
    text
}
