//! The application `edge`: streams that are fetched for players, and sent on for publishers.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::flapper::{Flapper, Mode};
use crtmp_tests::nginx::{Application, Nginx};
use crtmp_tests::upstream::{Script, Upstream};
use crtmp_tests::wire::{self, Client};
use crtmp_tests::{Config, Program, Recording, Server, ffmpeg, fixture, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, assert_film, entries, file, free_port, wait_for_more};

/// Shorter than a test, longer than anything takes that happens at once.
const LINGER: &str = "linger = 2";

/// A server with an edge of these origins.
fn edge(origins: &[SocketAddr], keys: &str) -> Server {
    Server::start(&config(origins, keys))
}

fn config(origins: &[SocketAddr], keys: &str) -> Config {
    let origins: String = origins.iter().map(|origin| format!("\"rtmp://{origin}/live\", ")).collect();
    let block = format!("{{ name = \"edge\", startPolicy = \"key\", origins = {{ {origins} }}, {keys} }}");
    Config::new().whole_groups().workers(2).block(&administrator()).block(&block)
}

fn url(server: &Server, stream: &str) -> String {
    format!("rtmp://{}/edge/{stream}", server.address())
}

/// A server on which the film is published as `one`.
fn origin() -> (Server, Program) {
    let server = Server::start(&Config::new().whole_groups());
    let publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    (server, publisher)
}

pub(crate) fn wait_for_entries(session: &mut Session, group: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} entries of {group}"), SOON, || {
        let entries = entries(session, group);
        (entries.len() == count).then_some(entries)
    })
}

/// Waits until nobody plays a stream of a server.
fn wait_for_no_player(server: &Server, stream: &str) {
    wait_for("the end of the pull", SOON, || server.counters().players_of(stream).is_empty().then_some(()));
}

#[test]
fn the_first_player_fetches_others_share_and_nobody_is_left_after_the_last() {
    let (origin, _publisher) = origin();
    let server = edge(&[origin.address()], LINGER);
    let mut session = Session::operator(&server);
    assert!(entries(&mut session, "pull").is_empty());
    let mut first = Recording::start(&url(&server, "one"));
    wait_for_more(&mut first, 10);
    assert_film(&url(&server, "one"), 4);
    assert_eq!(origin.counters().players_of("one").len(), 1);
    let entry = wait_for_entries(&mut session, "pull", 1).remove(0);
    assert_eq!(entry["status"]["current"]["description"], "Streaming");
    assert_eq!((&entry["applicationName"], &entry["kept"]), (&"edge".into(), &false.into()));

    // Somebody who comes in time finds it running.
    let before = origin.counters().players_of("one").remove(0).id;
    first.kill();
    wait_for_no_player(&server, "one");
    let mut second = Recording::start(&url(&server, "one"));
    wait_for_more(&mut second, 10);
    assert_eq!(origin.counters().players_of("one").remove(0).id, before);
    Recording::of_program(&second).assert_part_of(fixture::packets());
    second.kill();
    wait_for_entries(&mut session, "pull", 0);
    wait_for_no_player(&origin, "one");
    assert!(server.counters().publisher_of("one").is_none());

    // And all over again.
    assert_film(&url(&server, "one"), 2);
    server.stop();
    origin.stop();
}

#[test]
fn who_leaves_while_the_edge_connects_releases_too() {
    // It takes connections and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = edge(&[silent.local_addr().expect("an address")], "linger = 0");
    let mut session = Session::operator(&server);
    let player = Client::player(server.address(), "edge", "one");
    wait_for_entries(&mut session, "pull", 1);
    let (mut pull, _) = silent.accept().expect("the edge connects");
    drop(player);
    wait_for_entries(&mut session, "pull", 0);
    // The connection is closed, not forgotten.
    let limit = Some(SOON);
    pull.set_read_timeout(limit).expect("a socket option");
    let end = std::io::copy(&mut pull, &mut std::io::sink());
    let is_closed = end.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
    assert!(is_closed, "the edge does not close: {end:?}");
    server.stop();
}

