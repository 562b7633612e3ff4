//! Servers that ask their clients to connect elsewhere (Enhanced RTMP, "Reconnect Request"), and clients that do: our own.

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::wire::{Client, Message, amf, publish};
use crtmp_tests::{Config, Kind, Recording, Server, ffmpeg, fixture, wait_for};
use nix::sys::signal::Signal;

use crate::{SOON, entry, wait_for_more};

fn config() -> Config {
    Config::new()
        .whole_groups()
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

/// Waits until a pull or push goes to or comes from this server.
fn wait_for_address(session: &mut Session, group: &str, server: &Server) {
    let address = server.address().to_string();
    wait_for("the other address", SOON, || {
        (entry(session, group, "one")["address"] == *address).then_some(())
    });
}

/// Who plays here of what is pulled misses nothing and has nothing twice, while the pull goes to another server: because an
/// operator asks for it, or because the first one is going to end.
#[test]
fn a_pull_moves_and_nobody_notices() {
    for ends in [false, true] {
        let new = Server::start(&config());
        let elsewhere = format!("rtmp://{}/live", new.address());
        let mut old = Server::start(&config());
        if ends {
            // As an operator does who has not thought of it at the start.
            old.rewrite(&config().top("drainTimeout", "60").top("drainUrl", &format!("{elsewhere:?}")));
            old.signal(Signal::SIGHUP);
            old.wait_for_log("reload: done");
        }
        let here = Server::start(&config());
        let _publisher = ffmpeg::publish_film_to(&[old.url("one"), new.url("one")]).start();
        old.wait_for_publisher("one");
        new.wait_for_publisher("one");
        let mut session = Session::operator(&here);
        session.done(&format!("pullStream uri={} localStreamName=one", old.url("one")));
        let mut player = Recording::start(&here.url("one"));
        wait_for_more(&mut player, fixture::GOP);
        if ends {
            old.signal(Signal::SIGTERM);
        } else {
            let asked = Session::operator(&old)
                .done(&format!("requestReconnect appName=live tcUrl={elsewhere} reason=maintenance"));
            assert_eq!(
                asked["asked"].as_array().map(Vec::len),
                Some(1),
                "the encoder follows nobody: {asked}"
            );
        }
        wait_for_address(&mut session, "pull", &new);
        wait_for_more(&mut player, 3 * fixture::GOP);
        let recording = Recording::of_program(&player);
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
        if ends {
            // It was waited for, and nobody waits any more.
            let output = old.ended();
            assert!(!output.contains("panic"), "{output}");
        } else {
            wait_for("the old connection to end", SOON, || {
                let players = old.counters().players_of("one");
                players.is_empty().then_some(())
            });
            old.stop();
        }
        drop(player);
        here.stop();
        new.stop();
    }
}

/// What is pushed goes on at the other server before it ends at the first one.
#[test]
fn a_push_moves_without_a_gap() {
    let (old, new) = (Server::start(&config()), Server::start(&config()));
    let here = Server::start(&config());
    let _publisher = ffmpeg::publish_film(&here.url("one")).start();
    here.wait_for_publisher("one");
    let mut session = Session::operator(&here);
    session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", old.address()));
    old.wait_for_publisher("one");
    let mut before = Recording::start(&old.url("one"));
    let mut after = Recording::start(&new.url("one"));
    wait_for_more(&mut before, fixture::GOP);
    Session::operator(&old)
        .done(&format!("requestReconnect appName=live tcUrl=rtmp://{}/live", new.address()));
    wait_for_address(&mut session, "push", &new);
    wait_for_more(&mut after, 2 * fixture::GOP);
    wait_for("the old stream to end", SOON, || old.counters().publisher_of("one").is_none().then_some(()));
    let (before, after) = (Recording::of_program(&before), Recording::of_program(&after));
    for recording in [&before, &after] {
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    }
    let (last, first) =
        (before.of(Kind::Video).last().map(|packet| packet.dts), after.of(Kind::Video)[0].dts);
    assert!(last.is_some_and(|last| first <= last + fixture::FRAME), "a gap: {last:?}, {first}");
    for server in [here, old, new] {
        server.stop();
    }
}

/// Where a server asks for what cannot be, everything stays as it is.
#[test]
fn a_pull_that_cannot_move_stays() {
    let (old, here) = (Server::start(&config()), Server::start(&config()));
    let _publisher = ffmpeg::publish_film(&old.url("one")).start();
    old.wait_for_publisher("one");
    let mut session = Session::operator(&here);
    session.done(&format!("pullStream uri={} localStreamName=one", old.url("one")));
    let mut player = Recording::start(&here.url("one"));
    wait_for_more(&mut player, fixture::GOP);
    let mut operator = Session::operator(&old);
    // Nobody is there; it may not go there; it would come from itself; there is no such address.
    let nobody = crate::free_port();
    let itself = format!("rtmp://{}/live", here.address());
    let nowhere =
        [&format!("rtmp://127.0.0.1:{nobody}/live"), "rtmp://192.0.2.1/live", &itself, "http://x/y"];
    for (number, url) in nowhere.into_iter().enumerate() {
        operator.done(&format!("requestReconnect appName=live tcUrl={url}"));
        wait_for("a line about it", SOON, || {
            let log = here.log();
            let lines = log.lines().filter(|line| line.contains("pull of \"one\""));
            let stays =
                lines.filter(|line| line.contains("cannot move") || line.contains("and stays")).count();
            (stays > number).then_some(())
        });
        wait_for_more(&mut player, fixture::GOP / 2);
    }
    let recording = Recording::of_program(&player);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    assert_eq!(entry(&mut session, "pull", "one")["address"], *old.address().to_string());
    old.stop();
    here.stop();
}

/// Who is asked to leave and stays is served, and so are operators; who says twice that the server shall end means it.
#[test]
fn a_server_that_waits_for_clients_serves_on_until_it_is_told_again() {
    let mut server = Server::start(&config().top("drainTimeout", "3600"));
    let mut session = Session::operator(&server);
    let mut client = Client::shaken(server.address());
    let properties = [("app", amf::string("live")), ("capsEx", amf::number(1.0))];
    client.send(&Message::command(0, "connect", 1.0, &[amf::object(&properties)]));
    client.expect("NetConnection.Connect.Success");
    server.signal(Signal::SIGTERM);
    client.expect("NetConnection.Connect.ReconnectRequest");
    assert!(session.done("listConnections").to_string().contains("inboundRtmp"));
    client.create_stream();
    client.send(&publish(1, "late"));
    client.expect("NetStream.Publish.Start");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    server.signal(Signal::SIGTERM);
    let log = server.ended();
    assert!(log.contains("SIGTERM, again: the server ends") && log.contains("the server has ended"), "{log}");
}
