//! An application that accepts every connection by itself: what a decision costs, for the benchmark.

use crtmp_plugin::{App, Conn, Hooks, Host, NoSettings, RequestId, Verdict, export_plugin};

/// The application.
pub struct Decides;

impl App for Decides {
    const NAME: &'static str = "decides";
    const HOOKS: Hooks = Hooks::CONNECT;
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_connect(&mut self, _conn: &Conn<'_>, _request: RequestId) -> Verdict {
        Verdict::Accept
    }
}

export_plugin!(name: "decides", apps: [Decides]);
