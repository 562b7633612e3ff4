//! What a connection asks its application, and what becomes of the answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crtmp_media::{
    Answer, Command, ConnectInfo, Event, Join, PlayRequest, PublishKind, RequestId, StreamName, StreamSlot,
    Value, Via, split_query,
};
use crtmp_relay::{DuplicatePublisher, Play, PlayOptions, Refusal, Start, StreamKey};

use crate::{
    asked::{Asked, Subject, Wish, Withdrawn},
    became::Purpose,
    connection::{Connection, State},
    control::{Application, Caller, Happened, Hooks, Question, ToApplication, Verdict, Why},
    filtering::Filters,
    observe::{Sight, Watch},
    shared::Shared,
    sources::tell_stream,
    streams::{Played, Published},
    taps::Taps,
};

/// How often a connect may be handed from one application to another.
const HANDS: u8 = 4;

/// How often a name that another publisher holds is looked at again.
const CONTEST_PERIOD: Duration = Duration::from_millis(250);

const CONNECT_REJECTED: &str = "NetConnection.Connect.Rejected";
const INVALID_APP: &str = "NetConnection.Connect.InvalidApp";
const CALL_FAILED: &str = "NetConnection.Call.Failed";
pub(crate) const BAD_NAME: &str = "NetStream.Publish.BadName";
pub(crate) const PLAY_FAILED: &str = "NetStream.Play.Failed";
pub(crate) const NOT_FOUND: &str = "NetStream.Play.StreamNotFound";

/// A publish that waits for the name to become free.
pub(crate) struct Contested {
    pub(crate) slot: StreamSlot,
    pub(crate) retry_at: Instant,
    request: RequestId,
    pub(crate) name: StreamName,
    via: Via,
    since: Instant,
}

impl Connection {
    /// The connection as applications know it.
    fn caller_with(&self, info: ConnectInfo) -> Arc<Caller> {
        let chain = self.chain_name().to_owned();
        Arc::new(Caller { connection: self.id, peer: self.peer, local: self.local(), chain, info })
    }

    /// Asks the application of the acceptor whether the connection may stay, if it wants to be asked; else the
    /// chain may speak at once.
    pub(crate) fn on_accepted(&mut self, shared: &mut Shared) {
        // Who only carries others is not its business, and who is unknown not yet.
        let asks = self.purpose == Purpose::Own;
        let application = shared.routing.find(&self.acceptor.application).filter(|_| asks);
        let Some(application) = application.filter(|application| application.hooks.accept).cloned() else {
            return self.on_open(shared);
        };
        self.admitted = false;
        self.caller = Some(self.caller_with(ConnectInfo::default()));
        self.asked = Some(application.clone());
        let asked = Asked { request: RequestId(u32::MAX), subject: Subject::Accept };
        self.question(&application, asked, Question::Accept);
    }

    pub(crate) fn on_connect(&mut self, request: RequestId, info: ConnectInfo, shared: &mut Shared) {
        if self.outbound && self.owner.is_some() {
            // It is its application's from the start.
            return self.answer_connect(request, Answer::Accept, shared);
        }
        if self.owner.is_some() || self.questions.connects() {
            let answer = |answer| Command::AnswerConnect { request, answer };
            let text = "the connection belongs to an application already, or has asked for one";
            return self.reject(answer, CONNECT_REJECTED, text, shared);
        }
        self.caller = Some(self.caller_with(info));
        // Who has accepted the connection is the one to ask, also where another instance has taken its place since.
        let accepted = self.asked.as_ref().filter(|asked| *asked.name == *self.acceptor.application).cloned();
        let application = accepted.or_else(|| shared.routing.find(&self.acceptor.application).cloned());
        let Some(application) = application else {
            let text = format!("the application {:?} is gone", self.acceptor.application);
            let answer = |answer| Command::AnswerConnect { request, answer };
            return self.reject(answer, INVALID_APP, &text, shared);
        };
        self.ask_connect(request, application, 0, shared);
    }

