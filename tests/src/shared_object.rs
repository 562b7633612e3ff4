//! Messages about shared objects, byte by byte; as [`wire`](crate::wire), without any code of the server.

use crate::wire::{Client, Message, amf};

/// A client uses an object.
pub const USE: u8 = 1;
/// It does so no more.
pub const RELEASE: u8 = 2;
/// It wants a slot to have a value.
pub const REQUEST_CHANGE: u8 = 3;
/// A slot has a value.
pub const CHANGE: u8 = 4;
/// Its own change is made.
pub const SUCCESS: u8 = 5;
/// Values for all clients.
pub const SEND: u8 = 6;
/// Something went wrong.
pub const STATUS: u8 = 7;
/// What was known is void.
pub const CLEAR: u8 = 8;
/// A slot is gone.
pub const REMOVE: u8 = 9;
/// A client wants a slot to be gone.
pub const REQUEST_REMOVE: u8 = 10;
/// It uses the object from now on.
pub const USE_SUCCESS: u8 = 11;

/// A shared object as a client says it.
#[derive(Clone, Debug)]
pub struct SharedObject {
    /// Its name.
    pub name: String,
    /// Whether it outlives its clients.
    pub persistent: bool,
}

/// What a server says of an object in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The name of the object.
    pub name: String,
    /// How often it has been changed.
    pub version: u32,
    /// The events: type and content.
    pub events: Vec<(u8, Vec<u8>)>,
}

impl SharedObject {
    /// An object that goes with its last client.
    pub fn transient(name: &str) -> Self {
        Self { name: name.to_owned(), persistent: false }
    }

    /// One that stays.
    pub fn persistent(name: &str) -> Self {
        Self { name: name.to_owned(), persistent: true }
    }

    /// A message with these events, of type 19.
    pub fn message(&self, events: &[(u8, Vec<u8>)]) -> Message {
        let mut payload = key(&self.name);
        payload.extend([0; 4]);
        payload.extend(if self.persistent { [0, 0, 0, 2] } else { [0; 4] });
        payload.extend([0; 4]);
        for (kind, content) in events {
            payload.push(*kind);
            payload.extend(u32::try_from(content.len()).expect("a message").to_be_bytes());
            payload.extend(content);
        }
        Message { chunk_stream: 3, kind: 19, stream: 0, time: 0, payload }
    }

    /// A client wants to use it.
    pub fn ask(&self) -> Message {
        self.message(&[(USE, Vec::new())])
    }

    /// A client wants a slot to have a value, in AMF0.
    pub fn change(&self, slot: &str, value: &[u8]) -> Message {
        self.message(&[(REQUEST_CHANGE, [&key(slot)[..], value].concat())])
    }

    /// A client wants a slot to be gone.
    pub fn remove(&self, slot: &str) -> Message {
        self.message(&[(REQUEST_REMOVE, key(slot))])
    }

    /// A client begins to use it; gives what it holds.
    ///
    /// # Panics
    ///
    /// If it may not.
    pub fn open(&self, client: &mut Client) -> Said {
        client.send(&self.ask());
        let said = Said::expect(client);
        assert_eq!(said.kinds()[..2], [USE_SUCCESS, CLEAR], "{said:?}");
        said
    }
}

impl Said {
    /// The next message about a shared object.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn expect(client: &mut Client) -> Self {
        Self::read(&client.expect_kind(19).payload)
    }

    /// Reads the body of a message of type 19.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn read(body: &[u8]) -> Self {
        let (name, rest) = text(body);
        let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().expect("four bytes"));
        let (version, mut rest) = (number(rest), &rest[12..]);
        let mut events = Vec::new();
        while let Some((kind, behind)) = rest.split_first() {
            let length = number(behind) as usize;
            events.push((*kind, behind[4..4 + length].to_vec()));
            rest = &behind[4 + length..];
        }
        Self { name: name.to_owned(), version, events }
    }

    /// The types of its events.
    pub fn kinds(&self) -> Vec<u8> {
        self.events.iter().map(|(kind, _)| *kind).collect()
    }

    /// The value of a slot in AMF0, where a change of it is told.
    pub fn value(&self, slot: &str) -> Option<&[u8]> {
        let content = key(slot);
        let change =
            self.events.iter().rev().find(|(kind, of)| *kind == CHANGE && of.starts_with(&content))?;
        Some(&change.1[content.len()..])
    }

    /// The code of a status.
    pub fn code(&self) -> Option<&str> {
        let (_, content) = self.events.iter().find(|(kind, _)| *kind == STATUS)?;
        Some(text(content).0)
    }
}

/// A text without a marker.
pub fn key(text: &str) -> Vec<u8> {
    amf::string(text)[1..].to_vec()
}

fn text(bytes: &[u8]) -> (&str, &[u8]) {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk().expect("a length")));
    let (text, rest) = bytes[2..].split_at(length);
    (std::str::from_utf8(text).expect("a text"), rest)
}
