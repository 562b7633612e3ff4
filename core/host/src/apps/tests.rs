//! Applications that are linked in, on their threads. Real libraries are in `tests/plugins.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use crtmp_plugin::foreign::{AppEntry, Failure, Outcome};
use crtmp_plugin::{
    App, CallError, CallResult, CommandCall, Conn, ConnId, Ended, Hooks, Host, Metadata, NoSettings,
    NotTaken, Publish, Reply, RequestId, SourceId, Stream, TimerId, Verdict,
};
use slog::{Discard, Logger, o};

use super::mailbox::{SPARE_OF_ONE, What};
use super::request::{Effect, MessageInfo, Notice, NoticeKind, PublishInfo, Request, RequestKind};
use super::state::{Next, State};
use super::{
    AppConfig, AppHandle, CallOutcome, ConnInfo, Decision, Health, Limits, Outside, PublishKind, Stopped,
    Watchdog,
};

/// Reports what reaches it; the name of a stream is an order.
struct Reporter {
    host: Host,
    put_off: Vec<RequestId>,
}

impl App for Reporter {
    const NAME: &'static str = "reporter";
    const HOOKS: Hooks = Hooks::PUBLISH.and(Hooks::METADATA).and(Hooks::UNPUBLISH);
    type Settings = NoSettings;

    fn new(host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self { host, put_off: Vec::new() })
    }

    fn on_connect(&mut self, _conn: &Conn<'_>, _request: RequestId) -> Verdict {
        panic!("the hook is not declared: nobody may call it");
    }

    fn on_publish(&mut self, conn: &Conn<'_>, publish: Publish<'_>) -> Verdict {
        match publish.name {
            "later" => {
                self.put_off.push(publish.request);
                Verdict::Later
            }
            "now" => {
                let answers =
                    self.put_off.drain(..).map(|request| self.host.respond(request, Verdict::Accept));
                Verdict::refuse(format!("{:?}", answers.collect::<Vec<Result<(), NotTaken>>>()))
            }
            "close" => {
                conn.close("NetConnection.Connect.Closed", "bye");
                Verdict::Accept
            }
            "sleep" => {
                std::thread::sleep(Duration::from_millis(100));
                Verdict::Accept
            }
            name => Verdict::accept_as(format!("{name} of {} from {}", conn.id(), conn.peer())),
        }
    }

    fn on_metadata(&mut self, conn: &Conn<'_>, metadata: Metadata<'_>) {
        conn.close("metadata", metadata.values()["n"].as_str().expect("a text"));
    }

    fn on_unpublish(&mut self, conn: &Conn<'_>, stream: Stream<'_>) {
        conn.close("unpublish", stream.name);
    }
}

fn start() -> (AppHandle, Receiver<Effect>, Watchdog) {
    let watchdog = Watchdog::start().expect("threads can be made");
    let (sink, effects): (Sender<Effect>, _) = unbounded();
    let config = AppConfig {
        name: "reporter".to_owned(),
        library: "linked in".into(),
        settings: String::new(),
        folder: String::new(),
        limits: Limits { hook_timeout: Duration::from_secs(20), ..Limits::default() },
    };
    let sink = Outside::hearing(move |effect| drop(sink.send(effect)));
    let entry = AppEntry::of::<Reporter>();
    let app = AppHandle::start(&config, &entry, &watchdog, &quiet(), sink).expect("it starts");
    (app, effects, watchdog)
}

fn quiet() -> Logger {
    Logger::root(Discard, o!())
}

fn conn(id: u64) -> Arc<ConnInfo> {
    Arc::new(ConnInfo { id, peer: format!("peer {id}"), ..ConnInfo::default() })
}

fn publish(conn_id: u64, id: u64, name: &str) -> Request {
    let kind =
        PublishInfo { stream_id: 1, name: name.to_owned(), query: String::new(), kind: PublishKind::Live };
    Request { conn: conn(conn_id), id, kind: RequestKind::Publish(kind) }
}

fn metadata(conn_id: u64, n: &str) -> Notice {
    let values = [("n".to_owned(), n.into())].into_iter().collect();
    let kind = NoticeKind::Metadata { stream_id: 1, name: "x".to_owned(), values };
    Notice { conn: conn(conn_id), kind }
}

