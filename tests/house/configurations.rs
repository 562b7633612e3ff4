//! Every configuration in `configs/` is a good one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{files, read};
use crtmp_tests::{Launch, Program, Server, ffmpeg, root, services, wait_for, wire};
use nix::sys::signal::Signal;

/// Time for whatever happens at once on an idle machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn each_configuration_passes_its_check() {
    let configurations = configurations();
    assert!(!configurations.is_empty(), "there are none");
    for path in configurations {
        let outcome = Server::run(&["--check", &root().join(&path).to_string_lossy()]);
        assert_eq!(outcome.code, Some(0), "{}: {}{}", path.display(), outcome.stdout, outcome.stderr);
    }
}

#[test]
fn each_configuration_starts_and_serves() {
    for path in configurations() {
        let running = Running::start(&path);
        for address in running.addresses("inboundRtmp") {
            // Whoever publishes under the name that all the documents use is served.
            let _publisher = wire::Client::publisher(address, "live", "stream");
            let mut player = wire::Client::player(address, "live", "stream");
            player.expect("NetStream.Play.Start");
        }
        running.stop();
    }
}

#[test]
fn each_script_of_a_configuration_passes_its_tests() {
    for path in scripts() {
        let outcome = Server::run(&["--test-app", &root().join(&path).to_string_lossy()]);
        assert_eq!(outcome.code, Some(0), "{}: {}{}", path.display(), outcome.stdout, outcome.stderr);
    }
}

/// The first thing that an operator tries, with the configuration that everybody begins with.
#[test]
fn an_operator_asks_the_shipped_configuration_by_netcat() {
    let running = Running::start(Path::new("configs/crtmpserver.lua"));
    let rtmp = running.addresses("inboundRtmp")[0];
    let _publisher = ffmpeg::publish_film(&format!("rtmp://{rtmp}/live/film")).start();
    let port = running.addresses("inboundTxtCli")[0].port();
    let ask = format!(r"printf 'help\nlistStreams\nquit\n' | nc -w 10 127.0.0.1 {port}");
    let said = wait_for("the stream to be listed", SOON, || {
        let outcome = Launch::new("sh").arg("-c").arg(&ask).within(SOON).run().success();
        outcome.stdout.contains("film").then_some(outcome.stdout)
    });
    for word in ["listStreams", "shutdownServer", "closeConnection", "flvplayback", "Bye!"] {
        assert!(said.contains(word), "{word:?} is not in\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 160), "lines that no terminal shows:\n{said}");
    running.stop();
}

/// A server with a configuration of the tree, on free ports.
struct Running {
    server: Program,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(path: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join(path.file_name().expect("a file"));
        std::fs::write(&copy, with_free_ports(&read(path))).expect("a temporary file");
        for script in scripts() {
            let copy = folder.path().join(&script);
            std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a temporary folder");
            std::fs::write(copy, read(&script)).expect("a temporary file");
        }
        let launch = Launch::new(Server::executable()).arg(&copy).env("LOG_FOLDER", folder.path());
        let mut server = launch.folder(folder.path()).unlimited().start();
        wait_for(&format!("{} to start", path.display()), SOON, || {
            assert!(server.runs(), "{} does not start: {}", path.display(), server.stderr());
            server.stdout().contains(" is ready (pid ").then_some(())
        });
        Self { server, _folder: folder }
    }

    /// Where it listens with a chain.
    fn addresses(&self, chain: &str) -> Vec<SocketAddr> {
        let services = services(&self.server.stdout());
        let ports = services.iter().filter(|service| service.chain == chain);
        ports.map(|service| SocketAddr::from(([127, 0, 0, 1], service.address.port()))).collect()
    }

    fn stop(mut self) {
        self.server.signal(Signal::SIGTERM);
        self.server.wait(SOON).success();
    }
}

#[test]
fn ports_are_found_in_a_configuration() {
    let text =
        with_free_ports("{ ip = \"0.0.0.0\", port = 1935, protocol = \"x\" } port=80\nsupport = 7 port = p");
    assert_eq!(text, "{ ip = \"0.0.0.0\", port = 0, protocol = \"x\" } port=0\nsupport = 7 port = p");
}

fn configurations() -> Vec<PathBuf> {
    files("lua").into_iter().filter(|path| path.parent() == Some(Path::new("configs"))).collect()
}

/// The applications in Lua that they use, by paths from the root.
fn scripts() -> Vec<PathBuf> {
    files("lua").into_iter().filter(|path| path.starts_with("configs/scripts")).collect()
}

/// The same script with 0 for every port that it states as a number: tests run beside each other.
fn with_free_ports(script: &str) -> String {
    let mut out = String::new();
    let mut rest = script;
    while let Some(at) = rest.find("port") {
        let (before, word) = rest.split_at(at);
        let inside = before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        let value = word["port".len()..].trim_start().strip_prefix('=').map(str::trim_start);
        let digits = value
            .map_or(0, |value| value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        out.push_str(before);
        match value {
            Some(value) if digits > 0 && !inside => {
                out.push_str(&word[..word.len() - value.len()]);
                out.push('0');
                rest = &value[digits..];
            }
            _ => {
                out.push_str("port");
                rest = &word["port".len()..];
            }
        }
    }
    out + rest
}
