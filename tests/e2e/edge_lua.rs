//! Clusters by script: BLS's edge server with its origin, and what its words do when the other side fails. Both hosts
//! are ours.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crtmp_tests::wire::{Client, Message, amf};
use crtmp_tests::{Config, Kind, Program, Recording, Server, ffmpeg, fixture, root, wait_for};
use nix::sys::signal::Signal;

use crate::{SOON, free_port};

/// A server with an application in Lua.
struct Scripted {
    server: Server,
    folder: tempfile::TempDir,
}

impl Scripted {
    fn start(config: Config, name: &str, script: &str, keys: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("app.lua");
        fs::write(&file, script).expect("a temporary file");
        let acceptor = r#"{ ip = "127.0.0.1", port = 0, protocol = "inboundRtmp" }"#;
        let block = format!(
            "{{ name = \"{name}\", library = \"vmapp\", script = {file:?}, acceptors = {{ {acceptor} }}, {keys} }}"
        );
        Self { server: Server::start(&config.workers(2).block(&block)), folder }
    }

    /// The edge server of `configs/scripts`, for an origin at this port.
    fn edge(origin: u16, config: Config) -> Self {
        let script = fs::read_to_string(root().join("configs/scripts/edge.lua")).expect("it is there");
        assert!(script.contains("port = 8956"), "the origin's port");
        let script = script.replace("port = 8956", &format!("port = {origin}"));
        Self::start(config, "edge", &script, "startPolicy = \"key\"")
    }

    /// The address of the application itself, where it has every connection.
    fn address(&self) -> SocketAddr {
        self.server.services()[1].address
    }

    fn url(&self, application: &str, stream: &str) -> String {
        format!("rtmp://{}/{application}/{stream}", self.address())
    }

    /// How often the log says this.
    fn times(&self, text: &str) -> usize {
        self.server.log().matches(text).count()
    }

    /// Waits until the log says it so often.
    fn wait_for_times(&self, text: &str, times: usize) {
        wait_for(&format!("{text:?} {times} times"), SOON, || (self.times(text) >= times).then_some(()));
        assert_eq!(self.times(text), times, "{text}");
    }

    /// A script that could not go on would have said so.
    fn stop(self) {
        let log = self.server.stop();
        assert!(!log.contains(" ERROR "), "{log}");
    }
}

/// An origin of `flvplayback` at this port, also called `live`.
fn origin(port: u16) -> Server {
    Server::start(&Config::new().workers(2).port(port).whole_groups())
}

fn pictures(player: &Program, count: usize) {
    wait_for("pictures", SOON, || {
        (Recording::of_program(player).of(Kind::Video).len() > count).then_some(())
    });
}

/// A player at the edge that is not let in.
fn expect_closed(edge: &Scripted, stream: &str) {
    let mut player = Client::player(edge.address(), "edge", stream);
    player.expect_close(SOON);
}

/// B-46, and B-45: a player's question is answered when the source has come.
#[test]
fn players_at_the_edge_get_the_stream_of_the_origin() {
    let origin = origin(free_port());
    let edge = Scripted::edge(origin.address().port(), Config::new());
    let mut publisher = ffmpeg::publish_film(&origin.url("news")).start();
    origin.wait_for_publisher("news");
    // Two that come at once share a pull, the third one finds it.
    let players: Vec<Program> = (0..2).map(|_| Recording::start(&edge.url("edge", "news"))).collect();
    players.iter().for_each(|player| pictures(player, 10));
    let third = Recording::start(&edge.url("edge", "news"));
    pictures(&third, 30);
    let film = Recording::of_file(fixture::film());
    for player in players.iter().chain([&third]) {
        let recording = Recording::of_program(player);
        recording.assert_part_of(&film);
        recording.assert_no_gap();
    }
    assert_eq!((edge.times("edge complete: news"), edge.times("edge for news close")), (1, 0));
    // The stream ends with its publisher, and the connection to the origin with the stream.
    origin.signal(Signal::SIGTERM);
    edge.server.wait_for_log("edge for news close");
    publisher.kill();
    edge.stop();
}

