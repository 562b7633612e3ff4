//! An edge: what its players ask for is fetched from an origin, once for all of them; what is published at it goes to
//! the origin.
//!
//! The pulls and pushes are the server's own (the commands `pullStream` and `pushStream`): it connects, falls back on
//! other origins, and begins again. Here is decided which there are: [`Edge`] hears who comes and goes; `stream` keeps
//! count for one name and says what that name needs.

#![forbid(unsafe_code)]

mod settings;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crtmp_plugin::{
    App, CallError, CommandReply, Conn, ConnId, Hooks, Host, Play, Publish, Stream as Ended, TimerId,
    Verdict, export_plugin,
};
use serde_json::{Map, Value, json};

pub use crate::settings::{PublishPolicy, Settings};
use crate::stream::{Link, Played, Published, Stream};

/// The timer for what is to be done outside of the hooks of connections.
const WORK: TimerId = TimerId(0);

/// The timer that asks again for what the server did not take. Those of streams follow.
const AGAIN: TimerId = TimerId(1);

/// How soon the server is asked again for what it did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How much longer than `linger` a server is refused that waited in vain.
const QUIET: Duration = Duration::from_secs(5);

/// What such a server is told.
const NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
const NO_SUCH: &str = "the origin has no such stream, and nobody else waits for it";

/// How many pulls and pushes the server is asked for at once: whoever names a new stream has it work.
const ASKED: usize = 64;

/// What an origin says, and what the publisher here is told then, where somebody else publishes the stream there.
const BAD_NAME: &str = "NetStream.Publish.BadName";
const TAKEN: &str = "somebody else publishes this stream at the origin";

/// The number of a push whose media flow, in its status.
const STREAMING: u64 = 0;

/// Bytes of a stream's name at the origin, with its query: the server takes no more.
const FAR_NAME: usize = 4096;

/// What the server says where there is nothing left to remove.
const NOT_THERE: &str = "there is no configuration";

/// By this member of `connect` a server of this family is known: its plays are pulls, what it publishes are pushes.
const INSTANCE: &str = "instanceId";

/// The application.
pub struct Edge {
    host: Host,
    settings: Settings,
    /// All streams that somebody plays, publishes or has played a moment ago, by name.
    streams: BTreeMap<String, Stream>,
    /// The names that the connections play and publish.
    connections: HashMap<ConnId, BTreeSet<String>>,
    /// Whose timer it is.
    timers: HashMap<u64, String>,
    /// Names whose pull or push may not be what is needed.
    unsettled: BTreeSet<String>,
    /// Names whose pull or push the server did not take.
    refused: BTreeSet<String>,
    /// Pulls and pushes that the server has not removed, by number.
    leaving: VecDeque<u64>,
    /// Pushes that no origin has taken yet: name and number, the next to look at first.
    watched: VecDeque<(String, u64)>,
    /// Whether the timer runs that asks again.
    asks_again: bool,
    /// What the server has been asked for and has not answered.
    asked: usize,
    /// The last number that was given to anything.
    last: u64,
    /// The origin with which the next pull begins.
    next_origin: usize,
}

/// What is fetched, and what is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pull,
    Push,
}

