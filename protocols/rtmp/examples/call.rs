//! Connects to any RTMP server, calls a command, and prints everything that the server says.
//!
//! ```text
//! cargo run --example call -- rtmp://localhost/live getStreamLength '"film"' --seconds 2
//! ```
//!
//! Arguments are JSON; what is none is taken for text.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program has a clock, only the library has none")]

mod shared;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crtmp_media::Value;
use crtmp_rtmp::wire::Received;
use shared::Failure;
use shared::client::{Client, Url};

const USAGE: &str = "usage: call rtmp://host[:port]/app [COMMAND [ARGUMENT…]] [--seconds N]";

/// How long to listen, in seconds.
const SECONDS: f64 = 2.0;

fn main() -> ExitCode {
    shared::run("call", |mut args| {
        let seconds = shared::number(&mut args, "--seconds")?.unwrap_or(SECONDS);
        let [url, rest @ ..] = &args[..] else { return Err(USAGE.into()) };
        let mut url = Url::parse(url)?;
        // Here the whole path is the application: nobody publishes or plays.
        if !url.stream.is_empty() {
            url.app = format!("{}/{}", url.app, url.stream);
        }
        call(&url, rest, Duration::from_secs_f64(seconds))
    })
}

fn call(url: &Url, command: &[String], listen: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut client, answer) = Client::connect(url)?;
    show(started, &Received::Command { stream: 0, command: answer });
    if let [name, args @ ..] = command {
        let args = args.iter().map(|text| argument(text)).collect();
        // The answer, if there is one, has this transaction.
        let transaction = client.wire.call(0, name, Value::Null, args)?;
        println!("called {name} as {transaction}");
    }
    let deadline = Instant::now() + listen;
    while let Some(received) = client.next(deadline)? {
        show(started, &received);
    }
    Ok(())
}

/// Prints what came, with escapes where a terminal might obey it.
fn show(started: Instant, received: &Received) {
    print!("{:8.3} ", started.elapsed().as_secs_f64());
    match received {
        Received::Open(kind) => println!("handshake done: {kind:?}"),
        Received::Command { stream, command } => {
            println!("{} {} on {stream}", command.name.escape_debug(), command.transaction);
            for value in std::iter::once(&command.object).chain(&command.args) {
                println!("{:9}  {value:?}", "");
            }
        }
        Received::Audio(message) => println!("audio, {} bytes", message.body.len()),
        Received::Video(message) => println!("video, {} bytes", message.body.len()),
        Received::Data { data, .. } => println!("{} {:?}", data.name.escape_debug(), data.args),
        Received::Control(control) => println!("{control:?}"),
        Received::Other(message) => println!("type {}, {} bytes", message.kind, message.body.len()),
    }
}

fn argument(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| text.into(), value)
}

fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).into(),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Value::StrictArray(items.into_iter().map(value).collect()),
        serde_json::Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, member)| (key, value(member))).collect())
        }
    }
}