/// The next effect in short form.
fn next(effects: &Receiver<Effect>) -> String {
    match effects.recv_timeout(Duration::from_secs(20)).expect("an effect comes") {
        Effect::Close { conn, code, text } => format!("{conn} close {code} {text}"),
        Effect::Answer(answer) => {
            let decision = match answer.decision {
                Decision::Accept => "accept".to_owned(),
                Decision::AcceptAs(name) => format!("as {name}"),
                Decision::Reject { text, .. } => format!("reject {text}"),
                other => format!("{other:?}"),
            };
            format!("{}/{} {decision}", answer.conn, answer.id)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_request_without_a_hook_is_settled_at_once() {
    let (app, effects, _watchdog) = start();
    let answer = app.request(Request { conn: conn(1), id: 9, kind: RequestKind::Connect }).expect("at once");
    assert_eq!((answer.conn, answer.id, answer.decision), (1, 9, Decision::Accept));
    assert!(app.has(Hooks::PUBLISH) && !app.has(Hooks::CONNECT));
    assert_eq!(app.stop(Duration::from_secs(20)), Stopped::Ended);
    assert!(effects.is_empty());
}

#[test]
fn hooks_know_their_connection_and_keep_its_order() {
    let (app, effects, _watchdog) = start();
    assert_eq!(app.request(publish(3, 1, "news")), None);
    app.notify(metadata(3, "one"));
    app.notify(Notice {
        conn: conn(3),
        kind: NoticeKind::Unplay { stream_id: 1, name: "no hook".to_owned(), why: Ended::ByPeer },
    });
    app.notify(Notice {
        conn: conn(3),
        kind: NoticeKind::Unpublish { stream_id: 1, name: "news".to_owned(), why: Ended::ByPeer },
    });
    assert_eq!(next(&effects), "3/1 as news of 3 from peer 3");
    assert_eq!(next(&effects), "3 close metadata one");
    assert_eq!(next(&effects), "3 close unpublish news");
}

#[test]
fn of_descriptions_that_wait_the_last_one_counts() {
    let (app, effects, _watchdog) = start();
    assert_eq!(app.request(publish(1, 1, "sleep")), None);
    while app.waiting() > 0 {
        std::thread::yield_now();
    }
    for n in ["one", "two", "three"] {
        app.notify(metadata(1, n));
    }
    assert_eq!(next(&effects), "1/1 accept");
    assert_eq!(next(&effects), "1 close metadata three");
}

#[test]
fn a_put_off_request_is_answered_once_and_not_after_its_connection_has_left() {
    let (app, effects, _watchdog) = start();
    for (conn, id) in [(1, 1), (2, 1)] {
        assert_eq!(app.request(publish(conn, id, "later")), None);
    }
    // Both must have had their hook before the connection leaves.
    assert_eq!(app.request(publish(4, 1, "x")), None);
    assert_eq!(next(&effects), "4/1 as x of 4 from peer 4");
    app.notify(Notice { conn: conn(1), kind: NoticeKind::Close { reason: String::new() } });
    assert_eq!(app.request(publish(3, 1, "now")), None);
    assert_eq!(next(&effects), "2/1 accept");
    assert_eq!(next(&effects), "3/1 reject [Err(Gone), Ok(())]");
}

#[test]
fn an_application_closes_connections_through_the_sink() {
    let (app, effects, _watchdog) = start();
    assert_eq!(app.request(publish(7, 2, "close")), None);
    assert_eq!(next(&effects), "7 close NetConnection.Connect.Closed bye");
    assert_eq!(next(&effects), "7/2 accept");
}

#[test]
fn a_dropped_handle_ends_its_application() {
    let (app, effects, _watchdog) = start();
    assert_eq!(app.request(publish(1, 1, "later")), None);
    drop(app);
    assert_eq!(next(&effects), "1/1 reject application `reporter` is stopping");
    // The sink goes with the thread.
    assert!(effects.recv_timeout(Duration::from_secs(20)).is_err_and(|error| error.is_disconnected()));
}

#[test]
fn every_request_gets_exactly_one_answer() {
    let (app, effects, _watchdog) = start();
    let names = ["x", "later", "y", "later", "now"];
    let given_at_once: usize = std::thread::scope(|scope| {
        let ask = |conn: u64| {
            let requests = (0..500).map(|id| app.request(publish(conn, id, names[(id % 5) as usize])));
            requests.filter(Option::is_some).count()
        };
        let askers: Vec<_> = (1..=4).map(|conn| scope.spawn(move || ask(conn))).collect();
        askers.into_iter().map(|asker| asker.join().expect("no panic")).sum()
    });
    assert_eq!(app.stop(Duration::from_secs(20)), Stopped::Ended);
    let mut answered: Vec<_> = effects
        .try_iter()
        .map(|effect| match effect {
            Effect::Answer(answer) => (answer.conn, answer.id),
            other => panic!("{other:?}"),
        })
        .collect();
    let count = answered.len();
    answered.sort_unstable();
    answered.dedup();
    assert_eq!(answered.len(), count, "no answer comes twice");
    assert_eq!(count + given_at_once, 2000, "none is missing");
}

/// A state whose thread is this test, and whose clock, too.
fn state(limits: Limits) -> State {
    State::new("sample", AppEntry::of::<Reporter>().hooks(), limits, quiet())
}

fn run_hook(state: &mut State, result: Result<Outcome, Failure>, now: Instant) -> Vec<Effect> {
    let mut effects = Vec::new();
    assert!(matches!(state.next(now, &mut effects), Next::Call(..)));
    state.finished(result, now, &mut effects);
    effects
}

#[test]
fn panics_count_within_their_window_only() {
    let limits = Limits { panics: 3, panic_window: Duration::from_secs(60), ..Limits::default() };
    let mut state = state(limits);
    let start = Instant::now();
    let panic = |state: &mut State, second: u64| {
        assert_eq!(state.request(publish(1, second, "x")), None);
        let effects =
            run_hook(state, Err(Failure::Panic("x".to_owned())), start + Duration::from_secs(second));
        assert_eq!(effects.len(), 1, "each is refused once");
        state.health()
    };
    assert_eq!(panic(&mut state, 0), Health::Well);
    assert_eq!(panic(&mut state, 50), Health::Well);
    assert_eq!(panic(&mut state, 61), Health::Well, "the first is too old");
    assert_eq!(panic(&mut state, 100), Health::Disabled);
    assert!(state.request(publish(1, 1, "x")).is_some());
}

#[test]
fn an_error_without_a_panic_is_refused_and_not_counted() {
    let mut state = state(Limits { panics: 1, ..Limits::default() });
    assert_eq!(state.request(publish(1, 1, "x")), None);
    let effects = run_hook(&mut state, Err(Failure::Error("status 7".to_owned())), Instant::now());
    assert_eq!((effects.len(), state.health()), (1, Health::Well));
}

#[test]
fn a_hook_that_gives_no_answer_is_refused() {
    let mut state = state(Limits::default());
    assert_eq!(state.request(publish(1, 1, "x")), None);
    assert_eq!(run_hook(&mut state, Ok(Outcome::Done), Instant::now()).len(), 1);
}

#[test]
fn an_answer_that_does_not_fit_leaves_the_request_open() {
    let mut state = state(Limits::default());
    assert_eq!(state.request(publish(1, 1, "x")), None);
    let Next::Call(job, _) = state.next(Instant::now(), &mut Vec::new()) else { panic!("a hook to call") };
    let What::Request { ticket, .. } = job.what else { panic!("that of the request") };
    assert_eq!(state.respond(ticket, None), Err(NotTaken::Invalid));
    assert_eq!(state.respond(ticket, Some(Verdict::hand_to("live").into())), Err(NotTaken::Invalid));
    assert!(state.respond(ticket, Some(Verdict::Accept.into())).is_ok());
    assert_eq!(state.respond(ticket, Some(Verdict::Accept.into())), Err(NotTaken::Gone));
}

#[test]
fn a_message_that_wants_no_reply_may_go_without() {
    for wants_reply in [true, false] {
        let (logger, lines) = heard();
        let mut state = State::new("x", Hooks::MESSAGE, Limits::default(), logger);
        let (name, args) = ("hello".to_owned(), Vec::new());
        let kind = RequestKind::Message(MessageInfo { stream_id: 0, name, args, wants_reply });
        assert_eq!(state.request(Request { conn: conn(1), id: 1, kind }), None);
        assert_eq!(
            run_hook(&mut state, Ok(Outcome::Done), Instant::now()).len(),
            1,
            "the connection waits for it"
        );
        assert_eq!(lines.try_iter().count(), usize::from(wants_reply));
    }
}

#[test]
fn a_hook_that_fails_is_told_that_its_request_was_called_off() {
    for (result, refusals) in [(Ok(Outcome::Done), 0), (Err(Failure::Error("no".to_owned())), 0)] {
        let mut state = State::new("x", Hooks::PUBLISH.and(Hooks::CANCEL), Limits::default(), quiet());
        assert_eq!(state.request(publish(1, 1, "x")), None);
        let mut effects = Vec::new();
        assert!(matches!(state.next(Instant::now(), &mut effects), Next::Call(..)));
        state.notify(Notice { conn: conn(1), kind: NoticeKind::Close { reason: "left".to_owned() } });
        state.finished(result, Instant::now(), &mut effects);
        assert_eq!(effects.len(), refusals);
        let Next::Call(job, _) = state.next(Instant::now(), &mut effects) else { panic!("a hook to call") };
        assert!(matches!(job.what, What::Cancel { .. }), "{:?}", job.what);
    }
}

/// A logger, and its lines.
fn heard() -> (Logger, Receiver<String>) {
    struct Lines(Sender<String>);

    impl slog::Drain for Lines {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
            let _ = self.0.send(record.msg().to_string());
            Ok(())
        }
    }

    let (sender, lines) = unbounded();
    (Logger::root(Lines(sender), slog::o!()), lines)
}

#[test]
fn the_clock_is_looked_at_when_the_first_thing_is_due() {
    let limits = Limits {
        hook_timeout: Duration::from_secs(5),
        later_timeout: Duration::from_secs(30),
        ..Limits::default()
    };
    let mut state = state(limits);
    let start = Instant::now();
    let mut effects = Vec::new();
    assert_eq!(state.check(start, &mut effects), None, "nothing is due");

    assert_eq!(state.request(publish(1, 1, "x")), None);
    run_hook(&mut state, Ok(Outcome::Later), start);
    assert_eq!(state.check(start, &mut effects), Some(start + Duration::from_secs(30)));

    assert_eq!(state.request(publish(2, 1, "x")), None);
    assert!(matches!(state.next(start, &mut effects), Next::Call(..)));
    assert_eq!(state.check(start, &mut effects), Some(start + Duration::from_secs(5)));
    assert!(effects.is_empty());

    assert_eq!(state.check(start + Duration::from_secs(5), &mut effects), None);
    assert_eq!((effects.len(), state.health()), (2, Health::Stuck));
    state.finished(Ok(Outcome::Done), start + Duration::from_secs(9), &mut effects);
    assert_eq!((effects.len(), state.health()), (2, Health::Well));
}

/// Does what its timers, commands and results are for; the name of a command is an order.
struct Worker {
    host: Host,
}

impl App for Worker {
    const NAME: &'static str = "worker";
    const HOOKS: Hooks = Hooks::STREAM.and(Hooks::CLOSE);
    type Settings = NoSettings;

    fn new(host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self { host })
    }

    fn on_timer(&mut self, timer: TimerId) {
        if timer.0 == 7 {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.say(format!("timer {}", timer.0));
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        self.say(format!("{name} of {publisher} {live}"));
    }

    fn on_source(&mut self, source: SourceId, state: Result<(), &str>) {
        self.say(format!("source {} {state:?}", source.0));
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        self.say(format!("closed {}", conn.id()));
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        let then = |text: &'static str| {
            move |app: &mut Self, result: Result<CallResult, CallError>| {
                app.say(format!("{text} {}", result.is_ok()));
            }
        };
        match call.name {
            "later" => return Reply::Later,
            "panic" => panic!("as ordered"),
            "call" => self.host.call(ConnId(9), "f", &[], then("called")).expect("it is taken"),
            "ticking" => self.set(TimerId(7), Some(Duration::from_millis(1))),
            "once" => self.set(TimerId(1), None),
            _ => return Reply::Ignore,
        }
        Reply::Result(call.params_json.into())
    }
}

impl Worker {
    fn set(&self, timer: TimerId, period: Option<Duration>) {
        self.host.set_timer(timer, Duration::ZERO, period).expect("there is room");
    }

    /// Shows through the sink what has happened.
    fn say(&self, text: String) {
        let _ = self.host.close(ConnId(0), "", &text);
    }
}

fn start_worker() -> (AppHandle, Receiver<Effect>, Arc<AtomicUsize>, Watchdog) {
    let watchdog = Watchdog::start().expect("threads can be made");
    let (sink, effects): (Sender<Effect>, _) = unbounded();
    let config = AppConfig {
        name: "worker".to_owned(),
        library: "linked in".into(),
        settings: String::new(),
        folder: String::new(),
        limits: Limits { hook_timeout: Duration::from_secs(20), ..Limits::default() },
    };
    let ended = Arc::new(AtomicUsize::new(0));
    let counting = ended.clone();
    let outside = Outside {
        ended: Box::new(move || {
            counting.fetch_add(1, Ordering::Relaxed);
        }),
        ..Outside::hearing(move |effect| drop(sink.send(effect)))
    };
    let entry = AppEntry::of::<Worker>();
    let app = AppHandle::start(&config, &entry, &watchdog, &quiet(), outside).expect("it starts");
    (app, effects, ended, watchdog)
}

fn said(effects: &Receiver<Effect>) -> String {
    match effects.recv_timeout(Duration::from_secs(20)).expect("an effect comes") {
        Effect::Close { text, .. } => text,
        Effect::Command(id, result) => format!("{id} {result:?}"),
        Effect::Call { ticket, .. } => format!("call {}", ticket != 0),
        other => format!("{other:?}"),
    }
}

fn order(app: &AppHandle, id: u64, name: &str) {
    assert_eq!(app.run_command(id, name.to_owned(), "{}".to_owned()), None);
}

#[test]
fn commands_timers_streams_and_sources_reach_the_application() {
    let (app, effects, ..) = start_worker();
    order(&app, 1, "once");
    assert_eq!(said(&effects), "1 Ok(String(\"{}\"))");
    assert_eq!(said(&effects), "timer 1");
    order(&app, 2, "nonsense");
    assert_eq!(said(&effects), "2 Err(\"the application does not know this command\")");
    order(&app, 3, "panic");
    assert_eq!(said(&effects), "3 Err(\"application `worker` failed\")");
    app.tell(NoticeKind::Stream { publisher: 4, name: "news".to_owned(), live: true });
    assert_eq!(said(&effects), "news of 4 true");
    app.tell(NoticeKind::Source { source: 5, state: Err("busy".to_owned()) });
    assert_eq!(said(&effects), "source 5 Err(\"busy\")");
}

#[test]
fn the_result_of_a_call_is_taken_once() {
    let (app, effects, ..) = start_worker();
    order(&app, 1, "call");
    let Ok(Effect::Call { ticket, .. }) = effects.recv_timeout(Duration::from_secs(20)) else {
        panic!("no call")
    };
    assert_eq!(said(&effects), "1 Ok(String(\"{}\"))");
    for _ in 0..3 {
        app.tell(NoticeKind::Result { ticket, outcome: CallOutcome::done("[]".to_owned()) });
    }
    app.tell(NoticeKind::Result { ticket: u64::MAX, outcome: CallOutcome::gone() });
    app.notify(Notice { conn: conn(8), kind: NoticeKind::Close { reason: String::new() } });
    let mut all = [said(&effects), said(&effects)];
    all.sort();
    assert_eq!(all, ["called true", "closed 8"]);
    assert_eq!(app.stop(Duration::from_secs(20)), Stopped::Ended);
    assert!(effects.is_empty());
}

#[test]
fn a_timer_that_is_slower_than_its_period_keeps_nobody_out_and_ends_with_the_application() {
    let (app, effects, ..) = start_worker();
    order(&app, 1, "ticking");
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        assert_ne!(said(&effects), "");
    }
    order(&app, 2, "nonsense");
    let waited = (0..20).position(|_| said(&effects).starts_with("2 "));
    assert!(waited.is_some_and(|hooks| hooks < 4), "{waited:?}");
    assert_eq!(app.stop(Duration::from_secs(10)), Stopped::Ended);
}

