//! An application that has every hook and keeps something in each, and a filter: for valgrind, which looks whether all
//! of it is given back. `driver.c` beside it calls them.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use crtmp_plugin::{
    App, Command, CommandCall, Conn, ConnId, Filter, Frame, Hooks, Host, KeptFrame, MediaKind, Message,
    Metadata, NoSettings, Pass, Play, Pong, Publish, Reply, RequestId, SourceId, Stream, TappedFrame,
    TimerId, Verdict, export_plugin,
};
use serde_json::{Map, Value, json};

/// The application.
pub struct EveryHook {
    host: Host,
    /// What was kept: frames by their streams, texts by hooks.
    frames: HashMap<String, KeptFrame>,
    heard: Vec<String>,
}

/// What is kept for each connection.
#[derive(Default)]
struct Session {
    names: Vec<String>,
}

impl App for EveryHook {
    const NAME: &'static str = "everyhook";
    const HOOKS: Hooks = Hooks::ACCEPT
        .and(Hooks::CONNECT)
        .and(Hooks::PUBLISH)
        .and(Hooks::PLAY)
        .and(Hooks::MESSAGE)
        .and(Hooks::METADATA)
        .and(Hooks::UNPUBLISH)
        .and(Hooks::UNPLAY)
        .and(Hooks::CLOSE)
        .and(Hooks::CANCEL)
        .and(Hooks::PONG)
        .and(Hooks::STREAM)
        .and(Hooks::DATA);
    type Settings = NoSettings;

    fn new(host: Host, _: NoSettings) -> Result<Self, String> {
        host.add_command(&Command::new("heard", "what was heard").read_only())?;
        let _ = host.set_timer(TimerId(1), Duration::from_millis(5), Some(Duration::from_secs(1)));
        Ok(Self { host, frames: HashMap::new(), heard: Vec::new() })
    }

    fn on_accept(&mut self, conn: &Conn<'_>, _: RequestId) -> Verdict {
        self.heard.push(conn.peer().to_owned());
        Verdict::Accept
    }

    fn on_connect(&mut self, conn: &Conn<'_>, _: RequestId) -> Verdict {
        conn.data::<Session>().names.push(conn.app().to_owned());
        self.heard.push(format!("{:?}", conn.extra()));
        Verdict::Accept
    }

    fn on_publish(&mut self, conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        conn.data::<Session>().names.push(request.name.to_owned());
        if request.name == "thread" {
            let (host, number) = (self.host.clone(), request.request);
            let answer = thread::spawn(move || host.respond(number, Verdict::refuse("by a thread")).is_ok());
            assert!(answer.join().expect("it does not panic"));
            return Verdict::Later;
        }
        if request.name != "untapped" {
            let _ = self.host.tap(conn.id(), request.stream_id, true);
        }
        Verdict::accept_as(format!("{}-renamed", request.name))
    }

    fn on_play(&mut self, conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        // One result comes, the other call is open when the instance ends.
        for name in ["first", "second"] {
            let kept = vec![request.name.to_owned(); 4];
            let then = move |app: &mut Self, result| app.heard.push(format!("{kept:?}: {result:?}"));
            let _ = self.host.call(conn.id(), name, &[Value::Null], then);
        }
        Verdict::redirect("rtmp://elsewhere/live")
    }

    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        assert_ne!(message.name, "panic", "as ordered");
        if message.name == "header" {
            let stream_id = message.args().iter().find_map(Value::as_f64).unwrap_or_default() as u32;
            let header = self.host.sequence_header(conn.id(), stream_id, MediaKind::Video);
            let last = header.and_then(|header| header.get().body().last().copied());
            return Reply::Result(json!(format!("header {stream_id}: {last:?}")));
        }
        Reply::Result(message.args().into())
    }

    fn on_metadata(&mut self, _: &Conn<'_>, metadata: Metadata<'_>) {
        self.heard.push(format!("{:?}", metadata.values()));
    }

    fn on_unpublish(&mut self, _: &Conn<'_>, stream: Stream<'_>) {
        self.frames.remove(stream.name);
    }

    fn on_unplay(&mut self, _: &Conn<'_>, stream: Stream<'_>) {
        self.heard.push(stream.name.to_owned());
    }

    fn on_close(&mut self, conn: &Conn<'_>, reason: &str) {
        let names = conn.data::<Session>().names.join(" ");
        self.host.info(format_args!("close: {reason}, {names}"));
    }

    fn on_cancel(&mut self, _: &Conn<'_>, request: RequestId) {
        self.heard.push(request.to_string());
    }

    fn on_pong(&mut self, _: &Conn<'_>, pong: Pong) {
        self.heard.push(format!("{pong:?}"));
    }

    fn on_frame(&mut self, _: &Conn<'_>, tapped: TappedFrame<'_>) {
        let sum: u32 = tapped.frame.body().iter().map(|byte| u32::from(*byte)).sum();
        self.heard.push(format!("{} on {}: {sum}", tapped.name, tapped.stream_id));
        self.frames.insert(tapped.name.to_owned(), tapped.frame.keep(&self.host));
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        self.heard.push(format!("{publisher} {name} {live}"));
    }

    fn on_source(&mut self, source: SourceId, state: Result<(), &str>) {
        self.heard.push(format!("{source:?} {state:?}"));
    }

    fn on_timer(&mut self, timer: TimerId) {
        self.host.cancel_timer(timer);
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        Reply::Result(json!({ "name": call.name, "heard": self.heard }))
    }
}

/// Puts a byte behind every frame.
pub struct Longer(usize);

impl Filter for Longer {
    const NAME: &'static str = "longer";

    fn new(settings: &Map<String, Value>) -> Result<Self, String> {
        if settings.contains_key("wrong") { Err("a wrong key".to_owned()) } else { Ok(Self(1)) }
    }

    fn on_frame(&mut self, frame: Frame<'_>) -> Result<Pass, String> {
        let mut body = frame.body().to_vec();
        body.resize(body.len() + self.0, 0);
        Ok(Pass::Replace(body))
    }
}

export_plugin!(name: "everyhook", apps: [EveryHook], filters: [Longer]);
