//! Publishes an FLV file, at the pace of its times.
//!
//! ```text
//! cargo run --example publish -- film.flv rtmp://localhost/live/film
//! ```
//!
//! Reading order: [`publish`] is the conversation; `shared/client.rs` is the socket around a `Wire`.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program has a clock, only the library has none")]

mod shared;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crtmp_media::Value;
use shared::client::{Client, Url, status};
use shared::{Failure, flv};

const USAGE: &str = "usage: publish FILE.flv rtmp://host[:port]/app/stream";

/// Fewer chunk headers than at the default of 128 bytes.
const CHUNK_SIZE: u32 = 4096;
/// The time in which a server may take its leave.
const GOODBYE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    shared::run("publish", |args| match &args[..] {
        [file, url] => publish(Path::new(file), &Url::parse_with_stream(url)?),
        _ => Err(USAGE.into()),
    })
}

fn publish(file: &Path, url: &Url) -> Result<(), Failure> {
    let mut film = flv::Reader::open(file)?;
    let name = || Value::from(url.stream.as_str());
    let (mut client, _) = Client::connect(url)?;
    client.wire.send_set_chunk_size(CHUNK_SIZE);
    // Encoders have always said these two first. Servers answer them or do not, so nobody waits.
    client.wire.call(0, "releaseStream", Value::Null, vec![name()])?;
    client.wire.call(0, "FCPublish", Value::Null, vec![name()])?;
    let stream = client.create_stream()?;
    client.wire.call(stream, "publish", Value::Null, vec![name(), "live".into()])?;
    client.status("NetStream.Publish.Start")?;
    println!("publishing {} as {}", file.display(), url.stream);

    let (started, mut first, mut tags) = (Instant::now(), None, 0);
    while let Some(tag) = film.next()? {
        let since = tag.time.wrapping_sub(*first.get_or_insert(tag.time));
        wait(&mut client, started + Duration::from_millis(u64::from(since)))?;
        match tag.kind {
            flv::AUDIO => client.wire.send_audio(stream, tag.time, &tag.body)?,
            flv::VIDEO => client.wire.send_video(stream, tag.time, &tag.body)?,
            flv::SCRIPT => client.wire.send_data(stream, tag.time, &for_the_server(&tag.body))?,
            _ => continue,
        }
        client.flush()?;
        tags += 1;
    }

    client.wire.call(0, "FCUnpublish", Value::Null, vec![name()])?;
    client.wire.call(0, "deleteStream", Value::Null, vec![stream.into()])?;
    println!("published {tags} tags in {:.1} s", started.elapsed().as_secs_f64());
    // A socket that is closed while bytes come in may lose what it has sent: the server closes first, or time is up.
    let deadline = Instant::now() + GOODBYE;
    while let Ok(Some(received)) = client.next(deadline) {
        if matches!(status(&received), Some(Ok(code)) if code == "NetStream.Unpublish.Success") {
            break;
        }
    }
    Ok(())
}

/// Waits, and listens meanwhile: pings are answered, and a server that ends the publish is heard. Whoever is late listens,
/// too.
fn wait(client: &mut Client, until: Instant) -> Result<(), Failure> {
    let until = until.max(Instant::now() + Duration::from_millis(1));
    while let Some(received) = client.next(until)? {
        if let Some(status) = status(&received) {
            status?;
        }
    }
    Ok(())
}

/// Metadata with the instruction to keep it for players: `@setDataFrame` as an AMF0 string.
fn for_the_server(body: &[u8]) -> Vec<u8> {
    let mut instruction = Vec::new();
    crtmp_rtmp::amf0::encode_str(&mut instruction, "@setDataFrame");
    if body.starts_with(&instruction) {
        return body.to_vec();
    }
    [&instruction, body].concat()
}
