//! Programs that commands launch, and timers: by the command line for programs, as their users meet them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crtmp_tests::cli;
use crtmp_tests::wire::Client;
use crtmp_tests::{Config, Server, ffmpeg, fixture, folder_of_programs, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{SOON, file};

/// A server whose configuration allows these shell scripts, and a folder for what they and its events leave.
struct Stage {
    server: Server,
    folder: TempDir,
}

impl Stage {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut allow = vec!["/bin/ls".to_owned()];
        allow.extend(ffmpeg_program());
        for (name, text) in scripts {
            let path = folder.path().join(name);
            script(&path, text);
            allow.push(path.to_string_lossy().into_owned());
        }
        let server = Server::start(&config(folder.path(), &format!("allow = {}", list(&allow))));
        Self { server, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Payloads of the events of this kind.
    fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.read("events.json");
        let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["type"] == kind).map(|event| event["payload"].clone()).collect()
    }
}

/// A session of the command line, with parameters as programs give them.
struct Session(cli::Session);

impl Session {
    /// One that has not shown the secret.
    fn stranger(server: &Server) -> Self {
        Self(cli::Session::guest(server))
    }

    fn new(server: &Server) -> Self {
        Self(cli::Session::operator(server))
    }

    fn call(&mut self, command: &str, parameters: &[(&str, &str)]) -> Value {
        let mut line = command.to_owned();
        for (key, value) in parameters {
            line.push_str(&format!(" {key}={}", escaped(value)));
        }
        self.0.run(&line)
    }

    /// The data of a command that must succeed.
    fn done(&mut self, command: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self.call(command, parameters);
        assert_eq!(answer["status"], "SUCCESS", "{command}: {answer}");
        answer["data"].clone()
    }

    /// Why a command that must fail did.
    fn refused(&mut self, command: &str, parameters: &[(&str, &str)]) -> String {
        let answer = self.call(command, parameters);
        assert_eq!(answer["status"], "FAIL", "{command}: {answer}");
        answer["description"].as_str().expect("a text").to_owned()
    }

    /// Waits until the process with this number satisfies `probe`.
    fn wait_for_process<T>(&mut self, id: &Value, probe: impl Fn(&Value) -> Option<T>) -> T {
        wait_for("the process", SOON, || {
            let all = self.done("listProcesses", &[]);
            all.as_array()?.iter().find(|process| process["configId"] == *id).and_then(&probe)
        })
    }
}

fn config(folder: &Path, processes: &str) -> Config {
    let events = folder.join("events.json");
    Config::new()
        .top(
            "processes",
            &format!("{{ {processes}, variables = {{ \"DIR\", \"QUERY\" }}, stopGrace = 0.5 }}"),
        )
        .top(
            "eventLogger",
            &format!(
                "{{ sinks = {{ {{ type = \"file\", filename = {events:?}, appendTimestamp = false }} }} }}"
            ),
        )
        .block(&cli::administrator())
}

fn list(texts: &[String]) -> String {
    format!("{{ {} }}", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", "))
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a temporary file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// Where the system has ffmpeg.
fn ffmpeg_program() -> Option<String> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("ffmpeg"))
        .find(|program| program.is_absolute() && program.is_file());
    Some(found?.to_string_lossy().into_owned())
}

/// A value as a line has it.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars() {
        match letter {
            '\n' => text.push_str("\\n"),
            '\\' | ' ' | '=' | ',' => text.extend(['\\', letter]),
            _ => text.push(letter),
        }
    }
    text
}

