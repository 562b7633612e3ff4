//! RTMPS: certificates, their exchange and their end; what comes to the wrong port; slow and many handshakes.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::nginx::{self, Nginx};
use crtmp_tests::proxies::Stunnel;
use crtmp_tests::{
    Canary, Certificates, Config, Kind, Launch, Outcome, Program, Recording, Server, ffmpeg, fixture,
    folder_of_programs, players, wait_for,
};
use nix::sys::signal::Signal;

use crate::{SOON, assert_film, assert_writes_film, entry, file};

const CHAIN: &str = "inboundRtmps";

/// What OpenSSL says first; the first byte is for a fuzzer.
const HELLO: &[u8] = include_bytes!("../../protocols/tls/testdata/corpus/tls/hello13");

/// A configuration with a port for RTMPS, and further keys of that.
fn with(certificates: &Certificates, keys: &str) -> Config {
    let keys = format!("protocol = \"{CHAIN}\", {}, {keys}", certificates.keys("server"));
    Config::new().whole_groups().acceptor(&keys)
}

fn url(server: &Server, stream: &str) -> String {
    format!("rtmps://{}/live/{stream}", server.address_of(CHAIN))
}

/// ffmpeg's options that have it look at the certificate.
fn verifying(launch: Launch, certificates: &Certificates) -> Launch {
    launch.args("-tls_verify 1 -ca_file").arg(certificates.path("ca.pem"))
}

/// What OpenSSL says of a connection that it makes and ends.
fn s_client(address: SocketAddr, arguments: &str) -> Outcome {
    Launch::new("openssl")
        .args("s_client -connect")
        .arg(address.to_string())
        .args(arguments)
        .within(Duration::from_secs(20))
        .run()
}

/// The subject that a client is shown.
fn shown(address: SocketAddr, arguments: &str) -> String {
    let outcome = s_client(address, arguments);
    let subject = outcome.stdout.lines().find_map(|line| line.strip_prefix("subject="));
    subject
        .unwrap_or_else(|| panic!("no certificate: {}{}", outcome.stdout, outcome.stderr))
        .trim()
        .to_owned()
}

