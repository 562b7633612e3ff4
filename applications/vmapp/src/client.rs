//! A connection, as scripts see it: a table with what it said of itself, fields of the script's own, and methods.
//!
//! The methods are those of a BLS client; see `docs/lua.md`.

use std::rc::Rc;

use crtmp_plugin::{Conn, ConnId, MediaKind, NotTaken, Reply, Verdict};
use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value, Variadic};
use serde_json::Value as Json;

use crate::app::VmApp;
use crate::desk::{Asked, Desk, Then};
use crate::remote;
use crate::vm::{Machine, from_lua};

/// Makes the metatable of clients.
pub(crate) fn install(machine: &Machine, desk: &Rc<Desk>) -> mlua::Result<Table> {
    let lua = machine.lua();
    let methods = lua.create_table()?;
    deciding(lua, &methods, desk)?;
    calling(machine, &methods, desk)?;
    watching(lua, &methods, desk)?;
    remote::install(machine, &methods, desk)?;
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__name", "client")?;
    meta.raw_set("__metatable", false)?;
    Ok(meta)
}

/// The table of a connection that the script has made; hooks will know it, too.
pub(crate) fn made(
    lua: &Lua,
    meta: &Table,
    desk: &Desk,
    conn: ConnId,
    fields: &[(&'static str, String)],
) -> mlua::Result<Table> {
    let client = known(lua, meta, desk, conn)?;
    for (name, value) in fields {
        client.raw_set(*name, value.as_str())?;
    }
    Ok(client)
}

fn known(lua: &Lua, meta: &Table, desk: &Desk, conn: ConnId) -> mlua::Result<Table> {
    let known = desk.clients.borrow().get(&conn.0).cloned();
    let client = match known {
        Some(client) => client,
        None => {
            let client = lua.create_table()?;
            client.set_metatable(Some(meta.clone()))?;
            desk.clients.borrow_mut().insert(conn.0, client.clone());
            client
        }
    };
    client.raw_set("id", conn.0)?;
    client.raw_set("client_id", conn.0)?;
    Ok(client)
}

/// The table of a connection: the one that the script knows, or a new one.
pub(crate) fn table(lua: &Lua, meta: &Table, desk: &Desk, conn: &Conn<'_>) -> mlua::Result<Table> {
    let client = known(lua, meta, desk, conn.id())?;
    // It says more when it connects than when it was accepted.
    for (key, value) in [
        ("chain", conn.chain()),
        ("peer", conn.peer()),
        ("address", conn.local()),
        ("app", conn.app()),
        ("instance", conn.instance()),
        ("query", conn.query()),
        ("tc_url", conn.tc_url()),
        ("swf_url", conn.swf_url()),
        ("page_url", conn.page_url()),
        ("agent", conn.agent()),
    ] {
        client.raw_set(key, value)?;
    }
    Ok(client)
}

/// accept, reject, publish, play, refuse, result.
fn deciding(lua: &Lua, methods: &Table, desk: &Rc<Desk>) -> mlua::Result<()> {
    let accept = {
        let desk = desk.clone();
        move |_: &Lua, (client, allow, code, text): (Table, Option<bool>, Option<String>, Option<String>)| {
            let verdict = match allow {
                None | Some(true) => Verdict::Accept,
                Some(false) => reject(code, text),
            };
            decide_connect(&desk, &client, verdict)
        }
    };
    methods.raw_set("accept", lua.create_function(accept)?)?;
    let rejecting = desk.clone();
    let function = move |_: &Lua, (client, code, text): (Table, Option<String>, Option<String>)| {
        decide_connect(&rejecting, &client, reject(code, text))
    };
    methods.raw_set("reject", lua.create_function(function)?)?;
    let redirecting = desk.clone();
    let function = move |_: &Lua, (client, url): (Table, String)| {
        decide_connect(&redirecting, &client, Verdict::redirect(url))
    };
    methods.raw_set("redirect", lua.create_function(function)?)?;
    let handing = desk.clone();
    let function = move |_: &Lua, (client, application): (Table, String)| {
        decide_connect(&handing, &client, Verdict::hand_to(application))
    };
    methods.raw_set("hand_to", lua.create_function(function)?)?;
    for (method, asked) in [("publish", Asked::Publish), ("play", Asked::Play)] {
        let desk = desk.clone();
        let function = move |_: &Lua, (_, request, name): (Table, u64, Option<String>)| {
            let verdict = name.map_or(Verdict::Accept, Verdict::accept_as);
            Ok(desk.answer(request, &[asked], verdict).is_ok())
        };
        methods.raw_set(method, lua.create_function(function)?)?;
    }
    let sharing = desk.clone();
    let function = move |_: &Lua, (_, request): (Table, u64)| {
        Ok(sharing.answer(request, &[Asked::SharedObject], Verdict::Accept).is_ok())
    };
    methods.raw_set("share", lua.create_function(function)?)?;
    let refusing = desk.clone();
    let function = move |_: &Lua, (_, request, text, code): (Table, u64, Option<String>, Option<String>)| {
        let verdict = Verdict::reject(code.unwrap_or_default(), text.unwrap_or_default());
        Ok(refusing.answer(request, &[Asked::Publish, Asked::Play, Asked::SharedObject], verdict).is_ok())
    };
    methods.raw_set("refuse", lua.create_function(function)?)?;
    let resulting = desk.clone();
    let function = move |_: &Lua, (_, flag, request, args): (Table, String, u64, Value)| {
        // As BLS: the values of the list follow the number of the call one by one, the first as command object.
        let values = match from_lua(&args).map_err(mlua::Error::external)? {
            Json::Array(values) => values,
            Json::Null => Vec::new(),
            Json::Object(map) if map.is_empty() => Vec::new(),
            single => vec![single],
        };
        let reply = match flag.as_str() {
            "_result" => Reply::ResultValues(values),
            "_error" => Reply::ErrorValues(values),
            _ => {
                return Err(mlua::Error::runtime(
                    "the first argument of result must be \"_result\" or \"_error\"",
                ));
            }
        };
        Ok(resulting.answer(request, &[Asked::Message], reply).is_ok())
    };
    methods.raw_set("result", lua.create_function(function)?)
}

fn reject(code: Option<String>, text: Option<String>) -> Verdict {
    Verdict::reject(code.unwrap_or_default(), text.unwrap_or_default())
}

/// Answers the connect that waits; false: there is none, or it has its answer.
fn decide_connect(desk: &Desk, client: &Table, verdict: Verdict) -> mlua::Result<bool> {
    let Some(request) = desk.waiting_connect(id(client)?.0) else { return Ok(false) };
    Ok(desk.answer(request, &[Asked::Accept, Asked::Connect], verdict).is_ok())
}

/// call, call_wait, close, is_closed, unpublish, unplay.
fn calling(machine: &Machine, methods: &Table, desk: &Rc<Desk>) -> mlua::Result<()> {
    let lua = machine.lua();
    let calls = desk.clone();
    let function = move |_: &Lua, (client, name, args, then): (Table, String, Value, Option<Function>)| {
        let (conn, args) = (id(&client)?, values(&args)?);
        match then {
            None => taken(calls.host.send(conn, &name, &args)),
            Some(then) => taken(call(&calls, conn, &name, &args, Then::Call(then)).map(drop)),
        }
    };
    methods.raw_set("call", lua.create_function(function)?)?;
    let waits = desk.clone();
    let function = machine.waiting(move |lua, arguments| {
        let (client, name, args): (Table, String, Value) =
            mlua::FromLuaMulti::from_lua_multi(arguments, lua)?;
        let (conn, args) = (id(&client)?, values(&args)?);
        call(&waits, conn, &name, &args, Then::Resume).map_err(mlua::Error::external)?.into_lua(lua).map(one)
    })?;
    methods.raw_set("call_wait", function)?;
    let closing = desk.clone();
    let function = move |_: &Lua, (client, code, text): (Table, Option<String>, Option<String>)| {
        let (code, text) = (code.unwrap_or_default(), text.unwrap_or_default());
        // Nothing is returned, so that `return client:close()` in a hook is no answer.
        let _ = closing.host.close(id(&client)?, &code, &text);
        Ok(())
    };
    methods.raw_set("close", lua.create_function(function)?)?;
    let known = desk.clone();
    let function = move |_: &Lua, client: Table| Ok(!known.clients.borrow().contains_key(&id(&client)?.0));
    methods.raw_set("is_closed", lua.create_function(function)?)?;
    let ending = desk.clone();
    let function = move |_: &Lua, client: Table| {
        let code = "NetStream.Unpublish.Success";
        Ok(ending.host.unpublish(id(&client)?, 0, code, "ended by the application").is_ok())
    };
    methods.raw_set("unpublish", lua.create_function(function)?)?;
    let ending = desk.clone();
    let function = move |_: &Lua, client: Table| {
        Ok(ending.host.unplay(id(&client)?, 0, "NetStream.Play.Stop", "ended by the application").is_ok())
    };
    methods.raw_set("unplay", lua.create_function(function)?)
}

/// Calls a command of a peer; gives the number under which its result comes.
pub(crate) fn call(
    desk: &Rc<Desk>,
    conn: ConnId,
    name: &str,
    args: &[Json],
    then: Then,
) -> Result<u64, NotTaken> {
    let key = desk.keep(then);
    let generation = desk.generation;
    let sent = desk.host.call(conn, name, args, move |app: &mut VmApp, result| {
        let values = match result {
            Ok(result) => {
                let flag = if result.ok { "_result" } else { "_error" };
                vec![flag.into(), Json::Array(result.args)]
            }
            Err(error) => vec!["_error".into(), Json::Array(vec![error.to_string().into()])],
        };
        app.on_values(generation, key, values);
    });
    if sent.is_err() {
        desk.thens.borrow_mut().remove(&key);
    }
    sent.map(|()| key)
}

/// get_aac_sh, get_avc_sh, enable_av_cb, disable_av_cb.
fn watching(lua: &Lua, methods: &Table, desk: &Rc<Desk>) -> mlua::Result<()> {
    for (method, kind) in [("get_aac_sh", MediaKind::Audio), ("get_avc_sh", MediaKind::Video)] {
        let desk = desk.clone();
        let function = move |lua: &Lua, client: Table| {
            let header = desk.host.sequence_header(id(&client)?, 0, kind);
            header.map(|header| lua.create_string(header.get().data())).transpose()
        };
        methods.raw_set(method, lua.create_function(function)?)?;
    }
    let enabling = desk.clone();
    let function = move |_: &Lua, (client, then): (Table, Function)| {
        let conn = id(&client)?;
        enabling.taps.borrow_mut().insert(conn.0, then);
        Ok(enabling.host.tap(conn, 0, true).is_ok())
    };
    methods.raw_set("enable_av_cb", lua.create_function(function)?)?;
    let disabling = desk.clone();
    let function = move |_: &Lua, client: Table| {
        let conn = id(&client)?;
        disabling.taps.borrow_mut().remove(&conn.0);
        Ok(disabling.host.tap(conn, 0, false).is_ok())
    };
    methods.raw_set("disable_av_cb", lua.create_function(function)?)
}

pub(crate) fn id(client: &Table) -> mlua::Result<ConnId> {
    let id: Option<u64> = client.raw_get("id")?;
    id.map(ConnId).ok_or_else(|| {
        mlua::Error::runtime("this is no client; call its methods with a colon: client:close()")
    })
}

/// The arguments of a call: a list, or nothing.
fn values(args: &Value) -> mlua::Result<Vec<Json>> {
    match from_lua(args).map_err(mlua::Error::external)? {
        Json::Array(values) => Ok(values),
        Json::Null => Ok(Vec::new()),
        Json::Object(map) if map.is_empty() => Ok(Vec::new()),
        _ => Err(mlua::Error::runtime("the arguments of a call must be a list: { {}, \"text\" }")),
    }
}

fn taken(sent: Result<(), NotTaken>) -> mlua::Result<bool> {
    Ok(sent.is_ok())
}

pub(crate) fn one(value: Value) -> MultiValue {
    MultiValue::from_iter([value])
}

/// JSON as values of Lua.
pub(crate) fn lua_values(lua: &Lua, values: &[Json]) -> mlua::Result<Variadic<Value>> {
    values.iter().map(|value| crate::api::lua_value(lua, value)).collect()
}
