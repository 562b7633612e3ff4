//! ffmpeg and ffprobe as publisher and player, and ffmpeg as a server of one connection.
//!
//! The options avoid traps of these programs: `-timeout` would make an RTMP client a server, standard input
//! would be read as keyboard commands, and a small probe loses the video.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::{Launch, Outcome, fixture};

/// Publishes the prepared [film](fixture::film) in real time, byte for byte.
pub fn publish_film(url: &str) -> Launch {
    ffmpeg("error").args("-re -i").arg(fixture::film()).args("-c copy -f flv").arg(url)
}

/// Publishes the prepared [film](fixture::film) to several servers at once, each with the same times. The others go on where
/// one ends.
pub fn publish_film_to(urls: &[String]) -> Launch {
    let outputs: Vec<String> = urls.iter().map(|url| format!("[f=flv:onfail=ignore]{url}")).collect();
    ffmpeg("error")
        .args("-re -i")
        .arg(fixture::film())
        .args("-map 0 -c copy -flags +global_header -f tee")
        .arg(outputs.join("|"))
}

/// Publishes a pattern that is encoded on the way, as an encoder would: `-g 50` at 25 pictures a second.
pub fn publish_encoded(url: &str) -> Launch {
    ffmpeg("error")
        .args("-re -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440")
        .args("-c:v libx264 -preset veryfast -g 50 -c:a aac -f flv")
        .arg(url)
}

/// Publishes a pattern in groups of 8 s with B-frames, some of which no other picture needs; the first has the time
/// `from`, in seconds.
pub fn publish_long_groups(url: &str, from: u32) -> Launch {
    ffmpeg("error")
        .args("-re -f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=frequency=440")
        .args("-c:v libx264 -preset veryfast -g 200 -keyint_min 200 -sc_threshold 0 -bf 3 -c:a aac -f flv")
        .args(&format!("-output_ts_offset {from}"))
        .arg(url)
}

/// Decodes so much of a stream, with the times that its pictures carry.
pub fn decode(url: &str, length: Duration) -> Launch {
    player(url)
        .args(&format!("-t {} -fps_mode passthrough -enc_time_base -1 -f null -", length.as_secs_f64()))
}

/// Records so much of a stream into a file, byte for byte.
pub fn record(url: &str, length: Duration, file: &Path) -> Launch {
    player(url).args(&format!("-t {} -c copy -y", length.as_secs_f64())).arg(file)
}

/// Records a stream into a file until it is ended, byte for byte.
pub fn record_all(url: &str, file: &Path) -> Launch {
    player(url).args("-c copy -flush_packets 1 -y").arg(file)
}

/// Plays a stream to nowhere until it ends.
pub fn play(url: &str) -> Launch {
    player(url).args("-c copy -f null -")
}

/// Waits as a server for one publisher of `live/p` at `address`, and records what comes, byte for byte, until that ends.
pub fn listen(address: SocketAddr, file: &Path) -> Launch {
    ffmpeg("warning").args(&format!("-listen 1 -i rtmp://{address}/live/p -c copy -f flv -y")).arg(file)
}

/// Waits as a server for one player of `live/p` at `address`, and sends it the prepared [film](fixture::film) in real
/// time.
pub fn serve(address: SocketAddr) -> Launch {
    ffmpeg("error")
        .args("-re -i")
        .arg(fixture::film())
        .args(&format!("-c copy -listen 1 -f flv rtmp://{address}/live/p"))
}

/// Streams, format and packets counted over two seconds, as ffprobe sees them.
///
/// # Panics
///
/// If ffprobe fails.
pub fn probe(url: &str) -> Value {
    // Files do not know this option.
    let timeout = if url.starts_with("rtmp") { "-rw_timeout 10000000" } else { "" };
    let outcome = Launch::new("ffprobe")
        .args("-v error -read_intervals %+2 -count_packets -show_streams -of json")
        .args(timeout)
        .arg(url)
        .within(Duration::from_secs(30))
        .run()
        .success();
    serde_json::from_str(&outcome.stdout).expect("ffprobe writes JSON")
}

/// The names of the codecs in a file or stream, sorted.
///
/// # Panics
///
/// If ffprobe fails.
pub fn codecs(url: &str) -> Vec<String> {
    let streams = probe(url);
    let streams = streams["streams"].as_array().expect("a list of streams").iter();
    let mut codecs: Vec<String> =
        streams.filter_map(|stream| stream["codec_name"].as_str()).map(Into::into).collect();
    codecs.sort();
    codecs
}

/// What ffmpeg says about timestamps and pictures that are not as they should be.
const COMPLAINTS: [&str; 9] = [
    "Non-monotonous",
    "non monotonically",
    "Invalid data",
    "Invalid timestamps",
    "corrupt",
    "error while decoding",
    "concealing",
    "Missing reference",
    "co located",
];

/// Demands that a player of ffmpeg's ended well and did not have to mend timestamps.
///
/// # Panics
///
/// If it did.
pub fn assert_clean(outcome: Outcome) {
    let outcome = outcome.success();
    for complaint in COMPLAINTS {
        assert!(!outcome.stderr.contains(complaint), "{}", outcome.stderr);
    }
}

fn player(url: &str) -> Launch {
    ffmpeg("warning").args("-rw_timeout 20000000 -i").arg(url)
}

fn ffmpeg(level: &str) -> Launch {
    Launch::new("ffmpeg").args("-nostdin -nostats -v").arg(level)
}
