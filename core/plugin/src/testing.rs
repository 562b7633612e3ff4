//! A server for tests of an application: no socket, no thread, the same tables as in the real one.
//!
//! ```
//! # use crtmp_plugin::{App, Conn, Hooks, Host, NoSettings, Publish, Verdict};
//! # struct Quiet;
//! # impl App for Quiet {
//! #     const NAME: &'static str = "quiet";
//! #     const HOOKS: Hooks = Hooks::PUBLISH;
//! #     type Settings = NoSettings;
//! #     fn new(_: Host, _: NoSettings) -> Result<Self, String> { Ok(Self) }
//! #     fn on_publish(&mut self, _: &Conn<'_>, _: Publish<'_>) -> Verdict { Verdict::refuse("quiet!") }
//! # }
//! use crtmp_plugin::testing::{FakeHost, conn};
//!
//! let mut host = FakeHost::new::<Quiet>("{}").unwrap();
//! assert_eq!(host.publish(&conn(1, "live"), "news"), Verdict::refuse("quiet!"));
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::answer::{Answer, Reply, Verdict};
use crate::app::{App, Hooks};
use crate::conn::{AppPath, Message, Metadata, Play, PlayStart, Publish, PublishKind, RequestId, Stream};
pub use crate::foreign::ConnInfo;
use crate::foreign::{AppEntry, Failure, Instance, Outcome, Services};
use crate::host::{Gone, Level};

/// A connection with this number that asked for this `app`.
pub fn conn(id: u64, app: &str) -> ConnInfo {
    let path = AppPath::split(app);
    ConnInfo {
        id,
        application: "test".to_owned(),
        peer: "192.0.2.1:1935".to_owned(),
        local: "192.0.2.2:1935".to_owned(),
        app: app.to_owned(),
        instance: path.instance.to_owned(),
        query: path.query.to_owned(),
        tc_url: format!("rtmp://192.0.2.2/{app}"),
        ..ConnInfo::default()
    }
}

/// An application with a pretended server around it. Hooks are called as the server would; a call of one that is
/// not in [`App::HOOKS`], and any panic in the application, fails the test.
pub struct FakeHost {
    app: Instance,
    hooks: Hooks,
    seen: Arc<Mutex<Seen>>,
    next_request: u64,
}

/// What the application asked of the server.
#[derive(Debug, Default)]
struct Seen {
    now: Duration,
    logs: Vec<(Level, String)>,
    closed: Vec<(u64, String, String)>,
    /// Requests without an answer are `None`.
    requests: HashMap<u64, Option<Answer>>,
}

impl FakeHost {
    /// Starts the application with these settings (JSON text).
    pub fn new<T: App>(settings: &str) -> Result<Self, Failure> {
        let entry = AppEntry::of::<T>();
        let seen = Arc::new(Mutex::new(Seen::default()));
        entry.validate(Recorder(seen.clone()), settings)?;
        let app = entry.create(Recorder(seen.clone()), settings)?;
        Ok(Self { app, hooks: entry.hooks(), seen, next_request: 1 })
    }

    /// Asks to connect.
    pub fn connect(&mut self, conn: &ConnInfo) -> Verdict {
        let request = self.open(Hooks::CONNECT, "CONNECT");
        let outcome = self.app.connect(conn, request);
        self.verdict(request, outcome)
    }

    /// Asks to publish live on message stream 1.
    pub fn publish(&mut self, conn: &ConnInfo, name: &str) -> Verdict {
        let request = self.open(Hooks::PUBLISH, "PUBLISH");
        let publish = Publish { request, stream_id: 1, name, query: "", kind: PublishKind::Live };
        self.publish_as(conn, &publish)
    }

    /// Asks to publish, in full. The request's number is from [`next_request`](Self::next_request).
    pub fn publish_as(&mut self, conn: &ConnInfo, publish: &Publish<'_>) -> Verdict {
        let outcome = self.app.publish(conn, publish);
        self.verdict(publish.request, outcome)
    }

    /// Asks to play on message stream 1, whatever there is.
    pub fn play(&mut self, conn: &ConnInfo, name: &str) -> Verdict {
        let request = self.open(Hooks::PLAY, "PLAY");
        let start = PlayStart::Any;
        let play = Play { request, stream_id: 1, name, query: "", start, duration: None, reset: true };
        self.play_as(conn, &play)
    }

    /// Asks to play, in full. The request's number is from [`next_request`](Self::next_request).
    pub fn play_as(&mut self, conn: &ConnInfo, play: &Play<'_>) -> Verdict {
        let outcome = self.app.play(conn, play);
        self.verdict(play.request, outcome)
    }

