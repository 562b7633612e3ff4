//! What both versions do.

use crtmp_plugin::{
    App, Command, CommandCall, Conn, Hooks, Host, Message, NoSettings, Reply, RequestId, Verdict,
};

/// The application in its version `V`.
pub(crate) struct Versioned<const V: u64> {
    connections: u64,
}

impl<const V: u64> App for Versioned<V> {
    const NAME: &'static str = "versioned";
    const HOOKS: Hooks = Hooks::CONNECT.and(Hooks::MESSAGE).and(Hooks::CLOSE);
    type Settings = NoSettings;

    fn new(host: Host, _settings: NoSettings) -> Result<Self, String> {
        host.add_command(&Command::new("whichVersion", "Says which version answers commands.").read_only())?;
        Ok(Self { connections: 0 })
    }

    fn on_connect(&mut self, _conn: &Conn<'_>, _request: RequestId) -> Verdict {
        self.connections += 1;
        Verdict::Accept
    }

    fn on_message(&mut self, _conn: &Conn<'_>, message: Message<'_>) -> Reply {
        assert_ne!(message.name, "panic", "as ordered");
        Reply::Result(format!("version {V}").into())
    }

    fn on_close(&mut self, _conn: &Conn<'_>, _reason: &str) {
        self.connections -= 1;
    }

    fn on_command(&mut self, _call: CommandCall<'_>) -> Reply {
        Reply::ResultValues(vec![V.into(), self.connections.into()])
    }
}
