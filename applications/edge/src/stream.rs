//! What is known of one name: who plays and publishes it, and what of it is fetched or sent on.

use crtmp_plugin::ConnId;

use crate::Way;

/// A name that somebody plays or publishes, or has played a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pull: Link,
    push: Link,
    /// What its first player said behind the question mark.
    pub(crate) query: String,
    /// Why the server takes no pull or push of it, as the log says already.
    pub(crate) complaint: String,
    rest: Rest,
    plays: Vec<Played>,
    /// Who has been allowed to publish it here.
    publishers: Vec<Published>,
    /// Who publishes it right now, connections of pulls included.
    live: Vec<ConnId>,
}

/// What there is of a name that nobody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// Somebody wants it, or nobody ever did.
    #[default]
    None,
    /// It is fetched for a while, up to this timer.
    Lingers(u64),
    /// It is not fetched any more.
    Released,
    /// It is not fetched any more, and servers that ask for it are refused up to this timer: where two edges are each
    /// other's origin, each would go on asking because the other does.
    Quiet(u64),
}

/// A pull or a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// There is none.
    #[default]
    None,
    /// The server has been asked for it, and has not said its number yet; this one tells it from others.
    Asked(u64),
    /// Its number (`configId`).
    Runs(u64),
}

impl Link {
    fn is_there(self) -> bool {
        self != Self::None
    }
}

/// A playback that was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) conn: ConnId,
    pub(crate) stream_id: u32,
    /// It is another server's pull.
    pub(crate) is_server: bool,
}

/// A publication that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) conn: ConnId,
    pub(crate) stream_id: u32,
    /// It is another server's push.
    pub(crate) is_server: bool,
    /// What stands behind the question mark.
    pub(crate) query: String,
}

impl Stream {
    pub(crate) fn play(&mut self, played: Played) {
        self.plays.push(played);
        if self.rest == Rest::Released {
            self.rest = Rest::None;
        }
    }

    /// The oldest of those that fit ends: what is played on a message stream ends before something else begins there.
    pub(crate) fn unplay(&mut self, conn: ConnId, stream_id: u32) {
        let at = self.plays.iter().position(|played| played.conn == conn && played.stream_id == stream_id);
        if let Some(at) = at {
            self.plays.remove(at);
        }
    }

    pub(crate) fn publish(&mut self, published: Published) {
        self.publishers.push(published);
    }

    pub(crate) fn unpublish(&mut self, conn: ConnId) {
        if let Some(at) = self.publishers.iter().position(|other| other.conn == conn) {
            self.publishers.remove(at);
        }
    }

    /// A connection is gone, with all that it did.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.plays.retain(|played| played.conn != conn);
        self.publishers.retain(|other| other.conn != conn);
    }

    pub(crate) fn live(&mut self, publisher: ConnId, live: bool) {
        self.live.retain(|other| *other != publisher);
        if live {
            self.live.push(publisher);
        }
    }

    /// Whether somebody wants to see it. Other servers count as soon as there is something to see: as long as there is
    /// not, they may be waiting for us as we do for them.
    pub(crate) fn is_wanted(&self) -> bool {
        let is_live = !self.live.is_empty();
        self.plays.iter().any(|played| is_live || !played.is_server)
    }

    /// Somebody wants it, so that its timer is not needed.
    pub(crate) fn wanted_again(&mut self) -> Option<u64> {
        match std::mem::take(&mut self.rest) {
            Rest::Lingers(timer) | Rest::Quiet(timer) => Some(timer),
            Rest::None | Rest::Released => None,
        }
    }

    /// Whether nobody wants it for the first time: its last player has gone, or only servers wait for it.
    pub(crate) fn may_linger(&self) -> bool {
        let is_there = self.pull.is_there() || !self.plays.is_empty();
        let comes = !self.pull.is_there() && !self.live.is_empty();
        self.rest == Rest::None && is_there && !comes && !self.has_local()
    }

    /// A timer has been set for what [`may_linger`](Self::may_linger) and [`take_unwanted`](Self::take_unwanted) say.
    pub(crate) fn set_timer(&mut self, timer: u64) {
        self.rest = if self.rest == Rest::Released { Rest::Quiet(timer) } else { Rest::Lingers(timer) };
    }

    /// Its timer is due.
    pub(crate) fn expire(&mut self, timer: u64) {
        if self.rest == Rest::Lingers(timer) {
            self.rest = Rest::Released;
        } else if self.rest == Rest::Quiet(timer) {
            self.rest = Rest::None;
        }
    }

    /// Whether servers are refused that would wait for it.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.rest, Rest::Quiet(_))
    }

    /// Whether it has to be fetched: somebody wants it, or did until a moment ago, and it does not come otherwise.
    pub(crate) fn needs_pull(&self) -> bool {
        // What is there without our pull comes by one of the configuration, or by that of an earlier instance.
        let comes = !self.pull.is_there() && !self.live.is_empty();
        !self.has_local() && !comes && (self.is_wanted() || matches!(self.rest, Rest::Lingers(_)))
    }

    /// Whether it is fetched, or will be in a moment.
    pub(crate) fn is_fetched(&self) -> bool {
        self.pull.is_there() || (!self.plays.is_empty() && self.live.is_empty())
    }

    /// Whether it is published here.
    pub(crate) fn has_local(&self) -> bool {
        self.local().is_some()
    }

    /// Whether it comes, or is about to, from wherever that may be.
    pub(crate) fn is_there(&self) -> bool {
        self.has_local() || !self.live.is_empty()
    }

    /// Servers that have waited for it in vain.
    pub(crate) fn take_unwanted(&mut self) -> Vec<Played> {
        let released = self.rest == Rest::Released && self.live.is_empty();
        if released { std::mem::take(&mut self.plays) } else { Vec::new() }
    }

    /// Whether a connection plays or publishes it.
    pub(crate) fn has(&self, conn: ConnId) -> bool {
        let publishes = self.publishers.iter().any(|other| other.conn == conn);
        publishes || self.plays.iter().any(|played| played.conn == conn)
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_over(&self) -> bool {
        let idle = self.plays.is_empty() && self.publishers.is_empty() && self.live.is_empty();
        let rests = matches!(self.rest, Rest::Lingers(_) | Rest::Quiet(_));
        idle && !rests && !self.pull.is_there() && !self.push.is_there()
    }

    pub(crate) fn link_of(&self, way: Way) -> Link {
        match way {
            Way::Pull => self.pull,
            Way::Push => self.push,
        }
    }

    pub(crate) fn link(&mut self, way: Way) -> &mut Link {
        match way {
            Way::Pull => &mut self.pull,
            Way::Push => &mut self.push,
        }
    }

    /// Who publishes it here.
    pub(crate) fn local(&self) -> Option<&Published> {
        self.publishers.iter().find(|published| self.live.contains(&published.conn))
    }
}
