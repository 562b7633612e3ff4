//! Commands through every face: the same data everywhere, nothing done by what is wrong, and what commands do.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crtmp_tests::cli::{Faces, Http, Session};
use crtmp_tests::wire::{Client, Message, amf, connect};
use crtmp_tests::{Canary, Config, Program, Server, ffmpeg, wait_for};
use serde_json::{Map, Value, json};

use crate::SOON;
use crate::services::is_served;

pub(crate) const SECRET: &str = "open sesame";

/// What differs from one moment to the next.
pub(crate) const VOLATILE: [&str; 25] = [
    "acceptedConnectionsCount",
    "droppedConnectionsCount",
    "upTime",
    "creationTimestamp",
    "queryTimestamp",
    "packetsCount",
    "bytesCount",
    "droppedPacketsCount",
    "droppedBytesCount",
    "bandwidth",
    "lagMs",
    "lagBytes",
    "rttMs",
    "queuedBytes",
    "unsentBytes",
    "openQuestions",
    "rx",
    "tx",
    "waiting",
    "connections",
    "lastActivity",
    "inBytes",
    "outBytes",
    "inSpeed",
    "outSpeed",
];

/// Commands about connections see those who ask; others count.
pub(crate) const ABOUT_THE_SESSIONS: [&str; 7] = [
    "listConnections",
    "listConnectionsIds",
    "getConnectionsCount",
    "getExtendedConnectionCounters",
    "getCounters",
    "metrics",
    "quit",
];

/// Commands that take every name that is one; which of theirs tells of it, and the command and key that remove it.
const TAKE_NAMES: [(&str, &str, &str, &str); 2] = [
    ("addStreamAlias", "listStreamAliases", "removeStreamAlias", "aliasName"),
    ("createIngestPoint", "listIngestPoints", "removeIngestPoint", "privateStreamName"),
];

pub(crate) fn config() -> Config {
    let block = Faces::block(&format!("secret = \"{SECRET}\", maxSessions = 200"));
    Config::new().workers(2).block(&block).block("{ name = \"asker\" }")
}

/// A session that may do everything.
pub(crate) fn operator(faces: Faces) -> Session {
    let mut session = Session::open(faces.json);
    session.done(&format!("auth secret={}", SECRET.replace(' ', "\\ ")));
    session
}

/// ffmpeg, which publishes a stream that the server knows.
pub(crate) fn publisher(server: &Server, stream: &str) -> Program {
    let program = ffmpeg::publish_film(&server.url(stream)).within(Duration::from_secs(300)).start();
    server.wait_for_publisher(stream);
    program
}

/// The value without what is volatile.
pub(crate) fn still(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !VOLATILE.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), still(value))).collect())
        }
        Value::Array(list) => list.iter().map(still).collect(),
        other => other.clone(),
    }
}

pub(crate) fn help(session: &mut Session) -> Vec<Value> {
    session.done("help").as_array().expect("a list").clone()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}

pub(crate) fn params(command: &Value) -> &[Value] {
    command["parameters"].as_array().expect("a list")
}

/// What an application gets for an answer, told by RTMP: `asker`, or a script that does the same.
pub(crate) fn ask(client: &mut Client, command: &str, params: &Value) -> Value {
    let values = [amf::null(), amf::string(command), amf::string(&params.to_string())];
    client.send(&Message::command(0, "ask", 9.0, &values));
    let payload = client.expect("_result").payload;
    let at = payload.iter().position(|&byte| byte == b'{').expect("an answer");
    serde_json::from_slice(&payload[at..]).expect("JSON at its end")
}

fn assert_keys(value: &Value, keys: &str) {
    for key in keys.split(' ') {
        assert!(value.get(key).is_some(), "no {key:?} in {value}");
    }
}

