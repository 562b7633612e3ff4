//! Connections that scripts make themselves, to other servers, and functions of their own that clients have for what
//! happens to them.
//!
//! The words are those of BLS; see `docs/lua.md`. A function that is given is called once. One that is left out means
//! that the script waits.

use std::rc::Rc;
use std::time::Duration;

use crtmp_plugin::{
    CallError, ConnId, LinkError, Linked, NotTaken, PlayStart, PublishKind, Pull, Push, SCHEMES, TimerId,
};
use mlua::{FromLua, FromLuaMulti, Function, IntoLua, Lua, MultiValue, Table, Value};
use serde_json::{Map, Value as Json};

use crate::app::VmApp;
use crate::client::{self, id, one};
use crate::desk::{Desk, Listeners, Then, Timer};
use crate::vm::{Machine, PRELUDE, from_lua};

/// The chain of connections to an address and port.
const CHAIN: &str = "outboundRtmp";

/// What happens to a client, as its own functions are called for it: what BLS calls it, and the hook here.
const EVENTS: [(&str, &str); 10] = [
    ("close", "on_close"),
    ("unpublish", "on_unpublish"),
    ("unplay", "on_unplay"),
    ("play_stop_event", "on_play_stop"),
    ("play_stop", "on_play_stop"),
    ("onMetaData", "on_metadata"),
    ("metadata", "on_metadata"),
    ("ping_pong_request", "on_pong"),
    ("pong", "on_pong"),
    ("reconnect", "on_reconnect"),
];

/// What a script is asked: a global function answers, since it may be asked before anybody knows the client.
const QUESTIONS: [&str; 4] = ["accept", "connect", "publish", "play"];

/// A function that starts something with its arguments, and what is done in the end.
type Start = fn(&Rc<Desk>, &Lua, MultiValue, Ends) -> mlua::Result<u64>;

/// What is done in the end: without functions, the script waits.
struct Ends {
    done: Option<Function>,
    failed: Option<Function>,
}

/// Puts the function `remote_connect` where scripts find it, and the methods of its clients among those of all.
pub(crate) fn install(machine: &Machine, methods: &Table, desk: &Rc<Desk>) -> mlua::Result<()> {
    let globals = machine.lua().globals();
    // `remote_connect(uri, function)` has no options.
    let chunk = "local connect = ...\n\
                 return function(place, options, ...)\n\
                   if type(options) == 'function' then return connect(place, nil, options, ...) end\n\
                   return connect(place, options, ...)\n\
                 end";
    let connects = either(machine, desk, 3, remote_connect)?;
    let connects: Function = machine.lua().load(chunk).set_name(PRELUDE).call(connects)?;
    globals.raw_set("remote_connect", connects)?;
    methods.raw_set("connect", either(machine, desk, 3, connect)?)?;
    methods.raw_set("edge", either(machine, desk, 3, edge)?)?;
    methods.raw_set("push", either(machine, desk, 3, push)?)?;
    let desk = desk.clone();
    let on = move |lua: &Lua, (client, event, then): (Table, String, Option<Function>)| {
        listen(&desk, lua, &client, &event, then)
    };
    methods.raw_set("on", machine.lua().create_function(on)?)
}

/// A function whose argument `at` is called in the end, and the one behind it where that is a failure; without it, the
/// function waits.
fn either(machine: &Machine, desk: &Rc<Desk>, at: usize, start: Start) -> mlua::Result<Function> {
    let starts = desk.clone();
    let starting = machine.lua().create_function(move |lua, mut arguments: MultiValue| {
        let mut function =
            || Option::<Function>::from_lua(arguments.remove(at - 1).unwrap_or(Value::Nil), lua);
        let ends = Ends { done: function()?, failed: function()? };
        start(&starts, lua, arguments, ends).map(drop)
    })?;
    let waits = desk.clone();
    let waiting = machine.waiting(move |lua, arguments| {
        let key = start(&waits, lua, arguments, Ends { done: None, failed: None })?;
        key.into_lua(lua).map(one)
    })?;
    let chunk = "local at, start, wait = ...\n\
                 return function(...)\n\
                   if select(at, ...) == nil then return wait(...) end\n\
                   return start(...)\n\
                 end";
    machine.lua().load(chunk).set_name(PRELUDE).call((at, starting, waiting))
}

