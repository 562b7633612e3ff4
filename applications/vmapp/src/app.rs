//! The application: hooks become calls of the script, and what the script returns or waits for becomes answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crtmp_plugin::{
    App, CommandCall, Conn, ConnId, Ended, Hooks, Host, MediaKind, Message, Metadata, Play, Pong, Publish,
    Reply, RequestId, SharedObject, Stream, TappedFrame, TimerId, Verdict,
};
use mlua::{IntoLua, Lua, MultiValue, Table, Value};
use serde::Deserialize;
use serde_json::Value as Json;

use self::complaints::Complaints;
use crate::desk::{Asked, Desk, Open, Then};
use crate::vm::{Limits, Machine, Outcome, Task, from_lua, to_lua};
use crate::{api, client};

mod complaints;
mod reload;
mod testing;

/// The timer that looks whether the file has changed. Timers of scripts have other numbers.
const WATCH: TimerId = TimerId(0);

/// How often it looks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// The settings of the application.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// The file with the script. A relative path starts at the folder in which the server was started.
    script: PathBuf,
    /// Instructions of one call.
    call_instructions: u64,
    /// Instructions of all calls within a second; further calls are refused until the next one.
    second_instructions: u64,
    /// Milliseconds of one call.
    call_time_ms: u64,
    /// Bytes of memory.
    memory_bytes: usize,
    /// Calls that wait for something.
    tasks: usize,
    /// Commands of the server that the script may run although they change something.
    commands: Vec<String>,
    /// Whether a changed file is loaded by itself.
    watch: bool,
    /// Runs the script's tests instead of serving: set by `crtmpserver --test-app`.
    test: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            script: PathBuf::new(),
            call_instructions: limits.call_instructions,
            second_instructions: limits.second_instructions,
            call_time_ms: u64::try_from(limits.call_time.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: limits.memory_bytes,
            tasks: limits.tasks,
            commands: Vec::new(),
            watch: true,
            test: false,
        }
    }
}

/// An application written in Lua.
pub struct VmApp {
    host: Host,
    settings: Settings,
    file: PathBuf,
    /// The file as it was when it was looked at last.
    seen: Option<(SystemTime, u64)>,
    generation: u64,
    script: Script,
    complaints: Complaints,
}

/// A script that runs, with all that belongs to it.
struct Script {
    machine: Machine,
    desk: Rc<Desk>,
    /// What the tables of clients have in common.
    meta: Table,
    /// Calls that wait, by the number of what they wait for.
    tasks: HashMap<u64, Waiting>,
}

struct Waiting {
    task: Task,
    /// The request that the call is about.
    request: Option<u64>,
}

