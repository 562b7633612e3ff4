//! Servers that we pull from and push to and that do things in their own way, or wrongly on purpose.

use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::upstream::{Acknowledge, Act, Script, Upstream, hostile};
use crtmp_tests::wire::Message;
use crtmp_tests::{Canary, Config, Recording, Server, ffmpeg, fixture, flv, poll, wait_for};
use serde_json::Value;

use crate::{SOON, file};

/// Hostile upstreams that are met at once.
const AT_ONCE: usize = 70;

/// In which time both of us have come to each of them: few connections are made at once, and some say nothing.
const MET: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config::new()
        .whole_groups()
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

fn push(session: &mut Session, upstream: &Upstream) {
    session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", upstream.address()));
}

/// Demands that what an upstream has taken is the film.
fn assert_film(media: &[Message]) {
    let (_folder, out) = file("taken.flv");
    flv::write(&out, media);
    let recording = Recording::of_file(&out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
}

/// ACK-04, and the numbers of message streams: whatever the far end counts, the film arrives.
#[test]
fn a_push_does_not_care_how_the_far_end_counts() {
    let upstreams = [
        Script::new().streams_from(5),
        Script::new().streams_from(0x7fff_fff0),
        Script::new().acknowledges(Acknowledge::Increments, Some(10_000)),
        Script::new().acknowledges(Acknowledge::Never, None),
        Script::new().acknowledges(Acknowledge::Backwards, Some(10_000)),
        Script::new().acknowledges(Acknowledge::Beyond, Some(10_000)),
        Script::new().without_pongs(),
    ]
    .map(Upstream::start);
    let server = Server::start(&config());
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let mut session = Session::operator(&server);
    upstreams.iter().for_each(|upstream| push(&mut session, upstream));
    for upstream in &upstreams {
        let visit = upstream.visit(0);
        assert_film(&visit.wait_for_media(300));
        assert_eq!(upstream.visits().len(), 1, "it never had to come again");
        assert_eq!(visit.chunk_size(), Some(60_000));
    }
    let publish = upstreams[0].visit(0).command("publish");
    assert_eq!(publish.stream, 5);
    server.stop();
}

/// CMD-12 and the like from the client's side: answers that come twice, too early or to nothing change nothing.
#[test]
fn a_pull_does_not_care_for_more_answers_than_questions() {
    let film: Vec<Message> = flv::read(fixture::film()).into_iter().take(400).collect();
    let scripts = [
        Script::serving(film.clone()).streams_from(5),
        Script::serving(film.clone()).at("createStream", [Act::Answer, Act::Answer]),
        Script::serving(film).at("connect", [Act::ResultTo(77.0), Act::Answer, Act::Answer]),
    ];
    let upstreams = scripts.map(Upstream::start);
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    for (number, upstream) in upstreams.iter().enumerate() {
        let name = format!("s{number}");
        session.done(&format!("pullStream uri={} localStreamName={name}", upstream.url("live", "far")));
        server.wait_for_publisher(&name);
        let (_folder, out) = file("out.flv");
        ffmpeg::assert_clean(ffmpeg::record(&server.url(&name), Duration::from_secs(3), &out).run());
        Recording::of_file(&out).assert_part_of(fixture::packets());
    }
    server.stop();
}

/// A redirect is followed, as often as is allowed, and only where the policy lets it lead.
#[test]
fn redirects_are_followed_within_limits() {
    let film: Vec<Message> = flv::read(fixture::film()).into_iter().take(400).collect();
    let end = Upstream::start(Script::serving(film));
    let to = |place: String| Script::new().at("connect", [Act::Redirect(place)]);
    let middle = Upstream::start(to(format!("rtmp://{}/live", end.address())));
    let first = Upstream::start(to(format!("rtmp://{}/live", middle.address())));
    let circle = Upstream::start(Script::new());
    circle.follow(to(format!("rtmp://{}/live", circle.address())));
    // 127.0.0.0/8 is allowed; what clouds keep behind this address is not.
    let away = Upstream::start(to("rtmp://169.254.169.254/live".to_owned()));
    let file_of = Upstream::start(to("file:///etc/passwd".to_owned()));
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    for (name, upstream) in [("good", &first), ("circle", &circle), ("away", &away), ("file", &file_of)] {
        session.done(&format!(
            "pullStream uri={} localStreamName={name} keepAlive=0",
            upstream.url("live", "x")
        ));
    }
    server.wait_for_publisher("good");
    for (name, cause) in [("circle", "3 times"), ("away", "outboundPolicy"), ("file", "no address")] {
        let mut last = Value::Null;
        let ended = poll(SOON, || {
            let list = session.done("listConfig")["pull"].clone();
            last = list.as_array()?.iter().find(|entry| entry["localStreamName"] == name)?.clone();
            (last["status"]["current"]["description"] == "Ended").then_some(())
        });
        assert!(ended.is_some(), "{last}");
        assert!(last["cause"].as_str().is_some_and(|text| text.contains(cause)), "{last}");
    }
    assert!(circle.visits().len() <= 4, "{} visits", circle.visits().len());
    server.stop();
}

/// SSRF-02: an upstream that breaks the rules costs its own pulls and pushes, and nobody anything else.
#[test]
fn a_hostile_upstream_harms_nobody_else() {
    let server = Server::start(&config().limit("callTimeout", "2"));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    let scripts = hostile::scripts();
    let (mut played, mut published) = (0, 0);
    for batch in scripts.chunks(AT_ONCE) {
        let upstreams: Vec<Upstream> =
            batch.iter().map(|(_, script)| Upstream::start(script.clone())).collect();
        for (number, upstream) in upstreams.iter().enumerate() {
            let (address, canary) = (upstream.address(), Canary::STREAM);
            session.done(&format!("pullStream uri=rtmp://{address}/live/x localStreamName=x{number}"));
            // Another application: otherwise both would come by one connection.
            session.done(&format!("pushStream uri=rtmp://{address}/push localStreamName={canary}"));
        }
        // Both the pull and the push have met each of them.
        for ((name, _), upstream) in batch.iter().zip(&upstreams) {
            let met = poll(MET, || (upstream.visits().len() >= 2).then_some(()));
            assert!(met.is_some(), "not both came to the one that {name}");
        }
        canary.check(&server);
        // Which of those that flood gets as far as its stream is chance; most of the others do.
        for upstream in &upstreams {
            let commands: Vec<String> =
                upstream.visits().iter().flat_map(|visit| visit.commands()).map(|one| one.name).collect();
            played += usize::from(commands.iter().any(|name| name == "play"));
            published += usize::from(commands.iter().any(|name| name == "publish"));
        }
        // All at once: where the worker has been sent floods, each command takes its time.
        for group in ["pull", "push"] {
            session.done(&format!("removeConfig groupName={group}"));
        }
        wait_for("the connections to end", SOON, || {
            let connections = server.counters().connections().len();
            // The canary's two, and the session.
            (connections <= 3).then_some(())
        });
        canary.check(&server);
    }
    let some = scripts.len() / 4;
    assert!(played >= some && published >= some, "{played} plays, {published} publishes");
    assert_eq!(server.counters().number("totals.panics"), 0);
    let log = server.log();
    let raw = |letter: char| letter.is_control() && letter != '\n';
    assert!(!log.lines().any(|line| line.contains(raw)), "raw bytes in the log");
    server.stop();
}