/// B-15 and B-47.
#[test]
fn an_origin_that_is_down_costs_the_players_that_ask_for_it() {
    let edge = Scripted::edge(free_port(), Config::new());
    expect_closed(&edge, "news");
    edge.wait_for_times("connect remote server fail", 1);
    edge.wait_for_times("pull stream fail: news", 1);
    // What is published at the edge itself does not need an origin.
    let mut publisher = ffmpeg::publish_film(&edge.url("edge", "own")).start();
    edge.server.wait_for_publisher("own");
    pictures(&Recording::start(&edge.url("edge", "own")), 10);
    publisher.kill();
    edge.stop();
}

/// An origin that gives up at each step on the way.
const UNWILLING: &str = r#"
function on_connect(client, info)
  if info.info ~= "custom info" then return false, "who are you?" end
  return true
end
function on_play(client, id, name)
  if name == "closes" then client:close() return end
  if name == "refuses" then return false, "not for you" end
  if name == "silent" then return end
  return true
end"#;

/// It says at once that a stream is missing, and never on its own that a player waits for too long.
const PATIENT: &str = "playWait = 0, laterTimeout = 60";

/// B-47: `close` before success is a failure.
#[test]
fn an_origin_that_gives_up_before_success_costs_the_players_that_ask_for_it() {
    let origin = Scripted::start(Config::new(), "origin", UNWILLING, PATIENT);
    let edge = Scripted::edge(origin.address().port(), Config::new().limit("callTimeout", "1"));
    for (at, stream) in ["closes", "refuses", "silent", "missing"].into_iter().enumerate() {
        expect_closed(&edge, stream);
        edge.wait_for_times(&format!("pull stream fail: {stream}"), 1);
        edge.wait_for_times(&format!("edge for {stream} close"), 1);
        assert_eq!(edge.times("pull stream fail"), at + 1);
    }
    assert_eq!(edge.times("edge complete"), 0);
    edge.stop();
    origin.stop();
}

/// An origin that lets players in when it is told to.
const SLOW: &str = r#"
local held
function on_play(client, id, name) held = function() client:play(id) end log.info("holds " .. name) end
function on_message(client, id, command) held() return "let in" end"#;

#[test]
fn a_player_that_leaves_while_it_waits_costs_nothing() {
    let origin = Scripted::start(Config::new(), "origin", SLOW, "");
    let address = origin.address();
    let edge = Scripted::edge(address.port(), Config::new());
    let mut publisher = ffmpeg::publish_film(&format!("rtmp://{address}/live/news")).start();
    origin.server.wait_for_publisher("news");

    let player = Client::player(edge.address(), "edge", "news");
    origin.server.wait_for_log("holds news");
    drop(player);
    edge.server.wait_for_log("closed by the peer");
    let mut operator = Client::connected(address, "live");
    operator.send(&Message::command(0, "let in", 4.0, &[amf::null()]));
    operator.expect("let in");
    edge.wait_for_times("edge complete: news", 1);
    // Who comes now is let in at once, without the origin.
    let player = Recording::start(&edge.url("edge", "news"));
    pictures(&player, 20);
    assert_eq!(edge.times("need pull from src host: news"), 1);
    publisher.kill();
    edge.stop();
    origin.stop();
}

#[test]
fn an_edge_whose_script_is_loaded_again_goes_on() {
    let origin = Server::start(&Config::new().workers(2).application("publisherReturn", "0"));
    let edge = Scripted::edge(origin.address().port(), Config::new());
    let mut publisher = ffmpeg::publish_film(&origin.url("news")).start();
    origin.wait_for_publisher("news");
    let first = Recording::start(&edge.url("edge", "news"));
    pictures(&first, 10);
    let file = edge.folder.path().join("app.lua");
    let script = fs::read_to_string(&file).expect("the script");
    fs::write(&file, script + "\n-- another version\n").expect("the file is written");
    edge.server.wait_for_log("has changed and is loaded");
    pictures(&Recording::start(&edge.url("edge", "news")), 10);
    assert_eq!(edge.times("need pull from src host"), 1, "it is known that the stream is here");
    // And to whom the connection to the origin belongs.
    publisher.kill();
    edge.server.wait_for_log("unpublished");
    edge.wait_for_times("edge for", 0);
    let to_origin = origin.address().to_string();
    wait_for("the connection to the origin to be closed", SOON, || {
        let connections = edge.server.counters().connections();
        connections.iter().all(|connection| connection.peer != to_origin).then_some(())
    });
    edge.stop();
    origin.stop();
}

