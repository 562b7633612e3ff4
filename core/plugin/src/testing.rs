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

use crtmp_media::{Frame, Limits, MediaKind};
use serde_json::{Value, json};

use crate::abi;
use crate::answer::{Answer, Reply, Verdict};
use crate::app::{App, Hooks};
use crate::calls::CommandCall;
use crate::conn::{
    AppPath, Ended, Message, Metadata, Play, PlayStart, Pong, Publish, PublishKind, RequestId, SharedObject,
    Stream,
};
use crate::context::Rights;
pub use crate::foreign::ConnInfo;
use crate::foreign::{AppEntry, Failure, Instance, Outcome, Services, SourceState, What, read_frame};
use crate::host::{Gone, Level, NotTaken};
use crate::links::{Pull, Push};

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
    calls: Vec<Call>,
    taps: Vec<(u64, u32, bool)>,
    timers: HashMap<u64, (u64, u64)>,
    commands: Vec<Value>,
    sources: Vec<String>,
    frames: Vec<(u64, MediaKind, i64, Vec<u8>)>,
    headers: HashMap<(u64, u32), Frame>,
    /// Requests without an answer are `None`.
    requests: HashMap<u64, Option<Answer>>,
}

/// Something that the application asked of the server and whose result comes later.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Names the call in [`FakeHost::answer_call`]; 0: no result is wanted.
    pub ticket: u64,
    /// What it is.
    pub what: Called,
}

/// What the application asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Called {
    /// A command of a peer: connection, name, arguments.
    Peer(u64, String, Value),
    /// A command of the server: name, parameters.
    Command(String, Value),
    /// A connection: address, chain, keys.
    Connect(String, String, Value),
    /// A stream to pull over a connection, as JSON.
    Pull(u64, Value),
    /// A stream to push over a connection, as JSON.
    Push(u64, Value),
    /// An HTTP request: head and body.
    Http(Value, Vec<u8>),
    /// The end of publications: connection, message stream, text.
    Unpublish(u64, u32, String),
    /// The end of playbacks: connection, message stream, text.
    Unplay(u64, u32, String),
}

impl FakeHost {
    /// Starts the application with these settings (JSON text).
    pub fn new<T: App>(settings: &str) -> Result<Self, Failure> {
        Self::start(&AppEntry::of::<T>(), settings)
    }