#[test]
fn ffmpeg_looks_at_the_certificate_and_publishes_and_plays() {
    let certificates = Certificates::new();
    let server = Server::start(&with(&certificates, ""));
    let film =
        Launch::new("ffmpeg").args("-nostdin -v error -re -i").arg(fixture::film()).args("-c copy -f flv");
    let _publisher = verifying(film, &certificates).arg(url(&server, "one")).start();
    server.wait_for_publisher("one");
    let (_folder, out) = file("out.flv");
    let player = verifying(Launch::new("ffmpeg").args("-nostdin -v error"), &certificates);
    player.arg("-i").arg(url(&server, "one")).args("-t 5 -c copy -y").arg(&out).run().success();
    let recording = Recording::of_file(&out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    // A name that the certificate is not for.
    certificates.issue("server", &["elsewhere.example"], |_| {});
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    let player = verifying(Launch::new("ffmpeg").args("-nostdin -v error"), &certificates);
    let outcome = player.arg("-i").arg(url(&server, "one")).args("-t 1 -f null -").run();
    assert_ne!(outcome.code, Some(0), "{}", outcome.stderr);
    server.stop();
}

#[test]
fn rtmpdump_plays_by_both_versions_and_within_requests() {
    let certificates = Certificates::new();
    let tunnels = format!("protocol = \"inboundRtmpts\", {}", certificates.keys("server"));
    let server = Server::start(&with(&certificates, "").acceptor(&tunnels));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    certificates.write("gnutls.conf", "[overrides]\ndisabled-version = tls1.3\n");
    let tunnelled = format!("rtmpts://{}/live/one", server.address_of("inboundRtmpts"));
    for (url, only_12) in [
        (url(&server, "one"), true),
        (url(&server, "one"), false),
        (tunnelled.clone(), true),
        (tunnelled.replace("127.0.0.1", "localhost"), false),
    ] {
        let (_folder, out) = file("dump.flv");
        let mut dump = players::rtmpdump(&url, &out);
        if only_12 {
            dump = dump.env("GNUTLS_SYSTEM_PRIORITY_FILE", certificates.path("gnutls.conf"));
        }
        assert_writes_film(dump.start(), &out, fixture::GOP);
    }
    server.stop();
}

/// TLS-01.
#[test]
fn who_comes_to_the_wrong_port_is_told_so_in_the_log() {
    let certificates = Certificates::new();
    let server = Server::start(&with(&certificates, ""));
    let secure = server.address_of(CHAIN);
    let plain = ffmpeg::publish_film(&format!("rtmp://{secure}/live/one")).run();
    assert_ne!(plain.code, Some(0));
    server.wait_for_log("not TLS, but RTMP without TLS: this port is for rtmps://");
    let tls = s_client(server.address(), "");
    assert_ne!(tls.code, Some(0));
    server.wait_for_log("not RTMP but TLS: this port is for rtmp://");
    server.stop();
}

/// TLS-02.
#[test]
fn versions_names_and_protocols_that_clients_ask_for() {
    let certificates = Certificates::new();
    certificates.issue("news", &["news.example", "*.cdn.example"], |_| {});
    let [cert, key] = ["news.pem", "news.key"].map(|file| certificates.path(file));
    let names = format!("sslNames = {{ {{ cert = {cert:?}, key = {key:?} }} }}");
    let newest = format!("protocol = \"{CHAIN}\", {}, tlsMinVersion = \"1.3\"", certificates.keys("server"));
    let server = Server::start(&with(&certificates, &names).acceptor(&newest));
    let address = server.address_of(CHAIN);
    for (arguments, subject) in [
        ("-noservername", "CN = server"),
        ("-servername news.example", "CN = news"),
        ("-servername a.cdn.example", "CN = news"),
        ("-servername nobody.example", "CN = server"),
        ("-servername news.example -alpn h2,acme-tls/1", "CN = news"),
        ("-tls1_2 -servername news.example", "CN = news"),
        ("-tls1_3", "CN = server"),
    ] {
        assert_eq!(shown(address, arguments), subject, "{arguments}");
    }
    for old in ["-tls1 -cipher ALL:@SECLEVEL=0", "-tls1_1 -cipher ALL:@SECLEVEL=0"] {
        assert!(s_client(address, old).stderr.contains("alert"), "{old}");
    }
    for weak in ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"] {
        let arguments = format!("-tls1_2 -cipher {weak}:@SECLEVEL=0");
        assert!(s_client(address, &arguments).stderr.contains("alert"), "{weak}");
    }
    server.wait_for_log("the peer has no TLS version that is allowed here");
    let newest =
        server.services().iter().filter(|service| service.chain == CHAIN).nth(1).expect("two").address;
    assert!(s_client(newest, "-tls1_2").stderr.contains("alert"));
    assert_eq!(shown(newest, ""), "CN = server");
    // No tickets, unless they are asked for.
    let quiet = s_client(address, "-tls1_3 -ign_eof -quiet");
    assert!(!quiet.stdout.contains("Session Ticket"));
    server.stop();
}

/// TLS-03.
#[test]
fn slow_and_endless_handshakes_have_their_time_and_their_bound() {
    let certificates = Certificates::new();
    let config = with(&certificates, "").limit("handshakeTimeout", "1").limit("tlsEmptyBytes", "32768");
    let server = Server::start(&config);
    let mut canary = Canary::start(&server);
    let address = server.address_of(CHAIN);
    // A byte now and then.
    let mut slow = TcpStream::connect(address).expect("a connection");
    let mut bytes = HELLO[1..].iter();
    wait_for("the end of a slow handshake", SOON, || {
        let _ = bytes.next().map(|byte| slow.write_all(&[*byte]));
        server.log().contains("no handshake within handshakeTimeout = 1 seconds").then_some(())
    });
    // A ClientHello that never ends.
    let mut endless = TcpStream::connect(address).expect("a connection");
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    hello.resize(5 + 0x4000, 0);
    for _ in 0..3 {
        let _ = endless.write_all(&hello);
        hello = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    }
    server.wait_for_log("more than tlsEmptyBytes = 32768 bytes in a row without content");
    canary.check(&server);
    server.stop();
}

