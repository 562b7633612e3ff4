//! RTMP that travels in requests of HTTP: real clients, directly and through proxies; requests in any order, by any
//! connection, and of any kind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::proxies::{Haproxy, Squid};
use crtmp_tests::tunnel::{Post, Response, Tunnel};
use crtmp_tests::wire::{Message, amf};
use crtmp_tests::{Config, Program, Recording, Server, ffmpeg, free_address, wait_for};

use crate::{SOON, assert_film, entry, wait_for_more};

const CHAIN: &str = "inboundRtmpt";

fn config() -> Config {
    Config::new().workers(4).whole_groups().acceptor("protocol = \"inboundRtmpt\"")
}

/// The server, and where it takes requests.
fn stage(config: &Config) -> (Server, SocketAddr) {
    let server = Server::start(config);
    let address = server.address_of(CHAIN);
    (server, address)
}

fn url(address: SocketAddr, stream: &str) -> String {
    format!("rtmpt://{address}/live/{stream}")
}

/// Somebody who publishes the film by RTMP.
fn publisher(server: &Server, stream: &str) -> Program {
    let publisher = ffmpeg::publish_film(&server.url(stream)).start();
    server.wait_for_publisher(stream);
    publisher
}

fn create_stream() -> Vec<u8> {
    Message::command(0, "createStream", 4.0, &[amf::null()]).chunks(128)
}

/// A proxy that clients are told of. What stands for the server without their knowledge is in `matrix`.
#[test]
fn clients_may_be_told_of_a_proxy() {
    let (server, address) = stage(&config());
    let squid = Squid::start(address);
    let mut through = ffmpeg::publish_film(&url(address, "one"));
    through = through.env("http_proxy", format!("http://{}", squid.forward()));
    let _publisher = through.start();
    server.wait_for_publisher("one");
    assert_film(&server.url("one"), 3);
    server.stop();
}

#[test]
fn each_request_may_come_by_a_connection_of_its_own() {
    let (server, address) = stage(&config());
    let _publisher = publisher(&server, "one");
    let mut tunnel = Tunnel::connected(address, "live");
    tunnel.play("one");
    for _ in 0..100 {
        tunnel.post = Post::to(address);
        tunnel.exchange("idle", b"\0");
    }
    tunnel.expect_many(9, 50);
    let workers = server.counters().connections_per_worker();
    assert_eq!(workers.len(), 4);
    server.stop();
}

