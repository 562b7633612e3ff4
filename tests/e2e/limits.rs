//! What an operator allows: connections, bandwidth, aliases, ingest points; and what of it outlives a restart.

use std::{fs, path::Path, time::Duration};

use crtmp_tests::cli::{self, Session};
use crtmp_tests::wire::{self, Client};
use crtmp_tests::{Config, Server, ffmpeg, folder_of_programs, players, wait_for};
use serde_json::{Value, json};

use crate::{SOON, file};

/// A publish of this name is refused.
fn refused(server: &Server, name: &str) {
    let mut client = Client::connected(server.address(), "live");
    client.create_stream();
    client.send(&wire::publish(1, name));
    client.expect_refusal();
}

fn with_commands() -> Config {
    Config::new().workers(2).block(&cli::administrator())
}

fn with_state(file: &Path) -> Config {
    with_commands().application("hasIngestPoints", "true").top("stateFile", &format!("{file:?}"))
}

/// NAM-08: names that operators give follow the rules for those of clients.
#[test]
fn names_by_command_are_refused_by_a_rule_or_stay_as_they_are() {
    let config = with_commands().application("hasStreamAliases", "true");
    let server = Server::start(&config.application("hasIngestPoints", "true"));
    let mut session = Session::operator(&server);
    let commands = [
        ("addStreamAlias", "aliasName", "localStreamName"),
        ("createIngestPoint", "privateStreamName", "publicStreamName"),
    ];
    let long = "x".repeat(5000);
    for name in ["..", "a/../b", ".", "a//b", "/", "a\\nb", "a\\u{0}b", "a?b", &long] {
        for (command, first, second) in commands {
            session.fails(&format!("{command} {first}={name} {second}=good"));
            session.fails(&format!("{command} {first}=good {second}={name}"));
        }
    }
    assert_eq!(session.done("listStreamAliases"), json!([]));
    assert_eq!(session.done("listIngestPoints"), json!([]));
    for (line, name) in [("%2e%2e%2f", "%2e%2e%2f"), (r"C:\\x", r"C:\x"), ("CON", "CON"), ("<b>", "<b>")] {
        let alias = session.done(&format!("addStreamAlias aliasName={line} localStreamName={line}-public"));
        assert_eq!(alias["aliasName"], name);
        let point = format!("createIngestPoint privateStreamName={line} publicStreamName={line}-public");
        assert_eq!(session.done(&point)["privateStreamName"], name);
    }
    server.stop();
}

#[test]
fn an_alias_for_one_play_is_used_up_and_real_names_are_none() {
    let config = with_commands().application("hasStreamAliases", "true").application("playWait", "1");
    let server = Server::start(&config);
    let mut commands = Session::operator(&server);
    let _publisher = ffmpeg::publish_film(&server.url("film")).start();
    server.wait_for_publisher("film");
    let rtmp = server.address();
    Client::player(rtmp, "live", "film").expect("NetStream.Play.StreamNotFound");

    let added = commands.done("addStreamAlias localStreamName=film aliasName=once");
    assert_eq!((&added["expirePeriod"], &added["oneShot"]), (&json!(-600), &json!(true)), "{added}");
    assert_eq!(added["appName"], "flvplayback");
    let (_folder, out) = file("once.flv");
    let record = |alias: &str| ffmpeg::record(&server.url(alias), Duration::from_secs(1), &out);
    ffmpeg::assert_clean(record("once").run());
    assert_ne!(record("once").run().code, Some(0), "it could be used twice");
    Client::player(rtmp, "live", "film").expect("NetStream.Play.StreamNotFound");

    commands.done("addStreamAlias localStreamName=film aliasName=often expirePeriod=600");
    for _ in 0..2 {
        let (_folder, out) = file("often.flv");
        let player = players::rtmpdump(&server.url("often"), &out).start();
        wait_for("bytes by rtmpdump", SOON, || (fs::metadata(&out).ok()?.len() > 10_000).then_some(()));
        let shown = |session: &mut Session| {
            let streams = session.done("listStreams");
            let play = streams.as_array().expect("a list").iter().find(|stream| stream["type"] == "ONR");
            let of_play = play.map(|play| play["aliasName"].clone());
            (session.done("listStreamAliases")[0]["aliasName"].clone(), of_play)
        };
        // Whoever knows an alias may play.
        assert_eq!(shown(&mut commands), (json!("often"), Some(json!("often"))));
        assert_eq!(shown(&mut Session::guest(&server)), (json!("***"), Some(json!("***"))));
        player.interrupt();
        server.wait_for_log("stopped playing");
    }

    commands.done("addStreamAlias localStreamName=film aliasName=short expirePeriod=1");
    let gone = || {
        let list = commands.done("listStreamAliases");
        let names: Vec<_> = list.as_array()?.iter().map(|alias| alias["aliasName"].clone()).collect();
        (names == [json!("often")]).then_some(())
    };
    wait_for("the end of the short alias", SOON, gone);
    Client::player(rtmp, "live", "short").expect("NetStream.Play.StreamNotFound");
    commands.done("removeStreamAlias aliasName=often");
    assert!(commands.fails("removeStreamAlias aliasName=often").contains("no alias"));
    Client::player(rtmp, "live", "often").expect("NetStream.Play.StreamNotFound");

    // A player is not told the real name, not even where the stream is not there.
    commands.done("addStreamAlias localStreamName=nothing aliasName=empty");
    let refusal = Client::player(rtmp, "live", "empty").expect("NetStream.Play.StreamNotFound");
    assert!(refusal.says("empty") && !refusal.says("nothing"));
    for wrong in ["localStreamName=a/../b aliasName=x", "localStreamName=a aliasName=x expirePeriod=31536001"]
    {
        commands.fails(&format!("addStreamAlias {wrong}"));
    }
    server.stop();
}

