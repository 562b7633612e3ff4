//! An application that does all that an application must not do, when it is told to.
//!
//! `settings.new` picks what starting it does. The `app` of a connection or what stands behind the application's name
//! in it, the name of a stream and the name of a command pick what their hooks do: `panic…` panics, `sleep<N>` sleeps N
//! milliseconds, `never` does not return, `later` puts off and never answers, `answer` puts off and answers from a
//! thread, `twice` answers twice, `wrong` gives an answer that makes no sense there, `tap…` taps the publisher.
//! Streams named `…-end` misbehave when they end.
//!
//! The command `misbehave hook=<hook> order=<order>` has a hook obey once when it is called next; `hook=command` obeys
//! at once. The orders that are for commands only are those of `abuse.rs`.

mod abuse;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crtmp_plugin::{
    App, Command, CommandCall, Conn, ConnId, Hooks, Host, Message, Metadata, ParamKind, Play, Pong, Publish,
    Reply, RequestId, SourceId, Stream, TappedFrame, TimerId, Verdict, export_plugin,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What to do wrong at the start and at the end.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    new: String,
    drop: String,
}

/// The application.
pub struct Misbehaving {
    host: Host,
    settings: Settings,
    /// What hooks do when they are called next.
    orders: HashMap<String, String>,
    /// The newest connection and request.
    newest: (u64, u64),
    /// Results of calls that have come.
    pub(crate) results: u64,
    sources: Vec<SourceId>,
    /// Frames that have come, that were left out, and the latest one's role.
    frames: (u64, u64),
    timers: u64,
    kept: Vec<Vec<u8>>,
    over: Arc<AtomicBool>,
}

impl App for Misbehaving {
    const NAME: &'static str = "misbehaving";
    const HOOKS: Hooks = Hooks::CONNECT
        .and(Hooks::ACCEPT)
        .and(Hooks::PUBLISH)
        .and(Hooks::PLAY)
        .and(Hooks::MESSAGE)
        .and(Hooks::METADATA)
        .and(Hooks::UNPUBLISH)
        .and(Hooks::UNPLAY)
        .and(Hooks::CLOSE)
        .and(Hooks::CANCEL)
        .and(Hooks::PONG)
        .and(Hooks::STREAM);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        match settings.new.as_str() {
            "fail" => return Err("it does not want to".to_owned()),
            "connects" => {
                let connect = |_: &usize| {
                    host.connect::<Self>("127.0.0.1:1", "inboundRtmp", &Map::new(), |_, _| {}).is_ok()
                };
                host.info(format_args!("{} connects of 1000 are taken", (0..1000).filter(connect).count()));
            }
            order => obey(order),
        }
        let command = Command::new("misbehave", "Has a hook of the misbehaving application misbehave.")
            .required("hook", ParamKind::Text, "which")
            .required("order", ParamKind::Text, "what");
        // Without a server, or where another instance runs, it is told by names alone.
        let _ = host.add_command(&command);
        Ok(Self {
            host,
            settings,
            orders: HashMap::new(),
            newest: (0, 0),
            results: 0,
            sources: Vec::new(),
            frames: (0, 0),
            timers: 0,
            kept: Vec::new(),
            over: Arc::default(),
        })
    }

    fn on_accept(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        self.newest = (conn.id().0, request.0);
        let order = self.orders.remove("accept").unwrap_or_default();
        self.decide(&order, request, || Verdict::redirect("nonsense"))
    }

    fn on_connect(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        self.newest = (conn.id().0, request.0);
        let order = if conn.instance().is_empty() { conn.app() } else { conn.instance() };
        self.decide(order, request, || Verdict::accept_as("nonsense"))
    }

    fn on_publish(&mut self, conn: &Conn<'_>, publish: Publish<'_>) -> Verdict {
        self.newest = (conn.id().0, publish.request.0);
        if publish.name.starts_with("tap") {
            let _ = self.host.tap(conn.id(), 0, true);
        }
        self.decide(publish.name, publish.request, || Verdict::hand_to("nonsense"))
    }

    fn on_play(&mut self, _conn: &Conn<'_>, play: Play<'_>) -> Verdict {
        self.decide(play.name, play.request, || Verdict::accept_as(""))
    }

    fn on_message(&mut self, _conn: &Conn<'_>, message: Message<'_>) -> Reply {
        obey(message.name);
        Reply::Result(message.args().into())
    }

    fn on_metadata(&mut self, _conn: &Conn<'_>, metadata: Metadata<'_>) {
        let width = metadata.values().get("width").cloned().unwrap_or_default();
        self.host.info(format_args!("metadata of {}: width {width}", metadata.name));
        self.hook("metadata");
        obey(metadata.name);
    }

    fn on_unpublish(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        self.hook("unpublish");
        at_the_end(stream.name);
    }

    fn on_unplay(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        self.hook("unplay");
        at_the_end(stream.name);
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        self.host.info(format_args!("close {}", conn.id()));
        self.hook("close");
        at_the_end(conn.instance());
    }

    fn on_cancel(&mut self, _conn: &Conn<'_>, request: RequestId) {
        self.host.info(format_args!("cancel {request}"));
        self.hook("cancel");
    }

    fn on_pong(&mut self, _conn: &Conn<'_>, _pong: Pong) {
        self.hook("pong");
    }

    fn on_frame(&mut self, _conn: &Conn<'_>, frame: TappedFrame<'_>) {
        self.frames.0 += 1;
        self.frames.1 += frame.left_out;
        if frame.name == "tap slowly" {
            thread::sleep(Duration::from_millis(50));
        }
        self.hook("frame");
    }

    fn on_stream(&mut self, _publisher: ConnId, _name: &str, _live: bool) {
        self.hook("stream");
    }

    fn on_source(&mut self, _source: SourceId, _state: Result<(), &str>) {
        self.hook("source");
    }

    fn on_timer(&mut self, timer: TimerId) {
        self.timers += 1;
        if timer.0 == u64::from(u32::MAX) {
            thread::sleep(Duration::from_millis(5));
        }
        self.hook("timer");
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        let params = call.params();
        let text = |key: &str| params.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (hook, order) = (text("hook"), text("order"));
        if hook != "command" {
            self.orders.insert(hook, order);
            return Reply::Result(Value::Null);
        }
        if order == "later" {
            return Reply::Later;
        }
        obey(&order);
        Reply::Result(self.abuse(&order, call.request))
    }
}

