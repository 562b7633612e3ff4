//! The addresses of names, by the system's resolver, on threads that nobody waits for.
//!
//! A look-up cannot be called off: its thread stays until the system gives up, which takes long where a name server does
//! not answer. So there are few threads, whoever asks for a name that is being looked up joins those who wait for it,
//! names of one zone, and all those that took too long the last time, hold three quarters of the threads at most, and
//! whoever has waited long enough is told so by a
//! thread that looks at the clock.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a look-up may take, for those who have no reason for another time.
pub const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long who can wait may wait for the turn of its name in addition: with a thousand names that nobody answers for,
/// the threads free themselves every ten seconds or so.
pub const IN_LINE: Duration = Duration::from_secs(20);

/// Look-ups that run at once, each on a thread.
pub const LOOK_UPS: usize = 32;

/// Those of them that may be for names with the same last two parts, or for names that took too long the last time.
pub const LOOK_UPS_OF_ZONE: usize = 24;

/// Callers that may wait for the address of a name.
pub const WAITING: usize = 4096;

/// The most addresses of a name that are looked at.
const ADDRESSES: usize = 64;

/// The longest time that anybody may wait.
const LONGEST: Duration = Duration::from_secs(3600);

/// The longest name, in bytes: a full one of the DNS with its dot.
const NAME: usize = 254;

/// What slow names count as; no zone is called so.
const SLOW: &str = "\0slow";

const NO_PORT: &str = "a port from 1 to 65535 is missing";
const NO_THREAD: &str = "the system has no thread for the look-up of a name";

/// What is found, or why nothing is.
type Found = Result<Vec<SocketAddr>, String>;

type Then = Box<dyn FnOnce(Found) + Send>;

/// How the system is asked for the addresses of a name.
type Ask = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// How long somebody waits for the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the moment that it is looked up.
    pub look_up: Duration,
    /// Until then, in addition.
    pub in_line: Duration,
}

impl From<Duration> for Patience {
    /// So long in all.
    fn from(look_up: Duration) -> Self {
        Self { look_up, in_line: Duration::ZERO }
    }
}

/// Finds addresses; clones are handles to the same one. Its threads come with the first names and go with the last.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

impl Resolver {
    /// By the system's resolver.
    pub fn new() -> Self {
        Self::with(|host: &str| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// With a system that answers like `ask`.
    pub(super) fn with(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), waiter: Condvar::new(), ask: Box::new(ask) }))
    }

    /// Finds the addresses of `host:port` (an IPv6 address stands in brackets) and hands them to `then`, which is called
    /// exactly once: before this returns, where no name has to be looked up or too many wait; else on another thread,
    /// when `patience` is at its end at the latest. It must not wait for anything, since others wait for its thread.
    ///
    /// Addresses of both families take turns (RFC 8305), in the system's order otherwise. None has been judged: that is
    /// up to [`Policy::admit`](super::Policy::admit). How an address is spelt does not matter: what the system takes
    /// for one, such as `2130706433`, is looked up like a name.
    pub fn resolve(
        &self,
        host_and_port: &str,
        patience: impl Into<Patience>,
        then: impl FnOnce(Found) + Send + 'static,
    ) {
        if let Ok(address) = host_and_port.parse::<SocketAddr>() {
            return then(if address.port() == 0 { Err(NO_PORT.to_owned()) } else { Ok(vec![address]) });
        }
        let (host, port) = match divide(host_and_port) {
            Ok(divided) => divided,
            Err(text) => return then(Err(text.to_owned())),
        };
        let Patience { look_up, in_line } = patience.into();
        let look_up = look_up.min(LONGEST);
        let until = Instant::now() + look_up + in_line.min(LONGEST);
        self.0.wait_for(&host.to_ascii_lowercase(), Waiting { port, until, look_up, then: Box::new(then) });
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { names, waiting, running, .. } = &*self.0.lock();
        f.debug_struct("Resolver")
            .field("names", &names.len())
            .field("waiting", &waiting.len())
            .field("running", running)
            .finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Told when somebody waits for a shorter time than all others, or than before.
    waiter: Condvar,
    ask: Box<Ask>,
}

