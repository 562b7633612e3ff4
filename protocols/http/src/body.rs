//! Where the body of a message ends.

use crtmp_media::Limits;

use crate::{Refusal, chunked::ChunkedReader, request::body_too_large};

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With a chunk of size 0.
    Chunked,
    /// With the connection.
    UntilClose,
}

impl Framing {
    /// How long the body is, where that is known beforehand.
    pub const fn length(self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(length),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// Finds the body of one message among its bytes.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Bytes of the body that may still come.
    allowed: u64,
}

/// What was found in a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// How much of the input was looked at.
    pub used: usize,
    /// The part of it that belongs to the body.
    pub body: &'a [u8],
}

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(ChunkedReader),
    UntilClose,
}

impl BodyReader {
    /// The reader of a body that ends in this way and may have `httpBody` bytes.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(ChunkedReader::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, allowed: limits.http_body as u64 }
    }

    /// Whether the body is complete.
    pub const fn is_done(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::UntilClose => false,
        }
    }

    /// Looks for the next part of the body. Once it is complete, nothing more is used.
    ///
    /// # Errors
    ///
    /// Broken chunks, and a body beyond its limit.
    pub fn read<'a>(&mut self, data: &'a [u8], limits: &Limits) -> Result<Found<'a>, Refusal> {
        match &mut self.state {
            State::Length(left) => {
                if *left > self.allowed {
                    return Err(body_too_large(limits));
                }
                let used = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= used as u64;
                self.allowed -= used as u64;
                Ok(Found { used, body: &data[..used] })
            }
            State::Chunked(chunked) => chunked.read(data, &mut self.allowed, limits),
            State::UntilClose => {
                // All that is allowed comes through, in whatever pieces it comes.
                let allowed = usize::try_from(self.allowed).unwrap_or(usize::MAX);
                if allowed == 0 && !data.is_empty() {
                    return Err(body_too_large(limits));
                }
                let used = data.len().min(allowed);
                self.allowed -= used as u64;
                Ok(Found { used, body: &data[..used] })
            }
        }
    }
}