impl Misbehaving {
    /// The orders that are for commands only; gives what is known then.
    fn abuse(&mut self, order: &str, request: RequestId) -> Value {
        let mut taken = 0;
        match order {
            "allocate" => self.kept = (0..64).map(|_| vec![1; 1 << 20]).collect(),
            "everything" => {
                let (connection, asked) = self.newest;
                let known = abuse::Known { connection: ConnId(connection), requests: [asked, request.0 + 1] };
                let threads = abuse::everything(&self.host, 8, known);
                threads.into_iter().for_each(|thread| thread.join().expect("nothing in there panics"));
            }
            "flood" => abuse::flood(&self.host, &self.over),
            "others" => {
                let near = self.newest.1.saturating_sub(1000)..self.newest.1 + 1000;
                for other in near.filter(|other| *other != request.0) {
                    taken += u64::from(self.host.respond(RequestId(other), Verdict::Accept).is_ok());
                }
            }
            "commands" => {
                let add = |number| self.host.add_command(&Command::new(format!("c{number}"), "One of many."));
                taken = (0..1000).filter(|number| add(*number).is_ok()).count() as u64;
            }
            "timers" => {
                let ms = Duration::from_millis(1);
                let set = |number| self.host.set_timer(TimerId(number), ms, Some(ms)).is_ok();
                taken = (0..20_000).filter(|number| set(*number)).count() as u64;
                (100..20_000).for_each(|number| self.host.cancel_timer(TimerId(number)));
            }
            "sources" => {
                let open = |number| self.host.publish(&format!("source-{number}"));
                self.sources = (0..1000).filter_map(open).collect();
                taken = self.sources.len() as u64;
            }
            "call" => {
                let then = |_: &mut Self, _| panic!("in a result, as ordered");
                taken = u64::from(self.host.command("listStreams", &Map::new(), then).is_ok());
            }
            "source" => self.sources.extend(self.host.publish("source")),
            "timer" => {
                let set = self.host.set_timer(TimerId(u64::MAX), Duration::ZERO, None);
                taken = u64::from(set.is_ok());
            }
            _ => {}
        }
        json!({ "taken": taken, "results": self.results, "frames": self.frames.0, "leftOut": self.frames.1,
            "timers": self.timers, "sources": self.sources.len(), "kept": self.kept.len() })
    }

    /// Obeys what was ordered for the hook, once.
    fn hook(&mut self, name: &str) {
        if let Some(order) = self.orders.remove(name) {
            obey(&order);
        }
    }

    fn decide(&self, order: &str, request: RequestId, wrong: impl FnOnce() -> Verdict) -> Verdict {
        match order {
            "later" => Verdict::Later,
            "answer" => {
                let host = self.host.clone();
                thread::spawn(move || host.respond(request, Verdict::refuse("by a thread")));
                Verdict::Later
            }
            "twice" => {
                let first = self.host.respond(request, Verdict::Accept);
                let host = self.host.clone();
                let again = thread::spawn(move || host.respond(request, Verdict::refuse("again")));
                let again = again.join().expect("nothing in there panics");
                self.host.info(format_args!("answered: {first:?}, {again:?}"));
                Verdict::refuse("a third time")
            }
            "wrong" => wrong(),
            order => {
                obey(order);
                Verdict::Accept
            }
        }
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.host.info("dropped");
        obey(&self.settings.drop);
    }
}

fn at_the_end(name: &str) {
    if let Some(order) = name.strip_suffix("-end") {
        obey(order);
    }
}

fn obey(order: &str) {
    if order.starts_with("panic") {
        panic!("{order}, as ordered");
    }
    if order == "never" {
        loop {
            thread::park();
        }
    }
    if let Some(millis) = order.strip_prefix("sleep").and_then(|number| number.parse().ok()) {
        thread::sleep(Duration::from_millis(millis));
    }
}

export_plugin!(name: "misbehaving", apps: [Misbehaving]);