impl App for VmApp {
    const NAME: &'static str = "vmapp";
    const HOOKS: Hooks = Hooks::ACCEPT
        .and(Hooks::CONNECT)
        .and(Hooks::PUBLISH)
        .and(Hooks::PLAY)
        .and(Hooks::MESSAGE)
        .and(Hooks::METADATA)
        .and(Hooks::UNPUBLISH)
        .and(Hooks::UNPLAY)
        .and(Hooks::CLOSE)
        .and(Hooks::CANCEL)
        .and(Hooks::PONG)
        .and(Hooks::STREAM)
        .and(Hooks::SHARED_OBJECT);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        let file = host.folder().join(&settings.script);
        let seen = reload::look(&file);
        let script = Script::start(&host, &settings, &file, 1, |_| Ok(()))?;
        let mut app =
            Self { host, settings, file, seen, generation: 1, script, complaints: Complaints::default() };
        app.offer_commands()?;
        if app.settings.watch && !app.settings.test {
            let set = app.host.set_timer(WATCH, WATCH_PERIOD, Some(WATCH_PERIOD));
            set.map_err(|error| format!("the timer that watches the script: {error}"))?;
        }
        app.call("on_load", None, |_| Ok(Vec::new()));
        Ok(app)
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        if settings.script.as_os_str().is_empty() {
            return Err("`script` is missing: the file with the script".to_owned());
        }
        for (name, value) in [
            ("callInstructions", settings.call_instructions),
            ("secondInstructions", settings.second_instructions),
            ("callTimeMs", settings.call_time_ms),
        ] {
            if value == 0 {
                return Err(format!("`{name}` must be at least 1"));
            }
        }
        Ok(())
    }

    fn on_accept(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        self.ask("on_accept", conn, request, Asked::Accept, |_| Ok(Vec::new()))
    }

    fn on_connect(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        let info = connect_info(conn);
        self.ask("on_connect", conn, request, Asked::Connect, |lua| Ok(vec![api::lua_value(lua, &info)?]))
    }

    fn on_publish(&mut self, conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        let Publish { request, name, query, .. } = request;
        self.ask("on_publish", conn, request, Asked::Publish, |lua| texts(lua, request, &[name, query]))
    }

    fn on_play(&mut self, conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        let Play { request, name, query, .. } = request;
        self.ask("on_play", conn, request, Asked::Play, |lua| texts(lua, request, &[name, query]))
    }

    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        if let Some(wish) = message.reconnect_request(conn)
            && self.hears(conn, "on_reconnect")
        {
            self.tell("on_reconnect", conn, |lua| {
                Ok(vec![wish.description.into_lua(lua)?, wish.url.into_lua(lua)?])
            });
            return Reply::Ignore;
        }
        let own = self.script.desk.answers_command(conn.id(), message.name);
        if own.is_none() && !self.script.machine.has("on_message") {
            return Reply::Ignore;
        }
        let (args, request) = (message.args(), message.request);
        let arguments = |lua: &Lua, names: &[&str]| {
            let mut values = texts(lua, request, names)?;
            for value in &args {
                values.push(api::lua_value(lua, value)?);
            }
            Ok(values)
        };
        match own {
            Some(own) => {
                let open = Open { asked: Asked::Message, conn: conn.id().0 };
                self.script.desk.open.borrow_mut().insert(request.0, open);
                let occasion = format!("a client's own function for {}", shown(message.name));
                self.call_function(&occasion, own, Some(request.0), |lua| arguments(lua, &[]));
            }
            None => drop(
                self.ask("on_message", conn, request, Asked::Message, |lua| arguments(lua, &[message.name])),
            ),
        }
        if !message.wants_reply {
            // Nobody waits; whatever the script says later is dropped.
            self.script.desk.open.borrow_mut().remove(&request.0);
            return Reply::Ignore;
        }
        Reply::Later
    }

    fn on_shared_object(&mut self, conn: &Conn<'_>, object: SharedObject<'_>) -> Verdict {
        let SharedObject { request, name, persistent, wishes_json } = object;
        self.ask("on_shared_object", conn, request, Asked::SharedObject, |lua| {
            let wishes: Json = serde_json::from_str(wishes_json).unwrap_or_default();
            let mut values = texts(lua, request, &[name])?;
            values.extend([persistent.into_lua(lua)?, api::lua_value(lua, &wishes)?]);
            Ok(values)
        })
    }

    fn on_metadata(&mut self, conn: &Conn<'_>, metadata: Metadata<'_>) {
        let values = Json::Object(metadata.values());
        self.tell("on_metadata", conn, |lua| {
            Ok(vec![api::lua_value(lua, &values)?, metadata.name.into_lua(lua)?])
        });
    }

    fn on_unpublish(&mut self, conn: &Conn<'_>, stream: Stream<'_>) {
        self.tell("on_unpublish", conn, |lua| Ok(vec![stream.name.into_lua(lua)?]));
    }

    fn on_unplay(&mut self, conn: &Conn<'_>, stream: Stream<'_>) {
        let hook = if stream.why == Ended::BySource { "on_play_stop" } else { "on_unplay" };
        self.tell(hook, conn, |lua| Ok(vec![stream.name.into_lua(lua)?]));
    }

    fn on_close(&mut self, conn: &Conn<'_>, reason: &str) {
        let client = self.client(conn);
        let own = self.script.desk.listener(conn.id(), "on_close");
        self.script.desk.forget(conn.id());
        if let Some(own) = own {
            let occasion = "a client's own function for on_close";
            return self.call_function(occasion, own, None, |lua| Ok(vec![reason.into_lua(lua)?]));
        }
        let Ok(client) = client else { return };
        self.call("on_close", None, |lua| Ok(vec![Value::Table(client), reason.into_lua(lua)?]));
    }

    fn on_cancel(&mut self, _conn: &Conn<'_>, request: RequestId) {
        self.script.desk.open.borrow_mut().remove(&request.0);
    }

    fn on_pong(&mut self, conn: &Conn<'_>, pong: Pong) {
        let ms = u64::try_from(pong.rtt.as_millis()).unwrap_or(u64::MAX);
        self.tell("on_pong", conn, |lua| Ok(vec![ms.into_lua(lua)?, pong.received.into_lua(lua)?]));
    }

    fn on_frame(&mut self, conn: &Conn<'_>, tapped: TappedFrame<'_>) {
        let frame = tapped.frame;
        let kind = match frame.kind() {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Data => return,
        };
        let Some(then) = self.script.desk.taps.borrow().get(&conn.id().0).cloned() else { return };
        let arguments = |lua: &Lua| {
            let data = lua.create_string(frame.data())?;
            Ok(vec![
                kind.into_lua(lua)?,
                frame.dts().into_lua(lua)?,
                frame.is_sequence_header().into_lua(lua)?,
                frame.is_key().into_lua(lua)?,
                Value::String(data),
            ])
        };
        self.call_function("the function of enable_av_cb", then, None, arguments);
    }

    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        let client = self.script.desk.clients.borrow().get(&publisher.0).cloned();
        self.call("on_stream", None, |lua| {
            Ok(vec![name.into_lua(lua)?, live.into_lua(lua)?, client.into_lua(lua)?])
        });
    }

    fn on_timer(&mut self, timer: TimerId) {
        if timer == WATCH {
            return self.watch();
        }
        let timers = &self.script.desk.timers;
        let known = timers.borrow_mut().remove(&timer.0);
        let then = match known {
            Some(known) if known.repeats => {
                let again = match &known.then {
                    Then::Call(function) => Then::Call(function.clone()),
                    Then::Resume => Then::Resume,
                };
                timers.borrow_mut().insert(timer.0, known);
                again
            }
            Some(known) => known.then,
            None => return,
        };
        match then {
            Then::Call(function) => self.call_function("a timer", function, None, |_| Ok(Vec::new())),
            Then::Resume => self.resume(timer.0, |_| Ok(Vec::new())),
        }
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        if let Some(reply) = self.own_command(&call) {
            return reply;
        }
        let function =
            self.script.desk.commands.borrow().get(&call.name.to_lowercase()).map(|added| added.then.clone());
        let Some(function) = function else {
            return Reply::error("Call.Failed", "the script has this command no more");
        };
        let (request, params) = (call.request.0, Json::Object(call.params()));
        self.script.desk.open.borrow_mut().insert(request, Open { asked: Asked::Command, conn: 0 });
        let occasion = format!("the command {}", call.name);
        self.call_function(&occasion, function, Some(request), |lua| Ok(vec![api::lua_value(lua, &params)?]));
        Reply::Later
    }
}