    /// Starts an application of a library with these settings (JSON text).
    pub fn start(entry: &AppEntry, settings: &str) -> Result<Self, Failure> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        entry.validate(Recorder(seen.clone()), settings)?;
        let app = entry.create(Recorder(seen.clone()), settings)?;
        Ok(Self { app, hooks: entry.hooks(), seen, next_request: 1 })
    }

    /// A connection is accepted.
    pub fn accept(&mut self, conn: &ConnInfo) -> Verdict {
        let request = self.open(Hooks::ACCEPT, "ACCEPT");
        let outcome = self.app.accept(conn, request);
        self.verdict(request, outcome)
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

    /// Wants something of a shared object that goes with its clients; `wishes` as `SharedObject::wishes_json` has them.
    pub fn shared_object(&mut self, conn: &ConnInfo, name: &str, wishes: &[Value]) -> Verdict {
        let request = self.open(Hooks::SHARED_OBJECT, "SHARED_OBJECT");
        let wishes_json = &Value::from(wishes).to_string();
        let object = SharedObject { request, name, persistent: false, wishes_json };
        let outcome = self.app.shared_object(conn, &object);
        self.verdict(request, outcome)
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
        done(self.app.unpublish(conn, &Stream { stream_id: 1, name, why: Ended::ByPeer }));
    }

    /// A playback ends.
    pub fn unplay(&mut self, conn: &ConnInfo, name: &str) {
        self.need(Hooks::UNPLAY, "UNPLAY");
        done(self.app.unplay(conn, &Stream { stream_id: 1, name, why: Ended::ByPeer }));
    }

    /// A playback ends because its stream does.
    pub fn source_ended(&mut self, conn: &ConnInfo, name: &str) {
        self.need(Hooks::UNPLAY, "UNPLAY");
        done(self.app.unplay(conn, &Stream { stream_id: 1, name, why: Ended::BySource }));
    }

    /// The connection ends.
    pub fn close(&mut self, conn: &ConnInfo) {
        self.need(Hooks::CLOSE, "CLOSE");
        done(self.app.close(conn, "closed by the peer"));
    }

    /// The far end answers a ping.
    pub fn pong(&mut self, conn: &ConnInfo, rtt: Duration, received: u64) {
        self.need(Hooks::PONG, "PONG");
        done(self.app.pong(conn, Pong { rtt, received }));
    }

    /// A frame of a connection that the application has tapped: kind, time in ms, body of its FLV tag.
    ///
    /// # Panics
    ///
    /// If it has not, or if that is no body of a tag.
    pub fn frame(&mut self, conn: &ConnInfo, name: &str, kind: MediaKind, dts: i64, body: &[u8]) {
        assert!(self.is_tapped(conn.id), "the application has not tapped this connection");
        let frame = read_frame(kind, dts, body, &Limits::default()).expect("the body of an FLV tag");
        done(self.app.frame(conn, 1, name, 0, &Arc::new(frame)));
    }

    /// A stream comes or goes.
    pub fn stream(&mut self, publisher: u64, name: &str, live: bool) {
        self.need(Hooks::STREAM, "STREAM");
        done(self.app.tell(&What::Stream { publisher, name, live }));
    }

    /// A source of the application is published, or refused or ended with this text.
    pub fn source(&mut self, source: u64, state: Result<(), &str>) {
        let state = state.map_or_else(SourceState::Ended, |()| SourceState::Live);
        done(self.app.tell(&What::Source { source, state }));
    }

    /// A timer of the application is due.
    ///
    /// # Panics
    ///
    /// If it has not been set.
    pub fn timer(&mut self, timer: u64) {
        let set = self.seen().timers.get(&timer).copied();
        let (_, period) = set.expect("the application has set this timer");
        if period == 0 {
            self.seen().timers.remove(&timer);
        }
        done(self.app.tell(&What::Timer(timer)));
    }

    /// Calls a command that the application has added. Parameters are passed as they are: the server would check them
    /// and add defaults.
    ///
    /// # Panics
    ///
    /// If there is no such command.
    pub fn command(&mut self, name: &str, params: &Value) -> Reply {
        let known = self.seen().commands.iter().any(|command| command["name"] == name);
        assert!(known, "the application has not added the command {name:?}");
        let request = self.next_request();
        let params_json = &params.to_string();
        let outcome = self.app.tell(&What::Command(CommandCall { request, name, params_json }));
        match self.answer(request, outcome) {
            None => Reply::Later,
            Some(Answer::Reply(reply)) => reply,
            Some(other) => panic!("a command was answered with {other:?}"),
        }
    }

    /// What the application asked for, whose results come by [`answer_call`](Self::answer_call).
    pub fn calls(&self) -> Vec<Call> {
        self.seen().calls.clone()
    }

    /// Brings the result of a call: `Ok` with what it returned, `Err` with what a peer answered as `_error` or the text
    /// of a failure. Of an HTTP request: an object with `status` and `body` (a text). Of a connection: an object with
    /// `connection`. Of a pull or push: an object with `streamId` and `status`, also where the far end refused it.
    pub fn answer_call(&mut self, ticket: u64, result: Result<Value, Value>) {
        let (status, value) = match &result {
            Ok(value) => (abi::RESULT_OK, value),
            Err(value) => (abi::RESULT_ERROR, value),
        };
        let conn = value.get("connection").and_then(Value::as_u64).unwrap_or_default();
        let body = value.get("body").and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = &value.to_string();
        done(self.app.tell(&What::Result { ticket, status, conn, value, body: body.as_bytes() }));
    }

    /// The commands that the application has added, as JSON.
    pub fn commands(&self) -> Vec<Value> {
        self.seen().commands.clone()
    }

    /// The timers that are set: number, delay and period in ms.
    pub fn timers(&self) -> Vec<(u64, u64, u64)> {
        self.seen().timers.iter().map(|(timer, (delay, period))| (*timer, *delay, *period)).collect()
    }

    /// The names of the application's sources; the first one has the number 1.
    pub fn sources(&self) -> Vec<String> {
        self.seen().sources.clone()
    }

    /// The frames that the application has given: source, kind, time in ms, body.
    pub fn sent_frames(&self) -> Vec<(u64, MediaKind, i64, Vec<u8>)> {
        self.seen().frames.clone()
    }

    /// Whether the application wants the frames of a connection: of all that it publishes, or of message stream 1.
    pub fn is_tapped(&self, conn: u64) -> bool {
        let seen = self.seen();
        let of_it = |tap: &&(u64, u32, bool)| tap.0 == conn && tap.1 <= 1;
        seen.taps.iter().rev().find(of_it).is_some_and(|tap| tap.2)
    }

    /// Puts a codec configuration where the application finds it, whichever message stream it asks about: connection,
    /// kind, body of its FLV tag.
    ///
    /// # Panics
    ///
    /// If that is no body of a tag.
    pub fn put_sequence_header(&mut self, conn: u64, kind: MediaKind, body: &[u8]) {
        let frame = read_frame(kind, 0, body, &Limits::default()).expect("the body of an FLV tag");
        self.seen().headers.insert((conn, crate::frames::number_of(kind)), frame);
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

    fn name(&self) -> &str {
        "test"
    }

    fn now_ms(&self) -> u64 {
        self.seen().now.as_millis() as u64
    }

    fn respond(&self, request: u64, answer: Option<Answer>) -> Result<(), NotTaken> {
        match self.seen().requests.get_mut(&request) {
            Some(slot @ None) => {
                *slot = Some(answer.ok_or(NotTaken::Invalid)?);
                Ok(())
            }
            _ => Err(NotTaken::Gone),
        }
    }

    fn close_connection(&self, conn: u64, code: &str, text: &str) -> Result<(), Gone> {
        self.seen().closed.push((conn, code.to_owned(), text.to_owned()));
        Ok(())
    }

    fn call(&self, conn: u64, name: &str, args: &str, ticket: u64) -> Result<(), NotTaken> {
        self.called(ticket, Called::Peer(conn, name.to_owned(), read(args)?))
    }

    fn unpublish(&self, conn: u64, stream_id: u32, _code: &str, text: &str) -> Result<(), Gone> {
        self.called(0, Called::Unpublish(conn, stream_id, text.to_owned())).map_err(|_| Gone)
    }

    fn unplay(&self, conn: u64, stream_id: u32, _code: &str, text: &str) -> Result<(), Gone> {
        self.called(0, Called::Unplay(conn, stream_id, text.to_owned())).map_err(|_| Gone)
    }

    fn tap(&self, conn: u64, stream_id: u32, on: bool) -> Result<(), Gone> {
        self.seen().taps.push((conn, stream_id, on));
        Ok(())
    }

    fn sequence_header(&self, conn: u64, _stream_id: u32, kind: MediaKind) -> Option<Frame> {
        self.seen().headers.get(&(conn, crate::frames::number_of(kind))).cloned()
    }

    fn timer_set(&self, timer: u64, delay_ms: u64, period_ms: u64) -> Result<(), NotTaken> {
        self.seen().timers.insert(timer, (delay_ms, period_ms));
        Ok(())
    }

    fn timer_cancel(&self, timer: u64) -> Result<(), Gone> {
        self.seen().timers.remove(&timer).map(drop).ok_or(Gone)
    }

    fn command(&self, name: &str, params: &str, _rights: Rights, ticket: u64) -> Result<(), NotTaken> {
        let params = if params.is_empty() { json!({}) } else { read(params)? };
        self.called(ticket, Called::Command(name.to_owned(), params))
    }

    fn command_add(&self, command: &str) -> Result<(), String> {
        let command: Value = serde_json::from_str(command).map_err(|error| error.to_string())?;
        // As in a server, the newer one takes the place of the older.
        let _ = self.command_remove(command["name"].as_str().unwrap_or_default());
        self.seen().commands.push(command);
        Ok(())
    }

    fn command_remove(&self, name: &str) -> Result<(), Gone> {
        let commands = &mut self.seen().commands;
        let before = commands.len();
        commands.retain(|command| {
            !command["name"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name))
        });
        if commands.len() < before { Ok(()) } else { Err(Gone) }
    }

    fn source_open(&self, name: &str) -> Option<u64> {
        let mut seen = self.seen();
        seen.sources.push(name.to_owned());
        Some(seen.sources.len() as u64)
    }

    fn source_frame(&self, source: u64, kind: MediaKind, dts: i64, body: &[u8]) -> Result<(), NotTaken> {
        read_frame(kind, dts, body, &Limits::default()).ok_or(NotTaken::Invalid)?;
        self.seen().frames.push((source, kind, dts, body.to_vec()));
        Ok(())
    }

    fn source_close(&self, _source: u64) -> Result<(), Gone> {
        Ok(())
    }

    fn connect(&self, address: &str, chain: &str, keys: &str, ticket: u64) -> Result<(), NotTaken> {
        let keys = if keys.is_empty() { json!({}) } else { read(keys)? };
        self.called(ticket, Called::Connect(address.to_owned(), chain.to_owned(), keys))
    }

    fn pull(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        Pull::read(what).ok_or(NotTaken::Invalid)?;
        self.called(ticket, Called::Pull(conn, read(what)?))
    }

    fn push(&self, conn: u64, what: &str, ticket: u64) -> Result<(), NotTaken> {
        Push::read(what).ok_or(NotTaken::Invalid)?;
        self.called(ticket, Called::Push(conn, read(what)?))
    }

    fn http(&self, request: &str, body: &[u8], ticket: u64) -> Result<(), NotTaken> {
        self.called(ticket, Called::Http(read(request)?, body.to_vec()))
    }
}

impl Recorder {
    fn called(&self, ticket: u64, what: Called) -> Result<(), NotTaken> {
        self.seen().calls.push(Call { ticket, what });
        Ok(())
    }
}

fn read(json: &str) -> Result<Value, NotTaken> {
    serde_json::from_str(json).map_err(|_| NotTaken::Invalid)
}
