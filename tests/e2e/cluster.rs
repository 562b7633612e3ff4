//! Streams on their way through several servers, ours and others, and what becomes of them when one is killed.

use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::nginx::{self, Nginx};
use crtmp_tests::{Config, Kind, Program, Recording, Server, ffmpeg, fixture, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, free_port};

fn config() -> Config {
    Config::new()
        .whole_groups()
        .workers(2)
        .application("publisherReturn", "60")
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

fn count(player: &Program) -> usize {
    Recording::of_program(player).of(Kind::Video).len()
}

/// Waits until a player has so many pictures more.
fn wait_for_more(what: &str, player: &mut Program, more: usize) {
    let before = count(player);
    wait_for(what, SOON, || {
        assert!(player.runs(), "{what}: the player has ended: {}", player.stderr());
        (count(player) >= before + more).then_some(())
    });
}

/// Demands that a player was sent nothing but what was published, each packet once, and in order of its time.
fn assert_each_once(what: &str, recording: &Recording) {
    recording.assert_forward();
    let source = fixture::packets();
    for kind in [Kind::Video, Kind::Audio] {
        let all = source.of(kind);
        let mut next = 0;
        for packet in recording.of(kind) {
            let same = |other: &&crtmp_tests::Packet| {
                (other.size, &other.hash, other.key) == (packet.size, &packet.hash, packet.key)
            };
            let found = all[next..].iter().position(same);
            let found = found.unwrap_or_else(|| {
                let again = all[..next].iter().any(same);
                panic!("{what}: {packet:?} {}", if again { "came again" } else { "was never published" })
            });
            next += found + 1;
        }
    }
    let first = recording.of(Kind::Video).first().copied().expect("a picture");
    assert!(first.key, "{what}: begins without a key frame");
}

/// Demands that a player was sent all that was published since its first picture, and nothing else.
fn assert_whole(what: &str, recording: &Recording) {
    assert_each_once(what, recording);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
}

fn entry(session: &mut Session, group: &str, key: &str, value: &str) -> Value {
    let list = session.done("listConfig");
    let entries = list[group].as_array().cloned().unwrap_or_default();
    let found =
        entries.into_iter().find(|entry| entry.to_string().contains(&format!("\"{key}\":\"{value}\"")));
    found.unwrap_or_else(|| panic!("no {group} with {key} {value}: {list}"))
}

/// A publisher at A; A pushes to nginx and to B; an edge pulls from B when somebody plays.
#[test]
fn a_stream_goes_on_through_every_server_when_the_middle_is_killed() {
    let mut other = Nginx::start(&[nginx::Application::live("live")]);
    let port = free_port();
    let middle_config = config().port(port);
    let middle = Server::start(&middle_config);
    let edge = Server::start(&config().block(&format!(
        r#"{{
      name = "edge", protocol = "dynamiclinklibrary", publisherReturn = 60,
      origins = {{ "rtmp://127.0.0.1:{port}/live" }}, linger = 1,
    }}"#
    )));
    let first = Server::start(&config());
    let mut session = Session::operator(&first);
    for uri in [format!("rtmp://{}/live", other.address()), format!("rtmp://127.0.0.1:{port}/live")] {
        session.done(&format!("pushStream uri={uri} localStreamName=one"));
    }
    let _publisher = ffmpeg::publish_film(&first.url("one")).start();
    middle.wait_for_publisher("one");
    other.wait_for_publisher("live", "one");
    assert!(edge.counters().publisher_of("one").is_none(), "nobody plays there yet");

    let at_edge = format!("rtmp://{}/edge/one", edge.address());
    let mut far = Recording::start(&at_edge);
    let mut aside = Recording::start(&other.url("live", "one"));
    let mut near = Recording::start(&middle.url("one"));
    for (what, player) in [("edge", &mut far), ("nginx", &mut aside), ("middle", &mut near)] {
        wait_for_more(what, player, 3 * fixture::GOP);
        assert_whole(what, &Recording::of_program(player));
    }

    // The middle of one way, and the end of the other.
    middle.signal(Signal::SIGKILL);
    other.kill();
    drop(middle);
    wait_for("both pushes to notice", SOON, || {
        let list = session.done("listConfig")["push"].clone();
        let entries = list.as_array().expect("a list").clone();
        let notice = |entry: &Value| entry["cause"].is_string() && entry["failures"].as_u64() > Some(0);
        entries.iter().all(notice).then_some(())
    });
    let noticed = entry(&mut Session::operator(&edge), "pull", "localStreamName", "one");
    assert!(noticed["cause"].is_string(), "{noticed}");

    let middle = Server::start(&middle_config);
    other.start_again();
    middle.wait_for_publisher("one");
    other.wait_for_publisher("live", "one");
    wait_for_more("the player at the edge goes on", &mut far, 3 * fixture::GOP);
    assert_each_once("edge", &Recording::of_program(&far));
    let attempts = entry(&mut session, "push", "localStreamName", "one")["attempts"].as_u64();
    assert!(attempts > Some(1), "{attempts:?}");
    // Players of those that were killed have lost their connections, and come again.
    let (mut aside, mut near) =
        (Recording::start(&other.url("live", "one")), Recording::start(&middle.url("one")));
    for (what, player) in [("nginx", &mut aside), ("middle", &mut near)] {
        wait_for_more(what, player, 2 * fixture::GOP);
        assert_whole(what, &Recording::of_program(player));
    }

    // Nobody plays at the edge any more: it lets go.
    far.kill();
    wait_for("the edge to let go", SOON, || edge.counters().publisher_of("one").is_none().then_some(()));
    for server in [first, middle, edge] {
        server.stop();
    }
}

