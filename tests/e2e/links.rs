//! Streams that come from other servers and go to them: pulls and pushes between two of ours.

use std::time::{Duration, Instant};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::nginx::{self, Nginx};
use crtmp_tests::{Canary, Config, Launch, Namespace, Recording, Server, ffmpeg, fixture, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, assert_film, entry, file, free_port, wait_for_more};

/// Commands may lead to this machine.
const ALLOWED: &str = "{ allow = { \"127.0.0.0/8\" } }";

fn config() -> Config {
    Config::new().whole_groups().top("outboundPolicy", ALLOWED).block(&administrator())
}

fn pulls(streams: &str) -> Config {
    config().application("externalStreams", &format!("{{ {streams} }}"))
}

fn wait_for_status(session: &mut Session, group: &str, stream: &str, status: &str) -> Value {
    let mut last = Value::Null;
    let found = crtmp_tests::poll(SOON, || {
        last = entry(session, group, stream);
        (last["status"]["current"]["description"] == status).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{stream} is never {status:?}: {last}"))
}

#[test]
fn a_configured_pull_brings_every_byte() {
    let origin = Server::start(&Config::new().whole_groups());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let stream = format!("{{ uri = \"{}\", localStreamName = \"copy\" }}", origin.url("one"));
    let server = Server::start(&pulls(&stream).workers(2));
    server.wait_for_publisher("copy");
    assert_film(&server.url("copy"), 5);

    let mut session = Session::operator(&server);
    let entry = wait_for_status(&mut session, "pull", "copy", "Streaming");
    assert_eq!(entry["fromConfiguration"], true);
    assert_eq!(entry["address"], origin.address().to_string());
    assert!(entry["connectionId"].is_u64() && entry["streamId"].is_u64(), "{entry}");
    assert!(entry["cause"].is_null() && entry["retryIn"].is_null(), "{entry}");
    let text = session.fails(&format!("removeConfig id={}", entry["configId"]));
    assert!(text.contains("externalStreams"), "{text}");
    server.stop();
    origin.stop();
}

#[test]
fn a_pull_by_command_runs_until_it_is_removed() {
    let origin = Server::start(&Config::new().whole_groups());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");

    // Who commands does not get the server to talk to its neighbours.
    let careful = Server::start(&Config::new().block(&administrator()));
    let text = Session::operator(&careful).fails(&format!("pullStream uri={}", origin.url("one")));
    assert!(text.contains("outboundPolicy"), "{text}");
    careful.stop();

    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    let command = format!("pullStream uri={} swfUrl=http://x/y.swf", origin.url("one"));
    let created = session.done(&command);
    assert_eq!(
        (&created["localStreamName"], &created["applicationName"]),
        (&"one".into(), &"flvplayback".into())
    );
    assert!(session.fails(&command).contains("already"));
    let wrong = session.fails("pullStream uri=rtsp://localhost/a/b");
    assert!(wrong.contains("not supported yet"), "{wrong}");
    let wrong = session.fails("pullStream uri=rtmp://localhost/a/b forceTcp=1");
    assert!(wrong.contains("RTSP"), "{wrong}");
    server.wait_for_publisher("one");
    assert_film(&server.url("one"), 3);
    let id = &wait_for_status(&mut session, "pull", "one", "Streaming")["configId"];
    let info = session.done("getStreamInfo localStreamName=one");
    assert_eq!(info["pullSettings"]["configId"], *id);
    // A stream that is ended comes again; the pull goes on.
    session.done("shutdownStream localStreamName=one");
    wait_for_status(&mut session, "pull", "one", "Disconnected, will be tried again");
    wait_for_status(&mut session, "pull", "one", "Streaming");
    assert_eq!(session.done(&format!("getConfigInfo id={id}"))["groupName"], "pull");

    session.done(&format!("removeConfig id={id}"));
    wait_for("the end of the pull", SOON, || server.counters().publisher_of("one").is_none().then_some(()));
    assert_eq!(session.done("listConfig")["pull"], Value::Array(Vec::new()));
    wait_for("the end of its connection", SOON, || {
        let players = origin.counters().connections().iter().any(|connection| !connection.plays.is_empty());
        (!players).then_some(())
    });
    server.stop();
    origin.stop();
}

#[test]
fn who_redirects_is_followed_as_far_as_the_policy_goes() {
    let origin = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let (_folder, script) = file("app.lua");
    let to = format!("rtmp://{}/live", origin.address());
    std::fs::write(&script, format!("function on_connect(client) client:redirect({to:?}) end"))
        .expect("a file");
    let block = format!("{{ name = \"lua\", library = \"vmapp\", script = {script:?} }}");
    let front = Server::start(&Config::new().block(&block));
    let stream = format!("{{ uri = \"rtmp://{}/lua/one\", localStreamName = \"copy\" }}", front.address());

    let server = Server::start(&pulls(&stream));
    server.wait_for_publisher("copy");
    let mut session = Session::operator(&server);
    let entry = wait_for_status(&mut session, "pull", "copy", "Streaming");
    assert_eq!((&entry["address"], &entry["failures"]), (&origin.address().to_string().into(), &0.into()));
    server.stop();

    // SSRF-01: the operator has chosen the first address, and nobody the second.
    let careful = Config::new().block(&administrator());
    let server = Server::start(&careful.application("externalStreams", &format!("{{ {stream} }}")));
    let mut session = Session::operator(&server);
    let entry = wait_for_status(&mut session, "pull", "copy", "Disconnected, will be tried again");
    assert!(entry["cause"].as_str().is_some_and(|cause| cause.contains("outboundPolicy")), "{entry}");
    server.stop();
    front.stop();
    origin.stop();
}

#[test]
fn an_application_is_told_of_what_it_pulls_whichever_instance_runs() {
    let origin = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let (_folder, script) = file("app.lua");
    let text = |version: u32| {
        format!(
            "function on_stream(name, live) log.info('{version} stream ' .. name .. ' ' .. tostring(live)) end\n\
             function on_metadata(client, values, name) log.info('{version} metadata ' .. name) end\n\
             function on_publish() return false, 'nobody is asked' end"
        )
    };
    std::fs::write(&script, text(1)).expect("a file");
    let block = |keys: &str| {
        let stream = format!("{{ uri = {:?}, localStreamName = \"copy\" }}", origin.url("one"));
        format!(
            "{{ name = \"lua\", library = \"vmapp\", script = {script:?}, {keys} externalStreams = {{ {stream} }} }}"
        )
    };
    let server = Server::start(&Config::new().block(&block("")).block(&administrator()));
    server.wait_for_log("1 stream copy true");
    server.wait_for_log("1 metadata copy");
    std::fs::write(&script, text(2)).expect("a file");
    server.rewrite(&Config::new().block(&block("description = \"2\",")).block(&administrator()));
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    let mut session = Session::operator(&server);
    assert_eq!(entry(&mut session, "pull", "copy")["failures"], 0, "it has gone on");
    session.done("shutdownStream localStreamName=copy");
    server.wait_for_log("2 stream copy false");
    server.wait_for_log("2 stream copy true");
    server.wait_for_log("2 metadata copy");
    server.stop();
    origin.stop();
}

/// SSRF-01.
#[test]
fn commands_do_not_lead_to_neighbours() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket option");
    let port = listener.local_addr().expect("bound").port();
    let server = Server::start(&Config::new().block(&administrator()));
    let mut session = Session::operator(&server);
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"] {
        for command in ["pullStream", "pushStream"] {
            let text =
                session.fails(&format!("{command} uri=rtmp://{host}:{port}/live/one localStreamName=one"));
            assert!(text.contains("outboundPolicy"), "{host}: {text}");
        }
    }
    for (number, host) in ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"].iter().enumerate()
    {
        let name = format!("s{number}");
        session.done(&format!("pullStream uri=rtmp://{host}:{port}/live/{name}"));
        let status = "Disconnected, will be tried again";
        let cause = wait_for_status(&mut session, "pull", &name, status)["cause"].clone();
        let is_refused = |cause: &str| cause.contains("outboundPolicy") || cause.contains("address");
        assert!(cause.as_str().is_some_and(is_refused), "{host}: {cause}");
    }
    for scheme in ["http", "file", "rtsp", "rtmpse"] {
        session.fails(&format!("pullStream uri={scheme}://example.com/live/one"));
    }
    assert!(listener.accept().is_err(), "somebody has connected");
    server.stop();
}