#[test]
fn a_session_is_a_connection_like_any_other_and_closes() {
    let (server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    tunnel.play("nobody");
    let ours = |chain: &str| {
        let connections = server.counters().json()["connections"].clone();
        let list = connections.as_array().expect("a list").clone();
        list.into_iter().filter(|connection| connection["protocol"] == chain).collect::<Vec<_>>()
    };
    // The session, and the connection that carries it.
    assert_eq!(ours(CHAIN).len(), 2);
    let answer = tunnel.exchange("close", b"\0");
    assert_eq!(answer.body.len(), 1);
    server.wait_for_counters("the end of the session", SOON, |_| (ours(CHAIN).len() == 1).then_some(()));
    let path = tunnel.path("idle", tunnel.number);
    assert_eq!(tunnel.post.asked(&path, b"\0").status, 404);
    server.stop();
}

#[test]
fn what_travels_in_a_tunnel_is_counted_once() {
    let (server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    tunnel.exchange("send", &create_stream());
    let counters = server.counters().json().clone();
    for key in ["bytesIn", "bytesOut"] {
        let bytes = |one: &serde_json::Value| one[key].as_u64().expect("a number");
        let connections = counters["connections"].as_array().expect("a list");
        // The session has an application, and the connection that carries it has none.
        let (sessions, carriers): (Vec<_>, Vec<_>) =
            connections.iter().partition(|one| one["application"].is_string());
        assert_eq!((sessions.len(), carriers.len()), (1, 1));
        assert!(
            bytes(sessions[0]) > 3000 && bytes(carriers[0]) > bytes(sessions[0]),
            "{key}: {connections:?}"
        );
        assert_eq!(bytes(&counters["totals"]), bytes(carriers[0]), "{key}");
    }
    server.stop();
}

#[test]
fn a_server_that_stops_tells_who_waits() {
    let (mut server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    tunnel.play("nobody");
    let path = tunnel.path("idle", tunnel.number);
    tunnel.post.ask(&path, b"\0");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let mut last = tunnel.post.response();
    while let Some(response) = &last {
        tunnel.take(response);
        if tunnel.message(|message| message.says("NetConnection.Connect.AppShutdown")).is_some() {
            break;
        }
        tunnel.number += 1;
        let path = tunnel.path("idle", tunnel.number);
        tunnel.post.ask(&path, b"\0");
        last = tunnel.post.response();
    }
    assert!(last.is_some(), "nobody was told");
    server.ended();
}

/// RPT-01
#[test]
fn sessions_that_are_none_are_not_found() {
    let (server, address) = stage(&config());
    let tunnel = Tunnel::open(address);
    let mut post = Post::to(address);
    let unknown = "0".repeat(tunnel.id.len());
    let percent = format!("%{:02x}{}", tunnel.id.as_bytes()[0], &tunnel.id[1..]);
    for verb in ["send", "idle", "close"] {
        for id in ["", "x", &unknown, &percent, &tunnel.id[1..]] {
            let response = post.asked(&format!("/{verb}/{id}/0"), b"\0");
            assert_eq!(response.status, 404, "{verb} {id:?}: {response:?}");
            assert!(response.head.contains("Content-Type: application/x-fcs\r\n"));
        }
    }
    let long = "a".repeat(1 << 20);
    post.ask(&format!("/idle/{long}/0"), b"\0");
    assert!(post.response().is_none_or(|response| [414, 431].contains(&response.status)));
    assert!(post.is_closed());
    server.stop();
}

/// RPT-02: guesses are bounded for each address, cost a connection each, and disturb no session of the same address.
#[test]
fn who_guesses_is_slowed_down_and_nobody_else() {
    let (server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    let mut post = Post::to(address);
    let guess = |number: u32| format!("/idle/{number:034x}/0");
    for number in 0..32 {
        assert_eq!(post.asked(&guess(number), b"\0").status, 404);
    }
    for number in 32..200 {
        let response = post.asked(&guess(number), b"\0");
        assert_eq!(response.status, 429, "{response:?}");
        assert!(response.head.contains("Connection: close\r\n") && post.is_closed());
        post = Post::to(address);
        if number % 20 == 0 {
            tunnel.exchange("send", &create_stream());
            tunnel.expect("_result");
        }
    }
    server.wait_for_log("more than rtmptGuesses = 32");
    server.stop();
}

/// RPT-03: a session may come from several addresses, as through proxies, unless it is bound to one. Its id is in no log.
#[test]
fn a_session_may_move_unless_it_is_bound() {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    for bound in [false, true] {
        let keys = format!("protocol = \"inboundRtmpt\", bindAddress = {bound}");
        let (server, address) = stage(&Config::new().workers(4).acceptor(&keys));
        let mut tunnel = Tunnel::connected(address, "live");
        let path = tunnel.path("send", tunnel.number);
        let mut post = Post::from(elsewhere, address);
        let response = post.asked(&path, &create_stream());
        assert_eq!(response.status, if bound { 404 } else { 200 });
        if bound {
            // Nothing has been spoilt.
            tunnel.exchange("send", &create_stream());
        } else {
            tunnel.take(&response);
            tunnel.number += 1;
            server.wait_for_log("the session is used from another address");
        }
        tunnel.expect("_result");
        assert!(!server.log().contains(&tunnel.id[..16]), "the id is in the log");
        server.stop();
    }
}

/// RPT-04: sessions are bounded for each address, end when nobody asks, and leave no memory behind.
#[test]
fn sessions_that_nobody_asks_for_end() {
    const SESSIONS: usize = 10_000;
    let (server, address) = stage(&config());
    let mut post = Post::to(address);
    let statuses: Vec<u16> = (0..40).map(|_| post.asked("/open/1", b"\0").status).collect();
    assert_eq!(statuses, [vec![200; 32], vec![503; 8]].concat());
    server.stop();
    let config = config().log_level(3).limit("rtmptSessions", "20000").limit("rtmptIdle", "3");
    let (server, address) = stage(&config);
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let mut post = Post::to(address);
        for number in 0..SESSIONS {
            let response = post.asked("/open/1", b"\0");
            assert_eq!(response.status, 200, "{number}");
        }
        drop(post);
        rounds.push(server.wait_for_counters("an empty server", 3 * SOON, |counters| {
            counters.connections().is_empty().then(|| counters.usage())
        }));
    }
    // The first round is the one in which tables grow.
    let (second, last) = (rounds[1].allocated, rounds[2].allocated);
    assert!(last <= second + (1 << 20), "{rounds:#?}");
    assert_eq!(rounds[0].files, rounds[2].files);
    server.stop();
}

/// RPT-05
#[test]
fn numbers_are_repeated_and_never_skipped() {
    let (server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    let path = tunnel.path("send", tunnel.number);
    let first = tunnel.post.asked(&path, &create_stream());
    for _ in 0..3 {
        // By whichever connection, and whatever it brings.
        let repeated = Post::to(address).asked(&path, b"rubbish");
        assert_eq!((repeated.status, &repeated.body), (200, &first.body));
    }
    tunnel.take(&first);
    tunnel.number += 1;
    tunnel.expect("_result");
    let older = tunnel.path("idle", tunnel.number - 2);
    assert_eq!(tunnel.post.asked(&older, b"\0").status, 400);
    for odd in ["-1", "4294967296", "x", ""] {
        let path = format!("/idle/{}/{odd}", tunnel.id);
        assert_eq!(tunnel.post.asked(&path, b"\0").status, 400, "{odd}");
    }
    tunnel.send(&Message::command(0, "createStream", 5.0, &[amf::null()]));
    tunnel.expect("_result");
    // One that may still come is waited for, one that is far ahead is not.
    for ahead in [1, 8, 1 << 31] {
        let mut tunnel = Tunnel::connected(address, "live");
        let path = tunnel.path("idle", tunnel.number + ahead);
        assert_eq!(tunnel.post.asked(&path, b"\0").status, 400, "{ahead}");
        let path = tunnel.path("idle", tunnel.number);
        assert_eq!(tunnel.post.asked(&path, b"\0").status, 404, "the session has ended");
    }
    server.stop();
}

/// RPT-06
#[test]
fn requests_overtake_each_other_on_several_connections() {
    let (server, address) = stage(&config());
    let mut tunnel = Tunnel::connected(address, "live");
    let message = create_stream();
    let (begin, end) = message.split_at(7);
    for _ in 0..5 {
        let requests = [("send", begin), ("idle", &b"\0"[..]), ("idle", b"\0"), ("send", end)];
        let first = tunnel.number;
        let mut posts: Vec<Post> = (0..4).map(|_| Post::to(address)).collect();
        for at in [3, 1, 2, 0] {
            let (verb, body) = requests[at];
            posts[at].ask(&tunnel.path(verb, first + at as u32), body);
        }
        for post in &mut posts {
            let response = post.response().expect("a response");
            tunnel.take(&response);
        }
        tunnel.number += 4;
        tunnel.expect("_result");
    }
    server.stop();
}

/// RPT-07
#[test]
fn bodies_are_what_their_heads_say() {
    let (server, address) = stage(&config().limit("httpIdle", "1"));
    let mut tunnel = Tunnel::connected(address, "live");
    let head = |tunnel: &Tunnel, more: &str| {
        let path = tunnel.path("send", tunnel.number);
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-fcs\r\n{more}\r\n\r\n")
    };
    let message = create_stream();
    // More than was announced is the next request, and none.
    let mut post = Post::to(address);
    let length = format!("Content-Length: {}", message.len());
    post.write(&[head(&tunnel, &length).as_bytes(), &message, b"more\r\n\r\n"].concat());
    tunnel.take(&post.response().expect("a response"));
    assert_eq!(post.response().map(|response| response.status), Some(400));
    assert!(post.is_closed());
    tunnel.number += 1;
    tunnel.post = Post::to(address);
    tunnel.expect("_result");
    // Less, and then nothing.
    let mut post = Post::to(address);
    post.write(head(&tunnel, &length).as_bytes());
    post.write(&message[..5]);
    assert_eq!(post.response().map(|response| response.status), Some(408));
    // In chunks.
    let mut post = Post::to(address);
    let chunk = format!("{:x}\r\n", message.len());
    let chunks = [chunk.as_bytes(), &message, b"\r\n0\r\n\r\n"].concat();
    post.write(&[head(&tunnel, "Transfer-Encoding: chunked").as_bytes(), &chunks].concat());
    tunnel.take(&post.response().expect("a response"));
    tunnel.number += 1;
    tunnel.post = Post::to(address);
    tunnel.expect("_result");
    // Too much.
    let mut post = Post::to(address);
    post.write(head(&tunnel, "Content-Length: 16777216").as_bytes());
    assert_eq!(post.response().map(|response| response.status), Some(413));
    server.stop();
}

/// RPT-08: who leaves while an answer comes, or before it does, finds it when it comes back.
#[test]
fn who_leaves_loses_nothing() {
    let (server, address) = stage(&config());
    let _publisher = publisher(&server, "one");
    let mut tunnel = Tunnel::connected(address, "live");
    tunnel.play("one");
    for round in 0..20 {
        let path = tunnel.path("idle", tunnel.number);
        let mut left = Post::to(address);
        left.ask(&path, b"\0");
        if round % 2 == 0 {
            // A part of the answer has come, or none.
            drop(left);
        } else {
            left.response().expect("an answer that gets lost behind it");
        }
        let answer: Response = Post::to(address).asked(&path, b"\0");
        tunnel.take(&answer);
        tunnel.number += 1;
    }
    tunnel.expect_many(9, 25);
    server.stop();
}

/// A server that pulls and pushes.
fn edge(streams: &str) -> Server {
    let config = Config::new().workers(2).whole_groups().block(&administrator());
    let config = config.top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }");
    Server::start(&config.application("externalStreams", &format!("{{ {streams} }}")))
}

#[test]
fn pulls_and_pushes_bring_every_byte() {
    let (origin, address) = stage(&config());
    let _publisher = publisher(&origin, "one");
    let edge = edge(&format!("{{ uri = {:?}, localStreamName = \"copy\" }}", url(address, "one")));
    edge.wait_for_publisher("copy");
    assert_film(&edge.url("copy"), 4);
    let mut session = Session::operator(&edge);
    assert_eq!(entry(&mut session, "pull", "copy")["address"], address.to_string());
    session
        .done(&format!("pushStream uri=rtmpt://{address}/live localStreamName=copy targetStreamName=back"));
    origin.wait_for_publisher("back");
    assert_film(&origin.url("back"), 4);
    // Who pushes no more says so, and closes the session: nobody waits for it to be silent for long enough.
    let id = entry(&mut session, "push", "copy")["configId"].clone();
    session.done(&format!("removeConfig id={id}"));
    wait_for("the end of the push", SOON, || origin.counters().publisher_of("back").is_none().then_some(()));
    let id = entry(&mut session, "pull", "copy")["configId"].clone();
    assert!(session.fails(&format!("removeConfig id={id}")).contains("externalStreams"));
    edge.stop();
    origin.wait_for_counters("an origin without tunnels", SOON, |counters| {
        let connections = counters.json()["connections"].clone();
        let left = connections.as_array().expect("a list").iter().any(|one| one["protocol"] == CHAIN);
        (!left).then_some(())
    });
    origin.stop();
}

#[test]
fn pulls_and_pushes_go_through_proxies() {
    let (origin, address) = stage(&config());
    let _publisher = publisher(&origin, "one");
    let (squid, haproxy) = (Squid::start(address), Haproxy::start(address, "option http-server-close"));
    for (number, proxy) in [squid.accel(), haproxy.address()].into_iter().enumerate() {
        let edge = edge(&format!("{{ uri = {:?}, localStreamName = \"copy\" }}", url(proxy, "one")));
        edge.wait_for_publisher("copy");
        assert_film(&edge.url("copy"), 4);
        let name = format!("back{number}");
        let mut session = Session::operator(&edge);
        let target = format!("rtmpt://{proxy}/live");
        session.done(&format!("pushStream uri={target} localStreamName=copy targetStreamName={name}"));
        origin.wait_for_publisher(&name);
        assert_film(&origin.url(&name), 4);
        edge.stop();
    }
    origin.stop();
}

#[test]
fn an_origin_that_comes_back_behind_a_proxy_is_pulled_from_again() {
    let place = free_address();
    // One port for each: what stays is the proxy's connection, which outlives the origin.
    let config = || {
        let block = format!(
            "{{ name = \"admin\", acceptors = {{ {{ ip = \"127.0.0.1\", port = {}, protocol = \"inboundTxtCli\" }} }} }}",
            free_address().port()
        );
        Config::new().workers(2).whole_groups().block(&block).application(
            "acceptors",
            &format!("{{ {{ ip = \"127.0.0.1\", port = {}, protocol = \"inboundRtmpt\" }} }}", place.port()),
        )
    };
    let haproxy = Haproxy::start(place, "option http-server-close\nretries 0");
    let origin = Server::start(&config());
    let first = publisher(&origin, "one");
    let edge = edge(&format!("{{ uri = {:?}, localStreamName = \"copy\" }}", url(haproxy.address(), "one")));
    edge.wait_for_publisher("copy");
    let mut player = Recording::start(&edge.url("copy"));
    wait_for_more(&mut player, 25);
    drop(origin);
    drop(first);
    let origin = Server::start(&config());
    let _second = publisher(&origin, "one");
    wait_for_more(&mut player, 50);
    edge.stop();
    origin.stop();
}

#[test]
fn an_encrypted_session_is_pulled_from_and_pushed_to() {
    let origin = Server::start(&config().acceptor("protocol = \"inboundRtmpte\""));
    let address = origin.address_of("inboundRtmpte");
    let _publisher = publisher(&origin, "one");
    let edge = edge(&format!("{{ uri = \"rtmpte://{address}/live/one\", localStreamName = \"copy\" }}"));
    edge.wait_for_publisher("copy");
    assert_film(&edge.url("copy"), 3);
    let mut session = Session::operator(&edge);
    session
        .done(&format!("pushStream uri=rtmpte://{address}/live localStreamName=copy targetStreamName=back"));
    origin.wait_for_publisher("back");
    assert_film(&origin.url("back"), 3);
    edge.stop();
    origin.stop();
}