/// The connection breaks, and neither of the servers: what the far end has had does not come again.
#[test]
fn a_push_that_was_cut_sends_nothing_twice() {
    use crtmp_tests::flapper::Flapper;

    let target = Server::start(&config());
    let other = Nginx::start(&[nginx::Application::live("live").line("idle_streams on;")]);
    let ways = [Flapper::start(target.address()), Flapper::start(other.address())];
    let first = Server::start(&config());
    let mut session = Session::operator(&first);
    for way in &ways {
        session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", way.address()));
    }
    let _publisher = ffmpeg::publish_film(&first.url("one")).start();
    target.wait_for_publisher("one");
    other.wait_for_publisher("live", "one");
    let mut players = [Recording::start(&target.url("one")), Recording::start(&other.url("live", "one"))];
    for _ in 0..2 {
        for player in &mut players {
            wait_for_more("pictures", player, 2 * fixture::GOP);
        }
        for way in &ways {
            way.cut();
        }
    }
    for (what, player) in ["ours", "nginx"].into_iter().zip(&mut players) {
        wait_for_more(what, player, 2 * fixture::GOP);
        assert_each_once(what, &Recording::of_program(player));
    }
    for way in &ways {
        way.wait_for_attempts(3, SOON);
    }
    first.stop();
    target.stop();
}

/// ffmpeg and node-media-server take what we push.
#[test]
fn ffmpeg_and_node_media_server_take_a_push() {
    let node = crtmp_tests::NodeMediaServer::start();
    let address = crtmp_tests::free_address();
    let (_folder, out) = crate::file("out.flv");
    let mut listener = ffmpeg::listen(address, &out).within(Duration::from_secs(60)).start();
    crtmp_tests::wait_for_listener(address);
    let first = Server::start(&config().application("publisherReturn", "1"));
    let publisher = ffmpeg::publish_film(&first.url("one")).start();
    first.wait_for_publisher("one");
    let mut session = Session::operator(&first);
    session.done(&format!("pushStream uri=rtmp://{address}/live/p localStreamName=one keepAlive=0"));
    session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", node.address()));
    let mut player = Recording::start(&node.url("live", "one"));
    wait_for_more("node-media-server", &mut player, 3 * fixture::GOP);
    assert_whole("node-media-server", &Recording::of_program(&player));
    drop(publisher);
    wait_for("ffmpeg to end", SOON, || (!listener.runs()).then_some(()));
    let taken = Recording::of_file(&out);
    assert_whole("ffmpeg", &taken);
    assert!(
        taken.of(Kind::Video).len() >= 3 * fixture::GOP,
        "ffmpeg has {} pictures",
        taken.of(Kind::Video).len()
    );
    first.stop();
}
