//! A new version of an application beside the one that runs, and applications that are disabled and enabled.

use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::path::Path;

use crtmp_tests::cli::{self, Session};
use crtmp_tests::numbered::Shape;
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Config, Server, folder_of_programs, wait_for};
use serde_json::json;

use crate::SOON;
use crate::containment::application;
use crate::crowd::{Crowd, Pace};

const SHAPE: Shape = Shape { picture: 2000, gop: 25, interval: 40 };

fn library(version: u32) -> String {
    let file = format!("{}version{version}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    folder_of_programs().join(file).display().to_string()
}

fn stage() -> Server {
    stage_with("")
}

fn stage_with(keys: &str) -> Server {
    Server::start(&config(1, keys))
}

fn config(version: u32, keys: &str) -> Config {
    config_with(&library(version), keys)
}

fn config_with(library: &str, keys: &str) -> Config {
    let block = format!("{{ name = \"versioned\", library = {library:?}, {keys} }}");
    Config::new().workers(2).block(&block).block(&cli::administrator())
}

/// A client of the application, whichever version it gets.
fn client(server: &Server) -> Client {
    Client::connected(server.address(), "versioned")
}

/// Demands that the version which a client has is this one.
fn assert_version(client: &mut Client, version: u32) {
    client.send(&Message::command(0, "version", 8.0, &[amf::null()]));
    client.expect(&format!("version {version}"));
}

#[test]
fn another_version_takes_new_connections_and_the_old_one_keeps_its_own() {
    let server = stage();
    let mut cli = Session::operator(&server);
    let mut crowd = Crowd::of_application(&server, "versioned", "news", SHAPE);
    crowd.join(20, Pace::Fast);
    crowd.go_on_for(10);
    let mut old = client(&server);
    assert_version(&mut old, 1);
    assert_eq!(cli.done("whichVersion"), json!([1, 22]), "a publisher, 20 players and a client");

    let same = cli.run(&format!("loadApplication name=versioned library={}", library(1)));
    assert_eq!(same["status"], "FAIL", "{same}");
    let wrong = format!("{}wrongmajor{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let wrong = folder_of_programs().join(wrong);
    let wrong = cli.run(&format!("loadApplication name=versioned library={}", wrong.display()));
    let text = wrong["description"].as_str().expect("a text");
    assert!(text.contains("plugin ABI 2, this server has 1"), "{text}");
    let missing = cli.run("loadApplication name=versioned library=/no/such/library.so");
    assert_eq!(missing["status"], "FAIL", "{missing}");
    assert_eq!(cli.done("whichVersion"), json!([1, 22]), "what failed has changed nothing");

    let loaded = cli.done(&format!("loadApplication name=versioned library={}", library(2)));
    assert_eq!(loaded["oldInstances"], 1, "{loaded}");
    assert_eq!(cli.done("whichVersion"), json!([2, 0]), "the newer instance has the command");
    let mut new = client(&server);
    assert_version(&mut new, 2);
    assert_version(&mut old, 1);
    // Both versions have the same streams.
    crowd.join(5, Pace::Fast);
    crowd.go_on_for(50);
    crowd.assert_fast_are_whole();
    assert_eq!(cli.done("whichVersion"), json!([2, 6]));
    assert_eq!(application(&mut cli, "versioned")["oldInstances"], 1);

    drop((crowd, old));
    wait_for("the end of the old version", SOON, || {
        (application(&mut cli, "versioned")["oldInstances"] == 0).then_some(())
    });
    assert_eq!(application(&mut cli, "versioned")["connections"], 1);
    assert_version(&mut new, 2);
    assert_eq!(cli.done("whichVersion")[0], 2, "the old version takes no command with it");
    assert!(!server.stop().contains("left behind"));
}

#[test]
fn a_loaded_version_stays_over_reloads_until_the_file_names_another_library() {
    let server = stage();
    let mut cli = Session::operator(&server);
    cli.done(&format!("loadApplication name=versioned library={}", library(2)));
    let kept = json!([{ "name": "versioned", "library": library(2) }]);
    let mut client = client(&server);
    assert_version(&mut client, 2);
    // The same file, and one with another key of the block.
    for keys in ["", "maxConnections = 5"] {
        server.rewrite(&config(1, keys));
        let plan = cli.done("reload plan=1");
        assert_eq!(plan["keepLoaded"], kept, "{plan}");
        assert_eq!(plan["start"].as_array().map(Vec::len), Some(usize::from(!keys.is_empty())), "{plan}");
        assert_eq!(cli.done("reload")["keptLoaded"], kept);
        assert_eq!(cli.done("whichVersion")[0], 2);
    }
    server.wait_for_log("which loadApplication has loaded");
    assert_version(&mut client, 2);
    // The file names it itself; from then on the file alone counts.
    for version in [2, 1] {
        server.rewrite(&config(version, ""));
        assert_eq!(cli.done("reload plan=1")["keepLoaded"], json!([]));
        assert_eq!(cli.done("reload")["keptLoaded"], json!([]));
        assert_eq!(cli.done("whichVersion")[0], version);
    }
    // Loaded twice, it is still the file that says when it goes.
    cli.done(&format!("loadApplication name=versioned library={}", library(2)));
    server.rewrite(&config(1, ""));
    assert_eq!(cli.done("reload")["keptLoaded"], kept);
    drop(client);
    server.stop();
}

/// It is in memory; the configuration file names another one.
#[test]
fn a_loaded_version_stays_over_reloads_without_its_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = format!("loadFrom = {{ {:?} }},", folder.path());
    let server = stage_with(&keys);
    let mut cli = Session::operator(&server);
    let file = folder.path().join("version2.so");
    fs::copy(library(2), &file).expect("the library");
    cli.done(&format!("loadApplication name=versioned library={}", file.display()));
    fs::remove_file(&file).expect("it is there");
    for (keys, started) in [(keys.clone(), 0), (format!("{keys} maxConnections = 5"), 1)] {
        server.rewrite(&config(1, &keys));
        let plan = cli.done("reload plan=1");
        assert_eq!(plan["start"].as_array().map(Vec::len), Some(started), "{plan}");
        assert_eq!(cli.done("reload")["keptLoaded"][0]["library"], json!(file));
        assert_eq!(cli.done("whichVersion")[0], 2);
    }
    // What the configuration file names must be there.
    let missing = folder.path().join("missing.so").display().to_string();
    server.rewrite(&config_with(&missing, ""));
    assert!(cli.fails("reload").contains("missing.so"));
    server.rewrite(&config(1, "maxConnections = 6"));
    cli.done("reload");
    server.stop();
}

/// What the plan does not name does not change.
#[test]
fn a_path_means_what_was_loaded_and_a_link_what_it_leads_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    // As installers do it: in one step, by a new name for what is ready.
    let copy = |version: u32, name: &str| {
        fs::copy(library(version), path("draft")).expect("the library");
        fs::rename(path("draft"), path(name)).expect("the same folder");
    };
    let link = |to: &Path| {
        symlink(to, path("draft")).expect("a link");
        fs::rename(path("draft"), path("current.so")).expect("the same folder");
    };
    copy(1, "one.so");
    copy(2, "two.so");
    link(&path("one.so"));
    let server = Server::start(&config_with(&path("current.so").display().to_string(), ""));
    let mut cli = Session::operator(&server);
    let mut client = client(&server);
    let mut reload = |planned: &[&str], version: u32| {
        assert_eq!(cli.done("reload plan=1")["start"], json!(planned));
        assert_eq!(cli.done("reload")["started"], json!(planned));
        assert_eq!(cli.done("whichVersion")[0], version);
        application(&mut cli, "versioned")["library"].clone()
    };
    copy(2, "one.so");
    assert_eq!(reload(&[], 1), json!(path("one.so").canonicalize().expect("a file")));
    link(&path("two.so"));
    assert_eq!(reload(&["versioned"], 2), json!(path("two.so").canonicalize().expect("a file")));
    reload(&[], 2);
    assert_version(&mut client, 1);
    server.wait_for_log("one.so has changed since it was loaded");
    let again = cli.fails(&format!("loadApplication name=versioned library={}", path("one.so").display()));
    assert!(again.contains("a file of another name"), "{again}");
    server.stop();
}