#[test]
fn players_come_back_to_an_origin_that_returns() {
    let port = free_port();
    let first = origin(port);
    let edge = Scripted::edge(port, Config::new());
    let publish = |origin: &Server| {
        let publisher = ffmpeg::publish_film(&origin.url("news")).start();
        origin.wait_for_publisher("news");
        publisher
    };
    let mut publisher = publish(&first);
    let waits = Recording::start(&edge.url("edge", "news"));
    pictures(&waits, 20);
    first.signal(Signal::SIGKILL);
    edge.server.wait_for_log("edge for news close");
    publisher.kill();
    // While it is away nobody is let in, and nobody is kept waiting.
    expect_closed(&edge, "other");
    drop(first);
    let second = origin(port);
    let mut publisher = publish(&second);
    let player = Recording::start(&edge.url("edge", "news"));
    pictures(&player, 20);
    // Who was there before goes on (`publisherReturn`), with times that do.
    let so_far = Recording::of_program(&waits).of(Kind::Video).len();
    pictures(&waits, so_far + 20);
    Recording::of_program(&waits).assert_forward();
    edge.wait_for_times("edge complete: news", 2);
    publisher.kill();
    edge.stop();
    second.stop();
}

/// Tries a pull, and says how often each function was called.
const COUNTING: &str = r#"
function on_message(client, id, command, object, port, stream)
  local seen = { made = 0, connect = 0, done = 0, failed = 0 }
  local function saw(what) seen[what] = seen[what] + 1 end
  local function over()
    timer.after(0.3, function() -- what comes twice would have come by then
      log.info(("over %s: made %d connect %d done %d failed %d"):format(
        stream, seen.made, seen.connect, seen.done, seen.failed))
    end)
  end
  remote_connect("127.0.0.1", port, function(far, why)
    saw("made")
    if not far then return over() end
    far:on("close", over)
    far:connect({ app = "live", info = "custom info" }, function(flag, args)
      saw("connect")
      far:edge(stream, function() saw("done") far:close() end, function() saw("failed") far:close() end)
      if stream == "hasty" then far:close() end
    end)
  end)
  return "tries"
end"#;

/// B-23, B-24: a function is called once, however it ends.
#[test]
fn each_function_is_called_once_however_it_ends() {
    let origin = Scripted::start(Config::new(), "origin", UNWILLING, PATIENT);
    let config = Config::new().limit("callTimeout", "1").limit("handshakeTimeout", "1");
    let caller = Scripted::start(config, "caller", COUNTING, "");

    let closes = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closing = closes.local_addr().expect("an address").port();
    thread::spawn(move || closes.incoming().for_each(drop));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silence = silent.local_addr().expect("an address").port();
    let port = origin.address().port();
    let once = [
        (free_port(), "nobody", "made 1 connect 0 done 0 failed 0"),
        (closing, "closing", "made 1 connect 1 done 0 failed 1"),
        (silence, "silence", "made 1 connect 1 done 0 failed 1"),
        (port, "closes", "made 1 connect 1 done 0 failed 1"),
        (port, "refuses", "made 1 connect 1 done 0 failed 1"),
        (port, "silent", "made 1 connect 1 done 0 failed 1"),
        (port, "missing", "made 1 connect 1 done 0 failed 1"),
        (port, "hasty", "made 1 connect 1 done 0 failed 1"),
    ];
    let mut client = Client::connected(caller.address(), "caller");
    for (port, stream, _) in once {
        let args = [amf::null(), amf::number(port.into()), amf::string(stream)];
        client.send(&Message::command(0, "try", 3.0, &args));
        client.expect("tries");
    }
    for (_, stream, counts) in once {
        caller.server.wait_for_log(&format!("over {stream}: "));
        caller.wait_for_times(&format!("over {stream}: {counts}"), 1);
    }
    drop(silent);
    caller.stop();
    origin.stop();
}