#[test]
fn disabling_refuses_what_waits_and_is_told_once() {
    let (app, effects, ended, _watchdog) = start_worker();
    order(&app, 1, "later");
    order(&app, 2, "ticking");
    while !said(&effects).starts_with("2 ") {}
    app.disable();
    while said(&effects) != "1 Err(\"application `worker` is disabled\")" {}
    assert_eq!(app.health(), Health::Disabled);
    let refused = app.run_command(3, "once".to_owned(), "{}".to_owned()).expect("at once");
    assert!(matches!(refused.decision, Decision::Error(_)));
    app.disable();
    assert_eq!(app.stop(Duration::from_secs(10)), Stopped::Ended);
    assert_eq!((app.health(), ended.load(Ordering::Relaxed)), (Health::Disabled, 1));
}

#[test]
fn a_connection_that_is_handed_back_is_asked_about_again() {
    let mut state = state(Limits::default());
    let now = Instant::now();
    assert_eq!(state.request(publish(1, 1, "x")), None);
    state.notify(Notice { conn: conn(1), kind: NoticeKind::Close { reason: String::new() } });
    assert_eq!(state.request(publish(1, 2, "x")), None);
    let refused = run_hook(&mut state, Ok(Outcome::Done), now);
    assert_eq!(refused.len(), 1, "the second is asked: {refused:?}");
}

