//! An application over the real tables, with a pretended server around it.

use std::collections::VecDeque;
use std::time::Duration;

use crtmp_plugin::foreign::Failure;
use crtmp_plugin::testing::{FakeHost, conn};
use crtmp_plugin::{
    Answer, App, Conn, Gone, Hooks, Host, Level, Message, Metadata, Play, PlayStart, Publish, PublishKind,
    Reply, RequestId, Stream, Verdict,
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
        .and(Hooks::CANCEL);
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
            let gone = self.host.respond(request, Verdict::Accept) == Err(Gone);
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
        type Settings = crtmp_plugin::NoSettings;

        fn new(_: Host, _: Self::Settings) -> Result<Self, String> {
            Ok(Self)
        }
    }

    FakeHost::new::<Forgetful>("{}").unwrap().play(&conn(1, "live"), "x");
}
