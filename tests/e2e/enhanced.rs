//! Enhanced RTMP: ffmpeg 9 publishes, and ffmpeg 9, FFmpeg's libraries in Python and node-media-server read, bit by bit.
//!
//! Codecs are told by name: a player that does not know Enhanced RTMP shows pictures, too, but takes them for VP6.

use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::ffmpeg9::{self, Film, Tracks};
use crtmp_tests::{Config, NodeMediaServer, Program, Server};
use serde_json::{Value, json};

/// How long players play.
const WATCHED: Duration = Duration::from_secs(3);

/// Packets of each track that a player has at least which has played for so long from a key frame on.
const LEAST: usize = 50;

fn config() -> Config {
    Config::new()
        .whole_groups()
        .workers(2)
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

/// Reads from a server for some seconds and demands that it is the film.
fn assert_film(url: &str, film: Film) {
    let outcome = ffmpeg9::read(url, WATCHED, "").run().success();
    Tracks::parse(&outcome.stdout).assert_part_of(film, LEAST);
}

#[test]
fn every_reader_gets_every_codec_and_track() {
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    for film in Film::ALL {
        let name = format!("{film:?}");
        let _publisher = ffmpeg9::publish(film, &server.url(&name), "").start();
        server.wait_for_publisher(&name);
        let url = server.url(&name);
        let readers = [
            ffmpeg9::read(&url, WATCHED, "").start(),
            ffmpeg9::read(&url, WATCHED, "avc1,hvc1,av01,mp4a,Opus").start(),
            ffmpeg9::read_with_python(&url, 400).start(),
        ];
        for reader in readers {
            let outcome = reader.wait(Duration::from_secs(60)).success();
            Tracks::parse(&outcome.stdout).assert_part_of(film, LEAST);
        }
        assert_eq!(tracks(&mut session, &name), expected(film));
    }
    server.stop();
}

/// What `listStreams` shows of the tracks of a stream.
fn tracks(session: &mut Session, name: &str) -> Value {
    let streams = session.done("listStreams");
    let streams = streams.as_array().expect("a list");
    let found = streams.iter().find(|stream| stream["name"] == name && stream["type"] == "INR");
    found.unwrap_or_else(|| panic!("no {name}: {streams:?}"))["tracks"].clone()
}

fn expected(film: Film) -> Value {
    let track = |kind: &str, id: u8, codec: &str| json!({ "type": kind, "trackId": id, "codec": codec });
    json!(match film {
        Film::Hevc => vec![track("video", 0, "H.265"), track("audio", 0, "AAC")],
        Film::Av1 => vec![track("video", 0, "AV1"), track("audio", 0, "Opus")],
        Film::Tracks => vec![
            track("video", 0, "H.264"),
            track("video", 1, "H.265"),
            track("audio", 0, "AAC"),
            track("audio", 1, "Opus"),
        ],
    })
}

/// node-media-server knows no tracks but one of each kind.
#[test]
fn node_media_server_takes_and_gives_what_it_knows() {
    let far = NodeMediaServer::start();
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    for film in [Film::Hevc, Film::Av1] {
        let name = format!("{film:?}");
        let _publisher = ffmpeg9::publish(film, &server.url(&name), "").start();
        server.wait_for_publisher(&name);
        // It has one stream for a connection, and pushes and pulls of one application share theirs.
        let (there, to, from) = (format!("{name}-there"), format!("to-{name}"), format!("from-{name}"));
        session.done(&format!(
            "pushStream uri=rtmp://{}/{to} localStreamName={name} targetStreamName={name}",
            far.address()
        ));
        assert_film(&far.url(&to, &name), film);
        let url = far.url(&from, &name);
        let _publisher = ffmpeg9::publish(film, &url, "").start();
        session.done(&format!("pullStream uri={url} localStreamName={there}"));
        server.wait_for_publisher(&there);
        assert_film(&server.url(&there), film);
    }
    server.stop();
}

/// ERT-08: players get what they have declared, those who have declared nothing what the configuration says, and where
/// nothing is left they are told why.
#[test]
fn players_get_what_they_have_declared() {
    for (policy, silent) in [
        ("asDeclared", &["aac", "h264", "hevc", "opus"][..]),
        ("declaredOnly", &["aac", "h264"]),
        ("all", &["aac", "h264", "hevc", "opus"]),
    ] {
        let server = Server::start(&config().application("enhancedRtmp", &format!("{policy:?}")));
        let films = [Film::Tracks, Film::Av1].map(|film| {
            let name = format!("{film:?}");
            let publisher = ffmpeg9::publish(film, &server.url(&name), "").start();
            server.wait_for_publisher(&name);
            (publisher, server.url(&name))
        });
        let [tracks, av1] = films.each_ref().map(|(_, url)| url);
        let play = |url: &str, declares: &str| ffmpeg9::read(url, WATCHED, declares).start();
        let (some, none, never) = (play(tracks, "hvc1"), play(tracks, ""), play(av1, "hvc1"));
        let read = |player: Program| Tracks::parse(&player.wait(Duration::from_secs(60)).success().stdout);
        // ffmpeg declares nothing of several tracks: with "declaredOnly" it gets one of each kind.
        let declared = match policy {
            "asDeclared" => &["aac", "h264", "hevc"][..],
            "declaredOnly" => &["aac", "h264"],
            _ => silent,
        };
        read(some).assert_are(declared, Film::Tracks, LEAST);
        read(none).assert_are(silent, Film::Tracks, LEAST);
        let outcome = never.wait(Duration::from_secs(60));
        if policy == "all" {
            Tracks::parse(&outcome.success().stdout).assert_part_of(Film::Av1, LEAST);
        } else {
            assert!(outcome.stderr.contains("no codec that the player has declared"), "{}", outcome.stderr);
        }
        server.stop();
    }
}
