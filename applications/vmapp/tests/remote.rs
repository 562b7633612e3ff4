//! Scripts that connect to other servers, with a pretended server around them: each function is called once.

use std::fs;

use crtmp_plugin::testing::{Call, Called, FakeHost, conn};
use crtmp_plugin::{Answer, Reply, Verdict};
use serde_json::{Value, json};
use vmapp::VmApp;

/// A server with this script; `said()` gives what it has noted.
fn host(script: &str) -> (FakeHost, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.lua");
    let notes = "notes = {}\n\
                 function note(...)\n\
                   local all = table.pack(...)\n\
                   for i = 1, all.n do all[i] = tostring(all[i]) end\n\
                   notes[#notes + 1] = table.concat(all, ' ', 1, all.n)\n\
                 end\n\
                 server.add_command('said', { read_only = true }, function() return json.array(notes) end)\n";
    fs::write(&file, format!("{notes}{script}")).unwrap();
    let settings = json!({ "script": file, "secondInstructions": 1_000_000_000 });
    let host = FakeHost::new::<VmApp>(&settings.to_string()).unwrap_or_else(|failure| panic!("{failure}"));
    (host, folder)
}

fn said(host: &mut FakeHost) -> Vec<String> {
    match host.command("said", &json!({})) {
        Reply::Result(value) => serde_json::from_value(value).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn last(host: &FakeHost) -> Call {
    host.calls().pop().expect("a call")
}

/// A script that does what a play asks for with a connection to somebody.
const EDGE: &str = r#"
function on_close(client, reason) note("a close of", client.peer) end
function on_play(client, id, name)
  note("sent", remote_connect("10.0.0.1", 8956, function(...)
    local origin, why = ...
    note("made", select('#', ...), origin and origin.client_id, why)
    if not origin then return client:refuse(id, why) end
    origin.field = "kept"
    origin:on("close", function(reason) note("closed", reason, origin:is_closed(), origin.field) end)
    origin:on("unpublish", function(name) note("unpublish", name) end)
    origin:on("hello", function(id, object, data) note("hello", data); return "hi" end)
    origin:connect({ app = "live", info = "mine" }, function(flag, args)
      note("connected", flag, args[2] and args[2].code or args[1])
      local stream = name == "renamed" and { name = "there?k=v", as = "here", start = "live", duration = 1.5 } or name
      local done = function(...) note("edge", ...) client:play(id, name) end
      if name == "bls" then
        origin:edge(stream, done)
      else
        origin:edge(stream, done, function(text, code) note("failed", text, code) client:refuse(id, text) end)
      end
    end)
  end))
end"#;

/// Up to the answer to the connect; gives the request of the player.
fn connected(host: &mut FakeHost, name: &str) -> crtmp_plugin::RequestId {
    assert_eq!(host.play(&conn(1, "live"), name), Verdict::Later);
    let request = host.last_request();
    let call = last(host);
    let address = Called::Connect("10.0.0.1:8956".into(), "outboundRtmp".into(), json!({}));
    assert_eq!(call.what, address);
    host.answer_call(call.ticket, Ok(json!({ "connection": 7 })));
    let call = last(host);
    let object = json!([{ "app": "live", "info": "mine", "tcUrl": "rtmp://10.0.0.1:8956/live" }]);
    assert_eq!(call.what, Called::Peer(7, "connect".into(), object));
    host.answer_call(call.ticket, Ok(json!([{}, { "code": "NetConnection.Connect.Success" }])));
    request
}

#[test]
fn an_edge_plays_what_it_has_pulled() {
    let (mut host, _folder) = host(EDGE);
    let request = connected(&mut host, "news");
    let call = last(&host);
    let pull = json!({ "name": "news", "localName": "news", "startMs": -2, "durationMs": -1 });
    assert_eq!(call.what, Called::Pull(7, pull));
    assert_eq!(host.answer_to(request), None);
    let done = json!({ "streamId": 1, "status": { "code": "NetStream.Play.Start" } });
    host.answer_call(call.ticket, Ok(done.clone()));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::accept_as("news"))));
    let origin = conn(7, "");
    let reply = host.message(&origin, "hello", &[Value::Null, "there".into()]);
    assert_eq!(reply, Reply::Result("hi".into()));
    host.unpublish(&origin, "news");
    host.close(&origin);
    // Nothing comes of a result that comes again.
    host.answer_call(call.ticket, Ok(done));
    let said = said(&mut host);
    assert!(said[3].starts_with("edge true table"), "{said:?}");
    let rest: Vec<&str> = said.iter().map(String::as_str).filter(|line| !line.starts_with("edge")).collect();
    assert_eq!(
        rest,
        [
            "sent",
            "made 1 7 nil",
            "connected _result NetConnection.Connect.Success",
            "hello there",
            "unpublish news",
            "closed closed by the peer true kept",
        ]
    );
}