#[test]
fn who_publishes_needs_the_private_name_and_nobody_is_told_it() {
    let (_folder, events) = file("events.json");
    let sink = format!(r#"{{ sinks = {{ {{ type = "file", filename = {events:?}, format = "json" }} }} }}"#);
    let config = with_commands().application("hasIngestPoints", "true").top("eventLogger", &sink);
    let server = Server::start(&config);
    let mut commands = Session::operator(&server);
    commands.done("createIngestPoint privateStreamName=hidden7 publicStreamName=cam");
    assert!(
        !commands.fails("createIngestPoint privateStreamName=hidden7 publicStreamName=x").contains("hidden7")
    );
    for name in ["cam", "guessed8"] {
        refused(&server, name);
    }
    let mut publisher = ffmpeg::publish_film(&server.url("hidden7")).start();
    server.wait_for_publisher("cam");
    assert_eq!(ffmpeg::codecs(&server.url("cam")), ["aac", "h264"]);

    let mut guest = Session::guest(&server);
    let private = |list: Value| list[0]["privateStreamName"].clone();
    assert_eq!(private(guest.done("listIngestPoints")), "***");
    assert_eq!(private(guest.done("listConfig")["ingestPoints"].take()), "***");
    assert_eq!(guest.done("getConfigInfo id=1")["privateStreamName"], "***");
    assert_eq!(private(commands.done("listIngestPoints")), "hidden7");

    commands.done("removeIngestPoint privateStreamName=hidden7");
    assert!(publisher.runs(), "the publisher was ended");
    assert_eq!(commands.done("listIngestPoints"), json!([]));
    drop(publisher);
    refused(&server, "hidden7");
    let log = server.stop();
    assert!(!log.contains("hidden7") && !log.contains("guessed8"), "{log}");
    let folder = events.parent().expect("a folder");
    let events =
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| fs::read_to_string(entry.path()));
    let events: String = events.map(|text| text.expect("a file of events")).collect();
    assert!(events.contains("createIngestPoint") && !events.contains("hidden7"), "{events}");
}

#[test]
fn a_connection_too_many_is_refused_but_not_that_of_the_operator() {
    let server = Server::start(&with_commands());
    let mut commands = Session::operator(&server);
    commands.done("setConnectionsCountLimit count=2");
    let rtmp = server.address();
    let mut first = Client::connected(rtmp, "live");
    let second = Client::connected(rtmp, "live");
    let state = commands.done("getConnectionsCountLimit");
    assert_eq!((&state["current"], &state["limit"]), (&json!(2), &json!(2)), "{state}");
    assert!(Client::open(rtmp).expect_close(SOON).is_empty());
    server.wait_for_log("setConnectionsCountLimit = 2 is reached");
    Session::operator(&server).done("version");
    first.expect_open();

    drop(second);
    wait_for("a free place", SOON, || {
        (commands.done("getConnectionsCountLimit")["current"] == json!(1)).then_some(())
    });
    let _third = Client::connected(rtmp, "live");
    commands.done("setConnectionsCountLimit count=0");
    let _more: Vec<Client> = (0..3).map(|_| Client::connected(rtmp, "live")).collect();
    let most = commands.done("getConnectionsCountLimit")["most"].as_u64().expect("a number");
    assert!(
        commands.fails(&format!("setConnectionsCountLimit count={}", most + 1)).contains(&most.to_string())
    );
    server.stop();
}

