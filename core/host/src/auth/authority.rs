//! Who asks the peers of one application who they are.

use super::*;

use std::sync::atomic::{AtomicU64, Ordering};

use crtmp_media::{ConnectInfo, Value as Amf};
use crtmp_reactor::Caller;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    adobe::{Answer, Closed, Said},
    backoff::Admission,
    file::Stamp,
    query::Credentials,
    users::{Found, Grants, User},
};
use crate::config::{AuthenticationScheme, RtmpAuthentication};

/// What clients are told; none of it says which of user and password was wrong.
const WRONG: &str = "authentication failed: no such user, or another password or token";
const BUSY: &str = "authentication: too many try at once, come again in a moment";
const TOO_OFTEN: &str =
    "authentication: too many tries from this address have failed, come again in a moment";
const NOT_THIS: &str = "authentication: this user may not do that";
const UNFINISHED: &str = "authentication: it could not be checked, come again in a moment";
const UNSAID: &str =
    "authentication needed: put ?user=…&pass=… or ?token=… behind the application or the stream";
const UNSAID_ADOBE: &str = "authentication needed: connect with user and password (rtmp://user:password@…)";
const NO_ENCODER: &str = "authentication: this program is none of those that may publish (encoderAgents)";

/// What encoders call themselves that know Adobe's question.
const ENCODERS: [&str; 2] = ["fmle/*", "wirecast/*"];

const CONNECT: &str = "NetConnection.Connect.Rejected";
const PUBLISH: &str = "NetStream.Publish.BadName";
const PLAY: &str = "NetStream.Play.Failed";
const SHARE: &str = "SharedObject.NoReadAccess";

/// How a peer is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status code.
    pub(crate) code: &'static str,
    /// Why, in words.
    pub(crate) text: String,
}

/// Called once with the outcome, now or later, on whatever thread.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// What has happened since the instance's start.
#[derive(Debug, Default)]
struct Counts {
    /// Peers that were told to say who they are.
    asked: AtomicU64,
    /// Users that have shown who they are.
    accepted: AtomicU64,
    /// Tries that were wrong.
    failed: AtomicU64,
    /// Tries that had to wait because others of their address were wrong.
    delayed: AtomicU64,
    /// Tries that were refused without a look, because too many waited.
    refused: AtomicU64,
}

/// Who asks the peers of one application who they are.
pub(crate) struct Authority {
    application: String,
    settings: RtmpAuthentication,
    /// The agents that may publish, in lower case; none: all.
    encoders: Option<Vec<String>>,
    file: UsersFile,
    /// The file that was looked at last.
    stamp: Mutex<Option<Stamp>>,
    table: Mutex<Arc<Table>>,
    /// Connections that may have something in flight, and who they are.
    sessions: Mutex<HashMap<u64, Option<User>>>,
    counts: Counts,
    log: Logger,
    shared: Arc<Shared>,
}

/// What a peer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Connect,
    Publish,
    Play,
    /// To use a shared object.
    Share,
}

impl Wish {
    const fn refusal(self, text: String) -> Refusal {
        let code = match self {
            Self::Connect => CONNECT,
            Self::Publish => PUBLISH,
            Self::Play => PLAY,
            Self::Share => SHARE,
        };
        Refusal { code, text }
    }

    const fn is_granted(self, grants: Grants) -> bool {
        match self {
            Self::Connect => true,
            Self::Publish => grants.publish,
            Self::Play => grants.play,
            Self::Share => grants.publish || grants.play,
        }
    }
}

/// A try of a peer to say who it is.
struct Try {
    connection: u64,
    address: IpAddr,
    wish: Wish,
    /// What a wrong one is told.
    wrong: String,
    answer: Owed,
}

/// An answer that is owed: who drops it has said no.
struct Owed {
    wish: Wish,
    done: Option<Done>,
}

impl Owed {
    fn give(mut self, outcome: Result<(), Refusal>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(self.wish.refusal(UNFINISHED.to_owned())));
        }
    }
}

/// What a try comes to, as far as it is known at once.
enum Looked {
    Right(User),
    Wrong,
    Full,
    /// With the table whose cache remembers it: another one may have another password.
    Slow(Arc<Table>, Box<users::SlowCheck>),
}

