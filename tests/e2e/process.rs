//! The program and its process: command line, signals, reload, daemon mode.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crtmp_tests::wire::Client;
use crtmp_tests::{
    Config, Kind, Launch, Recording, Server, ffmpeg, folder_of_programs, poll, services, wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{SOON, file, free_port};

#[test]
fn version_and_help_are_told() {
    let version = Server::run(&["--version"]).success();
    assert!(version.stdout.starts_with("crtmpserver "), "{}", version.stdout);
    let help = Server::run(&["--help"]).success();
    for option in ["--check", "--daemon", "--pid", "--uid", "--gid", "--use-implicit-console-appender"] {
        assert!(help.stdout.contains(option), "{option} is missing in {}", help.stdout);
    }
}

#[test]
fn a_wrong_command_line_fails() {
    for arguments in [&[][..], &["--demon", "x.lua"], &["/nowhere/x.lua"]] {
        let outcome = Server::run(arguments);
        assert_eq!(outcome.code, Some(1), "{arguments:?}");
        assert!(!outcome.stderr.is_empty(), "{arguments:?} tells nothing");
    }
}

#[test]
fn a_check_shows_every_default() {
    let (folder, path) = file("server.lua");
    fs::write(&path, Config::new().text(folder.path(), &folder_of_programs())).expect("a temporary file");
    let outcome = Server::run(&["--check", &path.to_string_lossy()]).success();
    for key in ["publisherReturn", "handshakeTimeout", "shutdownTimeout"] {
        assert!(outcome.stdout.contains(key), "{key} is missing in {}", outcome.stdout);
    }
}

#[test]
fn sigterm_and_sigint_end_the_server_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(&Config::new());
        let _client = Client::connected(server.address(), "live");
        server.signal(signal);
        server.ended();
    }
}

#[test]
fn players_are_told_that_the_server_ends() {
    let server = Server::start(&Config::new());
    let url = server.url("one");
    let _publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let recording = Recording::start(&url);
    wait_for("a picture", SOON, || {
        (!Recording::of_program(&recording).of(Kind::Video).is_empty()).then_some(())
    });
    let player = ffmpeg::play(&url).start();
    let mut client = Client::player(server.address(), "live", "one");
    client.expect("NetStream.Play.Start");
    server.wait_for_counters("the players", SOON, |counters| {
        (counters.players_of("one").len() >= 3).then_some(())
    });
    let log = server.stop();
    client.expect("NetStream.Play.UnpublishNotify");
    player.wait(SOON).success();
    recording.wait(SOON).success();
    assert!(log.trim_end().lines().last().is_some(), "no last line in the log");
}

