//! Messages about remote shared objects (types 19 and 16).
//!
//! A body has the name of the object, its version, flags, and then events: a type in one byte, a length in four, and as
//! many bytes. Adobe's specification names the events (section 7.1.3) and says no more; the rest is as Flash Player,
//! Flash Media Server and Red5 have it. A body of type 16 begins with a zero byte, and its values may change to AMF3.

use std::fmt;

use crtmp_media::{Limits, SharedItem, SharedNews, SharedRequest, SharedWish, Value};

use crate::{
    amf::{AmfError, AmfErrorKind},
    amf0::{self, Decoder, encode_key},
    amf3,
    message::kind,
};

/// The flag of an object that outlives its clients.
const PERSISTENT: u32 = 2;

/// What a body of type 16 begins with: its values are in AMF0, and may change to AMF3.
const FORMAT: u8 = 0;

/// A message about a shared object.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedObjectMessage {
    /// The name of the object.
    pub name: String,
    /// Its version, as far as the sender knows.
    pub version: u32,
    /// Whether the object outlives its clients.
    pub persistent: bool,
    /// What there is to say, in order.
    pub events: Vec<SharedObjectEvent>,
}

/// One event of a shared object. Those without a remark go from the server to its clients.
#[derive(Clone, Debug, PartialEq)]
pub enum SharedObjectEvent {
    /// A client wants to use the object.
    Use,
    /// A client uses it no more.
    Release,
    /// A client wants a slot to have a value.
    RequestChange {
        /// The slot.
        slot: String,
        /// The value.
        value: Value,
    },
    /// A slot has a value.
    Change {
        /// The slot.
        slot: String,
        /// The value.
        value: Value,
    },
    /// A change of this client has been made.
    Success {
        /// The slot.
        slot: String,
    },
    /// Values for all clients, from a client to the server and from there to all.
    SendMessage {
        /// The values; by custom the name of a function first.
        values: Vec<Value>,
    },
    /// Something went wrong.
    Status {
        /// Its code.
        code: String,
        /// `status`, `warning` or `error`.
        level: String,
    },
    /// What the client knew of the object is void.
    Clear,
    /// A slot is gone.
    Remove {
        /// The slot.
        slot: String,
    },
    /// A client wants a slot to be gone.
    RequestRemove {
        /// The slot.
        slot: String,
    },
    /// The client uses the object from now on.
    UseSuccess,
}

/// Why a body is no message about a shared object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedObjectError {
    /// It begins with a format byte that is not known.
    Format(u8),
    /// It cannot be read.
    Amf(AmfError),
}

impl SharedObjectMessage {
    /// Reads the body of a message of type 19 or 16. Events of unknown types are left out.
    ///
    /// Type 16 may lack its zero byte, as some senders leave it out of types 15 and 17.
    ///
    /// # Errors
    ///
    /// See [`SharedObjectError`]. The limits of AMF hold for all values of the message together; each event counts as a
    /// value as well.
    pub fn parse(kind: u8, body: &[u8], limits: &Limits) -> Result<Self, SharedObjectError> {
        if kind != kind::SHARED_OBJECT_AMF3 {
            return Ok(Self::read(body, limits)?);
        }
        match body {
            // Without the zero byte the first one belongs to a length: a name that long would be no name.
            [FORMAT, rest @ ..] => Ok(Self::read(rest, limits).or_else(|error| {
                let shift = |error: AmfError| AmfError { offset: error.offset + 1, ..error };
                Self::read(body, limits).map_err(|_| shift(error))
            })?),
            [format, ..] => Err(SharedObjectError::Format(*format)),
            [] => Err(SharedObjectError::Amf(AmfErrorKind::Truncated.at(0))),
        }
    }