#[test]
fn answers_have_the_shape_of_evostream() {
    let second =
        "{ name = \"second\", library = \"flvplayback\", hasStreamAliases = true, aliases = { \"two\" } }";
    let server = Server::start(&config().block(second));
    let mut session = operator(Faces::of(&server));
    let _film = publisher(&server, "film");
    let info = wait_for("the codecs", SOON, || {
        let info = session.done("getStreamInfo localStreamName=film");
        (info["video"]["codec"] == "H.264" && info["audio"]["codec"] == "AAC").then_some(info)
    });
    assert_keys(&info, "uniqueId type typeNumeric name appName processId processType upTime bandwidth");
    let (audio, video) = (&info["audio"], &info["video"]);
    assert_eq!(video["codecNumeric"], 6_217_274_493_967_007_744_u64, "{video}");
    assert_eq!(audio["codecNumeric"], 4_702_111_241_970_122_752_u64, "{audio}");
    let size = ["width", "height", "profile", "level"].map(|key| video[key].as_u64().unwrap_or_default());
    assert!(size.iter().all(|number| *number > 0), "{video}");
    assert_eq!(session.run("listStreams")["description"], "Available streams");

    // The same name in two applications.
    let address = server.address();
    let other = Client::publisher(address, "second", "film");
    let counts = |session: &mut Session| session.done("getStreamsCount")["streamCount"].clone();
    wait_for("the second stream", SOON, || (counts(&mut session) == 2).then_some(()));
    for command in ["getStreamInfo", "isStreamRunning", "clientsConnected", "shutdownStream"] {
        let why = session.fails(&format!("{command} localStreamName=film"));
        assert!(why.contains("flvplayback, second") && why.contains("`appName`"), "{command}: {why}");
        let why = session.fails(&format!("{command} localStreamName=film appName=nobody"));
        assert!(why.contains("nobody"), "{command}: {why}");
    }
    assert_eq!(session.done("getStreamInfo localStreamName=film appName=two")["appName"], "second");
    assert_eq!(
        session.done("isStreamRunning localStreamName=film appName=second"),
        json!({ "Running": true })
    );
    assert_eq!(session.done("isStreamRunning localStreamName=nothing"), json!({ "Running": false }));

    // Who plays by an alias.
    session.done("addStreamAlias localStreamName=film aliasName=by\\ another appName=second");
    let player = Client::player(address, "second", "by another");
    let played = wait_for("the player", SOON, || {
        let all = session.done("listStreams");
        all.as_array()?.iter().find(|stream| stream["type"] == "ONR").cloned()
    });
    assert_eq!((&played["aliasName"], &played["name"]), (&json!("by another"), &json!("film")));
    assert_keys(&played["video"], "codec packetsCount bytesCount droppedPacketsCount droppedBytesCount");
    assert_eq!(
        session.done("clientsConnected localStreamName=film appName=second"),
        json!({ "outboundCount": 1 })
    );

    let connection = session.done(&format!("getConnectionInfo id={}", info["connectionId"]));
    let stack = connection["stack"].as_array().expect("a list");
    let layers: Vec<&str> = stack.iter().map(|layer| text(layer, "type")).collect();
    assert_eq!(layers, ["rtmp"]);
    assert!(stack[0]["applicationId"].as_u64() > Some(0), "{connection}");
    assert_eq!(session.done("getConnectionsCount"), json!({ "count": 4 }));
    let counters = session.done("getExtendedConnectionCounters");
    assert_keys(&counters, "managedTcp managedTcpAcceptors managedTcpConnectors managedUdp grandTotal");
    assert_keys(&counters["managedTcp"], "current max total inBytes outBytes inSpeed outSpeed");
    let [current, max] = ["current", "max"].map(|key| counters["managedTcp"][key].as_u64());
    assert!(max >= current && current > Some(0), "{counters}");
    let services = session.done("listServices");
    let rtmp =
        services.as_array().expect("a list").iter().find(|service| service["protocol"] == "inboundRtmp");
    let rtmp = rtmp.expect("the service for streams");
    assert_keys(rtmp, "id ip port appName appId enabled droppedConnectionsCount useLengthPadding");
    assert_eq!(rtmp["acceptedConnectionsCount"], 3, "{rtmp}");

    let line = format!("shutdownStream id={} permanently=1", played["uniqueId"]);
    let ended = session.run(&line);
    assert_eq!(ended["data"]["streamInfo"]["uniqueId"], played["uniqueId"]);
    assert_eq!(ended["data"]["protocolStackInfo"]["id"], played["connectionId"]);
    assert!(text(&ended, "description").contains("`permanently`"), "{ended}");
    drop((player, other));
    server.stop();
}

