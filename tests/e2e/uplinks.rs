//! Pulls and pushes: what they say to far ends, and what becomes of them by commands, applications and reloads.

use std::fs;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::upstream::{Act, Script, Upstream, Visit};
use crtmp_tests::wire::Message;
use crtmp_tests::{Config, Server, ffmpeg, fixture, flv, poll, wait_for};
use md5::{Digest, Md5};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{SOON, entries, file, free_port};

fn config() -> Config {
    Config::new()
        .whole_groups()
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

/// Waits until there is exactly one pull and it is like this.
fn wait_for_pull(session: &mut Session, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Vec::new();
    let found = poll(SOON, || {
        last = entries(session, "pull");
        matches!(&last[..], [one] if is(one)).then(|| last[0].clone())
    });
    found.unwrap_or_else(|| panic!("it never becomes so: {last:?}"))
}

fn status(entry: &Value) -> &str {
    entry["status"]["current"]["description"].as_str().unwrap_or_default()
}

fn film() -> Vec<Message> {
    flv::read(fixture::film()).into_iter().take(400).collect()
}

/// What a client has said of itself in `connect`.
fn said(visit: &Visit, key: &str) -> String {
    let connect = visit.command("connect");
    let value = connect.values[0].get(key).and_then(|value| value.text());
    value.unwrap_or_else(|| panic!("no {key}: {connect:?}")).to_owned()
}

#[test]
fn every_key_reaches_the_far_end() {
    let upstream = Upstream::start(Script::serving(film()));
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    let words = "tcUrl=rtmp://other/x swfUrl=http://swf/y pageUrl=http://page/z emulateUserAgent=Agent/7 ttl=9 tos=16";
    let range = "rangeStart=3.5 rangeEnd=7 keepAlive=0";
    let neutral = "forceTcp=0 rtcpDetectionInterval=10 isAudio=1 sendRenewStream=0";
    session.done(&format!(
        "pullStream uri={} localStreamName=here {words} {range} {neutral}",
        upstream.url("live/room", "far?x=1")
    ));
    server.wait_for_publisher("here");
    let visit = upstream.visit(0);
    let assert_words = |visit: &Visit, app: &str| {
        let keys = ["app", "tcUrl", "swfUrl", "pageUrl", "flashVer"];
        let expected = [app, "rtmp://other/x", "http://swf/y", "http://page/z", "Agent/7"];
        assert_eq!(keys.map(|key| said(visit, key)), expected);
    };
    assert_words(&visit, "live/room");
    let play = visit.command("play");
    let numbers = [2, 3].map(|at| play.values.get(at).and_then(|value| value.number()));
    assert_eq!((play.text(1), numbers), (Some("far?x=1"), [Some(3500.0), Some(7000.0)]));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    for (number, (chunks, size)) in [("0", None), ("1", Some(60_000))].into_iter().enumerate() {
        let upstream = Upstream::start(Script::new());
        session.done(&format!(
            "pushStream uri=rtmp://{}/live/room localStreamName=one targetStreamName=key{number}?x \
             targetStreamType=append sendChunkSizeRequest={chunks} useSourcePts=0 rtmpAbsoluteTimestamps=1 {words}",
            upstream.address()
        ));
        let visit = upstream.visit(0);
        let publish = visit.command("publish");
        assert_words(&visit, "live/room");
        let name = format!("key{number}?x");
        assert_eq!((publish.text(1), publish.text(2)), (Some(&*name), Some("append")));
        visit.wait_for_media(50);
        assert_eq!(visit.chunk_size(), size);
    }
    server.stop();
}

/// A server that asks who we are hears it, and nobody else does.
#[test]
fn user_and_password_are_said_to_who_asks_and_shown_to_nobody() {
    let refuse = |words: &str| {
        let words = format!("[ AccessManager.Reject ] : [ {words}");
        let code = "NetConnection.Connect.Rejected";
        Script::new().at("connect", [Act::Refuse(code, words), Act::Close])
    };
    let need = || refuse("code=403 need auth; authmod=adobe ] : ");
    let question = || {
        let query = "reason=needauth&user=me@home&salt=5v2sDw==&challenge=xa8AAA==&opaque=vgoAAA==";
        refuse(&format!("authmod=adobe ] : ?{query}"))
    };
    let good = Upstream::start_in_turn(vec![need(), question(), Script::serving(film())]);
    let wrong =
        Upstream::start_in_turn(vec![need(), question(), refuse("authmod=adobe ] : ?reason=authfailed")]);
    let other = Upstream::start(refuse("code=403 need auth; authmod=llnw ] : "));
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    let pull = |upstream: &Upstream, name: &str| {
        let address = upstream.address();
        format!(
            "pullStream uri=rtmp://me%40home:hid%3Aden@{address}/live/{name} localStreamName={name} keepAlive=0"
        )
    };
    session.done(&pull(&good, "good"));
    server.wait_for_publisher("good");
    assert_eq!(said(&good.visit(0), "app"), "live");
    assert_eq!(said(&good.visit(1), "app"), "live?authmod=adobe&user=me@home");
    let app = said(&good.visit(2), "app");
    let rest = app.strip_prefix("live?authmod=adobe&user=me@home&challenge=").expect("an answer");
    let (ours, rest) = rest.split_at(8);
    let hash = |text: String| BASE64_STANDARD.encode(Md5::digest(text));
    let first = hash("me@home5v2sDw==hid:den".to_owned());
    let response = hash(format!("{first}vgoAAA=={ours}"));
    assert_eq!(rest, format!("&response={response}&opaque=vgoAAA=="));
    assert_eq!(said(&good.visit(2), "tcUrl"), format!("rtmp://{}/{app}", good.address()));
    assert_eq!(good.visits().len(), 3);
    let mut shown = String::new();
    for (upstream, name, cause) in [(&wrong, "wrong", "authfailed"), (&other, "other", "not known")] {
        session.done(&pull(upstream, name));
        let mut last = Value::Null;
        let ended = poll(SOON, || {
            last =
                entries(&mut session, "pull").into_iter().find(|entry| entry["localStreamName"] == name)?;
            (status(&last) == "Ended").then_some(())
        });
        assert!(ended.is_some() && last["cause"].as_str().is_some_and(|text| text.contains(cause)), "{last}");
        shown.push_str(&last.to_string());
    }
    assert_eq!((wrong.visits().len(), other.visits().len()), (3, 1));
    for command in ["listConfig", "listStreams", "listConnections"] {
        shown.push_str(&session.done(command).to_string());
    }
    shown.push_str(&server.log());
    for secret in ["hid:den", "hid%3Aden", "me%40home", "me@home", &response] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    server.stop();
}

#[test]
fn what_has_ended_makes_way_for_the_same() {
    let server = Server::start(&config().limit("links", "1"));
    let mut session = Session::operator(&server);
    let once = format!("pullStream uri=rtmp://127.0.0.1:{}/live/one keepAlive=0", free_port());
    let first = session.done(&once)["configId"].clone();
    let text = wait_for_pull(&mut session, |entry| status(entry) == "Ended")["cause"].to_string();
    assert!(text.contains("refused"), "{text}");
    let second = session.done(&once)["configId"].clone();
    let entry = wait_for_pull(&mut session, |entry| entry["configId"] == second);
    assert_ne!(entry["configId"], first);
    // What goes on does not make way, and what is kept does only for the same.
    wait_for_pull(&mut session, |entry| status(entry) == "Ended");
    let other = format!("pullStream uri=rtmp://127.0.0.1:{}/live/two", free_port());
    assert!(session.fails(&other).contains("limits.links"));
    session.done(&format!("removeConfig id={second}"));
    session.done(&other);
    assert!(session.fails(&other).contains("already"));
    server.stop();
}

#[test]
fn what_an_application_asks_for_itself_ends_with_it_and_may_be_kept_from_neighbours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("app.lua");
    let port = free_port();
    let text = format!(
        r#"
        local answers = {{}}
        local function pull(name, more)
          local params = {{ uri = "rtmp://127.0.0.1:{port}/live/" .. name, application = "flvplayback", kept = false }}
          for key, value in pairs(more) do params[key] = value end
          server.send_command("pullStream", params, function(answer) answers[name] = answer.description end)
        end
        pull("own", {{}})
        pull("once", {{ keepAlive = false }})
        pull("foreign", {{ publicOnly = true }})
        server.add_command("answers", {{ read_only = true }}, function() return answers end)
        "#
    );
    fs::write(&script, text).expect("a temporary file");
    let block = format!(
        "{{ name = \"lua\", library = \"vmapp\", script = {script:?}, commands = {{ \"pullStream\" }} }}"
    );
    // What is not of the public Internet is not allowed to requests.
    let config = Config::new().block(&administrator()).block(&block).limit("links", "2");
    let server = Server::start(&config);
    let mut session = Session::operator(&server);
    let answers = wait_for("the answers", SOON, || {
        let answers = session.done("answers");
        answers["foreign"].is_string().then_some(answers)
    });
    assert!(answers["own"].as_str().is_some_and(|text| text.contains("set up")), "{answers}");
    assert!(answers["foreign"].as_str().is_some_and(|text| text.contains("outboundPolicy")), "{answers}");
    wait_for("the end of one", SOON, || {
        let all = entries(&mut session, "pull");
        let once = all.iter().find(|entry| entry["localStreamName"] == "once");
        (all.len() == 2 && once.is_some_and(|entry| status(entry) == "Ended")).then_some(())
    });
    // It makes way for whatever comes.
    let more = session.done("pullStream uri=rtmp://far.example.invalid/live/more application=flvplayback")["configId"].clone();
    let names: Vec<Value> =
        entries(&mut session, "pull").iter().map(|entry| entry["localStreamName"].clone()).collect();
    assert_eq!(names, [json!("own"), json!("more")]);
    session.done("disableApplication name=lua");
    wait_for_pull(&mut session, |entry| entry["configId"] == more);
    server.stop();
}