impl App for Edge {
    const NAME: &'static str = "edge";
    const HOOKS: Hooks = Hooks::PUBLISH
        .and(Hooks::PLAY)
        .and(Hooks::UNPUBLISH)
        .and(Hooks::UNPLAY)
        .and(Hooks::CLOSE)
        .and(Hooks::STREAM);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        Self::validate(&settings)?;
        Ok(Self {
            host,
            settings,
            streams: BTreeMap::new(),
            connections: HashMap::new(),
            timers: HashMap::new(),
            unsettled: BTreeSet::new(),
            refused: BTreeSet::new(),
            leaving: VecDeque::new(),
            watched: VecDeque::new(),
            asks_again: false,
            asked: 0,
            last: AGAIN.0,
            next_origin: 0,
        })
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        settings.check()
    }

    fn on_play(&mut self, conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        if let Err(why) = self.far_name(request.name, request.query) {
            return Verdict::refuse(why);
        }
        let most = self.settings.max_pulls;
        let known = self.streams.get(request.name);
        let is_new = !known.is_some_and(|stream| stream.is_fetched() || stream.is_there());
        if is_new && self.streams.values().filter(|stream| stream.is_fetched()).count() >= most {
            return Verdict::refuse(format!("the edge fetches maxPulls = {most} streams already"));
        }
        let played = Played { conn: conn.id(), stream_id: request.stream_id, is_server: is_server(conn) };
        if played.is_server && known.is_some_and(Stream::is_quiet) {
            return Verdict::reject(NOT_FOUND, NO_SUCH);
        }
        let stream = self.streams.entry(request.name.to_owned()).or_default();
        // Of several players that say different things, the first one counts.
        if !stream.is_fetched() {
            stream.query = request.query.to_owned();
        }
        stream.play(played);
        self.connections.entry(conn.id()).or_default().insert(request.name.to_owned());
        self.changed(request.name);
        Verdict::Accept
    }

    fn on_unplay(&mut self, conn: &Conn<'_>, stream: Ended<'_>) {
        if let Some(known) = self.streams.get_mut(stream.name) {
            known.unplay(conn.id(), stream.stream_id);
            self.forget(conn.id(), stream.name);
            self.changed(stream.name);
        }
    }

    fn on_publish(&mut self, conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        if self.settings.publish == PublishPolicy::Refuse {
            return Verdict::refuse("nothing is published at this edge");
        }
        if self.settings.publish == PublishPolicy::Origin
            && let Err(why) = self.far_name(request.name, request.query)
        {
            return Verdict::refuse(why);
        }
        let stream = self.streams.entry(request.name.to_owned()).or_default();
        let query = request.query.to_owned();
        stream.publish(Published {
            conn: conn.id(),
            stream_id: request.stream_id,
            is_server: is_server(conn),
            query,
        });
        self.connections.entry(conn.id()).or_default().insert(request.name.to_owned());
        Verdict::Accept
    }

    fn on_unpublish(&mut self, conn: &Conn<'_>, stream: Ended<'_>) {
        if let Some(known) = self.streams.get_mut(stream.name) {
            known.unpublish(conn.id());
            self.forget(conn.id(), stream.name);
            self.changed(stream.name);
        }
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        for name in self.connections.remove(&conn.id()).unwrap_or_default() {
            if let Some(stream) = self.streams.get_mut(&name) {
                stream.leave(conn.id());
                self.changed(&name);
            }
        }
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        if live {
            self.streams.entry(name.to_owned()).or_default().live(publisher, true);
        } else if let Some(stream) = self.streams.get_mut(name) {
            stream.live(publisher, false);
        }
        self.changed(name);
    }

    fn on_timer(&mut self, timer: TimerId) {
        if timer == AGAIN {
            self.asks_again = false;
            self.unsettled.append(&mut self.refused);
            for _ in 0..ASKED.min(self.leaving.len()) {
                let Some(id) = self.leaving.pop_front() else { break };
                self.remove(id);
            }
            for _ in 0..ASKED.min(self.watched.len()) {
                let Some((name, id)) = self.watched.pop_front() else { break };
                self.look_at(name, id);
            }
            if !self.leaving.is_empty() || !self.watched.is_empty() {
                self.ask_again();
            }
        } else if timer != WORK {
            let Some(name) = self.timers.remove(&timer.0) else { return };
            if let Some(stream) = self.streams.get_mut(&name) {
                stream.expire(timer.0);
            }
            return self.settle(&name);
        }
        for name in std::mem::take(&mut self.unsettled) {
            self.settle(&name);
        }
    }
}

impl Edge {
    /// Something has happened to a name. What follows is not done for the connection that it happened to: it is this
    /// application that chooses the address, and so it asks outside of that connection's hook.
    fn changed(&mut self, name: &str) {
        self.unsettled.insert(name.to_owned());
        let _ = self.host.set_timer(WORK, Duration::ZERO, None);
    }

    /// Forgets that a connection has to do with a name, where that is so.
    fn forget(&mut self, conn: ConnId, name: &str) {
        if self.streams.get(name).is_some_and(|stream| stream.has(conn)) {
            return;
        }
        if let Some(names) = self.connections.get_mut(&conn) {
            names.remove(name);
            if names.is_empty() {
                self.connections.remove(&conn);
            }
        }
    }

