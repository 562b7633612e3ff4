//! The plugin ABI as it was frozen: for each version a C plugin built with the header of that version is loaded, and all of
//! its hooks are called. What is in `tests/abi` never changes; if a test fails, the server has broken its word.
#![allow(clippy::disallowed_methods, reason = "tests wait for real threads by the real clock")]

use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crtmp_host::apps::{
    Answer, AppConfig, AppHandle, CallOutcome, ConnInfo, Decision, Effect, Limits, MessageInfo, Notice,
    NoticeKind, Outside, PlayInfo, PlayStart, PublishInfo, PublishKind, Request, RequestKind,
    SharedObjectInfo, Stopped, Watchdog, check_settings,
};
use crtmp_host::plugins::Library;
use crtmp_media::{
    Answer as Yes, Chain, Command, Cx, Env, Error, Event, Frame, HttpHead, Layer, LayerSettings, MediaKind,
    OutQueue, RequestId,
};
use crtmp_plugin::foreign::{Passed, read_frame};
use crtmp_plugin::{Ended, Pong, Pull, Push};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// The sequence header of an AVC stream, as far as anybody looks at it.
const CONFIG: &[u8] = b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\0\x01\0\0";

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/abi").join(version)
}

/// Builds the plugin, and nothing of today's with it.
fn build(folder: &Path, version: &str) -> Library {
    let library = folder.join("libfrozen.so");
    let output = Program::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&library, &frozen(version).join("plugin.c")])
        .output()
        .expect("a C compiler must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Library::load(library).expect("it is loaded for ever")
}

/// The frozen application at work.
struct Server {
    app: AppHandle,
    effects: crossbeam_channel::Receiver<Effect>,
    commands: Arc<Mutex<Vec<Value>>>,
    log: Arc<Mutex<Vec<String>>>,
    _watchdog: Watchdog,
}

