//! Applications from the templates: made outside of the tree, built, tested, and run by the real server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::{Config, Launch, Server, ffmpeg, folder_of_programs, root, wait_for};

use crate::SOON;

/// A busy machine builds a few crates within this.
const BUILD: Duration = Duration::from_secs(300);

#[test]
fn an_application_in_rust_works_from_the_template() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Outside of this tree all the way: with a copy of what docs/plugins.md says is needed.
    let kit = folder.path().join("kit");
    for part in ["Cargo.toml", "core/media", "core/plugin"] {
        copy(&root().join(part), &kit.join(part));
    }
    let block = make("oxide", folder.path(), &format!("--sdk {}", kit.display()));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let project = folder.path().join("oxide");
    for task in ["test --offline", "build --offline"] {
        // A folder that is meant for this tree would mix up what is built.
        let target = project.join("target");
        let launch = Launch::new(&cargo).args(task).folder(&project).env("CARGO_TARGET_DIR", target);
        launch.within(BUILD).run().success();
    }
    runs_in_the_server("oxide", &block.replace("/release/", "/debug/"));
}

#[test]
fn an_application_in_c_works_from_the_template() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let block = make("sea", folder.path(), "--c");
    let project = folder.path().join("sea");
    Launch::new("make").arg("test").folder(&project).within(BUILD).run().success();
    Launch::new("make").folder(&project).within(BUILD).run().success();
    runs_in_the_server("sea", &block);
}

#[test]
fn an_application_in_lua_works_from_the_template() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let block = make("moon", folder.path(), "--lua");
    let script = folder.path().join("moon/moon.lua");
    Launch::new(Server::executable()).args("--test-app").arg(script).within(SOON).run().success();
    runs_in_the_server("moon", &block);
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("it is there") {
            let entry = entry.expect("it can be read");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().expect("a folder")).expect("it can be made");
        fs::copy(from, to).expect("it can be copied");
    }
}

/// Has xtask make an application; gives the block that it prints for the configuration.
fn make(name: &str, folder: &Path, options: &str) -> String {
    let xtask = folder_of_programs().join("xtask");
    assert!(xtask.is_file(), "{} is missing: run `cargo xtask test`", xtask.display());
    let launch = Launch::new(xtask).arg("new-app").arg(name).arg(folder.join(name)).args(options);
    let output = launch.within(SOON).run().success().stdout;
    let block = &output[output.find('{').expect("a block")..];
    block.trim().trim_end_matches(',').to_owned()
}

/// The application refuses, renames and counts.
fn runs_in_the_server(name: &str, block: &str) {
    let server = Server::start(&Config::new().block(block).block(&administrator()));
    let url = |stream: &str| format!("rtmp://{}/{name}/{stream}", server.address());

    let refused = ffmpeg::publish_film(&url("bad")).within(SOON).run();
    assert_ne!(refused.code, Some(0), "it is refused");
    let text = format!("{name} takes no bad streams");
    assert!(refused.stderr.contains(&text), "{text:?} is not in {}", refused.stderr);

    let _publisher = ffmpeg::publish_film(&url("a")).start();
    server.wait_for_publisher("b");
    assert_eq!(ffmpeg::codecs(&url("b")), ["aac", "h264"]);
    let command = format!("{name}Frames");
    let frames = wait_for("frames to be counted", SOON, || {
        Session::guest(&server).done(&command)["frames"].as_u64().filter(|frames| *frames > 0)
    });
    assert!(frames < 10_000, "{frames}");
    server.stop();
}