impl Authority {
    pub(super) fn new(
        application: &str,
        settings: &RtmpAuthentication,
        file: UsersFile,
        stamp: Option<Stamp>,
        table: Table,
        shared: Arc<Shared>,
    ) -> Self {
        let encoders = settings.encoder_agents.as_ref();
        let encoders = encoders.map(|list| list.iter().map(|agent| agent.to_lowercase()).collect());
        let log = shared.log.new(slog::o!("application" => application.to_owned()));
        info!(log, "users of {}", file.path().display(); "users" => table.len());
        Self {
            application: application.to_owned(),
            settings: settings.clone(),
            encoders,
            file,
            stamp: Mutex::new(stamp),
            table: Mutex::new(Arc::new(table)),
            sessions: Mutex::default(),
            counts: Counts::default(),
            log,
            shared,
        }
    }

    /// What has happened since the instance's start, by what.
    pub(crate) fn counters(&self) -> Value {
        let Counts { asked, accepted, failed, delayed, refused } = &self.counts;
        let [asked, accepted, failed, delayed, refused] =
            [asked, accepted, failed, delayed, refused].map(|count| count.load(Ordering::Relaxed));
        json!({
            "users": self.table().len(),
            "asked": asked,
            "accepted": accepted,
            "failed": failed,
            "delayed": delayed,
            "refused": refused,
        })
    }

    /// Whether publishing needs a user.
    pub(crate) fn guards_publish(&self) -> bool {
        self.settings.authenticate_publish
    }

    /// Whether playing needs one.
    pub(crate) fn guards_play(&self) -> bool {
        self.settings.authenticate_play
    }

    /// A peer wants to connect.
    pub(crate) fn connect(self: &Arc<Self>, caller: &Caller, done: Done) {
        lock(&self.sessions).insert(caller.connection.0, None);
        let answer = Owed { wish: Wish::Connect, done: Some(done) };
        match self.settings.scheme {
            AuthenticationScheme::Adobe => self.connect_by_question(caller, answer),
            AuthenticationScheme::Query => match query::of_connect(&caller.info.app, &caller.info.tc_url) {
                None => answer.give(Ok(())),
                Some(credentials) => self.try_credentials(caller, answer, credentials),
            },
        }
    }

    /// A peer wants to publish a stream whose name had this query.
    pub(crate) fn publish(self: &Arc<Self>, caller: &Caller, query: &str, done: Done) {
        let answer = Owed { wish: Wish::Publish, done: Some(done) };
        if !self.may_publish(&caller.info.agent) {
            return self.refuse(answer, NO_ENCODER);
        }
        self.begin(caller, query, answer);
    }

    /// A peer wants to play a stream whose name had this query.
    pub(crate) fn play(self: &Arc<Self>, caller: &Caller, query: &str, done: Done) {
        self.begin(caller, query, Owed { wish: Wish::Play, done: Some(done) });
    }

    /// A peer wants to use a shared object. It has shown who it is when it connected, or not at all: names of objects have
    /// no query.
    pub(crate) fn share(self: &Arc<Self>, caller: &Caller, done: Done) {
        self.begin(caller, "", Owed { wish: Wish::Share, done: Some(done) });
    }

    /// A connection has left. What it still waits for comes to nobody.
    pub(crate) fn forget(&self, connection: u64) {
        lock(&self.sessions).remove(&connection);
    }

    /// Calls this unless the connection has left; it cannot leave meanwhile.
    pub(crate) fn while_known(&self, connection: u64, call: impl FnOnce()) {
        let sessions = lock(&self.sessions);
        if sessions.contains_key(&connection) {
            call();
        }
    }

    /// Reads the users file again if it has changed, or `always`. One with mistakes leaves the users as they are.
    pub(super) fn look_at_file(&self, always: bool) {
        let now = self.file.stamp().ok();
        let mut seen = lock(&self.stamp);
        if *seen == now && !always {
            return;
        }
        let (stamp, read) = self.file.read();
        *seen = stamp;
        drop(seen);
        let read = read.map_err(|text| vec![text]).and_then(|value| {
            Table::read(&value, &self.settings, self.shared.key, &self.shared.limits)
                .map_err(|mistakes| in_file(&self.file, &mistakes))
        });
        match read {
            Ok(table) => {
                info!(self.log, "users of {} are read again", self.file.path().display(); "users" => table.len());
                *lock(&self.table) = Arc::new(table);
            }
            Err(texts) => {
                for text in texts {
                    error!(self.log, "the users stay as they are: {text}");
                }
            }
        }
    }