#[test]
fn frames_without_a_hook_take_no_room() {
    let mut state =
        State::new("sample", Hooks::PUBLISH, Limits { tap_bytes: 1, ..Limits::default() }, quiet());
    let frame = Arc::new(crtmp_media::Frame {
        kind: crtmp_media::MediaKind::Video,
        role: crtmp_media::Role::Key,
        codec: crtmp_media::Codec::Avc,
        track: 0,
        dts: 0,
        cts: 0,
        body: vec![0; 10].into(),
        data_at: 0,
    });
    let kind = NoticeKind::Frame { stream_id: 1, name: "x".to_owned(), left_out: 0, frame };
    state.notify(Notice { conn: conn(1), kind });
    assert!(matches!(state.next(Instant::now(), &mut Vec::new()), Next::Wait(None)));
}

/// Takes all hooks that wait, each of which returns at once; gives what they were.
fn drain(state: &mut State, now: Instant) -> Vec<String> {
    let mut effects = Vec::new();
    let mut hooks = Vec::new();
    while let Next::Call(job, _) = state.next(now, &mut effects) {
        hooks.push(match &job.what {
            What::Request { .. } => format!("{} request", job.conn.id),
            What::Cancel { .. } => format!("{} cancel", job.conn.id),
            What::Notice(NoticeKind::Unpublish { .. }) => format!("{} unpublish", job.conn.id),
            What::Notice(NoticeKind::Close { .. }) => format!("{} close", job.conn.id),
            What::Notice(other) => format!("{} {other:?}", job.conn.id),
        });
        state.finished(Ok(Outcome::Done), now, &mut effects);
    }
    hooks
}

