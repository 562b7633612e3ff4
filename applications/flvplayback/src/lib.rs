//! The media application: whoever connects may publish and play.
//!
//! It decides only what the server cannot know: a stream must have a name. All other connects need no decision, so
//! the hook for them is absent and the server does not even ask.

#![forbid(unsafe_code)]

use crtmp_plugin::{App, Conn, Hooks, Host, NoSettings, Play, Publish, Verdict, export_plugin};

/// The application; it remembers nothing.
pub struct FlvPlayback;

impl App for FlvPlayback {
    const NAME: &'static str = "flvplayback";
    const HOOKS: Hooks = Hooks::PUBLISH.and(Hooks::PLAY);
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_publish(&mut self, _conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        if request.name.is_empty() {
            return Verdict::reject("NetStream.Publish.BadName", "a stream needs a name");
        }
        Verdict::Accept
    }

    fn on_play(&mut self, _conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        if request.name.is_empty() {
            return Verdict::reject("NetStream.Play.Failed", "a stream needs a name");
        }
        Verdict::Accept
    }
}

export_plugin!(name: "flvplayback", apps: [FlvPlayback]);

#[cfg(test)]
mod tests {
    use crtmp_plugin::testing::{FakeHost, conn};

    use super::*;

    #[test]
    fn streams_with_a_name_are_published_and_played() {
        let mut host = FakeHost::new::<FlvPlayback>("{}").unwrap();
        let conn = conn(1, "live");
        assert_eq!(host.publish(&conn, "news"), Verdict::Accept);
        assert_eq!(host.play(&conn, "news"), Verdict::Accept);
    }

    #[test]
    fn streams_without_a_name_are_not() {
        let mut host = FakeHost::new::<FlvPlayback>("{}").unwrap();
        let conn = conn(1, "live");
        let code = |verdict| match verdict {
            Verdict::Reject { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(host.publish(&conn, "")), "NetStream.Publish.BadName");
        assert_eq!(code(host.play(&conn, "")), "NetStream.Play.Failed");
    }
}