/// Whether a process lives; zombies do not.
fn lives(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// EXE-03: nothing is launched that the configuration does not list, and nothing without the secret.
#[test]
fn processes_are_off_unless_the_configuration_lists_them() {
    let (folder, good) = file("good");
    script(&good, "echo ran > \"$DIR/ran\"");
    let good = good.to_str().expect("a plain path");
    let parameters =
        [("fullBinaryPath", good), ("keepAlive", "0"), ("$DIR", folder.path().to_str().unwrap())];

    let server = Server::start(&config(folder.path(), "allow = {}"));
    let why = Session::stranger(&server).refused("launchProcess", &parameters);
    let needed =
        "`launchProcess` always needs the secret, and the caller may not: show the secret by `auth secret=…`";
    assert_eq!(why, needed);
    let mut session = Session::new(&server);
    let why = session.refused("launchProcess", &parameters);
    assert!(why.contains("the configuration allows no program"), "{why}");

    // A reload allows it, and another one does not any more.
    server.rewrite(&config(folder.path(), &format!("allow = {}", list(&[good.to_owned()]))));
    assert_eq!(session.done("reload", &[("plan", "1")])["processes"], true);
    session.done("reload", &[]);
    for path in ["/bin/sh", "good", "-c", &good.replace("/good", "/../good"), &format!("{good} -i")] {
        let why = session.refused("launchProcess", &[("fullBinaryPath", path)]);
        assert!(why.contains("not listed, letter by letter, in `processes.allow`"), "{path}: {why}");
    }
    for name in ["$LD_PRELOAD", "$PATH", "$OPENSSL_CONF", "$HOME"] {
        let why = session.refused("launchProcess", &[("fullBinaryPath", good), (name, "/tmp")]);
        assert!(why.contains("not listed in `processes.variables`"), "{name}: {why}");
    }
    assert_eq!(session.done("listProcesses", &[]), json!([]));
    assert!(!folder.path().join("ran").exists());
    session.done("launchProcess", &parameters);
    wait_for("its file", SOON, || folder.path().join("ran").exists().then_some(()));

    // A program that is not there is a mistake, and then nothing changes.
    server.rewrite(&config(folder.path(), "allow = { \"/nowhere/x\" }"));
    let why = session.refused("reload", &[]);
    assert!(why.contains("processes.allow[1]") && why.contains("No such file"), "{why}");
    session.done("launchProcess", &parameters);
    server.stop();
}

/// EXE-01, EXE-02, EXE-04: whatever an argument or a variable holds, nobody but the program looks at it.
#[test]
fn arguments_and_variables_never_meet_a_shell() {
    let stage = Stage::new(&[(
        "show",
        "for a in \"$@\"; do printf '<%s>' \"$a\"; done > \"$DIR/out\"; printf '%s' \"$QUERY\" > \"$DIR/query\"; exit 7",
    )]);
    let mut session = Session::new(&stage.server);
    let odd = ["; rm -rf /", "$(id)", "`id`", "-i", "two words", "two\nlines", "", "'\"\\", "*"];
    let words: Vec<String> = odd.iter().map(|word| escaped(word)).collect();
    let query = "a=1&b=$(id);`id`, x";
    let line = format!(
        "launchProcess fullBinaryPath={} keepAlive=0 argumentList={} $DIR={} $QUERY={}",
        escaped(&stage.path("show")),
        words.join(","),
        escaped(stage.folder.path().to_str().unwrap()),
        escaped(query),
    );
    let answer = session.0.run(&line);
    assert_eq!(answer["status"], "SUCCESS", "{answer}");
    let id = &answer["data"]["configId"];
    session.wait_for_process(id, |process| (process["state"] == "ended").then_some(()));
    assert_eq!(stage.read("out"), odd.iter().map(|word| format!("<{word}>")).collect::<String>());
    assert_eq!(stage.read("query"), query);

    let stopped = wait_for("the event", SOON, || stage.events("processStopped").pop());
    assert_eq!((&stopped["id"], &stopped["exitCode"], &stopped["signal"]), (id, &json!(7), &json!(null)));
    assert_eq!(stage.events("processStarted").len(), 1);
    let asked = stage.events("cliRequest").into_iter().find(|asked| asked["command"] == "launchProcess");
    let asked = asked.expect("the command was told");
    assert_eq!(asked["parameters"]["$QUERY"], "***", "values are not told");
    assert_eq!(asked["caller"], "admin");
    let peer = asked["peer"].as_str().expect("who has asked");
    assert!(peer.starts_with("127.0.0.1:") && asked["connectionId"].is_u64(), "{asked}");
    let line = format!("admin, connection {} of {peer}", asked["connectionId"]);
    assert!(stage.server.log().contains(&line), "{line}");
    stage.server.stop();
}

/// No socket, listener, log or pipe of the server is open in a process.
#[test]
fn a_process_inherits_no_descriptor() {
    let stage = Stage::new(&[]);
    let _client = Client::connected(stage.server.address(), "live");
    let mut session = Session::new(&stage.server);
    let parameters = [("fullBinaryPath", "/bin/ls"), ("arguments", "-1 /proc/self/fd"), ("keepAlive", "0")];
    let id = session.done("launchProcess", &parameters)["configId"].clone();
    let lines = session.wait_for_process(&id, |process| {
        let lines = process["lastLines"].as_array()?;
        (process["state"] == "ended" && lines.len() >= 4).then(|| process["lastLines"].clone())
    });
    // 3 is the folder that is listed.
    assert_eq!(lines, json!(["0", "1", "2", "3"]));
    stage.server.stop();
}

/// EXE-05: it ends at once, again and again; it is run again, later each time, until it is stopped.
#[test]
fn what_ends_is_run_again_until_it_is_stopped() {
    let stage = Stage::new(&[("fail", "echo no luck; exit 3")]);
    let mut session = Session::new(&stage.server);
    let id = session.done("launchProcess", &[("fullBinaryPath", &stage.path("fail"))])["configId"].clone();
    session.wait_for_process(&id, |process| {
        let again = process["runs"].as_u64()? >= 2 && process["exitCode"] == 3;
        (again && process["lastLines"][0] == "no luck").then_some(())
    });
    assert_eq!(session.done("listConfig", &[])["process"][0]["configId"], id);
    assert_eq!(session.done("getConfigInfo", &[("id", &id.to_string())])["operationType"], 6);
    let known = session.done("stopProcess", &[("id", &id.to_string())]);
    assert_eq!(
        (&known["configId"], &known["keepAlive"], &known["operationType"]),
        (&id, &json!(true), &json!(6))
    );
    wait_for("its end", SOON, || (session.done("listProcesses", &[]) == json!([])).then_some(()));
    assert!(session.refused("stopProcess", &[("id", "4711")]).contains("there is no process 4711"));
    stage.server.stop();
}

#[test]
fn processes_are_removed_by_the_name_of_their_group() {
    let stage = Stage::new(&[("wait", "exec sleep 1000")]);
    let mut session = Session::new(&stage.server);
    let program = stage.path("wait");
    for group in ["one", "two", "one"] {
        session.done("launchProcess", &[("fullBinaryPath", &program), ("groupName", group)]);
    }
    let groups = |session: &mut Session| {
        let all = session.done("listProcesses", &[]);
        all.as_array().expect("a list").iter().map(|entry| entry["groupName"].clone()).collect::<Vec<_>>()
    };
    assert!(session.refused("removeConfig", &[("groupName", "three")]).contains("no process has the group"));
    assert_eq!(groups(&mut session), ["one", "two", "one"]);
    assert_eq!(session.done("removeConfig", &[("groupName", "one")]).as_array().map(Vec::len), Some(2));
    wait_for("the end of the others", SOON, || (groups(&mut session) == ["two"]).then_some(()));
    // Groups of `listConfig` are groups too, so no process may be named like one.
    let taken = [("fullBinaryPath", program.as_str()), ("groupName", "limits")];
    assert!(session.refused("launchProcess", &taken).contains("another name"));
    session.done("removeConfig", &[("groupName", "process")]);
    wait_for("the end of all", SOON, || groups(&mut session).is_empty().then_some(()));
    stage.server.stop();
}

/// EXE-05: it ignores SIGTERM, has children that do, and writes without end; the server ends it all the same.
#[test]
fn processes_end_with_the_server() {
    let stage = Stage::new(&[(
        "hang",
        "trap '' TERM; echo $$ > \"$DIR/child\"; (while :; do sleep 1000; done) & echo $! > \"$DIR/grandchild\"; \
         exec 0<&-; while :; do echo flood; done",
    )]);
    let mut session = Session::new(&stage.server);
    let folder = stage.folder.path().to_string_lossy().into_owned();
    let id = session.done("launchProcess", &[("fullBinaryPath", &stage.path("hang")), ("$DIR", &folder)]);
    session.wait_for_process(&id["configId"], |process| (process["lastLines"][9] == "flood").then_some(()));
    let (child, grandchild) = (stage.read("child"), stage.read("grandchild"));
    assert!(lives(&child) && lives(&grandchild), "{child} {grandchild}");
    let Stage { server, folder } = stage;
    let log = server.stop();
    wait_for("their end", SOON, || (!lives(&child) && !lives(&grandchild)).then_some(()));
    assert!(log.contains("did not end in time and is killed"), "{log}");
    let events = fs::read_to_string(folder.path().join("events.json")).expect("events");
    let stopped = events.lines().find(|line| line.contains("processStopped")).expect("the end is told");
    assert!(stopped.contains("\"signal\":9"), "{stopped}");
}

/// Nobody takes the end of a process for that of the server, and a killed one is run again.
#[test]
fn a_killed_process_is_run_again() {
    let stage = Stage::new(&[("wait", "exec sleep 1000")]);
    let mut session = Session::new(&stage.server);
    let first = session.done("launchProcess", &[("fullBinaryPath", &stage.path("wait"))]);
    let pid = first["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let second = session.wait_for_process(&first["configId"], |process| {
        (process["runs"] == 2).then(|| process["pid"].clone())
    });
    assert_ne!(second, first["pid"]);
    stage.server.stop();
}

