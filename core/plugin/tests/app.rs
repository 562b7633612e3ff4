//! An application over the real tables, with a pretended server around it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crtmp_plugin::foreign::Failure;
use crtmp_plugin::testing::{Called, FakeHost, conn};
use crtmp_plugin::{
    Answer, App, Command, CommandCall, Conn, ConnId, Hooks, Host, KeptFrame, Level, MediaKind, Message,
    Metadata, NoSettings, NotTaken, ParamKind, Play, PlayStart, Pong, Publish, PublishKind, Reply, RequestId,
    SharedObject, SharedWish, SourceId, Stream, TappedFrame, TimerId, Verdict,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    greeting: String,
    broken: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { greeting: "hello".to_owned(), broken: false }
    }
}

/// Has every hook and does something visible in each.
struct Sample {
    host: Host,
    settings: Settings,
    put_off: VecDeque<RequestId>,
}

impl App for Sample {
    const NAME: &'static str = "sample";
    const HOOKS: Hooks = Hooks::CONNECT
        .and(Hooks::PUBLISH)
        .and(Hooks::PLAY)
        .and(Hooks::MESSAGE)
        .and(Hooks::METADATA)
        .and(Hooks::UNPUBLISH)
        .and(Hooks::UNPLAY)
        .and(Hooks::CLOSE)
        .and(Hooks::CANCEL)
        .and(Hooks::SHARED_OBJECT);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        assert!(!settings.broken, "broken on purpose");
        Ok(Self { host, settings, put_off: VecDeque::new() })
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        if settings.greeting.is_empty() { Err("`greeting` is empty".to_owned()) } else { Ok(()) }
    }

    fn on_connect(&mut self, conn: &Conn<'_>, _request: RequestId) -> Verdict {
        self.host.info(format_args!("{} {} {} {}", conn.id(), conn.app(), conn.instance(), conn.query()));
        Verdict::hand_to(format!("{}-{}", self.settings.greeting, conn.extra().len()))
    }

    fn on_publish(&mut self, conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        match request.name {
            "panic" => panic!("{} panics", request.name),
            "later" => {
                self.put_off.push_back(request.request);
                Verdict::Later
            }
            "thread" => {
                let (host, request) = (self.host.clone(), request.request);
                let answered =
                    std::thread::spawn(move || host.respond(request, Verdict::refuse("by a thread")));
                answered.join().expect("it does not panic").expect("it is the first");
                Verdict::Accept
            }
            "bye" => {
                conn.close("NetConnection.Closed", "bye");
                Verdict::refuse("bye")
            }
            name => Verdict::accept_as(format!("{name}-{:?}-{}", request.kind, request.query)),
        }
    }

    fn on_play(&mut self, _conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        Verdict::redirect(format!(
            "{}?{:?}&{:?}&{}",
            request.name, request.start, request.duration, request.reset
        ))
    }

    fn on_message(&mut self, _conn: &Conn<'_>, message: Message<'_>) -> Reply {
        match message.name {
            "echo" => Reply::Result(message.args().into()),
            "fail" => Reply::error("Call.Failed", "as you wish"),
            _ => Reply::Ignore,
        }
    }

    fn on_shared_object(&mut self, _conn: &Conn<'_>, object: SharedObject<'_>) -> Verdict {
        match object.wishes().as_slice() {
            [SharedWish::Change { slot, value }] if *value == json!([1, null]) => {
                Verdict::refuse(slot.as_str())
            }
            [SharedWish::Use, SharedWish::Send { values }] if values.is_empty() => Verdict::Later,
            wishes => Verdict::refuse(format!("{} {} {}", object.name, object.persistent, wishes.len())),
        }
    }

    fn on_metadata(&mut self, _conn: &Conn<'_>, metadata: Metadata<'_>) {
        self.host.debug(format_args!("{} {:?}", metadata.name, metadata.values()["width"]));
    }

    fn on_unpublish(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        self.host.log(Level::Fine, format_args!("unpublish {}", stream.name));
    }

    fn on_unplay(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        self.host.log(Level::Finest, format_args!("unplay {} at {:?}", stream.name, self.host.now()));
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        for request in self.put_off.drain(..) {
            let gone = self.host.respond(request, Verdict::Accept) == Err(NotTaken::Gone);
            self.host.warn(format_args!("{} closed, gone: {gone}", conn.id()));
        }
    }

    fn on_cancel(&mut self, _conn: &Conn<'_>, request: RequestId) {
        self.host.error(format_args!("cancelled {request}"));
    }
}

