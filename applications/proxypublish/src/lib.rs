//! Forwards streams: every stream of the application is pushed to each of `targetServers` that wants it, from its
//! begin to its end.
//!
//! The pushes are the server's own (the command `pushStream`): it connects, waits and begins again. Here is decided
//! which there are. Start reading with [`ProxyPublish`]; [`Settings`] is what the configuration says.

#![forbid(unsafe_code)]

mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crtmp_plugin::{App, CallError, CommandReply, ConnId, Hooks, Host, NotTaken, TimerId, export_plugin};
use serde_json::{Map, json};

pub use crate::settings::{Settings, Target};

/// The timer that looks at pushes, and asks again for those that the server did not take.
const LOOK: TimerId = TimerId(1);

/// How often that is.
const PERIOD: Duration = Duration::from_secs(1);

/// How many pushes are looked at in one period: each takes one of the places that the server has for commands.
const LOOKS: usize = 64;

/// How often the server refuses a push before the log says so: an earlier one of the same is often there for a moment.
const PATIENCE: u32 = 3;

/// What a publisher is told that has to go.
const ABORTED: &str = "NetStream.Publish.Rejected";

/// Where its stream goes is the operator's business: that is in the log.
const ABORTED_TEXT: &str = "the stream cannot be forwarded";

/// What the server says where there is nothing left to remove.
const NOT_THERE: &str = "there is no configuration";

/// The number of a push that has ended for good, in its status.
const ENDED: u64 = 4;

/// The application.
pub struct ProxyPublish {
    host: Host,
    settings: Settings,
    /// The streams that are there, by name.
    streams: BTreeMap<String, Stream>,
    /// Pushes that decide about their publisher, the next to look at first.
    watched: VecDeque<Place>,
    /// Pushes that the server did not take.
    refused: VecDeque<Place>,
    /// Pushes that the server has not removed, by number.
    leaving: VecDeque<u64>,
    /// Streams whose end nobody tells.
    adopted: BTreeSet<String>,
    /// The number of the last stream.
    last: u64,
    looks: bool,
}

/// A stream of the application.
struct Stream {
    /// Who publishes it. None: it was there before this instance, and nobody tells of its end.
    publisher: Option<ConnId>,
    number: u64,
    /// By the place of its target in the settings.
    pushes: BTreeMap<usize, Push>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Push {
    /// The server has not said yet what its number is. It has refused so often before.
    Asked(u32),
    /// Its number (`configId`).
    Runs(u64),
    /// The server did not take it, so often by now: it is asked again.
    Refused(u32),
}

/// A push of a stream: what belongs to an earlier stream of the name is recognised by the number.
#[derive(Clone)]
struct Place {
    name: String,
    number: u64,
    target: usize,
}

impl App for ProxyPublish {
    const NAME: &'static str = "proxypublish";
    const HOOKS: Hooks = Hooks::STREAM;
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        Self::validate(&settings)?;
        let this = Self {
            host,
            settings,
            streams: BTreeMap::new(),
            watched: VecDeque::new(),
            refused: VecDeque::new(),
            leaving: VecDeque::new(),
            adopted: BTreeSet::new(),
            last: 0,
            looks: false,
        };
        // After a reload there may be streams already.
        this.list(Self::adopt);
        Ok(this)
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        settings.check()
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        match self.streams.get_mut(name) {
            // Its pushes go on with the new publisher.
            Some(stream) if live => {
                stream.publisher = Some(publisher);
                self.adopted.remove(name);
            }
            // Where another one has taken the stream over, its end is not that of the stream.
            Some(stream) if stream.publisher == Some(publisher) => self.end(name),
            None if live => self.begin(name, Some(publisher)),
            _ => {}
        }
    }

