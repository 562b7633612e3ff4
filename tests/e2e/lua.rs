//! Applications in Lua, with ffmpeg and with a client that says what it is told.

use std::fs;
use std::path::Path;

use crtmp_tests::cli::{self, Session};
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Config, Kind, Launch, Recording, Server, ffmpeg, wait_for};

use serde_json::Value;

use crate::SOON;
use crate::containment::beside_canaries;

/// A server with an application `lua` that runs this script, and the folder of the script.
fn server(script: &str, keys: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let block = block(&folder, script, keys);
    (Server::start(&Config::new().workers(2).block(&block).block(&cli::administrator())), folder)
}

/// The block of such an application.
fn block(folder: &tempfile::TempDir, script: &str, keys: &str) -> String {
    let file = folder.path().join("app.lua");
    fs::write(&file, script).expect("a temporary file");
    format!("{{ name = \"lua\", library = \"vmapp\", script = {file:?}, {keys} }}")
}

fn url(server: &Server, stream: &str) -> String {
    format!("rtmp://{}/lua/{stream}", server.address())
}

fn example() -> String {
    let file = crtmp_tests::root().join("applications/vmapp/tests/bls.lua");
    fs::read_to_string(file).expect("the example is there")
}

#[test]
fn the_example_of_bls_serves_ffmpeg_and_custom_commands() {
    let (server, _folder) = server(&example(), "pingInterval = 0.2");
    let mut publisher = ffmpeg::publish_film(&url(&server, "news")).start();
    server.wait_for_publisher("news-renamed");

    // A play that came first would wait; this one is let in under the other name.
    let player = Recording::start(&url(&server, "news"));
    wait_for("pictures", SOON, || (Recording::of_program(&player).of(Kind::Video).len() > 50).then_some(()));

    let mut client = Client::shaken(server.address());
    client.send(&wire::connect("lua", "rtmp://localhost/lua"));
    client.expect("NetConnection.Connect.Success");
    let call = client.expect("needResult");
    assert!(call.says("data"), "{call:?}");
    // Its own first call has the transaction 2; the answer repeats the number.
    let transaction = call.number_behind("needResult");
    let answer = [amf::null(), amf::string("the result")];
    client.send(&Message::command(0, "_result", transaction, &answer));
    client.send(&Message::command(0, "customCmd", 7.0, &[amf::null(), amf::string("some data")]));
    let result = client.expect("result data");
    assert!(result.says("_result"), "{result:?}");
    client.send(&Message::command(0, "nobody knows this", 8.0, &[amf::null()]));

    // A second publisher of the name is closed by the script.
    let second = ffmpeg::publish_film(&url(&server, "news")).start();
    let outcome = second.wait(SOON);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");

    let log = server.log();
    assert!(!log.contains(" ERROR "), "{log}");
    publisher.kill();
    server.stop();
}

#[test]
fn a_script_refuses_with_its_own_text_and_renames() {
    let script = r#"
        function on_publish(client, id, name)
          if name == "bad" then return false, "this name is not for you" end
          if name == "a" then return "b" end
        end"#;
    let (server, _folder) = server(script, "laterTimeout = 1");
    let refused = ffmpeg::publish_film(&url(&server, "bad")).run();
    assert!(refused.stderr.contains("this name is not for you"), "{refused:?}");
    let mut publisher = ffmpeg::publish_film(&url(&server, "a")).start();
    server.wait_for_publisher("b");
    publisher.kill();
    server.stop();
}

/// HOOK-05: names that an application gives follow the rules for those of clients.
#[test]
fn a_script_cannot_give_a_stream_a_name_that_is_none() {
    let script = r#"
        local names = { up = "a/../b", twice = "a//b", control = "a\nb", long = ("x"):rep(70000) }
        function on_publish(client, id, name) return names[name] or name end"#;
    let (server, _folder) = server(script, "");
    for name in ["up", "twice", "control", "long"] {
        let mut client = Client::connected(server.address(), "lua");
        client.create_stream();
        client.send(&wire::publish(1, name));
        client.expect_refusal();
    }
    let counters = server.counters();
    assert_eq!(counters.json()["streams"].as_array().map(Vec::len), Some(0));
    server.stop();
}

#[test]
fn scripts_that_go_astray_cost_their_requests_and_nothing_else() {
    let script = r#"
        local function forever() while true do end end
        local astray = {
          loop = forever,
          caught = function() while true do pcall(forever) end end,
          routine = function() coroutine.wrap(forever)() end,
          sort = function() table.sort({ 3, 1, 2 }, forever) end,
          pattern = function() return (("a"):rep(30000)):find(("a*"):rep(30) .. "b") end,
          memory = function() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end,
        }
        function on_publish(client, id, name)
          if astray[name] then astray[name]() end
          return true
        end"#;
    let (server, _folder) = server(script, "secondInstructions = 1000000000");
    beside_canaries(&server, "lua", || {
        for name in ["loop", "caught", "routine", "sort", "pattern", "memory"] {
            let refused = ffmpeg::publish_film(&url(&server, name)).run();
            assert!(refused.stderr.contains("the application failed"), "{name}: {refused:?}");
            server.wait_for_log("app.lua:");
        }
    });
    server.stop();
}

