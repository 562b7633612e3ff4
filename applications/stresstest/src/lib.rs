//! Loads another server: plays its streams by many connections of their own, and counts what becomes of them.
//!
//! The connections are pulls of the server's own (the command `pullStream`), which it makes, looks after and begins again.
//! Start reading with [`StressTest`]; `status` is what it reports.

#![forbid(unsafe_code)]

mod status;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crtmp_plugin::{
    App, CallError, Command, CommandCall, CommandReply, ConnId, Hooks, Host, NotTaken, Reply, TimerId,
    export_plugin,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::status::Status;

/// The timer that begins connections.
const BEGIN: TimerId = TimerId(1);

/// How many are begun at once, and how soon the next ones follow.
const RAMP: usize = 50;
const RAMP_PERIOD: Duration = Duration::from_secs(1);

/// The timer that logs how it goes.
const LOG: TimerId = TimerId(2);

/// How often that is.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Connections that it may make.
const CONNECTIONS: usize = 1000;

/// Streams that it may be told to play.
const STREAMS: usize = 1000;

/// The command that says how it goes.
const STATUS: &str = "stressTestStatus";

/// What the names of its streams here begin with.
const PREFIX: &str = "load/";

/// The settings of the application.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `host` or `host:port`.
    target_server: String,
    /// The application there.
    target_app: String,
    /// The streams there.
    streams: Vec<String>,
    number_of_connections: usize,
    /// Each connection plays any of the streams; otherwise they are played in turn.
    random_access_streams: bool,
    /// Whether anything is done at all.
    active: bool,
}

/// The application.
pub struct StressTest {
    host: Host,
    settings: Settings,
    connections: Vec<Connection>,
    /// How often a stream has ended that had begun.
    interruptions: u64,
    /// How often the server did not take a pull.
    refused: u64,
    /// What was logged last.
    logged: String,
}

/// One of its connections.
#[derive(Clone, Debug)]
struct Connection {
    /// The stream that it plays.
    stream: String,
    pull: Pull,
    /// Where it comes from, while it is there.
    playing: Option<ConnId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    /// Its turn has not come, or the server did not take it.
    Waiting,
    Asked,
    /// The server looks after it.
    Taken,
}

impl App for StressTest {
    const NAME: &'static str = "stresstest";
    const HOOKS: Hooks = Hooks::STREAM;
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        Self::validate(&settings)?;
        host.add_command(
            &Command::new(STATUS, "Says what has become of the connections of the load test").read_only(),
        )?;
        let connections = (0..settings.number_of_connections).map(|at| {
            let at = if settings.random_access_streams { any() } else { at };
            let stream = settings.streams[at % settings.streams.len()].clone();
            Connection { stream, pull: Pull::Waiting, playing: None }
        });
        let connections = connections.collect();
        if settings.active {
            let set = |timer, delay, period| {
                let full = |_: NotTaken| "the server takes no timer".to_owned();
                host.set_timer(timer, delay, Some(period)).map_err(full)
            };
            set(BEGIN, Duration::ZERO, RAMP_PERIOD)?;
            set(LOG, LOG_PERIOD, LOG_PERIOD)?;
        }
        Ok(Self { host, settings, connections, interruptions: 0, refused: 0, logged: String::new() })
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        settings.check()
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        let number = name.strip_prefix(PREFIX).and_then(|number| number.parse::<usize>().ok());
        let Some(connection) = number.and_then(|number| self.connections.get_mut(number.checked_sub(1)?))
        else {
            return;
        };
        if live {
            connection.playing = Some(publisher);
        } else if connection.playing == Some(publisher) {
            connection.playing = None;
            self.interruptions += 1;
        }
    }

    fn on_timer(&mut self, timer: TimerId) {
        if timer == LOG {
            return self.measure(Self::report);
        }
        let waiting = (0..self.connections.len()).filter(|at| self.connections[*at].pull == Pull::Waiting);
        for at in waiting.take(RAMP).collect::<Vec<_>>() {
            self.begin(at);
        }
        if self.connections.iter().all(|connection| connection.pull == Pull::Taken) {
            self.host.cancel_timer(BEGIN);
        }
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        let request = call.request;
        self.measure(move |this, status| {
            let reply = match status {
                Ok(status) => Reply::Result(status.json()),
                Err(text) => Reply::Error(json!(text)),
            };
            // Who has asked may have left.
            let _ = this.host.respond(request, reply);
        });
        Reply::Later
    }
}

