//! The real program, started for one test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::config::{COUNTERS, LOG};
use crate::program::tail;
use crate::{Config, Counters, Launch, Outcome, Program, poll, wait_for};

/// The time in which a server must be ready, and in which it must end. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A row of the table of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Address and real port.
    pub address: SocketAddr,
    /// The name of the chain.
    pub chain: String,
    /// The application.
    pub application: String,
}

/// A running `crtmpserver`. It is killed when this is dropped; [`stop`](Self::stop) ends it properly.
#[derive(Debug)]
pub struct Server {
    program: Mutex<Program>,
    folder: TempDir,
    services: Vec<Service>,
    stopped: bool,
}

impl Server {
    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub fn start(config: &Config) -> Self {
        Self::start_under("", config)
    }

    /// [`start`](Self::start) by another program, which is given with its arguments and becomes the server in the
    /// end: `env`, `prlimit` and the like.
    ///
    /// # Panics
    ///
    /// If the server does not become ready.
    pub fn start_under(words: &str, config: &Config) -> Self {
        let folder = tempfile::Builder::new().prefix("crtmp-server-").tempdir().expect("a temporary folder");
        let file = folder.path().join(SCRIPT);
        fs::write(&file, config.text(folder.path(), &folder_of_programs())).expect("a temporary file");
        let launch = match words.split_once(' ') {
            Some((program, arguments)) => Launch::new(program).args(arguments).arg(Self::executable()),
            None => Launch::new(Self::executable()),
        };
        let mut program = launch.arg(&file).unlimited().start();
        let ready = poll(PATIENCE, || {
            let output = program.stdout();
            let ready = output.lines().any(|line| line.contains(" is ready (pid "));
            (ready || !program.runs()).then_some(ready)
        });
        assert_eq!(ready, Some(true), "the server did not become ready:\n{}", program.stdout());
        let services = services(&program.stdout());
        assert!(!services.is_empty(), "no services in the table:\n{}", program.stdout());
        program.quiet();
        Self { program: Mutex::new(program), folder, services, stopped: false }
    }

    /// The program under test.
    ///
    /// # Panics
    ///
    /// If it has not been built.
    pub fn executable() -> PathBuf {
        let path = folder_of_programs().join("crtmpserver");
        assert!(path.is_file(), "{} is missing: run `cargo xtask test`", path.display());
        path
    }