/// TLS-04.
#[test]
fn ends_of_every_kind_end_the_connection() {
    let certificates = Certificates::new();
    let server = Server::start(&with(&certificates, ""));
    let mut canary = Canary::start(&server);
    let address = server.address_of(CHAIN);
    let gone = || {
        server.wait_for_counters("only the canary", SOON, |counters| {
            (counters.connections().len() == 2).then_some(())
        });
    };
    // A warning that it will close, by somebody whom nobody knows yet, and then its end.
    let mut early = TcpStream::connect(address).expect("a connection");
    early.write_all(&HELLO[1..]).expect("room");
    early.write_all(&[0x15, 3, 3, 0, 2, 1, 0]).expect("room");
    drop(early);
    gone();
    // An end without one.
    let mut cut = TcpStream::connect(address).expect("a connection");
    cut.write_all(&HELLO[1..]).expect("room");
    cut.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut rest = Vec::new();
    let _ = cut.read_to_end(&mut rest);
    gone();
    // OpenSSL says its end, and hears ours.
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(s_client(address, version).code, Some(0), "{version}");
        gone();
    }
    // A player that is killed, and one that leaves.
    let (_folder, out) = file("out.flv");
    for is_killed in [true, false] {
        let mut player = ffmpeg::record_all(&url(&server, Canary::STREAM), &out).start();
        wait_for("a file", SOON, || fs::metadata(&out).is_ok_and(|file| file.len() > 10_000).then_some(()));
        if is_killed {
            player.kill();
        } else {
            player.interrupt();
        }
        gone();
        fs::remove_file(&out).expect("a file");
    }
    canary.check(&server);
    server.stop();
}

/// TLS-06.
#[test]
fn certificates_are_exchanged_while_streams_go_on() {
    let certificates = Certificates::new();
    certificates.issue("server", &["localhost", "127.0.0.1"], |params| {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "old");
    });
    let server = Server::start(&with(&certificates, ""));
    let address = server.address_of(CHAIN);
    let mut publisher = ffmpeg::publish_film(&url(&server, "one")).start();
    server.wait_for_publisher("one");
    let player = Recording::start(&url(&server, "one"));
    let pictures = |more: usize| {
        let seen = Recording::of_program(&player).of(Kind::Video).len();
        wait_for("more pictures", SOON, || {
            (Recording::of_program(&player).of(Kind::Video).len() >= seen + more).then_some(())
        });
    };
    assert!(shown(address, "").contains("O = old"));
    let (old_cert, old_key) = (certificates.read("server.pem"), certificates.read("server.key"));
    certificates.issue("new", &["localhost", "127.0.0.1"], |params| {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "new");
    });
    let (new_cert, new_key) = (certificates.read("new.pem"), certificates.read("new.key"));
    let mut reloads = 0;
    let mut reload = || {
        reloads += 1;
        server.signal(Signal::SIGHUP);
        wait_for("a reload", SOON, || {
            (server.log().matches("reload: done").count() == reloads).then_some(())
        });
    };
    for (cert, key, said) in [
        (new_cert.as_str(), old_key.as_str(), "whose key is not that of"),
        (&new_cert[..new_cert.len() / 2], old_key.as_str(), "a certificate that has been cut"),
        (new_cert.as_str(), &new_key[..new_key.len() / 2], "no private key, or one that has been cut"),
        (new_cert.as_str(), "", "no private key"),
    ] {
        certificates.write("server.pem", cert);
        certificates.write("server.key", key);
        reload();
        server.wait_for_log(said);
        assert!(shown(address, "").contains("O = old"), "{said}");
    }
    fs::remove_file(certificates.path("server.key")).expect("a file");
    reload();
    server.wait_for_log("goes on with what it had: sslKey: found");
    assert!(shown(address, "").contains("O = old"));
    certificates.write("server.pem", &new_cert);
    certificates.write("server.key", &new_key);
    reload();
    assert!(shown(address, "").contains("O = new"));
    certificates.write("server.pem", &old_cert);
    certificates.write("server.key", &old_key);
    reload();
    assert!(shown(address, "").contains("O = old"));
    pictures(fixture::GOP);
    assert!(publisher.runs(), "{}", publisher.stderr());
    let recording = Recording::of_program(&player);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    server.stop();
}

