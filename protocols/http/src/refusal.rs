//! Why a message is not taken.

use std::fmt;

use crtmp_media::Error;

/// A message that breaks a rule or a limit, and the status of the response that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status for the peer, where it is a client.
    pub status: u16,
    /// The rule that was broken, in words; holds nothing that the peer sent.
    pub rule: String,
}

impl Refusal {
    /// The refusal of a message that breaks `rule`.
    pub fn new(status: u16, rule: impl fmt::Display) -> Self {
        Self { status, rule: rule.to_string() }
    }

    /// The refusal of a message that is not HTTP.
    pub(crate) fn bad(rule: impl fmt::Display) -> Self {
        Self::new(400, rule)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::peer("http", refusal.rule)
    }
}