    /// The rows of its table of services.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The address of the first acceptor with this chain.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn address_of(&self, chain: &str) -> SocketAddr {
        let service = self.services.iter().find(|service| service.chain == chain);
        service.unwrap_or_else(|| panic!("no acceptor has the chain {chain}")).address
    }

    /// The address of the first acceptor.
    pub fn address(&self) -> SocketAddr {
        self.services[0].address
    }

    /// The URL of a stream of the application `live`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.address())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.with(|program| program.id())
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        self.with(Program::runs)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.with(|program| program.signal(signal));
    }

    /// Writes another configuration into the file that it was started with; [`Signal::SIGHUP`] loads it.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn rewrite(&self, config: &Config) {
        self.rewrite_text(&config.text(self.folder.path(), &folder_of_programs()));
    }

    /// [`rewrite`](Self::rewrite) with any text, which may be wrong.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn rewrite_text(&self, text: &str) {
        fs::write(self.folder.path().join(SCRIPT), text).expect("a temporary file");
    }

    /// The folder of its configuration, log and counters.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is in its log file.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log holds `text`.
    ///
    /// # Panics
    ///
    /// If it does not within the time that everything is given.
    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), PATIENCE, || self.log().contains(text).then_some(()));
    }

    /// What it has written to standard output and standard error.
    pub fn output(&self) -> String {
        self.with(|program| program.stdout() + &program.stderr())
    }

    /// A snapshot of its counters, taken now.
    ///
    /// # Panics
    ///
    /// If the server writes none.
    pub fn counters(&self) -> Counters {
        let file = self.folder.path().join(COUNTERS);
        self.with(|program| {
            let _ = fs::remove_file(&file);
            program.signal(Signal::SIGUSR1);
            let text = wait_for("the counters", PATIENCE, || fs::read_to_string(&file).ok());
            Counters::parse(&text)
        })
    }

    /// Waits until the counters satisfy `probe`.
    ///
    /// # Panics
    ///
    /// If they do not within `limit`.
    pub fn wait_for_counters<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&Counters) -> Option<T>,
    ) -> T {
        wait_for(what, limit, || probe(&self.counters()))
    }

    /// Waits until somebody publishes `stream`.
    ///
    /// # Panics
    ///
    /// If nobody does.
    pub fn wait_for_publisher(&self, stream: &str) {
        let probe = |counters: &Counters| counters.publisher_of(stream).map(drop);
        self.wait_for_counters(&format!("a publisher of {stream}"), PATIENCE, probe);
    }

    /// Ends it with SIGTERM, and demands that it ends well and has not panicked.
    ///
    /// # Panics
    ///
    /// If it does not end within ten seconds or so, with exit code 0.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits for an end that was asked for already, and demands the same as [`stop`](Self::stop); gives the
    /// log.
    ///
    /// # Panics
    ///
    /// If the server ends otherwise.
    pub fn ended(&mut self) -> String {
        wait_for("the end of the server", Duration::from_secs(12), || (!self.runs()).then_some(()));
        let output = self.output();
        let log = self.log();
        assert!(!has_panicked(&output), "the server panicked:\n{output}");
        assert!(!has_panicked(&log), "the server panicked:\n{}", tail(&log, 50));
        let status = self.with(|program| program.status());
        assert_eq!(status, Some(0), "the server ended badly:\n{output}\n{}", tail(&log, 50));
        self.stopped = true;
        log
    }

    /// Runs the program with these arguments to its end: for starts that fail, `--check` and the like.
    pub fn run(arguments: &[&str]) -> Outcome {
        let launch = Launch::new(Self::executable()).within(PATIENCE);
        arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).run()
    }

    fn with<T>(&self, action: impl FnOnce(&mut Program) -> T) -> T {
        action(&mut self.program.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.stopped {
            eprintln!("--- the server's output:\n{}", tail(&self.output(), 40));
            eprintln!("--- the server's log:\n{}", tail(&self.log(), 80));
        }
    }
}

/// Whether anything has panicked, but for plugins whose task that is.
pub(crate) fn has_panicked(output: &str) -> bool {
    output.lines().any(|line| line.contains("panicked") && !line.contains("panicked at tests/plugins/"))
}

const SCRIPT: &str = "server.lua";

/// The folder of the program and its libraries: where cargo has put this test, one up.
///
/// # Panics
///
/// If the test does not lie in a folder of cargo's.
pub fn folder_of_programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its file");
    test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").to_owned()
}

/// The root of the workspace.
///
/// # Panics
///
/// Never: the tests lie in it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Reads the table of services; everything that is not a row of it is passed over.
pub fn services(output: &str) -> Vec<Service> {
    let row = |line: &str| {
        let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let [carrier, ip, port, chain, application] =
            <[&str; 5]>::try_from(line.split('|').map(str::trim).collect::<Vec<_>>()).ok()?;
        if !matches!(carrier, "tcp" | "udp") {
            return None;
        }
        Some(Service {
            address: SocketAddr::new(ip.parse().ok()?, port.parse().ok()?),
            chain: chain.into(),
            application: application.into(),
        })
    };
    output.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_services_is_read() {
        let output = "\
+---+---------+-----+-----------+-----------+
|c  |ip       |port |protocol   |application|
|tcp|127.0.0.1|40123|inboundRtmp|appselector|
+---+---------+-----+-----------+-----------+
crtmpserver 0.1.0 is ready (pid 12)
";
        let service = Service {
            address: "127.0.0.1:40123".parse().unwrap(),
            chain: "inboundRtmp".into(),
            application: "appselector".into(),
        };
        assert_eq!(services(output), [service]);
    }
}
