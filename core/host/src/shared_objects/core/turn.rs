//! What one request for a shared object comes to: what changes, and who is told what.

use std::{
    borrow::Cow,
    mem,
    sync::{Arc, atomic::Ordering},
};

use crtmp_media::{Limits, SharedItem, SharedWish, Value};

use super::{Counts, NO_WRITE, Object, Slot};
use crate::shared_objects::file;

/// What a piece of news counts for beside its texts and values.
const ITEM: usize = 64;

/// What one request comes to.
pub(super) struct Turn<'t> {
    limits: &'t Limits,
    counts: &'t Counts,
    /// What whoever asks is told.
    pub(super) own: Vec<SharedItem>,
    /// What it is told when its changes are safe.
    pub(super) kept: Vec<SharedItem>,
    /// What everybody else is told.
    pub(super) others: Vec<SharedItem>,
    pub(super) changed: bool,
}

impl<'t> Turn<'t> {
    pub(super) const fn new(limits: &'t Limits, counts: &'t Counts) -> Self {
        Self { limits, counts, own: Vec::new(), kept: Vec::new(), others: Vec::new(), changed: false }
    }

    pub(super) fn refuse(&mut self, code: impl Into<Cow<'static, str>>) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.own.push(SharedItem::Refused { code: code.into() });
    }

    /// The application does not allow it.
    pub(super) fn deny(&mut self, object: &Object, wish: &SharedWish, code: &str) {
        self.refuse(code.to_owned());
        if let SharedWish::Change { slot, .. } | SharedWish::Remove { slot } = wish {
            self.restore(object, slot);
        }
    }

    /// Says what a slot holds to whoever has changed its own copy of it already.
    fn restore(&mut self, object: &Object, name: &str) {
        self.own.push(match object.slots.get_key_value(name) {
            Some((slot, held)) => SharedItem::Changed { slot: slot.clone(), value: held.value.clone() },
            None => SharedItem::Removed { slot: name.into() },
        });
    }

    /// Does one thing that changes the object, or is for all its clients.
    pub(super) fn alter(&mut self, object: &mut Object, wish: &SharedWish) {
        match wish {
            SharedWish::Change { slot, value } => self.change(object, slot, value),
            SharedWish::Remove { slot } => self.remove(object, slot),
            SharedWish::Send { values } => self.send(values),
            SharedWish::Clear => self.clear(object),
            SharedWish::Use | SharedWish::Release => {}
        }
    }

    fn change(&mut self, object: &mut Object, name: &str, value: &Value) {
        let slot = Slot::new(value.clone());
        let before = object.slots.get_key_value(name);
        let known = before.map(|(name, _)| name.clone());
        let replaced = before.map_or(0, |(name, before)| name.len() + before.stored.len());
        let bytes = object.bytes - replaced + name.len() + slot.stored.len();
        let many = known.is_none() && object.slots.len() >= self.limits.shared_object_slots;
        let large = slot.stored.len() > self.limits.shared_object_value;
        if many || large || bytes > self.limits.shared_object_bytes {
            self.refuse(NO_WRITE);
            return self.restore(object, name);
        }
        let name = known.unwrap_or_else(|| name.into());
        self.others.push(SharedItem::Changed { slot: name.clone(), value: slot.value.clone() });
        self.kept.push(SharedItem::Accepted { slot: name.clone() });
        object.set(name, slot);
        self.count_change();
    }

    fn remove(&mut self, object: &mut Object, name: &str) {
        let Some((slot, before)) = object.slots.remove_entry(name) else {
            return self.own.push(SharedItem::Removed { slot: name.into() });
        };
        object.bytes -= slot.len() + before.stored.len();
        self.others.push(SharedItem::Removed { slot: slot.clone() });
        self.kept.push(SharedItem::Removed { slot });
        self.count_change();
    }

    fn clear(&mut self, object: &mut Object) {
        if !object.slots.is_empty() {
            let slots = mem::take(&mut object.slots).len() as u64;
            object.bytes = 0;
            self.others.push(SharedItem::Cleared);
            self.changed = true;
            self.counts.changes.fetch_add(slots, Ordering::Relaxed);
        }
    }

    fn send(&mut self, values: &[Value]) {
        let mut size = Vec::new();
        values.iter().for_each(|value| file::put_value(&mut size, value));
        if size.len() > self.limits.shared_object_value {
            return self.refuse(NO_WRITE);
        }
        let values: Arc<[Value]> = values.into();
        self.own.push(SharedItem::Sent { values: values.clone() });
        self.others.push(SharedItem::Sent { values });
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn count_change(&mut self) {
        self.changed = true;
        self.counts.changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a piece of news counts for on its way to a connection.
pub(super) fn size_of_items(items: &[SharedItem]) -> usize {
    let item = |item: &SharedItem| match item {
        SharedItem::Changed { slot, value } => slot.len() + size_of(value),
        SharedItem::Accepted { slot } | SharedItem::Removed { slot } => slot.len(),
        SharedItem::Sent { values } => values.iter().map(size_of).sum(),
        SharedItem::Used | SharedItem::Cleared | SharedItem::Refused { .. } => 0,
    };
    items.iter().map(|one| ITEM + item(one)).sum()
}

fn size_of(value: &Value) -> usize {
    let mut bytes = Vec::new();
    file::put_value(&mut bytes, value);
    bytes.len()
}