impl VmApp {
    /// What a call of ours has brought, for the script that asked.
    pub(crate) fn on_values(&mut self, generation: u64, key: u64, values: Vec<Json>) {
        self.on_result(generation, key, |lua| {
            client::lua_values(lua, &values).map(|values| values.into_iter().collect())
        });
    }

    /// The same, with values that are made for the occasion.
    pub(crate) fn on_result(
        &mut self,
        generation: u64,
        key: u64,
        arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>,
    ) {
        if generation != self.generation {
            return;
        }
        let then = self.script.desk.thens.borrow_mut().remove(&key);
        match then {
            Some(Then::Call(function)) => {
                self.call_function("a function that waited for a result", function, None, arguments);
            }
            Some(Then::Resume) => self.resume(key, arguments),
            None => {}
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.script.desk
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The table of a connection that the script has made, to `peer`.
    pub(crate) fn made_client(&self, conn: ConnId, fields: &[(&'static str, String)]) -> mlua::Result<Table> {
        let Script { machine, desk, meta, .. } = &self.script;
        client::made(machine.lua(), meta, desk, conn, fields)
    }

    /// Asks the script. What it says at once, or later, goes to the server by itself.
    fn ask(
        &mut self,
        hook: &str,
        conn: &Conn<'_>,
        request: RequestId,
        asked: Asked,
        arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>,
    ) -> Verdict {
        if !self.script.machine.has(hook) {
            return Verdict::Accept;
        }
        let open = Open { asked, conn: conn.id().0 };
        self.script.desk.open.borrow_mut().insert(request.0, open);
        match self.client(conn) {
            Ok(client) => self.call(hook, Some(request.0), |lua| {
                let mut values = vec![Value::Table(client)];
                values.extend(arguments(lua)?);
                Ok(values)
            }),
            Err(error) => self.refuse(Some(request.0), &error.to_string()),
        }
        Verdict::Later
    }

    /// Tells the script something about a connection.
    fn tell(
        &mut self,
        hook: &str,
        conn: &Conn<'_>,
        arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>,
    ) {
        if let Some(own) = self.script.desk.listener(conn.id(), hook) {
            let occasion = format!("a client's own function for {hook}");
            return self.call_function(&occasion, own, None, arguments);
        }
        if !self.script.machine.has(hook) {
            return;
        }
        let Ok(client) = self.client(conn) else { return };
        self.call(hook, None, |lua| {
            let mut values = vec![Value::Table(client)];
            values.extend(arguments(lua)?);
            Ok(values)
        });
    }

    /// Whether the script has a function for this, of the client or for all.
    fn hears(&self, conn: &Conn<'_>, hook: &str) -> bool {
        self.script.desk.listener(conn.id(), hook).is_some() || self.script.machine.has(hook)
    }

    fn client(&self, conn: &Conn<'_>) -> mlua::Result<Table> {
        client::table(self.script.machine.lua(), &self.script.meta, &self.script.desk, conn)
    }

    /// Calls a function of the script by its name, if it is there.
    fn call(
        &mut self,
        name: &str,
        request: Option<u64>,
        arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>,
    ) {
        let machine = &mut self.script.machine;
        if !machine.has(name) {
            return;
        }
        let outcome = match arguments(machine.lua()) {
            Ok(values) => machine.call(Instant::now(), name, MultiValue::from_vec(values)),
            Err(error) => return self.fail(name, request, &error.to_string()),
        };
        self.settle(name, request, outcome);
    }

    /// Calls a function that the script has given.
    fn call_function(
        &mut self,
        occasion: &str,
        function: mlua::Function,
        request: Option<u64>,
        arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>,
    ) {
        let machine = &mut self.script.machine;
        let outcome = match arguments(machine.lua()) {
            Ok(values) => {
                machine.call_function(Instant::now(), occasion, function, MultiValue::from_vec(values))
            }
            Err(error) => return self.fail(occasion, request, &error.to_string()),
        };
        self.settle(occasion, request, outcome);
    }

    /// Goes on with a call that waits.
    fn resume(&mut self, key: u64, arguments: impl FnOnce(&Lua) -> mlua::Result<Vec<Value>>) {
        let Some(Waiting { task, request }) = self.script.tasks.remove(&key) else { return };
        let name = task.name().to_owned();
        let machine = &mut self.script.machine;
        let outcome = match arguments(machine.lua()) {
            Ok(values) => machine.resume(Instant::now(), task, MultiValue::from_vec(values)),
            Err(error) => return self.fail(&name, request, &error.to_string()),
        };
        self.settle(&name, request, outcome);
    }

    fn settle(&mut self, name: &str, request: Option<u64>, outcome: Outcome) {
        match outcome {
            Outcome::Done(values) => self.on_return(request, &values),
            Outcome::Waits(task) => {
                let key = match task.request().front() {
                    Some(Value::Integer(key)) => u64::try_from(*key).unwrap_or_default(),
                    _ => 0,
                };
                self.script.tasks.insert(key, Waiting { task, request });
            }
            Outcome::Cut(cut) => self.fail(name, request, &cut.to_string()),
            Outcome::Failed(fault) => self.fail(name, request, &fault.to_string()),
            Outcome::Refused(refused, task) => {
                // Dropped here, it is closed before the next call.
                drop(task);
                self.complain(&format!("{}: {refused}", self.file.display()));
                self.refuse(request, "the application is busy");
            }
        }
    }

    fn fail(&mut self, name: &str, request: Option<u64>, text: &str) {
        self.complain(&format!("{name}: {text}"));
        self.refuse(request, "the application failed");
    }

    /// Logs an error, unless the same one has just been logged.
    fn complain(&mut self, text: &str) {
        if let Some(text) = self.complaints.note(text, Instant::now()) {
            self.host.error(text);
        }
    }

    /// Refuses a request that has no answer yet.
    fn refuse(&self, request: Option<u64>, text: &str) {
        let Some(request) = request else { return };
        let asked = self.script.desk.open.borrow().get(&request).map(|open| open.asked);
        let _ = match asked {
            Some(asked @ (Asked::Message | Asked::Command)) => {
                self.script.desk.answer(request, &[asked], Reply::error("NetConnection.Call.Failed", text))
            }
            Some(asked) => self.script.desk.answer(request, &[asked], Verdict::refuse(text)),
            None => Ok(()),
        };
    }

    /// What a script returns is an answer, where one is still wanted: `true`; `false` and a text; another name.
    fn on_return(&mut self, request: Option<u64>, values: &MultiValue) {
        let Some(request) = request else { return };
        let Some(asked) = self.script.desk.open.borrow().get(&request).map(|open| open.asked) else { return };
        match answer_of(asked, values) {
            Ok(Some(Returned::Verdict(verdict))) => drop(self.script.desk.answer(request, &[asked], verdict)),
            Ok(Some(Returned::Reply(reply))) => drop(self.script.desk.answer(request, &[asked], reply)),
            Ok(None) => {}
            Err(text) => {
                self.complain(&format!("{}: {text}", self.file.display()));
                self.refuse(Some(request), "the application failed");
            }
        }
    }
}

/// What the values that a function returned say.
enum Returned {
    Verdict(Verdict),
    Reply(Reply),
}

fn answer_of(asked: Asked, values: &MultiValue) -> Result<Option<Returned>, String> {
    let text = |at: usize| match values.get(at) {
        Some(Value::String(text)) => text.to_string_lossy(),
        _ => String::new(),
    };
    let first = values.front();
    let json = |value: Option<&Value>| {
        value.map_or(Ok(Json::Null), |value| from_lua(value).map_err(|error| error.to_string()))
    };
    Ok(match (asked, first) {
        (Asked::Command, None | Some(Value::Nil)) if values.len() > 1 => {
            Some(Returned::Reply(Reply::error("Call.Failed", &text(1))))
        }
        (Asked::Command, value) => Some(Returned::Reply(Reply::Result(json(value)?))),
        // As in BLS, where a script that is told of a connection need not say anything.
        (Asked::Accept, None | Some(Value::Nil)) => Some(Returned::Verdict(Verdict::Accept)),
        (_, None | Some(Value::Nil)) => None,
        (Asked::Message, value) => Some(Returned::Reply(Reply::Result(json(value)?))),
        (_, Some(Value::Boolean(true))) => Some(Returned::Verdict(Verdict::Accept)),
        (_, Some(Value::Boolean(false))) => Some(Returned::Verdict(Verdict::reject(text(2), text(1)))),
        (Asked::Publish | Asked::Play, Some(Value::String(name))) => {
            Some(Returned::Verdict(Verdict::accept_as(name.to_string_lossy())))
        }
        (_, Some(other)) => {
            return Err(format!("a hook returned a {}, which is no answer", other.type_name()));
        }
    })
}

impl Script {
    /// Loads a file into a machine of its own; `prepare` is called before.
    fn start(
        host: &Host,
        settings: &Settings,
        file: &Path,
        generation: u64,
        prepare: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<Self, String> {
        let limits = Limits {
            call_instructions: settings.call_instructions,
            second_instructions: settings.second_instructions,
            memory_bytes: settings.memory_bytes,
            call_time: Duration::from_millis(settings.call_time_ms),
            tasks: settings.tasks,
        };
        let (log, shown) =
            (host.clone(), file.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let machine = Machine::new(limits, move |text| log.info(format_args!("{shown}: {text}")));
        let machine = machine.map_err(|fault| fault.to_string())?;
        let desk = Rc::new(Desk::new(host.clone(), generation, &settings.commands, settings.test));
        let failed = |error: mlua::Error| error.to_string();
        let meta = client::install(&machine, &desk).map_err(failed)?;
        api::install(&machine, &desk).map_err(failed)?;
        if settings.test {
            testing::install(&machine, &desk, &meta).map_err(failed)?;
        }
        let mut script = Self { machine, desk, meta, tasks: HashMap::new() };
        prepare(&mut script)?;
        script.machine.load(Instant::now(), file).map_err(|error| error.to_string())?;
        Ok(script)
    }
}

/// The number of a request, and texts.
fn texts(lua: &Lua, request: RequestId, texts: &[&str]) -> mlua::Result<Vec<Value>> {
    let mut values = vec![request.0.into_lua(lua)?];
    for text in texts {
        values.push(text.into_lua(lua)?);
    }
    Ok(values)
}

/// A name that a peer has given, for the log.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

/// What a peer said when it asked to connect.
fn connect_info(conn: &Conn<'_>) -> Json {
    let mut info = conn.extra();
    for (key, value) in [
        ("app", conn.app()),
        ("tcUrl", conn.tc_url()),
        ("swfUrl", conn.swf_url()),
        ("pageUrl", conn.page_url()),
        ("flashVer", conn.agent()),
    ] {
        info.insert(key.to_owned(), value.into());
    }
    Json::Object(info)
}

/// Puts plain data of one script into another.
fn carry_over(lua: &Lua, value: &Value) -> Option<Value> {
    from_lua(value).ok().and_then(|json| to_lua(lua, &json).ok())
}
