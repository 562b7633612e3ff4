//! A network of its own for a client, joined to the machine by a cable that can be cut silently.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Launch;

/// A network namespace with one cable to the machine. It goes away when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    host: Ipv4Addr,
    inner: Ipv4Addr,
}

impl Namespace {
    /// Makes one; `None`, with a printed reason, where the rights for it are missing.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can make a network namespace");
            return None;
        }
        let id = std::process::id();
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        // A network of four addresses out of the range that is set aside for tests of network devices.
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + ((id.wrapping_mul(8) + index) % 0x4000) * 4;
        let (host, inner) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
        let name = format!("crtmp{id}n{index}");
        let (outside, inside) = (format!("cr{id}a{index}"), format!("cr{id}b{index}"));
        if !ip(&format!("netns add {name}")) {
            eprintln!("skipped: this machine makes no network namespaces");
            return None;
        }
        let namespace = Self { name, host, inner };
        let name = &namespace.name;
        let made = [
            format!("link add {outside} type veth peer name {inside} netns {name}"),
            format!("address add {host}/30 dev {outside}"),
            format!("link set {outside} up"),
            format!("-n {name} address add {inner}/30 dev {inside}"),
            format!("-n {name} link set {inside} up"),
            format!("-n {name} link set lo up"),
        ];
        if let Some(failed) = made.iter().find(|command| !ip(command)) {
            eprintln!("skipped: `ip {failed}` fails here");
            return None;
        }
        Some(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of the machine's end of the cable, which clients inside can reach.
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// The address of its own end of the cable.
    pub fn inner(&self) -> Ipv4Addr {
        self.inner
    }

    /// What starts a program inside: the words before its own.
    pub fn words(&self) -> String {
        format!("ip netns exec {}", self.name)
    }

    /// Loses every packet from now on, in both directions, without telling anybody.
    ///
    /// # Panics
    ///
    /// If iptables refuses.
    pub fn cut(&self) {
        for chain in ["INPUT", "OUTPUT"] {
            self.iptables(&format!("-I {chain} -j DROP"));
        }
    }

    /// [`cut`](Self::cut) of the cable alone: those inside still reach each other.
    ///
    /// # Panics
    ///
    /// If iptables refuses.
    pub fn cut_cable(&self) {
        self.iptables("-I INPUT ! -i lo -j DROP");
        self.iptables("-I OUTPUT ! -o lo -j DROP");
    }

    /// Loses nothing any more.
    ///
    /// # Panics
    ///
    /// If iptables refuses.
    pub fn mend(&self) {
        self.iptables("-F");
    }

    /// Has nobody answer from inside to whom a packet goes that is sent to `network`, nor tell that nobody does.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn swallow(&self, network: &str) {
        self.iptables(&format!("-I OUTPUT -d {network} -j DROP"));
        let way = format!("-n {} route add {network} via {}", self.name, self.host);
        Launch::new("ip").args(&way).run().success();
    }

    /// Asks this server for the addresses of names inside, for programs that are started from now on.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn name_server(&self, address: Ipv4Addr) {
        fs::create_dir_all(self.folder()).expect("a folder for the settings of the namespace");
        fs::write(self.folder().join("resolv.conf"), format!("nameserver {address}\n"))
            .expect("a file for the settings of the namespace");
    }

    fn iptables(&self, arguments: &str) {
        Launch::new("iptables").inside(self).args(arguments).run().success();
    }

    fn folder(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it.
        ip(&format!("netns delete {}", self.name));
        let _ = fs::remove_dir_all(self.folder());
    }
}

fn ip(arguments: &str) -> bool {
    Launch::new("ip").args(arguments).run().code == Some(0)
}
