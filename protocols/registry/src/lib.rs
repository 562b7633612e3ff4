//! Which protocols and chains there are: three tables, and nothing else.
//!
//! Adding a protocol is one folder beside this one and one row in [`layers`]; adding a chain of existing
//! protocols is one row in [`CHAINS`]; having its ports take the connections of other chains, too, is one in [`MIXED`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests start their own clocks anywhere"))]

#[doc(hidden)]
pub mod fuzz;

use std::time::Instant;

use crtmp_cli::{asciicli, httpjsoncli, jsoncli, txtcli};
use crtmp_http::{
    bytes::HttpBody,
    client::OutboundHttp,
    server::{InboundHttp, begins as http_begins},
};
use crtmp_media::{ChainRow, KeyKind, KeyRow, Layer, LayerRow, LayerSettings, Port, Prepare};
use crtmp_rtmp::{
    handshake::is_rtmp,
    layer::{InboundRtmp, OutboundRtmp},
    rtmpe::{InboundRtmpe, OutboundRtmpe},
    session::SessionSettings,
};
use crtmp_rtmpt::{
    client::OutboundRtmpt,
    server::{self as rtmpt, InboundRtmpt},
};
use crtmp_tls::{
    client,
    client::ClientTrust,
    layer::{self, Tls},
    server,
    server::ServerKeys,
};
use crtmp_variant::{
    Encoding,
    layer::{HttpVariant, RawVariant},
};

/// All protocols: name, far port, near port, keys, and what makes a layer of it.
pub fn layers() -> Vec<LayerRow> {
    vec![
        beginning(http_begins, row("http", Port::Bytes, Port::Http, &[], inbound_http)),
        row("httpbody", Port::Http, Port::Bytes, &[], http_body),
        row("outboundHttp", Port::Bytes, Port::Http, &[], outbound_http),
        beginning(is_rtmp, row("rtmp", Port::Bytes, Port::Server, RTMP_KEYS, inbound_rtmp)),
        row("outboundrtmp", Port::Bytes, Port::Server, &[], outbound_rtmp),
        carrying(INBOUND_RTMP, row("rtmpt", Port::Http, Port::Server, rtmpt::KEYS, inbound_rtmpt)),
        carrying(INBOUND_RTMPE, row("rtmpte", Port::Http, Port::Server, rtmpt::KEYS, inbound_rtmpt)),
        row("rtmpe", Port::Bytes, Port::Bytes, &[], inbound_rtmpe),
        row("outboundrtmpe", Port::Bytes, Port::Bytes, &[], outbound_rtmpe),
        row("innerrtmp", Port::Bytes, Port::Server, &[], inner_rtmp),
        row("outboundinnerrtmp", Port::Bytes, Port::Server, &[], outbound_inner_rtmp),
        row("outboundrtmpt", Port::Http, Port::Bytes, &[], outbound_rtmpt),
        row("xmlvariant", Port::Bytes, Port::Server, &[], raw_xml_variant),
        row("binvariant", Port::Bytes, Port::Server, &[], raw_binary_variant),
        row("jsonvariant", Port::Bytes, Port::Server, &[], raw_json_variant),
        row("httpxmlvariant", Port::Http, Port::Server, &[], http_xml_variant),
        row("httpbinvariant", Port::Http, Port::Server, &[], http_binary_variant),
        row("httpjsonvariant", Port::Http, Port::Server, &[], http_json_variant),
        row("txtcli", Port::Bytes, Port::Server, txtcli::KEYS, txtcli::layer),
        row("jsoncli", Port::Bytes, Port::Server, jsoncli::KEYS, jsoncli::layer),
        row("asciicli", Port::Bytes, Port::Server, asciicli::KEYS, asciicli::layer),
        LayerRow {
            name: "httpjsoncli".into(),
            far: Port::Http,
            near: Port::Server,
            keys: httpjsoncli::KEYS,
            sessions: None,
            prepare: None,
            begins: None,
            make: Box::new(httpjsoncli::layer),
        },
        tls("tls", server::KEYS, Box::new(ServerKeys::prepare), Tls::inbound),
        tls("outboundtls", client::KEYS, Box::new(ClientTrust::prepare), |settings, _| {
            Tls::outbound(settings)
        }),
    ]
}

/// The chain of RTMP, which other chains carry.
const INBOUND_RTMP: &str = "inboundRtmp";

/// The chain of encrypted RTMP, likewise.
const INBOUND_RTMPE: &str = "inboundRtmpe";

/// The chain of RTMP over HTTP.
const INBOUND_RTMPT: &str = "inboundRtmpt";

