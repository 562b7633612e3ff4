//! Prints what is said on RTMP connections: from a capture in pcap format, or a file with what one side has sent.
//!
//! ```text
//! tshark -i lo -f 'tcp port 1935' -F pcap -w talk.pcap
//! cargo run --example dump -- talk.pcap
//! ```
//!
//! One line for each message: time, direction, chunk stream, type, message stream, timestamp, length, and what it says.
//! The chunk layer alone does the work, so what is printed is what was sent, whether or not it makes sense.
#![forbid(unsafe_code)]

mod shared;

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use crtmp_media::{Limits, tag};
use crtmp_rtmp::aggregate;
use crtmp_rtmp::chunk::{ChunkReader, DEFAULT_CHUNK_SIZE, Message, ReadLimits};
use crtmp_rtmp::message::{Command, Control, Data, kind};
use shared::Failure;
use shared::pcap::{self, Flow, Piece};

const USAGE: &str = "usage: dump FILE";

/// Bytes of the handshake: a version and two packets.
const HANDSHAKE: usize = 1 + 2 * 1536;
/// Characters of what a message says.
const TEXT: usize = 600;

fn main() -> ExitCode {
    shared::run("dump", |args| match &args[..] {
        [file] => dump(Path::new(file)),
        _ => Err(USAGE.into()),
    })
}

fn dump(file: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut output = std::io::stdout().lock();
    let mut print = |line: String| match writeln!(output, "{}", line.trim_start()) {
        Ok(()) => {}
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => panic!("cannot write: {error}"),
    };
    let (mut sides, mut first) = (HashMap::<Flow, Side>::new(), None);
    let is_capture = pcap::read(&bytes, &mut |time, flow, piece| {
        let begin = format!("{:10.6} {} > {}", time - *first.get_or_insert(time), flow.0, flow.1);
        let side = sides.entry(flow).or_default();
        match piece {
            Piece::Begin => *side = Side::default(),
            Piece::Bytes(bytes) => side.read(&bytes, &begin, &mut print),
            Piece::Gap => side.end(&format!("{begin} bytes are missing in the capture"), &mut print),
        }
    });
    if !is_capture {
        Side::default().read(&bytes, "", &mut print);
    }
    Ok(())
}

/// Takes a line.
type Print<'a> = &'a mut dyn FnMut(String);

/// What one side of a connection sends.
struct Side {
    /// Bytes of the handshake so far.
    shaken: usize,
    reader: ChunkReader,
    chunk_size: usize,
    /// It is no RTMP, or cannot be followed any more.
    over: bool,
}

impl Default for Side {
    fn default() -> Self {
        Self { shaken: 0, reader: ChunkReader::new(), chunk_size: DEFAULT_CHUNK_SIZE as usize, over: false }
    }
}

impl Side {
    fn read(&mut self, mut bytes: &[u8], begin: &str, print: Print<'_>) {
        if self.over {
            return;
        }
        if self.shaken == 0
            && let Some(first) = bytes.first().filter(|first| **first != 3)
        {
            return self.end(&format!("{begin} no RTMP: the first byte is {first:#04x}, not 3"), print);
        }
        if self.shaken < HANDSHAKE {
            let step = bytes.len().min(HANDSHAKE - self.shaken);
            self.shaken += step;
            bytes = &bytes[step..];
            if self.shaken == HANDSHAKE {
                print(format!("{begin} handshake"));
            }
        }
        let limits = Limits::default();
        loop {
            match self.reader.read(bytes, &ReadLimits::after(&limits)) {
                Ok((used, message)) => {
                    bytes = &bytes[used..];
                    // The reader obeys this message and does not show it.
                    let size = self.reader.chunk_size();
                    if std::mem::replace(&mut self.chunk_size, size) != size {
                        print(format!("{begin} chunk size {size}"));
                    }
                    let Some(message) = message else { return };
                    print(line(begin, &message, &limits));
                    if message.kind == kind::AGGREGATE
                        && let Ok(split) = aggregate::split(&message, limits.aggregate_messages)
                    {
                        split.messages.iter().for_each(|part| print(line(begin, part, &limits) + " (part)"));
                    }
                }
                Err(error) => return self.end(&format!("{begin} cannot be followed: {error}"), print),
            }
        }
    }

    fn end(&mut self, text: &str, print: Print<'_>) {
        self.over = true;
        print(text.to_owned());
    }
}

fn line(begin: &str, message: &Message, limits: &Limits) -> String {
    let Message { csid, kind, stream, timestamp, body } = message;
    let mut text = said(*kind, body, limits);
    if let Some((end, _)) = text.char_indices().nth(TEXT) {
        text.truncate(end);
        text.push('…');
    }
    format!("{begin} chunks {csid} type {kind} stream {stream} time {timestamp} bytes {} {text}", body.len())
}

/// What a message says. Text of peers is printed in quotes with escapes: a terminal must not obey it.
fn said(kind: u8, body: &[u8], limits: &Limits) -> String {
    match kind {
        kind::SET_CHUNK_SIZE..=kind::PEER_BANDWIDTH => match Control::parse(kind, body) {
            Ok(Some(control)) => format!("{control:?}"),
            Ok(None) => "control: unknown".to_owned(),
            Err(error) => format!("control: {error}"),
        },
        kind::AUDIO | kind::VIDEO => {
            let (name, header) = match kind {
                kind::AUDIO => ("audio", tag::audio(body, limits)),
                _ => ("video", tag::video(body, limits)),
            };
            match header {
                Ok(header) => format!(
                    "{name} {} {:?} track {} composition {}",
                    header.codec, header.role, header.track, header.cts
                ),
                Err(error) => format!("{name}: {error}"),
            }
        }
        kind::COMMAND | kind::COMMAND_AMF3 => match Command::parse(kind, body, limits) {
            Ok(Command { name, transaction, object, args }) => {
                format!("command {name:?} {transaction} {object:?} {args:?}")
            }
            Err(error) => format!("command: {error}"),
        },
        kind::DATA | kind::DATA_AMF3 => match Data::parse(kind, body, limits) {
            Ok(Data { name, args }) => format!("data {name:?} {args:?}"),
            Err(error) => format!("data: {error}"),
        },
        kind::SHARED_OBJECT | kind::SHARED_OBJECT_AMF3 => "shared object".to_owned(),
        kind::AGGREGATE => "aggregate".to_owned(),
        _ => "unknown".to_owned(),
    }
}
