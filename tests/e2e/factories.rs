//! What plugins bring: layers, chains, filters and streams, good ones and broken ones.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::wire::{self, Client};
use crtmp_tests::{
    Canary, Config, Kind, Launch, Recording, Server, ffmpeg, fixture, folder_of_programs, root, wait_for,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{SOON, file};

/// An acceptor on a port of the system's choice.
fn acceptor(chain: &str) -> String {
    format!("{{ ip = \"127.0.0.1\", port = 0, protocol = \"{chain}\" }}")
}

fn address(server: &Server, chain: &str) -> SocketAddr {
    let of_chain = |service: &&crtmp_tests::Service| service.chain == chain;
    server.services().iter().find(of_chain).unwrap_or_else(|| panic!("no {chain}")).address
}

/// What a server says to `text`, which printf writes, by nc: it closes its side at once, and waits.
fn nc(address: SocketAddr, text: &str) -> String {
    let command =
        format!("printf '{text}' | timeout 20 nc -N {} {} | od -An -v -tx1", address.ip(), address.port());
    let outcome = Launch::new("sh").arg("-c").arg(command).run().success();
    let hex = |word: &str| u8::from_str_radix(word, 16).expect("od writes numbers");
    let bytes: Vec<u8> = outcome.stdout.split_whitespace().map(hex).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn curl(arguments: &[&str]) -> String {
    let launch = Launch::new("curl").args("-sS --max-time 20");
    arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).run().success().stdout
}

/// A server of files: any path gets as many bytes as it says, and the connection ends.
fn files() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let Ok(length) = path.parse::<usize>() else {
                // Half an answer.
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                continue;
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = socket.write_all(head.as_bytes());
            let _ = socket.write_all(&vec![b'x'; length]);
        }
    });
    address
}

fn sample(keys: &str, acceptors: &[&str]) -> Config {
    let acceptors: Vec<String> = acceptors.iter().map(|chain| acceptor(chain)).collect();
    let acceptors = acceptors.join(", ");
    Config::new().block(&format!("{{ name = \"samplefactory\", {keys} acceptors = {{ {acceptors} }} }}"))
}

#[test]
fn the_echo_answers_by_tcp_and_by_http() {
    let server = Server::start(&sample("", &["echoProtocol", "httpEchoProtocol"]));
    assert_echoes(&server);
    server.stop();
}

/// All that the tree has of it is its sources.
#[test]
fn the_same_chains_come_from_a_library_built_elsewhere() {
    let (_folder, library) = built_outside("elsewhere", |sources| {
        let own = root().join("applications/samplefactory/src");
        for entry in fs::read_dir(own).expect("a folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, sources.join(path.file_name().expect("a name"))).expect("a file");
        }
    });
    let files = files();
    let keys = format!("library = {library:?}, downloadFrom = {{ \"{files}\" }},");
    let server = Server::start(&sample(&keys, &["echoProtocol", "httpEchoProtocol"]));
    assert_echoes(&server);
    let answer = nc(address(&server, "echoProtocol"), &format!("GET http://{files}/100000\\n"));
    assert!(answer.contains("DOWNLOADED status 200, 100000 bytes"), "{answer}");
    server.stop();
}

fn assert_echoes(server: &Server) {
    assert_eq!(nc(address(server, "echoProtocol"), "hello"), "ECHO hello");
    let url = format!("http://{}/", address(server, "httpEchoProtocol"));
    assert_eq!(curl(&["-d", "hello", &url]), "ECHO hello");
    // Several requests on one connection; a GET brings nothing.
    assert_eq!(curl(&["-d", "a", &url, "--next", "-sS", "-d", "b", &url]), "ECHO aECHO b");
    assert_eq!(curl(&[&url]), "");
    let line = "GET http://127.0.0.1:1/x\n";
    assert_eq!(curl(&["--data-binary", line, &url]), format!("ECHO {line}"));
}

