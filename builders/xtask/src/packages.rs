//! The Debian packages that tests and benchmarks need beside the Rust toolchain and a C compiler.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::step::{Failure, on_path, step};

/// A package and a file of it by which its presence is told.
type Package = (&'static str, &'static str);

/// What the tests need.
pub(crate) const TESTS: &[Package] = &[
    ("ffmpeg", "/usr/bin/ffmpeg"),
    ("rtmpdump", "/usr/bin/rtmpdump"),
    ("librtmp-dev", "/usr/include/librtmp/rtmp.h"),
    ("gstreamer1.0-tools", "/usr/bin/gst-launch-1.0"),
    ("gstreamer1.0-plugins-base", "gstreamer-1.0/libgstapp.so"),
    ("gstreamer1.0-plugins-good", "gstreamer-1.0/libgstflv.so"),
    ("gstreamer1.0-plugins-bad", "gstreamer-1.0/libgstrtmp2.so"),
    ("gstreamer1.0-plugins-ugly", "gstreamer-1.0/libgstx264.so"),
    ("gstreamer1.0-libav", "gstreamer-1.0/libgstlibav.so"),
    ("squid", "/usr/sbin/squid"),
    ("haproxy", "/usr/sbin/haproxy"),
    ("curl", "/usr/bin/curl"),
    ("openssl", "/usr/bin/openssl"),
    ("stunnel4", "/usr/bin/stunnel4"),
    ("netcat-openbsd", "/usr/bin/nc.openbsd|/bin/nc.openbsd"),
    ("chromium", "/usr/bin/chromium"),
    ("vlc-bin", "/usr/bin/cvlc"),
    ("vlc-plugin-base", "vlc/plugins/access/libavio_plugin.so"),
    ("iproute2", "/usr/sbin/ip|/sbin/ip|/bin/ip"),
    ("iptables", "/usr/sbin/iptables|/sbin/iptables"),
    ("procps", "/usr/bin/pkill"),
    ("util-linux", "/usr/bin/setpriv"),
    ("coreutils", "/usr/bin/timeout"),
    ("g++", "/usr/bin/g++"),
    ("make", "/usr/bin/make"),
    ("valgrind", "/usr/bin/valgrind"),
    NGINX,
    NGINX_RTMP,
];

/// What is set beside the server in benchmarks.
pub(crate) const BENCHMARKS: &[Package] = &[NGINX, NGINX_RTMP];

const NGINX: Package = ("nginx-light", "/usr/sbin/nginx");
const NGINX_RTMP: Package = ("libnginx-mod-rtmp", "/usr/lib/nginx/modules/ngx_rtmp_module.so");

/// Installs the packages that are missing; does nothing, and needs no rights, when none is.
pub(crate) fn install(packages: &[Package]) -> Result<(), Failure> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, file)| !present(file)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        return Err(Failure(format!(
            "this needs these Debian packages or what corresponds to them here: {}",
            missing.join(" ")
        )));
    }
    step("package lists", apt_get()?.arg("update").arg("-q"))?;
    let options = ["install", "-q", "--yes", "--no-install-recommends"];
    step("packages", apt_get()?.args(options).args(missing))
}

/// Whether one of the files, separated by `|`, is there. A relative one lies in the folder of libraries.
fn present(files: &str) -> bool {
    files.split('|').any(|file| {
        let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        Path::new(&folder).join(file).exists()
    })
}

/// `apt-get` that asks no questions, through `sudo` for everybody but root.
fn apt_get() -> Result<Command, Failure> {
    let id = Command::new("id").arg("-u").stdin(Stdio::null()).output();
    let root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        if !on_path("sudo") {
            return Err(Failure("packages are missing, and only root (or sudo) can install them".into()));
        }
        command.args(["--non-interactive", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}
