//! The default application: gives a connection to the application that its connect request names.
//!
//! `rtmp://host/live/room1?token=x` asks for the application `live`, by name or alias; `room1` is the instance and
//! the application's own business. This application is never the last owner of a connection.

#![forbid(unsafe_code)]

use crtmp_plugin::{App, AppPath, Conn, Hooks, Host, NoSettings, RequestId, Verdict, export_plugin};

/// The application; it remembers nothing.
pub struct AppSelector;

impl App for AppSelector {
    const NAME: &'static str = "appselector";
    const HOOKS: Hooks = Hooks::CONNECT;
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_connect(&mut self, conn: &Conn<'_>, _request: RequestId) -> Verdict {
        match AppPath::split(conn.app()).application {
            "" => Verdict::reject("NetConnection.Connect.InvalidApp", "the address names no application"),
            // The server knows names and aliases, and refuses what it does not find.
            name => Verdict::hand_to(name),
        }
    }
}

export_plugin!(name: "appselector", apps: [AppSelector]);

#[cfg(test)]
mod tests {
    use crtmp_plugin::testing::{FakeHost, conn};

    use super::*;

    fn select(app: &str) -> Verdict {
        FakeHost::new::<AppSelector>("{}").unwrap().connect(&conn(1, app))
    }

    #[test]
    fn the_first_segment_names_the_application() {
        for app in ["live", "live/", "live?user=me", "live/?user=a/b", "live/room1", "/live/room1/x?y"] {
            assert_eq!(select(app), Verdict::hand_to("live"), "{app:?}");
        }
        assert_eq!(select("Live"), Verdict::hand_to("Live"), "case is kept");
    }

    #[test]
    fn no_name_is_refused() {
        for app in ["", "/", "?user=me"] {
            let Verdict::Reject { code, .. } = select(app) else { panic!("{app:?} was let in") };
            assert_eq!(code, "NetConnection.Connect.InvalidApp");
        }
    }

    #[test]
    fn there_are_no_settings() {
        let failure = FakeHost::new::<AppSelector>(r#"{"speed":1}"#).err().unwrap();
        assert_eq!(failure.to_string(), "unknown setting `speed`; there are no settings");
    }
}