#[test]
fn names_may_differ_at_both_ends() {
    let (mut host, _folder) = host(EDGE);
    connected(&mut host, "renamed");
    let pull = json!({ "name": "there?k=v", "localName": "here", "startMs": -1, "durationMs": 1500 });
    assert_eq!(last(&host).what, Called::Pull(7, pull));
}

#[test]
fn a_pull_that_fails_calls_the_second_function_and_closes_nothing() {
    let (mut host, _folder) = host(EDGE);
    let request = connected(&mut host, "news");
    let status = json!({ "code": "NetStream.Play.StreamNotFound", "description": "there is none" });
    host.answer_call(last(&host).ticket, Err(json!({ "streamId": 1, "status": status })));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::refuse("there is none"))));
    assert!(host.closed().is_empty());
    assert!(said(&mut host).contains(&"failed there is none NetStream.Play.StreamNotFound".to_owned()));
}

/// What a script connects to by an address, with the options of it.
const ADDRESSES: &str = r#"
function on_publish(client, id, name)
  local uri, options = name:match("^(%S+) (.*)$")
  uri = uri or name
  local far, why
  if options == "function" then
    remote_connect(uri, function(far) note("function", far.chain) far:connect({}) end)
    return "asked"
  end
  far, why = remote_connect(uri, options and json.decode(options))
  if not far then return false, why end
  note(far.chain, far.peer)
  far:connect(name:find("other") and { app = "other" } or {})
  return true
end"#;