#[test]
fn beyond_the_bandwidth_new_streams_are_refused_and_old_ones_go_on() {
    let server = Server::start(&with_commands());
    let mut commands = Session::operator(&server);
    let mut publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let rtmp = server.address();
    let mut player = ffmpeg::play(&server.url("one")).start();
    commands.done("setBandwidthLimit in=100 out=100");
    let is_over = |state: &Value, way: &str| state[way]["current"].as_f64().is_some_and(|rate| rate > 100.0);
    wait_for("the rate", SOON, || {
        let state = commands.done("getBandwidth");
        (is_over(&state, "in") && is_over(&state, "out")).then_some(())
    });
    let mut other = Client::connected(rtmp, "live");
    other.create_stream();
    other.send(&wire::publish(1, "two"));
    other.expect("NetStream.Publish.Denied");
    let refusal = Client::player(rtmp, "live", "one").expect("NetStream.Play.Failed");
    assert!(refusal.says("bandwidth limit"));
    assert!(publisher.runs() && player.runs());

    commands.done("setBandwidthLimit in=0 out=0");
    drop(Client::publisher(rtmp, "live", "three"));
    Client::player(rtmp, "live", "one").expect("NetStream.Play.Start");
    server.stop();
}

#[test]
fn limits_and_ingest_points_outlive_a_restart_with_their_numbers() {
    let (_folder, state) = file("state.json");
    let config = with_state(&state);
    let server = Server::start(&config);
    let mut commands = Session::operator(&server);
    commands.done("setConnectionsCountLimit count=3");
    commands.done("createIngestPoint privateStreamName=gone publicStreamName=x");
    commands.done("createIngestPoint privateStreamName=hidden publicStreamName=cam");
    commands.done("setBandwidthLimit in=1000000 out=2000000");
    commands.done("setConnectionsCountLimit count=2");
    commands.done("removeConfig id=2");
    let before = commands.done("listConfig");
    assert_eq!(
        before,
        json!({
            "ingestPoints": [{ "configId": 3, "privateStreamName": "hidden", "publicStreamName": "cam" }],
            "limits": [
                { "configId": 1, "limit": "connections", "count": 2 },
                { "configId": 4, "limit": "bandwidth", "in": 1_000_000, "out": 2_000_000 },
            ],
            "process": [],
            "pull": [],
            "push": [],
        })
    );
    server.stop();

    let server = Server::start(&config);
    let mut commands = Session::operator(&server);
    assert_eq!(commands.done("listConfig"), before);
    assert_eq!(commands.done("getConnectionsCountLimit")["limit"], 2);
    assert_eq!(commands.done("getBandwidth")["out"]["limit"], 2_000_000);
    let _publisher = ffmpeg::publish_film(&server.url("hidden")).start();
    server.wait_for_publisher("cam");
    let _second = Client::connected(server.address(), "live");
    assert!(Client::open(server.address()).expect_close(SOON).is_empty());
    commands.done("removeConfig groupName=limits");
    let _third = Client::connected(server.address(), "live");
    let point = commands.done("createIngestPoint privateStreamName=more publicStreamName=y");
    assert_eq!(point["configId"], 5);
    server.stop();
}

#[test]
fn without_a_state_file_commands_say_that_nothing_is_kept() {
    let (_folder, file) = file("state.json");
    let servers =
        [(with_commands().application("hasIngestPoints", "true"), false), (with_state(&file), true)];
    for (config, kept) in servers {
        let server = Server::start(&config);
        let mut commands = Session::operator(&server);
        for line in [
            "createIngestPoint privateStreamName=hidden publicStreamName=cam",
            "setConnectionsCountLimit count=50",
            "setBandwidthLimit in=1000000 out=0",
        ] {
            let answer = commands.run(line);
            assert_eq!(answer["status"], "SUCCESS", "{answer}");
            let text = answer["description"].as_str().unwrap_or_default();
            let unkept = text.ends_with("not kept over a restart: no stateFile is configured");
            assert_eq!(unkept, !kept, "{line}: {text}");
        }
        server.stop();
    }
}

#[test]
fn a_broken_state_file_ends_the_start_and_is_left_alone() {
    let (folder, state) = file("state.json");
    fs::write(&state, "{\n  \"version\": 1,\n  oops").expect("a temporary file");
    let script = folder.path().join("server.lua");
    let text = with_state(&state).text(folder.path(), &folder_of_programs());
    fs::write(&script, text).expect("a temporary file");
    let outcome = Server::run(&[&script.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for part in ["configuration.stateFile", "state.json", "line 3, column 3", "mend it"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert!(fs::read_to_string(&state).is_ok_and(|text| text.ends_with("oops")));
}

#[test]
fn of_many_players_that_ask_at_once_one_gets_an_alias_for_one_play() {
    let server = Server::start(&with_commands().application("hasStreamAliases", "true"));
    let mut commands = Session::operator(&server);
    commands.done("addStreamAlias localStreamName=film aliasName=once");
    let rtmp = server.address();
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connected(rtmp, "live")).collect();
    clients.iter_mut().for_each(Client::create_stream);
    clients.iter_mut().for_each(|client| client.send(&wire::play(1, "once")));
    let refused =
        |client: &mut Client| client.expect("NetStream.Play.").says("NetStream.Play.StreamNotFound");
    assert_eq!(clients.iter_mut().filter_map(|client| refused(client).then_some(())).count(), 15);
    server.stop();
}