#[test]
fn a_reload_that_fails_leaves_no_thread_behind() {
    let server = stage();
    let mut cli = Session::operator(&server);
    let sinks = "{ sinks = { { type = \"file\", filename = \"/nowhere/events\", format = \"json\" } } }";
    let more = "{ name = \"misbehaving\", drop = \"sleep300\" }";
    server.rewrite(&config(1, "").top("eventLogger", sinks).block(more));
    assert!(cli.fails("reload").contains("eventLogger.sinks[1].filename"));
    let log = server.stop();
    assert!(!log.contains("left behind"), "{log}");
}

#[test]
fn a_disabled_application_lets_its_streams_go_on_and_an_enabled_one_is_new() {
    let server = stage();
    let mut cli = Session::operator(&server);
    let mut crowd = Crowd::of_application(&server, "versioned", "news", SHAPE);
    crowd.join(20, Pace::Fast);
    cli.done("disableApplication name=versioned");
    let mut refused = Client::shaken(server.address());
    refused.send(&wire::connect("versioned", "rtmp://x/versioned"));
    refused.expect("is disabled");
    let reply = cli.run("whichVersion");
    assert!(reply["description"].as_str().is_some_and(|text| text.contains("is disabled")), "{reply}");
    crowd.go_on_for(25);
    cli.done("enableApplication name=versioned");
    assert_eq!(cli.done("whichVersion"), json!([1, 0]));
    assert_version(&mut client(&server), 1);
    crowd.join(5, Pace::Fast);
    crowd.go_on_for(25);
    crowd.assert_fast_are_whole();
    drop(crowd);
    wait_for("the end of the disabled instance", SOON, || {
        (application(&mut cli, "versioned")["oldInstances"] == 0).then_some(())
    });
    server.stop();
}

