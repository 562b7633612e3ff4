//! The tasks.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::step::{Failure, cargo, on_path, root, step, target};
use crate::{npm, packages, pip};

/// The configuration that `run` starts.
const CONFIGURATION: &str = "configs/crtmpserver.lua";

/// Builds everything and becomes the server.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    step(
        "build",
        &mut cargo("build --release --workspace --exclude xtask --exclude crtmp-bench --exclude crtmp-tests"),
    )?;
    let server = target().join("release/crtmpserver");
    let error = Command::new(&server).current_dir(root()).arg(CONFIGURATION).args(arguments).exec();
    Err(Failure(format!("cannot start {}: {error}", server.display())))
}

/// All that must pass before a change is taken. The tests come last, so that the last thing to read is
/// their result.
pub(crate) fn test(arguments: &[String]) -> Result<(), Failure> {
    packages::install(packages::TESTS)?;
    npm::install()?;
    pip::install()?;
    static_checks()?;
    let mut documentation = cargo("doc --no-deps --workspace");
    step("documentation", documentation.env("RUSTDOCFLAGS", "-D warnings"))?;
    // `cargo test` alone would not make the shared objects that the server loads.
    step("build", &mut cargo("build --workspace"))?;
    step("build examples", &mut cargo("build -p crtmp-rtmp --examples"))?;
    step("tests", cargo("test --workspace --no-fail-fast").env("INSTA_UPDATE", "no").args(arguments))
}

/// The part of `test` that needs nothing but Rust and no running server.
pub(crate) fn check(_: &[String]) -> Result<(), Failure> {
    static_checks()?;
    let tests = "test --workspace --exclude crtmp-tests";
    step("unit tests", cargo(tests).env("INSTA_UPDATE", "no"))
}

/// Builds everything that is measured and becomes the runner.
pub(crate) fn bench(arguments: &[String]) -> Result<(), Failure> {
    packages::install(packages::BENCHMARKS)?;
    let packages = "-p crtmp-bench -p crtmp-server -p crtmp-appselector -p crtmp-flvplayback -p crtmp-vmapp \
         -p crtmp-test-decides";
    step("build", &mut cargo(&format!("build --release {packages}")))?;
    let runner = target().join("release/crtmp-bench");
    let mut command = Command::new(&runner);
    command.current_dir(root()).arg("run").arg("--results").arg(target().join("bench")).args(arguments);
    let error = command.exec();
    Err(Failure(format!("cannot start {}: {error}", runner.display())))
}

/// Fuzzes with the nightly toolchain and cargo-fuzz.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), Failure> {
    const NEEDS: &str = "fuzzing needs the nightly toolchain and cargo-fuzz: \
        `rustup toolchain install nightly && cargo install cargo-fuzz`. \
        The committed corpus also runs, without them, as plain tests of the protocols";
    let probe = cargo_nightly("fuzz --version").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return Err(Failure(NEEDS.into()));
    }
    let targets = fuzz_targets()?;
    let chosen: Vec<&String> = match arguments.first() {
        None => targets.iter().collect(),
        Some(name) => targets.iter().filter(|target| *target == name).collect(),
    };
    if chosen.is_empty() {
        return Err(Failure(format!("no such target; there are: {}", targets.join(" "))));
    }
    let seconds: u64 = match arguments.get(1) {
        None => 60,
        Some(text) => text.parse().map_err(|_| Failure(format!("`{text}` is not a number of seconds")))?,
    };
    for target in chosen {
        let mut command = cargo_nightly("fuzz run --fuzz-dir tests/fuzz");
        // New finds go to the first folder, which is not committed; the seeds beside it are only read.
        let folder = root().join("tests/fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure(format!("cannot make {}: {error}", folder.display())))?;
        command.arg(target).arg(folder);
        command.args(seeds(target)?);
        command.args(["--", "-max_len=65536", &format!("-max_total_time={seconds}")]);
        step(&format!("fuzz {target}"), &mut command)?;
    }
    Ok(())
}

/// Licences and sources of dependencies.
pub(crate) fn deny(_: &[String]) -> Result<(), Failure> {
    if !on_path("cargo-deny") {
        return Err(Failure("cargo-deny is not installed: `cargo install --locked cargo-deny`".into()));
    }
    step("dependencies", &mut cargo("deny check licenses bans sources"))
}

fn static_checks() -> Result<(), Failure> {
    step("format", &mut cargo("fmt --all --check"))?;
    step("lints", &mut cargo("clippy --workspace --all-targets -- -D warnings"))?;
    step("header", &mut cargo("xtask header --check"))
}

/// `cargo +nightly`, which only the `cargo` of rustup understands.
fn cargo_nightly(arguments: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").args(arguments.split_whitespace()).env_remove("RUSTUP_TOOLCHAIN");
    command.current_dir(root());
    command
}

/// The folders of the committed seeds of a target: those of the protocol that it belongs to.
fn seeds(target: &str) -> Result<Vec<PathBuf>, Failure> {
    let folder = root().join("protocols");
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| Failure(format!("cannot read {}: {error}", folder.display())))?;
    let corpora = entries.flatten().map(|entry| entry.path().join("testdata/corpus").join(target));
    Ok(corpora.filter(|folder| folder.is_dir()).collect())
}

/// The files in `tests/fuzz/fuzz_targets`, in order.
fn fuzz_targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("tests/fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| Failure(format!("cannot read {}: {error}", folder.display())))?;
    let names = entries.flatten().filter_map(|entry| entry.path().file_stem()?.to_str().map(str::to_owned));
    let mut targets: Vec<String> = names.collect();
    targets.sort();
    Ok(targets)
}