#[test]
fn there_may_be_so_many_pulls_and_pushes() {
    let server = Server::start(&config().limit("links", "2"));
    let mut session = Session::operator(&server);
    for name in ["a", "b"] {
        session.done(&format!("pushStream uri=rtmp://127.0.0.1:{}/live localStreamName={name}", free_port()));
    }
    let text = session.fails("pullStream uri=rtmp://127.0.0.1:1/live/c");
    assert!(text.contains("denyPorts"), "{text}");
    let text = session.fails(&format!("pullStream uri=rtmp://127.0.0.1:{}/live/c", free_port()));
    assert!(text.contains("limits.links"), "{text}");
    session.done("removeConfig groupName=push");
    assert_eq!(session.done("listConfig")["push"], Value::Array(Vec::new()));
    server.stop();
}

#[test]
fn a_stream_does_not_come_from_itself() {
    // Whoever comes may take the name: nothing else holds.
    let server = Server::start(&config().application("duplicatePublisher", "\"replace\""));
    let mut session = Session::operator(&server);
    session.done(&format!("pullStream uri={} localStreamName=echo", server.url("one")));
    let here = format!("rtmp://{}/live", server.address());
    session.done(&format!("pushStream uri={here} localStreamName=echo targetStreamName=back"));
    session.done(&format!("pushStream uri={here} localStreamName=back targetStreamName=one"));
    let publisher = ffmpeg::publish_film(&server.url("one")).start();
    wait_for_status(&mut session, "push", "echo", "Streaming");
    let cause = wait_for("the end of the circle", SOON, || {
        let cause = entry(&mut session, "push", "back")["cause"].clone();
        cause.as_str().map(str::to_owned)
    });
    assert!(cause.contains("come from itself"), "{cause}");
    drop(publisher);
    server.stop();
}