#[test]
fn a_server_ends_while_a_script_goes_on() {
    let script = r#"function on_publish() log.info("off it goes") while true do end end"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let block = block(&folder, script, "callInstructions = 1000000000000, callTimeMs = 600000");
    let server = Server::start(&Config::new().workers(2).top("shutdownTimeout", "1").block(&block));
    let mut client = Client::connected(server.address(), "lua");
    client.create_stream();
    client.send(&wire::publish(1, "endless"));
    server.wait_for_log("off it goes");
    server.stop();
}

/// A command by its own name, and by a script that runs it for somebody else.
#[test]
fn a_script_gets_the_data_that_the_command_line_gets() {
    let script = r#"
        server.add_command("throughLua", { read_only = true, params = { { name = "command", type = "text" } } },
          function(params)
            local answer = server.command(params.command)
            if answer.status ~= "SUCCESS" then return nil, answer.description end
            return answer.data or json.null
          end)"#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::new().workers(2).block(&block(&folder, script, "")).block(&cli::administrator());
    let server = Server::start(&config);
    let _publisher = ffmpeg::publish_film(&url(&server, "film")).start();
    server.wait_for_publisher("film");
    let mut session = Session::operator(&server);
    for command in ["help", "listStreamsIds", "listServices", "listInboundStreamNames"] {
        let direct = session.done(command);
        assert_eq!(session.done(&format!("throughLua command={command}")), direct, "{command}");
    }
    let name = |streams: Value| streams[0]["name"].clone();
    let direct = name(session.done("listStreams"));
    assert_eq!(direct, "film");
    assert_eq!(name(session.done("throughLua command=listStreams")), direct);
    let refused = session.fails("throughLua command=setLogLevel");
    assert!(refused.contains("may not"), "{refused}");
    assert!(session.fails("throughLua command=listSteams").contains("listStreams"), "a suggestion");
    server.stop();
}

#[test]
fn a_half_written_file_changes_nothing_and_a_whole_one_takes_over() {
    let version = "function on_load() timer.every(0.05, function() shared.ticks = (shared.ticks or 0) + 1 end) end\n\
                   function on_publish(client, id, name) return name .. '-v1' end";
    let (server, folder) = server(version, "");
    let file = folder.path().join("app.lua");
    let mut first = ffmpeg::publish_film(&url(&server, "one")).start();
    server.wait_for_publisher("one-v1");
    fs::write(&file, "function on_publish(client, id,").expect("the file is written");
    server.wait_for_log("cannot be loaded");
    let mut second = ffmpeg::publish_film(&url(&server, "two")).start();
    server.wait_for_publisher("two-v1");
    // Of the timer of the version before nothing may be left.
    let quiet = "function on_load()\n\
                   shared.found = shared.ticks\n\
                   timer.after(0.5, function() shared.later = shared.ticks end)\n\
                 end\n\
                 server.add_command('ticks', { read_only = true }, function() return shared end)\n\
                 function on_publish(client, id, name) return name .. '-v22' end";
    replace(&file, quiet);
    server.wait_for_log("has changed and is loaded");
    let mut third = ffmpeg::publish_film(&url(&server, "three")).start();
    server.wait_for_publisher("three-v22");
    assert!(first.runs() && second.runs(), "sessions stay");
    let mut session = Session::operator(&server);
    let ticks = wait_for("half a second of the new version", SOON, || {
        Some(session.done("ticks")).filter(|ticks| ticks["later"].is_number())
    });
    assert!(ticks["found"].as_u64() > Some(0) && ticks["found"] == ticks["later"], "{ticks}");
    for publisher in [&mut first, &mut second, &mut third] {
        publisher.kill();
    }
    server.stop();
}

/// As editors write: another file, moved into the place.
fn replace(file: &Path, text: &str) {
    let draft = file.with_extension("part");
    fs::write(&draft, text).expect("the file is written");
    fs::rename(draft, file).expect("the file is moved");
}

#[test]
fn a_script_tests_itself_without_a_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("app.lua");
    let run = |script: &str| {
        fs::write(&file, script).expect("a temporary file");
        Launch::new(Server::executable()).arg("--test-app").arg(&file).run()
    };
    let good = run("function test_one() assert(test.publish(test.client(), 'x').accepted) end");
    assert!(good.code == Some(0) && good.stdout.contains("1 tests, 0 failed"), "{good:?}");
    let bad = run("function test_two() error('on purpose') end");
    assert!(bad.code == Some(1) && bad.stdout.contains("app.lua:1: on purpose"), "{bad:?}");
    let none = run("x = 1");
    assert!(none.code == Some(1) && none.stderr.contains("test_"), "{none:?}");
}