    fn table(&self) -> Arc<Table> {
        lock(&self.table).clone()
    }

    fn may_publish(&self, agent: &str) -> bool {
        self.encoders.as_ref().is_none_or(|encoders| is_one_of(agent, encoders.iter().map(String::as_str)))
    }

    /// Whether a peer looks as if it were going to publish. Nobody says so before it is connected, and afterwards there
    /// is no way left to ask.
    fn is_encoder(&self, info: &ConnectInfo) -> bool {
        if self.encoders.is_some() {
            return self.may_publish(&info.agent);
        }
        // What librtmp, FFmpeg and GStreamer say when they are about to publish, and never else.
        let is_type = |(key, value): &(String, Amf)| key == "type" && value.as_str() == Some("nonprivate");
        is_one_of(&info.agent, ENCODERS.into_iter()) || info.members.iter().any(is_type)
    }

    fn refuse(&self, answer: Owed, text: &str) {
        let refusal = answer.wish.refusal(text.to_owned());
        answer.give(Err(refusal));
    }

    /// Tells a peer how to say who it is.
    fn ask(&self, answer: Owed, text: &str) {
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        self.refuse(answer, text);
    }

    fn begin(self: &Arc<Self>, caller: &Caller, query: &str, answer: Owed) {
        let scheme = self.settings.scheme;
        if scheme == AuthenticationScheme::Query
            && let Some(credentials) = query::of_query(query)
        {
            return self.try_credentials(caller, answer, credentials);
        }
        let user = lock(&self.sessions).get(&caller.connection.0).cloned().flatten();
        // What it may do is what it may now: the users file may be another one since it has connected.
        match user.map(|user| self.table().grants(&user.name)) {
            Some(grants) if answer.wish.is_granted(grants) => answer.give(Ok(())),
            Some(_) => self.refuse(answer, NOT_THIS),
            None if scheme == AuthenticationScheme::Adobe => self.ask(answer, UNSAID_ADOBE),
            None => self.ask(answer, UNSAID),
        }
    }

    fn connect_by_question(self: &Arc<Self>, caller: &Caller, answer: Owed) {
        let (_, query) = crtmp_media::split_query(&caller.info.app);
        let (_, other) = crtmp_media::split_query(&caller.info.tc_url);
        let said = [query, other].into_iter().map(adobe::said).find(|said| *said != Said::Nothing);
        match said.unwrap_or(Said::Nothing) {
            Said::Nothing => {
                let publishes = self.guards_publish() && self.is_encoder(&caller.info);
                if self.guards_play() || publishes {
                    self.ask(answer, adobe::NEEDED);
                } else {
                    answer.give(Ok(()));
                }
            }
            Said::User(raw) => {
                let user = user_of(raw);
                let mut nonce = [0; 9];
                if getrandom::fill(&mut nonce).is_err() {
                    return self.refuse(answer, UNFINISHED);
                }
                let questions = lock(&self.shared.questions);
                let question = questions.ask(&self.application, &user, nonce, self.shared.now());
                let salt = questions.salt(&self.application, &user);
                drop(questions);
                let (salt, ..) = self.table().for_adobe(&user, &salt);
                self.ask(answer, &adobe::asked(raw, &salt, &question));
            }
            Said::Answer(said) => {
                let wrong = adobe::failed(said.opaque);
                let [user, challenge, response, opaque] =
                    [&*user_of(said.user), said.challenge, said.response, said.opaque].map(str::to_owned);
                self.attempt(caller, answer, wrong, move |this| {
                    this.look_at_answer(&Answer {
                        user: &user,
                        challenge: &challenge,
                        response: &response,
                        opaque: &opaque,
                    })
                });
            }
        }
    }

    /// Whether an answer is right; its user is decoded.
    fn look_at_answer(&self, answer: &Answer<'_>) -> Looked {
        let (application, user) = (&self.application, answer.user);
        let mut questions = lock(&self.shared.questions);
        let salt = questions.salt(application, user);
        let (_, first, known) = self.table().for_adobe(user, &salt);
        let is_right = adobe::is_right(&first, answer);
        match questions.find(answer.opaque, application, user, self.shared.now()) {
            Err(Closed::Full) => Looked::Full,
            Err(Closed::Unknown) => Looked::Wrong,
            Ok(open) => match known {
                Some(known) if is_right && questions.spend(open, true) => Looked::Right(known),
                _ => {
                    questions.spend(open, false);
                    Looked::Wrong
                }
            },
        }
    }

