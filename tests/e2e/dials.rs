//! Connections that applications make by an address: every scheme, with its keys for TLS; and servers that ask them to connect
//! again. From a plugin, and from a script.

use std::fs;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::wire::{Client, Message, amf};
use crtmp_tests::{Certificates, Config, Server, ffmpeg, wait_for};
use serde_json::{Value, json};

use crate::{SOON, assert_film, file};

/// The same as the plugin `dialer`.
const SCRIPT: &str = r#"
function on_message(client, id, command, object, address, keys, stream, here)
  if command ~= "dial" then return end
  local far, why = remote_connect(address .. "/live", json.decode(keys))
  if not far then return "not to be had: " .. why end
  far:on("reconnect", function(text, url)
    log.info("asked to connect again: " .. text .. ", at " .. (url or ""))
  end)
  local flag, args = far:connect()
  if flag ~= "_result" then return "not to be had: " .. tostring(args[2] and args[2].description) end
  local good, text = far:edge({ name = stream, as = here })
  return good and "it is here" or "not to be had: " .. text
end"#;

/// The chains that a server takes connections by, with the scheme of each.
const SCHEMES: [(&str, &str); 6] = [
    ("rtmp", "inboundRtmp"),
    ("rtmpe", "inboundRtmpe"),
    ("rtmps", "inboundRtmps"),
    ("rtmpt", "inboundRtmpt"),
    ("rtmpte", "inboundRtmpte"),
    ("rtmpts", "inboundRtmpts"),
];

fn origin(certificates: &Certificates) -> Server {
    let mut config = Config::new().whole_groups().block(&administrator());
    for (scheme, chain) in &SCHEMES[1..] {
        let keys = if scheme.ends_with('s') { certificates.keys("server") } else { String::new() };
        config = config.acceptor(&format!("protocol = \"{chain}\", {keys}"));
    }
    Server::start(&config)
}

/// Asks an application for a stream, and takes its answer.
fn dial(client: &mut Client, address: &str, keys: &Value, here: &str) -> Message {
    let texts = [address, &keys.to_string(), "one", here].map(amf::string);
    client.send(&Message::command(0, "dial", 3.0, &[vec![amf::null()], texts.to_vec()].concat()));
    client.expect("_result")
}

fn every_scheme_is_dialled(application: &str, config: Config) {
    let certificates = Certificates::new();
    let origin = origin(&certificates);
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let server = Server::start(&config);
    let mut client = Client::connected(server.address(), application);
    let trusted = json!({ "tlsCa": certificates.path("ca.pem") });
    for (scheme, chain) in SCHEMES {
        let keys = if scheme.ends_with('s') { trusted.clone() } else { json!({}) };
        let address = format!("{scheme}://localhost:{}", origin.address_of(chain).port());
        let answer = dial(&mut client, &address, &keys, scheme);
        assert!(answer.says("it is here"), "{scheme}: {answer:?}");
        assert_film(&format!("rtmp://{}/{application}/{scheme}", server.address()), 2);
    }
    let asked = Session::operator(&origin)
        .done("requestReconnect appName=live tcUrl=rtmp://elsewhere/live reason=maintenance");
    assert_eq!(asked["asked"].as_array().map(Vec::len), Some(SCHEMES.len()), "{asked}");
    wait_for("what was asked for", SOON, || {
        let log = server.log();
        let lines = log.matches("asked to connect again: maintenance, at rtmp://elsewhere/live").count();
        (lines == SCHEMES.len()).then_some(())
    });
    // It is served on.
    assert_film(&format!("rtmp://{}/{application}/rtmps", server.address()), 2);

    let port = origin.address_of("inboundRtmps").port();
    for (address, keys, why) in [
        (
            format!("rtmps://localhost:{port}"),
            json!({ "tlsCa": "/missing.pem" }),
            "certificates of authorities",
        ),
        (format!("rtmps://localhost:{port}"), json!({ "tlsCas": "x" }), "did you mean `tlsCa`?"),
        (
            format!("rtmp://localhost:{port}"),
            json!({ "tlsVerify": false }),
            "the chain \"outboundRtmp\" has no keys",
        ),
        (format!("rtmps://me:hidden@localhost:{port}"), json!({}), "more than scheme, host and port"),
        ("rtmp://169.254.169.254".to_owned(), json!({}), "169.254.0.0/16 in outboundPolicy.deny"),
    ] {
        let answer = dial(&mut client, &address, &keys, "x");
        assert!(answer.says("not to be had") && answer.says(why), "{why}: {answer:?}");
    }
    // What comes after the connection is made is why that ends.
    let answer = dial(&mut client, &format!("rtmps://localhost:{port}"), &json!({}), "x");
    assert!(answer.says("not to be had"), "{answer:?}");
    server.wait_for_log("of an authority that is not trusted");
    server.stop();
    origin.stop();
}

#[test]
fn a_plugin_dials_every_scheme_and_hears_who_wants_it_elsewhere() {
    every_scheme_is_dialled(
        "dialer",
        Config::new().whole_groups().block("{ name = \"dialer\", startPolicy = \"key\" }"),
    );
}

#[test]
fn a_script_dials_every_scheme_and_hears_who_wants_it_elsewhere() {
    let (_folder, script) = file("dialer.lua");
    fs::write(&script, SCRIPT).expect("a file of ours");
    let block =
        format!("{{ name = \"dialer\", library = \"vmapp\", script = {script:?}, startPolicy = \"key\" }}");
    every_scheme_is_dialled("dialer", Config::new().whole_groups().block(&block));
}

/// The applications that fetch and bring streams take addresses with TLS, and its keys.
#[test]
fn an_edge_and_a_proxy_go_by_tls() {
    let certificates = Certificates::new();
    let ca = certificates.path("ca.pem");
    let origin = origin(&certificates);
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let uri =
        |scheme: &str, chain: &str| format!("{scheme}://localhost:{}/live", origin.address_of(chain).port());
    let (fetched, brought) = (uri("rtmps", "inboundRtmps"), uri("rtmpts", "inboundRtmpts"));
    let edge =
        format!("{{ name = \"edge\", startPolicy = \"key\", origins = {{ {fetched:?} }}, tlsCa = {ca:?} }}");
    let proxy = format!(
        "{{ name = \"proxypublish\", abortOnConnectError = true,
           targetServers = {{ {{ targetUri = {brought:?}, targetStreamName = \"back\", tlsCa = {ca:?} }} }} }}"
    );
    let server = Server::start(&Config::new().whole_groups().block(&edge).block(&proxy));
    assert_film(&format!("rtmp://{}/edge/one", server.address()), 2);
    let _proxied = ffmpeg::publish_film(&format!("rtmp://{}/proxypublish/x", server.address())).start();
    origin.wait_for_publisher("back");
    assert_film(&origin.url("back"), 2);
    server.stop();
    origin.stop();
}
