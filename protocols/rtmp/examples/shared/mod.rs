//! What the examples share: a client's connection, FLV files, and captures.
#![allow(dead_code, reason = "no example uses all of it")]
#![allow(clippy::disallowed_methods, reason = "a program has a clock, only the library has none")]

pub(crate) mod client;
pub(crate) mod flv;
pub(crate) mod pcap;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

/// Whatever goes wrong, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs an example; what went wrong goes to standard error behind its name.
pub(crate) fn run(name: &str, main: impl FnOnce(Vec<String>) -> Result<(), Failure>) -> ExitCode {
    match main(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the option `name` and the number behind it out of the arguments.
pub(crate) fn number(args: &mut Vec<String>, name: &str) -> Result<Option<f64>, Failure> {
    let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
    let number = args.get(at + 1).and_then(|text| text.parse().ok());
    let number = number.filter(|number: &f64| (0.0..=1e9).contains(number));
    let number = number.ok_or_else(|| format!("{name} wants a number of seconds behind it"))?;
    args.drain(at..at + 2);
    Ok(Some(number))
}

/// Bytes that are different each time. A handshake asks for no more; they are no secret.
pub(crate) fn random(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(8) {
        let number = RandomState::new().hash_one(0).to_ne_bytes();
        piece.copy_from_slice(&number[..piece.len()]);
    }
}