/// All that commands could have changed, as far as commands tell.
fn state(session: &mut Session) -> Map<String, Value> {
    let mut state = Map::new();
    for command in help(session) {
        let name = text(&command, "command");
        let lists = name.starts_with("list") && !ABOUT_THE_SESSIONS.contains(&name);
        if lists && params(&command).iter().all(|param| param["mandatory"] == false) {
            state.insert(name.to_owned(), still(&session.done(name)));
        }
    }
    state
}

/// Commands that ask whether and how often: of a stream that is not there they say no, and none.
const SAY_NO: [&str; 2] = ["isStreamRunning", "clientsConnected"];

/// Texts that nobody means well with, as JSON.
const HOSTILE: [&str; 7] = [
    "../..",
    "/etc/passwd",
    "'; DROP TABLE streams; --",
    "\u{0}\u{1b}[2J\r\nforged",
    "$(reboot)",
    "-1",
    "\u{202e}\u{feff}",
];

/// Values that a parameter of this type must not take.
fn wrong(kind: &str) -> Vec<Value> {
    let numbers = || vec![json!("abc"), json!(""), json!([1]), json!({}), json!(null), json!("1e999")];
    let not_whole = || {
        let texts = ["18446744073709551616", "NaN", "1.5", "inf", "0x10", " 1", "99999999999999999999999999"];
        let mut values = numbers();
        values.extend(texts.map(Value::from));
        values.extend([json!(1.5), json!(1e300), json!(true)]);
        values
    };
    match kind {
        "whole" => {
            let mut values = not_whole();
            values.extend([json!("-1"), json!(-1)]);
            values
        }
        "signed" => not_whole(),
        "number" => [numbers(), vec![json!("NaN"), json!("inf"), json!(true)]].concat(),
        "flag" => {
            vec![json!("maybe"), json!(2), json!(-1), json!([]), json!(""), json!(null), json!("TRUE ")]
        }
        "text" => vec![json!([1]), json!({}), json!(null), json!(true), json!("x".repeat((64 << 10) + 1))],
        "list" => vec![json!({}), json!([1]), json!(null), json!([["x"]]), json!(vec!["x"; 1025])],
        _ => vec![],
    }
}

/// A value that fits the type and that nothing is known by.
fn harmless(kind: &str) -> Value {
    match kind {
        "whole" | "signed" | "number" => json!(4_000_000_000_u32),
        "flag" => json!(true),
        "list" => json!(["nobody"]),
        "json" => json!({}),
        _ => json!("nobody"),
    }
}

/// Demands that a hostile text, as the parameter `key` of a command that takes names, is refused, or is kept as it is,
/// listed so, and found again by it; tells which.
fn assert_refused_or_kept(http: &Http, name: &str, key: &str, params: &Value) -> bool {
    let of = |command: &str, params: &Value| {
        let (status, answer) = http.post(command, &params.to_string());
        assert_eq!(status, 200, "{command} {params}: {answer}");
        answer
    };
    let taken = of(name, params);
    if taken["status"] == "FAIL" {
        return false;
    }
    let (_, list, remove, id) = TAKE_NAMES.iter().find(|row| row.0 == name).expect("one of these");
    // Slashes around a name are none of it, as in an address.
    let kept = text(params, key).trim_matches('/');
    assert_eq!(taken["data"][key], kept, "{params}: {taken}");
    let listed = of(list, &json!({}));
    let listed: Vec<_> = listed["data"].as_array().expect("a list").iter().map(|entry| &entry[key]).collect();
    assert_eq!(listed, [kept], "{params}");
    let removed = of(remove, &json!({ *id: params[*id] }));
    assert_eq!(removed["status"], "SUCCESS", "{params}: {removed}");
    true
}