    /// Sends a command that wants an answer.
    pub fn message(&mut self, conn: &ConnInfo, name: &str, args: &[Value]) -> Reply {
        let request = self.open(Hooks::MESSAGE, "MESSAGE");
        let args_json = &Value::from(args).to_string();
        let message = Message { request, stream_id: 0, name, args_json, wants_reply: true };
        let outcome = self.app.message(conn, &message);
        match self.answer(request, outcome) {
            None => Reply::Later,
            Some(Answer::Reply(reply)) => reply,
            Some(other) => panic!("a command was answered with {other:?}"),
        }
    }

    /// A published stream describes itself.
    pub fn metadata(&mut self, conn: &ConnInfo, name: &str, values: &Value) {
        self.need(Hooks::METADATA, "METADATA");
        let values_json = &values.to_string();
        done(self.app.metadata(conn, &Metadata { stream_id: 1, name, values_json }));
    }

    /// A publication ends.
    pub fn unpublish(&mut self, conn: &ConnInfo, name: &str) {
        self.need(Hooks::UNPUBLISH, "UNPUBLISH");
        done(self.app.unpublish(conn, &Stream { stream_id: 1, name }));
    }

    /// A playback ends.
    pub fn unplay(&mut self, conn: &ConnInfo, name: &str) {
        self.need(Hooks::UNPLAY, "UNPLAY");
        done(self.app.unplay(conn, &Stream { stream_id: 1, name }));
    }

    /// The connection ends.
    pub fn close(&mut self, conn: &ConnInfo) {
        self.need(Hooks::CLOSE, "CLOSE");
        done(self.app.close(conn));
    }

    /// A request that was put off is called off: an answer to it gets `Gone` from now on.
    pub fn cancel(&mut self, conn: &ConnInfo, request: RequestId) {
        self.need(Hooks::CANCEL, "CANCEL");
        self.seen().requests.remove(&request.0);
        done(self.app.cancel(conn, request));
    }

    /// A number for a request in full. Answers to numbers that were not given out here are `Gone`.
    pub fn next_request(&mut self) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.seen().requests.insert(request.0, None);
        request
    }

    /// The number of the latest request.
    pub fn last_request(&self) -> RequestId {
        RequestId(self.next_request - 1)
    }

    /// The answer to a request, once there is one.
    pub fn answer_to(&self, request: RequestId) -> Option<Answer> {
        self.seen().requests.get(&request.0).cloned().flatten()
    }

    /// Lets time pass for [`Host::now`](crate::Host::now).
    pub fn advance(&mut self, time: Duration) {
        self.seen().now += time;
    }

    /// What was logged until now.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.seen().logs.clone()
    }

    /// The connections that the application closed: number, code, text.
    pub fn closed(&self) -> Vec<(u64, String, String)> {
        self.seen().closed.clone()
    }

    fn open(&mut self, hook: Hooks, name: &str) -> RequestId {
        self.need(hook, name);
        self.next_request()
    }

    /// Catches the hook that was written and not declared.
    fn need(&self, hook: Hooks, name: &str) {
        assert!(
            self.hooks.contains(hook),
            "Hooks::{name} is not in HOOKS: a server would never call this hook"
        );
    }

    fn verdict(&self, request: RequestId, outcome: Result<Outcome, Failure>) -> Verdict {
        match self.answer(request, outcome) {
            None => Verdict::Later,
            Some(Answer::Verdict(verdict)) => verdict,
            Some(other) => panic!("a request was answered with {other:?}"),
        }
    }

    /// `None` stands for "later".
    fn answer(&self, request: RequestId, outcome: Result<Outcome, Failure>) -> Option<Answer> {
        let outcome = outcome.unwrap_or_else(|failure| panic!("the hook failed: {failure}"));
        let answer = self.answer_to(request);
        assert!(answer.is_some() || outcome == Outcome::Later, "the hook gave no answer");
        answer
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done(outcome: Result<Outcome, Failure>) {
    outcome.unwrap_or_else(|failure| panic!("the hook failed: {failure}"));
}

struct Recorder(Arc<Mutex<Seen>>);

impl Recorder {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services for Recorder {
    fn log(&self, level: Level, text: &str) {
        self.seen().logs.push((level, text.to_owned()));
    }

    fn now_ms(&self) -> u64 {
        self.seen().now.as_millis() as u64
    }

    fn respond(&self, request: u64, answer: Option<Answer>) -> Result<(), Gone> {
        match self.seen().requests.get_mut(&request) {
            Some(slot @ None) => {
                *slot = answer;
                Ok(())
            }
            _ => Err(Gone),
        }
    }

    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone> {
        self.seen().closed.push((conn, code.to_owned(), text.to_owned()));
        Ok(())
    }
}
