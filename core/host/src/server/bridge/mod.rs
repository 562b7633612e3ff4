//! Between workers and applications: each side speaks its own words, here they are translated.

mod headers;
mod outside;
mod sources;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crtmp_media::{BandwidthKind, BandwidthPlan, CallOutcome as Called, Frame, RequestId, SharedWish};
use crtmp_plugin::{
    Ended, Pong, abi,
    foreign::{FilterEntry, Passed, UserPlace, read_frame},
    values::{to_json, to_map},
};
use crtmp_reactor::{
    Aliases, Application as Seen, Authenticates, BandwidthTests, Caller, Filter, Filtered, Happened,
    Hooks as SeenHooks, IngestPoints, MakeFilters, OffersBandwidth, Question, ToApplication, ToSharedObjects,
    Why, Workers,
};
use crtmp_relay::{ConnectionId, DuplicatePublisher};
use serde_json::{Map, Value, json};
use slog::Logger;

use self::{
    headers::Headers,
    outside::{Instance, Reach},
    sources::Sources,
};
use crate::{
    apps::{
        Answer, AppConfig, AppHandle, AppPath, CallOutcome, ConnInfo, Decision, Effect, Hooks, Limits,
        MessageInfo, Notice, NoticeKind, PlayInfo, PlayStart, PublishInfo, PublishKind, Request, RequestKind,
        SharedObjectInfo, StartError, Watchdog, check_settings,
    },
    auth::{Authority, Refusal},
    chains::Catalogue,
    commands::Control,
    config::{self, Application},
    outbound::Outbound,
    plugins::Library,
    server::Post,
    shared_objects::SharedObjects,
    trust::Trust,
};

/// An application that runs.
pub(super) struct Running {
    /// The number of the instance.
    pub(super) id: u64,
    pub(super) handle: Arc<AppHandle>,
    /// As the workers see it; they keep it as long as a connection has it.
    pub(super) seen: Arc<Seen>,
    pub(super) aliases: Vec<String>,
    /// Who asks its peers who they are.
    pub(super) authority: Option<Arc<Authority>>,
    /// As its sources see it.
    _sources: Arc<Seen>,
    reach: Reach,
    /// Its sessions may do nothing any more: since when.
    outdated: Option<Instant>,
    /// It has been told to end: since when.
    pub(super) ending: Option<Instant>,
}

impl Drop for Running {
    /// Its commands are gone; those of an instance that has taken its place are not.
    fn drop(&mut self) {
        self.reach.forget();
    }
}

impl Running {
    /// Whether a connection still has it. Only for one that the workers are not sent to any more.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.seen) > 1
    }

    /// The workers know the instance: what it has asked for since its start is done, as soon as the sources of the one
    /// `before` it have ended. They may have the names that its own want.
    pub(super) fn put_in_force(&self, before: Option<&Self>) {
        let in_force = self.reach.in_force();
        if let Some(before) = before {
            before.reach.end_sources(Some(Arc::new(in_force)));
        }
    }

    /// No instance takes its place: its sources end. Connections that have it keep it for themselves alone.
    pub(super) fn remove(&self) {
        self.reach.end_sources(None);
    }

    /// What sessions of command lines have shown it does not count any more: they may only end.
    pub(super) fn outdate(&mut self) {
        self.reach.outdate();
        self.outdated.get_or_insert_with(Instant::now);
    }

    /// Ends such sessions once they have had `time` for the answers that are on their way.
    pub(super) fn end_outdated_sessions(&self, now: Instant, time: Duration) {
        if self.outdated.is_some_and(|since| since + time <= now) {
            self.reach.end_sessions();
        }
    }
}

/// What applications need of the server.
#[derive(Clone)]
pub(super) struct Ground {
    /// The way to the server's thread.
    pub(super) post: Post,
    pub(super) workers: Workers,
    pub(super) control: Control,
    pub(super) outbound: Outbound,
    /// Whom connections trust.
    pub(super) trust: Trust,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) limits: Arc<crtmp_media::Limits>,
    pub(super) log: Logger,
    /// Where relative paths start.
    pub(super) folder: PathBuf,
    /// By which servers recognise each other.
    pub(super) server_instance: Arc<str>,
    /// The number of the instance.
    pub(super) instance: u64,
    /// Connections of each application, whichever of its instances has them.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) aliases: Arc<Aliases>,
    pub(super) ingest_points: Arc<IngestPoints>,
    pub(super) bandwidth: Arc<BandwidthTests>,
    pub(super) authority: Option<Arc<Authority>>,
    pub(super) shared_objects: SharedObjects,
}

