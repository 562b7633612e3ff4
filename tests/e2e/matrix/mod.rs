//! Which client can do what by which scheme, directly and by way of others: each cell of the matrix is tried, and the
//! document that shows it is made from the same table.

use std::net::SocketAddr;
use std::thread;

use crtmp_tests::{Certificates, Config, Kind, Launch, Recording, Server, ffmpeg, fixture, wait_for};

use crate::{SOON, assert_writes_film, file};

mod client;
mod document;
mod ports;
mod roads;
mod table;

use client::Client;
use roads::Road;
use table::{CLIENTS, No, SCHEMES, Scheme, WAYS, Way, verdict};

/// Pictures that a cell must bring: two groups.
const ENOUGH: usize = 2 * fixture::GOP;

#[test]
fn ffmpeg_of_debian() {
    all_schemes_of(Client::Ffmpeg);
}

#[test]
fn ffmpeg_9() {
    all_schemes_of(Client::Ffmpeg9);
}

#[test]
fn rtmpdump() {
    all_schemes_of(Client::Rtmpdump);
    let help = Launch::new("rtmpdump").args("--help").run();
    let help = (help.stdout + &help.stderr).to_lowercase();
    assert!(help.contains("--live") && !help.contains("publish"), "can it publish now? {help}");
}

#[test]
fn gstreamer_rtmp2() {
    all_schemes_of(Client::Rtmp2);
}

#[test]
fn gstreamer_librtmp() {
    all_schemes_of(Client::Librtmp);
}

#[test]
fn all_by_squid() {
    all_clients_by(Road::Squid);
}

#[test]
fn all_by_haproxy_that_makes_a_connection_for_each_request() {
    all_clients_by(Road::Closing);
}

#[test]
fn all_by_haproxy_that_shares_connections() {
    all_clients_by(Road::Sharing);
}

#[test]
fn all_encrypted_by_haproxy() {
    all_clients_by(Road::Encrypted);
}

#[test]
fn all_by_stunnel() {
    all_clients_by(Road::Stunnel);
}

#[test]
fn all_by_stunnel_that_says_who_comes() {
    all_clients_by(Road::Saying);
}

#[test]
fn all_by_stunnel_towards_the_server() {
    all_clients_by(Road::Towards);
}

#[test]
fn all_by_stunnel_before_requests_of_http() {
    all_clients_by(Road::Https);
}

/// What the document says of tickets; a librtmp that takes them may be told so there.
#[test]
fn librtmp_fails_where_tls_gives_tickets() {
    let certificates = Certificates::new();
    let acceptor =
        |chain: &str| format!("protocol = \"{chain}\", {}, tlsTickets = true", certificates.keys("server"));
    let config = Config::new().acceptor(&acceptor("inboundRtmps")).acceptor(&acceptor("inboundRtmpts"));
    let server = Server::start(&config);
    let (_folder, out) = file("played.flv");
    let plays = |scheme: Scheme| {
        let url = url(scheme, server.address_of(scheme.chain()), "source");
        Launch::new("rtmpdump").args("-v -r").arg(url).arg("-o").arg(&out).run()
    };
    let secure = plays(Scheme::Rtmps);
    assert!(secure.stderr.contains("handshake failed"), "{secure:?}");
    let tunnelled = plays(Scheme::Rtmpts);
    assert!(tunnelled.signal == Some(11) || tunnelled.code == Some(128 + 11), "{tunnelled:?}");
    server.stop();
}

/// Tries a client by all schemes at once, on one server.
fn all_schemes_of(client: Client) {
    let config = SCHEMES
        .iter()
        .filter(|scheme| **scheme != Scheme::Rtmp)
        .fold(Config::new().workers(4).whole_groups(), |config, scheme| config.acceptor(&scheme.acceptor()));
    let server = Server::start(&config);
    let _source = ffmpeg::publish_film(&server.url("source")).start();
    server.wait_for_publisher("source");
    thread::scope(|scope| {
        for scheme in SCHEMES {
            let server = &server;
            scope.spawn(move || {
                let address = server.address_of(scheme.chain());
                for way in WAYS {
                    match verdict(client, scheme, way) {
                        Ok(()) => does(client, scheme, way, address, server),
                        Err(no) => fails(client, scheme, way, address, no),
                    }
                }
            });
        }
    });
    server.stop();
}

/// Tries all clients that can do it at once, on one server.
fn all_clients_by(road: Road) {
    let server = Server::start(&road.config());
    let proxy = road.start(&server);
    let _source = ffmpeg::publish_film(&server.url("source")).start();
    server.wait_for_publisher("source");
    thread::scope(|scope| {
        for client in CLIENTS {
            let (server, address, scheme) = (&server, proxy.address(), road.scheme());
            scope.spawn(move || {
                for way in WAYS {
                    if verdict(client, scheme, way).is_ok() {
                        does(client, scheme, way, address, server);
                    }
                }
            });
        }
    });
    road.assert_taken(&server.stop());
}

fn does(client: Client, scheme: Scheme, way: Way, address: SocketAddr, server: &Server) {
    eprintln!("{} {} {}", client.name(), way.name(), scheme.name());
    match way {
        Way::Publish => publishes(client, scheme, address, server),
        Way::Play => plays(client, scheme, address),
    }
}

/// What the client publishes is the film, whole.
fn publishes(client: Client, scheme: Scheme, address: SocketAddr, server: &Server) {
    let name = format!("{client:?}-{}", scheme.name());
    let mut publisher = client.publish(&url(scheme, address, &name)).start();
    server.wait_for_publisher(&name);
    let player = Recording::start(&server.url(&name));
    let recording = wait_for(&format!("pictures of {name}"), SOON, || {
        assert!(publisher.runs(), "the publisher was ended: {}", publisher.stderr());
        let recording = Recording::of_program(&player);
        (recording.of(Kind::Video).len() >= ENOUGH).then_some(recording)
    });
    if client.keeps_times() {
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    } else {
        recording.assert_bytes_of(fixture::packets());
    }
}

/// What the client plays is the film, whole.
fn plays(client: Client, scheme: Scheme, address: SocketAddr) {
    let (_folder, out) = file("played.flv");
    assert_writes_film(client.play(&url(scheme, address, "source"), &out).start(), &out, ENOUGH);
}

/// The client says why it cannot do it. When that is not so any more, the table can say more.
fn fails(client: Client, scheme: Scheme, way: Way, address: SocketAddr, no: No) {
    let Some(says) = no.says else { return };
    let (_folder, out) = file("played.flv");
    let url = url(scheme, address, "source");
    let launch = match way {
        Way::Publish => client.publish(&url),
        Way::Play => client.play(&url, &out),
    };
    let outcome = launch.within(SOON).run();
    let said = outcome.stdout + &outcome.stderr;
    assert!(outcome.code != Some(0) && said.contains(says), "{} {} {url}: {said}", client.name(), way.name());
}

fn url(scheme: Scheme, address: SocketAddr, stream: &str) -> String {
    format!("{}://{address}/live/{stream}", scheme.name())
}
