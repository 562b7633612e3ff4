//! Scripts over the real tables, with a pretended server around them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crtmp_plugin::testing::{Called, FakeHost, conn};
use crtmp_plugin::{Answer, MediaKind, Reply, Verdict};
use serde_json::{Value, json};
use vmapp::VmApp;

fn host_of(script: &Path, settings: Value) -> FakeHost {
    let mut settings = settings;
    settings["script"] = json!(script);
    FakeHost::new::<VmApp>(&settings.to_string()).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A server with this script, which lies in the folder.
fn host(folder: &tempfile::TempDir, script: &str) -> FakeHost {
    let file = folder.path().join("app.lua");
    fs::write(&file, script).unwrap();
    // Of the second's budget the tests of the machine know.
    host_of(&file, json!({ "secondInstructions": 1_000_000_000 }))
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bls.lua")
}

fn events(host: &mut FakeHost) -> Vec<String> {
    // The reply of a command comes by `respond`, also when it is there at once.
    let Reply::Result(value) = host.command("events", &json!({ "from": 1 })) else { panic!("no list") };
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_example_of_bls_works() {
    let mut host = host_of(&example(), json!({}));
    let (one, two) = (conn(1, "live"), conn(2, "live"));
    assert_eq!(host.accept(&one), Verdict::Accept);
    assert_eq!(host.connect(&one), Verdict::Accept);
    let call = host.calls().pop().unwrap();
    assert_eq!(call.what, Called::Peer(1, "needResult".into(), json!([{}, { "data": 66 }])));
    host.answer_call(call.ticket, Ok(json!([null, "yes"])));
    assert_eq!(host.publish(&one, "news"), Verdict::accept_as("news-renamed"));
    assert_eq!(host.publish(&two, "news"), Verdict::Later, "the second publisher is closed instead");
    assert_eq!(host.closed().len(), 1);
    assert_eq!(host.play(&two, "news"), Verdict::accept_as("news-renamed"));
    host.metadata(&one, "news", &json!({ "width": 320 }));
    host.pong(&one, Duration::from_millis(12), 3456);
    assert_eq!(
        host.message(&two, "customCmd", &[Value::Null, "hello".into()]),
        Reply::ResultValues(vec![Value::Null, "result data".into()])
    );
    host.put_sequence_header(1, MediaKind::Video, &[0x17, 0, 0, 0, 0, 1, 2, 3]);
    assert_eq!(host.message(&one, "watch", &[Value::Null]), Reply::Result(3.into()));
    host.frame(&one, "news", MediaKind::Video, 40, &[0x17, 1, 0, 0, 0, 9, 9]);
    host.frame(&one, "news", MediaKind::Audio, 41, &[0xaf, 1, 7]);
    host.source_ended(&two, "news");
    host.unplay(&two, "news");
    host.unpublish(&one, "news");
    host.close(&one);
    assert_eq!(
        events(&mut host),
        [
            "come on 1",
            "connect live -",
            "result _result yes",
            "meta news 320",
            "pong 12 3456",
            "message customCmd hello",
            "message watch nil",
            "video 40 false true 2",
            "audio 41 false false 1",
            "play stop news",
            "unplay news",
            "unpublish news",
            "close closed by the peer true",
        ]
    );
    // The name is free again: what the script keeps for a client is there at its end.
    assert_eq!(host.publish(&two, "news"), Verdict::accept_as("news-renamed"));
}

#[test]
fn a_play_may_wait_for_its_source() {
    let mut host = host_of(&example(), json!({}));
    let (one, two) = (conn(1, "live"), conn(2, "live"));
    assert_eq!(host.play(&two, "news"), Verdict::Later);
    let request = host.last_request();
    assert_eq!(host.publish(&one, "news"), Verdict::accept_as("news-renamed"));
    let timer = host.timers().into_iter().find(|(timer, ..)| *timer != 0).unwrap();
    assert_eq!((timer.1, timer.2), (1000, 0));
    host.timer(timer.0);
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::accept_as("news-renamed"))));
}

#[test]
fn what_a_hook_returns_is_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        function on_publish(client, id, name)
          if name == "bad" then return false, "not this one", "NetStream.Publish.Denied" end
          if name == "a" then return "b" end
          if name == "odd" then return {} end
          return true
        end"#;
    let mut host = host(&folder, script);
    let one = conn(1, "live");
    assert_eq!(host.connect(&one), Verdict::Accept, "there is no such hook");
    assert_eq!(host.publish(&one, "bad"), Verdict::reject("NetStream.Publish.Denied", "not this one"));
    assert_eq!(host.publish(&one, "a"), Verdict::accept_as("b"));
    assert_eq!(host.publish(&one, "c"), Verdict::Accept);
    assert_eq!(host.publish(&one, "odd"), Verdict::refuse("the application failed"));
}