impl Server {
    fn start(library: &Library) -> Self {
        let entry = library.app("everything").expect("it is there");
        let (heard, effects) = crossbeam_channel::unbounded();
        let (logger, log) = recording_logger();
        let watchdog = Watchdog::start().expect("a thread");
        let commands = Arc::new(Mutex::new(Vec::new()));
        let (added, kept) = (commands.clone(), commands.clone());
        let outside = Outside {
            header: Box::new(|_, _, kind| read_frame(kind, 0, CONFIG, &crtmp_media::Limits::default())),
            source: Box::new(|name| (name == "made").then_some(9)),
            add_command: Box::new(move |command| {
                added.lock().unwrap().push(command);
                Ok(())
            }),
            remove_command: Box::new(move |name| {
                let mut added = kept.lock().unwrap();
                let before = added.len();
                added.retain(|command| command["name"] != name);
                added.len() < before
            }),
            ..Outside::hearing(move |effect| {
                let _ = heard.send(effect);
            })
        };
        let app = AppHandle::start(&config(r#"{"key":1}"#), entry, &watchdog, &logger, outside).unwrap();
        Self { app, effects, commands, log, _watchdog: watchdog }
    }

    fn ask(&self, id: u64, kind: RequestKind) -> Option<Answer> {
        self.app.request(Request { conn: conn(), id, kind })
    }

    /// Asks and waits for the answer.
    #[track_caller]
    fn decision(&self, id: u64, kind: RequestKind) -> Decision {
        assert_eq!(self.ask(id, kind), None, "the hook is there");
        loop {
            if let Effect::Answer(answer) = self.effect()
                && answer.id == id
            {
                return answer.decision;
            }
        }
    }

    /// Has the application make one call of the server.
    #[track_caller]
    fn call(&self, id: u64, name: &str) -> Effect {
        assert_eq!(self.ask(id, message(name)), None, "the hook is there");
        let effect = self.effect();
        let done = Effect::Answer(Answer { conn: 5, id, decision: Decision::Result(json!("done")) });
        assert_eq!(self.effect(), done, "{name}");
        effect
    }

    #[track_caller]
    fn effect(&self) -> Effect {
        self.effects.recv_timeout(SOON).expect("something happens")
    }

    fn tell(&self, kind: NoticeKind) {
        self.app.notify(Notice { conn: conn(), kind });
    }

    #[track_caller]
    fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let found = self.log.lock().unwrap().clone();
            if found.iter().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < deadline, "{line:?} is not in {found:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn config(settings: &str) -> AppConfig {
    let limits = Limits { hook_timeout: SOON, ..Limits::default() };
    AppConfig {
        name: "everything".into(),
        library: frozen("1.0"),
        settings: settings.into(),
        folder: "/somewhere".into(),
        limits,
    }
}

fn recording_logger() -> (slog::Logger, Arc<Mutex<Vec<String>>>) {
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
    (slog::Logger::root(Recorder(lines.clone()), slog::o!()), lines)
}

/// The one connection of these tests; all clones share the application's pointer.
fn conn() -> Arc<ConnInfo> {
    thread_local! {
        static CONN: Arc<ConnInfo> = Arc::new(ConnInfo {
            id: 5,
            app: "live".into(),
            peer: "192.0.2.1:5".into(),
            agent: "tester".into(),
            extra: json!({"fpad": false}).as_object().cloned().unwrap(),
            ..ConnInfo::default()
        });
    }
    CONN.with(Arc::clone)
}

fn publish(name: &str) -> RequestKind {
    let (name, query) = (name.to_owned(), "k=v".to_owned());
    RequestKind::Publish(PublishInfo { stream_id: 1, name, query, kind: PublishKind::Live })
}

fn message(name: &str) -> RequestKind {
    let (name, args) = (name.to_owned(), vec![Value::Null, json!(1)]);
    RequestKind::Message(MessageInfo { stream_id: 0, name, args, wants_reply: true })
}

fn shared_object(persistent: bool) -> RequestKind {
    let wishes = json!([{ "wish": "use" }]);
    RequestKind::SharedObject(SharedObjectInfo { name: "room".into(), persistent, wishes })
}

fn rejected(text: &str) -> Decision {
    Decision::Reject { code: "NetStream.Publish.BadName".into(), text: text.into() }
}

#[test]
fn every_hook_of_1_0_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let library = build(folder.path(), "1.0");
    assert_eq!((library.name(), library.version()), ("frozen", "1.0"));
    let (logger, _) = recording_logger();
    let entry = library.app("everything").unwrap();
    let error = check_settings(&config(r#"{"bad":true}"#), entry, &logger).unwrap_err();
    assert!(error.to_string().ends_with("bad settings"), "{error}");

    let server = Server::start(&library);
    server.wait_for(r#"create everything {"key":1} in /somewhere, 1"#);
    server.wait_for("on_timer 7 at 1");
    assert_eq!(server.commands.lock().unwrap()[0]["name"], "everything");

    let answer = server.ask(9, shared_object(true)).expect("it has no such hook");
    assert_eq!(answer.decision, Decision::Accept);
    assert_eq!(server.decision(1, RequestKind::Accept), Decision::Accept);
    server.wait_for("on_accept 192.0.2.1:5");
    assert_eq!(server.decision(2, RequestKind::Connect), Decision::Accept);
    server.wait_for(r#"on_connect live tester {"fpad":false} 1"#);
    assert_eq!(server.decision(3, publish("bad")), rejected("no bad streams"));
    server.wait_for("on_publish bad?k=v 1 0");
    assert_eq!(server.decision(4, publish("a")), Decision::AcceptAs("b".into()));
    assert!(matches!(server.decision(5, publish("fail")), Decision::Reject { .. }));
    assert_eq!(server.decision(6, publish("news")), Decision::Accept);
    let play = PlayInfo {
        stream_id: 2,
        name: "news".into(),
        query: String::new(),
        start: PlayStart::Any,
        duration: None,
        reset: true,
    };
    assert_eq!(
        server.decision(7, RequestKind::Play(play)),
        Decision::Redirect("rtmp://elsewhere/live".into())
    );
    server.wait_for("on_play news 1 1");

    let frame = read_frame(MediaKind::Video, 40, CONFIG, &crtmp_media::Limits::default()).unwrap();
    let frame = Arc::new(frame);
    server.tell(NoticeKind::Frame { stream_id: 1, name: "news".into(), left_out: 0, frame: frame.clone() });
    server.wait_for("on_frame news 9 0 40 17, 0 left out");
    let values = json!({"width": 640}).as_object().cloned().unwrap();
    server.tell(NoticeKind::Metadata { stream_id: 1, name: "news".into(), values });
    server.wait_for(r#"on_metadata news {"width":640}"#);
    server.tell(NoticeKind::Pong(Pong { rtt: Duration::from_millis(30), received: 12 }));
    server.wait_for("on_pong 30 12");
    server.tell(NoticeKind::Unpublish { stream_id: 1, name: "news".into(), why: Ended::ByServer });
    server.wait_for("on_unpublish news 1");
    server.tell(NoticeKind::Unplay { stream_id: 2, name: "news".into(), why: Ended::BySource });
    server.wait_for("on_unplay news 2");

    server.app.tell(NoticeKind::Stream { publisher: 5, name: "news".into(), live: true });
    server.wait_for("on_stream news 1");
    server.app.tell(NoticeKind::Source { source: 9, state: Err("taken".into()) });
    server.wait_for("on_source 1 taken");
    server.app.tell(NoticeKind::Result { ticket: 2, outcome: CallOutcome::failed("no server") });
    server.wait_for("on_result 2 1 0 \"no server\" ");
    assert_eq!(server.app.run_command(77, "everything".into(), "{}".into()), None);
    while server.effect() != Effect::Command(77, Ok(json!({"asked": 1}))) {}
    server.wait_for("on_command everything {}");

    assert_eq!(server.ask(8, publish("later")), None);
    // A question of a connection that has ended meanwhile would not be asked any more.
    server.wait_for("on_publish later?k=v 1 0");
    server.tell(NoticeKind::Close { reason: "left".into() });
    server.wait_for("on_cancel 1");
    server.wait_for("on_close left 1");
    assert_eq!(Arc::strong_count(&frame), 1, "what was retained was released");
    assert_eq!(server.app.stop(SOON), Stopped::Ended);
    server.wait_for("destroy");
}

#[test]
fn every_call_of_1_0_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let library = build(folder.path(), "1.0");
    let server = Server::start(&library);
    server.wait_for("on_timer 7 at 1");
    assert!(matches!(server.call(1, "close"), Effect::Close { conn: 5, .. }));
    assert!(matches!(server.call(2, "call"), Effect::Call { conn: 5, ticket: 1, .. }));
    assert!(matches!(server.call(3, "unpublish"), Effect::End { publishes: true, .. }));
    assert!(matches!(server.call(4, "unplay"), Effect::End { publishes: false, .. }));
    assert!(matches!(server.call(5, "command"), Effect::Run { ticket: 2, .. }));
    assert!(matches!(server.call(6, "connect"), Effect::Connect { ticket: 3, .. }));
    assert!(matches!(server.call(7, "http"), Effect::Http { ticket: 4, .. }));
    let pull = Pull::new("a?b").under("c");
    assert_eq!(server.call(18, "pull"), Effect::Pull { conn: 5, pull, ticket: 5 });
    let push = Push { kind: PublishKind::Append, ..Push::new("a?b") };
    assert_eq!(server.call(19, "push"), Effect::Push { conn: 5, push, ticket: 6 });
    assert_eq!(server.decision(8, message("source")), Decision::Result(json!("done")));
    let silence = vec![0xaf, 1, 0x21, 0];
    assert_eq!(server.call(9, "frame"), Effect::SourceFrame(9, MediaKind::Audio, 40, silence));
    assert_eq!(server.call(10, "end"), Effect::SourceClose(9));
    assert_eq!(server.decision(11, message("header")), Decision::Result(json!("done")));
    assert_eq!(server.decision(12, message("late")), Decision::Result(json!("not done")));
    assert_eq!(server.decision(16, message("forget")), Decision::Result(json!("done")));
    assert_eq!(server.decision(17, message("forget")), Decision::Result(json!("not done")));
    assert!(server.commands.lock().unwrap().is_empty());
    let values = server.decision(13, message("values"));
    assert_eq!(values, Decision::Values(true, vec![Value::Null, json!(1), json!(2)]));
    assert_eq!(server.decision(14, message("error")), Decision::Error(json!({"code": "Mine"})));
    assert_eq!(server.decision(15, message("unknown")), Decision::Unknown);
    assert_eq!(server.app.stop(SOON), Stopped::Ended);
}

/// Hands on what it gets as the body of an HTTP request.
struct Heads;

impl Layer for Heads {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let target = String::from_utf8_lossy(data).into_owned();
        cx.deliver_head(&HttpHead::request("GET", &target))?;
        cx.deliver_end()?;
        Ok(data.len())
    }
}

#[test]
fn layers_chains_and_filters_of_1_0_work() {
    let folder = tempfile::tempdir().unwrap();
    let library = build(folder.path(), "1.0");
    let rows = library.layers();
    assert_eq!(library.chains()[0].name, "inboundTurnedLine");
    let make = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).expect("the library brings it");
        (row.make)(&LayerSettings::default(), Instant::now()).expect("it is made")
    };
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let now = Instant::now();

    let mut chain = Chain::new(vec![make("turn"), make("line")]).unwrap();
    let mut env = Env { now, random: &mut random };
    chain.on_open(&mut env).unwrap();
    assert_eq!(sent(&mut chain, false), [7 ^ 0xff; 4]);
    let turned = |text: &str| -> Vec<u8> { text.bytes().map(|byte| byte ^ 0xff).collect() };
    chain.on_data(&turned("cmpfu"), &mut env).unwrap();
    assert!(matches!(chain.poll_event(), Some(Event::Connect { .. })));
    assert!(chain.is_paused() && chain.poll_event().is_none());
    let order = Command::AnswerConnect { request: RequestId(1), answer: Yes::Accept };
    chain.on_command(order, &mut env).unwrap();
    assert_eq!(sent(&mut chain, true), b"1 1 1 ;");
    let events = chain.take_events();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::Message { .. } => "message",
            Event::Publish { .. } => "publish",
            Event::Frame { .. } => "frame",
            Event::Unpublish { .. } => "unpublish",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["message", "publish", "frame", "unpublish"]);
    let mut later = |bytes: &mut [u8]| bytes.fill(0);
    let mut env = Env { now: now + Duration::from_secs(1), random: &mut later };
    chain.on_timeout(&mut env).unwrap();
    assert_eq!(sent(&mut chain, true), b"late;");
    assert!(chain.on_data(&turned("?"), &mut env).unwrap_err().to_string().contains("no such letter"));

    let mut chain = Chain::new(vec![Box::new(Heads), make("page")]).unwrap();
    chain.on_open(&mut env).unwrap();
    chain.on_data(b"/news", &mut env).unwrap();
    assert_eq!(sent(&mut chain, false), b"/news");

    let filter = &library.filters()[0];
    assert!(filter.create(r#"{"wrong":1}"#).is_err());
    let mut filter = filter.create("{}").unwrap();
    let mut pass = |kind, body: &[u8]| {
        let frame: Frame = read_frame(kind, 0, body, &crtmp_media::Limits::default()).unwrap();
        filter.frame(&frame).unwrap()
    };
    assert!(matches!(pass(MediaKind::Video, CONFIG), Passed::Kept));
    assert!(matches!(pass(MediaKind::Data, b"\x02\0\x01a"), Passed::Dropped));
    assert!(matches!(pass(MediaKind::Audio, b"\xaf\x01\x07"), Passed::Replaced(body) if body[2] == 0x21));
}

/// What the chain sends, with every bit turned back if it was turned.
fn sent(chain: &mut Chain, turned: bool) -> Vec<u8> {
    let queue: &mut OutQueue = chain.send().unwrap();
    let bytes: Vec<u8> =
        queue.slices().flatten().map(|byte| if turned { byte ^ 0xff } else { *byte }).collect();
    queue.advance(bytes.len());
    bytes
}

#[test]
fn what_1_1_has_brought_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let library = build(folder.path(), "1.1");
    assert_eq!((library.name(), library.version()), ("frozen", "1.1"));
    let server = Server::start(&library);
    assert_eq!(server.decision(1, shared_object(false)), Decision::Accept);
    server.wait_for(r#"[{"wish":"use"}]"#);
    let refused = Decision::Reject { code: String::new(), text: "nothing stays".into() };
    assert_eq!(server.decision(2, shared_object(true)), refused, "the worker knows the code");
    assert_eq!(server.app.stop(SOON), Stopped::Ended);
}