/// What it is for: ffmpeg publishes to the server that runs it, and ends in good order.
#[test]
fn ffmpeg_publishes_as_a_process() {
    let stage = Stage::new(&[]);
    let mut session = Session::new(&stage.server);
    let (program, url) = (ffmpeg_program().expect("ffmpeg is installed"), stage.server.url("one"));
    let film = fixture::film().to_str().expect("a plain path");
    let words = ["-v", "error", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "flv", &url];
    let line = format!(
        "launchProcess fullBinaryPath={} argumentList={}",
        escaped(&program),
        words.map(escaped).join(",")
    );
    let answer = session.0.run(&line);
    assert_eq!(answer["status"], "SUCCESS", "{answer}");
    stage.server.wait_for_publisher("one");
    assert_eq!(ffmpeg::codecs(&url), ["aac", "h264"]);
    session.done("removeConfig", &[("groupName", "process")]);
    let stopped = wait_for("the event", SOON, || stage.events("processStopped").pop());
    assert_eq!((&stopped["exitCode"], &stopped["signal"]), (&json!(255), &json!(null)), "SIGTERM is enough");
    stage.server.stop();
}

#[test]
fn timers_go_off_again_and_again_until_they_are_removed() {
    let stage = Stage::new(&[]);
    let mut session = Session::new(&stage.server);
    let timer = session.done("setTimer", &[("value", "1")]);
    let id = timer["timerId"].clone();
    assert_eq!(timer, json!({ "id": id, "timerId": id, "value": 1, "triggerCount": 0 }));
    let later = session.done("setTimer", &[("value", "2999-12-31T23:59:59")]);
    wait_for("two events", SOON, || (stage.events("timerTriggered").len() >= 2).then_some(()));
    let all = session.done("listTimers", &[]);
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert!(all[0]["triggerCount"].as_u64() >= Some(2), "{all}");
    session.done("removeTimer", &[("id", &id.to_string())]);
    assert!(session.refused("removeTimer", &[("id", &id.to_string())]).contains("there is no timer"));
    for value in ["0", "86400", "2020-01-01T00:00:00", "soon"] {
        session.refused("setTimer", &[("value", value)]);
    }
    let created: Vec<Value> = stage.events("timerCreated").iter().map(|event| event["id"].clone()).collect();
    assert_eq!(created, [id.clone(), later["id"].clone()]);
    let counts: Vec<_> =
        stage.events("timerTriggered").iter().map(|event| event["triggerCount"].clone()).collect();
    assert_eq!(counts[..2], [1, 2]);
    let Stage { server, folder } = stage;
    server.stop();
    let events = fs::read_to_string(folder.path().join("events.json")).expect("events");
    let closed = events.lines().filter(|line| line.contains("timerClosed")).count();
    assert_eq!(closed, 2, "one was removed, one ended with the server");
}

/// As many timers as there may be, and one more.
#[test]
fn timers_are_bounded() {
    let stage = Stage::new(&[]);
    let mut session = Session::new(&stage.server);
    for _ in 0..256 {
        session.done("setTimer", &[("value", "86399")]);
    }
    let why = session.refused("setTimer", &[("value", "86399")]);
    assert_eq!(why, "there are 256 timers; remove one first");
    stage.server.stop();
}

/// A check of a configuration looks at the programs too.
#[test]
fn a_check_names_programs_that_are_not_there() {
    let (folder, path) = file("server.lua");
    let config = config(folder.path(), "allow = { \"/bin/ls\", \"/nowhere/x\" }");
    fs::write(&path, config.text(folder.path(), &folder_of_programs())).expect("a temporary file");
    let outcome = Server::run(&["--check", &path.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1));
    let expected = "configuration.processes.allow[2]: found \"/nowhere/x\": No such file or directory";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}