#[test]
fn an_address_says_scheme_host_and_application() {
    let (mut host, _folder) = host(ADDRESSES);
    for (name, address, keys, app, url) in [
        ("rtmps://far/live/x?k=v", "rtmps://far", json!({}), "live/x?k=v", "rtmps://far/live/x?k=v"),
        ("RTMPT://[::1]:81/", "rtmpt://[::1]:81", json!({}), "test", "rtmpt://[::1]:81/test"),
        (
            r#"rtmps://far {"tlsVerify":false,"tlsName":"other"}"#,
            "rtmps://far",
            json!({ "tlsVerify": false, "tlsName": "other" }),
            "other",
            "rtmps://far/other",
        ),
        ("rtmpe://far:7/live {}", "rtmpe://far:7", json!({}), "live", "rtmpe://far:7/live"),
        ("rtmpte://far/live function", "rtmpte://far", json!({}), "live", "rtmpte://far/live"),
    ] {
        host.publish(&conn(1, "live"), name);
        assert_eq!(last(&host).what, Called::Connect(address.into(), String::new(), keys), "{name}");
        host.answer_call(last(&host).ticket, Ok(json!({ "connection": 8 })));
        let object = json!([{ "app": app, "tcUrl": url }]);
        assert_eq!(last(&host).what, Called::Peer(8, "connect".into(), object), "{name}");
        host.close(&conn(8, ""));
    }
    let said = said(&mut host);
    assert_eq!(said[..2], ["outboundRtmps far", "outboundRtmpt [::1]:81"]);
    assert_eq!(said.last().unwrap(), "function outboundRtmpte");
    for (name, why) in [
        ("http://far", "must begin with one of rtmp://, rtmpe://"),
        (r#"rtmps://far ["x"]"#, "must be a table with names"),
        (r#"rtmps://far "x""#, "must be a table with names"),
    ] {
        let verdict = host.publish(&conn(1, "live"), name);
        let is_refused = matches!(&verdict, Verdict::Reject { .. });
        assert!(is_refused && host.logs().iter().any(|(_, line)| line.contains(why)), "{name}: {verdict:?}");
    }
}

/// A server asks to connect again: a function of the client hears of it, else the global one, else `on_message`.
#[test]
fn who_is_asked_to_connect_again_hears_of_it() {
    const MESSAGE: &str =
        "function on_message(client, id, name, object, info) note(name, object, info.tcUrl) end\n";
    const ALL: &str = "function on_reconnect(client, text, url) note('all', text, url) end\n";
    const OWN: &str = "function on_play(client)\n\
                         client:on('reconnect', function(text, url) note('own', text, url) end)\n\
                       end\n";
    let code = "NetConnection.Connect.ReconnectRequest";
    let info = json!({ "level": "status", "code": code, "description": "soon", "tcUrl": "//b/live" });
    for (script, outbound, expected) in [
        (format!("{MESSAGE}{ALL}{OWN}"), true, "own soon //b/live"),
        (format!("{MESSAGE}{ALL}"), true, "all soon //b/live"),
        (MESSAGE.to_owned(), true, "onStatus nil //b/live"),
        // Somebody who has connected to us asks for nothing like it.
        (format!("{MESSAGE}{ALL}{OWN}"), false, "onStatus nil //b/live"),
    ] {
        let (mut host, _folder) = host(&script);
        let chain = if outbound { "outboundRtmps" } else { "inboundRtmp" };
        let far = crtmp_plugin::testing::ConnInfo { chain: chain.to_owned(), ..conn(7, "live") };
        if script.contains("on_play") {
            host.play(&far, "x");
        }
        host.message(&far, "onStatus", &[Value::Null, info.clone()]);
        assert_eq!(said(&mut host), [expected], "{script}");
    }
}

/// BLS calls the function of `edge` in case of success alone; all else shows as the end of the connection.
#[test]
fn a_pull_that_fails_closes_the_connection_where_the_script_has_one_function() {
    let (mut host, _folder) = host(EDGE);
    let request = connected(&mut host, "bls");
    host.answer_call(last(&host).ticket, Err("too many".into()));
    assert_eq!(host.closed(), [(7, String::new(), "too many".to_owned())]);
    host.close(&conn(7, ""));
    assert_eq!(host.answer_to(request), None);
    let said = said(&mut host);
    assert!(said.iter().all(|line| !line.starts_with("edge") && !line.starts_with("failed")), "{said:?}");
    assert_eq!(said.last().unwrap(), "closed closed by the peer true kept");
}

#[test]
fn a_connection_that_is_not_to_be_had_is_nil() {
    let (mut host, _folder) = host(EDGE);
    assert_eq!(host.play(&conn(1, "live"), "news"), Verdict::Later);
    let request = host.last_request();
    host.answer_call(last(&host).ticket, Err("refused".into()));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::refuse("refused"))));
    assert_eq!(said(&mut host), ["sent", "made 2 nil refused"]);
}

#[test]
fn without_functions_the_script_waits() {
    let (mut host, _folder) = host(
        r#"
        function on_publish(client, id, name)
          local target, why = remote_connect("::1", 1935)
          if not target then return false, why end
          local flag, args = target:connect({})
          if flag ~= "_result" then return false, "no connect" end
          local good, text, code = target:push({ name = name, as = "there", type = "append" })
          if not good then return false, text, code end
          return name .. "-pushed"
        end"#,
    );
    let one = conn(1, "live");
    let ask = |host: &mut FakeHost| {
        assert_eq!(host.publish(&one, "x"), Verdict::Later);
        let request = host.last_request();
        assert!(matches!(&last(host).what, Called::Connect(address, ..) if address == "[::1]:1935"));
        host.answer_call(last(host).ticket, Ok(json!({ "connection": 8 })));
        let object = json!([{ "app": "test", "tcUrl": "rtmp://[::1]:1935/test" }]);
        assert_eq!(last(host).what, Called::Peer(8, "connect".into(), object));
        host.answer_call(last(host).ticket, Ok(json!([{}, {}])));
        let push = json!({ "name": "there", "localName": "x", "type": "append" });
        assert_eq!(last(host).what, Called::Push(8, push));
        request
    };
    let request = ask(&mut host);
    host.answer_call(last(&host).ticket, Ok(json!({ "streamId": 1, "status": null })));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::accept_as("x-pushed"))));
    let request = ask(&mut host);
    host.answer_call(last(&host).ticket, Err(json!({ "status": { "code": "A.B", "description": "no" } })));
    assert_eq!(host.answer_to(request), Some(Answer::Verdict(Verdict::reject("A.B", "no"))));
    assert!(host.closed().is_empty(), "who waits hears of it");
}

