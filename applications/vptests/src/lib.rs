//! Answers every variant with itself: the application of crtmpserver that tests the variant protocols.
//!
//! It serves the chains `inboundXmlVariant`, `inboundBinVariant`, `inboundJsonVariant` and their forms over HTTP. The
//! value comes as JSON to applications, so that dates come back as numbers and bytes as text.

#![forbid(unsafe_code)]

use crtmp_plugin::{App, Conn, Hooks, Host, Message, NoSettings, Reply, RequestId, Verdict, export_plugin};

/// The command under which a variant comes.
const COMMAND: &str = "variant";

/// The application; it remembers nothing.
pub struct VpTests;

impl App for VpTests {
    const NAME: &'static str = "vptests";
    const HOOKS: Hooks = Hooks::CONNECT.and(Hooks::MESSAGE);
    type Settings = NoSettings;

    fn new(_host: Host, _settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn on_connect(&mut self, conn: &Conn<'_>, _request: RequestId) -> Verdict {
        if conn.chain().ends_with("Variant") {
            Verdict::Accept
        } else {
            Verdict::refuse("this application answers variants, and nothing else")
        }
    }

    fn on_message(&mut self, _conn: &Conn<'_>, message: Message<'_>) -> Reply {
        match message.args().pop() {
            Some(value) if message.name == COMMAND => Reply::Result(value),
            _ => Reply::Ignore,
        }
    }
}

export_plugin!(name: "vptests", apps: [VpTests]);

#[cfg(test)]
mod tests {
    use crtmp_plugin::testing::{FakeHost, conn};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_comes_goes_back() {
        let mut host = FakeHost::new::<VpTests>("{}").unwrap();
        let mut peer = conn(1, "");
        peer.chain = "inboundJsonVariant".to_owned();
        assert_eq!(host.connect(&peer), Verdict::Accept);
        let value = json!({ "list": [1, null, "grün"], "half": 0.5 });
        assert_eq!(host.message(&peer, "variant", std::slice::from_ref(&value)), Reply::Result(value));
        assert_eq!(host.message(&peer, "variant", &[]), Reply::Ignore);
        assert_eq!(host.message(&peer, "other", &[json!(1)]), Reply::Ignore);
    }

    #[test]
    fn streams_are_not_for_it() {
        let mut host = FakeHost::new::<VpTests>("{}").unwrap();
        let mut peer = conn(1, "vptests");
        peer.chain = "inboundRtmp".to_owned();
        assert!(matches!(host.connect(&peer), Verdict::Reject { .. }));
    }
}
