//! Remote shared objects: slots with values that all clients of an application see.

use std::{borrow::Cow, sync::Arc};

use crate::Value;

/// What a peer wants of a shared object, in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedRequest {
    /// The name as it was sent.
    pub name: String,
    /// Whether the object is meant to outlive its clients and the server.
    pub persistent: bool,
    /// What it wants, in order.
    pub wishes: Vec<SharedWish>,
}

/// One thing that a peer wants of a shared object.
#[derive(Clone, Debug, PartialEq)]
pub enum SharedWish {
    /// To be told all that it holds, and every change from now on.
    Use,
    /// To be told nothing more.
    Release,
    /// To give a slot a value.
    Change {
        /// The name of the slot.
        slot: String,
        /// Its value from now on.
        value: Value,
    },
    /// To take a slot away.
    Remove {
        /// The name of the slot.
        slot: String,
    },
    /// To have values brought to all who use the object, itself included. They are not kept.
    Send {
        /// The values; by custom the name of a function first.
        values: Vec<Value>,
    },
    /// To take all slots away. Only the server's own side wishes it: in messages of peers there is no such thing.
    Clear,
}

/// What a peer is told of a shared object, in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedNews {
    /// The name as the peer has sent it.
    pub name: Arc<str>,
    /// How often the object has been changed.
    pub version: u32,
    /// Whether it outlives its clients and the server.
    pub persistent: bool,
    /// What there is to tell, in order; shared by all who are told the same.
    pub items: Arc<[SharedItem]>,
}

/// One thing that a peer is told of a shared object. What many are told they share.
#[derive(Clone, Debug, PartialEq)]
pub enum SharedItem {
    /// It uses the object from now on; what the object holds follows.
    Used,
    /// Whatever it knew of the object is void.
    Cleared,
    /// A slot has this value now.
    Changed {
        /// The name of the slot.
        slot: Arc<str>,
        /// Its value.
        value: Arc<Value>,
    },
    /// Its own change of a slot has been made; of a persistent object, for good.
    Accepted {
        /// The name of the slot.
        slot: Arc<str>,
    },
    /// A slot is gone.
    Removed {
        /// The name of the slot.
        slot: Arc<str>,
    },
    /// Somebody has sent these values to all.
    Sent {
        /// The values.
        values: Arc<[Value]>,
    },
    /// What it wanted has not been done.
    Refused {
        /// The status code, such as `SharedObject.BadPersistence`.
        code: Cow<'static, str>,
    },
}

impl SharedRequest {
    /// Whether it asks to use the object.
    pub fn uses(&self) -> bool {
        self.wishes.contains(&SharedWish::Use)
    }
}
