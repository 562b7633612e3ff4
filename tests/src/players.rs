//! Players that are not ffmpeg: rtmpdump, GStreamer and VLC.

use std::path::Path;
use std::time::Duration;

use crate::Launch;

/// rtmpdump (librtmp), which writes a live stream into a file until it is interrupted. Its exit code says
/// nothing then: look at the file.
pub fn rtmpdump(url: &str, file: &Path) -> Launch {
    Launch::new("rtmpdump").args("-q -v -r").arg(url).arg("-o").arg(file)
}

/// GStreamer's own RTMP client. For each buffer it prints a line with `chain` and the name of its sink, `video`
/// or `audio`.
pub fn gstreamer(url: &str) -> Launch {
    Launch::new("gst-launch-1.0")
        .args("-v rtmp2src")
        .arg(format!("location={url}"))
        // Both pads must lead somewhere, else the demultiplexer gives up.
        .args("! flvdemux name=d d.video ! queue ! h264parse ! fakesink name=video silent=false sync=false")
        .args("d.audio ! queue ! aacparse ! fakesink name=audio silent=false sync=false")
}

/// VLC without a window, for so many seconds. Its exit code means nothing; a log that says
/// `Received first picture` does.
pub fn vlc(url: &str, length: Duration, home: &Path) -> Launch {
    Launch::new("cvlc")
        .args("-I dummy --vout=dummy --aout=dummy --play-and-exit -vv")
        .arg(format!("--run-time={}", length.as_secs()))
        .arg(url)
        .arg("vlc://quit")
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .as_ordinary_user()
        .within(length + Duration::from_secs(20))
}
