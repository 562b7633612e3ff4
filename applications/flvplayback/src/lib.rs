//! The media application: whoever connects may publish and play.
//!
//! There is nothing to decide that the server does not decide itself (a stream must have a name, and a place among
//! the limits), so no hook is there and the server does not even ask.

#![forbid(unsafe_code)]

use crtmp_plugin::{App, Hooks, Host, NoSettings, export_plugin};

/// The application; it remembers nothing.
pub struct FlvPlayback;

impl App for FlvPlayback {
    const NAME: &'static str = "flvplayback";
    const HOOKS: Hooks = Hooks::NONE;
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
}

export_plugin!(name: "flvplayback", apps: [FlvPlayback]);

#[cfg(test)]
mod tests {
    use crtmp_plugin::testing::FakeHost;

    use super::*;

    #[test]
    fn there_are_no_settings() {
        let failure = FakeHost::new::<FlvPlayback>(r#"{"speed":1}"#).err().unwrap();
        assert_eq!(failure.to_string(), "unknown setting `speed`; there are no settings");
    }
}