    pub(crate) fn on_publish(
        &mut self,
        request: RequestId,
        slot: StreamSlot,
        name: String,
        kind: PublishKind,
        via: Via,
        shared: &mut Shared,
    ) {
        if let Some(place) = self.questions.place_behind(slot) {
            *place = Some(Event::Publish { request, slot, name, kind, via });
            return;
        }
        let answer = |answer| Command::AnswerPublish { request, answer };
        let (path, query) = split_query(&name);
        let name = match StreamName::new(&self.instance, path, &shared.limits) {
            Ok(name) => name,
            Err(error) => return self.reject(answer, BAD_NAME, &error.to_string(), shared),
        };
        if kind != PublishKind::Live {
            let text = "recording is not supported yet: publish as live";
            return self.reject(answer, "NetStream.Record.NoAccess", text, shared);
        }
        let name = match self.public_name(name, shared) {
            Ok(name) => name,
            Err(refused) => return self.reject(answer, refused.code, &refused.text, shared),
        };
        let question = Question::Publish { slot, name: name.to_string(), query: query.to_owned(), kind };
        let asked = Asked { request, subject: Subject::Publish { slot, name, via } };
        let hook = |application: &Application| {
            application.hooks.publish || application.authenticates.publish || is_disabled(application)
        };
        self.ask(asked, question, hook, shared);
    }

    pub(crate) fn on_play(&mut self, play: PlayRequest, shared: &mut Shared) {
        if let Some(place) = self.questions.place_behind(play.slot) {
            *place = Some(Event::Play(play));
            return;
        }
        let request = play.request;
        let answer = |answer| Command::AnswerPlay { request, answer };
        let (path, query) = split_query(&play.name);
        let name = match StreamName::new(&self.instance, path, &shared.limits) {
            Ok(name) => name,
            Err(error) => return self.reject(answer, PLAY_FAILED, &error.to_string(), shared),
        };
        let (name, alias) = match self.real_name(name, shared) {
            Ok(names) => names,
            Err(refused) => return self.reject(answer, refused.code, &refused.text, shared),
        };
        let question = Question::Play {
            slot: play.slot,
            name: name.to_string(),
            query: query.to_owned(),
            start_ms: play.start_ms,
            duration_ms: play.duration_ms,
        };
        let asked = Asked { request, subject: Subject::Play { play: Box::new(play), name, alias } };
        let hook = |application: &Application| {
            application.hooks.play || application.authenticates.play || is_disabled(application)
        };
        self.ask(asked, question, hook, shared);
    }

    pub(crate) fn on_message(
        &mut self,
        request: Option<RequestId>,
        slot: StreamSlot,
        command: String,
        args: Vec<Value>,
        shared: &mut Shared,
    ) {
        let wants_answer = request.is_some();
        let listens = self.owner.as_ref().is_some_and(|owner| owner.hooks.message);
        if !listens {
            if let Some(request) = request {
                let text = format!("the application knows no command {command:?}");
                let result = Err((CALL_FAILED.to_owned(), text));
                self.order(Command::AnswerMessage { request, result }, shared);
            }
            return;
        }
        // One that wants no answer takes credit too: it takes a place in the application's mailbox.
        let request = request.unwrap_or(shared.unanswered());
        let question = Question::Message { slot, command, args, wants_answer };
        let asked = Asked { request, subject: Subject::Message { wants_answer } };
        self.ask(asked, question, |application| application.hooks.message, shared);
    }

    /// Takes an answer of the application.
    pub(crate) fn on_answer(&mut self, request: RequestId, verdict: Verdict, shared: &mut Shared) {
        let Some(subject) = self.questions.answered(request) else { return };
        self.decide(request, subject, verdict, shared);
        self.drain_events(shared);
        self.wants_flush(shared);
    }

    /// Looks again at names that other publishers hold.
    pub(crate) fn retry_contested(&mut self, shared: &mut Shared) {
        let now = shared.now;
        while let Some(at) = self.contested.iter().position(|contested| contested.retry_at <= now) {
            let Contested { slot, request, name, via, since, .. } = self.contested.swap_remove(at);
            self.publish(request, slot, name, via, since, shared);
        }
    }

    /// Forgets what a message stream waits for. The application hears of it where it has allowed it already; where it
    /// has not yet, when it does.
    pub(crate) fn give_up_wish(&mut self, slot: StreamSlot, wish: Wish, why: Why) {
        if wish == Wish::Publish
            && let Some(at) = self.contested.iter().position(|contested| contested.slot == slot)
        {
            let name = self.contested.swap_remove(at).name;
            return self.never_began(slot, wish, name, why);
        }
        self.questions.withdraw(slot, wish, why);
    }

