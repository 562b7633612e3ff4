//! What the layers of an acceptor or connector share, made before any connection: certificates, say.

use std::{any::Any, fmt, sync::Arc};

use crate::LayerSettings;

/// What a layer has made of its keys once, for all its connections ([`LayerRow::prepare`](crate::LayerRow::prepare)).
pub trait Prepared: Any + fmt::Debug + Send + Sync {
    /// Reads again what it was made from. Connections that are there keep what they began with.
    ///
    /// # Errors
    ///
    /// What is wrong; then it stays as it was.
    fn renew(&self, outside: &Outside<'_>) -> Result<(), Vec<Unfit>>;

    /// What of it holds for a time only.
    fn terms(&self) -> Vec<Term>;
}

/// The world outside of the protocols, as far as a layer may look at it while it prepares.
pub struct Outside<'a> {
    /// Reads a file, or says in words why not.
    pub read: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
    /// The certificates (DER) that the system trusts.
    pub roots: &'a dyn Fn() -> Vec<Vec<u8>>,
}

/// Makes what the connections of an acceptor or connector with these settings share.
pub type Prepare =
    dyn Fn(&LayerSettings, &Outside<'_>) -> Result<Arc<dyn Prepared>, Vec<Unfit>> + Send + Sync;

/// A key of an acceptor or connector that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The key; `sslNames[2].key` for a part of it.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl Unfit {
    /// A key, what was found, and what was expected.
    pub fn new(key: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.into(), expected: expected.into() }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// How long something holds, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it is: the file that it stands in.
    pub name: String,
    /// Whom it is for, such as the names in a certificate.
    pub of: String,
    /// Since when it holds.
    pub from: i64,
    /// Until when.
    pub until: i64,
}