    fn on_timer(&mut self, _: TimerId) {
        for _ in 0..LOOKS.min(self.refused.len()) {
            let Some(place) = self.refused.pop_front() else { break };
            if self.find(&place).is_some() {
                self.push(&place);
            }
        }
        for _ in 0..LOOKS.min(self.leaving.len()) {
            let Some(id) = self.leaving.pop_front() else { break };
            self.remove(id);
        }
        for _ in 0..LOOKS.min(self.watched.len()) {
            let Some(place) = self.watched.pop_front() else { break };
            self.look_at(place);
        }
        if !self.adopted.is_empty() {
            self.list(Self::still_there);
        }
        self.look_when_needed();
    }
}

impl ProxyPublish {
    fn begin(&mut self, name: &str, publisher: Option<ConnId>) {
        self.last += 1;
        let number = self.last;
        self.streams.insert(name.to_owned(), Stream { publisher, number, pushes: BTreeMap::new() });
        for target in 0..self.settings.targets().len() {
            if self.settings.targets()[target].wants(name) {
                self.push(&Place { name: name.to_owned(), number, target });
            }
        }
        self.look_when_needed();
    }

    fn end(&mut self, name: &str) {
        let Some(stream) = self.streams.remove(name) else { return };
        self.adopted.remove(name);
        for push in stream.pushes.into_values() {
            if let Push::Runs(id) = push {
                self.remove(id);
            }
        }
        self.look_when_needed();
    }

    /// Asks the server for a push.
    fn push(&mut self, place: &Place) {
        let params = self.settings.targets()[place.target].push(&place.name, &self.host.name());
        let before = match self.find(place) {
            Some(Push::Refused(times)) => *times,
            _ => 0,
        };
        let asked = self.host.command("pushStream", &params, {
            let place = place.clone();
            move |this: &mut Self, reply| this.pushed(place, reply)
        });
        let push = if asked.is_ok() { Push::Asked(before) } else { Push::Refused(before) };
        if asked.is_err() {
            self.refused.push_back(place.clone());
        }
        if let Some(stream) = self.streams.get_mut(&place.name) {
            stream.pushes.insert(place.target, push);
        }
    }

    fn pushed(&mut self, place: Place, reply: Result<CommandReply, CallError>) {
        let id = number_of(&reply);
        match (self.find(&place), id) {
            (Some(push), Some(id)) => {
                *push = Push::Runs(id);
                let aborts = self.settings.abort_on_connect_error;
                if aborts && !self.settings.targets()[place.target].keep_alive {
                    self.watched.push_back(place);
                    self.look_when_needed();
                }
            }
            // The stream has ended meanwhile.
            (None, Some(id)) => {
                self.remove(id);
                self.look_when_needed();
            }
            (Some(push), None) => {
                let times = if let Push::Asked(times) = push { times.saturating_add(1) } else { 1 };
                *push = Push::Refused(times);
                self.refused.push_back(place.clone());
                // No publisher is ended for that: an earlier push of the same may be there still, of a publisher who has
                // just left or of the instance before this one, or the server has no room for a while.
                if times == PATIENCE && !self.adopted.contains(&place.name) {
                    let (target, why) = (self.place_of(&place), describe(&reply));
                    self.host.warn(format!("{:?} is not pushed to {target}: {why}", place.name));
                }
                self.look_when_needed();
            }
            (None, None) => {}
        }
    }

    /// Asks what has become of a push.
    fn look_at(&mut self, place: Place) {
        let Some(Push::Runs(id)) = self.find(&place).copied() else { return };
        let params = Map::from_iter([("id".to_owned(), json!(id))]);
        let asked = self.host.command("getConfigInfo", &params, {
            let place = place.clone();
            move |this: &mut Self, reply| this.looked(place, reply)
        });
        if asked.is_err() {
            self.watched.push_back(place);
        }
    }