#[test]
fn wrong_and_hostile_parameters_fail_and_change_nothing() {
    let named =
        "{ name = \"named\", library = \"flvplayback\", hasStreamAliases = true, hasIngestPoints = true }";
    let server = Server::start(&config().block(named));
    let faces = Faces::of(&server);
    let mut canary = Canary::start(&server);
    let mut session = operator(faces);
    let http = Http::new(faces.http, Some(SECRET));
    let before = state(&mut session);
    let commands = help(&mut session);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));

    for command in &commands {
        let name = text(command, "command");
        let given = |but: &str, value: Value| {
            let mandatory = params(command).iter().filter(|param| param["mandatory"] == true);
            let mut object: Map<String, Value> = mandatory
                .map(|param| (text(param, "name").to_owned(), harmless(text(param, "type"))))
                .collect();
            object.insert(but.to_owned(), value);
            Value::Object(object)
        };
        let refuses = |value: &Value| {
            let (status, answer) = http.post(name, &value.to_string());
            assert_eq!(answer["status"], "FAIL", "{name} {value:.200}: {answer}");
            assert!(status == 200 || status == 400, "{name} {value:.200}: {status}");
            assert!(!text(&answer, "description").is_empty());
        };

        // Missing, unknown, twice, of another type.
        if params(command).iter().any(|param| param["mandatory"] == true) {
            let why = session.fails(name);
            assert!(why.contains(" needs "), "{name}: {why}");
        }
        refuses(&given("noSuchParameter", json!(1)));
        for param in params(command) {
            let (key, kind) = (text(param, "name"), text(param, "type"));
            let twice = format!("{name} {key}=1 {}=1", key.to_uppercase());
            assert!(session.fails(&twice).contains("twice"), "{twice}");
            wrong(kind).into_iter().for_each(|value| refuses(&given(key, value)));
            if kind != "text" {
                continue;
            }
            // With an id that nobody has, where one is needed.
            let hostile = HOSTILE.map(|text| given(key, json!(text)));
            if TAKE_NAMES.iter().any(|row| row.0 == name) {
                let kept = |params: &&Value| assert_refused_or_kept(&http, name, key, params);
                let (kept, all) = (hostile.iter().filter(kept).count(), hostile.len());
                assert_eq!(kept > 0, key != "appName", "{name} {key}: {kept}");
                assert!(kept < all, "{name} {key}: none was refused");
            } else if command["readOnly"] == false {
                hostile.iter().for_each(refuses);
            } else {
                // Nothing more is found by it than by any name that is not there.
                let ask = |params: &Value| http.post(name, &params.to_string()).1;
                let nothing = ask(&given(key, json!("nobody")));
                let no_is_an_answer = key == "localStreamName" && SAY_NO.contains(&name);
                assert_eq!(nothing["status"] == "SUCCESS", no_is_an_answer, "{name} {key}: {nothing}");
                for params in &hostile {
                    let answer = ask(params);
                    assert_eq!(answer["status"], nothing["status"], "{name} {params}: {answer}");
                    assert_eq!(still(&answer["data"]), still(&nothing["data"]), "{name} {params}");
                }
            }
        }
        // JSON that is no object of parameters.
        for body in ["[]", "1", "\"x\"", "{", "{\"a\":1,\"A\":2}", "{\"a\":NaN}", "\u{0}", deep.as_str()] {
            let (status, answer) = http.post(name, body);
            assert_eq!((status, &answer["status"]), (400, &json!("FAIL")), "{name} {body:.60}: {answer}");
        }
        // Lines with what no line may hold.
        for bad in ["a=\u{1b}[31m", "a=\u{0}", "nonsense", "=1", "a=\\x", "a=\u{ff}"] {
            session.fails(&format!("{name} {bad}"));
        }
        // A mebibyte is more than a line may have; by HTTP it is more than a text may have.
        let mut huge = Session::open(faces.json);
        let mut writer = huge.socket().try_clone().expect("a second handle");
        let name_of_it = name.to_owned();
        let sender = std::thread::spawn(move || {
            let _ = writer.write_all(format!("{name_of_it} a={}\n", "x".repeat(1 << 20)).as_bytes());
        });
        let answer = huge.answer();
        sender.join().expect("it only writes");
        // The rest that is on its way may make the system throw the answer away.
        if let Some(answer) = answer {
            assert!(text(&answer, "description").contains("cliLine"), "{answer}");
        }
        huge.rest();
    }
    // Whose length says already that it is too long is not read at all.
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let head = format!("POST /version HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    let answer = http.raw(&head, "");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let after = state(&mut session);
    assert_eq!(before, after);
    canary.check(&server);
    assert_clean_log(&server.stop());
}

