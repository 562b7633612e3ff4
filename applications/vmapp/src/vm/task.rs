//! A call that waits.

use std::rc::Rc;

use mlua::{MultiValue, Thread};

use super::sandbox::Shared;

/// A call of a script that waits for something. One that is dropped is closed before the next call.
pub struct Task {
    thread: Option<Thread>,
    name: String,
    request: MultiValue,
    shared: Rc<Shared>,
}

impl Task {
    pub(super) fn new(thread: Thread, name: String, request: MultiValue, shared: &Rc<Shared>) -> Self {
        shared.tasks.set(shared.tasks.get() + 1);
        Self { thread: Some(thread), name, request, shared: Rc::clone(shared) }
    }

    /// The function that was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the waiting function returned to the application: what is waited for.
    pub fn request(&self) -> &MultiValue {
        &self.request
    }

    /// Whether this task belongs to the machine of `shared`.
    pub(super) fn is_of(&self, shared: &Rc<Shared>) -> bool {
        Rc::ptr_eq(&self.shared, shared)
    }

    /// The coroutine, which is the caller's now, and the function's name.
    pub(super) fn take(mut self) -> (Option<Thread>, String) {
        (self.thread.take(), std::mem::take(&mut self.name))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.shared.tasks.set(self.shared.tasks.get().saturating_sub(1));
        if let Some(thread) = self.thread.take() {
            self.shared.abandoned.borrow_mut().push(thread);
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}