#[test]
fn a_stream_does_not_come_back_from_another_server() {
    let config = config().application("duplicatePublisher", "\"replace\"");
    let (first, second) = (Server::start(&config), Server::start(&config));
    let (mut there, mut back) = (Session::operator(&first), Session::operator(&second));
    let push = |from: &mut Session, to: &Server, local, target| {
        let uri = format!("rtmp://{}/live", to.address());
        from.done(&format!("pushStream uri={uri} localStreamName={local} targetStreamName={target}"));
    };
    push(&mut there, &second, "one", "two");
    push(&mut back, &first, "two", "one");
    let _publisher = ffmpeg::publish_film(&first.url("one")).start();
    wait_for_status(&mut there, "push", "one", "Streaming");
    let cause = wait_for("the end of the circle", SOON, || {
        entry(&mut back, "push", "two")["cause"].as_str().map(str::to_owned)
    });
    assert!(cause.contains("come from itself"), "{cause}");
    assert_film(&second.url("two"), 2);
    first.stop();
    second.stop();
}

/// Nothing says where a stream has been that comes by a server of another family: its name is taken, and that holds.
#[test]
fn a_stream_that_comes_back_from_a_foreign_server_takes_no_name() {
    for policy in ["reject", "replaceIfIdle"] {
        let port = free_port();
        let back = nginx::Application::live("live").push(&format!("rtmp://127.0.0.1:{port}/live"));
        let foreign = Nginx::start(&[back]);
        let server =
            Server::start(&config().port(port).application("duplicatePublisher", &format!("{policy:?}")));
        let mut session = Session::operator(&server);
        session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", foreign.address()));
        let _publisher = ffmpeg::publish_film(&server.url("one")).start();
        server.wait_for_publisher("one");
        let before = server.counters().publisher_of("one").map(|publisher| publisher.id);
        foreign.wait_for_publisher("live", "one");
        wait_for("the refusal", SOON, || server.log().contains("is being published already").then_some(()));
        assert_film(&server.url("one"), 4);
        assert_eq!(server.counters().publisher_of("one").map(|publisher| publisher.id), before);
        wait_for_status(&mut session, "push", "one", "Streaming");
        server.stop();
    }
}

