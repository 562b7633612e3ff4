//! Behind HAProxy, which says by the PROXY protocol who comes.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crtmp_tests::proxies::Haproxy;
use crtmp_tests::wire::Client;
use crtmp_tests::{Config, Server, ffmpeg};
use socket2::{Domain, Socket, Type};

use crate::{SOON, assert_film};

fn config() -> Config {
    Config::new()
        .whole_groups()
        .acceptor("protocol = \"inboundRtmp\", proxyProtocol = { \"127.0.0.1\" }")
        .acceptor("protocol = \"inboundRtmpt\", proxyProtocol = { \"127.0.0.1\" }")
        .acceptor("protocol = \"inboundRtmpAny\", proxyProtocol = { \"127.0.0.1\" }")
}

/// A client from an address of its own.
fn from(source: Ipv4Addr, to: SocketAddr) -> (Client, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any_port = SocketAddr::new(source.into(), 0);
    socket.bind(&any_port.into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect_timeout(&to.into(), SOON).expect("the proxy listens");
    let socket = TcpStream::from(socket);
    let own = socket.local_addr().expect("a connected socket");
    (Client::over(socket), own)
}

/// Both versions, over RTMP and in requests of HTTP: media arrive whole, and the peer is who came to the proxy.
#[test]
fn haproxy_says_who_comes() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let server = Server::start(&config());
        let plain =
            server.services().iter().rfind(|service| service.chain == "inboundRtmp").expect("two").address;
        let lines = format!("mode tcp\ndefault-server {version}");
        let before = Haproxy::start(plain, &lines);
        let before_http = Haproxy::start(server.address_of("inboundRtmpt"), &lines);
        let _publisher = ffmpeg::publish_film(&format!("rtmp://{}/live/one", before.address())).start();
        server.wait_for_publisher("one");
        assert_film(&format!("rtmp://{}/live/one", before.address()), 3);
        assert_film(&format!("rtmpt://{}/live/one", before_http.address()), 3);
        let before_any = Haproxy::start(server.address_of("inboundRtmpAny"), &lines);
        assert_film(&format!("rtmp://{}/live/one", before_any.address()), 3);
        assert_film(&format!("rtmpt://{}/live/one", before_any.address()), 3);

        for address in [before.address(), before_any.address()] {
            let (mut client, own) = from(Ipv4Addr::new(127, 3, 4, 5), address);
            client.handshake();
            client.send(&crtmp_tests::wire::connect("live", &format!("rtmp://{address}/live")));
            client.expect("_result");
            let counters = server.counters();
            let peers: Vec<String> = counters.connections().iter().map(|one| one.peer.clone()).collect();
            assert!(peers.contains(&own.to_string()), "{peers:?} {own}");
            server.wait_for_log(&format!("peer={own} proxy=127.0.0.1:"));
        }
        server.stop();
    }
}