    /// Tells the application, where it has been asked anything about this connection.
    pub(crate) fn notify(&self, event: Happened) {
        let Some(application) = self.owner.as_ref().or(self.asked.as_ref()) else { return };
        let Some(caller) = self.caller.clone() else { return };
        let wanted = match event {
            Happened::Metadata { .. } => application.hooks.metadata,
            Happened::Unpublish { .. } => application.hooks.unpublish,
            Happened::Unplay { .. } => application.hooks.unplay,
            Happened::Pong { .. } => application.hooks.pong,
            Happened::Reconnect { .. } | Happened::Began { .. } => self.outbound,
            // It also tells the host that no answer is waited for any more, where it was ever asked.
            Happened::Closed { .. } => self.is_noted_by(application),
        };
        if wanted {
            (application.post)(ToApplication::Notice { caller, event });
        }
    }

    /// Whether an application may have anything of it.
    pub(crate) fn is_noted_by(&self, application: &Application) -> bool {
        application.hooks != Hooks::default() || self.noted
    }

    fn ask(
        &mut self,
        asked: Asked,
        question: Question,
        hook: impl Fn(&Application) -> bool,
        shared: &mut Shared,
    ) {
        // What comes to a connection that the server made, it has asked for.
        let asked_for = self.outbound && !matches!(asked.subject, Subject::Message { .. });
        let Some(application) = self.owner.clone() else {
            let text = "the connection belongs to no application".to_owned();
            let verdict = Verdict::Reject { code: String::new(), text };
            return self.decide(asked.request, asked.subject, verdict, shared);
        };
        if asked_for || !hook(&application) {
            return self.decide(asked.request, asked.subject, Verdict::Accept, shared);
        }
        self.question(&application, asked, question);
    }

    pub(crate) fn question(&mut self, application: &Application, asked: Asked, question: Question) {
        let Some(caller) = self.caller.clone() else { return };
        let request = asked.request;
        self.questions.add(asked);
        // Also one that has no hooks, and is asked because it is disabled.
        self.noted = true;
        (application.post)(ToApplication::Question { caller, request, question });
    }

    fn ask_connect(
        &mut self,
        request: RequestId,
        application: Arc<Application>,
        hands: u8,
        shared: &mut Shared,
    ) {
        self.asked = Some(application.clone());
        let decides = application.hooks.connect || is_disabled(&application);
        let verdict = if decides { Verdict::Accept } else { self.verdict_by_name(&application, shared) };
        // Who the peer is matters to the application that keeps it.
        if decides || (application.authenticates.connect && verdict == Verdict::Accept) {
            let asked = Asked { request, subject: Subject::Connect { hands } };
            self.question(&application, asked, Question::Connect);
        } else {
            self.decide(request, Subject::Connect { hands }, verdict, shared);
        }
    }

    /// Who gets a connection that `application` has nothing to say about: by the name in the address.
    fn verdict_by_name(&self, application: &Arc<Application>, shared: &Shared) -> Verdict {
        if !application.is_default && !application.selects {
            return Verdict::Accept;
        }
        let (named, _) = self.named_application();
        match shared.routing.find(&named) {
            Some(other) if !Arc::ptr_eq(other, application) => Verdict::HandTo(named),
            Some(_) => Verdict::Accept,
            None if !application.selects => Verdict::Accept,
            None if named.is_empty() => {
                let text = "the address names no application".to_owned();
                Verdict::Reject { code: INVALID_APP.to_owned(), text }
            }
            None => Verdict::HandTo(named),
        }
    }

