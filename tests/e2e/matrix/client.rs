//! The clients, and how each is started.

use std::path::Path;

use crtmp_tests::{Launch, ffmpeg, ffmpeg9, fixture, players};

use super::table::CERTIFICATES;

/// A client that we did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// FFmpeg as Debian has it.
    Ffmpeg,
    /// FFmpeg of 2026.
    Ffmpeg9,
    /// librtmp's own program.
    Rtmpdump,
    /// GStreamer's own RTMP.
    Rtmp2,
    /// GStreamer's elements around librtmp.
    Librtmp,
}

impl Client {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg 5.1",
            Self::Ffmpeg9 => "ffmpeg 9",
            Self::Rtmpdump => "rtmpdump 2.4",
            Self::Rtmp2 => "GStreamer 1.22 `rtmp2sink`, `rtmp2src`",
            Self::Librtmp => "GStreamer 1.22 `rtmpsink`, `rtmpsrc` (librtmp)",
        }
    }

    /// Whether it publishes with the times of the film. GStreamer makes its own, from the place of each picture.
    pub(super) const fn keeps_times(self) -> bool {
        !matches!(self, Self::Rtmp2 | Self::Librtmp)
    }

    /// Publishes the film as it is, in real time.
    pub(super) fn publish(self, url: &str) -> Launch {
        match self {
            Self::Ffmpeg => ffmpeg::publish_film(url),
            Self::Ffmpeg9 => unverified(ffmpeg9::ffmpeg("info").args("-re -i").arg(fixture::film()), url)
                .args("-c copy -f flv")
                .arg(url),
            Self::Rtmp2 => gstreamer_film("rtmp2sink", url),
            Self::Librtmp => gstreamer_film("rtmpsink", &format!("{url} live=1")),
            Self::Rtmpdump => unreachable!("it only plays"),
        }
    }

    /// Writes what it plays into a file, until it is ended.
    pub(super) fn play(self, url: &str, file: &Path) -> Launch {
        match self {
            Self::Ffmpeg => ffmpeg::record_all(url, file),
            Self::Ffmpeg9 => unverified(ffmpeg9::ffmpeg("info").args("-rw_timeout 20000000"), url)
                .arg("-i")
                .arg(url)
                .args("-c copy -flush_packets 1 -y")
                .arg(file),
            Self::Rtmpdump => players::rtmpdump(url, file),
            Self::Rtmp2 => gstreamer_file("rtmp2src", url, file),
            Self::Librtmp => gstreamer_file("rtmpsrc", &format!("{url} live=1"), file),
        }
    }
}

/// The certificate of a test is nobody's; where options do not reach, the authority is named.
fn unverified(launch: Launch, url: &str) -> Launch {
    let launch = if url.starts_with("rtmps:") { launch.args("-tls_verify 0") } else { launch };
    launch.env("SSL_CERT_FILE", CERTIFICATES.path("ca.pem"))
}

fn gstreamer_film(sink: &str, location: &str) -> Launch {
    Launch::new("gst-launch-1.0")
        .args("-q filesrc")
        .arg(format!("location={}", fixture::film().display()))
        .args("! flvdemux name=d flvmux name=m streamable=true !")
        .arg(sink)
        .args(trusting(location))
        .arg(format!("location={location}"))
        .args("d.video ! queue ! h264parse ! m.video d.audio ! queue ! aacparse ! m.audio")
}

/// The elements bring FLV as it comes.
fn gstreamer_file(source: &str, location: &str, file: &Path) -> Launch {
    Launch::new("gst-launch-1.0")
        .args("-q")
        .arg(source)
        .args(trusting(location))
        .arg(format!("location={location}"))
        .args("! filesink buffer-mode=unbuffered")
        .arg(format!("location={}", file.display()))
}

/// The authority of the tests is nobody's; librtmp does not look.
fn trusting(location: &str) -> &'static str {
    if location.starts_with("rtmps") && !location.ends_with("live=1") { "tls-validation-flags=0" } else { "" }
}
