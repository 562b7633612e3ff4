//! The default application: gives a connection to the application that its connect request names.
//!
//! `rtmp://host/live/room1?token=x` asks for the application `live`, by name or alias; `room1` is the instance and
//! the application's own business. The server knows names and aliases and resolves them itself; that this application
//! takes no connection of its own is all that it has to say. An application that wants to choose by other things than
//! names takes its place and answers `on_connect` with `Verdict::hand_to`.

#![forbid(unsafe_code)]

use crtmp_plugin::{App, Hooks, Host, NoSettings, export_plugin};

/// The application; it remembers nothing.
pub struct AppSelector;

impl App for AppSelector {
    const NAME: &'static str = "appselector";
    const HOOKS: Hooks = Hooks::NONE;
    const SELECTS: bool = true;
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
}

export_plugin!(name: "appselector", apps: [AppSelector]);

#[cfg(test)]
mod tests {
    use crtmp_plugin::testing::FakeHost;

    use super::*;

    #[test]
    fn there_are_no_settings() {
        let failure = FakeHost::new::<AppSelector>(r#"{"speed":1}"#).err().unwrap();
        assert_eq!(failure.to_string(), "unknown setting `speed`; there are no settings");
    }
}
