//! Which protocols and chains there are: two tables, and nothing else.
//!
//! Adding a protocol is one folder beside this one and one row in [`LAYERS`]; adding a chain of existing
//! protocols is one row in [`CHAINS`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

use std::time::Instant;

use crtmp_media::{Chain, Error, Layer, LayerSettings};
use crtmp_rtmp::{layer::InboundRtmp, session::SessionSettings};

/// What a layer hands to its nearer neighbour, or expects of its farther one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A stream of bytes.
    Bytes,
    /// Nothing: the layer is an endpoint.
    Server,
}

/// A protocol that can stand in a chain.
pub struct LayerRow {
    /// Its name.
    pub name: &'static str,
    /// What it expects of its farther neighbour.
    pub far: Port,
    /// What it hands to its nearer neighbour.
    pub near: Port,
    /// Makes the layer of a connection that came at the given time.
    pub make: fn(&LayerSettings, Instant) -> Box<dyn Layer>,
}

/// A chain that an acceptor can name.
pub struct ChainRow {
    /// Its name: the `protocol` of an acceptor.
    pub name: &'static str,
    /// Its layers behind the TCP carrier, far to near.
    pub layers: &'static [&'static str],
}

/// All protocols.
pub const LAYERS: &[LayerRow] =
    &[LayerRow { name: "rtmp", far: Port::Bytes, near: Port::Server, make: inbound_rtmp }];

/// All chains.
pub const CHAINS: &[ChainRow] = &[ChainRow { name: "inboundRtmp", layers: &["rtmp"] }];

/// Chains that are known from crtmpserver and EvoStream and are not served yet, with the feature they belong to.
pub const LATER: &[(&str, &str)] = &[
    ("inboundRtmps", "RTMP over TLS"),
    ("inboundRtmpt", "RTMP over HTTP"),
    ("inboundRtmpts", "RTMP over HTTPS"),
    ("inboundRtmpe", "encrypted RTMP"),
    ("inboundRtmpte", "encrypted RTMP over HTTP"),
    ("inboundRtmpAny", "RTMP of every kind on one port"),
    ("outboundRtmp", "pulling and pushing"),
    ("outboundRtmpe", "pulling and pushing"),
    ("outboundRtmps", "pulling and pushing"),
    ("outboundRtmpt", "pulling and pushing"),
    ("inboundTcpTs", "MPEG-TS"),
    ("inboundUdpTs", "MPEG-TS"),
    ("inboundRtsp", "RTSP"),
    ("inboundRtspRtp", "RTSP"),
    ("inboundRtspRtcp", "RTSP"),
    ("inboundUdpRtp", "RTSP"),
    ("inboundUdpRtcp", "RTSP"),
    ("rtpNatTraversal", "RTSP"),
    ("inboundLiveFlv", "live FLV"),
    ("outboundLiveFlv", "live FLV"),
    ("inboundHttp", "HTTP"),
    ("outboundHttp", "HTTP"),
    ("inboundRawHttpStream", "HTTP"),
    ("inboundRawHttpsStream", "HTTP"),
    ("inboundXmlVariant", "the variant protocols"),
    ("inboundBinVariant", "the variant protocols"),
    ("inboundJsonVariant", "the variant protocols"),
    ("outboundXmlVariant", "the variant protocols"),
    ("outboundBinVariant", "the variant protocols"),
    ("outboundJsonVariant", "the variant protocols"),
    ("inboundHttpXmlVariant", "the variant protocols"),
    ("inboundHttpBinVariant", "the variant protocols"),
    ("inboundHttpJsonVariant", "the variant protocols"),
    ("outboundHttpXmlVariant", "the variant protocols"),
    ("outboundHttpBinVariant", "the variant protocols"),
    ("outboundHttpJsonVariant", "the variant protocols"),
    ("inboundHttpsXmlVariant", "the variant protocols"),
    ("inboundHttpsBinVariant", "the variant protocols"),
    ("inboundHttpsJsonVariant", "the variant protocols"),
    ("outboundHttpsXmlVariant", "the variant protocols"),
    ("outboundHttpsBinVariant", "the variant protocols"),
    ("outboundHttpsJsonVariant", "the variant protocols"),
    ("inboundTxtCli", "the command line interface"),
    ("inboundAsciiCli", "the command line interface"),
    ("inboundJsonCli", "the command line interface"),
    ("inboundHttpJsonCli", "the command line interface"),
    ("inboundJsonMeta", "metadata streams"),
    ("wsJsonMeta", "metadata streams"),
    ("inboundWSFMP4", "fragmented MP4 over WebSocket"),
    ("echoProtocol", "the application samplefactory"),
    ("httpEchoProtocol", "the application samplefactory"),
    ("httpDownload", "the application samplefactory"),
];

/// Makes a chain for a connection that came at `now`.
///
/// # Errors
///
/// If there is no such chain, or its layers do not fit together: see [`check`].
pub fn build(chain: &str, settings: &LayerSettings, now: Instant) -> Result<Chain, Error> {
    let row = CHAINS
        .iter()
        .find(|row| row.name == chain)
        .ok_or_else(|| Error::ours("registry", format!("there is no chain {chain:?}")))?;
    let layers = row.layers.iter().map(|name| layer(name).map(|layer| (layer.make)(settings, now)));
    Chain::new(layers.collect::<Result<_, _>>()?)
}

/// Checks that every chain begins at bytes, ends at the server, and that neighbours fit.
///
/// # Errors
///
/// The first chain that does not, in words.
pub fn check() -> Result<(), Error> {
    for row in CHAINS {
        let mut port = Port::Bytes;
        for name in row.layers {
            let layer = layer(name)?;
            if layer.far != port {
                let rule =
                    format!("chain {:?}: the layer {name:?} does not fit its farther neighbour", row.name);
                return Err(Error::ours("registry", rule));
            }
            port = layer.near;
        }
        if port != Port::Server {
            return Err(Error::ours("registry", format!("chain {:?} has no endpoint", row.name)));
        }
    }
    Ok(())
}

fn layer(name: &str) -> Result<&'static LayerRow, Error> {
    LAYERS
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| Error::ours("registry", format!("there is no layer {name:?}")))
}

fn inbound_rtmp(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    let LayerSettings { limits, validate_handshake, chunk_size } = settings.clone();
    Box::new(InboundRtmp::new(SessionSettings { limits, validate_handshake, chunk_size }, now))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use super::*;

    #[test]
    fn all_chains_fit_and_can_be_made() {
        check().unwrap();
        let settings = LayerSettings { limits: Arc::default(), validate_handshake: true, chunk_size: 60_000 };
        for row in CHAINS {
            assert!(build(row.name, &settings, Instant::now()).is_ok(), "{}", row.name);
        }
        assert!(build("inboundNothing", &settings, Instant::now()).is_err());
    }

    #[test]
    fn no_name_stands_twice() {
        let names = LAYERS.iter().map(|row| row.name).chain(CHAINS.iter().map(|row| row.name));
        let mut seen = HashSet::new();
        for name in names.chain(LATER.iter().map(|(name, _)| *name)) {
            assert!(seen.insert(name), "{name}");
        }
    }
}