#[test]
fn an_origin_that_is_down_is_awaited_and_one_that_goes_comes_back() {
    let (origin, _publisher) = origin();
    let flapper = Flapper::start(origin.address());
    flapper.set(Mode::Refuse);
    let server = edge(&[flapper.address()], "publisherReturn = 60");
    let mut player = Recording::start(&url(&server, "one"));
    let mut session = Session::operator(&server);
    wait_for("a failure that says why", SOON, || {
        entries(&mut session, "pull")
            .iter()
            .any(|entry| entry["cause"].to_string().contains("refused"))
            .then_some(())
    });
    flapper.set(Mode::Through);
    wait_for_more(&mut player, 2 * fixture::GOP);
    flapper.reset();
    wait_for_more(&mut player, 2 * fixture::GOP);
    Recording::of_program(&player).assert_forward();
    server.stop();
    origin.stop();
}

#[test]
fn another_origin_is_asked_where_the_first_is_not_there() {
    let (origin, _publisher) = origin();
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = edge(&[dead, origin.address()], "");
    assert_film(&url(&server, "one"), 3);
    server.stop();
    origin.stop();
}

#[test]
fn what_is_published_at_the_edge_plays_at_the_origin_and_at_both_edges() {
    let origin = Server::start(&Config::new().whole_groups());
    let near = edge(&[origin.address()], LINGER);
    let far = edge(&[origin.address()], LINGER);
    // Somebody waits for it already, and is not served from the origin later.
    let mut waiting = Recording::start(&url(&near, "one"));
    let mut session = Session::operator(&near);
    wait_for_entries(&mut session, "pull", 1);
    let mut publisher = ffmpeg::publish_film(&url(&near, "one")).start();
    origin.wait_for_publisher("one");
    wait_for_entries(&mut session, "pull", 0);
    assert_film(&origin.url("one"), 3);
    assert_film(&url(&far, "one"), 3);
    wait_for_more(&mut waiting, fixture::GOP);
    Recording::of_program(&waiting).assert_part_of(fixture::packets());
    publisher.kill();
    wait_for_entries(&mut session, "push", 0);
    wait_for("the end at the origin", SOON, || origin.counters().publisher_of("one").is_none().then_some(()));
    near.stop();
    far.stop();
    origin.stop();
}

#[test]
fn who_publishes_what_the_origin_has_already_is_told() {
    let (origin, _publisher) = origin();
    let server = edge(&[origin.address()], "");
    let mut client = Client::publisher(server.address(), "edge", "one");
    client.expect("somebody else publishes this stream at the origin");
    wait_for_entries(&mut Session::operator(&server), "push", 0);
    let _publisher = ffmpeg::publish_film(&url(&server, "two")).start();
    origin.wait_for_publisher("two");
    server.stop();
    origin.stop();
}

#[test]
fn names_with_spaces_and_slashes_are_the_same_at_the_origin() {
    let upstream = Upstream::start(Script::new());
    let server = edge(&[upstream.address()], "");
    let _player = Client::player(server.address(), "edge", "a b/c");
    let play = upstream.visit(0).command("play");
    assert!(format!("{:?}", play.values).contains("\"a b/c\""), "{play:?}");
    let _publisher = Client::publisher(server.address(), "edge", "d e/f");
    let publish = upstream.visit(0).command("publish");
    assert!(format!("{:?}", publish.values).contains("\"d e/f\""), "{publish:?}");
    server.stop();
}

#[test]
fn nginx_is_an_origin_both_ways() {
    let nginx = Nginx::start(&[Application::live("live")]);
    let server = edge(&[nginx.address()], LINGER);
    let _publisher = ffmpeg::publish_film(&nginx.url("live", "one")).start();
    nginx.wait_for_publisher("live", "one");
    let (_folder, out) = file("out.flv");
    ffmpeg::assert_clean(ffmpeg::record(&url(&server, "one"), Duration::from_secs(3), &out).run());
    Recording::of_file(&out).assert_part_of(fixture::packets());
    let _publisher = ffmpeg::publish_film(&url(&server, "two")).start();
    nginx.wait_for_publisher("live", "two");
    server.stop();
}