#[test]
fn a_script_that_goes_astray_is_cut_and_its_request_refused() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        function on_publish(client, id, name)
          if name == "loop" then while true do end end
          if name == "caught" then while true do pcall(function() while true do end end) end end
          if name == "coroutine" then coroutine.wrap(function() while true do end end)() end
          if name == "sort" then table.sort({ 3, 1, 2 }, function() while true do end end) end
          if name == "pattern" then return (("a"):rep(30000)):find(("a*"):rep(30) .. "b") == nil end
          if name == "memory" then local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end
          if name == "error" then error({}) end
          return true
        end"#;
    let mut host = host(&folder, script);
    let one = conn(1, "live");
    for name in ["loop", "caught", "coroutine", "sort", "pattern", "memory", "error"] {
        assert_eq!(host.publish(&one, name), Verdict::refuse("the application failed"), "{name}");
        let (_, line) = host.logs().pop().unwrap();
        assert!(line.contains("on_publish"), "{line}");
    }
}

#[test]
fn a_request_is_as_the_script_says_or_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        function on_publish(client, id, name)
          local request = { url = "http://127.0.0.1:9/", method = "PUT", public_only = true }
          if name == "typo" then request.timout = 3 end
          if name == "text" then request.public_only = "yes" end
          local _, why = pcall(http.request, request)
          return false, why
        end"#;
    let mut host = host(&folder, script);
    let one = conn(1, "live");
    for (name, why) in [("typo", "has no `timout`; there are url"), ("text", "must be true or false")] {
        assert!(
            matches!(host.publish(&one, name), Verdict::Reject { text, .. } if text.contains(why)),
            "{name}"
        );
    }
    assert_eq!(host.publish(&one, "x"), Verdict::Later);
    let call = host.calls().pop().unwrap();
    assert!(
        matches!(&call.what, Called::Http(head, _) if head["publicOnly"] == true && head["method"] == "PUT")
    );
}

#[test]
fn http_and_commands_read_straight() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        function on_publish(client, id, name)
          local answer, why = http.get("http://127.0.0.1:9/auth?name=" .. name)
          if not answer then return false, "no answer: " .. why end
          if answer.status ~= 200 then return false, "status " .. answer.status end
          local streams = server.command("listStreams")
          return name .. "-" .. #streams.data
        end"#;
    let mut host = host(&folder, script);
    let one = conn(1, "live");
    assert_eq!(host.publish(&one, "x"), Verdict::Later);
    let request = host.last_request();
    let call = host.calls().pop().unwrap();
    assert!(matches!(&call.what, Called::Http(head, _) if head["url"] == "http://127.0.0.1:9/auth?name=x"));
    host.answer_call(call.ticket, Ok(json!({ "status": 200, "headers": {} })));
    let call = host.calls().pop().unwrap();
    assert_eq!(call.what, Called::Command("listStreams".into(), json!({})));
    host.answer_call(call.ticket, Ok(json!({ "status": "SUCCESS", "data": [1, 2] })));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::accept_as("x-2"))));

    assert_eq!(host.publish(&one, "y"), Verdict::Later);
    let request = host.last_request();
    let call = host.calls().pop().unwrap();
    host.answer_call(call.ticket, Err("refused".into()));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::refuse("no answer: refused"))));
}

#[test]
fn a_changed_file_takes_over_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.lua");
    let version = |number: u32| {
        format!(
            r#"
            shared.loads = (shared.loads or 0) + 1
            function on_publish(client, id, name)
              client.count = (client.count or 0) + 1
              if name == "wait" then sleep(100) end
              return "v{number}-" .. client.count .. "-" .. shared.loads
            end"#
        )
    };
    let mut host = host(&folder, &version(1));
    let one = conn(1, "live");
    assert_eq!(host.publish(&one, "x"), Verdict::accept_as("v1-1-1"));
    assert_eq!(host.publish(&one, "wait"), Verdict::Later);
    let waiting = host.last_request();
    fs::write(&file, "function on_publish( -- half written").unwrap();
    assert!(matches!(host.command("reloadScript.test", &json!({})), Reply::Error(_)));
    assert_eq!(host.publish(&one, "x"), Verdict::accept_as("v1-3-1"), "the version before goes on");
    assert_eq!(host.answer_to(waiting), None, "and so do calls that wait");
    fs::write(&file, version(22)).unwrap();
    host.timer(0);
    assert_eq!(host.publish(&one, "x"), Verdict::accept_as("v22-4-2"), "fields and `shared` are still there");
    let refused = Verdict::refuse("the application was loaded again");
    assert_eq!(host.answer_to(waiting), Some(Answer::Verdict(refused)));
    assert!(host.timers().iter().all(|(timer, ..)| *timer == 0), "its timer is gone");
}

