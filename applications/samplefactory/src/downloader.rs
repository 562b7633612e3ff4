//! The endpoint `downloader`: asks for one thing by HTTP, counts what comes, and tells the application.

use std::time::Instant;

use crtmp_plugin::layers::{
    Cx, Error, Event, HttpHead, HttpStart, Layer, PluginLayer, Port, StreamSlot, Value,
};
use serde_json::Map;

/// The command by which the application is told; its arguments are status and bytes.
pub(crate) const COMMAND: &str = "downloaded";

/// The endpoint of a connection.
pub struct Downloader {
    host: String,
    target: String,
    status: u16,
    bytes: u64,
}

impl PluginLayer for Downloader {
    const NAME: &'static str = "downloader";
    const FAR: Port = Port::Http;
    const NEAR: Port = Port::Server;
    const KEYS: &'static str = r#"{ "host": "text", "target": "text" }"#;

    fn new(keys: &Map<String, serde_json::Value>, _now: Instant) -> Result<Self, String> {
        let text = |key: &str| keys.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        let host = text("host").ok_or("`host` says whom to ask")?;
        let target = text("target").unwrap_or_else(|| "/".to_owned());
        Ok(Self { host, target, status: 0, bytes: 0 })
    }
}

impl Layer for Downloader {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.out().begin(HttpHead::request("GET", &self.target).with("host", &self.host));
        cx.out().end();
        Ok(())
    }

    fn on_head(&mut self, head: &HttpHead, _cx: &mut Cx<'_>) -> Result<(), Error> {
        if let HttpStart::Response { status } = head.start {
            self.status = status;
        }
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], _cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        Ok(data.len())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        // A number of the protocols has 53 bits.
        let args = vec![Value::Number(self.status.into()), Value::Number(self.bytes as f64)];
        let (slot, command) = (StreamSlot(0), COMMAND.to_owned());
        cx.emit(Event::Message { request: None, slot, command, args });
        cx.close(Error::peer("downloader", "the download is complete"));
        Ok(())
    }
}
