//! What a wrong configuration is told: the whole text, as a person sees it.

use std::fs;
use std::net::TcpListener;

use crtmp_tests::{Outcome, Server, folder_of_programs};

use crate::file;

/// A configuration that is right; the cases below spoil it in one place each.
const GOOD: &str = r#"configuration = {
  logAppenders = {
    { name = "console", type = "console", level = 2 },
  },
  applications = {
    rootDirectory = "/nowhere",
    {
      name = "appselector",
      default = true,
      acceptors = {
        { ip = "127.0.0.1", port = 0, protocol = "inboundRtmp" },
      },
    },
    {
      name = "flvplayback",
      aliases = { "live" },
    },
  },
}
"#;

/// Runs the server with a script that must be refused, and gives what it says, with paths of this machine
/// replaced.
fn refusal(script: &str) -> String {
    let (folder, path) = file("server.lua");
    fs::write(&path, script).expect("a temporary file");
    let Outcome { code, stdout, stderr, .. } = Server::run(&[&path.to_string_lossy()]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(!stdout.contains("Services"), "a start that fails shows no services: {stdout}");
    let programs = folder_of_programs();
    stderr
        .replace(&*folder.path().to_string_lossy(), "<folder>")
        .replace(&*programs.to_string_lossy(), "<programs>")
}

/// The good configuration with one text replaced by another.
fn spoiled(right: &str, wrong: &str) -> String {
    assert!(GOOD.contains(right), "{right}");
    refusal(&GOOD.replacen(right, wrong, 1))
}

#[test]
fn the_good_configuration_is_good() {
    let (_folder, path) = file("server.lua");
    fs::write(&path, GOOD).expect("a temporary file");
    Server::run(&["--check", &path.to_string_lossy()]).success();
}

/// What would keep every connection from being served is said at the start.
#[test]
fn a_layer_refuses_a_key() {
    let acceptor = "protocol = \"inboundHttpJsonCli\", hosts = { \"good.example\", \"bad host/x\" }";
    let found = spoiled("protocol = \"inboundRtmp\"", acceptor);
    let expected = "acceptors[1].hosts: found \"bad host/x\", expected a name like media.example";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn a_key_is_misspelt() {
    insta::assert_snapshot!(spoiled("protocol =", "protocl ="));
    insta::assert_snapshot!(spoiled("logAppenders", "logAppender"));
}

#[test]
fn a_value_has_the_wrong_type() {
    insta::assert_snapshot!(spoiled("port = 0", "port = \"RTMP\""));
    insta::assert_snapshot!(spoiled("aliases = { \"live\" }", "aliases = 5"));
}

#[test]
fn a_value_is_out_of_range() {
    insta::assert_snapshot!(spoiled("port = 0", "port = 70000"));
    insta::assert_snapshot!(spoiled("level = 2", "level = 9"));
}

#[test]
fn a_name_is_given_twice() {
    insta::assert_snapshot!(spoiled("name = \"flvplayback\"", "name = \"appselector\""));
    insta::assert_snapshot!(spoiled("\"live\"", "\"appselector\""));
}

#[test]
fn no_or_two_applications_are_the_default() {
    insta::assert_snapshot!(spoiled("default = true", "default = false"));
    insta::assert_snapshot!(spoiled("aliases = {", "default = true, aliases = {"));
}

#[test]
fn a_chain_is_unknown_or_comes_later() {
    insta::assert_snapshot!(spoiled("inboundRtmp", "inboundRmtp"));
    insta::assert_snapshot!(spoiled("inboundRtmp", "inboundRtsp"));
    insta::assert_snapshot!(spoiled("inboundRtmp", "outboundRtmp"));
}

#[test]
fn a_key_comes_later_or_never() {
    insta::assert_snapshot!(spoiled(
        "default = true",
        "default = true, mediaStorage = { { mediaFolder = \".\" } }"
    ));
    insta::assert_snapshot!(spoiled("logAppenders", "instancesCount = 4, logAppenders"));
}

#[test]
fn a_port_is_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let text = spoiled("port = 0", &format!("port = {port}"));
    insta::assert_snapshot!(text.replace(&port.to_string(), "<port>"));
}

/// CFG-03: all of them at once, each with its place.
#[test]
fn mistakes_come_together_and_a_log_must_be_writable() {
    let found = spoiled("level = 2", "level = 9").replace('\n', " ");
    assert!(found.contains("logAppenders[1].level"), "{found}");
    let both = GOOD.replacen("level = 2", "level = 9", 1).replacen(" = {", " = {\n  workers = 9999,", 1);
    let found = refusal(&both);
    for place in ["logAppenders[1].level", "configuration.workers"] {
        assert!(found.contains(place), "{place}: {found}");
    }
    let file = "type = \"file\", fileName = \"/nowhere/server.log\", level = 2";
    let found = spoiled("type = \"console\", level = 2", file);
    assert!(found.contains("/nowhere/server.log"), "{found}");
}

#[test]
fn a_library_is_missing() {
    insta::assert_snapshot!(spoiled("\"flvplayback\"", "\"flvplaybak\""));
    insta::assert_snapshot!(spoiled("aliases = {", "library = \"/nowhere/libx.so\", aliases = {"));
}

#[test]
fn a_library_is_no_library_of_ours() {
    insta::assert_snapshot!(spoiled("aliases = {", "library = \"/etc/hostname\", aliases = {"));
}

#[test]
fn the_script_fails() {
    insta::assert_snapshot!(refusal("configuration = {"));
    insta::assert_snapshot!(refusal("local x = nil\nconfiguration = { workers = x.y }"));
    insta::assert_snapshot!(refusal("while true do end"));
    insta::assert_snapshot!(refusal("configuraton = {}"));
}

#[test]
fn the_file_is_missing() {
    let outcome = Server::run(&["/nowhere/server.lua"]);
    assert_eq!(outcome.code, Some(1));
    insta::assert_snapshot!(outcome.stderr);
}