/// The chain of RTMP within TLS.
const INBOUND_RTMPS: &str = "inboundRtmps";

/// The chain of RTMP over HTTPS.
const INBOUND_RTMPTS: &str = "inboundRtmpts";

/// Chains whose ports take others as well, told apart by the first byte: which, and the flags of their layers that are
/// true there unless an acceptor says otherwise.
pub const MIXED: &[(&str, &[&str], &[&str])] = &[
    (INBOUND_RTMPS, &[INBOUND_RTMPTS], &[]),
    ("inboundRtmpAny", &[INBOUND_RTMP, INBOUND_RTMPT, INBOUND_RTMPS, INBOUND_RTMPTS], &["rtmpe"]),
];

/// The rows of [`CHAINS`] and [`MIXED`].
pub fn chains() -> impl Iterator<Item = ChainRow> {
    CHAINS.iter().map(|(name, layers)| {
        let row = ChainRow::new(*name, layers.iter().copied());
        match MIXED.iter().find(|(mixed, ..)| mixed == name) {
            Some((_, also, flags)) => ChainRow {
                also: also.iter().map(|name| (*name).into()).collect(),
                flags: flags.to_vec(),
                ..row
            },
            None => row,
        }
    })
}

/// All chains: their names, which are the `protocol` of acceptors, and their layers behind the carrier, far to near.
pub const CHAINS: &[(&str, &[&str])] = &[
    (INBOUND_RTMP, &["rtmp"]),
    (INBOUND_RTMPE, &["rtmpe", "innerrtmp"]),
    (INBOUND_RTMPT, &["http", "rtmpt"]),
    ("inboundRtmpte", &["http", "rtmpte"]),
    ("outboundRtmp", &["outboundrtmp"]),
    ("outboundRtmpe", &["outboundrtmpe", "outboundinnerrtmp"]),
    (INBOUND_RTMPTS, &["tls", "http", "rtmpt"]),
    (INBOUND_RTMPS, &["tls", "rtmp"]),
    ("outboundRtmps", &["outboundtls", "outboundrtmp"]),
    ("inboundRtmpAny", &[]),
    ("outboundRtmpt", &["outboundHttp", "outboundrtmpt", "outboundrtmp"]),
    ("outboundRtmpte", &["outboundHttp", "outboundrtmpt", "outboundrtmpe", "outboundinnerrtmp"]),
    ("outboundRtmpts", &["outboundtls", "outboundHttp", "outboundrtmpt", "outboundrtmp"]),
    ("inboundXmlVariant", &["xmlvariant"]),
    ("inboundBinVariant", &["binvariant"]),
    ("inboundJsonVariant", &["jsonvariant"]),
    ("inboundHttpXmlVariant", &["http", "httpxmlvariant"]),
    ("inboundHttpBinVariant", &["http", "httpbinvariant"]),
    ("inboundHttpJsonVariant", &["http", "httpjsonvariant"]),
    ("inboundHttpsXmlVariant", &["tls", "http", "httpxmlvariant"]),
    ("inboundHttpsBinVariant", &["tls", "http", "httpbinvariant"]),
    ("inboundHttpsJsonVariant", &["tls", "http", "httpjsonvariant"]),
    ("inboundTxtCli", &["txtcli"]),
    ("inboundJsonCli", &["jsoncli"]),
    ("inboundAsciiCli", &["asciicli"]),
    ("inboundHttpJsonCli", &["http", "httpjsoncli"]),
    ("inboundHttpsJsonCli", &["tls", "http", "httpjsoncli"]),
];

/// What acceptors say to RTMP: whether encrypted peers are taken, too.
const RTMP_KEYS: &[KeyRow] = &[KeyRow { name: "rtmpe", kind: KeyKind::Flag }];

/// Chains that are known from crtmpserver and EvoStream and are not served yet, with the feature they belong to.
pub const LATER: &[(&str, &str)] = &[
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
    ("outboundXmlVariant", "the variant protocols"),
    ("outboundBinVariant", "the variant protocols"),
    ("outboundJsonVariant", "the variant protocols"),
    ("outboundHttpXmlVariant", "the variant protocols"),
    ("outboundHttpBinVariant", "the variant protocols"),
    ("outboundHttpJsonVariant", "the variant protocols"),
    ("outboundHttpsXmlVariant", "the variant protocols"),
    ("outboundHttpsBinVariant", "the variant protocols"),
    ("outboundHttpsJsonVariant", "the variant protocols"),
    ("inboundJsonMeta", "metadata streams"),
    ("wsJsonMeta", "metadata streams"),
    ("inboundWSFMP4", "fragmented MP4 over WebSocket"),
];