/// B-25 and B-48: what is published here goes on to another server.
#[test]
fn a_stream_is_pushed_as_long_as_it_lives() {
    let config = Config::new().workers(2).whole_groups();
    let target = Server::start(&config.application("duplicatePublisher", "\"reject\""));
    let script = r#"
        function on_stream(name, live)
          if not live or name ~= "news" then return end
          remote_connect("127.0.0.1", PORT, function(far)
            far:on("play_stop", function(name) log.info("push over " .. name) far:close() end)
            far:connect({ app = "live" }, function()
              far:push({ name = name, as = "copy" }, function() log.info("pushed " .. name) end, log.warn)
              far:push({ name = name, as = "taken" }, function() log.info("wrong") end, function(text, code)
                log.info("not pushed " .. code)
              end)
            end)
          end)
        end"#;
    let script = script.replace("PORT", &target.address().port().to_string());
    let source = Scripted::start(Config::new(), "source", &script, "publisherReturn = 0");
    // B-44: a live name is refused to a second publisher.
    let _first = Client::publisher(target.address(), "live", "taken");
    target.wait_for_publisher("taken");
    let mut publisher = ffmpeg::publish_film(&source.url("source", "news")).start();
    source.server.wait_for_log("pushed news");
    source.server.wait_for_log("not pushed NetStream.Publish.BadName");
    let player = Recording::start(&target.url("copy"));
    pictures(&player, 30);
    let recording = Recording::of_program(&player);
    recording.assert_part_of(&Recording::of_file(fixture::film()));
    recording.assert_no_gap();
    publisher.kill();
    source.server.wait_for_log("push over news");
    assert_eq!((source.times("pushed news"), source.times("wrong")), (1, 0));
    source.stop();
    target.stop();
}

/// Calls in both directions, pings, fields: a client that the script has made is one like all others.
#[test]
fn a_client_of_ones_own_is_one_like_all_others() {
    let answers = r#"
        function on_connect(client)
          client:accept()
          client:call("hello", { json.null, 5 }, function(flag, args) log.info("heard " .. flag .. " " .. args[2]) end)
        end
        function on_message(client, id, command, object, data)
          client:result("_result", id, { json.null, data + 1 })
          client:close()
        end"#;
    let origin = Scripted::start(Config::new(), "origin", answers, "");
    let port = origin.address().port();
    let script = r#"
        function on_message(client, id, command, object, data)
          log.info("global " .. command .. " for " .. client.field)
          return data * 2
        end
        function on_load()
          local far = remote_connect("localhost", PORT)
          far.field = "mine"
          local flag, args = far:connect()
          log.info("connected " .. flag .. " " .. args[2].code .. " " .. tostring(far:is_closed()))
          far:on("pong", function(delay, received)
            far:on("pong", nil)
            log.info("pong " .. tostring(delay >= 0 and received > 1000))
            far:call("question", { json.null, 1 }, function(flag, args) log.info("answer " .. flag .. " " .. args[2]) end)
          end)
          far:on("close", function() log.info("left " .. tostring(far:is_closed()) .. " " .. far.field) end)
        end"#;
    let script = script.replace("PORT", &port.to_string());
    let caller = Scripted::start(Config::new(), "caller", &script, "pingInterval = 0.1");
    for line in [
        "connected _result NetConnection.Connect.Success false",
        "global hello for mine",
        "pong true",
        "answer _result 2",
        "left true mine",
    ] {
        caller.server.wait_for_log(line);
    }
    origin.server.wait_for_log("heard _result 10");
    caller.stop();
    origin.stop();
}

