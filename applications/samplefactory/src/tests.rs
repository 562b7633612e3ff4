//! The application with a server that is not there.

use crtmp_plugin::testing::{FakeHost, conn};
use serde_json::json;

use super::*;

fn error(reply: &Reply) -> String {
    match reply {
        Reply::Error(value) => value["description"].as_str().unwrap_or_default().to_owned(),
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn lines_name_host_and_target() {
    for (line, expected) in [
        ("GET http://a:8080/b/c?d", Some(("a:8080", "/b/c?d"))),
        ("GET http://a", Some(("a", "/"))),
        ("GET http:///b", None),
        ("GET http://a b/c", None),
        ("GET http://a/b c", None),
        ("GET https://a/b", None),
        ("", None),
    ] {
        assert_eq!(address(line), expected, "{line:?}");
    }
    for (host, expected) in [("a", false), ("a:1", true), ("[::1]", false), ("[::1]:1", true)] {
        assert_eq!(has_port(host), expected, "{host}");
    }
}

#[test]
fn downloads_are_allowed_by_name_and_bounded() {
    let mut host = FakeHost::new::<SampleFactory>(r#"{"downloadFrom":["a:1"]}"#).unwrap();
    let mut peer = conn(1, "");
    peer.chain = "echoProtocol".to_owned();
    let mut ask = |line: &str| host.message(&peer, "download", &[json!(line)]);
    assert!(error(&ask("GET http://b:1/")).contains("`downloadFrom`"));
    for _ in 0..DOWNLOADS {
        assert_eq!(ask("GET http://a:1/x"), Reply::Later);
    }
    assert!(error(&ask("GET http://a:1/x")).contains("16 downloads already"));
}

#[test]
fn a_file_that_is_none_stops_the_start() {
    let settings = r#"{"publishFile":{"name":"x","file":"/nowhere.flv"}}"#;
    let failure = FakeHost::new::<SampleFactory>(settings).err().unwrap().to_string();
    assert!(failure.contains("`publishFile.file` /nowhere.flv"), "{failure}");
    let settings = r#"{"publishFile":{"name":"","file":"/nowhere.flv"}}"#;
    let failure = FakeHost::new::<SampleFactory>(settings).err().unwrap().to_string();
    assert!(failure.contains("`publishFile.name`"), "{failure}");
}
