//! An application that runs commands of the server for its clients: `ask <command> <parameters as JSON text>`.

use crtmp_plugin::{App, CallError, Conn, Hooks, Host, Message, NoSettings, Reply, Rights, export_plugin};
use serde_json::Value;

/// The application.
pub struct Asker {
    host: Host,
}

impl App for Asker {
    const NAME: &'static str = "asker";
    const HOOKS: Hooks = Hooks::MESSAGE;
    type Settings = NoSettings;

    fn new(host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self { host })
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
}

export_plugin!(name: "asker", apps: [Asker]);