    fn try_credentials(self: &Arc<Self>, caller: &Caller, answer: Owed, credentials: Credentials) {
        self.attempt(caller, answer, WRONG.to_owned(), move |this| {
            let table = this.table();
            match table.find(credentials, Instant::now()) {
                Found::Right(user) => Looked::Right(user),
                Found::Wrong => Looked::Wrong,
                Found::Slow(check) => Looked::Slow(table, check),
            }
        });
    }

    /// Looks at what a peer shows: now, or as soon as its address may.
    fn attempt(
        self: &Arc<Self>,
        caller: &Caller,
        answer: Owed,
        wrong: String,
        look: impl FnOnce(&Self) -> Looked + Send + 'static,
    ) {
        let (connection, address) = (caller.connection.0, caller.peer.ip());
        let attempt = Try { connection, address, wish: answer.wish, wrong, answer };
        let admission = lock(&self.shared.backoff).admit(address, Instant::now());
        match admission {
            Admission::Now => self.settle(attempt, look),
            Admission::Full => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                self.refuse(attempt.answer, TOO_OFTEN);
            }
            Admission::At(at) => {
                self.counts.delayed.fetch_add(1, Ordering::Relaxed);
                let this = self.clone();
                let resumed = Resumed { shared: self.shared.clone(), address };
                let job = Box::new(move || {
                    drop(resumed);
                    this.settle(attempt, look);
                });
                let Some(jobs) = self.shared.jobs.get() else { return };
                if !jobs.at(at, job) {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn settle(self: &Arc<Self>, attempt: Try, look: impl FnOnce(&Self) -> Looked) {
        match look(self) {
            Looked::Right(user) => self.right(attempt, user),
            Looked::Wrong => self.wrong(attempt),
            Looked::Full => self.busy(attempt),
            Looked::Slow(table, check) => {
                let this = self.clone();
                let slot = Arc::new(Mutex::new(Some(attempt)));
                let taken = slot.clone();
                let job = Box::new(move || {
                    let Some(attempt) = lock(&taken).take() else { return };
                    match table.check(*check, Instant::now) {
                        Some(user) => this.right(attempt, user),
                        None => this.wrong(attempt),
                    }
                });
                let is_taken = self.shared.jobs.get().is_some_and(|jobs| jobs.long(job));
                if !is_taken && let Some(attempt) = lock(&slot).take() {
                    self.busy(attempt);
                }
            }
        }
    }

    fn right(&self, attempt: Try, user: User) {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.backoff).succeeded(attempt.address, Instant::now());
        if !attempt.wish.is_granted(user.grants) {
            return self.refuse(attempt.answer, NOT_THIS);
        }
        info!(self.log, "authenticated"; "user" => &*user.name, "peer" => %attempt.address);
        if attempt.wish == Wish::Connect
            && let Some(session) = lock(&self.sessions).get_mut(&attempt.connection)
        {
            *session = Some(user);
        }
        attempt.answer.give(Ok(()));
    }

    fn wrong(&self, attempt: Try) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let line = lock(&self.shared.backoff).failed(attempt.address, Instant::now());
        if let Some(suppressed) = line {
            // Not the user either: what people type there is a password now and then.
            info!(self.log, "authentication failed"; "peer" => %attempt.address, "suppressed" => suppressed);
        }
        self.refuse(attempt.answer, &attempt.wrong);
    }

    /// It was looked at by nobody, and counts for nothing.
    fn busy(&self, attempt: Try) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.backoff).succeeded(attempt.address, Instant::now());
        self.refuse(attempt.answer, BUSY);
    }
}

/// Gives the place of a try back that was put off, whatever becomes of it.
struct Resumed {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Resumed {
    fn drop(&mut self) {
        lock(&self.shared.backoff).resumed(self.address);
    }
}

/// Whether an agent is one of these, or begins like one that ends with `*`.
fn is_one_of<'a>(agent: &str, mut list: impl Iterator<Item = &'a str>) -> bool {
    let agent = agent.to_lowercase();
    list.any(|other| match other.strip_suffix('*') {
        Some(begin) => agent.starts_with(begin),
        None => agent == other,
    })
}

/// The user of a query, without percent signs.
fn user_of(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}