    /// Makes what there is of a name what is needed.
    fn settle(&mut self, name: &str) {
        let pushes = self.settings.publish == PublishPolicy::Origin;
        let linger = self.settings.linger();
        let Some(stream) = self.streams.get_mut(name) else { return };
        let mut alarm = None;
        if stream.is_wanted() {
            if let Some(timer) = stream.wanted_again() {
                self.timers.remove(&timer);
                self.host.cancel_timer(TimerId(timer));
            }
        } else if stream.may_linger() {
            alarm = Some(linger);
        }
        let unwanted = stream.take_unwanted();
        if !unwanted.is_empty() {
            alarm = Some(linger + QUIET);
        }
        if let Some(time) = alarm {
            self.last += 1;
            if self.host.set_timer(TimerId(self.last), time, None).is_ok() {
                stream.set_timer(self.last);
                self.timers.insert(self.last, name.to_owned());
            }
        }
        let (wants_pull, wants_push) = (stream.needs_pull(), pushes && stream.has_local());
        self.aim(name, Way::Pull, wants_pull);
        self.aim(name, Way::Push, wants_push);
        for played in unwanted {
            let _ = self.host.unplay(played.conn, played.stream_id, NOT_FOUND, NO_SUCH);
        }
        if self.streams.get(name).is_some_and(Stream::is_over) {
            self.streams.remove(name);
        }
    }

