//! What an application reaches through the server: its effects, done.

use std::{
    any::Any,
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crtmp_media::{Command, LayerSettings, RequestId, StreamSlot, Via};
use crtmp_plugin::{NotTaken, PlayStart, PublishKind, Pull, Push, foreign::read_frame, values::from_json};
use crtmp_reactor::{Acceptor, Application as Seen, ToWorker, Verdict};
use crtmp_relay::ConnectionId;
use serde_json::{Map, Value};

use super::{Ground, OrderKind, Ordered, State, lock};
use crate::{
    apps::{Answer, AppHandle, CallOutcome, Decision, Effect, Health, NoticeKind, Outside},
    chains::layer_keys,
    commands::{Call, Caller, Reply, fail},
    links::Place,
    outbound::{LOOK_UP_TIMEOUT, Origin},
    server::Order,
    trust::in_words,
};

/// What may wait for an application to run, before it can ask for one more connection.
const WAITING: usize = 256;

/// What a session hears whose secret does not count any more.
const OUTDATED: &str = "the secret has changed, or the application is gone: connect again";

/// The way from an application to the server.
#[derive(Clone)]
pub(super) struct Reach(Arc<Inner>);

struct Inner {
    name: String,
    ground: Ground,
    state: Arc<State>,
    running: OnceLock<Instance>,
    /// What its sessions of command lines were allowed does not hold any more.
    outdated: AtomicBool,
    /// What needs the application in force, until it is: it may ask for things before the workers know it.
    waiting: Mutex<Option<Vec<Deferred>>>,
}

type Deferred = Box<dyn FnOnce(&Reach) + Send>;

/// An instance that runs.
pub(super) struct Instance {
    pub(super) handle: Weak<AppHandle>,
    /// As connections have it.
    pub(super) seen: Weak<Seen>,
    /// As its sources have it: they do not keep an instance from ending that has no connections any more.
    pub(super) sources: Weak<Seen>,
}

impl Reach {
    pub(super) fn new(name: &str, ground: Ground, state: Arc<State>) -> Self {
        let (running, waiting) = (OnceLock::new(), Mutex::new(Some(Vec::new())));
        let outdated = AtomicBool::new(false);
        Self(Arc::new(Inner { name: name.to_owned(), ground, state, running, outdated, waiting }))
    }

    /// From now on its sessions of command lines may do nothing but end. What it asks for itself, or for other
    /// connections, it was not allowed by a secret that it was shown.
    pub(super) fn outdate(&self) {
        self.0.outdated.store(true, Ordering::Release);
    }

    /// Ends the sessions that it takes commands from.
    pub(super) fn end_sessions(&self) {
        let callers = lock(&self.0.state.callers);
        let sessions = callers.iter().filter(|(_, known)| known.is_command_line());
        for (session, _) in sessions {
            self.0.ground.workers.close(ConnectionId(*session), String::new(), OUTDATED.to_owned());
        }
    }

    /// The application has started. What it asks for still waits: it may yet be that another part of the same reload
    /// fails.
    pub(super) fn is_running(&self, instance: Instance) {
        let handle = instance.handle.upgrade();
        let _ = self.0.running.set(instance);
        // It may have panicked too often by now, with timers alone.
        if handle.is_some_and(|handle| handle.health() == Health::Disabled) {
            self.refuse_all();
        }
    }

    /// The application runs for everybody as soon as what this gives is dropped: what it has asked for meanwhile is
    /// done then.
    pub(super) fn in_force(&self) -> InForce {
        InForce(self.clone())
    }

    fn put_in_force(&self) {
        let waiting = lock(&self.0.waiting).take();
        waiting.into_iter().flatten().for_each(|deferred| deferred(self));
    }

    /// Does something as soon as the application is in force; if its start fails, never.
    fn when_running(&self, deferred: impl FnOnce(&Self) + Send + 'static) {
        let mut waiting = lock(&self.0.waiting);
        if let Some(list) = &mut *waiting {
            return list.push(Box::new(deferred));
        }
        drop(waiting);
        deferred(self);
    }

    /// The instance is no more: neither are its commands.
    pub(super) fn forget(&self) {
        self.0.ground.control.forget(self.0.ground.instance);
    }

    /// The application is over: what it has no hook for comes to it too, and is refused.
    fn refuse_all(&self) {
        if let Ok(seen) = self.seen() {
            seen.disabled.store(true, Ordering::Relaxed);
        }
    }

    /// The application is over, or another instance takes its place: its sources end. `done` is dropped when they have.
    pub(super) fn end_sources(&self, done: Option<Arc<InForce>>) {
        for source in self.0.state.sources.end() {
            let source = ConnectionId(source);
            let done = done.clone().map(|done| done as Arc<dyn Any + Send + Sync>);
            self.0.ground.workers.post_to(source, ToWorker::SourceClose { source, done });
        }
    }

    pub(super) fn outside(self) -> Outside {
        let (effects, headers, sources) = (self.clone(), self.clone(), self.clone());
        let (commands, removing, ended) = (self.clone(), self.clone(), self);
        Outside {
            effect: Box::new(move |effect| effects.effect(effect)),
            header: Box::new(move |conn, stream_id, kind| {
                headers.0.state.headers.find(conn, stream_id, kind)
            }),
            source: Box::new(move |name| sources.source(name)),
            add_command: Box::new(move |command| commands.add_command(&command)),
            remove_command: Box::new(move |name| {
                removing.0.ground.control.remove(removing.0.ground.instance, name)
            }),
            ended: Box::new(move || {
                ended.refuse_all();
                ended.end_sources(None);
                (ended.0.ground.post)(Order::ApplicationEnded);
            }),
        }
    }

    /// Does what the application wants done.
    pub(super) fn effect(&self, effect: Effect) -> Result<(), NotTaken> {
        let Inner { ground, state, .. } = &*self.0;
        let workers = &ground.workers;
        match effect {
            Effect::Answer(Answer { conn, id, decision }) => {
                let request = RequestId(u32::try_from(id).unwrap_or(u32::MAX));
                workers.answer(ConnectionId(conn), request, verdict(decision));
            }
            Effect::Command(id, result) => ground.control.answered(id, result),
            Effect::Close { conn, code, text } => workers.close(ConnectionId(conn), code, text),
            Effect::Call { conn, name: command, args, ticket } => {
                let args = args.iter().map(from_json).collect();
                let ticket_of_it = Some(ticket).filter(|ticket| *ticket != 0);
                let order = Command::Call { ticket: ticket_of_it, command, args };
                self.order(conn, order, OrderKind::Call, ticket)?;
            }
            Effect::Pull { conn, pull, ticket } => {
                let order = Command::Pull(Box::new(pull_of(pull, ticket)));
                self.order(conn, order, OrderKind::Link, ticket)?;
            }
            Effect::Push { conn, push, ticket } => {
                let order = Command::Push(Box::new(push_of(push, ticket)));
                self.order(conn, order, OrderKind::Link, ticket)?;
            }
            Effect::End { conn, stream_id, publishes, code, text } => {
                let slot = Some(StreamSlot(stream_id)).filter(|slot| slot.0 != 0);
                let connection = ConnectionId(conn);
                workers.post_to(connection, ToWorker::End { connection, slot, publishes, code, text });
            }
            Effect::Tap { conn, stream_id, on } => {
                let (connection, application) = (ConnectionId(conn), self.seen()?);
                let slot = Some(StreamSlot(stream_id)).filter(|slot| slot.0 != 0);
                workers.post_to(connection, ToWorker::Tap { connection, application, slot, on });
            }
            Effect::Run { name, params, rights, ticket, session } => {
                let caller = Caller { name: self.0.name.clone(), instance: ground.instance, session, rights };
                self.run(name, params, caller, ticket);
            }
            Effect::SourceFrame(source, kind, dts, body) => {
                let frame = read_frame(kind, dts, &body, &ground.limits).ok_or(NotTaken::Invalid)?;
                let post = |source, message| workers.post_to(source, message);
                state.sources.frame(source, frame, &ground.limits, post)?;
            }
            Effect::SourceClose(source) => {
                // One that has not begun yet never will.
                if state.sources.forget(source).ok_or(NotTaken::Gone)? {
                    let source = ConnectionId(source);
                    workers.post_to(source, ToWorker::SourceClose { source, done: None });
                }
            }
            Effect::Connect { address, chain, keys, ticket } => self.connect(address, chain, keys, ticket)?,
            Effect::Http { request, body, ticket } => self.http(&request, body, ticket)?,
        }
        Ok(())
    }

    fn handle(&self) -> Result<Arc<AppHandle>, NotTaken> {
        self.0.running.get().and_then(|running| running.handle.upgrade()).ok_or(NotTaken::Gone)
    }

    fn seen(&self) -> Result<Arc<Seen>, NotTaken> {
        self.0.running.get().and_then(|running| running.seen.upgrade()).ok_or(NotTaken::Gone)
    }

    /// Brings a result to the application, if it wants one.
    fn tell(&self, ticket: u64, outcome: CallOutcome) {
        if ticket != 0 {
            self.when_running(move |this| {
                if let Ok(handle) = this.handle() {
                    handle.tell(NoticeKind::Result { ticket, outcome });
                }
            });
        }
    }

    fn order(&self, conn: u64, order: Command, what: OrderKind, ticket: u64) -> Result<(), NotTaken> {
        let (this, application) = (self.clone(), self.seen()?);
        if ticket != 0 {
            lock(&self.0.state.calls).entry(conn).or_default().push(Ordered { ticket, what });
        }
        let gone = Box::new(move || {
            if this.0.state.end_call(conn, ticket).is_some() {
                this.tell(ticket, CallOutcome::gone());
            }
        });
        let connection = ConnectionId(conn);
        let message = ToWorker::Order { connection, application, order, gone };
        self.0.ground.workers.post_to(connection, message);
        Ok(())
    }

    fn owed(&self, ticket: u64) -> Owed {
        Owed { reach: self.clone(), ticket }
    }

    fn run(&self, name: String, params: Map<String, Value>, caller: Caller, ticket: u64) {
        let owed = self.owed(ticket);
        let reply: Reply = Box::new(move |reply| owed.settle(CallOutcome::done(reply.to_string())));
        if self.is_outdated(&caller) && !name.eq_ignore_ascii_case("quit") {
            return reply(fail(OUTDATED));
        }
        self.0.ground.control.run(Call { name, params, caller, reply });
    }

    /// Whether what the caller has shown does not count any more.
    fn is_outdated(&self, caller: &Caller) -> bool {
        let Inner { outdated, state, .. } = &*self.0;
        let asks_by_line = |(session, _): &(u64, String)| state.is_command_line(*session);
        outdated.load(Ordering::Acquire) && caller.session.as_ref().is_some_and(asks_by_line)
    }

    fn add_command(&self, command: &Value) -> Result<(), String> {
        let this = self.clone();
        let ask = move |id: u64, name: String, params: String| {
            let Ok(handle) = this.handle() else { return this.0.ground.control.answered(id, gone()) };
            if let Some(answer) = handle.run_command(id, name, params) {
                let result = match answer.decision {
                    Decision::Error(value) => {
                        Err(value["description"].as_str().unwrap_or("it cannot").to_owned())
                    }
                    _ => gone(),
                };
                this.0.ground.control.answered(id, result);
            }
        };
        self.0.ground.control.add(&self.0.name, self.0.ground.instance, command, Arc::new(ask))
    }

    fn source(&self, name: &str) -> Option<u64> {
        let source = self.0.ground.workers.new_source();
        if !self.0.state.sources.add(source.0) {
            return None;
        }
        let name = name.to_owned();
        self.when_running(move |this| this.open_source(source, name));
        Some(source.0)
    }

    fn open_source(&self, source: ConnectionId, name: String) {
        let Inner { running, state, ground, .. } = &*self.0;
        // Where the application has ended meanwhile, nobody waits for the stream.
        let Some(application) = running.get().and_then(|running| running.sources.upgrade()) else { return };
        let opened = state.sources.open(source.0, |in_flight| {
            let message = ToWorker::SourceOpen { source, application, name, in_flight };
            ground.workers.post_to(source, message);
        });
        if !opened && let Ok(handle) = self.handle() {
            let state = Err("its application has ended it".to_owned());
            handle.tell(NoticeKind::Source { source: source.0, state });
        }
    }

    fn connect(
        &self,
        address: String,
        chain: String,
        keys: Map<String, Value>,
        ticket: u64,
    ) -> Result<(), NotTaken> {
        if let Some(waiting) = &mut *lock(&self.0.waiting) {
            if waiting.len() >= WAITING {
                return Err(NotTaken::Full);
            }
            waiting.push(Box::new(move |this| {
                if let Err(error) = this.connect(address, chain, keys, ticket) {
                    this.tell(ticket, CallOutcome::failed(&error.to_string()));
                }
            }));
            return Ok(());
        }
        let (application, this) = (self.seen()?, self.clone());
        let (address, chain) = match self.way(address, chain, &keys) {
            Ok(way) => way,
            Err(text) => {
                self.tell(ticket, CallOutcome::failed(&text));
                return Ok(());
            }
        };
        let place = address.clone();
        // An application goes where the operator wants it to.
        let (outbound, origin) = (&self.0.ground.outbound, Origin::Configuration);
        outbound.find(origin, &place, LOOK_UP_TIMEOUT, move |found| match found {
            Ok(addresses) => this.connect_to(addresses.into(), application, (chain, address, keys), ticket),
            Err(error) => this.tell(ticket, CallOutcome::failed(&format!("{address}: {error}"))),
        });
        Ok(())
    }

    /// Host and port, and the chain, which an address may say by its scheme.
    fn way(
        &self,
        address: String,
        chain: String,
        keys: &Map<String, Value>,
    ) -> Result<(String, String), String> {
        let Ground { catalogue, outbound, .. } = &self.0.ground;
        let (address, chain) = if address.contains("://") && chain.is_empty() {
            let place = Place::parse(&address).map_err(|found| format!("found {found}"))?;
            let allowed = outbound.policy.check_scheme(place.scheme, Origin::Configuration);
            allowed.map_err(|refused| refused.to_string())?;
            (place.host_and_port, place.chain.to_owned())
        } else {
            (address, chain)
        };
        let errors = catalogue.check_outbound(&chain, keys);
        if errors.is_empty() { Ok((address, chain)) } else { Err(in_words(&errors)) }
    }

    /// Tries one address after the other.
    fn connect_to(
        &self,
        mut addresses: VecDeque<SocketAddr>,
        application: Arc<Seen>,
        way: (String, String, Map<String, Value>),
        ticket: u64,
    ) {
        // There is one: nothing is found without.
        let Some(address) = addresses.pop_front() else { return drop(self.owed(ticket)) };
        let (chain, place, keys) = &way;
        let Ground { catalogue, limits, workers, server_instance, trust, .. } = &self.0.ground;
        let prepared = match trust.get(catalogue, chain, keys) {
            Ok(prepared) => prepared,
            Err(text) => return self.tell(ticket, CallOutcome::failed(&text)),
        };
        let settings = LayerSettings {
            limits: limits.clone(),
            keys: layer_keys(keys),
            prepared,
            host: place.rsplit_once(':').map_or(&**place, |(host, _)| host).into(),
            instance: server_instance.clone(),
            ..LayerSettings::default()
        };
        let (catalogue, name) = (catalogue.clone(), chain.clone());
        let acceptor = Acceptor {
            address,
            counted: true,
            counts: Arc::default(),
            chain: chain.clone(),
            application: self.0.name.clone(),
            make_chain: Box::new(move || catalogue.build(&name, &settings, Instant::now())),
            proxies: None,
            sessions: None,
            is_mixed: false,
        };
        let (owed, this, again) = (self.owed(ticket), self.clone(), application.clone());
        let done = Box::new(move |made: Result<ConnectionId, String>| match made {
            Ok(id) => owed.settle(CallOutcome { connection: id.0, ..CallOutcome::done("null".to_owned()) }),
            Err(text) if addresses.is_empty() => owed.settle(CallOutcome::failed(&text)),
            Err(_) => this.connect_to(addresses, again, way, owed.pass_on()),
        });
        workers.connect(address, Arc::new(acceptor), application, done);
    }

    fn http(&self, request: &Map<String, Value>, body: Vec<u8>, ticket: u64) -> Result<(), NotTaken> {
        let this = self.clone();
        let done = Box::new(move |outcome: CallOutcome| this.tell(ticket, outcome));
        self.0.ground.control.http(request, body, done)
    }
}

/// Puts an application in force when it is dropped.
pub(super) struct InForce(Reach);

impl Drop for InForce {
    fn drop(&mut self) {
        self.0.put_in_force();
    }
}

/// A result that is owed: whoever forgets it says "gone" by that.
struct Owed {
    reach: Reach,
    ticket: u64,
}

impl Owed {
    fn settle(mut self, outcome: CallOutcome) {
        self.reach.tell(std::mem::take(&mut self.ticket), outcome);
    }

    /// Somebody else owes it now.
    fn pass_on(mut self) -> u64 {
        std::mem::take(&mut self.ticket)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.reach.tell(self.ticket, CallOutcome::gone());
    }
}

fn gone() -> Result<Value, String> {
    Err("the application has ended".to_owned())
}

/// As the endpoint is ordered. The ticket 0 is one that nobody waits for.
fn pull_of(pull: Pull, ticket: u64) -> crtmp_media::Pull {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let start_ms = match pull.start {
        PlayStart::Any => -2000,
        PlayStart::Live => -1000,
        PlayStart::At(time) => ms(time),
    };
    let duration_ms = pull.duration.map_or(-1, ms);
    crtmp_media::Pull {
        ticket,
        name: pull.name,
        local: pull.local_name,
        start_ms,
        duration_ms,
        takes_over: false,
    }
}

/// Likewise; where the stream has been its worker knows.
fn push_of(push: Push, ticket: u64) -> crtmp_media::Push {
    let kind = match push.kind {
        PublishKind::Live => crtmp_media::PublishKind::Live,
        PublishKind::Record => crtmp_media::PublishKind::Record,
        PublishKind::Append => crtmp_media::PublishKind::Append,
    };
    let via = Via::default();
    crtmp_media::Push { ticket, local: push.local_name, name: push.name, kind, via, again: false }
}

fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Accept => Verdict::Accept,
        Decision::AcceptAs(name) => Verdict::AcceptAs(name),
        Decision::HandTo(application) => Verdict::HandTo(application),
        Decision::Reject { code, text } => Verdict::Reject { code, text },
        Decision::Redirect(url) => Verdict::Redirect(url),
        Decision::Result(value) => Verdict::Result(from_json(&value)),
        Decision::Error(value) => {
            let member = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
            let text = member("description").or_else(|| value.as_str().map(str::to_owned));
            let code = member("code").unwrap_or_default();
            Verdict::Reject { code, text: text.unwrap_or_else(|| value.to_string()) }
        }
        Decision::Values(ok, values) => Verdict::Values(ok, values.iter().map(from_json).collect()),
        Decision::Unknown => {
            let text = "the application does not know this command".to_owned();
            Verdict::Reject { code: String::new(), text }
        }
    }
}
