//! The same data through every face: text, JSON, ASCII, HTTP, an application in Rust and one in Lua.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crtmp_tests::cli::{Faces, Session};
use crtmp_tests::wire::Client;
use crtmp_tests::{Launch, Server, wait_for};
use serde_json::{Value, json};

use crate::SOON;
use crate::commands::{
    ABOUT_THE_SESSIONS, SECRET, VOLATILE, ask, config, help, operator, params, publisher, still, text,
};

/// `key=value …` of texts and numbers.
fn line(command: &str, params: &Value) -> String {
    let mut line = command.to_owned();
    for (key, value) in params.as_object().expect("an object") {
        let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
        line += &format!(" {key}={value}");
    }
    line
}

fn curl(address: SocketAddr, command: &str, params: &Value) -> Value {
    let outcome = Launch::new("curl")
        .args("-s --max-time 20 -H content-type:application/json -d")
        .arg(params.to_string())
        .arg("-H")
        .arg(format!("Authorization: Bearer {SECRET}"))
        .arg(format!("http://{address}/{command}"))
        .run()
        .success();
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// The answer to a line in the form of EvoStream, which has empty lines within.
fn outline(address: SocketAddr, line: &str) -> String {
    let mut session = Session::open(address);
    session.write(format!("{line}\nquit\n").as_bytes());
    String::from_utf8(session.rest()).expect("UTF-8")
}

/// Demands that people can read the same in a text: every key, and every short scalar. Lists of objects are tables,
/// which need not have all columns: there, what tells the entries apart.
fn assert_shows(shown: &str, data: &Value) {
    match data {
        Value::Array(list) if list.iter().all(Value::is_object) => {
            for entry in list {
                let telling = ["id", "uniqueId", "configId", "name", "command"].map(|key| &entry[key]);
                telling
                    .into_iter()
                    .filter(|value| !value.is_null())
                    .for_each(|value| assert_shows(shown, value));
            }
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            assert!(shown.contains(key.as_str()), "no {key:?} in\n{shown}");
            if !VOLATILE.contains(&key.as_str()) && !value.is_object() && !value.is_array() {
                assert_shows(shown, value);
            }
        }),
        Value::Array(list) => list.iter().for_each(|value| assert_shows(shown, value)),
        Value::String(text) if !text.is_empty() => {
            let start: String = text.chars().take(38).collect();
            assert!(shown.contains(&start), "no {start:?} in\n{shown}");
        }
        Value::Number(_) | Value::Bool(_) => {
            assert!(shown.contains(&data.to_string()), "no {data} in\n{shown}")
        }
        _ => {}
    }
}

/// What `asker` does, in Lua.
const ASKER_IN_LUA: &str = r#"
    function on_message(client, id, _, _, command, params)
      local answer = server.command(command, json.decode(params))
      client:result("_result", id, { json.null, json.encode(answer) })
    end"#;

/// What is there, without what it is: for data in which every number changes.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

/// The entries about connections that both know: each request by HTTP comes over another one.
fn known_to_both(one: &Value, other: &Value) -> Value {
    let id = |entry: &Value| if entry.is_object() { entry["id"].clone() } else { entry.clone() };
    let others: Vec<Value> = other["data"].as_array().expect("a list").iter().map(id).collect();
    let known = one["data"].as_array().expect("a list").iter().filter(|entry| others.contains(&id(entry)));
    known.map(still).collect()
}