/// FLT-09.
#[test]
fn what_is_cut_off_silently_is_noticed_within_ten_seconds() {
    let Some(namespace) = Namespace::new() else { return };
    let (folder, _) = file("origin.lua");
    let port = free_port();
    let text = Config::new().ip("0.0.0.0").port(port).text(folder.path(), &crtmp_tests::folder_of_programs());
    let path = folder.path().join("origin.lua");
    std::fs::write(&path, text).expect("a temporary file");
    let origin = Launch::new(Server::executable()).arg(&path).unlimited().inside(&namespace).start();
    wait_for("the origin", SOON, || origin.stdout().contains(" is ready (pid ").then_some(()));
    let _publisher =
        ffmpeg::publish_film(&format!("rtmp://127.0.0.1:{port}/live/one")).inside(&namespace).start();
    let uri = format!("rtmp://{}:{port}/live/one", namespace.inner());
    let server = Server::start(&pulls(&format!("{{ uri = \"{uri}\" }}")));
    let mut session = Session::operator(&server);
    wait_for_status(&mut session, "pull", "one", "Streaming");
    namespace.cut();
    let cut = Instant::now();
    wait_for_status(&mut session, "pull", "one", "Disconnected, will be tried again");
    assert!(cut.elapsed() < Duration::from_secs(13), "after {:?}", cut.elapsed());
    server.stop();
}

#[test]
fn a_push_runs_whenever_its_stream_is_there() {
    let target = Server::start(&Config::new().whole_groups());
    let server = Server::start(&config().application("publisherReturn", "0"));
    let mut session = Session::operator(&server);
    let uri = format!("rtmp://{}/live", target.address());
    session.done(&format!("pushStream uri={uri} localStreamName=one targetStreamName=there"));
    session.done(&format!("pushStream uri={uri} localStreamName=one targetStreamName=also"));
    wait_for_status(&mut session, "push", "one", "Waiting for the stream");
    assert_eq!(session.done("listConfig")["push"][0]["targetStreamName"], "there");
    let shown = Session::guest(&server).done("listConfig")["push"].to_string();
    assert!(!shown.contains("there") && shown.contains("***"), "{shown}");

    let mut publisher = ffmpeg::publish_film(&server.url("one")).start();
    target.wait_for_publisher("there");
    target.wait_for_publisher("also");
    assert_film(&target.url("there"), 4);
    let connections = target.counters().connections().iter().filter(|one| !one.publishes.is_empty()).count();
    assert_eq!(connections, 1, "both go by one connection");

    publisher.kill();
    wait_for("the end of the push", SOON, || target.counters().publisher_of("there").is_none().then_some(()));
    let entry = wait_for_status(&mut session, "push", "one", "Waiting for the stream");
    assert_eq!(entry["failures"], 0, "{entry}");
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    target.wait_for_publisher("there");
    server.stop();
    target.stop();
}