#[test]
fn who_was_disabled_by_panics_refuses_what_it_has_no_hook_for() {
    let server = stage();
    let mut cli = Session::operator(&server);
    let mut publisher = Client::publisher(server.address(), "versioned", "news");
    let mut client = client(&server);
    client.create_stream();
    for _ in 0..10 {
        client.send(&Message::command(0, "panic", 8.0, &[amf::null()]));
        client.expect("failed");
    }
    wait_for("its end", SOON, || (application(&mut cli, "versioned")["health"] == "disabled").then_some(()));
    for message in [wire::publish(1, "other news"), wire::play(1, "news")] {
        client.send(&message);
        client.expect("is disabled");
    }
    publisher.expect_open();
    cli.done("enableApplication name=versioned");
    drop(Client::publisher(server.address(), "versioned", "other news"));
    server.stop();
}

#[test]
fn an_application_has_as_many_connections_as_it_may_over_all_versions() {
    let server = stage_with("maxConnections = 2");
    let mut cli = Session::operator(&server);
    let refused = || {
        let mut client = Client::shaken(server.address());
        client.send(&wire::connect("versioned", "rtmp://x/versioned"));
        client.expect("(maxConnections)");
    };
    let first = client(&server);
    let second = client(&server);
    refused();
    cli.done(&format!("loadApplication name=versioned library={}", library(2)));
    refused();
    drop(first);
    wait_for("a place", SOON, || (application(&mut cli, "versioned")["connections"] == 1).then_some(()));
    let mut third = client(&server);
    assert_version(&mut third, 2);
    refused();
    drop((second, third));
    wait_for("all places", SOON, || (application(&mut cli, "versioned")["connections"] == 0).then_some(()));
    server.stop();
}

#[test]
fn who_has_said_all_still_gets_the_answer() {
    let server = stage();
    let mut session = Session::operator(&server);
    session.write(b"whichVersion\n");
    session.socket().shutdown(Shutdown::Write).expect("it is open");
    let answer = String::from_utf8(session.rest()).expect("text");
    assert!(answer.contains("SUCCESS") && answer.contains("[1,0]"), "{answer}");
    server.stop();
}