fn close(conn_id: u64) -> Notice {
    Notice { conn: conn(conn_id), kind: NoticeKind::Close { reason: String::new() } }
}

fn unpublish(conn_id: u64) -> Notice {
    let kind = NoticeKind::Unpublish { stream_id: 1, name: "x".to_owned(), why: Ended::ByPeer };
    Notice { conn: conn(conn_id), kind }
}

#[test]
fn who_was_refused_while_the_application_was_stuck_leaves_nothing_in_its_mailbox() {
    let hooks = Hooks::CONNECT.and(Hooks::CLOSE);
    let mut state = State::new("x", hooks, Limits::default(), quiet());
    let connect = |id: u64| Request { conn: conn(id), id: 1, kind: RequestKind::Connect };
    let start = Instant::now();
    let mut effects = Vec::new();
    assert_eq!(state.request(connect(1)), None);
    assert!(matches!(state.next(start, &mut effects), Next::Call(..)));
    // One that leaves while it waits for its hook was never there either.
    assert_eq!(state.request(connect(2)), None);
    state.notify(close(2));
    let stuck = start + Limits::default().hook_timeout;
    state.check(stuck, &mut effects);
    assert_eq!(state.health(), Health::Stuck);
    for id in 3..50_000 {
        assert!(state.request(connect(id)).is_some(), "refused at once");
        state.notify(close(id));
    }
    // The one whose hook runs is heard to its end.
    state.notify(close(1));
    state.finished(Ok(Outcome::Done), stuck, &mut effects);
    assert_eq!(drain(&mut state, stuck), ["1 close"]);
}

