//! From the names that peers say to those of streams: ingest points and aliases, and when neither is looked at.
//!
//! Names are replaced before the application is asked: it decides about the stream, and what a peer had to know to
//! name it is nobody's business. So an alias for a single play is used up by the question, whatever the answer.

use crtmp_media::{StreamName, StreamSlot};

use crate::{
    connection::Connection,
    questions::{BAD_NAME, NOT_FOUND, PLAY_FAILED},
    shared::Shared,
};

/// The code for a publish that is refused although its name is good.
const DENIED: &str = "NetStream.Publish.Denied";

/// What a peer is told.
pub(crate) struct NotNamed {
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Connection {
    /// The name under which a publish that asks for `name` appears.
    pub(crate) fn public_name(&self, name: StreamName, shared: &mut Shared) -> Result<StreamName, NotNamed> {
        if shared.traffic.refuses_incoming() {
            let text = "the server receives more than its bandwidth limit allows; try again later";
            return Err(self.refuse(DENIED, text, shared));
        }
        // What the server fetches itself has the name that it was fetched under.
        let points = self.owner.as_ref().and_then(|owner| owner.ingest_points.as_ref());
        let Some(points) = points.filter(|_| !self.outbound) else { return Ok(name) };
        match points.find(name.as_str()).map(|public| StreamName::new("", &public, &shared.limits)) {
            Some(Ok(public)) => Ok(public),
            // The name may be nearly right, and then it is a secret: nobody is told.
            _ => Err(self.refuse(BAD_NAME, "there is no ingest point of this name", shared)),
        }
    }

    /// The name of the stream that a play which asks for `name` gets, and the alias that led there.
    pub(crate) fn real_name(
        &self,
        name: StreamName,
        shared: &mut Shared,
    ) -> Result<(StreamName, Option<String>), NotNamed> {
        if shared.traffic.refuses_outgoing() {
            let text = "the server sends more than its bandwidth limit allows; try again later";
            return Err(self.refuse(PLAY_FAILED, text, shared));
        }
        let Some(owner) = self.owner.as_ref().filter(|_| !self.outbound) else { return Ok((name, None)) };
        let Some(aliases) = &owner.aliases else { return Ok((name, None)) };
        let stream = aliases.take(&owner.name, name.as_str(), shared.now);
        match stream.map(|stream| StreamName::new("", &stream, &shared.limits)) {
            Some(Ok(stream)) => Ok((stream, Some(name.to_string()))),
            _ => Err(self.refuse(NOT_FOUND, "there is no alias of this name, or it has been used", shared)),
        }
    }

    /// The name by which the peer knows what it plays.
    pub(crate) fn played_name(&self, slot: StreamSlot) -> Option<String> {
        self.plays.iter().find(|played| played.slot == slot)?.alias.clone()
    }

    fn refuse(&self, code: &'static str, text: &str, shared: &mut Shared) -> NotNamed {
        if let Some(suppressed) = shared.gate.pass(self.peer.ip(), ("name", code), shared.now) {
            slog::info!(self.log, "refused: {text}"; "code" => code, "suppressed" => suppressed);
        }
        NotNamed { code, text: text.to_owned() }
    }
}