fn start() -> FakeHost {
    FakeHost::new::<Sample>("{}").expect("it starts")
}

#[test]
fn connect_and_publish_and_play_reach_the_application() {
    let mut host = start();
    let mut far = conn(7, "live/room?a=b");
    assert_eq!(host.connect(&far), Verdict::hand_to("hello-0"));
    far.extra = json!({"videoCodecs": 252, "fpad": false}).as_object().cloned().unwrap();
    assert_eq!(host.connect(&far), Verdict::hand_to("hello-2"));
    assert_eq!(host.logs()[0], (Level::Info, "7 live/room?a=b room a=b".to_owned()));

    let request = host.next_request();
    let publish = Publish { request, stream_id: 1, name: "x", query: "k=v", kind: PublishKind::Append };
    assert_eq!(host.publish_as(&far, &publish), Verdict::accept_as("x-Append-k=v"));

    let request = host.next_request();
    let start = PlayStart::At(Duration::from_millis(1500));
    let duration = Some(Duration::from_secs(2));
    let play = Play { request, stream_id: 1, name: "y", query: "", start, duration, reset: false };
    assert_eq!(host.play_as(&far, &play), Verdict::redirect("y?At(1.5s)&Some(2s)&false"));
    assert_eq!(host.play(&far, "z"), Verdict::redirect("z?Any&None&true"));
}

#[test]
fn commands_are_answered() {
    let mut host = start();
    let far = conn(1, "live");
    assert_eq!(host.message(&far, "echo", &[json!(1), json!("ö")]), Reply::Result(json!([1, "ö"])));
    assert_eq!(host.message(&far, "fail", &[]), Reply::error("Call.Failed", "as you wish"));
    assert_eq!(host.message(&far, "other", &[]), Reply::Ignore);
}

#[test]
fn notices_reach_the_application_and_it_logs() {
    let mut host = start();
    let far = conn(1, "live");
    host.metadata(&far, "x", &json!({"width": 640}));
    host.unpublish(&far, "x");
    host.advance(Duration::from_secs(3));
    host.unplay(&far, "x");
    let logs: Vec<_> = host.logs();
    assert_eq!(logs[0], (Level::Debug, "x Number(640)".to_owned()));
    assert_eq!(logs[1], (Level::Fine, "unpublish x".to_owned()));
    assert_eq!(logs[2], (Level::Finest, "unplay x at 3s".to_owned()));
}

#[test]
fn an_answer_may_come_later_and_only_once() {
    let mut host = start();
    let far = conn(1, "live");
    assert_eq!(host.publish(&far, "later"), Verdict::Later);
    let request = host.last_request();
    assert_eq!(host.answer_to(request), None);
    host.cancel(&far, request);
    host.close(&far);
    let texts: Vec<_> = host.logs().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, [format!("cancelled {request}"), "1 closed, gone: true".to_owned()]);
}

#[test]
fn the_first_answer_counts_even_from_another_thread() {
    assert_eq!(start().publish(&conn(1, "live"), "thread"), Verdict::refuse("by a thread"));
}

#[test]
fn a_late_answer_is_recorded() {
    let mut host = start();
    let far = conn(1, "live");
    host.publish(&far, "later");
    let request = host.last_request();
    host.close(&far);
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::Accept)));
}

#[test]
fn an_application_can_close_a_connection() {
    let mut host = start();
    host.publish(&conn(9, "live"), "bye");
    assert_eq!(host.closed(), [(9, "NetConnection.Closed".to_owned(), "bye".to_owned())]);
}

#[test]
#[should_panic(expected = "the hook failed: panic: panic panics")]
fn a_panic_in_a_hook_fails_the_test() {
    start().publish(&conn(1, "live"), "panic");
}