/// Starts an application. `filters` are those that its block lists, first to last.
pub(super) fn start(
    application: &Application,
    library: &Library,
    filters: Vec<FilterEntry>,
    watchdog: &Watchdog,
    ground: &Ground,
) -> Result<Running, StartError> {
    let config = app_config(application, library, &ground.folder);
    let entry = library.app(&application.name).map_err(|error| StartError::of_library(&config, &error))?;
    let selects = entry.selects();
    let shared_objects =
        shared_objects(application, ground).map_err(|error| StartError::of_thread(&config, &error))?;
    let state = Arc::new(State::default());
    let reach = Reach::new(&application.name, ground.clone(), state.clone());
    let handle = AppHandle::start(&config, entry, watchdog, &ground.log, reach.clone().outside())
        // It may have added commands before it failed.
        .inspect_err(|_| reach.forget())?;
    let handle = Arc::new(handle);
    let bridge = Arc::new(Bridge {
        name: application.name.clone(),
        handle: handle.clone(),
        state,
        reach: reach.clone(),
        authority: ground.authority.clone(),
        catalogue: ground.catalogue.clone(),
    });
    let seen =
        |shared_objects| Arc::new(seen(application, &filters, &bridge, selects, shared_objects, ground));
    // Sources are no clients.
    let (seen, sources) = (seen(Some(shared_objects)), seen(None));
    reach.is_running(Instance {
        handle: Arc::downgrade(&handle),
        seen: Arc::downgrade(&seen),
        sources: Arc::downgrade(&sources),
    });
    let aliases = application.aliases.clone();
    let (outdated, ending) = (None, None);
    let (id, authority) = (ground.instance, ground.authority.clone());
    Ok(Running { id, handle, seen, aliases, authority, _sources: sources, reach, outdated, ending })
}

/// An instance as the workers see it.
fn seen(
    application: &Application,
    filters: &[FilterEntry],
    bridge: &Arc<Bridge>,
    selects: bool,
    shared_objects: Option<PostShared>,
    ground: &Ground,
) -> Seen {
    let (bridge, handle) = (bridge.clone(), &bridge.handle);
    let duplicate_publisher = match application.duplicate_publisher {
        config::DuplicatePublisher::Reject => DuplicatePublisher::Reject,
        config::DuplicatePublisher::Replace => DuplicatePublisher::Replace,
        config::DuplicatePublisher::ReplaceIfIdle => DuplicatePublisher::ReplaceIfIdle,
    };
    Seen {
        name: application.name.as_str().into(),
        hooks: SeenHooks {
            accept: handle.has(Hooks::ACCEPT),
            connect: handle.has(Hooks::CONNECT),
            publish: handle.has(Hooks::PUBLISH),
            play: handle.has(Hooks::PLAY),
            metadata: handle.has(Hooks::METADATA),
            message: handle.has(Hooks::MESSAGE),
            unpublish: handle.has(Hooks::UNPUBLISH),
            unplay: handle.has(Hooks::UNPLAY),
            close: handle.has(Hooks::CLOSE),
            pong: handle.has(Hooks::PONG),
            stream: handle.has(Hooks::STREAM),
            shared_object: handle.has(Hooks::SHARED_OBJECT),
        },
        authenticates: bridge.authenticates(),
        is_default: application.default,
        selects,
        duplicate_publisher,
        publisher_return: application.publisher_return.get(),
        play_wait: application.play_wait.get(),
        enhanced_rtmp: application.enhanced_rtmp,
        send_buffer: application.send_buffer,
        ping_interval: application.ping_interval.map(crtmp_media::Seconds::get),
        command_bytes: application.max_command_bytes,
        connections: ground.connections.clone(),
        max_connections: application.max_connections,
        disabled: AtomicBool::new(false),
        make_filters: make_filters(application, filters.to_vec(), ground.limits.clone()),
        aliases: application.has_stream_aliases.then(|| ground.aliases.clone()),
        ingest_points: application.has_ingest_points.then(|| ground.ingest_points.clone()),
        shared_objects,
        bandwidth: bandwidth(application, ground),
        post: Box::new(move |message| bridge.post(message)),
    }
}

