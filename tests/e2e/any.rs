//! Ports that serve several chains: what holds for each connection holds as at a port of its own.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::tunnel::{Post, Tunnel};
use crtmp_tests::wire::Client;
use crtmp_tests::{Certificates, Config, Launch, Server, ffmpeg, free_address, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{SOON, assert_film, file};

const CHAIN: &str = "inboundRtmpAny";

fn acceptor(certificates: &Certificates) -> String {
    format!("protocol = \"{CHAIN}\", {}", certificates.keys("server"))
}

/// The operator's limit is about connections and sessions, and not about those that carry sessions: these go on where
/// nobody else gets in.
#[test]
fn a_connection_too_many_is_refused_when_it_is_known_what_it_is() {
    let certificates = Certificates::new();
    let config = Config::new().workers(2).acceptor(&acceptor(&certificates)).block(&administrator());
    let server = Server::start(&config);
    let address = server.address_of(CHAIN);
    let mut commands = Session::operator(&server);
    let mut current = || commands.done("getConnectionsCountLimit")["current"].clone();
    let mut tunnel = Tunnel::connected(address, "live");
    let mut plain = Client::connected(address, "live");
    let mut unknown = Client::open(address);
    wait_for("two that count", SOON, || (current() == json!(2)).then_some(()));
    commands.done("setConnectionsCountLimit count=2");
    // By connections of its own for each request, as through a proxy.
    for _ in 0..3 {
        tunnel.post = Post::to(address);
        tunnel.exchange("idle", b"\0");
    }
    plain.expect_open();
    unknown.write(&[3]);
    assert!(unknown.expect_close(SOON).is_empty());
    server.wait_for_log("setConnectionsCountLimit = 2 is reached");
    assert_eq!(Post::to(address).asked("/open/1", b"\0").status, 503);
    tunnel.exchange("close", b"\0");
    wait_for("a free place", SOON, || {
        (commands.done("getConnectionsCountLimit")["current"] == json!(1)).then_some(())
    });
    let _third = Client::connected(address, "live");
    server.stop();
}

/// Sessions of an address are bounded whichever way they come.
#[test]
fn sessions_are_bounded_for_each_address() {
    let server = Server::start(
        &Config::new().limit("rtmptSessions", "3").acceptor(&format!("protocol = \"{CHAIN}\"")),
    );
    let mut post = Post::to(server.address_of(CHAIN));
    let statuses: Vec<u16> = (0..5).map(|_| post.asked("/open/1", b"\0").status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 503]);
    server.stop();
}

/// Whatever a connection is, or is not yet: the end of the server is told to whom it can be told, and waits for nobody else.
#[test]
fn a_server_that_stops_tells_every_kind() {
    let certificates = Certificates::new();
    let mut server = Server::start(&Config::new().workers(2).acceptor(&acceptor(&certificates)));
    let address = server.address_of(CHAIN);
    let mut plain = Client::connected(address, "live");
    let mut unknown = Client::open(address);
    let mut begun = Client::open(address);
    begun.write(&[0x16]);
    let mut tunnel = Tunnel::connected(address, "live");
    let path = tunnel.path("idle", tunnel.number);
    tunnel.post.ask(&path, b"\0");
    server.signal(Signal::SIGTERM);
    plain.expect("NetConnection.Connect.AppShutdown");
    let response = tunnel.post.response().expect("a response");
    tunnel.take(&response);
    for client in [&mut unknown, &mut begun] {
        assert!(client.expect_close(SOON).is_empty());
    }
    server.ended();
}

const SCRIPT: &str = r#"
local function say(...) log.info("any: " .. table.concat({ ... }, " ")) end
function on_accept(client)
  say("accept", client.address)
  if refuses then return false end
end
function on_connect(client, info) say("connect") ; return true end
function on_message(client, id, command)
  refuses = true
  client:result("_result", id, { json.null, "from now on" })
end
"#;

