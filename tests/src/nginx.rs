//! nginx with its RTMP module: the server that ours is set beside, and that streams are pushed to and pulled from.
//!
//! One process serves everything, so that nothing is left of it when it is killed.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::program::tail;
use crate::{Launch, Program, free_address, listens, wait_for};

/// Where Debian puts the program and the module.
const PROGRAM: &str = "/usr/sbin/nginx";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// The time in which anything must have happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// An application of nginx.
#[derive(Clone, Debug)]
pub struct Application {
    name: String,
    lines: String,
}

impl Application {
    /// An application for live streams.
    pub fn live(name: &str) -> Self {
        Self { name: name.into(), lines: "live on;\n".into() }
    }

    /// Publishes each of its streams to `url` too; without a name in the `url` under their own names.
    #[must_use]
    pub fn push(self, url: &str) -> Self {
        self.line(&format!("push {url};"))
    }

    /// Pulls `url` from the start on, as the stream `name`.
    #[must_use]
    pub fn pull(self, url: &str, name: &str) -> Self {
        self.line(&format!("pull {url} name={name} static;"))
    }

    /// Pulls a stream from `url` when somebody plays it here.
    #[must_use]
    pub fn pull_on_demand(self, url: &str) -> Self {
        self.line(&format!("pull {url};"))
    }

    /// Any other line.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines += line;
        self.lines.push('\n');
        self
    }
}

/// A running nginx. It is killed when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    program: Option<Program>,
    folder: TempDir,
    address: SocketAddr,
    statistics: SocketAddr,
}

impl Nginx {
    /// Starts it with these applications and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn start(applications: &[Application]) -> Self {
        Self::start_with("chunk_size 4096;", applications)
    }

    /// [`start`](Self::start) with lines for the whole server.
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn start_with(lines: &str, applications: &[Application]) -> Self {
        let folder = tempfile::Builder::new().prefix("crtmp-nginx-").tempdir().expect("a temporary folder");
        let (address, statistics) = (free_address(), free_address());
        let path = folder.path().display();
        let mut text = format!(
            "load_module {MODULE};\n\
             daemon off;\nmaster_process off;\nworker_processes 1;\n\
             pid {path}/pid;\nerror_log {path}/log info;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\naccess_log off;\nclient_body_temp_path {path}/body;\nproxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/fastcgi;\nuwsgi_temp_path {path}/uwsgi;\nscgi_temp_path {path}/scgi;\n\
             server {{ listen {statistics}; location / {{ rtmp_stat all; }} }}\n}}\n\
             rtmp {{\naccess_log off;\nserver {{\nlisten {address};\n{lines}\n"
        );
        for Application { name, lines } in applications {
            let _ = write!(text, "application {name} {{\n{lines}}}\n");
        }
        text += "}\n}\n";
        fs::write(folder.path().join(CONFIGURATION), text).expect("a temporary file");
        let mut nginx = Self { program: None, folder, address, statistics };
        nginx.start_again();
        nginx
    }

    /// Starts it once more, with the same configuration and address, after a [`kill`](Self::kill).
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn start_again(&mut self) {
        let folder = self.folder.path();
        let launch = Launch::new(PROGRAM).arg("-c").arg(folder.join(CONFIGURATION)).arg("-p").arg(folder);
        let mut program = launch.arg("-e").arg(folder.join(LOG)).unlimited().start();
        wait_for("nginx to listen", PATIENCE, || {
            assert!(program.runs(), "nginx has ended: {}\n{}", program.stderr(), self.log());
            (listens(self.address) && listens(self.statistics)).then_some(())
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
        let bytes = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it says about its streams, in XML.
    pub fn statistics(&self) -> String {
        let mut answer = String::new();
        let read = TcpStream::connect_timeout(&self.statistics, PATIENCE).and_then(|mut socket| {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            socket.read_to_string(&mut answer)
        });
        match read {
            Ok(_) => answer,
            Err(error) => error.to_string(),
        }
    }

    /// Whether somebody publishes `stream` of `application`.
    pub fn has_publisher(&self, application: &str, stream: &str) -> bool {
        let text = self.statistics();
        let part =
            section(&text, "application", application).and_then(|text| section(text, "stream", stream));
        part.is_some_and(|part| part.contains("<publishing/>"))
    }

    /// Waits until somebody publishes `stream` of `application`.
    ///
    /// # Panics
    ///
    /// If nobody does.
    pub fn wait_for_publisher(&self, application: &str, stream: &str) {
        wait_for(&format!("a publisher of {application}/{stream} at nginx"), PATIENCE, || {
            self.has_publisher(application, stream).then_some(())
        });
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of nginx:\n{}", tail(&self.log(), 30));
        }
    }
}

const CONFIGURATION: &str = "nginx.conf";
const LOG: &str = "log";

/// The inside of the element `element` that has this name.
fn section<'a>(text: &'a str, element: &str, name: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    text.split(&open).skip(1).map(|part| part.split(&close).next().unwrap_or_default()).find(|part| {
        let first = part.split("</name>").next().unwrap_or_default();
        first.trim().strip_prefix("<name>") == Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_in_the_statistics() {
        let text = "<application>\r\n<name>a</name>\r\n<live>\r\n<stream>\r\n<name>one</name>x<publishing/></stream>\
            <stream><name>two</name></stream></live></application>";
        let live = section(text, "application", "a").expect("the application");
        assert!(section(live, "stream", "one").is_some_and(|part| part.contains("<publishing/>")));
        assert!(section(live, "stream", "two").is_some_and(|part| !part.contains("<publishing/>")));
        assert_eq!(section(text, "application", "one"), None);
    }
}
