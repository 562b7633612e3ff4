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
    /// Whether what it reads may begin with this byte, where that can be said: by that, ports that serve several chains
    /// tell them apart.
    pub begins: Option<fn(u8) -> bool>,
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
    /// Its layers behind the carrier, far to near; none: it is but the name for those that its ports take as well.
    pub layers: Vec<Cow<'static, str>>,
    /// Chains that its ports take as well, told apart by the first byte ([`Ways`](crate::Ways)).
    pub also: Vec<Cow<'static, str>>,
    /// Flags of its layers that are true at its ports unless an acceptor says otherwise.
    pub flags: Vec<&'static str>,
}

impl ChainRow {
    /// A chain whose ports take no other one.
    pub fn new<L: Into<Cow<'static, str>>>(
        name: impl Into<Cow<'static, str>>,
        layers: impl IntoIterator<Item = L>,
    ) -> Self {
        let layers = layers.into_iter().map(Into::into).collect();
        Self { name: name.into(), layers, also: Vec::new(), flags: Vec::new() }
    }
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
