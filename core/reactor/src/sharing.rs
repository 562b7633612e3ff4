//! Shared objects: what connections want of them goes to whoever has them, and what is new of them comes back.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crtmp_media::{Command, RequestId, SharedItem, SharedNews, SharedRequest, StreamName};

use crate::{
    asked::{Asked, Subject},
    connection::{Connection, State},
    control::{Application, Question, SharedClient, ToSharedObjects, Verdict},
    questions::is_disabled,
    shared::Shared,
};

/// Requests of one connection that may be unanswered; then nothing is read.
const CREDIT: usize = 8;

/// What a peer is told whose name for an object cannot be used.
const BAD_NAME: &str = "SharedObject.UriMismatch";

/// What a peer is told that may not use an object, or not do with it what it wants.
const NO_READ: &str = "SharedObject.NoReadAccess";
const NO_WRITE: &str = "SharedObject.NoWriteAccess";

/// What a connection has to do with shared objects.
#[derive(Default)]
pub(crate) struct Sharing {
    /// Requests without an answer.
    open: usize,
    /// Bytes of news that are on their way here.
    in_flight: Arc<AtomicUsize>,
    /// Whoever has the objects has heard of the connection, and must hear of its end.
    known: bool,
    /// What waits for the application's leave, and what has come behind it: all that a peer wants stays in order.
    line: VecDeque<Lined>,
}

/// Something that a peer wants of a shared object.
struct Lined {
    name: StreamName,
    request: Arc<SharedRequest>,
    /// The question about it that has no answer.
    asked: Option<RequestId>,
    /// The status code with which it is refused.
    denied: Option<String>,
}

impl Sharing {
    /// Whether more may be wanted.
    pub(crate) const fn has_credit(&self) -> bool {
        self.open < CREDIT
    }
}

impl Connection {
    /// Whether what the peer wants may be asked for: else it is not read.
    pub(crate) fn has_credit(&self) -> bool {
        self.questions.has_credit() && self.sharing.has_credit()
    }

    /// The peer wants something of a shared object.
    pub(crate) fn on_shared(&mut self, request: SharedRequest, shared: &mut Shared) {
        let Some(owner) = self.owner.clone() else { return };
        if owner.shared_objects.is_none() {
            return;
        }
        let name = match StreamName::new(&self.instance, &request.name, &shared.limits) {
            Ok(name) => name,
            Err(error) => {
                slog::debug!(self.log, "a shared object is refused: {error}");
                return self.refuse_shared(&request, BAD_NAME, shared);
            }
        };
        let shown = self.has_shown_itself(&owner);
        let must_show = owner.authenticates.play && !shown;
        let asks = owner.hooks.shared_object || request.uses() && (must_show || is_disabled(&owner));
        let asked = asks.then(|| shared.unanswered());
        let request = Arc::new(request);
        self.sharing.open += 1;
        self.sharing.line.push_back(Lined {
            name: name.clone(),
            request: request.clone(),
            asked,
            denied: None,
        });
        match asked {
            Some(number) => {
                let question = Question::SharedObject { name: name.to_string(), request, shown };
                let asked = Asked { request: number, subject: Subject::SharedObject };
                self.question(&owner, asked, question);
            }
            None => self.pass_shared(),
        }
    }

    /// Whether the peer publishes or plays something here that it had to show for who it is.
    fn has_shown_itself(&self, owner: &Application) -> bool {
        owner.authenticates.play && !self.plays.is_empty()
            || owner.authenticates.publish && !self.publishes.is_empty()
    }

    /// The application has answered whether the peer may.
    pub(crate) fn decide_shared(&mut self, number: RequestId, verdict: Verdict) {
        let Some(lined) = self.sharing.line.iter_mut().find(|lined| lined.asked == Some(number)) else {
            return;
        };
        lined.asked = None;
        let usual = if lined.request.uses() { NO_READ } else { NO_WRITE };
        let (code, text) = match verdict {
            Verdict::Accept => return self.pass_shared(),
            Verdict::Reject { code, text } if code.is_empty() => (usual.to_owned(), text),
            Verdict::Reject { code, text } => (code, text),
            _ => (usual.to_owned(), "the application gave an answer of another kind".to_owned()),
        };
        slog::debug!(self.log, "a shared object is refused: {text}"; "object" => %lined.name, "code" => &code);
        lined.denied = Some(code);
        self.pass_shared();
    }

    /// Hands on what waits for no answer any more.
    fn pass_shared(&mut self) {
        let Some(owner) = self.owner.clone() else { return };
        let Some(post) = &owner.shared_objects else { return };
        while let Some(Lined { name, request, denied, .. }) =
            self.sharing.line.pop_front_if(|lined| lined.asked.is_none())
        {
            self.sharing.known = true;
            let in_flight = self.sharing.in_flight.clone();
            let client = SharedClient { connection: self.id, in_flight };
            post(ToSharedObjects::Request { client, name, request, denied });
        }
    }

    fn refuse_shared(&mut self, request: &SharedRequest, code: &'static str, shared: &mut Shared) {
        let (name, persistent) = (request.name.as_str().into(), request.persistent);
        let items = [SharedItem::Refused { code: code.into() }].into();
        self.order(Command::Shared(SharedNews { name, version: 0, persistent, items }), shared);
    }

    /// Something is new of a shared object, or what the peer wanted has been dealt with.
    pub(crate) fn on_shared_news(
        &mut self,
        news: Option<SharedNews>,
        bytes: usize,
        answers: bool,
        shared: &mut Shared,
    ) {
        self.sharing.in_flight.fetch_sub(bytes, Ordering::Relaxed);
        self.sharing.open -= usize::from(answers && self.sharing.open > 0);
        if self.state != State::Open {
            return;
        }
        if let Some(news) = news {
            if news.items.contains(&SharedItem::Used) {
                shared.authorise(&mut self.ticket);
            }
            self.order(Command::Shared(news), shared);
        }
        self.drain_events(shared);
    }

    /// The connection uses nothing any more.
    pub(crate) fn release_shared(&mut self) {
        self.sharing.line.clear();
        if std::mem::take(&mut self.sharing.known)
            && let Some(post) = self.owner.as_ref().and_then(|owner| owner.shared_objects.as_ref())
        {
            post(ToSharedObjects::Gone { connection: self.id });
        }
    }
}
