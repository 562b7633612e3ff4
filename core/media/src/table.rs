//! Rows of the tables of layers and chains, from wherever they come: this tree, a plugin, a configuration.

use std::{borrow::Cow, time::Instant};

use crate::{Layer, LayerSettings, Prepare};

/// What a layer hands to its nearer neighbour, or expects of its farther one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A stream of bytes.
    Bytes,
    /// HTTP messages: heads, bodies, ends.
    Http,
    /// Nothing: the layer is an endpoint.
    Server,
}

/// A protocol that can stand in a chain.
pub struct LayerRow {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it expects of its farther neighbour.
    pub far: Port,
    /// What it hands to its nearer neighbour.
    pub near: Port,
    /// The keys of an acceptor that it takes.
    pub keys: &'static [KeyRow],
    /// The chain of the connections that it carries, for an endpoint that carries others (a tunnel).
    pub sessions: Option<Cow<'static, str>>,
    /// Makes of the keys, once and not on a worker, what all its connections share: what it reads from files, above
    /// all. It is handed to `make` in [`LayerSettings::prepared`].
    pub prepare: Option<Box<Prepare>>,
    /// Makes the layer of a connection that came at the given time.
    pub make: Box<MakeLayer>,
}

/// Makes a layer; an error, in words, costs the connection.
pub type MakeLayer = dyn Fn(&LayerSettings, Instant) -> Result<Box<dyn Layer>, String> + Send + Sync;

/// A chain that an acceptor can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRow {
    /// Its name: the `protocol` of an acceptor.
    pub name: Cow<'static, str>,
    /// Its layers behind the carrier, far to near.
    pub layers: Vec<Cow<'static, str>>,
}

/// A key of an acceptor that a layer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: KeyKind,
}

/// What a key of a layer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of tables, each with all of these keys and no others; their values are texts.
    Tables(&'static [&'static str]),
    /// A whole number between these.
    Whole(u64, u64),
}