/// TLS-07.
#[test]
fn certificates_that_do_not_hold_are_warned_about_and_served() {
    let certificates = Certificates::new();
    let soon = SystemTime::now() + Duration::from_secs(3);
    certificates.issue("server", &["localhost"], |params| params.not_after = soon.into());
    certificates.issue("old", &["old.example"], |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1));
    certificates.issue("early", &["early.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    });
    let entry = |name: &str| {
        let [cert, key] = ["pem", "key"].map(|end| certificates.path(&format!("{name}.{end}")));
        format!("{{ cert = {cert:?}, key = {key:?} }}")
    };
    let names = format!("sslNames = {{ {}, {} }}", entry("old"), entry("early"));
    let server = Server::start(&with(&certificates, &names));
    server.wait_for_log("(old.example) has expired: 2024-01-01T00:00:00");
    server.wait_for_log("(early.example) is not valid before 2999-01-01T00:00:00");
    server.wait_for_log("(localhost) expires in 0 days");
    let publisher = ffmpeg::publish_film(&url(&server, "one")).start();
    server.wait_for_publisher("one");
    server.wait_for_log("(localhost) has expired");
    let mut publisher = publisher;
    assert!(publisher.runs(), "{}", publisher.stderr());
    assert_eq!(ffmpeg::codecs(&url(&server, "one")), ["aac", "h264"], "who does not look is served");
    let counters = server.counters();
    let listed = counters.json()["certificates"].as_array().expect("a list").clone();
    let of =
        |names: &str| listed.iter().find(|one| one["names"] == names).expect("one of these names").clone();
    assert!(of("old.example")["expiresInSeconds"].as_i64().expect("a number") < 0);
    assert!(of("early.example")["expiresInSeconds"].as_i64().expect("a number") > 0);
    assert_eq!(of("old.example")["notAfter"], "2024-01-01T00:00:00.000Z");
    server.stop();
}

/// TLS-08.
#[test]
fn a_flood_of_handshakes_waits_and_nobody_else_does() {
    let flooded = Flooded::start();
    // Another address of the same machine, so that those who are well have an account of their own.
    let flood: Vec<TcpStream> = (0..2000).map(|_| open_from([127, 0, 0, 2], flooded.address)).collect();
    for mut connection in &flood {
        connection.write_all(&HELLO[1..]).expect("room");
        connection.set_nonblocking(true).expect("a socket");
    }
    let answered = || flood.iter().filter(|connection| has_answer(connection)).count();
    wait_for("some answers", SOON, || (answered() > 0).then_some(()));
    // While most of the flood waits, another one gets through at once, and pictures go on.
    let before = flooded.pictures();
    assert!(shown(flooded.address, "").contains("CN = server"));
    let during = answered();
    assert!(during < flood.len(), "the flood waits");
    flooded.is_well(&before);
}

/// TLS-08. Those who have to wait get their turn when its time has come, without a word of theirs.
#[test]
fn who_waits_for_leave_gets_it_in_one_of_the_next_seconds() {
    let certificates = Certificates::new();
    let config = with(&certificates, "").limit("handshakesPerAddress", "10").workers(1);
    let server = Server::start(&config);
    let mut waiting: Vec<TcpStream> =
        (0..25).map(|_| open_from([127, 0, 0, 2], server.address_of(CHAIN))).collect();
    for connection in &mut waiting {
        connection.write_all(&HELLO[1..]).expect("room");
    }
    for (number, connection) in waiting.iter_mut().enumerate() {
        // An error would be the end that `handshakeTimeout` brings.
        let count = connection.read(&mut [0; 5]).unwrap_or(0);
        assert!(count > 0, "no answer to the one of number {number}");
    }
    server.stop();
}

/// TLS-08. As many handshakes as a few threads manage, one after the other and without an end.
#[test]
fn a_flood_that_goes_on_is_bounded_and_nobody_else_notices() {
    const ENOUGH: usize = 6000;
    let flooded = Flooded::start();
    for are_many in [false, true] {
        let (made, answered, ends) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let since = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut open = VecDeque::new();
                    while !ends.load(Ordering::Relaxed) {
                        let number = made.fetch_add(1, Ordering::Relaxed);
                        let [.., high, low] = number.to_be_bytes();
                        let from = if are_many { [127, 64, high, low] } else { [127, 0, 0, 2] };
                        let mut connection = open_from(from, flooded.address);
                        let _ = connection.write_all(&HELLO[1..]);
                        connection.set_nonblocking(true).expect("a socket");
                        open.push_back(connection);
                        if open.len() > 100
                            && let Some(oldest) = open.pop_front()
                        {
                            answered.fetch_add(usize::from(has_answer(&oldest)), Ordering::Relaxed);
                        }
                    }
                });
            }
            // A panic here must end the flood as well.
            let well = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let before = flooded.pictures();
                wait_for("a flood", 6 * SOON, || {
                    assert!(shown(flooded.address, "").contains("CN = server"), "another one gets through");
                    (made.load(Ordering::Relaxed) >= ENOUGH).then_some(())
                });
                flooded.is_well(&before);
            }));
            ends.store(true, Ordering::Relaxed);
            well.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let answered = answered.load(Ordering::Relaxed);
        if !are_many {
            // In each second that has begun, by each worker. How many of them were answered before they left, only the load
            // of the machine decides.
            let seconds = usize::try_from(since.elapsed().as_secs()).expect("not for ever") + 2;
            let most =
                Flooded::PER_ADDRESS * flooded.server.counters().connections_per_worker().len() * seconds;
            assert!(answered <= most, "{answered} of {most}");
        }
        // The canaries, who play and publish.
        flooded.server.wait_for_counters("the end of the flood", SOON, |counters| {
            (counters.connections().len() == 4).then_some(())
        });
    }
}