#[test]
fn ends_of_what_the_application_was_not_asked_about_are_bounded_and_what_was_left_out_is_logged() {
    let (logger, lines) = heard();
    let limits = Limits { mailbox: 100, ..Limits::default() };
    let mut state = State::new("x", Hooks::UNPUBLISH.and(Hooks::CLOSE), limits, logger);
    let now = Instant::now();
    for _ in 0..50_000 {
        state.notify(unpublish(1));
    }
    state.notify(close(1));
    for id in 2..50_000 {
        state.notify(close(id));
    }
    let hooks = drain(&mut state, now);
    // Whoever is heard of is heard to the end, also where there is no room.
    assert_eq!(hooks.iter().filter(|hook| *hook == "1 unpublish").count(), SPARE_OF_ONE);
    assert_eq!(hooks.iter().filter(|hook| *hook == "1 close").count(), 1);
    assert_eq!(hooks.len(), limits.mailbox + 1);
    let said: Vec<String> = lines.try_iter().collect();
    let left_out = 50_000 + 49_998 - limits.mailbox;
    assert_eq!(said.len(), 1);
    assert!(said[0].contains(&format!("{left_out} events were left out")), "{said:?}");

    // Soon after it is not said again, and then with all that were left out meanwhile.
    for later in [9, 11] {
        for id in 1..=limits.mailbox as u64 + 1 {
            state.notify(close(id));
        }
        drain(&mut state, now + Duration::from_secs(later));
    }
    let said: Vec<String> = lines.try_iter().collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].contains(": 2 events were left out"), "{said:?}");
}

