//! What BLS offered its scripts, word for word, in a Lua application: each line of the script's log names the
//! word that it shows. What needs a second server is not here.

use std::fs;
use std::net::SocketAddr;

use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Config, Kind, Program, Recording, Server, ffmpeg, wait_for};

use crate::SOON;

const SCRIPT: &str = r#"
local function say(...) log.info("bls: " .. table.concat({ ... }, " ")) end

function on_accept(client) say("accepted", client.client_id, client.address) end

function on_connect(client, info)
  client.visits = (client.visits or 0) + 1
  if client.query == "no" then
    return client:accept(false, "NetConnection.Connect.Rejected", "not today")
  end
  say("connect", client.client_id, client.visits, info.app)
  client:accept(true)
  client:call("tellMe", { {}, { data = 66 } }, function(flag, args) say("told", flag, tostring(args[2])) end)
  client:call("noAnswerAsked", { json.null, "x" })
end

function on_close(client, reason) say("closed", client.client_id, tostring(client:is_closed())) end
function on_publish(client, id, name) client:publish(id, name .. "-p") end
function on_play(client, id, name) client:play(id, name .. "-p") end
function on_metadata(client, values, name) say("metadata", name, values.width) end
function on_unpublish(client, name) say("unpublish", name) end
function on_unplay(client, name) say("unplay", name) end
function on_play_stop(client, name) say("play_stop", name) end
function on_pong(client, delay, received) say("pong", delay >= 0 and "delay" or "?", received > 1000 and "bytes" or "few") end

local publisher, frames = nil, 0
function on_stream(name, live, client) if live then publisher = client end end