/// An application is asked about each connection that is somebody's, once, and before anything of it is answered; of
/// those that carry sessions it does not hear.
#[test]
fn an_application_is_asked_about_each_connection_that_is_somebodys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("app.lua");
    fs::write(&script, SCRIPT).expect("a temporary file");
    let acceptor = format!("{{ ip = \"127.0.0.1\", port = 0, protocol = \"{CHAIN}\" }}");
    let block = format!(
        "{{ name = \"any\", library = \"vmapp\", script = {script:?}, acceptors = {{ {acceptor} }} }}"
    );
    let server = Server::start(&Config::new().workers(2).block(&block));
    let address = server.address_of(CHAIN);
    let heard = || {
        let log = server.log();
        log.lines()
            .filter_map(|line| line.split("any: ").nth(1))
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let mut plain = Client::connected(address, "any");
    let _unknown = Client::open(address);
    assert_eq!(Post::to(address).asked("/", b"").status, 404);
    let mut tunnel = Tunnel::connected(address, "any");
    for _ in 0..3 {
        tunnel.post = Post::to(address);
        tunnel.exchange("idle", b"\0");
    }
    assert_eq!(heard(), ["accept", "connect", "accept", "connect"]);
    plain.send(&crtmp_tests::wire::Message::command(0, "refuse", 5.0, &[crtmp_tests::wire::amf::null()]));
    plain.expect("from now on");
    let mut refused = Client::open(address);
    refused.write(&[3; 1537]);
    assert!(refused.expect_close(SOON).is_empty(), "nothing is answered");
    assert_eq!(heard().len(), 5);
    server.stop();
}

/// What OpenSSL hears when it sends this within TLS.
fn within_tls(address: SocketAddr, bytes: &str) -> String {
    let line = format!("printf '{bytes}' | timeout 10 openssl s_client -quiet -connect {address}");
    let outcome = Launch::new("sh").arg("-c").arg(line).within(Duration::from_secs(20)).run();
    outcome.stdout + &outcome.stderr
}

#[test]
fn what_is_within_tls_is_told_apart_as_well_and_certificates_are_exchanged() {
    let certificates = Certificates::new();
    let secure = format!("protocol = \"inboundRtmps\", {}", certificates.keys("server"));
    let server =
        Server::start(&Config::new().whole_groups().acceptor(&acceptor(&certificates)).acceptor(&secure));
    for (chain, faults) in [(CHAIN, 1), ("inboundRtmps", 2)] {
        let address = server.address_of(chain);
        within_tls(address, "\\200");
        server.wait_for_counters("a fault of the peer", SOON, |counters| {
            (counters.number("totals.faults") == faults).then_some(())
        });
        let heard = within_tls(address, "BREW / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n");
        assert!(heard.contains("HTTP/1.1 404 Not Found"), "{heard}");
    }
    server.wait_for_log("none of rtmp, http: the first byte is 0x80");
    let _publisher = ffmpeg::publish_film(&format!("rtmps://{}/live/one", server.address_of(CHAIN))).start();
    server.wait_for_publisher("one");
    certificates.issue("server", &["renewed.example"], |_| {});
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    for chain in [CHAIN, "inboundRtmps"] {
        let address = server.address_of(chain);
        let line = format!(
            "echo | timeout 10 openssl s_client -connect {address} | openssl x509 -noout -ext subjectAltName"
        );
        let shown = Launch::new("sh").arg("-c").arg(line).run().stdout;
        assert!(shown.contains("renewed.example"), "{chain}: {shown}");
    }
    assert_film(&format!("rtmpts://{}/live/one", server.address_of(CHAIN)), 3);
    server.stop();
}