#[test]
fn settings_are_checked() {
    let failure = |settings| FakeHost::new::<Sample>(settings).err();
    assert_eq!(failure(r#"{"greeting":""}"#), Some(Failure::Error("`greeting` is empty".to_owned())));
    assert_eq!(failure(r#"{"broken":true}"#), Some(Failure::Panic("broken on purpose".to_owned())));
    let unknown = "unknown setting `greetings`; expected one of: greeting, broken";
    assert_eq!(failure(r#"{"greetings":"x"}"#), Some(Failure::Error(unknown.to_owned())));
}

#[test]
#[should_panic(expected = "Hooks::PLAY is not in HOOKS")]
fn a_hook_that_was_not_declared_is_found() {
    struct Forgetful;

    impl App for Forgetful {
        const NAME: &'static str = "forgetful";
        const HOOKS: Hooks = Hooks::PUBLISH;
        type Settings = NoSettings;

        fn new(_: Host, _: Self::Settings) -> Result<Self, String> {
            Ok(Self)
        }
    }

    FakeHost::new::<Forgetful>("{}").unwrap().play(&conn(1, "live"), "x");
}

/// What the application keeps for a connection; tells when it is dropped.
#[derive(Default)]
struct Kept {
    publishes: u32,
    dropped: Option<Arc<AtomicUsize>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Asks the server for everything, and shows what comes of it in its log.
struct Busy {
    host: Host,
    dropped: Arc<AtomicUsize>,
    headers: Vec<KeptFrame>,
}

/// How many of what was kept have been dropped: the application cannot be asked from outside.
static DROPPED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

impl App for Busy {
    const NAME: &'static str = "busy";
    const HOOKS: Hooks =
        Hooks::ACCEPT.and(Hooks::PUBLISH).and(Hooks::PONG).and(Hooks::STREAM).and(Hooks::DATA);
    type Settings = NoSettings;

    fn new(host: Host, _: NoSettings) -> Result<Self, String> {
        host.add_command(&Command::new("greet", "Greets.").required("who", ParamKind::Text, "whom"))?;
        host.set_timer(TimerId(3), Duration::from_secs(5), Some(Duration::from_secs(1)))
            .map_err(|reason| reason.to_string())?;
        Ok(Self { host, dropped: DROPPED.clone(), headers: Vec::new() })
    }

    fn on_accept(&mut self, conn: &Conn<'_>, _request: RequestId) -> Verdict {
        conn.data::<Kept>().dropped = Some(self.dropped.clone());
        if conn.app().is_empty() { Verdict::Accept } else { Verdict::refuse("too early to say that") }
    }

    fn on_publish(&mut self, conn: &Conn<'_>, publish: Publish<'_>) -> Verdict {
        if publish.name == "another type" {
            drop(conn.data::<String>());
        }
        conn.data::<Kept>().publishes += 1;
        let count = conn.data::<Kept>().publishes;
        self.host.tap(conn.id(), 0, true).expect("it is there");
        self.headers.extend(self.host.sequence_header(conn.id(), publish.stream_id, MediaKind::Video));
        Verdict::accept_as(format!("{}-{count}", publish.name))
    }

    fn on_pong(&mut self, conn: &Conn<'_>, pong: Pong) {
        self.host.info(format_args!("pong of {} after {:?}, {} bytes", conn.id(), pong.rtt, pong.received));
    }

    fn on_frame(&mut self, conn: &Conn<'_>, frame: TappedFrame<'_>) {
        let body = frame.frame.body();
        self.host.info(format_args!("frame of {}: {}, {} bytes", conn.id(), frame.name, body.len()));
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        self.host.info(format_args!("{name} of {publisher}: {live}"));
        if live && name == "mirrored" {
            let source = self.host.publish("mirror").expect("the server is there");
            let header = [0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 0, 1, 0, 0];
            self.host.send_frame(source, MediaKind::Video, 40, &header).expect("a frame");
            let odd = self.host.send_frame(source, MediaKind::Video, 40, &[]);
            self.host.info(format_args!("no frame: {odd:?}"));
        }
    }

    fn on_source(&mut self, source: SourceId, state: Result<(), &str>) {
        self.host.info(format_args!("source {}: {state:?}", source.0));
    }

    fn on_timer(&mut self, timer: TimerId) {
        self.host.cancel_timer(timer);
        let args = [json!(null), json!(timer.0)];
        self.host
            .call(ConnId(7), "tick", &args, |app: &mut Self, result| {
                app.host.info(format_args!("called: {result:?}"));
            })
            .expect("it is taken");
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        match call.params()["who"].as_str() {
            Some("nobody") => Reply::error("Nobody", "there is nobody"),
            Some("later") => Reply::Later,
            who => Reply::Result(json!(format!("hello {}", who.unwrap_or_default()))),
        }
    }
}

fn texts(host: &FakeHost) -> Vec<String> {
    host.logs().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn data_belongs_to_its_connection_and_goes_with_it() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    let before = DROPPED.load(Ordering::Relaxed);
    let (one, two) = (conn(1, ""), conn(2, ""));
    assert_eq!(host.accept(&one), Verdict::Accept);
    assert_eq!(host.accept(&two), Verdict::Accept);
    assert_eq!(host.accept(&conn(3, "app")), Verdict::refuse("too early to say that"));
    assert_eq!(host.publish(&one, "x"), Verdict::accept_as("x-1"));
    assert_eq!(host.publish(&two, "y"), Verdict::accept_as("y-1"));
    assert_eq!(host.publish(&one, "x"), Verdict::accept_as("x-2"));
    host.close(&one);
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1, "without a hook of the application");
    host.close(&one);
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1, "it goes once");
    host.close(&two);
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 2);
}

#[test]
#[should_panic(expected = "data of one type per connection")]
fn data_has_one_type() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    let far = conn(1, "");
    host.publish(&far, "x");
    host.publish(&far, "another type");
}

#[test]
fn frames_headers_and_pongs_reach_the_application() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    let far = conn(4, "");
    let header = [0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 0, 1, 0, 0];
    host.put_sequence_header(4, MediaKind::Video, &header);
    assert!(!host.is_tapped(4));
    host.publish(&far, "x");
    assert!(host.is_tapped(4));
    host.frame(&far, "x", MediaKind::Video, 40, &[0x17, 1, 0, 0, 0, 9]);
    host.pong(&far, Duration::from_millis(12), 345);
    assert_eq!(texts(&host), ["frame of 4: x, 6 bytes", "pong of 4 after 12ms, 345 bytes"]);
}

#[test]
fn sources_follow_streams() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    host.stream(5, "mirrored", true);
    host.source(1, Ok(()));
    host.source(1, Err("the server is shutting down"));
    host.stream(5, "mirrored", false);
    assert_eq!(host.sources(), ["mirror"]);
    let frames = host.sent_frames();
    assert_eq!((frames.len(), frames[0].0, frames[0].2), (1, 1, 40));
    let expected = [
        "mirrored of 5: true",
        "no frame: Err(Invalid)",
        "source 1: Ok(())",
        "source 1: Err(\"the server is shutting down\")",
        "mirrored of 5: false",
    ];
    assert_eq!(texts(&host), expected);
}

#[test]
fn a_timer_calls_a_peer_and_the_result_comes_once() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    assert_eq!(host.timers(), [(3, 5000, 1000)]);
    host.timer(3);
    assert_eq!(host.timers(), [], "it was taken back");
    let calls = host.calls();
    assert_eq!(calls[0].what, Called::Peer(7, "tick".to_owned(), json!([null, 3])));
    host.answer_call(calls[0].ticket, Ok(json!([null, "tock"])));
    // A server does not do that; nothing comes of it.
    host.answer_call(calls[0].ticket, Ok(json!([])));
    host.answer_call(u64::MAX, Err(json!("no such call")));
    assert_eq!(texts(&host), ["called: Ok(CallResult { ok: true, args: [Null, String(\"tock\")] })"]);
}

