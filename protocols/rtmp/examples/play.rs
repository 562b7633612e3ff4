//! Plays a stream into an FLV file, byte for byte as it comes.
//!
//! ```text
//! cargo run --example play -- rtmp://localhost/live/film film.flv --seconds 60
//! ```
//!
//! It ends when the stream does, or after so many seconds.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program has a clock, only the library has none")]

mod shared;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crtmp_media::Value;
use crtmp_rtmp::message::{Control, UserControl, kind};
use crtmp_rtmp::wire::Received;
use shared::client::{Client, Url, status};
use shared::{Failure, flv};

const USAGE: &str = "usage: play rtmp://host[:port]/app/stream FILE.flv [--seconds N]";

/// How many bytes the server may send before we acknowledge.
const WINDOW: u32 = 2_500_000;
/// How much a player keeps before it shows something, in milliseconds; some servers send at once what fills it.
const BUFFER: u32 = 1000;
/// Without an end, a day.
const SECONDS: f64 = 86_400.0;

fn main() -> ExitCode {
    shared::run("play", |mut args| {
        let seconds = shared::number(&mut args, "--seconds")?.unwrap_or(SECONDS);
        match &args[..] {
            [url, file] => play(&Url::parse_with_stream(url)?, Path::new(file), seconds),
            _ => Err(USAGE.into()),
        }
    })
}

fn play(url: &Url, file: &Path, seconds: f64) -> Result<(), Failure> {
    let (mut client, _) = Client::connect(url)?;
    client.wire.send_window_ack_size(WINDOW);
    let stream = client.create_stream()?;
    // Media may come with the next bytes, and is larger than commands.
    client.wire.allow_media();
    // −2000: live if there is such a stream, else a recording.
    client.wire.call(stream, "play", Value::Null, vec![url.stream.as_str().into(), (-2000.0).into()])?;
    client.wire.send_user_control(UserControl::SetBufferLength { stream, ms: BUFFER });

    let mut film = flv::Writer::create(file)?;
    let (mut tags, mut bytes, mut first) = (0, 0, None);
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let end = loop {
        // A server that goes away ends the stream, and what has come is whole.
        let received = match client.next(deadline) {
            Ok(Some(received)) => received,
            Ok(None) => break "time is up".to_owned(),
            Err(failure) if tags > 0 => break failure.to_string(),
            Err(failure) => return Err(failure),
        };
        let (message, kind) = match received {
            Received::Audio(message) => (message, flv::AUDIO),
            Received::Video(message) => (message, flv::VIDEO),
            // What is not for players, and AMF3, have no place in a file.
            Received::Data { message, data } if message.kind == kind::DATA && data.name == "onMetaData" => {
                (message, flv::SCRIPT)
            }
            Received::Control(Control::User(UserControl::StreamEof(ended))) if ended == stream => {
                break "the stream has ended".to_owned();
            }
            other => match status(&other).transpose()?.as_deref() {
                Some("NetStream.Play.Stop" | "NetStream.Play.UnpublishNotify") => {
                    break "the stream has ended".to_owned();
                }
                Some(code) => {
                    println!("{}", code.escape_debug());
                    continue;
                }
                None => continue,
            },
        };
        // The file begins at 0: with the first picture or sound, since metadata may have any time.
        let time = match kind {
            flv::SCRIPT => first.map_or(0, |first| message.timestamp.saturating_sub(first)),
            _ => message.timestamp.wrapping_sub(*first.get_or_insert(message.timestamp)),
        };
        film.write(kind, time, &message.body)?;
        tags += 1;
        bytes += message.body.len();
    };
    println!("{end}: {tags} tags with {bytes} bytes are in {}", file.display());
    // Best effort: the server may be gone.
    if client.wire.call(0, "deleteStream", Value::Null, vec![stream.into()]).is_ok() {
        let _ = client.flush();
    }
    if tags == 0 { Err("nothing came".into()) } else { Ok(()) }
}