/// LOG-01: no line was forged, no terminal is moved, nothing is endless.
fn assert_clean_log(log: &str) {
    for line in log.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.starts_with("forged"), "{line:?}");
        assert!(line.len() < 4096, "{line:.300}");
    }
}

/// What the log says of the newest thing that only DEBUG tells.
fn debug_lines(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("DEBUG")).count()
}

#[test]
fn operators_end_streams_and_connections() {
    let server = Server::start(&config());
    let faces = Faces::of(&server);
    let mut session = operator(faces);

    let film = publisher(&server, "one");
    session.done("shutdownStream localStreamName=one");
    film.wait(SOON);
    wait_for("no stream", SOON, || (session.done("getStreamsCount")["streamCount"] == 0).then_some(()));
    assert!(session.fails("shutdownStream localStreamName=one").contains("no stream"));

    let film = publisher(&server, "two");
    let id = session.done("getStreamInfo localStreamName=two")["connectionId"].to_string();
    session.done(&format!("closeConnection id={id} reason=forged\\n\\u{{1b}}[2J\\ by\\ me"));
    film.wait(SOON);
    wait_for("no connection", SOON, || {
        session.run(&format!("getConnectionInfo id={id}"))["status"].eq("FAIL").then_some(())
    });
    assert_clean_log(&server.stop());
}

#[test]
fn a_disabled_application_refuses_and_its_streams_go_on() {
    let server = Server::start(&config());
    let faces = Faces::of(&server);
    let mut session = operator(faces);
    let mut film = publisher(&server, "film");
    assert_eq!(session.done("disableApplication name=live")["health"], "disabled");
    let bytes = |session: &mut Session| {
        session.done("getStreamInfo localStreamName=film")["video"]["bytesCount"].as_u64().expect("a number")
    };
    let seen = bytes(&mut session);
    wait_for("more of the stream", SOON, || (bytes(&mut session) > seen).then_some(()));
    let mut late = Client::shaken(server.address());
    late.send(&connect("live", &server.url("")));
    late.expect("_error");
    let refused = ffmpeg::publish_film(&server.url("other")).within(SOON).start().wait(SOON * 2);
    assert_ne!(refused.code, Some(0), "a publish that is refused");
    assert!(film.runs());

    assert_eq!(session.done("enableApplication name=live")["health"], "well");
    assert!(session.fails("enableApplication name=live").contains("is well"));
    let mut again = publisher(&server, "other");
    assert!(film.runs() && again.runs());
    server.stop();
}

