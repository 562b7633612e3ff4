//! All pulls and pushes as a state machine: what happens goes in, what is to be done comes out. No I/O, no clock.
//!
//! A link that wants to run looks for a connection ([`Peer`]) that leads where it wants to and has room, or has one made.
//! Connections that are not there yet stand in a line, and so many of them are made at once. Whatever fails goes to
//! [`Core::fail`], which says when the link is tried again.

mod moving;
mod peers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{CallOutcome, Command, Limits, Pull, Push, Value, Via};
use crtmp_reactor::SocketOptions;

use self::{
    moving::{is_successor, successor},
    peers::{Key, Peer, Stage, key_of},
};
use super::{
    company::Company,
    definition::{Definition, Direction},
    line::Line,
    link::{Link, Phase, REDIRECTS, State, View},
    said::{failure, is_about_the_name, redirect},
    uri::Target,
};
use crate::{
    outbound::Origin,
    secrets::{MASK, mask_text},
};

/// Lines about links within [`LOG_PERIOD`]; more are only counted.
const LOG_LINES: u32 = 20;

const LOG_PERIOD: Duration = Duration::from_secs(10);

/// How long the end of a stream waits for that of its connection: that says why.
const SETTLE: Duration = Duration::from_millis(50);

/// What has happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A link is to run.
    Add(u64, Arc<Definition>),
    /// It is not, any more.
    Remove(u64),
    /// A publish has begun here, or ended.
    Stream { application: Arc<str>, name: String, publish: u64, live: bool },
    /// The addresses of a peer.
    Found(u64, Result<Vec<SocketAddr>, String>),
    /// A connection to a peer is there, or will not be.
    Made(u64, Result<u64, String>),
    /// An order has its result.
    Result { ticket: u64, outcome: CallOutcome, args: Vec<Value> },
    /// An order met nobody.
    Missed(u64),
    /// A publish by a connection has ended: something pulled.
    Unpublished { connection: u64, stream: u32 },
    /// The far end of a connection asks us to connect again.
    Reconnect { connection: u64, url: Option<String> },
    /// Media have begun to go to the far end.
    Began { connection: u64, stream: u32 },
    /// A play by a connection has ended: something pushed.
    Unplayed { connection: u64, stream: u32 },
    /// Where connections may go has changed.
    Policy,
    /// A connection has ended.
    Closed { connection: u64, reason: String },
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Find the addresses of a peer: answered by [`Input::Found`].
    Find { peer: u64, origin: Origin, scheme: &'static str, host_and_port: String },
    /// Connect to a peer: answered by [`Input::Made`].
    Connect {
        peer: u64,
        scheme: &'static str,
        /// The name or address that was looked for.
        host: String,
        /// The keys for TLS.
        tls: String,
        address: SocketAddr,
        application: String,
        options: SocketOptions,
        own_chunks: bool,
    },
    /// Order something from the connection of a peer: answered by [`Input::Result`], [`Input::Missed`], or the
    /// connection's end.
    Order { peer: u64, connection: u64, order: Command },
    /// End a stream of a connection.
    End { connection: u64, stream: u32, publishes: bool },
    /// Close a connection.
    Close(u64),
    /// A peer is no more.
    Forget(u64),
    /// Write a line.
    Log { link: u64, text: String, suppressed: u64, bad: bool },
}

/// All links.
pub(super) struct Core {
    links: BTreeMap<u64, Link>,
    peers: HashMap<u64, Peer>,
    /// Of peers that several links may share, the newest of each kind.
    shared: HashMap<Key, u64>,
    by_connection: HashMap<u64, u64>,
    tickets: HashMap<u64, Owed>,
    line: Line,
    timers: BTreeSet<(Instant, u64)>,
    /// Who publishes each stream here. Each name is there twice for a moment when one publisher follows another.
    live: HashMap<Arc<str>, HashMap<String, HashSet<u64>>>,
    /// The pulls and pushes of each stream here.
    named: HashMap<(String, String), Vec<u64>>,
    last: u64,
    most_streams: usize,
    random: u32,
    now: Instant,
    unix: u64,
    logged: (Instant, u32),
    actions: Vec<Action>,
    /// Links that look different now.
    changed: BTreeSet<u64>,
}