#[test]
fn what_makes_no_sense_is_an_error_of_the_script() {
    let (mut host, _folder) = host(
        r#"
        local wrong = {
          inbound = function(client) client:edge("x", print) end,
          port = function() remote_connect("10.0.0.1", 70000, print) end,
          question = function(client) client:on("publish", print) end,
          key = function(client) client.chain = "outboundRtmp"; client:edge({ name = "x", to = "y" }, print) end,
          nameless = function(client) client.chain = "outboundRtmp"; client:edge({}, print) end,
          empty = function(client) client.chain = "outboundRtmp"; client:push("", print) end,
          type = function(client) client.chain = "outboundRtmp"; client:push({ name = "x", type = "y" }, print) end,
          start = function(client) client.chain = "outboundRtmp"; client:edge({ name = "x", start = -1 }, print) end,
          list = function(client) client.chain = "outboundRtmp"; client:connect({ 1 }, print) end,
          callback = function() remote_connect("10.0.0.1", 1935, "print") end,
        }
        function on_publish(client, id, name) return false, select(2, pcall(wrong[name], client)) end"#,
    );
    for (name, why) in [
        ("inbound", "app.lua:10: this is for clients that remote_connect has made"),
        ("port", "app.lua:11: error converting Lua integer to u16"),
        ("question", "global function: on_publish"),
        ("key", "edge has no `to`; there are name, as, start, duration"),
        ("nameless", "a table with `name`"),
        ("empty", "needs a name at both ends"),
        ("type", "must be \"live\", \"record\" or \"append\""),
        ("start", "`start` must be a number of seconds"),
        ("list", "must be a table with names"),
        ("callback", "function"),
    ] {
        let verdict = host.publish(&conn(1, "live"), name);
        assert!(
            matches!(&verdict, Verdict::Reject { text, .. } if text.contains(why)),
            "{name}: {verdict:?}"
        );
    }
    assert!(host.calls().is_empty());
}

#[test]
fn a_connection_for_the_script_before_is_closed() {
    let (mut host, folder) = host(EDGE);
    assert_eq!(host.play(&conn(1, "live"), "news"), Verdict::Later);
    let call = last(&host);
    fs::write(folder.path().join("app.lua"), "-- another").unwrap();
    assert!(matches!(host.command("reloadScript.test", &json!({})), Reply::Result(_)));
    host.answer_call(call.ticket, Ok(json!({ "connection": 7 })));
    assert_eq!(host.closed(), [(7, String::new(), "the application was loaded again".to_owned())]);
}

/// A peer's command has no way to the functions for what happens.
#[test]
fn a_command_is_no_event() {
    let (mut host, _folder) = host(
        r#"
        function on_publish(client, id, name)
          client:on("close", function() note("closed") end)
          client:on("pong", function(delay, received) note("pong", delay, received) end)
          if name == "less" then client:on("pong", nil) end
          return true
        end
        function on_pong(client) note("everybody's pong") end"#,
    );
    let one = conn(1, "live");
    assert_eq!(host.publish(&one, "x"), Verdict::Accept);
    for name in ["close", "on_close"] {
        assert_eq!(host.message(&one, name, &[Value::Null]), Reply::Ignore);
    }
    host.pong(&one, std::time::Duration::from_millis(2), 3);
    assert_eq!(host.publish(&one, "less"), Verdict::Accept);
    host.pong(&one, std::time::Duration::from_millis(2), 3);
    host.close(&one);
    assert_eq!(said(&mut host), ["pong 2 3", "everybody's pong", "closed"]);
}
