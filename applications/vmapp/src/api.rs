//! What a script can ask for beside connections: the log, timers, HTTP, commands of the server.

use std::rc::Rc;
use std::time::Duration;

use crtmp_plugin::{Command, HttpRequest, NotTaken, ParamKind, TimerId};
use mlua::{FromLuaMulti, Function, IntoLua, Lua, Table, Value};
use serde_json::{Map, Value as Json, json};

use crate::app::VmApp;
use crate::client::one;
use crate::desk::{Added, Desk, Then, Timer};
use crate::vm::{Machine, from_lua, to_lua};

/// The longest time of a timer, in seconds: a hundred years.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;

/// Puts the tables `log`, `timer`, `http`, `server` and the function `sleep` where scripts find them.
pub(crate) fn install(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<()> {
    logging(machine, desk)?;
    timers(machine, desk)?;
    http(machine, desk)?;
    commands(machine, desk)
}

fn logging(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<()> {
    let (lua, log) = (machine.lua(), machine.table("log")?);
    for (name, level) in [
        ("error", crtmp_plugin::Level::Error),
        ("warn", crtmp_plugin::Level::Warning),
        ("info", crtmp_plugin::Level::Info),
        ("debug", crtmp_plugin::Level::Debug),
    ] {
        let host = desk.host.clone();
        let function = move |_: &Lua, text: mlua::LuaString| {
            host.log(level, text.to_string_lossy());
            Ok(())
        };
        log.raw_set(name, lua.create_function(function)?)?;
    }
    Ok(())
}

fn timers(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<()> {
    let (lua, timer) = (machine.lua(), machine.table("timer")?);
    for (name, repeats) in [("after", false), ("every", true)] {
        let desk = desk.clone();
        let function = move |_: &Lua, (seconds, then): (f64, Function)| {
            set_timer(&desk, seconds, repeats, Then::Call(then))
        };
        timer.raw_set(name, lua.create_function(function)?)?;
    }
    let cancelling = desk.clone();
    let function = move |_: &Lua, timer: u64| {
        cancelling.host.cancel_timer(TimerId(timer));
        Ok(cancelling.timers.borrow_mut().remove(&timer).is_some())
    };
    timer.raw_set("cancel", lua.create_function(function)?)?;
    let sleeping = desk.clone();
    let sleep = machine.waiting(move |lua, arguments| {
        let seconds = f64::from_lua_multi(arguments, lua)?;
        set_timer(&sleeping, seconds, false, Then::Resume)?.into_lua(lua).map(one)
    })?;
    lua.globals().raw_set("sleep", sleep)
}

fn set_timer(desk: &Desk, seconds: f64, repeats: bool, then: Then) -> mlua::Result<u64> {
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err(mlua::Error::runtime("a time must be a number of seconds, not negative"));
    }
    let (timer, time) = (desk.next(), Duration::from_secs_f64(seconds));
    let set = desk.host.set_timer(TimerId(timer), time, repeats.then_some(time));
    set.map_err(|error| mlua::Error::runtime(format!("the timer cannot be set: {error}")))?;
    desk.timers.borrow_mut().insert(timer, Timer { then, repeats });
    Ok(timer)
}

fn http(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<()> {
    let (lua, http) = (machine.lua(), machine.table("http")?);
    // With a function as the last argument it is called with the answer; without one the script waits for it.
    let asks = desk.clone();
    let start =
        move |_: &Lua, (request, then): (Value, Function)| send(&asks, &request, Then::Call(then)).map(drop);
    http.raw_set("send", lua.create_function(start)?)?;
    let waits = desk.clone();
    let request = machine.waiting(move |lua, arguments| {
        let request = Value::from_lua_multi(arguments, lua)?;
        send(&waits, &request, Then::Resume)?.into_lua(lua).map(one)
    })?;
    http.raw_set("request", request)?;
    let waits = desk.clone();
    let get = machine.waiting(move |lua, arguments| {
        let url = String::from_lua_multi(arguments, lua)?;
        send_request(&waits, &HttpRequest::get(url), Then::Resume)?.into_lua(lua).map(one)
    })?;
    http.raw_set("get", get)?;
    let waits = desk.clone();
    let post = machine.waiting(move |lua, arguments| {
        let (url, value): (String, Value) = FromLuaMulti::from_lua_multi(arguments, lua)?;
        let value = from_lua(&value).map_err(mlua::Error::external)?;
        send_request(&waits, &HttpRequest::post_json(url, &value), Then::Resume)?.into_lua(lua).map(one)
    })?;
    http.raw_set("post_json", post)
}

/// The keys of a request.
const REQUEST: [&str; 6] = ["url", "method", "headers", "body", "timeout", "public_only"];

/// Sends what a table describes by the keys of [`REQUEST`].
fn send(desk: &Rc<Desk>, request: &Value, then: Then) -> mlua::Result<u64> {
    let Value::Table(table) = request else {
        return Err(mlua::Error::runtime("a request must be a table with `url`"));
    };
    for pair in table.pairs::<String, Value>() {
        let (key, _) = pair?;
        if !REQUEST.contains(&key.as_str()) {
            let text = format!("a request has no `{key}`; there are {}", REQUEST.join(", "));
            return Err(mlua::Error::runtime(text));
        }
    }
    let mut wanted = HttpRequest::get(table.get::<String>("url")?);
    if let Some(method) = table.get::<Option<String>>("method")? {
        wanted.method = method;
    }
    if let Some(headers) = table.get::<Option<Table>>("headers")? {
        for pair in headers.pairs::<String, String>() {
            wanted.headers.push(pair?);
        }
    }
    if let Some(body) = table.get::<Option<mlua::LuaString>>("body")? {
        wanted.body = body.as_bytes().to_vec();
    }
    if let Some(seconds) = table.get::<Option<f64>>("timeout")? {
        if !(0.0..=3600.0).contains(&seconds) {
            return Err(mlua::Error::runtime("`timeout` must be a number of seconds up to 3600"));
        }
        wanted.timeout = Some(Duration::from_secs_f64(seconds));
    }
    if let Some(only) = table.get::<Option<Value>>("public_only")? {
        let only = only.as_boolean();
        wanted.public_only =
            only.ok_or_else(|| mlua::Error::runtime("`public_only` must be true or false"))?;
    }
    send_request(desk, &wanted, then)
}

fn send_request(desk: &Rc<Desk>, request: &HttpRequest, then: Then) -> mlua::Result<u64> {
    let key = desk.keep(then);
    let generation = desk.generation;
    let sent = desk.host.http(request, move |app: &mut VmApp, answer| {
        let values = match answer {
            Ok(answer) => {
                let headers: Map<String, Json> =
                    answer.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                vec![json!({ "status": answer.status, "headers": headers, "body": body })]
            }
            Err(error) => vec![Json::Null, error.to_string().into()],
        };
        app.on_values(generation, key, values);
    });
    taken(desk, key, sent)
}

fn commands(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<()> {
    let (lua, server) = (machine.lua(), machine.table("server")?);
    let calls = desk.clone();
    let start = move |_: &Lua, (name, params, then): (String, Value, Function)| {
        run(&calls, &name, &params, Then::Call(then)).map(drop)
    };
    server.raw_set("send_command", lua.create_function(start)?)?;
    let waits = desk.clone();
    let command = machine.waiting(move |lua, arguments| {
        let (name, params): (String, Value) = FromLuaMulti::from_lua_multi(arguments, lua)?;
        run(&waits, &name, &params, Then::Resume)?.into_lua(lua).map(one)
    })?;
    server.raw_set("command", command)?;
    let adding = desk.clone();
    let add = move |_: &Lua, (name, about, then): (String, Option<Table>, Function)| {
        add_command(&adding, name, about.as_ref(), then)
    };
    server.raw_set("add_command", lua.create_function(add)?)
}

/// Runs a command of the server. The script gets the reply as a table: status, description, data.
fn run(desk: &Rc<Desk>, name: &str, params: &Value, then: Then) -> mlua::Result<u64> {
    let params = match from_lua(params).map_err(mlua::Error::external)? {
        Json::Null => Map::new(),
        Json::Object(params) => params,
        Json::Array(list) if list.is_empty() => Map::new(),
        _ => return Err(mlua::Error::runtime("the parameters of a command must be a table with names")),
    };
    let (key, generation) = (desk.keep(then), desk.generation);
    let sent = desk.host.command_json(name, &params, desk.rights(name), move |app: &mut VmApp, reply| {
        let reply = match reply {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(error) => json!({ "status": "FAIL", "description": error.to_string() }),
        };
        app.on_values(generation, key, vec![reply]);
    });
    taken(desk, key, sent)
}

fn taken(desk: &Desk, key: u64, sent: Result<(), NotTaken>) -> mlua::Result<u64> {
    match sent {
        Ok(()) => Ok(key),
        Err(error) => {
            desk.thens.borrow_mut().remove(&key);
            Err(mlua::Error::runtime(format!("the server did not take it: {error}")))
        }
    }
}

/// Adds a command whose function gets the parameters and returns the data, or nil and a text. `about` may have
/// `description`, `read_only`, and `params`: a list of tables with `name`, `type`, `default`, `description`.
fn add_command(desk: &Rc<Desk>, name: String, about: Option<&Table>, then: Function) -> mlua::Result<bool> {
    let text = |table: &Table, key: &str| table.get::<Option<String>>(key).map(Option::unwrap_or_default);
    let description = about.map(|about| text(about, "description")).transpose()?.unwrap_or_default();
    let mut command = Command::new(name.clone(), description);
    if about.map(|about| about.get::<Option<bool>>("read_only")).transpose()?.flatten() == Some(true) {
        command = command.read_only();
    }
    let params = about.map(|about| about.get::<Option<Vec<Table>>>("params")).transpose()?.flatten();
    for param in params.into_iter().flatten() {
        let (param_name, about) = (text(&param, "name")?, text(&param, "description")?);
        let kind = match text(&param, "type")?.as_str() {
            "" | "text" => ParamKind::Text,
            "whole" => ParamKind::Whole,
            "number" => ParamKind::Number,
            "flag" => ParamKind::Flag,
            "list" => ParamKind::List,
            "json" => ParamKind::Json,
            other => return Err(mlua::Error::runtime(format!("{other:?} is no type of a parameter"))),
        };
        let default: Value = param.get("default")?;
        command = match default {
            Value::Nil => command.required(&param_name, kind, &about),
            value => {
                let default = from_lua(&value).map_err(mlua::Error::external)?;
                command.optional(&param_name, kind, default, &about)
            }
        };
    }
    desk.host.add_command(&command).map_err(mlua::Error::runtime)?;
    desk.commands.borrow_mut().insert(name.to_lowercase(), Added { command, then });
    Ok(true)
}

/// JSON as one value of Lua. Where a value stands alone, null is nil; within lists and tables it is `json.null`.
pub(crate) fn lua_value(lua: &Lua, value: &Json) -> mlua::Result<Value> {
    if value.is_null() {
        return Ok(Value::Nil);
    }
    to_lua(lua, value).map_err(mlua::Error::external)
}
