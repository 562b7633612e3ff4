//! Real libraries: good, bad and misbehaving.
//!
//! The libraries are dev-dependencies of this package, so they lie beside this test's executable.
#![allow(clippy::disallowed_methods, reason = "tests wait for real threads by the real clock")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use crtmp_host::apps::{
    Answer, AppConfig, AppHandle, ConnInfo, Decision, Effect, Health, Hooks, Limits, MessageInfo, Notice,
    NoticeKind, Outside, PlayInfo, PlayStart, PublishInfo, PublishKind, Request, RequestKind, Stopped,
    Watchdog, check_settings,
};
use crtmp_host::plugins::Library;
use crtmp_plugin::Ended;
use serde_json::json;
use slog::Logger;

fn file(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a test has a file");
    let folder = program.parent().expect("a file has a folder");
    let name = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    // Beside the test when built as its dependency, one above when built by itself.
    let candidates = [folder.join(&name), folder.parent().unwrap_or(folder).join(&name)];
    candidates.into_iter().find(|file| file.is_file()).unwrap_or_else(|| panic!("{name} was not built"))
}

fn refusal(file: impl AsRef<Path>) -> String {
    Library::load(file).expect_err("it must be refused").to_string()
}

#[test]
fn the_applications_of_this_tree_are_plugins_like_any_other() {
    for name in ["appselector", "flvplayback"] {
        let library = Library::load(file(name)).unwrap();
        assert_eq!(library.name(), name);
        assert_eq!(library.version(), env!("CARGO_PKG_VERSION"));
        let app = library.app("any name: it is the only one").unwrap();
        assert_eq!(app.name(), name);
        // What an application has to ask for first is always there.
        let asked_for = [Hooks::FRAME, Hooks::SOURCE, Hooks::TIMER, Hooks::COMMAND, Hooks::RESULT];
        assert_eq!(app.hooks(), asked_for.into_iter().fold(Hooks::NONE, Hooks::and));
    }
}

