//! Connections of a port that serves several chains: by the first bytes of each it is known what it is.
//!
//! Until then nobody is asked: its application has to do with it only if it carries no others (RTMPT), and only then it
//! counts among those that an operator limits.

use std::borrow::Cow;

use crtmp_media::Became;

use crate::{connection::Connection, control::Acceptor, proxied::refuse, shared::Shared};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// That is not known yet.
    Unknown,
    /// Itself.
    Own,
    /// Requests of others.
    Carries,
}

impl Purpose {
    /// What the connections of an acceptor are for when they come.
    pub(crate) fn at_first(acceptor: &Acceptor) -> Self {
        match (acceptor.is_mixed, &acceptor.sessions) {
            (true, _) => Self::Unknown,
            (false, Some(_)) => Self::Carries,
            (false, None) => Self::Own,
        }
    }
}

impl Connection {
    /// It has become known what the connection is: from here on it is like one of a port that serves nothing else.
    pub(crate) fn on_became(&mut self, became: Became, shared: &mut Shared) {
        let Became { chain, carries } = became;
        self.purpose = if carries { Purpose::Carries } else { Purpose::Own };
        self.is_of(chain);
        if !carries
            && self.acceptor.counted
            && let Err(refused) = self.ticket.count()
        {
            refuse(refused, self.peer, &self.acceptor, shared);
            return self.end(shared, "refused by a limit");
        }
        self.on_accepted(shared);
    }

    /// The connection is of this chain of those of its port.
    pub(crate) fn is_of(&mut self, chain: Cow<'static, str>) {
        self.log = self.log.new(slog::o!("as" => chain.to_string()));
        self.became = Some(chain);
    }

    /// The name of its chain: as far as is known, of its own one.
    pub(crate) fn chain_name(&self) -> &str {
        self.became.as_deref().unwrap_or(&self.acceptor.chain)
    }
}