struct Owed {
    peer: u64,
    /// None: the answer to connect.
    link: Option<(u64, Direction)>,
}

impl Core {
    pub(super) fn new(limits: &Limits, now: Instant, seed: u32) -> Self {
        Self {
            links: BTreeMap::new(),
            peers: HashMap::new(),
            shared: HashMap::new(),
            by_connection: HashMap::new(),
            tickets: HashMap::new(),
            line: Line::new(limits.link_attempts),
            timers: BTreeSet::new(),
            live: HashMap::new(),
            named: HashMap::new(),
            last: 0,
            most_streams: limits.message_streams,
            random: seed | 1,
            now,
            unix: 0,
            logged: (now, 0),
            actions: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// The time is `now`; `unix` are the seconds since 1970.
    pub(super) fn on_time(&mut self, now: Instant, unix: u64) {
        (self.now, self.unix) = (now, unix);
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            match self.links.get(&id).map(|link| link.state) {
                Some(State::On { peer, phase: Phase::Ending { .. } }) => self.end(peer, id),
                Some(State::Resting(_)) => self.begin(id),
                _ => {}
            }
        }
    }

    /// When [`Self::on_time`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What is to be done, in this order.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Links that look different now, with what they look like; none: they are gone.
    pub(super) fn changed(&mut self) -> Vec<(u64, Option<View>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|id| !is_successor(*id));
        changed.into_iter().map(|id| (id, self.links.get(&id).map(Link::view))).collect()
    }

    /// Takes in what has happened.
    pub(super) fn on_input(&mut self, input: Input) {
        match input {
            Input::Add(id, definition) => self.add(id, definition),
            Input::Remove(id) => self.remove(id),
            Input::Stream { application, name, publish, live } => {
                self.on_stream(&application, name, publish, live);
            }
            Input::Found(peer, found) => self.on_found(peer, found),
            Input::Made(peer, made) => self.on_made(peer, made),
            Input::Result { ticket, outcome, args } => self.on_result(ticket, outcome, &args),
            Input::Missed(ticket) => {
                let text = Value::Object(vec![("description".to_owned(), "the connection has ended".into())]);
                self.on_result(ticket, CallOutcome::Refused, &[Value::Null, text]);
            }
            Input::Unpublished { connection, stream } => {
                self.on_stream_end(connection, stream, Direction::Pull);
            }
            Input::Unplayed { connection, stream } => {
                self.on_stream_end(connection, stream, Direction::Push);
            }
            Input::Reconnect { connection, url } => self.on_reconnect(connection, url.as_deref()),
            Input::Began { connection, stream } => self.on_begun(connection, stream),
            // Who joins a connection does not ask whether it may be made.
            Input::Policy => self.shared.clear(),
            Input::Closed { connection, reason } => self.on_closed(connection, &reason),
        }
    }

    fn add(&mut self, id: u64, definition: Arc<Definition>) {
        let key = (definition.application.clone(), definition.local.clone());
        self.named.entry(key).or_default().push(id);
        self.links.insert(id, Link::new(definition, self.unix));
        self.begin(id);
    }

