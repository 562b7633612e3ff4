//! RTMPE: media by way of librtmp, which did not learn it from us, and between two servers of ours.

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::{
    Config, Launch, Namespace, Server, ffmpeg, fixture, free_address, players, wait_for, wait_for_listener,
};

use crate::{SOON, assert_film, assert_writes_film, file};

fn config() -> Config {
    Config::new()
        .whole_groups()
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\", \"198.18.0.0/15\" } }")
        .acceptor("protocol = \"inboundRtmpe\"")
        .block(&administrator())
}

/// A port that takes plain and encrypted peers serves both the same film.
#[test]
fn one_port_takes_plain_and_encrypted_players() {
    let server = Server::start(&config().acceptor("protocol = \"inboundRtmp\", rtmpe = true"));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let both = server.services().iter().rfind(|service| service.chain == "inboundRtmp").expect("two").address;
    assert_ne!(both, server.address());
    let (_folder, out) = file("dump.flv");
    let dump = players::rtmpdump(&format!("rtmpe://{both}/live/one"), &out).start();
    assert_writes_film(dump, &out, fixture::GOP);
    assert_film(&format!("rtmp://{both}/live/one"), 3);
    let (_folder, out) = file("refused.flv");
    players::rtmpdump(&server.url("one").replace("rtmp:", "rtmpe:"), &out).run();
    server.wait_for_log("RTMPE not enabled (handshake version 6); acceptors take it with `rtmpe = true`");
    server.stop();
}

/// A stream that goes to another server and comes back, encrypted both times, is the film. Each key exchange has to wait for
/// leave.
#[test]
fn pulls_and_pushes_go_encrypted() {
    let seldom = config().limit("handshakesPerTurn", "1").limit("handshakesPerAddress", "1");
    let (near, far) = (Server::start(&seldom), Server::start(&config()));
    let _publisher = ffmpeg::publish_film(&near.url("one")).start();
    near.wait_for_publisher("one");
    let place = format!("rtmpe://{}/live", far.address_of("inboundRtmpe"));
    let mut session = Session::operator(&near);
    session.done(&format!("pushStream uri={place} localStreamName=one targetStreamName=there"));
    far.wait_for_publisher("there");
    session.done(&format!("pullStream uri={place}/there localStreamName=back"));
    near.wait_for_publisher("back");
    assert_film(&near.url("back"), 4);
    near.wait_for_log("outboundRtmpe");
    far.stop();
    near.stop();
}

/// What an edge fetches for its players may come encrypted.
#[test]
fn an_edge_fetches_encrypted() {
    let origin = Server::start(&config());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let address = origin.address_of("inboundRtmpe");
    let edge =
        format!("{{ name = \"edge\", startPolicy = \"key\", origins = {{ \"rtmpe://{address}/live\" }} }}");
    let server = Server::start(&Config::new().whole_groups().block(&edge));
    assert_film(&format!("rtmp://{}/edge/one", server.address()), 4);
    server.stop();
    origin.stop();
}

/// Pictures by way of librtmp as a server.
#[test]
fn the_film_comes_from_a_server_made_of_librtmp_and_goes_there() {
    let (folder, program) = file("server");
    let options = "-std=c11 -Wall -Wextra -Werror -D_DEFAULT_SOURCE tests/librtmp/server.c -o";
    Launch::new("cc").args(options).arg(&program).arg("-lrtmp").run().success();
    let out = folder.path().join("out.flv");
    let serve = || {
        let address = free_address();
        let server = Launch::new(&program).arg(address.port().to_string()).arg(fixture::film()).arg(&out);
        let server = server.start();
        wait_for_listener(address);
        (server, format!("rtmpe://{address}/live"))
    };
    let near = Server::start(&config());
    let mut session = Session::operator(&near);
    let (_server, place) = serve();
    session.done(&format!("pullStream uri={place}/one"));
    near.wait_for_publisher("one");
    assert_film(&near.url("one"), 4);
    // And on to the next one.
    let (server, place) = serve();
    session.done(&format!("pushStream uri={place} localStreamName=one"));
    wait_for("encrypted", SOON, || server.stderr().contains("encrypted").then_some(()));
    assert_writes_film(server, &out, 2 * fixture::GOP);
    near.stop();
}

/// librtmp's own server, which has neither pictures nor places for them: it tells what it deciphers, and whether we signed
/// rightly; we tell what it answers. It listens everywhere, so it has a network of its own.
#[test]
fn a_server_of_librtmp_and_ours_understand_each_other() {
    let near = Server::start(&config());
    let _publisher = ffmpeg::publish_film(&near.url("one")).start();
    near.wait_for_publisher("one");
    let mut session = Session::operator(&near);
    // It knows no publishing, and does not answer that.
    for (order, last) in [
        ("pullStream localStreamName=there uri=", "client invoking <play>"),
        ("pushStream localStreamName=one targetStreamName=out uri=", "client invoking <publish>"),
    ] {
        let Some(namespace) = Namespace::new() else { return };
        // What it is asked to play it starts to record, in its folder; without standard input it does not stay.
        let (folder, _) = file("");
        let server = Launch::new("sh").args("-c").arg("sleep 120 | rtmpsrv -z").inside(&namespace);
        let server = server.folder(folder.path()).start();
        wait_for("rtmpsrv to listen", SOON, || {
            let listeners = Launch::new("ss").args("-Hltn").inside(&namespace).run().stdout;
            listeners.contains(":1935 ").then_some(())
        });
        session.done(&format!("{order}rtmpe://{}/live/there", namespace.inner()));
        for said in ["Type Requested : 06", "Genuine Adobe Flash Player", "client invoking <connect>", last] {
            wait_for(said, SOON, || (server.stdout() + &server.stderr()).contains(said).then_some(()));
        }
    }
    near.wait_for_log("play was refused: NetStream.Play.Stop");
    near.stop();
}
