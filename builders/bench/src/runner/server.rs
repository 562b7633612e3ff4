//! The servers that are set side by side.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::load::Scheme;
use crate::source::{Bundling, Shape};

/// The application in Lua that decides about connects.
const SCRIPT: &str = "connect.lua";

/// The certificate of ports that need one, and its key.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `crtmpserver`; the libraries of its applications lie beside it.
    pub crtmpserver: PathBuf,
    /// `nginx`.
    pub nginx: PathBuf,
    /// The RTMP module of nginx.
    pub module: PathBuf,
    /// This program, for the floor.
    pub bench: PathBuf,
}

impl Default for Servers {
    fn default() -> Self {
        let bench = std::env::current_exe().unwrap_or_else(|_| "crtmp-bench".into());
        Self {
            crtmpserver: bench.with_file_name("crtmpserver"),
            nginx: "/usr/sbin/nginx".into(),
            module: "/usr/lib/nginx/modules/ngx_rtmp_module.so".into(),
            bench,
        }
    }
}

/// A server and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The [floor](crate::floor), in one of its modes as the command line spells them.
    Floor(&'static str),
    /// nginx with its RTMP module: one worker, `live on`, chunks of 4096 bytes, else as it comes.
    Nginx,
    /// crtmpserver.
    Ours(Settings),
}

/// Settings of crtmpserver that differ from its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `mergeWrite` as Lua; `None` leaves it out.
    pub merge: Option<&'static str>,
    /// `workers`.
    pub workers: u16,
    /// Further keys of the application, as Lua.
    pub application: &'static [(&'static str, &'static str)],
    /// Limits, as Lua.
    pub limits: &'static [(&'static str, &'static str)],
    /// What stands around RTMP, for publishers and players.
    pub scheme: Scheme,
    /// Applications beside the others that decide about connects: `decides` in Rust, `lua` in Lua.
    pub decisions: bool,
}

/// crtmpserver with a value of `mergeWrite`.
pub const fn ours(merge: &'static str) -> Settings {
    Settings {
        merge: Some(merge),
        workers: 1,
        application: &[],
        limits: &[],
        scheme: Scheme::Rtmp,
        decisions: false,
    }
}

impl Server {
    /// Its name in tables.
    pub fn label(&self) -> String {
        match self {
            Self::Floor("relay") => "relay floor".into(),
            Self::Floor(mode) => format!("floor {mode}"),
            Self::Nginx => "nginx-rtmp".into(),
            Self::Ours(settings) => {
                let merge = settings.merge.map(|merge| format!(" {}", merge.trim_matches('"')));
                let scheme = settings.scheme;
                let scheme = (scheme != Scheme::Rtmp).then(|| format!(", {}", scheme.name()));
                format!("crtmpserver{}{}", merge.unwrap_or_default(), scheme.unwrap_or_default())
            }
        }
    }

    /// What stands around RTMP.
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Ours(settings) => settings.scheme,
            Self::Floor(_) | Self::Nginx => Scheme::Rtmp,
        }
    }

    /// Whether it takes chunks without handshake and commands.
    pub const fn is_raw(&self) -> bool {
        matches!(self, Self::Floor(_))
    }

    /// Whether it needs no publisher.
    pub fn makes_the_stream(&self) -> bool {
        matches!(self, Self::Floor(mode) if *mode != "relay")
    }

    /// Starts it on a processor of its own, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not listen within ten seconds.
    pub fn start(&self, servers: &Servers, shape: &Shape) -> io::Result<Running> {
        let folder = tempfile::Builder::new().prefix("crtmp-bench").tempdir()?;
        let (server, generator) = processors()?;
        pin(server)?;
        let running = match self {
            Self::Floor(mode) => start_floor(servers, mode, shape, folder),
            Self::Nginx => start_nginx(servers, folder),
            Self::Ours(settings) => start_ours(servers, settings, folder),
        };
        pin(generator)?;
        running
    }
}

