//! Shared objects: what connections want of them goes to whoever has them, and what is new of them comes back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crtmp_media::{Command, SharedItem, SharedNews, SharedRequest, StreamName};

use crate::{
    connection::{Connection, State},
    control::{SharedClient, ToSharedObjects},
    shared::Shared,
};

/// Requests of one connection that may be unanswered; then nothing is read.
const CREDIT: usize = 8;

/// What a peer is told whose name for an object cannot be used.
const BAD_NAME: &str = "SharedObject.UriMismatch";

/// What one is told that has to show who it is, and has not.
const NOT_ALLOWED: &str = "SharedObject.NoReadAccess";

/// What a connection has to do with shared objects.
#[derive(Default)]
pub(crate) struct Sharing {
    /// Requests without an answer.
    open: usize,
    /// Bytes of news that are on their way here.
    in_flight: Arc<AtomicUsize>,
    /// Whoever has the objects has heard of the connection, and must hear of its end.
    known: bool,
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
        let Some(post) = &owner.shared_objects else { return };
        // Who a peer is, is asked when it publishes or plays.
        let unknown = owner.authenticates.play && self.publishes.is_empty() && self.plays.is_empty();
        if unknown && request.uses() {
            return self.refuse_shared(&request, NOT_ALLOWED, shared);
        }
        match StreamName::new(&self.instance, &request.name, &shared.limits) {
            Ok(name) => {
                self.sharing.open += 1;
                self.sharing.known = true;
                let in_flight = self.sharing.in_flight.clone();
                let client = SharedClient { connection: self.id, in_flight };
                post(ToSharedObjects::Request { client, name, request });
            }
            Err(error) => {
                slog::debug!(self.log, "a shared object is refused: {error}");
                self.refuse_shared(&request, BAD_NAME, shared);
            }
        }
    }

    fn refuse_shared(&mut self, request: &SharedRequest, code: &'static str, shared: &mut Shared) {
        let (name, persistent) = (request.name.as_str().into(), request.persistent);
        let items = vec![SharedItem::Refused { code }];
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
        if std::mem::take(&mut self.sharing.known)
            && let Some(post) = self.owner.as_ref().and_then(|owner| owner.shared_objects.as_ref())
        {
            post(ToSharedObjects::Gone { connection: self.id });
        }
    }
}
