//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.

use std::sync::Arc;
use std::time::Instant;

use crtmp_media::{Answer, Chain, Command, Env, Event, Layer, LayerSettings, Limits, Value};

use crate::command::{Argument, CommandLine, escape};
use crate::{asciicli, jsoncli, txtcli};

type MakeLayer = fn(&LayerSettings, Instant) -> Box<dyn Layer>;

/// A session of a command line: how the bytes are split changes nothing; what is read reads the same when it is
/// written again; nothing raw comes back.
pub fn cli_line(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        rewrite(line);
    }
    let (first, second) = data.split_at(split_point(data));
    let faces: [MakeLayer; 3] = [txtcli::layer, jsoncli::layer, asciicli::layer];
    for make in faces {
        let whole = converse(make, &[data]);
        assert_eq!(whole, converse(make, &[first, second]));
        assert_eq!(whole, converse(make, &data.chunks(1).collect::<Vec<_>>()));
        let text = String::from_utf8(whole.out).expect("what is sent is text");
        assert!(text.replace("\r\n", "").chars().all(|letter| !letter.is_control()), "{text:?}");
    }
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    commands: Vec<(String, String)>,
    out: Vec<u8>,
    error: Option<String>,
}

/// A session in which every command is answered at once, by its own parameters.
fn converse(make: MakeLayer, pieces: &[&[u8]]) -> Outcome {
    let limits = Arc::new(Limits { cli_line: 256, ..Limits::default() });
    let start = now();
    let layer = make(&LayerSettings { limits, ..LayerSettings::default() }, start);
    let mut chain = Chain::new(vec![layer]).expect("a chain of one layer");
    let mut env = Env { now: start, random: &mut |_| () };
    let mut outcome = Outcome::default();
    let mut result = chain.on_open(&mut env);
    let mut pieces = pieces.iter();
    while result.is_ok() {
        result = match chain.poll_event() {
            Some(Event::Connect { request, .. }) => {
                chain.on_command(Command::AnswerConnect { request, answer: Answer::Accept }, &mut env)
            }
            Some(Event::Message { request: Some(request), command, args, .. }) => {
                let Some(Value::String(parameters)) = args.into_iter().next() else {
                    panic!("no parameters")
                };
                let answer = format!(r#"{{"status":"SUCCESS","data":{parameters}}}"#);
                outcome.commands.push((command, parameters));
                let result = Ok(Value::String(answer));
                chain.on_command(Command::AnswerMessage { request, result }, &mut env)
            }
            Some(event) => panic!("{event:?}"),
            None => match pieces.next() {
                Some(piece) => chain.on_data(piece, &mut env),
                None => break,
            },
        };
    }
    outcome.error = result.err().map(|error| error.to_string());
    let queue = chain.send().expect("one layer");
    outcome.out = queue.slices().collect::<Vec<_>>().concat();
    outcome
}

/// Reads a line, writes it again, reads that.
fn rewrite(line: &[u8]) {
    let Ok(Some(command)) = CommandLine::parse(line) else { return };
    let mut again = command.name.clone();
    for (key, argument) in &command.parameters {
        let value = match argument {
            Argument::Text(text) => escape(text),
            Argument::List(texts) => texts.iter().map(|text| escape(text)).collect::<Vec<_>>().join(","),
        };
        again += &format!(" {}={value}", escape(key));
    }
    assert_eq!(CommandLine::parse(again.as_bytes()), Ok(Some(command)));
}

/// A place to cut that the input itself decides, so that a fuzzer reaches all of them.
fn split_point(data: &[u8]) -> usize {
    let sum = data.iter().fold(0_usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    sum % (data.len() + 1)
}

#[allow(clippy::disallowed_methods, reason = "a fuzz target starts its own clock")]
fn now() -> Instant {
    Instant::now()
}