/// Where a script connects to.
struct Place {
    /// Host and port, or a scheme with a host.
    address: String,
    /// Empty: what the scheme says.
    chain: &'static str,
    keys: Map<String, Json>,
    /// What clients say of themselves.
    fields: Vec<(&'static str, String)>,
}

impl Place {
    /// Of `ip, port`, or `uri, options`.
    fn read(lua: &Lua, arguments: MultiValue) -> mlua::Result<Self> {
        let (place, second) = <(String, Value)>::from_lua_multi(arguments, lua)?;
        let Some((scheme, rest)) = place.split_once("://") else {
            let port = u16::from_lua(second, lua)?;
            let bare = place.trim_start_matches('[').trim_end_matches(']');
            let address =
                if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
            let fields = vec![("chain", CHAIN.to_owned()), ("peer", address.clone())];
            return Ok(Self { address, chain: CHAIN, keys: Map::new(), fields });
        };
        let keys = match from_lua(&second).map_err(mlua::Error::external)? {
            Json::Null => Map::new(),
            Json::Object(keys) => keys,
            Json::Array(list) if list.is_empty() => Map::new(),
            _ => return Err(mlua::Error::runtime("the options of an address must be a table with names")),
        };
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            let schemes = SCHEMES.join("://, ");
            return Err(mlua::Error::runtime(format!("an address must begin with one of {schemes}://")));
        }
        let (peer, app) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // As the server names the chains of schemes.
        let chain = format!("outbound{}{}", scheme[..1].to_ascii_uppercase(), &scheme[1..]);
        let mut fields = vec![("chain", chain), ("peer", peer.to_owned()), ("scheme", scheme.clone())];
        let app = app.trim_matches('/');
        if !app.is_empty() {
            fields.push(("target", app.to_owned()));
        }
        Ok(Self { address: format!("{scheme}://{peer}"), chain: "", keys, fields })
    }
}

/// `remote_connect(ip, port, function(client))`, or `remote_connect(uri, options, function(client))`.
fn remote_connect(desk: &Rc<Desk>, lua: &Lua, arguments: MultiValue, ends: Ends) -> mlua::Result<u64> {
    let Place { address, chain, keys, fields } = Place::read(lua, arguments)?;
    let (key, generation) = (keep(desk, &ends), desk.generation);
    let sent = desk.host.connect(&address, chain, &keys, move |app: &mut VmApp, made| {
        app.on_made(generation, key, &fields, made);
    });
    sent.or_else(|error| cannot(desk, key, error))?;
    Ok(key)
}

/// There was no room for a connection: that is a failure like any other, which must not come at once.
fn cannot(desk: &Desk, key: u64, error: NotTaken) -> mlua::Result<()> {
    let Some(then) = desk.thens.borrow_mut().remove(&key) else { return Ok(()) };
    let set = if error == NotTaken::Full {
        desk.host.set_timer(TimerId(key), Duration::ZERO, None)
    } else {
        Err(error)
    };
    set.map_err(|error| mlua::Error::runtime(format!("the server did not take it: {error}")))?;
    desk.timers.borrow_mut().insert(key, Timer { then, repeats: false });
    Ok(())
}

/// `client:connect(info, function(flag, args))`.
fn connect(desk: &Rc<Desk>, lua: &Lua, arguments: MultiValue, ends: Ends) -> mlua::Result<u64> {
    let (client, info) = <(Table, Value)>::from_lua_multi(arguments, lua)?;
    let conn = ours(&client)?;
    let mut object = match from_lua(&info).map_err(mlua::Error::external)? {
        Json::Null => Map::new(),
        Json::Object(object) => object,
        Json::Array(list) if list.is_empty() => Map::new(),
        _ => return Err(mlua::Error::runtime("what a connect says must be a table with names")),
    };
    let text = |field: &str| client.raw_get::<Option<String>>(field);
    if !object.contains_key("app") {
        // BLS has one application for all; with us a connect that names none is refused.
        let app = text("target")?.unwrap_or_else(|| desk.host.name().to_owned());
        object.insert("app".to_owned(), app.into());
    }
    if !object.contains_key("tcUrl") {
        // What the address would be; servers take it for the name of a virtual host.
        let app = object.get("app").and_then(Json::as_str).unwrap_or_default();
        let scheme = text("scheme")?.unwrap_or_else(|| "rtmp".to_owned());
        let url = format!("{scheme}://{}/{app}", text("peer")?.unwrap_or_default());
        object.insert("tcUrl".to_owned(), url.into());
    }
    let then = ends.done.map_or(Then::Resume, Then::Call);
    client::call(desk, conn, "connect", &[object.into()], then).map_err(mlua::Error::external)
}

