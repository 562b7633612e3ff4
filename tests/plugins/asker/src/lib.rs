//! An application that runs commands of the server for its clients: `ask <command> <parameters as JSON text>`.
//!
//! It also adds two commands of its own: `addAskerEntry` and `listAskerEntries`.

use crtmp_plugin::{
    App, CallError, Command, CommandCall, Conn, Hooks, Host, Message, ParamKind, Reply, Rights, export_plugin,
};
use serde_json::{Map, Value, json};

/// The application.
pub struct Asker {
    host: Host,
    entries: Vec<Value>,
}

impl App for Asker {
    const NAME: &'static str = "asker";
    const HOOKS: Hooks = Hooks::MESSAGE.and(Hooks::COMMAND);
    /// Whatever a test sets.
    type Settings = Map<String, Value>;

    fn new(host: Host, _settings: Map<String, Value>) -> Result<Self, String> {
        let add = Command::new("addAskerEntry", "Adds an entry.")
            .required("name", ParamKind::Text, "one to 32 small letters")
            .optional("count", ParamKind::Whole, json!(1), "how many")
            .optional("ratio", ParamKind::Number, json!(0.5), "of what")
            .optional("on", ParamKind::Flag, json!(true), "whether it counts")
            .optional("tags", ParamKind::List, json!([]), "what it is like");
        host.add_command(&add)?;
        host.add_command(&Command::new("listAskerEntries", "Lists what was added.").read_only())?;
        Ok(Self { host, entries: Vec::new() })
    }

    fn on_message(&mut self, _conn: &Conn<'_>, message: Message<'_>) -> Reply {
        let args = message.args();
        let texts: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        let ("ask", [command, params]) = (message.name, texts.as_slice()) else { return Reply::Ignore };
        let Ok(Value::Object(params)) = serde_json::from_str(params) else {
            return Reply::error("Call.Failed", "the parameters are no JSON object");
        };
        let request = message.request;
        let done = move |asker: &mut Self, reply: Result<String, CallError>| {
            let reply = match reply {
                Ok(text) => Reply::Result(text.into()),
                Err(error) => Reply::error("Call.Failed", &error.to_string()),
            };
            // Gone: the client has left.
            let _ = asker.host.respond(request, reply);
        };
        match self.host.command_json(command, &params, Rights::All, done) {
            Ok(()) => Reply::Later,
            Err(error) => Reply::error("Call.Failed", &error.to_string()),
        }
    }

    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        if call.name == "listAskerEntries" {
            return Reply::Result(self.entries.clone().into());
        }
        let entry = call.params();
        let name = entry["name"].as_str().unwrap_or_default();
        if !(1..=32).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Reply::error("Call.Failed", "`name` must be 1 to 32 small letters");
        }
        self.entries.push(entry.into());
        Reply::Result(self.entries.len().into())
    }
}

export_plugin!(name: "asker", apps: [Asker]);