#[test]
fn queries_travel_where_that_is_wanted() {
    for forward in [true, false] {
        let upstream = Upstream::start(Script::new());
        let server = edge(&[upstream.address()], &format!("forwardQuery = {forward}"));
        let _player = Client::player(server.address(), "edge", "one?token=1");
        let play = upstream.visit(0).command("play");
        let expected = if forward { "one?token=1" } else { "one" };
        assert!(format!("{:?}", play.values).contains(&format!("{expected:?}")), "{play:?}");
        let _publisher = Client::publisher(server.address(), "edge", "two?key=2");
        // By the same connection.
        let push = upstream.visit(0).command("publish");
        let expected = if forward { "two?key=2" } else { "two" };
        assert!(format!("{:?}", push.values).contains(&format!("{expected:?}")), "{push:?}");
        server.stop();
    }
}

#[test]
fn an_edge_that_may_not_publish_refuses_and_a_local_one_keeps_to_itself() {
    let origin = Server::start(&Config::new());
    let closed = edge(&[origin.address()], "publish = \"refuse\"");
    let mut client = Client::connected(closed.address(), "edge");
    client.create_stream();
    client.send(&wire::publish(1, "one"));
    client.expect("nothing is published at this edge");
    let local = edge(&[origin.address()], "publish = \"local\"");
    let _publisher = ffmpeg::publish_film(&url(&local, "one")).start();
    local.wait_for_publisher("one");
    assert_film(&url(&local, "one"), 2);
    assert!(entries(&mut Session::operator(&local), "push").is_empty());
    for server in [closed, local, origin] {
        server.stop();
    }
}

#[test]
fn who_may_take_the_place_of_a_stream_that_is_fetched_is_said_by_its_key() {
    let (origin, _publisher) = origin();
    for takes in [false, true] {
        let policy = if takes { "replace" } else { "reject" };
        let keys = format!("publish = \"local\", duplicatePublisher = \"{policy}\"");
        let server = edge(&[origin.address()], &keys);
        let mut player = Recording::start(&url(&server, "one"));
        wait_for_more(&mut player, 10);
        let mut session = Session::operator(&server);
        if takes {
            let publisher = ffmpeg::publish_film(&url(&server, "one")).start();
            wait_for_entries(&mut session, "pull", 0);
            wait_for_no_player(&origin, "one");
            wait_for_more(&mut player, fixture::GOP);
            // It leaves, and the player is served by the origin again.
            drop(publisher);
            wait_for_entries(&mut session, "pull", 1);
        } else {
            let mut client = Client::connected(server.address(), "edge");
            client.create_stream();
            client.send(&wire::publish(1, "one"));
            client.expect("being published already");
            assert_eq!(entries(&mut session, "pull").len(), 1);
        }
        wait_for_more(&mut player, fixture::GOP);
        Recording::of_program(&player).assert_forward();
        server.stop();
    }
    origin.stop();
}

#[test]
fn what_is_fetched_is_in_no_file_and_can_be_removed_by_command() {
    let (origin, _publisher) = origin();
    let (_folder, state) = file("state.json");
    let server = Server::start(&config(&[origin.address()], LINGER).top("stateFile", &format!("{state:?}")));
    let mut session = Session::operator(&server);
    for by_group in [false, true] {
        let mut player = Recording::start(&url(&server, "one"));
        wait_for_more(&mut player, 10);
        let entry = wait_for_entries(&mut session, "pull", 1).remove(0);
        let id = &entry["configId"];
        let command =
            if by_group { "removeConfig groupName=pull".to_owned() } else { format!("removeConfig id={id}") };
        assert_eq!(session.done(&command)[0]["configId"], *id);
        wait_for_no_player(&origin, "one");
        player.kill();
        wait_for_no_player(&server, "one");
        // With the next one that it releases it has forgotten this one too.
        let other = Client::player(server.address(), "edge", "two");
        wait_for_entries(&mut session, "pull", 1);
        drop(other);
        wait_for_entries(&mut session, "pull", 0);
    }
    // What is kept is written, and so it is seen that nothing else was.
    session.done("pullStream uri=rtmp://1.2.3.4/live/x application=edge");
    let written = std::fs::read_to_string(&state).expect("the file is there");
    assert!(written.contains("1.2.3.4"), "{written}");
    assert!(!written.contains(&origin.address().to_string()), "{written}");
    server.stop();
    origin.stop();
}