    fn read(body: &[u8], limits: &Limits) -> Result<Self, AmfError> {
        let mut decoder = Decoder::new(body, limits);
        let name = decoder.key()?;
        let version = u32::from_be_bytes(decoder.input.take()?);
        let persistent = u32::from_be_bytes(decoder.input.take()?) & PERSISTENT != 0;
        let _: [u8; 4] = decoder.input.take()?;
        let mut events = Vec::new();
        while !decoder.is_empty() {
            let start = decoder.input.at;
            decoder.input.node(start)?;
            let [kind] = decoder.input.take()?;
            let length = u32::from_be_bytes(decoder.input.take()?) as usize;
            let end = decoder.input.at.checked_add(length).filter(|end| *end <= body.len());
            let end = end.ok_or(AmfErrorKind::Truncated.at(start))?;
            // No value reaches beyond its event.
            decoder.input.body = &body[..end];
            read_event(&mut decoder, kind, &mut events)?;
            decoder.input.body = body;
            decoder.input.at = end;
        }
        Ok(Self { name, version, persistent, events })
    }

    /// Appends the body of a message of type 16 if `amf3`, else of type 19.
    ///
    /// What does not fit the four bytes of a length fits no message either; names are cut at 65 535 bytes.
    pub fn encode(&self, body: &mut Vec<u8>, amf3: bool) {
        let mut writer = Writer::new(body, amf3);
        writer.head(&self.name, self.version, self.persistent);
        for event in &self.events {
            match event {
                SharedObjectEvent::Use => writer.event(event_kind::USE, |_| ()),
                SharedObjectEvent::Release => writer.event(event_kind::RELEASE, |_| ()),
                SharedObjectEvent::RequestChange { slot, value } => {
                    writer.event(event_kind::REQUEST_CHANGE, |writer| writer.slot(slot, value));
                }
                SharedObjectEvent::Change { slot, value } => {
                    writer.event(event_kind::CHANGE, |writer| writer.slot(slot, value));
                }
                SharedObjectEvent::Success { slot } => {
                    writer.event(event_kind::SUCCESS, |writer| writer.key(slot));
                }
                SharedObjectEvent::SendMessage { values } => {
                    writer.event(event_kind::SEND_MESSAGE, |writer| writer.values(values));
                }
                SharedObjectEvent::Status { code, level } => writer.status(code, level),
                SharedObjectEvent::Clear => writer.event(event_kind::CLEAR, |_| ()),
                SharedObjectEvent::Remove { slot } => {
                    writer.event(event_kind::REMOVE, |writer| writer.key(slot));
                }
                SharedObjectEvent::RequestRemove { slot } => {
                    writer.event(event_kind::REQUEST_REMOVE, |writer| writer.key(slot));
                }
                SharedObjectEvent::UseSuccess => writer.event(event_kind::USE_SUCCESS, |_| ()),
            }
        }
    }

    /// What a client wants by it. What only a server says is left out.
    pub fn into_request(self) -> SharedRequest {
        let wish = |event| {
            Some(match event {
                SharedObjectEvent::Use => SharedWish::Use,
                SharedObjectEvent::Release => SharedWish::Release,
                SharedObjectEvent::RequestChange { slot, value } => SharedWish::Change { slot, value },
                SharedObjectEvent::RequestRemove { slot } => SharedWish::Remove { slot },
                SharedObjectEvent::SendMessage { values } => SharedWish::Send { values },
                _ => return None,
            })
        };
        let Self { name, persistent, events, .. } = self;
        SharedRequest { name, persistent, wishes: events.into_iter().filter_map(wish).collect() }
    }
}

/// Appends the body of the message that tells `news`; as [`SharedObjectMessage::encode`], without copying what many
/// are told.
pub fn encode_news(body: &mut Vec<u8>, news: &SharedNews, amf3: bool) {
    let mut writer = Writer::new(body, amf3);
    writer.head(&news.name, news.version, news.persistent);
    for item in &*news.items {
        match item {
            SharedItem::Used => writer.event(event_kind::USE_SUCCESS, |_| ()),
            SharedItem::Cleared => writer.event(event_kind::CLEAR, |_| ()),
            SharedItem::Changed { slot, value } => {
                writer.event(event_kind::CHANGE, |writer| writer.slot(slot, value));
            }
            SharedItem::Accepted { slot } => writer.event(event_kind::SUCCESS, |writer| writer.key(slot)),
            SharedItem::Removed { slot } => writer.event(event_kind::REMOVE, |writer| writer.key(slot)),
            SharedItem::Sent { values } => {
                writer.event(event_kind::SEND_MESSAGE, |writer| writer.values(values));
            }
            SharedItem::Refused { code } => writer.status(code, "error"),
        }
    }
}