    /// Begins or ends a pull or a push.
    fn aim(&mut self, name: &str, way: Way, wanted: bool) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        match (stream.link_of(way), wanted) {
            // Looked at again with the next answer.
            (Link::None, true) if self.asked >= ASKED => {
                self.unsettled.insert(name.to_owned());
            }
            (Link::None, true) => {
                let params = self.params(name, way);
                self.last += 1;
                let number = self.last;
                let command = match way {
                    Way::Pull => "pullStream",
                    Way::Push => "pushStream",
                };
                let asked = self.host.command(command, &params, {
                    let name = name.to_owned();
                    move |this: &mut Self, reply| this.answered(&name, way, number, &reply)
                });
                match (asked, self.streams.get_mut(name)) {
                    (Ok(()), Some(stream)) => {
                        *stream.link(way) = Link::Asked(number);
                        self.asked += 1;
                    }
                    _ => self.again(name),
                }
            }
            (Link::Runs(id), false) => {
                *stream.link(way) = Link::None;
                self.remove(id);
            }
            // It is removed when its number is known.
            (Link::Asked(_), false) => *stream.link(way) = Link::None,
            (Link::None, false) | (Link::Asked(_) | Link::Runs(_), true) => {}
        }
    }

    fn params(&mut self, name: &str, way: Way) -> Map<String, Value> {
        let stream = self.streams.get(name);
        let query = match way {
            Way::Pull => stream.map_or("", |stream| &stream.query),
            Way::Push => stream.and_then(Stream::local).map_or("", |local| &local.query),
        };
        let there = self.far_name(name, query).unwrap_or_else(|_| name.to_owned());
        let mut origins = self.settings.origins.clone();
        if way == Way::Pull && self.settings.round_robin {
            let first = self.next_origin % origins.len().max(1);
            origins.rotate_left(first);
            self.next_origin = self.next_origin.wrapping_add(1);
        }
        let origins: Vec<&str> = origins.iter().map(|origin| origin.trim_end_matches('/')).collect();
        let params = json!({
            "uri": origins,
            "targetStreamName": there,
            "localStreamName": name,
            "application": self.host.name(),
            "keepAlive": true,
            "kept": false,
        });
        match params {
            Value::Object(params) => params.into_iter().chain(self.settings.tls()).collect(),
            _ => Map::new(),
        }
    }

    /// The name at the origin, with what stands behind the question mark where that travels.
    ///
    /// # Errors
    ///
    /// If the server would not take it: that is known before anybody waits for it.
    fn far_name(&self, name: &str, query: &str) -> Result<String, String> {
        let travels = self.settings.forward_query && !query.is_empty();
        let there = if travels { format!("{name}?{query}") } else { name.to_owned() };
        if there.len() > FAR_NAME || there.chars().any(char::is_control) {
            let expected = format!("at most {FAR_NAME} bytes without control characters");
            return Err(format!("the name with its query cannot be said to the origin: expected {expected}"));
        }
        Ok(there)
    }

    fn answered(&mut self, name: &str, way: Way, number: u64, reply: &Result<CommandReply, CallError>) {
        self.asked = self.asked.saturating_sub(1);
        if !self.unsettled.is_empty() {
            let _ = self.host.set_timer(WORK, Duration::ZERO, None);
        }
        let done = reply.as_ref().ok().filter(|reply| reply.ok);
        let id = done.and_then(|reply| reply.data["configId"].as_u64());
        let stream = self.streams.get_mut(name).filter(|stream| stream.link_of(way) == Link::Asked(number));
        match (stream, id) {
            (Some(stream), Some(id)) => {
                *stream.link(way) = Link::Runs(id);
                stream.complaint.clear();
                // One that an earlier instance of this application had asked for may be here already.
                let publisher = done
                    .filter(|reply| reply.data["status"]["current"]["code"] == STREAMING)
                    .and_then(|reply| reply.data["connectionId"].as_u64());
                match (way, publisher) {
                    (Way::Pull, Some(publisher)) => {
                        stream.live(ConnId(publisher), true);
                        self.changed(name);
                    }
                    (Way::Pull, None) => {}
                    (Way::Push, _) => self.watch(name.to_owned(), id),
                }
            }
            (None, Some(id)) => self.remove(id),
            (Some(stream), None) => {
                *stream.link(way) = Link::None;
                let why = match reply {
                    Ok(reply) => reply.description.clone(),
                    Err(error) => error.to_string(),
                };
                // It is asked again and again; what it says is told once.
                if stream.complaint != why {
                    self.host.warn(format!("the server does not {} {name:?}: {why}", way.word()));
                    stream.complaint = why;
                }
                self.again(name);
            }
            (None, None) => {}
        }
    }

    fn watch(&mut self, name: String, id: u64) {
        self.watched.push_back((name, id));
        self.ask_again();
    }

    /// Asks what has become of a push, as long as no origin has taken it.
    fn look_at(&mut self, name: String, id: u64) {
        if self.streams.get(&name).is_none_or(|stream| stream.link_of(Way::Push) != Link::Runs(id)) {
            return;
        }
        let params = Map::from_iter([("id".to_owned(), json!(id))]);
        let asked = self.host.command("getConfigInfo", &params, {
            let name = name.clone();
            move |this: &mut Self, reply| this.looked(name, id, &reply)
        });
        if asked.is_err() {
            self.watch(name, id);
        }
    }

    /// Who publishes here what somebody else publishes at the origin would never hear of it.
    fn looked(&mut self, name: String, id: u64, reply: &Result<CommandReply, CallError>) {
        let Some(stream) = self.streams.get(&name) else { return };
        if stream.link_of(Way::Push) != Link::Runs(id) {
            return;
        }
        if let Ok(reply) = reply {
            let push = &reply.data;
            if push["status"]["current"]["code"] == STREAMING || reply.description.starts_with(NOT_THERE) {
                return;
            }
            // Each origin is asked once.
            let all_asked =
                push["failures"].as_u64().is_some_and(|times| times >= self.settings.origins.len() as u64);
            let is_taken = push["cause"].as_str().is_some_and(|cause| cause.contains(BAD_NAME));
            // Where edges are each other's origin, it is theirs: that push goes on.
            let local = stream.local().filter(|local| all_asked && is_taken && !local.is_server);
            if let Some(local) = local {
                let _ = self.host.unpublish(local.conn, local.stream_id, BAD_NAME, TAKEN);
                return;
            }
        }
        self.watch(name, id);
    }

    /// Players wait: there may be room in a moment.
    fn again(&mut self, name: &str) {
        self.refused.insert(name.to_owned());
        self.ask_again();
    }

    /// Has the timer run that asks again. One that runs is left alone: whoever comes puts nobody off.
    fn ask_again(&mut self) {
        self.asks_again = self.asks_again || self.host.set_timer(AGAIN, AGAIN_AFTER, None).is_ok();
    }

    fn remove(&mut self, id: u64) {
        let params = Map::from_iter([("id".to_owned(), json!(id))]);
        let asked = self.host.command("removeConfig", &params, move |this: &mut Self, reply| {
            // One that is gone already is what was wanted.
            if !matches!(&reply, Ok(reply) if reply.ok || reply.description.starts_with(NOT_THERE)) {
                this.leaving.push_back(id);
                this.ask_again();
            }
        });
        if asked.is_err() {
            self.leaving.push_back(id);
            self.ask_again();
        }
    }
}

/// Whether a connection is another server's.
fn is_server(conn: &Conn<'_>) -> bool {
    conn.extra().get(INSTANCE).is_some_and(Value::is_string)
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

export_plugin!(name: "edge", apps: [Edge]);