/// A server with streams by RTMP and RTMPS, each with a player who must not notice anything.
struct Flooded {
    server: Server,
    address: SocketAddr,
    players: [Program; 2],
    _publishers: [Program; 2],
    _certificates: Certificates,
}

impl Flooded {
    const PER_ADDRESS: usize = 20;

    fn start() -> Self {
        let certificates = Certificates::new();
        let most = Self::PER_ADDRESS.to_string();
        let config = with(&certificates, "").limit("handshakesPerAddress", &most).ip("0.0.0.0");
        let server = Server::start(&config);
        let local = |address: SocketAddr| SocketAddr::from(([127, 0, 0, 1], address.port()));
        let address = local(server.address_of(CHAIN));
        let secure = format!("rtmps://{address}/live/two");
        let plain = format!("rtmp://{}/live/one", local(server.address()));
        let publishers = [ffmpeg::publish_film(&plain).start(), ffmpeg::publish_film(&secure).start()];
        server.wait_for_publisher("one");
        server.wait_for_publisher("two");
        let players = [plain, secure].map(|url| Recording::start(&url));
        let flooded = Self { server, address, players, _publishers: publishers, _certificates: certificates };
        wait_for("pictures", SOON, || flooded.pictures().iter().all(|count| *count > 0).then_some(()));
        flooded
    }

    fn pictures(&self) -> [usize; 2] {
        self.players.each_ref().map(|player| Recording::of_program(player).of(Kind::Video).len())
    }

    /// Each player has had a group of pictures since, and missed nothing.
    fn is_well(&self, before: &[usize; 2]) {
        wait_for("more pictures", SOON, || {
            let mut both = self.pictures().into_iter().zip(before);
            both.all(|(now, before)| now >= before + fixture::GOP).then_some(())
        });
        for player in &self.players {
            let recording = Recording::of_program(player);
            recording.assert_part_of(fixture::packets());
            recording.assert_no_gap();
        }
    }
}

/// Whether a connection that does not wait has something to read.
fn has_answer(connection: &TcpStream) -> bool {
    connection.peek(&mut [0; 5]).is_ok_and(|count| count > 0)
}

/// A connection from another address of the loopback network.
fn open_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("a connection");
    socket.into()
}

#[test]
fn mistakes_with_certificates_are_named_before_anything_starts() {
    let certificates = Certificates::new();
    certificates.issue("other", &["localhost"], |_| {});
    let cert = certificates.path("server.pem");
    let other = certificates.path("other.key");
    let said = |keys: &str| {
        let (folder, script) = file("server.lua");
        let config = Config::new().acceptor(&format!("protocol = \"{CHAIN}\", {keys}"));
        fs::write(&script, config.text(folder.path(), &folder_of_programs())).expect("a file");
        let script = script.to_string_lossy().into_owned();
        let checked = Server::run(&["--check", &script]);
        let started = Server::run(&[&script]);
        assert_eq!((checked.code, started.code), (Some(1), Some(1)), "{keys}");
        assert!(started.stderr.contains("acceptors[2]."), "{}", started.stderr);
        checked.stderr
    };
    for (keys, expected) in [
        (
            String::new(),
            "acceptors[2].sslCert: found nothing, expected a PEM file with a certificate".to_owned(),
        ),
        (format!("sslCert = {cert:?}"), "acceptors[2].sslKey: found nothing".to_owned()),
        (format!("sslCert = {cert:?}, sslKey = {other:?}"), "acceptors[2].sslKey: found".to_owned()),
        (
            format!("sslCert = \"missing.pem\", sslKey = {other:?}"),
            "sslCert: found \"missing.pem\": No such".to_owned(),
        ),
        (
            format!("{}, cipherSuite = \"HIGH\"", certificates.keys("server")),
            "cipherSuite: found \"HIGH\"".to_owned(),
        ),
        (format!("{}, sslNames = {{ {cert:?} }}", certificates.keys("server")), "sslNames: found".to_owned()),
        (
            format!("{}, tlsTickets = 1", certificates.keys("server")),
            "tlsTickets: found 1, expected true".to_owned(),
        ),
        (format!("{}, sslCrt = \"\"", certificates.keys("server")), "did you mean `sslCert`?".to_owned()),
    ] {
        let text = said(&keys);
        assert!(text.contains(&expected), "{keys}: {text}");
    }
}