    fn remove(&mut self, id: u64) {
        if !is_successor(id) {
            self.remove(successor(id));
        }
        let Some(link) = self.links.remove(&id) else { return };
        self.changed.insert(id);
        let definition = &link.definition;
        let key = (definition.application.clone(), definition.local.clone());
        if let Some(ids) = self.named.get_mut(&key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.named.remove(&key);
            }
        }
        match link.state {
            State::Resting(at) => {
                self.timers.remove(&(at, id));
            }
            State::On { peer, phase } => {
                if let Phase::Ending { at, .. } = phase {
                    self.timers.remove(&(at, id));
                }
                self.leave(peer, id, phase, definition.direction);
            }
            State::Waiting | State::Ended => {}
        }
    }

    /// A link does not use a connection any more.
    fn leave(&mut self, peer: u64, id: u64, phase: Phase, direction: Direction) {
        let Some(found) = self.peers.get_mut(&peer) else { return };
        found.links.retain(|other| *other != id);
        if found.links.is_empty() {
            return self.abandon(peer);
        }
        let Stage::Up(connection) = found.stage else { return };
        match phase {
            Phase::Running(stream, _) => {
                let publishes = direction == Direction::Pull;
                self.actions.push(Action::End { connection, stream, publishes });
            }
            // It may wait for its stream for ever. One that is there by now ends all the same: its ticket says so.
            Phase::Ordered(ticket) => {
                let order = Command::Withdraw { ticket };
                self.actions.push(Action::Order { peer, connection, order });
            }
            Phase::Joining | Phase::Ending { .. } => {}
        }
    }

    /// Has a link run, or wait for its stream.
    fn begin(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.changed.insert(id);
        let definition = link.definition.clone();
        if definition.direction == Direction::Push && !is_live(&self.live, &definition) {
            if is_successor(id) {
                return self.fail(id, "the stream has ended");
            }
            return link.wait(self.now, self.unix);
        }
        let Some(target) = link.target() else { return };
        let mut key = key_of(&definition, target, link.redirect.is_some());
        let mut joined = None;
        if link.company.is_alone() {
            key.alone = Some(id);
        } else if let Some(peer) = self.shared.get(&key).copied()
            && let Some(found) = self.peers.get_mut(&peer)
            && found.links.len() < self.most_streams
        {
            found.links.push(id);
            joined = Some((peer, matches!(found.stage, Stage::Up(_))));
        }
        if let Some((peer, is_up)) = joined {
            link.join(peer, self.unix);
            if is_up {
                self.order(id);
            }
            return;
        }
        self.last += 1;
        let peer = self.last;
        link.join(peer, self.unix);
        self.shared.insert(key.clone(), peer);
        let rank = link.waited();
        self.peers.insert(peer, Peer::new(key, rank, id));
        self.line.join(rank, peer);
        self.next_in_line();
    }

    fn owe(&mut self, peer: u64, link: Option<(u64, Direction)>) -> u64 {
        self.last += 1;
        self.tickets.insert(self.last, Owed { peer, link });
        self.last
    }

    /// Asks for the stream of a link whose connection is up.
    fn order(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let State::On { peer, .. } = link.state else { return };
        let Some(Peer { stage: Stage::Up(connection), address, .. }) = self.peers.get(&peer) else { return };
        let (connection, address) = (*connection, *address);
        let (definition, again) = (link.definition.clone(), is_successor(id) || link.goes_on(self.now));
        let name = link.target().map(|target| target.stream.clone()).unwrap_or_default();
        let ticket = self.owe(peer, Some((id, definition.direction)));
        let local = definition.local.clone();
        let order = match definition.direction {
            Direction::Pull => {
                let (Definition { start_ms, duration_ms, .. }, takes_over) = (&*definition, is_successor(id));
                let (start_ms, duration_ms) = (*start_ms, *duration_ms);
                Command::Pull(Box::new(Pull { ticket, name, local, start_ms, duration_ms, takes_over }))
            }
            Direction::Push => {
                let (kind, via) = (definition.publish, Via::default());
                Command::Push(Box::new(Push { ticket, local, name, kind, via, again }))
            }
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.state = State::On { peer, phase: Phase::Ordered(ticket) };
            link.asked = Some(self.now);
            link.connected(connection, address);
            self.changed.insert(id);
        }
        self.actions.push(Action::Order { peer, connection, order });
    }

    fn on_result(&mut self, ticket: u64, outcome: CallOutcome, args: &[Value]) {
        let Some(Owed { peer, link }) = self.tickets.remove(&ticket) else { return };
        match link {
            None => self.on_connected(peer, outcome, args),
            Some((id, direction)) => self.on_link_result(peer, ticket, (id, direction), outcome, args),
        }
    }

    fn on_link_result(
        &mut self,
        peer: u64,
        ticket: u64,
        (id, direction): (u64, Direction),
        outcome: CallOutcome,
        args: &[Value],
    ) {
        let expected = State::On { peer, phase: Phase::Ordered(ticket) };
        let is_awaited = self.links.get(&id).is_some_and(|link| link.state == expected);
        let stream = args.first().and_then(Value::as_u32);
        let Some(found) = self.peers.get_mut(&peer) else { return };
        if outcome == CallOutcome::Result {
            let Stage::Up(connection) = found.stage else { return };
            let stream = stream.unwrap_or_default();
            if !is_awaited {
                let publishes = direction == Direction::Pull;
                return self.actions.push(Action::End { connection, stream, publishes });
            }
            if let Some(link) = self.links.get_mut(&id) {
                link.run(peer, stream, self.now, self.unix);
                let text = format!("{} of {:?} runs", direction.name(), link.definition.local);
                self.changed.insert(id);
                if is_successor(id) {
                    return self.on_arrived(id, direction);
                }
                self.log(id, text, 0, false);
            }
            return;
        }
        if !is_awaited {
            return;
        }
        let is_shared = found.links.len() > 1;
        found.links.retain(|other| *other != id);
        if found.links.is_empty() {
            self.abandon(peer);
        }
        let Err(why) = self.follow(id, redirect(args).as_deref()) else { return };
        let verb = if direction == Direction::Pull { "play" } else { "publish" };
        let cause = failure(verb, outcome, args) + why;
        let may_crowd = is_shared && !is_about_the_name(args);
        if let Some(link) = self.links.get_mut(&id).filter(|link| may_crowd && !link.company.is_alone()) {
            // Many servers have one stream for a connection: it gets one of its own, at once.
            let is_said = outcome == CallOutcome::Error;
            link.company = if is_said { Company::Refused } else { Company::Suspected };
            return self.begin(id);
        }
        self.fail(id, &cause);
    }

    /// Goes where a far end has sent a link, if it may go there.
    ///
    /// # Errors
    ///
    /// What there is to say of that beside the refusal.
    fn follow(&mut self, id: u64, to: Option<&str>) -> Result<(), &'static str> {
        let (Some(to), Some(link)) = (to, self.links.get_mut(&id)) else { return Err("") };
        if link.hops >= REDIRECTS {
            return Err(" (and sent us on once more, after 3 times in this attempt)");
        }
        let target = link.target().and_then(|target| target.redirected(to).ok());
        link.redirect = Some(target.ok_or(" (and sent us to no address that we could go to)")?);
        link.hops += 1;
        self.begin(id);
        Ok(())
    }

    fn on_stream_end(&mut self, connection: u64, stream: u32, direction: Direction) {
        let Some(peer) = self.by_connection.get(&connection).copied() else { return };
        for id in self.peers.get(&peer).map(|found| found.links.clone()).unwrap_or_default() {
            let Some(link) = self.links.get_mut(&id) else { continue };
            if let State::On { phase: Phase::Running(slot, since), .. } = link.state
                && slot == stream
                && link.definition.direction == direction
            {
                if direction == Direction::Push && !is_live(&self.live, &link.definition) {
                    // It has ended here: there is nothing more to learn.
                    self.end(peer, id);
                    continue;
                }
                let at = self.now + SETTLE;
                link.state = State::On { peer, phase: Phase::Ending { since, at } };
                self.timers.insert((at, id));
            }
        }
    }

    /// The stream of a link has ended, and its connection has not.
    fn end(&mut self, peer: u64, id: u64) {
        if let Some(found) = self.peers.get_mut(&peer) {
            found.links.retain(|other| *other != id);
            if found.links.is_empty() {
                self.abandon(peer);
            }
        }
        self.fail(id, "the stream has ended");
    }

    /// A link has failed: it waits for its next attempt, or for its stream, or has ended.
    fn fail(&mut self, id: u64, cause: &str) {
        if self.fails_while_moving(id, cause) {
            return;
        }
        let random = self.random();
        let Some(link) = self.links.get_mut(&id) else { return };
        if let State::On { phase: Phase::Ending { at, .. }, .. } = link.state {
            self.timers.remove(&(at, id));
        }
        self.changed.insert(id);
        link.company = link.company.after_failure(link.has_run());
        let definition = link.definition.clone();
        let is_live = is_live(&self.live, &definition);
        link.held_off = definition.direction == Direction::Pull && is_live && !link.has_run();
        let is_over = definition.direction == Direction::Push && !is_live;
        if is_over && definition.keep_alive {
            // No failure: there is nothing to push.
            return link.wait(self.now, self.unix);
        }
        let place = link.target().map(|target| mask_text(&target.place())).unwrap_or_default();
        let cause = &without_key(cause, &definition, link.target());
        let at = link.fail(cause, self.now, self.unix, random);
        let suppressed = link.log(cause, self.now);
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
        if let Some(suppressed) = suppressed {
            let verb = definition.direction.name();
            let text = format!("{verb} of {:?} ({place}): {cause}", definition.local);
            self.log(id, text, suppressed, true);
        }
    }

    fn on_stream(&mut self, application: &Arc<str>, name: String, publish: u64, live: bool) {
        let streams = self.live.entry(application.clone()).or_default();
        if live {
            streams.entry(name.clone()).or_default().insert(publish);
        } else if let Some(publishes) = streams.get_mut(&name) {
            publishes.remove(&publish);
            if !publishes.is_empty() {
                return;
            }
            streams.remove(&name);
        }
        for id in self.named.get(&(application.to_string(), name)).cloned().unwrap_or_default() {
            let Some(link) = self.links.get_mut(&id) else { continue };
            match link.state {
                State::Waiting if live => self.begin(id),
                // Now the name is free: how often it was not does not count.
                State::Resting(at) if !live && link.held_off => {
                    link.forgive();
                    self.timers.remove(&(at, id));
                    self.begin(id);
                }
                _ => {}
            }
        }
    }

    /// Writes a line, unless there have been many.
    fn log(&mut self, link: u64, text: String, suppressed: u64, bad: bool) {
        let (since, lines) = &mut self.logged;
        if self.now.saturating_duration_since(*since) >= LOG_PERIOD {
            (*since, *lines) = (self.now, 0);
        }
        *lines += 1;
        if *lines <= LOG_LINES {
            self.actions.push(Action::Log { link, text, suppressed, bad });
        } else if *lines == LOG_LINES + 1 {
            let text = "more pulls and pushes have news: `listConfig` shows all".to_owned();
            self.actions.push(Action::Log { link, text, suppressed: 0, bad });
        }
    }

    /// xorshift: good enough for waits that shall differ.
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

fn is_live(live: &HashMap<Arc<str>, HashMap<String, HashSet<u64>>>, definition: &Definition) -> bool {
    live.get(&*definition.application).is_some_and(|streams| streams.contains_key(&definition.local))
}

/// A cause without the name at the far end of a push, which far ends like to repeat: it may be a secret.
fn without_key(cause: &str, definition: &Definition, target: Option<&Target>) -> String {
    let name = target.and_then(|target| target.stream.split('?').next()).unwrap_or_default();
    let is_secret = definition.direction == Direction::Push && !name.is_empty() && name != definition.local;
    if is_secret { cause.replace(name, MASK) } else { cause.to_owned() }
}

#[cfg(test)]
mod tests;