#[test]
fn a_line_downloads() {
    let (files, other) = (files(), crate::free_port());
    let keys = format!("downloadFrom = {{ \"{files}\", \"127.0.0.1:{other}\" }},");
    let server = Server::start(&sample(&keys, &["echoProtocol"]));
    let echo = address(&server, "echoProtocol");
    for (path, expected) in [
        (format!("{files}/100000"), "DOWNLOADED status 200, 100000 bytes"),
        (format!("{files}/0"), "DOWNLOADED status 200, 0 bytes"),
        (format!("{files}/half"), "the download ended: "),
        (format!("127.0.0.1:{other}/"), "cannot connect to "),
        ("localhost:1/".to_owned(), "downloads from \"localhost:1\" are not allowed: see `downloadFrom`"),
    ] {
        let answer = nc(echo, &format!("GET http://{path}\\n"));
        assert!(answer.starts_with(&format!("ECHO GET http://{path}\n")), "{answer}");
        assert!(answer.contains(expected), "{path}: {answer}");
    }
    let many: String = (0..12).map(|number| format!("GET http://{files}/{number}\\n")).collect();
    let answer = nc(echo, &many);
    for number in 0..12 {
        assert!(answer.contains(&format!("200, {number} bytes\n")), "{number}: {answer}");
    }
    server.wait_for_log("downloaded status 200, 100000 bytes");
    server.stop();
}

/// SSRF-01: what an application connects to is judged like everything else.
#[test]
fn the_outbound_policy_binds_connections_of_applications() {
    let files = files();
    let named = format!("localhost:{}", files.port());
    let odd = format!("2130706433:{}", files.port());
    let keys = format!("downloadFrom = {{ \"{files}\", \"{named}\", \"{odd}\", \"169.254.169.254:80\" }},");
    let config = || sample(&keys, &["echoProtocol"]).block(&administrator());
    let server = Server::start(&config());
    let echo = address(&server, "echoProtocol");
    let get = |place: &str, expected: &str| {
        let answer = nc(echo, &format!("GET http://{place}/7\\n"));
        assert!(answer.contains(expected), "{place}: {answer}");
    };
    // Whichever of its addresses comes first, the one at which somebody listens is found.
    for place in [files.to_string(), named.clone(), odd.clone()] {
        get(&place, "DOWNLOADED status 200, 7 bytes");
    }
    get("169.254.169.254:80", "169.254.0.0/16 in outboundPolicy.deny");
    let deny = "{ deny = { \"127.0.0.0/8\", \"::1\" } }";
    server.rewrite(&config().top("outboundPolicy", deny));
    Session::operator(&server).done("reload");
    for place in [files.to_string(), named, odd] {
        get(&place, "in outboundPolicy.deny;");
    }
    server.stop();
}

#[test]
fn variants_come_back() {
    let chains = [
        "inboundXmlVariant",
        "inboundBinVariant",
        "inboundJsonVariant",
        "inboundHttpXmlVariant",
        "inboundHttpBinVariant",
        "inboundHttpJsonVariant",
    ];
    let acceptors = chains.map(acceptor).join(", ");
    let block = format!("{{ name = \"vptests\", acceptors = {{ {acceptors} }} }}");
    let server = Server::start(&Config::new().block(&block));
    let xml = concat!(
        r#"<?xml version="1.0" ?><MAP isArray="false" name=""><INT16 name="count">300</INT16>"#,
        r#"<STR name="word">echo</STR></MAP>"#,
    );
    let json = r#"{"list":[1,null,true],"word":"echo"}"#;
    let message = |body: &str| {
        let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
        let length: String = length.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!("{length}{}", body.replace('%', "%%"))
    };
    for (chain, body) in [("inboundXmlVariant", xml), ("inboundJsonVariant", json)] {
        let answer = nc(address(&server, chain), &message(body));
        assert_eq!(answer.get(4..), Some(body), "{chain}: {answer:?}");
    }
    // A text of five bytes.
    let answer =
        nc(address(&server, "inboundBinVariant"), "\\000\\000\\000\\012\\021\\000\\000\\000\\005hello");
    assert_eq!(answer, "\0\0\0\x0a\x11\0\0\0\x05hello");

    for (chain, kind, body) in
        [("inboundHttpXmlVariant", "text/xml", xml), ("inboundHttpJsonVariant", "application/json", json)]
    {
        let url = format!("http://{}/", address(&server, chain));
        let answer = curl(&["-H", &format!("Content-Type: {kind}"), "--data-binary", body, &url]);
        assert_eq!(answer, body, "{chain}");
    }
    let (_folder, path) = file("variant");
    fs::write(&path, b"\x11\0\0\0\x05hello").expect("a temporary file");
    let url = format!("http://{}/", address(&server, "inboundHttpBinVariant"));
    let body = format!("@{}", path.display());
    let answer = curl(&["-H", "Content-Type: application/octet-stream", "--data-binary", &body, &url]);
    assert_eq!(answer.as_bytes(), b"\x11\0\0\0\x05hello");
    server.stop();
}