#[test]
fn variants_and_commands_come_by_https() {
    let certificates = Certificates::new();
    let https = |chain: &str| {
        let keys = certificates.keys("server");
        format!("{{ ip = \"127.0.0.1\", port = 0, protocol = \"{chain}\", {keys} }}")
    };
    let block =
        |name: &str, chain: &str| format!("{{ name = \"{name}\", acceptors = {{ {} }} }}", https(chain));
    let config = Config::new()
        .block(&block("vptests", "inboundHttpsJsonVariant"))
        .block(&block("admin", "inboundHttpsJsonCli"));
    let server = Server::start(&config);
    let curl = |chain: &str, arguments: &[&str], path: &str| {
        let url = format!("https://localhost:{}/{path}", server.address_of(chain).port());
        let launch = Launch::new("curl").args("-sS --cacert").arg(certificates.path("ca.pem"));
        arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).arg(url).run().success().stdout
    };
    let body = r#"{"list":[1,null,true],"word":"echo"}"#;
    let arguments = ["-H", "Content-Type: application/json", "--data-binary", body];
    assert_eq!(curl("inboundHttpsJsonVariant", &arguments, ""), body);
    let answer = curl("inboundHttpsJsonCli", &[], "version");
    assert!(answer.contains("\"status\":\"SUCCESS\""), "{answer}");
    server.stop();
}

/// A server that pulls and pushes: commands may lead to this machine.
fn edge() -> Server {
    let allowed = "{ allow = { \"127.0.0.0/8\" } }";
    Server::start(&Config::new().whole_groups().top("outboundPolicy", allowed).block(&administrator()))
}

/// Pulls and pushes between ours, and through stunnel to nginx.
#[test]
fn streams_are_pulled_and_pushed_by_rtmps() {
    let certificates = Certificates::new();
    let ca = certificates.path("ca.pem");
    let origin = Server::start(&with(&certificates, ""));
    let nginx = Nginx::start(&[nginx::Application::live("live")]);
    let tunnel = Stunnel::before(nginx.address(), &certificates, "");
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let server = edge();
    let mut session = Session::operator(&server);
    let (port, ca) = (origin.address_of(CHAIN).port(), ca.display());
    session.done(&format!("pullStream uri=rtmps://localhost:{port}/live/one tlsCa={ca}"));
    server.wait_for_publisher("one");
    assert_film(&server.url("one"), 3);
    // To ours, and to nginx, which has no TLS of its own.
    let ours = format!("rtmps://127.0.0.1:{port}/live");
    let theirs = format!("rtmps://localhost:{}/live", tunnel.address().port());
    for (uri, name) in [(ours, "back"), (theirs.clone(), "out")] {
        session.done(&format!("pushStream uri={uri} localStreamName=one targetStreamName={name} tlsCa={ca}"));
    }
    origin.wait_for_publisher("back");
    assert_film(&origin.url("back"), 3);
    session.done(&format!("pullStream uri={theirs}/out localStreamName=round tlsCa={ca}"));
    server.wait_for_publisher("round");
    assert_film(&server.url("round"), 3);
    server.stop();
    origin.stop();
}

