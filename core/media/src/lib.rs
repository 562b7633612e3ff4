//! The vocabulary of the server: what protocols, the relay, the reactor and the host have in common.
//!
//! Nothing here knows a socket, a clock, a thread or a log. Where to start:
//!
//! * [`Frame`] is media on its way through the server, [`Packet`] the same encoded for one wire format.
//! * [`Layer`] is the contract of a protocol, [`Chain`] a list of layers from far to near.
//! * [`Event`] is what a chain's endpoint tells the server, [`Command`] what the server orders from it.
//! * [`Limits`] holds every named limit that guards a connection.
//!
//! Far means nearer to the outside world, near means nearer to the server.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

pub mod ahead;
mod bandwidth;
mod chain;
mod codec;
mod declared;
mod event;
mod frame;
mod http;
mod layer;
mod limits;
mod name;
mod network;
mod out_queue;
mod packet;
mod prepare;
mod references;
mod shared_object;
mod slice;
mod table;
pub mod tag;
mod tunnel;
mod value;
mod via;
mod ways;
mod wheel;

pub use bandwidth::{BandwidthKind, BandwidthPlan, BandwidthReport, BandwidthSample};
pub use chain::{Chain, Env, Named};
pub use codec::Codec;
pub use declared::{CAPS_EX, Codecs, Declared, EnhancedRtmp};
pub use event::{
    Answer, CallOutcome, Command, ConnectInfo, Error, Event, Fault, Join, PlayRequest, PublishKind, Pull,
    Push, RequestId, Skipped, StreamSlot,
};
pub use frame::{Frame, MediaKind, Role};
pub use http::{HttpHead, HttpStart};
pub use layer::{Alone, Cx, Layer, LayerSettings, Neighbour};
pub use limits::{LimitError, Limits, Seconds};
pub use name::{NameError, StreamName, split_query};
pub use network::network;
pub use out_queue::{OutQueue, Piece};
pub use packet::{Encoder, Format, Head, MakeEncoder, Packet, Retimed, View};
pub use prepare::{Outside, Prepare, Prepared, Term, Unfit};
pub use references::References;
pub use shared_object::{SharedItem, SharedNews, SharedRequest, SharedWish};
pub use slice::{Slice, SliceWriter};
pub use table::{ChainRow, KeyKind, KeyRow, LayerRow, MakeLayer, Port};
pub use tunnel::{Offered, Order, TunnelCall, TunnelId, TunnelRequest, TunnelVerb, Turn};
pub use value::{Items, Value, Vector};
pub use via::Via;
pub use ways::{Became, Way, Ways};
pub use wheel::Wheel;