/// The body of each video tag of an FLV file, without metadata.
fn pictures(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("a film");
    let (mut at, mut bodies) = (13, Vec::new());
    while let Some(&[kind, s0, s1, s2, ..]) = bytes.get(at..at + 11).and_then(|head| head.first_chunk::<4>())
    {
        let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        let Some(body) = bytes.get(at + 11..at + 11 + size) else { break };
        // AVC, coded pictures: not configuration and not the end.
        if kind == 9 && body[0] & 0x0f == 7 && body[1] == 1 {
            bodies.push(body.to_vec());
        }
        at += 11 + size + 4;
    }
    bodies
}

/// Whether no other picture needs it: its slices say so.
fn is_free(body: &[u8]) -> bool {
    let (mut rest, mut slices) = (&body[5..], 0);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (unit, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
        if (1..=5).contains(&(unit[0] & 0x1f)) {
            if unit[0] & 0x60 != 0 {
                return false;
            }
            slices += 1;
        }
        rest = next;
    }
    slices > 0
}

#[test]
fn a_filter_drops_every_third_picture_that_no_other_needs() {
    let config = Config::new()
        .whole_groups()
        .application("filters", "{ \"dropThird\" }")
        .block("{ name = \"samplefactory\" }");
    let server = Server::start(&config);
    let _publisher = ffmpeg::publish_film(&server.url("film")).start();
    server.wait_for_publisher("film");
    let (_folder, path) = file("out.flv");
    ffmpeg::record(&server.url("film"), Duration::from_secs(5), &path).run().success();

    let (all, got) = (pictures(fixture::film()), pictures(&path));
    let first = all.iter().position(|body| *body == got[0]).expect("the first picture is of the film");
    let (mut dropped, mut free, mut expected) = (Vec::new(), 0, all[first..].iter());
    for body in &got {
        for other in expected.by_ref() {
            free += usize::from(is_free(other));
            if other == body {
                break;
            }
            assert!(is_free(other), "a picture is missing that others need");
            dropped.push(free);
        }
    }
    assert!(dropped.len() >= 5, "{} of {free} are missing", dropped.len());
    let steps: Vec<usize> = dropped.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step == 3), "{steps:?}");
    let decoded =
        Launch::new("ffmpeg").args("-nostdin -v error -i").arg(&path).args("-f null -").run().success();
    assert_eq!(decoded.stderr, "", "what is left can be decoded");
    server.stop();
}

/// Records a stream that an application publishes from the film, and demands that it is the film's.
fn assert_the_film(server: &Server, application: &str) {
    let url = format!("rtmp://{}/{application}/film", server.address());
    let (_folder, path) = file("out.flv");
    ffmpeg::record(&url, Duration::from_secs(4), &path).run().success();
    let recording = Recording::of_file(&path);
    assert!(recording.of(Kind::Video).len() > 90, "{}", recording.of(Kind::Video).len());
    recording.assert_part_of(fixture::packets());
    recording.assert_forward();
    recording.assert_no_gap();
}

#[test]
fn an_application_publishes_a_file() {
    let film = fixture::film();
    let block = format!(
        "{{ name = \"samplefactory\", startPolicy = \"key\", publishFile = {{ name = \"film\", file = {film:?} }} }}"
    );
    let server = Server::start(&Config::new().block(&block));
    server.wait_for_log("published by its application");
    assert_the_film(&server, "samplefactory");
    server.stop();
}

#[test]
fn a_file_ends_or_begins_again() {
    let (_folder, short) = file("short.flv");
    let film = fixture::film();
    Launch::new("ffmpeg").args("-v error -i").arg(film).args("-t 2 -c copy").arg(&short).run().success();
    for (again, log) in [(false, "no longer published by its application"), (true, "")] {
        let block = format!(
            "{{ name = \"samplefactory\", publisherReturn = 0, \
             publishFile = {{ name = \"film\", file = {short:?}, loop = {again} }} }}"
        );
        let server = Server::start(&Config::new().block(&block));
        let url = format!("rtmp://{}/samplefactory/film", server.address());
        server.wait_for_log("published by its application");
        let (_folder, path) = file("out.flv");
        ffmpeg::record(&url, Duration::from_secs(4), &path).run();
        let recording = Recording::of_file(&path);
        recording.assert_forward();
        let seconds = recording.of(Kind::Video).len() / fixture::GOP;
        assert!(if again { seconds >= 3 } else { seconds <= 2 }, "{again}: {seconds} s");
        server.wait_for_log(log);
        server.stop();
    }
}

