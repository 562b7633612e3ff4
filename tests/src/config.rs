//! Configurations for tests, as Lua text.

use std::fmt::Write as _;
use std::path::Path;

/// A configuration: the applications of the tree on a port of the system's choice, changed key by key.
///
/// Values are Lua text: `"5"`, `"true"`, `"\"reject\""`.
#[derive(Clone, Debug)]
pub struct Config {
    ip: String,
    port: u16,
    workers: u16,
    log_level: u8,
    top: Vec<(String, String)>,
    limits: Vec<(String, String)>,
    application: Vec<(String, String)>,
    acceptors: String,
    more: String,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// `appselector` on a loopback port, and `flvplayback`, also called `live`; one worker; everything logged.
    pub fn new() -> Self {
        Self {
            ip: "127.0.0.1".into(),
            port: 0,
            workers: 1,
            log_level: 6,
            top: Vec::new(),
            limits: Vec::new(),
            application: Vec::new(),
            acceptors: String::new(),
            more: String::new(),
        }
    }

    /// The number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// The address on which it listens.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.ip = ip.into();
        self
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The level of the log file: 0 FATAL to 6 FINEST.
    #[must_use]
    pub fn log_level(mut self, level: u8) -> Self {
        self.log_level = level;
        self
    }

    /// A key of `configuration`.
    #[must_use]
    pub fn top(mut self, key: &str, value: &str) -> Self {
        self.top.push((key.into(), value.into()));
        self
    }

    /// A key of `limits`.
    #[must_use]
    pub fn limit(mut self, key: &str, value: &str) -> Self {
        self.limits.push((key.into(), value.into()));
        self
    }

    /// A key of the application `flvplayback`.
    #[must_use]
    pub fn application(mut self, key: &str, value: &str) -> Self {
        self.application.push((key.into(), value.into()));
        self
    }

    /// Players start at the newest key frame, with the times that it and its group have: for tests that compare
    /// times with those of the publisher.
    #[must_use]
    pub fn whole_groups(self) -> Self {
        self.application("startPolicy", "\"key\"")
    }

    /// A further acceptor of `appselector`, on a port of the system's choice: its keys but the address.
    #[must_use]
    pub fn acceptor(mut self, keys: &str) -> Self {
        let ip = &self.ip;
        writeln!(self.acceptors, "        {{ ip = \"{ip}\", port = 0, {keys} }},")
            .expect("a string takes all");
        self
    }

    /// A further block of `applications`, with its braces.
    #[must_use]
    pub fn block(mut self, block: &str) -> Self {
        self.more.push_str(block);
        self.more.push_str(",\n");
        self
    }

    /// The script. Log and counters go to `folder`, libraries lie in `programs`.
    pub fn text(&self, folder: &Path, programs: &Path) -> String {
        let log = folder.join(LOG);
        let counters = folder.join(COUNTERS);
        format!(
            r#"configuration = {{
  daemon = false,
  workers = {workers},
  countersFile = {counters:?},
{top}  limits = {{
{limits}  }},
  logAppenders = {{
    {{ name = "file", type = "file", level = {level}, fileName = {log:?} }},
  }},
  applications = {{
    rootDirectory = {programs:?},
    {{
      name = "appselector",
      description = "hands each connection to the application that it names",
      protocol = "dynamiclinklibrary",
      default = true,
      acceptors = {{
        {{ ip = "{ip}", port = {port}, protocol = "inboundRtmp" }},
{acceptors}      }},
    }},
    {{
      name = "flvplayback",
      aliases = {{ "live" }},
      protocol = "dynamiclinklibrary",
{application}    }},
{more}  }},
}}
"#,
            workers = self.workers,
            top = keys(&self.top, "  "),
            limits = keys(&self.limits, "    "),
            level = self.log_level,
            ip = self.ip,
            port = self.port,
            application = keys(&self.application, "      "),
            acceptors = self.acceptors,
            more = self.more,
        )
    }
}

/// The log file of a test's server.
pub(crate) const LOG: &str = "server.log";
/// The counters of a test's server.
pub(crate) const COUNTERS: &str = "counters.json";

fn keys(pairs: &[(String, String)], indent: &str) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        writeln!(text, "{indent}{key} = {value},").expect("a string takes all");
    }
    text
}