#[derive(Default)]
struct State {
    /// Whoever waits, by a number of its own and with the name.
    waiting: BTreeMap<u64, (Arc<str>, Waiting)>,
    last: u64,
    /// Every name that is looked up or shall be.
    names: HashSet<Arc<str>>,
    /// Names that nobody looks up yet.
    line: VecDeque<Arc<str>>,
    /// Threads that look names up.
    running: usize,
    /// Names that are being looked up, with what they count as.
    started: HashMap<Arc<str>, Arc<str>>,
    /// Of those, how many count as what.
    shares: HashMap<Arc<str>, usize>,
    /// Names that took longer the last time than somebody waited.
    slow: HashSet<Arc<str>>,
    /// There is a thread that looks at the clock.
    clock: bool,
}

struct Waiting {
    port: u16,
    until: Instant,
    /// How long from the moment that the name is looked up.
    look_up: Duration,
    then: Then,
}

impl Waiting {
    /// Its name is being looked up since now.
    fn begin(&mut self, now: Instant) {
        self.until = self.until.min(now + self.look_up);
    }

    fn tell(self, found: &Found) {
        let mut found = found.clone();
        found.iter_mut().flatten().for_each(|address| address.set_port(self.port));
        // Whatever it does, others wait for this thread.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.then)(found)));
    }
}

impl Shared {
    fn wait_for(self: &Arc<Self>, host: &str, mut waiting: Waiting) {
        let mut state = self.lock();
        if state.waiting.len() >= WAITING {
            drop(state);
            let text = format!(
                "{WAITING} look-ups of names are waiting already: the system's resolver does not answer"
            );
            return waiting.tell(&Err(text));
        }
        let host: Arc<str> = match state.names.get(host) {
            Some(known) => known.clone(),
            None => {
                let host: Arc<str> = host.into();
                state.names.insert(host.clone());
                state.line.push_back(host.clone());
                host
            }
        };
        if state.started.contains_key(&host) {
            waiting.begin(Instant::now());
        }
        state.last += 1;
        let number = state.last;
        let first = state.waiting.values().all(|(_, other)| waiting.until < other.until);
        state.waiting.insert(number, (host, waiting));
        if first {
            self.waiter.notify_one();
        }
        let clock = !std::mem::replace(&mut state.clock, true);
        let next = if state.running < LOOK_UPS { state.next() } else { None };
        state.running += usize::from(next.is_some());
        if next.is_some() {
            self.waiter.notify_one();
        }
        drop(state);
        if clock {
            let this = self.clone();
            if thread::Builder::new().name("look-up clock".to_owned()).spawn(move || this.watch()).is_err() {
                self.give_up();
            }
        }
        if let Some(host) = next {
            let this = self.clone();
            let name = host.clone();
            if thread::Builder::new().name("look-up".to_owned()).spawn(move || this.run(name)).is_err() {
                self.answer(&host, &Err(NO_THREAD.to_owned()));
                self.lock().running -= 1;
            }
        }
    }