#[test]
fn every_face_gives_the_same_data() {
    let (_folder, script) = crate::file("asker.lua");
    std::fs::write(&script, ASKER_IN_LUA).expect("a temporary file");
    let in_lua = format!("{{ name = \"lua\", library = \"vmapp\", script = {script:?} }}");
    let server = Server::start(&config().block(&in_lua));
    let faces = Faces::of(&server);
    let _film = publisher(&server, "film");
    let mut json = operator(faces);
    let mut readable = Session::open(faces.text);
    readable.show(&format!("auth secret={}", SECRET.replace(' ', "\\ ")));
    let mut application = Client::connected(server.address(), "asker");
    let mut lua = Client::connected(server.address(), "lua");

    json.done("addAskerEntry name=first count=3 tags=a,b");
    wait_for("the codecs", SOON, || {
        let info = json.done("getStreamInfo localStreamName=film");
        (info["video"]["codec"] == "H.264" && info["audio"]["codec"] == "AAC").then_some(())
    });

    // As long as these are all the sessions that there are.
    for command in ABOUT_THE_SESSIONS.into_iter().filter(|command| *command != "quit") {
        let seen: fn(&Value) -> Value =
            if ["getCounters", "metrics"].contains(&command) { shape } else { still };
        let expected = json.run(command);
        assert_eq!(expected["status"], "SUCCESS", "{expected}");
        let shown = [&mut application, &mut lua].map(|client| ask(client, command, &json!({})));
        if command == "metrics" {
            // A text of numbers.
            let series = |answer: &Value| {
                let lines = text(answer, "data").lines();
                let names = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
                names.collect::<BTreeSet<String>>()
            };
            shown.iter().for_each(|shown| assert_eq!(series(shown), series(&expected), "{command}"));
            continue;
        }
        for shown in &shown {
            assert_eq!(seen(shown), seen(&expected), "{command}");
        }
    }
    for command in ["listConnections", "listConnectionsIds"] {
        let (expected, by_http) = (json.run(command), curl(faces.http, command, &json!({})));
        assert_eq!(known_to_both(&by_http, &expected), known_to_both(&expected, &by_http), "{command}");
        assert_eq!(known_to_both(&expected, &by_http), still(&expected["data"]), "{command}");
    }

    let mut calls: Vec<(String, Value)> = help(&mut json)
        .iter()
        .filter(|command| {
            command["readOnly"] == true && !ABOUT_THE_SESSIONS.contains(&text(command, "command"))
        })
        .filter(|command| params(command).iter().all(|param| param["mandatory"] == false))
        .map(|command| (text(command, "command").to_owned(), json!({})))
        .collect();
    assert!(calls.len() > 10, "{calls:?}");
    for command in ["getStreamInfo", "isStreamRunning", "clientsConnected"] {
        calls.push((command.to_owned(), json!({ "localStreamName": "film" })));
        calls.push((command.to_owned(), json!({ "localStreamName": "nothing" })));
    }
    let stream = json.done("listStreams")[0].clone();
    calls.push(("getStreamInfo".to_owned(), json!({ "id": stream["uniqueId"] })));
    calls.push(("getConnectionInfo".to_owned(), json!({ "id": stream["connectionId"] })));
    calls.push(("getConnectionInfo".to_owned(), json!({ "id": 1_234_567 })));
    calls.push(("nonsense".to_owned(), json!({})));

    for (command, params) in calls {
        let line = line(&command, &params);
        let expected = json.run(&line);
        let by_http = curl(faces.http, &command, &params);
        let by_application = ask(&mut application, &command, &params);
        assert_eq!(still(&by_http), still(&expected), "{line} by HTTP");
        let by_script = ask(&mut lua, &command, &params);
        assert_eq!(still(&by_application), still(&expected), "{line} by an application");
        assert_eq!(still(&by_script), still(&expected), "{line} by a script");
        let (shown, outlined) = (readable.show(&line), outline(faces.ascii, &line));
        if expected["status"] == "SUCCESS" {
            assert!(outlined.starts_with("Command entered successfully!"), "{outlined}");
            // The text of `metrics` stands alone, for whoever reads it.
            let says = !text(&expected, "description").is_empty();
            assert!(says || command == "metrics" || command.contains("Asker"), "{line}: {expected:.200}");
            assert_shows(&shown, &expected["data"]);
            assert_shows(&outlined, &expected["data"]);
            assert!(command == "metrics" || shown.lines().all(|line| line.chars().count() <= 200), "{shown}");
        } else {
            assert!(shown.starts_with("error: "), "{shown}");
            assert!(outlined.starts_with("Command failed!"), "{outlined}");
        }
    }
    let shown = readable.show("help");
    for command in help(&mut json) {
        let name = text(&command, "command");
        assert!(shown.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {shown}");
    }
    // An operator's terminal has 120 columns.
    for command in ["help", "listStreams", "listConnections", "listServices", "listApplications"] {
        let shown = readable.show(command);
        assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    }
    let shown = readable.show("listStreams");
    let mut lines = shown.lines().skip_while(|line| !line.starts_with("uniqueId "));
    let (head, film) = (lines.next().expect("a table"), lines.next().expect("a row"));
    for column in ["type", "name", "appName", "connectionId", "ip", "upTime", "bandwidth", "video.codec"] {
        assert!(head.split_whitespace().any(|word| word == column), "{column}: {head}");
    }
    assert!(film.contains("film") && film.contains("H.264"), "{film}");
    assert!(shown.contains("`getStreamInfo id=…`"), "{shown}");
    let shown = readable.show("help command=LISTstreams");
    assert!(shown.contains("disableInternalStreams") && shown.contains("leave out the streams"), "{shown}");
    assert!(readable.show("help command=auth").contains("secret"));
    let mut stranger = Session::open(faces.text);
    let refused = stranger.show("shutdownStream id=1");
    assert!(refused.contains("auth secret=…"), "{refused}");
    // Half-closed clients such as `nc -N` get their answers too.
    for address in [faces.text, faces.json, faces.ascii] {
        let mut half = Session::open(address);
        half.write(b"listStreams\nversion\n");
        half.socket().shutdown(std::net::Shutdown::Write).expect("a socket option");
        let rest = String::from_utf8(half.rest()).expect("UTF-8");
        assert!(rest.contains("film") && rest.contains("releaseNumber"), "{rest}");
    }
    server.stop();
}