/// `client:edge(stream, function()[, function(text, code)])`.
fn edge(desk: &Rc<Desk>, lua: &Lua, arguments: MultiValue, ends: Ends) -> mlua::Result<u64> {
    let (client, stream) = <(Table, Value)>::from_lua_multi(arguments, lua)?;
    let conn = ours(&client)?;
    let wanted = Wanted::read("edge", &stream, &["start", "duration"])?;
    let mut pull = Pull::new(wanted.name);
    if let Some(local) = wanted.local {
        pull = pull.under(local);
    }
    if let Value::Table(table) = &stream {
        pull.start = match table.get::<Value>("start")? {
            Value::Nil => PlayStart::Any,
            Value::String(text) if text.as_bytes() == b"live" => PlayStart::Live,
            value => PlayStart::At(seconds(lua, value, "start")?),
        };
        let duration = table.get::<Value>("duration")?;
        pull.duration = if duration.is_nil() { None } else { Some(seconds(lua, duration, "duration")?) };
    }
    let (key, second, generation) = link(desk, &ends);
    let sent = desk.host.pull(conn, &pull, move |app: &mut VmApp, result| {
        app.on_linked(generation, key, second, conn, result);
    });
    linked(desk, key, second, sent)
}

/// `client:push(stream, function()[, function(text, code)])`.
fn push(desk: &Rc<Desk>, lua: &Lua, arguments: MultiValue, ends: Ends) -> mlua::Result<u64> {
    let (client, stream) = <(Table, Value)>::from_lua_multi(arguments, lua)?;
    let conn = ours(&client)?;
    let wanted = Wanted::read("push", &stream, &["type"])?;
    // `name` is the stream here, and `as` what the far end shall call it.
    let mut push = Push::new(wanted.local.unwrap_or_else(|| wanted.name.clone())).of(wanted.name);
    if let Value::Table(table) = &stream {
        push.kind = match table.get::<Option<String>>("type")?.as_deref() {
            None | Some("live") => PublishKind::Live,
            Some("record") => PublishKind::Record,
            Some("append") => PublishKind::Append,
            Some(_) => {
                return Err(mlua::Error::runtime("`type` must be \"live\", \"record\" or \"append\""));
            }
        };
    }
    let (key, second, generation) = link(desk, &ends);
    let sent = desk.host.push(conn, &push, move |app: &mut VmApp, result| {
        app.on_linked(generation, key, second, conn, result);
    });
    linked(desk, key, second, sent)
}

/// `client:on(event, function)`; without a function it is taken back.
fn listen(desk: &Desk, lua: &Lua, client: &Table, event: &str, then: Option<Function>) -> mlua::Result<()> {
    let conn = id(client)?;
    if QUESTIONS.contains(&event) {
        let text = format!("{event:?} is asked by a global function: on_{event}");
        return Err(mlua::Error::runtime(text));
    }
    if !desk.clients.borrow().contains_key(&conn.0) {
        // Nothing will happen to it any more.
        return Ok(());
    }
    let mut all = desk.listeners.borrow_mut();
    if let std::collections::hash_map::Entry::Vacant(place) = all.entry(conn.0) {
        place.insert(Listeners { events: lua.create_table()?, commands: lua.create_table()? });
    }
    let Some(listeners) = all.get(&conn.0) else { return Ok(()) };
    match EVENTS.iter().find(|(known, _)| *known == event) {
        Some((_, hook)) => listeners.events.raw_set(*hook, then),
        None => listeners.commands.raw_set(event, then),
    }
}

/// A stream as scripts name it: a name, or a table with `name` and `as`.
struct Wanted {
    name: String,
    local: Option<String>,
}

impl Wanted {
    fn read(method: &str, stream: &Value, others: &[&str]) -> mlua::Result<Self> {
        let wrong =
            || mlua::Error::runtime(format!("{method} takes the name of a stream, or a table with `name`"));
        let wanted = match stream {
            Value::String(name) => Self { name: name.to_string_lossy(), local: None },
            Value::Table(table) => {
                for pair in table.pairs::<String, Value>() {
                    let (key, _) = pair.map_err(|_| wrong())?;
                    if !["name", "as"].contains(&key.as_str()) && !others.contains(&key.as_str()) {
                        let text =
                            format!("{method} has no `{key}`; there are name, as, {}", others.join(", "));
                        return Err(mlua::Error::runtime(text));
                    }
                }
                let name = table.get::<Option<String>>("name")?.ok_or_else(wrong)?;
                Self { name, local: table.get("as")? }
            }
            _ => return Err(wrong()),
        };
        Ok(wanted)
    }
}