/// RTMP over HTTPS: pulls and pushes between ours, and through stunnel, with a certificate that is looked at like that of
/// RTMPS. Whoever leaves closes its session, and says the end of TLS after that.
#[test]
fn streams_are_pulled_and_pushed_by_rtmpts() {
    const WITHIN: &str = "inboundRtmpts";
    let certificates = Certificates::new();
    let keys = format!("protocol = \"{WITHIN}\", {}", certificates.keys("server"));
    let origin =
        Server::start(&Config::new().whole_groups().acceptor(&keys).acceptor("protocol = \"inboundRtmpt\""));
    let tunnel = Stunnel::before(origin.address_of("inboundRtmpt"), &certificates, "");
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let server = edge();
    let mut session = Session::operator(&server);
    let ca = format!("tlsCa={}", certificates.path("ca.pem").display());
    let ports = [origin.address_of(WITHIN).port(), tunnel.address().port()];
    for (number, port) in ports.into_iter().enumerate() {
        let (name, back) = (format!("pull{number}"), format!("back{number}"));
        session
            .done(&format!("pullStream uri=rtmpts://localhost:{port}/live/one localStreamName={name} {ca}"));
        server.wait_for_publisher(&name);
        assert_film(&server.url(&name), 3);
        let uri = format!("rtmpts://127.0.0.1:{port}/live");
        session.done(&format!("pushStream uri={uri} localStreamName={name} targetStreamName={back} {ca}"));
        origin.wait_for_publisher(&back);
        assert_film(&origin.url(&back), 3);
    }
    let uri = format!("rtmpts://localhost:{}/live/one", ports[0]);
    session.done(&format!("pullStream uri={uri} localStreamName=unknown"));
    let cause = "of an authority that is not trusted";
    wait_for(cause, SOON, || {
        let entry = entry(&mut session, "pull", "unknown");
        entry["cause"].as_str().is_some_and(|found| found.contains(cause)).then_some(())
    });
    session.done(&format!("pullStream uri={uri} localStreamName=any tlsVerify=0"));
    server.wait_for_publisher("any");
    session.done("removeConfig groupName=push");
    session.done("removeConfig groupName=pull");
    // Sessions that nobody closes are there for rtmptIdle, which is longer.
    origin.wait_for_counters("an origin without tunnels", SOON, |counters| {
        let of_tunnels = ["inboundRtmpt", WITHIN];
        let left = counters.json()["connections"].clone();
        let left = left.as_array().expect("a list").iter();
        (left.filter(|one| of_tunnels.iter().any(|chain| one["protocol"] == *chain)).count() == 0)
            .then_some(())
    });
    server.stop();
    origin.stop();
}

