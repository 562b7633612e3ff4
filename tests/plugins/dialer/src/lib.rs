//! An application that connects to other servers for its clients: `dial <address> <keys as JSON text> <stream> <name here>`
//! pulls a stream of the application `live` there. What those servers ask of it stands in the log.

use crtmp_plugin::{
    App, Conn, ConnId, Hooks, Host, Message, NoSettings, NotTaken, Pull, Reply, RequestId, export_plugin,
};
use serde_json::{Map, Value, json};

/// The application.
pub struct Dialer {
    host: Host,
}

/// What a client asks for.
struct Wish {
    request: RequestId,
    address: String,
    pull: Pull,
}

impl App for Dialer {
    const NAME: &'static str = "dialer";
    const HOOKS: Hooks = Hooks::MESSAGE;
    type Settings = NoSettings;

    fn new(host: Host, _: NoSettings) -> Result<Self, String> {
        Ok(Self { host })
    }

    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        if let Some(asked) = message.reconnect_request(conn) {
            let (text, url) = (asked.description, asked.url.unwrap_or_default());
            self.host.info(format_args!("asked to connect again: {text}, at {url}"));
            return Reply::Ignore;
        }
        let args = message.args();
        let texts: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        let ("dial", [address, keys, stream, local]) = (message.name, texts.as_slice()) else {
            return Reply::Ignore;
        };
        let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
        let pull = Pull::new(*stream).under(*local);
        let wish = Wish { request: message.request, address: (*address).to_owned(), pull };
        let asked = self.host.connect(address, "", &keys, move |dialer: &mut Self, made| match made {
            Ok(far) => dialer.connect(far, wish),
            Err(error) => dialer.say(wish.request, Err(error.to_string())),
        });
        said(asked)
    }
}

impl Dialer {
    fn connect(&self, far: ConnId, wish: Wish) {
        let object = json!({ "app": "live", "tcUrl": format!("{}/live", wish.address) });
        let object = object.as_object().cloned().unwrap_or_default();
        let request = wish.request;
        let asked =
            self.host.rtmp_connect(far, &object, move |dialer: &mut Self, connected| match connected {
                Ok(_) => dialer.pull(far, &wish),
                Err(error) => dialer.say(request, Err(error.to_string())),
            });
        if let Err(error) = asked {
            self.say(request, Err(error.to_string()));
        }
    }

    fn pull(&self, far: ConnId, wish: &Wish) {
        let request = wish.request;
        let asked = self.host.pull(far, &wish.pull, move |dialer: &mut Self, pulled| {
            dialer.say(request, pulled.map(|_| ()).map_err(|error| error.to_string()));
        });
        if let Err(error) = asked {
            self.say(request, Err(error.to_string()));
        }
    }

    fn say(&self, request: RequestId, outcome: Result<(), String>) {
        let reply = match outcome {
            Ok(()) => Reply::Result("it is here".into()),
            Err(text) => Reply::Result(format!("not to be had: {text}").into()),
        };
        // Gone: the client has left.
        let _ = self.host.respond(request, reply);
    }
}

fn said(asked: Result<(), NotTaken>) -> Reply {
    match asked {
        Ok(()) => Reply::Later,
        Err(error) => Reply::error("Call.Failed", &error.to_string()),
    }
}

export_plugin!(name: "dialer", apps: [Dialer]);