    fn decide(&mut self, request: RequestId, subject: Subject, verdict: Verdict, shared: &mut Shared) {
        match subject {
            Subject::Accept => match verdict {
                Verdict::Accept => {
                    self.admitted = true;
                    self.on_open(shared);
                    self.read_again(shared);
                }
                Verdict::Reject { text, .. } => self.end(shared, &format!("not accepted: {text}")),
                _ => self.end(shared, "the application gave an answer of another kind"),
            },
            Subject::Connect { hands } => self.decide_connect(request, hands, verdict, shared),
            Subject::Publish { slot, name, via } => {
                let answer = |answer| Command::AnswerPublish { request, answer };
                match accepted_name(verdict, name, shared) {
                    Ok(name) => self.publish(request, slot, name, via, shared.now, shared),
                    Err(refused) => {
                        // Tapped by the very hook that has refused it.
                        self.taps.forget(slot);
                        match refused {
                            Refused::Reject(code, text) => {
                                self.reject(answer, code.or(BAD_NAME), &text, shared);
                            }
                            Refused::Redirect(url) => self.order(answer(Answer::Redirect { url }), shared),
                        }
                    }
                }
            }
            Subject::Play { play, name, alias } => {
                let answer = |answer| Command::AnswerPlay { request, answer };
                match accepted_name(verdict, name, shared) {
                    Ok(name) => self.play(*play, name, alias, shared),
                    Err(Refused::Reject(code, text)) => {
                        self.reject(answer, code.or(PLAY_FAILED), &text, shared)
                    }
                    Err(Refused::Redirect(url)) => self.order(answer(Answer::Redirect { url }), shared),
                }
            }
            Subject::Message { wants_answer: false } => {}
            Subject::Message { wants_answer: true } => {
                if let Verdict::Values(ok, args) = verdict {
                    return self.order(Command::AnswerValues { request, ok, args }, shared);
                }
                let result = match verdict {
                    Verdict::Result(value) => Ok(value),
                    Verdict::Accept => Ok(Value::Null),
                    Verdict::Reject { code, text } => Err((Code(code).or(CALL_FAILED).to_owned(), text)),
                    _ => Err((
                        CALL_FAILED.to_owned(),
                        "the application gave an answer of another kind".to_owned(),
                    )),
                };
                self.order(Command::AnswerMessage { request, result }, shared);
            }
            Subject::SharedObject => self.decide_shared(request, verdict),
            Subject::Withdrawn(withdrawn) => self.decide_withdrawn(*withdrawn, verdict, shared),
        }
    }

    /// What the application has allowed has ended already, which it has to know; what it has refused never began.
    fn decide_withdrawn(&mut self, withdrawn: Withdrawn, verdict: Verdict, shared: &mut Shared) {
        let Withdrawn { slot, wish, name, why, next } = withdrawn;
        if wish == Wish::Publish {
            // Tapped by the hook that was asked.
            self.taps.forget(slot);
        }
        if let Ok(name) = accepted_name(verdict, name, shared) {
            let name = name.to_string();
            self.notify(match wish {
                Wish::Publish => Happened::Unpublish { slot, name, why },
                Wish::Play => Happened::Unplay { slot, name, why },
            });
        }
        if let Some(event) = next {
            self.on_event(event, shared);
        }
    }

    fn decide_connect(&mut self, request: RequestId, hands: u8, verdict: Verdict, shared: &mut Shared) {
        let answer = |answer| Command::AnswerConnect { request, answer };
        match verdict {
            Verdict::Accept => {
                let Some(application) = self.asked.clone() else { return };
                if application.selects {
                    let text = format!("the application {:?} takes no connections itself", application.name);
                    return self.reject(answer, INVALID_APP, &text, shared);
                }
                if !self.count_for(&application) {
                    let most = application.max_connections.unwrap_or_default();
                    let text = format!("the application has {most} connections already (maxConnections)");
                    return self.reject(answer, CONNECT_REJECTED, &text, shared);
                }
                (_, self.instance) = self.named_application();
                let agent = self.caller.as_ref().map(|caller| caller.info.agent.clone()).unwrap_or_default();
                slog::info!(self.log, "connected"; "application" => &*application.name, "agent" => agent);
                if let Some(bytes) = application.send_buffer {
                    shared.set_send_buffer(&self.carrier, bytes);
                }
                let (ping_interval, command_bytes) = (application.ping_interval, application.command_bytes);
                // First: should an order end the connection, its place is given back to its owner.
                self.owner = Some(application);
                self.see_connection(Sight::Registered, shared);
                let check_bandwidth = self.offers_bandwidth().is_some_and(|offers| offers.check);
                let server_ip = self.is_for_bandwidth().then(|| self.local().ip().to_canonical());
                if ping_interval.is_some()
                    || command_bytes.is_some()
                    || check_bandwidth
                    || server_ip.is_some()
                {
                    let tune = Command::Tune { ping_interval, command_bytes, check_bandwidth, server_ip };
                    self.order(tune, shared);
                }
                self.answer_connect(request, Answer::Accept, shared);
                if self.state == State::Open {
                    self.test_bandwidth_by_key(shared);
                }
            }
            Verdict::HandTo(name) => {
                if hands >= HANDS {
                    let text = "applications hand this connection around in a circle";
                    return self.reject(answer, INVALID_APP, text, shared);
                }
                match shared.routing.find(&name).cloned() {
                    Some(application) => {
                        if self.noted {
                            let reason = format!("handed to {:?}", application.name);
                            self.notify(Happened::Closed { reason });
                        }
                        (self.taps, self.noted) = (Taps::default(), false);
                        self.ask_connect(request, application, hands + 1, shared);
                    }
                    None => {
                        let text = format!("no application is called {name:?}");
                        self.reject(answer, INVALID_APP, &text, shared);
                    }
                }
            }
            Verdict::Redirect(url) => self.answer_connect(request, Answer::Redirect { url }, shared),
            Verdict::Reject { code, text } => {
                self.reject(answer, Code(code).or(CONNECT_REJECTED), &text, shared);
            }
            Verdict::AcceptAs(_) | Verdict::Result(_) | Verdict::Values(..) => {
                let text = "the application gave an answer of another kind";
                self.reject(answer, CONNECT_REJECTED, text, shared);
            }
        }
    }