impl Settings {
    fn check(&self) -> Result<(), String> {
        let Self { target_server, target_app, streams, number_of_connections, .. } = self;
        if target_server.is_empty() || target_server.contains(['/', '?', '#', '@']) {
            return Err(
                "`targetServer`: expected a host, with or without port, such as \"media:1935\"".to_owned()
            );
        }
        if target_app.trim_matches('/').is_empty() || target_app.contains(['?', '#']) {
            return Err("`targetApp`: expected the name of an application, without query".to_owned());
        }
        if streams.is_empty() || streams.len() > STREAMS {
            return Err(format!("`streams` has {} names, expected 1 to {STREAMS}", streams.len()));
        }
        if let Some(at) = streams.iter().position(|stream| stream.trim_matches('/').is_empty()) {
            return Err(format!("`streams[{}]` is empty, expected the name of a stream", at + 1));
        }
        if !(1..=CONNECTIONS).contains(number_of_connections) {
            return Err(format!(
                "`numberOfConnections` is {number_of_connections}, expected 1 to {CONNECTIONS}"
            ));
        }
        Ok(())
    }
}

impl StressTest {
    /// Asks the server for a connection.
    fn begin(&mut self, at: usize) {
        let params = self.params(at);
        let asked =
            self.host.command("pullStream", &params, move |this: &mut Self, reply| this.begun(at, &reply));
        if asked.is_ok() {
            self.connections[at].pull = Pull::Asked;
        }
    }

    fn params(&self, at: usize) -> Map<String, Value> {
        let Settings { target_server, target_app, .. } = &self.settings;
        let (app, stream) = (target_app.trim_matches('/'), self.connections[at].stream.trim_matches('/'));
        let name = format!("{PREFIX}{}", at + 1);
        let params = json!({
            "uri": format!("rtmp://{target_server}/{app}/{stream}"),
            "localStreamName": name,
            "application": self.host.name(),
            "keepAlive": true,
            "kept": false,
            // Who says the same shares a connection.
            "pageUrl": format!("{}/{name}", Self::NAME),
        });
        match params {
            Value::Object(params) => params,
            _ => Map::new(),
        }
    }

    fn begun(&mut self, at: usize, reply: &Result<CommandReply, CallError>) {
        let text = match reply {
            Ok(reply) if reply.ok => {
                self.connections[at].pull = Pull::Taken;
                return;
            }
            Ok(reply) => reply.description.clone(),
            Err(error) => error.to_string(),
        };
        // It is tried again with the next ones.
        self.connections[at].pull = Pull::Waiting;
        self.refused += 1;
        if self.refused == 1 {
            self.host.warn(format!("the server does not begin connection {}: {text}", at + 1));
        }
    }

    /// Asks the server what has become of the connections.
    fn measure(&mut self, then: impl FnOnce(&mut Self, Result<Status, String>) + Send + 'static) {
        // Where the server takes no command the application has ended, and with it what was asked.
        let _ = self.host.command("listConfig", &Map::new(), move |this: &mut Self, config| {
            let _ = this.host.command("listInboundStreams", &Map::new(), move |this: &mut Self, streams| {
                let status = match (data(config), data(streams)) {
                    (Ok(config), Ok(streams)) => Ok(this.status(&config, &streams)),
                    (Err(text), _) | (_, Err(text)) => Err(text),
                };
                then(this, status);
            });
        });
    }

    fn status(&self, config: &Value, streams: &Value) -> Status {
        let own = self.host.name();
        let mine = |entry: &&Value, key: &str, name: &str| {
            entry[key] == *own && entry[name].as_str().is_some_and(|name| name.starts_with(PREFIX))
        };
        let count = |wanted: fn(&Connection) -> bool| {
            self.connections.iter().filter(|connection| wanted(connection)).count()
        };
        let mut status = Status::new(self.settings.active);
        status.connections = self.connections.len();
        status.waiting = count(|connection| connection.pull != Pull::Taken);
        status.playing = count(|connection| connection.playing.is_some());
        (status.interruptions, status.refused) = (self.interruptions, self.refused);
        let pulls = config["pull"].as_array().into_iter().flatten();
        for pull in pulls.filter(|pull| mine(pull, "applicationName", "localStreamName")) {
            status.add_pull(pull);
        }
        let streams = streams.as_array().into_iter().flatten();
        for stream in streams.filter(|stream| mine(stream, "appName", "name")) {
            status.add_stream(stream);
        }
        status
    }

    fn report(&mut self, status: Result<Status, String>) {
        let text = match status {
            Ok(status) => status.to_string(),
            Err(text) => format!("how it goes cannot be said: {text}"),
        };
        if text != self.logged {
            self.host.info(&text);
            self.logged = text;
        }
    }
}

/// What a command has returned.
fn data(reply: Result<CommandReply, CallError>) -> Result<Value, String> {
    match reply {
        Ok(reply) if reply.ok => Ok(reply.data),
        Ok(reply) => Err(reply.description),
        Err(error) => Err(error.to_string()),
    }
}

/// A number that nobody foresees. Each hasher of the standard library begins with such.
fn any() -> usize {
    RandomState::new().build_hasher().finish() as usize
}

export_plugin!(name: "stresstest", apps: [StressTest]);