fn read_event(
    decoder: &mut Decoder<'_>,
    kind: u8,
    events: &mut Vec<SharedObjectEvent>,
) -> Result<(), AmfError> {
    events.push(match kind {
        event_kind::USE => SharedObjectEvent::Use,
        event_kind::RELEASE => SharedObjectEvent::Release,
        event_kind::REQUEST_CHANGE => {
            SharedObjectEvent::RequestChange { slot: decoder.key()?, value: decoder.value()? }
        }
        event_kind::CHANGE => {
            // Several slots may stand in one event.
            while !decoder.is_empty() {
                events.push(SharedObjectEvent::Change { slot: decoder.key()?, value: decoder.value()? });
            }
            return Ok(());
        }
        event_kind::SUCCESS => SharedObjectEvent::Success { slot: decoder.key()? },
        event_kind::SEND_MESSAGE => {
            let mut values = Vec::new();
            while !decoder.is_empty() {
                values.push(decoder.value()?);
            }
            SharedObjectEvent::SendMessage { values }
        }
        event_kind::STATUS => SharedObjectEvent::Status { code: decoder.key()?, level: decoder.key()? },
        event_kind::CLEAR => SharedObjectEvent::Clear,
        event_kind::REMOVE => SharedObjectEvent::Remove { slot: decoder.key()? },
        event_kind::REQUEST_REMOVE => SharedObjectEvent::RequestRemove { slot: decoder.key()? },
        event_kind::USE_SUCCESS => SharedObjectEvent::UseSuccess,
        _ => return Ok(()),
    });
    Ok(())
}

/// Writes a body.
struct Writer<'b, 'v> {
    body: &'b mut Vec<u8>,
    /// Where the peer reads AMF3.
    encoder: Option<amf3::Encoder<'v>>,
}

impl<'b, 'v> Writer<'b, 'v> {
    fn new(body: &'b mut Vec<u8>, amf3: bool) -> Self {
        if amf3 {
            body.push(FORMAT);
        }
        Self { body, encoder: amf3.then(amf3::Encoder::new) }
    }

    fn head(&mut self, name: &str, version: u32, persistent: bool) {
        self.key(name);
        self.body.extend_from_slice(&version.to_be_bytes());
        let flags = if persistent { PERSISTENT } else { 0 };
        self.body.extend_from_slice(&flags.to_be_bytes());
        self.body.extend_from_slice(&[0; 4]);
    }

    fn event(&mut self, kind: u8, write: impl FnOnce(&mut Self)) {
        self.body.extend_from_slice(&[kind, 0, 0, 0, 0]);
        let start = self.body.len();
        write(self);
        let length = u32::try_from(self.body.len() - start).unwrap_or(u32::MAX);
        self.body[start - 4..start].copy_from_slice(&length.to_be_bytes());
    }

    fn status(&mut self, code: &str, level: &str) {
        self.event(event_kind::STATUS, |writer| {
            writer.key(code);
            writer.key(level);
        });
    }

    fn slot(&mut self, slot: &str, value: &'v Value) {
        self.key(slot);
        self.value(value);
    }

    fn values(&mut self, values: &'v [Value]) {
        for value in values {
            self.value(value);
        }
    }

    fn key(&mut self, key: &str) {
        encode_key(self.body, key);
    }

    fn value(&mut self, value: &'v Value) {
        match &mut self.encoder {
            Some(encoder) => amf0::encode_switched(self.body, encoder, value),
            None => amf0::encode(self.body, value),
        }
    }
}