    /// Takes one of the places that the application has for connections.
    fn count_for(&mut self, application: &Application) -> bool {
        let most = application.max_connections.unwrap_or(usize::MAX);
        let before = application.connections.fetch_add(1, Ordering::Relaxed);
        if before >= most {
            application.connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.counted = true;
        true
    }

    fn publish(
        &mut self,
        request: RequestId,
        slot: StreamSlot,
        name: StreamName,
        via: Via,
        since: Instant,
        shared: &mut Shared,
    ) {
        let Some(owner) = self.owner.clone() else { return };
        let key = StreamKey { application: owner.name.clone(), name: name.clone() };
        let answer = |answer| Command::AnswerPublish { request, answer };
        if let Some(text) = shared.circle(&key, &via) {
            if let Some(suppressed) = shared.gate.pass(self.peer.ip(), ("publish", "circle"), shared.now) {
                slog::info!(self.log, "publish refused: {text}"; "stream" => %name, "suppressed" => suppressed);
            }
            self.taps.forget(slot);
            self.never_began(slot, Wish::Publish, name, Why::Server);
            return self.reject(answer, BAD_NAME, &text, shared);
        }
        let taken = self.takes_over.iter().position(|taken| taken == name.as_str());
        let policy = match taken {
            Some(at) => {
                self.takes_over.swap_remove(at);
                DuplicatePublisher::Replace
            }
            None => owner.duplicate_publisher,
        };
        let came = (self.outbound || !via.is_empty()).then(|| via.clone());
        match shared.relay.publish(key, self.id, slot, policy, came, shared.now) {
            Ok(home) => {
                // Only now: a name that is contested is asked for again and again.
                let filters = match owner.make_filters.as_ref().map_or(Ok(Vec::new()), |make| make()) {
                    Ok(filters) => Filters::new(filters),
                    Err(reason) => {
                        shared.relay.unpublish(home, shared.now);
                        self.taps.forget(slot);
                        slog::error!(self.log, "publish refused: {reason}");
                        let text = "the filters of the application cannot be made";
                        self.never_began(slot, Wish::Publish, name, Why::Server);
                        return self.reject(answer, BAD_NAME, text, shared);
                    }
                };
                shared.authorise(&mut self.ticket);
                slog::info!(self.log, "published"; "stream" => %name);
                let (unique, since) = (shared.new_stream(), shared.now);
                let watch = Box::new(Watch::new(since));
                let published =
                    Published { slot, name: name.to_string(), home, filters, unique, since, watch };
                self.see_published(Sight::InStreamCreated, &published, shared);
                self.publishes.push(published);
                self.watch(shared);
                // First: should the answer end the connection, its end comes behind its begin.
                tell_stream(&owner, self.id, name.as_str(), true);
                self.order(answer(Answer::Accept), shared);
            }
            // Heard of after we asked: it is alive.
            Err(Refusal::Silent(silence)) if silence >= shared.now.saturating_duration_since(since) => {
                let retry_at = shared.now + CONTEST_PERIOD;
                self.contested.push(Contested { slot, retry_at, request, name, via, since });
            }
            Err(Refusal::Silent(_) | Refusal::Busy) => {
                let text = format!("the stream {:?} is being published already", name.as_str());
                slog::info!(self.log, "publish refused: {text}");
                self.taps.forget(slot);
                self.never_began(slot, Wish::Publish, name, Why::Server);
                self.reject(answer, BAD_NAME, &text, shared);
            }
        }
    }

    /// What the application has allowed, if it was asked, it hears the end of, also where it could not begin.
    /// What it has wished for itself, it was not asked about: the result of its order tells.
    pub(crate) fn never_began(&self, slot: StreamSlot, wish: Wish, name: StreamName, why: Why) {
        if self.outbound {
            return;
        }
        let Some(hooks) = self.owner.as_ref().map(|owner| owner.hooks) else { return };
        let name = name.to_string();
        match wish {
            Wish::Publish if hooks.publish => self.notify(Happened::Unpublish { slot, name, why }),
            Wish::Play if hooks.play => self.notify(Happened::Unplay { slot, name, why }),
            _ => {}
        }
    }

    fn play(&mut self, play: PlayRequest, name: StreamName, alias: Option<String>, shared: &mut Shared) {
        let Some(owner) = self.owner.clone() else { return };
        let key = StreamKey { application: owner.name.clone(), name: name.clone() };
        let request = play.request;
        let answer = |answer| Command::AnswerPlay { request, answer };
        if owner.play_wait.is_zero() && !shared.relay.is_live(&key) {
            let text = format!("nobody publishes the stream {:?}", alias.as_deref().unwrap_or(name.as_str()));
            self.never_began(play.slot, Wish::Play, name, Why::Server);
            return self.reject(answer, NOT_FOUND, &text, shared);
        }
        let mut play = play;
        // What we bring to others they have to judge.
        if !self.outbound
            && let Some(caller) = &self.caller
        {
            play.format.view = owner.enhanced_rtmp.view(&caller.info.declared);
        }
        if !shared.relay.has_room(&key, play.format) {
            let most = shared.limits.stream_views;
            let text =
                format!("the stream is played in streamViews = {most} forms by declared codecs already");
            self.never_began(play.slot, Wish::Play, name, Why::Server);
            return self.reject(answer, PLAY_FAILED, &text, shared);
        }
        self.order(answer(Answer::Accept), shared);
        if self.state != State::Open {
            // What the peer had sent meanwhile was wrong.
            return;
        }
        shared.authorise(&mut self.ticket);
        let PlayRequest { slot, format, encoder, join, .. } = play;
        let options = PlayOptions {
            wait: owner.play_wait,
            publisher_return: owner.publisher_return,
            start: match join {
                Join::Policy => None,
                Join::Newest => Some(Start::Key),
                Join::Next => Some(Start::Next),
            },
        };
        let play = Play { key, connection: self.id, slot, format, encoder, options };
        let (player, live) = shared.relay.play(play, shared.now);
        slog::info!(self.log, "playing"; "stream" => %name, "live" => live);
        self.newcomer = true;
        let (unique, since) = (shared.new_stream(), shared.now);
        let (name, is_passed_on) = (name.to_string(), join != Join::Policy);
        let untold = self.outbound;
        let played = Played { slot, name, alias, is_passed_on, player, untold, unique, since, configs: 0 };
        self.see_played(Sight::OutStreamCreated, &played, shared);
        self.plays.push(played);
        if live {
            self.tell_via(slot, shared);
        }
        self.watch(shared);
    }

    /// The application that the peer named, and the instance behind it.
    fn named_application(&self) -> (String, String) {
        let app = self.caller.as_ref().map_or("", |caller| caller.info.app.as_str());
        let (path, _) = split_query(app);
        let path = path.trim_matches('/');
        let (application, instance) = path.split_once('/').unwrap_or((path, ""));
        (application.to_owned(), instance.to_owned())
    }
}

enum Refused {
    Reject(Code, String),
    Redirect(String),
}

/// Whether an operator wants the application to refuse everything.
pub(crate) fn is_disabled(application: &Application) -> bool {
    application.disabled.load(Ordering::Relaxed)
}

/// A status code that the application may have left to us.
struct Code(String);

impl Code {
    fn or<'a>(&'a self, usual: &'a str) -> &'a str {
        if self.0.is_empty() { usual } else { &self.0 }
    }
}

fn accepted_name(verdict: Verdict, name: StreamName, shared: &Shared) -> Result<StreamName, Refused> {
    match verdict {
        Verdict::Accept => Ok(name),
        Verdict::AcceptAs(other) => StreamName::new("", &other, &shared.limits).map_err(|error| {
            Refused::Reject(Code(String::new()), format!("the application gave another name, but {error}"))
        }),
        Verdict::Reject { code, text } => Err(Refused::Reject(Code(code), text)),
        Verdict::Redirect(url) => Err(Refused::Redirect(url)),
        Verdict::HandTo(_) | Verdict::Result(_) | Verdict::Values(..) => Err(Refused::Reject(
            Code(String::new()),
            "the application gave an answer of another kind".to_owned(),
        )),
    }
}