/// A server that runs. It ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    processes: Vec<u32>,
    address: SocketAddr,
    folder: TempDir,
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its processes.
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// Asks crtmpserver for its counters, without waiting for them.
    pub fn ask_for_counters(&self) {
        let _ = fs::remove_file(self.counters_file());
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGUSR1);
    }

    /// The counters that crtmpserver was asked for last; waits for them for three seconds.
    pub fn counters(&self) -> Option<Value> {
        for _ in 0..300 {
            if let Ok(text) = fs::read_to_string(self.counters_file()) {
                return serde_json::from_str(&text).ok();
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Ends it, with force if it does not end within ten seconds.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn stop(&mut self) -> io::Result<()> {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        for _ in 0..1000 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn counters_file(&self) -> PathBuf {
        self.folder.path().join("counters.json")
    }

    /// What it wrote to its standard streams and its log.
    fn last_words(&self) -> String {
        let mut text = String::new();
        for name in ["output", "log"] {
            text += &fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        }
        text
    }

    fn wait_until_it_listens(mut self) -> io::Result<Self> {
        for _ in 0..1000 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended ({status}): {}", self.last_words())));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("it does not listen"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end.
        let _ = self.stop();
    }
}

fn start_floor(servers: &Servers, mode: &str, shape: &Shape, folder: TempDir) -> io::Result<Running> {
    let mut command = Command::new(&servers.bench);
    command.args(["floor", "--listen", "127.0.0.1:0", "--mode", mode]);
    command.args(["--bitrate", &shape.bitrate.to_string(), "--gop", &shape.gop.to_string()]);
    if shape.bundling == Bundling::WithVideo {
        command.arg("--bundle");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
    let listening: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
    let address = listening["address"].as_str().and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| io::Error::other(format!("the floor said {line:?}")))?;
    let processes = vec![child.id()];
    Ok(Running { child, processes, address, folder })
}

fn start_nginx(servers: &Servers, folder: TempDir) -> io::Result<Running> {
    let address = free_address()?;
    let path = folder.path().display();
    let configuration = format!(
        "load_module {};\n\
         daemon off;\n\
         worker_processes 1;\n\
         worker_rlimit_nofile 20000;\n\
         pid {path}/pid;\n\
         error_log {path}/log error;\n\
         events {{ worker_connections 19000; }}\n\
         rtmp {{ access_log off; server {{ listen {address}; chunk_size 4096;\n\
         application live {{ live on; }} }} }}\n",
        servers.module.display()
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = Command::new(&servers.nginx);
    command.arg("-c").arg(&file).arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("log"));
    let mut running = spawn(command, address, folder)?.wait_until_it_listens()?;
    let master = running.child.id();
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    running.processes.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    Ok(running)
}

fn start_ours(servers: &Servers, settings: &Settings, folder: TempDir) -> io::Result<Running> {
    let address = free_address()?;
    let path = folder.path().to_path_buf();
    let file = path.join("crtmpserver.lua");
    fs::write(&file, configuration(settings, address, &path))?;
    write_certificate(&path)?;
    fs::write(path.join(SCRIPT), "function on_connect(client, info) return true end\n")?;
    let mut command = Command::new(&servers.crtmpserver);
    command.arg(&file);
    spawn(command, address, folder)?.wait_until_it_listens()
}

/// Writes a certificate that nobody has signed, and its key.
fn write_certificate(folder: &Path) -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
    fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    fs::write(folder.join(KEY), made.signing_key.serialize_pem())
}

fn configuration(settings: &Settings, address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let keys = |keys: &[(&str, &str)]| {
        keys.iter().fold(String::new(), |mut text, (key, value)| {
            let _ = write!(text, "{key} = {value}, ");
            text
        })
    };
    let decisions = if settings.decisions {
        format!(
            "{{ name = \"decides\" }},\n\
             {{ name = \"lua\", library = \"vmapp\", script = \"{folder}/{SCRIPT}\" }},\n"
        )
    } else {
        String::new()
    };
    let chain = settings.scheme.inbound();
    let tls = if settings.scheme.has_tls() {
        format!(", sslCert = \"{folder}/{CERTIFICATE}\", sslKey = \"{folder}/{KEY}\"")
    } else {
        String::new()
    };
    let merge = settings.merge.map(|merge| format!("mergeWrite = {merge}, ")).unwrap_or_default();
    format!(
        "configuration = {{\n\
         workers = {},\n\
         countersFile = \"{folder}/counters.json\",\n\
         limits = {{ {}}},\n\
         logAppenders = {{ {{ type = \"file\", fileName = \"{folder}/log\", level = 2 }} }},\n\
         applications = {{\n\
         rootDirectory = \"{folder}\",\n\
         {{ name = \"appselector\", default = true,\n\
         acceptors = {{ {{ ip = \"{}\", port = {}, protocol = \"{chain}\"{tls} }} }} }},\n\
         {{ name = \"flvplayback\", aliases = {{ \"live\" }}, chunkSize = 4096, {merge}{}}},\n\
         {decisions}}} }}\n",
        settings.workers,
        keys(settings.limits),
        address.ip(),
        address.port(),
        keys(settings.application),
    )
}

fn spawn(mut command: Command, address: SocketAddr, folder: TempDir) -> io::Result<Running> {
    let output = fs::File::create(folder.path().join("output"))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let child = command
        .spawn()
        .map_err(|error| io::Error::other(format!("{}: {error}", command.get_program().to_string_lossy())))?;
    let processes = vec![child.id()];
    Ok(Running { child, processes, address, folder })
}

/// An address that nothing listens on. Something else may take it before the server does, which then does not start.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The processors of the server and of the generator: the first two that this process may use, or the only one.
fn processors() -> io::Result<(usize, usize)> {
    // The first thread keeps the mask with which the process was started.
    static ALLOWED: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    if ALLOWED.get().is_none() {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let allowed = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
        let _ = ALLOWED.set(allowed);
    }
    match ALLOWED.get().map(Vec::as_slice) {
        Some([server, generator, ..]) => Ok((*server, *generator)),
        Some([only]) => Ok((*only, *only)),
        _ => Err(io::Error::other("no processor may be used")),
    }
}

/// Keeps this thread, and the processes that it starts, on a processor.
fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_the_configuration() {
        let settings = Settings {
            merge: Some("\"auto\""),
            workers: 2,
            application: &[("sendBuffer", "65536")],
            limits: &[("playerCut", "5")],
            decisions: true,
            ..ours("\"auto\"")
        };
        let address = "127.0.0.1:1935".parse().expect("an address");
        let text = configuration(&settings, address, Path::new("/x"));
        for part in [
            "workers = 2,",
            "limits = { playerCut = 5, },",
            "port = 1935,",
            "chunkSize = 4096, mergeWrite = \"auto\", sendBuffer = 65536, }",
            "{ name = \"decides\" },",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(Server::Ours(settings).label(), "crtmpserver auto");
    }
}