#[test]
fn bad_libraries_are_refused_with_name_reason_and_remedy() {
    let cases = [
        ("nosymbol", "does not export `CRTMP_PLUGIN_V1`", "export_plugin!"),
        ("wrongmagic", "begins with 0x0123456789abcdef instead of 0x4352544d50", "export_plugin!"),
        ("wrongmajor", "was built for plugin ABI 2, this server has 1", "rebuild the plugin"),
    ];
    for (name, reason, remedy) in cases {
        let message = refusal(file(name));
        for part in [name, reason, remedy] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_file_that_is_missing_or_no_library_is_refused() {
    let message = refusal("/nowhere/libnone.so");
    assert!(message.starts_with("library /nowhere/libnone.so: No such file"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libtext.so");
    std::fs::write(&text, "not a library").unwrap();
    let message = refusal(&text);
    // What the system says is in it, not only that it failed.
    assert!(
        message.contains("libtext.so: cannot be opened") && message.contains("file too short"),
        "{message}"
    );
}

#[test]
fn a_path_means_what_was_loaded_from_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("libcopy.so");
    assert!(Library::loaded(&path).is_none());
    std::fs::copy(file("flvplayback"), &path).unwrap();
    assert_eq!(Library::load(&path).unwrap().name(), "flvplayback");
    std::fs::remove_file(&path).unwrap();
    assert!(refusal(&path).contains("No such file"));
    assert!(!Library::loaded(&path).unwrap().is_replaced(), "there is no other");
    assert_eq!(Library::loaded(&path).unwrap().name(), "flvplayback");
    std::fs::copy(file("appselector"), &path).unwrap();
    assert_eq!(Library::load(&path).unwrap().name(), "flvplayback");
    assert!(Library::loaded(&path).unwrap().is_replaced());
    // A file that could not be loaded may be mended.
    let mended = path.with_file_name("libmended.so");
    std::fs::write(&mended, "not a library").unwrap();
    refusal(&mended);
    std::fs::copy(file("appselector"), &mended).unwrap();
    let mended = Library::load(&mended).unwrap();
    assert!(mended.name() == "appselector" && !mended.is_replaced());
}

/// The misbehaving application with everything around it.
struct Server {
    app: AppHandle,
    answers: Receiver<Effect>,
    log: Arc<Mutex<Vec<String>>>,
    watchdog: Watchdog,
    next_id: u64,
}

fn config(settings: &str, limits: Limits) -> AppConfig {
    let settings = settings.to_owned();
    AppConfig {
        name: "trouble".to_owned(),
        library: file("misbehaving"),
        settings,
        folder: ".".to_owned(),
        limits,
    }
}

/// Patience enough for a busy machine; tests that wait for it to run out set their own.
fn patient() -> Limits {
    Limits { hook_timeout: Duration::from_secs(20), ..Limits::default() }
}

fn start(settings: &str, limits: Limits) -> Result<Server, String> {
    let config = config(settings, limits);
    let library = Library::load(&config.library).unwrap();
    let entry = library.app(&config.name).unwrap();
    let (sink, answers) = unbounded();
    let (logger, log) = recording_logger();
    let watchdog = Watchdog::start().unwrap();
    let sink = Outside::hearing(move |effect| {
        let _ = sink.send(effect);
    });
    let app =
        AppHandle::start(&config, entry, &watchdog, &logger, sink).map_err(|error| error.to_string())?;
    Ok(Server { app, answers, log, watchdog, next_id: 1 })
}

impl Server {
    fn post(&mut self, conn: &Arc<ConnInfo>, kind: RequestKind) -> Option<Decision> {
        let id = self.next_id;
        self.next_id += 1;
        self.app.request(Request { conn: conn.clone(), id, kind }).map(|answer| answer.decision)
    }

    /// Asks and waits for the answer.
    fn ask(&mut self, conn: &Arc<ConnInfo>, kind: RequestKind) -> Decision {
        let id = self.next_id;
        self.post(conn, kind).unwrap_or_else(|| {
            let answer = self.answer();
            assert_eq!((answer.conn, answer.id), (conn.id, id));
            answer.decision
        })
    }

    fn answer(&self) -> Answer {
        match self.answers.recv_timeout(Duration::from_secs(20)) {
            Ok(Effect::Answer(answer)) => answer,
            other => panic!("no answer, but {other:?}"),
        }
    }

    fn tell(&self, conn: &Arc<ConnInfo>, kind: NoticeKind) {
        self.app.notify(Notice { conn: conn.clone(), kind });
    }

    /// Waits for a log line.
    fn wait_for(&self, part: &str) {
        until(|| self.log.lock().unwrap().iter().any(|line| line.contains(part)));
    }
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn recording_logger() -> (Logger, Arc<Mutex<Vec<String>>>) {
    struct Recorder(Arc<Mutex<Vec<String>>>);

    impl slog::Drain for Recorder {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
            self.0.lock().unwrap().push(record.msg().to_string());
            Ok(())
        }
    }

    let lines = Arc::new(Mutex::new(Vec::new()));
    (Logger::root(Recorder(lines.clone()), slog::o!()), lines)
}

fn conn(id: u64, app: &str) -> Arc<ConnInfo> {
    Arc::new(ConnInfo { id, app: app.to_owned(), ..ConnInfo::default() })
}

fn publish(name: &str) -> RequestKind {
    let (name, query) = (name.to_owned(), String::new());
    RequestKind::Publish(PublishInfo { stream_id: 1, name, query, kind: PublishKind::Live })
}

fn play(name: &str) -> RequestKind {
    let (name, query, start) = (name.to_owned(), String::new(), PlayStart::Any);
    RequestKind::Play(PlayInfo { stream_id: 1, name, query, start, duration: None, reset: true })
}

fn message(name: &str) -> RequestKind {
    let (name, args) = (name.to_owned(), vec![json!({"a": [1, null]})]);
    RequestKind::Message(MessageInfo { stream_id: 0, name, args, wants_reply: true })
}

fn failed(text: &str) -> Decision {
    Decision::Reject { code: "NetStream.Failed".to_owned(), text: format!("application `trouble` {text}") }
}

#[test]
fn a_failing_start_names_application_library_and_reason() {
    let error = |settings| start(settings, patient()).err().expect("it must not start");
    for (settings, reason) in [
        (r#"{"new":"panic"}"#, "it panicked while starting: panic, as ordered"),
        (r#"{"new":"fail"}"#, "it does not want to"),
        (r#"{"news":"fail"}"#, "unknown setting `news`; expected one of: new, drop"),
    ] {
        let error = error(settings);
        assert!(error.starts_with("application `trouble`, library /"), "{error}");
        assert!(error.contains("misbehaving") && error.ends_with(reason), "{error}");
    }
}

#[test]
fn a_start_that_hangs_is_given_up() {
    let limits = Limits { start_timeout: Duration::from_millis(50), ..patient() };
    let error = start(r#"{"new":"sleep3000"}"#, limits).err().unwrap();
    assert!(error.ends_with("its `new` has not returned within 0.05 s"), "{error}");
}

#[test]
fn settings_can_be_checked_without_a_start() {
    let library = Library::load(file("misbehaving")).unwrap();
    let entry = library.app("trouble").unwrap();
    let check = |settings| {
        let (logger, _) = recording_logger();
        check_settings(&config(settings, patient()), entry, &logger)
    };
    assert!(check(r#"{"new":"panic"}"#).is_ok(), "nothing is started");
    assert!(check(r#"{"nwe":"panic"}"#).unwrap_err().to_string().contains("unknown setting `nwe`"));
}

#[test]
fn a_panic_in_any_hook_costs_that_request_and_nothing_else() {
    let mut server = start("{}", Limits { panics: 100, ..patient() }).unwrap();
    let far = conn(1, "live");
    let rejected = Decision::Reject {
        code: "NetConnection.Connect.Rejected".to_owned(),
        text: "application `trouble` failed".to_owned(),
    };
    assert_eq!(server.ask(&conn(2, "panic"), RequestKind::Connect), rejected);
    assert_eq!(server.ask(&far, RequestKind::Connect), Decision::Accept);
    assert_eq!(server.ask(&far, publish("panic")), failed("failed"));
    assert_eq!(server.ask(&far, publish("news")), Decision::Accept);
    assert_eq!(server.ask(&far, play("panic")), failed("failed"));
    assert_eq!(server.ask(&far, play("news")), Decision::Accept);
    let Decision::Error(error) = server.ask(&far, message("panic")) else { panic!("not an error") };
    assert_eq!(error["code"], "NetConnection.Call.Failed");
    assert_eq!(server.ask(&far, message("echo")), Decision::Result(json!([{"a": [1, null]}])));

    let name = || "panic-end".to_owned();
    server.tell(&far, NoticeKind::Metadata { stream_id: 1, name: name(), values: Default::default() });
    server.tell(&far, NoticeKind::Unpublish { stream_id: 1, name: name(), why: Ended::ByPeer });
    server.tell(&far, NoticeKind::Unplay { stream_id: 1, name: name(), why: Ended::ByPeer });
    let instance = ConnInfo { id: 1, instance: name(), ..ConnInfo::default() };
    server.tell(&Arc::new(instance), NoticeKind::Close { reason: String::new() });
    for hook in ["on_metadata", "on_unpublish", "on_unplay", "on_close"] {
        server.wait_for(&format!("application `trouble`, `{hook}`: panic: panic"));
    }
    assert_eq!((server.app.health(), server.app.panics()), (Health::Well, 8));
    assert_eq!(server.ask(&conn(3, "live"), publish("news")), Decision::Accept);
    assert_eq!(server.app.stop(Duration::from_secs(20)), Stopped::Ended);
}

#[test]
fn an_answer_that_makes_no_sense_is_a_refusal() {
    let mut server = start("{}", patient()).unwrap();
    let far = conn(1, "wrong");
    let Decision::Reject { text, .. } = server.ask(&far, RequestKind::Connect) else { panic!("not refused") };
    assert_eq!(text, "application `trouble` failed");
    assert_eq!(server.ask(&far, publish("wrong")), failed("failed"));
    assert_eq!(server.ask(&far, play("wrong")), failed("failed"));
    server.wait_for("answered HandTo(\"nonsense\") to Publish");
}

#[test]
fn too_many_panics_disable_the_application_and_not_the_server() {
    let mut server = start("{}", Limits { panics: 3, ..patient() }).unwrap();
    let far = conn(1, "live");
    assert_eq!(server.post(&far, publish("later")), None);
    for _ in 0..3 {
        server.post(&far, publish("panic"));
    }
    let mut texts: Vec<Decision> = (0..4).map(|_| server.answer().decision).collect();
    assert_eq!(texts.pop(), Some(failed("is disabled")), "what was put off is refused, too");
    assert!(texts.iter().all(|text| *text == failed("failed")), "{texts:?}");
    assert_eq!(server.ask(&far, publish("news")), failed("is disabled"));
    server.wait_for("is disabled: 3 panics within 60 s");
    server.wait_for("dropped");
    assert_eq!(server.app.stop(Duration::from_secs(20)), Stopped::Ended);
    assert_eq!(server.app.health(), Health::Disabled);
}

#[test]
fn a_stuck_application_refuses_at_once_and_recovers_by_itself() {
    let mut server = start("{}", Limits { hook_timeout: Duration::from_millis(100), ..patient() }).unwrap();
    let far = conn(1, "live");
    let began = Instant::now();
    assert_eq!(server.post(&far, publish("sleep1500")), None);
    assert_eq!(server.post(&far, play("behind it")), None);
    assert_eq!(server.answer().decision, failed("does not answer"));
    assert_eq!(server.answer().decision, failed("does not answer"));
    assert_eq!(server.app.health(), Health::Stuck);
    assert_eq!(server.post(&far, play("new")), Some(failed("does not answer")));
    assert!(began.elapsed() < Duration::from_millis(1400), "refused while the hook still runs");

    until(|| server.app.health() == Health::Well);
    server.wait_for("application `trouble` answers again: `on_publish` took");
    // Its late answer is dropped, and it is told so.
    server.wait_for("cancel ");
    assert_eq!(server.ask(&far, play("news")), Decision::Accept);
    assert!(server.answers.is_empty());
}

#[test]
fn a_later_answer_comes_from_any_thread() {
    let mut server = start("{}", patient()).unwrap();
    let by_thread =
        Decision::Reject { code: "NetStream.Publish.BadName".to_owned(), text: "by a thread".to_owned() };
    assert_eq!(server.ask(&conn(1, "live"), publish("answer")), by_thread);
}

#[test]
fn an_answer_that_never_comes_is_a_refusal_and_a_cancel() {
    let mut server = start("{}", Limits { later_timeout: Duration::from_millis(50), ..patient() }).unwrap();
    assert_eq!(server.ask(&conn(1, "live"), publish("later")), failed("did not decide in time"));
    server.wait_for("cancel ");
    assert_eq!(server.app.health(), Health::Well);
}

#[test]
fn a_closed_connection_cancels_what_was_put_off() {
    let mut server = start("{}", patient()).unwrap();
    let far = conn(5, "live");
    assert_eq!(server.post(&far, publish("later")), None);
    assert_eq!(server.ask(&conn(6, "live"), publish("news")), Decision::Accept);
    server.tell(&far, NoticeKind::Close { reason: String::new() });
    server.wait_for("close 5");
    let log = server.log.lock().unwrap();
    let order: Vec<_> = log.iter().filter(|line| line.starts_with('c')).map(|line| &line[..6]).collect();
    assert_eq!(order, ["cancel", "close "]);
    assert!(server.answers.is_empty());
}

#[test]
fn a_full_mailbox_refuses_requests_and_keeps_events() {
    let mut server = start("{}", Limits { mailbox: 2, ..patient() }).unwrap();
    let far = conn(1, "live");
    assert_eq!(server.ask(&conn(4, "live"), RequestKind::Connect), Decision::Accept);
    assert_eq!(server.post(&far, publish("sleep300")), None);
    until(|| server.app.waiting() == 0);
    assert_eq!(server.post(&far, publish("a")), None);
    assert_eq!(server.post(&conn(2, "live"), publish("b")), None);
    assert_eq!(server.post(&conn(3, "live"), publish("c")), Some(failed("is busy")));
    server.tell(&conn(4, "live"), NoticeKind::Close { reason: String::new() });
    for _ in 0..3 {
        assert_eq!(server.answer().decision, Decision::Accept);
    }
    server.wait_for("close 4");
}

#[test]
fn stopping_finishes_the_mailbox_first() {
    let mut server = start("{}", patient()).unwrap();
    let far = conn(1, "live");
    assert_eq!(server.ask(&conn(2, "live"), RequestKind::Connect), Decision::Accept);
    for name in ["later", "sleep100", "last"] {
        assert_eq!(server.post(&far, publish(name)), None);
    }
    server.tell(&conn(2, "live"), NoticeKind::Close { reason: String::new() });
    assert_eq!(server.app.stop(Duration::from_secs(20)), Stopped::Ended);
    let decisions: Vec<_> = server.answers.try_iter().collect();
    let decisions: Vec<_> = decisions
        .into_iter()
        .map(|effect| match effect {
            Effect::Answer(answer) => answer.decision,
            _ => panic!("nothing was closed"),
        })
        .collect();
    assert_eq!(decisions, [Decision::Accept, Decision::Accept, failed("is stopping")]);
    let log: Vec<String> = server.log.lock().unwrap().clone();
    assert!(log.ends_with(&["dropped".to_owned()]), "{log:?}");
    assert!(
        log.contains(&"close 2".to_owned()) && log.iter().any(|line| line.starts_with("cancel ")),
        "{log:?}"
    );
    assert_eq!(server.post(&far, publish("late")), Some(failed("is stopping")));
    assert_eq!(server.watchdog.left_behind(), 0);
}

#[test]
fn a_thread_that_does_not_end_is_left_behind_and_counted() {
    let mut server = start("{}", patient()).unwrap();
    assert_eq!(server.post(&conn(1, "live"), publish("sleep3000")), None);
    until(|| server.app.waiting() == 0);
    let began = Instant::now();
    assert_eq!(server.app.stop(Duration::from_millis(50)), Stopped::LeftBehind);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(server.answer().decision, failed("is stopping"));
    assert_eq!(server.app.stop(Duration::ZERO), Stopped::LeftBehind);
    assert_eq!(server.watchdog.left_behind(), 1, "however often it is stopped");
    assert_eq!(server.app.health(), Health::Ended);
}

#[test]
fn a_panic_at_the_end_is_survived() {
    let server = start(r#"{"drop":"panic"}"#, patient()).unwrap();
    assert_eq!(server.app.stop(Duration::from_secs(20)), Stopped::Ended);
    server.wait_for("application `trouble`, at its end: panic: panic, as ordered");
}
