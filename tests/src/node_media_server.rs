//! node-media-server: an RTMP server in JavaScript, which `cargo xtask test` installs from npm.
//!
//! It runs without HTTP: with players over HTTP it has been seen to refuse new connections after a while.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Launch, Program, folder_of_programs, free_address, listens, wait_for};

/// The time in which it must listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// What node runs; the argument is the port.
const SCRIPT: &str = "const Server = require('node-media-server'); \
    const rtmp = { port: Number(process.argv[1]), chunk_size: 60000 }; \
    new Server({ bind: '127.0.0.1', rtmp, notify: {}, record: {}, static: {} }).run();";

/// A running node-media-server. It is killed when this is dropped.
#[derive(Debug)]
pub struct NodeMediaServer {
    program: Option<Program>,
    // It writes files there.
    folder: TempDir,
    address: SocketAddr,
}

impl NodeMediaServer {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it is not installed, or does not listen in time.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("crtmp-nms-").tempdir().expect("a temporary folder");
        let mut server = Self { program: None, folder, address: free_address() };
        server.start_again();
        server
    }

    /// Starts it once more, with the same address, after a [`kill`](Self::kill).
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn start_again(&mut self) {
        let modules = folder_of_programs().parent().unwrap_or(Path::new("/")).join("npm/node_modules");
        let package = modules.join("node-media-server");
        assert!(package.is_dir(), "{} is missing: run `cargo xtask test`", package.display());
        let launch = Launch::new("node").env("NODE_PATH", modules).folder(self.folder.path());
        let launch = launch.arg("-e").arg(SCRIPT).arg(self.address.port().to_string());
        let mut program = launch.unlimited().start();
        wait_for("node-media-server to listen", PATIENCE, || {
            assert!(program.runs(), "it has ended: {}{}", program.stdout(), program.stderr());
            listens(self.address).then_some(())
        });
        self.program = Some(program);
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Where it listens for RTMP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream.
    pub fn url(&self, application: &str, stream: &str) -> String {
        format!("rtmp://{}/{application}/{stream}", self.address)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.as_ref().map(Program::stdout).unwrap_or_default()
    }
}