/// Whoever makes two edges each other's origin, or one its own, sees nothing, and has nothing left over.
#[test]
fn edges_in_a_circle_wait_for_nobody() {
    let (one, two) = (free_port(), free_port());
    for (first, second) in [(one, one), (one, two)] {
        let block = |of: u16| {
            format!("{{ name = \"edge\", linger = 1, origins = {{ \"rtmp://127.0.0.1:{of}/edge\" }} }}")
        };
        let start = |port: u16, of: u16| {
            Server::start(&Config::new().port(port).block(&administrator()).block(&block(of)))
        };
        let servers: Vec<Server> = if first == second {
            vec![start(first, first)]
        } else {
            vec![start(first, second), start(second, first)]
        };
        let player = Client::player(servers[0].address(), "edge", "none");
        let mut sessions: Vec<Session> = servers.iter().map(Session::operator).collect();
        for session in &mut sessions {
            wait_for("a pull", SOON, || (!entries(session, "pull").is_empty()).then_some(()));
        }
        drop(player);
        for session in &mut sessions {
            wait_for_entries(session, "pull", 0);
        }
        for (server, session) in servers.into_iter().zip(sessions) {
            drop(session);
            wait_for("the end of all connections", SOON, || {
                server.counters().players_of("none").is_empty().then_some(())
            });
            server.stop();
        }
    }
}

#[test]
fn a_reload_leaves_players_alone_and_serves_new_ones_with_the_new_settings() {
    let (origin, _publisher) = origin();
    let (other, _other_publisher) = self::origin();
    let server = edge(&[origin.address()], LINGER);
    let mut player = Recording::start(&url(&server, "one"));
    wait_for_more(&mut player, 10);
    server.rewrite(&config(&[other.address()], LINGER));
    server.signal(Signal::SIGHUP);
    wait_for("the old instance to be retired", SOON, || {
        (server.counters().number("retiredApplications") == 1).then_some(())
    });
    wait_for_more(&mut player, fixture::GOP);
    // It is the same stream for the time being, which the instance that comes cannot have of its own origin yet.
    let mut late = Recording::start(&url(&server, "one"));
    wait_for_more(&mut late, 10);
    player.kill();
    wait_for("the new origin to be asked", SOON, || {
        (other.counters().players_of("one").len() == 1).then_some(())
    });
    wait_for_no_player(&origin, "one");
    wait_for_more(&mut late, fixture::GOP);
    Recording::of_program(&late).assert_forward();
    server.stop();
    origin.stop();
    other.stop();
}

#[test]
fn players_before_and_after_a_reload_share_what_the_origin_has() {
    for early_leaves in [true, false] {
        let (origin, _publisher) = origin();
        let server = edge(&[origin.address()], LINGER);
        let mut session = Session::operator(&server);
        let mut early = Recording::start(&url(&server, "one"));
        wait_for_more(&mut early, 10);
        let before = wait_for_entries(&mut session, "pull", 1).remove(0);
        server.rewrite(&config(&[origin.address()], "linger = 1"));
        server.signal(Signal::SIGHUP);
        let wait_for_retired = |count| {
            wait_for("instances to be retired", SOON, || {
                (server.counters().number("retiredApplications") == count).then_some(())
            });
        };
        wait_for_retired(1);
        let mut late = Recording::start(&url(&server, "one"));
        wait_for_more(&mut late, 10);
        let (gone, stays) = if early_leaves { (&mut early, &mut late) } else { (&mut late, &mut early) };
        gone.kill();
        if early_leaves {
            wait_for_retired(0);
        }
        // Longer than either of them lingers.
        wait_for_more(stays, 4 * fixture::GOP);
        Recording::of_program(stays).assert_part_of(fixture::packets());
        let after = wait_for_entries(&mut session, "pull", 1).remove(0);
        assert_eq!((&after["configId"], &after["failures"]), (&before["configId"], &0.into()));
        stays.kill();
        wait_for_entries(&mut session, "pull", 0);
        assert!(!server.log().contains("does not pull"), "{}", server.log());
        server.stop();
        origin.stop();
    }
}