#[test]
fn an_application_in_c_publishes_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("libcpublisher.so");
    Launch::new("cc")
        .args("-std=c11 -Wall -Wextra -Werror -pedantic -D_POSIX_C_SOURCE=200809L -fPIC -shared -pthread")
        .args("-Icore/plugin/include tests/c-app/publisher.c -o")
        .arg(&library)
        .run()
        .success();
    let film = fixture::film();
    let block = format!(
        "{{ name = \"cpublisher\", library = {library:?}, startPolicy = \"key\", stream = \"film\", file = {film:?} }}"
    );
    let server = Server::start(&Config::new().block(&block));
    server.wait_for_log("published by its application");
    assert_the_film(&server, "cpublisher");
    let log = server.stop();
    assert!(!log.contains("was left out"), "{log}");
}

#[test]
fn a_source_goes_on_with_the_next_instance_of_its_application() {
    let film = fixture::film();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let block = |keys: &str| {
        format!(
            "{{ name = \"samplefactory\", loadFrom = {{ {:?} }}, \
             publishFile = {{ name = \"film\", file = {film:?}, loop = true }}, {keys} }}",
            folder.path()
        )
    };
    let config = |block: &str| Config::new().workers(2).block(block).block(&administrator());
    let server = Server::start(&config(&block("")));
    let mut session = Session::operator(&server);
    let counts = || {
        let log = server.log();
        let ended = log.matches("no longer published by its application").count();
        [log.matches("published by its application").count() - ended, ended]
    };
    let becomes = |expected: [usize; 2]| {
        let what = format!("{} begins and {} ends of the stream", expected[0], expected[1]);
        wait_for(&what, SOON, || (counts() == expected).then_some(()));
    };
    becomes([1, 0]);

    let library = folder_of_programs().join("libsamplefactory.so");
    for version in 2..=4 {
        let copy = folder.path().join(format!("libsamplefactory{version}.so"));
        fs::copy(&library, &copy).expect("the library");
        session.done(&format!("loadApplication name=samplefactory library={}", copy.display()));
        becomes([version, version - 1]);
    }
    session.done("disableApplication name=samplefactory");
    becomes([4, 4]);
    session.done("enableApplication name=samplefactory");
    becomes([5, 4]);

    // A reload that fails takes nothing away, also where a second publisher would take over.
    let replaces = block("duplicatePublisher = \"replace\"");
    let fails = "{ name = \"misbehaving\", new = \"fail\" }";
    server.rewrite(&config(&replaces).block(fails));
    let reply = session.run("reload");
    assert!(reply["description"].as_str().is_some_and(|text| text.contains("does not want to")), "{reply}");
    assert_eq!(counts(), [5, 4]);
    server.rewrite(&config(&replaces));
    session.done("reload");
    becomes([6, 5]);
    let log = server.stop();
    assert!(!log.contains("is being published already"), "{log}");
}

/// Connections keep their instance, and only that.
#[test]
fn a_removed_application_publishes_no_more() {
    let film = fixture::film();
    let block = format!(
        "{{ name = \"samplefactory\", publishFile = {{ name = \"film\", file = {film:?}, loop = true }} }}"
    );
    let without = Config::new().workers(2).block(&administrator());
    let with = without.clone().block(&block);
    let server = Server::start(&with);
    let mut session = Session::operator(&server);
    server.wait_for_log(" published by its application");
    let mut client = Client::connected(server.address(), "samplefactory");
    server.rewrite(&without);
    session.done("reload");
    server.wait_for_log("no longer published by its application");
    client.expect_open();
    server.rewrite(&with);
    session.done("reload");
    // Twice it has begun, and once it has ended.
    let enough = || server.log().matches("published by its application").count() >= 3;
    wait_for("the stream of the new instance", SOON, || enough().then_some(()));
    client.expect_open();
    let log = server.stop();
    assert!(!log.contains("is being published already"), "{log}");
}

/// A library that is made outside of this tree, as anybody would.
const OUTSIDE: &str = r###"
use std::time::Instant;

use crtmp_plugin::export_plugin;
use crtmp_plugin::layers::{Cx, Error, Layer, OutQueue, PluginLayer, Port, chain};
use serde_json::{Map, Value};

/// Changes each byte by a key, both ways.
struct Scramble(u8);

impl PluginLayer for Scramble {
    const NAME: &'static str = "scramble";
    const FAR: Port = Port::Bytes;
    const NEAR: Port = Port::Bytes;
    const KEYS: &'static str = r##"{ "scrambleKey": "whole" }"##;
    const SENDS: bool = true;