/// The way to the shared objects of an application.
type PostShared = Box<dyn Fn(ToSharedObjects) + Send + Sync>;

fn shared_objects(application: &Application, ground: &Ground) -> std::io::Result<PostShared> {
    let folder = application.shared_objects.place(&ground.folder);
    ground.shared_objects.of_application(&application.name, folder)
}

/// What an application offers of tests of the way to its peers; none where it offers none.
fn bandwidth(application: &Application, ground: &Ground) -> Option<OffersBandwidth> {
    let (check, bandcheck, limits) =
        (application.enable_check_bandwidth, &application.bandcheck, &ground.limits);
    let plan = |kind| BandwidthPlan {
        kind,
        time: limits.bandwidth_time.get(),
        bytes: limits.bandwidth_bytes as u64,
        rate: bandcheck.limit_kbps * 1000,
        patience: limits.bandwidth_patience.get(),
    };
    (check || bandcheck.key.is_some()).then(|| OffersBandwidth {
        tests: ground.bandwidth.clone(),
        check,
        check_plan: plan(BandwidthKind::Check),
        key: bandcheck.key.clone(),
        key_plan: plan(BandwidthKind::BandCheck),
        interval: bandcheck.interval.get(),
    })
}

/// Makes the filters of a publication; none where the application lists none.
fn make_filters(
    application: &Application,
    entries: Vec<FilterEntry>,
    limits: Arc<crtmp_media::Limits>,
) -> Option<Box<MakeFilters>> {
    if entries.is_empty() {
        return None;
    }
    let settings = application.filter_settings.clone();
    Some(Box::new(move || {
        let make = |entry: &FilterEntry| {
            let settings = settings.get(entry.name()).cloned().unwrap_or_else(|| Value::Object(Map::new()));
            let mut filter = entry
                .create(&settings.to_string())
                .map_err(|failure| format!("filter {:?}: {failure}", entry.name()))?;
            let limits = limits.clone();
            let pass =
                move |frame: &Frame| match filter.frame(frame).map_err(|failure| failure.to_string())? {
                    Passed::Kept => Ok(Filtered::Kept),
                    Passed::Dropped => Ok(Filtered::Dropped),
                    Passed::Replaced(body) => read_frame(frame.kind, frame.dts, &body, &limits)
                        .map(Filtered::Replaced)
                        .ok_or_else(|| "its frame is no body of an FLV tag, or too large".to_owned()),
                };
            Ok(Filter { name: entry.name().to_owned(), pass: Box::new(pass) })
        };
        entries.iter().map(make).collect()
    }))
}

/// Lets an application look at its settings without starting it.
pub(super) fn check(
    application: &Application,
    library: &Library,
    folder: &Path,
    log: &Logger,
) -> Result<(), StartError> {
    let config = app_config(application, library, folder);
    let entry = library.app(&application.name).map_err(|error| StartError::of_library(&config, &error))?;
    if entry.selects() && application.authentication.is_some() {
        return Err(StartError::of_settings(
            &config,
            "it hands all its connections to others and keeps none: put `authentication` into their blocks",
        ));
    }
    check_settings(&config, entry, log)
}

fn app_config(application: &Application, library: &Library, folder: &Path) -> AppConfig {
    AppConfig {
        name: application.name.clone(),
        library: library.path().to_owned(),
        settings: Value::Object(application.settings.clone()).to_string(),
        folder: folder.to_string_lossy().into_owned(),
        limits: Limits {
            mailbox: application.mailbox,
            hook_timeout: application.hook_timeout.get(),
            later_timeout: application.later_timeout.get(),
            ..Limits::default()
        },
    }
}

