//! Ports that serve several chains: different clients by different schemes at the same time.

use std::thread;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::{Config, Launch, Server, ffmpeg};
use serde_json::Value;

use super::{Client, Scheme, WAYS, does, table::CERTIFICATES, verdict};
use crate::SOON;

const ANY: &str = "inboundRtmpAny";

/// A server with such a port, a publisher, and what is done there: publishes and plays at once, by all of these.
fn at_once(chain: &str, clients: &[(Client, Scheme)], beside: impl Fn(&Server) + Sync) {
    let keys = format!("protocol = {chain:?}, {}", CERTIFICATES.keys("server"));
    let server =
        Server::start(&Config::new().workers(4).whole_groups().acceptor(&keys).block(&administrator()));
    let address = server.address_of(chain);
    let _source = ffmpeg::publish_film(&server.url("source")).start();
    server.wait_for_publisher("source");
    thread::scope(|scope| {
        for (client, scheme) in clients {
            for way in WAYS.into_iter().filter(|way| verdict(*client, *scheme, *way).is_ok()) {
                let server = &server;
                scope.spawn(move || does(*client, *scheme, way, address, server));
            }
        }
        beside(&server);
    });
    server.stop();
}

/// What whoever asks by HTTP gets.
fn asked(url: &str) -> String {
    let launch = Launch::new("curl").args("-sS -i --cacert").arg(CERTIFICATES.path("ca.pem"));
    launch.arg(url).run().success().stdout
}

/// The names of the chains of connections, and of the layers of each.
fn listed(server: &Server) -> Vec<(String, String)> {
    let list = Session::operator(server).done("listConnections");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let layers = |one: &Value| {
        let stack = one["stack"].as_array().expect("a stack").iter();
        stack.map(|layer| text(&layer["type"])).collect::<Vec<_>>().join(" ")
    };
    list.as_array().expect("a list").iter().map(|one| (text(&one["protocol"]), layers(one))).collect()
}

/// RPT-09 among them: RTMPT within TLS, and encrypted.
#[test]
fn one_port_takes_all_schemes_at_once() {
    let clients = [
        (Client::Ffmpeg, Scheme::Rtmp),
        (Client::Ffmpeg, Scheme::Rtmps),
        (Client::Ffmpeg, Scheme::Rtmpt),
        (Client::Ffmpeg, Scheme::Rtmpts),
        (Client::Ffmpeg9, Scheme::Rtmpe),
        (Client::Rtmpdump, Scheme::Rtmpe),
        (Client::Rtmpdump, Scheme::Rtmpte),
        (Client::Librtmp, Scheme::Rtmpte),
        (Client::Rtmp2, Scheme::Rtmps),
    ];
    at_once(ANY, &clients, |server| {
        let port = server.address_of(ANY).port();
        for scheme in ["http", "https"] {
            let heard = asked(&format!("{scheme}://localhost:{port}/index.html"));
            assert!(heard.starts_with("HTTP/1.1 404 Not Found\r\n"), "{heard}");
            assert!(heard.ends_with(
                "There is nothing here but RTMP over HTTP, for clients of rtmpt:// and rtmpts://.\n"
            ));
        }
        let expected = [
            ("inboundRtmp", "rtmp"),
            ("inboundRtmp", "rtmpe innerrtmp"),
            ("inboundRtmps", "tls rtmp"),
            ("inboundRtmpt", "http rtmpt"),
            ("inboundRtmpt", "rtmp"),
            ("inboundRtmpt", "rtmpe innerrtmp"),
            ("inboundRtmpts", "tls http rtmpt"),
            ("inboundRtmpts", "rtmp"),
        ];
        for (chain, layers) in expected {
            crtmp_tests::wait_for(&format!("a connection of {chain}: {layers}"), SOON, || {
                let mut found = listed(server).into_iter();
                found.any(|one| (&*one.0, &*one.1) == (chain, layers)).then_some(())
            });
        }
    });
}

/// RPT-09
#[test]
fn a_port_of_tls_takes_rtmp_and_rtmpt_within_it() {
    let clients = [
        (Client::Ffmpeg, Scheme::Rtmps),
        (Client::Ffmpeg, Scheme::Rtmpts),
        (Client::Ffmpeg9, Scheme::Rtmps),
        (Client::Rtmpdump, Scheme::Rtmps),
        (Client::Rtmp2, Scheme::Rtmps),
    ];
    at_once("inboundRtmps", &clients, |server| {
        let heard = asked(&format!("https://localhost:{}/", server.address_of("inboundRtmps").port()));
        assert!(heard.starts_with("HTTP/1.1 404 Not Found\r\n"), "{heard}");
    });
}