#[test]
fn what_is_kept_and_cannot_be_read_is_listed_and_said_once() {
    let (folder, _) = file("state.json");
    let state = folder.path().join("state.json");
    let value = json!({ "uri": "rtmp://me:hidden@h:0/live/x", "applicationName": "flvplayback",
        "origin": "request", "localStreamName": "x" });
    let stored = json!({ "version": 1, "lastId": 7, "entries": [
        { "configId": 7, "kind": "pull", "value": value } ] });
    fs::write(&state, stored.to_string()).expect("a temporary file");
    let config = config().top("stateFile", &format!("{state:?}"));
    let server = Server::start(&config);
    let mut session = Session::operator(&server);
    let entry = wait_for_pull(&mut session, |entry| entry["configId"] == 7);
    assert!(entry["cause"].as_str().is_some_and(|cause| cause.contains("port")), "{entry}");
    assert_eq!(session.done("getConfigInfo id=7")["groupName"], "pull");
    let id = session.done("pullStream uri=rtmp://far.example.invalid/live/more application=flvplayback")["configId"].clone();
    session.done(&format!("removeConfig id={id}"));
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload");
    assert_eq!(entries(&mut session, "pull").len(), 1);
    let log = server.log();
    assert_eq!(log.matches("is left out").count(), 1, "{log}");
    assert!(!log.contains("hidden") && !entry.to_string().contains("hidden"));
    session.done("removeConfig id=7");
    assert_eq!(entries(&mut session, "pull"), [Value::Null; 0]);
    server.stop();
    assert!(!fs::read_to_string(&state).expect("the file").contains("hidden"));
}