/// What is known of the connections of an application.
#[derive(Default)]
struct State {
    callers: Mutex<HashMap<u64, Known>>,
    /// Orders to connections, by these, that have no result yet.
    calls: Mutex<HashMap<u64, Vec<Ordered>>>,
    headers: Headers,
    sources: Sources,
    /// Sessions of command lines have come: one that is not known any more may have been such.
    has_command_lines: AtomicBool,
}

/// An order without a result.
#[derive(Clone, Copy)]
struct Ordered {
    ticket: u64,
    what: OrderKind,
}

/// What a result is of.
#[derive(Clone, Copy)]
enum OrderKind {
    Call,
    /// A pull or push.
    Link,
}

/// What a connection's peer said, in the words of applications; made once for what it said, gone with the
/// connection.
struct Known {
    caller: Arc<Caller>,
    info: Arc<ConnInfo>,
}

impl Known {
    /// Whether it is a session that is let in by a secret.
    fn is_command_line(&self) -> bool {
        self.info.chain.ends_with("Cli")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn know(&self, callers: &mut HashMap<u64, Known>, known: Known) {
        if known.is_command_line() {
            self.has_command_lines.store(true, Ordering::Release);
        }
        callers.insert(known.caller.connection.0, known);
    }

    /// Whether commands that come now are those of a command line; also of one that has left, as far as can be told.
    fn is_command_line(&self, session: u64) -> bool {
        match lock(&self.callers).get(&session) {
            Some(known) => known.is_command_line(),
            None => self.has_command_lines.load(Ordering::Acquire),
        }
    }

    /// Takes an order that has its result; none: it had it already.
    fn end_call(&self, conn: u64, ticket: u64) -> Option<OrderKind> {
        let mut calls = lock(&self.calls);
        let open = calls.get_mut(&conn)?;
        let at = open.iter().position(|other| other.ticket == ticket)?;
        let Ordered { what, .. } = open.swap_remove(at);
        if open.is_empty() {
            calls.remove(&conn);
        }
        Some(what)
    }
}

/// What workers hand messages for one application to.
struct Bridge {
    name: String,
    handle: Arc<AppHandle>,
    state: Arc<State>,
    reach: Reach,
    authority: Option<Arc<Authority>>,
    catalogue: Arc<Catalogue>,
}

/// What a peer has to show for who it is.
enum Wish {
    Connect,
    /// With the query of the stream's name, as the next one.
    Publish(String),
    Play(String),
    Share,
}

impl Bridge {
    /// What workers must ask about although the application has no hook for it.
    fn authenticates(&self) -> Authenticates {
        self.authority.as_ref().map_or_else(Authenticates::default, |authority| Authenticates {
            connect: true,
            publish: authority.guards_publish(),
            play: authority.guards_play(),
        })
    }

    fn post(self: &Arc<Self>, message: ToApplication) {
        match message {
            ToApplication::Question { caller, request, question } => self.question(caller, request, question),
            ToApplication::Notice { caller, event } => self.notice(&caller, event),
            ToApplication::Frame { caller, slot, name, frame } => {
                let conn = self.caller(&caller);
                let kind = NoticeKind::Frame { stream_id: slot.0, name, left_out: 0, frame };
                self.handle.notify(Notice { conn, kind });
            }
            ToApplication::Header { connection, slot, kind, frame } => {
                self.state.headers.put(connection.0, slot.0, kind, frame);
            }
            ToApplication::HeadersEnd { connection, slot } => self.state.headers.end(connection.0, slot.0),
            ToApplication::Stream { publisher, name, live } => {
                self.handle.tell(NoticeKind::Stream { publisher: publisher.0, name, live });
            }
            ToApplication::Source { source, state } => {
                if state.is_err() {
                    self.state.sources.forget(source.0);
                }
                self.handle.tell(NoticeKind::Source { source: source.0, state });
            }
            ToApplication::CallResult { connection, ticket, outcome, args } => {
                if let Some(what) = self.state.end_call(connection.0, ticket) {
                    let outcome = match what {
                        OrderKind::Call => called(outcome, &args),
                        OrderKind::Link => linked(outcome, &args),
                    };
                    // In line with what happens to the connection: a stream is here before it ends.
                    self.handle.tell_of(connection.0, NoticeKind::Result { ticket, outcome });
                }
            }
        }
    }