    fn looked(&mut self, place: Place, reply: Result<CommandReply, CallError>) {
        if self.find(&place).is_none() {
            return;
        }
        match reply {
            Ok(reply) if reply.ok && reply.data["status"]["current"]["code"] == ENDED => {
                let why = reply.data["cause"].as_str().unwrap_or("it has ended").to_owned();
                self.abort(&place, &why);
            }
            // An operator has removed it.
            Ok(reply) if reply.description.starts_with(NOT_THERE) => {}
            _ => {
                self.watched.push_back(place);
                self.look_when_needed();
            }
        }
    }

    /// Ends the publisher of a stream that a target does not get.
    fn abort(&mut self, place: &Place, why: &str) {
        let Some(publisher) = self.streams.get(&place.name).and_then(|stream| stream.publisher) else {
            return;
        };
        let target = self.place_of(place);
        self.host
            .warn(format!("the publisher is ended: {:?} cannot be pushed to {target}: {why}", place.name));
        self.end(&place.name);
        // A stream of the application's own would have no connection; there is none here.
        let _ = self.host.close(publisher, ABORTED, ABORTED_TEXT);
    }

    fn remove(&mut self, id: u64) {
        let params = Map::from_iter([("id".to_owned(), json!(id))]);
        let asked = self.host.command("removeConfig", &params, move |this: &mut Self, reply| {
            // One that is gone already is what was wanted.
            if !matches!(&reply, Ok(reply) if reply.ok || reply.description.starts_with(NOT_THERE)) {
                this.leaving.push_back(id);
                this.look_when_needed();
            }
        });
        if asked.is_err() {
            self.leaving.push_back(id);
        }
    }

    /// Asks which streams the application has.
    fn list(&self, then: fn(&mut Self, Vec<String>)) {
        // Where the server takes no command, the application has ended.
        let _ = self.host.command("listInboundStreamNames", &Map::new(), move |this: &mut Self, reply| {
            let Ok(CommandReply { ok: true, description, data }) = reply else { return };
            if description.starts_with("partial:") {
                return;
            }
            let own = this.host.name();
            let all = data.as_array().into_iter().flatten().filter(|stream| stream["appName"] == *own);
            let names = all.filter_map(|stream| stream["name"].as_str());
            then(this, names.map(str::to_owned).collect());
        });
    }

    fn adopt(&mut self, names: Vec<String>) {
        for name in names {
            if !self.streams.contains_key(&name) {
                self.begin(&name, None);
                self.adopted.insert(name);
            }
        }
        self.look_when_needed();
    }

    fn still_there(&mut self, names: Vec<String>) {
        let names: BTreeSet<String> = names.into_iter().collect();
        let gone: Vec<String> = self.adopted.difference(&names).cloned().collect();
        gone.iter().for_each(|name| self.end(name));
    }

    fn find(&mut self, place: &Place) -> Option<&mut Push> {
        let stream = self.streams.get_mut(&place.name).filter(|stream| stream.number == place.number)?;
        stream.pushes.get_mut(&place.target)
    }

    fn place_of(&self, place: &Place) -> String {
        self.settings.targets()[place.target].place()
    }

    /// Sets the timer where there is something to look at, and only there.
    fn look_when_needed(&mut self) {
        let queued = !self.watched.is_empty() || !self.refused.is_empty() || !self.leaving.is_empty();
        let needed = queued || !self.adopted.is_empty();
        if needed && !self.looks {
            self.looks = self.host.set_timer(LOOK, PERIOD, Some(PERIOD)) == Ok::<(), NotTaken>(());
        } else if !needed && self.looks {
            self.host.cancel_timer(LOOK);
            self.looks = false;
        }
    }
}

/// The number of what a command has set up.
fn number_of(reply: &Result<CommandReply, CallError>) -> Option<u64> {
    reply.as_ref().ok().filter(|reply| reply.ok).and_then(|reply| reply.data["configId"].as_u64())
}

/// Why a command has done nothing.
fn describe(reply: &Result<CommandReply, CallError>) -> String {
    match reply {
        Ok(reply) => reply.description.clone(),
        Err(error) => error.to_string(),
    }
}

export_plugin!(name: "proxypublish", apps: [ProxyPublish]);