#[test]
fn ends_of_what_the_application_has_allowed_are_never_left_out() {
    let limits = Limits { mailbox: 16, ..Limits::default() };
    let hooks = Hooks::CONNECT.and(Hooks::PUBLISH).and(Hooks::UNPUBLISH).and(Hooks::CLOSE);
    let mut state = State::new("x", hooks, limits, quiet());
    let now = Instant::now();
    for id in 1..=200 {
        assert_eq!(state.request(Request { conn: conn(id), id: 1, kind: RequestKind::Connect }), None);
        run_hook(&mut state, Ok(Outcome::Done), now);
        assert_eq!(state.request(publish(id, 2, "x")), None);
        run_hook(&mut state, Ok(Outcome::Done), now);
    }
    for id in 1..=200 {
        state.notify(unpublish(id));
        state.notify(close(id));
    }
    assert_eq!(drain(&mut state, now).len(), 400);
}

/// How many are put off is no matter for who leaves: each step below would otherwise walk over all of them.
#[test]
fn of_very_many_requests_that_are_put_off_those_of_who_leaves_are_called_off() {
    const COUNT: u64 = 50_000;
    let limits = Limits { later_timeout: Duration::from_secs(30), ..Limits::default() };
    let mut state = State::new("x", Hooks::PUBLISH.and(Hooks::CANCEL), limits, quiet());
    let start = Instant::now();
    let mut effects = Vec::new();
    for id in 1..=COUNT {
        for request in [1, 2] {
            assert_eq!(state.request(publish(id, request, "x")), None);
            let now = start + Duration::from_micros(id);
            run_hook(&mut state, Ok(Outcome::Later), now);
            let first = start + Duration::from_micros(1) + limits.later_timeout;
            assert_eq!(state.check(now, &mut effects), Some(first));
        }
    }
    // Every second one leaves, those who came first last.
    for id in (1..=COUNT).rev().filter(|id| id % 2 == 1) {
        state.notify(close(id));
    }
    let expected: Vec<String> =
        (1..=COUNT).rev().filter(|id| id % 2 == 1).map(|id| format!("{id} cancel")).collect();
    assert_eq!(drain(&mut state, start), [expected.clone(), expected].concat());
    assert!(effects.is_empty(), "nobody waits for these answers");

    // The others are refused when their time is up, the first of them first.
    let late = start + limits.later_timeout + Duration::from_micros(4);
    assert_eq!(state.check(late, &mut effects), Some(late + Duration::from_micros(2)));
    let refused: Vec<(u64, u64)> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Answer(answer) => (answer.conn, answer.id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(refused, [(2, 1), (2, 2), (4, 1), (4, 2)]);
}