    /// Asks who the peer is, where that matters, and then the application.
    fn question(self: &Arc<Self>, caller: Arc<Caller>, request: RequestId, question: Question) {
        let authority = self.authority.as_ref().filter(|_| self.is_rtmp(&caller.chain));
        let Some(authority) = authority.cloned() else {
            return self.ask(&caller, request, question);
        };
        let wish = match &question {
            Question::Connect => Some(Wish::Connect),
            Question::Publish { query, .. } if authority.guards_publish() => {
                Some(Wish::Publish(query.clone()))
            }
            Question::Play { query, .. } if authority.guards_play() => Some(Wish::Play(query.clone())),
            Question::SharedObject { request, shown: false, .. }
                if authority.guards_play() && request.uses() =>
            {
                Some(Wish::Share)
            }
            _ => None,
        };
        let Some(wish) = wish else { return self.ask(&caller, request, question) };
        let (this, peer) = (self.clone(), caller.clone());
        let known = authority.clone();
        let done = Box::new(move |outcome: Result<(), Refusal>| {
            known.while_known(peer.connection.0, || match outcome {
                Ok(()) => this.ask(&peer, request, question),
                Err(Refusal { code, text }) => {
                    let decision = Decision::Reject { code: code.to_owned(), text };
                    let answer = Answer { conn: peer.connection.0, id: u64::from(request.0), decision };
                    let _ = this.reach.effect(Effect::Answer(answer));
                }
            });
        });
        match wish {
            Wish::Connect => authority.connect(&caller, done),
            Wish::Publish(query) => authority.publish(&caller, &query, done),
            Wish::Play(query) => authority.play(&caller, &query, done),
            Wish::Share => authority.share(&caller, done),
        }
    }

    /// Whether a chain ends in RTMP, plain, encrypted or tunnelled: so the names of its layers say. Also one that has come
    /// since the instance's start, of which nothing is known.
    fn is_rtmp(&self, chain: &str) -> bool {
        let mut layers = self.catalogue.layers_of(chain).peekable();
        layers.peek().is_none() || layers.any(|layer| layer.contains("rtmp"))
    }

    fn ask(&self, caller: &Arc<Caller>, request: RequestId, question: Question) {
        let conn = self.caller(caller);
        let request = Request { conn, id: u64::from(request.0), kind: kind_of(question) };
        if let Some(answer) = self.handle.request(request) {
            let _ = self.reach.effect(Effect::Answer(answer));
        }
    }

    fn notice(&self, caller: &Arc<Caller>, event: Happened) {
        // Connections of applications stay where they are.
        if matches!(event, Happened::Reconnect { .. } | Happened::Began { .. }) {
            return;
        }
        let conn = self.caller(caller);
        let kind = match event {
            Happened::Metadata { slot, name, values } => {
                NoticeKind::Metadata { stream_id: slot.0, name, values: to_map(&values) }
            }
            Happened::Unpublish { slot, name, why } => {
                NoticeKind::Unpublish { stream_id: slot.0, name, why: ended(why) }
            }
            Happened::Unplay { slot, name, why } => {
                NoticeKind::Unplay { stream_id: slot.0, name, why: ended(why) }
            }
            Happened::Pong { rtt_ms, received } => {
                NoticeKind::Pong(Pong { rtt: Duration::from_millis(rtt_ms.into()), received })
            }
            Happened::Reconnect { .. } | Happened::Began { .. } => return,
            Happened::Closed { reason } => {
                if let Some(authority) = &self.authority {
                    authority.forget(caller.connection.0);
                }
                self.forget(caller.connection);
                NoticeKind::Close { reason }
            }
        };
        self.handle.notify(Notice { conn, kind });
    }