    fn new(keys: &Map<String, Value>, _now: Instant) -> Result<Self, String> {
        let key = keys.get("scrambleKey").and_then(Value::as_f64).unwrap_or(1.0);
        Ok(Self(key as u8))
    }
}

impl Layer for Scramble {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let plain: Vec<u8> = data.iter().map(|byte| byte ^ self.0).collect();
        cx.deliver(&plain)?;
        Ok(data.len())
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        let plain: Vec<u8> = near.slices().flatten().map(|byte| byte ^ self.0).collect();
        near.advance(plain.len());
        far.write_with(|out| out.extend_from_slice(&plain));
        Ok(())
    }
}

export_plugin!(
    name: "outside",
    layers: [Scramble],
    chains: [chain("inboundScrambledVariant", "scramble jsonvariant")],
);
"###;

/// Builds a library with cargo, in a folder of its own; `write` writes its sources.
fn built_outside(name: &str, write: impl FnOnce(&Path)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kit = root().join("core/plugin");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\ncrtmp-plugin = {{ path = {kit:?} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n"
    );
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("a file");
    write(&folder.path().join("src"));
    // The versions that are there: nothing is fetched.
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a file");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = folder_of_programs().join("outside");
    Launch::new(cargo)
        .within(Duration::from_secs(400))
        .args("build --offline --quiet --target-dir")
        .arg(&target)
        .folder(folder.path())
        .run()
        .success();
    let file = format!("lib{name}.so");
    let library = folder.path().join(&file);
    fs::copy(target.join("debug").join(&file), &library).expect("the library");
    (folder, library)
}

/// A port that passes everything on to `address`, each byte changed by `key`.
fn scrambled(address: SocketAddr, key: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.expect("a connection");
            let far = TcpStream::connect(address).expect("the server is there");
            for (mut from, mut to) in
                [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))].map(|(from, to)| {
                    (from.expect("a socket has two sides"), to.expect("a socket has two sides"))
                })
            {
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        buffer[..count].iter_mut().for_each(|byte| *byte ^= key);
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    port
}

#[test]
fn a_library_from_outside_brings_a_layer_and_a_chain() {
    let (_folder, library) = built_outside("outside", |sources| {
        fs::write(sources.join("lib.rs"), OUTSIDE).expect("a file");
    });
    let scrambled_rtmp =
        "{ ip = \"127.0.0.1\", port = 0, protocol = \"inboundScrambledRtmp\", scrambleKey = 90 }";
    let config = Config::new()
        .whole_groups()
        .top("plugins", &format!("{{ {library:?} }}"))
        .top("chains", "{ inboundScrambledRtmp = { \"scramble\", \"rtmp\" } }")
        .application("acceptors", &format!("{{ {scrambled_rtmp} }}"))
        .block(&format!(
            "{{ name = \"vptests\", acceptors = {{ {} }} }}",
            acceptor("inboundScrambledVariant")
        ));
    let server = Server::start(&config);

    // Published through the layer, played without it, and the other way round.
    let proxy = scrambled(address(&server, "inboundScrambledRtmp"), 90);
    let through = |stream: &str| format!("rtmp://{proxy}/live/{stream}");
    let _publisher = ffmpeg::publish_film(&through("one")).start();
    server.wait_for_publisher("one");
    for url in [server.url("one"), through("one")] {
        let (_folder, path) = file("out.flv");
        ffmpeg::record(&url, Duration::from_secs(3), &path).run().success();
        let recording = Recording::of_file(&path);
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    }
    // Without the key given, it is 1.
    let echo = scrambled(address(&server, "inboundScrambledVariant"), 1);
    assert_eq!(nc(echo, "\\000\\000\\000\\004true"), "\0\0\0\x04true");
    server.stop();
}

