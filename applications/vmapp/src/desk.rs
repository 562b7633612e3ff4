//! What the functions of a script and the application share: who is connected, what is asked, who waits.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use crtmp_plugin::{Answer, Command, ConnId, Host, NotTaken, RequestId, Rights};
use mlua::{Function, Table};

/// What is asked by a request that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// May the connection stay?
    Accept,
    /// May it connect?
    Connect,
    /// May it publish?
    Publish,
    /// May it play?
    Play,
    /// May it do this with a shared object?
    SharedObject,
    /// What is the answer to this command of the peer?
    Message,
    /// What is the answer to this command of the server?
    Command,
}

/// What is to be done with a result.
pub(crate) enum Then {
    /// A function of the script is called.
    Call(Function),
    /// A call of the script waits for it.
    Resume,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) asked: Asked,
    /// The connection; 0 for commands of the server.
    pub(crate) conn: u64,
}

/// The desk of one script. A reloaded script gets another one.
pub(crate) struct Desk {
    pub(crate) host: Host,
    /// Tells results for this script from those for the one that it replaced.
    pub(crate) generation: u64,
    /// The connections that scripts have seen, as they see them.
    pub(crate) clients: RefCell<HashMap<u64, Table>>,
    pub(crate) open: RefCell<HashMap<u64, Open>>,
    pub(crate) thens: RefCell<HashMap<u64, Then>>,
    /// What is called with the frames of a connection.
    pub(crate) taps: RefCell<HashMap<u64, Function>>,
    /// What clients do themselves about what happens to them.
    pub(crate) listeners: RefCell<HashMap<u64, Listeners>>,
    pub(crate) timers: RefCell<HashMap<u64, Timer>>,
    /// Commands that the script has added, by their names in lower case.
    pub(crate) commands: RefCell<HashMap<String, Added>>,
    /// Commands of the server that the script may run whatever they do; others only if they change nothing.
    pub(crate) allowed: HashSet<String>,
    next: Cell<u64>,
    /// In a test: what was answered, instead of telling the server.
    pub(crate) answers: Option<RefCell<HashMap<u64, Answer>>>,
}

/// A command of a script.
pub(crate) struct Added {
    pub(crate) command: Command,
    pub(crate) then: Function,
}

/// Functions of one client.
pub(crate) struct Listeners {
    /// By the names of hooks.
    pub(crate) events: Table,
    /// By the names of commands.
    pub(crate) commands: Table,
}

/// A timer of a script.
pub(crate) struct Timer {
    pub(crate) then: Then,
    pub(crate) repeats: bool,
}

/// Numbers of tests begin here, far from the server's.
pub(crate) const TEST_REQUESTS: u64 = 1 << 52;

impl Desk {
    pub(crate) fn new(host: Host, generation: u64, allowed: &[String], testing: bool) -> Self {
        Self {
            host,
            generation,
            clients: RefCell::default(),
            open: RefCell::default(),
            thens: RefCell::default(),
            taps: RefCell::default(),
            listeners: RefCell::default(),
            timers: RefCell::default(),
            commands: RefCell::default(),
            allowed: allowed.iter().map(|name| name.to_lowercase()).collect(),
            // Timers of the generations before must not be taken for ours.
            next: Cell::new((generation << 32) + 1),
            answers: testing.then(RefCell::default),
        }
    }

    /// A number for something new.
    pub(crate) fn next(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Keeps what is to be done with a result.
    pub(crate) fn keep(&self, then: Then) -> u64 {
        let key = self.next();
        self.thens.borrow_mut().insert(key, then);
        key
    }

    /// The rights with which the script may run a command of the server.
    pub(crate) fn rights(&self, command: &str) -> Rights {
        if self.allowed.contains(&command.to_lowercase()) { Rights::All } else { Rights::Read }
    }

    /// Answers a request, if it is of this kind and has no answer yet.
    pub(crate) fn answer(
        &self,
        request: u64,
        kinds: &[Asked],
        answer: impl Into<Answer>,
    ) -> Result<(), NotTaken> {
        let open = self.open.borrow().get(&request).copied();
        if !open.is_some_and(|open| kinds.contains(&open.asked)) {
            return Err(NotTaken::Gone);
        }
        self.open.borrow_mut().remove(&request);
        match &self.answers {
            Some(answers) if request >= TEST_REQUESTS => {
                answers.borrow_mut().insert(request, answer.into());
                Ok(())
            }
            _ => self.host.respond(RequestId(request), answer),
        }
    }

    /// The request of a connection that waits to be allowed to stay or to connect.
    pub(crate) fn waiting_connect(&self, conn: u64) -> Option<u64> {
        let open = self.open.borrow();
        let connects =
            |open: &Open| open.conn == conn && matches!(open.asked, Asked::Accept | Asked::Connect);
        open.iter().find(|(_, open)| connects(open)).map(|(request, _)| *request)
    }

    /// What a client does itself in the place of a hook.
    pub(crate) fn listener(&self, conn: ConnId, hook: &str) -> Option<Function> {
        self.listeners.borrow().get(&conn.0)?.events.raw_get(hook).ok()?
    }

    /// What a client does itself about a command of its far end.
    pub(crate) fn answers_command(&self, conn: ConnId, command: &str) -> Option<Function> {
        self.listeners.borrow().get(&conn.0)?.commands.raw_get(command).ok()?
    }

    /// The connection has left.
    pub(crate) fn forget(&self, conn: ConnId) {
        self.clients.borrow_mut().remove(&conn.0);
        self.taps.borrow_mut().remove(&conn.0);
        self.listeners.borrow_mut().remove(&conn.0);
        self.open.borrow_mut().retain(|_, open| open.conn != conn.0);
    }
}
