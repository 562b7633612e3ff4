//! Shared objects: what the peer wants of them goes to the server, and the server's news of them to the peer.

use crtmp_media::{Cx, Error, Event, SharedItem, SharedNews, SharedWish, Skipped};

use super::{Core, PROTOCOL, Phase};
use crate::{
    chunk::{MAX_MESSAGE, Message},
    message::kind,
    shared_object::{SharedObjectMessage, encode_news},
};

/// Their messages have a chunk stream of their own.
const SHARED_CSID: u32 = 7;

impl Core {
    /// Takes a message about a shared object.
    pub(super) fn on_shared_object(&mut self, message: &Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.phase != Phase::Connected {
            self.skipped(Skipped::BadCommand, cx);
            return self.count_command();
        }
        let (bytes, limits) = (message.body.len(), &self.settings.limits);
        let limit = limits.shared_object_bytes;
        if bytes > limit {
            let rule = format!(
                "a message of {bytes} bytes about a shared object, the limit is sharedObjectBytes = {limit}"
            );
            return Err(Error::peer(PROTOCOL, rule));
        }
        let said = SharedObjectMessage::parse(message.kind, &message.body, limits)
            .map_err(|error| Error::peer(PROTOCOL, format!("shared object: {error}")))?;
        // Who uses one is known to the server; its credit there bounds what it may say.
        if self.shared.is_empty() {
            self.count_command()?;
        }
        self.clock.commanded(cx.now());
        let request = said.into_request();
        if request.wishes.contains(&SharedWish::Release) {
            self.shared.remove(request.name.as_str());
        }
        if request.wishes.is_empty() {
            self.skipped(Skipped::BadCommand, cx);
            return Ok(());
        }
        cx.emit(Event::Shared(Box::new(request)));
        Ok(())
    }

    /// Tells the peer what is new of a shared object.
    pub(super) fn tell_shared(&mut self, news: &SharedNews, cx: &mut Cx<'_>) {
        if self.phase != Phase::Connected {
            return;
        }
        if news.items.contains(&SharedItem::Used) {
            // The peer may have let go of it before it was told.
            if self.shared.len() < self.settings.limits.shared_objects_per_connection {
                self.shared.insert(news.name.clone());
            }
            self.forgive_command();
        }
        self.clock.commanded(cx.now());
        let mut body = Vec::new();
        encode_news(&mut body, news, self.amf3);
        let kind = if self.amf3 { kind::SHARED_OBJECT_AMF3 } else { kind::SHARED_OBJECT };
        if body.len() <= MAX_MESSAGE {
            let message = Message { csid: SHARED_CSID, kind, stream: 0, timestamp: 0, body: body.into() };
            return self.send(message, cx);
        }
        // What an object holds may be more than a message can be.
        for item in &*news.items {
            let part = SharedNews { items: [item.clone()].into(), ..news.clone() };
            if news.items.len() > 1 {
                self.tell_shared(&part, cx);
            }
        }
    }
}