/// TLS-05.
#[test]
fn certificates_that_do_not_hold_are_the_cause_of_a_pull_that_waits() {
    let certificates = Certificates::new();
    certificates.issue("old", &["localhost"], |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1));
    certificates
        .issue("early", &["localhost"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    certificates.issue("other", &["elsewhere.example"], |_| {});
    let servers = ["server", "old", "early", "other"].map(|name| {
        Server::start(
            &Config::new().acceptor(&format!("protocol = \"{CHAIN}\", {}", certificates.keys(name))),
        )
    });
    let server = edge();
    let mut session = Session::operator(&server);
    let uri = |at: usize| format!("rtmps://localhost:{}/live/one", servers[at].address_of(CHAIN).port());
    let ca = certificates.path("ca.pem");
    let ca = format!("tlsCa={}", ca.display());
    for (number, (at, keys, cause)) in [
        (0, String::new(), "of an authority that is not trusted"),
        (1, ca.clone(), "has expired"),
        (2, ca.clone(), "is not valid yet"),
        (3, ca.clone(), "is for elsewhere.example, not for localhost"),
        (0, format!("{ca} tlsName=elsewhere.example"), "not for elsewhere.example"),
        (
            0,
            "tlsPin=sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
            "another key than `tlsPin` says",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{number}");
        session.done(&format!("pullStream uri={} localStreamName={name} {keys}", uri(at)));
        wait_for(cause, SOON, || {
            let entry = entry(&mut session, "pull", &name);
            entry["cause"].as_str().is_some_and(|found| found.contains(cause)).then_some(())
        });
    }
    // Whoever asks for it takes any of them; the log says so.
    let publisher = ffmpeg::publish_film(&servers[1].url("one")).start();
    servers[1].wait_for_publisher("one");
    session.done(&format!("pullStream uri={} localStreamName=any tlsVerify=0", uri(1)));
    server.wait_for_publisher("any");
    server.wait_for_log("tlsVerify = false");
    drop(publisher);
    for (keys, wrong) in [
        ("tlsCa=/missing.pem", "tlsCa: found \"/missing.pem\""),
        ("tlsCert=/missing.pem", "tlsKey: found nothing"),
        ("tlsMinVersion=1.1", "tlsMinVersion"),
    ] {
        let text = session.fails(&format!("pullStream uri={} localStreamName=wrong {keys}", uri(0)));
        assert!(text.contains(wrong), "{text}");
    }
    // What we show ourselves is watched, too: as soon as it is used.
    let [cert, key] = ["old.pem", "old.key"].map(|file| certificates.path(file).display().to_string());
    session.done(&format!("pullStream uri={} localStreamName=ours {ca} tlsCert={cert} tlsKey={key}", uri(0)));
    server.wait_for_counters("our certificate", SOON, |counters| {
        let shown =
            counters.json()["certificates"].as_array()?.iter().any(|one| one["file"] == cert.as_str());
        shown.then_some(())
    });
    let text = session.fails("pullStream uri=rtmp://localhost/live/x tlsVerify=0");
    assert!(text.contains("`tlsVerify`: found a key for TLS"), "{text}");
    server.stop();
}

/// Pulls of the configuration whose keys cannot be used end the start, and a reload changes nothing.
#[test]
fn pulls_with_keys_that_cannot_be_used_are_a_mistake_of_the_configuration() {
    let certificates = Certificates::new();
    let ca = certificates.path("ca.pem");
    let origin = Server::start(&with(&certificates, ""));
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let uri = format!("rtmps://localhost:{}/live/one", origin.address_of(CHAIN).port());
    let entry = |name: &str, keys: &str| format!("{{ uri = {uri:?}, localStreamName = {name:?}, {keys} }}");
    let good = entry("good", &format!("tlsCa = {ca:?}"));
    let config = |more: &str| {
        let policy = "{ allow = { \"127.0.0.0/8\" } }";
        let config = Config::new().whole_groups().top("outboundPolicy", policy);
        config.application("externalStreams", &format!("{{ {good}, {more} }}"))
    };
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("server.lua");
    let server = Server::start(&config(""));
    server.wait_for_publisher("good");
    let player = Recording::start(&server.url("good"));
    for (number, (keys, key, remedy)) in [
        ("tlsCa = \"/missing.pem\"", "tlsCa", "certificates of authorities"),
        ("tlsPin = \"sha256//x\"", "tlsPin", "the SHA-256 of the public key"),
        ("tlsCert = \"/missing.pem\"", "tlsKey", "since `tlsCert` is given"),
        ("tlsCert = \"/missing.pem\", tlsKey = \"/missing.pem\"", "tlsCert", "/missing.pem"),
        ("tlsName = \"two words\"", "tlsName", "a DNS name or an IP address"),
        ("tlsMinVersion = \"1.1\"", "tlsMinVersion", "1.2"),
        ("cipherSuite = \"NONE\"", "cipherSuite", "NONE"),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = config(&entry("bad", keys));
        let place = format!("externalStreams[2].{key}: found ");
        fs::write(&script, bad.text(folder.path(), &folder_of_programs())).expect("a file of ours");
        for arguments in [&["--check"][..], &[]] {
            let path = script.to_string_lossy();
            let outcome = Server::run(&[arguments, &[&path]].concat());
            let all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(outcome.code != Some(0) && all.contains(&place) && all.contains(remedy), "{keys}: {all}");
        }
        server.rewrite(&bad);
        server.signal(Signal::SIGHUP);
        wait_for("a reload in vain", SOON, || {
            let log = server.log();
            (log.matches("externalStreams[2].").count() > number && log.contains(&place)).then_some(())
        });
    }
    // Nothing has changed, and a reload that fits goes on.
    server.rewrite(&config(&entry("more", "tlsVerify = false")));
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: done");
    server.wait_for_publisher("more");
    let seen = Recording::of_program(&player).of(Kind::Video).len();
    wait_for("the stream to go on", SOON, || {
        (Recording::of_program(&player).of(Kind::Video).len() > seen + fixture::GOP).then_some(())
    });
    assert_eq!(server.log().matches("pull of \"good\" runs").count(), 1, "it was not touched");
    server.stop();
}