impl From<AmfError> for SharedObjectError {
    fn from(error: AmfError) -> Self {
        Self::Amf(error)
    }
}

impl fmt::Display for SharedObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => write!(f, "unknown format {format} of a shared object message"),
            Self::Amf(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SharedObjectError {}

mod event_kind {
    pub(super) const USE: u8 = 1;
    pub(super) const RELEASE: u8 = 2;
    pub(super) const REQUEST_CHANGE: u8 = 3;
    pub(super) const CHANGE: u8 = 4;
    pub(super) const SUCCESS: u8 = 5;
    pub(super) const SEND_MESSAGE: u8 = 6;
    pub(super) const STATUS: u8 = 7;
    pub(super) const CLEAR: u8 = 8;
    pub(super) const REMOVE: u8 = 9;
    pub(super) const REQUEST_REMOVE: u8 = 10;
    pub(super) const USE_SUCCESS: u8 = 11;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn all() -> SharedObjectMessage {
        let slot = || "slot".to_owned();
        let value = || Value::Object(vec![("k".into(), 1.0.into())]);
        SharedObjectMessage {
            name: "room".into(),
            version: 7,
            persistent: true,
            events: vec![
                SharedObjectEvent::Use,
                SharedObjectEvent::Release,
                SharedObjectEvent::RequestChange { slot: slot(), value: value() },
                SharedObjectEvent::Change { slot: slot(), value: Value::Bytes(vec![1]) },
                SharedObjectEvent::Success { slot: slot() },
                SharedObjectEvent::SendMessage { values: vec!["f".into(), value(), Value::E4x("f".into())] },
                SharedObjectEvent::Status {
                    code: "SharedObject.BadPersistence".into(),
                    level: "error".into(),
                },
                SharedObjectEvent::Clear,
                SharedObjectEvent::Remove { slot: slot() },
                SharedObjectEvent::RequestRemove { slot: slot() },
                SharedObjectEvent::UseSuccess,
            ],
        }
    }

    fn encoded(message: &SharedObjectMessage, amf3: bool) -> Vec<u8> {
        let mut body = Vec::new();
        message.encode(&mut body, amf3);
        body
    }

    fn parse(kind: u8, body: &[u8]) -> Result<SharedObjectMessage, SharedObjectError> {
        SharedObjectMessage::parse(kind, body, &Limits::default())
    }

    #[test]
    fn a_message_is_name_version_flags_and_events() {
        let message = SharedObjectMessage {
            name: "a".into(),
            version: 2,
            persistent: true,
            events: vec![
                SharedObjectEvent::Use,
                SharedObjectEvent::RequestChange { slot: "x".into(), value: true.into() },
            ],
        };
        let bytes = [
            &[0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 0],
            &[3, 0, 0, 0, 5, 0, 1, b'x', 1, 1],
        ]
        .concat();
        assert_eq!(encoded(&message, false), bytes);
        assert_eq!(parse(kind::SHARED_OBJECT, &bytes), Ok(message.clone()));
        assert_eq!(encoded(&message, true), [&[0][..], &bytes].concat());
        for leading in [&[0][..], &[]] {
            assert_eq!(parse(kind::SHARED_OBJECT_AMF3, &[leading, &bytes].concat()), Ok(message.clone()));
        }
        assert_eq!(parse(kind::SHARED_OBJECT_AMF3, &[3, 0]), Err(SharedObjectError::Format(3)));
    }

    #[test]
    fn every_event_passes_in_both_notations() {
        let message = all();
        assert_eq!(parse(kind::SHARED_OBJECT_AMF3, &encoded(&message, true)), Ok(message.clone()));
        let plain = parse(kind::SHARED_OBJECT, &encoded(&message, false)).unwrap();
        assert_eq!(plain.events.len(), message.events.len());
        let SharedObjectEvent::Change { value, .. } = &plain.events[3] else { panic!() };
        assert_eq!(*value, Value::String("\u{1}".into()), "bytes become what comes nearest");
        let request = message.into_request();
        assert!(request.uses());
        assert_eq!(request.wishes.len(), 5, "what servers say is left out");
    }

    #[test]
    fn a_message_truncated_anywhere_never_panics() {
        for (kind, amf3) in [(kind::SHARED_OBJECT, false), (kind::SHARED_OBJECT_AMF3, true)] {
            let whole = encoded(&all(), amf3);
            for end in 0..whole.len() {
                if let Ok(part) = parse(kind, &whole[..end]) {
                    assert!(all().events.len() > part.events.len());
                }
            }
        }
    }

    #[test]
    fn events_end_where_they_say() {
        let head = [0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let with = |events: &[u8]| parse(kind::SHARED_OBJECT, &[&head[..], events].concat());
        // Two slots in one event, as servers of the Flash time send what an object holds.
        let two = with(&[4, 0, 0, 0, 10, 0, 1, b'x', 1, 1, 0, 1, b'y', 1, 0]).unwrap();
        assert_eq!(two.events.len(), 2);
        // Unknown events, and bytes behind what an event says, are passed over.
        let odd = with(&[99, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1, 7, 2, 0, 0, 0, 0]).unwrap();
        assert_eq!(odd.events, [SharedObjectEvent::Use, SharedObjectEvent::Release]);
        // A value that would need the next event's bytes.
        let short = [&[3, 0, 0, 0, 4, 0, 1, b'x', 1][..], &[1, 0, 0, 0, 0]].concat();
        for broken in [&short[..], &[1, 0, 0, 0, 1], &[1, 0xFF, 0xFF, 0xFF, 0xFF], &[5, 0, 0, 0, 0]] {
            let Err(SharedObjectError::Amf(error)) = with(broken) else { panic!("{broken:?}") };
            assert_eq!(error.kind, AmfErrorKind::Truncated, "{broken:?}");
        }
        // Each event counts.
        assert!(with(&[1, 0, 0, 0, 0].repeat(4096)).is_ok());
        let Err(SharedObjectError::Amf(error)) = with(&[1, 0, 0, 0, 0].repeat(4097)) else { panic!() };
        assert_eq!(error.kind, AmfErrorKind::Nodes(4096));
    }

    #[test]
    fn news_are_said_as_messages_are() {
        let slot = || Arc::from("slot");
        let news = SharedNews {
            name: "room".into(),
            version: 3,
            persistent: false,
            items: Arc::from([
                SharedItem::Used,
                SharedItem::Cleared,
                SharedItem::Changed { slot: slot(), value: Arc::new(Value::Bytes(vec![1])) },
                SharedItem::Accepted { slot: slot() },
                SharedItem::Removed { slot: slot() },
                SharedItem::Sent { values: Arc::from(["f".into(), Value::Bytes(vec![1])]) },
                SharedItem::Refused { code: "SharedObject.NoWriteAccess".into() },
            ]),
        };
        let message = SharedObjectMessage {
            name: "room".into(),
            version: 3,
            persistent: false,
            events: vec![
                SharedObjectEvent::UseSuccess,
                SharedObjectEvent::Clear,
                SharedObjectEvent::Change { slot: "slot".into(), value: Value::Bytes(vec![1]) },
                SharedObjectEvent::Success { slot: "slot".into() },
                SharedObjectEvent::Remove { slot: "slot".into() },
                SharedObjectEvent::SendMessage { values: vec!["f".into(), Value::Bytes(vec![1])] },
                SharedObjectEvent::Status {
                    code: "SharedObject.NoWriteAccess".into(),
                    level: "error".into(),
                },
            ],
        };
        for amf3 in [false, true] {
            let mut body = Vec::new();
            encode_news(&mut body, &news, amf3);
            assert_eq!(body, encoded(&message, amf3));
        }
    }

    proptest! {
        #[test]
        fn what_can_be_read_can_be_written(body in prop::collection::vec(0u8..18, 0..100), amf3 in any::<bool>()) {
            crate::fuzz::shared_object(&[&[u8::from(amf3)][..], &body].concat());
        }
    }
}