#[test]
fn what_does_not_fit_is_named_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let programs = folder_of_programs();
    let broken = programs.join("libbrokenlayers.so");
    let path = folder.path().join("server.lua");
    let config = Config::new()
        .top("plugins", &format!("{{ {broken:?}, \"/nowhere.so\" }}"))
        .top(
            "chains",
            "{ mine = { \"panics\" }, other = { \"httpbody\", \"rtmp\" }, third = { \"nobody\" } }",
        )
        .application("filters", "{ \"nothing\" }")
        .application("filterSettings", "{ faulty = { fault = \"fails\" } }")
        .application("acceptors", "{ { ip = \"127.0.0.1\", port = 0, protocol = \"echoProtocol\" } }");
    fs::write(&path, config.text(folder.path(), &programs)).expect("a temporary file");
    let outcome = Server::run(&[&path.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1));
    for part in [
        "configuration.plugins[2]",
        "/nowhere.so",
        "chain \"mine\": its last layer is no endpoint",
        "the layer \"httpbody\" expects HTTP messages of its farther neighbour, not bytes",
        "there is no layer \"nobody\"",
        "filters[1]",
        "a filter that a plugin brings",
        "filterSettings.faulty",
        "the unknown chain \"echoProtocol\"",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn broken_layers_cost_their_connections_only() {
    let broken = folder_of_programs().join("libbrokenlayers.so");
    let chains = ["panicsRtmp", "overtakesRtmp", "talksRtmp", "asksRtmp", "sleepsRtmp"];
    let acceptors = chains.map(acceptor).join(", ");
    let config = Config::new()
        .whole_groups()
        // It is not the handshake that ends them.
        .limit("handshakeTimeout", "3600")
        .top("plugins", &format!("{{ {broken:?} }}"))
        .application("acceptors", &format!("{{ {acceptors} }}"));
    let server = Server::start(&config);
    let mut canary = Canary::start(&server);
    for chain in &chains[..4] {
        for _ in 0..5 {
            let mut client = Client::open(address(&server, chain));
            client.write(&[3; 2]);
            client.write(&[3; 2000]);
            client.expect_close(SOON);
        }
        canary.check(&server);
    }
    // One that sleeps holds up its worker, and loses nothing.
    let mut client = Client::shaken(address(&server, "sleepsRtmp"));
    client.send(&wire::connect("live", "rtmp://localhost/live"));
    client.expect("_result");
    canary.check(&server);
    let log = server.stop();
    // The log has one line for each kind of fault and peer.
    for part in ["panic: at the third byte, as ordered", "a layer took more bytes than there were"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_reload_gives_new_connections_the_chains_of_the_new_lists() {
    let broken = folder_of_programs().join("libbrokenlayers.so");
    let config = |chain: &str| {
        Config::new()
            .workers(2)
            .block(&administrator())
            .top("chains", &format!("{{ mine = {{ {chain} }} }}"))
            .application("acceptors", &format!("{{ {} }}", acceptor("mine")))
    };
    let server = Server::start(&config("\"rtmp\""));
    let mut session = Session::operator(&server);
    let mut before = Client::publisher(address(&server, "mine"), "live", "news");
    assert_eq!(session.done("reload plan=1")["chains"], false);
    let other = config("\"panics\", \"rtmp\"").top("plugins", &format!("{{ {broken:?} }}"));
    server.rewrite(&other);
    let plan = session.done("reload plan=1");
    assert_eq!((&plan["chains"], &plan["open"], &plan["restart"]), (&true.into(), &json!([]), &json!([])));
    session.done("reload");
    let mut client = Client::open(address(&server, "mine"));
    client.write(&[3; 2]);
    client.write(&[3; 2000]);
    client.expect_close(SOON);
    before.expect_open();
    server.rewrite(&config("\"rtmp\""));
    session.done("reload");
    drop(Client::publisher(address(&server, "mine"), "live", "other news"));
    before.expect_open();
    server.stop();
}

#[test]
fn broken_filters_cost_their_publications_only() {
    let broken = folder_of_programs().join("libbrokenlayers.so");
    for (fault, reason) in [
        ("new", "it does not want to"),
        ("panics", "at the tenth frame, as ordered"),
        ("fails", "the filter \"faulty\" failed: it does not want to"),
        ("replaces", "its frame is no body of an FLV tag, or too large"),
        ("sleeps", "the filter \"faulty\" is taken out: it took more than 20 ms 3 times"),
    ] {
        let block = format!(
            "{{ name = \"misbehaving\", filters = {{ \"faulty\" }}, filterSettings = {{ faulty = {{ fault = \"{fault}\" }} }} }}"
        );
        let config = Config::new().whole_groups().top("plugins", &format!("{{ {broken:?} }}")).block(&block);
        let server = Server::start(&config);
        let mut canary = Canary::start(&server);
        let url = format!("rtmp://{}/misbehaving/film", server.address());
        let mut publisher = ffmpeg::publish_film(&url).start();
        server.wait_for_log(reason);
        canary.check(&server);
        assert_eq!(publisher.runs(), fault == "sleeps", "{fault}");
        server.stop();
    }
}