    /// The connection has left: nobody answers its calls any more.
    fn forget(&self, connection: ConnectionId) {
        lock(&self.state.callers).remove(&connection.0);
        self.state.headers.forget(connection.0);
        let open = lock(&self.state.calls).remove(&connection.0);
        for Ordered { ticket, .. } in open.into_iter().flatten() {
            let outcome = CallOutcome::gone();
            self.handle.tell_of(connection.0, NoticeKind::Result { ticket, outcome });
        }
    }

    fn caller(&self, caller: &Arc<Caller>) -> Arc<ConnInfo> {
        let mut callers = lock(&self.state.callers);
        let known = callers.get(&caller.connection.0);
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.caller, caller)) {
            return known.info.clone();
        }
        // It has said more since; the application's place stays the same.
        let user = known.map(|known| known.info.user.clone()).unwrap_or_default();
        let info = Arc::new(self.conn_info(caller, user));
        self.state.know(&mut callers, Known { caller: caller.clone(), info: info.clone() });
        info
    }

    fn conn_info(&self, caller: &Caller, user: UserPlace) -> ConnInfo {
        let info = &caller.info;
        let path = AppPath::split(&info.app);
        let known = ["app", "tcUrl", "swfUrl", "pageUrl", "flashVer"];
        let unknown = info.members.iter().filter(|(key, _)| !known.contains(&key.as_str()));
        let extra = unknown.map(|(key, value)| (key.clone(), to_json(value))).collect();
        ConnInfo {
            id: caller.connection.0,
            application: self.name.clone(),
            chain: caller.chain.clone(),
            peer: caller.peer.to_string(),
            local: caller.local.to_string(),
            app: info.app.clone(),
            instance: path.instance.to_owned(),
            query: path.query.to_owned(),
            tc_url: info.tc_url.clone(),
            swf_url: info.swf_url.clone(),
            page_url: info.page_url.clone(),
            agent: info.agent.clone(),
            extra,
            user,
        }
    }
}

fn kind_of(question: Question) -> RequestKind {
    match question {
        Question::Accept => RequestKind::Accept,
        Question::Connect => RequestKind::Connect,
        Question::Publish { slot, name, query, kind } => {
            let kind = match kind {
                crtmp_media::PublishKind::Live => PublishKind::Live,
                crtmp_media::PublishKind::Record => PublishKind::Record,
                crtmp_media::PublishKind::Append => PublishKind::Append,
            };
            RequestKind::Publish(PublishInfo { stream_id: slot.0, name, query, kind })
        }
        Question::Play { slot, name, query, start_ms, duration_ms } => {
            let start = match u64::try_from(start_ms) {
                Ok(ms) => PlayStart::At(Duration::from_millis(ms)),
                Err(_) if start_ms == -1000 => PlayStart::Live,
                Err(_) => PlayStart::Any,
            };
            let duration = u64::try_from(duration_ms).ok().map(Duration::from_millis);
            RequestKind::Play(PlayInfo { stream_id: slot.0, name, query, start, duration, reset: true })
        }
        Question::Message { slot, command, args, wants_answer } => RequestKind::Message(MessageInfo {
            stream_id: slot.0,
            name: command,
            args: args.iter().map(to_json).collect(),
            wants_reply: wants_answer,
        }),
        Question::SharedObject { name, request, .. } => {
            let wishes = request.wishes.iter().filter_map(wish_of).collect();
            let persistent = request.persistent;
            RequestKind::SharedObject(SharedObjectInfo { name, persistent, wishes })
        }
    }
}

/// A wish of a shared object in the words of plugins.
fn wish_of(wish: &SharedWish) -> Option<Value> {
    let json = |value: &crtmp_media::Value| to_json(value);
    Some(match wish {
        SharedWish::Use => json!({ "wish": "use" }),
        SharedWish::Release => json!({ "wish": "release" }),
        SharedWish::Change { slot, value } => json!({ "wish": "change", "slot": slot, "value": json(value) }),
        SharedWish::Remove { slot } => json!({ "wish": "remove", "slot": slot }),
        SharedWish::Send { values } => {
            json!({ "wish": "send", "values": values.iter().map(json).collect::<Vec<_>>() })
        }
        // Of peers there is no such thing.
        SharedWish::Clear => return None,
    })
}