#[test]
fn commands_are_added_and_answered() {
    let mut host = FakeHost::new::<Busy>("{}").unwrap();
    assert_eq!(host.commands()[0]["parameters"][0]["name"], "who");
    assert_eq!(host.command("greet", &json!({ "who": "you" })), Reply::Result(json!("hello you")));
    assert_eq!(host.command("greet", &json!({ "who": "nobody" })), Reply::error("Nobody", "there is nobody"));
    assert_eq!(host.command("greet", &json!({ "who": "later" })), Reply::Later);
    assert_eq!(host.answer_to(host.last_request()), None);
}

#[test]
fn what_is_wanted_of_a_shared_object_is_asked() {
    let (mut host, one) = (start(), conn(1, "live"));
    let change = json!({ "wish": "change", "slot": "a", "value": [1, null] });
    assert_eq!(host.shared_object(&one, "room", &[change]), Verdict::refuse("a"));
    let both = [json!({ "wish": "use" }), json!({ "wish": "send", "values": [] })];
    assert_eq!(host.shared_object(&one, "room", &both), Verdict::Later);
    let others = [json!({ "wish": "release" }), json!({ "wish": "of a later version" }), json!(7)];
    assert_eq!(host.shared_object(&one, "room", &others), Verdict::refuse("room false 1"));
}