fn row(
    name: &'static str,
    far: Port,
    near: Port,
    keys: &'static [KeyRow],
    make: fn(&LayerSettings, Instant) -> Box<dyn Layer>,
) -> LayerRow {
    let make = Box::new(move |settings: &LayerSettings, now| Ok(make(settings, now)));
    LayerRow { name: name.into(), far, near, keys, sessions: None, prepare: None, begins: None, make }
}

/// The same for a layer that can be told from others by its first byte.
fn beginning(begins: fn(u8) -> bool, row: LayerRow) -> LayerRow {
    LayerRow { begins: Some(begins), ..row }
}

/// The same for a layer that carries connections of the chain `sessions`.
fn carrying(sessions: &'static str, row: LayerRow) -> LayerRow {
    LayerRow { sessions: Some(sessions.into()), ..row }
}

fn inbound_rtmpt(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(InboundRtmpt::new(settings, now))
}

fn tls(
    name: &'static str,
    keys: &'static [KeyRow],
    prepare: Box<Prepare>,
    make: fn(&LayerSettings, Instant) -> Result<Tls, String>,
) -> LayerRow {
    let make = Box::new(move |settings: &LayerSettings, now| {
        make(settings, now).map(|layer| Box::new(layer) as Box<dyn Layer>)
    });
    LayerRow {
        name: name.into(),
        far: Port::Bytes,
        near: Port::Bytes,
        keys,
        sessions: None,
        prepare: Some(prepare),
        begins: Some(layer::begins),
        make,
    }
}

fn inbound_http(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(InboundHttp::new(settings, now))
}

fn http_body(_: &LayerSettings, _: Instant) -> Box<dyn Layer> {
    Box::<HttpBody>::default()
}

fn outbound_http(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(OutboundHttp::new(settings, now))
}

fn inbound_rtmp(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    if settings.flag("rtmpe") {
        return Box::new(InboundRtmp::plain_or_encrypted(rtmp_settings(settings), now));
    }
    Box::new(InboundRtmp::new(rtmp_settings(settings), now))
}

fn inbound_rtmpe(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(InboundRtmpe::new(settings.limits.clone(), settings.validate_handshake, now))
}

fn outbound_rtmpe(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(OutboundRtmpe::new(settings.limits.clone(), now))
}

fn inner_rtmp(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(InboundRtmp::inner(rtmp_settings(settings), now))
}

fn outbound_inner_rtmp(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(OutboundRtmp::inner(rtmp_settings(settings), now))
}

fn outbound_rtmpt(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(OutboundRtmpt::new(settings, now))
}

fn outbound_rtmp(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(OutboundRtmp::new(rtmp_settings(settings), now))
}

fn rtmp_settings(settings: &LayerSettings) -> SessionSettings {
    let LayerSettings { limits, validate_handshake, chunk_size, instance, .. } = settings.clone();
    SessionSettings { limits, validate_handshake, chunk_size, instance }
}

fn raw_xml_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(RawVariant::new(Encoding::Xml, settings, now))
}

fn raw_binary_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(RawVariant::new(Encoding::Binary, settings, now))
}

fn raw_json_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(RawVariant::new(Encoding::Json, settings, now))
}

fn http_xml_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(HttpVariant::new(Encoding::Xml, settings, now))
}

fn http_binary_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(HttpVariant::new(Encoding::Binary, settings, now))
}

fn http_json_variant(settings: &LayerSettings, now: Instant) -> Box<dyn Layer> {
    Box::new(HttpVariant::new(Encoding::Json, settings, now))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_layers_can_be_made() {
        for row in layers() {
            // Without what it has prepared, or would, a layer is not made.
            let made = (row.make)(&LayerSettings::default(), Instant::now());
            assert_eq!(made.is_ok(), row.prepare.is_none(), "{}", row.name);
        }
    }

    #[test]
    fn what_carries_others_carries_a_chain_that_is_there() {
        let carried: Vec<_> = layers().into_iter().filter_map(|row| row.sessions).collect();
        assert!(!carried.is_empty());
        for name in carried {
            assert!(CHAINS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let layers = layers();
        let mut seen = HashSet::new();
        assert!(layers.iter().all(|row| seen.insert(&*row.name)));
        seen.clear();
        for name in CHAINS.iter().map(|(name, _)| *name).chain(LATER.iter().map(|(name, _)| *name)) {
            assert!(seen.insert(name), "{name}");
        }
    }
}
