//! The machine that was measured on.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::server::Servers;

/// Facts without which figures say little.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// Its cores, as the system sees them.
    pub cores: usize,
    /// Memory in GiB.
    pub memory: u64,
    /// The release of the Linux kernel.
    pub kernel: String,
    /// How TCP decides how fast to send.
    pub congestion: String,
    /// The version of nginx.
    pub nginx: String,
    /// The version of crtmpserver.
    pub server: String,
    /// The commit that was built.
    pub commit: String,
    /// The day.
    pub date: String,
}

impl Machine {
    /// This machine.
    pub fn here(servers: &Servers) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, label: &str| {
            let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_default();
            line.split(':').nth(1).unwrap_or("unknown").trim().to_owned()
        };
        let memory = line(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            processor: line(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: (kib + (1 << 19)) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            nginx: said(Command::new(&servers.nginx).arg("-v")),
            server: said(Command::new(&servers.crtmpserver).arg("--version")),
            commit: said(Command::new("git").args(["describe", "--always", "--dirty"])),
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        }
    }
}

/// The first line that a program prints, on either stream.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "unknown".into() };
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