/// Whoever could enable it again must still be there.
#[test]
fn the_last_command_line_is_not_disabled() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let why = session.fails("disableApplication name=admin");
    assert!(why.contains("this session belongs to it"), "{why}");
    let mut asker = Client::connected(server.address(), "asker");
    let mut disable = || ask(&mut asker, "disableApplication", &json!({ "name": "admin" }));
    let why = disable()["description"].to_string();
    assert!(why.contains("no other application takes command lines"), "{why}");
    session.done("createService ip=127.0.0.1 port=0 protocol=inboundJsonCli application=asker");
    assert_eq!(disable()["data"]["health"], "disabled");
    server.stop();
}

#[test]
fn a_plan_changes_nothing_and_a_reload_does() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let before = state(&mut session);
    let port = crate::free_port();
    let acceptor = format!("{{ ip = \"127.0.0.1\", port = {port}, protocol = \"inboundRtmp\" }}");
    let more = config().application("acceptors", &format!("{{ {acceptor} }}"));
    server.rewrite(&more);
    let plan = session.run("reload plan=1");
    assert_eq!(plan["status"], "SUCCESS", "{plan}");
    assert!(plan["data"].to_string().contains(&port.to_string()), "{plan}");
    assert_eq!(state(&mut session), before);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    server.rewrite_text("this is no Lua");
    assert!(session.fails("reload plan=1").contains("server.lua"));
    session.fails("reload");
    assert_eq!(state(&mut session), before);

    server.rewrite(&more);
    assert_eq!(session.done("reload")["opened"], 1);
    assert!(is_served(SocketAddr::from(([127, 0, 0, 1], port))));
    server.stop();
}

#[test]
fn a_plan_says_which_sessions_it_concerns() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let mut clients = [(); 2].map(|()| Client::connected(server.address(), "live"));
    let of_clients = |connection: &&Value| connection["protocol"] == "inboundRtmp";
    let connections = session.done("listConnections");
    let connections = connections.as_array().expect("a list").iter().filter(of_clients);
    let mut ids: Vec<u64> = connections.filter_map(|connection| connection["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 2);
    let unchanged = session.done("reload plan=1");
    assert_eq!(
        (&unchanged["sessionsWithOldApplication"], &unchanged["sessionsOfClosed"]),
        (&json!([]), &json!([]))
    );

    server.rewrite(&config().port(crate::free_port()).application("playWait", "3"));
    let plan = session.done("reload plan=1");
    let concerned = json!([{ "of": "flvplayback", "count": 2, "ids": ids }]);
    assert_eq!(plan["sessionsWithOldApplication"], concerned, "{plan}");
    let closed = &plan["sessionsOfClosed"];
    assert_eq!(closed.as_array().map(Vec::len), Some(1), "{plan}");
    assert_eq!((&closed[0]["count"], &closed[0]["ids"]), (&json!(2), &json!(ids)), "{plan}");
    assert_eq!(closed[0]["of"], plan["close"][0], "{plan}");
    session.done("reload");
    for client in &mut clients {
        client.expect_open();
    }
    server.stop();
}

#[test]
fn the_log_level_is_set_for_all_appenders() {
    let server = Server::start(&config());
    let faces = Faces::of(&server);
    let mut session = operator(faces);
    session.done("setLogLevel level=0");
    // What was said before may still be on its way to the file.
    let mut quiet = 0;
    wait_for("a log that says nothing more", SOON, || {
        let before = std::mem::replace(&mut quiet, debug_lines(&server));
        is_served(server.address());
        (before == quiet && debug_lines(&server) == quiet).then_some(())
    });
    session.done("setLogLevel level=6");
    wait_for("a log that tells all", SOON, || {
        is_served(server.address());
        (debug_lines(&server) > quiet).then_some(())
    });
    for level in ["7", "-2", "9223372036854775807", "9223372036854775808", "NaN"] {
        session.fails(&format!("setLogLevel level={level}"));
    }
    server.stop();
}

#[test]
fn a_library_that_is_none_is_not_loaded() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let before = state(&mut session);
    let loaded = session.done("listApplications");
    let library = text(&loaded[1], "library").to_owned();
    assert!(library.ends_with("libadmin.so") || library.ends_with("libflvplayback.so"), "{library}");
    for file in [
        "/etc/passwd",
        "/nowhere/libnothing.so",
        "relative.so",
        "/proc/self/mem",
        "/tmp",
        "/dev/zero",
        "",
        "/",
    ] {
        let why = session.fails(&format!("loadApplication name=live library={file}"));
        assert!(!why.is_empty());
    }
    // A library that is one, where it must not lie.
    let elsewhere = server.folder().join("libflvplayback.so");
    std::fs::copy(crtmp_tests::folder_of_programs().join("libflvplayback.so"), &elsewhere).expect("a copy");
    let why = session.fails(&format!("loadApplication name=live library={}", elsewhere.display()));
    assert!(why.contains("neither beside the present library nor in `rootDirectory`"), "{why}");
    let library = crtmp_tests::folder_of_programs().join("libflvplayback.so");
    let why = session.fails(&format!("loadApplication name=live library={}", library.display()));
    assert!(why.contains("loaded already"), "{why}");
    session.fails(&format!("loadApplication name=nobody library={}", library.display()));
    assert_eq!(state(&mut session), before);
    Client::publisher(server.address(), "live", "still there").expect_open();
    server.stop();
}