fn ended(why: Why) -> Ended {
    match why {
        Why::Peer => Ended::ByPeer,
        Why::Server => Ended::ByServer,
        Why::Source => Ended::BySource,
    }
}

/// What has become of a call to a peer.
fn called(outcome: Called, args: &[crtmp_media::Value]) -> CallOutcome {
    let args: Value = args.iter().map(to_json).collect();
    match outcome {
        Called::Result => CallOutcome::done(args.to_string()),
        Called::Error => CallOutcome { status: abi::RESULT_ERROR, ..CallOutcome::done(args.to_string()) },
        Called::Timeout => CallOutcome::timeout(),
        Called::Refused => CallOutcome::failed(
            "the peer cannot be called: its protocol has no calls, or more than openCalls wait for it",
        ),
    }
}

/// What has become of a pull or push: its arguments are the message stream and the status.
fn linked(outcome: Called, args: &[crtmp_media::Value]) -> CallOutcome {
    let value = || {
        let mut args = args.iter().map(to_json);
        let stream = args.next().and_then(|stream| stream.as_f64()).filter(|stream| *stream > 0.0);
        // A message stream has 32 bits.
        let stream = stream.map(|stream| stream as u32);
        serde_json::json!({ "streamId": stream, "status": args.next() }).to_string()
    };
    match outcome {
        Called::Result => CallOutcome::done(value()),
        Called::Error => CallOutcome { status: abi::RESULT_ERROR, ..CallOutcome::done(value()) },
        Called::Timeout => CallOutcome::timeout(),
        Called::Refused => CallOutcome::failed(
            "the connection cannot pull or push: it is no client of RTMP, is not connected (yet), or has all of \
             messageStreams in use",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_by_line_is_known_as_long_as_it_matters() {
        let state = State::default();
        let know = |session: u64, chain: &str| {
            let address = "127.0.0.1:1".parse().unwrap();
            let (connection, info) = (ConnectionId(session), crtmp_media::ConnectInfo::default());
            let caller = Caller { connection, peer: address, local: address, chain: chain.into(), info };
            let info = ConnInfo { chain: chain.into(), ..ConnInfo::default() };
            let known = Known { caller: Arc::new(caller), info: Arc::new(info) };
            state.know(&mut lock(&state.callers), known);
        };
        know(1, "inboundRtmp");
        // Where there are no command lines, who has left was none.
        assert!(!state.is_command_line(1) && !state.is_command_line(9));
        know(2, "inboundHttpJsonCli");
        assert!(state.is_command_line(2) && !state.is_command_line(1));
        lock(&state.callers).clear();
        assert!(state.is_command_line(2) && state.is_command_line(1));
    }

    #[test]
    fn an_order_has_one_result() {
        let state = State::default();
        lock(&state.calls).entry(1).or_default().push(Ordered { ticket: 5, what: OrderKind::Link });
        assert!(state.end_call(1, 6).is_none() && state.end_call(2, 5).is_none());
        assert!(matches!(state.end_call(1, 5), Some(OrderKind::Link)));
        assert!(state.end_call(1, 5).is_none() && lock(&state.calls).is_empty());
    }

    #[test]
    fn a_pull_or_push_has_a_message_stream_and_a_status() {
        use crtmp_media::Value as Amf;
        let status = Amf::Object(vec![("code".to_owned(), "NetStream.Play.Start".into())]);
        let good = linked(Called::Result, &[7.0.into(), status.clone()]);
        assert_eq!(good.value, r#"{"status":{"code":"NetStream.Play.Start"},"streamId":7}"#);
        assert_eq!(good.status, abi::RESULT_OK);
        let refused = linked(Called::Error, &[Amf::Null, status]);
        assert_eq!(refused.value, r#"{"status":{"code":"NetStream.Play.Start"},"streamId":null}"#);
        assert_eq!(refused.status, abi::RESULT_ERROR);
        assert_eq!(linked(Called::Result, &[]).value, r#"{"status":null,"streamId":null}"#);
        assert!(linked(Called::Refused, &[]).value.contains("messageStreams"));
        assert_eq!(linked(Called::Timeout, &[]).status, abi::RESULT_TIMEOUT);
    }
}