/// Ports that a command opens, and one that a reload gives a certificate.
#[test]
fn ports_of_commands_and_of_reloads_take_every_kind() {
    let certificates = Certificates::new();
    let place = free_address();
    let port = |keys: &str| {
        let acceptor =
            format!("{{ ip = \"127.0.0.1\", port = {}, protocol = \"{CHAIN}\"{keys} }}", place.port());
        // A port for each, which stays the same.
        let block =
            format!("{{ name = \"other\", library = \"flvplayback\", acceptors = {{ {acceptor} }} }}");
        Config::new().whole_groups().block(&administrator()).block(&block)
    };
    let server = Server::start(&port(""));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let mut session = Session::operator(&server);
    let keys = ["pem", "key"].map(|end| certificates.path(&format!("server.{end}")).display().to_string());
    // A comma of its own would begin another value.
    let keys = json!({ "sslCert": keys[0], "sslKey": keys[1] }).to_string().replace(',', "\\,");
    let wrong = session.fails(&format!(
        "createService ip=127.0.0.1 port=0 protocol={CHAIN} application=appselector keys={}",
        json!({ "sslCert": "missing.pem" })
    ));
    assert!(wrong.contains("sslKey") || wrong.contains("missing.pem"), "{wrong}");
    let made = session.done(&format!(
        "createService ip=127.0.0.1 port=0 protocol={CHAIN} application=appselector keys={keys}"
    ));
    let made = format!("127.0.0.1:{}/live/one", made["port"]);
    for scheme in ["rtmp", "rtmpt", "rtmps", "rtmpts"] {
        assert_eq!(ffmpeg::codecs(&format!("{scheme}://{made}")), ["aac", "h264"], "{scheme}");
    }
    assert_eq!(within_tls(place, "\\003").matches("HTTP").count(), 0);
    server.wait_for_log("tls came, which needs the key `sslCert` of the acceptor");
    server.rewrite(&port(&format!(", {}", certificates.keys("server"))));
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    let heard = within_tls(place, "GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n");
    assert!(heard.contains("HTTP/1.1 404 Not Found"), "{heard}");
    server.stop();
}

/// No key of any layer is unknown there, and none that is wrong goes unseen.
#[test]
fn keys_of_all_layers_count() {
    let certificates = Certificates::new();
    let said = |keys: &str| {
        let (folder, script) = file("server.lua");
        let config = Config::new().acceptor(&format!("protocol = {keys}"));
        let text = config.text(folder.path(), &crtmp_tests::folder_of_programs());
        fs::write(&script, text).expect("a file");
        Server::run(&["--check", &script.to_string_lossy()])
    };
    let pair = certificates.keys("server");
    for good in [
        format!("\"{CHAIN}\""),
        format!("\"{CHAIN}\", rtmpe = false, bindAddress = true"),
        format!("\"{CHAIN}\", rtmpe = true, bindAddress = true, tlsMinVersion = \"1.3\", {pair}"),
        format!("\"inboundRtmps\", rtmpe = true, bindAddress = true, {pair}"),
    ] {
        let outcome = said(&good);
        assert_eq!(outcome.code, Some(0), "{good}: {}", outcome.stderr);
    }
    for (bad, expected) in [
        (format!("\"{CHAIN}\", tlsTickets = true"), "acceptors[2].sslCert: found nothing"),
        (format!("\"{CHAIN}\", {pair}, tlsMinVersion = \"1.1\""), "acceptors[2].tlsMinVersion"),
        (format!("\"{CHAIN}\", rtmpe = 1"), "acceptors[2].rtmpe: found 1, expected true or false"),
        (format!("\"{CHAIN}\", bindAdress = true"), "did you mean `bindAddress`?"),
        ("\"inboundRtmps\", bindAddress = true".to_owned(), "acceptors[2].sslCert: found nothing"),
        ("\"inboundRtmpAyn\"".to_owned(), "did you mean \"inboundRtmpAny\"?"),
    ] {
        let outcome = said(&bad);
        assert!(outcome.code == Some(1) && outcome.stderr.contains(expected), "{bad}: {}", outcome.stderr);
    }
}