#[test]
fn the_counters_tell_what_the_process_takes() {
    let server = Server::start(&Config::new());
    let before = server.counters().usage();
    let clients: Vec<Client> = (0..10).map(|_| Client::connected(server.address(), "live")).collect();
    let during = server.counters().usage();
    assert_eq!((during.files, during.threads), (before.files + 10, before.threads));
    assert!(during.allocated > before.allocated, "{before:?}, {during:?}");
    let folder = |name: &str| fs::read_dir(format!("/proc/{}/{name}", server.id())).expect("it runs").count();
    assert_eq!((during.files, during.threads), (folder("fd") as u64, folder("task") as u64));
    assert!(during.resident > 1 << 20 && during.resident < 1 << 30, "{during:?}");
    drop(clients);
    server.wait_for_counters("all files closed", SOON, |counters| {
        (counters.usage().files == before.files).then_some(())
    });
    server.stop();
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    // A player that reads nothing keeps the server from ending at once.
    let server = Server::start(&Config::new().top("shutdownTimeout", "60"));
    let url = server.url("one");
    let _publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut client = Client::player(server.address(), "live", "one");
    client.expect("NetStream.Play.Start");
    server.signal(Signal::SIGTERM);
    let asked = Instant::now();
    // Two signals of a kind that come together are one; it may end by itself in between.
    poll(Duration::from_millis(300), || (!server.runs()).then_some(()));
    server.signal(Signal::SIGTERM);
    wait_for("the end of the server", Duration::from_secs(3), || (!server.runs()).then_some(()));
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn sighup_reopens_the_log() {
    let server = Server::start(&Config::new());
    let log = server.folder().join("server.log");
    wait_for("the log", SOON, || log.is_file().then_some(()));
    fs::rename(&log, server.folder().join("old.log")).expect("the log can be moved");
    server.signal(Signal::SIGHUP);
    wait_for("a new log", SOON, || log.is_file().then_some(()));
    let _client = Client::connected(server.address(), "live");
    wait_for("lines in the new log", SOON, || (!server.log().is_empty()).then_some(()));
    server.stop();
}

/// A process that is killed with its test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// LOG-03: a pipe for the log that nobody reads any more is no reason to end.
#[test]
fn a_console_that_is_gone_costs_nothing() {
    let (folder, path) = file("server.lua");
    let console = "logAppenders = {\n    { name = \"console\", type = \"console\", level = 6 },";
    let text =
        Config::new().text(folder.path(), &folder_of_programs()).replacen("logAppenders = {", console, 1);
    fs::write(&path, text).expect("a temporary file");
    let mut command = std::process::Command::new(Server::executable());
    let command = command.arg(&path).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Child(command.spawn().expect("the server starts"));
    let mut reader = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut output = String::new();
    while !output.contains(" is ready (pid ") {
        assert_ne!(reader.read_line(&mut output).expect("its output"), 0, "{output}");
    }
    drop(reader);
    let address = services(&output).first().expect("a service").address;
    for _ in 0..20 {
        Client::connected(address, "live").expect_open();
    }
    kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
    let log = fs::read_to_string(folder.path().join("server.log")).expect("the other appender");
    assert!(log.lines().count() > 20, "{log}");
}

#[test]
fn sighup_adds_and_removes_acceptors_and_touches_nothing_else() {
    let (kept, moved) = (free_port(), free_port());
    let config = Config::new().whole_groups().port(kept);
    let acceptor = format!("{{ {{ ip = \"127.0.0.1\", port = {moved}, protocol = \"inboundRtmp\" }} }}");
    let server = Server::start(&config);
    let url = server.url("one");
    let _publisher = ffmpeg::publish_film(&url).start();
    server.wait_for_publisher("one");
    let mut player = Recording::start(&url);

    let address = format!("127.0.0.1:{moved}").parse().expect("an address");
    let listens = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok();
    assert!(!listens());
    server.rewrite(&config.clone().application("acceptors", &acceptor));
    server.signal(Signal::SIGHUP);
    wait_for("the new acceptor", SOON, || listens().then_some(()));
    let mut client = Client::connected(address, "live");

    server.rewrite(&config);
    server.signal(Signal::SIGHUP);
    wait_for("the end of the new acceptor", SOON, || (!listens()).then_some(()));
    client.expect_open();

    assert!(player.runs(), "the player was ended");
    wait_for("pictures", SOON, || (Recording::of_program(&player).of(Kind::Video).len() > 50).then_some(()));
    Recording::of_program(&player).assert_no_gap();
    server.stop();
}

#[test]
fn a_bad_file_leaves_everything_running() {
    let server = Server::start(&Config::new());
    let mut client = Client::connected(server.address(), "live");
    for bad in ["configuration = {", "configuration = { deamon = true }", "error('no')"] {
        let before = server.log().len();
        server.rewrite_text(bad);
        server.signal(Signal::SIGHUP);
        wait_for("a complaint in the log", SOON, || {
            server.log().get(before..).is_some_and(|new| new.contains("server.lua")).then_some(())
        });
        client.expect_open();
        Client::connected(server.address(), "live");
    }
    server.stop();
}

#[test]
fn a_second_copy_fails_loudly() {
    let server = Server::start(&Config::new());
    let (folder, path) = file("second.lua");
    let config = Config::new().port(server.address().port());
    fs::write(&path, config.text(folder.path(), &folder_of_programs())).expect("a temporary file");
    let outcome = Server::run(&[&path.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains(&server.address().port().to_string()), "{}", outcome.stderr);
    Client::connected(server.address(), "live");
    server.stop();
}

/// A daemon, ended with the test.
struct Daemon(Pid);

impl Daemon {
    /// The daemon whose id stands in `file`.
    fn of(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a pid file");
        Self(Pid::from_raw(text.trim().parse().expect("a pid file holds a number")))
    }

    fn lives(&self) -> bool {
        // A process that has ended but that nobody has waited for is no daemon any more.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }
}

#[test]
fn a_daemon_writes_and_removes_its_pid_file() {
    let (folder, script) = file("server.lua");
    let pid_file = folder.path().join("crtmpserver.pid");
    let port = free_port();
    let text = Config::new().port(port).text(folder.path(), &folder_of_programs());
    fs::write(&script, text).expect("a temporary file");
    // Relative paths count from the folder in which it was started.
    Launch::new(Server::executable())
        .args("--daemon --pid=crtmpserver.pid server.lua")
        .folder(folder.path())
        .within(SOON)
        .run()
        .success();
    let daemon = Daemon::of(&pid_file);
    assert!(daemon.lives(), "the daemon is gone");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    Client::connected(address, "live");
    kill(daemon.0, Signal::SIGTERM).expect("the daemon takes signals");
    wait_for("the end of the daemon", SOON, || (!daemon.lives()).then_some(()));
    let left = fs::read_to_string(&pid_file).unwrap_or_default();
    assert!(!pid_file.exists(), "the pid file is still there: {left:?}");
}

#[test]
fn a_daemon_that_cannot_start_says_so() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (folder, script) = file("server.lua");
    let pid_file = folder.path().join("crtmpserver.pid");
    let config = Config::new().port(port.local_addr().expect("an address").port());
    fs::write(&script, config.text(folder.path(), &folder_of_programs())).expect("a temporary file");
    let outcome = Launch::new(Server::executable())
        .arg("--daemon")
        .arg(format!("--pid={}", pid_file.display()))
        .arg(&script)
        .within(SOON)
        .run();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(!outcome.stderr.is_empty(), "it says nothing");
    assert!(!pid_file.exists(), "it left a pid file");
}

#[test]
fn a_process_without_rights_can_serve() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let (folder, script) = file("server.lua");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a folder of ours");
    let port = free_port();
    let text = Config::new().port(port).text(folder.path(), &folder_of_programs());
    fs::write(&script, text).expect("a temporary file");
    let server =
        Launch::new(Server::executable()).args("--uid=nobody --gid=nogroup").arg(&script).unlimited().start();
    wait_for("the server", SOON, || server.stdout().contains(" is ready (pid ").then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    let uid = status.lines().find(|line| line.starts_with("Uid:")).expect("a line of ids");
    assert!(uid.split_whitespace().skip(1).all(|id| id == "65534"), "{uid}");
    Client::connected(format!("127.0.0.1:{port}").parse().expect("an address"), "live");
}