function on_message(client, id, command, object, data)
  if command == "headers" then
    client:result("_result", id, { json.null, #publisher:get_avc_sh(), #publisher:get_aac_sh() })
  elseif command == "watch" then
    publisher:enable_av_cb(function(kind, time, is_sh, is_key, bytes)
      frames = frames + 1
      say("av", kind, is_sh and "header" or is_key and "key" or "inter", #bytes > 0 and "bytes" or "none")
    end)
    client:result("_result", id, { json.null, "watching" })
  elseif command == "unwatch" then
    publisher:disable_av_cb()
    client:result("_result", id, { json.null, "frames " .. frames })
  elseif command == "stop" then
    publisher:unpublish()
  elseif command == "error" then
    client:result("_error", id, { json.null, data .. " is wrong" })
  elseif command == "bye" then
    client:close()
  else
    say("custom", command, id, tostring(data))
  end
end
"#;

fn server(keys: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("app.lua");
    fs::write(&file, SCRIPT).expect("a temporary file");
    let acceptor = r#"{ ip = "127.0.0.1", port = 0, protocol = "inboundRtmp" }"#;
    let block = format!(
        "{{ name = \"bls\", library = \"vmapp\", script = {file:?}, acceptors = {{ {acceptor} }}, {keys} }}"
    );
    (Server::start(&Config::new().workers(2).block(&block)), folder)
}

/// The acceptor of the application itself.
fn address(server: &Server) -> SocketAddr {
    server.services()[1].address
}

fn url(server: &Server, stream: &str) -> String {
    format!("rtmp://{}/bls/{stream}", address(server))
}

/// A connection whose connect has been answered.
fn client(server: &Server) -> Client {
    let mut client = Client::shaken(address(server));
    client.send(&wire::connect("bls", "rtmp://localhost/bls"));
    client.expect("NetConnection.Connect.Success");
    client
}

fn pictures(player: &Program, count: usize) {
    wait_for("pictures", SOON, || {
        (Recording::of_program(player).of(Kind::Video).len() > count).then_some(())
    });
}

fn command(name: &str, id: f64, data: &str) -> Message {
    Message::command(0, name, id, &[amf::null(), amf::string(data)])
}

/// B-9, B-17 to B-22, B-31, B-34, B-35, B-43.
#[test]
fn a_connection_is_accepted_called_answered_and_closed() {
    let (server, _folder) = server("");
    let mut refused = Client::shaken(address(&server));
    refused.send(&wire::connect("bls?no", "rtmp://localhost/bls?no"));
    assert!(refused.expect("NetConnection.Connect.Rejected").says("not today"));
    refused.expect_close(SOON);

    let mut client = client(&server);
    server.wait_for_log("bls: accepted ");
    server.wait_for_log(" 1 bls");
    let call = client.expect("tellMe");
    assert!(call.says("data"), "{call:?}");
    client.expect("noAnswerAsked");
    client.send(&Message::command(
        0,
        "_error",
        call.number_behind("tellMe"),
        &[amf::null(), amf::string("cannot")],
    ));
    server.wait_for_log("bls: told _error cannot");

    client.send(&command("anything", 9.0, "some data"));
    server.wait_for_log("bls: custom anything");
    client.send(&command("error", 10.0, "this"));
    let error = client.expect("this is wrong");
    assert!(error.says("_error"), "{error:?}");
    client.send(&command("bye", 11.0, ""));
    client.expect_close(SOON);
    server.wait_for_log("bls: closed ");
    assert!(
        server.log().lines().any(|line| line.contains("bls: closed") && line.contains("true")),
        "is_closed"
    );
    server.stop();
}

/// B-14, B-26 to B-30, B-32, B-33, B-36 to B-42.
#[test]
fn a_stream_is_published_watched_played_and_ended() {
    let (server, _folder) = server("pingInterval = 0.1");
    // What differs from BLS (B-28): a play that is let in before its stream is there waits, and then plays.
    let early = Recording::start(&url(&server, "news"));
    server.wait_for_log("playing");
    let mut publisher = ffmpeg::publish_film(&url(&server, "news")).start();
    server.wait_for_publisher("news-p");
    pictures(&early, 20);
    server.wait_for_log("bls: metadata news-p 192");
    server.wait_for_log("bls: pong delay bytes");

    let mut client = client(&server);
    client.send(&command("headers", 20.0, ""));
    let answer = client.expect("_result");
    assert!(answer.number_behind("_result") > 19.0, "{answer:?}");
    client.send(&command("watch", 21.0, ""));
    client.expect("watching");
    for kind in ["video key", "video inter", "audio"] {
        server.wait_for_log(&format!("bls: av {kind}"));
    }
    client.send(&command("unwatch", 22.0, ""));
    client.expect("frames ");
    server.wait_for_log("bls: av audio");
    let seen = || server.log().matches("bls: av ").count();
    let before = seen();
    let so_far = Recording::of_program(&early).of(Kind::Video).len();
    pictures(&early, so_far + 20);
    assert_eq!(seen(), before, "frames after disable_av_cb");

    let mut leaving = Recording::start(&url(&server, "news"));
    pictures(&leaving, 5);
    leaving.kill();
    server.wait_for_log("bls: unplay news-p");

    client.send(&command("stop", 23.0, ""));
    server.wait_for_log("bls: unpublish news-p");
    server.wait_for_log("bls: play_stop news-p");
    early.wait(SOON);
    publisher.kill();
    server.stop();
}

/// B-12 and B-16.
#[test]
fn connections_and_commands_are_bounded() {
    let (server, _folder) = server("maxConnections = 1, maxCommandBytes = 2048");
    let mut one = client(&server);
    let mut two = Client::shaken(address(&server));
    two.send(&wire::connect("bls", "rtmp://localhost/bls"));
    two.expect("NetConnection.Connect.Rejected");
    two.expect_close(SOON);
    one.send(&command("short", 4.0, &"x".repeat(1000)));
    server.wait_for_log("bls: custom short");
    one.send(&command("long", 5.0, &"x".repeat(4000)));
    one.expect_close(SOON);
    server.stop();
}
