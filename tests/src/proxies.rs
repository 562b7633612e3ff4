//! Proxies of HTTP: squid and haproxy; and stunnel, which adds TLS or takes it away.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Certificates, Launch, Program, free_address, listens, wait_for};

/// The time in which a proxy must listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running squid. It is killed when this is dropped.
#[derive(Debug)]
pub struct Squid {
    _program: Program,
    _folder: TempDir,
    forward: SocketAddr,
    accel: SocketAddr,
}

impl Squid {
    /// Starts it, as a proxy of the clients and as one that stands for `server`.
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn start(server: SocketAddr) -> Self {
        let (forward, accel) = (free_address(), free_address());
        let folder = tempfile::Builder::new().prefix("crtmp-squid-").tempdir().expect("a temporary folder");
        // It writes there as a user of its own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a folder of ours");
        let (path, ip, port) = (folder.path().display(), server.ip(), server.port());
        let text = format!(
            "http_port {forward}\n\
             http_port {accel} accel defaultsite={ip} no-vhost\n\
             cache_peer {ip} parent {port} 0 no-query originserver name=server\n\
             acl me src 127.0.0.1\nhttp_access allow me\ncache deny all\nshutdown_lifetime 0 seconds\n\
             pid_filename {path}/pid\ncache_log {path}/cache.log\naccess_log none\ncoredump_dir {path}\n"
        );
        let file = folder.path().join("squid.conf");
        fs::write(&file, text).expect("a temporary file");
        let mut program = Launch::new("/usr/sbin/squid").args("-N -f").arg(&file).unlimited().start();
        for address in [forward, accel] {
            wait_for("squid to listen", PATIENCE, || {
                assert!(program.runs(), "squid has ended: {}", program.stderr());
                listens(address).then_some(())
            });
        }
        Self { _program: program, _folder: folder, forward, accel }
    }

    /// Where clients come that are told of it.
    pub fn forward(&self) -> SocketAddr {
        self.forward
    }

    /// Where clients come that take it for the server.
    pub fn accel(&self) -> SocketAddr {
        self.accel
    }
}

/// A running haproxy. It is killed when this is dropped.
#[derive(Debug)]
pub struct Haproxy {
    _program: Program,
    _folder: TempDir,
    address: SocketAddr,
}

impl Haproxy {
    /// Starts it before `server`, with these lines for everything.
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn start(server: SocketAddr, lines: &str) -> Self {
        let address = free_address();
        let folder = tempfile::Builder::new().prefix("crtmp-haproxy-").tempdir().expect("a temporary folder");
        // Without the case of this name librtmp finds no length.
        let text = format!(
            "global\nh1-case-adjust content-length Content-Length\n\
             defaults\nmode http\ntimeout connect 5s\ntimeout client 60s\ntimeout server 60s\n\
             option h1-case-adjust-bogus-client\n{lines}\n\
             frontend f\nbind {address}\ndefault_backend b\nbackend b\nserver s {server}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text).expect("a temporary file");
        let mut program = Launch::new("/usr/sbin/haproxy").args("-db -f").arg(&file).unlimited().start();
        wait_for("haproxy to listen", PATIENCE, || {
            assert!(program.runs(), "haproxy has ended: {}", program.stderr());
            listens(address).then_some(())
        });
        Self { _program: program, _folder: folder, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A running stunnel. It is killed when this is dropped.
#[derive(Debug)]
pub struct Stunnel {
    _program: Program,
    _folder: TempDir,
    address: SocketAddr,
}

impl Stunnel {
    /// Starts it with the certificate `server`, to speak TLS with clients and none with `plain`. It gives no tickets,
    /// which librtmp does not understand.
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn before(plain: SocketAddr, certificates: &Certificates, lines: &str) -> Self {
        let both = certificates.read("server.key") + &certificates.read("server.pem");
        certificates.write("both.pem", &both);
        let cert = certificates.path("both.pem");
        // Without suites that need them no parameters are made up, which would take minutes.
        let all = format!("cert = {}\nciphers = ECDHE+AESGCM\nsessionResume = no\n{lines}\n", cert.display());
        Self::start(plain, &all)
    }

    /// Starts it to speak TLS with `secure`, whose certificate it does not look at, and none with clients.
    ///
    /// # Panics
    ///
    /// If it does not listen in time.
    pub fn towards(secure: SocketAddr) -> Self {
        Self::start(secure, "client = yes\n")
    }

    fn start(to: SocketAddr, lines: &str) -> Self {
        let address = free_address();
        let folder = tempfile::Builder::new().prefix("crtmp-stunnel-").tempdir().expect("a temporary folder");
        let text = format!(
            "foreground = yes\npid =\ndebug = warning\n[rtmp]\naccept = {address}\nconnect = {to}\n{lines}"
        );
        let file = folder.path().join("stunnel.conf");
        fs::write(&file, text).expect("a temporary file");
        let mut program = Launch::new("stunnel4").arg(&file).unlimited().start();
        wait_for("stunnel to listen", PATIENCE, || {
            assert!(program.runs(), "stunnel has ended: {}", program.stderr());
            listens(address).then_some(())
        });
        Self { _program: program, _folder: folder, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
