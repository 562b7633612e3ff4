//! An application that does all that an application must not do, when it is told to.
//!
//! `settings.new` picks what starting it does. The `app` of a connection, the name of a stream and the name of a
//! command pick what their hooks do: `panic…` panics, `sleep<N>` sleeps N milliseconds, `later` puts off and never
//! answers, `answer` puts off and answers from a thread, `wrong` gives an answer that makes no sense there.
//! Streams named `…-end` misbehave when they end.

use std::thread;
use std::time::Duration;

use crtmp_plugin::{
    App, Conn, Hooks, Host, Message, Metadata, Play, Publish, Reply, RequestId, Stream, Verdict,
    export_plugin,
};
use serde::Deserialize;

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
}

impl App for Misbehaving {
    const NAME: &'static str = "misbehaving";
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
        match settings.new.as_str() {
            "fail" => Err("it does not want to".to_owned()),
            order => {
                obey(order);
                Ok(Self { host, settings })
            }
        }
    }

    fn on_connect(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        self.decide(conn.app(), request, || Verdict::accept_as("nonsense"))
    }

    fn on_publish(&mut self, _conn: &Conn<'_>, publish: Publish<'_>) -> Verdict {
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
        obey(metadata.name);
    }

    fn on_unpublish(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        at_the_end(stream.name);
    }

    fn on_unplay(&mut self, _conn: &Conn<'_>, stream: Stream<'_>) {
        at_the_end(stream.name);
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        self.host.info(format_args!("close {}", conn.id()));
        at_the_end(conn.instance());
    }

    fn on_cancel(&mut self, _conn: &Conn<'_>, request: RequestId) {
        self.host.info(format_args!("cancel {request}"));
    }
}

impl Misbehaving {
    fn decide(&self, order: &str, request: RequestId, wrong: impl FnOnce() -> Verdict) -> Verdict {
        match order {
            "later" => Verdict::Later,
            "answer" => {
                let host = self.host.clone();
                thread::spawn(move || host.respond(request, Verdict::refuse("by a thread")));
                Verdict::Later
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
    if let Some(millis) = order.strip_prefix("sleep").and_then(|number| number.parse().ok()) {
        thread::sleep(Duration::from_millis(millis));
    }
}

export_plugin!(name: "misbehaving", apps: [Misbehaving]);