#[test]
fn a_script_with_mistakes_stops_the_start_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.lua");
    for (script, expected) in [
        ("x = ", "app.lua:1:"),
        ("\nerror('no')", "app.lua:2: no"),
        ("while true do end", "app.lua:1"),
        ("sleep(1)", "app.lua:1"),
    ] {
        fs::write(&file, script).unwrap();
        let settings = json!({ "script": file }).to_string();
        let error = FakeHost::new::<VmApp>(&settings).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = FakeHost::new::<VmApp>("{}").err().unwrap().to_string();
    assert_eq!(error, "`script` is missing: the file with the script");
}

#[test]
fn scripts_test_themselves() {
    let mut host = host_of(&example(), json!({ "test": true }));
    let Reply::Result(results) = host.command("runTests", &json!({})) else { panic!("no results") };
    assert_eq!(results[0], json!({ "name": "test_a_stream_is_published_once", "fault": null }));
    assert_eq!(results[1]["name"], "test_that_fails");
    assert!(results[1]["fault"].as_str().unwrap().contains("bls.lua:"), "{results}");
}

#[test]
fn commands_are_those_of_the_version_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.lua");
    let adding = |names: &[&str], about: &str| -> String {
        let add = |name: &&str| {
            format!(
                "server.add_command('{name}', {{ description = '{about}' }}, function() return '{about}' end)\n"
            )
        };
        names.iter().map(add).collect()
    };
    let shown = |host: &FakeHost| -> Vec<(String, String)> {
        let text = |command: &Value, key: &str| command[key].as_str().unwrap_or_default().to_owned();
        let mut all: Vec<_> = host
            .commands()
            .iter()
            .map(|command| (text(command, "name"), text(command, "description")))
            .filter(|(name, _)| name != "reloadScript.test")
            .collect();
        all.sort();
        all
    };
    let pairs = |names: &[&str], about: &str| -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), about.to_owned())).collect()
    };
    let mut host = host(&folder, &adding(&["both", "Older"], "first"));
    assert_eq!(shown(&host), pairs(&["Older", "both"], "first"));
    fs::write(&file, adding(&["both", "broken"], "never") + "error('no')").unwrap();
    assert!(matches!(host.command("reloadScript.test", &json!({})), Reply::Error(_)));
    assert_eq!(shown(&host), pairs(&["Older", "both"], "first"), "a version with a mistake changes nothing");
    fs::write(&file, adding(&["both", "newer"], "second")).unwrap();
    assert!(matches!(host.command("reloadScript.test", &json!({})), Reply::Result(_)));
    assert_eq!(shown(&host), pairs(&["both", "newer"], "second"), "what is not added again is gone");
    assert_eq!(host.command("newer", &json!({})), Reply::Result(json!("second")));
}

#[test]
fn a_script_decides_about_shared_objects() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        function on_shared_object(client, id, name, persistent, wishes)
          if persistent then return false end
          for _, wish in ipairs(wishes) do
            if wish.wish == "change" and wish.slot == "topic" and wish.value ~= "trees" then
              return false, "only trees", "App.NoSuchTopic"
            end
            if wish.wish == "send" then client:refuse(id, wish.values[1]) return end
            if wish.wish == "remove" then client:share(id) return end
          end
          return true
        end"#;
    let mut host = host(&folder, script);
    let one = conn(1, "live");
    let mut ask = |wish: Value| host.shared_object(&one, "room", &[wish]);
    assert_eq!(ask(json!({ "wish": "use" })), Verdict::Accept);
    assert_eq!(ask(json!({ "wish": "change", "slot": "topic", "value": "trees" })), Verdict::Accept);
    let other = ask(json!({ "wish": "change", "slot": "topic", "value": 7 }));
    assert_eq!(other, Verdict::reject("App.NoSuchTopic", "only trees"));
    assert_eq!(ask(json!({ "wish": "send", "values": ["loud"] })), Verdict::refuse("loud"));
    assert_eq!(ask(json!({ "wish": "remove", "slot": "topic" })), Verdict::Accept);
}
