//! Tests of a script, in the script itself: functions whose names begin with `test_`, and the table `test` to drive
//! hooks with.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crtmp_plugin::{Answer, Reply, Verdict};
use mlua::{Lua, MultiValue, Table, Value};
use serde_json::{Value as Json, json};

use super::{Returned, VmApp, answer_of};
use crate::api::lua_value;
use crate::desk::{Asked, Desk, Open, TEST_REQUESTS};
use crate::vm::{Machine, Outcome};

/// The part in Lua: hooks are called by Lua, so that they may wait like anywhere.
const DRIVER: &str = include_str!("driver.lua");

/// Puts the table `test` where scripts find it.
pub(super) fn install(machine: &Machine, desk: &Rc<Desk>, meta: &Table) -> mlua::Result<()> {
    let lua = machine.lua();
    let next = Rc::new(Cell::new(TEST_REQUESTS));
    let number = {
        let next = next.clone();
        move || next.replace(next.get() + 1)
    };
    let (clients, meta, numbers) = (desk.clone(), meta.clone(), number.clone());
    let new_client = lua.create_function(move |lua, fields: Option<Table>| {
        let client = lua.create_table()?;
        let id = numbers();
        for (key, value) in [
            ("app", "test"),
            ("peer", "192.0.2.1:1935"),
            ("address", "192.0.2.2:1935"),
            ("chain", "inboundRtmp"),
        ] {
            client.raw_set(key, value)?;
        }
        for pair in fields.iter().flat_map(Table::pairs::<Value, Value>) {
            let (key, value) = pair?;
            client.raw_set(key, value)?;
        }
        client.raw_set("id", id)?;
        client.raw_set("client_id", id)?;
        client.set_metatable(Some(meta.clone()))?;
        clients.clients.borrow_mut().insert(id, client.clone());
        Ok(client)
    })?;
    let opens = desk.clone();
    let begin = lua.create_function(move |_, (kind, client): (String, Table)| {
        let asked = match kind.as_str() {
            "accept" => Asked::Accept,
            "connect" => Asked::Connect,
            "publish" => Asked::Publish,
            "play" => Asked::Play,
            "shared_object" => Asked::SharedObject,
            _ => Asked::Message,
        };
        let request = number();
        opens.open.borrow_mut().insert(request, Open { asked, conn: client.raw_get("id")? });
        Ok(request)
    })?;
    let answers = desk.clone();
    let end = lua.create_function(move |lua, mut values: MultiValue| {
        let request = match values.pop_front() {
            Some(Value::Integer(request)) => u64::try_from(request).unwrap_or_default(),
            _ => 0,
        };
        shown(lua, &answers, request, &values)
    })?;
    let forgets = desk.clone();
    let forget = lua.create_function(move |_, client: Table| {
        let conn = crtmp_plugin::ConnId(client.raw_get("id")?);
        let own = forgets.listener(conn, "on_close");
        forgets.forget(conn);
        Ok(own)
    })?;
    let answers = desk.clone();
    let own = lua.create_function(move |_, (client, command): (Table, String)| {
        Ok(answers.answers_command(crtmp_plugin::ConnId(client.raw_get("id")?), &command))
    })?;
    let driver: Table = lua.load(DRIVER).set_name("=[test]").call((new_client, begin, end, forget, own))?;
    lua.globals().raw_set("test", driver)
}

/// How a request was answered: a table, or nil while it is not.
fn shown(lua: &Lua, desk: &Desk, request: u64, returned: &MultiValue) -> mlua::Result<Value> {
    let asked = desk.open.borrow().get(&request).map(|open| open.asked);
    if let Some(asked) = asked {
        match answer_of(asked, returned).map_err(mlua::Error::runtime)? {
            Some(Returned::Verdict(verdict)) => drop(desk.answer(request, &[asked], verdict)),
            Some(Returned::Reply(reply)) => drop(desk.answer(request, &[asked], reply)),
            None => {}
        }
    }
    let answer = desk.answers.as_ref().and_then(|answers| answers.borrow().get(&request).cloned());
    let json = match answer {
        None => return Ok(Value::Nil),
        Some(Answer::Verdict(verdict)) => match verdict {
            Verdict::Accept | Verdict::Later => json!({ "accepted": true }),
            Verdict::AcceptAs(name) => json!({ "accepted": true, "name": name }),
            Verdict::HandTo(application) => json!({ "accepted": true, "application": application }),
            Verdict::Reject { code, text } => json!({ "accepted": false, "code": code, "text": text }),
            Verdict::Redirect(url) => json!({ "accepted": false, "url": url }),
        },
        Some(Answer::Reply(reply)) => match reply {
            Reply::Result(value) => json!({ "flag": "_result", "values": [value] }),
            Reply::Error(value) => json!({ "flag": "_error", "values": [value] }),
            Reply::ResultValues(values) => json!({ "flag": "_result", "values": values }),
            Reply::ErrorValues(values) => json!({ "flag": "_error", "values": values }),
            Reply::Ignore | Reply::Later => return Ok(Value::Nil),
        },
    };
    lua_value(lua, &json)
}

impl VmApp {
    /// Runs all tests; each is a name, and a text if it failed.
    pub(super) fn run_tests(&mut self) -> Json {
        let mut names: Vec<String> = self
            .script
            .machine
            .lua()
            .globals()
            .pairs::<Value, Value>()
            .filter_map(|pair| match pair {
                Ok((Value::String(name), Value::Function(_))) => Some(name.to_string_lossy()),
                _ => None,
            })
            .filter(|name| name.starts_with("test_"))
            .collect();
        names.sort();
        let run = |name: String| {
            let fault = match self.script.machine.call(Instant::now(), &name, MultiValue::new()) {
                Outcome::Done(_) => Json::Null,
                Outcome::Cut(cut) => cut.to_string().into(),
                Outcome::Failed(fault) => fault.to_string().into(),
                Outcome::Refused(refused, _) => refused.to_string().into(),
                Outcome::Waits(_) => "it waits for something that does not come in a test".into(),
            };
            json!({ "name": name, "fault": fault })
        };
        names.into_iter().map(run).collect()
    }
}