/// What is published by a client is heard of, also where the client is ours.
#[test]
fn a_stream_that_is_pulled_is_published_by_its_client() {
    let config = Config::new().workers(2).application("publisherReturn", "0");
    let origin = Server::start(&config);
    let script = r#"
        function on_stream(name, live, client)
          log.info(("stream %s %s of %s"):format(name, tostring(live), client and client.field or "nobody"))
        end
        function on_message(client, id, command, object, stream)
          local far, kinds = remote_connect("127.0.0.1", PORT), {}
          far.field = stream
          far:on("metadata", function(values, name) log.info("metadata " .. name .. " " .. values.width) end)
          far:on("unpublish", function(name) log.info("unpublished " .. name) end)
          far:enable_av_cb(function(kind, time, is_header, is_key, data)
            kinds[kind] = (kinds[kind] or 0) + 1
            if kinds.audio ~= 10 then return end
            far:disable_av_cb()
            log.info(("frames of %s: %s headers %d %d"):format(
              stream, tostring((kinds.video or 0) > 1), #far:get_avc_sh(), #far:get_aac_sh()))
            if stream == "mine" then far:unpublish() end
          end)
          far:connect({ app = "live" })
          local good, text = far:edge{ name = "film?some=query", as = stream }
          return good and "pulled" or text
        end"#;
    let script = script.replace("PORT", &origin.address().port().to_string());
    let caller = Scripted::start(Config::new(), "caller", &script, "");
    let mut publisher = ffmpeg::publish_film(&origin.url("film")).start();
    origin.wait_for_publisher("film");
    let mut client = Client::connected(caller.address(), "caller");
    for stream in ["mine", "theirs"] {
        client.send(&Message::command(0, "pull", 3.0, &[amf::null(), amf::string(stream)]));
        client.expect("pulled");
        caller.server.wait_for_log(&format!("stream {stream} true of {stream}"));
        caller.server.wait_for_log(&format!("metadata {stream} 192"));
        caller.server.wait_for_log(&format!("frames of {stream}: true headers 4"));
    }
    // HOOK-05 and B-44: a name that is none, and one that is taken.
    for (stream, why) in [("a/../b", "stream name"), ("a//b", "stream name"), ("theirs", "published already")]
    {
        client.send(&Message::command(0, "pull", 3.0, &[amf::null(), amf::string(stream)]));
        let refusal = client.expect("_result");
        assert!(refusal.says(why), "{stream}: {refusal:?}");
    }
    // The first one the script ends itself, the other one ends with its stream.
    caller.server.wait_for_log("unpublished mine");
    caller.server.wait_for_log("stream mine false of mine");
    assert_eq!(caller.times("unpublished theirs"), 0);
    publisher.kill();
    caller.server.wait_for_log("unpublished theirs");
    caller.stop();
    origin.stop();
}

/// More connections at once than addresses are looked up: who finds no room is told like who finds nobody.
#[test]
fn each_of_very_many_connections_is_told_of_once() {
    let origin = origin(free_port());
    let script = r#"
        local made, failed = 0, 0
        local function try(port)
          remote_connect("localhost", port, function(far)
            if far then made = made + 1 far:close() else failed = failed + 1 end
            if made + failed == 600 then log.info(("told of all: %s"):format(tostring(made > 0 and failed >= 300))) end
          end)
        end
        function on_message(client, id, command, object)
          for _ = 1, 300 do try(PORT) try(DEAD) end
          timer.after(2, function() log.info(("in the end %d"):format(made + failed)) end)
          return "tries"
        end"#;
    let port = origin.address().port().to_string();
    let script = script.replace("PORT", &port).replace("DEAD", &free_port().to_string());
    let caller = Scripted::start(Config::new(), "caller", &script, "");
    let mut client = Client::connected(caller.address(), "caller");
    client.send(&Message::command(0, "try", 3.0, &[amf::null()]));
    client.expect("tries");
    caller.server.wait_for_log("told of all: true");
    caller.server.wait_for_log("in the end 600");
    caller.stop();
    origin.stop();
}