/// A removed pull does not go on at the far end, where it waits for its stream beside others.
#[test]
fn a_pull_that_is_removed_while_it_waits_is_given_up() {
    let script = Script::serving(film()).on(
        crtmp_tests::upstream::Moment::Stream("play", "silent"),
        [Act::Event(0), Act::Status("status", "NetStream.Play.Start")],
    );
    let upstream = Upstream::start(script);
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    session.done(&format!("pullStream uri={}", upstream.url("live", "loud")));
    server.wait_for_publisher("loud");
    let id = session.done(&format!("pullStream uri={}", upstream.url("live", "silent")))["configId"].clone();
    let visit = upstream.visit(0);
    let play = visit.wait_for("the play", |visit| {
        visit
            .commands()
            .into_iter()
            .find(|command| command.text(1) == Some("silent") && command.name == "play")
    });
    std::thread::sleep(Duration::from_millis(200));
    session.done(&format!("removeConfig id={id}"));
    visit.wait_for("the end of the play", |visit| {
        let mut commands = visit.commands().into_iter();
        let number = f64::from(play.stream);
        commands.find(|command| {
            command.name == "deleteStream"
                && command.values.get(1).and_then(|value| value.number()) == Some(number)
        })
    });
    assert_eq!(upstream.visits().len(), 1);
    assert_eq!(visit.end(), None, "the other one goes on");
    server.stop();
}