    /// Looks up names for as long as there are any.
    fn run(&self, mut host: Arc<str>) {
        loop {
            let found = match catch_unwind(AssertUnwindSafe(|| (self.ask)(&host))) {
                Ok(Ok(addresses)) if addresses.is_empty() => Err("the name has no address".to_owned()),
                Ok(Ok(addresses)) => Ok(take_turns(addresses)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the look-up failed, which is a fault of this server".to_owned()),
            };
            self.answer(&host, &found);
            let mut state = self.lock();
            match state.next() {
                Some(next) => {
                    host = next;
                    self.waiter.notify_one();
                }
                None => {
                    state.running -= 1;
                    return;
                }
            }
        }
    }

    /// The look-up of a name is over.
    fn answer(&self, host: &str, found: &Found) {
        let mut state = self.lock();
        state.names.remove(host);
        if let Some(share) = state.started.remove(host)
            && let Some(count) = state.shares.get_mut(&share)
        {
            *count -= 1;
            if *count == 0 {
                state.shares.remove(&share);
            }
        }
        let told = state.take(|name, _| name == host);
        if !told.is_empty() {
            state.slow.remove(host);
        }
        drop(state);
        for waiting in told {
            waiting.tell(found);
        }
    }

    /// Tells those who have waited long enough, until nobody waits any more.
    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state.note_slow(now);
            let late = state.take(|_, waiting| waiting.until <= now);
            if !late.is_empty() {
                state.forget_names();
                drop(state);
                for waiting in late {
                    waiting.tell(&Err("the look-up of the name took too long".to_owned()));
                }
                state = self.lock();
            } else if let Some(next) = state.waiting.values().map(|(_, waiting)| waiting.until).min() {
                let patience = next.saturating_duration_since(now);
                state = match self.waiter.wait_timeout(state, patience) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            } else {
                state.clock = false;
                return;
            }
        }
    }

    /// Nobody looks at the clock: those who wait might do so for ever.
    fn give_up(&self) {
        let mut state = self.lock();
        state.clock = false;
        let all = state.take(|_, _| true);
        state.forget_names();
        drop(state);
        for waiting in all {
            waiting.tell(&Err(NO_THREAD.to_owned()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first name of the line that there is a thread left for, for a thread that looks it up now.
    fn next(&mut self) -> Option<Arc<str>> {
        let free = |host: &Arc<str>| {
            self.shares.get(self.share_of(host)).is_none_or(|running| *running < LOOK_UPS_OF_ZONE)
        };
        let host = self.line.iter().position(free).and_then(|index| self.line.remove(index))?;
        let share: Arc<str> = self.share_of(&host).into();
        *self.shares.entry(share.clone()).or_default() += 1;
        self.started.insert(host.clone(), share);
        let now = Instant::now();
        let theirs = self.waiting.values_mut().filter(|(name, _)| *name == host);
        theirs.for_each(|(_, waiting)| waiting.begin(now));
        Some(host)
    }

    /// What a name counts as: its zone, or all that are slow.
    fn share_of<'a>(&self, host: &'a str) -> &'a str {
        if self.slow.contains(host) { SLOW } else { zone_of(host) }
    }

    /// Remembers the names that somebody has waited for in vain although they are being looked up: a thousand dead ones
    /// shall not keep every thread again and again.
    fn note_slow(&mut self, now: Instant) {
        let Self { waiting, started, slow, .. } = self;
        let is_slow = |host: &Arc<str>, waiting: &Waiting| waiting.until <= now && started.contains_key(host);
        for (host, _) in waiting.values().filter(|(host, waiting)| is_slow(host, waiting)) {
            // Who is forgotten is slow once more.
            if slow.len() >= WAITING {
                slow.clear();
            }
            slow.insert(host.clone());
        }
    }

    /// Takes out those who wait and are meant.
    fn take(&mut self, is_meant: impl Fn(&str, &Waiting) -> bool) -> Vec<Waiting> {
        let meant = |(number, (host, waiting)): (&u64, &(Arc<str>, Waiting))| {
            is_meant(host, waiting).then_some(*number)
        };
        let numbers: Vec<u64> = self.waiting.iter().filter_map(meant).collect();
        numbers.iter().filter_map(|number| self.waiting.remove(number)).map(|(_, waiting)| waiting).collect()
    }

    /// Nobody looks up what nobody waits for.
    fn forget_names(&mut self) {
        let wanted: HashSet<&str> = self.waiting.values().map(|(name, _)| &**name).collect();
        self.line.retain(|host| {
            let wanted = wanted.contains(&**host);
            if !wanted {
                self.names.remove(host);
            }
            wanted
        });
    }
}

/// A name and a port.
fn divide(host_and_port: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = host_and_port.rsplit_once(':').ok_or(NO_PORT)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| port.parse().ok()).flatten().filter(|port| *port != 0).ok_or(NO_PORT)?;
    if host.is_empty() {
        return Err("the name of a host is missing");
    }
    if host.len() > NAME {
        return Err("the name of the host has more than 254 bytes");
    }
    if host.contains([':', '[', ']']) {
        return Err("an IPv6 address is written in brackets, such as [2001:db8::1]:1935");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("the name of a host has letters, digits, `-`, `_` and `.` only");
    }
    Ok((host, port))
}

/// The last two parts of a name: whoever answers for it can make up as many as it likes.
fn zone_of(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts = host.rmatch_indices('.').nth(1);
    parts.map_or(host, |(dot, _)| &host[dot + 1..])
}

/// Each address once, those of the two families in turns, beginning with the first.
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others) = (VecDeque::new(), VecDeque::new());
    for address in addresses {
        let family = if address.is_ipv6() == first_is_v6 { &mut ours } else { &mut others };
        if family.len() < ADDRESSES && !family.contains(&address) {
            family.push_back(address);
        }
    }
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES && !(ours.is_empty() && others.is_empty()) {
        turns.extend(ours.pop_front());
        turns.extend(others.pop_front());
    }
    turns.truncate(ADDRESSES);
    turns
}

#[cfg(test)]
mod tests;