/// The connection of a client that the script has made.
fn ours(client: &Table) -> mlua::Result<ConnId> {
    let conn = id(client)?;
    let chain: Option<String> = client.raw_get("chain")?;
    if chain.is_some_and(|chain| chain.starts_with("outbound")) {
        return Ok(conn);
    }
    Err(mlua::Error::runtime("this is for clients that remote_connect has made"))
}

fn seconds(lua: &Lua, value: Value, name: &str) -> mlua::Result<Duration> {
    const LONGEST: f64 = 1e9;
    let number = lua.coerce_number(value)?.filter(|number| (0.0..=LONGEST).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| mlua::Error::runtime(format!("`{name}` must be a number of seconds, not negative")))
}

fn keep(desk: &Desk, ends: &Ends) -> u64 {
    desk.keep(ends.done.clone().map_or(Then::Resume, Then::Call))
}

/// Keeps both functions of a pull or push, of which one is called.
fn link(desk: &Desk, ends: &Ends) -> (u64, Option<u64>, u64) {
    let second = ends.failed.clone().map(|failed| desk.keep(Then::Call(failed)));
    (keep(desk, ends), second, desk.generation)
}

fn linked(desk: &Desk, key: u64, second: Option<u64>, sent: Result<(), NotTaken>) -> mlua::Result<u64> {
    sent.map(|()| key).map_err(|error| {
        let mut thens = desk.thens.borrow_mut();
        thens.remove(&key);
        second.map(|second| thens.remove(&second));
        match error {
            NotTaken::Invalid => {
                mlua::Error::runtime("a stream needs a name at both ends, of at most 65535 bytes")
            }
            error => mlua::Error::runtime(format!("the server did not take it: {error}")),
        }
    })
}

impl VmApp {
    /// A connection has been made, or will not be.
    fn on_made(
        &mut self,
        generation: u64,
        key: u64,
        fields: &[(&'static str, String)],
        made: Result<ConnId, CallError>,
    ) {
        let waits = generation == self.generation() && self.desk().thens.borrow().contains_key(&key);
        if !waits {
            // Nobody knows of it, or ever will.
            if let Ok(conn) = made {
                let _ = self.host().close(conn, "", "the application was loaded again");
            }
            return;
        }
        let client = made.map(|conn| self.made_client(conn, fields));
        self.on_result(generation, key, move |lua| match client {
            Ok(client) => Ok(vec![Value::Table(client?)]),
            Err(error) => Ok(vec![Value::Nil, error.to_string().into_lua(lua)?]),
        });
    }

    /// What has become of a pull or push. Where its failure has no function of its own, and nobody waits for it, the
    /// connection is closed: that is how scripts written for BLS hear of it.
    fn on_linked(
        &mut self,
        generation: u64,
        key: u64,
        second: Option<u64>,
        conn: ConnId,
        result: Result<Linked, LinkError>,
    ) {
        if generation != self.generation() {
            return;
        }
        let failed = second.filter(|_| result.is_err());
        let other = if failed.is_some() { Some(key) } else { second };
        if let Some(other) = other {
            self.desk().thens.borrow_mut().remove(&other);
        }
        match result {
            Ok(linked) => self.on_result(generation, key, |lua| {
                Ok(vec![true.into_lua(lua)?, crate::api::lua_value(lua, &linked.status)?])
            }),
            Err(error) => {
                let (text, code) = match &error {
                    LinkError::Refused { code, text } if !text.is_empty() => (text.clone(), code.clone()),
                    LinkError::Refused { code, .. } => (code.clone(), code.clone()),
                    LinkError::Call(error) => (error.to_string(), String::new()),
                };
                let texts = |lua: &Lua| Ok([text.as_str().into_lua(lua)?, code.into_lua(lua)?]);
                if let Some(failed) = failed {
                    return self.on_result(generation, failed, |lua| texts(lua).map(Vec::from));
                }
                let waits = matches!(self.desk().thens.borrow().get(&key), Some(Then::Resume));
                if waits {
                    return self.on_result(generation, key, |lua| {
                        let [text, code] = texts(lua)?;
                        Ok(vec![Value::Nil, text, code])
                    });
                }
                self.desk().thens.borrow_mut().remove(&key);
                let _ = self.host().close(conn, "", &error.to_string());
            }
        }
    }
}