#[test]
fn the_server_ends_in_two_steps() {
    let mut server = Server::start(&config());
    let faces = Faces::of(&server);
    let mut stranger = Session::open(faces.json);
    assert!(stranger.fails("shutdownServer").contains("secret"));
    let mut session = operator(faces);
    for key in ["nonsense", "../..", "0"] {
        session.fails(&format!("shutdownServer key={key}"));
    }
    let first = text(&session.done("shutdownServer"), "key").to_owned();
    let second = text(&session.done("shutdownServer"), "key").to_owned();
    assert_ne!(first, second);
    session.fails(&format!("shutdownServer key={first}"));
    session.fails(&format!("shutdownServer key={second}"));
    assert!(server.runs(), "a wrong key uses up the right one");
    let key = text(&session.done("shutdownServer"), "key").to_owned();
    let answer = session.run(&format!("shutdownServer key={key}"));
    assert_eq!(answer["status"], "SUCCESS", "{answer}");
    session.rest();
    server.ended();
}

#[test]
fn quit_ends_the_session_alone() {
    let server = Server::start(&config());
    let faces = Faces::of(&server);
    let mut other = operator(faces);
    let addresses: BTreeSet<SocketAddr> = [faces.text, faces.json, faces.ascii].into();
    for address in addresses {
        let mut session = Session::open(address);
        session.write(b"quit\nversion\n");
        let heard = String::from_utf8(session.rest()).expect("UTF-8");
        assert!(heard.contains("Bye!") && !heard.contains("releaseNumber"), "{heard}");
    }
    other.done("version");
    server.stop();
}

/// A client that says all that it has to say and then only listens, as `nc -N` does, by the variant protocol.
#[test]
fn who_only_listens_any_more_is_answered() {
    let acceptor = "{ ip = \"127.0.0.1\", port = 0, protocol = \"inboundJsonVariant\" }";
    let block = format!("{{ name = \"misbehaving\", acceptors = {{ {acceptor} }} }}");
    let server = Server::start(&Config::new().workers(2).block(&block));
    let mut services = server.services().iter();
    let address = services.find(|service| service.chain == "inboundJsonVariant").expect("it").address;
    for _ in 0..20 {
        let mut client = Session::open(address);
        client.write(&[&8_u32.to_be_bytes()[..], b"\"hello?\""].concat());
        client.socket().shutdown(std::net::Shutdown::Write).expect("a socket option");
        let answer = client.rest();
        assert!(answer.windows(6).any(|part| part == b"hello?"), "{answer:?}");
    }
    server.stop();
}
