//! A sample of what a plugin can bring: layers, chains, a filter, and an application that uses them.
//!
//! | what | where |
//! |---|---|
//! | the endpoint `echo`, for the chains `echoProtocol` and `httpEchoProtocol` | [`echo`](Echo) |
//! | the endpoint `downloader`, for the chain `httpDownload` | [`downloader`](Downloader) |
//! | the filter `dropThird` | [`drop_third`](DropThird) |
//! | an application that connects out, and publishes a file | [`SampleFactory`] |
//!
//! Start reading with [`SampleFactory`].

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

mod downloader;
mod drop_third;
mod echo;
mod flv;
mod publisher;

use std::collections::HashMap;

use crtmp_plugin::layers::chain;
use crtmp_plugin::{
    App, CallError, Conn, ConnId, Hooks, Host, Message, Reply, RequestId, SourceId, export_plugin,
};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use crate::downloader::Downloader;
pub use crate::drop_third::DropThird;
pub use crate::echo::Echo;
pub use crate::publisher::PublishFile;
use crate::publisher::Publisher;

/// Downloads at once.
const DOWNLOADS: usize = 16;

/// The chain of a download.
const DOWNLOAD_CHAIN: &str = "httpDownload";

/// The settings of the application.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Hosts, with their ports where they are not 80, that a line `GET http://host:port/path` may download from.
    download_from: Vec<String>,
    /// A file to publish.
    publish_file: Option<PublishFile>,
}

/// The application.
pub struct SampleFactory {
    host: Host,
    settings: Settings,
    /// Downloads that connect.
    connecting: usize,
    /// Those that are connected, and the lines that they answer.
    downloads: HashMap<ConnId, RequestId>,
    publishing: Option<Publisher>,
}

impl App for SampleFactory {
    const NAME: &'static str = "samplefactory";
    const HOOKS: Hooks = Hooks::MESSAGE.and(Hooks::CLOSE);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        Self::validate(&settings)?;
        if let Some(what) = &settings.publish_file
            && host.publish(&what.name).is_none()
        {
            return Err(format!("{:?} cannot be published: the server is ending", what.name));
        }
        Ok(Self { host, settings, connecting: 0, downloads: HashMap::new(), publishing: None })
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        settings.publish_file.as_ref().map_or(Ok(()), PublishFile::check)
    }

    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        let args = message.args();
        match message.name {
            // The response is on its way before the download is: there is nowhere to answer.
            echo::COMMAND if conn.chain() != "echoProtocol" => Reply::Result("".into()),
            echo::COMMAND => {
                let line = args.first().and_then(Value::as_str).unwrap_or_default();
                match self.download(line, message.request) {
                    Ok(()) => Reply::Later,
                    Err(text) => Reply::error("Download.Failed", &text),
                }
            }
            downloader::COMMAND => {
                let number = |at: usize| args.get(at).and_then(Value::as_f64).unwrap_or_default();
                self.downloaded(conn, number(0), number(1));
                Reply::Result(Value::Null)
            }
            _ => Reply::Ignore,
        }
    }

    fn on_close(&mut self, conn: &Conn<'_>, reason: &str) {
        if let Some(request) = self.downloads.remove(&conn.id()) {
            self.answer(request, Reply::error("Download.Failed", &format!("the download ended: {reason}")));
        }
    }

    fn on_source(&mut self, source: SourceId, state: Result<(), &str>) {
        let Some(what) = self.settings.publish_file.clone() else { return };
        match state {
            Ok(()) => match Publisher::start(self.host.clone(), source, what) {
                Ok(publisher) => self.publishing = Some(publisher),
                Err(error) => {
                    self.host.error(format_args!("no thread to publish a file: {error}"));
                    self.host.end_source(source);
                }
            },
            Err(reason) => {
                self.host.info(format_args!("{:?} is not published any more: {reason}", what.name));
                self.publishing = None;
            }
        }
    }
}

impl SampleFactory {
    /// Begins the download that a line asks for.
    fn download(&mut self, line: &str, request: RequestId) -> Result<(), String> {
        let (host, target) = address(line).ok_or("a download is asked for by GET http://host:port/path")?;
        if !self.settings.download_from.iter().any(|allowed| allowed == host) {
            return Err(format!("downloads from {host:?} are not allowed: see `downloadFrom`"));
        }
        if self.connecting + self.downloads.len() >= DOWNLOADS {
            return Err(format!("there are {DOWNLOADS} downloads already"));
        }
        let address = if has_port(host) { host.to_owned() } else { format!("{host}:80") };
        let mut keys = Map::new();
        keys.insert("host".to_owned(), host.into());
        keys.insert("target".to_owned(), target.into());
        let then = move |this: &mut Self, made: Result<ConnId, CallError>| {
            this.connecting -= 1;
            match made {
                Ok(conn) => drop(this.downloads.insert(conn, request)),
                Err(error) => this.answer(request, Reply::error("Download.Failed", &error.to_string())),
            }
        };
        let asked = self.host.connect(&address, DOWNLOAD_CHAIN, &keys, then);
        asked.map_err(|error| error.to_string())?;
        self.connecting += 1;
        Ok(())
    }

    fn downloaded(&mut self, conn: &Conn<'_>, status: f64, bytes: f64) {
        let text = format!("DOWNLOADED status {status}, {bytes} bytes");
        self.host.info(format_args!("{} from {}", text.to_lowercase(), conn.peer()));
        if let Some(request) = self.downloads.remove(&conn.id()) {
            self.answer(request, Reply::Result(text.into()));
        }
    }

    fn answer(&self, request: RequestId, reply: Reply) {
        // Gone: who has asked has left.
        let _ = self.host.respond(request, reply);
    }
}

/// The host (with its port) and the target of a line `GET http://host:port/path`.
fn address(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("GET http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, target) = rest.split_at(at);
    let target = if target.is_empty() { "/" } else { target };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (!host.is_empty() && plain(host) && plain(target)).then_some((host, target))
}

fn has_port(host: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

export_plugin!(
    name: "samplefactory",
    apps: [SampleFactory],
    layers: [Echo, Downloader],
    chains: [
        chain("echoProtocol", "echo"),
        chain("httpEchoProtocol", "http httpbody echo"),
        chain("httpDownload", "outboundHttp downloader"),
    ],
    filters: [DropThird],
);

#[cfg(test)]
mod tests;