#[test]
fn what_is_restarted_comes_back_and_players_go_on() {
    let port = free_port();
    let origin_config = Config::new().whole_groups().port(port);
    let origin = Server::start(&origin_config);
    let url = origin.url("one");
    let publisher = ffmpeg::publish_film(&url).start();
    origin.wait_for_publisher("one");
    let server =
        Server::start(&pulls(&format!("{{ uri = \"{url}\" }}")).application("publisherReturn", "60"));
    let mut session = Session::operator(&server);
    wait_for_status(&mut session, "pull", "one", "Streaming");
    let mut player = Recording::start(&server.url("one"));
    wait_for_more(&mut player, 2 * fixture::GOP);

    drop(publisher);
    origin.stop();
    let entry = wait_for_status(&mut session, "pull", "one", "Disconnected, will be tried again");
    assert!(entry["cause"].is_string() && entry["retryIn"].is_number(), "{entry}");
    wait_for("a refused attempt", SOON, || {
        let entry = entry_of(&mut session);
        entry["cause"].as_str().is_some_and(|cause| cause.contains("refused")).then_some(())
    });
    let origin = Server::start(&origin_config);
    let _publisher = ffmpeg::publish_film(&url).start();
    wait_for_status(&mut session, "pull", "one", "Streaming");
    wait_for_more(&mut player, 2 * fixture::GOP);
    Recording::of_program(&player).assert_forward();
    server.stop();
    origin.stop();
}

fn entry_of(session: &mut Session) -> Value {
    entry(session, "pull", "one")
}

#[test]
fn what_commands_have_set_up_is_kept_and_begins_again() {
    let origin = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let (folder, _) = file("state.json");
    let state = format!("{:?}", folder.path().join("state.json"));
    let config = config().top("stateFile", &state);
    let server = Server::start(&config);
    let mut session = Session::operator(&server);
    let secret = format!("rtmp://me:hidden@{}/live/one", origin.address());
    let id = session.done(&format!("pullStream uri={secret} localStreamName=copy"))["configId"].clone();
    server.wait_for_publisher("copy");
    assert!(!server.log().contains("hidden"));
    server.stop();

    let server = Server::start(&config);
    server.wait_for_publisher("copy");
    let mut session = Session::operator(&server);
    let entry = wait_for_status(&mut session, "pull", "copy", "Streaming");
    assert_eq!(entry["configId"], id);
    assert!(!entry.to_string().contains("hidden"), "{entry}");
    assert!(!server.log().contains("hidden"));
    server.stop();
    origin.stop();
}

#[test]
fn a_reload_touches_only_what_has_changed() {
    let origin = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let stream =
        |name: &str| format!("{{ uri = \"{}\", localStreamName = \"{name}\" }}, ", origin.url("one"));
    let server = Server::start(&pulls(&(stream("stays") + &stream("goes"))));
    for name in ["stays", "goes"] {
        server.wait_for_publisher(name);
    }
    let before = server.counters().publisher_of("stays").expect("it is pulled").id;
    // The application gets another instance too.
    server.rewrite(&pulls(&(stream("comes") + &stream("stays"))).application("description", "\"another\""));
    server.signal(Signal::SIGHUP);
    server.wait_for_publisher("comes");
    wait_for("the end of one pull", SOON, || server.counters().publisher_of("goes").is_none().then_some(()));
    assert_eq!(server.counters().publisher_of("stays").expect("it is still pulled").id, before);
    let mut session = Session::operator(&server);
    let list = session.done("listConfig")["pull"].clone();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    assert!(list.to_string().contains("comes") && !list.to_string().contains("goes"), "{list}");
    server.stop();
    origin.stop();
}

#[test]
fn a_thousand_pulls_of_the_dead_cost_nobody_anything() {
    let dead = free_port();
    let streams: String =
        (0..1000).map(|number| format!("{{ uri = \"rtmp://127.0.0.1:{dead}/live/s{number}\" }}, ")).collect();
    // At INFO: what comes again and again is not to fill the log that operators keep.
    let server = Server::start(&pulls(&streams).log_level(3));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    wait_for("an attempt of each", SOON, || {
        let list = session.done("listConfig")["pull"].clone();
        let failed = |entry: &Value| entry["cause"].as_str().is_some_and(|cause| cause.contains("refused"));
        let all = list.as_array().expect("a list");
        (all.len() == 1000 && all.iter().all(failed)).then_some(())
    });
    canary.check(&server);
    let lines =
        server.log().lines().filter(|line| line.contains("127.0.0.1:") && line.contains("refused")).count();
    assert!(lines < 200, "{lines} lines");
    server.stop();
}
